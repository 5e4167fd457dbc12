//! The numbers of people of one incident. They add up: `people = accepted + sending + failed + unreachable + not_notified`.

use serde::Serialize;

use crate::audience::At;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::notice::{self, Notice, Overview, Partition, Restoration, Restorations, Sending};

/// The numbers of people of one incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = NowPeople)]
pub struct People {
    /// The people whom the incident affects now, by whether they were notified in the current episode.
    #[serde(flatten)]
    pub partition: Partition,
    /// The number of accounts that own an affected resource.
    pub accounts: usize,
    /// The number of affected resources.
    pub resources: usize,
    /// The number of people who were notified in the current episode, affected now or not. A resolution is for them.
    pub notified: usize,
    /// The number of unmatched IDs, and of unknown users who hit the error.
    pub unmatched: usize,
    /// The number of people whose affected resources are all restored and who were not notified of it. 0 without recovery states.
    pub restored: i64,
    /// The number of people who were notified that everything of theirs is restored, one of whose resources is impaired again, and who were
    /// not notified since.
    pub relapsed: i64,
    /// Whether the incident has recovery states.
    pub has_recovery: bool,
}

impl People {
    /// Computes the numbers from the audience of an incident.
    ///
    /// # Errors
    /// `NotFound` if the incident does not exist.
    pub fn of(conn: &mut Conn, incident: &IncidentId) -> Result<People> {
        let overview = Overview::read(conn, incident, At::Now)?;
        let restorations = Restorations::read(conn, incident, &overview)?;
        Ok(People::of_overview(&overview, &restorations))
    }

    /// Computes the numbers from an overview that was read already.
    pub fn of_overview(overview: &Overview, restorations: &Restorations) -> People {
        let counts = &overview.audience.counts;
        let (mut restored, mut relapsed, mut has_recovery) = (0, 0, false);
        for addressee in &overview.audience.people {
            let restoration = restorations.of(overview, addressee);
            has_recovery |= restoration.is_some();
            // Nobody is notified without an address.
            restored +=
                i64::from(restoration == Some(Restoration::Restored) && addressee.unreachable.is_none());
            relapsed += i64::from(restoration == Some(Restoration::Relapsed));
        }
        let notified = |reached: &&notice::Reached| reached.is_notified() && !reached.corrected;
        People {
            partition: overview.partition(),
            accounts: counts.accounts,
            resources: counts.resources,
            notified: overview.reached.values().filter(notified).count(),
            unmatched: counts.unresolved_references + counts.unidentified,
            restored,
            relapsed,
            has_recovery,
        }
    }

    /// Returns whether a notice was sent to anybody of the audience, or is being sent.
    pub fn is_anybody_notified(&self) -> bool {
        self.partition.accepted + self.partition.sending + self.partition.failed > 0
    }

    /// Returns the number of people who were not reached although a notice was sent: it failed or bounced, or no address is known.
    pub fn not_reached(&self) -> i64 {
        match self.is_anybody_notified() {
            true => self.partition.failed + self.partition.unreachable,
            false => 0,
        }
    }
}

/// The approval that a draft needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The number of recipients.
    pub recipients: usize,
    /// Whether an approval is needed and not given yet.
    pub missing: bool,
    /// The first limit that the draft is above.
    pub limit: Option<String>,
}

impl Approval {
    /// Computes which approval a draft needs. Returns `None` if the draft cannot be sent as it is.
    ///
    /// # Errors
    /// An error of the database.
    pub fn of(
        conn: &mut Conn,
        draft: &Notice,
        sending: &Sending,
        now: Timestamp,
    ) -> Result<Option<Approval>> {
        match notice::preview(conn, &draft.id, sending, 0, now) {
            Ok(preview) => Ok(Some(Approval {
                recipients: preview.recipients,
                missing: preview.approval_required && !preview.approved,
                limit: preview.limits.first().map(|one| one.limit.shown()),
            })),
            Err(Error::Internal(error)) => Err(Error::Internal(error)),
            Err(Error::Unavailable(detail)) => Err(Error::Unavailable(detail)),
            Err(_) => Ok(None),
        }
    }
}
