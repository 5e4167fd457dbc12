//! Finds entries of the directory by a part of an ID, a name or an address, for lists that people read.
//!
//! One call looks through a limited number of entries in the order of their IDs, because a part of a name has no index. It says how
//! far it has looked, so that the next call goes on from there. So a page of a list never takes long, whatever is searched.

use diesel::sql_types::{Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl};

use crate::base::error::Result;
use crate::db::{Conn, Statement};

/// The largest number of entries that one call looks through.
const LOOKED_THROUGH: i64 = 20_000;

/// The IDs of the entries that were found, and where the next call goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The IDs, in their order. For resources, the type and the ID.
    pub ids: Vec<(String, String)>,
    /// The last entry that was looked at. None if there is nothing after it.
    pub upto: Option<(String, String)>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    type_: String,
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    email: Option<String>,
}

/// The kind of the entries that are searched, and which of their fields are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Accounts by ID and name.
    Account,
    /// People by ID, name and address.
    Person,
    /// Resources by ID and name.
    Resource,
}

/// Returns the entries after the given one that contain `part`, in any spelling. Archived entries are found too.
///
/// # Errors
/// An error of the database.
pub fn find(
    conn: &mut Conn,
    kind: Kind,
    part: &str,
    after: Option<&(String, String)>,
    limit: usize,
) -> Result<Found> {
    let part = part.trim().to_lowercase();
    let mut statement = Statement::default();
    match kind {
        Kind::Account => statement.push("SELECT '' AS type_, id, name, NULL AS email FROM accounts"),
        Kind::Person => statement.push("SELECT '' AS type_, id, name, email FROM people"),
        Kind::Resource => statement.push("SELECT type AS type_, id, name, NULL AS email FROM resources"),
    };
    match (kind, after) {
        (_, None) => {}
        (Kind::Resource, Some((type_, id))) => {
            statement.push(" WHERE (type, id) > (");
            statement.text(type_).push(", ");
            statement.text(id).push(")");
        }
        (_, Some((_, id))) => {
            statement.push(" WHERE id > ");
            statement.text(id);
        }
    }
    let order = if kind == Kind::Resource { "type, id" } else { "id" };
    statement.push(&format!(" ORDER BY {order} LIMIT {LOOKED_THROUGH}"));
    let rows: Vec<Row> = statement.finish().load(conn)?;
    let all = rows.len() < usize::try_from(LOOKED_THROUGH).unwrap_or(usize::MAX);
    let has = |text: &str| text.to_lowercase().contains(&part);
    let mut found = Found::default();
    for row in rows {
        let theirs =
            has(&row.id) || row.name.as_deref().is_some_and(has) || row.email.as_deref().is_some_and(has);
        let place = (row.type_, row.id);
        if theirs {
            found.ids.push(place.clone());
        }
        found.upto = Some(place);
        if found.ids.len() >= limit {
            return Ok(found);
        }
    }
    if all {
        found.upto = None;
    }
    Ok(found)
}
