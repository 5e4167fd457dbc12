//! A statement that is built from parts, together with its values.
//!
//! The text of a statement never contains a text of a caller.

use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Text};

use super::Backend;
use crate::base::time::Timestamp;

enum Bind {
    Text(String),
    Time(Timestamp),
}

/// A statement that is being built. The values are numbered in the order in which they appear, as SQLite does
/// it.
#[derive(Default)]
pub struct Statement {
    sql: String,
    binds: Vec<Bind>,
}

impl Statement {
    /// Adds SQL text that Candor wrote.
    pub fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Adds a text of a caller as a value.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.bind(Bind::Text(value.to_owned()))
    }

    /// Adds a time as a value.
    pub fn time(&mut self, value: Timestamp) -> &mut Self {
        self.bind(Bind::Time(value))
    }

    /// Returns the query, which can be loaded or executed.
    pub fn finish<'a>(self) -> BoxedSqlQuery<'a, Backend, SqlQuery> {
        let mut query = diesel::sql_query(self.sql).into_boxed::<Backend>();
        for bind in self.binds {
            query = match bind {
                Bind::Text(text) => query.bind::<Text, _>(text),
                Bind::Time(time) => query.bind::<BigInt, _>(time),
            };
        }
        query
    }

    fn bind(&mut self, bind: Bind) -> &mut Self {
        self.binds.push(bind);
        self.sql.push_str(&format!("${}", self.binds.len()));
        self
    }
}
