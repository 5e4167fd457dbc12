//! The sources: the list with their state, and the page of one source with its last runs. What is confirmed or refused is in [`super::source_runs`].

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::source_fields::kind_label;
use crate::auth::Role;
use crate::base::id::SourceId;
use crate::directory::line::LineKind;
use crate::directory::source;
use crate::directory::source::run::{Changes, Run, RunError, State};
use crate::directory::source::schedule::Schedule;
use crate::directory::source::status::{self, SourceStatus, how_long};
use crate::http::App;
use crate::http::admin::frame::Frame;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, grouped};
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/directory/sources", Role::Viewer, list)
        .does(&["GET /api/v1/directory/sources", "GET /api/v1/directory/status"])
        .show("/directory/sources/{id}", Role::Viewer, show)
        .does(&["GET /api/v1/directory/sources/{id}"]);
}

/// The number of skipped or invalid rows that are listed.
const SHOWN: usize = 5;
/// The number of runs on the page of a source.
const RUNS: i64 = 10;
/// The seconds between two refreshes while a source is read.
const LIVE: u32 = 3;

/// Returns the first errors and the last one.
fn some_of(errors: &[RunError]) -> Vec<&RunError> {
    let first = errors.iter().take(SHOWN);
    first.chain(errors.iter().skip(SHOWN).last()).collect()
}

/// Returns an error of a run for a page.
pub(super) fn error_row(error: &RunError) -> Value {
    json!({
        "kind": error.kind.map(LineKind::as_str), "row": error.row, "column": error.column, "detail": error.detail,
        "key": error.key.as_ref().map(|key| key.join(" / ")),
    })
}

/// Returns the changes of a run by kind. Kinds without a change are left out.
pub(super) fn changes(changes: Option<&Changes>) -> Vec<Value> {
    let Some(changes) = changes else {
        return Vec::new();
    };
    let mut changes = changes.clone();
    let shown = |n: u64| grouped(i64::try_from(n).unwrap_or(i64::MAX));
    LineKind::ALL
        .into_iter()
        .filter_map(|kind| {
            let counts = *changes.kind_mut(kind);
            let some = counts.added + counts.changed + counts.gone + counts.left_out > 0;
            some.then(|| {
                json!({
                    "kind": kind.plural(), "added": shown(counts.added), "changed": shown(counts.changed),
                    "gone": shown(counts.gone), "left_out": (counts.left_out > 0).then(|| shown(counts.left_out)),
                })
            })
        })
        .collect()
}

/// Returns the state of a run in words.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Queued => "waits",
        State::Reading => "reading",
        State::Comparing => "comparing",
        State::Applying => "storing",
        State::NeedsConfirmation => "needs a confirmation",
        State::Done => "done",
        State::Failed => "failed",
        State::Superseded => "replaced by a newer run",
        State::Refused => "refused",
    }
}

/// Returns a run for a page.
pub(super) fn run(source: &SourceId, run: &Run) -> Value {
    json!({
        "path": format!("/admin/directory/sources/{source}/runs/{}", run.id),
        "state": state(run.state),
        "bad": matches!(run.state, State::Failed | State::NeedsConfirmation),
        "active": !run.state.over(),
        "progress": (!run.state.over() && run.progress.total > 0).then(|| {
            format!("{} of {} rows", grouped(run.progress.done), grouped(run.progress.total))
        }),
        "by": match run.cause.as_str() {
            "schedule" => "by schedule".to_owned(),
            _ => format!("started by {}", run.requested_by),
        },
        "confirmed": run.confirmed_by,
        "at": When::new(run.finished_at.or(run.started_at).unwrap_or(run.created_at), None),
        "changes": changes(run.changes.as_ref()),
        "warnings": run.changes.iter().flat_map(|changes| &changes.warnings).collect::<Vec<_>>(),
        // The last error says why the run stopped. The errors before it are about rows.
        "errors": some_of(&run.errors).into_iter().map(error_row).collect::<Vec<_>>(),
        "left_out": run.changes.iter().flat_map(|changes| changes.left_out.iter().take(SHOWN)).map(error_row).collect::<Vec<_>>(),
    })
}

/// Returns a source with the age of its data and its last run.
pub(super) fn row(status: &SourceStatus) -> Value {
    let source = &status.source;
    let path = format!("/admin/directory/sources/{}", source.id);
    let waiting = status
        .needs_confirmation
        .as_ref()
        .map(|run| format!("{path}/runs/{run}"));
    json!({
        "name": source.name, "path": path, "kind": kind_label(source.kind), "url": source.url,
        "read": source.kind.engine().is_some(),
        "schedule": match source.kind.engine() {
            Some(_) => Schedule::of(source.schedule.as_deref()).in_words(),
            None => "when an alert contains an unknown ID".to_owned(),
        },
        "next": When::maybe(source.next_run_at, None),
        "succeeded": When::maybe(source.last_success_at, None),
        "age": status.age_seconds.map(how_long),
        "stale": status.stale,
        "run": status.last_run.as_ref().map(|last| run(&source.id, last)),
        "waiting": waiting,
    })
}

/// Returns whether a source is being read.
pub(super) fn is_active(sources: &[SourceStatus]) -> bool {
    sources
        .iter()
        .any(|source| source.last_run.as_ref().is_some_and(|run| !run.state.over()))
}

async fn list(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let sources = app
        .db
        .read(move |conn| Ok(status::directory(conn, now)?.sources))
        .await?;
    app.pages.answer(
        "admin/sources",
        &json!({
            "page": Frame::new(&app, &by, "Sources", "Sources").live(is_active(&sources).then_some(LIVE)),
            "may_change": by.0.role.covers(Role::Admin),
            "sources": sources.iter().map(row).collect::<Vec<_>>(),
        }),
    )
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<SourceId>) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let (status, runs) = app
        .db
        .read(move |conn| {
            let source = source::get(conn, &id)?;
            let runs = source::run::list(conn, &source.id, None, RUNS + 1)?;
            Ok((status::read(conn, source, now)?, runs))
        })
        .await?;
    let source = &status.source;
    let path = format!("/admin/directory/sources/{}", source.id);
    let may_change = by.0.role.covers(Role::Admin) && source.gone_at.is_none();
    let active = status.last_run.as_ref().is_some_and(|run| !run.state.over());
    let more = runs.len() as i64 > RUNS;
    let queries: Vec<Value> = LineKind::ALL
        .into_iter()
        .filter_map(|kind| {
            let query = source.queries.query(kind)?;
            Some(json!({"kind": kind.plural(), "query": query}))
        })
        .collect();
    app.pages.answer(
        "admin/source",
        &json!({
            "page": Frame::new(&app, &by, &source.name, "Sources").live(active.then_some(LIVE)),
            "source": row(&status), "gone": source.gone_at.is_some(), "may_change": may_change, "active": active,
            "queries": queries, "max_gone": source.max_gone_percent, "max_left_out": source.max_left_out_percent,
            "stale_after": how_long(source.stale_after),
            "runs": runs.iter().take(RUNS as usize).map(|one| run(&source.id, one)).collect::<Vec<_>>(),
            "more_runs": more.then(|| format!("{path}/runs")),
            "delete": {
                "label": "Delete source …", "button": "Delete source", "action": format!("{path}/delete"), "fields": [],
                "text": "Candor does not read this source any more. Its address and its password are lost. The entries that it brought stay in the \
                         directory.",
            },
        }),
    )
}
