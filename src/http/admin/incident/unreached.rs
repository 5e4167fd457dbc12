//! The people who could not be reached about an incident: why, and who else of their accounts could be notified.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::head::Reader;
use crate::auth::Role;
use crate::feedback::unreached;
use crate::http::App;
use crate::http::admin::audience;
use crate::http::admin::params::{Form, Paged};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::link;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::notice::Overview;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/unreached", Role::Viewer, show)
        .does(&["GET /api/v1/incidents/{id}/unreached"]);
}

/// The number of people on one page.
const ROWS: Limit = Limit(20);

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let after: Option<String> = cursor(at.as_deref())?;
    let (mut reader, now) = (Reader::new(&app), app.clock().now());
    let audience_cache = app.audience_cache.clone();
    let (head, listed) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            // One overview serves every page, and the tab with the people.
            let overview = audience_cache.get_or_compute_large(conn, &id, "overview", now, |conn| {
                Overview::read_with_emails(conn, &id)
            })?;
            let (whole, emails) = &*overview.value;
            let missed = emails.missed.clone();
            let listed = unreached::of_overview(conn, &id, whole, missed, after.as_deref(), ROWS.probe())?;
            Ok((head, listed))
        })
        .await?;
    let (counts, rows) = listed;
    let rows = page(rows, ROWS, |one| one.person.id.clone());
    let base = format!("{}/unreached", head.base());
    let data = json!({
        "unreached": audience::unreached(&counts, &rows.items, head.local(&by).as_ref()),
        "first": at.is_some().then_some(&base),
        "next": rows.next_cursor.as_deref().map(|next| link(&base, &[("cursor", Some(next))])),
    });
    head.page(
        &app,
        &by,
        ("admin/incident/not-reached", "Not reached"),
        StatusCode::OK,
        data,
    )
}
