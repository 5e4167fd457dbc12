//! The settings of the service that notices need.

use crate::base::language::Language;

/// The settings that a notice needs.
#[derive(Clone, Debug)]
pub struct Sending {
    /// The number of recipients above which another person must approve, unless other limits are stored.
    pub max_audience: usize,
    /// The base URL of links.
    pub public_url: String,
    /// The display name of the sender.
    pub sender: String,
    /// The page where customers get help, if it is set.
    pub support_url: Option<String>,
    /// The language of people without one, and of the messages that operators write.
    pub language: Language,
    /// The part of a Message-ID after the @.
    pub domain: String,
    /// The addresses that all emails of drills go to.
    pub drill_to: Vec<String>,
    /// The name of this installation in checkpoints of the audit trail.
    pub audit_origin: String,
    /// How short messages are sent. `None` if they are not set up.
    pub sms: Option<SmsTerms>,
}

/// How short messages are sent by this installation.
#[derive(Clone, Debug, PartialEq)]
pub struct SmsTerms {
    /// The largest number of segments of one message.
    pub segments: usize,
    /// What a segment costs. `None` if it is not set.
    pub price: Option<SmsPrice>,
}

/// What one segment costs.
#[derive(Clone, Debug, PartialEq)]
pub struct SmsPrice {
    /// The price of a segment.
    pub each: f64,
    /// The currency, such as `EUR`.
    pub currency: String,
}
