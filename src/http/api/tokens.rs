//! The API for tokens: create, list, read and revoke.

use actix_web::{HttpResponse, delete, get, post, web};

use crate::auth::{self, CreatedToken, NewToken, TokenView};
use crate::base::id::TokenId;
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
        .service(get_one)
        .service(revoke);
}

/// Creates a token. It is shown only once.
#[utoipa::path(tag = "Tokens", security(("token" = ["admin"])), request_body = NewToken,
    responses((status = 201, body = CreatedToken), (status = 403, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/tokens")]
async fn create(app: web::Data<App>, by: By, body: Body<NewToken>) -> Answer<HttpResponse> {
    let created = app.db.write(&by.0, move |tx| auth::create(tx, &body.0)).await?;
    Ok(HttpResponse::Created().json(created))
}

/// Returns the valid tokens.
#[utoipa::path(tag = "Tokens", security(("token" = ["admin"])), params(Paging), responses((status = 200, body = Page<TokenView>)))]
#[get("/tokens")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<HttpResponse> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| auth::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |token| token.id.to_string())))
}

/// Returns a valid token without its secret.
#[utoipa::path(tag = "Tokens", security(("token" = ["admin"])),
    responses((status = 200, body = TokenView), (status = 404, body = ProblemDocument)))]
#[get("/tokens/{id}")]
async fn get_one(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = own("token", TokenId::parse(&id))?;
    let token = app.db.read(move |conn| auth::get(conn, &id)).await?;
    Ok(HttpResponse::Ok().json(token))
}

/// Revokes a token at once.
#[utoipa::path(tag = "Tokens", security(("token" = ["admin"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/tokens/{id}")]
async fn revoke(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = own("token", TokenId::parse(&id))?;
    app.db.write(&by.0, move |tx| auth::revoke(tx, &id)).await?;
    Ok(HttpResponse::NoContent().finish())
}
