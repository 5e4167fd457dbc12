//! The key that signs checkpoints: from the settings, or made at the first start and kept in the database.
//!
//! A key in the database proves little to somebody who distrusts the owner of the database, because the owner has the key too. The
//! checkpoints in emails are independent of it: they stand in mailboxes that the owner cannot change.

use super::note::SigningKey;
use super::write::Tx;
use crate::base::error::{Error, Result};
use crate::db::own_key::OwnKey;

/// Returns the key of the settings, or else the key in the database, which is made if it is missing. It gets the name `origin`.
///
/// # Errors
/// An error of the database, `Invalid` if the origin cannot be a name, `Internal` if the stored key is not one.
pub fn signing_key(tx: &mut Tx<'_>, configured: Option<&SigningKey>, origin: &str) -> Result<SigningKey> {
    if let Some(key) = configured {
        return key.named(origin);
    }
    let text = OwnKey::Checkpoints.stored_or(tx.conn, || SigningKey::generate(origin)?.private_text())?;
    // The key keeps its bytes if the origin changes.
    SigningKey::parse(&text)
        .map_err(|reason| Error::internal(format!("the stored key of the audit trail: {reason}")))?
        .named(origin)
}
