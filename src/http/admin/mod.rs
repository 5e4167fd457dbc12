//! The admin pages. They show what the API returns and do what it does, with the same functions. `docs/pages.md` names the page of
//! each operation, and a test checks that none is missing.
//!
//! - No page is shown without a session.
//! - No change is made without the key of the form and the role that the API requires.
//! - No rule of the domain is here.
//! - No secret is on a page, except in the answer to the form that made it.
//! - No unlimited list is loaded as a whole.

mod affected_people;
mod alerts;
mod alike;
mod answers;
mod approval_forms;
mod approving;
mod as_json;
mod audience;
mod audit;
mod audit_proof;
mod automation;
mod backups;
mod brand;
mod check;
mod choices;
mod corrections;
mod deliveries;
mod directory;
mod done;
mod draft_actions;
mod draft_forms;
mod error_page;
mod feed_keys;
mod feedback;
mod field;
mod filled;
mod follow_ups;
mod form;
mod frame;
mod inbound_mail;
mod incident;
mod incident_edit;
mod incident_forms;
mod incident_report;
mod incident_steps;
mod incidents;
mod integration_fields;
mod integration_forms;
mod integration_guides;
mod integration_try;
mod integrations;
mod kept;
mod limits;
mod mail_as_sent;
mod maintenances;
mod matchers;
mod merging;
mod mute_forms;
mod mutes;
mod notation;
mod notice_view;
mod notices;
mod now;
mod once;
mod open_incident;
mod operators;
mod params;
mod partition;
mod policies;
mod policy_fields;
mod posts;
mod preferences;
mod rule_form;
mod rules;
mod same_origin;
mod search;
mod sending;
mod sending_forms;
mod sent;
pub mod session;
mod settings;
mod signed_in;
mod status_page;
mod subscribers;
mod system;
mod template_editor;
mod templates;
mod tokens;
mod translations;
mod upload;
mod version;
pub mod view;
mod watch_forms;
mod watching;
mod why;
mod write;

use actix_web::middleware::{Compress, from_fn};
use actix_web::web;

use super::admin_page::{Page, Pages, SCOPE};

use super::edge;

/// The pages below `/admin`, each with its role.
pub fn pages() -> Vec<Page> {
    let mut pages = Pages::default();
    session::routes(&mut pages);
    now::routes(&mut pages);
    incidents::routes(&mut pages);
    open_incident::routes(&mut pages);
    merging::routes(&mut pages);
    incident::routes(&mut pages);
    incident_forms::routes(&mut pages);
    incident_edit::routes(&mut pages);
    incident_steps::routes(&mut pages);
    incident_report::routes(&mut pages);
    posts::routes(&mut pages);
    follow_ups::routes(&mut pages);
    inbound_mail::routes(&mut pages);
    feedback::routes(&mut pages);
    answers::routes(&mut pages);
    affected_people::routes(&mut pages);
    notices::routes(&mut pages);
    approving::routes(&mut pages);
    limits::routes(&mut pages);
    brand::routes(&mut pages);
    sending::routes(&mut pages);
    corrections::routes(&mut pages);
    write::routes(&mut pages);
    draft_actions::routes(&mut pages);
    deliveries::routes(&mut pages);
    mail_as_sent::routes(&mut pages);
    directory::routes(&mut pages);
    alerts::routes(&mut pages);
    integration_forms::routes(&mut pages);
    integration_try::routes(&mut pages);
    integrations::routes(&mut pages);
    rules::routes(&mut pages);
    maintenances::routes(&mut pages);
    mutes::routes(&mut pages);
    mute_forms::routes(&mut pages);
    watching::routes(&mut pages);
    automation::routes(&mut pages);
    watch_forms::routes(&mut pages);
    policies::routes(&mut pages);
    operators::routes(&mut pages);
    status_page::routes(&mut pages);
    subscribers::routes(&mut pages);
    tokens::routes(&mut pages);
    feed_keys::routes(&mut pages);
    settings::routes(&mut pages);
    system::routes(&mut pages);
    backups::routes(&mut pages);
    template_editor::routes(&mut pages);
    templates::routes(&mut pages);
    audit::routes(&mut pages);
    audit_proof::routes(&mut pages);
    search::routes(&mut pages);
    preferences::routes(&mut pages);
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
            .wrap(from_fn(error_page::always))
            // The key of the forms looks different in each answer, so that its size reveals nothing about it.
            .wrap(Compress::default()),
    );
}
