//! How fast alerts come in: deduplicated, attached to their incident, and on disk when they are answered.
//!
//! `cargo bench --bench intake` runs, in one go and in turns, Alertmanager, Candor on SQLite and Candor on PostgreSQL. Each
//! gets the same alerts over the same connections: first alerts that it has never seen, then the same ones again. See
//! `benches/README.md`.
//!
//! Must never happen here: a rate whose alerts were not all found afterwards, or two measurements at one time.

mod delay;
mod load;
// Each bench uses a part of it.
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

/// The load above which the machine is at something else.
const IDLE: f64 = 0.5;
const GOAL: Goal = Goal::ratio(0.5, 1.0);
const DELAY: Goal = Goal::at_most(2.0, 1.0, "");

/// Measures how fast Candor takes alerts in, beside Alertmanager.
#[derive(Parser)]
#[command(name = "cargo bench --bench intake --")]
struct Args {
    /// Alerts in each measurement, one in a request.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    alerts: u32,
    /// Different alerts among those that come again.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    different: u32,
    /// Connections at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// Alerts of which each is followed until its mail is there, in each round.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    followed: u32,
    /// How many times everything is measured, in turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// 2,000 alerts, once: whether the measuring works. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Databases.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    on: Vec<On>,
    /// What cargo adds when it measures.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Where the data are.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// Embedded.
    Sqlite,
    /// A server.
    Postgres,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if !args.bench {
        // `cargo test --benches` ends here: a test is not the time to load the machine.
        println!("nothing is measured without --bench; run: cargo bench --bench intake");
        return ExitCode::SUCCESS;
    }
    if args.quick {
        (args.alerts, args.different, args.followed, args.rounds) = (2_000, 200, 30, 1);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .context("a runtime")
        .and_then(|runtime| runtime.block_on(measure(&args)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The labels and the rest of one alert, the same for both sides.
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

/// As Prometheus posts it to Alertmanager.
fn theirs(n: u32) -> String {
    json!([{
        "labels": labels(n), "annotations": annotations(), "startsAt": "2024-03-14T06:50:00Z",
        "generatorURL": "https://prometheus.example/graph",
    }])
    .to_string()
}

/// As Alertmanager posts it on.
fn ours(n: u32) -> String {
    json!({
        "version": "4", "groupKey": "{}:{service=\"media\"}", "status": "firing", "receiver": "candor",
        "alerts": [{
            "status": "firing", "labels": labels(n), "annotations": annotations(), "startsAt": "2024-03-14T06:50:00Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "https://prometheus.example/graph",
            "fingerprint": format!("{n:016x}"),
        }],
    })
    .to_string()
}

/// Alerts that were never seen, and then a few of them again and again.
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

/// What one side did.
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
    /// Milliseconds from an alert to its mail, in the middle of a round.
    delay: Series,
    delay_ratio: Series,
    notes: Vec<String>,
}

async fn measure(args: &Args) -> Result<()> {
    // In the build directory, which is on a disk where a checkout is.
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    println!("The machine should be idle: nothing else may run while this measures.");
    if let Some(load) = machine::load().filter(|load| *load > IDLE) {
        println!("It is not: its load is {load}. Absolute figures will be too low, and ratios will vary.");
    }
    if matches!(machine::file_system(scratch).as_deref(), Some("tmpfs" | "ramfs")) {
        println!(
            "{} is in memory, so SQLite need not wait for a disk: set CARGO_TARGET_DIR.",
            scratch.display()
        );
    }
    for line in machine::describe(scratch)? {
        println!("{line}");
    }
    let reference = Alertmanager::find()?;
    let server = match args.on.contains(&On::Postgres) {
        true => Server::find(scratch)
            .inspect_err(|reason| println!("left out  PostgreSQL's rows: {reason}"))
            .ok(),
        false => None,
    };
    let mut origins = vec![reference.origin.as_str()];
    origins.extend(server.as_ref().map(|server| server.origin.as_str()));
    println!("beside    {}", origins.join("; "));
    println!(
        "load      {} alerts a measurement, one in a request, over {} connections; {} different ones come again",
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
    let (their_followed, our_followed) = (followed(self::theirs), followed(ours));
    let mut theirs = Rates::default();
    let mut their_delay = Series::default();
    for round in 1..=args.rounds {
        let (fresh, again) = by_alertmanager(args, &reference, scratch, &their_bodies).await?;
        println!(
            "round {round}   Alertmanager: {}/s new, {}/s again",
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
                "round {round}   Candor on {}: {}/s new, {}/s again; {note}",
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
        Line::rate("Alertmanager, the same again", &theirs.again),
        Line::figure(
            "Alertmanager, an alert to its mail",
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
            Line::rate(format!("Candor on {name}, the same again"), &lane.rates.again).against(
                "Alertmanager",
                lane.again_ratio,
                Some(GOAL),
            ),
        );
        lines.push(
            Line::figure(
                format!("Candor on {name}, an alert to its mail"),
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
        "an alert to its mail, p50 {:.1} p95 {:.1} ms",
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
    // It must have counted all of them.
    let metrics = reqwest::get(format!("http://127.0.0.1:{}/metrics", running.port))
        .await
        .context("its metrics")?
        .text()
        .await
        .context("its metrics")?;
    let received: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("alertmanager_alerts_received_total{status=\"firing\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    if received != f64::from(args.alerts) * 2.0 {
        return Err(format!("Alertmanager has received {received} alerts"));
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
    // No mail is sent; nobody listens there.
    let service = database.serve(1, true)?;
    let rule = json!({
        "name": "By service", "policy": "open", "group_by": ["labels.service"],
        "matchers": [{"field": "labels.service", "matches": ".+"}],
    });
    service.post("/api/v1/alert-rules", &rule).await?;
    let integration = json!({"name": "Alertmanager", "source": "alertmanager"});
    let integration = service.post("/api/v1/integrations", &integration).await?;
    let url = integration["hook_url"].as_str().context("no URL")?;
    let path = url.rfind("/hooks/").map(|at| &url[at..]).context("no path")?;
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    let before = Cpu::of(service.id());
    for of in [&bodies.fresh, &bodies.again] {
        let loaded = load::post(service.port()?, path, of, usize::from(args.connections)).await?;
        rates.push(f64::from(args.alerts) / loaded.seconds);
        times.push(format!(
            "p50 {:.1} p99 {:.1} ms",
            loaded.within(0.5) * 1e3,
            loaded.within(0.99) * 1e3
        ));
    }
    let cpu = Cpu::of(service.id()).each(before, u64::from(args.alerts) * 2);
    // One incident, which has counted each of them.
    let incidents = service.get("/api/v1/incidents").await?;
    let items = incidents["items"].as_array().context("no incidents")?;
    let counted = items.first().and_then(|incident| incident["alerts"].as_i64());
    if items.len() != 1 || counted != Some(i64::from(args.alerts) * 2) {
        return Err(format!("{} incidents, {counted:?} alerts", items.len()));
    }
    service.stop()?;
    database.verify()?;
    Ok((rates[0], rates[1], format!("{}; {cpu} each", times.join(", "))))
}
