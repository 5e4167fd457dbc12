//! The pages' templates: compiled at start, escaped always, everything they need in the binary.
//!
//! Must never happen here: a page that loads anything from elsewhere, or markup of strangers.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use handlebars::Handlebars;
use serde::Serialize;

use super::problem::Problem;
use crate::base::error::{Error, Result};

macro_rules! sources {
    ($($name:literal),+ $(,)?) => {
        /// Every page and partial, by name.
        const SOURCES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../templates/", $name, ".html.hbs")))),+];
    };
}

sources! {
    "style",
    "public/layout",
    "public/status",
    "public/unsubscribe",
    "public/error",
    "admin/layout",
    "admin/time",
    "admin/badge",
    "admin/pager",
    "admin/command",
    "admin/mail",
    "admin/progress",
    "admin/error",
    "admin/sign-in",
    "admin/incidents",
    "admin/incident",
    "admin/incident/audience",
    "admin/incident/affected",
    "admin/incident/report",
    "admin/incident/unreached",
    "admin/incident/unreached-row",
    "admin/incident/why",
    "admin/notice",
    "admin/notice/preview",
    "admin/notice/deliveries",
    "admin/directory",
    "admin/accounts",
    "admin/account",
    "admin/people",
    "admin/person",
    "admin/resources",
    "admin/resource",
    "admin/resource-rows",
    "admin/integrations",
    "admin/integration",
    "admin/key",
    "admin/field",
    "admin/wrong",
    "admin/matchers",
    "admin/matcher-rows",
    "admin/rules",
    "admin/rule",
    "admin/quiet",
    "admin/quiet-rows",
    "admin/silence",
    "admin/window",
    "admin/watching",
    "admin/automation",
    "admin/templates",
    "admin/template",
    "admin/audit",
    "admin/verify",
}

/// Nothing is loaded and nothing runs: the style stands in the page, and there is no script at all.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

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
        self.answer_with(StatusCode::OK, name, data)
    }

    /// The same with another status.
    ///
    /// # Errors
    /// `Internal` where the data do not fit the page.
    pub fn answer_with(
        &self,
        status: StatusCode,
        name: &str,
        data: &impl Serialize,
    ) -> std::result::Result<HttpResponse, Problem> {
        let html = self.0.render(name, data).map_err(Error::internal)?;
        Ok(HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .insert_header(("content-security-policy", POLICY))
            .insert_header(("x-content-type-options", "nosniff"))
            .insert_header(("referrer-policy", "no-referrer"))
            .insert_header(("cache-control", "no-store"))
            .body(html))
    }
}
