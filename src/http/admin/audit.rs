//! `/admin/audit`: who did what to which subject, when, and whether the audit trail is intact.
//!
//! A filter that names something without events is an error and never an empty list.

use std::collections::{BTreeSet, HashMap};

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, HeaderValue};
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit_proof::anchor;
use super::filled::Wrong;
use super::frame::Frame;
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{ROWS, When, grouped, link, zone};
use crate::audit::{self, Action, EventView, Filter};
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::audit::exported;
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/audit", Role::Viewer, list)
        .does(&["GET /api/v1/audit"])
        .show("/audit/verify", Role::Viewer, verify)
        .does(&["GET /api/v1/audit/verify"])
        .show("/audit/export", Role::Viewer, export)
        .does(&["GET /api/v1/audit/export"]);
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    /// The ID or the number of the incident.
    incident: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    subject: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
}

/// Reads a time: as the date picker of a browser writes it, in the zone of the reader, or with its own offset, as links have it.
fn time(name: &str, text: Option<&str>, zone: &TimeZone) -> Result<Option<Timestamp>, Error> {
    let read = |text: &str| Timestamp::parse(text).or_else(|_| Timestamp::on_clock(text, zone));
    text.map(read)
        .transpose()
        .map_err(|detail| Error::invalid(name, detail))
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let before: Option<i64> = cursor(p.cursor.as_deref())?;
    let zone = zone(by.zone()).unwrap_or(TimeZone::UTC);
    match found(&app, &p, before, &zone).await {
        Ok((events, numbers)) => shown(&app, &by, &p, &zone, (&events, &numbers), Wrong::default()),
        // The filter is shown again, so that it can be corrected.
        Err(error) => {
            let nothing = Page {
                items: Vec::new(),
                next_cursor: None,
            };
            shown(
                &app,
                &by,
                &p,
                &zone,
                (&nothing, &HashMap::new()),
                Wrong::of(error)?,
            )
        }
    }
}

/// The numbers of incidents by their IDs.
type Numbers = HashMap<String, i64>;

/// Reads the events that match, and the numbers of the incidents that they are about.
async fn found(
    app: &App,
    p: &ListParams,
    before: Option<i64>,
    zone: &TimeZone,
) -> Result<(Page<EventView>, Numbers), Error> {
    let number: Option<i64> = p
        .incident
        .as_deref()
        .and_then(|text| text.trim_start_matches('#').parse().ok());
    let named = match (&p.incident, number) {
        (Some(text), None) => Some(IncidentId::parse(text).map_err(|_| {
            Error::invalid(
                "?incident",
                "must be the number of an incident such as 12, or its ID",
            )
        })?),
        _ => None,
    };
    let mut filter = Filter {
        incident: named,
        actor: p.actor.clone(),
        action: p.action.clone(),
        subject: p.subject.clone(),
        from: time("?from", p.from.as_deref(), zone)?,
        to: time("?to", p.to.as_deref(), zone)?,
    };
    app.db
        .read(move |conn| {
            if let Some(number) = number {
                let incident = incident::by_number(conn, number).map_err(|error| match error {
                    Error::NotFound(_) => {
                        Error::invalid("?incident", "there is no incident with this number")
                    }
                    other => other,
                })?;
                filter.incident = Some(incident.id);
            }
            let events = audit::list(conn, &filter, before, ROWS.probe())?;
            let events = page(events, ROWS, |event| event.seq);
            let about = events.items.iter().filter_map(|event| event.incident.as_deref());
            let about: BTreeSet<&str> = about.collect();
            let numbers = incident::numbers(conn, &about.into_iter().collect::<Vec<_>>())?;
            let numbers = numbers.into_iter().map(|(id, number)| (id.to_string(), number));
            let numbers = numbers.collect();
            Ok((events, numbers))
        })
        .await
}

/// The page with the filter. Its status is 422 if the filter is wrong.
fn shown(
    app: &App,
    by: &SignedIn,
    p: &ListParams,
    zone: &TimeZone,
    (events, numbers): (&Page<EventView>, &Numbers),
    mut wrong: Wrong,
) -> Answer<HttpResponse> {
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let picked = |text: &Option<String>| match time("", text.as_deref(), zone) {
        Ok(at) => at.map(|at| at.clock_in(zone)),
        Err(_) => text.clone(),
    };
    let path = |cursor: Option<&str>| {
        link(
            "/admin/audit",
            &[
                ("incident", p.incident.as_deref()),
                ("actor", p.actor.as_deref()),
                ("action", p.action.as_deref()),
                ("subject", p.subject.as_deref()),
                ("from", p.from.as_deref()),
                ("to", p.to.as_deref()),
                ("cursor", cursor),
            ],
        )
    };
    let given = [&p.incident, &p.actor, &p.action, &p.subject, &p.from, &p.to];
    app.pages.answer_with(
        status,
        "admin/audit",
        &json!({
            "page": Frame::new(app, by, "Audit", "Audit"),
            "events": events.items.iter().map(|event| row(event, numbers)).collect::<Vec<_>>(),
            "actions": Action::ALL.iter().map(|action| json!({
                "name": action, "chosen": p.action.as_deref() == Some(*action),
            })).collect::<Vec<_>>(),
            "given": {
                "incident": p.incident, "actor": p.actor, "subject": p.subject, "from": picked(&p.from), "to": picked(&p.to),
            },
            "failed": !wrong.is_empty(),
            "wrong": {
                "incident": wrong.at("?incident"), "actor": wrong.at("?actor"), "action": wrong.at("?action"),
                "subject": wrong.at("?subject"), "from": wrong.at("?from"), "to": wrong.at("?to"),
            },
            "others": wrong.rest(),
            "zone": by.zone().unwrap_or("UTC"),
            "filtered": given.iter().any(|value| value.is_some()),
            "first": p.cursor.is_some().then(|| path(None)),
            "next": events.next_cursor.as_deref().map(|next| path(Some(next))),
        }),
    )
}

fn row(event: &EventView, numbers: &Numbers) -> Value {
    let pretty = |value: &Option<Value>| {
        value
            .as_ref()
            .and_then(|value| serde_json::to_string_pretty(value).ok())
    };
    json!({
        "seq": event.seq,
        "at": When::utc(event.at),
        "actor": event.actor.name,
        "actor_kind": event.actor.kind,
        "actor_path": link("/admin/audit", &[("actor", Some(&event.actor.id))]),
        "action": event.action,
        "subject_type": event.subject.type_,
        "subject_id": event.subject.id,
        "subject_path": link("/admin/audit", &[("subject", Some(&format!("{}/{}", event.subject.type_, event.subject.id)))]),
        "incident": event.incident.as_ref().map(|id| {
            json!({"path": format!("/admin/incidents/{id}"), "number": numbers.get(id)})
        }),
        "before": pretty(&event.before),
        "after": pretty(&event.after),
        "hash": event.hash,
    })
}

/// Verifies the whole audit trail. It is a separate page, because a long trail takes some time.
async fn verify(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let trust = app.authorities.trust.clone();
    let verified = audit::verify_with(&app.db, trust, Vec::new()).await?.verification;
    app.pages.answer(
        "admin/verify",
        &json!({
            "page": Frame::new(&app, &by, "Verification of the audit chain", "Audit"),
            "ok": verified.ok,
            "events": grouped(verified.events),
            "head": verified.head,
            "root": verified.root,
            "anchors": verified.anchors.iter().map(anchor).collect::<Vec<_>>(),
            "broken_at": verified.broken_at,
            "reason": verified.reason,
        }),
    )
}

/// Answers with every event as a file.
async fn export(app: web::Data<App>, _: SignedIn) -> Answer<HttpResponse> {
    let mut answer = exported(app);
    let file = HeaderValue::from_static("attachment; filename=\"audit.ndjson\"");
    answer.headers_mut().insert(CONTENT_DISPOSITION, file);
    Ok(answer)
}
