//! Marks the emails of a drill. The mark does not depend on the template, so that no template can leave it out.

use super::Rendered;

/// What the subject of every email of a drill begins with.
pub const PREFIX: &str = "[DRILL]";
/// What the body of every email of a drill begins with.
pub const LINE: &str = "THIS IS A DRILL. Nothing has happened, and no customer gets this email.";

/// Returns an email with the marks of a drill.
pub(super) fn marked(mail: Rendered) -> Rendered {
    let band = format!(
        "\n<div style=\"padding:12px 16px;background-color:#7a1f1f;color:#ffffff;font-family:Helvetica,Arial,sans-serif;\
         font-size:16px;line-height:1.5;font-weight:700;text-align:center\">{LINE}</div>\n"
    );
    let at = after_body(&mail.html);
    let (before, after) = mail.html.split_at(at);
    Rendered {
        subject: format!("{PREFIX} {}", mail.subject),
        text: format!("{LINE}\n\n{}", mail.text),
        html: format!("{before}{band}{after}"),
    }
}

/// Returns the position after the opening tag of the body, or the beginning if there is none.
fn after_body(html: &str) -> usize {
    // The letters of this ASCII form are at the same positions.
    let lower = html.to_ascii_lowercase();
    let Some(start) = lower.find("<body") else {
        return 0;
    };
    lower[start..].find('>').map_or(0, |end| start + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_come_first() {
        for (html, at) in [
            ("<p>é</p>", 0),
            (
                "<html><BODY class=\"a\"><p>é</p></BODY></html>",
                "<html><BODY class=\"a\">".len(),
            ),
        ] {
            let mail = marked(Rendered {
                subject: "A subject".to_owned(),
                text: "A text".to_owned(),
                html: html.to_owned(),
            });
            assert_eq!(mail.subject, "[DRILL] A subject");
            assert!(mail.text.starts_with(LINE), "{}", mail.text);
            assert!(mail.html.starts_with(&html[..at]), "{}", mail.html);
            assert!(mail.html[at..].starts_with("\n<div"), "{}", mail.html);
            assert!(mail.html.ends_with(&html[at..]), "{}", mail.html);
        }
    }
}
