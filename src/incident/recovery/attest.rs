//! Attestation: where nothing can be measured, one person says with a reason that resources are recovered, and another person confirms it.
//!
//! An attestation is refused for a resource with an expected value, because evidence can be given there. All tokens of a person are this
//! person. Nothing is recovered until the second person confirms.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::chosen::Chosen;
use super::observe::{Observed, record};
use super::state::State;
use super::work::{Cause, Effect, Work, fill};
use crate::audit::{Action, Event, Tx};
use crate::auth;
use crate::base::check::check_text;
use crate::base::code::Code;
use crate::base::count::counted;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{AttestationId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::schema::{recovery_attestations as a, recovery_attested as r};
use crate::db::{Conn, Statement, dialect, keyed};
use crate::directory::ResourceRef;
use crate::directory::selector::{Json, SelectorSchema};
use crate::incident::affected;
use crate::incident::stored::get;
use crate::incident::timeline;

/// The number of wrong entries that an answer names.
const MAX_ERRORS: usize = 50;
/// The number of keys in one statement.
const CHUNK: usize = 5_000;

word_enum! {
    /// Whether an attestation waits for the second person.
    AttestationState, "a state of an attestation" {
        /// It waits for another person.
        Open = "open",
        /// Another person confirmed it.
        Confirmed = "confirmed",
        /// A person withdrew the attestation before another person confirmed it.
        Withdrawn = "withdrawn",
    }
}

/// What a person attests: that these resources are recovered.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAttestation {
    /// These resources. Each must be affected.
    #[serde(default)]
    pub resources: Option<Vec<ResourceRef>>,
    /// Those of the affected resources that this selector finds.
    #[serde(default)]
    #[schema(value_type = Option<SelectorSchema>)]
    pub selector: Option<Json>,
    /// Evaluates the selector as of this time, with the labels, the parents and the accounts that the directory knew then. Only those
    /// that are affected now are chosen. If not set, the selector is evaluated as of now.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
    /// How the person knows that they are recovered. Customers do not see it.
    pub reason: String,
}

/// The statement of one person that resources are recovered. It makes them recovered only when another person confirms it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RecoveryAttestation)]
pub struct Attestation {
    /// The ID of the attestation.
    pub id: AttestationId,
    /// Whether it waits for the second person.
    pub state: AttestationState,
    /// The number of resources.
    pub resources: i64,
    /// How the first person knows that they are recovered.
    pub reason: String,
    /// The person who asked for it.
    pub asked_by: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// The person who confirmed or withdrew it. Null while it is open.
    pub ended_by: Option<String>,
    /// When it was confirmed or withdrawn.
    pub ended_at: Option<Timestamp>,
    /// The token of the first person.
    #[serde(skip)]
    pub(crate) asked_token: String,
}

/// What the confirmation of an attestation changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AttestationConfirmed)]
pub struct Confirmed {
    /// The attestation after its confirmation.
    pub attestation: Attestation,
    /// The number of resources that became recovered.
    pub recovered: i64,
    /// The number of resources that did not: they were recovered before, were seen to be wrong since, got an expected value, or are not
    /// affected any more.
    pub unchanged: i64,
}

/// Returns the name of the person who uses the token of the actor.
fn person(tx: &mut Tx<'_>) -> Result<String> {
    let token = tx.actor.id().to_owned();
    let holder = auth::holders(tx.conn, &[&token])?.remove(&token);
    holder
        .map(|holder| holder.person)
        .ok_or_else(|| Error::Forbidden("only a person with a token can attest a recovery".to_owned()))
}

/// Stores what the first person attests. Nothing is recovered by this.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the reason is empty, if the resources are wrong, or if an expected value is known
/// of one of them, or if one is recovered already. `Forbidden` if the actor is no token.
pub fn ask(tx: &mut Tx<'_>, incident: &IncidentId, new: &NewAttestation) -> Result<Attestation> {
    let mut errors = Vec::new();
    if new.reason.trim().is_empty() {
        errors.push(FieldError::at("/reason", "must not be empty"));
    }
    check_text(&mut errors, "/reason", &new.reason);
    if !errors.is_empty() {
        return Err(Error::fields(errors));
    }
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let stored = get(tx.conn, incident)?;
    let chosen = Chosen {
        resources: new.resources.clone(),
        selector: new.selector.clone(),
        as_of: new.as_of,
    };
    let chosen = chosen.keys(tx, incident)?;
    fill(tx, incident, stored.started_at)?;
    let work = Work::read(tx.conn, incident, &chosen.keys)?;
    let mut wrong = Vec::new();
    for (index, key) in chosen.keys.iter().enumerate() {
        let Some(row) = work.row(*key) else { continue };
        if row.expected.is_some() {
            let detail = "has an expected value, so it can be measured: give evidence";
            wrong.push(FieldError::at(chosen.pointer(index), detail).code(Code::Measurable));
        } else if row.state == State::Recovered {
            let detail = "is recovered already";
            wrong.push(FieldError::at(chosen.pointer(index), detail));
        }
    }
    if !wrong.is_empty() {
        if !chosen.is_list {
            let detail = format!(
                "{} of the {} resources that it finds have an expected value or are recovered already; choose the others",
                wrong.len(),
                chosen.keys.len()
            );
            let code = wrong.iter().find_map(|error| error.code);
            let mut error = FieldError::at("/selector", detail);
            error.code = code;
            wrong = vec![error];
        }
        wrong.truncate(MAX_ERRORS);
        return Err(Error::fields(wrong));
    }
    let (id, asked_by, token) = (AttestationId::new(tx.now), person(tx)?, tx.actor.id().to_owned());
    diesel::insert_into(a::table)
        .values((
            a::id.eq(id.as_str()),
            a::incident_id.eq(incident.as_str()),
            a::reason.eq(new.reason.trim()),
            a::asked_by.eq(&token),
            a::asked_name.eq(&asked_by),
            a::asked_at.eq(tx.now),
            a::state.eq(AttestationState::Open.as_str()),
        ))
        .execute(tx.conn)?;
    for chunk in chosen.keys.chunks(CHUNK) {
        let mut statement = Statement::default();
        statement
            .push("INSERT INTO recovery_attested (attestation_id, resource_key) SELECT ")
            .text(id.as_str())
            .push(&format!(
                ", key FROM resources WHERE key IN ({})",
                keyed::list(chunk)
            ));
        statement.finish().execute(tx.conn)?;
    }
    let resources = chosen.keys.len() as i64;
    tx.record(
        Event::new(Action::AttestationAsked, "attestation", id.as_str())
            .incident(incident)
            .after(json!({"resources": resources, "what": chosen.what, "reason": new.reason.trim()})),
    );
    let text = format!(
        "{asked_by} attests that {} recovered; another person must confirm it",
        counted(resources, "resource is", "resources are")
    );
    timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text)?;
    one(tx.conn, incident, &id)
}

/// Confirms an attestation as the second person. Its resources become recovered, except those of which something else is known by now.
///
/// # Errors
/// `NotFound` if the incident or the attestation does not exist. `Forbidden` if the actor is the first person or no token. `Conflict` if
/// the attestation is not open, or if the token of the first person was revoked.
pub fn confirm(tx: &mut Tx<'_>, incident: &IncidentId, id: &AttestationId) -> Result<Confirmed> {
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let attestation = open(tx.conn, incident, id)?;
    let actor = tx.actor.id().to_owned();
    let confirmed_by = person(tx)?;
    let tokens = auth::tokens_of_person(tx.conn, &actor)?;
    if tokens.contains(&attestation.asked_token) {
        let why = "another person must confirm this attestation, because the person who uses this token asked for it";
        return Err(Error::Forbidden(why.to_owned()).code(Code::OwnAttestation));
    }
    let first = auth::holders(tx.conn, &[&attestation.asked_token])?.remove(&attestation.asked_token);
    if first.is_none_or(|first| first.revoked_at.is_some()) {
        let why = "the token of the first person was revoked; withdraw the attestation and ask for a new one";
        return Err(Error::Conflict(why.to_owned()));
    }
    end(tx, id, AttestationState::Confirmed, &confirmed_by)?;
    let keys: Vec<i64> = r::table
        .filter(r::attestation_id.eq(id.as_str()))
        .order(r::resource_key)
        .select(r::resource_key)
        .load(tx.conn)?;
    let affected = affected::among(tx.conn, incident, &keys)?;
    let evidence = json!({
        "attestation": id, "reason": attestation.reason, "by": [attestation.asked_by, confirmed_by],
    })
    .to_string();
    let mut work = Work::read(tx.conn, incident, &keys)?;
    let mut recovered = 0;
    for key in keys.iter().filter(|key| affected.contains(key)) {
        if work.row(*key).is_none_or(|row| row.expected.is_some()) {
            continue;
        }
        let cause = Cause {
            at: attestation.asked_at,
            source: "attestation",
            evidence: Some(&evidence),
        };
        if work.fits(*key, true, cause) == Effect::Recovered {
            recovered += 1;
        }
    }
    work.store(tx)?;
    let unchanged = keys.len() as i64 - recovered;
    tx.record(
        Event::new(Action::AttestationConfirmed, "attestation", id.as_str())
            .incident(incident)
            .after(json!({
                "recovered": recovered, "unchanged": unchanged, "by": [attestation.asked_by, confirmed_by],
            })),
    );
    let counts = Observed {
        recovered,
        relapsed: 0,
        unchanged,
    };
    let source = format!("attested by {} and {confirmed_by}", attestation.asked_by);
    record(tx, incident, &source, counts, 0)?;
    Ok(Confirmed {
        attestation: one(tx.conn, incident, id)?,
        recovered,
        unchanged,
    })
}

/// Withdraws an open attestation.
///
/// # Errors
/// `NotFound` if the incident or the attestation does not exist. `Conflict` if it is not open. `Forbidden` if the actor is no token.
pub fn withdraw(tx: &mut Tx<'_>, incident: &IncidentId, id: &AttestationId) -> Result<Attestation> {
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let attestation = open(tx.conn, incident, id)?;
    let by = person(tx)?;
    end(tx, id, AttestationState::Withdrawn, &by)?;
    tx.record(
        Event::new(Action::AttestationWithdrawn, "attestation", id.as_str())
            .incident(incident)
            .before(json!({"resources": attestation.resources, "asked_by": attestation.asked_by})),
    );
    one(tx.conn, incident, id)
}

fn end(tx: &mut Tx<'_>, id: &AttestationId, state: AttestationState, by: &str) -> Result<()> {
    diesel::update(a::table.find(id.as_str()))
        .set((
            a::state.eq(state.as_str()),
            a::ended_by.eq(tx.actor.id()),
            a::ended_name.eq(by),
            a::ended_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    Ok(())
}

fn one(conn: &mut Conn, incident: &IncidentId, id: &AttestationId) -> Result<Attestation> {
    read(conn, incident, Some(id))?
        .pop()
        .ok_or_else(|| Error::NotFound("attestation with this ID".to_owned()))
}

fn open(conn: &mut Conn, incident: &IncidentId, id: &AttestationId) -> Result<Attestation> {
    let attestation = one(conn, incident, id)?;
    match attestation.state {
        AttestationState::Open => Ok(attestation),
        state => Err(Error::Conflict(format!("the attestation is {state}"))),
    }
}

/// Returns the attestations of an incident, oldest first.
///
/// # Errors
/// An error of the database.
pub fn attestations(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Attestation>> {
    read(conn, incident, None)
}

fn read(conn: &mut Conn, incident: &IncidentId, id: Option<&AttestationId>) -> Result<Vec<Attestation>> {
    type Row = (
        AttestationId,
        String,
        String,
        String,
        String,
        Timestamp,
        Option<String>,
        Option<Timestamp>,
    );
    let mut query = a::table
        .filter(a::incident_id.eq(incident.as_str()))
        .order(a::id)
        .select((
            a::id,
            a::state,
            a::reason,
            a::asked_by,
            a::asked_name,
            a::asked_at,
            a::ended_name,
            a::ended_at,
        ))
        .into_boxed::<crate::db::Backend>();
    if let Some(id) = id {
        query = query.filter(a::id.eq(id.as_str()));
    }
    let rows: Vec<Row> = query.load(conn)?;
    let ids: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
    let counted: Vec<(String, i64)> = r::table
        .filter(r::attestation_id.eq_any(&ids))
        .group_by(r::attestation_id)
        .select((r::attestation_id, diesel::dsl::count_star()))
        .load(conn)?;
    let counted: std::collections::HashMap<String, i64> = counted.into_iter().collect();
    rows.into_iter()
        .map(
            |(id, state, reason, asked_token, asked_by, asked_at, ended_by, ended_at)| {
                Ok(Attestation {
                    state: AttestationState::parse(&state).map_err(Error::internal)?,
                    resources: counted.get(id.as_str()).copied().unwrap_or(0),
                    id,
                    reason,
                    asked_by,
                    asked_at,
                    ended_by,
                    ended_at,
                    asked_token,
                })
            },
        )
        .collect()
}
