//! Why somebody is in an audience: each role that leads to something affected with the way there, and each error that they
//! were the user of.
//!
//! Must never happen here: a reason without something affected or an event behind it.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::graph::Graph;
use super::roles::{self, Held};
use super::rule::Rule;
use crate::db::Conn;
use crate::directory::ResourceRef;
use crate::error::Result;
use crate::id::ExternalId;
use crate::incident::affected::Relevance;
use crate::incident::seen::Seen;

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
    pub(super) fn seen(seen: Seen) -> Reason {
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

/// The reasons of one person.
#[derive(Default)]
pub(super) struct Reasons {
    pub list: Vec<Reason>,
    /// The account of the first of them.
    pub account: Option<i64>,
}

/// Every reason of everybody, by the keys of the people.
pub(super) fn reasons(conn: &mut Conn, graph: &Graph, rule: &Rule) -> Result<HashMap<i64, Reasons>> {
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
