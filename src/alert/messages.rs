//! Messages that were taken, by the sender's own id of them. Senders deliver a message again where they are not sure that
//! it arrived: each is taken once, by whichever process, also after a restart.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use diesel::prelude::*;

use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::alert_messages as m;

/// How long the id of a message is kept. Senders give up after a day at most.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3_600);

/// The ids of messages that were taken before, and those that are taken now.
#[derive(Debug, Default)]
pub(super) struct Messages {
    taken: HashSet<(String, String)>,
    fresh: BTreeSet<(String, String)>,
}

impl Messages {
    /// Reads which of these messages of an integration were taken before.
    ///
    /// # Errors
    /// What the database answers.
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

    /// Whether a message was taken already.
    pub fn was_taken(&self, integration: &str, id: &str) -> bool {
        self.taken.contains(&(integration.to_owned(), id.to_owned()))
    }

    /// Says that a message is taken now.
    pub fn take(&mut self, integration: &str, id: &str) {
        let key = (integration.to_owned(), id.to_owned());
        if self.taken.insert(key.clone()) {
            self.fresh.insert(key);
        }
    }

    /// Stores the ids of the messages that were taken now.
    ///
    /// # Errors
    /// What the database answers.
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

/// Forgets the ids of messages that are too old to come again, and names of problems that nobody uses. Answers how many.
///
/// # Errors
/// What the database answers.
pub fn forget(conn: &mut Conn, now: Timestamp) -> Result<usize> {
    let messages = diesel::delete(m::table.filter(m::received_at.lt(now.minus(KEPT)))).execute(conn)?;
    Ok(messages + super::keys::forget(conn, now)?)
}
