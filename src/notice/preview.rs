//! Shows what a draft would do if it were sent now, and what the operator should know before sending.
//!
//! A preview changes nothing. Its numbers are always those of the audience that the notice would be sent to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::above::Exceeded;
use super::approvals::ApprovalKind;
use super::compared::{self, Compared, LargestAccount};
use super::impaired::StillImpaired;
use super::payload::{self, Payload};
use super::plan::{Plan, Sending, people, plan_and_look};
use super::row::{Row, row};
use super::sample::{Sample, no_such, rendered};
use super::sms::{self, SmsCost};
use super::sms_text;
use super::translation::LanguageUse;
use super::values::MissingValues;
use super::{approval, compose, placeholder, promise, templates, translation};
use crate::audience::{self, At, DifferenceCounts, Outline, Rule};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::source::status::{self, SourceAge};
use crate::incident;

/// A preview, as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Preview {
    /// The number of emails that would be sent: one for each address.
    pub recipients: usize,
    /// The number of calls to endpoints, by channel.
    pub channels: BTreeMap<String, usize>,
    /// The short messages to phones of people, in addition to their emails. Null if there are none.
    pub sms: Option<SmsCost>,
    /// The digest. The caller must send it back to approve or send the notice.
    pub digest: String,
    /// Whether other people must approve, because the notice is above a limit.
    pub approval_required: bool,
    /// The limits that the notice is above.
    pub limits: Vec<Exceeded>,
    /// The number of different people who must approve if an approval is required.
    pub approvals_needed: usize,
    /// The number of different people whose approval of exactly this digest counts now.
    pub approvals_given: usize,
    /// Whether enough people have approved exactly this digest, or an admin used break glass for it.
    pub approved: bool,
    /// Whether an admin used break glass for exactly this digest.
    pub break_glass: bool,
    /// The roles that the notice is for. The digest covers them.
    pub audience: Rule,
    /// How the audience differs from the audience at the start of the incident, when other people may have
    /// owned the affected resources.
    pub since_impact: DifferenceCounts,
    /// How the recipients differ from those of the last notice of the incident. Null if there is none, and for a catch-up or a
    /// reminder.
    pub compared_with: Option<Compared>,
    /// The five accounts with the most people among the recipients.
    pub largest_accounts: Vec<LargestAccount>,
    /// The languages of the recipients, those with the most people first. With `fallback`, the message is not written in the language,
    /// and these people get it in another one.
    pub languages: Vec<LanguageUse>,
    /// What the operator should know before sending.
    pub warnings: Vec<String>,
    /// Who would get this resolution although something of theirs is not restored. While the notice does not acknowledge it, it cannot be
    /// approved or sent. Null if there is nobody.
    pub still_impaired: Option<StillImpaired>,
    /// The first 50 recipients without a value that the message or the template uses. Nothing can be sent while there is one.
    pub missing_values: Vec<MissingValues>,
    /// Whether a text contains placeholder text that must be replaced, such as `[what happened]`. Nothing can be sent then.
    pub has_placeholders: bool,
    /// How old the data of each source of the directory is.
    pub directory: Vec<SourceAge>,
    /// The first emails in the order of their addresses, and then the first email of each further language, rendered.
    pub samples: Vec<Sample>,
    /// The first calls to endpoints of accounts.
    pub endpoint_samples: Vec<EndpointSample>,
    /// The first short messages to phones of people.
    pub sms_samples: Vec<SmsSample>,
    /// The number of addresses that have not been notified of the incident before.
    pub added: usize,
    /// The number of addresses that were notified before and do not get this notice.
    pub removed: usize,
    /// The number of people who are left out, because they were already notified of this since the incident
    /// was opened or reopened.
    pub already_told: usize,
    /// Whether the incident is a drill: then all emails go to the addresses for drills.
    pub drill: bool,
    /// The number of emails that would be sent in earnest. In a drill, it differs from `recipients`.
    pub would_reach: usize,
}

impl Preview {
    /// Returns the number of calls to systems of accounts.
    pub fn systems(&self) -> usize {
        let messages = self.sms.as_ref().map_or(0, |sms| sms.messages);
        self.channels.values().sum::<usize>() - messages
    }
}

/// A short message, as the API shows it.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct SmsSample {
    /// The endpoint of the phone: `sms:***#` and a part of its ID. The number is shown nowhere.
    pub to: String,
    /// The text. The link in it stands for the one of the recipient.
    pub text: String,
    /// The number of segments of the text, which networks bill.
    pub segments: usize,
}

/// A call to an endpoint, as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct EndpointSample {
    /// The channel of the endpoint.
    pub channel: String,
    /// The URL of the endpoint.
    pub to: String,
    /// The content of the call.
    pub payload: Payload,
}

/// A preview together with the plan that it was made from. So every email and every recipient can be shown without planning again.
pub struct Previewed {
    /// What would be sent now.
    pub preview: Preview,
    pub(super) plan: Plan,
}

impl Previewed {
    /// Returns the recipients in their order: the address in its normal form, and the number of people with it.
    pub fn list(&self) -> impl Iterator<Item = (&str, u32)> {
        self.plan
            .recipients
            .iter()
            .map(|packed| (packed.key(), packed.people()))
    }

    /// Returns the number of recipients.
    pub fn len(&self) -> usize {
        self.plan.recipients.len()
    }

    /// Returns whether there are no recipients.
    pub fn is_empty(&self) -> bool {
        self.plan.recipients.is_empty()
    }

    /// Returns the email to the recipient at this position of the list, from 1.
    ///
    /// # Errors
    /// `NotFound` if the list is shorter. `Invalid` if the template cannot be rendered.
    pub fn sample(&self, ordinal: i64, sending: &Sending) -> Result<Sample> {
        let index = usize::try_from(ordinal - 1).map_err(|_| no_such(ordinal))?;
        let mut rest = self.plan.recipients.iter().skip(index);
        let recipient = rest.next().ok_or_else(|| no_such(ordinal))?.unpack()?;
        let template = self.plan.template.compile()?;
        let urls = compose::Urls::without_token(&sending.public_url);
        rendered(
            &self.plan.content,
            &template,
            recipient.address,
            &recipient.context,
            &urls,
        )
    }
}

/// Returns the preview of a draft with up to `samples` rendered emails. It changes nothing.
///
/// # Errors
/// The errors of [`previewed`].
pub fn preview(
    conn: &mut Conn,
    id: &NoticeId,
    sending: &Sending,
    samples: usize,
    now: Timestamp,
) -> Result<Preview> {
    Ok(previewed(conn, id, sending, samples, now)?.preview)
}

/// Returns the preview of a draft with up to `samples` rendered emails, and its plan. It changes nothing.
///
/// # Errors
/// `NotFound` if the notice does not exist, `Conflict` if it is not a draft any more, `Invalid` if its
/// template cannot be rendered within the limits.
pub fn previewed(
    conn: &mut Conn,
    id: &NoticeId,
    sending: &Sending,
    samples: usize,
    now: Timestamp,
) -> Result<Previewed> {
    let row = row(conn, id)?;
    super::state::require_draft(&row)?;
    // This comes before the plan, so that the two audiences are never in memory at the same time.
    let then = at_impact(conn, &row)?;
    let mut since_impact = DifferenceCounts::default();
    let mut plan = plan_and_look(conn, &row, sending, |now| since_impact = then.until(now))?;
    drop(then);
    plan.warnings.extend(lost_since(&since_impact));
    plan.warnings.extend(promise::warning(&row, now));
    // The age of the directory is not part of what is sent, so the digest does not cover it. It changes while
    // the operator reads.
    let directory = status::ages(conn, now)?;
    plan.warnings.extend(status::warnings(&directory));
    plan.warnings.extend(templates::warnings(&plan.template)?);
    let template = plan.template.compile()?;
    let urls = compose::Urls::without_token(&sending.public_url);
    let mut channels: BTreeMap<String, usize> = BTreeMap::new();
    for endpoint in plan.endpoints.iter().chain(&plan.messages) {
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
    let sms_samples = sms_samples(id, &plan, sending, samples)?;
    let languages = translation::languages(&plan.content, &plan.recipients);
    plan.warnings
        .extend(translation::warnings(&plan.content, &languages));
    let further: BTreeSet<i64> = languages
        .iter()
        .map(|one| one.ordinal)
        .filter(|ordinal| samples > 0 && *ordinal > samples as i64)
        .collect();
    let samples = (1..)
        .zip(plan.recipients.iter())
        .filter(|(ordinal, _)| *ordinal <= samples as i64 || further.contains(ordinal))
        .map(|(_, packed)| {
            let recipient = packed.unpack()?;
            rendered(
                &plan.content,
                &template,
                recipient.address,
                &recipient.context,
                &urls,
            )
        })
        .collect::<Result<Vec<_>>>()?;
    let unusual = compared::warnings(conn, &row, &plan)?;
    plan.warnings.extend(unusual);
    let compared_with = compared::compared(conn, &row, &plan)?;
    let largest_accounts = compared::largest(conn, &plan)?;
    let needed = approval::needed(conn, &row, &plan, sending, now)?;
    let preview = Preview {
        recipients: plan.recipients.len(),
        approval_required: !needed.exceeded.is_empty(),
        limits: needed.exceeded,
        approvals_needed: needed.approvals,
        approvals_given: needed.consent.people,
        approved: needed.consent.kind.is_some(),
        break_glass: needed.consent.kind == Some(ApprovalKind::BreakGlass),
        digest: plan.digest.clone(),
        audience: plan.rule.clone(),
        since_impact,
        compared_with,
        largest_accounts,
        languages,
        warnings: std::mem::take(&mut plan.warnings),
        has_placeholders: !placeholder::errors(&plan.content).is_empty(),
        still_impaired: plan.still_impaired.clone(),
        missing_values: std::mem::take(&mut plan.missing_values.first),
        directory,
        samples,
        endpoint_samples,
        sms_samples,
        channels,
        sms: (plan.sms.messages > 0).then(|| plan.sms.clone()),
        added: plan.added,
        removed: plan.removed,
        already_told: plan.already_notified,
        drill: plan.content.drill,
        would_reach: plan.would_reach,
    };
    Ok(Previewed { preview, plan })
}

/// Returns the audience at the start of the incident. Only the preview needs it.
fn at_impact(conn: &mut Conn, row: &Row) -> Result<Outline> {
    let started = incident::get(conn, &row.incident_id)?.started_at;
    let then = audience::resolve_by(conn, &row.incident_id, &row.rule()?, At::Then(started))?;
    Ok(Outline::of(then))
}

/// Returns a warning about people who owned affected resources at the start of the incident and do not own
/// them now.
fn lost_since(since_impact: &DifferenceCounts) -> Option<String> {
    (since_impact.removed > 0).then(|| {
        people(
            since_impact.removed,
            "was affected when the incident started, but no longer is",
            "were affected when the incident started, but no longer are",
        )
    })
}

/// Returns the first messages of a plan, as they would be sent.
///
/// # Errors
/// `Internal` if a text is missing in a language.
fn sms_samples(id: &NoticeId, plan: &Plan, sending: &Sending, most: usize) -> Result<Vec<SmsSample>> {
    let Some(terms) = &sending.sms else {
        return Ok(Vec::new());
    };
    let link = sms::longest_link(&sending.public_url, plan.content.phase);
    let first = plan.messages.iter().take(most);
    first
        .map(|message| {
            let text = sms::text(id, &plan.content, &message.context, &link, terms)?;
            Ok(SmsSample {
                to: message.url.clone(),
                segments: sms_text::segments(&text),
                text,
            })
        })
        .collect()
}
