//! The page of an email as it was sent: what the recipient reads, its headers, why it was sent, and what the mail server said.
//!
//! The email is shown in a frame without scripts, forms or origin.

use actix_web::{HttpResponse, web};
use mail_parser::MessageParser;
use serde::Deserialize;
use serde_json::{Value, json};

use super::frame::Frame;
use super::notice_view::{incident_link, title};
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{When, link, person_path, zone};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::delivery::as_sent::{self, AsSent};
use crate::delivery::{self, Delivery};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::mail::file;
use crate::http::ids::{DeliveryNumber, InPath};
use crate::http::pages::mail_frame;
use crate::http::problem::Answer;
use crate::incident;
use crate::notice::{self, Listed};

/// The links in an email are those of the recipient, so a viewer, who may change nothing, does not see it.
const ROLE: Role = Role::Operator;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/deliveries/{id}/mail", ROLE, show)
        .does(&["GET /api/v1/deliveries/{id}/mail"]);
    pages.search("/deliveries/{id}/mail/html", ROLE, html);
    pages
        .search("/deliveries/{id}/mail/eml", ROLE, eml)
        .does(&["GET /api/v1/deliveries/{id}/mail"]);
}

/// Returns the path of the page of a delivery's email.
pub(super) fn path(delivery: i64) -> String {
    format!("/admin/deliveries/{delivery}/mail")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    /// The number of the attempt.
    attempt: Option<i64>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<DeliveryNumber>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let attempt = params.0.attempt;
    let (delivery, found, listed, notice, incident) = app
        .db
        .read(move |conn| {
            let delivery = delivery::get(conn, id.0)?;
            let found = as_sent::find(conn, id.0, attempt)?;
            let listed = match delivery.person {
                Some(_) => Some(notice::recipient_at(conn, &delivery.notice, delivery.ordinal)?),
                None => None,
            };
            let notice = notice::get(conn, &delivery.notice)?;
            let incident = incident::get(conn, &notice.incident)?;
            Ok((delivery, found, listed, notice, incident))
        })
        .await?;
    let zone = zone(by.zone().or(incident.time_zone.as_deref()));
    let base = path(delivery.id);
    let of_attempt = |path: &str, number: i64| link(path, &[("attempt", Some(&number.to_string()))]);
    let shown = found.as_ref().ok().map(|mail| mail.attempt);
    let attempts: Vec<Value> = delivery
        .attempts
        .iter()
        .map(|one| {
            json!({
                "at": When::new(one.at, zone.as_ref()), "outcome": one.outcome, "reply": one.reply,
                "current": shown == Some(one.number),
                "path": (one.sha256.is_some() && shown != Some(one.number)).then(|| of_attempt(&base, one.number)),
            })
        })
        .collect();
    let mail = match &found {
        Ok(mail) => mail_data(mail, &of_attempt, &base),
        Err(_) => Value::Null,
    };
    let heading = "The email as it was sent";
    app.pages.answer(
        "admin/mail-as-sent",
        &json!({
            "page": Frame::new(&app, &by, heading, "Incidents"),
            "title": heading,
            "incident": incident_link(&incident),
            "notice": json!({"title": title(&notice, &incident), "path": format!("/admin/notices/{}", notice.id)}),
            "absent": found.as_ref().err().map(|absent| absent.why()),
            "maybe": found.as_ref().is_ok_and(|mail| !mail.accepted),
            "to": recipient(&delivery),
            "why": listed.as_ref().map(why),
            "state": delivery.state,
            "message_id": delivery.message_id,
            "date": found.as_ref().ok().map(|mail| When::new(mail.date, zone.as_ref())),
            "attempts": attempts,
            "mail": mail,
        }),
    )
}

/// Returns what the page shows of an email.
fn mail_data(mail: &AsSent, of_attempt: &dyn Fn(&str, i64) -> String, base: &str) -> Value {
    let parsed = MessageParser::default().parse(&mail.bytes);
    let text = String::from_utf8_lossy(&mail.bytes);
    let headers = text.split_once("\r\n\r\n").map_or("", |(headers, _)| headers);
    json!({
        "subject": parsed.as_ref().and_then(|parsed| parsed.subject()).unwrap_or_default(),
        "text": parsed.as_ref().and_then(|parsed| parsed.body_text(0)).unwrap_or_default(),
        "headers": headers,
        "sha256": mail.sha256,
        "size": mail.bytes.len(),
        "frame": of_attempt(&format!("{base}/html"), mail.attempt),
        "file": of_attempt(&format!("{base}/eml"), mail.attempt),
    })
}

fn recipient(delivery: &Delivery) -> Value {
    match (&delivery.person, &delivery.endpoint) {
        (Some(person), _) => json!({
            "name": person.name, "path": person_path(&person.id), "address": delivery.address,
        }),
        (None, endpoint) => json!({
            "name": endpoint.as_ref().map(|to| &to.name), "path": null, "address": null,
        }),
    }
}

/// Returns why the recipient got the email.
fn why(listed: &Listed) -> Value {
    let resources = listed.reasons.iter().map(|reason| {
        json!({
            "label": reason.label,
            "id": format!("{} {}", reason.resource.type_, reason.resource.id),
            "account": reason.account,
        })
    });
    json!({
        "reason": listed.reason,
        "resources": resources.collect::<Vec<_>>(),
        "more": listed.more_resources,
    })
}

/// Reads the email that a frame or a file shows.
async fn found(app: &App, id: i64, attempt: Option<i64>) -> Result<AsSent> {
    let found = app.db.read(move |conn| as_sent::find(conn, id, attempt)).await?;
    found.map_err(Error::from)
}

async fn html(
    app: web::Data<App>,
    InPath(id): InPath<DeliveryNumber>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let mail = found(&app, id.0, params.0.attempt).await?;
    let parsed = MessageParser::default().parse(&mail.bytes);
    let html = parsed.as_ref().and_then(|parsed| parsed.body_html(0));
    Ok(mail_frame(html.unwrap_or_default().into_owned()))
}

async fn eml(
    app: web::Data<App>,
    InPath(id): InPath<DeliveryNumber>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    Ok(file(found(&app, id.0, params.0.attempt).await?))
}
