//! Emails that are no deliveries: to operators, tests of a notice, internal reports, and emails to subscribers of the status page. They do
//! not go through the queue of deliveries, and have connections of their own.
//!
//! Data never causes a line break in a header. An address is never logged.

use std::path::PathBuf;
use std::time::Duration;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use tokio::time::timeout;

use super::dkim::Signer;
use super::email::{self, AutoSubmitted, ContentLanguage, ListUnsubscribe, ListUnsubscribePost, Mail};
use super::mailing::Exit;
use super::outcome::Outcome;
use super::{header, outbox, sender, smtp};
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::notice::branding::FrozenBrand;

/// What these emails need from the settings.
#[derive(Clone)]
pub struct Mailer {
    /// The relay or the outbox directory that emails are written to.
    pub exit: Exit,
    /// The sender of the emails.
    pub from: Mailbox,
    /// Where replies of customers go, if not to the sender. The brand may have another address.
    pub reply_to: Option<Mailbox>,
    /// Signs the emails with DKIM.
    pub dkim: Option<Signer>,
}

/// An email that is no delivery.
#[derive(Clone, Debug, Default)]
pub struct SingleMail<'a> {
    /// The part of the Message-ID before the @, which is also the name of the file in an outbox. It begins with the kind of the email.
    pub name: String,
    /// The name of the recipient. It may be empty.
    pub to_name: &'a str,
    /// The address of the recipient.
    pub to: &'a str,
    /// The subject.
    pub subject: &'a str,
    /// The part before the @ of the Message-ID that begins the thread.
    pub thread: Option<String>,
    /// The plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// Whether a header says that no person sent the email. It prevents automatic replies, such as out-of-office messages.
    pub automatic: bool,
    /// The languages of the text, for the header `Content-Language`.
    pub language: Option<&'a str>,
    /// Whether it goes to a customer, and not to our own side.
    pub to_customer: bool,
    /// The brand in an email to a customer: the name of the sender, and the address for replies.
    pub brand: Option<&'a FrozenBrand>,
    /// Where bounces go, if not to the sender.
    pub return_path: Option<Address>,
    /// The URL that a click in the email program sends a POST to, in order to get no more such emails (RFC 8058).
    pub unsubscribe_url: Option<&'a str>,
}

impl Mailer {
    /// Writes an email with this date.
    ///
    /// # Errors
    /// `Internal` if the address cannot be used in an envelope. Addresses are checked when they are stored.
    pub fn write(&self, mail: SingleMail<'_>, date: Timestamp) -> Result<Mail> {
        let to = email::envelope_address(mail.to)?;
        let (from, reply_to) = sender::of(
            mail.brand,
            &self.from,
            self.reply_to.as_ref().filter(|_| mail.to_customer),
        );
        let domain = self.from.email.domain();
        let (seconds, _) = date.unix();
        let part = |kind: ContentType, text: String| SinglePart::builder().header(kind).body(text);
        let mut builder = lettre::Message::builder()
            .envelope(
                Envelope::new(Some(self.from.email.clone()), vec![to.clone()]).map_err(Error::internal)?,
            )
            .raw_header(header::mailbox("From", &from));
        if let Some(reply_to) = &reply_to {
            builder = builder.raw_header(header::mailbox("Reply-To", reply_to));
        }
        if let Some(language) = mail.language {
            builder = builder.header(ContentLanguage(language.to_owned()));
        }
        builder = builder
            .raw_header(header::mailbox("To", &email::mailbox(mail.to_name, to.clone())))
            .date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(format!("<{}@{domain}>", mail.name)));
        if let Some(thread) = &mail.thread {
            let thread = format!("<{thread}@{domain}>");
            builder = builder.references(thread.clone()).in_reply_to(thread);
        }
        if let Some(url) = mail.unsubscribe_url {
            builder = builder
                .header(ListUnsubscribe(format!("<{url}>")))
                .header(ListUnsubscribePost("List-Unsubscribe=One-Click".to_owned()));
        }
        if mail.automatic {
            builder = builder.header(AutoSubmitted("auto-generated".to_owned()));
        }
        let message = builder
            .raw_header(header::text("Subject", mail.subject))
            .multipart(
                MultiPart::alternative()
                    .singlepart(part(ContentType::TEXT_PLAIN, mail.text))
                    .singlepart(part(ContentType::TEXT_HTML, mail.html)),
            )
            .map_err(Error::internal)?;
        let mut message = String::from_utf8(message.formatted()).map_err(Error::internal)?;
        if let Some(signer) = &self.dkim {
            signer.sign(&mut message, date)?;
        }
        Ok(Mail {
            from: mail.return_path.unwrap_or_else(|| self.from.email.clone()),
            to,
            message,
            name: mail.name,
        })
    }
}

/// Sends emails, one at a time.
pub enum MailSender {
    /// Over a connection to the mail server, which stays open between emails.
    Smtp(Box<smtp::Sender>),
    /// Into a folder.
    Outbox(PathBuf),
}

impl MailSender {
    /// How long the end of a connection may take.
    const CLOSING: Duration = Duration::from_secs(2);

    /// Creates a sender without a connection.
    pub fn new(exit: &Exit) -> Self {
        match exit {
            Exit::Relay(relays) => MailSender::Smtp(Box::new(smtp::Sender::new(relays.clone()))),
            Exit::Outbox(directory) => MailSender::Outbox(directory.clone()),
        }
    }

    /// Sends an email.
    pub async fn deliver(&mut self, mail: &Mail) -> Outcome {
        match self {
            MailSender::Smtp(sender) => {
                sender.possibly_received().reset();
                sender.deliver(mail).await
            }
            MailSender::Outbox(directory) => outbox::deliver(directory, mail).await,
        }
    }

    /// Sends an email, and gives up after `longest`.
    pub async fn deliver_within(&mut self, longest: Duration, mail: &Mail) -> Outcome {
        match timeout(longest, self.deliver(mail)).await {
            Ok(outcome) => outcome,
            Err(_) => self.interrupted("the mail server did not answer in time"),
        }
    }

    /// Returns the outcome of an attempt that was interrupted: its connection is closed in the middle of the email.
    pub fn interrupted(&self, reason: &str) -> Outcome {
        let received = match self {
            MailSender::Smtp(sender) => sender.possibly_received().get(),
            // A file is written in one step.
            MailSender::Outbox(_) => false,
        };
        match received {
            true => Outcome::Ambiguous(reason.to_owned()),
            false => Outcome::Retry(None, reason.to_owned()),
        }
    }

    /// Closes the connection. It does not wait long for a mail server that does not answer.
    pub async fn close(&mut self) {
        if let MailSender::Smtp(sender) = self
            && sender.is_open()
        {
            let _ = timeout(MailSender::CLOSING, sender.close()).await;
        }
    }
}
