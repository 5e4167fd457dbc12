//! What stays of a frozen recipient who was erased.
//!
//! Whoever shares the mailbox with the person keeps the email as it was, without the ID and the name of the person.

use std::collections::BTreeMap;

use diesel::prelude::*;

use super::compose::RecipientContext;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::language::Language;
use crate::db::Conn;
use crate::db::schema::erased_recipients as er;
use crate::directory::erased::is_placeholder;

/// The data of a frozen recipient without a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Without {
    /// The data of the recipient, as JSON.
    pub context: String,
    /// The ID of the person that stands in the recipient itself.
    pub person: String,
    /// The name that stands in the recipient itself.
    pub name: String,
    /// The IDs of the other people with the same mailbox. If there are none, nothing of the recipient is kept.
    pub others: Vec<String>,
}

/// Returns the IDs of the people of a recipient.
///
/// # Errors
/// `Internal` if the data cannot be read.
pub fn people_of(context: &str) -> Result<Vec<String>> {
    let context: RecipientContext = serde_json::from_str(context)?;
    Ok(context.people)
}

/// Returns the data of a recipient without the person with this ID and these names.
///
/// # Errors
/// `Internal` if the data cannot be read.
pub fn without(context: &str, id: &str, names: &[String], placeholder: &str) -> Result<Without> {
    let mut context: RecipientContext = serde_json::from_str(context)?;
    for person in &mut context.people {
        if person == id {
            placeholder.clone_into(person);
        }
    }
    let others: Vec<String> = context
        .people
        .iter()
        .filter(|person| !is_placeholder(person))
        .cloned()
        .collect();
    if others.is_empty() {
        context = emptied(context);
    } else {
        // The names of all people with the mailbox stand together.
        let kept: Vec<&str> = context
            .name
            .split(", ")
            .filter(|part| !names.iter().any(|name| name.as_str() == *part))
            .collect();
        context.name = kept.join(", ");
    }
    Ok(Without {
        person: context.people.first().cloned().unwrap_or_default(),
        name: context.name.clone(),
        context: serde_json::to_string(&context)?,
        others,
    })
}

/// Returns the data of a recipient of whom only the IDs of the people are kept.
///
/// # Errors
/// `Internal` if the data cannot be read.
pub fn without_personal_parts(context: &str) -> Result<String> {
    Ok(serde_json::to_string(&emptied(serde_json::from_str(context)?))?)
}

fn emptied(context: RecipientContext) -> RecipientContext {
    RecipientContext {
        name: String::new(),
        time_zone: None,
        resources: Vec::new(),
        more_resources: 0,
        what: String::new(),
        reason: String::new(),
        wrong_subject: None,
        values: BTreeMap::new(),
        recovery: None,
        language: Language::default(),
        second_language: None,
        ..context
    }
}

/// Returns whether personal data of a recipient was erased. Then the email cannot be shown as it was sent any more.
///
/// # Errors
/// An error of the database.
pub fn was_erased(conn: &mut Conn, notice: &NoticeId, ordinal: i64) -> Result<bool> {
    let erasures: i64 = er::table
        .filter(er::notice_id.eq(notice.as_str()))
        .filter(er::ordinal.eq(ordinal))
        .count()
        .get_result(conn)?;
    Ok(erasures > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = r#"{"people":["ann","bob"],"name":"Ann Lee, Bob","time_zone":null,"resources":[],"more_resources":0,"what":"files","reason":"owner"}"#;

    #[test]
    fn whoever_shares_the_mailbox_keeps_the_email() {
        let kept = without(SHARED, "ann", &["Ann Lee".to_owned()], "erased-1").unwrap();
        assert_eq!(kept.others, ["bob"]);
        assert_eq!((kept.person.as_str(), kept.name.as_str()), ("erased-1", "Bob"));
        assert!(kept.context.contains("files") && !kept.context.contains("Ann"));
        let none = without(&kept.context, "bob", &["Bob".to_owned()], "erased-2").unwrap();
        assert!(none.others.is_empty() && none.name.is_empty());
        assert!(!none.context.contains("files") && !none.context.contains("Bob"));
    }
}
