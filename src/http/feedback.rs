//! What mail providers report by hook: who sent it is proven first, then it is read, then it is taken in.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;

use super::problem::Answer;
use crate::alert::intake;
use crate::alert::integration::{self, Integration};
use crate::alert::provider::sns::{Envelope, Refused};
use crate::alert::provider::{self, MailgunSignature};
use crate::audit::{Action, Actor, Event};
use crate::delivery::feedback::{self, Batch, Origin, Taken, record};
use crate::error::Error;
use crate::http::App;
use crate::http::hooks::refuse;

/// What became of a provider's request.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Received {
    #[serde(flatten)]
    taken: Taken,
    /// Where the request asked to confirm a subscription: `confirmed`; or `by_hand`, as nothing proved who asks, and the
    /// URL to visit is in the request, which is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<&'static str>,
}

/// What a request is, once it is known who sent it.
enum Content {
    /// Reports.
    Batch(Batch),
    /// SNS asks whether we want its messages.
    Subscription(Envelope),
    /// Not of the format.
    Invalid(feedback::Refusal),
}

/// Takes the request of a mail provider's integration.
pub(super) async fn receive(
    app: &App,
    req: &HttpRequest,
    integration: Integration,
    body: Vec<u8>,
) -> Answer<HttpResponse> {
    let header = |name: &str| req.headers().get(name).and_then(|value| value.to_str().ok());
    let secret = integration.secret.as_deref();
    let mut token = None;
    let proven = match (integration.source.as_str(), secret) {
        (_, None) => Ok(()),
        ("sendgrid", Some(key)) => provider::sendgrid(
            key,
            header("x-twilio-email-event-webhook-signature"),
            header("x-twilio-email-event-webhook-timestamp"),
            &body,
        ),
        ("postmark", Some(secret)) => {
            provider::postmark(secret, header("authorization"), header("x-candor-token"))
        }
        ("mailgun", Some(key)) => {
            token = feedback::mailgun::signature(&body);
            provider::mailgun(key, token.as_ref(), app.clock().now())
        }
        // SNS signs its envelope, which has to be read first.
        ("aws_ses", Some(_)) => Ok(()),
        _ => Err("no way is known to check the secret of this source"),
    };
    if let Err(reason) = proven {
        return Err(refuse(app, &integration, reason).await?);
    }
    let content = if integration.source == "aws_ses" {
        match of_amazon(app, secret, &body).await {
            Ok(content) => content,
            Err(Refused::Forged(reason)) => return Err(refuse(app, &integration, reason).await?),
            Err(Refused::Unreachable(reason)) => {
                tracing::warn!(integration = %integration.id, reason, "a message of SNS has to wait");
                return Err(
                    Error::Unavailable("Amazon SNS could not be asked; send it again".to_owned()).into(),
                );
            }
        }
    } else {
        match feedback::parse(&integration.source, &body) {
            Ok(batch) => Content::Batch(batch),
            Err(refusal) => Content::Invalid(refusal),
        }
    };
    match content {
        Content::Batch(batch) => store(app, integration, body, batch, token).await,
        Content::Subscription(envelope) => subscribe(app, integration, body, &envelope).await,
        Content::Invalid(refusal) => {
            let error = Error::invalid(refusal.0.clone(), refusal.1.clone());
            let actor = actor(&integration);
            app.db
                .write(&actor, move |tx| {
                    intake::keep_invalid(tx, &integration, &refusal, &body)
                })
                .await?;
            Err(error.into())
        }
    }
}

fn actor(integration: &Integration) -> Actor {
    Actor::integration(integration.id.as_str(), &integration.name)
}

/// A notification of SES, in the envelope of SNS or, where the topic delivers raw and nothing has to be proven, without.
async fn of_amazon(app: &App, topic: Option<&str>, body: &[u8]) -> Result<Content, Refused> {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else {
        return match topic {
            Some(_) => Err(Refused::Forged(
                "the body is no message of SNS: nothing is signed",
            )),
            None => Ok(read(body)),
        };
    };
    if let Some(topic) = topic {
        app.sns.verify(&envelope, topic).await?;
    }
    match envelope.kind.as_str() {
        "SubscriptionConfirmation" => Ok(Content::Subscription(envelope)),
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
    integration: Integration,
    body: Vec<u8>,
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
                "{} reports, {} matched, {} repeated, {} events ignored",
                taken.reports, taken.matched, taken.duplicates, taken.ignored
            );
            integration::keep_body(tx, &stored.id, true, &detail, &body)?;
            Ok(Some(taken))
        })
        .await?;
    let Some(taken) = taken else {
        let reason = "the signature's token was used for another body";
        return Err(refuse(app, &integration, reason).await?);
    };
    app.feedback_stats.count(&taken);
    Ok(HttpResponse::build(success(&integration.source)).json(Received {
        taken,
        subscription: None,
    }))
}

/// Mailgun and Postmark send again whatever was not answered by 200, and nothing else.
fn success(source: &str) -> StatusCode {
    match source {
        "mailgun" | "postmark" => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    }
}

/// Confirms a subscription where the message is proven to be of the topic that was expected; without a secret it is
/// kept for a person to decide, as anybody who knows the hook's address could ask for it.
async fn subscribe(
    app: &App,
    integration: Integration,
    body: Vec<u8>,
    envelope: &Envelope,
) -> Answer<HttpResponse> {
    let subscription = if integration.secret.is_some() {
        match app.sns.confirm(envelope).await {
            Ok(()) => "confirmed",
            Err(Refused::Forged(reason)) => return Err(refuse(app, &integration, reason).await?),
            Err(Refused::Unreachable(reason)) => {
                tracing::warn!(integration = %integration.id, reason, "a subscription has to wait");
                return Err(Error::Unavailable("the subscription could not be confirmed".to_owned()).into());
            }
        }
    } else {
        "by_hand"
    };
    let detail = match subscription {
        "confirmed" => "a subscription of SNS, confirmed",
        _ => "a subscription of SNS: visit its SubscribeURL to confirm it, if it is yours",
    };
    let topic = envelope.topic_arn.clone();
    app.db
        .write(&actor(&integration), move |tx| {
            integration::keep_body(tx, &integration.id, true, detail, &body)?;
            let event = Event::new(Action::HookSubscription, "integration", integration.id.as_str());
            let topic = crate::template::one_line(&topic, 300);
            tx.record(event.after(json!({"topic": topic, "subscription": subscription})));
            Ok(())
        })
        .await?;
    Ok(HttpResponse::Accepted().json(Received {
        taken: Taken::default(),
        subscription: Some(subscription),
    }))
}
