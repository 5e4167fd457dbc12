//! The API for the values of one's own of a notice: a code or a link for each recipient.

use actix_web::{HttpRequest, get, put, web};

use crate::base::error::Error;
use crate::base::id::NoticeId;
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Json, is_media, read_body};
use crate::http::ids::InPath;
use crate::http::problem::{Answer, Problem};
use crate::notice::values::{self, Given};

/// The largest size of a list of values, in bytes.
const MAX_VALUES: usize = 64 * 1024 * 1024;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(show).service(replace);
}

/// Returns the values of a notice: their keys, the number of people, and the values of the first people.
#[utoipa::path(tag = "Notices", security(("token" = ["viewer"])))]
#[get("/notices/{id}/values")]
async fn show(app: web::Data<App>, InPath(id): InPath<NoticeId>) -> Answer<Json<Given>> {
    Ok(Json(app.db.read(move |conn| values::get(conn, &id)).await?))
}

/// Replaces all values of a draft. Each line is a person with the values of the person:
/// `{"person": "ann", "values": {"code": "A-1234"}}`. A message shows a value as `{{values.code}}`, and a template as
/// `values.code`. A notice that uses a value is sent only if each recipient has it.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])),
    request_body(content((String = "application/x-ndjson"))))]
#[put("/notices/{id}/values")]
async fn replace(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    InPath(id): InPath<NoticeId>,
    payload: web::Payload,
) -> Answer<Json<Given>> {
    if !is_media(&req, "application/x-ndjson") {
        return Err(Problem::UnsupportedMedia("application/x-ndjson"));
    }
    let body = read_body(&req, &mut payload.into_inner(), MAX_VALUES).await?;
    let lines = web::block(move || values::parse(&body))
        .await
        .map_err(Error::internal)??;
    let given = app
        .db
        .write(&by.0, move |tx| values::replace(tx, &id, &lines))
        .await?;
    Ok(Json(given))
}
