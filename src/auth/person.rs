//! The person who uses a token. Tokens with the same person are one person wherever two people are needed.
//!
//! A token without a person is its own person. Upper and lower case and white space make no difference, so that nobody becomes
//! a second person by a different spelling. Revoked tokens keep their person.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::api_tokens as t;

/// The name of the token from the settings. All its versions are one person.
pub(super) const ADMIN_NAME: &str = "admin (from the settings)";
/// The largest length of a person, in characters.
const LONGEST: usize = 200;

/// A token as a part of a decision: who uses it, and whether it still counts.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The name of the token.
    pub name: String,
    /// The word of the role of the token.
    pub role: String,
    /// The person who uses the token, or the name of the token if no person is set.
    pub person: String,
    /// When the token was revoked.
    pub revoked_at: Option<Timestamp>,
    /// What is equal for all tokens of the person, and different for all others.
    pub key: String,
}

type HolderRow = (String, String, String, Option<Timestamp>, Option<String>);

/// Returns a person without white space around the text.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn check(person: &str) -> std::result::Result<String, String> {
    let person = person.trim();
    if person.is_empty() || person.chars().count() > LONGEST || person.chars().any(char::is_control) {
        return Err(format!("must be one line of 1 to {LONGEST} characters"));
    }
    Ok(person.to_owned())
}

/// Returns what is equal for all tokens of a person.
fn key(token: &str, name: &str, person: Option<&str>) -> String {
    match person.or((name == ADMIN_NAME).then_some(ADMIN_NAME)) {
        Some(person) => {
            let words: Vec<&str> = person.split_whitespace().collect();
            format!("person {}", words.join(" ").to_lowercase())
        }
        None => format!("token {token}"),
    }
}

/// Returns what is equal for all tokens of the person who uses this token. `None` if the token does not exist.
///
/// # Errors
/// An error of the database.
pub(super) fn key_of(conn: &mut Conn, token: &str) -> Result<Option<String>> {
    let row: Option<(String, Option<String>)> = t::table
        .find(token)
        .select((t::name, t::person))
        .first(conn)
        .optional()?;
    Ok(row.map(|(name, person)| key(token, &name, person.as_deref())))
}

/// Returns the holders of these tokens by the ID of the token. Tokens that were revoked are included.
///
/// # Errors
/// An error of the database.
pub fn holders(conn: &mut Conn, tokens: &[&str]) -> Result<HashMap<String, Holder>> {
    let mut found = HashMap::new();
    for chunk in tokens.chunks(500) {
        let rows: Vec<HolderRow> = t::table
            .filter(t::id.eq_any(chunk))
            .select((t::id, t::name, t::role, t::revoked_at, t::person))
            .load(conn)?;
        for (id, name, role, revoked_at, person) in rows {
            let holder = Holder {
                key: key(&id, &name, person.as_deref()),
                person: person.unwrap_or_else(|| name.clone()),
                name,
                role,
                revoked_at,
            };
            found.insert(id, holder);
        }
    }
    Ok(found)
}

/// Returns the IDs of all tokens of the person who uses this token, itself included. For an actor that is no token, it is the
/// ID alone.
///
/// # Errors
/// An error of the database.
pub fn tokens_of_person(conn: &mut Conn, token: &str) -> Result<Vec<String>> {
    let Some(own) = holders(conn, &[token])?.remove(token) else {
        return Ok(vec![token.to_owned()]);
    };
    // The spelling of a person is compared here and not in the database, because the two databases do not agree on upper and
    // lower case.
    let named: Vec<(String, String, Option<String>)> = t::table
        .filter(t::person.is_not_null().or(t::name.eq(ADMIN_NAME)))
        .select((t::id, t::name, t::person))
        .load(conn)?;
    let mut tokens: Vec<String> = named
        .into_iter()
        .filter(|(id, name, person)| key(id, name, person.as_deref()) == own.key)
        .map(|(id, _, _)| id)
        .collect();
    if !tokens.iter().any(|id| id == token) {
        tokens.push(token.to_owned());
    }
    Ok(tokens)
}
