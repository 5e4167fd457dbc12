//! Errors as RFC 9457 problem documents. Only this module gives them status codes.
//!
//! The text of an internal error is never shown to a caller.

use std::borrow::Cow;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use super::request_id;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError};

/// An error that is returned to a caller.
#[derive(Debug)]
pub enum Problem {
    /// An error of the domain.
    Domain(Error),
    /// 401: there is no valid token, session or signature.
    Unauthorized(&'static str),
    /// 401 for a hook. Some senders send a password only after they are asked for one.
    Unproven(&'static str),
    /// 429: there were too many refusals. The number is the seconds to wait.
    TooManyRefusals(u64),
    /// 404: the path is not served.
    NoSuchPath,
    /// 404 for a link in an email whose token is not valid.
    NoSuchLink,
    /// 405, with the methods that are served.
    NoSuchMethod(Cow<'static, str>),
    /// 408: the body is too slow.
    TooSlow,
    /// 413, with the largest size in bytes.
    TooLarge(usize),
    /// 415, with what would be correct.
    UnsupportedMedia(&'static str),
    /// 415: the body is compressed.
    Compressed,
    /// 415: the body is compressed in a way that is not known.
    UnknownEncoding,
}

/// A problem document (RFC 9457).
#[derive(Serialize, utoipa::ToSchema)]
pub struct ProblemDocument {
    /// The kind of the problem, as a URI reference.
    #[serde(rename = "type")]
    pub type_: &'static str,
    /// The kind of the problem, for people.
    pub title: &'static str,
    /// The HTTP status code. It is the same as that of the answer.
    pub status: u16,
    /// The stable error code for programs. `docs/errors.md` lists all of them.
    #[schema(example = "not_found")]
    pub code: &'static str,
    /// What is wrong in this case, for people.
    pub detail: String,
    /// The errors by field or by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The ID of the request, as in the header `X-Request-Id` of the answer. The log of the service names it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem::Domain(error)
    }
}

impl Problem {
    /// Returns the data that a document or a page shows.
    pub(super) fn document(&self) -> ProblemDocument {
        match self {
            Problem::Domain(error) => of_domain(error),
            Problem::Unauthorized(why) => kind(Code::Unauthorized, *why),
            Problem::Unproven(why) => kind(Code::SignatureInvalid, *why),
            Problem::TooManyRefusals(seconds) => kind(
                Code::TooManyRefusals,
                format!("too many requests from this address were refused; try again in {seconds} seconds"),
            ),
            Problem::NoSuchPath => kind(Code::NotFound, "this path does not exist"),
            Problem::NoSuchLink => kind(Code::NotFound, "this link is not valid or has expired"),
            Problem::NoSuchMethod(methods) => kind(
                Code::MethodNotAllowed,
                format!("this path accepts only {methods}"),
            ),
            Problem::Compressed => kind(
                Code::CompressedBody,
                "a compressed body is not accepted; send it without Content-Encoding",
            ),
            Problem::UnknownEncoding => kind(
                Code::CompressedBody,
                "the Content-Encoding must be gzip or zstd, or left out",
            ),
            Problem::TooLarge(limit) => kind(
                Code::BodyTooLarge,
                format!("the body is larger than {limit} bytes"),
            ),
            Problem::TooSlow => kind(
                Code::BodyTooSlow,
                "the body arrives too slowly; send at least 4 KiB a second",
            ),
            Problem::UnsupportedMedia(right) => kind(
                Code::UnsupportedMediaType,
                format!("the Content-Type must be {right}"),
            ),
        }
    }
}

fn of_domain(error: &Error) -> ProblemDocument {
    let (inner, code) = error.coded();
    let general = match inner {
        Error::NotFound(_) => Code::NotFound,
        Error::Conflict(_) => Code::Conflict,
        Error::Invalid { .. } => Code::InvalidInput,
        Error::Forbidden(_) => Code::Forbidden,
        Error::Unavailable(_) => Code::Unavailable,
        Error::Internal(_) | Error::Coded(..) => Code::Internal,
    };
    let mut document = kind(general, inner.to_string());
    if let Error::Invalid { errors, .. } = inner {
        document.errors.clone_from(errors);
    }
    if let Some(code) = code {
        document.code = code.as_str();
    }
    document
}

/// Returns a document of a kind with its own status, type and title.
fn kind(code: Code, detail: impl Into<String>) -> ProblemDocument {
    let (status, type_, title) = match code {
        Code::Unauthorized | Code::SignatureInvalid => (401, "/problems/unauthorized", "Unauthorized"),
        Code::Forbidden => (403, "/problems/forbidden", "Forbidden"),
        Code::NotFound => (404, "/problems/not-found", "Not found"),
        Code::MethodNotAllowed => (405, "/problems/method-not-allowed", "Method not allowed"),
        Code::BodyTooSlow => (408, "/problems/request-timeout", "Request timeout"),
        Code::Conflict => (409, "/problems/conflict", "Conflict"),
        Code::BodyTooLarge => (413, "/problems/too-large", "Too large"),
        Code::UnsupportedMediaType | Code::CompressedBody => {
            (415, "/problems/unsupported-media-type", "Unsupported media type")
        }
        Code::InvalidInput => (422, "/problems/invalid", "Invalid input"),
        Code::TooManyRefusals => (429, "/problems/too-many-requests", "Too many requests"),
        Code::Unavailable => (503, "/problems/unavailable", "Unavailable"),
        _ => (500, "/problems/internal", "Internal error"),
    };
    ProblemDocument {
        type_,
        title,
        status,
        code: code.as_str(),
        detail: detail.into(),
        errors: Vec::new(),
        request_id: request_id::current(),
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
        if let Problem::Domain(error) = self
            && matches!(error.coded().0, Error::Internal(_))
        {
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
                    response.insert_header((ALLOW, methods.as_ref()));
                }
            }
            // The connection is closed, because the rest of the body would be read as the next request.
            408 => {
                response.force_close();
            }
            429 => {
                if let Problem::TooManyRefusals(seconds) = self {
                    response.insert_header((RETRY_AFTER, seconds.to_string()));
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

/// The result of a handler.
pub type Answer<T> = Result<T, Problem>;
