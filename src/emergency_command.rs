//! The commands for the time when the database is gone, and for afterwards.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candor::app;
use candor::audit::Actor;
use candor::base::error::Error;
use candor::base::id::{EmergencyId, IncidentId};
use candor::base::time::Clock;
use candor::config::Config;
use candor::delivery::dkim::Signer;
use candor::delivery::email::parse_sender;
use candor::delivery::smtp::Relays;
use candor::emergency::audience::{self, Audience, Choice};
use candor::emergency::contacts::{self, Contacts};
use candor::emergency::record::{Content, LARGEST, Record};
use candor::emergency::{import, send};
use candor::incident;

use crate::console;

/// The largest message, in bytes.
const LONGEST: u64 = 100 * 1024;
/// The longest subject, in characters.
const SUBJECT: usize = 200;

/// Sends one message to the people of chosen accounts, with nothing but the copy of the contacts and a mail server.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true).multiple(true).args(["accounts", "account", "all"]))]
pub struct Notify {
    /// The encrypted copy of the contacts.
    #[arg(long)]
    contacts: PathBuf,
    /// The IDs of the accounts, separated by commas.
    #[arg(long, value_delimiter = ',', conflicts_with = "all")]
    accounts: Vec<String>,
    /// The ID of one account, which may contain a comma. It can be given several times.
    #[arg(long, conflicts_with = "all")]
    account: Vec<String>,
    /// Chooses all accounts of the copy. The number of addresses must be confirmed.
    #[arg(long)]
    all: bool,
    /// The roles, separated by commas. Without it: owners, and collaborators on the account's resources.
    #[arg(long, value_delimiter = ',')]
    roles: Vec<String>,
    /// The subject of the emails.
    #[arg(long)]
    subject: String,
    /// A text file with the message. Paragraphs are separated by empty lines.
    #[arg(long)]
    message: PathBuf,
    /// The record of what was sent. Repeating the command with the same record continues it. The default is a name made from the message,
    /// in the current folder.
    #[arg(long)]
    record: Option<PathBuf>,
    /// The exact number of addresses, which must be confirmed for --all and above CANDOR_MAX_AUDIENCE.
    #[arg(long)]
    confirm: Option<usize>,
    /// Shows the exact list and sends nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Shows the content of the copy of the contacts as lines of JSON.
#[derive(clap::Args)]
pub struct Show {
    /// The encrypted copy of the contacts.
    #[arg(long)]
    contacts: PathBuf,
}

/// Imports the record of an emergency notice onto an incident.
#[derive(clap::Args)]
pub struct Import {
    /// The record.
    record: PathBuf,
    /// The number or the ID of the incident.
    #[arg(long)]
    incident: String,
}

fn shown(error: Error) -> String {
    match &error {
        Error::Invalid { errors, .. } if errors.len() > 1 => {
            let all: Vec<String> = errors
                .iter()
                .map(|one| match (&one.pointer, one.line) {
                    (Some(pointer), _) if !pointer.is_empty() => format!("{pointer}: {}", one.detail),
                    (_, Some(line)) => format!("line {line}: {}", one.detail),
                    _ => one.detail.clone(),
                })
                .collect();
            all.join("; ")
        }
        _ => error.chain(),
    }
}

fn key(config: &Config) -> Result<&str, String> {
    config.contacts_key.as_deref().ok_or_else(|| {
        "CANDOR_CONTACTS_KEY or CANDOR_CONTACTS_KEY_FILE is needed to read the copy of the contacts"
            .to_owned()
    })
}

/// Runs `candor emergency-contacts`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn show(config: &Config, arguments: &Show) -> Result<ExitCode, String> {
    contacts::each(&arguments.contacts, key(config)?, |line| {
        let text = serde_json::to_string(&line)?;
        console::answer(&text).map_err(Error::internal)
    })
    .map_err(shown)?;
    Ok(ExitCode::SUCCESS)
}

fn message(path: &Path) -> Result<String, String> {
    let about = |reason: &str| format!("{}: {reason}", path.display());
    let metadata = std::fs::metadata(path).map_err(|error| about(&error.to_string()))?;
    if metadata.len() > LONGEST {
        return Err(about("is larger than 100 kB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| about(&error.to_string()))?;
    let text = text.replace("\r\n", "\n").trim().to_owned();
    if text.is_empty() {
        return Err(about("is empty"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err(about("contains a control character"));
    }
    Ok(text)
}

fn list(audience: &Audience, contacts: &Contacts) -> Result<(), String> {
    for one in &audience.recipients {
        let mut reasons: Vec<String> = Vec::new();
        for reason in one.people.iter().flat_map(|person| &person.reasons) {
            let name = contacts.accounts.get(&reason.account).map_or("", String::as_str);
            reasons.push(format!("{} of {} ({name})", reason.role, reason.account));
        }
        let people: Vec<&str> = one.people.iter().map(|person| person.person.as_str()).collect();
        console::answer(&format!(
            "{}\t{}\t{}",
            one.address,
            people.join(", "),
            reasons.join("; ")
        ))?;
    }
    for one in &audience.left_out {
        console::note(&format!("left out: {}: {}", one.person, one.why));
    }
    for account in &audience.without {
        console::note(&format!("nobody of the account {account} can be emailed"));
    }
    Ok(())
}

/// Runs `candor emergency-notify`. The exit code is 0 only if the mail server accepted every email.
///
/// # Errors
/// A sentence that says what is wrong.
pub async fn notify(config: &Config, arguments: Notify) -> Result<ExitCode, String> {
    let subject = arguments.subject.trim().to_owned();
    if subject.is_empty() || subject.chars().count() > SUBJECT || subject.chars().any(char::is_control) {
        return Err(format!(
            "--subject: must be one line of 1 to {SUBJECT} characters"
        ));
    }
    let text = message(&arguments.message)?;
    let contacts = contacts::read(&arguments.contacts, key(config)?).map_err(shown)?;
    let choice = match arguments.all {
        true => Choice::All,
        false => Choice::Accounts([arguments.accounts, arguments.account].concat()),
    };
    let audience = audience::choose(&contacts, &choice, &arguments.roles).map_err(shown)?;
    let number = audience.recipients.len();
    let made = contacts
        .made_at
        .map_or_else(String::new, |at| format!(", as of {at}"));
    let addresses = if number == 1 { "address" } else { "addresses" };
    if arguments.dry_run {
        list(&audience, &contacts)?;
        console::note(&format!("{number} {addresses}{made}; nothing was sent"));
        if arguments.all || number > config.max_audience {
            console::note(&format!("to send, add --confirm {number}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    match arguments.confirm {
        Some(confirmed) if confirmed != number => {
            return Err(format!(
                "--confirm {confirmed} is not the number of addresses: the list has {number}; nothing was sent"
            ));
        }
        None if arguments.all || number > config.max_audience => {
            return Err(format!(
                "the list has {number} {addresses}; look at it with --dry-run, and then confirm the number with --confirm {number}; nothing \
                 was sent"
            ));
        }
        _ => {}
    }
    let url = config
        .smtp_url
        .as_deref()
        .ok_or("CANDOR_SMTP_URL is not set, so there is no mail server to send with")?;
    let (second, authorities) = (config.smtp_url_2.as_deref(), config.smtp_ca_file.as_deref());
    let relays = Relays::of_settings(url, second, authorities)
        .map_err(|(setting, reason)| format!("CANDOR_{}: {reason}", setting.to_ascii_uppercase()))?;
    let from = parse_sender(&config.mail_from).map_err(|reason| format!("CANDOR_MAIL_FROM: {reason}"))?;
    let dkim = config
        .dkim_keys
        .as_deref()
        .map(|keys| Signer::load(keys, from.email.domain()))
        .transpose()
        .map_err(|reason| format!("CANDOR_DKIM_KEYS: {reason}"))?;
    let reply_to = config
        .reply_to
        .as_deref()
        .map(parse_sender)
        .transpose()
        .map_err(|reason| format!("CANDOR_REPLY_TO: {reason}"))?;
    let letter = send::Letter {
        from,
        reply_to,
        dkim,
        subject,
        text,
        accounts: contacts.accounts.clone(),
    };
    let clock = Clock::system();
    let path = arguments
        .record
        .unwrap_or_else(|| PathBuf::from(send::record_name(&letter.subject, &letter.text)));
    let id = EmergencyId::new(clock.now());
    let mut record = Record::open(
        &path,
        (id.as_str(), &letter.subject, &letter.text, &config.mail_from),
        clock.now(),
    )
    .map_err(shown)?;
    let before = send::remaining(&audience, record.content()).len();
    if before < number {
        console::note(&format!(
            "{} continues: {} of {number} were dealt with before",
            path.display(),
            number - before
        ));
    }
    let accounts = match choice {
        Choice::All => None,
        Choice::Accounts(ids) => Some(ids),
    };
    record
        .begin(contacts.made_at, number, accounts, arguments.roles, clock.now())
        .map_err(shown)?;
    console::note(&format!(
        "sending to {before} of {number} {addresses}{made}; record: {}",
        path.display()
    ));
    let sent = send::send(
        record,
        &audience,
        &letter,
        (&relays, config.send_concurrency),
        &clock,
    )
    .await
    .map_err(shown)?;
    console::say(&format!(
        "{number} {addresses}: {} accepted, {} refused, {} not accepted yet, {} not known",
        sent.accepted, sent.refused, sent.not_yet, sent.unknown
    ))?;
    if sent.not_yet > 0 {
        console::note("repeat the same command to try those again that were not accepted yet");
    }
    if sent.unknown > 0 {
        console::note("an email whose outcome is not known may have arrived, and is not sent again");
    }
    Ok(match sent.accepted == number {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Runs `candor emergency-import`.
///
/// # Errors
/// A sentence that says what is wrong.
pub async fn import(config: &Config, arguments: Import) -> Result<ExitCode, String> {
    let about = |reason: String| format!("{}: {reason}", arguments.record.display());
    let size = std::fs::metadata(&arguments.record)
        .map_err(|error| about(error.to_string()))?
        .len();
    if size > LARGEST {
        return Err(about(format!("is larger than {LARGEST} bytes")));
    }
    let bytes = std::fs::read(&arguments.record).map_err(|error| about(error.to_string()))?;
    let content = Content::read(&bytes).map_err(|error| about(shown(error)))?;
    let db = app::open_database(config, Clock::system()).await.map_err(shown)?;
    let name = arguments.incident;
    let imported = db
        .write(&Actor::system("command line"), move |tx| {
            let id = match name.trim_start_matches('#').parse::<i64>() {
                Ok(number) => incident::by_number(tx.conn, number)?.id,
                Err(_) => IncidentId::parse(&name)
                    .map_err(|_| Error::NotFound(format!("an incident with the number or ID '{name}'")))?,
            };
            import::import(tx, &id, &content)
        })
        .await
        .map_err(shown)?;
    let counts = imported.counts;
    console::say(&format!(
        "imported: {} people, {} accepted, {} refused, {} not accepted yet, {} not known",
        counts.people, counts.accepted, counts.refused, counts.not_yet, counts.unknown
    ))?;
    Ok(ExitCode::SUCCESS)
}
