//! Which incidents have resources that were recovered and are impaired again.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::{Conn, Statement};

/// The relapses of an incident that nobody works on yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relapses {
    /// The number of affected resources that were recovered and are impaired now.
    pub resources: i64,
    /// When the first of these impairments began.
    pub since: Timestamp,
}

/// Returns the relapses of these incidents. Incidents without one are not in the map.
///
/// # Errors
/// An error of the database.
pub fn relapses(conn: &mut Conn, incidents: &[&IncidentId]) -> Result<HashMap<IncidentId, Relapses>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        incident_id: IncidentId,
        #[diesel(sql_type = BigInt)]
        resources: i64,
        #[diesel(sql_type = BigInt)]
        since: Timestamp,
    }
    let mut found = HashMap::new();
    for chunk in incidents.chunks(500) {
        if chunk.is_empty() {
            continue;
        }
        let mut statement = Statement::default();
        // The condition on `was` is the one of the partial index.
        statement.push(
            "SELECT s.incident_id, COUNT(*) AS resources, MIN(s.impaired_from) AS since FROM ( \
                 SELECT DISTINCT c.incident_id, c.resource_key FROM recovery_changes c \
                 WHERE c.was = 'recovered' AND c.incident_id IN (",
        );
        for (index, id) in chunk.iter().enumerate() {
            statement
                .push(if index > 0 { ", " } else { "" })
                .text(id.as_str());
        }
        statement.push(
            ")) e JOIN recovery_states s ON s.incident_id = e.incident_id AND s.resource_key = e.resource_key \
             JOIN incident_resources ir ON ir.incident_id = e.incident_id AND ir.resource_key = e.resource_key \
             WHERE s.state = 'impaired' AND ir.removed_at IS NULL GROUP BY s.incident_id",
        );
        let rows: Vec<Row> = statement.finish().load(conn)?;
        found.extend(rows.into_iter().map(|row| {
            let relapses = Relapses {
                resources: row.resources,
                since: row.since,
            };
            (row.incident_id, relapses)
        }));
    }
    Ok(found)
}
