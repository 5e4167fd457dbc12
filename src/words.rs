//! The sentences that customers read, in each language. `templates/words/` has one file for each area: a table for each key, with
//! one text for each language.
//!
//! - Every key has a text in every language, and all of them have the same placeholders. A test reads all files.
//! - A text about a number can have plural forms instead of one text: `de = { one = "1 Datei", other = "{count} Dateien" }`, with the
//!   categories of CLDR that its language has. A language whose text is the same for every number has one text.
//! - A placeholder is a name in braces, such as `{count}`. Its value is put in as it is, and the page or the email escapes it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use icu_locale_core::Locale;
use icu_plurals::{PluralCategory, PluralRules};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::base::time::{LocalTime, Timestamp};

macro_rules! areas {
    ($($(#[$doc:meta])* $area:ident = $file:literal),+ $(,)?) => {
        /// A part of what customers read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Area { $($(#[$doc])* $area),+ }

        impl Area {
            /// All areas, each of which has a file in `templates/words/`.
            pub const ALL: &[Area] = &[$(Area::$area),+];

            /// Returns the texts of the area. They are read once in a process.
            fn texts(self) -> &'static std::result::Result<Texts, String> {
                match self {
                    $(Area::$area => {
                        static TEXTS: LazyLock<std::result::Result<Texts, String>> = LazyLock::new(|| {
                            read(concat!($file, ".toml"), include_str!(concat!("../templates/words/", $file, ".toml")))
                        });
                        &TEXTS
                    })+
                }
            }
        }
    };
}

areas! {
    /// What stands on every public page.
    Page = "page",
    /// What the status page shows.
    Status = "status",
    /// What the channels to chats and push services of accounts show.
    Channels = "channels",
    /// The sentences of emails, and how they write times.
    Mail = "mail",
    /// What is frozen with a recipient of an email.
    Phrases = "phrases",
    /// The pages that the links in emails lead to, and their errors.
    Customer = "customer",
    /// The feed in the product, and the names of the phases.
    Feed = "feed",
    /// The page "My incidents".
    Mine = "mine",
    /// The texts to start a message from.
    Suggested = "suggested",
    /// The pages and emails for subscribers of the status page.
    Subscription = "subscription",
}

/// One text, or its plural forms by category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    One(String),
    Forms(BTreeMap<String, String>),
}

/// The texts of an area: by key, then by language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Texts(BTreeMap<String, BTreeMap<Language, Entry>>);

impl Texts {
    /// Returns the sentences of emails. They are empty if their file cannot be read, which a test rules out.
    pub fn of_mail() -> &'static Texts {
        static NONE: Texts = Texts(BTreeMap::new());
        Area::Mail.texts().as_ref().unwrap_or(&NONE)
    }

    /// Returns what is frozen with a recipient. It is empty if its file cannot be read, which a test rules out.
    pub fn of_phrases() -> &'static Texts {
        static NONE: Texts = Texts(BTreeMap::new());
        Area::Phrases.texts().as_ref().unwrap_or(&NONE)
    }

    /// Returns the keys of all texts, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn entry(&self, key: &str, language: Language) -> Option<&Entry> {
        self.0.get(key)?.get(&language)
    }

    /// Returns a text that has no plural forms, with its placeholders.
    pub fn text(&self, key: &str, language: Language) -> Option<&str> {
        match self.entry(key, language)? {
            Entry::One(text) => Some(text),
            Entry::Forms(_) => None,
        }
    }

    /// Returns the form of a text for a number, with its placeholders.
    pub fn form(&self, key: &str, language: Language, number: usize) -> Option<&str> {
        match self.entry(key, language)? {
            Entry::One(text) => Some(text),
            Entry::Forms(forms) => forms
                .get(category(language, number))
                .or_else(|| forms.get("other"))
                .map(String::as_str),
        }
    }

    /// Returns a text with the values of its placeholders. It is empty if there is no such key.
    pub fn with(&self, key: &str, language: Language, values: &[(&str, &str)]) -> String {
        put_in(self.text(key, language).unwrap_or_default(), values)
    }

    /// Returns the form of a text for a number, with the values of its placeholders. `{count}` is the number.
    pub fn counted(&self, key: &str, language: Language, number: usize, values: &[(&str, &str)]) -> String {
        let count = language.number(number);
        let mut all = vec![("count", count.as_str())];
        all.extend_from_slice(values);
        put_in(self.form(key, language, number).unwrap_or_default(), &all)
    }

    /// Returns a time for its reader, first in the time zone of the reader: `14 March 2024, 09:51 EAT (06:51 UTC)`. The date in UTC is
    /// added if it differs. Without a time zone, it is `14 March 2024, 06:51 UTC`.
    pub fn moment(&self, language: Language, at: Timestamp, zone: Option<&TimeZone>) -> String {
        let utc = at.local(&TimeZone::UTC);
        let date = |key: &str, of: &LocalTime| {
            let months = self.text("months", language).unwrap_or_default();
            let month = months.split(", ").nth(usize::from(of.month.saturating_sub(1)));
            let day = match language {
                Language::Fr if of.day == 1 => "1er".to_owned(),
                _ => of.day.to_string(),
            };
            let year = of.year.to_string();
            self.with(
                key,
                language,
                &[
                    ("day", &day),
                    ("month", month.unwrap_or_default()),
                    ("year", &year),
                ],
            )
        };
        let in_utc = |date: &str| {
            let values = [("date", date), ("time", utc.clock.as_str()), ("zone", "UTC")];
            self.with("moment", language, &values)
        };
        let local = match zone.filter(|zone| **zone != TimeZone::UTC) {
            Some(zone) => at.local(zone),
            None => return in_utc(&date("date", &utc)),
        };
        if local.zone == "UTC" {
            return in_utc(&date("date", &local));
        }
        let first = self.with(
            "moment",
            language,
            &[
                ("date", &date("date", &local)),
                ("time", &local.clock),
                ("zone", &local.zone),
            ],
        );
        let second = match (local.year, local.month, local.day) == (utc.year, utc.month, utc.day) {
            true => format!("{} UTC", utc.clock),
            false => in_utc(&date("date_without_year", &utc)),
        };
        format!("{first} ({second})")
    }
}

/// Returns the CLDR category of a number in a language, as the files name it.
fn category(language: Language, number: usize) -> &'static str {
    // The rules are in the program, so this only looks them up.
    let rules = Locale::try_from_str(language.as_str())
        .ok()
        .and_then(|locale| PluralRules::try_new_cardinal(locale.into()).ok());
    match rules.map(|rules| rules.category_for(number)) {
        Some(PluralCategory::Zero) => "zero",
        Some(PluralCategory::One) => "one",
        Some(PluralCategory::Two) => "two",
        Some(PluralCategory::Few) => "few",
        Some(PluralCategory::Many) => "many",
        Some(PluralCategory::Other) | None => "other",
    }
}

fn read(file: &str, text: &str) -> std::result::Result<Texts, String> {
    toml::from_str(text).map_err(|e| format!("templates/words/{file}: {e}"))
}

/// The texts of one area in one language.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    texts: &'static Texts,
    language: Language,
}

impl Words {
    /// Returns the texts of an area in a language.
    ///
    /// # Errors
    /// An internal error, if the file of the area cannot be read. A test reads all of them.
    pub fn of(area: Area, language: Language) -> Result<Words> {
        match area.texts() {
            Ok(texts) => Ok(Words { texts, language }),
            Err(reason) => Err(Error::Internal(reason.clone().into())),
        }
    }

    /// Returns a text without placeholders, or with placeholders that are still to be replaced.
    ///
    /// # Errors
    /// An internal error, if there is no such key.
    pub fn text(&self, key: &str) -> Result<&'static str> {
        self.texts
            .text(key, self.language)
            .ok_or_else(|| Error::Internal(format!("there is no text '{key}' in {}", self.language).into()))
    }

    /// Returns a text with the values of its placeholders.
    ///
    /// # Errors
    /// An internal error, if there is no such key.
    pub fn with(&self, key: &str, values: &[(&str, &str)]) -> Result<String> {
        Ok(put_in(self.text(key)?, values))
    }

    /// Returns the form of a text for a number, with the values of its placeholders. `{count}` is the number.
    ///
    /// # Errors
    /// An internal error, if there is no such key.
    pub fn counted(&self, key: &str, number: usize, values: &[(&str, &str)]) -> Result<String> {
        match self.texts.form(key, self.language, number) {
            Some(_) => Ok(self.texts.counted(key, self.language, number, values)),
            None => Err(Error::Internal(
                format!("there is no text '{key}' in {}", self.language).into(),
            )),
        }
    }

    /// Returns all texts without plural forms by key, for a template that uses them as `{{w.key}}`.
    pub fn all(&self) -> BTreeMap<&'static str, &'static str> {
        self.texts
            .keys()
            .filter_map(|key| Some((key, self.texts.text(key, self.language)?)))
            .collect()
    }
}

/// Returns a time for its reader, as [`Texts::moment`] writes it.
pub fn moment(language: Language, at: Timestamp, zone: Option<&TimeZone>) -> String {
    Texts::of_mail().moment(language, at, zone)
}

/// Replaces the placeholders of a text. The text is read once, so that a value never adds a placeholder.
pub(crate) fn put_in(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let value = rest.find('}').and_then(|close| {
            let (_, value) = values.iter().find(|(name, _)| *name == &rest[1..close])?;
            Some((close, *value))
        });
        match value {
            Some((close, value)) => {
                out.push_str(value);
                rest = &rest[close + 1..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Area, Entry, Language, Texts, category, moment, put_in};
    use crate::base::time::{Timestamp, time_zone};

    fn placeholders(text: &str) -> BTreeSet<&str> {
        text.split('{')
            .skip(1)
            .filter_map(|after| Some(after.split_once('}')?.0))
            .collect()
    }

    #[test]
    fn every_key_has_a_text_with_the_same_placeholders_in_every_language() {
        for area in Area::ALL {
            let texts = area.texts().as_ref().expect("a file that can be read");
            assert!(!texts.0.is_empty(), "{area:?}");
            for (key, texts) in &texts.0 {
                let is_counted = texts.values().any(|entry| matches!(entry, Entry::Forms(_)));
                let english: BTreeSet<&str> = match &texts[&Language::En] {
                    Entry::One(text) => placeholders(text),
                    Entry::Forms(forms) => placeholders(&forms["other"]),
                };
                for language in Language::ALL {
                    let at = format!("{area:?} {key} {language}");
                    let entry = texts.get(&language).unwrap_or_else(|| panic!("no {at}"));
                    let forms: Vec<&String> = match entry {
                        Entry::One(text) => vec![text],
                        Entry::Forms(forms) => forms.values().collect(),
                    };
                    for text in forms {
                        assert!(!text.trim().is_empty(), "{at}");
                        let used = placeholders(text);
                        match is_counted {
                            // A form such as "both files" needs no number.
                            true => assert!(used.is_subset(&english), "{at}: {used:?}"),
                            false => assert_eq!(used, english, "{at}"),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn plural_forms_are_those_of_their_language() {
        for area in Area::ALL {
            for (key, texts) in &area.texts().as_ref().expect("a file").0 {
                for (language, entry) in texts {
                    let Entry::Forms(forms) = entry else { continue };
                    let needed: BTreeSet<&str> =
                        (0..=1_000).map(|number| category(*language, number)).collect();
                    let there: BTreeSet<&str> = forms.keys().map(String::as_str).collect();
                    assert_eq!(there, needed, "{area:?} {key} {language}");
                }
            }
        }
    }

    #[test]
    fn each_number_has_the_form_of_its_language() {
        let said = |language, number| Texts::of_mail().counted("more", language, number, &[]);
        for (language, one, two, eleven) in [
            (Language::En, "and 1 more", "and 2 more", "and 11 more"),
            (Language::De, "und 1 weitere", "und 2 weitere", "und 11 weitere"),
            (Language::Fr, "et 1 autre", "et 2 autres", "et 11 autres"),
        ] {
            assert_eq!(
                [said(language, 1), said(language, 2), said(language, 11)],
                [one, two, eleven]
            );
        }
        let arabic: BTreeSet<String> = [1, 2, 3, 11]
            .map(|number| said(Language::Ar, number).replace(char::is_numeric, ""))
            .into();
        assert!(arabic.len() >= 3, "{arabic:?}");
        assert_eq!(
            [0, 1, 2, 5, 11, 100].map(|number| category(Language::Ar, number)),
            ["zero", "one", "two", "few", "many", "other"]
        );
        assert_eq!(
            [0, 1, 2].map(|number| category(Language::Fr, number)),
            ["one", "one", "other"]
        );
        assert_eq!(category(Language::Ja, 1), "other");
    }

    #[test]
    fn a_time_is_written_as_in_the_language() {
        let at = Timestamp::parse("2024-03-01T21:51:00Z").unwrap();
        let (nairobi, riyadh, sao_paulo) = (
            time_zone("Africa/Nairobi").unwrap(),
            time_zone("Asia/Riyadh").unwrap(),
            time_zone("America/Sao_Paulo").unwrap(),
        );
        for (language, zone, said) in [
            (
                Language::En,
                Some(&nairobi),
                "2 March 2024, 00:51 EAT (1 March, 21:51 UTC)",
            ),
            (Language::En, None, "1 March 2024, 21:51 UTC"),
            (
                Language::De,
                Some(&nairobi),
                "2. März 2024, 00:51 EAT (1. März, 21:51 UTC)",
            ),
            (Language::Fr, None, "1er mars 2024 à 21:51 UTC"),
            (Language::Es, None, "1 de marzo de 2024, 21:51 UTC"),
            (
                Language::Pt,
                Some(&sao_paulo),
                "1 de março de 2024, 18:51 UTC-3 (21:51 UTC)",
            ),
            (Language::Ja, None, "2024年3月1日 21:51 UTC"),
            (
                Language::Sw,
                Some(&nairobi),
                "2 Machi 2024, 00:51 EAT (1 Machi, 21:51 UTC)",
            ),
            (
                Language::Ar,
                Some(&riyadh),
                "2 مارس 2024، 00:51 UTC+3 (1 مارس، 21:51 UTC)",
            ),
        ] {
            assert_eq!(moment(language, at, zone), said);
        }
    }

    #[test]
    fn a_value_adds_no_placeholder() {
        assert_eq!(put_in("{a} and {b}", &[("a", "{b}"), ("b", "x")]), "{b} and x");
        assert_eq!(put_in("{c} {", &[("a", "x")]), "{c} {");
    }
}
