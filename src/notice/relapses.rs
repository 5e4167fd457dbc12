//! Who was told that everything of theirs is restored, and whose resources became impaired again after that.
//!
//! A person hears it once. After a relapse of a resource of the person, what the person heard before does not count any more: the next
//! detection reaches the person again, and so does the next recovery, as soon as everything is restored again.

use std::borrow::Cow;
use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::notified::NotifiedAddress;
use crate::audience::{Addressee, Progress, Reasons};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::{Conn, FixedText};
use crate::notice::template::Phase;

/// When resources became impaired.
#[derive(Debug, Default)]
pub(super) struct Impaired(HashMap<i64, Timestamp>);

#[derive(QueryableByName)]
struct ImpairedRow {
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = BigInt)]
    at: Timestamp,
}

impl Impaired {
    /// Reads when each resource of an incident last became impaired after a time. Without a time, nothing is read.
    pub fn since(conn: &mut Conn, incident: &IncidentId, since: Option<Timestamp>) -> Result<Impaired> {
        let Some(since) = since else {
            return Ok(Impaired::default());
        };
        let rows: Vec<ImpairedRow> = diesel::sql_query(
            "SELECT resource_key AS key, MAX(recorded_at) AS at FROM recovery_changes \
             WHERE incident_id = $1 AND state = 'impaired' AND recorded_at > $2 GROUP BY resource_key",
        )
        .bind::<Text, _>(incident.as_str())
        .bind::<BigInt, _>(since)
        .fixed()
        .load(conn)?;
        Ok(Impaired(rows.into_iter().map(|row| (row.key, row.at)).collect()))
    }

    /// Returns whether a resource of somebody with these reasons became impaired after a time.
    pub fn is_any_after(&self, reasons: &Reasons, at: Timestamp) -> bool {
        !self.0.is_empty() && reasons.resource_keys().any(|key| self.is_after(key, at))
    }

    /// Returns whether a resource became impaired after a time.
    pub fn is_after(&self, key: i64, at: Timestamp) -> bool {
        self.0.get(&key).is_some_and(|impaired| *impaired > at)
    }
}

/// The people who were told in one episode that everything of theirs is restored.
#[derive(Default)]
pub(super) struct ToldRestored {
    /// When the last notice that said it was queued, for each person whose resources became impaired again after it.
    relapsed: HashMap<String, Timestamp>,
}

impl ToldRestored {
    /// Finds out who was told by the emails of an episode, and who of the affected people has relapsed since.
    pub fn of(
        conn: &mut Conn,
        incident: &IncidentId,
        episode: i64,
        emails: &[NotifiedAddress],
        affected: &[Addressee],
    ) -> Result<ToldRestored> {
        let mut told: HashMap<&str, Timestamp> = HashMap::new();
        let recoveries = emails.iter().filter(|email| {
            *email.phase == *Phase::Recovery.as_str() && email.episode == episode && email.may_arrive()
        });
        for email in recoveries {
            for person in &email.people {
                let last = told.entry(person).or_insert(email.sent_at);
                *last = (*last).max(email.sent_at);
            }
        }
        let impaired = Impaired::since(conn, incident, told.values().min().copied())?;
        let relapsed = affected.iter().filter_map(|one| {
            let at = *told.get(one.person.id.as_str())?;
            impaired
                .is_any_after(&one.reasons, at)
                .then(|| (one.person.id.clone(), at))
        });
        Ok(ToldRestored {
            relapsed: relapsed.collect(),
        })
    }

    /// Returns the emails with only those people for whom they still count when a notice of a phase is planned.
    pub fn counting<'a>(&self, phase: Phase, emails: &'a [NotifiedAddress]) -> Cow<'a, [NotifiedAddress]> {
        if self.relapsed.is_empty() || !matches!(phase, Phase::Detection | Phase::Recovery) {
            return Cow::Borrowed(emails);
        }
        let counts = |email: &NotifiedAddress, person: &str| match self.relapsed.get(person) {
            // What was sent after the person was told that everything is restored can be about the relapse.
            Some(told) => email.sent_at > *told,
            None => true,
        };
        Cow::Owned(
            emails
                .iter()
                .map(|email| email.with(|person| counts(email, person)))
                .collect(),
        )
    }
}

/// Returns whether everything of a person that the incident affects is restored. That is not known of a person who is named directly,
/// because only resources have recovery states.
pub(super) fn is_complete(addressee: &Addressee) -> bool {
    !addressee.reasons.is_named() && addressee.reasons.progress().is_some_and(Progress::is_complete)
}
