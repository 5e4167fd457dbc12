//! Collects the details of a body that could not be read. An alert must not be lost because of one detail, so
//! a parser adds a note here and continues.

use std::cell::RefCell;

/// The number of notes on one body.
const MAX: usize = 20;

thread_local! {
    static NOTES: RefCell<Option<Vec<Note>>> = const { RefCell::new(None) };
}

/// A detail that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// The JSON pointer of the detail in the body.
    pub at: String,
    /// Why the detail could not be read.
    pub reason: String,
}

/// Adds a note that a detail is left out.
pub(super) fn note(at: &str, reason: &str) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes.as_mut().filter(|notes| notes.len() < MAX) {
            notes.push(Note {
                at: at.to_owned(),
                reason: crate::base::text::one_line(reason, 200),
            });
        }
    });
}

/// Runs a parser and returns its result with the notes that it added.
pub(super) fn collecting<T>(read: impl FnOnce() -> T) -> (T, Vec<Note>) {
    NOTES.set(Some(Vec::new()));
    let done = read();
    (done, NOTES.take().unwrap_or_default())
}
