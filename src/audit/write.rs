//! Write transactions, and the events that are appended at their end.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::action::Action;
use super::lineage;
use crate::base::error::Result;
use crate::base::id::{IncidentId, TokenId};
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::many::insert_many;
use crate::db::schema::{audit_events, audit_head};
use crate::db::{Conn, Db, dialect};

/// The actor of a change.
#[derive(Clone, Debug)]
pub struct Actor {
    kind: &'static str,
    id: String,
    name: String,
    /// The ID of the idempotency key of the request. It is marked as carried out in the same transaction as
    /// the change.
    request: Option<String>,
}

impl Actor {
    /// Returns an actor for an API token.
    pub fn token(id: &TokenId, name: &str) -> Self {
        Actor {
            kind: "token",
            id: id.to_string(),
            name: name.to_owned(),
            request: None,
        }
    }

    /// Returns an actor for Candor itself. `part` is the name of the part that acts.
    pub fn system(part: &str) -> Self {
        Actor {
            kind: "system",
            id: part.to_owned(),
            name: part.to_owned(),
            request: None,
        }
    }

    /// Returns an actor for an integration that called its hook.
    pub fn integration(id: &str, name: &str) -> Self {
        Actor {
            kind: "integration",
            id: id.to_owned(),
            name: name.to_owned(),
            request: None,
        }
    }

    /// Returns an actor for a person of the directory who acts for themselves. The subject of the event names the person, so that
    /// an erasure removes it; `way` says how Candor knows that it is them, such as the ID of a feed key.
    pub fn person(way: &str) -> Self {
        Actor {
            kind: "person",
            id: way.to_owned(),
            name: "the person".to_owned(),
            request: None,
        }
    }

    /// Returns an actor for a caller without a token.
    pub fn anonymous() -> Self {
        Actor {
            kind: "anonymous",
            id: "anonymous".to_owned(),
            name: "anonymous".to_owned(),
            request: None,
        }
    }

    /// Returns the same actor, which now acts for a request with an idempotency key.
    pub fn for_request(mut self, key_id: String) -> Self {
        self.request = Some(key_id);
        self
    }

    /// Returns the ID of the token or the integration, or the part of the system.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the name of the actor, for people.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// An event that is to be recorded.
#[derive(Clone, Debug)]
pub struct Event {
    action: Action,
    subject_type: &'static str,
    subject_id: String,
    incident: Option<String>,
    before: Option<Value>,
    after: Option<Value>,
}

impl Event {
    /// Creates an event for an action on the subject with this type and ID.
    pub fn new(action: Action, subject_type: &'static str, subject_id: impl Into<String>) -> Self {
        let subject_id = subject_id.into();
        Event {
            action,
            subject_type,
            subject_id,
            incident: None,
            before: None,
            after: None,
        }
    }

    /// Sets the incident that the event belongs to.
    pub fn incident(mut self, id: &IncidentId) -> Self {
        self.incident = Some(id.to_string());
        self
    }

    /// Sets the state before the change.
    pub fn before(mut self, value: impl Into<Value>) -> Self {
        self.before = Some(value.into());
        self
    }

    /// Sets the state after the change.
    pub fn after(mut self, value: impl Into<Value>) -> Self {
        self.after = Some(value.into());
        self
    }
}

/// A write transaction: the connection, the actor, the time, and the events that are appended at its end.
pub struct Tx<'a> {
    /// The connection on which the transaction is open. Statements of diesel run on it.
    pub conn: &'a mut Conn,
    /// The current time, which is the same during the whole transaction.
    pub now: Timestamp,
    /// The actor of the change. It is changed between the parts if one transaction carries out requests of
    /// several actors.
    pub actor: Actor,
    events: Vec<(Actor, Event)>,
}

impl Tx<'_> {
    /// Records an event. It is stored together with the change, or neither of them is stored.
    pub fn record(&mut self, event: Event) {
        self.events.push((self.actor.clone(), event));
    }

    /// Does a part of the work that may fail without failing the rest. If it fails, its changes are rolled
    /// back and its events are dropped.
    ///
    /// # Errors
    /// An error of the database if the part cannot be rolled back. The inner error is the error of the part.
    pub(crate) fn attempt<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T>) -> Result<Result<T>> {
        let (kept, actor) = (self.events.len(), self.actor.clone());
        dialect::savepoint(self.conn)?;
        let done = part(self);
        self.actor = actor;
        match done {
            Ok(value) => {
                dialect::release(self.conn)?;
                Ok(Ok(value))
            }
            Err(error) => {
                dialect::undo(self.conn)?;
                self.events.truncate(kept);
                Ok(Err(error))
            }
        }
    }
}

impl Db {
    /// Runs `work` in one write transaction and appends the events that it recorded.
    ///
    /// # Errors
    /// The error of `work`, or an error of the database. Then nothing is stored.
    pub async fn write<T, F>(&self, actor: &Actor, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let actor = actor.clone();
        let request = actor.request.clone();
        let now = self.clock().now();
        let (value, followed) = self
            .transaction(move |conn| {
                let mut tx = Tx {
                    conn,
                    now,
                    actor,
                    events: Vec::new(),
                };
                let value = work(&mut tx)?;
                let Tx { conn, events, .. } = tx;
                lineage::check_none_merged(conn, &changed(&events))?;
                if let Some(request) = &request {
                    crate::audit::idempotency::carried_out(conn, request)?;
                }
                let followed = events.iter().any(|(_, event)| event.action.wakes_subscribers());
                append(conn, now, events)?;
                if followed {
                    dialect::tell_followers(conn)?;
                }
                Ok((value, followed))
            })
            .await?;
        if followed {
            self.wake_followers();
        }
        Ok(value)
    }
}

#[derive(Clone, Debug, Insertable, Queryable)]
#[diesel(table_name = audit_events)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct EventRow {
    pub(super) seq: i64,
    pub(super) at: Timestamp,
    pub(super) actor_kind: String,
    pub(super) actor_id: String,
    pub(super) actor_name: String,
    pub(super) action: String,
    pub(super) subject_type: String,
    pub(super) subject_id: String,
    pub(super) incident_id: Option<String>,
    pub(super) before_json: Option<String>,
    pub(super) after_json: Option<String>,
    pub(super) prev_hash: String,
    pub(super) hash: String,
}

impl EventRow {
    /// Returns all fields and the hash before, as one JSON array. This is unambiguous and easy to recompute with
    /// other tools.
    pub(super) fn canonical(&self) -> Result<Vec<u8>> {
        let mut fields = Vec::with_capacity(1024);
        self.write_canonical(&mut fields)?;
        Ok(fields)
    }

    /// Writes the same behind what a buffer has already.
    pub(super) fn write_canonical(&self, fields: &mut Vec<u8>) -> Result<()> {
        Ok(serde_json::to_writer(
            fields,
            &(
                self.seq,
                self.at.as_micros(),
                &self.actor_kind,
                &self.actor_id,
                &self.actor_name,
                &self.action,
                &self.subject_type,
                &self.subject_id,
                &self.incident_id,
                &self.before_json,
                &self.after_json,
                &self.prev_hash,
            ),
        )?)
    }

    /// Returns the SHA-256 hash of the canonical form.
    pub(super) fn compute_hash(&self) -> Result<String> {
        Ok(hex(&Sha256::digest(self.canonical()?)))
    }
}

/// Returns the incidents that the events say to have changed.
fn changed(events: &[(Actor, Event)]) -> Vec<&str> {
    let of_change = events
        .iter()
        .filter(|(_, event)| !lineage::is_of_merged(event.action));
    let incidents: BTreeSet<&str> = of_change
        .filter_map(|(_, event)| event.incident.as_deref())
        .collect();
    incidents.into_iter().collect()
}

fn append(conn: &mut Conn, now: Timestamp, events: Vec<(Actor, Event)>) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let (mut seq, mut prev_hash, last) = dialect::audit_head(conn)?;
    // A clock can be set back, and the clocks of several processes differ. The times in the trail still stay
    // in order.
    let at = last.max(now);
    let mut rows = Vec::with_capacity(events.len());
    for (actor, event) in events {
        seq += 1;
        let mut row = EventRow {
            seq,
            at,
            actor_kind: actor.kind.to_owned(),
            actor_id: actor.id,
            actor_name: actor.name,
            action: event.action.as_str().to_owned(),
            subject_type: event.subject_type.to_owned(),
            subject_id: event.subject_id,
            incident_id: event.incident,
            before_json: event.before.map(|value| value.to_string()),
            after_json: event.after.map(|value| value.to_string()),
            prev_hash,
            hash: String::new(),
        };
        row.hash = row.compute_hash()?;
        prev_hash = row.hash.clone();
        rows.push(row);
    }
    insert_many!(conn, audit_events::table, "audit_events", rows.as_slice(), {
        seq: BigInt = |row| row.seq,
        at: BigInt = |row| row.at,
        actor_kind: Text = |row| row.actor_kind.as_str(),
        actor_id: Text = |row| row.actor_id.as_str(),
        actor_name: Text = |row| row.actor_name.as_str(),
        action: Text = |row| row.action.as_str(),
        subject_type: Text = |row| row.subject_type.as_str(),
        subject_id: Text = |row| row.subject_id.as_str(),
        incident_id: Nullable<Text> = |row| row.incident_id.as_deref(),
        before_json: Nullable<Text> = |row| row.before_json.as_deref(),
        after_json: Nullable<Text> = |row| row.after_json.as_deref(),
        prev_hash: Text = |row| row.prev_hash.as_str(),
        hash: Text = |row| row.hash.as_str(),
    });
    diesel::update(audit_head::table.find(1))
        .set((
            audit_head::seq.eq(seq),
            audit_head::hash.eq(prev_hash),
            audit_head::at.eq(at),
        ))
        .execute(conn)?;
    Ok(())
}

pub(super) fn rows_after(conn: &mut Conn, after: i64, limit: i64) -> Result<Vec<EventRow>> {
    Ok(audit_events::table
        .filter(audit_events::seq.gt(after))
        .order(audit_events::seq.asc())
        .limit(limit)
        .load(conn)?)
}
