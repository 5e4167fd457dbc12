//! The admin pages. They show what the API returns. Incidents can be opened and notices corrected here. The status of an incident, its timeline, the people named directly, the
//! answers of customers, alert rules, silences and maintenance windows can be changed here, and saved requests can be
//! replayed. For all other changes, a page shows the API call.
//!
//! - No page is shown without a session.
//! - No change is made without the key of the form and the role that the API requires.
//! - No rule of the domain is here.
//! - No secret is on a page.
//! - No unlimited list is loaded as a whole.

mod affected_people;
mod answers;
mod approval_forms;
mod audience;
mod audit;
mod automation;
mod corrections;
mod directory;
mod draft_forms;
mod error_page;
mod field;
mod filled;
mod form;
mod incident;
mod incident_forms;
mod incidents;
mod integrations;
mod limits;
mod matchers;
mod mute_forms;
mod mutes;
mod notices;
mod open_incident;
mod params;
mod rule_form;
mod rules;
mod sending;
mod sending_forms;
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
    open_incident::routes(&mut pages);
    incident::routes(&mut pages);
    incident_forms::routes(&mut pages);
    answers::routes(&mut pages);
    affected_people::routes(&mut pages);
    notices::routes(&mut pages);
    approval_forms::routes(&mut pages);
    limits::routes(&mut pages);
    sending::routes(&mut pages);
    corrections::routes(&mut pages);
    draft_forms::routes(&mut pages);
    directory::routes(&mut pages);
    integrations::routes(&mut pages);
    rules::routes(&mut pages);
    mutes::routes(&mut pages);
    mute_forms::routes(&mut pages);
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
