//! The admin pages: what the API knows, for people. Rules for alerts, silences and maintenance windows are made here too,
//! and a kept body is taken in again; of other changes a page shows the call of the API.
//!
//! Must never happen here: a page without a session, a change without the form's key and the role that the API asks for, a
//! rule of the domain, a secret on a page, or a list that is loaded whole where it has no bound.

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

/// Rows of a list on a page.
const ROWS: Limit = Limit(100);

/// The pages below `/admin`.
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
            .default_service(web::to(edge::no_such_page))
            .wrap(from_fn(session::guard))
            .wrap(from_fn(error_page::always)),
    );
}

/// An id of ours in a path: what cannot be one does not exist.
fn own<T>(what: &str, parsed: Result<T, String>) -> Answer<T> {
    parsed.map_err(|_| Problem::Domain(Error::NotFound(format!("{what} of this id"))))
}
