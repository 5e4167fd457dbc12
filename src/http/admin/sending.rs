//! `/admin/notices/{id}/…`: what the forms on the page of a notice do. They do what the API does, with the same role.
//!
//! What is sent is what the page showed. If something has changed since, nothing is sent, and the page shows what is current now and
//! says what changed.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

use super::done::done;
use super::filled::{Filled, back_to};
use super::notice_view::{Refused, ShowParams};
use super::signed_in::SignedIn;
use super::view::count;
use super::{notices, sending_forms};
use crate::auth::Role;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::delivery;
use crate::http::admin_page::Pages;
use crate::http::ids::{DeliveryNumber, InPath};
use crate::http::problem::Answer;
use crate::http::{App, sending};
use crate::notice::{self, ContinueWith, Hold};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .send("/notices/{id}/send", Role::Operator, send)
        .does(&["POST /api/v1/notices/{id}/send"]);
    pages
        .send("/notices/{id}/stop", Role::Operator, stop)
        .does(&["POST /api/v1/notices/{id}/stop"]);
    pages
        .send("/notices/{id}/hold", Role::Operator, hold)
        .does(&["POST /api/v1/notices/{id}/hold"]);
    pages
        .send("/notices/{id}/continue", Role::Operator, continue_with)
        .does(&["POST /api/v1/notices/{id}/continue"]);
    pages
        .send("/notices/{id}/resume", Role::Operator, resume)
        .does(&["POST /api/v1/notices/{id}/resume"]);
    pages
        .send("/notices/{id}/catch-up", Role::Operator, catch_up)
        .does(&["POST /api/v1/notices/{id}/catch-up"]);
    pages
        .send("/notices/{id}/resend-failed", Role::Operator, resend_failed)
        .does(&["POST /api/v1/notices/{id}/resend-failed"]);
    pages
        .send("/deliveries/{id}/resend", Role::Operator, resend)
        .does(&["POST /api/v1/deliveries/{id}/resend"]);
}

async fn send(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let (by, what) = (sent.by, sending_forms::read(sent.fields)?);
    let digest = what.digest.clone();
    let result = sending::send(&app, &by.0.actor(), id.clone(), what).await;
    let said = "The notice is being sent. You can stop it on this page.";
    answer(&app, &by, id, result.map(|_| ()), (said, Some(digest))).await
}

async fn stop(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let by = without_fields(sent)?;
    let result = sending::stop(&app, &by.0.actor(), id.clone()).await;
    let said = "The notice is stopped. The page says who got it and who did not.";
    answer(&app, &by, id, result.map(|_| ()), (said, None)).await
}

async fn hold(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let mut fields = sent.fields;
    let reason = Some(fields.take("reason")).filter(|reason| !reason.is_empty());
    fields.finish()?;
    let (by, target) = (sent.by, id.clone());
    let result = app
        .db
        .write(&by.0.actor(), move |tx| {
            notice::hold(tx, &target, &Hold { reason })
        })
        .await;
    let said = "The notice is held. The next wave begins only when somebody begins it.";
    answer(&app, &by, id, result.map(|_| ()), (said, None)).await
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
    let result = app
        .db
        .write(&by.0.actor(), move |tx| notice::continue_with(tx, &target, &with))
        .await;
    app.wake.due();
    let said = format!("Wave {wave} has begun.");
    answer(&app, &by, id, result.map(|_| ()), (&said, None)).await
}

async fn resume(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let by = without_fields(sent)?;
    let result = sending::resume(&app, &by.0.actor(), id.clone()).await;
    let said = "The notice is being sent to those who did not get it.";
    answer(&app, &by, id, result.map(|_| ()), (said, None)).await
}

/// Drafts the same notice for those who have not got it, and shows the draft.
async fn catch_up(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let by = without_fields(sent)?;
    let target = id.clone();
    let result = app
        .db
        .write(&by.0.actor(), move |tx| notice::catch_up(tx, &target))
        .await;
    match result {
        Ok(draft) => {
            let said = "This draft says the same to those who have not got it. Nothing is sent yet.";
            Ok(done(&app, &format!("/admin/notices/{}", draft.id), said))
        }
        Err(error) => answer(&app, &by, id, Err(error), ("", None)).await,
    }
}

async fn resend_failed(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<NoticeId>,
) -> Answer<HttpResponse> {
    let by = without_fields(sent)?;
    let (target, lifetime) = (id.clone(), app.lifetime);
    let result = app
        .db
        .write(&by.0.actor(), move |tx| {
            delivery::resend_failed(tx, &target, lifetime)
        })
        .await;
    app.wake.due();
    let resent = result.as_ref().copied().unwrap_or_default();
    let emails = count(
        usize::try_from(resent).unwrap_or_default(),
        "delivery is",
        "deliveries are",
    );
    let said = format!("{emails} being sent again.");
    answer(&app, &by, id, result.map(|_| ()), (&said, None)).await
}

async fn resend(
    app: web::Data<App>,
    sent: Filled,
    InPath(number): InPath<DeliveryNumber>,
) -> Answer<HttpResponse> {
    let by = without_fields(sent)?;
    let lifetime = app.lifetime;
    let notice = app
        .db
        .read(move |conn| Ok(delivery::get(conn, number.0)?.notice))
        .await?;
    let result = app
        .db
        .write(&by.0.actor(), move |tx| delivery::resend(tx, number.0, lifetime))
        .await;
    app.wake.due();
    answer(
        &app,
        &by,
        notice,
        result.map(|_| ()),
        ("The email is being sent again.", None),
    )
    .await
}

fn without_fields(sent: Filled) -> Result<SignedIn> {
    sent.fields.finish()?;
    Ok(sent.by)
}

/// Goes back to the page of the notice, which says what was done, or shows the page with the reason why nothing was done. `digest` is
/// the one that the form contained.
pub(super) async fn answer(
    app: &App,
    by: &SignedIn,
    id: NoticeId,
    result: Result<()>,
    (said, digest): (&str, Option<String>),
) -> Answer<HttpResponse> {
    let Err(error) = result else {
        let page = format!("/admin/notices/{id}");
        return Ok(match said {
            "" => back_to(&page),
            said => done(app, &page, said),
        });
    };
    let refused = refused(error, digest)?;
    notices::page_of(app, by, id, ShowParams::default(), Some(refused)).await
}

/// Returns what the page says about an error. `digest` is the one that the form contained.
///
/// # Errors
/// The error itself, if it is a fault or about something that is not there.
pub(super) fn refused(error: Error, digest: Option<String>) -> Result<Refused> {
    let has_changed = matches!(error.coded().1, Some(Code::ChangedSincePreview));
    let (status, text) = match error.coded().0 {
        Error::Conflict(detail) => (StatusCode::CONFLICT, format!("Nothing was done: {detail}.")),
        Error::Forbidden(detail) => (StatusCode::FORBIDDEN, format!("Nothing was done: {detail}.")),
        Error::Invalid { errors, .. } if !errors.is_empty() => {
            let said: Vec<String> = errors
                .iter()
                .map(|error| match error.pointer.as_deref() {
                    None | Some("") => error.detail.clone(),
                    Some(pointer) => format!(
                        "{} {}",
                        pointer.trim_start_matches('/').replace('_', " "),
                        error.detail
                    ),
                })
                .collect();
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("Nothing was done: {}.", said.join("; ")),
            )
        }
        _ => return Err(error),
    };
    Ok(Refused {
        status,
        text,
        digest: digest.filter(|_| has_changed),
    })
}
