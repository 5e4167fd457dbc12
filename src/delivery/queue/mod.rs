//! The queue: expand, claim, renew, finish, release. Each is one short transaction.
//!
//! `next_attempt_at` is due time, backoff and visibility timeout in one: a claimed row is due again when its lease ends,
//! which the living worker keeps from happening. Every finish is fenced by the lease. A row whose lease has ended is
//! claimed again only where its dead worker left no receipt for it ([`super::ledger`]); where it did, that is stored.

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

/// How long a claim holds without being renewed. Longer than a restart of the database takes, so that its worker can
/// still record what went out; short enough that the mails of a dead worker do not wait long.
pub const LEASE: Duration = Duration::from_secs(45);
/// A claimed delivery: its id, notice and place in the frozen list, where it goes (`address`, `domain` in lower case) by
/// which channel, the how-many-th attempt this is, its Message-ID without angle brackets, and when it is given up.
pub type Claimed = dialect::ClaimedRow;

/// A claimed delivery with what is frozen for it; without, where that is missing.
pub struct Claim {
    /// The delivery.
    pub claimed: Claimed,
    /// Who it is for.
    pub recipient: Option<Recipient>,
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

/// One channel's part of a turn.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which channel.
    pub channel: &'static str,
    /// Deliveries to claim at most.
    pub room: i64,
    /// Domains of which enough is waiting.
    pub without: Vec<String>,
}

/// What a turn is to do.
pub struct Orders<'a> {
    /// Whose claims they are.
    pub lease: &'a str,
    /// When what could not be delivered is tried again, by channel.
    pub schedules: &'a HashMap<&'static str, Vec<Duration>>,
    /// What became of deliveries.
    pub group: &'a [(Claimed, Finish)],
    /// Rows of receipts after the first number and up to the second are done with then.
    pub rows: (i64, i64),
    /// What the worker knows that it holds, where it may hold more.
    pub known: Option<&'a [i64]>,
    /// What it has room for.
    pub wanted: &'a [Wanted],
    /// How a notice of few recipients that waits is expanded on the way, where nothing else is to be done.
    pub expansion: &'a Expansion,
}

/// What a turn came to.
#[derive(Default)]
pub struct Turn {
    /// Stopped notices among those that were looked at.
    pub stopped: HashSet<NoticeId>,
    /// What was claimed, by channel.
    pub claims: Vec<(&'static str, Vec<Claim>)>,
    /// A notice waits to be expanded.
    pub queued: bool,
    /// Notices of which nothing waits any more: whoever took the turn ends them, each in a transaction of its own. That takes the
    /// incident's lock, for which a transaction that holds counts or deliveries must not wait: whoever sends again or stops
    /// has that lock first, and then waits for these.
    pub complete: Vec<NoticeId>,
}

/// Stores what became of a group of deliveries and claims the next: one transaction, so that neither waits for the disk
/// alone.
///
/// # Errors
/// What the database answers; then nothing was stored or claimed, unless the connection was lost in the commit: that may
/// have been done. To store the same group again changes nothing then, and what was claimed is given back by the next
/// turn that says what is `known`.
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
        // After the claim: whoever holds the counts should be done soon.
        let mut changes = Changes::default();
        turn.stopped = finish(tx, lease, schedules, group, &mut changes)?;
        // From both sides: what was deleted before is still in the table until it is vacuumed, and would be read each time.
        let (after, upto) = orders.rows;
        let seqs: Vec<i64> = (after + 1..=upto).collect();
        if !seqs.is_empty() {
            diesel::delete(dr::table.filter(dr::lease.eq(lease)).filter(dr::seq.eq_any(seqs)))
                .execute(tx.conn)?;
        }
        changes.store(tx.conn)?;
    }
    if starved {
        // Nothing more is due: then a notice may be complete, or wait to be expanded.
        turn.complete = complete(tx.conn)?;
        let mut waiting = expand::waiting(tx.conn)?;
        let free = group.is_empty() && turn.claims.is_empty() && orders.wants_any();
        if free && waiting.as_ref().is_some_and(expand::Waiting::is_short) {
            // Who are few are not to wait for two more transactions.
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
    /// Claims what there is room for; answers whether there was less than that everywhere.
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

/// Claims what is due for the holder of `lease`.
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

/// All that is read of the directory after a notice is frozen: what signs a call, and whether the endpoint still wants it.
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

/// What is frozen for claimed deliveries, by their ids.
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

/// Takes out what belongs to a stopped notice. Such a row was claimed when its notice was stopped, and its worker has
/// died or given it back since: nobody sends it any more.
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

/// Whether a delivery is due that `own` does not hold, or a notice waits to be expanded or finished.
///
/// # Errors
/// What the database answers.
pub fn anything_to_do(conn: &mut Conn, channels: &[&str], now: Timestamp, own: &str) -> Result<bool> {
    for channel in channels {
        if dialect::is_due(conn, channel, now, own)? {
            return Ok(true);
        }
    }
    Ok(expand::waiting(conn)?.is_some() || !complete(conn)?.is_empty())
}

/// Notices being sent of which no delivery is pending any more.
///
/// # Errors
/// What the database answers.
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

/// Keeps the claims of a living worker on the deliveries of these ids.
///
/// # Errors
/// What the database answers.
pub fn renew(conn: &mut Conn, now: Timestamp, lease: &str, ids: &[i64]) -> Result<()> {
    dialect::renew(conn, lease, now.plus(LEASE), ids)
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

/// Notes on the timelines of whose incident these are the first customers told. That takes the incident's lock, so it comes before
/// anything else is changed: whoever sends again or stops has that lock first too.
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

/// Records what became of a group of claimed deliveries, with one audit event for its attempts.
/// Answers which of their notices are stopped.
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
    // Fewer are new where a worker that was thought dead comes back after another has stored its receipts.
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

/// An address of which its server said that there is no such mailbox gets no more optional mail, as after a bounce that says so.
fn suppress_unknown(tx: &mut Tx<'_>, group: &[(Claimed, Finish)]) -> Result<()> {
    for (claimed, finish) in group {
        if let Finish::Attempt(Outcome::NoMailbox(_)) = finish {
            let address = normal_address(&claimed.address);
            opt_out::suppress(tx, &address, SuppressionReason::Bounced, claimed.id)?;
        }
    }
    Ok(())
}

/// An endpoint that said that it is gone is sent nothing more, from the transaction on that records it.
fn disable_gone(tx: &mut Tx<'_>, group: &[(Claimed, Finish)]) -> Result<()> {
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
            endpoint::disable(tx, &endpoint, reason)?;
        }
    }
    Ok(())
}

/// What becomes of a delivery.
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

/// The wait before the next attempt: the schedule, spread by up to a fifth so that a relay that comes back is not
/// met by everybody at once. The spread is the delivery's own, not random: nothing here needs to be unpredictable.
fn wait(schedule: &[Duration], claimed: &Claimed) -> Duration {
    let base = Backoff::new(schedule).after(claimed.attempt);
    base + base.mul_f64((claimed.id % 21) as f64 / 100.0)
}

/// Deliveries that wait, where the queue itself can be read too.
///
/// # Errors
/// What the database answers.
pub fn reached(conn: &mut Conn) -> Result<i64> {
    d::table.select(d::id).first::<i64>(conn).optional()?;
    depth(conn)
}

/// Deliveries that wait, for the metrics.
///
/// # Errors
/// What the database answers.
pub fn depth(conn: &mut Conn) -> Result<i64> {
    counts::all_in(conn, "pending")
}
