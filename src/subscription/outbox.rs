//! The stored emails to subscribers. They are created with the request or the post.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::PostId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::status_mails as m;

/// How long after the post, or after the request, an email is tried. After that it is out of date.
const LIFETIME: Duration = Duration::from_secs(6 * 3_600);
/// How long it is kept what became of an email.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3_600);

/// The condition of a subscriber who gets posts, beside the suppression `o` of the address. [`super::Subscriber::gets_posts`] says the same.
const GETS_POSTS: &str = "s.confirmed_at IS NOT NULL \
     AND (o.address IS NULL OR (o.reason = 'opted_out' AND o.at < s.confirmed_at))";

/// Stores the email that asks a subscriber to confirm.
pub(super) fn put_question(tx: &mut Tx<'_>, subscriber: i64) -> Result<()> {
    diesel::insert_into(m::table)
        .values((
            m::subscriber_id.eq(subscriber),
            m::state.eq("pending"),
            m::attempts.eq(0_i64),
            m::next_attempt_at.eq(tx.now),
            m::expires_at.eq(tx.now.plus(LIFETIME)),
            m::created_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Stores an email about a post for each subscriber who gets posts, unless the post is about something that is out of date already. Returns
/// how many these are.
pub(super) fn put_post(tx: &mut Tx<'_>, post: &PostId, at: Timestamp) -> Result<usize> {
    let expires_at = at.plus(LIFETIME);
    if expires_at <= tx.now {
        return Ok(0);
    }
    let rows = diesel::sql_query(format!(
        "INSERT INTO status_mails (subscriber_id, post_id, state, attempts, next_attempt_at, expires_at, created_at) \
         SELECT s.id, $1, 'pending', 0, $2, $3, $4 FROM status_subscribers s \
         LEFT JOIN opt_outs o ON o.address = s.address WHERE {GETS_POSTS}"
    ))
    .bind::<Text, _>(post.as_str())
    .bind::<BigInt, _>(tx.now)
    .bind::<BigInt, _>(expires_at)
    .bind::<BigInt, _>(tx.now)
    .execute(tx.conn)?;
    Ok(rows)
}

/// Returns how many subscribers get posts.
pub(super) fn readers(conn: &mut Conn) -> Result<i64> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let one: Count = diesel::sql_query(format!(
        "SELECT COUNT(*) AS count FROM status_subscribers s LEFT JOIN opt_outs o ON o.address = s.address WHERE {GETS_POSTS}"
    ))
    .get_result(conn)?;
    Ok(one.count)
}

/// Stops the emails to a subscriber that were not sent yet, and forgets what the mail server said of the others, because a reply can
/// repeat the address.
pub(super) fn stop(conn: &mut Conn, subscriber: i64, now: Timestamp) -> Result<()> {
    let of = m::table.filter(m::subscriber_id.eq(subscriber));
    diesel::update(of.filter(m::reply.is_not_null()))
        .set(m::reply.eq(None::<String>))
        .execute(conn)?;
    // What a worker has claimed is being sent.
    diesel::update(of.filter(m::state.eq("pending")).filter(m::lease.is_null()))
        .set((m::state.eq("stopped"), m::finished_at.eq(Some(now))))
        .execute(conn)?;
    Ok(())
}

/// Stops the emails about a post that were not sent yet, because the post was taken back.
pub(super) fn stop_post(conn: &mut Conn, post: &PostId, now: Timestamp) -> Result<usize> {
    Ok(diesel::update(
        m::table
            .filter(m::post_id.eq(post.as_str()))
            .filter(m::state.eq("pending"))
            .filter(m::lease.is_null()),
    )
    .set((m::state.eq("stopped"), m::finished_at.eq(Some(now))))
    .execute(conn)?)
}

/// Removes what is kept of some emails that are finished for long. Returns how many these are.
pub(super) fn prune(conn: &mut Conn, now: Timestamp, most: i64) -> Result<usize> {
    let old: Vec<i64> = m::table
        .filter(m::finished_at.lt(now.minus(KEPT)))
        .order(m::finished_at)
        .limit(most)
        .select(m::id)
        .load(conn)?;
    Ok(diesel::delete(m::table.filter(m::id.eq_any(old))).execute(conn)?)
}

/// How many emails about a post there are, by their state. Emails that were finished 90 days ago are not counted any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = PostEmails)]
pub struct PostEmails {
    /// How many are not sent yet.
    pub pending: i64,
    /// How many the mail server accepted.
    pub sent: i64,
    /// How many the mail server refused, or did not accept while the post was news.
    pub failed: i64,
    /// How many the mail server may have. They are not sent again.
    pub uncertain: i64,
    /// How many were not sent, because the subscription ended or the post was taken back.
    pub stopped: i64,
}

impl PostEmails {
    /// Returns how many emails there are.
    pub fn all(&self) -> i64 {
        self.pending + self.sent + self.failed + self.uncertain + self.stopped
    }
}

/// Returns how many emails about a post there are.
///
/// # Errors
/// An error of the database.
pub fn of_post(conn: &mut Conn, post: &PostId) -> Result<PostEmails> {
    let rows: Vec<(String, i64)> = m::table
        .filter(m::post_id.eq(post.as_str()))
        .group_by(m::state)
        .select((m::state, diesel::dsl::count_star()))
        .load(conn)?;
    let of = |state: &str| rows.iter().find(|(one, _)| one == state).map_or(0, |(_, n)| *n);
    Ok(PostEmails {
        pending: of("pending"),
        sent: of("sent"),
        failed: of("failed"),
        uncertain: of("uncertain"),
        stopped: of("stopped"),
    })
}

/// Returns the part of a Message-ID before the @: the number of the subscriber, and a UUID that is that of the post, or contains the time
/// of a question. Both are the same at each attempt.
pub(super) fn message_name(subscriber: i64, post: Option<&PostId>, created_at: Timestamp) -> String {
    match post {
        Some(post) => format!("{subscriber}.{post}"),
        None => format!("{subscriber}.{}", question_name(created_at)),
    }
}

/// Returns a text in the form of a UUID, as the Message-ID of every other email has it.
fn question_name(created_at: Timestamp) -> String {
    let micros = created_at.as_micros().unsigned_abs();
    format!(
        "00000000-0000-0000-{:04x}-{:012x}",
        micros >> 48,
        micros & 0xffff_ffff_ffff
    )
}

/// Returns the subscriber of the email that one of these Message-IDs names.
///
/// # Errors
/// An error of the database.
pub fn subscriber_of(conn: &mut Conn, message_ids: &[String]) -> Result<Option<i64>> {
    for message_id in message_ids {
        let parts = message_id
            .split_once('.')
            .and_then(|(id, rest)| Some((id.parse::<i64>().ok()?, rest.split('@').next()?)));
        let Some((subscriber, name)) = parts else { continue };
        let stored: Vec<(Option<PostId>, Timestamp)> = m::table
            .filter(m::subscriber_id.eq(subscriber))
            .filter(m::post_id.eq(name).or(m::post_id.is_null()))
            .select((m::post_id, m::created_at))
            .load(conn)?;
        let is_one = |(post, created_at): &(Option<PostId>, Timestamp)| {
            post.is_some() || question_name(*created_at) == name
        };
        if stored.iter().any(is_one) {
            return Ok(Some(subscriber));
        }
    }
    Ok(None)
}
