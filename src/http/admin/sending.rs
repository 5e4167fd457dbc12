//! `/admin/notices/{id}/…`: what the forms on the page of a notice do. They do what the API does, with the same role.
//!
//! What is sent is what the page showed. If something has changed since, nothing is sent, and the page shows the new preview and
//! says so.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

use super::filled::{Filled, back_to};
use super::signed_in::SignedIn;
use super::{notices, sending_forms};
use crate::auth::Role;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::http::{App, sending};
use crate::notice::{self, ContinueWith, Hold};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .send("/notices/{id}/send", Role::Operator, send)
        .send("/notices/{id}/stop", Role::Operator, stop)
        .send("/notices/{id}/hold", Role::Operator, hold)
        .send("/notices/{id}/continue", Role::Operator, continue_with)
        .send("/notices/{id}/resume", Role::Operator, resume);
}

async fn send(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let (by, what) = (sent.by, sending_forms::read(sent.fields)?);
    let done = sending::send(&app, &by.0.actor(), id.clone(), what).await;
    answer(&app, &by, id, done.map(|_| ())).await
}

async fn stop(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let by = without_fields(sent)?;
    let done = sending::stop(&app, &by.0.actor(), id.clone()).await;
    answer(&app, &by, id, done.map(|_| ())).await
}

async fn hold(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let by = without_fields(sent)?;
    let target = id.clone();
    let done = app
        .db
        .write(&by.0.actor(), move |tx| {
            notice::hold(tx, &target, &Hold::default())
        })
        .await;
    answer(&app, &by, id, done.map(|_| ())).await
}

async fn continue_with(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<NoticeId>,
) -> Answer<HttpResponse> {
    let mut fields = sent.fields;
    let wave = fields.take("wave");
    fields.finish()?;
    let wave = wave
        .parse()
        .map_err(|_| Error::invalid("/wave", "must be the number of the next wave"))?;
    let (by, target) = (sent.by, id.clone());
    let with = ContinueWith { wave: Some(wave) };
    let done = app
        .db
        .write(&by.0.actor(), move |tx| notice::continue_with(tx, &target, &with))
        .await;
    app.wake.due();
    answer(&app, &by, id, done.map(|_| ())).await
}

async fn resume(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let by = without_fields(sent)?;
    let done = sending::resume(&app, &by.0.actor(), id.clone()).await;
    answer(&app, &by, id, done.map(|_| ())).await
}

fn without_fields(sent: Filled) -> Result<SignedIn> {
    sent.fields.finish()?;
    Ok(sent.by)
}

/// Goes back to the page of the notice, or shows it with the reason why nothing was done.
async fn answer(app: &App, by: &SignedIn, id: NoticeId, done: Result<()>) -> Answer<HttpResponse> {
    let Err(error) = done else {
        return Ok(back_to(&format!("/admin/notices/{id}")));
    };
    let problem = match error.coded() {
        (_, Some(Code::ChangedSincePreview)) => (
            StatusCode::CONFLICT,
            "The recipients or the text have changed since the preview. Nothing was sent. Check the new preview below, \
             and send again."
                .to_owned(),
        ),
        (Error::Conflict(detail), _) => (StatusCode::CONFLICT, format!("Nothing was done: {detail}.")),
        (Error::Forbidden(detail), _) => (StatusCode::FORBIDDEN, format!("Nothing was done: {detail}.")),
        _ => return Err(error.into()),
    };
    notices::page_of(app, by, id, notices::ShowParams::default(), Some(problem)).await
}
