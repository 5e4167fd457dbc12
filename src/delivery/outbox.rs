//! The channel without a mail server: each mail a file that any mail program opens.

use std::path::{Path, PathBuf};

use super::{Mail, Outcome};

/// Writes the mail as `NAME.eml`, whole or not at all.
pub async fn deliver(directory: &Path, mail: &Mail) -> Outcome {
    let target: PathBuf = directory.join(format!("{}.eml", mail.name));
    let part: PathBuf = directory.join(format!("{}.part", mail.name));
    let written = async {
        tokio::fs::create_dir_all(directory).await?;
        tokio::fs::write(&part, mail.message.as_bytes()).await?;
        tokio::fs::rename(&part, &target).await
    };
    match written.await {
        Ok(()) => Outcome::Sent("written to the outbox".to_owned()),
        Err(error) => Outcome::Retry(None, format!("the outbox cannot be written: {error}")),
    }
}
