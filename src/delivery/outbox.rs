//! The outbox, which is used without a mail server. Each email is a file that any email program can open.
//! Only the user that runs Candor can read it.

use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt;

use super::email::Mail;
use super::outcome::Outcome;
use crate::db::file;

/// Writes the email as `NAME.eml`. The file is either complete or absent.
pub async fn deliver(directory: &Path, mail: &Mail) -> Outcome {
    let target: PathBuf = directory.join(format!("{}.eml", mail.name));
    let part: PathBuf = directory.join(format!("{}.part", mail.name));
    let written = async {
        tokio::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .await?;
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&part).await?;
        file.write_all(mail.message.as_bytes()).await?;
        file.flush().await?;
        tokio::fs::rename(&part, &target).await
    };
    match written.await {
        Ok(()) => Outcome::Sent("written to the outbox".to_owned()),
        Err(error) => Outcome::Retry(None, format!("the outbox cannot be written: {error}")),
    }
}

/// Removes the permissions of other users from emails that were written before. The permissions of an
/// existing folder stay unchanged, because it may also be used for other files.
pub fn make_private(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "eml" || end == "part") {
            file::make_private(&path);
        }
    }
}

/// Deletes the emails with these Message-IDs. An email that does not exist is skipped.
///
/// # Errors
/// An I/O error if a file exists and cannot be deleted.
pub fn remove(directory: &Path, message_ids: &[String]) -> std::io::Result<()> {
    for message_id in message_ids {
        let name = super::email::file_name(message_id);
        for end in ["eml", "part"] {
            match std::fs::remove_file(directory.join(format!("{name}.{end}"))) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Deletes the emails for which `which` returns true. It gets the bytes of the email without the line breaks that its encoding adds.
///
/// # Errors
/// An I/O error if the directory or a file cannot be read, or if a file cannot be deleted. A directory that does not exist is no error.
pub fn remove_if(directory: &Path, which: impl Fn(&[u8]) -> bool) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if !path.extension().is_some_and(|end| end == "eml" || end == "part") {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&path)?)
            .replace("=\r\n", "")
            .replace("=\n", "");
        if which(text.as_bytes()) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}
