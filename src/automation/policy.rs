//! Policies: which incidents they apply to, what they do, with which message, and within which limits.
//!
//! A policy that sends must have its own message and a largest audience.

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

/// The largest number of policies.
const MAX: i64 = 200;
/// The longest wait, in seconds.
const MAX_WAIT: u32 = 3_600;
/// The minutes between two notices of a policy about recoveries.
const EVERY: std::ops::RangeInclusive<u32> = 5..=1_440;
/// The largest position of a policy in the list of policies.
const MAX_POSITION: i64 = 1_000_000;

word_enum! {
    /// What a policy does.
    PolicyAction, "an action" {
        /// It does nothing. Later policies are not tried.
        Nothing = "nothing",
        /// It drafts a notice, which a person checks and sends.
        Draft = "draft",
        /// It sends a notice if the limits allow it. Otherwise the notice stays a draft.
        Send = "send",
    }
}

word_enum! {
    /// What a policy is about.
    #[derive(Default)]
    PolicyPhase, "what a policy is about" {
        /// An incident is opened or reopened. The policy writes a detection.
        #[default]
        Detection = "detection",
        /// Everything of people is restored. The policy writes a recovery to them.
        Recovery = "recovery",
    }
}

/// The content of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPolicy {
    /// The name of the policy. It is shown on timelines.
    pub name: String,
    /// What the policy is about. The default is `detection`.
    #[serde(default)]
    pub phase: PolicyPhase,
    /// For a policy about recoveries: the smallest number of minutes between two of its notices about one incident, 5 to 1440.
    #[serde(default)]
    pub every_minutes: Option<u32>,
    /// The position in the order in which policies are tried, from the lowest. If several have the same
    /// position, the oldest is tried first. If not set, the policy comes last.
    #[serde(default)]
    pub position: Option<i64>,
    /// Whether the policy is tried. The default is true.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// The policy applies to incidents that alerts of these integrations opened. If not set, it applies to
    /// all integrations, and to incidents that Candor itself opened. No policy about detections applies to an incident that a
    /// person opened.
    #[serde(default)]
    pub integrations: Option<Vec<IntegrationId>>,
    /// The policy applies to incidents with these severities. If not set, it applies to all severities.
    #[serde(default)]
    pub severities: Option<Vec<Severity>>,
    /// What the policy does.
    pub action: PolicyAction,
    /// The message to customers. Required for `draft` and `send`. It never contains a text from an alert.
    #[serde(default)]
    pub message: Option<String>,
    /// A subject for the emails, instead of the default subject.
    #[serde(default)]
    pub subject: Option<String>,
    /// Whether the customer must do something, and what.
    #[serde(default)]
    pub customer_action: Option<CustomerAction>,
    /// Which roles are notified. The default is the owners and all collaborators.
    #[serde(default)]
    pub audience: Option<Rule>,
    /// The limits within which the policy sends. Required for `send`.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Seconds between the opening of the incident, or the evidence that something is restored, and the action of the policy, 0 to
    /// 3600. In this time, more resources can become affected or restored. The default is 0.
    #[serde(default)]
    pub wait_seconds: u32,
}

fn enabled() -> bool {
    true
}

/// A policy as it is stored: its content, and its position among the policies.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Policy {
    /// The ID of the policy.
    pub id: PolicyId,
    /// The position in the order in which policies are tried.
    pub position: i64,
    /// The content of the policy.
    #[serde(flatten)]
    pub says: PolicySays,
    /// When the policy was created.
    pub created_at: Timestamp,
    /// When the policy was last changed.
    pub updated_at: Timestamp,
}

/// The content of a policy, without its position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PolicySays {
    /// The name of the policy. It is shown on timelines.
    pub name: String,
    /// What the policy is about.
    #[serde(default)]
    pub phase: PolicyPhase,
    /// The smallest number of minutes between two notices of a policy about recoveries about one incident. Null for other policies.
    #[serde(default)]
    pub every_minutes: Option<u32>,
    /// Whether the policy is tried.
    pub enabled: bool,
    /// The integrations whose incidents it applies to. Null means all.
    pub integrations: Option<Vec<IntegrationId>>,
    /// The severities that it applies to. Null means all.
    pub severities: Option<Vec<Severity>>,
    /// What the policy does.
    pub action: PolicyAction,
    /// The message to customers.
    pub message: Option<String>,
    /// The subject of the emails.
    pub subject: Option<String>,
    /// Whether the customer must do something, and what.
    pub customer_action: Option<CustomerAction>,
    /// Which roles are notified. Null means the owners and all collaborators.
    pub audience: Option<Rule>,
    /// The limits within which the policy sends.
    pub limits: Option<Limits>,
    /// Seconds between the opening of the incident and the action of the policy.
    pub wait_seconds: u32,
}

impl PolicySays {
    /// Returns the notice of the policy. None if it has no message.
    pub fn notice(&self) -> Option<NewNotice> {
        Some(NewNotice {
            phase: match self.phase {
                PolicyPhase::Detection => Phase::Detection,
                PolicyPhase::Recovery => Phase::Recovery,
            },
            corrects: None,
            acknowledge_impaired: false,
            translations: Default::default(),
            message: self.message.clone()?,
            subject: self.subject.clone(),
            headline: None,
            next_update_due_at: None,
            customer_action: self.customer_action.clone(),
            audience: self.audience.clone(),
        })
    }
}

impl From<NewPolicy> for PolicySays {
    fn from(new: NewPolicy) -> Self {
        PolicySays {
            name: new.name.trim().to_owned(),
            phase: new.phase,
            every_minutes: new.every_minutes,
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
struct PolicyRow {
    id: PolicyId,
    position: i64,
    enabled: bool,
    policy: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl PolicyRow {
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
    let every = match (new.phase, new.every_minutes) {
        (PolicyPhase::Detection, Some(_)) => {
            Some("must be left out: only a policy about recoveries has it".to_owned())
        }
        (PolicyPhase::Recovery, None) => {
            Some("is missing; write how many minutes are between two notices".to_owned())
        }
        (PolicyPhase::Recovery, Some(every)) if !EVERY.contains(&every) => Some(format!(
            "must be a whole number from {} to {}",
            EVERY.start(),
            EVERY.end()
        )),
        _ => None,
    };
    if let Some(detail) = every {
        check.errors.push(FieldError::at("/every_minutes", detail));
    }
    for (pointer, empty) in [
        (
            "/integrations",
            new.integrations.as_ref().is_some_and(Vec::is_empty),
        ),
        ("/severities", new.severities.as_ref().is_some_and(Vec::is_empty)),
    ] {
        if empty {
            let detail = "must not be an empty list; leave it out to mean any";
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
            let detail = "is not the ID of an integration";
            check
                .errors
                .push(FieldError::at(format!("/integrations/{index}"), detail));
        }
    }
    if let Some(limits) = &new.limits {
        check.errors.extend(limits.check("/limits"));
    }
    if new.action == PolicyAction::Send && new.limits.is_none() {
        let detail = "is missing; a policy that sends needs a limit, such as {\"audience_at_most\": 100}";
        check.errors.push(FieldError::at("/limits", detail));
    }
    let says = PolicySays::from(new.clone());
    match says.notice() {
        Some(words) => match notice::check_new(conn, &words) {
            Err(Error::Invalid { errors, .. }) => check.errors.extend(errors),
            other => other?,
        },
        None if new.action != PolicyAction::Nothing => {
            let detail = "is missing; write the message that customers get";
            check.errors.push(FieldError::at("/message", detail));
        }
        None => {}
    }
    check.finish()
}

/// Creates a policy.
///
/// # Errors
/// `Invalid` with one error for each wrong field. `Conflict` if there are already 200 policies.
pub fn create(tx: &mut Tx<'_>, new: NewPolicy) -> Result<Policy> {
    check(tx.conn, &new)?;
    let held: i64 = p::table.count().get_result(tx.conn)?;
    if held >= MAX {
        return Err(Error::Conflict(format!(
            "there are already {MAX} policies, and no more are \
        allowed"
        ))
        .code(Code::LimitReached));
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
        .values(PolicyRow {
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

/// Returns the policy with this ID.
///
/// # Errors
/// `NotFound` if no policy has this ID.
pub fn get(conn: &mut Conn, id: &PolicyId) -> Result<Policy> {
    let row: Option<PolicyRow> = p::table.find(id.as_str()).first(conn).optional()?;
    row.ok_or_else(|| Error::NotFound(format!("policy {id}")))?.view()
}

/// Returns all policies, in the order in which they are tried.
pub fn list(conn: &mut Conn) -> Result<Vec<Policy>> {
    let rows: Vec<PolicyRow> = p::table.order((p::position, p::created_at, p::id)).load(conn)?;
    rows.into_iter().map(PolicyRow::view).collect()
}

/// Returns the enabled policies about something, in the order in which they are tried.
pub fn tried(conn: &mut Conn, phase: PolicyPhase) -> Result<Vec<Policy>> {
    let rows: Vec<PolicyRow> = p::table
        .filter(p::enabled.eq(true))
        .order((p::position, p::created_at, p::id))
        .load(conn)?;
    let mut policies: Vec<Policy> = rows.into_iter().map(PolicyRow::view).collect::<Result<_>>()?;
    policies.retain(|policy| policy.says.phase == phase);
    Ok(policies)
}

/// Replaces the content of a policy.
///
/// # Errors
/// `NotFound` if the policy does not exist. `Invalid` with one error for each wrong field.
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

/// Deletes a policy. Runs that wait for it do nothing.
///
/// # Errors
/// `NotFound` if the policy does not exist.
pub fn delete(tx: &mut Tx<'_>, id: &PolicyId) -> Result<()> {
    let before = get(tx.conn, id)?;
    diesel::delete(p::table.find(id.as_str())).execute(tx.conn)?;
    tx.record(
        Event::new(Action::PolicyDeleted, "policy", id.as_str()).before(serde_json::to_value(&before)?),
    );
    Ok(())
}

/// Returns the IDs of the actors who created or changed a policy, because they wrote its content.
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
