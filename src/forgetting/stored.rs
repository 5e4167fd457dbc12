//! The erasures that were made: the list, the check of an address against the proof, and allowing a person again.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::erase::Rows;
use super::frozen::commitment;
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{ErasureId, IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{
    deliveries as d, erased_recipients as er, erasure_marks as em, erasures as e, notices as n,
};
use crate::directory::erased::{MarkOf, Marks};
use crate::directory::normal_address;
use crate::notice::template::Phase;

/// The number of commitments that are compared at once.
const STEP: i64 = 2_000;
/// The largest number of recipients that a check returns.
const SHOWN: usize = 500;

/// The record of an erasure that was made.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Erasure {
    /// The ID of the erasure.
    pub id: ErasureId,
    /// `request`: somebody asked for it. `retention`: a setting did.
    pub kind: String,
    /// When it was made.
    pub at: Timestamp,
    /// The name of the caller who made the erasure. `retention` if a setting did.
    pub by: String,
    /// Why it was made, without the name and the addresses of the person.
    pub reason: String,
    /// The ID of the entry that stands in the directory instead of the person. Null if the erasure is about no single person.
    pub placeholder: Option<String>,
    /// The number of rows that were changed, by kind.
    pub rows: Rows,
    /// When the free space of the database and the outbox contained nothing of the person any more. Null if this is still being done.
    pub cleaned_at: Option<Timestamp>,
    /// When the person was allowed again. Null if a source cannot bring the person back.
    pub allowed_at: Option<Timestamp>,
    /// Who allowed the person again.
    pub allowed_by: Option<String>,
}

#[derive(Queryable)]
struct Row {
    id: ErasureId,
    kind: String,
    at: Timestamp,
    by: String,
    reason: String,
    placeholder: Option<String>,
    counts: String,
    cleaned_at: Option<Timestamp>,
    allowed_at: Option<Timestamp>,
    allowed_by: Option<String>,
}

impl From<Row> for Erasure {
    fn from(row: Row) -> Self {
        Erasure {
            id: row.id,
            kind: row.kind,
            at: row.at,
            by: row.by,
            reason: row.reason,
            placeholder: row.placeholder,
            rows: serde_json::from_str(&row.counts).unwrap_or_default(),
            cleaned_at: row.cleaned_at,
            allowed_at: row.allowed_at,
            allowed_by: row.allowed_by,
        }
    }
}

/// Returns an erasure.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn get(conn: &mut Conn, id: &ErasureId) -> Result<Erasure> {
    e::table
        .find(id.as_str())
        .first::<Row>(conn)
        .optional()?
        .map(Erasure::from)
        .ok_or_else(|| Error::NotFound("an erasure with this ID".to_owned()))
}

/// Returns the erasures before the given one, newest first.
///
/// # Errors
/// An error of the database.
pub fn list(conn: &mut Conn, before: Option<&str>, limit: i64) -> Result<Vec<Erasure>> {
    let mut query = e::table.into_boxed::<crate::db::Backend>();
    if let Some(before) = before {
        query = query.filter(e::id.lt(before.to_owned()));
    }
    let rows: Vec<Row> = query.order(e::id.desc()).limit(limit).load(conn)?;
    Ok(rows.into_iter().map(Erasure::from).collect())
}

/// Returns the erasure whose entry has this ID in the directory. `None` if the ID stands for nobody who was erased.
///
/// # Errors
/// An error of the database.
pub fn of_placeholder(conn: &mut Conn, placeholder: &str) -> Result<Option<Erasure>> {
    Ok(e::table
        .filter(e::placeholder.eq(placeholder))
        .order(e::id)
        .first::<Row>(conn)
        .optional()?
        .map(Erasure::from))
}

/// Allows a person again: a source, an import or a form can store the person, as somebody new. What was erased stays erased.
///
/// # Errors
/// `NotFound` if the erasure does not exist. `Conflict` if the person is allowed already, or was not erased at a request.
pub fn allow(tx: &mut Tx<'_>, id: &ErasureId) -> Result<Erasure> {
    let before = get(tx.conn, id)?;
    if before.kind != "request" {
        let detail = "the person was erased by a retention, so a source can bring the person back already";
        return Err(Error::Conflict(detail.to_owned()));
    }
    // What was found of the same person later belongs to an erasure of its own.
    let ids: Vec<String> = match &before.placeholder {
        Some(placeholder) => e::table
            .filter(e::placeholder.eq(placeholder))
            .select(e::id)
            .load(tx.conn)?,
        None => vec![id.to_string()],
    };
    let by = tx.actor.name().to_owned();
    let allowed = diesel::update(
        e::table
            .filter(e::id.eq_any(&ids))
            .filter(e::allowed_at.is_null()),
    )
    .set((e::allowed_at.eq(Some(tx.now)), e::allowed_by.eq(Some(by))))
    .execute(tx.conn)?;
    if allowed == 0 {
        return Err(Error::Conflict("the person is allowed again already".to_owned()));
    }
    tx.record(Event::new(Action::PersonAllowed, "erasure", id.as_str()).after(json!({"erasures": ids})));
    get(tx.conn, id)
}

/// What is checked against the proof. At least one field must be given.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The email address that is checked. Null if only the ID of a person is checked.
    #[serde(default)]
    pub address: Option<String>,
    /// The ID of a person, as the product knows it.
    #[serde(default)]
    pub person: Option<String>,
}

/// An erased recipient who was this person or had this address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ProvenRecipient {
    /// The incident of the notice.
    pub incident: IncidentId,
    /// The ID of the notice whose list contains the recipient.
    pub notice: NoticeId,
    /// The phase of the notice.
    #[schema(value_type = String)]
    pub phase: Phase,
    /// The position in the list of the notice.
    pub recipient: i64,
    /// The state of the delivery. Null if none was created.
    pub state: Option<String>,
    /// When the server accepted the email. Null if it did not.
    pub sent_at: Option<Timestamp>,
}

/// The result of a check.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Checked {
    /// The erased recipients that the claim fits, at most 500.
    pub recipients: Vec<ProvenRecipient>,
    /// The erasures whose person this is.
    pub erasures: Vec<Erasure>,
}

/// Returns the erased recipients whose commitments fit an address or an ID.
///
/// # Errors
/// `Invalid` if neither is given.
pub fn check(conn: &mut Conn, claim: &Claim) -> Result<Checked> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let (address, person) = (given(&claim.address), given(&claim.person));
    let mut wrong = Check::default();
    if address.is_none() && person.is_none() {
        wrong
            .errors
            .push(FieldError::at("/address", "must be given, or person"));
    }
    wrong.finish()?;
    let address = address.map(|address| normal_address(&address));
    let mut recipients = Vec::new();
    let mut last: (String, i64, String) = (String::new(), i64::MIN, String::new());
    while recipients.len() < SHOWN {
        type Row = (String, i64, String, String, String, String, String);
        let of_recipient = er::notice_id.eq(&last.0).and(er::ordinal.eq(last.1));
        let rows: Vec<Row> = er::table
            .filter(
                er::notice_id
                    .gt(&last.0)
                    .or(er::notice_id.eq(&last.0).and(er::ordinal.gt(last.1)))
                    .or(of_recipient.and(er::erasure_id.gt(&last.2))),
            )
            .order((er::notice_id, er::ordinal, er::erasure_id))
            .limit(STEP)
            .select((
                er::notice_id,
                er::ordinal,
                er::erasure_id,
                er::person_salt,
                er::person_commitment,
                er::address_salt,
                er::address_commitment,
            ))
            .load(conn)?;
        let Some((notice, ordinal, erasure, ..)) = rows.last() else {
            break;
        };
        last = (notice.clone(), *ordinal, erasure.clone());
        for (notice, ordinal, _, person_salt, person_is, address_salt, address_is) in rows {
            let fits = |given: &Option<String>, salt: &str, is: &str| {
                given
                    .as_ref()
                    .is_none_or(|text| commitment(salt, text.trim()) == is)
            };
            if fits(&person, &person_salt, &person_is) && fits(&address, &address_salt, &address_is) {
                let proven = proven(conn, &notice, ordinal)?;
                if !recipients.contains(&proven) {
                    recipients.push(proven);
                }
            }
        }
    }
    recipients.truncate(SHOWN);
    Ok(Checked {
        recipients,
        erasures: erasures_of(conn, address.as_deref(), person.as_deref())?,
    })
}

fn proven(conn: &mut Conn, notice: &str, ordinal: i64) -> Result<ProvenRecipient> {
    let (id, incident, phase): (NoticeId, IncidentId, String) = n::table
        .find(notice)
        .select((n::id, n::incident_id, n::phase))
        .first(conn)?;
    let delivery: Option<(String, Option<Timestamp>)> = d::table
        .filter(d::notice_id.eq(notice))
        .filter(d::ordinal.eq(ordinal))
        .select((d::state, d::sent_at))
        .first(conn)
        .optional()?;
    let (state, sent_at) = delivery.map_or((None, None), |(state, sent_at)| (Some(state), sent_at));
    Ok(ProvenRecipient {
        incident,
        notice: id,
        phase: Phase::parse(&phase).map_err(Error::internal)?,
        recipient: ordinal,
        state,
        sent_at,
    })
}

/// Returns the erasures whose keyed hashes fit.
fn erasures_of(conn: &mut Conn, address: Option<&str>, person: Option<&str>) -> Result<Vec<Erasure>> {
    let Some(marks) = Marks::stored(conn)? else {
        return Ok(Vec::new());
    };
    let wanted: Vec<String> = [
        address.map(|address| marks.mark(MarkOf::Address, address)),
        person.map(|person| marks.mark(MarkOf::Person, person)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut ids: Vec<String> = em::table
        .filter(em::mark.eq_any(&wanted))
        .select(em::erasure_id)
        .load(conn)?;
    ids.sort();
    ids.dedup();
    let rows: Vec<Row> = e::table
        .filter(e::id.eq_any(&ids))
        .order(e::id.desc())
        .load(conn)?;
    Ok(rows.into_iter().map(Erasure::from).collect())
}
