//! What people chose themselves: their language and their time zone. A choice takes precedence over what the directory says, and no
//! import and no sync changes it.

use std::collections::HashMap;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{accounts as a, members as m, people as p, person_choices as c};

/// What a person chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PersonChoices)]
pub struct Choices {
    /// A language tag, such as `de`. `None`: what the directory says.
    pub locale: Option<String>,
    /// An IANA time zone. `None`: what the directory says.
    pub time_zone: Option<String>,
}

/// The language and the time zone that apply to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The language of the texts that Candor writes.
    pub language: Language,
    /// The IANA time zone, if any is known.
    pub time_zone: Option<String>,
}

/// Returns what a person chose. `person` is the key of the person.
///
/// # Errors
/// An error of the database.
pub fn of(conn: &mut Conn, person: i64) -> Result<Choices> {
    let stored: Option<(Option<String>, Option<String>)> = c::table
        .find(person)
        .select((c::locale, c::time_zone))
        .first(conn)
        .optional()?;
    let (locale, time_zone) = stored.unwrap_or_default();
    Ok(Choices { locale, time_zone })
}

/// Returns the time zones that these people chose, by their IDs.
///
/// # Errors
/// An error of the database.
pub fn time_zones(conn: &mut Conn, people: &[&str]) -> Result<HashMap<String, String>> {
    let mut found = HashMap::new();
    for chunk in people.chunks(500) {
        let rows: Vec<(String, Option<String>)> = c::table
            .inner_join(p::table)
            .filter(p::id.eq_any(chunk))
            .filter(c::time_zone.is_not_null())
            .select((p::id, c::time_zone))
            .load(conn)?;
        found.extend(rows.into_iter().filter_map(|(id, zone)| Some((id, zone?))));
    }
    Ok(found)
}

/// Returns what applies to a person: what the person chose, what the directory says of the person, or what it says of the first account
/// of the person that says something.
///
/// # Errors
/// An error of the database.
pub fn applied(conn: &mut Conn, person: i64) -> Result<Applied> {
    let chosen = of(conn, person)?;
    let (locale, time_zone): (Option<String>, Option<String>) = p::table
        .find(person)
        .select((p::locale, p::time_zone))
        .first(conn)?;
    let mut locale = chosen.locale.or(locale);
    let mut time_zone = chosen.time_zone.or(time_zone);
    if locale.is_none() || time_zone.is_none() {
        let accounts: Vec<(Option<String>, Option<String>)> = m::table
            .inner_join(a::table)
            .filter(m::person_key.eq(person))
            .filter(m::gone_at.is_null())
            .filter(a::gone_at.is_null())
            .order(a::key)
            .select((a::locale, a::time_zone))
            .limit(20)
            .load(conn)?;
        for (of_account, zone) in accounts {
            locale = locale.or(of_account);
            time_zone = time_zone.or(zone);
        }
    }
    Ok(Applied {
        language: locale
            .as_deref()
            .and_then(Language::of_tag)
            .unwrap_or(Language::En),
        time_zone,
    })
}

/// Replaces what a person chose. Returns whether anything changed.
///
/// # Errors
/// `Invalid` with one error for each wrong field. `NotFound` if the person is archived.
pub fn choose(tx: &mut Tx<'_>, person: i64, new: &Choices) -> Result<bool> {
    let mut check = Check::default();
    check.locale("/locale", new.locale.as_deref());
    check.time_zone("/time_zone", new.time_zone.as_deref());
    check.finish()?;
    let id: String = p::table
        .find(person)
        .filter(p::gone_at.is_null())
        .select(p::id)
        .first(tx.conn)
        .optional()?
        .ok_or_else(|| Error::NotFound("this person".to_owned()))?;
    let before = of(tx.conn, person)?;
    if before == *new {
        return Ok(false);
    }
    let row = (
        c::person_key.eq(person),
        c::locale.eq(new.locale.clone()),
        c::time_zone.eq(new.time_zone.clone()),
        c::updated_at.eq(tx.now),
    );
    on_backend!(&mut *tx.conn, conn => diesel::insert_into(c::table)
        .values(&row)
        .on_conflict(c::person_key)
        .do_update()
        .set((
            c::locale.eq(new.locale.clone()),
            c::time_zone.eq(new.time_zone.clone()),
            c::updated_at.eq(tx.now),
        ))
        .execute(conn))?;
    tx.record(
        Event::new(Action::PersonChose, "person", id)
            .before(json!(before))
            .after(json!(new)),
    );
    Ok(true)
}
