//! Reads single fields of the body of a provider.

use serde_json::Value;

use super::report::Refusal;
use crate::base::json_repair;
use crate::base::time::Timestamp;

/// Returns a body as JSON. Broken characters are replaced, so that one bad character does not cost the report.
pub(super) fn json(body: &[u8]) -> Result<Value, Refusal> {
    json_repair::read(body).map_err(|error| {
        (
            String::new(),
            format!("is not JSON: {}", crate::base::error::json_reason(&error)),
        )
    })
}

pub(super) fn refusal<T>(pointer: &str, reason: &str) -> Result<T, Refusal> {
    Err((pointer.to_owned(), reason.to_owned()))
}

/// Returns the text at a pointer, or a number as text. An empty text counts as absent.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Reads seconds since 1970, with or without a fraction.
pub(super) fn unix(value: &Value, pointer: &str) -> Option<Timestamp> {
    let seconds = match value.pointer(pointer)? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    // A time outside this range cannot be the time of an email.
    (0.0..=253_402_300_799.0)
        .contains(&seconds)
        .then(|| Timestamp::from_micros((seconds * 1_000_000.0) as i64))
}

/// Reads an RFC 3339 time. Some providers write a space before the offset and no colon in it, which is
/// accepted too.
pub(super) fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    let text = text(value, pointer)?;
    Timestamp::parse(&text).ok().or_else(|| {
        let text = text.replace(' ', "");
        let (head, offset) = text.split_at_checked(text.len().checked_sub(5)?)?;
        let (hours, minutes) = offset.split_at_checked(3)?;
        Timestamp::parse(&format!("{head}{hours}:{minutes}")).ok()
    })
}

/// Returns the address in `Name <address>`, or the text itself.
pub(super) fn bare_address(text: &str) -> Option<String> {
    let inner = match (text.rfind('<'), text.rfind('>')) {
        (Some(open), Some(close)) if open < close => &text[open + 1..close],
        _ => text,
    };
    let address = inner.trim();
    // "undisclosed-recipients:;" means that no recipient is named. Some servers append a domain to it.
    let nobody = address
        .trim_start_matches('"')
        .to_ascii_lowercase()
        .starts_with("undisclosed");
    // No address contains a control character, and PostgreSQL cannot store NUL.
    let odd = |c: char| c.is_whitespace() || c.is_control();
    (address.contains('@') && !nobody && !address.contains(odd)).then(|| address.to_owned())
}
