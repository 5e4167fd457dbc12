//! The Apprise channel: the API server of Apprise, which passes a message on to the services of a stored configuration. The URL
//! ends with `/notify/KEY`. The key names the configuration, and whoever knows it can send, so the URL is a secret.

use hyper::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::outcome::Outcome;
use super::secret_url::{SecretUrlChannel, Service};
use crate::egress::client::Client;
use crate::notice::endpoint_message::{Message, Mood};

/// The largest text, in bytes. Apprise splits a text for services with lower limits.
const TEXT: usize = 30_000;
/// How a URL must look.
const WRONG: &str =
    "must end with /notify/KEY, such as https://apprise.example.com/notify/acme; ?tag=TAG chooses services";

/// The format of the API server of Apprise.
pub struct AppriseFormat;

/// The channel that posts to an API server of Apprise.
pub type Apprise = SecretUrlChannel<AppriseFormat>;

impl Service for AppriseFormat {
    const NAME: &'static str = "apprise";
    const GONE: &'static [StatusCode] = &[StatusCode::GONE];

    fn check(client: &Client, url: &str) -> Result<String, String> {
        let checked = client.check(url)?;
        parts(&checked).map(|_| checked)
    }

    fn request(url: &str, message: &Message) -> Result<(String, Value), String> {
        let (url, tag) = parts(url)?;
        Ok((url.into(), body(message, tag.as_deref())))
    }

    fn judged(outcome: Outcome) -> Outcome {
        match outcome {
            // 204 means that nothing is configured for this key, so nobody was notified.
            Outcome::Sent(said) if said.starts_with("204") => {
                Outcome::Failed(format!("Apprise has no configuration for this key: {said}"))
            }
            other => other,
        }
    }
}

/// Returns the URL to post to, and the tag that chooses services.
fn parts(url: &str) -> Result<(Url, Option<String>), String> {
    let mut url = Url::parse(url).map_err(|_| WRONG.to_owned())?;
    let path = url.path().trim_end_matches('/').to_owned();
    let key = path.rsplit_once("/notify/").map(|(_, key)| key);
    if !key.is_some_and(|key| !key.is_empty() && !key.contains('/')) {
        return Err(WRONG.to_owned());
    }
    let mut tag = None;
    for (name, value) in url.query_pairs() {
        if name != "tag" || tag.is_some() || value.is_empty() {
            return Err(WRONG.to_owned());
        }
        tag = Some(value.into_owned());
    }
    url.set_query(None);
    url.set_path(&path);
    Ok((url, tag))
}

fn body(message: &Message, tag: Option<&str>) -> Value {
    let mut body = json!({
        "title": message.title,
        "body": message.plain(TEXT),
        "type": match message.mood {
            Mood::Affected => "warning",
            Mood::Good => "success",
            Mood::Neutral => "info",
        },
        "format": "text",
    });
    if let Some(tag) = tag {
        body["tag"] = json!(tag);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn the_key_and_the_tag_are_found() {
        let parts = |url: &str| parts(url).map(|(url, tag)| (url.to_string(), tag));
        assert_eq!(
            parts("https://a.example/sub/notify/acme/?tag=ops"),
            Ok((
                "https://a.example/sub/notify/acme".to_owned(),
                Some("ops".to_owned())
            ))
        );
        assert_eq!(
            parts("https://a.example/notify/acme"),
            Ok(("https://a.example/notify/acme".to_owned(), None))
        );
        for wrong in [
            "https://a.example/notify",
            "https://a.example/notify/",
            "https://a.example/notify/a/b",
            "https://a.example/acme",
            "https://a.example/notify/acme?urls=mailto://x",
        ] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }
}
