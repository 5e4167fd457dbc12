//! Exactly who would get exactly what: the one computation behind the preview and the send.

use std::collections::{BTreeMap, HashSet};

use diesel::prelude::*;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::compose::{self, Content, RecipientContext};
use super::endpoints::{self, EndpointRecipient};
use super::payload::{self, Payload};
use super::templates::{self, TemplateView};
use super::told::{Told, told};
use super::{Row, row};
use crate::audience::{self, Addressee, At, Audience, DifferenceCounts, Reason, Rule};
use crate::audit::hex;
use crate::db::Conn;
use crate::db::schema::opt_outs;
use crate::directory::source::status::{self, SourceAge};
use crate::directory::{check_address, normal_address, person};
use crate::error::Result;
use crate::id::NoticeId;
use crate::incident::{self, metrics};
use crate::report;
use crate::template::{Phase, Rendered};
use crate::time::Timestamp;

/// What times are called in mails, and how they are found again in what is frozen.
pub(super) const STARTED: &str = "Started";
pub(super) const DETECTED: &str = "Detected";
pub(super) const RESOLVED: &str = "Resolved";

/// One mail to be: the address and what is the recipient's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipient {
    /// Where it goes.
    pub address: String,
    /// What is their own.
    pub context: RecipientContext,
}

/// Who would get what if a notice were sent now.
pub struct Plan {
    /// By address; none twice.
    pub recipients: Vec<Recipient>,
    /// What goes to the accounts' own systems beside the mails.
    pub endpoints: Vec<EndpointRecipient>,
    /// What is the same for all.
    pub content: Content,
    /// The template.
    pub template: TemplateView,
    /// Covers the recipients and every text.
    pub digest: String,
    /// Which roles it is for.
    pub rule: Rule,
    /// Whom the incident affects now, by that rule.
    pub audience: Audience,
    /// What the sender should know before.
    pub warnings: Vec<String>,
    /// People left out as they have been told this already.
    pub already_told: usize,
    /// Addresses not told anything about the incident before.
    pub added: usize,
    /// Addresses told before that this notice does not go to.
    pub removed: usize,
}

/// A preview, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Preview {
    /// How many mails.
    pub recipients: usize,
    /// How many requests to accounts' own systems, by channel, beside the mails.
    pub channels: BTreeMap<String, usize>,
    /// To be given back on approving and sending.
    pub digest: String,
    /// Whether a second person must approve.
    pub approval_required: bool,
    /// Whether one has approved exactly this.
    pub approved: bool,
    /// Which roles it is for. The digest covers it.
    pub audience: Rule,
    /// How the audience differs from that as of the time of impact, when somebody else may have owned what is affected.
    pub since_impact: DifferenceCounts,
    /// What to know before sending.
    pub warnings: Vec<String>,
    /// How old the copy of the directory is, by source.
    pub directory: Vec<SourceAge>,
    /// The first mails, rendered.
    pub samples: Vec<Sample>,
    /// The first requests to accounts' own systems.
    pub endpoint_samples: Vec<EndpointSample>,
    /// Addresses not told anything about the incident before.
    pub added: usize,
    /// Addresses told before that this notice does not go to.
    pub removed: usize,
    /// People left out as they have been told this already.
    pub already_told: usize,
}

/// A rendered mail, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Sample {
    /// To whom.
    pub to: String,
    /// Subject.
    pub subject: String,
    /// Text body.
    pub text: String,
    /// HTML body.
    pub html: String,
}

/// A request to an account's own systems, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct EndpointSample {
    /// How the endpoint is spoken to.
    pub channel: String,
    /// Where to.
    pub to: String,
    /// What is sent.
    pub payload: Payload,
}

/// What a notice needs to know of the settings.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Recipients above which a second person must approve.
    pub max_audience: usize,
    /// Base of links.
    pub public_url: String,
    /// The sender's display name.
    pub sender: String,
}

/// The preview of a draft, with up to `samples` rendered mails. Changes nothing.
///
/// # Errors
/// `NotFound`; `Conflict` where the notice is no draft any more.
pub fn preview(
    conn: &mut Conn,
    id: &NoticeId,
    sending: &Sending,
    samples: usize,
    now: Timestamp,
) -> Result<Preview> {
    let row = row(conn, id)?;
    super::require_draft(&row)?;
    let mut plan = plan(conn, &row, sending)?;
    let since_impact = since_impact(conn, &row, &mut plan)?;
    // Not part of what is sent, so not of the digest either: a copy grows older while somebody reads.
    let directory = status::ages(conn, now)?;
    plan.warnings.extend(status::warnings(&directory));
    let template = plan.template.compile()?;
    let url = format!("{}/unsubscribe/…", sending.public_url);
    let mut channels: BTreeMap<String, usize> = BTreeMap::new();
    for endpoint in &plan.endpoints {
        *channels.entry(endpoint.channel.clone()).or_default() += 1;
    }
    let endpoint_samples = plan
        .endpoints
        .iter()
        .take(samples)
        .map(|endpoint| EndpointSample {
            channel: endpoint.channel.clone(),
            to: endpoint.url.clone(),
            payload: payload::payload(id, &plan.content, &endpoint.context, None),
        })
        .collect();
    let samples = plan
        .recipients
        .iter()
        .take(samples)
        .map(|recipient| {
            let optional = plan.content.phase.optional();
            let context = compose::context(&plan.content, &recipient.context, optional, url.clone());
            let Rendered { subject, text, html } = template.render(&context)?;
            Ok(Sample {
                to: recipient.address.clone(),
                subject,
                text,
                html,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Preview {
        recipients: plan.recipients.len(),
        approval_required: plan.recipients.len() > sending.max_audience,
        approved: row.approved_digest.as_deref() == Some(plan.digest.as_str()),
        digest: plan.digest,
        audience: plan.rule,
        since_impact,
        warnings: plan.warnings,
        directory,
        samples,
        endpoint_samples,
        channels,
        added: plan.added,
        removed: plan.removed,
        already_told: plan.already_told,
    })
}

/// Compares with the time of impact, and warns of whoever owned it then. Only who previews needs to know.
fn since_impact(conn: &mut Conn, row: &Row, plan: &mut Plan) -> Result<DifferenceCounts> {
    let started = incident::get(conn, &row.incident_id)?.started_at;
    let then = audience::resolve_by(conn, &row.incident_id, &plan.rule, At::Then(started))?;
    let counts = audience::compare(&then, &plan.audience).counts;
    if counts.removed > 0 {
        plan.warnings.push(people(
            counts.removed,
            "owned or worked on affected resources at the time of impact and no longer does",
            "owned or worked on affected resources at the time of impact and no longer do",
        ));
    }
    Ok(counts)
}

/// Computes who would get what.
pub(super) fn plan(conn: &mut Conn, row: &Row, sending: &Sending) -> Result<Plan> {
    let phase = row.phase()?;
    let rule = row.rule()?;
    let audience = audience::resolve_by(conn, &row.incident_id, &rule, At::Now)?;
    let told = told(conn, &row.incident_id)?;
    let told_addresses: HashSet<&str> = told.iter().map(|told| told.address.as_str()).collect();
    let mut warnings = Vec::new();
    let mut recipients = candidates(conn, phase, &audience, &told, &mut warnings)?;
    let mut already_told = 0;
    if row.catch_up_of.is_some() || phase == Phase::Detection {
        let covered = Covered::by(phase, &told);
        let before = recipients.len();
        recipients.retain(|address, recipient| !covered.covers(address, recipient));
        already_told = before - recipients.len();
        if already_told > 0 && row.catch_up_of.is_none() {
            warnings.push(format!(
                "{} told this already and left out",
                people(already_told, "was", "were")
            ));
        }
    }
    let counts = &audience.counts;
    if counts.unreachable > 0 {
        warnings.push(format!(
            "{} cannot be reached",
            people(counts.unreachable, "", "").trim()
        ));
    }
    if counts.unresolved_references > 0 {
        warnings.push(format!(
            "{} in alerts unknown to the directory: somebody may be missing",
            things(counts.unresolved_references, "reference is", "references are")
        ));
    }
    if counts.unidentified > 0 {
        warnings.push(format!(
            "{} unknown to the directory: nobody can tell them",
            things(counts.unidentified, "user of an error is", "users of errors are")
        ));
    }
    if counts.events_without_user > 0 {
        let events = usize::try_from(counts.events_without_user).unwrap_or_default();
        warnings.push(format!(
            "{} no user: somebody may be missing",
            things(events, "error names", "errors name")
        ));
    }
    if counts.gone_resources > 0 {
        warnings.push(format!(
            "{} deleted from the directory: nobody is told through it",
            things(
                counts.gone_resources,
                "affected resource is",
                "affected resources are"
            )
        ));
    }
    if counts.without_account > 0 {
        warnings.push(format!(
            "{} to no account that is there",
            things(
                counts.without_account,
                "affected resource belongs",
                "affected resources belong"
            )
        ));
    }
    let added = recipients
        .keys()
        .filter(|address| !told_addresses.contains(address.as_str()))
        .count();
    let removed = told_addresses
        .iter()
        .filter(|address| !recipients.contains_key(**address))
        .count();
    let recipients: Vec<Recipient> = recipients.into_values().collect();
    let content = content(conn, row, phase, sending)?;
    if phase == Phase::Report
        && content
            .report
            .as_ref()
            .is_none_or(|report| report.sections.is_empty())
    {
        warnings.push("no report for customers is written: the mail holds the message alone".to_owned());
    }
    let endpoints = endpoints::planned(conn, row, &mut warnings)?;
    let template = templates::current(conn, phase)?;
    let digest = digest(&template.id, &content, &rule, &recipients, &endpoints)?;
    Ok(Plan {
        recipients,
        endpoints,
        content,
        template,
        digest,
        rule,
        audience,
        warnings,
        already_told,
        added,
        removed,
    })
}

fn people(count: usize, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 person {one}")
    } else {
        format!("{count} people {many}")
    }
}

fn things(count: usize, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {many}")
    }
}

/// Everybody whom a notice of this phase is for, told already or not, by address.
fn candidates(
    conn: &mut Conn,
    phase: Phase,
    audience: &Audience,
    told: &[Told],
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, Recipient>> {
    let mut recipients = by_address(&audience.people);
    if matches!(phase, Phase::Resolution | Phase::Report) {
        follow_through(conn, told, &mut recipients, warnings)?;
    }
    if phase.optional() {
        let suppressed: Vec<(String, String)> = opt_outs::table
            .select((opt_outs::address, opt_outs::reason))
            .load(conn)?;
        let (mut opted_out, mut unusable) = (0, 0);
        for (address, reason) in suppressed {
            if recipients.remove(&address).is_some() {
                match reason.as_str() {
                    "opted_out" => opted_out += 1,
                    _ => unusable += 1,
                }
            }
        }
        if opted_out > 0 {
            warnings.push(format!(
                "{} opted out of updates",
                people(opted_out, "has", "have")
            ));
        }
        if unusable > 0 {
            warnings.push(format!(
                "{} left out: mails to them came back for good, or they called one spam",
                people(unusable, "is", "are")
            ));
        }
    }
    Ok(recipients)
}

/// Whom the notices of a phase reached. A catch-up, also one of a catch-up, is of the phase of its original, so all of
/// the phase count.
struct Covered<'a> {
    addresses: HashSet<&'a str>,
    people: HashSet<&'a str>,
}

impl<'a> Covered<'a> {
    fn by(phase: Phase, told: &'a [Told]) -> Self {
        let of_phase = || told.iter().filter(|told| told.phase == phase.as_str());
        Covered {
            addresses: of_phase().map(|told| told.address.as_str()).collect(),
            // What came back did not reach the person: they may be told at another address.
            people: of_phase()
                .filter(|told| !told.bounced)
                .flat_map(|told| told.context.people.iter().map(String::as_str))
                .collect(),
        }
    }

    /// Whether the address got it, or everybody behind it did, at an address that they had before.
    fn covers(&self, address: &str, recipient: &Recipient) -> bool {
        self.addresses.contains(address)
            || recipient
                .context
                .people
                .iter()
                .all(|id| self.people.contains(id.as_str()))
    }
}

/// Addresses that a sent notice is for and that neither it nor another of its phase reached.
pub(super) fn missing(conn: &mut Conn, row: &Row) -> Result<Vec<String>> {
    let phase = row.phase()?;
    let audience = audience::resolve_by(conn, &row.incident_id, &row.rule()?, At::Now)?;
    let told = told(conn, &row.incident_id)?;
    let covered = Covered::by(phase, &told);
    Ok(candidates(conn, phase, &audience, &told, &mut Vec::new())?
        .into_iter()
        .filter(|(address, recipient)| !covered.covers(address, recipient))
        .map(|(address, _)| address)
        .collect())
}

/// One mail for each address: people who share one are written to together.
fn by_address(people: &[Addressee]) -> BTreeMap<String, Recipient> {
    let mut groups: BTreeMap<String, Vec<&Addressee>> = BTreeMap::new();
    for addressee in people.iter().filter(|addressee| addressee.unreachable.is_none()) {
        groups
            .entry(normal_address(&addressee.person.email))
            .or_default()
            .push(addressee);
    }
    groups
        .into_iter()
        .map(|(address, group)| {
            let mut names: Vec<&str> = group
                .iter()
                .map(|addressee| addressee.person.name.as_str())
                .collect();
            names.dedup();
            let reasons: Vec<Reason> = group
                .iter()
                .flat_map(|addressee| addressee.reasons.iter().cloned())
                .collect();
            let recipient = Recipient {
                address: group[0].person.email.trim().to_owned(),
                context: RecipientContext::new(
                    group
                        .iter()
                        .map(|addressee| addressee.person.id.clone())
                        .collect(),
                    names.join(", "),
                    group[0].time_zone.clone(),
                    &reasons,
                ),
            };
            (address, recipient)
        })
        .collect()
}

/// Adds everybody who was told anything about the incident and is not affected any more: they hear the end too.
fn follow_through(
    conn: &mut Conn,
    told: &[Told],
    recipients: &mut BTreeMap<String, Recipient>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut present: HashSet<String> = recipients
        .values()
        .flat_map(|recipient| recipient.context.people.iter().cloned())
        .collect();
    let mut lost = HashSet::new();
    for told in told {
        for id in &told.context.people {
            if present.contains(id) || lost.contains(id) {
                continue;
            }
            let person = person::get(conn, id)
                .ok()
                .filter(|person| person.gone_at.is_none());
            let Some(person) = person.filter(|person| check_address(&person.email).is_ok()) else {
                lost.insert(id.clone());
                continue;
            };
            present.insert(id.clone());
            let recipient = Recipient {
                address: person.email.clone(),
                context: RecipientContext {
                    people: vec![id.clone()],
                    name: person.name,
                    reason: "You receive this because you were told about this incident before.".to_owned(),
                    ..told.context.clone()
                },
            };
            recipients
                .entry(normal_address(&person.email))
                // They share a mailbox with somebody who gets it anyway.
                .and_modify(|other| other.context.add_person(id, &recipient.context.name))
                .or_insert(recipient);
        }
    }
    if !lost.is_empty() {
        warnings.push(format!(
            "{} told before and cannot be reached any more",
            people(lost.len(), "was", "were")
        ));
    }
    Ok(())
}

fn content(conn: &mut Conn, row: &Row, phase: Phase, sending: &Sending) -> Result<Content> {
    let incident = incident::get(conn, &row.incident_id)?;
    let times = metrics::metrics(conn, &row.incident_id, None)?.times;
    let mut shown = vec![
        (STARTED.to_owned(), times.started_at),
        (DETECTED.to_owned(), times.detected_at),
    ];
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
    Ok(Content {
        phase,
        number: incident.number,
        severity: incident.severity.as_str().to_owned(),
        subject: row.subject.clone(),
        message: row.message.clone(),
        action: row.action()?.map(|action| action.for_mail()),
        times: shown,
        report,
        sender: sending.sender.clone(),
    })
}

/// SHA-256 over everything that decides who gets what: every rendered text is a pure function of it.
fn digest(
    template: &str,
    content: &Content,
    rule: &Rule,
    recipients: &[Recipient],
    endpoints: &[EndpointRecipient],
) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(&(
        env!("CARGO_PKG_VERSION"),
        template,
        content,
        rule,
    ))?);
    for recipient in recipients {
        hasher.update(b"\n");
        hasher.update(serde_json::to_vec(recipient)?);
    }
    for endpoint in endpoints {
        hasher.update(b"\nendpoint ");
        hasher.update(serde_json::to_vec(endpoint)?);
    }
    Ok(hex(&hasher.finalize()))
}
