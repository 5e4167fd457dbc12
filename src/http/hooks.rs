//! The hooks that receive alerts. The secret is in the URL. Unknown fields are allowed, because the sender
//! decides about them.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse, get, options, post, put, web};
use serde::Serialize;
use std::sync::Arc;

use super::answer::Declared;
use super::edge::is_head;
use super::extract::{MAX_HOOK, read_body};
use super::hook_refusal::actor;
use super::problem::{Answer, Problem};
use super::refusals::RefusalKind;
use super::sns;
use crate::alert::intake::{self, Taken};
use crate::alert::integration::{self, Integration};
use crate::alert::sender;
use crate::alert::source::{self, Request, Source, pagerduty};
use crate::base::error::Error;
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
    let integration = integration_of(&app, &req, &token).await?;
    if integration.source != pagerduty::NAME {
        return Err(app
            .refusals
            .refuse(&req, RefusalKind::Token, app.clock().now(), unknown()));
    }
    take(&app, &req, (integration, Read::Now), &token, request)
        .await
        .map(Declared)
}

/// Answers a CloudEvents sender that asks for permission before it sends.
#[options("/hooks/{token}")]
pub async fn may_send(
    app: web::Data<App>,
    req: HttpRequest,
    token: web::Path<String>,
) -> Answer<HttpResponse> {
    let integration = integration_of(&app, &req, &token).await?;
    let mut answer = HttpResponse::Ok();
    answer.insert_header(("allow", methods(&integration)));
    let asks_first = source::named(&integration.source).is_some_and(|source| source.asks_first);
    let origin = req.headers().get("webhook-request-origin");
    if let Some(origin) = origin.filter(|_| asks_first) {
        answer.insert_header(("webhook-allowed-origin", origin.clone()));
        answer.insert_header(("webhook-allowed-rate", "*"));
    }
    Ok(answer.finish())
}

/// When an integration was read from the database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    /// The integration was read from the database for this request.
    Now,
    /// For an earlier request. It may have been changed since.
    Before,
}

/// Reads the integration of a token from the database, and keeps it for the next requests.
async fn integration_of(app: &App, req: &HttpRequest, token: &str) -> Answer<Arc<Integration>> {
    app.used_integrations.remove(token);
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
    if source::named(&integration.source).is_some_and(|source| !source.signed_by_amazon) {
        app.used_integrations.put(token, &integration);
    }
    Ok(integration)
}

/// Returns the methods that the hook of an integration accepts.
fn methods(integration: &Integration) -> &'static str {
    source::named(&integration.source).map_or("POST, PUT", Source::methods)
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
    // A request without a body only asks whether the hook exists, so the database answers.
    let used = match is_head(req) {
        true => None,
        false => app.used_integrations.get(&token),
    };
    let (integration, read_at) = match used {
        Some(integration) => (integration, Read::Before),
        None => (integration_of(app, req, &token).await?, Read::Now),
    };
    let by_get = source::named(&integration.source).is_some_and(|source| source.by_get);
    if req.method() == "GET" && !by_get {
        return Err(Problem::NoSuchMethod(methods(&integration).into()));
    }
    if is_head(req) {
        // A monitor checks whether the URL exists. It sends no alert.
        return Ok(HttpResponse::Ok().finish());
    }
    let request = read(req, payload).await?;
    take(app, req, (integration, read_at), &token, request).await
}

/// Proves who sent a request, parses it and stores it. An integration that was read for an earlier request refuses nothing: it
/// is read again. It accepts nothing either, because the transaction that stores the request compares its version.
async fn take(
    app: &App,
    req: &HttpRequest,
    (mut integration, mut read_at): (Arc<Integration>, Read),
    token: &str,
    request: Request,
) -> Answer<HttpResponse> {
    loop {
        let Some(source) = source::named(&integration.source) else {
            let redacted = request.redacted(&secrets(token, &integration, None));
            let integration = Arc::unwrap_or_clone(integration);
            return super::feedback::receive(app, req, integration, request, redacted).await;
        };
        // Some senders repeat the URL or the key in the body.
        let redacted = request.redacted(&secrets(token, &integration, (source.key)(&request)));
        let now = app.clock().now();
        if let Err(why) = sender::authenticate(&integration, source, &request, &app.sns, now).await {
            if read_at == Read::Before {
                (integration, read_at) = (integration_of(app, req, token).await?, Read::Now);
                continue;
            }
            return Err(sns::refused(app, req, &integration, why).await?);
        }
        if let Some(envelope) = sender::subscription(source, &request) {
            let integration = Arc::unwrap_or_clone(integration);
            let subscription = sns::subscribe(app, req, integration, redacted, &envelope).await?;
            return Ok(HttpResponse::Accepted().json(Received {
                taken: Taken::default(),
                status: None,
                message: None,
                dedup_key: None,
                subscription: Some(subscription),
            }));
        }
        let actor = actor(&integration);
        let batch = match source::parse(source.name, integration.mapping.as_ref(), &request) {
            Ok(batch) => batch,
            Err(_) if read_at == Read::Before => {
                (integration, read_at) = (integration_of(app, req, token).await?, Read::Now);
                continue;
            }
            Err(refusal) => {
                let error = Error::invalid(refusal.0.clone(), refusal.1.clone());
                app.db
                    .write(&actor, move |tx| {
                        intake::save_invalid(tx, &integration, &refusal, &redacted)
                    })
                    .await?;
                return Err(error.into());
            }
        };
        let dedup_key = batch.dedup_key.clone();
        match app.intake.take(integration, batch, redacted, actor).await? {
            // The integration was changed after it was read, so the request is checked again.
            None => (integration, read_at) = (integration_of(app, req, token).await?, Read::Now),
            Some(taken) => {
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

/// Returns what must not be stored of a request.
fn secrets(token: &str, integration: &Integration, key: Option<String>) -> Vec<String> {
    let mut secrets = vec![token.to_owned()];
    secrets.extend(integration.secrets.iter().cloned());
    secrets.extend(key);
    secrets
}
