//! The templates of the pages. They are compiled when the first page is rendered, they always escape, and everything they need
//! is in the binary.
//!
//! A page never loads anything from another place, and never contains markup of other people.

use std::sync::OnceLock;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use handlebars::{
    Context, Handlebars, Helper, HelperResult, Output, RenderContext, RenderErrorReason, TemplateError,
    html_escape,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::{ago, static_files, template_source};
use crate::base::error::{Error, Result};
use crate::base::mailbox;
use crate::brand::{BrandCache, Shown};

macro_rules! sources {
    ($($name:literal),+ $(,)?) => {
        /// All pages and partials, by name.
        const SOURCES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../templates/", $name, ".html.hbs")))),+];
    };
}

sources! {
    "report-blocks",
    "public/layout",
    "public/customer",
    "public/status",
    "public/status-layout",
    "public/status-posts",
    "public/status-bars",
    "public/status-report",
    "public/status-incident",
    "public/status-moved",
    "public/status-component",
    "public/unsubscribe",
    "public/subscription",
    "public/answers",
    "public/error",
    "public/mine-frame",
    "public/mine-open",
    "public/mine-closed",
    "public/mine",
    "public/mine-resources",
    "public/brand",
    "public/brand-sample",
    "admin/layout",
    "admin/time",
    "admin/clock",
    "admin/tabs",
    "admin/ask",
    "admin/badge",
    "admin/pager",
    "admin/command",
    "admin/progress",
    "admin/error",
    "admin/sign-in",
    "admin/incidents",
    "admin/merge",
    "admin/now",
    "admin/partition-bar",
    "admin/incident-rows",
    "admin/incident",
    "admin/incident/head",
    "admin/incident/people",
    "admin/incident/resources",
    "admin/incident/comparisons",
    "admin/incident/comparison",
    "admin/incident/alerts",
    "admin/incident/merge",
    "admin/incident/split",
    "admin/incident/times",
    "admin/incident/report-tab",
    "admin/incident/report-history",
    "admin/incident/recovery",
    "admin/incident/recovery-history",
    "admin/incident/steps-tab",
    "admin/incident/steps",
    "admin/incident/not-reached",
    "admin/incident/unmatched",
    "admin/incident/since",
    "admin/incident/audience",
    "admin/incident/people-named",
    "admin/incident-people",
    "admin/incident/report",
    "admin/incident/unreached-row",
    "admin/incident/why",
    "admin/incident/answers",
    "admin/answers",
    "admin/notice/write",
    "admin/notice/check",
    "admin/notice/sent",
    "admin/notice/recipients",
    "admin/notice/changes",
    "admin/notice/email",
    "admin/notice/lists",
    "admin/notice/correction",
    "admin/drill",
    "admin/notice/deliveries",
    "admin/notice/approval",
    "admin/notice/compared",
    "admin/notice/impaired",
    "admin/notice/break-glass",
    "admin/break-glass",
    "admin/limits",
    "admin/brand",
    "admin/maintenances",
    "admin/maintenance",
    "admin/maintenance-row",
    "admin/notice/sending",
    "admin/directory",
    "admin/accounts",
    "admin/account",
    "admin/people",
    "admin/person",
    "admin/erase",
    "admin/erasures",
    "admin/erasure-check",
    "admin/history",
    "admin/history-rows",
    "admin/history-section",
    "admin/deliveries",
    "admin/resources",
    "admin/resource",
    "admin/resource-rows",
    "admin/integrations",
    "admin/integration",
    "admin/key",
    "admin/field",
    "admin/fields",
    "admin/languages",
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
    "admin/evidence-links",
    "admin/audit",
    "admin/verify",
    "admin/audit-proof",
    "admin/feedback",
    "admin/feedback-report",
    "admin/mail-as-sent",
    "admin/notice/values",
    "admin/notice/values-wrong",
    "admin/kept",
    "admin/search",
    "admin/search/more",
    "admin/once",
    "admin/settings",
    "admin/system",
    "admin/backups",
    "admin/incident/emergency",
    "admin/template-mail",
    "admin/template-editor",
    "admin/template-versions",
    "admin/template-version",
    "admin/alerts",
    "admin/integration-try",
    "admin/integration-sources",
    "admin/integration-secrets",
    "admin/tokens",
    "admin/feed-keys",
    "admin/operators",
    "admin/operator",
    "admin/policy",
    "admin/policy-facts",
    "admin/edit-more",
    "admin/incident/notice-rows",
    "admin/incident/all-notices",
    "admin/incident/report-versions",
    "admin/report",
    "admin/follow-ups",
    "admin/status-page",
    "admin/subscribers",
    "admin/incident/posts",
    "admin/inbound-mail",
    "admin/origin",
    "admin/deleted",
    "admin/address",
    "admin/address-result",
    "admin/suppressions",
    "admin/endpoint",
    "admin/import",
    "admin/source-rows",
    "admin/source-run-row",
    "admin/source-error",
    "admin/sources",
    "admin/new-source",
    "admin/source",
    "admin/source-runs",
    "admin/source-run",
    "admin/source-test",
}

/// The policy of a page: everything comes from Candor itself, and nothing is inside the page.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; frame-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The policy of a page for customers, which needs no script.
pub(super) const PUBLIC_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The policy of a mail that a page shows in a frame. An email has its style inside. It runs and loads nothing, and only a page of
/// Candor may show it.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; \
                           frame-ancestors 'self'; sandbox";

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

/// Writes the address of a file that pages load, such as the style.
fn file(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let name = helper.param(0).and_then(|given| given.value().as_str());
    let address = name.and_then(static_files::address);
    let address = address.ok_or(RenderErrorReason::ParamNotFoundForIndex("file", 0))?;
    out.write(address)?;
    Ok(())
}

/// Answers with an email, to be shown in a frame of a page.
pub fn mail_frame(html: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("content-security-policy", MAIL_POLICY))
        .insert_header(("x-frame-options", "SAMEORIGIN"))
        .insert_header(("cache-control", "no-store"))
        .body(html)
}

/// The policy of a report as an HTML file: it has its own style, and nothing is loaded.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
                             sandbox allow-modals";

/// Answers with a report as an HTML file, which the browser shows and can print.
pub(super) fn report_file(name: &str, html: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("content-security-policy", REPORT_POLICY))
        .insert_header(("content-disposition", format!("inline; filename=\"{name}.html\"")))
        .insert_header(("cache-control", "no-store"))
        .body(html)
}

/// The templates of all pages. They are compiled when the first page is rendered, because many processes, such as those of the
/// commands, never render one.
#[derive(Clone, Default)]
pub struct Pages {
    /// The brand, which every public page shows.
    pub brand: BrandCache,
}

/// The compiled pages of this process.
static COMPILED: OnceLock<Handlebars<'static>> = OnceLock::new();

impl Pages {
    fn compiled() -> Result<&'static Handlebars<'static>> {
        match COMPILED.get() {
            Some(compiled) => Ok(compiled),
            None => {
                let compiled = compile()?;
                Ok(COMPILED.get_or_init(|| compiled))
            }
        }
    }

    /// Renders a page as a text.
    ///
    /// # Errors
    /// `Internal` if the data does not fit the page.
    pub fn render(&self, name: &str, data: &impl Serialize) -> Result<String> {
        Pages::compiled()?.render(name, data).map_err(Error::internal)
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
        let pages = Pages::compiled()?;
        let (html, policy) = match name.starts_with("public/") {
            true => (
                pages.render(name, &branded(data, &self.brand.shown())?),
                PUBLIC_POLICY,
            ),
            false => (pages.render(name, data), POLICY),
        };
        let html = html.map_err(Error::internal)?;
        Ok(HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .insert_header(("content-security-policy", policy))
            .insert_header(("x-content-type-options", "nosniff"))
            .insert_header(("cache-control", "no-store"))
            .body(html))
    }
}

impl Pages {
    /// Renders a public page with a brand.
    ///
    /// # Errors
    /// `Internal` if the data does not fit the page.
    pub fn render_branded(name: &str, data: &impl Serialize, brand: &Shown) -> Result<String> {
        let data = branded(data, brand)?;
        Pages::compiled()?.render(name, &data).map_err(Error::internal)
    }
}

/// Returns the data of a public page with the brand, whose name replaces the one of the settings.
fn branded(data: &impl Serialize, shown: &Shown) -> Result<Value> {
    let mut data = serde_json::to_value(data)?;
    if let Some(fields) = data.as_object_mut() {
        if let Some(name) = &shown.name {
            fields.insert("company".to_owned(), json!(name));
        }
        fields.insert("brand".to_owned(), json!(shown));
    }
    Ok(data)
}

/// Compiles all pages.
///
/// # Errors
/// `Internal` if a page is broken. A test compiles each page, so that this does not happen to a user.
fn compile() -> Result<Handlebars<'static>> {
    let broken =
        |name: &str, error: TemplateError| Error::internal(format!("the page {name} is broken: {error}"));
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    registry.register_helper("mailbox", Box::new(mailbox));
    registry.register_helper("time", Box::new(ago::helper));
    registry.register_helper("file", Box::new(file));
    registry.set_dev_mode(template_source::may_change());
    for (name, built_in) in SOURCES {
        #[cfg(debug_assertions)]
        if template_source::may_change() {
            let path = template_source::path(&format!("{name}.html.hbs"));
            registry
                .register_template_file(name, path)
                .map_err(|error| broken(name, error))?;
            continue;
        }
        registry
            .register_template_string(name, built_in)
            .map_err(|error| broken(name, error))?;
    }
    Ok(registry)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A variable with the name of a helper calls the helper, and the page fails when it is rendered.
    #[test]
    fn no_variable_has_the_name_of_a_helper() {
        for (name, source) in SOURCES {
            for helper in ["file", "mailbox", "time"] {
                for call in [format!("{{{{{helper}}}}}"), format!("{{{{#if {helper}}}}}")] {
                    assert!(!source.contains(&call), "{name} contains {call}");
                }
            }
        }
    }

    #[test]
    fn every_page_can_be_compiled() {
        compile().unwrap();
    }

    #[test]
    fn every_page_is_compiled() {
        fn look(folder: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => look(&path, found),
                    false => found.push(path.display().to_string()),
                }
            }
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut found = Vec::new();
        for part in ["admin", "public"] {
            look(&root.join(part), &mut found);
        }
        let prefix = format!("{}/", root.display());
        for path in found {
            let name = path.strip_prefix(&prefix).unwrap();
            let Some(name) = name.strip_suffix(".html.hbs") else {
                continue;
            };
            assert!(
                SOURCES.iter().any(|(known, _)| *known == name),
                "{name} is not compiled"
            );
        }
    }
}
