//! `/admin`: the incidents, newest first, each with the number of notified people.
//!
//! The audience is not computed for each row. The numbers come from the counts of the notices.

use std::collections::HashMap;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{Frame, When, grouped, link, zone};
use crate::auth::Role;
use crate::base::id::IncidentId;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::{self, Incident, Severity, Status};
use crate::notice::{self, Notice};

pub(super) fn routes(pages: &mut Pages) {
    pages.search("", Role::Viewer, list);
}

const ROWS: Limit = Limit(50);
const STATUSES: [Status; 4] = [
    Status::Investigating,
    Status::Identified,
    Status::Monitoring,
    Status::Resolved,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    status: Option<Status>,
    severity: Option<Severity>,
    cursor: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let ListParams {
        status,
        severity,
        cursor: at,
    } = params.0;
    let below: Option<i64> = cursor(at.as_deref())?;
    let (page, mut notices) = app
        .db
        .read(move |conn| {
            let page = page(
                incident::list(conn, status, severity, below, ROWS.probe())?,
                ROWS,
                |i| i.number,
            );
            let ids: Vec<&IncidentId> = page.items.iter().map(|incident| &incident.id).collect();
            let mut notices: HashMap<IncidentId, Vec<Notice>> = HashMap::new();
            for notice in notice::of_incidents(conn, &ids)? {
                notices.entry(notice.incident.clone()).or_default().push(notice);
            }
            Ok((page, notices))
        })
        .await?;
    let Page { items, next_cursor } = page;
    let (status, severity) = (status.map(Status::as_str), severity.map(Severity::as_str));
    let path = |status: Option<&str>, cursor: Option<&str>| {
        link(
            "/admin",
            &[("status", status), ("severity", severity), ("cursor", cursor)],
        )
    };
    let mut tabs = vec![json!({"label": "all", "path": path(None, None), "current": status.is_none()})];
    tabs.extend(STATUSES.iter().map(|tab| {
        let tab = tab.as_str();
        json!({"label": tab, "path": path(Some(tab), None), "current": status == Some(tab)})
    }));
    let rows: Vec<Value> = items
        .iter()
        .map(|incident| row(incident, &notices.remove(&incident.id).unwrap_or_default()))
        .collect();
    app.pages.answer(
        "admin/incidents",
        &json!({
            "page": Frame::new(&app, Some(&by.0), "Incidents", "Incidents"),
            "may_open": by.0.role.covers(Role::Operator),
            "tabs": tabs,
            "incidents": rows,
            "filtered": status.is_some() || severity.is_some() || at.is_some(),
            "first": at.is_some().then(|| path(status, None)),
            "next": next_cursor.map(|next| path(status, Some(&next))),
        }),
    )
}

fn row(incident: &Incident, notices: &[Notice]) -> Value {
    let told: Vec<Value> = notices
        .iter()
        .filter(|notice| !notice.state.is_draft())
        .map(|notice| {
            let parts = notice.counts.partition;
            let refused = parts.failed + notice.counts.stopped + parts.unreachable;
            json!({
                "path": format!("/admin/notices/{}", notice.id),
                "phase": notice.phase,
                "text": format!("{} of {}", grouped(parts.accepted), grouped(parts.people)),
                "bad": refused > 0,
                "on_its_way": notice.state.is_being_sent(),
            })
        })
        .collect();
    json!({
        "number": incident.number,
        "path": format!("/admin/incidents/{}", incident.number),
        "title": incident.title,
        "drill": incident.drill,
        "severity": incident.severity,
        "status": incident.status,
        "started": When::new(incident.started_at, zone(incident.time_zone.as_deref()).as_ref()),
        "alerts": incident.alerts,
        "told": told,
        "drafts": notices.iter().filter(|notice| notice.state.is_draft()).count(),
    })
}
