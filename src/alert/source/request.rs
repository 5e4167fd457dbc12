//! The request to a hook as a source reads it: the method, the query, the headers and the body.
//!
//! No secret is stored. The proof of the sender is checked on the whole request. The stored copy contains no
//! tokens and only the listed headers.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::batch::Refusal;
use crate::base::json_repair;

/// Headers that describe a body. No other header is stored, because any of them could contain a secret.
const KEPT: [&str; 15] = [
    "content-type",
    "user-agent",
    "request-id",
    "sentry-hook-resource",
    "sentry-hook-timestamp",
    "x-amz-sns-message-id",
    "x-amz-sns-message-type",
    "x-amz-sns-rawdelivery",
    "x-amz-sns-subscription-arn",
    "x-amz-sns-topic-arn",
    "x-grafana-alerting-timestamp",
    "svix-id",
    "x-webhook-id",
    "webhook-id",
    "webhook-timestamp",
];
/// The text that replaces a secret.
pub const REDACTED: &str = "[secret]";
/// Names of query parameters that contain a secret.
pub const TOKENS: [&str; 4] = ["token", "access_token", "auth_token", "secret"];

/// The number of parts of a multipart form that are read, and the number of bytes of their names and texts.
const MAX_PARTS: usize = 1_000;
const MAX_BYTES: usize = 1024 * 1024;

/// A request to a hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The HTTP method: GET, POST or PUT.
    pub method: String,
    /// The part of the URL after the `?`, as it was received.
    pub query: String,
    /// The headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, as it was received.
    pub body: Vec<u8>,
}

impl Request {
    /// Creates a POST request with a JSON body.
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Request {
            method: "POST".to_owned(),
            headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
            body: body.into(),
            ..Request::default()
        }
    }

    /// Returns a header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Returns the media type of the body in lower case, without its parameters.
    pub fn media(&self) -> String {
        let media = self.header("content-type").unwrap_or_default();
        let essence = media.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    }

    /// Returns the decoded parameters of the query.
    pub fn params(&self) -> impl Iterator<Item = (String, String)> + '_ {
        url::form_urlencoded::parse(self.query.as_bytes()).into_owned()
    }

    /// Returns the body as JSON, whatever its content type is, because SNS sends JSON as text/plain.
    ///
    /// # Errors
    /// The reason why the body is not JSON.
    pub fn document(&self) -> Result<Value, Refusal> {
        if self.body.trim_ascii().is_empty() {
            return Err((String::new(), "is empty".to_owned()));
        }
        document(&self.body).or_else(|refusal| {
            // Some relays put the JSON into a field of a form.
            let Some(fields) = self.form() else {
                return Err(refusal);
            };
            ["payload", "data", "json", "body", "message", "event"]
                .iter()
                .filter_map(|name| fields.iter().find(|(field, _)| field == name))
                .find_map(|(_, text)| document(text.as_bytes()).ok())
                .ok_or_else(|| {
                    let names: Vec<&str> = fields.iter().take(5).map(|(name, _)| name.as_str()).collect();
                    let reason = format!(
                        "is a form with the fields {}; this source sends JSON, or a form with the JSON in the field payload",
                        crate::base::text::one_line(&names.join(", "), 200)
                    );
                    (String::new(), reason)
                })
        })
    }

    /// Returns the fields if the body is a form, whatever its content type is.
    fn form(&self) -> Option<Vec<(String, String)>> {
        if let Some(parts) = self.multipart() {
            return Some(parts);
        }
        let body = self.body.trim_ascii();
        if self.media() == "multipart/form-data" || body.starts_with(b"--") {
            return None;
        }
        is_form(body).then(|| url::form_urlencoded::parse(body).into_owned().collect())
    }

    /// Returns the fields of a GET request, a form or a JSON body as one JSON document.
    ///
    /// # Errors
    /// The reason why it is none of these.
    pub fn fields(&self) -> Result<Value, Refusal> {
        let body = self.body.trim_ascii();
        if self.method == "GET" || body.is_empty() {
            if self.query.is_empty() {
                return Err((String::new(), "is empty".to_owned()));
            }
            return Ok(object(
                self.params().filter(|(name, _)| !TOKENS.contains(&name.as_str())),
            ));
        }
        // The content decides and not the content type, because scripts send JSON as a form.
        if matches!(body.first(), Some(b'{' | b'[')) {
            return self.document();
        }
        match self.form() {
            Some(fields) => Ok(object(fields.into_iter())),
            None if self.media() == "application/x-www-form-urlencoded" => {
                Ok(object(url::form_urlencoded::parse(body).into_owned()))
            }
            None => self.document(),
        }
    }

    /// Returns the fields if the body is a multipart form, whatever its content type is. Files and what is beyond the limits
    /// are left out.
    pub fn multipart(&self) -> Option<Vec<(String, String)>> {
        let is_one = self.media() == "multipart/form-data" || self.body.trim_ascii_start().starts_with(b"--");
        is_one.then(|| self.parts()).filter(|parts| !parts.is_empty())
    }

    /// Returns the parts of a multipart form that have a name, as text.
    fn parts(&self) -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(&self.body);
        // If the header does not contain the boundary, it is the first line.
        let boundary = self
            .header("content-type")
            .and_then(|media| parameter(media, "boundary"))
            .or_else(|| {
                let first = text.trim_start().strip_prefix("--")?.lines().next()?;
                Some(first.trim().to_owned())
            })
            .filter(|boundary| !boundary.is_empty());
        let Some(boundary) = boundary else {
            return Vec::new();
        };
        // A boundary stands at the beginning of a line. Within a line it is part of the text.
        let text = format!("\n{text}");
        let mut left = MAX_BYTES;
        let mut found = Vec::new();
        let delimiter = format!("\n--{boundary}");
        let mut parts = text.split(&delimiter).skip(1).peekable();
        for _ in 0..MAX_PARTS {
            let Some(part) = parts.next() else { break };
            // Without a boundary behind it, the last part is read only if its last line is whole.
            let part = match parts.peek() {
                Some(_) => Some(part),
                None => part.strip_suffix('\n'),
            };
            let Some((name, content)) = part.and_then(field) else {
                continue;
            };
            // A part that is too long, such as an attachment, does not cost the others.
            if let Some(rest) = left.checked_sub(name.len() + content.len()) {
                left = rest;
                found.push((name, content.to_owned()));
            }
        }
        found
    }

    /// Returns the request as it may be stored: without these secrets, and only with the headers that are
    /// known to contain no secret.
    pub fn redacted(&self, secrets: &[String]) -> Request {
        let secrets: Vec<&str> = secrets
            .iter()
            .map(String::as_str)
            .filter(|secret| secret.len() >= 6)
            .collect();
        let text = |text: &str| {
            secrets
                .iter()
                .fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED))
        };
        let query = if self.query.is_empty() {
            String::new()
        } else {
            let mut pairs = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in self.params() {
                let value = if TOKENS.contains(&name.as_str()) {
                    REDACTED.to_owned()
                } else {
                    text(&value)
                };
                pairs.append_pair(&name, &value);
            }
            pairs.finish()
        };
        let mut body = self.body.clone();
        for secret in &secrets {
            body = without(body, secret.as_bytes());
        }
        Request {
            method: self.method.clone(),
            query,
            headers: self
                .headers
                .iter()
                .filter(|(name, _)| KEPT.contains(&name.as_str()) || name.starts_with("ce-"))
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            body,
        }
    }
}

/// Returns a parameter of a header such as `form-data; name="a"`.
fn parameter(header: &str, name: &str) -> Option<String> {
    let mut quoted = false;
    let parts = header.split(|c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    parts.skip(1).find_map(|one| {
        let (key, value) = one.split_once('=')?;
        (key.trim().eq_ignore_ascii_case(name)).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Returns the name and the content of a part, which follows its boundary and ends before the line end of the next one.
fn field(part: &str) -> Option<(String, &str)> {
    let part = part.strip_prefix("\r\n").or_else(|| part.strip_prefix('\n'))?;
    let ends = ["\r\n\r\n", "\n\n"];
    let (head, content) = ends
        .iter()
        .filter_map(|end| part.split_once(end))
        .min_by_key(|(head, _)| head.len())?;
    let disposition = head.lines().find(|line| {
        line.get(..20)
            .is_some_and(|start| start.eq_ignore_ascii_case("content-disposition:"))
    })?;
    Some((
        parameter(disposition, "name")?,
        content.strip_suffix('\r').unwrap_or(content),
    ))
}

fn without(body: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    if body.len() < secret.len() || !body.windows(secret.len()).any(|window| window == secret) {
        return body;
    }
    let mut rest = body.as_slice();
    let mut out = Vec::with_capacity(body.len());
    while let Some((first, tail)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(secret) {
            out.extend_from_slice(REDACTED.as_bytes());
            rest = behind;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// Returns whether the body is a form such as `name=value&…`: the part before the first `=` contains only
/// characters of a field name.
pub(super) fn is_form(body: &[u8]) -> bool {
    let name = body.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.len() < body.len()
        && !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.%+-[]$".contains(byte))
}

fn object(pairs: impl Iterator<Item = (String, String)>) -> Value {
    Value::Object(
        pairs
            .map(|(name, value)| (name, Value::String(value)))
            .collect::<Map<_, _>>(),
    )
}

/// Parses bytes as JSON. serde limits the depth. Broken texts are repaired, so that an alert is not lost
/// because of half a character.
///
/// # Errors
/// The reason why the bytes are not JSON.
pub(super) fn document(body: &[u8]) -> Result<Value, Refusal> {
    json_repair::read(body).map_err(|error| {
        let reason = crate::base::error::json_reason(&error);
        (String::new(), format!("is not JSON: {reason}"))
    })
}

/// Encodes bytes that are not text as base64.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Decodes base64 with the standard alphabet. Returns None if the text is not valid base64.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim()).ok()
}
