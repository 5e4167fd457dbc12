//! Proofs about the trail: that an event is in the tree of a checkpoint, and that an older checkpoint is a beginning of a newer one.
//! [`super::merkle`] verifies them.

use diesel::prelude::*;
use serde::Serialize;

use super::merkle::{self, Hash, Range};
use super::tiles;
use super::write::EventRow;
use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::db::schema::audit_events;

/// An event as it is hashed. The SHA-256 hash of `canonical` is the hash of the event in the chain, and the hash of its leaf is
/// SHA-256 of the byte 0x00 and the 32 bytes of this hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SealedEvent {
    /// The number of the event, from 1. Its position in the tree is one less.
    pub seq: i64,
    /// All fields of the event and the hash of the event before, as one JSON array in UTF-8.
    pub canonical: String,
    /// The hash of the event, in hexadecimal.
    pub hash: String,
}

/// Returns the hash of the leaf of an event, from the hash that the event has in the chain (in hexadecimal).
///
/// # Errors
/// `Internal` if the text is not a hash.
pub fn leaf_hash(hash: &str) -> Result<Hash> {
    tiles::leaf_of(hash)
}

/// Returns events as they are hashed, in the order of their numbers. An event that does not exist is left out.
///
/// # Errors
/// An error of the database.
pub fn sealed(conn: &mut Conn, seqs: &[i64]) -> Result<Vec<SealedEvent>> {
    let mut found = Vec::with_capacity(seqs.len());
    // SQLite allows only some thousand parameters in a statement.
    for some in seqs.chunks(500) {
        let rows: Vec<EventRow> = audit_events::table
            .filter(audit_events::seq.eq_any(some))
            .order(audit_events::seq)
            .load(conn)?;
        for row in rows {
            found.push(SealedEvent {
                seq: row.seq,
                canonical: String::from_utf8(row.canonical()?).map_err(Error::internal)?,
                hash: row.hash,
            });
        }
    }
    found.sort_by_key(|event| event.seq);
    Ok(found)
}

/// Returns the proof that the event with this number is in the tree of the first `size` events, from the leaf upwards.
///
/// # Errors
/// `Invalid` if there is no such event or no such tree, an error of the database.
pub fn inclusion(conn: &mut Conn, seq: i64, size: i64) -> Result<Vec<[u8; 32]>> {
    if size < 1 || size > tiles::size(conn)? {
        return Err(Error::invalid(
            "?size",
            "is not the size of this trail or of an earlier one",
        ));
    }
    let parts = (seq >= 1)
        .then(|| merkle::inclusion_parts((seq - 1).unsigned_abs(), size.unsigned_abs()))
        .flatten()
        .ok_or_else(|| Error::invalid("?seq", "is not the number of an event of this tree"))?;
    roots(conn, &parts)
}

/// Returns the proof that the tree of the first `new` events begins with the tree of the first `old` events.
///
/// # Errors
/// `Invalid` if one of them is not a tree of this trail or if the old one is larger, an error of the database.
pub fn consistency(conn: &mut Conn, old: i64, new: i64) -> Result<Vec<[u8; 32]>> {
    if new < 0 || new > tiles::size(conn)? {
        return Err(Error::invalid(
            "?size",
            "is not the size of this trail or of an earlier one",
        ));
    }
    let parts = (old >= 0)
        .then(|| merkle::consistency_parts(old.unsigned_abs(), new.unsigned_abs()))
        .flatten()
        .ok_or_else(|| Error::invalid("?from", "must not be larger than the size"))?;
    roots(conn, &parts)
}

/// Returns the roots of the parts of a proof.
fn roots(conn: &mut Conn, parts: &[Range]) -> Result<Vec<Hash>> {
    parts
        .iter()
        .map(|part| Ok(merkle::joined(&tiles::roots(conn, &merkle::subtrees(*part))?)))
        .collect()
}
