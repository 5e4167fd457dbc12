//! Receipts: what became of a delivery, written down before its sender goes on, so that a killed process repeats at most
//! the one mail that each of its connections was busy with.
//!
//! Outcomes are stored in the tables in groups, since that is what makes it fast. Between the outcome and the group's
//! transaction lies a moment in which a `kill -9` would lose it, and the mail would go out twice. A receipt closes it:
//!
//! ```text
//! outcome ─► receipt ─► the sender takes its next mail
//!               └──────► in groups: attempts, states, audit ─► the receipts are done with
//! ```
//!
//! Beside an embedded database it is a file, written to without waiting for the disk: it outlives the process, though not
//! a power cut (the README says what that means). Its room is taken when the process starts, so that a full disk cannot
//! keep an outcome from being written down. With PostgreSQL it is a table, so that another worker can read
//! what a dead one left.
//!
//! Must never happen here: a receipt that counts for another claim than its own. Each carries the lease and the attempt.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::Outcome;
use super::queue::{self, Claimed, Finish};
use crate::db::Db;

/// Room for the receipts of one group, in bytes. There are two groups: the one being stored, and the next.
const ROOM: u64 = 1024 * 1024;
/// Before every receipt of the file: what it is, its length, and a checksum.
const HEADER: usize = 4 + 4 + 8;
const MAGIC: [u8; 4] = *b"CnR1";
/// Receipts that one statement writes at most.
const GROUP: usize = 256;
/// How long is waited between two tries to write receipts to the database.
const AGAIN: Duration = Duration::from_millis(250);

/// What became of one claimed delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The claim.
    pub lease: String,
    /// The delivery.
    pub delivery: i64,
    /// The how-many-th attempt it was.
    pub attempt: i64,
    /// The outcome.
    pub outcome: Outcome,
}

/// A delivery that its sender is done with.
pub(super) struct Done {
    pub(super) claimed: Claimed,
    pub(super) finish: Finish,
}

/// Outcomes that wait to be stored, and their receipts.
pub(super) struct Ledger {
    lease: String,
    pending: Mutex<Pending>,
    kind: Kind,
    /// Told when the first outcome waits, and when as many do as [`Ledger::tell_at`] said.
    pub(super) changed: Notify,
    tell_at: AtomicUsize,
    /// Told when a group was stored.
    stored: Notify,
}

#[derive(Default)]
struct Pending {
    done: Vec<Done>,
    since: Option<Instant>,
    /// The half of the file that is written to, and how far.
    half: u64,
    at: u64,
    /// The last row of receipts that holds any of them.
    row: i64,
}

enum Kind {
    File { file: File, path: PathBuf },
    Table(mpsc::Sender<(Done, oneshot::Sender<()>)>),
}

/// A group of outcomes to store.
pub(super) struct Group {
    pub(super) done: Vec<Done>,
    /// Rows of receipts up to here are done with once the group is stored.
    pub(super) row: i64,
}

impl Ledger {
    /// A ledger in a file, whose room is taken now.
    ///
    /// # Errors
    /// Where there is no room.
    pub(super) fn in_file(path: &Path, lease: String) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        let zeros = vec![0; 64 * 1024];
        for at in (0..2 * ROOM).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Self::new(
            lease,
            Kind::File {
                file,
                path: path.to_owned(),
            },
        ))
    }

    /// A ledger in the database; the other half is to be run by [`write_rows`].
    pub(super) fn in_table(lease: String) -> (Self, mpsc::Receiver<(Done, oneshot::Sender<()>)>) {
        let (sender, receiver) = mpsc::channel(GROUP * 2);
        (Self::new(lease, Kind::Table(sender)), receiver)
    }

    fn new(lease: String, kind: Kind) -> Self {
        Ledger {
            lease,
            pending: Mutex::default(),
            kind,
            changed: Notify::new(),
            tell_at: AtomicUsize::new(1),
            stored: Notify::new(),
        }
    }

    /// How many outcomes have to wait until the clerk is told.
    pub(super) fn tell_at(&self, outcomes: usize) {
        self.tell_at.store(outcomes, Ordering::Relaxed);
    }

    fn tell(&self, waiting: usize) {
        // With one the clerk's patience begins.
        if waiting == 1 || waiting >= self.tell_at.load(Ordering::Relaxed) {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an outcome in. Returns when its sender may go on.
    pub(super) async fn settle(&self, done: Done) {
        match &self.kind {
            Kind::File { file, .. } => {
                let mut done = Some(done);
                loop {
                    // Listens from here on, so that nothing is missed between looking and waiting.
                    let mut stored = std::pin::pin!(self.stored.notified());
                    stored.as_mut().enable();
                    if let Some(waiting) = done.take() {
                        match self.write(file, waiting) {
                            Ok(waiting) => return self.tell(waiting),
                            // No room in this half: wait until the group before is stored.
                            Err(waiting) => done = Some(*waiting),
                        }
                    }
                    self.changed.notify_one();
                    stored.await;
                }
            }
            Kind::Table(sender) => {
                let (recorded, wait) = oneshot::channel();
                // Both fail only when the process is ending without its database.
                if sender.send((done, recorded)).await.is_ok() {
                    let _ = wait.await;
                }
            }
        }
    }

    /// Takes in what was never begun: it needs no receipt.
    pub(super) fn put_by(&self, done: Vec<Done>) {
        let mut pending = self.lock();
        for done in done {
            pending.add(done);
        }
    }

    /// A short write to the page cache: no more than a memory copy, so it is done in place.
    /// Answers how many outcomes wait, or gives the outcome back where there is no room.
    fn write(&self, file: &File, done: Done) -> Result<usize, Box<Done>> {
        let mut pending = self.lock();
        if let Some(bytes) = receipt(&self.lease, &done).and_then(|receipt| frame(&receipt)) {
            if pending.at + bytes.len() as u64 > ROOM {
                return Err(Box::new(done));
            }
            let at = pending.half * ROOM + pending.at;
            if let Err(error) = file.write_all_at(&bytes, at) {
                // The room was taken before, so this is a broken disk. The tables will say the same.
                tracing::error!(%error, "a receipt could not be written");
            }
            pending.at += bytes.len() as u64;
        }
        pending.add(done);
        Ok(pending.done.len())
    }

    /// Outcomes that wait, and how long the first has.
    pub(super) fn waiting(&self) -> (usize, Duration) {
        let pending = self.lock();
        (
            pending.done.len(),
            pending.since.map_or(Duration::ZERO, |since| since.elapsed()),
        )
    }

    /// Takes what waits, to store it. One group at a time.
    pub(super) fn take(&self) -> Group {
        let mut pending = self.lock();
        pending.since = None;
        pending.half = 1 - pending.half;
        pending.at = 0;
        Group {
            done: std::mem::take(&mut pending.done),
            row: pending.row,
        }
    }

    /// The group that was taken is stored: its receipts are done with.
    pub(super) fn stored(&self) {
        self.stored.notify_waiters();
    }

    /// Everything is stored and nobody sends any more.
    pub(super) fn end(&self) {
        if let Kind::File { path, .. } = &self.kind
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "the file of receipts could not be removed");
        }
    }
}

impl Pending {
    fn add(&mut self, done: Done) {
        self.done.push(done);
        self.since.get_or_insert_with(Instant::now);
    }
}

/// The receipt of an attempt; none where there was no attempt.
fn receipt(lease: &str, done: &Done) -> Option<Receipt> {
    let Finish::Attempt(outcome) = &done.finish else {
        return None;
    };
    Some(Receipt {
        lease: lease.to_owned(),
        delivery: done.claimed.id,
        attempt: done.claimed.attempt,
        outcome: outcome.clone(),
    })
}

fn frame(receipt: &Receipt) -> Option<Vec<u8>> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, receipt).ok()?;
    let length = u32::try_from(bytes.len() - HEADER).ok()?;
    let sum = Sha256::digest(&bytes[HEADER..]);
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..HEADER].copy_from_slice(&sum[..8]);
    Some(bytes)
}

/// Reads what a process that died left in its file. What is torn or makes no sense was never acknowledged.
///
/// # Errors
/// Where the file is there and cannot be read.
pub fn read_file(path: &Path) -> io::Result<Vec<Receipt>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(bytes.chunks(ROOM as usize).flat_map(read_half).collect())
}

fn read_half(mut bytes: &[u8]) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(HEADER)
        && header[..4] == MAGIC
    {
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let Some((body, rest)) = rest.split_at_checked(length) else {
            break;
        };
        if Sha256::digest(body)[..8] != header[8..HEADER] {
            break;
        }
        if let Ok(receipt) = serde_json::from_slice(body) {
            receipts.push(receipt);
        }
        bytes = rest;
    }
    receipts
}

/// Writes receipts to the database, all that have gathered in one statement, and lets their senders go on.
pub(super) async fn write_rows(
    db: Db,
    ledger: std::sync::Arc<Ledger>,
    mut arrivals: mpsc::Receiver<(Done, oneshot::Sender<()>)>,
    stop: watch::Receiver<bool>,
    patience: Duration,
) {
    let mut group = Vec::with_capacity(GROUP);
    let mut row = 0;
    while arrivals.recv_many(&mut group, GROUP).await > 0 {
        let receipts: Vec<Receipt> = group
            .iter()
            .filter_map(|(done, _)| receipt(&ledger.lease, done))
            .collect();
        if !receipts.is_empty() {
            row += 1;
            let body = serde_json::to_string(&receipts).unwrap_or_default();
            let since = Instant::now();
            loop {
                let (lease, body) = (ledger.lease.clone(), body.clone());
                let written = db
                    .bare(move |conn| queue::write_receipts(conn, &lease, row, &body))
                    .await;
                match written {
                    Ok(()) => break,
                    Err(error) => {
                        // The senders wait here: what went out must be on record before anything else goes out.
                        tracing::error!(
                            error = error.chain(),
                            "outcomes cannot be written down; sending waits"
                        );
                        if *stop.borrow() && since.elapsed() > patience {
                            // The group itself is tried once more, by whoever stores it.
                            break;
                        }
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
        let mut acknowledged = Vec::with_capacity(group.len());
        let before;
        let after;
        {
            let mut pending = ledger.lock();
            pending.row = row;
            before = pending.done.len();
            for (done, recorded) in group.drain(..) {
                pending.add(done);
                acknowledged.push(recorded);
            }
            after = pending.done.len();
        }
        ledger.tell(if before == 0 { 1 } else { after });
        for recorded in acknowledged {
            // A sender that has ended needs no answer.
            let _ = recorded.send(());
        }
    }
}
