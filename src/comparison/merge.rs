//! Reads both listings in the order of their keys, and decides about each key. It is one ordered merge of the sorted runs of
//! both listings: each row is read once, and of each run only a few blocks are in memory.
//!
//! The merge can be continued after any key, with the same result as without the interruption, because the blocks of a
//! listing do not change.

use std::collections::VecDeque;

use diesel::prelude::*;

use super::judge::{NewFinding, Rules, Side, Verdict};
use super::kind::Counts;
use super::row;
use super::sorted::prefix;
use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::db::schema::comparison_blocks as cb;

/// The number of blocks of a listing that are read ahead, over all of its sorted runs.
const AHEAD: usize = 64;
/// The largest number of blocks of one run that are read at once.
const AT_ONCE: usize = 16;

fn damaged() -> Error {
    Error::internal("the stored rows of a listing are damaged")
}

/// A position in a sorted run.
struct Cursor {
    sorted_run: i64,
    next_seq: i64,
    blocks: VecDeque<Vec<u8>>,
    /// Where the current row begins in the first block, and its length.
    at: usize,
    length: usize,
    /// Where the key of the current row is in the first block.
    key: (usize, usize),
    prefix: u64,
}

impl Cursor {
    fn key(&self) -> &[u8] {
        self.blocks
            .front()
            .map_or(&[], |block| &block[self.key.0..self.key.1])
    }

    fn row(&self) -> &[u8] {
        let end = self.at + self.length;
        self.blocks.front().map_or(&[], |block| &block[self.at..end])
    }
}

/// A listing in the order of its keys.
struct Stream {
    listing: i64,
    cursors: Vec<Cursor>,
    /// The cursors that have a current row, as a heap: the one with the smallest key is the first.
    heap: Vec<usize>,
    at_once: i64,
}

impl Stream {
    /// Opens a listing after a key.
    fn open(conn: &mut Conn, (listing, runs): (i64, i64), after: Option<&[u8]>) -> Result<Stream> {
        let count = usize::try_from(runs).unwrap_or_default();
        let mut stream = Stream {
            listing,
            cursors: Vec::with_capacity(count),
            heap: Vec::with_capacity(count),
            at_once: (AHEAD / count.max(1)).clamp(1, AT_ONCE) as i64,
        };
        for sorted_run in 0..runs {
            let next_seq = match after {
                None => Some(0),
                Some(after) => cb::table
                    .filter(cb::listing_id.eq(listing))
                    .filter(cb::sorted_run.eq(sorted_run))
                    .filter(cb::last_key.gt(after))
                    .select(diesel::dsl::min(cb::seq))
                    .first::<Option<i64>>(conn)?,
            };
            let Some(next_seq) = next_seq else { continue };
            let index = stream.cursors.len();
            stream.cursors.push(Cursor {
                sorted_run,
                next_seq,
                blocks: VecDeque::new(),
                at: 0,
                length: 0,
                key: (0, 0),
                prefix: 0,
            });
            let mut there = stream.advance(conn, index)?;
            while there && after.is_some_and(|after| stream.cursors[index].key() <= after) {
                there = stream.advance(conn, index)?;
            }
            if there {
                stream.heap.push(index);
                let mut place = stream.heap.len() - 1;
                while place > 0 && stream.is_before(place, (place - 1) / 2) {
                    stream.heap.swap(place, (place - 1) / 2);
                    place = (place - 1) / 2;
                }
            }
        }
        Ok(stream)
    }

    /// Moves a cursor to its next row. Returns whether there is one.
    fn advance(&mut self, conn: &mut Conn, index: usize) -> Result<bool> {
        let cursor = &mut self.cursors[index];
        cursor.at += cursor.length;
        cursor.length = 0;
        if cursor
            .blocks
            .front()
            .is_some_and(|block| cursor.at >= block.len())
        {
            cursor.blocks.pop_front();
            cursor.at = 0;
        }
        if cursor.blocks.is_empty() {
            let blocks: Vec<Vec<u8>> = cb::table
                .filter(cb::listing_id.eq(self.listing))
                .filter(cb::sorted_run.eq(cursor.sorted_run))
                .filter(cb::seq.ge(cursor.next_seq))
                .order(cb::seq)
                .limit(self.at_once)
                .select(cb::content)
                .load(conn)?;
            cursor.next_seq += blocks.len() as i64;
            cursor.blocks = blocks.into();
        }
        let Some(block) = cursor.blocks.front() else {
            return Ok(false);
        };
        let row = &block[cursor.at..];
        let (key, length) = row::key_of(row).ok_or_else(damaged)?;
        cursor.prefix = prefix(&row[key.clone()]);
        cursor.key = (cursor.at + key.start, cursor.at + key.end);
        cursor.length = length;
        Ok(true)
    }

    /// Returns whether the row of one place of the heap comes before that of another. Rows with the same key are in the order
    /// of their runs, which is the order of their lines.
    fn is_before(&self, one: usize, other: usize) -> bool {
        let (a, b) = (self.heap[one], self.heap[other]);
        let (one, other) = (&self.cursors[a], &self.cursors[b]);
        let order = one
            .prefix
            .cmp(&other.prefix)
            .then_with(|| one.key().cmp(other.key()));
        order.then(a.cmp(&b)).is_lt()
    }

    /// Returns the smallest key that is left.
    fn key(&self) -> Option<(u64, &[u8])> {
        let cursor = &self.cursors[*self.heap.first()?];
        Some((cursor.prefix, cursor.key()))
    }

    /// Returns the row with the smallest key.
    fn row(&self) -> Result<&[u8]> {
        let first = self.heap.first().ok_or_else(damaged)?;
        Ok(self.cursors[*first].row())
    }

    /// Leaves the row with the smallest key behind.
    fn next(&mut self, conn: &mut Conn) -> Result<()> {
        let Some(&first) = self.heap.first() else {
            return Ok(());
        };
        if !self.advance(conn, first)? {
            self.heap.swap_remove(0);
        }
        let mut place = 0;
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let mut smallest = place;
            if left < self.heap.len() && self.is_before(left, smallest) {
                smallest = left;
            }
            if right < self.heap.len() && self.is_before(right, smallest) {
                smallest = right;
            }
            if smallest == place {
                return Ok(());
            }
            self.heap.swap(place, smallest);
            place = smallest;
        }
    }
}

/// Both listings, at a key.
pub struct Merge {
    rules: Rules,
    expected: Stream,
    observed: Stream,
    ours: Side,
    theirs: Side,
    key: Vec<u8>,
}

/// What a part of the merge has found.
pub struct Part {
    /// The findings, in the order of their keys.
    pub findings: Vec<NewFinding>,
    /// What was decided about the keys that were asked for, with the observed values: the place in the list that was given, and the
    /// decision.
    pub watched: Vec<(usize, Verdict, String)>,
    /// The number of rows that were read.
    pub rows: u64,
    /// The number of keys whose columns are all equal.
    pub equal: u64,
    /// The last key that was decided about.
    pub last_key: Vec<u8>,
    /// Whether this was the last part.
    pub is_last: bool,
}

/// How large a part may become.
pub struct Limits {
    /// The number of rows after which the part ends.
    pub rows: u64,
    /// The number of findings after which the part ends.
    pub findings: usize,
}

impl Merge {
    /// Opens both listings after a key. A listing is its number and the number of its sorted runs.
    ///
    /// # Errors
    /// An error of the database.
    pub fn open(
        conn: &mut Conn,
        rules: Rules,
        expected: (i64, i64),
        observed: (i64, i64),
        after: Option<&[u8]>,
    ) -> Result<Merge> {
        Ok(Merge {
            rules,
            expected: Stream::open(conn, expected, after)?,
            observed: Stream::open(conn, observed, after)?,
            ours: Side::default(),
            theirs: Side::default(),
            key: Vec::new(),
        })
    }

    /// Decides about the next keys. `watched` are keys in their order; what is decided about each of them is returned.
    /// The part ends before the first key above `until`, if there is one.
    ///
    /// # Errors
    /// An error of the database.
    pub fn part(
        &mut self,
        conn: &mut Conn,
        limits: &Limits,
        watched: &[Vec<u8>],
        until: Option<&[u8]>,
    ) -> Result<Part> {
        let mut part = Part {
            findings: Vec::new(),
            watched: Vec::new(),
            rows: 0,
            equal: 0,
            last_key: Vec::new(),
            is_last: false,
        };
        let mut next_watched = 0;
        loop {
            let smallest = match (self.expected.key(), self.observed.key()) {
                (None, None) => None,
                (Some(key), None) | (None, Some(key)) => Some(key.1),
                (Some(ours), Some(theirs)) => Some(ours.min(theirs).1),
            };
            let Some(smallest) = smallest else {
                part.is_last = true;
                break;
            };
            if part.rows >= limits.rows
                || part.findings.len() >= limits.findings
                || until.is_some_and(|until| smallest > until)
            {
                break;
            }
            self.key.clear();
            self.key.extend_from_slice(smallest);
            let verdict = self.decide(conn, &mut part)?;
            part.equal += u64::from(verdict == Verdict::Equal);
            while watched.get(next_watched).is_some_and(|key| *key < self.key) {
                next_watched += 1;
            }
            while watched.get(next_watched).is_some_and(|key| *key == self.key) {
                let seen = self.rules.seen(verdict, &self.theirs);
                part.watched.push((next_watched, verdict, seen));
                next_watched += 1;
            }
        }
        part.last_key.extend_from_slice(&self.key);
        Ok(part)
    }

    /// Gathers all rows of the current key, and decides about it.
    fn decide(&mut self, conn: &mut Conn, part: &mut Part) -> Result<Verdict> {
        let Merge {
            rules,
            expected,
            observed,
            ours,
            theirs,
            key,
        } = self;
        let mut found = |finding| part.findings.push(finding);
        let mark = prefix(key);
        ours.clear();
        theirs.clear();
        while expected.key().is_some_and(|at| at == (mark, key.as_slice())) {
            let packed = expected.row()?;
            let (row, _) = row::unpack(packed).ok_or_else(damaged)?;
            rules.gather_expected(ours, &row, packed, &mut found);
            part.rows += 1;
            expected.next(conn)?;
        }
        while observed.key().is_some_and(|at| at == (mark, key.as_slice())) {
            let packed = observed.row()?;
            let (row, _) = row::unpack(packed).ok_or_else(damaged)?;
            rules.gather_observed(theirs, &row, packed);
            part.rows += 1;
            observed.next(conn)?;
        }
        Ok(rules.judge(ours, theirs, &mut found))
    }
}

impl Part {
    /// Adds what this part has found to the counts of the run.
    pub fn count(&self, counts: &mut Counts) {
        counts.equal += self.equal;
        for finding in &self.findings {
            counts.add(finding.kind);
        }
    }
}
