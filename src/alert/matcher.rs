//! Matchers: conditions on one field of an alert.
//!
//! A condition never matches if its field is misspelt or missing. A pattern must match the whole value.
//! `pattern` limits the time that a regular expression can take.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::integration::Integration;
use super::pattern::Pattern;
use super::source::{Alert, as_text};
use crate::base::check::Check;
use crate::base::error::{Error, FieldError, Result};

/// A condition on one field of an alert: exactly one of `is`, `matches` and `in`. If the alert does not have
/// the field, the condition does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlertMatcher)]
pub struct Matcher {
    /// `labels.NAME`, `annotations.NAME`, `title`, `text`, `severity`, `fingerprint`, `link`, `source` (the
    /// source of the integration), `integration` (the ID of the integration), or a JSON pointer into the part
    /// of the body that is about this alert.
    pub field: String,
    /// The field has exactly this value. For `severity`, upper and lower case are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// This regular expression matches the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// The field has one of these values. For `severity`, upper and lower case are the same.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<String>>,
}

/// The number of matchers in one rule or silence.
const MAX: usize = 20;
/// The number of values in one list.
const MAX_VALUES: usize = 500;
/// The number of characters in a value, a pattern or the name of a field.
const LONGEST: usize = 1_000;
/// The number of texts of one field that are examined.
const MAX_TEXTS: usize = 100;
/// The time limit for all conditions on the alerts of one body. It is shorter than the time after which a sender
/// gives up.
const BODY: Duration = Duration::from_secs(4);

/// Checks the name of a field.
///
/// # Errors
/// A sentence for the caller that says what is wrong.
pub fn check_field(field: &str) -> Result<(), String> {
    let known = [
        "title",
        "text",
        "severity",
        "fingerprint",
        "link",
        "source",
        "integration",
    ];
    let named = ["labels.", "annotations."]
        .iter()
        .any(|start| field.strip_prefix(start).is_some_and(|name| !name.is_empty()));
    if field.chars().count() > LONGEST || field.chars().any(char::is_control) {
        return Err("is too long, or contains a control character".to_owned());
    }
    if known.contains(&field) || named || (field.starts_with('/') && field.len() > 1) {
        return Ok(());
    }
    Err(format!(
        "is not a field of an alert; there are labels.NAME, annotations.NAME, {}, and JSON pointers such as /event/host",
        known.join(", ")
    ))
}

/// Checks a list of matchers and adds an error for each wrong field.
pub(super) fn check(check: &mut Check, pointer: &str, matchers: &[Matcher]) {
    let mut wrong = |at: String, detail: String| check.errors.push(FieldError::at(at, detail));
    if matchers.len() > MAX {
        wrong(pointer.to_owned(), format!("has more than {MAX} conditions"));
    }
    for (index, matcher) in matchers.iter().take(MAX).enumerate() {
        let at = format!("{pointer}/{index}");
        if let Err(detail) = check_field(&matcher.field) {
            wrong(format!("{at}/field"), detail);
        }
        let length = |value: &str| match value.chars().count() {
            0 => Some("must not be empty".to_owned()),
            n if n > LONGEST => Some(format!("is longer than {LONGEST} characters")),
            _ => None,
        };
        match (&matcher.is, &matcher.matches, &matcher.one_of) {
            (Some(value), None, None) => {
                if let Some(detail) = length(value) {
                    wrong(format!("{at}/is"), detail);
                }
            }
            (None, Some(pattern), None) => {
                if let Some(detail) = length(pattern) {
                    wrong(format!("{at}/matches"), detail);
                } else if let Err(detail) = compile(&matcher.field, pattern) {
                    wrong(format!("{at}/matches"), detail);
                }
            }
            (None, None, Some(values)) => {
                if values.is_empty() {
                    wrong(
                        format!("{at}/in"),
                        "must not be empty: nothing is in it".to_owned(),
                    );
                }
                if values.len() > MAX_VALUES {
                    wrong(format!("{at}/in"), format!("has more than {MAX_VALUES} values"));
                }
                for (place, value) in values.iter().take(MAX_VALUES).enumerate() {
                    if let Some(detail) = length(value) {
                        wrong(format!("{at}/in/{place}"), detail);
                    }
                }
            }
            _ => wrong(at, "needs one of is, matches and in".to_owned()),
        }
    }
}

/// An alert and the integration that received it.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub integration: &'a Integration,
    pub alert: &'a Alert,
}

impl<'a> Subject<'a> {
    /// Returns the values of a field: none, one, or one for each element of a list.
    pub fn values(self, field: &str) -> Vec<Cow<'a, str>> {
        let Subject { integration, alert } = self;
        let one = |text: &'a str| match text {
            "" => Vec::new(),
            text => vec![Cow::Borrowed(text)],
        };
        if let Some(name) = field.strip_prefix("labels.") {
            return alert.labels.get(name).map_or(Vec::new(), |text| one(text));
        }
        if let Some(name) = field.strip_prefix("annotations.") {
            return alert.annotations.get(name).map_or(Vec::new(), |text| one(text));
        }
        match field {
            "title" => one(&alert.title),
            "text" => one(&alert.text),
            "severity" => one(&alert.severity),
            "fingerprint" => one(&alert.fingerprint),
            "link" => alert.link.as_deref().map_or(Vec::new(), one),
            "source" => one(&integration.source),
            "integration" => one(integration.id.as_str()),
            _ => match alert.raw.pointer(field) {
                Some(serde_json::Value::Array(items)) => items
                    .iter()
                    .take(MAX_TEXTS)
                    .filter_map(as_text)
                    .map(Cow::Owned)
                    .collect(),
                Some(value) => as_text(value).map(Cow::Owned).into_iter().collect(),
                None => Vec::new(),
            },
        }
    }
}

/// The time that is left for the conditions on the alerts of one body.
pub(super) struct Budget {
    end: Instant,
    skipped: bool,
}

impl Budget {
    /// Starts the time for one body.
    pub fn of_body() -> Self {
        Budget {
            end: Instant::now() + BODY,
            skipped: false,
        }
    }

    /// Returns whether a condition was skipped since the last call, because the time was over.
    pub fn take_skipped(&mut self) -> bool {
        std::mem::take(&mut self.skipped)
    }

    /// Returns the whole time for one body, in seconds.
    pub fn seconds() -> u64 {
        BODY.as_secs()
    }

    fn is_over(&mut self) -> bool {
        self.skipped |= Instant::now() > self.end;
        self.skipped
    }
}

enum Test {
    In(Vec<String>),
    Matches(Pattern),
}

/// The matchers of a rule or mute with their compiled expressions.
pub(super) struct Matchers(Vec<(String, Test)>);

impl Matchers {
    /// Compiles stored matchers.
    ///
    /// # Errors
    /// `Internal` if a matcher is not valid. Matchers are checked before they are stored.
    pub fn compile(matchers: &[Matcher]) -> Result<Self> {
        let ready = matchers.iter().map(|matcher| {
            let test = match (&matcher.is, &matcher.matches, &matcher.one_of) {
                (Some(value), None, None) => Test::In(vec![value.clone()]),
                (None, Some(pattern), None) => {
                    Test::Matches(compile(&matcher.field, pattern).map_err(Error::internal)?)
                }
                (None, None, Some(values)) => Test::In(values.clone()),
                _ => return Err(Error::internal("a stored matcher has no condition")),
            };
            Ok((matcher.field.clone(), test))
        });
        Ok(Matchers(ready.collect::<Result<_>>()?))
    }

    /// Returns the fields with a value that is too long for its regular expression. Such a value does not
    /// match.
    pub fn too_long(&self, subject: Subject<'_>) -> Vec<&str> {
        let unseen = self.0.iter().filter(|(field, test)| match test {
            Test::Matches(pattern) => subject
                .values(field)
                .iter()
                .any(|value| pattern.is_too_long(value)),
            Test::In(_) => false,
        });
        unseen.map(|(field, _)| field.as_str()).collect()
    }

    /// Returns whether all conditions match. A condition that the time is not enough for does not match, and the
    /// budget says that it was skipped. This can take seconds of processor time, so call it outside of a
    /// transaction.
    pub fn hold(&self, subject: Subject<'_>, budget: &mut Budget) -> bool {
        self.0.iter().all(|(field, test)| {
            subject.values(field).iter().any(|value| {
                if budget.is_over() {
                    return false;
                }
                match test {
                    // The sources give severities in lower case.
                    Test::In(values) if field == "severity" => {
                        values.iter().any(|one| one.eq_ignore_ascii_case(value))
                    }
                    Test::In(values) => values.iter().any(|one| one == value),
                    Test::Matches(pattern) => pattern.is_whole(value),
                }
            })
        })
    }

    /// Returns whether a condition is about this field.
    pub fn examine(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }
}

/// Compiles the expressions of matchers that somebody wants to store, on a thread of its own. Compiled expressions are
/// cached, so the transaction that checks and stores the matchers finds them ready. Expressions that are not valid
/// are left to that check.
pub async fn compile_ahead(matchers: &[Matcher]) {
    let patterns: Vec<(String, String)> = matchers
        .iter()
        .take(MAX)
        .filter_map(|matcher| Some((matcher.field.clone(), matcher.matches.clone()?)))
        .filter(|(_, pattern)| pattern.chars().count() <= LONGEST)
        .collect();
    if patterns.is_empty() {
        return;
    }
    let compiled = tokio::task::spawn_blocking(move || {
        for (field, pattern) in patterns {
            let _ = compile(&field, &pattern);
        }
    });
    // Without it the transaction only takes longer.
    let _ = compiled.await;
}

/// Compiles a pattern that must match the whole value.
fn compile(field: &str, pattern: &str) -> Result<Pattern, String> {
    let any_case = field == "severity";
    // Compile the pattern alone first: `a)|(b` is not valid, but it would be valid inside the brackets below.
    Pattern::new(pattern, any_case)?;
    Pattern::new(&format!(r"\A(?:{pattern})\z"), any_case)
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn a_pattern_is_for_the_whole_value() {
        let matches =
            |pattern: &str, value: &str| compile("title", pattern).map(|pattern| pattern.is_whole(value));
        assert_eq!(matches("disk", "disk"), Ok(true));
        assert_eq!(matches("disk", "the disk"), Ok(false));
        assert_eq!(matches("a|b", "ab"), Ok(false));
        assert_eq!(matches("(?m)^b$", "a\nb"), Ok(false));
        assert!(matches("a)|(b", "a").is_err());
        assert!(matches("(", "a").is_err());
        assert!(matches("(?x) a # all", "a").is_err());
        assert!(matches("(a{1000}){1000}", "a").is_err());
        assert_eq!(
            compile("severity", "CRIT.*").map(|pattern| pattern.is_whole("critical")),
            Ok(true)
        );
    }
}
