//! Which account each affected resource belongs to: the one on itself or on its nearest ancestor. It is found in the database, for all
//! affected resources at once.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::keyed;
use crate::db::{Conn, Statement};

/// The account that an affected resource belongs to, by itself or through a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::incident) struct Owner {
    pub id: String,
    pub name: String,
}

/// Begins a statement with the table `owned`: the key of each affected resource, and the key of its account or NULL. With `keys`, only these
/// resources are in it.
pub(super) fn with_owned(statement: &mut Statement, incident: &IncidentId, keys: Option<&[i64]>) {
    statement
        .push(
            "WITH RECURSIVE hit AS ( \
                 SELECT ir.resource_key AS key, r.account_key, r.parent_key FROM incident_resources ir \
                 JOIN resources r ON r.key = ir.resource_key WHERE ir.incident_id = ",
        )
        .text(incident.as_str())
        .push(" AND ir.removed_at IS NULL");
    if let Some(keys) = keys {
        statement.push(&format!(" AND ir.resource_key IN ({})", keyed::list(keys)));
    }
    // Each parent is followed once, because many affected resources have the same one.
    statement.push(
        "), higher(start, account_key, parent_key) AS ( \
             SELECT r.key, r.account_key, r.parent_key FROM \
                 (SELECT DISTINCT parent_key FROM hit WHERE account_key IS NULL AND parent_key IS NOT NULL) p \
                 JOIN resources r ON r.key = p.parent_key \
             UNION ALL \
             SELECT h.start, r.account_key, r.parent_key FROM higher h JOIN resources r ON r.key = h.parent_key \
                 WHERE h.account_key IS NULL), \
         owned AS ( \
             SELECT hit.key, COALESCE(hit.account_key, h.account_key) AS account_key FROM hit \
             LEFT JOIN higher h ON h.start = hit.parent_key AND h.account_key IS NOT NULL) ",
    );
}

/// Returns the accounts of affected resources by the key of the resource. With `keys`, only of these.
pub(in crate::incident) fn owners(
    conn: &mut Conn,
    incident: &IncidentId,
    keys: Option<&[i64]>,
) -> Result<HashMap<i64, Owner>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        key: i64,
        #[diesel(sql_type = Text)]
        id: String,
        #[diesel(sql_type = Text)]
        name: String,
    }
    if keys.is_some_and(<[i64]>::is_empty) {
        return Ok(HashMap::new());
    }
    let mut statement = Statement::default();
    with_owned(&mut statement, incident, keys);
    statement.push("SELECT o.key, a.id, a.name FROM owned o JOIN accounts a ON a.key = o.account_key");
    let rows: Vec<Row> = statement.finish().load(conn)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let owner = Owner {
                id: row.id,
                name: row.name,
            };
            (row.key, owner)
        })
        .collect())
}
