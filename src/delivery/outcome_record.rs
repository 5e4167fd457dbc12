//! The outcome record of one attempt, as it is stored until its outcome is in the tables.

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::sent_message::SentMessage;

/// The outcome of one claimed delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// The lease of the claim.
    pub lease: String,
    /// The ID of the delivery.
    pub delivery: i64,
    /// The attempt number, from 1.
    pub attempt: i64,
    /// The outcome of the attempt.
    pub outcome: Outcome,
    /// What is recorded about the email that the attempt handed over. Records of earlier versions do not contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<SentMessage>,
    /// The mail server that the email was given to. Records of earlier versions do not contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_versions_are_read() {
        let text = r#"{"lease":"l","delivery":7,"attempt":2,"outcome":{"sent":"250 OK"}}"#;
        let record: OutcomeRecord = serde_json::from_str(text).unwrap();
        assert_eq!((record.delivery, record.attempt), (7, 2));
        assert_eq!(record.outcome, Outcome::Sent("250 OK".to_owned()));
        assert_eq!((record.mail.clone(), record.relay.clone()), (None, None));
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
    }
}
