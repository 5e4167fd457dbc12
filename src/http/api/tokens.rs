//! The API for tokens: create, list, read and revoke.

use actix_web::{delete, get, post, web};

use crate::auth::{self, CreatedToken, NewToken, TokenView};
use crate::base::id::TokenId;
use crate::http::App;
use crate::http::answer::{Created, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(create)
        .service(list)
        .service(get_one)
        .service(revoke);
}

/// Creates a token. It is shown only once.
#[utoipa::path(tag = "Tokens", security(("token" = ["admin"])))]
#[post("/tokens")]
async fn create(app: web::Data<App>, by: By, body: Json<NewToken>) -> Answer<Created<CreatedToken>> {
    let created = app.db.write(&by.0, move |tx| auth::create(tx, &body.0)).await?;
    Ok(Created(created))
}

/// Returns the tokens that are not revoked, with their last use. Tokens that have expired are included.
#[utoipa::path(tag = "Tokens", security(("token" = ["admin"])), params(Paging))]
#[get("/tokens")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<TokenView>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let mut rows = app
        .db
        .read(move |conn| auth::list(conn, after.as_deref(), limit.probe()))
        .await?;
    app.token_uses.complete(&mut rows);
    Ok(Json(page(rows, limit, |token| token.id.to_string())))
}

/// Returns a token without its secret, even if it has expired.
#[utoipa::path(tag = "Tokens", security(("token" = ["admin"])))]
#[get("/tokens/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<TokenId>) -> Answer<Json<TokenView>> {
    let mut token = app.db.read(move |conn| auth::get(conn, &id)).await?;
    app.token_uses.complete(std::slice::from_mut(&mut token));
    Ok(Json(token))
}

/// Revokes a token at once.
#[utoipa::path(tag = "Tokens", security(("token" = ["admin"])))]
#[delete("/tokens/{id}")]
async fn revoke(app: web::Data<App>, by: By, InPath(id): InPath<TokenId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| auth::revoke(tx, &id)).await?;
    Ok(NoContent)
}
