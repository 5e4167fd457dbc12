//! Small functions on text that every other module may use.

/// Returns whether a character changes the direction of the text after it. In a name, such a character can
/// show another text than the real one (`cod.\u{202E}exe`), and it also affects the text after the name.
/// Right-to-left scripts do not need these characters.
fn turns_direction(character: char) -> bool {
    matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Returns a text without the characters that change its direction.
pub fn undirected(text: &str) -> std::borrow::Cow<'_, str> {
    // All these characters begin with the same byte, so most texts need no further check.
    if text.as_bytes().contains(&0xE2) && text.contains(turns_direction) {
        text.chars()
            .filter(|c| !turns_direction(*c))
            .collect::<String>()
            .into()
    } else {
        text.into()
    }
}

/// Returns one line of at most `most` characters. Each run of white space and control characters becomes one
/// space. Characters that change the direction of text are removed.
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

/// Returns a cell of a table that a spreadsheet does not take for a formula.
pub fn cell(text: &str) -> std::borrow::Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t']) {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}

/// Returns bytes as hexadecimal text in lower case.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
