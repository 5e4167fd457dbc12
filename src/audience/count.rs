//! Counts what a selector finds and how many people would be notified, before anything is stored.

use std::collections::BTreeMap;

use serde::Serialize;

use super::graph::Graph;
use super::reason::Folded;
use super::roles::Person;
use super::{At, Rule};
use crate::base::error::Result;
use crate::db::Conn;
use crate::directory::selector::{PeopleSelector, Selector};

/// The number of resources up to which accounts and people are counted. Above it, counting would take too
/// long.
const MAX: i64 = 200_000;

/// What a selector finds now.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = SelectorCount)]
pub struct SelectorCount {
    /// The selector as text, in its normal form.
    pub selector: String,
    /// The selector as an object.
    pub json: serde_json::Value,
    /// The number of resources.
    pub resources: i64,
    /// The number of resources of each type.
    pub by_type: BTreeMap<String, i64>,
    /// The number of accounts that own them. Null if there are more than 200,000 resources.
    pub accounts: Option<usize>,
    /// The number of owners and collaborators who would be notified by the default rule. Null if there are
    /// more than 200,000 resources.
    pub people: Option<usize>,
}

/// Counts what a selector finds now, with the same evaluation that adds resources to an incident.
///
/// # Errors
/// `Invalid` if the selector contains an unknown name or finds nothing.
pub fn count(conn: &mut Conn, selector: &Selector) -> Result<SelectorCount> {
    let by_type = selector.count(conn)?;
    let resources = by_type.values().sum();
    let (mut accounts, mut people) = (None, None);
    if resources <= MAX {
        let graph = Graph::of_selector(conn, selector)?;
        let folded = Folded::of(conn, graph, &Rule::default())?;
        accounts = Some(folded.numbers.accounts);
        let keys: Vec<i64> = folded.people().collect();
        let there = super::roles::people(conn, At::Now, &keys)?;
        let is_notified = |person: &&Person| person.there && folded.place(person.key, 0).is_some();
        people = Some(there.iter().filter(is_notified).count());
    }
    Ok(SelectorCount {
        selector: selector.to_string(),
        json: selector.to_json(),
        resources,
        by_type,
        accounts,
        people,
    })
}

/// What a selector over people finds now.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = PeopleSelectorCount)]
pub struct FoundPeople {
    /// The selector as text, in its normal form.
    pub selector: String,
    /// The selector as an object.
    pub json: serde_json::Value,
    /// The number of people.
    pub people: i64,
    /// The number of accounts in which they are members. Other accounts of these people do not count.
    pub accounts: i64,
}

/// Counts the people that a selector finds now, with the same evaluation that adds people to an incident.
///
/// # Errors
/// `Invalid` if the selector contains an unknown name or finds nobody.
pub fn count_people(conn: &mut Conn, selector: &PeopleSelector) -> Result<FoundPeople> {
    let (people, accounts) = selector.count(conn)?;
    Ok(FoundPeople {
        selector: selector.to_string(),
        json: selector.to_json(),
        people,
        accounts,
    })
}
