//! Writes what a run of a comparison saw of many keys, in one statement whose text does not depend on the number of keys.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};

use crate::base::error::Result;
use crate::db::{Conn, FixedText};

/// What a run saw of a key. `fits` is null if the run says nothing about it.
#[allow(missing_docs)]
#[derive(serde::Serialize)]
pub(crate) struct SeenRow<'a> {
    pub key: &'a str,
    pub fits: Option<bool>,
    pub observed: &'a str,
}

/// Stores what a run saw of the keys of a comparison through which something became affected.
///
/// # Errors
/// An error of the database.
pub(crate) fn set_seen(conn: &mut Conn, comparison: &str, run: i64, rows: &[SeenRow<'_>]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    match conn {
        // SQLite numbers parameters in the order in which they first appear.
        Conn::Sqlite(conn) => diesel::sql_query(
            "UPDATE comparison_applied SET seen_run = $1, fits = n.fits, observed = n.observed FROM ( \
                 SELECT list ->> 'key' AS key, list ->> 'fits' AS fits, list ->> 'observed' AS observed \
                 FROM (SELECT value AS list FROM jsonb_each($2) LIMIT -1)) AS n \
             WHERE comparison_applied.comparison_id = $3 AND comparison_applied.listing_key = n.key",
        )
        .bind::<BigInt, _>(run)
        .bind::<Text, _>(serde_json::to_string(rows)?)
        .bind::<Text, _>(comparison)
        .fixed()
        .execute(conn)?,
        Conn::Pg(conn) => diesel::sql_query(
            "UPDATE comparison_applied SET seen_run = $1, fits = n.fits, observed = n.observed \
             FROM UNNEST($2, $3, $4) AS n(key, fits, observed) \
             WHERE comparison_applied.comparison_id = $5 AND comparison_applied.listing_key = n.key",
        )
        .bind::<BigInt, _>(run)
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.key).collect::<Vec<_>>())
        .bind::<Array<Nullable<Bool>>, _>(rows.iter().map(|row| row.fits).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.observed).collect::<Vec<_>>())
        .bind::<Text, _>(comparison)
        .fixed()
        .execute(conn)?,
    };
    Ok(())
}
