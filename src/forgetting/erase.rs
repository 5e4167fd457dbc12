//! Erases a person: finds every row first, and then changes all of them in one transaction with one audit event.
//!
//! The same search makes the preview. So the number of rows that a confirmation names is the number that is changed.

use std::collections::BTreeSet;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::needles::Needles;
use super::texts::{Left, Texts};
use super::{attempts, events, frozen, own, reports, texts};
use crate::alert::people as users;
use crate::audit::erased::{Erasures, EventParts, Record};
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{ErasureId, ExternalId, NoticeId};
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::schema::erasures as e;
use crate::db::{Conn, dialect};
use crate::directory::erased::{MarkOf, Marks, is_placeholder};
use crate::directory::{forget, normal_address, person};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// Why a person is erased.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErasureReason {
    /// The reason, for the audit trail, of 1 to 500 characters. The name and the addresses of the person are removed from it.
    pub reason: String,
}

impl ErasureReason {
    fn check(&self) -> Result<()> {
        let mut check = Check::default();
        let length = self.reason.trim().chars().count();
        if length == 0 {
            check.errors.push(FieldError::at("/reason", "must not be empty"));
        } else if length > LONGEST_REASON {
            check.errors.push(FieldError::at(
                "/reason",
                format!("is longer than {LONGEST_REASON} characters"),
            ));
        }
        check.finish()
    }
}

/// How many rows are about a person, by kind of row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ErasureRows)]
pub struct Rows {
    /// The entry in the directory, with its memberships, its roles on resources, their history, and what sources noted.
    pub directory: i64,
    /// Frozen recipients of notices, each with its delivery.
    pub recipients: i64,
    /// Attempts to deliver, each with the reply of the server and what it takes to show the email as it was sent.
    pub replies: i64,
    /// Reports about emails, and replies by email.
    pub reports: i64,
    /// Answers of the person, and answers of others whose text mentions the person.
    pub answers: i64,
    /// Users of errors in alerts.
    pub users_of_errors: i64,
    /// Events of the audit trail, whose hashes stay.
    pub audit_events: i64,
    /// Phone numbers, suppressions, subscriptions to the status page, values for templates, saved requests, answers to repeated requests, uploaded
    /// listings, emergency notices, and further people of a mailbox.
    pub others: i64,
    /// Rows with texts in which the person is mentioned.
    pub texts: i64,
}

impl Rows {
    /// Returns the number of all rows.
    pub fn total(&self) -> i64 {
        self.directory
            + self.recipients
            + self.replies
            + self.reports
            + self.answers
            + self.users_of_errors
            + self.audit_events
            + self.others
            + self.texts
    }
}

/// What an erasure would change.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ErasurePreview {
    /// The number of rows by kind.
    pub rows: Rows,
    /// The number of all rows.
    pub total: i64,
    /// Places that cannot be changed, in which the person would still be mentioned.
    pub left: Vec<Left>,
}

/// Everything that was found about a person.
pub(super) struct Found {
    /// The key of the entry in the directory. `None` after it was erased.
    key: Option<i64>,
    pub needles: Needles,
    sent: frozen::Sent,
    reports: Vec<reports::ReportChange>,
    answers: Vec<reports::AnswerChange>,
    events: Vec<EventParts>,
    own: own::Own,
    texts: Texts,
    rows: Rows,
}

impl Found {
    /// Returns what is shown before an erasure.
    pub fn preview(&self) -> ErasurePreview {
        ErasurePreview {
            rows: self.rows,
            total: self.rows.total(),
            left: self.texts.left.clone(),
        }
    }

    /// Returns the addresses that only the person has.
    pub fn addresses(&self) -> &BTreeSet<String> {
        &self.sent.own
    }

    /// Returns the notices to the person, with the positions in their lists.
    pub fn recipient_places(&self) -> Vec<(NoticeId, i64)> {
        let places = self.sent.recipients.iter();
        places
            .map(|change| (change.notice.clone(), change.ordinal))
            .collect()
    }

    /// Returns the numbers of the reports about the person.
    pub fn report_ids(&self) -> Vec<i64> {
        self.reports.iter().map(|change| change.id).collect()
    }

    /// Returns the numbers of the events that contain the person.
    pub fn event_numbers(&self) -> Vec<i64> {
        self.events.iter().map(|parts| parts.seq).collect()
    }

    /// Returns the numbers of the saved requests that contain the person.
    pub fn request_ids(&self) -> &[i64] {
        &self.own.requests
    }
}

/// Finds everything about a person of the directory.
///
/// # Errors
/// `NotFound` if there is no such person, `Conflict` if the entry stands for somebody who was erased.
pub(super) fn find(conn: &mut Conn, id: &str) -> Result<Found> {
    let stored = person::get(conn, id)?;
    if is_placeholder(id) {
        return Err(Error::Conflict("the person is erased already".to_owned()).code(Code::Erased));
    }
    let key = forget::key_of(conn, id)?;
    let placeholder = frozen::placeholder()?;
    let email: Vec<String> = [stored.email.clone()]
        .into_iter()
        .filter(|email| !email.is_empty())
        .collect();
    let first = Needles::new(id, &placeholder, vec![stored.name.clone()], &email);
    find_with(conn, Some(key), &first, &stored.email)
}

/// Finds everything with these needles.
fn find_with(conn: &mut Conn, key: Option<i64>, first: &Needles, email: &str) -> Result<Found> {
    let sent = frozen::find(conn, first, email)?;
    let addresses: Vec<String> = sent.own.iter().cloned().collect();
    let mut spelled = addresses.clone();
    // The stored spelling can differ from the normal form.
    if sent.own.contains(&normal_address(email)) {
        spelled.push(email.to_owned());
    }
    let mut needles = Needles::new(
        &first.id,
        &first.placeholder,
        sent.names.iter().cloned().collect(),
        &spelled,
    );
    needles.marks = marks(conn, &addresses)?;
    let reports = reports::reports(conn, &needles, &sent.own, &sent.deliveries)?;
    let answers = reports::answers(conn, &needles, &sent.own)?;
    let events = events::find(conn, &needles)?;
    let own = own::find(conn, &needles, &sent.own)?;
    let texts = texts::find(conn, &needles)?;
    let (mut directory, mut users_of_errors) = (0, 0);
    if let Some(key) = key {
        let rows = forget::count(conn, key, &needles.id)?;
        directory = 1 + rows.roles + rows.sources;
        users_of_errors = users::count_of(conn, key, &needles.id, &addresses)?;
    }
    let rows = Rows {
        directory,
        recipients: sent.recipients.len() as i64,
        replies: sent.replies.len() as i64,
        reports: reports.len() as i64,
        answers: answers.len() as i64,
        users_of_errors,
        audit_events: events.len() as i64,
        others: own.rows(),
        texts: texts.rows(),
    };
    Ok(Found {
        key,
        needles,
        sent,
        reports,
        answers,
        events,
        own,
        texts,
        rows,
    })
}

/// Returns the hashes of addresses that events contain: keyed ones, and the plain ones of earlier versions.
fn marks(conn: &mut Conn, addresses: &[String]) -> Result<Vec<String>> {
    use sha2::{Digest, Sha256};
    let keyed = Marks::stored(conn)?;
    let mut marks = Vec::new();
    for address in addresses {
        let plain = hex(&Sha256::digest(address.as_bytes()));
        marks.push(format!("sha256:{}", &plain[..16]));
        if let Some(keyed) = &keyed {
            marks.push(keyed.mark(MarkOf::Address, address));
        }
    }
    Ok(marks)
}

/// Returns what an erasure of a person would change.
///
/// # Errors
/// `NotFound` if there is no such person, `Conflict` if the entry stands for somebody who was erased.
pub fn preview(conn: &mut Conn, id: &ExternalId) -> Result<ErasurePreview> {
    Ok(find(conn, id.as_str())?.preview())
}

/// Checks that an erasure would still change as many rows as a confirmation named.
///
/// # Errors
/// `Conflict` with the code `changed_since_preview` if it would not.
pub(super) fn require_rows(conn: &mut Conn, id: &str, expected: i64) -> Result<()> {
    let now = find(conn, id)?.rows.total();
    if now != expected {
        let detail = format!(
            "{now} rows are about the person now, and {expected} were confirmed; read the page again"
        );
        return Err(Error::Conflict(detail).code(Code::ChangedSincePreview));
    }
    Ok(())
}

/// Why rows are erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody asked for it. Nothing brings the person back unasked.
    Request,
    /// A setting says how long archived people are kept.
    Retention,
}

impl Kind {
    /// Returns the kind as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::Retention => "retention",
        }
    }
}

/// What an erasure did, before the free space is cleaned.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub id: ErasureId,
    pub needles: Needles,
    pub left: Vec<Left>,
}

/// Erases a person of the directory.
///
/// # Errors
/// - `NotFound` if there is no such person.
/// - `Invalid` if there is no reason.
/// - `Conflict` if the person is erased already, if an email to the person is being sent, or if a notice is not what was frozen.
pub(super) fn erase(tx: &mut Tx<'_>, id: &str, reason: &ErasureReason, kind: Kind) -> Result<Done> {
    reason.check()?;
    dialect::lock_erasures(tx.conn)?;
    dialect::lock_directory(tx.conn)?;
    dialect::lock(tx.conn, dialect::Lock::Person, id)?;
    let found = find(tx.conn, id)?;
    apply(tx, found, reason.reason.trim(), kind)
}

/// Erases what another transaction stored about the person while the person was being erased. Returns `None` if there is nothing.
///
/// # Errors
/// The errors of [`erase`].
pub(super) fn erase_rest(
    tx: &mut Tx<'_>,
    done: &Done,
    reason: &ErasureReason,
    kind: Kind,
) -> Result<Option<Done>> {
    dialect::lock_erasures(tx.conn)?;
    let email = done.needles.addresses.first().cloned().unwrap_or_default();
    let found = find_with(tx.conn, None, &done.needles, &email)?;
    if found.rows.total() == 0 {
        return Ok(None);
    }
    apply(tx, found, reason.reason.trim(), kind).map(Some)
}

fn apply(tx: &mut Tx<'_>, found: Found, reason: &str, kind: Kind) -> Result<Done> {
    let Found {
        key,
        needles,
        sent,
        reports,
        answers,
        events,
        own,
        texts,
        rows,
    } = found;
    let id = ErasureId::new(tx.now);
    let reason = needles.text(reason).unwrap_or_else(|| reason.to_owned());
    let trail = Erasures::load(tx.conn)?;
    store(
        tx,
        &id,
        kind,
        &reason,
        Some(&needles.placeholder),
        &serde_json::to_string(&rows)?,
    )?;
    let (notices, stopped) = frozen::change_recipients(tx, &id, &sent.recipients, &trail, true)?;
    let batches = attempts::change_replies(tx.conn, &id, &sent.replies)?;
    reports::change_reports(tx.conn, &id, &reports)?;
    reports::change_answers(tx.conn, &id, &answers)?;
    own::mark(tx.conn, &id, &needles.id, &sent.own, kind == Kind::Request)?;
    own::remove(tx, &own, &needles)?;
    if let Some(key) = key {
        let addresses: Vec<String> = sent.own.iter().cloned().collect();
        users::forget(tx.conn, key, &needles.id, &addresses)?;
        forget::forget(tx.conn, tx.now, key, &needles.id, &needles.placeholder)?;
    }
    texts::replace(tx.conn, &texts, &needles)?;
    let events = events::change(tx.conn, &id, &events)?;
    let record = Record {
        erasure: id.to_string(),
        notices,
        batches,
        events,
    };
    let mut after = serde_json::to_value(record)?;
    after["kind"] = json!(kind.as_str());
    after["reason"] = json!(reason);
    after["rows"] = json!(rows);
    after["deliveries_stopped"] = json!(stopped);
    after["left"] = json!(texts.left);
    tx.record(Event::new(Action::PersonErased, "erasure", id.as_str()).after(after));
    Ok(Done {
        id,
        needles,
        left: texts.left,
    })
}

/// Stores an erasure. This must come before the rows that refer to it.
///
/// # Errors
/// An error of the database.
pub(super) fn store(
    tx: &mut Tx<'_>,
    id: &ErasureId,
    kind: Kind,
    reason: &str,
    placeholder: Option<&str>,
    counts: &str,
) -> Result<()> {
    let (by, now): (String, Timestamp) = (tx.actor.name().to_owned(), tx.now);
    diesel::insert_into(e::table)
        .values((
            e::id.eq(id.as_str()),
            e::kind.eq(kind.as_str()),
            e::at.eq(now),
            e::erased_by.eq(by),
            e::reason.eq(reason),
            e::placeholder.eq(placeholder),
            e::counts.eq(counts),
        ))
        .execute(tx.conn)?;
    Ok(())
}
