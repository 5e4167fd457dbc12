//! Cheap figures about the database: its size, the sizes of tables, and the migrations that were applied.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Nullable, Text};

use crate::base::error::Result;
use crate::db::{Conn, DatabaseUrl};

/// The size of a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct TableSize {
    /// The name of the table.
    pub name: String,
    /// The approximate number of rows.
    pub rows: i64,
    /// The size with its indexes, in bytes. Null for SQLite, which would have to read the whole table.
    pub bytes: Option<i64>,
}

#[derive(QueryableByName)]
struct One {
    #[diesel(sql_type = Nullable<BigInt>)]
    n: Option<i64>,
}

#[derive(QueryableByName)]
struct Estimate {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Double)]
    rows: f64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

fn one(conn: &mut Conn, statement: &str) -> Result<i64> {
    let found: One = diesel::sql_query(statement).get_result(conn)?;
    Ok(found.n.unwrap_or(0))
}

/// Returns the size of the database, in bytes. The files of SQLite that hold the latest changes are not included.
///
/// # Errors
/// An error of the database.
pub fn database_size(conn: &mut Conn) -> Result<i64> {
    let statement = match conn {
        Conn::Sqlite(_) => {
            "SELECT (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size()) AS n"
        }
        Conn::Pg(_) => "SELECT pg_database_size(current_database()) AS n",
    };
    one(conn, statement)
}

/// Returns the approximate sizes of tables. No table is read as a whole. `tables` are names of Candor's own tables.
///
/// # Errors
/// An error of the database.
pub fn table_sizes(conn: &mut Conn, tables: &[&str]) -> Result<Vec<TableSize>> {
    if let Conn::Pg(_) = conn {
        let names = tables
            .iter()
            .map(|name| format!("'{name}'"))
            .collect::<Vec<_>>()
            .join(", ");
        let statement = format!(
            "SELECT relname::text AS name, greatest(reltuples, 0)::float8 AS rows, pg_total_relation_size(oid) AS bytes \
             FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname IN ({names})"
        );
        let found: Vec<Estimate> = diesel::sql_query(statement).load(conn)?;
        let of = |name: &&str| found.iter().find(|one| one.name == **name);
        let sizes = tables.iter().filter_map(of).map(|one| TableSize {
            name: one.name.clone(),
            rows: one.rows as i64,
            bytes: Some(one.bytes),
        });
        return Ok(sizes.collect());
    }
    tables
        .iter()
        .map(|name| {
            Ok(TableSize {
                name: (*name).to_owned(),
                // The last row number, which is the number of rows that were added so far.
                rows: one(conn, &format!("SELECT max(rowid) AS n FROM {name}"))?,
                bytes: None,
            })
        })
        .collect()
}

/// Returns the versions of the migrations that were applied, oldest first.
///
/// # Errors
/// An error of the database.
pub fn applied_migrations(conn: &mut Conn) -> Result<Vec<String>> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let statement = "SELECT version FROM __diesel_schema_migrations ORDER BY version";
    let found: Vec<Version> = diesel::sql_query(statement).load(conn)?;
    Ok(found.into_iter().map(|one| one.version).collect())
}

/// Returns how a database of this kind is backed up.
pub fn backup_hint(url: &DatabaseUrl) -> &'static str {
    if url.sqlite_path().is_some() {
        "Run candor backup FILE regularly. It writes one consistent file while Candor serves."
    } else {
        "Run candor backup FILE regularly, or use pg_dump or the backups of your PostgreSQL server."
    }
}
