//! The script that shows the feed in the pages of a product. It is in the binary, and browsers keep it for an hour.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, ETAG, HeaderName, IF_NONE_MATCH};
use actix_web::middleware::Compress;
use actix_web::{HttpRequest, HttpResponse, get};
use sha2::{Digest, Sha256};

use crate::base::text::hex;
use crate::http::answer::Declared;

const SCRIPT: &str = include_str!("../../../templates/embed/embed.js");

/// The tag of the script, which changes with it. It is a weak one, because the script may be compressed.
static TAG: LazyLock<String> =
    LazyLock::new(|| format!("W/\"{}\"", hex(&Sha256::digest(SCRIPT.as_bytes())[..8])));

/// Returns the script that shows the feed in the pages of a product.
#[utoipa::path(tag = "Feed", security(()),
    responses((status = 200, description = "The script", content_type = "text/javascript"), (status = 304)))]
#[get("/embed.js", wrap = "Compress::default()")]
pub async fn script(req: HttpRequest) -> Declared {
    let known = req
        .headers()
        .get_all(IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| one.trim() == *TAG);
    let mut response = match known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header((ETAG, TAG.as_str()))
        .insert_header((CACHE_CONTROL, "public, max-age=3600, stale-while-revalidate=86400"))
        // A page of the product may isolate itself from other origins.
        .insert_header((
            HeaderName::from_static("cross-origin-resource-policy"),
            "cross-origin",
        ));
    Declared(match known {
        true => response.finish(),
        false => response
            .content_type("text/javascript; charset=utf-8")
            .body(SCRIPT),
    })
}
