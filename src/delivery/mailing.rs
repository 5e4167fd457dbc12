//! The email channel. It makes an email from a task and gives it to the relay or writes it to the outbox.
//!
//! No address and no credential ever appears in a log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lettre::message::Mailbox;

use super::channel::{self, Channel, Pending, PossiblyReceived};
use super::dkim::Signer;
use super::email::{self, Addressing, Mail};
use super::outbox;
use super::outcome::Outcome;
use super::sender;
use super::sending_settings::SendingSettings;
use super::sent_message::SentMessage;
use super::smtp::{self, Relays};
use super::task::{Recipient, Task};
use super::verp::Verp;
use crate::auth::Links;
use crate::base::error::Error;
use crate::base::time::Clock;
use crate::notice::compose::RecipientContext;

/// The place that emails are given to.
#[derive(Clone)]
pub enum Exit {
    /// One or two mail servers that accept emails by SMTP.
    Relay(Relays),
    /// A folder that gets one file for each email.
    Outbox(PathBuf),
}

/// The email channel, which sends by SMTP or writes to a folder.
pub struct Mailing {
    exit: Exit,
    concurrency: usize,
    schedule: Vec<Duration>,
    writer: Arc<Writer>,
}

/// The parts that every email is written with.
pub struct Writer {
    /// The sender of every email.
    pub from: Mailbox,
    /// Where replies go, if not to the sender.
    pub reply_to: Option<Mailbox>,
    /// Makes the envelope sender of each email if each email has its own bounce address.
    pub verp: Option<Verp>,
    /// Signs the links in emails.
    pub links: Links,
    /// Gives the date of each email.
    pub clock: Clock,
    /// Makes the DKIM signature of each email, if keys are set.
    pub dkim: Option<Signer>,
}

impl Mailing {
    /// Creates the channel. It sends through `exit` over at most `concurrency` connections, and repeats
    /// attempts by `schedule`.
    pub fn new(exit: Exit, concurrency: usize, schedule: Vec<Duration>, writer: Writer) -> Self {
        Mailing {
            exit,
            concurrency,
            schedule,
            writer: Arc::new(writer),
        }
    }
}

impl Channel for Mailing {
    fn name(&self) -> &'static str {
        "email"
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn schedule(&self) -> &[Duration] {
        &self.schedule
    }

    fn sender(&self) -> Box<dyn channel::Sender> {
        let route = match &self.exit {
            Exit::Relay(relays) => Route::Smtp(Box::new(smtp::Sender::new(relays.clone()))),
            Exit::Outbox(directory) => Route::Outbox(directory.clone()),
        };
        Box::new(MailSender {
            route,
            writer: self.writer.clone(),
            sent: None,
        })
    }
}

enum Route {
    Smtp(Box<smtp::Sender>),
    Outbox(PathBuf),
}

struct MailSender {
    route: Route,
    writer: Arc<Writer>,
    /// What is recorded about the email of the last delivery.
    sent: Option<SentMessage>,
}

impl channel::Sender for MailSender {
    fn deliver<'a>(&'a mut self, task: &'a Task) -> Pending<'a, Outcome> {
        Box::pin(async move {
            self.sent = None;
            let (mail, sent) = match self.writer.mail(task).await {
                Ok(written) => written,
                Err(reason) => return Outcome::Failed(reason),
            };
            // It is kept before the email is handed over, because the delivery may be interrupted.
            self.sent = Some(sent);
            match &mut self.route {
                Route::Smtp(sender) => sender.deliver(&mail).await,
                Route::Outbox(directory) => outbox::deliver(directory, &mail).await,
            }
        })
    }

    fn possibly_received(&self) -> PossiblyReceived {
        match &self.route {
            Route::Smtp(sender) => sender.possibly_received(),
            Route::Outbox(_) => PossiblyReceived::always(),
        }
    }

    fn sent_message(&mut self) -> Option<SentMessage> {
        self.sent.take()
    }

    fn relay(&self) -> Option<Arc<str>> {
        match &self.route {
            Route::Smtp(sender) => sender.used().cloned(),
            Route::Outbox(_) => None,
        }
    }

    fn is_open(&self) -> bool {
        matches!(&self.route, Route::Smtp(sender) if sender.is_open())
    }

    fn closed_until(&self) -> Option<Instant> {
        match &self.route {
            Route::Smtp(sender) => sender.closed_until(),
            Route::Outbox(_) => None,
        }
    }

    fn close(&mut self) -> Pending<'_, ()> {
        Box::pin(async move {
            if let Route::Smtp(sender) = &mut self.route {
                sender.close().await;
            }
        })
    }
}

/// Returns the recipient of an email, and whether the recipient may opt out of it.
fn people(task: &Task) -> Result<(&RecipientContext, bool), String> {
    match &task.to {
        Recipient::People { own, optional } => Ok((own, *optional)),
        Recipient::Endpoint { .. } => Err("an endpoint is not mailed".to_owned()),
    }
}

impl Writer {
    /// Returns the settings that decide the bytes of the emails.
    pub fn settings(&self) -> SendingSettings {
        SendingSettings::new(
            &self.from,
            self.reply_to.as_ref(),
            self.links.public_url(),
            self.dkim.as_ref().map(Signer::signing),
        )
    }

    /// Returns the email of a task with what is recorded about it, or the reason why it cannot be made.
    async fn mail(self: &Arc<Self>, task: &Task) -> Result<(Mail, SentMessage), String> {
        // Rendering takes long and may run an untrusted template, so it runs on a blocking thread. Filling
        // prepared pieces is quick enough to run here.
        let (own, optional) = people(task)?;
        let quick = task.notice.prepared.is_ready(own, optional);
        if quick && self.dkim.as_ref().is_none_or(Signer::is_quick) {
            return self.write(task);
        }
        let writer = self.clone();
        let task = Task {
            claimed: task.claimed.clone(),
            notice: task.notice.clone(),
            to: task.to.clone(),
            context: task.context.clone(),
        };
        tokio::task::spawn_blocking(move || writer.write(&task))
            .await
            .map_err(|error| error.to_string())?
    }

    fn write(&self, task: &Task) -> Result<(Mail, SentMessage), String> {
        let (own, optional) = people(task)?;
        let context = task
            .context
            .as_ref()
            .ok_or("the context of the email is missing")?;
        let claimed = &task.claimed;
        let thread = email::thread(&task.notice.incident, self.from.email.domain());
        let links = self.links.of_email(claimed.id);
        let return_path = match &self.verp {
            Some(verp) => Some(verp.address(claimed.id).map_err(|error| error.to_string())?),
            None => None,
        };
        let languages = task.notice.prepared.languages(own);
        let brand = task.notice.content.brand.as_ref();
        let (from, reply_to) = sender::of(brand, &self.from, self.reply_to.as_ref());
        let addressing = Addressing {
            from: &from,
            reply_to: reply_to.as_deref(),
            return_path: return_path.as_ref(),
            name: &own.name,
            address: &claimed.address,
            message_id: &claimed.message_id,
            thread: &thread,
            unsubscribe_url: &links.unsubscribe,
            answers_url: &links.answers,
            languages: Some(&languages),
            mine_url: &links.mine,
            date: self.clock.now(),
            audit: &context.checkpoint,
        };
        let mut mail =
            task.notice
                .prepared
                .write(own, optional, &addressing)
                .map_err(|error| match error {
                    // Every attempt would end the same way, and whoever wrote the template can mend it.
                    Error::Invalid { detail, .. } => {
                        format!("the email to this recipient cannot be rendered: {detail}")
                    }
                    other => other.chain(),
                })?;
        let dkim = match &self.dkim {
            Some(signer) => signer
                .sign(&mut mail.message, addressing.date)
                .map_err(|error| error.chain())?,
            None => Vec::new(),
        };
        let date = addressing.date;
        let sent = SentMessage::new(context.id, date, &mail.message, &links.signatures, &dkim);
        Ok((mail, sent))
    }
}
