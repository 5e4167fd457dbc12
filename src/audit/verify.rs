//! Verifies the audit trail: every hash, the order and the head of the chain, and the data outside the chain
//! that events contain digests of, which are the delivery attempts and the frozen notices.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::action::Action;
use super::frozen;
use super::write::{Event, Tx, rows_after};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::AttemptRow;
use crate::db::schema::{audit_head, delivery_attempts};

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Verification {
    /// Whether the whole trail is intact.
    pub ok: bool,
    /// The number of events that were verified.
    pub events: i64,
    /// The hash of the last event that was verified.
    pub head: String,
    /// The first event that is not correct.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<i64>,
    /// The reason why it is not correct.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Verifies the whole trail: every hash, the order and the head of the chain, and the delivery attempts and
/// the frozen notices against the digests in their events.
///
/// # Errors
/// An error of the database. A broken chain is a result and not an error.
pub fn verify(conn: &mut Conn) -> Result<Verification> {
    const STEP: i64 = 1_000;
    let (head_seq, head_hash): (i64, String) = audit_head::table
        .select((audit_head::seq, audit_head::hash))
        .first(conn)?;
    let mut last = (0_i64, "0".repeat(64));
    let mut attempts = 0_i64;
    let mut queued = Queued::default();
    let broken = |events, head: String, at, reason: String| Verification {
        ok: false,
        events,
        head,
        broken_at: Some(at),
        reason: Some(reason),
    };
    loop {
        let rows = rows_after(conn, last.0, STEP)?;
        let count = rows.len();
        for row in rows {
            let expected = last.0 + 1;
            if row.seq != expected {
                return Ok(broken(
                    last.0,
                    last.1,
                    expected,
                    format!("event {expected} is missing"),
                ));
            }
            if row.prev_hash != last.1 {
                return Ok(broken(
                    last.0,
                    last.1,
                    row.seq,
                    "it does not contain the hash of the previous event".to_owned(),
                ));
            }
            if row.compute_hash()? != row.hash {
                return Ok(broken(
                    last.0,
                    last.1,
                    row.seq,
                    "its content does not match its hash".to_owned(),
                ));
            }
            if row.action == Action::DeliveryAttempts.as_str() {
                match check_attempts(conn, row.after_json.as_deref())? {
                    Ok(count) => attempts += count,
                    Err(reason) => return Ok(broken(last.0, last.1, row.seq, reason)),
                }
            }
            if row.action == Action::NoticeQueued.as_str()
                && let Some(reason) =
                    check_frozen(conn, &row.subject_id, row.after_json.as_deref(), &mut queued)?
            {
                return Ok(broken(last.0, last.1, row.seq, reason));
            }
            last = (row.seq, row.hash);
        }
        if (count as i64) < STEP {
            break;
        }
    }
    if last != (head_seq, head_hash) {
        let at = last.0 + 1;
        return Ok(broken(
            last.0,
            last.1,
            at,
            "the last event does not match the stored head of the chain".to_owned(),
        ));
    }
    let stored: i64 = delivery_attempts::table.count().get_result(conn)?;
    if stored != attempts {
        let reason = format!("{stored} delivery attempts are stored, {attempts} were recorded");
        return Ok(broken(last.0, last.1.clone(), last.0 + 1, reason));
    }
    if let Some(reason) = queued.compare(conn)? {
        return Ok(broken(last.0, last.1.clone(), last.0 + 1, reason));
    }
    Ok(Verification {
        ok: true,
        events: last.0,
        head: last.1,
        broken_at: None,
        reason: None,
    })
}

/// The numbers of notices and recipients according to the events.
#[derive(Default)]
struct Queued {
    notices: i64,
    recipients: i64,
}

impl Queued {
    /// Compares the numbers with the stored data. Returns what is wrong, if anything is.
    fn compare(&self, conn: &mut Conn) -> Result<Option<String>> {
        use crate::db::schema::{deliveries as d, notice_recipients as r, notices as n};
        let notices: i64 = n::table
            .filter(n::digest.is_not_null())
            .count()
            .get_result(conn)?;
        if notices != self.notices {
            return Ok(Some(format!(
                "{notices} notices were queued, {} were recorded",
                self.notices
            )));
        }
        let recipients: i64 = r::table.count().get_result(conn)?;
        if recipients != self.recipients {
            return Ok(Some(format!(
                "{recipients} recipients are stored, {} were recorded",
                self.recipients
            )));
        }
        let same = d::notice_id
            .eq(r::notice_id)
            .and(d::ordinal.eq(r::ordinal))
            .and(d::address.eq(r::address))
            .and(d::channel.eq(r::channel));
        let other: Option<i64> = d::table
            .left_join(r::table.on(same))
            .filter(r::notice_id.nullable().is_null())
            .select(d::id)
            .first(conn)
            .optional()?;
        Ok(other.map(|id| format!("delivery {id} does not match the frozen recipient")))
    }
}

/// What the event of a queued notice contains about the notice.
#[derive(Deserialize)]
struct QueuedDigest {
    digest: String,
    recipients: i64,
    #[serde(default)]
    endpoints: i64,
    /// The digest of the frozen notice. Events of the first versions of Candor do not contain it.
    frozen: Option<String>,
}

/// Compares a queued notice with its event. Returns what is wrong, if anything is.
fn check_frozen(
    conn: &mut Conn,
    id: &str,
    after: Option<&str>,
    queued: &mut Queued,
) -> Result<Option<String>> {
    let said = after.and_then(|text| serde_json::from_str::<QueuedDigest>(text).ok());
    let (Some(said), Ok(id)) = (said, NoticeId::parse(id)) else {
        return Ok(Some(
            "it does not contain the digest of the frozen notice".to_owned(),
        ));
    };
    let Some(stored) = frozen::stored(conn, &id)? else {
        return Ok(Some(
            "the notice that it queued is not stored any more".to_owned(),
        ));
    };
    let count = said.recipients + said.endpoints;
    if stored.recipients != count {
        return Ok(Some(format!(
            "{} recipients of the notice are stored, {count} were frozen",
            stored.recipients
        )));
    }
    if stored.preview != said.digest || said.frozen.is_some_and(|frozen| frozen != stored.digest) {
        return Ok(Some(
            "the recipients or the text of the notice do not match the frozen ones".to_owned(),
        ));
    }
    if let Some(field) = stored.differs {
        return Ok(Some(format!(
            "the {field} of the notice is not what was frozen: somebody changed it in the database after the notice was queued"
        )));
    }
    queued.notices += 1;
    queued.recipients += count;
    Ok(None)
}

/// What the event of a batch of attempts contains about them.
#[derive(Serialize, Deserialize)]
struct AttemptsDigest {
    batch: String,
    count: i64,
    digest: String,
}

fn check_attempts(conn: &mut Conn, after: Option<&str>) -> Result<std::result::Result<i64, String>> {
    let Some(said) = after.and_then(|text| serde_json::from_str::<AttemptsDigest>(text).ok()) else {
        return Ok(Err("it does not say which attempts it covers".to_owned()));
    };
    let (count, digest) = digest_attempts(conn, &said.batch)?;
    if count != said.count || digest != said.digest {
        return Ok(Err(
            "the delivery attempts of its batch do not match the recorded ones".to_owned(),
        ));
    }
    Ok(Ok(count))
}

fn digest_attempts(conn: &mut Conn, batch: &str) -> Result<(i64, String)> {
    use delivery_attempts as d;
    let rows: Vec<(i64, i64, Timestamp, String, String)> = d::table
        .filter(d::batch.eq(batch))
        .order((d::delivery_id, d::attempt))
        .select((d::delivery_id, d::attempt, d::at, d::outcome, d::reply))
        .load(conn)?;
    let lines = rows.iter().map(|(delivery, attempt, at, outcome, reply)| {
        (*delivery, *attempt, *at, outcome.as_str(), reply.as_str())
    });
    Ok((rows.len() as i64, digest(lines)?))
}

/// Returns the SHA-256 digest of the attempts of a batch, ordered by delivery and attempt number. Each
/// attempt is a JSON array on its own line.
fn digest<'a>(attempts: impl Iterator<Item = (i64, i64, Timestamp, &'a str, &'a str)>) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut line = Vec::with_capacity(256);
    for (delivery, attempt, at, outcome, reply) in attempts {
        line.clear();
        serde_json::to_writer(&mut line, &(delivery, attempt, at.as_micros(), outcome, reply))?;
        line.push(b'\n');
        hasher.update(&line);
    }
    Ok(hex(&hasher.finalize()))
}

/// Records the event for a batch of attempts that this transaction has just stored. The attempts are read
/// from the table if `known` is `None`.
///
/// # Errors
/// An error of the database.
pub fn record_attempts(tx: &mut Tx<'_>, batch: &str, known: Option<Vec<AttemptRow<'_>>>) -> Result<()> {
    let (count, digest) = match known {
        Some(mut attempts) => {
            attempts.sort_unstable_by_key(|row| (row.delivery_id, row.attempt));
            let now = tx.now;
            let lines = attempts
                .iter()
                .map(|row| (row.delivery_id, row.attempt, now, row.outcome, row.reply));
            (attempts.len() as i64, digest(lines)?)
        }
        None => digest_attempts(tx.conn, batch)?,
    };
    let after = serde_json::to_value(AttemptsDigest {
        batch: batch.to_owned(),
        count,
        digest,
    })?;
    tx.record(Event::new(Action::DeliveryAttempts, "batch", batch).after(after));
    Ok(())
}
