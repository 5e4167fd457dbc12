//! Secrets at rest: which stored secrets are encrypted, and the rotation of their key. `base::sealed` encrypts them.
//!
//! These are the secrets of integrations and endpoints, the URLs and secrets of directory sources, which contain passwords, the URLs of
//! operators' webhooks, the secrets of feed keys, and the keys that Candor makes itself. API tokens, hooks and heartbeats need no encryption, because only their
//! hashes are stored.

use diesel::prelude::*;
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::sealed::{is_current, is_on, open, seal};
use crate::db::Conn;
use crate::db::own_key::OwnKey;
use crate::db::schema::{
    directory_sources as s, endpoints as e, feed_keys as f, integrations as i, operators as o,
    settings as own,
};

/// A secret as it is stored, encrypted or not, with its table, its column and the ID of its row.
struct Stored {
    table: &'static str,
    column: &'static str,
    id: String,
    text: String,
}

impl Stored {
    fn place(&self) -> String {
        format!("{}.{}/{}", self.table, self.column, self.id)
    }
}

/// Reads all stored secrets. They are few.
fn all(conn: &mut Conn) -> Result<Vec<Stored>> {
    let mut found = Vec::new();
    let mut add = |table, column, id: &str, text: Option<String>| {
        if let Some(text) = text {
            found.push(Stored {
                table,
                column,
                id: id.to_owned(),
                text,
            });
        }
    };
    let rows: Vec<(String, Option<String>, String)> = i::table
        .order(i::id)
        .select((i::id, i::secret, i::secrets))
        .load(conn)?;
    for (id, secret, secrets) in rows {
        add("integrations", "secret", &id, secret);
        add(
            "integrations",
            "secrets",
            &id,
            Some(secrets).filter(|all| all != "[]"),
        );
    }
    let rows: Vec<(String, Option<String>)> = e::table.order(e::id).select((e::id, e::secret)).load(conn)?;
    for (id, secret) in rows {
        add("endpoints", "secret", &id, secret);
    }
    let rows: Vec<(String, String)> = f::table.order(f::id).select((f::id, f::secret)).load(conn)?;
    for (id, secret) in rows {
        add("feed_keys", "secret", &id, Some(secret));
    }
    let rows: Vec<(String, Option<String>)> =
        o::table.order(o::id).select((o::id, o::webhook_url)).load(conn)?;
    for (id, url) in rows {
        add("operators", "webhook_url", &id, url);
    }
    let names: Vec<&str> = OwnKey::ALL.iter().map(|key| key.name()).collect();
    let rows: Vec<(String, String)> = own::table
        .filter(own::name.eq_any(&names))
        .order(own::name)
        .select((own::name, own::value))
        .load(conn)?;
    for (name, value) in rows {
        add("settings", "value", &name, Some(value));
    }
    let rows: Vec<(String, Option<String>, Option<String>)> = s::table
        .order(s::id)
        .select((s::id, s::url, s::secret))
        .load(conn)?;
    for (id, url, secret) in rows {
        add("directory_sources", "url", &id, url);
        add("directory_sources", "secret", &id, secret);
    }
    Ok(found)
}

/// Checks that this process can read every stored secret, and returns how many of them are not encrypted with the present key.
///
/// # Errors
/// `Invalid` if a secret is encrypted with a key that is not set.
pub fn check(conn: &mut Conn) -> Result<usize> {
    let mut others = 0;
    for stored in all(conn)? {
        open(&stored.text, &stored.place())
            .map_err(|error| Error::invalid("encryption_key", error.chain().to_string()))?;
        others += usize::from(is_on() && !is_current(&stored.text));
    }
    Ok(others)
}

/// Encrypts every stored secret with the present key, or decrypts it if no key is set. Returns how many were changed.
///
/// # Errors
/// `Internal` if a secret cannot be decrypted. Then nothing is changed.
pub fn rotate(tx: &mut Tx<'_>) -> Result<usize> {
    let mut changed = 0;
    for stored in all(tx.conn)? {
        if is_current(&stored.text) {
            continue;
        }
        let place = stored.place();
        let text = seal(&open(&stored.text, &place)?, &place)?;
        let id = stored.id.as_str();
        match (stored.table, stored.column) {
            ("integrations", "secret") => diesel::update(i::table.find(id))
                .set(i::secret.eq(Some(text)))
                .execute(tx.conn)?,
            ("integrations", _) => diesel::update(i::table.find(id))
                .set(i::secrets.eq(text))
                .execute(tx.conn)?,
            ("endpoints", _) => diesel::update(e::table.find(id))
                .set(e::secret.eq(Some(text)))
                .execute(tx.conn)?,
            ("feed_keys", _) => diesel::update(f::table.find(id))
                .set(f::secret.eq(text))
                .execute(tx.conn)?,
            ("operators", _) => diesel::update(o::table.find(id))
                .set(o::webhook_url.eq(Some(text)))
                .execute(tx.conn)?,
            ("settings", _) => diesel::update(own::table.find(id))
                .set(own::value.eq(text))
                .execute(tx.conn)?,
            (_, "url") => diesel::update(s::table.find(id))
                .set(s::url.eq(Some(text)))
                .execute(tx.conn)?,
            _ => diesel::update(s::table.find(id))
                .set(s::secret.eq(Some(text)))
                .execute(tx.conn)?,
        };
        changed += 1;
    }
    tx.record(
        Event::new(Action::SecretsRotated, "system", "secrets")
            .after(json!({"changed": changed, "encrypted": is_on()})),
    );
    Ok(changed)
}
