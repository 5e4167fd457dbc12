//! From the frozen list of a notice to its rows in the queue, in steps that can be resumed after a crash.
//!
//! Must never happen here: a recipient without a delivery, or with two.

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
use crate::db::{Conn, Fix};
use crate::delivery::calling;
use crate::notice::EMAIL;
use crate::notice::counts::{Changes, exceptions};

/// Rows that one step of the expansion writes.
const EXPAND: i64 = 10_000;
/// Recipients from which on an expansion changes what PostgreSQL has to know of the queue to plan well. The first step
/// writes no more than these: PostgreSQL looks at all of them, and of ten times as many that took as long as the step.
const MANY: i64 = 1_000;

/// The ordinals that one step writes: after `cursor` up to `end`. Those after `people` are not mails.
struct Step {
    cursor: i64,
    end: i64,
    people: i64,
}

/// Recipients up to which an expansion takes no longer than a claim.
const FEW: i64 = 100;

/// What deliveries are made with.
#[derive(Clone, Debug)]
pub struct Expansion {
    /// The right-hand side of Message-IDs.
    pub domain: String,
    /// How long a mail is tried before it is given up.
    pub lifetime: Duration,
}

/// A notice that waits to be expanded.
pub(super) struct Waiting {
    id: NoticeId,
    recipients: i64,
}

impl Waiting {
    /// Whether its expansion holds nobody up.
    pub fn is_short(&self) -> bool {
        self.recipients <= FEW
    }
}

/// Which notices are under way, in the words of their index: SQLite compares words, not values.
pub(super) fn active() -> SqlLiteral<Bool> {
    sql("notices.state IN ('queued', 'sending')")
}

/// The notice that was queued first of those that wait to be expanded.
///
/// # Errors
/// What the database answers.
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

/// Writes the next rows of a queued notice into the queue. Answers whether there was anything to do.
///
/// # Errors
/// What the database answers.
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
        // Another worker was faster, or it was stopped meanwhile.
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
    // Once: from then on the server concludes from the size of the file how many more there are.
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

/// Most are mails that wait; only the others are looked at one by one.
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
