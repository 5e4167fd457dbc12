//! The source of a template: its three parts, and those that the readers of single languages get instead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::partials::PARTIALS;
use super::phase::Phase;
use super::scan;
use crate::base::error::{Error, FieldError, Result};
use crate::base::language::Language;
use crate::base::text::hex;

/// The largest size of one part of a template, in bytes.
const MAX_SIZE: usize = 64 * 1024;

/// The parts of an email template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The subject, which is one line.
    pub subject: String,
    /// The template of the plain text body.
    pub text: String,
    /// The template of the HTML body.
    pub html: String,
    /// What the readers of single languages get instead.
    pub languages: BTreeMap<Language, TemplateTexts>,
}

/// The parts of a template for the readers of one language. A part that is missing is the same as for the other languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateTexts {
    /// The subject in this language, which is one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The template of the plain text body in this language: at most 65,536 bytes, and not empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The template of the HTML body in this language: at most 65,536 bytes, and not empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
}

impl TemplateTexts {
    /// Returns whether no part is given.
    pub fn is_empty(&self) -> bool {
        self.subject.is_none() && self.text.is_none() && self.html.is_none()
    }
}

/// A template as it is given. A part that is missing is that of the built-in template. At least one part must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TemplateSource)]
pub struct NewTemplate {
    /// The subject, which is one line.
    #[serde(default)]
    pub subject: Option<String>,
    /// The template of the plain text body: at most 65,536 bytes, and not empty.
    #[serde(default)]
    pub text: Option<String>,
    /// The template of the HTML body: at most 65,536 bytes, and not empty.
    #[serde(default)]
    pub html: Option<String>,
    /// What the readers of single languages get instead, by language: en, de, fr, es, pt, ja, sw or ar.
    #[serde(default)]
    pub languages: BTreeMap<Language, TemplateTexts>,
}

impl NewTemplate {
    /// Returns the whole template.
    ///
    /// # Errors
    /// `Invalid` if nothing is given, or nothing for a language that is named.
    pub fn source(self, phase: Phase) -> Result<Source> {
        if self.subject.is_none() && self.text.is_none() && self.html.is_none() && self.languages.is_empty() {
            let why = "a template must have a subject, a text, an html, or one of them for a language; a missing part is that of the \
                       built-in template";
            return Err(Error::invalid("", why));
        }
        let empty = |(language, texts): (&Language, &TemplateTexts)| {
            let why =
                "must have a subject, a text or an html; leave the language out if it has nothing of its own";
            texts
                .is_empty()
                .then(|| FieldError::at(format!("/languages/{language}"), why))
        };
        let errors: Vec<FieldError> = self.languages.iter().filter_map(empty).collect();
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
        let built_in = Source::builtin(phase);
        Ok(Source {
            subject: self.subject.unwrap_or(built_in.subject),
            text: self.text.unwrap_or(built_in.text),
            html: self.html.unwrap_or(built_in.html),
            languages: self.languages,
        })
    }
}

macro_rules! builtin {
    ($phase:literal) => {
        (
            include_str!(concat!("../../../templates/email/", $phase, "/subject.txt.hbs")),
            include_str!(concat!("../../../templates/email/", $phase, "/body.txt.hbs")),
            include_str!(concat!("../../../templates/email/", $phase, "/body.html.hbs")),
        )
    };
}

impl Source {
    /// Makes a template that is the same for every language.
    pub fn new(subject: impl Into<String>, text: impl Into<String>, html: impl Into<String>) -> Source {
        Source {
            subject: subject.into(),
            text: text.into(),
            html: html.into(),
            languages: BTreeMap::new(),
        }
    }

    /// Returns the built-in template of a phase. Its sentences are in the language of each reader.
    pub fn builtin(phase: Phase) -> Source {
        let (subject, text, html) = match phase {
            Phase::Detection => builtin!("detection"),
            Phase::Update => builtin!("update"),
            Phase::Recovery => builtin!("recovery"),
            Phase::Resolution => builtin!("resolution"),
            Phase::Report => builtin!("report"),
            Phase::Correction => builtin!("correction"),
            Phase::Maintenance => builtin!("maintenance"),
        };
        Source::new(subject, text, html)
    }

    /// Returns an ID that depends only on the phase, the parts and the partials.
    pub fn id(&self, phase: Phase) -> String {
        let mut hasher = Sha256::new();
        let mut add = |part: &str| {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        };
        for part in [phase.as_str(), &self.subject, &self.text, &self.html] {
            add(part);
        }
        for (language, texts) in &self.languages {
            add(language.as_str());
            for part in [&texts.subject, &texts.text, &texts.html] {
                // An empty part is not allowed, so it stands for a missing one.
                add(part.as_deref().unwrap_or_default());
            }
        }
        for (name, text) in PARTIALS {
            hasher.update(name);
            hasher.update(text);
        }
        hex(&hasher.finalize())
    }

    /// Returns the parts that the readers of a language get: subject, text and HTML. `None` if the language has none of its own.
    pub(super) fn of_language(&self, language: Language) -> Option<[&str; 3]> {
        let own = self.languages.get(&language)?;
        Some([
            own.subject.as_deref().unwrap_or(&self.subject),
            own.text.as_deref().unwrap_or(&self.text),
            own.html.as_deref().unwrap_or(&self.html),
        ])
    }

    /// Returns every part that was given.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let general = [&self.subject, &self.text, &self.html];
        let own = self
            .languages
            .values()
            .flat_map(|texts| [&texts.subject, &texts.text, &texts.html]);
        general.into_iter().chain(own.flatten()).map(String::as_str)
    }

    /// Checks the size and the nesting of each part before anything parses it.
    ///
    /// # Errors
    /// `Invalid` with each part that is wrong.
    pub(super) fn check(&self) -> Result<()> {
        let general = [
            ("/subject", Some(&self.subject)),
            ("/text", Some(&self.text)),
            ("/html", Some(&self.html)),
        ];
        let mut errors = Vec::new();
        let mut check = |before: &str, parts: [(&str, Option<&String>); 3]| {
            for (pointer, part) in parts {
                if let Some(Err(detail)) = part.map(|text| check_part(pointer, text)) {
                    errors.push(FieldError::at(format!("{before}{pointer}"), detail));
                }
            }
        };
        check("", general);
        for (language, texts) in &self.languages {
            let own = [
                ("/subject", texts.subject.as_ref()),
                ("/text", texts.text.as_ref()),
                ("/html", texts.html.as_ref()),
            ];
            check(&format!("/languages/{language}"), own);
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Error::fields(errors)),
        }
    }
}

fn check_part(pointer: &str, text: &str) -> std::result::Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("contains a NUL character".to_owned());
    }
    if text.len() > MAX_SIZE {
        return Err(format!("is larger than {MAX_SIZE} bytes"));
    }
    scan::scan(text, pointer == "/html")
}
