//! What a migration needs that SQL cannot say: addresses of earlier versions are brought into the form of [`mailbox`].
//!
//! Runs after the migrations, in one transaction that only one process holds at a time, and once: a counter holds the version of the form that the rows are in. A step that
//! was interrupted is rolled back and runs again at the next start.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::schema::{counters as c, opt_outs as o, people as p};
use super::{Conn, dialect};
use crate::base::error::Result;
use crate::base::mailbox;

/// The counter's name.
const COUNTER: &str = "mailbox_form";
/// To be raised where the rules of [`mailbox`] change what is stored.
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

/// Brings stored addresses into the present form, where that was not done before.
///
/// # Errors
/// What the database answers; then nothing was changed.
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
    if let Conn::Pg(conn) = conn {
        // Several processes may start at once on one database. An embedded one has one writer.
        diesel::sql_query("SELECT pg_advisory_xact_lock(727001)").execute(conn)?;
    }
    // Another process may have been faster.
    if form(conn)? >= FORM {
        return Ok(());
    }
    // Only these can have another form now: what is not ASCII, and what has quotes.
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

/// Two spellings become one row, with the stronger reason: a person's own word is not replaced by what a server said.
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
