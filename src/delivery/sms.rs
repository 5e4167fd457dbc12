//! The channel `sms`: short messages to the phones of people, through the HTTP gateway of the settings.
//!
//! - A number is stored like a secret. It is in no log, no answer of the API and no stored reply.
//! - A message whose answer was lost is not sent again by itself, because the gateway may have sent it.

use std::time::Duration;

use hyper::StatusCode;

use super::calling::{Call, EndpointChannel};
use super::channel::Pending;
use super::outcome::Outcome;
use super::sms_gateway::{SmsGateway, SmsRequest};
use crate::base::error::Result;
use crate::egress::Policy;
use crate::egress::client::{Client, Unanswered};
use crate::notice::endpoint_message::Message;
use crate::notice::sms_text;
use crate::work::backoff::Backoff;
use crate::work::retry_after::retry_after;

/// The name of the channel.
pub const SMS: &str = "sms";
/// The longest `Retry-After` that is followed.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// The waits between attempts. A message that arrives a day later helps nobody, but it is still better than none.
const SCHEDULE: [Duration; 6] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(6 * 3_600),
];
/// The numbers of digits that a number can have with its country code (E.164).
const DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// The channel.
pub struct Sms {
    client: Client,
    gateway: Option<SmsGateway>,
    /// The largest number of segments of a message.
    segments: usize,
}

impl Sms {
    /// Creates the channel. Without a gateway, numbers can be stored and nothing can be sent.
    ///
    /// # Errors
    /// `Internal` if TLS cannot be set up.
    pub fn new(gateway: Option<SmsGateway>, segments: usize) -> Result<Sms> {
        Ok(Sms {
            client: Client::new(Policy::Private)?,
            gateway,
            segments,
        })
    }

    async fn attempt(&self, call: &Call) -> Outcome {
        let Some(gateway) = &self.gateway else {
            return Outcome::Retry(None, "short messages are not set up (CANDOR_SMS_URL)".to_owned());
        };
        let message = match Message::of(&call.payload) {
            Ok(message) => message,
            Err(error) => return Outcome::Failed(error.chain()),
        };
        let text = sms_text::text(&call.sender, &message, call.link.as_deref(), self.segments);
        let request = SmsRequest {
            to: &call.url,
            text: &text,
            from: &call.sender,
            id: &call.id,
        };
        let body = match gateway.body(&request) {
            Ok(body) => body,
            Err(error) => return Outcome::Failed(error.chain()),
        };
        let sent = self
            .client
            .post(gateway.url(), &gateway.headers(), body.into_bytes())
            .await;
        let said = |text: &str| gateway.without_secrets(text, &call.url);
        match sent {
            Ok(answer) => {
                let soonest = Backoff::new(&SCHEDULE).after(i64::from(call.attempt));
                let asked = retry_after(&answer.headers, call.now, LONGEST_WAIT);
                let again = asked.map(|wait| wait.max(soonest));
                judged(answer.status, again, said(&answer.summary()))
            }
            Err(Unanswered::Refused(reason)) => Outcome::Failed(said(&reason)),
            Err(Unanswered::Temporary(reason)) => Outcome::Retry(None, said(&reason)),
            Err(Unanswered::Lost(reason)) => Outcome::Failed(format!(
                "the gateway may have sent the message, so it is not sent again by itself: {}",
                said(&reason)
            )),
        }
    }
}

/// Returns the outcome that an answer of the gateway means. A gateway that refuses its credentials sends the message later, when
/// somebody has corrected the settings.
fn judged(status: StatusCode, again: Option<Duration>, said: String) -> Outcome {
    let later = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::PAYMENT_REQUIRED
            | StatusCode::FORBIDDEN
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
    );
    if status.is_success() {
        Outcome::Sent(said)
    } else if later || status.is_server_error() {
        Outcome::Retry(again, said)
    } else if status.is_redirection() {
        Outcome::Failed(format!("Candor does not follow redirects: {said}"))
    } else {
        Outcome::Failed(said)
    }
}

/// Returns a number in the form of E.164: `+` and digits. It may begin with `tel:`, and may have spaces, hyphens, dots and brackets.
///
/// # Errors
/// A sentence that does not repeat the number.
fn number(text: &str) -> std::result::Result<String, String> {
    let wrong = || {
        format!(
            "must be a phone number with its country code, such as +254 700 123456: + and {} to {} digits",
            DIGITS.start(),
            DIGITS.end()
        )
    };
    let text = text.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text).trim();
    let mut digits = String::new();
    for c in text.strip_prefix('+').ok_or_else(wrong)?.chars() {
        match c {
            '0'..='9' => digits.push(c),
            ' ' | '\u{a0}' | '\u{202f}' | '-' | '‑' | '.' | '(' | ')' | '/' => {}
            _ => return Err(wrong()),
        }
    }
    // No country code begins with 0.
    match DIGITS.contains(&digits.len()) && !digits.starts_with('0') {
        true => Ok(format!("+{digits}")),
        false => Err(wrong()),
    }
}

impl EndpointChannel for Sms {
    fn name(&self) -> &'static str {
        SMS
    }

    fn check(&self, url: &str) -> std::result::Result<String, String> {
        number(url)
    }

    fn url_is_secret(&self) -> bool {
        true
    }

    fn is_for_people(&self) -> bool {
        true
    }

    fn schedule(&self) -> &[Duration] {
        &SCHEDULE
    }

    fn deliver<'a>(&'a self, call: &'a Call) -> Pending<'a, Outcome> {
        Box::pin(self.attempt(call))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_form() {
        for text in [
            "+254 700 123456",
            "tel:+254-700-123456",
            " +254 (700) 123.456 ",
            "+254700123456",
        ] {
            assert_eq!(number(text).as_deref(), Ok("+254700123456"), "{text}");
        }
        for wrong in [
            "0700 123456",
            "+0700123456",
            "+1234567",
            "+1234567890123456",
            "+49 170 CALLME",
            "",
            "tel:",
        ] {
            let reason = number(wrong).unwrap_err();
            assert!(reason.contains("country code"), "{reason}");
        }
    }

    #[test]
    fn a_gateway_that_refuses_its_credentials_is_asked_again() {
        let judged = |code: u16| judged(StatusCode::from_u16(code).unwrap(), None, "x".to_owned());
        for code in [401, 402, 403, 408, 429, 500, 503] {
            assert!(matches!(judged(code), Outcome::Retry(..)), "{code}");
        }
        for code in [301, 400, 404, 410, 422] {
            assert!(matches!(judged(code), Outcome::Failed(_)), "{code}");
        }
        assert!(matches!(judged(202), Outcome::Sent(_)));
    }
}
