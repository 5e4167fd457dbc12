//! Lists of incidents: with filters, newest first; the open ones by severity and age; and those that were resolved lately.
//!
//! Each list is read from an index, so it costs the same with a hundred incidents and with a hundred thousand.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::stored::{Incident, IncidentRow, OPEN, Severity, Status, view};
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::schema::incidents as i;
use crate::db::{Conn, FixedText};

/// Which incidents are listed. An incident must match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only incidents with this status.
    pub status: Option<Status>,
    /// Only incidents that are neither resolved nor merged, or only resolved ones.
    pub open: Option<bool>,
    /// Only incidents with this severity.
    pub severity: Option<Severity>,
    /// Only drills, or only real incidents.
    pub drill: Option<bool>,
    /// Only incidents with this owner.
    pub owner: Option<String>,
    /// Only incidents without an owner, or only those with one.
    pub owned: Option<bool>,
}

/// Returns the incidents that match the filter, newest first, below the given number.
pub fn list(conn: &mut Conn, filter: &Filter, below: Option<i64>, limit: i64) -> Result<Vec<Incident>> {
    // A planned maintenance has a negative number.
    let mut query = i::table
        .filter(i::number.gt(0))
        .into_boxed::<crate::db::Backend>();
    if let Some(status) = filter.status {
        query = query.filter(i::status.eq(status.as_str()));
    }
    match filter.open {
        Some(true) => query = query.filter(sql::<Bool>(OPEN)),
        Some(false) => query = query.filter(i::status.eq(Status::Resolved.as_str())),
        None => {}
    }
    if let Some(severity) = filter.severity {
        query = query.filter(i::severity.eq(severity.as_str()));
    }
    match filter.drill {
        Some(true) => query = query.filter(sql::<Bool>("incidents.drill")),
        Some(false) => query = query.filter(i::drill.eq(false)),
        None => {}
    }
    if let Some(owner) = &filter.owner {
        query = query.filter(i::owner.eq(owner));
    }
    match filter.owned {
        Some(true) => query = query.filter(i::owner.is_not_null()),
        Some(false) => query = query.filter(i::owner.is_null()),
        None => {}
    }
    if let Some(below) = below {
        query = query.filter(i::number.lt(below));
    }
    let rows: Vec<IncidentRow> = query.order(i::number.desc()).limit(limit).load(conn)?;
    rows.into_iter().map(view).collect()
}

/// Returns the first open incidents, the most severe first, then the oldest.
pub fn open_by_urgency(conn: &mut Conn, limit: i64) -> Result<Vec<Incident>> {
    // The words of the severities happen to sort by severity: critical, major, minor. A test says so.
    let rows: Vec<IncidentRow> = i::table
        .filter(sql::<Bool>(OPEN))
        .order((i::severity, i::started_at, i::number))
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(view).collect()
}

/// Returns the incidents that were resolved at or after a time, the last one first.
pub fn resolved_since(conn: &mut Conn, since: Timestamp, limit: i64) -> Result<Vec<Incident>> {
    let rows: Vec<IncidentRow> = i::table
        .filter(i::resolved_at.ge(since))
        .order((i::resolved_at.desc(), i::number.desc()))
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(view).collect()
}

/// Counts the open incidents, up to a limit.
pub fn count_open(conn: &mut Conn, most: i64) -> Result<i64> {
    let found = i::table.filter(sql::<Bool>(OPEN)).select(i::number).limit(most);
    Ok(found.load::<i64>(conn)?.len() as i64)
}

/// Counts the incidents that were resolved at or after a time, up to a limit.
pub fn count_resolved_since(conn: &mut Conn, since: Timestamp, most: i64) -> Result<i64> {
    let found = i::table
        .filter(i::resolved_at.ge(since))
        .select(i::number)
        .limit(most);
    Ok(found.load::<i64>(conn)?.len() as i64)
}

/// Returns the newest incident.
pub fn newest(conn: &mut Conn) -> Result<Option<Incident>> {
    let row: Option<IncidentRow> = i::table
        .filter(i::number.gt(0))
        .order(i::number.desc())
        .limit(1)
        .fixed()
        .get_result(conn)
        .optional()?;
    row.map(view).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_sort_by_their_words() {
        let words = [Severity::Critical, Severity::Major, Severity::Minor].map(Severity::as_str);
        assert!(words.is_sorted(), "{words:?}");
    }
}
