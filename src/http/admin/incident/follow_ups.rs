//! The next steps of an incident.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::head::Reader;
use crate::auth::Role;
use crate::http::App;
use crate::http::admin::incident_steps;
use crate::http::admin::params::{Form, Paged};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::link;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::incident::next_step;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/follow-ups", Role::Viewer, show)
        .does(&["GET /api/v1/incidents/{id}/next-steps"]);
}

/// The number of steps on one page.
const ROWS: Limit = Limit(20);

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let after: Option<String> = cursor(at.as_deref())?;
    let mut reader = Reader::new(&app);
    let (head, steps) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            Ok((
                head,
                next_step::list(conn, Some(&id), None, after.as_deref(), ROWS.probe())?,
            ))
        })
        .await?;
    let local = head.local(&by);
    let local = local.as_ref();
    let steps = page(steps, ROWS, |step| step.id.clone());
    let base = format!("{}/follow-ups", head.base());
    let data = json!({
        "steps": incident_steps::section(head.incident.number, &steps.items, local, app.clock().now()),
        "first": at.is_some().then_some(&base),
        "next": steps.next_cursor.as_deref().map(|next| link(&base, &[("cursor", Some(next))])),
    });
    head.page(
        &app,
        &by,
        ("admin/incident/steps-tab", "Follow-ups"),
        StatusCode::OK,
        data,
    )
}
