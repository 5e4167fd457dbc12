//! Where the row of a key lies in a list. Keys of one directory come close together, so places are kept in pages of
//! numbers: whoever asks in the order of the keys looks at one page again and again.
//!
//! Must never happen here: a place for a key that was not given.

use std::collections::HashMap;

/// Keys of a page.
const PAGE: i64 = 32;
/// Nobody has asked for that key.
const NONE: u32 = u32::MAX;
/// It was asked for, and has no place yet.
const ASKED: u32 = u32::MAX - 1;
/// Places above this have other meanings.
const MOST: u32 = ASKED - 1;

/// Places by key.
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

    /// Gives a key its place. One beyond four billion is none: nothing of ours has as many rows in memory.
    pub fn put(&mut self, key: i64, place: usize) {
        *self.cell(key) = u32::try_from(place)
            .ok()
            .filter(|place| *place <= MOST)
            .unwrap_or(ASKED);
    }

    /// Notes that a key is asked for; answers whether it is for the first time.
    pub fn ask(&mut self, key: i64) -> bool {
        let cell = self.cell(key);
        let first = *cell == NONE;
        if first {
            *cell = ASKED;
        }
        first
    }

    /// Whether a key was asked for and has no place yet.
    pub fn awaits(&self, key: i64) -> bool {
        let page = self.pages.get(&key.div_euclid(PAGE));
        page.is_some_and(|page| page[key.rem_euclid(PAGE) as usize] == ASKED)
    }

    /// The place of a key, where it has one.
    pub fn get(&self, key: i64) -> Option<usize> {
        let page = self.pages.get(&key.div_euclid(PAGE))?;
        let place = page[key.rem_euclid(PAGE) as usize];
        (place <= MOST).then_some(place as usize)
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
