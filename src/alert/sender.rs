//! Proves who sent a request to a hook, in the way of its source.
//!
//! A request that proves nothing is never parsed. An integration without a secret accepts every request, because whoever knows the
//! URL of its hook may send.

use super::integration::Integration;
use super::provider::sns::{Envelope, Refused, Sns, envelopes, is_topic};
use super::signature;
use super::source::{Request, Source};
use crate::base::json_repair;
use crate::base::time::Timestamp;

/// The largest age of an SNS message, in seconds. SNS repeats a message for an hour.
const SNS_AGE: i64 = 2 * 3600;
/// How far the clock of SNS may be ahead, in seconds.
const SNS_AHEAD: i64 = 300;

/// Returns the message with which SNS asks to confirm a subscription, if the request is one.
pub fn subscription(source: &Source, request: &Request) -> Option<Envelope> {
    if !source.signed_by_amazon {
        return None;
    }
    let envelope: Envelope = json_repair::read(&request.body).ok()?;
    (envelope.kind == "SubscriptionConfirmation").then_some(envelope)
}

/// Checks that a request knows a secret of its integration.
///
/// # Errors
/// The reason why the request is not accepted, or that Amazon SNS could not be asked.
pub async fn authenticate(
    integration: &Integration,
    source: &Source,
    request: &Request,
    sns: &Sns,
    now: Timestamp,
) -> Result<(), Refused> {
    if !source.signed_by_amazon {
        return integration
            .proves(|secret| signature::check(source, secret, request, now))
            .map_err(Refused::Forged);
    }
    // The ARN of a topic requires Amazon's signature. Other secrets are proven in the same way as by any sender.
    let (topics, secrets): (Vec<&str>, Vec<&str>) = integration
        .secrets
        .iter()
        .map(String::as_str)
        .partition(|secret| is_topic(secret));
    let mut shown = Ok(());
    for secret in secrets {
        shown = signature::check(source, secret, request, now);
        if shown.is_ok() {
            return match subscription(source, request) {
                // The URL must come from Amazon, because it will be requested.
                Some(envelope) => sns.verify(&envelope, &envelope.topic_arn).await,
                None => Ok(()),
            };
        }
    }
    if topics.is_empty() {
        return shown.map_err(Refused::Forged);
    }
    for envelope in envelopes(&request.body)? {
        sns.verify_any(&envelope, &topics).await?;
        // The time is signed.
        let sent =
            Timestamp::parse(&envelope.timestamp).map_err(|_| Refused::Forged("the message has no time"))?;
        if !(-SNS_AHEAD..=SNS_AGE).contains(&now.seconds_since(sent)) {
            return Err(Refused::Forged(
                "the time of the message is too far from the present time",
            ));
        }
    }
    Ok(())
}
