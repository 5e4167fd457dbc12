//! The audit trail: who did what, to which subject, when, before and after. Append-only, each event
//! holding the hash of the one before.
//!
//! A change is made through a [`Tx`], which only [`Db::write`] gives out. Events that are recorded on it are
//! appended as the last statements of the same transaction, so that no change is without its event and the
//! end of the chain is locked only for a moment.
//!
//! Must never happen here: a swallowed error (it fails the change), an address or a secret in an event,
//! or an event written outside the transaction of its change.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::db::schema::{audit_events, audit_head, delivery_attempts};
use crate::db::{Conn, Db, dialect};
use crate::error::{Error, Result};
use crate::id::{IncidentId, TokenId};
use crate::time::Timestamp;

/// Who acts.
#[derive(Clone, Debug)]
pub struct Actor {
    kind: &'static str,
    id: String,
    name: String,
    /// The idempotency key of the request, marked as carried out in the same transaction as its change.
    request: Option<String>,
}

impl Actor {
    /// An API token.
    pub fn token(id: &TokenId, name: &str) -> Self {
        Actor {
            kind: "token",
            id: id.to_string(),
            name: name.to_owned(),
            request: None,
        }
    }

    /// Candor itself; `part` says which part of it.
    pub fn system(part: &str) -> Self {
        Actor {
            kind: "system",
            id: part.to_owned(),
            name: part.to_owned(),
            request: None,
        }
    }

    /// An integration, by its hook.
    pub fn integration(id: &str, name: &str) -> Self {
        Actor {
            kind: "integration",
            id: id.to_owned(),
            name: name.to_owned(),
            request: None,
        }
    }

    /// Somebody who did not say who they are.
    pub fn anonymous() -> Self {
        Actor {
            kind: "anonymous",
            id: "anonymous".to_owned(),
            name: "anonymous".to_owned(),
            request: None,
        }
    }

    /// The same actor, acting under an idempotency key.
    pub fn for_request(mut self, key_id: String) -> Self {
        self.request = Some(key_id);
        self
    }

    /// The actor's id: a token's, an integration's, or the part of the system.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The actor's name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }
}

macro_rules! actions {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Action { $($variant),+ }

        impl Action {
            /// Every action, as text.
            pub const ALL: &[&str] = &[$($text),+];

            /// The action as stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Action::$variant => $text),+ }
            }
        }
    };
}

actions! {
    AccessDenied = "access.denied",
    AccessForbidden = "access.forbidden",
    AdminSignedIn = "admin.signed_in",
    TokenCreated = "token.created",
    TokenRevoked = "token.revoked",
    AccountPut = "account.put",
    AccountDeleted = "account.deleted",
    PersonPut = "person.put",
    PersonDeleted = "person.deleted",
    ResourcePut = "resource.put",
    ResourceDeleted = "resource.deleted",
    MemberPut = "member.put",
    MemberDeleted = "member.deleted",
    CollaboratorPut = "collaborator.put",
    CollaboratorDeleted = "collaborator.deleted",
    DirectoryImported = "directory.imported",
    IntegrationCreated = "integration.created",
    IntegrationDeleted = "integration.deleted",
    HookRefused = "hook.refused",
    HookInvalid = "hook.invalid",
    AlertReceived = "alert.received",
    AlertRepeated = "alert.repeated",
    AlertResolved = "alert.resolved",
    IncidentOpened = "incident.opened",
    IncidentChanged = "incident.changed",
    IncidentStatus = "incident.status",
    TimelineAdded = "timeline.added",
    AffectedAdded = "affected.added",
    AffectedRemoved = "affected.removed",
    NextStepAdded = "next_step.added",
    NextStepChanged = "next_step.changed",
    ReportWritten = "report.written",
    ReportPublished = "report.published",
    TemplateSaved = "template.saved",
    TemplateReset = "template.reset",
    NoticeDrafted = "notice.drafted",
    NoticeChanged = "notice.changed",
    NoticeApproved = "notice.approved",
    NoticeQueued = "notice.queued",
    NoticeExpanded = "notice.expanded",
    NoticeStopped = "notice.stopped",
    NoticeFinished = "notice.finished",
    DeliveryAttempts = "delivery.attempts",
    DeliveryResent = "delivery.resent",
    OptedOut = "address.opted_out",
    DatabaseRestored = "database.restored",
}

/// One thing that was done, about to be recorded.
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
    /// `action` on the subject of that type and id.
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

    /// The incident it belongs to.
    pub fn incident(mut self, id: &IncidentId) -> Self {
        self.incident = Some(id.to_string());
        self
    }

    /// How it was before.
    pub fn before(mut self, value: impl Into<Value>) -> Self {
        self.before = Some(value.into());
        self
    }

    /// How it is now.
    pub fn after(mut self, value: impl Into<Value>) -> Self {
        self.after = Some(value.into());
        self
    }
}

/// A write transaction: the connection, the actor, the time, and the events to append at its end.
pub struct Tx<'a> {
    /// The connection, for diesel.
    pub conn: &'a mut Conn,
    /// The present, the same throughout the transaction.
    pub now: Timestamp,
    /// Who acts.
    pub actor: Actor,
    events: Vec<Event>,
}

impl Tx<'_> {
    /// Records what was done. It is stored with the change, or neither is.
    pub fn record(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl Db {
    /// Runs `work` in one write transaction and appends the events that it recorded.
    ///
    /// # Errors
    /// What `work` answers, or what the database refuses; then nothing is stored.
    pub async fn write<T, F>(&self, actor: &Actor, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let actor = actor.clone();
        let now = self.clock().now();
        self.transaction(move |conn| {
            let mut tx = Tx {
                conn,
                now,
                actor,
                events: Vec::new(),
            };
            let value = work(&mut tx)?;
            let Tx {
                conn, actor, events, ..
            } = tx;
            if let Some(request) = &actor.request {
                crate::idempotency::carried_out(conn, request)?;
            }
            append(conn, &actor, now, events)?;
            Ok(value)
        })
        .await
    }
}

#[derive(Clone, Debug, Insertable, Queryable)]
#[diesel(table_name = audit_events)]
#[diesel(treat_none_as_default_value = false)]
struct Row {
    seq: i64,
    at: Timestamp,
    actor_kind: String,
    actor_id: String,
    actor_name: String,
    action: String,
    subject_type: String,
    subject_id: String,
    incident_id: Option<String>,
    before_json: Option<String>,
    after_json: Option<String>,
    prev_hash: String,
    hash: String,
}

impl Row {
    /// SHA-256 over every field and the hash before, as one JSON array: unambiguous, and easy to recompute elsewhere.
    fn compute_hash(&self) -> Result<String> {
        let fields = serde_json::to_vec(&(
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
        ))?;
        Ok(hex(&Sha256::digest(&fields)))
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn append(conn: &mut Conn, actor: &Actor, now: Timestamp, events: Vec<Event>) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let (mut seq, mut prev_hash) = dialect::audit_head(conn)?;
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        seq += 1;
        let mut row = Row {
            seq,
            at: now,
            actor_kind: actor.kind.to_owned(),
            actor_id: actor.id.clone(),
            actor_name: actor.name.clone(),
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
    for chunk in rows.chunks(500) {
        dialect::on_backend!(conn, c => diesel::insert_into(audit_events::table).values(chunk).execute(c))?;
    }
    diesel::update(audit_head::table.find(1))
        .set((audit_head::seq.eq(seq), audit_head::hash.eq(prev_hash)))
        .execute(conn)?;
    Ok(())
}

/// An event, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct EventView {
    /// Position in the chain, from 1, without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: ActorView,
    /// What was done, e.g. `incident.status`.
    pub action: String,
    /// On what.
    pub subject: SubjectView,
    /// The incident it belongs to.
    pub incident: Option<String>,
    /// How it was.
    pub before: Option<Value>,
    /// How it is now.
    pub after: Option<Value>,
    /// Hash of the event before.
    pub prev_hash: String,
    /// Hash of this event.
    pub hash: String,
}

/// Who acted, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ActorView {
    /// token, integration, system or anonymous.
    pub kind: String,
    /// Id of the token or integration, or the part of the system.
    pub id: String,
    /// Its name at that time.
    pub name: String,
}

/// What was acted on, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SubjectView {
    /// incident, notice, account, …
    #[serde(rename = "type")]
    pub type_: String,
    /// Its id.
    pub id: String,
}

impl From<Row> for EventView {
    fn from(row: Row) -> Self {
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

/// Which events to list. Every field that is given narrows.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Filter {
    /// Of this incident.
    pub incident: Option<IncidentId>,
    /// By the actor of this id or name.
    pub actor: Option<String>,
    /// Of this action.
    pub action: Option<String>,
    /// On the subject of this id, or `type/id`.
    pub subject: Option<String>,
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
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

/// A filter that names what never was is an error: an empty answer would look like "nobody did anything".
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
                return Err(Error::invalid(name, "no event was ever recorded for it"));
            }
        }
    }
    Ok(())
}

/// Events that match, newest first, before the given position.
///
/// # Errors
/// `Invalid` where the filter names an action, actor, subject or incident that never was.
pub fn list(conn: &mut Conn, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<EventView>> {
    check_known(conn, filter)?;
    let mut query = filtered(filter)?;
    if let Some(before) = before {
        query = query.filter(audit_events::seq.lt(before));
    }
    let rows: Vec<Row> = query.order(audit_events::seq.desc()).limit(limit).load(conn)?;
    Ok(rows.into_iter().map(EventView::from).collect())
}

/// Events in the order of the chain, after the given position; for the export.
pub fn page(conn: &mut Conn, after: i64, limit: i64) -> Result<Vec<EventView>> {
    Ok(rows_after(conn, after, limit)?
        .into_iter()
        .map(EventView::from)
        .collect())
}

fn rows_after(conn: &mut Conn, after: i64, limit: i64) -> Result<Vec<Row>> {
    Ok(audit_events::table
        .filter(audit_events::seq.gt(after))
        .order(audit_events::seq.asc())
        .limit(limit)
        .load(conn)?)
}

/// The result of walking the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Verification {
    /// Whether everything holds.
    pub ok: bool,
    /// Events seen.
    pub events: i64,
    /// Hash of the last event.
    pub head: String,
    /// The first event that does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<i64>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Walks the whole chain: every hash, the order, the head, and the delivery attempts against the digests of their events.
///
/// # Errors
/// Only what the database answers; a broken chain is a result, not an error.
pub fn verify(conn: &mut Conn) -> Result<Verification> {
    const STEP: i64 = 1_000;
    let (head_seq, head_hash) = {
        let head: (i64, i64, String) = audit_head::table.first(conn)?;
        (head.1, head.2)
    };
    let mut last = (0_i64, "0".repeat(64));
    let mut attempts = 0_i64;
    let broken = |events, head: String, at, reason: String| Verification {
        ok: false,
        events,
        head,
        broken_at: Some(at),
        reason: Some(reason),
    };
    loop {
        let rows = rows_after(conn, last.0, STEP)?;
        let count = rows.len();
        for row in rows {
            let expected = last.0 + 1;
            if row.seq != expected {
                return Ok(broken(
                    last.0,
                    last.1,
                    expected,
                    format!("event {expected} is missing"),
                ));
            }
            if row.prev_hash != last.1 {
                return Ok(broken(
                    last.0,
                    last.1,
                    row.seq,
                    "it does not continue the event before".to_owned(),
                ));
            }
            if row.compute_hash()? != row.hash {
                return Ok(broken(
                    last.0,
                    last.1,
                    row.seq,
                    "its content is not what its hash says".to_owned(),
                ));
            }
            if row.action == Action::DeliveryAttempts.as_str() {
                match check_attempts(conn, row.after_json.as_deref())? {
                    Ok(count) => attempts += count,
                    Err(reason) => return Ok(broken(last.0, last.1, row.seq, reason)),
                }
            }
            last = (row.seq, row.hash);
        }
        if (count as i64) < STEP {
            break;
        }
    }
    if last != (head_seq, head_hash) {
        let at = last.0 + 1;
        return Ok(broken(
            last.0,
            last.1,
            at,
            "the chain's end is not the recorded head".to_owned(),
        ));
    }
    let stored: i64 = delivery_attempts::table.count().get_result(conn)?;
    if stored != attempts {
        let reason = format!("{stored} delivery attempts are stored, {attempts} were recorded");
        return Ok(broken(last.0, last.1.clone(), last.0 + 1, reason));
    }
    Ok(Verification {
        ok: true,
        events: last.0,
        head: last.1,
        broken_at: None,
        reason: None,
    })
}

/// What the event of one batch of attempts says about them.
#[derive(Serialize, Deserialize)]
struct AttemptsDigest {
    batch: String,
    count: i64,
    digest: String,
}

fn check_attempts(conn: &mut Conn, after: Option<&str>) -> Result<std::result::Result<i64, String>> {
    let Some(said) = after.and_then(|text| serde_json::from_str::<AttemptsDigest>(text).ok()) else {
        return Ok(Err("it does not say which attempts it covers".to_owned()));
    };
    let (count, digest) = digest_attempts(conn, &said.batch)?;
    if count != said.count || digest != said.digest {
        return Ok(Err(
            "the delivery attempts of its batch are not those that were recorded".to_owned(),
        ));
    }
    Ok(Ok(count))
}

fn digest_attempts(conn: &mut Conn, batch: &str) -> Result<(i64, String)> {
    use delivery_attempts as d;
    let rows: Vec<(i64, i64, Timestamp, String, String)> = d::table
        .filter(d::batch.eq(batch))
        .order((d::delivery_id, d::attempt))
        .select((d::delivery_id, d::attempt, d::at, d::outcome, d::reply))
        .load(conn)?;
    let mut hasher = Sha256::new();
    for (delivery, attempt, at, outcome, reply) in &rows {
        hasher.update(serde_json::to_vec(&(
            delivery,
            attempt,
            at.as_micros(),
            outcome,
            reply,
        ))?);
        hasher.update(b"\n");
    }
    Ok((rows.len() as i64, hex(&hasher.finalize())))
}

/// The event for a batch of attempts that this transaction has just stored.
///
/// # Errors
/// What the database answers.
pub fn record_attempts(tx: &mut Tx<'_>, batch: &str) -> Result<()> {
    let (count, digest) = digest_attempts(tx.conn, batch)?;
    let after = serde_json::to_value(AttemptsDigest {
        batch: batch.to_owned(),
        count,
        digest,
    })?;
    tx.record(Event::new(Action::DeliveryAttempts, "batch", batch).after(after));
    Ok(())
}
