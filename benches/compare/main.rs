//! Measures how fast two listings are imported and compared, and compares this with the `sqlite3` shell, with PostgreSQL's
//! `COPY` and a join, and with DuckDB, on the same files.
//!
//! `cargo bench --bench compare` compares listings of 1,000,000 rows on SQLite and on PostgreSQL, in turns with the others. It also measures
//! the memory with 1,000,000 and with 5,000,000 rows. See `benches/README.md`.
//!
//! A time counts only if the program has found the same differences as the others. Two measurements never run at the same time.

mod listings;
mod others;
// Each bench uses only a part of the support code.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use listings::Found;
use others::Duck;
use serde_json::json;
use support::candor::Database;
use support::figures::{self, Goal, Line, Series, grouped};
use support::machine;
use support::postgres::Server;
use support::{Context, Result};

/// The program uses the same allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// If the load is higher than this, the machine is also busy with something else.
const IDLE: f64 = 0.5;

/// Measures comparisons of listings, and compares them with other programs.
#[derive(Parser)]
#[command(name = "cargo bench --bench compare --")]
struct Args {
    /// The number of rows of the listings that are compared in turns.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    rows: u64,
    /// The number of rows with which the growth of the memory and of the time is measured. 0 leaves it out.
    #[arg(long, default_value_t = 5_000_000)]
    many: u64,
    /// The number of rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Compares only 20,000 rows once, to check that the bench works. The figures have no meaning.
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
        (args.rows, args.many, args.rounds) = (20_000, 50_000, 1);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    support::run("compare", args.bench, runtime, measure(&args))
}

/// Two listings on disk, and what is different in them.
struct Files {
    _folder: tempfile::TempDir,
    expected: PathBuf,
    observed: PathBuf,
    rows: u64,
    found: Found,
}

impl Files {
    fn write(scratch: &Path, rows: u64) -> Result<Self> {
        let folder = tempfile::tempdir_in(scratch).context("a folder")?;
        let (expected, observed) = (
            folder.path().join("expected.tsv"),
            folder.path().join("observed.tsv"),
        );
        let found = listings::write(rows, &expected, &observed)?;
        Ok(Files {
            _folder: folder,
            expected,
            observed,
            rows,
            found,
        })
    }
}

/// The seconds of each part, and the memory of the process at most, in MiB.
#[derive(Clone, Copy, Debug)]
struct Ours {
    upload: f64,
    run: f64,
    peak: f64,
}

impl Ours {
    fn seconds(self) -> f64 {
        self.upload + self.run
    }
}

/// Uploads both listings and compares them, in a new database.
async fn ours(scratch: &Path, server: Option<&Server>, files: &Files) -> Result<Ours> {
    let database = Database::empty(scratch, server)?;
    database.migrate()?;
    let service = database.serve(1, true)?;
    service
        .put("/api/v1/resources/file/one", "application/json", b"{}".to_vec())
        .await?;
    let incident = service
        .post(
            "/api/v1/incidents",
            &json!({"title": "Empty files", "severity": "major"}),
        )
        .await?;
    let body = json!({
        "name": "Stored files", "resource": {"type": "file", "id": "identifier"}, "key": "identifier", "compare": ["size"],
        "expected": {"format": "tsv", "columns": ["identifier", "uuid", "size", "gone", "created_at", "updated_at"],
                     "gone": {"column": "gone", "values": ["true"]}, "written_at": "created_at"},
        "observed": {"format": "tsv", "columns": ["identifier", "size"]},
    });
    let id = |value: &serde_json::Value| value["id"].as_str().map(str::to_owned).context("an id");
    let made = service
        .post(
            &format!("/api/v1/incidents/{}/comparisons", id(&incident)?),
            &body,
        )
        .await?;
    let path = format!("/api/v1/comparisons/{}", id(&made)?);
    let mut upload = 0.0;
    for (side, file) in [("expected", &files.expected), ("observed", &files.observed)] {
        // The file is read before, as the other programs find it in the cache of the machine.
        let bytes = std::fs::read(file).context(file.display())?;
        let started = Instant::now();
        service
            .put(&format!("{path}/{side}"), "text/tab-separated-values", bytes)
            .await?;
        upload += started.elapsed().as_secs_f64();
    }
    let started = Instant::now();
    let mut shown = service.post(&format!("{path}/run"), &json!({})).await?;
    while shown["state"] == "running" {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        shown = service.get(&path).await?;
    }
    let run = started.elapsed().as_secs_f64();
    let counts = &shown["counts"];
    let of = |kind: &str| counts[kind].as_u64().unwrap_or_default();
    let found = Found {
        equal: of("equal"),
        missing: of("missing"),
        differs: of("differs"),
        unexpected: of("unexpected"),
    };
    if found != files.found {
        return Err(format!(
            "Candor found {found:?}, but the listings differ in {:?}",
            files.found
        ));
    }
    let peak = service.peak()?;
    service.stop()?;
    Ok(Ours { upload, run, peak })
}

async fn measure(args: &Args) -> Result<()> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    println!("The machine should be idle. Run nothing else during the measurement.");
    if let Some(load) = machine::load().filter(|load| *load > IDLE) {
        println!("The machine is not idle: its load is {load}. Rates will be too low, and ratios will vary.");
    }
    for line in machine::describe(scratch)? {
        println!("{line}");
    }
    let duck = match Duck::find(scratch) {
        Ok(duck) => {
            println!("compared  with DuckDB {}", duck.version);
            Some(duck)
        }
        Err(reason) => {
            println!("left out  DuckDB: {reason}");
            None
        }
    };
    let files = Files::write(scratch, args.rows)?;
    let many = (args.many > 0)
        .then(|| Files::write(scratch, args.many))
        .transpose()?;
    let mut lines = Vec::new();
    for on in &args.on {
        let server = match on {
            On::Sqlite => None,
            On::Postgres => match Server::find(scratch) {
                Ok(server) => {
                    println!("compared  with {}", server.origin);
                    Some(server)
                }
                Err(reason) => {
                    println!("left out  PostgreSQL's rows: {reason}");
                    continue;
                }
            },
        };
        lines.extend(
            one(
                args,
                scratch,
                server.as_ref(),
                &files,
                many.as_ref(),
                duck.as_ref(),
            )
            .await?,
        );
    }
    figures::print(&lines, !args.quick);
    Ok(())
}

async fn one(
    args: &Args,
    scratch: &Path,
    server: Option<&Server>,
    files: &Files,
    many: Option<&Files>,
    duck: Option<&Duck>,
) -> Result<Vec<Line>> {
    let (name, other) = match server {
        None => ("SQLite", "speed of the sqlite3 shell"),
        Some(_) => ("PostgreSQL", "speed of COPY and a join"),
    };
    let (mut total, mut against, mut against_duck) =
        (Series::default(), Series::default(), Series::default());
    let (mut uploads, mut runs, mut peaks) = (Series::default(), Series::default(), Series::default());
    for round in 0..args.rounds {
        let ours = ours(scratch, server, files).await?;
        let theirs = match server {
            None => others::sqlite(scratch, &files.expected, &files.observed, files.found)?,
            Some(server) => others::postgres(server, &files.expected, &files.observed, files.found)?,
        };
        let ducks = duck
            .map(|duck| duck.seconds(scratch, &files.expected, &files.observed, files.found))
            .transpose()?;
        println!(
            "round {}   {name}: Candor {:.2} s (upload {:.2} s, run {:.2} s), memory at most {:.0} MiB; the database alone {theirs:.2} s; DuckDB {:.2} s",
            round + 1,
            ours.seconds(),
            ours.upload,
            ours.run,
            ours.peak,
            ducks.unwrap_or(f64::NAN)
        );
        total.push(ours.seconds());
        uploads.push(ours.upload);
        runs.push(ours.run);
        peaks.push(ours.peak);
        against.push(theirs / ours.seconds());
        if let Some(ducks) = ducks {
            against_duck.push(ducks / ours.seconds());
        }
    }
    let rows = grouped(files.rows as f64);
    let goal = match server {
        None => Goal::ratio(1.0, 2.0),
        Some(_) => Goal::ratio(0.7, 1.0),
    };
    let mut lines = vec![
        Line::figure(
            format!("{name}: 2 × {rows} rows"),
            format!(
                "{:.2} s: upload {:.2} s, run {:.2} s",
                total.median(),
                uploads.median(),
                runs.median()
            ),
        )
        .against(other, against, Some(goal)),
    ];
    if duck.is_some() {
        lines.push(
            Line::figure(format!("{name}: the same"), "compared with DuckDB".to_owned()).against(
                "speed of DuckDB",
                against_duck,
                Some(Goal::ratio(0.2, 1.0 / 3.0)),
            ),
        );
    }
    let memory = |peaks: Series| ("memory", peaks, Some(Goal::at_most(150.0, 100.0, " MiB")));
    let (what, series, goal) = memory(peaks);
    lines.push(
        Line::figure(format!("{name}: memory with 2 × {rows} rows"), String::new())
            .against(what, series, goal),
    );
    if let Some(many) = many {
        let ours = ours(scratch, server, many).await?;
        let each = |seconds: f64, files: &Files| seconds * 1e6 / files.rows as f64;
        let mut growth = Series::default();
        growth.push(each(ours.seconds(), many) / each(total.median(), files));
        let mut peak = Series::default();
        peak.push(ours.peak);
        let rows = grouped(many.rows as f64);
        let (what, series, goal) = memory(peak);
        lines.push(
            Line::figure(format!("{name}: memory with 2 × {rows} rows"), String::new())
                .against(what, series, goal),
        );
        lines.push(
            Line::figure(
                format!("{name}: 2 × {rows} rows"),
                format!(
                    "{:.2} s: upload {:.2} s, run {:.2} s",
                    ours.seconds(),
                    ours.upload,
                    ours.run
                ),
            )
            .against("time for each row", growth, Some(Goal::at_most(1.5, 1.2, ""))),
        );
    }
    Ok(lines)
}
