//! The heartbeats' URLs: whoever asks for one is alive. The secret is in the URL; how it is asked does not matter, nor what
//! a client adds behind a `?` or as a body. A HEAD is a beat like a GET: `curl -I` and `wget --spider` are used for this.

use actix_web::{HttpRequest, HttpResponse, get, post, web};

use super::problem::Answer;
use super::refusals::Door;
use crate::audit::{Actor, Tx};
use crate::base::error::Error;
use crate::http::App;
use crate::watch::silence;

/// Takes a beat.
#[utoipa::path(tag = "Watching", description = "The `url` of a heartbeat, asked for at least every so often.",
    responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
#[get("/heartbeats/{token}")]
pub async fn beat(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<HttpResponse> {
    beaten(&app, &req, token.into_inner()).await
}

/// Takes a beat; the same as GET. The body is not read.
#[utoipa::path(tag = "Watching", responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
#[post("/heartbeats/{token}")]
pub async fn beat_post(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
) -> Answer<HttpResponse> {
    beaten(&app, &req, token.into_inner()).await
}

/// Says that what should beat has failed: an alert at once.
#[utoipa::path(tag = "Watching", responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
#[get("/heartbeats/{token}/fail")]
pub async fn fail(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<HttpResponse> {
    failed(&app, &req, token.into_inner()).await
}

/// Says that it has failed; the same as GET. The body is not read.
#[utoipa::path(tag = "Watching", responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
#[post("/heartbeats/{token}/fail")]
pub async fn fail_post(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
) -> Answer<HttpResponse> {
    failed(&app, &req, token.into_inner()).await
}

async fn beaten(app: &App, req: &HttpRequest, token: String) -> Answer<HttpResponse> {
    take(app, req, token, silence::beat).await
}

async fn failed(app: &App, req: &HttpRequest, token: String) -> Answer<HttpResponse> {
    take(app, req, token, silence::fail).await
}

async fn take(
    app: &App,
    req: &HttpRequest,
    token: String,
    what: fn(&mut Tx<'_>, &str) -> Result<(), Error>,
) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let known = if app.refusals.suspects(req, now) {
        // A flood of wrong tokens must not hold up those who write.
        let token = token.clone();
        app.db.read(move |conn| silence::known(conn, &token)).await
    } else {
        Ok(())
    };
    let taken = match known {
        Ok(()) => {
            let beats = Actor::system("heartbeats");
            app.db.write(&beats, move |tx| what(tx, &token)).await
        }
        Err(error) => Err(error),
    };
    match taken {
        Ok(()) => Ok(HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .body("OK\n")),
        Err(error @ Error::NotFound(_)) => Err(app.refusals.refuse(req, Door::Token, now, error.into())),
        Err(error) => Err(error.into()),
    }
}
