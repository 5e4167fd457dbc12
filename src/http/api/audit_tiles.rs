//! The Merkle tree over the audit trail as tiles (C2SP `tlog-tiles`), for monitors and mirrors of transparency logs. The prefix of the log
//! is `/api/v1/audit`, and `GET /api/v1/audit/checkpoint` has its checkpoint.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, get, web};

use crate::audit::tile_path::TilePath;
use crate::audit::tiles;
use crate::base::error::Error;
use crate::http::App;
use crate::http::answer::Declared;
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(tile);
}

/// Returns a tile of the Merkle tree over the audit trail, in the format of C2SP `tlog-tiles`.
///
/// `level` is a number, or `entries`. `tile` is the number of the tile in groups of three digits, such as `x001/234`, with `.p/WIDTH`
/// behind it for a tile that is not complete. An entry is the hash of an event in the chain (32 bytes), so tiles show nothing of the
/// events.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])), extensions(("x-tail" = json!(true))),
    responses((status = 200, description = "The hashes or the entries", content_type = "application/octet-stream")))]
#[get("/audit/tile/{level}/{tile:.+}")]
async fn tile(app: web::Data<App>, path: web::Path<(String, String)>) -> Answer<Declared> {
    let missing = || Error::NotFound("a tile with this name".to_owned());
    let path = TilePath::parse(&path.0, &path.1).ok_or_else(missing)?;
    let content = app
        .db
        .read(move |conn| tiles::content(conn, &path))
        .await?
        .ok_or_else(missing)?;
    // The trail only grows, so a tile never changes. Only those with a token may read it.
    Ok(Declared(
        HttpResponse::Ok()
            .content_type("application/octet-stream")
            .insert_header((CACHE_CONTROL, "private, max-age=31536000, immutable"))
            .body(content),
    ))
}
