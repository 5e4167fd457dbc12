//! Computes exactly who would get exactly what. The preview and the send use this same computation.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::prelude::*;
use sha2::{Digest as _, Sha256};

use super::asked;
use super::branding::FrozenBrand;
use super::compose::{
    self, Content, CorrectedNotice, DETECTED, ENDS, RESOLVED, RecipientContext, STARTED, STARTS,
};
use super::endpoints::{self, EndpointRecipient};
use super::impaired::{self, StillImpaired};
use super::notified::{EmailState, NotifiedAddress, contexts};
use super::placeholder;
use super::planned_change;
use super::recipients::{Recipient, Recipients};
use super::relapses::{ToldRestored, is_complete};
use super::reminders;
use super::row::Row;
pub use super::sending::Sending;
use super::sms::{self, SmsCost};
use super::state::{resolutions_being_sent, sent_in};
use super::templates::{self, TemplateView};
use super::translation;
use super::values::{self, Missing};
use super::words;
use super::wrongly_told::{History, quote_subjects};
use super::{corrections, drill};
use crate::audience::{self, Addressee, At, Counts, Rule};
use crate::base::count::counted;
use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::base::text::{hex, undirected};
use crate::brand;
use crate::db::Conn;
use crate::db::schema::opt_outs;
use crate::directory::{check_address, choices, normal_address, person};
use crate::incident::{self, metrics, recovery, report};
use crate::notice::template::{MailResource, Phase};
use crate::words::Texts;

/// The number of people who were notified before and whose data is read at once.
const AT_ONCE: usize = 5_000;

/// Who would get what if a notice were sent now.
pub struct Plan {
    /// The recipients, ordered by address. Each address appears once.
    pub recipients: Recipients,
    /// The calls to endpoints of accounts, in addition to the emails.
    pub endpoints: Vec<EndpointRecipient>,
    /// The short messages to phones of people, in addition to their emails.
    pub messages: Vec<EndpointRecipient>,
    /// The number of segments of the short messages, and what they cost at most.
    pub sms: SmsCost,
    /// The content that is the same for all recipients.
    pub content: Content,
    /// The template from which the emails are rendered.
    pub template: TemplateView,
    /// The digest of the recipients and all texts.
    pub digest: String,
    /// The recipients without a value that the notice uses.
    pub missing_values: Missing,
    /// The roles that the notice is for.
    pub rule: Rule,
    /// The episode in which the notice would be sent, which is the current one.
    pub episode: i64,
    /// The number of people of the audience without a valid address.
    pub unreachable: usize,
    /// What the operator should know before sending.
    pub warnings: Vec<String>,
    /// The number of people who are left out, because they were already notified of this in this episode.
    pub already_notified: usize,
    /// The number of addresses that have not been notified of the incident before.
    pub added: usize,
    /// The number of addresses that were notified before and do not get this notice.
    pub removed: usize,
    /// Who would get a resolution although something of theirs is not restored. `None` if there is nobody.
    pub still_impaired: Option<StillImpaired>,
    /// The number of emails that would be sent in earnest. It differs from the number of recipients in a drill.
    pub would_reach: usize,
}

impl Plan {
    /// Returns the number of calls: to endpoints of accounts, and to phones of people.
    pub fn calls(&self) -> usize {
        self.endpoints.len() + self.messages.len()
    }
}

/// What a plan is made of: who is affected now and who was notified before. It is read once, so that every
/// part of the plan is about the same people.
struct Considered {
    /// The people of the audience, ordered by ID.
    affected: Vec<Addressee>,
    counts: Counts,
    /// The emails of the incident in all episodes.
    history: History,
    /// The endpoints of the affected accounts.
    endpoints: endpoints::Affected,
}

impl Considered {
    /// Reads what the plan of a notice needs, and passes the current audience to `look`. The graph of the
    /// affected resources is read once, and is freed with the audience.
    fn read(conn: &mut Conn, row: &Row, rule: &Rule, look: impl FnOnce(&[Addressee])) -> Result<Considered> {
        let audience = audience::resolve_by(conn, &row.incident_id, rule, At::Now)?;
        look(&audience.people);
        Ok(Considered {
            endpoints: endpoints::affected(conn, &audience)?,
            history: History::read(conn, &row.incident_id)?,
            affected: audience.people,
            counts: audience.counts,
        })
    }
}

/// Computes the plan of a notice.
pub(super) fn plan(conn: &mut Conn, row: &Row, sending: &Sending) -> Result<Plan> {
    plan_and_look(conn, row, sending, |_| ())
}

/// Computes the plan of a notice, and passes the current audience to `look`, ordered by the ID of the person.
pub(super) fn plan_and_look(
    conn: &mut Conn,
    row: &Row,
    sending: &Sending,
    look: impl FnOnce(&[Addressee]),
) -> Result<Plan> {
    let phase = row.phase()?;
    let rule = row.rule()?;
    let Considered {
        affected,
        counts,
        history,
        endpoints,
    } = Considered::read(conn, row, &rule, look)?;
    let drill = incident::get(conn, &row.incident_id)?.drill;
    // Nobody was notified in earnest by a drill.
    let history = if drill { History::default() } else { history };
    let notified = history.counting();
    let unreachable = match phase {
        // A correction is not for the audience.
        Phase::Correction => 0,
        _ => affected.iter().filter(|one| one.unreachable.is_some()).count(),
    };
    let episode = incident::episode_of(conn, &row.incident_id)?;
    let notified_addresses: HashSet<&str> = notified.iter().map(|notified| &*notified.address).collect();
    let mut warnings = episode_warnings(conn, row, phase, episode)?;
    let told_restored = ToldRestored::of(conn, &row.incident_id, episode, &notified, &affected)?;
    let counting = told_restored.counting(phase, &notified);
    let covered = match phase {
        Phase::Detection | Phase::Recovery => Some(Covered::by(phase, episode, &counting)),
        _ if row.catch_up_of.is_some() => Some(Covered::by(phase, episode, &counting)),
        Phase::Resolution => Covered::by_merged(phase, episode, &counting),
        Phase::Update | Phase::Report | Phase::Correction | Phase::Maintenance => None,
    };
    let unanswered = asked::unanswered(conn, row, &notified)?;
    let before = NotifiedBefore {
        phase,
        episode,
        notified: &notified,
        covered,
        unanswered: unanswered.as_deref(),
    };
    let wrong = match corrections::corrected_by(conn, &row.id)? {
        Some(wrong) => Some(super::row::row(conn, &wrong)?),
        None => None,
    };
    let (mut recipients, already_notified) = match &wrong {
        Some(wrong) => (corrected(conn, wrong, &affected, &history, &mut warnings)?, 0),
        None => candidates(conn, &before, affected, sending.language, &mut warnings)?,
    };
    if let Some(wrong) = &wrong {
        quote_subjects(conn, wrong, &mut recipients)?;
    }
    if phase == Phase::Resolution && recovery::in_use(conn, &row.incident_id)? {
        impaired::add_told_by_other_rules(conn, row, &rule, &mut recipients)?;
    }
    if matches!(phase, Phase::Detection | Phase::Update | Phase::Recovery) {
        mark_late(&history, episode, &mut recipients)?;
    }
    values::fill(conn, row, &mut recipients)?;
    if already_notified > 0 && row.catch_up_of.is_none() {
        warnings.push(format!(
            "{} left out, because they already got this notice",
            people(already_notified, "is", "are")
        ));
    }
    if counts.unreachable > 0 && phase != Phase::Correction {
        warnings.push(format!(
            "{} cannot be reached",
            people(counts.unreachable, "", "").trim()
        ));
    }
    if counts.unresolved_references > 0 {
        warnings.push(format!(
            "{} not in the directory: affected people may be missing",
            counted(
                counts.unresolved_references,
                "ID in alerts is",
                "IDs in alerts are"
            )
        ));
    }
    if counts.unidentified > 0 {
        warnings.push(format!(
            "{} not in the directory: Candor cannot notify them",
            counted(
                counts.unidentified,
                "user who hit the error is",
                "users who hit the error are"
            )
        ));
    }
    if counts.events_without_user > 0 {
        let events = usize::try_from(counts.events_without_user).unwrap_or_default();
        warnings.push(format!(
            "{} no user: affected people may be missing",
            counted(events, "error has", "errors have")
        ));
    }
    if counts.gone_resources > 0 {
        warnings.push(format!(
            "{} archived in the directory: nobody is notified because of an archived resource",
            counted(
                counts.gone_resources,
                "affected resource is",
                "affected resources are"
            )
        ));
    }
    if counts.without_account > 0 {
        warnings.push(format!(
            "{} to no account of the directory: no owner is notified",
            counted(
                counts.without_account,
                "affected resource belongs",
                "affected resources belong"
            )
        ));
    }
    let added = recipients
        .iter()
        .filter(|packed| !notified_addresses.contains(packed.key()))
        .count();
    let removed = notified_addresses
        .iter()
        .filter(|address| !recipients.contains(address))
        .count();
    let template = templates::current(conn, phase)?;
    let content = content(conn, row, phase, wrong.as_ref(), &template, sending)?;
    let missing_values = values::missing(&content, &recipients)?;
    warnings.extend(missing_values.warning());
    warnings.extend(placeholder::warning(&content));
    if phase == Phase::Report
        && content
            .report
            .as_ref()
            .is_none_or(|report| report.sections.is_empty())
    {
        warnings.push("there is no report for customers: the email contains only the message".to_owned());
    }
    // A reminder is for people. The systems of their accounts do not answer.
    let (endpoints, systems_impaired) = match &unanswered {
        Some(_) => (Vec::new(), 0),
        None => endpoints::planned(conn, row, episode, endpoints, &mut warnings)?,
    };
    // Both are about those whom the notice is for, also in a drill.
    let still_impaired = impaired::of(phase, row.acknowledge_impaired, &recipients, systems_impaired)?;
    warnings.extend(still_impaired.as_ref().map(StillImpaired::warning));
    warnings.extend(impaired::not_measured(conn, &row.incident_id, phase)?);
    let would_reach = recipients.len();
    let (recipients, endpoints) = match drill {
        true => (drill::instead(&recipients, &sending.drill_to)?, Vec::new()),
        false => (recipients, endpoints),
    };
    let planning = sms::Planning {
        row,
        phase,
        episode,
        content: &content,
        recipients: &recipients,
        public_url: &sending.public_url,
        terms: sending.sms.as_ref(),
    };
    // A drill reaches no phone, and a reminder is an email.
    let (messages, sms) = match drill || unanswered.is_some() {
        true => Default::default(),
        false => sms::planned(conn, &planning, &mut warnings)?,
    };
    let calls = endpoints.iter().chain(&messages);
    let digest = digest(&template.id, episode, &content, &rule, &recipients, calls)?;
    Ok(Plan {
        recipients,
        endpoints,
        messages,
        sms,
        content,
        template,
        digest,
        missing_values,
        rule,
        episode,
        unreachable,
        warnings,
        already_notified,
        added,
        removed,
        still_impaired,
        would_reach,
    })
}

pub(super) fn people(count: usize, one: &str, many: &str) -> String {
    let who = counted(count, "person", "people");
    format!("{who} {}", if count == 1 { one } else { many })
}

/// Returns what the operator should know about the episodes of the incident.
fn episode_warnings(conn: &mut Conn, row: &Row, phase: Phase, episode: i64) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if row.episode < episode {
        warnings.push(
            "the incident was reopened after this notice was drafted: check that its text is still correct"
                .to_owned(),
        );
    }
    if matches!(phase, Phase::Detection | Phase::Update)
        && !resolutions_being_sent(conn, &row.incident_id, episode)?.is_empty()
    {
        warnings.push(
            "a resolution notice from before the incident was reopened is still being sent: Candor stops it when you send this notice"
                .to_owned(),
        );
    }
    if phase == Phase::Update && episode > 1 && !sent_in(conn, &row.incident_id, Phase::Detection, episode)? {
        warnings.push(
            "the incident was reopened and no detection notice was sent after that: people who opted out do not get an update, \
             but a detection notice goes to everybody who was notified of the resolution"
                .to_owned(),
        );
    }
    Ok(warnings)
}

/// The people who were notified before a notice is planned.
struct NotifiedBefore<'a> {
    phase: Phase,
    /// The episode in which the notice is sent.
    episode: i64,
    notified: &'a [NotifiedAddress],
    /// The people who are left out. `None` means that nobody is left out.
    covered: Option<Covered<'a>>,
    /// The emails that asked somebody who has not answered. Set for a reminder, which is only for these people.
    unanswered: Option<&'a [NotifiedAddress]>,
}

/// Returns everybody that a notice of this phase is for, ordered by address, and how many people were left
/// out because they were already notified.
fn candidates(
    conn: &mut Conn,
    before: &NotifiedBefore<'_>,
    mut affected: Vec<Addressee>,
    default: Language,
    warnings: &mut Vec<String>,
) -> Result<(Recipients, usize)> {
    let NotifiedBefore { phase, episode, .. } = *before;
    let mut already_notified = 0;
    if phase == Phase::Recovery {
        let all = affected.len();
        affected.retain(is_complete);
        if affected.len() < all {
            warnings.push(format!(
                "{} left out, because not all of theirs is restored",
                people(all - affected.len(), "is", "are")
            ));
        }
    }
    if let Some(covered) = &before.covered {
        affected.retain(|one| {
            let covers = one.unreachable.is_none() && covered.covers(&one.person.id, &one.person.email);
            already_notified += usize::from(covers);
            !covers
        });
    }
    if let Some(unanswered) = before.unanswered {
        let open: HashSet<&str> = unanswered
            .iter()
            .flat_map(|asked| asked.people.iter().map(|id| &**id))
            .collect();
        affected.retain(|one| open.contains(&*one.person.id));
    }
    let mut recipients = Recipients::of(affected, default)?;
    if let Some(unanswered) = before.unanswered {
        // These people are not affected any more, but they were asked.
        let reason = "reason_asked";
        let asked: Vec<&NotifiedAddress> = unanswered.iter().collect();
        follow_through(conn, &asked, None, reason, &mut recipients, warnings)?;
    }
    match phase {
        Phase::Resolution | Phase::Report => {
            let reason = "reason_notified";
            let all: Vec<&NotifiedAddress> = before.notified.iter().collect();
            follow_through(
                conn,
                &all,
                before.covered.as_ref(),
                reason,
                &mut recipients,
                warnings,
            )?;
        }
        // A person who was told that the incident was over must be notified that it is not.
        Phase::Detection => {
            let reason = "reason_resolved";
            let over: Vec<&NotifiedAddress> = before
                .notified
                .iter()
                .filter(|notified| notified.episode < episode && notified.state != EmailState::Bounced)
                .filter(|notified| {
                    [Phase::Resolution, Phase::Report]
                        .iter()
                        .any(|over| *notified.phase == *over.as_str())
                })
                .collect();
            follow_through(
                conn,
                &over,
                before.covered.as_ref(),
                reason,
                &mut recipients,
                warnings,
            )?;
        }
        // Whoever was told of it hears that it is moved or cancelled.
        Phase::Maintenance => {
            let reason = "You receive this because we told you of this maintenance before.";
            let all: Vec<&NotifiedAddress> = before.notified.iter().collect();
            let covered = before.covered.as_ref();
            follow_through(conn, &all, covered, reason, &mut recipients, warnings)?;
        }
        Phase::Update | Phase::Recovery | Phase::Correction => {}
    }
    if phase.optional() {
        let suppressed: Vec<(String, String)> = opt_outs::table
            .select((opt_outs::address, opt_outs::reason))
            .load(conn)?;
        let suppressed: HashMap<String, String> = suppressed.into_iter().collect();
        let (mut opted_out, mut unusable) = (0, 0);
        recipients.retain(|packed| {
            match suppressed.get(packed.key()).map(String::as_str) {
                None => return Ok(true),
                Some("opted_out") => opted_out += 1,
                Some(_) => unusable += 1,
            }
            Ok(false)
        })?;
        if opted_out > 0 {
            warnings.push(format!(
                "{} opted out of updates",
                people(opted_out, "has", "have")
            ));
        }
        if unusable > 0 {
            warnings.push(format!(
                "{} left out, because their address bounced permanently or they reported an email as spam",
                people(unusable, "is", "are")
            ));
        }
    }
    Ok((recipients, already_notified))
}

/// The people who were notified by the notices of a phase in one episode. A catch-up has the phase of its
/// original, so all notices of the phase count. People count and not addresses, because an address may now
/// belong to another person.
struct Covered<'a> {
    people: HashSet<&'a str>,
    /// The people and addresses with an email that bounced or failed. Another email to the same address would be lost
    /// too. An email to another address may arrive.
    lost: HashSet<(&'a str, &'a str)>,
}

impl<'a> Covered<'a> {
    fn by(phase: Phase, episode: i64, notified: &'a [NotifiedAddress]) -> Self {
        Covered::of(notified.iter().filter(|notified| {
            *notified.phase == *phase.as_str() && notified.episode == episode && !notified.reminder
        }))
    }

    /// The people who were notified by notices of this phase before their incident was merged into this one. `None` if there are none.
    fn by_merged(phase: Phase, episode: i64, notified: &'a [NotifiedAddress]) -> Option<Self> {
        let is_of_merged = |notified: &&NotifiedAddress| {
            notified.merged
                && *notified.phase == *phase.as_str()
                && notified.episode == episode
                && !notified.reminder
        };
        notified
            .iter()
            .any(|notified| is_of_merged(&notified))
            .then(|| Covered::of(notified.iter().filter(is_of_merged)))
    }

    fn of(emails: impl Iterator<Item = &'a NotifiedAddress>) -> Self {
        let mut covered = Covered {
            people: HashSet::new(),
            lost: HashSet::new(),
        };
        for notified in emails {
            for person in &notified.people {
                // An email of which nobody knows whether it arrived may have arrived.
                let is_lost = notified.state == EmailState::Bounced
                    || (notified.state == EmailState::Failed && !notified.in_doubt);
                if is_lost {
                    covered.lost.insert((&**person, &*notified.address));
                } else {
                    covered.people.insert(&**person);
                }
            }
        }
        covered
    }

    /// Returns whether the person was notified, or whether an email to the current address of the person
    /// bounced or failed.
    fn covers(&self, person: &str, address: &str) -> bool {
        self.people.contains(person)
            || (!self.lost.is_empty() && self.lost.contains(&(person, &*normal_address(address))))
    }
}

/// Returns the number of people that a sent notice is for and to whom no notice of its phase and episode was
/// delivered.
pub(super) fn missing(conn: &mut Conn, row: &Row) -> Result<usize> {
    if reminders::is_one(conn, &row.id)? || row.phase()? == Phase::Correction {
        return Ok(0);
    }
    let audience = audience::resolve_by(conn, &row.incident_id, &row.rule()?, At::Now)?;
    let history = History::read(conn, &row.incident_id)?;
    missing_of(conn, row, audience.people, &history.counting())
}

/// Returns whether a person or an endpoint that a sent notice is for has not got it.
pub(super) fn is_anybody_missing(conn: &mut Conn, row: &Row) -> Result<bool> {
    let Considered {
        affected,
        history,
        endpoints,
        ..
    } = Considered::read(conn, row, &row.rule()?, |_| ())?;
    Ok(missing_of(conn, row, affected, &history.counting())? > 0
        || endpoints::missing(conn, row, endpoints)? > 0)
}

/// Returns whether this person is among the people that a sent notice is for and to whom no notice of its phase and episode was
/// delivered.
pub(super) fn is_missing(conn: &mut Conn, row: &Row, person: &str) -> Result<bool> {
    let audience = audience::resolve_by(conn, &row.incident_id, &row.rule()?, At::Now)?;
    let history = History::read(conn, &row.incident_id)?;
    let missing = recipients_missing(conn, row, audience.people, &history.counting())?;
    for packed in missing.iter() {
        if packed.head()?.people.iter().any(|one| one == person) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn missing_of(
    conn: &mut Conn,
    row: &Row,
    affected: Vec<Addressee>,
    notified: &[NotifiedAddress],
) -> Result<usize> {
    let mut people = 0;
    for packed in recipients_missing(conn, row, affected, notified)?.iter() {
        people += packed.head()?.people.len();
    }
    Ok(people)
}

fn recipients_missing(
    conn: &mut Conn,
    row: &Row,
    affected: Vec<Addressee>,
    notified: &[NotifiedAddress],
) -> Result<Recipients> {
    let phase = row.phase()?;
    let told_restored = ToldRestored::of(conn, &row.incident_id, row.episode, notified, &affected)?;
    let counting = told_restored.counting(phase, notified);
    let before = NotifiedBefore {
        phase,
        episode: row.episode,
        notified,
        covered: Some(Covered::by(phase, row.episode, &counting)),
        unanswered: None,
    };
    let (missing, _) = candidates(conn, &before, affected, Language::default(), &mut Vec::new())?;
    Ok(missing)
}

/// Returns everybody whom a wrong notice may have reached, whom the incident does not affect, and whom no correction of the notice
/// has reached.
fn corrected(
    conn: &mut Conn,
    wrong: &Row,
    affected: &[Addressee],
    history: &History,
    warnings: &mut Vec<String>,
) -> Result<Recipients> {
    let done = Covered::of(history.corrections_of(wrong));
    let told = history.wrongly_told(conn, wrong, affected)?;
    let told: Vec<&NotifiedAddress> = told.iter().collect();
    let reason = "reason_wrong";
    let mut recipients = Recipients::default();
    follow_through(conn, &told, Some(&done), reason, &mut recipients, warnings)?;
    Ok(recipients)
}

/// Returns the number of people whom a correction of this notice would reach now.
pub(super) fn correctable(conn: &mut Conn, wrong: &Row) -> Result<usize> {
    let incident = incident::lineage::root(conn, &wrong.incident_id)?;
    let affected = audience::resolve(conn, &incident)?.people;
    let history = History::read(conn, &incident)?;
    let recipients = corrected(conn, wrong, &affected, &history, &mut Vec::new())?;
    Ok(recipients.iter().map(|packed| packed.people() as usize).sum())
}

/// Marks the recipients who were found late: notices of this episode were sent, and these people were in no frozen list.
fn mark_late(history: &History, episode: i64, recipients: &mut Recipients) -> Result<()> {
    if history.listed(episode).is_empty() {
        return Ok(());
    }
    let listed = history.ever_listed();
    recipients.change(
        |packed| {
            Ok(!packed
                .head()?
                .people
                .iter()
                .any(|person| listed.contains(&**person)))
        },
        |own| {
            own.late = true;
            Ok(())
        },
    )
}

/// Adds people who were notified before and are not affected any more, with their current address, in the language in which they were
/// notified. `reason` is the key of the sentence that says why they get the email.
fn follow_through(
    conn: &mut Conn,
    notified: &[&NotifiedAddress],
    covered: Option<&Covered<'_>>,
    reason: &str,
    recipients: &mut Recipients,
    warnings: &mut Vec<String>,
) -> Result<()> {
    // The people who were notified and who are not already among the recipients.
    let mut outside: HashSet<&str> = notified
        .iter()
        .flat_map(|notified| notified.people.iter().map(|id| &**id))
        .collect();
    for packed in recipients.iter() {
        for id in packed.head()?.people {
            outside.remove(&*id);
        }
    }
    let mut lost = 0;
    let mut more = Vec::new();
    // Each person is added once, with the data of the first notice.
    let mut wanted: Vec<(&str, &NotifiedAddress)> = Vec::new();
    for notified in notified {
        let of_notified = notified.people.iter().map(|id| &**id);
        let is_wanted =
            |id: &&str| outside.remove(*id) && covered.is_none_or(|covered| !covered.people.contains(*id));
        wanted.extend(of_notified.filter(is_wanted).map(|id| (id, *notified)));
    }
    for part in wanted.chunks(AT_ONCE) {
        let ids: Vec<&str> = part.iter().map(|(id, _)| *id).collect();
        let mut people = person::among(conn, &ids)?;
        let mut adding: Vec<(&NotifiedAddress, person::Person)> = Vec::with_capacity(part.len());
        for (id, notified) in part {
            let person = people.remove(*id).filter(|person| person.gone_at.is_none());
            let Some(person) = person.filter(|person| check_address(&person.email).is_ok()) else {
                lost += 1;
                continue;
            };
            if covered.is_none_or(|covered| !covered.covers(id, &person.email)) {
                adding.push((*notified, person));
            }
        }
        let frozen: Vec<&NotifiedAddress> = adding.iter().map(|(notified, _)| *notified).collect();
        let contexts = contexts(conn, &frozen)?;
        let zones = choices::time_zones(
            conn,
            &adding.iter().map(|(_, one)| one.id.as_str()).collect::<Vec<_>>(),
        )?;
        for (notified, person) in adding {
            let context: RecipientContext = serde_json::from_str(
                contexts
                    .get(&notified.place())
                    .ok_or_else(|| Error::internal("a frozen recipient is missing"))?,
            )?;
            more.push(Recipient {
                address: person.email,
                context: RecipientContext {
                    // A choice of the person since then takes precedence.
                    time_zone: zones.get(&person.id).cloned().or(context.time_zone),
                    people: vec![person.id],
                    name: undirected(&person.name).into_owned(),
                    reason: Texts::of_phrases().with(reason, context.language, &[]),
                    // The values of the earlier notice are not those of this one.
                    values: BTreeMap::new(),
                    // The earlier notice told the person that they were found late, or that an email was wrong. This one does not.
                    late: false,
                    wrong_subject: None,
                    // What was found then can be restored by now.
                    recovery: None,
                    resources: without_findings(context.resources),
                    ..context
                },
            });
        }
    }
    recipients.add(more)?;
    if lost > 0 {
        warnings.push(format!(
            "{} notified before and cannot be reached any more",
            people(lost, "was", "were")
        ));
    }
    Ok(())
}

/// Returns resources without what was found about them, because the incident does not affect the person because of them any more.
fn without_findings(resources: Vec<MailResource>) -> Vec<MailResource> {
    let without = |resource: MailResource| MailResource {
        finding: String::new(),
        restored: false,
        ..resource
    };
    resources.into_iter().map(without).collect()
}

/// Returns the content of a notice that is the same for all recipients.
pub(super) fn content(
    conn: &mut Conn,
    row: &Row,
    phase: Phase,
    wrong: Option<&Row>,
    template: &TemplateView,
    sending: &Sending,
) -> Result<Content> {
    let incident = incident::get(conn, &row.incident_id)?;
    let times = metrics::metrics(conn, &row.incident_id, None)?.times;
    let planned = planned_change::frozen(conn, row, sending)?;
    let mut shown = match &planned {
        Some((planned, _)) => vec![
            (STARTS.to_owned(), planned.times.starts_at),
            (ENDS.to_owned(), planned.times.ends_at),
        ],
        None => vec![
            (STARTED.to_owned(), times.started_at),
            (DETECTED.to_owned(), times.detected_at),
        ],
    };
    if matches!(phase, Phase::Resolution | Phase::Report)
        && let Some(at) = times.resolved_at
    {
        shown.push((RESOLVED.to_owned(), at));
    }
    let report = match phase {
        Phase::Report => {
            report::find(conn, &row.incident_id, report::Audience::Customer)?.map(compose::mail_report)
        }
        _ => None,
    };
    let brand = brand::read(conn)?;
    let frozen = FrozenBrand::of(&brand, &sending.public_url);
    let name = frozen.as_ref().and_then(|brand| brand.name.clone());
    Ok(Content {
        phase,
        number: planned.as_ref().map_or(incident.number, |(_, number)| *number),
        severity: incident.severity.as_str().to_owned(),
        subject: row.subject.clone(),
        message: row.message.clone(),
        action: row.action()?.map(|action| action.for_mail()),
        times: shown,
        report,
        sender: name.unwrap_or_else(|| sending.sender.clone()),
        corrects: wrong.map(|wrong| CorrectedNotice {
            notice: wrong.id.clone(),
            sent_at: wrong.queued_at.unwrap_or(wrong.created_at),
        }),
        drill: incident.drill,
        headline: match &planned {
            Some((planned, _)) if row.headline.is_none() => Some(planned.title.clone()),
            _ => words::headline(row, &incident),
        },
        update: words::update_number(conn, row, phase)?,
        next_update: row.next_update_due_at,
        support_url: brand
            .settings
            .support_url
            .clone()
            .or_else(|| sending.support_url.clone()),
        values: values::used(row, &template.values())?,
        acknowledges_impaired: row.acknowledge_impaired,
        language: sending.language,
        translations: translation::for_mail(row)?,
        brand: frozen,
        maintenance: planned.map(|(planned, _)| planned),
    })
}

/// Returns the SHA-256 digest of everything that decides who gets what. Every rendered text depends only on
/// this data.
fn digest<'a>(
    template: &str,
    episode: i64,
    content: &Content,
    rule: &Rule,
    recipients: &Recipients,
    calls: impl Iterator<Item = &'a EndpointRecipient>,
) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(&(
        env!("CARGO_PKG_VERSION"),
        template,
        episode,
        content,
        rule,
    ))?);
    for packed in recipients.iter() {
        // This is the JSON form of a `Recipient`, whose context is already JSON.
        hasher.update(b"\n{\"address\":");
        serde_json::to_writer(&mut hasher, packed.address())?;
        hasher.update(b",\"context\":");
        hasher.update(packed.context());
        hasher.update(b"}");
    }
    for call in calls {
        hasher.update(b"\nendpoint ");
        hasher.update(serde_json::to_vec(call)?);
    }
    Ok(hex(&hasher.finalize()))
}
