//! Removes what was deleted from the space that the database keeps for new rows.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Integer;

use crate::base::error::Result;
use crate::db::Conn;

/// How many times the write-ahead log is cut off before this is left to the next try.
const TRIES: u32 = 50;

/// The result of `PRAGMA wal_checkpoint`.
#[derive(QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = Integer)]
    busy: i32,
}

/// Removes deleted texts from the free space. It must be called outside of any transaction. Returns whether nothing of them is left in
/// the files of the database.
///
/// SQLite rewrites the file and cuts off the write-ahead log. Others cannot write during this time. PostgreSQL frees the space of the
/// named tables for new rows, and its files can contain old bytes until these are overwritten.
///
/// # Errors
/// An error of the database.
pub fn scrub_free_space(conn: &mut Conn, tables: &[&str]) -> Result<bool> {
    match conn {
        Conn::Sqlite(conn) => {
            // A copy of the whole database in the memory would be too large.
            conn.batch_execute("PRAGMA temp_store = FILE;")?;
            let rewritten = conn.batch_execute("VACUUM;");
            let back = conn.batch_execute("PRAGMA temp_store = MEMORY;");
            rewritten?;
            back?;
            for _ in 0..TRIES {
                let done: Checkpoint =
                    diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result(conn)?;
                if done.busy == 0 {
                    return Ok(true);
                }
                // A reader still uses the log.
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            Ok(false)
        }
        Conn::Pg(conn) => {
            conn.batch_execute(&format!("VACUUM {}", tables.join(", ")))?;
            Ok(true)
        }
    }
}
