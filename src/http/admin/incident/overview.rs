//! The first page of an incident: the last notices to customers, and the timeline, newest first.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::head::Reader;
use super::notices;
use crate::auth::Role;
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::admin::incident_forms;
use crate::http::admin::now::write_path;
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, cut, grouped, link};
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::incident::merge::{self, MergedHere};
use crate::incident::timeline::{self, Entry};
use crate::incident::{Status, recovery};
use crate::notice;
use crate::notice::compose::paragraphs;
use crate::now::OpenIncident;
use crate::operators::promises;

pub(super) fn routes(pages: &mut Pages) {
    pages.search("/incidents/{id}", Role::Viewer, show).does(&[
        "GET /api/v1/incidents/{id}",
        "GET /api/v1/incidents/{id}/timeline",
        "GET /api/v1/incidents/{id}/notices",
        "GET /api/v1/incidents/{id}/automation",
        "GET /api/v1/incidents/{id}/merged",
    ]);
}

/// The number of timeline entries on one page.
const ROWS: Limit = Limit(20);
/// The number of notices on the page.
const NOTICES: usize = 20;
/// A longer summary is folded.
const LONG: usize = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    timeline_before: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let at = params.0.timeline_before;
    let before: Option<(Timestamp, i64)> = cursor(at.as_deref())?;
    let mut reader = Reader::new(&app);
    let may = by.0.role.covers(Role::Operator);
    let (head, entries, missed, recovered, (merged, alike, told)) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            let entries = timeline::newest(conn, &id, before, ROWS.probe())?;
            let recovered = match recovery::in_use(conn, &id)? {
                true => Some(recovery::totals(conn, &id)?),
                false => None,
            };
            let merged = merge::into_this(conn, &id)?;
            // What was told about the merged incidents counts for this one, so it is listed here.
            let told = match merged.is_empty() {
                true => Vec::new(),
                false => notice::newest(conn, &id, None, NOTICES as i64)?,
            };
            let alike = match may {
                true => merge::alike_to(conn, &id)?,
                false => Vec::new(),
            };
            let missed = promises::missed(conn, &id)?;
            Ok((head, entries, missed, recovered, (merged, alike, told)))
        })
        .await?;
    let incident = &head.incident;
    let entries = page(entries, ROWS, |entry| (entry.at, entry.id));
    let local = head.local(&by);
    let local = local.as_ref();
    let base = head.base();
    let path = |before: Option<&str>| format!("{}#timeline", link(&base, &[("timeline_before", before)]));
    let summary = incident.summary.as_deref();
    let due = head.now.row.next_update_due_at;
    let due = due.filter(|due| missed.iter().all(|one| one.due_at != *due));
    let data = json!({
        "summary": summary.map(paragraphs).unwrap_or_default(),
        "summary_start": summary.filter(|text| text.chars().count() > LONG).map(|text| cut(&text.replace('\n', " "), 120)),
        // The newest first.
        "notices": head.now.notices.iter().rev().take(NOTICES).map(|one| notices::row(one, local, app.outbox)).collect::<Vec<_>>(),
        "merged": merged.iter().map(|one| merged_row(one, may, local)).collect::<Vec<_>>(),
        "told_before": told.iter().filter(|one| one.incident != incident.id).map(|one| notices::row(one, local, app.outbox)).collect::<Vec<_>>(),
        "alike": alike.iter().map(|one| json!({
            "number": one.number, "title": one.title, "shares": one.shares.join(", "),
            "path": format!("/admin/incidents/{}", one.number),
            "merge": link(&format!("/admin/incidents/{}/merge", one.number), &[("into", Some(&incident.number.to_string()))]),
        })).collect::<Vec<_>>(),
        "all_notices": (head.now.notices.len() >= NOTICES).then(|| format!("{base}/notices")),
        "recovery": recovered.map(|counts| json!({
            "text": format!("Recovered {} of {}", grouped(counts.recovered), grouped(counts.total())),
            "path": format!("{base}/recovery"),
            "attested": (counts.attested > 0).then(|| grouped(counts.attested)),
        })),
        "due": When::maybe(due, local),
        "missed": !missed.is_empty(),
        "write": by.0.role.covers(Role::Operator).then(|| write_path(incident.number, next_phase(&head.now.row))),
        "timeline": entries.items.iter().map(|entry| entry_row(entry, local)).collect::<Vec<_>>(),
        "first": at.is_some().then(|| path(None)),
        "next": entries.next_cursor.as_deref().map(|next| path(Some(next))),
        "forms": by.0.role.covers(Role::Operator).then(|| incident_forms::shown(incident, &by)),
    });
    head.page(&app, &by, ("admin/incident", "Overview"), StatusCode::OK, data)
}

fn merged_row(one: &MergedHere, may: bool, local: Option<&TimeZone>) -> Value {
    let number = one.incident.number;
    let path = format!("/admin/incidents/{number}");
    json!({
        "number": number,
        "title": one.incident.title,
        "at": When::new(one.merged_at, local),
        "by": one.merged_by,
        "reason": one.reason,
        "undo": may.then(|| json!({
            "label": "Undo", "action": format!("{path}/unmerge"), "button": format!("Take #{number} out again"),
            "text": format!("#{number} gets back what was its own: its alerts, affected resources, people, timeline, next steps and \
                comparisons. What came since the merge stays here. Customers are not notified by this."),
            "fields": [],
        })),
        "path": path,
    })
}

/// Returns the phase that a new notice most probably has.
fn next_phase(row: &OpenIncident) -> &'static str {
    match (row.incident.status, &row.last_notice) {
        (Status::Resolved, _) => "resolution",
        (_, Some(_)) => "update",
        (_, None) => "detection",
    }
}

fn entry_row(entry: &Entry, local: Option<&TimeZone>) -> Value {
    // The author gave the time in another time zone. It is shown if the page itself has no local time zone.
    let written = (local.is_none() && !entry.local_at.ends_with("+00:00")).then_some(&entry.local_at);
    json!({
        "at": When::new(entry.at, local),
        "written": written,
        "kind": entry.kind.as_str().replace('_', " "),
        "text": entry.text,
        "author": if entry.automatic { "Candor" } else { &entry.author },
        "by": entry.automatic.then_some(&entry.author),
        "internal": entry.internal,
    })
}
