//! The reasons why a person is in an audience: each role that leads to an affected resource, with the path to
//! it, each error that the person hit, and whether the person is named directly. Reasons are stored as indexes into the graph, a few bytes each, and are converted to texts when they are read.
//!
//! Every reason has an affected resource or an event, or says when the person was added to the incident.

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
use crate::incident::affected_people::Named;
use crate::incident::finding::Finding;
use crate::incident::recovery::State;
use crate::incident::users_in_events::SeenInEvents;

/// The path from an affected resource to the place of a role, both ends included. It is computed when it is
/// read.
#[derive(Clone)]
pub struct Way(Option<(Arc<Folded>, Brief)>);

impl Way {
    /// Returns the steps of the path.
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

/// A reason why a person is in the audience: an affected resource, an error that the person hit, or that the person
/// is named directly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Reason {
    /// The affected resource. Null if the person hit an error (see `seen`) or is named directly (see `named`).
    pub resource: Option<ResourceRef>,
    /// The name of the affected resource.
    pub name: Option<Shared>,
    /// The ancestor on which the role or the account is set. Null if it is set on the resource itself.
    pub through: Option<ResourceRef>,
    /// The ID of the account that the resource belongs to.
    pub account: Option<Shared>,
    /// The name of the account.
    pub account_name: Option<Shared>,
    /// `owner` or another role in the account, or the role of the collaborator. `user` if `seen` is set, and
    /// `named` if `named` is set.
    pub role: Shared,
    /// Whether this is a role in the account, and not a collaborator with a role of the same name.
    #[serde(skip)]
    pub by_account: bool,
    /// How certain it is that the resource, or the person who is named directly, is affected.
    pub relevance: Relevance,
    /// What a comparison found about the resource, such as `expected 642,111,856 bytes, stored 0`. Left out if no comparison found
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// The same in words for customers.
    #[serde(skip)]
    pub(crate) finding_for_customers: Option<&'static str>,
    /// How far the recovery of the resource is. Left out if the incident has no recovery states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<State>,
    /// The path from the affected resource to the place of the role: an ancestor of the resource, or at the
    /// end `{"type": "account", "id": …}`.
    #[schema(value_type = Vec<ResourceRef>)]
    pub path: Way,
    /// The events of one alert whose user the person was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Box<SeenInEvents>>,
    /// That the person is named directly: added to the incident, and not found through a resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named: Option<Named>,
}

impl Reason {
    /// Makes a reason without a resource.
    fn without_resource(role: &str, relevance: Relevance) -> Reason {
        Reason {
            resource: None,
            name: None,
            through: None,
            account: None,
            account_name: None,
            role: role.into(),
            by_account: false,
            relevance,
            finding: None,
            finding_for_customers: None,
            recovery: None,
            path: Way(None),
            seen: None,
            named: None,
        }
    }

    /// Makes the reason of a user who hit an error.
    fn seen(seen: SeenInEvents) -> Reason {
        Reason {
            seen: Some(Box::new(seen)),
            ..Reason::without_resource("user", Relevance::Impaired)
        }
    }

    /// Makes the reason of a person who is named directly.
    fn named(named: Named) -> Reason {
        Reason {
            finding: named.finding.clone(),
            relevance: named.relevance,
            named: Some(named),
            ..Reason::without_resource("named", Relevance::default())
        }
    }
}

/// A role that leads to an affected resource.
#[derive(Clone, Copy)]
pub(super) struct Brief {
    /// The affected resource that the role leads to.
    node: NodeIndex,
    /// The account that the resource belongs to.
    account: Option<AccountIndex>,
    /// The index of the role in the list of roles.
    role: u32,
    /// How many levels above the resource the role is set.
    depth: u32,
    by_account: bool,
    relevance: Relevance,
}

/// All roles of all people that lead to an affected resource, with the graph.
pub(super) struct Folded {
    pub graph: Graph,
    roles: Words,
    /// The roles. Those of one person are next to each other.
    briefs: Vec<Brief>,
    /// The people, ordered by key.
    people: Vec<PersonRoles>,
    /// The numbers of affected resources, by whether they belong to an account.
    pub numbers: Numbers,
}

/// A person with a role that leads to an affected resource.
struct PersonRoles {
    key: i64,
    /// The index of the person's first role.
    start: u32,
    /// The account through which the person was found first, if there is one.
    first: Option<AccountIndex>,
}

/// How many of some affected resources are recovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RestoredShare)]
pub struct Progress {
    /// The number of recovered resources.
    pub restored: usize,
    /// The number of affected resources, recovered or not.
    pub affected: usize,
}

impl Progress {
    /// Returns whether all of them are recovered.
    pub fn is_complete(self) -> bool {
        self.affected > 0 && self.restored == self.affected
    }
}

/// All reasons of one person.
#[derive(Clone)]
pub struct Reasons {
    of: Arc<Folded>,
    from: u32,
    to: u32,
    seen: Box<[SeenInEvents]>,
    named: Option<Named>,
}

impl Folded {
    /// Finds the roles that lead to the affected resources. The roles of each person are sorted.
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
        // The sort is stable, so the first role of each person is the one through which the person was found
        // first.
        found.sort_by_key(|(person, _)| *person);
        // The index of the end of the list must also fit into a `u32`.
        u32::try_from(found.len()).map_err(Error::internal)?;
        let mut people: Vec<PersonRoles> = Vec::new();
        let mut briefs: Vec<Brief> = Vec::with_capacity(found.len());
        for (key, brief) in found {
            if people.last().is_none_or(|last| last.key != key) {
                people.push(PersonRoles {
                    key,
                    start: briefs.len() as u32,
                    first: brief.account,
                });
            }
            briefs.push(brief);
        }
        let starts = people.iter().map(|roles| roles.start as usize);
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

    /// Returns the keys of the people, in order.
    pub fn people(&self) -> impl Iterator<Item = i64> {
        self.people.iter().map(|roles| roles.key)
    }

    /// Returns the account through which the person at this index was found first, if there is one.
    pub fn first_account(&self, place: usize) -> Option<AccountIndex> {
        self.people[place].first
    }

    /// Returns the index of a person in [`people`](Self::people). `guess` is tried first: in a lookup in
    /// order, it is the index after the last one.
    pub fn place(&self, person: i64, guess: usize) -> Option<usize> {
        match self.people.get(guess) {
            Some(told) if told.key == person => Some(guess),
            _ => self.people.binary_search_by_key(&person, |roles| roles.key).ok(),
        }
    }
}

/// Finds the roles, in the order of the affected resources.
fn found(graph: &Graph, members: &HeldOn, collaborators: &HeldOn) -> Vec<(i64, Brief)> {
    let mut found = Vec::with_capacity(graph.affected.len() * 2);
    let mut chain = Vec::new();
    for affected in graph.current() {
        graph.climb(affected.node, false, &mut chain);
        let owner = graph.owner(&chain);
        if owner.is_some_and(|owner| !graph.owner_is_active(owner)) {
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
    /// Returns the resource with the role, if it is above the affected resource.
    fn through(&self, graph: &Graph) -> Option<NodeIndex> {
        match self.depth {
            0 => None,
            depth => graph.up(self.node).nth(depth as usize),
        }
    }

    /// Compares by affected resource, then by the ancestor with the role, and then by role.
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
        let finding = graph.finding(self.node);
        Reason {
            resource: Some(graph.reference(self.node)),
            name: graph.name(self.node).cloned(),
            through: self.through(graph).map(|node| graph.reference(node)),
            account: account.map(|account| account.id.clone()),
            account_name: account.map(|account| account.name.clone()),
            role: of.roles.get(self.role).clone(),
            by_account: self.by_account,
            relevance: self.relevance,
            finding: finding.as_ref().map(Finding::internal),
            finding_for_customers: finding.as_ref().map(Finding::for_customers),
            recovery: graph.state(self.node),
            path: Way(Some((of.clone(), *self))),
            seen: None,
            named: None,
        }
    }
}

impl Reasons {
    /// Makes the reasons of the person at this index, with the events whose user the person was, and whether the
    /// person is named directly.
    pub(super) fn new(
        of: &Arc<Folded>,
        place: Option<usize>,
        mut seen: Vec<SeenInEvents>,
        named: Option<Named>,
    ) -> Reasons {
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
            named,
        }
    }

    fn briefs(&self) -> &[Brief] {
        &self.of.briefs[self.from as usize..self.to as usize]
    }

    /// Returns each reason as text: whether the person is named directly, then errors, and then by affected
    /// resource.
    pub fn iter(&self) -> impl Iterator<Item = Reason> {
        let named = self.named.iter().cloned().map(Reason::named);
        let seen = self.seen.iter().cloned().map(Reason::seen);
        let roles = self.briefs().iter().map(|brief| brief.in_words(&self.of));
        named.chain(seen).chain(roles)
    }

    /// Returns the number of reasons.
    pub fn len(&self) -> usize {
        usize::from(self.named.is_some()) + self.seen.len() + self.briefs().len()
    }

    /// Returns whether there are no reasons.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the person hit an error.
    pub fn was_seen(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Returns whether the person is named directly.
    pub fn was_named(&self) -> bool {
        self.named.is_some()
    }

    /// Returns the IDs of the accounts through which the person is affected. An ID can occur several times.
    pub fn accounts(&self) -> impl Iterator<Item = &Shared> {
        let accounts = self.briefs().iter().filter_map(|brief| brief.account);
        accounts.map(|account| &self.of.graph.account(account).id)
    }

    /// Returns the keys of the affected resources, each once, with how far the recovery of each is.
    fn own(&self) -> impl Iterator<Item = (i64, Option<State>)> {
        let graph = &self.of.graph;
        let mut last = None;
        // The reasons about one resource stand next to each other.
        self.briefs().iter().filter_map(move |brief| {
            let is_new = last.replace(brief.node) != Some(brief.node);
            is_new.then(|| (graph.node(brief.node).key, graph.state(brief.node)))
        })
    }

    /// Returns the keys of the affected resources, each once, with whether the resource is recovered. It is if the incident has no
    /// recovery states.
    pub fn restored(&self) -> impl Iterator<Item = (i64, bool)> {
        self.own()
            .map(|(key, state)| (key, state.is_none_or(|state| state == State::Recovered)))
    }

    /// Returns the keys of the affected resources, each once.
    pub fn resource_keys(&self) -> impl Iterator<Item = i64> {
        self.own().map(|(key, _)| key)
    }

    /// Returns how many of the person's affected resources are recovered. `None` if the incident has no recovery states, or if no
    /// resource of the person is affected.
    pub fn progress(&self) -> Option<Progress> {
        if !self.of.graph.has_states() || self.briefs().is_empty() {
            return None;
        }
        let mut progress = Progress::default();
        for (_, state) in self.own() {
            progress.affected += 1;
            progress.restored += usize::from(state == Some(State::Recovered));
        }
        Some(progress)
    }

    /// Returns whether the person is named directly.
    pub fn is_named(&self) -> bool {
        self.named.is_some()
    }

    /// Returns the strongest relevance of the reasons.
    pub(super) fn relevance(&self) -> Relevance {
        let seen = self.seen.first().map(|_| Relevance::Impaired);
        let most = self.briefs().iter().map(|brief| brief.relevance).max();
        let named = self.named.as_ref().map(|named| named.relevance);
        most.max(seen).max(named).unwrap_or_default()
    }
}

impl Reasons {
    /// Returns each role with keys. Keys mean the same in every audience that is read in one transaction, so
    /// the texts need not be compared.
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

/// A role that leads to an affected resource, with the keys of the path.
struct ByKeys<'a, Up> {
    up: Up,
    account: Option<i64>,
    role: &'a str,
    how: (u32, bool, Relevance),
}

impl Hash for Reasons {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.seen, &self.named).hash(state);
        for one in self.by_keys() {
            one.up.for_each(|key| key.hash(state));
            (one.account, one.role, one.how).hash(state);
        }
    }
}
impl PartialEq for Reasons {
    fn eq(&self, other: &Self) -> bool {
        (&self.seen, &self.named) == (&other.seen, &other.named)
            && self.briefs().len() == other.briefs().len()
            && self.by_keys().zip(other.by_keys()).all(|(one, other)| {
                (one.account, one.role, one.how) == (other.account, other.role, other.how)
                    && one.up.eq(other.up)
            })
    }
}
impl Eq for Reasons {}
impl fmt::Debug for Folded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folded")
            .field("numbers", &self.numbers)
            .finish_non_exhaustive()
    }
}
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
