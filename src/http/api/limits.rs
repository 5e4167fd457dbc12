//! The API for the limits above which other people must approve a notice, for the approvals, and for break glass.

use actix_web::{get, patch, post, put, web};
use serde::Serialize;
use serde_json::Value;

use crate::base::id::NoticeId;
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::Json;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::notice::{
    self, Approval, BreakGlass, BreakGlassState, GlassBroken, Limits, Notice, Rehearsal, limits,
};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(read)
        .service(replace)
        .service(change)
        .service(approvals)
        .service(use_break_glass)
        .service(break_glass_state)
        .service(rehearse);
}

/// Returns the limits above which other people must approve a notice.
#[utoipa::path(tag = "Limits", security(("token" = ["admin"])))]
#[get("/limits")]
async fn read(app: web::Data<App>) -> Answer<Json<Limits>> {
    let sending = app.sending.clone();
    let limits = app.db.read(move |conn| limits::read(conn, &sending)).await?;
    Ok(Json(limits))
}

/// Replaces all limits. A limit that is left out no longer applies, and other values that are left out get their defaults. To
/// change only some of them, use PATCH.
#[utoipa::path(tag = "Limits", security(("token" = ["admin"])))]
#[put("/limits")]
async fn replace(app: web::Data<App>, by: By, body: Json<Limits>) -> Answer<Json<Limits>> {
    let sending = app.sending.clone();
    let limits = app
        .db
        .write(&by.0, move |tx| limits::replace(tx, &body.0, &sending))
        .await?;
    Ok(Json(limits))
}

/// Changes some of the limits with a JSON merge patch (RFC 7396). What is left out keeps its value, and null removes a limit.
#[utoipa::path(tag = "Limits", security(("token" = ["admin"])), request_body(content = Object, content_type = "application/json"))]
#[patch("/limits")]
async fn change(app: web::Data<App>, by: By, body: Json<Value>) -> Answer<Json<Limits>> {
    let sending = app.sending.clone();
    let limits = app
        .db
        .write(&by.0, move |tx| limits::change(tx, &body.0, &sending))
        .await?;
    Ok(Json(limits))
}

/// The answer with all approvals of a notice.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = NoticeApprovalList)]
struct Approvals {
    /// The approvals, oldest first.
    items: Vec<Approval>,
    /// Always null, because all approvals are on one page.
    next_cursor: Option<String>,
}

/// Returns all approvals of a notice, and uses of break glass, each with whether it counts and why not.
#[utoipa::path(tag = "Notices", security(("token" = ["viewer"])))]
#[get("/notices/{id}/approvals")]
async fn approvals(app: web::Data<App>, InPath(id): InPath<NoticeId>) -> Answer<Json<Approvals>> {
    let (sending, now) = (app.sending.clone(), app.clock().now());
    let items = app
        .db
        .read(move |conn| notice::list_approvals(conn, &id, &sending, now))
        .await?;
    Ok(Json(Approvals {
        items,
        next_cursor: None,
    }))
}

/// Allows a notice to be sent without the approvals that it needs, for exactly the recipients and texts of the digest. Operators are
/// notified, and the timeline of the incident shows it with the reason.
#[utoipa::path(tag = "Notices", security(("token" = ["admin"])))]
#[post("/notices/{id}/break-glass")]
async fn use_break_glass(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
    body: Json<BreakGlass>,
) -> Answer<Json<Notice>> {
    let sending = app.sending.clone();
    let notice = app
        .db
        .write(&by.0, move |tx| notice::break_glass(tx, &id, &body.0, &sending))
        .await?;
    Ok(Json(notice))
}

/// Returns when break glass was last used and last rehearsed.
#[utoipa::path(tag = "Limits", security(("token" = ["viewer"])))]
#[get("/break-glass")]
async fn break_glass_state(app: web::Data<App>) -> Answer<Json<BreakGlassState>> {
    Ok(Json(app.db.read(notice::break_glass_state).await?))
}

/// Records in the audit trail that break glass was rehearsed. Nothing is sent or allowed.
#[utoipa::path(tag = "Limits", security(("token" = ["admin"])))]
#[post("/break-glass/rehearse")]
async fn rehearse(app: web::Data<App>, by: By, body: Json<Rehearsal>) -> Answer<Json<GlassBroken>> {
    let rehearsed = app
        .db
        .write(&by.0, move |tx| notice::rehearse(tx, &body.0))
        .await?;
    Ok(Json(rehearsed))
}
