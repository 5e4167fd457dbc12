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
use crate::subscription::sending::{self, Came, Claimed};
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

/// The number of emails to subscribers that one step sends. Their outcomes are stored together.
const AT_ONCE: i64 = 20;
/// The time limit of one email. A claim lasts longer than all emails of a step.
const MAIL: Duration = Duration::from_secs(25);
/// How long the attempt in progress may continue when the process stops.
const GRACE: Duration = Duration::from_secs(2);

/// The service that sends the emails to the subscribers of the status page, over a connection of its own.
pub struct StatusMails {
    app: Arc<App>,
    mailer: Mailer,
    sender: MailSender,
}

impl StatusMails {
    /// Creates the service.
    pub fn new(app: Arc<App>, mailer: Mailer) -> StatusMails {
        let sender = MailSender::new(&mailer.exit);
        StatusMails { app, mailer, sender }
    }

    /// Sends the email of a claim.
    async fn send(
        &mut self,
        claimed: &Claimed,
        page: &StatusPage,
        brand: Option<&FrozenBrand>,
        stop: &Stop,
    ) -> Came {
        if stop.is_set() {
            return Came::NotTried;
        }
        let Some(to) = claimed.recipient() else {
            return Came::Stopped;
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
            Ok(None) => return Came::Stopped,
            Err(error) => return Came::Tried(Outcome::Failed(error.to_string())),
        };
        match stop
            .unless_set(GRACE, self.sender.deliver_within(MAIL, &mail))
            .await
        {
            Some(outcome) => Came::Tried(outcome),
            None => Came::Tried(Outcome::Ambiguous(
                "the process stopped while the email was sent".to_owned(),
            )),
        }
    }
}

impl Service for StatusMails {
    const NAME: &'static str = "status_mails";
    const POLL: Duration = Duration::from_millis(500);

    async fn step(&mut self, _: bool, stop: &Stop) -> Result<Next> {
        let db = self.app.db.clone();
        let now = db.clock().now();
        let (due, old) = db
            .read(move |conn| {
                Ok((
                    sending::any_due(conn, now)?,
                    subscribing::any_unconfirmed(conn, now)?,
                ))
            })
            .await?;
        if old {
            db.write(&Actor::system(ACTOR), subscribing::prune).await?;
        }
        if !due {
            self.sender.close().await;
            return Ok(Next::Wait);
        }
        let claimed = db
            .transaction(move |conn| sending::claim(conn, now, AT_ONCE))
            .await?;
        let snapshot = self.app.status.current(&db).await?;
        let brand = db.read(brand::read).await?;
        let brand = FrozenBrand::of(&brand, self.app.links.public_url());
        let mut came = Vec::with_capacity(claimed.len());
        for one in claimed {
            let outcome = self.send(&one, snapshot.page(), brand.as_ref(), stop).await;
            came.push((one, outcome));
        }
        db.write(&Actor::system(ACTOR), move |tx| {
            came.iter()
                .try_for_each(|(claimed, came)| sending::finish(tx, claimed, came))
        })
        .await?;
        Ok(Next::AtOnce)
    }

    async fn finish(&mut self) {
        self.sender.close().await;
    }
}
