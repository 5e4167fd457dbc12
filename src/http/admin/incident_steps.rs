//! The next steps of an incident: what its page shows, and the forms that add one, change one and mark one as done. They do what the API does, with the same
//! role.

use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::incident_forms::find;
use super::signed_in::SignedIn;
use super::view::{When, cut, outward};
use crate::auth::Role;
use crate::base::id::NextStepId;
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::next_step::{self, NewStep, NextStep, StepPatch};
use crate::incident::{self, Incident};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/incidents/{id}/next-steps", Role::Operator, new)
        .send("/incidents/{id}/next-steps", Role::Operator, add)
        .keeps_text("Add the next step")
        .does(&["POST /api/v1/incidents/{id}/next-steps"])
        .show("/next-steps/{id}", Role::Operator, edit)
        .send("/next-steps/{id}", Role::Operator, change)
        .keeps_text("Save the next step")
        .does(&["PATCH /api/v1/next-steps/{id}"])
        .send("/next-steps/{id}/state", Role::Operator, set_done)
        .does(&["PATCH /api/v1/next-steps/{id}"]);
}

const PART: &str = "Follow-ups";

const STEP: &[Field] = &[
    Field::text("text", "What is to be done", ""),
    Field::text("owner", "Owner", "The person or team that does it."),
    Field::text("due_on", "Due", "A date such as 2024-04-30. It may be empty.")
        .optional()
        .beside(),
    Field::text(
        "link",
        "Link",
        "Where the task is tracked: an http or https URL. It may be empty.",
    )
    .optional(),
];

/// Returns the next steps of an incident for the partial `admin/incident/steps`.
pub(super) fn section(number: i64, steps: &[NextStep], local: Option<&TimeZone>, now: Timestamp) -> Value {
    let today = today(now);
    json!({
        "new": format!("/admin/incidents/{number}/next-steps"),
        "rows": steps.iter().map(|step| row(step, local, &today)).collect::<Vec<_>>(),
    })
}

/// Returns today's date, in UTC, as steps have it.
pub(super) fn today(now: Timestamp) -> String {
    now.to_string().chars().take(10).collect()
}

/// Returns a step for a page. `today` is the date with which it is compared.
pub(super) fn row(step: &NextStep, local: Option<&TimeZone>, today: &str) -> Value {
    let is_open = step.done_at.is_none();
    json!({
        "text": step.text,
        "owner": step.owner,
        "link": outward(step.link.as_deref()),
        "due": step.due_on,
        "overdue": is_open && step.due_on.as_deref().is_some_and(|due| due < today),
        "done": When::maybe(step.done_at, local),
        "path": format!("/admin/next-steps/{}", step.id),
    })
}

fn at<'a>(action: String, button: &'a str, label: &'a str, number: i64) -> Use<'a> {
    Use {
        action,
        button,
        within: (label, format!("/admin/incidents/{number}/follow-ups")),
    }
}

fn label(incident: &Incident) -> String {
    format!("#{} {}", incident.number, cut(&incident.title, 80))
}

async fn new(app: web::Data<App>, by: SignedIn, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let (label, number) = (label(&incident), incident.number);
    let at = at(
        format!("/admin/incidents/{number}/next-steps"),
        "Add step",
        &label,
        number,
    );
    Form::new(STEP).page(&app, &by, ("Add a next step", PART), "", &at)
}

async fn add(app: web::Data<App>, sent: Filled, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(STEP, sent.fields)?);
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |new: NewStep| {
        app.db
            .write(&actor, move |tx| next_step::add(tx, &id, &new))
            .await
    };
    let (label, number) = (label(&incident), incident.number);
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(
            &app,
            &format!("/admin/incidents/{number}/follow-ups"),
            "The step is added.",
        )),
        Saved::Again(form) => {
            let at = at(
                format!("/admin/incidents/{number}/next-steps"),
                "Add step",
                &label,
                number,
            );
            form.page(&app, &by, ("Add a next step", PART), "", &at)
        }
    }
}

async fn found(app: &App, id: NextStepId) -> Answer<(NextStep, Incident)> {
    Ok(app
        .db
        .read(move |conn| {
            let step = next_step::read(conn, &id)?;
            let incident = incident::get(conn, &step.incident_id)?;
            Ok((step, incident))
        })
        .await?)
}

async fn edit(app: web::Data<App>, by: SignedIn, InPath(id): InPath<NextStepId>) -> Answer<HttpResponse> {
    let (step, incident) = found(&app, id).await?;
    let form = Form::new(STEP)
        .with("text", step.text.clone())
        .with("owner", step.owner.clone())
        .with("due_on", step.due_on.clone().unwrap_or_default())
        .with("link", step.link.clone().unwrap_or_default());
    let label = label(&incident);
    let at = at(
        format!("/admin/next-steps/{}", step.id),
        "Save step",
        &label,
        incident.number,
    );
    form.page(&app, &by, ("Edit the next step", PART), "", &at)
}

async fn change(app: web::Data<App>, sent: Filled, InPath(id): InPath<NextStepId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(STEP, sent.fields)?);
    let (step, incident) = found(&app, id).await?;
    let (actor, id) = (by.0.actor(), step.id.clone());
    // A field that is empty in the form is removed.
    let store = async |new: NewStep| {
        let patch = StepPatch {
            done: None,
            text: Some(new.text),
            owner: Some(new.owner),
            link: Some(new.link),
            due_on: Some(new.due_on),
        };
        app.db
            .write(&actor, move |tx| next_step::change(tx, &id, &patch))
            .await
    };
    let (label, number) = (label(&incident), incident.number);
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(
            &app,
            &format!("/admin/incidents/{number}/follow-ups"),
            "The step is saved.",
        )),
        Saved::Again(form) => {
            let at = at(
                format!("/admin/next-steps/{}", step.id),
                "Save step",
                &label,
                number,
            );
            form.page(&app, &by, ("Edit the next step", PART), "", &at)
        }
    }
}

const STATE: &[Field] = &[
    Field::flag("done", "State", "", "Done", "Open"),
    Field::choice(
        "from",
        "From",
        "",
        &[("incident", "Incident"), ("follow-ups", "Follow-ups")],
        "must be incident or follow-ups",
    ),
];

async fn set_done(app: web::Data<App>, sent: Filled, InPath(id): InPath<NextStepId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(STATE, sent.fields)?);
    let (step, incident) = found(&app, id).await?;
    let back = match form.text("from") {
        "follow-ups" => "/admin/follow-ups".to_owned(),
        _ => format!("/admin/incidents/{}/follow-ups", incident.number),
    };
    let (actor, id) = (by.0.actor(), step.id.clone());
    let store = async |mut body: Value| {
        let done = body["done"].take().as_bool();
        let patch = StepPatch {
            done,
            ..StepPatch::default()
        };
        app.db
            .write(&actor, move |tx| next_step::change(tx, &id, &patch))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(step) => {
            let text = match step.done_at {
                Some(_) => "The step is done.",
                None => "The step is open again.",
            };
            Ok(done(&app, &back, text))
        }
        // Somebody else was faster, or the form was changed by hand.
        Saved::Again(form) => {
            let label = label(&incident);
            let at = at(
                format!("/admin/next-steps/{}/state", step.id),
                "Save state",
                &label,
                incident.number,
            );
            form.page(&app, &by, ("State of the next step", PART), &step.text, &at)
        }
    }
}
