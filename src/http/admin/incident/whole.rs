//! What the pages of an incident show that is computed from its whole audience. It is computed once and comes from the cache after
//! that, whatever part of it a page shows.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::audience::{Audience, Counts};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::Conn;
use crate::feedback::unreached::{self, UnreachedCounts};
use crate::http::admin::view::zone;
use crate::http::admin::{audience, why};
use crate::incident::Incident;
use crate::incident::affected::Unresolved;
use crate::notice::{AskedPeople, Notice, Overview, Restorations};
use crate::now::{Approval, Numbers, People};

/// The results that are computed from the whole audience of an incident.
pub(super) struct Whole {
    pub people: Arc<People>,
    pub counts: Counts,
    /// The number of people who were notified by mistake, got a correction, and are not in the audience now.
    pub corrected: usize,
    /// The number of people whom the incident affects and who are archived in the directory.
    pub archived: usize,
    pub unreached: UnreachedCounts,
    /// The number of people who were affected at the start of the incident and are not now.
    pub lost_since: usize,
    pub since: Value,
    pub unresolved: Vec<Unresolved>,
    pub unidentified: Value,
    pub asked: AskedPeople,
    /// The time zones in which times are shown.
    pub zones: Vec<(String, TimeZone)>,
}

impl Whole {
    /// Computes the results.
    ///
    /// # Errors
    /// An error of the database.
    pub(super) fn of(conn: &mut Conn, incident: &Incident) -> Result<Whole> {
        let id = &incident.id;
        let (overview, emails) = Overview::read_with_emails(conn, id)?;
        let audience = &overview.audience;
        let zones = zones(incident, audience);
        let local = zones.first().map(|(_, zone)| zone);
        let since = why::since(conn, id, incident.started_at, audience)?;
        let (unreached, _) = unreached::of_overview(conn, id, &overview, emails.missed, None, 0)?;
        let without_address = audience
            .people
            .iter()
            .filter(|one| one.unreachable.is_some())
            .count();
        Ok(Whole {
            people: Arc::new(People::of_overview(
                &overview,
                &Restorations::read(conn, id, &overview)?,
            )),
            corrected: overview.corrected(),
            archived: audience.unreachable.len().saturating_sub(without_address),
            unreached,
            lost_since: since.counts.removed,
            since: why::since_section(&since, incident.started_at, local),
            unresolved: audience.unresolved.clone(),
            unidentified: audience::unidentified(audience, local),
            counts: audience.counts.clone(),
            asked: emails.asked,
            zones,
        })
    }

    /// Returns the time zone of the incident's team, or otherwise of most customers.
    pub(super) fn local(&self) -> Option<&TimeZone> {
        self.zones.first().map(|(_, zone)| zone)
    }
}

/// Returns the time zones in which the times are shown: first the one of the incident's team, then those of
/// the customers. Time zones with the same local time appear once.
fn zones(incident: &Incident, audience: &Audience) -> Vec<(String, TimeZone)> {
    const SHOWN: usize = 4;
    let mut counted: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for name in audience
        .people
        .iter()
        .filter_map(|addressee| addressee.time_zone.as_deref())
    {
        *counted.entry(name).or_default() += 1;
    }
    let mut names: Vec<(&str, usize)> = counted.into_iter().collect();
    names.sort_by_key(|(_, people)| std::cmp::Reverse(*people));
    let mut shown: Vec<(String, TimeZone)> = Vec::new();
    for name in incident
        .time_zone
        .as_deref()
        .into_iter()
        .chain(names.into_iter().map(|(name, _)| name))
    {
        let Some(zone) = zone(Some(name)) else { continue };
        let reads = |zone: &TimeZone| (incident.started_at.short(zone), incident.detected_at.short(zone));
        if shown.len() < SHOWN && !shown.iter().any(|(_, other)| reads(other) == reads(&zone)) {
            shown.push((name.to_owned(), zone));
        }
    }
    shown
}

/// The numbers of one incident that were computed already, and the approvals from the cache.
pub(super) struct Known<'a> {
    pub people: Arc<People>,
    pub others: &'a mut dyn Numbers,
}

impl Numbers for Known<'_> {
    fn people(&mut self, _: &mut Conn, _: &IncidentId) -> Result<Arc<People>> {
        Ok(self.people.clone())
    }

    fn approval(&mut self, conn: &mut Conn, draft: &Notice) -> Result<Arc<Option<Approval>>> {
        self.others.approval(conn, draft)
    }
}
