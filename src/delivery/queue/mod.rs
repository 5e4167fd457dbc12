//! The queue: expand, claim, renew, finish, release. Each of them is one short transaction.
//!
//! `next_attempt_at` is the due time, and also the end of a claim. A claimed row becomes due again when its
//! lease ends, unless its worker renews the lease. An outcome is stored only if the lease still holds. A row
//! whose lease has ended is claimed again only if its dead worker left no outcome record for it
//! ([`super::ledger`]). If there is a record, its outcome is stored.

mod expand;
mod frozen;
mod left_behind;

pub use expand::{Expansion, expand_step};
pub use frozen::{Frozen, frozen};
pub use left_behind::{clear_receipts, settle, write_receipts};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use diesel::prelude::*;

use super::Outcome;
use super::channel::Recipient;
use super::opt_out::{self, SuppressionReason};
use crate::audit::{Tx, record_attempts};
use crate::base::error::Result;
use crate::base::id::{NoticeId, new_uuid};
use crate::base::time::Timestamp;
use crate::db::dialect::{self, AttemptRow, End};
use crate::db::schema::{
    deliveries as d, delivery_counts as dc, delivery_receipts as dr, notice_recipients as nr, notices as n,
};
use crate::db::{Conn, Fix};
use crate::directory::{endpoint, normal_address};
use crate::notice::EMAIL;
use crate::notice::counts::{self, Changes};
use crate::work::backoff::Backoff;

/// How long a claim holds without being renewed. It is longer than a restart of the database takes, so that
/// the worker can still record what was sent. It is short enough that the emails of a dead worker do not wait
/// long.
pub const LEASE: Duration = Duration::from_secs(45);
/// A claimed delivery: its ID, its notice and its position in the frozen list, its channel, its `address`,
/// its `domain` in lower case, the attempt number, the Message-ID without angle brackets, and the time at
/// which it expires.
pub type Claimed = dialect::ClaimedRow;

/// A claimed delivery with its frozen data.
pub struct Claim {
    /// The row of the queue, as the claim returned it.
    pub claimed: Claimed,
    /// The frozen recipient. `None` if it is missing.
    pub recipient: Option<Recipient>,
}

/// What is recorded about a claimed delivery.
#[derive(Clone, Debug)]
pub enum Finish {
    /// An attempt was made, and it had this outcome.
    Attempt(Outcome),
    /// No attempt was made, because the notice was stopped.
    Withheld,
    /// No attempt was made, because the worker stops. The row is due at once.
    Released,
}

/// What one channel wants to claim.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name of the channel.
    pub channel: &'static str,
    /// The largest number of deliveries to claim.
    pub room: i64,
    /// The domains for which nothing is claimed, because enough of their deliveries wait.
    pub without: Vec<String>,
}

/// What one transaction of the recorder has to do.
pub struct Orders<'a> {
    /// The lease of the worker.
    pub lease: &'a str,
    /// The waits between attempts, by channel.
    pub schedules: &'a HashMap<&'static str, Vec<Duration>>,
    /// The batch of outcomes to store.
    pub group: &'a [(Claimed, Finish)],
    /// The rows of outcome records that are removed: after the first number, up to and including the second.
    pub rows: (i64, i64),
    /// The IDs of the deliveries that the worker knows it has claimed. It is set only if the database may
    /// contain further claims of the worker.
    pub known: Option<&'a [i64]>,
    /// What each channel wants to claim.
    pub wanted: &'a [Wanted],
    /// The settings for expanding a short notice in the same transaction, if there is nothing else to do.
    pub expansion: &'a Expansion,
}

/// The result of one transaction of the recorder.
#[derive(Default)]
pub struct Turn {
    /// The notices of the batch that are stopped.
    pub stopped: HashSet<NoticeId>,
    /// The claimed deliveries, by channel.
    pub claims: Vec<(&'static str, Vec<Claim>)>,
    /// Whether a notice waits to be expanded.
    pub queued: bool,
    /// The notices without pending deliveries. The caller finishes each of them in a separate transaction,
    /// because finishing takes the lock of the incident. A transaction that has locked counts or deliveries
    /// must not wait for that lock, because resending and stopping take the lock of the incident first and
    /// then wait for the counts and deliveries.
    pub complete: Vec<NoticeId>,
}

/// Stores a batch of outcomes and claims the next deliveries. Both are done in one transaction, so that the
/// disk is synchronised only once.
///
/// # Errors
/// An error of the database. Then nothing was stored or claimed, unless the connection was lost during the
/// commit, which may have succeeded. In that case it does no harm to store the same batch again, and the next
/// call with `known` gives back the unknown claims.
pub fn turn(tx: &mut Tx<'_>, orders: &Orders<'_>) -> Result<Turn> {
    let Orders {
        lease,
        schedules,
        group,
        ..
    } = *orders;
    let mut turn = Turn::default();
    note_first_told(tx, group.iter())?;
    if let Some(known) = orders.known {
        dialect::give_back_others(tx.conn, lease, tx.now, known)?;
    }
    let starved = turn.claim(tx, orders)?;
    if !group.is_empty() {
        // This comes after the claim, because a transaction that has locked the counts should end soon.
        let mut changes = Changes::default();
        turn.stopped = finish(tx, lease, schedules, group, &mut changes)?;
        // The rows are listed one by one. Deleted rows stay in the table until it is vacuumed, and a range
        // condition would read them each time.
        let (after, upto) = orders.rows;
        let seqs: Vec<i64> = (after + 1..=upto).collect();
        if !seqs.is_empty() {
            diesel::delete(dr::table.filter(dr::lease.eq(lease)).filter(dr::seq.eq_any(seqs)))
                .execute(tx.conn)?;
        }
        changes.store(tx.conn)?;
    }
    if starved {
        // Nothing more is due, so a notice may be complete or may wait to be expanded.
        turn.complete = complete(tx.conn)?;
        let mut waiting = expand::waiting(tx.conn)?;
        let free = group.is_empty() && turn.claims.is_empty() && orders.wants_any();
        if free && waiting.as_ref().is_some_and(expand::Waiting::is_short) {
            // A notice to few recipients is expanded here, so that it does not wait for two more
            // transactions.
            expand_step(tx, orders.expansion)?;
            turn.claim(tx, orders)?;
            waiting = expand::waiting(tx.conn)?;
        }
        turn.queued = waiting.is_some();
    }
    Ok(turn)
}

impl Orders<'_> {
    fn wants_any(&self) -> bool {
        self.wanted.iter().any(|part| part.room > 0)
    }
}

impl Turn {
    /// Claims up to the wanted number for each channel. Returns whether every channel got fewer deliveries
    /// than it wanted.
    fn claim(&mut self, tx: &mut Tx<'_>, orders: &Orders<'_>) -> Result<bool> {
        let mut starved = true;
        for part in orders.wanted.iter().filter(|part| part.room > 0) {
            let claims = claim(tx, orders.lease, orders.schedules, part)?;
            starved &= (claims.len() as i64) < part.room;
            if !claims.is_empty() {
                self.claims.push((part.channel, claims));
            }
        }
        Ok(starved)
    }
}

/// Claims due deliveries of one channel for the worker with this lease.
fn claim(
    tx: &mut Tx<'_>,
    lease: &str,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    part: &Wanted,
) -> Result<Vec<Claim>> {
    let mut due = dialect::due(tx.conn, part.channel, tx.now, lease, part.room, &part.without)?;
    left_behind::settle_left_behind(tx, schedules, &mut due)?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = due.iter().map(|row| row.id).collect();
    let mut rows = dialect::claim(tx.conn, &ids, lease, tx.now.plus(LEASE))?;
    withhold_stopped(tx.conn, &mut rows)?;
    rows.sort_unstable_by_key(|row| row.id);
    let mut recipients = frozen_recipients(tx.conn, &rows)?;
    let mut claims = Vec::with_capacity(rows.len());
    for row in rows {
        let recipient = match recipients.remove(&row.id) {
            Some(found) if row.channel == EMAIL => Some(Recipient::People {
                own: serde_json::from_str(&found.context)?,
                optional: found.optional,
            }),
            Some(found) => Some(Recipient::Endpoint {
                own: serde_json::from_str(&found.context)?,
                secret: None,
            }),
            None => None,
        };
        claims.push(Claim {
            claimed: row,
            recipient,
        });
    }
    if part.channel != EMAIL {
        give_secrets(tx.conn, &mut claims)?;
    }
    Ok(claims)
}

/// Adds the secrets of endpoints. This is the only data that is read from the directory after a notice is
/// frozen: the secret that signs a call, and whether the endpoint is still enabled.
fn give_secrets(conn: &mut Conn, claims: &mut [Claim]) -> Result<()> {
    let endpoints: Vec<String> = claims
        .iter()
        .filter_map(|claim| match &claim.recipient {
            Some(Recipient::Endpoint { own, .. }) => Some(own.endpoint.to_string()),
            _ => None,
        })
        .collect();
    let secrets = endpoint::secrets(conn, &endpoints)?;
    for claim in claims {
        if let Some(Recipient::Endpoint { own, secret }) = &mut claim.recipient {
            *secret = secrets.get(own.endpoint.as_str()).cloned();
        }
    }
    Ok(())
}

/// Returns the frozen recipients of claimed deliveries, by the ID of the delivery.
fn frozen_recipients(conn: &mut Conn, rows: &[Claimed]) -> Result<HashMap<i64, dialect::RecipientRow>> {
    let mut by_notice: BTreeMap<&NoticeId, HashMap<i64, i64>> = BTreeMap::new();
    for row in rows {
        by_notice
            .entry(&row.notice_id)
            .or_default()
            .insert(row.ordinal, row.id);
    }
    let mut recipients = HashMap::with_capacity(rows.len());
    for (notice, ids) in by_notice {
        let ordinals: Vec<i64> = ids.keys().copied().collect();
        for recipient in dialect::recipients(conn, notice, &ordinals)? {
            if let Some(id) = ids.get(&recipient.ordinal) {
                recipients.insert(*id, recipient);
            }
        }
    }
    Ok(recipients)
}

/// Removes the deliveries of stopped notices and sets them to stopped. Such a row was claimed when its notice
/// was stopped, and its worker then died or gave it back.
fn withhold_stopped(conn: &mut Conn, rows: &mut Vec<Claimed>) -> Result<()> {
    let notices: HashSet<&str> = rows.iter().map(|row| row.notice_id.as_str()).collect();
    let stopped = stopped_of(conn, notices)?;
    if stopped.is_empty() {
        return Ok(());
    }
    let (withheld, going): (Vec<Claimed>, Vec<Claimed>) = std::mem::take(rows)
        .into_iter()
        .partition(|row| stopped.contains(&row.notice_id));
    *rows = going;
    let mut changes = Changes::default();
    for row in &withheld {
        changes.moved(&row.notice_id, &row.channel, "pending", "stopped", 1);
    }
    let ids: Vec<i64> = withheld.iter().map(|row| row.id).collect();
    diesel::update(d::table.filter(d::id.eq_any(ids)))
        .set((d::state.eq("stopped"), d::lease.eq(None::<String>)))
        .execute(conn)?;
    changes.store(conn)
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

/// Returns whether a delivery is due that the worker `own` has not claimed, or whether a notice waits to be
/// expanded or finished.
///
/// # Errors
/// An error of the database.
pub fn anything_to_do(conn: &mut Conn, channels: &[&str], now: Timestamp, own: &str) -> Result<bool> {
    for channel in channels {
        if dialect::is_due(conn, channel, now, own)? {
            return Ok(true);
        }
    }
    Ok(expand::waiting(conn)?.is_some() || !complete(conn)?.is_empty())
}

/// Returns the notices that are being sent and have no pending delivery.
///
/// # Errors
/// An error of the database.
pub fn complete(conn: &mut Conn) -> Result<Vec<NoticeId>> {
    Ok(n::table
        .filter(expand::active())
        .filter(n::state.eq("sending"))
        .filter(diesel::dsl::not(diesel::dsl::exists(
            dc::table
                .filter(dc::notice_id.eq(n::id))
                .filter(dc::state.eq("pending"))
                .filter(dc::count.gt(0)),
        )))
        .select(n::id)
        .fixed()
        .load(conn)?)
}

/// Extends the claims of a worker on the deliveries with these IDs.
///
/// # Errors
/// An error of the database.
pub fn renew(conn: &mut Conn, now: Timestamp, lease: &str, ids: &[i64]) -> Result<()> {
    dialect::renew(conn, lease, now.plus(LEASE), ids)
}

/// Gives back every claim and returns how many there were. This is correct only if no other worker can be
/// alive, which is true for SQLite at the start of the process.
///
/// # Errors
/// An error of the database.
pub fn release_all(conn: &mut Conn, now: Timestamp) -> Result<usize> {
    Ok(diesel::update(
        d::table
            .filter(d::state.eq("pending"))
            .filter(d::lease.is_not_null()),
    )
    .set((d::lease.eq(None::<String>), d::next_attempt_at.eq(now)))
    .execute(conn)?)
}

/// Adds an entry to the timeline if these outcomes contain the first accepted delivery of a notice. This
/// takes the lock of the incident, so it comes before every other change: resending and stopping also take
/// this lock first.
fn note_first_told<'a>(tx: &mut Tx<'_>, outcomes: impl Iterator<Item = &'a (Claimed, Finish)>) -> Result<()> {
    let sent_to: BTreeSet<(&NoticeId, &str)> = outcomes
        .filter(|(_, finish)| matches!(finish, Finish::Attempt(Outcome::Sent(_))))
        .map(|(claimed, _)| (&claimed.notice_id, claimed.channel.as_str()))
        .collect();
    for (notice, channel) in sent_to {
        crate::notice::told_somebody(tx, notice, channel)?;
    }
    Ok(())
}

/// Records the outcomes of a batch of claimed deliveries, with one audit event for all attempts. Returns
/// which of their notices are stopped.
fn finish(
    tx: &mut Tx<'_>,
    lease: &str,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    group: &[(Claimed, Finish)],
    changes: &mut Changes,
) -> Result<HashSet<NoticeId>> {
    let notices: HashSet<&str> = group
        .iter()
        .map(|(claimed, _)| claimed.notice_id.as_str())
        .collect();
    let stopped = stopped_of(tx.conn, notices)?;
    disable_gone(tx, group)?;
    suppress_unknown(tx, group)?;
    let batch = new_uuid(tx.now).to_string();
    let attempts: Vec<AttemptRow<'_>> = group
        .iter()
        .filter_map(|(claimed, finish)| {
            let Finish::Attempt(outcome) = finish else {
                return None;
            };
            Some(AttemptRow {
                delivery_id: claimed.id,
                attempt: claimed.attempt,
                outcome: outcome.word(),
                reply: outcome.reply(),
            })
        })
        .collect();
    // Fewer rows are new if another worker has already stored the outcome records of this one, because it
    // seemed dead.
    let recorded = dialect::insert_attempts(tx.conn, tx.now, &batch, &attempts)?;
    let mut ends: BTreeMap<(&NoticeId, &str, End), Vec<i64>> = BTreeMap::new();
    for (claimed, finish) in group {
        let end = end(tx.now, schedules, &stopped, claimed, finish);
        let key = (&claimed.notice_id, claimed.channel.as_str(), end);
        ends.entry(key).or_default().push(claimed.id);
    }
    for ((notice, channel, end), ids) in &ends {
        let ended = dialect::end_claim(tx.conn, lease, end, ids)?;
        changes.moved(notice, channel, "pending", end.state, ended);
    }
    if recorded > 0 {
        let known = (recorded == attempts.len()).then_some(attempts);
        record_attempts(tx, &batch, known)?;
    }
    Ok(stopped)
}

/// Suppresses an address if its server said that the mailbox does not exist. The effect is the same as for a
/// bounce with this reason.
fn suppress_unknown(tx: &mut Tx<'_>, group: &[(Claimed, Finish)]) -> Result<()> {
    // In a fixed order: two processes that suppress the same addresses in different orders would wait for each other.
    let unknown: BTreeMap<String, i64> = group
        .iter()
        .rev()
        .filter(|(_, finish)| matches!(finish, Finish::Attempt(Outcome::NoMailbox(_))))
        .map(|(claimed, _)| (normal_address(&claimed.address), claimed.id))
        .collect();
    for (address, delivery) in unknown {
        opt_out::suppress(tx, &address, SuppressionReason::Bounced, delivery)?;
    }
    Ok(())
}

/// Disables an endpoint that wants no further calls, in the same transaction that records its answer.
fn disable_gone(tx: &mut Tx<'_>, group: &[(Claimed, Finish)]) -> Result<()> {
    // In a fixed order, for the same reason as in `suppress_unknown`.
    let mut gone: BTreeMap<String, &str> = BTreeMap::new();
    for (claimed, finish) in group {
        let Finish::Attempt(Outcome::Gone(reason)) = finish else {
            continue;
        };
        let endpoint: Option<String> = nr::table
            .find((claimed.notice_id.as_str(), claimed.ordinal))
            .filter(nr::channel.eq(&claimed.channel))
            .select(nr::person_id)
            .first(tx.conn)
            .optional()?;
        if let Some(endpoint) = endpoint.filter(|_| claimed.channel != EMAIL) {
            gone.entry(endpoint).or_insert(reason);
        }
    }
    for (endpoint, reason) in gone {
        endpoint::disable(tx, &endpoint, reason)?;
    }
    Ok(())
}

/// Returns the new state of a delivery.
fn end(
    now: Timestamp,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    stopped: &HashSet<NoticeId>,
    claimed: &Claimed,
    finish: &Finish,
) -> End {
    let at = |state, reason| End {
        state,
        next_attempt_at: now,
        sent_at: None,
        reason,
        ambiguous: 0,
        deferred_until: None,
    };
    let (after, ambiguous) = match finish {
        Finish::Attempt(Outcome::Sent(_)) => {
            return End {
                sent_at: Some(now),
                ..at("sent", None)
            };
        }
        Finish::Attempt(Outcome::Failed(_) | Outcome::NoMailbox(_)) => return at("failed", Some("refused")),
        Finish::Attempt(Outcome::Gone(_)) => return at("failed", Some("gone")),
        Finish::Withheld => return at("stopped", None),
        Finish::Released => return at("pending", None),
        Finish::Attempt(Outcome::Ambiguous(_)) => (None, 1),
        Finish::Attempt(Outcome::Retry(after, _)) => (*after, 0),
    };
    let schedule = schedules
        .get(claimed.channel.as_str())
        .map_or(&[] as &[Duration], Vec::as_slice);
    let next = now.plus(after.unwrap_or_else(|| wait(schedule, claimed)));
    let mut end = if stopped.contains(&claimed.notice_id) {
        at("stopped", None)
    } else if next > claimed.expires_at {
        at("failed", Some("expired"))
    } else {
        End {
            deferred_until: Some(next),
            ..at("pending", None)
        }
    };
    end.next_attempt_at = next;
    end.ambiguous = ambiguous;
    end
}

/// Returns the wait before the next attempt. It is the wait of the schedule plus up to a fifth, so that not
/// all deliveries arrive at the same time when a relay works again. The addition depends on the ID of the
/// delivery. It need not be random.
fn wait(schedule: &[Duration], claimed: &Claimed) -> Duration {
    let base = Backoff::new(schedule).after(claimed.attempt);
    base + base.mul_f64((claimed.id % 21) as f64 / 100.0)
}

/// Returns the number of pending deliveries, after a check that the queue itself can be read.
///
/// # Errors
/// An error of the database.
pub fn reached(conn: &mut Conn) -> Result<i64> {
    d::table.select(d::id).first::<i64>(conn).optional()?;
    depth(conn)
}

/// Returns the number of pending deliveries, for the metrics.
///
/// # Errors
/// An error of the database.
pub fn depth(conn: &mut Conn) -> Result<i64> {
    counts::all_in(conn, "pending")
}
