//! The manifest of a file of evidence, as its reader sees it.

use serde::Deserialize;

/// What the manifest says.
#[derive(Deserialize)]
pub(super) struct Manifest {
    pub format: String,
    pub made_at: String,
    pub about: About,
    pub events: Vec<(i64, String)>,
    pub redacted: Vec<i64>,
    pub files: Vec<Listed>,
}

/// Whom and what a file is about.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct About {
    pub incident: String,
    pub number: i64,
    pub incidents: Vec<String>,
    pub person: Option<String>,
    pub account: Option<String>,
}

/// A file of the manifest.
#[derive(Deserialize)]
pub(super) struct Listed {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}
