//! The rows that say what an incident affects: one table for resources and one for people, with the same
//! columns. Both kinds are added, changed and removed by the same statements.
//!
//! A row is never deleted. A removed row has `removed_at`, and adding it again clears this.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::{Conn, Statement, dialect, keyed};

/// The number of rows added at once from which the database updates its statistics, so that it plans well.
const MANY: i64 = 1_000;
/// The number of keys in one statement.
const CHUNK: usize = 5_000;

word_enum! {
    /// How a resource or a person became affected.
    #[schema(as = AffectedSource)]
    Source, "a source" {
        /// An alert named the resource.
        Alert = "alert",
        /// An operator added the resource or the person.
        Operator = "operator",
        /// A selector found the resource or the person.
        Selector = "selector",
        /// A comparison found the resource or the person.
        Comparison = "comparison",
    }
}

word_enum! {
    /// How certain it is that a resource or a person is affected.
    #[derive(Default)]
    Relevance, "a relevance" {
        /// The resource is affected.
        #[default]
        Impaired = "impaired",
        /// The resource is possibly affected.
        Possibly = "possibly",
        /// It is not known yet whether the resource is affected.
        Unknown = "unknown",
    }
}

impl Relevance {
    fn strength(self) -> u8 {
        match self {
            Relevance::Impaired => 2,
            Relevance::Possibly => 1,
            Relevance::Unknown => 0,
        }
    }
}

/// The more certain one is greater.
impl Ord for Relevance {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.strength().cmp(&other.strength())
    }
}

impl PartialOrd for Relevance {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The result of adding resources or people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Added {
    /// The number of resources or people that became affected.
    pub added: i64,
    /// The number of them that were affected before.
    pub already: i64,
    /// The number of them that were affected before and got another relevance.
    #[serde(skip_serializing_if = "is_zero")]
    pub changed: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_zero(count: &i64) -> bool {
    *count == 0
}

/// The result of removing resources or people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Removed {
    /// The number of resources or people that were removed. Those that were not affected before do not count.
    pub removed: i64,
}

/// What a selector finds.
#[derive(Clone, Copy)]
pub(super) struct FoundBy<'a> {
    /// The text of the selector.
    pub selector: &'a str,
    /// How many it finds.
    pub number: i64,
    /// The time as of which it was evaluated. `None`: as of the time of its use.
    pub as_of: Option<Timestamp>,
}

impl FoundBy<'_> {
    /// Adds the time to the description for the audit event.
    fn what(self, mut what: serde_json::Value) -> serde_json::Value {
        if let Some(at) = self.as_of {
            what["as_of"] = json!(at);
        }
        what
    }
}

/// One of the two tables.
pub(super) struct Rows {
    table: &'static str,
    /// The column with the key of the resource or person.
    key: &'static str,
    /// The table of the directory that the key is from.
    of: &'static str,
    /// The word of these rows in `merged_rows`.
    kind: &'static str,
    added: Action,
    removed: Action,
}

/// The table, the columns and the audit actions of the affected resources.
pub(super) const RESOURCES: Rows = Rows {
    table: "incident_resources",
    key: "resource_key",
    of: "resources",
    kind: "resource",
    added: Action::AffectedAdded,
    removed: Action::AffectedRemoved,
};

/// The people who are named directly.
pub(super) const PEOPLE: Rows = Rows {
    table: "incident_people",
    key: "person_key",
    of: "people",
    kind: "person",
    added: Action::PeopleAdded,
    removed: Action::PeopleRemoved,
};

impl Rows {
    /// Returns the end of an insert: a removed row becomes affected again, and an affected one does not change.
    fn again(&self) -> String {
        let Rows { table, key, .. } = self;
        format!(
            " ON CONFLICT (incident_id, {key}) DO UPDATE \
             SET removed_at = NULL, source = excluded.source, added_at = excluded.added_at, relevance = excluded.relevance, \
                 finding = excluded.finding, as_of = excluded.as_of \
             WHERE {table}.removed_at IS NOT NULL"
        )
    }

    /// Begins a statement that changes the relevance of the affected rows with the keys that follow.
    fn judge<'a>(
        &self,
        statement: &'a mut Statement,
        incident: &IncidentId,
        relevance: Relevance,
    ) -> &'a mut Statement {
        statement
            .push(&format!("UPDATE {} SET relevance = ", self.table))
            .text(relevance.as_str())
            .push(" WHERE incident_id = ")
            .text(incident.as_str())
            .push(" AND removed_at IS NULL AND relevance <> ")
            .text(relevance.as_str())
            .push(&format!(" AND {} IN (", self.key))
    }

    /// Adds rows by key. A row that is affected already keeps its relevance, unless one is given. `what` is the
    /// description for the audit event. The keys must be distinct.
    pub fn add_keys(
        &self,
        tx: &mut Tx<'_>,
        incident: &IncidentId,
        keys: &[i64],
        source: Source,
        relevance: Option<Relevance>,
        mut what: serde_json::Value,
    ) -> Result<Added> {
        dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
        let (mut added, mut changed) = (0, 0);
        let Rows { table, key, of, .. } = self;
        // An alert names its resources again with every message. That decides nothing about who they belong to.
        let decides = source != Source::Alert;
        for chunk in keys.chunks(CHUNK) {
            let list = keyed::list(chunk);
            if decides {
                self.own(tx.conn, incident, |_, statement| {
                    statement.push(&list);
                })?;
            }
            added += diesel::sql_query(format!(
                "INSERT INTO {table} (incident_id, {key}, source, added_at, relevance) \
                 SELECT $1, key, $2, $3, $4 FROM {of} WHERE key IN ({list}){}",
                self.again()
            ))
            .bind::<Text, _>(incident.as_str())
            .bind::<Text, _>(source.as_str())
            .bind::<BigInt, _>(tx.now)
            .bind::<Text, _>(relevance.unwrap_or_default().as_str())
            .execute(tx.conn)? as i64;
            if let Some(relevance) = relevance {
                let mut statement = Statement::default();
                self.judge(&mut statement, incident, relevance)
                    .push(&list)
                    .push(")");
                changed += statement.finish().execute(tx.conn)? as i64;
            }
        }
        if let Some(relevance) = relevance {
            what["relevance"] = json!(relevance);
        }
        let already = keys.len() as i64 - added;
        let counts = Added {
            added,
            already,
            changed,
        };
        self.finish(tx, incident, counts, source, what)
    }

    /// Adds the rows that a selector finds. `query` writes the statement that finds distinct keys, in the column `key`.
    pub fn add_found(
        &self,
        tx: &mut Tx<'_>,
        incident: &IncidentId,
        found: FoundBy<'_>,
        query: impl Fn(&Conn, &mut Statement),
        relevance: Option<Relevance>,
        note: impl Fn(&mut Tx<'_>, i64) -> Result<()>,
    ) -> Result<Added> {
        let mut statement = Statement::default();
        statement
            .push(&format!(
                "INSERT INTO {} (incident_id, {}, source, added_at, relevance, as_of) SELECT ",
                self.table, self.key
            ))
            .text(incident.as_str())
            .push(", found.key, ")
            .text(Source::Selector.as_str())
            .push(", ")
            .time(tx.now)
            .push(", ")
            .text(relevance.unwrap_or_default().as_str())
            .push(", ");
        match found.as_of {
            Some(at) => statement.time(at),
            None => statement.push("CAST(NULL AS BIGINT)"),
        };
        statement.push(" FROM (");
        query(tx.conn, &mut statement);
        // Without the `WHERE`, SQLite would parse `ON` as the condition of a join.
        statement.push(") found WHERE TRUE").push(&self.again());
        let added = statement.finish().execute(tx.conn)? as i64;
        self.own(tx.conn, incident, |conn, statement| {
            statement.push("SELECT key FROM (");
            query(conn, statement);
            statement.push(") found");
        })?;
        if added > 0 {
            note(tx, added)?;
        }
        let mut changed = 0;
        if let Some(relevance) = relevance {
            let mut statement = Statement::default();
            self.judge(&mut statement, incident, relevance)
                .push("SELECT key FROM (");
            query(tx.conn, &mut statement);
            statement.push(") found)");
            changed = statement.finish().execute(tx.conn)? as i64;
        }
        let counts = Added {
            added,
            changed,
            already: (found.number - added).max(0),
        };
        let what = found.what(json!({"selector": found.selector, "relevance": relevance}));
        self.finish(tx, incident, counts, Source::Selector, what)
    }

    /// Makes rows the incident's own that came from an incident that is merged into it. They stay if that merge is undone.
    fn own(
        &self,
        conn: &mut Conn,
        incident: &IncidentId,
        keys: impl FnOnce(&Conn, &mut Statement),
    ) -> Result<()> {
        let mut statement = Statement::default();
        statement
            .push("DELETE FROM merged_rows WHERE into_id = ")
            .text(incident.as_str())
            .push(&format!(" AND kind = '{}' AND key IN (", self.kind));
        keys(conn, &mut statement);
        statement.push(")");
        statement.finish().execute(conn)?;
        Ok(())
    }

    /// Removes the rows with these keys. `what` is the description for the audit event.
    pub fn remove_keys(
        &self,
        tx: &mut Tx<'_>,
        incident: &IncidentId,
        keys: &[i64],
        what: serde_json::Value,
    ) -> Result<Removed> {
        let mut removed = 0;
        for chunk in keys.chunks(CHUNK) {
            let mut statement = Statement::default();
            self.begin_removal(&mut statement, tx, incident)
                .push(&keyed::list(chunk))
                .push(")");
            removed += statement.finish().execute(tx.conn)? as i64;
        }
        self.finish_removal(tx, incident, removed, what)
    }

    /// Removes the rows that `query` finds.
    pub fn remove_found(
        &self,
        tx: &mut Tx<'_>,
        incident: &IncidentId,
        found: FoundBy<'_>,
        query: impl Fn(&Conn, &mut Statement),
        note: impl Fn(&mut Tx<'_>, i64) -> Result<()>,
    ) -> Result<Removed> {
        let mut statement = Statement::default();
        self.begin_removal(&mut statement, tx, incident)
            .push("SELECT key FROM (");
        query(tx.conn, &mut statement);
        statement.push(") found)");
        let removed = statement.finish().execute(tx.conn)? as i64;
        if removed > 0 {
            note(tx, removed)?;
        }
        let what = found.what(json!({"selector": found.selector}));
        self.finish_removal(tx, incident, removed, what)
    }

    fn finish_removal(
        &self,
        tx: &mut Tx<'_>,
        incident: &IncidentId,
        removed: i64,
        what: serde_json::Value,
    ) -> Result<Removed> {
        if removed > 0 {
            tx.record(
                Event::new(self.removed, "incident", incident.as_str())
                    .incident(incident)
                    .before(json!({"removed": removed, "what": what})),
            );
        }
        Ok(Removed { removed })
    }

    fn begin_removal<'a>(
        &self,
        statement: &'a mut Statement,
        tx: &Tx<'_>,
        incident: &IncidentId,
    ) -> &'a mut Statement {
        statement
            .push(&format!("UPDATE {} SET removed_at = ", self.table))
            .time(tx.now)
            .push(" WHERE incident_id = ")
            .text(incident.as_str())
            .push(&format!(" AND removed_at IS NULL AND {} IN (", self.key))
    }

    fn finish(
        &self,
        tx: &mut Tx<'_>,
        incident: &IncidentId,
        counts: Added,
        source: Source,
        what: serde_json::Value,
    ) -> Result<Added> {
        let Added { added, changed, .. } = counts;
        if added >= MANY {
            dialect::analyze(tx.conn, &[self.table])?;
        }
        if added > 0 || changed > 0 {
            let mut after = json!({"added": added, "source": source, "what": what});
            if changed > 0 {
                after["changed"] = json!(changed);
            }
            tx.record(
                Event::new(self.added, "incident", incident.as_str())
                    .incident(incident)
                    .after(after),
            );
        }
        Ok(counts)
    }
}
