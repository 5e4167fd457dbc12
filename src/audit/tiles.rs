//! The roots of the complete parts of the Merkle tree. They are computed from the events after the events were written, so that
//! writing an event costs nothing more.
//!
//! The layout is C2SP `tlog-tiles`: a tile has 256 hashes. The hashes of level 0 are the leaves, and the hashes of each other level
//! are the roots of the tiles below. The table has one row for each complete tile, with its root. So each hash of the tree above
//! level 0 is stored once, and the leaves are the events.
//!
//! - Everything is right also if no tile is stored yet. It is only slower.
//! - `verify` computes the tiles again from the events and compares them.

use diesel::prelude::*;

use super::merkle::{Frontier, Hash, leaf_hash};
use super::tile_path::{Content, TilePath, WIDTH};
use crate::base::error::{Error, Result};
use crate::db::dialect::{self, on_backend};
use crate::db::schema::{audit_events as e, audit_head, audit_tiles as t};
use crate::db::{Conn, Db};

/// The number of levels of the tree that one tile spans.
const SPAN: u32 = 8;
/// The highest level of tiles that a trail can need.
const TOP: i64 = 6;
/// The number of tiles of level 0 that one transaction stores.
const STEP: i64 = 128;

/// Returns 32 bytes of a hash, from hexadecimal text in lower case.
pub(super) fn bytes_of(text: &str) -> Option<Hash> {
    let mut bytes = [0_u8; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

fn missing(first: i64, count: i64) -> Error {
    Error::internal(format!(
        "the events {} to {} are not all stored; verify the trail",
        first + 1,
        first + count
    ))
}

/// Returns the hash of the leaf of an event, from its hash in the chain.
///
/// # Errors
/// `Internal` if the stored hash is not one.
pub(super) fn leaf_of(hash: &str) -> Result<Hash> {
    bytes_of(hash)
        .map(|bytes| leaf_hash(&bytes))
        .ok_or_else(|| Error::internal("an event is stored without a hash; verify the trail"))
}

/// Returns the number of events that are stored.
///
/// # Errors
/// An error of the database.
pub fn size(conn: &mut Conn) -> Result<i64> {
    Ok(audit_head::table.select(audit_head::seq).first(conn)?)
}

/// Reads the leaves of these events. Positions begin at 0.
fn leaves(conn: &mut Conn, first: i64, count: i64) -> Result<Vec<Hash>> {
    let hashes: Vec<String> = e::table
        .filter(e::seq.gt(first).and(e::seq.le(first + count)))
        .order(e::seq)
        .select(e::hash)
        .load(conn)?;
    if hashes.len() as i64 != count {
        return Err(missing(first, count));
    }
    hashes.iter().map(|hash| leaf_of(hash)).collect()
}

/// Returns hashes of a level of tiles, all of which are roots of complete parts of the tree. Roots that are not stored yet are
/// computed from the level below.
///
/// # Errors
/// An error of the database, `Internal` if an event is missing.
pub fn hashes(conn: &mut Conn, level: i64, first: i64, count: i64) -> Result<Vec<Hash>> {
    if level == 0 {
        return leaves(conn, first, count);
    }
    let stored: Vec<(i64, Vec<u8>)> = t::table
        .filter(t::level.eq(level - 1))
        .filter(t::number.ge(first).and(t::number.lt(first + count)))
        .order(t::number)
        .select((t::number, t::root))
        .load(conn)?;
    let mut found = Vec::with_capacity(stored.len());
    for (number, root) in stored {
        // Tiles are stored without gaps, so only the last ones can be missing.
        if number != first + found.len() as i64 {
            break;
        }
        let root = Hash::try_from(root.as_slice())
            .map_err(|_| Error::internal("a tile of the audit trail has no root; verify the trail"))?;
        found.push(root);
    }
    for number in first + found.len() as i64..first + count {
        let below = hashes(conn, level - 1, number * WIDTH, WIDTH)?;
        found.push(super::merkle::root_from(&below));
    }
    Ok(found)
}

/// Returns the bytes of a tile, if the trail has all of its hashes or entries today. A hash has 32 bytes. An entry is the hash of an
/// event in the chain, with its length (two bytes) before it.
///
/// # Errors
/// An error of the database, `Internal` if an event is missing.
pub fn content(conn: &mut Conn, path: &TilePath) -> Result<Option<Vec<u8>>> {
    let level = match path.content {
        Content::Hashes(level) => level,
        Content::Entries => 0,
    };
    // The number of events that the tile spans up to its end. A number that is too large for the type is in no trail.
    let end = path
        .number
        .checked_mul(WIDTH)
        .and_then(|first| first.checked_add(path.width));
    let events = WIDTH
        .checked_pow(level)
        .zip(end)
        .and_then(|(span, end)| span.checked_mul(end));
    let there = size(conn)?;
    if events.is_none_or(|events| events > there) {
        return Ok(None);
    }
    let first = path.number * WIDTH;
    let mut bytes = Vec::new();
    match path.content {
        Content::Hashes(level) => {
            for hash in hashes(conn, level.into(), first, path.width)? {
                bytes.extend_from_slice(&hash);
            }
        }
        Content::Entries => {
            let hashes: Vec<String> = e::table
                .filter(e::seq.gt(first).and(e::seq.le(first + path.width)))
                .order(e::seq)
                .select(e::hash)
                .load(conn)?;
            if hashes.len() as i64 != path.width {
                return Err(missing(first, path.width));
            }
            for hash in hashes {
                let hash = bytes_of(&hash)
                    .ok_or_else(|| Error::internal("an event is stored without a hash; verify the trail"))?;
                bytes.extend_from_slice(&32_u16.to_be_bytes());
                bytes.extend_from_slice(&hash);
            }
        }
    }
    Ok(Some(bytes))
}

/// Returns the roots of complete subtrees. Each is given as its height and its position among the subtrees of this height.
///
/// # Errors
/// An error of the database, `Internal` if an event is missing.
pub(super) fn roots(conn: &mut Conn, subtrees: &[(u32, u64)]) -> Result<Vec<Hash>> {
    let mut found = Vec::with_capacity(subtrees.len());
    let mut rest = subtrees;
    while let Some((height, index)) = rest.first() {
        let level = height / SPAN;
        // Subtrees that follow each other in one level of tiles are read together.
        let mut together = 0;
        let begin = index << (height % SPAN);
        let mut end = begin;
        for (height, index) in rest {
            if height / SPAN != level || index << (height % SPAN) != end {
                break;
            }
            end += 1 << (height % SPAN);
            together += 1;
        }
        let (now, later) = rest.split_at(together);
        rest = later;
        let mut below = hashes(
            conn,
            level.into(),
            begin.cast_signed(),
            (end - begin).cast_signed(),
        )?
        .into_iter();
        for (height, _) in now {
            let mut tree = Frontier::default();
            below
                .by_ref()
                .take(1 << (height % SPAN))
                .for_each(|hash| tree.push(hash));
            found.push(tree.root());
        }
    }
    Ok(found)
}

/// Compares the stored tiles with the roots of all complete tiles of level 0, which were computed from the events. Returns the last
/// event of a tile that is wrong, and why. Tiles behind these roots are not compared, because their events were written later.
///
/// # Errors
/// An error of the database.
pub(super) fn compare(conn: &mut Conn, roots: &[Hash]) -> Result<Option<(i64, String)>> {
    let mut level = 0;
    let mut right = roots.to_vec();
    while !right.is_empty() {
        let stored: Vec<(i64, Vec<u8>)> = t::table
            .filter(t::level.eq(level).and(t::number.lt(right.len() as i64)))
            .order(t::number)
            .select((t::number, t::root))
            .load(conn)?;
        for (at, (number, root)) in stored.iter().enumerate() {
            let last = (number + 1) * WIDTH.pow(level as u32 + 1);
            if *number != at as i64 {
                return Ok(Some((last, "a tile of the tree is missing before it".to_owned())));
            }
            if right
                .get(at)
                .is_none_or(|right| right.as_slice() != root.as_slice())
            {
                return Ok(Some((
                    last,
                    "the tile of the tree that ends with it does not match the events".to_owned(),
                )));
            }
        }
        right = right
            .chunks_exact(WIDTH as usize)
            .map(super::merkle::root_from)
            .collect();
        level += 1;
    }
    Ok(None)
}

/// Returns the number of complete tiles of a level that are stored.
fn stored(conn: &mut Conn, level: i64) -> Result<i64> {
    let last: Option<i64> = t::table
        .filter(t::level.eq(level))
        .order(t::number.desc())
        .select(t::number)
        .first(conn)
        .optional()?;
    Ok(last.map_or(0, |last| last + 1))
}

/// Stores the tiles that became complete since the last time. Several processes may do it at once. It reads before it takes the
/// lock of the writers, so that writers wait only for the insert of some rows.
///
/// # Errors
/// An error of the database.
pub async fn catch_up(db: &Db) -> Result<()> {
    loop {
        let (first, roots) = db
            .read(|conn| {
                let first = stored(conn, 0)?;
                let complete = size(conn)? / WIDTH;
                let mut roots = Vec::new();
                for number in first..complete.min(first + STEP) {
                    roots.push(super::merkle::root_from(&leaves(conn, number * WIDTH, WIDTH)?));
                }
                Ok((first, roots))
            })
            .await?;
        if roots.is_empty() {
            return Ok(());
        }
        db.transaction(move |conn| store(conn, first, &roots)).await?;
    }
}

/// Stores tiles of level 0, and the tiles above that become complete by them.
fn store(conn: &mut Conn, first: i64, roots: &[Hash]) -> Result<()> {
    dialect::lock_tiles(conn)?;
    // Another process may have stored some of them.
    let there = stored(conn, 0)?;
    let known = usize::try_from(there - first)
        .map_err(|_| Error::internal("tiles of the audit trail are missing"))?
        .min(roots.len());
    insert(conn, 0, there, &roots[known..])?;
    for level in 1..=TOP {
        let complete = stored(conn, level - 1)? / WIDTH;
        let there = stored(conn, level)?;
        let mut above = Vec::new();
        for number in there..complete {
            above.push(super::merkle::root_from(&hashes(
                conn,
                level,
                number * WIDTH,
                WIDTH,
            )?));
        }
        if above.is_empty() {
            break;
        }
        insert(conn, level, there, &above)?;
    }
    Ok(())
}

fn insert(conn: &mut Conn, level: i64, first: i64, roots: &[Hash]) -> Result<()> {
    let rows: Vec<_> = (first..)
        .zip(roots)
        .map(|(number, root)| {
            (
                t::level.eq(level),
                t::number.eq(number),
                t::root.eq(root.as_slice()),
            )
        })
        .collect();
    on_backend!(&mut *conn, c => diesel::insert_into(t::table).values(&rows).execute(c))?;
    Ok(())
}
