//! A run of a source of SQL: read it into the staging table, compare, and apply what changed in one transaction.
//!
//! The source is read by a thread of its own, in one read-only transaction there, while what it brought is staged in
//! short transactions here. Nothing of the directory is touched before all of it is known to be right and the share that
//! would be marked as gone is small enough, or confirmed.
//!
//! Must never happen here: the whole of a source in memory, or half of a run stored.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::applying::Applying;
use super::changes;
use super::reading::{Message, PATIENCE, read_all};
use super::run::{self, Changes, Claimed, RunError, State};
use super::stage;
use super::{gone, there};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::error::{Error, Result};
use crate::db::schema::directory_sources as s;
use crate::db::{Db, dialect};
use crate::directory::import::{Import, with_room};
use crate::directory::line::LineKind;
use diesel::prelude::*;

/// How long is waited beyond that: a network may swallow the answer.
const GRACE: Duration = Duration::from_secs(30);
/// Of a kind of which a source brought at least so many rows the share counts by itself, and it never vanishes altogether without
/// somebody looking: each query may go wrong alone, and a few owners are nothing beside a million files.
const COUNTED: u64 = 10;

/// Why a run stopped.
enum Stop {
    /// This process ends: another one begins the run anew.
    Leaving,
    /// The source is wrong.
    Wrong(Vec<RunError>),
    /// It is ours.
    Fault(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Fault(error)
    }
}

fn wrong(detail: impl Into<String>) -> Stop {
    Stop::Wrong(vec![RunError::plain(detail)])
}

/// Works on a run until it is over, or until `stop`.
///
/// # Errors
/// What the database answers; the run is begun anew when its lease ends.
pub async fn execute(db: &Db, claimed: Claimed, stop: &Arc<AtomicBool>) -> Result<()> {
    let outcome = attempt(db, &claimed, stop).await;
    let run = claimed.run.clone();
    match outcome {
        Ok(()) => Ok(()),
        Err(Stop::Leaving) => db.transaction(move |conn| claimed.give_back(conn)).await,
        Err(Stop::Wrong(errors)) => {
            // What is wrong may hold an address, so the log only says where to look.
            tracing::warn!(source = %claimed.source.id, %run, "a source could not be read: see its run");
            fail(db, claimed, errors).await
        }
        Err(Stop::Fault(error @ Error::Conflict(_))) => Err(error),
        Err(Stop::Fault(error)) => {
            let detail = format!("Candor could not store it: {error}");
            fail(db, claimed, vec![RunError::plain(detail)]).await?;
            Err(error)
        }
    }
}

async fn fail(db: &Db, claimed: Claimed, errors: Vec<RunError>) -> Result<()> {
    db.write(&Actor::system("sync"), move |tx| {
        tx.record(
            Event::new(Action::SyncFailed, "source", claimed.source.id.as_str())
                .after(json!({"run": claimed.run, "errors": errors.len()})),
        );
        claimed.end(tx, State::Failed, None, &errors)
    })
    .await
}

async fn attempt(db: &Db, claimed: &Claimed, stop: &Arc<AtomicBool>) -> std::result::Result<(), Stop> {
    if !claimed.confirmed {
        read(db, claimed, stop).await?;
    }
    let changes = compare(db, claimed, stop).await?;
    let share = if claimed.confirmed {
        None
    } else {
        too_much(db, claimed, &changes).await?
    };
    if let Some(reason) = share {
        let claimed = claimed.clone();
        return Ok(db
            .write(&Actor::system("sync"), move |tx| {
                tx.record(
                    Event::new(Action::SyncStopped, "source", claimed.source.id.as_str())
                        .after(json!({"run": claimed.run, "gone": changes.gone(), "because": reason})),
                );
                let reason = [RunError::plain(reason)];
                claimed.end(tx, State::NeedsConfirmation, Some(&changes), &reason)
            })
            .await?);
    }
    apply(db, claimed, changes).await
}

async fn read(db: &Db, claimed: &Claimed, stop: &Arc<AtomicBool>) -> std::result::Result<(), Stop> {
    let kind = claimed.source.kind()?;
    let (Some(engine), Some(url)) = (kind.engine(), claimed.source.url.clone()) else {
        return Err(wrong("the source is not one that is read"));
    };
    let queries = claimed.source.queries()?;
    let asked: Vec<(LineKind, String)> = queries
        .kinds()
        .into_iter()
        .filter_map(|kind| Some((kind, queries.of(kind)?.to_owned())))
        .collect();
    // Two pages ahead at most.
    let (sender, mut messages) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || read_all(engine, &url, &asked, &sender));
    let (mut done, mut total) = (0_u64, 0_u64);
    loop {
        if stop.load(Ordering::SeqCst) {
            return Err(Stop::Leaving);
        }
        // In short waits: a run that waits for a slow source is alive, and gives up when this process ends.
        let message = next(db, claimed, &mut messages, stop, (done, total)).await?;
        let rows = match message {
            None if done == total => return Ok(()),
            None => {
                return Err(wrong(format!(
                    "the source has {total} rows, of which {done} could be read: it ended early"
                )));
            }
            Some(Message::Wrong(errors)) => return Err(Stop::Wrong(errors)),
            Some(Message::Total(rows)) => {
                total = rows;
                Vec::new()
            }
            Some(Message::Page(rows)) => rows,
        };
        done += rows.len() as u64;
        let (claimed, now) = (claimed.clone(), db.clock().now());
        let twice = db
            .transaction(move |conn| {
                claimed.report(conn, now, State::Reading, done, total)?;
                stage::insert(conn, &claimed.run, &rows)
            })
            .await?;
        if let Some(error) = twice {
            return Err(Stop::Wrong(vec![error]));
        }
    }
}

async fn next(
    db: &Db,
    claimed: &Claimed,
    messages: &mut mpsc::Receiver<Message>,
    stop: &Arc<AtomicBool>,
    (done, total): (u64, u64),
) -> std::result::Result<Option<Message>, Stop> {
    const LOOK: Duration = Duration::from_millis(500);
    let mut waited = Duration::ZERO;
    let mut reported = Duration::ZERO;
    loop {
        if let Ok(message) = timeout(LOOK, messages.recv()).await {
            return Ok(message);
        }
        waited += LOOK;
        if stop.load(Ordering::SeqCst) {
            return Err(Stop::Leaving);
        }
        if waited > PATIENCE + GRACE {
            return Err(wrong(format!(
                "the source did not answer within {} s",
                (PATIENCE + GRACE).as_secs()
            )));
        }
        if waited - reported > run::LEASE / 4 {
            reported = waited;
            let (claimed, now) = (claimed.clone(), db.clock().now());
            db.transaction(move |conn| claimed.report(conn, now, State::Reading, done, total))
                .await?;
        }
    }
}

async fn compare(db: &Db, claimed: &Claimed, stop: &Arc<AtomicBool>) -> std::result::Result<Changes, Stop> {
    let (this, now) = (claimed.clone(), db.clock().now());
    let (circular, total) = db
        .transaction(move |conn| {
            let total = stage::count(conn, &this.run)?;
            this.report(conn, now, State::Comparing, 0, total)?;
            stage::forget_comparison(conn, &this.run)?;
            if total > 5_000 {
                dialect::analyze(conn, &["directory_staged", "directory_origins"])?;
            }
            Ok((stage::level(conn, &this.run)?, total))
        })
        .await?;
    if !circular.is_empty() {
        return Err(Stop::Wrong(circular));
    }
    let mut changes = Changes::default();
    let mut done = 0;
    let kinds = claimed.source.queries()?.kinds();
    for kind in kinds {
        let mut after = String::new();
        loop {
            if stop.load(Ordering::SeqCst) {
                return Err(Stop::Leaving);
            }
            let (this, now, from, sofar) = (claimed.clone(), db.clock().now(), after, changes);
            let (next, found) = db
                .transaction(move |conn| {
                    let mut changes = sofar;
                    let next = stage::compare(conn, &this.run, kind, &from, &mut changes)?;
                    let step = next.as_ref().map_or(0, |(_, rows)| *rows as u64);
                    this.report(conn, now, State::Comparing, done + step, total)?;
                    Ok((next, changes))
                })
                .await?;
            changes = found;
            match next {
                Some((key, rows)) => {
                    done += rows as u64;
                    after = key;
                }
                None => break,
            }
        }
    }
    let (this, kinds) = (claimed.clone(), claimed.source.queries()?.kinds());
    Ok(db
        .read(move |conn| {
            changes.brought_before = gone::brought(conn, &this.source.id)?;
            for kind in kinds {
                changes.of(kind).gone = gone::count(conn, &this.source.id, &this.run, kind)?;
                let keys = gone::some(conn, &this.source.id, &this.run, kind, 20)?;
                stage::examples(&mut changes, kind, "gone", keys.iter().map(String::as_str));
            }
            Ok(changes)
        })
        .await?)
}

/// Why a run must not mark as gone what it would without somebody looking.
async fn too_much(
    db: &Db,
    claimed: &Claimed,
    changes: &Changes,
) -> std::result::Result<Option<String>, Stop> {
    let (gone, before) = (changes.gone(), changes.brought_before);
    let percent = claimed.source.max_gone_percent.unsigned_abs();
    if gone * 100 > before * percent {
        return Ok(Some(format!(
            "{gone} of {before} rows that this source brought before would be marked as gone: more than {percent} %"
        )));
    }
    let (this, changes, kinds) = (
        claimed.clone(),
        changes.clone(),
        claimed.source.queries()?.kinds(),
    );
    Ok(db
        .read(move |conn| {
            let mut changes = changes;
            for kind in kinds {
                let before = gone::brought_of(conn, &this.source.id, kind)?;
                let gone = changes.of(kind).gone;
                if before < COUNTED {
                    continue;
                }
                if gone == before {
                    return Ok(Some(format!(
                        "all {before} {} that this source brought before would be marked as gone",
                        kind.plural()
                    )));
                }
                if gone * 100 > before * percent {
                    return Ok(Some(format!(
                        "{gone} of {before} {} that this source brought before would be marked as gone: more than {percent} %",
                        kind.plural()
                    )));
                }
            }
            Ok(None)
        })
        .await?)
}

async fn apply(db: &Db, claimed: &Claimed, changes: Changes) -> std::result::Result<(), Stop> {
    let (this, now, total) = (claimed.clone(), db.clock().now(), changes.stored());
    db.transaction(move |conn| this.report(conn, now.plus(APPLY), State::Applying, 0, total))
        .await?;
    let this = claimed.clone();
    let applying = Applying::begin(&claimed.run);
    let (done, told) = (applying.counter(), applying.counter());
    let actor = Actor::system("sync");
    let storing = db.write(&actor, move |tx| {
        with_room(tx, |tx| apply_all(tx, &this, &changes, &done))
    });
    let applied = tokio::select! {
        applied = storing => applied,
        never = tell_others(db, claimed, &told, total) => match never {},
    };
    drop(applying);
    match applied {
        Err(Error::Invalid { errors, .. }) => {
            let seqs: Vec<u64> = errors.iter().filter_map(|error| error.line).collect();
            let run = claimed.run.clone();
            let found = db.read(move |conn| stage::at(conn, &run, &seqs)).await?;
            Err(Stop::Wrong(changes::by_line(&errors, |line| {
                found
                    .iter()
                    .find(|(seq, _, _)| *seq == line)
                    .map(|(_, kind, key)| (*kind, key.clone()))
            })))
        }
        other => Ok(other?),
    }
}

/// Says how far the storing is, for other processes to show, as long as it lasts. An embedded database has no other process
/// that serves, and while one writes there nobody else can.
async fn tell_others(db: &Db, claimed: &Claimed, done: &AtomicU64, total: u64) -> Infallible {
    if db.url().sqlite_path().is_some() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(TELL).await;
        let (claimed, now, done) = (
            claimed.clone(),
            db.clock().now().plus(APPLY),
            done.load(Ordering::Relaxed),
        );
        // Where it cannot be said, the storing itself says what is wrong.
        let _ = db
            .transaction(move |conn| claimed.report(conn, now, State::Applying, done, total))
            .await;
    }
}

/// How often that is said.
const TELL: Duration = Duration::from_secs(1);

/// How long storing may take before another process thinks that this one died. It could not store anything then either.
const APPLY: Duration = Duration::from_secs(2 * 3600);

fn apply_all(tx: &mut Tx<'_>, claimed: &Claimed, changes: &Changes, done: &AtomicU64) -> Result<()> {
    let run = &claimed.run;
    // Nobody deletes or changes the source meanwhile.
    dialect::lock(tx.conn, dialect::Lock::Source, claimed.source.id.as_str())?;
    there(tx.conn, &claimed.source.id)?;
    let mut import = Import::begin_as_a_whole(tx)?;
    let deepest = stage::deepest(tx.conn, run)?;
    let kinds = claimed.source.queries()?.kinds();
    for kind in &kinds {
        let levels = if *kind == LineKind::Resource { deepest } else { 0 };
        for level in 0..=levels {
            let mut after = String::new();
            loop {
                let rows = stage::changed(tx.conn, run, *kind, level, &after)?;
                let Some((last, _, _)) = rows.last() else { break };
                after.clone_from(last);
                for (_, seq, line) in rows {
                    import.take(tx, seq, line)?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                if import.has_enough() {
                    break;
                }
            }
        }
    }
    import.finish(tx)?;
    dialect::own_staged(tx.conn, run.as_str(), claimed.source.id.as_str())?;
    for kind in kinds {
        gone::mark(tx.conn, &claimed.source.id, run, kind, tx.now)?;
    }
    diesel::update(s::table.find(claimed.source.id.as_str()))
        // What is shown is how it was when the reading began.
        .set(s::last_success_at.eq(Some(claimed.started_at)))
        .execute(tx.conn)?;
    let summary = Changes {
        examples: Vec::new(),
        ..changes.clone()
    };
    tx.record(
        Event::new(Action::DirectorySynced, "source", claimed.source.id.as_str())
            .after(json!({"run": run, "changes": summary})),
    );
    claimed.end(tx, State::Done, Some(changes), &[])
}
