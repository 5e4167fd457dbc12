//! The service that requests the URLs of checks, a limited number at a time, and finds heartbeats that are
//! overdue.
//!
//! The time of the next request is stored in the database. The process that moves this time on makes the
//! request. So several processes share the checks, and no check is requested twice at a time. If a process
//! dies during a request, the request is made again at the next due time. No request is made inside a
//! transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use hyper::Method;
use tokio::task::JoinSet;

use super::check::{CheckMethod, CheckResult, CheckRow, NewCheck};
use super::{beats, check_result, check_settings};
use crate::alert::intake::{self, ConditionCache};
use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::CheckId;
use crate::base::time::Timestamp;
use crate::db::schema::checks as c;
use crate::db::{Conn, Db};
use crate::egress::client::{Client, ProbeRequest};
use crate::work::{Next, Service, Stop};

/// The number of requests that run at the same time.
const AT_ONCE: usize = 32;
/// The number of bytes of an answer that are read.
const MAX_READ: usize = 256 * 1024;
/// The number of redirects that are followed, if the check follows redirects.
const REDIRECTS: usize = 5;
/// If heartbeats could not be examined for this long, beats may have been lost too. All heartbeats then get a
/// whole new period.
const AWAY: Duration = Duration::from_secs(30);

/// Requests the URLs of checks and finds overdue heartbeats.
pub struct Checks {
    conditions: Arc<ConditionCache>,
    client: Arc<Client>,
    running: JoinSet<()>,
    /// When heartbeats were last examined.
    listened: Instant,
}

impl Checks {
    /// Creates the service. `client` makes the requests.
    pub fn new(conditions: Arc<ConditionCache>, client: Client) -> Checks {
        Checks {
            conditions,
            client: Arc::new(client),
            running: JoinSet::new(),
            listened: Instant::now(),
        }
    }
}

impl Service for Checks {
    const NAME: &'static str = "checks";
    const POLL: Duration = Duration::from_millis(500);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        while let Some(ended) = self.running.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a check ended by a fault");
            }
        }
        let away = self.listened.elapsed() > AWAY;
        let listened = listen(&self.conditions, away).await;
        if listened.is_ok() {
            self.listened = Instant::now();
        }
        // Checks are requested even where heartbeats cannot be examined.
        let room = AT_ONCE - self.running.len().min(AT_ONCE);
        for due in claim(self.conditions.db(), room).await? {
            self.running
                .spawn(ask(self.conditions.clone(), self.client.clone(), due));
        }
        listened?;
        Ok(Next::Wait)
    }

    /// Stops the requests that are running. Each is made again at its next due time.
    async fn finish(&mut self) {
        self.running.shutdown().await;
    }
}

async fn listen(conditions: &ConditionCache, away: bool) -> Result<()> {
    if away {
        let db = conditions.db();
        let now = db.clock().now();
        db.transaction(move |conn| beats::grant(conn, now)).await?;
        return Ok(());
    }
    beats::check_deadlines(conditions).await
}

/// A check whose request is due.
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
            // Keep the rhythm of the check, unless the next time is already past.
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

fn due(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<Vec<CheckRow>> {
    Ok(c::table
        .filter(c::gone_at.is_null())
        .filter(c::paused.eq(false))
        .filter(c::due_at.le(now))
        .order(c::due_at)
        .limit(limit)
        .load(conn)?)
}

/// Makes the request of a check and stores the result.
async fn ask(conditions: Arc<ConditionCache>, client: Arc<Client>, due: Due) {
    let Due { id, version, given } = due;
    let at = conditions.db().clock().now();
    let request = ProbeRequest {
        method: match given.method {
            CheckMethod::Get => Method::GET,
            CheckMethod::Head => Method::HEAD,
        },
        url: given.url.clone(),
        headers: given.headers.clone().into_iter().collect(),
        patience: Duration::from_secs(given.timeout_seconds.unsigned_abs()),
        most: MAX_READ,
        redirects: if given.follow_redirects { REDIRECTS } else { 0 },
    };
    let seen = client.probe(&request).await;
    let problems = check_settings::expected(&given).problems(&seen, at);
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
    let by = Actor::system("checks");
    let recorded = intake::write(&conditions, &by, move |tx, prepared| {
        check_result::record(tx, prepared, &id, version, &result)
    })
    .await;
    if let Err(error) = recorded {
        tracing::warn!(check = %shown, error = error.chain(), "what a check found could not be recorded");
    }
}
