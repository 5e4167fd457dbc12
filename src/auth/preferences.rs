//! What an operator chose for the pages: the time zone in which they show times.
//!
//! The choice belongs to the person, so that all tokens of one person have one choice. A token without a person has its own.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::person::key_of;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::time::time_zone;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::preferences as p;

/// What an operator chose for the pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    /// The IANA time zone in which the pages show times, for example `Africa/Nairobi`. Null: UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
}

/// Returns what the person who uses this token chose.
///
/// # Errors
/// An error of the database.
pub fn of(conn: &mut Conn, token: &str) -> Result<Preferences> {
    let Some(person) = key_of(conn, token)? else {
        return Ok(Preferences::default());
    };
    let stored: Option<Option<String>> = p::table
        .find(person)
        .select(p::time_zone)
        .first(conn)
        .optional()?;
    Ok(Preferences {
        time_zone: stored.flatten(),
    })
}

/// Replaces what the person who uses this token chose.
///
/// # Errors
/// `Invalid` if there is no such time zone.
pub fn replace(tx: &mut Tx<'_>, token: &str, new: &Preferences) -> Result<Preferences> {
    let zone = new.time_zone.as_deref().map(str::trim);
    if let Some(name) = zone {
        time_zone(name).map_err(|detail| Error::invalid("/time_zone", detail))?;
    }
    let before = of(tx.conn, token)?;
    let after = Preferences {
        time_zone: zone.map(str::to_owned),
    };
    if after == before {
        return Ok(after);
    }
    let person = key_of(tx.conn, token)?.ok_or_else(|| Error::NotFound(format!("token {token}")))?;
    let row = (
        p::person.eq(person),
        p::time_zone.eq(after.time_zone.clone()),
        p::updated_at.eq(tx.now),
    );
    on_backend!(&mut *tx.conn, c => diesel::insert_into(p::table)
        .values(&row)
        .on_conflict(p::person)
        .do_update()
        .set((p::time_zone.eq(after.time_zone.clone()), p::updated_at.eq(tx.now)))
        .execute(c))?;
    tx.record(
        Event::new(Action::PreferencesChanged, "token", token)
            .before(json!(before))
            .after(json!(after)),
    );
    Ok(after)
}
