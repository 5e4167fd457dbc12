//! Operators: who is on call, how they are reached, and what they want to hear.
//!
//! Must never happen here: a webhook's URL that is shown whole. Whoever knows it can write into that channel.

use diesel::prelude::*;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::message::OperatorEvent;
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::OperatorId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::operators as o;
use crate::directory::{address_mark, check_address};
use crate::egress::{Policy, check_url};
use crate::incident::Severity;

/// Operators at most.
const MOST: i64 = 200;

word_enum! {
    /// How a webhook is spoken to.
    WebhookKind, "a kind of webhook" {
        /// An incoming webhook of Slack, or of what speaks as Slack does (Mattermost, Rocket.Chat, Discord's `/slack`).
        Slack = "slack",
        /// A webhook of Microsoft Teams, as its Workflows make it.
        Teams = "teams",
        /// A topic of ntfy, on ntfy.sh or elsewhere.
        Ntfy = "ntfy",
        /// Anything: JSON with the event, a title, a text and the incident.
        Generic = "generic",
    }
}

/// A webhook of an operator. Where it is shown, the URL is cut after its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OperatorWebhook)]
pub struct Webhook {
    /// How it is spoken to.
    pub kind: WebhookKind,
    /// Where to: https, a public address (`CANDOR_CALLOUT_ALLOW`). Of ntfy the URL of a topic.
    pub url: String,
}

/// An operator to make. At least one of `email` and `webhook` is needed.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    /// What people call them: a person, or a rota.
    pub name: String,
    /// Where they are mailed.
    #[serde(default)]
    pub email: Option<String>,
    /// Where else they hear.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// What they hear of; unset: everything.
    #[serde(default = "everything")]
    pub events: Vec<OperatorEvent>,
    /// Of incidents of these severities; unset: of any.
    #[serde(default)]
    pub severities: Option<Vec<Severity>>,
    /// Whether they hear anything; unset: true.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

fn everything() -> Vec<OperatorEvent> {
    OperatorEvent::ALL.to_vec()
}

fn enabled() -> bool {
    true
}

/// A change of an operator; what is left out stays, and null takes away.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorPatch {
    /// What people call them.
    pub name: Option<String>,
    /// Where they are mailed; null: nowhere.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub email: Option<Option<String>>,
    /// Where else they hear; null: nowhere.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Webhook>)]
    pub webhook: Option<Option<Webhook>>,
    /// What they hear of.
    pub events: Option<Vec<OperatorEvent>>,
    /// Of which severities; null: of any.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<Severity>>)]
    pub severities: Option<Option<Vec<Severity>>>,
    /// Whether they hear anything.
    pub enabled: Option<bool>,
}

/// A field that is there, null or not.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// An operator, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Operator {
    /// Their id.
    pub id: OperatorId,
    /// What people call them.
    pub name: String,
    /// Where they are mailed.
    pub email: Option<String>,
    /// Where else they hear; the URL is cut after its host.
    pub webhook: Option<Webhook>,
    /// What they hear of.
    pub events: Vec<OperatorEvent>,
    /// Of which severities; null: of any.
    pub severities: Option<Vec<Severity>>,
    /// Whether they hear anything.
    pub enabled: bool,
    /// When they were made.
    pub created_at: Timestamp,
    /// When they were last changed.
    pub updated_at: Timestamp,
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = o)]
#[diesel(treat_none_as_default_value = false)]
struct Row {
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

impl Row {
    /// The operator, with the whole URL.
    fn whole(self) -> Result<Operator> {
        let webhook = match (self.webhook_kind, self.webhook_url) {
            (Some(kind), Some(url)) => Some(Webhook {
                kind: WebhookKind::parse(&kind).map_err(Error::internal)?,
                url,
            }),
            _ => None,
        };
        Ok(Operator {
            id: self.id,
            name: self.name,
            email: self.email,
            webhook,
            events: serde_json::from_str(&self.events)?,
            severities: self.severities.as_deref().map(serde_json::from_str).transpose()?,
            enabled: self.enabled,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }

    fn of(operator: &Operator) -> Result<Row> {
        Ok(Row {
            id: operator.id.clone(),
            name: operator.name.clone(),
            email: operator.email.clone(),
            webhook_kind: operator
                .webhook
                .as_ref()
                .map(|hook| hook.kind.as_str().to_owned()),
            webhook_url: operator.webhook.as_ref().map(|hook| hook.url.clone()),
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

/// A URL without what may be secret in it: its path and what follows.
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

    /// Whether they want to hear of this.
    pub fn wants(&self, event: OperatorEvent, severity: Severity) -> bool {
        self.enabled
            && self.events.contains(&event)
            && self
                .severities
                .as_ref()
                .is_none_or(|severities| severities.contains(&severity))
    }

    /// The ways by which they hear.
    pub fn ways(&self) -> Vec<&'static str> {
        let mail = self.email.as_ref().map(|_| super::outbox::EMAIL);
        let hook = self.webhook.as_ref().map(|_| super::outbox::WEBHOOK);
        mail.into_iter().chain(hook).collect()
    }

    /// What the audit trail holds: whether an address or a URL changed, and not what it is.
    fn mark(&self) -> Value {
        json!({
            "name": self.name, "events": self.events, "severities": self.severities, "enabled": self.enabled,
            "email": self.email.as_deref().map(address_mark),
            "webhook": self.webhook.as_ref().map(|hook| json!({
                "kind": hook.kind, "origin": origin(&hook.url), "url": address_mark(&hook.url),
            })),
        })
    }

    /// Checks all of it, and gives the webhook's URL its normal form.
    fn check(&mut self, policy: Policy) -> Result<()> {
        let mut check = Check::default();
        check.name("/name", &self.name);
        if let Some(Err(detail)) = self.email.as_deref().map(check_address) {
            check.errors.push(FieldError::at("/email", detail));
        }
        if let Some(webhook) = &mut self.webhook {
            let checked = check_url(&webhook.url, policy).and_then(|url| {
                if webhook.kind == WebhookKind::Ntfy {
                    super::webhook::ntfy_topic(&url)?;
                }
                Ok(url)
            });
            match checked {
                Ok(url) => webhook.url = url.into(),
                Err(detail) => check.errors.push(FieldError::at("/webhook/url", detail)),
            }
        }
        if self.email.is_none() && self.webhook.is_none() {
            let detail = "an operator is reached by an email, a webhook, or both";
            check.errors.push(FieldError::at("/email", detail));
        }
        if self.events.is_empty() {
            let detail = "is an empty list; set enabled to false to tell them nothing";
            check.errors.push(FieldError::at("/events", detail));
        }
        if self.severities.as_ref().is_some_and(Vec::is_empty) {
            let detail = "is an empty list; leave it out to mean any";
            check.errors.push(FieldError::at("/severities", detail));
        }
        check.finish()
    }
}

/// Makes an operator; `policy` says where a webhook may be.
///
/// # Errors
/// `Invalid`, field by field; `Conflict` where there are too many.
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
    if held >= MOST {
        return Err(Error::Conflict(format!("there are {MOST} operators already")).code(Code::LimitReached));
    }
    diesel::insert_into(o::table)
        .values(Row::of(&operator)?)
        .execute(tx.conn)?;
    tx.record(Event::new(Action::OperatorCreated, "operator", operator.id.as_str()).after(operator.mark()));
    Ok(operator.masked())
}

/// The operator, with the whole URL of their webhook: for sending.
///
/// # Errors
/// `NotFound`, also where they are gone.
pub(super) fn whole(conn: &mut Conn, id: &OperatorId) -> Result<Operator> {
    let row: Option<Row> = o::table
        .find(id.as_str())
        .filter(o::gone_at.is_null())
        .first(conn)
        .optional()?;
    row.ok_or_else(|| Error::NotFound(format!("operator {id}")))?
        .whole()
}

/// The operator of that id.
///
/// # Errors
/// `NotFound`.
pub fn get(conn: &mut Conn, id: &OperatorId) -> Result<Operator> {
    whole(conn, id).map(Operator::masked)
}

/// All operators, by their age. There are few.
///
/// # Errors
/// What the database answers.
pub fn list(conn: &mut Conn) -> Result<Vec<Operator>> {
    let rows: Vec<Row> = o::table.filter(o::gone_at.is_null()).order(o::id).load(conn)?;
    rows.into_iter()
        .map(|row| row.whole().map(Operator::masked))
        .collect()
}

/// Changes what is given.
///
/// # Errors
/// `NotFound`; `Invalid`, field by field.
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
    let row = Row::of(&after)?;
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

/// Ends an operator, and forgets how they were reached. What waits for them is not sent.
///
/// # Errors
/// `NotFound`.
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
