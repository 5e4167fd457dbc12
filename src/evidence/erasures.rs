//! Which notices and batches of attempts an erasure changed after they were recorded. Their digests cannot be compared any more. The event
//! of an erasure names each of them.

use diesel::prelude::*;

use crate::base::error::Result;
use crate::db::Conn;
use crate::db::schema::audit_events as e;

/// The actions that erase personal data.
const ACTIONS: [&str; 2] = ["person.erased", "retention.applied"];

/// What the events of all erasures say.
pub(super) struct Erasures(Vec<String>);

impl Erasures {
    /// Reads the events.
    ///
    /// # Errors
    /// An error of the database.
    pub fn read(conn: &mut Conn) -> Result<Self> {
        let said: Vec<Option<String>> = e::table
            .filter(e::action.eq_any(ACTIONS))
            .order(e::seq)
            .select(e::after_json)
            .load(conn)?;
        Ok(Erasures(said.into_iter().flatten().collect()))
    }

    /// Returns whether an erasure changed a notice or a batch.
    pub fn changed(&self, id: &str) -> bool {
        self.0.iter().any(|said| said.contains(id))
    }
}
