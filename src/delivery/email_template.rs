//! Builds emails from prepared pieces. Emails that differ only in names, links and labels are rendered and
//! encoded once.
//!
//! Rendering and encoding an email takes longer than sending it. But the text about the recipient is in only
//! a few lines. The *shape* of an email is the number of resources, which values are empty, the languages and
//! the time zone. For each shape of a notice, one email is rendered with marks instead of the personal values. All
//! lines without a mark are encoded at once. For each email, only the lines with marks are filled and
//! encoded. The result is the same, byte for byte, as an email that is rendered and encoded as a whole,
//! because quoted-printable works line by line. A property test checks this. In addition, the first email of
//! each shape is made both ways and compared before the shape is used.
//!
//! An email never differs from one that is rendered as a whole. If a template does more with a personal value
//! than show it or test whether it is empty, each email is rendered separately.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lettre::message::Mailbox;
use lettre::message::header::{Header as _, HeaderValue, Headers};

use super::email::{self, Addressing, Mail};
use super::header;
use crate::base::error::Result;
use crate::notice::compose::{self, Content, RecipientContext, Urls};
use crate::notice::planned_mail::Attachment;
use crate::notice::template::{self, MailRecovery, MailResource, Rendered, Template, Voice};

/// The first character of a mark. It is a private-use character. If a text contains such a character, each
/// email is rendered separately.
const MARK: char = '\u{FDE00}';
/// The second character of a mark is this code point plus the number of the slot.
const SLOT: u32 = 0xF_E000;
/// The number of shapes that are kept for one notice.
const SHAPES: usize = 256;

/// The frozen texts and the template of a notice, and the pieces that were prepared from them.
pub struct Prepared {
    content: Content,
    template: Arc<Template>,
    voice: Voice,
    /// The file that each email has besides its texts.
    attachment: Option<Attachment>,
    /// Whether emails may be built from pieces.
    pieces: bool,
    shapes: Mutex<HashMap<Vec<u8>, Option<Arc<EmailTemplate>>>>,
}

impl Prepared {
    /// Prepares the emails of a notice from its frozen content and template.
    pub fn new(content: Content, template: Arc<Template>) -> Self {
        let marked = serde_json::to_string(&content).is_ok_and(|text| is_marked(&text));
        Prepared {
            pieces: template.shows_only() && !marked,
            attachment: content.attachment(),
            content,
            template,
            voice: Voice::current(),
            shapes: Mutex::default(),
        }
    }

    /// Prepares the emails of a notice to so few recipients that pieces would take longer. Each email is
    /// rendered separately.
    pub fn for_few(content: Content, template: Arc<Template>) -> Self {
        Prepared::again(content, template, Voice::current())
    }

    /// Prepares one email that was already sent, with the sentences that it had then.
    pub fn again(content: Content, template: Arc<Template>, voice: Voice) -> Self {
        Prepared {
            attachment: content.attachment(),
            content,
            template,
            voice,
            pieces: false,
            shapes: Mutex::default(),
        }
    }

    /// Returns the languages of the email to one recipient, as its header names them.
    pub fn languages(&self, own: &RecipientContext) -> String {
        self.content.languages(own)
    }

    /// Returns whether [`Prepared::write`] will be quick, because nothing has to be rendered.
    pub fn is_ready(&self, own: &RecipientContext, optional: bool) -> bool {
        let shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(shapes.get(&shape(own, optional)), Some(Some(_)))
    }

    /// Builds the email to one recipient.
    ///
    /// # Errors
    /// `Invalid` if the email cannot be rendered, for example because it exceeds the limits for rendering. `Internal` if it
    /// cannot be encoded.
    pub fn write(&self, own: &RecipientContext, optional: bool, addressing: &Addressing<'_>) -> Result<Mail> {
        match self.email_template(own, optional, addressing)? {
            Some(email_template) => email_template.fill(own, addressing),
            None => self.plain(own, optional, addressing),
        }
    }

    /// Builds the same email without pieces, by rendering and encoding it as a whole.
    ///
    /// # Errors
    /// The same as [`Prepared::write`].
    pub fn plain(&self, own: &RecipientContext, optional: bool, addressing: &Addressing<'_>) -> Result<Mail> {
        let urls = Urls {
            unsubscribe: addressing.unsubscribe_url.to_owned(),
            answers: addressing.answers_url.to_owned(),
            mine: addressing.mine_url.to_owned(),
        };
        let context = compose::context(&self.content, own, optional, urls, &self.voice);
        email::build(
            addressing,
            &self.template.render(&context)?,
            self.attachment.as_ref(),
        )
    }

    /// Returns the email_template for emails of this shape. Returns `None` if they cannot be built from pieces.
    fn email_template(
        &self,
        own: &RecipientContext,
        optional: bool,
        addressing: &Addressing<'_>,
    ) -> Result<Option<Arc<EmailTemplate>>> {
        if !self.pieces || values(own, Links::of(addressing)).any(is_marked) {
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
        let urls = Urls {
            unsubscribe: mark(SLOT_UNSUBSCRIBE),
            answers: mark(SLOT_ANSWERS),
            mine: mark(SLOT_MINE),
        };
        let context = compose::context(&self.content, &marked, optional, urls, &self.voice);
        let rendered = self.template.render_raw(&context)?;
        let email_template = EmailTemplate::new(&rendered, addressing, self.attachment.as_ref())?;
        let whole = self.plain(own, optional, addressing)?;
        let sound = email_template.fill(own, addressing)?.message == whole.message;
        if !sound {
            tracing::warn!("mails of a notice are rendered one by one: its template does not come apart");
        }
        let email_template = sound.then(|| Arc::new(email_template));
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        if shapes.len() >= SHAPES {
            shapes.clear();
        }
        shapes.insert(key, email_template.clone());
        Ok(email_template)
    }
}

const SLOT_NAME: usize = 0;
const SLOT_WHAT: usize = 1;
const SLOT_REASON: usize = 2;
const SLOT_UNSUBSCRIBE: usize = 3;
const SLOT_ANSWERS: usize = 4;
const SLOT_MINE: usize = 5;
const SLOT_WRONG_SUBJECT: usize = 6;
const SLOT_RESTORED: usize = 7;
const SLOT_AFFECTED: usize = 8;
const SLOT_LEFT: usize = 9;
const SLOT_SUMMARY: usize = 10;
const SLOT_RESOURCES: usize = 11;
/// The number of personal values of one resource.
const PER_RESOURCE: usize = 5;

fn is_marked(text: &str) -> bool {
    text.chars().any(|c| c >= MARK && c <= '\u{FFFFD}')
}

fn mark(slot: usize) -> String {
    let number = char::from_u32(SLOT + slot as u32).unwrap_or(MARK);
    [MARK, number].iter().collect()
}

/// The links of one email.
#[derive(Clone, Copy)]
struct Links<'a> {
    unsubscribe: &'a str,
    answers: &'a str,
    mine: &'a str,
}

impl<'a> Links<'a> {
    fn of(addressing: &Addressing<'a>) -> Self {
        Links {
            unsubscribe: addressing.unsubscribe_url,
            answers: addressing.answers_url,
            mine: addressing.mine_url,
        }
    }
}

/// Returns the personal values in the order of their slots.
fn values<'a>(own: &'a RecipientContext, links: Links<'a>) -> impl Iterator<Item = &'a str> {
    [own.name.as_str(), own.what.as_str(), own.reason.as_str()]
        .into_iter()
        .chain([links.unsubscribe, links.answers, links.mine])
        .chain([own.wrong_subject.as_deref().unwrap_or_default()])
        .chain(figures(own))
        .chain(own.resources.iter().flat_map(|resource| {
            [
                resource.type_.as_str(),
                resource.id.as_str(),
                resource.label.as_str(),
                resource.account.as_str(),
                resource.finding.as_str(),
            ]
        }))
        .chain(own.values.values().map(String::as_str))
}

/// Returns the figures of the recovery in the order of their slots. They are empty without a recovery.
fn figures(own: &RecipientContext) -> [&str; 4] {
    own.recovery.as_ref().map_or([""; 4], |recovery| {
        [
            &recovery.restored,
            &recovery.affected,
            &recovery.left,
            &recovery.summary,
        ]
        .map(String::as_str)
    })
}

/// The number of restored resources that has words of its own, so it is not replaced by a mark.
const NOTHING: &str = "0";

/// Returns a key for the shape of an email. The key contains everything that changes the text, except the
/// personal values themselves.
fn shape(own: &RecipientContext, optional: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(u8::from(optional));
    key.push(u8::from(own.late));
    let nothing = own.recovery.as_ref().map(|recovery| recovery.restored == NOTHING);
    key.push(nothing.map_or(2, u8::from));
    key.extend_from_slice(&(own.more_resources as u64).to_le_bytes());
    let links = Links {
        unsubscribe: "-",
        answers: "-",
        mine: "-",
    };
    key.extend(values(own, links).map(|value| u8::from(value.is_empty())));
    for name in own.values.keys() {
        key.extend_from_slice(name.as_bytes());
        key.push(0);
    }
    key.extend_from_slice(&(own.resources.len() as u64).to_le_bytes());
    key.extend(own.resources.iter().map(|resource| u8::from(resource.restored)));
    key.extend([
        own.language as u8,
        own.second_language.map_or(u8::MAX, |language| language as u8),
    ]);
    key.extend_from_slice(own.time_zone.as_deref().unwrap_or("-").as_bytes());
    key
}

/// Returns the recipient with marks instead of values. An empty value stays empty, because a template may
/// test this.
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
                    finding: put(slot + 4, &resource.finding),
                    restored: resource.restored,
                }
            })
            .collect(),
        more_resources: own.more_resources,
        what: put(SLOT_WHAT, &own.what),
        reason: put(SLOT_REASON, &own.reason),
        late: own.late,
        language: own.language,
        second_language: own.second_language,
        wrong_subject: own
            .wrong_subject
            .as_deref()
            .map(|subject| put(SLOT_WRONG_SUBJECT, subject)),
        recovery: own.recovery.as_ref().map(|recovery| MailRecovery {
            restored: match recovery.restored.as_str() {
                NOTHING => NOTHING.to_owned(),
                restored => put(SLOT_RESTORED, restored),
            },
            affected: put(SLOT_AFFECTED, &recovery.affected),
            left: put(SLOT_LEFT, &recovery.left),
            summary: put(SLOT_SUMMARY, &recovery.summary),
        }),
        values: own
            .values
            .iter()
            .enumerate()
            .map(|(index, (key, value))| {
                let slot = SLOT_RESOURCES + own.resources.len() * PER_RESOURCE + index;
                (key.clone(), put(slot, value))
            })
            .collect(),
    }
}

enum Piece {
    Text(String),
    Slot(usize),
}

/// Splits a text at its marks.
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

/// A part of a body: encoded text, or a line that must be filled.
enum Chunk {
    Encoded(String),
    Lines(Vec<Piece>),
}

/// How the lines of a body are finished before they are encoded. It works line by line.
type Finish = for<'a> fn(&'a str) -> Cow<'a, str>;

/// Wraps the lines of the plain text. A line can be short with a mark and long with the value.
fn finish_text(lines: &str) -> Cow<'_, str> {
    Cow::Owned(template::wrapped(lines))
}

fn finish_html(lines: &str) -> Cow<'_, str> {
    Cow::Borrowed(lines)
}

fn chunks(text: &str, finish: Finish) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut fixed = String::new();
    for line in text.split_inclusive('\n') {
        if line.contains(MARK) {
            if !fixed.is_empty() {
                chunks.push(Chunk::Encoded(encode(&finish(&std::mem::take(&mut fixed)))));
            }
            chunks.push(Chunk::Lines(pieces(line)));
        } else {
            fixed.push_str(line);
        }
    }
    if !fixed.is_empty() {
        chunks.push(Chunk::Encoded(encode(&finish(&fixed))));
    }
    chunks
}

/// Encodes whole lines as quoted-printable with CRLF line ends, in the same way as lettre.
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

/// A header of the frame. It is the same in all emails, or it is written for each email.
enum Line {
    Fixed(String),
    To,
    Date,
    MessageId,
    ListUnsubscribe,
    Audit,
    Subject,
}

/// All parts of the emails of a shape that do not depend on the recipient.
struct EmailTemplate {
    head: Vec<Line>,
    subject: Vec<Piece>,
    /// The header line of the subject if the subject contains no personal value.
    fixed_subject: Option<String>,
    text: Vec<Chunk>,
    between: String,
    html: Vec<Chunk>,
    end: String,
    /// The approximate size of an email, in bytes.
    size: usize,
}

impl EmailTemplate {
    fn new(
        rendered: &Rendered,
        addressing: &Addressing<'_>,
        attachment: Option<&Attachment>,
    ) -> Result<EmailTemplate> {
        // The frame is taken from an email that lettre made. The two words are the placeholders of the
        // bodies.
        let words = ("candor-text-body", "candor-html-body");
        let frame = email::build(
            addressing,
            &Rendered {
                subject: "-".to_owned(),
                text: words.0.to_owned(),
                html: words.1.to_owned(),
            },
            attachment,
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
                email::AUDIT => Line::Audit,
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
        Ok(EmailTemplate {
            head: lines,
            subject,
            fixed_subject,
            text: chunks(&rendered.text, finish_text),
            between: between.to_owned(),
            html: chunks(&rendered.html, finish_html),
            end: end.to_owned(),
            size: rendered.text.len() + rendered.html.len() + 2_048,
        })
    }

    fn fill(&self, own: &RecipientContext, addressing: &Addressing<'_>) -> Result<Mail> {
        let to = email::envelope_address(addressing.address)?;
        let values: Vec<&str> = values(own, Links::of(addressing)).collect();
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
                Line::Audit => mail.push_str(&header_line(header::words(email::AUDIT, addressing.audit))),
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
        let parts: [(_, Finish, _, _); 2] = [
            (&self.text, finish_text, false, &self.between),
            (&self.html, finish_html, true, &self.end),
        ];
        for (chunks, finish, escape, after) in parts {
            for chunk in chunks {
                match chunk {
                    Chunk::Encoded(text) => mail.push_str(text),
                    Chunk::Lines(pieces) => {
                        line.clear();
                        put_together(pieces, &values, escape, &mut line);
                        mail.push_str(&encode(&finish(&line)));
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

/// Returns one header as lettre writes it.
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
