//! Translates serde's errors about JSON values of a wrong type to the terms of the API, because a caller does not know
//! Rust's types.

/// Converts serde's reason, without its position in the text, to a sentence about the field. A reason that does not come from
/// serde itself does not change.
pub fn plain(reason: &str) -> String {
    if let Some((got, wanted)) =
        after(reason, &["invalid type: ", "invalid value: "]).and_then(|rest| rest.split_once(", expected "))
    {
        return format!("must be {}, not {}", type_wanted(wanted), value_found(got));
    }
    if let Some((name, rest)) = named(reason, "unknown variant `") {
        let name: String = name.chars().take(40).collect();
        return format!("'{name}' is not allowed; allowed are {}", quoted(rest).join(", "));
    }
    if let Some((_, rest)) = named(reason, "unknown field `") {
        let known = quoted(rest);
        return match known.is_empty() {
            true => "is not a known field".to_owned(),
            false => format!("is not a known field; the known fields are {}", known.join(", ")),
        };
    }
    if named(reason, "missing field `").is_some() {
        return "is missing".to_owned();
    }
    if named(reason, "duplicate field `").is_some() {
        return "occurs twice".to_owned();
    }
    if reason.contains("hex escape") {
        return "contains half of a character (a \\u escape without its other half)".to_owned();
    }
    match reason {
        // serde_json says this about a number or null where a word is expected.
        "expected value" => "must be a text, and one of the allowed words".to_owned(),
        // These are about parameters of a query, which are all texts.
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "must be a whole number".to_owned()
        }
        "number too large to fit in target type" => "is too large".to_owned(),
        "number too small to fit in target type" => "is too small".to_owned(),
        "provided string was not `true` or `false`" => "must be true or false".to_owned(),
        "recursion limit exceeded" => "is nested too deeply".to_owned(),
        _ => syntax(reason).unwrap_or(reason).to_owned(),
    }
}

/// Returns what is wrong with a text that is no JSON.
fn syntax(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "EOF while parsing a value" => "ends where a value must be",
        "EOF while parsing an object" => "ends in the middle of an object",
        "EOF while parsing a list" => "ends in the middle of an array",
        "EOF while parsing a string" => "ends in the middle of a text",
        "expected `,` or `}`" => "has no comma and no closing } after a value of an object",
        "expected `,` or `]`" => "has no comma and no closing ] after a value of an array",
        "expected `:`" => "has no colon after the name of a field",
        "expected `\"`" | "key must be a string" => "has the name of a field without quotation marks",
        "trailing comma" => "has a comma before a closing bracket",
        "trailing characters" => "has more text after its end",
        "expected ident" => "has a word without quotation marks that is not true, false or null",
        "invalid number" => "has a number that is not written as JSON asks",
        "invalid escape" => "has a text with an unknown escape after \\",
        _ if reason.starts_with("control character ") => {
            "has a text with a line break or another control character in it"
        }
        _ => return None,
    })
}

fn after<'a>(reason: &'a str, starts: &[&str]) -> Option<&'a str> {
    starts.iter().find_map(|start| reason.strip_prefix(start))
}

/// Returns the name between the backticks that follow `start`, and the rest of the reason.
fn named<'a>(reason: &'a str, start: &str) -> Option<(&'a str, &'a str)> {
    reason.strip_prefix(start)?.split_once('`')
}

/// Returns the texts between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn type_wanted(wanted: &str) -> String {
    let words = match wanted {
        "a string" | "string" | "str" | "a borrowed string" => "a text",
        "a boolean" | "bool" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "an array",
        "a map" | "map" => "an object",
        "unit" => "null",
        _ if wanted.starts_with("struct ") || wanted.starts_with("internally tagged enum ") => "an object",
        _ if wanted.starts_with("enum ") || wanted == "variant identifier" => "one of the allowed words",
        _ if wanted.starts_with("a tuple ") || wanted.starts_with("tuple ") => "an array",
        _ => wanted,
    };
    words.to_owned()
}

fn value_found(got: &str) -> String {
    let words = match got {
        "null" | "unit value" | "Option value" => "null",
        "map" => "an object",
        "sequence" => "an array",
        _ if got.starts_with("string ") => "a text",
        _ => match got.split('`').nth(1) {
            // A number, or true or false.
            Some(value) => value,
            None => got,
        },
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::json_reason;

    /// Each reason is what serde_json really says about the text.
    #[test]
    fn a_text_that_is_no_json_is_told_in_words() {
        let broken = [
            ("", "ends where a value must be"),
            ("{\"a\": ", "ends where a value must be"),
            ("{\"a\": 1", "ends in the middle of an object"),
            ("{", "ends in the middle of an object"),
            ("[1", "ends in the middle of an array"),
            ("\"a", "ends in the middle of a text"),
            (
                "{\"a\": 1 \"b\"",
                "has no comma and no closing } after a value of an object",
            ),
            ("[1 2", "has no comma and no closing ] after a value of an array"),
            ("{\"a\" 1}", "has no colon after the name of a field"),
            ("{a: 1}", "has the name of a field without quotation marks"),
            ("{1: 1}", "has the name of a field without quotation marks"),
            ("{\"a\": 1,}", "has a comma before a closing bracket"),
            ("[1,]", "has a comma before a closing bracket"),
            ("{} {}", "has more text after its end"),
            (
                "[nul]",
                "has a word without quotation marks that is not true, false or null",
            ),
            ("[01]", "has a number that is not written as JSON asks"),
            ("[\"\\q\"]", "has a text with an unknown escape after \\"),
            (
                "[\"a\nb\"]",
                "has a text with a line break or another control character in it",
            ),
        ];
        for (text, words) in broken {
            let error = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
            assert_eq!(plain(&json_reason(&error)), words, "{text}: {error}");
        }
    }
}
