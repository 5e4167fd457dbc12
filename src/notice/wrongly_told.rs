//! Who got a notice although the incident does not affect them, and what the correction of a notice undoes.
//!
//! A correction goes to everybody who may have got the notice. Whoever surely did not get it does not get the correction. Emails
//! from before a correction do not count any more for the people that it reached: these people are like people who were never
//! notified. If the incident affects them again, they are notified like anybody.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::compose::{self, Content, RecipientContext, Urls};
use super::notified::{EmailState, NotifiedAddress, each};
use super::recipients::Recipients;
use super::row::Row;
use super::templates;
use crate::audience::{self, Addressee, At, Rule};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::text::undirected;
use crate::db::Conn;
use crate::incident::lineage;
use crate::notice::template::Voice;

/// All emails in the frozen lists of an incident.
#[derive(Default)]
pub(super) struct History {
    /// The emails that notified their people or will do so, and those that bounced, by the time of their notice.
    pub notified: Vec<NotifiedAddress>,
    /// The emails that failed, or were stopped or suppressed.
    pub others: Vec<NotifiedAddress>,
}

impl History {
    /// Reads the history of an incident, in all episodes.
    pub fn read(conn: &mut Conn, incident: &IncidentId) -> Result<History> {
        let mut history = History::default();
        each(conn, incident, |email| match email.state {
            EmailState::Accepted | EmailState::Waiting | EmailState::Frozen | EmailState::Bounced => {
                history.notified.push(email);
            }
            EmailState::Failed | EmailState::Withheld => history.others.push(email),
        })?;
        Ok(history)
    }

    /// Returns the emails that notified their people of the incident and were not corrected afterwards.
    pub fn counting(&self) -> Cow<'_, [NotifiedAddress]> {
        let mut corrected: HashMap<&str, usize> = HashMap::new();
        for (index, email) in self.notified.iter().enumerate() {
            if email.is_correction() {
                corrected.extend(email.people.iter().map(|person| (&**person, index)));
            }
        }
        if self.notified.iter().all(|email| email.corrects.is_none()) {
            return Cow::Borrowed(&self.notified);
        }
        let counting = self
            .notified
            .iter()
            .enumerate()
            .filter(|(_, email)| email.corrects.is_none())
            .map(|(index, email)| email.with(|person| corrected.get(person).is_none_or(|last| *last < index)))
            .filter(|email| !email.people.is_empty());
        Cow::Owned(counting.collect())
    }

    /// Returns the emails of a correction of this notice.
    pub fn corrections_of<'a>(&'a self, wrong: &'a Row) -> impl Iterator<Item = &'a NotifiedAddress> {
        self.notified
            .iter()
            .filter(|email| email.corrects.as_deref() == Some(wrong.id.as_str()))
    }

    /// Returns the people in the frozen lists of the notices of an episode. Reminders and corrections do not count.
    pub fn listed(&self, episode: i64) -> HashSet<&str> {
        self.all()
            .filter(|email| email.episode == episode && !email.reminder && email.corrects.is_none())
            .flat_map(|email| email.people.iter().map(|person| &**person))
            .collect()
    }

    /// Returns the people in all frozen lists.
    pub fn ever_listed(&self) -> HashSet<&str> {
        self.all()
            .flat_map(|email| email.people.iter().map(|person| &**person))
            .collect()
    }

    fn all(&self) -> impl Iterator<Item = &NotifiedAddress> {
        self.notified.iter().chain(&self.others)
    }

    /// Returns the emails of a notice that may have arrived (a mail server can lose the connection after it had the whole email), each with only those of its people whom the incident does not
    /// affect now. `affected` is the audience by the default rule.
    pub fn wrongly_told(
        &self,
        conn: &mut Conn,
        wrong: &Row,
        affected: &[Addressee],
    ) -> Result<Vec<NotifiedAddress>> {
        let rule = wrong.rule()?;
        // The notice may have been for roles that the default rule leaves out. These people are affected too.
        let by_rule = match rule == Rule::default() {
            true => Vec::new(),
            // If the incident of the notice was merged since, the other one decides who is affected.
            false => {
                let incident = lineage::root(conn, &wrong.incident_id)?;
                audience::resolve_by(conn, &incident, &rule, At::Now)?.people
            }
        };
        let affected: HashSet<&str> = affected
            .iter()
            .chain(&by_rule)
            .map(|one| one.person.id.as_str())
            .collect();
        Ok(self
            .all()
            .filter(|email| *email.notice == *wrong.id.as_str() && email.may_arrive())
            .map(|email| email.with(|person| !affected.contains(person)))
            .filter(|email| !email.people.is_empty())
            .collect())
    }
}

/// Adds the subject of the wrong email to each recipient of a correction, as the recipient saw it.
///
/// # Errors
/// An error of the database, or `Internal` if the frozen data is not valid.
pub(super) fn quote_subjects(conn: &mut Conn, wrong: &Row, recipients: &mut Recipients) -> Result<()> {
    let content: Content = serde_json::from_str(wrong.frozen.as_deref().unwrap_or_default())?;
    let optional = content.phase.optional();
    let voice = Voice::current();
    let stored = templates::load(
        conn,
        content.phase,
        wrong.template_id.as_deref().unwrap_or_default(),
    )?;
    let template = match stored.compile() {
        Ok(template) => template,
        // A template of an earlier version may not be readable any more. Then the correction names only the time.
        Err(Error::Invalid { .. }) => return Ok(()),
        Err(other) => return Err(other),
    };
    recipients.change(
        |_| Ok(true),
        |own: &mut RecipientContext| {
            let context = compose::context(&content, own, optional, Urls::without_token(""), &voice);
            let subject = template.subject(&context).ok();
            own.wrong_subject = subject.map(|subject| undirected(&subject).into_owned());
            Ok(())
        },
    )
}
