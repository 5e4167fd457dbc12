//! The queue: expand, claim, renew, finish, release. Each is one short transaction.
//!
//! `next_attempt_at` is due time, backoff and visibility timeout in one: a claimed row is due again when its lease ends,
//! which the living worker keeps from happening. Every finish is fenced by the lease.

use std::collections::HashSet;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::json;

use super::Outcome;
use crate::audit::{Action, Actor, Event, Tx, record_attempts};
use crate::db::dialect::{self, on_backend};
use crate::db::schema::{deliveries as d, delivery_attempts as da, notice_recipients as nr, notices as n};
use crate::db::{Conn, Db};
use crate::error::Result;
use crate::id::{NoticeId, new_uuid};
use crate::time::Timestamp;

/// How long a claim holds without being renewed. Longer than a restart of the database takes, so that its worker can
/// still record what went out; short enough that the mails of a dead worker do not wait long.
pub const LEASE: Duration = Duration::from_secs(45);
/// Rows that one step of the expansion writes.
const EXPAND: i64 = 1_000;
/// How long a delivery is tried before it is given up.
pub const LIFETIME: Duration = Duration::from_secs(48 * 3600);

/// A claimed delivery.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its id.
    pub id: i64,
    /// The notice it belongs to.
    pub notice: NoticeId,
    /// Its place in the frozen list.
    pub ordinal: i64,
    /// Where it goes.
    pub address: String,
    /// The how-many-th attempt this is.
    pub attempt: i64,
    /// Message-ID, without angle brackets.
    pub message_id: String,
    /// When it is given up.
    pub expires_at: Timestamp,
}

/// What is to be recorded of a claimed delivery.
#[derive(Clone, Debug)]
pub enum Finish {
    /// An attempt was made.
    Attempt(Outcome),
    /// No attempt was made, as the notice was stopped.
    Withheld,
    /// No attempt was made, as the worker stops; the row is due at once.
    Released,
}

/// Writes the next rows of a queued notice into the queue. Answers whether there was anything to do.
///
/// # Errors
/// What the database answers.
pub fn expand_step(tx: &mut Tx<'_>, domain: &str) -> Result<bool> {
    let candidate: Option<NoticeId> = n::table
        .filter(n::state.eq("queued"))
        .order(n::queued_at)
        .select(n::id)
        .first(tx.conn)
        .optional()?;
    let Some(id) = candidate else { return Ok(false) };
    dialect::lock(tx.conn, dialect::Lock::Notice, id.as_str())?;
    let (state, cursor, recipients): (String, i64, i64) = n::table
        .find(id.as_str())
        .select((n::state, n::expand_cursor, n::recipients))
        .first(tx.conn)?;
    if state != "queued" {
        // Another worker was faster, or it was stopped meanwhile.
        return Ok(true);
    }
    let end = (cursor + EXPAND).min(recipients);
    diesel::sql_query(
        "INSERT INTO deliveries (notice_id, ordinal, channel, address, state, attempt, next_attempt_at, expires_at, message_id) \
         SELECT nr.notice_id, nr.ordinal, 'email', nr.address, \
                CASE WHEN nr.optional AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.address = LOWER(nr.address)) \
                     THEN 'suppressed' ELSE 'pending' END, \
                0, $1, $2, CAST(nr.ordinal AS TEXT) || '.' || nr.notice_id || '@' || $3 \
         FROM notice_recipients nr WHERE nr.notice_id = $4 AND nr.ordinal > $5 AND nr.ordinal <= $6 \
         ON CONFLICT DO NOTHING",
    )
    .bind::<BigInt, _>(tx.now)
    .bind::<BigInt, _>(tx.now.plus(LIFETIME))
    .bind::<Text, _>(domain)
    .bind::<Text, _>(id.as_str())
    .bind::<BigInt, _>(cursor)
    .bind::<BigInt, _>(end)
    .execute(tx.conn)?;
    let state = if end == recipients { "sending" } else { "queued" };
    diesel::update(n::table.find(id.as_str()))
        .set((n::expand_cursor.eq(end), n::state.eq(state)))
        .execute(tx.conn)?;
    if end == recipients {
        let incident = n::table.find(id.as_str()).select(n::incident_id).first(tx.conn)?;
        tx.record(
            Event::new(Action::NoticeExpanded, "notice", id.as_str())
                .incident(&incident)
                .after(json!({"deliveries": recipients})),
        );
    }
    Ok(true)
}

/// Claims up to `limit` due deliveries for the holder of `lease`.
///
/// # Errors
/// What the database answers.
pub fn claim(conn: &mut Conn, now: Timestamp, lease: &str, limit: i64) -> Result<Vec<Claimed>> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let ids: Vec<i64> = diesel::sql_query(dialect::claimable(conn))
        .bind::<BigInt, _>(now)
        .bind::<BigInt, _>(limit)
        .load::<Id>(conn)?
        .into_iter()
        .map(|row| row.id)
        .collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows: Vec<(i64, NoticeId, i64, String, i64, String, Timestamp)> =
        diesel::update(d::table.filter(d::id.eq_any(&ids)).filter(d::state.eq("pending")))
            .set((
                d::attempt.eq(d::attempt + 1),
                d::lease.eq(Some(lease)),
                d::next_attempt_at.eq(now.plus(LEASE)),
            ))
            .returning((
                d::id,
                d::notice_id,
                d::ordinal,
                d::address,
                d::attempt,
                d::message_id,
                d::expires_at,
            ))
            .get_results(conn)?;
    withhold_stopped(conn, &mut rows, |row| (row.0, &row.1))?;
    rows.sort_unstable_by_key(|row| row.0);
    Ok(rows
        .into_iter()
        .map(
            |(id, notice, ordinal, address, attempt, message_id, expires_at)| Claimed {
                id,
                notice,
                ordinal,
                address,
                attempt,
                message_id,
                expires_at,
            },
        )
        .collect())
}

/// Takes out what belongs to a stopped notice. Such a row was claimed when its notice was stopped, and its worker has
/// died or given it back since: nobody sends it any more.
fn withhold_stopped<T>(conn: &mut Conn, rows: &mut Vec<T>, key: fn(&T) -> (i64, &NoticeId)) -> Result<()> {
    let notices: HashSet<&str> = rows.iter().map(|row| key(row).1.as_str()).collect();
    let stopped = stopped_of(conn, notices)?;
    if stopped.is_empty() {
        return Ok(());
    }
    let is_stopped = |row: &T| stopped.contains(key(row).1);
    let ids: Vec<i64> = rows
        .iter()
        .filter(|row| is_stopped(row))
        .map(|row| key(row).0)
        .collect();
    diesel::update(d::table.filter(d::id.eq_any(ids)))
        .set((d::state.eq("stopped"), d::lease.eq(None::<String>)))
        .execute(conn)?;
    rows.retain(|row| !is_stopped(row));
    Ok(())
}

fn stopped_of<'a>(conn: &mut Conn, notices: impl IntoIterator<Item = &'a str>) -> Result<HashSet<NoticeId>> {
    Ok(n::table
        .filter(n::id.eq_any(notices))
        .filter(n::state.eq("stopped"))
        .select(n::id)
        .load::<NoticeId>(conn)?
        .into_iter()
        .collect())
}

/// Whether a delivery is due, or a notice waits to be expanded or finished.
///
/// # Errors
/// What the database answers.
pub fn anything_to_do(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let due: Option<i64> = d::table
        .filter(d::state.eq("pending"))
        .filter(d::next_attempt_at.le(now))
        .select(d::id)
        .limit(1)
        .first(conn)
        .optional()?;
    if due.is_some() {
        return Ok(true);
    }
    let waiting: Option<NoticeId> = n::table
        .filter(n::state.eq("queued"))
        .select(n::id)
        .limit(1)
        .first(conn)
        .optional()?;
    Ok(waiting.is_some() || !complete(conn)?.is_empty())
}

/// Notices being sent of which no delivery is pending any more.
///
/// # Errors
/// What the database answers.
pub fn complete(conn: &mut Conn) -> Result<Vec<NoticeId>> {
    Ok(n::table
        .filter(n::state.eq("sending"))
        .filter(diesel::dsl::not(diesel::dsl::exists(
            d::table
                .filter(d::notice_id.eq(n::id))
                .filter(d::state.eq("pending")),
        )))
        .select(n::id)
        .load(conn)?)
}

/// Keeps the claims of a living worker.
///
/// # Errors
/// What the database answers.
pub fn renew(conn: &mut Conn, now: Timestamp, lease: &str) -> Result<usize> {
    Ok(
        diesel::update(d::table.filter(d::state.eq("pending")).filter(d::lease.eq(lease)))
            .set(d::next_attempt_at.eq(now.plus(LEASE)))
            .execute(conn)?,
    )
}

/// Frees every claim: right only where no other worker can be alive (an embedded database at its start).
///
/// # Errors
/// What the database answers.
pub fn release_all(conn: &mut Conn, now: Timestamp) -> Result<usize> {
    Ok(diesel::update(
        d::table
            .filter(d::state.eq("pending"))
            .filter(d::lease.is_not_null()),
    )
    .set((d::lease.eq(None::<String>), d::next_attempt_at.eq(now)))
    .execute(conn)?)
}

/// Records what became of a group of claimed deliveries, with one audit event for its attempts.
/// Answers which of their notices are stopped.
///
/// # Errors
/// What the database answers; then nothing of the group is recorded.
pub async fn finish(
    db: &Db,
    lease: &str,
    schedule: &[Duration],
    group: Vec<(Claimed, Finish)>,
) -> Result<HashSet<NoticeId>> {
    let lease = lease.to_owned();
    let schedule = schedule.to_vec();
    db.write(&Actor::system("delivery"), move |tx| {
        finish_in(tx, &lease, &schedule, &group)
    })
    .await
}

fn finish_in(
    tx: &mut Tx<'_>,
    lease: &str,
    schedule: &[Duration],
    group: &[(Claimed, Finish)],
) -> Result<HashSet<NoticeId>> {
    let stopped = stopped_of(tx.conn, group.iter().map(|(claimed, _)| claimed.notice.as_str()))?;
    let sent_to: HashSet<&NoticeId> = group
        .iter()
        .filter(|(_, finish)| matches!(finish, Finish::Attempt(Outcome::Sent(_))))
        .map(|(claimed, _)| &claimed.notice)
        .collect();
    for notice in sent_to {
        crate::notice::told_somebody(tx, notice)?;
    }
    let batch = new_uuid(tx.now).to_string();
    let attempts: Vec<_> = group
        .iter()
        .filter_map(|(claimed, finish)| {
            let Finish::Attempt(outcome) = finish else {
                return None;
            };
            let (word, reply) = match outcome {
                Outcome::Sent(reply) => ("sent", reply),
                Outcome::Retry(_, reply) => ("retry", reply),
                Outcome::Failed(reply) => ("failed", reply),
            };
            Some((
                da::delivery_id.eq(claimed.id),
                da::attempt.eq(claimed.attempt),
                da::at.eq(tx.now),
                da::outcome.eq(word),
                da::reply.eq(reply.clone()),
                da::batch.eq(batch.clone()),
            ))
        })
        .collect();
    for chunk in attempts.chunks(500) {
        on_backend!(&mut *tx.conn, c => diesel::insert_into(da::table).values(chunk.to_vec()).execute(c))?;
    }
    let of = |wanted: fn(&Finish) -> bool| -> Vec<i64> {
        group
            .iter()
            .filter(|(_, finish)| wanted(finish))
            .map(|(claimed, _)| claimed.id)
            .collect()
    };
    let sent = of(|finish| matches!(finish, Finish::Attempt(Outcome::Sent(_))));
    let failed = of(|finish| matches!(finish, Finish::Attempt(Outcome::Failed(_))));
    let withheld = of(|finish| matches!(finish, Finish::Withheld));
    let released = of(|finish| matches!(finish, Finish::Released));
    for (ids, state, sent_at) in [
        (sent, "sent", Some(tx.now)),
        (failed, "failed", None),
        (withheld, "stopped", None),
    ] {
        for ids in ids.chunks(500) {
            diesel::update(d::table.filter(d::id.eq_any(ids)).filter(d::lease.eq(lease)))
                .set((
                    d::state.eq(state),
                    d::lease.eq(None::<String>),
                    d::sent_at.eq(sent_at),
                ))
                .execute(tx.conn)?;
        }
    }
    if !released.is_empty() {
        diesel::update(
            d::table
                .filter(d::id.eq_any(&released))
                .filter(d::lease.eq(lease)),
        )
        .set((d::lease.eq(None::<String>), d::next_attempt_at.eq(tx.now)))
        .execute(tx.conn)?;
    }
    for (claimed, finish) in group {
        let Finish::Attempt(Outcome::Retry(after, _)) = finish else {
            continue;
        };
        let next = tx.now.plus(after.unwrap_or_else(|| wait(schedule, claimed)));
        let state = if stopped.contains(&claimed.notice) {
            "stopped"
        } else if next > claimed.expires_at {
            "failed"
        } else {
            "pending"
        };
        diesel::update(d::table.filter(d::id.eq(claimed.id)).filter(d::lease.eq(lease)))
            .set((
                d::state.eq(state),
                d::lease.eq(None::<String>),
                d::next_attempt_at.eq(next),
            ))
            .execute(tx.conn)?;
    }
    if !attempts.is_empty() {
        record_attempts(tx, &batch)?;
    }
    Ok(stopped)
}

/// The wait before the next attempt: the schedule, spread by up to a fifth so that a relay that comes back is not
/// met by everybody at once. The spread is the delivery's own, not random: nothing here needs to be unpredictable.
fn wait(schedule: &[Duration], claimed: &Claimed) -> Duration {
    let index = usize::try_from(claimed.attempt - 1)
        .unwrap_or(0)
        .min(schedule.len().saturating_sub(1));
    let base = schedule.get(index).copied().unwrap_or(Duration::from_secs(60));
    base + base.mul_f64((claimed.id % 21) as f64 / 100.0)
}

/// A frozen notice, as the worker needs it.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// What is the same in every mail.
    pub content: crate::notice::compose::Content,
    /// The incident, for the thread.
    pub incident: String,
    /// The version of the template.
    pub template: String,
}

/// The frozen part of a notice.
///
/// # Errors
/// What the database answers.
pub fn frozen(conn: &mut Conn, id: &NoticeId) -> Result<Frozen> {
    let (content, incident, template): (Option<String>, String, Option<String>) = n::table
        .find(id.as_str())
        .select((n::frozen, n::incident_id, n::template_id))
        .first(conn)?;
    Ok(Frozen {
        content: serde_json::from_str(&content.unwrap_or_default())?,
        incident,
        template: template.unwrap_or_default(),
    })
}

/// A frozen recipient.
pub type FrozenRecipient = (crate::notice::compose::RecipientContext, bool);

/// The frozen recipients of these places of a notice.
///
/// # Errors
/// What the database answers.
pub fn recipients(
    conn: &mut Conn,
    notice: &NoticeId,
    ordinals: &[i64],
) -> Result<std::collections::HashMap<i64, FrozenRecipient>> {
    let rows: Vec<(i64, String, bool)> = nr::table
        .filter(nr::notice_id.eq(notice.as_str()))
        .filter(nr::ordinal.eq_any(ordinals))
        .select((nr::ordinal, nr::context, nr::optional))
        .load(conn)?;
    rows.into_iter()
        .map(|(ordinal, context, optional)| Ok((ordinal, (serde_json::from_str(&context)?, optional))))
        .collect()
}

/// Deliveries that wait, for the metrics.
///
/// # Errors
/// What the database answers.
pub fn depth(conn: &mut Conn) -> Result<i64> {
    Ok(d::table.filter(d::state.eq("pending")).count().get_result(conn)?)
}
