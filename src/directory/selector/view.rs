//! The directory as a selector reads it: as it is now, or as it was at a time.
//!
//! For an earlier time, each table is replaced by a query for what was valid then: the rows of the table that have not changed since,
//! and the rows of its history that were valid. Something that was archived then, or was not known yet, is not found.
//!
//! The text of a statement contains only times and Candor's own names, never texts of a caller.

use std::borrow::Cow;

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Conn;

/// The time at which a selector reads the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// As it is now.
    Now,
    /// As it was at this time.
    Then(Timestamp),
}

impl View {
    /// Returns the view of a request. `as_of` is the time in its field `as_of`.
    ///
    /// # Errors
    /// `Invalid` if the time is in the future, or before the history of the directory begins.
    pub fn of(conn: &mut Conn, as_of: Option<Timestamp>, now: Timestamp) -> Result<View> {
        let Some(at) = as_of else { return Ok(View::Now) };
        if at > now {
            let detail = "is in the future; leave it out to read the directory as it is now";
            return Err(Error::invalid("/as_of", detail));
        }
        match begin(conn)? {
            None => Err(Error::invalid(
                "/as_of",
                "the directory is empty, so it has no history",
            )),
            Some(begin) if at < begin => Err(Error::invalid(
                "/as_of",
                format!(
                    "is before {begin}, when the history of labels begins; what they were before is not known"
                ),
            )),
            Some(_) => Ok(View::Then(at)),
        }
    }

    /// Returns the time, if it is an earlier one.
    pub fn as_of(self) -> Option<Timestamp> {
        match self {
            View::Now => None,
            View::Then(at) => Some(at),
        }
    }

    /// Returns what is added to a sentence about the directory.
    pub fn suffix(self) -> String {
        self.as_of().map(|at| format!(" as of {at}")).unwrap_or_default()
    }

    /// Returns the condition that the row with this alias is active. A query of an earlier time finds only active rows.
    pub fn active(self, alias: &str) -> String {
        match self {
            View::Now => format!("{alias}.gone_at IS NULL"),
            View::Then(_) => "TRUE".to_owned(),
        }
    }

    /// Returns the resources, with `key`, `type`, `id`, `account_key`, `parent_key`, `created_at` and `updated_at`.
    pub fn resources(self) -> Cow<'static, str> {
        let of = |at| {
            let was = valid("h", at);
            format!(
                "(SELECT t.key, t.type, t.id, t.account_key, t.parent_key, t.created_at, t.updated_at FROM resources t \
                  WHERE {} \
                  UNION ALL SELECT t.key, t.type, t.id, h.account_key, h.parent_key, t.created_at, t.updated_at \
                  FROM resource_history h JOIN resources t ON t.key = h.resource_key WHERE {was} AND NOT h.gone)",
                unchanged(at)
            )
        };
        self.table("resources", of)
    }

    /// Returns the tree of resources, with `key`, `account_key` and `parent_key`.
    pub fn tree(self) -> Cow<'static, str> {
        let of = |at| {
            let was = valid("h", at);
            format!(
                "(SELECT t.key, t.account_key, t.parent_key FROM resources t WHERE {} \
                  UNION ALL SELECT h.resource_key, h.account_key, h.parent_key FROM resource_history h \
                  WHERE {was} AND NOT h.gone)",
                unchanged(at)
            )
        };
        self.table("resources", of)
    }

    /// Returns the labels of resources, with `resource_key`, `name` and `value`.
    pub fn labels(self) -> Cow<'static, str> {
        let of = |at: Timestamp| {
            let was = valid("h", at);
            let micros = at.as_micros();
            format!(
                "(SELECT resource_key, name, value FROM resource_labels WHERE since <= {micros} \
                  UNION ALL SELECT h.resource_key, h.name, h.value FROM resource_label_history h WHERE {was})"
            )
        };
        self.table("resource_labels", of)
    }

    /// Returns the accounts, with `key`, `id` and `labels`.
    pub fn accounts(self) -> Cow<'static, str> {
        let of = |at| {
            let was = valid("l", at);
            format!(
                "(SELECT t.key, t.id, COALESCE((SELECT l.labels FROM account_label_history l \
                      WHERE l.account_key = t.key AND {was}), t.labels) AS labels \
                  FROM accounts t {})",
                history("account_history", "h.account_key = t.key", at)
            )
        };
        self.table("accounts", of)
    }

    /// Returns the people, with `key`.
    pub fn people(self) -> Cow<'static, str> {
        let of = |at| {
            format!(
                "(SELECT t.key FROM people t {})",
                history("person_history", "h.person_key = t.key", at)
            )
        };
        self.table("people", of)
    }

    /// Returns the memberships, with `account_key`, `person_key` and `role`.
    pub fn members(self) -> Cow<'static, str> {
        let of = |at| {
            let on = "h.account_key = t.account_key AND h.person_key = t.person_key";
            format!(
                "(SELECT t.account_key, t.person_key, CASE WHEN h.valid_from IS NULL THEN t.role ELSE h.role END AS role \
                  FROM members t {})",
                history("member_history", on, at)
            )
        };
        self.table("members", of)
    }

    fn table(self, now: &'static str, then: impl Fn(Timestamp) -> String) -> Cow<'static, str> {
        match self {
            View::Now => Cow::Borrowed(now),
            View::Then(at) => Cow::Owned(then(at)),
        }
    }
}

/// Returns the condition that a row of a history was valid.
fn valid(alias: &str, at: Timestamp) -> String {
    let at = at.as_micros();
    format!("{alias}.valid_from <= {at} AND {alias}.valid_to > {at}")
}

/// Returns the condition that the resource `t` was active, and has stayed as it was until now.
fn unchanged(at: Timestamp) -> String {
    format!(
        "t.gone_at IS NULL AND t.created_at <= {} AND NOT EXISTS (SELECT 1 FROM resource_history h \
         WHERE h.resource_key = t.key AND {})",
        at.as_micros(),
        valid("h", at)
    )
}

/// Returns the join of a table `t` with its history `h`, and the condition that the row was active.
fn history(table: &str, on: &str, at: Timestamp) -> String {
    format!(
        "LEFT JOIN {table} h ON {on} AND {} \
         WHERE CASE WHEN h.valid_from IS NOT NULL THEN NOT h.gone ELSE t.gone_at IS NULL AND t.created_at <= {} END",
        valid("h", at),
        at.as_micros()
    )
}

/// Returns the time from which on the labels of the directory are known. `None` if the directory is empty.
fn begin(conn: &mut Conn) -> Result<Option<Timestamp>> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = BigInt)]
        at: Timestamp,
    }
    let mut first: Option<Timestamp> = None;
    for statement in [
        // Keys are given in the order in which entries are created.
        "SELECT created_at AS at FROM resources ORDER BY key LIMIT 1",
        "SELECT created_at AS at FROM accounts ORDER BY key LIMIT 1",
    ] {
        let found: Option<Found> = diesel::sql_query(statement).get_result(conn).optional()?;
        if let Some(Found { at }) = found {
            first = Some(first.map_or(at, |first| first.min(at)));
        }
    }
    let known: Option<Found> =
        diesel::sql_query("SELECT value AS at FROM counters WHERE name = 'labels_known_from'")
            .get_result(conn)
            .optional()?;
    Ok(first.map(|first| known.map_or(first, |known| known.at.max(first))))
}
