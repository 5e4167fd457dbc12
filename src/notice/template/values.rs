//! The values of one's own in a message and in a template.
//!
//! A message is a plain text, of which only `{{values.KEY}}` and `{{recovery.FIGURE}}` are replaced. Everything else stays as it was
//! written.

use std::collections::{BTreeMap, BTreeSet};

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const VALUES: &str = "values.";
const RECOVERY: &str = "recovery.";
/// The figures of a recipient's recovery. Each stands in a message as it stands here, between the braces.
pub const FIGURES: [&str; 4] = [
    "recovery.restored",
    "recovery.affected",
    "recovery.left",
    "recovery.summary",
];

/// Returns whether a text is a key: a lower-case letter, followed by up to 39 lower-case letters, digits or `_`.
pub fn is_key(key: &str) -> bool {
    key.len() <= 40
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A part of a message.
enum Part<'a> {
    Text(&'a str),
    /// The key, and the text with which the message names it.
    Value(&'a str, &'a str),
}

/// Returns the key of a value or the name of a figure that stands between braces.
fn named(inner: &str) -> Option<&str> {
    match inner.strip_prefix(VALUES) {
        Some(key) => is_key(key).then_some(key),
        None => FIGURES.contains(&inner).then_some(inner),
    }
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut from) = (0, 0);
    while let Some(at) = text[from..].find(OPEN).map(|at| from + at) {
        let inner = at + OPEN.len();
        if ![VALUES, RECOVERY]
            .iter()
            .any(|name| text[inner..].starts_with(name))
        {
            // Of three braces, the first one can be a text.
            from = at + 1;
            continue;
        }
        match text[inner..].find(CLOSE).map(|end| inner + end) {
            Some(end) => match named(&text[inner..end]) {
                Some(key) => {
                    let after = end + CLOSE.len();
                    parts.push(Part::Text(&text[start..at]));
                    parts.push(Part::Value(key, &text[at..after]));
                    (start, from) = (after, after);
                }
                None => from = inner,
            },
            None => from = inner,
        }
    }
    parts.push(Part::Text(&text[start..]));
    parts
}

/// Returns the keys and the figures that a message uses. A figure has a dot in its name, and a key has none.
pub fn message_keys(text: &str) -> BTreeSet<String> {
    let keys = parts(text).into_iter().filter_map(|part| match part {
        Part::Value(key, _) => Some(key.to_owned()),
        Part::Text(_) => None,
    });
    keys.collect()
}

/// Replaces the values in a message. A key without a value stays as it was written.
pub fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    parts(text)
        .into_iter()
        .map(|part| match part {
            Part::Text(text) => text,
            Part::Value(key, written) => values.get(key).map_or(written, String::as_str),
        })
        .collect()
}

/// Replaces every value in a message with the same text, for readers who are not recipients.
pub fn hide(text: &str, instead: &str) -> String {
    parts(text)
        .into_iter()
        .map(|part| match part {
            Part::Text(text) => text,
            Part::Value(..) => instead,
        })
        .collect()
}

/// Returns the keys that a template uses. A key that this does not find is refused, because the samples do not have it.
pub fn template_keys(source: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        let tag = &rest[start + 2..];
        let Some(end) = tag.find("}}") else { break };
        rest = &tag[end + 2..];
        let tag = &tag[..end];
        if tag.trim_start_matches('~').starts_with('!') {
            continue;
        }
        let names: Vec<&str> = tag
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '/'))
            .filter(|word| !word.is_empty())
            .collect();
        for word in names {
            let names: Vec<&str> = word.split(['.', '/']).collect();
            for pair in names.windows(2) {
                if pair[0] == "values" && is_key(pair[1]) {
                    keys.insert(pair[1].to_owned());
                }
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_form_is_a_value() {
        let values = BTreeMap::from([("code".to_owned(), "{{values.other}}".to_owned())]);
        for (text, expected) in [
            ("Use {{values.code}}.", "Use {{values.other}}."),
            (
                "{{values.code}}{{values.code}}",
                "{{values.other}}{{values.other}}",
            ),
            ("{{ values.code }}", "{{ values.code }}"),
            ("{{{values.code}}}", "{{{values.other}}}"),
            (
                "{{values.Code}} {{values.}} {{values.code",
                "{{values.Code}} {{values.}} {{values.code",
            ),
            ("{{values.a{{values.code}}", "{{values.a{{values.other}}"),
            (
                "{{#each values}}{{values.lost}}",
                "{{#each values}}{{values.lost}}",
            ),
            ("ä{{values.code}}ö", "ä{{values.other}}ö"),
        ] {
            assert_eq!(expand(text, &values), expected, "{text}");
        }
        assert_eq!(
            message_keys("{{values.b}} {{values.a}} {{name}}")
                .into_iter()
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(hide("Use {{values.code}}.", "…"), "Use ….");
    }

    #[test]
    fn the_keys_of_a_template_are_found() {
        let source = "{{values.a}} {{#if @root.values.b}}{{../values.c}}{{/if}} {{!-- values.d --}} values.e {{avalues.f}}";
        assert_eq!(
            template_keys(source).into_iter().collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
    }
}
