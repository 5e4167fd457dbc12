//! Handles the end of an alert, what the end means for its incident, and an alert that fires again.
//!
//! An incident never resolves automatically. One alert never ends another alert. The end of an alert never
//! opens an incident.

use diesel::dsl::{max, sql};
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde_json::json;

use super::cache::KnownAlert;
use super::row::NewRow;
use super::work::{AlertReferences, Work};
use crate::alert::Status;
use crate::alert::integration::Integration;
use crate::alert::order::LastEvent;
use crate::alert::source::Alert;
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::{AlertId, IncidentId};
use crate::base::time::{Timestamp, ZonedTime};
use crate::db::FixedText;
use crate::db::schema::{alerts as a, timeline_entries as te};
use crate::incident::{self, StatusChange, timeline};

const ALL_RESOLVED: &str = "All alerts are resolved";

impl<'b> Work<'b> {
    /// Resolves the alert with this fingerprint, and no other. The users that the body names hit the error,
    /// even though the alert has ended.
    pub(super) fn resolve(
        &mut self,
        tx: &mut Tx<'_>,
        integration: &Integration,
        alert: &'b Alert,
    ) -> Result<()> {
        let known = self
            .cache
            .alert(tx.conn, integration.id.as_str(), &alert.fingerprint)?;
        let (id, incident) = match known {
            Some(known) if known.firing => {
                self.insert_fresh(tx)?;
                let ended_at: Timestamp = alert.ended_at.unwrap_or(tx.now);
                let last = known.last_event().after(false, alert.event_at, tx.now);
                diesel::update(a::table.find(known.id.as_str()))
                    .set((
                        a::status.eq(Status::Resolved.as_str()),
                        a::ended_at.eq(Some(ended_at)),
                        a::last_received_at.eq(tx.now),
                        a::event_at.eq(last.at),
                        a::event_seen_at.eq(last.seen_at),
                    ))
                    .execute(tx.conn)?;
                let event = Event::new(Action::AlertResolved, "alert", known.id.as_str())
                    .after(json!({"ended_at": ended_at}));
                tx.record(match &known.incident {
                    Some(incident) => event.incident(incident),
                    None => event,
                });
                if let Some(incident) = &known.incident {
                    self.ended.insert(incident.clone(), tx.actor.clone());
                }
                let named = (known.id.clone(), known.incident.clone());
                self.remember(integration, alert, known.with_event(last));
                named
            }
            // The alert is resolved already. A newer end time makes older events late.
            Some(known) => {
                self.again_of(tx, &known);
                let last = known.last_event().after(false, alert.event_at, tx.now);
                let (id, incident) = (known.id.clone(), known.incident.clone());
                self.remember(integration, alert, known.with_event(last));
                (id, incident)
            }
            // The firing event was never received. A resolved alert opens no incident, but it is recorded.
            None => {
                let last = LastEvent::default().after(false, alert.event_at, tx.now);
                let row = NewRow::of(tx.now, integration, alert, None, None, last)?;
                tx.record(row.event(integration, alert));
                let known = KnownAlert {
                    id: row.id.clone(),
                    firing: false,
                    incident: None,
                    before: None,
                    repeats: 0,
                    event_at: last.at,
                    event_seen_at: last.seen_at,
                };
                self.remember(integration, alert, known);
                let id = row.id.clone();
                self.fresh.push(row);
                (id, None)
            }
        };
        if alert.event && !alert.people.is_empty() {
            self.named.push(AlertReferences {
                alert,
                id,
                incident,
                // The affected resources were named when the alert began.
                chains: Vec::new(),
                outcome: self.outcomes.len() - 1,
            });
        }
        Ok(())
    }

    /// Moves an incident to monitoring when the last of its alerts is resolved.
    pub(super) fn settle(&mut self, tx: &mut Tx<'_>, id: &IncidentId) -> Result<()> {
        let status = self.cache.incident(tx.conn, id)?.status;
        if any_firing(tx, id)? {
            return Ok(());
        }
        match status {
            incident::Status::Investigating | incident::Status::Identified => {
                let ended_at = last_end(tx, id)?;
                self.move_to(tx, id, incident::Status::Monitoring, ALL_RESOLVED, ended_at)
            }
            incident::Status::Monitoring | incident::Status::Resolved | incident::Status::Merged => {
                timeline::note(tx, id, timeline::Kind::Note, tx.now, ALL_RESOLVED)?;
                Ok(())
            }
        }
    }

    fn move_to(
        &mut self,
        tx: &mut Tx<'_>,
        id: &IncidentId,
        status: incident::Status,
        why: &str,
        at: Option<Timestamp>,
    ) -> Result<()> {
        let change = StatusChange {
            status,
            message: Some(why.to_owned()),
            at: at.map(|at| ZonedTime { at, offset: 0 }),
        };
        incident::set_status(tx, id, &change)?;
        let standing = incident::standing(tx.conn, id)?;
        self.cache.set_incident(standing);
        Ok(())
    }

    /// Handles an alert that joins an open incident. If the incident is in monitoring because all its alerts
    /// were resolved, it goes back to investigating. If the alert `returns` and no other alert of the
    /// incident fires, this is noted on the timeline.
    pub(super) fn fires_again(&mut self, tx: &mut Tx<'_>, id: &IncidentId, returns: bool) -> Result<()> {
        const AGAIN: &str = "An alert fires again";
        let watching = self.cache.incident(tx.conn, id)?.status == incident::Status::Monitoring;
        if watching {
            let last: Option<String> = te::table
                .filter(te::incident_id.eq(id.as_str()))
                .filter(te::kind.eq(timeline::Kind::Monitoring.as_str()))
                .filter(te::automatic.eq(true))
                .order(te::id.desc())
                .select(te::text)
                .first(tx.conn)
                .optional()?;
            if last.as_deref() == Some(ALL_RESOLVED) {
                let why = if returns { AGAIN } else { "Another alert fires" };
                return self.move_to(tx, id, incident::Status::Investigating, why, None);
            }
        }
        if returns {
            self.insert_fresh(tx)?;
            if !any_firing(tx, id)? {
                timeline::note(tx, id, timeline::Kind::Note, tx.now, AGAIN)?;
            }
        }
        Ok(())
    }
}

/// Returns when the last alert of an incident ended, by the time of its source, because the alert can be
/// received much later. The result is never before the incident was opened or last reopened, and never in the
/// future. None if no source gives a time.
fn last_end(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Option<Timestamp>> {
    let ended: Option<Timestamp> = a::table
        .filter(a::incident_id.eq(id.as_str()))
        .select(max(a::ended_at))
        .first(tx.conn)?;
    let Some(ended) = ended else { return Ok(None) };
    let began = incident::began_at(tx.conn, id)?;
    Ok(Some(ended.max(began).min(tx.now)))
}

fn any_firing(tx: &mut Tx<'_>, id: &IncidentId) -> Result<bool> {
    let firing: Option<AlertId> = a::table
        .filter(a::incident_id.eq(id.as_str()))
        .filter(sql::<Bool>("alerts.status = 'firing'"))
        .select(a::id)
        .limit(1)
        .fixed()
        .get_result(tx.conn)
        .optional()?;
    Ok(firing.is_some())
}
