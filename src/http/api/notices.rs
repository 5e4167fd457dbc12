//! Notices and their deliveries.

use std::time::Duration;

use actix_web::{HttpResponse, get, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::own;
use crate::base::error::Error;
use crate::base::id::{IncidentId, NoticeId};
use crate::delivery::{self, Delivery};
use crate::feedback::{Feedback, stored};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Body, NoParams, Params};
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::{Answer, Problem, ProblemDocument};
use crate::notice::{self, Digest, EMAIL, NewNotice, Notice, NoticePatch, Preview, Stopped};

/// Rendered mails in a preview.
const SAMPLES: usize = 3;
/// How long a stop waits for mails on the wire before it answers without their outcome.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(draft)
        .service(list)
        .service(get_one)
        .service(change)
        .service(preview)
        .service(approve)
        .service(send)
        .service(stop)
        .service(catch_up)
        .service(deliveries)
        .service(resend)
        .service(resend_failed);
}

fn notice_id(text: &str) -> Answer<NoticeId> {
    own("notice", NoticeId::parse(text))
}

/// Drafts a notice.
#[utoipa::path(tag = "Notices", request_body = NewNotice,
    responses((status = 201, body = Notice), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
#[post("/incidents/{id}/notices")]
async fn draft(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    _: Params<NoParams>,
    body: Body<NewNotice>,
) -> Answer<HttpResponse> {
    let id = own("incident", IncidentId::parse(&id))?;
    let notice = app
        .db
        .write(&by.0, move |tx| notice::draft(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Created().json(notice))
}

/// The notices of an incident, oldest first.
#[utoipa::path(tag = "Notices", params(Paging),
    responses((status = 200, body = Page<Notice>), (status = 404, body = ProblemDocument)))]
#[get("/incidents/{id}/notices")]
async fn list(app: web::Data<App>, id: web::Path<String>, params: Params<Paging>) -> Answer<HttpResponse> {
    let id = own("incident", IncidentId::parse(&id))?;
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| notice::list(conn, &id, after.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |notice| notice.id.to_string())))
}

/// A notice, and how many people are affected who have not got it.
#[derive(Serialize, utoipa::ToSchema)]
struct NoticeView {
    #[serde(flatten)]
    notice: Notice,
    /// People affected now who have not got it. While mails go out to very many, it may be some seconds old.
    not_told_yet: usize,
}

/// A notice with its progress.
#[utoipa::path(tag = "Notices", responses((status = 200, body = NoticeView), (status = 404, body = ProblemDocument)))]
#[get("/notices/{id}")]
async fn get_one(app: web::Data<App>, id: web::Path<String>, _: Params<NoParams>) -> Answer<HttpResponse> {
    let id = notice_id(&id)?;
    let (memo, now) = (app.memo.clone(), app.clock().now());
    let view = app
        .db
        .read(move |conn| {
            let notice = notice::get(conn, &id)?;
            let name = format!("not told of {id}");
            let not_told = memo.of(conn, &notice.incident, &name, now, |conn| {
                notice::not_told_yet(conn, &id)
            })?;
            Ok(NoticeView {
                notice,
                not_told_yet: *not_told.value,
            })
        })
        .await?;
    Ok(HttpResponse::Ok().json(view))
}

/// Changes a draft.
#[utoipa::path(tag = "Notices", request_body = NoticePatch,
    responses((status = 200, body = Notice), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
#[patch("/notices/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    _: Params<NoParams>,
    body: Body<NoticePatch>,
) -> Answer<HttpResponse> {
    let id = notice_id(&id)?;
    let notice = app
        .db
        .write(&by.0, move |tx| notice::change(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Ok().json(notice))
}

/// Who exactly would get exactly what. Changes nothing.
#[utoipa::path(tag = "Notices",
    responses((status = 200, body = Preview), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
#[get("/notices/{id}/preview")]
async fn preview(app: web::Data<App>, id: web::Path<String>, _: Params<NoParams>) -> Answer<HttpResponse> {
    let id = notice_id(&id)?;
    let (sending, now) = (app.sending.clone(), app.clock().now());
    let preview = app
        .db
        .read(move |conn| notice::preview(conn, &id, &sending, SAMPLES, now))
        .await?;
    Ok(HttpResponse::Ok().json(preview))
}

/// Approves exactly what the digest says; by another token than the one that drafted it.
#[utoipa::path(tag = "Notices", request_body = Digest,
    responses((status = 200, body = Notice), (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
#[post("/notices/{id}/approve")]
async fn approve(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    _: Params<NoParams>,
    body: Body<Digest>,
) -> Answer<HttpResponse> {
    let id = notice_id(&id)?;
    let sending = app.sending.clone();
    let notice = app
        .db
        .write(&by.0, move |tx| notice::approve(tx, &id, &body.0, &sending))
        .await?;
    Ok(HttpResponse::Ok().json(notice))
}

/// Freezes a draft and queues it.
#[utoipa::path(tag = "Notices", request_body = Digest,
    responses((status = 202, body = Notice), (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
#[post("/notices/{id}/send")]
async fn send(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    _: Params<NoParams>,
    body: Body<Digest>,
) -> Answer<HttpResponse> {
    let id = notice_id(&id)?;
    let sending = app.sending.clone();
    let (notice, stopped) = app
        .db
        .write(&by.0, move |tx| {
            let notice = notice::send(tx, &id, &body.0, &sending)?;
            let stopped = notice::stopped_before(tx.conn, &notice.id)?;
            Ok((notice, stopped))
        })
        .await?;
    for resolution in stopped {
        app.wake.stopped(resolution);
    }
    app.wake.due();
    Ok(HttpResponse::Accepted().json(notice))
}

/// Halts a notice that is being sent, and says who got it before.
#[utoipa::path(tag = "Notices",
    responses((status = 200, body = Stopped), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
#[post("/notices/{id}/stop")]
async fn stop(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    _: Params<NoParams>,
) -> Answer<HttpResponse> {
    let id = notice_id(&id)?;
    let target = id.clone();
    app.db.write(&by.0, move |tx| notice::stop(tx, &target)).await?;
    app.wake.stopped(id.clone());
    // What is on the wire is at most one mail for each connection: wait for it, to answer with the truth.
    let started = std::time::Instant::now();
    loop {
        let target = id.clone();
        let stopped = app.db.read(move |conn| notice::stopped(conn, &target)).await?;
        if stopped.in_flight == 0 || started.elapsed() > SETTLE {
            return Ok(HttpResponse::Ok().json(stopped));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Drafts the same notice for those who are affected now and have not got it.
#[utoipa::path(tag = "Notices",
    responses((status = 201, body = Notice), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/notices/{id}/catch-up")]
async fn catch_up(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    _: Params<NoParams>,
) -> Answer<HttpResponse> {
    let id = notice_id(&id)?;
    let notice = app.db.write(&by.0, move |tx| notice::catch_up(tx, &id)).await?;
    Ok(HttpResponse::Created().json(notice))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryParams {
    /// Rows at most, 1 to 500; 50 if not given.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// pending, sent, failed, bounced, suppressed or stopped.
    state: Option<String>,
    /// email, or the channel of an endpoint, such as webhook.
    channel: Option<String>,
}

/// A delivery, and what was reported of it after it was sent.
#[derive(Serialize, utoipa::ToSchema)]
struct DeliveryView {
    #[serde(flatten)]
    delivery: Delivery,
    /// Bounces, complaints and the like, oldest first.
    feedback: Vec<Feedback>,
}

/// What became of each mail of a notice, and of what went to accounts' own systems.
#[utoipa::path(tag = "Notices", params(DeliveryParams),
    responses((status = 200, body = Page<DeliveryView>), (status = 404, body = ProblemDocument)))]
#[get("/notices/{id}/deliveries")]
async fn deliveries(
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<DeliveryParams>,
) -> Answer<HttpResponse> {
    let id = notice_id(&id)?;
    let p = params.0;
    let after: Option<i64> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    if let Some(channel) = p.channel.as_deref()
        && channel != EMAIL
        && app.endpoints.get(channel).is_none()
    {
        let detail = format!("is not one of {EMAIL}, {}", app.endpoints.names().join(", "));
        return Err(Error::invalid("?channel", detail).into());
    }
    let rows = app
        .db
        .read(move |conn| {
            let (state, channel) = (p.state.as_deref(), p.channel.as_deref());
            let rows = delivery::list(conn, &id, state, channel, after, limit.probe())?;
            let ids: Vec<i64> = rows.iter().map(|delivery| delivery.id).collect();
            let mut feedback = stored::of_deliveries(conn, &ids)?;
            Ok(rows
                .into_iter()
                .map(|delivery| DeliveryView {
                    feedback: feedback.remove(&delivery.id).unwrap_or_default(),
                    delivery,
                })
                .collect())
        })
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |view: &DeliveryView| view.delivery.ordinal)))
}

/// How many were queued again.
#[derive(Serialize, utoipa::ToSchema)]
struct Resent {
    /// Deliveries.
    resent: i64,
}

/// Sends every delivery of a notice again that failed: refused for good, or given up. Those that bounced are left alone:
/// their addresses were heard of.
#[utoipa::path(tag = "Notices",
    responses((status = 202, body = Resent), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
#[post("/notices/{id}/resend-failed")]
async fn resend_failed(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    _: Params<NoParams>,
) -> Answer<HttpResponse> {
    let id = notice_id(&id)?;
    let lifetime = app.lifetime;
    let resent = app
        .db
        .write(&by.0, move |tx| delivery::resend_failed(tx, &id, lifetime))
        .await?;
    app.wake.due();
    Ok(HttpResponse::Accepted().json(Resent { resent }))
}

/// Sends a mail again that failed or bounced, or what an endpoint did not take.
#[utoipa::path(tag = "Notices",
    responses((status = 202, body = Delivery), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
#[post("/deliveries/{id}/resend")]
async fn resend(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    _: Params<NoParams>,
) -> Answer<HttpResponse> {
    let id: i64 = id
        .parse()
        .map_err(|_| Problem::Domain(Error::NotFound("delivery of this id".to_owned())))?;
    let lifetime = app.lifetime;
    let delivery = app
        .db
        .write(&by.0, move |tx| delivery::resend(tx, id, lifetime))
        .await?;
    app.wake.due();
    Ok(HttpResponse::Accepted().json(delivery))
}
