//! The form for an email that came back to a mailbox which Candor does not read: a bounce, a complaint or an answer. It does what the API does, with the same role.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::filled::Filled;
use super::frame::Frame;
use super::signed_in::SignedIn;
use crate::auth::Role;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::feedback::{Classified, classified};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show(PATH, Role::Operator, show)
        .send(PATH, Role::Operator, send)
        .does(&["POST /api/v1/inbound-mail"]);
}

const PATH: &str = "/directory/inbound-mail";

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    page(&app, &by, "", None, Value::Null)
}

fn page(app: &App, by: &SignedIn, text: &str, wrong: Option<&str>, result: Value) -> Answer<HttpResponse> {
    let status = match wrong {
        None => StatusCode::OK,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let data = json!({
        "page": Frame::new(app, by, "Submit a bounced email or an answer", "Suppressions"), "text": text, "wrong": wrong, "result": result,
    });
    app.pages.answer_with(status, "admin/inbound-mail", &data)
}

async fn send(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let text = fields.take("mail");
    fields.finish()?;
    if text.is_empty() {
        return page(
            &app,
            &by,
            "",
            Some("must not be empty; paste the email with its headers"),
            Value::Null,
        );
    }
    let body = text.replace('\n', "\r\n").into_bytes();
    let taken = classified(&app, &actor, body, None).await?;
    // An email that does not say enough can be corrected.
    let again = if taken.delivery.is_some() {
        ""
    } else {
        text.as_str()
    };
    page(&app, &by, again, None, shown(&taken))
}

fn shown(taken: &Classified) -> Value {
    let text = match (taken.delivery, taken.items.first()) {
        (Some(_), Some(item)) => format!(
            "The email is a report of the kind \u{201c}{}\u{201d}. It is stored.",
            item.kind.as_str()
        ),
        (None, Some(item)) => format!(
            "The email is stored as \u{201c}{}\u{201d}, but Candor does not know which of its emails it is about. Paste the whole email with all headers.",
            item.kind.as_str()
        ),
        (_, None) => "Candor found no report in this email.".to_owned(),
    };
    json!({
        "good": taken.delivery.is_some(), "text": text,
        "items": taken.items.iter().map(|item| json!({
            "kind": item.kind.as_str(), "address": item.address, "diagnostic": item.diagnostic,
        })).collect::<Vec<_>>(),
    })
}
