//! What a person really was told: the emails of a history that a mail server accepted, each with the content of its notice as it was
//! frozen. A customer may see all of it.
//!
//! An email that bounced later counts, because it was sent. One that failed, was suppressed or was stopped before it was sent does not
//! count, and neither does anything of a drill.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::entry::{HistoryEntry, Place};
use super::keys::{self, Source, Window};
use super::{details, rows};
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::schema::notices as n;
use crate::db::{Conn, Statement};
use crate::notice::compose::{Content, RecipientContext};
use crate::notice::delivery_state::DeliveryState;
use crate::notice::row::EMAIL;

/// The number of rows that are read at least, because not all of them were told.
const STEP: i64 = 100;
/// The number of rows after which a page ends, whether it is full or not.
const MOST: i64 = 2_000;

/// A notice that a person was told.
#[derive(Debug)]
pub struct ToldNotice {
    /// The row of the history.
    pub entry: HistoryEntry,
    /// When the mail server accepted the email.
    pub at: Timestamp,
    /// Whether the person can opt out of the notice.
    pub optional: bool,
    /// The content of the notice, which is the same for all recipients.
    pub content: Arc<Content>,
    /// The data of the recipient.
    pub own: RecipientContext,
}

/// Returns what a person was told, after a place, in at most `limit` rows, the notice that was drafted last first. Returns the place after
/// which the next page begins too, if there is one. A page that is not full can have a next one.
///
/// # Errors
/// An error of the database.
pub fn told(
    conn: &mut Conn,
    person: &str,
    before: Option<&Place>,
    limit: i64,
) -> Result<(Vec<ToldNotice>, Option<Place>)> {
    let source = Source::Person(person.to_owned(), Vec::new());
    let (mut from, mut next, mut seen) = (before.cloned(), None, 0);
    let mut entries: Vec<HistoryEntry> = Vec::new();
    loop {
        let step = (limit + 1 - entries.len() as i64).max(STEP);
        let window = Window {
            before: from.as_ref(),
            limit: step,
        };
        let (read, last) = rows::read(conn, &source, window)?;
        let count = read.len() as i64;
        seen += count;
        entries.extend(read.into_iter().filter(|entry| is_told(entry, person)));
        if entries.len() as i64 > limit {
            entries.truncate(usize::try_from(limit).unwrap_or_default());
            next = entries.last().map(HistoryEntry::place);
            break;
        }
        if count < step {
            break;
        }
        from = last;
        if seen >= MOST {
            next = from;
            break;
        }
    }
    details::add(conn, &mut entries, Some(person))?;
    Ok((with_contents(conn, entries)?, next))
}

fn is_told(entry: &HistoryEntry, person: &str) -> bool {
    !entry.drill
        && entry.channel == EMAIL
        && entry.sent_at.is_some()
        && matches!(entry.state, DeliveryState::Sent | DeliveryState::Bounced)
        && entry.people.iter().any(|id| id == person)
}

fn with_contents(conn: &mut Conn, entries: Vec<HistoryEntry>) -> Result<Vec<ToldNotice>> {
    let mut ids: Vec<String> = entries.iter().map(|entry| entry.notice.to_string()).collect();
    ids.dedup();
    let mut contents: HashMap<String, Arc<Content>> = HashMap::new();
    for chunk in ids.chunks(500) {
        let rows: Vec<(String, Option<String>)> = n::table
            .filter(n::id.eq_any(chunk))
            .select((n::id, n::frozen))
            .load(conn)?;
        for (id, frozen) in rows {
            contents.insert(id, Arc::new(serde_json::from_str(&frozen.unwrap_or_default())?));
        }
    }
    entries
        .into_iter()
        .map(|entry| {
            let content = contents.get(entry.notice.as_str()).cloned();
            Ok(ToldNotice {
                at: entry.sent_at.unwrap_or(entry.at),
                optional: entry.optional,
                content: content.ok_or_else(|| Error::internal("a frozen notice is missing"))?,
                own: serde_json::from_str(&entry.context)?,
                entry,
            })
        })
        .collect()
}

/// Figures that change whenever what a person was told changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of notices that the person was told.
    pub told: i64,
    /// The number of those that the person was told after the given time.
    pub after: i64,
    /// The number of those whose incident is not resolved.
    pub open: i64,
    /// When the person was told last.
    pub last: Option<Timestamp>,
}

/// Counts what a person was told, in one statement. `after` is the time after which notices count separately.
///
/// # Errors
/// An error of the database.
pub fn tally(conn: &mut Conn, person: &str, after: Timestamp) -> Result<Tally> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        told: i64,
        #[diesel(sql_type = BigInt)]
        recent: i64,
        #[diesel(sql_type = BigInt)]
        open: i64,
        #[diesel(sql_type = Nullable<BigInt>)]
        last: Option<Timestamp>,
    }
    let mut statement = Statement::default();
    statement
        .push("SELECT COUNT(*) AS told, CAST(COALESCE(SUM(CASE WHEN d.sent_at > ")
        .time(after)
        .push(
            " THEN 1 ELSE 0 END), 0) AS BIGINT) AS recent, \
             CAST(COALESCE(SUM(CASE WHEN i.status IN ('resolved', 'merged') THEN 0 ELSE 1 END), 0) AS BIGINT) AS open, \
             MAX(d.sent_at) AS last FROM (",
        );
    keys::push_all_of_person(&mut statement, person);
    statement.push(
        ") k JOIN deliveries d ON d.notice_id = k.notice_id AND d.ordinal = k.ordinal \
             JOIN notices n ON n.id = k.notice_id JOIN incidents i ON i.id = n.incident_id \
         WHERE d.state IN ('sent', 'bounced') AND d.sent_at IS NOT NULL AND NOT i.drill",
    );
    let row: Row = statement.finish().get_result(conn)?;
    Ok(Tally {
        told: row.told,
        after: row.recent,
        open: row.open,
        last: row.last,
    })
}
