//! Planned maintenance and its notices: to plan, move and cancel one each drafts a notice, which an operator previews and sends like
//! every other. Nothing is sent here.
//!
//! An announcement is for the affected customers. A later notice is for them, and for everybody who was notified before.

use diesel::prelude::*;
use serde::Serialize;

use super::discard::discard;
use super::planned_change::{self, Saying};
use super::planned_mail::{Change, Times};
use super::row::Row;
use super::state::{NoticeState, insert_draft};
use super::view::Notice;
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::notices as n;
use crate::maintenance::{
    self, Cancel, ChangeAffected, Maintenance, MaintenanceState, Move, NewMaintenance, Said,
};
use crate::notice::template::Phase;
use crate::status::component;

/// A planned maintenance with its notices.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PlannedMaintenance {
    /// The planned maintenance. Its fields are at the top level of the JSON object.
    #[serde(flatten)]
    pub maintenance: Maintenance,
    /// The draft that waits to be previewed and sent. Null if there is none.
    pub draft: Option<NoticeId>,
    /// Its notices, the last one first.
    pub notices: Vec<MaintenanceNotice>,
}

/// A notice of a planned maintenance.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MaintenanceNotice {
    /// The ID of the notice.
    pub id: NoticeId,
    /// What the notice says about the maintenance, for example that it was moved.
    pub change: Change,
    /// The state of the notice, for example `draft`.
    pub state: NoticeState,
    /// When it was queued. Null while it is a draft.
    pub queued_at: Option<Timestamp>,
}

/// Returns a maintenance with its notices.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn read(conn: &mut Conn, id: &IncidentId) -> Result<PlannedMaintenance> {
    let maintenance = maintenance::get(conn, id)?;
    with_notices(conn, maintenance)
}

fn with_notices(conn: &mut Conn, maintenance: Maintenance) -> Result<PlannedMaintenance> {
    let mut notices = Vec::new();
    for (id, change) in planned_change::among(conn, &maintenance.id)? {
        let (state, queued_at) = n::table
            .find(id.as_str())
            .select((n::state, n::queued_at))
            .first::<(NoticeState, Option<Timestamp>)>(conn)?;
        notices.push(MaintenanceNotice {
            id,
            change,
            state,
            queued_at,
        });
    }
    Ok(PlannedMaintenance {
        draft: notices
            .iter()
            .find(|notice| notice.state.is_draft())
            .map(|notice| notice.id.clone()),
        maintenance,
        notices,
    })
}

/// Plans a maintenance, and drafts its announcement.
///
/// # Errors
/// `Invalid` with each wrong field.
pub fn plan(tx: &mut Tx<'_>, new: &NewMaintenance) -> Result<PlannedMaintenance> {
    let planned = maintenance::create(tx, new)?;
    component::check_ids(tx.conn, &new.components, &[])?;
    let saying = Saying {
        change: Change::Announced,
        sequence: planned.sequence,
        was: None,
    };
    draft(tx, &planned, saying, &planned.message)?;
    with_notices(tx.conn, planned)
}

/// Gives a maintenance other times, and drafts a notice that says so. If nobody was notified of it, it is announced with the new times.
///
/// # Errors
/// `NotFound` if it does not exist, `Invalid` with each wrong field, `Conflict` if it cannot be moved.
pub fn reschedule(tx: &mut Tx<'_>, id: &IncidentId, to: &Move) -> Result<PlannedMaintenance> {
    let before = maintenance::locked(tx, id)?;
    let moved = maintenance::reschedule(tx, id, to)?;
    let message = to
        .message
        .as_deref()
        .map_or(moved.message.as_str(), str::trim)
        .to_owned();
    let told = told(tx.conn, id)?;
    drop_drafts(tx, id)?;
    let saying = Saying {
        change: planned_change::current(&moved, told.is_some()),
        sequence: moved.sequence,
        // What the reader knows, if it was moved twice and told once.
        was: Some(told.unwrap_or(Times {
            starts_at: before.starts_at,
            ends_at: before.ends_at,
        })),
    };
    draft(tx, &moved, saying, &message)?;
    with_notices(tx.conn, moved)
}

/// Changes what a maintenance affects. A draft stays, because its recipients are determined when it is previewed and sent.
///
/// # Errors
/// `NotFound` if it does not exist, `Invalid` with each wrong field, `Conflict` if it is over or cancelled.
pub fn change_affected(
    tx: &mut Tx<'_>,
    id: &IncidentId,
    change: &ChangeAffected,
) -> Result<PlannedMaintenance> {
    let before = maintenance::locked(tx, id)?.components;
    let changed = maintenance::change_affected(tx, id, change)?;
    component::check_ids(tx.conn, &changed.components, &before)?;
    with_notices(tx.conn, changed)
}

/// Cancels a maintenance. If anybody was notified of it, a notice that says so is drafted.
///
/// # Errors
/// `NotFound` if it does not exist, `Invalid` if the message is wrong, `Conflict` if it cannot be cancelled.
pub fn cancel(tx: &mut Tx<'_>, id: &IncidentId, cancelled: &Cancel) -> Result<PlannedMaintenance> {
    cancelled.check()?;
    let after = maintenance::cancel(tx, id)?;
    drop_drafts(tx, id)?;
    if told(tx.conn, id)?.is_some() {
        let saying = Saying {
            change: Change::Cancelled,
            sequence: after.sequence,
            was: None,
        };
        draft(
            tx,
            &after,
            saying,
            cancelled.message.as_deref().unwrap_or_default().trim(),
        )?;
    }
    with_notices(tx.conn, after)
}

/// Begins a maintenance before or after its time. It tells nobody.
///
/// # Errors
/// `NotFound` if it does not exist, `Conflict` if it has begun or is cancelled.
pub fn begin(tx: &mut Tx<'_>, id: &IncidentId) -> Result<PlannedMaintenance> {
    let after = maintenance::begin(tx, id)?;
    with_notices(tx.conn, after)
}

/// Ends a maintenance before or after its time. It tells nobody.
///
/// # Errors
/// `NotFound` if it does not exist, `Conflict` if it has not begun or is over.
pub fn finish(tx: &mut Tx<'_>, id: &IncidentId) -> Result<PlannedMaintenance> {
    let after = maintenance::finish(tx, id)?;
    with_notices(tx.conn, after)
}

/// Drafts a notice that says what is true now: that it is planned, moved, begun, over or cancelled. It replaces the draft that there is.
///
/// # Errors
/// `NotFound` if it does not exist, `Invalid` if the message is wrong, `Conflict` if everybody was notified of that already, or if nobody was notified
/// of a maintenance that is cancelled.
pub fn say(tx: &mut Tx<'_>, id: &IncidentId, said: &Said) -> Result<PlannedMaintenance> {
    said.check()?;
    let planned = maintenance::locked(tx, id)?;
    let told_before = told(tx.conn, id)?;
    let change = planned_change::current(&planned, told_before.is_some());
    let refused = |why: &str| Err(Error::Conflict(format!("maintenance {}: {why}", planned.number)));
    let times = Times {
        starts_at: planned.starts_at,
        ends_at: planned.ends_at,
    };
    if change == Change::Cancelled && told_before.is_none() {
        return refused("nobody was notified of it, so no notice of the cancellation is needed");
    }
    if change == Change::Moved && told_before == Some(times) {
        return refused(
            "its announcement was sent with the times that it has now; move or cancel it, or draft a catch-up",
        );
    }
    if change != Change::Moved && was_said(tx.conn, id, change, planned.sequence)? {
        return refused(
            "a notice that says this was sent; draft a catch-up of it for those who did not get it",
        );
    }
    drop_drafts(tx, id)?;
    let saying = Saying {
        change,
        sequence: planned.sequence,
        was: told_before.filter(|_| change == Change::Moved),
    };
    draft(tx, &planned, saying, said.message.trim())?;
    with_notices(tx.conn, planned)
}

fn draft(tx: &mut Tx<'_>, of: &Maintenance, saying: Saying, message: &str) -> Result<()> {
    let author = tx.actor.id().to_owned();
    let phase = Phase::Maintenance.as_str().to_owned();
    let row = Row::draft(tx.conn, &author, tx.now, of.id.clone(), phase, message.to_owned())?;
    insert_draft(tx, &row)?;
    planned_change::keep(tx.conn, &row.id, &of.id, saying)
}

/// Discards the drafts, whose text is not true any more.
fn drop_drafts(tx: &mut Tx<'_>, of: &IncidentId) -> Result<()> {
    let drafts: Vec<NoticeId> = n::table
        .filter(n::incident_id.eq(of.as_str()))
        .filter(n::state.eq(NoticeState::Draft))
        .order(n::id)
        .select(n::id)
        .load(tx.conn)?;
    for id in drafts {
        discard(tx, &id)?;
    }
    Ok(())
}

/// Returns the times of the last notice. `None` if nothing was sent.
fn told(conn: &mut Conn, of: &IncidentId) -> Result<Option<Times>> {
    let frozen: Option<Option<String>> = n::table
        .filter(n::incident_id.eq(of.as_str()))
        .filter(n::state.ne(NoticeState::Draft))
        .order((n::queued_at.desc(), n::id.desc()))
        .select(n::frozen)
        .first(conn)
        .optional()?;
    let Some(frozen) = frozen.flatten() else {
        return Ok(None);
    };
    let content: super::compose::Content = serde_json::from_str(&frozen)?;
    Ok(content.maintenance.map(|told| told.times))
}

/// Returns whether a notice that says this was sent.
fn was_said(conn: &mut Conn, of: &IncidentId, change: Change, sequence: i64) -> Result<bool> {
    let rows: Vec<Row> = n::table
        .filter(n::incident_id.eq(of.as_str()))
        .filter(n::state.ne(NoticeState::Draft))
        .load(conn)?;
    for row in rows {
        if let Some(saying) = planned_change::of(conn, &row)?
            && (saying.change, saying.sequence) == (change, sequence)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the maintenance of a notice. `None` if it is about an incident.
///
/// # Errors
/// An error of the database.
pub fn of_notice(conn: &mut Conn, notice: &Notice) -> Result<Option<Maintenance>> {
    match notice.incident.is_of_maintenance() {
        true => Ok(Some(maintenance::get(conn, &notice.incident)?)),
        false => Ok(None),
    }
}

/// Returns whether a maintenance can still be moved, and whether it can be cancelled.
pub fn can_change(state: MaintenanceState) -> (bool, bool) {
    match state {
        MaintenanceState::Scheduled => (true, true),
        MaintenanceState::InProgress => (false, true),
        MaintenanceState::Over | MaintenanceState::Cancelled => (false, false),
    }
}
