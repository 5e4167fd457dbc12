//! What is searched for in texts when a person is erased, and how it is removed. This module does no I/O.
//!
//! - An address is found in every spelling and removed everywhere.
//! - A name of several words is found as a whole. A name of one word can be any word, so it counts only where it is a whole value.
//! - An ID counts where a field says that it is a person. An ID that is long and distinctive counts everywhere.

use serde_json::{Map, Value};

use crate::base::mailbox;
use crate::db::Statement;

/// What stands in a text instead of what was removed.
pub(super) const REMOVED: &str = "[erased]";
/// The length from which an ID is distinctive, in characters.
const DISTINCTIVE: usize = 12;
/// The fields whose values are IDs of people.
const PERSON_FIELDS: [&str; 5] = ["person", "people", "person_id", "users", "user"];

/// What is searched for.
#[derive(Clone, Debug, Default)]
pub struct Needles {
    /// The ID of the person.
    pub(super) id: String,
    /// What stands instead of the ID.
    pub(super) placeholder: String,
    /// The names of the person.
    pub(super) names: Vec<String>,
    /// The addresses that only this person has, in lower case and in each spelling.
    pub(super) addresses: Vec<String>,
    /// The hashes of these addresses that events of the audit trail contain.
    pub(super) marks: Vec<String>,
}

impl Needles {
    /// Returns what is searched for of a person.
    pub(super) fn new(id: &str, placeholder: &str, names: Vec<String>, addresses: &[String]) -> Needles {
        let mut needles = Needles {
            id: id.to_owned(),
            placeholder: placeholder.to_owned(),
            names: names.into_iter().filter(|name| !name.trim().is_empty()).collect(),
            ..Needles::default()
        };
        for address in addresses.iter().filter(|address| address.contains('@')) {
            let key = mailbox::key_of(address);
            let spellings = [
                address.to_lowercase(),
                key.clone(),
                mailbox::readable(&key),
                key.replace('@', "%40"),
            ];
            for spelling in spellings {
                if !needles.addresses.contains(&spelling) {
                    needles.addresses.push(spelling);
                }
            }
        }
        needles
    }

    /// The texts that are removed wherever they stand as a whole.
    fn anywhere(&self) -> impl Iterator<Item = &str> {
        let distinctive = self.id.chars().count() >= DISTINCTIVE || self.id.contains('@');
        let id = distinctive.then_some(self.id.as_str());
        let names = self
            .names
            .iter()
            .map(|name| name.trim())
            .filter(|name| name.contains(char::is_whitespace));
        let marks = self.marks.iter().map(String::as_str);
        self.addresses
            .iter()
            .map(String::as_str)
            .chain(names)
            .chain(id)
            .chain(marks)
    }

    /// Adds the condition that a column can contain something that is searched for.
    pub(super) fn condition(&self, statement: &mut Statement, column: &str) {
        let mut first = true;
        let mut like = |text: &str| {
            for lower in [text.to_ascii_lowercase(), text.to_lowercase()] {
                statement.push(if first { "(" } else { " OR " });
                first = false;
                statement.push("LOWER(").push(column).push(") LIKE ");
                statement.text(&like_pattern(&lower)).push(" ESCAPE '!'");
                if text.is_ascii() {
                    break;
                }
            }
        };
        for text in self.anywhere() {
            like(text);
            let escaped = in_json(text);
            if escaped != text {
                like(&escaped);
            }
        }
        for value in self.names.iter().map(String::as_str).chain([self.id.as_str()]) {
            like(&format!("\"{}\"", in_json(value)));
        }
        for name in &self.names {
            statement.push(" OR ").push(column).push(" = ").text(name);
        }
        statement.push(")");
    }

    /// Returns whether a text is a name of the person and nothing else.
    pub(super) fn is_name(&self, text: &str) -> bool {
        self.names.iter().any(|name| name == text)
    }

    /// Returns the text without what is searched for. `None` if it contains nothing of it.
    pub(super) fn text(&self, text: &str) -> Option<String> {
        let mut found: Option<String> = None;
        for needle in self.anywhere() {
            if let Some(without) = without(found.as_deref().unwrap_or(text), needle) {
                found = Some(without);
            }
        }
        found
    }

    /// Returns the JSON without what is searched for. A text that is not JSON is handled as a text. `None` if it contains nothing.
    pub(super) fn json(&self, text: &str) -> Option<String> {
        match serde_json::from_str::<Value>(text) {
            Ok(mut value @ (Value::Object(_) | Value::Array(_))) => {
                self.value(&mut value, false).then(|| value.to_string())
            }
            _ => self.text(text),
        }
    }

    /// Removes what is searched for from a value. Returns whether anything was removed. `of_person` says whether the field is one for
    /// the ID of a person.
    pub(super) fn value(&self, value: &mut Value, of_person: bool) -> bool {
        match value {
            Value::String(text) => {
                if of_person && *text == self.id {
                    text.clone_from(&self.placeholder);
                    return true;
                }
                if self.names.contains(text) {
                    REMOVED.clone_into(text);
                    return true;
                }
                match self.text(text) {
                    Some(without) => {
                        *text = without;
                        true
                    }
                    None => false,
                }
            }
            Value::Array(items) => items
                .iter_mut()
                .fold(false, |found, item| self.value(item, of_person) | found),
            Value::Object(fields) => self.object(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn object(&self, fields: &mut Map<String, Value>) -> bool {
        let mut found = false;
        let is_person = fields.get("kind").and_then(Value::as_str) == Some("person");
        for (name, value) in fields.iter_mut() {
            let of_person = PERSON_FIELDS.contains(&name.as_str())
                || (is_person && matches!(name.as_str(), "id" | "key"));
            // `"person": {"id": …}` is an ID of a person too.
            if of_person
                && let Value::Object(inner) = value
                && inner.get("id").and_then(Value::as_str) == Some(self.id.as_str())
            {
                inner.insert("id".to_owned(), Value::from(self.placeholder.as_str()));
                found = true;
            }
            found |= self.value(value, of_person);
        }
        let renamed: Vec<(String, String)> = fields
            .keys()
            .filter_map(|name| Some((name.clone(), self.text(name)?)))
            .collect();
        for (old, new) in renamed {
            if let Some(value) = fields.remove(&old) {
                fields.insert(new, value);
                found = true;
            }
        }
        found
    }

    /// Returns whether bytes of any form contain something that is searched for. An ID counts if it stands in quotes, or if it is
    /// distinctive.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let quoted = |value: &str| text.contains(&format!("\"{}\"", in_json(value)));
        self.text(&text).is_some() || quoted(&self.id) || self.names.iter().any(|name| quoted(name))
    }
}

/// Returns the text as it stands in JSON, without its quotes.
fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Returns the pattern of `LIKE` for texts that contain `text`. `!` escapes.
fn like_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Returns the text with [`REMOVED`] instead of each occurrence of the needle, in upper or lower case. `None` if there is none. Only
/// the case of ASCII letters is ignored where the lengths would differ.
fn without(text: &str, needle: &str) -> Option<String> {
    if needle.is_empty() {
        return None;
    }
    let (low, small) = (text.to_ascii_lowercase(), needle.to_ascii_lowercase());
    let is_address = needle.contains('@') || needle.contains("%40");
    let mut kept = String::new();
    let mut last = 0;
    for (at, _) in low.match_indices(&small) {
        let end = at + small.len();
        let before = text[..at].chars().next_back();
        let mut after = text[end..].chars();
        let (next, second) = (after.next(), after.next());
        let goes_on = |c: char| c.is_alphanumeric() || c == '_';
        let whole = if is_address {
            let begins_before = before.is_some_and(|c| goes_on(c) || matches!(c, '.' | '-' | '+'));
            // A sentence may end after an address.
            let ends_later = match next {
                Some('.') => second.is_some_and(char::is_alphanumeric),
                other => other.is_some_and(|c| goes_on(c) || c == '-'),
            };
            !begins_before && !ends_later
        } else {
            !before.is_some_and(goes_on) && !next.is_some_and(goes_on)
        };
        if whole && at >= last {
            kept.push_str(&text[last..at]);
            kept.push_str(REMOVED);
            last = end;
        }
    }
    if last == 0 {
        return None;
    }
    kept.push_str(&text[last..]);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles() -> Needles {
        let mut needles = Needles::new(
            "u1",
            "erased-9",
            vec!["Wilma Zorn".to_owned(), "Wil".to_owned()],
            &["Wilma.Zorn@Example.com".to_owned()],
        );
        needles.marks = vec!["sha256:abc".to_owned()];
        needles
    }

    #[test]
    fn an_address_goes_in_each_spelling_and_others_stay() {
        let found = |text: &str| needles().text(text);
        assert_eq!(
            found("550 <WILMA.zorn@example.com>: no").as_deref(),
            Some("550 <[erased]>: no")
        );
        assert_eq!(
            found("?to=wilma.zorn%40example.com").as_deref(),
            Some("?to=[erased]")
        );
        assert_eq!(
            found("write to wilma.zorn@example.com.").as_deref(),
            Some("write to [erased].")
        );
        for other in [
            "xwilma.zorn@example.com",
            "wilma.zorn@example.community",
            "wilma.zorn@example.com.au",
            "a.wilma.zorn@example.com",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_of_one_word_counts_only_as_a_whole_value() {
        assert_eq!(
            needles().text("Wilma Zorn called").as_deref(),
            Some("[erased] called")
        );
        assert_eq!(needles().text("Wil called"), None);
        assert_eq!(
            needles().json(r#"{"a":"Wil","b":"Wil called"}"#).as_deref(),
            Some(r#"{"a":"[erased]","b":"Wil called"}"#)
        );
    }

    #[test]
    fn an_id_counts_where_it_is_a_person() {
        let found = |text: &str| needles().json(text);
        assert_eq!(
            found(r#"{"person":"u1","resource":"u1"}"#).as_deref(),
            Some(r#"{"person":"erased-9","resource":"u1"}"#)
        );
        assert_eq!(
            found(r#"{"people":["u2","u1"]}"#).as_deref(),
            Some(r#"{"people":["u2","erased-9"]}"#)
        );
        assert_eq!(found(r#"{"id":"u1"}"#), None);
        assert_eq!(found(r#"{"person":"u12"}"#), None);
    }

    #[test]
    fn the_hash_of_an_address_goes_too() {
        assert_eq!(
            needles().json(r#"{"email":"sha256:abc"}"#).as_deref(),
            Some(r#"{"email":"[erased]"}"#)
        );
    }
}
