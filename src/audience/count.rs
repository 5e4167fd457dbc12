//! What a selector finds and whom it would reach, before anything is stored.

use std::collections::BTreeMap;

use serde::Serialize;

use super::graph::Graph;
use super::reason::Folded;
use super::roles::Person;
use super::{At, Rule};
use crate::base::error::Result;
use crate::db::Conn;
use crate::directory::selector::Selector;

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
        let folded = Folded::of(conn, graph, &Rule::default())?;
        accounts = Some(folded.numbers.accounts);
        let keys: Vec<i64> = folded.people().collect();
        let there = super::roles::people(conn, At::Now, &keys)?;
        let told = |person: &&Person| person.there && folded.place(person.key, 0).is_some();
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
