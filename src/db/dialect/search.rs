//! Finds rows by a part of a name.
//!
//! PostgreSQL uses its trigram indexes, if the migration could create them. Everything else reads the rows in steps, the newest
//! first, and stops at a time. On SQLite a million rows take about 150 ms.

use std::time::Instant;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::on_backend;
use crate::base::error::Result;
use crate::db::Conn;

/// The number of keys in one step.
const STEP: i64 = 50_000;
/// The shortest text for which a trigram index helps.
const TRIGRAM: usize = 3;
/// The largest number of rows that a trigram index gives before they are ordered.
const MOST: i64 = 2_000;

/// The tables that can be searched.
#[derive(Clone, Copy, Debug)]
pub enum Searched {
    /// The titles of incidents. The key is the number.
    Incidents,
    /// The names and IDs of accounts.
    Accounts,
    /// The names, addresses and IDs of people.
    People,
    /// The names and IDs of resources.
    Resources,
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Matches {
    /// The keys of the rows, the newest first.
    pub keys: Vec<i64>,
    /// Whether the search stopped at its time, so that older rows were not read.
    pub stopped: bool,
}

struct Table {
    name: &'static str,
    key: &'static str,
    columns: &'static [&'static str],
    /// The expression of the trigram index, which PostgreSQL also uses without it.
    joined: &'static str,
    index: Option<&'static str>,
}

impl Searched {
    fn table(self) -> Table {
        match self {
            Searched::Incidents => Table {
                name: "incidents",
                key: "number",
                columns: &["title"],
                joined: "lower(title)",
                index: None,
            },
            Searched::Accounts => Table {
                name: "accounts",
                key: "key",
                columns: &["name", "id"],
                joined: "lower(name || ' ' || id)",
                index: Some("accounts_search"),
            },
            Searched::People => Table {
                name: "people",
                key: "key",
                columns: &["name", "email", "id"],
                joined: "lower(name || ' ' || email || ' ' || id)",
                index: Some("people_search"),
            },
            Searched::Resources => Table {
                name: "resources",
                key: "key",
                columns: &["name", "id"],
                joined: "lower(COALESCE(name, '') || ' ' || id)",
                index: Some("resources_search"),
            },
        }
    }
}

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = BigInt)]
    key: i64,
}

#[derive(QueryableByName)]
struct Last {
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
}

#[derive(QueryableByName)]
struct Exists {
    #[diesel(sql_type = Bool)]
    found: bool,
}

/// Returns up to `limit` rows with a column that contains `text`. Upper and lower case make no difference.
///
/// # Errors
/// An error of the database.
pub fn matching(conn: &mut Conn, what: Searched, text: &str, limit: i64, until: Instant) -> Result<Matches> {
    let table = what.table();
    let patterns = patterns(text);
    if let Some(index) = table.index
        && text.chars().count() >= TRIGRAM
        && has_index(conn, index)?
    {
        let condition = condition(conn, &table, 1, patterns.len());
        let sql = format!(
            "WITH found AS MATERIALIZED (SELECT {key} AS key FROM {name} WHERE {condition} LIMIT {MOST}) \
             SELECT key FROM found ORDER BY key DESC LIMIT {limit}",
            key = table.key,
            name = table.name,
        );
        return Ok(Matches {
            keys: keys(conn, sql, &[], &patterns)?,
            stopped: false,
        });
    }
    let (name, key) = (table.name, table.key);
    let last =
        diesel::sql_query(format!("SELECT MAX({key}) AS last FROM {name}")).get_result::<Last>(conn)?;
    let condition = condition(conn, &table, 3, patterns.len());
    let (mut found, mut upto) = (Matches::default(), last.last.unwrap_or(0));
    while upto > 0 {
        let missing = limit - found.keys.len() as i64;
        if missing <= 0 {
            break;
        }
        if Instant::now() >= until {
            found.stopped = true;
            break;
        }
        let sql = format!(
            "SELECT {key} AS key FROM {name} WHERE {key} > $1 AND {key} <= $2 AND {condition} \
             ORDER BY {key} DESC LIMIT {missing}"
        );
        found
            .keys
            .extend(keys(conn, sql, &[upto - STEP, upto], &patterns)?);
        upto -= STEP;
    }
    Ok(found)
}

fn keys(conn: &mut Conn, sql: String, range: &[i64], patterns: &[String]) -> Result<Vec<i64>> {
    let rows: Vec<Key> = on_backend!(conn, c => {
        let mut query = diesel::sql_query(sql).into_boxed();
        for key in range {
            query = query.bind::<BigInt, _>(*key);
        }
        for pattern in patterns {
            query = query.bind::<Text, _>(pattern.clone());
        }
        query.load(c)?
    });
    Ok(rows.into_iter().map(|row| row.key).collect())
}

/// The condition on a row. Its patterns are the parameters from `first` on.
fn condition(conn: &Conn, table: &Table, first: usize, patterns: usize) -> String {
    let columns: &[&str] = match conn {
        // SQLite compares without case by itself, and reads each column faster than all of them joined.
        Conn::Sqlite(_) => table.columns,
        Conn::Pg(_) => &[table.joined],
    };
    let places = first..first + patterns;
    let any: Vec<String> = places
        .flat_map(|place| {
            columns
                .iter()
                .map(move |column| format!("{column} LIKE ${place} ESCAPE '\\'"))
        })
        .collect();
    format!("({})", any.join(" OR "))
}

fn has_index(conn: &mut Conn, index: &str) -> Result<bool> {
    let Conn::Pg(conn) = conn else { return Ok(false) };
    let row: Exists = diesel::sql_query("SELECT to_regclass($1) IS NOT NULL AS found")
        .bind::<Text, _>(index)
        .get_result(conn)?;
    Ok(row.found)
}

/// The patterns for a text. Neither SQLite nor PostgreSQL without a locale knows the case of letters outside of ASCII, so the usual
/// spellings are tried.
fn patterns(text: &str) -> Vec<String> {
    let pattern = |text: &str| {
        let mut pattern = String::from("%");
        for c in text.chars() {
            if matches!(c, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('%');
        pattern
    };
    let lower = text.to_lowercase();
    if text.is_ascii() {
        return vec![pattern(&lower)];
    }
    // What `lower` of a database without a locale makes of the text.
    let ascii_lower = |text: &str| text.to_ascii_lowercase();
    let mut first = lower.chars();
    let title: String = first
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(first).collect());
    let mut all = vec![
        pattern(&lower),
        pattern(&ascii_lower(&title)),
        pattern(&ascii_lower(text)),
        pattern(&ascii_lower(&text.to_uppercase())),
    ];
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_a_pattern_stand_for_themselves() {
        assert_eq!(patterns("50%_a\\B"), ["%50\\%\\_a\\\\b%"]);
    }

    #[test]
    fn letters_outside_of_ascii_are_tried_in_each_case() {
        assert_eq!(
            patterns("ünal"),
            [
                "%ÜnAL%".to_ascii_lowercase(),
                "%Ünal%".to_owned(),
                "%ünal%".to_owned()
            ]
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
        );
    }
}
