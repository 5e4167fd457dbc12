//! Attempts to deliver: what an erasure removes of the replies of servers, and of what it takes to write an email again.
//!
//! The digest of each batch before and after stands in the event of the erasure. The hash of the email stays, because the digest covers it.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::needles::{Needles, REMOVED};
use crate::audit::erased::{ErasedBatch, Protected, batch_digest, permit};
use crate::base::error::Result;
use crate::base::id::ErasureId;
use crate::db::schema::delivery_attempts as da;
use crate::db::{Conn, Statement};

/// An attempt that is to be changed: the reply of the server, and what it takes to write its email again.
#[derive(Clone, Debug)]
pub(super) struct ReplyChange {
    pub delivery: i64,
    pub attempt: i64,
    pub batch: String,
    pub reply: String,
    /// Whether the signatures of the email are removed. Without them, nobody can confirm a guess of what the email said with the hash of
    /// its bytes, or with its DKIM signature.
    pub without_email: bool,
}

/// Returns the attempts without what can identify the person. Those of the person's `own` deliveries keep only the status code of the
/// reply. Those of `emails`, which contain all of `own`, lose what it takes to write the email again.
pub(super) fn replies(
    conn: &mut Conn,
    own: &[i64],
    emails: &[i64],
    needles: &Needles,
) -> Result<Vec<ReplyChange>> {
    let own: BTreeSet<i64> = own.iter().copied().collect();
    let mut changes: BTreeMap<(i64, i64), ReplyChange> = BTreeMap::new();
    for chunk in emails.chunks(500) {
        type Attempt = (i64, i64, String, String, Option<Vec<u8>>);
        let rows: Vec<Attempt> = da::table
            .filter(da::delivery_id.eq_any(chunk))
            .select((
                da::delivery_id,
                da::attempt,
                da::batch,
                da::reply,
                da::mail_signatures,
            ))
            .load(conn)?;
        for (delivery, attempt, batch, reply, signatures) in rows {
            let kept = match own.contains(&delivery) {
                true => status_of(&reply),
                false => reply.clone(),
            };
            if kept != reply || signatures.is_some() {
                let change = ReplyChange {
                    delivery,
                    attempt,
                    batch,
                    reply: kept,
                    without_email: signatures.is_some(),
                };
                changes.insert((delivery, attempt), change);
            }
        }
    }
    if needles.id.is_empty() {
        return Ok(changes.into_values().collect());
    }
    #[derive(QueryableByName)]
    struct Reply {
        #[diesel(sql_type = BigInt)]
        delivery_id: i64,
        #[diesel(sql_type = BigInt)]
        attempt: i64,
        #[diesel(sql_type = Text)]
        batch: String,
        #[diesel(sql_type = Text)]
        reply: String,
    }
    let mut statement = Statement::default();
    statement.push("SELECT delivery_id, attempt, batch, reply FROM delivery_attempts WHERE ");
    needles.condition(&mut statement, "reply");
    let rows: Vec<Reply> = statement.finish().load(conn)?;
    for row in rows {
        // Only the status code is kept of the person's own deliveries.
        if own.contains(&row.delivery_id) {
            continue;
        }
        if let Some(reply) = needles.text(&row.reply) {
            let change = changes
                .entry((row.delivery_id, row.attempt))
                .or_insert(ReplyChange {
                    delivery: row.delivery_id,
                    attempt: row.attempt,
                    batch: row.batch,
                    reply: String::new(),
                    without_email: false,
                });
            change.reply = reply;
        }
    }
    Ok(changes.into_values().collect())
}

/// Returns the status code at the beginning of a reply, such as `550 5.1.1`, and [`REMOVED`] instead of the rest. A reply that Candor
/// itself wrote has no code, and nothing of it is kept.
fn status_of(reply: &str) -> String {
    let is_code = |word: &&str| {
        let digits = word.chars().all(|c| c.is_ascii_digit() || c == '.');
        digits && !word.is_empty() && word.len() <= 9
    };
    let words: Vec<&str> = reply.split(' ').take_while(is_code).take(2).collect();
    let code = words.join(" ");
    match code.len() == reply.len() {
        true => code,
        false => format!("{code} {REMOVED}").trim_start().to_owned(),
    }
}

/// Changes attempts. Returns what the event of the erasure says about their batches. A batch whose digest stays is not among them.
///
/// # Errors
/// An error of the database.
pub(super) fn change_replies(
    conn: &mut Conn,
    erasure: &ErasureId,
    changes: &[ReplyChange],
) -> Result<Vec<ErasedBatch>> {
    let mut batches: BTreeMap<&str, Vec<&ReplyChange>> = BTreeMap::new();
    for change in changes {
        batches.entry(&change.batch).or_default().push(change);
    }
    let mut recorded = Vec::with_capacity(batches.len());
    for (batch, changes) in batches {
        let before = batch_digest(conn, batch)?;
        let keys: Vec<String> = changes
            .iter()
            .map(|change| format!("{}/{}", change.delivery, change.attempt))
            .collect();
        permit(conn, erasure, Protected::Attempt, &keys)?;
        for change in changes {
            let row = da::table.find((change.delivery, change.attempt));
            let reply = da::reply.eq(&change.reply);
            // The permission is for one change.
            if change.without_email {
                diesel::update(row)
                    .set((reply, da::mail_signatures.eq(None::<Vec<u8>>)))
                    .execute(conn)?;
            } else {
                diesel::update(row).set(reply).execute(conn)?;
            }
        }
        let after = batch_digest(conn, batch)?;
        if after != before {
            recorded.push(ErasedBatch {
                batch: batch.to_owned(),
                before,
                after,
            });
        }
    }
    Ok(recorded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_keeps_its_status_code() {
        for (reply, kept) in [
            ("250 2.0.0 Ok: queued as 12AB", "250 2.0.0 [erased]"),
            ("550 5.1.1 <ann@example.com>: unknown", "550 5.1.1 [erased]"),
            ("250 OK", "250 [erased]"),
            ("250", "250"),
            ("written to the outbox", "[erased]"),
            ("", ""),
        ] {
            assert_eq!(status_of(reply), kept);
        }
    }
}
