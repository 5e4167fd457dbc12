//! Outcome records. The outcome of an attempt is written to a record before its sender continues. So a killed
//! process repeats at most the one email that each of its connections was sending.
//!
//! Outcomes are stored in the tables in batches, because this is fast. Between an outcome and the transaction
//! of its batch, a `kill -9` would lose the outcome, and the email would be sent twice. An outcome record
//! (`OutcomeRecord`) prevents this:
//!
//! ```text
//! outcome ─► outcome record ─► the sender takes its next email
//!                   └────────► in batches: attempts, states, audit ─► the records are not needed any more
//! ```
//!
//! With SQLite the records are in a file, which is written without waiting for the disk. The file survives
//! the death of the process, but not a power failure (see the README). Its space is reserved when the process
//! starts, so that a full disk cannot prevent a record. With PostgreSQL the records are in a table, so that
//! another worker can read what a dead worker left.
//!
//! A record counts only for its own claim, because it contains the lease and the attempt number.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::outcome_record::OutcomeRecord;
use super::queue::{self, Finish};
use super::task::Claimed;
use crate::base::outage::Outage;
use crate::db::Db;

/// The space for the outcome records of one batch, in bytes. The file has space for two batches: the one that
/// is being stored, and the next one.
const ROOM: u64 = 1024 * 1024;
/// The length of the header of each record in the file: a fixed mark, the length of the body, and a checksum.
const HEADER: usize = 4 + 4 + 8;
const MAGIC: [u8; 4] = *b"CnR1";
/// The largest number of records that one statement writes.
const GROUP: usize = 256;
/// The wait between two tries to write records to the database.
const AGAIN: Duration = Duration::from_millis(250);

/// A delivery that its sender has finished.
pub(super) struct Done {
    pub(super) claimed: Claimed,
    pub(super) finish: Finish,
}

/// The outcomes that wait to be stored, and their records.
pub(super) struct OutcomeLog {
    lease: String,
    pending: Mutex<Pending>,
    kind: Kind,
    /// Notifies the recorder when the first outcome waits, and when as many wait as [`OutcomeLog::tell_at`] set.
    pub(super) changed: Notify,
    tell_at: AtomicUsize,
    /// Notifies the senders when a batch was stored.
    stored: Notify,
}

#[derive(Default)]
struct Pending {
    done: Vec<Done>,
    since: Option<Instant>,
    /// The half of the file that is being written, and the number of bytes that it contains.
    half: u64,
    at: u64,
    /// The half that is being stored, and the number of bytes that it contains.
    taken: Option<(u64, u64)>,
    /// The last row of the table that contains a record of a waiting outcome.
    row: i64,
}

enum Kind {
    File { file: File, path: PathBuf },
    Table(mpsc::Sender<(Done, oneshot::Sender<()>)>),
}

/// A batch of outcomes to store.
pub(super) struct Group {
    pub(super) done: Vec<Done>,
    /// The last row with records of this batch. When the batch is stored, the rows up to this one are not
    /// needed any more.
    pub(super) row: i64,
}

impl OutcomeLog {
    /// Creates a outcome_log in a file and reserves its space.
    ///
    /// # Errors
    /// An I/O error, for example if the disk has no space.
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

    /// Creates a outcome_log in the database. The caller must run [`write_rows`] with the returned receiver.
    pub(super) fn in_table(lease: String) -> (Self, mpsc::Receiver<(Done, oneshot::Sender<()>)>) {
        let (sender, receiver) = mpsc::channel(GROUP * 2);
        (Self::new(lease, Kind::Table(sender)), receiver)
    }

    fn new(lease: String, kind: Kind) -> Self {
        OutcomeLog {
            lease,
            pending: Mutex::default(),
            kind,
            changed: Notify::new(),
            tell_at: AtomicUsize::new(1),
            stored: Notify::new(),
        }
    }

    /// Sets how many outcomes must wait before the recorder is notified.
    pub(super) fn tell_at(&self, outcomes: usize) {
        self.tell_at.store(outcomes, Ordering::Relaxed);
    }

    fn tell(&self, waiting: usize) {
        // The recorder starts its short wait for further outcomes when it gets the first one.
        if waiting == 1 || waiting >= self.tell_at.load(Ordering::Relaxed) {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts an outcome. Returns when its sender may continue.
    pub(super) async fn settle(&self, done: Done) {
        match &self.kind {
            Kind::File { file, .. } => {
                let mut done = Some(done);
                loop {
                    // Register before the check, so that a change between the check and the wait is not
                    // missed.
                    let mut stored = std::pin::pin!(self.stored.notified());
                    stored.as_mut().enable();
                    if let Some(waiting) = done.take() {
                        match self.write(file, waiting) {
                            Ok(waiting) => return self.tell(waiting),
                            // This half of the file is full. Wait until the batch before is stored.
                            Err(waiting) => done = Some(*waiting),
                        }
                    }
                    self.changed.notify_one();
                    stored.await;
                }
            }
            Kind::Table(sender) => {
                let (recorded, wait) = oneshot::channel();
                // Both can fail only if the process stops while the database is not available.
                if sender.send((done, recorded)).await.is_ok() {
                    let _ = wait.await;
                }
            }
        }
    }

    /// Accepts deliveries for which no attempt was made. They need no record.
    pub(super) fn put_by(&self, done: Vec<Done>) {
        let mut pending = self.lock();
        for done in done {
            pending.add(done);
        }
    }

    /// Writes a record to the page cache. This is as quick as a copy in memory, so it runs on the calling
    /// thread.
    ///
    /// Returns how many outcomes wait. If the half of the file is full, the outcome is returned as the error.
    fn write(&self, file: &File, done: Done) -> Result<usize, Box<Done>> {
        let mut pending = self.lock();
        if let Some(bytes) = outcome_record(&self.lease, &done).and_then(|record| frame(&record)) {
            if pending.at + bytes.len() as u64 > ROOM {
                return Err(Box::new(done));
            }
            let at = pending.half * ROOM + pending.at;
            if let Err(error) = file.write_all_at(&bytes, at) {
                // The space was reserved before, so the disk is faulty. The database will report the same
                // fault.
                tracing::error!(%error, "an outcome record could not be written");
            }
            pending.at += bytes.len() as u64;
        }
        pending.add(done);
        Ok(pending.done.len())
    }

    /// Returns how many outcomes wait, and how long the first of them has waited.
    pub(super) fn waiting(&self) -> (usize, Duration) {
        let pending = self.lock();
        (
            pending.done.len(),
            pending.since.map_or(Duration::ZERO, |since| since.elapsed()),
        )
    }

    /// Removes and returns the waiting outcomes, to be stored. Only one batch may be stored at a time.
    pub(super) fn take(&self) -> Group {
        let mut pending = self.lock();
        pending.since = None;
        pending.taken = Some((pending.half, pending.at));
        pending.half = 1 - pending.half;
        pending.at = 0;
        Group {
            done: std::mem::take(&mut pending.done),
            row: pending.row,
        }
    }

    /// Marks the taken batch as stored. Its records are not needed any more, and they are overwritten, because a reply can contain an
    /// address.
    pub(super) fn stored(&self) {
        let taken = self.lock().taken.take();
        if let (Kind::File { file, .. }, Some((half, length))) = (&self.kind, taken) {
            let zeros = vec![0; usize::try_from(length).unwrap_or_default()];
            if let Err(error) = file.write_all_at(&zeros, half * ROOM) {
                tracing::warn!(%error, "outcome records that are not needed any more could not be overwritten");
            }
        }
        self.stored.notify_waiters();
    }

    /// Removes the file. Called when everything is stored and nothing is sent any more.
    pub(super) fn end(&self) {
        if let Kind::File { path, .. } = &self.kind
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "the file of outcome records could not be removed");
        }
    }
}

impl Pending {
    fn add(&mut self, done: Done) {
        self.done.push(done);
        self.since.get_or_insert_with(Instant::now);
    }
}

/// Makes the outcome record of a delivery. Returns `None` if no attempt was made.
fn outcome_record(lease: &str, done: &Done) -> Option<OutcomeRecord> {
    let Finish::Attempt(outcome, handover) = &done.finish else {
        return None;
    };
    Some(OutcomeRecord {
        lease: lease.to_owned(),
        delivery: done.claimed.id,
        attempt: done.claimed.attempt,
        outcome: outcome.clone(),
        mail: handover.mail.clone(),
        relay: handover.relay.as_deref().map(str::to_owned),
    })
}

fn frame(record: &OutcomeRecord) -> Option<Vec<u8>> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, record).ok()?;
    let length = u32::try_from(bytes.len() - HEADER).ok()?;
    let sum = Sha256::digest(&bytes[HEADER..]);
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..HEADER].copy_from_slice(&sum[..8]);
    Some(bytes)
}

/// Reads the records that a dead process left in its file. An incomplete or damaged record is skipped,
/// because its sender never continued.
///
/// # Errors
/// An I/O error if the file exists and cannot be read.
pub fn read_file(path: &Path) -> io::Result<Vec<OutcomeRecord>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(bytes.chunks(ROOM as usize).flat_map(read_half).collect())
}

fn read_half(mut bytes: &[u8]) -> Vec<OutcomeRecord> {
    let mut records = Vec::new();
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
        if let Ok(record) = serde_json::from_slice(body) {
            records.push(record);
        }
        bytes = rest;
    }
    records
}

/// Writes outcome records to the database, with one statement for all that have arrived, and then lets their
/// senders continue.
pub(super) async fn write_rows(
    db: Db,
    outcome_log: std::sync::Arc<OutcomeLog>,
    mut arrivals: mpsc::Receiver<(Done, oneshot::Sender<()>)>,
    stop: watch::Receiver<bool>,
    patience: Duration,
) {
    let mut group = Vec::with_capacity(GROUP);
    let mut row = 0;
    let outage = Outage::new();
    while arrivals.recv_many(&mut group, GROUP).await > 0 {
        let records: Vec<OutcomeRecord> = group
            .iter()
            .filter_map(|(done, _)| outcome_record(&outcome_log.lease, done))
            .collect();
        if !records.is_empty() {
            row += 1;
            let body = serde_json::to_string(&records).unwrap_or_default();
            let since = Instant::now();
            loop {
                let (lease, body) = (outcome_log.lease.clone(), body.clone());
                let written = db
                    .bare(move |conn| queue::write_records(conn, &lease, row, &body))
                    .await;
                match written {
                    Ok(()) => {
                        if outage.ends() {
                            tracing::info!("outcome records are written again");
                        }
                        break;
                    }
                    Err(error) => {
                        // The senders wait here, because an outcome must be recorded before anything else is
                        // sent.
                        if outage.begins() {
                            tracing::error!(
                                error = error.chain(),
                                "outcome records cannot be written; sending waits, and the next line about it says that they \
                                 are written again"
                            );
                        }
                        if *stop.borrow() && since.elapsed() > patience {
                            // The batch itself is still stored by the recorder if the database returns in
                            // time.
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
            let mut pending = outcome_log.lock();
            pending.row = row;
            before = pending.done.len();
            for (done, recorded) in group.drain(..) {
                pending.add(done);
                acknowledged.push(recorded);
            }
            after = pending.done.len();
        }
        outcome_log.tell(if before == 0 { 1 } else { after });
        for recorded in acknowledged {
            // This fails only if the sender has ended, and then it needs no answer.
            let _ = recorded.send(());
        }
    }
}
