//! Policies: which incidents they are for, what is done, in which words, and within which limits.
//!
//! Must never happen here: a policy that sends without words of its own, or without a largest audience.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::alert::integration;
use crate::audience::Rule;
use crate::audit::{Action, Event, Tx};
use crate::automation::limits::Limits;
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{IntegrationId, PolicyId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::automation_policies as p;
use crate::incident::Severity;
use crate::notice::template::Phase;
use crate::notice::{self, CustomerAction, NewNotice};

/// Policies at most.
const MOST: i64 = 200;
/// Longest wait, in seconds.
const MAX_WAIT: u32 = 3_600;
/// Largest position.
const MAX_POSITION: i64 = 1_000_000;

word_enum! {
    /// What a policy does about an incident that opens.
    PolicyAction, "an action" {
        /// Nothing: it keeps later policies from it.
        Nothing = "nothing",
        /// Drafts a detection for somebody to look at and send.
        Draft = "draft",
        /// Sends a detection, within the limits; outside them it is drafted.
        Send = "send",
    }
}

/// A policy to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPolicy {
    /// What people call it; the timeline names it.
    pub name: String,
    /// Policies are tried by position, from the lowest; among equals the oldest first. Unset: behind all others.
    #[serde(default)]
    pub position: Option<i64>,
    /// Whether it is tried; unset: true.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// For incidents that alerts of these integrations opened; unset: of any, and incidents that Candor opened by itself.
    /// An incident that somebody opened by hand is no policy's.
    #[serde(default)]
    pub integrations: Option<Vec<IntegrationId>>,
    /// For incidents of these severities; unset: of any.
    #[serde(default)]
    pub severities: Option<Vec<Severity>>,
    /// What is done.
    pub action: PolicyAction,
    /// What customers are told; required for `draft` and `send`. Nothing of an alert is ever in it.
    #[serde(default)]
    pub message: Option<String>,
    /// A subject of one's own.
    #[serde(default)]
    pub subject: Option<String>,
    /// What the customer has to do.
    #[serde(default)]
    pub customer_action: Option<CustomerAction>,
    /// Which roles are told; unset: owners and all collaborators.
    #[serde(default)]
    pub audience: Option<Rule>,
    /// Within which it sends; required for `send`.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Seconds from the opening until it acts, 0 to 3600: what is affected may still grow. Unset: 0.
    #[serde(default)]
    pub wait_seconds: u32,
}

fn enabled() -> bool {
    true
}

/// A policy, as shown.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Policy {
    /// Its id.
    pub id: PolicyId,
    /// Its place among the others.
    pub position: i64,
    /// What it says.
    #[serde(flatten)]
    pub says: PolicySays,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a policy says, beside its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PolicySays {
    /// What people call it.
    pub name: String,
    /// Whether it is tried.
    pub enabled: bool,
    /// Whose alerts; null: any.
    pub integrations: Option<Vec<IntegrationId>>,
    /// Which severities; null: any.
    pub severities: Option<Vec<Severity>>,
    /// What is done.
    pub action: PolicyAction,
    /// What customers are told.
    pub message: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// What the customer has to do.
    pub customer_action: Option<CustomerAction>,
    /// Which roles are told; null: owners and all collaborators.
    pub audience: Option<Rule>,
    /// Within which it sends.
    pub limits: Option<Limits>,
    /// Seconds until it acts.
    pub wait_seconds: u32,
}

impl PolicySays {
    /// The notice that it writes; none where it has no words.
    pub fn notice(&self) -> Option<NewNotice> {
        Some(NewNotice {
            phase: Phase::Detection,
            message: self.message.clone()?,
            subject: self.subject.clone(),
            customer_action: self.customer_action.clone(),
            audience: self.audience.clone(),
        })
    }
}

impl From<NewPolicy> for PolicySays {
    fn from(new: NewPolicy) -> Self {
        PolicySays {
            name: new.name.trim().to_owned(),
            enabled: new.enabled,
            integrations: new.integrations,
            severities: new.severities,
            action: new.action,
            message: new.message,
            subject: new.subject,
            customer_action: new.customer_action,
            audience: new.audience,
            limits: new.limits,
            wait_seconds: new.wait_seconds,
        }
    }
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = p)]
struct Row {
    id: PolicyId,
    position: i64,
    enabled: bool,
    policy: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Row {
    fn view(self) -> Result<Policy> {
        Ok(Policy {
            id: self.id,
            position: self.position,
            says: serde_json::from_str(&self.policy)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

fn check(conn: &mut Conn, new: &NewPolicy) -> Result<()> {
    let mut check = Check::default();
    check.name("/name", &new.name);
    if new.position.is_some_and(|at| !(0..=MAX_POSITION).contains(&at)) {
        let detail = format!("must be a whole number from 0 to {MAX_POSITION}");
        check.errors.push(FieldError::at("/position", detail));
    }
    if new.wait_seconds > MAX_WAIT {
        let detail = format!("must be a whole number from 0 to {MAX_WAIT}");
        check.errors.push(FieldError::at("/wait_seconds", detail));
    }
    for (pointer, empty) in [
        (
            "/integrations",
            new.integrations.as_ref().is_some_and(Vec::is_empty),
        ),
        ("/severities", new.severities.as_ref().is_some_and(Vec::is_empty)),
    ] {
        if empty {
            let detail = "is an empty list; leave it out to mean any";
            check.errors.push(FieldError::at(pointer, detail));
        }
    }
    for (index, id) in new.integrations.iter().flatten().enumerate() {
        let there = match integration::get(conn, id) {
            Ok(integration) => integration.gone_at.is_none(),
            Err(Error::NotFound(_)) => false,
            Err(error) => return Err(error),
        };
        if !there {
            let detail = "there is no integration of this id";
            check
                .errors
                .push(FieldError::at(format!("/integrations/{index}"), detail));
        }
    }
    if let Some(limits) = &new.limits {
        check.errors.extend(limits.check("/limits"));
    }
    if new.action == PolicyAction::Send && new.limits.is_none() {
        let detail = "a policy that sends says how many people at most: {\"audience_at_most\": n}";
        check.errors.push(FieldError::at("/limits", detail));
    }
    let says = PolicySays::from(new.clone());
    match says.notice() {
        Some(words) => match notice::check_new(conn, &words) {
            Err(Error::Invalid { errors, .. }) => check.errors.extend(errors),
            other => other?,
        },
        None if new.action != PolicyAction::Nothing => {
            let detail = "say what customers are told";
            check.errors.push(FieldError::at("/message", detail));
        }
        None => {}
    }
    check.finish()
}

/// Makes a policy.
///
/// # Errors
/// `Invalid`, field by field; `Conflict` where there are too many.
pub fn create(tx: &mut Tx<'_>, new: NewPolicy) -> Result<Policy> {
    check(tx.conn, &new)?;
    let held: i64 = p::table.count().get_result(tx.conn)?;
    if held >= MOST {
        return Err(Error::Conflict(format!("there are {MOST} policies already")).code(Code::LimitReached));
    }
    let position = match new.position {
        Some(position) => position,
        None => {
            let last: Option<i64> = p::table.select(diesel::dsl::max(p::position)).first(tx.conn)?;
            last.map_or(1, |last| (last + 1).min(MAX_POSITION))
        }
    };
    let id = PolicyId::new(tx.now);
    let says = PolicySays::from(new);
    diesel::insert_into(p::table)
        .values(Row {
            id: id.clone(),
            position,
            enabled: says.enabled,
            policy: serde_json::to_string(&says)?,
            created_at: tx.now,
            updated_at: tx.now,
        })
        .execute(tx.conn)?;
    let policy = get(tx.conn, &id)?;
    tx.record(Event::new(Action::PolicyCreated, "policy", id.as_str()).after(serde_json::to_value(&policy)?));
    Ok(policy)
}

/// The policy of that id.
///
/// # Errors
/// `NotFound`.
pub fn get(conn: &mut Conn, id: &PolicyId) -> Result<Policy> {
    let row: Option<Row> = p::table.find(id.as_str()).first(conn).optional()?;
    row.ok_or_else(|| Error::NotFound(format!("policy {id}")))?.view()
}

/// All policies, in the order in which they are tried. There are few.
///
/// # Errors
/// What the database answers.
pub fn list(conn: &mut Conn) -> Result<Vec<Policy>> {
    let rows: Vec<Row> = p::table.order((p::position, p::created_at, p::id)).load(conn)?;
    rows.into_iter().map(Row::view).collect()
}

/// Those that are tried.
///
/// # Errors
/// What the database answers.
pub fn tried(conn: &mut Conn) -> Result<Vec<Policy>> {
    let rows: Vec<Row> = p::table
        .filter(p::enabled.eq(true))
        .order((p::position, p::created_at, p::id))
        .load(conn)?;
    rows.into_iter().map(Row::view).collect()
}

/// Puts another policy in the place of one.
///
/// # Errors
/// `NotFound`; `Invalid`, field by field.
pub fn replace(tx: &mut Tx<'_>, id: &PolicyId, new: NewPolicy) -> Result<Policy> {
    let before = get(tx.conn, id)?;
    check(tx.conn, &new)?;
    let position = new.position.unwrap_or(before.position);
    let says = PolicySays::from(new);
    diesel::update(p::table.find(id.as_str()))
        .set((
            p::position.eq(position),
            p::enabled.eq(says.enabled),
            p::policy.eq(serde_json::to_string(&says)?),
            p::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    let after = get(tx.conn, id)?;
    tx.record(
        Event::new(Action::PolicyChanged, "policy", id.as_str())
            .before(serde_json::to_value(&before)?)
            .after(serde_json::to_value(&after)?),
    );
    Ok(after)
}

/// Deletes a policy. What waits for it is not done.
///
/// # Errors
/// `NotFound`.
pub fn delete(tx: &mut Tx<'_>, id: &PolicyId) -> Result<()> {
    let before = get(tx.conn, id)?;
    diesel::delete(p::table.find(id.as_str())).execute(tx.conn)?;
    tx.record(
        Event::new(Action::PolicyDeleted, "policy", id.as_str()).before(serde_json::to_value(&before)?),
    );
    Ok(())
}

/// The ids of whoever made or changed a policy: they wrote what it says.
///
/// # Errors
/// Database errors.
pub(super) fn authors(conn: &mut Conn, id: &PolicyId) -> Result<Vec<String>> {
    use crate::db::schema::audit_events as e;
    let actions = [Action::PolicyCreated.as_str(), Action::PolicyChanged.as_str()];
    Ok(e::table
        .filter(e::subject_id.eq(id.as_str()))
        .filter(e::action.eq_any(actions))
        .select(e::actor_id)
        .distinct()
        .load(conn)?)
}
