//! The record of a message that is sent without the database: one JSON object on each line, appended and synced to the disk before and
//! after each attempt. Each line contains the hash of the line before, so that a line that was changed or removed is found.
//!
//! - An attempt is in the record before the mail server hears of it. So after a kill, an attempt without an outcome may have arrived, and is
//!   never repeated.
//! - A line that was not written completely is the last one. It is removed when the record is continued: its attempt has not begun, or
//!   its outcome is not known.
//! - Only one process at a time writes a record.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::audience::Chosen;
use crate::base::error::{Error, FieldError, Result};
use crate::base::text::hex;
use crate::base::time::Timestamp;

/// The largest record that is read, in bytes.
pub const LARGEST: u64 = 512 * 1024 * 1024;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// The first line: the message.
    Message {
        /// The ID of the record, which is random.
        id: String,
        /// The subject of the message, which is one line.
        subject: String,
        /// The text of the message. Empty lines separate paragraphs.
        text: String,
        /// The sender of the emails, as it is configured in `CANDOR_MAIL_FROM`.
        from: String,
    },
    /// A run of the command begins.
    Run {
        /// When the copy of the contacts was made.
        contacts_made_at: Option<Timestamp>,
        /// The number of addresses of the list.
        recipients: usize,
        /// The IDs of the chosen accounts. Null if all were chosen.
        accounts: Option<Vec<String>>,
        /// The roles, if others than usual.
        roles: Vec<String>,
    },
    /// An email is about to be handed over.
    Attempt {
        /// The key of the mailbox.
        key: String,
        /// The email address that the email is sent to.
        address: String,
        /// The people with this mailbox, and why.
        people: Vec<Chosen>,
    },
    /// What came of the attempt.
    Outcome {
        /// The key of the mailbox.
        key: String,
        /// What became of the email at the mail server.
        outcome: Delivered,
        /// What the mail server said, or why there was no answer.
        reply: String,
    },
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivered {
    /// The mail server accepted the email.
    Accepted,
    /// The mail server refused it permanently.
    Refused,
    /// The mail server did not accept it yet. It is tried again when the command is repeated.
    NotYet,
    /// It is not known. The email may have arrived, so it is not sent again.
    Unknown,
}

impl Delivered {
    /// Returns the word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Delivered::Accepted => "accepted",
            Delivered::Refused => "refused",
            Delivered::NotYet => "not_yet",
            Delivered::Unknown => "unknown",
        }
    }
}

/// A line of the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    at: Timestamp,
    entry: serde_json::Value,
    prev: String,
    hash: String,
}

fn hash(seq: u64, at: Timestamp, entry: &serde_json::Value, prev: &str) -> Result<String> {
    // The keys of an object are in alphabetical order.
    let fields = serde_json::to_vec(&(seq, at.as_micros(), entry, prev))?;
    Ok(hex(&Sha256::digest(&fields)))
}

/// How one mailbox stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What came of the last attempt. An attempt without an outcome is [`Delivered::Unknown`].
    pub outcome: Delivered,
    /// When the outcome of the last attempt was recorded, or when the attempt began if there is no outcome.
    pub at: Timestamp,
    /// The people, and why.
    pub people: Vec<Chosen>,
}

/// A record as it was read.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// The ID of the record.
    pub id: String,
    /// The subject of the message, which is one line.
    pub subject: String,
    /// The text of the message. Empty lines separate paragraphs.
    pub text: String,
    /// The sender of the emails, as it was configured in `CANDOR_MAIL_FROM`.
    pub from: String,
    /// The time of the first line.
    pub began_at: Option<Timestamp>,
    /// The time of the last line.
    pub ended_at: Option<Timestamp>,
    /// How each mailbox stands, by its key.
    pub mailboxes: HashMap<String, Standing>,
    /// The hashes of the lines.
    pub hashes: Vec<String>,
    /// The size of the complete lines, in bytes.
    size: u64,
}

impl Content {
    /// Reads a record and verifies its chain.
    ///
    /// # Errors
    /// `Invalid` with the first wrong line.
    pub fn read(bytes: &[u8]) -> Result<Content> {
        let mut content = Content::default();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let number = content.hashes.len() as u64 + 1;
            let wrong = |detail: &str| Error::fields(vec![FieldError::on_line(number, detail)]);
            let line: Line =
                serde_json::from_slice(&rest[..end]).map_err(|_| wrong("is not a line of a record"))?;
            let prev = content.hashes.last().map_or("", String::as_str);
            if line.seq != number
                || line.prev != prev
                || line.hash != hash(line.seq, line.at, &line.entry, prev)?
            {
                return Err(wrong("was changed, or a line before it was removed"));
            }
            let entry: Entry =
                serde_json::from_value(line.entry).map_err(|_| wrong("is of an unknown kind"))?;
            content.take(entry, line.at).map_err(wrong)?;
            content.hashes.push(line.hash);
            content.size += end as u64 + 1;
            rest = &rest[end + 1..];
        }
        if content.hashes.is_empty() {
            return Err(Error::invalid(
                "",
                "the file is not the record of an emergency notice",
            ));
        }
        Ok(content)
    }

    fn take(&mut self, entry: Entry, at: Timestamp) -> std::result::Result<(), &'static str> {
        if self.hashes.is_empty() != matches!(entry, Entry::Message { .. }) {
            return Err("the message must be the first line, and only there");
        }
        self.began_at = self.began_at.or(Some(at));
        self.ended_at = Some(at);
        match entry {
            Entry::Message {
                id,
                subject,
                text,
                from,
            } => {
                (self.id, self.subject, self.text, self.from) = (id, subject, text, from);
            }
            Entry::Run { .. } => {}
            Entry::Attempt { key, people, .. } => {
                let standing = Standing {
                    outcome: Delivered::Unknown,
                    at,
                    people,
                };
                self.mailboxes.insert(key, standing);
            }
            Entry::Outcome { key, outcome, .. } => {
                let standing = self
                    .mailboxes
                    .get_mut(&key)
                    .ok_or("is the outcome of no attempt")?;
                (standing.outcome, standing.at) = (outcome, at);
            }
        }
        Ok(())
    }

    /// Returns the numbers of mailboxes with each outcome: accepted, refused, not yet, unknown.
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for standing in self.mailboxes.values() {
            counts[match standing.outcome {
                Delivered::Accepted => 0,
                Delivered::Refused => 1,
                Delivered::NotYet => 2,
                Delivered::Unknown => 3,
            }] += 1;
        }
        counts
    }
}

/// A record that is being written.
pub struct Record {
    file: File,
    content: Content,
}

impl Record {
    /// Opens a record, or begins one if the file does not exist. A record of another message is not continued.
    ///
    /// # Errors
    /// `Conflict` if another process writes it, or if it is the record of another message. `Invalid` if it was changed.
    pub fn open(
        path: &Path,
        (id, subject, text, from): (&str, &str, &str, &str),
        now: Timestamp,
    ) -> Result<Record> {
        let shown = path.display();
        let cannot = |error: std::io::Error| Error::Unavailable(format!("{shown}: {error}"));
        // The addresses in it are for its owner only.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Conflict(format!(
                    "{shown}: another process is sending this message"
                )));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        let mut bytes = Vec::new();
        Read::take(&mut file, LARGEST)
            .read_to_end(&mut bytes)
            .map_err(cannot)?;
        let mut record = match bytes.contains(&b'\n') {
            true => Record {
                content: Content::read(&bytes)?,
                file,
            },
            // At most the begin of the first line was written, so nothing was sent.
            false => Record {
                content: Content::default(),
                file,
            },
        };
        let end = record.content.size;
        record.file.set_len(end).map_err(cannot)?;
        record.file.seek(SeekFrom::Start(end)).map_err(cannot)?;
        if record.content.hashes.is_empty() {
            record.add(
                Entry::Message {
                    id: id.to_owned(),
                    subject: subject.to_owned(),
                    text: text.to_owned(),
                    from: from.to_owned(),
                },
                now,
            )?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))
                .and_then(|folder| folder.sync_all())
                .map_err(cannot)?;
        }
        if (record.content.subject.as_str(), record.content.text.as_str()) != (subject, text) {
            return Err(Error::Conflict(format!(
                "{shown} is the record of another message; give each message a record of its own"
            )));
        }
        Ok(record)
    }

    /// Appends a line, and returns when it is on the disk.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written. Then nothing more may be sent.
    pub fn add(&mut self, entry: Entry, now: Timestamp) -> Result<()> {
        let prev = self.content.hashes.last().cloned().unwrap_or_default();
        let seq = self.content.hashes.len() as u64 + 1;
        let value = serde_json::to_value(&entry)?;
        let hash = hash(seq, now, &value, &prev)?;
        let line = Line {
            seq,
            at: now,
            entry: value,
            prev,
            hash: hash.clone(),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| Error::Unavailable(format!("the record cannot be written: {error}")))?;
        self.content.take(entry, now).map_err(Error::internal)?;
        self.content.hashes.push(hash);
        self.content.size += text.len() as u64;
        Ok(())
    }

    /// Notes that a run of the command begins.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written.
    pub fn begin(
        &mut self,
        contacts_made_at: Option<Timestamp>,
        recipients: usize,
        accounts: Option<Vec<String>>,
        roles: Vec<String>,
        now: Timestamp,
    ) -> Result<()> {
        let run = Entry::Run {
            contacts_made_at,
            recipients,
            accounts,
            roles,
        };
        self.add(run, now)
    }

    /// Returns what the record says so far.
    pub fn content(&self) -> &Content {
        &self.content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn attempt(key: &str) -> Entry {
        Entry::Attempt {
            key: key.to_owned(),
            address: key.to_owned(),
            people: Vec::new(),
        }
    }

    fn outcome(key: &str, outcome: Delivered) -> Entry {
        Entry::Outcome {
            key: key.to_owned(),
            outcome,
            reply: "250 ok".to_owned(),
        }
    }

    fn open(path: &Path) -> Result<Record> {
        Record::open(path, ("1", "Subject", "Text", "Candor"), NOW)
    }

    #[test]
    fn a_record_is_continued_where_it_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let mut record = open(&path).unwrap();
        assert!(open(&path).is_err(), "only one process writes it");
        record.add(attempt("a@example.com"), NOW).unwrap();
        record
            .add(outcome("a@example.com", Delivered::Accepted), NOW)
            .unwrap();
        record.add(attempt("b@example.com"), NOW).unwrap();
        drop(record);
        let whole = std::fs::read(&path).unwrap();
        let lines: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
        // At whatever byte it is cut, the complete lines count, and the chain goes on.
        for cut in (0..=whole.len()).step_by(13).chain([whole.len()]) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut record = open(&path).unwrap();
            let complete = lines.iter().filter(|end| **end < cut).count().max(1);
            assert_eq!(record.content().hashes.len(), complete, "{cut}");
            record.add(attempt("c@example.com"), NOW).unwrap();
            drop(record);
            let content = Content::read(&std::fs::read(&path).unwrap()).unwrap();
            let of = |key: &str| content.mailboxes.get(key).map(|standing| standing.outcome);
            assert_eq!(of("c@example.com"), Some(Delivered::Unknown));
            let expected = match complete {
                1 => None,
                2 => Some(Delivered::Unknown),
                _ => Some(Delivered::Accepted),
            };
            assert_eq!(of("a@example.com"), expected, "{cut}");
        }
    }

    #[test]
    fn every_changed_line_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let mut record = open(&path).unwrap();
        record.add(attempt("a@example.com"), NOW).unwrap();
        record
            .add(outcome("a@example.com", Delivered::Refused), NOW)
            .unwrap();
        drop(record);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for wrong in [
            text.replace("refused", "accepted"),
            text.replace("Subject", "Other"),
            [lines[0], lines[2]].concat(),
            [lines[1], lines[2]].concat(),
            [lines[0], lines[1], lines[1]].concat(),
            "{}\n".to_owned(),
            String::new(),
        ] {
            assert!(Content::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let other = Record::open(&path, ("1", "Subject", "Another text", "Candor"), NOW);
        assert!(other.is_err());
    }
}
