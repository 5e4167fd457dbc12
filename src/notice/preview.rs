//! What a draft would do if it were sent now, and what whoever sends should know before.
//!
//! Must never happen here: anything that is changed, or a number of another audience than the one that would be sent to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::payload::{self, Payload};
use super::plan::{Sending, people, plan_and_look};
use super::{Row, approval, compose, row, templates};
use crate::audience::{self, At, DifferenceCounts, Outline, Rule};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::source::status::{self, SourceAge};
use crate::incident;
use crate::notice::template::Rendered;

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
    /// People left out: they were notified of this already since the incident was opened or reopened.
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
/// The preview of a draft, with up to `samples` rendered mails. Changes nothing.
///
/// # Errors
/// `NotFound`; `Conflict` where the notice is no draft any more; `Invalid` where its template cannot be rendered within
/// the limits.
pub fn preview(
    conn: &mut Conn,
    id: &NoticeId,
    sending: &Sending,
    samples: usize,
    now: Timestamp,
) -> Result<Preview> {
    let row = row(conn, id)?;
    super::require_draft(&row)?;
    // Before the plan: the two audiences are never held at a time.
    let then = at_impact(conn, &row)?;
    let mut since_impact = DifferenceCounts::default();
    let mut plan = plan_and_look(conn, &row, sending, |now| since_impact = then.until(now))?;
    drop(then);
    plan.warnings.extend(lost_since(&since_impact));
    // Not part of what is sent, so not of the digest either: a copy grows older while somebody reads.
    let directory = status::ages(conn, now)?;
    plan.warnings.extend(status::warnings(&directory));
    plan.warnings.extend(templates::warnings(&plan.template)?);
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
        .map(|packed| {
            let recipient = packed.unpack()?;
            let optional = plan.content.phase.optional();
            let context = compose::context(&plan.content, &recipient.context, optional, url.clone());
            let Rendered { subject, text, html } = template.render_to_show(&context)?;
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
        approval_required: plan.above(sending).is_some(),
        approved: approval::approved(conn, &row, &plan.digest)?,
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

/// Whom it affected at the time of impact. Only who previews needs to know.
fn at_impact(conn: &mut Conn, row: &Row) -> Result<Outline> {
    let started = incident::get(conn, &row.incident_id)?.started_at;
    let then = audience::resolve_by(conn, &row.incident_id, &row.rule()?, At::Then(started))?;
    Ok(Outline::of(then))
}

/// Warns of whoever owned it then and does not now.
fn lost_since(since_impact: &DifferenceCounts) -> Option<String> {
    (since_impact.removed > 0).then(|| {
        people(
            since_impact.removed,
            "owned or worked on affected resources at the time of impact and no longer does",
            "owned or worked on affected resources at the time of impact and no longer do",
        )
    })
}
