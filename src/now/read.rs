//! Reads the parts: of everything, of one incident, and the rows of a list of incidents.

use std::time::Duration;

use serde::Serialize;

use super::faults::{self, Fault};
use super::known::{Computed, Incidents, Numbers, Settings, read_incidents};
use super::needs::{self, Need};
use super::row::{Automatic, AutomaticKind, BeingSent, LastNotice, NowIncident, OpenIncident};
use crate::automation::{PolicyAction, recovery_run, run};
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::incident::merge::{self, Alike};
use crate::incident::{self, Incident, report};
use crate::notice::{self, Notice};

/// The number of open incidents that are shown.
pub const OPEN: i64 = 25;
/// The number of rows of each of the other parts.
const ROWS: i64 = 20;
/// The largest number of incidents that are counted.
const COUNTED: i64 = 1_000;
/// How long a resolved incident is shown.
const RESOLVED: Duration = Duration::from_secs(24 * 3_600);
/// For how long after the end of an incident the page says that customers were not told so.
const UNTOLD: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What goes on now.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Now {
    /// The time that the answer is from.
    pub at: Timestamp,
    /// What is wrong with Candor itself.
    pub faults: Vec<Fault>,
    /// What Candor will do by itself, and what somebody holds.
    pub automatic: Vec<Automatic>,
    /// What needs a person, the most urgent first. At most 40, and the overdue next steps.
    pub needs: Vec<Need>,
    /// The number of further needs.
    pub more_needs: usize,
    /// The number of incidents that are not examined for needs: the open ones after the first 25, and the ones that were resolved in
    /// the last 7 days, after the last 20. At most 1000 of each are counted.
    pub not_examined: i64,
    /// The open incidents, the most severe first, then the oldest. At most 25.
    pub open: Vec<OpenIncident>,
    /// Whether there are more open incidents.
    pub more_open: bool,
    /// The notices that are being sent.
    pub sending: Vec<BeingSent>,
    /// The incidents that were resolved in the last 24 hours, the last one first. At most 20.
    pub resolved: Vec<NowIncident>,
    /// The number of further incidents that were resolved in the last 24 hours. At most 1000 are counted.
    pub more_resolved: i64,
    /// The incident with the highest number, in any state. Null if there is no incident.
    pub newest: Option<NowIncident>,
    /// Open incidents that are probably one problem, which a person can merge.
    pub alike: Vec<Alike>,
}

/// Reads the incidents that are shown on a page of a list, with the numbers of their people.
///
/// # Errors
/// An error of the database.
pub fn rows(
    conn: &mut Conn,
    incidents: Vec<Incident>,
    update_every: Option<Duration>,
    numbers: &mut dyn Numbers,
) -> Result<Vec<OpenIncident>> {
    let read = read_incidents(conn, incidents, update_every, Computed::Open, numbers)?;
    Ok(read.all.iter().map(|one| open_row(&read, one)).collect())
}

/// Reads everything.
///
/// # Errors
/// An error of the database.
pub fn read(conn: &mut Conn, settings: &Settings, numbers: &mut dyn Numbers) -> Result<Now> {
    let now = settings.now;
    let mut open = incident::list::open_by_urgency(conn, OPEN + 1)?;
    let more_open = open.len() as i64 > OPEN;
    open.truncate(OPEN as usize);
    let ended = incident::list::resolved_since(conn, now.minus(UNTOLD), ROWS)?;
    let resolved: Vec<NowIncident> = ended
        .iter()
        .filter(|one| one.resolved_at.is_some_and(|at| at >= now.minus(RESOLVED)))
        .map(NowIncident::from)
        .collect();
    let shown = open.len();
    // A count is only needed if a list is full.
    let rest = |conn: &mut Conn, since: Duration, listed: usize| match ended.len() as i64 == ROWS {
        true => incident::list::count_resolved_since(conn, now.minus(since), COUNTED)
            .map(|all| (all - listed as i64).max(0)),
        false => Ok(0),
    };
    let more_resolved = rest(conn, RESOLVED, resolved.len())?;
    let mut not_examined = rest(conn, UNTOLD, ended.len())?;
    if more_open {
        not_examined += incident::list::count_open(conn, COUNTED)? - OPEN;
    }
    open.extend(ended);
    let read = read_incidents(conn, open, settings.update_every, Computed::All, numbers)?;
    let sending = being_sent(conn, now)?;
    let automatic = automatic(conn, &sending, numbers)?;
    let (mut needs, more_needs) = needs::read(conn, &read, &sending, &automatic, now, numbers)?;
    needs.extend(needs::steps(conn, now)?);
    Ok(Now {
        at: now,
        faults: faults::read(conn, settings, &sending)?,
        needs,
        more_needs,
        not_examined,
        automatic,
        open: read
            .all
            .iter()
            .take(shown)
            .map(|one| open_row(&read, one))
            .collect(),
        more_open,
        sending,
        resolved,
        more_resolved,
        newest: incident::list::newest(conn)?.as_ref().map(NowIncident::from),
        alike: merge::alike(conn)?,
    })
}

fn open_row(read: &Incidents, incident: &Incident) -> OpenIncident {
    let last = read
        .notices(&incident.id)
        .iter()
        .filter(|notice| !notice.reminder)
        .filter_map(|notice| Some((notice, notice.queued_at?)))
        .max_by_key(|(notice, at)| (*at, notice.id.clone()));
    OpenIncident {
        incident: NowIncident::from(incident),
        people: read.people(&incident.id),
        last_notice: last.map(|(notice, at)| LastNotice {
            id: notice.id.clone(),
            phase: notice.phase,
            at,
        }),
        next_update_due_at: read.due.get(&incident.id).copied(),
    }
}

fn being_sent(conn: &mut Conn, now: Timestamp) -> Result<Vec<BeingSent>> {
    let notices = notice::being_sent(conn, ROWS)?;
    let ids: Vec<_> = notices.iter().map(|notice| &notice.incident).collect();
    let incidents = incident::of_ids(conn, &ids)?;
    let of = |notice: &Notice| {
        let incident = incidents.get(&notice.incident)?;
        Some(BeingSent::of(notice, NowIncident::from(incident), now))
    };
    Ok(notices.iter().filter_map(of).collect())
}

fn automatic(conn: &mut Conn, sending: &[BeingSent], numbers: &mut dyn Numbers) -> Result<Vec<Automatic>> {
    let mut found: Vec<Automatic> = sending.iter().filter_map(next_wave).collect();
    let runs = run::upcoming(conn, ROWS)?;
    let ids: Vec<_> = runs.iter().map(|run| &run.incident).collect();
    let incidents = incident::of_ids(conn, &ids)?;
    for run in runs {
        let Some(incident) = incidents.get(&run.incident) else {
            continue;
        };
        let people = numbers.people(conn, &incident.id)?.partition.not_notified;
        found.extend(policy(run, incident, people));
    }
    let runs = recovery_run::upcoming(conn, ROWS)?;
    let ids: Vec<_> = runs.iter().map(|run| &run.incident).collect();
    let incidents = incident::of_ids(conn, &ids)?;
    for run in runs {
        let Some(incident) = incidents.get(&run.incident) else {
            continue;
        };
        let people = numbers.people(conn, &incident.id)?.restored;
        found.extend(recovery(run, incident, people));
    }
    found.sort_by_key(|one| (one.held_by.is_some(), one.due_at));
    Ok(found)
}

/// What goes on about one incident.
pub struct OfIncident {
    /// The incident, with the numbers of its people.
    pub row: OpenIncident,
    /// Its newest notices, oldest first.
    pub notices: Vec<Notice>,
    /// What Candor will do by itself about it, and what somebody holds.
    pub automatic: Vec<Automatic>,
    /// What needs a person, the most urgent first.
    pub needs: Vec<Need>,
    /// Whether its report is published. `None` if none is written.
    pub report: Option<bool>,
}

/// Reads what goes on about one incident.
///
/// # Errors
/// An error of the database.
pub fn of_incident(
    conn: &mut Conn,
    incident: &Incident,
    settings: &Settings,
    numbers: &mut dyn Numbers,
) -> Result<OfIncident> {
    let now = settings.now;
    let every = settings.update_every;
    let mut read = read_incidents(conn, vec![incident.clone()], every, Computed::All, numbers)?;
    let named = || NowIncident::from(incident);
    let sending: Vec<BeingSent> = read
        .notices(&incident.id)
        .iter()
        .filter(|notice| notice.state.is_being_sent())
        .map(|notice| BeingSent::of(notice, named(), now))
        .collect();
    let mut automatic: Vec<Automatic> = sending.iter().filter_map(next_wave).collect();
    if let Some(run) = run::of_incident(conn, &incident.id)?.filter(|run| run.decided_at.is_none())
        && !run::is_preempted(conn, &run)?
    {
        automatic.extend(policy(
            run,
            incident,
            read.people(&incident.id).partition.not_notified,
        ));
    }
    if let Some(run) = recovery_run::waiting(conn, &incident.id)?
        && !recovery_run::is_preempted(conn, &incident.id)?
    {
        automatic.extend(recovery(run, incident, read.people(&incident.id).restored));
    }
    let (needs, _) = needs::read(conn, &read, &sending, &automatic, now, numbers)?;
    let report = report::find(conn, &incident.id, report::Audience::Internal)?;
    Ok(OfIncident {
        report: report.map(|report| report.published_at.is_some()),
        row: open_row(&read, incident),
        notices: read.notices.remove(&incident.id).unwrap_or_default(),
        automatic,
        needs,
    })
}

/// Returns what a policy will do about an incident, if it will do anything.
fn policy(run: run::Run, incident: &Incident, people: i64) -> Option<Automatic> {
    let kind = match run.action {
        PolicyAction::Send => AutomaticKind::Send,
        PolicyAction::Draft => AutomaticKind::Draft,
        PolicyAction::Nothing => return None,
    };
    // It would do nothing about an incident that is over, or that began again.
    if !incident.status.is_open() || incident.episode != run.episode {
        return None;
    }
    Some(Automatic {
        kind,
        incident: NowIncident::from(incident),
        policy: Some(run.policy_name),
        notice: None,
        people,
        due_at: run.due_at,
        held_by: run.held_by,
    })
}

/// Returns what a policy about recoveries will do about an incident, if there is somebody to tell. What is held is always shown, so that
/// it can be released.
fn recovery(run: run::Run, incident: &Incident, people: i64) -> Option<Automatic> {
    if people == 0 && run.held_by.is_none() {
        return None;
    }
    let kind = match run.action {
        PolicyAction::Send => AutomaticKind::Recovery,
        PolicyAction::Draft => AutomaticKind::RecoveryDraft,
        PolicyAction::Nothing => return None,
    };
    Some(Automatic {
        kind,
        incident: NowIncident::from(incident),
        policy: Some(run.policy_name),
        notice: None,
        people,
        due_at: run.due_at,
        held_by: run.held_by,
    })
}

/// Returns the wave of a notice that begins by itself.
fn next_wave(one: &BeingSent) -> Option<Automatic> {
    let wave = one.wave.as_ref()?;
    Some(Automatic {
        kind: AutomaticKind::Wave,
        incident: one.incident.clone(),
        policy: None,
        notice: Some(one.notice.clone()),
        people: one.in_no_wave(),
        due_at: wave.next_at?,
        held_by: None,
    })
}
