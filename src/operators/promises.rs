//! Promised updates: operators are reminded before the promised time, and a promise that passes without a later notice is recorded
//! as missed, on the timeline and in the audit trail.
//!
//! A promise is recorded as missed once, and operators get one reminder and one message about it.

use std::collections::HashSet;

use diesel::prelude::*;
use serde_json::json;

use super::contact;
use super::message::{Facts, Headline, OperatorEvent};
use super::outbox;
use super::overdue::{self, Promise, REMIND};
use super::{ACTOR, notify::SUBSCRIBER};
use crate::audit::{Action, Actor, Event, Tx, follow};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::schema::missed_updates as m;
use crate::db::{Conn, Db};
use crate::incident::{self, timeline};

/// A promised update that was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The time until which customers were promised the update.
    pub due_at: Timestamp,
}

/// Reminds operators of promises, and records those that were missed.
pub(super) async fn look(db: &Db) -> Result<()> {
    let now = db.clock().now();
    let open = db
        .read(move |conn| {
            let near = overdue::promises(conn, now.plus(REMIND))?;
            unhandled(conn, near, now)
        })
        .await?;
    if open.is_empty() {
        return Ok(());
    }
    db.write(&Actor::system(ACTOR), move |tx| {
        // Two processes that found the same promises wait for each other here.
        follow::hold(tx.conn, SUBSCRIBER)?;
        let near = overdue::promises(tx.conn, now.plus(REMIND))?;
        for promise in unhandled(tx.conn, near, now)? {
            if promise.due <= now {
                miss(tx, &promise)?;
            }
            remind(tx, &promise, now)?;
        }
        Ok(())
    })
    .await
}

/// The key of the message about a promise, before or after its time.
fn key(promise: &Promise, now: Timestamp) -> String {
    let what = if promise.due <= now { "missed" } else { "promised" };
    format!("{what}:{}:{}", promise.notice, promise.due.as_micros())
}

/// Returns the promises about which something is still to be done.
fn unhandled(conn: &mut Conn, near: Vec<Promise>, now: Timestamp) -> Result<Vec<Promise>> {
    if near.is_empty() {
        return Ok(near);
    }
    let incidents: Vec<&str> = near.iter().map(|one| one.incident.as_str()).collect();
    let told: HashSet<String> = outbox::keys(conn, &incidents, OperatorEvent::Overdue)?
        .into_iter()
        .map(|(_, _, key)| key)
        .collect();
    let operators = contact::list(conn)?;
    let mut open = Vec::new();
    for one in near {
        let todo = one.due <= now || {
            let severity = incident::get(conn, &one.incident)?.severity;
            let wanted = operators
                .iter()
                .any(|operator| operator.wants(OperatorEvent::Overdue, severity));
            wanted && !told.contains(&key(&one, now))
        };
        if todo {
            open.push(one);
        }
    }
    Ok(open)
}

fn miss(tx: &mut Tx<'_>, promise: &Promise) -> Result<()> {
    diesel::insert_into(m::table)
        .values((
            m::notice_id.eq(promise.notice.as_str()),
            m::incident_id.eq(promise.incident.as_str()),
            m::due_at.eq(promise.due),
            m::missed_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::UpdateMissed, "notice", promise.notice.as_str())
            .incident(&promise.incident)
            .after(json!({"due_at": promise.due})),
    );
    let text = format!(
        "Promised update missed: customers were promised an update by {}, and no notice was sent until then",
        promise.due.for_people(None)
    );
    timeline::note(tx, &promise.incident, timeline::Kind::Note, promise.due, &text)?;
    Ok(())
}

fn remind(tx: &mut Tx<'_>, promise: &Promise, now: Timestamp) -> Result<()> {
    let headline = Headline::from(&incident::get(tx.conn, &promise.incident)?);
    let facts = Facts {
        notice: Some(promise.notice.clone()),
        promised_at: Some(promise.due),
        missed: promise.due <= now,
        ..Facts::new(OperatorEvent::Overdue, headline.clone())
    };
    let key = key(promise, now);
    for operator in contact::list(tx.conn)? {
        if operator.wants(OperatorEvent::Overdue, headline.severity) {
            outbox::put(tx, &operator, &key, &facts, tx.now)?;
        }
    }
    Ok(())
}

/// Returns the promised updates of an incident that were missed, oldest first.
///
/// # Errors
/// An error of the database.
pub fn missed(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Missed>> {
    let times: Vec<Timestamp> = m::table
        .filter(m::incident_id.eq(incident.as_str()))
        .order(m::due_at)
        .select(m::due_at)
        .load(conn)?;
    Ok(times.into_iter().map(|due_at| Missed { due_at }).collect())
}
