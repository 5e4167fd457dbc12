//! A check as it is given: what is asked, how often, and what is expected; checked before it is stored, its headers apart.
//!
//! Must never happen here: a value of a header in an event.

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
    /// How it is asked.
    #[derive(Default)]
    CheckMethod, "a method" {
        /// With the body.
        #[default]
        Get = "get",
        /// Without.
        Head = "head",
    }
}

/// A check to make. Left out: what the description says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCheck {
    /// What people call it.
    pub name: String,
    /// What is asked. Where it may lead is said by `CANDOR_CHECK_ALLOW`.
    pub url: String,
    /// `get` if not given.
    #[serde(default)]
    pub method: CheckMethod,
    /// The status is one of these: `200`, `"200-299"`. Every success if not given.
    #[serde(default = "Statuses::success")]
    #[schema(value_type = Vec<String>)]
    pub status: Vec<Statuses>,
    /// The body holds this text; its first 256 KiB are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// The body does not hold this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_lacks: Option<String>,
    /// The answer takes this long at most, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_at_most_ms: Option<u64>,
    /// The certificate holds for so many days at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_days_at_least: Option<u32>,
    /// Asked every so many seconds, 10 or more; 60 if not given.
    #[serde(default = "usual_period")]
    pub every_seconds: i64,
    /// Seconds in which it must answer, at most 60 and at most as long as the period; 10 if not given.
    #[serde(default = "usual_timeout")]
    pub timeout_seconds: i64,
    /// Failures in a row after which it is down; 3 if not given.
    #[serde(default = "usual_failures")]
    pub failures: i64,
    /// Good answers in a row after which it is up again; 1 if not given.
    #[serde(default = "usual_recoveries")]
    pub recoveries: i64,
    /// How bad the incident is that it opens; `major` if not given.
    #[serde(default = "usual_severity")]
    pub severity: Severity,
    /// What is affected while it is down.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
    /// Sent along. Their values are never shown again.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether up to 5 redirects are followed, each to where the URL itself may lead; else they are answers.
    #[serde(default)]
    pub follow_redirects: bool,
    /// Not asked while this is so.
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
/// Sent by the client itself, or a matter of the connection.
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
const MOST_HEADERS: usize = 20;
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
            "is an empty list; leave it out for every success",
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
            errors.push(FieldError::at(pointer, "an answer to HEAD has no body"));
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
                "the URL is not https",
            ));
        }
    }
    check_range(errors, "/every_seconds", new.every_seconds, 10, 86_400);
    // A period that is none bounds nothing: each of the two is told what is wrong with itself.
    let longest = if (10..=86_400).contains(&new.every_seconds) {
        new.every_seconds.min(60)
    } else {
        60
    };
    check_range(errors, "/timeout_seconds", new.timeout_seconds, 1, longest);
    check_range(errors, "/failures", new.failures, 1, 100);
    check_range(errors, "/recoveries", new.recoveries, 1, 100);
    if new.headers.len() > MOST_HEADERS {
        errors.push(FieldError::at(
            "/headers",
            format!("are more than {MOST_HEADERS}"),
        ));
    }
    for (name, value) in &new.headers {
        let pointer = format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            errors.push(FieldError::at(&pointer, "is not the name of a header"));
        } else if NOT_GIVEN.contains(&name.to_ascii_lowercase().as_str()) {
            errors.push(FieldError::at(&pointer, "is set by the request itself"));
        }
        if HeaderValue::from_str(value).is_err() || value.len() > LONGEST {
            errors.push(FieldError::at(&pointer, "is not a value of a header"));
        }
    }
    check_resources(conn, &new.resources, errors)?;
    input.finish()
}

/// What an event says of a check: everything but the values of its headers, and of the URL no query, which may hold a key.
pub(super) fn told(new: &NewCheck) -> Result<Value> {
    let mut told = serde_json::to_value(new)?;
    told["headers"] = json!(new.headers.keys().collect::<Vec<_>>());
    told["url"] = json!(without_query(&new.url));
    Ok(told)
}

/// The check without the values of its headers, and these apart.
pub(super) fn stored(new: &NewCheck) -> Result<(String, String)> {
    let headers = serde_json::to_string(&new.headers)?;
    let target = NewCheck {
        name: new.name.trim().to_owned(),
        headers: BTreeMap::new(),
        ..new.clone()
    };
    Ok((serde_json::to_string(&target)?, headers))
}

/// What is expected.
pub(super) fn expected(given: &NewCheck) -> Expected {
    Expected {
        status: given.status.clone(),
        body_contains: given.body_contains.clone(),
        body_lacks: given.body_lacks.clone(),
        latency_at_most_ms: given.latency_at_most_ms,
        certificate_days_at_least: given.certificate_days_at_least,
    }
}
