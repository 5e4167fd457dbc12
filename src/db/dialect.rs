//! The only place that matches on the backend: the few statements that truly differ, and
//! [`on_backend!`] for those that diesel can build for each database but not for the enum of both.
//!
//! Must never happen here: a rule of the domain.

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};

use super::{Conn, Fix, copy};
use crate::error::Result;
use crate::id::{AlertId, IncidentId, NoticeId};
use crate::time::Timestamp;

/// Runs the same diesel expression against whichever database it is (batch inserts, `ON CONFLICT`).
macro_rules! on_backend {
    ($conn:expr, $inner:ident => $body:expr) => {
        match $conn {
            $crate::db::Conn::Sqlite($inner) => $body,
            $crate::db::Conn::Pg($inner) => $body,
        }
    };
}
pub(crate) use on_backend;

/// Begins a transaction that will write. SQLite takes the write lock at once: a deferred
/// transaction that reads first cannot be upgraded while another one writes.
pub(super) fn begin_write(conn: &mut Conn) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE")?,
        Conn::Pg(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN")?,
    }
    Ok(())
}

/// Begins a transaction that only reads and sees one state throughout.
pub(super) fn begin_read(conn: &mut Conn) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN")?,
        Conn::Pg(conn) => AnsiTransactionManager::begin_transaction_sql(
            conn,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )?,
    }
    Ok(())
}

pub(super) fn commit(conn: &mut Conn) -> Result<()> {
    <Conn as Connection>::TransactionManager::commit_transaction(conn)?;
    Ok(())
}

/// Rolls back; where that fails the connection is thrown away by the pool.
pub(super) fn roll_back(conn: &mut Conn) {
    if let Err(error) = <Conn as Connection>::TransactionManager::rollback_transaction(conn) {
        tracing::debug!(%error, "rollback failed; the connection is dropped");
    }
}

/// Begins a part of a transaction that can be undone by itself.
///
/// # Errors
/// What the database answers.
pub fn savepoint(conn: &mut Conn) -> Result<()> {
    <Conn as Connection>::TransactionManager::begin_transaction(conn)?;
    Ok(())
}

/// Ends the part that was begun last, and keeps it.
///
/// # Errors
/// What the database answers.
pub fn release(conn: &mut Conn) -> Result<()> {
    commit(conn)
}

/// Undoes the part that was begun last.
///
/// # Errors
/// What the database answers.
pub fn undo(conn: &mut Conn) -> Result<()> {
    <Conn as Connection>::TransactionManager::rollback_transaction(conn)?;
    Ok(())
}

/// A table whose rows are locked by id.
#[derive(Clone, Copy, Debug)]
pub enum Lock {
    /// One incident: its status, its affected resources, its notices.
    Incident,
    /// One notice: its state.
    Notice,
    /// One integration: its alerts are taken in one request after another.
    Integration,
    /// One source of the directory: its runs.
    Source,
    /// One reader of the audit trail.
    Cursor,
}

/// Waits for and takes the row's lock until the transaction ends. SQLite has one writer, so holds it already.
/// NO KEY: rows that refer to this one by a foreign key may still be written, or two transactions that lock in
/// turn an incident and its notice could wait for each other.
pub fn lock(conn: &mut Conn, what: Lock, id: &str) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    let statement = match what {
        Lock::Incident => "SELECT 1 FROM incidents WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Notice => "SELECT 1 FROM notices WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Integration => "SELECT 1 FROM integrations WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Source => "SELECT 1 FROM directory_sources WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Cursor => "SELECT 1 FROM trail_cursors WHERE name = $1 FOR NO KEY UPDATE",
    };
    diesel::sql_query(statement)
        .bind::<Text, _>(id)
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Keeps the shape of the directory still while parents and owners are checked. Imports and single
/// changes take it; reading does not wait for it.
pub fn lock_directory(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    // Any constant will do, as long as nothing else of Candor's uses it.
    diesel::sql_query("SELECT pg_advisory_xact_lock(727001)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// A label of the account `a`, to be compared with a value: `{name}` is to become the parameter with its name.
/// Accounts keep their labels as JSON.
pub fn account_label(conn: &Conn) -> String {
    match conn {
        Conn::Sqlite(_) => "(SELECT e.value FROM json_each(a.labels) e WHERE e.key = {name})",
        Conn::Pg(_) => "(a.labels::json ->> {name})",
    }
    .to_owned()
}

/// Takes in what was reported of mails one body after another: two that name the same deliveries in another order would
/// wait for each other.
pub fn lock_feedback(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727002)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Takes alerts in one transaction after another: a group may span integrations, and two at once must not open two
/// incidents of it.
///
/// # Errors
/// What the database answers.
pub fn lock_intake(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727014)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Locks the end of the audit chain and reads it: the last lock that a transaction takes.
pub fn audit_head(conn: &mut Conn) -> Result<(i64, String)> {
    #[derive(QueryableByName)]
    struct Head {
        #[diesel(sql_type = BigInt)]
        seq: i64,
        #[diesel(sql_type = Text)]
        hash: String,
    }
    let statement = match conn {
        Conn::Sqlite(_) => "SELECT seq, hash FROM audit_head",
        Conn::Pg(_) => "SELECT seq, hash FROM audit_head FOR UPDATE",
    };
    let head: Head = diesel::sql_query(statement).fixed().get_result(conn)?;
    Ok((head.seq, head.hash))
}

/// Makes PostgreSQL look at tables that have just grown a great deal. Its own daemon does that within minutes; until
/// then it takes them for nearly empty, and joins them row by row: an audience of 40,000 never came to an end.
/// SQLite plans by its indexes here, and needs no such help.
///
/// # Errors
/// What the database answers.
pub fn analyze(conn: &mut Conn, tables: &[&str]) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query(format!("ANALYZE {}", tables.join(", "))).execute(conn)?;
    Ok(())
}

/// A delivery that is due.
#[derive(Clone, Debug, QueryableByName)]
pub struct Due {
    /// Its id.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// Whose claim on it has run out.
    #[diesel(sql_type = Nullable<Text>)]
    pub lease: Option<String>,
    /// Attempts so far.
    #[diesel(sql_type = BigInt)]
    pub attempt: i64,
}

/// Rows that were tried before and are due again of which at most so many are looked at for a domain that is not to be
/// left out.
const LOOK: i64 = 10_000;

/// Locks deliveries that are due: those first that were tried before, none that another worker is claiming or that `own`
/// holds (a claim of one's own is alive, however late its renewal), none of the domains to leave out.
///
/// Both indexes are partial: their conditions stand here word for word. What is due for the first time is found by
/// domain, between those that are left out: however much waits for these, it is not looked at.
///
/// # Errors
/// What the database answers.
pub fn due(
    conn: &mut Conn,
    channel: &str,
    now: Timestamp,
    own: &str,
    limit: i64,
    without: &[String],
) -> Result<Vec<Due>> {
    let mut rows = due_again(conn, channel, now, own, limit, without)?;
    let mut left_out: Vec<&str> = without.iter().map(String::as_str).collect();
    left_out.sort_unstable();
    // No domain is longer than 255 bytes, and none begins with the last of all characters.
    let starts = std::iter::once("").chain(left_out.iter().copied());
    let ends = left_out.iter().copied().chain(std::iter::once("\u{10FFFF}"));
    for (index, (start, end)) in starts.zip(ends).enumerate() {
        let room = limit - rows.len() as i64;
        if room <= 0 {
            break;
        }
        let after = if index == 0 { ">=" } else { ">" };
        let lock = match conn {
            Conn::Sqlite(_) => "",
            Conn::Pg(_) => "FOR UPDATE SKIP LOCKED",
        };
        let found: Vec<Due> = diesel::sql_query(format!(
            "SELECT id, lease, attempt FROM deliveries WHERE state = 'pending' AND deferred_until IS NULL AND channel = $1 \
             AND domain {after} $2 AND domain < $3 AND next_attempt_at <= $4 AND (lease IS NULL OR lease <> $5) \
             ORDER BY domain, id LIMIT $6 {lock}"
        ))
        .bind::<Text, _>(channel)
        .bind::<Text, _>(start)
        .bind::<Text, _>(end)
        .bind::<BigInt, _>(now)
        .bind::<Text, _>(own)
        .bind::<BigInt, _>(room)
        .fixed()
        .load(conn)?;
        rows.extend(found);
    }
    Ok(rows)
}

fn due_again(
    conn: &mut Conn,
    channel: &str,
    now: Timestamp,
    own: &str,
    limit: i64,
    without: &[String],
) -> Result<Vec<Due>> {
    let looked_at = "SELECT id, domain FROM deliveries WHERE state = 'pending' AND deferred_until IS NOT NULL \
                     AND channel = $1 AND deferred_until <= $2 AND next_attempt_at <= $2 \
                     AND (lease IS NULL OR lease <> $3) ORDER BY deferred_until, id LIMIT $4";
    Ok(match conn {
        Conn::Sqlite(conn) => diesel::sql_query(format!(
            "SELECT d.id, d.lease, d.attempt FROM ({looked_at}) AS seen JOIN deliveries d ON d.id = seen.id \
             WHERE seen.domain NOT IN (SELECT value FROM json_each($5)) LIMIT $6"
        ))
        .bind::<Text, _>(channel)
        .bind::<BigInt, _>(now)
        .bind::<Text, _>(own)
        .bind::<BigInt, _>(LOOK)
        .bind::<Text, _>(serde_json::to_string(without)?)
        .bind::<BigInt, _>(limit)
        .fixed()
        .load(conn)?,
        Conn::Pg(conn) => diesel::sql_query(format!(
            "SELECT d.id, d.lease, d.attempt FROM ({looked_at}) AS seen JOIN deliveries d ON d.id = seen.id \
             WHERE seen.domain <> ALL($5) AND d.state = 'pending' AND d.next_attempt_at <= $2 LIMIT $6 \
             FOR UPDATE OF d SKIP LOCKED"
        ))
        .bind::<Text, _>(channel)
        .bind::<BigInt, _>(now)
        .bind::<Text, _>(own)
        .bind::<BigInt, _>(LOOK)
        .bind::<Array<Text>, _>(without)
        .bind::<BigInt, _>(limit)
        .fixed()
        .load(conn)?,
    })
}

/// Whether a delivery of the channel is due that `own` does not hold.
///
/// # Errors
/// What the database answers.
pub fn is_due(conn: &mut Conn, channel: &str, now: Timestamp, own: &str) -> Result<bool> {
    #[derive(QueryableByName)]
    struct One {
        #[diesel(sql_type = BigInt)]
        #[allow(dead_code)]
        id: i64,
    }
    for (kind, order) in [
        // SQLite numbers parameters as they first appear: no `$2` before `$1`.
        (
            "deferred_until IS NOT NULL AND deferred_until <= $2",
            "deferred_until, id",
        ),
        ("deferred_until IS NULL", "domain, id"),
    ] {
        let one: Option<One> = diesel::sql_query(format!(
            "SELECT id FROM deliveries WHERE state = 'pending' AND channel = $1 AND {kind} \
             AND next_attempt_at <= $2 AND (lease IS NULL OR lease <> $3) ORDER BY {order} LIMIT 1"
        ))
        .bind::<Text, _>(channel)
        .bind::<BigInt, _>(now)
        .bind::<Text, _>(own)
        .fixed()
        .get_result(conn)
        .optional()?;
        if one.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A statement about the rows that have one of these numbers: `{among}` in it says so, and they are its last parameter.
macro_rules! about_ids {
    ($conn:expr, $ids:expr, $last:literal, $statement:expr, |$query:ident| $bound:expr, $run:ident) => {
        match $conn {
            Conn::Sqlite(conn) => {
                let among = concat!("IN (SELECT value FROM json_each(", $last, "))");
                let $query = diesel::sql_query($statement.replace("{among}", among));
                $bound
                    .bind::<Text, _>(serde_json::to_string($ids)?)
                    .fixed()
                    .$run(conn)?
            }
            Conn::Pg(conn) => {
                // Not a subquery: with that the planner may read the whole table.
                let among = concat!("= ANY(", $last, ")");
                let $query = diesel::sql_query($statement.replace("{among}", among));
                $bound.bind::<Array<BigInt>, _>($ids).fixed().$run(conn)?
            }
        }
    };
}

/// A delivery that was claimed.
#[derive(Clone, Debug, QueryableByName)]
#[allow(missing_docs)]
pub struct ClaimedRow {
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    #[diesel(sql_type = Text)]
    pub notice_id: NoticeId,
    #[diesel(sql_type = BigInt)]
    pub ordinal: i64,
    #[diesel(sql_type = Text)]
    pub address: String,
    #[diesel(sql_type = BigInt)]
    pub attempt: i64,
    #[diesel(sql_type = Text)]
    pub message_id: String,
    #[diesel(sql_type = BigInt)]
    pub expires_at: Timestamp,
    #[diesel(sql_type = Text)]
    pub domain: String,
    #[diesel(sql_type = Text)]
    pub channel: String,
}

/// Claims the deliveries of these ids until the given time.
///
/// # Errors
/// What the database answers.
pub fn claim(conn: &mut Conn, ids: &[i64], lease: &str, until: Timestamp) -> Result<Vec<ClaimedRow>> {
    let statement = "UPDATE deliveries SET attempt = attempt + 1, lease = $1, next_attempt_at = $2 \
                     WHERE id {among} AND state = 'pending' \
                     RETURNING id, notice_id, ordinal, address, attempt, message_id, expires_at, domain, channel";
    Ok(about_ids!(
        conn,
        ids,
        "$3",
        statement,
        |query| query.bind::<Text, _>(lease).bind::<BigInt, _>(until),
        load
    ))
}

/// Of the deliveries of these ids, those that `lease` holds.
///
/// # Errors
/// What the database answers.
pub fn held(conn: &mut Conn, ids: &[i64], lease: &str) -> Result<Vec<ClaimedRow>> {
    let statement = "SELECT id, notice_id, ordinal, address, attempt, message_id, expires_at, domain, channel \
                     FROM deliveries WHERE lease = $1 AND state = 'pending' AND id {among}";
    Ok(about_ids!(
        conn,
        ids,
        "$2",
        statement,
        |query| query.bind::<Text, _>(lease),
        load
    ))
}

/// Keeps the claim of `lease` on the deliveries of these ids until the given time.
///
/// # Errors
/// What the database answers.
pub fn renew(conn: &mut Conn, lease: &str, until: Timestamp, ids: &[i64]) -> Result<()> {
    let statement =
        "UPDATE deliveries SET next_attempt_at = $1 WHERE lease = $2 AND state = 'pending' AND id {among}";
    about_ids!(
        conn,
        ids,
        "$3",
        statement,
        |query| query.bind::<BigInt, _>(until).bind::<Text, _>(lease),
        execute
    );
    Ok(())
}

/// A row that a source brought, about to be staged.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct StagedRow<'a> {
    pub kind: i64,
    pub key: &'a str,
    pub parent: Option<&'a str>,
    pub seq: i64,
    pub line: &'a str,
}

/// Stages rows of a run, and answers how many of them were not there yet.
///
/// # Errors
/// What the database answers.
pub fn stage<'a>(conn: &mut Conn, run: &str, rows: impl Iterator<Item = StagedRow<'a>>) -> Result<usize> {
    const INTO: &str = "INSERT INTO directory_staged (run_id, kind, key, parent, level, seq, line)";
    const LEVEL: &str = "CASE WHEN r.parent IS NULL THEN 0 END";
    Ok(match conn {
        Conn::Sqlite(conn) => {
            let rows: Vec<_> = rows
                .map(|row| (row.kind, row.key, row.parent, row.seq, row.line))
                .collect();
            diesel::sql_query(format!(
                "{INTO} SELECT $1, r.kind, r.key, r.parent, {LEVEL}, r.seq, r.line FROM ( \
                     SELECT json_extract(value, '$[0]') AS kind, json_extract(value, '$[1]') AS key, \
                            json_extract(value, '$[2]') AS parent, json_extract(value, '$[3]') AS seq, \
                            json_extract(value, '$[4]') AS line FROM json_each($2)) AS r \
                 WHERE TRUE ON CONFLICT (run_id, kind, key) DO NOTHING"
            ))
            .bind::<Text, _>(run)
            .bind::<Text, _>(serde_json::to_string(&rows)?)
            .execute(conn)?
        }
        Conn::Pg(conn) => {
            let (mut kinds, mut keys, mut parents, mut seqs, mut lines) =
                (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for row in rows {
                kinds.push(row.kind);
                keys.push(row.key);
                parents.push(row.parent);
                seqs.push(row.seq);
                lines.push(row.line);
            }
            diesel::sql_query(format!(
                "{INTO} SELECT $1, r.kind, r.key, r.parent, {LEVEL}, r.seq, r.line \
                 FROM UNNEST($2, $3, $4, $5, $6) AS r(kind, key, parent, seq, line) \
                 ON CONFLICT (run_id, kind, key) DO NOTHING"
            ))
            .bind::<Text, _>(run)
            .bind::<Array<BigInt>, _>(kinds)
            .bind::<Array<Text>, _>(keys)
            .bind::<Array<Nullable<Text>>, _>(parents)
            .bind::<Array<BigInt>, _>(seqs)
            .bind::<Array<Text>, _>(lines)
            .execute(conn)?
        }
    })
}

/// Makes everything that a run staged the source's own.
///
/// # Errors
/// What the database answers.
pub fn own_staged(conn: &mut Conn, run: &str, source: &str) -> Result<()> {
    // The same text for both: only the enum cannot say ON CONFLICT.
    diesel::sql_query(
        "INSERT INTO directory_origins (kind, key, source_id) \
         SELECT s.kind, s.key, $1 FROM directory_staged s WHERE s.run_id = $2 \
         ON CONFLICT (kind, key) DO UPDATE SET source_id = excluded.source_id \
         WHERE directory_origins.source_id <> excluded.source_id",
    )
    .bind::<Text, _>(source)
    .bind::<Text, _>(run)
    .execute(conn)?;
    Ok(())
}

/// Locks messages to operators that are due by a way, and that no other worker is claiming.
///
/// # Errors
/// What the database answers.
pub fn due_messages(conn: &mut Conn, channel: &str, now: Timestamp, limit: i64) -> Result<Vec<String>> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = Text)]
        id: String,
    }
    let lock = match conn {
        Conn::Sqlite(_) => "",
        Conn::Pg(_) => "FOR UPDATE SKIP LOCKED",
    };
    let rows: Vec<Id> = diesel::sql_query(format!(
        "SELECT id FROM operator_messages WHERE state = 'pending' AND channel = $1 AND next_attempt_at <= $2 \
         ORDER BY next_attempt_at, id LIMIT $3 {lock}"
    ))
    .bind::<Text, _>(channel)
    .bind::<BigInt, _>(now)
    .bind::<BigInt, _>(limit)
    .load(conn)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// What is frozen of a delivery's recipient.
#[derive(Clone, Debug, QueryableByName)]
#[allow(missing_docs)]
pub struct RecipientRow {
    #[diesel(sql_type = BigInt)]
    pub ordinal: i64,
    #[diesel(sql_type = Text)]
    pub context: String,
    #[diesel(sql_type = Bool)]
    pub optional: bool,
}

/// The frozen recipients of a notice at these places.
///
/// # Errors
/// What the database answers.
pub fn recipients(conn: &mut Conn, notice: &NoticeId, ordinals: &[i64]) -> Result<Vec<RecipientRow>> {
    Ok(match conn {
        Conn::Sqlite(conn) => diesel::sql_query(
            "SELECT ordinal, context, optional FROM notice_recipients \
             WHERE notice_id = $1 AND ordinal IN (SELECT value FROM json_each($2))",
        )
        .bind::<Text, _>(notice.as_str())
        .bind::<Text, _>(serde_json::to_string(ordinals)?)
        .fixed()
        .load(conn)?,
        // One by one: of a list that was frozen a moment ago the planner knows nothing, and reads all of it.
        Conn::Pg(conn) => diesel::sql_query(
            "SELECT nr.ordinal, nr.context, nr.optional FROM UNNEST($1) AS wanted (ordinal), \
             LATERAL (SELECT * FROM notice_recipients \
                      WHERE notice_id = $2 AND ordinal = wanted.ordinal LIMIT 1) AS nr",
        )
        .bind::<Array<BigInt>, _>(ordinals)
        .bind::<Text, _>(notice.as_str())
        .fixed()
        .load(conn)?,
    })
}

/// An attempt, as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct AttemptRow<'a> {
    /// The delivery.
    pub delivery_id: i64,
    /// The how-many-th it is.
    pub attempt: i64,
    /// What became of it.
    pub outcome: &'a str,
    /// What the other side said.
    pub reply: &'a str,
}

/// Stores attempts that were made at the same time; one that is stored already is left alone. Answers how many were new.
///
/// # Errors
/// What the database answers.
pub fn insert_attempts(
    conn: &mut Conn,
    at: Timestamp,
    batch: &str,
    attempts: &[AttemptRow<'_>],
) -> Result<usize> {
    use super::schema::delivery_attempts as da;
    match conn {
        Conn::Sqlite(conn) => {
            let mut inserted = 0;
            // A statement of its own for each: it stays prepared.
            for row in attempts {
                inserted += diesel::insert_into(da::table)
                    .values((
                        da::delivery_id.eq(row.delivery_id),
                        da::attempt.eq(row.attempt),
                        da::at.eq(at),
                        da::outcome.eq(row.outcome),
                        da::reply.eq(row.reply),
                        da::batch.eq(batch),
                    ))
                    .on_conflict_do_nothing()
                    .execute(conn)?;
            }
            Ok(inserted)
        }
        Conn::Pg(conn) => Ok(diesel::sql_query(
            "INSERT INTO delivery_attempts (delivery_id, attempt, at, outcome, reply, batch) \
             SELECT new.delivery_id, new.attempt, $1, new.outcome, new.reply, $2 \
             FROM UNNEST($3, $4, $5, $6) AS new (delivery_id, attempt, outcome, reply) ON CONFLICT DO NOTHING",
        )
        .bind::<BigInt, _>(at)
        .bind::<Text, _>(batch)
        .bind::<Array<BigInt>, _>(attempts.iter().map(|row| row.delivery_id).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(attempts.iter().map(|row| row.attempt).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(attempts.iter().map(|row| row.outcome).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(attempts.iter().map(|row| row.reply).collect::<Vec<_>>())
        .fixed()
        .execute(conn)?),
    }
}

/// What becomes of deliveries at the end of a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The state they are in from now on.
    pub state: &'static str,
    /// When they are due, where they are pending.
    pub next_attempt_at: Timestamp,
    /// When they were accepted.
    pub sent_at: Option<Timestamp>,
    /// Why they failed.
    pub reason: Option<&'static str>,
    /// Attempts of which nobody knows whether they arrived: 0 or 1.
    pub ambiguous: i64,
    /// Until when it waits, where it does.
    pub deferred_until: Option<Timestamp>,
}

/// Ends the claim of `lease` on the deliveries of these ids; those that it does not hold any more are left alone.
///
/// # Errors
/// What the database answers.
pub fn end_claim(conn: &mut Conn, lease: &str, end: &End, ids: &[i64]) -> Result<usize> {
    let statement = "UPDATE deliveries SET state = $1, lease = NULL, next_attempt_at = $2, sent_at = $3, reason = $4, \
                     ambiguous = ambiguous + $5, deferred_until = $6 WHERE lease = $7 AND state = 'pending' AND id {among}";
    Ok(about_ids!(
        conn,
        ids,
        "$8",
        statement,
        |query| query
            .bind::<Text, _>(end.state)
            .bind::<BigInt, _>(end.next_attempt_at)
            .bind::<Nullable<BigInt>, _>(end.sent_at)
            .bind::<Nullable<Text>, _>(end.reason)
            .bind::<BigInt, _>(end.ambiguous)
            .bind::<Nullable<BigInt>, _>(end.deferred_until)
            .bind::<Text, _>(lease),
        execute
    ))
}

/// Makes due what `lease` holds apart from the deliveries of these ids.
///
/// # Errors
/// What the database answers.
pub fn give_back_others(conn: &mut Conn, lease: &str, now: Timestamp, ids: &[i64]) -> Result<usize> {
    let statement = "UPDATE deliveries SET lease = NULL, next_attempt_at = $1 \
                     WHERE lease = $2 AND state = 'pending' AND NOT (id {among})";
    Ok(about_ids!(
        conn,
        ids,
        "$3",
        statement,
        |query| query.bind::<BigInt, _>(now).bind::<Text, _>(lease),
        execute
    ))
}

/// The newest alert of a fingerprint.
#[derive(Clone, Debug, QueryableByName)]
#[allow(missing_docs)]
pub struct LatestAlert {
    #[diesel(sql_type = Text)]
    pub id: AlertId,
    #[diesel(sql_type = Text)]
    pub fingerprint: String,
    #[diesel(sql_type = Text)]
    pub status: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub incident_id: Option<IncidentId>,
    #[diesel(sql_type = BigInt)]
    pub repeats: i64,
}

/// The newest alert of each of these fingerprints; of one that flaps there are many older ones, which are not read.
///
/// # Errors
/// What the database answers.
pub fn latest_alerts(conn: &mut Conn, integration: &str, fingerprints: &[&str]) -> Result<Vec<LatestAlert>> {
    const NEWEST: &str = "FROM alerts b WHERE b.integration_id = $2 AND b.fingerprint = k.value \
                          ORDER BY b.received_at DESC, b.id DESC LIMIT 1";
    const SHOWN: &str = "SELECT a.id, a.fingerprint, a.status, a.incident_id, a.repeats";
    Ok(match conn {
        // SQLite numbers parameters as they appear.
        Conn::Sqlite(conn) => diesel::sql_query(format!(
            "{SHOWN} FROM json_each($1) AS k JOIN alerts a ON a.id = (SELECT b.id {NEWEST})"
        ))
        .bind::<Text, _>(serde_json::to_string(fingerprints)?)
        .bind::<Text, _>(integration)
        .fixed()
        .load(conn)?,
        // One by one, by the index, whatever the planner knows of a table that has just grown.
        Conn::Pg(conn) => diesel::sql_query(format!(
            "{SHOWN} FROM UNNEST($1) AS k(value), LATERAL (SELECT b.* {NEWEST}) AS a"
        ))
        .bind::<Array<Text>, _>(fingerprints)
        .bind::<Text, _>(integration)
        .fixed()
        .load(conn)?,
    })
}

/// An alert that came again.
#[derive(Clone, Copy, Debug)]
pub struct RepeatRow<'a> {
    /// The alert.
    pub id: &'a str,
    /// How often.
    pub times: i64,
    /// The silence or maintenance window in which it came last.
    pub quiet: Option<&'a str>,
}

/// Counts alerts that came again, each of them once in the list.
///
/// # Errors
/// What the database answers.
pub fn repeat_alerts(conn: &mut Conn, now: Timestamp, rows: &[RepeatRow<'_>]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(conn) => {
            let rows: Vec<_> = rows.iter().map(|row| (row.id, row.times, row.quiet)).collect();
            diesel::sql_query(
                "UPDATE alerts SET repeats = repeats + r.times, last_received_at = $1, quiet_id = r.quiet FROM ( \
                     SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS times, \
                            json_extract(value, '$[2]') AS quiet FROM json_each($2)) AS r \
                 WHERE alerts.id = r.id",
            )
            .bind::<BigInt, _>(now)
            .bind::<Text, _>(serde_json::to_string(&rows)?)
            .fixed()
            .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(
                "UPDATE alerts SET repeats = repeats + r.times, last_received_at = $1, quiet_id = r.quiet \
                 FROM UNNEST($2, $3, $4) AS r(id, times, quiet) WHERE alerts.id = r.id",
            )
            .bind::<BigInt, _>(now)
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.id).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.times).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.quiet).collect::<Vec<_>>())
            .fixed()
            .execute(conn)?;
        }
    }
    Ok(())
}

/// Where workers listen.
const WORK: &str = "candor_work";

/// Tells the workers of every process, when the transaction commits: something is due, or (`stopped`) a notice was
/// stopped. With an embedded database there is but one process, and it knows.
///
/// # Errors
/// What the database answers.
pub fn tell_workers(conn: &mut Conn, stopped: Option<&NoticeId>) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_notify($1, $2)")
        .bind::<Text, _>(WORK)
        .bind::<Text, _>(stopped.map_or("", NoticeId::as_str))
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// What [`tell_followers`] says.
pub const FOLLOWED: &str = "trail";

/// Tells every process, when the transaction commits, that something was written which followers of the audit trail
/// wait for.
///
/// # Errors
/// What the database answers.
pub fn tell_followers(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_notify($1, $2)")
        .bind::<Text, _>(WORK)
        .bind::<Text, _>(FOLLOWED)
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Begins to listen to [`tell_workers`] on this connection.
///
/// # Errors
/// What the database answers.
pub fn listen(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query(format!("LISTEN {WORK}")).execute(conn)?;
    Ok(())
}

/// What was told since the last look: a notice's id, or nothing but that something is due. Does not wait.
///
/// # Errors
/// Where the connection is lost.
pub fn heard(conn: &mut Conn) -> Result<Vec<String>> {
    let Conn::Pg(conn) = conn else {
        return Ok(Vec::new());
    };
    let mut payloads = Vec::new();
    for notification in conn.notifications_iter() {
        payloads.push(notification?.payload);
    }
    Ok(payloads)
}

/// Writes a consistent copy to a new file: an embedded database, whichever kind this one is. `fresh` opens and
/// migrates that file where the rows have to be carried over.
///
/// # Errors
/// What either database answers.
pub fn copy_to_file(conn: &mut Conn, file: &str, fresh: impl FnOnce() -> Result<Conn>) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => {
            diesel::sql_query("VACUUM INTO $1")
                .bind::<Text, _>(file)
                .execute(conn)?;
            Ok(())
        }
        Conn::Pg(source) => match fresh()? {
            Conn::Sqlite(mut file) => copy::from_postgres(source, &mut file),
            Conn::Pg(_) => Err(copy::mismatch()),
        },
    }
}

/// Takes Candor's tables out of a PostgreSQL database; `file` says which they are.
///
/// # Errors
/// What the database answers.
pub fn clear(conn: &mut Conn, file: &mut Conn) -> Result<()> {
    match (conn, file) {
        (Conn::Pg(target), Conn::Sqlite(file)) => copy::clear_postgres(target, file),
        _ => Err(copy::mismatch()),
    }
}

/// Fills a PostgreSQL database that was just migrated from a file.
///
/// # Errors
/// What either database answers.
pub fn fill_from_file(conn: &mut Conn, file: &mut Conn) -> Result<()> {
    match (conn, file) {
        (Conn::Pg(target), Conn::Sqlite(file)) => copy::into_postgres(file, target),
        _ => Err(copy::mismatch()),
    }
}

/// Brings everything of an embedded database into its one file, so that the file can be moved.
pub fn fold_log(conn: &mut Conn) -> Result<()> {
    use diesel::connection::SimpleConnection;
    if let Conn::Sqlite(conn) = conn {
        conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;")?;
    }
    Ok(())
}
