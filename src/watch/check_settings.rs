//! The settings of a check: which URL is requested, how often, and what answer is expected. They are checked
//! before they are stored. The values of headers are stored in a separate column and never occur in an event.

use std::collections::BTreeMap;

use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::verdict::{Expected, Statuses};
use super::{check_range, check_resources, usual_severity, without_query};
use crate::base::check::Check as Input;
use crate::base::enums::word_enum;
use crate::base::error::{FieldError, Result};
use crate::db::Conn;
use crate::directory::ResourceRef;
use crate::egress::{Policy, check_url};
use crate::incident::Severity;

word_enum! {
    /// The HTTP method of a check.
    #[derive(Default)]
    CheckMethod, "a method" {
        /// A GET request. Expectations about the body are possible.
        #[default]
        Get = "get",
        /// A HEAD request. The answer has no body.
        Head = "head",
    }
}

/// The settings of an HTTP check. Fields that are left out get their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCheck {
    /// The name of the check.
    pub name: String,
    /// The URL that is requested. `CANDOR_CHECK_ALLOW` configures which internal addresses it may lead to.
    pub url: String,
    /// The HTTP method. The default is `get`.
    #[serde(default)]
    pub method: CheckMethod,
    /// The expected HTTP statuses, for example `200` or `"200-299"`. The default is `"200-299"`.
    #[serde(default = "Statuses::success")]
    #[schema(value_type = Vec<String>)]
    pub status: Vec<Statuses>,
    /// The body must contain this text. Only the first 256 KiB of the body are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// The body must not contain this text. Only the first 256 KiB of the body are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_lacks: Option<String>,
    /// The longest time that the answer may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_at_most_ms: Option<u64>,
    /// The certificate must be valid for at least this number of days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_days_at_least: Option<u32>,
    /// Seconds between two requests: 10 to 86400. The default is 60.
    #[serde(default = "usual_period")]
    pub every_seconds: i64,
    /// Seconds after which a request without an answer fails: at most 60, and at most `every_seconds`. The
    /// default is 10.
    #[serde(default = "usual_timeout")]
    pub timeout_seconds: i64,
    /// The number of failures in a row after which the check is down. The default is 3.
    #[serde(default = "usual_failures")]
    pub failures: i64,
    /// The number of good answers in a row after which the check is up again. The default is 1.
    #[serde(default = "usual_recoveries")]
    pub recoveries: i64,
    /// The severity of the incident that the check opens. The default is `major`.
    #[serde(default = "usual_severity")]
    pub severity: Severity,
    /// The resources that are affected while the check is down.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
    /// Headers of the request. Their values are never shown again.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether redirects are followed, at most 5. Each redirect must lead to an address that the URL itself
    /// may lead to. If false, a redirect is an answer like any other.
    #[serde(default)]
    pub follow_redirects: bool,
    /// Whether the check is paused. A paused check makes no requests.
    #[serde(default)]
    pub paused: bool,
}

fn usual_period() -> i64 {
    60
}
fn usual_timeout() -> i64 {
    10
}
fn usual_failures() -> i64 {
    3
}
fn usual_recoveries() -> i64 {
    1
}
/// Headers that the client itself sends, or that control the connection.
const NOT_GIVEN: [&str; 8] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
];
const MAX_HEADERS: usize = 20;
const LONGEST: usize = 4_096;

pub(super) fn check(conn: &mut Conn, new: &NewCheck, policy: Policy) -> Result<()> {
    let mut input = Input::default();
    input.name("/name", &new.name);
    let errors = &mut input.errors;
    if let Err(detail) = check_url(&new.url, policy) {
        errors.push(FieldError::at("/url", detail));
    }
    if new.status.is_empty() {
        errors.push(FieldError::at(
            "/status",
            "must not be an empty list; leave it out to accept every success status",
        ));
    }
    for (pointer, text) in [
        ("/body_contains", &new.body_contains),
        ("/body_lacks", &new.body_lacks),
    ] {
        let Some(text) = text else { continue };
        if text.is_empty() {
            errors.push(FieldError::at(pointer, "must not be empty"));
        } else if text.len() > LONGEST {
            errors.push(FieldError::at(pointer, format!("is longer than {LONGEST} bytes")));
        } else if new.method == CheckMethod::Head {
            errors.push(FieldError::at(
                pointer,
                "must be left out, because an answer to HEAD has no body",
            ));
        }
    }
    if let Some(most) = new.latency_at_most_ms {
        check_range(
            errors,
            "/latency_at_most_ms",
            i64::try_from(most).unwrap_or(i64::MAX),
            1,
            60_000,
        );
    }
    if let Some(days) = new.certificate_days_at_least {
        check_range(errors, "/certificate_days_at_least", i64::from(days), 1, 3_650);
        if !new.url.starts_with("https:") {
            errors.push(FieldError::at(
                "/certificate_days_at_least",
                "must be left out, because the URL is not https",
            ));
        }
    }
    check_range(errors, "/every_seconds", new.every_seconds, 10, 86_400);
    // If the period is not valid, it does not limit the timeout, so that each of the two fields gets its own
    // error.
    let longest = if (10..=86_400).contains(&new.every_seconds) {
        new.every_seconds.min(60)
    } else {
        60
    };
    check_range(errors, "/timeout_seconds", new.timeout_seconds, 1, longest);
    check_range(errors, "/failures", new.failures, 1, 100);
    check_range(errors, "/recoveries", new.recoveries, 1, 100);
    if new.headers.len() > MAX_HEADERS {
        errors.push(FieldError::at("/headers", format!("are more than {MAX_HEADERS}")));
    }
    for (name, value) in &new.headers {
        let pointer = format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            errors.push(FieldError::at(&pointer, "is not the name of a header"));
        } else if NOT_GIVEN.contains(&name.to_ascii_lowercase().as_str()) {
            errors.push(FieldError::at(
                &pointer,
                "must be left out, because Candor sets this header itself",
            ));
        }
        if HeaderValue::from_str(value).is_err() || value.len() > LONGEST {
            errors.push(FieldError::at(&pointer, "is not a value of a header"));
        }
    }
    check_resources(conn, &new.resources, errors)?;
    input.finish()
}

/// Returns what an audit event contains of a check: everything except the values of its headers and the query
/// of its URL, which can contain a key.
pub(super) fn without_secrets(new: &NewCheck) -> Result<Value> {
    let mut without_secrets = serde_json::to_value(new)?;
    without_secrets["headers"] = json!(new.headers.keys().collect::<Vec<_>>());
    without_secrets["url"] = json!(without_query(&new.url));
    Ok(without_secrets)
}

/// Returns the settings without the values of the headers, and the headers separately.
pub(super) fn stored(new: &NewCheck) -> Result<(String, String)> {
    let headers = serde_json::to_string(&new.headers)?;
    let target = NewCheck {
        name: new.name.trim().to_owned(),
        headers: BTreeMap::new(),
        ..new.clone()
    };
    Ok((serde_json::to_string(&target)?, headers))
}

/// Returns the expectations about an answer.
pub(super) fn expected(given: &NewCheck) -> Expected {
    Expected {
        status: given.status.clone(),
        body_contains: given.body_contains.clone(),
        body_lacks: given.body_lacks.clone(),
        latency_at_most_ms: given.latency_at_most_ms,
        certificate_days_at_least: given.certificate_days_at_least,
    }
}
