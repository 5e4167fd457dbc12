//! How many entries the directory has. Nothing is counted without a limit, because a page asks at every view.

use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl};

use crate::base::error::Result;
use crate::db::Conn;

/// The largest number that is counted.
pub const MOST: i64 = 20_000;

/// The numbers of entries that are not archived. At [`MOST`] there can be more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The number of accounts.
    pub accounts: i64,
    /// The number of people.
    pub people: i64,
    /// The number of resources.
    pub resources: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Counts the entries.
///
/// # Errors
/// An error of the database.
pub fn read(conn: &mut Conn) -> Result<Numbers> {
    let mut count = |table: &str| -> Result<i64> {
        let text = format!(
            "SELECT COUNT(*) AS count FROM (SELECT 1 FROM {table} WHERE gone_at IS NULL LIMIT {MOST}) AS counted"
        );
        let row: Row = diesel::sql_query(text).get_result(conn)?;
        Ok(row.count)
    };
    Ok(Numbers {
        accounts: count("accounts")?,
        people: count("people")?,
        resources: count("resources")?,
    })
}
