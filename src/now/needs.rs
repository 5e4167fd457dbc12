//! What needs a person. Each need has one obvious next thing to do.

use serde::Serialize;

use super::known::{Incidents, Numbers, is_sent};
use super::people::People;
use super::row::{Automatic, AutomaticKind, BeingSent, NowIncident};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::incident::{self, Incident, Status, next_step, recovery};
use crate::notice::template::Phase;
use crate::notice::{Notice, NoticeState};

/// The number of needs that are listed.
const MOST: usize = 40;
/// The number of overdue next steps that are read.
const STEPS: i64 = 20;

word_enum! {
    /// What is needed. The kinds are in the order of their urgency.
    NeedKind, "a kind of need" {
        /// The incident was reopened, and its earlier resolution is still being sent.
        StaleResolution = "stale_resolution",
        /// The incident was reopened, and the last notice said to customers that it is resolved: a detection must be written.
        Reopened = "reopened",
        /// Nobody was notified yet: a detection must be written.
        Detection = "detection",
        /// People were notified that everything of theirs is restored, and something is impaired again: they must be notified of it.
        RelapsedPeople = "relapsed_people",
        /// Resources that were recovered are impaired again, and nobody recovers them yet.
        Relapsed = "relapsed",
        /// A wave of a notice has ended, and the next one begins only when a person begins it.
        Wave = "wave",
        /// A draft waits for the approval of another person.
        Approval = "approval",
        /// A draft was not sent.
        Draft = "draft",
        /// Everything of people is restored, and they were not notified of it.
        Recovery = "recovery",
        /// The next update is overdue.
        Update = "update",
        /// The incident is resolved, and customers were not notified of that.
        Resolution = "resolution",
        /// People became affected after the notice, and were not notified.
        CatchUp = "catch_up",
        /// Emails to people failed or bounced, or they have no address.
        NotReached = "not_reached",
        /// IDs or users in alerts are not in the directory.
        Unmatched = "unmatched",
        /// Next steps are overdue.
        Steps = "steps",
    }
}

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = NowNeed)]
pub struct Need {
    /// What is needed from a person.
    pub kind: NeedKind,
    /// The incident that needs a person.
    pub incident: NowIncident,
    /// The number of people, IDs, steps or resources that it is about. For a wave, the number of emails that are in no wave yet.
    pub count: i64,
    /// The notice that it is about.
    pub notice: Option<NoticeId>,
    /// The phase of this notice.
    pub phase: Option<Phase>,
    /// Since when: the start of the incident, the time of the draft, the time that was promised, the end of the incident, or the first relapse.
    pub since: Option<Timestamp>,
    /// The first limit that the draft is above.
    pub limit: Option<String>,
    /// Why the next wave does not begin by itself. Null if nobody and nothing holds it: a person begins each wave.
    pub reason: Option<String>,
}

impl Need {
    fn new(kind: NeedKind, incident: &Incident, count: i64) -> Need {
        Need {
            kind,
            incident: NowIncident::from(incident),
            count,
            notice: None,
            phase: None,
            since: None,
            limit: None,
            reason: None,
        }
    }

    fn about(mut self, notice: &Notice) -> Need {
        self.notice = Some(notice.id.clone());
        self.phase = Some(notice.phase);
        self
    }

    fn since(mut self, since: Option<Timestamp>) -> Need {
        self.since = since;
        self
    }
}

/// Returns what needs a person, the most urgent first, and how many further needs there are.
pub(super) fn read(
    conn: &mut Conn,
    read: &Incidents,
    sending: &[BeingSent],
    automatic: &[Automatic],
    now: Timestamp,
    numbers: &mut dyn Numbers,
) -> Result<(Vec<Need>, usize)> {
    let mut needs: Vec<Need> = sending.iter().filter_map(next_wave).collect();
    for incident in &read.all {
        if incident.status == Status::Merged {
            continue;
        }
        let sends = |kind: AutomaticKind| {
            automatic
                .iter()
                .any(|one| one.kind == kind && one.held_by.is_none() && one.incident.id == incident.id)
        };
        let sends = Sends {
            detection: sends(AutomaticKind::Send),
            recovery: sends(AutomaticKind::Recovery),
        };
        let notices = read.notices(&incident.id);
        let people = read.people(&incident.id);
        needs.extend(drafts(conn, incident, notices, now, numbers)?);
        let due = read.due.get(&incident.id).copied();
        needs.extend(of(incident, notices, &people, due, sends, now));
    }
    needs.extend(relapsed(conn, &read.all)?);
    // Within a kind, the incidents keep their order: the most severe first, then the oldest.
    needs.sort_by_key(|need| need.kind as usize);
    let more = needs.len().saturating_sub(MOST);
    needs.truncate(MOST);
    Ok((needs, more))
}

/// What a policy will send by itself about an incident.
#[derive(Clone, Copy)]
struct Sends {
    detection: bool,
    recovery: bool,
}

/// Returns what needs a person about one incident, beside its drafts.
fn of(
    incident: &Incident,
    notices: &[Notice],
    people: &People,
    due: Option<Timestamp>,
    sends: Sends,
    now: Timestamp,
) -> Vec<Need> {
    let mut needs = Vec::new();
    let parts = people.partition;
    let episode = incident.episode;
    let sent = |phase: Phase| {
        notices
            .iter()
            .filter(move |notice| notice.phase == phase && is_sent(notice, episode))
    };
    let drafted = |phase: Phase| {
        notices.iter().any(|notice| {
            notice.phase == phase && notice.state == NoticeState::Draft && notice.episode == episode
        })
    };
    let open = incident.status.is_open();
    let ended = |notice: &&Notice| notice.phase == Phase::Resolution && notice.episode < episode;
    let stale = notices
        .iter()
        .filter(ended)
        .find(|notice| notice.state.is_being_sent());
    if let Some(stale) = stale.filter(|_| open) {
        needs.push(Need::new(NeedKind::StaleResolution, incident, stale.counts.pending).about(stale));
    }
    let was_over = notices
        .iter()
        .filter(ended)
        .any(|notice| notice.state != NoticeState::Draft);
    let again = sent(Phase::Detection).next().is_some() || drafted(Phase::Detection);
    let reopened = open && was_over && !again;
    if reopened {
        needs.push(Need::new(NeedKind::Reopened, incident, parts.not_notified));
    }
    if open && !reopened && parts.not_notified > 0 && !sends.detection && !drafted(Phase::Detection) {
        match sent(Phase::Detection).next_back() {
            None => {
                let need = Need::new(NeedKind::Detection, incident, parts.not_notified);
                needs.push(need.since(Some(incident.started_at)));
            }
            // While it is being sent, the rest of its list is not missing. A drill reaches no customer, so all stay not notified.
            Some(notice) if notice.state.is_over() && !incident.drill => {
                needs.push(Need::new(NeedKind::CatchUp, incident, parts.not_notified).about(notice));
            }
            Some(_) => {}
        }
    }
    if people.relapsed > 0 && !drafted(Phase::Detection) {
        needs.push(Need::new(NeedKind::RelapsedPeople, incident, people.relapsed));
    }
    if people.restored > 0 && !sends.recovery && !drafted(Phase::Recovery) {
        needs.push(Need::new(NeedKind::Recovery, incident, people.restored));
    }
    if let Some(due) = due.filter(|due| open && *due <= now && !drafted(Phase::Update)) {
        let need = Need::new(NeedKind::Update, incident, people.notified as i64);
        needs.push(need.since(Some(due)));
    }
    // What was told about an incident that was merged into this one counts too.
    let told = people.notified > 0 || sent(Phase::Detection).chain(sent(Phase::Update)).next().is_some();
    if !open && told && sent(Phase::Resolution).next().is_none() && !drafted(Phase::Resolution) {
        let need = Need::new(NeedKind::Resolution, incident, people.notified as i64);
        needs.push(need.since(incident.resolved_at));
    }
    if people.not_reached() > 0 {
        needs.push(Need::new(NeedKind::NotReached, incident, people.not_reached()));
    }
    if open && people.unmatched > 0 {
        needs.push(Need::new(NeedKind::Unmatched, incident, people.unmatched as i64));
    }
    needs
}

/// Returns the incidents of these in which recovered resources are impaired again.
fn relapsed(conn: &mut Conn, incidents: &[Incident]) -> Result<Vec<Need>> {
    let ids: Vec<_> = incidents.iter().map(|incident| &incident.id).collect();
    let found = recovery::relapses(conn, &ids)?;
    Ok(incidents
        .iter()
        .filter_map(|incident| {
            let relapses = found.get(&incident.id)?;
            Some(Need::new(NeedKind::Relapsed, incident, relapses.resources).since(Some(relapses.since)))
        })
        .collect())
}

/// Returns the notice whose next wave waits for a person.
fn next_wave(one: &BeingSent) -> Option<Need> {
    let wave = one.wave.as_ref()?;
    if !wave.ended || !wave.has_next() || wave.next_at.is_some() {
        return None;
    }
    Some(Need {
        kind: NeedKind::Wave,
        incident: one.incident.clone(),
        count: one.in_no_wave(),
        notice: Some(one.notice.clone()),
        phase: Some(one.phase),
        since: None,
        limit: None,
        reason: wave.held_because.clone(),
    })
}

fn drafts(
    conn: &mut Conn,
    incident: &Incident,
    notices: &[Notice],
    now: Timestamp,
    numbers: &mut dyn Numbers,
) -> Result<Vec<Need>> {
    let mut needs = Vec::new();
    for draft in notices {
        if draft.state != NoticeState::Draft || draft.episode != incident.episode {
            continue;
        }
        let approval = numbers.approval(conn, &draft.clone().at(now))?;
        let (kind, count, limit) = match approval.as_ref() {
            Some(one) if one.missing => (NeedKind::Approval, one.recipients as i64, one.limit.clone()),
            Some(one) => (NeedKind::Draft, one.recipients as i64, None),
            None => (NeedKind::Draft, 0, None),
        };
        let mut need = Need::new(kind, incident, count)
            .about(draft)
            .since(Some(draft.updated_at));
        need.limit = limit;
        needs.push(need);
    }
    Ok(needs)
}

/// Returns the incidents with overdue next steps, each once.
pub(super) fn steps(conn: &mut Conn, now: Timestamp) -> Result<Vec<Need>> {
    // A due date has no time zone. The day in UTC is the same for everybody.
    let today: String = now.to_string().chars().take(10).collect();
    let mut needs: Vec<Need> = Vec::new();
    let overdue = next_step::overdue(conn, &today, STEPS)?;
    let ids: Vec<_> = overdue.iter().map(|step| &step.incident_id).collect();
    let incidents = incident::of_ids(conn, &ids)?;
    for step in &overdue {
        match needs.iter_mut().find(|need| need.incident.id == step.incident_id) {
            Some(need) => need.count += 1,
            None => {
                if let Some(incident) = incidents.get(&step.incident_id) {
                    needs.push(Need::new(NeedKind::Steps, incident, 1));
                }
            }
        }
    }
    Ok(needs)
}
