//! Reads a PostgreSQL database of others.
//!
//! Must never happen here: a transaction that may write.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::Value;
use url::Url;

use super::{CONNECT, Counted, Row, count_statement, page_statement};
use crate::db::DatabaseUrl;
use crate::db::connection::discreet;

/// A read-only transaction.
pub(super) struct Reader(PgConnection);

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
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
    Url::parse(url)
        .map(drop)
        .map_err(|_| "is not a URL such as postgres://reader:password@db.example/shop".to_owned())
}

fn said(error: &diesel::result::Error) -> String {
    match error {
        diesel::result::Error::DatabaseError(_, info) => match info.hint() {
            Some(hint) => format!("{} ({hint})", info.message()),
            None => info.message().to_owned(),
        },
        other => other.to_string(),
    }
}

impl Reader {
    pub(super) fn open(url: &str, patience: Duration) -> Result<Self, String> {
        let mut parsed = Url::parse(url).map_err(|_| "is not a URL".to_owned())?;
        if !parsed.query_pairs().any(|(name, _)| name == "connect_timeout") {
            parsed
                .query_pairs_mut()
                .append_pair("connect_timeout", &CONNECT.as_secs().to_string());
        }
        let mut conn =
            PgConnection::establish(parsed.as_str()).map_err(|error| discreet(error).to_string())?;
        // The default too: a transaction that the query ended by some trick is followed by another that only reads.
        conn.batch_execute(&format!(
            "SET default_transaction_read_only = on; SET client_min_messages = warning; SET lock_timeout = '10s'; \
             SET statement_timeout = {}; SET TIME ZONE 'UTC'; \
             BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            patience.as_millis()
        ))
        .map_err(|error| said(&error))?;
        Ok(Reader(conn))
    }
}

impl super::Reader for Reader {
    fn count(&mut self, query: &str, key: &[&str]) -> Result<Counted, String> {
        let count: Count = diesel::sql_query(count_statement(query, key, '"'))
            .get_result(&mut self.0)
            .map_err(|error| said(&error))?;
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
    ) -> Result<Vec<Row>, String> {
        // A literal without a type takes that of the column, so a number is quoted as well.
        let after: Option<Vec<Value>> = after.map(|last| {
            last.iter()
                .map(|value| match value {
                    Value::Number(number) => Value::from(number.to_string()),
                    other => other.clone(),
                })
                .collect()
        });
        let statement = page_statement(query, key, after.as_deref(), limit)?;
        let lines: Vec<Line> = diesel::sql_query(format!(
            "SELECT row_to_json(p)::text AS line FROM ({statement}) AS p"
        ))
        .load(&mut self.0)
        .map_err(|error| said(&error))?;
        lines
            .iter()
            .map(|line| {
                serde_json::from_str(&line.line)
                    .map_err(|error| format!("a row cannot be read as JSON: {error}"))
            })
            .collect()
    }
}
