//! Merges many incidents at once, for example those that a storm of alerts opened. All of them are merged, or none.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::locks::lock;
use super::moved::Moved;
use super::one::{merge, preview};
use crate::audit::Tx;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::db::Conn;

/// The largest number of incidents that one request merges.
const MOST: usize = 200;

/// A request to merge incidents into another one.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeSeveral {
    /// The IDs of the incidents. From 1 to 200, each once.
    pub from: Vec<IncidentId>,
    /// The ID of the incident that they are merged into.
    pub into: IncidentId,
    /// Why. It is shown on the timelines. Customers do not see it.
    #[serde(default)]
    pub reason: Option<String>,
    /// If true, nothing changes, and the answer says what would.
    #[serde(default)]
    pub dry_run: bool,
}

/// One of the incidents that are merged together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct OneMerged {
    /// The ID of the incident.
    pub incident: IncidentId,
    /// What counts for the other incident from now on.
    pub moved: Moved,
}

/// The result of merging several incidents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MergedSeveral {
    /// The ID of the incident that they are merged into.
    pub into: IncidentId,
    /// What counts for that incident from now on, of all of them together.
    pub moved: Moved,
    /// The incidents that are merged, in the order of the request. With `dry_run`, they are those that would be merged.
    pub merged: Vec<OneMerged>,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

fn check(request: &MergeSeveral) -> Result<()> {
    if request.from.is_empty() || request.from.len() > MOST {
        return Err(Error::invalid(
            "/from",
            format!("must list 1 to {MOST} incidents"),
        ));
    }
    let mut seen = HashSet::new();
    let repeated: Vec<FieldError> = request
        .from
        .iter()
        .enumerate()
        .filter(|(_, id)| !seen.insert(*id))
        .map(|(index, _)| FieldError::at(format!("/from/{index}"), "is listed twice"))
        .collect();
    if repeated.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(repeated))
    }
}

/// Says which of the listed incidents does not exist.
fn at(index: usize, error: Error) -> Error {
    match error {
        Error::NotFound(_) => Error::invalid(format!("/from/{index}"), "is not the ID of an incident"),
        other => other,
    }
}

fn together(request: &MergeSeveral, merged: Vec<OneMerged>) -> MergedSeveral {
    let mut moved = Moved::default();
    for one in &merged {
        moved += one.moved;
    }
    MergedSeveral {
        into: request.into.clone(),
        moved,
        merged,
        dry_run: request.dry_run,
    }
}

/// Returns what merging these incidents would do, and changes nothing.
///
/// # Errors
/// The same as for [`merge_several`].
pub fn preview_several(conn: &mut Conn, request: &MergeSeveral) -> Result<MergedSeveral> {
    check(request)?;
    let mut merged = Vec::with_capacity(request.from.len());
    for (index, from) in request.from.iter().enumerate() {
        let moved = preview(conn, from, &request.into)
            .map_err(|error| at(index, error))?
            .moved;
        merged.push(OneMerged {
            incident: from.clone(),
            moved,
        });
    }
    Ok(together(request, merged))
}

/// Merges these incidents into another one.
///
/// # Errors
/// `Invalid` if the list is empty, too long, or has an incident twice, or if an incident does not exist. `Conflict` as for a single
/// merge. Nothing is merged then.
pub fn merge_several(tx: &mut Tx<'_>, request: &MergeSeveral) -> Result<MergedSeveral> {
    check(request)?;
    let all: Vec<&IncidentId> = request.from.iter().chain([&request.into]).collect();
    lock(tx.conn, &all)?;
    let mut merged = Vec::with_capacity(request.from.len());
    for (index, from) in request.from.iter().enumerate() {
        let moved = merge(tx, from, &request.into, request.reason.as_deref())
            .map_err(|error| at(index, error))?
            .moved;
        merged.push(OneMerged {
            incident: from.clone(),
            moved,
        });
    }
    Ok(together(request, merged))
}
