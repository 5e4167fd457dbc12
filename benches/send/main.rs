//! Measures how fast notices are sent, how much memory this needs, and how fast pages are if they show many
//! deliveries.
//!
//! `cargo bench --bench send` measures smtp-source, Candor on SQLite, Candor on PostgreSQL and nodemailer in
//! turns, in one run and with one sink. It prints the ratios with their range. See `benches/README.md`.
//!
//! A rate is reported only if the sender and the sink counted the same number of emails. Two measurements
//! never run at the same time.

mod answers;
mod many;
mod relays;
mod rounds;
mod status_page;
// Each bench uses only a part of the support code.
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

/// The number of people in the run that measures the size of an email, and in the smaller run of the pages.
const FEW: u64 = 1_000;
/// If the load is higher than this, the machine is also busy with something else.
const IDLE: f64 = 0.5;

/// Measures how fast Candor sends, and compares this with smtp-source and nodemailer on the same sink.
#[derive(Parser)]
#[command(name = "cargo bench --bench send --")]
struct Args {
    /// The number of emails in each measurement.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    messages: u64,
    /// The number of rounds. Each round measures everything once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Measures only 2,000 emails in one round, to check that the bench works. The figures have no meaning.
    #[arg(long)]
    quick: bool,
    /// Also measures the memory that is needed to send to many people.
    #[arg(long)]
    memory: bool,
    /// Also measures the admin pages of a notice with many deliveries.
    #[arg(long)]
    pages: bool,
    /// The number of people for `--memory` and `--pages`.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    many: u64,
    /// Measures only these rows.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Row>,
    /// The databases that are measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    on: Vec<On>,
    /// The option that `cargo bench` adds. Without it, nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A row or a group of rows that can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// Each person has their own resources, so that each email is different.
    Send,
    /// All people work on one project, so that the emails differ only in the names of the people.
    Shared,
    /// The sink refuses every recipient.
    Refused,
    /// A notice is sent while the customers of an earlier one answer.
    Answers,
    /// The recipients are expanded into deliveries, and no email is sent.
    Expand,
    /// A notice is sent while readers look at the status page.
    Status,
    /// The first of two mail servers is killed while a notice is sent.
    Relays,
    /// The memory while emails are sent to many people.
    Memory,
    /// The admin pages of a notice with many deliveries.
    Pages,
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
        (args.messages, args.rounds, args.many) = (2_000, 1, 20_000);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    support::run("send", args.bench, runtime, async {
        tokio::select! {
            done = measure(&args) => done,
            // The run ends with an error and not by the signal itself, so that processes are stopped and
            // databases are deleted.
            reason = told_to_stop() => reason,
        }
    })
}

/// Waits for SIGINT or SIGTERM, and then returns an error.
async fn told_to_stop() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Err("a signal stopped the bench".to_owned())
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

    /// Returns whether at least one of these rows is wanted.
    fn want(&self, rows: &[Row]) -> bool {
        rows.iter().any(|row| self.wants(*row))
    }
}

/// The tools of a run, and the properties of an email.
struct Bench<'a> {
    args: &'a Args,
    scratch: &'a Path,
    postfix: Postfix,
    nodemailer: Option<Nodemailer>,
    sink: Sink,
    mail: Mail,
}

/// The properties of an email of Candor. The other senders send emails of the same size or content.
struct Mail {
    /// The median size of an email in bytes, including its headers.
    bytes: u64,
    /// The size in bytes that smtp-source gets as its option `-l`, so that its emails are as long as those of
    /// Candor.
    payload: u64,
    /// One email, as the preview shows it.
    sample: Value,
}

async fn measure(args: &Args) -> Result<()> {
    // This folder is in the build directory, which is usually on a disk, because the checkout is there.
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let cache = scratch.join("bench-tools");
    std::fs::create_dir_all(&cache).context(cache.display())?;
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
    println!("compared  with {}", origins.join("; "));
    let mail = measure_mail(scratch, &postfix).await?;
    println!(
        "email     {} bytes, each to a different recipient; smtp-source -l {}",
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
    if args.want(&[
        Row::Send,
        Row::Shared,
        Row::Refused,
        Row::Answers,
        Row::Expand,
        Row::Status,
    ]) {
        lines.extend(rounds::measure(&bench, &servers).await?);
    }
    if args.wants(Row::Relays) {
        for server in &servers {
            let emails = relays::EMAILS.min(args.messages);
            let prepared = Database::prepared(scratch, *server, Shape::Own, emails)?;
            lines.extend(relays::measure(&bench, &prepared).await?);
        }
    }
    if args.want(&[Row::Memory, Row::Pages]) {
        for server in &servers {
            lines.extend(many::measure(&bench, *server).await?);
        }
    }
    figures::print(&lines, !args.quick);
    Ok(())
}

/// Returns what was found. If it is missing, prints the reason, and the rows that need it are left out.
fn or_left_out<T>(rows: &str, found: Result<T>) -> Option<T> {
    found
        .inspect_err(|reason| println!("left out  {rows}: {reason}"))
        .ok()
}

/// Measures the size of emails. Candor sends some emails to a catcher that keeps them, and smtp-source sends
/// one to another catcher.
async fn measure_mail(scratch: &Path, postfix: &Postfix) -> Result<Mail> {
    const ASKED: u64 = 1_000;
    let catcher = Catcher::start().context("the email catcher")?;
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
        return Err(format!("{} emails arrived for {FEW} recipients", sizes.len()));
    }
    sizes.sort_unstable();
    let bytes = sizes[sizes.len() / 2] as u64;
    let reference = Catcher::start().context("the email catcher")?;
    let port = reference.address().port();
    let source = postfix.clone();
    // smtp-source runs in another thread, because the catcher needs this thread to accept the email.
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
