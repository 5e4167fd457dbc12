//! Compares the attempts of a file with the digests and the roots in the events of their batches.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::archive::Archive;
use super::trail::Trail;
use crate::audit::Action;
use crate::audit::row_tree::RowProof;
use crate::base::text::hex;

/// One attempt of `data/attempts.ndjson`.
#[derive(Deserialize)]
struct Attempt {
    batch: String,
    line: String,
    proven_by: String,
    proof: Option<RowProof>,
}

/// What the attempts say about a delivery.
#[derive(Default)]
pub(super) struct Attempts {
    pub count: i64,
    pub accepted: bool,
    pub last: i64,
    pub reply: String,
    pub emails: Vec<String>,
}

/// The attempts of a file.
#[derive(Default)]
pub(super) struct Read {
    /// What they say about each delivery.
    pub of_delivery: HashMap<i64, Attempts>,
    /// The number of attempts that are proven.
    pub proven: usize,
    /// The number of attempts that only the manifest proves.
    pub unproven: usize,
}

/// Reads and compares the attempts.
///
/// # Errors
/// One sentence with the first fault.
pub(super) fn read(archive: &mut Archive, trail: &Trail) -> Result<Read, String> {
    let mut read = Read::default();
    let mut batch = Batch::default();
    archive.lines("data/attempts.ndjson", |line| {
        let attempt: Attempt = serde_json::from_str(line)
            .map_err(|error| format!("data/attempts.ndjson cannot be read: {error}"))?;
        note_attempt(&mut read.of_delivery, &attempt.line)?;
        if batch.id != attempt.batch {
            std::mem::replace(&mut batch, Batch::of(&attempt.batch)).finish(trail)?;
        }
        match (attempt.proven_by.as_str(), &attempt.proof) {
            ("batch", None) => batch.add(&attempt.line),
            ("proof", Some(proof)) => {
                let root = batch.event(trail)?["root"].as_str().unwrap_or_default();
                if !proof.proves(attempt.line.as_bytes(), root) {
                    return Err(format!("an attempt is not in the batch {}", batch.id));
                }
            }
            ("nothing", None) => {
                read.unproven += 1;
                return Ok(());
            }
            _ => return Err("data/attempts.ndjson: an attempt has no proof".to_owned()),
        }
        read.proven += 1;
        Ok(())
    })?;
    batch.finish(trail)?;
    Ok(read)
}

/// Keeps what an attempt says about its delivery.
fn note_attempt(all: &mut HashMap<i64, Attempts>, line: &str) -> Result<(), String> {
    let wrong = "data/attempts.ndjson: a line is not an attempt";
    let fields: Vec<Value> = serde_json::from_str(line).map_err(|_| wrong.to_owned())?;
    let [delivery, number, _, outcome, reply, email @ ..] = fields.as_slice() else {
        return Err(wrong.to_owned());
    };
    let made = all.entry(delivery.as_i64().ok_or(wrong)?).or_default();
    made.count += 1;
    // An email may have arrived although the connection was lost before the answer.
    made.accepted |= outcome == "sent" || outcome == "ambiguous";
    // The attempts of a delivery can be in several batches, in any order.
    let number = number.as_i64().ok_or(wrong)?;
    if number > made.last {
        made.last = number;
        made.reply = reply.as_str().unwrap_or_default().to_owned();
    }
    // The hash of the email comes first. The mail server after it is proven with the line.
    let hash = email.first().and_then(Value::as_str);
    made.emails.extend(hash.map(str::to_owned));
    Ok(())
}

/// The attempts of one batch.
#[derive(Default)]
struct Batch {
    id: String,
    hasher: Sha256,
    whole: i64,
}

impl Batch {
    fn of(id: &str) -> Self {
        Batch {
            id: id.to_owned(),
            ..Batch::default()
        }
    }

    fn add(&mut self, line: &str) {
        self.hasher.update(line);
        self.hasher.update(b"\n");
        self.whole += 1;
    }

    /// Returns what the event of the batch says.
    fn event<'t>(&self, trail: &'t Trail) -> Result<&'t Value, String> {
        match trail.about(Action::DeliveryAttempts, &self.id).next() {
            Some((_, event)) => Ok(&event.after),
            None => Err(format!("the event of the batch {} is missing", self.id)),
        }
    }

    /// Compares the digest, if the file has all attempts of the batch.
    fn finish(self, trail: &Trail) -> Result<(), String> {
        if self.whole == 0 {
            return Ok(());
        }
        let event = self.event(trail)?;
        let same = event["count"].as_i64() == Some(self.whole)
            && event["digest"] == hex(&self.hasher.clone().finalize());
        match same {
            true => Ok(()),
            false => Err(format!(
                "the attempts of the batch {} are not what was recorded",
                self.id
            )),
        }
    }
}
