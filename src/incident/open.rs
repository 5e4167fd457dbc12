//! How many incidents are open, counted only up to a limit, so that every page can say it.

use diesel::prelude::*;

use super::stored::Status;
use crate::base::error::Result;
use crate::db::Conn;
use crate::db::schema::incidents as i;

/// Returns the number of open incidents, but at most `most`.
///
/// # Errors
/// An error of the database.
pub fn count_open(conn: &mut Conn, most: i64) -> Result<usize> {
    let open = [Status::Investigating, Status::Identified, Status::Monitoring].map(Status::as_str);
    let found: Vec<i64> = i::table
        .filter(i::status.eq_any(open))
        .select(i::number)
        .limit(most)
        .load(conn)?;
    Ok(found.len())
}
