//! `/admin/quiet/…/new`: the forms for a new silence and a new maintenance window. `/admin/maintenances/…/window` is the second one, filled in
//! for a planned maintenance.
//!
//! A time always has its time zone.

use actix_web::{HttpResponse, web};

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::mutes::{PART, PATH};
use super::signed_in::SignedIn;
use super::view::zone;
use crate::alert::matcher;
use crate::alert::mute::{self, NewSilence, NewWindow};
use crate::auth::Role;
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, MaintenanceId};
use crate::http::problem::Answer;
use crate::incident::affected;
use crate::maintenance;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/quiet/silences/new", Role::Operator, new_silence)
        .send("/quiet/silences", Role::Operator, silence)
        .does(&["POST /api/v1/silences"])
        .show("/quiet/windows/new", Role::Operator, new_window)
        .show("/maintenances/{id}/window", Role::Operator, window_of_maintenance)
        .send("/quiet/windows", Role::Operator, window)
        .does(&["POST /api/v1/maintenance-windows"]);
}

const FROM: Field = Field::clock("from", "From", "If empty, it starts now.");
const UNTIL: Field = Field::needed_clock(
    "until",
    "Until",
    "At most one year after the start.",
    "must not be empty; enter when it ends",
)
.beside();

const SILENCE: &[Field] = &[
    Field::text("reason", "Reason", "Why these alerts need no incident."),
    Field::matchers(),
    FROM,
    UNTIL,
    Field::zone(),
];

const WINDOW: &[Field] = &[
    Field::text("name", "Name", "Timelines of incidents show this name."),
    Field::resources(
        "Resources",
        "The window applies to alerts whose resources are all in this list, or part of a resource in this list. Write a type and an ID on each line, such as project savanna.",
    ),
    Field::matchers(),
    FROM,
    UNTIL,
    Field::zone(),
    Field::text(
        "schedule",
        "Repeat (cron expression)",
        "When each repetition starts: minute, hour, day of the month, month and day of the week, in UTC, such as 0 22 * * SUN. If empty, the window is active all the time.",
    )
    .optional(),
    Field::number(
        "duration",
        "Duration of each repetition, in minutes",
        "Only for a window that repeats.",
        (1, 10_080, 60),
        "must be a whole number of minutes from 1 to 10080 (a week)",
    )
    .beside(),
];

/// The default duration of a silence or a maintenance window.
const USUAL: std::time::Duration = std::time::Duration::from_secs(2 * 3_600);

/// A new form that ends after the default duration, from the full minute. Its times are in the zone of the person.
fn fresh(fields: &'static [Field], by: &SignedIn, now: Timestamp) -> Form {
    let minute = Timestamp::from_micros(now.as_micros() / 60_000_000 * 60_000_000);
    let zone = zone(by.zone()).unwrap_or(jiff::tz::TimeZone::UTC);
    Form::new(fields)
        .zoned(by, None)
        .with("until", minute.plus(USUAL).clock_in(&zone))
}

fn within() -> (&'static str, String) {
    ("Silences and maintenance windows", PATH.to_owned())
}

fn silence_page(app: &App, by: &SignedIn, form: Form) -> Answer<HttpResponse> {
    let explained = "Alerts that match are only recorded: they open and join no incident. If an alert still fires after the silence has ended, its next message opens an incident.";
    let at = Use {
        action: format!("{PATH}/silences"),
        button: "Create silence",
        within: within(),
    };
    form.page(app, by, ("New silence", PART), explained, &at)
}

async fn new_silence(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    silence_page(&app, &by, fresh(SILENCE, &by, app.clock().now()))
}

async fn silence(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form, now) = (sent.by, Form::read(SILENCE, sent.fields)?, app.clock().now());
    let actor = by.0.actor();
    let store = async |new: NewSilence| {
        matcher::compile_ahead(&new.matchers).await;
        app.db.write(&actor, move |tx| mute::silence(tx, &new)).await
    };
    let check = async |new: NewSilence| mute::check_silence(&new, now);
    match form.save_checked(now, store, check).await? {
        Saved::Done(_) => Ok(done(&app, &format!("{PATH}#silences"), "The silence is created.")),
        Saved::Again(form) => silence_page(&app, &by, form),
    }
}

const EXPLAINED: &str = "Alerts about the resources under maintenance open no incident. They join an incident that is already open for them, and are otherwise only recorded.";

fn window_page(app: &App, by: &SignedIn, form: Form, explained: &str) -> Answer<HttpResponse> {
    let at = Use {
        action: format!("{PATH}/windows"),
        button: "Create maintenance window",
        within: within(),
    };
    form.page(app, by, ("New maintenance window", PART), explained, &at)
}

async fn new_window(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    window_page(&app, &by, fresh(WINDOW, &by, app.clock().now()), EXPLAINED)
}

/// The form for the time and the resources of a planned maintenance.
async fn window_of_maintenance(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<HttpResponse> {
    let (planned, affected) = app
        .db
        .read(move |conn| {
            let planned = maintenance::get(conn, &id.0)?;
            // One more than a window can name shows that there are too many.
            let most = i64::try_from(mute::MAX_RESOURCES)
                .unwrap_or(i64::MAX)
                .saturating_add(1);
            Ok((planned, affected::list(conn, &id.0, None, None, most)?))
        })
        .await?;
    let local = zone(by.zone()).unwrap_or(jiff::tz::TimeZone::UTC);
    let form = fresh(WINDOW, &by, app.clock().now())
        .with("name", &*planned.title)
        .with("from", planned.starts_at.clock_in(&local))
        .with("until", planned.ends_at.clock_in(&local));
    if affected.len() > mute::MAX_RESOURCES {
        let explained = format!(
            "{EXPLAINED} The planned maintenance affects more than {} resources: write matchers, or the resources that they are a part of.",
            mute::MAX_RESOURCES
        );
        return window_page(&app, &by, form, &explained);
    }
    let lines: Vec<String> = affected.iter().map(|one| one.resource.to_string()).collect();
    window_page(&app, &by, form.with("resources", lines.join("\n")), EXPLAINED)
}

async fn window(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form, now) = (sent.by, Form::read(WINDOW, sent.fields)?, app.clock().now());
    let actor = by.0.actor();
    let store = async |new: NewWindow| {
        matcher::compile_ahead(&new.matchers).await;
        app.db.write(&actor, move |tx| mute::open_window(tx, &new)).await
    };
    let check = async |new: NewWindow| app.db.read(move |conn| mute::check_window(conn, &new, now)).await;
    match form.save_checked(now, store, check).await? {
        Saved::Done(_) => Ok(done(
            &app,
            &format!("{PATH}#windows"),
            "The maintenance window is created.",
        )),
        Saved::Again(form) => window_page(&app, &by, form, EXPLAINED),
    }
}
