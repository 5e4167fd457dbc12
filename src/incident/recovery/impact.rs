//! How long each resource and each account was impaired, for example for the credits of a service level agreement.
//!
//! The minutes of a resource are the sum over its impairments. Those of an account are the time in which at least one of its resources was
//! impaired, so that two resources at once do not count twice. What is still impaired counts until now.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use serde::Serialize;

use super::owned::owners;
use super::state::State;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::{ResourceRef, resource};
use crate::incident::finding::Finding;
use crate::incident::stored::get;

/// How long a resource was impaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ResourceImpact)]
pub struct OfResource {
    /// The type and ID of the resource.
    pub resource: ResourceRef,
    /// The name of the resource.
    pub name: Option<String>,
    /// The ID of the account that it belongs to.
    pub account: Option<String>,
    /// When its first impairment began.
    pub impaired_from: Timestamp,
    /// When its last impairment ended. Null if it is still impaired.
    pub impaired_to: Option<Timestamp>,
    /// The number of impairments. More than one means that it relapsed.
    pub impairments: i64,
    /// The whole minutes of all impairments together, until now if it is still impaired.
    pub affected_minutes: i64,
    /// What a comparison found about it. Left out if no comparison found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    #[serde(skip)]
    pub(crate) key: i64,
}

/// How long an account was impaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AccountImpact)]
pub struct OfAccount {
    /// The ID of the account.
    pub account: String,
    /// The name of the account.
    pub name: String,
    /// The number of its affected resources.
    pub resources: i64,
    /// When the first impairment of one of them began.
    pub impaired_from: Timestamp,
    /// When the last impairment ended. Null if one of them is still impaired.
    pub impaired_to: Option<Timestamp>,
    /// The whole minutes in which at least one of them was impaired, until now if one still is.
    pub affected_minutes: i64,
    /// The sum of the minutes of its resources.
    pub resource_minutes: i64,
}

/// An impairment. Without an end it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: Timestamp,
    to: Option<Timestamp>,
}

/// Turns the changes of one resource, in their order, into its impairments. Times that go back are moved to the change before.
#[derive(Default)]
struct Spans(Vec<Span>);

impl Spans {
    fn add(&mut self, state: State, at: Timestamp) {
        match (state, self.0.last_mut()) {
            (State::Impaired, Some(Span { to: Some(to), .. })) => {
                let from = at.max(*to);
                self.0.push(Span { from, to: None });
            }
            (State::Impaired, None) => self.0.push(Span { from: at, to: None }),
            (State::Recovered, Some(Span { from, to: to @ None })) => *to = Some(at.max(*from)),
            _ => {}
        }
    }
}

fn seconds(spans: &[Span], now: Timestamp) -> i64 {
    spans
        .iter()
        .map(|span| span.to.unwrap_or(now).seconds_since(span.from).max(0))
        .sum()
}

/// Returns the time that spans cover together, in seconds.
fn covered(mut spans: Vec<Span>, now: Timestamp) -> i64 {
    spans.sort_unstable_by_key(|span| span.from);
    let (mut total, mut until) = (0, None);
    for span in spans {
        let to = span.to.unwrap_or(now);
        let from = until.map_or(span.from, |until: Timestamp| span.from.max(until));
        if to > from {
            total += to.as_micros() - from.as_micros();
        }
        until = Some(until.map_or(to, |until| until.max(to)));
    }
    total.div_euclid(1_000_000)
}

/// Reads the impairments of the affected resources after the given key, ordered by key. The keys are read first and then the changes
/// between the first and the last of them, so that each statement follows one index.
fn spans(
    conn: &mut Conn,
    incident: &IncidentId,
    after: i64,
    limit: Option<i64>,
) -> Result<BTreeMap<i64, Spans>> {
    use crate::db::schema::{incident_resources as ir, recovery_changes as c, recovery_states as s};
    let keys: Vec<i64> = ir::table
        .inner_join(
            s::table.on(s::incident_id
                .eq(ir::incident_id)
                .and(s::resource_key.eq(ir::resource_key))),
        )
        .filter(ir::incident_id.eq(incident.as_str()))
        .filter(ir::removed_at.is_null())
        .filter(ir::resource_key.gt(after))
        .order(ir::resource_key)
        .limit(limit.unwrap_or(i64::MAX))
        .select(ir::resource_key)
        .load(conn)?;
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
        return Ok(BTreeMap::new());
    };
    let rows: Vec<(i64, String, Timestamp)> = c::table
        .filter(c::incident_id.eq(incident.as_str()))
        .filter(c::resource_key.between(*first, *last))
        .order((c::resource_key, c::id))
        .select((c::resource_key, c::state, c::happened_at))
        .load(conn)?;
    let mut found: BTreeMap<i64, Spans> = keys.iter().map(|key| (*key, Spans::default())).collect();
    for (key, state, at) in rows {
        // Resources that are not affected any more have changes too.
        if let Some(spans) = found.get_mut(&key) {
            spans.add(State::parse(&state).map_err(Error::internal)?, at);
        }
    }
    Ok(found)
}

fn ends(
    spans: &[Span],
    last: impl Fn(Timestamp, Timestamp) -> Timestamp,
) -> Option<(Timestamp, Option<Timestamp>)> {
    let from = spans.iter().map(|span| span.from).min()?;
    let mut to = spans.first()?.to;
    for span in spans {
        to = match (to, span.to) {
            (Some(one), Some(other)) => Some(last(one, other)),
            _ => None,
        };
    }
    Some((from, to))
}

/// Returns how long each affected resource was impaired, after the given key, in the order in which they were added to the directory.
/// Resources that have no recovery state are left out.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn of_resources(
    conn: &mut Conn,
    incident: &IncidentId,
    (after, limit): (Option<i64>, i64),
    now: Timestamp,
) -> Result<Vec<OfResource>> {
    use crate::db::schema::{incident_resources as ir, resources as r};
    /// The type, the ID, the name and the finding as JSON.
    type Named = (String, String, Option<String>, Option<String>);
    get(conn, incident)?;
    let spans = spans(conn, incident, after.unwrap_or(0), Some(limit))?;
    let keys: Vec<i64> = spans.keys().copied().collect();
    let owners = owners(conn, incident, Some(&keys))?;
    let mut named: HashMap<i64, Named> = HashMap::with_capacity(keys.len());
    for chunk in keys.chunks(500) {
        let rows: Vec<(i64, Named)> = ir::table
            .inner_join(r::table.on(r::key.eq(ir::resource_key)))
            .filter(ir::incident_id.eq(incident.as_str()))
            .filter(ir::resource_key.eq_any(chunk))
            .select((r::key, (r::type_, r::id, r::name, ir::finding)))
            .load(conn)?;
        named.extend(rows);
    }
    let mut found = Vec::with_capacity(keys.len());
    for (key, Spans(spans)) in spans {
        let (Some((from, to)), Some((type_, id, name, finding))) =
            (ends(&spans, Timestamp::max), named.remove(&key))
        else {
            continue;
        };
        found.push(OfResource {
            resource: resource::reference(&type_, &id)
                .ok_or_else(|| Error::internal("a stored id is invalid"))?,
            name,
            account: owners.get(&key).map(|owner| owner.id.clone()),
            impaired_from: from,
            impaired_to: to,
            impairments: spans.len() as i64,
            affected_minutes: seconds(&spans, now).div_euclid(60),
            // A finding that another version wrote and this one cannot read is not shown.
            finding: finding
                .and_then(|json| serde_json::from_str::<Finding>(&json).ok())
                .map(|finding| finding.internal()),
            key,
        });
    }
    Ok(found)
}

/// Returns how long each account was impaired, ordered by ID. Resources without an account or without a recovery state are left out.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn of_accounts(conn: &mut Conn, incident: &IncidentId, now: Timestamp) -> Result<Vec<OfAccount>> {
    struct Sum {
        name: String,
        resources: i64,
        seconds: i64,
        spans: Vec<Span>,
    }
    get(conn, incident)?;
    let spans = spans(conn, incident, 0, None)?;
    let mut owners = owners(conn, incident, None)?;
    let mut accounts: BTreeMap<String, Sum> = BTreeMap::new();
    for (key, Spans(spans)) in spans {
        let Some(owner) = owners.remove(&key) else {
            continue;
        };
        let sum = accounts.entry(owner.id).or_insert(Sum {
            name: owner.name,
            resources: 0,
            seconds: 0,
            spans: Vec::new(),
        });
        sum.resources += 1;
        sum.seconds += seconds(&spans, now);
        sum.spans.extend(spans);
    }
    Ok(accounts
        .into_iter()
        .filter_map(|(account, sum)| {
            let (from, to) = ends(&sum.spans, Timestamp::max)?;
            Some(OfAccount {
                account,
                name: sum.name,
                resources: sum.resources,
                impaired_from: from,
                impaired_to: to,
                affected_minutes: covered(sum.spans, now).div_euclid(60),
                resource_minutes: sum.seconds.div_euclid(60),
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_micros(minute * 60_000_000)
    }

    #[test]
    fn a_relapse_is_a_second_impairment() {
        let mut spans = Spans::default();
        for (state, minute) in [
            (State::Impaired, 0),
            (State::Recovering, 5),
            (State::Recovered, 10),
            (State::Impaired, 30),
            (State::Recovering, 31),
            (State::Impaired, 32),
        ] {
            spans.add(state, at(minute));
        }
        assert_eq!(spans.0.len(), 2);
        assert_eq!(seconds(&spans.0, at(40)), 20 * 60);
        spans.add(State::Recovered, at(35));
        assert_eq!(seconds(&spans.0, at(1_000)), 15 * 60);
    }

    #[test]
    fn times_that_go_back_give_no_negative_minutes() {
        let mut spans = Spans::default();
        spans.add(State::Impaired, at(10));
        spans.add(State::Recovered, at(5));
        spans.add(State::Impaired, at(7));
        spans.add(State::Recovered, at(12));
        assert_eq!(seconds(&spans.0, at(100)), 2 * 60);
    }

    #[test]
    fn an_account_counts_each_minute_once() {
        let span = |from, to: Option<i64>| Span {
            from: at(from),
            to: to.map(at),
        };
        let spans = vec![
            span(0, Some(10)),
            span(5, Some(15)),
            span(20, None),
            span(6, Some(7)),
        ];
        assert_eq!(covered(spans, at(25)), 20 * 60);
    }
}
