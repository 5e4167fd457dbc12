//! The API for operators, who are our own people on call, and for their messages.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::base::error::Error;
use crate::base::id::{IncidentId, OperatorId};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Body, Params};
use crate::http::ids::own;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::{Answer, ProblemDocument};
use crate::operators::outbox::{self, Filter, STATES};
use crate::operators::{Message, NewOperator, Operator, OperatorPatch, contact};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    // The list of messages comes first, because `messages` is not an ID.
    config
        .service(messages)
        .service(create)
        .service(list)
        .service(get_one)
        .service(change)
        .service(delete_one);
}

fn operator_id(text: &str) -> Answer<OperatorId> {
    own("operator", OperatorId::parse(text))
}

/// Creates an operator.
#[utoipa::path(tag = "Operators", security(("token" = ["admin"])), request_body = NewOperator,
    responses((status = 201, body = Operator), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/operators")]
async fn create(app: web::Data<App>, by: By, body: Body<NewOperator>) -> Answer<HttpResponse> {
    let policy = app.callout_allow;
    let operator = app
        .db
        .write(&by.0, move |tx| contact::create(tx, body.0, policy))
        .await?;
    Ok(HttpResponse::Created().json(operator))
}

/// The answer with all operators.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = OperatorList)]
struct Operators {
    /// The operators, oldest first.
    items: Vec<Operator>,
    /// Always null, because all operators are on one page.
    next_cursor: Option<String>,
}

/// Returns all operators.
#[utoipa::path(tag = "Operators", security(("token" = ["viewer"])), responses((status = 200, body = Operators)))]
#[get("/operators")]
async fn list(app: web::Data<App>) -> Answer<HttpResponse> {
    let items = app.db.read(contact::list).await?;
    Ok(HttpResponse::Ok().json(Operators {
        items,
        next_cursor: None,
    }))
}

/// Returns an operator.
#[utoipa::path(tag = "Operators", security(("token" = ["viewer"])), responses((status = 200, body = Operator), (status = 404, body = ProblemDocument)))]
#[get("/operators/{id}")]
async fn get_one(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = operator_id(&id)?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| contact::get(conn, &id)).await?))
}

/// Changes an operator.
#[utoipa::path(tag = "Operators", security(("token" = ["admin"])), request_body = OperatorPatch,
    responses((status = 200, body = Operator), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[patch("/operators/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<OperatorPatch>,
) -> Answer<HttpResponse> {
    let id = operator_id(&id)?;
    let policy = app.callout_allow;
    let operator = app
        .db
        .write(&by.0, move |tx| contact::change(tx, &id, body.0, policy))
        .await?;
    Ok(HttpResponse::Ok().json(operator))
}

/// Deletes an operator. Messages that still wait are not sent.
#[utoipa::path(tag = "Operators", security(("token" = ["admin"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/operators/{id}")]
async fn delete_one(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = operator_id(&id)?;
    app.db.write(&by.0, move |tx| contact::delete(tx, &id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MessageParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only messages to this operator.
    operator: Option<OperatorId>,
    /// Only messages about this incident.
    incident: Option<IncidentId>,
    /// Only messages in this state: pending, sent or failed.
    state: Option<String>,
}

/// Returns the messages to operators, newest first.
#[utoipa::path(tag = "Operators", security(("token" = ["viewer"])), params(MessageParams),
    responses((status = 200, body = Page<Message>), (status = 422, body = ProblemDocument)))]
#[get("/operators/messages")]
async fn messages(app: web::Data<App>, params: Params<MessageParams>) -> Answer<HttpResponse> {
    let p = params.0;
    if let Some(state) = &p.state
        && !STATES.contains(&state.as_str())
    {
        return Err(Error::invalid("?state", format!("must be one of {}", STATES.join(", "))).into());
    }
    let before: Option<String> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    let filter = Filter {
        operator: p.operator,
        incident: p.incident,
        state: p.state,
    };
    let rows = app
        .db
        .read(move |conn| outbox::list(conn, &filter, before.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |message| message.id.to_string())))
}
