//! The keys that Candor makes for a database at their first use. They are rows of the table `settings`, and are encrypted like every
//! other secret if a key for that is set.

use diesel::prelude::*;

use super::dialect::on_backend;
use super::{Conn, schema::settings};
use crate::base::error::{Error, Result};
use crate::base::sealed::{open, seal};

/// The keys that are stored in this way. `candor rotate-key` encrypts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnKey {
    /// Signs links and sessions, if the settings have no key for it.
    Links,
    /// Signs the checkpoints of the audit trail, if the settings have no key for it.
    Checkpoints,
    /// Makes the hashes of users in errors.
    Users,
    /// Makes the hashes of erased people.
    Erased,
    /// Makes the salts of the rows of evidence.
    Salts,
}

impl OwnKey {
    /// All keys that Candor makes for a database.
    pub const ALL: [OwnKey; 5] = [
        OwnKey::Links,
        OwnKey::Checkpoints,
        OwnKey::Users,
        OwnKey::Erased,
        OwnKey::Salts,
    ];

    /// Returns the name of its row.
    pub fn name(self) -> &'static str {
        match self {
            OwnKey::Links => "secret_key",
            OwnKey::Checkpoints => "audit_key",
            OwnKey::Users => "people_key",
            OwnKey::Erased => "erasure_key",
            OwnKey::Salts => "row_salt_key",
        }
    }

    fn place(self) -> String {
        format!("settings.value/{}", self.name())
    }

    /// Returns the stored key. `None` if it was not made yet.
    ///
    /// # Errors
    /// An error of the database, or `Internal` if the key cannot be decrypted.
    pub fn stored(self, conn: &mut Conn) -> Result<Option<String>> {
        let text: Option<String> = settings::table
            .find(self.name())
            .select(settings::value)
            .first(conn)
            .optional()?;
        text.map(|text| open(&text, &self.place())).transpose()
    }

    /// Returns the stored key, or makes and stores it. If two processes do that at the same time, both return the same key.
    ///
    /// # Errors
    /// An error of the database or of `make`, or `Internal` if the key cannot be encrypted or decrypted.
    pub fn stored_or(self, conn: &mut Conn, make: impl FnOnce() -> Result<String>) -> Result<String> {
        if let Some(key) = self.stored(conn)? {
            return Ok(key);
        }
        let fresh = seal(&make()?, &self.place())?;
        on_backend!(&mut *conn, c => diesel::insert_into(settings::table)
            .values((settings::name.eq(self.name()), settings::value.eq(fresh)))
            .on_conflict(settings::name)
            .do_nothing()
            .execute(c))?;
        self.stored(conn)?
            .ok_or_else(|| Error::internal(format!("the key {} is missing", self.name())))
    }
}
