//! Cleans up after an erasure: the emails in the outbox, and the free space of the database, which still has the bytes of changed and
//! deleted rows. If this fails or the process ends, a job repeats it.

use std::path::Path;

use diesel::prelude::*;

use super::needles::Needles;
use crate::base::error::Result;
use crate::base::id::ErasureId;
use crate::base::time::Timestamp;
use crate::db::dialect::scrub_free_space;
use crate::db::schema::{deliveries as d, erased_recipients as er, erasures as e};
use crate::db::{Conn, Db};
use crate::delivery::outbox;

/// The tables in which an erasure changes or deletes rows that contain texts of people.
const TABLES: &[&str] = &[
    "account_label_history",
    "accounts",
    "alert_people",
    "alerts",
    "answers",
    "audit_events",
    "automation_recovery_runs",
    "automation_runs",
    "backups",
    "comparison_blocks",
    "comparison_findings",
    "deliveries",
    "delivery_attempts",
    "delivery_receipts",
    "directory_origins",
    "directory_runs",
    "directory_staged",
    "emergency_recipients",
    "endpoints",
    "erasures",
    "feedback",
    "hook_requests",
    "idempotency_keys",
    "incident_merges",
    "incidents",
    "members",
    "notice_recipients",
    "notice_values",
    "notices",
    "operator_messages",
    "opt_outs",
    "people",
    "report_versions",
    "reports",
    "resource_label_history",
    "resource_labels",
    "resources",
    "shared_recipients",
    "status_mails",
    "status_subscribers",
    "timeline_entries",
];

/// The number of erasures whose emails are looked for at once.
const STEP: i64 = 1_000;

/// Deletes the emails in the outbox that contain the person.
pub(super) async fn outbox_of(folder: Option<&Path>, needles: &Needles) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    let (folder, needles) = (folder.to_owned(), needles.clone());
    tokio::task::spawn_blocking(move || outbox::remove_if(&folder, |mail| needles.is_in(mail)))
        .await
        .map_err(crate::base::error::Error::internal)?
        .map_err(crate::base::error::Error::internal)?;
    Ok(())
}

/// Returns whether an erasure is not cleaned up.
///
/// # Errors
/// An error of the database.
fn open(conn: &mut Conn) -> Result<Vec<ErasureId>> {
    Ok(e::table
        .filter(e::cleaned_at.is_null())
        .order(e::at)
        .limit(STEP)
        .select(e::id)
        .load(conn)?)
}

/// The Message-IDs of the emails to the recipients of an erasure.
fn messages(conn: &mut Conn, erasure: &ErasureId) -> Result<Vec<String>> {
    Ok(d::table
        .inner_join(er::table.on(er::notice_id.eq(d::notice_id).and(er::ordinal.eq(d::ordinal))))
        .filter(er::erasure_id.eq(erasure.as_str()))
        .select(d::message_id)
        .load(conn)?)
}

/// Cleans up after all erasures that are not cleaned up yet. Returns how many these are.
///
/// # Errors
/// An error of the database or of the folder.
pub async fn clean(db: &Db, folder: Option<&Path>) -> Result<usize> {
    let erasures = db.read(open).await?;
    if erasures.is_empty() {
        return Ok(0);
    }
    if let Some(folder) = folder {
        for erasure in &erasures {
            let erasure = erasure.clone();
            let messages = db.read(move |conn| messages(conn, &erasure)).await?;
            let folder = folder.to_owned();
            tokio::task::spawn_blocking(move || outbox::remove(&folder, &messages))
                .await
                .map_err(crate::base::error::Error::internal)?
                .map_err(crate::base::error::Error::internal)?;
        }
    }
    if !db.bare(|conn| scrub_free_space(conn, TABLES)).await? {
        return Ok(0);
    }
    let (now, count): (Timestamp, usize) = (db.clock().now(), erasures.len());
    db.transaction(move |conn| {
        for erasure in &erasures {
            diesel::update(e::table.find(erasure.as_str()).filter(e::cleaned_at.is_null()))
                .set(e::cleaned_at.eq(Some(now)))
                .execute(conn)?;
        }
        Ok(())
    })
    .await?;
    Ok(count)
}
