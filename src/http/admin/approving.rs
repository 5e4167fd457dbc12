//! What the forms about the approval of a notice do: another person approves it, or an admin uses break glass.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::approval_forms::{GLASS, glass};
use super::done::done;
use super::filled::Filled;
use super::form::{Form, Saved};
use super::frame::Frame;
use super::sending;
use super::signed_in::SignedIn;
use crate::auth::Role;
use crate::base::id::NoticeId;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::notice::{self, BreakGlass, Digest};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .send("/notices/{id}/approve", Role::Approver, approve)
        .does(&["POST /api/v1/notices/{id}/approve"]);
    pages
        .send("/notices/{id}/break-glass", Role::Admin, break_glass)
        .does(&["POST /api/v1/notices/{id}/break-glass"]);
}

async fn approve(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let Filled { by, mut fields } = sent;
    let digest = Digest {
        digest: fields.take("digest"),
    };
    fields.finish()?;
    let (sending, target, said) = (app.sending.clone(), id.clone(), digest.digest.clone());
    let approved = app
        .db
        .write(&by.0.actor(), move |tx| {
            notice::approve(tx, &target, &digest, &sending)
        })
        .await;
    let text = "You approved this list and this text. Another person can send the notice.";
    sending::answer(&app, &by, id, approved.map(|_| ()), (text, Some(said))).await
}

async fn break_glass(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<NoticeId>,
) -> Answer<HttpResponse> {
    let Filled { by, mut fields } = sent;
    let digest = fields.take("digest");
    let form = Form::read(GLASS, fields)?;
    let path = format!("/admin/notices/{id}");
    let (actor, sending, typed) = (by.0.actor(), app.sending.clone(), digest.clone());
    let store = async |said: Value| {
        let said = BreakGlass {
            digest: typed,
            reason: said["reason"].as_str().unwrap_or_default().to_owned(),
        };
        app.db
            .write(&actor, move |tx| notice::break_glass(tx, &id, &said, &sending))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => {
            let said = "Break glass is used: this notice can be sent without approval. Operators are notified of it.";
            Ok(done(&app, &path, said))
        }
        Saved::Again(form) => wrong(&app, &by, form, &path, &digest),
    }
}

/// The page with the form for break glass alone, with its errors.
fn wrong(app: &App, by: &SignedIn, form: Form, path: &str, digest: &str) -> Answer<HttpResponse> {
    let data = json!({
        "page": Frame::new(app, by, "Break glass", "Incidents"), "back": path, "glass": glass(form, path, digest),
    });
    app.pages
        .answer_with(StatusCode::UNPROCESSABLE_ENTITY, "admin/break-glass", &data)
}
