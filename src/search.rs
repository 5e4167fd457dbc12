//! One search over incidents, accounts, people and resources, by a part of a name.
//!
//! A search has a time limit. It says for which kinds it stopped, and never shows a part of the matches as all of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use serde::Serialize;

use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::db::Conn;
use crate::db::dialect::search::{Matches, Searched, matching};
use crate::db::schema::{accounts as a, incidents as i, people as p, resources as r};
use crate::directory::{normal_address, person};
use crate::incident::{Severity, Status};

/// How long a search may read.
const TIME: Duration = Duration::from_secs(1);
/// The largest length of the text, in characters.
const LONGEST: usize = 200;

word_enum! {
    /// A kind of thing that a search finds.
    SearchKind, "a kind" {
        /// Incidents, by their number and title.
        Incidents = "incidents",
        /// Accounts, by their name and ID.
        Accounts = "accounts",
        /// People, by their name, address and ID.
        People = "people",
        /// Resources, by their name and ID.
        Resources = "resources",
    }
}

impl SearchKind {
    /// All kinds, in the order in which they are shown.
    pub const ORDER: [SearchKind; 4] = [
        SearchKind::Incidents,
        SearchKind::People,
        SearchKind::Accounts,
        SearchKind::Resources,
    ];
}

/// An incident that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FoundIncident {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The title of the incident.
    pub title: String,
    /// The severity of the incident.
    pub severity: Severity,
    /// The status of the incident.
    pub status: Status,
}

/// An account that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FoundAccount {
    /// The caller's ID of the account.
    pub id: String,
    /// The name of the account.
    pub name: String,
    /// Whether the account is archived.
    pub archived: bool,
}

/// A person whom a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FoundPerson {
    /// The caller's ID of the person.
    pub id: String,
    /// The name of the person.
    pub name: String,
    /// The email address. Empty if none is known.
    pub email: String,
    /// Whether the person is archived.
    pub archived: bool,
}

/// A resource that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FoundResource {
    /// The type of the resource.
    #[serde(rename = "type")]
    pub type_: String,
    /// The ID of the resource.
    pub id: String,
    /// The name of the resource.
    pub name: Option<String>,
    /// Whether the resource is archived.
    pub archived: bool,
}

/// What a search found. In each kind, an exact ID, number or address comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SearchResult {
    /// The incidents that match by number or title. Empty if none matches or incidents are not searched.
    pub incidents: Vec<FoundIncident>,
    /// The people who match by name, address or ID. Empty if nobody matches or people are not searched.
    pub people: Vec<FoundPerson>,
    /// The accounts that match by name or ID. Empty if none matches or accounts are not searched.
    pub accounts: Vec<FoundAccount>,
    /// The resources that match by name or ID. Empty if none matches or resources are not searched.
    pub resources: Vec<FoundResource>,
    /// The kinds of which there are more than `limit`.
    pub more: Vec<SearchKind>,
    /// The kinds for which the search stopped at its time limit. There can be further matches: search for more of the name.
    pub stopped: Vec<SearchKind>,
}

/// Searches for `text` in the given kinds, and returns up to `limit` of each.
///
/// # Errors
/// `Invalid` if the text is too long.
pub fn search(conn: &mut Conn, text: &str, kinds: &[SearchKind], limit: i64) -> Result<SearchResult> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > LONGEST {
        return Err(Error::invalid("?q", format!("must be 1 to {LONGEST} characters")));
    }
    let until = Instant::now() + TIME;
    let mut result = SearchResult::default();
    for kind in SearchKind::ORDER.into_iter().filter(|kind| kinds.contains(kind)) {
        let searched = match kind {
            SearchKind::Incidents => Searched::Incidents,
            SearchKind::Accounts => Searched::Accounts,
            SearchKind::People => Searched::People,
            SearchKind::Resources => Searched::Resources,
        };
        let mut found = exact(conn, kind, text)?;
        let Matches { keys, stopped } = matching(conn, searched, text, limit + 1, until)?;
        for key in keys {
            if !found.contains(&key) {
                found.push(key);
            }
        }
        if found.len() as i64 > limit {
            result.more.push(kind);
            found.truncate(limit as usize);
        }
        if stopped {
            result.stopped.push(kind);
        }
        // A match in the name is nearer to what somebody looks for than one in the address or the ID.
        let lower = text.to_lowercase();
        let far = |name: &str| !name.to_lowercase().contains(&lower);
        match kind {
            SearchKind::Incidents => result.incidents = incidents(conn, &found)?,
            SearchKind::Accounts => {
                result.accounts = accounts(conn, &found)?;
                result.accounts.sort_by_key(|one| far(&one.name));
            }
            SearchKind::People => {
                result.people = people(conn, &found)?;
                result.people.sort_by_key(|one| far(&one.name));
            }
            SearchKind::Resources => result.resources = resources(conn, &found)?,
        }
    }
    Ok(result)
}

/// Returns the keys of what has exactly this number, ID or address. It stands first, and is found without reading all rows.
fn exact(conn: &mut Conn, kind: SearchKind, text: &str) -> Result<Vec<i64>> {
    Ok(match kind {
        SearchKind::Incidents => {
            let number: Option<i64> = text.strip_prefix('#').unwrap_or(text).trim().parse().ok();
            match number {
                Some(number) => i::table
                    .filter(i::number.eq(number))
                    .select(i::number)
                    .load(conn)?,
                None => Vec::new(),
            }
        }
        SearchKind::Accounts => a::table.filter(a::id.eq(text)).select(a::key).load(conn)?,
        SearchKind::People => {
            let mut keys: Vec<i64> = p::table.filter(p::id.eq(text)).select(p::key).load(conn)?;
            if text.contains('@') {
                let address = normal_address(text);
                let known = person::known(conn, &[], &[&address])?;
                let others = known.by_address.into_values();
                let others: Vec<i64> = others.filter(|key| !keys.contains(key)).collect();
                keys.extend(others);
            }
            keys
        }
        SearchKind::Resources => match text.split_once(' ') {
            Some((type_, id)) => r::table
                .filter(r::type_.eq(type_))
                .filter(r::id.eq(id.trim()))
                .select(r::key)
                .load(conn)?,
            None => Vec::new(),
        },
    })
}

/// Puts rows into the order of their keys.
fn in_order<K: Eq + Hash, T>(keys: &[K], rows: Vec<(K, T)>) -> Vec<T> {
    let mut rows: HashMap<K, T> = rows.into_iter().collect();
    keys.iter().filter_map(|key| rows.remove(key)).collect()
}

fn incidents(conn: &mut Conn, keys: &[i64]) -> Result<Vec<FoundIncident>> {
    let rows: Vec<(i64, IncidentId, String, String, String)> = i::table
        .filter(i::number.eq_any(keys))
        // A planned maintenance has a negative number.
        .filter(i::number.gt(0))
        .select((i::number, i::id, i::title, i::severity, i::status))
        .load(conn)?;
    let rows = rows.into_iter().map(|(number, id, title, severity, status)| {
        let found = FoundIncident {
            id,
            number,
            title,
            severity: Severity::parse(&severity).map_err(Error::internal)?,
            status: Status::parse(&status).map_err(Error::internal)?,
        };
        Ok((number, found))
    });
    Ok(in_order(keys, rows.collect::<Result<_>>()?))
}

fn accounts(conn: &mut Conn, keys: &[i64]) -> Result<Vec<FoundAccount>> {
    let rows: Vec<(i64, String, String, Option<i64>)> = a::table
        .filter(a::key.eq_any(keys))
        .select((a::key, a::id, a::name, a::gone_at))
        .load(conn)?;
    let rows = rows.into_iter().map(|(key, id, name, gone)| {
        let archived = gone.is_some();
        (key, FoundAccount { id, name, archived })
    });
    Ok(in_order(keys, rows.collect()))
}

fn people(conn: &mut Conn, keys: &[i64]) -> Result<Vec<FoundPerson>> {
    let rows: Vec<(i64, String, String, String, Option<i64>)> = p::table
        .filter(p::key.eq_any(keys))
        .select((p::key, p::id, p::name, p::email, p::gone_at))
        .load(conn)?;
    let rows = rows.into_iter().map(|(key, id, name, email, gone)| {
        let archived = gone.is_some();
        let found = FoundPerson {
            id,
            name,
            email,
            archived,
        };
        (key, found)
    });
    Ok(in_order(keys, rows.collect()))
}

/// The key, the type, the ID, the name and the time of archiving of a resource.
type ResourceRow = (i64, String, String, Option<String>, Option<i64>);

fn resources(conn: &mut Conn, keys: &[i64]) -> Result<Vec<FoundResource>> {
    let rows: Vec<ResourceRow> = r::table
        .filter(r::key.eq_any(keys))
        .select((r::key, r::type_, r::id, r::name, r::gone_at))
        .load(conn)?;
    let rows = rows.into_iter().map(|(key, type_, id, name, gone)| {
        let archived = gone.is_some();
        let found = FoundResource {
            type_,
            id,
            name,
            archived,
        };
        (key, found)
    });
    Ok(in_order(keys, rows.collect()))
}
