//! A mail server that does what a test says, at every step of the dialogue.
//!
//! The catcher plays a server without faults, which accepts or refuses. This server has faults: it closes the
//! connection, stalls, or sends wrong or false replies at any step. At each step a script says what to do.
//! The server records what it read and what it accepted.
//!
//! The dialogue never depends on time, unless the script says so.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use candor::demo::catcher::CaughtMail;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::certificate::Certificate;

/// The steps of the dialogue. The script is asked before the server answers at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The connection is open and nothing has been sent. By default the server sends nothing here.
    Connect,
    /// The greeting.
    Banner,
    Ehlo,
    StartTls,
    /// The first bytes of the TLS handshake have arrived.
    Tls,
    /// EHLO within TLS.
    EhloTls,
    Auth,
    Mail,
    Rcpt,
    /// DATA, before the reply 354.
    Data,
    /// A part of the email has arrived. By default the server sends nothing here.
    Body,
    /// The final dot has arrived, so the email is complete.
    Dot,
    /// The reply to the final dot was sent. By default the server sends nothing here.
    Taken,
    Rset,
    Quit,
    /// NOOP and all other commands.
    Other,
}

/// What the server does at a step.
#[derive(Clone, Debug)]
pub enum Act {
    /// The server does what a server without faults does.
    Usual,
    /// The server sends its default reply one byte at a time, each byte in its own packet.
    Bytewise,
    /// The server sends these replies one byte at a time, each byte in its own packet.
    SayBytewise(String),
    /// The server sends these replies, one on each line, instead of the default one, and continues.
    Say(String),
    /// The server sends these bytes instead of the default reply, and continues.
    Bytes(Vec<u8>),
    /// The server sends these bytes and closes the connection.
    BytesAndClose(Vec<u8>),
    /// The server closes the connection without a reply.
    Close,
    /// The server writes these bytes repeatedly until the client closes the connection or this number of
    /// bytes was written. Then it closes the connection.
    Endless(Vec<u8>, usize),
    /// The server waits for a permit, uses it up, and then does the other thing.
    Wait(Arc<Semaphore>, Box<Act>),
    /// The server waits for this time and then does its default.
    Slow(Duration),
}

impl Act {
    /// Waits for a permit and then does the default.
    pub fn wait(permits: &Arc<Semaphore>) -> Self {
        Act::Wait(Arc::clone(permits), Box::new(Act::Usual))
    }

    /// Sends this line and closes the connection.
    pub fn say_and_close(line: &str) -> Self {
        Act::BytesAndClose(format!("{line}\r\n").into_bytes())
    }
}

/// A step as the script gets it.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub step: Step,
    /// The number of the connection, from 1.
    pub connection: usize,
    /// How many times the dialogue has come to this step on all connections, from 1.
    pub nth: usize,
    /// How many times the dialogue has come to this step on this connection, from 1.
    pub nth_here: usize,
    /// The address of the last RCPT of this email. At RCPT, the address of this command.
    pub recipient: &'a str,
}

type Script = dyn Fn(&Moment<'_>) -> Act + Send + Sync;

/// A received command.
#[derive(Clone, Debug)]
pub struct Command {
    pub connection: usize,
    pub line: String,
    /// Whether more data had already arrived, so that the client did not wait for the reply.
    pub ahead: bool,
    pub encrypted: bool,
}

/// An email that arrived completely.
#[derive(Clone, Debug)]
pub struct Whole {
    pub mail: CaughtMail,
    pub encrypted: bool,
    /// When its last byte was read.
    pub at: Instant,
    /// What was sent from the first byte of the email on, as far as it is known. Empty if nothing was sent.
    pub reply: Vec<u8>,
}

impl Whole {
    /// Returns whether the server refused the email. If it sent nothing, it has accepted the email.
    pub fn is_refused(&self) -> bool {
        matches!(self.reply.first(), Some(b'4' | b'5'))
    }

    /// Returns the only recipient.
    pub fn to(&self) -> &str {
        self.mail.to.first().map(String::as_str).unwrap_or_default()
    }
}

/// The settings of a server before it starts.
pub struct Builder {
    extensions: Vec<String>,
    starttls: Option<Arc<ServerConfig>>,
    implicit: Option<Arc<ServerConfig>>,
    credentials: Option<(String, String)>,
    most_mails: Option<usize>,
}

impl Builder {
    /// Removes an extension.
    pub fn without(mut self, extension: &str) -> Self {
        self.extensions.retain(|known| !known.starts_with(extension));
        self
    }

    /// Adds an extension, as a line of the reply to EHLO.
    pub fn extension(mut self, line: &str) -> Self {
        self.extensions.push(line.to_owned());
        self
    }

    /// Offers STARTTLS with this certificate.
    pub fn starttls(mut self, certificate: &Certificate) -> Self {
        self.starttls = Some(certificate.server());
        self
    }

    /// Uses TLS from the first byte, with this certificate.
    pub fn implicit_tls(mut self, certificate: &Certificate) -> Self {
        self.implicit = Some(certificate.server());
        self
    }

    /// Accepts emails only from this user.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.credentials = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// After this number of emails on one connection, refuses the next one with 421 and closes the
    /// connection.
    pub fn most_mails(mut self, mails: usize) -> Self {
        self.most_mails = Some(mails);
        self
    }

    /// Listens on a free port of 127.0.0.1. It needs a tokio runtime.
    pub fn start(self, script: impl Fn(&Moment<'_>) -> Act + Send + Sync + 'static) -> SmtpScript {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let address = listener.local_addr().expect("an address");
        let (hang_up, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            what: self,
            script: Mutex::new(Arc::new(script)),
            record: Mutex::default(),
            open: AtomicUsize::new(0),
            most_written: AtomicUsize::new(0),
            hang_up,
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        SmtpScript {
            address,
            shared,
            server,
        }
    }
}

#[derive(Default)]
struct Record {
    connections: usize,
    steps: HashMap<Step, usize>,
    commands: Vec<Command>,
    whole: Vec<Whole>,
    /// What was sent at which step of which connection.
    said: Vec<(usize, String)>,
}

struct Shared {
    what: Builder,
    script: Mutex<Arc<Script>>,
    record: Mutex<Record>,
    open: AtomicUsize,
    /// The largest number of bytes of one endless reply.
    most_written: AtomicUsize,
    /// Counts how many times all connections were closed.
    hang_up: watch::Sender<usize>,
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running server. It stops and closes every connection when this value is dropped.
pub struct SmtpScript {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl SmtpScript {
    /// Returns the settings of a server that offers PIPELINING, 8BITMIME, SMTPUTF8 and SIZE.
    pub fn builder() -> Builder {
        Builder {
            extensions: ["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 33554432"]
                .map(str::to_owned)
                .to_vec(),
            starttls: None,
            implicit: None,
            credentials: None,
            most_mails: None,
        }
    }

    pub fn start(script: impl Fn(&Moment<'_>) -> Act + Send + Sync + 'static) -> Self {
        Self::builder().start(script)
    }

    /// Returns `smtp://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Uses this script from now on.
    pub fn turn(&self, script: impl Fn(&Moment<'_>) -> Act + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// Behaves without faults from now on.
    pub fn behave(&self) {
        self.turn(|_| Act::Usual);
    }

    /// Closes every connection, at any step.
    pub fn hang_up(&self) {
        self.shared.hang_up.send_modify(|times| *times += 1);
    }

    /// Returns how many times the dialogue came to this step.
    pub fn came_to(&self, step: Step) -> usize {
        self.shared.record().steps.get(&step).copied().unwrap_or(0)
    }

    /// Returns how many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.record().connections
    }

    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Returns the largest number of bytes of an endless reply that one client read.
    pub fn most_written(&self) -> usize {
        self.shared.most_written.load(Ordering::SeqCst)
    }

    /// Returns all commands so far.
    pub fn commands(&self) -> Vec<Command> {
        self.shared.record().commands.clone()
    }

    /// Returns what was received and sent on a connection, for the message of a failed test.
    pub fn transcript(&self, connection: usize) -> String {
        let record = self.shared.record();
        let lines = record.said.iter().filter(|(of, _)| *of == connection);
        lines.map(|(_, line)| format!("{line}\n")).collect()
    }

    /// Returns every email whose last byte arrived, including refused ones.
    pub fn whole(&self) -> Vec<Whole> {
        self.shared.record().whole.clone()
    }

    /// Returns every email that the server has accepted, even if the client does not know this.
    pub fn taken(&self) -> Vec<Whole> {
        let mut whole = self.whole();
        whole.retain(|mail| !mail.is_refused());
        whole
    }

    /// Returns the number of emails that [`SmtpScript::taken`] returns.
    pub fn count(&self) -> usize {
        let record = self.shared.record();
        record.whole.iter().filter(|mail| !mail.is_refused()).count()
    }
}

impl Drop for SmtpScript {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // The set owns the connections, so aborting this task also closes them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                let mut hang_up = shared.hang_up.subscribe();
                connections.spawn(async move {
                    shared.open.fetch_add(1, Ordering::SeqCst);
                    let dialogue = Dialogue::new(stream, &shared);
                    tokio::select! {
                        // An error of a connection is a part of the script.
                        _ = dialogue.run() => {}
                        _ = hang_up.changed() => {}
                    }
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The end of a connection, which is not an error.
struct End;

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        End
    }
}

type Going<T = ()> = Result<T, End>;

#[derive(Default)]
struct Envelope {
    from: String,
    to: Vec<String>,
}

struct Dialogue<'a> {
    wire: Box<dyn Wire>,
    input: Vec<u8>,
    shared: &'a Shared,
    connection: usize,
    steps: HashMap<Step, usize>,
    encrypted: bool,
    signed_in: bool,
    envelope: Option<Envelope>,
    /// The address of the last RCPT.
    recipient: String,
    mails: usize,
}

impl<'a> Dialogue<'a> {
    fn new(stream: TcpStream, shared: &'a Shared) -> Self {
        let connection = {
            let mut record = shared.record();
            record.connections += 1;
            record.connections
        };
        // Each write is its own packet.
        stream.set_nodelay(true).expect("a socket");
        Dialogue {
            wire: Box::new(stream),
            input: Vec::new(),
            shared,
            connection,
            steps: HashMap::new(),
            encrypted: false,
            signed_in: false,
            envelope: None,
            recipient: String::new(),
            mails: 0,
        }
    }

    async fn run(mut self) -> Going {
        self.step(Step::Connect, b"").await?;
        if let Some(tls) = self.shared.what.implicit.clone() {
            self = self.encrypt(tls).await?;
        }
        self.step(Step::Banner, b"220 script.localhost ESMTP\r\n").await?;
        loop {
            let line = self.line().await?;
            let command = Command {
                connection: self.connection,
                line: String::from_utf8_lossy(&line).trim_end().to_owned(),
                ahead: !self.input.is_empty(),
                encrypted: self.encrypted,
            };
            let text = command.line.clone();
            self.note(format!("C: {text}"));
            self.shared.record().commands.push(command);
            let (verb, argument) = text.split_once(' ').unwrap_or((&text, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.ehlo().await?,
                "HELO" => self.step(Step::Ehlo, b"250 script.localhost\r\n").await?,
                "STARTTLS" => {
                    let Some(tls) = self.shared.what.starttls.clone().filter(|_| !self.encrypted) else {
                        self.step(Step::StartTls, b"502 Not here\r\n").await?;
                        continue;
                    };
                    self.step(Step::StartTls, b"220 Go on\r\n").await?;
                    self = self.encrypt(tls).await?;
                }
                "AUTH" => self.auth(argument).await?,
                "MAIL" => self.mail(argument).await?,
                "RCPT" => self.rcpt(argument).await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    self.envelope = None;
                    self.step(Step::Rset, b"250 Forgotten\r\n").await?;
                }
                "QUIT" => {
                    self.step(Step::Quit, b"221 Bye\r\n").await?;
                    return Err(End);
                }
                "NOOP" => self.step(Step::Other, b"250 OK\r\n").await?,
                _ => self.step(Step::Other, b"500 Unknown\r\n").await?,
            }
        }
    }

    async fn ehlo(&mut self) -> Going {
        self.envelope = None;
        let what = &self.shared.what;
        let mut lines = vec!["script.localhost".to_owned()];
        lines.extend(what.extensions.iter().cloned());
        if what.starttls.is_some() && !self.encrypted {
            lines.push("STARTTLS".to_owned());
        }
        if what.credentials.is_some() && (self.encrypted || what.starttls.is_none()) {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        let last = lines.len() - 1;
        let reply: String = lines
            .iter()
            .enumerate()
            .map(|(n, line)| format!("250{}{line}\r\n", if n == last { ' ' } else { '-' }))
            .collect();
        let step = if self.encrypted { Step::EhloTls } else { Step::Ehlo };
        self.step(step, reply.as_bytes()).await
    }

    async fn auth(&mut self, argument: &str) -> Going {
        let decoded = |text: &[u8]| STANDARD.decode(text.trim_ascii()).unwrap_or_default();
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let given: (Vec<u8>, Vec<u8>) = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let mut response = initial.as_bytes().to_vec();
                if response.is_empty() {
                    self.write(b"334 \r\n").await?;
                    response = self.line().await?;
                }
                let response = decoded(&response);
                let mut parts = response.split(|byte| *byte == 0).skip(1);
                (
                    parts.next().unwrap_or_default().to_vec(),
                    parts.next().unwrap_or_default().to_vec(),
                )
            }
            "LOGIN" => {
                self.write(b"334 VXNlcm5hbWU6\r\n").await?;
                let name = decoded(&self.line().await?);
                self.write(b"334 UGFzc3dvcmQ6\r\n").await?;
                (name, decoded(&self.line().await?))
            }
            _ => return self.step(Step::Auth, b"504 Not that way\r\n").await,
        };
        let wanted = self.shared.what.credentials.as_ref();
        self.signed_in = wanted.is_some_and(|(name, password)| {
            given == (name.as_bytes().to_vec(), password.as_bytes().to_vec())
        });
        let reply: &[u8] = if self.signed_in {
            b"235 Welcome\r\n"
        } else {
            b"535 5.7.8 Not with that password\r\n"
        };
        self.step(Step::Auth, reply).await
    }

    async fn mail(&mut self, argument: &str) -> Going {
        if self.shared.what.credentials.is_some() && !self.signed_in {
            return self.step(Step::Mail, b"530 5.7.0 Who are you?\r\n").await;
        }
        if self.shared.what.most_mails.is_some_and(|most| self.mails >= most) {
            self.write(b"421 4.7.0 That was enough for one connection\r\n")
                .await?;
            return Err(End);
        }
        if self.envelope.is_some() {
            return self.step(Step::Mail, b"503 A mail is under way\r\n").await;
        }
        let known = |name: &str| {
            let extensions = &self.shared.what.extensions;
            extensions.iter().any(|line| line.starts_with(name))
        };
        let parameters = argument.rsplit_once('>').map_or("", |(_, rest)| rest);
        for parameter in parameters.to_ascii_uppercase().split_whitespace() {
            let supported = match parameter.split_once('=').map_or(parameter, |(name, _)| name) {
                "SMTPUTF8" => known("SMTPUTF8"),
                "BODY" => known("8BITMIME"),
                "SIZE" => known("SIZE"),
                _ => false,
            };
            if !supported {
                return self.step(Step::Mail, b"555 5.5.4 I do not know that\r\n").await;
            }
        }
        self.envelope = Some(Envelope {
            from: inside(argument).to_owned(),
            to: Vec::new(),
        });
        self.recipient.clear();
        self.step(Step::Mail, b"250 OK\r\n").await
    }

    async fn rcpt(&mut self, argument: &str) -> Going {
        self.recipient = inside(argument).to_owned();
        if self.envelope.is_none() {
            return self.step(Step::Rcpt, b"503 MAIL first\r\n").await;
        }
        if self.step_refuses(Step::Rcpt, b"250 OK\r\n").await? {
            return Ok(());
        }
        if let Some(envelope) = &mut self.envelope {
            envelope.to.push(self.recipient.clone());
        }
        Ok(())
    }

    async fn data(&mut self) -> Going {
        let usual: &[u8] = match &self.envelope {
            None => b"503 MAIL first\r\n",
            Some(envelope) if envelope.to.is_empty() => b"554 5.5.1 No valid recipients\r\n",
            Some(_) => b"354 Go on\r\n",
        };
        let said = self.step_says(Step::Data, usual).await?;
        // Only the reply that the client got matters. After a 3xx it may send the email, even if the script
        // meant something else.
        if !said.starts_with(b"3") {
            return Ok(());
        }
        if self.input.is_empty() {
            self.fill().await?;
        }
        // A reply before the final dot reaches the client as the reply to it, because by then the email has
        // been sent.
        let already = self.step_says(Step::Body, b"").await?;
        let data = self.body().await?;
        let envelope = self.envelope.take().unwrap_or_default();
        let nth = {
            let mut record = self.shared.record();
            record.whole.push(Whole {
                mail: CaughtMail {
                    from: envelope.from,
                    to: envelope.to.clone(),
                    data,
                },
                encrypted: self.encrypted,
                at: Instant::now(),
                // This is what is known so far, because the client may get no further reply.
                reply: already.clone(),
            });
            record.whole.len() - 1
        };
        self.mails += 1;
        let usual: &[u8] = if envelope.to.is_empty() {
            b"554 5.5.1 No valid recipients\r\n"
        } else {
            b"250 2.0.0 Taken\r\n"
        };
        let act = self.ask(Step::Dot);
        // The reply is recorded before it is sent, so that a client is never ahead of the record.
        self.shared.record().whole[nth].reply = [already, said_by(&act, usual)].concat();
        self.perform(act, usual).await?;
        self.step(Step::Taken, b"").await
    }

    /// Reads everything up to the final dot, without the additional dots of SMTP.
    async fn body(&mut self) -> Going<Vec<u8>> {
        let mut data = Vec::new();
        loop {
            let line = self.line().await?;
            if line == b".\r\n" {
                return Ok(data);
            }
            data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    async fn encrypt(mut self, tls: Arc<ServerConfig>) -> Going<Dialogue<'a>> {
        if self.input.is_empty() {
            self.fill().await?;
        }
        self.step(Step::Tls, b"").await?;
        // The bytes that were already read come first.
        let (reading, writing) = tokio::io::split(self.wire);
        let already = io::Cursor::new(std::mem::take(&mut self.input));
        let wire = tokio::io::join(already.chain(reading), writing);
        let encrypted = TlsAcceptor::from(tls).accept(wire).await?;
        Ok(Dialogue {
            wire: Box::new(encrypted),
            encrypted: true,
            ..self
        })
    }

    fn ask(&mut self, step: Step) -> Act {
        let here = self.steps.entry(step).or_default();
        *here += 1;
        let nth_here = *here;
        let nth = {
            let mut record = self.shared.record();
            let times = record.steps.entry(step).or_default();
            *times += 1;
            *times
        };
        let script = lock(&self.shared.script).clone();
        let act = script(&Moment {
            step,
            connection: self.connection,
            nth,
            nth_here,
            recipient: &self.recipient,
        });
        if !matches!(act, Act::Usual) {
            self.note(format!("S: at {step:?}: {act:?}"));
        }
        act
    }

    /// Adds a line to the transcript.
    fn note(&self, line: String) {
        let line = line.chars().take(300).collect();
        self.shared.record().said.push((self.connection, line));
    }

    async fn step(&mut self, step: Step, usual: &[u8]) -> Going {
        self.step_says(step, usual).await.map(|_| ())
    }

    /// Returns whether the reply at this step is a refusal.
    async fn step_refuses(&mut self, step: Step, usual: &[u8]) -> Going<bool> {
        let said = self.step_says(step, usual).await?;
        Ok(!said.starts_with(b"2"))
    }

    async fn step_says(&mut self, step: Step, usual: &[u8]) -> Going<Vec<u8>> {
        let act = self.ask(step);
        let said = said_by(&act, usual);
        self.perform(act, usual).await?;
        Ok(said)
    }

    async fn write_bytewise(&mut self, reply: &[u8]) -> Going {
        for byte in reply {
            self.write(&[*byte]).await?;
            // This lets the client read the byte alone.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn perform(&mut self, act: Act, usual: &[u8]) -> Going {
        match act {
            Act::Usual => self.write(usual).await,
            Act::Bytewise => self.write_bytewise(usual).await,
            Act::SayBytewise(text) => self.write_bytewise(lines(&text).as_bytes()).await,
            Act::Say(text) => self.write(lines(&text).as_bytes()).await,
            Act::Bytes(bytes) => self.write(&bytes).await,
            Act::BytesAndClose(bytes) => {
                self.write(&bytes).await?;
                Err(End)
            }
            Act::Close => Err(End),
            Act::Endless(bytes, most) => {
                let mut written = 0;
                while written < most {
                    self.write(&bytes).await?;
                    written += bytes.len();
                    self.shared.most_written.fetch_max(written, Ordering::SeqCst);
                }
                Err(End)
            }
            Act::Wait(permits, then) => {
                // An error means that the semaphore was closed, so nothing is held back any more.
                if let Ok(permit) = permits.acquire().await {
                    permit.forget();
                }
                Box::pin(self.perform(*then, usual)).await
            }
            Act::Slow(wait) => {
                tokio::time::sleep(wait).await;
                self.write(usual).await
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Going {
        self.wire.write_all(bytes).await?;
        Ok(self.wire.flush().await?)
    }

    async fn fill(&mut self) -> Going {
        let mut chunk = [0; 16 * 1024];
        match self.wire.read(&mut chunk).await? {
            0 => Err(End),
            read => {
                self.input.extend_from_slice(&chunk[..read]);
                Ok(())
            }
        }
    }

    /// Returns the next line with its CRLF. A single LF does not end a line.
    async fn line(&mut self) -> Going<Vec<u8>> {
        let mut seen = 0;
        loop {
            let from = seen;
            if let Some(at) = self.input[from..].windows(2).position(|pair| pair == b"\r\n") {
                return Ok(self.input.drain(..from + at + 2).collect());
            }
            // The CR may have arrived without its LF.
            seen = self.input.len().saturating_sub(1);
            self.fill().await?;
        }
    }
}

/// Returns what the client gets, as far as it is known in advance.
fn said_by(act: &Act, usual: &[u8]) -> Vec<u8> {
    match act {
        Act::Usual | Act::Bytewise | Act::Slow(_) => usual.to_vec(),
        Act::Say(text) | Act::SayBytewise(text) => lines(text).into_bytes(),
        Act::Bytes(bytes) | Act::BytesAndClose(bytes) | Act::Endless(bytes, _) => bytes.clone(),
        Act::Close => Vec::new(),
        Act::Wait(_, then) => said_by(then, usual),
    }
}

fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{line}\r\n")).collect()
}

/// Returns the address between the angle brackets.
fn inside(argument: &str) -> &str {
    let start = argument.find('<').map_or(0, |at| at + 1);
    let end = argument.rfind('>').unwrap_or(argument.len());
    argument.get(start..end).unwrap_or_default()
}
