//! Stores the IDs of processed messages, so that each message is processed once. Senders deliver a message
//! again if they are not sure that it arrived. A repeat is recognised by any process, also after a restart.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use diesel::prelude::*;

use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::alert_messages as m;

/// How long the ID of a message is stored. Senders stop their retries after one day at most.
const RETENTION: Duration = Duration::from_secs(14 * 24 * 3_600);

/// The IDs of messages that were processed before, and of those that are processed now.
#[derive(Debug, Default)]
pub(super) struct Messages {
    taken: HashSet<(String, String)>,
    fresh: BTreeSet<(String, String)>,
}

impl Messages {
    /// Reads which of these messages of an integration were processed before.
    pub fn read(&mut self, conn: &mut Conn, integration: &str, ids: &BTreeSet<&str>) -> Result<()> {
        let ids: Vec<&str> = ids.iter().copied().collect();
        for chunk in ids.chunks(500) {
            let found: Vec<String> = m::table
                .filter(m::integration_id.eq(integration))
                .filter(m::message_id.eq_any(chunk))
                .select(m::message_id)
                .load(conn)?;
            self.taken
                .extend(found.into_iter().map(|id| (integration.to_owned(), id)));
        }
        Ok(())
    }

    /// Returns whether a message was processed before.
    pub fn was_taken(&self, integration: &str, id: &str) -> bool {
        self.taken.contains(&(integration.to_owned(), id.to_owned()))
    }

    /// Marks a message as processed.
    pub fn take(&mut self, integration: &str, id: &str) {
        let key = (integration.to_owned(), id.to_owned());
        if self.taken.insert(key.clone()) {
            self.fresh.insert(key);
        }
    }

    /// Stores the IDs of the messages that were processed in this transaction.
    pub fn store(&mut self, conn: &mut Conn, now: Timestamp) -> Result<()> {
        let rows: Vec<_> = std::mem::take(&mut self.fresh)
            .into_iter()
            .map(|(integration, id)| {
                (
                    m::integration_id.eq(integration),
                    m::message_id.eq(id),
                    m::received_at.eq(now),
                )
            })
            .collect();
        for chunk in rows.chunks(500) {
            on_backend!(&mut *conn, c => diesel::insert_into(m::table)
                .values(chunk.to_vec())
                .on_conflict_do_nothing()
                .execute(c))?;
        }
        Ok(())
    }
}

/// Deletes the IDs of messages that are too old to be repeated, and unused keys of problems. Returns how many
/// were deleted.
pub fn forget(conn: &mut Conn, now: Timestamp) -> Result<usize> {
    let messages = diesel::delete(m::table.filter(m::received_at.lt(now.minus(RETENTION)))).execute(conn)?;
    Ok(messages + super::keys::forget(conn, now)?)
}
