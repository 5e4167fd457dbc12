//! The API for a notice that is being sent or was stopped: stop, hold, continue, resume.

use actix_web::{post, web};

use crate::base::id::NoticeId;
use crate::http::answer::Accepted;
use crate::http::auth::By;
use crate::http::extract::{Json, OptionalJson};
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::http::{App, sending};
use crate::notice::{self, ContinueWith, Hold, Notice, Resumed, Stopped};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(stop)
        .service(hold)
        .service(continue_with)
        .service(resume);
}

/// Stops a notice that is being sent, and returns how many emails were sent before. The deliveries in the states `sent` and
/// `stopped` then say who got it and who did not.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[post("/notices/{id}/stop")]
async fn stop(app: web::Data<App>, by: By, InPath(id): InPath<NoticeId>) -> Answer<Json<Stopped>> {
    Ok(Json(sending::stop(&app, &by.0, id).await?))
}

/// Holds a notice that is sent in waves: the current wave is sent to its end, and the next one begins only when somebody
/// continues.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])), request_body = Option<Hold>)]
#[post("/notices/{id}/hold")]
async fn hold(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
    body: OptionalJson<Hold>,
) -> Answer<Json<Notice>> {
    let notice = app
        .db
        .write(&by.0, move |tx| notice::hold(tx, &id, &body.0))
        .await?;
    Ok(Json(notice))
}

/// Begins the next wave of a notice now, also if the notice is held.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])), request_body = Option<ContinueWith>)]
#[post("/notices/{id}/continue")]
async fn continue_with(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
    body: OptionalJson<ContinueWith>,
) -> Answer<Accepted<Notice>> {
    let notice = app
        .db
        .write(&by.0, move |tx| notice::continue_with(tx, &id, &body.0))
        .await?;
    app.wake.due();
    Ok(Accepted(notice))
}

/// Resumes a stopped notice. It goes to exactly those of its list who were not sent. Whoever was notified by a catch-up since is
/// left out.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[post("/notices/{id}/resume")]
async fn resume(app: web::Data<App>, by: By, InPath(id): InPath<NoticeId>) -> Answer<Accepted<Resumed>> {
    Ok(Accepted(sending::resume(&app, &by.0, id).await?))
}
