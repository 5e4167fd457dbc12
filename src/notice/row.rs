//! The row of a notice, its state, and the locks under which it is changed.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::audience::Rule;
use crate::audit::Tx;
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::schema::notices as n;
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

/// The name of the channel for emails to people.
pub const EMAIL: &str = "email";

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
    pub(super) fn by(
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
pub(super) fn resolutions_being_sent(
    conn: &mut Conn,
    incident: &IncidentId,
    episode: i64,
) -> Result<Vec<NoticeId>> {
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
pub(super) fn sent_in(conn: &mut Conn, incident: &IncidentId, phase: Phase, episode: i64) -> Result<bool> {
    let sent: i64 = n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::phase.eq(phase.as_str()))
        .filter(n::state.ne(State::Draft.as_str()))
        .filter(n::episode.eq(episode))
        .count()
        .get_result(conn)?;
    Ok(sent > 0)
}

pub(super) fn require_draft(row: &Row) -> Result<()> {
    match row.state()? {
        State::Draft => Ok(()),
        state => Err(
            Error::Conflict(format!("the notice is {state} and can no longer be changed"))
                .code(Code::NotADraft),
        ),
    }
}

impl CustomerAction {
    pub(super) fn for_mail(&self) -> MailAction {
        MailAction {
            required: self.required,
            text: self.text.clone().unwrap_or_default(),
        }
    }
}
