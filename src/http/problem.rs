//! Errors as RFC 9457 problem documents: the one place that gives them status codes.
//!
//! Must never happen here: the text of an internal error shown to a caller.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::base::error::{Error, FieldError};

/// An error on its way to a caller.
#[derive(Debug)]
pub enum Problem {
    /// Of the domain.
    Domain(Error),
    /// 401: no valid token, session or signature.
    Unauthorized(&'static str),
    /// 401 of a hook: some senders show a password only when they are asked for one.
    Unproven(&'static str),
    /// 404 for a path that is not served.
    NoSuchPath,
    /// 405, with the methods that are served.
    NoSuchMethod(&'static str),
    /// 413, with the limit in bytes.
    TooLarge(usize),
    /// 415, with what would be right.
    UnsupportedMedia(&'static str),
    /// 415 for a body that is compressed.
    Compressed,
}

/// RFC 9457.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ProblemDocument {
    /// What kind of problem: a URI reference.
    #[serde(rename = "type")]
    pub type_: &'static str,
    /// The kind, for people.
    pub title: &'static str,
    /// The status code.
    pub status: u16,
    /// What is wrong this time.
    pub detail: String,
    /// Field by field, or line by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem::Domain(error)
    }
}

impl Problem {
    /// What is shown of it, as a document or as a page.
    pub(super) fn document(&self) -> ProblemDocument {
        let (type_, title, status, detail, errors) = match self {
            Problem::Domain(error) => {
                let (type_, title, status) = match error {
                    Error::NotFound(_) => ("/problems/not-found", "Not found", 404),
                    Error::Conflict(_) => ("/problems/conflict", "Conflict", 409),
                    Error::Invalid { .. } => ("/problems/invalid", "Invalid input", 422),
                    Error::Forbidden(_) => ("/problems/forbidden", "Forbidden", 403),
                    Error::Unavailable(_) => ("/problems/unavailable", "Unavailable", 503),
                    Error::Internal(_) => ("/problems/internal", "Internal error", 500),
                };
                let errors = match error {
                    Error::Invalid { errors, .. } => errors.clone(),
                    _ => Vec::new(),
                };
                (type_, title, status, error.to_string(), errors)
            }
            Problem::Unauthorized(why) | Problem::Unproven(why) => (
                "/problems/unauthorized",
                "Unauthorized",
                401,
                (*why).to_owned(),
                Vec::new(),
            ),
            Problem::NoSuchPath => (
                "/problems/not-found",
                "Not found",
                404,
                "nothing is served at this path".to_owned(),
                Vec::new(),
            ),
            Problem::NoSuchMethod(methods) => (
                "/problems/method-not-allowed",
                "Method not allowed",
                405,
                format!("this path takes {methods}"),
                Vec::new(),
            ),
            Problem::Compressed => (
                "/problems/unsupported-media-type",
                "Unsupported media type",
                415,
                "a compressed body is not taken: send it without Content-Encoding".to_owned(),
                Vec::new(),
            ),
            Problem::TooLarge(limit) => (
                "/problems/too-large",
                "Too large",
                413,
                format!("the body is larger than {limit} bytes"),
                Vec::new(),
            ),
            Problem::UnsupportedMedia(right) => (
                "/problems/unsupported-media-type",
                "Unsupported media type",
                415,
                format!("the Content-Type must be {right}"),
                Vec::new(),
            ),
        };
        ProblemDocument {
            type_,
            title,
            status,
            detail,
            errors,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.document().detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.document().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        if let Problem::Domain(error @ Error::Internal(_)) = self {
            tracing::error!(error = error.chain(), "a request failed");
        }
        let document = self.document();
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        match document.status {
            401 => {
                let challenge = match self {
                    Problem::Unproven(_) => "Basic realm=\"Candor\"",
                    _ => "Bearer",
                };
                response.insert_header((WWW_AUTHENTICATE, challenge));
            }
            405 => {
                if let Problem::NoSuchMethod(methods) = self {
                    response.insert_header((ALLOW, *methods));
                }
            }
            503 => {
                response.insert_header((RETRY_AFTER, "2"));
            }
            _ => {}
        }
        response.body(serde_json::to_vec(&document).unwrap_or_default())
    }
}

/// What handlers answer.
pub type Answer<T> = Result<T, Problem>;
