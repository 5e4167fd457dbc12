//! Mails as they go over the wire: headers, two bodies, and the thread of the incident. Pure.
//!
//! [`build`] makes a mail the plain way, with lettre. Both bodies are always quoted-printable, whatever they hold, and the
//! boundary is always the same: then nothing in the frame of a mail depends on the recipient, which is what
//! [`super::skeleton`] lives on.
//!
//! Must never happen here: a line break from data in a header, or a mail that differs from the previewed one.

use std::time::Duration;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, MultiPartKind, SinglePart};

use super::{Mail, header};
use crate::base::error::{Error, Result};
use crate::base::mailbox;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::notice::template::Rendered;

/// What is needed besides the text to build a message.
#[derive(Clone, Debug)]
pub struct Addressing<'a> {
    /// From.
    pub from: &'a Mailbox,
    /// Envelope sender, where it is another: bounces come back to it.
    pub return_path: Option<&'a Address>,
    /// Recipient's name.
    pub name: &'a str,
    /// Recipient's address.
    pub address: &'a str,
    /// Message-ID, without angle brackets.
    pub message_id: &'a str,
    /// The thread that the mail belongs to: an id made from the incident's, without angle brackets.
    pub thread: &'a str,
    /// Where one-click unsubscribing posts to.
    pub unsubscribe_url: &'a str,
    /// When it was written.
    pub date: Timestamp,
}

/// Between the two bodies. Quoted-printable never leaves `=_` in a body, so none can hold it.
const BOUNDARY: &str = "=_candor_alternative";

macro_rules! text_header {
    ($type:ident, $name:literal) => {
        #[derive(Clone)]
        struct $type(String);
        impl Header for $type {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($name)
            }
            fn parse(text: &str) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok($type(text.to_owned()))
            }
            fn display(&self) -> HeaderValue {
                HeaderValue::new(Self::name(), self.0.clone())
            }
        }
    };
}
text_header!(ListUnsubscribe, "List-Unsubscribe");
text_header!(ListUnsubscribePost, "List-Unsubscribe-Post");
text_header!(AutoSubmitted, "Auto-Submitted");

/// The sender of mails, from a setting such as `Candor <candor@example.com>`.
///
/// # Errors
/// A sentence for whoever sets it.
pub fn parse_sender(text: &str) -> std::result::Result<Mailbox, String> {
    let parsed: Mailbox = text
        .parse()
        .map_err(|_| "must be an address such as Candor <candor@example.com>")?;
    let wrong =
        |reason: String| format!("must be an address such as Candor <candor@example.com>: it {reason}");
    let address = mailbox::Mailbox::parse(parsed.email.as_ref()).map_err(wrong)?;
    if !address.local().is_ascii() {
        return Err(
            "must have ASCII characters alone before the @: not every mail server takes others".to_owned(),
        );
    }
    let email = Address::new(address.local(), address.domain()).map_err(|error| error.to_string())?;
    let name = parsed
        .name
        .map(|name| one_line(&name, 200))
        .filter(|name| !name.is_empty());
    Ok(Mailbox::new(name, email))
}

/// The recipient as an address for the envelope: an international domain in its ASCII form, which every server takes.
///
/// # Errors
/// `Internal` where it is no address; it was checked when it was frozen.
pub fn envelope_address(address: &str) -> Result<Address> {
    let mailbox = mailbox::Mailbox::parse(address).map_err(Error::internal)?;
    // Checked just now. lettre's own check refuses letters that RFC 6531 allows.
    Ok(Address::new_dangerous(mailbox.local(), mailbox.domain()))
}

/// The recipient as a header shows it. A name is data: it becomes one line before it becomes a header.
pub(super) fn mailbox(name: &str, address: Address) -> Mailbox {
    let name = one_line(name, 100);
    Mailbox::new((!name.is_empty()).then_some(name), address)
}

/// Names a mail in the outbox.
pub(super) fn file_name(message_id: &str) -> String {
    message_id.replace(['@', '/'], "_")
}

/// Builds the message: multipart text and HTML, threaded by incident, with one-click unsubscribing.
///
/// # Errors
/// `Internal` where the address cannot be put on an envelope; it was checked when it was frozen.
pub fn build(addressing: &Addressing<'_>, rendered: &Rendered) -> Result<Mail> {
    let to = envelope_address(addressing.address)?;
    let (seconds, _) = addressing.date.unix();
    let part = |kind: ContentType, text: &str| {
        let body = Body::new_with_encoding(text.to_owned(), ContentTransferEncoding::QuotedPrintable)
            .map_err(|_| Error::internal("a text could not be encoded"))?;
        Ok::<_, Error>(SinglePart::builder().header(kind).body(body))
    };
    let message = lettre::Message::builder()
        .envelope(
            Envelope::new(Some(addressing.from.email.clone()), vec![to.clone()]).map_err(Error::internal)?,
        )
        .raw_header(header::mailbox("From", addressing.from))
        .raw_header(header::mailbox("To", &mailbox(addressing.name, to.clone())))
        .date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
        .message_id(Some(format!("<{}>", addressing.message_id)))
        .references(format!("<{}>", addressing.thread))
        .in_reply_to(format!("<{}>", addressing.thread))
        .header(ListUnsubscribe(format!("<{}>", addressing.unsubscribe_url)))
        .header(ListUnsubscribePost("List-Unsubscribe=One-Click".to_owned()))
        .header(AutoSubmitted("auto-generated".to_owned()))
        .raw_header(header::text("Subject", &rendered.subject))
        .multipart(
            MultiPart::builder()
                .kind(MultiPartKind::Alternative)
                .boundary(BOUNDARY)
                .singlepart(part(ContentType::TEXT_PLAIN, &rendered.text)?)
                .singlepart(part(ContentType::TEXT_HTML, &rendered.html)?),
        )
        .map_err(Error::internal)?;
    Ok(Mail {
        from: addressing.return_path.unwrap_or(&addressing.from.email).clone(),
        to,
        message: String::from_utf8(message.formatted()).map_err(Error::internal)?,
        name: file_name(addressing.message_id),
    })
}
