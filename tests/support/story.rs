//! The directory of the first story, the file-access incident.
//!
//! The media item `interview` of the project `savanna` of Nyota Films has two versions, which are both stored
//! with the provider s3. Its owner and two collaborators are affected. Nobody else is affected: not the other
//! members of the account, not the collaborator on its other project, and nobody of Kilele Studio.

/// The affected account and project. Its media item with the two files follows below.
pub const ACCOUNT: &str = "nyota-films";
pub const PROJECT: &str = "savanna";
pub const MEDIA: &str = "interview";
pub const FILES: [&str; 2] = ["interview-v1", "interview-v2"];

/// The IDs of the people to notify, sorted: the owner and the two collaborators.
pub const AFFECTED: [&str; 3] = ["amina", "baraka", "wanjiru"];

/// Their addresses in the same order.
pub const ADDRESSES: [&str; 3] = [
    "amina@nyota-films.example",
    "baraka@sound-works.example",
    "wanjiru@nyota-films.example",
];

/// The IDs of all other people in the directory.
pub const UNAFFECTED: [&str; 4] = ["grace", "otieno", "tumaini", "zuri"];

/// Returns the body for `POST /api/v1/directory/import`.
pub fn story_directory() -> &'static str {
    include_str!("../../src/demo/directory.ndjson")
}
