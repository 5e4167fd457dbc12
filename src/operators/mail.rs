//! Sends messages to operators as emails with text and HTML, from Candor's own address and over a separate
//! connection.
//!
//! Data never causes a line break in a header. A title never becomes markup. An address is never logged.

use std::path::PathBuf;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};

use super::decide;
use super::letter::{Affected, Letter};
use super::message::{About, Rendered};
use crate::base::error::{Error, Result};
use crate::base::id::MessageId;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::delivery::dkim::Signer;
use crate::delivery::email::envelope_address;
use crate::delivery::mailing::Exit;
use crate::delivery::{Mail, Outcome, header, outbox, smtp};

/// What emails to operators need from the settings.
#[derive(Clone)]
pub struct Post {
    /// The relay or the outbox directory that emails are written to.
    pub exit: Exit,
    /// The sender of the emails.
    pub from: Mailbox,
    /// Signs the emails with DKIM.
    pub dkim: Option<Signer>,
}

/// Sends emails, one at a time.
pub(super) enum MailSender {
    Smtp(Box<smtp::Sender>),
    Outbox(PathBuf),
}

impl MailSender {
    pub fn new(exit: &Exit) -> Self {
        match exit {
            Exit::Relay(relays) => MailSender::Smtp(Box::new(smtp::Sender::new(relays.clone()))),
            Exit::Outbox(directory) => MailSender::Outbox(directory.clone()),
        }
    }

    pub async fn deliver(&mut self, mail: &Mail) -> Outcome {
        match self {
            MailSender::Smtp(sender) => sender.deliver(mail).await,
            MailSender::Outbox(directory) => outbox::deliver(directory, mail).await,
        }
    }

    /// Closes the connection when there is nothing to send.
    pub async fn close(&mut self) {
        if let MailSender::Smtp(sender) = self
            && sender.is_open()
        {
            sender.close().await;
        }
    }
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

impl Post {
    /// Makes the email of a message. `affected` are the people whom its incidents affect.
    ///
    /// # Errors
    /// `Internal` if the address cannot be used in an envelope. The address was checked when it was stored.
    pub fn write(
        &self,
        id: &MessageId,
        about: &About,
        (name, address): (&str, &str),
        rendered: &Rendered,
        affected: Option<Affected>,
        now: Timestamp,
    ) -> Result<Mail> {
        let to = envelope_address(address)?;
        let domain = self.from.email.domain();
        let thread = match about {
            About::Incident(facts) => format!("<operators.{}@{domain}>", facts.incident.id),
            About::Sync(facts) => format!("<operators.{}@{domain}>", facts.source),
            About::Test(_) => format!("<operators.test@{domain}>"),
        };
        let (seconds, _) = now.unix();
        let letter = Letter {
            sender: self.from.name.as_deref().unwrap_or("Candor"),
            message: rendered,
            decision: decide::decision(about),
            affected,
        };
        let (text, html) = (letter.text(), letter.html()?);
        let name = one_line(name, 100);
        let mut message = lettre::Message::builder()
            .envelope(
                Envelope::new(Some(self.from.email.clone()), vec![to.clone()]).map_err(Error::internal)?,
            )
            .raw_header(header::mailbox("From", &self.from))
            .raw_header(header::mailbox(
                "To",
                &Mailbox::new((!name.is_empty()).then_some(name), to.clone()),
            ))
            .date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(format!("<operator.{id}@{domain}>")))
            .references(thread.clone())
            .in_reply_to(thread)
            .raw_header(header::text("Subject", &rendered.title))
            .multipart(
                MultiPart::alternative()
                    .singlepart(
                        lettre::message::SinglePart::builder()
                            .header(ContentType::TEXT_PLAIN)
                            .body(text),
                    )
                    .singlepart(
                        lettre::message::SinglePart::builder()
                            .header(ContentType::TEXT_HTML)
                            .body(html),
                    ),
            )
            .map_err(Error::internal)?;
        // This header prevents automatic replies, such as out-of-office messages.
        message
            .headers_mut()
            .insert_raw(raw("Auto-Submitted", "auto-generated"));
        let mut message = String::from_utf8(message.formatted()).map_err(Error::internal)?;
        if let Some(signer) = &self.dkim {
            signer.sign(&mut message, now)?;
        }
        Ok(Mail {
            from: self.from.email.clone(),
            to,
            message,
            name: format!("operator.{id}"),
        })
    }
}
