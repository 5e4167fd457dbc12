//! Reads the audit trail, filtered by actor, action, subject, incident and time.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::Action;
use super::write::{EventRow, rows_after};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::audit_events;

/// An event, as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct EventView {
    /// The position in the chain, from 1 and without gaps.
    pub seq: i64,
    /// The time of the transaction that appended the event.
    pub at: Timestamp,
    /// The actor that caused the event, for example a token or an integration.
    pub actor: ActorView,
    /// The action, for example `incident.status`.
    pub action: String,
    /// The subject that was changed.
    pub subject: SubjectView,
    /// The ID of the incident that the event belongs to, if there is one.
    pub incident: Option<String>,
    /// The state before the change.
    pub before: Option<Value>,
    /// The state after the change.
    pub after: Option<Value>,
    /// The hash of the event before.
    pub prev_hash: String,
    /// The hash of this event.
    pub hash: String,
}

/// The actor of an event, as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ActorView {
    /// The kind of the actor: token, integration, system or anonymous.
    pub kind: String,
    /// The ID of the token or the integration, or the part of the system.
    pub id: String,
    /// The name of the actor at that time.
    pub name: String,
}

/// The subject of an event, as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SubjectView {
    /// The type of the subject, such as incident, notice or account.
    #[serde(rename = "type")]
    pub type_: String,
    /// The ID of the subject.
    pub id: String,
}

impl From<EventRow> for EventView {
    fn from(row: EventRow) -> Self {
        let json = |text: Option<String>| {
            text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)))
        };
        EventView {
            seq: row.seq,
            at: row.at,
            actor: ActorView {
                kind: row.actor_kind,
                id: row.actor_id,
                name: row.actor_name,
            },
            action: row.action,
            subject: SubjectView {
                type_: row.subject_type,
                id: row.subject_id,
            },
            incident: row.incident_id,
            before: json(row.before_json),
            after: json(row.after_json),
            prev_hash: row.prev_hash,
            hash: row.hash,
        }
    }
}

/// A filter for events. An event must match every field that is set.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Filter {
    /// Only events of this incident.
    pub incident: Option<IncidentId>,
    /// Only events of the actor with this ID or name.
    pub actor: Option<String>,
    /// Only events with this action.
    pub action: Option<String>,
    /// Only events on the subject with this ID, or with this `type/id`.
    pub subject: Option<String>,
    /// Only events at or after this time.
    pub from: Option<Timestamp>,
    /// Only events before this time.
    pub to: Option<Timestamp>,
}

type Query<'a> = audit_events::BoxedQuery<'a, crate::db::Backend>;

fn filtered(filter: &Filter) -> Result<Query<'_>> {
    use audit_events as a;
    let mut query = a::table.into_boxed::<crate::db::Backend>();
    if let Some(incident) = &filter.incident {
        query = query.filter(a::incident_id.eq(incident.as_str()));
    }
    if let Some(actor) = &filter.actor {
        query = query.filter(a::actor_id.eq(actor).or(a::actor_name.eq(actor)));
    }
    if let Some(action) = &filter.action {
        if !Action::ALL.contains(&action.as_str()) {
            return Err(Error::invalid(
                "?action",
                format!("is not one of {}", Action::ALL.join(", ")),
            ));
        }
        query = query.filter(a::action.eq(action));
    }
    if let Some(subject) = &filter.subject {
        query = match subject.split_once('/') {
            Some((type_, id)) => query.filter(
                a::subject_id
                    .eq(subject)
                    .or(a::subject_type.eq(type_).and(a::subject_id.eq(id))),
            ),
            None => query.filter(a::subject_id.eq(subject)),
        };
    }
    if let Some(from) = filter.from {
        query = query.filter(a::at.ge(from));
    }
    if let Some(to) = filter.to {
        query = query.filter(a::at.lt(to));
    }
    Ok(query)
}

/// Checks that the filter names only things that have events. Otherwise an empty answer would look as if
/// nothing was ever done.
fn check_known(conn: &mut Conn, filter: &Filter) -> Result<()> {
    let incident = Filter {
        incident: filter.incident.clone(),
        ..Filter::default()
    };
    let actor = Filter {
        actor: filter.actor.clone(),
        ..Filter::default()
    };
    let subject = Filter {
        subject: filter.subject.clone(),
        ..Filter::default()
    };
    for (given, alone, name) in [
        (filter.incident.is_some(), incident, "?incident"),
        (filter.actor.is_some(), actor, "?actor"),
        (filter.subject.is_some(), subject, "?subject"),
    ] {
        if given {
            let seen: Option<i64> = filtered(&alone)?
                .select(audit_events::seq)
                .limit(1)
                .first(conn)
                .optional()?;
            if seen.is_none() {
                return Err(Error::invalid(name, "no event has this value"));
            }
        }
    }
    Ok(())
}

/// Returns the events that match, newest first, before the given position.
///
/// # Errors
/// `Invalid` if the filter names an action, actor, subject or incident that has no event.
pub fn list(conn: &mut Conn, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<EventView>> {
    check_known(conn, filter)?;
    let mut query = filtered(filter)?;
    if let Some(before) = before {
        query = query.filter(audit_events::seq.lt(before));
    }
    let rows: Vec<EventRow> = query.order(audit_events::seq.desc()).limit(limit).load(conn)?;
    Ok(rows.into_iter().map(EventView::from).collect())
}

/// Returns events in the order of the chain after the given position. The export uses it.
pub fn page(conn: &mut Conn, after: i64, limit: i64) -> Result<Vec<EventView>> {
    Ok(rows_after(conn, after, limit)?
        .into_iter()
        .map(EventView::from)
        .collect())
}
