//! The hooks: where alerts come in. The secret is in the URL; fields that are not known are the sender's business.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse, post, web};
use serde_json::json;

use super::extract::{MAX_HOOK, NoParams, Params, read_body};
use super::problem::{Answer, Problem};
use crate::alert::intake::{self, Taken};
use crate::alert::integration::Integration;
use crate::alert::signature::Proof;
use crate::alert::{integration, provider, source};
use crate::audit::{Action, Actor, Event};
use crate::error::Error;
use crate::http::App;

/// Takes alerts in.
#[utoipa::path(
    tag = "Alerts",
    description = "The source's own body, sent to the `hook_url` of an integration. Of a mail provider's integration the \
                   answer holds what was reported of mails.",
    request_body(content = String, content_type = "application/json"),
    responses((status = 202, body = Taken), (status = 401), (status = 404), (status = 413), (status = 422))
)]
#[post("/hooks/{token}")]
pub async fn receive(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
    _: Params<NoParams>,
    payload: web::Payload,
) -> Answer<HttpResponse> {
    let token = token.into_inner();
    let integration = app
        .db
        .read(move |conn| integration::by_token(conn, &token))
        .await?;
    let mut payload: Payload = payload.into_inner();
    let body = read_body(&req, &mut payload, MAX_HOOK).await?;
    if provider::is_one(&integration.source) {
        return super::feedback::receive(&app, &req, integration, body).await;
    }
    let actor = Actor::integration(integration.id.as_str(), &integration.name);
    if let Some(secret) = &integration.secret {
        let signs = integration.source == "generic";
        if let Err(reason) = proof(&req).check(secret, signs, &body, app.clock().now()) {
            return Err(refuse(&app, &integration, reason).await?);
        }
    }
    let parsed = source::parse(&integration.source, integration.mapping.as_ref(), &body);
    let batch = match parsed {
        Ok(batch) => batch,
        Err(refusal) => {
            let error = Error::invalid(refusal.0.clone(), refusal.1.clone());
            app.db
                .write(&actor, move |tx| {
                    intake::keep_invalid(tx, &integration, &refusal, &body)
                })
                .await?;
            return Err(error.into());
        }
    };
    let taken = app
        .db
        .write(&actor, move |tx| intake::take(tx, &integration, &batch, &body))
        .await?;
    Ok(HttpResponse::Accepted().json(taken))
}

/// Records that a request was refused, and answers so. The sender is not told why.
pub(super) async fn refuse(
    app: &App,
    integration: &Integration,
    reason: &'static str,
) -> Result<Problem, Error> {
    let id = integration.id.to_string();
    app.db
        .write(&Actor::anonymous(), move |tx| {
            let event = Event::new(Action::HookRefused, "integration", id);
            tx.record(event.after(json!({"reason": reason})));
            Ok(())
        })
        .await?;
    Ok(Problem::Unauthorized(
        "the request does not prove that it knows the secret",
    ))
}

fn proof(req: &HttpRequest) -> Proof {
    let header = |name: &str| {
        req.headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    Proof {
        authorization: header("authorization"),
        webhook_id: header("webhook-id"),
        webhook_timestamp: header("webhook-timestamp"),
        webhook_signature: header("webhook-signature"),
        candor_signature: header("x-candor-signature"),
    }
}
