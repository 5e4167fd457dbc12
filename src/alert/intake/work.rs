//! The state of one intake transaction. Each step of it is in a file of its own.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::cache::IntakeCache;
use super::matched::MatchedBatch;
use super::row::NewRow;
use super::taken::Recorded;
use crate::alert::integration::Integration;
use crate::alert::messages::Messages;
use crate::alert::order::LastEvent;
use crate::alert::source::{Alert, Batch, Request};
use crate::audit::Actor;
use crate::base::id::{AlertId, IncidentId, MuteId};
use crate::directory::ResourceRef;

/// A group that got alerts in this transaction.
pub(super) struct GrownGroup {
    pub(super) incident: IncidentId,
    pub(super) names: Vec<String>,
    /// The number of its alerts that were not in the incident before.
    pub(super) new: i64,
    pub(super) actor: Actor,
}

/// A stored alert with its references.
pub(super) struct AlertReferences<'b> {
    /// The alert as it was received.
    pub alert: &'b Alert,
    /// The ID of the stored alert.
    pub id: AlertId,
    /// The incident that the alert is in.
    pub incident: Option<IncidentId>,
    /// The references of the alert.
    pub chains: Vec<Vec<ResourceRef>>,
    /// The index of the body that contained the alert, in the list of outcomes.
    pub outcome: usize,
}

/// A body that was parsed.
#[derive(Clone)]
pub(crate) struct Body<'b> {
    pub integration: &'b Integration,
    pub batch: &'b Batch,
    /// What the conditions say about the alerts of the batch.
    pub matched: &'b MatchedBatch,
    pub request: &'b Request,
    /// Who sent the body.
    pub actor: Actor,
    /// Whether this is a replay of a saved request. A replay is processed even if its message was processed
    /// before.
    pub again: bool,
}

/// The result of one body, before everything is written.
pub(super) struct Outcome<'b> {
    pub(super) body: Body<'b>,
    pub(super) opened: Vec<IncidentId>,
    pub(super) attached: Vec<IncidentId>,
    pub(super) reopened: Vec<IncidentId>,
    pub(super) resolved: usize,
    pub(super) silenced: usize,
    pub(super) unresolved: BTreeSet<ResourceRef>,
    pub(super) recorded: Vec<Recorded>,
}

/// An alert that is stored already and for which another event arrived.
pub(super) struct RepeatedAlert {
    /// The number of repeats in this transaction.
    pub(super) times: i64,
    /// The number of repeats in all.
    pub(super) total: i64,
    /// The number of late events in this transaction.
    pub(super) late: i64,
    /// The newest event of the alert.
    pub(super) last: LastEvent,
    pub(super) incident: Option<IncidentId>,
    pub(super) mute: Option<MuteId>,
    pub(super) actor: Actor,
}

/// The state of one intake transaction.
pub(super) struct Work<'b> {
    pub(super) cache: IntakeCache,
    pub(super) fresh: Vec<NewRow>,
    pub(super) again: BTreeMap<AlertId, RepeatedAlert>,
    pub(super) named: Vec<AlertReferences<'b>>,
    pub(super) ended: BTreeMap<IncidentId, Actor>,
    /// For each incident: the number of new alerts, and the number of messages in all.
    pub(super) counted: BTreeMap<IncidentId, (i64, i64)>,
    /// The groups of senders that got alerts, by the key of the group.
    pub(super) grown: BTreeMap<String, GrownGroup>,
    pub(super) messages: Messages,
    pub(super) said: HashSet<(IncidentId, String)>,
    pub(super) outcomes: Vec<Outcome<'b>>,
}
