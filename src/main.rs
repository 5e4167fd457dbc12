//! The commands. Each reads the settings, calls the library, and ends with an exit code that says how it went.

use std::io::{BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use candor::access::{self, NewToken, Role};
use candor::audit::{self, Actor};
use candor::config::{Config, LogFormat};
use candor::directory::import;
use candor::error::Error;
use candor::time::Clock;
use candor::{app, backup, demo};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Customer incident communication: who is affected, who should hear of it, what they were told, and the proof.
#[derive(Parser)]
#[command(name = "candor", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the API, the hooks and the pages, and delivers mail.
    Serve {
        /// HTTP only: another process delivers.
        #[arg(long)]
        no_workers: bool,
    },
    /// Delivers mail and does scheduled work, without HTTP.
    Worker,
    /// Plays a real incident from the alert to the report, with mails that go nowhere.
    Demo {
        /// Ends after the last step; the exit code is 0 only if every mail arrived.
        #[arg(long)]
        exit: bool,
    },
    /// Brings the database up to date.
    Migrate,
    /// Imports a directory from an NDJSON file, all or nothing.
    Import {
        /// The file.
        file: PathBuf,
    },
    /// Manages API tokens.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Checks the audit trail.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Writes one consistent copy of an embedded database, while it is in use.
    Backup {
        /// The file to write; it must not exist.
        file: PathBuf,
    },
    /// Puts a backup in the place of the database.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Also where the database holds something.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Makes a token and prints it, this once.
    Create {
        /// Whose or what it is.
        #[arg(long)]
        name: String,
        /// viewer, operator, approver or admin.
        #[arg(long, value_parser = Role::parse)]
        role: Role,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Walks the hash chain; exit code 1 and the first broken event where it does not hold.
    Verify,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match actix_web::rt::System::new().block_on(run(cli.command)) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("candor: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, String> {
    if let Command::Demo { exit } = command {
        start_log(LogFormat::Text, "off");
        return demo::run(exit).await;
    }
    let config = Config::load()?;
    start_log(
        config.log_format,
        "info,tokio_cron_scheduler=warn,actix_server=warn",
    );
    let shown = |error: Error| error.chain();
    match command {
        Command::Demo { .. } => {}
        Command::Serve { no_workers } => {
            let config = Config {
                workers: config.workers && !no_workers,
                ..config
            };
            let outbox = config.smtp_url.is_none().then(|| config.outbox.clone());
            let running = app::start(config, Clock::system()).await.map_err(shown)?;
            let stop = StopSignal::listen()?;
            println!("listening on {}", running.base_url());
            if let Some(outbox) = outbox {
                println!(
                    "CANDOR_SMTP_URL is not set: mails are written to {}/*.eml",
                    outbox.display()
                );
            }
            std::io::stdout().flush().map_err(|error| error.to_string())?;
            running
                .run_until(stop.received())
                .await
                .map_err(|error| error.to_string())?;
        }
        Command::Worker => {
            let background = app::start_worker(config, Clock::system()).await.map_err(shown)?;
            let stop = StopSignal::listen()?;
            println!("delivering");
            std::io::stdout().flush().map_err(|error| error.to_string())?;
            stop.received().await;
            background.stop().await;
        }
        Command::Migrate => {
            app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            println!("the database is up to date");
        }
        Command::Import { file } => {
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            import_file(&db, file).await?;
        }
        Command::Token {
            command: TokenCommand::Create { name, role },
        } => {
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            let new = NewToken { name, role };
            let created = db
                .write(&command_line(), move |tx| access::create(tx, &new))
                .await
                .map_err(shown)?;
            println!("token {} (shown this once):", created.id);
            println!("{}", created.token);
        }
        Command::Audit {
            command: AuditCommand::Verify,
        } => {
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            let result = db.read(audit::verify).await.map_err(shown)?;
            if let (Some(at), Some(reason)) = (result.broken_at, &result.reason) {
                println!("broken at event {at}: {reason}");
                return Ok(ExitCode::FAILURE);
            }
            println!("the chain holds: {} events, head {}", result.events, result.head);
        }
        Command::Backup { file } => {
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            backup::backup(&db, &file).await.map_err(shown)?;
            println!("written to {}", file.display());
        }
        Command::Restore { file, force } => {
            backup::restore(&config, &file, force).await.map_err(shown)?;
            println!("restored from {}", file.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn command_line() -> Actor {
    Actor::system("command line")
}

/// Logs go to standard error; standard output is for answers.
fn start_log(format: LogFormat, usual: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// SIGTERM or SIGINT. Listened for before the program says that it is ready: from then on it ends in order.
struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn import_file(db: &candor::db::Db, path: PathBuf) -> Result<(), String> {
    let file = std::fs::File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let bar = indicatif::ProgressBar::new(size);
    if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    let reader = BufReader::with_capacity(1 << 16, bar.wrap_read(file));
    let result = db
        .write(&command_line(), move |tx| import::import(tx, reader))
        .await;
    bar.finish_and_clear();
    match result {
        Ok(counts) => {
            println!(
                "imported {} accounts, {} people, {} resources, {} members, {} collaborators",
                counts.accounts, counts.people, counts.resources, counts.members, counts.collaborators
            );
            Ok(())
        }
        Err(Error::Invalid { errors, .. }) if !errors.is_empty() => {
            for error in &errors {
                eprintln!("line {}: {}", error.line.unwrap_or(0), error.detail);
            }
            Err(format!(
                "{} is not imported: {} errors",
                path.display(),
                errors.len()
            ))
        }
        Err(error) => Err(error.chain()),
    }
}
