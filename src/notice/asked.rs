//! Who was asked whether the service works for them, who has not answered, and the notice that reminds these people.
//!
//! A reminder is for those who have not answered when it is sent, not when it was drafted. So nobody who answered in between
//! gets it. The digest of its preview covers the list, as of every notice.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use serde_json::json;

use super::draft::{NewNotice, check_new, new_row};
use super::notified::{EmailState, NotifiedAddress, each};
use super::reminders;
use super::row::Row;
use super::state::insert_draft;
use super::suggested::{self, REMINDER};
use super::view::{Notice, get};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::language::Language;
use crate::base::shared::Shared;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::answers as a;
use crate::incident;
use crate::notice::template::Phase;

/// The last email that asked a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The address of the email.
    pub address: Box<str>,
    /// The notice of the email.
    pub notice: Shared,
}

/// Returns the time from which answers count: the last reopening of the incident. An answer from before says nothing about the
/// problem that returned.
///
/// # Errors
/// An error of the database.
pub fn counted_from(conn: &mut Conn, incident: &IncidentId) -> Result<Timestamp> {
    let last = incident::reopenings(conn, incident)?.pop();
    Ok(last.map_or(Timestamp::from_micros(i64::MIN), |last| last.reopened_at))
}

/// The people who were asked, by ID, with the last email that asked them.
pub type AskedPeople = HashMap<String, Asked>;

/// Collects the people who were asked, from the emails of an incident.
pub(super) struct Asking {
    episode: i64,
    pub people: AskedPeople,
}

impl Asking {
    /// Begins with nobody, for the current episode of the incident.
    pub fn of(conn: &mut Conn, incident: &IncidentId) -> Result<Self> {
        Ok(Asking {
            episode: incident::episode_of(conn, incident)?,
            people: HashMap::new(),
        })
    }

    /// Adds the people of an email, if it asked them.
    pub fn add(&mut self, notified: &NotifiedAddress) {
        if notified.is_correction() {
            for person in &notified.people {
                self.people.remove(&**person);
            }
            return;
        }
        if !notified.asked(self.episode) {
            return;
        }
        for person in &notified.people {
            let last = Asked {
                address: notified.address.clone(),
                notice: notified.notice.clone(),
            };
            self.people.insert(person.to_string(), last);
        }
    }
}

/// Returns the people to whom an email with the links for answers was delivered to the mail server, by ID, with the last of these
/// emails. An email that failed or bounced asked nobody, and one from before the incident was reopened neither.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn asked(conn: &mut Conn, incident: &IncidentId) -> Result<AskedPeople> {
    let mut asking = Asking::of(conn, incident)?;
    each(conn, incident, |notified| asking.add(&notified))?;
    Ok(asking.people)
}

/// Returns the IDs of the people who answered, or wrote a reply, since the incident was opened or reopened.
///
/// # Errors
/// An error of the database.
pub fn answered(conn: &mut Conn, incident: &IncidentId) -> Result<HashSet<String>> {
    let from = counted_from(conn, incident)?;
    let incidents = incident::lineage::ids_with_merged(conn, incident)?;
    let people: Vec<String> = a::table
        .filter(a::incident_id.eq_any(incidents))
        .filter(a::at.ge(from))
        .select(a::person_id)
        .distinct()
        .load(conn)?;
    Ok(people.into_iter().collect())
}

impl NotifiedAddress {
    /// Returns whether the email asked its people in this episode.
    fn asked(&self, episode: i64) -> bool {
        self.episode == episode
            && self.asks
            && self.state == EmailState::Accepted
            && Phase::parse(&self.phase).is_ok_and(Phase::asks)
    }
}

/// Returns the emails that asked somebody, each with only those of its people who have not answered. `None` if the notice is not
/// a reminder.
pub(super) fn unanswered(
    conn: &mut Conn,
    row: &Row,
    notified: &[NotifiedAddress],
) -> Result<Option<Vec<NotifiedAddress>>> {
    if !reminders::is_one(conn, &row.id)? {
        return Ok(None);
    }
    let episode = incident::episode_of(conn, &row.incident_id)?;
    let mut left_out = answered(conn, &row.incident_id)?;
    // Whoever has got another reminder since this one was drafted is not asked twice.
    let others = reminders::sent_since(conn, &row.incident_id, row.created_at)?;
    let reminded = notified
        .iter()
        .filter(|notified| others.contains(&*notified.notice) && notified.state != EmailState::Bounced);
    left_out.extend(reminded.flat_map(|notified| notified.people.iter().map(|person| person.to_string())));
    let open = notified
        .iter()
        .filter(|notified| notified.asked(episode))
        .map(|notified| notified.with(|person| !left_out.contains(person)))
        .filter(|notified| !notified.people.is_empty());
    Ok(Some(open.collect()))
}

/// Drafts an update that is only for people who were asked and have not answered. Its message is in every language, and the operator can
/// change it before it is sent. `own` is the language of the message itself.
///
/// # Errors
/// `NotFound` if the incident does not exist, `Invalid` if there are no such people.
pub fn remind(tx: &mut Tx<'_>, incident: &IncidentId, own: Language) -> Result<Notice> {
    let asked = asked(tx.conn, incident)?;
    let answered = answered(tx.conn, incident)?;
    let open = asked.keys().filter(|person| !answered.contains(*person)).count();
    if open == 0 {
        let why = match asked.is_empty() {
            true => "nobody was asked for an answer: no email with the links was delivered",
            false => "everybody who was asked has answered",
        };
        return Err(Error::invalid("", why));
    }
    let new = NewNotice {
        phase: Phase::Update,
        acknowledge_impaired: false,
        translations: suggested::translations(REMINDER, own)?,
        message: suggested::text(REMINDER, own)?.to_owned(),
        subject: None,
        headline: None,
        next_update_due_at: None,
        customer_action: None,
        audience: None,
        corrects: None,
    };
    check_new(tx.conn, &new)?;
    let author = tx.actor.id().to_owned();
    let row = new_row(tx.conn, &author, tx.now, incident, &new)?;
    insert_draft(tx, &row)?;
    reminders::mark(tx, &row.id)?;
    tx.record(
        Event::new(Action::AnswersReminded, "notice", row.id.as_str())
            .incident(incident)
            .after(json!({"people": open})),
    );
    get(tx.conn, &row.id)
}
