//! Verifies what events say about data outside the chain: the delivery attempts and the frozen notices. It also
//! records the digests of delivery attempts. [`super::whole`] verifies the chain itself.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::attempts::{Line, digest, digest_attempts};
use super::erased::Erasures;
use super::frozen;
use super::row_tree::{RowTree, Salts};
use super::write::{Event, EventRow, Tx};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::dialect::AttemptRow;

/// Checks what an event says about data outside the chain. Returns what is wrong, if anything is.
pub(super) fn check(
    conn: &mut Conn,
    row: &EventRow,
    erasures: &Erasures,
    attempts: &mut i64,
    queued: &mut Queued,
) -> Result<Option<String>> {
    if row.action == Action::DeliveryAttempts.as_str() {
        match check_attempts(conn, row.after_json.as_deref(), erasures)? {
            Ok(count) => *attempts += count,
            Err(reason) => return Ok(Some(reason)),
        }
    }
    if row.action == Action::NoticeQueued.as_str() {
        return check_frozen(conn, &row.subject_id, row.after_json.as_deref(), erasures, queued);
    }
    Ok(None)
}

/// The numbers of notices and recipients according to the events.
#[derive(Default)]
pub(super) struct Queued {
    pub(super) notices: i64,
    pub(super) recipients: i64,
}

/// The numbers of notices and recipients that are stored.
pub(super) struct StoredNumbers {
    notices: i64,
    recipients: i64,
    /// A delivery that does not match the frozen recipient.
    other: Option<i64>,
}

impl StoredNumbers {
    pub(super) fn read(conn: &mut Conn) -> Result<StoredNumbers> {
        use crate::db::schema::{deliveries as d, notice_recipients as r, notices as n};
        let same = d::notice_id
            .eq(r::notice_id)
            .and(d::ordinal.eq(r::ordinal))
            .and(d::address.eq(r::address))
            .and(d::channel.eq(r::channel));
        Ok(StoredNumbers {
            notices: n::table
                .filter(n::digest.is_not_null())
                .count()
                .get_result(conn)?,
            recipients: r::table.count().get_result(conn)?,
            other: d::table
                .left_join(r::table.on(same))
                .filter(r::notice_id.nullable().is_null())
                .select(d::id)
                .first(conn)
                .optional()?,
        })
    }
}

impl Queued {
    /// Compares the numbers with the stored data. Returns what is wrong, if anything is.
    pub(super) fn compare(&self, stored: &StoredNumbers) -> Option<String> {
        if stored.notices != self.notices {
            return Some(format!(
                "{} notices were queued, {} were recorded",
                stored.notices, self.notices
            ));
        }
        if stored.recipients != self.recipients {
            return Some(format!(
                "{} recipients are stored, {} were recorded",
                stored.recipients, self.recipients
            ));
        }
        stored
            .other
            .map(|id| format!("delivery {id} does not match the frozen recipient"))
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
    erasures: &Erasures,
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
    let frozen = match erasures.notice(id.as_str(), said.frozen) {
        Ok(frozen) => frozen,
        Err(reason) => return Ok(Some(reason)),
    };
    if stored.preview != said.digest || frozen.is_some_and(|frozen| frozen != stored.digest) {
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
    /// The root of the tree of the attempts, which proves a single one. Events of earlier versions do not contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
}

fn check_attempts(
    conn: &mut Conn,
    after: Option<&str>,
    erasures: &Erasures,
) -> Result<std::result::Result<i64, String>> {
    let Some(said) = after.and_then(|text| serde_json::from_str::<AttemptsDigest>(text).ok()) else {
        return Ok(Err("it does not say which attempts it covers".to_owned()));
    };
    let recorded = match erasures.batch(&said.batch, said.digest) {
        Ok(digest) => digest,
        Err(reason) => return Ok(Err(reason)),
    };
    let (count, digest) = digest_attempts(conn, &said.batch, |_, _| ())?;
    if count != said.count || digest != recorded {
        return Ok(Err(
            "the delivery attempts of its batch do not match the recorded ones".to_owned(),
        ));
    }
    Ok(Ok(count))
}

/// Records the event for a batch of attempts that this transaction has just stored. The attempts are read
/// from the table if `known` is `None`.
///
/// # Errors
/// An error of the database.
pub fn record_attempts(tx: &mut Tx<'_>, batch: &str, known: Option<Vec<AttemptRow<'_>>>) -> Result<()> {
    let mut tree = RowTree::new(Salts::of(tx)?, batch);
    let (count, digest) = match known {
        Some(mut attempts) => {
            attempts.sort_unstable_by_key(|row| (row.delivery_id, row.attempt));
            let now = tx.now;
            let lines = attempts.iter().map(|row| Line {
                delivery: row.delivery_id,
                attempt: row.attempt,
                at: now,
                outcome: row.outcome,
                reply: row.reply,
                mail: row.mail.map(|mail| mail.hash),
                relay: row.relay,
            });
            (attempts.len() as i64, digest(lines, |_, line| tree.add(line))?)
        }
        None => digest_attempts(tx.conn, batch, |_, line| tree.add(line))?,
    };
    let after = serde_json::to_value(AttemptsDigest {
        batch: batch.to_owned(),
        count,
        digest,
        root: Some(tree.root()),
    })?;
    tx.record(Event::new(Action::DeliveryAttempts, "batch", batch).after(after));
    Ok(())
}
