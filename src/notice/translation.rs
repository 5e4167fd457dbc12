//! The texts of a notice in other languages than its own, and which languages its recipients read.
//!
//! A person gets the message in the language of the person, else in that of the account, else in the language of the notice. Everything
//! that is checked about the message is checked about each translation.

use std::collections::BTreeMap;

use serde::Serialize;

use super::compose::{Content, TranslatedTexts};
use super::recipients::Recipients;
use super::row::{CustomerAction, Row, Translation, Translations};
use crate::base::check::{check_headline, check_text};
use crate::base::count::counted;
use crate::base::error::{FieldError, Result};
use crate::base::language::Language;
use crate::base::text::undirected;

/// Checks the texts of a notice in one language.
pub(super) fn check_parts(
    errors: &mut Vec<FieldError>,
    message: Option<&str>,
    subject: Option<&str>,
    action: Option<&CustomerAction>,
) {
    if let Some(message) = message {
        if message.trim().is_empty() {
            errors.push(FieldError::at("/message", "must not be empty"));
        }
        check_text(errors, "/message", message);
    }
    if let Some(subject) = subject {
        if subject.trim().is_empty() {
            errors.push(FieldError::at(
                "/subject",
                "must not be empty; leave it out to use the default subject",
            ));
        }
        if subject.chars().any(char::is_control) {
            errors.push(FieldError::at(
                "/subject",
                "contains a control character, such as a line break",
            ));
        }
        if subject.chars().count() > 200 {
            errors.push(FieldError::at("/subject", "is longer than 200 characters"));
        }
    }
    if let Some(action) = action {
        let text = action.text.as_deref().map(str::trim).unwrap_or_default();
        if action.required && text.is_empty() {
            errors.push(FieldError::at(
                "/customer_action/text",
                "is missing; write what the customer must do",
            ));
        }
        if !action.required && !text.is_empty() {
            errors.push(FieldError::at(
                "/customer_action/text",
                "must be left out if required is false",
            ));
        }
        check_text(errors, "/customer_action/text", text);
    }
}

/// Checks the translations of a notice whose own customer action is `action`.
pub(super) fn check(
    errors: &mut Vec<FieldError>,
    translations: &Translations,
    action: Option<&CustomerAction>,
) {
    for (language, of) in translations {
        let mut wrong = Vec::new();
        check_parts(
            &mut wrong,
            Some(&of.message),
            of.subject.as_deref(),
            of.customer_action.as_ref(),
        );
        check_headline(&mut wrong, of.headline.as_deref());
        wrong.extend(differing_action(of.customer_action.as_ref(), action));
        errors.extend(wrong.into_iter().map(|error| FieldError {
            pointer: error.pointer.map(|at| format!("{}{at}", pointer(*language))),
            ..error
        }));
    }
}

/// Returns the JSON pointer of a translation.
pub(super) fn pointer(language: Language) -> String {
    format!("/translations/{language}")
}

/// Returns what is wrong with the action of a translation, compared with that of the notice. Readers of all languages must be told the
/// same.
fn differing_action(given: Option<&CustomerAction>, own: Option<&CustomerAction>) -> Option<FieldError> {
    let detail = match (given, own) {
        (None, Some(own)) if own.required => {
            return Some(FieldError::at(
                "/customer_action",
                "is missing; the notice says what the customer must do, so each translation must say it",
            ));
        }
        (None, _) => return None,
        (Some(_), None) => {
            "must be left out: the notice itself does not say whether the customer must do anything"
        }
        (Some(given), Some(own)) if given.required != own.required => {
            "must be the same as that of the notice: readers of all languages must be told the same"
        }
        (Some(_), Some(_)) => return None,
    };
    Some(FieldError::at("/customer_action/required", detail))
}

/// Returns the translations as they are stored. Without any, nothing is stored.
pub(super) fn stored(translations: &Translations) -> Result<Option<String>> {
    let trimmed = |text: &Option<String>| text.as_deref().map(|text| text.trim().to_owned());
    let trimmed: Translations = translations
        .iter()
        .map(|(language, of)| {
            let of = Translation {
                subject: trimmed(&of.subject),
                headline: trimmed(&of.headline),
                message: of.message.trim().to_owned(),
                customer_action: of.customer_action.clone(),
            };
            (*language, of)
        })
        .collect();
    Ok(match trimmed.is_empty() {
        true => None,
        false => Some(serde_json::to_string(&trimmed)?),
    })
}

/// Returns the translations of a notice for its emails. Where a translation does not say that nothing is to be done, the notice does.
pub(super) fn for_mail(row: &Row) -> Result<BTreeMap<Language, TranslatedTexts>> {
    let own = row.action()?;
    let texts = |of: Translation| TranslatedTexts {
        subject: of.subject,
        headline: of.headline.map(|headline| undirected(&headline).into_owned()),
        message: of.message,
        action: of
            .customer_action
            .as_ref()
            .or(own.as_ref().filter(|own| !own.required))
            .map(CustomerAction::for_mail),
    };
    let all = row.translations()?.into_iter();
    Ok(all.map(|(language, of)| (language, texts(of))).collect())
}

/// How many people of a notice read a language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LanguageUse {
    /// The language of the fixed sentences of their emails.
    pub locale: Language,
    /// The number of people.
    pub people: usize,
    /// The language of the message in their emails, if it is not written in their language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Language>,
    /// The position of the first of them in the list of recipients, from 1.
    #[serde(skip)]
    pub ordinal: i64,
}

/// Returns the languages of the recipients, those with the most people first.
pub(super) fn languages(content: &Content, recipients: &Recipients) -> Vec<LanguageUse> {
    let mut found: BTreeMap<(Language, Option<Language>), LanguageUse> = BTreeMap::new();
    for (ordinal, packed) in (1..).zip(recipients.iter()) {
        let languages = packed.languages();
        let said = content.language_for(languages);
        let fallback = (said != languages.0).then_some(said);
        let use_ = found.entry((languages.0, fallback)).or_insert(LanguageUse {
            locale: languages.0,
            people: 0,
            fallback,
            ordinal,
        });
        use_.people += packed.people() as usize;
    }
    let mut found: Vec<LanguageUse> = found.into_values().collect();
    found.sort_by_key(|one| std::cmp::Reverse(one.people));
    found
}

/// Returns what the sender should know about the languages: which are missing, and which translation is not used.
pub(super) fn warnings(content: &Content, languages: &[LanguageUse]) -> Vec<String> {
    let missing = languages.iter().filter_map(|one| {
        let instead = one.fallback?;
        Some(format!(
            "{} {language}, and the message is not written in {language}: they get it in {}",
            counted(one.people, "person reads", "people read"),
            instead.english_name(),
            language = one.locale.english_name(),
        ))
    });
    let unused = content.translations.contains_key(&content.language).then(|| {
        format!(
            "the translation into {language} is not used: the message itself counts as {language}",
            language = content.language.english_name()
        )
    });
    missing.chain(unused).collect()
}
