//! The dialogue with the server on one connection: greeting, TLS, authentication, and then one email after
//! another.
//!
//! If the server offers PIPELINING (RFC 2920), the commands of an envelope are sent in one write. Every
//! command still gets exactly one reply. This module decides what a reply means for the delivery:
//!
//! ```text
//! before the first byte of the message   lost or refused for now → try again, refused permanently → failed
//! after the first byte of the message    no reply → ambiguous, because the server may have it
//! ```
//!
//! A reply is never taken as the answer to another command.

use std::fmt::Display;
use std::time::Duration;

use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Auth, Data, Ehlo, Noop, Quit, Starttls};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::relay::{Relay, Security};
use super::trouble::is_of_the_server;
use super::wire::Wire;
use crate::base::text::one_line;
use crate::delivery::channel::PossiblyReceived;
use crate::delivery::email::Mail;
use crate::delivery::outcome::Outcome;
use crate::delivery::refusal::{self, FailureCause};

/// How long opening the TCP connection may take.
const CONNECT: Duration = Duration::from_secs(20);
/// How long the greeting may take. Some servers delay it on purpose against spam, and RFC 5321 allows five
/// minutes.
const BANNER: Duration = Duration::from_secs(90);
/// How long a reply to a command of the session or the envelope may take.
const REPLY: Duration = Duration::from_secs(60);
/// How long the reply after the last byte may take. A server that checks the email first needs time, and a
/// client that gives up too early sends the email twice (RFC 5321, section 4.5.3.2.6).
const TAKEN: Duration = Duration::from_secs(600);
/// The number of characters of a reply that are kept.
const KEPT: usize = 300;

/// The extensions that the server offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Offers {
    pipelining: bool,
    eight_bit: bool,
    smtp_utf8: bool,
    start_tls: bool,
    plain: bool,
    login: bool,
    /// The largest email that the server accepts, in bytes.
    size: Option<usize>,
    /// The number of emails that the server accepts on one connection (RFC 9422).
    mail_max: Option<usize>,
}

impl Offers {
    /// Parses the lines of a reply to EHLO.
    fn parse(reply: &str) -> Offers {
        let mut offers = Offers::default();
        // The first line contains the name of the server.
        for line in reply.lines().skip(1) {
            let Some(line) = line.get(4..) else { continue };
            // Some servers write AUTH=PLAIN, which an old draft of the standard specified.
            let line = line.replacen("AUTH=", "AUTH ", 1).to_ascii_uppercase();
            let mut words = line.split_whitespace();
            match words.next().unwrap_or_default() {
                "PIPELINING" => offers.pipelining = true,
                "8BITMIME" => offers.eight_bit = true,
                "SMTPUTF8" => offers.smtp_utf8 = true,
                "STARTTLS" => offers.start_tls = true,
                "SIZE" => {
                    offers.size = words
                        .next()
                        .and_then(|size| size.parse().ok())
                        .filter(|size| *size > 0);
                }
                "AUTH" => {
                    for word in words {
                        offers.plain |= word == "PLAIN";
                        offers.login |= word == "LOGIN";
                    }
                }
                "LIMITS" => {
                    offers.mail_max = words
                        .find_map(|word| word.strip_prefix("MAILMAX="))
                        .and_then(|number| number.parse().ok())
                        .filter(|number| *number > 0);
                }
                _ => {}
            }
        }
        offers
    }
}

/// The reply to a command, or the reason why there was none.
enum Reply {
    /// The command succeeded (2xx). The text is the reply.
    Yes(String),
    /// The server waits for more input (3xx).
    More,
    /// The command failed. The number is the reply code (4xx or 5xx), and the text is the reply.
    No(u16, String),
    /// The connection was closed, there was no reply in time, or the reply was not valid.
    Lost(String),
}

impl Reply {
    /// Returns whether the connection is closed. The reply code 421 announces this.
    fn closes(&self) -> bool {
        matches!(self, Reply::No(421, _) | Reply::Lost(_))
    }

    /// Returns a sentence for the person who looks for the cause.
    fn text(self) -> String {
        match self {
            Reply::Yes(text) | Reply::No(_, text) | Reply::Lost(text) => text,
            Reply::More => "the mail server asked for more data at the wrong time".to_owned(),
        }
    }
}

/// The steps of an envelope.
#[derive(Clone, Copy)]
enum Step {
    /// The command `MAIL FROM`.
    Sender,
    /// The command `RCPT TO`.
    Recipient,
    /// The command `DATA`, which asks the mail server to accept the content of the email.
    Data,
}

impl Step {
    /// Returns the step with this index in the envelope, from 0.
    fn of(place: usize) -> Step {
        match place {
            0 => Step::Sender,
            1 => Step::Recipient,
            _ => Step::Data,
        }
    }
}

/// The result of an email on a connection.
pub(super) enum Transfer {
    /// The attempt ended with an outcome.
    Done(Outcome),
    /// The server has a fault. It has certainly not accepted the email, so another server may get it.
    NotTaken(Outcome),
    /// The server had already closed the connection, so the email was not handed over.
    Stale {
        /// The number of emails that the connection carried, if the server announced that it closed the
        /// connection.
        limit: Option<usize>,
    },
}

/// An open connection with the encryption and authentication that the settings require.
pub(super) struct Dialogue {
    smtp: AsyncSmtpConnection,
    wire: Wire,
    offers: Offers,
    /// The number of emails that the connection has carried, including rejected ones.
    carried: usize,
    /// Whether an envelope was rejected. The session must then be reset before the next envelope.
    reset_due: bool,
    usable: bool,
}

/// Why there is no connection.
pub(super) struct NoConnection {
    /// The step that failed.
    pub(super) step: &'static str,
    /// A sentence, with the reply of the server if there was one.
    pub(super) reason: String,
}

/// Names the step at which something failed.
fn at(step: &'static str) -> impl Fn(String) -> NoConnection {
    move |reason| NoConnection { step, reason }
}

impl Dialogue {
    /// Opens a connection.
    ///
    /// # Errors
    /// The step that failed, and a sentence that says why.
    pub(super) async fn open(relay: &Relay) -> Result<Dialogue, NoConnection> {
        let address = (relay.host.as_str(), relay.port);
        let stream = timeout(CONNECT, TcpStream::connect(address))
            .await
            .map_err(|_| "it did not answer in time".to_owned())
            .and_then(|connected| connected.map_err(|error| error.to_string()))
            .map_err(at("connect"))?;
        let wire = Wire::new(stream).map_err(|error| at("connect")(error.to_string()))?;
        let hello = ClientId::default();
        if relay.security == Security::Implicit {
            encrypt(relay, &wire).await.map_err(at("TLS"))?;
        }
        let connected = AsyncSmtpConnection::connect_with_transport(Box::new(wire.clone()), &hello);
        let smtp = timeout(BANNER, connected)
            .await
            .map_err(|_| "it sent no greeting in time".to_owned())
            .and_then(|greeted| greeted.map_err(|error| error_text(&error)))
            .map_err(at("greeting"))?;
        let offers = Offers::parse(&wire.last_reply());
        let mut dialogue = Dialogue {
            smtp,
            wire,
            offers,
            carried: 0,
            reset_due: false,
            usable: true,
        };
        let upgrade = match relay.security {
            Security::Required => true,
            Security::Opportunistic => dialogue.offers.start_tls,
            Security::Implicit | Security::Plain => false,
        };
        if upgrade {
            dialogue.start_tls(relay, &hello).await.map_err(at("TLS"))?;
        }
        if let Some(credentials) = &relay.credentials {
            if !dialogue.wire.is_encrypted() && relay.security != Security::Plain && !dialogue.wire.is_local()
            {
                let reason =
                    "it offers no TLS, and Candor does not send a password unencrypted (tls=none allows it)";
                return Err(at("sign-in")(reason.to_owned()));
            }
            dialogue.sign_in(credentials).await.map_err(at("sign-in"))?;
        }
        if !dialogue.wire.is_quiet() {
            return Err(at("greeting")(
                "it sent more replies than Candor sent commands".to_owned(),
            ));
        }
        Ok(dialogue)
    }

    async fn start_tls(&mut self, relay: &Relay, hello: &ClientId) -> Result<(), String> {
        if !self.offers.start_tls {
            return Err("it offers no TLS (STARTTLS), but tls=required is set".to_owned());
        }
        match self.ask(Starttls, REPLY).await {
            Reply::Yes(_) => {}
            other => return Err(other.text()),
        }
        encrypt(relay, &self.wire).await?;
        // Extensions that were offered without encryption do not count any more.
        match self.ask(Ehlo::new(hello.clone()), REPLY).await {
            Reply::Yes(_) => self.offers = Offers::parse(&self.wire.last_reply()),
            other => return Err(other.text()),
        }
        Ok(())
    }

    async fn sign_in(
        &mut self,
        credentials: &lettre::transport::smtp::authentication::Credentials,
    ) -> Result<(), String> {
        let mechanism = match (self.offers.plain, self.offers.login) {
            (true, _) => Mechanism::Plain,
            (false, true) => Mechanism::Login,
            (false, false) => {
                return Err("it offers no sign-in method that Candor supports (PLAIN, LOGIN)".to_owned());
            }
        };
        let failed = |error: lettre::transport::smtp::Error| error_text(&error);
        let mut command = Auth::new(mechanism, credentials.clone(), None).map_err(failed)?;
        // The mechanism LOGIN asks for the user and the password separately.
        for _ in 0..4 {
            let response = timeout(REPLY, self.smtp.command(command))
                .await
                .map_err(|_| "it did not answer in time".to_owned())?
                .map_err(failed)?;
            if !response.has_code(334) {
                return Ok(());
            }
            command = Auth::new_from_response(mechanism, credentials.clone(), &response).map_err(failed)?;
        }
        Err("it does not complete the sign-in".to_owned())
    }

    /// Returns the number of emails that the connection has carried.
    pub(super) fn carried(&self) -> usize {
        self.carried
    }

    /// Returns whether the connection has carried as many emails as the server announced to accept.
    pub(super) fn is_full(&self) -> bool {
        self.offers.mail_max.is_some_and(|most| self.carried >= most)
    }

    /// Returns whether the connection can be used for another email.
    pub(super) fn is_usable(&self) -> bool {
        self.usable
    }

    /// Returns whether the connection is still open and the server has sent nothing unexpected.
    pub(super) fn listens(&self) -> bool {
        self.usable && self.wire.is_quiet()
    }

    /// Checks with NOOP whether the server still answers, after the connection was idle.
    pub(super) async fn noop(&mut self) -> bool {
        matches!(self.ask(Noop, Duration::from_secs(10)).await, Reply::Yes(_))
    }

    /// Closes the connection with QUIT.
    pub(super) async fn quit(&mut self) {
        self.usable = false;
        // The answer does not matter, because the connection is closed in every case.
        let _ = self.ask(Quit, Duration::from_secs(2)).await;
    }

    async fn ask<C: Display>(&mut self, command: C, limit: Duration) -> Reply {
        let answered = timeout(limit, self.smtp.command(command)).await;
        self.heard(answered)
    }

    async fn next_reply(&mut self) -> Reply {
        let answered = timeout(REPLY, self.smtp.read_response()).await;
        self.heard(answered)
    }

    fn heard(
        &mut self,
        answered: Result<Result<Response, lettre::transport::smtp::Error>, tokio::time::error::Elapsed>,
    ) -> Reply {
        let reply = match answered {
            Ok(Ok(response)) => match u16::from(response.code()) {
                code @ 200..300 => Reply::Yes(reply_text(code, &response)),
                _ => Reply::More,
            },
            Ok(Err(error)) => match error.status().map(u16::from) {
                Some(code) if code >= 400 => Reply::No(code, error_text(&error)),
                _ => Reply::Lost(error_text(&error)),
            },
            Err(_) => Reply::Lost("the mail server did not answer in time".to_owned()),
        };
        if reply.closes() {
            self.usable = false;
        }
        reply
    }

    /// Hands over one email. `possibly_received` is set when the first byte of the message is sent.
    pub(super) async fn transfer(&mut self, mail: &Mail, possibly_received: &PossiblyReceived) -> Transfer {
        let parameters = match self.parameters(mail) {
            Ok(parameters) => parameters,
            Err(reason) => return Transfer::Done(Outcome::Failed(reason)),
        };
        if let Some(transfer) = self.envelope(mail, &parameters).await {
            return transfer;
        }
        // The server must not have sent anything else, because its next reply is the answer to the message.
        if !self.wire.is_quiet() {
            self.usable = false;
            let reason = "the mail server sent more replies than Candor sent commands";
            return Transfer::NotTaken(Outcome::Retry(None, reason.to_owned()));
        }
        self.carried += 1;
        possibly_received.set();
        let outcome = match self.ask(Stuffed(&mail.message), TAKEN).await {
            Reply::Yes(text) => Outcome::Sent(text),
            Reply::No(code, text) if code >= 500 => refused_for_good(text),
            Reply::No(code, text) if is_of_the_server(code, &text, false) => {
                return Transfer::NotTaken(Outcome::Retry(None, text));
            }
            Reply::No(_, text) => Outcome::Retry(None, text),
            reply @ (Reply::More | Reply::Lost(_)) => {
                self.usable = false;
                Outcome::Ambiguous(reply.text())
            }
        };
        Transfer::Done(outcome)
    }

    /// Returns the parameters of MAIL, or the reason why the server cannot accept the email.
    fn parameters(&self, mail: &Mail) -> Result<String, String> {
        let mut parameters = String::new();
        let international = [&mail.from, &mail.to].into_iter().any(|address| {
            let text: &str = address.as_ref();
            !text.is_ascii()
        });
        if international {
            if !self.offers.smtp_utf8 {
                return Err(
                    "the mail server does not accept internationalised addresses (it does not offer SMTPUTF8)"
                        .to_owned(),
                );
            }
            parameters.push_str(" SMTPUTF8");
        }
        if !mail.message.is_ascii() {
            if !self.offers.eight_bit {
                return Err(
                    "the mail server does not accept 8-bit emails (it does not offer 8BITMIME)".to_owned(),
                );
            }
            parameters.push_str(" BODY=8BITMIME");
        }
        if let Some(size) = self.offers.size
            && mail.message.len() > size
        {
            return Err(format!(
                "the email has {} bytes, and the mail server accepts at most {size}",
                mail.message.len()
            ));
        }
        Ok(parameters)
    }

    /// Sends the envelope up to the reply 354 of the server. Returns the result if the server did not send
    /// this reply.
    async fn envelope(&mut self, mail: &Mail, parameters: &str) -> Option<Transfer> {
        let from = format!("MAIL FROM:<{}>{parameters}\r\n", mail.from);
        let to = format!("RCPT TO:<{}>\r\n", mail.to);
        let reset = if std::mem::take(&mut self.reset_due) {
            "RSET\r\n"
        } else {
            ""
        };
        let fresh = self.carried == 0;
        if self.offers.pipelining {
            let first = self.ask(format!("{reset}{from}{to}{Data}"), REPLY).await;
            let first = match (reset, first) {
                ("", first) => first,
                (_, Reply::Yes(_)) => self.next_reply().await,
                (_, other) => return Some(self.broken_off(other, fresh)),
            };
            if first.closes() {
                return Some(self.broken_off(first, fresh));
            }
            let second = self.next_reply().await;
            if second.closes() {
                return Some(self.broken_off(second, fresh));
            }
            let third = self.next_reply().await;
            return match (first, second, third) {
                (Reply::Yes(_), Reply::Yes(_), Reply::More) => None,
                (Reply::Yes(_), Reply::Yes(_), third) => Some(self.refused(third, Step::Data)),
                (first, second, third) => {
                    let (refusal, step) = if matches!(first, Reply::Yes(_)) {
                        (second, Step::Recipient)
                    } else {
                        (first, Step::Sender)
                    };
                    if matches!(third, Reply::More) {
                        // The server waits for a message without a recipient. The only safe way out is to
                        // close the connection.
                        self.usable = false;
                    }
                    Some(self.refused(refusal, step))
                }
            };
        }
        if !reset.is_empty() {
            match self.ask(reset, REPLY).await {
                Reply::Yes(_) => {}
                other => return Some(self.broken_off(other, fresh)),
            }
        }
        for (step, command) in [from.as_str(), to.as_str(), "DATA\r\n"].into_iter().enumerate() {
            match (step, self.ask(command, REPLY).await) {
                (0 | 1, Reply::Yes(_)) | (2, Reply::More) => {}
                (0, reply) if reply.closes() => return Some(self.broken_off(reply, fresh)),
                (step, reply) => return Some(self.refused(reply, Step::of(step))),
            }
        }
        None
    }

    /// Handles a connection that was closed during the envelope. If it has carried emails before, it has only
    /// reached its end, and the email can be sent on another connection.
    fn broken_off(&mut self, reply: Reply, fresh: bool) -> Transfer {
        self.usable = false;
        if fresh {
            return Transfer::NotTaken(Outcome::Retry(None, reply.text()));
        }
        Transfer::Stale {
            limit: matches!(reply, Reply::No(421, _)).then_some(self.carried),
        }
    }

    /// Handles a rejected envelope. The connection stays open and is reset before the next email.
    fn refused(&mut self, reply: Reply, step: Step) -> Transfer {
        self.carried += 1;
        self.reset_due = true;
        Transfer::Done(match reply {
            Reply::No(code, text) if code >= 500 => match step {
                // "User unknown" is about the recipient only in a reply to RCPT TO.
                Step::Sender => Outcome::Failed(format!("{text} (in reply to MAIL FROM)")),
                Step::Recipient => refused_for_good(text),
                Step::Data => Outcome::Failed(text),
            },
            Reply::No(code, text) => {
                // "Try again later" is about the recipient only in a reply to RCPT TO.
                let otherwise = !matches!(step, Step::Recipient);
                let of_the_server = is_of_the_server(code, &text, otherwise);
                let outcome = Outcome::Retry(None, text);
                if of_the_server {
                    return Transfer::NotTaken(outcome);
                }
                outcome
            }
            // A 2xx reply to DATA or a 3xx reply to another command is against the protocol, so the state of
            // the server is unknown. It has no byte of the message.
            reply => {
                self.usable = false;
                let reason = format!("the mail server violates SMTP: {}", reply.text());
                return Transfer::NotTaken(Outcome::Retry(None, reason));
            }
        })
    }
}

async fn encrypt(relay: &Relay, wire: &Wire) -> Result<(), String> {
    let name = ServerName::try_from(relay.host.clone())
        .map_err(|_| "its host name is not valid in a certificate".to_owned())?;
    let connector = relay.tls()?;
    timeout(REPLY, wire.encrypt(&connector, name))
        .await
        .map_err(|_| "it did not finish the TLS handshake in time".to_owned())?
        .map_err(|error| format!("TLS failed: {}", one_line(&error.to_string(), KEPT)))
}

/// An email with the additional dots that SMTP requires, and with the final dot.
struct Stuffed<'a>(&'a str);

impl Display for Stuffed<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        if rest.starts_with('.') {
            formatter.write_str(".")?;
        }
        while let Some(at) = rest.find("\n.") {
            formatter.write_str(&rest[..=at])?;
            formatter.write_str(".")?;
            rest = &rest[at + 1..];
        }
        formatter.write_str(rest)?;
        formatter.write_str(if self.0.ends_with("\r\n") {
            ".\r\n"
        } else {
            "\r\n.\r\n"
        })
    }
}

/// Returns the outcome of a permanent rejection. The function that judges bounces decides here too.
fn refused_for_good(text: String) -> Outcome {
    match refusal::judge(None, &text) {
        FailureCause::Mailbox => Outcome::NoMailbox(text),
        FailureCause::Other => Outcome::Failed(text),
    }
}

fn reply_text(code: u16, response: &Response) -> String {
    let mut text = code.to_string();
    for line in response.message() {
        text.push(' ');
        text.push_str(line);
    }
    one_line(&text, KEPT)
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
    one_line(&text, KEPT)
}
