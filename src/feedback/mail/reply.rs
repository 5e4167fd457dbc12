//! Finds what a person wrote in a reply, without the email that the program of the person quoted below it.

/// The largest length of the text, in characters.
const MAX: usize = 4_000;

/// Returns whether the quoted email begins with this line.
fn begins_quote(line: &str) -> bool {
    let line = line.trim();
    let dashed = line.trim_matches('-').trim().to_lowercase();
    line.starts_with('>')
        || line.len() >= 20 && line.chars().all(|c| c == '_')
        || line.starts_with("--")
            && matches!(
                dashed.as_str(),
                "original message" | "ursprüngliche nachricht" | "forwarded message"
            )
}

/// Returns whether a line introduces a quoted email, such as "On Monday Ann wrote:".
fn introduces(line: &str) -> bool {
    let line = line.trim();
    line.ends_with(':') && line.len() > 10
}

/// Returns the text of a reply without the quoted email. If nothing is left, it returns the whole text.
pub(super) fn own_text(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines
        .iter()
        .position(|line| begins_quote(line))
        .unwrap_or(lines.len());
    let mut own = &lines[..end];
    while let Some((last, before)) = own.split_last() {
        // The introduction can be broken into two lines.
        let is_introduction = end < lines.len() && introduces(last);
        if last.trim().is_empty() {
            own = before;
        } else if is_introduction {
            own = match before.split_last() {
                Some((start, rest))
                    if start.trim_start().starts_with("On ") || start.trim_start().starts_with("Am ") =>
                {
                    rest
                }
                _ => before,
            };
            break;
        } else {
            break;
        }
    }
    let own = own.join("\n");
    let kept = if own.trim().is_empty() { text } else { &own };
    kept.trim().chars().take(MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::own_text;

    #[test]
    fn the_quoted_email_is_cut() {
        for (text, own) in [
            (
                "It works.\n\nOn Mon, 2 Nov 2026 at 10:00, Quickbyte\n<a@b.example> wrote:\n\n> Hello",
                "It works.",
            ),
            (
                "Still broken!\r\n\r\n-----Original Message-----\r\nFrom: Quickbyte",
                "Still broken!",
            ),
            ("Geht.\n________________________________\nVon: Quickbyte", "Geht."),
            ("These files:\n- a\n- b", "These files:\n- a\n- b"),
            ("> only a quote", "> only a quote"),
            ("", ""),
        ] {
            assert_eq!(own_text(text), own);
        }
    }
}
