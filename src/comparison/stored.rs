//! The comparisons of an incident: created, read, run and discarded. A comparison through which something became affected
//! cannot be discarded, because it is the evidence for it.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde::Serialize;
use serde_json::json;

use super::definition::{ComparedKind, Definition, NewComparison, Target, Window};
use super::kind::Counts;
use super::listings::{self, Listing};
use super::runs::{self, Inputs, Run, RunState};
use super::side::Side;
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::{ComparisonId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::schema::{comparison_applied as ca, comparisons as c};
use crate::incident;
use crate::listing::Layout;

word_enum! {
    /// The state of a comparison.
    #[schema(as = ComparisonState)]
    State, "the state of a comparison" {
        /// A listing is missing, or the listings were not compared yet.
        Waiting = "waiting",
        /// The listings are being compared.
        Running = "running",
        /// The last run is complete.
        Done = "done",
    }
}

/// A comparison, with its listings and its last run.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Comparison {
    /// The ID of the comparison.
    pub id: ComparisonId,
    /// The incident that it belongs to.
    pub incident: IncidentId,
    /// The name that people gave it.
    pub name: String,
    /// Whether it waits for listings or a run, runs, or is done.
    pub state: State,
    /// How a row names a resource or a person.
    pub resource: Target,
    /// The column whose values identify the rows of both listings.
    pub key: String,
    /// The columns that must be equal, with their kinds.
    pub compare: Vec<ComparedKind>,
    /// The format of the expected listing.
    pub expected: Layout,
    /// The format of the observed listing.
    pub observed: Layout,
    /// The window in which the compared rows were written. Null if all rows are compared.
    pub window: Option<Window>,
    /// How much times may differ, in seconds.
    pub tolerance_seconds: f64,
    /// The listings that the next run compares.
    pub listings: Listings,
    /// The counts of the last run. Null if there was none.
    pub counts: Option<Counts>,
    /// The hashes of the listings that the last run compared.
    pub inputs: Option<Inputs>,
    /// The run that was requested last.
    pub run: Option<Run>,
    /// The number of resources or people that became affected through this comparison.
    pub applied: i64,
    /// The name of the caller who created the comparison.
    pub created_by: String,
    /// When it was created.
    pub created_at: Timestamp,
    #[serde(skip)]
    pub(super) definition: Definition,
}

/// The uploaded listings of a comparison. Null if there is none yet.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ComparisonListings)]
pub struct Listings {
    /// The listing of what should be there.
    pub expected: Option<Listing>,
    /// The listing of what is there.
    pub observed: Option<Listing>,
}

impl Comparison {
    /// Returns the checked definition of the comparison, which never changes.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = c)]
struct ComparisonRow {
    id: ComparisonId,
    incident_id: IncidentId,
    name: String,
    definition: String,
    expected_listing: Option<i64>,
    observed_listing: Option<i64>,
    created_by: String,
    created_at: Timestamp,
}

impl ComparisonRow {
    fn view(self, conn: &mut Conn) -> Result<Comparison> {
        let definition: Definition = serde_json::from_str(&self.definition)?;
        let mut listing = |id: Option<i64>| id.map(|id| listings::get(conn, id)).transpose();
        let listings = Listings {
            expected: listing(self.expected_listing)?,
            observed: listing(self.observed_listing)?,
        };
        let run = runs::list(conn, &self.id, None, 1)?.pop();
        let applied: i64 = ca::table
            .filter(ca::comparison_id.eq(self.id.as_str()))
            .select(sql::<BigInt>("COUNT(DISTINCT target_key)"))
            .first(conn)?;
        let newer = |run: &Run| {
            let of = |listing: &Option<Listing>| listing.as_ref().map(|one| one.sha256.clone());
            of(&listings.expected).as_ref() != Some(&run.inputs.expected)
                || of(&listings.observed).as_ref() != Some(&run.inputs.observed)
        };
        let state = match &run {
            Some(run) if run.state != RunState::Done => State::Running,
            Some(run) if !newer(run) => State::Done,
            _ => State::Waiting,
        };
        let Definition {
            resource,
            key,
            compare,
            expected,
            observed,
            window,
            tolerance,
        } = definition.clone();
        Ok(Comparison {
            id: self.id,
            incident: self.incident_id,
            name: self.name,
            state,
            resource,
            key,
            compare,
            expected,
            observed,
            window,
            tolerance_seconds: tolerance as f64 / 1e6,
            listings,
            counts: run.as_ref().map(|run| run.counts),
            inputs: run.as_ref().map(|run| run.inputs.clone()),
            run,
            applied,
            created_by: self.created_by,
            created_at: self.created_at,
            definition,
        })
    }
}

/// Creates a comparison.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` with every wrong field.
pub fn create(tx: &mut Tx<'_>, incident: &IncidentId, new: &NewComparison) -> Result<Comparison> {
    incident::get(tx.conn, incident)?;
    let definition = Definition::check(tx.conn, new)?;
    let id = ComparisonId::new(tx.now);
    let json = serde_json::to_string(&definition)?;
    diesel::insert_into(c::table)
        .values((
            c::id.eq(id.as_str()),
            c::incident_id.eq(incident.as_str()),
            c::name.eq(new.name.trim()),
            c::definition.eq(&json),
            c::created_by.eq(tx.actor.name()),
            c::created_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::ComparisonCreated, "comparison", id.as_str())
            .incident(incident)
            .after(json!({"name": new.name.trim(), "definition": definition})),
    );
    get(tx.conn, &id)
}

/// Returns a comparison.
///
/// # Errors
/// `NotFound` if it does not exist or was discarded.
pub fn get(conn: &mut Conn, id: &ComparisonId) -> Result<Comparison> {
    let row: Option<ComparisonRow> = c::table
        .find(id.as_str())
        .filter(c::discarded_at.is_null())
        .select(ComparisonRow::as_select())
        .first(conn)
        .optional()?;
    row.ok_or_else(|| Error::NotFound(format!("comparison {id}")))?
        .view(conn)
}

/// Returns the comparisons of an incident before an ID, newest first.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(
    conn: &mut Conn,
    incident: &IncidentId,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<Comparison>> {
    incident::get(conn, incident)?;
    let mut query = c::table
        .filter(c::incident_id.eq(incident.as_str()))
        .filter(c::discarded_at.is_null())
        .into_boxed::<crate::db::Backend>();
    if let Some(before) = before {
        query = query.filter(c::id.lt(before.to_owned()));
    }
    let rows: Vec<ComparisonRow> = query
        .order(c::id.desc())
        .limit(limit)
        .select(ComparisonRow::as_select())
        .load(conn)?;
    rows.into_iter().map(|row| row.view(conn)).collect()
}

/// Returns the number of comparisons of an incident.
pub fn count(conn: &mut Conn, incident: &IncidentId) -> Result<i64> {
    Ok(c::table
        .filter(c::incident_id.eq(incident.as_str()))
        .filter(c::discarded_at.is_null())
        .count()
        .get_result(conn)?)
}

/// Returns the runs of a comparison before a number, newest first.
///
/// # Errors
/// `NotFound` if the comparison does not exist or was discarded.
pub fn runs(conn: &mut Conn, id: &ComparisonId, before: Option<i64>, limit: i64) -> Result<Vec<Run>> {
    get(conn, id)?;
    super::runs::list(conn, id, before, limit)
}

/// Asks for a run, which a service carries out. Returns its number.
///
/// # Errors
/// `NotFound` if the comparison does not exist. `Conflict` if a listing is missing, or if a run is in progress.
pub fn request_run(tx: &mut Tx<'_>, id: &ComparisonId) -> Result<i64> {
    dialect::lock(tx.conn, Lock::Comparison, id.as_str())?;
    let comparison = get(tx.conn, id)?;
    runs::check_idle(tx.conn, id)?;
    let stored = |side: Side, listing: &Option<Listing>| {
        let why = match listing {
            Some(listing) if listing.stored => return Ok(()),
            Some(_) => "its rows were deleted because they were not used for 30 days",
            None => "there is none yet",
        };
        Err(Error::Conflict(format!("upload the {side} listing first: {why}")).code(Code::ListingMissing))
    };
    stored(Side::Expected, &comparison.listings.expected)?;
    stored(Side::Observed, &comparison.listings.observed)?;
    let (Some(expected), Some(observed)) = (&comparison.listings.expected, &comparison.listings.observed)
    else {
        return Err(Error::internal("a listing that was there is missing"));
    };
    let by = tx.actor.name().to_owned();
    listings::keep(tx.conn, [expected.id, observed.id], tx.now)?;
    let number = runs::queue(tx.conn, id, (expected, observed), &by, tx.now)?;
    tx.record(
        Event::new(Action::ComparisonRequested, "comparison", id.as_str())
            .incident(&comparison.incident)
            .after(json!({
                "run": number,
                "inputs": {"expected": expected.sha256, "observed": observed.sha256},
            })),
    );
    Ok(number)
}

/// Discards a comparison. A service then deletes the rows of its listings and its findings. Findings through which something became
/// affected are evidence and are never deleted.
///
/// # Errors
/// `NotFound` if it does not exist. `Conflict` while a run is in progress, or if something became affected through it.
pub fn discard(tx: &mut Tx<'_>, id: &ComparisonId) -> Result<()> {
    dialect::lock(tx.conn, Lock::Comparison, id.as_str())?;
    let comparison = get(tx.conn, id)?;
    runs::check_idle(tx.conn, id)?;
    if comparison.applied > 0 {
        return Err(Error::Conflict(
            "something became affected through this comparison, so it is kept as the evidence".to_owned(),
        )
        .code(Code::ComparisonApplied));
    }
    listings::let_go(tx.conn, id)?;
    diesel::update(c::table.find(id.as_str()))
        .set((
            c::discarded_at.eq(Some(tx.now)),
            c::expected_listing.eq(None::<i64>),
            c::observed_listing.eq(None::<i64>),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::ComparisonDiscarded, "comparison", id.as_str())
            .incident(&comparison.incident)
            .before(json!({"name": comparison.name})),
    );
    Ok(())
}

/// Makes a complete upload the listing of its side.
pub(super) fn set_listing(conn: &mut Conn, id: &ComparisonId, side: Side, listing: i64) -> Result<()> {
    let of = c::table.find(id.as_str());
    match side {
        Side::Expected => diesel::update(of)
            .set(c::expected_listing.eq(Some(listing)))
            .execute(conn)?,
        Side::Observed => diesel::update(of)
            .set(c::observed_listing.eq(Some(listing)))
            .execute(conn)?,
    };
    Ok(())
}
