//! What the audit trail says about erasures, and the only writes that change a recorded event.
//!
//! An erasure changes frozen recipients, replies in delivery attempts, and events that contain a name or an ID. Its own event contains, for
//! each of them, the digest before and after. So the chain of digests leads from what was recorded first to what is stored now, and
//! [`super::verify`] follows it. The hash of a redacted event stays as it was, so the chain of hashes and every proof that was made
//! from it stay valid.
//!
//! - A change that no event of an erasure contains is found by `verify`.
//! - A trigger allows each change once, and only for a row that the erasure has named before ([`permit`]).

use std::collections::HashMap;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::action::Action;
use super::attempts::digest_attempts;
use super::frozen;
use super::write::EventRow;
use crate::base::error::{Error, Result};
use crate::base::id::{ErasureId, NoticeId};
use crate::base::text::hex;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{audit_events as a, erased_recipients as er, erased_rows as r, erasures as e};

/// The number of rows that are read at once.
const STEP: i64 = 2_000;

/// The kind of a protected row that an erasure changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// A frozen recipient. Its key is `NOTICE/ORDINAL`.
    Recipient,
    /// A delivery attempt. Its key is `DELIVERY/ATTEMPT`.
    Attempt,
    /// A report about an email. Its key is its number.
    Feedback,
    /// An answer. Its key is its number.
    Answer,
    /// An event of the audit trail. Its key is its number.
    Event,
}

impl Protected {
    fn as_str(self) -> &'static str {
        match self {
            Protected::Recipient => "recipient",
            Protected::Attempt => "attempt",
            Protected::Feedback => "feedback",
            Protected::Answer => "answer",
            Protected::Event => "event",
        }
    }
}

/// Allows an erasure to change these rows, each once. Every row must be changed in the same transaction, because `verify` reports a
/// row that was not.
///
/// # Errors
/// An error of the database.
pub fn permit(conn: &mut Conn, erasure: &ErasureId, kind: Protected, keys: &[String]) -> Result<()> {
    for chunk in keys.chunks(500) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|key| {
                (
                    r::kind.eq(kind.as_str()),
                    r::key.eq(key),
                    r::erasure_id.eq(erasure.as_str()),
                    r::applied.eq(false),
                )
            })
            .collect();
        on_backend!(&mut *conn, c => diesel::insert_into(r::table).values(&rows).execute(c))?;
    }
    Ok(())
}

/// The commitments to what stood in one frozen recipient.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Committed {
    /// The position in the list, from 1.
    pub ordinal: i64,
    /// The commitment to the ID of the person, in hexadecimal.
    pub person: String,
    /// The commitment to the address in its normal form, in hexadecimal.
    pub address: String,
}

/// What an erasure changed in one notice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErasedNotice {
    /// The ID of the notice.
    pub notice: String,
    /// The digest of the frozen notice before.
    pub before: String,
    /// The digest of the frozen notice after.
    pub after: String,
    /// The number of recipients that changed.
    pub recipients: i64,
    /// A digest of the stored commitments of these recipients.
    pub commitments: String,
    /// The positions with their commitments, if there are few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<Committed>,
}

/// A batch of attempts in which an erasure removed the texts of replies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErasedBatch {
    /// The ID of the batch.
    pub batch: String,
    /// The digest of the attempts before.
    pub before: String,
    /// The digest of the attempts after.
    pub after: String,
}

/// An event that an erasure redacted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErasedEvent {
    /// The number of the event.
    pub seq: i64,
    /// The hash of what stands in the event now. The hash in the chain is the one of what stood in it before.
    pub content: String,
}

/// What the event of an erasure contains about protected rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The ID of the erasure.
    pub erasure: String,
    /// The notices whose frozen recipients changed.
    #[serde(default)]
    pub notices: Vec<ErasedNotice>,
    /// The batches of attempts whose replies changed.
    #[serde(default)]
    pub batches: Vec<ErasedBatch>,
    /// The events that were redacted.
    #[serde(default)]
    pub events: Vec<ErasedEvent>,
}

/// A change of a digest.
struct Step {
    before: String,
    after: String,
}

/// All erasures according to the audit trail, in its order.
#[derive(Default)]
pub struct Erasures {
    notices: HashMap<String, Vec<Step>>,
    batches: HashMap<String, Vec<Step>>,
    events: HashMap<i64, String>,
    recipients: Vec<(String, ErasedNotice)>,
    rows: i64,
    /// The number of stored erasures when the events were read.
    stored: i64,
}

impl Erasures {
    /// Reads the events of all erasures.
    ///
    /// # Errors
    /// An error of the database.
    pub fn load(conn: &mut Conn) -> Result<Erasures> {
        let actions = [Action::PersonErased.as_str(), Action::RetentionApplied.as_str()];
        let found: Vec<Option<String>> = a::table
            .filter(a::action.eq_any(actions))
            .order(a::seq)
            .select(a::after_json)
            .load(conn)?;
        let mut all = Erasures {
            stored: stored(conn)?,
            ..Erasures::default()
        };
        for text in found.into_iter().flatten() {
            let record: Record = serde_json::from_str(&text).unwrap_or_default();
            for one in record.notices {
                all.rows += one.recipients;
                all.notices.entry(one.notice.clone()).or_default().push(Step {
                    before: one.before.clone(),
                    after: one.after.clone(),
                });
                all.recipients.push((record.erasure.clone(), one));
            }
            for one in record.batches {
                all.batches.entry(one.batch).or_default().push(Step {
                    before: one.before,
                    after: one.after,
                });
            }
            for one in record.events {
                all.events.insert(one.seq, one.content);
            }
        }
        Ok(all)
    }

    /// Returns whether no erasure was made since this was read. Each erasure stores a row, and no row is ever deleted.
    pub(super) fn is_current(&self, conn: &mut Conn) -> Result<bool> {
        Ok(stored(conn)? == self.stored)
    }

    /// Returns the hash of what stands in an event that was redacted. `None` if it was not.
    pub fn content_of(&self, seq: i64) -> Option<&String> {
        self.events.get(&seq)
    }

    /// Returns the digest that a frozen notice must have now. `frozen` is the one that was recorded when it was queued.
    pub(super) fn notice(
        &self,
        id: &str,
        frozen: Option<String>,
    ) -> std::result::Result<Option<String>, String> {
        match (self.notices.get(id), frozen) {
            (None, frozen) => Ok(frozen),
            (Some(steps), Some(frozen)) => follow(steps, frozen, "notice").map(Some),
            // The first versions of Candor recorded no digest, so the first erasure is the start.
            (Some(steps), None) => match steps.first() {
                Some(first) => follow(steps, first.before.clone(), "notice").map(Some),
                None => Ok(None),
            },
        }
    }

    /// Returns the digest that a batch of attempts must have now.
    pub(super) fn batch(&self, id: &str, recorded: String) -> std::result::Result<String, String> {
        match self.batches.get(id) {
            None => Ok(recorded),
            Some(steps) => follow(steps, recorded, "batch of attempts"),
        }
    }

    /// Compares the erasures with the stored commitments and permissions. Returns what is wrong, if anything is.
    pub(super) fn compare(&self, conn: &mut Conn) -> Result<Option<String>> {
        let unused: i64 = r::table.filter(r::applied.eq(false)).count().get_result(conn)?;
        if unused > 0 {
            return Ok(Some(format!(
                "{unused} rows are marked to be erased and were not: no erasure of Candor ends like this"
            )));
        }
        let stored: i64 = er::table.count().get_result(conn)?;
        if stored != self.rows {
            return Ok(Some(format!(
                "{stored} commitments to erased recipients are stored, {} were recorded",
                self.rows
            )));
        }
        for (erasure, one) in &self.recipients {
            if commitments(conn, erasure, &one.notice)?.0 != one.commitments {
                return Ok(Some(format!(
                    "the commitments to the erased recipients of notice {} do not match the recorded ones",
                    one.notice
                )));
            }
        }
        Ok(None)
    }
}

/// Returns the number of stored erasures.
fn stored(conn: &mut Conn) -> Result<i64> {
    Ok(e::table.count().get_result(conn)?)
}

fn follow(steps: &[Step], from: String, what: &str) -> std::result::Result<String, String> {
    steps.iter().try_fold(from, |at, step| {
        if step.before == at {
            Ok(step.after.clone())
        } else {
            Err(format!(
                "an erasure does not begin with what was recorded of the {what}"
            ))
        }
    })
}

/// Returns the digest of the stored commitments of an erasure in a notice, and the first of them.
///
/// # Errors
/// An error of the database.
pub fn commitments(conn: &mut Conn, erasure: &str, notice: &str) -> Result<(String, Vec<Committed>)> {
    let mut hasher = Sha256::new();
    let mut first = Vec::new();
    let mut last = i64::MIN;
    loop {
        type Row = (i64, String, String, String, String);
        let rows: Vec<Row> = er::table
            .filter(er::erasure_id.eq(erasure))
            .filter(er::notice_id.eq(notice))
            .filter(er::ordinal.gt(last))
            .order(er::ordinal)
            .limit(STEP)
            .select((
                er::ordinal,
                er::person_salt,
                er::person_commitment,
                er::address_salt,
                er::address_commitment,
            ))
            .load(conn)?;
        let Some((ordinal, ..)) = rows.last() else { break };
        last = *ordinal;
        for row in rows {
            hasher.update(serde_json::to_vec(&row)?);
            hasher.update(b"\n");
            if first.len() < LISTED {
                let (ordinal, _, person, _, address) = row;
                first.push(Committed {
                    ordinal,
                    person,
                    address,
                });
            }
        }
    }
    Ok((hex(&hasher.finalize()), first))
}

/// The number of commitments that an event lists for one notice.
pub const LISTED: usize = 100;

/// Returns the digest of a frozen notice, after comparing it with the trail. An erasure begins with it.
///
/// # Errors
/// `Conflict` if the stored recipients or texts are not those that the trail recorded. Then an erasure would hide this.
pub fn checked_digest(conn: &mut Conn, erasures: &Erasures, notice: &NoticeId) -> Result<String> {
    let queued: Option<Option<String>> = a::table
        .filter(a::action.eq(Action::NoticeQueued.as_str()))
        .filter(a::subject_type.eq("notice"))
        .filter(a::subject_id.eq(notice.as_str()))
        .order(a::seq.desc())
        .select(a::after_json)
        .first(conn)
        .optional()?;
    let said = queued.flatten().and_then(|text| {
        let value: Value = serde_json::from_str(&text).ok()?;
        Some(value.get("frozen")?.as_str()?.to_owned())
    });
    let now = digest_of(conn, notice)?;
    let differs = || {
        Error::Conflict(format!(
            "the recipients or the text of notice {notice} are not those that were frozen, so nothing is erased; verify the audit \
             trail first"
        ))
    };
    match erasures.notice(notice.as_str(), said) {
        Ok(Some(expected)) if expected != now => Err(differs()),
        Ok(_) => Ok(now),
        Err(_) => Err(differs()),
    }
}

/// Returns the digest of a frozen notice as it is stored.
///
/// # Errors
/// `Internal` if the frozen data is missing.
pub fn digest_of(conn: &mut Conn, notice: &NoticeId) -> Result<String> {
    Ok(frozen::stored(conn, notice)?
        .ok_or_else(|| Error::internal("the frozen data of a notice is missing"))?
        .digest)
}

/// Returns the digest of a batch of attempts as it is stored.
///
/// # Errors
/// An error of the database.
pub fn batch_digest(conn: &mut Conn, batch: &str) -> Result<String> {
    Ok(digest_attempts(conn, batch, |_, _| ())?.1)
}

/// The parts of an event that can contain something about a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventParts {
    /// The number of the event.
    pub seq: i64,
    /// The kind of the subject, such as `person`.
    pub subject_type: String,
    /// The ID of the subject.
    pub subject: String,
    /// The state before the change, as JSON.
    pub before: Option<String>,
    /// The state after the change, as JSON.
    pub after: Option<String>,
}

/// Returns the parts of these events.
///
/// # Errors
/// An error of the database.
pub fn parts_of(conn: &mut Conn, seqs: &[i64]) -> Result<Vec<EventParts>> {
    type Stored = (i64, String, String, Option<String>, Option<String>);
    let mut found = Vec::with_capacity(seqs.len());
    for chunk in seqs.chunks(500) {
        let rows: Vec<Stored> = a::table
            .filter(a::seq.eq_any(chunk))
            .order(a::seq)
            .select((
                a::seq,
                a::subject_type,
                a::subject_id,
                a::before_json,
                a::after_json,
            ))
            .load(conn)?;
        found.extend(
            rows.into_iter()
                .map(|(seq, subject_type, subject, before, after)| EventParts {
                    seq,
                    subject_type,
                    subject,
                    before,
                    after,
                }),
        );
    }
    Ok(found)
}

/// Replaces the parts of an event. Its hash stays.
///
/// # Errors
/// An error of the database, and the refusal of a trigger if [`permit`] did not allow it.
pub fn redact(conn: &mut Conn, erasure: &ErasureId, parts: &EventParts) -> Result<ErasedEvent> {
    permit(conn, erasure, Protected::Event, &[parts.seq.to_string()])?;
    diesel::update(a::table.find(parts.seq))
        .set((
            a::subject_id.eq(&parts.subject),
            a::before_json.eq(&parts.before),
            a::after_json.eq(&parts.after),
        ))
        .execute(conn)?;
    let row: EventRow = a::table.find(parts.seq).first(conn)?;
    Ok(ErasedEvent {
        seq: parts.seq,
        content: row.compute_hash()?,
    })
}
