//! The last resort of a form: the whole thing as JSON, as the API takes it. It is for things that a form cannot represent.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::field::Field;
use super::form::Form;
use crate::base::error::{Error, FieldError, Result, misfit};

/// The fields of the form: one text field, `json`, which contains the whole body of the API request.
pub const AS_JSON: &[Field] = &[Field::own(
    "json",
    "As JSON",
    "The fields are those of the API, which /docs describes. What you leave out gets its default.",
    |text| Ok(json!(text)),
    |_| String::new(),
)];

/// What the form says.
pub const EXPLAINED: &str = "Use this only for what the form does not have. The same checks apply.";

/// The form as it was typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typed {
    json: String,
}

impl Typed {
    /// Reads the input of the API.
    ///
    /// # Errors
    /// `Invalid` at the field of the form.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T> {
        let body: Value = serde_json::from_str(&self.json)
            .map_err(|error| Error::invalid("/json", format!("is not JSON: {error}")))?;
        serde_path_to_error::deserialize(body).map_err(|error| at_field(misfit(&error)))
    }
}

/// The form of something stored.
///
/// # Errors
/// `Internal` if it cannot be written as JSON.
pub fn of(stored: &impl Serialize) -> Result<Form> {
    Ok(Form::new(AS_JSON).with("json", serde_json::to_string_pretty(stored)?))
}

/// Moves the errors about the input to the field of the form. Each says where in the JSON it is.
pub fn at_field(error: Error) -> Error {
    let moved = |error: FieldError| match error.pointer.as_deref() {
        None | Some("" | "/json") => FieldError::at("/json", error.detail),
        Some(at) => FieldError::at("/json", format!("{at}: {}", error.detail)),
    };
    match error {
        Error::Invalid { errors, .. } => Error::fields(errors.into_iter().map(moved).collect()),
        Error::Coded(code, inner) => Error::Coded(code, Box::new(at_field(*inner))),
        other => other,
    }
}
