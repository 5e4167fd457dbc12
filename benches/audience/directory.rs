//! The directory that is asked: many customers with projects, folders and files in any depth, and people who work on them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::support::{Context, Result};

/// Resources of each account, in a chain of folders of which the last one holds the files.
const RESOURCES_EACH: u64 = 10;
/// People of each account: an owner and two more members.
const PEOPLE_EACH: u64 = 3;
/// How many lines a resource of it comes to, with the account, the people and the edges that belong to it.
pub const LINES_EACH: f64 = (1 + PEOPLE_EACH + RESOURCES_EACH + 3 + 2) as f64 / RESOURCES_EACH as f64;

/// What an incident affects: about a tenth of all resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affected {
    /// One file of each account: nothing above them is shared, and every account has somebody to tell.
    Spread,
    /// All files of a seventh of the accounts.
    Whole,
}

impl Affected {
    /// Both.
    pub const ALL: [Affected; 2] = [Affected::Spread, Affected::Whole];

    /// As in the table.
    pub fn name(self) -> &'static str {
        match self {
            Affected::Spread => "a file of each account",
            Affected::Whole => "all files of some accounts",
        }
    }

    /// The body of a request.
    pub fn selector(self) -> Value {
        match self {
            Affected::Spread => json!({"selector": {"type": "file", "labels": {"provider": "s3"}}}),
            Affected::Whole => json!({"selector": {"type": "file", "labels": {"shard": "3"}}}),
        }
    }
}

/// Writes a directory of so many resources as NDJSON: a tenth as many accounts, three tenths as many people, and half as
/// many members and collaborators.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(resources: u64, path: &Path) -> Result<()> {
    let file = File::create(path).context(path.display())?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let accounts = resources / RESOURCES_EACH;
    for a in 1..=accounts {
        for line in account(a, accounts) {
            writeln!(out, "{line}").context(path.display())?;
        }
    }
    out.flush().context(path.display())
}

/// The lines of one account, each after those that it refers to.
fn account(a: u64, accounts: u64) -> Vec<Value> {
    let account = format!("studio-{a}");
    let mut lines = vec![json!({"kind": "account", "id": account, "name": format!("Studio {a} Pictures")})];
    for p in 1..=PEOPLE_EACH {
        let person = format!("person-{a}-{p}");
        lines.push(
            json!({"kind": "person", "id": person, "name": format!("Alex Person {a}-{p}"),
            "email": format!("{person}@crowd.example")}),
        );
        let role = if p == 1 { "owner" } else { "editor" };
        lines.push(json!({"kind": "member", "account": account, "person": person, "role": role}));
    }
    let resource = |n: u64| format!("node-{a}-{n}");
    lines.push(
        json!({"kind": "resource", "type": "project", "id": resource(1), "account": account,
        "name": format!("Launch film {a}")}),
    );
    // One to three folders deep.
    let folders = 1 + a % 3;
    let mut parent = json!({"type": "project", "id": resource(1)});
    for n in 2..2 + folders {
        lines.push(
            json!({"kind": "resource", "type": "folder", "id": resource(n), "name": format!("Reel {n}"),
            "parent": parent}),
        );
        parent = json!({"type": "folder", "id": resource(n)});
    }
    let files = 2 + folders..=RESOURCES_EACH;
    let hit = 2 + folders + a % (RESOURCES_EACH - 1 - folders);
    for n in files {
        let provider = if n == hit { "s3" } else { "gcs" };
        lines.push(json!({"kind": "resource", "type": "file", "id": resource(n), "name": format!("Interview {a}, take {n}"),
            "parent": parent, "labels": {"provider": provider, "shard": (a % 7).to_string()}}));
    }
    // One of the account's own people on the project, and somebody of an earlier account on the last folder.
    lines.push(
        json!({"kind": "collaborator", "resource": {"type": "project", "id": resource(1)},
        "person": format!("person-{a}-2"), "role": "editor"}),
    );
    let guest = 1 + (a * 7919 % accounts).min(a - 1);
    lines.push(json!({"kind": "collaborator", "resource": parent, "person": format!("person-{guest}-3"), "role": "viewer"}));
    lines
}
