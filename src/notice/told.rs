//! Who was told what about an incident: the basis of "nobody twice" and of "who heard the beginning hears the end".

use std::collections::{HashMap, HashSet};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Deserialize;

use super::compose::RecipientContext;
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::shared::Shared;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{deliveries as d, notice_recipients as nr, notices as n};
use crate::directory::normal_address;
use crate::incident;

/// Places of a frozen list that are read at a time: nobody holds what a million mails say.
const STEP: i64 = 10_000;

/// What became of a mail that told somebody, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// Their server took it.
    Accepted,
    /// In the queue.
    Waiting,
    /// Frozen, and not in the queue yet.
    Frozen,
    /// Accepted first, and bounced later.
    Bounced,
    /// Refused, or given up.
    Failed,
}

/// Somebody whom a notice of the incident reached, or is on its way to.
pub(super) struct Told {
    pub phase: Shared,
    /// The episode of the incident in which it was sent.
    pub episode: i64,
    /// As it is compared.
    pub address: Box<str>,
    pub stands: Stands,
    /// Ids of the people behind the address.
    pub people: Box<[Box<str>]>,
    notice: Shared,
    ordinal: i64,
}

/// All that is read of most of what is frozen.
#[derive(Deserialize)]
struct People {
    people: Box<[Box<str>]>,
}

impl Told {
    /// What was frozen for them.
    pub(super) fn context(&self, conn: &mut Conn) -> Result<RecipientContext> {
        let context: String = nr::table
            .find((&*self.notice, self.ordinal))
            .select(nr::context)
            .first(conn)?;
        Ok(serde_json::from_str(&context)?)
    }
}

/// Goes through every mail that was sent, is being sent, or was tried, by notice and address. Stopped and suppressed mails
/// are left out: nobody tried to deliver them.
/// Both tables are read by the place in the list, and put together here: whatever a planner knows of them, it cannot go
/// wrong.
fn each(conn: &mut Conn, incident: &IncidentId, mut tell: impl FnMut(Told)) -> Result<()> {
    let notices: Vec<(String, String, String, i64, i64)> = n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::recipients.gt(0))
        .order((n::created_at, n::id))
        .select((n::id, n::phase, n::state, n::recipients, n::episode))
        .load(conn)?;
    for (id, phase, state, recipients, episode) in notices {
        let (id, phase) = (Shared::from(id), Shared::from(phase));
        // Frozen, not yet queued one by one: it will be told, unless it was stopped before.
        let on_its_way = matches!(state.as_str(), "queued" | "sending");
        for after in (0..recipients).step_by(STEP as usize) {
            // Mails come before what goes to endpoints.
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
                    ordinal,
                });
            }
        }
    }
    Ok(())
}

/// Everybody told so far in any episode, by notice and address. A mail that was refused told nobody anything.
pub(super) fn told(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Told>> {
    let mut all = Vec::new();
    each(conn, incident, |told| {
        if told.stands != Stands::Failed {
            all.push(told);
        }
    })?;
    Ok(all)
}

/// What is known of the mails about an incident to one person, over all notices of the present episode.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// A mail server accepted one, or it was written to the outbox.
    pub accepted: bool,
    /// One is queued or being sent.
    pub sending: bool,
    /// Where one bounced or was refused, as addresses are compared.
    lost: Vec<Box<str>>,
    /// Where one bounced.
    bounced: Vec<Box<str>>,
}

impl Reached {
    /// Whether a mail was accepted for them, or is being sent.
    pub fn told(&self) -> bool {
        self.accepted || self.sending
    }

    /// Whether a mail to this address bounced: sending it there again is of no use.
    pub fn bounced_at(&self, address: &str) -> bool {
        self.bounced.iter().any(|lost| **lost == *normal_address(address))
    }

    /// Whether a mail to this address bounced or was refused.
    pub fn lost_at(&self, address: &str) -> bool {
        self.lost.iter().any(|lost| **lost == *normal_address(address))
    }
}

/// The people to whom mails about the incident were sent in its present episode, by id, with what became of these mails.
///
/// # Errors
/// `NotFound`.
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

/// The ids of the people who were notified of the incident in its present episode. Whoever has only mails that bounced was
/// not.
///
/// # Errors
/// `NotFound`.
pub fn told_people(conn: &mut Conn, incident: &IncidentId) -> Result<HashSet<String>> {
    let reached = reached_people(conn, incident)?;
    let told = reached.into_iter().filter(|(_, reached)| reached.told());
    Ok(told.map(|(person, _)| person).collect())
}

/// A mail that did not reach its people: refused, given up, or come back.
pub struct Missed {
    /// The delivery.
    pub delivery: i64,
    /// Its notice.
    pub notice: NoticeId,
    /// What the notice is about.
    pub phase: String,
    /// Where it went.
    pub address: String,
    /// Whether it was accepted first.
    pub bounced: bool,
    /// The people behind the address, by id, with their names as they were then.
    pub people: Vec<String>,
    /// Their names, together.
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

/// The mails that did not reach their people, oldest first, each with those of its people to whom no other mail of the
/// same phase was delivered, or is being sent, in the same episode or a later one.
///
/// # Errors
/// What the database answers.
pub fn missed(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Missed>> {
    // The condition of the index stands here too, word for word.
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
    // The people that the lost mails were for, and the last episode in which another mail of the phase reached them.
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
