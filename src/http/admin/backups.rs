//! `/admin/backups`: the backups that Candor makes by itself, their restore drills, a button for a backup now, and the state of the copy of
//! the contacts.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::done::done;
use super::filled::Filled;
use super::frame::Frame;
use super::params;
use super::signed_in::SignedIn;
use super::system::bytes;
use super::view::{ROWS, When, grouped, link};
use crate::auth::Role;
use crate::backup::{self, Backup, BackupState, CheckState};
use crate::base::count::counted;
use crate::base::error::{Error, Result};
use crate::base::id::BackupId;
use crate::directory::source::schedule::Schedule;
use crate::emergency::copy;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::backups::check_folder;
use crate::http::ids::InPath;
use crate::http::page::{cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/backups", Role::Admin, show)
        .does(&["GET /api/v1/backups", "GET /api/v1/backups/{id}"])
        .send("/backups", Role::Admin, make)
        .does(&["POST /api/v1/backups"])
        .send("/backups/{id}/check", Role::Admin, check)
        .does(&["POST /api/v1/backups/{id}/check"]);
}

const PATH: &str = "/admin/backups";
/// The seconds between two refreshes, and while a backup is made.
const LIVE: u32 = 10;
const LIVE_MAKING: u32 = 2;

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    params: params::Form<params::Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let before: Option<String> = cursor(at.as_deref())?;
    let (rows, standing, copies) = app
        .db
        .read(move |conn| {
            Ok((
                backup::list(conn, before.as_deref(), ROWS.probe())?,
                backup::standing(conn)?,
                copy::standing(conn)?,
            ))
        })
        .await?;
    let rows = page(rows, ROWS, |one| one.id.to_string());
    let making = rows.items.iter().any(is_busy);
    let settings = app.backup_settings.as_ref();
    let last = |one: &Option<Backup>, at: fn(&Backup) -> Option<crate::base::time::Timestamp>| {
        one.as_ref()
            .map(|one| json!({"name": one.file, "at": When::maybe(at(one), None)}))
    };
    app.pages.answer(
        "admin/backups",
        &json!({
            "page": Frame::new(&app, &by, "Backups", "Backups").live(Some(if making { LIVE_MAKING } else { LIVE })),
            "settings": settings.map(|settings| json!({
                "folder": settings.folder.display().to_string(),
                "schedule": settings.schedule.as_deref().map(|schedule| Schedule::of(Some(schedule)).in_words()),
                "keep": settings.keep.in_words(),
                "check": settings.check,
            })),
            "good": last(&standing.last_good, |one| one.finished_at),
            "drill": last(&standing.last_drill, |one| one.checked_at),
            "rows": rows.items.iter().map(|one| row(one, settings.is_some())).collect::<Vec<_>>(),
            "copies": copies.iter().map(|one| json!({
                "name": one.file, "made": When::maybe(one.made_at, None), "size": one.bytes.map(bytes),
                "accounts": one.accounts.map(|n| counted(n, "account", "accounts")),
                "people": one.people.map(|n| counted(n, "person", "people")),
                "failed": When::maybe(one.failed_at, None), "error": one.error,
            })).collect::<Vec<_>>(),
            "first": at.is_some().then_some(PATH),
            "next": rows.next_cursor.map(|next| link(PATH, &[("cursor", Some(&next))])),
        }),
    )
}

/// Whether something is being done about a backup.
fn is_busy(one: &Backup) -> bool {
    matches!(one.state, BackupState::Queued | BackupState::Running)
        || matches!(one.check, CheckState::Queued | CheckState::Running)
}

fn row(one: &Backup, may_check: bool) -> Value {
    let checkable = one.state == BackupState::Done && one.removed_at.is_none() && !is_busy(one) && may_check;
    let check = match one.check {
        CheckState::None => None,
        CheckState::Queued | CheckState::Running => Some(("being checked", "")),
        CheckState::Good => Some(("can be restored", "good")),
        CheckState::Bad => Some(("cannot be restored", "bad")),
    };
    json!({
        "name": one.file,
        "cause": match one.cause {
            backup::Cause::Schedule => "by the schedule".to_owned(),
            backup::Cause::Request => format!("by {}", one.requested_by),
        },
        "requested": When::utc(one.requested_at),
        "state": match one.state {
            BackupState::Queued => "waits for a process",
            BackupState::Running => "being written",
            BackupState::Done => "complete",
            BackupState::Failed => "failed",
        },
        "good": one.state == BackupState::Done,
        "bad": one.state == BackupState::Failed,
        "error": one.error,
        "finished": When::maybe(one.finished_at, None),
        "size": one.bytes.map(bytes),
        "events": one.events.map(grouped),
        "removed": When::maybe(one.removed_at, None),
        "check": check.map(|(text, class)| json!({"text": text, "class": class})),
        "checked": When::maybe(one.checked_at, None),
        "check_error": one.check_error,
        "check_action": checkable.then(|| format!("{PATH}/{}/check", one.id)),
    })
}

async fn make(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let queued = match check_folder(&app) {
        Ok(()) => app.db.write(&actor, backup::request).await,
        Err(error) => Err(error),
    };
    app.backups.notify_one();
    answered(&app, queued, "The backup is being made.")
}

async fn check(app: web::Data<App>, sent: Filled, InPath(id): InPath<BackupId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let queued = match check_folder(&app) {
        Ok(()) => {
            app.db
                .write(&actor, move |tx| backup::request_check(tx, &id))
                .await
        }
        Err(error) => Err(error),
    };
    app.backups.notify_one();
    answered(&app, queued, "The backup is being checked.")
}

/// Goes back to the page. If somebody else was faster, the page shows how it is now.
fn answered(app: &App, queued: Result<Backup>, text: &str) -> Answer<HttpResponse> {
    match queued {
        Ok(_) => Ok(done(app, PATH, text)),
        Err(error) => match error.coded().0 {
            Error::Conflict(why) => Ok(done(app, PATH, &format!("Nothing was done: {why}."))),
            _ => Err(error.into()),
        },
    }
}
