//! Reports about emails after they were accepted: bounces, complaints and others.
//!
//! There is one parser for each kind of report (`ses`, `mailgun`, `sendgrid` and `postmark` by hook, `mail`
//! by email). A parser turns bytes into [`Report`]s and does no I/O. `record` finds the delivery that a
//! report is about and stores it.
//!
//! - A report that matches no delivery is stored too.
//! - A delivery is never found by its address alone.
//! - A delayed email or an automatic reply never counts as a bounce.

pub mod corrected_address;
pub mod email_identifiers;
mod field;
pub mod mail;
pub mod mailgun;
pub mod postmark;
pub mod record;
mod report;
pub mod sendgrid;
pub mod ses;
pub mod status;
pub mod stored;
pub mod unreached;

pub use email_identifiers::{EmailIdentifiers, Keys};
pub use record::{Origin, Tally};
pub use report::{Batch, RAW, Refusal, Reply, Report, ReportKind};
pub use stored::{Feedback, Filter, MatchedBy};

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
