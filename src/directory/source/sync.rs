//! A run of an SQL source: it reads the source into the staging table, and then compares and applies the rows
//! (see `settle`).
//!
//! A separate thread reads the source in one read-only transaction. Meanwhile its rows are staged here in
//! short transactions.
//!
//! The data of a source is never in memory as a whole, and a run is never stored in part.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cancel::Cancel;
use super::reading::{Asked, Looked, Message, TIMEOUT, start};
use super::run::{Changes, Claimed, RunError, State};
use super::settle::{Settled, settle};
use super::stage;
use super::stop::{Stop, wrong};
use super::stored::existing;
use crate::audit::{Action, Actor, Event};
use crate::base::error::{Error, Result};
use crate::db::Db;
use crate::db::foreign::{Halt, Limit};

/// How much longer than one statement may take this process waits for an answer, because the network can lose
/// it.
const GRACE: Duration = Duration::from_secs(30);
/// How often a run looks, while it waits for the source, whether it must end.
const LOOK: Duration = Duration::from_millis(250);
/// How often a run looks whether somebody else has ended it, for example by deleting the source.
const HELD: Duration = Duration::from_secs(2);
/// How long a run waits for the thread that reads after it told the thread to end.
const ENDING: Duration = Duration::from_secs(5);

/// Works on a run until it ends or until `cancel` is set.
///
/// # Errors
/// `Internal` or `Unavailable` if the database fails. The run starts again when its lease ends.
pub async fn execute(db: &Db, claimed: Claimed, cancel: &Cancel, limit: Limit) -> Result<()> {
    let outcome = attempt(db, &claimed, cancel, limit).await;
    let run = claimed.run.clone();
    match outcome {
        Ok(()) => Ok(()),
        Err(Stop::Leaving) => db.transaction(move |conn| claimed.give_back(conn)).await,
        Err(Stop::Ended | Stop::Fault(Error::Conflict(_))) => {
            tracing::info!(source = %claimed.source.id, %run, "a run of a source was ended by somebody else");
            Ok(())
        }
        Err(Stop::Wrong(errors)) => {
            // The errors can contain an email address, so the log only names the run.
            tracing::warn!(source = %claimed.source.id, %run, "a source could not be read: see its run");
            fail(db, claimed, errors).await
        }
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

async fn attempt(db: &Db, claimed: &Claimed, cancel: &Cancel, limit: Limit) -> std::result::Result<(), Stop> {
    let warnings = if claimed.confirmed {
        Vec::new()
    } else {
        let mut found = Findings::default();
        read(db, claimed, cancel, limit, &mut found).await?;
        found.warnings
    };
    let Settled { changes, confirm } = settle(db, claimed, warnings, cancel).await?;
    let Some(reason) = confirm else { return Ok(()) };
    let claimed = claimed.clone();
    Ok(db
        .write(&Actor::system("sync"), move |tx| {
            tx.record(
                Event::new(Action::SyncStopped, "source", claimed.source.id.as_str())
                    .after(json!({"run": claimed.run, "gone": changes.gone(), "because": reason})),
            );
            let reason = [RunError::plain(reason)];
            claimed.end(tx, State::NeedsConfirmation, Some(&changes), &reason)
        })
        .await?)
}

/// Reads a source and computes what a run would do, without storing anything of it.
///
/// # Errors
/// `NotFound` if the source is deleted in the meantime. `Unavailable` if `cancel` is set.
pub(super) async fn rehearse(db: &Db, claimed: &Claimed, cancel: &Cancel, limit: Limit) -> Result<Rehearsed> {
    let mut found = Findings::default();
    let outcome = async {
        read(db, claimed, cancel, limit, &mut found).await?;
        settle(db, claimed, found.warnings.clone(), cancel).await
    }
    .await;
    let (state, errors, changes) = match outcome {
        Ok(Settled { changes, confirm }) => {
            let state = match confirm {
                Some(_) => State::NeedsConfirmation,
                None => State::Done,
            };
            let errors = confirm.into_iter().map(RunError::plain).collect();
            (state, errors, Some(changes))
        }
        Err(Stop::Wrong(errors)) => (State::Failed, errors, None),
        Err(Stop::Leaving) => {
            return Err(Error::Unavailable(
                "the test of the source was cancelled: nobody waits for it, or Candor is stopping".to_owned(),
            ));
        }
        Err(Stop::Ended | Stop::Fault(Error::Conflict(_))) => {
            let id = claimed.source.id.clone();
            db.read(move |conn| existing(conn, &id)).await?;
            return Err(Error::Unavailable(
                "the test of the source was ended by another process; please try again".to_owned(),
            ));
        }
        Err(Stop::Fault(error)) => return Err(error),
    };
    Ok(Rehearsed {
        found,
        state,
        errors,
        changes,
    })
}

/// How a run would end.
pub(super) struct Rehearsed {
    pub found: Findings,
    pub state: State,
    pub errors: Vec<RunError>,
    pub changes: Option<Changes>,
}

/// The findings of the reading, in addition to the rows.
#[derive(Default)]
pub(super) struct Findings {
    /// Why the source could not be read to its end: it refused the connection, or its time was over.
    pub closed: Option<String>,
    /// Warnings about the rights of the source's database user.
    pub warnings: Vec<String>,
    /// The beginning of the result of each query. Only in a trial.
    pub looked: Vec<Looked>,
}

/// Reads a source into the staging table.
async fn read(
    db: &Db,
    claimed: &Claimed,
    cancel: &Cancel,
    limit: Limit,
    found: &mut Findings,
) -> std::result::Result<(), Stop> {
    let kind = claimed.source.kind()?;
    let (Some(engine), Some(url)) = (kind.engine(), claimed.source.url.clone()) else {
        return Err(wrong("the source is of the kind http and has no sync"));
    };
    let queries = claimed.source.queries()?;
    let asked = Asked {
        engine,
        url,
        queries: queries
            .kinds()
            .into_iter()
            .filter_map(|kind| Some((kind, queries.query(kind)?.to_owned())))
            .collect(),
        trial: claimed.trial,
        patience: TIMEOUT.min(limit.most),
    };
    let halt = Halt::within(limit);
    let mut messages = start(asked, &halt)?;
    // Also where this future is dropped.
    let _ended = StopOnDrop(halt.clone());
    let outcome = take_all(db, claimed, cancel, &halt, &mut messages, found).await;
    if outcome.is_ok() {
        return Ok(());
    }
    let late = halt.reason();
    end(&halt, &mut messages).await;
    match (outcome, late) {
        // The time was over. The error of the database is only a consequence of this.
        (Err(Stop::Wrong(_)), Some(reason)) => {
            found.closed = Some(reason.clone());
            Err(wrong(reason))
        }
        (outcome, _) => outcome,
    }
}

/// Tells a thread to end when the work on the run ends in any way.
struct StopOnDrop(Halt);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Waits until the thread that reads has ended. A database that does not answer holds nobody up for long.
async fn end(halt: &Halt, messages: &mut mpsc::Receiver<Message>) {
    let ended = async {
        loop {
            halt.stop();
            if let Ok(None) = timeout(LOOK, messages.recv()).await {
                return;
            }
        }
    };
    if timeout(ENDING, ended).await.is_err() {
        tracing::warn!(
            "the database of a source does not end a statement that was cancelled; it is left alone"
        );
    }
}

async fn take_all(
    db: &Db,
    claimed: &Claimed,
    cancel: &Cancel,
    halt: &Halt,
    messages: &mut mpsc::Receiver<Message>,
    found: &mut Findings,
) -> std::result::Result<(), Stop> {
    let (mut done, mut total) = (0_u64, 0_u64);
    loop {
        // The waits are short, so that a run renews its lease while the source is slow, and gives up when it
        // must end.
        let message = next(db, claimed, messages, cancel, halt, (done, total)).await?;
        let (rows, read) = match message {
            None if done == total => return Ok(()),
            None => {
                return Err(wrong(format!(
                    "the source has {total} rows, but only {done} could be read, because its answer ended early"
                )));
            }
            Some(Message::Wrong(error)) => return Err(Stop::Wrong(vec![error])),
            Some(Message::Closed(reason)) => {
                found.closed = Some(reason.clone());
                return Err(wrong(format!("the source cannot be read: {reason}")));
            }
            Some(Message::Warnings(warnings)) => {
                found.warnings = warnings;
                continue;
            }
            Some(Message::Looked(looked)) => {
                found.looked.push(looked);
                continue;
            }
            Some(Message::Total(rows)) => {
                total = rows;
                (Vec::new(), 0)
            }
            Some(Message::Page(rows, read)) => (rows, read),
        };
        done += read;
        let (claimed, now) = (claimed.clone(), db.clock().now());
        db.transaction(move |conn| {
            claimed.report(conn, now, State::Reading, done, total)?;
            let mut rows = rows;
            stage::insert(conn, &claimed.run, &mut rows)
        })
        .await?;
    }
}

async fn next(
    db: &Db,
    claimed: &Claimed,
    messages: &mut mpsc::Receiver<Message>,
    cancel: &Cancel,
    halt: &Halt,
    (done, total): (u64, u64),
) -> std::result::Result<Option<Message>, Stop> {
    let mut waited = Duration::ZERO;
    let mut reported = Duration::ZERO;
    let mut looked = Duration::ZERO;
    loop {
        if cancel.is_set() {
            return Err(Stop::Leaving);
        }
        if let Some(reason) = halt.reason() {
            return Err(wrong(reason));
        }
        if let Ok(message) = timeout(LOOK, messages.recv()).await {
            return Ok(message);
        }
        waited += LOOK;
        if waited > TIMEOUT + GRACE {
            return Err(wrong(format!(
                "the source did not answer within {} s",
                (TIMEOUT + GRACE).as_secs()
            )));
        }
        if waited - looked >= HELD {
            looked = waited;
            let claimed = claimed.clone();
            if !db.read(move |conn| claimed.is_held(conn)).await? {
                return Err(Stop::Ended);
            }
        }
        if waited - reported > claimed.lease.renew_after() {
            reported = waited;
            let (claimed, now) = (claimed.clone(), db.clock().now());
            db.transaction(move |conn| claimed.report(conn, now, State::Reading, done, total))
                .await?;
        }
    }
}
