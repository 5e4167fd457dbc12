//! The templates of the pages. They are compiled at the start, they always escape, and everything they need
//! is in the binary.
//!
//! A page never loads anything from another place, and never contains markup of other people.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use handlebars::{Context, Handlebars, Helper, HelperResult, Output, RenderContext, html_escape};
use serde::Serialize;

use super::problem::Problem;
use crate::base::error::{Error, Result};
use crate::base::mailbox;

macro_rules! sources {
    ($($name:literal),+ $(,)?) => {
        /// All pages and partials, by name.
        const SOURCES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../templates/", $name, ".html.hbs")))),+];
    };
}

sources! {
    "style",
    "public/layout",
    "public/status",
    "public/unsubscribe",
    "public/answers",
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
    "admin/incident/people-named",
    "admin/incident-people",
    "admin/incident/report",
    "admin/incident/unreached",
    "admin/incident/unreached-row",
    "admin/incident/why",
    "admin/incident/answers",
    "admin/answers",
    "admin/notice",
    "admin/notice/preview",
    "admin/notice/correction",
    "admin/drill",
    "admin/notice/deliveries",
    "admin/notice/approval",
    "admin/notice/compared",
    "admin/notice/break-glass",
    "admin/break-glass",
    "admin/limits",
    "admin/notice/sending",
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
    "admin/fields",
    "admin/form",
    "admin/edit",
    "admin/wrong",
    "admin/matchers",
    "admin/matcher-rows",
    "admin/rules",
    "admin/rule",
    "admin/quiet",
    "admin/quiet-rows",
    "admin/watching",
    "admin/automation",
    "admin/templates",
    "admin/template",
    "admin/audit",
    "admin/verify",
}

/// The policy allows no scripts, and loads nothing but images of Candor itself. The style is inside the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Writes an email address as people read it: `info@bücher.example` for `info@xn--bcher-kva.example`. Two domains
/// can look the same, so the title of the text is the address that Candor sends to.
fn mailbox(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let address = helper.param(0).and_then(|given| given.value().as_str());
    let address = address.unwrap_or_default();
    let readable = mailbox::readable(address);
    let (shown, sent_to) = (html_escape(&readable), html_escape(address));
    if readable == address {
        out.write(&shown)?;
    } else {
        out.write(&format!("<span title=\"{sent_to}\">{shown}</span>"))?;
    }
    Ok(())
}

/// The templates of all pages, compiled at the start.
pub struct Pages(Handlebars<'static>);

impl Pages {
    /// Compiles all pages.
    ///
    /// # Errors
    /// `Invalid` if a page is broken. The program then does not start.
    pub fn compile() -> Result<Pages> {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        registry.register_helper("mailbox", Box::new(mailbox));
        for (name, source) in SOURCES {
            registry
                .register_template_string(name, source)
                .map_err(|error| Error::invalid("", format!("the page {name} is broken: {error}")))?;
        }
        Ok(Pages(registry))
    }

    /// Renders a page as an answer with headers that forbid frames, content sniffing and scripts.
    ///
    /// # Errors
    /// `Internal` if the data does not fit the page.
    pub fn answer(&self, name: &str, data: &impl Serialize) -> std::result::Result<HttpResponse, Problem> {
        self.answer_with(StatusCode::OK, name, data)
    }

    /// Renders a page as an answer with another status code.
    ///
    /// # Errors
    /// `Internal` if the data does not fit the page.
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
