//! The API for silences and maintenance windows.

use actix_web::{get, post, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::alert::matcher;
use crate::alert::mute::{self, Kind, Mute, MuteState, NewSilence, NewWindow, Silence, Window};
use crate::base::id::MuteId;
use crate::http::App;
use crate::http::answer::Created;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::{InPath, SilenceId, WindowId};
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(silence)
        .service(silences)
        .service(one_silence)
        .service(end_silence)
        .service(open_window)
        .service(windows)
        .service(one_window)
        .service(end_window);
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MuteParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only those in this state: pending, active or ended.
    state: Option<MuteState>,
}

async fn rows(app: &App, kind: Kind, params: MuteParams) -> Answer<(Vec<Mute>, Option<String>)> {
    let before: Option<String> = cursor(params.cursor.as_deref())?;
    let (limit, now) = (params.limit, app.clock().now());
    let rows = app
        .db
        .read(move |conn| mute::list(conn, kind, params.state, now, before.as_deref(), limit.probe()))
        .await?;
    let Page { items, next_cursor } = page(rows, limit, Mute::id);
    Ok((items, next_cursor))
}

async fn one(app: &App, kind: Kind, id: MuteId) -> Answer<Mute> {
    Ok(app.db.read(move |conn| mute::get(conn, kind, &id)).await?)
}

async fn end(app: &App, by: By, kind: Kind, id: MuteId) -> Answer<Mute> {
    Ok(app.db.write(&by.0, move |tx| mute::end(tx, kind, &id)).await?)
}

/// Creates a silence. Alerts that match it are recorded, and open or join no incident.
#[utoipa::path(tag = "Alerts", security(("token" = ["operator"])))]
#[post("/silences")]
async fn silence(app: web::Data<App>, by: By, body: Json<NewSilence>) -> Answer<Created<Silence>> {
    matcher::compile_ahead(&body.0.matchers).await;
    let made = app.db.write(&by.0, move |tx| mute::silence(tx, &body.0)).await?;
    Ok(Created(made.silence(app.clock().now())))
}

/// Returns the silences, newest first, including ended ones.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(MuteParams))]
#[get("/silences")]
async fn silences(app: web::Data<App>, params: Params<MuteParams>) -> Answer<Json<Page<Silence>>> {
    let now = app.clock().now();
    let (rows, next_cursor) = rows(&app, Kind::Silence, params.0).await?;
    let items: Vec<Silence> = rows.into_iter().map(|one| one.silence(now)).collect();
    Ok(Json(Page { items, next_cursor }))
}

/// Returns a silence.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])))]
#[get("/silences/{id}")]
async fn one_silence(app: web::Data<App>, InPath(id): InPath<SilenceId>) -> Answer<Json<Silence>> {
    let found = one(&app, Kind::Silence, id.0).await?;
    Ok(Json(found.silence(app.clock().now())))
}

/// Ends a silence early. An alert that still fires opens an incident with its next repeat.
#[utoipa::path(tag = "Alerts", security(("token" = ["operator"])))]
#[post("/silences/{id}/end")]
async fn end_silence(app: web::Data<App>, by: By, InPath(id): InPath<SilenceId>) -> Answer<Json<Silence>> {
    let ended = end(&app, by, Kind::Silence, id.0).await?;
    Ok(Json(ended.silence(app.clock().now())))
}

/// Creates a maintenance window. Alerts that match it join an incident that is already open, and open none.
#[utoipa::path(tag = "Alerts", security(("token" = ["operator"])))]
#[post("/maintenance-windows")]
async fn open_window(app: web::Data<App>, by: By, body: Json<NewWindow>) -> Answer<Created<Window>> {
    matcher::compile_ahead(&body.0.matchers).await;
    let made = app
        .db
        .write(&by.0, move |tx| mute::open_window(tx, &body.0))
        .await?;
    Ok(Created(made.window(app.clock().now())))
}

/// Returns the maintenance windows, newest first, including ended ones.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(MuteParams))]
#[get("/maintenance-windows")]
async fn windows(app: web::Data<App>, params: Params<MuteParams>) -> Answer<Json<Page<Window>>> {
    let now = app.clock().now();
    let (rows, next_cursor) = rows(&app, Kind::Maintenance, params.0).await?;
    let items: Vec<Window> = rows.into_iter().map(|one| one.window(now)).collect();
    Ok(Json(Page { items, next_cursor }))
}

/// Returns a maintenance window.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])))]
#[get("/maintenance-windows/{id}")]
async fn one_window(app: web::Data<App>, InPath(id): InPath<WindowId>) -> Answer<Json<Window>> {
    let found = one(&app, Kind::Maintenance, id.0).await?;
    Ok(Json(found.window(app.clock().now())))
}

/// Ends a maintenance window early.
#[utoipa::path(tag = "Alerts", security(("token" = ["operator"])))]
#[post("/maintenance-windows/{id}/end")]
async fn end_window(app: web::Data<App>, by: By, InPath(id): InPath<WindowId>) -> Answer<Json<Window>> {
    let ended = end(&app, by, Kind::Maintenance, id.0).await?;
    Ok(Json(ended.window(app.clock().now())))
}
