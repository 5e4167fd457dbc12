//! Shows how a body would be understood without storing anything, and replays a saved request.
//!
//! A trial leaves no trace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::grouping::{self, NewAlertRule};
use super::intake::conditions::{CompiledConditions, StoredConditions};
use super::intake::{self, ConditionCache, Taken};
use super::integration::{self, Integration};
use super::keys::Keys;
use super::matcher::{Budget, Subject};
use super::rehearsal::{Rehearsal, TriedAlert};
use super::rules::{self, ResourceRule};
use super::source::{self, Request};
use super::{provider, saved_requests};
use crate::audit::{Action, Actor, Event};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{AlertRuleId, IntegrationId};
use crate::base::time::Timestamp;
use crate::db::Conn;

/// The number of alert rules in one trial.
const MAX_RULES: usize = 50;

/// A body to try.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlertTrial)]
pub struct Trial {
    /// The body: JSON, or a text for any other format. Give either this or `body_id`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub body: Option<Value>,
    /// The ID of a saved request of this integration. Give either this or `body`.
    #[serde(default)]
    pub body_id: Option<i64>,
    /// With `body`: the headers that describe it, for example `Sentry-Hook-Resource`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// With `body`: the part of the URL after the `?`.
    #[serde(default)]
    pub query: Option<String>,
    /// With `body`: `GET`, `POST` or `PUT`. The default is `POST`.
    #[serde(default)]
    pub method: Option<String>,
    /// Resource rules to use instead of those of the integration.
    #[serde(default)]
    pub resource_rules: Option<Vec<ResourceRule>>,
    /// Alert rules to use instead of the stored ones, in this order.
    #[serde(default)]
    pub alert_rules: Option<Vec<NewAlertRule>>,
}

/// How a body would be understood.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Understood {
    /// Whether the body is in the format of the source.
    pub accepted: bool,
    /// Why the body is not in the format of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// The alerts of the body.
    pub alerts: Vec<TriedAlert>,
    /// Parts of the body that were understood but are not alerts.
    pub ignored: Vec<String>,
    /// The number of alerts that the sender left out.
    pub truncated: u64,
}

/// Why a body is not in the format of its source.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Refused {
    /// The JSON pointer of the error in the body.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// Parses a body as the integration would, and stores nothing.
///
/// # Errors
/// `NotFound` if the integration or the saved request does not exist. `Invalid` with one error for each wrong
/// field.
pub fn read(conn: &mut Conn, id: &IntegrationId, trial: &Trial, now: Timestamp) -> Result<Understood> {
    let integration = takes_alerts(conn, id)?;
    let mut check = Check::default();
    let given = trial.body.is_some() || trial.query.is_some();
    let described = given || trial.method.is_some() || !trial.headers.is_empty();
    if trial.body_id.is_some() && described {
        let detail = "must not be given together with body_id, because a saved request has its own method, query \
        and headers";
        check.errors.push(FieldError::at("/body_id", detail));
    }
    if trial.body_id.is_none() && !given {
        check.errors.push(FieldError::at(
            "/body",
            "is missing; give a body, or the body_id of a saved request",
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
    if instead.is_some_and(|rules| rules.len() > MAX_RULES) {
        check
            .errors
            .push(FieldError::at("/alert_rules", "has more than 50 rules"));
    }
    for (index, rule) in instead.unwrap_or_default().iter().take(MAX_RULES).enumerate() {
        rule.check(conn, &mut check, &format!("/alert_rules/{index}"))?;
    }
    check.finish()?;
    let request = match trial.body_id {
        Some(body) => saved_requests::request(conn, id, body)?,
        None => asked(trial, method),
    };
    let mut integration = integration;
    if let Some(own) = own {
        integration.resource_rules = own.to_vec();
    }
    let mut conditions = StoredConditions::read(conn, now)?.compile()?;
    if let Some(rules) = instead {
        let ready = (1_i64..).zip(rules).map(|(position, rule)| {
            grouping::CompiledRule::of(rule.tried(AlertRuleId::new(now), position, now))
        });
        conditions = conditions.with_rules(ready.collect::<Result<_>>()?);
    }
    rehearse(conn, integration, conditions, instead.is_none(), &request, now)
}

/// The result of trying an alert rule together with the stored ones.
#[derive(Clone, Debug)]
pub struct TriedAmong {
    /// The position of the tried rule.
    pub position: i64,
    /// What would happen to the alerts of the body.
    pub understood: Understood,
    /// For each alert: whether it matches the tried rule, even if an earlier rule takes it.
    pub holds: Vec<bool>,
}

/// Tries an alert rule on a saved request, and stores nothing. The rule replaces the stored rule `replaced`, or
/// comes after all other rules.
///
/// # Errors
/// `NotFound` if the integration or the saved request does not exist. `Invalid` with one error for each wrong
/// field of the rule.
pub fn among(
    conn: &mut Conn,
    id: &IntegrationId,
    body: i64,
    rule: &NewAlertRule,
    replaced: Option<&AlertRuleId>,
    now: Timestamp,
) -> Result<TriedAmong> {
    let integration = takes_alerts(conn, id)?;
    grouping::check(conn, rule)?;
    let request = saved_requests::request(conn, id, body)?;
    let mut rules = grouping::stored(conn)?
        .into_iter()
        .map(grouping::CompiledRule::of)
        .collect::<Result<Vec<_>>>()?;
    let place = rules.iter().position(|held| Some(&held.rule.id) == replaced);
    let position = match place {
        Some(place) => rules[place].rule.position,
        None => rules.last().map_or(0, |last| last.rule.position) + 1,
    };
    let fresh = AlertRuleId::new(now);
    let tried = rule.tried(replaced.cloned().unwrap_or(fresh), position, now);
    let alone = grouping::CompiledRule::of(tried.clone())?;
    let tried = grouping::CompiledRule::of(tried)?;
    match place {
        Some(place) => rules[place] = tried,
        None => rules.push(tried),
    }
    let batch = source::parse(&integration.source, integration.mapping.as_ref(), &request);
    let holds = batch.map_or_else(
        |_| Vec::new(),
        |batch| {
            let mut budget = Budget::of_body();
            let subject = |alert| Subject {
                integration: &integration,
                alert,
            };
            batch
                .alerts
                .iter()
                .map(|alert| alone.holds(subject(alert), &mut budget))
                .collect()
        },
    );
    let conditions = StoredConditions::read(conn, now)?.compile()?.with_rules(rules);
    Ok(TriedAmong {
        position,
        understood: rehearse(conn, integration, conditions, false, &request, now)?,
        holds,
    })
}

/// Returns what would happen to a body with these rules and silences. `stored` says whether the rules are the
/// stored ones.
fn rehearse(
    conn: &mut Conn,
    integration: Integration,
    conditions: CompiledConditions,
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
    let mut rehearsal = Rehearsal::new(integration, conditions, stored, now);
    let mut alerts = Vec::new();
    let hits = rehearsal.examine(&batch.alerts);
    for (alert, hit) in batch.alerts.into_iter().zip(&hits) {
        alerts.push(rehearsal.tried(conn, alerts.len(), alert, hit)?);
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
            "this integration receives reports of a mail provider, so it has no alerts",
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

/// A saved request that was read to be replayed.
struct Replayed {
    integration: Integration,
    request: Request,
    batch: source::Batch,
}

/// Replays a saved request, as if it arrived now. The body is parsed and examined outside of the transaction.
///
/// # Errors
/// `NotFound` if the integration or the saved request does not exist. `Invalid` if the body is still not in
/// the format of the source. `Conflict` if the integration is deleted, or is changed at this moment.
pub async fn replay(
    conditions: &ConditionCache,
    actor: &Actor,
    id: &IntegrationId,
    body: i64,
) -> Result<Taken> {
    let asked = id.clone();
    let (integration, request) = conditions
        .db()
        .read(move |conn| {
            let integration = takes_alerts(conn, &asked)?;
            if integration.gone_at.is_some() {
                return Err(ended());
            }
            Ok((integration, saved_requests::request(conn, &asked, body)?))
        })
        .await?;
    let replayed = tokio::task::spawn_blocking(move || {
        let mut batch = source::parse(&integration.source, integration.mapping.as_ref(), &request)
            .map_err(|(pointer, detail)| Error::invalid(format!("/body{pointer}"), detail))?;
        rules::find(&integration.resource_rules, &mut batch);
        Ok::<_, Error>(Replayed {
            integration,
            request,
            batch,
        })
    })
    .await
    .map_err(Error::internal)??;
    intake::write(conditions, actor, move |tx, prepared| {
        let Replayed {
            integration,
            request,
            batch,
        } = &replayed;
        let id = &integration.id;
        let present = integration::get(tx.conn, id)?;
        if present.gone_at.is_some() {
            return Err(ended());
        }
        if present.version != integration.version {
            let detail = "the integration was changed at this moment; please try again";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let event = Event::new(Action::HookReplayed, "integration", id.as_str());
        tx.record(event.after(json!({"body": body})));
        intake::take_again(tx, prepared, integration, batch, request)
    })
    .await
}

fn ended() -> Error {
    Error::Conflict("the integration is deleted".to_owned()).code(Code::IntegrationEnded)
}
