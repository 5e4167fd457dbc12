//! Measures a notice with a large number of deliveries: the memory while it is sent, and the time of the
//! pages that show it.

use serde_json::json;

use super::support::candor::{Database, Kind, Ready};
use super::support::figures::{Goal, Line, Series, grouped, ratio};
use super::support::machine::MemoryWatch;
use super::support::postgres::Server;
use super::support::story::Shape;
use super::support::{Context, Result};
use super::{Bench, FEW, Row};

/// The number of audit events that are added. It is larger than the number that the first page of the audit
/// trail shows.
const EVENTS: usize = 120;
/// The largest growth that still counts as none. The growth is the highest memory in the second half of the
/// time, divided by the memory at one tenth of the time.
const FLAT: f64 = 1.1;

/// The results of sending one notice.
struct Told<'a> {
    database: Database<'a>,
    ready: Ready,
    /// The rate, in emails per second.
    rate: f64,
    /// The peak memory, in MiB, of the process that previewed and queued the notice.
    queueing: f64,
    /// The memory of the process that sent the notice, in MiB, ten times per second.
    sending: Vec<f64>,
}

/// Measures the wanted rows on one kind of database.
///
/// # Errors
/// The reason why a step failed, or that an email is missing.
pub async fn measure(bench: &Bench<'_>, server: Option<&Server>) -> Result<Vec<Line>> {
    let many = tell(bench, server, bench.args.many).await?;
    let mut lines = Vec::new();
    if bench.args.wants(Row::Memory) {
        lines.extend(memory(&many)?);
    }
    if bench.args.wants(Row::Pages) {
        let few = tell(bench, server, FEW).await?;
        lines.extend(pages(bench, &few, &many).await?);
    }
    Ok(lines)
}

/// Queues the notice in one process and sends it in another, so that the memory of each can be measured
/// separately.
async fn tell<'a>(bench: &Bench<'_>, server: Option<&'a Server>, people: u64) -> Result<Told<'a>> {
    let database = Database::prepared(bench.scratch, server, Shape::Own, people)?;
    let service = database.serve(bench.sink.port(), false)?;
    let ready = service.ready(Shape::Own, people).await?;
    let before = bench.sink.taken()?;
    service.send(&ready).await?;
    let queueing = service.peak()?;
    service.stop()?;
    let service = database.serve(bench.sink.port(), true)?;
    let since = std::time::Instant::now();
    let watch = MemoryWatch::start(service.id());
    let finished = service.finished(&ready, since, &bench.sink, before).await?;
    let sending = watch.end()?;
    service.stop()?;
    let told = Told {
        rate: people as f64 / finished.seconds,
        database,
        ready,
        queueing,
        sending,
    };
    println!(
        "sent      {}: {} emails, {}/s",
        told.database.kind().name(),
        grouped(people as f64),
        grouped(told.rate)
    );
    Ok(told)
}

fn memory(told: &Told<'_>) -> Result<Vec<Line>> {
    let kind = told.database.kind().name();
    let many = grouped(told.ready.recipients as f64);
    let most = |samples: &[f64]| samples.iter().copied().fold(0.0, f64::max);
    let tenth = told.sending[told.sending.len() / 10];
    let later = most(&told.sending[told.sending.len() / 2..]);
    let mut peak = Series::default();
    peak.push(most(&told.sending));
    let growth = later / tenth;
    let mut rate = Series::default();
    rate.push(told.rate);
    Ok(vec![
        Line::rate(format!("{kind}: {many} emails"), &rate),
        Line::figure(
            format!("{kind}: memory while sending them"),
            format!(
                "{} MiB after one tenth of the time, at most {} MiB in the second half",
                ratio(tenth),
                ratio(later)
            ),
        )
        .against("peak in MiB", peak, Some(Goal::at_most(150.0, 80.0, " MB"))),
        Line::figure(
            format!("{kind}: growth of the memory while sending them"),
            if growth <= FLAT {
                "none".to_owned()
            } else {
                format!("TOO MUCH: {} ×", ratio(growth))
            },
        ),
        Line::figure(
            format!("{kind}: memory to preview and queue them"),
            format!("at most {} MiB", ratio(told.queueing)),
        ),
    ])
}

/// Compares the time of the same pages with few and with many deliveries.
async fn pages(bench: &Bench<'_>, few: &Told<'_>, many: &Told<'_>) -> Result<Vec<Line>> {
    let kind = many.database.kind();
    let few_times = views(bench, few).await?;
    let many_times = views(bench, many).await?;
    let line = |(name, few): &(&str, f64), (_, many): &(&str, f64)| {
        let mut ratios = Series::default();
        ratios.push(many / few);
        Line::figure(
            format!("{}: {name}", Kind::name(kind)),
            format!(
                "{:.1} ms, with 1,000 deliveries {:.1} ms",
                many * 1000.0,
                few * 1000.0
            ),
        )
        .against("with 1,000 deliveries", ratios, Some(Goal::at_most(2.0, 1.2, "")))
    };
    Ok(few_times
        .iter()
        .zip(&many_times)
        .map(|(few, many)| line(few, many))
        .collect())
}

/// Returns the seconds that each page takes.
async fn views(bench: &Bench<'_>, told: &Told<'_>) -> Result<Vec<(&'static str, f64)>> {
    let service = told.database.serve(bench.sink.port(), true)?;
    // With these events, the first page of the audit trail has the same number of events with few deliveries
    // as with many.
    for number in 0..EVENTS {
        let token = json!({"name": format!("reader {number}"), "role": "viewer"});
        service.post("/api/v1/tokens", &token).await?;
    }
    let cookie = service.sign_in().await?;
    let number = told.ready.incident["number"]
        .as_i64()
        .context("an incident without a number")?;
    let notice = &told.ready.notice;
    let mut times = Vec::new();
    for (name, path) in [
        ("page of all incidents", "/admin".to_owned()),
        ("page of the incident", format!("/admin/incidents/{number}")),
        ("page of the notice", format!("/admin/notices/{notice}")),
        (
            "page of the accepted emails",
            format!("/admin/notices/{notice}?state=sent"),
        ),
        ("page of the audit trail", "/admin/audit".to_owned()),
    ] {
        times.push((name, service.page(&cookie, &path).await?));
    }
    service.stop()?;
    Ok(times)
}
