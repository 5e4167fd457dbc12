//! The public pages: published reports, and opting out of optional notices.
//!
//! Unknown query parameters are ignored, because programs that forward links add their own. A GET opts nobody
//! out, because scanners follow links.

use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde_json::json;

use super::answer::Declared;
use super::error_page::for_browsers;
use super::problem::{Answer, Problem};
use super::refusals::RefusalKind;
use crate::audit::Actor;
use crate::base::error::Error;
use crate::base::time::time_zone;
use crate::delivery::opt_out;
use crate::http::App;
use crate::http::report_blocks::shown;
use crate::incident::report;

/// Shows the public page with the published reports.
#[utoipa::path(tag = "Public", security(()), responses((status = 200, description = "A page", content_type = "text/html")))]
#[get("/status", wrap = "from_fn(for_browsers)")]
pub async fn status(app: web::Data<App>) -> Answer<Declared> {
    let published = app.db.read(|conn| report::published(conn, 50)).await?;
    let utc = time_zone("UTC").map_err(Error::internal)?;
    let reports: Vec<_> = published
        .into_iter()
        .map(|report| {
            let sections: Vec<_> = report
                .sections
                .iter()
                .map(|section| json!({"heading": section.heading, "blocks": shown(&section.text)}))
                .collect();
            json!({
                "number": report.number,
                "title": report.title,
                "sections": sections,
                "published_at": report.published_at.for_people(Some(&utc)),
                "published_iso": report.published_at.to_string(),
                "corrections": report.corrections.iter().map(|one| json!({
                    "note": one.note, "at": one.at.for_people(Some(&utc)), "iso": one.at.to_string(),
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let title = format!("{}: incident reports", app.company());
    let page = app.pages.answer(
        "public/status",
        &json!({"company": app.sending.sender, "title": title, "reports": reports, "at": app.clock().now().for_people(None)}),
    );
    page.map(Declared)
}

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

fn unsubscribe_view(app: &App, token: &str, shown: &Shown) -> Answer<HttpResponse> {
    let title = match shown {
        Shown::Question => "Stop progress updates?",
        Shown::Stopped => "You will get no more updates",
        Shown::Again => "You will get updates again",
    };
    app.pages.answer(
        "public/unsubscribe",
        &json!({
            "company": app.sending.sender, "title": title,
            "stopped": matches!(shown, Shown::Stopped), "again": matches!(shown, Shown::Again),
            "stop": format!("/unsubscribe/{token}"), "undo": format!("/unsubscribe/{token}/undo"),
        }),
    )
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
    unsubscribe_view(&app, &token, &shown).map(Declared)
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
    unsubscribe_view(&app, &token, &Shown::Stopped).map(Declared)
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
    unsubscribe_view(&app, &token, &Shown::Again).map(Declared)
}
