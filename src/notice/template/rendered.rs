//! The texts of a rendered email, and why an email could not be rendered.

use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::text::one_line;

/// The largest length of a subject, in characters.
pub(super) const SUBJECT: usize = 200;

/// The texts of an email, after the template was filled with the data of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The subject, which is one line.
    pub subject: String,
    /// The plain text body, as it is sent.
    pub text: String,
    /// The HTML body, as it is sent.
    pub html: String,
}

/// Why an email could not be rendered.
pub(super) struct Failed {
    /// The part of the template.
    pub pointer: &'static str,
    /// What is wrong with it.
    pub detail: String,
    /// Whether the email exceeds the limits for rendering.
    pub over_limit: bool,
}

impl Failed {
    pub fn new(pointer: &'static str, detail: impl Into<String>) -> Self {
        Failed {
            pointer,
            detail: detail.into(),
            over_limit: false,
        }
    }

    pub fn into_error(self) -> Error {
        let error = FieldError::at(format!("/template{}", self.pointer), self.detail);
        Error::fields(vec![if self.over_limit {
            error.code(Code::LimitReached)
        } else {
            error
        }])
    }
}

/// Returns a rendered subject as one line of limited length.
///
/// # Errors
/// `Invalid` if the result is empty, which the check of a template rules out.
pub fn finish_subject(rendered: &str) -> Result<String> {
    let subject = one_line(rendered, SUBJECT);
    if subject.is_empty() {
        return Err(Failed::new("/subject", "produces an empty text").into_error());
    }
    Ok(subject)
}
