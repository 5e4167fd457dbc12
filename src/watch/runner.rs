//! The background work: asks what is due, a bounded number at a time, and looks for heartbeats that have fallen silent.
//!
//! When something is due stands in the tables: whichever process moves that time on does the work, so any number may run
//! beside each other. What was being asked when a process died is asked again when its turn comes.
//!
//! Must never happen here: a request within a transaction, or a check that is asked twice at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use hyper::Method;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::check::{CheckMethod, CheckResult, NewCheck, Row};
use super::{answer, given, silence};
use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::CheckId;
use crate::base::time::Timestamp;
use crate::db::schema::checks as c;
use crate::db::{Conn, Db};
use crate::egress::client::{Client, Look};

/// How often it is looked for what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Checks that are asked at a time.
const AT_ONCE: usize = 32;
/// Bytes of an answer that are read.
const MOST_READ: usize = 256 * 1024;
/// Redirects that are followed where they are.
const REDIRECTS: usize = 5;
/// When nothing could be looked at for so long, neither could a beat be taken: silence begins anew.
const AWAY: Duration = Duration::from_secs(30);

/// The running background work.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Starts it.
    pub fn start(db: Db, client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let wake = Arc::new(Notify::new());
        let task = tokio::spawn(work(db, Arc::new(client), wake.clone(), stop.clone()));
        Watcher { stop, wake, task }
    }

    /// Ends it. What is being asked is not waited for: it is asked again in its turn.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake.notify_one();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "watching ended badly");
        }
    }
}

async fn work(db: Db, client: Arc<Client>, wake: Arc<Notify>, stop: Arc<AtomicBool>) {
    let mut running: JoinSet<()> = JoinSet::new();
    let mut looked = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        while let Some(ended) = running.try_join_next() {
            if let Err(error) = ended {
                tracing::warn!(%error, "a check ended badly");
            }
        }
        let away = looked.elapsed() > AWAY;
        match listen(&db, away).await {
            Ok(()) => looked = Instant::now(),
            Err(error) => tracing::warn!(error = error.chain(), "heartbeats could not be looked at"),
        }
        match claim(&db, AT_ONCE - running.len().min(AT_ONCE)).await {
            Ok(due) => {
                for due in due {
                    running.spawn(ask(db.clone(), client.clone(), due));
                }
            }
            Err(error) => tracing::warn!(error = error.chain(), "checks that are due could not be read"),
        }
        let _ = timeout(LOOK, wake.notified()).await;
    }
    running.shutdown().await;
}

async fn listen(db: &Db, away: bool) -> Result<()> {
    if away {
        let now = db.clock().now();
        db.transaction(move |conn| silence::grant(conn, now)).await?;
        return Ok(());
    }
    silence::look(db).await
}

/// A check whose turn it is.
struct Due {
    id: CheckId,
    version: i64,
    given: NewCheck,
}

async fn claim(db: &Db, room: usize) -> Result<Vec<Due>> {
    let now = db.clock().now();
    let room = i64::try_from(room).unwrap_or_default();
    if room == 0 || db.read(move |conn| due(conn, now, 1)).await?.is_empty() {
        return Ok(Vec::new());
    }
    db.transaction(move |conn| {
        let mut claimed = Vec::new();
        for row in due(conn, now, room)? {
            let given = row.given()?;
            let period = Duration::from_secs(given.every_seconds.unsigned_abs());
            // In step, unless its turn was missed.
            let next = Some(row.due_at.plus(period))
                .filter(|next| *next > now)
                .unwrap_or(now.plus(period));
            let mine = diesel::update(c::table.find(row.id.as_str()).filter(c::due_at.eq(row.due_at)))
                .set(c::due_at.eq(next))
                .execute(conn)?;
            if mine == 1 {
                claimed.push(Due {
                    id: row.id,
                    version: row.version,
                    given,
                });
            }
        }
        Ok(claimed)
    })
    .await
}

fn due(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<Vec<Row>> {
    Ok(c::table
        .filter(c::gone_at.is_null())
        .filter(c::paused.eq(false))
        .filter(c::due_at.le(now))
        .order(c::due_at)
        .limit(limit)
        .load(conn)?)
}

/// Asks once, and records what came of it.
async fn ask(db: Db, client: Arc<Client>, due: Due) {
    let Due { id, version, given } = due;
    let at = db.clock().now();
    let look = Look {
        method: match given.method {
            CheckMethod::Get => Method::GET,
            CheckMethod::Head => Method::HEAD,
        },
        url: given.url.clone(),
        headers: given.headers.clone().into_iter().collect(),
        patience: Duration::from_secs(given.timeout_seconds.unsigned_abs()),
        most: MOST_READ,
        redirects: if given.follow_redirects { REDIRECTS } else { 0 },
    };
    let seen = client.look(&look).await;
    let problems = given::expected(&given).problems(&seen, at);
    let seen = seen.ok();
    let result = CheckResult {
        at,
        ok: problems.is_empty(),
        problems,
        status: seen.as_ref().map(|seen| seen.status.as_u16()),
        latency_ms: seen
            .as_ref()
            .and_then(|seen| u64::try_from(seen.took.as_millis()).ok()),
        certificate_expires_at: seen.and_then(|seen| seen.certificate_expires_at),
    };
    let shown = id.clone();
    let recorded = db
        .write(&Actor::system("checks"), move |tx| {
            answer::record(tx, &id, version, &result)
        })
        .await;
    if let Err(error) = recorded {
        tracing::warn!(check = %shown, error = error.chain(), "what a check found could not be recorded");
    }
}
