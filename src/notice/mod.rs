//! Notices: the messages to customers about an incident. A notice is drafted, previewed, approved and sent
//! once.
//!
//! ```text
//! draft ─(send: frozen recipients and texts)─► queued ─► sending ─► sent
//!                                                 └────────┴─(stop)─► stopped
//! ```
//!
//! Nobody gets an email who was not in the preview, and nobody gets a text that was not in the preview. One
//! notice sends one email to an address.

mod approval;
pub mod compose;
pub mod counts;
mod draft;
mod endpoints;
pub mod payload;
mod plan;
mod preview;
mod recipients;
mod send;
mod sharing;
mod standing;
pub mod template;
pub mod templates;
mod told;
pub mod unattended;

use std::collections::{BTreeMap, HashMap};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use serde::{Deserialize, Serialize};

pub use approval::{add_author, approve};
pub use counts::{DeliveryCounts, NoticeCounts, Partition};
pub(crate) use draft::check_new;
pub use draft::{change, draft};
pub use endpoints::EndpointRecipient;
pub use plan::{Plan, Recipient, Sending};
pub use preview::{EndpointSample, Preview, Sample, preview};
pub use recipients::{Packed, Recipients};
pub use send::{Digest, Stopped, catch_up, finished, send, stop, stopped, told_somebody};
pub use standing::{Standing, partition};
pub use told::{Missed, Reached, missed, reached_people, told_people};

use crate::audience::Rule;
use crate::audit::Tx;
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::schema::{deliveries as d, notices as n};
use crate::db::{Conn, dialect};
use crate::incident;
use crate::notice::template::{MailAction, Phase};

word_enum! {
    /// The state of a notice.
    State, "a state of a notice" {
        /// The notice is being written.
        Draft = "draft",
        /// The notice is frozen and waits to be expanded into deliveries.
        Queued = "queued",
        /// The deliveries are being sent.
        Sending = "sending",
        /// No delivery is pending any more.
        Sent = "sent",
        /// A person stopped the notice, or a later notice of a reopened incident did.
        Stopped = "stopped",
    }
}

/// What the customer must do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerAction {
    /// Whether the customer must do anything.
    pub required: bool,
    /// What the customer must do. It must be set if `required` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The content of a notice that is created as a draft.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNotice {
    /// The phase of the notice.
    pub phase: Phase,
    /// The message in plain text. Empty lines separate paragraphs.
    pub message: String,
    /// The subject. Without it, the template makes one.
    #[serde(default)]
    pub subject: Option<String>,
    /// What the customer must do. It must be set for a resolution.
    #[serde(default)]
    pub customer_action: Option<CustomerAction>,
    /// The roles that the notice is for. Without it, these are owners and all collaborators.
    #[serde(default)]
    pub audience: Option<Rule>,
}

/// A change of a draft. A field that is left out stays unchanged.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoticePatch {
    /// The new message in plain text. Empty lines separate paragraphs.
    pub message: Option<String>,
    /// The new subject.
    pub subject: Option<String>,
    /// The new customer action.
    pub customer_action: Option<CustomerAction>,
    /// The new audience rule.
    pub audience: Option<Rule>,
}

/// The name of the channel for emails to people.
pub const EMAIL: &str = "email";

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
    pub state: State,
    /// The subject that the operator wrote, if there is one.
    pub subject: Option<String>,
    /// The message that the operator wrote, in plain text.
    pub message: String,
    /// What the customer must do.
    pub customer_action: Option<CustomerAction>,
    /// The roles that the notice is for.
    pub audience: Rule,
    /// The episode of the incident in which the notice was sent. For a draft, the episode in which it was
    /// written.
    pub episode: i64,
    /// The notice whose missing recipients this one is for, if it is a catch-up.
    pub catch_up_of: Option<NoticeId>,
    /// The number of recipients. It is 0 while the notice is a draft.
    pub recipients: i64,
    /// The digest of what was sent. Null while the notice is a draft.
    pub digest: Option<String>,
    /// Whether a second person approved it. For a draft, whether this approval is still valid.
    pub approved: bool,
    /// The numbers of emails by state.
    pub counts: NoticeCounts,
    /// The number of attempts for which it is not known whether the email arrived, because the connection was
    /// lost between the last byte and the reply. They are repeated, so a recipient may get the email twice.
    pub ambiguous: i64,
    /// The numbers of calls to endpoints, by channel.
    pub channels: BTreeMap<String, DeliveryCounts>,
    /// When the notice was drafted.
    pub created_at: Timestamp,
    /// When the notice was last changed.
    pub updated_at: Timestamp,
    /// When the notice was queued.
    pub queued_at: Option<Timestamp>,
    /// When the notice was finished or stopped.
    pub finished_at: Option<Timestamp>,
}

#[derive(Clone, Insertable, Queryable)]
#[diesel(table_name = n)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct Row {
    pub id: NoticeId,
    pub incident_id: IncidentId,
    pub phase: String,
    pub state: String,
    pub subject: Option<String>,
    pub message: String,
    pub customer_action: Option<String>,
    pub catch_up_of: Option<NoticeId>,
    pub drafted_by: String,
    pub approved_by: Option<String>,
    pub approved_digest: Option<String>,
    pub digest: Option<String>,
    pub template_id: Option<String>,
    pub frozen: Option<String>,
    pub recipients: i64,
    pub expand_cursor: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub queued_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub endpoints: i64,
    pub audience: Option<String>,
    pub episode: i64,
    pub unreachable: i64,
}

impl Row {
    /// Creates a draft without an approval, in the current episode of the incident.
    fn by(
        conn: &mut Conn,
        author: &str,
        now: Timestamp,
        incident_id: IncidentId,
        phase: String,
        message: String,
    ) -> Result<Row> {
        let episode = incident::episode_of(conn, &incident_id)?;
        Ok(Row {
            id: NoticeId::new(now),
            incident_id,
            phase,
            state: State::Draft.as_str().to_owned(),
            subject: None,
            message,
            customer_action: None,
            catch_up_of: None,
            drafted_by: author.to_owned(),
            approved_by: None,
            approved_digest: None,
            digest: None,
            template_id: None,
            frozen: None,
            recipients: 0,
            expand_cursor: 0,
            created_at: now,
            updated_at: now,
            queued_at: None,
            finished_at: None,
            endpoints: 0,
            audience: None,
            episode,
            unreachable: 0,
        })
    }

    pub fn phase(&self) -> Result<Phase> {
        Phase::parse(&self.phase).map_err(Error::internal)
    }

    pub fn state(&self) -> Result<State> {
        State::parse(&self.state).map_err(Error::internal)
    }

    pub fn rule(&self) -> Result<Rule> {
        Ok(match &self.audience {
            Some(rule) => serde_json::from_str(rule)?,
            None => Rule::default(),
        })
    }

    pub fn action(&self) -> Result<Option<CustomerAction>> {
        Ok(self
            .customer_action
            .as_deref()
            .map(serde_json::from_str)
            .transpose()?)
    }
}

pub(crate) fn row(conn: &mut Conn, id: &NoticeId) -> Result<Row> {
    n::table
        .find(id.as_str())
        .first(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("notice {id}")))
}

/// Returns the row and locks it until the transaction ends. The incident is always locked first. So a
/// transaction that changes the affected resources waits or has finished. A timeline entry for the change
/// also needs the lock of the incident.
pub(crate) fn locked(tx: &mut Tx<'_>, id: &NoticeId) -> Result<Row> {
    let incident = row(tx.conn, id)?.incident_id;
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    dialect::lock(tx.conn, dialect::Lock::Notice, id.as_str())?;
    row(tx.conn, id)
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
    let mut endpoints = endpoints::frozen(conn, &rows)?;
    rows.into_iter()
        .map(|row| {
            let state = row.state()?;
            let approved = match state {
                State::Draft => approval::counts(conn, &row)?,
                _ => row.approved_by.is_some(),
            };
            let mut queued = counts.remove(&row.id).unwrap_or_default();
            let channels = endpoints
                .remove(&row.id)
                .unwrap_or_default()
                .into_iter()
                .map(|(channel, frozen)| {
                    let counts = queued.remove(&channel).unwrap_or_default();
                    (channel, counts.with_waiting(frozen, state))
                })
                .collect();
            let mails = queued.remove(EMAIL).unwrap_or_default();
            let mails = mails.with_waiting(row.recipients, state);
            let counts = NoticeCounts::new(mails, sharing::by_state(conn, &row, mails)?, row.unreachable);
            let in_doubt = ambiguous.get(&row.id).copied().unwrap_or(0);
            Ok(Notice {
                phase: row.phase()?,
                customer_action: row.action()?,
                audience: row.rule()?,
                approved,
                episode: row.episode,
                id: row.id,
                incident: row.incident_id,
                state,
                subject: row.subject,
                message: row.message,
                catch_up_of: row.catch_up_of,
                recipients: row.recipients,
                digest: row.digest,
                counts,
                ambiguous: in_doubt,
                channels,
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

/// Returns the notices of an incident after the given one, oldest first.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(conn: &mut Conn, incident: &IncidentId, after: Option<&str>, limit: i64) -> Result<Vec<Notice>> {
    incident::get(conn, incident)?;
    let rows: Vec<Row> = n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::id.gt(after.unwrap_or("")))
        .order(n::id)
        .limit(limit)
        .load(conn)?;
    views(conn, rows)
}

/// Returns the notices of these incidents, oldest first.
///
/// # Errors
/// An error of the database.
pub fn of_incidents(conn: &mut Conn, incidents: &[&IncidentId]) -> Result<Vec<Notice>> {
    let ids: Vec<&str> = incidents.iter().map(|id| id.as_str()).collect();
    let rows: Vec<Row> = n::table
        .filter(n::incident_id.eq_any(&ids))
        .order(n::id)
        .load(conn)?;
    views(conn, rows)
}

impl Row {
    /// Checks that the notice is still true. A notice that says that the incident is over must be of the
    /// current episode.
    ///
    /// # Errors
    /// `Conflict` if the incident was reopened after the notice was sent.
    pub(crate) fn check_still_true(&self, conn: &mut Conn) -> Result<()> {
        let says_over = matches!(self.phase()?, Phase::Resolution | Phase::Report);
        if says_over && self.episode < incident::episode_of(conn, &self.incident_id)? {
            return Err(Error::Conflict(
                "the incident was reopened after this notice was sent, so its text is no longer correct"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Returns the resolutions of an incident that are from an episode before the given one and are still being
/// sent.
fn resolutions_being_sent(conn: &mut Conn, incident: &IncidentId, episode: i64) -> Result<Vec<NoticeId>> {
    Ok(n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::phase.eq(Phase::Resolution.as_str()))
        .filter(n::state.eq_any([State::Queued.as_str(), State::Sending.as_str()]))
        .filter(n::episode.lt(episode))
        .order(n::id)
        .select(n::id)
        .load(conn)?)
}

/// Returns the stopped resolutions from before the episode of a sent notice. The workers must be told about
/// them when that notice is stored. Otherwise deliveries that a worker has already claimed would still be
/// sent.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn stopped_before(conn: &mut Conn, id: &NoticeId) -> Result<Vec<NoticeId>> {
    let row = row(conn, id)?;
    if row.episode == 1 {
        return Ok(Vec::new());
    }
    Ok(n::table
        .filter(n::incident_id.eq(row.incident_id.as_str()))
        .filter(n::phase.eq(Phase::Resolution.as_str()))
        .filter(n::state.eq(State::Stopped.as_str()))
        .filter(n::episode.lt(row.episode))
        .order(n::id)
        .select(n::id)
        .load(conn)?)
}

/// Returns whether a notice of this phase was sent in this episode of the incident.
fn sent_in(conn: &mut Conn, incident: &IncidentId, phase: Phase, episode: i64) -> Result<bool> {
    let sent: i64 = n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::phase.eq(phase.as_str()))
        .filter(n::state.ne(State::Draft.as_str()))
        .filter(n::episode.eq(episode))
        .count()
        .get_result(conn)?;
    Ok(sent > 0)
}

/// Returns whether the last that was sent about an incident says that it is over. A notice that nobody got, because it was
/// stopped before, does not count.
///
/// # Errors
/// Database errors.
pub fn was_said_to_be_over(conn: &mut Conn, incident: &IncidentId) -> Result<bool> {
    let rows: Vec<Row> = n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::state.ne(State::Draft.as_str()))
        .order((n::queued_at.desc(), n::id.desc()))
        .load(conn)?;
    for row in rows {
        let reached = row.state()? != State::Stopped
            || !counts::in_states(conn, &row.id, &["sent", "bounced"])?.is_empty();
        if reached {
            return Ok(matches!(row.phase()?, Phase::Resolution | Phase::Report));
        }
    }
    Ok(false)
}

/// Returns the number of people who are affected now and to whom neither this notice nor a catch-up of it was
/// delivered.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn not_told_yet(conn: &mut Conn, id: &NoticeId) -> Result<usize> {
    let row = row(conn, id)?;
    if row.state()? == State::Draft {
        return Ok(0);
    }
    plan::missing(conn, &row)
}

fn require_draft(row: &Row) -> Result<()> {
    match row.state()? {
        State::Draft => Ok(()),
        state => Err(
            Error::Conflict(format!("the notice is {state} and can no longer be changed"))
                .code(Code::NotADraft),
        ),
    }
}

impl CustomerAction {
    fn for_mail(&self) -> MailAction {
        MailAction {
            required: self.required,
            text: self.text.clone().unwrap_or_default(),
        }
    }
}
