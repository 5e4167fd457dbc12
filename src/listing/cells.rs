//! The cells of one line that are needed, whatever the format of the listing.

use std::borrow::Cow;

use super::layout::Layout;
use super::wanted::Wanted;
use crate::base::error::Result;

/// The longest value of a key or an ID, in bytes. PostgreSQL cannot index longer ones.
pub(super) const MAX_KEY: usize = 2_048;
/// The longest value of another column, in bytes.
pub(super) const MAX_VALUE: usize = 8_192;

/// One cell. Its text is reused for the next line.
#[derive(Debug, Default)]
pub(super) struct Cell {
    text: String,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Absent,
    Present,
    Wrong(&'static str),
}

impl Cell {
    /// Forgets the value of the line before.
    pub fn clear(&mut self) {
        self.text.clear();
        self.state = State::Absent;
    }

    /// Sets the text. An empty text is no value.
    pub fn set(&mut self, text: &str) {
        self.text.clear();
        self.text.push_str(text);
        self.state = if text.is_empty() {
            State::Absent
        } else {
            State::Present
        };
    }

    /// Sets the text from bytes, which must be UTF-8.
    pub fn set_bytes(&mut self, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.set(text),
            Err(_) => self.wrong(&String::from_utf8_lossy(bytes), "is not UTF-8"),
        }
    }

    /// Marks a value that cannot be a value of the column.
    pub fn wrong(&mut self, text: &str, reason: &'static str) {
        self.text.clear();
        self.text.push_str(text);
        self.state = State::Wrong(reason);
    }

    /// Returns the text of the cell, `None` for no value.
    ///
    /// # Errors
    /// What the cell contains, and why it is not a value.
    pub fn get(&self) -> std::result::Result<Option<&str>, (&str, &'static str)> {
        match self.state {
            State::Absent => Ok(None),
            State::Present if self.text.contains('\0') => Err((&self.text, "contains a NUL character")),
            State::Present => Ok(Some(&self.text)),
            State::Wrong(reason) => Err((&self.text, reason)),
        }
    }
}

/// A column of the listing that is needed.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// The name of the column in the listing.
    pub name: String,
    /// Whether the listing must have the column.
    pub needed: bool,
}

/// The columns of a listing that are needed. Each of them has one cell.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// The columns, each once.
    pub all: Vec<Slot>,
    /// The place of the key.
    pub key: usize,
    /// The place of the ID.
    pub id: usize,
    /// The place of the column that says whether an entry was deleted.
    pub gone: Option<usize>,
    /// The place of the time at which an entry was written.
    pub written_at: Option<usize>,
    /// The places of the compared columns.
    pub compare: Vec<usize>,
}

impl Slots {
    pub fn of(layout: &Layout, wanted: &Wanted<'_>) -> Self {
        let mut all: Vec<Slot> = Vec::new();
        let mut place = |name: &str, needed: bool| match all.iter_mut().position(|slot| slot.name == name) {
            Some(at) => {
                all[at].needed |= needed;
                at
            }
            None => {
                all.push(Slot {
                    name: name.to_owned(),
                    needed,
                });
                all.len() - 1
            }
        };
        let key = place(layout.name_of(wanted.key), true);
        let id = place(layout.name_of(wanted.id), wanted.id_required);
        let gone = layout.gone.as_ref().map(|gone| place(&gone.column, true));
        let written_at = layout.written_at.as_ref().map(|name| place(name, true));
        let compare = wanted
            .compare
            .iter()
            .map(|column| place(layout.name_of(&column.name), true))
            .collect();
        Slots {
            all,
            key,
            id,
            gone,
            written_at,
            compare,
        }
    }

    /// Returns as many empty cells as there are columns.
    pub fn cells(&self) -> Vec<Cell> {
        self.all.iter().map(|_| Cell::default()).collect()
    }

    /// Returns the place of a column of the listing.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|slot| slot.name == name)
    }
}

/// What a reader found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A line, whose cells are set. The number is that of the line, from 1.
    Line(u64),
    /// A line that is not about an entry that exists now, such as a folder.
    LeftOut,
    /// A line that cannot be read, and why.
    Rejected(u64, Cow<'static, str>),
    /// The listing is complete.
    End,
}

/// Reads the lines of one format.
pub(super) trait Source {
    /// Reads the next line into the cells, which are empty.
    ///
    /// # Errors
    /// `Invalid` if the listing cannot be read any further.
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next>;
}
