//! `/admin/rules`: the alert rules in their order, the form of a rule, and the test of a rule with a saved
//! request.
//!
//! Rules are created, changed and moved only by the functions that the API also uses. A test stores nothing.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::done::done;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::matchers::in_words;
use super::rule_form::RULE;
use super::signed_in::SignedIn;
use super::view::{When, cut, duration};
use crate::alert::grouping::{self, AlertRule, NewAlertRule};
use crate::alert::rehearsal::{TriedAlert, Would};
use crate::alert::saved_requests::{self, SavedRequestHead};
use crate::alert::trial::{self, TriedAmong};
use crate::alert::{Status, integration, matcher, provider};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::id::{AlertRuleId, IntegrationId};
use crate::db::Conn;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, own};
use crate::http::problem::{Answer, Problem};

pub(super) fn routes(pages: &mut Pages) {
    // Paths with a fixed word come before paths with an ID.
    pages
        .show("/rules", Role::Viewer, list)
        .does(&["GET /api/v1/alert-rules"])
        .send("/rules", Role::Admin, create)
        .does(&["POST /api/v1/alert-rules"])
        .show("/rules/new", Role::Admin, fresh)
        .send("/rules/try", Role::Admin, try_it)
        .show("/rules/{id}", Role::Admin, show)
        .does(&["GET /api/v1/alert-rules/{id}"])
        .send("/rules/{id}", Role::Admin, replace)
        .does(&["PUT /api/v1/alert-rules/{id}"])
        .send("/rules/{id}/move", Role::Admin, step)
        .does(&["POST /api/v1/alert-rules/order"])
        .send("/rules/{id}/delete", Role::Admin, delete)
        .does(&["DELETE /api/v1/alert-rules/{id}"]);
}

const PATH: &str = "/admin/rules";
const PART: &str = "Alert grouping";
/// The largest number of rules.
const MAX: i64 = 500;
/// The largest number of integrations to choose from.
const MAX_INTEGRATIONS: i64 = 200;
/// The number of saved requests of each integration to choose from.
const BODIES: i64 = 5;
/// The largest number of alerts of a test that are shown.
const TRIED: usize = 50;

/// Returns the integrations that receive alerts, with their names.
fn integrations(conn: &mut Conn) -> Result<Vec<(IntegrationId, String)>> {
    let all = integration::list(conn, None, MAX_INTEGRATIONS)?;
    Ok(all
        .into_iter()
        .filter(|one| one.gone_at.is_none() && !provider::is_one(&one.source))
        .map(|one| (one.id, one.name))
        .collect())
}

async fn list(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let (rules, integrations) = app
        .db
        .read(|conn| Ok((grouping::list(conn, None, MAX)?, integrations(conn)?)))
        .await?;
    let last = rules.len();
    let rows: Vec<Value> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| row(rule, &integrations, index == 0, index + 1 == last))
        .collect();
    app.pages.answer(
        "admin/rules",
        &json!({
            "page": Frame::new(&app, &by, PART, PART),
            "rules": rows,
            "may_change": by.0.role.covers(Role::Admin),
        }),
    )
}

fn row(rule: &AlertRule, integrations: &[(IntegrationId, String)], first: bool, last: bool) -> Value {
    let of = rule.integration.as_ref().map(|id| {
        let known = integrations.iter().find(|(known, _)| known == id);
        json!({
            "name": known.map_or_else(|| id.to_string(), |(_, name)| name.clone()),
            "path": format!("/admin/integrations/{id}"),
        })
    });
    let severity: Vec<String> = rule
        .severity
        .iter()
        .map(|(word, severity)| format!("{word} is {severity}"))
        .collect();
    let resources: Vec<String> = rule.resources.iter().take(20).map(ToString::to_string).collect();
    json!({
        "id": rule.id,
        "path": format!("{PATH}/{}", rule.id),
        "position": rule.position,
        "name": rule.name,
        "does": match rule.policy {
            grouping::Policy::Open => "opens incidents",
            grouping::Policy::Attach => "attaches only",
            grouping::Policy::Record => "records only",
        },
        "opens": rule.policy == grouping::Policy::Open,
        "integration": of,
        "matchers": in_words(&rule.matchers),
        "group_by": rule.group_by,
        "severity": severity.join(", "),
        "resources": cut(&resources.join(", "), 300),
        "more": rule.resources.len().saturating_sub(20),
        "reopen_within": (rule.reopen_within > 0).then(|| duration(rule.reopen_within)),
        "first": first,
        "last": last,
    })
}

/// Returns the page of a form, with its errors and the result of a test.
async fn form_page(
    app: &App,
    by: &SignedIn,
    form: Form,
    of: Option<&AlertRule>,
    tried: Option<Value>,
) -> Answer<HttpResponse> {
    let (integrations, heads) = app
        .db
        .read(|conn| {
            let integrations = integrations(conn)?;
            let ids: Vec<IntegrationId> = integrations.iter().map(|(id, _)| id.clone()).collect();
            Ok((integrations, saved_requests::newest(conn, &ids, BODIES)?))
        })
        .await?;
    let title = of.map_or_else(|| "New rule".to_owned(), |rule| rule.name.clone());
    let chosen = form.text("body");
    let bodies: Vec<Value> = heads
        .iter()
        .map(|head| body_row(head, &integrations, chosen))
        .collect();
    let known = integrations
        .iter()
        .map(|(id, name)| (id.to_string(), name.clone()));
    let any = (String::new(), "any integration".to_owned());
    let form = form.options("integration", std::iter::once(any).chain(known).collect());
    let at = Use {
        action: of.map_or_else(|| PATH.to_owned(), |rule| format!("{PATH}/{}", rule.id)),
        button: if of.is_some() { "Save" } else { "Create rule" },
        within: (PART, PATH.to_owned()),
    };
    app.pages.answer_with(
        form.status(),
        "admin/rule",
        &json!({
            "page": Frame::new(app, by, &title, PART),
            "title": title,
            "of": of.map(|rule| json!({"id": rule.id, "position": rule.position})),
            "form": form.shown(&at),
            "bodies": bodies,
            "tried": tried,
        }),
    )
}

fn body_row(head: &SavedRequestHead, integrations: &[(IntegrationId, String)], chosen: &str) -> Value {
    let name = integrations.iter().find(|(id, _)| *id == head.integration);
    let value = format!("{}/{}", head.integration, head.id);
    let name = name.map_or("", |(_, name)| name.as_str());
    json!({
        "label": format!("{name}, {}: {}", head.received_at.short(&jiff::tz::TimeZone::UTC), cut(&head.detail, 80)),
        "selected": value == chosen,
        "value": value,
    })
}

async fn fresh(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let form = Form::new(RULE).with("reopen_within", "0");
    form_page(&app, &by, form, None, None).await
}

/// Returns the rule with this ID, if it was not deleted.
async fn there(app: &App, id: AlertRuleId) -> Answer<AlertRule> {
    let rule = app.db.read(move |conn| grouping::get(conn, &id)).await?;
    if rule.gone_at.is_some() {
        return Err(Problem::Domain(Error::NotFound(format!("rule {}", rule.id))));
    }
    Ok(rule)
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<AlertRuleId>) -> Answer<HttpResponse> {
    let rule = there(&app, id).await?;
    let stored = serde_json::to_value(&rule).map_err(Error::internal)?;
    let Some(form) = Form::of(RULE, &stored, app.clock().now()) else {
        let why = "the form cannot show this rule without changing it, for example because a value begins or ends \
                   with a space; change the rule through the API";
        return Err(Problem::Domain(Error::Conflict(why.to_owned())));
    };
    form_page(&app, &by, form, Some(&rule), None).await
}

async fn create(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    save(app, sent, None).await
}

async fn replace(app: web::Data<App>, sent: Filled, InPath(id): InPath<AlertRuleId>) -> Answer<HttpResponse> {
    save(app, sent, Some(id)).await
}

async fn save(app: web::Data<App>, sent: Filled, id: Option<AlertRuleId>) -> Answer<HttpResponse> {
    let of = match id {
        Some(id) => Some(there(&app, id).await?),
        None => None,
    };
    let (by, form) = (sent.by, Form::read(RULE, sent.fields)?);
    let (actor, id) = (by.0.actor(), of.as_ref().map(|rule| rule.id.clone()));
    let store = async |rule: NewAlertRule| {
        matcher::compile_ahead(&rule.matchers).await;
        app.db
            .write(&actor, move |tx| match &id {
                Some(id) => grouping::replace(tx, id, &rule),
                None => grouping::create(tx, &rule),
            })
            .await
    };
    let check = async |rule: NewAlertRule| app.db.read(move |conn| grouping::check(conn, &rule)).await;
    match form.save_checked(app.clock().now(), store, check).await? {
        Saved::Done(saved) => Ok(done(
            &app,
            &format!("{PATH}#r-{}", saved.id),
            "The rule is saved.",
        )),
        Saved::Again(form) => form_page(&app, &by, form, of.as_ref(), None).await,
    }
}

/// Tests the typed rule with a saved request. Nothing is stored, and the form is shown again unchanged.
async fn try_it(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, mut form) = (sent.by, Form::read(RULE, sent.fields)?);
    let of = match form.text("of") {
        "" => None,
        id => Some(there(&app, own("rule", AlertRuleId::parse(id))?).await?),
    };
    let now = app.clock().now();
    let on = chosen(form.text("body"));
    let rule: Option<NewAlertRule> = form.input(now)?;
    if on.is_none() {
        form.wrong("Choose a saved request to test the rule with.");
    }
    let mut tried = None;
    if let Some(rule) = rule {
        let said = match on.filter(|_| !form.is_wrong()) {
            None => app.db.read(move |conn| grouping::check(conn, &rule)).await,
            Some((integration, body)) => {
                let id = of.as_ref().map(|rule| rule.id.clone());
                let found = app
                    .db
                    .read(move |conn| trial::among(conn, &integration, body, &rule, id.as_ref(), now))
                    .await;
                found.map(|found| tried = Some(tried_view(&found)))
            }
        };
        if let Err(error) = said {
            form.refused(error)?;
        }
    }
    form_page(&app, &by, form, of.as_ref(), tried).await
}

fn chosen(body: &str) -> Option<(IntegrationId, i64)> {
    let (integration, body) = body.split_once('/')?;
    Some((IntegrationId::parse(integration).ok()?, body.parse().ok()?))
}

fn tried_view(tried: &TriedAmong) -> Value {
    let understood = &tried.understood;
    let alerts: Vec<Value> = understood
        .alerts
        .iter()
        .zip(&tried.holds)
        .take(TRIED)
        .map(|(alert, holds)| tried_row(alert, *holds, tried.position))
        .collect();
    json!({
        "refused": understood.refused.as_ref().map(|refused| json!({
            "pointer": refused.pointer, "detail": refused.detail,
        })),
        "more": understood.alerts.len().saturating_sub(TRIED),
        "alerts": alerts,
        "ignored": understood.ignored,
    })
}

fn tried_row(alert: &TriedAlert, holds: bool, position: i64) -> Value {
    let by = match (&alert.rule, holds) {
        (Some(rule), true) if rule.position == position => "matches this rule".to_owned(),
        (Some(rule), true) => format!(
            "matches this rule, but rule {} \u{201c}{}\u{201d} comes first",
            rule.position, rule.name
        ),
        (Some(rule), false) => format!(
            "does not match this rule, but matches rule {} \u{201c}{}\u{201d}",
            rule.position, rule.name
        ),
        (None, _) => "matches neither this rule nor another rule".to_owned(),
    };
    let would = &alert.would;
    let incident = would.incident.as_ref().map(|incident| {
        json!({
            "number": incident.number, "path": format!("/admin/incidents/{}", incident.number),
        })
    });
    let group: Option<Vec<Value>> = alert.group.as_ref().and_then(Value::as_object).map(|group| {
        group
            .iter()
            .map(|(field, value)| json!({"field": field, "value": value.as_str().unwrap_or("none")}))
            .collect()
    });
    let affected: Vec<String> = alert
        .references
        .iter()
        .filter(|one| one.affected)
        .map(|one| format!("{} {}", one.type_, one.id))
        .collect();
    json!({
        "title": cut(&alert.title, 200),
        "firing": alert.status == Status::Firing,
        "started": When::maybe(alert.started_at, None),
        "holds": holds,
        "by": by,
        "happens": happens(would),
        "severity": alert.incident_severity,
        "incident": incident,
        "earlier": would.earlier.as_ref().map(|earlier| earlier.number),
        "group": group,
        "affected": cut(&affected.join(", "), 300),
        "silence": alert.silence.as_ref().map(|mute| mute.name.clone()),
        "window": alert.maintenance_window.as_ref().map(|mute| mute.name.clone()),
    })
}

/// Returns what would happen to an alert, as the predicate of a sentence.
pub(super) fn happens(would: &Would) -> &'static str {
    match would.happens.as_str() {
        "opens" => "opens an incident",
        "attaches" => "joins an open incident",
        "reopens" => "reopens a resolved incident",
        "records" => "is only recorded",
        "repeats" => "fires already: the repeat is only counted",
        "resolves" => "resolves its alert",
        _ => "changes nothing: the alert is resolved already",
    }
}

/// Moves a rule one place up or down.
async fn step(app: web::Data<App>, sent: Filled, InPath(id): InPath<AlertRuleId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let mut fields = sent.fields;
    let to = fields.take("to");
    fields.finish()?;
    let up = match to.as_str() {
        "up" => true,
        "down" => false,
        _ => return Err(Error::invalid("/to", "must be up or down").into()),
    };
    let back = format!("{PATH}#r-{id}");
    app.db
        .write(&actor, move |tx| {
            let mut ids: Vec<AlertRuleId> = grouping::list(tx.conn, None, MAX)?
                .into_iter()
                .map(|rule| rule.id)
                .collect();
            let at = ids
                .iter()
                .position(|one| *one == id)
                .ok_or_else(|| Error::NotFound(format!("rule {id}")))?;
            let other = if up { at.checked_sub(1) } else { Some(at + 1) };
            // If the rule is already at the end, nothing changes. Somebody else may have moved it there.
            if let Some(other) = other.filter(|other| *other < ids.len()) {
                ids.swap(at, other);
                grouping::order(tx, &ids)?;
            }
            Ok(())
        })
        .await?;
    Ok(done(&app, &back, "The order of the rules is changed."))
}

async fn delete(app: web::Data<App>, sent: Filled, InPath(id): InPath<AlertRuleId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db.write(&actor, move |tx| grouping::delete(tx, &id)).await?;
    Ok(done(&app, PATH, "The rule is deleted."))
}
