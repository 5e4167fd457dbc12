//! From affected resources to people, each with every reason.
//!
//! A resource belongs to the account named on it or on its nearest ancestor. Its people are that account's owners and
//! the collaborators on it or on any of its ancestors, unless a rule names other roles. An ancestor that is gone cuts
//! the chain; an account that is gone has nobody. Beside them stands whoever was the user of an error, whatever the rule. One computation answers the preview and the send: `graph` reads what
//! is affected and what is above it, here it becomes people. It can be asked as of a time too.
//!
//! Must never happen here: somebody of an account that owns nothing affected, or somebody left out in silence.

mod at;
mod count;
mod difference;
mod events;
mod explain;
mod graph;
mod roles;
mod rule;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde::{Serialize, Serializer};

pub use at::At;
pub use count::{Found, count};
pub use difference::{Change, Changed, Difference, DifferenceCounts, compare, difference};
pub use explain::{Explained, Step, StepAbout, Who, explain};

pub use rule::{Collaborators, OWNER, Rule};

use crate::db::Conn;
use crate::db::schema::opt_outs;
use crate::directory::{ResourceRef, normal_address};
use crate::error::Result;
use crate::id::{EndpointId, ExternalId, IncidentId};
use crate::incident::affected::{self, Relevance, Unresolved};
use crate::incident::seen::{self, InEvents, Seen, Unidentified};
use graph::Graph;
use roles::Held;

/// The way from an affected resource to where a role is held, both ends included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way(Arc<[ResourceRef]>);

impl Way {
    /// The steps.
    pub fn steps(&self) -> &[ResourceRef] {
        &self.0
    }
}

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

/// Why somebody is in the audience: through something affected, or as the user of an error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
pub struct Reason {
    /// The affected resource; null where they were the user of an error, as `seen` says.
    pub resource: Option<ResourceRef>,
    /// Its name.
    pub name: Option<String>,
    /// The ancestor on which the role or the account is; null where it is the resource itself.
    pub through: Option<ResourceRef>,
    /// The account that the resource belongs to.
    pub account: Option<String>,
    /// The account's name.
    pub account_name: Option<String>,
    /// `owner` of the account, or the role of the collaborator; `user` with `seen`.
    pub role: String,
    /// Whether it is the account's owner who is meant, not a collaborator with a role of that name.
    #[serde(skip)]
    pub by_account: bool,
    /// How surely the resource is affected.
    pub relevance: Relevance,
    /// From the affected resource to where the role is held: a resource above it, or at the end
    /// `{"type": "account", "id": …}`.
    #[schema(value_type = Vec<ResourceRef>)]
    pub path: Way,
    /// The events of one alert whose user they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Box<Seen>>,
}

impl Reason {
    /// For the user of an error.
    fn seen(seen: Seen) -> Reason {
        Reason {
            resource: None,
            name: None,
            through: None,
            account: None,
            account_name: None,
            role: "user".to_owned(),
            by_account: false,
            relevance: Relevance::Impaired,
            path: Way(Arc::new([])),
            seen: Some(Box::new(seen)),
        }
    }
}

/// A person of the audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Addressee {
    /// Who.
    pub person: PersonRef,
    /// Every reason.
    pub reasons: Vec<Reason>,
    /// How surely they are affected: the strongest of the reasons.
    pub relevance: Relevance,
    /// Why they cannot be reached; null where they can.
    pub unreachable: Option<String>,
    /// Why they get no optional notices: `opted_out`, `bounced` or `complained`. What is mandatory goes to them all
    /// the same.
    pub suppressed: Option<String>,
    #[serde(skip)]
    pub(crate) time_zone: Option<String>,
    #[serde(skip)]
    pub(crate) locale: Option<String>,
}

/// A person, as far as an audience shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PersonRef {
    /// The caller's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Address; empty where none is known.
    pub email: String,
}

/// Somebody who should hear of it and cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Unreachable {
    /// Who.
    pub person: PersonRef,
    /// Why not.
    pub reason: String,
}

/// The numbers of an audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AudienceCounts)]
pub struct Counts {
    /// People affected, reachable or not.
    pub people: usize,
    /// Accounts that own something affected.
    pub accounts: usize,
    /// Affected resources.
    pub resources: usize,
    /// People who cannot be reached.
    pub unreachable: usize,
    /// People who can be reached, but not by optional notices: they opted out, a mail came back for good, or they
    /// called one spam.
    pub suppressed: usize,
    /// Ids in alerts that the directory does not know.
    pub unresolved_references: usize,
    /// People who were the user of an error.
    pub identified: usize,
    /// Users of errors whom the directory does not know, each once.
    pub unidentified: usize,
    /// Errors that name no user: nobody can say how many people that were.
    pub events_without_user: i64,
    /// Affected resources that were deleted from the directory: nobody is told through them.
    pub gone_resources: usize,
    /// Affected resources that belong to no account.
    pub without_account: usize,
    /// Affected resources that the directory did not know at the time that is asked about.
    pub not_known_then: usize,
}

/// Everybody whom an incident affects, by the ids of the people.
#[derive(Clone, Debug)]
pub struct Audience {
    /// The people.
    pub people: Vec<Addressee>,
    /// The numbers.
    pub counts: Counts,
    /// Who cannot be reached, and why.
    pub unreachable: Vec<Unreachable>,
    /// What alerts named and the directory does not know.
    pub unresolved: Vec<Unresolved>,
    /// Events whose users are not known, by alert.
    pub unidentified: Vec<Unidentified>,
}

/// Resolves the audience of an incident as the directory is now, for the usual roles.
///
/// # Errors
/// `NotFound` where there is no such incident.
pub fn resolve(conn: &mut Conn, incident: &IncidentId) -> Result<Audience> {
    resolve_by(conn, incident, &Rule::default(), At::Now)
}

/// Resolves the audience of an incident for the roles of a rule, as of a time. What is affected is what is affected
/// now; who owns it and works on it is as it was then. Names and addresses are today's.
///
/// # Errors
/// `NotFound` where there is no such incident.
pub fn resolve_by(conn: &mut Conn, incident: &IncidentId, rule: &Rule, at: At) -> Result<Audience> {
    crate::incident::get(conn, incident)?;
    let graph = Graph::of_incident(conn, incident, at, false)?;
    let mut reasons = reasons(conn, &graph, rule)?;
    let InEvents {
        people: seen,
        unidentified,
        unidentified_users,
    } = seen::in_events(conn, incident)?;
    for (key, list) in seen {
        let of_person = reasons.entry(key).or_default();
        of_person.list.extend(list.into_iter().map(Reason::seen));
    }
    let wanted: Vec<i64> = reasons.keys().copied().collect();
    let suppressed = suppressed(conn)?;
    let mut people: BTreeMap<String, Addressee> = BTreeMap::new();
    let mut gone: BTreeMap<String, Unreachable> = BTreeMap::new();
    for (key, row) in roles::people(conn, at, &wanted)? {
        let person = PersonRef {
            id: row.id.clone(),
            name: row.name,
            email: row.email,
        };
        // Whoever was the user of an error may have come into the directory later.
        if !row.known {
            continue;
        }
        if !row.there {
            let reason = "deleted from the directory".to_owned();
            gone.insert(row.id, Unreachable { person, reason });
            continue;
        }
        let Some(Reasons { mut list, account }) = reasons.remove(&key) else {
            continue;
        };
        // Where they have none of their own, that of the account by which they were found first.
        let account = account.and_then(|account| graph.accounts.get(&account));
        list.sort();
        let relevance = list.iter().map(|reason| reason.relevance).max();
        let unreachable = match row.gone_now {
            true => Some("deleted from the directory since".to_owned()),
            false => unreachable(&person),
        };
        people.insert(
            row.id,
            Addressee {
                suppressed: suppressed.get(&normal_address(&person.email)).cloned(),
                unreachable,
                relevance: relevance.unwrap_or_default(),
                reasons: list,
                time_zone: row
                    .time_zone
                    .or_else(|| account.and_then(|account| account.time_zone.clone())),
                locale: row
                    .locale
                    .or_else(|| account.and_then(|account| account.locale.clone())),
                person,
            },
        );
    }
    let people: Vec<Addressee> = people.into_values().collect();
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
    let counts = Counts {
        identified: people.iter().filter(|one| was_seen(one)).count(),
        unidentified: unidentified_users,
        events_without_user: unidentified.iter().map(|one| one.without_user).sum(),
        ..counts(&graph, &people, unreachable.len(), unresolved.len())?
    };
    Ok(Audience {
        counts,
        people,
        unreachable,
        unresolved,
        unidentified,
    })
}

fn was_seen(addressee: &Addressee) -> bool {
    addressee.reasons.iter().any(|reason| reason.seen.is_some())
}

/// Addresses that get no optional notices, and why.
fn suppressed(conn: &mut Conn) -> Result<HashMap<String, String>> {
    let rows: Vec<(String, String)> = opt_outs::table
        .select((opt_outs::address, opt_outs::reason))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// The reasons of one person.
#[derive(Default)]
struct Reasons {
    list: Vec<Reason>,
    /// The account of the first of them.
    account: Option<i64>,
}

/// Every reason of everybody, by the keys of the people.
fn reasons(conn: &mut Conn, graph: &Graph, rule: &Rule) -> Result<HashMap<i64, Reasons>> {
    let (accounts, nodes) = graph.reached();
    let accounts: Vec<i64> = accounts.into_iter().collect();
    let mut nodes: Vec<i64> = nodes.into_iter().collect();
    nodes.sort_unstable();
    let members = roles::members(conn, graph.at, &accounts, &rule.member_roles())?;
    let collaborators = match rule.collaborator_roles() {
        Some(roles) if roles.is_empty() => HashMap::new(),
        roles => roles::collaborators(conn, graph.at, &nodes, roles.as_deref())?,
    };
    let mut people: HashMap<i64, Reasons> = HashMap::new();
    for affected in graph.current() {
        let chain = graph.chain(affected.key, false);
        let owner = graph.owner(&chain);
        if owner.is_some_and(|owner| !graph.is_there(owner)) {
            continue;
        }
        let mut at = Place::new(
            graph,
            affected.relevance,
            &chain,
            owner.map(|owner| owner.account),
        )?;
        for (depth, node) in chain.iter().enumerate() {
            if let Some(owner) = owner.filter(|owner| owner.depth == depth) {
                for held in members.get(&owner.account).map(Vec::as_slice).unwrap_or_default() {
                    at.add(&mut people, held, depth, true);
                }
            }
            for held in collaborators.get(node).map(Vec::as_slice).unwrap_or_default() {
                at.add(&mut people, held, depth, false);
            }
        }
    }
    Ok(people)
}

/// What the reasons of one affected resource have in common.
struct Place {
    chain: Vec<ResourceRef>,
    name: Option<String>,
    account: Option<(i64, String, String)>,
    relevance: Relevance,
    /// The ways that were needed so far, by their depth, and whether they end at the account.
    ways: Vec<((usize, bool), Way)>,
}

impl Place {
    fn new(graph: &Graph, relevance: Relevance, chain: &[i64], account: Option<i64>) -> Result<Place> {
        let nodes = chain
            .iter()
            .map(|key| graph.node(*key))
            .collect::<Result<Vec<_>>>()?;
        Ok(Place {
            chain: nodes.iter().map(|node| node.at.clone()).collect(),
            name: nodes.first().and_then(|node| node.name.clone()),
            account: account.and_then(|key| {
                let account = graph.accounts.get(&key)?;
                Some((key, account.id.clone(), account.name.clone()))
            }),
            relevance,
            ways: Vec::new(),
        })
    }

    fn way(&mut self, depth: usize, by_account: bool) -> Way {
        let wanted = (depth, by_account);
        if let Some((_, way)) = self.ways.iter().find(|(known, _)| *known == wanted) {
            return way.clone();
        }
        let steps = self.chain.iter().take(depth + 1).cloned();
        let account = self
            .account
            .as_ref()
            .filter(|_| by_account)
            .and_then(|(_, id, _)| {
                Some(ResourceRef {
                    type_: ExternalId::parse("account").ok()?,
                    id: ExternalId::parse(id).ok()?,
                })
            });
        let way = Way(steps.chain(account).collect());
        self.ways.push((wanted, way.clone()));
        way
    }

    fn add(&mut self, people: &mut HashMap<i64, Reasons>, held: &Held, depth: usize, by_account: bool) {
        let path = self.way(depth, by_account);
        let Some(resource) = self.chain.first().cloned() else {
            return;
        };
        let reasons = people.entry(held.person).or_default();
        if reasons.list.is_empty() {
            reasons.account = self.account.as_ref().map(|(key, _, _)| *key);
        }
        reasons.list.push(Reason {
            resource: Some(resource),
            name: self.name.clone(),
            through: self.chain.get(depth).filter(|_| depth > 0).cloned(),
            account: self.account.as_ref().map(|(_, id, _)| id.clone()),
            account_name: self.account.as_ref().map(|(_, _, name)| name.clone()),
            role: held.role.clone(),
            by_account,
            relevance: self.relevance,
            path,
            seen: None,
        });
    }
}

fn unreachable(person: &PersonRef) -> Option<String> {
    if person.email.is_empty() {
        return Some("no address".to_owned());
    }
    crate::directory::check_address(&person.email)
        .err()
        .map(|reason| format!("the address {reason}"))
}

/// Affected resources that are there, that are gone, that belong to nobody; and the accounts of the rest.
fn counts(graph: &Graph, people: &[Addressee], unreachable: usize, unresolved: usize) -> Result<Counts> {
    let mut counts = Counts {
        people: people.len(),
        accounts: 0,
        resources: 0,
        unreachable,
        suppressed: people
            .iter()
            .filter(|addressee| addressee.unreachable.is_none() && addressee.suppressed.is_some())
            .count(),
        unresolved_references: unresolved,
        identified: 0,
        unidentified: 0,
        events_without_user: 0,
        gone_resources: 0,
        without_account: 0,
        not_known_then: 0,
    };
    let mut accounts = BTreeSet::new();
    for affected in graph.current() {
        let node = graph.node(affected.key)?;
        if node.unknown() {
            counts.not_known_then += 1;
            continue;
        }
        if !node.there() {
            counts.gone_resources += 1;
            continue;
        }
        counts.resources += 1;
        match graph.owner(&graph.chain(affected.key, false)) {
            Some(owner) if graph.is_there(owner) => {
                accounts.insert(owner.account);
            }
            _ => counts.without_account += 1,
        }
    }
    counts.accounts = accounts.len();
    Ok(counts)
}

/// An affected resource with an endpoint of the account that it belongs to.
pub(crate) struct EndpointRow {
    pub id: EndpointId,
    pub channel: String,
    pub url: String,
    pub disabled: bool,
    pub account: String,
    pub account_name: String,
    pub resource: ResourceRef,
    pub resource_name: Option<String>,
}

/// The endpoints of the accounts that own something affected, once for each affected resource.
///
/// # Errors
/// What the database answers.
pub(crate) fn endpoints(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<EndpointRow>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        account_key: i64,
        #[diesel(sql_type = Text)]
        id: EndpointId,
        #[diesel(sql_type = Text)]
        channel: String,
        #[diesel(sql_type = Text)]
        url: String,
        #[diesel(sql_type = Nullable<BigInt>)]
        disabled_at: Option<i64>,
    }
    let graph = Graph::of_incident(conn, incident, At::Now, false)?;
    let accounts: Vec<i64> = graph.reached().0.into_iter().collect();
    let mut endpoints: HashMap<i64, Vec<Row>> = HashMap::new();
    for chunk in accounts.chunks(at::CHUNK) {
        let rows: Vec<Row> = diesel::sql_query(format!(
            "SELECT e.account_key, e.id, e.channel, e.url, e.disabled_at FROM endpoints e \
             WHERE e.gone_at IS NULL AND e.account_key IN ({})",
            at::keys(chunk)
        ))
        .load(conn)?;
        for row in rows {
            endpoints.entry(row.account_key).or_default().push(row);
        }
    }
    let mut found = Vec::new();
    if endpoints.is_empty() {
        return Ok(found);
    }
    for affected in graph.current() {
        let Some(owner) = graph.owner(&graph.chain(affected.key, false)) else {
            continue;
        };
        let (Some(rows), Some(account)) = (endpoints.get(&owner.account), graph.accounts.get(&owner.account))
        else {
            continue;
        };
        let node = graph.node(affected.key)?;
        found.extend(rows.iter().map(|row| EndpointRow {
            id: row.id.clone(),
            channel: row.channel.clone(),
            url: row.url.clone(),
            disabled: row.disabled_at.is_some(),
            account: account.id.clone(),
            account_name: account.name.clone(),
            resource: node.at.clone(),
            resource_name: node.name.clone(),
        }));
    }
    Ok(found)
}
