//! The API for feed keys, with which the backends of products sign the tokens of their users.

use actix_web::{delete, get, post, web};

use crate::base::id::FeedKeyId;
use crate::customer::keys::{self, CreatedFeedKey, FeedKey, NewFeedKey};
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

/// Creates a feed key, with which the backend of a product signs tokens. Its secret is shown only once.
/// A token is a JWT with HS256: `iss` is the ID of the key, `sub` the ID of the person, and `exp` at most one hour ahead.
#[utoipa::path(tag = "Feed keys", security(("token" = ["admin"])))]
#[post("/feed-keys")]
async fn create(app: web::Data<App>, by: By, body: Json<NewFeedKey>) -> Answer<Created<CreatedFeedKey>> {
    let created = app.db.write(&by.0, move |tx| keys::create(tx, &body.0)).await?;
    Ok(Created(created))
}

/// Returns the feed keys that are not revoked, without their secrets.
#[utoipa::path(tag = "Feed keys", security(("token" = ["admin"])), params(Paging))]
#[get("/feed-keys")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<FeedKey>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| keys::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |key| key.id.to_string())))
}

/// Returns a feed key without its secret.
#[utoipa::path(tag = "Feed keys", security(("token" = ["admin"])))]
#[get("/feed-keys/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<FeedKeyId>) -> Answer<Json<FeedKey>> {
    Ok(Json(app.db.read(move |conn| keys::get(conn, &id)).await?))
}

/// Revokes a feed key at once. Every token that was signed with it is refused from then on.
#[utoipa::path(tag = "Feed keys", security(("token" = ["admin"])))]
#[delete("/feed-keys/{id}")]
async fn revoke(app: web::Data<App>, by: By, InPath(id): InPath<FeedKeyId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| keys::revoke(tx, &id)).await?;
    Ok(NoContent)
}
