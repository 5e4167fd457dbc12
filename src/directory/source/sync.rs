//! A run of an SQL source: it reads the source into the staging table, and then compares and applies the rows
//! (see `settle`).
//!
//! A separate thread reads the source in one read-only transaction. Meanwhile its rows are staged here in
//! short transactions.
//!
//! The data of a source is never in memory as a whole, and a run is never stored in part.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::reading::{Message, PATIENCE, read_all};
use super::run::{self, Changes, Claimed, RunError, State};
use super::settle::{Settled, settle};
use super::stage;
use crate::audit::{Action, Actor, Event};
use crate::base::error::{Error, Result};
use crate::db::Db;
use crate::directory::line::LineKind;

/// How much longer than one statement may take this process waits for an answer, because the network can lose
/// it.
const GRACE: Duration = Duration::from_secs(30);
/// Why a run stopped.
pub(super) enum Stop {
    /// This process is stopping. Another one starts the run again.
    Leaving,
    /// There is an error in the source.
    Wrong(Vec<RunError>),
    /// There is an error in Candor.
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

/// Works on a run until it ends or until `stop` is set.
///
/// # Errors
/// `Internal` or `Unavailable` if the database fails. The run starts again when its lease ends.
pub async fn execute(db: &Db, claimed: Claimed, stop: &Arc<AtomicBool>) -> Result<()> {
    let outcome = attempt(db, &claimed, stop).await;
    let run = claimed.run.clone();
    match outcome {
        Ok(()) => Ok(()),
        Err(Stop::Leaving) => db.transaction(move |conn| claimed.give_back(conn)).await,
        Err(Stop::Wrong(errors)) => {
            // The errors can contain an email address, so the log only names the run.
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
    let warnings = if claimed.confirmed {
        Vec::new()
    } else {
        read(db, claimed, stop).await?
    };
    let Settled { changes, confirm } = settle(db, claimed, warnings, stop).await?;
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
pub(super) async fn rehearse(db: &Db, claimed: &Claimed) -> Result<Rehearsed> {
    let never = Arc::new(AtomicBool::new(false));
    let outcome = async {
        let warnings = read(db, claimed, &never).await?;
        settle(db, claimed, warnings, &never).await
    };
    match outcome.await {
        Ok(Settled { changes, confirm }) => Ok(Rehearsed {
            state: match confirm {
                Some(_) => State::NeedsConfirmation,
                None => State::Done,
            },
            errors: confirm.into_iter().map(RunError::plain).collect(),
            changes: Some(changes),
        }),
        Err(Stop::Wrong(errors)) => Ok(Rehearsed {
            state: State::Failed,
            errors,
            changes: None,
        }),
        Err(Stop::Leaving) => Err(Error::Unavailable("Candor is stopping".to_owned())),
        Err(Stop::Fault(error)) => Err(error),
    }
}

/// How a run would end.
pub(super) struct Rehearsed {
    pub state: State,
    pub errors: Vec<RunError>,
    pub changes: Option<Changes>,
}

/// Reads a source into the staging table. Returns warnings about the rights of its database user.
async fn read(db: &Db, claimed: &Claimed, stop: &Arc<AtomicBool>) -> std::result::Result<Vec<String>, Stop> {
    let kind = claimed.source.kind()?;
    let (Some(engine), Some(url)) = (kind.engine(), claimed.source.url.clone()) else {
        return Err(wrong("the source is of the kind http and has no sync"));
    };
    let queries = claimed.source.queries()?;
    let asked: Vec<(LineKind, String)> = queries
        .kinds()
        .into_iter()
        .filter_map(|kind| Some((kind, queries.of(kind)?.to_owned())))
        .collect();
    // At most two pages wait.
    let (sender, mut messages) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || read_all(engine, &url, &asked, &sender));
    let (mut done, mut total) = (0_u64, 0_u64);
    let mut warnings = Vec::new();
    loop {
        if stop.load(Ordering::SeqCst) {
            return Err(Stop::Leaving);
        }
        // The waits are short, so that a run renews its lease while the source is slow, and gives up when
        // this process stops.
        let message = next(db, claimed, &mut messages, stop, (done, total)).await?;
        let (rows, read) = match message {
            None if done == total => return Ok(warnings),
            None => {
                return Err(wrong(format!(
                    "the source has {total} rows, but only {done} could be read, because its answer ended early"
                )));
            }
            Some(Message::Wrong(error)) => return Err(Stop::Wrong(vec![error])),
            Some(Message::Total(rows, said)) => {
                total = rows;
                warnings = said;
                (Vec::new(), 0)
            }
            Some(Message::Page(rows, read)) => (rows, read),
        };
        done += read;
        let (claimed, now) = (claimed.clone(), db.clock().now());
        db.transaction(move |conn| {
            claimed.report(conn, now, State::Reading, done, total)?;
            stage::insert(conn, &claimed.run, &rows)
        })
        .await?;
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
