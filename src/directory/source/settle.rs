//! Handles a run after the reading: it compares the rows with the directory, leaves out rows that cannot be
//! used, asks for a confirmation if too many entries would be archived, and applies the changes in one
//! transaction.
//!
//! Rows that cannot be stored are found before anybody is asked for a confirmation: in that case, and in a
//! trial, the run is stored and rolled back.
//!
//! A run is never stored in part. A confirmed run does not fail because a row cannot be stored.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use serde_json::json;

use super::applying::Applying;
use super::cancel::Cancel;
use super::references::About;
use super::run::{Changes, Claimed, RunError, State};
use super::stop::Stop;
use super::stored::existing;
use super::{absent, left_out, stage};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::error::{Error, FieldError, Result};
use crate::db::schema::directory_sources as s;
use crate::db::{Db, dialect};
use crate::directory::import::{Import, with_room};
use crate::directory::line::LineKind;

/// The number of rows of a kind from which the share of that kind is checked separately. Such a kind is also
/// never archived as a whole without a confirmation. Each query can fail alone, and a few owners do not count
/// among a million files.
const COUNTED: u64 = 10;
/// How many times rows that do not fit the directory are left out, a hundred at a time, before the run stops.
const ROUNDS: usize = 20;
/// The largest number of changes that a trial tries to store. Nobody else can write during that time.
const TRIED: u64 = 50_000;

/// The result of a run.
pub(super) struct Settled {
    pub changes: Changes,
    /// Why a confirmation is needed before anything is stored.
    pub confirm: Option<String>,
}

/// Compares the rows and stores them, unless this is a trial or a confirmation is needed.
pub(super) async fn settle(
    db: &Db,
    claimed: &Claimed,
    warnings: Vec<String>,
    cancel: &Cancel,
) -> std::result::Result<Settled, Stop> {
    for _ in 0..ROUNDS {
        let mut changes = compare(db, claimed, cancel).await?;
        changes.warnings.clone_from(&warnings);
        too_many(db, claimed, &changes).await?;
        let confirm = if claimed.confirmed {
            None
        } else {
            too_much(db, claimed, &changes).await?
        };
        if claimed.trial && changes.stored() > TRIED {
            changes.warnings.push(format!(
                "{} changes are too many for this test: only the sync itself checks the parent of each resource",
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
        "too many rows do not fit the directory: after {ROUNDS} rounds, some still do not fit"
    ))]))
}

/// Stops the run if too many rows cannot be used.
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

async fn compare(db: &Db, claimed: &Claimed, cancel: &Cancel) -> std::result::Result<Changes, Stop> {
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
        // Parents come first, so that it is known whether they are left out before their children are
        // checked.
        for level in 0..=levels {
            let mut after = String::new();
            loop {
                if cancel.is_set() {
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
            changes.brought_before = absent::brought(conn, &this.source.id)?;
            for kind in kinds {
                changes.kind_mut(kind).gone = absent::count(conn, &this.source.id, &this.run, kind)?;
                let keys = absent::some(conn, &this.source.id, &this.run, kind, 20)?;
                stage::examples(&mut changes, kind, "gone", keys.iter().map(String::as_str));
            }
            Ok(changes)
        })
        .await?)
}

/// Returns why the run must not archive entries without a confirmation.
async fn too_much(
    db: &Db,
    claimed: &Claimed,
    changes: &Changes,
) -> std::result::Result<Option<String>, Stop> {
    let (gone, before) = (changes.gone(), changes.brought_before);
    let percent = claimed.source.max_gone_percent.unsigned_abs();
    if gone * 100 > before * percent {
        return Ok(Some(format!(
            "{gone} of {before} entries that this source created would be archived, which is more than {percent} %"
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
                let before = absent::brought_of(conn, &this.source.id, kind)?;
                let gone = changes.kind_mut(kind).gone;
                if before < COUNTED {
                    continue;
                }
                if gone == before {
                    return Ok(Some(format!(
                        "all {before} {} that this source created would be archived",
                        kind.plural()
                    )));
                }
                if gone * 100 > before * percent {
                    return Ok(Some(format!(
                        "{gone} of {before} {} that this source created would be archived, which is more than {percent} %",
                        kind.plural()
                    )));
                }
            }
            Ok(None)
        })
        .await?)
}

/// Returns the errors of the import. Empty if all lines were accepted.
fn refused(stored: Result<()>) -> Result<Vec<FieldError>> {
    match stored {
        Ok(()) => Ok(Vec::new()),
        Err(Error::Invalid { errors, .. }) => Ok(errors),
        Err(error) => Err(error),
    }
}

/// Stores a run and rolls it back. Returns the rows that cannot be stored.
async fn rehearse(
    db: &Db,
    claimed: &Claimed,
    changes: &Changes,
) -> std::result::Result<Vec<FieldError>, Stop> {
    let (this, now, total) = (claimed.clone(), db.clock().now(), changes.stored());
    // The lease is extended, because it is not renewed during the transaction.
    db.transaction(move |conn| this.report(conn, now.plus(APPLY), State::Comparing, total, total))
        .await?;
    let this = claimed.clone();
    let fits = Arc::new(AtomicBool::new(false));
    let found = fits.clone();
    let stored = db
        .write(&Actor::system("sync"), move |tx| -> Result<()> {
            with_room(tx, |tx| store(tx, &this, &AtomicU64::new(0)))?;
            found.store(true, Ordering::SeqCst);
            Err(Error::Conflict("this was only a test".to_owned()))
        })
        .await;
    if fits.load(Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    Ok(refused(stored)?)
}

/// Stores a run. Returns the rows that cannot be stored; nothing is stored then.
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

/// Reports the progress while the run is stored, so that other processes can show it. With SQLite, no other
/// process serves requests, and nobody else can write at the same time.
async fn tell_others(db: &Db, claimed: &Claimed, done: &AtomicU64, total: u64) -> Infallible {
    if !dialect::is_shared(db.url()) {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(TELL).await;
        let (claimed, now, done) = (
            claimed.clone(),
            db.clock().now().plus(APPLY),
            done.load(Ordering::Relaxed),
        );
        // If the report fails, the storing itself reports the error.
        let _ = db
            .transaction(move |conn| claimed.report(conn, now, State::Applying, done, total))
            .await;
    }
}

/// The interval between two reports.
const TELL: Duration = Duration::from_secs(1);

/// How long storing may take before another process treats this one as dead. The other process could not
/// store anything in the meantime either.
const APPLY: Duration = Duration::from_secs(2 * 3600);

/// Stores the rows of a run that change something.
fn store(tx: &mut Tx<'_>, claimed: &Claimed, done: &AtomicU64) -> Result<()> {
    let run = &claimed.run;
    // The lock prevents that somebody deletes or changes the source in the meantime.
    dialect::lock(tx.conn, dialect::Lock::Source, claimed.source.id.as_str())?;
    existing(tx.conn, &claimed.source.id)?;
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
        absent::mark(tx.conn, &claimed.source.id, run, kind, tx.now)?;
    }
    diesel::update(s::table.find(claimed.source.id.as_str()))
        // The data is from the time when the reading began.
        .set(s::last_success_at.eq(Some(claimed.started_at)))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::DirectorySynced, "source", claimed.source.id.as_str())
            .after(json!({"run": run, "changes": changes.summary()})),
    );
    claimed.end(tx, State::Done, Some(changes), &[])
}
