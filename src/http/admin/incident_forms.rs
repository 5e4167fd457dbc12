//! The forms on the page of an incident: another status, and a new timeline entry. They do what the API does, with the
//! same role.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::field::Field;
use super::filled::{Filled, back_to};
use super::form::{Form, Saved, Use};
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::Conn;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::timeline::{self, NewEntry};
use crate::incident::{self, Incident, Status, StatusChange};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .send("/incidents/{id}/status", Role::Operator, set_status)
        .send("/incidents/{id}/timeline", Role::Operator, add_entry);
}

const PART: &str = "Incidents";

const STATUS: &[Field] = &[
    Field::choice(
        "status",
        "Status",
        "Customers are not notified by this.",
        &[
            ("investigating", "Investigating: the cause is not known yet"),
            ("identified", "Identified: the cause is known"),
            (
                "monitoring",
                "Monitoring: the problem appears to be fixed and is observed",
            ),
            ("resolved", "Resolved: the incident is over"),
        ],
        "must be investigating, identified, monitoring or resolved",
    ),
    Field::long_text("message", "Message", "For the timeline. Customers do not see it.").optional(),
    Field::clock("at", "When", "If empty, the status changes now."),
    Field::zone(),
];

const ENTRY: &[Field] = &[
    Field::choice(
        "kind",
        "Kind",
        "The times of the incident are computed from the kinds.",
        &[
            ("note", "Note"),
            ("started", "Started: customers began to be affected"),
            ("detected", "Detected"),
            ("acknowledged", "Acknowledged: somebody took responsibility"),
            ("escalated", "Escalated to somebody else"),
            ("investigating", "Investigating"),
            ("identified", "Identified: the cause is known"),
            ("notified", "Notified: customers were notified"),
            ("deployed", "Deployed: a change was deployed"),
            ("mitigated", "Mitigated: customers are no longer affected"),
            ("monitoring", "Monitoring: the fix is observed"),
            ("resolved", "Resolved: the incident is over"),
            ("reported", "Reported: a report was written or sent"),
            ("follow_up", "Follow-up: a task for later"),
        ],
        "must be one of the kinds in the list",
    ),
    Field::long_text("text", "What happened", ""),
    Field::clock("at", "When", "If empty, it happened now."),
    Field::zone(),
    Field::flag(
        "internal",
        "Visible to",
        "Candor never sends timeline entries to customers. Other programs may show the entries that are not internal.",
        "Only us (internal)",
        "Everybody (not internal)",
    ),
];

/// Returns the incident that a path names.
pub(super) fn find(conn: &mut Conn, name: &IncidentName) -> Result<Incident> {
    match name {
        IncidentName::Id(id) => incident::get(conn, id),
        IncidentName::Number(number) => incident::by_number(conn, *number),
    }
}

/// Where a form of an incident is.
fn at<'a>(incident: &Incident, last: &str, button: &'a str, within: &'a str) -> Use<'a> {
    let page = format!("/admin/incidents/{}", incident.number);
    Use {
        action: format!("{page}/{last}"),
        button,
        within: (within, page),
    }
}

/// The forms for the page of the incident.
pub(super) fn shown(incident: &Incident) -> Value {
    let next = match incident.status {
        Status::Investigating => Status::Identified,
        Status::Identified => Status::Monitoring,
        Status::Monitoring => Status::Resolved,
        Status::Resolved => Status::Investigating,
    };
    // The page that they belong to is the one that they are on.
    let here = |form: Form, last: &str, button: &str| {
        let mut shown = form.shown(&at(incident, last, button, ""));
        shown["back"] = Value::Null;
        shown
    };
    let status = Form::new(STATUS).with("status", next.as_str()).within("status");
    json!({
        "status": here(status, "status", "Change status"),
        "entry": here(Form::new(ENTRY).within("entry"), "timeline", "Add entry"),
    })
}

async fn set_status(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(STATUS, sent.fields)?);
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |new: StatusChange| {
        app.db
            .write(&actor, move |tx| incident::set_status(tx, &id, &new))
            .await
    };
    let label = format!("#{} {}", incident.number, incident.title);
    let at = at(&incident, "status", "Change status", &label);
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(back_to(&at.within.1)),
        Saved::Again(form) => form.page(&app, &by, ("Change status", PART), "", &at),
    }
}

async fn add_entry(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(ENTRY, sent.fields)?);
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |new: NewEntry| app.db.write(&actor, move |tx| timeline::add(tx, &id, &new)).await;
    let label = format!("#{} {}", incident.number, incident.title);
    let at = at(&incident, "timeline", "Add entry", &label);
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(back_to(&format!("{}#timeline", at.within.1))),
        Saved::Again(form) => form.page(&app, &by, ("Add a timeline entry", PART), "", &at),
    }
}
