//! Reads a JSON body field by field, so that a rejection names the place of the error.
//!
//! Numbers do not lose digits: keys and nanoseconds are read as integers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::batch::Refusal;
use super::notes::note;
use super::text::unresolved;
use crate::base::time::Timestamp;

/// A value, and its JSON pointer in the body.
#[derive(Clone, Debug)]
pub(super) struct Doc<'a> {
    pub at: String,
    pub value: &'a Value,
}

impl<'a> Doc<'a> {
    pub fn new(value: &'a Value) -> Self {
        Doc {
            at: String::new(),
            value,
        }
    }

    /// Returns the value at a path such as `data/issue`. A null counts as missing.
    pub fn get(&self, path: &str) -> Option<Doc<'a>> {
        let value = path.split('/').try_fold(self.value, |value, name| match value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            other => other.get(name),
        })?;
        (!value.is_null()).then(|| Doc {
            at: format!("{}/{path}", self.at),
            value,
        })
    }

    /// Returns a required object.
    pub fn object(&self, path: &str) -> Result<Doc<'a>, Refusal> {
        self.get(path)
            .filter(|found| found.value.is_object())
            .ok_or_else(|| self.wrong(path, "must be an object"))
    }

    /// Returns the elements of a required list.
    pub fn list(&self, path: &str) -> Result<Vec<Doc<'a>>, Refusal> {
        self.get(path)
            .filter(|found| found.value.is_array())
            .map(|found| found.items())
            .ok_or_else(|| self.wrong(path, "must be an array"))
    }

    /// Returns the elements, or none if the value is not a list.
    pub fn items(&self) -> Vec<Doc<'a>> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .enumerate()
            .map(|(index, value)| Doc {
                at: format!("{}/{index}", self.at),
                value,
            })
            .collect()
    }

    /// Returns a text, number or boolean as text. None if it is empty, or is a placeholder that the sender
    /// did not replace.
    pub fn text(&self, path: &str) -> Option<String> {
        self.get(path).and_then(|found| word(found.value))
    }

    /// Returns the text of the first of these paths that has one.
    pub fn first(&self, paths: &[&str]) -> Option<String> {
        paths.iter().find_map(|path| self.text(path))
    }

    /// Returns a required text.
    pub fn need(&self, path: &str) -> Result<String, Refusal> {
        self.text(path)
            .ok_or_else(|| self.wrong(path, "is missing or is not a text"))
    }

    /// Makes a rejection for the given path.
    pub fn wrong(&self, path: &str, reason: impl Into<String>) -> Refusal {
        let at = if path.is_empty() {
            self.at.clone()
        } else {
            format!("{}/{path}", self.at)
        };
        (at, reason.into())
    }

    /// Reads a time with one of the functions of `times`. A time that cannot be parsed is noted and left out.
    pub fn time(
        &self,
        path: &str,
        read: fn(&Value) -> Result<Option<Timestamp>, String>,
    ) -> Option<Timestamp> {
        let found = self.get(path)?;
        read(found.value).unwrap_or_else(|reason| {
            note(&found.at, &reason);
            None
        })
    }

    /// Returns the first of these times that can be read.
    pub fn first_time(
        &self,
        paths: &[&str],
        read: fn(&Value) -> Result<Option<Timestamp>, String>,
    ) -> Option<Timestamp> {
        paths.iter().find_map(|path| self.time(path, read))
    }

    /// Returns the scalar values of an object as text, and leaves out all other values.
    pub fn words(&self, path: &str) -> BTreeMap<String, String> {
        let found = self.get(path);
        let object = found.as_ref().and_then(|found| found.value.as_object());
        object
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), word(value)?)))
            .collect()
    }
}

/// Returns a scalar as text. A whole number that became a float (`92.0`) is written as an integer again.
pub(super) fn word(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                format!("{}", float as i64)
            }
            _ => number.to_string(),
        },
        _ => return None,
    };
    (!text.trim().is_empty() && !unresolved(&text)).then_some(text)
}

/// Labels that are collected from several places of a body. The first value of a label counts.
#[derive(Default)]
pub(super) struct Labels(pub BTreeMap<String, String>);

impl Labels {
    pub fn put(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.0.entry(name.to_owned()).or_insert(value);
        }
    }

    pub fn take(&mut self, words: BTreeMap<String, String>) {
        for (name, value) in words {
            self.0.entry(name).or_insert(value);
        }
    }

    /// Adds tags, which can be a text (`env:prod,team:web`), a list of such texts, or a list of pairs. Each
    /// tag with a colon becomes a label, and all tags together become the label `tags`.
    pub fn tags(&mut self, tags: Option<Doc<'_>>) {
        let Some(tags) = tags else { return };
        let mut all: Vec<String> = Vec::new();
        match tags.value {
            Value::String(text) => all.extend(text.split(',').map(|tag| tag.trim().to_owned())),
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::Array(pair) => {
                            if let [name, value] = pair.as_slice()
                                && let (Some(name), value) = (word(name), word(value))
                            {
                                self.put(&name, value);
                            }
                        }
                        Value::Object(pair) => {
                            let name = pair.get("key").or_else(|| pair.get("name")).and_then(word);
                            let value = pair.get("value").and_then(word);
                            match (name, value) {
                                (Some(name), Some(value)) => self.put(&name, Some(value)),
                                (Some(name), None) => all.push(name),
                                _ => {}
                            }
                        }
                        scalar => all.extend(word(scalar)),
                    }
                }
            }
            Value::Object(_) => {
                return self.take(
                    Doc {
                        at: String::new(),
                        value: tags.value,
                    }
                    .own_words(),
                );
            }
            _ => return,
        }
        all.retain(|tag| !tag.is_empty() && !unresolved(tag));
        for tag in &all {
            if let Some((name, value)) = tag.split_once(':').filter(|(name, _)| !name.is_empty()) {
                self.put(
                    name.trim(),
                    Some(value.trim().to_owned()).filter(|value| !value.is_empty()),
                );
            }
        }
        self.put("tags", (!all.is_empty()).then(|| all.join(",")));
    }
}

impl Doc<'_> {
    fn own_words(&self) -> BTreeMap<String, String> {
        let object = self.value.as_object();
        object
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), word(value)?)))
            .collect()
    }
}

/// The fields of a body whose names the user chose. `ALERT_TRANSITION`, `alertTransition` and
/// `alert.transition` are the same field.
#[derive(Debug)]
pub(super) struct Fields<'a>(BTreeMap<String, Doc<'a>>);

impl<'a> Fields<'a> {
    /// Collects the fields of an object and of the objects in it. Prefixes such as `NAGIOS_` are removed.
    pub fn of(value: &'a Value, prefixes: &[&str]) -> Result<Self, Refusal> {
        if !value.is_object() {
            return Err((String::new(), "must be an object".to_owned()));
        }
        let mut fields = Fields(BTreeMap::new());
        fields.collect(&Doc::new(value), "", prefixes, 0);
        Ok(fields)
    }

    fn collect(&mut self, doc: &Doc<'a>, before: &str, prefixes: &[&str], depth: usize) {
        let Some(object) = doc.value.as_object() else {
            return;
        };
        let mut inner = Vec::new();
        for (name, value) in object {
            let mut plain: String = name
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_lowercase())
                .collect();
            for prefix in prefixes {
                if let Some(rest) = plain.strip_prefix(prefix).filter(|rest| !rest.is_empty()) {
                    plain = rest.to_owned();
                }
            }
            let found = Doc {
                at: format!("{}/{}", doc.at, name.replace('~', "~0").replace('/', "~1")),
                value,
            };
            let plain = format!("{before}{plain}");
            if value.is_object() && depth < 3 {
                inner.push((plain.clone(), found.clone()));
            }
            self.0.entry(plain).or_insert(found);
        }
        for (plain, found) in inner {
            self.collect(&found, &plain, prefixes, depth + 1);
        }
    }

    /// Returns the text of the first of these fields that has one.
    pub fn text(&self, names: &[&str]) -> Option<String> {
        names
            .iter()
            .find_map(|name| self.0.get(*name).and_then(|found| word(found.value)))
    }

    /// Returns whether one of these fields contains a placeholder that the sender did not replace.
    pub fn unfilled(&self, names: &[&str]) -> bool {
        names.iter().any(|name| {
            let text = self.0.get(*name).and_then(|found| found.value.as_str());
            text.is_some_and(unresolved)
        })
    }

    /// Returns the first of these fields that exists and is not null.
    pub fn get(&self, names: &[&str]) -> Option<Doc<'a>> {
        names
            .iter()
            .find_map(|name| self.0.get(*name))
            .filter(|found| !found.value.is_null())
            .cloned()
    }

    /// Makes a rejection at the first of these fields that exists, or at the expected name.
    pub fn wrong(&self, names: &[&str], reason: impl Into<String>) -> Refusal {
        let at = names.iter().find_map(|name| self.0.get(*name));
        let at = at.map_or_else(
            || format!("/{}", names.first().copied().unwrap_or_default()),
            |found| found.at.clone(),
        );
        (at, reason.into())
    }

    /// Returns the first of these times that can be read. A time that cannot be parsed is noted and left out.
    pub fn time(
        &self,
        names: &[&str],
        read: fn(&Value) -> Result<Option<Timestamp>, String>,
    ) -> Option<Timestamp> {
        names.iter().find_map(|name| {
            let found = self.0.get(*name).filter(|found| word(found.value).is_some())?;
            read(found.value).unwrap_or_else(|reason| {
                note(&found.at, &reason);
                None
            })
        })
    }
}
