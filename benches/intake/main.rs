//! Measures how fast alerts are received. When Candor answers, the alert is deduplicated, attached to its
//! incident, and on disk.
//!
//! `cargo bench --bench intake` measures Alertmanager, Candor on SQLite and Candor on PostgreSQL in turns, in
//! one run. Each receives the same alerts over the same number of connections: first alerts that it has never
//! received, then repeats of the same alerts. See `benches/README.md`.
//!
//! A rate is reported only if all of its alerts were counted afterwards. Two measurements never run at the
//! same time.

mod delay;
mod load;
// Each bench uses only a part of the support code.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::json;
use support::alertmanager::Alertmanager;
use support::candor::{Database, Kind};
use support::figures::{self, Goal, Line, Series, grouped};
use support::machine::{self, Cpu};
use support::postgres::Server;
use support::{Context, Result};

/// If the load is higher than this, the machine is also busy with something else.
const IDLE: f64 = 0.5;
const GOAL: Goal = Goal::ratio(0.5, 1.0);
const DELAY: Goal = Goal::at_most(2.0, 1.0, "");

/// Measures how fast Candor receives alerts, and compares this with Alertmanager.
#[derive(Parser)]
#[command(name = "cargo bench --bench intake --")]
struct Args {
    /// The number of alerts in each measurement. A request contains one alert.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    alerts: u32,
    /// The number of different alerts among the repeats.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    different: u32,
    /// The number of connections that are open at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// The number of alerts in each round for which the time to the email is measured.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    followed: u32,
    /// The number of rounds. Each round measures everything once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Measures only 2,000 alerts in one round, to check that the bench works. The figures have no meaning.
    #[arg(long)]
    quick: bool,
    /// The databases that are measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    on: Vec<On>,
    /// The option that `cargo bench` adds. Without it, nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The kind of database that contains the data.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// SQLite, which runs inside the process.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.quick {
        (args.alerts, args.different, args.followed, args.rounds) = (2_000, 200, 30, 1);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    support::run("intake", args.bench, runtime, measure(&args))
}

/// Returns the labels of one alert, which are the same for Alertmanager and for Candor.
fn labels(n: u32) -> serde_json::Value {
    json!({
        "alertname": "FileAccessError", "service": "media", "severity": "critical", "cluster": "eu-1",
        "instance": format!("10.0.{}.{}:9100", n / 250 % 250, n % 250), "shard": n.to_string(),
    })
}

fn annotations() -> serde_json::Value {
    json!({
        "summary": "Files cannot be read",
        "description": "GET /api/projects/savanna/media/interview: no storage handler for the scheme 's3'",
    })
}

/// Returns the body with which Prometheus posts an alert to Alertmanager.
fn theirs(n: u32) -> String {
    json!([{
        "labels": labels(n), "annotations": annotations(), "startsAt": "2024-03-14T06:50:00Z",
        "generatorURL": "https://prometheus.example/graph",
    }])
    .to_string()
}

/// Returns the body with which Alertmanager posts an alert of a group that all alerts share.
fn ours(n: u32) -> String {
    ours_of("{}:{service=\"media\"}", n)
}

/// Returns the body with which Alertmanager posts an alert that is a group of its own, so that it opens an incident.
fn ours_alone(n: u32) -> String {
    ours_of(&format!("{{}}:{{service=\"media\", number=\"{n}\"}}"), n)
}

fn ours_of(group: &str, n: u32) -> String {
    json!({
        "version": "4", "groupKey": group, "status": "firing", "receiver": "candor",
        "alerts": [{
            "status": "firing", "labels": labels(n), "annotations": annotations(), "startsAt": "2024-03-14T06:50:00Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "https://prometheus.example/graph",
            "fingerprint": format!("{n:016x}"),
        }],
    })
    .to_string()
}

/// The bodies of new alerts, and the bodies of repeats of a smaller number of alerts.
struct Bodies {
    fresh: Vec<String>,
    again: Vec<String>,
}

impl Bodies {
    fn of(args: &Args, body: fn(u32) -> String) -> Self {
        let different = args.different.min(args.alerts);
        Bodies {
            fresh: (0..args.alerts).map(body).collect(),
            again: (0..args.alerts).map(|n| body(n % different)).collect(),
        }
    }
}

/// The rates that one program reached, in alerts per second.
#[derive(Default)]
struct Rates {
    fresh: Series,
    again: Series,
}

struct Lane<'a> {
    kind: Kind,
    empty: Database<'a>,
    rates: Rates,
    fresh_ratio: Series,
    again_ratio: Series,
    /// The milliseconds from an alert to its email. Each value is the median of one round.
    delay: Series,
    delay_ratio: Series,
    notes: Vec<String>,
}

async fn measure(args: &Args) -> Result<()> {
    // This folder is in the build directory, which is usually on a disk, because the checkout is there.
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    println!("The machine should be idle. Run nothing else during the measurement.");
    if let Some(load) = machine::load().filter(|load| *load > IDLE) {
        println!("The machine is not idle: its load is {load}. Rates will be too low, and ratios will vary.");
    }
    if matches!(machine::file_system(scratch).as_deref(), Some("tmpfs" | "ramfs")) {
        println!(
            "{} is in memory, so SQLite does not wait for a disk. Set CARGO_TARGET_DIR to a folder on a disk.",
            scratch.display()
        );
    }
    for line in machine::describe(scratch)? {
        println!("{line}");
    }
    let reference = Alertmanager::find()?;
    let server = match args.on.contains(&On::Postgres) {
        true => Server::found(scratch),
        false => None,
    };
    let mut origins = vec![reference.origin.as_str()];
    origins.extend(server.as_ref().map(|server| server.origin.as_str()));
    println!("compared  with {}", origins.join("; "));
    println!(
        "load      {} alerts in each measurement, one in each request, over {} connections; {} different alerts are repeated",
        grouped(f64::from(args.alerts)),
        args.connections,
        grouped(f64::from(args.different.min(args.alerts)))
    );
    let mut lanes = Vec::new();
    let mut add = |server| -> Result<()> {
        let empty = Database::empty(scratch, server)?;
        empty.migrate()?;
        lanes.push(Lane {
            kind: empty.kind(),
            empty,
            rates: Rates::default(),
            fresh_ratio: Series::default(),
            again_ratio: Series::default(),
            delay: Series::default(),
            delay_ratio: Series::default(),
            notes: Vec::new(),
        });
        Ok(())
    };
    if args.on.contains(&On::Sqlite) {
        add(None)?;
    }
    if let Some(server) = &server {
        add(Some(server))?;
    }
    let (their_bodies, our_bodies) = (Bodies::of(args, self::theirs), Bodies::of(args, ours));
    let followed = |body: fn(u32) -> String| (0..args.followed).map(body).collect::<Vec<_>>();
    let (their_followed, our_followed) = (followed(self::theirs), followed(ours_alone));
    let mut theirs = Rates::default();
    let mut their_delay = Series::default();
    for round in 1..=args.rounds {
        let (fresh, again) = by_alertmanager(args, &reference, scratch, &their_bodies).await?;
        println!(
            "round {round}   Alertmanager: {}/s new alerts, {}/s repeats",
            grouped(fresh),
            grouped(again)
        );
        theirs.fresh.push(fresh);
        theirs.again.push(again);
        let delays = delay::of_alertmanager(&reference, scratch, &their_followed).await?;
        println!("round {round}   Alertmanager: {}", shown(&delays));
        their_delay.push(delays.within(0.5) * 1e3);
        for lane in &mut lanes {
            let (fresh, again, note) = by_candor(args, lane, scratch, &our_bodies).await?;
            println!(
                "round {round}   Candor on {}: {}/s new alerts, {}/s repeats; {note}",
                lane.kind.name(),
                grouped(fresh),
                grouped(again)
            );
            lane.rates.fresh.push(fresh);
            lane.rates.again.push(again);
            lane.fresh_ratio.push(fresh / theirs.fresh.last());
            lane.again_ratio.push(again / theirs.again.last());
            lane.notes.push(note);
            let delays = delay::of_candor(&lane.empty, scratch, &our_followed).await?;
            println!(
                "round {round}   Candor on {}: {}",
                lane.kind.name(),
                shown(&delays)
            );
            lane.delay.push(delays.within(0.5) * 1e3);
            lane.delay_ratio.push(lane.delay.last() / their_delay.last());
        }
    }
    let mut lines = vec![
        Line::rate("Alertmanager, new alerts, in memory", &theirs.fresh),
        Line::rate("Alertmanager, repeats, in memory", &theirs.again),
        Line::figure(
            "Alertmanager, from an alert to its email",
            format!("p50 {:.1} ms", their_delay.median()),
        ),
    ];
    for lane in lanes {
        let name = lane.kind.name();
        lines.push(
            Line::rate(
                format!("Candor on {name}, new alerts of one cause"),
                &lane.rates.fresh,
            )
            .against("Alertmanager", lane.fresh_ratio, Some(GOAL)),
        );
        lines.push(
            Line::rate(format!("Candor on {name}, repeats"), &lane.rates.again).against(
                "Alertmanager",
                lane.again_ratio,
                Some(GOAL),
            ),
        );
        lines.push(
            Line::figure(
                format!("Candor on {name}, from an alert to its email"),
                format!("p50 {:.1} ms", lane.delay.median()),
            )
            .against("Alertmanager", lane.delay_ratio, Some(DELAY)),
        );
        if let Some(note) = lane.notes.last() {
            lines.push(Line::figure(format!("Candor on {name}, the last round"), note));
        }
    }
    figures::print(&lines, !args.quick);
    Ok(())
}

fn shown(delays: &delay::Delays) -> String {
    format!(
        "from an alert to its email, p50 {:.1} ms, p95 {:.1} ms",
        delays.within(0.5) * 1e3,
        delays.within(0.95) * 1e3
    )
}

async fn by_alertmanager(
    args: &Args,
    program: &Alertmanager,
    scratch: &Path,
    bodies: &Bodies,
) -> Result<(f64, f64)> {
    let running = program.serve(scratch)?;
    let mut rates = Vec::new();
    for of in [&bodies.fresh, &bodies.again] {
        let loaded = load::post(running.port, "/api/v2/alerts", of, usize::from(args.connections)).await?;
        rates.push(f64::from(args.alerts) / loaded.seconds);
    }
    // The metrics of Alertmanager must contain all alerts.
    let metrics = reqwest::get(format!("http://127.0.0.1:{}/metrics", running.port))
        .await
        .context("the metrics of Alertmanager")?
        .text()
        .await
        .context("the metrics of Alertmanager")?;
    let received: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("alertmanager_alerts_received_total{status=\"firing\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    if received != f64::from(args.alerts) * 2.0 {
        return Err(format!(
            "Alertmanager counted {received} alerts, which is not the number that was posted"
        ));
    }
    Ok((rates[0], rates[1]))
}

async fn by_candor(
    args: &Args,
    lane: &Lane<'_>,
    scratch: &Path,
    bodies: &Bodies,
) -> Result<(f64, f64, String)> {
    let database = lane.empty.copy(scratch)?;
    // This measurement sends no email, so no mail server listens on this port.
    let service = database.serve(1, true)?;
    let rule = json!({
        "name": "By service", "policy": "open", "group_by": ["labels.service"],
        "matchers": [{"field": "labels.service", "matches": ".+"}],
    });
    service.post("/api/v1/alert-rules", &rule).await?;
    let integration = json!({"name": "Alertmanager", "source": "alertmanager"});
    let integration = service.post("/api/v1/integrations", &integration).await?;
    let url = integration["hook_url"]
        .as_str()
        .context("the integration has no hook URL")?;
    let path = url
        .rfind("/hooks/")
        .map(|at| &url[at..])
        .context("the hook URL has no path /hooks/")?;
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    let before = Cpu::of(service.id());
    for of in [&bodies.fresh, &bodies.again] {
        let loaded = load::post(service.port()?, path, of, usize::from(args.connections)).await?;
        rates.push(f64::from(args.alerts) / loaded.seconds);
        times.push(format!(
            "p50 {:.1} ms, p99 {:.1} ms",
            loaded.within(0.5) * 1e3,
            loaded.within(0.99) * 1e3
        ));
    }
    let cpu = Cpu::of(service.id()).each(before, u64::from(args.alerts) * 2);
    // There must be exactly one incident, and it must have counted each alert and each repeat.
    let incidents = service.get("/api/v1/incidents").await?;
    let items = incidents["items"]
        .as_array()
        .context("the answer has no list of incidents")?;
    let counted = items
        .first()
        .and_then(|incident| incident["alerts_received"].as_i64());
    if items.len() != 1 || counted != Some(i64::from(args.alerts) * 2) {
        return Err(format!(
            "there must be one incident with all alerts, but there are {} incidents, and the first counts {counted:?} alerts",
            items.len()
        ));
    }
    service.stop()?;
    database.verify()?;
    Ok((
        rates[0],
        rates[1],
        format!("answers {}; processor {cpu} for each alert", times.join(", ")),
    ))
}
