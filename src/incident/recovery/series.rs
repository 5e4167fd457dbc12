//! How the recovery developed: the number of resources in each state over time.
//!
//! The numbers are of the resources that are affected now, at the times at which the changes happened.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde::Serialize;

use super::state::State;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::{Conn, Statement};
use crate::incident::stored::get;

/// The largest number of points, except the last one.
const MAX: i64 = 200;

/// The numbers at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RecoveryPoint)]
pub struct Point {
    /// The time of the change after which there were these numbers.
    pub at: Timestamp,
    /// The number of impaired resources.
    pub impaired: i64,
    /// The number of resources that somebody is recovering.
    pub recovering: i64,
    /// The number of recovered resources.
    pub recovered: i64,
}

impl Point {
    fn add(&mut self, state: State, n: i64) {
        match state {
            State::Impaired => self.impaired += n,
            State::Recovering => self.recovering += n,
            State::Recovered => self.recovered += n,
        }
    }
}

/// The changes of the affected resources. Evidence can be about a time before a change that was recorded earlier. The curve shows it at that
/// change then, because a resource has one state at a time.
const CHANGES: &str = "SELECT c.was, c.state, \
    MAX(c.happened_at) OVER (PARTITION BY c.resource_key ORDER BY c.id ROWS UNBOUNDED PRECEDING) AS at \
    FROM recovery_changes c JOIN incident_resources ir ON ir.incident_id = c.incident_id AND ir.resource_key = c.resource_key \
    WHERE ir.removed_at IS NULL AND c.incident_id = ";

/// Returns the numbers after each change, in at most 201 points. If there are more changes, those of a period stand at its end. Empty if the
/// incident has no recovery states.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn series(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Point>> {
    #[derive(QueryableByName)]
    struct Span {
        #[diesel(sql_type = BigInt)]
        times: i64,
        #[diesel(sql_type = Nullable<BigInt>)]
        first: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last: Option<i64>,
    }
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        at: i64,
        #[diesel(sql_type = Nullable<Text>)]
        was: Option<String>,
        #[diesel(sql_type = Text)]
        state: String,
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    get(conn, incident)?;
    let mut statement = Statement::default();
    statement
        .push("SELECT COUNT(DISTINCT e.at) AS times, MIN(e.at) AS first, MAX(e.at) AS last FROM (")
        .push(CHANGES)
        .text(incident.as_str())
        .push(") e");
    let span: Span = statement.finish().get_result(conn)?;
    let (Some(first), Some(last)) = (span.first, span.last) else {
        return Ok(Vec::new());
    };
    let at = if span.times <= MAX {
        "e.at".to_owned()
    } else {
        // Periods are counted from the first change. The first change itself is a period of its own.
        let step = ((last - first) / (MAX - 1)).max(1) + 1;
        format!("{first} + ((e.at - {first} + {step} - 1) / {step}) * {step}")
    };
    let mut statement = Statement::default();
    statement
        .push(&format!(
            "SELECT {at} AS at, e.was, e.state, COUNT(*) AS n FROM ("
        ))
        .push(CHANGES)
        .text(incident.as_str())
        .push(") e GROUP BY 1, 2, 3 ORDER BY 1");
    let rows: Vec<Row> = statement.finish().load(conn)?;
    let mut points: Vec<Point> = Vec::new();
    let mut now = Point {
        at: Timestamp::from_micros(first),
        impaired: 0,
        recovering: 0,
        recovered: 0,
    };
    for row in rows {
        let at = Timestamp::from_micros(row.at.min(last));
        if at != now.at {
            points.push(now);
            now.at = at;
        }
        if let Some(was) = row.was {
            now.add(State::parse(&was).map_err(Error::internal)?, -row.n);
        }
        now.add(State::parse(&row.state).map_err(Error::internal)?, row.n);
    }
    points.push(now);
    Ok(points)
}
