//! The settings that decide the bytes of an email, without any secret. They are stored before the first email is sent with them, so that
//! the email can still be written again after they changed.

use lettre::Address;
use lettre::message::Mailbox;
use serde::{Deserialize, Serialize};

use super::dkim::Signing;
use super::email::FORM;
use super::sent_message::hash;
use crate::base::error::Result;
use crate::base::text::hex;
use crate::notice::template::partial_texts;
use crate::words::Texts;

/// The settings of a process that decide the bytes of its emails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendingSettings {
    /// The form of the email.
    pub form: u32,
    /// The sender of the emails.
    from: Sender,
    /// Where replies go, if not to the sender.
    reply_to: Option<Sender>,
    /// The URL that the links in emails begin with.
    pub public_url: String,
    /// What the DKIM signatures look like, if emails are signed.
    pub dkim: Option<Signing>,
    /// The partials that the templates use, with their texts.
    pub partials: Vec<(String, String)>,
    /// The fixed sentences in each language. Emails of the form 1 had them in their templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentences: Option<Texts>,
}

/// A sender, or where replies go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sender {
    name: Option<String>,
    user: String,
    domain: String,
}

/// Settings as they are stored.
#[derive(Clone, Debug)]
pub struct StoredSettings {
    /// The SHA-256 of the body, in hexadecimal.
    pub digest: String,
    /// The settings as JSON.
    pub body: String,
}

impl SendingSettings {
    /// Collects the settings of this process.
    pub fn new(from: &Mailbox, reply_to: Option<&Mailbox>, public_url: &str, dkim: Option<&Signing>) -> Self {
        SendingSettings {
            form: FORM,
            from: Sender::of(from),
            reply_to: reply_to.map(Sender::of),
            public_url: public_url.to_owned(),
            dkim: dkim.cloned(),
            partials: partial_texts(),
            sentences: Some(Texts::of_mail().clone()),
        }
    }

    /// Returns the sender of the emails.
    pub fn from(&self) -> Mailbox {
        self.from.mailbox()
    }

    /// Returns where replies go, if not to the sender.
    pub fn reply_to(&self) -> Option<Mailbox> {
        self.reply_to.as_ref().map(Sender::mailbox)
    }

    /// Returns the settings as they are stored.
    ///
    /// # Errors
    /// `Internal` if the JSON cannot be written, which does not happen.
    pub fn stored(&self) -> Result<StoredSettings> {
        let body = serde_json::to_string(self)?;
        Ok(StoredSettings {
            digest: hex(&hash(body.as_bytes())),
            body,
        })
    }
}

impl Sender {
    fn of(mailbox: &Mailbox) -> Self {
        Sender {
            name: mailbox.name.clone(),
            user: mailbox.email.user().to_owned(),
            domain: mailbox.email.domain().to_owned(),
        }
    }

    fn mailbox(&self) -> Mailbox {
        // The address was checked when it was a setting.
        Mailbox::new(
            self.name.clone(),
            Address::new_dangerous(&self.user, &self.domain),
        )
    }
}
