//! The recovery of the affected resources, as a tab of the incident: numbers, the curve, accounts, resources with their evidence, and the
//! forms for batches, evidence and attestations.

mod forms;
mod history;
mod page;

use crate::auth::Role;
use crate::http::admin_page::Pages;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/recovery", Role::Viewer, page::show)
        .does(&[
            "GET /api/v1/incidents/{id}/recovery",
            "GET /api/v1/incidents/{id}/recovery/resources",
            "GET /api/v1/incidents/{id}/recovery/series",
            "GET /api/v1/incidents/{id}/recovery/attestations",
        ])
        .show("/incidents/{id}/recovery.svg", Role::Viewer, page::image)
        .does(&["GET /api/v1/incidents/{id}/recovery.svg"])
        .show(
            "/incidents/{id}/recovery/resources/{type}/{resource}",
            Role::Viewer,
            history::show,
        )
        .does(&["GET /api/v1/incidents/{id}/recovery/resources/{type}/{resource}"])
        .search("/incidents/{id}/recovery/impact.csv", Role::Viewer, page::impact)
        .does(&["GET /api/v1/incidents/{id}/recovery/impact"])
        .send("/incidents/{id}/recovery", Role::Operator, forms::begin)
        .does(&["POST /api/v1/incidents/{id}/recovery"])
        .send(
            "/incidents/{id}/recovery/selector",
            Role::Operator,
            forms::begin_found,
        )
        .does(&["POST /api/v1/incidents/{id}/recovery"])
        .send(
            "/incidents/{id}/recovery/evidence",
            Role::Operator,
            forms::evidence,
        )
        .does(&["POST /api/v1/incidents/{id}/recovery/evidence"])
        .send("/incidents/{id}/recovery/check", Role::Operator, forms::check)
        .does(&["POST /api/v1/incidents/{id}/recovery/evidence/check"])
        .send("/incidents/{id}/recovery/attest", Role::Operator, forms::attest)
        .does(&["POST /api/v1/incidents/{id}/recovery/attest"])
        .send(
            "/incidents/{id}/recovery/attestations/{attestation}/confirm",
            Role::Operator,
            forms::confirm,
        )
        .does(&["POST /api/v1/incidents/{id}/recovery/attestations/{attestation}/confirm"])
        .send(
            "/incidents/{id}/recovery/attestations/{attestation}/withdraw",
            Role::Operator,
            forms::withdraw,
        )
        .does(&["DELETE /api/v1/incidents/{id}/recovery/attestations/{attestation}"]);
}
