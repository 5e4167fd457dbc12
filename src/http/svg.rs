//! Images that Candor draws, as answers.

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;

use crate::base::chart;

/// Answers with a chart. The image has exactly one style of its own, and loads and runs nothing.
pub(super) fn answer(image: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("image/svg+xml")
        .insert_header((
            "content-security-policy",
            format!(
                "default-src 'none'; style-src 'sha256-{}'; frame-ancestors 'none'",
                chart::style_hash()
            ),
        ))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(image)
}
