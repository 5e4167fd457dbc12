//! The delivery workers of one process.
//!
//! - The [recorder](recorder) stores outcomes and claims the next due deliveries in one transaction, and expands
//!   queued notices.
//! - A [dispatcher](super::dispatch) for each channel chooses the next delivery, fairly between domains.
//! - Each of the [`senders`] makes one delivery at a time. It continues when the [outcome_log](super::outcome_log) has
//!   an outcome record of the delivery.
//! - A renewer extends the leases.
//! - With PostgreSQL, a [`listener`] receives what other processes queued or stopped.
//!
//! There is no network I/O inside a transaction. A claim ends at most one lease after its worker died. All
//! work is idempotent and starts again from the tables, so the machine may stop at any time.

mod listener;
mod recorder;
mod senders;
mod shared;

use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::dispatch::Dispatcher;
use super::outcome_log::{self, OutcomeLog};
use super::queue;
use super::sending_context;
use crate::audit::{Actor, tiles};
use crate::base::error::{Error, Result};
use crate::base::id::new_uuid;
use crate::work::Part;
use shared::{ChannelState, LAST_CHANCE, Shared, schedules};
pub use shared::{Setup, Stats, Wake};

/// The running workers of a process.
pub struct Workers {
    stop: watch::Sender<bool>,
    senders_ended: watch::Sender<bool>,
    senders: Vec<JoinHandle<()>>,
    recorder: JoinHandle<()>,
    renewer: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts the tasks of the workers. With SQLite, the outcome records that an earlier process left are
    /// stored first. With PostgreSQL, the rows of dead workers that nobody needs any more are removed.
    ///
    /// # Errors
    /// `Unavailable` if the file of outcome records cannot be created, or an error of the database.
    pub async fn start(setup: Setup) -> Result<Workers> {
        let (stop, stopped) = watch::channel(false);
        let (senders_ended, ended) = watch::channel(false);
        let lease = new_uuid(setup.db.clock().now()).to_string();
        let mut arrivals = None;
        let outcome_log = match &setup.receipts {
            Some(path) => {
                take_over(&setup, path).await?;
                OutcomeLog::in_file(path, lease.clone()).map_err(|error| {
                    Error::Unavailable(format!(
                        "the file of outcome records {} cannot be created: {error}",
                        path.display()
                    ))
                })?
            }
            None => {
                // The records of dead workers are removed when their claims have ended, here and every hour.
                setup.db.transaction(queue::clear_records).await?;
                let (outcome_log, receiver) = OutcomeLog::in_table(lease.clone());
                arrivals = Some(receiver);
                outcome_log
            }
        };
        // The settings are stored before an email is sent with them.
        let (sending, now) = (setup.sending.stored()?, setup.db.clock().now());
        let digest = sending.digest.clone();
        setup
            .db
            .transaction(move |conn| sending_context::keep_settings(conn, &sending, now))
            .await?;
        // The first email must not wait for a long trail to be hashed.
        tiles::catch_up(&setup.db).await?;
        let channel_states = setup
            .channels
            .iter()
            .map(|channel| {
                Arc::new(ChannelState {
                    channel: channel.clone(),
                    dispatcher: Dispatcher::new(channel.concurrency(), setup.limits.clone()),
                    outstanding: AtomicUsize::new(0),
                })
            })
            .collect();
        let shared = Arc::new(Shared {
            sending: digest,
            lease: lease.into(),
            outcome_log: Arc::new(outcome_log),
            channel_states,
            held: Mutex::default(),
            renewed: Mutex::default(),
            setup,
        });
        let writer = arrivals.map(|arrivals| {
            let (db, outcome_log) = (shared.setup.db.clone(), shared.outcome_log.clone());
            tokio::spawn(outcome_log::write_rows(
                db,
                outcome_log,
                arrivals,
                stopped.clone(),
                LAST_CHANCE,
            ))
        });
        let mut senders = Vec::new();
        for channel_state in &shared.channel_states {
            for _ in 0..channel_state.channel.concurrency() {
                senders.push(tokio::spawn(senders::make_deliveries(
                    shared.clone(),
                    channel_state.clone(),
                    channel_state.channel.sender(),
                    stopped.clone(),
                )));
            }
        }
        let span = tracing::info_span!("delivery_queue");
        let renew = senders::renew(shared.clone(), stopped.clone());
        let renewer = tokio::spawn(renew.instrument(span.clone()));
        let listener = listener::listen(&shared.setup, stopped.clone());
        let recorder = recorder::Recorder::new(shared, stopped, ended);
        let recorder = tokio::spawn(recorder.work().instrument(span));
        Ok(Workers {
            stop,
            senders_ended,
            senders,
            recorder,
            renewer,
            writer,
            listener,
        })
    }

    /// Stops the workers. It finishes the deliveries that are being made, stores their outcomes and gives
    /// back the rest.
    async fn end(self) {
        // This fails only if all tasks have already ended.
        let _ = self.stop.send(true);
        for sender in self.senders {
            ended(sender.await);
        }
        let _ = self.senders_ended.send(true);
        ended(self.recorder.await);
        ended(self.renewer.await);
        if let Some(writer) = self.writer {
            // All senders have ended, so nothing more arrives.
            writer.abort();
        }
        if let Some(listener) = self.listener
            && tokio::task::spawn_blocking(move || listener.join())
                .await
                .is_err()
        {
            tracing::error!("the listener ended badly");
        }
    }
}

impl Part for Workers {
    fn stop(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.end())
    }
}

fn ended(result: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(error) = result {
        tracing::error!(%error, "a delivery task ended badly");
    }
}

/// Stores the outcome records that an earlier process left, and gives back its other claims. With SQLite no
/// other process can be alive.
async fn take_over(setup: &Setup, path: &std::path::Path) -> Result<()> {
    let records = outcome_log::read_file(path)
        .map_err(|error| Error::Unavailable(format!("cannot read {}: {error}", path.display())))?;
    let schedules = schedules(setup);
    let settled = setup
        .db
        .write(&Actor::system("delivery"), move |tx| {
            let settled = queue::settle(tx, &schedules, records)?;
            queue::release_all(tx.conn, tx.now)?;
            Ok(settled)
        })
        .await?;
    if settled > 0 {
        tracing::info!(settled, "stored what a process that was killed had sent");
    }
    Ok(())
}
