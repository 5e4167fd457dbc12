//! How fast notices go out, how much memory that takes, and how the pages bear what is behind them.
//!
//! `cargo bench --bench send` runs, in one go and on one sink, smtp-source, Candor on SQLite, Candor on PostgreSQL and
//! nodemailer, in turns, and prints the ratios with their spread. See `benches/README.md`.
//!
//! Must never happen here: a rate whose mails were not counted at both ends, or two measurements at one time.

mod many;
mod rounds;
// What another bench uses is not used here.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

use candor::demo::catcher::Catcher;
use clap::{Parser, ValueEnum};
use serde_json::Value;
use support::candor::Database;
use support::figures::{self, grouped};
use support::machine;
use support::postgres::Server;
use support::sink::Sink;
use support::story::Shape;
use support::tools::{Nodemailer, Postfix};
use support::{Context, Result};

/// People of the run that measures a mail, and of the small side of the pages.
const FEW: u64 = 1_000;
/// The load above which the machine is at something else.
const IDLE: f64 = 0.5;

/// Measures how fast Candor sends, beside smtp-source and nodemailer on the same sink.
#[derive(Parser)]
#[command(name = "cargo bench --bench send --")]
struct Args {
    /// Mails in each measurement.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    messages: u64,
    /// How many times everything is measured, in turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// 2,000 mails, once: whether the measuring works. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Also the memory that it takes to send to many.
    #[arg(long)]
    memory: bool,
    /// Also the admin's pages with many deliveries behind them.
    #[arg(long)]
    pages: bool,
    /// How many "many" are.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    many: u64,
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Row>,
    /// Databases.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    on: Vec<On>,
    /// What cargo adds when it measures.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// Everybody has resources of their own, so that each mail says something else.
    Send,
    /// All work on one project, so that mails differ in the names alone.
    Shared,
    /// The sink refuses every recipient.
    Refused,
    /// Recipients become deliveries; no mail is sent.
    Expand,
    /// Memory while sending to many.
    Memory,
    /// Pages with many deliveries behind them.
    Pages,
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
        println!("nothing is measured without --bench; run: cargo bench --bench send");
        return ExitCode::SUCCESS;
    }
    if args.quick {
        (args.messages, args.rounds, args.many) = (2_000, 1, 20_000);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("a runtime").and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                done = measure(&args) => done,
                // In order, so that processes end and databases go.
                reason = told_to_stop() => reason,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for SIGINT or SIGTERM.
async fn told_to_stop() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Err("told to stop".to_owned())
}

impl Args {
    fn wants(&self, row: Row) -> bool {
        if self.only.is_empty() {
            match row {
                Row::Memory => self.memory,
                Row::Pages => self.pages,
                _ => true,
            }
        } else {
            self.only.contains(&row)
        }
    }

    /// Whether any of these is wanted.
    fn want(&self, rows: &[Row]) -> bool {
        rows.iter().any(|row| self.wants(*row))
    }
}

/// The tools of a run, and what a mail is like.
struct Bench<'a> {
    args: &'a Args,
    scratch: &'a Path,
    postfix: Postfix,
    nodemailer: Option<Nodemailer>,
    sink: Sink,
    mail: Mail,
}

/// A mail of ours, as the others are to send it.
struct Mail {
    /// Bytes on the wire, headers included, in the middle.
    bytes: u64,
    /// Bytes that smtp-source is to be asked for, so that its mails are as long.
    payload: u64,
    /// As previewed.
    sample: Value,
}

async fn measure(args: &Args) -> Result<()> {
    // In the build directory, which is on a disk where a checkout is.
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let cache = scratch.join("bench-tools");
    std::fs::create_dir_all(&cache).context(cache.display())?;
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
    let postfix = Postfix::find(&cache)?;
    let server = if args.on.contains(&On::Postgres) {
        or_left_out("PostgreSQL's rows", Server::find(scratch))
    } else {
        None
    };
    let nodemailer = if args.wants(Row::Send) {
        or_left_out("nodemailer's rows", Nodemailer::find(&cache))
    } else {
        None
    };
    let origins = [
        Some(&postfix.origin),
        server.as_ref().map(|server| &server.origin),
        nodemailer.as_ref().map(|nodemailer| &nodemailer.origin),
    ];
    let origins: Vec<&str> = origins.into_iter().flatten().map(String::as_str).collect();
    println!("beside    {}", origins.join("; "));
    let mail = measure_mail(scratch, &postfix).await?;
    println!(
        "mail      {} bytes of ours, each to a recipient of its own; smtp-source -l {}",
        grouped(mail.bytes as f64),
        mail.payload
    );
    let bench = Bench {
        args,
        scratch,
        sink: Sink::start(&postfix, scratch)?,
        postfix,
        nodemailer,
        mail,
    };
    let mut servers: Vec<Option<&Server>> = Vec::new();
    if args.on.contains(&On::Sqlite) {
        servers.push(None);
    }
    servers.extend(server.as_ref().map(Some));
    let mut lines = Vec::new();
    if args.want(&[Row::Send, Row::Shared, Row::Refused, Row::Expand]) {
        lines.extend(rounds::measure(&bench, &servers).await?);
    }
    if args.want(&[Row::Memory, Row::Pages]) {
        for server in &servers {
            lines.extend(many::measure(&bench, *server).await?);
        }
    }
    figures::print(&lines, !args.quick);
    Ok(())
}

/// What was found; or says what is missing and goes without.
fn or_left_out<T>(rows: &str, found: Result<T>) -> Option<T> {
    found
        .inspect_err(|reason| println!("left out  {rows}: {reason}"))
        .ok()
}

/// Sends a few mails to a catcher that keeps them, to know how long ours are; and one of smtp-source's.
async fn measure_mail(scratch: &Path, postfix: &Postfix) -> Result<Mail> {
    const ASKED: u64 = 1_000;
    let catcher = Catcher::start().context("the mail catcher")?;
    let port = catcher.address().port();
    let database = Database::prepared(scratch, None, Shape::Own, FEW)?;
    let service = database.serve(port, true)?;
    let ready = service.ready(Shape::Own, FEW).await?;
    let since = service.send(&ready).await?;
    service.recorded(&ready, since).await?;
    service.stop()?;
    let caught = catcher.mails();
    let mut sizes: Vec<usize> = caught.iter().map(|mail| mail.data.len()).collect();
    if sizes.len() as u64 != FEW {
        return Err(format!("{FEW} recipients, {} mails", sizes.len()));
    }
    sizes.sort_unstable();
    let bytes = sizes[sizes.len() / 2] as u64;
    let reference = Catcher::start().context("the mail catcher")?;
    let port = reference.address().port();
    let source = postfix.clone();
    // Beside the catcher, which runs in this thread.
    tokio::task::spawn_blocking(move || source.send(port, 1, ASKED))
        .await
        .context("smtp-source")??;
    let theirs = reference.mails();
    let theirs = theirs.first().context("smtp-source sent nothing")?;
    let headers = (theirs.data.len() as u64).saturating_sub(ASKED);
    Ok(Mail {
        bytes,
        payload: bytes.saturating_sub(headers),
        sample: ready.sample,
    })
}
