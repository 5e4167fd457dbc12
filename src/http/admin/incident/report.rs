//! The report of an incident, for each of its audiences, and the buttons that publish it.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::head::Reader;
use crate::auth::Role;
use crate::base::error::Error;
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::{Filled, Wrong};
use crate::http::admin::incident_forms::find;
use crate::http::admin::incident_report;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::report::{self, Publish};
use crate::operators::report as own_report;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/incidents/{id}/report", Role::Viewer, show)
        .does(&["GET /api/v1/incidents/{id}/report"])
        .send("/incidents/{id}/report/publish", Role::Operator, publish)
        .does(&["POST /api/v1/incidents/{id}/report/publish"])
        .send("/incidents/{id}/report/unpublish", Role::Operator, unpublish)
        .does(&["POST /api/v1/incidents/{id}/report/unpublish"]);
}

/// What was typed into the forms below the report, and why it was refused.
#[derive(Default)]
pub(super) struct Typed {
    /// The note that says what is corrected, as it was typed. Empty if the report is published without a note.
    pub note: String,
    /// Whether the public sections may contain names of our own people.
    pub allow_names: bool,
    /// The addresses for the internal report, as they were typed.
    pub to: String,
    /// The same addresses, one on each line.
    pub addresses: String,
    /// Why nothing was done.
    pub wrong: Wrong,
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    page(&app, &by, name, Typed::default()).await
}

/// Shows the report, with what was typed into the forms below it.
pub(super) async fn page(app: &App, by: &SignedIn, name: IncidentName, typed: Typed) -> Answer<HttpResponse> {
    let mut reader = Reader::new(app);
    let (head, reports) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let reports = incident_report::versions(conn, &head.incident)?;
            Ok((head, reports))
        })
        .await?;
    let Typed {
        note,
        allow_names,
        to,
        addresses,
        mut wrong,
    } = typed;
    let failed = !wrong.is_empty();
    let status = match failed {
        true => StatusCode::UNPROCESSABLE_ENTITY,
        false => StatusCode::OK,
    };
    let sections = wrong.at("/sections").into_iter();
    let mut others: Vec<String> = sections.map(|detail| format!("The sections {detail}.")).collect();
    let names = !others.is_empty();
    let (wrong_note, wrong_to) = (wrong.at("/note"), wrong.at_lines("/to", &addresses));
    others.extend(wrong.rest());
    let report = incident_report::section(&head.incident, &reports, head.local(by).as_ref());
    let data = json!({
        "report": report,
        "refused": {
            "failed": failed, "others": others, "names": names,
            "note": note, "allow_names": allow_names, "wrong_note": wrong_note,
            "to": to, "wrong_to": wrong_to,
        },
    });
    head.page(app, by, ("admin/incident/report-tab", "Report"), status, data)
}

async fn publish(
    app: web::Data<App>,
    mut sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let typed = Typed {
        note: sent.fields.take("note"),
        allow_names: sent.fields.take("allow_names") == "true",
        ..Typed::default()
    };
    let Filled { by, fields } = sent;
    fields.finish()?;
    let how = Publish {
        note: Some(typed.note.clone()).filter(|note| !note.is_empty()),
        allow_names: typed.allow_names,
    };
    let text = match how.note.is_some() {
        true => "The corrected report is published, with your note.",
        false => "The report is published.",
    };
    let of = name.clone();
    let incident = app.db.read(move |conn| find(conn, &of)).await?;
    let id = incident.id.clone();
    let path = format!("/admin/incidents/{}/report", incident.number);
    let published = app
        .db
        .write(&actor, move |tx| own_report::publish(tx, &id, &how))
        .await;
    match published {
        Ok(_) => Ok(done(&app, &path, text)),
        // Names must be allowed, or the note is wrong. What was typed stays.
        Err(error @ Error::Invalid { .. }) => {
            let wrong = Wrong::of(error)?;
            page(&app, &by, name, Typed { wrong, ..typed }).await
        }
        // Somebody else was faster: the page shows how it is now.
        Err(Error::Conflict(why)) => Ok(done(&app, &path, &format!("Nothing was done: {why}."))),
        Err(error) => Err(error.into()),
    }
}

async fn unpublish(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let id = incident.id.clone();
    let path = format!("/admin/incidents/{}/report", incident.number);
    let changed = app.db.write(&actor, move |tx| report::unpublish(tx, &id)).await;
    match changed {
        Ok(_) => Ok(done(&app, &path, "The report is not published any more.")),
        // Somebody else was faster: the page shows how it is now.
        Err(Error::Conflict(why)) => Ok(done(&app, &path, &format!("Nothing was done: {why}."))),
        Err(error) => Err(error.into()),
    }
}
