//! Makes a file of evidence.
//!
//! The data is written first, from one view of the database, then the event with the hash of the manifest is recorded, and then the
//! checkpoint that covers this event is made. A failure in between leaves an event without a file, and never a file without its event.

use std::collections::BTreeSet;
use std::fs::File;

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::bundle::{Bundle, Listed};
use super::events::{self, Chosen};
use super::notices::{self, Sent};
use super::recipients::Recipients;
use super::scope::{About, Request, Scope};
use super::summary::Summary;
use super::{affected, answers, attempts, facts, stamps, summary_page};
use crate::audit::note::{self, SigningKey};
use crate::audit::{Action, Actor, Event, checkpoint};
use crate::base::error::{Error, Result};
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::schema::audit_events as e;
use crate::db::{Conn, Db};
use crate::notice::Sending;

/// The form of the files of this version.
pub(super) const FORMAT: &str = "candor-evidence-1";
/// How to verify a file, for its readers.
const GUIDE: &str = include_str!("VERIFY.md");
/// The second implementation of the verification, which a reader can run without Candor.
const SCRIPT: &str = include_str!("../../docs/verify_evidence.py");

/// A finished file of evidence, which is a zip file.
pub struct Exported {
    /// The file, at its beginning. It has no name, and the system removes it when it is closed.
    pub file: File,
    /// The size in bytes.
    pub bytes: u64,
    /// A name for the reader, such as `evidence-17.zip`.
    pub name: String,
}

/// The list of everything in a file. The audit trail contains its hash.
#[derive(Serialize)]
struct Manifest<'a> {
    format: &'static str,
    made_at: Timestamp,
    about: &'a About,
    /// The numbers and hashes of the events of the file, without the event about the file itself.
    events: Vec<(i64, &'a str)>,
    /// The numbers of those events whose text is not in the file, because it does not give the hash any more.
    redacted: &'a BTreeSet<i64>,
    files: Vec<Listed>,
}

/// The part of a file that is made before the event about it.
struct Draft {
    bundle: Bundle,
    about: About,
    chosen: Chosen,
    redacted: BTreeSet<i64>,
    /// The sizes of the earlier checkpoints that the file proves to be earlier states of the trail.
    sizes: BTreeSet<i64>,
    /// The hash of the manifest, in hexadecimal.
    manifest: String,
}

/// Makes the file, and records that it was made.
///
/// # Errors
/// `NotFound` if the incident does not exist, `Invalid` if nobody knows the person or the account, `Internal` if there is no room for
/// temporary files, or an error of the database.
pub async fn export(
    db: &Db,
    by: &Actor,
    request: Request,
    key: &SigningKey,
    sending: &Sending,
) -> Result<Exported> {
    let (now, sending) = (db.clock().now(), sending.clone());
    let draft = db.read(move |conn| gather(conn, &request, &sending, now)).await?;
    let about = draft.about.clone();
    let manifest = draft.manifest.clone();
    db.write(by, move |tx| {
        tx.record(
            Event::new(Action::EvidenceExported, "incident", about.incident.as_str())
                .incident(&about.incident)
                .after(json!({
                    "manifest": manifest, "incidents": about.incidents, "person": about.person, "account": about.account,
                })),
        );
        Ok(())
    })
    .await?;
    let key = key.clone();
    db.read(move |conn| finish(conn, draft, &key)).await
}

/// Writes everything that the manifest lists.
fn gather(conn: &mut Conn, request: &Request, sending: &Sending, now: Timestamp) -> Result<Draft> {
    let scope = Scope::read(conn, request)?;
    let mut bundle = Bundle::new()?;
    let mut summary = Summary::default();
    facts::write(conn, &scope, &mut bundle, &mut summary)?;
    let sent = notices::sent(conn, &scope, sending, now)?;
    let mut shown: Vec<(&Sent, notices::Shown<'_>)> = Vec::new();
    let mut recipients = Recipients::new(conn, &scope, &mut bundle)?;
    for one in &sent {
        if let Some(says) = recipients.add(conn, one, &mut summary)? {
            shown.push((one, says));
        }
    }
    let gathered = recipients.finish()?;
    let (sent, says): (Vec<&Sent>, Vec<notices::Shown<'_>>) = shown.into_iter().unzip();
    facts::write_notices(&says, &mut bundle)?;
    let batches = attempts::write(conn, &scope, &gathered, &mut bundle)?;
    let answered = answers::write(conn, &scope, &gathered, &mut bundle, &mut summary)?;
    affected::write(conn, &scope, &gathered, &mut bundle, &mut summary)?;
    let chosen = events::choose(conn, &scope, &gathered, &batches, &answered)?;
    let redacted = events::redacted(conn, &chosen)?;
    let mut sizes = gathered.emails.sizes;
    sizes.extend(stamps::write(conn, chosen.keys().next().copied(), &mut bundle)?);
    let page = summary_page::page(&scope, &sent, &summary, now);
    bundle.add("index.html", page.as_bytes())?;
    bundle.add("VERIFY.md", GUIDE.as_bytes())?;
    bundle.add("verify_evidence.py", SCRIPT.as_bytes())?;
    let about = scope.about();
    let manifest = serde_json::to_vec_pretty(&Manifest {
        format: FORMAT,
        made_at: now,
        about: &about,
        events: chosen.iter().map(|(seq, hash)| (*seq, hash.as_str())).collect(),
        redacted: &redacted,
        files: bundle.listed(),
    })?;
    bundle.add("manifest.json", &manifest)?;
    Ok(Draft {
        bundle,
        about,
        chosen,
        redacted,
        sizes,
        manifest: hex(&Sha256::digest(&manifest)),
    })
}

/// Adds the checkpoint, the events and the proofs, after the event about the file was recorded.
fn finish(conn: &mut Conn, mut draft: Draft, key: &SigningKey) -> Result<Exported> {
    let current = checkpoint::current(conn, key.origin())?;
    let (seq, hash) = event_about(conn, &draft)?;
    draft.chosen.insert(seq, hash);
    draft
        .bundle
        .add("audit/checkpoint", note::signed(&current, key).as_bytes())?;
    let verifier = format!("{}\n", key.verifier());
    draft.bundle.add("audit/key", verifier.as_bytes())?;
    let events = (&draft.chosen, &draft.redacted);
    events::write(conn, events, &draft.sizes, current.size, &mut draft.bundle)?;
    let (file, bytes) = draft.bundle.finish()?;
    let whom = match (&draft.about.person, &draft.about.account) {
        (None, None) => "",
        (Some(_), _) => "-person",
        (None, Some(_)) => "-account",
    };
    Ok(Exported {
        file,
        bytes,
        name: format!("evidence-{}{whom}.zip", draft.about.number),
    })
}

/// Returns the event about this file. The hash of the manifest tells it from those of other files.
fn event_about(conn: &mut Conn, draft: &Draft) -> Result<(i64, String)> {
    let rows: Vec<(i64, String, Option<String>)> = e::table
        .filter(e::incident_id.eq(draft.about.incident.as_str()))
        .filter(e::action.eq(Action::EvidenceExported.as_str()))
        .order(e::seq.desc())
        .limit(100)
        .select((e::seq, e::hash, e::after_json))
        .load(conn)?;
    rows.into_iter()
        .find(|(_, _, after)| {
            after
                .as_deref()
                .is_some_and(|text| text.contains(&draft.manifest))
        })
        .map(|(seq, hash, _)| (seq, hash))
        .ok_or_else(|| Error::internal("the event about the file of evidence is missing"))
}
