//! Messages on their way: stored when something happened, claimed with a lease, tried until they are taken or too old.
//!
//! Must never happen here: a message that two workers send, or one that is tried for ever.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::contact::Operator;
use super::message::{Facts, OperatorEvent, Rendered};
use super::syncs::SyncFacts;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, MessageId, OperatorId, new_uuid};
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::dialect::{self, on_backend};
use crate::db::schema::{operator_messages as m, operators as o};
use crate::db::{Conn, Fix};
use crate::delivery::Outcome;
use crate::work::backoff::Backoff;

/// By mail.
pub const EMAIL: &str = "email";
/// By webhook.
pub const WEBHOOK: &str = "webhook";
/// States of a message.
pub const STATES: [&str; 3] = ["pending", "sent", "failed"];

/// Waits between attempts; the last one repeats. Each is a fifth longer or shorter, by chance.
const SCHEDULE: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(1_800),
];
/// How long a message is tried. Later it is no news.
const LIFETIME: Duration = Duration::from_secs(6 * 3_600);
/// How long a claim holds; longer than an attempt can take.
const LEASE: Duration = Duration::from_secs(300);
/// Within which an operator is told once of incidents that open.
const FOLD: Duration = Duration::from_secs(60);

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum About {
    /// A sync of a source of the directory.
    Sync(SyncFacts),
    /// An incident.
    Incident(Box<Facts>),
}

impl About {
    /// What happened.
    pub fn event(&self) -> OperatorEvent {
        match self {
            About::Sync(facts) => facts.event,
            About::Incident(facts) => facts.event,
        }
    }

    /// The incident, where it is about one.
    pub fn incident(&self) -> Option<&IncidentId> {
        match self {
            About::Sync(_) => None,
            About::Incident(facts) => Some(&facts.incident.id),
        }
    }

    /// The words; `base` is that of links.
    pub fn render(&self, base: &str) -> Rendered {
        match self {
            About::Sync(facts) => facts.render(base),
            About::Incident(facts) => facts.render(base),
        }
    }
}

/// A message, as shown.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = OperatorMessage)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// To whom.
    pub operator: OperatorId,
    /// Their name.
    pub operator_name: String,
    /// email or webhook.
    pub channel: String,
    /// What it is about.
    pub event: OperatorEvent,
    /// The incident; null where it is about a source of the directory.
    pub incident: Option<IncidentId>,
    /// What it says, in a line.
    pub title: String,
    /// pending, sent or failed.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// When it is tried next; null where it is not.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was sent or given up.
    pub finished_at: Option<Timestamp>,
    /// What was answered last.
    pub reply: Option<String>,
}

/// Which messages to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this operator.
    pub operator: Option<OperatorId>,
    /// About this incident.
    pub incident: Option<IncidentId>,
    /// In this state.
    pub state: Option<String>,
}

/// Messages that match, newest first, before the given one.
///
/// # Errors
/// What the database answers.
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
                Ok(Message {
                    id,
                    operator,
                    operator_name,
                    channel,
                    event: OperatorEvent::parse(&event).map_err(Error::internal)?,
                    incident,
                    title: facts.render("").title,
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

/// Stores a message by each way of an operator who wants it, unless one of this key is there.
///
/// # Errors
/// What the database answers.
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

/// The same for anything that a message can be about.
///
/// # Errors
/// What the database answers.
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

/// Tells an operator of an incident that opened: at most once a minute by each way. What opens in between goes into the
/// next message, which waits until the minute is over.
///
/// # Errors
/// What the database answers.
pub(super) fn put_opened(tx: &mut Tx<'_>, operator: &Operator, key: &str, facts: &Facts) -> Result<()> {
    let about = About::Incident(Box::new(facts.clone()));
    for channel in operator.ways() {
        let last: Option<(MessageId, String, String, i64, Timestamp)> = m::table
            .filter(m::operator_id.eq(operator.id.as_str()))
            .filter(m::channel.eq(channel))
            .filter(m::event.eq(facts.event.as_str()))
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
            // Somebody may be sending it just now.
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
        // A minute from when the last one was due at first: what it waited for since is not news.
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

/// When a message was due at first.
fn due_of(conn: &mut Conn, id: &MessageId) -> Result<Timestamp> {
    let expires: Timestamp = m::table.find(id.as_str()).select(m::expires_at).first(conn)?;
    Ok(expires.minus(LIFETIME))
}

/// Which of these keys a way of an operator has a message of, about an incident.
///
/// # Errors
/// What the database answers.
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

/// Brings what is known of people who were not reached into messages that were not tried yet.
///
/// # Errors
/// What the database answers.
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

/// A message to send.
#[derive(Clone)]
pub(super) struct Claimed {
    pub id: MessageId,
    pub lease: String,
    /// With this one.
    pub attempts: i64,
    pub about: About,
    /// None: they are gone, or hear nothing any more.
    pub operator: Option<Operator>,
    pub expires_at: Timestamp,
}

/// Whether a message of a way is due.
///
/// # Errors
/// What the database answers.
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

/// Claims messages of a way that are due. One that a process took and did not finish is due again after a while.
///
/// # Errors
/// What the database answers.
pub(super) fn claim(conn: &mut Conn, channel: &str, now: Timestamp, most: i64) -> Result<Vec<Claimed>> {
    let ids = dialect::due_messages(conn, channel, now, most)?;
    let mut claimed = Vec::with_capacity(ids.len());
    for id in ids {
        let lease = new_uuid(now).to_string();
        let (operator, facts, attempts, expires_at): (OperatorId, String, i64, Timestamp) =
            diesel::update(m::table.find(&id))
                .set((
                    m::lease.eq(Some(&lease)),
                    m::attempts.eq(m::attempts + 1),
                    m::next_attempt_at.eq(now.plus(LEASE)),
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

/// Makes a message due again that was claimed and not ended. Where the claim has ended in the meantime, another worker has it.
///
/// # Errors
/// What the database answers.
pub(super) fn give_back(conn: &mut Conn, claimed: &Claimed, now: Timestamp) -> Result<()> {
    diesel::update(
        m::table
            .find(claimed.id.as_str())
            .filter(m::lease.eq(&claimed.lease))
            .filter(m::state.eq("pending")),
    )
    .set((m::lease.eq(None::<String>), m::next_attempt_at.eq(now)))
    .execute(conn)?;
    Ok(())
}

/// Stores what came of an attempt. Where the claim has ended in the meantime, another worker's counts.
///
/// # Errors
/// What the database answers.
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
        ("failed", format!("given up: {reply}"))
    } else {
        (state, reply)
    };
    let over = state != "pending";
    let changed = diesel::update(
        m::table
            .find(claimed.id.as_str())
            .filter(m::lease.eq(&claimed.lease))
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
        // Not the reply: it may repeat an address.
        let event = Event::new(action, "message", claimed.id.as_str())
            .after(json!({"event": claimed.about.event(), "attempts": claimed.attempts}));
        tx.record(match claimed.about.incident() {
            Some(incident) => event.incident(incident),
            None => event,
        });
    }
    Ok(())
}
