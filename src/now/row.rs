//! The rows of the parts: incidents, what happens by itself, and notices that are being sent.

use std::sync::Arc;

use serde::Serialize;

use super::people::People;
use crate::base::enums::word_enum;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::incident::{Incident, Severity, Status};
use crate::notice::template::Phase;
use crate::notice::{Notice, WaveView};

/// An incident, as the parts name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NowIncident {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The title of the incident, for the people who work on it. Customers do not see it.
    pub title: String,
    /// The severity of the incident.
    pub severity: Severity,
    /// The state of the work.
    pub status: Status,
    /// Whether the incident is a drill.
    pub drill: bool,
    /// When customers began to be affected.
    pub started_at: Timestamp,
    /// When the incident was resolved.
    pub resolved_at: Option<Timestamp>,
    /// The person or team that leads the work.
    pub owner: Option<String>,
}

impl From<&Incident> for NowIncident {
    fn from(incident: &Incident) -> NowIncident {
        NowIncident {
            id: incident.id.clone(),
            number: incident.number,
            title: incident.title.clone(),
            severity: incident.severity,
            status: incident.status,
            drill: incident.drill,
            started_at: incident.started_at,
            resolved_at: incident.resolved_at,
            owner: incident.owner.clone(),
        }
    }
}

word_enum! {
    /// What will happen by itself.
    AutomaticKind, "a kind of automatic action" {
        /// A policy sends a detection notice.
        Send = "send",
        /// A policy drafts a detection notice.
        Draft = "draft",
        /// The next wave of a notice begins.
        Wave = "wave",
        /// A policy sends a recovery notice.
        Recovery = "recovery",
        /// A policy drafts a recovery notice.
        RecoveryDraft = "recovery_draft",
    }
}

/// Something that Candor will do by itself.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Automatic {
    /// What Candor will do.
    pub kind: AutomaticKind,
    /// The incident that it is about.
    pub incident: NowIncident,
    /// The name of the policy. Null for a wave.
    pub policy: Option<String>,
    /// The notice whose wave begins. Null for a policy.
    pub notice: Option<NoticeId>,
    /// For a detection, the number of people who are not notified yet. For a recovery, the number of people whose affected resources are all restored
    /// and who are not notified of it yet. For a wave, the number of emails that are in no wave yet.
    pub people: i64,
    /// When it happens. If it is held, when it would have happened.
    pub due_at: Timestamp,
    /// Who holds it. Null if nobody does.
    pub held_by: Option<String>,
}

/// The last notice of an incident that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LastNotice {
    /// The ID of the notice.
    pub id: NoticeId,
    /// The phase of the notice.
    pub phase: Phase,
    /// When it was queued.
    pub at: Timestamp,
}

/// An open incident, with the numbers of its people.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct OpenIncident {
    /// The open incident that the numbers are about.
    #[serde(flatten)]
    pub incident: NowIncident,
    /// The numbers of people.
    #[schema(value_type = People)]
    pub people: Arc<People>,
    /// The last notice that was sent.
    pub last_notice: Option<LastNotice>,
    /// When the next update is due.
    pub next_update_due_at: Option<Timestamp>,
}

/// A notice that is being sent.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct BeingSent {
    /// The incident that the notice is about.
    pub incident: NowIncident,
    /// The ID of the notice.
    pub notice: NoticeId,
    /// The phase of the notice.
    pub phase: Phase,
    /// The number of emails of the notice.
    pub emails: i64,
    /// The number of emails that were accepted.
    pub accepted: i64,
    /// The number of emails that failed or bounced.
    pub failed: i64,
    /// The number of emails that are not finished.
    pub pending: i64,
    /// When the notice was queued.
    pub queued_at: Option<Timestamp>,
    /// The average number of emails per second since the notice was queued. Null for a notice with waves, and in its first second.
    pub per_second: Option<f64>,
    /// The number of seconds until all emails are tried, at this rate.
    pub seconds_left: Option<i64>,
    /// The waves, if the notice is not sent to everybody at once.
    pub wave: Option<WaveView>,
}

impl BeingSent {
    /// Returns the number of emails that are in no wave yet.
    pub(super) fn in_no_wave(&self) -> i64 {
        let begun = self.wave.as_ref().map_or(self.emails, |wave| wave.recipients);
        (self.emails - begun).max(0)
    }

    /// Computes how far a notice is.
    pub fn of(notice: &Notice, incident: NowIncident, now: Timestamp) -> BeingSent {
        let mails = notice.counts.mails;
        let tried = mails.sent + mails.failed + mails.bounced;
        let seconds = notice.queued_at.map_or(0, |at| now.seconds_since(at));
        // The pauses between waves would make the rate too small.
        let per_second =
            (notice.wave.is_none() && seconds > 0 && tried > 0).then(|| tried as f64 / seconds as f64);
        BeingSent {
            incident,
            notice: notice.id.clone(),
            phase: notice.phase,
            emails: mails.total(),
            accepted: mails.sent,
            failed: mails.failed + mails.bounced,
            pending: mails.pending,
            queued_at: notice.queued_at,
            per_second,
            seconds_left: per_second.map(|rate| (mails.pending as f64 / rate).ceil() as i64),
            wave: notice.wave.clone(),
        }
    }
}
