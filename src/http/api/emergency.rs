//! The API for messages that were sent from the copy of the contacts while the database was away.

use actix_web::{HttpRequest, get, post, web};

use crate::base::error::Error;
use crate::base::id::{EmergencyId, IncidentId};
use crate::emergency::import::{self, EmergencyNotice, EmergencyRecipient};
use crate::emergency::record::Content;
use crate::http::App;
use crate::http::answer::Created;
use crate::http::auth::By;
use crate::http::extract::{Json, Params, is_media, read_body};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::{Answer, Problem};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(import_record).service(list).service(recipients);
}

/// The largest record that a request may contain, in bytes. `candor emergency-import` reads larger ones.
const MAX_RECORD: usize = 64 * 1024 * 1024;

/// Imports the record of `candor emergency-notify` onto an incident, so that its people count as told there. The chain of the record is
/// verified. A record that has grown since can be imported again.
#[utoipa::path(tag = "Emergency", security(("token" = ["operator"])),
    request_body(content((String = "application/x-ndjson"))))]
#[post("/incidents/{id}/emergency-notices")]
async fn import_record(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    InPath(id): InPath<IncidentId>,
    payload: web::Payload,
) -> Answer<Created<EmergencyNotice>> {
    if !is_media(&req, "application/x-ndjson") {
        return Err(Problem::UnsupportedMedia("application/x-ndjson"));
    }
    let body = read_body(&req, &mut payload.into_inner(), MAX_RECORD).await?;
    let content = web::block(move || Content::read(&body))
        .await
        .map_err(Error::internal)??;
    let imported = app
        .db
        .write(&by.0, move |tx| import::import(tx, &id, &content))
        .await?;
    Ok(Created(imported))
}

/// Returns the emergency notices that were imported onto an incident, oldest first.
#[utoipa::path(tag = "Emergency", security(("token" = ["viewer"])))]
#[get("/incidents/{id}/emergency-notices")]
async fn list(app: web::Data<App>, InPath(id): InPath<IncidentId>) -> Answer<Json<Page<EmergencyNotice>>> {
    let items = app.db.read(move |conn| import::list(conn, &id)).await?;
    Ok(Json(Page {
        items,
        next_cursor: None,
    }))
}

/// Returns the people of an emergency notice, ordered by ID, each with what became of the email. The addresses are only in the record.
#[utoipa::path(tag = "Emergency", security(("token" = ["viewer"])), params(Paging))]
#[get("/emergency-notices/{id}/recipients")]
async fn recipients(
    app: web::Data<App>,
    InPath(id): InPath<EmergencyId>,
    params: Params<Paging>,
) -> Answer<Json<Page<EmergencyRecipient>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| import::recipients(conn, &id, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.person.clone())))
}
