//! The form that opens an incident, or a drill, with what is affected. It does what the API does, with the same role.

use actix_web::{HttpResponse, web};
use serde_json::Value;

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::signed_in::SignedIn;
use crate::auth::Role;
use crate::base::error::{Error, misfit};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::problem::Answer;
use crate::incident::{self, NewIncident};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show(NEW, Role::Operator, new)
        .send(NEW, Role::Operator, open)
        .keeps_text("Open the incident")
        .does(&["POST /api/v1/incidents"]);
}

const NEW: &str = "/incidents/new";
const PART: &str = "Incidents";

const INCIDENT: &[Field] = &[
    Field::text(
        "title",
        "Title",
        "For the people who work on the incident. Customers do not see it.",
    ),
    Field::text(
        "headline",
        "Headline for customers",
        "The subjects and titles of emails show it, such as Some files cannot be opened. It may be empty, and you can write it later.",
    )
    .optional(),
    Field::choice(
        "severity",
        "Severity",
        "",
        &[
            ("critical", "Critical: nothing works, or data is lost"),
            ("major", "Major: an important function does not work"),
            ("minor", "Minor: a problem with little effect"),
        ],
        "must be critical, major or minor",
    ),
    Field::resources(
        "Affected resources",
        "One on each line: a type and an ID, such as project savanna. You can add them later too.",
    ),
    Field::clock(
        "started_at",
        "Customers are affected since",
        "If empty, since now. If you set it, alerts no longer move it.",
    ),
    Field::zone(),
    Field::long_text("summary", "Summary", "Customers do not see it.").optional(),
    Field::flag(
        "drill",
        "Drill",
        "In a drill, every email goes only to the addresses of CANDOR_DRILL_TO, and no customer is notified. It cannot be changed \
         afterwards.",
        "This is a drill",
        "This is a real incident",
    ),
];

fn page(app: &App, by: &SignedIn, form: Form) -> Answer<HttpResponse> {
    let at = Use {
        action: format!("/admin{NEW}"),
        button: "Open incident",
        within: (PART, "/admin/incidents".to_owned()),
    };
    let explained = "Customers are not notified by this.";
    form.page(app, by, ("Open an incident", PART), explained, &at)
}

async fn new(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let form = Form::new(INCIDENT)
        .zoned(&by, None)
        .with("severity", "major")
        .with("drill", "false");
    page(&app, &by, form)
}

/// The API calls the resources of a new incident `affected`.
fn at_resources(error: Error) -> Error {
    error.renamed("/affected", "/resources")
}

async fn open(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(INCIDENT, sent.fields)?);
    let (actor, drill_to) = (by.0.actor(), app.sending.drill_to.clone());
    let store = async |mut body: Value| {
        if let Some(fields) = body.as_object_mut()
            && let Some(resources) = fields.remove("resources")
        {
            fields.insert("affected".to_owned(), resources);
        }
        let new: NewIncident =
            serde_path_to_error::deserialize(body).map_err(|error| at_resources(misfit(&error)))?;
        incident::drill::check(&new, &drill_to)?;
        app.db
            .write(&actor, move |tx| {
                let incident = incident::open(tx, &new).map_err(at_resources)?;
                if new.started_at.is_some() {
                    incident::window::hold(tx, &incident.id)?;
                }
                Ok(incident)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(incident) => {
            let path = format!("/admin/incidents/{}", incident.number);
            Ok(done(
                &app,
                &path,
                "The incident is open. No customer is notified yet.",
            ))
        }
        Saved::Again(form) => page(&app, &by, form),
    }
}
