//! Marks the emails of a drill, and the tests of a notice. A mark does not depend on the template, so that no template can leave it out.

/// What the subject of every email of a drill begins with.
const PREFIX: &str = "[DRILL] ";
/// What the body of every email of a drill begins with.
const LINE: &str = "THIS IS A DRILL. Nothing has happened, and no customer gets this email.";

/// What the subject of a test begins with.
const TEST_PREFIX: &str = "[TEST] ";
/// What the body of a test begins with.
const TEST_LINE: &str =
    "THIS IS A TEST. Only you get this email. No customer gets it, and its links do nothing.";

/// Adds the marks of a drill to the subject, the text and the HTML of an email.
pub(super) fn mark(subject: &mut String, text: &mut String, html: &mut String) {
    add(PREFIX, LINE, subject, text, html);
}

/// Adds the marks of a test to the subject, the text and the HTML of an email.
pub fn mark_as_test(subject: &mut String, text: &mut String, html: &mut String) {
    add(TEST_PREFIX, TEST_LINE, subject, text, html);
}

fn add(prefix: &str, line: &str, subject: &mut String, text: &mut String, html: &mut String) {
    subject.insert_str(0, prefix);
    text.insert_str(0, &format!("{line}\n\n"));
    let band = format!(
        "\n<div style=\"padding:12px 16px;background-color:#7a1f1f;color:#ffffff;font-family:Helvetica,Arial,sans-serif;\
         font-size:16px;line-height:1.5;font-weight:700;text-align:center\">{line}</div>\n"
    );
    html.insert_str(after_body(html), &band);
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
        let whole = "<html><BODY class=\"a\"><p>\u{e9}</p></BODY></html>";
        for (before, at) in [("<p>\u{e9}</p>", 0), (whole, whole.find("<p>").unwrap())] {
            let (mut subject, mut text) = ("A subject".to_owned(), "A text".to_owned());
            let mut html = before.to_owned();
            mark(&mut subject, &mut text, &mut html);
            assert_eq!(subject, "[DRILL] A subject");
            assert!(text.starts_with(LINE) && text.ends_with("\n\nA text"), "{text}");
            assert!(html.starts_with(&before[..at]), "{html}");
            assert!(html[at..].starts_with("\n<div"), "{html}");
            assert!(html.ends_with(&before[at..]), "{html}");
        }
    }
}
