//! Stores a listing while it arrives. One task takes the bytes and hashes them, a thread reads and sorts the rows, and a
//! third part writes them in short transactions. Each waits for the next one, so the memory does not grow with the listing.
//!
//! Whatever ends an upload before its last transaction, the listing that was there before stays.

use std::io;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::definition::Definition;
use super::listings::{self, Line, Read};
use super::row;
use super::side::Side;
use super::sorted::{Block, Gatherer};
use super::{runs, stored};
use crate::audit::{Action, Actor, Event};
use crate::base::error::{Error, Result};
use crate::base::id::ComparisonId;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::Db;
use crate::db::dialect::{self, Lock};
use crate::listing::{self, Encoding};

/// The number of pieces of a body that wait to be read.
const PIECES: usize = 32;
/// The number of rejected lines that are shown.
const SHOWN: usize = 100;
/// How often an upload whose sender is slow says that it goes on.
const ALIVE: Duration = Duration::from_secs(60);
/// The largest number of sorted runs of a listing, which is about 12 GiB of rows. A comparison has a block of each run in memory.
const MAX_RUNS: i64 = 3_000;

/// The result of an upload.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = UploadedListing)]
pub struct Uploaded {
    /// The number of rows.
    pub rows: i64,
    /// The number of lines that could not be read.
    pub rejected: i64,
    /// The first hundred of these lines, each with the reason.
    pub errors: Vec<Line>,
    /// The SHA-256 hash of what was sent.
    pub sha256: String,
}

/// A listing that is being uploaded. Dropping it ends the upload, and nothing of it is stored.
pub struct Upload {
    send: mpsc::Sender<Piece>,
    work: JoinHandle<Result<Uploaded>>,
    hasher: Sha256,
    bytes: i64,
}

enum Piece {
    Bytes(Vec<u8>),
    /// The end of the listing, with its hash and its size.
    End(String, i64),
}

/// What is uploaded: the comparison, the side, the encoding, and when what the listing says was observed. Without a time, it
/// is the time at which the upload began.
pub struct Target {
    /// The comparison that the listing is for.
    pub comparison: ComparisonId,
    /// Whether the listing says what is expected or what was observed.
    pub side: Side,
    /// How the bytes are compressed.
    pub encoding: Encoding,
    /// When the listing was made.
    pub observed_at: Option<Timestamp>,
}

impl Upload {
    /// Begins an upload.
    ///
    /// # Errors
    /// `NotFound` if the comparison does not exist. `Conflict` while it runs. `Invalid` if the time is in the future.
    pub async fn begin(db: &Db, by: &Actor, target: Target) -> Result<Upload> {
        let Target {
            comparison,
            side,
            encoding,
            observed_at,
        } = target;
        let now = db.clock().now();
        if observed_at.is_some_and(|at| at > now) {
            return Err(Error::invalid("?observed_at", "is in the future"));
        }
        let (id, name) = (comparison.clone(), by.name().to_owned());
        let (listing, definition) = db
            .transaction(move |conn| {
                dialect::lock(conn, Lock::Comparison, id.as_str())?;
                let found = stored::get(conn, &id)?;
                runs::check_idle(conn, &id)?;
                let listing = listings::begin(conn, &id, side, (&name, now, observed_at.unwrap_or(now)))?;
                Ok((listing, found.definition().clone()))
            })
            .await?;
        let (send, receive) = mpsc::channel(PIECES);
        let task = Task {
            db: db.clone(),
            by: by.clone(),
            comparison,
            side,
            listing,
        };
        // The task goes on if the request is dropped, so that it can clear up.
        let work = tokio::spawn(task.carry_out(receive, definition, encoding));
        Ok(Upload {
            send,
            work,
            hasher: Sha256::new(),
            bytes: 0,
        })
    }

    /// Takes the next bytes. It waits while those before are being stored.
    ///
    /// # Errors
    /// Why the upload has ended, if it has.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as i64;
        if self.send.send(Piece::Bytes(bytes.to_vec())).await.is_ok() {
            return Ok(());
        }
        match (&mut self.work).await.map_err(Error::internal)? {
            Err(error) => Err(error),
            Ok(_) => Err(Error::internal("an upload ended before its end")),
        }
    }

    /// Completes the upload.
    ///
    /// # Errors
    /// Why the listing cannot be used. Then nothing of it is stored.
    pub async fn finish(self) -> Result<Uploaded> {
        let digest = hex(&self.hasher.finalize());
        // If the task has ended, its error says why.
        let _ = self.send.send(Piece::End(digest, self.bytes)).await;
        drop(self.send);
        self.work.await.map_err(Error::internal)?
    }
}

/// The bytes of an upload as the reader wants them.
struct Pieces {
    receive: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    /// The number of bytes of the piece that were read.
    at: usize,
    /// The hash and the size, after the end has come.
    end: Option<(String, i64)>,
}

impl io::Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.end.is_some() {
                return Ok(0);
            }
            match self.receive.blocking_recv() {
                Some(Piece::Bytes(bytes)) => (self.piece, self.at) = (bytes, 0),
                Some(Piece::End(digest, bytes)) => self.end = Some((digest, bytes)),
                None => return Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            }
        }
        let rest = &self.piece[self.at..];
        let length = rest.len().min(to.len());
        to[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }
}

struct Task {
    db: Db,
    by: Actor,
    comparison: ComparisonId,
    side: Side,
    listing: i64,
}

impl Task {
    async fn carry_out(
        self,
        receive: mpsc::Receiver<Piece>,
        definition: Definition,
        encoding: Encoding,
    ) -> Result<Uploaded> {
        let done = self.store(receive, definition, encoding).await;
        if done.is_err() {
            let listing = self.listing;
            let failed = self
                .db
                .transaction(move |conn| listings::fail(conn, listing))
                .await;
            // Without this note, the rows are deleted later, when the upload counts as abandoned.
            if let Err(error) = failed {
                tracing::debug!(error = error.chain(), "a failed upload could not be marked");
            }
        }
        done
    }

    async fn store(
        &self,
        receive: mpsc::Receiver<Piece>,
        definition: Definition,
        encoding: Encoding,
    ) -> Result<Uploaded> {
        let (side, listing) = (self.side, self.listing);
        let pieces = Pieces {
            receive,
            piece: Vec::new(),
            at: 0,
            end: None,
        };
        // One run waits while another is written and a third one is gathered.
        let (send, mut batches) = mpsc::channel(1);
        let reading = tokio::task::spawn_blocking(move || read(pieces, &definition, side, encoding, &send));
        let mut alive = tokio::time::interval_at(tokio::time::Instant::now() + ALIVE, ALIVE);
        loop {
            let clock = self.db.clock().clone();
            tokio::select! {
                batch = batches.recv() => {
                    let Some((run, blocks)) = batch else { break };
                    self.db
                        .transaction(move |conn| listings::store(conn, listing, run, blocks, clock.now()))
                        .await?;
                }
                _ = alive.tick() => {
                    self.db
                        .transaction(move |conn| listings::touch(conn, listing, clock.now()))
                        .await?;
                }
            }
        }
        let read = reading.await.map_err(Error::internal)??;
        self.complete(read).await
    }

    /// Makes the listing that of its side, in the last transaction.
    async fn complete(&self, read: Read) -> Result<Uploaded> {
        let (id, side, listing) = (self.comparison.clone(), self.side, self.listing);
        self.db
            .write(&self.by, move |tx| {
                dialect::lock(tx.conn, Lock::Comparison, id.as_str())?;
                let comparison = stored::get(tx.conn, &id)?;
                runs::check_idle(tx.conn, &id)?;
                let before = match side {
                    Side::Expected => &comparison.listings.expected,
                    Side::Observed => &comparison.listings.observed,
                };
                let before = before.as_ref().map(|one| one.id);
                listings::complete(tx.conn, listing, &read, before, tx.now)?;
                stored::set_listing(tx.conn, &id, side, listing)?;
                tx.record(
                    Event::new(Action::ComparisonUploaded, "comparison", id.as_str())
                        .incident(&comparison.incident)
                        .after(json!({
                            "side": side, "rows": read.rows, "rejected": read.rejected, "sha256": read.sha256,
                        })),
                );
                Ok(Uploaded {
                    rows: read.rows,
                    rejected: read.rejected,
                    errors: read.errors,
                    sha256: read.sha256,
                })
            })
            .await
    }
}

type Batches = mpsc::Sender<(i64, Vec<Block>)>;

/// Reads and sorts the rows, and sends each sorted run with its number.
fn read(
    mut pieces: Pieces,
    definition: &Definition,
    side: Side,
    encoding: Encoding,
    send: &Batches,
) -> Result<Read> {
    let columns = definition.columns();
    let (layout, wanted) = (definition.layout(side), definition.wanted(side, &columns));
    let mut done = Read::default();
    let mut gatherer = Gatherer::default();
    let rows = listing::rows(listing::unpack(&mut pieces, encoding)?, layout, &wanted)?;
    for read in rows {
        let row = match read? {
            listing::Read::Rejected { line, detail } => {
                reject(&mut done, line, detail);
                continue;
            }
            listing::Read::Row(row) => row,
        };
        if row.key.contains('\0') || row.values.iter().flatten().any(|value| value.contains('\0')) {
            reject(&mut done, row.line, "contains a NUL character".to_owned());
            continue;
        }
        done.rows += 1;
        gatherer.add(&row.key, |to| {
            let written_at = row.written_at.map(Timestamp::as_micros);
            let values = row.values.iter().map(Option::as_deref);
            row::pack(
                to,
                &row.key,
                (row.line, row.gone, written_at),
                row.id.as_deref(),
                values,
            );
        });
        if gatherer.is_full() {
            flush(&mut gatherer, &mut done, send)?;
        }
    }
    if !gatherer.is_empty() {
        flush(&mut gatherer, &mut done, send)?;
    }
    // The end of the listing comes after the end of the compressed data.
    let mut more = [0];
    if io::Read::read(&mut pieces, &mut more).map_err(Error::internal)? > 0 {
        return Err(Error::invalid(
            "",
            "the body has more data after the end of its compressed data",
        ));
    }
    let end = pieces
        .end
        .ok_or_else(|| Error::internal("a listing ended without its hash"))?;
    (done.sha256, done.bytes) = end;
    Ok(done)
}

fn reject(done: &mut Read, line: u64, detail: String) {
    done.rejected += 1;
    if done.errors.len() < SHOWN {
        done.errors.push(Line { line, detail });
    }
}

fn flush(gatherer: &mut Gatherer, done: &mut Read, send: &Batches) -> Result<()> {
    let run = done.sorted_runs;
    if run >= MAX_RUNS {
        return Err(Error::invalid(
            "",
            "the listing is too large: its rows need more than 12 GiB",
        ));
    }
    done.sorted_runs += 1;
    send.blocking_send((run, gatherer.sorted()))
        .map_err(|_| Error::Unavailable("the listing could not be stored".to_owned()))
}
