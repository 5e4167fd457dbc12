//! Writes messages to operators as emails with text and HTML.
//!
//! A title never becomes markup.

use super::decide;
use super::letter::{Affected, Letter};
use super::message::{About, Rendered};
use crate::base::error::Result;
use crate::base::id::MessageId;
use crate::base::time::Timestamp;
use crate::delivery::Mail;
use crate::delivery::mailer::{Mailer, SingleMail};

/// Makes the email of a message. `affected` are the people whom its incidents affect.
///
/// # Errors
/// `Internal` if the address cannot be used in an envelope. The address was checked when it was stored.
pub(super) fn write(
    mailer: &Mailer,
    id: &MessageId,
    about: &About,
    (name, address): (&str, &str),
    rendered: &Rendered,
    affected: Option<Affected>,
    now: Timestamp,
) -> Result<Mail> {
    let letter = Letter {
        sender: mailer.from.name.as_deref().unwrap_or("Candor"),
        message: rendered,
        decision: decide::decision(about),
        affected,
    };
    let thread = match about {
        About::Incident(facts) => format!("operators.{}", facts.incident.id),
        About::Sync(facts) => format!("operators.{}", facts.source),
        About::Test(_) => "operators.test".to_owned(),
    };
    let mail = SingleMail {
        name: format!("operator.{id}"),
        to_name: name,
        to: address,
        subject: &rendered.title,
        thread: Some(thread),
        text: letter.text(),
        html: letter.html()?,
        automatic: true,
        ..SingleMail::default()
    };
    mailer.write(mail, now)
}
