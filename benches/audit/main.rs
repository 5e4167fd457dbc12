//! Measures how fast the audit trail is verified, and how long a checkpoint takes, with 1,000,000 events.
//!
//! `cargo bench --bench audit` writes the events through the library itself, as every change does. See `benches/README.md`.

// Each bench uses only a part of the support code.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use candor::audit::{self, Action, Actor, Event, checkpoint, proof, tiles};
use candor::base::time::Clock;
use candor::db::Db;
use clap::{Parser, ValueEnum};
use serde_json::json;
use support::candor::Database;
use support::figures::{self, Goal, Line, Series, grouped};
use support::machine;
use support::postgres::Server;
use support::{Context, Result};

// The program has the same allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many events per second a verification must reach.
const WANTED: f64 = 500_000.0;
/// How many times of this it must reach.
const GOAL: Goal = Goal::ratio(1.0, 1.2);
/// How long a checkpoint may take, in milliseconds.
const LIMIT: f64 = 10.0;
/// The number of events that one transaction writes.
const STEP: i64 = 10_000;

/// Measures the verification and the checkpoints of a long audit trail.
#[derive(Parser)]
#[command(name = "cargo bench --bench audit --")]
struct Args {
    /// The number of events.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(1_000..=100_000_000))]
    events: i64,
    /// The number of verifications.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Makes only 20,000 events, to check that the bench works. The figures have no meaning.
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
        (args.events, args.rounds) = (20_000, 2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    support::run("audit", args.bench, runtime, measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for line in machine::describe(scratch)? {
        println!("{line}");
    }
    let server = match args.on.contains(&On::Postgres) {
        true => Server::found(scratch),
        false => None,
    };
    let mut lines = Vec::new();
    if args.on.contains(&On::Sqlite) {
        lines.extend(on(args, Database::empty(scratch, None)?).await?);
    }
    if let Some(server) = &server {
        lines.extend(on(args, Database::empty(scratch, Some(server))?).await?);
    }
    figures::print(&lines, !args.quick);
    Ok(())
}

/// Writes events as a timeline has them, with a state before and after.
async fn write(db: &Db, events: i64) -> Result<()> {
    let actor = Actor::system("bench");
    let mut written = 0;
    while written < events {
        let (first, last) = (written, events.min(written + STEP));
        db.write(&actor, move |tx| {
            for number in first..last {
                let state = |status: &str| {
                    json!({"status": status, "severity": "major", "title": format!("Files cannot be opened, {number}"), "affected": number % 977})
                };
                tx.record(
                    Event::new(Action::IncidentStatus, "incident", format!("0192f3a1-7c1e-7a55-9d2b-{number:012}"))
                        .before(state("investigating"))
                        .after(state("identified")),
                );
            }
            Ok(())
        })
        .await
        .context("writing events")?;
        written = last;
    }
    Ok(())
}

/// Measures one database.
async fn on(args: &Args, database: Database<'_>) -> Result<Vec<Line>> {
    let kind = database.kind().name();
    database.migrate()?;
    let db = Db::open(database.url()?, Clock::system())
        .await
        .context("the database")?;
    let began = Instant::now();
    write(&db, args.events).await?;
    println!(
        "written   {kind}: {} events in {:.1} s",
        grouped(args.events as f64),
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    tiles::catch_up(&db).await.context("tiles")?;
    let stored = began.elapsed().as_secs_f64();
    let mut rates = Series::default();
    for _ in 0..args.rounds {
        let began = Instant::now();
        let verified = audit::verify_with(&db, None, Vec::new())
            .await
            .context("a verification")?
            .verification;
        if !verified.ok {
            return Err(format!("the trail is not intact: {verified:?}"));
        }
        rates.push(verified.events as f64 / began.elapsed().as_secs_f64());
    }
    let size = args.events;
    let (whole, one) = db
        .read(move |conn| {
            let mut times = (Vec::new(), Vec::new());
            for round in 0..100 {
                let began = Instant::now();
                checkpoint::current(conn, "bench.example.com")?;
                times.0.push(began.elapsed().as_secs_f64() * 1e3);
                let began = Instant::now();
                proof::inclusion(conn, 1 + round * (size / 100), size)?;
                times.1.push(began.elapsed().as_secs_f64() * 1e3);
            }
            Ok(times)
        })
        .await
        .context("checkpoints")?;
    let shown = |times: &[f64]| {
        let most = times.iter().copied().fold(0.0, f64::max);
        let late = if most > LIMIT { " LATE" } else { "" };
        format!(
            "{:.2} ms, at most {most:.2} ms{late}",
            times.iter().sum::<f64>() / times.len() as f64
        )
    };
    let mut against = Series::default();
    against.push(rates.median() / WANTED);
    Ok(vec![
        Line::rate(format!("verify on {kind}"), &rates).against("500,000/s", against, Some(GOAL)),
        Line::figure(format!("a checkpoint on {kind}"), shown(&whole)),
        Line::figure(format!("a proof of inclusion on {kind}"), shown(&one)),
        Line::figure(format!("all tiles on {kind}"), format!("{stored:.1} s")),
    ])
}
