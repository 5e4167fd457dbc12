//! Reports about emails after they were accepted: bounces, complaints and others.
//!
//! There is one parser for each kind of report (`ses`, `mailgun`, `sendgrid` and `postmark` by hook, `mail`
//! by email). A parser turns bytes into [`Report`]s and does no I/O. `record` finds the delivery that a
//! report is about and stores it.
//!
//! - A report that matches no delivery is stored too.
//! - A delivery is never found by its address alone.
//! - A delayed email or an automatic reply never counts as a bounce.

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
use crate::base::json_repair;
use crate::base::time::Timestamp;

word_enum! {
    /// The kind of a report.
    ReportKind, "a kind of report" {
        /// A permanent bounce: the address does not exist or accepts no email.
        Hard = "hard",
        /// A bounce for a reason that is temporary or not about the address, such as a full mailbox, a policy
        /// or an outage.
        Soft = "soft",
        /// The email is not delivered yet, and the server still tries.
        Delayed = "delayed",
        /// The recipient reported the email as spam.
        Complaint = "complaint",
        /// The report says that the email was delivered.
        Delivered = "delivered",
        /// A program answered, for example with an out-of-office note.
        AutoReply = "auto_reply",
        /// The recipient unsubscribed at the provider.
        Unsubscribed = "unsubscribed",
        /// Anything else, such as an answer of a person.
        Other = "other",
    }
}

impl ReportKind {
    /// Returns the severity of a kind. A worse kind has a higher number.
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

    /// Returns the worst of several kinds, which stands for all reports of one body.
    pub fn of_all(kinds: impl IntoIterator<Item = ReportKind>) -> ReportKind {
        kinds
            .into_iter()
            .max_by_key(|kind| kind.rank())
            .unwrap_or(ReportKind::Other)
    }
}

/// The number of bytes of a report that are kept for people to read.
pub const RAW: usize = 64 * 1024;

/// A report about one email to one recipient. Texts are unchanged here. `record` makes them safe to store.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The kind of the report.
    pub kind: ReportKind,
    /// Whether the email did not reach the person and will not. It is false while the email is still being
    /// tried.
    pub lost: bool,
    /// The addresses of the recipient: first the one that was tried last, then earlier ones. Empty if the
    /// report does not contain any.
    pub addresses: Vec<String>,
    /// The marks that identify an email of Candor.
    pub marks: Marks,
    /// The IDs that the provider gave the email. The reply to the attempt may contain them.
    pub provider_ids: Vec<String>,
    /// When the email was handed over to the provider, if the report says so.
    pub handed_over_at: Option<Timestamp>,
    /// When the event happened. Without it, the time of receipt is used.
    pub at: Option<Timestamp>,
    /// The enhanced status code (RFC 3463), for example `5.1.1`.
    pub status: Option<String>,
    /// The text of the recipient's server.
    pub diagnostic: String,
    /// The key of the report. The same report has the same key when it is sent again.
    pub key: Option<String>,
    /// The part of the body that contains the report, unchanged, with at most [`RAW`] bytes.
    pub raw: Vec<u8>,
}

impl Report {
    /// Creates a report of a kind. Hard and soft bounces mean that the email is lost.
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

    /// Keeps the part of the body with the report. If the provider gives no ID, the hash of this part becomes
    /// the key.
    fn keep(&mut self, raw: &[u8]) {
        if self.key.is_none() {
            self.key = Some(crate::base::text::hex(&Sha256::digest(raw)));
        }
        self.raw = raw[..raw.len().min(RAW)].to_vec();
    }
}

/// The reports of one body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The reports. Each of them is about one email.
    pub reports: Vec<Report>,
    /// The number of events that are not needed, such as opened or clicked.
    pub ignored: usize,
}

/// Why a body is not in the format of its provider: a pointer into the body and a reason.
pub type Refusal = (String, String);

/// Reads the body of a provider's hook. For `aws_ses` this is the content of the SNS envelope, or the body
/// itself if the topic uses raw delivery.
///
/// # Errors
/// A pointer and a reason, if the body is not in the format of the provider.
pub fn parse(source: &str, body: &[u8]) -> Result<Batch, Refusal> {
    match source {
        "aws_ses" => ses::parse(body),
        "mailgun" => mailgun::parse(body),
        "postmark" => postmark::parse(body),
        "sendgrid" => sendgrid::parse(body),
        _ => Err((String::new(), "no provider of this name is known".to_owned())),
    }
}

/// Returns a body as JSON. Broken characters are replaced, so that one bad character does not cost the report.
fn json(body: &[u8]) -> Result<Value, Refusal> {
    json_repair::read(body).map_err(|error| {
        (
            String::new(),
            format!("is not JSON: {}", crate::base::error::json_reason(&error)),
        )
    })
}

fn refusal<T>(pointer: &str, reason: &str) -> Result<T, Refusal> {
    Err((pointer.to_owned(), reason.to_owned()))
}

/// Returns the text at a pointer, or a number as text. An empty text counts as absent.
fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Reads seconds since 1970, with or without a fraction.
fn unix(value: &Value, pointer: &str) -> Option<Timestamp> {
    let seconds = match value.pointer(pointer)? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    // A time outside this range cannot be the time of an email.
    (0.0..=253_402_300_799.0)
        .contains(&seconds)
        .then(|| Timestamp::from_micros((seconds * 1_000_000.0) as i64))
}

/// Reads an RFC 3339 time. Some providers write a space before the offset and no colon in it, which is
/// accepted too.
fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    let text = text(value, pointer)?;
    Timestamp::parse(&text).ok().or_else(|| {
        let text = text.replace(' ', "");
        let (head, offset) = text.split_at_checked(text.len().checked_sub(5)?)?;
        let (hours, minutes) = offset.split_at_checked(3)?;
        Timestamp::parse(&format!("{head}{hours}:{minutes}")).ok()
    })
}

/// Returns the address in `Name <address>`, or the text itself.
fn bare_address(text: &str) -> Option<String> {
    let inner = match (text.rfind('<'), text.rfind('>')) {
        (Some(open), Some(close)) if open < close => &text[open + 1..close],
        _ => text,
    };
    let address = inner.trim();
    // "undisclosed-recipients:;" means that no recipient is named. Some servers append a domain to it.
    let nobody = address
        .trim_start_matches('"')
        .to_ascii_lowercase()
        .starts_with("undisclosed");
    // No address contains a control character, and PostgreSQL cannot store NUL.
    let odd = |c: char| c.is_whitespace() || c.is_control();
    (address.contains('@') && !nobody && !address.contains(odd)).then(|| address.to_owned())
}
