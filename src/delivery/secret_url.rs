//! What the channels share whose URL is a secret: whoever knows the URL of an incoming webhook can write into the chat.
//!
//! The URL is stored sealed, as the secret of the endpoint. Everything else, such as the frozen list, the audit trail, pages
//! and answers of the API, has only its origin. A reply is stored without the parts of the URL, because a server may repeat them.

use std::marker::PhantomData;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use url::Url;

use super::calling::{Call, EndpointChannel, unanswered};
use super::channel::Pending;
use super::outcome::Outcome;
use crate::base::error::Result;
use crate::egress::Policy;
use crate::egress::client::{Answer, Client};
use crate::notice::endpoint_message::Message;
use crate::work::backoff::Backoff;
use crate::work::retry_after::retry_after;

/// The longest `Retry-After` that is followed.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// The smallest part of a URL that is removed from a reply, in bytes. A shorter part is no secret.
const PART: usize = 6;

/// The waits between attempts. People read the message during the incident, so the first attempts follow quickly.
const SCHEDULE: [Duration; 8] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(12 * 3600),
    Duration::from_secs(24 * 3600),
];

/// The format of a service.
pub trait Service: Send + Sync + 'static {
    /// The name of the channel.
    const NAME: &'static str;
    /// The status codes with which the service says that this URL will never work again.
    const GONE: &'static [StatusCode];

    /// Checks a URL, and returns it as it is stored.
    ///
    /// # Errors
    /// A sentence that does not repeat the URL.
    fn check(client: &Client, url: &str) -> std::result::Result<String, String>;

    /// Returns the URL that the request goes to, and its body.
    ///
    /// # Errors
    /// A sentence that does not repeat the URL.
    fn request(url: &str, message: &Message) -> std::result::Result<(String, Value), String>;

    /// Returns the outcome, if the service means something else by an answer than others.
    fn judged(outcome: Outcome) -> Outcome {
        outcome
    }
}

/// The channel to a service.
pub struct SecretUrlChannel<S>(Client, PhantomData<S>);

impl<S> SecretUrlChannel<S> {
    /// Creates the channel. `policy` decides which addresses it may connect to.
    ///
    /// # Errors
    /// `Internal` if TLS cannot be set up.
    pub fn new(policy: Policy) -> Result<Self> {
        Ok(SecretUrlChannel(Client::new(policy)?, PhantomData))
    }
}

impl<S: Service> SecretUrlChannel<S> {
    async fn attempt(&self, call: &Call) -> Outcome {
        let message = match Message::of(&call.payload) {
            Ok(message) => message,
            Err(error) => return Outcome::Failed(error.chain()),
        };
        match S::request(&call.url, &message) {
            Ok((url, body)) => S::judged(post(&self.0, call, &url, &body, S::GONE).await),
            Err(reason) => Outcome::Failed(reason),
        }
    }
}

impl<S: Service> EndpointChannel for SecretUrlChannel<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn check(&self, url: &str) -> std::result::Result<String, String> {
        S::check(&self.0, url)
    }

    fn url_is_secret(&self) -> bool {
        true
    }

    fn schedule(&self) -> &[Duration] {
        &SCHEDULE
    }

    fn deliver<'a>(&'a self, call: &'a Call) -> Pending<'a, Outcome> {
        Box::pin(self.attempt(call))
    }
}

/// Posts JSON to a secret URL and judges the answer.
async fn post(client: &Client, call: &Call, url: &str, body: &Value, gone: &[StatusCode]) -> Outcome {
    let headers = [("content-type", "application/json")];
    match client.post(url, &headers, body.to_string().into_bytes()).await {
        Ok(answer) => outcome(&answer, call, gone),
        Err(reason) => match unanswered(reason) {
            Outcome::Failed(reason) => Outcome::Failed(without(&reason, &call.url)),
            Outcome::Retry(after, reason) => Outcome::Retry(after, without(&reason, &call.url)),
            other => other,
        },
    }
}

/// Returns the outcome that an answer means. A request that is rejected as wrong is not repeated, because it would get the same
/// answer.
fn outcome(answer: &Answer, call: &Call, gone: &[StatusCode]) -> Outcome {
    let said = without(&answer.summary(), &call.url);
    let status = answer.status;
    if gone.contains(&status) {
        return Outcome::Gone(said);
    }
    if status.is_success() {
        return Outcome::Sent(said);
    }
    if status.is_redirection() {
        return Outcome::Failed(format!("Candor does not follow redirects: {said}"));
    }
    let busy = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
    );
    match busy || status.is_server_error() {
        // It is never called sooner than by the schedule.
        true => {
            let soonest = Backoff::new(&SCHEDULE).after(i64::from(call.attempt));
            let asked = retry_after(&answer.headers, call.now, LONGEST_WAIT);
            Outcome::Retry(asked.map(|wait| wait.max(soonest)), said)
        }
        false => Outcome::Failed(said),
    }
}

/// Checks that a URL has a path, because the path, or the query, is what makes it a secret.
///
/// # Errors
/// A sentence that does not repeat the URL.
pub(super) fn check(client: &Client, url: &str, example: &str) -> std::result::Result<String, String> {
    let checked = client.check(url)?;
    let has_path = Url::parse(&checked).is_ok_and(|url| url.path().trim_matches('/').len() >= PART);
    match has_path {
        true => Ok(checked),
        false => Err(format!("must be the whole URL, such as {example}")),
    }
}

/// Returns a text without the URL and without the parts of its path and its query.
fn without(text: &str, url: &str) -> String {
    let mut text = text.replace(url, "***");
    let Ok(url) = Url::parse(url) else {
        return text;
    };
    let mut parts: Vec<String> = Vec::new();
    parts.extend(url.query().map(str::to_owned));
    parts.push(url.path().to_owned());
    parts.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
    // Both as they are written and decoded.
    for pair in url.query().into_iter().flat_map(|query| query.split('&')) {
        parts.extend(pair.split_once('=').map(|(_, value)| value.to_owned()));
    }
    for (_, value) in url.query_pairs() {
        parts.push(value.into_owned());
    }
    // Long parts first, so that no piece of one is left.
    parts.retain(|part| part.len() >= PART);
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    for part in parts {
        text = text.replace(&part, "***");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn no_part_of_the_url_is_left() {
        let url = "https://hooks.example.com/services/T0000/B00000000/s3cr3ts3cr3t?sig=abcdefgh%2F1&v=1";
        for said in [
            url.to_owned(),
            "404 Cannot POST /services/T0000/B00000000/s3cr3ts3cr3t".to_owned(),
            "400 unknown token s3cr3ts3cr3t".to_owned(),
            "401 wrong signature abcdefgh/1".to_owned(),
            "401 wrong signature abcdefgh%2F1 in sig=abcdefgh%2F1&v=1".to_owned(),
        ] {
            let shown = without(&said, url);
            for part in ["s3cr3t", "B0000", "abcdefgh"] {
                assert!(!shown.contains(part), "{shown}");
            }
        }
        assert_eq!(without("200 ok", url), "200 ok");
    }
}
