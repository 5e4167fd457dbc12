//! Checks whether the entries that staged rows refer to will exist when the run is stored.
//!
//! A reference is valid if the run brings the entry, or if the directory has it and this run does not archive
//! it. The result looks at the state after the run and not at the present state, so it is the same if the
//! same rows are read again.
//!
//! A row that is compared as usable is never rejected when it is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use diesel::prelude::*;

use super::left_out::{LeftOut, Why};
use crate::base::error::Result;
use crate::base::id::{RunId, SourceId};
use crate::db::Conn;
use crate::db::schema::{accounts as a, directory_origins as o, directory_staged as ds, people as p};
use crate::directory::line::{self, Line, LineKind};
use crate::directory::{ResourceRef, write};

/// The run that is compared.
pub(super) struct About<'a> {
    pub run: &'a RunId,
    pub source: &'a SourceId,
    /// The kinds that the source has queries for.
    pub kinds: &'a [LineKind],
}

/// One reference of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reference {
    Account(String),
    Person(String),
    Resource(ResourceRef),
}

impl Reference {
    fn kind(&self) -> LineKind {
        match self {
            Reference::Account(_) => LineKind::Account,
            Reference::Person(_) => LineKind::Person,
            Reference::Resource(_) => LineKind::Resource,
        }
    }

    fn key(&self) -> String {
        match self {
            Reference::Account(id) | Reference::Person(id) => line::key(&[id]),
            Reference::Resource(at) => line::resource_key(at),
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reference::Account(id) => write!(f, "account '{id}'"),
            Reference::Person(id) => write!(f, "person '{id}'"),
            Reference::Resource(at) => write!(f, "{at}"),
        }
    }
}

/// Returns the references of a line, with their columns.
fn of(line: &Line) -> Vec<(&'static str, Reference)> {
    let account = |id: &str| ("account", Reference::Account(id.to_owned()));
    let person = |id: &str| ("person", Reference::Person(id.to_owned()));
    match line {
        Line::Account(_) | Line::Person(_) => Vec::new(),
        Line::Resource(line) => {
            let above = line.account.iter().map(|id| account(id.as_str()));
            let parent = line.parent.iter().cloned();
            above
                .chain(parent.map(|at| ("parent_id", Reference::Resource(at))))
                .collect()
        }
        Line::Member(line) => vec![account(line.account.as_str()), person(line.person.as_str())],
        Line::Collaborator(line) => vec![
            ("resource_id", Reference::Resource(line.resource.clone())),
            person(line.person.as_str()),
        ],
    }
}

/// Returns which of these rows refer to an entry that will not exist, and why. The entries themselves must
/// have been checked before.
pub(super) fn judge(
    conn: &mut Conn,
    about: &About<'_>,
    rows: &[(String, Line)],
) -> Result<BTreeMap<String, LeftOut>> {
    let references: Vec<(&String, Vec<(&'static str, Reference)>)> =
        rows.iter().map(|(key, line)| (key, of(line))).collect();
    let wanted: BTreeSet<Reference> = references
        .iter()
        .flat_map(|(_, all)| all.iter().map(|(_, reference)| reference.clone()))
        .collect();
    let missing = missing(conn, about, &wanted)?;
    let mut left_out = BTreeMap::new();
    for (key, all) in references {
        let first = all.iter().find_map(|(column, reference)| {
            let why = missing.get(reference)?;
            let said = match why {
                Why::NotBrought => "is not among the rows that this source brings",
                Why::Archived => "is archived",
                Why::Follows => "is left out",
                Why::Unknown | Why::Wrong | Why::Erased => {
                    "does not exist: the directory does not have it, and this source has no query for its kind"
                }
            };
            Some(LeftOut {
                column: Some((*column).to_owned()),
                ..LeftOut::new(*why, format!("{reference} {said}"))
            })
        });
        if let Some(why) = first {
            left_out.insert(key.clone(), why);
        }
    }
    Ok(left_out)
}

/// Returns which of these entries will not exist, and why.
fn missing(
    conn: &mut Conn,
    about: &About<'_>,
    wanted: &BTreeSet<Reference>,
) -> Result<HashMap<Reference, Why>> {
    let mut missing = HashMap::new();
    for kind in [LineKind::Account, LineKind::Person, LineKind::Resource] {
        let of_kind: Vec<&Reference> = wanted.iter().filter(|one| one.kind() == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let keys: Vec<String> = of_kind.iter().map(|one| one.key()).collect();
        // By key: why the staged row is left out. None if it is used.
        let staged: HashMap<String, Option<String>> = ds::table
            .filter(ds::run_id.eq(about.run.as_str()))
            .filter(ds::kind.eq(kind.number()))
            .filter(ds::key.eq_any(&keys))
            .select((ds::key, ds::left_out))
            .load::<(String, Option<String>)>(conn)?
            .into_iter()
            .collect();
        let own: HashSet<String> = if about.kinds.contains(&kind) {
            o::table
                .filter(o::source_id.eq(about.source.as_str()))
                .filter(o::kind.eq(kind.number()))
                .filter(o::key.eq_any(&keys))
                .select(o::key)
                .load::<String>(conn)?
                .into_iter()
                .collect()
        } else {
            HashSet::new()
        };
        // Whether each of them is active or archived.
        let known = known(conn, kind, &of_kind)?;
        for (one, key) in of_kind.into_iter().zip(keys) {
            let left_out = staged.get(&key).map(Option::as_deref);
            let why = match (left_out, known.get(one)) {
                (Some(None), _) => continue,
                // Only a value of the row is wrong, so the entry that the directory has still counts.
                (Some(Some(why)), Some(true)) if why == Why::Wrong.as_str() => continue,
                // The row is left out because of what it refers to. Whether the directory has the entry from before
                // makes no difference, so that the same rows give the same result.
                (Some(Some(_)), _) => Why::Follows,
                // Another source or a person has made the entry, and this run does not archive it.
                (None, Some(true)) if !own.contains(&key) => continue,
                // Whether the directory has it from before, archived or not, makes no difference.
                (None, _) if about.kinds.contains(&kind) => Why::NotBrought,
                (None, Some(true)) => continue,
                (None, Some(false)) => Why::Archived,
                (None, None) => Why::Unknown,
            };
            missing.insert(one.clone(), why);
        }
    }
    Ok(missing)
}

/// Returns the entries that the directory knows. The value is true if the entry is active, and false if it is
/// archived.
fn known(conn: &mut Conn, kind: LineKind, wanted: &[&Reference]) -> Result<HashMap<Reference, bool>> {
    let mut known = HashMap::new();
    let ids = || {
        wanted.iter().filter_map(|one| match one {
            Reference::Account(id) | Reference::Person(id) => Some(id.as_str()),
            Reference::Resource(_) => None,
        })
    };
    match kind {
        LineKind::Account => {
            let rows: Vec<(String, bool)> = a::table
                .filter(a::id.eq_any(ids()))
                .select((a::id, a::gone_at.is_null()))
                .load(conn)?;
            known.extend(
                rows.into_iter()
                    .map(|(id, there)| (Reference::Account(id), there)),
            );
        }
        LineKind::Person => {
            let rows: Vec<(String, bool)> = p::table
                .filter(p::id.eq_any(ids()))
                .select((p::id, p::gone_at.is_null()))
                .load(conn)?;
            known.extend(rows.into_iter().map(|(id, there)| (Reference::Person(id), there)));
        }
        LineKind::Resource | LineKind::Member | LineKind::Collaborator => {
            let refs: Vec<&ResourceRef> = wanted
                .iter()
                .filter_map(|one| match one {
                    Reference::Resource(at) => Some(at),
                    Reference::Account(_) | Reference::Person(_) => None,
                })
                .collect();
            for gone in [true, false] {
                let found = write::resource_keys(conn, &refs, gone)?;
                known.extend(found.into_keys().map(|at| (Reference::Resource(at), !gone)));
            }
        }
    }
    Ok(known)
}
