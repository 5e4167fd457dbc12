//! The commands. Each of them reads the settings, calls the library, and ends with an exit code for its
//! result.

mod audit_command;
mod compare;
mod console;
mod emergency_command;
mod status_command;

use std::io::{BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use candor::audit::Actor;
use candor::auth::{self, NewToken, Role};
use candor::base::count::counted;
use candor::base::error::Error;
use candor::base::id::TokenId;
use candor::base::time::Clock;
use candor::config::{Config, LogFormat};
use candor::db::foreign::Limit;
use candor::directory::import;
use candor::directory::line::LineKind;
use candor::directory::source::cancel::Cancel;
use candor::directory::source::table::{self, Columns, Format};
use candor::directory::source::{self, run, runner, sync};
use candor::{app, backup, demo};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Communicates incidents to customers: who is affected, who must be notified, which notices they got, and the
/// proof.
#[derive(Parser)]
#[command(name = "candor", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the API, the hooks and the pages, and sends notices.
    Serve {
        /// Serves only HTTP. Another process must send the notices.
        #[arg(long)]
        no_workers: bool,
    },
    /// Sends notices and does the other background work, without HTTP.
    Worker,
    /// Repeats a real incident from the alert to the report. Its emails never leave this machine.
    Demo {
        /// Ends after the last step. The exit code is 0 only if exactly the expected emails arrived.
        #[arg(long)]
        exit: bool,
    },
    /// Migrates the database to the schema of this version.
    Migrate,
    /// Encrypts the stored secrets with CANDOR_ENCRYPTION_KEY, or decrypts them if it is not set. To change the key, set the earlier one
    /// as CANDOR_ENCRYPTION_KEY_OLD first.
    RotateKey,
    /// Imports a directory from a file, completely or not at all: lines of JSON, or a table in a .csv or .tsv
    /// file.
    Import {
        /// The file to import.
        file: PathBuf,
        /// The kind of all rows of a table: account, person, resource, member or collaborator.
        #[arg(long)]
        kind: Option<String>,
        /// The columns of a table: FIELD:COLUMN or FIELD:=VALUE, separated by commas.
        #[arg(long)]
        columns: Option<String>,
    },
    /// Compares a listing of what should be there with a listing of what is there, for an incident.
    Compare(Box<compare::Arguments>),
    /// Reads a source of the directory now.
    Sync {
        /// The name of the source.
        name: String,
    },
    /// Manages API tokens.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Verifies the audit trail, and manages the key of its checkpoints.
    Audit {
        #[command(subcommand)]
        command: audit_command::AuditCommand,
    },
    /// Writes one consistent copy of the database to a file, or checks one. The service may run.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Backup {
        #[command(subcommand)]
        command: Option<BackupCommand>,
        /// The file to write. It must not exist. A file with the name check is written as ./check.
        #[arg(required = true)]
        file: Option<PathBuf>,
    },
    /// Replaces the database with a backup.
    Restore {
        /// The file with the backup.
        file: PathBuf,
        /// Replaces the database even if it contains data.
        #[arg(long)]
        force: bool,
    },
    /// Exports the status page.
    Status {
        #[command(subcommand)]
        command: status_command::StatusCommand,
    },
    /// Sends one message to the people of chosen accounts, with nothing but the copy of the contacts and a mail server.
    EmergencyNotify(Box<emergency_command::Notify>),
    /// Shows the content of the copy of the contacts as lines of JSON.
    EmergencyContacts(emergency_command::Show),
    /// Imports the record of an emergency notice onto an incident.
    EmergencyImport(emergency_command::Import),
}

#[derive(Subcommand)]
enum BackupCommand {
    /// Restores a backup into a temporary place and verifies it there. If it cannot be restored, prints the fault and ends with exit
    /// code 1. It needs no database.
    Check {
        /// The backup. The default is the newest one in CANDOR_BACKUP_DIR.
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Creates a token and prints it. It is shown only once.
    Create {
        /// The name of the person or the program that gets the token.
        #[arg(long)]
        name: String,
        /// The role: viewer, operator, approver or admin.
        #[arg(long, value_parser = Role::parse)]
        role: Role,
        /// The person who uses the token. Tokens with the same person are one person wherever two people are needed.
        #[arg(long)]
        person: Option<String>,
    },
    /// Lists the valid tokens: ID, role, creation time and name, separated by tabs.
    List,
    /// Revokes a token at once, and ends the sessions that were started with it.
    Revoke {
        /// The ID of the token, as `candor token list` shows it.
        id: String,
    },
}

fn main() -> ExitCode {
    // Transparent huge pages are switched off. A page of two megabytes stays in memory as long as a small
    // part of it is used, so that sending would need twice the memory. If the system does not allow this, the
    // program only uses more memory.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    // The files that the program writes (database, backups, emails) contain secrets and personal data, so no
    // other user may read them.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let cli = Cli::parse();
    let ended = match run_to_end(cli.command) {
        Ok(ended) => ended,
        Err(error) => Err(format!("the machine has no thread for the program: {error}")),
    };
    match ended {
        Ok(code) => code,
        Err(reason) => {
            console::fail(&reason);
            ExitCode::FAILURE
        }
    }
}

/// How long the end of the program waits for threads that still wait for something outside of it, such as the answer
/// of a name server. Everything that must be stored was stored before.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Runs a command on a thread of its own. The end of the runtime waits for all of its threads without a limit, and the
/// end of the program waits for that end only as long as [`LAST_WAIT`].
fn run_to_end(command: Command) -> std::io::Result<Result<ExitCode, String>> {
    /// As large as the stack of the first thread usually is.
    const STACK: usize = 8 * 1024 * 1024;
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("candor".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let system = actix_web::rt::System::new();
            // The receiver waits for this.
            let _ = sender.send(system.block_on(run(command)));
            // Here the runtime ends, and behind it the channel.
        })?;
    let Ok(ended) = receiver.recv() else {
        // It panicked, and has said why.
        drop(thread.join());
        return Ok(Err("the program ended by a fault".to_owned()));
    };
    let _ = receiver.recv_timeout(LAST_WAIT);
    Ok(ended)
}

async fn run(command: Command) -> Result<ExitCode, String> {
    if let Command::Demo { exit } = command {
        start_log(LogFormat::Text, "off");
        return demo::run(Config::load()?, exit, StopSignal::listen()?.received()).await;
    }
    if let Command::Audit { command } = &command
        && let Some(verified) = audit_command::verify_evidence(command)
    {
        return verified;
    }
    console::set_format(Config::log_format_alone());
    let config = Config::load()?;
    console::set_format(config.log_format);
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
            console::say(&format!("listening on {}", running.base_url()))?;
            if let Some(outbox) = outbox {
                console::say(&format!(
                    "CANDOR_SMTP_URL is not set: emails are written to {}/*.eml",
                    outbox.display()
                ))?;
            }
            running
                .run_until(stop.received())
                .await
                .map_err(|error| error.to_string())?;
        }
        Command::Worker => {
            let background = app::start_worker(config, Clock::system()).await.map_err(shown)?;
            let stop = StopSignal::listen()?;
            console::say("delivering")?;
            stop.received().await;
            background.stop().await;
        }
        Command::Migrate => {
            app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            console::say("the database is up to date")?;
        }
        Command::RotateKey => {
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            let changed = db
                .write(&command_line(), candor::system::secrets::rotate)
                .await
                .map_err(shown)?;
            console::say(&format!("{changed} secrets are changed"))?;
        }
        Command::Import { file, kind, columns } => {
            let table = table_of(&file, kind.as_deref(), columns.as_deref()).map_err(shown)?;
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            import_file(&db, file, table).await?;
        }
        Command::Compare(arguments) => {
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            return compare::run(&db, &config, &command_line(), *arguments).await;
        }
        Command::Sync { name } => {
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            return sync_source(&db, name, config.source_sync_limit).await;
        }
        Command::Token {
            command: TokenCommand::Create { name, role, person },
        } => {
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            let new = NewToken {
                name,
                role,
                person,
                expires_at: None,
            };
            let created = db
                .write(&command_line(), move |tx| auth::create(tx, &new))
                .await
                .map_err(shown)?;
            console::note(&format!("token {}, which is shown only now:", created.id));
            console::answer(created.token.reveal())?;
        }
        Command::Token {
            command: TokenCommand::List,
        } => {
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            list_tokens(&db).await.map_err(shown)?;
        }
        Command::Token {
            command: TokenCommand::Revoke { id },
        } => {
            let id = TokenId::parse(&id)
                .map_err(|_| format!("{id} is not the ID of a token; candor token list shows the IDs"))?;
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            let ended = id.clone();
            db.write(&command_line(), move |tx| auth::revoke(tx, &ended))
                .await
                .map_err(shown)?;
            console::say(&format!("token {id} is revoked"))?;
        }
        Command::Audit { command } => return audit_command::run(&config, command).await,
        Command::Status { command } => return status_command::run(&config, command).await,
        Command::Backup {
            command: Some(BackupCommand::Check { file }),
            ..
        } => return check_backup(&config, file).await,
        Command::Backup { command: None, file } => {
            let file = file.ok_or("the file to write is missing")?;
            let db = app::open_database(&config, Clock::system())
                .await
                .map_err(shown)?;
            backup::backup(&db, &file).await.map_err(shown)?;
            console::say(&format!("written to {}", file.display()))?;
        }
        Command::Restore { file, force } => {
            backup::restore(&config.database_url, &file, force)
                .await
                .map_err(shown)?;
            console::say(&format!("restored from {}", file.display()))?;
        }
        Command::EmergencyNotify(arguments) => return emergency_command::notify(&config, *arguments).await,
        Command::EmergencyContacts(arguments) => return emergency_command::show(&config, &arguments),
        Command::EmergencyImport(arguments) => return emergency_command::import(&config, arguments).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Restores a backup into a temporary place. The folder for temporary files must have room for it.
async fn check_backup(config: &Config, file: Option<PathBuf>) -> Result<ExitCode, String> {
    let file = match (file, &config.backup_dir) {
        (Some(file), _) => file,
        (None, Some(folder)) => backup::newest(folder).map_err(|error| error.chain())?,
        (None, None) => {
            return Err(
                "give the backup to check, or set CANDOR_BACKUP_DIR: then its newest one is checked"
                    .to_owned(),
            );
        }
    };
    let found = backup::check(&file, &std::env::temp_dir())
        .await
        .map_err(|error| format!("{}: {}", file.display(), error.chain()))?;
    console::say(&format!(
        "{} can be restored: {} audit events with an intact chain, {} accounts, {} people, {} incidents",
        file.display(),
        found.events,
        found.accounts,
        found.people,
        found.incidents
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the valid tokens, one on each line.
async fn list_tokens(db: &candor::db::Db) -> Result<(), Error> {
    const STEP: i64 = 500;
    let mut after: Option<String> = None;
    loop {
        let tokens = db
            .read(move |conn| auth::list(conn, after.as_deref(), STEP))
            .await?;
        for token in &tokens {
            let line = format!(
                "{}\t{}\t{}\t{}",
                token.id, token.role, token.created_at, token.name
            );
            console::answer(&line).map_err(Error::internal)?;
        }
        if (tokens.len() as i64) < STEP {
            return Ok(());
        }
        after = tokens.last().map(|token| token.id.to_string());
    }
}

fn command_line() -> Actor {
    Actor::system("command line")
}

/// Starts the log on the standard error. The standard output is only for the results of commands.
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

/// The signals SIGTERM and SIGINT. The program listens for them before it says that it is ready, so that it
/// stops in the correct order from then on.
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

/// Queues a run of a source and does it in this process, unless a serving process has already started it.
async fn sync_source(db: &candor::db::Db, name: String, most: Duration) -> Result<ExitCode, String> {
    let shown = |error: Error| error.chain();
    let begun = db
        .write(&command_line(), move |tx| {
            let source = source::named(tx.conn, &name)?;
            run::request(tx, &source.id, run::Cause::Request)
        })
        .await
        .map_err(shown)?;
    let stop = StopSignal::listen()?;
    let claimed = runner::claim(db, Some(begun.id.clone())).await.map_err(shown)?;
    let cancel = Cancel::default();
    let limit = Limit {
        most,
        setting: source::SYNC_LIMIT,
    };
    let ours = claimed.is_some();
    let work = async {
        match claimed {
            Some(claimed) => sync::execute(db, claimed, &cancel, limit).await,
            None => Ok(()),
        }
    };
    let bar = indicatif::ProgressBar::new(0);
    if let Ok(style) = indicatif::ProgressStyle::with_template("{msg:10} {bar:40} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    let watch = async {
        loop {
            let (source, run) = (begun.source.clone(), begun.id.clone());
            let run = db.read(move |conn| run::get(conn, &source, &run)).await?;
            bar.set_message(run.state.as_str());
            bar.set_length(run.progress.total.unsigned_abs());
            bar.set_position(run.progress.done.unsigned_abs());
            if run.state.over() {
                return Ok(run);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let mut both = std::pin::pin!(async { tokio::join!(work, watch) });
    let ended = tokio::select! {
        ended = &mut both => Some(ended),
        () = stop.received() => None,
    };
    bar.finish_and_clear();
    let Some((worked, run)) = ended else {
        cancel.set();
        if !ours {
            return Err("stopped by a signal: another process does the run, and goes on with it".to_owned());
        }
        // The watch does not end for a run that is given back. What is being stored is stored first.
        let given_back = async {
            loop {
                let (source, run) = (begun.source.clone(), begun.id.clone());
                match db.read(move |conn| run::get(conn, &source, &run)).await {
                    Ok(run) if run.state.over() || run.state == run::State::Queued => return,
                    Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                    Err(_) => return,
                }
            }
        };
        tokio::select! {
            _ = both => {}
            () = given_back => {}
        }
        return Err(
            "stopped by a signal: the run is queued again unless it has ended, and the next process that serves does it"
                .to_owned(),
        );
    };
    let mut run = run.map_err(shown)?;
    worked.map_err(shown)?;
    let left_out = run.changes.iter().flat_map(|changes| &changes.left_out);
    for error in run.errors.iter().chain(left_out) {
        let kind = error.kind.map_or("", LineKind::as_str);
        let row = error.row.map(|row| format!(" row {row}")).unwrap_or_default();
        let key = error
            .key
            .as_ref()
            .map(|key| format!(" {}", key.join("/")))
            .unwrap_or_default();
        let column = error
            .column
            .as_ref()
            .map(|column| format!(", column {column}"))
            .unwrap_or_default();
        console::note(&format!("{kind}{row}{key}{column}: {}", error.detail));
    }
    for warning in run.changes.iter().flat_map(|changes| &changes.warnings) {
        console::note(&format!("warning: {warning}"));
    }
    if let Some(changes) = &mut run.changes {
        for kind in LineKind::ALL {
            let counts = *changes.kind_mut(kind);
            console::say(&format!(
                "{}: {} added, {} changed, {} unchanged, {} archived, {} left out",
                kind.plural(),
                counts.added,
                counts.changed,
                counts.unchanged,
                counts.gone,
                counts.left_out
            ))?;
        }
    }
    match run.state {
        run::State::Done => Ok(ExitCode::SUCCESS),
        run::State::NeedsConfirmation => Err(format!(
            "nothing was stored; to confirm the run, call POST /api/v1/directory/sources/{}/runs/{}/confirm",
            run.source, run.id
        )),
        state => Err(format!("nothing was stored: the run is {}", state.as_str())),
    }
}

/// Returns how a file with this name is read as a table. Returns `None` if it contains lines of JSON.
fn table_of(
    file: &Path,
    kind: Option<&str>,
    columns: Option<&str>,
) -> Result<Option<(Format, Columns)>, Error> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    let format = match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => Format::Csv,
        Some("tsv" | "tab") => Format::Tsv,
        _ if kind.is_some() || columns.is_some() => {
            let detail = "is only for tables, in files whose names end in .csv or .tsv";
            let name = if kind.is_some() { "--kind" } else { "--columns" };
            return Err(Error::invalid(name, detail));
        }
        _ => return Ok(None),
    };
    Ok(Some((format, Columns::parse(kind, columns)?)))
}

async fn import_file(
    db: &candor::db::Db,
    path: PathBuf,
    table: Option<(Format, Columns)>,
) -> Result<(), String> {
    let file = std::fs::File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let bar = indicatif::ProgressBar::new(size);
    if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    let reader = BufReader::with_capacity(1 << 16, bar.wrap_read(file));
    let result = db
        .write(&command_line(), move |tx| match &table {
            None => import::import(tx, reader),
            Some((format, columns)) => table::import(tx, reader, *format, columns),
        })
        .await;
    bar.finish_and_clear();
    match result {
        Ok(counts) => console::say(&format!(
            "imported {}, {}, {}, {}, {}",
            counted(counts.accounts, "account", "accounts"),
            counted(counts.people, "person", "people"),
            counted(counts.resources, "resource", "resources"),
            counted(counts.members, "member", "members"),
            counted(counts.collaborators, "collaborator", "collaborators")
        )),
        Err(Error::Invalid { errors, .. }) if !errors.is_empty() => {
            for error in &errors {
                console::note(&format!("line {}: {}", error.line.unwrap_or(0), error.detail));
            }
            Err(format!(
                "{} was not imported: {} errors",
                path.display(),
                errors.len()
            ))
        }
        Err(error) => Err(error.chain()),
    }
}
