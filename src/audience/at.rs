//! As of when the directory is asked: a row of history that was valid then stands in for the table's.
//!
//! Must never happen here: somebody's words in the text of a statement; only times and keys of ours stand there.

use crate::base::time::Timestamp;

/// As of when the directory is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// As it is.
    Now,
    /// As it was at that time, as far as it was known to Candor then.
    Then(Timestamp),
}

impl At {
    /// The history beside a table, where it is asked as of a time. `on` joins the two.
    pub(super) fn history(self, table: &str, on: &str) -> String {
        match self {
            At::Now => String::new(),
            At::Then(at) => {
                let at = at.as_micros();
                format!(" LEFT JOIN {table} h ON {on} AND h.valid_from <= {at} AND h.valid_to > {at}")
            }
        }
    }

    /// What a column said: the table's, or that of the history.
    pub(super) fn column(self, row: &str, column: &str) -> String {
        match self {
            At::Now => format!("{row}.{column}"),
            At::Then(_) => {
                format!("CASE WHEN h.valid_from IS NULL THEN {row}.{column} ELSE h.{column} END")
            }
        }
    }

    /// 2 where the row was there, 1 where it was gone, 0 where it was not known yet.
    pub(super) fn standing(self, row: &str) -> String {
        let now = format!("WHEN {row}.gone_at IS NULL THEN CAST(2 AS BIGINT) ELSE CAST(1 AS BIGINT) END");
        match self {
            At::Now => format!("CASE {now}"),
            At::Then(at) => format!(
                "CASE WHEN h.valid_from IS NOT NULL AND h.gone THEN CAST(1 AS BIGINT) \
                      WHEN h.valid_from IS NOT NULL THEN CAST(2 AS BIGINT) \
                      WHEN {row}.created_at > {} THEN CAST(0 AS BIGINT) {now}",
                at.as_micros()
            ),
        }
    }

    /// That the row was there.
    pub(super) fn there(self, row: &str) -> String {
        match self {
            At::Now => format!("{row}.gone_at IS NULL"),
            At::Then(_) => format!("{} = {THERE}", self.standing(row)),
        }
    }
}

/// See [`At::standing`].
pub(super) const THERE: i64 = 2;
/// See [`At::standing`].
pub(super) const UNKNOWN: i64 = 0;
