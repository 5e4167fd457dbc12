//! Next steps: tasks that follow from an incident, each with an owner and a due date. They remain after the
//! incident is resolved.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::check::finish;
use super::stored::get;
use crate::audit::{Action, Event, Tx};
use crate::base::check::check_text;
use crate::base::error::{Error, FieldError, Result};
use crate::base::given::given;
use crate::base::id::{IncidentId, NextStepId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::schema::{incidents as i, next_steps as n};

/// A new next step.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStep {
    /// The task, as text of at most 20,000 characters. It must not be empty.
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

/// A change of a next step. Fields that are left out do not change.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepPatch {
    /// Whether the step is done.
    #[serde(default)]
    pub done: Option<bool>,
    /// The new text of the task, of at most 20,000 characters. It must not be empty.
    #[serde(default)]
    pub text: Option<String>,
    /// The person or team that does it.
    #[serde(default)]
    pub owner: Option<String>,
    /// An HTTP or HTTPS URL where the task is tracked. Null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub link: Option<Option<String>>,
    /// The due date, for example `2024-04-30`. Null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub due_on: Option<Option<String>>,
}

/// A next step: a task that follows from an incident. It has an owner, and can have a due date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Queryable, Insertable, utoipa::ToSchema)]
#[diesel(table_name = n)]
#[diesel(treat_none_as_default_value = false)]
pub struct NextStep {
    /// The ID of the step.
    pub id: NextStepId,
    /// The incident that the step belongs to.
    #[serde(rename = "incident")]
    pub incident_id: IncidentId,
    /// The task, as it was last written.
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
    check(
        Some(&new.text),
        Some(&new.owner),
        new.link.as_deref(),
        new.due_on.as_deref(),
    )?;
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

fn check(text: Option<&str>, owner: Option<&str>, link: Option<&str>, due_on: Option<&str>) -> Result<()> {
    let mut errors = Vec::new();
    for (pointer, text) in [("/text", text), ("/owner", owner)] {
        if let Some(text) = text {
            if text.trim().is_empty() {
                errors.push(FieldError::at(pointer, "must not be empty"));
            }
            check_text(&mut errors, pointer, text);
        }
    }
    if let Some(link) = link {
        check_text(&mut errors, "/link", link);
        if !url::Url::parse(link).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            errors.push(FieldError::at("/link", "is not an http or https URL"));
        }
    }
    if let Some(due) = due_on
        && due.parse::<jiff::civil::Date>().is_err()
    {
        errors.push(FieldError::at("/due_on", "is not a date such as 2024-04-30"));
    }
    finish(errors)
}

/// Returns the step with this ID.
///
/// # Errors
/// `NotFound` if the step does not exist.
pub fn read(conn: &mut Conn, id: &NextStepId) -> Result<NextStep> {
    n::table
        .find(id.as_str())
        .first(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("next step {id}")))
}

/// Changes a step, or marks it as done or as open.
///
/// # Errors
/// `NotFound` if the step does not exist. `Conflict` if it already is in this state. `Invalid` with one error for each wrong field,
/// or if nothing is given.
pub fn change(tx: &mut Tx<'_>, id: &NextStepId, patch: &StepPatch) -> Result<NextStep> {
    let StepPatch {
        done,
        text,
        owner,
        link,
        due_on,
    } = patch;
    if done.is_none() && text.is_none() && owner.is_none() && link.is_none() && due_on.is_none() {
        return Err(Error::invalid("", "must contain at least one field"));
    }
    check(
        text.as_deref(),
        owner.as_deref(),
        link.iter().flatten().next().map(String::as_str),
        due_on.iter().flatten().next().map(String::as_str),
    )?;
    // All columns are written, so nobody else may change the step since it was read.
    let incident = read(tx.conn, id)?.incident_id;
    dialect::lock(tx.conn, Lock::Incident, incident.as_str())?;
    let before = read(tx.conn, id)?;
    if let Some(done) = *done
        && before.done_at.is_some() == done
    {
        return Err(Error::Conflict(format!(
            "the step is already {}",
            if done { "done" } else { "open" }
        )));
    }
    let trimmed = |new: &Option<String>, old: &String| match new {
        Some(new) => new.trim().to_owned(),
        None => old.clone(),
    };
    let step = NextStep {
        text: trimmed(text, &before.text),
        owner: trimmed(owner, &before.owner),
        link: link.clone().unwrap_or(before.link.clone()),
        due_on: due_on.clone().unwrap_or(before.due_on.clone()),
        done_at: match done {
            Some(true) => Some(tx.now),
            Some(false) => None,
            None => before.done_at,
        },
        updated_at: tx.now,
        ..before.clone()
    };
    diesel::update(n::table.find(id.as_str()))
        .set((
            n::text.eq(&step.text),
            n::owner.eq(&step.owner),
            n::link.eq(&step.link),
            n::due_on.eq(&step.due_on),
            n::done_at.eq(step.done_at),
            n::updated_at.eq(step.updated_at),
        ))
        .execute(tx.conn)?;
    // Only what the caller gave is in the event.
    let of = |step: &NextStep| {
        let mut said = serde_json::Map::new();
        if done.is_some() {
            said.insert("done_at".to_owned(), json!(step.done_at));
        }
        for (name, given, value) in [
            ("text", text.is_some(), json!(step.text)),
            ("owner", owner.is_some(), json!(step.owner)),
            ("link", link.is_some(), json!(step.link)),
            ("due_on", due_on.is_some(), json!(step.due_on)),
        ] {
            if given {
                said.insert(name.to_owned(), value);
            }
        }
        serde_json::Value::Object(said)
    };
    tx.record(
        Event::new(Action::NextStepChanged, "next_step", id.as_str())
            .incident(&step.incident_id)
            .before(of(&before))
            .after(of(&step)),
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

/// Returns the open steps that were due before a day such as `2024-04-30`, the one that is due longest first.
///
/// # Errors
/// An error of the database.
pub fn overdue(conn: &mut Conn, today: &str, limit: i64) -> Result<Vec<NextStep>> {
    Ok(n::table
        // The text is the same as in the partial index.
        .filter(sql::<Bool>("next_steps.done_at IS NULL AND next_steps.due_on IS NOT NULL"))
        .filter(n::due_on.lt(today))
        .order((n::due_on, n::id))
        .limit(limit)
        .load(conn)?)
}

/// A date after every due date. Steps without a date come last.
const NO_DATE: &str = "9999-12-31";

/// An open step with its incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct OpenStep {
    /// The fields of the step, which is not done yet.
    #[serde(flatten)]
    pub step: NextStep,
    /// The number of the incident.
    pub number: i64,
    /// The title of the incident.
    pub title: String,
}

impl OpenStep {
    /// Returns the place of the step in the list of all open steps.
    pub fn place(&self) -> (String, String) {
        let due = self.step.due_on.as_deref().unwrap_or(NO_DATE);
        (due.to_owned(), self.step.id.to_string())
    }
}

/// Returns the open steps of all incidents after a place, by due date: what is overdue comes first, and what has no date last.
/// With `owner`, only the steps of this owner.
///
/// # Errors
/// An error of the database.
pub fn open_by_due(
    conn: &mut Conn,
    owner: Option<&str>,
    after: Option<&(String, String)>,
    limit: i64,
) -> Result<Vec<OpenStep>> {
    use diesel::dsl::sql;
    use diesel::sql_types::{Bool, Text};
    // The expression is the same as in the index.
    const DUE: &str = "COALESCE(next_steps.due_on, '9999-12-31')";
    let mut query = n::table
        .inner_join(i::table.on(i::id.eq(n::incident_id)))
        .filter(n::done_at.is_null())
        .into_boxed::<crate::db::Backend>();
    if let Some(owner) = owner {
        query = query.filter(n::owner.eq(owner));
    }
    if let Some((due, id)) = after {
        query = query.filter(
            sql::<Bool>(&format!("({DUE} > "))
                .bind::<Text, _>(due.clone())
                .sql(&format!(" OR ({DUE} = "))
                .bind::<Text, _>(due.clone())
                .sql(" AND next_steps.id > ")
                .bind::<Text, _>(id.clone())
                .sql("))"),
        );
    }
    let rows: Vec<(NextStep, i64, String)> = query
        .order((sql::<Text>(DUE), n::id))
        .limit(limit)
        .select((n::all_columns, i::number, i::title))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(step, number, title)| OpenStep { step, number, title })
        .collect())
}
