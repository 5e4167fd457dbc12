//! Why somebody is in an audience: each role that leads to something affected with the way there, and each error that they
//! were the user of. Reasons are kept as places in the graph, a few bytes each, and put into words when somebody reads them.
//!
//! Must never happen here: a reason without something affected or an event behind it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::graph::{AccountIndex, Graph, NodeIndex, Numbers, Reached};
use super::roles::{self, Held, HeldOn, Words};
use super::rule::Rule;
use crate::base::error::{Error, Result};
use crate::base::shared::Shared;
use crate::db::Conn;
use crate::directory::ResourceRef;
use crate::incident::affected::Relevance;
use crate::incident::seen::Seen;

/// The way from an affected resource to where a role is held, both ends included. Put into words when it is asked for.
#[derive(Clone)]
pub struct Way(Option<(Arc<Folded>, Brief)>);

impl Way {
    /// The steps.
    pub fn steps(&self) -> impl Iterator<Item = ResourceRef> {
        self.0
            .as_ref()
            .map(|(of, brief)| {
                let graph = &of.graph;
                let nodes = graph.up(brief.node).take(brief.depth as usize + 1);
                let mut steps: Vec<ResourceRef> = nodes.map(|node| graph.reference(node)).collect();
                if let Some(account) = brief.account.filter(|_| brief.by_account) {
                    steps.push(graph.account_reference(account));
                }
                steps
            })
            .unwrap_or_default()
            .into_iter()
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}
impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        self.steps().eq(other.steps())
    }
}
impl Eq for Way {}
impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.steps())
    }
}

/// Why somebody is in the audience: through something affected, or as the user of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
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
    fn seen(seen: Seen) -> Reason {
        Reason {
            resource: None,
            name: None,
            through: None,
            account: None,
            account_name: None,
            role: "user".into(),
            by_account: false,
            relevance: Relevance::Impaired,
            path: Way(None),
            seen: Some(Box::new(seen)),
        }
    }
}

/// A role of somebody that leads to something affected.
#[derive(Clone, Copy)]
pub(super) struct Brief {
    /// What is affected.
    node: NodeIndex,
    /// The account that it belongs to.
    account: Option<AccountIndex>,
    /// By its place among the words.
    role: u32,
    /// How far above the node the role is held.
    depth: u32,
    by_account: bool,
    relevance: Relevance,
}

/// Every role of everybody that leads to something affected, with the graph that it leads through.
pub(super) struct Folded {
    pub graph: Graph,
    roles: Words,
    /// Those of one person stand together.
    briefs: Vec<Brief>,
    /// In the order of their keys.
    people: Vec<Told>,
    /// How much of what is affected leads to an account.
    pub numbers: Numbers,
}

/// Somebody with a role that leads to something affected.
struct Told {
    key: i64,
    /// Where their roles begin.
    start: u32,
    /// The account by which they were found first, where it was by one.
    first: Option<AccountIndex>,
}

/// Every reason of one person.
#[derive(Clone)]
pub struct Reasons {
    of: Arc<Folded>,
    from: u32,
    to: u32,
    seen: Box<[Seen]>,
}

impl Folded {
    /// Finds the roles that lead to what is affected, those of each person in their order.
    pub fn of(conn: &mut Conn, mut graph: Graph, rule: &Rule) -> Result<Folded> {
        let Reached {
            accounts,
            nodes,
            numbers,
        } = graph.reached();
        let mut roles = Words::default();
        let members = roles::members(conn, &graph, &accounts, &rule.member_roles(), &mut roles)?;
        let collaborators = roles::collaborators(
            conn,
            &graph,
            &nodes,
            rule.collaborator_roles().as_deref(),
            &mut roles,
        )?;
        let mut found = found(&graph, &members, &collaborators);
        drop((members, collaborators));
        graph.forget_keys();
        // Stable: the first of each person is the one by whose account they were found first.
        found.sort_by_key(|(person, _)| *person);
        // Where one ends must be a number of this size too.
        u32::try_from(found.len()).map_err(Error::internal)?;
        let mut people: Vec<Told> = Vec::new();
        let mut briefs: Vec<Brief> = Vec::with_capacity(found.len());
        for (key, brief) in found {
            if people.last().is_none_or(|last| last.key != key) {
                people.push(Told {
                    key,
                    start: briefs.len() as u32,
                    first: brief.account,
                });
            }
            briefs.push(brief);
        }
        let starts = people.iter().map(|told| told.start as usize);
        let ends = starts.clone().skip(1).chain([briefs.len()]);
        for (start, end) in starts.zip(ends) {
            briefs[start..end].sort_unstable_by(|a, b| a.order(b, &graph, &roles));
        }
        Ok(Folded {
            graph,
            roles,
            briefs,
            people,
            numbers,
        })
    }

    /// The keys of the people, in their order.
    pub fn people(&self) -> impl Iterator<Item = i64> {
        self.people.iter().map(|told| told.key)
    }

    /// The account by which the person at that place was found first, where it was by one.
    pub fn first_account(&self, place: usize) -> Option<AccountIndex> {
        self.people[place].first
    }

    /// Where a person stands among [`people`](Self::people). Whoever asks in their order gives the place after the last.
    pub fn place(&self, person: i64, guess: usize) -> Option<usize> {
        match self.people.get(guess) {
            Some(told) if told.key == person => Some(guess),
            _ => self.people.binary_search_by_key(&person, |told| told.key).ok(),
        }
    }
}

/// In the order of what is affected.
fn found(graph: &Graph, members: &HeldOn, collaborators: &HeldOn) -> Vec<(i64, Brief)> {
    let mut found = Vec::with_capacity(graph.affected.len() * 2);
    let mut chain = Vec::new();
    for affected in graph.current() {
        graph.climb(affected.node, false, &mut chain);
        let owner = graph.owner(&chain);
        if owner.is_some_and(|owner| !graph.is_there(owner)) {
            continue;
        }
        let brief = |held: &Held, depth: usize, by_account| {
            let brief = Brief {
                node: affected.node,
                account: owner.map(|owner| owner.account),
                role: held.role,
                depth: depth as u32,
                by_account,
                relevance: affected.relevance,
            };
            (held.person, brief)
        };
        for (depth, node) in chain.iter().enumerate() {
            if let Some(owner) = owner.filter(|owner| owner.depth == depth) {
                let of_account = members.at(owner.account.get()).iter();
                found.extend(of_account.map(|held| brief(held, depth, true)));
            }
            let on_it = collaborators.at(node.get()).iter();
            found.extend(on_it.map(|held| brief(held, depth, false)));
        }
    }
    found
}

impl Brief {
    /// Where the role is held, where that is above what is affected.
    fn through(&self, graph: &Graph) -> Option<NodeIndex> {
        match self.depth {
            0 => None,
            depth => graph.up(self.node).nth(depth as usize),
        }
    }

    /// By what is affected, by what is above it, then by the role.
    fn order(&self, other: &Self, graph: &Graph, roles: &Words) -> Ordering {
        let place = |one: &Self| one.through(graph).map(|node| graph.words(node));
        let at = match self.node == other.node {
            true => Ordering::Equal,
            false => graph.words(self.node).cmp(&graph.words(other.node)),
        };
        at.then_with(|| match self.depth == other.depth && self.node == other.node {
            true => Ordering::Equal,
            false => place(self).cmp(&place(other)),
        })
        .then_with(|| roles.get(self.role).cmp(roles.get(other.role)))
        .then_with(|| self.by_account.cmp(&other.by_account))
    }

    fn in_words(&self, of: &Arc<Folded>) -> Reason {
        let graph = &of.graph;
        let account = self.account.map(|account| graph.account(account));
        Reason {
            resource: Some(graph.reference(self.node)),
            name: graph.name(self.node).cloned(),
            through: self.through(graph).map(|node| graph.reference(node)),
            account: account.map(|account| account.id.clone()),
            account_name: account.map(|account| account.name.clone()),
            role: of.roles.get(self.role).clone(),
            by_account: self.by_account,
            relevance: self.relevance,
            path: Way(Some((of.clone(), *self))),
            seen: None,
        }
    }
}

impl Reasons {
    /// Those of the person at that place, and the events whose user they were.
    pub(super) fn new(of: &Arc<Folded>, place: Option<usize>, mut seen: Vec<Seen>) -> Reasons {
        seen.sort_unstable();
        let end = |place: usize| {
            of.people
                .get(place + 1)
                .map_or(of.briefs.len() as u32, |next| next.start)
        };
        let (from, to) = match place {
            Some(place) => (of.people[place].start, end(place)),
            None => (0, 0),
        };
        Reasons {
            of: of.clone(),
            from,
            to,
            seen: seen.into(),
        }
    }

    fn briefs(&self) -> &[Brief] {
        &self.of.briefs[self.from as usize..self.to as usize]
    }

    /// Each in words: errors first, then by what is affected.
    pub fn iter(&self) -> impl Iterator<Item = Reason> {
        let seen = self.seen.iter().cloned().map(Reason::seen);
        seen.chain(self.briefs().iter().map(|brief| brief.in_words(&self.of)))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.seen.len() + self.briefs().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether they were the user of an error.
    pub fn was_seen(&self) -> bool {
        !self.seen.is_empty()
    }

    /// The ids of the accounts through which they are affected; one may come again.
    pub fn accounts(&self) -> impl Iterator<Item = &Shared> {
        let accounts = self.briefs().iter().filter_map(|brief| brief.account);
        accounts.map(|account| &self.of.graph.account(account).id)
    }

    /// The strongest of their relevances.
    pub(super) fn relevance(&self) -> Relevance {
        let seen = self.seen.first().map(|_| Relevance::Impaired);
        let most = self.briefs().iter().map(|brief| brief.relevance).max();
        most.max(seen).unwrap_or_default()
    }
}

impl Reasons {
    /// Each role by keys, which mean the same in every audience that is read in one transaction: the words need not be looked at.
    fn by_keys(&self) -> impl Iterator<Item = ByKeys<'_, impl Iterator<Item = i64>>> {
        let Folded { graph, roles, .. } = &*self.of;
        self.briefs().iter().map(move |brief| ByKeys {
            up: graph
                .up(brief.node)
                .take(brief.depth as usize + 1)
                .map(|node| graph.node(node).key),
            account: brief.account.map(|account| graph.account(account).key),
            role: roles.get(brief.role),
            how: (brief.depth, brief.by_account, brief.relevance),
        })
    }
}

/// A role that leads to something affected, by the keys of the way there.
struct ByKeys<'a, Up> {
    up: Up,
    account: Option<i64>,
    role: &'a str,
    how: (u32, bool, Relevance),
}

impl Hash for Reasons {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.seen.hash(state);
        for one in self.by_keys() {
            one.up.for_each(|key| key.hash(state));
            (one.account, one.role, one.how).hash(state);
        }
    }
}
impl PartialEq for Reasons {
    fn eq(&self, other: &Self) -> bool {
        self.seen == other.seen
            && self.briefs().len() == other.briefs().len()
            && self.by_keys().zip(other.by_keys()).all(|(one, other)| {
                (one.account, one.role, one.how) == (other.account, other.role, other.how)
                    && one.up.eq(other.up)
            })
    }
}
impl Eq for Reasons {}
impl fmt::Debug for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
