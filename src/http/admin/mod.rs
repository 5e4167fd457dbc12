//! The admin pages: what the API knows, for people. They look; where it helps a page shows the call of the API that makes
//! a change. The one thing that they do themselves is to take a kept body in again.
//!
//! Must never happen here: a page without a session, a rule of the domain, a secret on a page, or a list that is
//! loaded whole where it has no bound.

mod audience;
mod audit;
mod automation;
mod directory;
mod incident;
mod incidents;
mod integrations;
mod notices;
mod params;
pub mod session;
mod templates;
pub mod view;
mod watching;
mod why;

use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, web};

use super::error_page;
use super::problem::{Answer, Problem};
use crate::error::Error;
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
            .configure(watching::routes)
            .configure(automation::routes)
            .configure(templates::routes)
            .configure(audit::routes)
            .default_service(web::to(no_such_page))
            .wrap(from_fn(session::guard))
            .wrap(from_fn(error_page::always)),
    );
}

async fn no_such_page() -> Answer<HttpResponse> {
    Err(Problem::NoSuchPath)
}

/// An id of ours in a path: what cannot be one does not exist.
fn own<T>(what: &str, parsed: Result<T, String>) -> Answer<T> {
    parsed.map_err(|_| Problem::Domain(Error::NotFound(format!("{what} of this id"))))
}
