//! The public pages about opting out of optional notices. The status page is in [`super::status`].
//!
//! Unknown query parameters are ignored, because programs that forward links add their own. A GET opts nobody
//! out, because scanners follow links.

use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde_json::json;

use super::answer::Declared;
use super::customer_page::{self, Spoken};
use super::error_page::for_browsers;
use super::problem::{Answer, Problem};
use super::refusals::RefusalKind;
use crate::answers::link;
use crate::audit::Actor;
use crate::base::error::Error;
use crate::delivery::opt_out;
use crate::http::App;

fn target(app: &App, req: &HttpRequest, token: &str) -> Result<i64, Problem> {
    app.links.unsubscribe_target(token).ok_or_else(|| {
        app.refusals
            .refuse(req, RefusalKind::Token, app.clock().now(), Problem::NoSuchLink)
    })
}

/// What the page about optional notices shows.
enum Shown {
    /// The question whether to stop them.
    Question,
    /// They are stopped now, or were stopped before.
    Stopped,
    /// They are sent again.
    Again,
}

async fn unsubscribe_view(
    app: &App,
    req: &HttpRequest,
    token: &str,
    delivery: i64,
    shown: &Shown,
) -> Answer<HttpResponse> {
    let reader = app.db.read(move |conn| link::language_of(conn, delivery)).await?;
    let spoken = Spoken::of_person(app, req, reader);
    let title = spoken.words()?.text(match shown {
        Shown::Question => "stop_title",
        Shown::Stopped => "stopped_title",
        Shown::Again => "again_title",
    })?;
    let rest = json!({
        "stopped": matches!(shown, Shown::Stopped), "again": matches!(shown, Shown::Again),
        "stop": spoken.path(&format!("/unsubscribe/{token}")), "undo": spoken.path(&format!("/unsubscribe/{token}/undo")),
    });
    let data = customer_page::data(app, spoken.language, title, &[], rest)?;
    app.pages.answer("public/unsubscribe", &data)
}

/// Shows the page behind the link in an email. It changes nothing.
#[utoipa::path(tag = "Public", security(()), responses((status = 200, description = "A page", content_type = "text/html")))]
#[get("/unsubscribe/{token}", wrap = "from_fn(for_browsers)")]
pub async fn unsubscribe_page(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
) -> Answer<Declared> {
    let delivery = target(&app, &req, &token)?;
    let stopped = match app
        .db
        .read(move |conn| opt_out::is_opted_out(conn, delivery))
        .await
    {
        // The delivery may be unknown after an older backup was restored. The link is signed, so the question is shown.
        Err(Error::NotFound(_)) => false,
        other => other?,
    };
    let shown = if stopped { Shown::Stopped } else { Shown::Question };
    unsubscribe_view(&app, &req, &token, delivery, &shown)
        .await
        .map(Declared)
}

/// Opts the recipient out of optional notices (RFC 8058, one click). Calling it again changes nothing.
#[utoipa::path(tag = "Public", security(()), request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A page", content_type = "text/html")))]
#[post("/unsubscribe/{token}", wrap = "from_fn(for_browsers)")]
pub async fn unsubscribe(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
) -> Answer<Declared> {
    let delivery = target(&app, &req, &token)?;
    app.db
        .write(&Actor::system("unsubscribe link"), move |tx| {
            opt_out::opt_out(tx, delivery)
        })
        .await?;
    unsubscribe_view(&app, &req, &token, delivery, &Shown::Stopped)
        .await
        .map(Declared)
}

/// Lets the recipient get optional notices again. Calling it again changes nothing.
#[utoipa::path(tag = "Public", security(()), request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A page", content_type = "text/html")))]
#[post("/unsubscribe/{token}/undo", wrap = "from_fn(for_browsers)")]
pub async fn subscribe_again(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
) -> Answer<Declared> {
    let delivery = target(&app, &req, &token)?;
    app.db
        .write(&Actor::system("unsubscribe link"), move |tx| {
            opt_out::opt_in(tx, delivery)
        })
        .await?;
    unsubscribe_view(&app, &req, &token, delivery, &Shown::Again)
        .await
        .map(Declared)
}
