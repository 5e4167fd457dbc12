//! People: who can be notified.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::erased::{self, MarkOf, Marks};
use super::write::BATCH;
use super::{Archived, check_address, normal_address, stored_address};
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;
use crate::db::schema::people as p;
use crate::db::{Conn, Statement, bulk};

/// The content of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonInput {
    /// The name of the person.
    pub name: String,
    /// The email address of the person: one address such as `ann@example.com`, without a name. An
    /// international domain is stored in its ASCII form (`xn--…`). If it is empty, the person is shown as
    /// unreachable.
    pub email: String,
    /// A language tag, for example `en`.
    #[serde(default)]
    pub locale: Option<String>,
    /// An IANA time zone. It takes precedence over the time zone of the account.
    #[serde(default)]
    pub time_zone: Option<String>,
}

impl PersonInput {
    pub(crate) fn check(&self, check: &mut Check) {
        check.name("/name", &self.name);
        if !self.email.trim().is_empty()
            && let Err(detail) = check_address(&self.email)
        {
            check.errors.push(FieldError::at("/email", detail));
        }
        check.locale("/locale", self.locale.as_deref());
        check.time_zone("/time_zone", self.time_zone.as_deref());
    }
}

/// A person of the directory, who can be notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Person {
    /// The caller's ID of the person.
    pub id: String,
    /// The name of the person.
    pub name: String,
    /// The email address. Empty if none is known.
    pub email: String,
    /// A language tag, for example `en`.
    pub locale: Option<String>,
    /// An IANA time zone, for example `Africa/Nairobi`.
    pub time_zone: Option<String>,
    /// When the person was archived. Null if the person is not archived.
    pub gone_at: Option<Timestamp>,
    /// When the person was created.
    pub created_at: Timestamp,
    /// When the person was last written.
    pub updated_at: Timestamp,
}

#[derive(Queryable)]
struct PersonRow {
    _key: i64,
    id: String,
    name: String,
    email: String,
    locale: Option<String>,
    time_zone: Option<String>,
    gone_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<PersonRow> for Person {
    fn from(row: PersonRow) -> Self {
        Person {
            id: row.id,
            name: row.name,
            email: row.email,
            locale: row.locale,
            time_zone: row.time_zone,
            gone_at: row.gone_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Returns the person with this ID, even if archived.
///
/// # Errors
/// `NotFound` if no person has this ID.
pub fn get(conn: &mut Conn, id: &str) -> Result<Person> {
    p::table
        .filter(p::id.eq(id))
        .first::<PersonRow>(conn)
        .optional()?
        .map(Person::from)
        .ok_or_else(|| Error::NotFound(format!("person '{id}'")))
}

/// Returns the people with these IDs, including archived ones, by ID. An ID that is unknown is left out.
///
/// # Errors
/// An error of the database.
pub fn among(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, Person>> {
    let mut found = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(BATCH) {
        let rows: Vec<PersonRow> = p::table.filter(p::id.eq_any(chunk)).load(conn)?;
        let people = rows.into_iter().map(Person::from);
        found.extend(people.map(|person| (person.id.clone(), person)));
    }
    Ok(found)
}

/// Returns the keys of the people with these IDs, including archived ones, and of the people with these
/// addresses who are not archived. The addresses must be in their normal form ([`normal_address`]). If
/// several people have the same address, the one who was stored first is returned, because they share the
/// mailbox.
pub(crate) fn known(conn: &mut Conn, ids: &[&str], addresses: &[&str]) -> Result<KnownPeople> {
    #[derive(QueryableByName)]
    struct AddressRow {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        key: i64,
        #[diesel(sql_type = diesel::sql_types::Text)]
        id: String,
        #[diesel(sql_type = diesel::sql_types::Text)]
        email: String,
    }
    let mut known = KnownPeople::default();
    for chunk in ids.chunks(BATCH) {
        let rows: Vec<(String, i64, Option<Timestamp>)> = p::table
            .filter(p::id.eq_any(chunk))
            .select((p::id, p::key, p::gone_at))
            .load(conn)?;
        for (id, key, gone_at) in rows {
            if gone_at.is_some() {
                known.archived.insert(key);
            }
            known.by_id.insert(id, key);
        }
    }
    for chunk in addresses.chunks(BATCH) {
        let mut statement = Statement::default();
        // The expression is the same as in the index.
        statement.push("SELECT key, id, email FROM people WHERE gone_at IS NULL AND LOWER(email) IN (");
        for (index, address) in chunk.iter().enumerate() {
            if index > 0 {
                statement.push(",");
            }
            statement.text(address);
        }
        statement.push(") ORDER BY key DESC");
        let rows: Vec<AddressRow> = statement.finish().load(conn)?;
        for row in rows {
            let address = normal_address(&row.email);
            let other = known.by_address.insert(address.clone(), row.key);
            if other.is_some_and(|other| other != row.key) {
                known.shared.insert(address.clone());
            }
            known.id_by_address.insert(address, row.id);
        }
    }
    Ok(known)
}

/// Returns the ID of the person with this key.
pub(crate) fn id_of(conn: &mut Conn, key: i64) -> Result<String> {
    Ok(p::table.find(key).select(p::id).first(conn)?)
}

/// The result of [`known`].
#[derive(Debug, Default)]
pub(crate) struct KnownPeople {
    pub by_id: HashMap<String, i64>,
    /// The keys of those in `by_id` who are archived.
    pub archived: HashSet<i64>,
    pub by_address: HashMap<String, i64>,
    /// The IDs of those in `by_address`.
    pub id_by_address: HashMap<String, String>,
    /// The addresses that several people have.
    pub shared: HashSet<String>,
}

/// A person who was created or changed since a time.
pub(crate) struct Learnt {
    pub key: i64,
    pub id: String,
    pub email: String,
}

/// Returns the people who are not archived and were written at or after `since`, ordered by key, after the
/// given key.
pub(crate) fn learnt(conn: &mut Conn, since: Timestamp, after: i64, limit: i64) -> Result<Vec<Learnt>> {
    let rows: Vec<(i64, String, String)> = p::table
        .filter(p::key.gt(after))
        .filter(p::updated_at.ge(since))
        .filter(p::gone_at.is_null())
        .order(p::key)
        .limit(limit)
        .select((p::key, p::id, p::email))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(key, id, email)| Learnt { key, id, email })
        .collect())
}

/// Returns the people after the given ID, ordered by ID. With `email`, only the people with this mailbox are
/// returned, in any spelling.
pub fn list(
    conn: &mut Conn,
    gone: Archived,
    email: Option<&str>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Person>> {
    let mut query = p::table.into_boxed::<crate::db::Backend>();
    if gone == Archived::Hidden {
        query = query.filter(p::gone_at.is_null());
    }
    if let Some(email) = email {
        // The expression is the same as in the index.
        query = query.filter(
            diesel::dsl::sql::<diesel::sql_types::Bool>("LOWER(email) = ")
                .bind::<diesel::sql_types::Text, _>(normal_address(email)),
        );
    }
    if let Some(after) = after {
        query = query.filter(p::id.gt(after));
    }
    Ok(query
        .order(p::id)
        .limit(limit)
        .load::<PersonRow>(conn)?
        .into_iter()
        .map(Person::from)
        .collect())
}

/// Returns the people with these IDs, ordered by ID.
///
/// # Errors
/// An error of the database.
pub fn some(conn: &mut Conn, ids: &[&str]) -> Result<Vec<Person>> {
    let rows = p::table
        .filter(p::id.eq_any(ids))
        .order(p::id)
        .load::<PersonRow>(conn)?;
    Ok(rows.into_iter().map(Person::from).collect())
}

/// Creates or replaces a person. Returns the person, and whether the person is new.
///
/// # Errors
/// `Invalid` with one error for each wrong field. `Conflict` if the person was erased and is not allowed again.
pub fn put(tx: &mut Tx<'_>, id: &ExternalId, input: &PersonInput) -> Result<(Person, bool)> {
    let mut check = Check::default();
    input.check(&mut check);
    check.finish()?;
    erased::require_allowed(tx.conn, id.as_str(), &input.email)?;
    let before = get(tx.conn, id.as_str()).ok();
    upsert(tx.conn, tx.now, &[(id.as_str(), input)])?;
    // The event shows whether the name and the address changed, and contains neither of them.
    let marks = Marks::of(tx.conn)?;
    let seen = |name: &str, email: &str, locale: &Option<String>, zone: &Option<String>| {
        json!({
            "name": marks.mark(MarkOf::Name, name), "email": marks.mark(MarkOf::Address, email),
            "locale": locale, "time_zone": zone,
        })
    };
    let event = Event::new(Action::PersonPut, "person", id.as_str()).after(seen(
        &input.name,
        &input.email,
        &input.locale,
        &input.time_zone,
    ));
    tx.record(match &before {
        Some(old) => event.before(seen(&old.name, &old.email, &old.locale, &old.time_zone)),
        None => event,
    });
    Ok((get(tx.conn, id.as_str())?, before.is_none()))
}

/// Archives a person, who is not notified any more.
///
/// # Errors
/// `NotFound` if the person does not exist or is already archived.
pub fn delete(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    let changed = diesel::update(p::table.filter(p::id.eq(id)).filter(p::gone_at.is_null()))
        .set(p::gone_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    if changed == 0 {
        return Err(Error::NotFound(format!("person '{id}'")));
    }
    tx.record(Event::new(Action::PersonDeleted, "person", id));
    Ok(())
}

/// Creates or replaces people. Archived people become active again.
pub(super) fn upsert(conn: &mut Conn, now: Timestamp, rows: &[(&str, &PersonInput)]) -> Result<()> {
    for chunk in rows.chunks(BATCH) {
        let addresses: Vec<String> = chunk
            .iter()
            .map(|(_, input)| stored_address(&input.email))
            .collect();
        let new: Vec<bulk::NewPerson<'_>> = chunk
            .iter()
            .zip(&addresses)
            .map(|((id, input), email)| bulk::NewPerson {
                id,
                name: &input.name,
                email,
                locale: input.locale.as_deref(),
                time_zone: input.time_zone.as_deref(),
            })
            .collect();
        bulk::people(conn, now, &new)?;
        erased::keep_suppressed(conn, &addresses)?;
    }
    Ok(())
}
