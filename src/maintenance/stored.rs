//! The stored maintenances. Each change has its audit event, and only the functions here change the state.
//!
//! The lock of a maintenance is that of the row behind it, which sending a notice takes too. So no notice is sent with times that change
//! in the same moment.

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde::Serialize;
use serde_json::json;

use super::check::{ChangeAffected, Move, NewMaintenance};
use crate::audit::{Action, Event, Tx};
use crate::base::columns::word_columns;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::schema::{counters, incident_resources as ir, maintenances as m};
use crate::incident::affected::{self, AddAffected, RemoveAffected};
use crate::incident::planned;

word_enum! {
    /// The state of a planned maintenance.
    #[derive(AsExpression, FromSqlRow)]
    #[diesel(sql_type = Text)]
    MaintenanceState, "a state of a maintenance" {
        /// It has not begun.
        Scheduled = "scheduled",
        /// The maintenance has begun, at its planned start or when an operator began it.
        InProgress = "in_progress",
        /// The maintenance is over, at its planned end or when an operator ended it.
        Over = "over",
        /// It does not take place.
        Cancelled = "cancelled",
    }
}
word_columns!(MaintenanceState);

/// A planned maintenance, with its times, its state and its message to customers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Maintenance {
    /// The ID of the maintenance.
    pub id: IncidentId,
    /// The number, from 1. Emails show it.
    pub number: i64,
    /// What is maintained, in words for customers.
    pub title: String,
    /// The message of the announcement, in plain text.
    pub message: String,
    /// When it starts or started, by plan.
    pub starts_at: Timestamp,
    /// When it ends, by plan.
    pub ends_at: Timestamp,
    /// How far it is.
    pub state: MaintenanceState,
    /// How often it was moved or cancelled. The file for calendars has the same number.
    pub sequence: i64,
    /// The IDs of the components of the status page that it affects.
    pub components: Vec<String>,
    /// The number of affected resources.
    pub resources: i64,
    /// When it really began. Null before.
    pub began_at: Option<Timestamp>,
    /// When it was really over, or cancelled. Null before.
    pub over_at: Option<Timestamp>,
    /// The name of the token that planned it.
    pub created_by: String,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When its times, its state or its components last changed.
    pub updated_at: Timestamp,
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = m)]
#[diesel(treat_none_as_default_value = false)]
struct Row {
    incident_id: IncidentId,
    number: i64,
    title: String,
    message: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    state: MaintenanceState,
    sequence: i64,
    components: String,
    began_at: Option<Timestamp>,
    over_at: Option<Timestamp>,
    created_by: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn view(conn: &mut Conn, row: Row) -> Result<Maintenance> {
    let resources = ir::table
        .filter(ir::incident_id.eq(row.incident_id.as_str()))
        .filter(ir::removed_at.is_null())
        .count()
        .get_result(conn)?;
    Ok(Maintenance {
        id: row.incident_id,
        number: row.number,
        title: row.title,
        message: row.message,
        starts_at: row.starts_at,
        ends_at: row.ends_at,
        state: row.state,
        sequence: row.sequence,
        components: serde_json::from_str(&row.components)?,
        resources,
        began_at: row.began_at,
        over_at: row.over_at,
        created_by: row.created_by,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

/// Returns a maintenance.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn get(conn: &mut Conn, id: &IncidentId) -> Result<Maintenance> {
    let row: Row = m::table
        .find(id.as_str())
        .first(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("planned maintenance {id}")))?;
    view(conn, row)
}

/// Locks a maintenance until the transaction ends, and returns it.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn locked(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Maintenance> {
    dialect::lock(tx.conn, Lock::Incident, id.as_str())?;
    get(tx.conn, id)
}

/// Returns the maintenances below a number, the last one that was planned first. With `state`, only those.
///
/// # Errors
/// An error of the database.
pub fn list(
    conn: &mut Conn,
    state: Option<MaintenanceState>,
    below: Option<i64>,
    limit: i64,
) -> Result<Vec<Maintenance>> {
    let mut query = m::table.into_boxed::<crate::db::Backend>();
    if let Some(state) = state {
        query = query.filter(m::state.eq(state));
    }
    if let Some(below) = below {
        query = query.filter(m::number.lt(below));
    }
    let rows: Vec<Row> = query.order(m::number.desc()).limit(limit).load(conn)?;
    rows.into_iter().map(|row| view(conn, row)).collect()
}

/// Returns the number of maintenances in a state.
///
/// # Errors
/// An error of the database.
pub fn count(conn: &mut Conn, state: MaintenanceState) -> Result<i64> {
    Ok(m::table.filter(m::state.eq(state)).count().get_result(conn)?)
}

/// Returns the maintenances that are going on or still to come, with their components, the first one to start first. This is what a
/// public page and a public calendar show.
///
/// # Errors
/// An error of the database.
pub fn current_and_upcoming(conn: &mut Conn, limit: i64) -> Result<Vec<Maintenance>> {
    let rows: Vec<Row> = m::table
        .filter(m::state.eq_any([MaintenanceState::Scheduled, MaintenanceState::InProgress]))
        .order((m::starts_at, m::number))
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(|row| view(conn, row)).collect()
}

/// What an event shows of a maintenance.
fn mark(one: &Maintenance) -> serde_json::Value {
    json!({
        "title": one.title, "starts_at": one.starts_at, "ends_at": one.ends_at, "state": one.state, "sequence": one.sequence,
        "components": one.components,
    })
}

fn event(action: Action, of: &Maintenance) -> Event {
    Event::new(action, "maintenance", of.id.as_str()).incident(&of.id)
}

/// Plans a maintenance. It tells nobody.
///
/// # Errors
/// `Invalid` with each wrong field, or with what is wrong with the affected resources.
pub fn create(tx: &mut Tx<'_>, new: &NewMaintenance) -> Result<Maintenance> {
    new.check(tx.now)?;
    let number: i64 = diesel::update(counters::table.find("maintenance"))
        .set(counters::value.eq(counters::value + 1))
        .returning(counters::value)
        .get_result(tx.conn)?;
    let title = new.title.trim();
    let id = planned::create(tx, number, title)?;
    let row = Row {
        incident_id: id.clone(),
        number,
        title: title.to_owned(),
        message: new.message.trim().to_owned(),
        starts_at: new.starts_at,
        ends_at: new.ends_at,
        state: MaintenanceState::Scheduled,
        sequence: 0,
        components: serde_json::to_string(&new.components)?,
        began_at: None,
        over_at: None,
        created_by: tx.actor.name().to_owned(),
        created_at: tx.now,
        updated_at: tx.now,
    };
    diesel::insert_into(m::table).values(&row).execute(tx.conn)?;
    let planned = get(tx.conn, &id)?;
    let mut after = mark(&planned);
    after["number"] = json!(number);
    tx.record(event(Action::MaintenancePlanned, &planned).after(after));
    let wanted = AddAffected {
        resources: new.affected.clone(),
        selector: new.selector.clone(),
        ..AddAffected::default()
    };
    affected::add_requested(tx, &id, &wanted).map_err(|error| error.renamed("/resources", "/affected"))?;
    get(tx.conn, &id)
}

/// Changes what a maintenance affects. It tells nobody: a later notice goes to whoever is affected then, and to everybody who was
/// notified before.
///
/// # Errors
/// `NotFound` if it does not exist, `Invalid` with each wrong field, `Conflict` if it is over or cancelled. Nothing is changed then.
pub fn change_affected(tx: &mut Tx<'_>, id: &IncidentId, change: &ChangeAffected) -> Result<Maintenance> {
    change.check()?;
    let before = locked(tx, id)?;
    if matches!(before.state, MaintenanceState::Over | MaintenanceState::Cancelled) {
        return Err(wrong_state(&before, "changed"));
    }
    if change.add.is_some() {
        let wanted = AddAffected {
            resources: change.add.clone(),
            ..AddAffected::default()
        };
        affected::add_requested(tx, id, &wanted).map_err(|error| error.renamed("/resources", "/add"))?;
    }
    if change.selector.is_some() {
        let wanted = AddAffected {
            selector: change.selector.clone(),
            ..AddAffected::default()
        };
        affected::add_requested(tx, id, &wanted)?;
    }
    if change.remove.is_some() {
        let unwanted = RemoveAffected {
            resources: change.remove.clone(),
            ..RemoveAffected::default()
        };
        affected::remove_requested(tx, id, &unwanted)
            .map_err(|error| error.renamed("/resources", "/remove"))?;
    }
    match &change.components {
        Some(components) if *components != before.components => {
            diesel::update(m::table.find(id.as_str()))
                .set((
                    m::components.eq(serde_json::to_string(components)?),
                    m::updated_at.eq(tx.now),
                ))
                .execute(tx.conn)?;
            recorded(tx, Action::MaintenanceChanged, &before)
        }
        _ => get(tx.conn, id),
    }
}

fn wrong_state(one: &Maintenance, what: &str) -> Error {
    let state = match one.state {
        MaintenanceState::Scheduled => "has not begun",
        MaintenanceState::InProgress => "has begun",
        MaintenanceState::Over => "is over",
        MaintenanceState::Cancelled => "is cancelled",
    };
    Error::Conflict(format!(
        "maintenance {} {state}, so it cannot be {what}",
        one.number
    ))
}

/// Gives a maintenance other times. It tells nobody.
///
/// # Errors
/// `NotFound` if it does not exist, `Invalid` with each wrong field, `Conflict` if it has begun or is cancelled, or if the times are the
/// same.
pub fn reschedule(tx: &mut Tx<'_>, id: &IncidentId, to: &Move) -> Result<Maintenance> {
    to.check(tx.now)?;
    let before = locked(tx, id)?;
    if before.state != MaintenanceState::Scheduled {
        return Err(wrong_state(&before, "moved"));
    }
    if (before.starts_at, before.ends_at) == (to.starts_at, to.ends_at) {
        return Err(Error::Conflict(format!(
            "maintenance {} has these times already",
            before.number
        )));
    }
    diesel::update(m::table.find(id.as_str()))
        .set((
            m::starts_at.eq(to.starts_at),
            m::ends_at.eq(to.ends_at),
            m::sequence.eq(before.sequence + 1),
            m::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    recorded(tx, Action::MaintenanceMoved, &before)
}

/// Writes the event of a change, and returns the maintenance as it is now.
fn recorded(tx: &mut Tx<'_>, action: Action, before: &Maintenance) -> Result<Maintenance> {
    let after = get(tx.conn, &before.id)?;
    tx.record(event(action, &after).before(mark(before)).after(mark(&after)));
    Ok(after)
}

/// Cancels a maintenance. It tells nobody.
///
/// # Errors
/// `NotFound` if it does not exist, `Conflict` if it is over or cancelled.
pub fn cancel(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Maintenance> {
    let before = locked(tx, id)?;
    if !matches!(
        before.state,
        MaintenanceState::Scheduled | MaintenanceState::InProgress
    ) {
        return Err(wrong_state(&before, "cancelled"));
    }
    diesel::update(m::table.find(id.as_str()))
        .set((
            m::state.eq(MaintenanceState::Cancelled),
            m::sequence.eq(before.sequence + 1),
            m::over_at.eq(Some(tx.now)),
            m::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    recorded(tx, Action::MaintenanceCancelled, &before)
}

/// Begins a maintenance, by the clock or by hand.
///
/// # Errors
/// `NotFound` if it does not exist, `Conflict` if it has begun or is cancelled.
pub fn begin(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Maintenance> {
    let before = locked(tx, id)?;
    if before.state != MaintenanceState::Scheduled {
        return Err(wrong_state(&before, "begun"));
    }
    diesel::update(m::table.find(id.as_str()))
        .set((
            m::state.eq(MaintenanceState::InProgress),
            m::began_at.eq(Some(tx.now)),
            m::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    recorded(tx, Action::MaintenanceBegun, &before)
}

/// Ends a maintenance, by the clock or by hand.
///
/// # Errors
/// `NotFound` if it does not exist, `Conflict` if it has not begun, is over or is cancelled.
pub fn finish(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Maintenance> {
    let before = locked(tx, id)?;
    if before.state != MaintenanceState::InProgress {
        return Err(wrong_state(&before, "ended"));
    }
    diesel::update(m::table.find(id.as_str()))
        .set((
            m::state.eq(MaintenanceState::Over),
            m::over_at.eq(Some(tx.now)),
            m::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    recorded(tx, Action::MaintenanceOver, &before)
}

/// The largest number of maintenances that one step begins or ends.
const AT_ONCE: i64 = 50;

/// Begins and ends what is due. Returns how many changed.
///
/// # Errors
/// An error of the database.
pub(super) fn advance(tx: &mut Tx<'_>) -> Result<usize> {
    let due = |conn: &mut Conn, state, now: Timestamp| -> Result<Vec<IncidentId>> {
        let due = m::table
            .filter(m::state.eq(state))
            .select(m::incident_id)
            .limit(AT_ONCE);
        Ok(match state {
            MaintenanceState::Scheduled => due.filter(m::starts_at.le(now)).load(conn)?,
            _ => due.filter(m::ends_at.le(now)).load(conn)?,
        })
    };
    let now = tx.now;
    let mut changed = 0;
    for id in due(tx.conn, MaintenanceState::Scheduled, now)? {
        // Another process may have been faster.
        if locked(tx, &id)?.state == MaintenanceState::Scheduled {
            begin(tx, &id)?;
            changed += 1;
        }
    }
    for id in due(tx.conn, MaintenanceState::InProgress, now)? {
        if locked(tx, &id)?.state == MaintenanceState::InProgress {
            finish(tx, &id)?;
            changed += 1;
        }
    }
    Ok(changed)
}

/// Returns whether anything is to be begun or ended.
///
/// # Errors
/// An error of the database.
pub(super) fn is_due(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let begins = m::state.eq(MaintenanceState::Scheduled).and(m::starts_at.le(now));
    let ends = m::state.eq(MaintenanceState::InProgress).and(m::ends_at.le(now));
    let found: Option<String> = m::table
        .filter(begins.or(ends))
        .select(m::state)
        .first(conn)
        .map(|state: MaintenanceState| state.as_str().to_owned())
        .optional()?;
    Ok(found.is_some())
}
