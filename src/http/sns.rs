//! Messages of Amazon SNS, for all sources: the proof of their sender, and the confirmation of a
//! subscription.

use actix_web::HttpRequest;
use serde_json::json;

use super::hook_refusal::{actor, refuse};
use super::problem::Problem;
use crate::alert::integration::Integration;
use crate::alert::provider::sns::{Envelope, Refused};
use crate::alert::saved_requests;
use crate::alert::source::Request;
use crate::audit::{Action, Event};
use crate::base::error::Error;
use crate::http::App;

/// Returns the answer to a message that was not accepted.
///
/// # Errors
/// An error of the database.
pub(super) async fn refused(
    app: &App,
    req: &HttpRequest,
    integration: &Integration,
    refused: Refused,
) -> Result<Problem, Error> {
    match refused {
        Refused::Forged(reason) => refuse(app, req, integration, reason).await,
        Refused::Unreachable(reason) => {
            tracing::warn!(integration = %integration.id, reason, "a message of SNS has to wait");
            let why = "Amazon SNS could not be asked; send it again".to_owned();
            Ok(Error::Unavailable(why).into())
        }
    }
}

/// Confirms a subscription if the message is proven to belong to an expected topic. Without a secret, it is
/// saved and a person must decide, because anybody who knows the address of the hook could send it.
///
/// # Errors
/// The reason why it is not confirmed.
pub(super) async fn subscribe(
    app: &App,
    req: &HttpRequest,
    integration: Integration,
    redacted: Request,
    envelope: &Envelope,
) -> Result<&'static str, Problem> {
    let subscription = if integration.secrets.is_empty() {
        "by_hand"
    } else {
        match app.sns.confirm(envelope).await {
            Ok(()) => "confirmed",
            Err(why) => return Err(refused(app, req, &integration, why).await?),
        }
    };
    let detail = match subscription {
        "confirmed" => "a subscription of SNS was confirmed",
        _ => "a subscription of SNS: visit its SubscribeURL to confirm it, if it is yours",
    };
    let topic = envelope.topic_arn.clone();
    app.db
        .write(&actor(&integration), move |tx| {
            saved_requests::save(tx, &integration.id, true, detail, &redacted)?;
            let event = Event::new(Action::HookSubscription, "integration", integration.id.as_str());
            let topic = crate::base::text::one_line(&topic, 300);
            tx.record(event.after(json!({"topic": topic, "subscription": subscription})));
            Ok(())
        })
        .await?;
    Ok(subscription)
}
