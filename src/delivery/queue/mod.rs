//! The queue: expand, claim, renew, finish, release. Each of them is one short transaction.
//!
//! `next_attempt_at` is the due time, and also the end of a claim. A claimed row becomes due again when its
//! lease ends, unless its worker renews the lease. An outcome is stored only if the lease still holds. A row
//! whose lease has ended is claimed again only if its dead worker left no outcome record for it
//! ([`super::outcome_log`]). If there is a record, its outcome is stored.

mod expand;
mod finish;
mod frozen;
mod recovery;
mod standing;
mod trouble;

pub use expand::{Expansion, expand_step};
pub use finish::{Finish, Handover};
pub use frozen::{Stored, frozen};
pub use recovery::{clear_records, settle, write_records};
pub use standing::{QueueStanding, standing};
pub use trouble::{is_stuck, unreachable_since};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use diesel::prelude::*;

use super::sending_context::{self, NewContext, SendingContext};
use super::task::{Claimed, Recipient};
use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::schema::{deliveries as d, delivery_counts as dc, delivery_receipts as dr, notices as n};
use crate::db::{Conn, FixedText, dialect};
use crate::directory::endpoint;
use crate::notice::delivery_state::{self, Changes};
use crate::notice::{DeliveryState, EMAIL, NoticeState, counts};
use finish::{finish, note_first_notified, stopped_of};

/// How long a claim holds without being renewed. It is longer than a restart of the database takes, so that
/// the worker can still record what was sent. It is short enough that the emails of a dead worker do not wait
/// long.
pub const LEASE: Duration = Duration::from_secs(45);

/// A claimed delivery with its frozen data.
pub struct Claim {
    /// The row of the queue, as the claim returned it.
    pub claimed: Claimed,
    /// The frozen recipient. `None` if it is missing.
    pub recipient: Option<Recipient>,
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
pub struct BatchRequest<'a> {
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
    /// What the context of the claimed emails is made from. `None` if the context that the worker has is recent enough.
    pub context: Option<NewContext<'a>>,
}

/// The result of one transaction of the recorder.
#[derive(Default)]
pub struct BatchResult {
    /// The notices of the batch that are stopped.
    pub stopped: HashSet<NoticeId>,
    /// The claimed deliveries, by channel.
    pub claims: Vec<(&'static str, Vec<Claim>)>,
    /// The new context of the claimed emails, if one was wanted and emails were claimed.
    pub context: Option<SendingContext>,
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
pub fn store_and_claim(tx: &mut Tx<'_>, request: &BatchRequest<'_>) -> Result<BatchResult> {
    let BatchRequest {
        lease,
        schedules,
        group,
        ..
    } = *request;
    let mut stored = BatchResult::default();
    note_first_notified(tx, group.iter())?;
    if let Some(known) = request.known {
        dialect::give_back_others(tx.conn, lease, tx.now, known)?;
    }
    let starved = stored.claim(tx, request)?;
    if !group.is_empty() {
        // This comes after the claim, because a transaction that has locked the counts should end soon.
        let mut changes = Changes::default();
        stored.stopped = finish(tx, lease, schedules, group, &mut changes)?;
        // The rows are listed one by one. Deleted rows stay in the table until it is vacuumed, and a range
        // condition would read them each time.
        let (after, upto) = request.rows;
        let seqs: Vec<i64> = (after + 1..=upto).collect();
        if !seqs.is_empty() {
            diesel::delete(dr::table.filter(dr::lease.eq(lease)).filter(dr::seq.eq_any(seqs)))
                .execute(tx.conn)?;
        }
        changes.store(tx.conn)?;
    }
    if starved {
        // Nothing more is due, so a notice may be complete or may wait to be expanded.
        stored.complete = complete(tx.conn)?;
        let mut waiting = expand::waiting(tx.conn)?;
        let free = group.is_empty() && stored.claims.is_empty() && request.wants_any();
        if free && waiting.as_ref().is_some_and(expand::Waiting::is_short) {
            // A notice to few recipients is expanded here, so that it does not wait for two more
            // transactions.
            expand_step(tx, request.expansion)?;
            stored.claim(tx, request)?;
            waiting = expand::waiting(tx.conn)?;
        }
        stored.queued = waiting.is_some();
    }
    Ok(stored)
}

impl BatchRequest<'_> {
    fn wants_any(&self) -> bool {
        self.wanted.iter().any(|part| part.room > 0)
    }
}

impl BatchResult {
    /// Claims up to the wanted number for each channel. Returns whether every channel got fewer deliveries
    /// than it wanted.
    fn claim(&mut self, tx: &mut Tx<'_>, request: &BatchRequest<'_>) -> Result<bool> {
        let mut starved = true;
        for part in request.wanted.iter().filter(|part| part.room > 0) {
            let claims = claim(tx, request.lease, request.schedules, part)?;
            starved &= (claims.len() as i64) < part.room;
            if let Some(new) = &request.context
                && part.channel == EMAIL
                && !claims.is_empty()
                && self.context.is_none()
            {
                // It is stored before its first email is sent.
                self.context = Some(sending_context::create(tx.conn, new, tx.now)?);
            }
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
    recovery::settle_left_behind(tx, schedules, &mut due)?;
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
                email: None,
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
        give_emails(tx.conn, &mut claims)?;
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
        if let Some(Recipient::Endpoint { own, secret, .. }) = &mut claim.recipient {
            *secret = secrets.get(own.endpoint.as_str()).cloned();
        }
    }
    Ok(())
}

/// Adds the deliveries of the emails to the people who get a message beside them. The link in the message is the one of this email.
fn give_emails(conn: &mut Conn, claims: &mut [Claim]) -> Result<()> {
    let mut wanted: BTreeMap<NoticeId, Vec<i64>> = BTreeMap::new();
    for claim in claims.iter() {
        if let Some(Recipient::Endpoint { own, .. }) = &claim.recipient
            && let Some(position) = own.email
        {
            let notice = claim.claimed.notice_id.clone();
            wanted.entry(notice).or_default().push(position);
        }
    }
    let mut found: HashMap<(NoticeId, i64), i64> = HashMap::new();
    for (notice, positions) in wanted {
        let rows: Vec<(i64, i64)> = d::table
            .filter(d::notice_id.eq(notice.as_str()))
            .filter(d::ordinal.eq_any(positions))
            .select((d::ordinal, d::id))
            .load(conn)?;
        found.extend(
            rows.into_iter()
                .map(|(position, id)| ((notice.clone(), position), id)),
        );
    }
    for claim in claims {
        if let Some(Recipient::Endpoint { own, email, .. }) = &mut claim.recipient
            && let Some(position) = own.email
        {
            *email = found.get(&(claim.claimed.notice_id.clone(), position)).copied();
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
    delivery_state::withhold(conn, &withheld)
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

/// Returns the notices that are being sent and have neither a pending delivery nor a further wave.
///
/// # Errors
/// An error of the database.
pub fn complete(conn: &mut Conn) -> Result<Vec<NoticeId>> {
    Ok(n::table
        .filter(expand::active())
        .filter(n::state.eq(NoticeState::Sending))
        .filter(n::expand_cursor.ge(n::recipients + n::endpoints))
        .filter(diesel::dsl::not(diesel::dsl::exists(
            dc::table
                .filter(dc::notice_id.eq(n::id))
                .filter(dc::state.eq(DeliveryState::Pending))
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
            .filter(d::state.eq(DeliveryState::Pending))
            .filter(d::lease.is_not_null()),
    )
    .set((d::lease.eq(None::<String>), d::next_attempt_at.eq(now)))
    .execute(conn)?)
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
    counts::pending(conn)
}
