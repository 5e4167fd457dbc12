//! All notices of an incident, newest first. Its first page shows only the last ones.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::head::Reader;
use crate::auth::Role;
use crate::http::App;
use crate::http::admin::params::{Form, Paged};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, cut, link, progress};
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::notice::{self, Notice};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/notices", Role::Viewer, show)
        .does(&["GET /api/v1/incidents/{id}/notices"]);
}

/// The number of notices on one page.
const ROWS: Limit = Limit(20);

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let before: Option<String> = cursor(at.as_deref())?;
    let mut reader = Reader::new(&app);
    let (head, notices) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let notices = notice::newest(conn, &head.incident.id, before.as_deref(), ROWS.probe())?;
            Ok((head, notices))
        })
        .await?;
    let notices = page(notices, ROWS, |one| one.id.clone());
    let base = format!("{}/notices", head.base());
    let local = head.local(&by);
    let local = local.as_ref();
    let data = json!({
        "notices": notices.items.iter().map(|one| row(one, local, app.outbox)).collect::<Vec<_>>(),
        "first": at.is_some().then_some(&base),
        "next": notices.next_cursor.as_deref().map(|next| link(&base, &[("cursor", Some(next))])),
    });
    let template = ("admin/incident/all-notices", "All notices");
    head.page(&app, &by, template, StatusCode::OK, data)
}

/// Returns a notice for the partial `admin/incident/notice-rows`.
pub(super) fn row(notice: &Notice, local: Option<&TimeZone>, outbox: bool) -> Value {
    json!({
        "path": format!("/admin/notices/{}", notice.id),
        "phase": notice.phase,
        "state": notice.state,
        "subject": notice.subject,
        "excerpt": cut(&notice.message, 160),
        "progress": progress(notice, outbox),
        "approved": notice.approved,
        "break_glass": notice.break_glass,
        "catch_up": notice.catch_up_of.is_some(),
        "reminder": notice.reminder,
        "episode": (notice.episode > 1).then_some(notice.episode),
        "at": When::new(notice.queued_at.unwrap_or(notice.created_at), local),
        "draft": notice.state.is_draft(),
        "verb": if notice.state.is_draft() { "drafted" } else { "sending started" },
    })
}
