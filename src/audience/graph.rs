//! What is affected, with everything above it and the accounts that own it, read in a few queries a level: each
//! resource once, however many are affected through it. The way up is walked in memory.
//!
//! Must never happen here: a query for each resource, account or person.

use std::collections::{BTreeSet, HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::at::{At, CHUNK, THERE, UNKNOWN, keys};
use crate::db::{Conn, Statement};
use crate::directory::selector::Selector;
use crate::directory::{ResourceRef, resource};
use crate::error::{Error, Result};
use crate::id::IncidentId;
use crate::incident::affected::Relevance;
use crate::time::Timestamp;

/// A resource of the graph.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: ResourceRef,
    pub name: Option<String>,
    parent: Option<i64>,
    account: Option<i64>,
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
    pub id: String,
    pub name: String,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub there: bool,
}

/// An affected resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affected {
    pub key: i64,
    pub relevance: Relevance,
    /// When it was taken off.
    pub removed_at: Option<Timestamp>,
}

/// Who owns a resource, and how far up its account is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub account: i64,
    pub depth: usize,
}

/// What is affected, and everything above it.
pub(super) struct Graph {
    /// By key.
    pub affected: Vec<Affected>,
    nodes: HashMap<i64, Node>,
    pub accounts: HashMap<i64, Account>,
    /// As of when.
    pub at: At,
}

#[derive(QueryableByName)]
struct NodeRow {
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = Text)]
    type_: String,
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    parent_key: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    account_key: Option<i64>,
    #[diesel(sql_type = BigInt)]
    standing: i64,
}

#[derive(QueryableByName)]
struct AffectedRow {
    #[diesel(embed)]
    node: NodeRow,
    #[diesel(sql_type = Text)]
    relevance: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    removed_at: Option<Timestamp>,
}

impl NodeRow {
    fn node(self) -> Result<Node> {
        Ok(Node {
            at: resource::reference(&self.type_, &self.id)
                .ok_or_else(|| Error::internal("a stored id is invalid"))?,
            name: self.name,
            parent: self.parent_key,
            account: self.account_key,
            standing: self.standing,
        })
    }
}

fn node_columns(at: At) -> String {
    format!(
        "r.key, r.type AS type_, r.id, r.name, {} AS parent_key, {} AS account_key, {} AS standing",
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
        let rows: Vec<AffectedRow> = diesel::sql_query(format!(
            "SELECT {}, ir.relevance, ir.removed_at FROM incident_resources ir \
                    JOIN resources r ON r.key = ir.resource_key{} WHERE ir.incident_id = $1{}",
            node_columns(at),
            node_history(at),
            if removed { "" } else { " AND ir.removed_at IS NULL" }
        ))
        .bind::<Text, _>(incident.as_str())
        .load(conn)?;
        let mut graph = Graph::empty(at);
        for row in rows {
            graph.affected.push(Affected {
                key: row.node.key,
                relevance: Relevance::parse(&row.relevance).map_err(Error::internal)?,
                removed_at: row.removed_at,
            });
            graph.nodes.insert(row.node.key, row.node.node()?);
        }
        graph.load_above(conn)?;
        Ok(graph)
    }

    /// What a selector finds, as if an incident affected it.
    pub fn of_selector(conn: &mut Conn, selector: &Selector) -> Result<Graph> {
        let mut statement = Statement::default();
        statement
            .push("SELECT ")
            .push(&node_columns(At::Now))
            .push(" FROM (");
        selector.keys(conn, &mut statement);
        statement.push(") found JOIN resources r ON r.key = found.key");
        let rows: Vec<NodeRow> = statement.finish().load(conn)?;
        let mut graph = Graph::empty(At::Now);
        for row in rows {
            graph.affected.push(Affected {
                key: row.key,
                relevance: Relevance::default(),
                removed_at: None,
            });
            graph.nodes.insert(row.key, row.node()?);
        }
        graph.load_above(conn)?;
        Ok(graph)
    }

    fn empty(at: At) -> Graph {
        Graph {
            affected: Vec::new(),
            nodes: HashMap::new(),
            accounts: HashMap::new(),
            at,
        }
    }

    /// Loads level after level, then the accounts. What is gone is walked through too: who explains a chain that is
    /// cut needs to know where it would lead.
    fn load_above(&mut self, conn: &mut Conn) -> Result<()> {
        self.affected.sort_unstable_by_key(|affected| affected.key);
        let mut level: Vec<i64> = self.nodes.keys().copied().collect();
        while !level.is_empty() {
            let above: BTreeSet<i64> = level
                .iter()
                .filter_map(|key| self.nodes.get(key)?.parent)
                .filter(|key| !self.nodes.contains_key(key))
                .collect();
            level = above.into_iter().collect();
            for chunk in level.chunks(CHUNK) {
                let rows: Vec<NodeRow> = diesel::sql_query(format!(
                    "SELECT {} FROM resources r{} WHERE r.key IN ({})",
                    node_columns(self.at),
                    node_history(self.at),
                    keys(chunk)
                ))
                .load(conn)?;
                for row in rows {
                    self.nodes.insert(row.key, row.node()?);
                }
            }
        }
        self.load_accounts(conn)
    }

    fn load_accounts(&mut self, conn: &mut Conn) -> Result<()> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            key: i64,
            #[diesel(sql_type = Text)]
            id: String,
            #[diesel(sql_type = Text)]
            name: String,
            #[diesel(sql_type = Nullable<Text>)]
            locale: Option<String>,
            #[diesel(sql_type = Nullable<Text>)]
            time_zone: Option<String>,
            #[diesel(sql_type = BigInt)]
            standing: i64,
        }
        let named: BTreeSet<i64> = self.nodes.values().filter_map(|node| node.account).collect();
        let named: Vec<i64> = named.into_iter().collect();
        for chunk in named.chunks(CHUNK) {
            let rows: Vec<Row> = diesel::sql_query(format!(
                "SELECT a.key, a.id, a.name, a.locale, a.time_zone, {} AS standing FROM accounts a{} \
                 WHERE a.key IN ({})",
                self.at.standing("a"),
                self.at.history("account_history", "h.account_key = a.key"),
                keys(chunk)
            ))
            .load(conn)?;
            self.accounts.extend(rows.into_iter().map(|row| {
                let account = Account {
                    id: row.id,
                    name: row.name,
                    locale: row.locale,
                    time_zone: row.time_zone,
                    there: row.standing == THERE,
                };
                (row.key, account)
            }));
        }
        Ok(())
    }

    pub fn node(&self, key: i64) -> Result<&Node> {
        self.nodes
            .get(&key)
            .ok_or_else(|| Error::internal("a resource without its row"))
    }

    /// What is affected: there or gone, but not taken off.
    pub fn current(&self) -> impl Iterator<Item = &Affected> {
        self.affected
            .iter()
            .filter(|affected| affected.removed_at.is_none())
    }

    /// A resource and what is above it; up to the first that is gone, or all of it.
    pub fn chain(&self, key: i64, through_gone: bool) -> Vec<i64> {
        let mut chain: Vec<i64> = Vec::with_capacity(4);
        let mut next = Some(key);
        while let Some(key) = next {
            let Some(node) = self.nodes.get(&key) else { break };
            // A circle cannot be stored; as of a time nobody checked.
            if (!through_gone && !node.there()) || chain.contains(&key) {
                break;
            }
            chain.push(key);
            next = node.parent;
        }
        chain
    }

    /// The account that is named on the first of a chain that names one, whether it is there or not.
    pub fn owner(&self, chain: &[i64]) -> Option<Owner> {
        chain.iter().enumerate().find_map(|(depth, key)| {
            let account = self.nodes.get(key)?.account?;
            Some(Owner { account, depth })
        })
    }

    /// Whether the owner's account is there.
    pub fn is_there(&self, owner: Owner) -> bool {
        self.accounts
            .get(&owner.account)
            .is_some_and(|account| account.there)
    }

    /// The accounts and the resources on the way to them of whatever is affected and whose account is not gone.
    pub fn reached(&self) -> (BTreeSet<i64>, HashSet<i64>) {
        let (mut accounts, mut nodes) = (BTreeSet::new(), HashSet::new());
        for affected in self.current() {
            let chain = self.chain(affected.key, false);
            match self.owner(&chain) {
                Some(owner) if !self.is_there(owner) => {}
                owner => {
                    accounts.extend(owner.map(|owner| owner.account));
                    nodes.extend(chain);
                }
            }
        }
        (accounts, nodes)
    }
}
