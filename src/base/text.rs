//! Small functions on text that every other module may use.

/// Whether a character turns the direction of the text that follows it. Such a mark in a name can show a text that is not there
/// (`cod.\u{202E}exe`), and reaches beyond the name where nothing ends it. The letters of a right-to-left script need none of them.
fn turns_direction(character: char) -> bool {
    matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A text without the marks that turn its direction.
pub fn undirected(text: &str) -> std::borrow::Cow<'_, str> {
    // All of these marks begin with the same byte.
    if text.as_bytes().contains(&0xE2) && text.contains(turns_direction) {
        text.chars()
            .filter(|c| !turns_direction(*c))
            .collect::<String>()
            .into()
    } else {
        text.into()
    }
}

/// One line of at most `most` characters: every run of white space and control characters becomes a space. Marks that turn the
/// direction of text are left out.
pub fn one_line(text: &str, most: usize) -> String {
    let text = undirected(text);
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    let line = words.join(" ");
    if line.chars().count() <= most {
        line
    } else {
        line.chars().take(most - 1).collect::<String>() + "…"
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
