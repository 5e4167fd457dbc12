//! Notices as they are shown: the state, the approval and the counts of each.

use std::collections::{BTreeMap, HashMap};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use serde::Serialize;

use super::counts::{self, DeliveryCounts, NoticeCounts};
use super::delivery_state::waiting_again;
use super::row::{CustomerAction, EMAIL, Row, Translation, Translations, row};
use super::state::NoticeState;
use super::waves::{self, WaveView};
use super::{approvals, corrections, endpoints, reminders, sharing};
use crate::audience::Rule;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::schema::{deliveries as d, notices as n};
use crate::db::{Conn, Statement};
use crate::incident;
use crate::notice::template::Phase;

/// A notice, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Notice {
    /// The ID of the notice.
    pub id: NoticeId,
    /// The ID of the incident.
    pub incident: IncidentId,
    /// The phase of the notice.
    pub phase: Phase,
    /// The state of the notice.
    pub state: NoticeState,
    /// The subject that the operator wrote, if there is one.
    pub subject: Option<String>,
    /// The headline of this notice. Null if it has the headline of the incident.
    pub headline: Option<String>,
    /// The message that the operator wrote, in plain text.
    pub message: String,
    /// What the customer must do.
    pub customer_action: Option<CustomerAction>,
    /// The time until which the notice promises the next update, if it promises one.
    pub next_update_due_at: Option<Timestamp>,
    /// Whether a resolution may go to people whose own resources are not all restored. The emails to them say so.
    pub acknowledge_impaired: bool,
    /// The texts in other languages, by language.
    #[schema(value_type = BTreeMap<String, Translation>)]
    pub translations: Translations,
    /// The roles that the notice is for.
    pub audience: Rule,
    /// The episode of the incident in which the notice was sent. For a draft, the episode in which it was
    /// written.
    pub episode: i64,
    /// The notice whose missing recipients this one is for, if it is a catch-up.
    pub catch_up_of: Option<NoticeId>,
    /// Whether the notice is a reminder, which is only for people who were asked for an answer and have not given one.
    pub reminder: bool,
    /// The notice that this one corrects, if it is a correction.
    pub corrects: Option<NoticeId>,
    /// Whether the incident is a drill, so that the notice goes only to the addresses for drills.
    pub drill: bool,
    /// The number of recipients. It is 0 while the notice is a draft.
    pub recipients: i64,
    /// The digest of what was sent. Null while the notice is a draft.
    pub digest: Option<String>,
    /// Whether enough other people approved it, or an admin used break glass. For a draft, whether this still counts; a change of
    /// the list is only found by the preview.
    pub approved: bool,
    /// Until when the approval of a draft is valid. Null if it is not approved or was sent.
    pub approved_until: Option<Timestamp>,
    /// Whether an admin used break glass instead of the approvals.
    pub break_glass: bool,
    /// The numbers of emails by state.
    pub counts: NoticeCounts,
    /// The number of attempts for which it is not known whether the email arrived, because the connection was
    /// lost between the last byte and the reply. They are repeated, so a recipient may get the email twice.
    pub ambiguous: i64,
    /// The numbers of calls to endpoints, by channel.
    pub channels: BTreeMap<String, DeliveryCounts>,
    /// The waves, if the notice is not sent to everybody at once.
    pub wave: Option<WaveView>,
    /// When the notice was drafted.
    pub created_at: Timestamp,
    /// When the notice was last changed.
    pub updated_at: Timestamp,
    /// When the notice was queued.
    pub queued_at: Option<Timestamp>,
    /// When the notice was finished or stopped.
    pub finished_at: Option<Timestamp>,
}

impl Notice {
    /// Returns the notice as it is at a time: an approval of a draft may have expired.
    pub fn at(mut self, now: Timestamp) -> Notice {
        if self.approved_until.is_some_and(|until| until <= now) {
            self.approved = false;
            self.break_glass = false;
            self.approved_until = None;
        }
        self
    }
}

fn views(conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Notice>> {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let mut counts = counts::of(conn, &ids)?;
    let ambiguous: Vec<(NoticeId, i64)> = d::table
        .filter(d::notice_id.eq_any(&ids))
        // The text is the same as in the partial index.
        .filter(sql::<Bool>("ambiguous > 0"))
        .group_by(d::notice_id)
        .select((d::notice_id, sql::<BigInt>("CAST(SUM(ambiguous) AS BIGINT)")))
        .load(conn)?;
    let ambiguous: HashMap<NoticeId, i64> = ambiguous.into_iter().collect();
    let reminders = reminders::among(conn, &ids)?;
    let consents = approvals::Consents::read(conn, &rows)?;
    let mut corrections = corrections::among(conn, &ids)?;
    let of: Vec<&str> = rows.iter().map(|row| row.incident_id.as_str()).collect();
    let drills = incident::drill::among(conn, &of)?;
    let mut endpoints = endpoints::frozen(conn, &rows)?;
    let mut waves = waves::of(conn, &ids)?;
    rows.into_iter()
        .map(|row| {
            let state = row.state()?;
            let approval = consents.of(conn, &row)?;
            let mut queued = counts.remove(&row.id).unwrap_or_default();
            if state.is_being_sent() && queued.values().any(|counts| counts.stopped > 0) {
                for (channel, waiting) in waiting_again(conn, &row.id)? {
                    let counts = queued.entry(channel).or_default();
                    counts.stopped -= waiting;
                    counts.pending += waiting;
                }
            }
            let channels = endpoints
                .remove(&row.id)
                .unwrap_or_default()
                .into_iter()
                .map(|(channel, frozen)| {
                    let counts = queued.remove(&channel).unwrap_or_default();
                    (channel, counts.with_waiting(frozen, state.of_unqueued()))
                })
                .collect();
            let mails = queued.remove(EMAIL).unwrap_or_default();
            let mails = mails.with_waiting(row.recipients, state.of_unqueued());
            let counts = NoticeCounts::new(mails, sharing::by_state(conn, &row, mails)?, row.unreachable);
            let mut wave = waves.remove(&row.id);
            let shown = match &mut wave {
                // Between two waves, a notice is queued for a moment. For its readers it is being sent.
                Some(wave) if state == NoticeState::Queued && wave.current > 1 => NoticeState::Sending,
                Some(wave) if state.is_over() => {
                    wave.next_at = None;
                    state
                }
                _ => state,
            };
            let in_doubt = ambiguous.get(&row.id).copied().unwrap_or(0);
            Ok(Notice {
                phase: row.phase()?,
                customer_action: row.action()?,
                audience: row.rule()?,
                translations: row.translations()?,
                approved: approval.kind.is_some(),
                approved_until: approval.until,
                break_glass: approval.kind == Some(approvals::ApprovalKind::BreakGlass),
                episode: row.episode,
                reminder: reminders.contains(row.id.as_str()),
                corrects: corrections.remove(row.id.as_str()),
                drill: drills.contains(&row.incident_id),
                id: row.id,
                incident: row.incident_id,
                state: shown,
                subject: row.subject,
                headline: row.headline,
                next_update_due_at: row.next_update_due_at,
                acknowledge_impaired: row.acknowledge_impaired,
                message: row.message,
                catch_up_of: row.catch_up_of,
                recipients: row.recipients,
                digest: row.digest,
                counts,
                ambiguous: in_doubt,
                channels,
                wave,
                created_at: row.created_at,
                updated_at: row.updated_at,
                queued_at: row.queued_at,
                finished_at: row.finished_at,
            })
        })
        .collect()
}

/// Returns the notice with this ID.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn get(conn: &mut Conn, id: &NoticeId) -> Result<Notice> {
    let row = row(conn, id)?;
    views(conn, vec![row])?
        .pop()
        .ok_or_else(|| Error::NotFound(format!("notice {id}")))
}

/// Returns the state of a notice, without its counts and all else that [`get`] reads.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn state_of(conn: &mut Conn, id: &NoticeId) -> Result<NoticeState> {
    row(conn, id)?.state()
}

/// Returns the notices of an incident and of those that are merged into it, after the given one, oldest first.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(conn: &mut Conn, incident: &IncidentId, after: Option<&str>, limit: i64) -> Result<Vec<Notice>> {
    incident::get(conn, incident)?;
    let incidents = incident::lineage::ids_with_merged(conn, incident)?;
    let rows: Vec<Row> = n::table
        .filter(n::incident_id.eq_any(incidents))
        .filter(n::id.gt(after.unwrap_or("")))
        .order(n::id)
        .limit(limit)
        .load(conn)?;
    views(conn, rows)
}

/// Returns the notices of an incident and of those that are merged into it, before the given ID, newest first.
///
/// # Errors
/// An error of the database.
pub fn newest(
    conn: &mut Conn,
    incident: &IncidentId,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<Notice>> {
    let incidents = incident::lineage::ids_with_merged(conn, incident)?;
    let mut query = n::table
        .filter(n::incident_id.eq_any(incidents))
        .into_boxed::<crate::db::Backend>();
    if let Some(before) = before {
        query = query.filter(n::id.lt(before));
    }
    let rows: Vec<Row> = query.order(n::id.desc()).limit(limit).load(conn)?;
    views(conn, rows)
}

/// The number of the newest notices that are read of each incident.
const NEWEST: i64 = 20;

/// Returns the newest notices of these incidents, oldest first. Of each incident these are the last 20, the last draft and the last
/// other notice of each phase, and those that are being sent.
///
/// # Errors
/// An error of the database.
pub fn of_incidents(conn: &mut Conn, incidents: &[&IncidentId]) -> Result<Vec<Notice>> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = diesel::sql_types::Text)]
        id: NoticeId,
    }
    if incidents.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = Statement::default();
    statement.push(
        "SELECT id FROM (SELECT id, state, ROW_NUMBER() OVER (PARTITION BY incident_id ORDER BY id DESC) AS place, \
         ROW_NUMBER() OVER (PARTITION BY incident_id, phase, CASE WHEN state = 'draft' THEN 1 ELSE 0 END ORDER BY id DESC) AS of_phase \
         FROM notices WHERE incident_id IN (",
    );
    for (index, incident) in incidents.iter().enumerate() {
        statement
            .push(if index == 0 { "" } else { ", " })
            .text(incident.as_str());
    }
    statement.push(&format!(
        ")) found WHERE place <= {NEWEST} OR of_phase = 1 OR state IN ('queued', 'sending')"
    ));
    let found: Vec<Found> = statement.finish().load(conn)?;
    let ids: Vec<&str> = found.iter().map(|one| one.id.as_str()).collect();
    let rows: Vec<Row> = n::table.filter(n::id.eq_any(&ids)).order(n::id).load(conn)?;
    views(conn, rows)
}

/// Returns the notices that are being sent, the first one that was queued first.
///
/// # Errors
/// An error of the database.
pub fn being_sent(conn: &mut Conn, limit: i64) -> Result<Vec<Notice>> {
    let rows: Vec<Row> = n::table
        // The text is the same as in the partial index.
        .filter(sql::<Bool>("notices.state IN ('queued', 'sending')"))
        .order((n::queued_at, n::id))
        .limit(limit)
        .load(conn)?;
    views(conn, rows)
}
