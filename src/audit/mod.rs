//! The audit trail: who did what to which subject, when, and the state before and after. It is append-only,
//! and each event contains the hash of the event before.
//!
//! A change is made with a [`Tx`], which only [`Db::write`] provides. The events of a change are appended by
//! the last statements of its transaction. So no change is without its event, and the end of the chain is
//! locked only for a moment.
//!
//! - An error while an event is appended is never ignored. It fails the change.
//! - An event never contains an address or a secret.
//! - An event is never written outside the transaction of its change.

pub mod follow;
pub mod frozen;
pub mod idempotency;
mod trail;
mod verify;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::base::error::Result;
use crate::base::id::{IncidentId, TokenId};
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::many::insert_many;
use crate::db::schema::{audit_events, audit_head};
use crate::db::{Conn, Db, dialect};
pub use trail::{ActorView, EventView, Filter, SubjectView, list, page};
pub use verify::{Verification, record_attempts, verify};

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

macro_rules! actions {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// The action of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Action { $($variant),+ }

        impl Action {
            /// The text of every action, as the audit trail stores it.
            pub const ALL: &[&str] = &[$($text),+];

            /// Returns the action as it is stored and shown.
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
    AdminSignedOut = "admin.signed_out",
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
    EndpointCreated = "endpoint.created",
    EndpointDeleted = "endpoint.deleted",
    EndpointDisabled = "endpoint.disabled",
    EndpointEnabled = "endpoint.enabled",
    EndpointTested = "endpoint.tested",
    DirectoryImported = "directory.imported",
    SourceCreated = "source.created",
    SourceChanged = "source.changed",
    SourceDeleted = "source.deleted",
    SourceTested = "source.tested",
    SyncRequested = "sync.requested",
    SyncConfirmed = "sync.confirmed",
    SyncStopped = "sync.stopped",
    SyncFailed = "sync.failed",
    DirectorySynced = "directory.synced",
    CalloutAnswered = "callout.answered",
    CalloutFailed = "callout.failed",
    ReferencesResolved = "references.resolved",
    IntegrationCreated = "integration.created",
    IntegrationChanged = "integration.changed",
    IntegrationDeleted = "integration.deleted",
    HookRefused = "hook.refused",
    HookInvalid = "hook.invalid",
    HookIgnored = "hook.ignored",
    HookReplayed = "hook.replayed",
    HookSubscription = "hook.subscription",
    AlertRuleCreated = "alert_rule.created",
    AlertRuleChanged = "alert_rule.changed",
    AlertRuleDeleted = "alert_rule.deleted",
    AlertRulesOrdered = "alert_rules.ordered",
    SilenceCreated = "silence.created",
    SilenceEnded = "silence.ended",
    MaintenanceCreated = "maintenance_window.created",
    MaintenanceEnded = "maintenance_window.ended",
    AlertReceived = "alert.received",
    AlertRepeated = "alert.repeated",
    AlertResolved = "alert.resolved",
    PeopleSeen = "people.seen",
    PeopleIdentified = "people.identified",
    CheckCreated = "check.created",
    CheckChanged = "check.changed",
    CheckDeleted = "check.deleted",
    CheckState = "check.state",
    HeartbeatCreated = "heartbeat.created",
    HeartbeatChanged = "heartbeat.changed",
    HeartbeatDeleted = "heartbeat.deleted",
    HeartbeatState = "heartbeat.state",
    IncidentOpened = "incident.opened",
    IncidentChanged = "incident.changed",
    IncidentStatus = "incident.status",
    IncidentReopened = "incident.reopened",
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
    DeliveryBounced = "delivery.bounced",
    FeedbackReceived = "feedback.received",
    OptedOut = "address.opted_out",
    AddressSuppressed = "address.suppressed",
    SuppressionLifted = "address.suppression_lifted",
    PolicyCreated = "policy.created",
    PolicyChanged = "policy.changed",
    PolicyDeleted = "policy.deleted",
    AutomationWaits = "automation.waits",
    AutomationDecided = "automation.decided",
    OperatorCreated = "operator.created",
    OperatorChanged = "operator.changed",
    OperatorDeleted = "operator.deleted",
    OperatorTold = "operator.told",
    OperatorGivenUp = "operator.given_up",
    DatabaseRestored = "database.restored",
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
                if let Some(request) = &request {
                    crate::audit::idempotency::carried_out(conn, request)?;
                }
                let followed = events.iter().any(|(_, event)| follow::waited_for(event.action));
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
    /// Returns the SHA-256 hash of all fields and of the hash before, as one JSON array. This is unambiguous
    /// and easy to recompute with other tools.
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
        let mut row = Row {
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

/// The actions that do not influence anything that is computed from an audience. Delivery attempts influence
/// some of it and are checked separately.
const WITHOUT_INFLUENCE: &[Action] = &[
    Action::DeliveryAttempts,
    Action::AccessDenied,
    Action::AccessForbidden,
    Action::AdminSignedIn,
    Action::AdminSignedOut,
    Action::AlertRepeated,
    Action::HookRefused,
    Action::HookInvalid,
    Action::HookIgnored,
    Action::CheckState,
    Action::HeartbeatState,
    Action::PolicyCreated,
    Action::PolicyChanged,
    Action::PolicyDeleted,
    Action::OperatorCreated,
    Action::OperatorChanged,
    Action::OperatorDeleted,
    Action::OperatorTold,
    Action::OperatorGivenUp,
];

/// The actions that influence only their own incident.
const OF_ONE_INCIDENT: &[Action] = &[
    Action::AlertReceived,
    Action::AlertResolved,
    Action::PeopleSeen,
    Action::PeopleIdentified,
    Action::IncidentOpened,
    Action::IncidentChanged,
    Action::IncidentStatus,
    Action::IncidentReopened,
    Action::TimelineAdded,
    Action::AffectedAdded,
    Action::AffectedRemoved,
    Action::NextStepAdded,
    Action::NextStepChanged,
    Action::ReportWritten,
    Action::ReportPublished,
    Action::NoticeDrafted,
    Action::NoticeChanged,
    Action::NoticeApproved,
    Action::NoticeQueued,
    Action::NoticeExpanded,
    Action::NoticeStopped,
    Action::NoticeFinished,
    Action::DeliveryResent,
    Action::DeliveryBounced,
    Action::AutomationWaits,
    Action::AutomationDecided,
];

/// A position in the trail. A result that was computed from the database stays valid as long as this position
/// does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of the last event that can influence the result.
    pub change: i64,
    /// The number of the last event about delivery attempts.
    pub attempts: i64,
}

/// Returns the position in the trail for results that are computed from the audience of an incident.
///
/// # Errors
/// An error of the database.
pub fn mark(conn: &mut Conn, incident: &IncidentId) -> Result<Mark> {
    let words = |actions: &[Action]| actions.iter().map(|action| action.as_str()).collect::<Vec<_>>();
    let change: Option<i64> = audit_events::table
        .filter(audit_events::action.ne_all(words(WITHOUT_INFLUENCE)))
        .filter(
            audit_events::action
                .ne_all(words(OF_ONE_INCIDENT))
                .or(audit_events::incident_id.is_null())
                .or(audit_events::incident_id.eq(incident.as_str())),
        )
        .order(audit_events::seq.desc())
        .select(audit_events::seq)
        .first(conn)
        .optional()?;
    let attempts: Option<i64> = audit_events::table
        .filter(audit_events::action.eq(Action::DeliveryAttempts.as_str()))
        .order(audit_events::seq.desc())
        .select(audit_events::seq)
        .first(conn)
        .optional()?;
    Ok(Mark {
        change: change.unwrap_or_default(),
        attempts: attempts.unwrap_or_default(),
    })
}

fn rows_after(conn: &mut Conn, after: i64, limit: i64) -> Result<Vec<Row>> {
    Ok(audit_events::table
        .filter(audit_events::seq.gt(after))
        .order(audit_events::seq.asc())
        .limit(limit)
        .load(conn)?)
}
