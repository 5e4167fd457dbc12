//! Creates messages about syncs of directory sources that failed or wait for a confirmation. It is a separate
//! subscriber to the audit trail.
//!
//! Operators are notified once of a source that fails, and once of a source that waits, until it succeeds
//! again. Otherwise a source that is read every hour would cause the same message every hour.
//!
//! A message never contains an error in a row, because the error can contain an address. The directory page
//! shows the errors.

use super::message::{About, OperatorEvent, SyncFacts};
use super::{ACTOR, contact, outbox};
use crate::audit::{Action, Actor, follow};
use crate::base::error::{Error, Result};
use crate::base::id::SourceId;
use crate::db::Db;
use crate::directory::source;

/// The name of the subscriber to the audit trail.
const SUBSCRIBER: &str = "operators.syncs";
/// The audit events that it handles.
const FOLLOWS: [Action; 2] = [Action::SyncFailed, Action::SyncStopped];
/// The number of events in one step.
const BATCH: i64 = 100;

/// Creates messages from the new audit events. Returns whether there were any.
///
/// # Errors
/// `Internal` or `Unavailable` if the database fails. Nothing is stored then.
pub(super) async fn follow_trail(db: &Db) -> Result<bool> {
    if !db.read(|conn| follow::any(conn, SUBSCRIBER, &FOLLOWS)).await? {
        follow::skip(db, &Actor::system(ACTOR), SUBSCRIBER, &FOLLOWS).await?;
        return Ok(false);
    }
    db.write(&Actor::system(ACTOR), |tx| {
        let at = follow::hold(tx.conn, SUBSCRIBER)?;
        let events = follow::behind(tx.conn, at, &FOLLOWS, BATCH)?;
        // Another process may have handled the events in the meantime.
        let Some(until) = events.last().map(|event| event.seq) else {
            return Ok(());
        };
        let operators = contact::list(tx.conn)?;
        for event in &events {
            let id = SourceId::parse(&event.subject).map_err(Error::internal)?;
            let source = source::get(tx.conn, &id)?;
            let what = if event.action == Action::SyncStopped.as_str() {
                OperatorEvent::SyncWaiting
            } else {
                OperatorEvent::SyncFailed
            };
            let since = source.last_success_at.map_or(0, |at| at.as_micros());
            let key = format!("{}:{id}:{since}", what.as_str());
            let about = About::Sync(SyncFacts {
                event: what,
                source: id,
                name: source.name,
            });
            let wanting = operators
                .iter()
                .filter(|operator| operator.enabled && operator.events.contains(&what));
            for operator in wanting {
                outbox::put_about(tx, operator, &key, &about, tx.now)?;
            }
        }
        follow::advance(tx.conn, SUBSCRIBER, until)
    })
    .await?;
    Ok(true)
}
