//! The service that carries out runs, the oldest first, and deletes rows of listings that are not needed any more and the findings of
//! discarded comparisons. Each step of a
//! run is one short transaction that stores its findings and its position, so that alerts and emails do not wait for it, and
//! a run goes on where it was after a crash.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde_json::json;

use super::definition::Definition;
use super::judge::{NewFinding, Rules, Verdict};
use super::kind::Kind;
use super::listings;
use super::merge::{Limits, Merge};
use super::resolve;
use super::runs::{self, Claimed, LEASE, RunState};
use super::stored;
use super::{evidence, findings};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::count::counted;
use crate::base::error::Result;
use crate::base::id::{ComparisonId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::many::insert_many;
use crate::db::schema::comparison_findings as cf;
use crate::db::{Conn, Db, dialect};
use crate::incident::{recovery, timeline};
use crate::work::{Lease, Next, Service, Stop};

/// How much of a run one transaction stores.
const LIMITS: Limits = Limits {
    rows: 250_000,
    findings: 5_000,
};
/// The kinds of findings whose resource should be in the directory.
const NAMED: [Kind; 5] = [
    Kind::Missing,
    Kind::Differs,
    Kind::Unexpected,
    Kind::Duplicate,
    Kind::Incomparable,
];

/// The background service that carries out runs, one after the other.
pub struct Comparisons {
    /// The database with the listings and the runs.
    pub db: Db,
}

/// Prepares the service: on a database that only this process uses, no other process can hold a run or an upload.
///
/// # Errors
/// An error of the database.
pub async fn begin(db: &Db) -> Result<()> {
    let now = db.clock().now();
    let alone = !dialect::is_shared(db.url());
    db.transaction(move |conn| {
        if alone {
            runs::release_all(conn, now)?;
        }
        listings::fail_abandoned(conn, now, alone)
    })
    .await
}

impl Service for Comparisons {
    const NAME: &'static str = "comparisons";
    const POLL: Duration = Duration::from_secs(1);

    async fn step(&mut self, _: bool, stop: &Stop) -> Result<Next> {
        let now = self.db.clock().now();
        let (waiting, unused, discarded) = self
            .db
            .read(move |conn| {
                let unused = listings::next_unused(conn, now)?;
                Ok((
                    runs::any_waiting(conn, now)?,
                    unused,
                    findings::next_discarded(conn)?,
                ))
            })
            .await?;
        if waiting {
            let lease = Lease::new(now, LEASE);
            let claimed = self
                .db
                .transaction(move |conn| runs::claim(conn, now, lease))
                .await?;
            if let Some(claimed) = claimed {
                self.carry_out(claimed, stop).await?;
                return Ok(Next::AtOnce);
            }
        }
        if let Some(listing) = unused {
            self.db
                .transaction(move |conn| listings::delete_run(conn, listing, now))
                .await?;
            return Ok(Next::AtOnce);
        }
        if let Some(run) = discarded {
            self.db
                .transaction(move |conn| findings::delete_some(conn, run))
                .await?;
            return Ok(Next::AtOnce);
        }
        Ok(Next::Wait)
    }
}

/// A run with what it is about.
#[derive(Clone)]
struct About {
    comparison: ComparisonId,
    incident: IncidentId,
    name: String,
    definition: Definition,
    observed_at: Timestamp,
}

impl Comparisons {
    /// Carries out a run, or as much of it as there is time for before the process stops.
    async fn carry_out(&self, mut claimed: Claimed, stop: &Stop) -> Result<()> {
        let done = self.steps(&mut claimed, stop).await;
        if !matches!(done, Ok(true)) {
            let now = self.db.clock().now();
            let given = self
                .db
                .transaction(move |conn| claimed.give_back(conn, now))
                .await;
            // Otherwise the lease ends by itself.
            if let Err(error) = given {
                tracing::debug!(error = error.chain(), "a run could not be given back");
            }
        }
        done.map(drop)
    }

    /// Returns whether the run is complete.
    async fn steps(&self, claimed: &mut Claimed, stop: &Stop) -> Result<bool> {
        let row = claimed.row.clone();
        let (about, merge) = self
            .db
            .read(move |conn| {
                let comparison = row.comparison()?;
                let stored = stored::get(conn, &comparison)?;
                let expected = listings::get(conn, row.expected_listing)?;
                let observed = listings::get(conn, row.observed_listing)?;
                let merge = match row.state()? {
                    RunState::Settling | RunState::Done => None,
                    RunState::Queued | RunState::Comparing => Some(Merge::open(
                        conn,
                        Rules::of(stored.definition()),
                        (expected.id, expected.sorted_runs),
                        (observed.id, observed.sorted_runs),
                        row.cursor_key.as_deref(),
                    )?),
                };
                let about = About {
                    comparison,
                    definition: stored.definition().clone(),
                    incident: stored.incident,
                    name: stored.name,
                    observed_at: observed.observed_at,
                };
                Ok((about, merge))
            })
            .await?;
        if let Some(merge) = merge
            && !self.compare(claimed, &about, merge, stop).await?
        {
            return Ok(false);
        }
        self.settle(claimed, &about, stop).await
    }

    /// Compares the listings. Returns whether all of them were compared.
    async fn compare(
        &self,
        claimed: &mut Claimed,
        about: &About,
        mut merge: Merge,
        stop: &Stop,
    ) -> Result<bool> {
        loop {
            let (id, after) = (about.comparison.clone(), claimed.row.cursor_key.clone());
            let (back, part, decided) = self
                .db
                .read(move |conn| {
                    let after = after.map(|key| String::from_utf8_lossy(&key).into_owned());
                    let watched = evidence::watched(conn, &id, after.as_deref())?;
                    let until = watched
                        .last()
                        .filter(|_| watched.len() as i64 == evidence::STEP)
                        .map(|key| key.as_bytes().to_vec());
                    let keys: Vec<Vec<u8>> = watched.iter().map(|key| key.as_bytes().to_vec()).collect();
                    let mut part = merge.part(conn, &LIMITS, &keys, until.as_deref())?;
                    let decided: Vec<(String, Verdict, String)> = std::mem::take(&mut part.watched)
                        .into_iter()
                        .map(|(place, verdict, seen)| (watched[place].clone(), verdict, seen))
                        .collect();
                    // No key of a listing is between the last decided one and the end of the watched keys.
                    if !part.is_last
                        && part.findings.len() < LIMITS.findings
                        && part.rows < LIMITS.rows
                        && let Some(until) = until
                    {
                        part.last_key = until;
                    }
                    Ok((merge, part, decided))
                })
                .await?;
            merge = back;
            let first = Kind::ALL.iter().map(|kind| claimed.counts.of(*kind)).sum::<u64>();
            part.count(&mut claimed.counts);
            claimed.row.done += part.rows as i64;
            claimed.row.cursor_key = Some(part.last_key);
            let state = match part.is_last {
                true => RunState::Settling,
                false => RunState::Comparing,
            };
            let (this, id, clock) = (claimed.clone(), about.comparison.clone(), self.db.clock().clone());
            self.db
                .transaction(move |conn| {
                    this.report(conn, state, clock.now())?;
                    store(conn, this.row.id, first as i64, part.findings)?;
                    evidence::store(conn, &id, this.row.id, &decided)
                })
                .await?;
            if part.is_last {
                return Ok(true);
            }
            if stop.is_set() {
                return Ok(false);
            }
        }
    }

    /// Stores the evidence for affected resources, and completes the run. Returns whether it is complete.
    async fn settle(&self, claimed: &mut Claimed, about: &About, stop: &Stop) -> Result<bool> {
        let actor = Actor::system("comparison");
        while !about.definition.is_about_people() {
            let (mut this, of) = (claimed.clone(), about.clone());
            let next = self
                .db
                .write(&actor, move |tx| {
                    let (run, after) = (this.row.id, this.row.settled_after);
                    let found = evidence::next(tx.conn, &of.comparison, run, after, of.observed_at)?;
                    let Some((observations, last)) = found else {
                        return Ok(None);
                    };
                    this.row.settled_after = last;
                    this.report(tx.conn, RunState::Settling, tx.now)?;
                    if !observations.is_empty() {
                        let source = format!("comparison “{}”, run {}", of.name, this.row.number);
                        recovery::observe(tx, &of.incident, &source, &observations)?;
                    }
                    Ok(Some(last))
                })
                .await?;
            match next {
                Some(last) => claimed.row.settled_after = last,
                None => break,
            }
            if stop.is_set() {
                return Ok(false);
            }
        }
        let (run, counts, of) = (claimed.row.id, claimed.counts, about.clone());
        claimed.counts.unknown_resources = self
            .db
            .read(move |conn| resolve::unknown(conn, &of.definition, run, &counts, &NAMED))
            .await?;
        let (this, of) = (claimed.clone(), about.clone());
        self.db.write(&actor, move |tx| complete(tx, &this, &of)).await?;
        Ok(true)
    }
}

/// Completes a run: stores its counts and its state, and adds an audit event and a note on the timeline of the incident.
fn complete(tx: &mut Tx<'_>, run: &Claimed, about: &About) -> Result<()> {
    run.report(tx.conn, RunState::Done, tx.now)?;
    let counts = run.counts;
    tx.record(
        Event::new(Action::ComparisonDone, "comparison", about.comparison.as_str())
            .incident(&about.incident)
            .after(json!({"run": run.row.number, "counts": counts})),
    );
    let found: Vec<String> = NAMED
        .iter()
        .filter(|kind| counts.of(**kind) > 0)
        .map(|kind| counted(counts.of(*kind), kind.as_str(), kind.as_str()))
        .collect();
    let found = match found.is_empty() {
        true => "no finding".to_owned(),
        false => found.join(", "),
    };
    let equal = counted(counts.equal, "equal", "equal");
    let text = format!("Comparison “{}”: {equal}, {found}", about.name);
    timeline::note(tx, &about.incident, timeline::Kind::Note, tx.now, &text)?;
    Ok(())
}

#[derive(Insertable)]
#[diesel(table_name = cf)]
#[diesel(treat_none_as_default_value = false)]
struct FindingRow {
    run_id: i64,
    seq: i64,
    kind: Kind,
    key: String,
    reference: Option<String>,
    compared_column: Option<String>,
    expected: Option<String>,
    observed: Option<String>,
    expected_values: Option<String>,
    written_at: Option<i64>,
}

/// Stores findings, with numbers that begin at `first`.
fn store(conn: &mut Conn, run_id: i64, first: i64, findings: Vec<NewFinding>) -> Result<()> {
    let rows: Vec<FindingRow> = findings
        .into_iter()
        .zip(first..)
        .map(|(finding, seq)| FindingRow {
            run_id,
            seq,
            kind: finding.kind,
            key: finding.key,
            reference: finding.reference,
            compared_column: finding.column,
            expected: finding.expected,
            observed: finding.observed,
            expected_values: finding.expected_values,
            written_at: finding.written_at,
        })
        .collect();
    insert_many!(conn, cf::table, "comparison_findings", rows.as_slice(), {
        run_id: BigInt = |row| row.run_id,
        seq: BigInt = |row| row.seq,
        kind: Text = |row| row.kind.as_str(),
        key: Text = |row| row.key.as_str(),
        reference: Nullable<Text> = |row| row.reference.as_deref(),
        compared_column: Nullable<Text> = |row| row.compared_column.as_deref(),
        expected: Nullable<Text> = |row| row.expected.as_deref(),
        observed: Nullable<Text> = |row| row.observed.as_deref(),
        expected_values: Nullable<Text> = |row| row.expected_values.as_deref(),
        written_at: Nullable<BigInt> = |row| row.written_at,
    });
    Ok(())
}
