//! The languages in which customers read what Candor writes.

use super::enums::word_enum;

word_enum! {
    /// A language of the built-in texts for customers.
    #[derive(PartialOrd, Ord)]
    Language, "a language" {
        /// English. It is used where no other language is known.
        En = "en",
        /// German.
        De = "de",
        /// French.
        Fr = "fr",
        /// Spanish.
        Es = "es",
        /// Portuguese.
        Pt = "pt",
        /// Japanese.
        Ja = "ja",
        /// Swahili.
        Sw = "sw",
        /// Arabic.
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

#[cfg(test)]
mod tests {
    use super::Language;

    #[test]
    fn the_first_part_of_a_tag_decides() {
        assert_eq!(Language::of_tag("pt-BR"), Some(Language::Pt));
        assert_eq!(Language::of_tag("DE_at"), Some(Language::De));
        assert_eq!(Language::of_tag("deu"), None);
        assert_eq!(Language::of_tag(""), None);
    }
}
