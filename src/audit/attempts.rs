//! The digest of the delivery attempts of a batch, which their event contains.

use diesel::prelude::*;
use sha2::{Digest, Sha256};

use crate::base::error::Result;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::delivery_attempts;

/// Returns the number of the stored attempts of a batch, and their digest. `each` gets the delivery and the line of every attempt.
///
/// # Errors
/// An error of the database.
pub(super) fn digest_attempts(
    conn: &mut Conn,
    batch: &str,
    each: impl FnMut(i64, &[u8]),
) -> Result<(i64, String)> {
    use delivery_attempts as d;
    type Stored = (
        i64,
        i64,
        Timestamp,
        String,
        String,
        Option<Vec<u8>>,
        Option<String>,
    );
    let rows: Vec<Stored> = d::table
        .filter(d::batch.eq(batch))
        .order((d::delivery_id, d::attempt))
        .select((
            d::delivery_id,
            d::attempt,
            d::at,
            d::outcome,
            d::reply,
            d::mail_hash,
            d::relay,
        ))
        .load(conn)?;
    let lines = rows
        .iter()
        .map(|(delivery, attempt, at, outcome, reply, mail, relay)| Line {
            delivery: *delivery,
            attempt: *attempt,
            at: *at,
            outcome,
            reply,
            mail: mail.as_deref(),
            relay: relay.as_deref(),
        });
    Ok((rows.len() as i64, digest(lines, each)?))
}

/// Calls `each` with the delivery and the line of every attempt of a batch, in the order of the digest, without the line end.
///
/// # Errors
/// An error of the database.
pub fn attempt_lines(conn: &mut Conn, batch: &str, each: impl FnMut(i64, &[u8])) -> Result<()> {
    digest_attempts(conn, batch, each).map(drop)
}

/// One attempt, as the digest of its batch covers it.
pub(super) struct Line<'a> {
    pub delivery: i64,
    pub attempt: i64,
    pub at: Timestamp,
    pub outcome: &'a str,
    pub reply: &'a str,
    /// The SHA-256 of the email that the attempt handed over.
    pub mail: Option<&'a [u8]>,
    /// The mail server that the email was given to.
    pub relay: Option<&'a str>,
}

/// Returns the SHA-256 digest of the attempts of a batch, ordered by delivery and attempt number. Each
/// attempt is a JSON array on its own line. The array of an attempt that handed over an email has the hash of the email as its sixth
/// element. If the mail server is known, it is the seventh element, and the sixth is null where there is no hash. Other arrays have no
/// such elements, so that the digests of earlier versions stay valid.
pub(super) fn digest<'a>(
    attempts: impl Iterator<Item = Line<'a>>,
    mut each: impl FnMut(i64, &[u8]),
) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut line = Vec::with_capacity(256);
    for one in attempts {
        line.clear();
        let (delivery, attempt, at) = (one.delivery, one.attempt, one.at.as_micros());
        let (outcome, reply) = (one.outcome, one.reply);
        let first = (delivery, attempt, at, outcome, reply);
        match (one.mail, one.relay) {
            (None, None) => serde_json::to_writer(&mut line, &first)?,
            (Some(mail), None) => {
                serde_json::to_writer(&mut line, &(delivery, attempt, at, outcome, reply, hex(mail)))?;
            }
            (mail, Some(relay)) => {
                let seven = (delivery, attempt, at, outcome, reply, mail.map(hex), relay);
                serde_json::to_writer(&mut line, &seven)?;
            }
        }
        each(delivery, &line);
        line.push(b'\n');
        hasher.update(&line);
    }
    Ok(hex(&hasher.finalize()))
}
