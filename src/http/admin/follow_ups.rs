//! `/admin/follow-ups`: the open next steps of all incidents, the overdue ones first, and the reports that are left to write or to publish.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::frame::Frame;
use super::incident_steps::{row, today};
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{ROWS, When, link};
use crate::auth::Role;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::next_step::{self, OpenStep};
use crate::incident::reports_due;

pub(super) fn routes(pages: &mut Pages) {
    pages.search("/follow-ups", Role::Viewer, show).does(&[
        "GET /api/v1/next-steps",
        "GET /api/v1/next-steps/open",
        "GET /api/v1/reports/due",
    ]);
}

const PATH: &str = "/admin/follow-ups";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    owner: Option<String>,
    cursor: Option<String>,
}

async fn show(app: web::Data<App>, by: SignedIn, params: Form<ShowParams>) -> Answer<HttpResponse> {
    let ShowParams { owner, cursor: at } = params.0;
    let after: Option<(String, String)> = cursor(at.as_deref())?;
    let now = app.clock().now();
    let wanted = owner.clone();
    let (rows, due) = app
        .db
        .read(move |conn| {
            let rows = next_step::open_by_due(conn, wanted.as_deref(), after.as_ref(), ROWS.probe())?;
            Ok((rows, reports_due::read(conn, now)?))
        })
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, OpenStep::place);
    let today = today(now);
    let may_change = by.0.role.covers(Role::Operator);
    let shown = |open: &OpenStep| -> Value {
        let mut shown = row(&open.step, None, &today);
        shown["incident"] = json!({
            "label": format!("#{} {}", open.number, open.title), "path": format!("/admin/incidents/{}", open.number),
        });
        shown["owner_path"] = json!(link(PATH, &[("owner", Some(&open.step.owner))]));
        shown
    };
    app.pages.answer(
        "admin/follow-ups",
        &json!({
            "page": Frame::new(&app, &by, "Follow-ups", "Follow-ups"),
            "may_change": may_change, "owner": owner,
            "steps": items.iter().map(shown).collect::<Vec<_>>(),
            "first": at.is_some().then(|| link(PATH, &[("owner", owner.as_deref())])),
            "next": next_cursor.map(|next| link(PATH, &[("owner", owner.as_deref()), ("cursor", Some(&next))])),
            "unpublished": due.unpublished.iter().map(|one| json!({
                "label": format!("#{} {}", one.number, one.title), "at": When::utc(one.updated_at),
                "path": format!("/admin/incidents/{}/report", one.number),
            })).collect::<Vec<_>>(),
            "missing": due.missing.iter().map(|one| json!({
                "label": format!("#{} {}", one.number, one.title), "at": When::utc(one.resolved_at), "severity": one.severity,
                "path": format!("/admin/incidents/{}/report", one.number),
            })).collect::<Vec<_>>(),
        }),
    )
}
