//! The pages' templates: compiled at start, escaped always, everything they need in the binary.
//!
//! Must never happen here: a page that loads anything from elsewhere, or markup of strangers.

use actix_web::HttpResponse;
use handlebars::Handlebars;
use serde::Serialize;

use super::problem::Problem;
use crate::error::{Error, Result};

/// Every page and partial, by name.
const SOURCES: &[(&str, &str)] = &[
    (
        "public/layout",
        include_str!("../../templates/public/layout.html.hbs"),
    ),
    (
        "public/status",
        include_str!("../../templates/public/status.html.hbs"),
    ),
    (
        "public/unsubscribe",
        include_str!("../../templates/public/unsubscribe.html.hbs"),
    ),
];

/// Compiled pages.
pub struct Pages(Handlebars<'static>);

impl Pages {
    /// Compiles all of them.
    ///
    /// # Errors
    /// `Invalid` where one is broken: then the program does not start.
    pub fn compile() -> Result<Pages> {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        for (name, source) in SOURCES {
            registry
                .register_template_string(name, source)
                .map_err(|error| Error::invalid("", format!("the page {name} is broken: {error}")))?;
        }
        Ok(Pages(registry))
    }

    /// Renders a page as an answer that may not be framed, sniffed or scripted.
    ///
    /// # Errors
    /// `Internal` where the data do not fit the page.
    pub fn answer(&self, name: &str, data: &impl Serialize) -> std::result::Result<HttpResponse, Problem> {
        let html = self.0.render(name, data).map_err(Error::internal)?;
        Ok(HttpResponse::Ok()
            .content_type("text/html; charset=utf-8")
            .insert_header((
                "content-security-policy",
                "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            ))
            .insert_header(("x-content-type-options", "nosniff"))
            .insert_header(("referrer-policy", "no-referrer"))
            .insert_header(("cache-control", "no-store"))
            .body(html))
    }
}
