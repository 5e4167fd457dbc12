//! What each notice of a planned maintenance says about it, and whether that is still true.

use diesel::prelude::*;

use super::planned_mail::{Change, FrozenMaintenance, Times};
use super::row::Row;
use super::sending::Sending;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::maintenance_notices as c;
use crate::maintenance::{self, Maintenance, MaintenanceState};
use crate::notice::template::Phase;

/// What a notice says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saying {
    /// What the notice says about the maintenance, for example that it was moved.
    pub change: Change,
    /// How often the maintenance had been moved or cancelled.
    pub sequence: i64,
    /// The times before, if it says that the maintenance was moved.
    pub was: Option<Times>,
}

/// Stores what a draft says.
pub(super) fn keep(conn: &mut Conn, notice: &NoticeId, of: &IncidentId, saying: Saying) -> Result<()> {
    diesel::insert_into(c::table)
        .values((
            c::notice_id.eq(notice.as_str()),
            c::incident_id.eq(of.as_str()),
            c::change.eq(saying.change.as_str()),
            c::sequence.eq(saying.sequence),
            c::was_starts_at.eq(saying.was.map(|was| was.starts_at)),
            c::was_ends_at.eq(saying.was.map(|was| was.ends_at)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Returns what a notice says. A catch-up says the same as its original.
pub(super) fn of(conn: &mut Conn, row: &Row) -> Result<Option<Saying>> {
    type Columns = (String, i64, Option<Timestamp>, Option<Timestamp>);
    let id = row.catch_up_of.as_ref().unwrap_or(&row.id);
    let found: Option<Columns> = c::table
        .find(id.as_str())
        .select((c::change, c::sequence, c::was_starts_at, c::was_ends_at))
        .first(conn)
        .optional()?;
    found
        .map(|(change, sequence, starts, ends)| {
            Ok(Saying {
                change: Change::parse(&change).map_err(Error::internal)?,
                sequence,
                was: starts
                    .zip(ends)
                    .map(|(starts_at, ends_at)| Times { starts_at, ends_at }),
            })
        })
        .transpose()
}

/// Returns what is true of a maintenance now.
pub(super) fn current(of: &Maintenance, was_told: bool) -> Change {
    match of.state {
        MaintenanceState::Scheduled if was_told => Change::Moved,
        MaintenanceState::Scheduled => Change::Announced,
        MaintenanceState::InProgress => Change::Begun,
        MaintenanceState::Over => Change::Over,
        MaintenanceState::Cancelled => Change::Cancelled,
    }
}

/// Returns what a notice freezes of its maintenance. `None` if it is about an incident.
pub(super) fn frozen(
    conn: &mut Conn,
    row: &Row,
    sending: &Sending,
) -> Result<Option<(FrozenMaintenance, i64)>> {
    if row.phase()? != Phase::Maintenance {
        return Ok(None);
    }
    let planned = maintenance::get(conn, &row.incident_id)?;
    let number = planned.number;
    // A text that is only looked at belongs to no notice yet.
    let saying = of(conn, row)?.unwrap_or(Saying {
        change: current(&planned, false),
        sequence: planned.sequence,
        was: None,
    });
    let frozen = FrozenMaintenance::new(
        planned,
        saying.change,
        saying.was,
        &sending.domain,
        &sending.public_url,
    );
    Ok(Some((frozen, number)))
}

/// Returns why what a notice says of its maintenance is not true any more. `None` if it is true, or if the notice is about an incident.
pub(super) fn why_not(conn: &mut Conn, row: &Row) -> Result<Option<String>> {
    if row.phase()? != Phase::Maintenance {
        return Ok(None);
    }
    let planned = maintenance::get(conn, &row.incident_id)?;
    let Some(saying) = of(conn, row)? else {
        return Ok(None);
    };
    let is_true = saying.sequence == planned.sequence
        && match saying.change {
            Change::Announced | Change::Moved => planned.state == MaintenanceState::Scheduled,
            Change::Cancelled => planned.state == MaintenanceState::Cancelled,
            Change::Begun => planned.state == MaintenanceState::InProgress,
            Change::Over => planned.state == MaintenanceState::Over,
        };
    Ok((!is_true).then(|| {
        format!(
            "maintenance {} changed since, so the text of this notice is no longer correct; discard it and write a new one on the page of \
             the maintenance",
            planned.number
        )
    }))
}

/// Checks that what a draft says of its maintenance is true.
///
/// # Errors
/// `Conflict` if the maintenance changed since.
pub(super) fn check(conn: &mut Conn, row: &Row) -> Result<()> {
    match why_not(conn, row)? {
        Some(why) => Err(Error::Conflict(why)),
        None => Ok(()),
    }
}

/// Returns what each of these notices says.
pub(super) fn among(conn: &mut Conn, of: &IncidentId) -> Result<Vec<(NoticeId, Change)>> {
    let rows: Vec<(NoticeId, String)> = c::table
        .filter(c::incident_id.eq(of.as_str()))
        .order(c::notice_id.desc())
        .select((c::notice_id, c::change))
        .load(conn)?;
    rows.into_iter()
        .map(|(id, change)| Ok((id, Change::parse(&change).map_err(Error::internal)?)))
        .collect()
}
