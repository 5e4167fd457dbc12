//! When an incident started, was detected, mitigated and resolved, and how long each took.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::head::Reader;
use crate::auth::Role;
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, duration, zone};
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::metrics::{self, Metrics};
use crate::operators::promises::{self, Missed};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/incidents/{id}/times", Role::Viewer, show)
        .does(&["GET /api/v1/incidents/{id}/metrics"]);
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let mut reader = Reader::new(&app);
    let (head, metrics, missed) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            Ok((
                head,
                metrics::metrics(conn, &id, None)?,
                promises::missed(conn, &id)?,
            ))
        })
        .await?;
    // The reader's time zone is first. UTC has a column of its own.
    let own = by
        .zone()
        .and_then(|name| Some((name.to_owned(), zone(Some(name))?)));
    let own_name = own.as_ref().map(|(name, _)| name.clone());
    let others = head
        .whole
        .zones
        .iter()
        .filter(|(name, _)| Some(name) != own_name.as_ref());
    let zones: Vec<(String, TimeZone)> = own.into_iter().chain(others.cloned()).collect();
    let zones = &zones;
    let data = json!({
        "metrics": tiles(&metrics),
        "zones": zones.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "times": times(&metrics, &missed, head.now.row.next_update_due_at, zones),
    });
    head.page(&app, &by, ("admin/incident/times", "Times"), StatusCode::OK, data)
}

fn tiles(metrics: &Metrics) -> Vec<Value> {
    [
        ("Time to detect", metrics.time_to_detect, "from the start of impact"),
        ("Time to notify", metrics.time_to_notify, "from detection to the first notice"),
        ("Time to mitigate", metrics.time_to_mitigate, "from detection"),
        ("Time to resolve", metrics.time_to_resolve, "from detection"),
        ("Impact", metrics.impact, "from the start to mitigation"),
    ]
    .into_iter()
    .map(|(label, seconds, meaning)| json!({"label": label, "value": seconds.map(duration), "meaning": meaning}))
    .collect()
}

fn times(
    metrics: &Metrics,
    missed: &[Missed],
    due: Option<Timestamp>,
    zones: &[(String, TimeZone)],
) -> Vec<Value> {
    let times = &metrics.times;
    // A promise that was missed is shown as such.
    let due = due.filter(|due| missed.iter().all(|one| one.due_at != *due));
    let missed = missed
        .iter()
        .map(|one| ("Promised update missed", Some(one.due_at)));
    [
        ("Started", Some(times.started_at)),
        ("Detected", Some(times.detected_at)),
        ("First notified", times.notified_at),
        ("Mitigated", times.mitigated_at),
        ("Resolved", times.resolved_at),
    ]
    .into_iter()
    .chain(missed)
    // A resolved incident, and one that nobody was notified of, need no update.
    .chain(due.map(|at| ("Next update due", Some(at))))
    .map(|(label, at)| {
        json!({
            "label": label,
            "at": at.map(When::utc),
            "local": at.map(|at| zones.iter().map(|(name, zone)| json!({
                "text": at.short(zone), "zone": name,
            })).collect::<Vec<_>>()).unwrap_or_default(),
        })
    })
    .collect()
}
