//! The services that send messages to operators: one creates them, one sends emails, and one calls webhooks.
//! So a webhook that hangs delays no email.
//!
//! An outcome is stored after the attempt, and no network I/O happens inside a transaction. A process that
//! stops waits two seconds for the attempts in progress. The others are tried again at the next start.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::letter::Affected;
use super::message::About;
use super::outbox::{self, Claimed};
use super::{ACTOR, answers, contact, decide, mail, notify, promises, syncs, webhook};
use crate::audience::At;
use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::Db;
use crate::delivery::Outcome;
use crate::delivery::mailer::{MailSender, Mailer};
use crate::egress::client::Client;
use crate::notice::Overview;
use crate::work::{Next, Service, Stop, Supervisor, Wake};

/// The poll interval of all three services.
const POLL: Duration = Duration::from_millis(500);
/// How often incidents are examined whose customers wait for an update.
const OVERDUE: Duration = Duration::from_secs(2);
/// How often new answers of customers are looked for.
const ANSWERS: Duration = Duration::from_secs(2);
/// The number of webhooks that are called at the same time.
const CALLS: i64 = 16;
/// The time limit of one email. A claim lasts longer.
const MAIL: Duration = Duration::from_secs(120);
/// How long the attempts in progress may continue when the process stops. Longer attempts are tried again at
/// the next start, so an operator may be notified twice but is never missed.
const GRACE: Duration = Duration::from_secs(2);

/// What the services need.
pub struct Setup {
    /// The database with the events and with the stored messages to operators.
    pub db: Db,
    /// How emails are written and sent.
    pub mailer: Mailer,
    /// The HTTP client that calls the webhooks.
    pub client: Client,
    /// The base of links.
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
        mailer,
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
            asked: None,
            made: [mails.clone(), calls.clone()],
        },
        written,
    );
    supervisor.start(
        Mails {
            db: db.clone(),
            mail_sender: Some(MailSender::new(&mailer.exit)),
            mailer,
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
    /// When new answers were last looked for.
    asked: Option<Instant>,
    /// The services to wake after messages were created.
    made: [Arc<Notify>; 2],
}

impl Service for Messages {
    const NAME: &'static str = "operators";
    const POLL: Duration = POLL;
    // Messages to customers go first, and the events of an alert storm are handled together.
    const SETTLE: Duration = Duration::from_millis(50);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        // If one of them fails, operators must still be notified of the others.
        let incidents = of_incidents(&self.db).await;
        let syncs = syncs::follow_trail(&self.db).await;
        let overdue = self.overdue().await;
        let answers = self.answers().await;
        let made = [&incidents, &syncs, &answers]
            .iter()
            .any(|made| matches!(made, Ok(true)));
        if made {
            for wake in &self.made {
                wake.notify_one();
            }
        }
        incidents?;
        syncs?;
        overdue?;
        answers?;
        Ok(if made { Next::AtOnce } else { Next::Wait })
    }
}

impl Messages {
    /// Creates messages about incidents with an overdue update, if the last check was long enough ago.
    async fn overdue(&mut self) -> Result<()> {
        if self.examined.is_some_and(|at| at.elapsed() < OVERDUE) {
            return Ok(());
        }
        self.examined = Some(Instant::now());
        promises::look(&self.db).await?;
        match self.update_every {
            Some(every) => notify::look_at_the_time(&self.db, every).await,
            None => Ok(()),
        }
    }
}

impl Messages {
    /// Creates messages about new answers, if the last check was long enough ago.
    async fn answers(&mut self) -> Result<bool> {
        if self.asked.is_some_and(|at| at.elapsed() < ANSWERS) {
            return Ok(false);
        }
        self.asked = Some(Instant::now());
        answers::look(&self.db).await
    }
}

async fn of_incidents(db: &Db) -> Result<bool> {
    Ok(notify::has_new_events(db).await? && notify::follow_trail(db).await?)
}

async fn claim(db: &Db, channel: &'static str, most: i64) -> Result<Vec<Claimed>> {
    let now = db.clock().now();
    // A read does not wait for writers, and usually nothing is due.
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
        // The message becomes due again when the claim ends.
        tracing::warn!(
            error = error.chain(),
            "what came of a message to an operator could not be stored"
        );
    }
}

/// Makes a message due again whose attempt did not end.
async fn give_back(db: &Db, claimed: Claimed) {
    let now = db.clock().now();
    let stored = db
        .transaction(move |conn| outbox::give_back(conn, &claimed, now))
        .await;
    if let Err(error) = stored {
        // The message becomes due again when the claim ends.
        tracing::warn!(
            error = error.chain(),
            "a message to an operator could not be given back"
        );
    }
}

fn no_such_contact() -> Outcome {
    Outcome::Failed("the operator was deleted, disabled or changed before the message was sent".to_owned())
}

/// Sends messages by email, one at a time.
struct Mails {
    db: Db,
    mailer: Mailer,
    public_url: String,
    /// The connection to the mail server. None after an email was interrupted.
    mail_sender: Option<MailSender>,
}

impl Service for Mails {
    const NAME: &'static str = "operators_mail";
    const POLL: Duration = POLL;

    async fn step(&mut self, _: bool, stop: &Stop) -> Result<Next> {
        let claimed = claim(&self.db, contact::EMAIL, 1).await?;
        let Some(mail_sender) = self.mail_sender.as_mut().filter(|_| !claimed.is_empty()) else {
            return Ok(Next::Wait);
        };
        for one in claimed {
            let address = one
                .operator
                .as_ref()
                .and_then(|operator| Some((operator.name.as_str(), operator.email.as_deref()?)));
            let rendered = decide::render(&one.about, &self.public_url);
            let affected = affected(&self.db, &one).await;
            let written = address.map(|to| {
                let now = self.db.clock().now();
                mail::write(&self.mailer, &one.id, &one.about, to, &rendered, affected, now)
            });
            let outcome = match written {
                None => Some(no_such_contact()),
                Some(Err(error)) => Some(Outcome::Failed(error.to_string())),
                Some(Ok(mail)) => {
                    stop.unless_set(GRACE, mail_sender.deliver_within(MAIL, &mail))
                        .await
                }
            };
            match outcome {
                Some(outcome) => finish(&self.db, one, outcome).await,
                None => {
                    give_back(&self.db, one).await;
                    // SMTP cannot end a session in the middle of an email.
                    self.mail_sender = None;
                    return Ok(Next::Wait);
                }
            }
        }
        Ok(Next::AtOnce)
    }

    async fn finish(&mut self) {
        if let Some(mut mail_sender) = self.mail_sender.take() {
            mail_sender.close().await;
        }
    }
}

/// Returns how many people the incidents of a message affect now, each person once. `None` if the message is about no incident, or if the
/// number cannot be read: an operator must be notified in any case.
async fn affected(db: &Db, one: &Claimed) -> Option<Affected> {
    let About::Incident(facts) = &one.about else {
        return None;
    };
    let incidents: Vec<IncidentId> = std::iter::once(&facts.incident)
        .chain(&facts.others)
        .map(|incident| incident.id.clone())
        .collect();
    let (n, more) = (incidents.len(), facts.more > 0);
    let counted = db
        .read(move |conn| {
            let mut people = HashSet::new();
            for incident in &incidents {
                let overview = Overview::read(conn, incident, At::Now)?;
                people.extend(overview.audience.people.iter().map(|one| one.person.id.clone()));
            }
            Ok(people.len())
        })
        .await;
    Some(Affected {
        people: i64::try_from(counted.ok()?).unwrap_or(i64::MAX),
        incidents: n,
        more,
    })
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
        let claimed = claim(&self.db, contact::WEBHOOK, CALLS).await?;
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
                None => Some(no_such_contact()),
                Some(hook) => {
                    let rendered = decide::render(&one.about, public_url);
                    let now = db.clock().now();
                    let attempt =
                        webhook::deliver(client, &hook, one.id.as_str(), &one.about, &rendered, now);
                    stop.unless_set(GRACE, attempt).await
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
