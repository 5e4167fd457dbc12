//! Which source brought an entry of the directory. Its next sync overwrites what somebody changes by hand.

use diesel::prelude::*;

use crate::base::error::Result;
use crate::base::id::SourceId;
use crate::db::Conn;
use crate::db::schema::{directory_origins as o, directory_sources as s};
use crate::directory::line::{LineKind, key};

/// The source of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The ID of the source.
    pub id: SourceId,
    /// The name of the source.
    pub name: String,
}

/// Returns the source that brought an entry. `parts` is its ID, or the type and the ID of a resource. None if no source did.
///
/// # Errors
/// An error of the database.
pub fn of(conn: &mut Conn, kind: LineKind, parts: &[&str]) -> Result<Option<Origin>> {
    let found: Option<(SourceId, String)> = o::table
        .inner_join(s::table.on(s::id.eq(o::source_id)))
        .filter(o::kind.eq(kind.number()))
        .filter(o::key.eq(key(parts)))
        .filter(s::gone_at.is_null())
        .select((s::id, s::name))
        .first(conn)
        .optional()?;
    Ok(found.map(|(id, name)| Origin { id, name }))
}
