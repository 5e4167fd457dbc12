//! What is affected and everything above it, in memory, with the accounts that own it. The way up is walked here; `load` reads it.
//!
//! Must never happen here: a question to the database.

mod load;

use super::at::{At, THERE, UNKNOWN};
use super::places::Places;
use crate::base::id::ExternalId;
use crate::base::shared::Shared;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;
use crate::incident::affected::Relevance;

/// A resource of the graph, by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeIndex(u32);

/// An account of the graph, by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AccountIndex(u32);

/// A resource of the graph. There may be a million: what is not asked of each is kept elsewhere.
pub(super) struct Node {
    pub key: i64,
    id: Box<str>,
    /// By its place among the types.
    type_: u32,
    parent: Option<NodeIndex>,
    account: Option<AccountIndex>,
    standing: u8,
}

impl Node {
    pub fn there(&self) -> bool {
        i64::from(self.standing) == THERE
    }

    /// Whether the directory did not know it yet.
    pub fn unknown(&self) -> bool {
        i64::from(self.standing) == UNKNOWN
    }
}

/// An account that owns something of the graph.
pub(super) struct Account {
    pub key: i64,
    pub id: Shared,
    pub name: Shared,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub there: bool,
}

/// An affected resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affected {
    pub node: NodeIndex,
    pub relevance: Relevance,
    /// When it was taken off.
    pub removed_at: Option<Timestamp>,
}

/// Who owns a resource, and how far up its account is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub account: AccountIndex,
    pub depth: usize,
}

/// How much of what is affected leads to an account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    /// Affected resources that are there.
    pub resources: usize,
    /// Accounts that own them, and are there.
    pub accounts: usize,
    /// Resources of nobody, or of an account that is gone.
    pub without_account: usize,
    /// Affected resources that are gone.
    pub gone: usize,
    /// Affected resources that the directory did not know then.
    pub unknown: usize,
}

/// Where the ways up from what is affected lead.
pub(super) struct Reached {
    /// Accounts that own something affected and are there, in the order of their keys.
    pub accounts: Vec<AccountIndex>,
    /// What is affected and what is above it, in the order of their keys, but for what belongs to an account that is gone.
    pub nodes: Vec<NodeIndex>,
    pub numbers: Numbers,
}

/// What is affected, and everything above it.
pub(super) struct Graph {
    /// By key.
    pub affected: Vec<Affected>,
    nodes: Vec<Node>,
    /// Of what is affected, which comes first; nobody asks for the names of what is above it.
    names: Vec<Option<Shared>>,
    accounts: Vec<Account>,
    by_key: Places,
    accounts_by_key: Places,
    types: Vec<ExternalId>,
    /// `account`, as the last step of a way.
    account_type: ExternalId,
    /// As of when.
    pub at: At,
}

impl Graph {
    /// Its type and id.
    pub fn reference(&self, node: NodeIndex) -> ResourceRef {
        let node = self.node(node);
        ResourceRef {
            type_: self.types[node.type_ as usize].clone(),
            id: ExternalId::stored(&node.id),
        }
    }

    /// Its type and id, to be compared.
    pub fn words(&self, node: NodeIndex) -> (&str, &str) {
        let node = self.node(node);
        (self.types[node.type_ as usize].as_str(), &node.id)
    }

    /// The name of something affected, where it has one.
    pub fn name(&self, node: NodeIndex) -> Option<&Shared> {
        self.names.get(node.get())?.as_ref()
    }

    /// An account as the last step of a way.
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

    /// How many resources, affected or above.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many accounts.
    pub fn accounts_len(&self) -> usize {
        self.accounts.len()
    }

    /// The resource of that key, where it is part of this.
    pub fn find(&self, key: i64) -> Option<NodeIndex> {
        self.by_key.get(key).map(|place| NodeIndex(place as u32))
    }

    /// The account of that key, where it is part of this.
    pub fn find_account(&self, key: i64) -> Option<AccountIndex> {
        self.accounts_by_key
            .get(key)
            .map(|place| AccountIndex(place as u32))
    }

    /// Gives back the memory by which things are found by their keys, once nobody looks for them so any more.
    pub fn forget_keys(&mut self) {
        (self.by_key, self.accounts_by_key) = (Places::default(), Places::default());
    }

    /// What is affected: there or gone, but not taken off.
    pub fn current(&self) -> impl Iterator<Item = &Affected> {
        self.affected
            .iter()
            .filter(|affected| affected.removed_at.is_none())
    }

    /// A resource and everything above it, there or gone. As of a time it may go on for ever: nobody checked for circles then.
    pub fn up(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        std::iter::successors(Some(node), |node| self.node(*node).parent)
    }

    /// A resource and what is above it; up to the first that is gone, or all of it.
    pub fn chain(&self, node: NodeIndex, through_gone: bool) -> Vec<NodeIndex> {
        let mut chain = Vec::with_capacity(4);
        self.climb(node, through_gone, &mut chain);
        chain
    }

    /// The same, into a list that is used again.
    pub fn climb(&self, node: NodeIndex, through_gone: bool, chain: &mut Vec<NodeIndex>) {
        chain.clear();
        let mut next = Some(node);
        while let Some(index) = next {
            let node = self.node(index);
            // A circle cannot be stored; as of a time nobody checked.
            if (!through_gone && !node.there()) || chain.contains(&index) {
                break;
            }
            chain.push(index);
            next = node.parent;
        }
    }

    /// The account that is named on the first of a chain that names one, whether it is there or not.
    pub fn owner(&self, chain: &[NodeIndex]) -> Option<Owner> {
        chain.iter().enumerate().find_map(|(depth, index)| {
            let account = self.node(*index).account?;
            Some(Owner { account, depth })
        })
    }

    /// Whether the owner's account is there.
    pub fn is_there(&self, owner: Owner) -> bool {
        self.account(owner.account).there
    }

    /// Where the ways up lead, and how many of what is affected lead nowhere.
    pub fn reached(&self) -> Reached {
        let mut accounts = vec![false; self.accounts.len()];
        let mut nodes = vec![false; self.nodes.len()];
        let mut numbers = Numbers::default();
        let mut chain = Vec::new();
        for affected in self.current() {
            let node = self.node(affected.node);
            if !node.there() {
                match node.unknown() {
                    true => numbers.unknown += 1,
                    false => numbers.gone += 1,
                }
                continue;
            }
            numbers.resources += 1;
            self.climb(affected.node, false, &mut chain);
            match self.owner(&chain) {
                Some(owner) if self.is_there(owner) => accounts[owner.account.get()] = true,
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
    /// For lists that run beside the graph's own.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl AccountIndex {
    /// For lists that run beside the graph's own.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}
