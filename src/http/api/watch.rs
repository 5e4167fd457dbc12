//! The API for HTTP checks and heartbeats, with which Candor itself monitors systems.

use actix_web::{delete, get, patch, post, web};
use serde_json::Value;

use crate::base::id::{CheckId, HeartbeatId};
use crate::http::App;
use crate::http::answer::{Created, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::Answer;
use crate::watch::check::{self, Check, NewCheck};
use crate::watch::heartbeat::{self, CreatedHeartbeat, Heartbeat, NewHeartbeat};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(create_check)
        .service(list_checks)
        .service(get_check)
        .service(change_check)
        .service(delete_check)
        .service(create_heartbeat)
        .service(list_heartbeats)
        .service(get_heartbeat)
        .service(change_heartbeat)
        .service(delete_heartbeat);
}

/// Creates a check, which runs at once. After the set number of failures in a row it opens an incident, and
/// after the set number of successes its alert is resolved.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])))]
#[post("/checks")]
async fn create_check(app: web::Data<App>, by: By, body: Json<NewCheck>) -> Answer<Created<Check>> {
    let policy = app.check_allow;
    let made = app
        .db
        .write(&by.0, move |tx| check::create(tx, &body.0, policy))
        .await?;
    Ok(Created(made))
}

/// Returns the checks, oldest first, each with its state and its last result.
#[utoipa::path(tag = "Watching", security(("token" = ["viewer"])), params(Paging))]
#[get("/checks")]
async fn list_checks(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<Check>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| check::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.id.to_string())))
}

/// Returns a check, even if it was deleted.
#[utoipa::path(tag = "Watching", security(("token" = ["viewer"])))]
#[get("/checks/{id}")]
async fn get_check(app: web::Data<App>, InPath(id): InPath<CheckId>) -> Answer<Json<Check>> {
    Ok(Json(app.db.read(move |conn| check::get(conn, &id)).await?))
}

/// Changes a check with a JSON merge patch (RFC 7396) of its settings. Fields that are left out stay
/// unchanged, and null removes a field.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])), request_body(content = Object, content_type = "application/json"))]
#[patch("/checks/{id}")]
async fn change_check(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<CheckId>,
    body: Json<Value>,
) -> Answer<Json<Check>> {
    let policy = app.check_allow;
    let changed = app
        .db
        .write(&by.0, move |tx| check::change(tx, &id, &body.0, policy))
        .await?;
    Ok(Json(changed))
}

/// Deletes a check. Its alert is resolved.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])))]
#[delete("/checks/{id}")]
async fn delete_check(app: web::Data<App>, by: By, InPath(id): InPath<CheckId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| check::delete(tx, &id)).await?;
    Ok(NoContent)
}

/// Creates a heartbeat. Its URL is shown only once. A missing heartbeat counts only after the first one was
/// received.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])))]
#[post("/heartbeats")]
async fn create_heartbeat(
    app: web::Data<App>,
    by: By,
    body: Json<NewHeartbeat>,
) -> Answer<Created<CreatedHeartbeat>> {
    let public_url = app.sending.public_url.clone();
    let made = app
        .db
        .write(&by.0, move |tx| heartbeat::create(tx, &body.0, &public_url))
        .await?;
    Ok(Created(made))
}

/// Returns the heartbeats, oldest first, each with its state and the time of the last one received.
#[utoipa::path(tag = "Watching", security(("token" = ["viewer"])), params(Paging))]
#[get("/heartbeats")]
async fn list_heartbeats(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<Heartbeat>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| heartbeat::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.id.to_string())))
}

/// Returns a heartbeat, even if it was deleted.
#[utoipa::path(tag = "Watching", security(("token" = ["viewer"])))]
#[get("/heartbeats/{id}")]
async fn get_heartbeat(app: web::Data<App>, InPath(id): InPath<HeartbeatId>) -> Answer<Json<Heartbeat>> {
    Ok(Json(app.db.read(move |conn| heartbeat::get(conn, &id)).await?))
}

/// Changes a heartbeat with a JSON merge patch (RFC 7396) of its settings. An active heartbeat gets a whole
/// period from now on.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])), request_body(content = Object, content_type = "application/json"))]
#[patch("/heartbeats/{id}")]
async fn change_heartbeat(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<HeartbeatId>,
    body: Json<Value>,
) -> Answer<Json<Heartbeat>> {
    let changed = app
        .db
        .write(&by.0, move |tx| heartbeat::change(tx, &id, &body.0))
        .await?;
    Ok(Json(changed))
}

/// Deletes a heartbeat. Its URL answers with 404 from now on.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])))]
#[delete("/heartbeats/{id}")]
async fn delete_heartbeat(app: web::Data<App>, by: By, InPath(id): InPath<HeartbeatId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| heartbeat::delete(tx, &id)).await?;
    Ok(NoContent)
}
