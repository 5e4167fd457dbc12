//! The heartbeats' URLs: whoever asks for one is alive. The secret is in the URL; how it is asked does not matter, nor what
//! a client adds behind a `?` or as a body.

use actix_web::{HttpResponse, get, head, post, web};

use super::problem::Answer;
use crate::audit::Actor;
use crate::http::App;
use crate::watch::silence;

/// Takes a beat.
#[utoipa::path(tag = "Watching", description = "The `url` of a heartbeat, asked for at least every so often.",
    responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
#[get("/heartbeats/{token}")]
pub async fn beat(app: web::Data<App>, token: web::Path<String>) -> Answer<HttpResponse> {
    beaten(&app, token.into_inner()).await
}

/// Takes a beat; the same as GET.
#[utoipa::path(tag = "Watching", responses((status = 200), (status = 404)))]
#[head("/heartbeats/{token}")]
pub async fn beat_head(app: web::Data<App>, token: web::Path<String>) -> Answer<HttpResponse> {
    beaten(&app, token.into_inner()).await
}

/// Takes a beat; the same as GET. The body is not read.
#[utoipa::path(tag = "Watching", responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
#[post("/heartbeats/{token}")]
pub async fn beat_post(app: web::Data<App>, token: web::Path<String>) -> Answer<HttpResponse> {
    beaten(&app, token.into_inner()).await
}

/// Says that what should beat has failed: an alert at once.
#[utoipa::path(tag = "Watching", responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
#[get("/heartbeats/{token}/fail")]
pub async fn fail(app: web::Data<App>, token: web::Path<String>) -> Answer<HttpResponse> {
    failed(&app, token.into_inner()).await
}

/// Says that it has failed; the same as GET.
#[utoipa::path(tag = "Watching", responses((status = 200), (status = 404)))]
#[head("/heartbeats/{token}/fail")]
pub async fn fail_head(app: web::Data<App>, token: web::Path<String>) -> Answer<HttpResponse> {
    failed(&app, token.into_inner()).await
}

/// Says that it has failed; the same as GET. The body is not read.
#[utoipa::path(tag = "Watching", responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
#[post("/heartbeats/{token}/fail")]
pub async fn fail_post(app: web::Data<App>, token: web::Path<String>) -> Answer<HttpResponse> {
    failed(&app, token.into_inner()).await
}

async fn beaten(app: &App, token: String) -> Answer<HttpResponse> {
    app.db
        .write(&Actor::system("heartbeats"), move |tx| silence::beat(tx, &token))
        .await?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("OK\n"))
}

async fn failed(app: &App, token: String) -> Answer<HttpResponse> {
    app.db
        .write(&Actor::system("heartbeats"), move |tx| silence::fail(tx, &token))
        .await?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("OK\n"))
}
