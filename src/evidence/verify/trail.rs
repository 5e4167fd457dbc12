//! The audit part of a file: the signed checkpoint, the events and the proofs that they are in its tree.

use std::collections::{BTreeMap, HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::archive::{Archive, sha256};
use super::manifest::{About, Manifest};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::merkle::{self, Hash};
use crate::audit::note::VerifierKey;
use crate::audit::{Action, proof};

/// An event of the file. Its place in the tree is proven.
pub(super) struct ProvenEvent {
    pub hash: String,
    pub action: String,
    pub subject_type: String,
    pub subject: String,
    pub incident: Option<String>,
    pub after: Value,
}

/// The events of a file, and the checkpoint whose tree they are in.
pub(super) struct Trail {
    pub checkpoint: Checkpoint,
    key: VerifierKey,
    pub events: BTreeMap<i64, ProvenEvent>,
    /// The numbers of the events by their subjects.
    by_subject: HashMap<String, Vec<i64>>,
    /// The proofs that earlier checkpoints are a beginning of the tree, by their size.
    consistency: BTreeMap<i64, Vec<Hash>>,
    /// The number of events whose text is not in the file.
    redacted: usize,
}

/// The file with the proofs.
#[derive(Deserialize)]
struct Proofs {
    size: i64,
    events: BTreeMap<i64, Vec<String>>,
    consistency: BTreeMap<i64, Vec<String>>,
}

/// The fields of an event as they are hashed.
type Fields = (
    i64,
    i64,
    String,
    String,
    String,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    String,
);

impl Trail {
    /// Reads and verifies the checkpoint and the events.
    ///
    /// # Errors
    /// One sentence with the first fault.
    pub fn read(
        archive: &mut Archive,
        manifest: &Manifest,
        expected: Option<&VerifierKey>,
    ) -> Result<Trail, String> {
        let text = archive.text("audit/key")?;
        let key = VerifierKey::parse(&text).map_err(|reason| format!("audit/key: the key {reason}"))?;
        if let Some(expected) = expected
            && *expected != key
        {
            return Err(format!(
                "audit/key is {key}, and not the key that was given: somebody else made the file, or the key was changed"
            ));
        }
        let note = archive.text("audit/checkpoint")?;
        let signed = key
            .open(&note)
            .map_err(|reason| format!("audit/checkpoint: {reason}"))?;
        let checkpoint = Checkpoint::parse(signed).map_err(|reason| format!("audit/checkpoint: {reason}"))?;
        if checkpoint.origin != key.name() {
            return Err("audit/checkpoint: the origin is not the name of the key".to_owned());
        }
        let proofs: Proofs = serde_json::from_str(&archive.text("audit/proofs.json")?)
            .map_err(|error| format!("audit/proofs.json cannot be read: {error}"))?;
        if proofs.size != checkpoint.size {
            return Err(format!(
                "audit/proofs.json is about {} events, and the checkpoint about {}",
                proofs.size, checkpoint.size
            ));
        }
        let mut trail = Trail {
            checkpoint,
            key,
            events: BTreeMap::new(),
            by_subject: HashMap::new(),
            consistency: BTreeMap::new(),
            redacted: manifest.redacted.len(),
        };
        trail.events(archive, &proofs)?;
        trail.redacted(manifest, &proofs)?;
        for (size, path) in &proofs.consistency {
            trail.consistency.insert(*size, hashes(path)?);
        }
        Ok(trail)
    }

    fn events(&mut self, archive: &mut Archive, proofs: &Proofs) -> Result<(), String> {
        let mut before: Option<(i64, String)> = None;
        let checkpoint = self.checkpoint.clone();
        archive.lines("audit/events.ndjson", |line| {
            let fields: Fields = serde_json::from_str(line)
                .map_err(|error| format!("an event of audit/events.ndjson cannot be read: {error}"))?;
            let (seq, _, _, _, _, action, subject_type, subject, incident, _, after, previous) = fields;
            let hash = sha256(line.as_bytes());
            if let Some((last, last_hash)) = &before {
                if seq <= *last {
                    return Err(format!(
                        "event {seq} stands after event {last}: the order was changed"
                    ));
                }
                if seq == last + 1 && previous != *last_hash {
                    return Err(format!("event {seq} does not follow from event {last}"));
                }
            }
            check_inclusion(&checkpoint, proofs, seq, &hash)?;
            before = Some((seq, hash.clone()));
            let event = ProvenEvent {
                hash,
                action,
                subject_type,
                subject,
                incident,
                after: after
                    .and_then(|text| serde_json::from_str(&text).ok())
                    .unwrap_or(Value::Null),
            };
            self.by_subject
                .entry(event.subject.clone())
                .or_default()
                .push(seq);
            self.events.insert(seq, event);
            Ok(())
        })?;
        Ok(())
    }

    /// Verifies the events whose text is not in the file, and that there is no other proof.
    fn redacted(&self, manifest: &Manifest, proofs: &Proofs) -> Result<(), String> {
        for seq in &manifest.redacted {
            let (_, hash) = manifest
                .events
                .iter()
                .find(|(listed, _)| listed == seq)
                .filter(|_| !self.events.contains_key(seq))
                .ok_or_else(|| format!("event {seq} is listed as redacted, and is not"))?;
            check_inclusion(&self.checkpoint, proofs, *seq, hash)?;
        }
        if self.events.len() + manifest.redacted.len() == proofs.events.len() {
            return Ok(());
        }
        Err("audit/proofs.json has a proof of an event that is missing".to_owned())
    }

    /// Checks that the events are those of the manifest and the event about the manifest. Returns the number of this event.
    ///
    /// # Errors
    /// One sentence with the first fault.
    pub fn check_manifest(&self, manifest: &Manifest, digest: &str) -> Result<i64, String> {
        for (seq, hash) in &manifest.events {
            match self.events.get(seq) {
                None if manifest.redacted.contains(seq) => {}
                None => return Err(format!("event {seq} is in the manifest and missing in the file")),
                Some(event) if event.hash != *hash => {
                    return Err(format!("event {seq} is not the one of the manifest"));
                }
                Some(_) => {}
            }
        }
        let listed: HashSet<i64> = manifest.events.iter().map(|(seq, _)| *seq).collect();
        let mut others = self.events.iter().filter(|(seq, _)| !listed.contains(seq));
        let (Some((seq, event)), None) = (others.next(), others.next()) else {
            return Err(
                "the file must have exactly one event that is not in its manifest: the one about the manifest".to_owned(),
            );
        };
        if event.action != Action::EvidenceExported.as_str() {
            return Err(format!("event {seq} is not in the manifest"));
        }
        if event.after["manifest"] != digest {
            return Err(format!(
                "event {seq} contains the hash of another manifest: the manifest was changed after the file was made"
            ));
        }
        check_about(&manifest.about, event).map(|()| *seq)
    }

    /// Checks that an earlier checkpoint is a beginning of the tree.
    ///
    /// # Errors
    /// A sentence, if it is not, or if the proof is missing.
    pub fn check_earlier(&self, earlier: &Checkpoint) -> Result<(), String> {
        let proof = self.consistency.get(&earlier.size).ok_or_else(|| {
            format!(
                "the proof for the checkpoint of {} events is missing",
                earlier.size
            )
        })?;
        let is_beginning = earlier.size >= 0
            && merkle::verify_consistency(
                earlier.size.unsigned_abs(),
                self.checkpoint.size.unsigned_abs(),
                &earlier.root,
                &self.checkpoint.root,
                proof,
            );
        match is_beginning {
            true => Ok(()),
            false => Err(format!(
                "the checkpoint of {} events is not an earlier state of the trail: one of them was rewritten",
                earlier.size
            )),
        }
    }

    /// Returns the events about a subject with this action.
    pub fn about(&self, action: Action, subject: &str) -> impl Iterator<Item = (i64, &ProvenEvent)> {
        self.by_subject
            .get(subject)
            .into_iter()
            .flatten()
            .filter_map(|seq| Some((*seq, self.events.get(seq)?)))
            .filter(move |(_, event)| event.action == action.as_str())
    }

    /// Returns what is proven.
    pub fn proven(&self, key_was_given: bool) -> Vec<String> {
        let mut proven = vec![format!(
            "The checkpoint of {} with {} events is signed by the key {}.",
            self.checkpoint.origin, self.checkpoint.size, self.key
        )];
        if !key_was_given {
            proven.push(
                "The key is from the file itself. Compare it with the key that the sender gives by another way, or give it with --key."
                    .to_owned(),
            );
        }
        proven.push(format!(
            "All {} events are in the tree of this checkpoint.",
            self.events.len()
        ));
        if self.redacted > 0 {
            proven.push(format!(
                "Of {} further events, only the hashes are in the tree: the sender's text of them does not give these hashes any more, \
                 because an erasure redacted it or because somebody changed it.",
                self.redacted
            ));
        }
        proven
    }
}

/// Checks that an event with this number and hash is in the tree of the checkpoint.
fn check_inclusion(checkpoint: &Checkpoint, proofs: &Proofs, seq: i64, hash: &str) -> Result<(), String> {
    let path = proofs
        .events
        .get(&seq)
        .ok_or_else(|| format!("event {seq} has no proof"))?;
    let leaf = proof::leaf_hash(hash).map_err(|_| format!("the hash of event {seq} is not one"))?;
    let is_in = seq >= 1
        && merkle::verify_inclusion(
            (seq - 1).unsigned_abs(),
            checkpoint.size.unsigned_abs(),
            &leaf,
            &hashes(path)?,
            &checkpoint.root,
        );
    match is_in {
        true => Ok(()),
        false => Err(format!(
            "event {seq} is not in the tree of the checkpoint: the event, its proof or the checkpoint was changed"
        )),
    }
}

fn check_about(about: &About, event: &ProvenEvent) -> Result<(), String> {
    let said = |name: &str| event.after[name].as_str().map(str::to_owned);
    let incidents: Vec<&str> = event.after["incidents"]
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let same = event.subject_type == "incident"
        && event.subject == about.incident
        && event.incident.as_deref() == Some(about.incident.as_str())
        && said("person") == about.person
        && said("account") == about.account
        && incidents == about.incidents;
    match same {
        true => Ok(()),
        false => Err("the manifest is about something else than its event".to_owned()),
    }
}

/// Reads the hashes of a proof.
pub(super) fn hashes(path: &[String]) -> Result<Vec<Hash>, String> {
    path.iter()
        .map(|text| {
            STANDARD
                .decode(text)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| "a proof has something that is not a hash".to_owned())
        })
        .collect()
}
