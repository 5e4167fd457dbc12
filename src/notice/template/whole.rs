//! A template that was parsed and checked: the parts for every reader, and those for the readers of single languages.

use std::collections::BTreeMap;

use super::mail::MailContext;
use super::parsed::Parsed;
use super::partials::PARTIALS;
use super::phase::Phase;
use super::rendered::{Failed, Rendered};
use super::samples::{largest, samples, spoken};
use super::source::Source;
use crate::base::error::{Error, Result};
use crate::base::language::Language;

/// A template that was parsed and checked.
pub struct Template {
    /// For the readers of every language without parts of its own.
    general: Parsed,
    languages: BTreeMap<Language, Parsed>,
}

impl Template {
    /// Parses a template and renders it with samples of every case. A value at an unsafe place of the HTML is no error here,
    /// because notices that are queued with such a template must still be sent: see [`Template::unsafe_place`].
    ///
    /// # Errors
    /// `Invalid` with the part and the line.
    pub fn compile(phase: Phase, source: &Source) -> Result<Template> {
        source.check()?;
        let template = Self::parse(source, &PARTIALS)?;
        for language in template.spoken() {
            let (parsed, before) = template.at(language);
            for sample in template
                .samples_in(phase, language)
                .into_iter()
                .chain([template.filled(spoken(largest(phase), language))])
            {
                parsed
                    .render(&sample)
                    .map_err(|failed| Error::invalid(format!("{before}{}", failed.pointer), failed.detail))?;
            }
        }
        Ok(template)
    }

    /// Parses a template of an email that was already sent, with the partials that it had then.
    ///
    /// # Errors
    /// `Invalid` if this version of Candor cannot parse it any more.
    pub fn with_partials(source: &Source, partials: &[(String, String)]) -> Result<Template> {
        let partials: Vec<(&str, &str)> = partials
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        Self::parse(source, &partials)
    }

    fn parse(source: &Source, partials: &[(&str, &str)]) -> Result<Template> {
        let parse = |parts: [&str; 3], before: &str| {
            Parsed::parse(parts, partials)
                .map_err(|(pointer, detail)| Error::invalid(format!("{before}{pointer}"), detail))
        };
        let general = [&source.subject, &source.text, &source.html].map(String::as_str);
        let own = |language: Language| Some((language, source.of_language(language)?));
        Ok(Template {
            general: parse(general, "")?,
            languages: Language::ALL
                .into_iter()
                .filter_map(own)
                .map(|(language, parts)| Ok((language, parse(parts, &own_pointer(language))?)))
                .collect::<Result<_>>()?,
        })
    }

    /// Returns the parts for the readers of a language, and what stands before the pointers to them.
    fn at(&self, language: Language) -> (&Parsed, String) {
        match self.languages.get(&language) {
            Some(own) => (own, own_pointer(language)),
            None => (&self.general, String::new()),
        }
    }

    fn of(&self, mail: &MailContext) -> &Parsed {
        self.languages.get(&mail.language).unwrap_or(&self.general)
    }

    /// Returns the languages in which emails must be looked at to see all that the template does: each one with parts of its own, and
    /// one of the others, or all of them if the template asks for the language.
    pub fn spoken(&self) -> Vec<Language> {
        let (own, mut others): (Vec<_>, Vec<_>) = Language::ALL
            .into_iter()
            .partition(|language| self.has_own(*language));
        if !self.general.asks_for_language {
            others.truncate(1);
        }
        others.into_iter().chain(own).collect()
    }

    /// Returns whether the language has parts of its own.
    pub fn has_own(&self, language: Language) -> bool {
        self.languages.contains_key(&language)
    }

    fn all(&self) -> impl Iterator<Item = &Parsed> {
        [&self.general].into_iter().chain(self.languages.values())
    }

    /// Returns the [`samples`] of a phase with the values that the template shows.
    pub fn samples(&self, phase: Phase) -> [MailContext; 3] {
        self.samples_in(phase, Language::En)
    }

    /// Returns the [`samples`] of a phase as the readers of a language get them.
    pub fn samples_in(&self, phase: Phase, language: Language) -> [MailContext; 3] {
        samples(phase).map(|sample| match language.is_english() {
            true => self.filled(sample),
            false => self.filled(spoken(sample, language)),
        })
    }

    fn filled(&self, mut sample: MailContext) -> MailContext {
        let value = |key: &String| (key.clone(), "A-1234".to_owned());
        sample
            .values
            .extend(self.all().flat_map(|parsed| &parsed.values).map(value));
        sample
    }

    /// Returns the first place of an HTML part where a customer's value is not safe: the pointer to the part, and the line, the column
    /// and what to do. None if all values are safe.
    pub fn unsafe_place(&self) -> Option<(String, &str)> {
        let general = self
            .general
            .unsafe_place
            .as_deref()
            .map(|why| ("/html".to_owned(), why));
        let mut own = self.languages.iter().filter_map(|(language, parsed)| {
            let why = parsed.unsafe_place.as_deref()?;
            Some((format!("{}/html", own_pointer(*language)), why))
        });
        general.or_else(|| own.next())
    }

    /// Returns whether the template does no more with the values of a recipient than show them or test
    /// whether they are empty. Then emails can be built from prepared pieces.
    pub fn shows_only(&self) -> bool {
        self.all().all(|parsed| parsed.shows_only)
    }

    /// Renders an email, in the parts for its language.
    ///
    /// # Errors
    /// `Invalid` with the part of the template, and with the code `limit_reached` if this email exceeds the limits for
    /// rendering.
    pub fn render(&self, context: &MailContext) -> Result<Rendered> {
        self.of(context).render(context).map_err(Failed::into_error)
    }

    /// Renders an email whose subject is not finished yet (see [`finish_subject`](super::finish_subject)), and whose lines are not [`wrapped`](super::wrapped).
    ///
    /// # Errors
    /// The same as [`Template::render`].
    pub fn render_raw(&self, context: &MailContext) -> Result<Rendered> {
        self.of(context)
            .render_unfinished(context)
            .map_err(Failed::into_error)
    }

    /// Renders the subject alone.
    ///
    /// # Errors
    /// The same as [`Template::render`].
    pub fn subject(&self, context: &MailContext) -> Result<String> {
        self.of(context).subject(context)
    }
}

/// What stands before the pointers to the parts of a language.
fn own_pointer(language: Language) -> String {
    format!("/languages/{language}")
}
