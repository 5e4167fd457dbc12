//! The state of a notice, and the only functions that change it.
//!
//! ```text
//! draft ─(queue: frozen recipients and texts)─► queued ─(expanded)─► sending ─(finish)─► sent
//!                                               │ ▲  ▲                 │ │ ▲              │
//!                                               │ │  └──(next wave)────┘ │ └─(send again)─┘
//!                                               └─┼───────(stop)─────────┤
//!                                                 └──(resume)── stopped ◄┘
//! ```
//!
//! `tests/states_have_one_owner.rs` fails if another file writes the state.
//!
//! Each function changes the state only from the states that it names, and writes the audit event and the
//! entry of the timeline that belong to it. The order of locks is always the same: the incident, the notice,
//! the deliveries, the counts, the end of the audit chain. A function says which of them its caller holds.

use std::collections::HashSet;
use std::time::Duration;

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::json;

use super::authors::add_author;
use super::counts::{self, ByChannel, DeliveryCounts};
use super::delivery_state::{self, Changes, DeliveryState, NewDeliveries};
use super::row::{Row, locked, row};
use crate::audit::frozen::Sealed;
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::columns::word_columns;
use crate::base::count::grouped;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, analyze, tell_workers};
use crate::db::schema::notices as n;
use crate::incident::{self, timeline};
use crate::notice::template::Phase;

/// The number of recipients from which PostgreSQL gets new statistics of the rows that it changes. Without
/// them its query plans are bad.
pub(super) const MANY: usize = 1_000;
/// The largest number of stopped deliveries that one transaction creates.
const LISTED: i64 = 10_000;

word_enum! {
    /// The state of a notice.
    #[derive(AsExpression, FromSqlRow)]
    #[diesel(sql_type = Text)]
    #[schema(as = State)]
    NoticeState, "a state of a notice" {
        /// The notice is being written.
        Draft = "draft",
        /// The notice is frozen and waits to be expanded into deliveries.
        Queued = "queued",
        /// The deliveries are being sent.
        Sending = "sending",
        /// No delivery is pending any more.
        Sent = "sent",
        /// A person stopped the notice, or a later notice of a reopened incident did.
        Stopped = "stopped",
    }
}
word_columns!(NoticeState);

impl NoticeState {
    /// Returns whether the notice can still be changed and nothing of it was sent.
    pub fn is_draft(self) -> bool {
        match self {
            NoticeState::Draft => true,
            NoticeState::Queued | NoticeState::Sending | NoticeState::Sent | NoticeState::Stopped => false,
        }
    }

    /// Returns whether the notice is frozen and not finished: its recipients will be notified, unless it is
    /// stopped before.
    pub fn is_being_sent(self) -> bool {
        match self {
            NoticeState::Queued | NoticeState::Sending => true,
            NoticeState::Draft | NoticeState::Sent | NoticeState::Stopped => false,
        }
    }

    /// Returns whether the notice was sent or stopped.
    pub fn is_over(self) -> bool {
        match self {
            NoticeState::Sent | NoticeState::Stopped => true,
            NoticeState::Draft | NoticeState::Queued | NoticeState::Sending => false,
        }
    }

    /// Returns the state as which a frozen recipient without a delivery counts. The recipient waits to be
    /// queued, or will not be queued because the notice was stopped.
    pub(super) fn of_unqueued(self) -> DeliveryState {
        match self {
            NoticeState::Draft | NoticeState::Queued | NoticeState::Sending | NoticeState::Sent => {
                DeliveryState::Pending
            }
            NoticeState::Stopped => DeliveryState::Stopped,
        }
    }
}

impl Row {
    /// Returns the row of a new draft without an approval, in the current episode of the incident. It is not
    /// stored yet.
    pub(super) fn draft(
        conn: &mut Conn,
        author: &str,
        now: Timestamp,
        incident_id: IncidentId,
        phase: String,
        message: String,
    ) -> Result<Row> {
        let episode = incident::episode_of(conn, &incident_id)?;
        Ok(Row {
            id: NoticeId::new(now),
            incident_id,
            phase,
            state: NoticeState::Draft.as_str().to_owned(),
            subject: None,
            message,
            customer_action: None,
            catch_up_of: None,
            drafted_by: author.to_owned(),
            approved_by: None,
            approved_digest: None,
            digest: None,
            template_id: None,
            frozen: None,
            recipients: 0,
            expand_cursor: 0,
            created_at: now,
            updated_at: now,
            queued_at: None,
            finished_at: None,
            endpoints: 0,
            audience: None,
            episode,
            unreachable: 0,
            headline: None,
            next_update_due_at: None,
            acknowledge_impaired: false,
            translations: None,
        })
    }

    /// Returns the state of the notice.
    ///
    /// # Errors
    /// `Internal` if this version does not know the stored state.
    pub fn state(&self) -> Result<NoticeState> {
        NoticeState::parse(&self.state).map_err(Error::internal)
    }
}

/// Checks that a notice is a draft.
///
/// # Errors
/// `Conflict` if it is not a draft any more.
pub(super) fn require_draft(row: &Row) -> Result<()> {
    let state = row.state()?;
    if state.is_draft() {
        return Ok(());
    }
    Err(Error::Conflict(format!("the notice is {state} and can no longer be changed")).code(Code::NotADraft))
}

/// Returns the resolutions of an incident that are from an episode before the given one and are still being
/// sent.
pub(super) fn resolutions_being_sent(
    conn: &mut Conn,
    incident: &IncidentId,
    episode: i64,
) -> Result<Vec<NoticeId>> {
    Ok(n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::phase.eq(Phase::Resolution.as_str()))
        .filter(n::state.eq_any([NoticeState::Queued, NoticeState::Sending]))
        .filter(n::episode.lt(episode))
        .order(n::id)
        .select(n::id)
        .load(conn)?)
}

/// Returns the earlier notices of the same planned maintenance that are still being sent.
fn maintenance_being_sent(conn: &mut Conn, of: &Row) -> Result<Vec<NoticeId>> {
    Ok(n::table
        .filter(n::incident_id.eq(of.incident_id.as_str()))
        .filter(n::id.ne(of.id.as_str()))
        .filter(n::state.eq_any([NoticeState::Queued, NoticeState::Sending]))
        .order(n::id)
        .select(n::id)
        .load(conn)?)
}

/// Returns the stopped resolutions from before the episode of a sent notice, and the stopped notices of the same maintenance. The workers must be told about
/// them when that notice is stored. Otherwise deliveries that a worker has already claimed would still be
/// sent.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn stopped_before(conn: &mut Conn, id: &NoticeId) -> Result<Vec<NoticeId>> {
    let row = row(conn, id)?;
    if row.phase == Phase::Maintenance.as_str() {
        return Ok(n::table
            .filter(n::incident_id.eq(row.incident_id.as_str()))
            .filter(n::id.ne(row.id.as_str()))
            .filter(n::state.eq(NoticeState::Stopped))
            .order(n::id)
            .select(n::id)
            .load(conn)?);
    }
    if row.episode == 1 {
        return Ok(Vec::new());
    }
    Ok(n::table
        .filter(n::incident_id.eq(row.incident_id.as_str()))
        .filter(n::phase.eq(Phase::Resolution.as_str()))
        .filter(n::state.eq(NoticeState::Stopped))
        .filter(n::episode.lt(row.episode))
        .order(n::id)
        .select(n::id)
        .load(conn)?)
}

/// Returns whether a notice of this phase was sent in this episode of the incident.
pub(super) fn sent_in(conn: &mut Conn, incident: &IncidentId, phase: Phase, episode: i64) -> Result<bool> {
    // A notice of an incident that was merged into this one counts.
    let counted = incident::lineage::counted_for(conn, incident)?;
    for of in counted {
        let sent: i64 = n::table
            .filter(n::incident_id.eq(of.id.as_str()))
            .filter(n::phase.eq(phase.as_str()))
            .filter(n::state.ne(NoticeState::Draft))
            .filter(n::episode.eq(episode - of.shift))
            .count()
            .get_result(conn)?;
        if sent > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Stores the row of a new draft with its author, and writes the audit event. It takes no lock of an existing
/// row.
///
/// # Errors
/// `Conflict` if the row is not a draft.
pub(super) fn insert_draft(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    require_draft(row)?;
    diesel::insert_into(n::table).values(row).execute(tx.conn)?;
    add_author(tx, &row.id, &row.drafted_by)?;
    tx.record(
        Event::new(Action::NoticeDrafted, "notice", row.id.as_str())
            .incident(&row.incident_id)
            .after(json!({
                "phase": row.phase, "subject": row.subject, "message": row.message,
                "customer_action": row.action()?, "audience": row.rule()?, "catch_up_of": row.catch_up_of,
                "headline": row.headline, "next_update_due_at": row.next_update_due_at,
                "acknowledge_impaired": row.acknowledge_impaired, "translations": row.translations()?,
            })),
    );
    Ok(())
}

/// What a notice is frozen with, besides its rows in the list of recipients.
pub(super) struct Frozen<'a> {
    /// The digest of the plan.
    pub digest: &'a str,
    /// The ID of the stored template.
    pub template: &'a str,
    /// The content that is the same for all recipients, as JSON.
    pub content: &'a str,
    /// The number of emails.
    pub recipients: usize,
    /// The number of calls to endpoints.
    pub endpoints: usize,
    /// The number of people without a valid address.
    pub unreachable: usize,
    /// The episode in which the notice is sent.
    pub episode: i64,
    /// The digest of everything that is frozen, and the root that proves a part of it, for the audit trail.
    pub sealed: Sealed,
    /// The part of a Message-ID after the @.
    pub domain: &'a str,
}

/// Changes a notice from `draft` to `queued`, with what it is frozen with. If the notice says that the
/// incident is not over, resolutions from before the incident was reopened are stopped. It tells the workers
/// and writes the audit event.
///
/// The caller has locked the incident and the notice, and has stored the frozen recipients. The resolutions
/// are stopped last, because this locks their counts, which the workers need to store outcomes.
///
/// # Errors
/// `Conflict` if the notice is not a draft any more.
pub(super) fn queue(tx: &mut Tx<'_>, row: &Row, frozen: Frozen<'_>) -> Result<()> {
    let (id, phase) = (&row.id, row.phase()?);
    let queued = diesel::update(n::table.find(id.as_str()).filter(n::state.eq(NoticeState::Draft)))
        .set((
            n::state.eq(NoticeState::Queued),
            n::digest.eq(Some(frozen.digest)),
            n::template_id.eq(Some(frozen.template)),
            n::frozen.eq(Some(frozen.content)),
            n::recipients.eq(frozen.recipients as i64),
            n::endpoints.eq(frozen.endpoints as i64),
            n::episode.eq(frozen.episode),
            n::unreachable.eq(frozen.unreachable as i64),
            n::queued_at.eq(Some(tx.now)),
            n::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    if queued == 0 {
        let state = super::row::row(tx.conn, id)?.state()?;
        return Err(
            Error::Conflict(format!("the notice is {state} and can no longer be sent")).code(Code::NotADraft),
        );
    }
    match phase {
        Phase::Detection | Phase::Update => {
            for resolution in resolutions_being_sent(tx.conn, &row.incident_id, frozen.episode)? {
                let resolution = super::row::row(tx.conn, &resolution)?;
                stop(tx, &resolution, Some("the incident was reopened"), frozen.domain)?;
            }
        }
        // What is still being sent says something else.
        Phase::Maintenance if row.catch_up_of.is_none() => {
            for earlier in maintenance_being_sent(tx.conn, row)? {
                let earlier = super::row::row(tx.conn, &earlier)?;
                stop(tx, &earlier, Some("the maintenance changed"), frozen.domain)?;
            }
        }
        Phase::Recovery | Phase::Resolution | Phase::Report | Phase::Correction | Phase::Maintenance => {}
    }
    tell_workers(tx.conn, None)?;
    tx.record(
        Event::new(Action::NoticeQueued, "notice", id.as_str())
            .incident(&row.incident_id)
            .after(json!({
                "phase": phase, "digest": frozen.digest, "recipients": frozen.recipients,
                "endpoints": frozen.endpoints, "template": frozen.template, "approved_by": row.approved_by,
                "episode": frozen.episode, "frozen": frozen.sealed.digest, "frozen_root": frozen.sealed.root,
            })),
    );
    Ok(())
}

/// Stores that the deliveries of a notice exist up to the position `upto` of its frozen list. With the last of
/// `recipients`, or of those of the current wave, it changes the notice from `queued` to `sending` and writes the audit event.
///
/// The caller has locked the notice, found it `queued`, and has created these deliveries in this transaction
/// ([`delivery_state::create`]).
///
/// # Errors
/// An error of the database.
pub fn expanded(tx: &mut Tx<'_>, id: &NoticeId, upto: i64, recipients: i64) -> Result<()> {
    let complete = upto == recipients;
    let state = if complete {
        NoticeState::Sending
    } else {
        NoticeState::Queued
    };
    diesel::update(
        n::table
            .find(id.as_str())
            .filter(n::state.eq(NoticeState::Queued)),
    )
    .set((n::expand_cursor.eq(upto), n::state.eq(state)))
    .execute(tx.conn)?;
    if complete {
        let incident = n::table.find(id.as_str()).select(n::incident_id).first(tx.conn)?;
        tx.record(
            Event::new(Action::NoticeExpanded, "notice", id.as_str())
                .incident(&incident)
                .after(json!({"deliveries": recipients})),
        );
    }
    Ok(())
}

/// Changes a notice from `queued` or `sending` to `stopped`, and stops its deliveries that no worker has
/// claimed. Recipients without a delivery get a stopped one ([`list_rest`]). It tells the workers, which stop
/// the claimed ones, and writes the audit event and an entry of the timeline. `why` is the reason if no person
/// stopped it.
///
/// The caller has locked the incident. This locks the notice, the deliveries and the counts.
///
/// # Errors
/// `Conflict` if the notice is not being sent.
pub(super) fn stop(tx: &mut Tx<'_>, row: &Row, why: Option<&str>, domain: &str) -> Result<()> {
    let (id, state) = (&row.id, row.state()?);
    if !state.is_being_sent() {
        return Err(Error::Conflict(format!(
            "the notice is {state}; only a notice that is being sent can be stopped"
        )));
    }
    dialect::lock(tx.conn, dialect::Lock::Notice, id.as_str())?;
    diesel::update(
        n::table
            .find(id.as_str())
            .filter(n::state.eq_any([NoticeState::Queued, NoticeState::Sending])),
    )
    .set((
        n::state.eq(NoticeState::Stopped),
        n::finished_at.eq(Some(tx.now)),
        n::updated_at.eq(tx.now),
    ))
    .execute(tx.conn)?;
    let mut changes = Changes::default();
    let channels = counts::in_states(tx.conn, id, &[DeliveryState::Pending])?;
    let withheld = delivery_state::stop_unclaimed(tx.conn, id, channels.into_keys(), &mut changes)?;
    list_rest(tx, id, domain, &mut changes)?;
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

/// Creates stopped deliveries for the recipients of a stopped notice who have none, up to [`LISTED`] of them.
/// Then the deliveries say completely who was not notified, and a resumed notice needs no other list.
///
/// The caller has locked the notice, found it stopped, and stores the changes.
///
/// # Errors
/// An error of the database.
pub(super) fn list_rest(tx: &mut Tx<'_>, id: &NoticeId, domain: &str, changes: &mut Changes) -> Result<()> {
    let (cursor, people, all): (i64, i64, i64) = n::table
        .find(id.as_str())
        .select((n::expand_cursor, n::recipients, n::recipients + n::endpoints))
        .first(tx.conn)?;
    let upto = cursor.saturating_add(LISTED).min(all);
    if upto <= cursor {
        return Ok(());
    }
    let new = NewDeliveries {
        notice: id,
        after: cursor,
        upto,
        people,
        domain,
        // The times are set again when the notice is resumed.
        mail_lifetime: Duration::ZERO,
        call_lifetime: Duration::ZERO,
        state: DeliveryState::Stopped,
    };
    // A notice that was stopped again while its list was expanded has them already.
    if !delivery_state::exist(tx.conn, &new)? {
        delivery_state::create(tx, &new, changes)?;
    }
    diesel::update(
        n::table
            .find(id.as_str())
            .filter(n::state.eq(NoticeState::Stopped)),
    )
    .set(n::expand_cursor.eq(upto))
    .execute(tx.conn)?;
    Ok(())
}

/// Changes a notice from `sending` to `queued`, so that the deliveries of its next wave are created. It tells the
/// workers. The caller has locked the notice, has stored which wave is current, and writes the audit event.
///
/// # Errors
/// An error of the database.
pub(super) fn begin_wave(tx: &mut Tx<'_>, id: &NoticeId) -> Result<()> {
    diesel::update(
        n::table
            .find(id.as_str())
            .filter(n::state.eq(NoticeState::Sending)),
    )
    .set((n::state.eq(NoticeState::Queued), n::updated_at.eq(tx.now)))
    .execute(tx.conn)?;
    tell_workers(tx.conn, None)
}

/// Changes a notice from `stopped` to `queued`. Its list is expanded again from the beginning: a stopped delivery
/// becomes pending, and every other delivery stays as it is. It tells the workers.
///
/// The caller has locked the incident and the notice, has found every recipient listed and no delivery pending, and
/// writes the audit event.
///
/// # Errors
/// An error of the database.
pub(super) fn resume(tx: &mut Tx<'_>, id: &NoticeId) -> Result<()> {
    diesel::update(
        n::table
            .find(id.as_str())
            .filter(n::state.eq(NoticeState::Stopped)),
    )
    .set((
        n::state.eq(NoticeState::Queued),
        n::expand_cursor.eq(0),
        n::finished_at.eq(None::<Timestamp>),
        n::updated_at.eq(tx.now),
    ))
    .execute(tx.conn)?;
    tell_workers(tx.conn, None)
}

/// Changes a notice without pending deliveries from `sending` to `sent`, and writes the audit event and an
/// entry of the timeline with its numbers, which `read` returns: those of the emails, and those of the calls by
/// channel. A notice in another state, with a pending delivery or with a further wave stays unchanged.
///
/// This locks the incident and the notice. So the transaction must not have locked deliveries or counts before:
/// whoever sends again or stops holds the locks of the incident and the notice, and then waits for those.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub(super) fn finish(
    tx: &mut Tx<'_>,
    id: &NoticeId,
    read: impl FnOnce(&mut Conn) -> Result<(DeliveryCounts, ByChannel)>,
) -> Result<()> {
    let row = locked(tx, id)?;
    match row.state()? {
        NoticeState::Sending => {}
        NoticeState::Draft | NoticeState::Queued | NoticeState::Sent | NoticeState::Stopped => return Ok(()),
    }
    // A further wave follows.
    if row.expand_cursor < row.recipients + row.endpoints {
        return Ok(());
    }
    // A delivery may have been queued again before the lock was taken.
    if !counts::in_states(tx.conn, id, &[DeliveryState::Pending])?.is_empty() {
        return Ok(());
    }
    diesel::update(
        n::table
            .find(id.as_str())
            .filter(n::state.eq(NoticeState::Sending)),
    )
    .set((
        n::state.eq(NoticeState::Sent),
        n::finished_at.eq(Some(tx.now)),
        n::updated_at.eq(tx.now),
    ))
    .execute(tx.conn)?;
    // PostgreSQL still has statistics from when all of these rows were pending.
    if row.recipients >= MANY as i64 {
        analyze(tx.conn, &["deliveries"])?;
    }
    let (mails, channels) = read(tx.conn)?;
    let others = [
        (mails.failed, "failed"),
        (mails.suppressed, "opted out"),
        (mails.bounced, "bounced"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!(", {} {what}", grouped(count)))
    .collect::<String>();
    let systems: String = channels
        .iter()
        .map(|(channel, counts)| {
            format!(
                "; {channel}: {} of {} accepted",
                grouped(counts.sent),
                grouped(counts.total())
            )
        })
        .collect();
    let text = format!(
        "{} notice: {} of {} emails sent{others}{systems}",
        row.phase,
        grouped(mails.sent),
        grouped(mails.total())
    );
    timeline::note(tx, &row.incident_id, timeline::Kind::Note, tx.now, &text)?;
    tx.record(
        Event::new(Action::NoticeFinished, "notice", id.as_str())
            .incident(&row.incident_id)
            .after(json!({"counts": mails, "channels": channels})),
    );
    Ok(())
}

/// The deliveries of a notice that are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again<'a> {
    /// The delivery with this ID, which is in this state.
    One(i64, DeliveryState),
    /// All deliveries that failed, except those with these IDs.
    Failed(&'a HashSet<i64>),
}

/// Queues deliveries of a notice again, and returns how many there are. If there is one, a `sent` notice
/// becomes `sending`. The workers are told, and the audit event is written. The deliveries expire after
/// `lifetime`.
///
/// The caller has locked the incident and the notice, whose row this is, has checked that the notice was not
/// stopped, and leaves out what [`super::again`] leaves out. This locks the deliveries and the counts.
///
/// # Errors
/// `Conflict` if the notice was stopped.
pub(crate) fn send_again(
    tx: &mut Tx<'_>,
    notice: &Row,
    which: Again<'_>,
    lifetime: Duration,
) -> Result<usize> {
    check_may_send_again(notice)?;
    let id = &notice.id;
    let nothing = HashSet::new();
    let (one, except, from) = match which {
        Again::One(delivery, state) => (Some(delivery), &nothing, state),
        Again::Failed(except) => (None, except, DeliveryState::Failed),
    };
    let mut changes = Changes::default();
    let queued = delivery_state::queue_again(tx, id, (one, except), from, lifetime, &mut changes)?;
    if queued == 0 {
        return Ok(0);
    }
    diesel::update(n::table.find(id.as_str()).filter(n::state.eq(NoticeState::Sent)))
        .set((
            n::state.eq(NoticeState::Sending),
            n::finished_at.eq(None::<Timestamp>),
        ))
        .execute(tx.conn)?;
    changes.store(tx.conn)?;
    tell_workers(tx.conn, None)?;
    tx.record(match which {
        Again::One(delivery, state) => Event::new(Action::DeliveryResent, "delivery", delivery.to_string())
            .incident(&notice.incident_id)
            .before(json!({"state": state})),
        Again::Failed(except) => Event::new(Action::DeliveryResent, "notice", id.as_str())
            .incident(&notice.incident_id)
            .after(match except.len() {
                0 => json!({"deliveries": queued}),
                left_out => json!({"deliveries": queued, "left_out": left_out}),
            }),
    });
    Ok(queued)
}

/// Checks that deliveries of a notice may be sent again.
///
/// # Errors
/// `Conflict` if the notice was stopped. Its catch-up goes to the people who were not notified.
pub(crate) fn check_may_send_again(notice: &Row) -> Result<()> {
    match notice.state()? {
        // A draft has no deliveries.
        NoticeState::Draft | NoticeState::Queued | NoticeState::Sending | NoticeState::Sent => Ok(()),
        NoticeState::Stopped => Err(Error::Conflict(
            "the notice was stopped; resume it, or draft its catch-up for the people who are not notified yet"
                .to_owned(),
        )),
    }
}
