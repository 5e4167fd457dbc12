//! How fast a directory is imported and an audience is resolved, beside what the same database does alone.
//!
//! `cargo bench --bench audience` imports directories of 10,000, 100,000 and 1,000,000 resources, on SQLite and on
//! PostgreSQL, next to the database's own bulk insert of the same rows; and resolves the audience of an incident that
//! affects a tenth of them, in turns with a plain recursive query in the same database. See `benches/README.md`.
//!
//! Must never happen here: two answers compared that are not the same, or two measurements at one time.

mod bulk;
mod directory;
mod recursive;
// What another bench uses is not used here.
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

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The load above which the machine is at something else.
const IDLE: f64 = 0.5;

/// Measures imports and audiences beside what the database does alone.
#[derive(Parser)]
#[command(name = "cargo bench --bench audience --")]
struct Args {
    /// Resources of the directories, in turn.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000], value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    resources: Vec<u64>,
    /// How many times an audience is resolved at least, in turns with the recursive query.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// 2,000 and 10,000 resources: whether the measuring works. Its figures mean nothing.
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
        println!("nothing is measured without --bench; run: cargo bench --bench audience");
        return ExitCode::SUCCESS;
    }
    if args.quick {
        (args.resources, args.rounds) = (vec![2_000, 10_000], 2);
    }
    args.resources.sort_unstable();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime
        .context("a runtime")
        .and_then(|runtime| runtime.block_on(measure(&args)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: &Args) -> Result<()> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    println!("The machine should be idle: nothing else may run while this measures.");
    if let Some(load) = machine::load().filter(|load| *load > IDLE) {
        println!("It is not: its load is {load}. Absolute figures will be too low, and ratios will vary.");
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
                    println!("beside    {}", server.origin);
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

/// How long an audience is resolved again and again at least: what takes some milliseconds is done many times, since the machine is
/// now fast and now slow for longer than that.
const ENOUGH: Duration = Duration::from_secs(3);

/// What was measured with one directory.
struct Measured {
    kind: &'static str,
    resources: u64,
    imported: Imported,
    /// Seconds of the database's own bulk insert of the same rows.
    bulk: f64,
    audiences: Vec<Resolved>,
}

/// What was measured with one incident.
struct Resolved {
    what: directory::Affected,
    /// Seconds of each resolution.
    ours: Series,
    /// How much longer the recursive query took, by round.
    faster: Series,
    /// The same against its execution alone, with nothing fetched.
    faster_than_counting: Series,
    /// Seconds of the recursive query.
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
        "imported  {}: {} resources, {} rows in all, in {:.1} s, {:.0} MiB at most",
        database.kind().name(),
        grouped(resources as f64),
        grouped(resources as f64 * directory::LINES_EACH),
        imported.seconds,
        imported.peak
    );
    let bulk = bulk::seconds(scratch, server, &database)?;
    println!("bulk      the database alone: {bulk:.1} s");
    // Mails go nowhere: nothing is sent.
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
                "{reasons} reasons of ours, {rows} rows of the recursive query"
            ));
        }
        (resolved.people, resolved.affected) = (people, affected);
        // The first time warms both up.
        if round > 0 {
            resolved.ours.push(ours);
            resolved.recursive.push(theirs);
            resolved.faster.push(theirs / ours);
            resolved.faster_than_counting.push(counted / ours);
        }
        round += 1;
    }
    println!(
        "audience  {}: {} people of {} affected resources: {:.0} ms, the recursive query {:.0} ms",
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
                    "{} rows/s, the database alone {}/s; {:.0} MiB at most",
                    grouped(rows / self.imported.seconds),
                    grouped(rows / self.bulk),
                    self.imported.peak
                ),
            )
            .against("of bulk insert", of_bulk, goal(Goal::ratio(0.5, 0.8))),
        ];
        for resolved in &self.audiences {
            let what = resolved.what.name();
            lines.push(
                Line::figure(
                    format!("{name}: audience, {what}"),
                    format!(
                        "{:.0} ms for {} affected, {} people; recursive query {:.0} ms",
                        resolved.ours.median() * 1e3,
                        grouped(resolved.affected as f64),
                        grouped(resolved.people as f64),
                        resolved.recursive.median() * 1e3
                    ),
                )
                .against(
                    "faster than it",
                    resolved.faster.clone(),
                    goal(Goal::ratio(2.0, 4.0)),
                ),
            );
            lines.push(
                Line::figure(
                    format!("{name}: the same"),
                    "the query's rows counted, not fetched".to_owned(),
                )
                .against("faster than it", resolved.faster_than_counting.clone(), None),
            );
        }
        lines
    }

    /// Microseconds for each affected resource, where they are spread: ours, and those of the recursive query.
    fn audience(&self) -> [f64; 2] {
        self.audiences.first().map_or([f64::NAN; 2], |resolved| {
            [&resolved.ours, &resolved.recursive].map(|one| one.median() * 1e6 / resolved.affected as f64)
        })
    }

    /// Microseconds for each resource that was imported: ours, and those of the database's own insert.
    fn import(&self) -> [f64; 2] {
        [self.imported.seconds, self.bulk].map(|one| one * 1e6 / self.resources as f64)
    }
}

/// How the time for each grows from the smallest directory to the largest, where 1 is linear; ours, and what the database
/// does without us.
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
            "of the smallest",
            grown,
            goal,
        )
    };
    let goal = || Some(Goal::at_most(1.2, 1.0, ""));
    vec![
        line("audience, for each affected", &|size| size.audience()[0], goal()),
        line("the recursive query, likewise", &|size| size.audience()[1], None),
        line("import, for each resource", &|size| size.import()[0], goal()),
        line(
            "the database's own insert, likewise",
            &|size| size.import()[1],
            None,
        ),
    ]
}
