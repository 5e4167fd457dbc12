//! The forms on the pages of an incident: another status, another severity, another owner, and a new timeline entry. They do what
//! the API does, with the same role.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::signed_in::SignedIn;
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::Conn;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::timeline::{self, NewEntry};
use crate::incident::{self, Incident, IncidentPatch, Status, StatusChange};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .send("/incidents/{id}/status", Role::Operator, set_status)
        .does(&["POST /api/v1/incidents/{id}/status"])
        .send("/incidents/{id}/severity", Role::Operator, set_severity)
        .does(&["PATCH /api/v1/incidents/{id}"])
        .send("/incidents/{id}/owner", Role::Operator, set_owner)
        .does(&["PATCH /api/v1/incidents/{id}"])
        .send("/incidents/{id}/timeline", Role::Operator, add_entry)
        .keeps_text("Add the entry to the timeline")
        .does(&["POST /api/v1/incidents/{id}/timeline"]);
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

const SEVERITY: &[Field] = &[Field::choice(
    "severity",
    "Severity",
    "Customers are not notified by this.",
    &[
        ("critical", "Critical: nothing works, or data is lost"),
        ("major", "Major: an important function does not work"),
        ("minor", "Minor: a problem with little effect"),
    ],
    "must be critical, major or minor",
)];

const OWNER: &[Field] = &[Field::text(
    "owner",
    "Owner",
    "The person or team that leads the work. If empty, nobody does.",
)];

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

/// A form on the page that it belongs to.
fn here(form: Form, at: &Use<'_>) -> Value {
    let mut shown = form.shown(at);
    shown["back"] = Value::Null;
    shown
}

/// The forms in the head of the pages of the incident, for the person who looks at it.
pub(super) fn head(incident: &Incident, by: &SignedIn) -> Value {
    let caller = by.0.name.as_str();
    let next = match incident.status {
        Status::Investigating => Status::Identified,
        Status::Identified => Status::Monitoring,
        Status::Monitoring => Status::Resolved,
        // A merged incident has no forms.
        Status::Resolved | Status::Merged => Status::Investigating,
    };
    let status = Form::new(STATUS)
        .zoned(by, incident.time_zone.as_deref())
        .with("status", next.as_str())
        .within("status");
    let severity = Form::new(SEVERITY)
        .with("severity", incident.severity.as_str())
        .within("severity");
    let owner = Form::new(OWNER)
        .with("owner", incident.owner.as_deref().unwrap_or_default())
        .within("owner");
    let owned = incident.owner.as_deref() == Some(caller);
    json!({
        "status": here(status, &at(incident, "status", "Change status", "")),
        "severity": here(severity, &at(incident, "severity", "Change severity", "")),
        "owner": here(owner, &at(incident, "owner", "Save owner", "")),
        "take": (!owned).then(|| json!({"action": at(incident, "owner", "", "").action, "name": caller})),
    })
}

/// The forms for the timeline: a note, and any entry.
pub(super) fn shown(incident: &Incident, by: &SignedIn) -> Value {
    let entry = Form::new(ENTRY)
        .zoned(by, incident.time_zone.as_deref())
        .within("entry");
    let at = at(incident, "timeline", "Add entry", "");
    json!({"note": at.action, "entry": here(entry, &at)})
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
        Saved::Done(incident) => {
            let text = format!(
                "The status is now {}. Customers were not notified by this.",
                incident.status
            );
            Ok(done(&app, &at.within.1, &text))
        }
        Saved::Again(form) => form.page(&app, &by, ("Change status", PART), "", &at),
    }
}

async fn set_severity(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(SEVERITY, sent.fields)?);
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |patch: IncidentPatch| {
        app.db
            .write(&actor, move |tx| incident::change(tx, &id, &patch))
            .await
    };
    let label = format!("#{} {}", incident.number, incident.title);
    let at = at(&incident, "severity", "Change severity", &label);
    match form.save(app.clock().now(), store).await? {
        Saved::Done(incident) => {
            let text = format!("The severity is now {}.", incident.severity);
            Ok(done(&app, &at.within.1, &text))
        }
        Saved::Again(form) => form.page(&app, &by, ("Change severity", PART), "", &at),
    }
}

async fn set_owner(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(OWNER, sent.fields)?);
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |mut patch: IncidentPatch| {
        // An empty field says that nobody leads the work.
        patch.owner = patch.owner.map(|owner| owner.filter(|name| !name.is_empty()));
        app.db
            .write(&actor, move |tx| incident::change(tx, &id, &patch))
            .await
    };
    let label = format!("#{} {}", incident.number, incident.title);
    let at = at(&incident, "owner", "Save owner", &label);
    match form.save(app.clock().now(), store).await? {
        Saved::Done(incident) => {
            let text = match &incident.owner {
                Some(owner) => format!("The owner is now {owner}."),
                None => "The incident has no owner now.".to_owned(),
            };
            Ok(done(&app, &at.within.1, &text))
        }
        Saved::Again(form) => form.page(&app, &by, ("Change the owner", PART), "", &at),
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
        Saved::Done(_) => Ok(done(
            &app,
            &format!("{}#timeline", at.within.1),
            "The entry is on the timeline.",
        )),
        Saved::Again(form) => form.page(&app, &by, ("Add a timeline entry", PART), "", &at),
    }
}
