//! The API for the status page: its components, and the posts of incidents.

use actix_web::{delete, get, patch, post, put, web};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use crate::base::error::Error;
use crate::base::id::{ExternalId, IncidentId, PostId};
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::answer::{Created, NoContent, Put};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::{InPath, SubscriberNumber};
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::Answer;
use crate::status::component::{self, Component, Input};
use crate::status::post::{self, NewPost, Post};
use crate::subscription::outbox::{self, PostEmails};
use crate::subscription::posting;
use crate::subscription::subscriber::{self, Counts, Subscriber};
use crate::subscription::subscribing::{self, EndReason};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(list_components)
        .service(get_component)
        .service(put_component)
        .service(delete_component)
        .service(add_post)
        .service(list_posts)
        .service(get_post)
        .service(change_post)
        .service(delete_post)
        .service(count_emails)
        .service(list_subscribers)
        .service(count_subscribers)
        .service(end_subscription);
}

/// Returns the components of the status page, ordered by ID.
#[utoipa::path(tag = "Status page", security(("token" = ["viewer"])), params(Paging))]
#[get("/components")]
async fn list_components(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<Component>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| component::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.id.clone())))
}

/// Returns a component of the status page.
#[utoipa::path(tag = "Status page", security(("token" = ["viewer"])))]
#[get("/components/{id}")]
async fn get_component(app: web::Data<App>, InPath(id): InPath<ExternalId>) -> Answer<Json<Component>> {
    let found = app.db.read(move |conn| component::get(conn, id.as_str())).await?;
    Ok(Json(found))
}

/// Creates or replaces a component of the status page. Its ID is up to 100 letters from a to z, digits, '-', '_' or '.'.
#[utoipa::path(tag = "Status page", security(("token" = ["admin"])))]
#[put("/components/{id}")]
async fn put_component(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ExternalId>,
    body: Json<Input>,
) -> Answer<Put<Component>> {
    let put = app
        .db
        .write(&by.0, move |tx| component::put(tx, &id, &body.0))
        .await?;
    Ok(put.into())
}

/// Deletes a component of the status page. Posts that name it stay.
#[utoipa::path(tag = "Status page", security(("token" = ["admin"])))]
#[delete("/components/{id}")]
async fn delete_component(app: web::Data<App>, by: By, InPath(id): InPath<ExternalId>) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| component::delete(tx, id.as_str()))
        .await?;
    Ok(NoContent)
}

/// Posts about an incident on the status page. The post is public at once, and subscribers of the status page get an email unless
/// `email_subscribers` is false. A drill cannot be posted about.
#[utoipa::path(tag = "Status page", security(("token" = ["operator"])))]
#[post("/incidents/{id}/posts")]
async fn add_post(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<NewPost>,
) -> Answer<Created<Post>> {
    let post = app
        .db
        .write(&by.0, move |tx| posting::add(tx, &id, &body.0))
        .await?;
    Ok(Created(post))
}

/// Returns the posts of an incident, newest first.
#[utoipa::path(tag = "Status page", security(("token" = ["viewer"])), params(Paging))]
#[get("/incidents/{id}/posts")]
async fn list_posts(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<Paging>,
) -> Answer<Json<Page<Post>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<(Timestamp, String)> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| post::list(conn, &id, before, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| (one.at, one.id.to_string()))))
}

/// Returns a post of an incident.
#[utoipa::path(tag = "Status page", security(("token" = ["viewer"])))]
#[get("/incidents/{id}/posts/{post}")]
async fn get_post(
    app: web::Data<App>,
    InPath((incident, id)): InPath<(IncidentId, PostId)>,
) -> Answer<Json<Post>> {
    let found = app.db.read(move |conn| post::get(conn, &incident, &id)).await?;
    Ok(Json(found))
}

/// Changes a post with a JSON merge patch (RFC 7396). Fields that are left out stay unchanged, and null removes a field.
#[utoipa::path(tag = "Status page", security(("token" = ["operator"])), request_body(content = Object, content_type = "application/json"))]
#[patch("/incidents/{id}/posts/{post}")]
async fn change_post(
    app: web::Data<App>,
    by: By,
    InPath((incident, id)): InPath<(IncidentId, PostId)>,
    body: Json<Value>,
) -> Answer<Json<Post>> {
    let changed = app
        .db
        .write(&by.0, move |tx| post::change(tx, &incident, &id, &body.0))
        .await?;
    Ok(Json(changed))
}

/// Takes a post back. The public reads it no more, and emails about it that were not sent yet are not sent.
#[utoipa::path(tag = "Status page", security(("token" = ["operator"])))]
#[delete("/incidents/{id}/posts/{post}")]
async fn delete_post(
    app: web::Data<App>,
    by: By,
    InPath((incident, id)): InPath<(IncidentId, PostId)>,
) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| posting::delete(tx, &incident, &id))
        .await?;
    Ok(NoContent)
}

/// Returns how many emails to subscribers a post has, by their state.
#[utoipa::path(tag = "Status page", security(("token" = ["viewer"])))]
#[get("/incidents/{id}/posts/{post}/emails")]
async fn count_emails(
    app: web::Data<App>,
    InPath((incident, id)): InPath<(IncidentId, PostId)>,
) -> Answer<Json<PostEmails>> {
    let emails = app
        .db
        .read(move |conn| {
            post::get(conn, &incident, &id)?;
            outbox::of_post(conn, &id)
        })
        .await?;
    Ok(Json(emails))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SubscriberParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only the subscription of this email address, in any spelling.
    address: Option<String>,
}

/// Returns the subscribers of the status page, in the order in which they first subscribed.
#[utoipa::path(tag = "Status page", security(("token" = ["viewer"])), params(SubscriberParams))]
#[get("/status-subscribers")]
async fn list_subscribers(
    app: web::Data<App>,
    params: Params<SubscriberParams>,
) -> Answer<Json<Page<Subscriber>>> {
    let SubscriberParams {
        limit,
        cursor: at,
        address,
    } = params.0;
    let after: Option<(Timestamp, i64)> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| subscriber::list(conn, address.as_deref(), after, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| (one.created_at, one.id))))
}

/// Returns how many subscribers the status page has.
#[utoipa::path(tag = "Status page", security(("token" = ["viewer"])))]
#[get("/status-subscribers/counts")]
async fn count_subscribers(app: web::Data<App>) -> Answer<Json<Counts>> {
    Ok(Json(app.db.read(subscriber::counts).await?))
}

/// Ends a subscription to the status page, and deletes the address.
#[utoipa::path(tag = "Status page", security(("token" = ["operator"])))]
#[delete("/status-subscribers/{id}")]
async fn end_subscription(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<SubscriberNumber>,
) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| {
            match subscribing::end(tx, id.0, EndReason::Operator)? {
                true => Ok(()),
                false => Err(Error::NotFound(format!("subscriber {}", id.0))),
            }
        })
        .await?;
    Ok(NoContent)
}
