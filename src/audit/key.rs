//! The key that signs checkpoints: from the settings, or made at the first start and kept in the database.
//!
//! A key in the database proves little to somebody who distrusts the owner of the database, because the owner has the key too. The
//! checkpoints in emails are independent of it: they stand in mailboxes that the owner cannot change.

use diesel::prelude::*;

use super::note::SigningKey;
use super::write::Tx;
use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::settings;

/// The row of the settings in the database that holds the key.
const KEY: &str = "audit_key";

/// Returns the key of the settings, or else the key in the database, which is made if it is missing. It gets the name `origin`.
///
/// # Errors
/// An error of the database, `Invalid` if the origin cannot be a name, `Internal` if the stored key is not one.
pub fn signing_key(tx: &mut Tx<'_>, configured: Option<&SigningKey>, origin: &str) -> Result<SigningKey> {
    if let Some(key) = configured {
        return key.named(origin);
    }
    if let Some(key) = stored(tx.conn, origin)? {
        return Ok(key);
    }
    let fresh = SigningKey::generate(origin)?.private_text()?;
    on_backend!(&mut *tx.conn, c => diesel::insert_into(settings::table)
        .values((settings::name.eq(KEY), settings::value.eq(fresh)))
        .on_conflict(settings::name)
        .do_nothing()
        .execute(c))?;
    stored(tx.conn, origin)?.ok_or_else(|| Error::internal("the key of the audit trail is missing"))
}

/// Returns the key in the database under this name, if there is one.
fn stored(conn: &mut Conn, origin: &str) -> Result<Option<SigningKey>> {
    let text: Option<String> = settings::table
        .find(KEY)
        .select(settings::value)
        .first(conn)
        .optional()?;
    // The key keeps its bytes if the origin changes.
    text.map(|text| {
        SigningKey::parse(&text)
            .map_err(|reason| Error::internal(format!("the stored key of the audit trail: {reason}")))?
            .named(origin)
    })
    .transpose()
}
