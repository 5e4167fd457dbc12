//! The API for integrations and their alerts.

use actix_web::{delete, get, patch, post, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::alert::intake::Taken;
use crate::alert::integration::{self, CreatedIntegration, Integration, NewIntegration};
use crate::alert::integration_change::{self, IntegrationPatch};
use crate::alert::saved_requests::{self, HookRequest};
use crate::alert::trial::{self, Trial, Understood};
use crate::alert::{self, AlertView, Status, rules};
use crate::base::id::{IncidentId, IntegrationId};
use crate::http::App;
use crate::http::answer::{Accepted, Created, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::{BodyNumber, InPath};
use crate::http::page::{Limit, Page, Paging, cursor, page, page_until};
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(create)
        .service(list)
        .service(get_one)
        .service(change)
        .service(delete_one)
        .service(requests)
        .service(bodies)
        .service(replay)
        .service(try_body)
        .service(list_alerts);
}

/// Creates an integration. Its `hook_url` is shown only once.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])))]
#[post("/integrations")]
async fn create(
    app: web::Data<App>,
    by: By,
    body: Json<NewIntegration>,
) -> Answer<Created<CreatedIntegration>> {
    let public_url = app.sending.public_url.clone();
    rules::compile_ahead(&body.0.resource_rules).await;
    let created = app
        .db
        .write(&by.0, move |tx| integration::create(tx, &body.0, &public_url))
        .await?;
    Ok(Created(created))
}

/// Returns the integrations, oldest first.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(Paging))]
#[get("/integrations")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<Integration>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| integration::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |integration| integration.id.to_string())))
}

/// Returns an integration, even if it was ended.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])))]
#[get("/integrations/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<IntegrationId>) -> Answer<Json<Integration>> {
    Ok(Json(app.db.read(move |conn| integration::get(conn, &id)).await?))
}

/// Changes an integration. Fields that are left out stay unchanged. To replace a secret, add the new one,
/// make the sender use it, and then remove the old one.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])))]
#[patch("/integrations/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IntegrationId>,
    body: Json<IntegrationPatch>,
) -> Answer<Json<Integration>> {
    rules::compile_ahead(body.0.resource_rules.as_deref().unwrap_or_default()).await;
    let changed = app
        .db
        .write(&by.0, move |tx| integration_change::change(tx, &id, &body.0))
        .await?;
    Ok(Json(changed))
}

/// Ends an integration. Its URL answers with 404 from now on.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])))]
#[delete("/integrations/{id}")]
async fn delete_one(app: web::Data<App>, by: By, InPath(id): InPath<IntegrationId>) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| integration::delete(tx, &id))
        .await?;
    Ok(NoContent)
}

/// Returns the last 100 requests, newest first, with how they were sent and their result. Requests that could
/// not be parsed are included.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(Paging))]
#[get("/integrations/{id}/bodies")]
async fn bodies(
    app: web::Data<App>,
    InPath(id): InPath<IntegrationId>,
    params: Params<Paging>,
) -> Answer<Json<Page<HookRequest>>> {
    last(&app, id, params.0).await
}

async fn last(app: &App, id: IntegrationId, params: Paging) -> Answer<Json<Page<HookRequest>>> {
    let Paging { limit, cursor: at } = params;
    let before: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| saved_requests::list(conn, &id, before, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |request| request.id)))
}

/// Replays a saved request, as if it arrived now.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])))]
#[post("/integrations/{id}/bodies/{body}/replay")]
async fn replay(
    app: web::Data<App>,
    by: By,
    InPath((id, body)): InPath<(IntegrationId, BodyNumber)>,
) -> Answer<Accepted<Taken>> {
    let taken = trial::replay(&app.conditions, &by.0, &id, body.0).await?;
    Ok(Accepted(taken))
}

/// Shows what would happen with a request: its alerts, the resources that they name, the rule, silence or
/// maintenance window of each alert, and the incident that it would open or join. Nothing is stored.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])))]
#[post("/integrations/{id}/try")]
async fn try_body(
    app: web::Data<App>,
    InPath(id): InPath<IntegrationId>,
    body: Json<Trial>,
) -> Answer<Json<Understood>> {
    let now = app.clock().now();
    let understood = app
        .db
        .read(move |conn| trial::read(conn, &id, &body.0, now))
        .await?;
    Ok(Json(understood))
}

/// Returns the same as `bodies`. This is its older name.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(Paging))]
#[get("/integrations/{id}/requests")]
async fn requests(
    app: web::Data<App>,
    InPath(id): InPath<IntegrationId>,
    params: Params<Paging>,
) -> Answer<Json<Page<HookRequest>>> {
    last(&app, id, params.0).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AlertParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only alerts of this integration.
    integration: Option<IntegrationId>,
    /// Only alerts of this incident.
    incident: Option<IncidentId>,
    /// Only alerts with this status, which is firing or resolved.
    status: Option<Status>,
    /// Only alerts with this severity, in the words of their source.
    severity: Option<String>,
    /// Only alerts whose title contains this text.
    title: Option<String>,
}

/// Returns the alerts, newest first. With `severity` or `title`, a page can have fewer rows than `limit` although there are
/// more: follow `next_cursor` until it is null.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(AlertParams))]
#[get("/alerts")]
async fn list_alerts(app: web::Data<App>, params: Params<AlertParams>) -> Answer<Json<Page<AlertView>>> {
    let p = params.0;
    let before: Option<String> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    let now = app.clock().now();
    let filter = alert::Filter {
        integration: p.integration,
        incident: p.incident,
        status: p.status,
        severity: p.severity,
        title: p.title,
    };
    let (items, next) = app
        .db
        .read(move |conn| alert::search(conn, &filter, before.as_deref(), limit.0, now))
        .await?;
    Ok(Json(page_until(items, next.as_ref())))
}
