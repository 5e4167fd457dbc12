//! The mail channel: messages built by lettre, sent over SMTP connections of our own.
//!
//! lettre's transports leave Nagle's algorithm on, which costs 40 ms a mail on a local relay, and cap nothing. So each
//! sender here keeps one `AsyncSmtpConnection` over a stream with NODELAY, and there are as many senders as settings allow.
//!
//! Must never happen here: an address or a credential in a log, or a line break from data in a header.

use std::time::Duration;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Mail, Outcome};
use crate::error::{Error, Result};
use crate::template::Rendered;
use crate::time::Timestamp;

/// How long connecting, greeting and TLS may take.
const CONNECT: Duration = Duration::from_secs(20);
/// How long one mail may take, from MAIL FROM to the last reply.
const SEND: Duration = Duration::from_secs(120);

/// Where mails go, from `CANDOR_SMTP_URL`.
#[derive(Clone)]
pub struct Relay {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// STARTTLS where the server offers it.
    Opportunistic,
    /// STARTTLS or nothing.
    Required,
    /// TLS from the first byte.
    Implicit,
    /// Plain, as on a local relay.
    Plain,
}

impl Relay {
    /// Parses `smtp://[USER:PASSWORD@]HOST[:PORT][?tls=required|opportunistic|none]` or `smtps://…`.
    ///
    /// # Errors
    /// A sentence that does not repeat the URL: it may hold a password.
    pub fn parse(text: &str) -> std::result::Result<Relay, String> {
        let url = url::Url::parse(text).map_err(|_| "must be a URL such as smtp://localhost:25")?;
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or("has no host")?
            .to_owned();
        let mut security = match url.scheme() {
            "smtp" => Security::Opportunistic,
            "smtps" => Security::Implicit,
            _ => return Err("must begin with smtp:// or smtps://".to_owned()),
        };
        for (name, value) in url.query_pairs() {
            security = match (name.as_ref(), value.as_ref(), security) {
                ("tls", _, Security::Implicit) => {
                    return Err("smtps:// is TLS already; leave tls= out".to_owned());
                }
                ("tls", "required", _) => Security::Required,
                ("tls", "opportunistic", _) => Security::Opportunistic,
                ("tls", "none", _) => Security::Plain,
                ("tls", _, _) => return Err("tls= must be required, opportunistic or none".to_owned()),
                _ => return Err(format!("'{name}' is not a parameter; tls is the only one")),
            };
        }
        let port = url
            .port()
            .unwrap_or(if security == Security::Implicit { 465 } else { 25 });
        let plain = |text: &str| {
            percent_decode(text).ok_or("the user or the password is not properly percent-encoded".to_owned())
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) => Some(Credentials::new(plain(user)?, plain(password)?)),
            _ => return Err("has a user but no password".to_owned()),
        };
        Ok(Relay {
            host,
            port,
            security,
            credentials,
        })
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// One sender: a relay and, while there is work, a connection to it.
pub struct Sender {
    relay: Relay,
    connection: Option<AsyncSmtpConnection>,
}

impl Sender {
    /// A sender without a connection yet.
    pub fn new(relay: Relay) -> Self {
        Sender {
            relay,
            connection: None,
        }
    }

    /// Sends one mail. A connection that was open and turns out to be dead is replaced once, as long as the server
    /// cannot have taken the mail.
    pub async fn deliver(&mut self, mail: &Mail) -> Outcome {
        if self
            .connection
            .as_ref()
            .is_some_and(AsyncSmtpConnection::has_broken)
        {
            self.connection = None;
        }
        if self.connection.is_none() {
            match timeout(CONNECT, connect(&self.relay)).await {
                Ok(Ok(connection)) => self.connection = Some(connection),
                // Whatever the server says while greeting or signing in is about us, not about the recipient.
                Ok(Err(reason)) => {
                    return Outcome::Retry(None, format!("no connection to the mail server: {reason}"));
                }
                Err(_) => return Outcome::Retry(None, "the mail server did not greet in time".to_owned()),
            }
        }
        let Some(connection) = self.connection.as_mut() else {
            return Outcome::Retry(None, "no connection to the mail server".to_owned());
        };
        let result = timeout(SEND, connection.send(&mail.envelope, &mail.message)).await;
        match result {
            Ok(Ok(response)) => Outcome::Sent(reply(response.code().to_string(), response.message())),
            Ok(Err(error)) => {
                // lettre aborts the connection on every error; the next mail gets a new one.
                self.connection = None;
                let text = error_text(&error);
                if error.is_permanent() {
                    Outcome::Failed(text)
                } else {
                    Outcome::Retry(None, text)
                }
            }
            Err(_) => {
                self.connection = None;
                Outcome::Retry(None, "the mail server did not answer in time".to_owned())
            }
        }
    }

    /// Says good-bye, when there is nothing to send.
    pub async fn close(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            // The server may have hung up already; then there is nobody to say it to.
            let _ = timeout(Duration::from_secs(2), connection.quit()).await;
        }
    }

    /// Whether a connection is open.
    pub fn is_open(&self) -> bool {
        self.connection.is_some()
    }
}

fn reply<'a>(code: String, lines: impl Iterator<Item = &'a str>) -> String {
    let text: Vec<&str> = lines.collect();
    crate::template::one_line(&format!("{code} {}", text.join(" ")), 500)
}

fn error_text(error: &lettre::transport::smtp::Error) -> String {
    let mut text = match error.status() {
        Some(code) => code.to_string(),
        None => error.to_string(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push(' ');
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    crate::template::one_line(&text, 500)
}

/// Opens a connection: greeted, encrypted and signed in as the settings want it; or says why not.
async fn connect(relay: &Relay) -> std::result::Result<AsyncSmtpConnection, String> {
    let said = |error: lettre::transport::smtp::Error| error_text(&error);
    let hello = ClientId::default();
    let address = (relay.host.as_str(), relay.port);
    let mut connection = if relay.security == Security::Implicit {
        let tls = TlsParameters::new(relay.host.clone()).map_err(said)?;
        AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT), &hello, Some(tls), None)
            .await
            .map_err(said)?
    } else {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| error.to_string())?;
        // Without it each mail waits 40 ms for a delayed ACK.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello)
            .await
            .map_err(said)?
    };
    let upgrade = match relay.security {
        Security::Required => true,
        Security::Opportunistic => connection.can_starttls(),
        Security::Implicit | Security::Plain => false,
    };
    if upgrade {
        // Fails where the server does not offer it: required means required.
        let tls = TlsParameters::new(relay.host.clone()).map_err(said)?;
        connection.starttls(tls, &hello).await.map_err(said)?;
    }
    if let Some(credentials) = &relay.credentials {
        connection
            .auth(&[Mechanism::Plain, Mechanism::Login], credentials)
            .await
            .map_err(said)?;
    }
    Ok(connection)
}

/// What is needed besides the text to build a message.
pub struct Addressing<'a> {
    /// From.
    pub from: &'a Mailbox,
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

/// Builds the message: multipart text and HTML, threaded by incident, with one-click unsubscribing.
///
/// # Errors
/// `Internal` where the address cannot be put on an envelope; it was checked when it was frozen.
pub fn build(addressing: &Addressing<'_>, rendered: &Rendered) -> Result<Mail> {
    let address: Address = addressing.address.parse().map_err(Error::internal)?;
    // A name is data: it becomes one line before it becomes a header.
    let name = crate::template::one_line(addressing.name, 100);
    let to = Mailbox::new((!name.is_empty()).then_some(name), address.clone());
    let (seconds, _) = addressing.date.unix();
    let message = lettre::Message::builder()
        .from(addressing.from.clone())
        .to(to)
        .date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
        .message_id(Some(format!("<{}>", addressing.message_id)))
        .references(format!("<{}>", addressing.thread))
        .in_reply_to(format!("<{}>", addressing.thread))
        .header(ListUnsubscribe(format!("<{}>", addressing.unsubscribe_url)))
        .header(ListUnsubscribePost("List-Unsubscribe=One-Click".to_owned()))
        .header(AutoSubmitted("auto-generated".to_owned()))
        .subject(&rendered.subject)
        .multipart(
            MultiPart::alternative()
                .singlepart(
                    SinglePart::builder()
                        .header(ContentType::TEXT_PLAIN)
                        .body(rendered.text.clone()),
                )
                .singlepart(
                    SinglePart::builder()
                        .header(ContentType::TEXT_HTML)
                        .body(rendered.html.clone()),
                ),
        )
        .map_err(Error::internal)?;
    let envelope =
        Envelope::new(Some(addressing.from.email.clone()), vec![address]).map_err(Error::internal)?;
    Ok(Mail {
        envelope,
        message: message.formatted(),
        name: addressing.message_id.replace(['@', '/'], "_"),
    })
}
