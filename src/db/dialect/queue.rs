//! The statements of the queue that differ between the databases: due deliveries, claims and their ends,
//! frozen data, and notifications between the workers of several processes.
//!
//! A row is never claimed while another worker holds its lease.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};

use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::{Conn, FixedText};

/// A delivery that is due.
#[derive(Clone, Debug, QueryableByName)]
pub struct Due {
    /// The ID of the delivery.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// The lease of an earlier claim that has ended.
    #[diesel(sql_type = Nullable<Text>)]
    pub lease: Option<String>,
    /// The number of attempts so far.
    #[diesel(sql_type = BigInt)]
    pub attempt: i64,
}

/// The largest number of rows with earlier attempts that are searched for domains that are not left out.
const LOOK: i64 = 10_000;

/// Locks due deliveries. Deliveries with earlier attempts come first. Deliveries that another worker is
/// claiming are skipped. So are deliveries that `own` holds, because a worker's own claim is alive even if
/// its renewal is late. The domains in `without` are left out.
///
/// Both indexes are partial, so the statements repeat their conditions with the same text. Deliveries without
/// an earlier attempt are searched by domain, in the ranges between the domains that are left out. So the
/// rows of these domains are not read, however many there are.
///
/// # Errors
/// An error of the database.
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
    // A domain has at most 255 bytes, and no domain begins with the last Unicode character.
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

/// Returns whether a delivery of the channel is due that `own` does not hold.
///
/// # Errors
/// An error of the database.
pub fn is_due(conn: &mut Conn, channel: &str, now: Timestamp, own: &str) -> Result<bool> {
    #[derive(QueryableByName)]
    struct One {
        #[diesel(sql_type = BigInt)]
        #[allow(dead_code)]
        id: i64,
    }
    for (kind, order) in [
        // SQLite numbers parameters in the order in which they first appear, so `$2` must not be before `$1`.
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

/// Runs a statement on the rows with these IDs. `{among}` in the statement is replaced with the condition,
/// and the IDs are the last parameter.
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
                // With a subquery, the planner could read the whole table.
                let among = concat!("= ANY(", $last, ")");
                let $query = diesel::sql_query($statement.replace("{among}", among));
                $bound.bind::<Array<BigInt>, _>($ids).fixed().$run(conn)?
            }
        }
    };
}

/// A delivery that a worker has claimed, as the database returns it.
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

/// Claims the deliveries with these IDs until the given time.
///
/// # Errors
/// An error of the database.
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

/// Returns the deliveries with these IDs that `lease` holds.
///
/// # Errors
/// An error of the database.
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

/// Extends the claims of `lease` on the deliveries with these IDs until the given time.
///
/// # Errors
/// An error of the database.
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

/// The frozen data of a recipient.
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

/// Returns the frozen recipients of a notice at these positions.
///
/// # Errors
/// An error of the database.
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
        // The lateral join reads the rows one by one. PostgreSQL has no statistics of a list that was frozen
        // a moment ago, and would read the whole list.
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
    /// The ID of the delivery.
    pub delivery_id: i64,
    /// The attempt number, from 1.
    pub attempt: i64,
    /// The outcome of the attempt.
    pub outcome: &'a str,
    /// The reply of the other side.
    pub reply: &'a str,
    /// What is recorded about the email that the attempt handed over, if it handed over one.
    pub mail: Option<AttemptMail<'a>>,
    /// The mail server that the email was given to.
    pub relay: Option<&'a str>,
}

/// What is recorded about the email of an attempt, as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct AttemptMail<'a> {
    /// The SHA-256 of its bytes.
    pub hash: &'a [u8],
    /// The ID of the context that it was written in.
    pub context: i64,
    /// The time of its Date header.
    pub date: Timestamp,
    /// The signatures of its links and of DKIM.
    pub signatures: &'a [u8],
}

/// Stores attempts that were made at the same time. An attempt that is already stored stays unchanged.
/// Returns how many were new.
///
/// # Errors
/// An error of the database.
pub fn insert_attempts(
    conn: &mut Conn,
    at: Timestamp,
    batch: &str,
    attempts: &[AttemptRow<'_>],
) -> Result<usize> {
    match conn {
        Conn::Sqlite(conn) => {
            let mut inserted = 0;
            // Each row has its own statement, because the statement stays prepared.
            for row in attempts {
                // ON CONFLICT DO NOTHING cannot be used, because the trigger that prevents replacing rows
                // runs first.
                inserted += diesel::sql_query(
                    "INSERT INTO delivery_attempts (delivery_id, attempt, at, outcome, reply, batch, \
                                                    mail_hash, mail_context, mail_date, mail_signatures, relay) \
                     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 WHERE NOT EXISTS \
                     (SELECT 1 FROM delivery_attempts WHERE delivery_id = $1 AND attempt = $2)",
                )
                .bind::<BigInt, _>(row.delivery_id)
                .bind::<BigInt, _>(row.attempt)
                .bind::<BigInt, _>(at)
                .bind::<Text, _>(row.outcome)
                .bind::<Text, _>(row.reply)
                .bind::<Text, _>(batch)
                .bind::<Nullable<Binary>, _>(row.mail.map(|mail| mail.hash))
                .bind::<Nullable<BigInt>, _>(row.mail.map(|mail| mail.context))
                .bind::<Nullable<BigInt>, _>(row.mail.map(|mail| mail.date))
                .bind::<Nullable<Binary>, _>(row.mail.map(|mail| mail.signatures))
                .bind::<Nullable<Text>, _>(row.relay)
                .fixed()
                .execute(conn)?;
            }
            Ok(inserted)
        }
        Conn::Pg(conn) => Ok(diesel::sql_query(
            "INSERT INTO delivery_attempts (delivery_id, attempt, at, outcome, reply, batch, \
                                            mail_hash, mail_context, mail_date, mail_signatures, relay) \
             SELECT new.delivery_id, new.attempt, $1, new.outcome, new.reply, $2, \
                    new.mail_hash, new.mail_context, new.mail_date, new.mail_signatures, new.relay \
             FROM UNNEST($3, $4, $5, $6, $7, $8, $9, $10, $11) AS new (delivery_id, attempt, outcome, reply, \
                  mail_hash, mail_context, mail_date, mail_signatures, relay) \
             ON CONFLICT DO NOTHING",
        )
        .bind::<BigInt, _>(at)
        .bind::<Text, _>(batch)
        .bind::<Array<BigInt>, _>(attempts.iter().map(|row| row.delivery_id).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(attempts.iter().map(|row| row.attempt).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(attempts.iter().map(|row| row.outcome).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(attempts.iter().map(|row| row.reply).collect::<Vec<_>>())
        .bind::<Array<Nullable<Binary>>, _>(of_mails(attempts, |mail| mail.hash))
        .bind::<Array<Nullable<BigInt>>, _>(of_mails(attempts, |mail| mail.context))
        .bind::<Array<Nullable<BigInt>>, _>(of_mails(attempts, |mail| mail.date))
        .bind::<Array<Nullable<Binary>>, _>(of_mails(attempts, |mail| mail.signatures))
        .bind::<Array<Nullable<Text>>, _>(attempts.iter().map(|row| row.relay).collect::<Vec<_>>())
        .fixed()
        .execute(conn)?),
    }
}

/// Returns one column about the emails of attempts.
fn of_mails<'a, T>(attempts: &[AttemptRow<'a>], column: impl Fn(AttemptMail<'a>) -> T) -> Vec<Option<T>> {
    attempts.iter().map(|row| row.mail.map(&column)).collect()
}

/// What is stored with the new state of deliveries at the end of a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// When the deliveries are due, if they are pending.
    pub next_attempt_at: Timestamp,
    /// When the deliveries were accepted.
    pub sent_at: Option<Timestamp>,
    /// The reason for the failure. `None` if the deliveries did not fail.
    pub reason: Option<&'static str>,
    /// The number of attempts for which it is not known whether the message arrived: 0 or 1.
    pub ambiguous: i64,
    /// Until when the deliveries wait for the next attempt, if they do.
    pub deferred_until: Option<Timestamp>,
}

/// Ends the claims of `lease` on the deliveries with these IDs, which get this state. Deliveries that it does
/// not hold any more stay unchanged. Returns how many it held. This is only the SQL of
/// `notice::delivery_state::end_claims`, which decides the state and counts.
///
/// # Errors
/// An error of the database.
pub fn end_claim(conn: &mut Conn, lease: &str, state: &str, end: &End, ids: &[i64]) -> Result<usize> {
    let statement = "UPDATE deliveries SET state = $1, lease = NULL, next_attempt_at = $2, sent_at = $3, reason = $4, \
                     ambiguous = ambiguous + $5, deferred_until = $6 WHERE lease = $7 AND state = 'pending' AND id {among}";
    Ok(about_ids!(
        conn,
        ids,
        "$8",
        statement,
        |query| query
            .bind::<Text, _>(state)
            .bind::<BigInt, _>(end.next_attempt_at)
            .bind::<Nullable<BigInt>, _>(end.sent_at)
            .bind::<Nullable<Text>, _>(end.reason)
            .bind::<BigInt, _>(end.ambiguous)
            .bind::<Nullable<BigInt>, _>(end.deferred_until)
            .bind::<Text, _>(lease),
        execute
    ))
}

/// Makes the deliveries that `lease` holds due again, except those with these IDs.
///
/// # Errors
/// An error of the database.
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

/// The name of the PostgreSQL notification channel of the workers.
const WORK: &str = "candor_work";

/// Notifies the workers of all processes when the transaction commits: something is due, or a notice was
/// stopped (`stopped`). With SQLite there is only one process, and it already knows.
///
/// # Errors
/// An error of the database.
pub fn tell_workers(conn: &mut Conn, stopped: Option<&NoticeId>) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_notify($1, $2)")
        .bind::<Text, _>(WORK)
        .bind::<Text, _>(stopped.map_or("", NoticeId::as_str))
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// The text that [`tell_followers`] sends.
pub const FOLLOWED: &str = "trail";

/// Notifies all processes, when the transaction commits, that an event was written that subscribers of the
/// audit trail wait for.
///
/// # Errors
/// An error of the database.
pub fn tell_followers(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_notify($1, $2)")
        .bind::<Text, _>(WORK)
        .bind::<Text, _>(FOLLOWED)
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Makes this connection listen to the notifications of [`tell_workers`].
///
/// # Errors
/// An error of the database.
pub fn listen(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query(format!("LISTEN {WORK}")).execute(conn)?;
    Ok(())
}

/// Returns the notifications since the last call. Each is the ID of a stopped notice, [`FOLLOWED`], or an
/// empty text, which means that something is due. It does not wait.
///
/// # Errors
/// An error, if the connection is lost.
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
