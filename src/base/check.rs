//! Checks that many requests share, for names, texts, time zones, locales and labels. A check collects every
//! error with the JSON pointer of its field, so that one answer contains all of them.

use super::error::{Error, FieldError, Result};
use super::id::ExternalId;

/// The largest length of a long text, such as a summary, a message or a timeline entry, in characters.
pub const MAX_TEXT: usize = 20_000;

/// Labels, which are pairs of a name and a value.
pub type Labels = std::collections::BTreeMap<String, String>;

/// The largest length of a display name, in characters.
pub const MAX_NAME: usize = 500;

/// Checks the fields that many kinds of entries share, and collects the errors.
#[derive(Default)]
pub(crate) struct Check {
    pub errors: Vec<FieldError>,
}

impl Check {
    pub fn name(&mut self, pointer: &str, name: &str) {
        if name.trim().is_empty() {
            self.errors.push(FieldError::at(pointer, "must not be empty"));
        }
        self.text(pointer, name);
    }

    pub fn text(&mut self, pointer: &str, text: &str) {
        let length = text.chars().count();
        if length > MAX_NAME {
            let detail = format!("is {length} characters long; at most {MAX_NAME} are allowed");
            self.errors.push(FieldError::at(pointer, detail));
        }
        // A line break in a name could reach the header of an email.
        if text.chars().any(char::is_control) {
            self.errors.push(FieldError::at(
                pointer,
                "contains a control character, such as a line break",
            ));
        }
    }

    pub fn time_zone(&mut self, pointer: &str, zone: Option<&str>) {
        if let Some(Err(detail)) = zone.map(super::time::time_zone) {
            self.errors.push(FieldError::at(pointer, detail));
        }
    }

    pub fn locale(&mut self, pointer: &str, locale: Option<&str>) {
        let Some(locale) = locale else { return };
        // Only the form of a BCP 47 tag is checked. The tag need not be registered.
        let fits = (2..=35).contains(&locale.len())
            && locale.split(['-', '_']).enumerate().all(|(i, part)| {
                let letters = part.bytes().all(|b| b.is_ascii_alphanumeric());
                letters
                    && (1..=8).contains(&part.len())
                    && (i > 0 || part.bytes().all(|b| b.is_ascii_alphabetic()))
            });
        if !fits {
            self.errors.push(FieldError::at(
                pointer,
                "is not a language tag such as en or pt-BR",
            ));
        }
    }

    pub fn labels(&mut self, pointer: &str, labels: &Labels) {
        if labels.len() > 64 {
            self.errors
                .push(FieldError::at(pointer, "has more than 64 labels"));
        }
        for (name, value) in labels {
            let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            if let Err(detail) = ExternalId::parse(name) {
                self.errors
                    .push(FieldError::at(&at, format!("the label's name {detail}")));
            }
            self.text(&at, value);
        }
    }

    pub fn finish(self) -> Result<()> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Error::fields(self.errors))
        }
    }
}

/// The largest length of a headline for customers, in characters.
pub const MAX_HEADLINE: usize = 120;

/// Checks a headline for customers, which stands in subjects.
pub(crate) fn check_headline(errors: &mut Vec<FieldError>, headline: Option<&str>) {
    let Some(headline) = headline else { return };
    let mut wrong = |detail: String| errors.push(FieldError::at("/headline", detail));
    if headline.trim().is_empty() {
        wrong("must not be empty; leave it out, or set it to null to remove it".to_owned());
    }
    if headline.chars().count() > MAX_HEADLINE {
        wrong(format!("is longer than {MAX_HEADLINE} characters"));
    }
    if headline.chars().any(char::is_control) {
        wrong("contains a control character, such as a line break".to_owned());
    }
}

/// Checks the length of a long text, and that it contains no control characters except line breaks and tabs.
pub(crate) fn check_text(errors: &mut Vec<FieldError>, pointer: &str, text: &str) {
    if text.chars().count() > MAX_TEXT {
        errors.push(FieldError::at(
            pointer,
            format!("is longer than {MAX_TEXT} characters"),
        ));
    }
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        errors.push(FieldError::at(pointer, "contains a control character"));
    }
}
