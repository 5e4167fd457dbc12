//! The API for notices and their deliveries.

use actix_web::{get, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::base::error::Error;
use crate::base::id::{IncidentId, NoticeId};
use crate::delivery::{self, Delivery};
use crate::feedback::{Feedback, stored};
use crate::http::answer::{Accepted, Created};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::{DeliveryNumber, InPath};
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::Answer;
use crate::http::{App, sending};
use crate::notice::{self, Digest, EMAIL, NewNotice, Notice, NoticePatch, Preview, SendNotice};

/// The number of rendered emails in a preview.
const SAMPLES: usize = 3;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(draft)
        .service(list)
        .service(get_one)
        .service(change)
        .service(preview)
        .service(approve)
        .service(send)
        .service(catch_up)
        .service(deliveries)
        .service(resend)
        .service(resend_failed);
}

/// Creates a draft of a notice. Nothing is sent.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[post("/incidents/{id}/notices")]
async fn draft(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<NewNotice>,
) -> Answer<Created<Notice>> {
    let notice = app
        .db
        .write(&by.0, move |tx| notice::draft(tx, &id, &body.0))
        .await?;
    Ok(Created(notice))
}

/// Returns the notices of an incident, oldest first.
#[utoipa::path(tag = "Notices", security(("token" = ["viewer"])), params(Paging))]
#[get("/incidents/{id}/notices")]
async fn list(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<Paging>,
) -> Answer<Json<Page<Notice>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let now = app.clock().now();
    let rows = app
        .db
        .read(move |conn| notice::list(conn, &id, after.as_deref(), limit.probe()))
        .await?;
    let rows = rows.into_iter().map(|notice| notice.at(now)).collect();
    Ok(Json(page(rows, limit, |notice: &Notice| notice.id.to_string())))
}

/// A notice, and how many affected people have not got it.
#[derive(Serialize, utoipa::ToSchema)]
struct NoticeView {
    #[serde(flatten)]
    notice: Notice,
    /// The number of people who are affected now and have not got the notice. While a notice is sent to very
    /// many people, the number may be some seconds old.
    not_told_yet: usize,
    /// The number of people whom a correction of the notice would reach now: the notice reached them or may have reached them, and
    /// the incident does not affect them.
    correctable: usize,
}

/// Returns a notice with its progress.
#[utoipa::path(tag = "Notices", security(("token" = ["viewer"])), responses((status = 409)))]
#[get("/notices/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<NoticeId>) -> Answer<Json<NoticeView>> {
    let (audience_cache, now) = (app.audience_cache.clone(), app.clock().now());
    let view = app
        .db
        .read(move |conn| {
            let notice = notice::get(conn, &id)?.at(now);
            let name = format!("not told of {id}");
            let not_told = audience_cache.get_or_compute(conn, &notice.incident, &name, now, |conn| {
                notice::not_told_yet(conn, &id)
            })?;
            let name = format!("correctable of {id}");
            let correctable = audience_cache.get_or_compute(conn, &notice.incident, &name, now, |conn| {
                notice::correct::correctable(conn, &id)
            })?;
            Ok(NoticeView {
                notice,
                not_told_yet: *not_told.value,
                correctable: *correctable.value,
            })
        })
        .await?;
    Ok(Json(view))
}

/// Changes the draft of a notice.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[patch("/notices/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
    body: Json<NoticePatch>,
) -> Answer<Json<Notice>> {
    let notice = app
        .db
        .write(&by.0, move |tx| notice::change(tx, &id, &body.0))
        .await?;
    Ok(Json(notice))
}

/// Shows who exactly would get exactly what. Nothing is changed.
#[utoipa::path(tag = "Notices", security(("token" = ["viewer"])))]
#[get("/notices/{id}/preview")]
async fn preview(app: web::Data<App>, InPath(id): InPath<NoticeId>) -> Answer<Json<Preview>> {
    let (sending, now) = (app.sending.clone(), app.clock().now());
    let preview = app
        .db
        .read(move |conn| notice::preview(conn, &id, &sending, SAMPLES, now))
        .await?;
    Ok(Json(preview))
}

/// Approves exactly the recipients and texts of the digest. The person who uses the token must not have written a part of
/// the notice, and must not send it.
#[utoipa::path(tag = "Notices", security(("token" = ["approver"])))]
#[post("/notices/{id}/approve")]
async fn approve(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
    body: Json<Digest>,
) -> Answer<Json<Notice>> {
    let sending = app.sending.clone();
    let notice = app
        .db
        .write(&by.0, move |tx| notice::approve(tx, &id, &body.0, &sending))
        .await?;
    Ok(Json(notice))
}

/// Sends a notice: freezes the draft and queues it. With waves, only the first wave is sent now.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[post("/notices/{id}/send")]
async fn send(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
    body: Json<SendNotice>,
) -> Answer<Accepted<Notice>> {
    Ok(Accepted(sending::send(&app, &by.0, id, body.0).await?))
}

/// Drafts the same notice for the people who are affected now and have not got it.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[post("/notices/{id}/catch-up")]
async fn catch_up(app: web::Data<App>, by: By, InPath(id): InPath<NoticeId>) -> Answer<Created<Notice>> {
    let notice = app.db.write(&by.0, move |tx| notice::catch_up(tx, &id)).await?;
    Ok(Created(notice))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only deliveries in this state: pending, sent, failed, bounced, suppressed or stopped.
    state: Option<String>,
    /// Only deliveries of this channel: email, or the channel of an endpoint, such as webhook.
    channel: Option<String>,
}

/// A delivery with the reports about it.
#[derive(Serialize, utoipa::ToSchema)]
struct DeliveryView {
    #[serde(flatten)]
    delivery: Delivery,
    /// The bounces, complaints and other reports, oldest first.
    feedback: Vec<Feedback>,
}

/// Returns the deliveries of a notice: the emails and the calls to endpoints.
#[utoipa::path(tag = "Notices", security(("token" = ["viewer"])), params(DeliveryParams))]
#[get("/notices/{id}/deliveries")]
async fn deliveries(
    app: web::Data<App>,
    InPath(id): InPath<NoticeId>,
    params: Params<DeliveryParams>,
) -> Answer<Json<Page<DeliveryView>>> {
    let p = params.0;
    let after: Option<i64> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    if let Some(channel) = p.channel.as_deref()
        && channel != EMAIL
        && app.endpoints.get(channel).is_none()
    {
        let names = [app.endpoints.names(false), app.endpoints.names(true)].concat();
        let detail = format!("is not one of {EMAIL}, {}", names.join(", "));
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
    Ok(Json(page(rows, limit, |view: &DeliveryView| {
        view.delivery.ordinal
    })))
}

/// The number of deliveries that were queued again.
#[derive(Serialize, utoipa::ToSchema)]
struct Resent {
    /// The number of deliveries that are pending again.
    resent: i64,
}

/// Sends every failed delivery of a notice again, which was rejected permanently or expired. Deliveries that
/// bounced are left out, because another email to the same address would bounce too. Emails are left out too if the person got the
/// notice by another email or has another address now.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[post("/notices/{id}/resend-failed")]
async fn resend_failed(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
) -> Answer<Accepted<Resent>> {
    let lifetime = app.lifetime;
    let resent = app
        .db
        .write(&by.0, move |tx| delivery::resend_failed(tx, &id, lifetime))
        .await?;
    app.wake.due();
    Ok(Accepted(Resent { resent }))
}

/// Sends a delivery again that failed or bounced.
///
/// It goes to its own address. It is refused if the person has another address now, or got the notice by another email.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])))]
#[post("/deliveries/{id}/resend")]
async fn resend(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<DeliveryNumber>,
) -> Answer<Accepted<Delivery>> {
    let lifetime = app.lifetime;
    let delivery = app
        .db
        .write(&by.0, move |tx| delivery::resend(tx, id.0, lifetime))
        .await?;
    app.wake.due();
    Ok(Accepted(delivery))
}
