//! A report of what became of an email, as every parser returns it.

use sha2::{Digest, Sha256};

use super::email_identifiers::EmailIdentifiers;
use crate::base::enums::word_enum;
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
    /// What identifies an email of Candor.
    pub identifiers: EmailIdentifiers,
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
    /// What a person wrote in reply to an email. `None` if a program sent the report.
    pub reply: Option<Reply>,
    /// The part of the body that contains the report, unchanged, with at most [`RAW`] bytes.
    pub raw: Vec<u8>,
}

impl Report {
    /// Creates a report of a kind. Hard and soft bounces mean that the email is lost.
    pub(super) fn new(kind: ReportKind) -> Self {
        Report {
            kind,
            lost: matches!(kind, ReportKind::Hard | ReportKind::Soft),
            addresses: Vec::new(),
            identifiers: EmailIdentifiers::default(),
            provider_ids: Vec::new(),
            handed_over_at: None,
            at: None,
            status: None,
            diagnostic: String::new(),
            key: None,
            reply: None,
            raw: Vec::new(),
        }
    }

    /// Keeps the part of the body with the report. If the provider gives no ID, the hash of this part becomes
    /// the key.
    pub(super) fn keep(&mut self, raw: &[u8]) {
        if self.key.is_none() {
            self.key = Some(crate::base::text::hex(&Sha256::digest(raw)));
        }
        self.raw = raw[..raw.len().min(RAW)].to_vec();
    }
}

/// A reply that a person wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The address in the From header. Nothing proves it.
    pub from: String,
    /// The text without the quoted email.
    pub text: String,
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
