//! Measures how fast a notice is sent while the customers of an earlier notice answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use candor::auth::Links;

use super::Bench;
use super::support::candor::{Database, SECRET_KEY, Service};
use super::support::story::Shape;
use super::support::{Context, Result};

/// The number of connections that answer at the same time.
const CONNECTIONS: usize = 64;

/// The rates of one measurement, per second.
pub struct Rates {
    /// The emails of a notice that was sent before, from the same database, while nobody answered.
    pub alone: f64,
    /// The emails of the notice that is sent while customers answer.
    pub sent: f64,
    /// The answers.
    pub answered: f64,
}

/// Sends a notice, and another one with which it is compared. Then it sends a notice of a third incident to the same people while each of
/// them answers the first one. Every answer must be counted in the end.
///
/// # Errors
/// The reason why a step failed, or that an answer is missing.
pub async fn beside_a_notice(bench: &Bench<'_>, prepared: &Database<'_>) -> Result<Rates> {
    let database = prepared.copy(bench.scratch)?;
    let service = database.serve(bench.sink.port(), true)?;
    let people = bench.args.messages;
    let first = service.ready(Shape::Own, people).await?;
    let before = bench.sink.taken()?;
    let since = service.send(&first).await?;
    service.finished(&first, since, &bench.sink, before).await?;
    let links = Links::new(SECRET_KEY.as_bytes().to_vec(), service.base().to_owned());
    let urls: Arc<Vec<String>> = Arc::new(
        service
            .deliveries(&first)
            .await?
            .into_iter()
            .map(|delivery| links.answers(delivery))
            .collect(),
    );
    let second = service.ready(Shape::Own, people).await?;
    let before = bench.sink.taken()?;
    let since = service.send(&second).await?;
    let alone = service.finished(&second, since, &bench.sink, before).await?;
    let third = service.ready(Shape::Own, people).await?;
    let before = bench.sink.taken()?;
    let since = service.send(&third).await?;
    let (sent, answered) = tokio::join!(
        service.finished(&third, since, &bench.sink, before),
        answer_all(&urls)
    );
    let (sent, answered) = (sent?, answered?);
    counted(&service, &first.incident, people).await?;
    service.stop()?;
    database.verify()?;
    Ok(Rates {
        alone: people as f64 / alone.seconds,
        sent: people as f64 / sent.seconds,
        answered: people as f64 / answered,
    })
}

/// Presses the button of each link once, and returns the seconds until the last answer.
async fn answer_all(urls: &Arc<Vec<String>>) -> Result<f64> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(CONNECTIONS)
        .build()
        .context("an HTTP client")?;
    let next = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicU64::new(0));
    let started = std::time::Instant::now();
    let mut customers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (client, urls, next, refused) = (client.clone(), urls.clone(), next.clone(), refused.clone());
        customers.spawn(async move {
            while let Some(url) = urls.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = client
                    .post(url)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body("answer=works&text=")
                    .send()
                    .await;
                let stored = match answer {
                    Ok(answer) => answer.status() == 200 && answer.bytes().await.is_ok(),
                    Err(_) => false,
                };
                refused.fetch_add(u64::from(!stored), Ordering::Relaxed);
            }
        });
    }
    while let Some(done) = customers.join_next().await {
        done.context("a customer")?;
    }
    match refused.load(Ordering::Relaxed) {
        0 => Ok(started.elapsed().as_secs_f64()),
        some => Err(format!("{some} answers were not accepted")),
    }
}

/// Checks that all people are counted with their answer.
async fn counted(service: &Service, incident: &serde_json::Value, people: u64) -> Result<()> {
    let id = incident["id"].as_str().context("the incident has no ID")?;
    let answers = service
        .get(&format!("/api/v1/incidents/{id}/answers?limit=1"))
        .await?;
    match &answers["counts"]["works"] {
        works if *works == people => Ok(()),
        works => Err(format!("{people} people answered, and {works} are counted")),
    }
}
