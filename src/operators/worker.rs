//! Messages at work: one task makes them, one mails them, one calls webhooks. A webhook that hangs holds up no mail.
//!
//! Must never happen here: network I/O inside a transaction, an outcome that is lost, or a stop that waits for somebody else's
//! server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::mail::{Post, Postman};
use super::outbox::{self, Claimed};
use super::{ACTOR, notify, webhook};
use crate::audit::Actor;
use crate::base::error::Result;
use crate::db::Db;
use crate::delivery::Outcome;
use crate::egress::client::Client;

/// How often it is looked when nobody wakes it.
const LOOK: Duration = Duration::from_millis(500);
/// How long messages wait when something happened: what customers are to hear of it goes first, and a storm comes in one go.
const AFTER: Duration = Duration::from_millis(50);
/// How often it is looked who waits for an update.
const OVERDUE: Duration = Duration::from_secs(2);
/// Webhooks that are called at once.
const CALLS: i64 = 16;
/// How long a mail may take; a claim holds longer.
const MAIL: Duration = Duration::from_secs(120);
/// How long what is under way may still take once all is to stop. What takes longer is tried again at the next start: an
/// operator may hear twice, and hears.
const GRACE: Duration = Duration::from_secs(2);

/// What it needs.
pub struct Setup {
    /// The database.
    pub db: Db,
    /// How mails are written and sent.
    pub post: Post,
    /// Calls webhooks.
    pub client: Client,
    /// Base of links.
    pub public_url: String,
    /// How often customers should hear; none: nobody is reminded.
    pub update_every: Option<Duration>,
}

/// The running background work.
pub struct Operators {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    setup: Setup,
    mails: Notify,
    calls: Notify,
}

impl Operators {
    /// Starts it.
    pub fn start(setup: Setup) -> Self {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            setup,
            mails: Notify::new(),
            calls: Notify::new(),
        });
        let tasks = vec![
            tokio::spawn(notice(shared.clone(), stopped.clone())),
            tokio::spawn(mail(shared.clone(), stopped.clone())),
            tokio::spawn(call(shared, stopped)),
        ];
        Operators { stop, tasks }
    }

    /// Ends what is under way, where it ends soon, then ends. The rest is due at the next start.
    pub async fn stop(self) {
        // Nobody listens any more where all have ended by themselves.
        let _ = self.stop.send(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::warn!(%error, "messages to operators ended badly");
            }
        }
    }
}

async fn notice(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let Setup { db, update_every, .. } = &shared.setup;
    let mut written = db.written();
    let mut time = None;
    while !*stop.borrow() {
        written.mark_unchanged();
        let made = match trail(db).await {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(error = error.chain(), "operators could not be told");
                let _ = timeout(LOOK, stop.changed()).await;
                continue;
            }
        };
        if let Some(every) = update_every
            && time.is_none_or(|at: Instant| at.elapsed() >= OVERDUE)
        {
            time = Some(Instant::now());
            if let Err(error) = notify::look_at_the_time(db, *every).await {
                tracing::warn!(
                    error = error.chain(),
                    "it could not be looked who waits for an update"
                );
            }
        }
        if made {
            shared.mails.notify_one();
            shared.calls.notify_one();
            continue;
        }
        tokio::select! {
            _ = written.changed() => tokio::time::sleep(AFTER).await,
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn trail(db: &Db) -> Result<bool> {
    Ok(notify::any(db).await? && notify::follow_trail(db).await?)
}

async fn claim(db: &Db, channel: &'static str, most: i64) -> Vec<Claimed> {
    let now = db.clock().now();
    // A look first, which holds up nobody: mostly there is nothing.
    let due = db.read(move |conn| outbox::any_due(conn, channel, now)).await;
    let claimed = match due {
        Ok(false) => return Vec::new(),
        Ok(true) => {
            db.transaction(move |conn| outbox::claim(conn, channel, now, most))
                .await
        }
        Err(error) => Err(error),
    };
    claimed.unwrap_or_else(|error| {
        tracing::warn!(
            error = error.chain(),
            "messages to operators could not be claimed"
        );
        Vec::new()
    })
}

async fn finish(db: &Db, claimed: Claimed, outcome: Outcome) {
    let stored = db
        .write(&Actor::system(ACTOR), move |tx| {
            outbox::finish(tx, &claimed, &outcome)
        })
        .await;
    if let Err(error) = stored {
        // It is due again when the claim ends.
        tracing::warn!(
            error = error.chain(),
            "what came of a message to an operator could not be stored"
        );
    }
}

/// What comes of an attempt; none where all is to stop and the attempt does not end soon.
async fn unless_stopped(
    stop: &mut watch::Receiver<bool>,
    attempt: impl Future<Output = Outcome>,
) -> Option<Outcome> {
    tokio::pin!(attempt);
    tokio::select! {
        outcome = &mut attempt => return Some(outcome),
        // Nobody who could say so is left: it is the end, too.
        _ = stop.wait_for(|stop| *stop) => {}
    }
    timeout(GRACE, attempt).await.ok()
}

/// Makes a message due that was not ended.
async fn give_back(db: &Db, claimed: Claimed) {
    let now = db.clock().now();
    let stored = db
        .transaction(move |conn| outbox::give_back(conn, &claimed, now))
        .await;
    if let Err(error) = stored {
        // It is due again when the claim ends.
        tracing::warn!(
            error = error.chain(),
            "a message to an operator could not be given back"
        );
    }
}

fn gone() -> Outcome {
    Outcome::Failed("the operator was deleted, disabled or changed since".to_owned())
}

async fn mail(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let Setup {
        db, post, public_url, ..
    } = &shared.setup;
    let mut postman = Postman::new(&post.exit);
    while !*stop.borrow() {
        let claimed = claim(db, outbox::EMAIL, 1).await;
        if claimed.is_empty() {
            tokio::select! {
                () = shared.mails.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
            continue;
        }
        for one in claimed {
            let address = one
                .operator
                .as_ref()
                .and_then(|operator| Some((operator.name.as_str(), operator.email.as_deref()?)));
            let rendered = one.facts.render(public_url);
            let written = address.map(|to| {
                let now = db.clock().now();
                post.write(&one.id, &one.facts.incident.id, to, &rendered, now)
            });
            let outcome = match written {
                None => Some(gone()),
                Some(Err(error)) => Some(Outcome::Failed(error.to_string())),
                Some(Ok(mail)) => {
                    let attempt = async {
                        timeout(MAIL, postman.deliver(&mail)).await.unwrap_or_else(|_| {
                            Outcome::Retry(None, "the mail server did not end in time".to_owned())
                        })
                    };
                    unless_stopped(&mut stop, attempt).await
                }
            };
            match outcome {
                Some(outcome) => finish(db, one, outcome).await,
                None => {
                    give_back(db, one).await;
                    // In the middle of a mail there is no good-bye.
                    return;
                }
            }
        }
    }
    // Whoever does not answer hears none.
    let _ = timeout(GRACE, postman.close()).await;
}

async fn call(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let stopped = stop.clone();
    let stopped = &stopped;
    let Setup {
        db,
        client,
        public_url,
        ..
    } = &shared.setup;
    while !*stop.borrow() {
        let claimed = claim(db, outbox::WEBHOOK, CALLS).await;
        if claimed.is_empty() {
            tokio::select! {
                () = shared.calls.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
            continue;
        }
        join_all(claimed.into_iter().map(|one| async move {
            let hook = one
                .operator
                .as_ref()
                .and_then(|operator| operator.webhook.clone());
            let outcome = match hook {
                None => Some(gone()),
                Some(hook) => {
                    let rendered = one.facts.render(public_url);
                    let now = db.clock().now();
                    let attempt =
                        webhook::deliver(client, &hook, one.id.as_str(), &one.facts, &rendered, now);
                    unless_stopped(&mut stopped.clone(), attempt).await
                }
            };
            match outcome {
                Some(outcome) => finish(db, one, outcome).await,
                None => give_back(db, one).await,
            }
        }))
        .await;
    }
}
