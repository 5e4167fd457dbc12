//! Measures how fast a directory is imported and an audience is computed, and compares this with the time
//! that the same database needs for the same work alone.
//!
//! `cargo bench --bench audience` imports directories of 10,000, 100,000 and 1,000,000 resources, on SQLite
//! and on PostgreSQL. It compares each import with a bulk insert of the same rows by the database itself. It
//! also computes the audience of an incident that affects a tenth of the resources, and compares this with a
//! simple recursive query in the same database. The two take turns. See `benches/README.md`.
//!
//! Two results are compared only if they contain the same number of reasons. Two measurements never run at
//! the same time.

mod bulk;
mod directory;
mod recursive;
// Each bench uses only a part of the support code.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use candor::audience;
use candor::base::id::IncidentId;
use candor::base::time::Clock;
use candor::db::Db;
use clap::{Parser, ValueEnum};
use support::candor::{Database, Imported};
use support::figures::{self, Goal, Line, Series, grouped};
use support::machine;
use support::postgres::Server;
use support::{Context, Result};

/// The program uses the same allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// If the load is higher than this, the machine is also busy with something else.
const IDLE: f64 = 0.5;

/// Measures imports and audiences, and compares them with what the database needs alone.
#[derive(Parser)]
#[command(name = "cargo bench --bench audience --")]
struct Args {
    /// The numbers of resources of the directories, which are measured one after another.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000], value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    resources: Vec<u64>,
    /// The smallest number of times that an audience is computed, in turns with the recursive query.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Measures only 2,000 and 10,000 resources, to check that the bench works. The figures have no meaning.
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
        (args.resources, args.rounds) = (vec![2_000, 10_000], 2);
    }
    args.resources.sort_unstable();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    support::run("audience", args.bench, runtime, measure(&args))
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
        let mut sizes = Vec::new();
        for resources in &args.resources {
            sizes.push(one(args, scratch, server.as_ref(), *resources).await?);
        }
        lines.extend(sizes.iter().flat_map(Measured::lines));
        lines.extend(growth(&sizes));
    }
    figures::print(&lines, !args.quick);
    Ok(())
}

/// The shortest time in which an audience is computed repeatedly. A computation that takes some milliseconds
/// is repeated many times, because the speed of the machine changes over longer periods than that.
const ENOUGH: Duration = Duration::from_secs(3);

/// The results for one directory.
struct Measured {
    kind: &'static str,
    resources: u64,
    imported: Imported,
    /// The seconds of the database's own bulk insert of the same rows.
    bulk: f64,
    audiences: Vec<Resolved>,
}

/// The results for one incident.
struct Resolved {
    what: directory::Affected,
    /// The seconds that Candor needed, one value for each round.
    ours: Series,
    /// How many times as long the recursive query took, one value for each round.
    faster: Series,
    /// The same ratio for the query alone, whose rows are counted in the database and not fetched.
    faster_than_counting: Series,
    /// The seconds that the recursive query needed, one value for each round.
    recursive: Series,
    people: usize,
    affected: usize,
}

async fn one(args: &Args, scratch: &Path, server: Option<&Server>, resources: u64) -> Result<Measured> {
    let database = Database::empty(scratch, server)?;
    let file = tempfile::NamedTempFile::new_in(scratch).context("a file")?;
    directory::write(resources, file.path())?;
    let imported = database.import(file.path())?;
    drop(file);
    println!(
        "imported  {}: {} resources, {} rows in total, in {:.1} s, memory at most {:.0} MiB",
        database.kind().name(),
        grouped(resources as f64),
        grouped(resources as f64 * directory::LINES_EACH),
        imported.seconds,
        imported.peak
    );
    let bulk = bulk::seconds(scratch, server, &database)?;
    println!("bulk      bulk insert by the database alone: {bulk:.1} s");
    // No email is sent in this bench, so the port of the mail server is not used.
    let service = database.serve(1, false)?;
    let mut incidents = Vec::new();
    for what in directory::Affected::ALL {
        let incident = service.affecting(&what.selector()).await?;
        let id: IncidentId = serde_json::from_value(incident["id"].clone()).context("the incident's id")?;
        incidents.push((what, id));
    }
    service.stop()?;
    let db = Db::open(database.url()?, Clock::system())
        .await
        .context("the database")?;
    let mut audiences = Vec::new();
    for (what, id) in incidents {
        audiences.push(resolve(&db, what, &id, args.rounds).await?);
    }
    Ok(Measured {
        kind: database.kind().name(),
        resources,
        imported,
        bulk,
        audiences,
    })
}

async fn resolve(db: &Db, what: directory::Affected, id: &IncidentId, rounds: u64) -> Result<Resolved> {
    let mut resolved = Resolved {
        what,
        ours: Series::default(),
        faster: Series::default(),
        faster_than_counting: Series::default(),
        recursive: Series::default(),
        people: 0,
        affected: 0,
    };
    let started = Instant::now();
    let mut round = 0;
    while round <= rounds || started.elapsed() < ENOUGH {
        let of = id.clone();
        let (ours, people, reasons, affected) = db
            .read(move |conn| {
                let started = Instant::now();
                let audience = audience::resolve(conn, &of)?;
                let seconds = started.elapsed().as_secs_f64();
                let reasons = audience
                    .people
                    .iter()
                    .map(|person| person.reasons.len())
                    .sum::<usize>();
                Ok((seconds, audience.people.len(), reasons, audience.counts.resources))
            })
            .await
            .context("the audience")?;
        let of = id.clone();
        let (theirs, rows, counted) = db
            .read(move |conn| recursive::seconds(conn, &of))
            .await
            .context("the recursive query")?;
        if rows != reasons {
            return Err(format!(
                "Candor found {reasons} reasons, but the recursive query returned {rows} rows"
            ));
        }
        (resolved.people, resolved.affected) = (people, affected);
        // The first round only fills the caches of both, so it is not counted.
        if round > 0 {
            resolved.ours.push(ours);
            resolved.recursive.push(theirs);
            resolved.faster.push(theirs / ours);
            resolved.faster_than_counting.push(counted / ours);
        }
        round += 1;
    }
    println!(
        "audience  {}: {} people of {} affected resources: Candor {:.0} ms, recursive query {:.0} ms",
        what.name(),
        grouped(resolved.people as f64),
        grouped(resolved.affected as f64),
        resolved.ours.median() * 1e3,
        resolved.recursive.median() * 1e3
    );
    Ok(resolved)
}

impl Measured {
    fn lines(&self) -> Vec<Line> {
        let rows = self.resources as f64 * directory::LINES_EACH;
        let name = format!("{}, {} resources", self.kind, grouped(self.resources as f64));
        let mut of_bulk = Series::default();
        of_bulk.push(self.bulk / self.imported.seconds);
        let judged = self.resources >= 1_000_000;
        let goal = |goal: Goal| judged.then_some(goal);
        let mut lines = vec![
            Line::figure(
                format!("{name}: import"),
                format!(
                    "{} rows/s, the database alone {} rows/s; memory at most {:.0} MiB",
                    grouped(rows / self.imported.seconds),
                    grouped(rows / self.bulk),
                    self.imported.peak
                ),
            )
            .against("speed of bulk insert", of_bulk, goal(Goal::ratio(0.5, 0.8))),
        ];
        for resolved in &self.audiences {
            let what = resolved.what.name();
            lines.push(
                Line::figure(
                    format!("{name}: audience, {what}"),
                    format!(
                        "{:.0} ms for {} affected resources, {} people; recursive query {:.0} ms",
                        resolved.ours.median() * 1e3,
                        grouped(resolved.affected as f64),
                        grouped(resolved.people as f64),
                        resolved.recursive.median() * 1e3
                    ),
                )
                .against(
                    "speed of the query",
                    resolved.faster.clone(),
                    goal(Goal::ratio(2.0, 4.0)),
                ),
            );
            lines.push(
                Line::figure(
                    format!("{name}: the same"),
                    "compared with a query that only counts the rows".to_owned(),
                )
                .against("speed of the query", resolved.faster_than_counting.clone(), None),
            );
        }
        lines
    }

    /// Returns the microseconds for each affected resource if one file of each account is affected: first
    /// those of Candor, then those of the recursive query.
    fn audience(&self) -> [f64; 2] {
        self.audiences.first().map_or([f64::NAN; 2], |resolved| {
            [&resolved.ours, &resolved.recursive].map(|one| one.median() * 1e6 / resolved.affected as f64)
        })
    }

    /// Returns the microseconds for each imported resource: first those of Candor, then those of the
    /// database's own insert.
    fn import(&self) -> [f64; 2] {
        [self.imported.seconds, self.bulk].map(|one| one * 1e6 / self.resources as f64)
    }
}

/// Returns how the time for each resource grows from the smallest directory to the largest. A value of 1
/// means that the total time grows linearly. The lines show Candor, and the database without Candor.
fn growth(sizes: &[Measured]) -> Vec<Line> {
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else {
        return Vec::new();
    };
    if first.resources == last.resources {
        return Vec::new();
    }
    let line = |what: &str, each: &dyn Fn(&Measured) -> f64, goal: Option<Goal>| {
        let points: Vec<String> = sizes
            .iter()
            .map(|size| format!("{}: {:.2} µs", grouped(size.resources as f64), each(size)))
            .collect();
        let mut grown = Series::default();
        grown.push(each(last) / each(first));
        Line::figure(format!("{}: {what}", last.kind), points.join(", ")).against(
            "smallest directory",
            grown,
            goal,
        )
    };
    let goal = || Some(Goal::at_most(1.2, 1.0, ""));
    vec![
        line(
            "audience, time for each affected resource",
            &|size| size.audience()[0],
            goal(),
        ),
        line(
            "recursive query, time for each affected resource",
            &|size| size.audience()[1],
            None,
        ),
        line("import, time for each resource", &|size| size.import()[0], goal()),
        line(
            "bulk insert, time for each resource",
            &|size| size.import()[1],
            None,
        ),
    ]
}
