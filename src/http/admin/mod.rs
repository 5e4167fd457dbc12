//! The admin pages. They show what the API returns. Alert rules, silences and maintenance windows can be
//! created here, people can be added to an incident, and saved requests can be replayed. For all other changes, a page shows the API call.
//!
//! - No page is shown without a session.
//! - No change is made without the key of the form and the role that the API requires.
//! - No rule of the domain is here.
//! - No secret is on a page.
//! - No unlimited list is loaded as a whole.

mod affected_people;
mod audience;
mod audit;
mod automation;
mod directory;
mod error_page;
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
mod signed_in;
mod templates;
pub mod view;
mod watching;
mod why;

use actix_web::middleware::from_fn;
use actix_web::web;

use super::admin_page::{Page, Pages, SCOPE};

use super::edge;

/// The pages below `/admin`, each with its role.
pub fn pages() -> Vec<Page> {
    let mut pages = Pages::default();
    session::routes(&mut pages);
    incidents::routes(&mut pages);
    incident::routes(&mut pages);
    affected_people::routes(&mut pages);
    notices::routes(&mut pages);
    directory::routes(&mut pages);
    integrations::routes(&mut pages);
    rules::routes(&mut pages);
    quiet::routes(&mut pages);
    quiet_forms::routes(&mut pages);
    watching::routes(&mut pages);
    automation::routes(&mut pages);
    templates::routes(&mut pages);
    audit::routes(&mut pages);
    pages.into_all()
}

/// Serves the pages, behind the guard.
pub fn routes(config: &mut web::ServiceConfig) {
    let scope = pages().into_iter().fold(web::scope(SCOPE), |scope, page| {
        scope.service(page.into_resource())
    });
    config.service(
        scope
            .default_service(web::to(edge::not_served))
            .wrap(from_fn(session::guard))
            .wrap(from_fn(error_page::always)),
    );
}
