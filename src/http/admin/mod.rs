//! The admin pages.

use actix_web::web;

/// The pages below `/admin`.
pub fn routes(config: &mut web::ServiceConfig) {
    let _ = config;
}
