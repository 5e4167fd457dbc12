//! The services that send messages to operators: one makes them, one mails them, one calls webhooks, so that a webhook that
//! hangs delays no email. An outcome is stored outside the attempt, and no network I/O happens inside a transaction. A process
//! that stops waits two seconds for what is under way; the rest is tried again at the next start.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::mail::{Post, Postman};
use super::outbox::{self, Claimed};
use super::{ACTOR, notify, syncs, webhook};
use crate::audit::Actor;
use crate::base::error::Result;
use crate::db::Db;
use crate::delivery::Outcome;
use crate::egress::client::Client;
use crate::work::{Next, Service, Stop, Supervisor, Wake};

/// The poll interval of all three services.
const POLL: Duration = Duration::from_millis(500);
/// How often incidents are examined whose customers wait for an update.
const OVERDUE: Duration = Duration::from_secs(2);
/// Webhooks that are called at the same time.
const CALLS: i64 = 16;
/// How long an email may take; a claim holds longer.
const MAIL: Duration = Duration::from_secs(120);
/// How long what is under way may still take when the process stops. What takes longer is tried again at the next start: an
/// operator may be notified twice rather than not at all.
const GRACE: Duration = Duration::from_secs(2);

/// What the services need.
pub struct Setup {
    /// The database.
    pub db: Db,
    /// How emails are written and sent.
    pub post: Post,
    /// Calls webhooks.
    pub client: Client,
    /// Base of links.
    pub public_url: String,
    /// How often customers should receive an update; `None`: operators are not reminded.
    pub update_every: Option<Duration>,
}

/// Starts the three services.
pub fn start(supervisor: &mut Supervisor, setup: Setup) {
    let mails = Arc::new(Notify::new());
    let calls = Arc::new(Notify::new());
    let Setup {
        db,
        post,
        client,
        public_url,
        update_every,
    } = setup;
    let written = Wake::Commit(db.written());
    supervisor.start(
        Messages {
            db: db.clone(),
            update_every,
            examined: None,
            made: [mails.clone(), calls.clone()],
        },
        written,
    );
    supervisor.start(
        Mails {
            db: db.clone(),
            postman: Some(Postman::new(&post.exit)),
            post,
            public_url: public_url.clone(),
        },
        Wake::Notify(mails),
    );
    supervisor.start(
        Calls {
            db,
            client,
            public_url,
        },
        Wake::Notify(calls),
    );
}

/// Makes messages of the events of the audit trail and of overdue updates.
struct Messages {
    db: Db,
    update_every: Option<Duration>,
    /// When overdue updates were last looked for.
    examined: Option<Instant>,
    /// Whom to wake when messages were made.
    made: [Arc<Notify>; 2],
}

impl Service for Messages {
    const NAME: &'static str = "operators";
    const POLL: Duration = POLL;
    // Messages to customers go first, and the events of a storm come together.
    const SETTLE: Duration = Duration::from_millis(50);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        // One of the three that fails must not keep operators from hearing of the other two.
        let incidents = of_incidents(&self.db).await;
        let syncs = syncs::follow_trail(&self.db).await;
        let overdue = self.overdue().await;
        let made = matches!(incidents, Ok(true)) || matches!(syncs, Ok(true));
        if made {
            for wake in &self.made {
                wake.notify_one();
            }
        }
        incidents?;
        syncs?;
        overdue?;
        Ok(if made { Next::AtOnce } else { Next::Wait })
    }
}

impl Messages {
    /// Makes messages about incidents whose customers wait for an update, where it is time to look for them.
    async fn overdue(&mut self) -> Result<()> {
        let Some(every) = self.update_every else {
            return Ok(());
        };
        if self.examined.is_some_and(|at| at.elapsed() < OVERDUE) {
            return Ok(());
        }
        self.examined = Some(Instant::now());
        notify::look_at_the_time(&self.db, every).await
    }
}

async fn of_incidents(db: &Db) -> Result<bool> {
    Ok(notify::any(db).await? && notify::follow_trail(db).await?)
}

async fn claim(db: &Db, channel: &'static str, most: i64) -> Result<Vec<Claimed>> {
    let now = db.clock().now();
    // A read does not wait for writers. Mostly nothing is due.
    if !db.read(move |conn| outbox::any_due(conn, channel, now)).await? {
        return Ok(Vec::new());
    }
    db.transaction(move |conn| outbox::claim(conn, channel, now, most))
        .await
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

/// The outcome of an attempt; `None` where the process stops and the attempt does not end soon.
async fn unless_stopped(stop: &Stop, attempt: impl Future<Output = Outcome>) -> Option<Outcome> {
    let mut stop = stop.clone();
    tokio::pin!(attempt);
    tokio::select! {
        outcome = &mut attempt => return Some(outcome),
        () = stop.wait() => {}
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

/// Mails messages, one at a time.
struct Mails {
    db: Db,
    post: Post,
    public_url: String,
    /// The connection to the mail server; `None` once an email was broken off in the middle.
    postman: Option<Postman>,
}

impl Service for Mails {
    const NAME: &'static str = "operators_mail";
    const POLL: Duration = POLL;

    async fn step(&mut self, _: bool, stop: &Stop) -> Result<Next> {
        let claimed = claim(&self.db, outbox::EMAIL, 1).await?;
        let Some(postman) = self.postman.as_mut().filter(|_| !claimed.is_empty()) else {
            return Ok(Next::Wait);
        };
        for one in claimed {
            let address = one
                .operator
                .as_ref()
                .and_then(|operator| Some((operator.name.as_str(), operator.email.as_deref()?)));
            let rendered = one.about.render(&self.public_url);
            let written = address.map(|to| {
                let now = self.db.clock().now();
                self.post.write(&one.id, &one.about, to, &rendered, now)
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
                    unless_stopped(stop, attempt).await
                }
            };
            match outcome {
                Some(outcome) => finish(&self.db, one, outcome).await,
                None => {
                    give_back(&self.db, one).await;
                    // SMTP has no way to end a session in the middle of an email.
                    self.postman = None;
                    return Ok(Next::Wait);
                }
            }
        }
        Ok(Next::AtOnce)
    }

    async fn finish(&mut self) {
        if let Some(mut postman) = self.postman.take() {
            // A mail server that does not answer is not waited for.
            let _ = timeout(GRACE, postman.close()).await;
        }
    }
}

/// Calls webhooks, several at the same time.
struct Calls {
    db: Db,
    client: Client,
    public_url: String,
}

impl Service for Calls {
    const NAME: &'static str = "operators_webhooks";
    const POLL: Duration = POLL;

    async fn step(&mut self, _: bool, stop: &Stop) -> Result<Next> {
        let claimed = claim(&self.db, outbox::WEBHOOK, CALLS).await?;
        if claimed.is_empty() {
            return Ok(Next::Wait);
        }
        let (db, client, public_url) = (&self.db, &self.client, &self.public_url);
        join_all(claimed.into_iter().map(|one| async move {
            let hook = one
                .operator
                .as_ref()
                .and_then(|operator| operator.webhook.clone());
            let outcome = match hook {
                None => Some(gone()),
                Some(hook) => {
                    let rendered = one.about.render(public_url);
                    let now = db.clock().now();
                    let attempt =
                        webhook::deliver(client, &hook, one.id.as_str(), &one.about, &rendered, now);
                    unless_stopped(stop, attempt).await
                }
            };
            match outcome {
                Some(outcome) => finish(db, one, outcome).await,
                None => give_back(db, one).await,
            }
        }))
        .await;
        Ok(Next::AtOnce)
    }
}
