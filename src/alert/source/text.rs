//! Functions for the texts of senders: placeholders that were not replaced, HTML entities, and links that are
//! not valid.

use serde_json::Value;

/// Returns whether a text is a placeholder that the sender did not replace, for example `$HOSTNAME`,
/// `{EVENT.RECOVERY.ID}`, `*alertFriendlyDuration*` or `*UNKNOWN*`.
pub(super) fn unresolved(text: &str) -> bool {
    let text = text.trim();
    let name = |inner: &str, allowed: fn(char) -> bool| {
        !inner.is_empty() && inner.chars().all(|c| c.is_ascii_alphanumeric() || allowed(c))
    };
    if let Some(inner) = text.strip_prefix('$') {
        return name(inner, |c| c == '_')
            && inner.chars().any(|c| c.is_ascii_uppercase())
            && !inner.chars().any(|c| c.is_ascii_lowercase());
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return name(inner, |c| matches!(c, '.' | '_' | '#' | '$'));
    }
    if let Some(inner) = text.strip_prefix('*').and_then(|rest| rest.strip_suffix('*')) {
        return name(inner, |c| c == '_');
    }
    false
}

/// Replaces the HTML entities in a text.
pub(super) fn from_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = rest
            .char_indices()
            .take(12)
            .find(|(_, c)| *c == ';')
            .and_then(|(end, _)| Some((end, entity(&rest[1..end])?)));
        match entity {
            Some((end, c)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" | "ensp" | "emsp" | "thinsp" => Some(' '),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// Returns a link if it is a full HTTP URL with a host.
pub(super) fn link(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| {
        text.len() <= 4_000
            && url::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.host_str().is_some_and(|host| !host.is_empty())
            })
    })
}

/// Joins texts with an empty line between them. Each text occurs once.
pub(super) fn join(texts: impl IntoIterator<Item = Option<String>>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for text in texts.into_iter().flatten() {
        let text = text.trim().to_owned();
        if !text.is_empty() && !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen.join("\n\n")
}

/// Returns a text in lower case, or an empty text.
pub(super) fn lower(word: Option<String>) -> String {
    word.map(|word| word.trim().to_lowercase()).unwrap_or_default()
}

/// Returns a text, number or boolean as text.
pub(in crate::alert) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_words() {
        for left in [
            "$ALERT_ID",
            "{EVENT.RECOVERY.ID}",
            "*UNKNOWN*",
            "*alertFriendlyDuration*",
            "{#DEV}",
            " $FOO ",
        ] {
            assert!(unresolved(left), "{left}");
        }
        for word in [
            "$5 off",
            "$",
            "{}",
            "**",
            "a *b* c",
            "PROBLEM",
            "{\"a\": 1}",
            "* a *",
            "$Price",
        ] {
            assert!(!unresolved(word), "{word}");
        }
    }

    #[test]
    fn entities_become_what_they_stand_for() {
        assert_eq!(
            from_html("Test &#40;staging&#41; &amp; &lt;b&gt; &#x41;"),
            "Test (staging) & <b> A"
        );
        for odd in [
            "&",
            "&;",
            "&#;",
            "&#xD800;",
            "&unknown;",
            "a & b; c",
            "&ü;",
            "&&&",
            "&#99999999999;",
        ] {
            assert_eq!(from_html(odd), odd);
        }
    }

    #[test]
    fn only_what_can_be_followed_is_a_link() {
        for wrong in [
            "",
            "https://",
            "?orgId=1",
            "/check_mk/x",
            "javascript:alert(1)",
            "http://:9093",
            "ftp://a/b",
        ] {
            assert_eq!(link(Some(wrong.to_owned())), None, "{wrong}");
        }
        assert!(link(Some("https://example.com/a".to_owned())).is_some());
    }
}
