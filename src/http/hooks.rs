//! The hooks that receive alerts. The secret is in the URL. Unknown fields are allowed, because the sender
//! decides about them.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse, get, options, post, put, web};
use serde::Serialize;

use super::answer::Declared;
use super::edge::is_head;
use super::extract::{MAX_HOOK, read_body};
use super::hook_refusal::actor;
use super::integration_cache::is_amazon;
use super::problem::{Answer, Problem};
use super::refusals::RefusalKind;
use super::sns;
use crate::alert::intake::{self, Taken};
use crate::alert::integration::{self, Integration};
use crate::alert::provider::sns::{Envelope, Refused, envelopes, is_topic};
use crate::alert::queue::Answered;
use crate::alert::source::{self, Request, pagerduty, statuscake};
use crate::alert::{provider, signature};
use crate::base::error::Error;
use crate::base::json_repair;
use crate::base::time::Timestamp;
use crate::http::App;

/// The result of a hook's request.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Received {
    #[serde(flatten)]
    taken: Taken,
    /// `success` for an event in the format of PagerDuty's Events API, which has this field.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// The same result as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    /// The key with which the sender can resolve the alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    dedup_key: Option<String>,
    /// The result if SNS asked to confirm a subscription: `confirmed`, or `by_hand` if nothing proves who
    /// sent it. Then a person must open the URL in the saved request.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<&'static str>,
}

/// Receives alerts.
#[utoipa::path(
    tag = "Alerts", security(()),
    description = "The request of the monitoring system or mail provider, sent to the `hook_url` of an \
    integration. For a mail provider, the answer contains the delivery reports.",
    request_body(content = String, content_type = "application/json"),
    responses((status = 202, body = Received), (status = 503, description = "Too many alerts are waiting to be stored; send this request again after the time in `Retry-After`"))
)]
#[post("/hooks/{token}")]
pub async fn receive(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
    payload: web::Payload,
) -> Answer<Declared> {
    by_url(&app, &req, token.into_inner(), payload)
        .await
        .map(Declared)
}

/// Receives alerts from senders that use PUT, in the same way as POST.
#[utoipa::path(tag = "Alerts", security(()), request_body(content = String, content_type = "application/json"),
    responses((status = 202, body = Received), (status = 503, description = "Too many alerts are waiting to be stored; send this request again after the time in `Retry-After`")))]
#[put("/hooks/{token}")]
pub async fn receive_put(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
    payload: web::Payload,
) -> Answer<Declared> {
    by_url(&app, &req, token.into_inner(), payload)
        .await
        .map(Declared)
}

/// Receives an alert from senders that put its fields into the URL: UptimeRobot, Uptime Kuma,
/// Healthchecks.io, StatusCake.
#[utoipa::path(tag = "Alerts", security(()),
    responses((status = 202, body = Received), (status = 405), (status = 422)))]
#[get("/hooks/{token}")]
pub async fn receive_get(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
    payload: web::Payload,
) -> Answer<Declared> {
    by_url(&app, &req, token.into_inner(), payload)
        .await
        .map(Declared)
}

/// Receives an event in the format of PagerDuty's Events API. `routing_key` is the token at the end of the
/// `hook_url` of an integration whose source is `pagerduty`.
#[utoipa::path(tag = "Alerts", security(()), request_body(content = String, content_type = "application/json"),
    responses((status = 202, body = Received), (status = 503, description = "Too many alerts are waiting to be stored; send this request again after the time in `Retry-After`")))]
#[post("/v2/enqueue")]
pub async fn enqueue(app: web::Data<App>, req: HttpRequest, payload: web::Payload) -> Answer<Declared> {
    let request = read(&req, payload).await?;
    let Some(token) = pagerduty::routing_key(&request.body) else {
        return Err(Error::invalid("/routing_key", "is missing").into());
    };
    let unknown = || {
        Problem::Domain(Error::NotFound(
            "an integration for PagerDuty with this routing key".to_owned(),
        ))
    };
    let found = match integration_of(&app, &req, &token).await? {
        found if found.integration.source == "pagerduty" => found,
        _ => {
            return Err(app
                .refusals
                .refuse(&req, RefusalKind::Token, app.clock().now(), unknown()));
        }
    };
    take(&app, &req, found, &token, request).await.map(Declared)
}

/// Answers a CloudEvents sender that asks for permission before it sends.
#[options("/hooks/{token}")]
pub async fn may_send(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
) -> Answer<HttpResponse> {
    let integration = read_integration(&app, &req, &token).await?.integration;
    let mut answer = HttpResponse::Ok();
    answer.insert_header(("allow", methods(&integration.source)));
    let origin = req.headers().get("webhook-request-origin");
    if let Some(origin) = origin.filter(|_| integration.source == "cloudevents") {
        answer.insert_header(("webhook-allowed-origin", origin.clone()));
        answer.insert_header(("webhook-allowed-rate", "*"));
    }
    Ok(answer.finish())
}

fn methods(source: &str) -> &'static str {
    if source::BY_GET.contains(&source) {
        "GET, HEAD, POST, PUT"
    } else {
        "POST, PUT"
    }
}

/// The integration of a token, and whether it comes from the cache.
struct FoundIntegration {
    integration: Arc<Integration>,
    from_cache: bool,
}

async fn integration_of(app: &App, req: &HttpRequest, token: &str) -> Answer<FoundIntegration> {
    if let Some(integration) = app.integration_cache.get(token) {
        return Ok(FoundIntegration {
            integration,
            from_cache: true,
        });
    }
    read_integration(app, req, token).await
}

async fn read_integration(app: &App, req: &HttpRequest, token: &str) -> Answer<FoundIntegration> {
    app.integration_cache.remove(token);
    let wanted = token.to_owned();
    let integration = app
        .db
        .read(move |conn| integration::by_token(conn, &wanted))
        .await
        .map_err(|error| match error {
            unknown @ Error::NotFound(_) => {
                app.refusals
                    .refuse(req, RefusalKind::Token, app.clock().now(), unknown.into())
            }
            error => error.into(),
        })?;
    let integration = Arc::new(integration);
    app.integration_cache.insert(token, &integration);
    Ok(FoundIntegration {
        integration,
        from_cache: false,
    })
}

/// Reads the request with its body, up to the largest size.
async fn read(req: &HttpRequest, payload: web::Payload) -> Answer<Request> {
    let mut payload: Payload = payload.into_inner();
    let body = read_body(req, &mut payload, MAX_HOOK).await?;
    let headers = req.headers().iter();
    Ok(Request {
        method: req.method().to_string(),
        query: req.query_string().to_owned(),
        headers: headers
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect(),
        body,
    })
}

async fn by_url(app: &App, req: &HttpRequest, token: String, payload: web::Payload) -> Answer<HttpResponse> {
    let mut found = integration_of(app, req, &token).await?;
    if req.method() == "GET" && !source::BY_GET.contains(&found.integration.source.as_str()) {
        if found.from_cache {
            // The integration may have been ended, which must then be the answer.
            found = read_integration(app, req, &token).await?;
        }
        return Err(Problem::NoSuchMethod(methods(&found.integration.source).into()));
    }
    if is_head(req) {
        read_integration(app, req, &token).await?;
        // A monitor checks whether the URL exists. It sends no alert.
        return Ok(HttpResponse::Ok().finish());
    }
    let request = read(req, payload).await?;
    take(app, req, found, &token, request).await
}

async fn take(
    app: &App,
    req: &HttpRequest,
    mut found: FoundIntegration,
    token: &str,
    request: Request,
) -> Answer<HttpResponse> {
    loop {
        let integration = &found.integration;
        // Some senders repeat the URL or the key in the body.
        let mut secrets = vec![token.to_owned()];
        secrets.extend(integration.secrets.iter().cloned());
        match integration.source.as_str() {
            "pagerduty" => secrets.extend(pagerduty::routing_key(&request.body)),
            "statuscake" => secrets.extend(statuscake::token(&request)),
            _ => {}
        }
        let redacted = request.redacted(&secrets);
        if provider::is_one(&integration.source) {
            return super::feedback::receive(app, req, Integration::clone(integration), request, redacted)
                .await;
        }
        let proven = prove(app, integration, &request).await;
        if found.from_cache && proven.is_err() {
            found = read_integration(app, req, token).await?;
            continue;
        }
        if let Err(why) = proven {
            return Err(sns::refused(app, req, integration, why).await?);
        }
        if let Some(envelope) = subscription(integration, &request) {
            let integration = Integration::clone(integration);
            let subscription = sns::subscribe(app, req, integration, redacted, &envelope).await?;
            return Ok(HttpResponse::Accepted().json(Received {
                taken: Taken::default(),
                status: None,
                message: None,
                dedup_key: None,
                subscription: Some(subscription),
            }));
        }
        let parsed = source::parse(&integration.source, integration.mapping.as_ref(), &request);
        if found.from_cache && parsed.is_err() {
            found = read_integration(app, req, token).await?;
            continue;
        }
        let batch = match parsed {
            Ok(batch) => batch,
            Err(refusal) => {
                let error = Error::invalid(refusal.0.clone(), refusal.1.clone());
                let integration = integration.clone();
                app.db
                    .write(&actor(&integration), move |tx| {
                        intake::save_invalid(tx, &integration, &refusal, &redacted)
                    })
                    .await?;
                return Err(error.into());
            }
        };
        let dedup_key = batch.dedup_key.clone();
        let actor = actor(integration);
        match app
            .intake
            .take(integration.clone(), batch, redacted, actor)
            .await?
        {
            Answered::Changed => found = read_integration(app, req, token).await?,
            Answered::Taken(taken) => {
                return Ok(HttpResponse::Accepted().json(Received {
                    taken,
                    status: dedup_key.as_ref().map(|_| "success"),
                    message: dedup_key.as_ref().map(|_| "Event processed"),
                    dedup_key,
                    subscription: None,
                }));
            }
        }
    }
}

/// The largest age of an SNS message, in seconds. [`AHEAD`] is how far its clock may be ahead.
const SNS_AGE: i64 = 2 * 3600;
const AHEAD: i64 = 300;

/// Returns the message with which SNS asks to confirm a subscription, if the request is one.
fn subscription(integration: &Integration, request: &Request) -> Option<Envelope> {
    if !is_amazon(&integration.source) {
        return None;
    }
    let envelope: Envelope = json_repair::read(&request.body).ok()?;
    (envelope.kind == "SubscriptionConfirmation").then_some(envelope)
}

async fn prove(app: &App, integration: &Integration, request: &Request) -> Result<(), Refused> {
    let now = app.clock().now();
    let source = integration.source.as_str();
    if !is_amazon(source) {
        return integration
            .proves(|secret| signature::check(source, secret, request, now))
            .map_err(Refused::Forged);
    }
    // The ARN of a topic requires Amazon's signature. Other secrets are proven in the same way as by any
    // sender.
    let mut shown = Ok(());
    for secret in integration.secrets.iter().filter(|secret| !is_topic(secret)) {
        shown = signature::check(source, secret, request, now);
        if shown.is_ok() {
            return match subscription(integration, request) {
                // The URL must come from Amazon, because it will be requested.
                Some(envelope) => app.sns.verify(&envelope, &envelope.topic_arn).await,
                None => Ok(()),
            };
        }
    }
    let topics: Vec<&str> = integration
        .secrets
        .iter()
        .map(String::as_str)
        .filter(|secret| is_topic(secret))
        .collect();
    if topics.is_empty() {
        return shown.map_err(Refused::Forged);
    }
    for envelope in envelopes(&request.body)? {
        sns::verify(app, &envelope, &topics).await?;
        // The time is signed. SNS repeats a message for an hour.
        let sent =
            Timestamp::parse(&envelope.timestamp).map_err(|_| Refused::Forged("the message has no time"))?;
        if !(-AHEAD..=SNS_AGE).contains(&now.seconds_since(sent)) {
            return Err(Refused::Forged(
                "the time of the message is too far from the present time",
            ));
        }
    }
    Ok(())
}
