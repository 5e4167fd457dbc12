//! Sorts the rows of a listing in parts that fit into memory. Each part is a sorted run, which is written as blocks. The
//! runs are merged when the listing is compared, so no index over the whole listing is needed.
//!
//! The memory does not grow with the listing.

use super::row;

/// The size of a sorted run in memory, in bytes.
const RUN: usize = 4 << 20;
/// The size from which a block is complete, in bytes.
const BLOCK: usize = 32 << 10;

/// A block of packed rows.
#[derive(Debug)]
pub struct Block {
    /// The key of its last row.
    pub last_key: Vec<u8>,
    /// The rows in the order of their keys, packed one after the other.
    pub content: Vec<u8>,
}

/// The room for the row with which a run or a block becomes large enough. A row is rarely longer; if it is, the buffer grows.
const ROOM: usize = 1 << 10;

/// Where a row is in the buffer. The first bytes of its key stand here too, because most comparisons need no more.
struct Place {
    prefix: u64,
    start: u32,
    end: u32,
}

/// Gathers rows until there are enough for a sorted run.
#[derive(Default)]
pub struct Gatherer {
    packed: Vec<u8>,
    places: Vec<Place>,
}

/// Returns the first eight bytes of a key as a number that sorts in the same way as the bytes.
pub fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = key.len().min(8);
    first[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(first)
}

impl Gatherer {
    /// Adds a row, which `pack` appends to the buffer.
    pub fn add(&mut self, key: &str, pack: impl FnOnce(&mut Vec<u8>)) {
        if self.packed.capacity() == 0 {
            // A buffer that grows by itself would become twice as large.
            self.packed.reserve_exact(RUN + ROOM);
        }
        let start = self.packed.len() as u32;
        pack(&mut self.packed);
        self.places.push(Place {
            prefix: prefix(key.as_bytes()),
            start,
            end: self.packed.len() as u32,
        });
    }

    /// Returns whether the run is large enough.
    pub fn is_full(&self) -> bool {
        self.packed.len() >= RUN
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the rows as sorted blocks, and becomes empty. Rows with the same key keep their order.
    pub fn sorted(&mut self) -> Vec<Block> {
        let packed = &self.packed;
        let bytes = |place: &Place| &packed[place.start as usize..place.end as usize];
        let key = |place: &Place| {
            let row = bytes(place);
            row::key_of(row).map_or(&[][..], |(key, _)| &row[key])
        };
        self.places
            .sort_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(key(b))));
        let mut blocks = Vec::with_capacity(packed.len() / BLOCK + 1);
        let mut content = Vec::with_capacity(BLOCK + ROOM);
        let mut places = self.places.iter().peekable();
        while let Some(place) = places.next() {
            content.extend_from_slice(bytes(place));
            if content.len() >= BLOCK || places.peek().is_none() {
                blocks.push(Block {
                    last_key: key(place).to_vec(),
                    content: std::mem::replace(&mut content, Vec::with_capacity(BLOCK + ROOM)),
                });
            }
        }
        self.packed.clear();
        self.places.clear();
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_in_the_order_of_the_keys() {
        let mut gatherer = Gatherer::default();
        let keys: Vec<String> = (0..20_000)
            .map(|n| format!("key-{}", (n * 7_919) % 10_007))
            .collect();
        for (line, key) in keys.iter().enumerate() {
            gatherer.add(key, |to| {
                row::pack(
                    to,
                    key,
                    (line as u64, false, None),
                    Some(key),
                    [Some("1")].into_iter(),
                );
            });
        }
        let blocks = gatherer.sorted();
        assert!(blocks.len() > 5 && gatherer.is_empty());
        let mut read: Vec<(String, u64)> = Vec::new();
        for block in &blocks {
            let mut rest = block.content.as_slice();
            while let Some((row, length)) = row::unpack(rest) {
                read.push((row.key.to_owned(), row.line));
                rest = &rest[length..];
            }
            assert_eq!(
                read.last().map(|(key, _)| key.as_bytes()),
                Some(block.last_key.as_slice())
            );
        }
        let mut wanted: Vec<(String, u64)> = keys.into_iter().zip(0..).collect();
        wanted.sort();
        assert_eq!(read, wanted);
    }
}
