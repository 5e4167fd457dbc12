//! The URLs of the heartbeats. A request to such a URL means that its sender is alive. The secret is in the
//! URL. The method, the query and the body do not matter. A HEAD request counts like a GET request, because
//! `curl -I` and `wget --spider` use it.

use actix_web::{HttpRequest, HttpResponse, get, post, web};

use super::answer::Declared;
use super::problem::Answer;
use super::refusals::RefusalKind;
use crate::alert::intake::{self, Prepared};
use crate::audit::{Actor, Tx};
use crate::base::error::Error;
use crate::http::App;
use crate::watch::beats;

/// Receives a heartbeat.
#[utoipa::path(tag = "Watching", security(()), description = "The `url` of a heartbeat, which the job must request regularly.",
    responses((status = 200, content_type = "text/plain", body = String)))]
#[get("/heartbeats/{token}")]
pub async fn beat(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<Declared> {
    beaten(&app, &req, token.into_inner()).await.map(Declared)
}

/// Receives a heartbeat, in the same way as GET. The body is not read.
#[utoipa::path(tag = "Watching", security(()), responses((status = 200, content_type = "text/plain", body = String)))]
#[post("/heartbeats/{token}")]
pub async fn beat_post(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<Declared> {
    beaten(&app, &req, token.into_inner()).await.map(Declared)
}

/// Reports that the monitored job failed, which makes an alert at once.
#[utoipa::path(tag = "Watching", security(()), responses((status = 200, content_type = "text/plain", body = String)))]
#[get("/heartbeats/{token}/fail")]
pub async fn fail(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<Declared> {
    failed(&app, &req, token.into_inner()).await.map(Declared)
}

/// Reports that the monitored job failed, in the same way as GET. The body is not read.
#[utoipa::path(tag = "Watching", security(()), responses((status = 200, content_type = "text/plain", body = String)))]
#[post("/heartbeats/{token}/fail")]
pub async fn fail_post(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<Declared> {
    failed(&app, &req, token.into_inner()).await.map(Declared)
}

async fn beaten(app: &App, req: &HttpRequest, token: String) -> Answer<HttpResponse> {
    take(app, req, token, beats::beat).await
}

async fn failed(app: &App, req: &HttpRequest, token: String) -> Answer<HttpResponse> {
    take(app, req, token, beats::fail).await
}

async fn take(
    app: &App,
    req: &HttpRequest,
    token: String,
    what: fn(&mut Tx<'_>, &Prepared, &str) -> Result<(), Error>,
) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let known = if app.refusals.suspects(req, now) {
        // Many requests with wrong tokens must not delay writers, so the token is checked with a read first.
        let token = token.clone();
        app.db.read(move |conn| beats::check_token(conn, &token)).await
    } else {
        Ok(())
    };
    let taken = match known {
        Ok(()) => {
            let beats = Actor::system("heartbeats");
            intake::write(&app.conditions, &beats, move |tx, prepared| {
                what(tx, prepared, &token)
            })
            .await
        }
        Err(error) => Err(error),
    };
    match taken {
        Ok(()) => Ok(HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .body("OK\n")),
        Err(error @ Error::NotFound(_)) => {
            Err(app.refusals.refuse(req, RefusalKind::Token, now, error.into()))
        }
        Err(error) => Err(error.into()),
    }
}
