//! The API for operators, who are our own people on call, and for their messages.

use actix_web::{delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::base::error::Error;
use crate::base::id::{IncidentId, OperatorId};
use crate::http::App;
use crate::http::answer::{Accepted, Created, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::operators::outbox::{self, Filter, STATES};
use crate::operators::test_message::Tested;
use crate::operators::{Message, NewOperator, Operator, OperatorPatch, contact, test_message};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    // The list of messages comes first, because `messages` is not an ID.
    config
        .service(messages)
        .service(create)
        .service(list)
        .service(get_one)
        .service(change)
        .service(delete_one)
        .service(test);
}

/// Creates an operator.
#[utoipa::path(tag = "Operators", security(("token" = ["admin"])))]
#[post("/operators")]
async fn create(app: web::Data<App>, by: By, body: Json<NewOperator>) -> Answer<Created<Operator>> {
    let policy = app.callout_allow;
    let operator = app
        .db
        .write(&by.0, move |tx| contact::create(tx, body.0, policy))
        .await?;
    Ok(Created(operator))
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
#[utoipa::path(tag = "Operators", security(("token" = ["viewer"])))]
#[get("/operators")]
async fn list(app: web::Data<App>) -> Answer<Json<Operators>> {
    let items = app.db.read(contact::list).await?;
    Ok(Json(Operators {
        items,
        next_cursor: None,
    }))
}

/// Returns an operator.
#[utoipa::path(tag = "Operators", security(("token" = ["viewer"])))]
#[get("/operators/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<OperatorId>) -> Answer<Json<Operator>> {
    Ok(Json(app.db.read(move |conn| contact::get(conn, &id)).await?))
}

/// Changes an operator.
#[utoipa::path(tag = "Operators", security(("token" = ["admin"])))]
#[patch("/operators/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<OperatorId>,
    body: Json<OperatorPatch>,
) -> Answer<Json<Operator>> {
    let policy = app.callout_allow;
    let operator = app
        .db
        .write(&by.0, move |tx| contact::change(tx, &id, body.0, policy))
        .await?;
    Ok(Json(operator))
}

/// Deletes an operator. Messages that still wait are not sent.
#[utoipa::path(tag = "Operators", security(("token" = ["admin"])))]
#[delete("/operators/{id}")]
async fn delete_one(app: web::Data<App>, by: By, InPath(id): InPath<OperatorId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| contact::delete(tx, &id)).await?;
    Ok(NoContent)
}

/// Sends a test message to every channel of an operator. The list of messages shows what becomes of it.
#[utoipa::path(tag = "Operators", security(("token" = ["admin"])))]
#[post("/operators/{id}/test")]
async fn test(app: web::Data<App>, by: By, InPath(id): InPath<OperatorId>) -> Answer<Accepted<Tested>> {
    let tested = app.db.write(&by.0, move |tx| test_message::test(tx, &id)).await?;
    Ok(Accepted(tested))
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
#[utoipa::path(tag = "Operators", security(("token" = ["viewer"])), params(MessageParams))]
#[get("/operators/messages")]
async fn messages(app: web::Data<App>, params: Params<MessageParams>) -> Answer<Json<Page<Message>>> {
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
    Ok(Json(page(rows, limit, |message| message.id.to_string())))
}
