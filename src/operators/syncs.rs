//! From syncs of the directory's sources that failed or wait to messages: a follower of the audit trail of its own.
//!
//! Operators hear once of a source that fails, and once of one that waits, until it succeeds again: a source that is read every
//! hour would otherwise say the same every hour.
//!
//! Must never happen here: what is wrong with a row, which may hold an address. The page of the directory shows it.

use serde::{Deserialize, Serialize};

use super::ACTOR;
use super::contact;
use super::message::{OperatorEvent, Rendered, Urgency};
use super::outbox::{self, About};
use crate::audit::follow;
use crate::audit::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::id::SourceId;
use crate::base::text::one_line;
use crate::db::Db;
use crate::directory::source;

/// The follower's name.
const FOLLOWER: &str = "operators.syncs";
/// What it follows.
const FOLLOWS: [Action; 2] = [Action::SyncFailed, Action::SyncStopped];
/// Events in one go.
const BATCH: i64 = 100;

/// The facts of a sync.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncFacts {
    /// sync_failed or sync_waiting.
    pub event: OperatorEvent,
    /// The source.
    pub source: SourceId,
    /// What it is called.
    pub name: String,
}

impl SyncFacts {
    /// The words; `base` is that of links.
    pub fn render(&self, base: &str) -> Rendered {
        let name = one_line(&self.name, 100);
        let (title, line) = match self.event {
            OperatorEvent::SyncWaiting => (
                format!("A sync of the source “{name}” waits for confirmation"),
                "It would archive more than its source allows, and stored nothing. Look at what it would archive, then confirm it \
                 or correct the source.",
            ),
            _ => (
                format!("A sync of the source “{name}” failed"),
                "It stored nothing: the directory is as old as the last sync that succeeded. The page of the directory says why.",
            ),
        };
        Rendered {
            title: one_line(&title, 250),
            lines: vec![line.to_owned()],
            link: format!("{base}/admin/directory"),
            link_text: "Open the directory",
            urgency: Urgency::High,
        }
    }
}

/// Makes messages of what happened since the last time. Answers whether there was anything.
///
/// # Errors
/// What the database answers; then nothing is stored.
pub(super) async fn follow_trail(db: &Db) -> Result<bool> {
    if !db.read(|conn| follow::any(conn, FOLLOWER, &FOLLOWS)).await? {
        return Ok(false);
    }
    db.write(&Actor::system(ACTOR), |tx| {
        let at = follow::hold(tx.conn, FOLLOWER)?;
        let events = follow::behind(tx.conn, at, &FOLLOWS, BATCH)?;
        // Of several processes one may have been quicker.
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
        follow::advance(tx.conn, FOLLOWER, until)
    })
    .await?;
    Ok(true)
}
