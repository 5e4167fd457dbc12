//! Next steps: tasks that follow from an incident, each with an owner and a due date. They remain after the
//! incident is resolved.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::check::finish;
use super::stored::get;
use crate::audit::{Action, Event, Tx};
use crate::base::check::check_text;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{IncidentId, NextStepId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::next_steps as n;

/// A new next step.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStep {
    /// The task.
    pub text: String,
    /// The person or team that does it.
    pub owner: String,
    /// An HTTP or HTTPS URL where the task is tracked.
    #[serde(default)]
    pub link: Option<String>,
    /// The due date, for example `2024-04-30`.
    #[serde(default)]
    pub due_on: Option<String>,
}

/// A change of a next step.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepPatch {
    /// Whether the step is done.
    pub done: bool,
}

/// A next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Queryable, Insertable, utoipa::ToSchema)]
#[diesel(table_name = n)]
#[diesel(treat_none_as_default_value = false)]
pub struct NextStep {
    /// The ID of the step.
    pub id: NextStepId,
    /// The incident that the step belongs to.
    #[serde(rename = "incident")]
    pub incident_id: IncidentId,
    /// The task.
    pub text: String,
    /// The person or team that does it.
    pub owner: String,
    /// An HTTP or HTTPS URL where the task is tracked.
    pub link: Option<String>,
    /// The due date, for example `2024-04-30`.
    pub due_on: Option<String>,
    /// When the step was done. Null while it is open.
    pub done_at: Option<Timestamp>,
    /// When the step was added.
    pub created_at: Timestamp,
    /// When the step was last changed.
    pub updated_at: Timestamp,
}

/// Adds a step to an incident, which can be resolved.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` with one error for each wrong field.
pub fn add(tx: &mut Tx<'_>, incident: &IncidentId, new: &NewStep) -> Result<NextStep> {
    let mut errors = Vec::new();
    for (pointer, text) in [("/text", &new.text), ("/owner", &new.owner)] {
        if text.trim().is_empty() {
            errors.push(FieldError::at(pointer, "must not be empty"));
        }
        check_text(&mut errors, pointer, text);
    }
    if let Some(link) = &new.link {
        check_text(&mut errors, "/link", link);
    }
    if let Some(link) = &new.link
        && !url::Url::parse(link).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    {
        errors.push(FieldError::at("/link", "is not an http or https URL"));
    }
    if let Some(due) = &new.due_on
        && due.parse::<jiff::civil::Date>().is_err()
    {
        errors.push(FieldError::at("/due_on", "is not a date such as 2024-04-30"));
    }
    finish(errors)?;
    get(tx.conn, incident)?;
    let step = NextStep {
        id: NextStepId::new(tx.now),
        incident_id: incident.clone(),
        text: new.text.trim().to_owned(),
        owner: new.owner.trim().to_owned(),
        link: new.link.clone(),
        due_on: new.due_on.clone(),
        done_at: None,
        created_at: tx.now,
        updated_at: tx.now,
    };
    diesel::insert_into(n::table).values(&step).execute(tx.conn)?;
    tx.record(
        Event::new(Action::NextStepAdded, "next_step", step.id.as_str())
            .incident(incident)
            .after(json!({"text": step.text, "owner": step.owner, "link": step.link, "due_on": step.due_on})),
    );
    Ok(step)
}

/// Marks a step as done or as open.
///
/// # Errors
/// `NotFound` if the step does not exist. `Conflict` if it already is in this state.
pub fn change(tx: &mut Tx<'_>, id: &NextStepId, patch: &StepPatch) -> Result<NextStep> {
    let mut step: NextStep = n::table
        .find(id.as_str())
        .first(tx.conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("next step {id}")))?;
    if step.done_at.is_some() == patch.done {
        return Err(Error::Conflict(format!(
            "the step is already {}",
            if patch.done { "done" } else { "open" }
        )));
    }
    let before = json!({"done_at": step.done_at});
    step.done_at = patch.done.then_some(tx.now);
    step.updated_at = tx.now;
    diesel::update(n::table.find(id.as_str()))
        .set((n::done_at.eq(step.done_at), n::updated_at.eq(step.updated_at)))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::NextStepChanged, "next_step", id.as_str())
            .incident(&step.incident_id)
            .before(before)
            .after(json!({"done_at": step.done_at})),
    );
    Ok(step)
}

/// Returns the steps after the given ID, oldest first. The filters select one incident, and open or done
/// steps.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(
    conn: &mut Conn,
    incident: Option<&IncidentId>,
    done: Option<bool>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<NextStep>> {
    let mut query = n::table.into_boxed::<crate::db::Backend>();
    if let Some(incident) = incident {
        get(conn, incident)?;
        query = query.filter(n::incident_id.eq(incident.as_str()));
    }
    match done {
        Some(true) => query = query.filter(n::done_at.is_not_null()),
        Some(false) => query = query.filter(n::done_at.is_null()),
        None => {}
    }
    if let Some(after) = after {
        query = query.filter(n::id.gt(after));
    }
    Ok(query.order(n::id).limit(limit).load(conn)?)
}
