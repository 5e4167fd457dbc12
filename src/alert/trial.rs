//! What would be understood of a body, without anything being stored; and a kept body taken in again.
//!
//! Must never happen here: a trial that leaves a trace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::grouping::{self, NewAlertRule, Policy};
use super::intake::ground::Ground;
use super::intake::{self, RecordedReason, Taken};
use super::integration::{self, Integration};
use super::keys::Keys;
use super::matcher::Subject;
use super::rehearsal::{Rehearsal, TriedQuiet, TriedRule, Would};
use super::rules::{self, ResourceRule};
use super::source::{self, PersonRef, Request};
use super::{Status, kept, provider};
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{AlertRuleId, IntegrationId};
use crate::base::time::Timestamp;
use crate::db::Conn;

/// Rules that are tried at a time.
const MOST_RULES: usize = 50;

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
    /// In the place of the stored rules for alerts, in this order.
    #[serde(default)]
    pub alert_rules: Option<Vec<NewAlertRule>>,
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
    /// The sender's own time of the event; null where it gives none.
    pub event_at: Option<Timestamp>,
    /// Details of it that could not be read, or that a rule did not look at.
    pub notes: Vec<String>,
    /// Why it would change nothing but the record; null where it counts.
    pub recorded: Option<RecordedReason>,
    /// The first rule that it matches: a stored one, or (`position`) one of those that are tried.
    pub rule: Option<TriedRule>,
    /// The fields and values of its group by that rule.
    #[schema(value_type = Option<Object>)]
    pub group: Option<Value>,
    /// What would become of it by that rule; without one, by `open_incident` of the integration.
    pub policy: Policy,
    /// The silence that is about it.
    pub silence: Option<TriedQuiet>,
    /// The maintenance window that is about it.
    pub maintenance_window: Option<TriedQuiet>,
    /// What would happen.
    pub would: Would,
}

/// A resource that an alert names.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AlertResource)]
pub struct Found {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: crate::base::id::ExternalId,
    /// Its id.
    pub id: crate::base::id::ExternalId,
    /// Whether the directory knows it.
    pub known: bool,
    /// Whether it would become affected: the deepest known one of its match.
    pub affected: bool,
}

/// Reads a body as the integration would, and stores nothing.
///
/// # Errors
/// `NotFound`; `Invalid`, field by field.
pub fn read(conn: &mut Conn, id: &IntegrationId, trial: &Trial, now: Timestamp) -> Result<Understood> {
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
    let instead = trial.alert_rules.as_deref();
    if instead.is_some_and(|rules| rules.len() > MOST_RULES) {
        check
            .errors
            .push(FieldError::at("/alert_rules", "holds more than 50"));
    }
    for (index, rule) in instead.unwrap_or_default().iter().take(MOST_RULES).enumerate() {
        rule.check(conn, &mut check, &format!("/alert_rules/{index}"))?;
    }
    check.finish()?;
    let request = match trial.body_id {
        Some(body) => kept::request(conn, id, body)?,
        None => asked(trial, method),
    };
    let mut integration = integration;
    if let Some(own) = own {
        integration.resource_rules = own.to_vec();
    }
    let mut ground = Ground::read(conn, now)?;
    if let Some(rules) = instead {
        let ready = (1_i64..)
            .zip(rules)
            .map(|(position, rule)| grouping::Ready::of(rule.tried(AlertRuleId::new(now), position, now)));
        ground = ground.with_rules(ready.collect::<Result<_>>()?);
    }
    rehearse(conn, integration, ground, instead.is_none(), &request, now)
}

/// A rule tried among the stored ones.
#[derive(Clone, Debug)]
pub struct TriedAmong {
    /// Its place.
    pub position: i64,
    /// What would become of the alerts of the body.
    pub understood: Understood,
    /// Whether each of them matches the rule, be it that an earlier one takes it.
    pub holds: Vec<bool>,
}

/// Tries a rule on a kept body, and stores nothing: in the place of the stored rule `of`, or behind all others.
///
/// # Errors
/// `NotFound`; `Invalid`, field by field of the rule.
pub fn among(
    conn: &mut Conn,
    id: &IntegrationId,
    body: i64,
    rule: &NewAlertRule,
    of: Option<&AlertRuleId>,
    now: Timestamp,
) -> Result<TriedAmong> {
    let integration = takes_alerts(conn, id)?;
    grouping::check(conn, rule)?;
    let request = kept::request(conn, id, body)?;
    let mut rules = grouping::ready(conn)?;
    let place = rules.iter().position(|held| Some(&held.rule.id) == of);
    let position = match place {
        Some(place) => rules[place].rule.position,
        None => rules.last().map_or(0, |last| last.rule.position) + 1,
    };
    let fresh = AlertRuleId::new(now);
    let tried = rule.tried(of.cloned().unwrap_or(fresh), position, now);
    let alone = grouping::Ready::of(tried.clone())?;
    let tried = grouping::Ready::of(tried)?;
    match place {
        Some(place) => rules[place] = tried,
        None => rules.push(tried),
    }
    let batch = source::parse(&integration.source, integration.mapping.as_ref(), &request);
    let holds = batch.map_or_else(
        |_| Vec::new(),
        |batch| {
            let subject = |alert| Subject {
                integration: &integration,
                alert,
            };
            batch
                .alerts
                .iter()
                .map(|alert| alone.holds(subject(alert)))
                .collect()
        },
    );
    let ground = Ground::read(conn, now)?.with_rules(rules);
    Ok(TriedAmong {
        position,
        understood: rehearse(conn, integration, ground, false, &request, now)?,
        holds,
    })
}

/// What would become of a body on this ground; `stored` says whether its rules are the stored ones.
fn rehearse(
    conn: &mut Conn,
    integration: Integration,
    ground: Ground,
    stored: bool,
    request: &Request,
    now: Timestamp,
) -> Result<Understood> {
    let batch = match source::parse(&integration.source, integration.mapping.as_ref(), request) {
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
    let batch = match Keys::of(conn, integration.id.as_str(), [&batch])? {
        Some(mut keys) => keys.linked(&batch),
        None => batch,
    };
    let mut batch = batch;
    rules::find(&integration.resource_rules, &mut batch);
    let mut rehearsal = Rehearsal::new(integration, ground, stored, now);
    let mut alerts = Vec::new();
    for alert in batch.alerts {
        alerts.push(rehearsal.tried(conn, alerts.len(), alert)?);
    }
    Ok(Understood {
        accepted: true,
        refused: None,
        alerts,
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

/// Takes a kept body in again, as if it arrived now.
///
/// # Errors
/// `NotFound`; `Invalid` where it is still not of the source's format, or the integration has ended.
pub fn replay(tx: &mut Tx<'_>, id: &IntegrationId, body: i64) -> Result<Taken> {
    let integration = takes_alerts(tx.conn, id)?;
    if integration.gone_at.is_some() {
        return Err(Error::Conflict("the integration has ended".to_owned()).code(Code::IntegrationEnded));
    }
    let request = kept::request(tx.conn, id, body)?;
    let mut batch = source::parse(&integration.source, integration.mapping.as_ref(), &request)
        .map_err(|(pointer, detail)| Error::invalid(format!("/body{pointer}"), detail))?;
    rules::find(&integration.resource_rules, &mut batch);
    tx.record(Event::new(Action::HookReplayed, "integration", id.as_str()).after(json!({"body": body})));
    intake::take_again(tx, &integration, &batch, &request)
}
