//! The claim of a process on something that is stored: the run of a source, or a message to an operator. The delivery queue
//! claims many rows with one statement and has its own form of this (`delivery/queue`).
//!
//! A claim is two columns of the row: the ID of the lease, and the time when the lease ends. After that time, another process
//! may claim the row, because the process that held it has probably died. A process that stores an outcome therefore asks
//! in the same statement for the ID of its lease. If the row has another one, the outcome of this process does not count.

use std::time::Duration;

use crate::base::id::new_uuid;
use crate::base::time::Timestamp;

/// A claim with a limited duration.
#[derive(Clone, Debug)]
pub struct Lease {
    id: String,
    length: Duration,
}

impl Lease {
    /// Creates a lease with a new ID, which no other process has.
    pub fn new(now: Timestamp, length: Duration) -> Lease {
        Lease {
            id: new_uuid(now).to_string(),
            length,
        }
    }

    /// Returns the ID, which is stored in the row.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the time when the lease ends if it is taken or renewed now.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        now.plus(self.length)
    }

    /// Returns the time that may pass before the holder must renew the lease. It leaves room for three failed attempts.
    pub fn renew_after(&self) -> Duration {
        self.length / 4
    }
}
