//! What is wrong with Candor itself: its mail server, its queue, its sources, and the checks and heartbeats that it runs.

use serde::Serialize;

use super::known::Settings;
use super::row::BeingSent;
use crate::backup::{self, BackupState, CheckState};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::delivery::{mail_servers, queue, smtp};
use crate::directory::source::cron;
use crate::directory::source::status::{self, SourceStatus, how_long};
use crate::emergency::copy;
use crate::notice::EMAIL;
use crate::watch::{check, heartbeat};

/// The number of faults of one kind that are listed.
const MOST: usize = 10;

word_enum! {
    /// The kind of something that is wrong with Candor itself.
    FaultKind, "a kind of fault" {
        /// No mail server is set, so emails are written to files.
        Outbox = "outbox",
        /// The mail server does not answer, or one of two fails.
        MailServer = "mail_server",
        /// Emails are due, and none is tried.
        Queue = "queue",
        /// The outcomes of sent emails cannot be stored, so sending is stopped.
        Outcomes = "outcomes",
        /// The data of a source of the directory is too old.
        SourceStale = "source_stale",
        /// A source waits for a person who confirms its changes.
        SourceWaits = "source_waits",
        /// A check is down.
        Check = "check",
        /// A heartbeat is missing, or its job reported a failure.
        Heartbeat = "heartbeat",
        /// The last backup failed, the last backups of the schedule are missing, or a backup cannot be restored.
        Backup = "backup",
        /// The encrypted copy of the contacts cannot be written.
        Contacts = "contacts",
    }
}

/// How long after the second missed time of the schedule a backup counts as missing, because writing one takes time.
const LATE: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Something that is wrong with Candor itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = NowFault)]
pub struct Fault {
    /// The kind of the fault.
    pub kind: FaultKind,
    /// The ID of the source, check or heartbeat, or the host and port of the mail server.
    pub id: Option<String>,
    /// One sentence for people.
    pub text: String,
    /// Since when it is wrong. For stale data, this is the last successful read of the source; for missing backups, the end of the last
    /// good one. Null if no time is known.
    pub since: Option<Timestamp>,
}

impl Fault {
    fn new(kind: FaultKind, text: impl Into<String>) -> Fault {
        Fault {
            kind,
            id: None,
            text: text.into(),
            since: None,
        }
    }

    fn of(mut self, id: impl ToString) -> Fault {
        self.id = Some(id.to_string());
        self
    }

    fn since(mut self, since: Option<Timestamp>) -> Fault {
        self.since = since;
        self
    }
}

/// Returns what is wrong, the most serious first.
pub(super) fn read(conn: &mut Conn, settings: &Settings, sending: &[BeingSent]) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    if let Some(reason) = &settings.trouble {
        let text = format!("The outcomes of sent emails cannot be stored, so nothing is sent: {reason}.");
        faults.push(Fault::new(FaultKind::Outcomes, text));
    }
    mail(conn, settings, sending, &mut faults)?;
    for source in status::directory(conn, settings.now)?.sources {
        sources(&source, &mut faults);
    }
    for check in check::down(conn, MOST as i64)? {
        let problem = check.last.and_then(|last| last.problems.into_iter().next());
        let text = match problem {
            Some(problem) => format!("The check “{}” is down: {problem}.", check.given.name),
            None => format!("The check “{}” is down.", check.given.name),
        };
        faults.push(
            Fault::new(FaultKind::Check, text)
                .of(&check.id)
                .since(check.changed_at),
        );
    }
    for beat in heartbeat::missing(conn, MOST as i64)? {
        let what = match beat.state {
            heartbeat::HeartbeatState::Failed => "reported a failure",
            _ => "is missing",
        };
        let text = format!("The heartbeat “{}” {what}.", beat.given.name);
        faults.push(
            Fault::new(FaultKind::Heartbeat, text)
                .of(&beat.id)
                .since(beat.changed_at),
        );
    }
    backups(conn, settings, &mut faults)?;
    contacts(conn, &mut faults)?;
    if settings.outbox {
        let text = "No mail server is set. Emails are written to files and reach nobody.";
        faults.push(Fault::new(FaultKind::Outbox, text));
    }
    Ok(faults)
}

fn mail(conn: &mut Conn, settings: &Settings, sending: &[BeingSent], faults: &mut Vec<Fault>) -> Result<()> {
    // These have a mail server that takes over. If none works, emails wait.
    for server in mail_servers::failing(conn)? {
        let Some(other) = &server.taken_over_by else {
            continue;
        };
        let text = format!(
            "The mail server {} fails. The mail server {other} has taken over.",
            server.address
        );
        faults.push(
            Fault::new(FaultKind::MailServer, text)
                .of(&server.address)
                .since(Some(server.since)),
        );
    }
    let waiting: i64 = sending.iter().map(|one| one.pending).sum();
    // Without a pending email, nothing can wait for the mail server.
    if waiting == 0 {
        return Ok(());
    }
    let emails = if waiting == 1 {
        "email waits"
    } else {
        "emails wait"
    };
    if let Some(since) = queue::unreachable_since(conn, EMAIL, smtp::NO_CONNECTION)? {
        let text = match settings.mail_servers.as_slice() {
            [] => format!("The mail server does not answer. {waiting} {emails}."),
            [one] => format!("The mail server {one} does not answer. {waiting} {emails}."),
            all => {
                let all = all.join(" and ");
                format!("The mail servers {all} do not answer. {waiting} {emails}.")
            }
        };
        faults.push(Fault::new(FaultKind::MailServer, text).since(Some(since)));
        return Ok(());
    }
    let queued = sending
        .iter()
        .filter(|one| one.pending > 0 && one.wave.as_ref().is_none_or(|wave| !wave.ended))
        .filter_map(|one| one.queued_at)
        .min();
    if let Some(queued) = queued
        && let Some(since) = queue::is_stuck(conn, EMAIL, queued, settings.now)?
    {
        let text = format!("The queue does not move: no worker has tried to send. {waiting} {emails}.");
        faults.push(Fault::new(FaultKind::Queue, text).since(Some(since)));
    }
    Ok(())
}

/// What is wrong with the backups: the last one failed, one cannot be restored, or the schedule has passed twice without one.
fn backups(conn: &mut Conn, settings: &Settings, faults: &mut Vec<Fault>) -> Result<()> {
    let standing = backup::standing(conn)?;
    if let Some(last) = standing.last.filter(|last| last.state == BackupState::Failed) {
        let why = last.error.unwrap_or_default();
        let text = format!("The last backup failed: {why}.");
        faults.push(
            Fault::new(FaultKind::Backup, text)
                .of(&last.id)
                .since(last.finished_at),
        );
    } else if let (Some(schedule), Some(good)) = (&settings.backup_schedule, &standing.last_good) {
        let twice = cron::next(schedule, good.requested_at).and_then(|next| cron::next(schedule, next));
        if twice.is_some_and(|twice| twice.plus(LATE) < settings.now) {
            let text = "No backup was made at the last two times of the schedule: no process makes them.";
            faults.push(Fault::new(FaultKind::Backup, text).since(good.finished_at));
        }
    }
    if let Some(bad) = standing.last_check.filter(|last| last.check == CheckState::Bad) {
        let (file, why) = (bad.file.unwrap_or_default(), bad.check_error.unwrap_or_default());
        let text = format!("The backup {file} cannot be restored: {why}.");
        faults.push(
            Fault::new(FaultKind::Backup, text)
                .of(&bad.id)
                .since(bad.checked_at),
        );
    }
    Ok(())
}

/// What is wrong with the encrypted copies of the contacts.
fn contacts(conn: &mut Conn, faults: &mut Vec<Fault>) -> Result<()> {
    for one in copy::standing(conn)? {
        if let Some(since) = one.failed_at {
            let text = format!(
                "The copy of the contacts cannot be written: {}.",
                one.error.unwrap_or_default()
            );
            faults.push(Fault::new(FaultKind::Contacts, text).since(Some(since)));
        }
    }
    Ok(())
}

fn sources(status: &SourceStatus, faults: &mut Vec<Fault>) {
    let name = &status.source.name;
    if status.needs_confirmation.is_some() {
        let text =
            format!("The source “{name}” waits: it would archive many entries, and a person must confirm.");
        faults.push(Fault::new(FaultKind::SourceWaits, text).of(&status.source.id));
    }
    if status.stale {
        let text = match status.age_seconds {
            Some(seconds) => format!("The directory from “{name}” is {} old.", how_long(seconds)),
            None => format!("The directory from “{name}” was never read."),
        };
        let fault = Fault::new(FaultKind::SourceStale, text).of(&status.source.id);
        faults.push(fault.since(status.source.last_success_at));
    }
}
