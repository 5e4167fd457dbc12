//! One connection of the mail catcher: the SMTP dialogue (RFC 5321), with or without pipelining.
//!
//! The policy decides what happens to a recipient. This module never decides it.

use std::sync::Arc;
use std::{future, io};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;

use super::mailbox::{CaughtMail, Shared};
use super::policy::Decision;

const NAME: &str = "catcher.localhost";
const MAX_MAIL: usize = 32 * 1024 * 1024;
const MAX_COMMAND: usize = 4096;

/// An email between MAIL and the end of DATA.
struct Envelope {
    from: String,
    smtputf8: bool,
    to: Vec<String>,
    drop_after_data: bool,
    holds: Vec<Arc<Semaphore>>,
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Whether the connection stays open after a command.
enum Next {
    Continue,
    Close,
}

pub(super) struct Session<'a> {
    reader: BufReader<OwnedReadHalf>,
    writer: BufWriter<OwnedWriteHalf>,
    shared: &'a Shared,
    greeted: bool,
    envelope: Option<Envelope>,
}

impl<'a> Session<'a> {
    pub(super) fn new(stream: TcpStream, shared: &'a Shared) -> io::Result<Self> {
        // A reply is smaller than a packet. With Nagle's algorithm each reply would wait for a delayed ACK of
        // the client.
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            reader: BufReader::new(reader),
            writer: BufWriter::new(writer),
            shared,
            greeted: false,
            envelope: None,
        })
    }

    /// Handles commands until the connection is closed.
    pub(super) async fn run(mut self) -> io::Result<()> {
        self.reply(&format!("220 {NAME} ESMTP, catches all and forwards nothing"))
            .await?;
        let mut line = Vec::new();
        loop {
            let next = match self.read_line(&mut line, MAX_COMMAND).await? {
                Line::End => return Ok(()),
                Line::TooLong => self.say("500 Line too long").await?,
                Line::Whole => match std::str::from_utf8(&line) {
                    Ok(command) => self.command(command.trim_end()).await?,
                    Err(_) => self.say("500 Not UTF-8").await?,
                },
            };
            if let Next::Close = next {
                return self.writer.flush().await;
            }
        }
    }

    async fn command(&mut self, command: &str) -> io::Result<Next> {
        let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
        let argument = argument.trim();
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" if !argument.is_empty() => {
                self.greet();
                self.reply(&format!("250-{NAME}")).await?;
                for extension in ["PIPELINING", "8BITMIME", "SMTPUTF8"] {
                    self.reply(&format!("250-{extension}")).await?;
                }
                self.say(&format!("250 SIZE {MAX_MAIL}")).await
            }
            "HELO" if !argument.is_empty() => {
                self.greet();
                self.say(&format!("250 {NAME}")).await
            }
            "EHLO" | "HELO" => self.say("501 A name is missing").await,
            "MAIL" => self.mail(argument).await,
            "RCPT" => self.rcpt(argument).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.envelope = None;
                self.say("250 Forgotten").await
            }
            "NOOP" => self.say("250 OK").await,
            "QUIT" => {
                self.reply("221 Bye").await?;
                Ok(Next::Close)
            }
            _ => self.say("500 Unknown command").await,
        }
    }

    fn greet(&mut self) {
        self.greeted = true;
        self.envelope = None;
    }

    async fn mail(&mut self, argument: &str) -> io::Result<Next> {
        if !self.greeted {
            return self.say("503 EHLO first").await;
        }
        if self.envelope.is_some() {
            return self.say("503 A mail is under way").await;
        }
        let Some((from, parameters)) = path(argument, "FROM:") else {
            return self.say("501 Not MAIL FROM:<address>").await;
        };
        let mut smtputf8 = false;
        for parameter in parameters.split_whitespace() {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match key.to_ascii_uppercase().as_str() {
                "SMTPUTF8" => smtputf8 = true,
                "BODY" => {}
                "SIZE" => match value.parse::<usize>() {
                    Ok(size) if size > MAX_MAIL => return self.say("552 Too large").await,
                    Ok(_) => {}
                    Err(_) => return self.say("501 Not a size").await,
                },
                _ => return self.say("555 Unknown parameter").await,
            }
        }
        if !smtputf8 && !from.is_ascii() {
            return self.say("553 Such an address needs SMTPUTF8").await;
        }
        let from = from.to_owned();
        self.envelope = Some(Envelope {
            from,
            smtputf8,
            to: Vec::new(),
            drop_after_data: false,
            holds: Vec::new(),
        });
        self.say("250 OK").await
    }

    async fn rcpt(&mut self, argument: &str) -> io::Result<Next> {
        let Some(envelope) = &mut self.envelope else {
            return self.say("503 MAIL first").await;
        };
        let recipient = match path(argument, "TO:") {
            Some((recipient, parameters)) if !recipient.is_empty() && parameters.is_empty() => recipient,
            Some((_, parameters)) if !parameters.is_empty() => {
                return self.say("555 Unknown parameter").await;
            }
            _ => return self.say("501 Not RCPT TO:<address>").await,
        };
        if !envelope.smtputf8 && !recipient.is_ascii() {
            return self.say("553 Such an address needs SMTPUTF8").await;
        }
        match self.shared.decide(recipient) {
            Decision::Accept => {}
            Decision::DropAfterData => envelope.drop_after_data = true,
            Decision::Hold(permits) => envelope.holds.push(permits),
            Decision::Temporary(text) => return self.say(&refusal('4', "451", &text)).await,
            Decision::Permanent(text) => return self.say(&refusal('5', "550", &text)).await,
        }
        envelope.to.push(recipient.to_owned());
        self.say("250 OK").await
    }

    async fn data(&mut self) -> io::Result<Next> {
        let envelope = match self.envelope.take() {
            None => return self.say("503 MAIL first").await,
            Some(envelope) if envelope.to.is_empty() => {
                self.envelope = Some(envelope);
                return self.say("554 No valid recipient").await;
            }
            Some(envelope) => envelope,
        };
        self.reply("354 Go on, end with a dot").await?;

        let mut data = Vec::new();
        let mut too_large = false;
        let mut line = Vec::new();
        // Only CRLF ends a line, so a single LF before a dot is part of the text.
        let mut line_starts = true;
        loop {
            match self.read_line(&mut line, MAX_MAIL).await? {
                // The client did not finish the email, so it does not count as sent.
                Line::End => return Ok(Next::Close),
                Line::TooLong => too_large = true,
                Line::Whole if line_starts && line == b".\r\n" => break,
                Line::Whole => {
                    let stuffed = line_starts && line.starts_with(b".");
                    let content = if stuffed { &line[1..] } else { &line[..] };
                    too_large |= data.len() + content.len() > MAX_MAIL;
                    if !too_large {
                        data.extend_from_slice(content);
                    }
                }
            }
            line_starts = line.ends_with(b"\r\n");
        }
        if too_large {
            return self.say("552 Too large").await;
        }

        // Each email gets an ID, as relays do, because some reports identify an email only by this ID.
        let id = format!("{:x}", Sha256::digest(&data));
        self.shared.keep(CaughtMail {
            from: envelope.from,
            to: envelope.to,
            data,
        });
        for permits in envelope.holds {
            tokio::select! {
                // `biased` checks the client first, so that no permit is used for a client that has closed
                // the connection.
                biased;
                () = disconnected(&mut self.reader) => return Ok(Next::Close),
                // An error means that the semaphore was closed, so the reply is not held back any more.
                permit = permits.acquire() => permit.into_iter().for_each(|permit| permit.forget()),
            }
        }
        if envelope.drop_after_data {
            return Ok(Next::Close);
        }
        self.say(&format!("250 Caught {}", &id[..24])).await
    }

    async fn say(&mut self, reply: &str) -> io::Result<Next> {
        self.reply(reply).await?;
        Ok(Next::Continue)
    }

    async fn reply(&mut self, reply: &str) -> io::Result<()> {
        self.writer.write_all(reply.as_bytes()).await?;
        self.writer.write_all(b"\r\n").await
    }

    /// Reads up to and including the next LF. If a line is longer than `limit`, only its last bytes are kept.
    async fn read_line(&mut self, line: &mut Vec<u8>, limit: usize) -> io::Result<Line> {
        line.clear();
        let mut too_long = false;
        loop {
            // The replies to pipelined commands are sent together, before the next wait for input.
            if !self.reader.buffer().contains(&b'\n') {
                self.writer.flush().await?;
            }
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(Line::End);
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |end| end + 1);
            if line.len() + taken > limit {
                too_long = true;
                line.clear();
            }
            line.extend_from_slice(&chunk[..taken]);
            self.reader.consume(taken);
            if end.is_some() {
                return Ok(if too_long { Line::TooLong } else { Line::Whole });
            }
        }
    }
}

/// Returns when the client has closed the connection.
async fn disconnected(reader: &mut BufReader<OwnedReadHalf>) {
    match reader.fill_buf().await {
        Ok(pipelined) if !pipelined.is_empty() => future::pending().await,
        Ok(_) | Err(_) => {}
    }
}

/// Splits `FROM:<address> PARAMETERS` into the address and the parameters.
fn path<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let head = argument.get(..keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let inner = argument[keyword.len()..].trim_start().strip_prefix('<')?;
    let mut quoted = false;
    let mut escaped = false;
    for (at, character) in inner.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some((&inner[..at], inner[at + 1..].trim())),
            _ => {}
        }
    }
    None
}

/// Returns the reply line of a refusal. Line breaks in the text are replaced, because they would make a
/// second reply.
fn refusal(class: char, code: &str, text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    let (first, rest) = text.split_once(' ').unwrap_or((&text, ""));
    let has_code =
        first.len() == 3 && first.starts_with(class) && first.bytes().all(|byte| byte.is_ascii_digit());
    if has_code {
        format!("{first} {rest}")
    } else {
        format!("{code} {text}")
    }
}
