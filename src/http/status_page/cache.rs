//! The status page in memory. A request needs no database unless something was changed since.
//!
//! Every change of what the public reads has its event in the audit trail. A commit in this process is seen by the next request, and
//! one of another process by the service `status_page`, within half a second. If the database does not answer, the page stays as
//! it was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::address::Address;
use super::site::Site;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Db;
use crate::status::{self, StatusPage};

/// How long a request waits for the database while there is an older page.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long requests use the older page after the database did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// A file as it is served.
pub struct File {
    /// The media type, for the header `Content-Type`, with the character set.
    pub media: &'static str,
    /// The content of the file, as the body of the response.
    pub body: Bytes,
    /// The entity tag, with its quotes.
    pub etag: String,
    /// The path where it is now, if it has moved.
    pub moved: Option<String>,
}

/// The page as of an event of the audit trail, and the files that were made of it.
pub struct Snapshot {
    /// The number of the last event that changed it.
    change: i64,
    /// The counter of commits when it was read.
    seen: AtomicU64,
    /// Until when it says the same.
    until: Timestamp,
    page: StatusPage,
    site: Site,
    files: RwLock<HashMap<Address, Arc<File>>>,
}

impl Snapshot {
    fn is_valid(&self, seen: u64, now: Timestamp) -> bool {
        self.seen.load(Ordering::Acquire) == seen && now < self.until
    }

    /// Returns what the public reads.
    pub fn page(&self) -> &StatusPage {
        &self.page
    }

    /// Returns the file at an address. It is made at the first request. `None` if there is nothing.
    ///
    /// # Errors
    /// `Internal` if a page does not fit its data.
    pub fn file(&self, address: &Address) -> Result<Option<Arc<File>>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(address) {
            return Ok(Some(file.clone()));
        }
        drop(files);
        let Some(content) = address.content(&self.page, &self.site)? else {
            return Ok(None);
        };
        let digest = Sha256::digest(content.text.as_bytes());
        let hash: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        let file = Arc::new(File {
            media: content.media,
            body: content.text.into(),
            etag: format!("\"{hash}\""),
            moved: content.moved,
        });
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(files.entry(address.clone()).or_insert(file).clone()))
    }
}

/// The page of this process.
pub struct StatusPages {
    site: Site,
    written: watch::Receiver<u64>,
    current: RwLock<Option<Arc<Snapshot>>>,
    /// One request refreshes, and the others wait for it. It holds when a refresh failed.
    refreshing: tokio::sync::Mutex<()>,
    failed: Mutex<Option<Instant>>,
}

impl StatusPages {
    /// Creates the page without reading it.
    pub fn new(db: &Db, site: Site) -> StatusPages {
        StatusPages {
            site,
            written: db.written(),
            current: RwLock::default(),
            refreshing: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Returns whose page it is.
    pub fn site(&self) -> &Site {
        &self.site
    }

    fn known(&self) -> Option<Arc<Snapshot>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the page as it is now. If the database does not answer, it is the page as it was last.
    ///
    /// # Errors
    /// An error of the database, if the page was never read.
    pub async fn current(&self, db: &Db) -> Result<Arc<Snapshot>> {
        let now = db.clock().now();
        let valid = || self.known().filter(|known| known.is_valid(self.seen(), now));
        if let Some(known) = valid() {
            return Ok(known);
        }
        if let Some(known) = self.known()
            && self.failed_lately()
        {
            return Ok(known);
        }
        let _one = self.refreshing.lock().await;
        if let Some(known) = valid() {
            return Ok(known);
        }
        let Some(known) = self.known() else {
            return self.refresh(db).await;
        };
        if self.failed_lately() {
            return Ok(known);
        }
        match tokio::time::timeout(PATIENCE, self.refresh(db)).await {
            Ok(Ok(fresh)) => Ok(fresh),
            Ok(Err(_)) | Err(_) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                *failed = Some(Instant::now());
                Ok(known)
            }
        }
    }

    fn seen(&self) -> u64 {
        *self.written.borrow()
    }

    fn failed_lately(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < PAUSE)
    }

    /// Reads the page again, if it was changed.
    ///
    /// # Errors
    /// An error of the database.
    pub async fn refresh(&self, db: &Db) -> Result<Arc<Snapshot>> {
        // The counter is read first: a commit after it makes the next request read again.
        let (seen, now) = (self.seen(), db.clock().now());
        let known = self.known();
        let unchanged = known
            .as_ref()
            .filter(|known| now < known.until)
            .map(|known| known.change);
        let read = db
            .read(move |conn| {
                let change = status::last_change(conn)?;
                if unchanged == Some(change) {
                    return Ok(None);
                }
                Ok(Some((change, status::read(conn, now)?)))
            })
            .await?;
        let Some((change, page)) = read else {
            let known = known.ok_or_else(|| Error::internal("the status page is unchanged, but unknown"))?;
            known.seen.fetch_max(seen, Ordering::AcqRel);
            return Ok(known);
        };
        let fresh = Arc::new(Snapshot {
            change,
            seen: AtomicU64::new(seen),
            until: page.same_until(),
            page,
            site: self.site.clone(),
            files: RwLock::default(),
        });
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Another refresh may have read a later state in the meantime.
        match current.as_ref() {
            Some(other) if other.change > change => Ok(other.clone()),
            _ => {
                *current = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }
}
