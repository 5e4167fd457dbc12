//! The Slack channel: an incoming webhook of an account's own Slack, or of a service that takes the same format, such as
//! Mattermost and Rocket.Chat.
//!
//! All texts are plain text, so that no name and no message becomes a link or mentions a whole channel.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::secret_url::{self, SecretUrlChannel, Service};
use crate::egress::client::Client;
use crate::notice::endpoint_message::{Message, shortened};

/// The largest text of a block, in bytes. Slack counts 3,000 characters.
const BLOCK: usize = 2_900;
/// The largest number of blocks of the message. Slack allows 50 in all.
const BLOCKS: usize = 12;

/// The format of incoming webhooks of Slack.
pub struct SlackFormat;

/// The channel that posts to incoming webhooks of Slack.
pub type Slack = SecretUrlChannel<SlackFormat>;

impl Service for SlackFormat {
    const NAME: &'static str = "slack";
    // The webhook was removed, or its channel was archived.
    const GONE: &'static [StatusCode] = &[StatusCode::NOT_FOUND, StatusCode::GONE];

    fn check(client: &Client, url: &str) -> Result<String, String> {
        secret_url::check(client, url, "https://hooks.slack.com/services/T…/B…/…")
    }

    fn request(url: &str, message: &Message) -> Result<(String, Value), String> {
        Ok((url.to_owned(), body(message)))
    }
}

/// Escapes the three characters that have a meaning in the fallback text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Splits a text into pieces for blocks, at paragraphs where it can.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for paragraph in text
        .split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty())
    {
        let paragraph = shortened(paragraph, BLOCK);
        match pieces.last_mut() {
            Some(last) if last.len() + paragraph.len() + 2 <= BLOCK => {
                last.push_str("\n\n");
                last.push_str(&paragraph);
            }
            _ => pieces.push(paragraph),
        }
    }
    if pieces.len() > BLOCKS {
        pieces.truncate(BLOCKS);
        pieces.push("…".to_owned());
    }
    pieces
}

/// Returns the body: blocks, and the text that notifications and other programs show.
fn body(message: &Message) -> Value {
    let plain = |text: &str| json!({"type": "plain_text", "text": text, "emoji": false});
    let mut blocks = vec![json!({"type": "header", "text": plain(&message.title)})];
    for piece in pieces(&message.text) {
        blocks.push(json!({"type": "section", "text": plain(&piece)}));
    }
    if !message.facts.is_empty() {
        let facts = shortened(&message.facts.join("\n"), BLOCK);
        blocks.push(json!({"type": "context", "elements": [plain(&facts)]}));
    }
    let fallback = format!("{}\n{}", message.title, message.plain(BLOCK));
    json!({"text": escaped(&fallback), "mrkdwn": false, "blocks": blocks})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::endpoint_message::Mood;

    #[test]
    fn nothing_is_markup_and_nothing_is_too_long() {
        let message = Message {
            title: "Update on incident #1: <!channel> *bold*".to_owned(),
            text: "<https://evil.example|here>\n\n".repeat(4_000),
            facts: vec!["a & b".to_owned()],
            essential: 0,
            mood: Mood::Affected,
        };
        let body = body(&message);
        let blocks = body["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50, "{}", blocks.len());
        for block in blocks {
            let texts = [&block["text"], &block["elements"][0]];
            for text in texts.into_iter().filter(|text| text.is_object()) {
                assert_eq!(text["type"], "plain_text");
                assert!(text["text"].as_str().unwrap().chars().count() <= 3_000);
            }
        }
        let fallback = body["text"].as_str().unwrap();
        assert!(!fallback.contains('<') && fallback.contains("&lt;!channel&gt;"));
    }
}
