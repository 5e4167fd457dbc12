//! Operators: who is on call, how they are notified, and of which events.
//!
//! The URL of a webhook is never shown in full, because anybody who knows it can write into that channel.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::message::OperatorEvent;
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::given::given;
use crate::base::id::OperatorId;
use crate::base::sealed::{open, seal};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::operators as o;
use crate::delivery::ntfy::ntfy_topic;
use crate::directory::{address_mark, check_address};
use crate::egress::{Policy, check_url};
use crate::incident::Severity;

/// The channel for emails.
pub const EMAIL: &str = "email";
/// The channel for webhooks.
pub const WEBHOOK: &str = "webhook";

/// The largest number of operators.
const MAX: i64 = 200;

word_enum! {
    /// The format of a webhook.
    WebhookKind, "a kind of webhook" {
        /// An incoming webhook of Slack, or of a service with the same format (Mattermost, Rocket.Chat, the
        /// `/slack` URL of Discord).
        Slack = "slack",
        /// A webhook of Microsoft Teams that was created with Workflows.
        Teams = "teams",
        /// A topic of ntfy, on ntfy.sh or on another server.
        Ntfy = "ntfy",
        /// Any other service: JSON with the event, a title, a text and the incident.
        Generic = "generic",
    }
}

/// The webhook of an operator. In answers, the URL is cut after its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OperatorWebhook)]
pub struct Webhook {
    /// The format of the webhook.
    pub kind: WebhookKind,
    /// An HTTPS URL with a public address. `CANDOR_CALLOUT_ALLOW` configures exceptions. For ntfy, this is
    /// the URL of a topic.
    pub url: String,
}

/// A new operator. At least one of `email` and `webhook` is required.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    /// The name of a person or of an on-call rota.
    pub name: String,
    /// The email address of the operator.
    #[serde(default)]
    pub email: Option<String>,
    /// The webhook of the operator.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// The events that the operator is notified of. The default is all events.
    #[serde(default = "everything")]
    pub events: Vec<OperatorEvent>,
    /// The severities of incidents that the operator is notified of. The default is all severities.
    #[serde(default)]
    pub severities: Option<Vec<Severity>>,
    /// Whether the operator is notified at all. The default is true.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

fn everything() -> Vec<OperatorEvent> {
    OperatorEvent::ALL.to_vec()
}

fn enabled() -> bool {
    true
}

/// A change of an operator. Fields that are left out do not change, and null removes a value.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorPatch {
    /// The new name of the operator. It must not be empty and have at most 500 characters.
    pub name: Option<String>,
    /// The new email address. Null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub email: Option<Option<String>>,
    /// The new webhook. Null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Webhook>)]
    pub webhook: Option<Option<Webhook>>,
    /// The new list of events.
    pub events: Option<Vec<OperatorEvent>>,
    /// The new list of severities. Null means all severities.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<Severity>>)]
    pub severities: Option<Option<Vec<Severity>>>,
    /// Whether the operator is notified at all.
    pub enabled: Option<bool>,
}

/// An operator: a person or an on-call rota that is notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Operator {
    /// The ID of the operator.
    pub id: OperatorId,
    /// The name of the person or of the on-call rota.
    pub name: String,
    /// The email address of the operator.
    pub email: Option<String>,
    /// The webhook of the operator. The URL is cut after its host.
    pub webhook: Option<Webhook>,
    /// The events that the operator is notified of.
    pub events: Vec<OperatorEvent>,
    /// The severities of incidents that the operator is notified of. Null means all.
    pub severities: Option<Vec<Severity>>,
    /// Whether the operator is notified at all.
    pub enabled: bool,
    /// When the operator was created.
    pub created_at: Timestamp,
    /// When the operator was last changed.
    pub updated_at: Timestamp,
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = o)]
#[diesel(treat_none_as_default_value = false)]
struct OperatorRow {
    id: OperatorId,
    name: String,
    email: Option<String>,
    webhook_kind: Option<String>,
    webhook_url: Option<String>,
    events: String,
    severities: Option<String>,
    enabled: bool,
    gone_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Returns the stored events that this release knows. A newer release beside this one may have stored others, which this one
/// notifies nobody of.
fn known_events(stored: &str) -> Result<Vec<OperatorEvent>> {
    let words: Vec<String> = serde_json::from_str(stored)?;
    Ok(words
        .iter()
        .filter_map(|word| OperatorEvent::parse(word).ok())
        .collect())
}

impl OperatorRow {
    /// Returns the operator with the full URL of the webhook.
    fn whole(self) -> Result<Operator> {
        let webhook = match (self.webhook_kind, self.webhook_url) {
            (Some(kind), Some(url)) => Some(Webhook {
                kind: WebhookKind::parse(&kind).map_err(Error::internal)?,
                url: open(&url, &webhook_place(&self.id))?,
            }),
            _ => None,
        };
        Ok(Operator {
            id: self.id,
            name: self.name,
            email: self.email,
            webhook,
            events: known_events(&self.events)?,
            severities: self.severities.as_deref().map(serde_json::from_str).transpose()?,
            enabled: self.enabled,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }

    fn of(operator: &Operator) -> Result<OperatorRow> {
        Ok(OperatorRow {
            id: operator.id.clone(),
            name: operator.name.clone(),
            email: operator.email.clone(),
            webhook_kind: operator
                .webhook
                .as_ref()
                .map(|hook| hook.kind.as_str().to_owned()),
            webhook_url: operator
                .webhook
                .as_ref()
                .map(|hook| seal(&hook.url, &webhook_place(&operator.id)))
                .transpose()?,
            events: serde_json::to_string(&operator.events)?,
            severities: operator
                .severities
                .as_ref()
                .map(serde_json::to_string)
                .transpose()?,
            enabled: operator.enabled,
            gone_at: None,
            created_at: operator.created_at,
            updated_at: operator.updated_at,
        })
    }
}

/// Returns the place that the URL of an operator's webhook is encrypted for. Who knows such a URL can post in the channel.
fn webhook_place(id: &OperatorId) -> String {
    format!("operators.webhook_url/{id}")
}

/// Returns a URL without its path and everything after it, which can be secret.
fn origin(url: &str) -> String {
    url::Url::parse(url).map_or_else(
        |_| "…".to_owned(),
        |url| format!("{}/…", url.origin().ascii_serialization()),
    )
}

impl Operator {
    fn masked(mut self) -> Operator {
        if let Some(webhook) = &mut self.webhook {
            webhook.url = origin(&webhook.url);
        }
        self
    }

    /// Returns whether the operator is notified of this event.
    pub fn wants(&self, event: OperatorEvent, severity: Severity) -> bool {
        self.enabled
            && self.events.contains(&event)
            && self
                .severities
                .as_ref()
                .is_none_or(|severities| severities.contains(&severity))
    }

    /// Returns the channels of the operator.
    pub fn ways(&self) -> Vec<&'static str> {
        let mail = self.email.as_ref().map(|_| EMAIL);
        let hook = self.webhook.as_ref().map(|_| WEBHOOK);
        mail.into_iter().chain(hook).collect()
    }

    /// Returns the audited values of an operator. They show whether an address or a URL changed, but do not
    /// contain it.
    fn mark(&self) -> Value {
        json!({
            "name": self.name, "events": self.events, "severities": self.severities, "enabled": self.enabled,
            "email": self.email.as_deref().map(address_mark),
            "webhook": self.webhook.as_ref().map(|hook| json!({
                "kind": hook.kind, "origin": origin(&hook.url), "url": address_mark(&hook.url),
            })),
        })
    }

    /// Checks all fields, and normalises the URL of the webhook.
    fn check(&mut self, policy: Policy) -> Result<()> {
        let mut check = Check::default();
        check.name("/name", &self.name);
        if let Some(Err(detail)) = self.email.as_deref().map(check_address) {
            check.errors.push(FieldError::at("/email", detail));
        }
        if let Some(webhook) = &mut self.webhook {
            let checked = check_url(&webhook.url, policy).and_then(|url| {
                if webhook.kind == WebhookKind::Ntfy {
                    ntfy_topic(&url)?;
                }
                Ok(url)
            });
            match checked {
                Ok(url) => webhook.url = url.into(),
                Err(detail) => check.errors.push(FieldError::at("/webhook/url", detail)),
            }
        }
        if self.email.is_none() && self.webhook.is_none() {
            let detail = "is missing; an operator needs an email, a webhook, or both";
            check.errors.push(FieldError::at("/email", detail));
        }
        if self.events.is_empty() {
            let detail = "must not be an empty list; to send the operator nothing, set enabled to false";
            check.errors.push(FieldError::at("/events", detail));
        }
        for (index, event) in self.events.iter().enumerate() {
            if *event == OperatorEvent::Test {
                let detail = "cannot be chosen, because a test message is always sent";
                check
                    .errors
                    .push(FieldError::at(format!("/events/{index}"), detail));
            }
        }
        if self.severities.as_ref().is_some_and(Vec::is_empty) {
            let detail = "must not be an empty list; leave it out to mean any";
            check.errors.push(FieldError::at("/severities", detail));
        }
        check.finish()
    }
}

/// Creates an operator. `policy` decides which addresses a webhook may have.
///
/// # Errors
/// `Invalid` with one error for each wrong field. `Conflict` if there are already 200 operators.
pub fn create(tx: &mut Tx<'_>, new: NewOperator, policy: Policy) -> Result<Operator> {
    let mut operator = Operator {
        id: OperatorId::new(tx.now),
        name: new.name.trim().to_owned(),
        email: new.email,
        webhook: new.webhook,
        events: new.events,
        severities: new.severities,
        enabled: new.enabled,
        created_at: tx.now,
        updated_at: tx.now,
    };
    operator.check(policy)?;
    let held: i64 = o::table
        .filter(o::gone_at.is_null())
        .count()
        .get_result(tx.conn)?;
    if held >= MAX {
        return Err(Error::Conflict(format!(
            "there are already {MAX} operators, and no more are \
        allowed"
        ))
        .code(Code::LimitReached));
    }
    diesel::insert_into(o::table)
        .values(OperatorRow::of(&operator)?)
        .execute(tx.conn)?;
    tx.record(Event::new(Action::OperatorCreated, "operator", operator.id.as_str()).after(operator.mark()));
    Ok(operator.masked())
}

/// Returns the operator with the full URL of the webhook, for sending.
///
/// # Errors
/// `NotFound` if the operator does not exist or is deleted.
pub(super) fn whole(conn: &mut Conn, id: &OperatorId) -> Result<Operator> {
    let row: Option<OperatorRow> = o::table
        .find(id.as_str())
        .filter(o::gone_at.is_null())
        .first(conn)
        .optional()?;
    row.ok_or_else(|| Error::NotFound(format!("operator {id}")))?
        .whole()
}

/// Returns the operator with this ID.
///
/// # Errors
/// `NotFound` if the operator does not exist or is deleted.
pub fn get(conn: &mut Conn, id: &OperatorId) -> Result<Operator> {
    whole(conn, id).map(Operator::masked)
}

/// Returns all operators, oldest first.
pub fn list(conn: &mut Conn) -> Result<Vec<Operator>> {
    let rows: Vec<OperatorRow> = o::table.filter(o::gone_at.is_null()).order(o::id).load(conn)?;
    rows.into_iter()
        .map(|row| row.whole().map(Operator::masked))
        .collect()
}

/// Changes an operator.
///
/// # Errors
/// `NotFound` if the operator does not exist or is deleted. `Invalid` with one error for each wrong field.
pub fn change(tx: &mut Tx<'_>, id: &OperatorId, patch: OperatorPatch, policy: Policy) -> Result<Operator> {
    let before = whole(tx.conn, id)?;
    let mut after = Operator {
        name: patch
            .name
            .map_or(before.name.clone(), |name| name.trim().to_owned()),
        email: patch.email.unwrap_or(before.email.clone()),
        webhook: patch.webhook.unwrap_or(before.webhook.clone()),
        events: patch.events.unwrap_or(before.events.clone()),
        severities: patch.severities.unwrap_or(before.severities.clone()),
        enabled: patch.enabled.unwrap_or(before.enabled),
        updated_at: tx.now,
        ..before.clone()
    };
    after.check(policy)?;
    let row = OperatorRow::of(&after)?;
    diesel::update(o::table.find(id.as_str()))
        .set((
            o::name.eq(&row.name),
            o::email.eq(&row.email),
            o::webhook_kind.eq(&row.webhook_kind),
            o::webhook_url.eq(&row.webhook_url),
            o::events.eq(&row.events),
            o::severities.eq(&row.severities),
            o::enabled.eq(row.enabled),
            o::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::OperatorChanged, "operator", id.as_str())
            .before(before.mark())
            .after(after.mark()),
    );
    Ok(after.masked())
}

/// Deletes an operator with the email address and the webhook. Messages that wait for the operator are not
/// sent.
///
/// # Errors
/// `NotFound` if the operator does not exist or is already deleted.
pub fn delete(tx: &mut Tx<'_>, id: &OperatorId) -> Result<()> {
    let before = whole(tx.conn, id)?;
    diesel::update(o::table.find(id.as_str()))
        .set((
            o::gone_at.eq(Some(tx.now)),
            o::email.eq(None::<String>),
            o::webhook_url.eq(None::<String>),
            o::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::OperatorDeleted, "operator", id.as_str()).before(before.mark()));
    Ok(())
}
