//! `/admin/watching/checks/…` and `/admin/watching/heartbeats/…`: the forms for checks and heartbeats.
//!
//! The URL of a heartbeat is shown only once. The value of a header is never shown again.

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::done::done;
use super::field::Field;
use super::filled::{Filled, lines};
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::once::{self, Once};
use super::signed_in::SignedIn;
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::id::{CheckId, HeartbeatId};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::watch::check::{self, Check, NewCheck};
use crate::watch::heartbeat::{self, Heartbeat, NewHeartbeat};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/watching/checks/new", Role::Admin, new_check)
        .send("/watching/checks", Role::Admin, create_check)
        .keeps_text("Create the check")
        .does(&["POST /api/v1/checks"])
        .show("/watching/checks/{id}", Role::Admin, show_check)
        .does(&["GET /api/v1/checks/{id}"])
        .send("/watching/checks/{id}", Role::Admin, change_check)
        .keeps_text("Save the check")
        .does(&["PATCH /api/v1/checks/{id}"])
        .send("/watching/checks/{id}/delete", Role::Admin, delete_check)
        .does(&["DELETE /api/v1/checks/{id}"])
        .show("/watching/heartbeats/new", Role::Admin, new_heartbeat)
        .send("/watching/heartbeats", Role::Admin, create_heartbeat)
        .does(&["POST /api/v1/heartbeats"])
        .show("/watching/heartbeats/{id}", Role::Admin, show_heartbeat)
        .does(&["GET /api/v1/heartbeats/{id}"])
        .send("/watching/heartbeats/{id}", Role::Admin, change_heartbeat)
        .does(&["PATCH /api/v1/heartbeats/{id}"])
        .send("/watching/heartbeats/{id}/delete", Role::Admin, delete_heartbeat)
        .does(&["DELETE /api/v1/heartbeats/{id}"]);
}

const PATH: &str = "/admin/watching";
const PART: &str = "Checks and heartbeats";

const SEVERITY: Field = Field::choice(
    "severity",
    "Severity of the incident",
    "",
    &[("major", "Major"), ("critical", "Critical"), ("minor", "Minor")],
    "must be critical, major or minor",
);
const RESOURCES: Field = Field::resources(
    "Affected resources",
    "The resources that are affected while this fails. Write a type and an ID on each line, such as project savanna.",
);

const CHECK: &[Field] = &[
    Field::text("name", "Name", "Incidents and timelines show this name."),
    Field::text(
        "url",
        "URL",
        "The URL that Candor requests, such as https://upload.example.com/health.",
    ),
    Field::choice(
        "method",
        "Method",
        "",
        &[("get", "GET"), ("head", "HEAD: the answer has no body")],
        "must be get or head",
    ),
    Field::number(
        "every_seconds",
        "Interval, in seconds",
        "From 10 seconds to one day (86400).",
        (10, 86_400, 1),
        "must be a whole number of seconds from 10 to 86400",
    )
    .beside(),
    Field::number(
        "timeout_seconds",
        "Timeout, in seconds",
        "A request without an answer fails then.",
        (1, 60, 1),
        "must be a whole number of seconds from 1 to 60",
    )
    .beside(),
    Field::lines(
        "status",
        "Expected statuses",
        "A status such as 200, or a range such as 200-299, on each line.",
    ),
    Field::text(
        "body_contains",
        "The body must contain",
        "Only the first 256 KiB are read.",
    )
    .optional(),
    Field::text("body_lacks", "The body must not contain", "")
        .optional()
        .beside(),
    Field::number(
        "latency_at_most_ms",
        "Slowest answer, in milliseconds",
        "If empty, only the timeout counts.",
        (1, 60_000, 1),
        "must be a whole number from 1 to 60000",
    ),
    Field::number(
        "certificate_days_at_least",
        "Days for which the certificate must be valid",
        "Only for https. If empty, it is not checked.",
        (1, 3_650, 1),
        "must be a whole number from 1 to 3650",
    )
    .beside(),
    Field::number(
        "failures",
        "Failures in a row until it is down",
        "",
        (1, 100, 1),
        "must be a whole number from 1 to 100",
    ),
    Field::number(
        "recoveries",
        "Good answers in a row until it is up again",
        "",
        (1, 100, 1),
        "must be a whole number from 1 to 100",
    )
    .beside(),
    SEVERITY,
    RESOURCES,
    Field::own(
        "headers",
        "Headers of the request",
        "On each line a name, a colon and a value, such as Accept: text/html. A value is not shown again: *** keeps the one that is stored.",
        read_headers,
        write_headers,
    ),
    Field::choice(
        "follow_redirects",
        "Redirects",
        "",
        &[
            ("false", "A redirect is an answer like any other"),
            ("true", "Redirects are followed, at most 5"),
        ],
        "must be true or false",
    ),
    Field::choice(
        "paused",
        "Requests",
        "",
        &[("false", "The check is active"), ("true", "The check is paused")],
        "must be true or false",
    )
    .beside(),
];

const HEARTBEAT: &[Field] = &[
    Field::text(
        "name",
        "Name",
        "The job that reports. Incidents and timelines show this name.",
    ),
    Field::number(
        "every_seconds",
        "Interval, in seconds",
        "The job must report within each interval: 3600 is one hour, 86400 one day.",
        (10, 2_678_400, 1),
        "must be a whole number of seconds from 10 to 2678400 (31 days)",
    ),
    Field::number(
        "grace_seconds",
        "Grace period, in seconds",
        "How late the job may be in addition.",
        (0, 2_678_400, 1),
        "must be a whole number of seconds from 0 to 2678400 (31 days)",
    )
    .beside(),
    SEVERITY,
    RESOURCES,
];

fn read_headers(text: &str) -> std::result::Result<Value, Vec<String>> {
    let (mut read, mut wrong) = (Map::new(), Vec::new());
    for (index, line) in lines(text).enumerate() {
        // The line itself can contain a secret, so the error names only its place.
        match line.split_once(':') {
            None => wrong.push(format!("line {} must be a name, a colon and a value", index + 1)),
            Some((name, value)) => {
                if read.insert(name.trim().to_owned(), json!(value.trim())).is_some() {
                    wrong.push(format!("line {} repeats a header", index + 1));
                }
            }
        }
    }
    if wrong.is_empty() {
        Ok(Value::Object(read))
    } else {
        Err(wrong)
    }
}

fn write_headers(stored: &Value) -> String {
    let headers = stored.as_object().into_iter().flatten();
    let lines = headers.map(|(name, _)| format!("{name}: {HIDDEN}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// What is shown in the place of the value of a header.
const HIDDEN: &str = "***";

/// Puts what was typed into the input of the API.
fn body_of(mut body: Value) -> Value {
    if let Value::Object(fields) = &mut body {
        for name in ["follow_redirects", "paused"] {
            if let Some(word) = fields.get(name).and_then(Value::as_str) {
                let is = word == "true";
                fields.insert(name.to_owned(), json!(is));
            }
        }
    }
    body
}

/// Makes the change of something stored: what was typed, and null for what is left empty now.
fn patch(body: Value, fields: &[&str]) -> Value {
    let mut patch = body_of(body);
    if let Value::Object(patch) = &mut patch {
        for name in fields {
            patch.entry(*name).or_insert(Value::Null);
        }
    }
    patch
}

/// What of a form belongs to one thing: the check or the heartbeat.
struct Of {
    path: String,
    name: String,
    what: &'static str,
    lost: &'static str,
}

fn page(app: &App, by: &SignedIn, form: Form, kind: (&str, &str), of: Option<Of>) -> Answer<HttpResponse> {
    let (what, list) = kind;
    let title = of
        .as_ref()
        .map_or_else(|| format!("New {what}"), |of| of.name.clone());
    let (save, create) = (format!("Save {what}"), format!("Create {what}"));
    let at = Use {
        action: of
            .as_ref()
            .map_or_else(|| format!("{PATH}/{list}"), |of| of.path.clone()),
        button: if of.is_some() { &save } else { &create },
        within: (PART, PATH.to_owned()),
    };
    let status = form.status();
    app.pages.answer_with(
        status,
        "admin/edit-more",
        &json!({
            "page": Frame::new(app, by, &title, PART),
            "title": title,
            "within": PART,
            "form": form.shown(&at),
            "delete": of.map(|of| json!({
                "label": "Delete", "button": format!("Delete {}", of.what), "action": format!("{}/delete", of.path), "fields": [],
                "text": format!("Delete \u{201c}{}\u{201d}? {} This cannot be undone.", of.name, of.lost),
            })),
        }),
    )
}

const CHECKS: (&str, &str) = ("check", "checks");
const HEARTBEATS: (&str, &str) = ("heartbeat", "heartbeats");

fn of_check(check: &Check) -> Of {
    Of {
        path: format!("{PATH}/checks/{}", check.id),
        name: check.given.name.clone(),
        what: "check",
        lost: "Candor makes no more requests, and an alert of the check is resolved.",
    }
}

fn of_heartbeat(heartbeat: &Heartbeat) -> Of {
    Of {
        path: format!("{PATH}/heartbeats/{}", heartbeat.id),
        name: heartbeat.given.name.clone(),
        what: "heartbeat",
        lost: "Its URL answers 404 from then on, so the job can report an error.",
    }
}

fn form_of(fields: &'static [Field], stored: Value, app: &App) -> Result<Form> {
    let mut stored = stored;
    for name in ["follow_redirects", "paused"] {
        if let Some(is) = stored[name].as_bool() {
            stored[name] = json!(is.to_string());
        }
    }
    Form::of(fields, &stored, app.clock().now()).ok_or_else(|| {
        let why = "the form cannot show this without changing it, for example because a value begins with a space; change it \
                   through the API";
        Error::Conflict(why.to_owned())
    })
}

async fn new_check(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let form = Form::new(CHECK)
        .with("every_seconds", "60")
        .with("timeout_seconds", "10")
        .with("status", "200-299")
        .with("failures", "3")
        .with("recoveries", "1");
    page(&app, &by, form, CHECKS, None)
}

async fn create_check(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(CHECK, sent.fields)?);
    let (actor, policy) = (by.0.actor(), app.check_allow);
    let store = async |body: Value| {
        let new: NewCheck = parsed(body_of(body))?;
        app.db
            .write(&actor, move |tx| check::create(tx, &new, policy))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(
            &app,
            PATH,
            "The check is created. Its first request is made now.",
        )),
        Saved::Again(form) => page(&app, &by, form, CHECKS, None),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(body: Value) -> Result<T> {
    serde_path_to_error::deserialize(body).map_err(|error| crate::base::error::misfit(&error))
}

async fn check_of(app: &App, id: CheckId) -> Result<Check> {
    let check = app.db.read(move |conn| check::get(conn, &id)).await?;
    if check.gone_at.is_some() {
        return Err(Error::NotFound(format!("check {}", check.id)));
    }
    Ok(check)
}

async fn show_check(app: web::Data<App>, by: SignedIn, InPath(id): InPath<CheckId>) -> Answer<HttpResponse> {
    let check = check_of(&app, id).await?;
    let stored = serde_json::to_value(&check.given).map_err(Error::internal)?;
    let form = form_of(CHECK, stored, &app)?;
    page(&app, &by, form, CHECKS, Some(of_check(&check)))
}

async fn change_check(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<CheckId>,
) -> Answer<HttpResponse> {
    let before = check_of(&app, id.clone()).await?;
    let (by, form) = (sent.by, Form::read(CHECK, sent.fields)?);
    let (actor, policy) = (by.0.actor(), app.check_allow);
    let given = before.given.clone();
    let store = async |body: Value| {
        let mut patch = patch(
            body,
            &[
                "body_contains",
                "body_lacks",
                "latency_at_most_ms",
                "certificate_days_at_least",
            ],
        );
        keep_headers(&mut patch, &given);
        app.db
            .write(&actor, move |tx| check::change(tx, &id, &patch, policy))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, PATH, "The check is saved.")),
        Saved::Again(form) => page(&app, &by, form, CHECKS, Some(of_check(&before))),
    }
}

/// A header whose value stays is left out of the change, and one that was removed is null.
fn keep_headers(patch: &mut Value, before: &NewCheck) {
    let Some(Value::Object(headers)) = patch.get_mut("headers") else {
        return;
    };
    for name in before.headers.keys() {
        match headers.get(name).and_then(Value::as_str) {
            None => {
                headers.insert(name.clone(), Value::Null);
            }
            Some(HIDDEN) => {
                headers.remove(name);
            }
            Some(_) => {}
        }
    }
}

async fn delete_check(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<CheckId>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db.write(&actor, move |tx| check::delete(tx, &id)).await?;
    Ok(done(&app, PATH, "The check is deleted."))
}

async fn new_heartbeat(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let form = Form::new(HEARTBEAT)
        .with("every_seconds", "86400")
        .with("grace_seconds", "3600");
    page(&app, &by, form, HEARTBEATS, None)
}

async fn create_heartbeat(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(HEARTBEAT, sent.fields)?);
    let (actor, public_url) = (by.0.actor(), app.sending.public_url.clone());
    let store = async |new: NewHeartbeat| {
        app.db
            .write(&actor, move |tx| heartbeat::create(tx, &new, &public_url))
            .await
    };
    let created = match form.save(app.clock().now(), store).await? {
        Saved::Done(created) => created,
        Saved::Again(form) => return page(&app, &by, form, HEARTBEATS, None),
    };
    let url = created.url.reveal();
    let cron = format!("0 2 * * * /usr/local/bin/backup && curl -fsS -m 10 --retry 3 -o /dev/null '{url}'");
    let failure = format!(
        "/usr/local/bin/backup \\\n  && curl -fsS -m 10 --retry 3 '{url}' \\\n  || curl -fsS -m 10 --retry 3 '{url}/fail'"
    );
    once::page(
        &app,
        &by,
        Once {
            part: PART,
            title: "The heartbeat is created",
            text: "The job must request this URL by GET, HEAD or POST within each interval. Candor waits for the first request before it expects any.",
            secret: &created.url,
            snippets: vec![
                ("In a crontab", cron),
                ("In a script that also reports a failure", failure),
            ],
            next: ("Back to checks and heartbeats", PATH.to_owned()),
        },
    )
}

async fn heartbeat_of(app: &App, id: HeartbeatId) -> Result<Heartbeat> {
    let heartbeat = app.db.read(move |conn| heartbeat::get(conn, &id)).await?;
    if heartbeat.gone_at.is_some() {
        return Err(Error::NotFound(format!("heartbeat {}", heartbeat.id)));
    }
    Ok(heartbeat)
}

async fn show_heartbeat(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<HeartbeatId>,
) -> Answer<HttpResponse> {
    let heartbeat = heartbeat_of(&app, id).await?;
    let stored = serde_json::to_value(&heartbeat.given).map_err(Error::internal)?;
    let form = form_of(HEARTBEAT, stored, &app)?;
    page(&app, &by, form, HEARTBEATS, Some(of_heartbeat(&heartbeat)))
}

async fn change_heartbeat(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<HeartbeatId>,
) -> Answer<HttpResponse> {
    let before = heartbeat_of(&app, id.clone()).await?;
    let (by, form) = (sent.by, Form::read(HEARTBEAT, sent.fields)?);
    let actor = by.0.actor();
    let store = async |body: Value| {
        let patch = patch(body, &[]);
        app.db
            .write(&actor, move |tx| heartbeat::change(tx, &id, &patch))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, PATH, "The heartbeat is saved.")),
        Saved::Again(form) => page(&app, &by, form, HEARTBEATS, Some(of_heartbeat(&before))),
    }
}

async fn delete_heartbeat(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<HeartbeatId>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db.write(&actor, move |tx| heartbeat::delete(tx, &id)).await?;
    Ok(done(&app, PATH, "The heartbeat is deleted."))
}
