//! A background service that asks the product about references that the directory does not know. Once a
//! resource is known, it becomes affected.
//!
//! A reference that stays unknown is stored with the reason. A resource never becomes affected by a guess. No
//! request is made inside a transaction, and the answer to a reference is reused for a while.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;
use serde_json::json;

use super::rules;
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::error::Result;
use crate::base::id::{AlertId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::dialect::{self, Lock, on_backend};
use crate::db::schema::{alert_chains as ac, alert_references as ar, directory_lookups as dl};
use crate::db::{Conn, Db};
use crate::directory::source::callout;
use crate::directory::{ResourceRef, resource};
use crate::egress::client::Client;
use crate::incident::{self, affected};
use crate::work::{Next, Service, Stop};

/// How long other processes leave a reference to the process that asks about it.
const LEASE: Duration = Duration::from_secs(60);
/// How long the answer "unknown" is valid.
const UNKNOWN: Duration = Duration::from_secs(60);
/// The wait after a failure. It doubles with each further failure.
const FAILED: Duration = Duration::from_secs(30);
/// How many times the service asks about a reference automatically while the requests fail.
const ATTEMPTS: i64 = 6;

/// The service that looks up references.
pub struct Lookups {
    /// The database that contains the references and their answers.
    pub db: Db,
    /// The HTTP client that makes the requests.
    pub client: Client,
}

impl Service for Lookups {
    const NAME: &'static str = "lookups";
    const POLL: Duration = Duration::from_millis(500);

    async fn step(&mut self, _: bool, stop: &Stop) -> Result<Next> {
        Ok(if round(&self.db, &self.client, stop).await? {
            Next::AtOnce
        } else {
            Next::Wait
        })
    }
}

#[derive(QueryableByName)]
struct Reference {
    #[diesel(sql_type = Text)]
    resource_type: String,
    #[diesel(sql_type = Text)]
    resource_id: String,
}

/// Returns references of open incidents that were never asked about, or whose answer is no longer valid.
fn due(conn: &mut Conn, now: Timestamp) -> Result<Vec<ResourceRef>> {
    let rows: Vec<Reference> = diesel::sql_query(format!(
        "SELECT DISTINCT ar.resource_type, ar.resource_id FROM alert_references ar \
         JOIN incidents i ON i.id = ar.incident_id AND i.status <> 'resolved' \
         LEFT JOIN directory_lookups l ON l.resource_type = ar.resource_type AND l.resource_id = ar.resource_id \
         WHERE NOT ar.resolved AND (l.state IS NULL OR (l.expires_at <= $1 AND ( \
             l.state IN ('wanted', 'asking') OR (l.state = 'failed' AND l.attempts < {ATTEMPTS}) OR ar.seen_at > l.asked_at))) \
         ORDER BY ar.resource_type, ar.resource_id LIMIT {}",
        callout::BATCH
    ))
    .bind::<BigInt, _>(now)
    .load(conn)?;
    Ok(rows
        .into_iter()
        .filter_map(|row| resource::reference(&row.resource_type, &row.resource_id))
        .collect())
}

/// Asks about the references that are due. Returns whether there were any.
async fn round(db: &Db, client: &Client, stop: &Stop) -> Result<bool> {
    let now = db.clock().now();
    let found = db
        .read(move |conn| {
            Ok(match callout::service(conn)? {
                Some(service) if !due(conn, now)?.is_empty() => Some(service),
                _ => None,
            })
        })
        .await?;
    let Some(service) = found else { return Ok(false) };
    let id = service.id.clone();
    let wanted = db
        .transaction(move |conn| {
            // The lock ensures that only one process asks.
            dialect::lock(conn, Lock::Source, id.as_str())?;
            let wanted = due(conn, now)?;
            note(conn, &wanted, "asking", None, now, now.plus(LEASE))?;
            Ok(wanted)
        })
        .await?;
    if wanted.is_empty() {
        return Ok(false);
    }
    let mut stop = stop.clone();
    let answer = tokio::select! {
        answer = callout::ask(client, &service, &wanted, now) => answer,
        () = stop.wait() => {
            // The next start asks again.
            db.transaction(move |conn| note(conn, &wanted, "wanted", None, now, now)).await?;
            return Ok(false);
        }
    };
    let outcome = match answer {
        Err(reason) => Err(reason),
        Ok(lines) => {
            let (source, asked) = (service.clone(), wanted.clone());
            let stored = db
                .write(&Actor::system("call-out"), move |tx| {
                    callout::store(tx, &source.id, lines)?;
                    resolve(tx, &asked)?;
                    let known = resource::keys(tx.conn, &asked.iter().collect::<Vec<_>>())?;
                    let (there, missing): (Vec<_>, Vec<_>) =
                        asked.into_iter().partition(|at| known.contains_key(at));
                    forget(tx.conn, &there)?;
                    let reason = format!(
                        "{} does not know it (asked at {})",
                        source.name,
                        tx.now.for_people(None)
                    );
                    let until = tx.now.plus(UNKNOWN);
                    note(tx.conn, &missing, "unknown", Some(&reason), tx.now, until)
                })
                .await;
            match stored {
                Ok(()) => Ok(()),
                Err(error) => match callout::misfit(&error) {
                    Some(reason) => Err(reason),
                    None => return Err(error),
                },
            }
        }
    };
    if let Err(reason) = outcome {
        failed(db, &service, wanted, &reason).await?;
    }
    Ok(true)
}

async fn failed(db: &Db, service: &callout::Service, wanted: Vec<ResourceRef>, reason: &str) -> Result<()> {
    // Do not log the reason: it can repeat what the service answered.
    tracing::warn!(source = %service.id, "a call-out failed: its incidents say why");
    let (id, name, reason) = (service.id.clone(), service.name.clone(), reason.to_owned());
    db.write(&Actor::system("call-out"), move |tx| {
        let reason = format!(
            "the call-out to {name} at {} failed: {reason}",
            tx.now.for_people(None)
        );
        note(tx.conn, &wanted, "failed", Some(&reason), tx.now, tx.now)?;
        // The wait grows with each attempt, up to about half an hour.
        for at in &wanted {
            let row = dl::table.find((at.type_.as_str(), at.id.as_str()));
            let attempts: i64 = row.select(dl::attempts).first(tx.conn)?;
            let wait = FAILED * 2_u32.pow(attempts.clamp(1, 7).unsigned_abs() as u32 - 1);
            diesel::update(row)
                .set(dl::expires_at.eq(tx.now.plus(wait)))
                .execute(tx.conn)?;
        }
        tx.record(
            Event::new(Action::CalloutFailed, "source", id.as_str())
                .after(json!({"references": wanted.len()})),
        );
        Ok(())
    })
    .await
}

fn note(
    conn: &mut Conn,
    refs: &[ResourceRef],
    state: &str,
    reason: Option<&str>,
    now: Timestamp,
    until: Timestamp,
) -> Result<()> {
    let again = i64::from(state == "failed");
    for at in refs {
        on_backend!(&mut *conn, c => diesel::insert_into(dl::table)
            .values((
                dl::resource_type.eq(at.type_.as_str()),
                dl::resource_id.eq(at.id.as_str()),
                dl::state.eq(state),
                dl::reason.eq(reason),
                dl::attempts.eq(again),
                dl::asked_at.eq(now),
                dl::expires_at.eq(until),
            ))
            .on_conflict((dl::resource_type, dl::resource_id))
            .do_update()
            .set((
                dl::state.eq(state),
                dl::reason.eq(reason),
                dl::attempts.eq(dl::attempts + again),
                dl::asked_at.eq(now),
                dl::expires_at.eq(until),
            ))
            .execute(c))?;
    }
    Ok(())
}

fn forget(conn: &mut Conn, refs: &[ResourceRef]) -> Result<()> {
    for at in refs {
        diesel::delete(dl::table.find((at.type_.as_str(), at.id.as_str()))).execute(conn)?;
    }
    Ok(())
}

/// Updates the alerts that name these references. Resources that the directory knows by now become affected.
/// Returns how many of the references are known.
pub fn resolve(tx: &mut Tx<'_>, refs: &[ResourceRef]) -> Result<usize> {
    let known = resource::keys(tx.conn, &refs.iter().collect::<Vec<_>>())?;
    let mut touched: Vec<(AlertId, Option<IncidentId>)> = Vec::new();
    for at in known.keys() {
        let rows: Vec<(AlertId, Option<IncidentId>)> = ar::table
            .filter(ar::resource_type.eq(at.type_.as_str()))
            .filter(ar::resource_id.eq(at.id.as_str()))
            .filter(ar::resolved.eq(false))
            .select((ar::alert_id, ar::incident_id))
            .load(tx.conn)?;
        diesel::update(
            ar::table
                .filter(ar::resource_type.eq(at.type_.as_str()))
                .filter(ar::resource_id.eq(at.id.as_str()))
                .filter(ar::resolved.eq(false)),
        )
        .set(ar::resolved.eq(true))
        .execute(tx.conn)?;
        touched.extend(rows);
    }
    touched.sort();
    touched.dedup();
    for (alert, incident) in touched {
        let chains: Option<String> = ac::table
            .find(alert.as_str())
            .select(ac::chains)
            .first(tx.conn)
            .optional()?;
        let chains: Vec<Vec<ResourceRef>> = match chains {
            Some(json) => serde_json::from_str(&json)?,
            None => continue,
        };
        let rules::Resolved { keys, hit, .. } = rules::resolve(tx.conn, &chains)?;
        if chains.iter().flatten().all(|at| keys.contains_key(at)) {
            diesel::delete(ac::table.find(alert.as_str())).execute(tx.conn)?;
        }
        if let Some(incident) = incident.filter(|_| !hit.is_empty()) {
            let named: Vec<String> = known
                .keys()
                .take(50)
                .map(|at| format!("{}/{}", at.type_, at.id))
                .collect();
            affected::add_keys(
                tx,
                &incident,
                &hit,
                affected::Source::Alert,
                json!({"alert": alert, "named": named}),
            )?;
            tx.record(
                Event::new(Action::ReferencesResolved, "incident", incident.as_str())
                    .incident(&incident)
                    .after(json!({"alert": alert, "references": named})),
            );
        }
    }
    Ok(known.len())
}

/// The result of a request to look up the references of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Wanted {
    /// The number of references that the directory knows by now.
    pub resolved: usize,
    /// The number of references that a service will be asked about.
    pub asked: usize,
    /// The number of references that stay unknown for now: there is no service to ask, or it was asked a
    /// moment ago.
    pub left: usize,
}

/// Looks up the unmatched references of an incident: in the directory at once, and soon after at the service.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn want(tx: &mut Tx<'_>, incident: &IncidentId) -> Result<Wanted> {
    incident::get(tx.conn, incident)?;
    let refs: Vec<ResourceRef> = affected::unresolved(tx.conn, incident)?
        .iter()
        .filter_map(|one| resource::reference(&one.type_, &one.id))
        .collect();
    let resolved = resolve(tx, &refs)?;
    let known = resource::keys(tx.conn, &refs.iter().collect::<Vec<_>>())?;
    let missing: Vec<&ResourceRef> = refs.iter().filter(|at| !known.contains_key(*at)).collect();
    let mut asked = 0;
    if callout::service(tx.conn)?.is_some() {
        for at in &missing {
            let row = dl::table.find((at.type_.as_str(), at.id.as_str()));
            let held: Option<(String, Timestamp)> = row
                .select((dl::state, dl::expires_at))
                .first(tx.conn)
                .optional()?;
            // An answer stays valid for its time, even if somebody asks again sooner. A failure is not an
            // answer.
            let believed = held.is_some_and(|(state, until)| {
                ["unknown", "asking"].contains(&state.as_str()) && until > tx.now
            });
            if !believed {
                asked += 1;
                diesel::update(row)
                    .set((
                        dl::state.eq("wanted"),
                        dl::attempts.eq(0),
                        dl::expires_at.eq(tx.now),
                    ))
                    .execute(tx.conn)?;
            }
        }
    }
    Ok(Wanted {
        resolved,
        asked,
        left: missing.len() - asked,
    })
}
