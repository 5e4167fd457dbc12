//! What the pages of a notice share: what they are asked for, why a form did nothing, and the email that they show.

use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::http::App;
use crate::incident::Incident;
use crate::notice::{self, Notice, Sample};

/// What the page of a notice is asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowParams {
    /// Only deliveries in this state.
    pub(super) state: Option<String>,
    /// The rows after this one.
    pub(super) cursor: Option<String>,
    /// Only recipients of a draft with this text.
    pub(super) q: Option<String>,
    /// The position of the recipient whose email is shown.
    pub(super) recipient: Option<i64>,
}

/// Why a form of the page did nothing.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) text: String,
    /// The digest that the form contained, if what it showed is not current any more.
    pub(super) digest: Option<String>,
}

/// Returns the email to one recipient, from the plan of a draft or from the frozen list.
pub(super) async fn email(app: &App, id: NoticeId, ordinal: i64) -> Result<Sample> {
    let (plans, sending, now) = (app.plans.clone(), app.sending.clone(), app.clock().now());
    app.db
        .read(move |conn| match notice::state_of(conn, &id)?.is_draft() {
            true => plans
                .get(conn, &id, &sending, now, false)?
                .sample(ordinal, &sending),
            false => notice::sample_of_sent(conn, &id, ordinal, &sending),
        })
        .await
}

/// Returns the title of the page of a notice.
pub(super) fn title(notice: &Notice, incident: &Incident) -> String {
    if incident.id.is_of_maintenance() {
        return format!("Notice of maintenance {}", -incident.number);
    }
    format!(
        "{} notice of #{}",
        capital(notice.phase.as_str()),
        incident.number
    )
}

/// Returns a link to an incident, or to a planned maintenance, and to the list of all of them.
pub(super) fn incident_link(incident: &Incident) -> Value {
    let (list, list_path) = match incident.id.is_of_maintenance() {
        true => ("Planned maintenance", "/admin/maintenances"),
        false => ("Incidents", "/admin/incidents"),
    };
    json!({
        "name": name(&incident.id, incident.number), "title": incident.title, "path": path(&incident.id, incident.number),
        "list": list, "list_path": list_path,
    })
}

/// Returns the email that a page shows in a frame.
pub(super) fn mail_view(id: &NoticeId, ordinal: i64, sample: &Sample) -> Value {
    json!({
        "to": sample.to, "subject": sample.subject, "text": sample.text,
        "path": format!("/admin/notices/{id}/mail/{ordinal}"),
    })
}

/// Returns the path of an incident, or of a planned maintenance.
pub(super) fn path(id: &IncidentId, number: i64) -> String {
    match id.is_of_maintenance() {
        true => format!("/admin/maintenances/{id}"),
        false => format!("/admin/incidents/{number}"),
    }
}

/// Returns what an incident or a planned maintenance is called.
pub(super) fn name(id: &IncidentId, number: i64) -> String {
    match id.is_of_maintenance() {
        true => format!("maintenance {}", -number),
        false => format!("#{number}"),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
