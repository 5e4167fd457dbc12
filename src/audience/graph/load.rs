//! Reads the affected resources, their ancestors and the accounts that own them, with a few queries for each
//! level. Each resource is read once, even if many affected resources are below it.
//!
//! There is never one query for each resource, account or person.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::{Account, AccountIndex, Affected, Graph, Node, NodeIndex};
use crate::audience::at::{At, THERE};
use crate::audience::places::Places;
use crate::base::error::{Error, Result};
use crate::base::id::{ExternalId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::dialect::on_backend;
use crate::db::keyed::{self, CHUNK, Keyed, Word, load, load_keyed};
use crate::db::{Conn, Statement};
use crate::directory::selector::Selector;
use crate::incident::affected::Relevance;
use crate::incident::recovery::{self, State};

/// A graph that is being built, with the keys that its nodes refer to.
struct Loader {
    graph: Graph,
    parent_keys: Vec<Option<i64>>,
    account_keys: Vec<Option<i64>>,
}

/// The columns: key, type, ID, parent, account, state.
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
                findings: Vec::new(),
                states: Vec::new(),
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
        // The type is usually the same as in the row before.
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

    /// Loads the ancestors of the nodes, and then the accounts. Archived ancestors are loaded too, because an
    /// explanation of an interrupted path names where it would lead.
    fn finish(mut self, conn: &mut Conn) -> Result<Graph> {
        let nodes = &self.graph.nodes;
        self.graph
            .affected
            .sort_unstable_by_key(|affected| nodes[affected.node.get()].key);
        // Load some nodes with all their ancestors, then the next nodes, because related rows are also close
        // to each other in the database.
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
                // If the whole table was read, the result also contains other accounts.
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
    /// Loads the affected resources of an incident. With `removed`, resources that were removed from the
    /// incident are loaded too.
    pub fn of_incident(conn: &mut Conn, incident: &IncidentId, at: At, removed: bool) -> Result<Graph> {
        type Columns = (
            NodeColumns,
            Nullable<Text>,
            Text,
            Nullable<BigInt>,
            Nullable<Text>,
            Nullable<Text>,
        );
        type Row = (
            NodeRow,
            Option<Word>,
            Word,
            Option<Timestamp>,
            Option<Word>,
            Option<Word>,
        );
        // Most incidents have no recovery states, and then none is looked up.
        let has_states = recovery::in_use(conn, incident)?;
        let (state, states) = match has_states {
            true => (
                "rs.state",
                " LEFT JOIN recovery_states rs ON rs.incident_id = ir.incident_id AND rs.resource_key = ir.resource_key",
            ),
            false => ("CAST(NULL AS TEXT)", ""),
        };
        let statement = format!(
            "SELECT {}, r.name, ir.relevance, ir.removed_at, ir.finding, {state} FROM incident_resources ir \
                    JOIN resources r ON r.key = ir.resource_key{}{states} WHERE {}ir.incident_id = ",
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
        let has_findings = rows.iter().any(|(_, _, _, _, finding, _)| finding.is_some());
        for (row, name, Word(relevance), removed_at, finding, state) in rows {
            let node = loader.add(row)?;
            loader.graph.names.push(name.map(|Word(name)| name.into()));
            if has_findings {
                loader.graph.findings.push(finding.map(|Word(finding)| finding));
            }
            if has_states {
                // A resource that was added without evidence is impaired.
                let state = state.map_or(Ok(State::Impaired), |Word(state)| State::parse(&state));
                loader.graph.states.push(state.map_err(Error::internal)?);
            }
            loader.graph.affected.push(Affected {
                node,
                relevance: Relevance::parse(&relevance).map_err(Error::internal)?,
                removed_at,
            });
        }
        loader.finish(conn)
    }

    /// Loads the resources that a selector finds, as if an incident affected them.
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
        Graph::of_keys(conn, &keys)
    }

    /// Loads the resources with these keys, as if an incident affected them. The keys must be in their order, each once.
    pub fn of_keys(conn: &mut Conn, keys: &[i64]) -> Result<Graph> {
        let mut loader = Loader::new(At::Now);
        loader.load(conn, keys)?;
        loader.graph.affected = (0..loader.graph.nodes.len())
            .map(|index| Affected {
                node: NodeIndex(index as u32),
                relevance: Relevance::default(),
                removed_at: None,
            })
            .collect();
        loader.finish(conn)
    }
}
