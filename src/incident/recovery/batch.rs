//! Somebody begins to recover resources, or says that the attempt failed. Nobody can say that resources are recovered: a claim is not
//! evidence.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::chosen::Chosen;
use super::state::State;
use super::told;
use super::work::{Cause, Effect, Work, fill};
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::count::counted;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect;
use crate::directory::ResourceRef;
use crate::directory::selector::{Json, SelectorSchema};
use crate::incident::stored::get;
use crate::incident::timeline;

/// What somebody says about the recovery of resources: either of a list, or of those that a selector finds.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RecoveryBatch)]
pub struct Batch {
    /// `recovering` if somebody begins to recover the resources, or `impaired` if that failed. `recovered` is refused, because only evidence
    /// makes a resource recovered.
    pub state: State,
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
    /// The name of the batch, for the timeline. Customers do not see it.
    #[serde(default)]
    pub name: Option<String>,
}

/// What a batch changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RecoveryBatchResult)]
pub struct Begun {
    /// The number of resources whose state changed.
    pub changed: i64,
    /// The number of recovered resources that are impaired again.
    pub relapsed: i64,
    /// The number of resources that had this state before, or that are already recovered.
    pub unchanged: i64,
}

/// Changes the state of resources to recovering or impaired. Affected resources without a state get one first.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the state is recovered, and if the resources are wrong. Nothing is changed then.
pub fn change(tx: &mut Tx<'_>, incident: &IncidentId, batch: &Batch) -> Result<Begun> {
    let mut check = Check::default();
    if let Some(name) = &batch.name {
        check.name("/name", name);
    }
    if batch.state == State::Recovered {
        let detail = "a claim is not evidence: send evidence to …/recovery/evidence, compare a later listing, or let two people \
                      attest resources of which nothing can be measured";
        check
            .errors
            .push(FieldError::at("/state", detail).code(Code::ClaimIsNotEvidence));
    }
    check.finish()?;
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let stored = get(tx.conn, incident)?;
    let chosen = Chosen {
        resources: batch.resources.clone(),
        selector: batch.selector.clone(),
        as_of: batch.as_of,
    };
    let chosen = chosen.keys(tx, incident)?;
    fill(tx, incident, stored.started_at)?;
    let name = batch.name.as_deref().map(str::trim);
    let source = match name {
        Some(name) => format!("batch {name}"),
        None => "batch".to_owned(),
    };
    let mut work = Work::read(tx.conn, incident, &chosen.keys)?;
    let (mut changed, mut relapsed) = (0_i64, 0_i64);
    for key in &chosen.keys {
        let cause = Cause {
            at: tx.now,
            source: &source,
            evidence: None,
        };
        let effect = match batch.state {
            State::Recovering => work.begin(*key, cause),
            State::Impaired => work.wrong(*key, cause),
            State::Recovered => return Err(Error::internal("a batch claims that resources are recovered")),
        };
        match effect {
            Effect::Changed => changed += 1,
            Effect::Relapsed => relapsed += 1,
            _ => {}
        }
    }
    work.store(tx)?;
    if changed > 0 {
        let resources = counted(changed, "resource", "resources");
        let mut text = match batch.state {
            State::Recovering => format!("Recovery of {resources} began"),
            _ => format!("Recovery of {resources} failed"),
        };
        if let Some(name) = name {
            text.push_str(&format!(": {name}"));
        }
        timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text)?;
        let mut after = json!({"state": batch.state, "changed": changed, "what": chosen.what});
        if let Some(name) = name {
            after["name"] = json!(name);
        }
        tx.record(
            Event::new(Action::RecoveryBegun, "incident", incident.as_str())
                .incident(incident)
                .after(after),
        );
    }
    told::relapsed(tx, incident, &source, relapsed)?;
    Ok(Begun {
        changed,
        relapsed,
        unchanged: chosen.keys.len() as i64 - changed - relapsed,
    })
}
