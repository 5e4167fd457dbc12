//! What the page of a file shows. It is collected while the files are written, up to a limit for each list, because a page with a hundred
//! thousand rows can be neither read nor printed. The tables in `data/` always have everything.

use std::collections::BTreeMap;

use crate::base::id::NoticeId;
use crate::base::time::Timestamp;

/// The largest number of rows of each list on the page.
const ROWS: usize = 200;

/// An entry of the timeline.
pub(super) struct Entry {
    pub at: Timestamp,
    pub kind: String,
    pub text: String,
    pub by: String,
}

/// A recipient of a notice, with what became of the email or the call.
pub(super) struct Told {
    pub notice: NoticeId,
    pub name: String,
    pub address: String,
    pub channel: String,
    pub reason: String,
    pub state: String,
    pub sent_at: Option<Timestamp>,
    pub bounced_at: Option<Timestamp>,
    pub reply: String,
    pub email: Option<String>,
    pub withheld: bool,
}

/// An answer of a customer, as the page shows it.
pub(super) struct Answered {
    pub person: String,
    pub answer: Option<String>,
    pub text: String,
    pub at: Timestamp,
}

/// A change of the recovery of a resource.
pub(super) struct Recovered {
    pub resource: String,
    pub state: String,
    pub at: Timestamp,
    pub source: String,
}

/// The rows of a list that are shown, and how many there are in all.
pub(super) struct Shortened<T> {
    pub rows: Vec<T>,
    pub all: usize,
}

impl<T> Default for Shortened<T> {
    fn default() -> Self {
        Shortened {
            rows: Vec::new(),
            all: 0,
        }
    }
}

impl<T> Shortened<T> {
    fn add(&mut self, row: T) {
        self.all += 1;
        if self.rows.len() < ROWS {
            self.rows.push(row);
        }
    }
}

/// Everything that the page shows.
#[derive(Default)]
pub(super) struct Summary {
    pub timeline: Vec<Entry>,
    pub affected: usize,
    pub told: BTreeMap<NoticeId, Shortened<Told>>,
    pub answers: Shortened<Answered>,
    pub recovery: Shortened<Recovered>,
}

impl Summary {
    /// Adds a recipient of a notice. The page shows the first 200 recipients of each notice, and counts all of them.
    pub fn told(&mut self, told: Told) {
        self.told.entry(told.notice.clone()).or_default().add(told);
    }

    /// Adds an answer. The page shows the first 200 answers, and counts all of them.
    pub fn answered(&mut self, answered: Answered) {
        self.answers.add(answered);
    }

    /// Adds a change of the recovery.
    pub fn recovered(&mut self, recovered: Recovered) {
        self.recovery.add(recovered);
    }
}
