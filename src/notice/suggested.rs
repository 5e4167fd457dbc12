//! Texts to start a message from, in each language. `templates/words/suggested.toml` has one for each phase, and one for a reminder. What
//! stands in square brackets must be replaced: a notice that still contains it is not sent ([`super::placeholder`]).

use std::collections::HashSet;
use std::sync::LazyLock;

use super::row::{Translation, Translations};
use crate::base::error::Result;
use crate::base::language::Language;
use crate::notice::template::Phase;
use crate::words::{Area, Words};

/// The key of the message of a reminder. The others have the name of their phase.
pub(super) const REMINDER: &str = "reminder";

/// Returns the text to start from.
///
/// # Errors
/// An internal error, if the text is missing. A test reads all of them.
pub fn suggested(phase: Phase, language: Language) -> Result<&'static str> {
    text(phase.as_str(), language)
}

/// Returns the text with a key.
///
/// # Errors
/// An internal error, if the text is missing.
pub(super) fn text(key: &str, language: Language) -> Result<&'static str> {
    Words::of(Area::Suggested, language)?.text(key)
}

/// Returns the text with a key in all languages but one, for a draft that nobody has to write first.
///
/// # Errors
/// An internal error, if a text is missing.
pub(super) fn translations(key: &str, own: Language) -> Result<Translations> {
    let others = Language::ALL.into_iter().filter(|language| *language != own);
    others
        .map(|language| {
            let of = Translation {
                subject: None,
                headline: None,
                message: text(key, language)?.to_owned(),
                customer_action: None,
            };
            Ok((language, of))
        })
        .collect()
}

/// Returns whether a text in square brackets is one of these texts, which somebody must replace.
pub(super) fn is_to_replace(inner: &str) -> bool {
    static ALL: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
        let words = Language::ALL
            .into_iter()
            .filter_map(|language| Words::of(Area::Suggested, language).ok());
        let texts = words.flat_map(|words| words.all().into_values());
        texts.flat_map(in_brackets).collect()
    });
    ALL.contains(inner)
}

/// Returns what stands in square brackets.
fn in_brackets(text: &'static str) -> Vec<&'static str> {
    let after = text.split('[').skip(1);
    after.filter_map(|rest| Some(rest.split_once(']')?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::{REMINDER, in_brackets, is_to_replace, suggested, text};
    use crate::base::language::Language;
    use crate::notice::template::Phase;

    #[test]
    fn each_phase_has_a_text_in_each_language() {
        for language in Language::ALL {
            for phase in Phase::ALL {
                let english = in_brackets(suggested(phase, Language::En).expect("a text")).len();
                let found = in_brackets(suggested(phase, language).expect("a text"));
                assert_eq!(found.len(), english, "{phase} {language}");
                assert!(found.into_iter().all(is_to_replace));
            }
            assert!(in_brackets(text(REMINDER, language).expect("a text")).is_empty());
        }
    }
}
