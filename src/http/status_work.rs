//! The services of the status page: one keeps it fresh in memory, one exports it, and one sends the emails to its subscribers.

use std::sync::Arc;
use std::time::Duration;

use super::App;
use super::status_page::{ExportSettings, export};
use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::brand;
use crate::delivery::Outcome;
use crate::delivery::mailer::{MailSender, Mailer};
use crate::directory::source::cron;
use crate::notice::branding::FrozenBrand;
use crate::status::{self, StatusPage};
use crate::subscription::mail::Writer;
use crate::subscription::sending::{self, Claimed, Ended, Found};
use crate::subscription::{ACTOR, subscribing};
use crate::work::{Next, Service, Stop};

/// The service that reads the page again after a change, also after one of another process.
pub struct StatusUpdates {
    /// The state with the page.
    pub app: Arc<App>,
}

impl Service for StatusUpdates {
    const NAME: &'static str = "status_page";
    const POLL: Duration = Duration::from_millis(500);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        self.app.status.refresh(&self.app.db).await?;
        Ok(Next::Wait)
    }
}

/// The service that exports the status page after each change and by a schedule.
pub struct StatusExports {
    app: Arc<App>,
    settings: ExportSettings,
    exported: Option<(Timestamp, i64)>,
}

impl StatusExports {
    /// Creates the service. It exports when it starts.
    pub fn new(app: Arc<App>, settings: ExportSettings) -> StatusExports {
        StatusExports {
            app,
            settings,
            exported: None,
        }
    }
}

impl Service for StatusExports {
    const NAME: &'static str = "status_export";
    const POLL: Duration = Duration::from_secs(1);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        let (db, now) = (&self.app.db, self.app.db.clock().now());
        let change = db.read(status::last_change).await?;
        let due = match self.exported {
            None => true,
            Some((at, known)) => {
                known != change || cron::next(&self.settings.schedule, at).is_some_and(|next| next <= now)
            }
        };
        if !due {
            return Ok(Next::Wait);
        }
        export(db, self.app.status.site().clone(), self.settings.folder.clone()).await?;
        self.exported = Some((now, change));
        Ok(Next::Wait)
    }
}

/// The time limit of one email. A claim lasts longer.
const MAIL: Duration = Duration::from_secs(300);
/// How long the attempt in progress may continue when the process stops.
const GRACE: Duration = Duration::from_secs(2);
/// How often addresses that were never confirmed are looked for.
const PRUNE: Duration = Duration::from_secs(60);

/// The service that sends the emails to the subscribers of the status page, over a connection of its own.
pub struct StatusMails {
    app: Arc<App>,
    mailer: Mailer,
    sender: MailSender,
    /// A claim whose end could not be stored. It is stored before another email is claimed.
    unstored: Option<(Claimed, Ended)>,
    /// The time of the last pruning.
    pruned_at: Option<Timestamp>,
}

impl StatusMails {
    /// Creates the service.
    pub fn new(app: Arc<App>, mailer: Mailer) -> StatusMails {
        StatusMails {
            sender: MailSender::new(&mailer.exit),
            app,
            mailer,
            unstored: None,
            pruned_at: None,
        }
    }

    /// Sends the email of a claim.
    async fn send(
        &mut self,
        claimed: &Claimed,
        page: &StatusPage,
        brand: Option<&FrozenBrand>,
        stop: &Stop,
    ) -> Ended {
        let Some(to) = claimed.recipient() else {
            return Ended::Stopped;
        };
        let site = self.app.status.site().with_brand(&page.brand);
        let writer = Writer {
            mailer: &self.mailer,
            links: &self.app.links,
            verp: self.app.feedback.verp.as_ref(),
            company: &site.company,
            brand,
        };
        let mail = match writer.write(claimed, to, page) {
            Ok(Some(mail)) => mail,
            // The page was read before the post was made.
            Ok(None) => return Ended::NotTried,
            Err(error) => return Ended::Tried(Outcome::Failed(error.to_string())),
        };
        match stop
            .unless_set(GRACE, self.sender.deliver_within(MAIL, &mail))
            .await
        {
            Some(outcome) => Ended::Tried(outcome),
            None => Ended::Tried(
                self.sender
                    .interrupted("the process stopped while the email was sent"),
            ),
        }
    }

    /// Stores the end of the last claim.
    async fn store(&mut self) -> Result<()> {
        let Some((claimed, ended)) = self.unstored.clone() else {
            return Ok(());
        };
        self.app
            .db
            .write(&Actor::system(ACTOR), move |tx| {
                sending::finish(tx, &claimed, &ended)
            })
            .await?;
        self.unstored = None;
        Ok(())
    }

    async fn prune(&mut self, now: Timestamp) -> Result<()> {
        if self.pruned_at.is_some_and(|at| at <= now && now < at.plus(PRUNE)) {
            return Ok(());
        }
        let more = self
            .app
            .db
            .write(&Actor::system(ACTOR), subscribing::prune)
            .await?;
        self.pruned_at = (!more).then_some(now);
        Ok(())
    }
}

impl Service for StatusMails {
    const NAME: &'static str = "status_mails";
    const POLL: Duration = Duration::from_millis(500);

    async fn step(&mut self, _: bool, stop: &Stop) -> Result<Next> {
        self.store().await?;
        let db = self.app.db.clone();
        let now = db.clock().now();
        self.prune(now).await?;
        if stop.is_set() || !db.read(move |conn| sending::any_due(conn, now)).await? {
            self.sender.close().await;
            return Ok(Next::Wait);
        }
        // Everything that can fail is read before the claim, so that an email is not held without an attempt.
        let snapshot = self.app.status.refresh(&db).await?;
        let brand = db.read(brand::read).await?;
        let brand = FrozenBrand::of(&brand, self.app.links.public_url());
        let claimed = match db.transaction(move |conn| sending::claim(conn, now)).await? {
            Found::Nothing => return Ok(Next::Wait),
            Found::Over => return Ok(Next::AtOnce),
            Found::Email(claimed) => *claimed,
        };
        let ended = self.send(&claimed, snapshot.page(), brand.as_ref(), stop).await;
        let tried = !matches!(ended, Ended::NotTried);
        self.unstored = Some((claimed, ended));
        self.store().await?;
        Ok(if tried { Next::AtOnce } else { Next::Wait })
    }

    async fn finish(&mut self) {
        if let Err(error) = self.store().await {
            tracing::warn!(
                error = error.chain(),
                "the outcome of an email to a subscriber could not be stored"
            );
        }
        self.sender.close().await;
    }
}
