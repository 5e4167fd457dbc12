//! The commands about the audit trail: its verification, and the key of its checkpoints.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candor::app;
use candor::audit::anchors::{Anchor, AnchoredBy};
use candor::audit::mailed::{MailVerification, verify_mail};
use candor::audit::note::{SigningKey, VerifierKey};
use candor::audit::{Verification, verify_with};
use candor::base::error::Error;
use candor::base::time::Clock;
use candor::config::Config;
use candor::evidence;
use clap::{Args, Subcommand};

use crate::console;

/// The largest size of an email, in bytes.
const MAX_MAIL: u64 = 50 * 1024 * 1024;

/// A command about the audit trail.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Verifies the whole audit trail. If it is not intact, prints the first wrong event and ends with exit
    /// code 1.
    Verify(VerifyArguments),
    /// Creates a key that signs checkpoints, writes it to a file and prints the public key that verifies them.
    Key {
        /// The file to write, for CANDOR_AUDIT_KEY_FILE. It must not exist.
        file: PathBuf,
    },
}

/// What a verification compares the trail with.
#[derive(Args)]
pub struct VerifyArguments {
    /// An email that Candor sent earlier, as a file (.eml). The trail must begin with exactly the events that it had
    /// when this email was sent.
    #[arg(long)]
    mail: Option<PathBuf>,
    /// Verifies a file of evidence instead. This needs no database and no settings.
    #[arg(long, value_name = "FILE", conflicts_with = "mail")]
    evidence: Option<PathBuf>,
    /// The verifier key of the sender, from another source than the file of evidence: NAME+HASH+KEY.
    #[arg(long, value_name = "VERIFIER_KEY", requires = "evidence", value_parser = VerifierKey::parse)]
    key: Option<VerifierKey>,
}

/// Verifies a file of evidence, if this is what the command is about. A reader of the file has no database and no settings. If something
/// is wrong, prints it and ends with exit code 1.
///
/// # Errors
/// A sentence, if the result cannot be printed.
pub fn verify_evidence(command: &AuditCommand) -> Option<Result<ExitCode, String>> {
    let AuditCommand::Verify(arguments) = command else {
        return None;
    };
    let file = arguments.evidence.as_deref()?;
    let (lines, code) = match evidence::verify::verify(file, arguments.key.as_ref()) {
        Ok(proven) => (proven, ExitCode::SUCCESS),
        Err(fault) => (vec![format!("not proven: {fault}")], ExitCode::FAILURE),
    };
    Some(
        lines
            .iter()
            .try_for_each(|line| console::say(line))
            .map(|()| code),
    )
}

/// Runs one of the commands.
///
/// # Errors
/// A sentence for the person at the terminal.
pub async fn run(config: &Config, command: AuditCommand) -> Result<ExitCode, String> {
    match command {
        AuditCommand::Verify(arguments) => verify(config, arguments).await,
        AuditCommand::Key { file } => create_key(config, &file),
    }
}

async fn verify(config: &Config, arguments: VerifyArguments) -> Result<ExitCode, String> {
    let shown = |error: Error| error.chain();
    let mail = arguments.mail.as_deref().map(read_mail).transpose()?;
    let trust = app::trust(config).map_err(shown)?;
    let db = app::open_database(config, Clock::system()).await.map_err(shown)?;
    let Some(mail) = mail else {
        let verified = verify_with(&db, trust, Vec::new()).await.map_err(shown)?;
        return say_trail(&verified.verification);
    };
    let verified = verify_mail(&db, trust, &mail).await.map_err(shown)?;
    let trail = say_trail(&verified.trail)?;
    say_mail(&verified)?;
    Ok(if verified.ok { trail } else { ExitCode::FAILURE })
}

/// Prints the result of the verification of the trail.
fn say_trail(result: &Verification) -> Result<ExitCode, String> {
    if let (Some(at), Some(reason)) = (result.broken_at, &result.reason) {
        console::say(&format!("broken at event {at}: {reason}"))?;
        return Ok(ExitCode::FAILURE);
    }
    console::say(&format!(
        "the chain is intact: {} events, head {}, root {}",
        result.events, result.head, result.root
    ))?;
    for anchor in &result.anchors {
        console::say(&format!(
            "events {} to {} are anchored by {}",
            anchor.from,
            anchor.to,
            anchored_by(anchor)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn anchored_by(anchor: &Anchor) -> String {
    let at = anchor.at;
    match anchor.by {
        AnchoredBy::Checkpoint => format!("a checkpoint in the database, stored at {at}"),
        AnchoredBy::Email => format!("a checkpoint in emails from {at}"),
        AnchoredBy::TimeStamp => format!(
            "a time stamp of {} from {at} ({})",
            anchor.authority.as_deref().unwrap_or("an authority"),
            match anchor.trusted {
                None => "its certificate is not verified, because CANDOR_AUDIT_TIMESTAMP_CA_FILE is not set",
                Some(true) => "its certificate is verified",
                Some(false) => "its certificate is not from an authority of CANDOR_AUDIT_TIMESTAMP_CA_FILE",
            }
        ),
    }
}

/// Prints what the email says, and whether the trail agrees.
fn say_mail(verified: &MailVerification) -> Result<(), String> {
    let mail = &verified.mail;
    let signed = match mail.signed_for.as_slice() {
        [] => "no DKIM signature covers the checkpoint".to_owned(),
        domains => format!(
            "a DKIM signature for {} covers the checkpoint",
            domains.join(", ")
        ),
    };
    console::say(&format!(
        "the email is from {}, has the date {}, and names {} events with the root {}; {signed} (the signature is not verified here: \
         use for example 'dkimverify < FILE')",
        mail.origin,
        mail.date.as_deref().unwrap_or("unknown"),
        mail.size,
        mail.root
    ))?;
    match &verified.reason {
        Some(reason) => console::say(&format!("the trail does not agree with the email: {reason}")),
        None => console::say(&format!(
            "the trail begins with exactly the {} events that it had when the email was sent",
            mail.size
        )),
    }
}

fn read_mail(file: &Path) -> Result<Vec<u8>, String> {
    let about = |reason: String| format!("{}: {reason}", file.display());
    let opened = std::fs::File::open(file).map_err(|error| about(error.to_string()))?;
    let mut mail = Vec::new();
    opened
        .take(MAX_MAIL + 1)
        .read_to_end(&mut mail)
        .map_err(|error| about(error.to_string()))?;
    if mail.len() as u64 > MAX_MAIL {
        return Err(about(format!("is larger than {MAX_MAIL} bytes")));
    }
    Ok(mail)
}

/// Creates a key and writes it to a new file that only its owner can read.
fn create_key(config: &Config, file: &Path) -> Result<ExitCode, String> {
    let about = |error: std::io::Error| format!("{}: {error}", file.display());
    let origin = config.audit_origin(&config.base_url());
    let key = SigningKey::generate(&origin).map_err(|error| error.chain())?;
    let text = key.private_text().map_err(|error| error.chain())?;
    // The program's umask makes the file private.
    let mut created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .map_err(about)?;
    created
        .write_all(format!("{text}\n").as_bytes())
        .and_then(|()| created.sync_all())
        .map_err(about)?;
    console::note(&format!(
        "the private key is in {}; set CANDOR_AUDIT_KEY_FILE to it. The key that verifies checkpoints:",
        file.display()
    ));
    console::answer(&key.verifier().to_string())?;
    Ok(ExitCode::SUCCESS)
}
