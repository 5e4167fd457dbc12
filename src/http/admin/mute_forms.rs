//! `/admin/quiet/…/new`: the forms for a new silence and a new maintenance window.
//!
//! A time always has its time zone. The typed values are kept if some of them are wrong.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::filled::{Fields, Filled, Wrong, back_to, field, typed};
use super::matchers::Rows;
use super::mutes::{PART, PATH};
use super::rule_form::{resources, resources_field};
use super::signed_in::SignedIn;
use super::view::Frame;
use crate::alert::matcher;
use crate::alert::mute::{self, NewSilence, NewWindow};
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::time::{Timestamp, time_zone};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/quiet/silences/new", Role::Operator, new_silence)
        .send("/quiet/silences", Role::Operator, silence)
        .show("/quiet/windows/new", Role::Operator, new_window)
        .send("/quiet/windows", Role::Operator, window);
}

/// Adds an error of storing or checking the form to the other errors. Returns whether the form was stored.
fn is_stored(said: Result<()>, wrong: &mut Wrong) -> Answer<bool> {
    match said {
        Ok(()) => return Ok(wrong.is_empty()),
        Err(error) => wrong.join(Wrong::of(error)?),
    }
    Ok(false)
}

/// The default duration of a silence or a maintenance window.
const USUAL: std::time::Duration = std::time::Duration::from_secs(2 * 3_600);

/// The times as they were typed.
#[derive(Default)]
struct Times {
    from: String,
    until: String,
    zone: String,
}

impl Times {
    fn read(fields: &mut Fields) -> Times {
        Times {
            from: fields.take("from"),
            until: fields.take("until"),
            zone: fields.take("time_zone"),
        }
    }

    /// Returns the default times: from now on, for two hours.
    fn usual(now: Timestamp) -> Times {
        let minute = Timestamp::from_micros(now.as_micros() / 60_000_000 * 60_000_000);
        Times {
            from: String::new(),
            until: minute.plus(USUAL).clock_in(&TimeZone::UTC),
            zone: "UTC".to_owned(),
        }
    }

    /// Returns the start and the end. If the end cannot be read, a valid one is used instead.
    fn times(&self, wrong: &mut Wrong, now: Timestamp) -> (Option<Timestamp>, Timestamp) {
        let (from, until) = self.given(wrong);
        let later = from.unwrap_or(now).max(now).plus(USUAL);
        (from, until.unwrap_or(later))
    }

    fn given(&self, wrong: &mut Wrong) -> (Option<Timestamp>, Option<Timestamp>) {
        let zone = match self.zone.as_str() {
            "" => Err(
                "must not be empty; enter the time zone of these times, such as UTC or Africa/Nairobi"
                    .to_owned(),
            ),
            name => time_zone(name),
        };
        let zone = match zone {
            Ok(zone) => zone,
            Err(detail) => {
                wrong.add("/time_zone", detail);
                return (None, None);
            }
        };
        let mut read = |pointer: &str, text: &str| match text {
            "" => None,
            text => Timestamp::on_clock(text, &zone)
                .map_err(|detail| wrong.add(pointer, detail))
                .ok(),
        };
        let times = (read("/from", &self.from), read("/until", &self.until));
        if self.until.is_empty() {
            wrong.add("/until", "must not be empty; enter when it ends");
        }
        times
    }

    fn view(&self, wrong: &mut Wrong) -> Value {
        let from = field(
            "from",
            "From",
            "If empty, it starts now.",
            &self.from,
            wrong.at("/from"),
        );
        let until = field(
            "until",
            "Until",
            "At most one year after the start.",
            &self.until,
            wrong.at("/until"),
        );
        let zone = field(
            "time_zone",
            "Time zone",
            "The time zone of these times, such as UTC or Africa/Nairobi.",
            &self.zone,
            wrong.at("/time_zone"),
        );
        json!({"from": typed(from, "datetime-local"), "until": typed(until, "datetime-local"), "zone": zone})
    }
}

/// A silence as it was typed.
#[derive(Default)]
struct SilenceForm {
    reason: String,
    matchers: Rows,
    times: Times,
}

impl SilenceForm {
    /// Returns the silence and the errors. If there are no errors, the silence is exactly what was typed.
    fn silence(&self, now: Timestamp) -> (NewSilence, Wrong) {
        let mut wrong = Wrong::default();
        let (from, until) = self.times.times(&mut wrong, now);
        let new = NewSilence {
            matchers: self.matchers.matchers(&mut wrong),
            from,
            until,
            reason: self.reason.clone(),
        };
        (new, wrong)
    }

    fn answer(&self, app: &App, by: &SignedIn, status: StatusCode, mut wrong: Wrong) -> Answer<HttpResponse> {
        let failed = !wrong.is_empty();
        let hint = "Why these alerts need no incident.";
        let reason = field("reason", "Reason", hint, &self.reason, wrong.at("/reason"));
        app.pages.answer_with(
            status,
            "admin/silence",
            &json!({
                "page": Frame::with_forms(app, by, "New silence", PART),
                "reason": reason,
                "times": self.times.view(&mut wrong),
                "matchers": self.matchers.view(&mut wrong),
                "failed": failed,
                "others": wrong.rest(),
            }),
        )
    }
}

async fn new_silence(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let form = SilenceForm {
        times: Times::usual(app.clock().now()),
        ..SilenceForm::default()
    };
    form.answer(&app, &by, StatusCode::OK, Wrong::default())
}

async fn silence(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields, .. } = sent;
    let form = SilenceForm {
        reason: fields.take("reason"),
        matchers: Rows::read(&mut fields),
        times: Times::read(&mut fields),
    };
    fields.finish()?;
    let now = app.clock().now();
    let (new, mut wrong) = form.silence(now);
    let said = if wrong.is_empty() {
        matcher::compile_ahead(&new.matchers).await;
        let made = app.db.write(&actor, move |tx| mute::silence(tx, &new)).await;
        made.map(|_| ())
    } else {
        mute::check_silence(&new, now)
    };
    if is_stored(said, &mut wrong)? {
        return Ok(back_to(&format!("{PATH}#silences")));
    }
    form.answer(&app, &by, StatusCode::UNPROCESSABLE_ENTITY, wrong)
}

/// A maintenance window as it was typed.
#[derive(Default)]
struct WindowForm {
    name: String,
    matchers: Rows,
    resources: String,
    times: Times,
    schedule: String,
    duration: String,
}

impl WindowForm {
    /// Returns the maintenance window and the errors. If there are no errors, the window is exactly what was
    /// typed.
    fn window(&self, now: Timestamp) -> (NewWindow, Wrong) {
        let mut wrong = Wrong::default();
        let (from, until) = self.times.times(&mut wrong, now);
        let matchers = self.matchers.matchers(&mut wrong);
        let resources = resources(&self.resources, &mut wrong);
        let minutes: Option<i64> = match self.duration.as_str() {
            "" => None,
            text => {
                let minutes = text.parse().ok().filter(|minutes| (1..=10_080).contains(minutes));
                if minutes.is_none() {
                    wrong.add(
                        "/duration",
                        "must be a whole number of minutes from 1 to 10080 (a week)",
                    );
                }
                minutes
            }
        };
        let new = NewWindow {
            name: self.name.clone(),
            from,
            until,
            schedule: Some(self.schedule.clone()).filter(|schedule| !schedule.is_empty()),
            duration: minutes.map(|minutes| minutes * 60),
            matchers,
            resources,
        };
        (new, wrong)
    }

    fn answer(&self, app: &App, by: &SignedIn, status: StatusCode, mut wrong: Wrong) -> Answer<HttpResponse> {
        let failed = !wrong.is_empty();
        let name = field(
            "name",
            "Name",
            "Timelines of incidents show this name.",
            &self.name,
            wrong.at("/name"),
        );
        let schedule = field(
            "schedule",
            "Repeat (cron expression)",
            "When each repetition starts: minute, hour, day of the month, month and day of the week, in UTC, such as 0 22 * * SUN. If empty, the window is active all the time.",
            &self.schedule,
            wrong.at("/schedule"),
        );
        let minutes = field(
            "duration",
            "Duration of each repetition, in minutes",
            "Only for a window that repeats.",
            &self.duration,
            wrong.at("/duration"),
        );
        app.pages.answer_with(
            status,
            "admin/window",
            &json!({
                "page": Frame::with_forms(app, by, "New maintenance window", PART),
                "name": name,
                "times": self.times.view(&mut wrong),
                "schedule": schedule,
                "duration": typed(minutes, "number"),
                "resources": resources_field(
                    "Resources",
                    "The window applies to alerts whose resources are all in this list, or part of a resource in this list. Write a type and an ID on each line, such as project savanna.",
                    &self.resources,
                    &mut wrong,
                ),
                "matchers": self.matchers.view(&mut wrong),
                "failed": failed,
                "others": wrong.rest(),
            }),
        )
    }
}

async fn new_window(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let form = WindowForm {
        times: Times::usual(app.clock().now()),
        ..WindowForm::default()
    };
    form.answer(&app, &by, StatusCode::OK, Wrong::default())
}

async fn window(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields, .. } = sent;
    let form = WindowForm {
        name: fields.take("name"),
        matchers: Rows::read(&mut fields),
        resources: fields.take("resources"),
        times: Times::read(&mut fields),
        schedule: fields.take("schedule"),
        duration: fields.take("duration"),
    };
    fields.finish()?;
    let now = app.clock().now();
    let (new, mut wrong) = form.window(now);
    let said = if wrong.is_empty() {
        matcher::compile_ahead(&new.matchers).await;
        let made = app.db.write(&actor, move |tx| mute::open_window(tx, &new)).await;
        made.map(|_| ())
    } else {
        app.db.read(move |conn| mute::check_window(conn, &new, now)).await
    };
    if is_stored(said, &mut wrong)? {
        return Ok(back_to(&format!("{PATH}#windows")));
    }
    form.answer(&app, &by, StatusCode::UNPROCESSABLE_ENTITY, wrong)
}
