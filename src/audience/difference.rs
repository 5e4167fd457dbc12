//! Compares the audiences of an incident at two times: people who were added, people who were removed, and
//! people with other reasons.
//!
//! A person who owned a resource at the first time and does not own it at the second time is always in the
//! difference.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use serde::Serialize;

use super::person::PersonRef;
use super::resolve::{Addressee, Audience, resolve_by};
use super::{At, Reason, Rule};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::Conn;

word_enum! {
    /// How the audience of a person differs between two times.
    Change, "a change" {
        /// The person is in the audience only at the second time.
        Added = "added",
        /// The person is in the audience only at the first time.
        Removed = "removed",
        /// The person is in the audience at both times, with other reasons.
        Changed = "changed",
    }
}

/// A person with a difference between the two audiences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Changed {
    /// The person, with the current name and email address.
    pub person: PersonRef,
    /// The kind of difference.
    pub change: Change,
    /// The reasons at the first time.
    pub before: Vec<Reason>,
    /// The reasons at the second time.
    pub after: Vec<Reason>,
}

/// The numbers of a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DifferenceCounts {
    /// The number of people who were added.
    pub added: usize,
    /// The number of people who were removed.
    pub removed: usize,
    /// The number of people with other reasons.
    pub changed: usize,
    /// The number of affected resources that the directory did not know at the first time.
    pub not_known_then: usize,
}

/// The differences between two audiences of an incident, ordered by the ID of the person.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The numbers of people by kind of difference.
    pub counts: DifferenceCounts,
    /// The people with a difference.
    pub people: Vec<Changed>,
}

/// Compares the audience at one time with the audience at another.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn difference(
    conn: &mut Conn,
    incident: &IncidentId,
    rule: &Rule,
    from: At,
    to: At,
) -> Result<Difference> {
    let before = resolve_by(conn, incident, rule, from)?;
    let after = resolve_by(conn, incident, rule, to)?;
    Ok(compare(&before, &after))
}

/// Compares two audiences of one incident.
pub fn compare(before: &Audience, after: &Audience) -> Difference {
    let mut both: BTreeMap<&str, (Option<&Addressee>, Option<&Addressee>)> = BTreeMap::new();
    for addressee in &before.people {
        both.entry(&addressee.person.id).or_default().0 = Some(addressee);
    }
    for addressee in &after.people {
        both.entry(&addressee.person.id).or_default().1 = Some(addressee);
    }
    let changed = |of: &Addressee, change, before: Option<&Addressee>, after: Option<&Addressee>| {
        let reasons =
            |one: Option<&Addressee>| one.map(|one| one.reasons.iter().collect()).unwrap_or_default();
        Changed {
            person: of.person.clone(),
            change,
            before: reasons(before),
            after: reasons(after),
        }
    };
    let people: Vec<Changed> = both
        .into_values()
        .filter_map(|pair| match pair {
            (None, Some(after)) => Some(changed(after, Change::Added, None, Some(after))),
            (Some(before), None) => Some(changed(before, Change::Removed, Some(before), None)),
            (Some(before), Some(after)) if before.reasons != after.reasons => {
                Some(changed(after, Change::Changed, Some(before), Some(after)))
            }
            _ => None,
        })
        .collect();
    let count = |change: Change| people.iter().filter(|one| one.change == change).count();
    Difference {
        counts: DifferenceCounts {
            added: count(Change::Added),
            removed: count(Change::Removed),
            changed: count(Change::Changed),
            not_known_then: before.counts.not_known_then,
        },
        people,
    }
}

/// The people of an audience with a hash of their reasons. It needs only a few bytes for each person, which
/// is enough to count differences.
pub struct Outline {
    /// The IDs of the people in order, each with a hash of the reasons. Equal reasons have equal hashes, and
    /// different reasons almost never do.
    people: Vec<(Box<str>, u64)>,
    hashes: RandomState,
    not_known: usize,
}

impl Outline {
    /// Makes the outline of an audience, which is consumed.
    pub fn of(audience: Audience) -> Self {
        let hashes = RandomState::new();
        let not_known = audience.counts.not_known_then;
        let mut people = Vec::with_capacity(audience.people.len());
        for addressee in audience.people {
            let hash = hashes.hash_one(&addressee.reasons);
            people.push((addressee.person.id.into(), hash));
        }
        Outline {
            people,
            hashes,
            not_known,
        }
    }

    /// Counts how another audience of the incident differs from this one. Its people must be ordered by ID.
    pub fn until(&self, after: &[Addressee]) -> DifferenceCounts {
        let mut counts = DifferenceCounts {
            not_known_then: self.not_known,
            ..DifferenceCounts::default()
        };
        let mut before = self.people.iter().peekable();
        for addressee in after {
            let id = addressee.person.id.as_str();
            while before.next_if(|(other, _)| **other < *id).is_some() {
                counts.removed += 1;
            }
            match before.next_if(|(other, _)| **other == *id) {
                None => counts.added += 1,
                Some((_, reasons)) if *reasons != self.hashes.hash_one(&addressee.reasons) => {
                    counts.changed += 1
                }
                Some(_) => {}
            }
        }
        counts.removed += before.count();
        counts
    }
}
