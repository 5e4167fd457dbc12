//! Receives the reports of mail providers by hook. The sender is proven first, then the report is parsed, and
//! then it is stored.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::problem::Answer;
use super::sns;
use crate::alert::integration::Integration;
use crate::alert::provider::sns::{Envelope, Refused};
use crate::alert::provider::{self, MailgunSignature};
use crate::alert::source::Request;
use crate::alert::{intake, saved_requests};
use crate::base::count::counted;
use crate::base::error::Error;
use crate::base::json_repair;
use crate::feedback::{self, Batch, Origin, Tally, record};
use crate::http::App;
use crate::http::hook_refusal::{actor, refuse};

/// The result of a provider's request.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = FeedbackReceived)]
pub struct Received {
    #[serde(flatten)]
    taken: Tally,
    /// The result if the request asked to confirm a subscription: `confirmed`, or `by_hand` if nothing proves
    /// who sent it. Then a person must open the URL in the saved request.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<&'static str>,
}

/// The content of a request with a known sender.
enum Content {
    /// The provider's reports about emails, for example about deliveries, bounces and complaints.
    Batch(Batch),
    /// A message with which SNS asks to confirm a subscription.
    Subscription(Box<Envelope>),
    /// The request is not in the format.
    Invalid(feedback::Refusal),
}

/// Handles the request of a mail provider's integration. `redacted` is the part of it that may be stored.
pub(super) async fn receive(
    app: &App,
    req: &HttpRequest,
    integration: Integration,
    request: Request,
    redacted: Request,
) -> Answer<HttpResponse> {
    let body: Cow<'_, [u8]> = match integration.source.as_str() {
        "mailgun" => feedback::mailgun::body(&request),
        _ => Cow::Borrowed(&request.body),
    };
    let body = body.as_ref();
    let mut token = None;
    if integration.source == "mailgun" && !integration.secrets.is_empty() {
        token = feedback::mailgun::signature(body);
    }
    let now = app.clock().now();
    let proven = integration.proves(|secret| match integration.source.as_str() {
        "sendgrid" => provider::sendgrid(
            secret,
            request.header("x-twilio-email-event-webhook-signature"),
            request.header("x-twilio-email-event-webhook-timestamp"),
            body,
        ),
        "postmark" => provider::postmark(
            secret,
            request.header("authorization"),
            request.header("x-candor-token"),
        ),
        "mailgun" => provider::mailgun(secret, token.as_ref(), now),
        // SNS signs its envelope, which must be parsed first.
        "aws_ses" => Ok(()),
        _ => Err("Candor cannot check the secret of this source"),
    });
    if let Err(reason) = proven {
        return Err(refuse(app, req, &integration, reason).await?);
    }
    let content = if integration.source == "aws_ses" {
        let topics: Vec<&str> = integration.secrets.iter().map(String::as_str).collect();
        match of_amazon(app, &topics, body).await {
            Ok(content) => content,
            Err(why) => return Err(sns::refused(app, req, &integration, why).await?),
        }
    } else {
        match feedback::parse(&integration.source, body) {
            Ok(batch) => Content::Batch(batch),
            Err(refusal) => Content::Invalid(refusal),
        }
    };
    match content {
        Content::Batch(batch) => {
            let body = body.to_vec();
            store(app, req, integration, body, redacted, batch, token).await
        }
        Content::Subscription(envelope) => {
            let subscription = sns::subscribe(app, req, integration, redacted, &envelope).await?;
            Ok(HttpResponse::Accepted().json(Received {
                taken: Tally::default(),
                subscription: Some(subscription),
            }))
        }
        Content::Invalid(refusal) => {
            let error = Error::invalid(refusal.0.clone(), refusal.1.clone());
            app.db
                .write(&actor(&integration), move |tx| {
                    intake::save_invalid(tx, &integration, &refusal, &redacted)
                })
                .await?;
            Err(error.into())
        }
    }
}

/// Reads a notification of SES with its SNS envelope. Without secrets, raw delivery without an envelope is
/// accepted too.
async fn of_amazon(app: &App, topics: &[&str], body: &[u8]) -> Result<Content, Refused> {
    let Ok(envelope) = json_repair::read::<Envelope>(body) else {
        return match topics {
            [] => Ok(read(body)),
            _ => Err(Refused::Forged("the body is not a signed message of Amazon SNS")),
        };
    };
    if !topics.is_empty() {
        app.sns.verify_any(&envelope, topics).await?;
    }
    match envelope.kind.as_str() {
        "SubscriptionConfirmation" => Ok(Content::Subscription(Box::new(envelope))),
        "UnsubscribeConfirmation" => Ok(Content::Batch(Batch {
            ignored: 1,
            ..Batch::default()
        })),
        _ => Ok(read(envelope.message.as_bytes())),
    }
}

fn read(message: &[u8]) -> Content {
    match feedback::parse("aws_ses", message) {
        Ok(batch) => Content::Batch(batch),
        Err(refusal) => Content::Invalid(refusal),
    }
}

async fn store(
    app: &App,
    req: &HttpRequest,
    integration: Integration,
    body: Vec<u8>,
    redacted: Request,
    batch: Batch,
    token: Option<MailgunSignature>,
) -> Answer<HttpResponse> {
    let keys = app.feedback.clone();
    let stored = integration.clone();
    let taken = app
        .db
        .write(&actor(&integration), move |tx| {
            if let Some(token) = token
                && !record::use_token(tx, &stored.id, &token.token, &body)?
            {
                return Ok(None);
            }
            let origin = Origin {
                source: stored.source.clone(),
                integration: Some(stored.id.clone()),
            };
            let taken = record::take(tx, &origin, &keys, &batch.reports, batch.ignored)?;
            let detail = format!(
                "{}, {} matched, {} repeated, {} ignored",
                counted(taken.reports, "report", "reports"),
                taken.matched,
                taken.duplicates,
                counted(taken.ignored, "event", "events")
            );
            saved_requests::save(tx, &stored.id, true, &detail, &redacted)?;
            Ok(Some(taken))
        })
        .await?;
    let Some(taken) = taken else {
        let reason = "the token of the signature was already used for another body";
        return Err(refuse(app, req, &integration, reason).await?);
    };
    app.feedback_stats.count(&taken);
    Ok(HttpResponse::build(success(&integration.source)).json(Received {
        taken,
        subscription: None,
    }))
}

/// Returns the status for success. Mailgun and Postmark repeat every request that is not answered with
/// exactly 200.
fn success(source: &str) -> StatusCode {
    match source {
        "mailgun" | "postmark" => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    }
}
