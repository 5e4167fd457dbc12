//! What a selector finds and whom it would reach, before anything is stored.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Rule;
use super::graph::Graph;
use crate::db::Conn;
use crate::directory::selector::Selector;
use crate::error::Result;

/// Resources above which accounts and people are not counted: whoever asks wants to know at once.
const MOST: i64 = 200_000;

/// What a selector finds now.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = SelectorCount)]
pub struct Found {
    /// The selector as text: the usual form of what was understood.
    pub selector: String,
    /// The same as an object.
    pub json: serde_json::Value,
    /// Resources.
    pub resources: i64,
    /// Resources of each type.
    pub by_type: BTreeMap<String, i64>,
    /// Accounts that own them; null where there are too many resources to look.
    pub accounts: Option<usize>,
    /// Their owners and collaborators who would be told by the usual rule; null likewise.
    pub people: Option<usize>,
}

/// Counts what a selector finds now, by the very evaluation that adds it to an incident.
///
/// # Errors
/// `Invalid`: a name that nothing has, or nothing found.
pub fn count(conn: &mut Conn, selector: &Selector) -> Result<Found> {
    let by_type = selector.count(conn)?;
    let resources = by_type.values().sum();
    let (mut accounts, mut people) = (None, None);
    if resources <= MOST {
        let graph = Graph::of_selector(conn, selector)?;
        accounts = Some(graph.reached().0.len());
        let reasons = super::reasons(conn, &graph, &Rule::default())?;
        let mut keys: Vec<i64> = reasons.keys().copied().collect();
        keys.sort_unstable();
        let there = super::roles::people(conn, graph.at, &keys)?;
        let told = |person: &&super::roles::Person| person.there && reasons.contains_key(&person.key);
        people = Some(there.iter().filter(told).count());
    }
    Ok(Found {
        selector: selector.to_string(),
        json: selector.to_json(),
        resources,
        by_type,
        accounts,
        people,
    })
}
