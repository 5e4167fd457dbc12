//! The email of a delivery as it was sent, byte for byte.
//!
//! No email is stored. It is written again from what is stored and never changes: the frozen notice and recipient, the template with its
//! partials, the [context](super::sending_context) of the attempt, its date, and the signatures that only a secret key could make. The
//! attempt also stores the SHA-256 of the bytes that were sent. Bytes with another hash are never returned: whoever asks is told why the
//! email cannot be shown. So a result of this module is always the email that was sent.
//!
//! This module needs no setting of the running process.

use diesel::prelude::*;

use super::dkim;
use super::email::{self, Addressing, FORM, WITH_LANGUAGE};
use super::queue::{self, Stored};
use super::sender;
use super::sending_context::{self, SendingContext};
use super::sending_settings::SendingSettings;
use super::sent_message::{hash, split};
use crate::auth::EmailLinks;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, delivery_attempts as da, notice_recipients as nr};
use crate::notice::EMAIL;
use crate::notice::compose::RecipientContext;
use crate::notice::erased::was_erased;
use crate::notice::template::Voice;

/// The email of an attempt, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsSent {
    /// The ID of the delivery.
    pub delivery: i64,
    /// The attempt number, from 1.
    pub attempt: i64,
    /// The notice that the email belongs to.
    pub notice: NoticeId,
    /// The time of its Date header.
    pub date: Timestamp,
    /// The SHA-256 of the bytes, in hexadecimal. The attempt recorded the same hash when the email was sent.
    pub sha256: String,
    /// Whether the mail server accepted it. Otherwise the connection was lost before the answer, and it may have arrived.
    pub accepted: bool,
    /// The headers and the body, with CRLF as line ends.
    pub bytes: Vec<u8>,
}

/// Why there is no email to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The delivery goes to an endpoint.
    NoEmail,
    /// No attempt handed over an email.
    NotSent,
    /// It was sent by a version of Candor that did not store what it takes to write it again.
    NotRecorded,
    /// The personal data that it contained was erased.
    Erased,
    /// What is written again from the stored data is not what was sent.
    Differs,
}

impl Absent {
    /// Returns the reason as a part of a sentence.
    pub fn why(self) -> &'static str {
        match self {
            Absent::NoEmail => "the delivery is a call to an endpoint and not an email",
            Absent::NotSent => "no mail server has accepted an email of this delivery",
            Absent::NotRecorded => {
                "the email was sent by an earlier version of Candor, which did not store what is needed to show it byte for byte"
            }
            Absent::Erased => {
                "the personal data of the recipient was erased, so the email cannot be written again"
            }
            Absent::Differs => {
                "the stored data does not make the email that was sent: its SHA-256 is not the recorded one, because stored data or \
                 this version of Candor differs from then"
            }
        }
    }

    fn code(self) -> Code {
        match self {
            Absent::NoEmail => Code::NotAnEmail,
            Absent::NotSent => Code::EmailNotSent,
            Absent::Erased => Code::Erased,
            Absent::NotRecorded | Absent::Differs => Code::EmailNotReproducible,
        }
    }
}

impl From<Absent> for Error {
    fn from(absent: Absent) -> Self {
        Error::Conflict(absent.why().to_owned()).code(absent.code())
    }
}

/// Returns the email of a delivery as it was sent. `None` if it was not sent or cannot be written again; [`find`] says why.
///
/// # Errors
/// `NotFound` if the delivery does not exist, or an error of the database.
pub fn mail(conn: &mut Conn, delivery: i64) -> Result<Option<AsSent>> {
    Ok(find(conn, delivery, None)?.ok())
}

/// Returns the email of an attempt as it was sent, or the reason why there is none. Without an attempt number, it is the last attempt
/// that a mail server accepted, or else the last one that may have arrived.
///
/// # Errors
/// `NotFound` if the delivery or the attempt does not exist, or an error of the database.
pub fn find(
    conn: &mut Conn,
    delivery: i64,
    attempt: Option<i64>,
) -> Result<std::result::Result<AsSent, Absent>> {
    let sent = sent(conn, delivery)?;
    if sent.channel != EMAIL {
        return Ok(Err(Absent::NoEmail));
    }
    let attempt = match chosen(conn, delivery, attempt)? {
        Ok(attempt) => attempt,
        Err(absent) => return Ok(Err(absent)),
    };
    // An erasure also removes what the attempt recorded. Somebody else of the mailbox may still have the address.
    if was_erased(conn, &sent.notice, sent.ordinal)? {
        return Ok(Err(Absent::Erased));
    }
    let Some(recorded) = attempt.recorded else {
        return Ok(Err(Absent::NotRecorded));
    };
    let Some((context, settings)) = sending_context::load(conn, recorded.context)? else {
        return Ok(Err(Absent::Differs));
    };
    let stored = queue::frozen(conn, &sent.notice)?;
    let again = match again(delivery, &sent, &recorded, (&context, settings), stored) {
        Ok(again) => again,
        // What is stored does not even make an email any more.
        Err(error) => {
            tracing::warn!(
                delivery,
                error = error.chain(),
                "an email cannot be written again"
            );
            return Ok(Err(Absent::Differs));
        }
    };
    if hash(again.as_bytes()) != recorded.hash {
        return Ok(Err(Absent::Differs));
    }
    Ok(Ok(AsSent {
        delivery,
        attempt: attempt.number,
        notice: sent.notice,
        date: recorded.date,
        sha256: hex(&recorded.hash),
        accepted: attempt.outcome == SENT,
        bytes: again.into_bytes(),
    }))
}

/// The outcomes of attempts that handed over an email.
const SENT: &str = "sent";
const AMBIGUOUS: &str = "ambiguous";

/// A delivery with its frozen recipient.
#[derive(Queryable)]
struct Sent {
    notice: NoticeId,
    ordinal: i64,
    channel: String,
    address: String,
    message_id: String,
    context: String,
    optional: bool,
}

fn sent(conn: &mut Conn, delivery: i64) -> Result<Sent> {
    d::table
        .inner_join(nr::table.on(nr::notice_id.eq(d::notice_id).and(nr::ordinal.eq(d::ordinal))))
        .filter(d::id.eq(delivery))
        .select((
            d::notice_id,
            d::ordinal,
            d::channel,
            d::address,
            d::message_id,
            nr::context,
            nr::optional,
        ))
        .first(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("delivery {delivery}")))
}

/// An attempt, and what it recorded about its email.
struct Attempt {
    number: i64,
    outcome: String,
    recorded: Option<Recorded>,
}

/// What an attempt recorded about its email.
struct Recorded {
    hash: Vec<u8>,
    context: i64,
    date: Timestamp,
    signatures: Vec<u8>,
}

/// Returns the attempt whose email is shown.
fn chosen(
    conn: &mut Conn,
    delivery: i64,
    number: Option<i64>,
) -> Result<std::result::Result<Attempt, Absent>> {
    type Columns = (
        i64,
        String,
        (Option<Vec<u8>>, Option<i64>, Option<Timestamp>, Option<Vec<u8>>),
    );
    let mut query = da::table
        .filter(da::delivery_id.eq(delivery))
        .into_boxed::<crate::db::Backend>();
    if let Some(number) = number {
        query = query.filter(da::attempt.eq(number));
    }
    let rows: Vec<Columns> = query
        .order(da::attempt.desc())
        .select((
            da::attempt,
            da::outcome,
            (
                da::mail_hash,
                da::mail_context,
                da::mail_date,
                da::mail_signatures,
            ),
        ))
        .load(conn)?;
    if let (Some(number), true) = (number, rows.is_empty()) {
        return Err(Error::NotFound(format!(
            "attempt {number} of delivery {delivery}"
        )));
    }
    let mut attempts: Vec<Attempt> = rows
        .into_iter()
        .map(|(number, outcome, recorded)| Attempt {
            number,
            outcome,
            recorded: match recorded {
                (Some(hash), Some(context), Some(date), Some(signatures)) => Some(Recorded {
                    hash,
                    context,
                    date,
                    signatures,
                }),
                _ => None,
            },
        })
        .collect();
    for outcome in [SENT, AMBIGUOUS] {
        if let Some(at) = attempts.iter().position(|attempt| attempt.outcome == outcome) {
            return Ok(Ok(attempts.swap_remove(at)));
        }
    }
    Ok(Err(Absent::NotSent))
}

/// Writes an email again, without I/O.
///
/// # Errors
/// An error, if what is stored about it is not complete, or if this version of Candor cannot write its form.
fn again(
    delivery: i64,
    sent: &Sent,
    recorded: &Recorded,
    (context, settings): (&SendingContext, SendingSettings),
    stored: Stored,
) -> Result<String> {
    let (links, signatures) =
        split(&recorded.signatures).ok_or_else(|| Error::internal("its signatures are not complete"))?;
    if !(1..=FORM).contains(&settings.form) {
        return Err(Error::internal(format!(
            "its form {} is not known",
            settings.form
        )));
    }
    let own: RecipientContext = serde_json::from_str(&sent.context)?;
    let has_language = settings.form >= WITH_LANGUAGE;
    let voice = Voice::of_sent(settings.sentences.clone(), !has_language);
    let frozen = stored.prepare_again(&settings.partials, voice)?;
    let languages = frozen.prepared.languages(&own);
    let links = EmailLinks::with(&settings.public_url, delivery, links);
    let (set_from, set_reply_to) = (settings.from(), settings.reply_to());
    let brand = frozen.content.brand.as_ref();
    let (from, reply_to) = sender::of(brand, &set_from, set_reply_to.as_ref());
    let thread = email::thread(&frozen.incident, from.email.domain());
    let addressing = Addressing {
        from: &from,
        reply_to: reply_to.as_deref(),
        // Only the envelope contains it.
        return_path: None,
        name: &own.name,
        address: &sent.address,
        message_id: &sent.message_id,
        thread: &thread,
        unsubscribe_url: &links.unsubscribe,
        answers_url: &links.answers,
        languages: has_language.then_some(languages.as_str()),
        mine_url: &links.mine,
        date: recorded.date,
        audit: &context.checkpoint,
    };
    let mut message = frozen.prepared.plain(&own, sent.optional, &addressing)?.message;
    match &settings.dkim {
        Some(signing) => dkim::add_again(&mut message, recorded.date, signing, signatures)?,
        None if signatures.is_empty() => {}
        None => return Err(Error::internal("its signatures are of no key")),
    }
    Ok(message)
}
