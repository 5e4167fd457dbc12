//! The part of a migration that SQL cannot express: addresses of earlier versions are changed to the form of
//! [`mailbox`].
//!
//! It runs once, after the migrations, in one transaction that only one process holds at a time. A counter
//! contains the version of the form that the rows have. An interrupted step is rolled back and runs again at
//! the next start.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::schema::{counters as c, opt_outs as o, people as p};
use super::{Conn, dialect};
use crate::base::error::Result;
use crate::base::mailbox;

/// The name of the counter.
const COUNTER: &str = "mailbox_form";
/// The version of the form. It must be increased if the rules of [`mailbox`] change what is stored.
const FORM: i64 = 1;

#[derive(QueryableByName)]
struct Person {
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = Text)]
    email: String,
}

#[derive(QueryableByName)]
struct OptOut {
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Text)]
    reason: String,
}

/// Changes stored addresses to the current form, if this was not done before.
///
/// # Errors
/// An error of the database. Then nothing was changed.
pub(super) fn addresses(conn: &mut Conn) -> Result<()> {
    if form(conn)? >= FORM {
        return Ok(());
    }
    dialect::begin_write(conn)?;
    match change(conn) {
        Ok(()) => dialect::commit(conn),
        Err(error) => {
            dialect::roll_back(conn);
            Err(error)
        }
    }
}

fn form(conn: &mut Conn) -> Result<i64> {
    let stored: Option<i64> = c::table.find(COUNTER).select(c::value).first(conn).optional()?;
    Ok(stored.unwrap_or(0))
}

fn change(conn: &mut Conn) -> Result<()> {
    // Several processes may start at the same time on one database.
    dialect::lock_directory(conn)?;
    // Another process may have done it in the meantime.
    if form(conn)? >= FORM {
        return Ok(());
    }
    // Only addresses with characters outside ASCII or with quotes can have another form now.
    let people: Vec<Person> = diesel::sql_query(
        "SELECT key, email FROM people WHERE LENGTH(email) <> OCTET_LENGTH(email) OR email LIKE '%\"%'",
    )
    .load(conn)?;
    let mut changed = 0;
    for person in people {
        if let Some(address) = mailbox::repaired(&person.email).filter(|address| *address != person.email) {
            changed += diesel::update(p::table.find(person.key))
                .set(p::email.eq(address))
                .execute(conn)?;
        }
    }
    let opt_outs: Vec<OptOut> = diesel::sql_query(
        "SELECT address, at, reason FROM opt_outs WHERE LENGTH(address) <> OCTET_LENGTH(address) OR address LIKE '%\"%'",
    )
    .load(conn)?;
    for opt_out in opt_outs {
        let Some(address) = mailbox::repaired(&opt_out.address) else {
            continue;
        };
        changed += move_opt_out(conn, &opt_out, &mailbox::key_of(&address))?;
    }
    diesel::delete(c::table.find(COUNTER)).execute(conn)?;
    dialect::on_backend!(&mut *conn, c => diesel::insert_into(c::table)
        .values((c::name.eq(COUNTER), c::value.eq(FORM)))
        .execute(c))?;
    if changed > 0 {
        tracing::info!(
            changed,
            "addresses of an earlier version were brought into the present form"
        );
    }
    Ok(())
}

/// Merges two spellings into one row. The reason with the higher priority is kept: a reason that the person
/// gave is not replaced by one that a server gave.
fn move_opt_out(conn: &mut Conn, old: &OptOut, address: &str) -> Result<usize> {
    if old.address == address {
        return Ok(0);
    }
    let rank = |reason: &str| match reason {
        "opted_out" => 2,
        "complained" => 1,
        _ => 0,
    };
    let there: Option<String> = o::table.find(address).select(o::reason).first(conn).optional()?;
    if there
        .as_deref()
        .is_none_or(|reason| rank(reason) < rank(&old.reason))
    {
        diesel::delete(o::table.find(address)).execute(conn)?;
        diesel::sql_query("INSERT INTO opt_outs (address, at, reason) VALUES ($1, $2, $3)")
            .bind::<Text, _>(address)
            .bind::<BigInt, _>(old.at)
            .bind::<Text, _>(&old.reason)
            .execute(conn)?;
    }
    Ok(diesel::delete(o::table.find(&old.address)).execute(conn)?)
}
