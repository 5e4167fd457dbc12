//! The ntfy channel: a topic of ntfy, on ntfy.sh or on another server. Whoever knows the name of a topic can read it and write to
//! it, so its URL is a secret.

use hyper::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::secret_url::{SecretUrlChannel, Service};
use crate::egress::client::Client;
use crate::notice::endpoint_message::{Message, Mood};

/// The largest message, in bytes. The server makes a longer one a file.
const MESSAGE: usize = 4_000;

/// The format of topics of ntfy.
pub struct NtfyFormat;

/// The channel that publishes to topics of ntfy.
pub type Ntfy = SecretUrlChannel<NtfyFormat>;

impl Service for NtfyFormat {
    const NAME: &'static str = "ntfy";
    const GONE: &'static [StatusCode] = &[StatusCode::GONE];

    fn check(client: &Client, url: &str) -> Result<String, String> {
        let checked = client.check(url)?;
        let parsed = Url::parse(&checked).map_err(|_| "is not a URL".to_owned())?;
        ntfy_topic(&parsed).map(|_| checked)
    }

    fn request(url: &str, message: &Message) -> Result<(String, Value), String> {
        let url = Url::parse(url).map_err(|_| "the URL is not valid".to_owned())?;
        let (topic, server) = ntfy_topic(&url)?;
        Ok((server.into(), body(&topic, message)))
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
pub fn ntfy_topic(url: &Url) -> Result<(String, Url), String> {
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
