//! `/admin/audit`: who did what to which subject, when, and whether the audit trail is intact.
//!
//! A filter that names something without events is an error and never an empty list.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{Frame, ROWS, When, grouped, link};
use crate::audit::{self, Action, EventView, Filter};
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::own;
use crate::http::page::{cursor, page};
use crate::http::problem::Answer;
use crate::incident;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/audit", Role::Viewer, list)
        .show("/audit/verify", Role::Viewer, verify);
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

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    text.map(Timestamp::parse)
        .transpose()
        .map_err(|detail| Error::invalid(name, detail))
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let before: Option<i64> = cursor(p.cursor.as_deref())?;
    let number: Option<i64> = p
        .incident
        .as_deref()
        .and_then(|text| text.trim_start_matches('#').parse().ok());
    let named = match (&p.incident, number) {
        (Some(text), None) => Some(own("incident", IncidentId::parse(text))?),
        _ => None,
    };
    let mut filter = Filter {
        incident: named,
        actor: p.actor.clone(),
        action: p.action.clone(),
        subject: p.subject.clone(),
        from: time("?from", p.from.as_deref())?,
        to: time("?to", p.to.as_deref())?,
    };
    let events = app
        .db
        .read(move |conn| {
            if let Some(number) = number {
                filter.incident = Some(incident::by_number(conn, number)?.id);
            }
            Ok(page(
                audit::list(conn, &filter, before, ROWS.probe())?,
                ROWS,
                |event| event.seq,
            ))
        })
        .await?;
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
    app.pages.answer(
        "admin/audit",
        &json!({
            "page": Frame::new(&app, Some(&by.0), "Audit", "Audit"),
            "events": events.items.iter().map(row).collect::<Vec<_>>(),
            "actions": Action::ALL.iter().map(|action| json!({
                "name": action, "chosen": p.action.as_deref() == Some(*action),
            })).collect::<Vec<_>>(),
            "given": {
                "incident": p.incident, "actor": p.actor, "subject": p.subject, "from": p.from, "to": p.to,
            },
            "filtered": given.iter().any(|value| value.is_some()),
            "first": p.cursor.is_some().then(|| path(None)),
            "next": events.next_cursor.as_deref().map(|next| path(Some(next))),
        }),
    )
}

fn row(event: &EventView) -> Value {
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
        "incident": event.incident.as_ref().map(|id| format!("/admin/incidents/{id}")),
        "before": pretty(&event.before),
        "after": pretty(&event.after),
        "hash": event.hash,
    })
}

/// Verifies the whole audit trail. It is a separate page, because a long trail takes some time.
async fn verify(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let verified = app.db.read(audit::verify).await?;
    app.pages.answer(
        "admin/verify",
        &json!({
            "page": Frame::new(&app, Some(&by.0), "Verification of the audit chain", "Audit"),
            "ok": verified.ok,
            "events": grouped(verified.events),
            "head": verified.head,
            "broken_at": verified.broken_at,
            "reason": verified.reason,
        }),
    )
}
