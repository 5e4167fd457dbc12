//! The Teams channel: a webhook that an account made with the Workflows of Microsoft Teams. It takes a message with an adaptive
//! card.
//!
//! All texts are text runs, which interpret no Markdown.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::secret_url::{self, SecretUrlChannel, Service};
use crate::egress::client::Client;
use crate::notice::endpoint_message::{Message, Mood, shortened};

/// The largest text of a card, in bytes. Teams refuses a message above 28 KB.
const TEXT: usize = 12_000;

/// The largest number of paragraphs of a card.
const PARAGRAPHS: usize = 40;

/// The format of the Workflows of Teams.
pub struct TeamsFormat;

/// The channel that posts to the Workflows of Teams.
pub type Teams = SecretUrlChannel<TeamsFormat>;

impl Service for TeamsFormat {
    const NAME: &'static str = "teams";
    // The workflow was deleted.
    const GONE: &'static [StatusCode] = &[StatusCode::NOT_FOUND, StatusCode::GONE];

    fn check(client: &Client, url: &str) -> Result<String, String> {
        let example = "https://….logic.azure.com/workflows/…/triggers/manual/paths/invoke?…&sig=…";
        secret_url::check(client, url, example)
    }

    fn request(url: &str, message: &Message) -> Result<(String, Value), String> {
        Ok((url.to_owned(), body(message)))
    }
}

/// Returns the body: a message with one card.
fn body(message: &Message) -> Value {
    let run = |text: &str, run: Value| {
        let mut inline = json!({"type": "TextRun", "text": text});
        if let (Some(inline), Some(more)) = (inline.as_object_mut(), run.as_object()) {
            inline.extend(more.clone());
        }
        json!({"type": "RichTextBlock", "inlines": [inline]})
    };
    let color = match message.mood {
        Mood::Affected => "attention",
        Mood::Good => "good",
        Mood::Neutral => "default",
    };
    let title = json!({"weight": "bolder", "size": "medium", "color": color});
    let mut card = vec![run(&message.title, title)];
    let text = shortened(&message.text, TEXT);
    let paragraphs: Vec<&str> = text
        .split("\n\n")
        .filter(|text| !text.trim().is_empty())
        .collect();
    for paragraph in paragraphs.iter().take(PARAGRAPHS) {
        card.push(run(paragraph, json!({})));
    }
    if paragraphs.len() > PARAGRAPHS {
        card.push(run("…", json!({})));
    }
    for fact in &message.facts {
        card.push(run(&shortened(fact, 1_000), json!({"isSubtle": true})));
    }
    json!({
        "type": "message",
        "summary": message.title,
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": card,
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_stays_below_the_limit_of_teams() {
        let message = Message {
            title: "Report".to_owned(),
            text: "A paragraph.\n\n".repeat(5_000),
            facts: vec!["x".repeat(5_000)],
            essential: 0,
            mood: Mood::Neutral,
        };
        let body = body(&message);
        assert!(body.to_string().len() < 28_000, "{}", body.to_string().len());
        let card = &body["attachments"][0]["content"]["body"];
        assert_eq!(card[0]["inlines"][0]["text"], "Report");
    }
}
