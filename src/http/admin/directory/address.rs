//! The form that corrects the address of a person and sends what did not arrive. The page says what will be sent before it is sent.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Role;
use crate::base::error::Result;
use crate::base::id::{ExternalId, IncidentId};
use crate::db::Conn;
use crate::delivery::opt_out;
use crate::directory::person::{self, Person};
use crate::feedback::corrected_address::{self, CorrectAddress, Corrected, NotArrived};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::frame::Frame;
use crate::http::admin::incident_forms::find;
use crate::http::admin::params::Form as Parameters;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, count, cut, link, person_path};
use crate::http::admin_page::Pages;
use crate::http::api::people::correct;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/directory/people/{id}/address", Role::Operator, show)
        .does(&["GET /api/v1/people/{person}/not-arrived"])
        .send("/directory/people/{id}/address", Role::Operator, send)
        .does(&[
            "POST /api/v1/people/{person}/correct-address",
            "POST /api/v1/deliveries/{id}/resend",
        ]);
}

const ADDRESS: &[Field] = &[
    Field::text(
        "email",
        "Email address",
        "If you leave it as it is, the emails are sent again to this address.",
    ),
    Field::own("notices", "", "", read_notices, write_notices),
    Field::kept("incident"),
];

/// The notices travel in a hidden field, so that exactly what the page showed is sent.
fn read_notices(text: &str) -> std::result::Result<Value, Vec<String>> {
    Ok(json!(text.split_whitespace().collect::<Vec<_>>()))
}

fn write_notices(stored: &Value) -> String {
    let notices = stored.as_array().into_iter().flatten();
    notices.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// Returns an email that did not arrive, for a page.
pub(super) fn row(one: &NotArrived) -> Value {
    json!({
        "label": format!("#{} {}: {}", one.number, cut(&one.title, 120), one.phase),
        "path": format!("/admin/notices/{}", one.notice),
        "incident": format!("/admin/incidents/{}", one.number),
        "address": one.address, "reply": cut(&one.reply, 300), "at": When::maybe(one.at, None),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    incident: Option<i64>,
}

struct Shown {
    person: Person,
    lost: Vec<NotArrived>,
    suppressed: Option<&'static str>,
}

fn read(
    conn: &mut Conn,
    id: &str,
    incident: Option<&IncidentId>,
    now: crate::base::time::Timestamp,
) -> Result<Shown> {
    let person = person::get(conn, id)?;
    let suppressed = match person.email.is_empty() {
        true => None,
        false => opt_out::of(conn, &person.email)?.map(|one| super::suppressions::why(one.reason)),
    };
    Ok(Shown {
        lost: corrected_address::not_arrived(conn, id, incident, now)?,
        suppressed,
        person,
    })
}

async fn named(app: &App, number: Option<i64>) -> Result<Option<IncidentId>> {
    match number {
        None => Ok(None),
        Some(number) => {
            let incident = app
                .db
                .read(move |conn| find(conn, &IncidentName::Number(number)))
                .await?;
            Ok(Some(incident.id))
        }
    }
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<ExternalId>,
    params: Parameters<ShowParams>,
) -> Answer<HttpResponse> {
    let number = params.0.incident;
    let (incident, now) = (named(&app, number).await?, app.clock().now());
    let shown = app
        .db
        .read(move |conn| read(conn, id.as_str(), incident.as_ref(), now))
        .await?;
    let form = Form::new(ADDRESS).with("email", shown.person.email.clone());
    page(&app, &by, form, &shown, number)
}

fn page(app: &App, by: &SignedIn, form: Form, shown: &Shown, number: Option<i64>) -> Answer<HttpResponse> {
    let status = form.status();
    let notices: Vec<&str> = shown.lost.iter().map(|one| one.notice.as_str()).collect();
    let path = person_path(&shown.person.id);
    let button = match shown.lost.len() {
        0 => "Save address".to_owned(),
        n => format!("Save address and send {}", count(n, "email", "emails")),
    };
    let number = number.map(|number| number.to_string());
    let back = match &number {
        Some(number) => format!("/admin/incidents/{number}#unreached"),
        None => path.clone(),
    };
    let at = Use {
        action: format!("{path}/address"),
        button: &button,
        within: (&shown.person.name, back),
    };
    let mut form = form.shown(&at);
    // Only the address is a field that people see.
    if let Some(groups) = form["groups"].as_array_mut() {
        groups.truncate(1);
    }
    let data = json!({
        "page": Frame::new(app, by, "Correct the address", "People"),
        "person": shown.person.name, "path": path, "gone": shown.person.gone_at.is_some(),
        "suppressed": shown.suppressed,
        "lost": shown.lost.iter().map(row).collect::<Vec<_>>(),
        "notices": notices.join(" "), "incident": number.unwrap_or_default(),
        "form": form,
    });
    app.pages.answer_with(status, "admin/address", &data)
}

async fn send(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(ADDRESS, sent.fields)?);
    let number: Option<i64> = form.text("incident").parse().ok();
    let incident = named(&app, number).await?;
    let (actor, who, named) = (by.0.actor(), id.clone(), incident.clone());
    let store = async |new: CorrectAddress| correct(&app, &actor, who, new, named).await;
    match form.save(app.clock().now(), store).await? {
        Saved::Done(corrected) => {
            let back = match number {
                Some(number) if corrected.not_sent.is_empty() => format!("/admin/incidents/{number}"),
                _ => person_path(id.as_str()),
            };
            match corrected.not_sent.is_empty() {
                true => Ok(done(&app, &back, &sentence(&corrected))),
                false => result(&app, &by, &corrected),
            }
        }
        Saved::Again(form) => {
            let now = app.clock().now();
            let shown = app
                .db
                .read(move |conn| read(conn, id.as_str(), incident.as_ref(), now))
                .await?;
            page(&app, &by, form, &shown, number)
        }
    }
}

fn sentence(corrected: &Corrected) -> String {
    let mut text = format!(
        "The address of {} is {}.",
        corrected.person.name, corrected.person.email
    );
    match corrected.sent.len() {
        0 => {}
        n => text.push_str(&format!(
            " {} sent to it now.",
            count(n, "email is", "emails are")
        )),
    }
    if corrected.lifted {
        text.push_str(" Its suppression after a bounce is lifted.");
    }
    text
}

/// The page that says what was sent and what was not.
fn result(app: &App, by: &SignedIn, corrected: &Corrected) -> Answer<HttpResponse> {
    let path = person_path(&corrected.person.id);
    let not_sent = corrected.not_sent.iter().map(|one| {
        json!({
            "path": format!("/admin/notices/{}", one.notice), "why": one.why,
            "draft": one.draft.as_ref().map(|draft| format!("/admin/notices/{draft}")),
        })
    });
    let data = json!({
        "page": Frame::new(app, by, "Correct the address", "People"),
        "person": corrected.person.name, "path": link(&path, &[]), "text": sentence(corrected),
        "not_sent": not_sent.collect::<Vec<_>>(),
    });
    app.pages.answer("admin/address-result", &data)
}
