//! Removes a person from the texts of all tables, as `columns` says, and counts where the person still stands.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

use super::columns::{Column, Treatment, columns};
use super::needles::Needles;
use crate::base::error::Result;
use crate::db::{Conn, Statement};

/// A text that is replaced in all rows that have it.
#[derive(Clone, Debug)]
pub(super) struct TextChange {
    column: Column,
    old: String,
    new: String,
    rows: i64,
}

/// A place where the person still stands after an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ErasureLeft)]
pub struct Left {
    /// The name of the table in the database.
    pub table: String,
    /// The name of the column of the table.
    pub column: String,
    /// The number of rows.
    pub rows: i64,
}

/// What was found in texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    pub changes: Vec<TextChange>,
    pub left: Vec<Left>,
}

impl Texts {
    /// Returns the number of rows that change.
    pub fn rows(&self) -> i64 {
        self.changes.iter().map(|change| change.rows).sum()
    }
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    value: String,
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// Only drafts of notices can be changed.
const OF_DRAFTS: &str = "digest IS NULL";

/// Searches all texts.
///
/// # Errors
/// An error of the database.
pub(super) fn find(conn: &mut Conn, needles: &Needles) -> Result<Texts> {
    let mut texts = Texts::default();
    for column in columns() {
        match column.treatment {
            Treatment::Plain | Treatment::Staff | Treatment::Own => {}
            Treatment::Text | Treatment::Json => {
                for (found, new) in values(conn, column, needles, None)? {
                    texts.changes.push(TextChange {
                        column,
                        old: found.value,
                        new,
                        rows: found.rows,
                    });
                }
            }
            Treatment::Draft => {
                for (found, new) in values(conn, column, needles, Some(OF_DRAFTS))? {
                    texts.changes.push(TextChange {
                        column,
                        old: found.value,
                        new,
                        rows: found.rows,
                    });
                }
                let sent = values(conn, column, needles, Some("digest IS NOT NULL"))?;
                texts.left.extend(left(column, &sent));
            }
            Treatment::Left => {
                let found = values(conn, column, needles, None)?;
                texts.left.extend(left(column, &found));
            }
        }
    }
    Ok(texts)
}

fn left(column: Column, found: &[(Found, String)]) -> Option<Left> {
    let rows: i64 = found.iter().map(|(found, _)| found.rows).sum();
    (rows > 0).then(|| Left {
        table: column.table.to_owned(),
        column: column.column.to_owned(),
        rows,
    })
}

/// Returns the values of a column that contain the person, each with what it becomes.
fn values(
    conn: &mut Conn,
    column: Column,
    needles: &Needles,
    only: Option<&str>,
) -> Result<Vec<(Found, String)>> {
    let name = format!("\"{}\"", column.column);
    let mut statement = Statement::default();
    statement
        .push("SELECT ")
        .push(&name)
        .push(" AS value, COUNT(*) AS rows FROM ")
        .push(column.table)
        .push(" WHERE ")
        .push(&name)
        .push(" IS NOT NULL AND ");
    if let Some(only) = only {
        statement.push(only).push(" AND ");
    }
    needles.condition(&mut statement, &name);
    statement.push(" GROUP BY ").push(&name);
    let found: Vec<Found> = statement.finish().load(conn)?;
    let changed = |text: &str| match column.treatment {
        Treatment::Json | Treatment::Left | Treatment::Draft => needles.json(text),
        _ => match needles.json(text) {
            // A name that is the whole text counts too.
            None if needles.is_name(text) => Some(super::needles::REMOVED.to_owned()),
            changed => changed,
        },
    };
    Ok(found
        .into_iter()
        .filter_map(|found| {
            let new = changed(&found.value)?;
            Some((found, new))
        })
        .collect())
}

/// Replaces the texts. Returns the number of rows.
///
/// # Errors
/// An error of the database.
pub(super) fn replace(conn: &mut Conn, texts: &Texts, needles: &Needles) -> Result<i64> {
    let mut rows = 0;
    for change in &texts.changes {
        let name = format!("\"{}\"", change.column.column);
        let mut statement = Statement::default();
        statement
            .push("UPDATE ")
            .push(change.column.table)
            .push(" SET ")
            .push(&name)
            .push(" = ")
            .text(&change.new);
        statement
            .push(" WHERE ")
            .push(&name)
            .push(" = ")
            .text(&change.old);
        if change.column.treatment == Treatment::Draft {
            statement.push(" AND ").push(OF_DRAFTS);
        }
        rows += statement.finish().execute(conn)? as i64;
    }
    rows += replace_history(conn, needles)?;
    Ok(rows)
}

/// Removes the person from the labels of accounts that have just become history: a trigger stores what stood in an account before a change.
fn replace_history(conn: &mut Conn, needles: &Needles) -> Result<i64> {
    let mut rows = 0;
    for column in columns() {
        if column.table != LABEL_HISTORY || column.treatment != Treatment::Json {
            continue;
        }
        for (found, new) in values(conn, column, needles, None)? {
            let mut statement = Statement::default();
            statement
                .push("UPDATE ")
                .push(column.table)
                .push(" SET \"")
                .push(column.column)
                .push("\" = ")
                .text(&new)
                .push(" WHERE \"")
                .push(column.column)
                .push("\" = ")
                .text(&found.value);
            rows += statement.finish().execute(conn)? as i64;
        }
    }
    Ok(rows)
}

/// The table with the former labels of accounts.
const LABEL_HISTORY: &str = "account_label_history";
