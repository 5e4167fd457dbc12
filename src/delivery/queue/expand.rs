//! Creates the deliveries of a notice from its frozen list, in steps that can be resumed after a crash.
//!
//! Every recipient gets exactly one delivery.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::dialect;
use crate::db::schema::{deliveries as d, notices as n};
use crate::db::{Conn, FixedText};
use crate::delivery::calling;
use crate::notice::EMAIL;
use crate::notice::counts::{Changes, exceptions};

/// The largest number of rows that one step writes.
const EXPAND: i64 = 10_000;
/// The number of recipients from which PostgreSQL gets new statistics of the queue, which it needs for good
/// query plans. The first step writes at most this many rows. PostgreSQL reads all of them for the
/// statistics, and for ten times as many this took as long as the step itself.
const MANY: i64 = 1_000;

/// The positions that one step writes: after `cursor` and up to `end`. Positions after `people` belong to
/// endpoints.
struct Step {
    cursor: i64,
    end: i64,
    people: i64,
}

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
        .filter(n::state.eq("queued"))
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
    let (state, cursor, people, recipients): (String, i64, i64, i64) = n::table
        .find(id.as_str())
        .select((
            n::state,
            n::expand_cursor,
            n::recipients,
            n::recipients + n::endpoints,
        ))
        .first(tx.conn)?;
    if state != "queued" {
        // Another worker has expanded the notice, or it was stopped in the meantime.
        return Ok(true);
    }
    let rows = if cursor == 0 { MANY } else { EXPAND };
    let end = (cursor + rows).min(recipients);
    let made = diesel::sql_query(
        "INSERT INTO deliveries (notice_id, ordinal, channel, address, state, attempt, next_attempt_at, expires_at, message_id, domain) \
         SELECT nr.notice_id, nr.ordinal, nr.channel, nr.address, \
                CASE WHEN nr.optional AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.address = LOWER(nr.address)) \
                     THEN 'suppressed' ELSE 'pending' END, \
                0, $1, CASE WHEN nr.channel = 'email' THEN $2 ELSE $3 END, \
                CAST(nr.ordinal AS TEXT) || '.' || nr.notice_id || '@' || $4, nr.domain \
         FROM notice_recipients nr WHERE nr.notice_id = $5 AND nr.ordinal > $6 AND nr.ordinal <= $7 \
         ORDER BY nr.ordinal",
    )
    .bind::<BigInt, _>(tx.now)
    .bind::<BigInt, _>(tx.now.plus(by.lifetime))
    .bind::<BigInt, _>(tx.now.plus(calling::LIFETIME))
    .bind::<Text, _>(&by.domain)
    .bind::<Text, _>(id.as_str())
    .bind::<BigInt, _>(cursor)
    .bind::<BigInt, _>(end)
    .fixed()
    .execute(tx.conn)?;
    let state = if end == recipients { "sending" } else { "queued" };
    diesel::update(n::table.find(id.as_str()))
        .set((n::expand_cursor.eq(end), n::state.eq(state)))
        .execute(tx.conn)?;
    // Once is enough, because from then on the server estimates the number of rows from the size of the file.
    if recipients >= MANY && cursor == 0 {
        dialect::analyze(tx.conn, &["deliveries"])?;
    }
    if end == recipients {
        let incident = n::table.find(id.as_str()).select(n::incident_id).first(tx.conn)?;
        tx.record(
            Event::new(Action::NoticeExpanded, "notice", id.as_str())
                .incident(&incident)
                .after(json!({"deliveries": recipients})),
        );
    }
    count(tx, &id, &Step { cursor, end, people }, made)?;
    Ok(true)
}

/// Updates the counts of the notice. Most deliveries are pending emails, so only the others are counted with
/// a query.
fn count(tx: &mut Tx<'_>, id: &NoticeId, step: &Step, made: usize) -> Result<()> {
    let suppressed: i64 = d::table
        .filter(d::notice_id.eq(id.as_str()))
        .filter(d::ordinal.gt(step.cursor).and(d::ordinal.le(step.end)))
        .filter(d::state.eq("suppressed"))
        .filter(exceptions())
        .count()
        .get_result(tx.conn)?;
    let calls: Vec<(String, i64)> = if step.end > step.people {
        d::table
            .filter(d::notice_id.eq(id.as_str()))
            .filter(d::ordinal.gt(step.cursor.max(step.people)))
            .filter(d::ordinal.le(step.end))
            .group_by(d::channel)
            .select((d::channel, diesel::dsl::count_star()))
            .load(tx.conn)?
    } else {
        Vec::new()
    };
    let mut changes = Changes::default();
    let mut mails = made;
    for (channel, count) in &calls {
        changes.made(id, channel, "pending", *count as usize);
        mails = mails.saturating_sub(*count as usize);
    }
    changes.made(id, EMAIL, "suppressed", suppressed as usize);
    changes.made(id, EMAIL, "pending", mails.saturating_sub(suppressed as usize));
    changes.store(tx.conn)
}
