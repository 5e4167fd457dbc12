//! The error type of the domain. This module decides what each error means for a caller. `http::problem`
//! turns an error into an RFC 9457 document. The commands turn it into a line and an exit code.
//!
//! This module uses no HTTP types. The text of an inner error is never shown to a caller, because it may
//! contain secrets or addresses.

use serde::Serialize;
use serde_path_to_error::Segment;

use super::code::Code;
use super::json_reason::plain;

/// What is wrong with one part of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The JSON pointer of the field, or `?name` for a query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The line of an imported file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// A sentence that says what is wrong and what would be correct.
    pub detail: String,
    /// The stable code of the error. It is set if a program may need to distinguish it from other invalid
    /// input.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "word")]
    #[schema(value_type = Option<String>)]
    pub code: Option<Code>,
}

fn word<S: serde::Serializer>(code: &Option<Code>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    code.map(Code::as_str).serialize(serializer)
}

impl FieldError {
    /// Creates an error at a JSON pointer.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        FieldError {
            pointer: Some(pointer.into()),
            line: None,
            detail: detail.into(),
            code: None,
        }
    }

    /// Sets the stable code, with which a program recognises this error.
    pub fn code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// Creates an error on a line of an import.
    pub fn on_line(line: u64, detail: impl Into<String>) -> Self {
        FieldError {
            pointer: None,
            line: Some(line),
            detail: detail.into(),
            code: None,
        }
    }
}

/// The reason why a domain function failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named entity does not exist. The text names it.
    #[error("{0} not found")]
    NotFound(String),
    /// The current state does not allow the operation.
    #[error("{0}")]
    Conflict(String),
    /// The input is invalid. Each invalid part has its reason.
    #[error("{detail}")]
    Invalid {
        /// One sentence for the whole input.
        detail: String,
        /// The errors by field or by line.
        errors: Vec<FieldError>,
    },
    /// The caller has no permission.
    #[error("{0}")]
    Forbidden(String),
    /// The operation is not possible at the moment. The caller may try again later.
    #[error("{0}")]
    Unavailable(String),
    /// Another error with a stable code that is more specific.
    #[error("{1}")]
    Coded(Code, #[source] Box<Error>),
    /// A fault of Candor or of the machine. It is logged and never shown to a caller.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of a domain function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error for one invalid field.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::fields(vec![FieldError::at(pointer, detail)])
    }

    /// Creates an error for several invalid fields or lines.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.first() {
            Some(first) => match (&first.pointer, first.line) {
                (Some(pointer), _) if !pointer.is_empty() => format!("{pointer}: {}", first.detail),
                (_, Some(line)) => format!("line {line}: {}", first.detail),
                _ => first.detail.clone(),
            },
            None => "invalid input".to_owned(),
        };
        Error::Invalid { detail, errors }
    }

    /// Returns the error with the name `to` in place of the field `from`, for a request that calls a field otherwise than the function
    /// that found the error. Both begin with a slash, as in a JSON pointer.
    pub fn renamed(self, from: &str, to: &str) -> Self {
        let moved = |mut error: FieldError| {
            error.pointer = error.pointer.map(|at| at.replacen(from, to, 1));
            error
        };
        match self {
            Error::Invalid { errors, .. } => Error::fields(errors.into_iter().map(moved).collect()),
            Error::Coded(code, inner) => inner.renamed(from, to).code(code),
            other => other,
        }
    }

    /// Adds a stable code that is more specific than the kind of the error.
    pub fn code(self, code: Code) -> Self {
        Error::Coded(code, Box::new(self))
    }

    /// Returns the error without its code, and the code if there is one. The code is its own or that of the
    /// first invalid field that has one.
    pub fn coded(&self) -> (&Error, Option<Code>) {
        match self {
            Error::Coded(code, inner) => (inner.coded().0, Some(*code)),
            Error::Invalid { errors, .. } => (self, errors.iter().find_map(|error| error.code)),
            other => (other, None),
        }
    }

    /// Creates an error for a fault that no caller can correct.
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Internal(error.into())
    }

    /// Returns the error and all its causes as one text, for the log.
    pub fn chain(&self) -> String {
        let (error, _) = self.coded();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

/// The messages for a full disk: from SQLite, from SQLite if a file may not grow, and from PostgreSQL.
const NO_ROOM: [&str; 3] = [
    "database or disk is full",
    "disk I/O error",
    "No space left on device",
];

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind, Error as Diesel};
        if let Diesel::DatabaseError(_, info) = &error
            && let Some(reason) = NO_ROOM.iter().find(|reason| info.message().contains(**reason))
        {
            return Error::Unavailable(format!("nothing can be stored: {reason}"));
        }
        match &error {
            Diesel::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => {
                Error::Unavailable("another change happened at the same time; please try again".to_owned())
            }
            Diesel::DatabaseError(_, info)
                if info.message().contains("deadlock detected")
                    || info.message().contains("database is locked") =>
            {
                Error::Unavailable("the database is busy; please try again".to_owned())
            }
            Diesel::DatabaseError(DatabaseErrorKind::ClosedConnection, _) => {
                Error::Unavailable("the database is not reachable".to_owned())
            }
            _ => Error::Internal(Box::new(error)),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Error::Internal(Box::new(error))
    }
}

/// Returns serde's reason without its "at line 1 column 7", because Candor names the field instead.
pub fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Turns an error about JSON with a wrong structure into an error at the wrong field.
pub fn misfit(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let pointer: String = error
        .path()
        .iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect();
    let reason = json_reason(error.inner());
    Error::invalid(with_named_field(pointer, &reason), plain(&reason))
}

/// Adds a missing or unknown field to the pointer. serde names such a field only in its text, and its path
/// ends at the object around it.
fn with_named_field(pointer: String, reason: &str) -> String {
    let quoted = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| reason.strip_prefix(start))
        .and_then(|rest| rest.split('`').next());
    match quoted {
        Some(name) if !pointer.ends_with(&format!("/{name}")) => format!("{pointer}/{name}"),
        _ => pointer,
    }
}
