//! The state of a delivery, and the only functions that change it.
//!
//! ```text
//! (created) ─► pending ─(end of a claim)─► sent ─(report)─► bounced
//!     │         │  ▲  └──(end of a claim)─► failed             │
//!     │         │  └───────────(send again)───┴────────────────┘
//!     │         └─(stop, or end of a claim)─► stopped ─(resume)─► pending or suppressed
//!     └─► suppressed, or stopped
//! ```
//!
//! The functions stand in `notice`, because stopping a notice stops its deliveries too, and because `delivery`
//! and `feedback` may use `notice`. `tests/states_have_one_owner.rs` fails if another file writes the state.
//!
//! Each function changes the counts of the notice together with the states. All workers update the same rows
//! of counts, so these rows should be locked only briefly: a transaction collects its [`Changes`] and stores
//! them as its last work, apart from its audit events. The order of locks is always the same: the incident,
//! the notice, the deliveries, the counts, the end of the audit chain.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use diesel::deserialize::FromSqlRow;
use diesel::dsl::sql;
use diesel::expression::{AsExpression, SqlLiteral};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use serde_json::json;

use super::row::EMAIL;
use crate::audit::{Action, Event, Tx, record_attempts};
use crate::base::code::Code;
use crate::base::columns::word_columns;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId, new_uuid};
use crate::base::time::Timestamp;
use crate::db::dialect::{self, AttemptRow, ClaimedRow, End};
use crate::db::schema::deliveries as d;
use crate::db::{Conn, FixedText};
use crate::directory::erased::PLACEHOLDER;

word_enum! {
    /// The state of a delivery.
    #[derive(PartialOrd, Ord, AsExpression, FromSqlRow)]
    #[diesel(sql_type = Text)]
    DeliveryState, "a state of a delivery" {
        /// The delivery is not finished yet.
        Pending = "pending",
        /// The server accepted the message.
        Sent = "sent",
        /// The server rejected the message, or the delivery expired.
        Failed = "failed",
        /// The server accepted the email, and it bounced later.
        Bounced = "bounced",
        /// Nothing is sent, because the address was suppressed when the delivery was created.
        Suppressed = "suppressed",
        /// Nothing more is sent, because the notice was stopped.
        Stopped = "stopped",
    }
}
word_columns!(DeliveryState);

impl DeliveryState {
    /// All states, in the order in which they are listed to people.
    pub const ALL: [DeliveryState; 6] = [
        DeliveryState::Pending,
        DeliveryState::Sent,
        DeliveryState::Failed,
        DeliveryState::Bounced,
        DeliveryState::Suppressed,
        DeliveryState::Stopped,
    ];

    /// Returns whether [`exceptions`] contains the deliveries in this state.
    pub fn is_exception(self) -> bool {
        match self {
            DeliveryState::Pending | DeliveryState::Sent => false,
            DeliveryState::Failed
            | DeliveryState::Bounced
            | DeliveryState::Suppressed
            | DeliveryState::Stopped => true,
        }
    }

    /// Returns whether a delivery in this state may be sent again. A message that was accepted is not, because
    /// nobody may get it twice.
    pub fn may_be_sent_again(self) -> bool {
        match self {
            DeliveryState::Failed | DeliveryState::Bounced => true,
            DeliveryState::Pending
            | DeliveryState::Sent
            | DeliveryState::Suppressed
            | DeliveryState::Stopped => false,
        }
    }
}

/// The reason of a delivery that is not made, because its recipient was erased.
pub const ERASED: &str = "erased";

/// Returns the condition for deliveries that are neither pending nor accepted, which have an index. The text
/// is the same as in the index. With bound values, neither database would use the index.
pub fn exceptions() -> SqlLiteral<Bool> {
    sql("deliveries.state NOT IN ('pending', 'sent')")
}

/// The changes of a transaction to the numbers of deliveries in each state.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<(String, String, &'static str), i64>);

impl Changes {
    /// Notes that `count` deliveries of the notice and channel changed from one state to another.
    fn moved(
        &mut self,
        notice: &NoticeId,
        channel: &str,
        from: DeliveryState,
        to: DeliveryState,
        count: usize,
    ) {
        let count = count as i64;
        *self.of(notice, channel, from) -= count;
        *self.of(notice, channel, to) += count;
    }

    /// Notes that `count` new deliveries of the notice and channel have this state.
    fn made(&mut self, notice: &NoticeId, channel: &str, state: DeliveryState, count: usize) {
        *self.of(notice, channel, state) += count as i64;
    }

    fn of(&mut self, notice: &NoticeId, channel: &str, state: DeliveryState) -> &mut i64 {
        self.0
            .entry((notice.to_string(), channel.to_owned(), state.as_str()))
            .or_default()
    }

    /// Stores the changes. This must be the last work of a transaction, apart from its audit events. The
    /// order is always the same, so that two transactions do not deadlock.
    ///
    /// # Errors
    /// An error of the database.
    pub fn store(self, conn: &mut Conn) -> Result<()> {
        for ((notice, channel, state), change) in self.0 {
            if change == 0 {
                continue;
            }
            diesel::sql_query(
                "INSERT INTO delivery_counts (notice_id, channel, state, count) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (notice_id, channel, state) DO UPDATE SET count = delivery_counts.count + excluded.count",
            )
            .bind::<Text, _>(notice)
            .bind::<Text, _>(channel)
            .bind::<Text, _>(state)
            .bind::<BigInt, _>(change)
            .fixed()
            .execute(conn)?;
        }
        Ok(())
    }
}

/// The part of a frozen list that becomes deliveries, and what these deliveries have in common.
#[derive(Debug)]
pub struct NewDeliveries<'a> {
    /// The notice that the deliveries belong to.
    pub notice: &'a NoticeId,
    /// The deliveries are created for the positions after this one.
    pub after: i64,
    /// The last position for which a delivery is created.
    pub upto: i64,
    /// The last position of an email. Positions after it belong to endpoints.
    pub people: i64,
    /// The part of a Message-ID after the @.
    pub domain: &'a str,
    /// How long an email is tried before it fails.
    pub mail_lifetime: Duration,
    /// How long a call to an endpoint is tried before it fails.
    pub call_lifetime: Duration,
    /// The state of the new deliveries: `pending`, or `stopped` if the notice was stopped before.
    pub state: DeliveryState,
}

/// Returns whether the deliveries of this part of the frozen list exist already. Either all of them exist or none:
/// a stopped notice gets the deliveries of its whole list before it is resumed.
///
/// # Errors
/// An error of the database.
pub fn exist(conn: &mut Conn, new: &NewDeliveries<'_>) -> Result<bool> {
    let first: Option<i64> = d::table
        .filter(d::notice_id.eq(new.notice.as_str()))
        .filter(d::ordinal.eq(new.after + 1))
        .select(d::id)
        .first(conn)
        .optional()?;
    Ok(first.is_some())
}

/// Creates deliveries. They have the state `new.state`, or are `suppressed` if the message is optional and its
/// address is suppressed. One statement creates all of them.
///
/// The caller has locked the notice and found it queued, and writes in the same transaction that these
/// positions are done, so that no position gets two deliveries. The number of deliveries in each state is
/// added to `changes`. [`super::state::expanded`] writes the audit event for all deliveries of the notice.
///
/// # Errors
/// An error of the database.
pub fn create(tx: &mut Tx<'_>, new: &NewDeliveries<'_>, changes: &mut Changes) -> Result<()> {
    let made = diesel::sql_query(
        "INSERT INTO deliveries (notice_id, ordinal, channel, address, state, attempt, next_attempt_at, expires_at, message_id, domain, reason) \
         SELECT nr.notice_id, nr.ordinal, nr.channel, nr.address, \
                CASE WHEN nr.address LIKE 'erased-%' AND nr.address NOT LIKE '%@%' THEN 'stopped' \
                     WHEN nr.optional AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.address = LOWER(nr.address)) \
                     THEN 'suppressed' ELSE $1 END, \
                0, $2, CASE WHEN nr.channel = 'email' THEN $3 ELSE $4 END, \
                CAST(nr.ordinal AS TEXT) || '.' || nr.notice_id || '@' || $5, nr.domain, \
                CASE WHEN nr.address LIKE 'erased-%' AND nr.address NOT LIKE '%@%' THEN 'erased' END \
         FROM notice_recipients nr WHERE nr.notice_id = $6 AND nr.ordinal > $7 AND nr.ordinal <= $8 \
         ORDER BY nr.ordinal",
    )
    .bind::<Text, _>(new.state)
    .bind::<BigInt, _>(tx.now)
    .bind::<BigInt, _>(tx.now.plus(new.mail_lifetime))
    .bind::<BigInt, _>(tx.now.plus(new.call_lifetime))
    .bind::<Text, _>(new.domain)
    .bind::<Text, _>(new.notice.as_str())
    .bind::<BigInt, _>(new.after)
    .bind::<BigInt, _>(new.upto)
    .fixed()
    .execute(tx.conn)?;
    count_created(tx.conn, new, made, changes)
}

/// Counts the created deliveries. Most of them are pending emails, so only the others are counted with a
/// query.
fn count_created(conn: &mut Conn, new: &NewDeliveries<'_>, made: usize, changes: &mut Changes) -> Result<()> {
    let suppressed: i64 = d::table
        .filter(d::notice_id.eq(new.notice.as_str()))
        .filter(d::ordinal.gt(new.after).and(d::ordinal.le(new.upto)))
        .filter(d::state.eq(DeliveryState::Suppressed))
        .filter(exceptions())
        .count()
        .get_result(conn)?;
    let calls: Vec<(String, i64)> = if new.upto > new.people {
        d::table
            .filter(d::notice_id.eq(new.notice.as_str()))
            .filter(d::ordinal.gt(new.after.max(new.people)))
            .filter(d::ordinal.le(new.upto))
            .group_by(d::channel)
            .select((d::channel, diesel::dsl::count_star()))
            .load(conn)?
    } else {
        Vec::new()
    };
    let mut mails = made;
    for (channel, count) in &calls {
        changes.made(new.notice, channel, new.state, *count as usize);
        mails = mails.saturating_sub(*count as usize);
    }
    let suppressed = suppressed as usize;
    changes.made(new.notice, EMAIL, DeliveryState::Suppressed, suppressed);
    let erased: i64 = d::table
        .filter(d::notice_id.eq(new.notice.as_str()))
        .filter(d::ordinal.gt(new.after).and(d::ordinal.le(new.upto)))
        .filter(d::state.eq(DeliveryState::Stopped))
        .filter(d::reason.eq(ERASED))
        .filter(exceptions())
        .count()
        .get_result(conn)?;
    let erased = erased as usize;
    changes.made(new.notice, EMAIL, DeliveryState::Stopped, erased);
    let others = mails.saturating_sub(suppressed + erased);
    changes.made(new.notice, EMAIL, new.state, others);
    Ok(())
}

/// The condition for the stopped deliveries that are sent if their notice is resumed. A delivery with a reason is left
/// out ([`super::resume`]), and so is one that may have arrived, or whose recipient was erased.
const RESUMABLE: &str = "state = 'stopped' AND state NOT IN ('pending', 'sent') AND reason IS NULL AND ambiguous = 0 \
     AND (address NOT LIKE 'erased-%' OR address LIKE '%@%')";

/// Returns the same condition for the statements of other files.
pub(super) fn resumable() -> SqlLiteral<Bool> {
    sql(
        "deliveries.state = 'stopped' AND deliveries.state NOT IN ('pending', 'sent') AND deliveries.reason IS NULL \
         AND deliveries.ambiguous = 0 AND (deliveries.address NOT LIKE 'erased-%' OR deliveries.address LIKE '%@%')",
    )
}

/// Returns the number of stopped deliveries, by channel, that will be sent although they are stopped: their notice was
/// resumed, and its list is expanded again up to them later, for example with a later wave. The notice is being sent.
pub(super) fn waiting_again(conn: &mut Conn, notice: &NoticeId) -> Result<Vec<(String, i64)>> {
    Ok(d::table
        .filter(d::notice_id.eq(notice.as_str()))
        .filter(resumable())
        .group_by(d::channel)
        .select((d::channel, diesel::dsl::count_star()))
        .load(conn)?)
}

/// Makes the stopped deliveries of a part of the frozen list `pending`, or `suppressed` if the message is optional
/// and the address was suppressed since. `channels` are those with stopped deliveries. One statement for each
/// channel changes them.
///
/// The caller must fulfil what [`create`] says. [`super::resume`] writes the audit event of all of them.
///
/// # Errors
/// An error of the database.
pub fn queue_stopped(
    tx: &mut Tx<'_>,
    new: &NewDeliveries<'_>,
    channels: impl IntoIterator<Item = String>,
    changes: &mut Changes,
) -> Result<()> {
    let suppressed = diesel::sql_query(format!(
        "UPDATE deliveries SET state = 'suppressed' \
         WHERE notice_id = $1 AND ordinal > $2 AND ordinal <= $3 AND {RESUMABLE} AND channel = 'email' AND EXISTS \
         (SELECT 1 FROM notice_recipients nr JOIN opt_outs o ON o.address = LOWER(nr.address) \
          WHERE nr.notice_id = deliveries.notice_id AND nr.ordinal = deliveries.ordinal AND nr.optional)"
    ))
    .bind::<Text, _>(new.notice.as_str())
    .bind::<BigInt, _>(new.after)
    .bind::<BigInt, _>(new.upto)
    .fixed()
    .execute(tx.conn)?;
    changes.moved(
        new.notice,
        EMAIL,
        DeliveryState::Stopped,
        DeliveryState::Suppressed,
        suppressed,
    );
    for channel in channels {
        let lifetime = match channel == EMAIL {
            true => new.mail_lifetime,
            false => new.call_lifetime,
        };
        // SQLite numbers parameters in the order in which they first appear.
        let queued = diesel::sql_query(format!(
            "UPDATE deliveries SET state = 'pending', lease = NULL, deferred_until = NULL, next_attempt_at = $1, expires_at = $2 \
             WHERE notice_id = $3 AND ordinal > $4 AND ordinal <= $5 AND {RESUMABLE} AND channel = $6"
        ))
        .bind::<BigInt, _>(tx.now)
        .bind::<BigInt, _>(tx.now.plus(lifetime))
        .bind::<Text, _>(new.notice.as_str())
        .bind::<BigInt, _>(new.after)
        .bind::<BigInt, _>(new.upto)
        .bind::<Text, _>(&channel)
        .fixed()
        .execute(tx.conn)?;
        changes.moved(
            new.notice,
            &channel,
            DeliveryState::Stopped,
            DeliveryState::Pending,
            queued,
        );
    }
    Ok(())
}

/// How a claim ends: the new state of the delivery, and the columns that are stored with it. A claim ends
/// only in the states that these functions return.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimEnd {
    state: DeliveryState,
    columns: End,
}

impl ClaimEnd {
    fn at(now: Timestamp, state: DeliveryState) -> Self {
        ClaimEnd {
            state,
            columns: End {
                next_attempt_at: now,
                sent_at: None,
                reason: None,
                ambiguous: 0,
                deferred_until: None,
            },
        }
    }

    /// The server accepted the message.
    pub fn sent(now: Timestamp) -> Self {
        let mut end = Self::at(now, DeliveryState::Sent);
        end.columns.sent_at = Some(now);
        end
    }

    /// The delivery failed, for this reason: `refused`, `expired` or `gone`.
    pub fn failed(now: Timestamp, reason: &'static str) -> Self {
        let mut end = Self::at(now, DeliveryState::Failed);
        end.columns.reason = Some(reason);
        end
    }

    /// The notice was stopped, so nothing more is sent.
    pub fn stopped(now: Timestamp) -> Self {
        Self::at(now, DeliveryState::Stopped)
    }

    /// No attempt was made. The delivery stays pending and is due at once.
    pub fn released(now: Timestamp) -> Self {
        Self::at(now, DeliveryState::Pending)
    }

    /// The delivery stays pending and waits until this time for its next attempt.
    pub fn waits(next: Timestamp) -> Self {
        let mut end = Self::at(next, DeliveryState::Pending);
        end.columns.deferred_until = Some(next);
        end
    }

    /// Adds an attempt that was not accepted and not rejected for good. The next attempt is due at `next`, or
    /// would be. `ambiguous` is 1 if the message may have arrived, and 0 if it did not.
    pub fn after_attempt(mut self, next: Timestamp, ambiguous: i64) -> Self {
        self.columns.next_attempt_at = next;
        self.columns.ambiguous = ambiguous;
        self
    }
}

/// The ends of claims: by notice, channel and end, the IDs of the deliveries.
pub type ClaimEnds<'a> = BTreeMap<(&'a NoticeId, &'a str, ClaimEnd), Vec<i64>>;

/// Ends claims: stores their attempts, and the new states of the deliveries that are `pending` and that
/// `lease` still holds. One statement changes all deliveries of a notice and channel that end alike.
///
/// Only the deliveries are locked here. The caller must not take the lock of an incident or a notice after
/// this. The changed numbers are added to `changes`. One audit event covers all attempts that were not stored
/// before.
///
/// # Errors
/// An error of the database.
pub fn end_claims(
    tx: &mut Tx<'_>,
    lease: &str,
    attempts: Vec<AttemptRow<'_>>,
    ends: &ClaimEnds<'_>,
    changes: &mut Changes,
) -> Result<()> {
    let batch = new_uuid(tx.now).to_string();
    // Fewer rows are new if another worker has already stored the outcome records of this one, because it
    // seemed dead.
    let recorded = dialect::insert_attempts(tx.conn, tx.now, &batch, &attempts)?;
    for ((notice, channel, end), ids) in ends {
        let ended = dialect::end_claim(tx.conn, lease, end.state.as_str(), &end.columns, ids)?;
        changes.moved(notice, channel, DeliveryState::Pending, end.state, ended);
    }
    if recorded > 0 {
        let known = (recorded == attempts.len()).then_some(attempts);
        record_attempts(tx, &batch, known)?;
    }
    Ok(())
}

/// Stops the `pending` deliveries of a notice on these channels that no worker has claimed, and returns how
/// many there were. Only the worker that has claimed a delivery knows whether it is being sent, so claimed
/// deliveries are left to [`end_claims`] and [`withhold`]. One statement for each channel changes them.
///
/// The caller has locked the incident and the notice. The changed numbers are added to `changes`. The audit
/// event is the one of the stopped notice ([`super::state::stop`]).
pub(super) fn stop_unclaimed(
    conn: &mut Conn,
    notice: &NoticeId,
    channels: impl IntoIterator<Item = String>,
    changes: &mut Changes,
) -> Result<usize> {
    let mut withheld = 0;
    for channel in channels {
        let stopped = diesel::update(
            d::table
                .filter(d::notice_id.eq(notice.as_str()))
                .filter(d::channel.eq(&channel))
                .filter(d::state.eq(DeliveryState::Pending))
                .filter(d::lease.is_null()),
        )
        .set(d::state.eq(DeliveryState::Stopped))
        .execute(conn)?;
        changes.moved(
            notice,
            &channel,
            DeliveryState::Pending,
            DeliveryState::Stopped,
            stopped,
        );
        withheld += stopped;
    }
    Ok(withheld)
}

/// Stops the `pending` deliveries of these positions of a notice for good, because their recipients are erased. Returns how many were
/// stopped. A resumed notice does not send them, because they have a reason.
///
/// The changed numbers are added to `changes`. The audit event is the one of the erasure.
///
/// # Errors
/// `Conflict` with the code `being_sent` if a worker has claimed one of them, because nobody can say whether it is being sent.
pub fn stop_erased(
    conn: &mut Conn,
    notice: &NoticeId,
    ordinals: &[i64],
    changes: &mut Changes,
) -> Result<usize> {
    let mut all = 0;
    for ordinals in ordinals.chunks(500) {
        let these = || {
            d::table
                .filter(d::notice_id.eq(notice.as_str()))
                .filter(d::ordinal.eq_any(ordinals))
                .filter(d::state.eq(DeliveryState::Pending))
        };
        let stopped = diesel::update(these().filter(d::lease.is_null()))
            .set((d::state.eq(DeliveryState::Stopped), d::reason.eq(Some(ERASED))))
            .execute(conn)?;
        if these().count().get_result::<i64>(conn)? > 0 {
            return Err(Error::Conflict(
                "an email to this person is being sent at the moment; try again in a minute".to_owned(),
            )
            .code(Code::BeingSent));
        }
        changes.moved(
            notice,
            EMAIL,
            DeliveryState::Pending,
            DeliveryState::Stopped,
            stopped,
        );
        all += stopped;
    }
    Ok(all)
}

/// Stops `pending` deliveries that this transaction has claimed, because their notices are stopped. Such a
/// delivery was claimed when its notice was stopped, and its worker then died or gave it back. One statement
/// changes all of them.
///
/// The claim has locked the deliveries, and this locks the counts and stores the changed numbers. No audit
/// event is written: the event of the stopped notice says that its deliveries are not sent.
///
/// # Errors
/// An error of the database.
pub fn withhold(conn: &mut Conn, claimed: &[ClaimedRow]) -> Result<()> {
    let mut changes = Changes::default();
    for row in claimed {
        changes.moved(
            &row.notice_id,
            &row.channel,
            DeliveryState::Pending,
            DeliveryState::Stopped,
            1,
        );
    }
    let ids: Vec<i64> = claimed.iter().map(|row| row.id).collect();
    diesel::update(
        d::table
            .filter(d::id.eq_any(ids))
            .filter(d::state.eq(DeliveryState::Pending)),
    )
    .set((d::state.eq(DeliveryState::Stopped), d::lease.eq(None::<String>)))
    .execute(conn)?;
    changes.store(conn)
}

/// Makes deliveries of a notice `pending` again that are in the state `from`, and returns how many there are.
/// With `one`, only the delivery with this ID. Those in `except` stay as they are. They are due at once and expire after `lifetime`. Each
/// statement changes up to 500 deliveries.
///
/// The caller has locked the incident and the notice, and only a holder of these locks changes a delivery from
/// a state that may be sent again. The changed numbers are added to `changes`. [`super::state::send_again`]
/// writes the audit event.
pub(super) fn queue_again(
    tx: &mut Tx<'_>,
    notice: &NoticeId,
    (one, except): (Option<i64>, &HashSet<i64>),
    from: DeliveryState,
    lifetime: Duration,
    changes: &mut Changes,
) -> Result<usize> {
    if !from.may_be_sent_again() {
        return Ok(0);
    }
    let mut found = d::table
        .filter(d::notice_id.eq(notice.as_str()))
        .filter(d::state.eq(from))
        .filter(exceptions())
        .select((d::id, d::channel))
        .into_boxed::<crate::db::Backend>();
    if let Some(id) = one {
        found = found.filter(d::id.eq(id));
    }
    // Nobody can be written to at the placeholder of an erased recipient.
    let erased = format!("{PLACEHOLDER}%");
    found = found.filter(diesel::dsl::not(d::address.like(erased)).or(d::address.like("%@%")));
    let mut found: Vec<(i64, String)> = found.load(tx.conn)?;
    found.retain(|(id, _)| !except.contains(id));
    for (_, channel) in &found {
        changes.moved(notice, channel, from, DeliveryState::Pending, 1);
    }
    let ids: Vec<i64> = found.into_iter().map(|(id, _)| id).collect();
    for ids in ids.chunks(500) {
        diesel::update(d::table.filter(d::id.eq_any(ids)).filter(d::state.eq(from)))
            .set((
                d::state.eq(DeliveryState::Pending),
                d::lease.eq(None::<String>),
                d::deferred_until.eq(None::<Timestamp>),
                d::next_attempt_at.eq(tx.now),
                d::expires_at.eq(tx.now.plus(lifetime)),
                d::reason.eq(None::<String>),
            ))
            .execute(tx.conn)?;
    }
    Ok(ids.len())
}

/// Changes a delivery from `sent` to `bounced`, and returns whether it was changed. A delivery in another
/// state stays unchanged. `kind` and `status` say what the report was, for the audit trail.
///
/// This locks the delivery and then the counts, stores the changed numbers, and writes the audit event.
///
/// # Errors
/// An error of the database.
pub fn bounce(
    tx: &mut Tx<'_>,
    delivery: i64,
    incident: &IncidentId,
    kind: &'static str,
    status: Option<&str>,
) -> Result<bool> {
    let changed = diesel::update(d::table.find(delivery).filter(d::state.eq(DeliveryState::Sent)))
        .set(d::state.eq(DeliveryState::Bounced))
        .execute(tx.conn)?;
    if changed == 0 {
        return Ok(false);
    }
    let (notice, channel): (NoticeId, String) = d::table
        .find(delivery)
        .select((d::notice_id, d::channel))
        .first(tx.conn)?;
    let mut changes = Changes::default();
    changes.moved(&notice, &channel, DeliveryState::Sent, DeliveryState::Bounced, 1);
    changes.store(tx.conn)?;
    tx.record(
        Event::new(Action::DeliveryBounced, "delivery", delivery.to_string())
            .incident(incident)
            .before(json!({"state": DeliveryState::Sent}))
            .after(json!({"state": DeliveryState::Bounced, "kind": kind, "status": status})),
    );
    Ok(true)
}
