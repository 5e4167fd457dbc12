//! The one error of the domain. What each variant means to a caller is decided here, once;
//! `http::problem` turns it into an RFC 9457 document, the commands into a line and an exit code.
//!
//! Must never happen here: HTTP types, or an inner error's text shown to a caller (it may hold secrets or addresses).

use serde::Serialize;
use serde_path_to_error::Segment;

use super::code::Code;

/// What is wrong with one part of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON pointer to the field, or `?name` for a query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Line of an imported file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong and what would be right.
    pub detail: String,
    /// What is wrong, as a stable word, where a program may want to tell it from other wrong input.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "word")]
    #[schema(value_type = Option<String>)]
    pub code: Option<Code>,
}

fn word<S: serde::Serializer>(code: &Option<Code>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    code.map(Code::as_str).serialize(serializer)
}

impl FieldError {
    /// An error at a JSON pointer.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        FieldError {
            pointer: Some(pointer.into()),
            line: None,
            detail: detail.into(),
            code: None,
        }
    }

    /// The same with a word for programs.
    pub fn code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// An error on a line of an import.
    pub fn on_line(line: u64, detail: impl Into<String>) -> Self {
        FieldError {
            pointer: None,
            line: Some(line),
            detail: detail.into(),
            code: None,
        }
    }
}

/// Why a domain function did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was named does not exist. The text says what.
    #[error("{0} not found")]
    NotFound(String),
    /// The state of things is not what the caller assumed.
    #[error("{0}")]
    Conflict(String),
    /// The input is wrong; each part with its reason.
    #[error("{detail}")]
    Invalid {
        /// One sentence over all.
        detail: String,
        /// Field by field, or line by line.
        errors: Vec<FieldError>,
    },
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// Not now; the caller should come back.
    #[error("{0}")]
    Unavailable(String),
    /// One of the others, with a word that says more than its kind.
    #[error("{1}")]
    Coded(Code, #[source] Box<Error>),
    /// A fault of ours or of the machine. Logged, never shown.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of a domain function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// One wrong field.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::fields(vec![FieldError::at(pointer, detail)])
    }

    /// Several wrong fields or lines.
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

    /// The same error with a word that says more than its kind.
    pub fn code(self, code: Code) -> Self {
        Error::Coded(code, Box::new(self))
    }

    /// The error itself, and its word where it has one: its own, or that of the first wrong field.
    pub fn coded(&self) -> (&Error, Option<Code>) {
        match self {
            Error::Coded(code, inner) => (inner.coded().0, Some(*code)),
            Error::Invalid { errors, .. } => (self, errors.iter().find_map(|error| error.code)),
            other => (other, None),
        }
    }

    /// A fault that no caller can mend.
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Internal(error.into())
    }

    /// For the log: the whole chain of causes.
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

/// What databases say of a disk that is full: SQLite, SQLite where a file may not grow, and PostgreSQL.
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
                Error::Unavailable("two changes met; please try again".to_owned())
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

/// serde's reason without its "at line 1 column 7": our inputs are named by field.
pub fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// JSON that does not fit what it is for, as an error at the field that is wrong.
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
    Error::invalid(with_named_field(pointer, &reason), reason)
}

/// serde names a missing or unknown field in its text, and points to the object that should or should not have it.
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
