//! Sends messages to operators as webhook requests: the format of each kind of webhook, and the meaning of
//! its answers.
//!
//! A title never becomes markup or a link in a chat. A reason never contains the URL.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::contact::{Webhook, WebhookKind};
use super::message::{About, OperatorEvent, Rendered, Urgency};
use crate::base::time::Timestamp;
use crate::delivery::Outcome;
use crate::delivery::calling::unanswered;
use crate::delivery::ntfy::ntfy_topic;
use crate::egress::client::{Answer, Client};
use crate::work::retry_after::retry_after;

/// The longest `Retry-After` that is followed.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Escapes the three characters that have a meaning in Slack.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn slack(rendered: &Rendered) -> Value {
    let mut text = format!("*{}*", slack_text(&rendered.title));
    for line in &rendered.lines {
        text.push('\n');
        text.push_str(&slack_text(line));
    }
    // The URL is Candor's own and contains none of the characters that would end it.
    text.push_str(&format!("\n<{}|{}>", rendered.link, rendered.link_text));
    json!({"text": text})
}

/// Makes a message with an adaptive card, as the Workflows of Teams expect it. Text runs do not interpret
/// Markdown.
fn teams(rendered: &Rendered) -> Value {
    let run = |text: &str, weight: &str| {
        json!({
            "type": "RichTextBlock",
            "inlines": [{"type": "TextRun", "text": text, "weight": weight}],
        })
    };
    let body: Vec<Value> = std::iter::once(run(&rendered.title, "Bolder"))
        .chain(rendered.lines.iter().map(|line| run(line, "Default")))
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": body,
                "actions": [{"type": "Action.OpenUrl", "title": rendered.link_text, "url": rendered.link}],
            },
        }],
    })
}

/// Makes the JSON form of an ntfy message, because its headers do not support UTF-8.
fn ntfy(topic: &str, about: &About, rendered: &Rendered) -> Value {
    let tag = match about.event() {
        OperatorEvent::Opened => "rotating_light",
        OperatorEvent::Overdue => "hourglass",
        OperatorEvent::Sent => "incoming_envelope",
        OperatorEvent::Unreached | OperatorEvent::SyncFailed | OperatorEvent::SyncWaiting => "warning",
        OperatorEvent::Drafted => "memo",
        OperatorEvent::Answered => "speech_balloon",
        OperatorEvent::BreakGlass | OperatorEvent::Relapsed => "rotating_light",
        OperatorEvent::Test => "test_tube",
    };
    json!({
        "topic": topic,
        "title": rendered.title,
        "message": rendered.lines.join("\n"),
        "priority": match rendered.urgency {
            Urgency::Max => 5,
            Urgency::High => 4,
            Urgency::Usual => 3,
        },
        "tags": [tag],
        "click": rendered.link,
    })
}

fn generic(id: &str, about: &About, rendered: &Rendered) -> Value {
    let mut body = json!({
        "id": id,
        "event": about.event(),
        "title": rendered.title,
        "text": rendered.lines.join("\n"),
        "link": rendered.link,
    });
    match about {
        About::Incident(facts) => {
            let incident = &facts.incident;
            body["incident"] = json!({
                "id": incident.id, "number": incident.number, "title": incident.title, "severity": incident.severity,
                "reopened": incident.reopened,
            });
            body["others"] = json!(facts.others.len() + facts.more);
            body["notice"] = json!(facts.notice);
            if let Some(answers) = facts.answers {
                body["answers"] = json!(answers);
            }
        }
        About::Sync(facts) => body["source"] = json!({"id": facts.source, "name": facts.name}),
        About::Test(_) => {}
    }
    body
}

/// Returns the URL and the body of the request.
///
/// # Errors
/// Why there can be no such request.
fn request(
    webhook: &Webhook,
    id: &str,
    about: &About,
    rendered: &Rendered,
) -> Result<(String, Value), String> {
    let url = webhook.url.clone();
    Ok(match webhook.kind {
        WebhookKind::Slack => (url, slack(rendered)),
        WebhookKind::Teams => (url, teams(rendered)),
        WebhookKind::Generic => (url, generic(id, about, rendered)),
        WebhookKind::Ntfy => {
            let url = Url::parse(&url).map_err(|_| "the URL is not valid".to_owned())?;
            let (topic, base) = ntfy_topic(&url)?;
            (base.into(), ntfy(&topic, about, rendered))
        }
    })
}

/// Sends a message to a webhook.
pub(super) async fn deliver(
    client: &Client,
    webhook: &Webhook,
    id: &str,
    about: &About,
    rendered: &Rendered,
    now: Timestamp,
) -> Outcome {
    let built = request(webhook, id, about, rendered)
        .and_then(|(url, body)| Ok((url, serde_json::to_vec(&body).map_err(|error| error.to_string())?)));
    let (url, body) = match built {
        Ok(built) => built,
        Err(reason) => return Outcome::Failed(reason),
    };
    let headers = [("content-type", "application/json"), ("x-candor-message", id)];
    match client.post(&url, &headers, body).await {
        Ok(answer) => outcome(&answer, now),
        Err(reason) => unanswered(reason),
    }
}

/// Returns the outcome for an answer. A request that is rejected as wrong or redirected is not tried again,
/// because it would get the same answer.
fn outcome(answer: &Answer, now: Timestamp) -> Outcome {
    let said = answer.summary();
    match answer.status {
        status if status.is_success() => Outcome::Sent(said),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Outcome::Retry(retry_after(&answer.headers, now, LONGEST_WAIT), said)
        }
        status if status.is_server_error() => {
            Outcome::Retry(retry_after(&answer.headers, now, LONGEST_WAIT), said)
        }
        status if status.is_redirection() => {
            Outcome::Failed(format!("Candor does not follow redirects: {said}"))
        }
        _ => Outcome::Failed(said),
    }
}
