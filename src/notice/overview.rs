//! Who an incident affects now, who of them was notified, and who was not reached. All of it is read once, from
//! one consistent view of the database. The API and the pages use the same computation, so that their numbers
//! agree.

use std::collections::{HashMap, HashSet};

use super::asked::{AskedPeople, Asking};
use super::counts::Partition;
use super::notified::{self, Missed, Reached};
use super::standing::Standing;
use crate::audience::{self, Addressee, At, Audience, Rule};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::Conn;

/// The audience of an incident by the default rule, and what is known about the emails to people.
pub struct Overview {
    /// The people whom the incident affects, with the reasons.
    pub audience: Audience,
    /// The people to whom emails about the incident were sent in its current episode, by ID, with the state of
    /// these emails. They need not be in the audience.
    pub reached: HashMap<String, Reached>,
}

/// What is known about the emails of an incident, beside the state of each person.
pub struct Emails {
    /// The emails that did not reach their people, oldest first.
    pub missed: Vec<Missed>,
    /// The people who were asked for an answer.
    pub asked: AskedPeople,
}

impl Overview {
    /// Reads the audience at a time, and who was notified.
    ///
    /// # Errors
    /// `NotFound` if the incident does not exist.
    pub fn read(conn: &mut Conn, incident: &IncidentId, at: At) -> Result<Overview> {
        Ok(Overview {
            audience: audience::resolve_by(conn, incident, &Rule::default(), at)?,
            reached: notified::reached_people(conn, incident)?,
        })
    }

    /// Reads the current audience and all that is known about the emails. The frozen lists of the notices are read
    /// once.
    ///
    /// # Errors
    /// `NotFound` if the incident does not exist.
    pub fn read_with_emails(conn: &mut Conn, incident: &IncidentId) -> Result<(Overview, Emails)> {
        let audience = audience::resolve(conn, incident)?;
        let mut asking = Asking::of(conn, incident)?;
        let (reached, missed) =
            notified::reached_and_missed(conn, incident, |notified| asking.add(notified))?;
        let asked = asking.people;
        Ok((Overview { audience, reached }, Emails { missed, asked }))
    }

    /// Returns whether a person was notified in the current episode. A person whose emails all bounced was not
    /// notified.
    pub fn is_notified(&self, person: &str) -> bool {
        self.reached.get(person).is_some_and(Reached::is_notified)
    }

    /// Returns the number of people who were notified by mistake, got a correction, and are not in the audience now.
    pub fn corrected(&self) -> usize {
        let people: HashSet<&str> = self
            .audience
            .people
            .iter()
            .map(|one| one.person.id.as_str())
            .collect();
        let corrected = self.reached.iter().filter(|(_, reached)| reached.corrected);
        corrected.filter(|(id, _)| !people.contains(id.as_str())).count()
    }

    /// Returns whether an email to the current address of a person bounced. Another email to it would bounce
    /// too.
    pub fn bounced(&self, addressee: &Addressee) -> bool {
        let reached = self.reached.get(&addressee.person.id);
        reached.is_some_and(|reached| reached.bounced_at(&addressee.person.email))
    }

    /// Returns whether a person of the audience was notified, or why not.
    pub fn standing(&self, addressee: &Addressee) -> Standing {
        Standing::of(addressee, self.reached.get(&addressee.person.id))
    }

    /// Returns the number of people of the audience for each standing.
    pub fn partition(&self) -> Partition {
        let mut parts = Partition::default();
        for addressee in &self.audience.people {
            parts.people += 1;
            let part = match self.standing(addressee) {
                Standing::Accepted => &mut parts.accepted,
                Standing::Sending => &mut parts.sending,
                Standing::Failed => &mut parts.failed,
                Standing::Unreachable => &mut parts.unreachable,
                Standing::NotNotified => &mut parts.not_notified,
            };
            *part += 1;
        }
        parts
    }
}
