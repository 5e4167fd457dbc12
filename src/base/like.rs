//! The patterns with which lists are searched by a part of a name.

/// Returns the pattern of `LIKE` for texts that contain `text`, in upper or lower case. `!` escapes.
pub fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.trim().chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.extend(c.to_lowercase());
    }
    pattern.push('%');
    pattern
}
