//! Details that could not be read: one of them must not cost the alert. The readers note them here, and whoever reads a
//! request collects them.

use std::cell::RefCell;

/// Notes of one body.
const MOST: usize = 20;

thread_local! {
    static NOTES: RefCell<Option<Vec<Note>>> = const { RefCell::new(None) };
}

/// A detail that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Where it is in the body.
    pub at: String,
    /// Why it could not be read.
    pub reason: String,
}

/// Notes that a detail is left out.
pub(super) fn note(at: &str, reason: &str) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes.as_mut().filter(|notes| notes.len() < MOST) {
            notes.push(Note {
                at: at.to_owned(),
                reason: crate::base::text::one_line(reason, 200),
            });
        }
    });
}

/// Reads something, and collects what is noted meanwhile.
pub(super) fn collecting<T>(read: impl FnOnce() -> T) -> (T, Vec<Note>) {
    NOTES.set(Some(Vec::new()));
    let done = read();
    (done, NOTES.take().unwrap_or_default())
}
