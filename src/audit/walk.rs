//! Reads a part of the trail and checks every event in it: its number, its link to the event before, and its hash. It also computes
//! the part of the Merkle tree over these events.
//!
//! An erasure changes what stands in an event and keeps its hash. The event of the erasure contains the hash of what stands there now. The
//! chain and the tree are made of the hashes that were recorded, so they stay as they were.
//!
//! Parts are independent of each other, so several connections walk different parts at the same time. [`Joined`] puts them together
//! in order.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::erased::Erasures;
use super::merkle::{Frontier, Hash, leaf_hash};
use super::tile_path::WIDTH;
use super::tiles::bytes_of;
use super::write::{EventRow, rows_after};
use crate::base::error::Result;
use crate::db::Conn;

/// The number of events of a part. It is a multiple of the width of a tile.
pub(super) const STEP: i64 = 32 * WIDTH;
/// The number of events of a part that are in memory at once. They fit into the cache of a core.
const READ: i64 = 512;

/// What is wrong in a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The number of the first wrong event.
    pub(super) at: i64,
    /// Why it is wrong.
    pub(super) reason: String,
    /// The number and the hash of the last event that is right, if it belongs to the same part.
    pub(super) before: Option<(i64, String)>,
}

/// A part of the trail in which every event is right.
pub(super) struct Walked {
    /// The hash before the first event, as the first event has it.
    prev: String,
    /// The number and the hash of the last event.
    last: (i64, String),
    /// The roots of the complete tiles.
    tiles: Vec<Hash>,
    /// The tree over the events behind the last complete tile.
    rest: Frontier,
    /// Sizes for which the root is wanted, each with the tree over the events behind the last complete tile of this size.
    sizes: Vec<(i64, Frontier)>,
}

/// Walks the events after the number `after`, which is a multiple of the width of a tile, up to the number `upto`. `check` checks
/// what belongs to an event outside the chain, and returns what is wrong with it. `wanted` are sizes in order for which the root of
/// the tree is needed. `erasures` says what must stand in an event that was redacted.
///
/// # Errors
/// An error of the database. A broken part is a result.
pub(super) fn walk(
    conn: &mut Conn,
    (after, upto): (i64, i64),
    wanted: &[i64],
    erasures: &Erasures,
    mut check: impl FnMut(&mut Conn, &EventRow) -> Result<Option<String>>,
) -> Result<std::result::Result<Walked, Broken>> {
    let mut wanted = wanted[wanted.partition_point(|size| *size <= after)..]
        .iter()
        .peekable();
    let mut walked = Walked {
        prev: String::new(),
        last: (after, String::new()),
        tiles: Vec::new(),
        rest: Frontier::default(),
        sizes: Vec::new(),
    };
    let mut canonical = Vec::with_capacity(4 * 1024);
    while walked.last.0 < upto {
        let rows = rows_after(conn, walked.last.0, READ.min(upto - walked.last.0))?;
        if rows.is_empty() {
            let missing = walked.last.0 + 1;
            return Ok(Err(walked.broken(missing, format!("event {missing} is missing"))));
        }
        for row in rows {
            let expected = walked.last.0 + 1;
            if row.seq != expected {
                return Ok(Err(
                    walked.broken(expected, format!("event {expected} is missing"))
                ));
            }
            if walked.last.0 == after {
                walked.prev.clone_from(&row.prev_hash);
            } else if row.prev_hash != walked.last.1 {
                return Ok(Err(walked.broken(row.seq, NOT_LINKED.to_owned())));
            }
            canonical.clear();
            row.write_canonical(&mut canonical)?;
            let content: Hash = Sha256::digest(&canonical).into();
            // What stands in a redacted event is in a later event, which is verified too.
            let expected = erasures.content_of(row.seq).unwrap_or(&row.hash);
            let (Some(hash), true) = (bytes_of(&row.hash), bytes_of(expected) == Some(content)) else {
                return Ok(Err(
                    walked.broken(row.seq, "its content does not match its hash".to_owned())
                ));
            };
            if let Some(reason) = check(conn, &row)? {
                return Ok(Err(walked.broken(row.seq, reason)));
            }
            walked.rest.push(leaf_hash(&hash));
            if walked.rest.size() == WIDTH.unsigned_abs() {
                walked.tiles.push(walked.rest.root());
                walked.rest = Frontier::default();
            }
            if wanted.next_if(|size| **size == row.seq).is_some() {
                walked.sizes.push((row.seq, walked.rest.clone()));
            }
            walked.last = (row.seq, row.hash);
        }
    }
    Ok(Ok(walked))
}

const NOT_LINKED: &str = "it does not contain the hash of the previous event";

impl Walked {
    fn broken(&self, at: i64, reason: String) -> Broken {
        Broken {
            at,
            reason,
            before: (!self.last.1.is_empty()).then(|| self.last.clone()),
        }
    }
}

/// The parts of the trail that were walked so far, from its beginning.
pub(super) struct Joined {
    /// The number and the hash of the last event.
    pub(super) last: (i64, String),
    /// The roots of the complete tiles of level 0.
    pub(super) tiles: Vec<Hash>,
    /// The roots of the tree for the sizes that were wanted.
    pub(super) roots: BTreeMap<i64, Hash>,
    tree: Frontier,
}

impl Joined {
    /// The trail before its first event.
    pub(super) fn beginning(wanted: &[i64]) -> Joined {
        let tree = Frontier::default();
        let none = (wanted.first() == Some(&0)).then(|| (0, tree.root()));
        Joined {
            last: (0, "0".repeat(64)),
            tiles: Vec::new(),
            roots: none.into_iter().collect(),
            tree,
        }
    }

    /// Adds the next part.
    ///
    /// # Errors
    /// What is wrong, if the part does not follow the one before.
    pub(super) fn add(&mut self, part: Walked) -> std::result::Result<(), Broken> {
        if part.prev != self.last.1 {
            return Err(Broken {
                at: self.last.0 + 1,
                reason: NOT_LINKED.to_owned(),
                before: None,
            });
        }
        let mut sizes = part.sizes.into_iter().peekable();
        let mut note = |tree: &Frontier, roots: &mut BTreeMap<i64, Hash>| {
            let here = tree.size();
            while let Some((size, rest)) =
                sizes.next_if(|(size, rest)| size.unsigned_abs() - rest.size() == here)
            {
                let mut tree = tree.clone();
                tree.append(&rest);
                roots.insert(size, tree.root());
            }
        };
        note(&self.tree, &mut self.roots);
        for tile in &part.tiles {
            self.tree.push_subtree(WIDTH.trailing_zeros(), *tile);
            note(&self.tree, &mut self.roots);
        }
        self.tree.append(&part.rest);
        self.tiles.extend(part.tiles);
        self.last = part.last;
        Ok(())
    }

    /// Returns the root of the tree over all events so far.
    pub(super) fn root(&self) -> Hash {
        self.tree.root()
    }
}
