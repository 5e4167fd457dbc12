//! The graph of the affected resources, their ancestors and the accounts that own them, in memory. This
//! module follows the paths upwards, and `load` reads the graph.
//!
//! This module does not access the database.

mod load;

use super::at::{At, THERE, UNKNOWN};
use super::places::Places;
use crate::base::id::ExternalId;
use crate::base::shared::Shared;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;
use crate::incident::affected::Relevance;
use crate::incident::finding::Finding;
use crate::incident::recovery::State;

/// A resource of the graph, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeIndex(u32);

/// An account of the graph, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AccountIndex(u32);

/// A resource of the graph. There can be a million of them, so data that is not needed for each one is stored
/// elsewhere.
pub(super) struct Node {
    pub key: i64,
    id: Box<str>,
    /// The index of the type in the list of types.
    type_: u32,
    parent: Option<NodeIndex>,
    account: Option<AccountIndex>,
    standing: u8,
}

impl Node {
    pub fn is_active(&self) -> bool {
        i64::from(self.standing) == THERE
    }

    /// Returns whether the directory did not know the resource yet.
    pub fn unknown(&self) -> bool {
        i64::from(self.standing) == UNKNOWN
    }
}

/// An account that owns resources of the graph.
pub(super) struct Account {
    pub key: i64,
    pub id: Shared,
    pub name: Shared,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub there: bool,
}

/// A resource that the incident affects or affected. It counts as affected now if `removed_at` is None.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affected {
    pub node: NodeIndex,
    pub relevance: Relevance,
    /// When the resource was removed from the incident.
    pub removed_at: Option<Timestamp>,
}

/// The account that owns a resource, and how many levels above the resource it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub account: AccountIndex,
    pub depth: usize,
}

/// The numbers of affected resources, by whether they belong to an account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    /// The number of affected resources that are active.
    pub resources: usize,
    /// The number of active accounts that own them.
    pub accounts: usize,
    /// The number of resources without an account, or with an archived account.
    pub without_account: usize,
    /// The number of affected resources that are archived.
    pub gone: usize,
    /// The number of affected resources that the directory did not know at that time.
    pub unknown: usize,
}

/// The accounts and resources that the paths up from the affected resources reach.
pub(super) struct Reached {
    /// The active accounts that own an affected resource, ordered by key.
    pub accounts: Vec<AccountIndex>,
    /// The affected resources and their ancestors, ordered by key. Resources of an archived account are left
    /// out.
    pub nodes: Vec<NodeIndex>,
    pub numbers: Numbers,
}

/// The affected resources and all their ancestors.
pub(super) struct Graph {
    /// The affected resources, ordered by key.
    pub affected: Vec<Affected>,
    nodes: Vec<Node>,
    /// The names of the affected resources, which are the first nodes. The names of their ancestors are not
    /// needed.
    names: Vec<Option<Shared>>,
    /// The findings of the affected resources as JSON, in the order of the first nodes. Empty if no comparison found any.
    findings: Vec<Option<Box<str>>>,
    /// How far the recovery of each affected resource is, in the order of the first nodes. Empty if the incident has no recovery
    /// states.
    states: Vec<State>,
    accounts: Vec<Account>,
    by_key: Places,
    accounts_by_key: Places,
    types: Vec<ExternalId>,
    /// The type `account`, for the last step of a path.
    account_type: ExternalId,
    /// The time at which the directory was read.
    pub at: At,
}

impl Graph {
    /// Returns the type and ID of a resource.
    pub fn reference(&self, node: NodeIndex) -> ResourceRef {
        let node = self.node(node);
        ResourceRef {
            type_: self.types[node.type_ as usize].clone(),
            id: ExternalId::stored(&node.id),
        }
    }

    /// Returns the type and ID of a resource, for comparisons.
    pub fn words(&self, node: NodeIndex) -> (&str, &str) {
        let node = self.node(node);
        (self.types[node.type_ as usize].as_str(), &node.id)
    }

    /// Returns the name of an affected resource, if it has one.
    pub fn name(&self, node: NodeIndex) -> Option<&Shared> {
        self.names.get(node.get())?.as_ref()
    }

    /// Returns what a comparison found about an affected resource.
    pub fn finding(&self, node: NodeIndex) -> Option<Finding> {
        // A finding that another version wrote and this one cannot read is not shown.
        serde_json::from_str(self.findings.get(node.get())?.as_deref()?).ok()
    }

    /// Returns how far the recovery of an affected resource is. `None` if the incident has no recovery states.
    pub fn state(&self, node: NodeIndex) -> Option<State> {
        self.states.get(node.get()).copied()
    }

    /// Returns whether the incident has recovery states.
    pub fn has_states(&self) -> bool {
        !self.states.is_empty()
    }

    /// Returns an account as the last step of a path.
    pub fn account_reference(&self, account: AccountIndex) -> ResourceRef {
        ResourceRef {
            type_: self.account_type.clone(),
            id: ExternalId::stored(&self.account(account).id),
        }
    }

    pub fn node(&self, node: NodeIndex) -> &Node {
        &self.nodes[node.0 as usize]
    }

    pub fn account(&self, account: AccountIndex) -> &Account {
        &self.accounts[account.0 as usize]
    }

    /// Returns the number of resources, including ancestors.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the number of accounts.
    pub fn accounts_len(&self) -> usize {
        self.accounts.len()
    }

    /// Returns the resource with this key, if it is in the graph.
    pub fn find(&self, key: i64) -> Option<NodeIndex> {
        self.by_key.get(key).map(|place| NodeIndex(place as u32))
    }

    /// Returns the account with this key, if it is in the graph.
    pub fn find_account(&self, key: i64) -> Option<AccountIndex> {
        self.accounts_by_key
            .get(key)
            .map(|place| AccountIndex(place as u32))
    }

    /// Frees the memory of the indexes by key. Nothing can be found by its key after that.
    pub fn forget_keys(&mut self) {
        (self.by_key, self.accounts_by_key) = (Places::default(), Places::default());
    }

    /// Returns the affected resources, active or archived, without those that were removed from the incident.
    pub fn current(&self) -> impl Iterator<Item = &Affected> {
        self.affected
            .iter()
            .filter(|affected| affected.removed_at.is_none())
    }

    /// Returns a resource and all its ancestors, active or archived. For an earlier time the iterator can be
    /// endless, because cycles were not checked then.
    pub fn up(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        std::iter::successors(Some(node), |node| self.node(*node).parent)
    }

    /// Returns a resource and its ancestors: up to the first archived one, or all of them.
    pub fn chain(&self, node: NodeIndex, through_gone: bool) -> Vec<NodeIndex> {
        let mut chain = Vec::with_capacity(4);
        self.climb(node, through_gone, &mut chain);
        chain
    }

    /// Does the same with a list that is reused.
    pub fn climb(&self, node: NodeIndex, through_gone: bool, chain: &mut Vec<NodeIndex>) {
        chain.clear();
        let mut next = Some(node);
        while let Some(index) = next {
            let node = self.node(index);
            // A cycle cannot be stored, but for an earlier time nothing checks that.
            if (!through_gone && !node.is_active()) || chain.contains(&index) {
                break;
            }
            chain.push(index);
            next = node.parent;
        }
    }

    /// Returns the account that is set on the first resource of a chain with an account. The account can be
    /// archived.
    pub fn owner(&self, chain: &[NodeIndex]) -> Option<Owner> {
        chain.iter().enumerate().find_map(|(depth, index)| {
            let account = self.node(*index).account?;
            Some(Owner { account, depth })
        })
    }

    /// Returns whether the account of the owner is active.
    pub fn owner_is_active(&self, owner: Owner) -> bool {
        self.account(owner.account).there
    }

    /// Returns the accounts and resources that the paths reach, and counts the affected resources without an
    /// account.
    pub fn reached(&self) -> Reached {
        let mut accounts = vec![false; self.accounts.len()];
        let mut nodes = vec![false; self.nodes.len()];
        let mut numbers = Numbers::default();
        let mut chain = Vec::new();
        for affected in self.current() {
            let node = self.node(affected.node);
            if !node.is_active() {
                match node.unknown() {
                    true => numbers.unknown += 1,
                    false => numbers.gone += 1,
                }
                continue;
            }
            numbers.resources += 1;
            self.climb(affected.node, false, &mut chain);
            match self.owner(&chain) {
                Some(owner) if self.owner_is_active(owner) => accounts[owner.account.get()] = true,
                owner => {
                    numbers.without_account += 1;
                    if owner.is_some() {
                        continue;
                    }
                }
            }
            for node in &chain {
                nodes[node.get()] = true;
            }
        }
        let marked = |flags: Vec<bool>| {
            flags
                .into_iter()
                .enumerate()
                .filter_map(|(index, flag)| flag.then_some(index as u32))
        };
        let mut accounts: Vec<AccountIndex> = marked(accounts).map(AccountIndex).collect();
        let mut nodes: Vec<NodeIndex> = marked(nodes).map(NodeIndex).collect();
        accounts.sort_unstable_by_key(|index| self.account(*index).key);
        nodes.sort_unstable_by_key(|index| self.node(*index).key);
        numbers.accounts = accounts.len();
        Reached {
            accounts,
            nodes,
            numbers,
        }
    }
}

impl NodeIndex {
    /// Returns the index, for lists that are parallel to those of the graph.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl AccountIndex {
    /// Returns the index, for lists that are parallel to those of the graph.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}
