//! Verifies a file of evidence without a database and without the process that made it.
//!
//! 1. Every file has the hash that the manifest says, and there is no other file.
//! 2. The checkpoint is signed, and every event is in its tree.
//! 3. The events are those of the manifest, and one more: that this manifest was made.
//! 4. Recipients, attempts, emails and answers are those whose digests the events contain.
//! 5. The checkpoints in the emails are earlier states of the same tree.
//!
//! The first fault ends it. What nothing but the manifest proves is said as such.

mod archive;
mod attempts;
mod contents;
mod manifest;
mod stamps;
mod trail;

use std::path::Path;

use archive::Archive;
use contents::Contents;
use manifest::Manifest;
use trail::Trail;

use super::export::FORMAT;
use crate::audit::note::VerifierKey;

/// The files that the manifest cannot list, because they are made after it. Each of them is proven in its own way.
const AFTER: [&str; 5] = [
    "manifest.json",
    "audit/checkpoint",
    "audit/key",
    "audit/events.ndjson",
    "audit/proofs.json",
];

/// Verifies a file. `key` is the key of the sender, from another source than the file. Returns what is proven, one sentence for each.
///
/// # Errors
/// One sentence with the first fault.
pub fn verify(file: &Path, key: Option<&VerifierKey>) -> Result<Vec<String>, String> {
    let mut archive = Archive::open(file)?;
    let text = archive.text("manifest.json")?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| format!("manifest.json cannot be read: {error}"))?;
    if manifest.format != FORMAT {
        return Err(format!(
            "the file has the format {}, which this version cannot verify",
            manifest.format
        ));
    }
    let digest = archive::sha256(text.as_bytes());
    archive.check(&manifest.files, &AFTER)?;
    let trail = Trail::read(&mut archive, &manifest, key)?;
    let seq = trail.check_manifest(&manifest, &digest)?;
    let about = &manifest.about;
    let whom = match (&about.person, &about.account) {
        (None, None) => "everybody".to_owned(),
        (Some(person), _) => format!("the person {person}"),
        (None, Some(account)) => format!("the account {account}"),
    };
    let mut proven = vec![
        format!(
            "The file is about incident #{} and {whom}, and was made at {}.",
            about.number, manifest.made_at
        ),
        format!(
            "All {} files are those of the manifest, and event {seq} of the audit trail contains the hash of the manifest.",
            manifest.files.len()
        ),
    ];
    proven.extend(trail.proven(key.is_some()));
    let mut contents = Contents::new(&mut archive, &trail);
    contents.check()?;
    proven.extend(contents.proven());
    proven.extend(stamps::check(&mut archive, &trail, &manifest.files)?);
    proven.push(
        "The incident, the timeline, the recovery and the page are what the sender exported: the manifest proves that they were not \
         changed since, and nothing proves that they are true."
            .to_owned(),
    );
    Ok(proven)
}
