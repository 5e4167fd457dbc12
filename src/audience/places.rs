//! Maps keys to indexes of a list. The keys of a directory are close together, so the indexes are stored in
//! pages of numbers. A lookup in the order of the keys then uses the same page many times.
//!
//! A key that was never stored has no index.

use std::collections::HashMap;

/// The number of keys in a page.
const PAGE: i64 = 32;
/// The key was not requested.
const NONE: u32 = u32::MAX;
/// The key was requested and has no index yet.
const ASKED: u32 = u32::MAX - 1;
/// The largest index. Larger values have other meanings.
const MAX: u32 = ASKED - 1;

/// A map from the keys of rows to the indexes of the rows in a list.
#[derive(Clone, Default)]
pub(super) struct Places {
    pages: HashMap<i64, Box<[u32; PAGE as usize]>>,
}

impl Places {
    fn cell(&mut self, key: i64) -> &mut u32 {
        let page = self
            .pages
            .entry(key.div_euclid(PAGE))
            .or_insert_with(|| Box::new([NONE; PAGE as usize]));
        &mut page[key.rem_euclid(PAGE) as usize]
    }

    /// Stores the index of a key. An index above four billion is not stored, because no list in memory is
    /// that long.
    pub fn put(&mut self, key: i64, place: usize) {
        *self.cell(key) = u32::try_from(place)
            .ok()
            .filter(|place| *place <= MAX)
            .unwrap_or(ASKED);
    }

    /// Marks a key as requested. Returns whether it is the first request.
    pub fn ask(&mut self, key: i64) -> bool {
        let cell = self.cell(key);
        let first = *cell == NONE;
        if first {
            *cell = ASKED;
        }
        first
    }

    /// Returns whether a key was requested and has no index yet.
    pub fn awaits(&self, key: i64) -> bool {
        let page = self.pages.get(&key.div_euclid(PAGE));
        page.is_some_and(|page| page[key.rem_euclid(PAGE) as usize] == ASKED)
    }

    /// Returns the index of a key, if it has one.
    pub fn get(&self, key: i64) -> Option<usize> {
        let page = self.pages.get(&key.div_euclid(PAGE))?;
        let place = page[key.rem_euclid(PAGE) as usize];
        (place <= MAX).then_some(place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_place_it_was_given_and_no_other() {
        let mut places = Places::default();
        for (place, key) in [-1, 0, 1, 63, 64, 65, i64::MAX, i64::MIN].into_iter().enumerate() {
            assert!(places.ask(key));
            assert!(!places.ask(key));
            assert_eq!(places.get(key), None);
            assert!(places.awaits(key));
            places.put(key, place);
            assert!(!places.ask(key) && !places.awaits(key));
            assert_eq!(places.get(key), Some(place));
        }
        assert_eq!(places.get(2), None);
        assert_eq!(places.get(-2), None);
        assert!(!places.awaits(2));
    }
}
