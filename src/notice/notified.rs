//! Who was notified of what about an incident. The rules "nobody is notified twice" and "a person who was
//! notified of the beginning is notified of the end" use this data.

use std::collections::HashMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Deserialize;

use super::compose::RecipientContext;
use super::delivery_state::{DeliveryState, resumable};
use super::state::NoticeState;
use super::{corrections, reminders, templates};
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::shared::Shared;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{deliveries as d, notice_recipients as nr, notices as n};
use crate::directory::normal_address;
use crate::incident;
use crate::notice::template::Phase;

/// The number of positions of a frozen list that are read at once, so that the data of a million emails is
/// never in memory.
const STEP: i64 = 10_000;

/// The state of an email that notified a person or will notify a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmailState {
    /// The recipient's server accepted the email.
    Accepted,
    /// The email is in the queue.
    Waiting,
    /// The email is frozen and not in the queue yet.
    Frozen,
    /// The email was accepted and bounced later.
    Bounced,
    /// The email was rejected, or its delivery expired.
    Failed,
    /// The email was stopped or suppressed, so that no worker sends it.
    Withheld,
}

/// An address in the frozen list of a notice of the incident.
#[derive(Clone)]
pub(super) struct NotifiedAddress {
    pub phase: Shared,
    /// The episode of the incident in which the notice was sent.
    pub episode: i64,
    /// When the notice was queued.
    pub sent_at: Timestamp,
    /// The address in its normal form.
    pub address: Box<str>,
    pub state: EmailState,
    /// The IDs of the people with this address.
    pub people: Box<[Box<str>]>,
    pub notice: Shared,
    /// Whether the notice was only for people who had not answered. It stands for no other notice of its phase.
    pub reminder: bool,
    /// Whether the email contains the links for answers.
    pub asks: bool,
    /// The notice that this email corrects, if it is a correction.
    pub corrects: Option<Shared>,
    /// Whether the notice is of an incident that was merged into this one.
    pub merged: bool,
    /// Whether an attempt ended without a known outcome, so that the email may have arrived whatever its state is.
    pub in_doubt: bool,
    ordinal: i64,
}

/// The only part of the frozen data of a recipient that is usually needed.
#[derive(Deserialize)]
pub(super) struct People {
    /// The IDs of the people with the address.
    pub people: Box<[Box<str>]>,
}

impl People {
    /// Reads the people from the frozen data of a recipient.
    pub fn of(context: &str) -> Result<Self> {
        Ok(serde_json::from_str(context)?)
    }
}

impl NotifiedAddress {
    /// Returns the same email with only those people for whom `keep` returns true.
    pub(super) fn with(&self, keep: impl Fn(&str) -> bool) -> NotifiedAddress {
        NotifiedAddress {
            phase: self.phase.clone(),
            address: self.address.clone(),
            people: self
                .people
                .iter()
                .filter(|person| keep(person))
                .cloned()
                .collect(),
            notice: self.notice.clone(),
            corrects: self.corrects.clone(),
            ..*self
        }
    }

    /// Returns whether the email arrived, will arrive, or may have arrived.
    pub(super) fn may_arrive(&self) -> bool {
        match self.state {
            EmailState::Accepted | EmailState::Waiting | EmailState::Frozen => true,
            EmailState::Failed | EmailState::Withheld => self.in_doubt,
            EmailState::Bounced => false,
        }
    }

    /// Returns whether the email says that the incident does not affect its people, and arrived or will arrive.
    pub(super) fn is_correction(&self) -> bool {
        let arrives = match self.state {
            EmailState::Accepted | EmailState::Waiting | EmailState::Frozen => true,
            EmailState::Bounced | EmailState::Failed | EmailState::Withheld => false,
        };
        self.corrects.is_some() && arrives
    }

    /// Returns the notice and the position in its frozen list.
    pub(super) fn place(&self) -> (Shared, i64) {
        (self.notice.clone(), self.ordinal)
    }
}

/// Returns the frozen data of these recipients as JSON, by their place.
pub(super) fn contexts(
    conn: &mut Conn,
    notified: &[&NotifiedAddress],
) -> Result<HashMap<(Shared, i64), String>> {
    let mut places: HashMap<Shared, Vec<i64>> = HashMap::new();
    for one in notified {
        places.entry(one.notice.clone()).or_default().push(one.ordinal);
    }
    let mut found = HashMap::with_capacity(notified.len());
    for (notice, ordinals) in places {
        for chunk in ordinals.chunks(500) {
            let rows: Vec<(i64, String)> = nr::table
                .filter(nr::notice_id.eq(&*notice))
                .filter(nr::ordinal.eq_any(chunk))
                .select((nr::ordinal, nr::context))
                .load(conn)?;
            found.extend(
                rows.into_iter()
                    .map(|(ordinal, context)| ((notice.clone(), ordinal), context)),
            );
        }
    }
    Ok(found)
}

/// The incidents whose notices count for an incident: itself and those that are merged into it, each with the difference between the
/// numbers of their episodes.
pub(super) struct Shifts(HashMap<IncidentId, i64>);

impl Shifts {
    /// Reads which incidents these are.
    pub fn of(conn: &mut Conn, incident: &IncidentId) -> Result<Self> {
        let counted = incident::lineage::counted_for(conn, incident)?;
        Ok(Shifts(
            counted.into_iter().map(|one| (one.id, one.shift)).collect(),
        ))
    }

    /// Returns the IDs of the incidents.
    pub fn ids(&self) -> Vec<&str> {
        self.0.keys().map(IncidentId::as_str).collect()
    }

    /// Returns the episode for which a notice counts. `episode` is the one of its own incident.
    pub fn episode(&self, of: &IncidentId, episode: i64) -> i64 {
        episode + self.0.get(of).copied().unwrap_or_default()
    }
}

/// Visits every email of the frozen lists, ordered by the time at which the notice was queued, and by position.
///
/// Both tables are read by position and joined here, so the speed does not depend on the query planner.
pub(super) fn each(conn: &mut Conn, incident: &IncidentId, visit: impl FnMut(NotifiedAddress)) -> Result<()> {
    each_of(conn, incident, |_| true, visit)
}

/// Visits the emails of those notices for which `wanted` returns true.
pub(super) fn each_of(
    conn: &mut Conn,
    incident: &IncidentId,
    wanted: impl Fn(&str) -> bool,
    mut visit: impl FnMut(NotifiedAddress),
) -> Result<()> {
    type Sent = (
        String,
        String,
        NoticeState,
        i64,
        (IncidentId, i64),
        Option<Timestamp>,
    );
    let shifts = Shifts::of(conn, incident)?;
    let mut notices: Vec<Sent> = n::table
        .filter(n::incident_id.eq_any(shifts.ids()))
        .filter(n::recipients.gt(0))
        .order((n::queued_at, n::id))
        .select((
            n::id,
            n::phase,
            n::state,
            n::recipients,
            (n::incident_id, n::episode),
            n::queued_at,
        ))
        .load(conn)?;
    notices.retain(|(id, ..)| wanted(id));
    let ids: Vec<&str> = notices.iter().map(|(id, ..)| id.as_str()).collect();
    let reminders = reminders::among(conn, &ids)?;
    let asking = templates::asking(conn, &ids)?;
    let corrections = corrections::among(conn, &ids)?;
    for (id, phase, state, recipients, (of, episode), queued_at) in notices {
        let episode = shifts.episode(&of, episode);
        let merged = of != *incident;
        let sent_at = queued_at.unwrap_or(Timestamp::from_micros(0));
        let reminder = reminders.contains(&id);
        let asks = asking.contains(&id);
        let corrects = corrections.get(&id).map(|wrong| Shared::from(wrong.to_string()));
        let (id, phase) = (Shared::from(id), Shared::from(phase));
        // The notice is frozen and not every recipient is in the queue yet. They will be notified, unless the
        // notice was stopped before.
        let being_sent = state.is_being_sent();
        for after in (0..recipients).step_by(STEP as usize) {
            // The positions of emails are before those of endpoints.
            let upto = (after + STEP).min(recipients);
            let mut made: HashMap<i64, (DeliveryState, i64)> = d::table
                .filter(d::notice_id.eq(&*id))
                .filter(d::ordinal.gt(after).and(d::ordinal.le(upto)))
                .select((d::ordinal, (d::state, d::ambiguous)))
                .load(conn)?
                .into_iter()
                .collect();
            if being_sent && made.values().any(|(state, _)| *state == DeliveryState::Stopped) {
                // The notice was resumed, and these deliveries will be sent too. They wait like those that do not exist yet.
                let again: Vec<i64> = d::table
                    .filter(d::notice_id.eq(&*id))
                    .filter(d::ordinal.gt(after).and(d::ordinal.le(upto)))
                    .filter(resumable())
                    .select(d::ordinal)
                    .load(conn)?;
                for ordinal in again {
                    made.remove(&ordinal);
                }
            }
            let frozen: Vec<(i64, String, String)> = on_backend!(&mut *conn, c => sql::<(BigInt, Text, Text)>(
                "SELECT ordinal, address, context FROM notice_recipients WHERE notice_id = ")
                .bind::<Text, _>(&*id)
                .sql(" AND ordinal > ").bind::<BigInt, _>(after)
                .sql(" AND ordinal <= ").bind::<BigInt, _>(upto)
                .sql(" ORDER BY ordinal")
                .load(c)?);
            for (ordinal, address, context) in frozen {
                let delivery = made.get(&ordinal);
                let state = match delivery.map(|(state, _)| *state) {
                    Some(DeliveryState::Sent) => EmailState::Accepted,
                    Some(DeliveryState::Pending) => EmailState::Waiting,
                    Some(DeliveryState::Bounced) => EmailState::Bounced,
                    Some(DeliveryState::Failed) => EmailState::Failed,
                    Some(DeliveryState::Suppressed | DeliveryState::Stopped) => EmailState::Withheld,
                    None if being_sent => EmailState::Frozen,
                    None => EmailState::Withheld,
                };
                let People { people } = People::of(&context)?;
                visit(NotifiedAddress {
                    phase: phase.clone(),
                    episode,
                    sent_at,
                    address: normal_address(&address).into(),
                    state,
                    people,
                    notice: id.clone(),
                    reminder,
                    asks,
                    corrects: corrects.clone(),
                    merged,
                    in_doubt: delivery.is_some_and(|(_, ambiguous)| *ambiguous > 0),
                    ordinal,
                });
            }
        }
    }
    Ok(())
}

/// What is known about the emails to one person, from all notices of the current episode.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Whether a mail server accepted an email, or it was written to the outbox.
    pub accepted: bool,
    /// Whether an email is queued or being sent.
    pub sending: bool,
    /// Whether the last email said that the incident does not affect the person. Emails before it do not count any more.
    pub corrected: bool,
    /// When the last notice was queued that told the person that everything is restored.
    pub(super) told_restored: Option<Timestamp>,
    /// When the last other notice was queued that says that the incident affects the person.
    pub(super) told_affected: Option<Timestamp>,
    /// The addresses with an email that bounced or failed, in their normal form.
    lost: Vec<Box<str>>,
    /// The addresses with an email that bounced, in their normal form.
    bounced: Vec<Box<str>>,
}

impl Reached {
    /// Returns whether an email to the person was accepted or is being sent.
    pub fn is_notified(&self) -> bool {
        self.accepted || self.sending
    }

    /// Notes that a notice of a phase said what is affected or restored.
    fn hear(&mut self, phase: &str, at: Timestamp) {
        let told = if phase == Phase::Recovery.as_str() {
            &mut self.told_restored
        } else if [Phase::Detection, Phase::Update]
            .iter()
            .any(|one| one.as_str() == phase)
        {
            &mut self.told_affected
        } else {
            return;
        };
        *told = (*told).max(Some(at));
    }

    /// Returns whether an email to this address bounced. Another email to it would bounce too.
    pub fn bounced_at(&self, address: &str) -> bool {
        self.bounced.iter().any(|lost| **lost == *normal_address(address))
    }

    /// Returns whether an email to this address bounced or failed.
    pub fn lost_at(&self, address: &str) -> bool {
        self.lost.iter().any(|lost| **lost == *normal_address(address))
    }
}

/// Collects what is known about the emails to each person in one episode.
struct ReachedPeople {
    episode: i64,
    people: HashMap<String, Reached>,
}

impl ReachedPeople {
    /// Begins with nobody, for the current episode of an incident.
    fn of(conn: &mut Conn, incident: &IncidentId) -> Result<Self> {
        Ok(ReachedPeople {
            episode: incident::episode_of(conn, incident)?,
            people: HashMap::new(),
        })
    }

    fn add(&mut self, notified: &NotifiedAddress) {
        if notified.episode != self.episode || notified.state == EmailState::Withheld {
            return;
        }
        for person in &notified.people {
            let of_person = match self.people.get_mut(&**person) {
                Some(of_person) => of_person,
                None => self.people.entry(person.to_string()).or_default(),
            };
            if notified.may_arrive() && notified.corrects.is_none() && !notified.reminder {
                of_person.hear(&notified.phase, notified.sent_at);
            }
            match notified.state {
                _ if notified.is_correction() => {
                    (of_person.accepted, of_person.sending) = (false, false);
                    (of_person.told_restored, of_person.told_affected) = (None, None);
                    of_person.corrected = true;
                }
                // A correction that did not arrive says nothing about the notices of the incident.
                _ if notified.corrects.is_some() => {}
                EmailState::Accepted => (of_person.accepted, of_person.corrected) = (true, false),
                EmailState::Waiting | EmailState::Frozen => {
                    (of_person.sending, of_person.corrected) = (true, false);
                }
                EmailState::Withheld => {}
                EmailState::Failed => of_person.lost.push(notified.address.clone()),
                EmailState::Bounced => {
                    of_person.lost.push(notified.address.clone());
                    of_person.bounced.push(notified.address.clone());
                }
            }
        }
    }
}

/// Returns the people to whom emails about the incident were sent in its current episode, by ID, with the
/// state of these emails.
pub(super) fn reached_people(conn: &mut Conn, incident: &IncidentId) -> Result<HashMap<String, Reached>> {
    let mut reached = ReachedPeople::of(conn, incident)?;
    each(conn, incident, |notified| reached.add(&notified))?;
    Ok(reached.people)
}

/// Returns the same people, and the emails that did not reach their people, oldest first. The emails are
/// visited once for both, and for `visit`.
pub(super) fn reached_and_missed(
    conn: &mut Conn,
    incident: &IncidentId,
    mut visit: impl FnMut(&NotifiedAddress),
) -> Result<(HashMap<String, Reached>, Vec<Missed>)> {
    let mut reached = ReachedPeople::of(conn, incident)?;
    let mut lost = LostEmails::of(conn, incident)?;
    each(conn, incident, |notified| {
        lost.add(&notified);
        reached.add(&notified);
        visit(&notified);
    })?;
    Ok((reached.people, lost.missed()))
}

/// An email that did not reach its people, because it was rejected, expired or bounced.
#[derive(Clone)]
pub struct Missed {
    /// The ID of the delivery.
    pub delivery: i64,
    /// The notice of the delivery.
    pub notice: NoticeId,
    /// The phase of the notice.
    pub phase: String,
    /// The address of the delivery.
    pub address: String,
    /// Whether the email was accepted and bounced later.
    pub bounced: bool,
    /// The IDs of the people with this address who were not reached by another email.
    pub people: Vec<String>,
    /// The names of the people when the notice was frozen, as one text.
    pub name: String,
}

#[derive(QueryableByName)]
struct LostRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    notice_id: NoticeId,
    #[diesel(sql_type = Text)]
    phase: String,
    #[diesel(sql_type = Text)]
    incident_id: IncidentId,
    #[diesel(sql_type = BigInt)]
    episode: i64,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Text)]
    state: DeliveryState,
    #[diesel(sql_type = Text)]
    context: String,
}

/// The emails that were rejected, expired or bounced, and who of their people another email reached.
struct LostEmails {
    /// The lost emails, oldest first.
    lost: Vec<(LostRow, RecipientContext)>,
    /// For each phase, the people of the lost emails, and the last episode in which another email of the phase
    /// reached them.
    reached: HashMap<String, HashMap<String, i64>>,
}

impl LostEmails {
    /// Reads the lost emails. Nobody is reached yet.
    fn of(conn: &mut Conn, incident: &IncidentId) -> Result<Self> {
        // The query repeats the condition of the index with the same text.
        let shifts = Shifts::of(conn, incident)?;
        let rows: Vec<LostRow> = diesel::sql_query(format!(
            "SELECT d.id, d.notice_id, n.phase, n.incident_id, n.episode, d.address, d.state, nr.context \
             FROM notices n JOIN deliveries d ON d.notice_id = n.id AND d.channel = 'email' \
                  AND d.state IN ('failed', 'bounced') AND d.state NOT IN ('pending', 'sent') \
             JOIN notice_recipients nr ON nr.notice_id = d.notice_id AND nr.ordinal = d.ordinal \
             WHERE n.incident_id IN {} AND NOT EXISTS (SELECT 1 FROM answer_reminders r WHERE r.notice_id = n.id) \
             ORDER BY n.created_at, d.id",
            incident::lineage::IDS
        ))
        .bind::<Text, _>(incident.as_str())
        .load(conn)?;
        let mut lost = Vec::with_capacity(rows.len());
        let mut reached: HashMap<String, HashMap<String, i64>> = HashMap::new();
        for mut row in rows {
            row.episode = shifts.episode(&row.incident_id, row.episode);
            let context: RecipientContext = serde_json::from_str(&row.context)?;
            let of_phase = reached.entry(row.phase.clone()).or_default();
            of_phase.extend(context.people.iter().map(|person| (person.clone(), 0)));
            lost.push((row, context));
        }
        Ok(LostEmails { lost, reached })
    }

    /// Notes an email of the incident. It reached its people if it was delivered or is being sent.
    fn add(&mut self, notified: &NotifiedAddress) {
        // A reminder does not say what an update said.
        if notified.reminder {
            return;
        }
        match notified.state {
            EmailState::Accepted | EmailState::Waiting => {}
            EmailState::Frozen | EmailState::Bounced | EmailState::Failed | EmailState::Withheld => return,
        }
        let Some(of_phase) = self.reached.get_mut(&*notified.phase) else {
            return;
        };
        for person in &notified.people {
            if let Some(reached) = of_phase.get_mut(&**person) {
                *reached = notified.episode.max(*reached);
            }
        }
    }

    /// Returns the emails that did not reach their people. Each contains only the people whom no other email of
    /// the same phase reached, in the same episode or a later one.
    fn missed(self) -> Vec<Missed> {
        let LostEmails { lost, reached } = self;
        let mut missed = Vec::new();
        for (row, context) in lost {
            let is_reached = |person: &String| {
                let of_phase = reached.get(&row.phase);
                of_phase
                    .and_then(|people| people.get(person))
                    .is_some_and(|episode| *episode >= row.episode)
            };
            let people: Vec<String> = context
                .people
                .into_iter()
                .filter(|person| !is_reached(person))
                .collect();
            if !people.is_empty() {
                missed.push(Missed {
                    delivery: row.id,
                    notice: row.notice_id,
                    phase: row.phase,
                    address: row.address,
                    bounced: row.state == DeliveryState::Bounced,
                    people,
                    name: context.name,
                });
            }
        }
        missed
    }
}
