//! The queue: expand, claim, renew, finish, release. Each is one short transaction.
//!
//! `next_attempt_at` is due time, backoff and visibility timeout in one: a claimed row is due again when its lease ends,
//! which the living worker keeps from happening. Every finish is fenced by the lease. A row whose lease has ended is
//! claimed again only where its dead worker left no receipt for it ([`super::ledger`]); where it did, that is stored.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::json;

use super::channel::Recipient;
use super::ledger::Receipt;
use super::skeleton::Prepared;
use super::{Outcome, calling};
use crate::audit::{Action, Event, Tx, record_attempts};
use crate::db::Conn;
use crate::db::dialect::{self, AttemptRow, End, on_backend};
use crate::db::schema::{deliveries as d, delivery_receipts as dr, notice_recipients as nr, notices as n};
use crate::directory::endpoint;
use crate::error::Result;
use crate::id::{NoticeId, new_uuid};
use crate::notice::compose::Content;
use crate::notice::{EMAIL, templates};
use crate::time::Timestamp;

/// How long a claim holds without being renewed. Longer than a restart of the database takes, so that its worker can
/// still record what went out; short enough that the mails of a dead worker do not wait long.
pub const LEASE: Duration = Duration::from_secs(45);
/// Rows that one step of the expansion writes.
const EXPAND: i64 = 5_000;
/// Recipients from which on an expansion changes what PostgreSQL has to know of the queue to plan well.
const MANY: i64 = 1_000;
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

/// What a turn came to.
#[derive(Default)]
pub struct Turn {
    /// Stopped notices among those that were looked at.
    pub stopped: HashSet<NoticeId>,
    /// What was claimed, by channel.
    pub claims: Vec<(&'static str, Vec<Claim>)>,
    /// A notice waits to be expanded.
    pub queued: bool,
}

/// Writes the next rows of a queued notice into the queue. Answers whether there was anything to do.
///
/// # Errors
/// What the database answers.
pub fn expand_step(tx: &mut Tx<'_>, domain: &str, lifetime: Duration) -> Result<bool> {
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
        .select((n::state, n::expand_cursor, n::recipients + n::endpoints))
        .first(tx.conn)?;
    if state != "queued" {
        // Another worker was faster, or it was stopped meanwhile.
        return Ok(true);
    }
    let end = (cursor + EXPAND).min(recipients);
    diesel::sql_query(
        "INSERT INTO deliveries (notice_id, ordinal, channel, address, state, attempt, next_attempt_at, expires_at, message_id, domain) \
         SELECT nr.notice_id, nr.ordinal, nr.channel, nr.address, \
                CASE WHEN nr.optional AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.address = LOWER(nr.address)) \
                     THEN 'suppressed' ELSE 'pending' END, \
                0, $1, CASE WHEN nr.channel = 'email' THEN $2 ELSE $3 END, \
                CAST(nr.ordinal AS TEXT) || '.' || nr.notice_id || '@' || $4, nr.domain \
         FROM notice_recipients nr WHERE nr.notice_id = $5 AND nr.ordinal > $6 AND nr.ordinal <= $7 \
         ON CONFLICT DO NOTHING",
    )
    .bind::<BigInt, _>(tx.now)
    .bind::<BigInt, _>(tx.now.plus(lifetime))
    .bind::<BigInt, _>(tx.now.plus(calling::LIFETIME))
    .bind::<Text, _>(domain)
    .bind::<Text, _>(id.as_str())
    .bind::<BigInt, _>(cursor)
    .bind::<BigInt, _>(end)
    .execute(tx.conn)?;
    let state = if end == recipients { "sending" } else { "queued" };
    diesel::update(n::table.find(id.as_str()))
        .set((n::expand_cursor.eq(end), n::state.eq(state)))
        .execute(tx.conn)?;
    if recipients >= MANY && (cursor == 0 || end == recipients) {
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
    Ok(true)
}

/// Stores what became of a group of deliveries and claims the next: one transaction, so that neither waits for the disk
/// alone. `rows` of the receipts are done with. `known` is what the worker knows that it holds, where it may hold more.
///
/// # Errors
/// What the database answers; then nothing was stored or claimed, unless the connection was lost in the commit: that may
/// have been done. To store the same group again changes nothing then, and what was claimed is given back by the next
/// turn that says what is `known`.
pub fn turn(
    tx: &mut Tx<'_>,
    lease: &str,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    group: &[(Claimed, Finish)],
    rows: i64,
    known: Option<&[i64]>,
    wanted: &[Wanted],
) -> Result<Turn> {
    let mut turn = Turn::default();
    if !group.is_empty() {
        turn.stopped = finish(tx, lease, schedules, group)?;
        diesel::delete(dr::table.filter(dr::lease.eq(lease)).filter(dr::seq.le(rows))).execute(tx.conn)?;
    }
    if let Some(known) = known {
        dialect::give_back_others(tx.conn, lease, tx.now, known)?;
    }
    let mut starved = true;
    for part in wanted.iter().filter(|part| part.room > 0) {
        let claims = claim(tx, lease, schedules, part)?;
        starved &= (claims.len() as i64) < part.room;
        if !claims.is_empty() {
            turn.claims.push((part.channel, claims));
        }
    }
    if starved {
        // Nothing more is due: then a notice may be complete, or wait to be expanded.
        let ids = complete(tx.conn)?;
        ids.iter().try_for_each(|id| crate::notice::finished(tx, id))?;
        turn.queued = n::table
            .filter(n::state.eq("queued"))
            .select(n::id)
            .first::<NoticeId>(tx.conn)
            .optional()?
            .is_some();
    }
    Ok(turn)
}

/// Claims what is due for the holder of `lease`.
fn claim(
    tx: &mut Tx<'_>,
    lease: &str,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    part: &Wanted,
) -> Result<Vec<Claim>> {
    let mut due = dialect::due(tx.conn, part.channel, tx.now, lease, part.room, &part.without)?;
    settle_left_behind(tx, schedules, &mut due)?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = due.iter().map(|row| row.id).collect();
    let mut rows = dialect::claim(tx.conn, &ids, lease, tx.now.plus(LEASE))?;
    withhold_stopped(tx.conn, &mut rows, |row| (row.id, &row.notice_id))?;
    rows.sort_unstable_by_key(|row| row.id);
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let mut recipients: HashMap<i64, dialect::RecipientRow> = dialect::recipients(tx.conn, &ids)?
        .into_iter()
        .map(|row| (row.id, row))
        .collect();
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

/// Of deliveries whose claim has run out, stores those of which their dead worker wrote down what became, and takes them
/// out of what is due.
fn settle_left_behind(
    tx: &mut Tx<'_>,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    due: &mut Vec<dialect::Due>,
) -> Result<()> {
    let leases: HashSet<&str> = due.iter().filter_map(|row| row.lease.as_deref()).collect();
    if leases.is_empty() {
        return Ok(());
    }
    let bodies: Vec<String> = dr::table
        .filter(dr::lease.eq_any(leases))
        .select(dr::body)
        .load(tx.conn)?;
    let mut receipts: HashMap<(i64, i64), Receipt> = HashMap::new();
    for body in bodies {
        for receipt in serde_json::from_str::<Vec<Receipt>>(&body)? {
            receipts.insert((receipt.delivery, receipt.attempt), receipt);
        }
    }
    let mut left: Vec<Receipt> = Vec::new();
    due.retain(|row| {
        let receipt = receipts
            .get(&(row.id, row.attempt))
            .filter(|receipt| Some(&receipt.lease) == row.lease.as_ref());
        left.extend(receipt.cloned());
        receipt.is_none()
    });
    settle(tx, schedules, left)?;
    Ok(())
}

/// Stores what receipts say, each for the claim that it was written under. Answers how many there were.
///
/// # Errors
/// What the database answers.
pub fn settle(
    tx: &mut Tx<'_>,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    receipts: Vec<Receipt>,
) -> Result<usize> {
    let mut by_lease: BTreeMap<String, Vec<Receipt>> = BTreeMap::new();
    for receipt in receipts {
        by_lease.entry(receipt.lease.clone()).or_default().push(receipt);
    }
    let mut settled = 0;
    for (lease, receipts) in by_lease {
        let ids: Vec<i64> = receipts.iter().map(|receipt| receipt.delivery).collect();
        let mut held: HashMap<(i64, i64), Claimed> = dialect::held(tx.conn, &ids, &lease)?
            .into_iter()
            .map(|claimed| ((claimed.id, claimed.attempt), claimed))
            .collect();
        let group: Vec<(Claimed, Finish)> = receipts
            .into_iter()
            .filter_map(|receipt| {
                let claimed = held.remove(&(receipt.delivery, receipt.attempt))?;
                Some((claimed, Finish::Attempt(receipt.outcome)))
            })
            .collect();
        if !group.is_empty() {
            settled += group.len();
            finish(tx, &lease, schedules, &group)?;
        }
    }
    Ok(settled)
}

/// Writes receipts down. Doing it again changes nothing.
///
/// # Errors
/// What the database answers.
pub fn write_receipts(conn: &mut Conn, lease: &str, row: i64, body: &str) -> Result<()> {
    on_backend!(conn, c => diesel::insert_into(dr::table)
        .values((dr::lease.eq(lease), dr::seq.eq(row), dr::body.eq(body)))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// Clears receipts of workers that hold nothing any more.
///
/// # Errors
/// What the database answers.
pub fn clear_receipts(conn: &mut Conn) -> Result<usize> {
    let leases: Vec<String> = dr::table.select(dr::lease).distinct().load(conn)?;
    let mut cleared = 0;
    for lease in leases {
        let held: Option<i64> = d::table
            .filter(d::state.eq("pending"))
            .filter(d::lease.eq(&lease))
            .select(d::id)
            .first(conn)
            .optional()?;
        if held.is_none() {
            cleared += diesel::delete(dr::table.filter(dr::lease.eq(&lease))).execute(conn)?;
        }
    }
    Ok(cleared)
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

/// Whether a delivery is due that `own` does not hold, or a notice waits to be expanded or finished.
///
/// # Errors
/// What the database answers.
pub fn anything_to_do(conn: &mut Conn, now: Timestamp, own: &str) -> Result<bool> {
    let due: Option<i64> = d::table
        .filter(d::state.eq("pending"))
        .filter(d::next_attempt_at.le(now))
        .filter(d::lease.is_null().or(d::lease.ne(own)))
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
fn finish(
    tx: &mut Tx<'_>,
    lease: &str,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    group: &[(Claimed, Finish)],
) -> Result<HashSet<NoticeId>> {
    let notices: HashSet<&str> = group
        .iter()
        .map(|(claimed, _)| claimed.notice_id.as_str())
        .collect();
    let stopped = stopped_of(tx.conn, notices)?;
    let sent_to: HashSet<(&NoticeId, &str)> = group
        .iter()
        .filter(|(_, finish)| matches!(finish, Finish::Attempt(Outcome::Sent(_))))
        .map(|(claimed, _)| (&claimed.notice_id, claimed.channel.as_str()))
        .collect();
    for (notice, channel) in sent_to {
        crate::notice::told_somebody(tx, notice, channel)?;
    }
    disable_gone(tx, group)?;
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
    let mut ends: BTreeMap<End, Vec<i64>> = BTreeMap::new();
    for (claimed, finish) in group {
        let end = end(tx.now, schedules, &stopped, claimed, finish);
        ends.entry(end).or_default().push(claimed.id);
    }
    for (end, ids) in &ends {
        dialect::end_claim(tx.conn, lease, end, ids)?;
    }
    if recorded > 0 {
        let known = (recorded == attempts.len()).then_some(attempts);
        record_attempts(tx, &batch, known)?;
    }
    Ok(stopped)
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
    };
    let (after, ambiguous) = match finish {
        Finish::Attempt(Outcome::Sent(_)) => {
            return End {
                sent_at: Some(now),
                ..at("sent", None)
            };
        }
        Finish::Attempt(Outcome::Failed(_)) => return at("failed", Some("refused")),
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
        at("pending", None)
    };
    end.next_attempt_at = next;
    end.ambiguous = ambiguous;
    end
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

/// A frozen notice, as a channel needs it.
pub struct Frozen {
    /// Its id.
    pub notice: NoticeId,
    /// What is the same in every message.
    pub content: Content,
    /// The incident, for the thread.
    pub incident: String,
    /// When it was sent off.
    pub queued_at: Option<Timestamp>,
    /// Its mails, prepared.
    pub prepared: Prepared,
}

/// The frozen part of a notice.
///
/// # Errors
/// What the database answers.
pub fn frozen(conn: &mut Conn, id: &NoticeId) -> Result<Frozen> {
    type Columns = (Option<String>, String, Option<String>, Option<Timestamp>);
    let (content, incident, template, queued_at): Columns = n::table
        .find(id.as_str())
        .select((n::frozen, n::incident_id, n::template_id, n::queued_at))
        .first(conn)?;
    let content: Content = serde_json::from_str(&content.unwrap_or_default())?;
    let template = templates::load(conn, content.phase, &template.unwrap_or_default())?;
    Ok(Frozen {
        notice: id.clone(),
        prepared: Prepared::new(content.clone(), template),
        content,
        incident,
        queued_at,
    })
}

/// Deliveries that wait, for the metrics.
///
/// # Errors
/// What the database answers.
pub fn depth(conn: &mut Conn) -> Result<i64> {
    Ok(d::table.filter(d::state.eq("pending")).count().get_result(conn)?)
}
