//! Decides from the source of a template whether it does no more with the values of a recipient than show them or test whether they are
//! empty.

use super::breaks;

/// The parts of a [`MailContext`](super::mail::MailContext) that differ between the recipients of a notice, and all names that can
/// refer to them. Of the recovery, these are its fields: its name is also that of a phase, which a template may compare.
const PERSONAL: [&str; 29] = [
    "t",
    "values",
    "restored",
    "affected",
    "left",
    "summary",
    "finding",
    "recipient",
    "name",
    "what",
    "reason",
    "unsubscribe_url",
    "mine_url",
    "answers",
    "works",
    "broken",
    "help",
    "late",
    "corrects",
    "began",
    "resources",
    "type",
    "id",
    "label",
    "account",
    "this",
    "lookup",
    "with",
    "@root",
];

/// Returns whether the source of a template does no more with the values of a recipient than show them or
/// test whether they are empty.
pub(super) fn only_shows(source: &str) -> bool {
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        let tag = &rest[start + 2..];
        let (close, skip) = if tag.trim_start_matches('~').starts_with("!--") {
            ("--}}", 4)
        } else {
            ("}}", 2)
        };
        let Some(end) = tag.find(close) else { return false };
        let inner = tag[..end].trim_matches(['~', '{', '}', ' ', '\n', '\t', '&']);
        rest = &tag[end + skip..];
        if inner.starts_with('!') {
            continue;
        }
        let words: Vec<&str> = inner.split_whitespace().collect();
        let plain = match words.as_slice() {
            [] | [_] => true,
            [breaks::NAME, _] => true,
            ["#if" | "#unless" | "#each" | ">" | "#>" | "^", one] | ["else", "if" | "unless", one] => {
                !one.starts_with('(')
            }
            // These also test only whether something is empty.
            ["#if" | "#unless", rest @ ..] | ["else", "if" | "unless", rest @ ..]
                if rest
                    .iter()
                    .filter_map(|word| word.strip_prefix('('))
                    .all(|helper| matches!(helper.trim_start_matches('('), "or" | "and" | "not")) =>
            {
                true
            }
            words => !words
                .iter()
                .flat_map(|word| {
                    let bare = word.trim_matches(['(', ')']);
                    // These are other names for the whole context.
                    if bare == "." || bare.contains("..") {
                        "this"
                    } else {
                        word
                    }
                    .split(['.', '/', '(', ')', '[', ']', '=', '|', '"', '\''])
                })
                .filter(|part| !part.is_empty())
                .any(|part| PERSONAL.contains(&part)),
        };
        if !plain {
            return false;
        }
    }
    true
}
