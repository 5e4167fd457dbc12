//! The API for HTTP checks and heartbeats, with which Candor itself monitors systems.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde_json::Value;

use crate::base::id::{CheckId, HeartbeatId};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Body, Params};
use crate::http::ids::own;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::{Answer, ProblemDocument};
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

fn check_id(text: &str) -> Answer<CheckId> {
    own("check", CheckId::parse(text))
}

fn heartbeat_id(text: &str) -> Answer<HeartbeatId> {
    own("heartbeat", HeartbeatId::parse(text))
}

/// Creates a check, which runs at once. After the set number of failures in a row it opens an incident, and
/// after the set number of successes its alert is resolved.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])), request_body = NewCheck,
    responses((status = 201, body = Check), (status = 422, body = ProblemDocument)))]
#[post("/checks")]
async fn create_check(app: web::Data<App>, by: By, body: Body<NewCheck>) -> Answer<HttpResponse> {
    let policy = app.check_allow;
    let made = app
        .db
        .write(&by.0, move |tx| check::create(tx, &body.0, policy))
        .await?;
    Ok(HttpResponse::Created().json(made))
}

/// Returns the checks, oldest first, each with its state and its last result.
#[utoipa::path(tag = "Watching", security(("token" = ["viewer"])), params(Paging), responses((status = 200, body = Page<Check>)))]
#[get("/checks")]
async fn list_checks(app: web::Data<App>, params: Params<Paging>) -> Answer<HttpResponse> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| check::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |one| one.id.to_string())))
}

/// Returns a check, even if it was deleted.
#[utoipa::path(tag = "Watching", security(("token" = ["viewer"])), responses((status = 200, body = Check), (status = 404, body = ProblemDocument)))]
#[get("/checks/{id}")]
async fn get_check(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = check_id(&id)?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| check::get(conn, &id)).await?))
}

/// Changes a check with a JSON merge patch (RFC 7396) of its settings. Fields that are left out stay
/// unchanged, and null removes a field.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])), request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Check), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[patch("/checks/{id}")]
async fn change_check(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<Value>,
) -> Answer<HttpResponse> {
    let (id, policy) = (check_id(&id)?, app.check_allow);
    let changed = app
        .db
        .write(&by.0, move |tx| check::change(tx, &id, &body.0, policy))
        .await?;
    Ok(HttpResponse::Ok().json(changed))
}

/// Deletes a check. Its alert is resolved.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/checks/{id}")]
async fn delete_check(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = check_id(&id)?;
    app.db.write(&by.0, move |tx| check::delete(tx, &id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Creates a heartbeat. Its URL is shown only once. A missing heartbeat counts only after the first one was
/// received.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])), request_body = NewHeartbeat,
    responses((status = 201, body = CreatedHeartbeat), (status = 422, body = ProblemDocument)))]
#[post("/heartbeats")]
async fn create_heartbeat(app: web::Data<App>, by: By, body: Body<NewHeartbeat>) -> Answer<HttpResponse> {
    let public_url = app.sending.public_url.clone();
    let made = app
        .db
        .write(&by.0, move |tx| heartbeat::create(tx, &body.0, &public_url))
        .await?;
    Ok(HttpResponse::Created().json(made))
}

/// Returns the heartbeats, oldest first, each with its state and the time of the last one received.
#[utoipa::path(tag = "Watching", security(("token" = ["viewer"])), params(Paging), responses((status = 200, body = Page<Heartbeat>)))]
#[get("/heartbeats")]
async fn list_heartbeats(app: web::Data<App>, params: Params<Paging>) -> Answer<HttpResponse> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| heartbeat::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |one| one.id.to_string())))
}

/// Returns a heartbeat, even if it was deleted.
#[utoipa::path(tag = "Watching", security(("token" = ["viewer"])), responses((status = 200, body = Heartbeat), (status = 404, body = ProblemDocument)))]
#[get("/heartbeats/{id}")]
async fn get_heartbeat(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = heartbeat_id(&id)?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| heartbeat::get(conn, &id)).await?))
}

/// Changes a heartbeat with a JSON merge patch (RFC 7396) of its settings. An active heartbeat gets a whole
/// period from now on.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])), request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Heartbeat), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[patch("/heartbeats/{id}")]
async fn change_heartbeat(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<Value>,
) -> Answer<HttpResponse> {
    let id = heartbeat_id(&id)?;
    let changed = app
        .db
        .write(&by.0, move |tx| heartbeat::change(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Ok().json(changed))
}

/// Deletes a heartbeat. Its URL answers with 404 from now on.
#[utoipa::path(tag = "Watching", security(("token" = ["admin"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/heartbeats/{id}")]
async fn delete_heartbeat(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = heartbeat_id(&id)?;
    app.db.write(&by.0, move |tx| heartbeat::delete(tx, &id)).await?;
    Ok(HttpResponse::NoContent().finish())
}
