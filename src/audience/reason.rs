//! Why somebody is in an audience: each role that leads to something affected with the way there, and each error that they
//! were the user of.
//!
//! Must never happen here: a reason without something affected or an event behind it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::graph::{AccountIndex, Graph, Node, NodeIndex};
use super::roles::{self, Held};
use super::rule::Rule;
use crate::db::Conn;
use crate::directory::ResourceRef;
use crate::error::Result;
use crate::incident::affected::Relevance;
use crate::incident::seen::Seen;
use crate::shared::Shared;

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

/// Why somebody is in the audience: through something affected, or as the user of an error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
pub struct Reason {
    /// The affected resource; null where they were the user of an error, as `seen` says.
    pub resource: Option<ResourceRef>,
    /// Its name.
    pub name: Option<Shared>,
    /// The ancestor on which the role or the account is; null where it is the resource itself.
    pub through: Option<ResourceRef>,
    /// The account that the resource belongs to.
    pub account: Option<Shared>,
    /// The account's name.
    pub account_name: Option<Shared>,
    /// `owner` of the account, or the role of the collaborator; `user` with `seen`.
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
    /// The events of one alert whose user they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Box<Seen>>,
}

impl Reason {
    /// For the user of an error.
    pub(super) fn seen(seen: Seen) -> Reason {
        Reason {
            resource: None,
            name: None,
            through: None,
            account: None,
            account_name: None,
            role: "user".into(),
            by_account: false,
            relevance: Relevance::Impaired,
            path: Way {
                chain: Arc::new([]),
                steps: 0,
                account: None,
            },
            seen: Some(Box::new(seen)),
        }
    }
}

/// The reasons of one person.
#[derive(Default)]
pub(super) struct Reasons {
    pub list: Vec<Reason>,
    /// The account of the first of them.
    pub account: Option<AccountIndex>,
}

/// Every reason of everybody, by the keys of the people.
pub(super) fn reasons(conn: &mut Conn, graph: &Graph, rule: &Rule) -> Result<HashMap<i64, Reasons>> {
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
            resource: Some(self.first.at.clone()),
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
            seen: None,
        });
    }
}
