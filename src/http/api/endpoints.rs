//! The API for endpoints, through which systems of an account get the notices to its people, and people get short messages.

use std::sync::Arc;

use actix_web::{delete, get, post, web};
use serde::Serialize;

use crate::audit::Actor;
use crate::base::error::{Error, Result};
use crate::base::id::{EndpointId, ExternalId, new_uuid};
use crate::base::language::Language;
use crate::db::Conn;
use crate::delivery::Outcome;
use crate::delivery::calling::{Call, EndpointChannel, MAX_PATIENCE, url_and_secret};
use crate::directory::endpoint::{
    self, CheckedUrl, CreatedEndpoint, Endpoint, NewEndpoint, NewPersonEndpoint,
};
use crate::directory::{account, choices, forget, person};
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
        .service(create_of_person)
        .service(list_of_person)
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
    let channel = channel_for(app, &new.channel, false)?;
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

/// Returns a channel to people, or one to accounts.
fn channel_for<'a>(app: &'a App, name: &str, for_people: bool) -> Result<&'a Arc<dyn EndpointChannel>> {
    let channel = app.endpoints.get(name);
    channel
        .filter(|channel| channel.is_for_people() == for_people)
        .ok_or_else(|| {
            let names = app.endpoints.names(for_people).join(", ");
            Error::invalid("/channel", format!("is not one of {names}"))
        })
}

/// Stores the phone number of a person who agreed to get short messages. A person has one. It is never shown again.
#[utoipa::path(tag = "Endpoints", security(("token" = ["operator"])))]
#[post("/people/{person}/endpoints")]
async fn create_of_person(
    app: web::Data<App>,
    by: By,
    InPath(person): InPath<ExternalId>,
    body: Json<NewPersonEndpoint>,
) -> Answer<Created<Endpoint>> {
    Ok(Created(created_of_person(&app, &by.0, person, body.0).await?))
}

/// Stores a phone number that its channel has checked.
///
/// # Errors
/// `Invalid` if the channel or the number is wrong, and the errors of [`endpoint::create_of_person`].
pub async fn created_of_person(
    app: &App,
    by: &Actor,
    person: ExternalId,
    new: NewPersonEndpoint,
) -> Result<Endpoint> {
    let channel = channel_for(app, &new.channel, true)?;
    let number = channel
        .check(&new.url)
        .map_err(|detail| Error::invalid("/url", detail))?;
    app.db
        .write(by, move |tx| {
            endpoint::create_of_person(tx, person.as_str(), &new, &number)
        })
        .await
}

/// The endpoints of a person.
#[derive(Serialize, utoipa::ToSchema)]
struct PersonEndpoints {
    /// The endpoints, oldest first. A person has at most one for each channel.
    items: Vec<Endpoint>,
}

/// Returns the endpoints of a person: the phone that gets short messages. The number is not shown.
#[utoipa::path(tag = "Endpoints", security(("token" = ["viewer"])))]
#[get("/people/{person}/endpoints")]
async fn list_of_person(
    app: web::Data<App>,
    InPath(person): InPath<ExternalId>,
) -> Answer<Json<PersonEndpoints>> {
    let items = app
        .db
        .read(move |conn| endpoint::list_of_person(conn, person.as_str()))
        .await?;
    Ok(Json(PersonEndpoints { items }))
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

/// Returns whom a test is for, and the language of its text.
fn owner_of(conn: &mut Conn, endpoint: &Endpoint, default: Language) -> Result<(PayloadAccount, Language)> {
    if let Some(id) = &endpoint.person {
        let name = person::get(conn, id)?.name;
        let key = forget::key_of(conn, id)?;
        let language = choices::applied(conn, key)?.language;
        return Ok((PayloadAccount { id: id.clone(), name }, language));
    }
    let account = account::get(conn, endpoint.account.as_deref().unwrap_or_default())?;
    let language = payload::language(account.locale.as_deref(), default);
    let (id, name) = (account.id, account.name);
    Ok((PayloadAccount { id, name }, language))
}

/// Sends a test to an endpoint and returns its answer.
///
/// # Errors
/// `NotFound` if the endpoint does not exist. `Conflict` if this process has no such channel.
pub async fn tested(app: &App, by: &Actor, id: EndpointId) -> Result<Tested> {
    let (target, default) = (id.clone(), app.sending.language);
    let (endpoint, owner, language, secret) = app
        .db
        .read(move |conn| {
            let (endpoint, secret) = endpoint::for_test(conn, &target)?;
            let (owner, language) = owner_of(conn, &endpoint, default)?;
            Ok((endpoint, owner, language, secret))
        })
        .await?;
    let channel = app
        .endpoints
        .get(&endpoint.channel)
        .ok_or_else(|| Error::Conflict("this process has no channel of this kind".to_owned()))?;
    let now = app.clock().now();
    let (url, secret) = url_and_secret(channel.as_ref(), &endpoint.url, secret);
    let call = Call {
        url,
        secret,
        id: format!("msg_test_{}", new_uuid(now).simple()),
        attempt: 1,
        now,
        payload: payload::test(owner, language, now),
        sender: app.sending.sender.clone(),
        link: None,
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
