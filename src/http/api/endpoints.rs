//! The API for endpoints, through which systems of an account get the notices to its people.

use actix_web::{delete, get, post, web};
use serde::Serialize;

use crate::audit::Actor;
use crate::base::error::{Error, Result};
use crate::base::id::{EndpointId, ExternalId, new_uuid};
use crate::delivery::Outcome;
use crate::delivery::calling::{Call, MAX_PATIENCE, url_and_secret};
use crate::directory::endpoint::{self, CheckedUrl, CreatedEndpoint, Endpoint, NewEndpoint};
use crate::http::App;
use crate::http::answer::{Created, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::Answer;
use crate::notice::payload::{self, PayloadAccount};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(create)
        .service(list)
        .service(get_one)
        .service(delete_one)
        .service(enable)
        .service(test);
}

/// Creates an endpoint of an account. Its secret is shown only once.
#[utoipa::path(tag = "Endpoints", security(("token" = ["operator"])))]
#[post("/accounts/{account}/endpoints")]
async fn create(
    app: web::Data<App>,
    by: By,
    InPath(account): InPath<ExternalId>,
    body: Json<NewEndpoint>,
) -> Answer<Created<CreatedEndpoint>> {
    Ok(Created(created(&app, &by.0, account, body.0).await?))
}

/// Creates an endpoint whose URL its channel has checked.
///
/// # Errors
/// `Invalid` if the channel or the URL is wrong, and the errors of [`endpoint::create`].
pub async fn created(
    app: &App,
    by: &Actor,
    account: ExternalId,
    new: NewEndpoint,
) -> Result<CreatedEndpoint> {
    let Some(channel) = app.endpoints.get(&new.channel) else {
        let detail = format!("is not one of {}", app.endpoints.names().join(", "));
        return Err(Error::invalid("/channel", detail));
    };
    let url = channel
        .check(&new.url)
        .map_err(|detail| Error::invalid("/url", detail))?;
    let url = match channel.url_is_secret() {
        true => CheckedUrl::Secret(url),
        false => CheckedUrl::Shown(url),
    };
    app.db
        .write(by, move |tx| endpoint::create(tx, account.as_str(), &new, &url))
        .await
}

/// Returns the endpoints of an account, oldest first.
#[utoipa::path(tag = "Endpoints", security(("token" = ["viewer"])), params(Paging))]
#[get("/accounts/{account}/endpoints")]
async fn list(
    app: web::Data<App>,
    InPath(account): InPath<ExternalId>,
    params: Params<Paging>,
) -> Answer<Json<Page<Endpoint>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| endpoint::list(conn, account.as_str(), after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |endpoint| endpoint.id.to_string())))
}

/// Returns an endpoint, even if it was deleted.
#[utoipa::path(tag = "Endpoints", security(("token" = ["viewer"])))]
#[get("/endpoints/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<EndpointId>) -> Answer<Json<Endpoint>> {
    Ok(Json(app.db.read(move |conn| endpoint::get(conn, &id)).await?))
}

/// Deletes an endpoint. Calls that still wait for it are not made.
#[utoipa::path(tag = "Endpoints", security(("token" = ["operator"])))]
#[delete("/endpoints/{id}")]
async fn delete_one(app: web::Data<App>, by: By, InPath(id): InPath<EndpointId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| endpoint::delete(tx, &id)).await?;
    Ok(NoContent)
}

/// Enables an endpoint again that was disabled because it wanted no further calls.
#[utoipa::path(tag = "Endpoints", security(("token" = ["operator"])))]
#[post("/endpoints/{id}/enable")]
async fn enable(app: web::Data<App>, by: By, InPath(id): InPath<EndpointId>) -> Answer<Json<Endpoint>> {
    let endpoint = app.db.write(&by.0, move |tx| endpoint::enable(tx, &id)).await?;
    Ok(Json(endpoint))
}

/// The result of a test.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Tested {
    /// The outcome: sent, retry or failed. The call is not repeated.
    pub outcome: &'static str,
    /// The reply of the endpoint, or the reason why there was none.
    pub reply: String,
}

/// Sends an `endpoint.test` to an endpoint at once and returns its answer. This also works for a disabled
/// endpoint, which stays disabled.
#[utoipa::path(tag = "Endpoints", security(("token" = ["operator"])))]
#[post("/endpoints/{id}/test")]
async fn test(app: web::Data<App>, by: By, InPath(id): InPath<EndpointId>) -> Answer<Json<Tested>> {
    Ok(Json(tested(&app, &by.0, id).await?))
}

/// Sends a test to an endpoint and returns its answer.
///
/// # Errors
/// `NotFound` if the endpoint does not exist. `Conflict` if this process has no such channel.
pub async fn tested(app: &App, by: &Actor, id: EndpointId) -> Result<Tested> {
    let target = id.clone();
    let (endpoint, account, secret) = app
        .db
        .read(move |conn| {
            let (endpoint, secret) = endpoint::for_test(conn, &target)?;
            let account = crate::directory::account::get(conn, &endpoint.account)?;
            Ok((endpoint, account, secret))
        })
        .await?;
    let channel = app
        .endpoints
        .get(&endpoint.channel)
        .ok_or_else(|| Error::Conflict("this process has no channel of this kind".to_owned()))?;
    let now = app.clock().now();
    let language = payload::language(account.locale.as_deref(), app.sending.language);
    let account = PayloadAccount {
        id: endpoint.account,
        name: account.name,
    };
    let (url, secret) = url_and_secret(channel.as_ref(), &endpoint.url, secret);
    let call = Call {
        url,
        secret,
        id: format!("msg_test_{}", new_uuid(now).simple()),
        attempt: 1,
        now,
        payload: payload::test(account, language, now),
    };
    let outcome = tokio::time::timeout(MAX_PATIENCE, channel.deliver(&call))
        .await
        .unwrap_or_else(|_| Outcome::Retry(None, "no answer in time".to_owned()));
    let tested = Tested {
        outcome: outcome.word(),
        reply: outcome.reply().to_owned(),
    };
    app.db
        .write(by, move |tx| {
            endpoint::tested(tx, &id, outcome.word());
            Ok(())
        })
        .await?;
    Ok(tested)
}
