//! To whom a resolution would claim too much, because resources of theirs are not restored.
//!
//! Such a resolution is sent only if it acknowledges this. Then the emails to these people say in plain words that a part of theirs is
//! not restored yet. An incident without recovery states is not restricted.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use serde::Serialize;

use super::compose::RecipientContext;
use super::recipients::Recipients;
use super::row::Row;
use super::state::NoticeState;
use crate::audience::{self, Addressee, At, Reason, Rule};
use crate::base::count::counted;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::language::Language;
use crate::db::Conn;
use crate::db::schema::notices as n;
use crate::incident::{affected_people, recovery};
use crate::notice::template::{MailRecovery, Phase};

/// The number of people that a list contains.
const LISTED: usize = 50;

/// Who would get a resolution although resources of theirs are not restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct StillImpaired {
    /// The number of people. People who share an address count together.
    pub people: usize,
    /// The number of systems of accounts.
    pub systems: usize,
    /// The first 50 people, in the order of their addresses.
    pub first: Vec<ImpairedRecipient>,
    /// Whether the notice acknowledges it, so that it can be sent.
    pub acknowledged: bool,
}

/// A recipient with resources that are not restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ImpairedRecipient {
    /// The ID of the person.
    pub person: String,
    /// The name of the person.
    pub name: String,
    /// The address of the email.
    pub address: String,
    /// The number of affected resources of the person that are restored.
    pub restored: usize,
    /// The number of affected resources of the person.
    pub affected: usize,
}

/// Returns a figure of an email as a number.
pub(super) fn number(shown: &str) -> usize {
    let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

/// Adds to the recipients of a resolution how much of theirs is restored, if the rule of the resolution does not say that they are
/// affected and the rule of an earlier notice does. The resolution goes to them, because they were told.
pub(super) fn add_told_by_other_rules(
    conn: &mut Conn,
    row: &Row,
    rule: &Rule,
    recipients: &mut Recipients,
) -> Result<()> {
    let of_others: HashMap<String, Addressee> = by_other_rules(conn, row, rule)?
        .into_iter()
        .filter(|one| recovery_of(one, Language::En).is_some())
        .map(|one| (one.person.id.clone(), one))
        .collect();
    if of_others.is_empty() {
        return Ok(());
    }
    recipients.change(
        |packed| {
            let is_known = packed.context().contains("\"recovery\":{");
            Ok(!is_known
                && packed
                    .head()?
                    .people
                    .iter()
                    .any(|id| of_others.contains_key(&**id)))
        },
        |own| {
            let other = own.people.iter().find_map(|id| of_others.get(id));
            own.recovery = other.and_then(|one| recovery_of(one, own.language));
            Ok(())
        },
    )
}

/// Returns the people whom the rules of the sent notices of the incident find affected, beside those whom `rule` finds. A person can
/// occur several times.
pub(super) fn by_other_rules(conn: &mut Conn, row: &Row, rule: &Rule) -> Result<Vec<Addressee>> {
    let incidents = crate::incident::lineage::ids_with_merged(conn, &row.incident_id)?;
    let stored: Vec<Option<String>> = n::table
        .filter(n::incident_id.eq_any(incidents))
        .filter(n::state.ne(NoticeState::Draft))
        .select(n::audience)
        .distinct()
        .load(conn)?;
    let mut rules: Vec<Rule> = Vec::new();
    for stored in stored {
        let other: Rule = match stored {
            Some(stored) => serde_json::from_str(&stored)?,
            None => Rule::default(),
        };
        if other != *rule && !rules.contains(&other) {
            rules.push(other);
        }
    }
    let mut people = Vec::new();
    for other in &rules {
        people.extend(audience::resolve_by(conn, &row.incident_id, other, At::Now)?.people);
    }
    Ok(people)
}

/// Returns how much of a person's own is restored, as an email says it.
fn recovery_of(addressee: &Addressee, language: Language) -> Option<MailRecovery> {
    let reasons: Vec<Reason> = addressee.reasons.iter().collect();
    RecipientContext::new(Vec::new(), String::new(), None, (language, None), &reasons).recovery
}

/// Returns what the sender of a recovery or a resolution should know about people who are named directly: no recovery state says whether the
/// incident is over for them. A resolution has the warning only if evidence is used in the incident at all.
pub(super) fn not_measured(conn: &mut Conn, incident: &IncidentId, phase: Phase) -> Result<Option<String>> {
    if !matches!(phase, Phase::Recovery | Phase::Resolution) {
        return Ok(None);
    }
    let named = affected_people::count(conn, incident, None)?;
    if named == 0 {
        return Ok(None);
    }
    let who = counted(named, "person is named directly", "people are named directly");
    if phase == Phase::Recovery {
        return Ok(Some(format!(
            "{who} and cannot count as restored: they get no recovery"
        )));
    }
    let by_evidence = recovery::in_use(conn, incident)? || affected_people::any_found(conn, incident)?;
    Ok(by_evidence.then(|| {
        format!(
            "{who}, so Candor does not know whether the incident is over for them: check it before you send"
        )
    }))
}

/// Returns who would get a resolution although something of theirs is not restored. `None` if there is nobody, and for another phase.
pub(super) fn of(
    phase: Phase,
    acknowledged: bool,
    recipients: &Recipients,
    systems: usize,
) -> Result<Option<StillImpaired>> {
    if phase != Phase::Resolution {
        return Ok(None);
    }
    let mut found = StillImpaired {
        systems,
        acknowledged,
        ..StillImpaired::default()
    };
    for packed in recipients.iter() {
        if !packed.context().contains("\"recovery\":{") {
            continue;
        }
        let recipient = packed.unpack()?;
        let Some(recovery) = recipient.context.recovery.filter(|one| !one.left.is_empty()) else {
            continue;
        };
        found.people += 1;
        if found.first.len() < LISTED {
            found.first.push(ImpairedRecipient {
                person: recipient.context.people.into_iter().next().unwrap_or_default(),
                name: recipient.context.name,
                address: recipient.address,
                restored: number(&recovery.restored),
                affected: number(&recovery.affected),
            });
        }
    }
    Ok((found.people + found.systems > 0).then_some(found))
}

impl StillImpaired {
    /// Returns who they are, as the beginning of a sentence.
    fn who(&self) -> String {
        let people = counted(self.people, "person has", "people have");
        let systems = counted(
            self.systems,
            "system of an account belongs to",
            "systems of accounts belong to",
        );
        match (self.people, self.systems) {
            (_, 0) => people,
            (0, _) => systems,
            _ => format!("{people}, and {systems},"),
        }
    }

    /// Returns the warning of a preview.
    pub(super) fn warning(&self) -> String {
        match self.acknowledged {
            true => format!(
                "{} resources that are not restored: the emails to them say so",
                self.who()
            ),
            false => format!("{}: acknowledge it, and the emails to them say so", self.reason()),
        }
    }

    /// Returns why a resolution that does not acknowledge it cannot be sent.
    pub(super) fn reason(&self) -> String {
        format!(
            "{} resources that are not restored, and the resolution says that the incident is over",
            self.who()
        )
    }
}

/// What the email to a recipient says, as it is frozen.
#[derive(serde::Deserialize)]
struct Said {
    people: Vec<String>,
    #[serde(default)]
    recovery: Option<MailRecovery>,
}

/// Compares what a sent notice says about what is restored with what is restored now.
pub(super) struct Truth<'a> {
    phase: Phase,
    people: HashMap<&'a str, &'a Addressee>,
}

impl<'a> Truth<'a> {
    /// Begins with the people whom the incident affects now. A person can occur several times.
    pub fn of(phase: Phase, affected: impl Iterator<Item = &'a Addressee>) -> Truth<'a> {
        let mut people = HashMap::new();
        for one in affected {
            people.entry(one.person.id.as_str()).or_insert(one);
        }
        Truth { phase, people }
    }

    /// Returns whether the email with this frozen data says that more is restored than is. The data is that of one recipient.
    ///
    /// # Errors
    /// `Internal` if the frozen data is damaged.
    pub fn is_false(&self, context: &str) -> Result<bool> {
        let said: Said = serde_json::from_str(context)?;
        let (mut restored, mut affected, mut seen) = (0, 0, HashSet::new());
        for id in &said.people {
            let Some(one) = self.people.get(id.as_str()) else {
                continue;
            };
            for (key, is_restored) in one.reasons.restored() {
                if seen.insert(key) {
                    affected += 1;
                    restored += usize::from(is_restored);
                }
            }
        }
        Ok(match self.phase {
            // Whoever is not affected any more is found elsewhere.
            Phase::Recovery => restored < affected,
            // A mail that says that something is not restored stays true.
            Phase::Resolution => said.recovery.is_none_or(|said| said.left.is_empty()) && restored < affected,
            Phase::Update => said
                .recovery
                .is_some_and(|said| number(&said.restored) > restored),
            Phase::Detection | Phase::Report | Phase::Correction | Phase::Maintenance => false,
        })
    }
}
