//! The API for integrations and their alerts.

use actix_web::{HttpResponse, delete, get, patch, post, web};
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
use crate::http::auth::By;
use crate::http::extract::{Body, Params};
use crate::http::ids::own;
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::{Answer, ProblemDocument};

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
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])), request_body = NewIntegration,
    responses((status = 201, body = CreatedIntegration), (status = 422, body = ProblemDocument)))]
#[post("/integrations")]
async fn create(app: web::Data<App>, by: By, body: Body<NewIntegration>) -> Answer<HttpResponse> {
    let public_url = app.sending.public_url.clone();
    rules::compile_ahead(&body.0.resource_rules).await;
    let created = app
        .db
        .write(&by.0, move |tx| integration::create(tx, &body.0, &public_url))
        .await?;
    Ok(HttpResponse::Created().json(created))
}

/// Returns the integrations, oldest first.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(Paging), responses((status = 200, body = Page<Integration>)))]
#[get("/integrations")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<HttpResponse> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| integration::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |integration| integration.id.to_string())))
}

/// Returns an integration, even if it was ended.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), responses((status = 200, body = Integration), (status = 404, body = ProblemDocument)))]
#[get("/integrations/{id}")]
async fn get_one(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = own("integration", IntegrationId::parse(&id))?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| integration::get(conn, &id)).await?))
}

/// Changes an integration. Fields that are left out stay unchanged. To replace a secret, add the new one,
/// make the sender use it, and then remove the old one.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])), request_body = IntegrationPatch,
    responses((status = 200, body = Integration), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
#[patch("/integrations/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<IntegrationPatch>,
) -> Answer<HttpResponse> {
    let id = own("integration", IntegrationId::parse(&id))?;
    rules::compile_ahead(body.0.resource_rules.as_deref().unwrap_or_default()).await;
    let changed = app
        .db
        .write(&by.0, move |tx| integration_change::change(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Ok().json(changed))
}

/// Ends an integration. Its URL answers with 404 from now on.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/integrations/{id}")]
async fn delete_one(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = own("integration", IntegrationId::parse(&id))?;
    app.db
        .write(&by.0, move |tx| integration::delete(tx, &id))
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Returns the last 100 requests, newest first, with how they were sent and their result. Requests that could
/// not be parsed are included.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(Paging),
    responses((status = 200, body = Page<HookRequest>), (status = 404, body = ProblemDocument)))]
#[get("/integrations/{id}/bodies")]
async fn bodies(app: web::Data<App>, id: web::Path<String>, params: Params<Paging>) -> Answer<HttpResponse> {
    last(&app, &id, params.0).await
}

async fn last(app: &App, id: &str, params: Paging) -> Answer<HttpResponse> {
    let id = own("integration", IntegrationId::parse(id))?;
    let Paging { limit, cursor: at } = params;
    let before: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| saved_requests::list(conn, &id, before, limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |request| request.id)))
}

/// Replays a saved request, as if it arrived now.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])),
    responses((status = 202, body = Taken), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
#[post("/integrations/{id}/bodies/{body}/replay")]
async fn replay(app: web::Data<App>, by: By, path: web::Path<(String, String)>) -> Answer<HttpResponse> {
    let (id, body) = path.into_inner();
    let id = own("integration", IntegrationId::parse(&id))?;
    let body: i64 = own("body", body.parse().map_err(|_| "is not a number".to_owned()))?;
    let taken = trial::replay(&app.conditions, &by.0, &id, body).await?;
    Ok(HttpResponse::Accepted().json(taken))
}

/// Shows what would happen with a request: its alerts, the resources that they name, the rule, silence or
/// maintenance window of each alert, and the incident that it would open or join. Nothing is stored.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])), request_body = Trial,
    responses((status = 200, body = Understood), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/integrations/{id}/try")]
async fn try_body(app: web::Data<App>, id: web::Path<String>, body: Body<Trial>) -> Answer<HttpResponse> {
    let id = own("integration", IntegrationId::parse(&id))?;
    let now = app.clock().now();
    let understood = app
        .db
        .read(move |conn| trial::read(conn, &id, &body.0, now))
        .await?;
    Ok(HttpResponse::Ok().json(understood))
}

/// Returns the same as `bodies`. This is its older name.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(Paging),
    responses((status = 200, body = Page<HookRequest>), (status = 404, body = ProblemDocument)))]
#[get("/integrations/{id}/requests")]
async fn requests(
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<Paging>,
) -> Answer<HttpResponse> {
    last(&app, &id, params.0).await
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
}

/// Returns the alerts, newest first.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(AlertParams),
    responses((status = 200, body = Page<AlertView>), (status = 404, body = ProblemDocument)))]
#[get("/alerts")]
async fn list_alerts(app: web::Data<App>, params: Params<AlertParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let before: Option<String> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    let now = app.clock().now();
    let rows = app
        .db
        .read(move |conn| {
            let (integration, incident) = (p.integration.as_ref(), p.incident.as_ref());
            alert::list(
                conn,
                integration,
                incident,
                p.status,
                before.as_deref(),
                limit.probe(),
                now,
            )
        })
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |alert| alert.id.to_string())))
}
