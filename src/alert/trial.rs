//! What would be understood of a body, without anything being stored; and a kept body taken in again.
//!
//! Must never happen here: a trial that leaves a trace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::intake::{self, Taken};
use super::integration::{self, Integration};
use super::rules::{self, ResourceRule};
use super::source::{self, Alert, PersonRef, Request};
use super::{Status, kept, provider};
use crate::audit::{Action, Event, Tx};
use crate::db::Conn;
use crate::directory::Check;
use crate::error::{Error, FieldError, Result};
use crate::id::IntegrationId;
use crate::time::Timestamp;

/// A body to try.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlertTrial)]
pub struct Trial {
    /// The body: JSON as it is, or a text for anything else. Either this or `body_id`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub body: Option<Value>,
    /// A kept body of this integration.
    #[serde(default)]
    pub body_id: Option<i64>,
    /// With `body`: the headers that say what it is, such as `Sentry-Hook-Resource`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// With `body`: what is behind the `?` of the URL.
    #[serde(default)]
    pub query: Option<String>,
    /// With `body`: GET, POST or PUT; POST if not given.
    #[serde(default)]
    pub method: Option<String>,
    /// In the place of the integration's own rules.
    #[serde(default)]
    pub resource_rules: Option<Vec<ResourceRule>>,
}

/// What would be understood.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Understood {
    /// Whether the body is of the source's format.
    pub accepted: bool,
    /// Otherwise: where in the body, and why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// The alerts of the body.
    pub alerts: Vec<TriedAlert>,
    /// What was understood and is no alert.
    pub ignored: Vec<String>,
    /// Alerts that the sender left out.
    pub truncated: u64,
}

/// Why a body is not of its source's format.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Refused {
    /// Where.
    pub pointer: String,
    /// Why.
    pub detail: String,
}

/// An alert as it would be taken.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedAlert {
    /// What makes it the same problem again.
    pub fingerprint: String,
    /// Whether the problem is there.
    pub status: Status,
    /// The source's own word for how bad it is.
    pub severity: String,
    /// How bad an incident it would open.
    pub incident_severity: crate::incident::Severity,
    /// One line.
    pub title: String,
    /// More.
    pub text: String,
    /// Since when, by the source.
    pub started_at: Option<Timestamp>,
    /// Until when, by the source.
    pub ended_at: Option<Timestamp>,
    /// Where to look at it.
    pub link: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The resources that it names.
    pub references: Vec<Found>,
    /// The people that it names.
    pub people: Vec<PersonRef>,
}

/// A resource that an alert names.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AlertResource)]
pub struct Found {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: crate::id::ExternalId,
    /// Its id.
    pub id: crate::id::ExternalId,
    /// Whether the directory knows it.
    pub known: bool,
    /// Whether it would become affected: the deepest known one of its match.
    pub affected: bool,
}

/// Reads a body as the integration would, and stores nothing.
///
/// # Errors
/// `NotFound`; `Invalid`, field by field.
pub fn read(conn: &mut Conn, id: &IntegrationId, trial: &Trial) -> Result<Understood> {
    let integration = takes_alerts(conn, id)?;
    let mut check = Check::default();
    let given = trial.body.is_some() || trial.query.is_some();
    let described = given || trial.method.is_some() || !trial.headers.is_empty();
    if trial.body_id.is_some() && described {
        let detail = "a kept body has its own method, query and headers; give nothing beside it";
        check.errors.push(FieldError::at("/body_id", detail));
    }
    if trial.body_id.is_none() && !given {
        check.errors.push(FieldError::at(
            "/body",
            "is missing; give a body, or the body_id of a kept one",
        ));
    }
    let method = trial.method.as_deref().unwrap_or("POST").to_ascii_uppercase();
    if !["GET", "POST", "PUT"].contains(&method.as_str()) {
        check
            .errors
            .push(FieldError::at("/method", "must be GET, POST or PUT"));
    }
    let own = trial.resource_rules.as_deref();
    for (index, rule) in own.unwrap_or_default().iter().enumerate() {
        check
            .errors
            .extend(rule.check(&format!("/resource_rules/{index}")));
    }
    check.finish()?;
    let request = match trial.body_id {
        Some(body) => kept::request(conn, id, body)?,
        None => asked(trial, method),
    };
    let batch = match source::parse(&integration.source, integration.mapping.as_ref(), &request) {
        Ok(batch) => batch,
        Err((pointer, detail)) => {
            return Ok(Understood {
                accepted: false,
                refused: Some(Refused { pointer, detail }),
                alerts: Vec::new(),
                ignored: Vec::new(),
                truncated: 0,
            });
        }
    };
    let rules = own.unwrap_or(&integration.resource_rules);
    let alerts = batch.alerts.into_iter().map(|alert| tried(conn, rules, alert));
    Ok(Understood {
        accepted: true,
        refused: None,
        alerts: alerts.collect::<Result<_>>()?,
        ignored: batch.ignored,
        truncated: batch.truncated,
    })
}

fn takes_alerts(conn: &mut Conn, id: &IntegrationId) -> Result<Integration> {
    let integration = integration::get(conn, id)?;
    if provider::is_one(&integration.source) {
        return Err(Error::invalid(
            "",
            "this integration takes what mail providers report: it has no alerts",
        ));
    }
    Ok(integration)
}

fn asked(trial: &Trial, method: String) -> Request {
    let mut request = Request::json(match &trial.body {
        None => Vec::new(),
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(json) => json.to_string().into_bytes(),
    });
    request.method = method;
    request.query = trial.query.clone().unwrap_or_default();
    for (name, value) in &trial.headers {
        request.headers.insert(name.to_ascii_lowercase(), value.clone());
    }
    request
}

fn tried(conn: &mut Conn, rules: &[ResourceRule], alert: Alert) -> Result<TriedAlert> {
    let chains = rules::chains(rules, &alert);
    let resolved = rules::resolve(conn, &chains)?;
    let references = resolved.all.iter().map(|at| {
        let key = resolved.keys.get(at);
        Found {
            type_: at.type_.clone(),
            id: at.id.clone(),
            known: key.is_some(),
            affected: key.is_some_and(|key| resolved.hit.contains(key)),
        }
    });
    let references = references.collect();
    Ok(TriedAlert {
        incident_severity: source::severity(&alert.severity),
        fingerprint: alert.fingerprint,
        status: if alert.firing {
            Status::Firing
        } else {
            Status::Resolved
        },
        severity: alert.severity,
        title: alert.title,
        text: alert.text,
        started_at: alert.started_at,
        ended_at: alert.ended_at,
        link: alert.link,
        labels: alert.labels,
        annotations: alert.annotations,
        references,
        people: alert.people,
    })
}

/// Takes a kept body in again, as if it arrived now.
///
/// # Errors
/// `NotFound`; `Invalid` where it is still not of the source's format, or the integration has ended.
pub fn replay(tx: &mut Tx<'_>, id: &IntegrationId, body: i64) -> Result<Taken> {
    let integration = takes_alerts(tx.conn, id)?;
    if integration.gone_at.is_some() {
        return Err(Error::Conflict("the integration has ended".to_owned()));
    }
    let request = kept::request(tx.conn, id, body)?;
    let batch = source::parse(&integration.source, integration.mapping.as_ref(), &request)
        .map_err(|(pointer, detail)| Error::invalid(format!("/body{pointer}"), detail))?;
    tx.record(Event::new(Action::HookReplayed, "integration", id.as_str()).after(json!({"body": body})));
    intake::take(tx, &integration, &batch, &request)
}
