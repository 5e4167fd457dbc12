//! What is affected, with everything above it and the accounts that own it, read in a few queries a level: each
//! resource once, however many are affected through it. The way up is walked in memory.
//!
//! Must never happen here: a query for each resource, account or person.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::at::{At, THERE, UNKNOWN};
use super::places::Places;
use crate::db::dialect::on_backend;
use crate::db::keyed::{self, CHUNK, Keyed, Word, load, load_keyed};
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

/// A graph in the making: what its nodes refer to, by key.
struct Loader {
    graph: Graph,
    parent_keys: Vec<Option<i64>>,
    account_keys: Vec<Option<i64>>,
}

/// Key, type, id, parent, account, standing.
type NodeColumns = (BigInt, Text, Text, Nullable<BigInt>, Nullable<BigInt>, BigInt);
type NodeRow = (i64, Word, Word, Option<i64>, Option<i64>, i64);

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

impl Loader {
    fn new(at: At) -> Loader {
        Loader {
            graph: Graph {
                affected: Vec::new(),
                nodes: Vec::new(),
                names: Vec::new(),
                accounts: Vec::new(),
                by_key: Places::default(),
                accounts_by_key: Places::default(),
                types: Vec::new(),
                account_type: ExternalId::stored("account"),
                at,
            },
            parent_keys: Vec::new(),
            account_keys: Vec::new(),
        }
    }

    fn add(&mut self, row: NodeRow) -> Result<NodeIndex> {
        let (key, Word(type_), Word(id), parent_key, account_key, standing) = row;
        let graph = &mut self.graph;
        let index = NodeIndex(u32::try_from(graph.nodes.len()).map_err(Error::internal)?);
        // Mostly that of the row before.
        let last = graph.nodes.last().map(|node| node.type_ as usize);
        let known = last
            .filter(|place| graph.types[*place].as_str() == &*type_)
            .or_else(|| graph.types.iter().position(|known| known.as_str() == &*type_));
        let type_ = match known {
            Some(place) => place,
            None => {
                graph.types.push(ExternalId::stored(&type_));
                graph.types.len() - 1
            }
        };
        graph.by_key.put(key, graph.nodes.len());
        graph.nodes.push(Node {
            key,
            id,
            type_: u32::try_from(type_).map_err(Error::internal)?,
            parent: None,
            account: None,
            standing: u8::try_from(standing).map_err(Error::internal)?,
        });
        self.parent_keys.push(parent_key);
        self.account_keys.push(account_key);
        Ok(index)
    }

    fn load(&mut self, conn: &mut Conn, keys: &[i64]) -> Result<()> {
        let at = self.graph.at;
        let query = Keyed {
            columns: &node_columns(at),
            table: "resources r",
            joined: &node_history(at),
            on: "r.key",
            condition: "TRUE",
        };
        for chunk in keys.chunks(CHUNK) {
            let rows: Vec<NodeRow> = load_keyed!(conn, NodeColumns, query, chunk);
            for row in rows {
                self.add(row)?;
            }
        }
        Ok(())
    }

    /// Loads what is above the nodes that are there, then the accounts. What is gone is walked through too: who explains a
    /// chain that is cut needs to know where it would lead.
    fn finish(mut self, conn: &mut Conn) -> Result<Graph> {
        let nodes = &self.graph.nodes;
        self.graph
            .affected
            .sort_unstable_by_key(|affected| nodes[affected.node.get()].key);
        // Some of them with all that is above, then the next: what belongs together lies together in the database too.
        let first = self.graph.nodes.len();
        for start in (0..first).step_by(CHUNK) {
            let mut level = start..(start + CHUNK).min(first);
            while !level.is_empty() {
                let mut above = Vec::new();
                for key in self.parent_keys[level].iter().flatten() {
                    if self.graph.by_key.ask(*key) {
                        above.push(*key);
                    }
                }
                above.sort_unstable();
                let seen = self.graph.nodes.len();
                self.load(conn, &above)?;
                level = seen..self.graph.nodes.len();
            }
        }
        self.load_accounts(conn)?;
        let Loader {
            mut graph,
            parent_keys,
            account_keys,
        } = self;
        for ((node, parent), account) in graph.nodes.iter_mut().zip(parent_keys).zip(account_keys) {
            node.parent = parent.and_then(|key| Some(NodeIndex(graph.by_key.get(key)? as u32)));
            node.account = account.and_then(|key| Some(AccountIndex(graph.accounts_by_key.get(key)? as u32)));
        }
        Ok(graph)
    }

    fn load_accounts(&mut self, conn: &mut Conn) -> Result<()> {
        type Columns = (BigInt, Text, Text, Nullable<Text>, Nullable<Text>, BigInt);
        type Row = (i64, Word, Word, Option<String>, Option<String>, i64);
        let graph = &mut self.graph;
        let mut named = Vec::new();
        for key in self.account_keys.iter().flatten() {
            if graph.accounts_by_key.ask(*key) {
                named.push(*key);
            }
        }
        named.sort_unstable();
        let query = Keyed {
            columns: &format!(
                "a.key, a.id, a.name, a.locale, a.time_zone, {}",
                graph.at.standing("a")
            ),
            table: "accounts a",
            joined: &graph.at.history("account_history", "h.account_key = a.key"),
            on: "a.key",
            condition: "TRUE",
        };
        graph.accounts.reserve(named.len());
        let mut take = |rows: Vec<Row>| -> Result<()> {
            for (key, Word(id), Word(name), locale, time_zone, standing) in rows {
                // Where the whole table was read there are others among them.
                if !graph.accounts_by_key.awaits(key) {
                    continue;
                }
                let place = graph.accounts.len();
                u32::try_from(place).map_err(Error::internal)?;
                graph.accounts_by_key.put(key, place);
                graph.accounts.push(Account {
                    key,
                    id: id.into(),
                    name: name.into(),
                    locale,
                    time_zone,
                    there: standing == THERE,
                });
            }
            Ok(())
        };
        if keyed::is_most(conn, "accounts", &named)? {
            return take(load!(conn, Columns, query.whole()));
        }
        for chunk in named.chunks(CHUNK) {
            take(load_keyed!(conn, Columns, query, chunk))?;
        }
        Ok(())
    }
}

impl Graph {
    /// What an incident affects; with `removed`, also what was taken off it.
    pub fn of_incident(conn: &mut Conn, incident: &IncidentId, at: At, removed: bool) -> Result<Graph> {
        type Columns = (NodeColumns, Nullable<Text>, Text, Nullable<BigInt>);
        type Row = (NodeRow, Option<Word>, Word, Option<Timestamp>);
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
        let mut loader = Loader::new(at);
        loader.graph.nodes.reserve(rows.len() * 2);
        loader.graph.names.reserve(rows.len());
        loader.graph.affected.reserve(rows.len());
        for (row, name, Word(relevance), removed_at) in rows {
            let node = loader.add(row)?;
            loader.graph.names.push(name.map(|Word(name)| name.into()));
            loader.graph.affected.push(Affected {
                node,
                relevance: Relevance::parse(&relevance).map_err(Error::internal)?,
                removed_at,
            });
        }
        loader.finish(conn)
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
        keys.dedup();
        let mut loader = Loader::new(At::Now);
        loader.load(conn, &keys)?;
        loader.graph.affected = (0..loader.graph.nodes.len())
            .map(|index| Affected {
                node: NodeIndex(index as u32),
                relevance: Relevance::default(),
                removed_at: None,
            })
            .collect();
        loader.finish(conn)
    }

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
