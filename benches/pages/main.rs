//! Measures how long the admin pages take with the records of years: 100,000 incidents, 1,000,000 deliveries and 1,000,000 audit
//! events, compared with the same pages of a system with 120 incidents, whose lists fill one page. Both have twenty open incidents.
//!
//! `cargo bench --bench pages` plays one incident through the API of the release binary, and clones its rows in the database. See
//! `benches/README.md`.
//!
//! The cloned rows are for reading only: their audit chain is not intact.

mod history;
// Each bench uses only a part of the support code.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use support::Result;
use support::candor::{Database, Service};
use support::figures::{self, Goal, Line, Series, grouped};
use support::machine;
use support::postgres::Server;

/// How much longer a page may take than on the small system.
const GOAL: Goal = Goal::at_most(2.0, 1.2, "");
/// How long a page may take, in milliseconds.
const LIMIT: f64 = 50.0;
/// The number of incidents of the small system. Its lists fill one page, so a list is not slower only because it shows more rows.
const SMALL: u32 = 120;

/// Measures the admin pages with many records, and compares them with the pages of a new system.
#[derive(Parser)]
#[command(name = "cargo bench --bench pages --")]
struct Args {
    /// The number of incidents. Each has ten deliveries and ten audit events.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    incidents: u32,
    /// Makes only 1,000 incidents, to check that the bench works. The figures have no meaning.
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
        args.incidents = 1_000;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    support::run("pages", args.bench, runtime, measure(&args))
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
        let full = full_lists(Database::empty(scratch, None)?).await?;
        lines.extend(on(args, Database::empty(scratch, None)?, &full).await?);
    }
    if let Some(server) = &server {
        let full = full_lists(Database::empty(scratch, Some(server))?).await?;
        lines.extend(on(args, Database::empty(scratch, Some(server))?, &full).await?);
    }
    figures::print(&lines, !args.quick);
    Ok(())
}

/// Measures all pages of a small system whose lists fill one page.
async fn full_lists(database: Database<'_>) -> Result<Vec<f64>> {
    let told = history::play(&database).await?;
    println!(
        "cloned    {}: {}",
        database.kind().name(),
        history::clone(&database, SMALL)?
    );
    let service = database.serve(1, false)?;
    let times = views(&service, &told.pages()).await?;
    service.stop()?;
    Ok(times)
}

/// Measures all pages on one database, first with one incident, then with many. `full` are the times of the small system.
async fn on(args: &Args, database: Database<'_>, full: &[f64]) -> Result<Vec<Line>> {
    let kind = database.kind().name();
    let told = history::play(&database).await?;
    let service = database.serve(1, false)?;
    let small = views(&service, &told.pages()).await?;
    service.stop()?;
    let cloned = history::clone(&database, args.incidents)?;
    println!("cloned    {kind}: {cloned}");
    let service = database.serve(1, false)?;
    let large = views(&service, &told.pages()).await?;
    service.stop()?;
    let pages = told.pages();
    let rows = pages.iter().zip(full).zip(small.iter().zip(&large));
    Ok(rows
        .map(|((page, full), (small, large))| {
            let mut ratios = Series::default();
            ratios.push(large / full);
            let late = if *large > LIMIT { " LATE" } else { "" };
            let figure = format!("{large:.1} ms{late} ({small:.1} with one incident)");
            Line::figure(format!("{} on {kind}", told.named(page)), figure).against(
                "with 120 incidents",
                ratios,
                Some(GOAL),
            )
        })
        .collect())
}

/// Returns the milliseconds that each page takes.
async fn views(service: &Service, pages: &[String]) -> Result<Vec<f64>> {
    let cookie = service.sign_in().await?;
    let mut times = Vec::new();
    for page in pages {
        times.push(service.page(&cookie, page).await? * 1e3);
    }
    println!("viewed    {} pages", grouped(pages.len() as f64));
    Ok(times)
}
