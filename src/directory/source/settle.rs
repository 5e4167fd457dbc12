//! From what a run has read to what is stored: compare it with the directory, leave out what cannot be used, ask where too much would
//! be archived, and apply what changed in one transaction.
//!
//! What cannot be stored is found before anybody is asked to confirm: where a run waits for that, or is only a trial, it is stored and
//! rolled back.
//!
//! Must never happen here: half of a run stored, or a row that somebody confirms and that then cannot be stored.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use serde_json::json;

use super::applying::Applying;
use super::left_out;
use super::references::About;
use super::run::{Changes, Claimed, RunError, State};
use super::sync::Stop;
use super::{gone, stage, there};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::error::{Error, FieldError, Result};
use crate::db::schema::directory_sources as s;
use crate::db::{Db, dialect};
use crate::directory::import::{Import, with_room};
use crate::directory::line::LineKind;

/// Of a kind of which a source brought at least so many rows the share counts by itself, and it never vanishes altogether without
/// somebody looking: each query may go wrong alone, and a few owners are nothing beside a million files.
const COUNTED: u64 = 10;
/// How often rows are left out that do not fit the directory, a hundred at a time, before the run stops.
const ROUNDS: usize = 20;
/// A trial does not try to store more changes than these, as nobody else could write meanwhile.
const TRIED: u64 = 50_000;

/// What became of what was read.
pub(super) struct Settled {
    pub changes: Changes,
    /// Why nothing was stored before somebody confirms it.
    pub confirm: Option<String>,
}

/// Compares what was read, and stores it unless it is a trial or somebody must confirm it.
pub(super) async fn settle(
    db: &Db,
    claimed: &Claimed,
    warnings: Vec<String>,
    stop: &Arc<AtomicBool>,
) -> std::result::Result<Settled, Stop> {
    for _ in 0..ROUNDS {
        let mut changes = compare(db, claimed, stop).await?;
        changes.warnings.clone_from(&warnings);
        too_many(db, claimed, &changes).await?;
        let confirm = if claimed.confirmed {
            None
        } else {
            too_much(db, claimed, &changes).await?
        };
        if claimed.trial && changes.stored() > TRIED {
            changes.warnings.push(format!(
                "{} changes are too many to try: whether each resource may be where it is, the sync finds out",
                changes.stored()
            ));
            return Ok(Settled { changes, confirm });
        }
        let refused = if claimed.trial || confirm.is_some() {
            rehearse(db, claimed, &changes).await?
        } else {
            apply(db, claimed, &changes).await?
        };
        if refused.is_empty() {
            return Ok(Settled { changes, confirm });
        }
        leave_out(db, claimed, refused).await?;
    }
    Err(Stop::Wrong(vec![RunError::plain(format!(
        "too many rows do not fit what the directory has; after {ROUNDS} tries some are left"
    ))]))
}

/// Stops where too many rows cannot be used.
async fn too_many(db: &Db, claimed: &Claimed, changes: &Changes) -> std::result::Result<(), Stop> {
    let (this, kinds) = (claimed.clone(), claimed.source.queries()?.kinds());
    let percent = claimed.source.max_left_out_percent.unsigned_abs();
    let stops = db
        .read(move |conn| left_out::too_many(conn, &this.run, &kinds, percent))
        .await?;
    if stops.is_empty() {
        return Ok(());
    }
    Err(Stop::Wrong(
        changes.left_out.iter().cloned().chain(stops).collect(),
    ))
}

/// Leaves out the rows that do not fit the directory.
async fn leave_out(db: &Db, claimed: &Claimed, refused: Vec<FieldError>) -> std::result::Result<(), Stop> {
    let (run, errors) = (claimed.run.clone(), refused.clone());
    let found = db
        .transaction(move |conn| {
            let mut found = false;
            for error in &errors {
                if let Some(seq) = error.line {
                    found |= left_out::leave_out_at(conn, &run, seq, &error.detail)?;
                }
            }
            Ok(found)
        })
        .await?;
    if found {
        return Ok(());
    }
    Err(Stop::Wrong(
        refused
            .into_iter()
            .map(|error| RunError::plain(error.detail))
            .collect(),
    ))
}

async fn compare(db: &Db, claimed: &Claimed, stop: &Arc<AtomicBool>) -> std::result::Result<Changes, Stop> {
    let (this, now) = (claimed.clone(), db.clock().now());
    let (deepest, total) = db
        .transaction(move |conn| {
            let total = stage::count(conn, &this.run)?;
            this.report(conn, now, State::Comparing, 0, total)?;
            stage::forget_comparison(conn, &this.run)?;
            if total > 5_000 {
                dialect::analyze(conn, &["directory_staged", "directory_origins"])?;
            }
            stage::level(conn, &this.run)?;
            Ok((stage::deepest(conn, &this.run)?, total))
        })
        .await?;
    let mut changes = Changes::default();
    let mut done = 0;
    let kinds = claimed.source.queries()?.kinds();
    for kind in kinds.clone() {
        let levels = if kind == LineKind::Resource { deepest } else { 0 };
        // Parents first: whether they are left out is known before those below them are looked at.
        for level in 0..=levels {
            let mut after = String::new();
            loop {
                if stop.load(Ordering::SeqCst) {
                    return Err(Stop::Leaving);
                }
                let (this, now, from, sofar) = (claimed.clone(), db.clock().now(), after, changes);
                let kinds = kinds.clone();
                let (next, found) = db
                    .transaction(move |conn| {
                        let mut changes = sofar;
                        let about = About {
                            run: &this.run,
                            source: &this.source.id,
                            kinds: &kinds,
                        };
                        let next = stage::compare(conn, &about, kind, level, &from, &mut changes)?;
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
    }
    let this = claimed.clone();
    Ok(db
        .read(move |conn| {
            left_out::count(conn, &this.run, &kinds, &mut changes)?;
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

/// What the import says of the lines of a run; empty: it took all of them.
fn refused(stored: Result<()>) -> Result<Vec<FieldError>> {
    match stored {
        Ok(()) => Ok(Vec::new()),
        Err(Error::Invalid { errors, .. }) => Ok(errors),
        Err(error) => Err(error),
    }
}

/// Stores a run and rolls it back. Answers what cannot be stored.
async fn rehearse(
    db: &Db,
    claimed: &Claimed,
    changes: &Changes,
) -> std::result::Result<Vec<FieldError>, Stop> {
    let (this, now, total) = (claimed.clone(), db.clock().now(), changes.stored());
    // While it lasts, nobody says that this process is alive.
    db.transaction(move |conn| this.report(conn, now.plus(APPLY), State::Comparing, total, total))
        .await?;
    let this = claimed.clone();
    let fits = Arc::new(AtomicBool::new(false));
    let found = fits.clone();
    let stored = db
        .write(&Actor::system("sync"), move |tx| -> Result<()> {
            with_room(tx, |tx| store(tx, &this, &AtomicU64::new(0)))?;
            found.store(true, Ordering::SeqCst);
            Err(Error::Conflict("this was only tried".to_owned()))
        })
        .await;
    if fits.load(Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    Ok(refused(stored)?)
}

/// Stores a run. Answers what cannot be stored; then nothing is.
async fn apply(db: &Db, claimed: &Claimed, changes: &Changes) -> std::result::Result<Vec<FieldError>, Stop> {
    let (this, now, total) = (claimed.clone(), db.clock().now(), changes.stored());
    db.transaction(move |conn| this.report(conn, now.plus(APPLY), State::Applying, 0, total))
        .await?;
    let (this, changes) = (claimed.clone(), changes.clone());
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
    Ok(refused(applied)?)
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

/// Stores the rows of a run that change something.
fn store(tx: &mut Tx<'_>, claimed: &Claimed, done: &AtomicU64) -> Result<()> {
    let run = &claimed.run;
    // Nobody deletes or changes the source meanwhile.
    dialect::lock(tx.conn, dialect::Lock::Source, claimed.source.id.as_str())?;
    there(tx.conn, &claimed.source.id)?;
    let mut import = Import::begin_as_a_whole(tx)?;
    let deepest = stage::deepest(tx.conn, run)?;
    for kind in claimed.source.queries()?.kinds() {
        let levels = if kind == LineKind::Resource { deepest } else { 0 };
        for level in 0..=levels {
            let mut after = String::new();
            loop {
                let rows = stage::changed(tx.conn, run, kind, level, &after)?;
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
    Ok(())
}

fn apply_all(tx: &mut Tx<'_>, claimed: &Claimed, changes: &Changes, done: &AtomicU64) -> Result<()> {
    let run = &claimed.run;
    store(tx, claimed, done)?;
    dialect::own_staged(tx.conn, run.as_str(), claimed.source.id.as_str())?;
    for kind in claimed.source.queries()?.kinds() {
        gone::mark(tx.conn, &claimed.source.id, run, kind, tx.now)?;
    }
    diesel::update(s::table.find(claimed.source.id.as_str()))
        // What is shown is how it was when the reading began.
        .set(s::last_success_at.eq(Some(claimed.started_at)))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::DirectorySynced, "source", claimed.source.id.as_str())
            .after(json!({"run": run, "changes": changes.summary()})),
    );
    claimed.end(tx, State::Done, Some(changes), &[])
}
