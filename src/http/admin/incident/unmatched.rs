//! The IDs and the users that alerts of an incident name and that the directory does not know.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::head::Reader;
use crate::alert::lookup;
use crate::auth::Role;
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::Filled;
use crate::http::admin::incident_forms::find;
use crate::http::admin::params::{Form, Paged};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{count, link};
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/unmatched", Role::Viewer, show)
        .send("/incidents/{id}/unmatched", Role::Operator, search)
        .does(&["POST /api/v1/incidents/{id}/resolve-references"]);
}

/// The number of IDs on one page.
const ROWS: Limit = Limit(50);

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let after: Option<(String, String)> = cursor(at.as_deref())?;
    let mut reader = Reader::new(&app);
    let head = app.db.read(move |conn| reader.read(conn, &name)).await?;
    let all = &head.whole.unresolved;
    let rows: Vec<_> = all
        .iter()
        .filter(|one| {
            after
                .as_ref()
                .is_none_or(|(type_, id)| (&one.type_, &one.id) > (type_, id))
        })
        .take(ROWS.probe() as usize)
        .collect();
    let rows = page(rows, ROWS, |one| (one.type_.clone(), one.id.clone()));
    let base = format!("{}/unmatched", head.base());
    let data = json!({
        "title": count(all.len(), "ID in alerts is not in the directory", "IDs in alerts are not in the directory"),
        "any": !all.is_empty(),
        "rows": rows.items.iter().map(|one| json!({"type": one.type_, "id": one.id, "reason": one.reason})).collect::<Vec<_>>(),
        "first": at.is_some().then_some(&base),
        "next": rows.next_cursor.as_deref().map(|next| link(&base, &[("cursor", Some(next))])),
        "search": (by.0.role.covers(Role::Operator) && !all.is_empty()).then_some(&base),
        "unidentified": head.whole.unidentified,
    });
    head.page(
        &app,
        &by,
        ("admin/incident/unmatched", "Unmatched IDs"),
        StatusCode::OK,
        data,
    )
}

/// Searches the IDs again: at once in the directory, and soon after at the service of the product.
async fn search(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let id = incident.id.clone();
    let wanted = app.db.write(&actor, move |tx| lookup::want(tx, &id)).await?;
    app.lookups.notify_one();
    let found = count(wanted.resolved, "ID was found", "IDs were found");
    let asked = match wanted.asked {
        0 => String::new(),
        _ => " The service of the product is asked about the others.".to_owned(),
    };
    let back = format!("/admin/incidents/{}/unmatched", incident.number);
    Ok(done(&app, &back, &format!("{found} in the directory.{asked}")))
}
