//! Reads a PostgreSQL database of others.
//!
//! - The transaction never writes.
//! - The passwords of Candor's operating system user are never used.
//! - A result is never in memory as a whole.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::{PgConnection, PgRowByRowLoadingMode};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use serde_json::Value;
use url::Url;

use super::address::with_credentials;
use super::reader::{CONNECT, Collector, Counted, MAX_ROW, Page, Row, too_large};
use super::statement::{count_statement, page_statement};
use super::{Halt, own};
use crate::db::DatabaseUrl;
use crate::db::connection::discreet;

/// A read-only transaction on a PostgreSQL server, which reads a source of the directory.
pub(super) struct Reader {
    conn: PgConnection,
    warnings: Vec<String>,
    /// Whether the user is a superuser. Before each statement, a superuser changes to a role with fewer
    /// rights.
    superuser: bool,
    /// The columns that the database fills with spaces, by query.
    padded: HashMap<String, HashSet<String>>,
}

/// The role that a superuser changes to. It may read every table and no files.
const READS_ALL: &str = "pg_read_all_data";

#[derive(QueryableByName)]
struct Line {
    /// The row as JSON. `None` if the row is too large.
    #[diesel(sql_type = Nullable<Text>)]
    line: Option<String>,
}

#[derive(QueryableByName)]
struct Rights {
    #[diesel(sql_type = Bool)]
    superuser: bool,
    #[diesel(sql_type = Bool)]
    may_step_down: bool,
    #[diesel(sql_type = Nullable<Text>)]
    memberships: Option<String>,
    #[diesel(sql_type = Bool)]
    candors: bool,
    /// The server's process for this connection.
    #[diesel(sql_type = Integer)]
    process: i32,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
    #[diesel(sql_type = BigInt)]
    keyed: i64,
}

pub(super) fn check(url: &str) -> Result<(), String> {
    match DatabaseUrl::parse(url) {
        Ok(DatabaseUrl::Postgres(_)) => {}
        Ok(DatabaseUrl::Sqlite(_)) => return Err("must begin with postgres://".to_owned()),
        Err(reason) if reason.starts_with("must begin") => {
            return Err("must begin with postgres://".to_owned());
        }
        Err(reason) => return Err(reason),
    }
    target(url).map(drop)
}

/// Returns the URL for libpq. Nothing in it lets libpq use a user or a password from another place.
fn target(url: &str) -> Result<Url, String> {
    let parsed = Url::parse(url)
        .map_err(|_| "is not a URL such as postgres://reader:password@db.example/shop".to_owned())?;
    let mut target = with_credentials(&parsed)?;
    let given: HashMap<String, String> = parsed.query_pairs().into_owned().collect();
    for name in ["passfile", "service", "servicefile"] {
        if given.contains_key(name) {
            return Err(format!(
                "has the parameter {name}; give the user and the password in the URL"
            ));
        }
    }
    let mut more = target.query_pairs_mut();
    if !given.contains_key("connect_timeout") {
        more.append_pair("connect_timeout", &CONNECT.as_secs().to_string());
    }
    // No file can have this path. The password file of Candor's operating system user must not be used for
    // sources.
    more.append_pair("passfile", "/dev/null/none");
    // On a socket of this machine, the server may ask for no password and accept the operating system user of
    // Candor.
    let socket = match given.get("host") {
        Some(host) => host.starts_with(['/', '@']),
        None => {
            let host = parsed.host_str().unwrap_or_default();
            host.is_empty() || host.starts_with("%2F") || host.starts_with("%2f")
        }
    };
    if socket && !given.contains_key(super::address::PASSWORDLESS) && !given.contains_key("require_auth") {
        more.append_pair("require_auth", "!none");
    }
    drop(more);
    Ok(target)
}

/// Returns the rights of the user.
fn rights(conn: &mut PgConnection) -> Result<Rights, diesel::result::Error> {
    // A schema is Candor's if the marks are there, whether or not the user may read them: the catalog shows the names of
    // all tables. Then the user may not read any of Candor's tables in it, not even one column.
    // `pg_has_role` also finds rights that the user gets by changing to another role.
    diesel::sql_query(format!(
        "SELECT u.rolsuper AS superuser, \
                EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{READS_ALL}') AS may_step_down, \
                (SELECT string_agg(r.rolname, ', ' ORDER BY r.rolname) FROM pg_roles r \
                 WHERE r.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program') \
                   AND NOT u.rolsuper AND pg_has_role(session_user, r.oid, 'MEMBER'))::text AS memberships, \
                EXISTS (SELECT 1 FROM pg_class c \
                        WHERE c.relkind IN ('r', 'p') AND c.relname IN ({tables}) \
                          AND c.relnamespace IN (SELECT m.relnamespace FROM pg_class m \
                               WHERE m.relkind IN ('r', 'p') AND m.relname IN ({marks}) \
                               GROUP BY m.relnamespace HAVING COUNT(*) = {most}) \
                          AND EXISTS (SELECT 1 FROM pg_roles r WHERE pg_has_role(session_user, r.oid, 'MEMBER') \
                               AND (has_any_column_privilege(r.oid, c.oid, 'SELECT') OR pg_has_role(r.oid, c.relowner, 'MEMBER'))) \
                       ) AS candors, \
                pg_backend_pid() AS process \
         FROM pg_roles u WHERE u.rolname = session_user",
        tables = own::literals(&own::TABLES),
        marks = own::literals(&own::MARKS),
        most = own::MARKS.len()
    ))
    .get_result(conn)
}

/// Ends the statement that runs on a connection, over another one. What goes wrong here is not reported: the
/// statement still has its own limit of time, and the request is repeated until the reading has ended.
fn cancel(target: &Url, process: i32) {
    if let Ok(mut conn) = PgConnection::establish(target.as_str()) {
        let _ = diesel::sql_query("SELECT pg_cancel_backend($1)")
            .bind::<Integer, _>(process)
            .execute(&mut conn);
    }
}

fn error_text(error: &diesel::result::Error) -> String {
    match error {
        diesel::result::Error::DatabaseError(_, info) => match info.hint() {
            Some(hint) => format!("{} ({hint})", info.message()),
            None => info.message().to_owned(),
        },
        other => other.to_string(),
    }
}

impl Reader {
    pub(super) fn open(url: &str, patience: Duration, halt: &Halt) -> Result<Self, String> {
        let target = target(url)?;
        let mut conn =
            PgConnection::establish(target.as_str()).map_err(|error| discreet(error).to_string())?;
        // The default is set too, so that a transaction that follows this one can only read.
        conn.batch_execute(&format!(
            "SET default_transaction_read_only = on; SET client_min_messages = warning; SET lock_timeout = '10s'; \
             SET statement_timeout = {}; SET TIME ZONE 'UTC'; \
             BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            patience.as_millis()
        ))
        .map_err(|error| error_text(&error))?;
        let rights = rights(&mut conn).map_err(|error| error_text(&error))?;
        halt.on_stop(move || cancel(&target, rights.process));
        if rights.candors {
            return Err(own::REFUSED.to_owned());
        }
        if let Some(roles) = rights.memberships {
            return Err(format!(
                "the user is a member of {roles}, and may read or write files or run programs on the database's machine: \
                 give the source a user that may only read its tables"
            ));
        }
        let mut warnings = Vec::new();
        if rights.superuser {
            if !rights.may_step_down {
                return Err(
                    "the user is a superuser, which may read files and run programs on the database's machine: \
                     give the source a user that may only read its tables"
                        .to_owned(),
                );
            }
            warnings.push(format!(
                "the user is a superuser, which may read files and run programs on the database's machine; \
                 Candor reads as {READS_ALL}: give the source a user that may only read its tables"
            ));
        }
        Ok(Reader {
            conn,
            warnings,
            superuser: rights.superuser,
            padded: HashMap::new(),
        })
    }

    /// Changes to the role with fewer rights. This is done before each statement, because the statement
    /// before may have changed the role. Row security must not hide rows that the user would see, so a table
    /// with row security is an error.
    fn step_down(&mut self) -> Result<(), String> {
        if self.superuser {
            self.conn
                .batch_execute(&format!(
                    "SET LOCAL ROLE {READS_ALL}; SET LOCAL row_security = off"
                ))
                .map_err(|error| error_text(&error))?;
        }
        Ok(())
    }

    /// Returns the columns that the database fills with spaces.
    fn padded(&mut self, query: &str, row: &Row) -> Result<&HashSet<String>, String> {
        if !self.padded.contains_key(query) {
            let types: Vec<String> = row
                .keys()
                .map(|name| {
                    let name = format!("\"{}\"", name.replace('"', "\"\""));
                    format!("pg_typeof(q.{name})::text AS {name}")
                })
                .collect();
            let line: Option<Line> = diesel::sql_query(format!(
                "SELECT row_to_json(t)::text AS line FROM (SELECT {} FROM (\n{query}\n) AS q LIMIT 1) AS t",
                types.join(", ")
            ))
            .get_result(&mut self.conn)
            .optional()
            .map_err(|error| error_text(&error))?;
            let types: Row = line
                .and_then(|line| line.line)
                .and_then(|line| serde_json::from_str(&line).ok())
                .unwrap_or_default();
            let padded = types
                .into_iter()
                .filter_map(|(name, type_)| (type_ == "character").then_some(name))
                .collect();
            self.padded.insert(query.to_owned(), padded);
        }
        Ok(self.padded.entry(query.to_owned()).or_default())
    }
}

impl super::reader::Reader for Reader {
    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn count(&mut self, query: &str, key: &[&str]) -> Result<Counted, String> {
        self.step_down()?;
        let count: Count = diesel::sql_query(count_statement(query, key, '"'))
            .get_result(&mut self.conn)
            .map_err(|error| error_text(&error))?;
        Ok(Counted {
            rows: count.n.unsigned_abs(),
            keyed: count.keyed.unsigned_abs(),
        })
    }

    fn page(
        &mut self,
        query: &str,
        key: &[&str],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Page, String> {
        self.step_down()?;
        // A literal without a type gets the type of the column, so numbers are quoted too.
        let after: Option<Vec<Value>> = after.map(|last| {
            last.iter()
                .map(|value| match value {
                    Value::Number(number) => Value::from(number.to_string()),
                    other => other.clone(),
                })
                .collect()
        });
        let statement = page_statement(query, key, after.as_deref(), limit)?;
        // The server measures a row before it sends it. Without the OFFSET it would build the row twice.
        let statement = format!(
            "SELECT CASE WHEN octet_length(l.line) <= {MAX_ROW} THEN l.line END AS line FROM ( \
                 SELECT row_to_json(p)::text AS line FROM ({statement}) AS p OFFSET 0) AS l"
        );
        let mut page = Collector::new(limit);
        // Only one row is in memory at a time. The library skips the rows that the page does not take.
        let lines = diesel::sql_query(statement)
            .load_iter::<Line, PgRowByRowLoadingMode>(&mut self.conn)
            .map_err(|error| error_text(&error))?;
        for line in lines {
            let line = line
                .map_err(|error| error_text(&error))?
                .line
                .ok_or_else(too_large)?;
            let row: Row = serde_json::from_str(&line)
                .map_err(|error| format!("a row cannot be read as JSON: {error}"))?;
            if !page.take(row, line.len()) {
                break;
            }
        }
        let mut page = page.page;
        let ends_blank = |value: &Value| value.as_str().is_some_and(|text| text.ends_with(' '));
        if let Some(row) = page.rows.iter().find(|row| row.values().any(ends_blank)).cloned() {
            let padded = self.padded(query, &row)?;
            for row in &mut page.rows {
                for (name, value) in row.iter_mut() {
                    if let Value::String(text) = value
                        && padded.contains(name)
                    {
                        text.truncate(text.trim_end_matches(' ').len());
                    }
                }
            }
        }
        Ok(page)
    }
}
