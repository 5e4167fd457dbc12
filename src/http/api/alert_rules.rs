//! The API for alert rules, which have an order.

use actix_web::{HttpResponse, delete, get, post, put, web};
use serde::Deserialize;

use crate::alert::grouping::{self, AlertRule, NewAlertRule};
use crate::alert::matcher;
use crate::base::id::AlertRuleId;
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Body, Params};
use crate::http::ids::own;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::{Answer, ProblemDocument};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(create)
        .service(list)
        .service(order)
        .service(get_one)
        .service(replace)
        .service(delete_one);
}

fn rule_id(text: &str) -> Answer<AlertRuleId> {
    own("rule", AlertRuleId::parse(text))
}

/// Creates a rule as the last one. The first rule that an alert matches decides about it.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])), request_body = NewAlertRule,
    responses((status = 201, body = AlertRule), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/alert-rules")]
async fn create(app: web::Data<App>, by: By, body: Body<NewAlertRule>) -> Answer<HttpResponse> {
    matcher::compile_ahead(&body.0.matchers).await;
    let made = app
        .db
        .write(&by.0, move |tx| grouping::create(tx, &body.0))
        .await?;
    Ok(HttpResponse::Created().json(made))
}

/// Returns the rules in their order.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(Paging), responses((status = 200, body = Page<AlertRule>)))]
#[get("/alert-rules")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<HttpResponse> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| grouping::list(conn, after, limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |rule| rule.position)))
}

/// The new order of the alert rules.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct AlertRuleOrder {
    /// The IDs of all rules, in their new order.
    rules: Vec<AlertRuleId>,
}

/// Changes the order of the rules and returns them.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])), request_body = AlertRuleOrder,
    responses((status = 200, body = Vec<AlertRule>), (status = 422, body = ProblemDocument)))]
#[post("/alert-rules/order")]
async fn order(app: web::Data<App>, by: By, body: Body<AlertRuleOrder>) -> Answer<HttpResponse> {
    let rules = app
        .db
        .write(&by.0, move |tx| grouping::order(tx, &body.0.rules))
        .await?;
    Ok(HttpResponse::Ok().json(rules))
}

/// Returns a rule, even if it was deleted.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), responses((status = 200, body = AlertRule), (status = 404, body = ProblemDocument)))]
#[get("/alert-rules/{id}")]
async fn get_one(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = rule_id(&id)?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| grouping::get(conn, &id)).await?))
}

/// Replaces a rule. The new rule has the same position, and its groups keep their incidents.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])), request_body = NewAlertRule,
    responses((status = 200, body = AlertRule), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[put("/alert-rules/{id}")]
async fn replace(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<NewAlertRule>,
) -> Answer<HttpResponse> {
    let id = rule_id(&id)?;
    matcher::compile_ahead(&body.0.matchers).await;
    let rule = app
        .db
        .write(&by.0, move |tx| grouping::replace(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Ok().json(rule))
}

/// Deletes a rule. Alerts that it has placed stay in their incidents.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/alert-rules/{id}")]
async fn delete_one(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = rule_id(&id)?;
    app.db.write(&by.0, move |tx| grouping::delete(tx, &id)).await?;
    Ok(HttpResponse::NoContent().finish())
}
