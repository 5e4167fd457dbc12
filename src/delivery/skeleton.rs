//! Mails put together from pieces: rendered and encoded once for all that differ only in names, links and labels.
//!
//! Rendering and encoding a mail costs more than sending it. But what a mail says of its recipient stands in a few lines.
//! So each *shape* of a notice's mails (how many resources, which values are empty, which time zone) is rendered once
//! with marks in the place of the personal values, and encoded, except for the lines that hold a mark. A mail is then
//! those lines, filled in and encoded, between the finished ones. That is the same, byte for byte, as rendering the mail
//! and encoding it whole: quoted-printable works line by line. A property test holds it to that, and the first mail of
//! each shape is made both ways and compared before the shape is used.
//!
//! Must never happen here: a mail that differs from the plain way's. A template that asks for more of a personal value
//! than to show it, or whether it is empty, is rendered mail by mail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lettre::message::Mailbox;
use lettre::message::header::{Header as _, HeaderValue, Headers};

use super::email::{self, Addressing};
use super::{Mail, header};
use crate::base::error::Result;
use crate::notice::compose::{self, Content, RecipientContext};
use crate::notice::template::{self, MailResource, Rendered, Template};

/// Begins a mark. A private-use character: where a text holds one of these, mails are rendered one by one.
const MARK: char = '\u{FDE00}';
/// The number of a slot follows the mark, as a character from here on.
const SLOT: u32 = 0xF_E000;
/// Shapes that are kept for one notice.
const SHAPES: usize = 256;

/// A notice's frozen texts and template, and what was prepared of them.
pub struct Prepared {
    content: Content,
    template: Arc<Template>,
    /// Whether mails may be put together from pieces at all.
    pieces: bool,
    shapes: Mutex<HashMap<Vec<u8>, Option<Arc<Skeleton>>>>,
}

impl Prepared {
    /// From what is frozen with a notice.
    pub fn new(content: Content, template: Arc<Template>) -> Self {
        let marked = serde_json::to_string(&content).is_ok_and(|text| is_marked(&text));
        Prepared {
            pieces: template.shows_only() && !marked,
            content,
            template,
            shapes: Mutex::default(),
        }
    }

    /// The same for a notice to so few that pieces are not worth their making: each mail is rendered whole.
    pub fn for_few(content: Content, template: Arc<Template>) -> Self {
        Prepared {
            content,
            template,
            pieces: false,
            shapes: Mutex::default(),
        }
    }

    /// Whether [`Prepared::write`] will be quick: nothing has to be rendered.
    pub fn is_ready(&self, own: &RecipientContext, optional: bool) -> bool {
        let shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(shapes.get(&shape(own, optional)), Some(Some(_)))
    }

    /// The mail to one recipient.
    ///
    /// # Errors
    /// `Internal`: a checked template fails only by a fault of ours.
    pub fn write(&self, own: &RecipientContext, optional: bool, addressing: &Addressing<'_>) -> Result<Mail> {
        match self.skeleton(own, optional, addressing)? {
            Some(skeleton) => skeleton.fill(own, addressing),
            None => self.plain(own, optional, addressing),
        }
    }

    /// The same, rendered and encoded for this recipient alone.
    ///
    /// # Errors
    /// As [`Prepared::write`].
    pub fn plain(&self, own: &RecipientContext, optional: bool, addressing: &Addressing<'_>) -> Result<Mail> {
        let url = addressing.unsubscribe_url.to_owned();
        let context = compose::context(&self.content, own, optional, url);
        email::build(addressing, &self.template.render(&context)?)
    }

    /// The skeleton for mails of this shape; none where they cannot be put together from pieces.
    fn skeleton(
        &self,
        own: &RecipientContext,
        optional: bool,
        addressing: &Addressing<'_>,
    ) -> Result<Option<Arc<Skeleton>>> {
        if !self.pieces || values(own, addressing.unsubscribe_url).any(is_marked) {
            return Ok(None);
        }
        let key = shape(own, optional);
        {
            let shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = shapes.get(&key) {
                return Ok(known.clone());
            }
        }
        let marked = marked(own);
        let url = mark(SLOT_URL);
        let context = compose::context(&self.content, &marked, optional, url);
        let rendered = self.template.render_raw(&context)?;
        let skeleton = Skeleton::new(&rendered, addressing)?;
        let whole = self.plain(own, optional, addressing)?;
        let sound = skeleton.fill(own, addressing)?.message == whole.message;
        if !sound {
            tracing::warn!("mails of a notice are rendered one by one: its template does not come apart");
        }
        let skeleton = sound.then(|| Arc::new(skeleton));
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        if shapes.len() >= SHAPES {
            shapes.clear();
        }
        shapes.insert(key, skeleton.clone());
        Ok(skeleton)
    }
}

const SLOT_NAME: usize = 0;
const SLOT_WHAT: usize = 1;
const SLOT_REASON: usize = 2;
const SLOT_URL: usize = 3;
const SLOT_RESOURCES: usize = 4;
/// Values of one resource.
const PER_RESOURCE: usize = 4;

fn is_marked(text: &str) -> bool {
    text.chars().any(|c| c >= MARK && c <= '\u{FFFFD}')
}

fn mark(slot: usize) -> String {
    let number = char::from_u32(SLOT + slot as u32).unwrap_or(MARK);
    [MARK, number].iter().collect()
}

/// The personal values, in the order of their slots.
fn values<'a>(own: &'a RecipientContext, url: &'a str) -> impl Iterator<Item = &'a str> {
    [own.name.as_str(), own.what.as_str(), own.reason.as_str(), url]
        .into_iter()
        .chain(own.resources.iter().flat_map(|resource| {
            [
                resource.type_.as_str(),
                resource.id.as_str(),
                resource.label.as_str(),
                resource.account.as_str(),
            ]
        }))
}

/// What decides how a mail reads, apart from the values that it shows.
fn shape(own: &RecipientContext, optional: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(u8::from(optional));
    key.extend_from_slice(&(own.more_resources as u64).to_le_bytes());
    key.extend(values(own, "-").map(|value| u8::from(value.is_empty())));
    key.extend_from_slice(own.time_zone.as_deref().unwrap_or("-").as_bytes());
    key
}

/// The recipient with marks for values. An empty value stays empty: templates may ask for that.
fn marked(own: &RecipientContext) -> RecipientContext {
    let put = |slot: usize, value: &str| {
        if value.is_empty() {
            String::new()
        } else {
            mark(slot)
        }
    };
    RecipientContext {
        people: own.people.clone(),
        name: put(SLOT_NAME, &own.name),
        time_zone: own.time_zone.clone(),
        resources: own
            .resources
            .iter()
            .enumerate()
            .map(|(index, resource)| {
                let slot = SLOT_RESOURCES + index * PER_RESOURCE;
                MailResource {
                    type_: put(slot, &resource.type_),
                    id: put(slot + 1, &resource.id),
                    label: put(slot + 2, &resource.label),
                    account: put(slot + 3, &resource.account),
                }
            })
            .collect(),
        more_resources: own.more_resources,
        what: put(SLOT_WHAT, &own.what),
        reason: put(SLOT_REASON, &own.reason),
    }
}

enum Piece {
    Text(String),
    Slot(usize),
}

/// Takes a text with marks apart.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(MARK) {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let mut characters = after.chars();
        if let Some(number) = characters.next() {
            pieces.push(Piece::Slot((number as u32).saturating_sub(SLOT) as usize));
        }
        rest = characters.as_str();
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    pieces
}

fn put_together(pieces: &[Piece], values: &[&str], escape: bool, text: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(fixed) => text.push_str(fixed),
            Piece::Slot(slot) => {
                let value = values.get(*slot).copied().unwrap_or_default();
                if escape {
                    text.push_str(&handlebars::html_escape(value));
                } else {
                    text.push_str(value);
                }
            }
        }
    }
}

/// A part of a body: finished, or a line to fill in.
enum Chunk {
    Encoded(String),
    Lines(Vec<Piece>),
}

fn chunks(text: &str) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut fixed = String::new();
    for line in text.split_inclusive('\n') {
        if line.contains(MARK) {
            if !fixed.is_empty() {
                chunks.push(Chunk::Encoded(encode(&std::mem::take(&mut fixed))));
            }
            chunks.push(Chunk::Lines(pieces(line)));
        } else {
            fixed.push_str(line);
        }
    }
    if !fixed.is_empty() {
        chunks.push(Chunk::Encoded(encode(&fixed)));
    }
    chunks
}

/// Quoted-printable with CRLF line ends, as lettre does it: whole lines in, whole lines out.
fn encode(lines: &str) -> String {
    let mut text = String::with_capacity(lines.len() + 8);
    let mut before = '\0';
    for character in lines.chars() {
        if character == '\n' && before != '\r' {
            text.push('\r');
        }
        text.push(character);
        before = character;
    }
    quoted_printable::encode_to_str(text)
}

/// A header of the frame: the same in all mails, or written for each.
enum Line {
    Fixed(String),
    To,
    Date,
    MessageId,
    ListUnsubscribe,
    Subject,
}

/// Everything of a shape's mails that is known before the recipient is.
struct Skeleton {
    head: Vec<Line>,
    subject: Vec<Piece>,
    /// Where the subject holds nothing personal.
    fixed_subject: Option<String>,
    text: Vec<Chunk>,
    between: String,
    html: Vec<Chunk>,
    end: String,
    /// Bytes of a mail, roughly.
    size: usize,
}

impl Skeleton {
    fn new(rendered: &Rendered, addressing: &Addressing<'_>) -> Result<Skeleton> {
        // The frame is taken from a mail that lettre made. The two words stand for the bodies.
        let words = ("candor-text-body", "candor-html-body");
        let frame = email::build(
            addressing,
            &Rendered {
                subject: "-".to_owned(),
                text: words.0.to_owned(),
                html: words.1.to_owned(),
            },
        )?
        .message;
        let apart = || crate::base::error::Error::internal("a mail did not come apart");
        let (head, body) = frame.split_once("\r\n\r\n").ok_or_else(apart)?;
        let (before, rest) = body.split_once(words.0).ok_or_else(apart)?;
        let (between, end) = rest.split_once(words.1).ok_or_else(apart)?;
        let mut lines: Vec<Line> = Vec::new();
        let mut fixed = String::new();
        let mut headers: Vec<String> = Vec::new();
        for line in head.split("\r\n") {
            match headers.last_mut() {
                Some(last) if line.starts_with([' ', '\t']) => {
                    last.push_str("\r\n");
                    last.push_str(line);
                }
                _ => headers.push(line.to_owned()),
            }
        }
        for header in headers {
            let own = match header.split(':').next().unwrap_or_default() {
                "To" => Line::To,
                "Date" => Line::Date,
                "Message-ID" => Line::MessageId,
                "List-Unsubscribe" => Line::ListUnsubscribe,
                "Subject" => Line::Subject,
                _ => {
                    fixed.push_str(&header);
                    fixed.push_str("\r\n");
                    continue;
                }
            };
            if !fixed.is_empty() {
                lines.push(Line::Fixed(std::mem::take(&mut fixed)));
            }
            lines.push(own);
        }
        fixed.push_str("\r\n");
        fixed.push_str(before);
        lines.push(Line::Fixed(fixed));
        let subject = pieces(&rendered.subject);
        let fixed_subject = if rendered.subject.contains(MARK) {
            None
        } else {
            Some(subject_line(&template::finish_subject(&rendered.subject)?))
        };
        Ok(Skeleton {
            head: lines,
            subject,
            fixed_subject,
            text: chunks(&rendered.text),
            between: between.to_owned(),
            html: chunks(&rendered.html),
            end: end.to_owned(),
            size: rendered.text.len() + rendered.html.len() + 2_048,
        })
    }

    fn fill(&self, own: &RecipientContext, addressing: &Addressing<'_>) -> Result<Mail> {
        let to = email::envelope_address(addressing.address)?;
        let values: Vec<&str> = values(own, addressing.unsubscribe_url).collect();
        let mut mail = String::with_capacity(self.size + self.size / 8);
        for line in &self.head {
            match line {
                Line::Fixed(text) => mail.push_str(text),
                Line::To => mail.push_str(&to_line(&email::mailbox(addressing.name, to.clone()))),
                Line::Date => {
                    let (seconds, _) = addressing.date.unix();
                    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
                    mail.push_str(&header_line(lettre::message::header::Date::new(at).display()));
                }
                Line::MessageId => {
                    mail.push_str("Message-ID: <");
                    mail.push_str(addressing.message_id);
                    mail.push_str(">\r\n");
                }
                Line::ListUnsubscribe => {
                    mail.push_str("List-Unsubscribe: <");
                    mail.push_str(addressing.unsubscribe_url);
                    mail.push_str(">\r\n");
                }
                Line::Subject => match &self.fixed_subject {
                    Some(line) => mail.push_str(line),
                    None => {
                        let mut subject = String::with_capacity(120);
                        put_together(&self.subject, &values, false, &mut subject);
                        mail.push_str(&subject_line(&template::finish_subject(&subject)?));
                    }
                },
            }
        }
        let mut line = String::with_capacity(256);
        for (chunks, escape, after) in [(&self.text, false, &self.between), (&self.html, true, &self.end)] {
            for chunk in chunks {
                match chunk {
                    Chunk::Encoded(text) => mail.push_str(text),
                    Chunk::Lines(pieces) => {
                        line.clear();
                        put_together(pieces, &values, escape, &mut line);
                        mail.push_str(&encode(&line));
                    }
                }
            }
            mail.push_str(after);
        }
        Ok(Mail {
            from: addressing.return_path.unwrap_or(&addressing.from.email).clone(),
            to,
            message: mail,
            name: email::file_name(addressing.message_id),
        })
    }
}

/// One header as lettre writes it.
fn header_line(value: HeaderValue) -> String {
    let mut headers = Headers::new();
    headers.insert_raw(value);
    headers.to_string()
}

fn subject_line(subject: &str) -> String {
    header_line(header::text("Subject", subject))
}

fn to_line(mailbox: &Mailbox) -> String {
    header_line(header::mailbox("To", mailbox))
}
