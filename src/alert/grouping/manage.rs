//! Creates, changes, orders and deletes alert rules.
//!
//! Every rule has a position, no two rules share one, and every change has an audit event.

use diesel::prelude::*;
use serde_json::{Value, json};

use super::rule::{AlertRule, AlertRuleRow, NewAlertRule};
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::AlertRuleId;
use crate::db::schema::alert_rules as r;
use crate::db::{Conn, dialect};

/// The number of alert rules that can exist at the same time.
const MAX: i64 = 500;

fn mark(rule: &AlertRule) -> Value {
    json!({
        "name": rule.name, "position": rule.position, "integration": rule.integration, "matchers": rule.matchers,
        "group_by": rule.group_by, "severity": rule.severity, "resources": rule.resources, "policy": rule.policy,
        "reopen_within": rule.reopen_within,
    })
}

/// Checks an alert rule without storing it.
///
/// # Errors
/// `Invalid` with one error for each wrong field.
pub fn check(conn: &mut Conn, new: &NewAlertRule) -> Result<()> {
    let mut check = Check::default();
    new.check(conn, &mut check, "")?;
    check.finish()
}

/// Creates an alert rule at the last position.
///
/// # Errors
/// `Invalid` with one error for each wrong field. `Conflict` if there are already 500 rules.
pub fn create(tx: &mut Tx<'_>, new: &NewAlertRule) -> Result<AlertRule> {
    check(tx.conn, new)?;
    // The lock ensures that two requests at the same time do not get the same position. Each change of the rules
    // takes it first: a change of several rows must not wait for one that waits for the counter of the changes.
    dialect::lock_intake(tx.conn)?;
    let (held, last): (i64, Option<i64>) = (
        r::table
            .filter(r::gone_at.is_null())
            .count()
            .get_result(tx.conn)?,
        r::table
            .filter(r::gone_at.is_null())
            .select(diesel::dsl::max(r::position))
            .first(tx.conn)?,
    );
    if held >= MAX {
        return Err(Error::Conflict(format!(
            "there are already {MAX} alert rules, and no more are \
        allowed"
        ))
        .code(Code::LimitReached));
    }
    let rule = new.tried(AlertRuleId::new(tx.now), last.unwrap_or(0) + 1, tx.now);
    diesel::insert_into(r::table)
        .values((
            r::id.eq(rule.id.as_str()),
            r::position.eq(rule.position),
            r::name.eq(&rule.name),
            r::integration_id.eq(&rule.integration),
            r::matchers.eq(serde_json::to_string(&rule.matchers)?),
            r::group_by.eq(serde_json::to_string(&rule.group_by)?),
            r::severity.eq(serde_json::to_string(&rule.severity)?),
            r::resources.eq(serde_json::to_string(&rule.resources)?),
            r::policy.eq(rule.policy.as_str()),
            r::reopen_within.eq(rule.reopen_within),
            r::created_at.eq(tx.now),
            r::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::AlertRuleCreated, "alert_rule", rule.id.as_str()).after(mark(&rule)));
    Ok(rule)
}

/// Returns the alert rule with this ID, even if it is deleted.
///
/// # Errors
/// `NotFound` if no rule has this ID.
pub fn get(conn: &mut Conn, id: &AlertRuleId) -> Result<AlertRule> {
    r::table
        .find(id.as_str())
        .first::<AlertRuleRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("rule {id}")))?
        .view()
}

/// Returns the alert rules that are not deleted, in order, after the given position.
pub fn list(conn: &mut Conn, after: Option<i64>, limit: i64) -> Result<Vec<AlertRule>> {
    r::table
        .filter(r::gone_at.is_null())
        .filter(r::position.gt(after.unwrap_or(0)))
        .order((r::position, r::id))
        .limit(limit)
        .load::<AlertRuleRow>(conn)?
        .into_iter()
        .map(AlertRuleRow::view)
        .collect()
}

fn existing(tx: &mut Tx<'_>, id: &AlertRuleId) -> Result<AlertRule> {
    let rule = get(tx.conn, id)?;
    if rule.gone_at.is_some() {
        return Err(Error::NotFound(format!("rule {id}")));
    }
    Ok(rule)
}

/// Replaces the content of an alert rule. The rule keeps its position, and its groups keep their incidents.
///
/// # Errors
/// `NotFound` if the rule does not exist or is deleted. `Invalid` with one error for each wrong field.
pub fn replace(tx: &mut Tx<'_>, id: &AlertRuleId, new: &NewAlertRule) -> Result<AlertRule> {
    dialect::lock_intake(tx.conn)?;
    let before = existing(tx, id)?;
    check(tx.conn, new)?;
    let after = AlertRule {
        created_at: before.created_at,
        ..new.tried(id.clone(), before.position, tx.now)
    };
    diesel::update(r::table.find(id.as_str()))
        .set((
            r::name.eq(&after.name),
            r::integration_id.eq(&after.integration),
            r::matchers.eq(serde_json::to_string(&after.matchers)?),
            r::group_by.eq(serde_json::to_string(&after.group_by)?),
            r::severity.eq(serde_json::to_string(&after.severity)?),
            r::resources.eq(serde_json::to_string(&after.resources)?),
            r::policy.eq(after.policy.as_str()),
            r::reopen_within.eq(after.reopen_within),
            r::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::AlertRuleChanged, "alert_rule", id.as_str())
            .before(mark(&before))
            .after(mark(&after)),
    );
    Ok(after)
}

/// Deletes an alert rule. The alerts that it placed stay in their incidents and still name this rule.
///
/// # Errors
/// `NotFound` if the rule does not exist or is already deleted.
pub fn delete(tx: &mut Tx<'_>, id: &AlertRuleId) -> Result<()> {
    dialect::lock_intake(tx.conn)?;
    let before = existing(tx, id)?;
    diesel::update(r::table.find(id.as_str()))
        .set((r::gone_at.eq(Some(tx.now)), r::updated_at.eq(tx.now)))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::AlertRuleDeleted, "alert_rule", id.as_str()).before(mark(&before)));
    Ok(())
}

/// Puts the alert rules into the given order.
///
/// # Errors
/// `Invalid` if the list does not contain each rule exactly once.
pub fn order(tx: &mut Tx<'_>, ids: &[AlertRuleId]) -> Result<Vec<AlertRule>> {
    dialect::lock_intake(tx.conn)?;
    let before = list(tx.conn, None, MAX)?;
    let mut errors = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let at = format!("/rules/{index}");
        if !before.iter().any(|rule| rule.id == *id) {
            errors.push(FieldError::at(at, "is not the ID of an alert rule"));
        } else if ids[..index].contains(id) {
            errors.push(FieldError::at(at, "is listed twice"));
        }
    }
    let missing: Vec<&str> = before
        .iter()
        .filter(|rule| !ids.contains(&rule.id))
        .map(|rule| rule.id.as_str())
        .collect();
    if !missing.is_empty() {
        let detail = format!(
            "must list every alert rule; these are missing: {}",
            missing.join(", ")
        );
        errors.push(FieldError::at("/rules", detail));
    }
    if !errors.is_empty() {
        return Err(Error::fields(errors));
    }
    for (position, id) in (1_i64..).zip(ids) {
        diesel::update(r::table.find(id.as_str()))
            .set(r::position.eq(position))
            .execute(tx.conn)?;
    }
    tx.record(
        Event::new(Action::AlertRulesOrdered, "alert_rules", "alert_rules")
            .before(json!(before.iter().map(|rule| &rule.id).collect::<Vec<_>>()))
            .after(json!(ids)),
    );
    list(tx.conn, None, MAX)
}
