//! Compares the data of a file with the digests that its events contain: the texts and the recipients of notices, the attempts, the emails
//! and the answers.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::archive::{Archive, sha256};
use super::attempts::{self, Attempts};
use super::trail::Trail;
use crate::audit::Action;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::row_tree::RowProof;
use crate::base::text::hex;
use crate::evidence::emails;

/// A notice of `data/notices.json`.
#[derive(Deserialize)]
struct Notice {
    id: String,
    phase: String,
    message: String,
    erased: u64,
    event: Option<i64>,
    list: String,
}

/// The file with the proofs of single recipients.
#[derive(Deserialize)]
struct RecipientProofs {
    proofs: Vec<RowProof>,
}

/// The number of things that were compared.
#[derive(Default)]
struct Counts {
    notices: usize,
    whole: usize,
    recipients: usize,
    attempts: usize,
    emails: usize,
    checkpoints: HashSet<i64>,
    answers: usize,
    unproven: Vec<String>,
}

/// Compares the data of a file.
pub(super) struct Contents<'a> {
    archive: &'a mut Archive,
    trail: &'a Trail,
    /// The addresses of the recipients whose lines are in the file, by notice and position.
    addresses: HashMap<(String, i64), String>,
    attempts: HashMap<i64, Attempts>,
    counts: Counts,
}

/// Returns a text of a row.
fn text<'v>(row: &'v Value, name: &str) -> &'v str {
    row[name].as_str().unwrap_or_default()
}

impl<'a> Contents<'a> {
    /// Prepares to compare the data with the events of a trail.
    pub fn new(archive: &'a mut Archive, trail: &'a Trail) -> Self {
        Contents {
            archive,
            trail,
            addresses: HashMap::new(),
            attempts: HashMap::new(),
            counts: Counts::default(),
        }
    }

    /// Compares everything.
    ///
    /// # Errors
    /// One sentence with the first fault.
    pub fn check(&mut self) -> Result<(), String> {
        let notices: Vec<Notice> = serde_json::from_str(&self.archive.text("data/notices.json")?)
            .map_err(|error| format!("data/notices.json cannot be read: {error}"))?;
        for notice in &notices {
            self.notice(notice)?;
        }
        self.recipients()?;
        let read = attempts::read(self.archive, self.trail)?;
        self.counts.attempts = read.proven;
        if read.unproven > 0 {
            self.counts.unproven.push(format!(
                "Nothing but the manifest proves {} attempts, because data in their batches was erased since, or because the events of \
                 the batches have no root for single attempts.",
                read.unproven
            ));
        }
        self.attempts = read.of_delivery;
        self.deliveries()?;
        self.answers()
    }

    /// Returns what is proven.
    pub fn proven(self) -> Vec<String> {
        let counts = self.counts;
        let mut proven = vec![format!(
            "The texts of {} notices and {} of their recipients are what was frozen before sending ({} whole lists).",
            counts.notices, counts.recipients, counts.whole
        )];
        proven.push(format!(
            "{} attempts with the answers of the mail servers are what was recorded.",
            counts.attempts
        ));
        proven.push(format!(
            "{} emails are byte for byte what was sent, by the hash that was recorded with the attempt.",
            counts.emails
        ));
        if let (Some(first), Some(last)) = (counts.checkpoints.iter().min(), counts.checkpoints.iter().max())
        {
            proven.push(format!(
                "The checkpoints in the headers of the emails ({first} to {last} events) are earlier states of this trail. A copy of such an \
                 email in a mailbox elsewhere shows that the trail was not rewritten since."
            ));
        }
        proven.push(format!("{} answers are what was recorded.", counts.answers));
        proven.extend(counts.unproven);
        proven
    }

    /// Compares the texts and the list of a notice with its event.
    fn notice(&mut self, notice: &Notice) -> Result<(), String> {
        let id = &notice.id;
        let event = notice
            .event
            .and_then(|seq| self.trail.events.get(&seq))
            .filter(|event| event.action == Action::NoticeQueued.as_str() && event.subject == *id)
            .ok_or_else(|| format!("the event of the notice {id} is missing"))?;
        let name = format!("data/recipients/{id}.ndjson");
        let (mut lines, mut hasher, mut shown) = (Vec::new(), Sha256::new(), 0_i64);
        let keep = notice.list != "whole";
        let addresses = &mut self.addresses;
        self.archive.lines(&name, |line| {
            hasher.update(line);
            hasher.update(b"\n");
            if shown == 0 {
                check_texts(notice, line)?;
            } else {
                let row: Value = serde_json::from_str(line).map_err(|error| format!("{name}: {error}"))?;
                let ordinal = row["ordinal"].as_i64().unwrap_or_default();
                addresses.insert((id.clone(), ordinal), text(&row, "address").to_owned());
            }
            shown += 1;
            if keep {
                lines.push(line.to_owned());
            }
            Ok(())
        })?;
        let number = |name: &str| event.after[name].as_i64().unwrap_or_default();
        let all = number("recipients") + number("endpoints") + 1;
        self.counts.notices += 1;
        if notice.erased > 0 {
            self.counts.unproven.push(format!(
                "The list of the notice {id} cannot be compared, because the data of {} or more of its recipients was erased since.",
                notice.erased
            ));
            return Ok(());
        }
        if !keep {
            if shown != all {
                return Err(format!(
                    "{name} has {} recipients, and {} were notified",
                    shown - 1,
                    all - 1
                ));
            }
            if event.after["frozen"] != hex(&hasher.finalize()) {
                return Err(format!(
                    "{name} is not the list whose digest event {} contains",
                    notice.event.unwrap_or_default()
                ));
            }
            self.counts.whole += 1;
        } else if !self.some_of_list(notice, &lines, all, event.after["frozen_root"].as_str())? {
            return Ok(());
        }
        self.counts.recipients += usize::try_from(shown - 1).unwrap_or_default();
        Ok(())
    }

    /// Compares single lines of a list with the root in the event. Returns whether they are proven.
    fn some_of_list(
        &mut self,
        notice: &Notice,
        lines: &[String],
        all: i64,
        root: Option<&str>,
    ) -> Result<bool, String> {
        let id = &notice.id;
        let name = format!("data/recipients/{id}.proofs.json");
        let (Some(root), true) = (root, self.archive.has(&name)) else {
            self.counts.unproven.push(format!(
                "Nothing but the manifest proves the recipients of the notice {id}, because its event has no root for single recipients."
            ));
            return Ok(false);
        };
        let proofs: RecipientProofs = serde_json::from_str(&self.archive.text(&name)?)
            .map_err(|error| format!("{name} cannot be read: {error}"))?;
        if proofs.proofs.len() != lines.len() {
            return Err(format!(
                "{name} has {} proofs for {} lines",
                proofs.proofs.len(),
                lines.len()
            ));
        }
        let mut last = None;
        for (line, proof) in lines.iter().zip(&proofs.proofs) {
            let in_order =
                last.is_none_or(|last| proof.position > last) && (last.is_some() || proof.position == 0);
            if !in_order || i64::try_from(proof.rows) != Ok(all) || !proof.proves(line.as_bytes(), root) {
                return Err(format!(
                    "a line of data/recipients/{id}.ndjson is not in the list that was frozen"
                ));
            }
            last = Some(proof.position);
        }
        Ok(true)
    }

    /// Compares the table of the recipients with the lines.
    fn recipients(&mut self) -> Result<(), String> {
        let addresses = &self.addresses;
        let mut rows = 0_usize;
        self.archive.rows("data/recipients.json", |row| {
            if !row["withheld"].is_null() {
                return Ok(());
            }
            rows += 1;
            let place = (
                text(&row, "notice").to_owned(),
                row["ordinal"].as_i64().unwrap_or_default(),
            );
            match addresses.get(&place) {
                Some(address) if *address == text(&row, "address") => Ok(()),
                _ => Err(format!(
                    "data/recipients.json: recipient {} of the notice {} is not the frozen one",
                    place.1, place.0
                )),
            }
        })?;
        match rows == addresses.len() {
            true => Ok(()),
            false => Err("data/recipients.json does not have the recipients of the frozen lists".to_owned()),
        }
    }

    /// Compares the deliveries with the recipients and the attempts, and the emails with the hashes that were recorded.
    fn deliveries(&mut self) -> Result<(), String> {
        let (addresses, attempts) = (&self.addresses, &self.attempts);
        let mut emails: Vec<(String, i64)> = Vec::new();
        self.archive.rows("data/deliveries.json", |row| {
            let place = (
                text(&row, "notice").to_owned(),
                row["ordinal"].as_i64().unwrap_or_default(),
            );
            if addresses
                .get(&place)
                .is_some_and(|address| *address != text(&row, "address"))
            {
                return Err(format!(
                    "data/deliveries.json: recipient {} of the notice {} is not the frozen one",
                    place.1, place.0
                ));
            }
            let Some(delivery) = row["delivery"].as_i64() else {
                return Ok(());
            };
            let nothing = Attempts::default();
            let made = attempts.get(&delivery).unwrap_or(&nothing);
            let accepted = text(&row, "state") == "sent";
            let same = row["attempts"].as_i64() == Some(made.count)
                && text(&row, "reply") == made.reply
                && (!accepted || made.accepted);
            if !same {
                return Err(format!(
                    "data/deliveries.json: delivery {delivery} does not agree with its attempts"
                ));
            }
            if let Some(name) = row["email"].as_str() {
                emails.push((name.to_owned(), delivery));
            }
            Ok(())
        })?;
        let mut known: HashSet<&str> = HashSet::new();
        for (name, delivery) in &emails {
            self.email(name, *delivery)?;
            known.insert(name);
        }
        match self
            .archive
            .names()?
            .iter()
            .find(|name| name.starts_with("mails/") && !known.contains(name.as_str()))
        {
            Some(name) => Err(format!("{name} belongs to no delivery")),
            None => Ok(()),
        }
    }

    fn email(&mut self, name: &str, delivery: i64) -> Result<(), String> {
        let bytes = self.archive.bytes(name)?;
        let digest = sha256(&bytes);
        let recorded = self
            .attempts
            .get(&delivery)
            .is_some_and(|made| made.emails.contains(&digest));
        if !recorded {
            return Err(format!(
                "{name} is not the email that was recorded for delivery {delivery}"
            ));
        }
        if let Some(value) = emails::header(&bytes) {
            let earlier = Checkpoint::parse_header(&value)
                .map_err(|reason| format!("{name}: the header Candor-Audit: {reason}"))?;
            self.trail
                .check_earlier(&earlier)
                .map_err(|reason| format!("{name}: {reason}"))?;
            self.counts.checkpoints.insert(earlier.size);
        }
        self.counts.emails += 1;
        Ok(())
    }

    /// Compares the answers with their events.
    fn answers(&mut self) -> Result<(), String> {
        let trail = self.trail;
        let (mut same, mut erased) = (0, 0);
        self.archive.rows("data/answers.json", |row| {
            let person = text(&row, "person");
            let written = text(&row, "text");
            let digest = match written.is_empty() {
                true => Value::Null,
                false => Value::from(sha256(written.as_bytes())),
            };
            let of_same_time: Vec<_> = trail
                .about(Action::AnswerRecorded, person)
                .filter(|(_, event)| {
                    ["answer", "at", "delivery", "notice"]
                        .iter()
                        .all(|name| event.after[*name] == row[*name])
                })
                .collect();
            if of_same_time
                .iter()
                .any(|(_, event)| event.after["text_sha256"] == digest)
            {
                same += 1;
            } else if !of_same_time.is_empty() && written.is_empty() {
                erased += 1;
            } else {
                return Err(format!(
                    "data/answers.json: an answer of {person} is not what was recorded"
                ));
            }
            Ok(())
        })?;
        self.counts.answers = same;
        if erased > 0 {
            self.counts
                .unproven
                .push(format!("The texts of {erased} answers were erased since."));
        }
        Ok(())
    }
}

/// Checks that the first line of a list has the texts that the file shows.
fn check_texts(notice: &Notice, line: &str) -> Result<(), String> {
    let frozen: Value =
        serde_json::from_str(line).map_err(|error| format!("the notice {}: {error}", notice.id))?;
    let content: Value = serde_json::from_str(text(&frozen, "content")).unwrap_or_default();
    let same = text(&frozen, "id") == notice.id
        && text(&content, "message") == notice.message
        && text(&content, "phase") == notice.phase;
    match same {
        true => Ok(()),
        false => Err(format!(
            "data/notices.json: the notice {} is not the frozen one",
            notice.id
        )),
    }
}
