//! The API for the backups that Candor makes by itself.

use actix_web::{get, post, web};

use crate::backup::{self, Backup};
use crate::base::error::Error;
use crate::base::id::BackupId;
use crate::http::App;
use crate::http::answer::Accepted;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(list).service(make).service(get_one).service(check);
}

/// Returns the backups that Candor made or tried to make, newest first, each with what its restore drill found.
#[utoipa::path(tag = "Operation", security(("token" = ["admin"])), params(Paging))]
#[get("/backups")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<Backup>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| backup::list(conn, before.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.id.to_string())))
}

/// Makes a backup now. It is written in the background into the folder `CANDOR_BACKUP_DIR`.
#[utoipa::path(tag = "Operation", security(("token" = ["admin"])))]
#[post("/backups")]
async fn make(app: web::Data<App>, by: By) -> Answer<Accepted<Backup>> {
    check_folder(&app)?;
    let queued = app.db.write(&by.0, backup::request).await?;
    app.backups.notify_one();
    Ok(Accepted(queued))
}

/// Returns a backup.
#[utoipa::path(tag = "Operation", security(("token" = ["admin"])))]
#[get("/backups/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<BackupId>) -> Answer<Json<Backup>> {
    Ok(Json(app.db.read(move |conn| backup::get(conn, &id)).await?))
}

/// Checks a backup: it is restored into a temporary place, and its audit trail is verified there. This is done in the background.
#[utoipa::path(tag = "Operation", security(("token" = ["admin"])))]
#[post("/backups/{id}/check")]
async fn check(app: web::Data<App>, by: By, InPath(id): InPath<BackupId>) -> Answer<Accepted<Backup>> {
    check_folder(&app)?;
    let queued = app
        .db
        .write(&by.0, move |tx| backup::request_check(tx, &id))
        .await?;
    app.backups.notify_one();
    Ok(Accepted(queued))
}

/// Checks that there is a folder for backups.
///
/// # Errors
/// `Conflict` if there is none.
pub(in crate::http) fn check_folder(app: &App) -> Result<(), Error> {
    match app.backup_settings {
        Some(_) => Ok(()),
        None => Err(Error::Conflict(
            "there is no folder for backups; set CANDOR_BACKUP_DIR".to_owned(),
        )),
    }
}
