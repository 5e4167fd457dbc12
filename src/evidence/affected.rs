//! What was affected, and how it recovered. A file about an account has its own resources, and a file about a person has the resources
//! that the emails to the person name.

use diesel::prelude::*;
use serde_json::{Value, json};

use super::bundle::Bundle;
use super::recipients::Gathered;
use super::scope::{Scope, Whose};
use super::summary::{Recovered, Summary};
use super::table::Table;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{
    accounts as a, incident_people as ip, incident_resources as ir, people as p, recovery_changes as c,
    resources as r,
};
use crate::directory::{ResourceRef, resource};
use crate::incident::recovery::{self, Wanted};

/// The number of rows that are read at once.
const STEP: i64 = 500;

/// The two tables that are written: `affected` with what was affected, and `recovery` with the changes of its recovery.
struct Tables<'a> {
    affected: Table,
    recovery: Table,
    summary: &'a mut Summary,
}

/// Writes what was affected and the changes of its recovery.
///
/// # Errors
/// An error of the database, or `Internal` if they cannot be written.
pub(super) fn write(
    conn: &mut Conn,
    scope: &Scope,
    gathered: &Gathered,
    bundle: &mut Bundle,
    summary: &mut Summary,
) -> Result<()> {
    let mut tables = Tables {
        affected: Table::new(
            "affected",
            &[
                "incident",
                "type",
                "id",
                "name",
                "account",
                "source",
                "relevance",
                "added_at",
                "removed_at",
            ],
        )?,
        recovery: Table::new(
            "recovery",
            &[
                "incident",
                "type",
                "id",
                "state",
                "happened_at",
                "recorded_at",
                "source",
                "by",
                "observed",
            ],
        )?,
        summary,
    };
    for incident in &scope.incidents {
        match &scope.whose {
            Whose::Everybody => tables.everything(conn, incident)?,
            Whose::Account(account) => tables.of_account(conn, incident, &account.id)?,
            Whose::Person { .. } => {
                let named = gathered.resources.get(incident.as_str()).into_iter().flatten();
                for (type_, id, label, account) in named {
                    let at = (type_.as_str(), id.as_str());
                    tables.resource(
                        incident,
                        at,
                        Some(label),
                        Some(account),
                        [Value::Null, Value::Null, Value::Null, Value::Null],
                    )?;
                    tables.history(conn, incident, at)?;
                }
            }
        }
    }
    tables.affected.finish(bundle)?;
    tables.recovery.finish(bundle)
}

type ResourceRow = (
    (i64, String, String, Option<String>, Option<String>),
    (String, String, Timestamp, Option<Timestamp>),
);
type PersonRow = (
    (i64, String, String),
    (String, String, Timestamp, Option<Timestamp>),
);
type ChangeRow = (
    (i64, String, String),
    (String, Timestamp, Timestamp, String, Option<String>, String),
);

impl Tables<'_> {
    fn resource(
        &mut self,
        incident: &IncidentId,
        (type_, id): (&str, &str),
        name: Option<&str>,
        account: Option<&str>,
        [source, relevance, added_at, removed_at]: [Value; 4],
    ) -> Result<()> {
        self.summary.affected += 1;
        self.affected.add(vec![
            json!(incident),
            json!(type_),
            json!(id),
            json!(name),
            json!(account),
            source,
            relevance,
            added_at,
            removed_at,
        ])
    }

    /// Adds all resources, all people who were named directly, and all changes.
    fn everything(&mut self, conn: &mut Conn, incident: &IncidentId) -> Result<()> {
        let mut after = 0;
        loop {
            let rows: Vec<ResourceRow> = ir::table
                .inner_join(r::table)
                .left_join(a::table.on(r::account_key.eq(a::key.nullable())))
                .filter(ir::incident_id.eq(incident.as_str()))
                .filter(ir::resource_key.gt(after))
                .order(ir::resource_key)
                .limit(STEP)
                .select((
                    (r::key, r::type_, r::id, r::name, a::id.nullable()),
                    (ir::source, ir::relevance, ir::added_at, ir::removed_at),
                ))
                .load(conn)?;
            let Some(((key, ..), _)) = rows.last() else { break };
            after = *key;
            for ((_, type_, id, name, account), (source, relevance, added_at, removed_at)) in rows {
                let how = [
                    json!(source),
                    json!(relevance),
                    json!(added_at),
                    json!(removed_at),
                ];
                self.resource(incident, (&type_, &id), name.as_deref(), account.as_deref(), how)?;
            }
        }
        self.people(conn, incident)?;
        let mut after = 0;
        loop {
            let rows: Vec<ChangeRow> = c::table
                .inner_join(r::table.on(r::key.eq(c::resource_key)))
                .filter(c::incident_id.eq(incident.as_str()))
                .filter(c::id.gt(after))
                .order(c::id)
                .limit(STEP)
                .select((
                    (c::id, r::type_, r::id),
                    (
                        c::state,
                        c::happened_at,
                        c::recorded_at,
                        c::source,
                        c::evidence,
                        c::actor,
                    ),
                ))
                .load(conn)?;
            let Some(((id, ..), _)) = rows.last() else { break };
            after = *id;
            for ((_, type_, id), (state, happened, recorded, source, observed, by)) in rows {
                let observed: Option<Value> = observed.map(|text| serde_json::from_str(&text)).transpose()?;
                let when = (happened, recorded);
                self.change(incident, (&type_, &id), &state, when, (&source, &by), observed)?;
            }
        }
        Ok(())
    }

    fn people(&mut self, conn: &mut Conn, incident: &IncidentId) -> Result<()> {
        let mut after = 0;
        loop {
            let rows: Vec<PersonRow> = ip::table
                .inner_join(p::table)
                .filter(ip::incident_id.eq(incident.as_str()))
                .filter(ip::person_key.gt(after))
                .order(ip::person_key)
                .limit(STEP)
                .select((
                    (p::key, p::id, p::name),
                    (ip::source, ip::relevance, ip::added_at, ip::removed_at),
                ))
                .load(conn)?;
            let Some(((key, ..), _)) = rows.last() else { break };
            after = *key;
            for ((_, id, name), (source, relevance, added_at, removed_at)) in rows {
                let how = [
                    json!(source),
                    json!(relevance),
                    json!(added_at),
                    json!(removed_at),
                ];
                self.resource(incident, ("person", &id), Some(&name), None, how)?;
            }
        }
        Ok(())
    }

    fn of_account(&mut self, conn: &mut Conn, incident: &IncidentId, account: &str) -> Result<()> {
        let wanted = Wanted {
            account: Some(account.to_owned()),
            ..Wanted::default()
        };
        let mut after = None;
        loop {
            let rows = recovery::list(conn, incident, &wanted, after, STEP)?;
            let Some(row) = rows.last() else { break };
            after = Some(row.key);
            for row in rows {
                let at = (row.resource.type_.to_string(), row.resource.id.to_string());
                let at = (at.0.as_str(), at.1.as_str());
                let how = [Value::Null, Value::Null, Value::Null, Value::Null];
                self.resource(incident, at, row.name.as_deref(), row.account.as_deref(), how)?;
                self.history(conn, incident, at)?;
            }
        }
        Ok(())
    }

    /// Adds the changes of one resource. A resource without a state of recovery has none.
    fn history(&mut self, conn: &mut Conn, incident: &IncidentId, (type_, id): (&str, &str)) -> Result<()> {
        let Some(at): Option<ResourceRef> = resource::reference(type_, id) else {
            return Ok(());
        };
        let changes = match recovery::history(conn, incident, &at) {
            Ok(changes) => changes,
            Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        for one in changes {
            let when = (one.happened_at, one.recorded_at);
            let says = (one.source.as_str(), one.by.as_str());
            self.change(
                incident,
                (type_, id),
                one.state.as_str(),
                when,
                says,
                one.observed,
            )?;
        }
        Ok(())
    }

    fn change(
        &mut self,
        incident: &IncidentId,
        (type_, id): (&str, &str),
        state: &str,
        (happened_at, recorded_at): (Timestamp, Timestamp),
        (source, by): (&str, &str),
        observed: Option<Value>,
    ) -> Result<()> {
        self.summary.recovered(Recovered {
            resource: format!("{type_}/{id}"),
            state: state.to_owned(),
            at: happened_at,
            source: source.to_owned(),
        });
        self.recovery.add(vec![
            json!(incident),
            json!(type_),
            json!(id),
            json!(state),
            json!(happened_at),
            json!(recorded_at),
            json!(source),
            json!(by),
            json!(observed),
        ])
    }
}
