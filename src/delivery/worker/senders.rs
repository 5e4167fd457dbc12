//! The senders, which make deliveries one after another, and the renewer, which extends their leases.
//!
//! No delivery starts after its lease has ended, or if its notice is known to be stopped.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::Instrument;

use super::shared::{ChannelState, Shared};
use crate::base::outage::Outage;
use crate::delivery::channel::{PossiblyReceived, Sender};
use crate::delivery::dispatch::{Assignment, PaceSignal};
use crate::delivery::outcome::Outcome;
use crate::delivery::outcome_log::Done;
use crate::delivery::queue::{self, Finish, Handover};

/// The time between two renewals, which is much shorter than [`queue::LEASE`].
const RENEW: Duration = Duration::from_secs(10);
/// How long a connection is kept open without a delivery.
const IDLE: Duration = Duration::from_secs(15);
/// How long a stopping process waits for deliveries that the other side can have received.
const DRAIN: Duration = Duration::from_secs(25);
/// How long a stopping process waits for deliveries that the other side cannot have received.
const GRACE: Duration = Duration::from_secs(2);
/// The interval at which the process checks which of the two a delivery is.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn make_deliveries(
    shared: Arc<Shared>,
    channel_state: Arc<ChannelState>,
    mut sender: Box<dyn Sender>,
    mut stop: watch::Receiver<bool>,
) {
    let mut stopping = stop.clone();
    loop {
        if let Some(at) = sender.closed_until() {
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                _ = stop.changed() => {}
            }
        }
        let assignment = if sender.is_open() {
            match tokio::time::timeout(IDLE, channel_state.dispatcher.take()).await {
                Ok(assignment) => assignment,
                Err(_) => {
                    sender.close().await;
                    continue;
                }
            }
        } else {
            channel_state.dispatcher.take().await
        };
        let Some(Assignment { work: job, domain }) = assignment else {
            break;
        };
        let began = Instant::now();
        let finish = if *stop.borrow() || !shared.holds(&job) {
            Finish::Released
        } else if shared.setup.wake.is_stopped(&job.claimed().notice_id) {
            Finish::Withheld
        } else {
            let outcome = match &job.task {
                Err((_, reason)) => Outcome::Failed(reason.clone()),
                Ok(task) => {
                    let possibly_received = sender.possibly_received();
                    // The ID of the delivery, and never its address.
                    let span = tracing::info_span!(
                        "send",
                        channel = channel_state.channel.name(),
                        notice = %task.claimed.notice_id,
                        delivery = task.claimed.id
                    );
                    tokio::select! {
                        outcome = sender.deliver(task).instrument(span) => outcome,
                        () = until_interrupted(&mut stopping, &possibly_received) => interrupted(&possibly_received),
                    }
                }
            };
            shared.setup.stats.count(&outcome);
            let mail = match outcome {
                Outcome::Sent(_) | Outcome::Ambiguous(_) => sender.sent_message(),
                // The other side does not have it.
                Outcome::Retry(..) | Outcome::Failed(_) | Outcome::NoMailbox(_) | Outcome::Gone(_) => None,
            };
            let relay = match &job.task {
                Ok(_) => sender.relay(),
                Err(_) => None,
            };
            Finish::Attempt(outcome, Handover { mail, relay })
        };
        let pace = match &finish {
            Finish::Attempt(
                Outcome::Sent(_) | Outcome::Failed(_) | Outcome::NoMailbox(_) | Outcome::Gone(_),
                _,
            ) => PaceSignal::Well,
            Finish::Attempt(..) => PaceSignal::Refused,
            Finish::Withheld | Finish::Released => PaceSignal::Nowhere,
        };
        let took = began.elapsed();
        let claimed = job.into_claimed();
        shared.outcome_log.settle(Done { claimed, finish }).await;
        channel_state.dispatcher.done(&domain, pace, took);
    }
    sender.close().await;
}

/// Returns when a delivery must be interrupted, because the process stops and the delivery has used its time.
/// If the other side cannot have received it, the time is short, because repeating it later is safe.
async fn until_interrupted(stop: &mut watch::Receiver<bool>, possibly_received: &PossiblyReceived) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The workers ended without a stop signal, so there is nothing to wait for.
        return;
    }
    let began = Instant::now();
    tokio::time::sleep(GRACE).await;
    while possibly_received.get() && began.elapsed() < DRAIN {
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns the outcome of a delivery that was interrupted.
fn interrupted(possibly_received: &PossiblyReceived) -> Outcome {
    if possibly_received.get() {
        Outcome::Ambiguous("the process was stopped before the mail server answered".to_owned())
    } else {
        Outcome::Retry(
            None,
            "the process was stopped before the email was sent".to_owned(),
        )
    }
}

pub(super) async fn renew(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let outage = Outage::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            _ = stop.changed() => {}
        }
        // While the process stops, deliveries that are being made still need their leases.
        if shared.outstanding() == 0 {
            if *stop.borrow() {
                return;
            }
            continue;
        }
        let (ids, began) = {
            let held = shared.held();
            // Deliveries that are added after this time are not in this renewal.
            (held.iter().copied().collect::<Vec<i64>>(), Instant::now())
        };
        let (now, lease) = (shared.setup.db.clock().now(), shared.lease.clone());
        let renewed = shared
            .setup
            .db
            .transaction(move |conn| queue::renew(conn, now, &lease, &ids))
            .await;
        match renewed {
            Ok(_) => {
                *shared.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
                if outage.ends() {
                    tracing::info!("the claims of this process are renewed again");
                }
            }
            Err(error) => {
                if outage.begins() {
                    tracing::warn!(
                        error = error.chain(),
                        "the claims of this process cannot be renewed; it is tried again, and the next line about it says \
                         that they are"
                    );
                }
            }
        }
        if *stop.borrow() {
            return;
        }
    }
}
