//! Intake: turns the bodies of hook requests into alerts, incidents and affected resources. Many bodies are
//! stored in one transaction.
//!
//! A repeat (the same integration and fingerprint, and the incident is still open) belongs to the open
//! incident and opens nothing. For other alerts, the first alert rule that matches decides where the alert
//! belongs (`conditions`, `placement`). Without a rule, the alert opens an incident. A closed incident gets a new
//! alert only if a rule reopens it. When all alerts of an incident are resolved, the incident moves to
//! monitoring. Intake notifies nobody and resolves no incident.
//!
//! The placement of each alert is decided in memory. Rows that can be written for many alerts at once are
//! written at the end of the transaction (`Work::finish`), so that an alert storm needs few statements for
//! each alert.
//!
//! A repeat notifies nobody, and each alert that is counted is also stored.
//!
//! The conditions of rules, silences and maintenance windows are matched before the transaction (`matched`).

pub(super) mod cache;
pub(super) mod conditions;
mod ending;
mod firing;
mod matched;
mod named;
pub(super) mod placement;
mod prepared;
mod row;
mod source_group;
mod taken;
pub(super) mod unchanged;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::json;

use self::cache::IntakeCache;
pub use self::matched::ConditionCache;
pub(crate) use self::matched::{MatchedBatch, ROUNDS};
use self::unchanged::unchanged;
use super::integration::Integration;
use super::keys::Keys;
use super::messages::Messages;
use super::saved_requests;
use super::source::{self, Batch, Request};
use crate::audit::{Action, Event, Tx};
use crate::base::count::counted;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, MuteId};
use crate::base::text::one_line;
use crate::db::dialect::{self, RepeatRow};
use crate::incident::{self, Incident};
pub use prepared::{Prepared, take, take_again, write};
pub use taken::{Recorded, RecordedReason, Taken};
pub(crate) use work::Body;
use work::{Outcome, Work};

/// Saves a request whose body is not in the format of the integration.
pub fn save_invalid(
    tx: &mut Tx<'_>,
    integration: &Integration,
    refusal: &source::Refusal,
    request: &Request,
) -> Result<()> {
    let detail = format!("{}: {}", refusal.0, refusal.1);
    saved_requests::save(tx, &integration.id, false, &detail, request)?;
    tx.record(
        Event::new(Action::HookInvalid, "integration", integration.id.as_str())
            .after(json!({"detail": detail})),
    );
    Ok(())
}

/// The number of events of one body that are described in full.
const MAX_SAID: usize = 10;

/// The result of storing a body.
#[derive(Debug)]
pub(crate) enum TakeResult {
    /// The body is stored.
    Taken(Taken),
    /// Nothing of the body is stored, because its integration was changed or deleted after it was read. The queue checks this.
    Changed,
    /// Nothing of the body is stored, because its conditions have to be matched again: they were changed, or a
    /// fingerprint is another one. Then this is the batch with its fingerprints.
    Outdated(Option<Batch>),
}

/// Stores bodies one after another and returns one result for each.
///
/// # Errors
/// `Internal` or `Unavailable` if the database fails. Nothing of any body is stored then.
pub(crate) fn take_all(tx: &mut Tx<'_>, bodies: Vec<Body<'_>>) -> Result<Vec<TakeResult>> {
    // Only one transaction at a time may place alerts. Otherwise two of them could open two incidents for one
    // problem.
    dialect::lock_intake(tx.conn)?;
    let actor = tx.actor.clone();
    let version = conditions::version(tx.conn)?;
    let present: Vec<bool> = bodies
        .iter()
        .map(|body| body.matched.is_current(version))
        .collect();
    let mut linked = linked(tx, &bodies, &present)?;
    let fits: Vec<bool> = bodies
        .iter()
        .zip(&present)
        .zip(&linked)
        .map(|((body, present), linked)| {
            *present && body.matched.is_valid_for(linked.as_ref().unwrap_or(body.batch))
        })
        .collect();
    let fitting: Vec<Body<'_>> = bodies
        .into_iter()
        .zip(&fits)
        .zip(&linked)
        .filter(|((_, fits), _)| **fits)
        .map(|((body, _), linked)| match linked {
            Some(batch) => Body { batch, ..body },
            None => body,
        })
        .collect();
    let mut taken = Vec::new();
    if !fitting.is_empty() {
        let mut work = Work::new();
        work.read_known_alerts(tx, &fitting)?;
        for body in fitting {
            tx.actor = body.actor.clone();
            work.take(tx, body)?;
        }
        taken = work.finish(tx)?;
        tx.actor = actor;
    }
    let mut taken = taken.into_iter();
    fits.iter()
        .zip(&mut linked)
        .map(|(fits, linked)| match fits {
            true => taken.next().map(TakeResult::Taken),
            false => Some(TakeResult::Outdated(linked.take())),
        })
        .map(|took| took.ok_or_else(|| Error::internal("a body without an answer")))
        .collect()
}

/// Returns, for each batch whose alerts have several keys, the batch with the fingerprints that these keys
/// lead to. Only the bodies that are `present` are looked at.
fn linked(tx: &mut Tx<'_>, bodies: &[Body<'_>], present: &[bool]) -> Result<Vec<Option<Batch>>> {
    let mut by_integration: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, body) in bodies.iter().enumerate() {
        let named = body.batch.alerts.iter().any(|alert| !alert.keys.is_empty());
        if named && present[index] {
            by_integration
                .entry(body.integration.id.as_str())
                .or_default()
                .push(index);
        }
    }
    let mut linked = vec![None; bodies.len()];
    for (integration, indexes) in by_integration {
        let batches = indexes.iter().map(|index| bodies[*index].batch);
        let Some(mut keys) = Keys::of(tx.conn, integration, batches)? else {
            continue;
        };
        for index in indexes {
            linked[index] = Some(keys.linked(bodies[index].batch));
        }
        keys.store(tx.conn, tx.now)?;
    }
    Ok(linked)
}

impl<'b> Work<'b> {
    fn new() -> Self {
        Work {
            cache: IntakeCache::locking(),
            fresh: Vec::new(),
            again: BTreeMap::new(),
            named: Vec::new(),
            ended: BTreeMap::new(),
            counted: BTreeMap::new(),
            grown: BTreeMap::new(),
            messages: Messages::default(),
            said: HashSet::new(),
            outcomes: Vec::new(),
        }
    }

    /// Reads the known state of all the alerts with a few queries.
    fn read_known_alerts(&mut self, tx: &mut Tx<'_>, bodies: &[Body<'_>]) -> Result<()> {
        let mut fingerprints: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut messages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for body in bodies {
            let known = fingerprints.entry(body.integration.id.as_str()).or_default();
            known.extend(body.batch.alerts.iter().map(|alert| alert.fingerprint.as_str()));
            let ids = body
                .batch
                .alerts
                .iter()
                .filter_map(|alert| alert.message_id.as_deref());
            messages
                .entry(body.integration.id.as_str())
                .or_default()
                .extend(ids);
        }
        for (integration, ids) in messages {
            self.messages.read(tx.conn, integration, &ids)?;
        }
        for (integration, of) in fingerprints {
            let fingerprints: Vec<&str> = of.into_iter().collect();
            self.cache.read(tx.conn, integration, &fingerprints)?;
        }
        Ok(())
    }

    fn take(&mut self, tx: &mut Tx<'_>, body: Body<'b>) -> Result<()> {
        let (integration, batch, again) = (body.integration, body.batch, body.again);
        let matched = body.matched;
        if !batch.ignored.is_empty() {
            let event = Event::new(Action::HookIgnored, "integration", integration.id.as_str());
            let shown: Vec<String> = batch
                .ignored
                .iter()
                .take(10)
                .map(|why| one_line(why, 300))
                .collect();
            tx.record(event.after(json!({"count": batch.ignored.len(), "first": shown})));
        }
        self.outcomes.push(Outcome {
            body,
            opened: Vec::new(),
            attached: Vec::new(),
            reopened: Vec::new(),
            resolved: 0,
            silenced: 0,
            unresolved: BTreeSet::new(),
            recorded: Vec::new(),
        });
        for why in batch.ignored.iter().take(MAX_SAID) {
            let recorded = Recorded {
                fingerprint: None,
                reason: RecordedReason::NoAlert,
                detail: one_line(why, 300),
            };
            self.outcome().recorded.push(recorded);
        }
        let integration_id = integration.id.as_str();
        // One message can contain several alerts. So check all message IDs before the first alert is
        // processed.
        let messages = batch
            .alerts
            .iter()
            .filter_map(|alert| alert.message_id.as_deref());
        let (taken, fresh): (BTreeSet<&str>, BTreeSet<&str>) =
            messages.partition(|id| !again && self.messages.was_taken(integration_id, id));
        for id in fresh {
            self.messages.take(integration_id, id);
        }
        for (index, alert) in batch.alerts.iter().enumerate() {
            if alert.message_id.as_deref().is_some_and(|id| taken.contains(id)) {
                let id = alert.message_id.as_deref().unwrap_or_default();
                let detail = format!("the message {id} was already processed");
                self.recorded(alert, RecordedReason::RepeatedMessage, &detail);
                continue;
            }
            if let Some(known) = self.cache.alert(tx.conn, integration_id, &alert.fingerprint)?
                && let Some(reason) = unchanged(&known, alert, tx.now)
            {
                self.keep_unchanged(tx, integration, alert, &known, reason);
                continue;
            }
            if let Some(why) = &alert.informs {
                self.recorded(alert, RecordedReason::Informational, why);
            }
            if alert.firing {
                let incident = self.fire(tx, (matched, index), integration, alert)?;
                if let Some(incident) = incident.filter(|_| batch.truncated > 0) {
                    let left = batch.truncated;
                    let text = format!(
                        "The sender left out {}: more resources may be affected",
                        counted(left, "alert", "alerts")
                    );
                    self.say_once(tx, &incident, &text)?;
                }
            } else {
                self.outcome().resolved += 1;
                self.resolve(tx, integration, alert)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, incident: Option<&IncidentId>, new: i64, received: i64) {
        if let Some(incident) = incident {
            let counted = self.counted.entry(incident.clone()).or_default();
            counted.0 += new;
            counted.1 += received;
        }
    }

    fn outcome(&mut self) -> &mut Outcome<'b> {
        // `take` has always pushed one before.
        let last = self.outcomes.len() - 1;
        &mut self.outcomes[last]
    }

    /// Stores the new alerts that are not stored yet.
    fn insert_fresh(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        row::insert(tx.conn, &std::mem::take(&mut self.fresh))
    }

    /// Writes everything that is not written yet, and returns the result of each body.
    fn finish(mut self, tx: &mut Tx<'_>) -> Result<Vec<Taken>> {
        self.insert_fresh(tx)?;
        let again = std::mem::take(&mut self.again);
        let rows: Vec<RepeatRow<'_>> = again
            .iter()
            .map(|(id, again)| RepeatRow {
                id: id.as_str(),
                times: again.times,
                mute: again.mute.as_ref().map(MuteId::as_str),
                event_at: again.last.at,
                event_seen_at: again.last.seen_at,
                late: again.late,
            })
            .collect();
        dialect::repeat_alerts(tx.conn, tx.now, &rows)?;
        for (incident, (new, received)) in std::mem::take(&mut self.counted) {
            incident::count_alerts(tx.conn, &incident, new, received)?;
        }
        self.messages.store(tx.conn, tx.now)?;
        for (id, again) in again.iter().filter(|(_, again)| again.times > 0) {
            tx.actor = again.actor.clone();
            let event = Event::new(Action::AlertRepeated, "alert", id.as_str())
                .after(json!({"repeats": again.total}));
            tx.record(match &again.incident {
                Some(incident) => event.incident(incident),
                None => event,
            });
        }
        self.record_unchanged(tx);
        self.name_groups(tx)?;
        for (incident, actor) in std::mem::take(&mut self.ended) {
            tx.actor = actor;
            self.settle(tx, &incident)?;
        }
        let named = std::mem::take(&mut self.named);
        named::refer(tx, named, &mut self.outcomes)?;
        self.save_requests(tx)?;
        let mut shown: HashMap<IncidentId, Incident> = HashMap::new();
        let mut taken = Vec::new();
        for outcome in self.outcomes {
            let mut show = |ids: &[IncidentId]| -> Result<Vec<Incident>> {
                let mut incidents = Vec::new();
                for id in ids {
                    if !shown.contains_key(id) {
                        shown.insert(id.clone(), incident::get(tx.conn, id)?);
                    }
                    incidents.extend(shown.get(id).cloned());
                }
                Ok(incidents)
            };
            taken.push(Taken {
                alerts: outcome.body.batch.alerts.len(),
                opened: show(&outcome.opened)?,
                attached: show(&outcome.attached)?,
                reopened: show(&outcome.reopened)?,
                resolved: outcome.resolved,
                silenced: outcome.silenced,
                unresolved_references: outcome.unresolved.len(),
                ignored: outcome.body.batch.ignored.len(),
                recorded: outcome.recorded,
                notes: outcome.body.batch.notes.clone(),
            });
        }
        Ok(taken)
    }

    /// Records on the audit trail which events changed nothing, with one event for each body.
    fn record_unchanged(&self, tx: &mut Tx<'_>) {
        for outcome in &self.outcomes {
            let recorded: Vec<&Recorded> = outcome
                .recorded
                .iter()
                .filter(|one| one.reason != RecordedReason::NoAlert)
                .collect();
            if recorded.is_empty() {
                continue;
            }
            tx.actor = outcome.body.actor.clone();
            let first: Vec<&&Recorded> = recorded.iter().take(MAX_SAID).collect();
            let event = Event::new(
                Action::HookIgnored,
                "integration",
                outcome.body.integration.id.as_str(),
            );
            tx.record(event.after(json!({"count": recorded.len(), "recorded": first})));
        }
    }

    /// Saves the requests. For each integration, only the most recent ones are saved.
    fn save_requests(&self, tx: &mut Tx<'_>) -> Result<()> {
        let mut by_integration: BTreeMap<&str, Vec<(String, &Request)>> = BTreeMap::new();
        let mut ids = HashMap::new();
        for outcome in &self.outcomes {
            let batch = outcome.body.batch;
            let mut detail = format!(
                "{}, {} opened, attached to {}",
                counted(batch.alerts.len(), "alert", "alerts"),
                counted(outcome.opened.len(), "incident", "incidents"),
                counted(outcome.attached.len(), "incident", "incidents")
            );
            for (count, what) in [
                (outcome.reopened.len(), "reopened"),
                (outcome.silenced, "silenced"),
            ] {
                if count > 0 {
                    detail = format!("{detail}, {count} {what}");
                }
            }
            for ignored in batch.ignored.iter().take(MAX_SAID) {
                detail = format!("{detail}; no alert: {ignored}");
            }
            let recorded = outcome.recorded.iter().filter(|one| one.fingerprint.is_some());
            for one in recorded.take(MAX_SAID) {
                detail = format!("{detail}; recorded only: {}", one.detail);
            }
            for note in batch.notes.iter().take(MAX_SAID) {
                detail = format!("{detail}; not read: {note}");
            }
            let id = &outcome.body.integration.id;
            ids.insert(id.as_str(), id);
            by_integration
                .entry(id.as_str())
                .or_default()
                .push((detail, outcome.body.request));
        }
        for (id, bodies) in by_integration {
            if let Some(id) = ids.get(id) {
                saved_requests::save_all(tx, id, &bodies)?;
            }
        }
        Ok(())
    }
}
