//! Writes the directory of which audiences are computed. It has many customers with projects, folders at
//! different depths, files, and people who work on them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::support::{Context, Result};

/// The number of resources of each account: one project, a chain of folders, and the files in the last
/// folder.
const RESOURCES_EACH: u64 = 10;
/// The number of people of each account: one owner and two other members.
const PEOPLE_EACH: u64 = 3;
/// The number of lines in the directory for each resource. It counts the resources, and the accounts, people,
/// members and collaborators that belong to them.
pub const LINES_EACH: f64 = (1 + PEOPLE_EACH + RESOURCES_EACH + 3 + 2) as f64 / RESOURCES_EACH as f64;

/// The resources that an incident affects, which are about a tenth of all resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affected {
    /// One file of each account is affected. These files have no common ancestor, and every account has
    /// people in the audience.
    Spread,
    /// All files of a seventh of the accounts are affected.
    Whole,
}

impl Affected {
    /// Both selections, in the order in which they are measured.
    pub const ALL: [Affected; 2] = [Affected::Spread, Affected::Whole];

    /// Returns the name that the table shows.
    pub fn name(self) -> &'static str {
        match self {
            Affected::Spread => "a file of each account",
            Affected::Whole => "all files of some accounts",
        }
    }

    /// Returns the body of the request that marks these resources as affected.
    pub fn selector(self) -> Value {
        match self {
            Affected::Spread => json!({"selector": {"type": "file", "labels": {"provider": "s3"}}}),
            Affected::Whole => json!({"selector": {"type": "file", "labels": {"shard": "3"}}}),
        }
    }
}

/// Writes a directory with this many resources as NDJSON. It has a tenth as many accounts, three tenths as
/// many people, three tenths as many members, and a fifth as many collaborators.
///
/// # Errors
/// The reason why the file cannot be written.
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

/// Returns the lines of one account. Each line comes after the lines that it refers to.
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
    // The chain has one, two or three folders.
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
    // A member of the account is a collaborator on the project. Another person is a collaborator on the last
    // folder. In about half of the accounts this person belongs to an earlier account, and in the others to
    // the same account.
    lines.push(
        json!({"kind": "collaborator", "resource": {"type": "project", "id": resource(1)},
        "person": format!("person-{a}-2"), "role": "editor"}),
    );
    let guest = 1 + (a * 7919 % accounts).min(a - 1);
    lines.push(json!({"kind": "collaborator", "resource": parent, "person": format!("person-{guest}-3"), "role": "viewer"}));
    lines
}
