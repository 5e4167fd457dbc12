//! Corrects the address of a person, and sends the person what did not arrive at the old address.
//!
//! A delivery is frozen, so it never goes to another address. At a new address, the person gets a catch-up of each notice that
//! did not arrive: the same notice, for those who have not got it. It is sent at once only if it is for this person alone.
//! Otherwise it stays a draft, which somebody reads and sends. A delivery whose own address is the new one is sent again.
//!
//! What is sent is what the caller names, and only if it still did not arrive. So the same correction never sends twice.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::audit::Tx;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::{ExternalId, IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::schema::{
    deliveries as d, delivery_attempts as da, incidents as i, notice_recipients as nr, notices as n,
};
use crate::delivery::{self, opt_out};
use crate::directory::person::{self, Person, PersonInput};
use crate::directory::{check_address, normal_address};
use crate::incident::Status;
use crate::notice::history::newest_of_person;
use crate::notice::template::Phase;
use crate::notice::to_one::{self, ToOne};
use crate::notice::{self, DeliveryState, EMAIL, NoticeState, Sending};

/// How long after the end of an incident its last notices are still offered.
const RECENT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The largest number of emails of one person that are looked at.
const MOST: i64 = 500;

/// A notice that did not arrive at a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NotArrived {
    /// The number of the incident.
    pub number: i64,
    /// The title of the incident.
    pub title: String,
    /// The ID of the notice that did not arrive.
    pub notice: NoticeId,
    /// The phase of the notice.
    pub phase: String,
    /// The delivery that failed or bounced. Null if there was no address to send to.
    pub delivery: Option<i64>,
    /// The address that was tried. Empty if there was none.
    pub address: String,
    /// The last reply of the mail server.
    pub reply: String,
    /// When the delivery was last tried.
    pub at: Option<Timestamp>,
}

/// Another address for a person, and what is sent to it.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrectAddress {
    /// The email address. It may be the present one, to send again what did not arrive.
    pub email: String,
    /// The notices that are sent again. Each must be one that did not arrive.
    #[serde(default)]
    pub notices: Vec<NoticeId>,
}

/// What was sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SentAgain {
    /// The notice that did not arrive.
    pub notice: NoticeId,
    /// The notice that the person gets now: a catch-up, or the same notice if it was lost at this address.
    pub by: NoticeId,
}

/// What was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NotSent {
    /// The notice that did not arrive.
    pub notice: NoticeId,
    /// The draft of its catch-up, which somebody must read and send. Null if there is none.
    pub draft: Option<NoticeId>,
    /// Why it was not sent.
    pub why: String,
}

/// The result of a correction.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Corrected {
    /// The person with the new address.
    pub person: Person,
    /// Whether the suppression of the address after a bounce was lifted. One that the person asked for stays.
    pub lifted: bool,
    /// What is sent to the address.
    pub sent: Vec<SentAgain>,
    /// What is not sent, and why.
    pub not_sent: Vec<NotSent>,
}

struct Email {
    shown: NotArrived,
    state: DeliveryState,
}

type Row = (
    (i64, String, String, Option<Timestamp>),
    (NoticeId, String),
    (i64, String, DeliveryState),
);

/// Returns the notices of open incidents, and the last ones of incidents that ended in the last seven days, that did not arrive at
/// a person. For an incident that is named, the last notice counts too if there was no address to send it to.
///
/// # Errors
/// `NotFound` if the person does not exist.
pub fn not_arrived(
    conn: &mut Conn,
    id: &str,
    incident: Option<&IncidentId>,
    now: Timestamp,
) -> Result<Vec<NotArrived>> {
    let person = person::get(conn, id)?;
    let rows = newest(conn, id)?;
    // Of one phase, the last email counts. One that arrived or is being sent stands for all of them.
    let mut last: BTreeMap<(i64, String), Option<Email>> = BTreeMap::new();
    for ((number, title, status, resolved_at), (notice, phase), (delivery, address, state)) in rows {
        if !is_offered(&status, resolved_at, &phase, now) {
            continue;
        }
        let key = (number, phase.clone());
        match state {
            DeliveryState::Sent | DeliveryState::Pending => {
                last.insert(key, None);
            }
            DeliveryState::Failed | DeliveryState::Bounced => {
                last.entry(key).or_insert_with(|| {
                    Some(Email {
                        shown: NotArrived {
                            number,
                            title,
                            notice,
                            phase,
                            delivery: Some(delivery),
                            address,
                            reply: String::new(),
                            at: None,
                        },
                        state,
                    })
                });
            }
            DeliveryState::Suppressed | DeliveryState::Stopped => {}
        }
    }
    let mut found: Vec<NotArrived> = Vec::new();
    let heard: HashSet<i64> = last.keys().map(|(number, _)| *number).collect();
    for email in last.into_values().flatten() {
        let mut shown = email.shown;
        if let Some(delivery) = shown.delivery {
            let attempt: Option<(Timestamp, String)> = da::table
                .filter(da::delivery_id.eq(delivery))
                .order(da::attempt.desc())
                .select((da::at, da::reply))
                .first(conn)
                .optional()?;
            if let Some((at, reply)) = attempt {
                (shown.at, shown.reply) = (Some(at), reply);
            }
        }
        if email.state == DeliveryState::Bounced {
            shown.reply = "the email bounced".to_owned();
        }
        found.push(shown);
    }
    if let Some(incident) = incident
        && let Some(last) = last_of(conn, incident, &person, &heard)?
    {
        found.push(last);
    }
    // In the order in which they were written.
    found.sort_by(|a, b| a.notice.as_str().cmp(b.notice.as_str()));
    Ok(found)
}

/// Returns the newest emails to a person, the last delivery first. Only these are read, however many the person got before.
fn newest(conn: &mut Conn, id: &str) -> Result<Vec<Row>> {
    let places = newest_of_person(conn, id, MOST)?;
    let mut notices: Vec<&str> = places.iter().map(|(notice, _)| notice.as_str()).collect();
    notices.dedup();
    let mut rows: Vec<Row> = Vec::with_capacity(places.len());
    for chunk in notices.chunks(100) {
        let found: Vec<Row> = nr::table
            .inner_join(d::table.on(d::notice_id.eq(nr::notice_id).and(d::ordinal.eq(nr::ordinal))))
            .inner_join(n::table.on(n::id.eq(nr::notice_id)))
            .inner_join(i::table.on(i::id.eq(n::incident_id)))
            .filter(nr::person_id.eq(id))
            .filter(nr::channel.eq(EMAIL))
            .filter(nr::notice_id.eq_any(chunk))
            .filter(n::episode.eq(i::episode))
            .filter(i::drill.eq(false))
            .select((
                (i::number, i::title, i::status, i::resolved_at),
                (n::id, n::phase),
                (d::id, d::address, d::state),
            ))
            .load(conn)?;
        rows.extend(found);
    }
    rows.sort_by_key(|(_, _, (delivery, _, _))| std::cmp::Reverse(*delivery));
    Ok(rows)
}

fn is_offered(status: &str, resolved_at: Option<Timestamp>, phase: &str, now: Timestamp) -> bool {
    let says_over = [Phase::Resolution, Phase::Report]
        .iter()
        .any(|over| over.as_str() == phase);
    match (Status::parse(status), resolved_at) {
        // A recovery is for those whose affected resources are all restored then. With another address, they get the next one.
        _ if [Phase::Correction, Phase::Recovery]
            .iter()
            .any(|one| phase == one.as_str()) =>
        {
            false
        }
        (Ok(Status::Resolved), Some(at)) => says_over && at.plus(RECENT) > now,
        // A merged incident sends nothing more. The one that it is merged into notifies the person.
        (Ok(Status::Resolved), None) | (Ok(Status::Merged), _) | (Err(_), _) => false,
        (Ok(_), _) => !says_over,
    }
}

/// Returns the last notice of an incident from which the person got no email, for example because there was no address.
fn last_of(
    conn: &mut Conn,
    incident: &IncidentId,
    person: &Person,
    heard: &HashSet<i64>,
) -> Result<Option<NotArrived>> {
    let incident = crate::incident::get(conn, incident)?;
    if incident.drill || heard.contains(&incident.number) {
        return Ok(None);
    }
    let last: Option<(NoticeId, String)> = n::table
        .filter(n::incident_id.eq(incident.id.as_str()))
        .filter(n::episode.eq(incident.episode))
        .filter(n::state.eq_any([NoticeState::Queued, NoticeState::Sending, NoticeState::Sent]))
        .filter(n::phase.ne_all([Phase::Correction, Phase::Recovery].map(Phase::as_str)))
        .order((n::queued_at.desc(), n::id.desc()))
        .select((n::id, n::phase))
        .first(conn)
        .optional()?;
    Ok(last.map(|(notice, phase)| NotArrived {
        number: incident.number,
        title: incident.title,
        notice,
        phase,
        delivery: None,
        address: String::new(),
        reply: match person.email.is_empty() {
            true => "there was no address to send to".to_owned(),
            false => "no email was sent to this person".to_owned(),
        },
        at: None,
    }))
}

/// Stores another address of a person, lifts its suppression after a bounce, and sends the named notices to it.
///
/// # Errors
/// `NotFound` if the person does not exist. `Invalid` if the address is not one. `Conflict` if the person is archived, or if one of
/// the notices has arrived or is being sent by now. Then nothing is stored.
pub fn correct(
    tx: &mut Tx<'_>,
    id: &ExternalId,
    new: &CorrectAddress,
    incident: Option<&IncidentId>,
    lifetime: Duration,
    sending: &Sending,
) -> Result<Corrected> {
    check_address(&new.email).map_err(|detail| Error::invalid("/email", detail))?;
    // The whole person is written, so nobody else may change it since it was read.
    dialect::lock(tx.conn, Lock::Person, id.as_str())?;
    let before = person::get(tx.conn, id.as_str())?;
    if before.gone_at.is_some() {
        let detail =
            "the person is archived, so nothing is sent; the source or an import can add the person again";
        return Err(Error::Conflict(detail.to_owned()));
    }
    let offered = not_arrived(tx.conn, id.as_str(), incident, tx.now)?;
    let mut chosen: Vec<&NotArrived> = Vec::new();
    for notice in &new.notices {
        let one = offered.iter().find(|one| one.notice == *notice).ok_or_else(|| {
            Error::Conflict(format!(
                "the notice {notice} has reached {} by now or cannot be sent again. Nothing was stored.",
                before.name
            ))
            .code(Code::NothingToResend)
        })?;
        if !chosen.iter().any(|other| other.notice == one.notice) {
            chosen.push(one);
        }
    }
    let same = normal_address(&before.email) == normal_address(&new.email);
    let person = if same {
        before
    } else {
        let input = PersonInput {
            name: before.name,
            email: new.email.clone(),
            locale: before.locale,
            time_zone: before.time_zone,
        };
        person::put(tx, id, &input)?.0
    };
    let lifted = opt_out::lift_bounced(tx, &person.email)?;
    let (mut sent, mut not_sent) = (Vec::new(), Vec::new());
    for one in chosen {
        // A delivery is frozen. It is sent again only if its own address is the new one, whatever the directory said before.
        let done = match at_address(tx.conn, one, id.as_str(), &new.email)? {
            Some((notice, delivery)) => again(tx, one, (notice, delivery), lifetime),
            None => caught_up(tx, one, id.as_str(), sending),
        };
        match done? {
            Ok(again) => sent.push(again),
            Err(skipped) => not_sent.push(skipped),
        }
    }
    Ok(Corrected {
        person,
        lifted,
        sent,
        not_sent,
    })
}

type Done = std::result::Result<SentAgain, NotSent>;

fn skipped(one: &NotArrived, draft: Option<NoticeId>, why: impl Into<String>) -> Done {
    Err(NotSent {
        notice: one.notice.clone(),
        draft,
        why: why.into(),
    })
}

/// Returns the sentence of an error that only means that this notice cannot be sent.
fn refused(error: Error) -> Result<String> {
    match error {
        Error::Coded(_, inner) => refused(*inner),
        Error::Conflict(why) | Error::Forbidden(why) | Error::Invalid { detail: why, .. } => Ok(why),
        other => Err(other),
    }
}

/// Returns the last lost delivery at this address, of the notice that did not arrive or of a notice of the same phase. A catch-up
/// to this address would be left out, because an email to it was lost.
fn at_address(
    conn: &mut Conn,
    one: &NotArrived,
    person: &str,
    address: &str,
) -> Result<Option<(NoticeId, i64)>> {
    let address = normal_address(address);
    let Some(delivery) = one.delivery else {
        return Ok(None);
    };
    if normal_address(&one.address) == address {
        return Ok(Some((one.notice.clone(), delivery)));
    }
    let lost: Vec<(NoticeId, i64, String)> = d::table
        .inner_join(nr::table.on(nr::notice_id.eq(d::notice_id).and(nr::ordinal.eq(d::ordinal))))
        .inner_join(n::table.on(n::id.eq(d::notice_id)))
        .inner_join(i::table.on(i::id.eq(n::incident_id)))
        .filter(nr::person_id.eq(person))
        .filter(nr::channel.eq(EMAIL))
        .filter(i::number.eq(one.number))
        .filter(n::phase.eq(&one.phase))
        .filter(n::episode.eq(i::episode))
        .filter(d::state.eq_any([DeliveryState::Failed, DeliveryState::Bounced]))
        .order(d::id.desc())
        .limit(MOST)
        .select((n::id, d::id, d::address))
        .load(conn)?;
    let found = lost
        .into_iter()
        .find(|(_, _, lost)| normal_address(lost) == address);
    Ok(found.map(|(notice, delivery, _)| (notice, delivery)))
}

fn again(
    tx: &mut Tx<'_>,
    one: &NotArrived,
    (by, delivery): (NoticeId, i64),
    lifetime: Duration,
) -> Result<Done> {
    match delivery::resend(tx, delivery, lifetime) {
        Ok(_) => Ok(Ok(SentAgain {
            notice: one.notice.clone(),
            by,
        })),
        Err(error) => Ok(skipped(one, None, refused(error)?)),
    }
}

fn caught_up(tx: &mut Tx<'_>, one: &NotArrived, person: &str, sending: &Sending) -> Result<Done> {
    if !to_one::would_catch_up(tx.conn, &one.notice, person)? {
        let why =
            "the incident does not affect this person now, or an email to the old address may have arrived";
        return Ok(skipped(one, None, why));
    }
    let draft = match notice::catch_up(tx, &one.notice) {
        Ok(draft) => draft.id,
        Err(error) => return Ok(skipped(one, None, refused(error)?)),
    };
    match to_one::send_to_one(tx, &draft, person, sending) {
        Ok(ToOne::Queued) => Ok(Ok(SentAgain {
            notice: one.notice.clone(),
            by: draft,
        })),
        Ok(ToOne::Draft(why)) => Ok(skipped(one, Some(draft), why)),
        Ok(ToOne::NotForThem) => Ok(skipped(one, Some(draft), "the draft is not for this person")),
        Err(error) => {
            let why = refused(error)?;
            Ok(skipped(one, Some(draft), why))
        }
    }
}
