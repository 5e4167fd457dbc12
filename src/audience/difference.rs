//! Who owned what is affected at one time and who at another: people who came, who left, and whose reasons changed.
//!
//! Must never happen here: somebody who owned it then and does not now, left out of the difference.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use serde::Serialize;

use super::{Addressee, At, Audience, PersonRef, Reason, Rule, resolve_by};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::Conn;

word_enum! {
    /// What became of a person between two times.
    Change, "a change" {
        /// In the audience as of the second time alone.
        Added = "added",
        /// In the audience as of the first time alone.
        Removed = "removed",
        /// In both, for other reasons.
        Changed = "changed",
    }
}

/// A person of whom the two audiences say different things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Changed {
    /// Who.
    pub person: PersonRef,
    /// What became of them.
    pub change: Change,
    /// Their reasons as of the first time.
    pub before: Vec<Reason>,
    /// Their reasons as of the second time.
    pub after: Vec<Reason>,
}

/// How many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DifferenceCounts {
    /// People who came.
    pub added: usize,
    /// People who left.
    pub removed: usize,
    /// People whose reasons are others.
    pub changed: usize,
    /// Affected resources that the directory did not know as of the first time.
    pub not_known_then: usize,
}

/// What differs between two audiences of an incident, by the ids of the people.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The numbers.
    pub counts: DifferenceCounts,
    /// The people.
    pub people: Vec<Changed>,
}

/// Compares the audience as of one time with that of another.
///
/// # Errors
/// `NotFound` where there is no such incident.
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

/// Who is in an audience and for which reasons, in a few bytes each: enough to count what differs.
pub struct Outline {
    /// In the order of the ids, with a hash of the reasons: equal for equal ones, and hardly ever else.
    people: Vec<(Box<str>, u64)>,
    hashes: RandomState,
    not_known: usize,
}

impl Outline {
    /// Of an audience, which is used up.
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

    /// How another audience of the incident differs from it; its people are in the order of their ids.
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
