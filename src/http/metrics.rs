//! `/healthz`, `/readyz`, `/metrics`, and the counting and logging of requests.
//!
//! A label or a log line never contains a path with an ID or a token. Routes are named by their patterns.

use std::sync::atomic::Ordering;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use actix_web::middleware::Next;
use actix_web::{HttpResponse, get, web};
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use tracing::Instrument;

use super::answer::Declared;
use super::problem::{Answer, Problem};
use super::request_id::{self, RequestId};
use crate::base::error::Error;
use crate::base::time::Clock;
use crate::delivery::queue;
use crate::delivery::smtp::Relays;
use crate::directory::source::run::State;
use crate::directory::source::status::{self, SourceStatus};
use crate::feedback::stored;
use crate::http::App;

/// The methods by which requests are counted and logged. Any other is OTHER, so that a caller cannot make up metrics.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("OTHER")
}

/// Gives every request its ID and its span, counts it and logs it. This is the outermost layer, so that the span covers
/// everything that a request causes.
pub async fn observe(
    req: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let app = req.app_data::<web::Data<App>>().cloned();
    let method = known_method(req.method());
    let now = app
        .as_ref()
        .map_or_else(|| Clock::system().now(), |app| app.clock().now());
    let id = RequestId::of(req.headers(), now);
    let route = req.match_pattern().unwrap_or_else(|| "unmatched".to_owned());
    let span = tracing::info_span!("request", id = id.as_str(), method, route);
    // Only the duration is needed here, so Candor's clock is not used.
    let start = std::time::Instant::now();
    let mut result = id.clone().scope(next.call(req)).instrument(span.clone()).await;
    let (route, status) = match &result {
        Ok(response) => (
            response
                .request()
                .match_pattern()
                .unwrap_or_else(|| "unmatched".to_owned()),
            response.status().as_u16(),
        ),
        Err(error) => (
            "refused".to_owned(),
            error.as_response_error().status_code().as_u16(),
        ),
    };
    let elapsed = start.elapsed();
    if let Some(app) = app {
        let labels = [route.as_str(), method, &status.to_string()];
        app.http_stats
            .requests
            .with_label_values(&labels)
            .observe(elapsed.as_secs_f64());
    }
    if let Ok(response) = &mut result
        && let Ok(value) = HeaderValue::from_str(id.as_str())
    {
        response.headers_mut().insert(request_id::HEADER, value);
    }
    span.in_scope(|| tracing::debug!(status, micros = elapsed.as_micros() as u64, "request"));
    result
}

/// Checks that the process answers.
#[utoipa::path(tag = "Operation", security(()), responses((status = 200, description = "The process runs")))]
#[get("/healthz")]
pub async fn healthz() -> Declared {
    Declared(HttpResponse::Ok().json(serde_json::json!({"ok": true})))
}

/// Checks that the database can be read and written, and that the queue works.
#[utoipa::path(tag = "Operation", security(()), responses((status = 200, description = "Ready"), (status = 503, description = "Not ready")))]
#[get("/readyz")]
pub async fn readyz(app: web::Data<App>) -> Answer<Declared> {
    let depth = ready(&app).await?;
    let state = serde_json::json!({"ok": true, "delivers": app.delivers, "pending_deliveries": depth});
    Ok(Declared(HttpResponse::Ok().json(state)))
}

/// Checks whether the process is ready, and returns the number of pending deliveries.
///
/// # Errors
/// `Unavailable` with the reason, which may be shown to anybody.
pub(super) async fn ready(app: &App) -> Answer<i64> {
    let unreadable = &app.http_stats.unreadable;
    let depth = app.db.read(queue::reached).await.map_err(|error| {
        if unreadable.begins() {
            tracing::warn!(
                error = error.chain(),
                "not ready: the database cannot be read; the next line about it says that it can be read again"
            );
        }
        Problem::Domain(Error::Unavailable("the database is not reachable".to_owned()))
    })?;
    if unreadable.ends() {
        tracing::info!("the database can be read again");
    }
    if let Some(reason) = app.stats.trouble() {
        let detail = format!("the outcome of sent emails cannot be stored, so sending is stopped: {reason}");
        return Err(Problem::Domain(Error::Unavailable(detail)));
    }
    app.db.check_writable().await?;
    Ok(depth)
}

/// Returns the Prometheus metrics.
#[utoipa::path(tag = "Operation", security(()), responses((status = 200, description = "The Prometheus text format", content_type = "text/plain")))]
#[get("/metrics")]
pub async fn metrics(app: web::Data<App>) -> Answer<Declared> {
    let now = app.clock().now();
    let (depth, unmatched, sources) = app
        .db
        .read(move |conn| {
            Ok((
                queue::depth(conn)?,
                stored::unmatched(conn)?,
                status::directory(conn, now)?.sources,
            ))
        })
        .await?;
    let text = render(&app, depth, unmatched, &sources).map_err(Error::internal)?;
    let answer = HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4")
        .body(text);
    Ok(Declared(answer))
}

/// Adds the state of each source of the directory, by its name.
fn source_metrics(registry: &Registry, sources: &[SourceStatus]) -> Result<(), prometheus::Error> {
    type Figure = fn(&SourceStatus) -> Option<i64>;
    let figures: [(&str, &str, Figure); 5] = [
        (
            "candor_source_stale",
            "1 where the last success of a source is longer ago than is allowed, or it has never succeeded",
            |source| Some(i64::from(source.stale)),
        ),
        (
            "candor_source_age_seconds",
            "Seconds since the last success of a source; absent where there was none",
            |source| source.age_seconds,
        ),
        (
            "candor_source_sync_failed",
            "1 where the last sync of a source failed",
            |source| {
                let run = source.last_run.as_ref()?;
                Some(i64::from(run.state == State::Failed))
            },
        ),
        (
            "candor_source_sync_needs_confirmation",
            "1 where a sync of a source waits for confirmation",
            |source| Some(i64::from(source.needs_confirmation.is_some())),
        ),
        (
            "candor_source_rows_left_out",
            "Rows that the last sync of a source left out; absent where it stored nothing",
            |source| {
                let changes = source.last_run.as_ref()?.changes.as_ref()?;
                i64::try_from(changes.left_out()).ok()
            },
        ),
    ];
    for (name, help, figure) in figures {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &["source"])?;
        for source in sources {
            if let Some(value) = figure(source) {
                gauge.with_label_values(&[source.source.name.as_str()]).set(value);
            }
        }
        registry.register(Box::new(gauge))?;
    }
    Ok(())
}

/// Adds the state of each mail server, by its host and port.
fn relay_metrics(registry: &Registry, app: &App) -> Result<(), prometheus::Error> {
    let relays = app.relays.as_ref().map(Relays::standing).unwrap_or_default();
    let label = &["relay"];
    let accepted = IntCounterVec::new(
        Opts::new(
            "candor_relay_accepted_total",
            "Emails that a mail server accepted from this process",
        ),
        label,
    )?;
    let failures = IntCounterVec::new(
        Opts::new(
            "candor_relay_failures_total",
            "Attempts of this process that failed because of the mail server and not because of a recipient",
        ),
        label,
    )?;
    let open = IntGaugeVec::new(
        Opts::new(
            "candor_relay_passed_over",
            "1 where a mail server gets no emails from this process, because too many attempts failed and the other one takes them",
        ),
        label,
    )?;
    for relay in &relays {
        let name = &[relay.address.as_str()];
        accepted.with_label_values(name).inc_by(relay.accepted);
        failures.with_label_values(name).inc_by(relay.failures);
        open.with_label_values(name)
            .set(i64::from(relay.passed_over.is_some()));
    }
    registry.register(Box::new(accepted))?;
    registry.register(Box::new(failures))?;
    registry.register(Box::new(open))
}

fn render(
    app: &App,
    depth: i64,
    unmatched: i64,
    sources: &[SourceStatus],
) -> Result<Vec<u8>, prometheus::Error> {
    let registry = Registry::new();
    source_metrics(&registry, sources)?;
    registry.register(Box::new(app.http_stats.requests.clone()))?;
    registry.register(Box::new(app.feedback_stats.reports.clone()))?;
    for metric in app.work_stats.collectors() {
        registry.register(metric)?;
    }
    registry.register(Box::new(app.refusals.total().clone()))?;
    for (name, help, value) in [
        (
            "candor_deliveries_pending",
            "Deliveries that wait or are being sent",
            depth,
        ),
        (
            "candor_feedback_unmatched",
            "Stored delivery reports for which no delivery was found",
            unmatched,
        ),
        (
            "candor_intake_waiting",
            "Bodies of alerts that wait to be stored, in this process",
            i64::try_from(app.intake.waiting()).unwrap_or(i64::MAX),
        ),
        (
            "candor_intake_writing",
            "Bodies of alerts in the transaction that is being written, in this process",
            i64::try_from(app.intake.writing()).unwrap_or(i64::MAX),
        ),
    ] {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(value);
        registry.register(Box::new(gauge))?;
    }
    let refused = IntCounter::new(
        "candor_intake_refused_total",
        "Bodies of alerts that were answered with 503 as too many waited, by this process",
    )?;
    refused.inc_by(app.intake.refused());
    registry.register(Box::new(refused))?;
    for (name, help, counter) in [
        (
            "candor_attempts_sent_total",
            "Attempts that were accepted, by this process",
            &app.stats.sent,
        ),
        (
            "candor_attempts_retried_total",
            "Attempts to be repeated, by this process",
            &app.stats.retried,
        ),
        (
            "candor_attempts_ambiguous_total",
            "Attempts whose connection was lost between the last byte and the reply, by this process",
            &app.stats.ambiguous,
        ),
        (
            "candor_attempts_failed_total",
            "Attempts that failed permanently, by this process",
            &app.stats.failed,
        ),
    ] {
        let metric = IntCounter::new(name, help)?;
        metric.inc_by(counter.load(Ordering::Relaxed));
        registry.register(Box::new(metric))?;
    }
    relay_metrics(&registry, app)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}
