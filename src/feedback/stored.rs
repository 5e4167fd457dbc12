//! Reads the stored reports.

use std::collections::HashMap;

use diesel::prelude::*;
use serde::Serialize;

use super::report::ReportKind;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, IntegrationId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, feedback as f, notices as n};

/// A stored report, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Feedback {
    /// The ID of the report.
    pub id: i64,
    /// When the report was received.
    pub received_at: Timestamp,
    /// When the event happened. If the report does not say so, it is the time of receipt.
    pub at: Timestamp,
    /// The source: `mail`, `aws_ses`, `mailgun`, `postmark` or `sendgrid`.
    pub source: String,
    /// The integration whose hook received the report. Null for a report by email.
    pub integration: Option<IntegrationId>,
    /// The kind of the report.
    pub kind: ReportKind,
    /// The address of the recipient. Empty if the report does not contain one.
    pub address: String,
    /// The delivery that the report is about. Null if none was found.
    pub delivery: Option<i64>,
    /// The notice of this delivery.
    pub notice: Option<NoticeId>,
    /// The incident of this notice.
    pub incident: Option<IncidentId>,
    /// How the delivery was found.
    pub matched_by: Option<MatchedBy>,
    /// The effect: `bounced` (the delivery bounced, and a hard bounce also suppresses the address),
    /// `suppressed` (the address was suppressed), `early` (the outcome of the attempt was not recorded yet,
    /// so the report is applied later), `subscription_ended` (it was about an email to a subscriber of the status page), or `none`.
    pub effect: String,
    /// The enhanced status code (RFC 3463), for example `5.1.1`.
    pub status: Option<String>,
    /// The text of the recipient's server or of the provider.
    pub diagnostic: String,
}

/// A filter for reports. A report must match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only reports of this kind.
    pub kind: Option<ReportKind>,
    /// Only reports with a delivery (true) or without one (false).
    pub matched: Option<bool>,
    /// Only reports about this delivery.
    pub delivery: Option<i64>,
    /// Only reports about deliveries of this notice.
    pub notice: Option<NoticeId>,
    /// Only reports about deliveries of this incident.
    pub incident: Option<IncidentId>,
}

type FeedbackRow = (
    (
        i64,
        Timestamp,
        Timestamp,
        String,
        Option<IntegrationId>,
        String,
        String,
        Option<i64>,
        Option<String>,
        String,
        Option<String>,
        String,
    ),
    Option<NoticeId>,
    Option<IncidentId>,
);

macro_rules! rows {
    () => {
        f::table
            .left_join(d::table.on(f::delivery_id.eq(d::id.nullable())))
            .left_join(n::table.on(n::id.eq(d::notice_id)))
            .select((
                (
                    f::id,
                    f::received_at,
                    f::at,
                    f::source,
                    f::integration_id,
                    f::kind,
                    f::address,
                    f::delivery_id,
                    f::matched_by,
                    f::effect,
                    f::status,
                    f::diagnostic,
                ),
                d::notice_id.nullable(),
                n::incident_id.nullable(),
            ))
            .into_boxed::<crate::db::Backend>()
    };
}

fn entry(row: FeedbackRow) -> Result<Feedback> {
    let (
        (id, received_at, at, source, integration, kind, address, delivery, by, effect, status, diagnostic),
        notice,
        incident,
    ) = row;
    Ok(Feedback {
        id,
        received_at,
        at,
        source,
        integration,
        kind: ReportKind::parse(&kind).map_err(Error::internal)?,
        address,
        delivery,
        notice,
        incident,
        matched_by: by
            .as_deref()
            .map(MatchedBy::parse)
            .transpose()
            .map_err(Error::internal)?,
        effect,
        status,
        diagnostic,
    })
}

pub(super) fn by_key(conn: &mut Conn, key: &str) -> Result<Option<Feedback>> {
    rows!()
        .filter(f::dedup_key.eq(key))
        .first::<FeedbackRow>(conn)
        .optional()?
        .map(entry)
        .transpose()
}

/// Returns the reports before the given one, newest first.
///
/// # Errors
/// `NotFound` if the delivery, the notice or the incident of the filter does not exist.
pub fn list(conn: &mut Conn, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<Feedback>> {
    let mut query = rows!();
    if let Some(kind) = filter.kind {
        query = query.filter(f::kind.eq(kind.as_str()));
    }
    match filter.matched {
        Some(true) => query = query.filter(f::delivery_id.is_not_null()),
        Some(false) => query = query.filter(f::delivery_id.is_null()),
        None => {}
    }
    if let Some(delivery) = filter.delivery {
        crate::delivery::get(conn, delivery)?;
        query = query.filter(f::delivery_id.eq(delivery));
    }
    if let Some(notice) = &filter.notice {
        crate::notice::get(conn, notice)?;
        query = query.filter(d::notice_id.eq(notice.as_str()));
    }
    if let Some(incident) = &filter.incident {
        crate::incident::get(conn, incident)?;
        let incidents = crate::incident::lineage::ids_with_merged(conn, incident)?;
        query = query.filter(n::incident_id.eq_any(incidents));
    }
    query
        .filter(f::id.lt(before.unwrap_or(i64::MAX)))
        .order(f::id.desc())
        .limit(limit)
        .load::<FeedbackRow>(conn)?
        .into_iter()
        .map(entry)
        .collect()
}

/// Returns one report and its part of the received body, with at most [`super::RAW`] bytes.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn get(conn: &mut Conn, id: i64) -> Result<(Feedback, Vec<u8>)> {
    let found = rows!()
        .filter(f::id.eq(id))
        .first::<FeedbackRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("feedback {id}")))?;
    let raw = f::table.find(id).select(f::raw).first(conn)?;
    Ok((entry(found)?, raw))
}

/// Returns the reports about these deliveries, oldest first.
///
/// # Errors
/// An error of the database.
pub fn of_deliveries(conn: &mut Conn, deliveries: &[i64]) -> Result<HashMap<i64, Vec<Feedback>>> {
    let mut found: HashMap<i64, Vec<Feedback>> = HashMap::new();
    for chunk in deliveries.chunks(500) {
        let rows = rows!()
            .filter(f::delivery_id.eq_any(chunk.iter().map(|id| Some(*id)).collect::<Vec<_>>()))
            .order(f::id)
            .load::<FeedbackRow>(conn)?;
        for row in rows {
            let entry = entry(row)?;
            if let Some(delivery) = entry.delivery {
                found.entry(delivery).or_default().push(entry);
            }
        }
    }
    Ok(found)
}

/// Returns the number of reports for which no delivery was found.
///
/// # Errors
/// An error of the database.
pub fn unmatched(conn: &mut Conn) -> Result<i64> {
    Ok(f::table
        .filter(f::delivery_id.is_null())
        .count()
        .get_result(conn)?)
}

word_enum! {
    /// How the delivery of a report was found.
    MatchedBy, "a way to match" {
        /// By the bounce address of the email.
        BounceAddress = "bounce_address",
        /// By the unsubscribe link of the email.
        Link = "link",
        /// By the Message-ID of the email.
        MessageId = "message_id",
        /// By the ID of the provider, which is in the reply to the attempt.
        ProviderId = "provider_id",
    }
}
