//! The ntfy channel: a topic of ntfy, on ntfy.sh or on another server. Whoever knows the name of a topic can read it and write to
//! it, so its URL is a secret.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::calling::{Call, EndpointChannel};
use super::channel::Pending;
use super::endpoint_message::{Message, Mood};
use super::outcome::Outcome;
use super::secret_url::{self, SCHEDULE};
use crate::base::error::Result;
use crate::egress::Policy;
use crate::egress::client::Client;

/// The largest message, in bytes. The server makes a longer one a file.
const MESSAGE: usize = 4_000;

/// The channel that publishes to topics of ntfy.
pub struct Ntfy(Client);

impl Ntfy {
    /// Creates the channel. `policy` decides which addresses it may connect to.
    ///
    /// # Errors
    /// `Internal` if TLS cannot be set up.
    pub fn new(policy: Policy) -> Result<Ntfy> {
        Ok(Ntfy(Client::new(policy)?))
    }

    async fn attempt(&self, call: &Call) -> Outcome {
        let topic = Url::parse(&call.url)
            .map_err(|_| "the URL is not valid".to_owned())
            .and_then(|url| ntfy_topic(&url));
        let (topic, server) = match topic {
            Ok(found) => found,
            Err(reason) => return Outcome::Failed(reason),
        };
        let body = match Message::of(&call.payload) {
            Ok(message) => body(&topic, &message),
            Err(error) => return Outcome::Failed(error.chain()),
        };
        secret_url::post(&self.0, call, server.as_str(), &body, &[StatusCode::GONE]).await
    }
}

/// Returns the body as JSON, because the headers of ntfy do not support UTF-8.
fn body(topic: &str, message: &Message) -> Value {
    let (priority, tag) = match message.mood {
        Mood::Affected => (4, "warning"),
        Mood::Good => (3, "white_check_mark"),
        Mood::Neutral => (3, "memo"),
    };
    json!({
        "topic": topic,
        "title": message.title,
        "message": message.plain(MESSAGE),
        "priority": priority,
        "tags": [tag],
    })
}

/// Returns the topic in the URL of an ntfy webhook, and the URL to publish to.
///
/// # Errors
/// A sentence for the caller that says what is wrong.
pub fn ntfy_topic(url: &Url) -> std::result::Result<(String, Url), String> {
    let wrong = "must be the URL of a topic, such as https://ntfy.sh/our-incidents";
    let path = url.path().trim_end_matches('/');
    let (before, topic) = path.rsplit_once('/').ok_or(wrong)?;
    let fits = (1..=64).contains(&topic.len())
        && topic
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !fits {
        return Err(wrong.to_owned());
    }
    let mut base = url.clone();
    base.set_path(&format!("{before}/"));
    Ok((topic.to_owned(), base))
}

impl EndpointChannel for Ntfy {
    fn name(&self) -> &'static str {
        "ntfy"
    }

    fn check(&self, url: &str) -> std::result::Result<String, String> {
        let checked = self.0.check(url)?;
        let parsed = Url::parse(&checked).map_err(|_| "is not a URL".to_owned())?;
        ntfy_topic(&parsed).map(|_| checked)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_the_last_of_the_path() {
        let topic =
            |text: &str| ntfy_topic(&Url::parse(text).unwrap()).map(|(topic, url)| (topic, url.to_string()));
        assert_eq!(
            topic("https://ntfy.sh/our-incidents"),
            Ok(("our-incidents".to_owned(), "https://ntfy.sh/".to_owned()))
        );
        assert_eq!(
            topic("https://x.example/ntfy/ops_1/?auth=abc"),
            Ok(("ops_1".to_owned(), "https://x.example/ntfy/?auth=abc".to_owned()))
        );
        for wrong in [
            "https://ntfy.sh",
            "https://ntfy.sh/",
            "https://ntfy.sh/a%20b",
            "https://ntfy.sh/a/b.c",
        ] {
            assert!(topic(wrong).is_err(), "{wrong}");
        }
    }
}
