//! Upserts of many rows of the directory. PostgreSQL takes a list for each column, so that a statement is one and the same
//! however many rows it has. SQLite takes one new row after another by a statement that it knows already; those that are
//! there, by a statement that has to be read each time (diesel keeps none that may update), are changed many at a time.
//!
//! Must never happen here: two rows of one call that are the same, or a row replaced by delete and insert.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text};
use diesel::upsert::excluded;

use super::Conn;
use super::schema::{
    accounts as a, collaborators as k, members as m, people as p, resource_labels as l, resources as r,
};
use crate::error::Result;
use crate::time::Timestamp;

/// Rows of one of SQLite's statements: each value is a parameter.
const AT_A_TIME: usize = 500;

/// An account to write; `labels` as JSON.
#[derive(Insertable)]
#[diesel(table_name = a, treat_none_as_default_value = false)]
#[allow(missing_docs)]
pub(crate) struct NewAccount<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub locale: Option<&'a str>,
    pub time_zone: Option<&'a str>,
    pub labels: String,
    pub gone_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Upserts accounts, reviving those that were gone.
///
/// # Errors
/// What the database answers.
pub(crate) fn accounts(conn: &mut Conn, now: Timestamp, rows: &[NewAccount<'_>]) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => {
            let mut there = Vec::new();
            for row in rows {
                let new = diesel::insert_into(a::table)
                    .values(row)
                    .on_conflict(a::id)
                    .do_nothing();
                if new.execute(conn)? == 0 {
                    there.push(row);
                }
            }
            for rows in there.chunks(AT_A_TIME) {
                diesel::insert_into(a::table)
                    .values(rows.to_vec())
                    .on_conflict(a::id)
                    .do_update()
                    .set((
                        a::name.eq(excluded(a::name)),
                        a::locale.eq(excluded(a::locale)),
                        a::time_zone.eq(excluded(a::time_zone)),
                        a::labels.eq(excluded(a::labels)),
                        a::gone_at.eq(excluded(a::gone_at)),
                        a::updated_at.eq(excluded(a::updated_at)),
                    ))
                    .execute(conn)?;
            }
        }
        Conn::Pg(conn) => {
            diesel::sql_query(
                "INSERT INTO accounts (id, name, locale, time_zone, labels, created_at, updated_at) \
                 SELECT n.*, $6, $6 FROM UNNEST($1, $2, $3, $4, $5) AS n(id, name, locale, time_zone, labels) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, locale = excluded.locale, \
                     time_zone = excluded.time_zone, labels = excluded.labels, gone_at = NULL, \
                     updated_at = excluded.updated_at",
            )
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.id).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.name).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.locale).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.time_zone).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.labels.as_str()).collect::<Vec<_>>())
            .bind::<BigInt, _>(now)
            .execute(conn)?;
        }
    }
    Ok(())
}

/// A person to write.
#[derive(Insertable)]
#[diesel(table_name = p, treat_none_as_default_value = false)]
#[allow(missing_docs)]
pub(crate) struct NewPerson<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub email: &'a str,
    pub locale: Option<&'a str>,
    pub time_zone: Option<&'a str>,
    pub gone_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Upserts people, reviving those who were gone.
///
/// # Errors
/// What the database answers.
pub(crate) fn people(conn: &mut Conn, now: Timestamp, rows: &[NewPerson<'_>]) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => {
            let mut there = Vec::new();
            for row in rows {
                let new = diesel::insert_into(p::table)
                    .values(row)
                    .on_conflict(p::id)
                    .do_nothing();
                if new.execute(conn)? == 0 {
                    there.push(row);
                }
            }
            for rows in there.chunks(AT_A_TIME) {
                diesel::insert_into(p::table)
                    .values(rows.to_vec())
                    .on_conflict(p::id)
                    .do_update()
                    .set((
                        p::name.eq(excluded(p::name)),
                        p::email.eq(excluded(p::email)),
                        p::locale.eq(excluded(p::locale)),
                        p::time_zone.eq(excluded(p::time_zone)),
                        p::gone_at.eq(excluded(p::gone_at)),
                        p::updated_at.eq(excluded(p::updated_at)),
                    ))
                    .execute(conn)?;
            }
        }
        Conn::Pg(conn) => {
            diesel::sql_query(
                "INSERT INTO people (id, name, email, locale, time_zone, created_at, updated_at) \
                 SELECT n.*, $6, $6 FROM UNNEST($1, $2, $3, $4, $5) AS n(id, name, email, locale, time_zone) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, \
                     locale = excluded.locale, time_zone = excluded.time_zone, gone_at = NULL, \
                     updated_at = excluded.updated_at",
            )
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.id).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.name).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.email).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.locale).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.time_zone).collect::<Vec<_>>())
            .bind::<BigInt, _>(now)
            .execute(conn)?;
        }
    }
    Ok(())
}

/// A resource to write.
#[derive(Insertable)]
#[diesel(table_name = r, treat_none_as_default_value = false)]
#[allow(missing_docs)]
pub(crate) struct NewResource<'a> {
    pub type_: &'a str,
    pub id: &'a str,
    pub name: Option<&'a str>,
    pub account_key: Option<i64>,
    pub parent_key: Option<i64>,
    pub gone_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Upserts resources, reviving those that were gone. Answers their keys with their types and ids, in no order.
///
/// # Errors
/// What the database answers.
pub(crate) fn resources(
    conn: &mut Conn,
    now: Timestamp,
    rows: &[NewResource<'_>],
) -> Result<Vec<(i64, String, String)>> {
    match conn {
        Conn::Sqlite(conn) => {
            let mut keys = Vec::with_capacity(rows.len());
            let mut there = Vec::new();
            for row in rows {
                let key = diesel::insert_into(r::table)
                    .values(row)
                    .on_conflict((r::type_, r::id))
                    .do_nothing()
                    .returning(r::key)
                    .get_result(conn)
                    .optional()?;
                match key {
                    Some(key) => keys.push((key, row.type_.to_owned(), row.id.to_owned())),
                    None => there.push(row),
                }
            }
            for rows in there.chunks(AT_A_TIME) {
                let found: Vec<(i64, String, String)> = diesel::insert_into(r::table)
                    .values(rows.to_vec())
                    .on_conflict((r::type_, r::id))
                    .do_update()
                    .set((
                        r::name.eq(excluded(r::name)),
                        r::account_key.eq(excluded(r::account_key)),
                        r::parent_key.eq(excluded(r::parent_key)),
                        r::gone_at.eq(excluded(r::gone_at)),
                        r::updated_at.eq(excluded(r::updated_at)),
                    ))
                    .returning((r::key, r::type_, r::id))
                    .get_results(conn)?;
                keys.extend(found);
            }
            Ok(keys)
        }
        Conn::Pg(conn) => Ok(sql::<(BigInt, Text, Text)>(
            "INSERT INTO resources (type, id, name, account_key, parent_key, created_at, updated_at) \
             SELECT n.type, n.id, n.name, n.account_key, n.parent_key, n.at, n.at FROM (SELECT x.*, ",
        )
        .bind::<BigInt, _>(now)
        .sql(" AS at FROM UNNEST(")
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.type_).collect::<Vec<_>>())
        .sql(", ")
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .sql(", ")
        .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.name).collect::<Vec<_>>())
        .sql(", ")
        .bind::<Array<Nullable<BigInt>>, _>(rows.iter().map(|row| row.account_key).collect::<Vec<_>>())
        .sql(", ")
        .bind::<Array<Nullable<BigInt>>, _>(rows.iter().map(|row| row.parent_key).collect::<Vec<_>>())
        .sql(
            ") AS x(type, id, name, account_key, parent_key)) AS n \
             ON CONFLICT (type, id) DO UPDATE SET name = excluded.name, account_key = excluded.account_key, \
                 parent_key = excluded.parent_key, gone_at = NULL, updated_at = excluded.updated_at \
             RETURNING key, type, id",
        )
        .load(conn)?),
    }
}

/// Writes labels of resources that have none: key, name, value.
///
/// # Errors
/// What the database answers.
pub(crate) fn labels(conn: &mut Conn, rows: &[(i64, &str, &str)]) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => {
            for (resource, name, value) in rows {
                diesel::insert_into(l::table)
                    .values((
                        l::resource_key.eq(*resource),
                        l::name.eq(*name),
                        l::value.eq(*value),
                    ))
                    .execute(conn)?;
            }
        }
        Conn::Pg(conn) => {
            diesel::sql_query(
                "INSERT INTO resource_labels (resource_key, name, value) SELECT * FROM UNNEST($1, $2, $3)",
            )
            .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.0).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.1).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.2).collect::<Vec<_>>())
            .execute(conn)?;
        }
    }
    Ok(())
}

/// Upserts members, reviving those that had left: account, person, role.
///
/// # Errors
/// What the database answers.
pub(crate) fn members(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => {
            let mut there = Vec::new();
            for row in rows {
                let (account, person, role) = *row;
                let values = (
                    m::account_key.eq(account),
                    m::person_key.eq(person),
                    m::role.eq(role),
                    m::created_at.eq(now),
                    m::updated_at.eq(now),
                );
                let new = diesel::insert_into(m::table)
                    .values(values)
                    .on_conflict((m::account_key, m::person_key))
                    .do_nothing();
                if new.execute(conn)? == 0 {
                    there.push(values);
                }
            }
            for rows in there.chunks(AT_A_TIME) {
                diesel::insert_into(m::table)
                    .values(rows.to_vec())
                    .on_conflict((m::account_key, m::person_key))
                    .do_update()
                    .set((
                        m::role.eq(excluded(m::role)),
                        m::gone_at.eq(None::<Timestamp>),
                        m::updated_at.eq(excluded(m::updated_at)),
                    ))
                    .execute(conn)?;
            }
        }
        Conn::Pg(conn) => held(conn, now, ("members", "account_key"), rows)?,
    }
    Ok(())
}

/// Upserts collaborators, reviving those that had left: resource, person, role.
///
/// # Errors
/// What the database answers.
pub(crate) fn collaborators(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => {
            let mut there = Vec::new();
            for row in rows {
                let (resource, person, role) = *row;
                let values = (
                    k::resource_key.eq(resource),
                    k::person_key.eq(person),
                    k::role.eq(role),
                    k::created_at.eq(now),
                    k::updated_at.eq(now),
                );
                let new = diesel::insert_into(k::table)
                    .values(values)
                    .on_conflict((k::resource_key, k::person_key))
                    .do_nothing();
                if new.execute(conn)? == 0 {
                    there.push(values);
                }
            }
            for rows in there.chunks(AT_A_TIME) {
                diesel::insert_into(k::table)
                    .values(rows.to_vec())
                    .on_conflict((k::resource_key, k::person_key))
                    .do_update()
                    .set((
                        k::role.eq(excluded(k::role)),
                        k::gone_at.eq(None::<Timestamp>),
                        k::updated_at.eq(excluded(k::updated_at)),
                    ))
                    .execute(conn)?;
            }
        }
        Conn::Pg(conn) => held(conn, now, ("collaborators", "resource_key"), rows)?,
    }
    Ok(())
}

fn held(
    conn: &mut PgConnection,
    now: Timestamp,
    (table, on): (&str, &str),
    rows: &[(i64, i64, &str)],
) -> Result<()> {
    diesel::sql_query(format!(
        "INSERT INTO {table} ({on}, person_key, role, created_at, updated_at) \
         SELECT n.*, $4, $4 FROM UNNEST($1, $2, $3) AS n({on}, person_key, role) \
         ON CONFLICT ({on}, person_key) DO UPDATE SET role = excluded.role, gone_at = NULL, \
             updated_at = excluded.updated_at"
    ))
    .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.1).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(rows.iter().map(|row| row.2).collect::<Vec<_>>())
    .bind::<BigInt, _>(now)
    .execute(conn)?;
    Ok(())
}

/// The keys of rows that have one of these ids, by `select`, which yields an id and a key and ends behind a condition.
///
/// # Errors
/// What the database answers.
pub(crate) fn keys(conn: &mut Conn, select: &str, ids: &[&str]) -> Result<Vec<(String, i64)>> {
    Ok(match conn {
        Conn::Sqlite(conn) => {
            sql::<(Text, BigInt)>(&format!("{select} AND id IN (SELECT value FROM json_each("))
                .bind::<Text, _>(serde_json::to_string(ids)?)
                .sql("))")
                .load(conn)?
        }
        Conn::Pg(conn) => sql::<(Text, BigInt)>(&format!("{select} AND id = ANY("))
            .bind::<Array<Text>, _>(ids)
            .sql(")")
            .load(conn)?,
    })
}

/// The same for resources of one type.
///
/// # Errors
/// What the database answers.
pub(crate) fn resource_keys(
    conn: &mut Conn,
    type_: &str,
    ids: &[&str],
    gone: bool,
) -> Result<Vec<(String, i64)>> {
    let there = if gone { "" } else { "gone_at IS NULL AND " };
    let select = format!("SELECT id, key FROM resources WHERE {there}type = ");
    Ok(match conn {
        Conn::Sqlite(conn) => sql::<(Text, BigInt)>(&select)
            .bind::<Text, _>(type_)
            .sql(" AND id IN (SELECT value FROM json_each(")
            .bind::<Text, _>(serde_json::to_string(ids)?)
            .sql("))")
            .load(conn)?,
        Conn::Pg(conn) => sql::<(Text, BigInt)>(&select)
            .bind::<Text, _>(type_)
            .sql(" AND id = ANY(")
            .bind::<Array<Text>, _>(ids)
            .sql(")")
            .load(conn)?,
    })
}
