//! The stored messages to operators. They are created with an event, claimed with a lease, and tried until
//! they are sent or too old. Two workers never send the same message.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;
use serde_json::json;

use super::contact::Operator;
use super::decide;
use super::message::{About, Facts, OperatorEvent};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, MessageId, OperatorId};
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::dialect::{self, on_backend};
use crate::db::schema::{operator_messages as m, operators as o};
use crate::db::{Conn, FixedText};
use crate::delivery::Outcome;
use crate::work::Lease;
use crate::work::backoff::Backoff;

/// The states of a message.
pub const STATES: [&str; 3] = ["pending", "sent", "failed"];

/// The waits between attempts. The last one repeats. Each wait is changed by a random amount of up to a
/// fifth.
const SCHEDULE: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(1_800),
];
/// How long a message is tried. After that it is out of date.
const LIFETIME: Duration = Duration::from_secs(6 * 3_600);
/// How long a claim lasts. It is longer than an attempt can take.
const LEASE: Duration = Duration::from_secs(300);
/// An operator gets at most one message about opened incidents within this time, and at most one about reopened
/// incidents.
const FOLD: Duration = Duration::from_secs(60);
/// The keys of messages about reopened incidents, as a pattern of SQL. They name the incident and the episode.
const REOPENED: &str = "opened:%:%";

/// A message to an operator.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = OperatorMessage)]
pub struct Message {
    /// The ID of the message.
    pub id: MessageId,
    /// The ID of the operator.
    pub operator: OperatorId,
    /// The name of the operator.
    pub operator_name: String,
    /// The channel: `email` or `webhook`.
    pub channel: String,
    /// The event that the message is about.
    pub event: OperatorEvent,
    /// The incident. Null if the message is about a source of the directory, or a test.
    pub incident: Option<IncidentId>,
    /// The title of the message.
    pub title: String,
    /// The path of the page that the message links to.
    #[serde(skip)]
    pub path: String,
    /// The state: `pending`, `sent` or `failed`.
    pub state: String,
    /// The number of attempts up to now.
    pub attempts: i64,
    /// When the next attempt is due. Null if there is none.
    pub next_attempt_at: Option<Timestamp>,
    /// When the message was created.
    pub created_at: Timestamp,
    /// When the message was sent or given up.
    pub finished_at: Option<Timestamp>,
    /// The last answer of the mail server or of the webhook.
    pub reply: Option<String>,
}

/// Which messages to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only messages to this operator.
    pub operator: Option<OperatorId>,
    /// Only messages about this incident.
    pub incident: Option<IncidentId>,
    /// Only messages in this state.
    pub state: Option<String>,
}

/// Returns the messages that match the filter, newest first, before the given ID.
pub fn list(conn: &mut Conn, filter: &Filter, before: Option<&str>, limit: i64) -> Result<Vec<Message>> {
    let mut query = m::table.inner_join(o::table).into_boxed::<crate::db::Backend>();
    if let Some(operator) = &filter.operator {
        query = query.filter(m::operator_id.eq(operator.as_str()));
    }
    if let Some(incident) = &filter.incident {
        query = query.filter(m::incident_id.eq(incident.as_str()));
    }
    if let Some(state) = &filter.state {
        query = query.filter(m::state.eq(state));
    }
    if let Some(before) = before {
        query = query.filter(m::id.lt(before));
    }
    type Row = (
        (
            MessageId,
            OperatorId,
            String,
            String,
            Option<IncidentId>,
            String,
            String,
        ),
        (
            i64,
            Timestamp,
            Timestamp,
            Option<Timestamp>,
            Option<String>,
            String,
        ),
    );
    let rows: Vec<Row> = query
        .order(m::id.desc())
        .limit(limit)
        .select((
            (
                m::id,
                m::operator_id,
                m::channel,
                m::event,
                m::incident_id,
                m::facts,
                m::state,
            ),
            (
                m::attempts,
                m::next_attempt_at,
                m::created_at,
                m::finished_at,
                m::reply,
                o::name,
            ),
        ))
        .load(conn)?;
    rows.into_iter()
        .map(
            |(
                (id, operator, channel, event, incident, facts, state),
                (attempts, next, created_at, finished_at, reply, operator_name),
            )| {
                let facts: About = serde_json::from_str(&facts)?;
                let rendered = decide::render(&facts, "");
                Ok(Message {
                    id,
                    operator,
                    operator_name,
                    channel,
                    event: OperatorEvent::parse(&event).map_err(Error::internal)?,
                    incident,
                    title: rendered.title,
                    path: rendered.link,
                    next_attempt_at: (state == "pending").then_some(next),
                    state,
                    attempts,
                    created_at,
                    finished_at,
                    reply,
                })
            },
        )
        .collect()
}

/// Stores a message for each channel of an operator, unless there is one with this key.
pub(super) fn put(
    tx: &mut Tx<'_>,
    operator: &Operator,
    key: &str,
    facts: &Facts,
    due_at: Timestamp,
) -> Result<()> {
    put_about(
        tx,
        operator,
        key,
        &About::Incident(Box::new(facts.clone())),
        due_at,
    )
}

/// Does the same for anything that a message can be about.
pub(super) fn put_about(
    tx: &mut Tx<'_>,
    operator: &Operator,
    key: &str,
    about: &About,
    due_at: Timestamp,
) -> Result<()> {
    for channel in operator.ways() {
        insert(tx, operator, channel, key, about, due_at)?;
    }
    Ok(())
}

fn insert(
    tx: &mut Tx<'_>,
    operator: &Operator,
    channel: &str,
    key: &str,
    about: &About,
    due_at: Timestamp,
) -> Result<()> {
    let row = (
        m::id.eq(MessageId::new(tx.now)),
        m::operator_id.eq(operator.id.as_str()),
        m::channel.eq(channel),
        m::event.eq(about.event().as_str()),
        m::key.eq(key),
        m::incident_id.eq(about.incident().map(IncidentId::as_str)),
        m::facts.eq(serde_json::to_string(about)?),
        m::state.eq("pending"),
        m::attempts.eq(0),
        m::next_attempt_at.eq(due_at),
        m::expires_at.eq(due_at.plus(LIFETIME)),
        m::created_at.eq(tx.now),
    );
    on_backend!(&mut *tx.conn, c => diesel::insert_into(m::table)
        .values(row)
        .on_conflict((m::operator_id, m::channel, m::key))
        .do_nothing()
        .execute(c))?;
    Ok(())
}

/// Stores a message about an opened or reopened incident. For each channel there is at most one each minute about
/// opened incidents, and at most one each minute about reopened ones. Incidents that are opened or reopened in
/// between are added to the next message of their kind, which waits until the minute is over.
///
/// The two kinds have separate limits. So the message about a reopening is not delayed because this incident, or another
/// one, was opened a moment ago.
pub(super) fn enqueue_opened(tx: &mut Tx<'_>, operator: &Operator, key: &str, facts: &Facts) -> Result<()> {
    let about = About::Incident(Box::new(facts.clone()));
    for channel in operator.ways() {
        let of_kind = m::table
            .filter(m::operator_id.eq(operator.id.as_str()))
            .filter(m::channel.eq(channel))
            .filter(m::event.eq(facts.event.as_str()))
            .into_boxed::<crate::db::Backend>();
        let of_kind = if facts.incident.reopened {
            of_kind.filter(m::key.like(REOPENED))
        } else {
            of_kind.filter(m::key.not_like(REOPENED))
        };
        let last: Option<(MessageId, String, String, i64, Timestamp)> = of_kind
            .order((m::created_at.desc(), m::id.desc()))
            .select((m::id, m::state, m::facts, m::attempts, m::next_attempt_at))
            .first(tx.conn)
            .optional()?;
        let Some((id, state, held, attempts, due_at)) = last else {
            insert(tx, operator, channel, key, &about, tx.now)?;
            continue;
        };
        if state == "pending" && attempts == 0 {
            let mut held: Facts = serde_json::from_str(&held)?;
            held.fold(facts.incident.clone());
            // Another process may be sending the message at this moment.
            let folded = diesel::update(
                m::table
                    .find(id.as_str())
                    .filter(m::state.eq("pending"))
                    .filter(m::attempts.eq(0)),
            )
            .set(m::facts.eq(serde_json::to_string(&held)?))
            .execute(tx.conn)?;
            if folded > 0 {
                continue;
            }
        }
        // The minute begins when the last message was first due. The time that it waited since then does not
        // count.
        let first_due = if attempts == 0 {
            due_at
        } else {
            due_of(tx.conn, &id)?
        };
        insert(
            tx,
            operator,
            channel,
            key,
            &about,
            first_due.plus(FOLD).max(tx.now),
        )?;
    }
    Ok(())
}

/// Returns when a message was first due.
fn due_of(conn: &mut Conn, id: &MessageId) -> Result<Timestamp> {
    let expires: Timestamp = m::table.find(id.as_str()).select(m::expires_at).first(conn)?;
    Ok(expires.minus(LIFETIME))
}

/// Returns which keys have a message about one of these incidents, with the operator and the channel.
pub(super) fn keys(
    conn: &mut Conn,
    incidents: &[&str],
    event: OperatorEvent,
) -> Result<Vec<(OperatorId, String, String)>> {
    Ok(m::table
        .filter(m::incident_id.eq_any(incidents))
        .filter(m::event.eq(event.as_str()))
        .select((m::operator_id, m::channel, m::key))
        .load(conn)?)
}

/// Returns when the last message of this kind about an incident was created, and its key.
pub(super) fn latest(
    conn: &mut Conn,
    incident: &IncidentId,
    event: OperatorEvent,
) -> Result<Option<(Timestamp, String)>> {
    Ok(m::table
        .filter(m::incident_id.eq(incident.as_str()))
        .filter(m::event.eq(event.as_str()))
        .order((m::created_at.desc(), m::id.desc()))
        .select((m::created_at, m::key))
        .first(conn)
        .optional()?)
}

/// Updates the number of people who could not be reached in messages that were not tried yet.
pub(super) fn recount(tx: &mut Tx<'_>, key: &str, facts: &Facts) -> Result<()> {
    diesel::update(
        m::table
            .filter(m::incident_id.eq(facts.incident.id.as_str()))
            .filter(m::event.eq(facts.event.as_str()))
            .filter(m::key.eq(key))
            .filter(m::state.eq("pending"))
            .filter(m::attempts.eq(0)),
    )
    .set(m::facts.eq(serde_json::to_string(facts)?))
    .execute(tx.conn)?;
    Ok(())
}

/// A message that a worker has claimed.
#[derive(Clone)]
pub(super) struct Claimed {
    pub id: MessageId,
    pub lease: Lease,
    /// The attempt number, from 1.
    pub attempts: i64,
    pub about: About,
    /// None if the operator is deleted or disabled.
    pub operator: Option<Operator>,
    pub expires_at: Timestamp,
}

/// Returns whether a message of a channel is due.
pub(super) fn any_due(conn: &mut Conn, channel: &str, now: Timestamp) -> Result<bool> {
    let first: Option<MessageId> = m::table
        .filter(sql::<Bool>("operator_messages.state = 'pending'"))
        .filter(m::channel.eq(channel))
        .filter(m::next_attempt_at.le(now))
        .order((m::next_attempt_at, m::id))
        .select(m::id)
        .limit(1)
        .fixed()
        .get_result(conn)
        .optional()?;
    Ok(first.is_some())
}

/// Claims due messages of a channel. A message that a process claimed and did not finish becomes due again
/// when the lease ends.
pub(super) fn claim(conn: &mut Conn, channel: &str, now: Timestamp, most: i64) -> Result<Vec<Claimed>> {
    let ids = dialect::due_messages(conn, channel, now, most)?;
    let mut claimed = Vec::with_capacity(ids.len());
    for id in ids {
        let lease = Lease::new(now, LEASE);
        let (operator, facts, attempts, expires_at): (OperatorId, String, i64, Timestamp) =
            diesel::update(m::table.find(&id))
                .set((
                    m::lease.eq(Some(lease.id())),
                    m::attempts.eq(m::attempts + 1),
                    m::next_attempt_at.eq(lease.until(now)),
                ))
                .returning((m::operator_id, m::facts, m::attempts, m::expires_at))
                .get_result(conn)?;
        let operator = match super::contact::whole(conn, &operator) {
            Ok(operator) => Some(operator).filter(|operator| operator.enabled),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        claimed.push(Claimed {
            id: MessageId::parse(&id).map_err(Error::internal)?,
            lease,
            attempts,
            about: serde_json::from_str(&facts)?,
            operator,
            expires_at,
        });
    }
    Ok(claimed)
}

/// Makes a claimed message due again. If the claim has ended in the meantime, another worker has the message,
/// and nothing changes.
pub(super) fn give_back(conn: &mut Conn, claimed: &Claimed, now: Timestamp) -> Result<()> {
    diesel::update(
        m::table
            .find(claimed.id.as_str())
            .filter(m::lease.eq(claimed.lease.id()))
            .filter(m::state.eq("pending")),
    )
    .set((m::lease.eq(None::<String>), m::next_attempt_at.eq(now)))
    .execute(conn)?;
    Ok(())
}

/// Stores the outcome of an attempt. If the claim has ended in the meantime, the outcome of another worker
/// counts, and nothing changes.
pub(super) fn finish(tx: &mut Tx<'_>, claimed: &Claimed, outcome: &Outcome) -> Result<()> {
    let usual = Backoff::new(&SCHEDULE).spread_after(claimed.attempts);
    let (state, next, reply) = match outcome {
        Outcome::Sent(reply) => ("sent", tx.now, reply.clone()),
        Outcome::Failed(reply) | Outcome::NoMailbox(reply) | Outcome::Gone(reply) => {
            ("failed", tx.now, reply.clone())
        }
        Outcome::Retry(asked, reply) => (
            "pending",
            tx.now.plus(asked.unwrap_or_default().max(usual)),
            reply.clone(),
        ),
        Outcome::Ambiguous(reply) => ("pending", tx.now.plus(usual), reply.clone()),
    };
    let (state, reply) = if state == "pending" && next > claimed.expires_at {
        ("failed", format!("failed after the last attempt: {reply}"))
    } else {
        (state, reply)
    };
    let over = state != "pending";
    let changed = diesel::update(
        m::table
            .find(claimed.id.as_str())
            .filter(m::lease.eq(claimed.lease.id()))
            .filter(m::state.eq("pending")),
    )
    .set((
        m::state.eq(state),
        m::lease.eq(None::<String>),
        m::next_attempt_at.eq(next),
        m::finished_at.eq(over.then_some(tx.now)),
        m::reply.eq(Some(one_line(&reply, 500))),
    ))
    .execute(tx.conn)?;
    if changed > 0 && over {
        let action = if state == "sent" {
            Action::OperatorTold
        } else {
            Action::OperatorGivenUp
        };
        // The event does not contain the reply, because the reply can repeat an address.
        let event = Event::new(action, "message", claimed.id.as_str())
            .after(json!({"event": claimed.about.event(), "attempts": claimed.attempts}));
        tx.record(match claimed.about.incident() {
            Some(incident) => event.incident(incident),
            None => event,
        });
    }
    Ok(())
}
