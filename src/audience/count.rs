//! Counts what a selector finds and how many people would be notified, before anything is stored.

use std::collections::BTreeMap;

use serde::Serialize;

use super::graph::Graph;
use super::reason::Folded;
use super::roles::Person;
use super::{At, Rule};
use crate::base::error::Result;
use crate::base::time::Timestamp;
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
    /// The time as of which it was evaluated. Left out if this is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
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
        let (owning, notified) = numbers(conn, graph)?;
        (accounts, people) = (Some(owning), Some(notified));
    }
    Ok(SelectorCount {
        selector: selector.to_string(),
        json: selector.to_json(),
        as_of: selector.as_of(),
        resources,
        by_type,
        accounts,
        people,
    })
}

/// Returns the number of accounts and of people who are notified by the default rule.
fn numbers(conn: &mut Conn, graph: Graph) -> Result<(usize, usize)> {
    let folded = Folded::of(conn, graph, &Rule::default())?;
    let keys: Vec<i64> = folded.people().collect();
    let there = super::roles::people(conn, At::Now, &keys)?;
    let is_notified = |person: &&Person| person.there && folded.place(person.key, 0).is_some();
    let people = there.iter().filter(is_notified).count();
    Ok((folded.numbers.accounts, people))
}

/// Returns the number of accounts that own these resources, and of the people who would be notified by the default rule. The
/// keys must be in their order, each once.
///
/// # Errors
/// An error of the database.
pub fn count_keys(conn: &mut Conn, keys: &[i64]) -> Result<(usize, usize)> {
    let graph = Graph::of_keys(conn, keys)?;
    numbers(conn, graph)
}

/// What a selector over people finds now.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = PeopleSelectorCount)]
pub struct FoundPeople {
    /// The selector as text, in its normal form.
    pub selector: String,
    /// The selector as an object.
    pub json: serde_json::Value,
    /// The time as of which it was evaluated. Left out if this is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
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
        as_of: selector.as_of(),
        people,
        accounts,
    })
}
