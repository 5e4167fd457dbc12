//! The fields of a form that are written in other languages. A page shows one folded section for each language, so that a form with eight
//! languages stays readable.
//!
//! - The name of such a field is `PREFIX.LANGUAGE.NAME`, as in the body of the API.

use serde_json::{Value, json};

use crate::base::language::Language;

/// The prefix of the names of the fields with a translation of a text.
pub(super) const PREFIX: &str = "translations.";

/// Takes the fields of the translations out of a form, and returns them as data of `admin/languages`: one section for each language but
/// that of the text itself.
pub(super) fn take_out(shown: &mut Value, own: Language) -> Value {
    let hint = format!(
        "The text above is in {}. Each reader gets their own language if it is written here.",
        own.english_name()
    );
    sections(shown, PREFIX, Some(own), &hint)
}

/// Takes the fields whose names begin with a prefix out of a form, and returns them as data of `admin/languages`. `own` is the language
/// of the text itself, which gets a section only if something is written in it.
pub(super) fn sections(shown: &mut Value, prefix: &str, own: Option<Language>, hint: &str) -> Value {
    let Some(groups) = shown["groups"].as_array_mut() else {
        return Value::Null;
    };
    let code_of = |group: &Value| {
        let name = group["fields"][0]["name"].as_str()?.strip_prefix(prefix)?;
        Some(name.split_once('.')?.0.to_owned())
    };
    let mut sections = Vec::new();
    for language in Language::ALL {
        let of_language = |group: &Value| code_of(group).as_deref() == Some(language.as_str());
        let fields: Vec<Value> = groups
            .iter()
            .filter(|group| of_language(group))
            .cloned()
            .collect();
        groups.retain(|group| !of_language(group));
        let all = || {
            fields
                .iter()
                .flat_map(|group| group["fields"].as_array().into_iter().flatten())
        };
        let has_errors = |field: &Value| field["errors"].as_array().is_some_and(|all| !all.is_empty());
        let is_written = all().any(|field| field["value"].as_str().is_some_and(|value| !value.is_empty()));
        let is_wrong = all().any(has_errors);
        // A text that was written in this language before the setting changed stays in the form.
        if Some(language) == own && !is_written && !is_wrong {
            continue;
        }
        sections.push(json!({
            "name": language.english_name(), "own_name": language.own_name(), "code": language,
            "written": is_written, "open": is_wrong, "groups": fields,
        }));
    }
    json!({"hint": hint, "sections": sections})
}
