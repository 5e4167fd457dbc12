//! The sentences that customers read, in each language. `templates/words/` has one file for each area: a table for each key, with
//! one text for each language.
//!
//! - Every key has a text in every language, and all of them have the same placeholders. A test reads all files.
//! - A placeholder is a name in braces, such as `{count}`. Its value is put in as it is, and the page or the email escapes it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::base::error::{Error, Result};
use crate::base::language::Language;

macro_rules! areas {
    ($($(#[$doc:meta])* $area:ident = $file:literal),+ $(,)?) => {
        /// A part of what customers read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Area { $($(#[$doc])* $area),+ }

        impl Area {
            /// All areas.
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
    /// The feed in the product, and the names of the phases.
    Feed = "feed",
    /// The page "My incidents".
    Mine = "mine",
}

/// The texts of an area: by key, then by language.
type Texts = BTreeMap<String, BTreeMap<Language, String>>;

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
            .get(key)
            .and_then(|texts| texts.get(&self.language))
            .map(String::as_str)
            .ok_or_else(|| Error::Internal(format!("there is no text '{key}' in {}", self.language).into()))
    }

    /// Returns a text with the values of its placeholders.
    ///
    /// # Errors
    /// An internal error, if there is no such key.
    pub fn with(&self, key: &str, values: &[(&str, &str)]) -> Result<String> {
        Ok(put_in(self.text(key)?, values))
    }

    /// Returns all texts by key, for a template that uses them as `{{w.key}}`.
    pub fn all(&self) -> BTreeMap<&'static str, &'static str> {
        self.texts
            .iter()
            .filter_map(|(key, texts)| Some((key.as_str(), texts.get(&self.language)?.as_str())))
            .collect()
    }
}

/// Replaces the placeholders of a text. The text is read once, so that a value never adds a placeholder.
fn put_in(text: &str, values: &[(&str, &str)]) -> String {
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

    use super::{Area, Language, put_in};

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
            assert!(!texts.is_empty(), "{area:?}");
            for (key, texts) in texts {
                let english = placeholders(&texts[&Language::En]);
                for language in Language::ALL {
                    let text = texts
                        .get(&language)
                        .unwrap_or_else(|| panic!("{area:?} {key}: no {language}"));
                    assert_eq!(text.trim(), text, "{area:?} {key} {language}");
                    assert!(!text.is_empty(), "{area:?} {key} {language}");
                    assert_eq!(placeholders(text), english, "{area:?} {key} {language}");
                }
            }
        }
    }

    #[test]
    fn a_value_adds_no_placeholder() {
        assert_eq!(put_in("{a} and {b}", &[("a", "{b}"), ("b", "x")]), "{b} and x");
        assert_eq!(put_in("{c} {", &[("a", "x")]), "{c} {");
    }
}
