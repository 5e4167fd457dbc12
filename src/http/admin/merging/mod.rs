//! The pages that merge incidents, undo merges, and split incidents. They do what the API does, with the same role.
//!
//! A merge is shown before it is done: the page says what moves, and the button names both incidents.

mod one;
mod several;
mod split;
mod words;

use crate::auth::Role;
use crate::http::admin_page::Pages;

/// These paths come before those with the ID of an incident in the same place.
pub(super) fn routes(pages: &mut Pages) {
    pages
        .search(several::PATH, Role::Operator, several::show)
        .does(&["GET /api/v1/incidents/alike"])
        .send(several::PATH, Role::Operator, several::send)
        .does(&["POST /api/v1/incidents/merge"])
        .search("/incidents/{id}/merge", Role::Operator, one::show)
        .send("/incidents/{id}/merge", Role::Operator, one::send)
        .does(&["POST /api/v1/incidents/{id}/merge"])
        .send("/incidents/{id}/unmerge", Role::Operator, one::undo)
        .does(&["POST /api/v1/incidents/{id}/unmerge"])
        .show("/incidents/{id}/split", Role::Operator, split::show)
        .send("/incidents/{id}/split", Role::Operator, split::send)
        .keeps_text("Split the incident")
        .does(&["POST /api/v1/incidents/{id}/split"]);
}
