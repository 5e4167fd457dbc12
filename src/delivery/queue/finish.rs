//! Records what became of claimed deliveries: the attempts, the new states, and what follows for addresses and endpoints.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;

use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::AttemptRow;
use crate::db::schema::{notice_recipients as nr, notices as n};
use crate::delivery::opt_out::{self, SuppressionReason};
use crate::delivery::outcome::Outcome;
use crate::delivery::sent_message::SentMessage;
use crate::delivery::task::Claimed;
use crate::directory::{endpoint, normal_address};
use crate::notice::delivery_state::{self, Changes, ClaimEnd, ClaimEnds};
use crate::notice::{EMAIL, NoticeState};
use crate::work::backoff::Backoff;

/// What an attempt handed over, and to whom.
#[derive(Clone, Debug, Default)]
pub struct Handover {
    /// What is recorded about the email that was handed over, or may have been.
    pub mail: Option<SentMessage>,
    /// The mail server that the email was given to, or was to be given to: its host and port.
    pub relay: Option<Arc<str>>,
}

/// What is recorded about a claimed delivery.
#[derive(Clone, Debug)]
pub enum Finish {
    /// An attempt was made, and it had this outcome.
    Attempt(Outcome, Handover),
    /// No attempt was made, because the notice was stopped.
    Withheld,
    /// No attempt was made, because the worker stops. The row is due at once.
    Released,
}

pub(super) fn stopped_of<'a>(
    conn: &mut Conn,
    notices: impl IntoIterator<Item = &'a str>,
) -> Result<HashSet<NoticeId>> {
    Ok(n::table
        .filter(n::id.eq_any(notices))
        .filter(n::state.eq(NoticeState::Stopped))
        .select(n::id)
        .load::<NoticeId>(conn)?
        .into_iter()
        .collect())
}

/// Adds an entry to the timeline if these outcomes contain the first accepted delivery of a notice. This
/// takes the lock of the incident, so it comes before every other change: resending and stopping also take
/// this lock first.
pub(super) fn note_first_notified<'a>(
    tx: &mut Tx<'_>,
    outcomes: impl Iterator<Item = &'a (Claimed, Finish)>,
) -> Result<()> {
    let sent_to: BTreeSet<(&NoticeId, &str)> = outcomes
        .filter(|(_, finish)| matches!(finish, Finish::Attempt(Outcome::Sent(_), _)))
        .map(|(claimed, _)| (&claimed.notice_id, claimed.channel.as_str()))
        .collect();
    for (notice, channel) in sent_to {
        crate::notice::note_first_notified(tx, notice, channel)?;
    }
    Ok(())
}

/// Records the outcomes of a batch of claimed deliveries, with one audit event for all attempts. Returns
/// which of their notices are stopped.
pub(super) fn finish(
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
    let attempts: Vec<AttemptRow<'_>> = group
        .iter()
        .filter_map(|(claimed, finish)| {
            let Finish::Attempt(outcome, handover) = finish else {
                return None;
            };
            Some(AttemptRow {
                delivery_id: claimed.id,
                attempt: claimed.attempt,
                outcome: outcome.word(),
                reply: outcome.reply(),
                mail: handover.mail.as_ref().map(SentMessage::stored),
                relay: handover.relay.as_deref(),
            })
        })
        .collect();
    let mut ends = ClaimEnds::new();
    for (claimed, finish) in group {
        let end = end(tx.now, schedules, &stopped, claimed, finish);
        let key = (&claimed.notice_id, claimed.channel.as_str(), end);
        ends.entry(key).or_default().push(claimed.id);
    }
    delivery_state::end_claims(tx, lease, attempts, &ends, changes)?;
    Ok(stopped)
}

/// Suppresses an address if its server said that the mailbox does not exist. The effect is the same as for a
/// bounce with this reason.
fn suppress_unknown(tx: &mut Tx<'_>, group: &[(Claimed, Finish)]) -> Result<()> {
    // In a fixed order: two processes that suppress the same addresses in different request would wait for each other.
    let unknown: BTreeMap<String, i64> = group
        .iter()
        .rev()
        .filter(|(_, finish)| matches!(finish, Finish::Attempt(Outcome::NoMailbox(_), _)))
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
        let Finish::Attempt(Outcome::Gone(reason), _) = finish else {
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

/// Returns how the claim of a delivery ends.
pub(super) fn end(
    now: Timestamp,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    stopped: &HashSet<NoticeId>,
    claimed: &Claimed,
    finish: &Finish,
) -> ClaimEnd {
    let (after, ambiguous) = match finish {
        Finish::Attempt(Outcome::Sent(_), _) => return ClaimEnd::sent(now),
        Finish::Attempt(Outcome::Failed(_) | Outcome::NoMailbox(_), _) => {
            return ClaimEnd::failed(now, "refused");
        }
        Finish::Attempt(Outcome::Gone(_), _) => return ClaimEnd::failed(now, "gone"),
        Finish::Withheld if stopped.contains(&claimed.notice_id) => return ClaimEnd::stopped(now),
        // The notice was resumed since, or the process has not heard of it yet.
        Finish::Withheld | Finish::Released => return ClaimEnd::released(now),
        Finish::Attempt(Outcome::Ambiguous(_), _) => (None, 1),
        Finish::Attempt(Outcome::Retry(after, _), _) => (*after, 0),
    };
    let schedule = schedules
        .get(claimed.channel.as_str())
        .map_or(&[] as &[Duration], Vec::as_slice);
    let next = now.plus(after.unwrap_or_else(|| wait(schedule, claimed)));
    let end = if stopped.contains(&claimed.notice_id) {
        ClaimEnd::stopped(now)
    } else if next > claimed.expires_at {
        ClaimEnd::failed(now, "expired")
    } else {
        ClaimEnd::waits(next)
    };
    end.after_attempt(next, ambiguous)
}

/// Returns the wait before the next attempt. It is the wait of the schedule plus up to a fifth, so that not
/// all deliveries arrive at the same time when a relay works again. The addition depends on the ID of the
/// delivery. It need not be random.
fn wait(schedule: &[Duration], claimed: &Claimed) -> Duration {
    let base = Backoff::new(schedule).after(claimed.attempt);
    base + base.mul_f64((claimed.id % 21) as f64 / 100.0)
}
