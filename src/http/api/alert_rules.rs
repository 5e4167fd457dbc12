//! The API for alert rules, which have an order.

use actix_web::{HttpResponse, delete, get, post, put, web};
use serde::Deserialize;

use crate::alert::grouping::{self, AlertRule, NewAlertRule};
use crate::alert::matcher;
use crate::base::id::AlertRuleId;
use crate::http::App;
use crate::http::answer::{Created, Declared, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(create)
        .service(list)
        .service(order)
        .service(get_one)
        .service(replace)
        .service(delete_one);
}

/// Creates a rule as the last one. The first rule that an alert matches decides about it.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])))]
#[post("/alert-rules")]
async fn create(app: web::Data<App>, by: By, body: Json<NewAlertRule>) -> Answer<Created<AlertRule>> {
    matcher::compile_ahead(&body.0.matchers).await;
    let made = app
        .db
        .write(&by.0, move |tx| grouping::create(tx, &body.0))
        .await?;
    Ok(Created(made))
}

/// Returns the rules in their order.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])), params(Paging))]
#[get("/alert-rules")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<AlertRule>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| grouping::list(conn, after, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |rule| rule.position)))
}

/// The new order of the alert rules.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct AlertRuleOrder {
    /// The IDs of all rules, in their new order.
    rules: Vec<AlertRuleId>,
}

/// Changes the order of the rules and returns them.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])), responses((status = 200, body = Vec<AlertRule>)))]
#[post("/alert-rules/order")]
async fn order(app: web::Data<App>, by: By, body: Json<AlertRuleOrder>) -> Answer<Declared> {
    let rules = app
        .db
        .write(&by.0, move |tx| grouping::order(tx, &body.0.rules))
        .await?;
    Ok(Declared(HttpResponse::Ok().json(rules)))
}

/// Returns a rule, even if it was deleted.
#[utoipa::path(tag = "Alerts", security(("token" = ["viewer"])))]
#[get("/alert-rules/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<AlertRuleId>) -> Answer<Json<AlertRule>> {
    Ok(Json(app.db.read(move |conn| grouping::get(conn, &id)).await?))
}

/// Replaces a rule. The new rule has the same position, and its groups keep their incidents.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])))]
#[put("/alert-rules/{id}")]
async fn replace(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<AlertRuleId>,
    body: Json<NewAlertRule>,
) -> Answer<Json<AlertRule>> {
    matcher::compile_ahead(&body.0.matchers).await;
    let rule = app
        .db
        .write(&by.0, move |tx| grouping::replace(tx, &id, &body.0))
        .await?;
    Ok(Json(rule))
}

/// Deletes a rule. Alerts that it has placed stay in their incidents.
#[utoipa::path(tag = "Alerts", security(("token" = ["admin"])))]
#[delete("/alert-rules/{id}")]
async fn delete_one(app: web::Data<App>, by: By, InPath(id): InPath<AlertRuleId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| grouping::delete(tx, &id)).await?;
    Ok(NoContent)
}
