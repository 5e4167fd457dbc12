//! Creates the deliveries of a notice from its frozen list, in steps that can be resumed after a crash.
//!
//! Every recipient gets exactly one delivery. A notice with waves is expanded up to the end of the current wave. The
//! list of a resumed notice is expanded again from the beginning, and its stopped deliveries become pending.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::dialect;
use crate::db::schema::notices as n;
use crate::db::{Conn, FixedText};
use crate::delivery::calling;
use crate::notice::delivery_state::{self, Changes, NewDeliveries};
use crate::notice::state::{self, NoticeState};
use crate::notice::{DeliveryState, counts, waves};

/// The largest number of rows that one step writes.
const EXPAND: i64 = 10_000;
/// The number of recipients from which PostgreSQL gets new statistics of the queue, which it needs for good
/// query plans. The first step writes at most this many rows. PostgreSQL reads all of them for the
/// statistics, and for ten times as many this took as long as the step itself.
const MANY: i64 = 1_000;

/// The largest number of recipients for which an expansion takes no longer than a claim.
const FEW: i64 = 100;

/// The settings that deliveries are created with.
#[derive(Clone, Debug)]
pub struct Expansion {
    /// The part of a Message-ID after the @.
    pub domain: String,
    /// How long an email is tried before it fails.
    pub lifetime: Duration,
}

/// A notice that waits to be expanded.
pub(super) struct Waiting {
    id: NoticeId,
    recipients: i64,
}

impl Waiting {
    /// Returns whether its expansion is short enough to run in the transaction of a claim.
    pub fn is_short(&self) -> bool {
        self.recipients <= FEW
    }
}

/// Returns the condition for notices that are being sent, written exactly as in their index. SQLite uses a
/// partial index only if the text is the same.
pub(super) fn active() -> SqlLiteral<Bool> {
    sql("notices.state IN ('queued', 'sending')")
}

/// Returns the notice that was queued first of the notices that wait to be expanded.
///
/// # Errors
/// An error of the database.
pub(super) fn waiting(conn: &mut Conn) -> Result<Option<Waiting>> {
    let found: Option<(NoticeId, i64)> = n::table
        .filter(active())
        .filter(n::state.eq(NoticeState::Queued))
        .order(n::queued_at)
        .select((n::id, n::recipients + n::endpoints))
        .limit(1)
        .fixed()
        .get_result(conn)
        .optional()?;
    Ok(found.map(|(id, recipients)| Waiting { id, recipients }))
}

/// Writes the next rows of a queued notice into the queue. Returns whether a notice waited.
///
/// # Errors
/// An error of the database.
pub fn expand_step(tx: &mut Tx<'_>, by: &Expansion) -> Result<bool> {
    let Some(Waiting { id, .. }) = waiting(tx.conn)? else {
        return Ok(false);
    };
    dialect::lock(tx.conn, dialect::Lock::Notice, id.as_str())?;
    let (state, cursor, people, recipients): (NoticeState, i64, i64, i64) = n::table
        .find(id.as_str())
        .select((
            n::state,
            n::expand_cursor,
            n::recipients,
            n::recipients + n::endpoints,
        ))
        .first(tx.conn)?;
    match state {
        NoticeState::Queued => {}
        // Another worker has expanded the notice, or it was stopped in the meantime.
        NoticeState::Draft | NoticeState::Sending | NoticeState::Sent | NoticeState::Stopped => {
            return Ok(true);
        }
    }
    let end = waves::end_of_current(tx.conn, &id)?.unwrap_or(recipients);
    let rows = if cursor == 0 { MANY } else { EXPAND };
    let upto = (cursor + rows).min(end);
    let mut changes = Changes::default();
    let new = NewDeliveries {
        notice: &id,
        after: cursor,
        upto,
        people,
        domain: &by.domain,
        mail_lifetime: by.lifetime,
        call_lifetime: calling::LIFETIME,
        state: DeliveryState::Pending,
    };
    if delivery_state::exist(tx.conn, &new)? {
        let stopped = counts::in_states(tx.conn, &id, &[DeliveryState::Stopped])?;
        delivery_state::queue_stopped(tx, &new, stopped.into_keys(), &mut changes)?;
    } else {
        delivery_state::create(tx, &new, &mut changes)?;
    }
    state::expanded(tx, &id, upto, end)?;
    // Once is enough, because from then on the server estimates the number of rows from the size of the file.
    if recipients >= MANY && cursor == 0 {
        dialect::analyze(tx.conn, &["deliveries"])?;
    }
    changes.store(tx.conn)?;
    Ok(true)
}
