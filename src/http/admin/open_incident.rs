//! The form that opens an incident, or a drill. It does what the API does, with the same role.

use actix_web::{HttpResponse, web};

use super::field::Field;
use super::filled::{Filled, back_to};
use super::form::{Form, Saved, Use};
use super::signed_in::SignedIn;
use crate::auth::Role;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::problem::Answer;
use crate::incident::{self, NewIncident};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show(NEW, Role::Operator, new)
        .send(NEW, Role::Operator, open);
}

const NEW: &str = "/incidents/new";
const PART: &str = "Incidents";

const INCIDENT: &[Field] = &[
    Field::text(
        "title",
        "Title",
        "For the people who work on the incident. Customers do not see it.",
    ),
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
        within: (PART, "/admin".to_owned()),
    };
    let explained = "Customers are not notified by this. Afterwards, add what is affected.";
    form.page(app, by, ("Open an incident", PART), explained, &at)
}

async fn new(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let form = Form::new(INCIDENT)
        .with("severity", "major")
        .with("drill", "false");
    page(&app, &by, form)
}

async fn open(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(INCIDENT, sent.fields)?);
    let (actor, drill_to) = (by.0.actor(), app.sending.drill_to.clone());
    let store = async |new: NewIncident| {
        incident::drill::check(&new, &drill_to)?;
        app.db.write(&actor, move |tx| incident::open(tx, &new)).await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(incident) => Ok(back_to(&format!("/admin/incidents/{}", incident.number))),
        Saved::Again(form) => page(&app, &by, form),
    }
}
