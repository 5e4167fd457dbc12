//! From affected resources to people, each with every reason.
//!
//! A resource belongs to the account named on it or on its nearest ancestor. Its people are that account's owners and
//! the collaborators on it or on any of its ancestors. An ancestor that is gone cuts the chain; an account that is
//! gone has nobody. One query answers the preview and the send.
//!
//! Must never happen here: somebody of an account that owns nothing affected, or somebody left out in silence.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde::Serialize;

use crate::db::Conn;
use crate::directory::{ResourceRef, resource};
use crate::error::{Error, Result};
use crate::id::{EndpointId, IncidentId};
use crate::incident::affected::{self, Unresolved};

/// Why somebody is in the audience.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
pub struct Reason {
    /// The affected resource.
    pub resource: ResourceRef,
    /// Its name.
    pub name: Option<String>,
    /// The ancestor on which the role or the account is; null where it is the resource itself.
    pub through: Option<ResourceRef>,
    /// The account that the resource belongs to.
    pub account: Option<String>,
    /// The account's name.
    pub account_name: Option<String>,
    /// `owner` of the account, or the role of the collaborator.
    pub role: String,
    /// Whether it is the account's owner who is meant, not a collaborator with a role of that name.
    #[serde(skip)]
    pub by_account: bool,
}

/// A person of the audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Addressee {
    /// Who.
    pub person: PersonRef,
    /// Every reason.
    pub reasons: Vec<Reason>,
    /// Why they cannot be reached; null where they can.
    pub unreachable: Option<String>,
    #[serde(skip)]
    pub(crate) time_zone: Option<String>,
    #[serde(skip)]
    pub(crate) locale: Option<String>,
}

/// A person, as far as an audience shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PersonRef {
    /// The caller's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Address; empty where none is known.
    pub email: String,
}

/// Somebody who should hear of it and cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Unreachable {
    /// Who.
    pub person: PersonRef,
    /// Why not.
    pub reason: String,
}

/// The numbers of an audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Counts {
    /// People affected, reachable or not.
    pub people: usize,
    /// Accounts that own something affected.
    pub accounts: usize,
    /// Affected resources.
    pub resources: usize,
    /// People who cannot be reached.
    pub unreachable: usize,
    /// Ids in alerts that the directory does not know.
    pub unresolved_references: usize,
    /// Affected resources that were deleted from the directory: nobody is told through them.
    pub gone_resources: usize,
    /// Affected resources that belong to no account.
    pub without_account: usize,
}

/// Everybody whom an incident affects, by the ids of the people.
#[derive(Clone, Debug)]
pub struct Audience {
    /// The people.
    pub people: Vec<Addressee>,
    /// The numbers.
    pub counts: Counts,
    /// Who cannot be reached, and why.
    pub unreachable: Vec<Unreachable>,
    /// What alerts named and the directory does not know.
    pub unresolved: Vec<Unresolved>,
}

/// Every affected resource with itself and its ancestors, as far as none is gone.
const CHAIN: &str = "WITH RECURSIVE chain(affected, node, depth) AS ( \
         SELECT ir.resource_key, ir.resource_key, CAST(0 AS BIGINT) \
         FROM incident_resources ir JOIN resources r ON r.key = ir.resource_key \
         WHERE ir.incident_id = $1 AND ir.removed_at IS NULL AND r.gone_at IS NULL \
         UNION ALL \
         SELECT c.affected, p.key, c.depth + 1 \
         FROM chain c JOIN resources r ON r.key = c.node JOIN resources p ON p.key = r.parent_key \
         WHERE p.gone_at IS NULL), \
     named AS ( \
         SELECT c.affected, c.node, c.depth, r.account_key, \
                ROW_NUMBER() OVER (PARTITION BY c.affected ORDER BY c.depth) AS nth \
         FROM chain c JOIN resources r ON r.key = c.node WHERE r.account_key IS NOT NULL), \
     owned AS ( \
         SELECT n.affected, n.node, n.depth, n.account_key, a.id AS account_id, a.name AS account_name, \
                a.time_zone AS account_zone, a.locale AS account_locale, a.gone_at AS account_gone \
         FROM named n JOIN accounts a ON a.key = n.account_key WHERE n.nth = 1)";

#[derive(QueryableByName)]
struct ReasonRow {
    #[diesel(sql_type = Text)]
    person_id: String,
    #[diesel(sql_type = Text)]
    person_name: String,
    #[diesel(sql_type = Text)]
    email: String,
    #[diesel(sql_type = Nullable<Text>)]
    time_zone: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    locale: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    gone_at: Option<i64>,
    #[diesel(sql_type = Text)]
    resource_type: String,
    #[diesel(sql_type = Text)]
    resource_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    resource_name: Option<String>,
    #[diesel(sql_type = Text)]
    node_type: String,
    #[diesel(sql_type = Text)]
    node_id: String,
    #[diesel(sql_type = BigInt)]
    depth: i64,
    #[diesel(sql_type = Nullable<Text>)]
    account_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    account_name: Option<String>,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = BigInt)]
    by_account: i64,
}

fn reason_rows(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<ReasonRow>> {
    let statement = format!(
        "{CHAIN}, reasons AS ( \
             SELECT m.person_key, o.affected, o.node, o.depth, o.account_id, o.account_name, o.account_zone, \
                    o.account_locale, m.role, CAST(1 AS BIGINT) AS by_account \
             FROM owned o JOIN members m ON m.account_key = o.account_key AND m.role = 'owner' AND m.gone_at IS NULL \
             WHERE o.account_gone IS NULL \
             UNION ALL \
             SELECT k.person_key, c.affected, c.node, c.depth, o.account_id, o.account_name, o.account_zone, \
                    o.account_locale, k.role, CAST(0 AS BIGINT) \
             FROM chain c JOIN collaborators k ON k.resource_key = c.node AND k.gone_at IS NULL \
             LEFT JOIN owned o ON o.affected = c.affected \
             WHERE o.account_gone IS NULL) \
         SELECT p.id AS person_id, p.name AS person_name, p.email, \
                COALESCE(p.time_zone, s.account_zone) AS time_zone, COALESCE(p.locale, s.account_locale) AS locale, \
                p.gone_at, r.type AS resource_type, r.id AS resource_id, r.name AS resource_name, \
                t.type AS node_type, t.id AS node_id, s.depth, s.account_id, s.account_name, s.role, s.by_account \
         FROM reasons s JOIN people p ON p.key = s.person_key \
              JOIN resources r ON r.key = s.affected JOIN resources t ON t.key = s.node \
         ORDER BY p.key, s.affected, s.depth, s.by_account DESC"
    );
    Ok(diesel::sql_query(statement)
        .bind::<Text, _>(incident.as_str())
        .load(conn)?)
}

/// Resolves the audience of an incident, as the directory is now.
///
/// # Errors
/// `NotFound` where there is no such incident.
pub fn resolve(conn: &mut Conn, incident: &IncidentId) -> Result<Audience> {
    crate::incident::get(conn, incident)?;
    let mut people: BTreeMap<String, Addressee> = BTreeMap::new();
    let mut gone: BTreeMap<String, Unreachable> = BTreeMap::new();
    for row in reason_rows(conn, incident)? {
        let person = PersonRef {
            id: row.person_id.clone(),
            name: row.person_name,
            email: row.email,
        };
        if row.gone_at.is_some() {
            let reason = "deleted from the directory".to_owned();
            gone.entry(row.person_id)
                .or_insert(Unreachable { person, reason });
            continue;
        }
        let stored = |type_: &str, id: &str| {
            resource::reference(type_, id).ok_or_else(|| Error::internal("a stored id is invalid"))
        };
        let reason = Reason {
            resource: stored(&row.resource_type, &row.resource_id)?,
            name: row.resource_name,
            through: if row.depth == 0 {
                None
            } else {
                Some(stored(&row.node_type, &row.node_id)?)
            },
            account: row.account_id,
            account_name: row.account_name,
            role: row.role,
            by_account: row.by_account == 1,
        };
        let entry = people.entry(row.person_id).or_insert_with(|| Addressee {
            unreachable: unreachable(&person),
            person,
            reasons: Vec::new(),
            time_zone: row.time_zone,
            locale: row.locale,
        });
        entry.reasons.push(reason);
    }
    let mut people: Vec<Addressee> = people.into_values().collect();
    for addressee in &mut people {
        addressee.reasons.sort();
    }
    let unresolved = affected::unresolved(conn, incident)?;
    let (resources, gone_resources, without_account, accounts) = resource_counts(conn, incident)?;
    let unreachable: Vec<Unreachable> = people
        .iter()
        .filter_map(|addressee| {
            let reason = addressee.unreachable.clone()?;
            Some(Unreachable {
                person: addressee.person.clone(),
                reason,
            })
        })
        .chain(gone.into_values())
        .collect();
    Ok(Audience {
        counts: Counts {
            people: people.len(),
            accounts,
            resources,
            unreachable: unreachable.len(),
            unresolved_references: unresolved.len(),
            gone_resources,
            without_account,
        },
        people,
        unreachable,
        unresolved,
    })
}

fn unreachable(person: &PersonRef) -> Option<String> {
    if person.email.is_empty() {
        return Some("no address".to_owned());
    }
    crate::directory::check_address(&person.email)
        .err()
        .map(|reason| format!("the address {reason}"))
}

/// An affected resource with an endpoint of the account that it belongs to.
pub(crate) struct EndpointRow {
    pub id: EndpointId,
    pub channel: String,
    pub url: String,
    pub disabled: bool,
    pub account: String,
    pub account_name: String,
    pub resource: ResourceRef,
    pub resource_name: Option<String>,
}

/// The endpoints of the accounts that own something affected, once for each affected resource.
///
/// # Errors
/// What the database answers.
pub(crate) fn endpoints(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<EndpointRow>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        id: EndpointId,
        #[diesel(sql_type = Text)]
        channel: String,
        #[diesel(sql_type = Text)]
        url: String,
        #[diesel(sql_type = Nullable<BigInt>)]
        disabled_at: Option<i64>,
        #[diesel(sql_type = Text)]
        account_id: String,
        #[diesel(sql_type = Text)]
        account_name: String,
        #[diesel(sql_type = Text)]
        resource_type: String,
        #[diesel(sql_type = Text)]
        resource_id: String,
        #[diesel(sql_type = Nullable<Text>)]
        resource_name: Option<String>,
    }
    let rows: Vec<Row> = diesel::sql_query(format!(
        "{CHAIN} SELECT e.id, e.channel, e.url, e.disabled_at, o.account_id, o.account_name, \
                r.type AS resource_type, r.id AS resource_id, r.name AS resource_name \
         FROM owned o JOIN endpoints e ON e.account_key = o.account_key AND e.gone_at IS NULL \
              JOIN resources r ON r.key = o.affected \
         WHERE o.account_gone IS NULL"
    ))
    .bind::<Text, _>(incident.as_str())
    .load(conn)?;
    rows.into_iter()
        .map(|row| {
            Ok(EndpointRow {
                resource: resource::reference(&row.resource_type, &row.resource_id)
                    .ok_or_else(|| Error::internal("a stored id is invalid"))?,
                id: row.id,
                channel: row.channel,
                url: row.url,
                disabled: row.disabled_at.is_some(),
                account: row.account_id,
                account_name: row.account_name,
                resource_name: row.resource_name,
            })
        })
        .collect()
}

/// Affected resources that are there, that are gone, that belong to nobody; and the accounts of the rest.
fn resource_counts(conn: &mut Conn, incident: &IncidentId) -> Result<(usize, usize, usize, usize)> {
    #[derive(QueryableByName)]
    struct Owner {
        #[diesel(sql_type = Nullable<Text>)]
        account_id: Option<String>,
        #[diesel(sql_type = BigInt)]
        gone: i64,
    }
    let rows: Vec<Owner> = diesel::sql_query(format!(
        "{CHAIN} SELECT CASE WHEN o.account_gone IS NULL THEN o.account_id END AS account_id, \
                CASE WHEN r.gone_at IS NULL THEN CAST(0 AS BIGINT) ELSE CAST(1 AS BIGINT) END AS gone \
         FROM incident_resources ir JOIN resources r ON r.key = ir.resource_key \
              LEFT JOIN owned o ON o.affected = ir.resource_key \
         WHERE ir.incident_id = $1 AND ir.removed_at IS NULL"
    ))
    .bind::<Text, _>(incident.as_str())
    .load(conn)?;
    let gone = rows.iter().filter(|row| row.gone == 1).count();
    let without = rows
        .iter()
        .filter(|row| row.gone == 0 && row.account_id.is_none())
        .count();
    let accounts: BTreeSet<&str> = rows.iter().filter_map(|row| row.account_id.as_deref()).collect();
    Ok((rows.len() - gone, gone, without, accounts.len()))
}
