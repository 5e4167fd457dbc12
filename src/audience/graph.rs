//! What is affected, with everything above it and the accounts that own it, read in a few queries a level: each
//! resource once, however many are affected through it. The way up is walked in memory.
//!
//! Must never happen here: a query for each resource, account or person.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::at::{At, THERE, UNKNOWN};
use crate::db::dialect::on_backend;
use crate::db::keyed::{CHUNK, load_keyed};
use crate::db::{Conn, Statement};
use crate::directory::ResourceRef;
use crate::directory::selector::Selector;
use crate::error::{Error, Result};
use crate::id::{ExternalId, IncidentId};
use crate::incident::affected::Relevance;
use crate::shared::Shared;
use crate::time::Timestamp;

/// A resource of the graph, by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeIndex(u32);

/// An account of the graph, by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AccountIndex(u32);

/// A resource of the graph.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub key: i64,
    pub at: ResourceRef,
    /// Of what is affected; nobody asks for the names of what is above it.
    pub name: Option<Shared>,
    parent_key: Option<i64>,
    account_key: Option<i64>,
    parent: Option<NodeIndex>,
    account: Option<AccountIndex>,
    standing: i64,
}

impl Node {
    pub fn there(&self) -> bool {
        self.standing == THERE
    }

    /// Whether the directory did not know it yet.
    pub fn unknown(&self) -> bool {
        self.standing == UNKNOWN
    }
}

/// An account that owns something of the graph.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub key: i64,
    pub id: Shared,
    pub name: Shared,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub there: bool,
    /// As the last step of a way.
    pub at: ResourceRef,
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

/// What is affected, and everything above it.
pub(super) struct Graph {
    /// By key.
    pub affected: Vec<Affected>,
    nodes: Vec<Node>,
    accounts: Vec<Account>,
    by_key: HashMap<i64, Option<NodeIndex>>,
    accounts_by_key: HashMap<i64, AccountIndex>,
    types: Vec<ExternalId>,
    /// As of when.
    pub at: At,
}

/// Key, type, id, parent, account, standing.
type NodeColumns = (BigInt, Text, Text, Nullable<BigInt>, Nullable<BigInt>, BigInt);
type NodeRow = (i64, String, String, Option<i64>, Option<i64>, i64);

fn node_columns(at: At) -> String {
    format!(
        "r.key, r.type, r.id, {}, {}, {}",
        at.column("r", "parent_key"),
        at.column("r", "account_key"),
        at.standing("r")
    )
}

fn node_history(at: At) -> String {
    at.history("resource_history", "h.resource_key = r.key")
}

impl Graph {
    /// What an incident affects; with `removed`, also what was taken off it.
    pub fn of_incident(conn: &mut Conn, incident: &IncidentId, at: At, removed: bool) -> Result<Graph> {
        type Columns = (NodeColumns, Nullable<Text>, Text, Nullable<BigInt>);
        type Row = (NodeRow, Option<String>, String, Option<Timestamp>);
        let statement = format!(
            "SELECT {}, r.name, ir.relevance, ir.removed_at FROM incident_resources ir \
                    JOIN resources r ON r.key = ir.resource_key{} WHERE {}ir.incident_id = ",
            node_columns(at),
            node_history(at),
            if removed { "" } else { "ir.removed_at IS NULL AND " }
        );
        let rows: Vec<Row> = on_backend!(&mut *conn, c => diesel::dsl::sql::<Columns>(&statement)
            .bind::<Text, _>(incident.as_str())
            .load(c)?);
        let mut graph = Graph::empty(at);
        graph.nodes.reserve(rows.len() * 2);
        graph.by_key.reserve(rows.len() * 2);
        graph.affected.reserve(rows.len());
        for (row, name, relevance, removed_at) in rows {
            let node = graph.add(row, name)?;
            graph.affected.push(Affected {
                node,
                relevance: Relevance::parse(&relevance).map_err(Error::internal)?,
                removed_at,
            });
        }
        graph.load_above(conn)?;
        Ok(graph)
    }

    /// What a selector finds, as if an incident affected it.
    pub fn of_selector(conn: &mut Conn, selector: &Selector) -> Result<Graph> {
        #[derive(QueryableByName)]
        struct Key {
            #[diesel(sql_type = BigInt)]
            key: i64,
        }
        let mut statement = Statement::default();
        statement.push("SELECT found.key FROM (");
        selector.keys(conn, &mut statement);
        statement.push(") found");
        let found: Vec<Key> = statement.finish().load(conn)?;
        let mut keys: Vec<i64> = found.into_iter().map(|row| row.key).collect();
        keys.sort_unstable();
        let mut graph = Graph::empty(At::Now);
        graph.load(conn, &keys)?;
        graph.affected = (0..graph.nodes.len())
            .map(|index| Affected {
                node: NodeIndex(index as u32),
                relevance: Relevance::default(),
                removed_at: None,
            })
            .collect();
        graph.load_above(conn)?;
        Ok(graph)
    }

    fn empty(at: At) -> Graph {
        Graph {
            affected: Vec::new(),
            nodes: Vec::new(),
            accounts: Vec::new(),
            by_key: HashMap::new(),
            accounts_by_key: HashMap::new(),
            types: Vec::new(),
            at,
        }
    }

    fn add(&mut self, row: NodeRow, name: Option<String>) -> Result<NodeIndex> {
        let (key, type_, id, parent_key, account_key, standing) = row;
        let invalid = |_| Error::internal("a stored id is invalid");
        let type_ = match self.types.iter().find(|known| known.as_str() == type_) {
            Some(known) => known.clone(),
            None => {
                let new = ExternalId::parse(&type_).map_err(invalid)?;
                self.types.push(new.clone());
                new
            }
        };
        let index = NodeIndex(u32::try_from(self.nodes.len()).map_err(Error::internal)?);
        self.nodes.push(Node {
            key,
            at: ResourceRef {
                type_,
                id: ExternalId::parse(&id).map_err(invalid)?,
            },
            name: name.map(Shared::from),
            parent_key,
            account_key,
            parent: None,
            account: None,
            standing,
        });
        self.by_key.insert(key, Some(index));
        Ok(index)
    }

    fn load(&mut self, conn: &mut Conn, keys: &[i64]) -> Result<()> {
        let statement = format!(
            "SELECT {} FROM resources r{} WHERE",
            node_columns(self.at),
            node_history(self.at)
        );
        for chunk in keys.chunks(CHUNK) {
            let rows: Vec<NodeRow> = load_keyed!(conn, NodeColumns, statement, "r.key", chunk);
            for row in rows {
                self.add(row, None)?;
            }
        }
        Ok(())
    }

    /// Loads level after level, then the accounts. What is gone is walked through too: who explains a chain that is
    /// cut needs to know where it would lead.
    fn load_above(&mut self, conn: &mut Conn) -> Result<()> {
        let nodes = &self.nodes;
        self.affected
            .sort_unstable_by_key(|affected| nodes[affected.node.0 as usize].key);
        let mut seen = 0;
        while seen < self.nodes.len() {
            let mut above = Vec::new();
            for node in &self.nodes[seen..] {
                if let Some(key) = node.parent_key
                    && let Entry::Vacant(place) = self.by_key.entry(key)
                {
                    place.insert(None);
                    above.push(key);
                }
            }
            seen = self.nodes.len();
            above.sort_unstable();
            self.load(conn, &above)?;
        }
        self.load_accounts(conn)?;
        for node in &mut self.nodes {
            node.parent = node.parent_key.and_then(|key| *self.by_key.get(&key)?);
            node.account = node
                .account_key
                .and_then(|key| self.accounts_by_key.get(&key).copied());
        }
        Ok(())
    }

    fn load_accounts(&mut self, conn: &mut Conn) -> Result<()> {
        type Columns = (BigInt, Text, Text, Nullable<Text>, Nullable<Text>, BigInt);
        type Row = (i64, String, String, Option<String>, Option<String>, i64);
        let mut named: Vec<i64> = self.nodes.iter().filter_map(|node| node.account_key).collect();
        named.sort_unstable();
        named.dedup();
        let invalid = |_| Error::internal("a stored id is invalid");
        let type_ = ExternalId::parse("account").map_err(invalid)?;
        let statement = format!(
            "SELECT a.key, a.id, a.name, a.locale, a.time_zone, {} FROM accounts a{} WHERE",
            self.at.standing("a"),
            self.at.history("account_history", "h.account_key = a.key"),
        );
        self.accounts.reserve(named.len());
        self.accounts_by_key.reserve(named.len());
        for chunk in named.chunks(CHUNK) {
            let rows: Vec<Row> = load_keyed!(conn, Columns, statement, "a.key", chunk);
            for (key, id, name, locale, time_zone, standing) in rows {
                let index = AccountIndex(u32::try_from(self.accounts.len()).map_err(Error::internal)?);
                self.accounts_by_key.insert(key, index);
                self.accounts.push(Account {
                    key,
                    at: ResourceRef {
                        type_: type_.clone(),
                        id: ExternalId::parse(&id).map_err(invalid)?,
                    },
                    id: id.into(),
                    name: name.into(),
                    locale,
                    time_zone,
                    there: standing == THERE,
                });
            }
        }
        Ok(())
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
        self.by_key.get(&key).copied().flatten()
    }

    /// The account of that key, where it is part of this.
    pub fn find_account(&self, key: i64) -> Option<AccountIndex> {
        self.accounts_by_key.get(&key).copied()
    }

    /// What is affected: there or gone, but not taken off.
    pub fn current(&self) -> impl Iterator<Item = &Affected> {
        self.affected
            .iter()
            .filter(|affected| affected.removed_at.is_none())
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

    /// The accounts and the resources on the way to them of whatever is affected and whose account is not gone; each
    /// in the order of its keys.
    pub fn reached(&self) -> (Vec<AccountIndex>, Vec<NodeIndex>) {
        let mut accounts = vec![false; self.accounts.len()];
        let mut nodes = vec![false; self.nodes.len()];
        let mut chain = Vec::new();
        for affected in self.current() {
            self.climb(affected.node, false, &mut chain);
            match self.owner(&chain) {
                Some(owner) if !self.is_there(owner) => {}
                owner => {
                    if let Some(owner) = owner {
                        accounts[owner.account.0 as usize] = true;
                    }
                    for node in &chain {
                        nodes[node.0 as usize] = true;
                    }
                }
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
        (accounts, nodes)
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
