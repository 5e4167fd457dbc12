//! Freezes, sends and stops notices, says when the first recipient is notified, and drafts catch-ups. `state`
//! changes the state.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use diesel::prelude::*;
use serde::Serialize;

use super::counts;
use super::delivery_state::DeliveryState;
use super::digest::changed;
use super::draft::check_phase;
use super::endpoints::EndpointRecipient;
use super::plan::{Plan, Sending, is_anybody_missing, plan};
use super::planned_change;
use super::recipients::Packed;
use super::row::{EMAIL, Row, locked, row};
use super::state::{self, Frozen, MANY, NoticeState, insert_draft, require_draft};
use super::view::{Notice, get};
use super::waves::{self, SendNotice};
use super::{approval, authors, corrections, drill, placeholder, promise, reminders, sharing, templates};
use crate::audit::Tx;
use crate::audit::frozen::{FrozenDigest, FrozenNotice, FrozenRecipient};
use crate::audit::row_tree::Salts;
use crate::base::count::grouped;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{analyze, on_backend};
use crate::db::schema::{notice_recipients as nr, shared_recipients as sr};
use crate::directory::address_domain;
use crate::incident::{self, timeline};
use crate::notice::template::Phase;

/// The state of a stopped notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Stopped {
    /// The state of the notice, which is always `stopped`.
    pub state: NoticeState,
    /// The number of emails that were sent before.
    pub sent: i64,
    /// The number of recipients who were not notified.
    pub not_sent: i64,
    /// The number of emails that were being sent when the notice was stopped and whose outcome is not known
    /// yet.
    pub in_flight: i64,
}

/// Freezes a draft and queues it. From then on, changes of the directory and the incident have no effect on
/// it. With waves, only the first wave is sent now.
///
/// # Errors
/// - `NotFound` if the notice does not exist.
/// - `Conflict` if it is not a draft any more, if the digest is not the current one, if it is a resolution
///   and the incident is not resolved or something of a recipient is not restored, or if it is a correction and the corrected notice or a further wave of
///   another notice is still to be sent.
/// - `Invalid` if it has no recipients, if the waves are wrong, or if it is a correction or a reminder with
///   waves.
/// - `Forbidden` if an approval is missing.
pub fn send(tx: &mut Tx<'_>, id: &NoticeId, what: &SendNotice, sending: &Sending) -> Result<Notice> {
    let wanted = what.waves()?;
    let row = locked(tx, id)?;
    require_draft(&row)?;
    if wanted.is_some() {
        check_may_have_waves(tx.conn, &row)?;
    }
    check_phase(tx.conn, &row.incident_id, row.phase()?)?;
    corrections::check_sendable(tx.conn, &row)?;
    planned_change::check(tx.conn, &row)?;
    let mut plan = plan(tx.conn, &row, sending)?;
    if plan.recipients.is_empty() && plan.endpoints.is_empty() {
        return Err(Error::invalid("", "the notice has no recipients"));
    }
    if plan.digest != what.digest {
        return Err(changed());
    }
    plan.require_no_false_claim()?;
    if wanted.is_some() {
        waves::spread(&mut plan.recipients);
    }
    freeze(tx, &row, &plan, sending)?;
    if let Some(wanted) = wanted {
        let (people, calls) = (plan.recipients.len(), plan.calls());
        waves::store(tx, &row.incident_id, id, &wanted, people, calls)?;
    }
    get(tx.conn, id)
}

/// Checks that a draft may be sent in waves. Before a later wave of a correction or a reminder, the incident may affect its recipients,
/// or they may have answered.
///
/// # Errors
/// `Invalid` if it is a correction or a reminder.
fn check_may_have_waves(conn: &mut Conn, row: &Row) -> Result<()> {
    let what = if row.phase()? == Phase::Correction {
        "correction"
    } else if reminders::is_one(conn, &row.id)? {
        "reminder"
    } else {
        return Ok(());
    };
    let detail = format!("must be left out: a {what} is sent to everybody at once");
    Err(Error::invalid("/waves", detail))
}

/// Checks that nothing in a draft itself keeps it from being sent: a promise that has passed, a value that a recipient lacks, or a
/// text that was to be replaced.
///
/// # Errors
/// `Invalid` with what must be changed.
pub(super) fn require_sendable(row: &Row, plan: &Plan, now: Timestamp) -> Result<()> {
    promise::require_ahead(row, now)?;
    plan.missing_values.require_none()?;
    placeholder::require_none(&plan.content)
}

/// Freezes a locked draft exactly as it was planned in this transaction, and queues it.
///
/// # Errors
/// `Forbidden` if an approval is missing.
pub(super) fn freeze(tx: &mut Tx<'_>, row: &Row, plan: &Plan, sending: &Sending) -> Result<()> {
    let (id, phase) = (&row.id, plan.content.phase);
    let count = plan.recipients.len();
    require_sendable(row, plan, tx.now)?;
    let row = &approval::require(tx, row, plan, sending)?;
    if plan.content.drill {
        drill::allow(tx, id, &plan.recipients, plan.calls(), &sending.drill_to)?;
    }
    let template = templates::keep(tx, &plan.template)?;
    let languages = templates::stored_languages(&plan.template.languages)?;
    let content = sharing::frozen(&plan.content, &plan.recipients)?;
    let texts = FrozenNotice {
        id: id.as_str(),
        digest: &plan.digest,
        content: &content,
        template: &template,
        subject: &plan.template.subject,
        text: &plan.template.text,
        html: &plan.template.html,
        languages: languages.as_deref(),
    };
    let mut frozen = FrozenDigest::with_tree(&texts, Salts::of(tx)?)?;
    for (index, chunk) in plan.recipients.chunks(500).enumerate() {
        let mut shared = Vec::new();
        let rows = chunk
            .iter()
            .enumerate()
            .map(|(offset, packed)| {
                let head = packed.head()?;
                let ordinal = (index * 500 + offset + 1) as i64;
                let mut people = head.people.into_iter();
                let person = people.next().unwrap_or_default().into_owned();
                let others: BTreeSet<String> =
                    people.map(Cow::into_owned).filter(|id| *id != person).collect();
                shared.extend(others.into_iter().map(|other| {
                    (
                        sr::person_id.eq(other),
                        sr::notice_id.eq(id.as_str()),
                        sr::ordinal.eq(ordinal),
                    )
                }));
                let domain = address_domain(packed.address());
                frozen.recipient(&FrozenRecipient {
                    ordinal,
                    person: &person,
                    name: &head.name,
                    address: packed.address(),
                    optional: phase.optional(),
                    context: packed.context(),
                    channel: EMAIL,
                    domain: &domain,
                })?;
                Ok((
                    nr::notice_id.eq(id.as_str()),
                    nr::ordinal.eq(ordinal),
                    nr::person_id.eq(person),
                    nr::name.eq(head.name.into_owned()),
                    nr::address.eq(packed.address()),
                    nr::optional.eq(phase.optional()),
                    nr::context.eq(packed.context()),
                    nr::domain.eq(domain),
                ))
            })
            .collect::<Result<Vec<_>>>()?;
        on_backend!(&mut *tx.conn, c => diesel::insert_into(nr::table).values(&rows).execute(c))?;
        for some in shared.chunks(500) {
            on_backend!(&mut *tx.conn, c => diesel::insert_into(sr::table).values(some).execute(c))?;
        }
    }
    let calls = with_positions(plan);
    freeze_endpoints(tx, id, count, &calls, &mut frozen)?;
    if count >= MANY {
        analyze(tx.conn, &["notice_recipients"])?;
    }
    state::queue(
        tx,
        row,
        Frozen {
            digest: &plan.digest,
            template: &template,
            content: &content,
            recipients: count,
            endpoints: calls.len(),
            unreachable: plan.unreachable,
            episode: plan.episode,
            sealed: frozen.finish(),
            domain: &sending.domain,
        },
    )
}

/// Returns all calls of a plan. The message to a phone gets the position of the email to the same person, which is known only now.
fn with_positions(plan: &Plan) -> Vec<EndpointRecipient> {
    let mut calls = plan.endpoints.clone();
    if plan.messages.is_empty() {
        return calls;
    }
    let positions: HashMap<&str, i64> = plan.recipients.iter().map(Packed::key).zip(1..).collect();
    calls.extend(plan.messages.iter().cloned().map(|mut message| {
        let email = message.beside.as_deref().and_then(|key| positions.get(key));
        message.context.email = email.copied();
        message
    }));
    calls
}

/// Returns the host of a call. The dispatcher shares connections fairly between hosts.
fn url_host(url: &str) -> String {
    url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_lowercase))
        .unwrap_or_default()
}

/// Freezes the calls to endpoints, after the emails.
fn freeze_endpoints(
    tx: &mut Tx<'_>,
    id: &NoticeId,
    mails: usize,
    endpoints: &[EndpointRecipient],
    frozen: &mut FrozenDigest,
) -> Result<()> {
    for (index, chunk) in endpoints.chunks(500).enumerate() {
        let rows = chunk
            .iter()
            .enumerate()
            .map(|(offset, endpoint)| {
                let ordinal = (mails + index * 500 + offset + 1) as i64;
                let context = serde_json::to_string(&endpoint.context)?;
                let domain = url_host(&endpoint.url);
                // An account that wants no calls deletes the endpoint.
                let optional = false;
                frozen.recipient(&FrozenRecipient {
                    ordinal,
                    person: endpoint.context.endpoint.as_str(),
                    name: &endpoint.context.account.name,
                    address: &endpoint.url,
                    optional,
                    context: &context,
                    channel: &endpoint.channel,
                    domain: &domain,
                })?;
                Ok((
                    nr::notice_id.eq(id.as_str()),
                    nr::ordinal.eq(ordinal),
                    nr::person_id.eq(endpoint.context.endpoint.as_str()),
                    nr::name.eq(&endpoint.context.account.name),
                    nr::address.eq(&endpoint.url),
                    nr::optional.eq(optional),
                    nr::context.eq(context),
                    nr::channel.eq(&endpoint.channel),
                    nr::domain.eq(domain),
                ))
            })
            .collect::<Result<Vec<_>>>()?;
        on_backend!(&mut *tx.conn, c => diesel::insert_into(nr::table).values(&rows).execute(c))?;
    }
    Ok(())
}

/// Stops a notice. Deliveries that are not being sent yet are not sent.
///
/// # Errors
/// `NotFound` if the notice does not exist, `Conflict` if it is not being sent.
pub fn stop(tx: &mut Tx<'_>, id: &NoticeId, sending: &Sending) -> Result<()> {
    let row = locked(tx, id)?;
    state::stop(tx, &row, None, &sending.domain)
}

/// Returns the state of a stopped notice.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn stopped(conn: &mut Conn, id: &NoticeId) -> Result<Stopped> {
    let notice = get(conn, id)?;
    // Deliveries that no worker had claimed were set to stopped when the notice was stopped.
    let in_flight = counts::in_states(conn, id, &[DeliveryState::Pending])?
        .remove(EMAIL)
        .unwrap_or_default();
    Ok(Stopped {
        state: notice.state,
        sent: notice.counts.sent + notice.counts.bounced,
        not_sent: notice.recipients - notice.counts.sent - notice.counts.bounced - in_flight,
        in_flight,
    })
}

/// Drafts the same notice for the people who are affected now and did not get it.
///
/// # Errors
/// `NotFound` if the notice does not exist, `Conflict` if it was not sent or the incident was reopened,
/// `Invalid` if nobody is missing.
pub fn catch_up(tx: &mut Tx<'_>, id: &NoticeId) -> Result<Notice> {
    let row = locked(tx, id)?;
    if row.state()?.is_draft() {
        return Err(Error::Conflict(
            "the notice is a draft; send it to notify everybody who is affected".to_owned(),
        ));
    }
    if row.episode < incident::episode_of(tx.conn, &row.incident_id)? {
        return Err(Error::Conflict(
            "the incident was reopened after this notice was sent; draft a new notice, which goes to everybody \
            who is affected"
                .to_owned(),
        ));
    }
    if reminders::is_one(tx.conn, &row.id)? {
        return Err(Error::Conflict(
            "the notice is a reminder for people who have not answered; draft a new reminder".to_owned(),
        ));
    }
    if row.phase()? == Phase::Correction {
        return Err(Error::Conflict(
            "the notice is a correction; draft another correction of the same notice, which goes to those who have not got one"
                .to_owned(),
        ));
    }
    if !is_anybody_missing(tx.conn, &row)? {
        return Err(Error::invalid(
            "",
            "everybody who is affected has already got this notice",
        ));
    }
    let author = tx.actor.id().to_owned();
    let copied = row.id.clone();
    let copy = Row {
        subject: row.subject,
        headline: row.headline,
        // A time that has passed cannot be promised to the others.
        next_update_due_at: row.next_update_due_at.filter(|due| *due > tx.now),
        customer_action: row.customer_action,
        acknowledge_impaired: row.acknowledge_impaired,
        translations: row.translations,
        audience: row.audience,
        catch_up_of: Some(row.catch_up_of.unwrap_or(row.id)),
        ..Row::draft(tx.conn, &author, tx.now, row.incident_id, row.phase, row.message)?
    };
    insert_draft(tx, &copy)?;
    authors::inherit_authors(tx, &copied, &copy.id)?;
    get(tx.conn, &copy.id)
}

/// Adds an entry to the timeline when the first recipient of a notice is notified. It is called before a
/// delivery of this channel is recorded as sent. It does not wait for the last recipient, whose address may
/// fail for days. If the notice has emails, only these count, and calls to endpoints do not.
///
/// # Errors
/// An error of the database.
pub fn note_first_notified(tx: &mut Tx<'_>, id: &NoticeId, channel: &str) -> Result<()> {
    if channel != EMAIL && row(tx.conn, id)?.recipients > 0 {
        return Ok(());
    }
    if is_anybody_notified(tx.conn, id, channel)? {
        return Ok(());
    }
    // If two workers are here at the same time, only one of them adds the entry.
    let row = locked(tx, id)?;
    if is_anybody_notified(tx.conn, id, channel)? {
        return Ok(());
    }
    let kind = match row.phase()? {
        Phase::Detection | Phase::Update | Phase::Recovery | Phase::Resolution => timeline::Kind::Notified,
        Phase::Report => timeline::Kind::Reported,
        // A correction notifies nobody of the incident.
        Phase::Correction | Phase::Maintenance => timeline::Kind::Note,
    };
    let text = match row.recipients {
        0 => format!(
            "{} notice: the first of {} calls accepted",
            row.phase,
            grouped(row.endpoints)
        ),
        people => format!(
            "{} notice: the first of {} emails sent",
            row.phase,
            grouped(people)
        ),
    };
    timeline::note(tx, &row.incident_id, kind, tx.now, &text)?;
    Ok(())
}

fn is_anybody_notified(conn: &mut Conn, id: &NoticeId, channel: &str) -> Result<bool> {
    Ok(counts::in_states(conn, id, &[DeliveryState::Sent, DeliveryState::Bounced])?.contains_key(channel))
}

/// Finishes a notice without pending deliveries, and adds the result to the timeline.
///
/// # Errors
/// An error of the database.
pub fn finished(tx: &mut Tx<'_>, id: &NoticeId) -> Result<()> {
    state::finish(tx, id, |conn| {
        let Notice { counts, channels, .. } = get(conn, id)?;
        Ok((counts.mails, channels))
    })
}
