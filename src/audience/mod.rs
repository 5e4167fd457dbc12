//! From affected resources to people, each with every reason.
//!
//! A resource belongs to the account named on it or on its nearest ancestor. Its people are that account's owners and
//! the collaborators on it or on any of its ancestors, unless a rule names other roles. An ancestor that is gone cuts
//! the chain; an account that is gone has nobody. One computation answers the preview and the send: `graph` reads what
//! is affected and what is above it, here it becomes people. It can be asked as of a time too.
//!
//! Must never happen here: somebody of an account that owns nothing affected, or somebody left out in silence.

mod at;
mod count;
mod difference;
mod explain;
mod graph;
mod roles;
mod rule;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
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
use crate::db::keyed::{CHUNK, load_keyed};
use crate::db::schema::opt_outs;
use crate::directory::{ResourceRef, normal_address};
use crate::error::Result;
use crate::id::{EndpointId, IncidentId};
use crate::incident::affected::{self, Relevance, Unresolved};
use crate::shared::Shared;
use graph::{AccountIndex, Graph, Node, NodeIndex};
use roles::Held;

/// The way from an affected resource to where a role is held, both ends included. Ways from one resource share its chain.
#[derive(Clone, Debug)]
pub struct Way {
    chain: Arc<[ResourceRef]>,
    /// Steps of the chain that are part of it.
    steps: usize,
    /// Where it ends, where that is the account.
    account: Option<ResourceRef>,
}

impl Way {
    /// The steps.
    pub fn steps(&self) -> impl Iterator<Item = &ResourceRef> {
        self.chain.iter().take(self.steps).chain(self.account.as_ref())
    }
}

impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        self.steps().eq(other.steps())
    }
}
impl Eq for Way {}
impl PartialOrd for Way {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Way {
    fn cmp(&self, other: &Self) -> Ordering {
        self.steps().cmp(other.steps())
    }
}
impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.steps())
    }
}

/// Why somebody is in the audience.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
pub struct Reason {
    /// The affected resource.
    pub resource: ResourceRef,
    /// Its name.
    pub name: Option<Shared>,
    /// The ancestor on which the role or the account is; null where it is the resource itself.
    pub through: Option<ResourceRef>,
    /// The account that the resource belongs to.
    pub account: Option<Shared>,
    /// The account's name.
    pub account_name: Option<Shared>,
    /// `owner` of the account, or the role of the collaborator.
    pub role: Shared,
    /// Whether it is the account's owner who is meant, not a collaborator with a role of that name.
    #[serde(skip)]
    pub by_account: bool,
    /// How surely the resource is affected.
    pub relevance: Relevance,
    /// From the affected resource to where the role is held: a resource above it, or at the end
    /// `{"type": "account", "id": …}`.
    #[schema(value_type = Vec<ResourceRef>)]
    pub path: Way,
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
    let mut wanted: Vec<i64> = reasons.keys().copied().collect();
    wanted.sort_unstable();
    let suppressed = suppressed(conn)?;
    let mut people: Vec<Addressee> = Vec::with_capacity(wanted.len());
    let mut gone: BTreeMap<String, Unreachable> = BTreeMap::new();
    for row in roles::people(conn, at, &wanted)? {
        let Some(Reasons { mut list, account }) = reasons.remove(&row.key) else {
            continue;
        };
        let person = PersonRef {
            id: row.id,
            name: row.name,
            email: row.email,
        };
        if !row.there {
            let reason = "deleted from the directory".to_owned();
            gone.insert(person.id.clone(), Unreachable { person, reason });
            continue;
        }
        // Where they have none of their own, that of the account by which they were found first.
        let account = account.map(|account| graph.account(account));
        list.sort_unstable();
        let relevance = list.iter().map(|reason| reason.relevance).max();
        let unreachable = match row.gone_now {
            true => Some("deleted from the directory since".to_owned()),
            false => unreachable(&person),
        };
        people.push(Addressee {
            suppressed: match suppressed.is_empty() {
                true => None,
                false => suppressed.get(&normal_address(&person.email)).cloned(),
            },
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
        });
    }
    let people = by_id(people);
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
    Ok(Audience {
        counts: counts(&graph, &people, unreachable.len(), unresolved.len()),
        people,
        unreachable,
        unresolved,
    })
}

/// In the order of the ids of the people. Most ids differ in their beginnings, which stand side by side while they are
/// sorted; the ids themselves are looked at only where they do not.
fn by_id(people: Vec<Addressee>) -> Vec<Addressee> {
    let beginning = |id: &str| {
        let mut bytes = [0; 16];
        let length = id.len().min(16);
        bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
        u128::from_be_bytes(bytes)
    };
    let mut order: Vec<(u128, usize)> = people
        .iter()
        .enumerate()
        .map(|(index, addressee)| (beginning(&addressee.person.id), index))
        .collect();
    order.sort_unstable_by(|(a, first), (b, second)| {
        a.cmp(b)
            .then_with(|| people[*first].person.id.cmp(&people[*second].person.id))
    });
    let mut people: Vec<Option<Addressee>> = people.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|(_, index)| people[index].take())
        .collect()
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
    account: Option<AccountIndex>,
}

/// Every reason of everybody, by the keys of the people.
fn reasons(conn: &mut Conn, graph: &Graph, rule: &Rule) -> Result<HashMap<i64, Reasons>> {
    let (accounts, nodes) = graph.reached();
    let members = roles::members(conn, graph, &accounts, &rule.member_roles())?;
    let collaborators = roles::collaborators(conn, graph, &nodes, rule.collaborator_roles().as_deref())?;
    let mut people: HashMap<i64, Reasons> = HashMap::with_capacity(accounts.len());
    let mut chain = Vec::new();
    for affected in graph.current() {
        graph.climb(affected.node, false, &mut chain);
        let owner = graph.owner(&chain);
        if owner.is_some_and(|owner| !graph.is_there(owner)) {
            continue;
        }
        let Some(mut at) = Place::new(
            graph,
            affected.relevance,
            &chain,
            owner.map(|owner| owner.account),
        ) else {
            continue;
        };
        for (depth, node) in chain.iter().enumerate() {
            if let Some(owner) = owner.filter(|owner| owner.depth == depth) {
                for held in members.at(owner.account.get()) {
                    at.add(&mut people, held, depth, true);
                }
            }
            for held in collaborators.at(node.get()) {
                at.add(&mut people, held, depth, false);
            }
        }
    }
    Ok(people)
}

/// What the reasons of one affected resource have in common.
struct Place<'a> {
    graph: &'a Graph,
    nodes: &'a [NodeIndex],
    first: &'a Node,
    account: Option<AccountIndex>,
    relevance: Relevance,
    /// The chain, once somebody needs it.
    chain: Option<Arc<[ResourceRef]>>,
}

impl<'a> Place<'a> {
    fn new(
        graph: &'a Graph,
        relevance: Relevance,
        nodes: &'a [NodeIndex],
        account: Option<AccountIndex>,
    ) -> Option<Place<'a>> {
        Some(Place {
            graph,
            nodes,
            first: graph.node(*nodes.first()?),
            account,
            relevance,
            chain: None,
        })
    }

    fn way(&mut self, depth: usize, by_account: bool) -> Way {
        let (graph, nodes) = (self.graph, self.nodes);
        let chain = self
            .chain
            .get_or_insert_with(|| nodes.iter().map(|node| graph.node(*node).at.clone()).collect());
        Way {
            chain: chain.clone(),
            steps: depth + 1,
            account: self
                .account
                .filter(|_| by_account)
                .map(|account| graph.account(account).at.clone()),
        }
    }

    fn add(&mut self, people: &mut HashMap<i64, Reasons>, held: &Held, depth: usize, by_account: bool) {
        let path = self.way(depth, by_account);
        let account = self.account.map(|account| self.graph.account(account));
        let reasons = people.entry(held.person).or_default();
        if reasons.list.is_empty() {
            reasons.account = self.account;
        }
        reasons.list.push(Reason {
            resource: self.first.at.clone(),
            name: self.first.name.clone(),
            through: self
                .nodes
                .get(depth)
                .filter(|_| depth > 0)
                .map(|node| self.graph.node(*node).at.clone()),
            account: account.map(|account| account.id.clone()),
            account_name: account.map(|account| account.name.clone()),
            role: held.role.clone(),
            by_account,
            relevance: self.relevance,
            path,
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
fn counts(graph: &Graph, people: &[Addressee], unreachable: usize, unresolved: usize) -> Counts {
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
        gone_resources: 0,
        without_account: 0,
        not_known_then: 0,
    };
    let mut accounts = vec![false; graph.accounts_len()];
    let mut chain = Vec::new();
    for affected in graph.current() {
        let node = graph.node(affected.node);
        if node.unknown() {
            counts.not_known_then += 1;
            continue;
        }
        if !node.there() {
            counts.gone_resources += 1;
            continue;
        }
        counts.resources += 1;
        graph.climb(affected.node, false, &mut chain);
        match graph.owner(&chain) {
            Some(owner) if graph.is_there(owner) => accounts[owner.account.get()] = true,
            _ => counts.without_account += 1,
        }
    }
    counts.accounts = accounts.into_iter().filter(|owns| *owns).count();
    counts
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
    type Columns = (BigInt, Text, Text, Text, Nullable<BigInt>);
    type Row = (i64, EndpointId, String, String, Option<i64>);
    let graph = Graph::of_incident(conn, incident, At::Now, false)?;
    let (accounts, _) = graph.reached();
    let accounts: Vec<i64> = accounts
        .into_iter()
        .map(|index| graph.account(index).key)
        .collect();
    let mut endpoints: HashMap<i64, Vec<Row>> = HashMap::new();
    for chunk in accounts.chunks(CHUNK) {
        let rows: Vec<Row> = load_keyed!(
            conn,
            Columns,
            "SELECT e.account_key, e.id, e.channel, e.url, e.disabled_at FROM endpoints e WHERE e.gone_at IS NULL AND",
            "e.account_key",
            chunk
        );
        for row in rows {
            endpoints.entry(row.0).or_default().push(row);
        }
    }
    let mut found = Vec::new();
    if endpoints.is_empty() {
        return Ok(found);
    }
    for affected in graph.current() {
        let Some(owner) = graph.owner(&graph.chain(affected.node, false)) else {
            continue;
        };
        let account = graph.account(owner.account);
        let Some(rows) = endpoints.get(&account.key) else {
            continue;
        };
        let node = graph.node(affected.node);
        found.extend(rows.iter().map(|(_, id, channel, url, disabled_at)| EndpointRow {
            id: id.clone(),
            channel: channel.clone(),
            url: url.clone(),
            disabled: disabled_at.is_some(),
            account: account.id.to_string(),
            account_name: account.name.to_string(),
            resource: node.at.clone(),
            resource_name: node.name.as_deref().map(str::to_owned),
        }));
    }
    Ok(found)
}
