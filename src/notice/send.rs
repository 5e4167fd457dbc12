//! Sends, stops and finishes notices, and drafts catch-ups.

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::counts::{self, Changes};
use super::digest::{Digest, changed};
use super::draft::{check_phase, insert};
use super::endpoints::{self, EndpointRecipient};
use super::plan::{Plan, Sending, missing, plan};
use super::row::{EMAIL, Row, State, locked, require_draft, resolutions_being_sent, row};
use super::view::{Notice, get};
use super::{approval, authors, reminders, sharing, templates};
use crate::audit::frozen::{FrozenDigest, FrozenNotice, FrozenRecipient};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::dialect::{self, analyze, on_backend, tell_workers};
use crate::db::schema::{deliveries as d, notice_recipients as nr, notices as n};
use crate::directory::address_domain;
use crate::incident::{self, timeline};
use crate::notice::template::Phase;

/// The number of recipients from which PostgreSQL gets new statistics of the rows that it changes. Without
/// them its query plans are bad.
const MANY: usize = 1_000;

/// The state of a stopped notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Stopped {
    /// Always `stopped`.
    pub state: State,
    /// The number of emails that were sent before.
    pub sent: i64,
    /// The number of recipients who were not notified.
    pub not_sent: i64,
    /// The number of emails that were being sent when the notice was stopped and whose outcome is not known
    /// yet.
    pub in_flight: i64,
}

/// Freezes a draft and queues it. From then on, changes of the directory and the incident have no effect on
/// it.
///
/// # Errors
/// - `NotFound` if the notice does not exist.
/// - `Conflict` if it is not a draft any more, if the digest is not the current one, or if it is a resolution
///   and the incident is not resolved.
/// - `Invalid` if it has no recipients.
/// - `Forbidden` if an approval is missing.
pub fn send(tx: &mut Tx<'_>, id: &NoticeId, digest: &Digest, sending: &Sending) -> Result<Notice> {
    let row = locked(tx, id)?;
    require_draft(&row)?;
    check_phase(tx.conn, &row.incident_id, row.phase()?)?;
    let plan = plan(tx.conn, &row, sending)?;
    if plan.recipients.is_empty() && plan.endpoints.is_empty() {
        return Err(Error::invalid("", "the notice has no recipients"));
    }
    if plan.digest != digest.digest {
        return Err(changed());
    }
    freeze(tx, &row, &plan, sending)?;
    get(tx.conn, id)
}

/// Freezes a locked draft exactly as it was planned in this transaction, and queues it.
///
/// # Errors
/// `Forbidden` if an approval is missing.
pub(super) fn freeze(tx: &mut Tx<'_>, row: &Row, plan: &Plan, sending: &Sending) -> Result<()> {
    let (id, phase) = (&row.id, plan.content.phase);
    let count = plan.recipients.len();
    approval::require(tx.conn, row, plan, sending)?;
    let template = templates::keep(tx, &plan.template)?;
    let content = sharing::frozen(&plan.content, &plan.recipients)?;
    let mut frozen = FrozenDigest::of(&FrozenNotice {
        id: id.as_str(),
        digest: &plan.digest,
        content: &content,
        template: &template,
        subject: &plan.template.subject,
        text: &plan.template.text,
        html: &plan.template.html,
    })?;
    for (index, chunk) in plan.recipients.chunks(500).enumerate() {
        let rows = chunk
            .iter()
            .enumerate()
            .map(|(offset, packed)| {
                let head = packed.head()?;
                let ordinal = (index * 500 + offset + 1) as i64;
                let person = head.people.into_iter().next().unwrap_or_default().into_owned();
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
    }
    freeze_endpoints(tx, id, count, &plan.endpoints, &mut frozen)?;
    if count >= MANY {
        analyze(tx.conn, &["notice_recipients"])?;
    }
    diesel::update(n::table.find(id.as_str()))
        .set((
            n::state.eq(State::Queued.as_str()),
            n::digest.eq(Some(&plan.digest)),
            n::template_id.eq(Some(&template)),
            n::frozen.eq(Some(&content)),
            n::recipients.eq(count as i64),
            n::endpoints.eq(plan.endpoints.len() as i64),
            n::episode.eq(plan.episode),
            n::unreachable.eq(plan.unreachable as i64),
            n::queued_at.eq(Some(tx.now)),
            n::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    // This comes last, because it locks the counts of the resolution, and the workers need these counts to
    // store outcomes.
    if matches!(phase, Phase::Detection | Phase::Update) {
        for resolution in resolutions_being_sent(tx.conn, &row.incident_id, plan.episode)? {
            let resolution = super::row::row(tx.conn, &resolution)?;
            halt(tx, &resolution, Some("the incident was reopened"))?;
        }
    }
    tell_workers(tx.conn, None)?;
    tx.record(
        Event::new(Action::NoticeQueued, "notice", id.as_str())
            .incident(&row.incident_id)
            .after(json!({
                "phase": phase, "digest": plan.digest, "recipients": count, "endpoints": plan.endpoints.len(),
                "template": template, "approved_by": row.approved_by, "episode": plan.episode, "frozen": frozen.finish(),
            })),
    );
    Ok(())
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
pub fn stop(tx: &mut Tx<'_>, id: &NoticeId) -> Result<()> {
    let row = locked(tx, id)?;
    let state = row.state()?;
    if !matches!(state, State::Queued | State::Sending) {
        return Err(Error::Conflict(format!(
            "the notice is {state}; only a notice that is being sent can be stopped"
        )));
    }
    halt(tx, &row, None)
}

/// Stops a notice that is queued or being sent. `why` is the reason if no person stopped it. The caller must
/// hold the lock of the incident.
fn halt(tx: &mut Tx<'_>, row: &Row, why: Option<&str>) -> Result<()> {
    let (id, state) = (&row.id, row.state()?);
    dialect::lock(tx.conn, dialect::Lock::Notice, id.as_str())?;
    diesel::update(n::table.find(id.as_str()))
        .set((
            n::state.eq(State::Stopped.as_str()),
            n::finished_at.eq(Some(tx.now)),
            n::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    // Only the worker that has claimed a row knows whether it is being sent, so claimed rows are left to the
    // worker.
    let mut changes = Changes::default();
    let mut withheld = 0;
    for channel in counts::in_states(tx.conn, id, &["pending"])?.into_keys() {
        let stopped = diesel::update(
            d::table
                .filter(d::notice_id.eq(id.as_str()))
                .filter(d::channel.eq(&channel))
                .filter(d::state.eq("pending"))
                .filter(d::lease.is_null()),
        )
        .set(d::state.eq("stopped"))
        .execute(tx.conn)?;
        changes.moved(id, &channel, "pending", "stopped", stopped);
        withheld += stopped;
    }
    changes.store(tx.conn)?;
    tell_workers(tx.conn, Some(id))?;
    let mut after = json!({"withheld_in_queue": withheld});
    if let Some(why) = why {
        after["reason"] = json!(why);
    }
    tx.record(
        Event::new(Action::NoticeStopped, "notice", id.as_str())
            .incident(&row.incident_id)
            .before(json!({"state": state}))
            .after(after),
    );
    let because = why.map(|why| format!(": {why}")).unwrap_or_default();
    timeline::note(
        tx,
        &row.incident_id,
        timeline::Kind::Note,
        tx.now,
        &format!("{} notice stopped{because}", row.phase),
    )?;
    Ok(())
}

/// Returns the state of a stopped notice.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn stopped(conn: &mut Conn, id: &NoticeId) -> Result<Stopped> {
    let notice = get(conn, id)?;
    // Deliveries that no worker had claimed were set to stopped when the notice was stopped.
    let in_flight = counts::in_states(conn, id, &["pending"])?
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
    if row.state()? == State::Draft {
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
    if missing(tx.conn, &row)? == 0 && endpoints::missing(tx.conn, &row)? == 0 {
        return Err(Error::invalid(
            "",
            "everybody who is affected has already got this notice",
        ));
    }
    let author = tx.actor.id().to_owned();
    let copied = row.id.clone();
    let copy = Row {
        subject: row.subject,
        customer_action: row.customer_action,
        audience: row.audience,
        catch_up_of: Some(row.catch_up_of.unwrap_or(row.id)),
        ..Row::by(tx.conn, &author, tx.now, row.incident_id, row.phase, row.message)?
    };
    insert(tx, &copy)?;
    authors::inherit_authors(tx, &copied, &copy.id)?;
    get(tx.conn, &copy.id)
}

/// Adds an entry to the timeline when the first recipient of a notice is notified. It is called before a
/// delivery of this channel is recorded as sent. It does not wait for the last recipient, whose address may
/// fail for days. If the notice has emails, only these count, and calls to endpoints do not.
///
/// # Errors
/// An error of the database.
pub fn told_somebody(tx: &mut Tx<'_>, id: &NoticeId, channel: &str) -> Result<()> {
    if channel != EMAIL && row(tx.conn, id)?.recipients > 0 {
        return Ok(());
    }
    if anybody_told(tx.conn, id, channel)? {
        return Ok(());
    }
    // If two workers are here at the same time, only one of them adds the entry.
    let row = locked(tx, id)?;
    if anybody_told(tx.conn, id, channel)? {
        return Ok(());
    }
    let kind = if row.phase()? == Phase::Report {
        timeline::Kind::Reported
    } else {
        timeline::Kind::Notified
    };
    let text = match row.recipients {
        0 => format!(
            "{} notice: the first of {} calls accepted",
            row.phase, row.endpoints
        ),
        people => format!("{} notice: the first of {people} emails sent", row.phase),
    };
    timeline::note(tx, &row.incident_id, kind, tx.now, &text)?;
    Ok(())
}

fn anybody_told(conn: &mut Conn, id: &NoticeId, channel: &str) -> Result<bool> {
    Ok(counts::in_states(conn, id, &["sent", "bounced"])?.contains_key(channel))
}

/// Finishes a notice without pending deliveries, and adds the result to the timeline.
///
/// # Errors
/// An error of the database.
pub fn finished(tx: &mut Tx<'_>, id: &NoticeId) -> Result<()> {
    let row = locked(tx, id)?;
    if row.state()? != State::Sending {
        return Ok(());
    }
    // A delivery may have been queued again before the lock was taken.
    if !counts::in_states(tx.conn, id, &["pending"])?.is_empty() {
        return Ok(());
    }
    diesel::update(n::table.find(id.as_str()))
        .set((
            n::state.eq(State::Sent.as_str()),
            n::finished_at.eq(Some(tx.now)),
            n::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    // PostgreSQL still has statistics from when all of these rows were pending.
    if row.recipients >= MANY as i64 {
        analyze(tx.conn, &["deliveries"])?;
    }
    let Notice { counts, channels, .. } = get(tx.conn, id)?;
    let others = [
        (counts.failed, "failed"),
        (counts.suppressed, "opted out"),
        (counts.bounced, "bounced"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!(", {count} {what}"))
    .collect::<String>();
    let systems: String = channels
        .iter()
        .map(|(channel, counts)| format!("; {channel}: {} of {} accepted", counts.sent, counts.total()))
        .collect();
    let text = format!(
        "{} notice: {} of {} emails sent{others}{systems}",
        row.phase,
        counts.sent,
        counts.total()
    );
    timeline::note(tx, &row.incident_id, timeline::Kind::Note, tx.now, &text)?;
    tx.record(
        Event::new(Action::NoticeFinished, "notice", id.as_str())
            .incident(&row.incident_id)
            .after(json!({"counts": counts.mails, "channels": channels})),
    );
    Ok(())
}
