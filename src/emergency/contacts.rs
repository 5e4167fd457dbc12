//! What the copy of the contacts contains: who owns what, and how to reach them. It is lines of JSON, each with its kind, and the last
//! one says how many there are.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::{Deserialize, Serialize};

use super::sealed::{SealedReader, SealedWriter};
use crate::base::error::{Error, Result};
use crate::base::mailbox;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{accounts as a, members as m, people as p};
use crate::delivery::opt_out;
use crate::directory::{Archived, account, person};

/// The number of rows that are read at once.
const STEP: i64 = 2_000;
/// Up to this number, every resource is in the file. Above it, the file has only the numbers of each account.
const RESOURCES: i64 = 200_000;
/// The largest length of a line, in bytes.
const LONGEST: usize = 1024 * 1024;

/// A line of the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The first line of the file, which says when and by which version it was made.
    Copy {
        /// When the directory was read.
        made_at: Timestamp,
        /// The version of Candor.
        candor: String,
    },
    /// An account of the directory that is not archived.
    Account {
        /// The caller's ID of the account.
        id: String,
        /// The name of the account.
        name: String,
        /// The labels of the account, by name.
        labels: BTreeMap<String, String>,
    },
    /// A person of the directory who is not archived.
    Person {
        /// The caller's ID of the person.
        id: String,
        /// The name of the person.
        name: String,
        /// The email address. Empty if none is known.
        email: String,
        /// The language tag of the person, for example `en`. Null if none is known.
        locale: Option<String>,
    },
    /// A member of an account.
    Member {
        /// The ID of the account.
        account: String,
        /// The ID of the person.
        person: String,
        /// The role of the person in the account, for example `owner`.
        role: String,
    },
    /// A collaborator on resources of an account.
    Collaborator {
        /// The ID of the account.
        account: String,
        /// The ID of the person.
        person: String,
        /// The role of the person on these resources.
        role: String,
        /// The number of resources.
        resources: i64,
    },
    /// An address that gets no emails.
    Suppressed {
        /// The key of the mailbox.
        address: String,
        /// Why the address gets no emails: `opted_out`, `bounced` or `complained`.
        reason: String,
    },
    /// How many resources of a type an account owns.
    Resources {
        /// The ID of the account.
        account: String,
        /// The type of the resources.
        r#type: String,
        /// The number of resources of this type that belong to the account.
        count: i64,
    },
    /// A resource and the account that it belongs to. The file has no such line if more than 200,000 resources belong to accounts.
    Resource {
        /// The type of the resource.
        r#type: String,
        /// The caller's ID of the resource.
        id: String,
        /// The ID of the account.
        account: String,
    },
    /// The last line of the file. A file without it is not complete and is rejected.
    End {
        /// The number of lines before it.
        lines: u64,
    },
}

/// The numbers of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The number of accounts.
    pub accounts: i64,
    /// The number of people.
    pub people: i64,
    /// The size of the file, in bytes.
    pub bytes: i64,
}

/// The resources with the account that each belongs to: its own, or that of its nearest ancestor with one. The search stops at an archived
/// resource.
const OWNED: &str = "WITH RECURSIVE owned (key, account_key) AS (\
        SELECT key, account_key FROM resources WHERE gone_at IS NULL AND account_key IS NOT NULL \
        UNION ALL \
        SELECT r.key, o.account_key FROM resources r JOIN owned o ON r.parent_key = o.key \
        WHERE r.account_key IS NULL AND r.gone_at IS NULL) ";

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = Text)]
    account: String,
    #[diesel(sql_type = Text)]
    other: String,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Owned {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    account: String,
}

/// How the name of a file begins that is not complete.
const UNFINISHED: &str = ".candor-contacts-";
/// What an interrupted copy left is removed after this time.
const LEFT: Duration = Duration::from_secs(3_600);

/// Writes the copy to a file. The file has its name only when it is complete, and only its owner may read it.
///
/// # Errors
/// `Unavailable` if the file cannot be written, or an error of the database.
pub fn write(conn: &mut Conn, target: &Path, secret: &str, now: Timestamp) -> Result<Counts> {
    let cannot = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", target.display()));
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    remove_unfinished(folder);
    // Only its owner may read a temporary file.
    let part = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder)
        .map_err(cannot)?;
    let mut out = Lines {
        out: SealedWriter::new(BufWriter::new(part.as_file()), secret).map_err(cannot)?,
        lines: 0,
    };
    let mut counts = fill(conn, &mut out, now)?;
    out.finish()?
        .into_inner()
        .map_err(|error| cannot(error.into_error()))?
        .sync_all()
        .map_err(cannot)?;
    counts.bytes = i64::try_from(part.as_file().metadata().map_err(cannot)?.len()).unwrap_or(i64::MAX);
    part.persist(target).map_err(|error| cannot(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(cannot)?;
    Ok(counts)
}

/// Removes what copies left whose process was killed.
fn remove_unfinished(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let is_one = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(UNFINISHED));
        let age = entry.metadata().and_then(|data| data.modified()).ok();
        if is_one && age.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > LEFT) {
            // If it cannot be removed, the next copy tries it again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

struct Lines<W: Write> {
    out: SealedWriter<W>,
    lines: u64,
}

impl<W: Write> Lines<W> {
    fn add(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.out.write_all(&text).map_err(|error| {
            Error::Unavailable(format!("the copy of the contacts cannot be written: {error}"))
        })?;
        self.lines += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<W> {
        let lines = self.lines;
        self.add(&Line::End { lines })?;
        self.out.finish().map_err(|error| {
            Error::Unavailable(format!("the copy of the contacts cannot be written: {error}"))
        })
    }
}

fn fill<W: Write>(conn: &mut Conn, out: &mut Lines<W>, now: Timestamp) -> Result<Counts> {
    let mut counts = Counts::default();
    out.add(&Line::Copy {
        made_at: now,
        candor: env!("CARGO_PKG_VERSION").to_owned(),
    })?;
    let mut after: Option<String> = None;
    loop {
        let rows = account::list(conn, Archived::Hidden, after.as_deref(), STEP)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id.clone());
        counts.accounts += rows.len() as i64;
        for one in rows {
            out.add(&Line::Account {
                id: one.id,
                name: one.name,
                labels: one.labels,
            })?;
        }
    }
    let mut after: Option<String> = None;
    loop {
        let rows = person::list(conn, Archived::Hidden, None, after.as_deref(), STEP)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id.clone());
        counts.people += rows.len() as i64;
        for one in rows {
            out.add(&Line::Person {
                id: one.id,
                name: one.name,
                email: one.email,
                locale: one.locale,
            })?;
        }
    }
    let members: Vec<(String, String, String)> = m::table
        .inner_join(a::table)
        .inner_join(p::table)
        .filter(m::gone_at.is_null())
        .filter(a::gone_at.is_null())
        .filter(p::gone_at.is_null())
        .order((a::id, p::id))
        .select((a::id, p::id, m::role))
        .load(conn)?;
    for (account, person, role) in members {
        out.add(&Line::Member {
            account,
            person,
            role,
        })?;
    }
    resources(conn, out)?;
    let mut after: Option<String> = None;
    loop {
        let rows = opt_out::list(conn, None, after.as_deref(), STEP)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.address.clone());
        for one in rows {
            out.add(&Line::Suppressed {
                address: one.address,
                reason: one.reason.as_str().to_owned(),
            })?;
        }
    }
    Ok(counts)
}

fn resources<W: Write>(conn: &mut Conn, out: &mut Lines<W>) -> Result<()> {
    let collaborators: Vec<Counted> = diesel::sql_query(format!(
        "{OWNED} SELECT a.id AS account, p.id AS other, c.role AS role, COUNT(*) AS number FROM collaborators c \
         JOIN owned o ON o.key = c.resource_key JOIN accounts a ON a.key = o.account_key JOIN people p ON p.key = c.person_key \
         WHERE c.gone_at IS NULL AND a.gone_at IS NULL AND p.gone_at IS NULL \
         GROUP BY a.id, p.id, c.role ORDER BY a.id, p.id, c.role"
    ))
    .load(conn)?;
    for row in collaborators {
        out.add(&Line::Collaborator {
            account: row.account,
            person: row.other,
            role: row.role,
            resources: row.number,
        })?;
    }
    let owned: Vec<Counted> = diesel::sql_query(format!(
        "{OWNED} SELECT a.id AS account, r.type AS other, '' AS role, COUNT(*) AS number FROM owned o \
         JOIN resources r ON r.key = o.key JOIN accounts a ON a.key = o.account_key WHERE a.gone_at IS NULL \
         GROUP BY a.id, r.type ORDER BY a.id, r.type"
    ))
    .load(conn)?;
    let all: i64 = owned.iter().map(|row| row.number).sum();
    for row in owned {
        out.add(&Line::Resources {
            account: row.account,
            r#type: row.other,
            count: row.number,
        })?;
    }
    if all > RESOURCES {
        return Ok(());
    }
    let each: Vec<Owned> = diesel::sql_query(format!(
        "{OWNED} SELECT r.type AS kind, r.id AS id, a.id AS account FROM owned o JOIN resources r ON r.key = o.key \
         JOIN accounts a ON a.key = o.account_key WHERE a.gone_at IS NULL ORDER BY r.type, r.id"
    ))
    .load(conn)?;
    for row in each {
        out.add(&Line::Resource {
            r#type: row.kind,
            id: row.id,
            account: row.account,
        })?;
    }
    Ok(())
}

/// The contacts of a copy, without its resources.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    /// When the directory was read.
    pub made_at: Option<Timestamp>,
    /// The names of the accounts, by ID.
    pub accounts: BTreeMap<String, String>,
    /// The people, by ID: name and address.
    pub people: HashMap<String, (String, String)>,
    /// Account, person and role of members and collaborators. The last value says whether it is a member.
    pub roles: Vec<(String, String, String, bool)>,
    /// Why an address gets no emails, by the key of its mailbox.
    pub suppressed: HashMap<String, String>,
}

/// Reads a copy, and gives each line to `visit`.
///
/// # Errors
/// `NotFound` if the file does not exist. `Invalid` with the reason, if it is not a complete copy, or if the key is another one.
pub fn each(path: &Path, secret: &str, mut visit: impl FnMut(Line) -> Result<()>) -> Result<()> {
    let wrong = |reason: String| Error::invalid("", format!("{}: {reason}", path.display()));
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound(path.display().to_string()),
        _ => wrong(error.to_string()),
    })?;
    let sealed = SealedReader::new(BufReader::new(file), secret).map_err(|error| wrong(error.to_string()))?;
    let mut reader = BufReader::new(sealed);
    let (mut text, mut lines) = (Vec::new(), 0_u64);
    loop {
        text.clear();
        let read = std::io::Read::take(&mut reader, LONGEST as u64)
            .read_until(b'\n', &mut text)
            .map_err(|error| wrong(error.to_string()))?;
        if read == 0 {
            return Err(wrong("the last line is missing".to_owned()));
        }
        let line: Line = serde_json::from_slice(&text).map_err(|_| {
            wrong(format!(
                "line {} cannot be read by this version of Candor",
                lines + 1
            ))
        })?;
        match line {
            Line::End { lines: said } if said == lines => return Ok(()),
            Line::End { .. } => return Err(wrong("lines are missing".to_owned())),
            line => visit(line)?,
        }
        lines += 1;
    }
}

/// Reads the contacts of a copy.
///
/// # Errors
/// As [`each`].
pub fn read(path: &Path, secret: &str) -> Result<Contacts> {
    let mut contacts = Contacts::default();
    each(path, secret, |line| {
        match line {
            Line::Copy { made_at, .. } => contacts.made_at = Some(made_at),
            Line::Account { id, name, .. } => {
                contacts.accounts.insert(id, name);
            }
            Line::Person { id, name, email, .. } => {
                contacts.people.insert(id, (name, email));
            }
            Line::Member {
                account,
                person,
                role,
            } => contacts.roles.push((account, person, role, true)),
            Line::Collaborator {
                account,
                person,
                role,
                ..
            } => contacts.roles.push((account, person, role, false)),
            Line::Suppressed { address, reason } => {
                contacts.suppressed.insert(mailbox::key_of(&address), reason);
            }
            Line::Resources { .. } | Line::Resource { .. } | Line::End { .. } => {}
        }
        Ok(())
    })?;
    Ok(contacts)
}
