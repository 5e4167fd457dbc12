//! The fixed sentences of an email in the language of its reader, which templates show as `{{t.KEY}}`.
//!
//! The frozen data of a notice and of a recipient decides the language. The sentences themselves are part of a version of Candor, like
//! the partials. So they are stored with the settings of a process, and an email that was sent is written again with its own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::words::{Texts, put_in};

/// The keys that are parts of other values, and no sentences for a template.
const PARTS: [&str; 11] = [
    "months",
    "date",
    "date_without_year",
    "moment",
    "time_started",
    "time_detected",
    "time_resolved",
    "time_starts",
    "time_ends",
    "impaired_nothing",
    "impaired_part",
];

/// Returns whether templates can show a sentence with this key.
pub(super) fn is_sentence(key: &str) -> bool {
    !PARTS.contains(&key) && Texts::of_mail().has(key)
}

/// What decides how the sentences of an email are written, besides its frozen data.
#[derive(Clone, Debug)]
pub struct Voice {
    texts: Cow<'static, Texts>,
    /// Whether times name their zone as emails of the form 1 did: `(Africa/Nairobi)`.
    long_zones: bool,
}

impl Voice {
    /// Returns what new emails are written with.
    pub fn current() -> Voice {
        Voice {
            texts: Cow::Borrowed(Texts::of_mail()),
            long_zones: false,
        }
    }

    /// Returns what an email was written with. An email of an earlier version has no sentences of its own, because they stood in its
    /// template.
    pub fn of_sent(texts: Option<Texts>, long_zones: bool) -> Voice {
        Voice {
            texts: texts.map_or(Cow::Borrowed(Texts::of_mail()), Cow::Owned),
            long_zones,
        }
    }

    /// Returns a text that is a part of the values of an email.
    pub fn text(&self, key: &str, language: Language) -> &str {
        self.texts.text(key, language).unwrap_or_default()
    }

    /// Returns a time for a reader.
    pub fn moment(&self, language: Language, at: Timestamp, zone: Option<&TimeZone>) -> String {
        match self.long_zones {
            true => at.for_reader(zone),
            false => self.texts.moment(language, at, zone),
        }
    }

    /// Returns the sentences by key. Each has the values of the email, and the form for `number`.
    pub(super) fn sentences(
        &self,
        language: Language,
        number: usize,
        values: &[(&str, &str)],
    ) -> BTreeMap<String, String> {
        let keys = self.texts.keys().filter(|key| !PARTS.contains(key));
        keys.map(|key| {
            let form = self.texts.form(key, language, number);
            (key.to_owned(), put_in(form.unwrap_or_default(), values))
        })
        .collect()
    }
}
