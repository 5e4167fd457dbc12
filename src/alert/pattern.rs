//! Regular expressions that operators write and that run on texts from outside.
//!
//! The time of one search is proportional to the size of the expression times the length of the text, and a
//! list of matches takes that time for each match. So both are limited: a large expression searches only a
//! short text, and each run has a time limit.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use regex::{Captures, Regex, RegexBuilder};

use crate::base::text::one_line;

/// The largest compiled size of a small expression, in bytes.
const SMALL: usize = 64 * 1024;
/// The largest compiled size of any expression, in bytes.
const LARGEST: usize = 1024 * 1024;
/// The length of text that a small expression searches, in bytes.
const SMALL_LOOKS_AT: usize = 64 * 1024;
/// The length of text that a larger expression searches, in bytes.
const LARGE_LOOKS_AT: usize = 4 * 1024;
/// The time limit for all matches of one expression in one text.
const TIME: Duration = Duration::from_millis(250);
/// The number of compiled expressions in the cache.
const KEPT: usize = 2_000;

/// The cache of expressions, by whether upper and lower case are the same. An expression that is not valid has the
/// reason.
type Compiled = HashMap<(bool, String), Result<Pattern, String>>;

/// A compiled expression with its limits.
#[derive(Clone)]
pub(super) struct Pattern {
    /// The compiled regular expression. It searches at most the first `looks_at` bytes of a text.
    pub regex: Regex,
    looks_at: usize,
}

impl Pattern {
    /// Compiles an expression, or takes it from the cache. The cache also knows which expressions are not valid,
    /// because it can take long to find this out.
    ///
    /// # Errors
    /// A sentence that says why the expression is not valid or that it is too large.
    pub fn new(pattern: &str, any_case: bool) -> Result<Pattern, String> {
        static READY: OnceLock<Mutex<Compiled>> = OnceLock::new();
        let key = (any_case, pattern.to_owned());
        let ready = READY.get_or_init(Mutex::default);
        if let Some(known) = ready.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        let build = |size| {
            RegexBuilder::new(pattern)
                .case_insensitive(any_case)
                .size_limit(size)
                .dfa_size_limit(LARGEST)
                .nest_limit(50)
                .build()
        };
        let new = match build(SMALL) {
            Ok(regex) => Ok(Pattern {
                regex,
                looks_at: SMALL_LOOKS_AT,
            }),
            Err(_) => match build(LARGEST) {
                Ok(regex) => Ok(Pattern {
                    regex,
                    looks_at: LARGE_LOOKS_AT,
                }),
                Err(error) => Err(format!(
                    "is not a regular expression: {}",
                    one_line(&error.to_string(), 200)
                )),
            },
        };
        let mut ready = ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= KEPT {
            ready.clear();
        }
        ready.insert(key, new.clone());
        new
    }

    /// Returns whether the expression, which is anchored at both ends, matches a text. A text that is too
    /// long never matches, because a part of it could match although the whole text does not.
    pub fn is_whole(&self, text: &str) -> bool {
        !self.is_too_long(text) && self.regex.is_match(text)
    }

    /// Returns the first matches in the part of a text that the expression searches. The list has at most
    /// `most` matches, or those that were found within the time limit. The second value describes what was
    /// not searched.
    pub fn matches<'t>(&self, text: &'t str, most: usize) -> (Vec<Captures<'t>>, Option<String>) {
        let start = Instant::now();
        let part = self.part(text);
        let mut found = Vec::new();
        for captures in self.regex.captures_iter(part).take(most) {
            found.push(captures);
            if start.elapsed() > TIME {
                let note = format!(
                    "needed more than {} ms for a text of {} bytes; the matches after the first {} are not used",
                    TIME.as_millis(),
                    text.len(),
                    found.len()
                );
                return (found, Some(note));
            }
        }
        let cut = (part.len() < text.len()).then(|| {
            format!(
                "searches only the first {} bytes of a text; this text has {} bytes, and the rest was not searched",
                self.looks_at,
                text.len()
            )
        });
        (found, cut)
    }

    /// Returns whether a text is too long for the expression. Such a text never matches as a whole.
    pub fn is_too_long(&self, text: &str) -> bool {
        text.len() > self.looks_at
    }

    fn part<'t>(&self, text: &'t str) -> &'t str {
        if !self.is_too_long(text) {
            return text;
        }
        let mut end = self.looks_at;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        &text[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_expression_holds_the_processor() {
        let text = "A".repeat(400_000);
        for pattern in [
            "(?<a>.*[^A-Z]|[A-Z])",
            "(?<a>(?:x+x+)+y|A)",
            "(?<a>(?:[A-Z]{0,50}){0,20}b|A)",
            "(?<a>(?:.|A|AA){200}z|A)",
        ] {
            let Ok(pattern) = Pattern::new(pattern, false) else {
                continue;
            };
            let start = Instant::now();
            let (found, note) = pattern.matches(&text, 1_000);
            assert!(!found.is_empty());
            assert!(note.is_some_and(|note| note.contains("400000")));
            // Without the limits, some of these expressions take minutes.
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        }
    }

    #[test]
    fn nesting_and_size_are_bounded() {
        for pattern in [
            format!("{}a{}", "(".repeat(2_000), ")".repeat(2_000)),
            format!("{}a{}", "(?:".repeat(500), "){2}".repeat(500)),
            format!("{}a{}", "[".repeat(2_000), "]".repeat(2_000)),
            "(a{1000}){1000}".to_owned(),
            "\\w{1000}".to_owned(),
        ] {
            assert!(Pattern::new(&pattern, false).is_err());
        }
    }

    #[test]
    fn a_cut_text_keeps_whole_characters() {
        let pattern = Pattern::new("ü", false).unwrap();
        let text = "ü".repeat(100_000);
        let (found, note) = pattern.matches(&text, 10);
        assert_eq!(found.len(), 10);
        assert!(note.is_some());
        assert!(pattern.matches("üü", 10).1.is_none());
        let whole = Pattern::new(r"\A(?:a+)\z", false).unwrap();
        assert!(whole.is_whole("aaa"));
        assert!(!whole.is_whole("aab"));
        assert!(!whole.is_whole(&format!("{}b", "a".repeat(100_000))));
    }
}
