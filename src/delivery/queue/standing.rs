//! The state of the queue in a few cheap numbers.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;

use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notices as n};
use crate::notice::counts;

/// The number of waiting deliveries that are examined.
const EXAMINED: i64 = 10_000;

/// The state of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct QueueStanding {
    /// The number of deliveries that wait or are being sent.
    pub pending: i64,
    /// The number of deliveries that need not wait for a later attempt. It counts at most 10,000.
    pub due: i64,
    /// When the oldest notice that is being sent was queued. Null if none is being sent.
    pub oldest_queued_at: Option<Timestamp>,
    /// The number of workers that hold deliveries at this moment, among the first 10,000 that are due.
    pub workers_sending: usize,
}

/// Returns the state of the queue.
///
/// # Errors
/// An error of the database.
pub fn standing(conn: &mut Conn) -> Result<QueueStanding> {
    // The text is that of the partial index.
    let leases: Vec<Option<String>> = d::table
        .filter(sql::<Bool>(
            "deliveries.state = 'pending' AND deliveries.deferred_until IS NULL",
        ))
        .select(d::lease)
        .limit(EXAMINED)
        .load(conn)?;
    let oldest: Option<Option<Timestamp>> = n::table
        .filter(sql::<Bool>("notices.state IN ('queued', 'sending')"))
        .select(diesel::dsl::min(n::queued_at))
        .first(conn)
        .optional()?;
    let due = leases.len() as i64;
    let holders: std::collections::BTreeSet<String> = leases.into_iter().flatten().collect();
    Ok(QueueStanding {
        pending: counts::pending(conn)?,
        due,
        oldest_queued_at: oldest.flatten(),
        workers_sending: holders.len(),
    })
}
