//! Who was notified of what about an incident. The rules "nobody is notified twice" and "a person who was
//! notified of the beginning is notified of the end" use this data.

use std::collections::{HashMap, HashSet};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Deserialize;

use super::compose::RecipientContext;
use super::reminders;
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::shared::Shared;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{deliveries as d, notice_recipients as nr, notices as n};
use crate::directory::normal_address;
use crate::incident;

/// The number of positions of a frozen list that are read at once, so that the data of a million emails is
/// never in memory.
const STEP: i64 = 10_000;

/// The state of an email that notified a person or will notify a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
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
}

/// An address that a notice of the incident reached or will reach.
pub(super) struct Told {
    pub phase: Shared,
    /// The episode of the incident in which the notice was sent.
    pub episode: i64,
    /// The address in its normal form.
    pub address: Box<str>,
    pub stands: Stands,
    /// The IDs of the people with this address.
    pub people: Box<[Box<str>]>,
    pub notice: Shared,
    /// Whether the notice was only for people who had not answered. It stands for no other notice of its phase.
    pub reminder: bool,
    ordinal: i64,
}

/// The only part of the frozen data that is usually needed.
#[derive(Deserialize)]
struct People {
    people: Box<[Box<str>]>,
}

impl Told {
    /// Returns the same email with only those people for whom `keep` returns true.
    pub(super) fn with(&self, keep: impl Fn(&str) -> bool) -> Told {
        Told {
            phase: self.phase.clone(),
            address: self.address.clone(),
            people: self
                .people
                .iter()
                .filter(|person| keep(person))
                .cloned()
                .collect(),
            notice: self.notice.clone(),
            ..*self
        }
    }

    /// Returns the frozen data of this recipient.
    pub(super) fn context(&self, conn: &mut Conn) -> Result<RecipientContext> {
        let context: String = nr::table
            .find((&*self.notice, self.ordinal))
            .select(nr::context)
            .first(conn)?;
        Ok(serde_json::from_str(&context)?)
    }
}

/// Visits every email that was sent, is being sent, or was tried, ordered by notice and position. Stopped and
/// suppressed emails are left out, because no attempt was made.
///
/// Both tables are read by position and joined here, so the speed does not depend on the query planner.
pub(super) fn each(conn: &mut Conn, incident: &IncidentId, mut tell: impl FnMut(Told)) -> Result<()> {
    let notices: Vec<(String, String, String, i64, i64)> = n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::recipients.gt(0))
        .order((n::created_at, n::id))
        .select((n::id, n::phase, n::state, n::recipients, n::episode))
        .load(conn)?;
    let ids: Vec<&str> = notices.iter().map(|(id, ..)| id.as_str()).collect();
    let reminders = reminders::among(conn, &ids)?;
    for (id, phase, state, recipients, episode) in notices {
        let reminder = reminders.contains(&id);
        let (id, phase) = (Shared::from(id), Shared::from(phase));
        // The notice is frozen and not every recipient is in the queue yet. They will be notified, unless the
        // notice was stopped before.
        let on_its_way = matches!(state.as_str(), "queued" | "sending");
        for after in (0..recipients).step_by(STEP as usize) {
            // The positions of emails are before those of endpoints.
            let upto = (after + STEP).min(recipients);
            let made: HashMap<i64, String> = d::table
                .filter(d::notice_id.eq(&*id))
                .filter(d::ordinal.gt(after).and(d::ordinal.le(upto)))
                .select((d::ordinal, d::state))
                .load(conn)?
                .into_iter()
                .collect();
            let frozen: Vec<(i64, String, String)> = on_backend!(&mut *conn, c => sql::<(BigInt, Text, Text)>(
                "SELECT ordinal, address, context FROM notice_recipients WHERE notice_id = ")
                .bind::<Text, _>(&*id)
                .sql(" AND ordinal > ").bind::<BigInt, _>(after)
                .sql(" AND ordinal <= ").bind::<BigInt, _>(upto)
                .sql(" ORDER BY ordinal")
                .load(c)?);
            for (ordinal, address, context) in frozen {
                let stands = match made.get(&ordinal).map(String::as_str) {
                    Some("sent") => Stands::Accepted,
                    Some("pending") => Stands::Waiting,
                    Some("bounced") => Stands::Bounced,
                    Some("failed") => Stands::Failed,
                    None if on_its_way => Stands::Frozen,
                    _ => continue,
                };
                let People { people } = serde_json::from_str(&context)?;
                tell(Told {
                    phase: phase.clone(),
                    episode,
                    address: normal_address(&address).into(),
                    stands,
                    people,
                    notice: id.clone(),
                    reminder,
                    ordinal,
                });
            }
        }
    }
    Ok(())
}

/// Returns every address that was notified in any episode, ordered by notice and position. A rejected email
/// notified nobody.
pub(super) fn told(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Told>> {
    let mut all = Vec::new();
    each(conn, incident, |told| {
        if told.stands != Stands::Failed {
            all.push(told);
        }
    })?;
    Ok(all)
}

/// What is known about the emails to one person, from all notices of the current episode.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Whether a mail server accepted an email, or it was written to the outbox.
    pub accepted: bool,
    /// Whether an email is queued or being sent.
    pub sending: bool,
    /// The addresses with an email that bounced or failed, in their normal form.
    lost: Vec<Box<str>>,
    /// The addresses with an email that bounced, in their normal form.
    bounced: Vec<Box<str>>,
}

impl Reached {
    /// Returns whether an email to the person was accepted or is being sent.
    pub fn told(&self) -> bool {
        self.accepted || self.sending
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

/// Returns the people to whom emails about the incident were sent in its current episode, by ID, with the
/// state of these emails.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn reached_people(conn: &mut Conn, incident: &IncidentId) -> Result<HashMap<String, Reached>> {
    let present = incident::episode_of(conn, incident)?;
    let mut reached: HashMap<String, Reached> = HashMap::new();
    each(conn, incident, |told| {
        if told.episode != present {
            return;
        }
        for person in told.people {
            let of_person = reached.entry(person.into()).or_default();
            match told.stands {
                Stands::Accepted => of_person.accepted = true,
                Stands::Waiting | Stands::Frozen => of_person.sending = true,
                Stands::Failed => of_person.lost.push(told.address.clone()),
                Stands::Bounced => {
                    of_person.lost.push(told.address.clone());
                    of_person.bounced.push(told.address.clone());
                }
            }
        }
    })?;
    Ok(reached)
}

/// Returns the IDs of the people who were notified of the incident in its current episode. A person whose
/// emails all bounced was not notified.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn told_people(conn: &mut Conn, incident: &IncidentId) -> Result<HashSet<String>> {
    let reached = reached_people(conn, incident)?;
    let told = reached.into_iter().filter(|(_, reached)| reached.told());
    Ok(told.map(|(person, _)| person).collect())
}

/// An email that did not reach its people, because it was rejected, expired or bounced.
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
    #[diesel(sql_type = BigInt)]
    episode: i64,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Text)]
    context: String,
}

/// Returns the emails that did not reach their people, oldest first. Each contains only the people to whom no
/// other email of the same phase was delivered or is being sent, in the same episode or a later one.
///
/// # Errors
/// An error of the database.
pub fn missed(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Missed>> {
    // The query repeats the condition of the index with the same text.
    let rows: Vec<LostRow> = diesel::sql_query(
        "SELECT d.id, d.notice_id, n.phase, n.episode, d.address, d.state, nr.context \
         FROM notices n JOIN deliveries d ON d.notice_id = n.id AND d.channel = 'email' \
              AND d.state IN ('failed', 'bounced') AND d.state NOT IN ('pending', 'sent') \
         JOIN notice_recipients nr ON nr.notice_id = d.notice_id AND nr.ordinal = d.ordinal \
         WHERE n.incident_id = $1 ORDER BY n.created_at, d.id",
    )
    .bind::<Text, _>(incident.as_str())
    .load(conn)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut lost = Vec::with_capacity(rows.len());
    // For each phase, the people of the lost emails, and the last episode in which another email of the phase
    // reached them.
    let mut reached: HashMap<String, HashMap<String, i64>> = HashMap::new();
    for row in rows {
        let context: RecipientContext = serde_json::from_str(&row.context)?;
        let of_phase = reached.entry(row.phase.clone()).or_default();
        of_phase.extend(context.people.iter().map(|person| (person.clone(), 0)));
        lost.push((row, context));
    }
    each(conn, incident, |told| {
        if matches!(told.stands, Stands::Accepted | Stands::Waiting)
            && let Some(of_phase) = reached.get_mut(&*told.phase)
        {
            for person in &told.people {
                if let Some(reached) = of_phase.get_mut(&**person) {
                    *reached = told.episode.max(*reached);
                }
            }
        }
    })?;
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
                bounced: row.state == "bounced",
                people,
                name: context.name,
            });
        }
    }
    Ok(missed)
}
