//! Sends one message to the chosen mailboxes, with nothing but the mail server and the record.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::audience::{Audience, Recipient};
use super::record::{Content, Delivered, Entry, Record};
use crate::base::error::{Error, Result};
use crate::base::text::{hex, one_line};
use crate::base::time::{Clock, Timestamp};
use crate::delivery::dkim::Signer;
use crate::delivery::email::envelope_address;
use crate::delivery::smtp::{NO_CONNECTION, Relays, Sender};
use crate::delivery::{Mail, Outcome, header};
use crate::notice::compose::paragraphs;

/// How long one email may take.
const LONGEST: Duration = Duration::from_secs(180);

/// What an email is made of, beside its recipient.
pub struct Letter {
    /// The sender: the header `From` and the sender of the envelope.
    pub from: Mailbox,
    /// Where replies go, if not to the sender.
    pub reply_to: Option<Mailbox>,
    /// Signs the emails with DKIM. None if no DKIM keys are configured.
    pub dkim: Option<Signer>,
    /// The subject, which is one line.
    pub subject: String,
    /// The text. Paragraphs are separated by empty lines.
    pub text: String,
    /// The names of the accounts, by ID.
    pub accounts: BTreeMap<String, String>,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The addresses of the list to which the mail server accepted the message, in this run or an earlier one.
    pub accepted: usize,
    /// The addresses that the mail server refused permanently.
    pub refused: usize,
    /// The addresses that were not accepted yet. The same command tries them again.
    pub not_yet: usize,
    /// The addresses whose email may have arrived. They are not tried again.
    pub unknown: usize,
    /// The addresses that were tried in this run.
    pub tried: usize,
}

/// Returns the recipients to whom the message is still to be sent.
pub fn remaining<'a>(audience: &'a Audience, content: &Content) -> Vec<&'a Recipient> {
    let open = |one: &&Recipient| match content.mailboxes.get(&one.key) {
        None => true,
        Some(standing) => standing.outcome == Delivered::NotYet,
    };
    audience.recipients.iter().filter(open).collect()
}

/// Sends the message to everybody of the list who did not get it yet, over at most `connections` connections. It ends early if the mail
/// server cannot be reached.
///
/// # Errors
/// `Unavailable` if the record cannot be written. Nothing more was sent then.
pub async fn send(
    record: Record,
    audience: &Audience,
    letter: &Letter,
    (relays, connections): (&Relays, usize),
    clock: &Clock,
) -> Result<Sent> {
    let waiting: VecDeque<&Recipient> = remaining(audience, record.content()).into();
    let tried = Mutex::new(0_usize);
    let connections = connections.clamp(1, waiting.len().max(1));
    let (queue, record) = (Mutex::new(waiting), Mutex::new(record));
    let work = |_: usize| async {
        let mut sender = Sender::new(relays.clone());
        let done = async {
            loop {
                let next = locked(&queue).pop_front();
                let Some(recipient) = next else {
                    return Ok::<(), Error>(());
                };
                let mail = written(letter, recipient, &locked(&record).content().id, clock.now())?;
                let attempt = Entry::Attempt {
                    key: recipient.key.clone(),
                    address: recipient.address.clone(),
                    people: recipient.people.clone(),
                };
                locked(&record).add(attempt, clock.now())?;
                *locked(&tried) += 1;
                let outcome = timeout(LONGEST, sender.deliver(&mail)).await.unwrap_or_else(|_| {
                    Outcome::Ambiguous("the mail server did not answer in time".to_owned())
                });
                let reply = one_line(outcome.reply(), 500);
                let unreachable = reply.starts_with(NO_CONNECTION);
                let outcome = Entry::Outcome {
                    key: recipient.key.clone(),
                    outcome: match outcome {
                        Outcome::Sent(_) => Delivered::Accepted,
                        Outcome::Retry(..) => Delivered::NotYet,
                        Outcome::Ambiguous(_) => Delivered::Unknown,
                        Outcome::Failed(_) | Outcome::NoMailbox(_) | Outcome::Gone(_) => Delivered::Refused,
                    },
                    reply,
                };
                locked(&record).add(outcome, clock.now())?;
                if unreachable {
                    // The others would fail in the same way.
                    locked(&queue).clear();
                }
            }
        };
        let done: Result<()> = done.await;
        if done.is_err() {
            locked(&queue).clear();
        }
        sender.close().await;
        done
    };
    let ended = join_all((0..connections).map(work)).await;
    ended.into_iter().collect::<Result<Vec<()>>>()?;
    let record = record.into_inner().unwrap_or_else(PoisonError::into_inner);
    let tried = *locked(&tried);
    Ok(standing(audience, record.content(), tried))
}

fn standing(audience: &Audience, content: &Content, tried: usize) -> Sent {
    let mut sent = Sent {
        tried,
        ..Sent::default()
    };
    for one in &audience.recipients {
        match content.mailboxes.get(&one.key).map(|standing| standing.outcome) {
            Some(Delivered::Accepted) => sent.accepted += 1,
            Some(Delivered::Refused) => sent.refused += 1,
            Some(Delivered::Unknown) => sent.unknown += 1,
            Some(Delivered::NotYet) | None => sent.not_yet += 1,
        }
    }
    sent
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns why somebody gets the email, for its end.
fn why(letter: &Letter, recipient: &Recipient) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for reason in recipient.people.iter().flat_map(|one| &one.reasons) {
        let name = letter.accounts.get(&reason.account).unwrap_or(&reason.account);
        let text = format!("{} of {}", one_line(&reason.role, 60), one_line(name, 100));
        if !reasons.contains(&text) {
            reasons.push(text);
        }
    }
    let more = reasons.len().saturating_sub(5);
    reasons.truncate(5);
    let mut text = format!("You get this email because you are {}", reasons.join(", "));
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text.push('.');
    text
}

/// Writes the email to one mailbox.
fn written(letter: &Letter, recipient: &Recipient, record: &str, now: Timestamp) -> Result<Mail> {
    let to = envelope_address(&recipient.address)?;
    let why = why(letter, recipient);
    let text = format!("{}\n\n--\n{why}\n", letter.text.trim());
    let mut html = String::from("<!doctype html><html><body>");
    for paragraph in paragraphs(&letter.text) {
        let lines: Vec<String> = paragraph.lines().map(handlebars::html_escape).collect();
        html.push_str(&format!("<p>{}</p>", lines.join("<br>")));
    }
    html.push_str(&format!(
        "<hr><p>{}</p></body></html>",
        handlebars::html_escape(&why)
    ));
    let domain = letter.from.email.domain();
    let digest = hex(&Sha256::digest(format!("{record} {}", recipient.key).as_bytes()));
    let name = one_line(&recipient.name, 100);
    let (seconds, _) = now.unix();
    let part = |kind: ContentType, text: String| SinglePart::builder().header(kind).body(text);
    let mut builder = lettre::Message::builder()
        .envelope(Envelope::new(Some(letter.from.email.clone()), vec![to.clone()]).map_err(Error::internal)?)
        .raw_header(header::mailbox("From", &letter.from));
    if let Some(reply_to) = &letter.reply_to {
        builder = builder.raw_header(header::mailbox("Reply-To", reply_to));
    }
    let message = builder
        .raw_header(header::mailbox(
            "To",
            &Mailbox::new((!name.is_empty()).then_some(name), to.clone()),
        ))
        .date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
        .message_id(Some(format!("<emergency.{}@{domain}>", &digest[..32])))
        .raw_header(header::text("Subject", &letter.subject))
        .multipart(
            MultiPart::alternative()
                .singlepart(part(ContentType::TEXT_PLAIN, text))
                .singlepart(part(ContentType::TEXT_HTML, html)),
        )
        .map_err(Error::internal)?;
    let mut message = String::from_utf8(message.formatted()).map_err(Error::internal)?;
    if let Some(signer) = &letter.dkim {
        signer.sign(&mut message, now)?;
    }
    Ok(Mail {
        from: letter.from.email.clone(),
        to,
        message,
        name: format!("emergency.{}", &digest[..32]),
    })
}

/// Returns the usual name of the record of a message. It depends only on the message, so that a repeated command finds the record.
pub fn record_name(subject: &str, text: &str) -> String {
    let digest = hex(&Sha256::digest(format!("{subject}\n{text}").as_bytes()));
    format!("emergency-{}.ndjson", &digest[..12])
}
