//! Reading what was taken in.

use std::collections::HashMap;

use diesel::prelude::*;
use serde::Serialize;

use super::ReportKind;
use super::record::MatchedBy;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, IntegrationId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, feedback as f, notices as n};

/// A stored report.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Feedback {
    /// Its id.
    pub id: i64,
    /// When it came in.
    pub received_at: Timestamp,
    /// When it happened, as far as that was told.
    pub at: Timestamp,
    /// `mail`, `aws_ses`, `mailgun`, `postmark` or `sendgrid`.
    pub source: String,
    /// By which hook; null for mail.
    pub integration: Option<IntegrationId>,
    /// What it says.
    pub kind: ReportKind,
    /// The recipient; empty where it is not told.
    pub address: String,
    /// The delivery that it is about; null where none was found.
    pub delivery: Option<i64>,
    /// The notice of that delivery.
    pub notice: Option<NoticeId>,
    /// The incident of that notice.
    pub incident: Option<IncidentId>,
    /// By what the delivery was found.
    pub matched_by: Option<MatchedBy>,
    /// What it changed: `bounced` (the delivery; a hard one also suppresses the address), `suppressed` (the address),
    /// `early` (the delivery was on its way, and is looked at again), or `none`.
    pub effect: String,
    /// Enhanced status code (RFC 3463), e.g. `5.1.1`.
    pub status: Option<String>,
    /// What the recipient's server or the provider said.
    pub diagnostic: String,
}

/// Which reports to list; what is none does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// What they say.
    pub kind: Option<ReportKind>,
    /// Whether a delivery was found.
    pub matched: Option<bool>,
    /// About this delivery.
    pub delivery: Option<i64>,
    /// About deliveries of this notice.
    pub notice: Option<NoticeId>,
    /// About deliveries of this incident.
    pub incident: Option<IncidentId>,
}

type Row = (
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

fn entry(row: Row) -> Result<Feedback> {
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
        .first::<Row>(conn)
        .optional()?
        .map(entry)
        .transpose()
}

/// Reports, newest first, before the given one.
///
/// # Errors
/// `NotFound` where the delivery, the notice or the incident does not exist.
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
        query = query.filter(n::incident_id.eq(incident.as_str()));
    }
    query
        .filter(f::id.lt(before.unwrap_or(i64::MAX)))
        .order(f::id.desc())
        .limit(limit)
        .load::<Row>(conn)?
        .into_iter()
        .map(entry)
        .collect()
}

/// One report, and its part of the body that it came in, up to [`super::RAW`] bytes.
///
/// # Errors
/// `NotFound`.
pub fn get(conn: &mut Conn, id: i64) -> Result<(Feedback, Vec<u8>)> {
    let found = rows!()
        .filter(f::id.eq(id))
        .first::<Row>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("feedback {id}")))?;
    let raw = f::table.find(id).select(f::raw).first(conn)?;
    Ok((entry(found)?, raw))
}

/// The reports about these deliveries, oldest first.
///
/// # Errors
/// What the database answers.
pub fn of_deliveries(conn: &mut Conn, deliveries: &[i64]) -> Result<HashMap<i64, Vec<Feedback>>> {
    let mut found: HashMap<i64, Vec<Feedback>> = HashMap::new();
    for chunk in deliveries.chunks(500) {
        let rows = rows!()
            .filter(f::delivery_id.eq_any(chunk.iter().map(|id| Some(*id)).collect::<Vec<_>>()))
            .order(f::id)
            .load::<Row>(conn)?;
        for row in rows {
            let entry = entry(row)?;
            if let Some(delivery) = entry.delivery {
                found.entry(delivery).or_default().push(entry);
            }
        }
    }
    Ok(found)
}

/// Reports that are about no delivery that could be found.
///
/// # Errors
/// What the database answers.
pub fn unmatched(conn: &mut Conn) -> Result<i64> {
    Ok(f::table
        .filter(f::delivery_id.is_null())
        .count()
        .get_result(conn)?)
}
