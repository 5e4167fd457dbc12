//! A check that passed, as evidence that resources of an incident are recovered.

use serde::Deserialize;

use super::check::{self, CheckState};
use crate::audit::Tx;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{CheckId, IncidentId};
use crate::base::time::Timestamp;
use crate::directory::selector::{Json, SelectorSchema};
use crate::directory::{ResourceRef, resource};
use crate::incident::recovery::{self, Chosen, Observed, Passed};

/// A check as the evidence for resources, either of a list or of a selector.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckEvidence {
    /// The check. It must be up, and it must be about these resources or their ancestors.
    pub check: CheckId,
    /// These resources. Each must be affected.
    #[serde(default)]
    pub resources: Option<Vec<ResourceRef>>,
    /// Those of the affected resources that this selector finds.
    #[serde(default)]
    #[schema(value_type = Option<SelectorSchema>)]
    pub selector: Option<Json>,
    /// Evaluates the selector as of this time, with the labels, the parents and the accounts that the directory knew then. Only those
    /// that are affected now are chosen. If not set, the selector is evaluated as of now.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
}

/// Takes the last answer of a check as evidence.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if there is no such check, if it is not up, and in the cases of
/// [`recovery::checked`].
pub fn give(tx: &mut Tx<'_>, incident: &IncidentId, given: &CheckEvidence) -> Result<Observed> {
    let check = match check::get(tx.conn, &given.check) {
        Ok(check) if check.gone_at.is_none() => check,
        Ok(_) => return Err(Error::invalid("/check", "is deleted")),
        Err(Error::NotFound(_)) => return Err(Error::invalid("/check", "there is no check with this ID")),
        Err(error) => return Err(error),
    };
    let last = check
        .last
        .as_ref()
        .filter(|last| last.ok && check.state == CheckState::Up);
    let Some(last) = last else {
        let detail = "is not up: its last answer was not as expected, or it has none yet";
        return Err(Error::fields(vec![
            FieldError::at("/check", detail).code(Code::CheckNotPassed),
        ]));
    };
    let refs: Vec<&ResourceRef> = check.given.resources.iter().collect();
    let about: Vec<i64> = resource::keys_even_archived(tx.conn, &refs)?
        .into_values()
        .collect();
    let chosen = Chosen {
        resources: given.resources.clone(),
        selector: given.selector.clone(),
        as_of: given.as_of,
    };
    let passed = Passed {
        name: &check.given.name,
        at: last.at,
        about: &about,
    };
    recovery::checked(tx, incident, &chosen, passed)
}
