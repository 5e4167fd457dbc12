//! Parses requests: bodies and query parameters. Unknown fields and parameters are errors.
//!
//! A field or a parameter is never ignored. A misspelled filter must never mean "everything".

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use futures_util::{Stream, StreamExt};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::problem::Problem;
use crate::base::error::{Error, FieldError, misfit};
use crate::base::json_reason::plain;
use crate::http::App;

/// The largest size of a JSON body, in bytes.
pub const MAX_JSON: usize = 1024 * 1024;
/// The largest size of a hook's body, in bytes.
pub const MAX_HOOK: usize = 2 * 1024 * 1024;
/// The largest size of a received email, in bytes. A bounce may contain the original email.
pub const MAX_MAIL: usize = 10 * 1024 * 1024;

/// The largest size of an import, in bytes.
pub const MAX_IMPORT: u64 = 4 * 1024 * 1024 * 1024;

/// Limits how long a body may take to arrive: a fixed time for every body, plus the time for its bytes at the
/// slowest accepted rate. A slower sender could hold a connection and its memory without an end.
pub struct Pace {
    until: tokio::time::Instant,
    received: u64,
}

impl Pace {
    /// The slowest accepted rate, in bytes per second.
    const SLOWEST: u64 = 4 * 1024;

    /// Starts to measure the body of a request.
    pub fn begin(req: &HttpRequest) -> Self {
        let grace = req
            .app_data::<web::Data<App>>()
            .map_or(Duration::ZERO, |app| app.body_grace);
        Pace {
            until: tokio::time::Instant::now() + grace,
            received: 0,
        }
    }

    /// Returns the next bytes of a body, or `None` at its end.
    ///
    /// # Errors
    /// 408 if they take too long, 422 if the connection is interrupted.
    pub async fn next(
        &mut self,
        payload: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
    ) -> Result<Option<Bytes>, Problem> {
        let until = self.until + Duration::from_secs(self.received / Self::SLOWEST);
        match tokio::time::timeout_at(until, payload.next()).await {
            Err(_) => Err(Problem::TooSlow),
            Ok(None) => Ok(None),
            Ok(Some(Ok(chunk))) => {
                self.received += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Ok(Some(Err(_))) => Err(Error::invalid("", "the body could not be read to its end").into()),
        }
    }
}

/// Checks that a body is not compressed.
///
/// # Errors
/// 415 if its headers say that it is compressed.
pub fn uncompressed(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(CONTENT_ENCODING);
    if encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(Problem::Compressed)
    }
}

/// Reads a body up to a limit.
///
/// # Errors
/// 413 if it is larger, 408 if it is too slow, 415 if it is compressed, 422 if the connection is interrupted.
pub async fn read_body(req: &HttpRequest, payload: &mut Payload, limit: usize) -> Result<Vec<u8>, Problem> {
    let announced = req
        .headers()
        .get("content-length")
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(Problem::TooLarge(limit));
    }
    uncompressed(req.headers())?;
    // Memory is allocated as the bytes arrive, because the announced length may be wrong.
    let mut body = Vec::with_capacity(announced.unwrap_or(0).min(limit).min(64 * 1024));
    let mut pace = Pace::begin(req);
    while let Some(chunk) = pace.next(payload).await? {
        if body.len() + chunk.len() > limit {
            return Err(Problem::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// JSON: the body of a request, in which an unknown field is an error, or the body of an answer with status 200.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let req = req.clone();
        let mut payload = payload.take();
        Box::pin(async move {
            if !is_json(&req) {
                return Err(Problem::UnsupportedMedia("application/json"));
            }
            let body = read_body(&req, &mut payload, MAX_JSON).await?;
            Ok(Json(parse_json(&body)?))
        })
    }
}

/// JSON that may be left out: without a body, it is the default.
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let req = req.clone();
        let mut payload = payload.take();
        Box::pin(async move {
            let body = read_body(&req, &mut payload, MAX_JSON).await?;
            if body.is_empty() {
                return Ok(OptionalJson(T::default()));
            }
            if !is_json(&req) {
                return Err(Problem::UnsupportedMedia("application/json"));
            }
            Ok(OptionalJson(parse_json(&body)?))
        })
    }
}

/// Returns whether a request says that its body is JSON.
fn is_json(req: &HttpRequest) -> bool {
    req.mime_type()
        .ok()
        .flatten()
        .is_some_and(|mime| mime.subtype() == "json" || mime.suffix().is_some_and(|s| s == "json"))
}

/// Parses JSON and names the wrong field.
///
/// # Errors
/// `Invalid` with a JSON pointer.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    // serde accepts an array as a struct, field by field. For a caller this is a mistake.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Error::invalid("", "must be a JSON object, not an array"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let inner = error.inner();
        // serde_json also says "syntax" about a number in the place of a word, although such a body is JSON.
        let is_json = || serde_json::from_slice::<IgnoredAny>(body).is_ok();
        if (inner.is_syntax() || inner.is_eof()) && !is_json() {
            let detail = format!("is not JSON: {inner}");
            return Error::fields(vec![FieldError::at("", detail)]);
        }
        misfit(&error)
    })?;
    deserializer
        .end()
        .map_err(|error| Error::invalid("", format!("is not JSON: {error}")))?;
    Ok(value)
}

/// The query parameters of a request.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Params<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(parse_query(req.query_string()).map(Params).map_err(Problem::from))
    }
}

/// Parses a query string.
///
/// # Errors
/// `Invalid` with the name of a parameter that is unknown, empty, given twice, has a wrong value, or contains
/// a control character.
pub fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Error> {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(query).map_err(|_| Error::invalid("?", "is not a query string"))?;
    if let Some((name, _)) = pairs
        .iter()
        .find(|(_, value)| value.chars().any(char::is_control))
    {
        return Err(Error::invalid(format!("?{name}"), "contains a control character"));
    }
    if let Some((name, _)) = pairs.iter().find(|(_, value)| value.is_empty()) {
        return Err(Error::invalid(
            format!("?{name}"),
            "is empty; leave it out to have no such filter",
        ));
    }
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded_pairs(query));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        let name = ["missing field `", "unknown field `", "duplicate field `"]
            .iter()
            .find_map(|start| reason.strip_prefix(start))
            .and_then(|rest| rest.split('`').next())
            .unwrap_or(if path == "." { "" } else { &path })
            .to_owned();
        Error::invalid(format!("?{name}"), plain(&reason).replace("field", "parameter"))
    })
}

fn form_urlencoded_pairs(query: &str) -> url::form_urlencoded::Parse<'_> {
    url::form_urlencoded::parse(query.as_bytes())
}

/// Returns whether the body of a request has this media type.
pub fn is_media(req: &HttpRequest, essence: &str) -> bool {
    req.headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case(essence))
}
