//! What came back from a person: reports about emails, replies and answers. The rows stay, so that the numbers of an incident stay, and
//! what a person wrote and the address are removed.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::needles::Needles;
use crate::audit::erased::{Protected, permit};
use crate::base::error::Result;
use crate::base::id::ErasureId;
use crate::db::schema::{answers as an, feedback as f};
use crate::db::{Conn, Statement};

/// The number of raw reports that are in memory at once.
const STEP: i64 = 50;

/// A report that is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReportChange {
    pub id: i64,
    pub address: String,
    pub diagnostic: String,
}

/// An answer that is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnswerChange {
    pub id: i64,
    pub person: String,
    pub address: String,
    pub text: String,
}

/// Finds the reports about a person: those of the person's deliveries, those with the address, and those that no delivery was found
/// for and whose raw text contains the person.
///
/// # Errors
/// An error of the database.
pub(super) fn reports(
    conn: &mut Conn,
    needles: &Needles,
    own: &BTreeSet<String>,
    deliveries: &[i64],
) -> Result<Vec<ReportChange>> {
    let mut found: BTreeMap<i64, ReportChange> = BTreeMap::new();
    let mut add = |(id, address, diagnostic): (i64, String, String), whole: bool| {
        let change = ReportChange {
            id,
            address: if whole || own.contains(&crate::directory::normal_address(&address)) {
                String::new()
            } else {
                needles.text(&address).unwrap_or(address)
            },
            diagnostic: if whole {
                String::new()
            } else {
                needles.text(&diagnostic).unwrap_or(diagnostic)
            },
        };
        found.entry(id).or_insert(change);
    };
    for chunk in deliveries.chunks(500) {
        let rows: Vec<(i64, String, String)> = f::table
            .filter(f::delivery_id.eq_any(chunk.iter().copied().map(Some).collect::<Vec<_>>()))
            .select((f::id, f::address, f::diagnostic))
            .load(conn)?;
        rows.into_iter().for_each(|row| add(row, true));
    }
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        id: i64,
        #[diesel(sql_type = Text)]
        address: String,
        #[diesel(sql_type = Text)]
        diagnostic: String,
    }
    let mut statement = Statement::default();
    statement.push("SELECT id, address, diagnostic FROM feedback WHERE ");
    needles.condition(&mut statement, "diagnostic");
    statement.push(" OR ");
    needles.condition(&mut statement, "address");
    let rows: Vec<Row> = statement.finish().load(conn)?;
    for row in rows {
        let touched = needles.text(&row.address).is_some() || needles.text(&row.diagnostic).is_some();
        if touched {
            add((row.id, row.address, row.diagnostic), false);
        }
    }
    let mut last = i64::MIN;
    loop {
        let rows: Vec<(i64, String, String, Vec<u8>)> = f::table
            .filter(f::delivery_id.is_null())
            .filter(f::id.gt(last))
            .order(f::id)
            .limit(STEP)
            .select((f::id, f::address, f::diagnostic, f::raw))
            .load(conn)?;
        let Some((id, ..)) = rows.last() else { break };
        last = *id;
        for (id, address, diagnostic, raw) in rows {
            if !raw.is_empty() && needles.is_in(&raw) {
                add((id, address, diagnostic), false);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Finds the answers of a person, and those of others whose text contains the person.
///
/// # Errors
/// An error of the database.
pub(super) fn answers(
    conn: &mut Conn,
    needles: &Needles,
    own: &BTreeSet<String>,
) -> Result<Vec<AnswerChange>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        id: i64,
        #[diesel(sql_type = Text)]
        person_id: String,
        #[diesel(sql_type = Text)]
        address: String,
        #[diesel(sql_type = Text)]
        text: String,
    }
    let mut statement = Statement::default();
    statement
        .push("SELECT id, person_id, address, text FROM answers WHERE person_id = ")
        .text(&needles.id);
    for address in own {
        statement.push(" OR LOWER(address) = ").text(address);
    }
    statement.push(" OR ");
    needles.condition(&mut statement, "text");
    statement.push(" ORDER BY id");
    let rows: Vec<Row> = statement.finish().load(conn)?;
    let changes = rows.into_iter().filter_map(|row| {
        let is_own = row.person_id == needles.id;
        let address_is_own = own.contains(&crate::directory::normal_address(&row.address));
        let change = AnswerChange {
            id: row.id,
            person: if is_own {
                needles.placeholder.clone()
            } else {
                row.person_id.clone()
            },
            address: if is_own || address_is_own {
                String::new()
            } else {
                row.address.clone()
            },
            text: if is_own {
                String::new()
            } else {
                needles.text(&row.text).unwrap_or_else(|| row.text.clone())
            },
        };
        let changed =
            change.person != row.person_id || change.address != row.address || change.text != row.text;
        changed.then_some(change)
    });
    Ok(changes.collect())
}

/// Changes reports.
///
/// # Errors
/// An error of the database.
pub(super) fn change_reports(conn: &mut Conn, erasure: &ErasureId, changes: &[ReportChange]) -> Result<()> {
    let keys: Vec<String> = changes.iter().map(|change| change.id.to_string()).collect();
    permit(conn, erasure, Protected::Feedback, &keys)?;
    for change in changes {
        let nothing: &[u8] = &[];
        diesel::update(f::table.find(change.id))
            .set((
                f::address.eq(&change.address),
                f::diagnostic.eq(&change.diagnostic),
                f::raw.eq(nothing),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// Changes answers.
///
/// # Errors
/// An error of the database.
pub(super) fn change_answers(conn: &mut Conn, erasure: &ErasureId, changes: &[AnswerChange]) -> Result<()> {
    let keys: Vec<String> = changes.iter().map(|change| change.id.to_string()).collect();
    permit(conn, erasure, Protected::Answer, &keys)?;
    for change in changes {
        diesel::update(an::table.find(change.id))
            .set((
                an::person_id.eq(&change.person),
                an::address.eq(&change.address),
                an::text.eq(&change.text),
            ))
            .execute(conn)?;
    }
    Ok(())
}
