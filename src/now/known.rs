//! What the parts are made from: the settings, the numbers of people, and the incidents with their notices.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::people::{Approval, People};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::incident::Incident;
use crate::notice::{self, Notice, NoticeState};
use crate::operators::overdue;

/// What the parts depend on beside the database.
pub struct Settings {
    /// The current time, with which ages and due times are computed.
    pub now: Timestamp,
    /// How often customers should get an update.
    pub update_every: Option<Duration>,
    /// Whether emails are written to files, because no mail server is set.
    pub outbox: bool,
    /// The mail servers of this process, by host and port, in the order of the settings.
    pub mail_servers: Vec<String>,
    /// Why the outcomes of sent emails cannot be stored at the moment.
    pub trouble: Option<String>,
    /// When backups are made, as a cron expression. None if they are not made by a schedule.
    pub backup_schedule: Option<String>,
}

/// The numbers that are computed from whole audiences.
pub trait Numbers {
    /// Prepares for questions about these incidents, so that they cost a few statements together and not a few each.
    ///
    /// # Errors
    /// An error of the database.
    fn prepare(&mut self, conn: &mut Conn, incidents: &[&IncidentId]) -> Result<()> {
        let (_, _) = (conn, incidents);
        Ok(())
    }

    /// Returns the numbers of people of an incident.
    ///
    /// # Errors
    /// An error of the database.
    fn people(&mut self, conn: &mut Conn, incident: &IncidentId) -> Result<Arc<People>>;

    /// Returns which approval a draft needs, if it can be sent as it is.
    ///
    /// # Errors
    /// An error of the database.
    fn approval(&mut self, conn: &mut Conn, draft: &Notice) -> Result<Arc<Option<Approval>>>;
}

/// Everything that was read about the incidents that the parts show.
pub(super) struct Incidents {
    /// The open incidents, then those that were resolved in the last days.
    pub all: Vec<Incident>,
    pub notices: HashMap<IncidentId, Vec<Notice>>,
    pub people: HashMap<IncidentId, Arc<People>>,
    /// When the next update of each open incident is due.
    pub due: HashMap<IncidentId, Timestamp>,
}

impl Incidents {
    /// Returns the newest notices of an incident, oldest first.
    pub fn notices(&self, id: &IncidentId) -> &[Notice] {
        self.notices.get(id).map_or(&[], Vec::as_slice)
    }

    /// Returns the numbers of people of an incident.
    pub fn people(&self, id: &IncidentId) -> Arc<People> {
        self.people.get(id).cloned().unwrap_or_default()
    }
}

/// Whose numbers are those of the whole audience, computed now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Computed {
    /// All given incidents, also the resolved ones.
    All,
    /// The open ones. The numbers of a resolved incident are those of its largest notice, which do not change any more.
    Open,
}

/// Reads the notices of incidents, the numbers of their people, and when the next update of each is due.
pub(super) fn read_incidents(
    conn: &mut Conn,
    all: Vec<Incident>,
    update_every: Option<Duration>,
    computed: Computed,
    numbers: &mut dyn Numbers,
) -> Result<Incidents> {
    let ids: Vec<&IncidentId> = all.iter().map(|incident| &incident.id).collect();
    let mut notices: HashMap<IncidentId, Vec<Notice>> = HashMap::new();
    for notice in notice::of_incidents(conn, &ids)? {
        notices.entry(notice.incident.clone()).or_default().push(notice);
    }
    let is_frozen = |incident: &Incident| computed == Computed::Open && !incident.status.is_open();
    let asked = all.iter().filter(|incident| !is_frozen(incident));
    let asked: Vec<&IncidentId> = asked.map(|incident| &incident.id).collect();
    numbers.prepare(conn, &asked)?;
    let notified = all
        .iter()
        .filter(|incident| incident.status.is_open() && notices.contains_key(&incident.id));
    let notified: Vec<&IncidentId> = notified.map(|incident| &incident.id).collect();
    let due = overdue::due_of(conn, &notified, update_every)?;
    let mut people = HashMap::new();
    for incident in &all {
        let of = match is_frozen(incident) {
            true => {
                let notices = notices.get(&incident.id).map_or(&[][..], Vec::as_slice);
                Arc::new(frozen(notices, incident.episode))
            }
            false => numbers.people(conn, &incident.id)?,
        };
        people.insert(incident.id.clone(), of);
    }
    Ok(Incidents {
        all,
        notices,
        people,
        due,
    })
}

/// Returns the numbers of the notice of an episode that went to most people.
fn frozen(notices: &[Notice], episode: i64) -> People {
    let parts = notices
        .iter()
        .filter(|notice| is_sent(notice, episode))
        .map(|notice| notice.counts.partition);
    People {
        partition: parts.max_by_key(|parts| parts.people).unwrap_or_default(),
        ..People::default()
    }
}

/// Returns whether a notice says something to customers in the current episode: it is not a draft.
pub(super) fn is_sent(notice: &Notice, episode: i64) -> bool {
    notice.episode == episode && !matches!(notice.state, NoticeState::Draft)
}
