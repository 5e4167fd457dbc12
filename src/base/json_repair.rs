//! Reads JSON as senders really write it: texts that were cut in the middle of a character, bytes that are
//! not UTF-8, line breaks inside a text. A broken part becomes U+FFFD or is escaped, so that one bad character
//! does not cost a whole message. Valid JSON does not change.
//!
//! All JSON that other programs send to a hook is read here, also JSON inside a text of JSON.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// Reads JSON, and repairs it first if it cannot be read as it is. serde limits the depth.
///
/// # Errors
/// What is wrong with the JSON as it was received.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = text(body);
    serde_json::from_str(&text).or_else(|error| serde_json::from_str(&json(&text)).map_err(|_| error))
}

/// Decodes a body: UTF-16 if it has such a byte order mark, otherwise UTF-8. Broken bytes become U+FFFD.
fn text(body: &[u8]) -> Cow<'_, str> {
    let wide = |rest: &[u8], of: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = rest.as_chunks::<2>().0.iter().map(|two| of(*two)).collect();
        Cow::Owned(String::from_utf16_lossy(&units))
    };
    match body {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        body => String::from_utf8_lossy(body),
    }
}

/// Repairs the texts in a JSON body. Half of a surrogate pair and a zero character become U+FFFD, raw control
/// characters are escaped, and a backslash that escapes nothing is kept as a backslash.
fn json(body: &str) -> String {
    let mut out = String::with_capacity(body.len() + 16);
    let mut rest = body;
    let mut inside = false;
    while let Some(c) = rest.chars().next() {
        let width = c.len_utf8();
        match c {
            '"' => {
                inside = !inside;
                out.push('"');
            }
            '\\' if inside => {
                let (mended, taken) = escape(&rest[width..]);
                out.push_str(&mended);
                rest = &rest[width + taken..];
                continue;
            }
            '\0' if inside => out.push('\u{fffd}'),
            c if inside && u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
        rest = &rest[width..];
    }
    out
}

/// Repairs what follows a backslash. Returns the repaired escape, and how many bytes it replaces.
fn escape(behind: &str) -> (Cow<'static, str>, usize) {
    let unit = |text: &str| {
        let digits = text.strip_prefix('u')?.get(..4)?;
        (digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| u16::from_str_radix(digits, 16).ok())
            .flatten()
    };
    match behind.chars().next() {
        Some(c @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => (format!("\\{c}").into(), 1),
        Some('u') => match unit(behind) {
            Some(high @ 0xd800..=0xdbff) => {
                let low = behind
                    .get(5..)
                    .and_then(|rest| rest.strip_prefix('\\'))
                    .and_then(unit);
                match low {
                    Some(low @ 0xdc00..=0xdfff) => (format!("\\u{high:04x}\\u{low:04x}").into(), 11),
                    _ => ("\\ufffd".into(), 5),
                }
            }
            Some(0xdc00..=0xdfff | 0) => ("\\ufffd".into(), 5),
            Some(other) => (format!("\\u{other:04x}").into(), 5),
            // The text was cut inside the escape.
            None => {
                let digits = behind[1..]
                    .bytes()
                    .take(3)
                    .take_while(u8::is_ascii_hexdigit)
                    .count();
                ("\\ufffd".into(), 1 + digits)
            }
        },
        _ => ("\\\\".into(), 0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mended(body: &str) -> Value {
        serde_json::from_str(&json(body)).unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    #[test]
    fn what_is_json_stays_what_it_is() {
        for body in [
            r#"{"a": "b\\ud83c", "c\n": "\u00e9\ud83d\ude00", "d": [1, null, "\"\/\b\f\r\t"]}"#,
            r#""\\\\ud83c \\\" ""#,
            "[]",
            "\n\t{ }\r\n",
        ] {
            assert_eq!(
                mended(body),
                serde_json::from_str::<Value>(body).expect("JSON"),
                "{body}"
            );
        }
    }

    #[test]
    fn halves_of_characters_are_replaced() {
        assert_eq!(mended(r#""toda\ud83c...""#), json!("toda\u{fffd}..."));
        assert_eq!(mended(r#""\udf0d!""#), json!("\u{fffd}!"));
        assert_eq!(mended(r#""\ud83c\ud83d\ude00""#), json!("\u{fffd}\u{1f600}"));
        assert_eq!(mended(r#""\ud83c\\ud83d""#), json!("\u{fffd}\\ud83d"));
        assert_eq!(mended(r#""\\\ud83c""#), json!("\\\u{fffd}"));
        assert_eq!(mended(r#""a\ud8""#), json!("a\u{fffd}"));
        assert_eq!(mended(r#""a\u0000b""#), json!("a\u{fffd}b"));
        assert_eq!(mended(r#"{"\ud83c": 1}"#), json!({"\u{fffd}": 1}));
    }

    #[test]
    fn raw_control_characters_and_stray_backslashes_are_part_of_the_text() {
        assert_eq!(
            mended("{\"a\": \"one\ntwo\tthree\0\"}"),
            json!({"a": "one\ntwo\tthree\u{fffd}"})
        );
        assert_eq!(mended(r#""C:\Windows\x""#), json!("C:\\Windows\\x"));
    }

    #[test]
    fn only_what_is_broken_is_repaired_and_the_first_error_is_told() {
        assert_eq!(
            read::<Value>(b"{\"a\": \"\\ud83c\"}").unwrap(),
            json!({"a": "\u{fffd}"})
        );
        assert_eq!(read::<Value>(b"[\"caf\xe9\"]").unwrap(), json!(["caf\u{fffd}"]));
        #[derive(Debug, serde::Deserialize)]
        struct Named {
            name: String,
        }
        assert_eq!(
            read::<Named>(b"{\"name\": \"x\\udc00\"}").unwrap().name,
            "x\u{fffd}"
        );
        let error = read::<Named>(b"{\"title\": 1}").unwrap_err().to_string();
        assert!(error.contains("missing field `name`"), "{error}");
        assert!(read::<Value>(&b"[".repeat(2_000)).is_err());
    }

    #[test]
    fn a_byte_order_mark_says_how_it_is_written() {
        let wide: Vec<u8> = "\u{feff}{\"a\": \"é\"}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(text(&wide), "{\"a\": \"é\"}");
        let big: Vec<u8> = "\u{feff}[1]".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(text(&big), "[1]");
        assert_eq!(text(b"\xef\xbb\xbf[]"), "[]");
        assert_eq!(text(b"\"caf\xe9\""), "\"caf\u{fffd}\"");
    }
}
