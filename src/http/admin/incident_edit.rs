//! The form that edits an incident: its title, headline, severity, summary and times. It does what the API does, with the same role.
//!
//! Only what was changed is sent: a start time that somebody sets is no longer moved by alerts, and a title that somebody writes is no longer changed by them.

use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::incident_forms::find;
use super::signed_in::SignedIn;
use super::version;
use super::view::cut;
use crate::auth::Role;
use crate::base::time::time_zone;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::{self, Incident, IncidentPatch};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/incidents/{id}/edit", Role::Operator, show)
        .send("/incidents/{id}/edit", Role::Operator, save)
        .keeps_text("Save the incident")
        .does(&["PATCH /api/v1/incidents/{id}"]);
}

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
        "The subjects and titles of emails show it, such as Some files cannot be opened. At most 120 characters. It may be empty.",
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
    Field::long_text("summary", "Summary", "Customers do not see it.").optional(),
    Field::clock(
        "started_at",
        "Customers are affected since",
        "If you change it, alerts no longer move it.",
    ),
    Field::clock("detected_at", "Detected at", "").beside(),
    Field::text(
        "time_zone",
        "Time zone",
        "The zone of these times, and of the times that the people who work on the incident read, such as UTC or Africa/Nairobi.",
    ),
    version::FIELD,
];

fn at<'a>(incident: &Incident, label: &'a str) -> Use<'a> {
    let page = format!("/admin/incidents/{}", incident.number);
    Use {
        action: format!("{page}/edit"),
        button: "Save incident",
        within: (label, page),
    }
}

/// The zone in which the form shows the times of the incident.
fn zone_of(incident: &Incident) -> (String, TimeZone) {
    let name = incident.time_zone.clone().unwrap_or_else(|| "UTC".to_owned());
    let zone = time_zone(&name).unwrap_or(TimeZone::UTC);
    (name, zone)
}

async fn found(app: &App, name: IncidentName) -> Answer<Incident> {
    Ok(app.db.read(move |conn| find(conn, &name)).await?)
}

/// The form with what is stored.
fn stored(incident: &Incident) -> Form {
    let (name, zone) = zone_of(incident);
    Form::new(INCIDENT)
        .with("title", incident.title.clone())
        .with("headline", incident.headline.clone().unwrap_or_default())
        .with("severity", incident.severity.as_str())
        .with("summary", incident.summary.clone().unwrap_or_default())
        .with("started_at", incident.started_at.clock_in(&zone))
        .with("detected_at", incident.detected_at.clock_in(&zone))
        .with("time_zone", name)
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let incident = found(&app, name).await?;
    page(&app, &by, stored(&incident).versioned(), &incident)
}

fn page(app: &App, by: &SignedIn, form: Form, incident: &Incident) -> Answer<HttpResponse> {
    let title = format!("Edit #{}", incident.number);
    let explained = "Customers are not notified by this. Emails that were sent do not change.";
    let label = format!("#{} {}", incident.number, cut(&incident.title, 80));
    form.page(app, by, (&title, PART), explained, &at(incident, &label))
}

async fn save(app: web::Data<App>, sent: Filled, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(INCIDENT, sent.fields)?);
    let incident = found(&app, name.clone()).await?;
    let seen = form.seen();
    // A form shows whole minutes. A time that was not touched does not change by its seconds.
    let (_, shown_in) = zone_of(&incident);
    let typed_in = time_zone(form.text("time_zone")).unwrap_or(TimeZone::UTC);
    let untouched = |name: &str, stored: crate::base::time::Timestamp| {
        let shown = stored.clock_in(&shown_in);
        form.text(name) == shown && shown == stored.clock_in(&typed_in)
    };
    // What nobody touched in the form is not sent, so that it does not replace what somebody else has changed since.
    let same_zone = seen.touched("time_zone") != Some(true);
    let same = |name: &str| seen.touched(name) == Some(false) && same_zone;
    let same_start = untouched("started_at", incident.started_at) || same("started_at");
    let same_detection = untouched("detected_at", incident.detected_at) || same("detected_at");
    let typed = |name: &str| seen.touched(name) != Some(false);
    let (actor, id, before, opened) = (by.0.actor(), incident.id.clone(), incident.clone(), seen.clone());
    let store = async |patch: IncidentPatch| {
        let given = patch.headline.clone().flatten();
        let patch = IncidentPatch {
            title: patch
                .title
                .filter(|title| typed("title") && *title != before.title),
            severity: patch
                .severity
                .filter(|severity| typed("severity") && *severity != before.severity),
            summary: Some(patch.summary.unwrap_or_default())
                .filter(|new| typed("summary") && *new != before.summary.clone().unwrap_or_default()),
            started_at: patch.started_at.filter(|_| !same_start),
            detected_at: patch.detected_at.filter(|_| !same_detection),
            time_zone: patch
                .time_zone
                .filter(|new| typed("time_zone") && *new != zone_of(&before).0),
            headline: (typed("headline") && given != before.headline).then_some(given),
            ..patch
        };
        app.db
            .write(&actor, move |tx| {
                opened.check(&stored(&incident::get(tx.conn, &id)?), false)?;
                incident::change(tx, &id, &patch)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => {
            let path = format!("/admin/incidents/{}", incident.number);
            Ok(done(&app, &path, "The incident is saved."))
        }
        Saved::Again(form) => {
            let incident = found(&app, name).await?;
            page(&app, &by, form.compared_with(&stored(&incident)), &incident)
        }
    }
}
