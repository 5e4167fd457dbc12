//! The time at which the directory is read. For an earlier time, the row of the history table that was valid
//! then replaces the row of the table.
//!
//! The text of a statement contains only times and Candor's own keys, never texts of a caller.

use crate::base::time::Timestamp;

/// The time at which the directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The directory as it is now.
    Now,
    /// The directory as it was at this time, as far as Candor knew it then.
    Then(Timestamp),
}

impl At {
    /// Returns the join with the history table if an earlier time is read. `on` is the condition of the join.
    pub(super) fn history(self, table: &str, on: &str) -> String {
        match self {
            At::Now => String::new(),
            At::Then(at) => {
                let at = at.as_micros();
                format!(" LEFT JOIN {table} h ON {on} AND h.valid_from <= {at} AND h.valid_to > {at}")
            }
        }
    }

    /// Returns the expression for the value of a column, from the table or from the history.
    pub(super) fn column(self, row: &str, column: &str) -> String {
        match self {
            At::Now => format!("{row}.{column}"),
            At::Then(_) => {
                format!("CASE WHEN h.valid_from IS NULL THEN {row}.{column} ELSE h.{column} END")
            }
        }
    }

    /// Returns an expression that is 2 if the row was active, 1 if it was archived, and 0 if it was not known
    /// yet.
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

    /// Returns the condition that the row was active.
    pub(super) fn active_condition(self, row: &str) -> String {
        match self {
            At::Now => format!("{row}.gone_at IS NULL"),
            At::Then(_) => format!("{} = {THERE}", self.standing(row)),
        }
    }
}

/// The value of [`At::standing`] for an active row.
pub(super) const THERE: i64 = 2;
/// The value of [`At::standing`] for a row that was not known yet.
pub(super) const UNKNOWN: i64 = 0;
