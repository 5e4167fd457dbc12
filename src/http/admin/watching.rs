//! `/admin/watching`: the checks and heartbeats, their states, and their last results.
//!
//! The URL of a heartbeat, the value of a check's header, and a query are never shown, because they may
//! contain a secret.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::frame::Frame;
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{When, cut, duration, grouped, link};
use crate::auth::Role;
use crate::directory::ResourceRef;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::watch::check::{self, Check, CheckState};
use crate::watch::heartbeat::{self, Heartbeat, HeartbeatState};
use crate::watch::without_query;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/watching", Role::Viewer, list)
        .does(&["GET /api/v1/checks", "GET /api/v1/heartbeats"]);
}

const ROWS: Limit = Limit(100);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    checks_after: Option<String>,
    heartbeats_after: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let checks_after: Option<String> = cursor(p.checks_after.as_deref())?;
    let heartbeats_after: Option<String> = cursor(p.heartbeats_after.as_deref())?;
    let (checks, heartbeats) = app
        .db
        .read(move |conn| {
            let checks = check::list(conn, checks_after.as_deref(), ROWS.probe())?;
            let heartbeats = heartbeat::list(conn, heartbeats_after.as_deref(), ROWS.probe())?;
            Ok((
                page(checks, ROWS, |one| one.id.to_string()),
                page(heartbeats, ROWS, |one| one.id.to_string()),
            ))
        })
        .await?;
    let may_change = by.0.role.covers(Role::Admin);
    let pager = |page_of: &dyn Fn() -> (bool, Option<String>), name: &str, section: &str| {
        let (moved, next) = page_of();
        json!({
            "first": moved.then(|| format!("/admin/watching#{section}")),
            "next": next.map(|next| format!("{}#{section}", link("/admin/watching", &[(name, Some(&next))]))),
        })
    };
    let of_checks = || (p.checks_after.is_some(), checks.next_cursor.clone());
    let of_heartbeats = || (p.heartbeats_after.is_some(), heartbeats.next_cursor.clone());
    app.pages.answer(
        "admin/watching",
        &json!({
            "page": Frame::new(&app, &by, "Checks and heartbeats", "Checks and heartbeats").live(Some(30)),
            "checks": rows(&checks, |one| check_row(one, may_change)),
            "checks_pager": pager(&of_checks, "checks_after", "checks"),
            "may_change": may_change,
            "heartbeats": rows(&heartbeats, |one| heartbeat_row(one, may_change)),
            "heartbeats_pager": pager(&of_heartbeats, "heartbeats_after", "heartbeats"),
        }),
    )
}

fn rows<T>(page: &Page<T>, row: impl Fn(&T) -> Value) -> Vec<Value> {
    page.items.iter().map(row).collect()
}

fn affects(resources: &[ResourceRef]) -> String {
    const NAMED: usize = 3;
    let named: Vec<String> = resources.iter().take(NAMED).map(ResourceRef::to_string).collect();
    match resources.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn check_row(one: &Check, may_change: bool) -> Value {
    let given = &one.given;
    let (word, tone) = match one.state {
        _ if given.paused => ("paused", ""),
        CheckState::New => ("no result yet", ""),
        CheckState::Up if one.failed_in_a_row > 0 => ("up, but failing", "warn"),
        CheckState::Up => ("up", "good"),
        CheckState::Down => ("down", "bad"),
    };
    let last = one.last.as_ref();
    json!({
        "name": given.name,
        "path": may_change.then(|| format!("/admin/watching/checks/{}", one.id)),
        "asks": format!("{} {}", given.method.as_str().to_ascii_uppercase(), cut(without_query(&given.url), 120)),
        "every": duration(given.every_seconds),
        "severity": given.severity,
        "affects": affects(&given.resources),
        "word": word,
        "tone": tone,
        "changed": When::maybe(one.changed_at, None),
        "last": last.map(|last| json!({
            "at": When::utc(last.at),
            "ok": last.ok,
            "status": last.status,
            "latency": last.latency_ms.map(|ms| format!("{} ms", grouped(i64::try_from(ms).unwrap_or(i64::MAX)))),
            "problems": last.problems.iter().map(|problem| cut(problem, 200)).collect::<Vec<_>>(),
            "certificate": When::maybe(last.certificate_expires_at, None),
        })),
    })
}

fn heartbeat_row(one: &Heartbeat, may_change: bool) -> Value {
    let (word, tone) = match one.state {
        HeartbeatState::New => ("waiting for the first", ""),
        HeartbeatState::Up => ("up", "good"),
        HeartbeatState::Silent => ("missing", "bad"),
        HeartbeatState::Failed => ("failed", "bad"),
    };
    json!({
        "name": one.given.name,
        "path": may_change.then(|| format!("/admin/watching/heartbeats/{}", one.id)),
        "every": duration(one.given.every_seconds),
        "grace": duration(one.given.grace_seconds),
        "severity": one.given.severity,
        "affects": affects(&one.given.resources),
        "word": word,
        "tone": tone,
        "changed": When::maybe(one.changed_at, None),
        "last": When::maybe(one.last_beat_at, None),
        "beats": grouped(one.beats),
        "deadline": When::maybe(one.deadline_at, None),
    })
}
