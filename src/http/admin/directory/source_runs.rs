//! The runs of a source: the list, one run with what it changes, and the two answers to a run that waits: confirm it or refuse it.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::sources;
use crate::auth::Role;
use crate::base::id::{RunId, SourceId};
use crate::directory::source;
use crate::directory::source::run::{self, Example, Run, State};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::Filled;
use crate::http::admin::frame::Frame;
use crate::http::admin::params::{Form, Paged};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{ROWS, When, count, link};
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/directory/sources/{id}/runs", Role::Viewer, list)
        .does(&["GET /api/v1/directory/sources/{id}/runs"])
        .show("/directory/sources/{id}/runs/{run}", Role::Viewer, show)
        .does(&["GET /api/v1/directory/sources/{id}/runs/{run}"])
        .send("/directory/sources/{id}/runs/{run}/confirm", Role::Admin, confirm)
        .does(&["POST /api/v1/directory/sources/{id}/runs/{run}/confirm"])
        .send("/directory/sources/{id}/runs/{run}/refuse", Role::Admin, refuse)
        .does(&["POST /api/v1/directory/sources/{id}/runs/{run}/refuse"]);
}

async fn list(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<SourceId>,
    params: Form<Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let before: Option<String> = cursor(at.as_deref())?;
    let (source, rows) = app
        .db
        .read(move |conn| {
            let source = source::get(conn, &id)?;
            let rows = run::list(conn, &source.id, before.as_deref(), ROWS.probe())?;
            Ok((source, rows))
        })
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, |run: &Run| run.id.to_string());
    let path = format!("/admin/directory/sources/{}", source.id);
    let runs = format!("{path}/runs");
    app.pages.answer(
        "admin/source-runs",
        &json!({
            "page": Frame::new(&app, &by, "Runs of the source", "Sources"),
            "name": source.name, "path": path,
            "runs": items.iter().map(|run| sources::run(&source.id, run)).collect::<Vec<_>>(),
            "first": at.is_some().then_some(&runs),
            "next": next_cursor.map(|next| link(&runs, &[("cursor", Some(&next))])),
        }),
    )
}

/// The seconds between two refreshes while a source is read.
const LIVE: u32 = 3;

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath((id, run_id)): InPath<(SourceId, RunId)>,
) -> Answer<HttpResponse> {
    let (source, run) = app
        .db
        .read(move |conn| Ok((source::get(conn, &id)?, run::get(conn, &id, &run_id)?)))
        .await?;
    let path = format!("/admin/directory/sources/{}", source.id);
    let at = format!("{path}/runs/{}", run.id);
    let waits = run.state == State::NeedsConfirmation;
    let may_answer = by.0.role.covers(Role::Admin) && waits;
    let gone = run.changes.as_ref().map_or(0, |changes| changes.gone());
    let gone = count(usize::try_from(gone).unwrap_or(usize::MAX), "entry", "entries");
    let examples: Vec<Value> = run
        .changes
        .iter()
        .flat_map(|changes| &changes.examples)
        .map(example)
        .collect();
    app.pages.answer(
        "admin/source-run",
        &json!({
            "page": Frame::new(&app, &by, "Run of the source", "Sources").live((!run.state.over()).then_some(LIVE)),
            "name": source.name, "path": path, "run": sources::run(&source.id, &run),
            "started": When::maybe(run.started_at, None), "finished": When::maybe(run.finished_at, None),
            "waits": waits,
            "examples": examples,
            "left_out": run.changes.iter().flat_map(|changes| &changes.left_out).map(sources::error_row).collect::<Vec<_>>(),
            "errors": run.errors.iter().map(sources::error_row).collect::<Vec<_>>(),
            "confirm": may_answer.then(|| json!({
                "label": "Confirm …", "button": format!("Confirm and archive {gone}"), "action": format!("{at}/confirm"), "fields": [],
                "text": format!("The sync stores all changes and archives {gone}. Nobody is notified because of an archived entry."),
            })),
            "refuse": may_answer.then(|| json!({
                "label": "Refuse …", "button": "Refuse the changes", "action": format!("{at}/refuse"), "fields": [],
                "text": "The sync stores nothing. The source is read again at its next time.",
            })),
        }),
    )
}

fn example(example: &Example) -> Value {
    json!({"kind": example.kind.as_str(), "change": example.change, "key": example.key.join(" / ")})
}

async fn confirm(
    app: web::Data<App>,
    sent: Filled,
    InPath((id, run_id)): InPath<(SourceId, RunId)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let path = format!("/admin/directory/sources/{id}");
    app.db
        .write(&actor, move |tx| run::confirm(tx, &id, &run_id))
        .await?;
    app.sources.notify_one();
    Ok(done(&app, &path, "The sync is confirmed and goes on."))
}

async fn refuse(
    app: web::Data<App>,
    sent: Filled,
    InPath((id, run_id)): InPath<(SourceId, RunId)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let path = format!("/admin/directory/sources/{id}");
    app.db
        .write(&actor, move |tx| run::refuse(tx, &id, &run_id))
        .await?;
    Ok(done(&app, &path, "The changes are refused. Nothing was stored."))
}
