//! Deletes by age: the personal parts of emails, the texts of answers, and archived people. Nothing is deleted unless a setting asks for
//! it.
//!
//! A run works in steps of limited size, so that it holds up nothing else. Each step is one transaction with one audit event.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::json;

use super::attempts::{change_replies, replies};
use super::erase::{ErasureReason, Kind, Rows, erase, store};
use super::frozen::{RecipientChange, change_recipients, placeholder};
use super::needles::Needles;
use super::reports::{AnswerChange, ReportChange, change_answers, change_reports};
use crate::audit::erased::{Erasures, Record};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::{ErasureId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::schema::{answers as an, deliveries as d, feedback as f, people as p};
use crate::db::{Conn, Db, Statement, dialect};
use crate::directory::erased::PLACEHOLDER;
use crate::notice::erased::without_personal_parts;

/// The number of emails of one step.
const MAILS: i64 = 1_000;
/// The number of answers of one step.
const ANSWERS: i64 = 1_000;
/// The number of archived people of one run. Each of them is searched for in all tables.
const PEOPLE: usize = 20;
/// The number of steps of one run.
const STEPS: usize = 50;
/// The time between two runs.
const EVERY: Duration = Duration::from_secs(3_600);
/// The actor of the audit events.
const ACTOR: &str = "retention";

/// How long what is kept. `None` means that nothing is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long the personal parts of emails are kept after the end of their incident: name, address, and what the email says about the
    /// recipient.
    pub mails: Option<Duration>,
    /// How long the texts and addresses of answers are kept.
    pub answers: Option<Duration>,
    /// How long archived people are kept after they were archived.
    pub archived_people: Option<Duration>,
}

/// When something ran last in this process.
#[derive(Default)]
pub struct LastRun(Mutex<Option<Timestamp>>);

impl LastRun {
    /// Returns whether `every` has passed since the last time that this returned true.
    pub fn is_due(&self, now: Timestamp, every: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.plus(every) <= now);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Runs if an hour has passed since the last run of this process. Returns how many steps changed something.
///
/// # Errors
/// An error of the database. What earlier steps did stays.
pub async fn run_if_due(db: &Db, retention: Retention, last: &LastRun) -> Result<usize> {
    if retention == Retention::default() || !last.is_due(db.clock().now(), EVERY) {
        return Ok(0);
    }
    run(db, retention).await
}

/// Deletes what is too old, up to a limited number of steps.
///
/// # Errors
/// An error of the database. What earlier steps did stays.
pub async fn run(db: &Db, retention: Retention) -> Result<usize> {
    let now = db.clock().now();
    let actor = Actor::system(ACTOR);
    let mut steps = 0;
    if let Some(kept) = retention.mails {
        let before = now.minus(kept);
        while steps < STEPS && db.write(&actor, move |tx| mails(tx, before)).await? > 0 {
            steps += 1;
        }
    }
    if let Some(kept) = retention.answers {
        let before = now.minus(kept);
        while steps < STEPS && db.write(&actor, move |tx| answers(tx, before)).await? > 0 {
            steps += 1;
        }
    }
    if let Some(kept) = retention.archived_people {
        let before = now.minus(kept);
        for id in db.read(move |conn| archived(conn, before)).await? {
            let reason = ErasureReason {
                reason: "the person has been archived for longer than CANDOR_ARCHIVED_PEOPLE_RETENTION"
                    .to_owned(),
            };
            let erased = db
                .write(&actor, move |tx| erase(tx, &id, &reason, Kind::Retention))
                .await;
            match erased {
                Ok(_) => steps += 1,
                // An email to the person is being sent. The next run tries again.
                Err(Error::Coded(..)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(steps)
}

/// Returns people who were archived before a time.
fn archived(conn: &mut Conn, before: Timestamp) -> Result<Vec<String>> {
    Ok(p::table
        .filter(p::gone_at.lt(Some(before)))
        .filter(diesel::dsl::not(p::id.like(format!("{PLACEHOLDER}%"))))
        .order(p::gone_at)
        .limit(PEOPLE as i64)
        .select(p::id)
        .load(conn)?)
}

/// A frozen recipient whose incident ended long ago.
#[derive(QueryableByName)]
struct Old {
    #[diesel(sql_type = Text)]
    notice_id: String,
    #[diesel(sql_type = BigInt)]
    ordinal: i64,
    #[diesel(sql_type = Text)]
    person_id: String,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Text)]
    context: String,
}

/// Finds the next emails of one notice.
fn old_mails(conn: &mut Conn, before: Timestamp) -> Result<Vec<Old>> {
    let mut statement = Statement::default();
    statement
        .push(
            "SELECT r.notice_id, r.ordinal, r.person_id, r.address, r.context FROM notice_recipients r \
             JOIN notices n ON n.id = r.notice_id JOIN incidents i ON i.id = n.incident_id \
             WHERE r.channel = 'email' AND (r.address NOT LIKE 'erased-%' OR r.address LIKE '%@%') \
             AND n.state IN ('sent', 'stopped') AND (i.resolved_at < ",
        )
        .time(before)
        // A merged incident ends when the one ends that it became part of, directly or not.
        .push(
            " OR (i.merged_into IS NOT NULL AND EXISTS (WITH RECURSIVE up (id) AS (SELECT i.merged_into UNION \
             SELECT x.merged_into FROM incidents x JOIN up ON x.id = up.id WHERE x.merged_into IS NOT NULL) \
             SELECT 1 FROM incidents t JOIN up ON t.id = up.id WHERE t.merged_into IS NULL AND t.resolved_at < ",
        )
        .time(before)
        .push(")))");
    statement.push(" AND n.updated_at < ").time(before);
    statement
        .push(
            " AND NOT EXISTS (SELECT 1 FROM delivery_counts c WHERE c.notice_id = n.id AND c.state = 'pending' AND c.count > 0) \
             ORDER BY r.notice_id, r.ordinal LIMIT ",
        )
        .push(&MAILS.to_string());
    let mut found: Vec<Old> = statement.finish().load(conn)?;
    // One notice at a time, so that its digest is computed once for each step.
    let first = found.first().map(|old| old.notice_id.clone());
    found.retain(|old| Some(&old.notice_id) == first.as_ref());
    Ok(found)
}

/// Removes the personal parts of emails. Returns how many.
fn mails(tx: &mut Tx<'_>, before: Timestamp) -> Result<usize> {
    dialect::lock_erasures(tx.conn)?;
    let old = old_mails(tx.conn, before)?;
    if old.is_empty() {
        return Ok(0);
    }
    let mut changes = Vec::with_capacity(old.len());
    for one in old {
        changes.push(RecipientChange {
            notice: NoticeId::parse(&one.notice_id).map_err(Error::internal)?,
            ordinal: one.ordinal,
            committed: (one.person_id.clone(), one.address),
            // The ID stays, so that the history of the person says what the person was told.
            person: one.person_id,
            name: String::new(),
            address: placeholder()?,
            context: without_personal_parts(&one.context)?,
            domain: String::new(),
        });
    }
    let deliveries = deliveries_of(tx.conn, &changes)?;
    let replies = replies(tx.conn, &deliveries, &deliveries, &Needles::default())?;
    let reports = reports_of(tx.conn, &deliveries)?;
    let rows = Rows {
        recipients: changes.len() as i64,
        replies: replies.len() as i64,
        reports: reports.len() as i64,
        ..Rows::default()
    };
    let id = begin(tx, "CANDOR_MAIL_RETENTION", rows)?;
    let trail = Erasures::load(tx.conn)?;
    let (notices, _) = change_recipients(tx, &id, &changes, &trail, false)?;
    let batches = change_replies(tx.conn, &id, &replies)?;
    change_reports(tx.conn, &id, &reports)?;
    let record = Record {
        erasure: id.to_string(),
        notices,
        batches,
        events: Vec::new(),
    };
    end(tx, record, "CANDOR_MAIL_RETENTION", rows)?;
    Ok(changes.len())
}

fn deliveries_of(conn: &mut Conn, changes: &[RecipientChange]) -> Result<Vec<i64>> {
    let Some(first) = changes.first() else {
        return Ok(Vec::new());
    };
    let ordinals: BTreeSet<i64> = changes.iter().map(|change| change.ordinal).collect();
    let (low, high) = (
        ordinals.first().copied().unwrap_or_default(),
        ordinals.last().copied().unwrap_or_default(),
    );
    let rows: Vec<(i64, i64)> = d::table
        .filter(d::notice_id.eq(first.notice.as_str()))
        .filter(d::ordinal.ge(low).and(d::ordinal.le(high)))
        .select((d::id, d::ordinal))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .filter(|(_, ordinal)| ordinals.contains(ordinal))
        .map(|(id, _)| id)
        .collect())
}

fn reports_of(conn: &mut Conn, deliveries: &[i64]) -> Result<Vec<ReportChange>> {
    let mut changes = Vec::new();
    for chunk in deliveries.chunks(500) {
        let ids: Vec<i64> = f::table
            .filter(f::delivery_id.eq_any(chunk.iter().copied().map(Some).collect::<Vec<_>>()))
            .select(f::id)
            .load(conn)?;
        changes.extend(ids.into_iter().map(|id| ReportChange {
            id,
            address: String::new(),
            diagnostic: String::new(),
        }));
    }
    Ok(changes)
}

/// Removes the texts and addresses of answers. Returns how many.
fn answers(tx: &mut Tx<'_>, before: Timestamp) -> Result<usize> {
    dialect::lock_erasures(tx.conn)?;
    let old: Vec<(i64, String)> = an::table
        .filter(an::received_at.lt(before))
        .filter(an::text.ne("").or(an::address.ne("")))
        .order(an::id)
        .limit(ANSWERS)
        .select((an::id, an::person_id))
        .load(tx.conn)?;
    if old.is_empty() {
        return Ok(0);
    }
    let changes: Vec<AnswerChange> = old
        .into_iter()
        .map(|(id, person)| AnswerChange {
            id,
            person,
            address: String::new(),
            text: String::new(),
        })
        .collect();
    let rows = Rows {
        answers: changes.len() as i64,
        ..Rows::default()
    };
    let id = begin(tx, "CANDOR_ANSWER_RETENTION", rows)?;
    change_answers(tx.conn, &id, &changes)?;
    let record = Record {
        erasure: id.to_string(),
        ..Record::default()
    };
    end(tx, record, "CANDOR_ANSWER_RETENTION", rows)?;
    Ok(changes.len())
}

fn begin(tx: &mut Tx<'_>, setting: &str, rows: Rows) -> Result<ErasureId> {
    let id = ErasureId::new(tx.now);
    store(
        tx,
        &id,
        Kind::Retention,
        setting,
        None,
        &serde_json::to_string(&rows)?,
    )?;
    Ok(id)
}

fn end(tx: &mut Tx<'_>, record: Record, setting: &str, rows: Rows) -> Result<()> {
    let erasure = record.erasure.clone();
    let mut after = serde_json::to_value(record)?;
    after["setting"] = json!(setting);
    after["rows"] = json!(rows);
    tx.record(Event::new(Action::RetentionApplied, "erasure", erasure).after(after));
    Ok(())
}
