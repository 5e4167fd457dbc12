//! Finds text that somebody wanted to replace before a notice is sent: `[what happened]`, `TODO`, `lorem ipsum`, or a value of a
//! recipient that is written wrongly.
//!
//! A notice with such a text is never sent. A draft may contain it, so that a text can be started from a suggestion. Other braces and
//! brackets are ordinary text.

use super::compose::Content;
use super::suggested::is_to_replace;
use super::translation;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::language::Language;
use crate::notice::template::hide;

/// Words that stand for a text that is still to be written. They are compared with upper and lower case.
const WORDS: [&str; 4] = ["TODO", "TBD", "XXX", "FIXME"];
/// The sample text of typesetters, in lower case.
const SAMPLE: &str = "lorem ipsum";
/// What a text in brackets begins with if it says what is to be written there, in lower case.
const BEGINNINGS: [&str; 20] = [
    "what",
    "when",
    "where",
    "who",
    "which",
    "how",
    "why",
    "the",
    "your",
    "insert",
    "describe",
    "name",
    "add",
    "fill",
    "enter",
    "explain",
    "time",
    "date",
    "text",
    "placeholder",
];
/// The longest text in brackets that is a placeholder, in characters.
const LONGEST: usize = 120;
/// The largest number of placeholders that an error names for one field.
const NAMED: usize = 5;

/// Returns the placeholders of the texts that customers would get, one error for each field.
pub(super) fn errors(content: &Content) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut look = |pointer: &str, text: Option<&str>, has_values: bool| {
        let found = text.map(|text| find(text, has_values)).unwrap_or_default();
        if let Some(detail) = sentence(&found) {
            errors.push(FieldError::at(pointer, detail));
        }
    };
    look("/subject", content.subject.as_deref(), false);
    look("/headline", content.headline.as_deref(), false);
    look("/message", Some(&content.message), true);
    let action = content.action.as_ref();
    look(
        "/customer_action/text",
        action.map(|action| action.text.as_str()),
        true,
    );
    for (language, of) in &content.translations {
        let at = translation::pointer(*language);
        look(&format!("{at}/subject"), of.subject.as_deref(), false);
        look(&format!("{at}/headline"), of.headline.as_deref(), false);
        look(&format!("{at}/message"), Some(&of.message), true);
        let action = of.action.as_ref().map(|action| action.text.as_str());
        look(&format!("{at}/customer_action/text"), action, true);
    }
    errors
}

/// Checks that nothing is left to replace.
///
/// # Errors
/// `Invalid` with each field that contains a placeholder.
pub(super) fn require_none(content: &Content) -> Result<()> {
    let errors = errors(content);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(errors).code(Code::PlaceholderText))
    }
}

/// Returns the warning of a preview.
pub(super) fn warning(content: &Content) -> Option<String> {
    let errors = errors(content);
    let said: Vec<String> = errors
        .iter()
        .map(|error| {
            let pointer = error.pointer.as_deref().unwrap_or_default();
            let (language, at) = match pointer.strip_prefix("/translations/") {
                Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
                None => ("", pointer.trim_start_matches('/')),
            };
            let field = match at {
                "subject" | "headline" | "message" => at,
                _ => "text for the customer",
            };
            match Language::parse(language) {
                Ok(language) => format!("the {} {field} {}", language.english_name(), error.detail),
                Err(_) => format!("the {field} {}", error.detail),
            }
        })
        .collect();
    (!said.is_empty()).then(|| format!("{}; it cannot be sent like this", said.join("; ")))
}

/// Returns what is wrong with a text that contains these placeholders.
fn sentence(found: &[String]) -> Option<String> {
    if found.is_empty() {
        return None;
    }
    let named: Vec<String> = found.iter().take(NAMED).map(|one| format!("“{one}”")).collect();
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "contains placeholder text that must be replaced: {}{more}",
        named.join(", ")
    ))
}

/// Returns the placeholders in a text, in their order, each once. `has_values` says that `{{values.KEY}}` is replaced in it.
fn find(text: &str, has_values: bool) -> Vec<String> {
    let text = match has_values {
        // What is replaced is no placeholder. The space keeps the texts on both sides apart.
        true => hide(text, " "),
        false => text.to_owned(),
    };
    let mut found: Vec<(usize, String)> = Vec::new();
    found.extend(braces(&text));
    found.extend(brackets(&text));
    for word in WORDS {
        found.extend(
            text.match_indices(word)
                .filter(|(at, _)| stands_alone(&text, *at, word.len()))
                .map(|(at, word)| (at, word.to_owned())),
        );
    }
    // The lower case of some letters has another length, so only ASCII is compared.
    let lower = text.to_ascii_lowercase();
    found.extend(
        lower
            .match_indices(SAMPLE)
            .map(|(at, _)| (at, text[at..at + SAMPLE.len()].to_owned())),
    );
    found.sort();
    let mut said: Vec<String> = Vec::new();
    for (_, one) in found {
        if !said.contains(&one) {
            said.push(one);
        }
    }
    said
}

/// Returns whether the characters around a word are no part of it.
fn stands_alone(text: &str, at: usize, length: usize) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    !text[..at].chars().next_back().is_some_and(is_part)
        && !text[at + length..].chars().next().is_some_and(is_part)
}

/// Returns the texts in two braces that were meant as a value of a recipient, and are none.
fn braces(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("{{").map(|at| from + at) {
        let line = text[at..].lines().next().unwrap_or_default();
        let shown = match line.find("}}") {
            Some(end) => &line[..end + 2],
            None => line,
        };
        if shown[2..].trim_start().to_ascii_lowercase().starts_with("value") {
            found.push((at, crate::base::text::one_line(shown, LONGEST)));
        }
        from = at + shown.len().max(2);
    }
    found
}

/// Returns whether a text in brackets says what is to be written there.
fn is_instruction(inner: &str) -> bool {
    let lower = inner.to_lowercase();
    let first = lower
        .split(|c: char| !c.is_alphabetic())
        .next()
        .unwrap_or_default();
    BEGINNINGS.contains(&first) || matches!(inner, "…" | "...") || is_to_replace(inner)
}

/// Returns the texts in square brackets that say what is to be written there, but not those of a link such as
/// `[the page](https://…)` or of an index such as `a[i]`.
fn brackets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('[') {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, ']' | ')' | '_')) {
            continue;
        }
        let line = text[at + 1..].lines().next().unwrap_or_default();
        let Some(end) = line.find([']', '[']).filter(|end| line[*end..].starts_with(']')) else {
            continue;
        };
        let (inner, after) = (line[..end].trim(), line[end + 1..].chars().next());
        if is_instruction(inner) && !matches!(after, Some('(' | '[')) && inner.chars().count() <= LONGEST {
            found.push((at, format!("[{inner}]")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_and_ordinary_text_is_not() {
        for (text, expected) in [
            (
                "We found [what happened] at [time].",
                vec!["[what happened]", "[time]"],
            ),
            ("[what happened] and [what happened]", vec!["[what happened]"]),
            ("TODO: write it. XXX", vec!["TODO", "XXX"]),
            ("Lorem ipsum dolor", vec!["Lorem ipsum"]),
            ("Hello {{name}}, use {{values.code}}.", vec![]),
            ("[Acme] Files of {{sender}} [resolved]", vec![]),
            ("Use {{ values.code }}", vec!["{{ values.code }}"]),
            ("Use {{values.code", vec!["{{values.code"]),
            ("To be done […]", vec!["[…]"]),
            ("Todo está bien. XXXL, TODOS, a_TODO", vec![]),
            (
                "See [our page](https://x.example) and a[i], [1], [12:30].",
                vec![],
            ),
            ("We use {braces} and [", vec![]),
        ] {
            assert_eq!(find(text, true), expected, "{text}");
        }
        assert_eq!(find("{{values.code}}", false), ["{{values.code}}"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let found: Vec<String> = (0..7).map(|n| format!("[text {n}]")).collect();
        let said = sentence(&found).unwrap_or_default();
        assert!(said.ends_with("“[text 4]” and 2 more"), "{said}");
    }
}
