//! Resource rules: which IDs of resources an alert contains.
//!
//! A rule never makes more affected than it matched. Each match names one chain of resources. The deepest
//! resource of the chain that the directory knows becomes affected, and each one that it does not know is
//! stored as unmatched.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pattern::Pattern;
use super::source::{Alert, Batch, as_text};
use crate::base::error::{FieldError, Result};
use crate::base::id::ExternalId;
use crate::base::text::one_line;
use crate::db::Conn;
use crate::directory::{ResourceRef, resource};

/// A resource rule: either the value of a field is an ID of the given type, or the named groups of a pattern
/// are IDs, and the name of each group is the type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceRule {
    /// Where to search: `labels.NAME`, `annotations.NAME`, `title`, `text`, `link`, a dotted path into the
    /// body of the alert, or a JSON pointer into it. If the field is a list, each text of it is searched.
    pub field: String,
    /// The type of the ID that the field contains.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ExternalId>,
    /// A regular expression with named groups, for example `/projects/(?<project>[^/]+)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

/// The time limit for all resource rules on the alerts of one body.
const BODY: Duration = Duration::from_secs(2);
/// The number of notes on one alert about texts that the rules did not search.
const MAX_NOTES: usize = 10;

/// Runs the resource rules on the alerts of a body. This can take seconds of processor time, so call it
/// outside of a transaction. The notes of the alerts and of the body say what was not searched.
pub(super) fn find(rules: &[ResourceRule], batch: &mut Batch) {
    let end = Instant::now() + BODY;
    for alert in &mut batch.alerts {
        let (found, notes) = chains_until(rules, alert, end);
        alert.found = Some(found);
        for note in notes {
            if !batch.notes.contains(&note) {
                batch.notes.push(note.clone());
            }
            alert.notes.push(note);
        }
    }
}

/// Compiles the expressions of resource rules that somebody wants to store, on a thread of its own, so that the
/// transaction that checks and stores the rules finds them ready. Expressions that are not valid are left to that
/// check.
pub async fn compile_ahead(rules: &[ResourceRule]) {
    let patterns: Vec<String> = rules.iter().filter_map(|rule| rule.pattern.clone()).collect();
    if patterns.is_empty() {
        return;
    }
    let compiled = tokio::task::spawn_blocking(move || {
        for pattern in patterns {
            let _ = Pattern::new(&pattern, false);
        }
    });
    // Without it the transaction only takes longer.
    let _ = compiled.await;
}

/// Returns the references of an alert: those that the rules find, one list for each match, and those that the
/// body itself names as resources.
pub(super) fn chains(rules: &[ResourceRule], alert: &Alert) -> Vec<Vec<ResourceRef>> {
    match &alert.found {
        Some(found) => found.clone(),
        None => chains_until(rules, alert, Instant::now() + BODY).0,
    }
}

/// Returns the references that are found before a time, and notes about what was not searched.
fn chains_until(rules: &[ResourceRule], alert: &Alert, end: Instant) -> (Vec<Vec<ResourceRef>>, Vec<String>) {
    let mut found = Vec::new();
    let mut notes = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        for text in lookup(alert, &rule.field) {
            let why = if rule.pattern.is_some() && Instant::now() > end {
                let limit = BODY.as_secs();
                Some(format!(
                    "did not search the whole request: all rules of one request together have {limit} s"
                ))
            } else {
                let (more, why) = rule.matches_in(&text);
                found.extend(more);
                why
            };
            if let Some(why) = why.filter(|_| notes.len() < MAX_NOTES) {
                let field = one_line(&rule.field, 100);
                let note = format!("resource rule {} ({field}) {why}", index + 1);
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
    }
    found.extend(alert.resources.iter().map(|named| vec![named.clone()]));
    (found, notes)
}

/// References, and what the directory knows of them.
pub struct Resolved {
    /// All references, each once.
    pub all: Vec<ResourceRef>,
    /// The keys of the references that the directory knows.
    pub keys: HashMap<ResourceRef, i64>,
    /// The keys of the affected resources: the deepest known one of each match.
    pub hit: Vec<i64>,
}

/// Looks up references in the directory.
pub fn resolve(conn: &mut Conn, chains: &[Vec<ResourceRef>]) -> Result<Resolved> {
    let mut all: Vec<&ResourceRef> = chains.iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    let lookup = Lookup::of(conn, &all)?;
    Ok(Resolved {
        hit: lookup.hit(chains),
        all: all.into_iter().cloned().collect(),
        keys: lookup.keys,
    })
}

/// What the directory knows of references, for many alerts at once.
pub(super) struct Lookup {
    /// The keys of the references that the directory knows.
    pub keys: HashMap<ResourceRef, i64>,
    depths: HashMap<i64, i64>,
}

impl Lookup {
    /// Looks up references. Each of them must occur only once.
    pub fn of(conn: &mut Conn, all: &[&ResourceRef]) -> Result<Self> {
        let keys = resource::keys(conn, all)?;
        let known: Vec<i64> = keys.values().copied().collect();
        let depths = resource::depths(conn, &known)?;
        Ok(Lookup { keys, depths })
    }

    /// Returns the keys of the affected resources: the deepest known one of each match.
    pub fn hit(&self, chains: &[Vec<ResourceRef>]) -> Vec<i64> {
        let deepest = |chain: &Vec<ResourceRef>| {
            let known = chain.iter().filter_map(|at| self.keys.get(at).copied());
            // If several are equally deep, the last one counts, because groups are written from the outside
            // to the inside.
            known.max_by_key(|key| self.depths.get(key).copied())
        };
        let mut hit: Vec<i64> = chains.iter().filter_map(deepest).collect();
        hit.sort_unstable();
        hit.dedup();
        hit
    }
}

/// The number of matches of one pattern in one text.
const MAX_MATCHES: usize = 1_000;

impl ResourceRule {
    /// Returns what is wrong with the rule. `pointer` is its JSON pointer in the input.
    pub fn check(&self, pointer: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.field.is_empty() {
            errors.push(FieldError::at(format!("{pointer}/field"), "must not be empty"));
        }
        match (&self.type_, &self.pattern) {
            (Some(_), None) => {}
            (None, Some(pattern)) => match Pattern::new(pattern, false) {
                Ok(known) if known.regex.capture_names().flatten().count() == 0 => {
                    let detail = "must have a named group, such as (?<project>[^/]+)";
                    errors.push(FieldError::at(format!("{pointer}/pattern"), detail));
                }
                Ok(_) => {}
                Err(detail) => errors.push(FieldError::at(format!("{pointer}/pattern"), detail)),
            },
            _ => errors.push(FieldError::at(pointer, "needs either type or pattern")),
        }
        errors
    }

    /// Returns the references that the rule finds in a text, and what was not searched. There is one list for
    /// each match, with the outermost resource first.
    fn matches_in(&self, text: &str) -> (Vec<Vec<ResourceRef>>, Option<String>) {
        let reference = |type_: &str, id: &str| {
            Some(ResourceRef {
                type_: ExternalId::parse(type_).ok()?,
                id: ExternalId::parse(id.trim()).ok()?,
            })
        };
        if let Some(type_) = &self.type_ {
            let named = reference(type_.as_str(), text).map(|one| vec![one]);
            return (named.into_iter().collect(), None);
        }
        let pattern = self
            .pattern
            .as_deref()
            .map(|pattern| Pattern::new(pattern, false));
        let Some(Ok(pattern)) = pattern else {
            return (Vec::new(), None);
        };
        let (matches, unseen) = pattern.matches(text, MAX_MATCHES);
        let chains = matches
            .into_iter()
            .map(|captures| {
                pattern
                    .regex
                    .capture_names()
                    .flatten()
                    .filter_map(|name| reference(name, captures.name(name)?.as_str()))
                    .collect()
            })
            .filter(|chain: &Vec<ResourceRef>| !chain.is_empty())
            .collect();
        (chains, unseen)
    }
}

/// The number of texts of one field that are searched.
const MAX_TEXTS: usize = 1_000;

/// Returns the texts of a field: one, or one for each element of a list.
fn lookup(alert: &Alert, field: &str) -> Vec<String> {
    let own = |words: &std::collections::BTreeMap<String, String>, name: &str| match words.get(name) {
        Some(text) => vec![text.clone()],
        None => in_body(&alert.raw, field),
    };
    if let Some(name) = field.strip_prefix("labels.") {
        return own(&alert.labels, name);
    }
    if let Some(name) = field.strip_prefix("annotations.") {
        return own(&alert.annotations, name);
    }
    match field {
        "title" => vec![alert.title.clone()],
        "text" => vec![alert.text.clone()],
        "fingerprint" => vec![alert.fingerprint.clone()],
        "severity" => vec![alert.severity.clone()],
        "link" => alert.link.iter().cloned().collect(),
        _ => in_body(&alert.raw, field),
    }
}

fn in_body(body: &Value, field: &str) -> Vec<String> {
    let found = if field.starts_with('/') {
        body.pointer(field)
    } else {
        // A field name can contain dots itself, for example `info.host_id`.
        body.get(field).or_else(|| {
            field.split('.').try_fold(body, |value, part| match value {
                Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                other => other.get(part),
            })
        })
    };
    match found {
        Some(Value::Array(items)) => items.iter().take(MAX_TEXTS).filter_map(as_text).collect(),
        Some(value) => as_text(value).into_iter().collect(),
        None => Vec::new(),
    }
}
