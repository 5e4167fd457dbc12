//! Which incident a notice or a delivery belongs to.

use diesel::prelude::*;

use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notices as n};

/// Returns the incident of a notice. `None` if the notice does not exist.
///
/// # Errors
/// An error of the database.
pub fn incident_of(conn: &mut Conn, notice: &NoticeId) -> Result<Option<IncidentId>> {
    Ok(n::table
        .find(notice.as_str())
        .select(n::incident_id)
        .first(conn)
        .optional()?)
}

/// Returns the incident of a delivery. `None` if the delivery does not exist.
///
/// # Errors
/// An error of the database.
pub fn incident_of_delivery(conn: &mut Conn, delivery: i64) -> Result<Option<IncidentId>> {
    Ok(d::table
        .inner_join(n::table)
        .filter(d::id.eq(delivery))
        .select(n::incident_id)
        .first(conn)
        .optional()?)
}
