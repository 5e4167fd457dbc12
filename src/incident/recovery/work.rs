//! The only place that changes recovery states: it reads the states of some resources, decides each change, and stores the new
//! states with the history of the changes.
//!
//! Changes are decided in memory, one after another, so that several lines about one resource behave as if they had been sent one by
//! one.

use std::collections::{BTreeSet, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::state::State;
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect::{self, recovery as write};
use crate::db::keyed::{CHUNK, Keyed, Word, load_keyed};
use crate::db::{Conn, Statement};

/// The number of changes from which the database updates its statistics.
const MANY: usize = 1_000;

/// The state of a resource.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub state: State,
    /// The normalised value of each compared column, as a JSON object.
    pub expected: Option<String>,
    /// When the current or last impairment began.
    pub impaired_from: Timestamp,
    /// When the resource was last seen to be wrong.
    pub wrong_at: Timestamp,
    /// When the state changed.
    pub changed_at: Timestamp,
    /// The time of the evidence, if it is recovered.
    pub recovered_at: Option<Timestamp>,
    /// Whether two people attested it.
    pub attested: bool,
}

/// What evidence or an impairment changed in the state of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The resource became recovered.
    Recovered,
    /// A recovered resource became impaired.
    Relapsed,
    /// The state changed in another way.
    Changed,
    /// The state did not change.
    Unchanged,
    /// The evidence is older than the last time at which the resource was seen to be wrong.
    TooOld,
    /// The resource has no state.
    NoState,
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cause<'a> {
    /// When the change happened: for evidence, when it was observed.
    pub at: Timestamp,
    /// What says so, for example a comparison, the source of a line of evidence, a batch, a check, or an attestation.
    pub source: &'a str,
    /// What was seen, as JSON.
    pub evidence: Option<&'a str>,
}

struct Change {
    resource_key: i64,
    was: Option<State>,
    state: State,
    happened_at: Timestamp,
    source: String,
    evidence: Option<String>,
}

/// The states of some resources, and the changes that are not stored yet.
pub(super) struct Work<'a> {
    incident: &'a IncidentId,
    rows: HashMap<i64, Row>,
    touched: BTreeSet<i64>,
    changes: Vec<Change>,
}

impl<'a> Work<'a> {
    /// Reads the states of these resources. Resources without a state are accepted.
    pub fn read(conn: &mut Conn, incident: &'a IncidentId, keys: &[i64]) -> Result<Work<'a>> {
        type Columns = (
            BigInt,
            Text,
            Nullable<Text>,
            BigInt,
            BigInt,
            BigInt,
            Nullable<BigInt>,
            Bool,
        );
        type Stored = (
            i64,
            Word,
            Option<Word>,
            Timestamp,
            Timestamp,
            Timestamp,
            Option<Timestamp>,
            bool,
        );
        // An ID of Candor is a UUID, so it needs no quoting.
        let condition = format!("s.incident_id = '{incident}'");
        let query = Keyed {
            columns: "s.resource_key, s.state, s.expected, s.impaired_from, s.wrong_at, s.changed_at, s.recovered_at, s.attested",
            table: "recovery_states s",
            joined: "",
            on: "s.resource_key",
            condition: &condition,
        };
        let mut distinct = keys.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut rows = HashMap::with_capacity(distinct.len());
        for chunk in distinct.chunks(CHUNK) {
            let stored: Vec<Stored> = load_keyed!(conn, Columns, query, chunk);
            for (key, Word(state), expected, impaired_from, wrong_at, changed_at, recovered_at, attested) in
                stored
            {
                let row = Row {
                    state: State::parse(&state).map_err(Error::internal)?,
                    expected: expected.map(|Word(text)| text.into_string()),
                    impaired_from,
                    wrong_at,
                    changed_at,
                    recovered_at,
                    attested,
                };
                rows.insert(key, row);
            }
        }
        Ok(Work {
            incident,
            rows,
            touched: BTreeSet::new(),
            changes: Vec::new(),
        })
    }

    /// Returns the state of a resource, with the changes that are not stored yet.
    pub fn row(&self, key: i64) -> Option<&Row> {
        self.rows.get(&key)
    }

    /// Makes a resource impaired that has no state or is recovered. `expected` replaces what is known, unless it is `None`.
    /// `cause.at` is when the impairment began, and `seen_at` when it was seen.
    pub fn impair(
        &mut self,
        key: i64,
        expected: Option<&str>,
        seen_at: Timestamp,
        cause: Cause<'_>,
    ) -> Effect {
        let Some(row) = self.rows.get_mut(&key) else {
            let row = Row {
                state: State::Impaired,
                expected: expected.map(str::to_owned),
                impaired_from: cause.at,
                wrong_at: cause.at.max(seen_at),
                changed_at: cause.at,
                recovered_at: None,
                attested: false,
            };
            self.rows.insert(key, row);
            self.note(key, None, State::Impaired, cause.at, cause);
            return Effect::Changed;
        };
        let newer = expected.is_some() && row.expected.as_deref() != expected;
        if newer {
            row.expected = expected.map(str::to_owned);
        }
        let wrong_at = row.wrong_at.max(seen_at);
        if newer || wrong_at != row.wrong_at {
            row.wrong_at = wrong_at;
            self.touched.insert(key);
        }
        match row.recovered_at {
            // It was seen before the evidence for its recovery, so it says nothing new.
            Some(recovered_at) if seen_at < recovered_at => Effect::Unchanged,
            Some(recovered_at) => {
                // It was as expected when the evidence was taken, so the impairment began later.
                let at = if cause.at >= recovered_at {
                    cause.at
                } else {
                    seen_at
                };
                self.relapse(key, at, cause);
                Effect::Relapsed
            }
            None => Effect::Unchanged,
        }
    }

    /// Takes evidence that the resource is as expected.
    pub fn fits(&mut self, key: i64, attested: bool, cause: Cause<'_>) -> Effect {
        let Some(row) = self.rows.get_mut(&key) else {
            return Effect::NoState;
        };
        if cause.at < row.wrong_at.max(row.impaired_from) {
            return Effect::TooOld;
        }
        if row.state == State::Recovered {
            // Evidence is worth more than an attestation.
            if row.attested && !attested {
                row.attested = false;
                self.touched.insert(key);
            }
            return Effect::Unchanged;
        }
        let was = row.state;
        row.state = State::Recovered;
        row.changed_at = cause.at;
        row.recovered_at = Some(cause.at);
        row.attested = attested;
        self.note(key, Some(was), State::Recovered, cause.at, cause);
        Effect::Recovered
    }

    /// Takes evidence that the resource is not as expected.
    pub fn wrong(&mut self, key: i64, cause: Cause<'_>) -> Effect {
        let Some(row) = self.rows.get_mut(&key) else {
            return Effect::NoState;
        };
        if cause.at < row.impaired_from {
            return Effect::TooOld;
        }
        if cause.at > row.wrong_at {
            row.wrong_at = cause.at;
            self.touched.insert(key);
        }
        match (row.state, row.recovered_at) {
            (State::Recovered, Some(recovered_at)) if cause.at < recovered_at => Effect::TooOld,
            (State::Recovered, _) => {
                self.relapse(key, cause.at, cause);
                Effect::Relapsed
            }
            // A listing from before the attempt does not say that the attempt failed.
            (State::Recovering, _) if cause.at >= row.changed_at => {
                row.state = State::Impaired;
                row.changed_at = cause.at;
                self.note(key, Some(State::Recovering), State::Impaired, cause.at, cause);
                Effect::Changed
            }
            (State::Recovering | State::Impaired, _) => Effect::Unchanged,
        }
    }

    /// Notes that somebody began to recover an impaired resource. Nothing else changes.
    pub fn begin(&mut self, key: i64, cause: Cause<'_>) -> Effect {
        match self.rows.get_mut(&key) {
            None => Effect::NoState,
            Some(row) if row.state != State::Impaired => Effect::Unchanged,
            Some(row) => {
                row.state = State::Recovering;
                row.changed_at = cause.at;
                self.note(key, Some(State::Impaired), State::Recovering, cause.at, cause);
                Effect::Changed
            }
        }
    }

    fn relapse(&mut self, key: i64, at: Timestamp, cause: Cause<'_>) {
        let Some(row) = self.rows.get_mut(&key) else {
            return;
        };
        let was = row.state;
        row.state = State::Impaired;
        row.impaired_from = at;
        row.wrong_at = row.wrong_at.max(at);
        row.changed_at = at;
        row.recovered_at = None;
        row.attested = false;
        self.note(key, Some(was), State::Impaired, at, cause);
    }

    fn note(&mut self, key: i64, was: Option<State>, state: State, happened_at: Timestamp, cause: Cause<'_>) {
        self.touched.insert(key);
        self.changes.push(Change {
            resource_key: key,
            was,
            state,
            happened_at,
            source: cause.source.to_owned(),
            evidence: cause.evidence.map(str::to_owned),
        });
    }

    /// Stores the new states and the history of the changes. The caller records the audit event.
    pub fn store(self, tx: &mut Tx<'_>) -> Result<()> {
        let touched: Vec<i64> = self.touched.into_iter().collect();
        for chunk in touched.chunks(CHUNK) {
            let rows: Vec<write::StateRow<'_>> = chunk
                .iter()
                .filter_map(|key| Some((*key, self.rows.get(key)?)))
                .map(|(resource_key, row)| write::StateRow {
                    resource_key,
                    state: row.state.as_str(),
                    expected: row.expected.as_deref(),
                    impaired_from: row.impaired_from,
                    wrong_at: row.wrong_at,
                    changed_at: row.changed_at,
                    recovered_at: row.recovered_at,
                    attested: row.attested,
                })
                .collect();
            write::put_states(tx.conn, self.incident, &rows)?;
        }
        let actor = tx.actor.name().to_owned();
        for chunk in self.changes.chunks(CHUNK) {
            let rows: Vec<write::ChangeRow<'_>> = chunk
                .iter()
                .map(|change| write::ChangeRow {
                    resource_key: change.resource_key,
                    was: change.was.map(State::as_str),
                    state: change.state.as_str(),
                    happened_at: change.happened_at,
                    source: &change.source,
                    evidence: change.evidence.as_deref(),
                })
                .collect();
            write::add_changes(tx.conn, self.incident, (tx.now, &actor), &rows)?;
        }
        if self.changes.len() >= MANY {
            dialect::analyze(tx.conn, &["recovery_states", "recovery_changes"])?;
        }
        Ok(())
    }
}

/// Gives every affected resource that has no state the state impaired, from the start of the incident and without an expected value.
/// The caller has locked the incident.
pub(super) fn fill(tx: &mut Tx<'_>, incident: &IncidentId, started_at: Timestamp) -> Result<i64> {
    let actor = tx.actor.name().to_owned();
    let now = tx.now;
    let without = |statement: &mut Statement| {
        statement
            .push(" FROM incident_resources ir WHERE ir.incident_id = ")
            .text(incident.as_str())
            .push(
                " AND ir.removed_at IS NULL AND NOT EXISTS (SELECT 1 FROM recovery_states s \
                 WHERE s.incident_id = ir.incident_id AND s.resource_key = ir.resource_key)",
            );
    };
    let mut history = Statement::default();
    history
        .push("INSERT INTO recovery_changes (incident_id, resource_key, state, happened_at, recorded_at, source, actor) SELECT ir.incident_id, ir.resource_key, ")
        .text(State::Impaired.as_str())
        .push(", ")
        .time(started_at)
        .push(", ")
        .time(now)
        .push(", ")
        .text("affected by the incident")
        .push(", ")
        .text(&actor);
    without(&mut history);
    let filled = history.finish().execute(tx.conn)? as i64;
    if filled == 0 {
        return Ok(0);
    }
    let mut states = Statement::default();
    states
        .push(
            "INSERT INTO recovery_states (incident_id, resource_key, state, impaired_from, wrong_at, changed_at, attested) \
             SELECT ir.incident_id, ir.resource_key, ",
        )
        .text(State::Impaired.as_str())
        .push(", ")
        .time(started_at)
        .push(", ")
        .time(started_at)
        .push(", ")
        .time(started_at)
        .push(", FALSE");
    without(&mut states);
    states.finish().execute(tx.conn)?;
    if filled as usize >= MANY {
        dialect::analyze(tx.conn, &["recovery_states", "recovery_changes"])?;
    }
    Ok(filled)
}
