//! Which open incidents are probably one problem: they were opened within minutes of each other, and share an affected resource, an
//! account, or labels of their alerts. Candor only proposes a merge. A person decides.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;
use serde_json::Value;

use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{alerts as a, incident_resources as ir, incidents as i, resources as r};
use crate::incident::recovery::owned::owners;
use crate::incident::stored::OPEN;

/// How far apart the openings of two incidents of one problem may be.
const WITHIN: Duration = Duration::from_secs(30 * 60);
/// The number of the newest open incidents that are compared.
const COMPARED: i64 = 60;
/// The number of affected resources of an incident that are compared.
const RESOURCES: i64 = 200;
/// The number of alerts of an incident that are compared.
const ALERTS: i64 = 20;
/// The number of shared labels that make two incidents alike. One that names a service or a problem is enough.
const LABELS: usize = 2;
/// Labels that name a service or a problem.
const TELLING: &[&str] = &["alertname", "service", "cluster", "host", "instance", "component"];
/// Labels that unrelated problems share.
const COMMON: &[&str] = &[
    "severity",
    "priority",
    "level",
    "env",
    "environment",
    "region",
    "team",
    "monitor",
    "prometheus",
    "job",
    "source",
];

/// An incident that is probably the same problem as another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AlikeIncident {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The title of the incident.
    pub title: String,
    /// What it shares with the other one, for example `project 42`.
    pub shares: Vec<String>,
}

/// Incidents that are probably one problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Alike {
    /// The ID of the first of them, into which the others can be merged.
    pub into: IncidentId,
    /// The number of that incident.
    pub number: i64,
    /// The title of that incident.
    pub title: String,
    /// The others, in the order of their numbers.
    pub incidents: Vec<AlikeIncident>,
}

/// What is compared of an incident.
struct Traits {
    id: IncidentId,
    number: i64,
    title: String,
    opened_at: Timestamp,
    drill: bool,
    /// The keys of the affected resources, with what is shown.
    resources: HashMap<i64, String>,
    /// The IDs of the accounts of these resources.
    accounts: HashMap<String, String>,
    labels: BTreeSet<(String, String)>,
}

fn open_incidents(conn: &mut Conn) -> Result<Vec<Traits>> {
    type Row = (IncidentId, i64, String, Timestamp, bool);
    let rows: Vec<Row> = i::table
        .filter(sql::<Bool>(OPEN))
        .order(i::number.desc())
        .limit(COMPARED)
        .select((i::id, i::number, i::title, i::created_at, i::drill))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(id, number, title, opened_at, drill)| Traits {
            id,
            number,
            title,
            opened_at,
            drill,
            resources: HashMap::new(),
            accounts: HashMap::new(),
            labels: BTreeSet::new(),
        })
        .collect())
}

impl Traits {
    fn is_near(&self, other: &Traits) -> bool {
        let apart = self.opened_at.seconds_since(other.opened_at).unsigned_abs();
        self.drill == other.drill && apart <= WITHIN.as_secs()
    }

    /// Reads what is compared.
    fn read(&mut self, conn: &mut Conn) -> Result<()> {
        let resources: Vec<(i64, String, String)> = ir::table
            .inner_join(r::table)
            .filter(ir::incident_id.eq(self.id.as_str()))
            .filter(ir::removed_at.is_null())
            .order(ir::resource_key)
            .limit(RESOURCES)
            .select((r::key, r::type_, r::id))
            .load(conn)?;
        self.resources = resources
            .into_iter()
            .map(|(key, type_, id)| (key, format!("{type_} {id}")))
            .collect();
        let keys: Vec<i64> = self.resources.keys().copied().collect();
        self.accounts = owners(conn, &self.id, Some(&keys))?
            .into_values()
            .map(|owner| (owner.id, format!("account {}", owner.name)))
            .collect();
        let labels: Vec<String> = a::table
            .filter(a::incident_id.eq(self.id.as_str()))
            .order(a::id)
            .limit(ALERTS)
            .select(a::labels)
            .load(conn)?;
        for text in labels {
            let Value::Object(labels) = serde_json::from_str(&text)? else {
                continue;
            };
            for (name, value) in labels {
                if let (false, Value::String(value)) = (COMMON.contains(&name.as_str()), value) {
                    self.labels.insert((name, value));
                }
            }
        }
        Ok(())
    }

    /// Returns what two incidents share. Nothing if that is too little.
    fn shared(&self, other: &Traits) -> Vec<String> {
        let resources = common(&self.resources, &other.resources);
        if !resources.is_empty() {
            return resources;
        }
        let accounts = common(&self.accounts, &other.accounts);
        if !accounts.is_empty() {
            return accounts;
        }
        let labels: Vec<&(String, String)> = self.labels.intersection(&other.labels).collect();
        let telling = labels.iter().any(|(name, _)| TELLING.contains(&name.as_str()));
        if !telling && labels.len() < LABELS {
            return Vec::new();
        }
        labels
            .iter()
            .take(3)
            .map(|(name, value)| one_line(&format!("{name}={value}"), 100))
            .collect()
    }

    fn with(&self, shares: Vec<String>) -> AlikeIncident {
        AlikeIncident {
            id: self.id.clone(),
            number: self.number,
            title: self.title.clone(),
            shares,
        }
    }
}

/// Returns what two lists have in common, as it is shown: at most three.
fn common<K: Eq + Hash>(own: &HashMap<K, String>, others: &HashMap<K, String>) -> Vec<String> {
    let mut shared: Vec<String> = own
        .iter()
        .filter(|(key, _)| others.contains_key(key))
        .map(|(_, shown)| one_line(shown, 100))
        .collect();
    shared.sort_unstable();
    shared.truncate(3);
    shared
}

/// Returns the open incidents that are probably the same problem as this one.
///
/// # Errors
/// An error of the database.
pub fn alike_to(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<AlikeIncident>> {
    let mut all = open_incidents(conn)?;
    let Some(at) = all.iter().position(|one| one.id == *incident) else {
        return Ok(Vec::new());
    };
    let mut own = all.remove(at);
    let mut near: Vec<Traits> = all.into_iter().filter(|one| one.is_near(&own)).collect();
    if near.is_empty() {
        return Ok(Vec::new());
    }
    own.read(conn)?;
    let mut found = Vec::new();
    for one in &mut near {
        one.read(conn)?;
        let shares = own.shared(one);
        if !shares.is_empty() {
            found.push(one.with(shares));
        }
    }
    found.sort_by_key(|one| one.number);
    Ok(found)
}

/// Returns the groups of open incidents that are probably one problem each, the first one first.
///
/// # Errors
/// An error of the database.
pub fn alike(conn: &mut Conn) -> Result<Vec<Alike>> {
    let mut all = open_incidents(conn)?;
    all.sort_by_key(|one| one.number);
    let near: Vec<bool> = all
        .iter()
        .map(|one| all.iter().any(|other| other.id != one.id && one.is_near(other)))
        .collect();
    let mut read = Vec::new();
    for (mut one, near) in all.into_iter().zip(near) {
        if near {
            one.read(conn)?;
            read.push(one);
        }
    }
    let mut taken: HashSet<usize> = HashSet::new();
    let mut groups = Vec::new();
    for (index, first) in read.iter().enumerate() {
        if taken.contains(&index) {
            continue;
        }
        let mut incidents = Vec::new();
        for (other_index, other) in read.iter().enumerate().skip(index + 1) {
            if taken.contains(&other_index) || !first.is_near(other) {
                continue;
            }
            let shares = first.shared(other);
            if !shares.is_empty() {
                taken.insert(other_index);
                incidents.push(other.with(shares));
            }
        }
        if !incidents.is_empty() {
            groups.push(Alike {
                into: first.id.clone(),
                number: first.number,
                title: first.title.clone(),
                incidents,
            });
        }
    }
    Ok(groups)
}
