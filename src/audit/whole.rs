//! Verifies the whole audit trail: every hash, the order and the head of the chain, and the data outside the chain
//! that events contain digests of. It also computes the Merkle tree again and compares the stored tiles, checkpoints
//! and time stamps with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::prelude::*;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::anchors::{self, Anchor, AnchoredBy, Mailed, Point, StoredCheckpoint};
use super::erased::Erasures;
use super::merkle::Hash;
use super::time_stamp::Trust;
use super::verify::{self as beside, Queued, StoredNumbers};
use super::walk::{self, Broken, Joined, Walked};
use crate::base::error::Result;
use crate::base::id::TimeStampId;
use crate::db::schema::{audit_events, audit_head, delivery_attempts};
use crate::db::{Conn, Db};

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Verification {
    /// Whether the whole trail is intact.
    pub ok: bool,
    /// The number of events that were verified.
    pub events: i64,
    /// The hash of the last event that was verified.
    pub head: String,
    /// The root of the Merkle tree over the events that were verified, in base64.
    pub root: String,
    /// The first event that is not correct. If a stored checkpoint shows that an event was changed, this is the last event that
    /// may be the changed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<i64>,
    /// The reason why it is not correct.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which ranges are anchored by what: by a checkpoint in the database, by a time stamp of an authority, or by emails. Each
    /// kind begins at the first event. Events after the last range of a kind are not anchored by it yet.
    pub anchors: Vec<Anchor>,
}

/// A verification, with the roots of the tree for sizes that were asked for.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The result of the verification, as the API shows it.
    pub verification: Verification,
    /// The roots of the trees of earlier sizes, computed from the events. A size that is larger than the trail has none.
    pub roots: BTreeMap<i64, Hash>,
}

/// Verifies the whole trail on one connection: every hash, the order and the head of the chain, the delivery attempts
/// and the frozen notices against the digests in their events, and the stored tiles, checkpoints and time stamps.
///
/// # Errors
/// An error of the database. A broken chain is a result and not an error.
pub fn verify(conn: &mut Conn) -> Result<Verification> {
    let plan = Plan::read(conn, Vec::new())?;
    let mut verifier = Verifier::new(&plan);
    for part in plan.parts() {
        let step = step(conn, &plan, part)?;
        if let Some(broken) = verifier.take(step) {
            return Ok(broken);
        }
    }
    Ok(verifier.finish(conn, &plan, None)?.verification)
}

/// Verifies the same with several connections at once, and computes the roots of the trees of the given sizes. `trust` has the
/// certificate authorities for time stamps.
///
/// # Errors
/// An error of the database. A broken chain is a result and not an error.
pub async fn verify_with(db: &Db, trust: Option<Trust>, sizes: Vec<i64>) -> Result<Verified> {
    // Reading takes longer than hashing, so that each connection does both for its own part.
    let at_once = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
    let plan = Arc::new(db.read(move |conn| Plan::read(conn, sizes)).await?);
    let mut verifier = Verifier::new(&plan);
    let steps = plan.parts().map(|part| {
        let plan = plan.clone();
        db.read(move |conn| step(conn, &plan, part))
    });
    let mut steps = std::pin::pin!(stream::iter(steps).buffered(at_once));
    while let Some(step) = steps.next().await {
        if let Some(verification) = verifier.take(step?) {
            return Ok(Verified {
                verification,
                roots: verifier.joined.roots,
            });
        }
    }
    let plan = plan.clone();
    db.read(move |conn| verifier.finish(conn, &plan, trust.as_ref()))
        .await
}

/// What is compared with the events. All of it is read in one view of the database, together with the number of the last event. What
/// is written while the events are read does not disturb: events are only appended. An erasure is the exception, see [`step`].
struct Plan {
    /// The number of the last event that is stored.
    newest: i64,
    head: (i64, String),
    attempts: i64,
    stored: StoredNumbers,
    erasures: Erasures,
    /// What is wrong with the stored commitments and permissions of erasures, if anything is.
    erased_wrong: Option<String>,
    checkpoints: Vec<StoredCheckpoint>,
    mailed: Vec<Mailed>,
    /// The sizes for which the root is needed, in order.
    sizes: Vec<i64>,
}

impl Plan {
    fn read(conn: &mut Conn, mut sizes: Vec<i64>) -> Result<Plan> {
        let newest: Option<i64> = audit_events::table
            .order(audit_events::seq.desc())
            .select(audit_events::seq)
            .first(conn)
            .optional()?;
        let head = audit_head::table
            .select((audit_head::seq, audit_head::hash))
            .first(conn)?;
        let erasures = Erasures::load(conn)?;
        let checkpoints = anchors::checkpoints(conn)?;
        sizes.extend(checkpoints.iter().map(|checkpoint| checkpoint.size));
        let mailed = anchors::mailed(conn)?;
        sizes.extend(mailed.iter().map(|mailed| mailed.checkpoint.size));
        sizes.sort_unstable();
        sizes.dedup();
        Ok(Plan {
            newest: newest.unwrap_or(0),
            head,
            attempts: delivery_attempts::table.count().get_result(conn)?,
            stored: StoredNumbers::read(conn)?,
            erased_wrong: erasures.compare(conn)?,
            erasures,
            checkpoints,
            mailed,
            sizes,
        })
    }

    /// The parts of the trail, each as the number before its first event and the number of its last event.
    fn parts(&self) -> impl Iterator<Item = (i64, i64)> + use<> {
        let newest = self.newest;
        (0..newest)
            .step_by(walk::STEP as usize)
            .map(move |after| (after, newest.min(after.saturating_add(walk::STEP))))
    }
}

/// A part that was walked, with the numbers of what its events say.
struct Step {
    walked: std::result::Result<Walked, Broken>,
    attempts: i64,
    queued: Queued,
}

/// Walks a part. The view of the database can be later than the one of the plan. If somebody was erased in between, the erasures are
/// read again from the view in which the part is read.
fn step(conn: &mut Conn, plan: &Plan, part: (i64, i64)) -> Result<Step> {
    let later = match plan.erasures.is_current(conn)? {
        true => None,
        false => Some(Erasures::load(conn)?),
    };
    let erasures = later.as_ref().unwrap_or(&plan.erasures);
    let (mut attempts, mut queued) = (0, Queued::default());
    let walked = walk::walk(conn, part, &plan.sizes, erasures, |conn, row| {
        beside::check(conn, row, erasures, &mut attempts, &mut queued)
    })?;
    Ok(Step {
        walked,
        attempts,
        queued,
    })
}

/// Puts the parts together.
struct Verifier {
    joined: Joined,
    attempts: i64,
    queued: Queued,
}

impl Verifier {
    fn new(plan: &Plan) -> Verifier {
        Verifier {
            joined: Joined::beginning(&plan.sizes),
            attempts: 0,
            queued: Queued::default(),
        }
    }

    /// Takes the next part. Returns the result if something is wrong.
    fn take(&mut self, step: Step) -> Option<Verification> {
        self.attempts += step.attempts;
        self.queued.notices += step.queued.notices;
        self.queued.recipients += step.queued.recipients;
        let broken = match step.walked.and_then(|walked| self.joined.add(walked)) {
            Ok(()) => return None,
            Err(broken) => broken,
        };
        if let Some(last) = broken.before {
            self.joined.last = last;
        }
        Some(self.broken(broken.at, broken.reason))
    }

    fn broken(&self, at: i64, reason: String) -> Verification {
        Verification {
            ok: false,
            broken_at: Some(at),
            reason: Some(reason),
            ..self.intact()
        }
    }

    fn intact(&self) -> Verification {
        Verification {
            ok: true,
            events: self.joined.last.0,
            head: self.joined.last.1.clone(),
            root: STANDARD.encode(self.joined.root()),
            broken_at: None,
            reason: None,
            anchors: Vec::new(),
        }
    }

    /// Compares the whole trail with what is stored beside it.
    fn finish(self, conn: &mut Conn, plan: &Plan, trust: Option<&Trust>) -> Result<Verified> {
        let mut verification = match self.wrong(conn, plan)? {
            Some((at, reason)) => self.broken(at, reason),
            None => self.intact(),
        };
        if verification.ok {
            match self.anchors(conn, plan, trust)? {
                Ok(anchors) => verification.anchors = anchors,
                Err((at, reason)) => verification = self.broken(at, reason),
            }
        }
        Ok(Verified {
            verification,
            roots: self.joined.roots,
        })
    }

    /// Returns the first event that is not right, and why, if something is wrong with the trail as a whole.
    fn wrong(&self, conn: &mut Conn, plan: &Plan) -> Result<Option<(i64, String)>> {
        let behind = self.joined.last.0 + 1;
        if self.joined.last != plan.head {
            let reason = "the last event does not match the stored head of the chain".to_owned();
            return Ok(Some((behind, reason)));
        }
        if plan.attempts != self.attempts {
            let reason = format!(
                "{} delivery attempts are stored, {} were recorded",
                plan.attempts, self.attempts
            );
            return Ok(Some((behind, reason)));
        }
        if let Some(reason) = &plan.erased_wrong {
            return Ok(Some((behind, reason.clone())));
        }
        if let Some(reason) = self.queued.compare(&plan.stored) {
            return Ok(Some((behind, reason)));
        }
        super::tiles::compare(conn, &self.joined.tiles)
    }

    /// Returns which ranges are anchored, or what is wrong with a stored checkpoint or time stamp.
    fn anchors(
        &self,
        conn: &mut Conn,
        plan: &Plan,
        trust: Option<&Trust>,
    ) -> Result<std::result::Result<Vec<Anchor>, (i64, String)>> {
        let mut points = Vec::with_capacity(plan.checkpoints.len());
        for stored in &plan.checkpoints {
            if let Some(reason) = anchors::check(stored, self.joined.roots.get(&stored.size)) {
                return Ok(Err((stored.size, reason)));
            }
            points.push(Point {
                size: stored.size,
                by: AnchoredBy::Checkpoint,
                at: stored.at,
                authority: None,
                trusted: None,
            });
        }
        for mailed in &plan.mailed {
            let size = mailed.checkpoint.size;
            if let Some(reason) = anchors::check_mailed(mailed, self.joined.roots.get(&size)) {
                return Ok(Err((size, reason)));
            }
            points.push(Point {
                size,
                by: AnchoredBy::Email,
                at: mailed.at,
                authority: None,
                trusted: None,
            });
        }
        let notes: BTreeMap<i64, &str> = plan
            .checkpoints
            .iter()
            .map(|stored| (stored.size, stored.note.as_str()))
            .collect();
        let mut before: Option<TimeStampId> = None;
        loop {
            const PAGE: i64 = 200;
            let page = anchors::stamps(conn, before.as_ref(), PAGE)?;
            let complete = (page.len() as i64) < PAGE;
            before = page.last().map(|stamp| stamp.id.clone());
            for stamp in page {
                // A checkpoint that was stored after the events were read is verified the next time.
                let Some(note) = notes.get(&stamp.size) else {
                    continue;
                };
                match anchors::check_stamp(&stamp, note, trust) {
                    Err(reason) => return Ok(Err((stamp.size, reason))),
                    Ok(trusted) => points.push(Point {
                        size: stamp.size,
                        by: AnchoredBy::TimeStamp,
                        at: stamp.stamped_at,
                        authority: Some(stamp.authority),
                        trusted,
                    }),
                }
            }
            if complete {
                break;
            }
        }
        Ok(Ok(anchors::ranges(points)))
    }
}
