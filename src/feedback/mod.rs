//! What comes back: bounces, complaints and other reports of what became of a mail after it was accepted.
//!
//! One pure parser for each way in (`ses`, `mailgun`, `sendgrid`, `postmark` by hook, `mail` by mail) turns bytes into
//! [`Report`]s; `record` finds the delivery that each is about and stores it.
//!
//! Must never happen here: a report that is lost as nothing matches it, a delivery found by its address alone, or a
//! mail that is only late, or answered by a machine, taken for one that came back.

pub mod mail;
pub mod mailgun;
pub mod marks;
pub mod postmark;
pub mod record;
pub mod sendgrid;
pub mod ses;
pub mod status;
pub mod stored;
pub mod unreached;

use serde_json::Value;
use sha2::{Digest, Sha256};

pub use marks::{Keys, Marks};
pub use record::{MatchedBy, Origin, Tally};
pub use stored::{Feedback, Filter};

use crate::base::enums::word_enum;
use crate::base::time::Timestamp;

word_enum! {
    /// What a report says.
    ReportKind, "a kind of report" {
        /// The address is of no use: it does not exist, or nobody may write to it.
        Hard = "hard",
        /// Not delivered, for a reason that may pass or is not the address: a full mailbox, a policy, an outage.
        Soft = "soft",
        /// Not delivered yet; it is still being tried.
        Delayed = "delayed",
        /// The recipient said that it is spam.
        Complaint = "complaint",
        /// Delivered.
        Delivered = "delivered",
        /// A machine answered, such as an out-of-office note.
        AutoReply = "auto_reply",
        /// The recipient unsubscribed at the provider.
        Unsubscribed = "unsubscribed",
        /// Anything else, such as a person's answer.
        Other = "other",
    }
}

impl ReportKind {
    /// The worse, the higher: what a mail that says several things is called.
    fn rank(self) -> u8 {
        match self {
            ReportKind::Hard => 7,
            ReportKind::Complaint => 6,
            ReportKind::Soft => 5,
            ReportKind::Unsubscribed => 4,
            ReportKind::Delayed => 3,
            ReportKind::AutoReply => 2,
            ReportKind::Delivered => 1,
            ReportKind::Other => 0,
        }
    }

    /// What several reports of one body are called together.
    pub fn of_all(kinds: impl IntoIterator<Item = ReportKind>) -> ReportKind {
        kinds
            .into_iter()
            .max_by_key(|kind| kind.rank())
            .unwrap_or(ReportKind::Other)
    }
}

/// Bytes of a report that are kept for people to look at.
pub const RAW: usize = 64 * 1024;

/// What somebody reports of one mail to one recipient. Texts are as they came; `record` makes them storable.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it says.
    pub kind: ReportKind,
    /// Whether it means that the mail did not reach the person and will not: what is still being tried does not.
    pub lost: bool,
    /// The recipient, first as it was tried last, then under the names it had before; none where it is not told.
    pub addresses: Vec<String>,
    /// What in it names a mail of ours.
    pub marks: Marks,
    /// The provider's own ids of the mail, as the reply to the attempt may hold them.
    pub provider_ids: Vec<String>,
    /// When the mail was handed over to the provider, where that is told.
    pub handed_over_at: Option<Timestamp>,
    /// When it happened; none: when it was received.
    pub at: Option<Timestamp>,
    /// Enhanced status code (RFC 3463), e.g. `5.1.1`.
    pub status: Option<String>,
    /// What the recipient's server said.
    pub diagnostic: String,
    /// What makes it the same report when it comes again.
    pub key: Option<String>,
    /// Its part of the body, as it came, up to [`RAW`] bytes.
    pub raw: Vec<u8>,
}

impl Report {
    /// A report of that kind. Hard and soft ones say that the mail is lost.
    fn new(kind: ReportKind) -> Self {
        Report {
            kind,
            lost: matches!(kind, ReportKind::Hard | ReportKind::Soft),
            addresses: Vec::new(),
            marks: Marks::default(),
            provider_ids: Vec::new(),
            handed_over_at: None,
            at: None,
            status: None,
            diagnostic: String::new(),
            key: None,
            raw: Vec::new(),
        }
    }

    /// Keeps its part of the body, and makes it what the report is known by where the provider gives it no id.
    fn keep(&mut self, raw: &[u8]) {
        if self.key.is_none() {
            self.key = Some(crate::base::text::hex(&Sha256::digest(raw)));
        }
        self.raw = raw[..raw.len().min(RAW)].to_vec();
    }
}

/// The reports of one body, and how many events in it say nothing that matters here (opened, clicked and the like).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The reports.
    pub reports: Vec<Report>,
    /// Events that were passed over.
    pub ignored: usize,
}

/// Why a body is not of its provider's format: a pointer into it and a reason.
pub type Refusal = (String, String);

/// Reads the body of a provider's hook. For `aws_ses` that is what is inside the envelope of SNS, or the body itself
/// where the topic delivers it raw.
///
/// # Errors
/// Where in the body, and why it is not of the provider's format.
pub fn parse(source: &str, body: &[u8]) -> Result<Batch, Refusal> {
    match source {
        "aws_ses" => ses::parse(body),
        "mailgun" => mailgun::parse(body),
        "postmark" => postmark::parse(body),
        "sendgrid" => sendgrid::parse(body),
        _ => Err((String::new(), "no provider of this name is known".to_owned())),
    }
}

fn json(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        (
            String::new(),
            format!("is not JSON: {}", crate::base::error::json_reason(&error)),
        )
    })
}

fn refusal<T>(pointer: &str, reason: &str) -> Result<T, Refusal> {
    Err((pointer.to_owned(), reason.to_owned()))
}

/// A text at a pointer, or a number as text; empty texts are none.
fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Seconds since 1970, with or without a fraction.
fn unix(value: &Value, pointer: &str) -> Option<Timestamp> {
    let seconds = match value.pointer(pointer)? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    // Outside of it is no time that anything is sent at.
    (0.0..=253_402_300_799.0)
        .contains(&seconds)
        .then(|| Timestamp::from_micros((seconds * 1_000_000.0) as i64))
}

/// RFC 3339, also with a space before the offset and no colon in it, as some write it.
fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    let text = text(value, pointer)?;
    Timestamp::parse(&text).ok().or_else(|| {
        let text = text.replace(' ', "");
        let (head, offset) = text.split_at_checked(text.len().checked_sub(5)?)?;
        let (hours, minutes) = offset.split_at_checked(3)?;
        Timestamp::parse(&format!("{head}{hours}:{minutes}")).ok()
    })
}

/// The address in `Name <address>`, or the text itself.
fn bare_address(text: &str) -> Option<String> {
    let inner = match (text.rfind('<'), text.rfind('>')) {
        (Some(open), Some(close)) if open < close => &text[open + 1..close],
        _ => text,
    };
    let address = inner.trim();
    // "undisclosed-recipients:;" stands where nobody is named; some servers append a domain to it.
    let nobody = address
        .trim_start_matches('"')
        .to_ascii_lowercase()
        .starts_with("undisclosed");
    (address.contains('@') && !nobody && !address.contains(char::is_whitespace)).then(|| address.to_owned())
}
