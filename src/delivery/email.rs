//! The format of an email: the headers, the two bodies and the thread of the incident. This module does no
//! I/O.
//!
//! [`build`] makes one email with lettre. Both bodies are always quoted-printable, and the boundary is always
//! the same. So the frame of an email does not depend on the recipient, which [`super::email_template`] relies on.
//!
//! A line break from data never reaches a header, and an email never differs from its preview.

use std::time::Duration;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{
    ContentDisposition, ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue,
};
use lettre::message::{Body, Mailbox, MultiPart, MultiPartKind, SinglePart};

use super::header;
use crate::base::error::{Error, Result};
use crate::base::mailbox;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::notice::planned_mail::Attachment;
use crate::notice::template::Rendered;

/// An email that is ready to be handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The envelope sender. Bounces are sent to this address.
    pub from: lettre::Address,
    /// The envelope recipient. An email has exactly one.
    pub to: lettre::Address,
    /// The headers and the body, with CRLF as line ends.
    pub message: String,
    /// The file name of the email in the outbox, without its extension.
    pub name: String,
}

/// The data that an email needs besides its texts.
#[derive(Clone, Debug)]
pub struct Addressing<'a> {
    /// The value of the From header.
    pub from: &'a Mailbox,
    /// The value of the Reply-To header, if replies do not go to the sender.
    pub reply_to: Option<&'a Mailbox>,
    /// The envelope sender if it differs from From. Bounces are sent to it.
    pub return_path: Option<&'a Address>,
    /// The name of the recipient.
    pub name: &'a str,
    /// The email address of the recipient.
    pub address: &'a str,
    /// The Message-ID, without angle brackets.
    pub message_id: &'a str,
    /// The ID of the thread, without angle brackets. It is made from the ID of the incident.
    pub thread: &'a str,
    /// The URL for one-click unsubscribing.
    pub unsubscribe_url: &'a str,
    /// The URL of the page for answering, without the chosen answer.
    pub answers_url: &'a str,
    /// The languages of the email. Emails of the form 1 did not name them.
    pub languages: Option<&'a str>,
    /// The URL of the page of the recipient.
    pub mine_url: &'a str,
    /// The value of the Date header.
    pub date: Timestamp,
    /// The checkpoint of the audit trail: its origin, its size and its root.
    pub audit: &'a str,
}

/// The header with the checkpoint of the audit trail.
pub const AUDIT: &str = "Candor-Audit";

/// The form of an email: which headers it has, in which order, and how they and the bodies are encoded. Whoever changes the form gives
/// it the next number and keeps the code for the earlier ones, so that emails that were sent can still be shown byte for byte.
///
/// - 1: without `Content-Language`, and with times such as `14 March 2024, 09:51 (Africa/Nairobi), 06:51 UTC`.
/// - 2: with `Content-Language`, and with times as [`Texts::moment`](crate::words::Texts::moment) writes them.
pub const FORM: u32 = 2;

/// The first form with `Content-Language`.
pub const WITH_LANGUAGE: u32 = 2;

/// Returns the ID of the thread of an incident, without angle brackets.
pub fn thread(incident: &str, domain: &str) -> String {
    format!("incident.{incident}@{domain}")
}

/// The boundary between the two bodies. Quoted-printable text never contains `=_`, so no body can contain the
/// boundary.
const BOUNDARY: &str = "=_candor_alternative";
/// The boundary between the bodies and a file. Base64 never contains `=_` either.
const OUTER_BOUNDARY: &str = "=_candor_mixed";

macro_rules! text_header {
    ($type:ident, $name:literal) => {
        #[derive(Clone)]
        pub(super) struct $type(pub(super) String);
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
text_header!(ContentLanguage, "Content-Language");

/// Parses the sender of the emails from a setting such as `Candor <candor@example.com>`.
///
/// # Errors
/// A sentence for the operator who sets it.
pub fn parse_sender(text: &str) -> std::result::Result<Mailbox, String> {
    let parsed: Mailbox = text
        .parse()
        .map_err(|_| "must be an address such as Candor <candor@example.com>")?;
    let wrong =
        |reason: String| format!("must be an address such as Candor <candor@example.com>: it {reason}");
    let address = mailbox::Mailbox::parse(parsed.email.as_ref()).map_err(wrong)?;
    if !address.local().is_ascii() {
        return Err(
            "must have only ASCII characters before the @, because not every mail server accepts others"
                .to_owned(),
        );
    }
    let email = Address::new(address.local(), address.domain()).map_err(|error| error.to_string())?;
    let name = parsed
        .name
        .map(|name| one_line(&name, 200))
        .filter(|name| !name.is_empty());
    Ok(Mailbox::new(name, email))
}

/// Returns the recipient as an envelope address. An internationalised domain is in its ASCII form, which
/// every server accepts.
///
/// # Errors
/// `Internal` if it is not an address, although it was checked when it was frozen.
pub fn envelope_address(address: &str) -> Result<Address> {
    let mailbox = mailbox::Mailbox::parse(address).map_err(Error::internal)?;
    // The address was checked by the line above. lettre's own check refuses letters that RFC 6531 allows.
    Ok(Address::new_dangerous(mailbox.local(), mailbox.domain()))
}

/// Returns the recipient for the To header. The name is reduced to one line first, because it is data from
/// outside.
pub(super) fn mailbox(name: &str, address: Address) -> Mailbox {
    let name = one_line(name, 100);
    Mailbox::new((!name.is_empty()).then_some(name), address)
}

/// Returns the file name of an email in the outbox, without its extension.
pub(super) fn file_name(message_id: &str) -> String {
    message_id.replace(['@', '/'], "_")
}

/// Returns the part of an email with a file. It is always base64, so that its lines are short and its line ends stay.
fn file(attachment: &Attachment) -> Result<SinglePart> {
    let kind = ContentType::parse(&attachment.media).map_err(Error::internal)?;
    let body = Body::new_with_encoding(attachment.content.clone(), ContentTransferEncoding::Base64)
        .map_err(|_| Error::internal("a file could not be encoded"))?;
    Ok(SinglePart::builder()
        .header(kind)
        .header(ContentDisposition::attachment(attachment.name))
        .body(body))
}

/// Builds an email with a text body and an HTML body, with the thread of the incident, and with one-click
/// unsubscribing.
///
/// # Errors
/// `Internal` if the address is not valid for an envelope, although it was checked when it was frozen.
pub fn build(
    addressing: &Addressing<'_>,
    rendered: &Rendered,
    attachment: Option<&Attachment>,
) -> Result<Mail> {
    let to = envelope_address(addressing.address)?;
    let (seconds, _) = addressing.date.unix();
    let part = |kind: ContentType, text: &str| {
        let body = Body::new_with_encoding(text.to_owned(), ContentTransferEncoding::QuotedPrintable)
            .map_err(|_| Error::internal("a text could not be encoded"))?;
        Ok::<_, Error>(SinglePart::builder().header(kind).body(body))
    };
    let mut builder = lettre::Message::builder()
        .envelope(
            Envelope::new(Some(addressing.from.email.clone()), vec![to.clone()]).map_err(Error::internal)?,
        )
        .raw_header(header::mailbox("From", addressing.from));
    if let Some(reply_to) = addressing.reply_to {
        builder = builder.raw_header(header::mailbox("Reply-To", reply_to));
    }
    if let Some(languages) = addressing.languages {
        builder = builder.header(ContentLanguage(languages.to_owned()));
    }
    let texts = MultiPart::builder()
        .kind(MultiPartKind::Alternative)
        .boundary(BOUNDARY)
        .singlepart(part(ContentType::TEXT_PLAIN, &rendered.text)?)
        .singlepart(part(ContentType::TEXT_HTML, &rendered.html)?);
    let content = match attachment {
        None => texts,
        Some(attachment) => MultiPart::builder()
            .kind(MultiPartKind::Mixed)
            .boundary(OUTER_BOUNDARY)
            .multipart(texts)
            .singlepart(file(attachment)?),
    };
    let message = builder
        .raw_header(header::mailbox("To", &mailbox(addressing.name, to.clone())))
        .date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
        .message_id(Some(format!("<{}>", addressing.message_id)))
        .references(format!("<{}>", addressing.thread))
        .in_reply_to(format!("<{}>", addressing.thread))
        .header(ListUnsubscribe(format!("<{}>", addressing.unsubscribe_url)))
        .header(ListUnsubscribePost("List-Unsubscribe=One-Click".to_owned()))
        .header(AutoSubmitted("auto-generated".to_owned()))
        .raw_header(header::words(AUDIT, addressing.audit))
        .raw_header(header::text("Subject", &rendered.subject))
        .multipart(content)
        .map_err(Error::internal)?;
    Ok(Mail {
        from: addressing.return_path.unwrap_or(&addressing.from.email).clone(),
        to,
        message: String::from_utf8(message.formatted()).map_err(Error::internal)?,
        name: file_name(addressing.message_id),
    })
}
