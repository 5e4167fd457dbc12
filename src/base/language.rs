//! The languages in which customers read what Candor writes.

use super::enums::word_enum;

word_enum! {
    /// A language of the built-in texts for customers.
    #[derive(Default, PartialOrd, Ord)]
    Language, "a language" {
        /// English. It is used where no other language is known.
        #[default]
        En = "en",
        /// The texts are in German.
        De = "de",
        /// The texts are in French.
        Fr = "fr",
        /// The texts are in Spanish.
        Es = "es",
        /// The texts are in Portuguese.
        Pt = "pt",
        /// The texts are in Japanese.
        Ja = "ja",
        /// The texts are in Swahili.
        Sw = "sw",
        /// The texts are in Arabic, which is written from right to left.
        Ar = "ar",
    }
}

impl Language {
    /// All languages, in the order in which a page lists them.
    pub const ALL: [Language; 8] = [
        Language::En,
        Language::De,
        Language::Fr,
        Language::Es,
        Language::Pt,
        Language::Ja,
        Language::Sw,
        Language::Ar,
    ];

    /// Returns the language of a tag such as `de-AT` or `pt_BR`, if there are texts in it. Only the first part of the tag counts.
    pub fn of_tag(tag: &str) -> Option<Language> {
        let first = tag.split(['-', '_']).next().unwrap_or_default();
        Language::parse(&first.to_ascii_lowercase()).ok()
    }

    /// Returns the direction of the text, as the HTML attribute `dir`.
    pub fn direction(self) -> &'static str {
        match self {
            Language::Ar => "rtl",
            _ => "ltr",
        }
    }

    /// Returns the name of the language in English, for the pages of operators.
    pub fn english_name(self) -> &'static str {
        match self {
            Language::En => "English",
            Language::De => "German",
            Language::Fr => "French",
            Language::Es => "Spanish",
            Language::Pt => "Portuguese",
            Language::Ja => "Japanese",
            Language::Sw => "Swahili",
            Language::Ar => "Arabic",
        }
    }

    /// Returns the name of the language, in the language itself.
    pub fn own_name(self) -> &'static str {
        match self {
            Language::En => "English",
            Language::De => "Deutsch",
            Language::Fr => "Français",
            Language::Es => "Español",
            Language::Pt => "Português",
            Language::Ja => "日本語",
            Language::Sw => "Kiswahili",
            Language::Ar => "العربية",
        }
    }
}

impl Language {
    /// Returns whether it is English, which frozen data of earlier versions does not name.
    pub fn is_english(&self) -> bool {
        *self == Language::En
    }

    /// Returns a number as a text of this language shows it: `1,259` in English and `1.259` in German. The digits are always 0 to 9,
    /// also in Arabic, because the links, the times and the messages around it have these digits.
    pub fn number(self, number: usize) -> String {
        let digits = number.to_string();
        let separator = match self {
            Language::En | Language::Ja | Language::Sw | Language::Ar => ',',
            // In Spanish, four digits are one group.
            Language::Es if digits.len() < 5 => return digits,
            Language::De | Language::Es | Language::Pt => '.',
            // A narrow space at which no line breaks.
            Language::Fr => '\u{202f}',
        };
        let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(separator);
            }
            text.push(digit);
        }
        text
    }
}

/// The languages that the directory names for a person. What is written to the person uses the first one that there is a text in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferred {
    /// The language of the person, or else that of the account through which the person is affected.
    pub first: Option<Language>,
    /// The language of the account, if it is another one.
    pub second: Option<Language>,
}

impl Preferred {
    /// Returns the languages of the locale of a person and of the locale of the account. A locale without texts in its language is left
    /// out.
    pub fn of(person: Option<&str>, account: Option<&str>) -> Preferred {
        let (person, account) = (
            person.and_then(Language::of_tag),
            account.and_then(Language::of_tag),
        );
        Preferred {
            first: person.or(account),
            second: account.filter(|account| person.is_some_and(|person| person != *account)),
        }
    }

    /// Returns the language of what is written to the person, and the language of the account if it is another one. Without a language of
    /// the person or the account, the first one is `default`.
    pub fn spoken(self, default: Language) -> (Language, Option<Language>) {
        (self.first.unwrap_or(default), self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::{Language, Preferred};

    #[test]
    fn numbers_are_grouped_as_in_the_language() {
        for (language, four, seven) in [
            (Language::En, "1,259", "1,234,567"),
            (Language::De, "1.259", "1.234.567"),
            (Language::Es, "1259", "1.234.567"),
            (Language::Fr, "1\u{202f}259", "1\u{202f}234\u{202f}567"),
            (Language::Ar, "1,259", "1,234,567"),
        ] {
            assert_eq!(language.number(1_259), four);
            assert_eq!(language.number(1_234_567), seven);
            assert_eq!(language.number(12), "12");
        }
    }

    #[test]
    fn a_locale_without_texts_leaves_the_next_one() {
        let of = |person, account| {
            let preferred = Preferred::of(person, account);
            (preferred.first, preferred.second)
        };
        let (de, fr) = (Some(Language::De), Some(Language::Fr));
        assert_eq!(of(Some("de-CH"), Some("fr-CH")), (de, fr));
        assert_eq!(of(Some("nl"), Some("fr")), (fr, None));
        assert_eq!(of(Some("de"), Some("de-AT")), (de, None));
        assert_eq!(of(None, None), (None, None));
    }

    #[test]
    fn the_first_part_of_a_tag_decides() {
        assert_eq!(Language::of_tag("pt-BR"), Some(Language::Pt));
        assert_eq!(Language::of_tag("DE_at"), Some(Language::De));
        assert_eq!(Language::of_tag("deu"), None);
        assert_eq!(Language::of_tag(""), None);
    }
}
