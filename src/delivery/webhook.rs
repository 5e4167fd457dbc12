//! The webhook channel. It sends a signed POST request (Standard Webhooks) to an endpoint of an account and
//! judges the answer.
//!
//! The secret never appears in a request or in a reason. An endpoint cannot make Candor call it more often
//! than the schedule allows.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::calling::{Call, EndpointChannel, unanswered};
use super::channel::Pending;
use super::outcome::Outcome;
use crate::base::error::Result;
use crate::directory::endpoint::sign;
use crate::egress::Policy;
use crate::egress::client::{Answer, Client};
use crate::work::backoff::Backoff;
use crate::work::retry_after::retry_after;

/// The largest `Retry-After` that is obeyed.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The waits between attempts, which Standard Webhooks recommends.
const SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// The channel that posts signed JSON to the URL of an endpoint.
pub struct Webhook(Client);

impl Webhook {
    /// Creates the channel. `policy` decides which addresses it may connect to.
    ///
    /// # Errors
    /// `Internal` if TLS cannot be set up.
    pub fn new(policy: Policy) -> Result<Webhook> {
        Ok(Webhook(Client::new(policy)?))
    }

    async fn attempt(&self, call: &Call) -> Outcome {
        let signed = serde_json::to_vec(&call.payload)
            .map_err(|error| error.to_string())
            .and_then(|body| Ok((signature(call, &body)?, body)));
        let (signature, body) = match signed {
            Ok(signed) => signed,
            Err(reason) => return Outcome::Failed(reason),
        };
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", &call.id),
            ("webhook-timestamp", &call.now.unix().0.to_string()),
            ("webhook-signature", &signature),
        ];
        match self.0.post(&call.url, &headers, body).await {
            Ok(answer) => outcome(&answer, call),
            Err(reason) => unanswered(reason),
        }
    }
}

impl EndpointChannel for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn check(&self, url: &str) -> std::result::Result<String, String> {
        self.0.check(url)
    }

    fn schedule(&self) -> &[Duration] {
        &SCHEDULE
    }

    fn deliver<'a>(&'a self, call: &'a Call) -> Pending<'a, Outcome> {
        Box::pin(self.attempt(call))
    }
}

fn signature(call: &Call, body: &[u8]) -> std::result::Result<String, String> {
    sign(&call.secret, &call.id, call.now.unix().0, body)
}

/// Returns the outcome that an answer means.
fn outcome(answer: &Answer, call: &Call) -> Outcome {
    let said = answer.summary();
    match answer.status {
        status if status.is_success() => Outcome::Sent(said),
        StatusCode::GONE => Outcome::Gone(said),
        status if status.is_redirection() => {
            Outcome::Failed(format!("Candor does not follow redirects: {said}"))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::Retry(asked(&answer.headers, call), said)
        }
        _ => Outcome::Retry(None, said),
    }
}

/// Returns the wait that the endpoint asked for. It is never shorter than the wait of the schedule, because
/// an endpoint that always asks for one second would otherwise be called without a pause for days.
fn asked(headers: &HeaderMap, call: &Call) -> Option<Duration> {
    let soonest = Backoff::new(&SCHEDULE).after(i64::from(call.attempt));
    retry_after(headers, call.now, LONGEST_WAIT).map(|wait| wait.max(soonest))
}

#[cfg(test)]
mod tests {
    use hyper::header::RETRY_AFTER;

    use super::*;
    use crate::base::language::Language;
    use crate::base::time::Timestamp;
    use crate::notice::payload::{self, PayloadAccount};

    fn call(attempt: u32) -> Call {
        let account = PayloadAccount {
            id: "acme".to_owned(),
            name: "Acme".to_owned(),
        };
        let now = Timestamp::parse("2024-03-14T07:00:00Z").unwrap();
        Call {
            url: "https://acme.example/hook".to_owned(),
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            attempt,
            now,
            payload: payload::test(account, Language::En, now),
            sender: "Quickbyte".to_owned(),
            link: None,
        }
    }

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // This is the example that the libraries of Standard Webhooks use in their tests.
        let now = Timestamp::parse("2021-02-25T15:02:10Z").unwrap();
        let signed = signature(&Call { now, ..call(1) }, br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn nobody_is_called_sooner_than_by_the_schedule() {
        let mut headers = HeaderMap::new();
        assert_eq!(asked(&headers, &call(1)), None);
        headers.insert(RETRY_AFTER, "60".parse().unwrap());
        for (attempt, wait) in [(1, 60), (2, 300), (9, 86_400), (10, 86_400), (u32::MAX, 86_400)] {
            let asked = asked(&headers, &call(attempt)).map(|wait| wait.as_secs());
            assert_eq!(asked, Some(wait), "{attempt}");
        }
    }
}
