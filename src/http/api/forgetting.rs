//! The API for forgetting: what an erasure would change, the erasure of a person, the export of all that is held about a person, the
//! erasures that were made, and the check of an address against the proof that stays.

use actix_web::{get, post, web};

use crate::base::id::{ErasureId, ExternalId};
use crate::forgetting::{self, Checked, Claim, Erased, Erasure, ErasurePreview, ErasureReason, Export};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(preview)
        .service(erase)
        .service(export)
        .service(list)
        .service(check)
        .service(get_one)
        .service(allow);
}

/// Returns what an erasure of a person would change: the number of rows by kind, and the places that it could not change.
#[utoipa::path(tag = "Directory", security(("token" = ["admin"])))]
#[get("/people/{person}/erasure")]
async fn preview(app: web::Data<App>, InPath(id): InPath<ExternalId>) -> Answer<Json<ErasurePreview>> {
    Ok(Json(
        app.db.read(move |conn| forgetting::preview(conn, &id)).await?,
    ))
}

/// Erases a person from everything that Candor stores, and cleans up the free space of the database. What the person was told, and when,
/// stays, with a commitment to the address. Deliveries to the person that wait are not made any more. A source cannot bring the person
/// back until an admin allows it.
#[utoipa::path(tag = "Directory", security(("token" = ["admin"])))]
#[post("/people/{person}/erase")]
async fn erase(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ExternalId>,
    body: Json<ErasureReason>,
) -> Answer<Json<Erased>> {
    let outbox = app.outbox_folder.as_deref();
    let erased = forgetting::erase(&app.db, outbox, &by.0, id, body.0, None).await?;
    app.wake.due();
    Ok(Json(erased))
}

/// Returns everything that is held about a person. The audit trail records that it was exported.
#[utoipa::path(tag = "Directory", security(("token" = ["admin"])))]
#[get("/people/{person}/export")]
async fn export(app: web::Data<App>, by: By, InPath(id): InPath<ExternalId>) -> Answer<Json<Export>> {
    Ok(Json(
        app.db.write(&by.0, move |tx| forgetting::export(tx, &id)).await?,
    ))
}

/// Returns the erasures and the applied retentions, newest first.
#[utoipa::path(tag = "Directory", security(("token" = ["admin"])), params(Paging))]
#[get("/erasures")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<Erasure>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| forgetting::list(conn, before.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |erasure| erasure.id.to_string())))
}

/// Returns an erasure.
#[utoipa::path(tag = "Directory", security(("token" = ["admin"])))]
#[get("/erasures/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<ErasureId>) -> Answer<Json<Erasure>> {
    Ok(Json(app.db.read(move |conn| forgetting::get(conn, &id)).await?))
}

/// Returns the erased recipients who had an address or an ID, so that whoever knows it can check that it was they. The address is in
/// the body, so that it stands in no log.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])))]
#[post("/erasures/check")]
async fn check(app: web::Data<App>, body: Json<Claim>) -> Answer<Json<Checked>> {
    Ok(Json(
        app.db.read(move |conn| forgetting::check(conn, &body.0)).await?,
    ))
}

/// Allows an erased person again: a source, an import or a form can store the person, as somebody new. What was erased stays erased.
#[utoipa::path(tag = "Directory", security(("token" = ["admin"])))]
#[post("/erasures/{id}/allow")]
async fn allow(app: web::Data<App>, by: By, InPath(id): InPath<ErasureId>) -> Answer<Json<Erasure>> {
    Ok(Json(
        app.db.write(&by.0, move |tx| forgetting::allow(tx, &id)).await?,
    ))
}
