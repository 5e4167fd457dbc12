//! Requests the status page 2,000 times a second while a notice is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Bench;
use super::support::candor::Database;
use super::support::story::Shape;
use super::support::{Context, Result};

/// The number of connections.
const CONNECTIONS: u32 = 64;
/// The number of requests a second over all connections.
const RATE: u32 = 2_000;

/// What one measurement found.
pub struct Found {
    /// The emails a second while the page is requested.
    pub sent: f64,
    /// The requests a second that were answered.
    pub answered: f64,
    /// The time within which 99 of 100 requests were answered, in milliseconds. It counts from the moment at which a request was due.
    pub p99: f64,
}

/// Sends a notice while readers look at the page with a public post about the incident.
///
/// # Errors
/// The reason why a step failed, or that a request was not answered with the page.
pub async fn beside_a_notice(bench: &Bench<'_>, prepared: &Database<'_>) -> Result<Found> {
    let database = prepared.copy(bench.scratch)?;
    let service = database.serve(bench.sink.port(), true)?;
    let ready = service.ready(Shape::Own, bench.args.messages).await?;
    service
        .put(
            "/api/v1/components/uploads",
            "application/json",
            json!({"name": "Uploads"}).to_string().into_bytes(),
        )
        .await?;
    let id = ready.incident["id"].as_str().context("the incident has no ID")?;
    let post = json!({
        "status": "investigating", "message": "Some files cannot be opened.", "components": {"uploads": "partial_outage"},
        "email_subscribers": false,
    });
    service
        .post(&format!("/api/v1/incidents/{id}/posts"), &post)
        .await?;
    let readers = Readers::start(format!("{}/status", service.base()))?;
    let before = bench.sink.taken()?;
    let since = service.send(&ready).await?;
    let finished = service.finished(&ready, since, &bench.sink, before).await?;
    let (answered, p99) = readers.end().await?;
    service.stop()?;
    database.verify()?;
    Ok(Found {
        sent: bench.args.messages as f64 / finished.seconds,
        answered,
        p99,
    })
}

/// The connections that request the page. They run in a thread of their own, so that waiting for the notice does not delay them.
struct Readers {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<(f64, f64)>>,
}

impl Readers {
    fn start(url: String) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the readers")?;
        let thread = std::thread::spawn(move || runtime.block_on(read(url, told)));
        Ok(Readers { stop, thread })
    }

    async fn end(self) -> Result<(f64, f64)> {
        self.stop.store(true, Ordering::SeqCst);
        tokio::task::spawn_blocking(move || self.thread.join())
            .await
            .context("the readers")?
            .map_err(|_| "a reader panicked".to_owned())?
    }
}

/// Requests the page until told to stop. Returns the answered requests a second, and the 99th percentile in milliseconds.
async fn read(url: String, stop: Arc<AtomicBool>) -> Result<(f64, f64)> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(CONNECTIONS as usize)
        .build()
        .context("an HTTP client")?;
    let wrong = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let every = Duration::from_secs(1) * CONNECTIONS / RATE;
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..CONNECTIONS {
        let (client, url, stop, wrong) = (client.clone(), url.clone(), stop.clone(), wrong.clone());
        readers.spawn(async move {
            let mut due = begun + every * reader / CONNECTIONS;
            let mut times = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                tokio::time::sleep_until(due.into()).await;
                let right = match client.get(&url).send().await {
                    Ok(answer) => {
                        answer.status() == 200 && answer.bytes().await.is_ok_and(|page| page.len() > 1_000)
                    }
                    Err(_) => false,
                };
                wrong.fetch_add(u64::from(!right), Ordering::Relaxed);
                times.push(due.elapsed());
                due += every;
            }
            times
        });
    }
    let mut times = Vec::new();
    while let Some(of_one) = readers.join_next().await {
        times.extend(of_one.context("a reader")?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let wrong = wrong.load(Ordering::Relaxed);
    if wrong > 0 {
        return Err(format!(
            "{wrong} of {} requests were not answered with the page",
            times.len()
        ));
    }
    times.sort_unstable();
    let at = times.len() * 99 / 100;
    let p99 = times.get(at).context("no request was answered")?.as_secs_f64() * 1e3;
    Ok((times.len() as f64 / seconds, p99))
}
