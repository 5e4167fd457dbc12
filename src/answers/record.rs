//! Records answers that were not given by a link: on behalf of a person, and replies by email.

use diesel::prelude::*;
use serde::Deserialize;

use super::link::askings;
use super::list::{self, Answer};
use super::row::{self, Given};
use super::{AnsweredBy, Choice, MAX_TEXT};
use crate::audit::Tx;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{ExternalId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::schema::people as p;
use crate::incident;

/// An answer that an operator records on behalf of a person.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAnswer {
    /// The ID of the person in the directory.
    pub person: String,
    /// What the person answered.
    pub answer: Choice,
    /// What the person said, in plain text, with at most 4,000 characters.
    #[serde(default)]
    pub text: Option<String>,
    /// When the person answered. The default is now. The answer with the latest time counts.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// Checks the text of an answer and returns it with `\n` as line breaks and without white space around it.
///
/// # Errors
/// `Invalid` with the field, if the text is too long or contains a control character.
pub fn checked_text(text: &str) -> Result<String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = text.trim();
    if text.chars().count() > MAX_TEXT {
        let detail = format!("is longer than {MAX_TEXT} characters");
        return Err(Error::invalid("/text", detail));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err(Error::invalid("/text", "contains a control character"));
    }
    Ok(text.to_owned())
}

/// Records an answer on behalf of a person. `recorded_by` is the name of the operator's token.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` with each wrong field: the person is not in the directory, the time is in
/// the future, or the text is too long.
pub fn on_behalf(tx: &mut Tx<'_>, incident: &IncidentId, new: &NewAnswer) -> Result<Answer> {
    incident::get(tx.conn, incident)?;
    let mut errors = Vec::new();
    let known: Option<String> = match ExternalId::parse(&new.person) {
        Ok(_) => p::table
            .filter(p::id.eq(&new.person))
            .select(p::id)
            .first(tx.conn)
            .optional()?,
        Err(_) => None,
    };
    if known.is_none() {
        errors.push(FieldError::at(
            "/person",
            "the directory has no person with this ID",
        ));
    }
    if new.at.is_some_and(|at| at > tx.now) {
        errors.push(FieldError::at("/at", "must not be in the future"));
    }
    let text = match checked_text(new.text.as_deref().unwrap_or_default()) {
        Ok(text) => text,
        Err(Error::Invalid { errors: wrong, .. }) => {
            errors.extend(wrong);
            String::new()
        }
        Err(other) => return Err(other),
    };
    if !errors.is_empty() {
        return Err(Error::fields(errors));
    }
    let recorded_by = tx.actor.name().to_owned();
    let given = Given {
        incident,
        people: std::slice::from_ref(&new.person),
        address: "",
        notice: None,
        delivery: None,
        choice: Some(new.answer),
        text: &text,
        at: new.at.unwrap_or(tx.now),
        by: AnsweredBy::Token,
        recorded_by: Some(&recorded_by),
        feedback: None,
    };
    row::store(tx, &[given])?;
    list::last_stored(tx.conn, incident, &new.person)
}

/// Records a reply by email as an answer without a choice. It does nothing if the delivery is no email of a notice.
///
/// # Errors
/// An error of the database.
pub fn reply(tx: &mut Tx<'_>, delivery: i64, text: &str, feedback: i64) -> Result<()> {
    let Some(asking) = askings(tx.conn, &[delivery])?.remove(&delivery) else {
        return Ok(());
    };
    // Control characters are part of many emails, and the reply must not be lost because of one.
    let text: String = text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .take(MAX_TEXT)
        .collect();
    let given = Given {
        incident: &asking.incident,
        people: &asking.people,
        address: &asking.address,
        notice: Some(&asking.notice),
        delivery: Some(delivery),
        choice: None,
        text: text.trim(),
        at: tx.now,
        by: AnsweredBy::Reply,
        recorded_by: None,
        feedback: Some(feedback),
    };
    row::store(tx, &[given])
}
