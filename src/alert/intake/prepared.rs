//! Stores alerts of Candor's own and saved requests, in a transaction that somebody else begins. The conditions are matched
//! before it.

use std::sync::{Arc, Mutex, PoisonError};

use super::matched::{ConditionCache, MatchedBatch, ROUNDS};
use super::taken::Taken;
use crate::alert::integration::Integration;
use crate::alert::source::{Alert, Batch, Request};
use crate::audit::{Actor, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::IntegrationId;

/// The number of rounds of a transaction that stores alerts of its own. Each alert can need several.
const MAX_ROUNDS: u32 = 10;

/// A batch with which the conditions have to be matched before the transaction can store it.
pub(super) struct Wanted {
    integration: Integration,
    /// The alerts as the transaction gives them, by which the result is found again.
    alerts: Vec<Alert>,
    /// The batch with which the conditions are matched.
    batch: Batch,
    /// The state of the conditions that turned out to be old.
    outdated: Option<i64>,
}

/// What is known of the alerts that a transaction is going to store. See [`write`].
#[derive(Default)]
pub struct Prepared {
    ready: Vec<(IntegrationId, Vec<Alert>, MatchedBatch)>,
    wanted: Mutex<Option<Wanted>>,
}

/// Returns whether two lists contain the same alerts. Their times are of no account: they can be the time of the
/// transaction, and no condition that makes sense depends on them.
fn same(left: &[Alert], right: &[Alert]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| {
            (
                &left.fingerprint,
                left.firing,
                &left.severity,
                &left.title,
                &left.text,
            ) == (
                &right.fingerprint,
                right.firing,
                &right.severity,
                &right.title,
                &right.text,
            ) && left.labels == right.labels
                && left.raw.get("resources") == right.raw.get("resources")
        })
}

impl Prepared {
    /// Returns what the conditions say about this batch, if they were matched with it.
    pub(super) fn find(&self, integration: &Integration, batch: &Batch) -> Option<&MatchedBatch> {
        let known = self
            .ready
            .iter()
            .rev()
            .find(|(id, alerts, _)| *id == integration.id && same(alerts, &batch.alerts));
        known.map(|(_, _, matched)| matched)
    }

    fn want(&self, wanted: Wanted) -> Error {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
        // Not `Unavailable`, which would say that the database refused to write.
        Error::Conflict("the alert rules changed at this moment; please try again".to_owned())
    }

    fn take_wanted(&self) -> Option<Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Runs a write transaction that may store alerts of Candor's own with [`take`] or [`take_again`]. If the conditions
/// have to be matched with an alert first, the transaction is undone, the conditions are matched outside of it, and
/// `work` runs again. So `work` must depend on nothing but the database, and must pass on the errors of `take`.
///
/// # Errors
/// The error of `work`, and `Conflict` if its alerts are different ones each time. Nothing is stored then.
pub async fn write<T, F>(conditions: &ConditionCache, actor: &Actor, work: F) -> Result<T>
where
    T: Send + 'static,
    F: Fn(&mut Tx<'_>, &Prepared) -> Result<T> + Send + Sync + 'static,
{
    let work = Arc::new(work);
    let mut ready = Vec::new();
    let mut round = 0;
    loop {
        let prepared = Arc::new(Prepared {
            ready: std::mem::take(&mut ready),
            wanted: Mutex::new(None),
        });
        let (work, given) = (work.clone(), prepared.clone());
        let done = conditions.db().write(actor, move |tx| work(tx, &given)).await;
        let Some(wanted) = prepared.take_wanted().filter(|_| round < MAX_ROUNDS) else {
            return done;
        };
        round += 1;
        let Wanted {
            integration,
            alerts,
            batch,
            outdated,
        } = wanted;
        let compiled = conditions.latest(outdated).await?;
        let (now, last) = (conditions.db().clock().now(), round >= ROUNDS);
        let made = tokio::task::spawn_blocking(move || {
            let matched = MatchedBatch::of(compiled, &integration, &batch, now, last);
            (integration.id, alerts, matched)
        })
        .await
        .map_err(Error::internal)?;
        ready = match Arc::try_unwrap(prepared) {
            Ok(prepared) => prepared.ready,
            Err(shared) => shared.ready.clone(),
        };
        ready.push(made);
    }
}

/// Stores the alerts of a body.
///
/// # Errors
/// `Internal` or `Unavailable` if the database fails. An error for [`write`] if the conditions have to be matched
/// first. Nothing of the body is stored then.
pub fn take(
    tx: &mut Tx<'_>,
    prepared: &Prepared,
    integration: &Integration,
    batch: &Batch,
    request: &Request,
) -> Result<Taken> {
    take_one(tx, prepared, integration, batch, request, false)
}

/// Replays one saved request.
///
/// # Errors
/// The same as for [`take`].
pub fn take_again(
    tx: &mut Tx<'_>,
    prepared: &Prepared,
    integration: &Integration,
    batch: &Batch,
    request: &Request,
) -> Result<Taken> {
    take_one(tx, prepared, integration, batch, request, true)
}

fn take_one(
    tx: &mut Tx<'_>,
    prepared: &Prepared,
    integration: &Integration,
    batch: &Batch,
    request: &Request,
    again: bool,
) -> Result<Taken> {
    let without_firing_alerts;
    let matched = if batch.alerts.iter().any(|alert| alert.firing) {
        match prepared.find(integration, batch) {
            Some(matched) => matched,
            None => return Err(prepared.want(wanted(integration, batch, None, None))),
        }
    } else {
        without_firing_alerts = MatchedBatch::without_firing_alerts();
        &without_firing_alerts
    };
    let body = super::work::Body {
        integration,
        batch,
        matched,
        request,
        actor: tx.actor.clone(),
        again,
    };
    match super::take_all(tx, vec![body])?.into_iter().next() {
        Some(super::TakeResult::Taken(taken)) => Ok(taken),
        Some(super::TakeResult::Outdated(linked)) => {
            Err(prepared.want(wanted(integration, batch, linked, matched.version())))
        }
        Some(super::TakeResult::Changed) | None => Err(Error::internal("a body without an answer")),
    }
}

pub(super) fn wanted(
    integration: &Integration,
    batch: &Batch,
    linked: Option<Batch>,
    outdated: Option<i64>,
) -> Wanted {
    Wanted {
        integration: integration.clone(),
        alerts: batch.alerts.clone(),
        batch: linked.unwrap_or_else(|| batch.clone()),
        outdated,
    }
}
