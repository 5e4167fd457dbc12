//! The API for planned maintenance, which customers hear of by notices. It is neither an incident nor a maintenance window, which keeps
//! alerts from opening incidents.

use actix_web::{get, patch, post, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::App;
use crate::http::answer::Created;
use crate::http::auth::By;
use crate::http::extract::{Json, OptionalJson, Params};
use crate::http::ids::{InPath, MaintenanceId};
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::Answer;
use crate::incident::affected::{self, Affected};
use crate::maintenance::{
    self, Cancel, ChangeAffected, Maintenance, MaintenanceState, Move, NewMaintenance, Said,
};
use crate::notice::planned::{self, PlannedMaintenance};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(plan)
        .service(list)
        .service(get_one)
        .service(list_affected)
        .service(change)
        .service(reschedule)
        .service(cancel)
        .service(begin)
        .service(finish)
        .service(say);
}

/// Plans a maintenance, and drafts its announcement to the affected customers. Nothing is sent before the draft is sent.
#[utoipa::path(tag = "Maintenance", security(("token" = ["operator"])))]
#[post("/maintenances")]
async fn plan(
    app: web::Data<App>,
    by: By,
    body: Json<NewMaintenance>,
) -> Answer<Created<PlannedMaintenance>> {
    let planned = app.db.write(&by.0, move |tx| planned::plan(tx, &body.0)).await?;
    Ok(Created(planned))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MaintenanceParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only those in this state.
    state: Option<MaintenanceState>,
}

/// Returns the planned maintenances, the last one that was planned first.
#[utoipa::path(tag = "Maintenance", security(("token" = ["viewer"])), params(MaintenanceParams))]
#[get("/maintenances")]
async fn list(app: web::Data<App>, params: Params<MaintenanceParams>) -> Answer<Json<Page<Maintenance>>> {
    let MaintenanceParams {
        limit,
        cursor: at,
        state,
    } = params.0;
    let below: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| maintenance::list(conn, state, below, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.number)))
}

/// Returns a planned maintenance with its notices.
#[utoipa::path(tag = "Maintenance", security(("token" = ["viewer"])))]
#[get("/maintenances/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<MaintenanceId>) -> Answer<Json<PlannedMaintenance>> {
    Ok(Json(app.db.read(move |conn| planned::read(conn, &id.0)).await?))
}

/// Returns the resources that a planned maintenance affects.
#[utoipa::path(tag = "Maintenance", security(("token" = ["viewer"])), params(Paging))]
#[get("/maintenances/{id}/affected")]
async fn list_affected(
    app: web::Data<App>,
    params: Params<Paging>,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<Json<Page<Affected>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| {
            maintenance::get(conn, &id.0)?;
            affected::list(conn, &id.0, None, after, limit.probe())
        })
        .await?;
    Ok(Json(page(rows, limit, |one| one.key)))
}

/// Changes what a planned maintenance affects: its resources, and its components of the status page. Nobody is notified. A later notice goes to
/// whoever is affected then, and to everybody who was notified before.
#[utoipa::path(tag = "Maintenance", security(("token" = ["operator"])))]
#[patch("/maintenances/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<MaintenanceId>,
    body: Json<ChangeAffected>,
) -> Answer<Json<PlannedMaintenance>> {
    let changed = app
        .db
        .write(&by.0, move |tx| planned::change_affected(tx, &id.0, &body.0))
        .await?;
    Ok(Json(changed))
}

/// Gives a planned maintenance other times, and drafts a notice to the affected customers and to those who were notified before. An earlier draft
/// is discarded.
#[utoipa::path(tag = "Maintenance", security(("token" = ["operator"])))]
#[post("/maintenances/{id}/move")]
async fn reschedule(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<MaintenanceId>,
    body: Json<Move>,
) -> Answer<Json<PlannedMaintenance>> {
    let moved = app
        .db
        .write(&by.0, move |tx| planned::reschedule(tx, &id.0, &body.0))
        .await?;
    Ok(Json(moved))
}

/// Cancels a planned maintenance. If anybody was notified of it, a notice that says so is drafted. An earlier draft is discarded.
#[utoipa::path(tag = "Maintenance", security(("token" = ["operator"])), request_body(content = Option<Cancel>, content_type = "application/json"))]
#[post("/maintenances/{id}/cancel")]
async fn cancel(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<MaintenanceId>,
    body: OptionalJson<Cancel>,
) -> Answer<Json<PlannedMaintenance>> {
    let cancelled = app
        .db
        .write(&by.0, move |tx| planned::cancel(tx, &id.0, &body.0))
        .await?;
    Ok(Json(cancelled))
}

/// Begins a planned maintenance before its time. At its time, it begins by itself. Nobody is notified.
#[utoipa::path(tag = "Maintenance", security(("token" = ["operator"])))]
#[post("/maintenances/{id}/begin")]
async fn begin(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<Json<PlannedMaintenance>> {
    Ok(Json(
        app.db.write(&by.0, move |tx| planned::begin(tx, &id.0)).await?,
    ))
}

/// Ends a planned maintenance before its time. At its time, it ends by itself. Nobody is notified.
#[utoipa::path(tag = "Maintenance", security(("token" = ["operator"])))]
#[post("/maintenances/{id}/finish")]
async fn finish(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<MaintenanceId>,
) -> Answer<Json<PlannedMaintenance>> {
    Ok(Json(
        app.db.write(&by.0, move |tx| planned::finish(tx, &id.0)).await?,
    ))
}

/// Drafts a notice that says what is true of a planned maintenance now: that it is planned, was moved or cancelled, has begun, or is over. An
/// earlier draft is discarded.
#[utoipa::path(tag = "Maintenance", security(("token" = ["operator"])))]
#[post("/maintenances/{id}/notices")]
async fn say(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<MaintenanceId>,
    body: Json<Said>,
) -> Answer<Created<PlannedMaintenance>> {
    let drafted = app
        .db
        .write(&by.0, move |tx| planned::say(tx, &id.0, &body.0))
        .await?;
    Ok(Created(drafted))
}
