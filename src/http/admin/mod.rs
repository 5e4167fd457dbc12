//! The admin pages. They show what the API returns. Alert rules, silences and maintenance windows can be
//! created here, and saved requests can be replayed. For all other changes, a page shows the API call.
//!
//! - No page is shown without a session.
//! - No change is made without the key of the form and the role that the API requires.
//! - No rule of the domain is here.
//! - No secret is on a page.
//! - No unlimited list is loaded as a whole.

mod audience;
mod audit;
mod automation;
mod directory;
mod filled;
mod incident;
mod incidents;
mod integrations;
mod matchers;
mod notices;
mod params;
mod quiet;
mod quiet_forms;
mod rule_form;
mod rules;
pub mod session;
mod templates;
pub mod view;
mod watching;
mod why;

use actix_web::middleware::from_fn;
use actix_web::web;

use super::problem::{Answer, Problem};
use super::{edge, error_page};
use crate::base::error::Error;
use crate::http::page::Limit;

/// The number of rows of a list on one page.
const ROWS: Limit = Limit(100);

/// The paths of the pages, below `/admin`. The answer to a request with another method names the methods of its path.
pub const PAGES: [&str; 26] = [
    "",
    "/audit",
    "/audit/verify",
    "/automation",
    "/directory",
    "/directory/accounts",
    "/directory/accounts/{id}",
    "/directory/find",
    "/directory/people",
    "/directory/people/{id}",
    "/directory/resources",
    "/directory/resources/{type}/{id}",
    "/incidents/{id}",
    "/integrations",
    "/integrations/{id}",
    "/notices/{id}",
    "/quiet",
    "/quiet/silences/new",
    "/quiet/windows/new",
    "/rules",
    "/rules/new",
    "/rules/{id}",
    "/sign-in",
    "/templates",
    "/templates/{phase}",
    "/watching",
];
/// The paths that take forms, below `/admin`.
pub const FORMS: [&str; 12] = [
    "/integrations/{id}/bodies/{body}/replay",
    "/quiet/silences",
    "/quiet/silences/{id}/end",
    "/quiet/windows",
    "/quiet/windows/{id}/end",
    "/rules",
    "/rules/try",
    "/rules/{id}",
    "/rules/{id}/delete",
    "/rules/{id}/move",
    "/sign-in",
    "/sign-out",
];

/// Adds the pages below `/admin`.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/admin")
            .configure(session::routes)
            .configure(incidents::routes)
            .configure(incident::routes)
            .configure(notices::routes)
            .configure(directory::routes)
            .configure(integrations::routes)
            .configure(rules::routes)
            .configure(quiet::routes)
            .configure(watching::routes)
            .configure(automation::routes)
            .configure(templates::routes)
            .configure(audit::routes)
            .default_service(web::to(edge::not_served))
            .wrap(from_fn(session::guard))
            .wrap(from_fn(error_page::always)),
    );
}

/// Parses an ID of Candor in a path. A text that cannot be an ID is answered with "not found".
fn own<T>(what: &str, parsed: Result<T, String>) -> Answer<T> {
    parsed.map_err(|_| Problem::Domain(Error::NotFound(format!("{what} of this id"))))
}
