//! Writes the directory of the people who are notified. Either each person is a customer with their own
//! account, project and files, or all people work on one large project.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{Context, Result};

/// The number of files in each project that the incident affects. Each email therefore names two resources of
/// its recipient.
const FILES: u64 = 2;

/// Which people work on which resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each person has their own account, project and files, so that each email is different.
    Own,
    /// All people work on one project, so that the emails differ only in the names of the people.
    Shared,
}

impl Shape {
    /// Returns the body of the request that marks the affected resources.
    pub fn selector(self) -> Value {
        json!({"selector": {"type": "file", "labels": {"provider": "s3"}}})
    }

    /// Writes a directory of this many people as NDJSON.
    ///
    /// # Errors
    /// The reason why the file cannot be written.
    pub fn write(self, people: u64, path: &Path) -> Result<()> {
        let file = File::create(path).context(path.display())?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let mut line = |value: Value| writeln!(out, "{value}").context(path.display());
        if self == Shape::Shared {
            line(json!({"kind": "account", "id": "crowd", "name": "Crowd Pictures"}))?;
            line(
                json!({"kind": "resource", "type": "project", "id": "stage", "account": "crowd", "name": "The long night"}),
            )?;
            for n in 1..=FILES {
                line(
                    json!({"kind": "resource", "type": "file", "id": format!("take-{n}"), "name": format!("Take {n}, rough cut"),
                    "parent": {"type": "project", "id": "stage"}, "labels": {"provider": "s3"}}),
                )?;
            }
        }
        for i in 1..=people {
            let person = format!("person-{i}");
            line(
                json!({"kind": "person", "id": person, "name": format!("Alex Person {i}"),
                "email": format!("person-{i}@crowd.example")}),
            )?;
            match self {
                Shape::Shared => {
                    line(
                        json!({"kind": "collaborator", "resource": {"type": "project", "id": "stage"}, "person": person,
                        "role": "editor"}),
                    )?;
                }
                Shape::Own => {
                    let (account, project) = (format!("studio-{i}"), format!("project-{i}"));
                    line(json!({"kind": "account", "id": account, "name": format!("Studio {i} Pictures")}))?;
                    line(json!({"kind": "member", "account": account, "person": person, "role": "owner"}))?;
                    line(
                        json!({"kind": "resource", "type": "project", "id": project, "account": account,
                        "name": format!("Launch film {i}")}),
                    )?;
                    for n in 1..=FILES {
                        line(
                            json!({"kind": "resource", "type": "file", "id": format!("file-{i}-{n}"),
                            "name": format!("Interview {i}, take {n}"), "parent": {"type": "project", "id": project},
                            "labels": {"provider": "s3"}}),
                        )?;
                    }
                }
            }
        }
        out.flush().context(path.display())
    }
}
