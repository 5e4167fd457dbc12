//! Computes the people of an audience, the numbers, and the people who cannot be reached.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use diesel::prelude::*;
use serde::Serialize;

use super::at::At;
use super::graph::Graph;
use super::person::{PersonRef, unreachable};
use super::reason::{Folded, Progress, Reason, Reasons};
use super::roles::{self, Person};
use super::rule::Rule;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::language::Preferred;
use crate::db::Conn;
use crate::db::schema::opt_outs;
use crate::directory::normal_address;
use crate::incident::affected::{self, Relevance, Unresolved};
use crate::incident::affected_people;
use crate::incident::recovery::State;
use crate::incident::users_in_events::{self, UnidentifiedInEvents, UsersInEvents};

/// A person of the audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Addressee {
    /// The person, with the current name and email address.
    pub person: PersonRef,
    /// Every reason why the person is in the audience.
    #[schema(value_type = Vec<Reason>)]
    pub reasons: Reasons,
    /// How certain it is that the person is affected: the strongest relevance of the reasons.
    pub relevance: Relevance,
    /// Why the person cannot be reached. Null if the person can be reached.
    pub unreachable: Option<String>,
    /// Why the person gets no optional notices: `opted_out`, `bounced` or `complained`. Mandatory notices are
    /// sent to the person anyway. Null if the person gets all notices.
    pub suppressed: Option<String>,
    #[serde(skip)]
    pub(crate) time_zone: Option<String>,
    #[serde(skip)]
    pub(crate) languages: Preferred,
}

/// A person who should be notified and cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Unreachable {
    /// The person, with the current name and email address.
    pub person: PersonRef,
    /// Why the person cannot be reached.
    pub reason: String,
}

/// The numbers of an audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AudienceCounts)]
pub struct Counts {
    /// The number of affected people, whether they can be reached or not.
    pub people: usize,
    /// The number of accounts that own an affected resource.
    pub accounts: usize,
    /// The number of affected resources.
    pub resources: usize,
    /// The number of people who cannot be reached.
    pub unreachable: usize,
    /// The number of people who can be reached but get no optional notices: they opted out, an email to them
    /// bounced permanently, or they complained.
    pub suppressed: usize,
    /// The number of unmatched IDs: alerts named them, and the directory does not know them.
    pub unresolved_references: usize,
    /// The number of known people who hit the error.
    pub identified: usize,
    /// The number of people who are named directly and not archived.
    pub named: usize,
    /// The number of different unknown users who hit the error.
    pub unidentified: usize,
    /// The number of errors without a user. It is not known how many people hit them.
    pub events_without_user: i64,
    /// The number of affected resources that are archived in the directory. Nobody is notified because of
    /// them.
    pub gone_resources: usize,
    /// The number of affected resources that belong to no account.
    pub without_account: usize,
    /// The number of affected resources that the directory did not know at the time that is asked about.
    pub not_known_then: usize,
}

/// Everybody whom an incident affects, ordered by the ID of the person.
#[derive(Clone, Debug)]
pub struct Audience {
    /// The people of the audience, ordered by ID, with the reasons. They include the people who cannot be reached.
    pub people: Vec<Addressee>,
    /// The numbers of people, accounts and resources.
    pub counts: Counts,
    /// The people who cannot be reached, with the reasons.
    pub unreachable: Vec<Unreachable>,
    /// The unmatched IDs: alerts named them, and the directory does not know them.
    pub unresolved: Vec<Unresolved>,
    /// The events of unknown users, by alert.
    pub unidentified: Vec<UnidentifiedInEvents>,
    /// The graph that the people were found in. The endpoints are found in it too.
    pub(super) folded: Arc<Folded>,
}

impl Audience {
    /// Returns how many of the affected resources of each account are recovered, by the ID of the account. Empty if the incident has no
    /// recovery states.
    pub fn progress_of_accounts(&self) -> HashMap<String, Progress> {
        let graph = &self.folded.graph;
        let mut found: HashMap<String, Progress> = HashMap::new();
        if !graph.has_states() {
            return found;
        }
        let mut chain = Vec::new();
        for affected in graph.current() {
            graph.climb(affected.node, false, &mut chain);
            let Some(owner) = graph.owner(&chain).filter(|owner| graph.owner_is_active(*owner)) else {
                continue;
            };
            let account = &*graph.account(owner.account).id;
            let progress = match found.get_mut(account) {
                Some(progress) => progress,
                None => found.entry(account.to_owned()).or_default(),
            };
            progress.affected += 1;
            progress.restored += usize::from(graph.state(affected.node) == Some(State::Recovered));
        }
        found
    }
}

/// Computes the audience of an incident with the current directory and the default rule.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn resolve(conn: &mut Conn, incident: &IncidentId) -> Result<Audience> {
    resolve_by(conn, incident, &Rule::default(), At::Now)
}

/// Computes the audience of an incident for a rule at a time. The affected resources are the current ones.
/// Their owners and collaborators are those of that time. Names and addresses are the current ones.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn resolve_by(conn: &mut Conn, incident: &IncidentId, rule: &Rule, at: At) -> Result<Audience> {
    crate::incident::get(conn, incident)?;
    let graph = Graph::of_incident(conn, incident, at, false)?;
    let folded = Arc::new(Folded::of(conn, graph, rule)?);
    let graph = &folded.graph;
    let UsersInEvents {
        people: mut seen,
        unidentified,
        unidentified_users,
    } = users_in_events::in_events(conn, incident)?;
    let named = affected_people::named(conn, incident, false)?;
    let mut wanted: Vec<i64> = folded
        .people()
        .chain(seen.keys().copied())
        .chain(named.keys().copied())
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let suppressed = suppressed(conn)?;
    let mut people: Vec<Addressee> = Vec::with_capacity(wanted.len());
    let mut gone: BTreeMap<String, Unreachable> = BTreeMap::new();
    let mut next = 0;
    let found: Vec<(Option<usize>, Person)> = roles::people(conn, at, &wanted)?
        .into_iter()
        .filter_map(|row| {
            let place = folded.place(row.key, next);
            next = place.map_or(next, |place| place + 1);
            let alone = seen.contains_key(&row.key) || named.contains_key(&row.key);
            (place.is_some() || alone).then_some((place, row))
        })
        .collect();
    for (place, row) in by_id(found) {
        let seen = seen.remove(&row.key).unwrap_or_default();
        let named = named.get(&row.key).cloned();
        let person = PersonRef {
            id: row.id,
            name: row.name,
            email: row.email,
        };
        // A user who hit the error, and a person who is named directly, can be newer in the directory than that
        // time.
        if !row.known {
            continue;
        }
        if !row.there {
            let reason = "archived in the directory".to_owned();
            gone.insert(person.id.clone(), Unreachable { person, reason });
            continue;
        }
        // If the person has no locale or time zone, those of the account are used through which the person
        // was found first.
        let account = place
            .and_then(|place| folded.first_account(place))
            .map(|account| graph.account(account));
        let reasons = Reasons::new(&folded, place, seen, named);
        let unreachable = match row.gone_now {
            true => Some("archived in the directory since".to_owned()),
            false => unreachable(&person),
        };
        people.push(Addressee {
            suppressed: match suppressed.is_empty() {
                true => None,
                false => suppressed.get(&normal_address(&person.email)).cloned(),
            },
            unreachable,
            relevance: reasons.relevance(),
            reasons,
            time_zone: row
                .time_zone
                .or_else(|| account.and_then(|account| account.time_zone.clone())),
            languages: Preferred::of(
                row.locale.as_deref(),
                account.and_then(|account| account.locale.as_deref()),
            ),
            person,
        });
    }
    let unresolved = affected::unresolved(conn, incident)?;
    let unreachable: Vec<Unreachable> = people
        .iter()
        .filter_map(|addressee| {
            let reason = addressee.unreachable.clone()?;
            Some(Unreachable {
                person: addressee.person.clone(),
                reason,
            })
        })
        .chain(gone.into_values())
        .collect();
    let suppressed = people
        .iter()
        .filter(|one| one.unreachable.is_none() && one.suppressed.is_some());
    let counts = Counts {
        people: people.len(),
        accounts: folded.numbers.accounts,
        resources: folded.numbers.resources,
        unreachable: unreachable.len(),
        suppressed: suppressed.count(),
        unresolved_references: unresolved.len(),
        identified: people.iter().filter(|one| one.reasons.was_seen()).count(),
        named: people.iter().filter(|one| one.reasons.was_named()).count(),
        unidentified: unidentified_users,
        events_without_user: unidentified.iter().map(|one| one.without_user).sum(),
        gone_resources: folded.numbers.gone,
        without_account: folded.numbers.without_account,
        not_known_then: folded.numbers.unknown,
    };
    Ok(Audience {
        counts,
        people,
        unreachable,
        unresolved,
        unidentified,
        folded,
    })
}

/// Sorts people by ID. Most IDs differ in their first bytes, which are compared first. The IDs themselves are
/// compared only if these are equal.
fn by_id(people: Vec<(Option<usize>, Person)>) -> impl Iterator<Item = (Option<usize>, Person)> {
    let beginning = |id: &str| {
        let mut bytes = [0; 16];
        let length = id.len().min(16);
        bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
        u128::from_be_bytes(bytes)
    };
    let mut order: Vec<(u128, usize)> = people
        .iter()
        .enumerate()
        .map(|(index, (_, person))| (beginning(&person.id), index))
        .collect();
    order.sort_unstable_by(|(a, first), (b, second)| {
        a.cmp(b)
            .then_with(|| people[*first].1.id.cmp(&people[*second].1.id))
    });
    let mut people: Vec<Option<_>> = people.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(move |(_, index)| people[index].take())
}

/// Returns the addresses that get no optional notices, with the reasons.
fn suppressed(conn: &mut Conn) -> Result<HashMap<String, String>> {
    let rows: Vec<(String, String)> = opt_outs::table
        .select((opt_outs::address, opt_outs::reason))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}
