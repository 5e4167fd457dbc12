//! What the public reads, all of it: read from the database in one view, and then asked without it.

use std::collections::BTreeMap;
use std::time::Duration;

use diesel::prelude::*;

use super::component::{self, Component};
use super::history::{DAYS, begin_of, day_of};
use super::maintenance::{self, Maintenance, MaintenanceState};
use super::post::{self, Post};
use super::public_incident::PublicIncident;
use super::state::{ComponentState, Indicator};
use crate::audit::{self, Action, lineage};
use crate::base::error::Result;
use crate::base::id::{IncidentId, PostId};
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::brand::{self, Shown};
use crate::db::Conn;
use crate::db::schema::{incidents as i, public_posts as p};
use crate::incident::report::{self, Published};
use crate::words::{Area, Words};

/// The largest number of reports that are public.
const REPORTS: i64 = 500;

/// Returns the number of the last event that changed what the public reads. A few searches of an index.
///
/// # Errors
/// An error of the database.
pub fn last_change(conn: &mut Conn) -> Result<i64> {
    audit::last_of(conn, Action::OF_STATUS_PAGE)
}

/// Returns the path of the page of an incident in a language.
pub fn incident_path(language: Language, number: i64) -> String {
    format!("/status/{language}/incidents/{number}")
}

/// All that the public reads.
#[derive(Clone, Debug)]
pub struct StatusPage {
    /// The components, in their order.
    pub components: Vec<Component>,
    /// The names of all components, also of deleted ones, by their IDs.
    pub names: BTreeMap<String, String>,
    /// The incidents with posts, the one with the newest beginning first.
    pub incidents: Vec<PublicIncident>,
    /// Where merged incidents with posts went: from number to number.
    pub moved: BTreeMap<i64, i64>,
    /// The published reports, newest first.
    pub reports: Vec<Published>,
    /// The planned maintenances that affect a component and are in progress or still to come.
    pub maintenances: Vec<Maintenance>,
    /// What the pages show of the brand.
    pub brand: Shown,
    /// The files that the pages load with the brand, by their paths.
    pub brand_files: Vec<(String, Vec<u8>)>,
    /// The time as of which all of this is.
    pub as_of: Timestamp,
}

impl StatusPage {
    /// Returns the incidents that are open for the public.
    pub fn open(&self) -> impl Iterator<Item = &PublicIncident> {
        self.incidents.iter().filter(|incident| incident.is_open())
    }

    /// Returns the incidents that were resolved within the days of the history.
    pub fn past(&self) -> impl Iterator<Item = &PublicIncident> {
        let first = begin_of(day_of(self.as_of) + 1 - DAYS as i64);
        self.incidents
            .iter()
            .filter(move |incident| incident.resolved_at().is_some_and(|at| at >= first))
    }

    /// Returns the incident with this number.
    pub fn incident(&self, number: i64) -> Option<&PublicIncident> {
        self.incidents.iter().find(|incident| incident.number == number)
    }

    /// Returns the incident that a post belongs to now.
    pub fn incident_of(&self, post: &PostId) -> Option<(&PublicIncident, &Post)> {
        self.incidents.iter().find_map(|incident| {
            let post = incident.posts.iter().find(|one| one.id == *post)?;
            Some((incident, post))
        })
    }

    /// Returns the title of an incident in a language. Without a title of an operator it follows from the components, or else from the
    /// number.
    ///
    /// # Errors
    /// An internal error, if a text is missing.
    pub fn title(&self, incident: &PublicIncident, language: Language) -> Result<String> {
        if let Some(title) = incident.title(language) {
            return Ok(title.to_owned());
        }
        let words = Words::of(Area::Status, language)?;
        let worst = incident.worst();
        let Some(state) = worst.values().max() else {
            return words.with("incident", &[("number", &incident.number.to_string())]);
        };
        let named = worst.keys().map(|id| self.names.get(id).unwrap_or(id).as_str());
        let named: Vec<&str> = named.collect();
        Ok(format!("{}: {}", named.join(", "), words.text(state.as_str())?))
    }

    /// Returns the published report of the incident with this number.
    pub fn report(&self, number: i64) -> Option<&Published> {
        self.reports.iter().find(|report| report.number == number)
    }

    /// Returns the state of a component now: the worst of all open incidents and of a maintenance that is being done.
    pub fn state(&self, component: &str) -> ComponentState {
        let open = self
            .open()
            .filter_map(|incident| incident.affects().get(component).copied());
        let maintained = self
            .maintenances
            .iter()
            .filter(|one| one.state(self.as_of) == MaintenanceState::InProgress)
            .filter(|one| one.components.iter().any(|id| id == component))
            .map(|_| ComponentState::UnderMaintenance);
        open.chain(maintained)
            .max()
            .unwrap_or(ComponentState::Operational)
    }

    /// Returns how bad everything together is. An open incident that affects no component counts as minor.
    pub fn indicator(&self) -> Indicator {
        let components = self.components.iter().map(|one| self.state(&one.id).into());
        let open = self.open().map(|incident| {
            let worst = incident.affects().into_values().max();
            worst
                .map_or(Indicator::Minor, Indicator::from)
                .max(Indicator::Minor)
        });
        components.chain(open).max().unwrap_or(Indicator::None)
    }

    /// Returns when anything that the public reads was last changed. None if nothing was ever written.
    pub fn updated_at(&self) -> Option<Timestamp> {
        let incidents = self.incidents.iter().map(PublicIncident::updated_at);
        let components = self.components.iter().map(|one| one.updated_at);
        let reports = self.reports.iter().map(|report| report.published_at);
        let maintenances = self.maintenances.iter().map(|one| one.updated_at);
        incidents
            .chain(components)
            .chain(reports)
            .chain(maintenances)
            .max()
    }

    /// Returns until when the page says the same, unless somebody changes something: the next midnight, or the next beginning or end
    /// of a maintenance.
    pub fn same_until(&self) -> Timestamp {
        let midnight = begin_of(day_of(self.as_of) + 1);
        let times = self
            .maintenances
            .iter()
            .flat_map(|one| [one.starts_at, one.ends_at]);
        times
            .filter(|at| *at > self.as_of)
            .fold(midnight, Timestamp::min)
            .max(self.as_of.plus(Duration::from_secs(1)))
    }
}

/// Reads all that the public reads.
///
/// # Errors
/// An error of the database.
pub fn read(conn: &mut Conn, now: Timestamp) -> Result<StatusPage> {
    let with_posts: Vec<(IncidentId, i64)> = i::table
        .filter(i::id.eq_any(p::table.select(p::incident_id)))
        .filter(i::drill.eq(false))
        .select((i::id, i::number))
        .load(conn)?;
    let mut numbers = BTreeMap::new();
    // Where the posts of an incident belong now, with the number of it.
    let mut homes: BTreeMap<IncidentId, (IncidentId, i64)> = BTreeMap::new();
    let mut moved = BTreeMap::new();
    for (id, number) in with_posts {
        let root = lineage::root(conn, &id)?;
        let home = match root == id {
            true => number,
            false => i::table.find(root.as_str()).select(i::number).first(conn)?,
        };
        if home != number {
            moved.insert(number, home);
        }
        numbers.insert(root.clone(), home);
        homes.insert(id, (root, home));
    }
    let mut posts: BTreeMap<IncidentId, Vec<Post>> = BTreeMap::new();
    for post in post::all(conn)? {
        if let Some((root, _)) = homes.get(&post.incident) {
            posts.entry(root.clone()).or_default().push(post);
        }
    }
    let mut incidents: Vec<PublicIncident> = posts
        .into_iter()
        .filter_map(|(id, posts)| {
            let number = *numbers.get(&id)?;
            Some(PublicIncident { id, number, posts })
        })
        .collect();
    incidents.sort_by_key(|incident| std::cmp::Reverse((incident.began_at(), incident.number)));
    let brand = brand::read(conn)?;
    Ok(StatusPage {
        components: component::all(conn)?,
        names: component::names(conn)?,
        incidents,
        moved,
        reports: report::published(conn, REPORTS)?,
        maintenances: maintenance::public(conn)?,
        brand: Shown::of(&brand),
        brand_files: brand::public_files(conn, &brand)?,
        as_of: now,
    })
}

#[cfg(test)]
mod tests {
    use super::super::public_incident::tests::{incident, post};
    use super::*;

    fn page(incidents: Vec<PublicIncident>) -> StatusPage {
        StatusPage {
            components: Vec::new(),
            names: BTreeMap::new(),
            incidents,
            moved: BTreeMap::new(),
            reports: Vec::new(),
            maintenances: Vec::new(),
            brand: Shown::default(),
            brand_files: Vec::new(),
            as_of: Timestamp::parse("2026-03-10T12:00:00Z").unwrap(),
        }
    }

    #[test]
    fn the_worst_state_of_the_open_incidents_wins() {
        use ComponentState::{DegradedPerformance, MajorOutage, Operational, PartialOutage};
        let first = incident(
            1,
            vec![
                post(
                    "2026-03-10T08:00:00Z",
                    "investigating",
                    &[("uploads", MajorOutage)],
                ),
                post(
                    "2026-03-10T09:00:00Z",
                    "identified",
                    &[("uploads", DegradedPerformance)],
                ),
                post("2026-03-10T10:00:00Z", "monitoring", &[]),
            ],
        );
        let second = incident(
            2,
            vec![post(
                "2026-03-10T09:30:00Z",
                "investigating",
                &[("uploads", PartialOutage)],
            )],
        );
        let over = incident(
            3,
            vec![
                post(
                    "2026-03-10T09:30:00Z",
                    "investigating",
                    &[("uploads", MajorOutage)],
                ),
                post("2026-03-10T09:40:00Z", "resolved", &[]),
            ],
        );
        let both = page(vec![first.clone(), second, over.clone()]);
        assert_eq!(both.state("uploads"), PartialOutage);
        assert_eq!(both.indicator(), Indicator::Major);
        assert_eq!(page(vec![first]).state("uploads"), DegradedPerformance);
        assert_eq!(page(vec![over.clone()]).state("uploads"), Operational);
        assert_eq!(page(vec![over.clone()]).indicator(), Indicator::None);
        assert_eq!(over.impact(), Indicator::Critical);
        assert_eq!(page(vec![over]).past().count(), 1);
    }

    #[test]
    fn an_open_incident_without_components_is_not_silent() {
        let open = incident(1, vec![post("2026-03-10T08:00:00Z", "monitoring", &[])]);
        assert_eq!(page(vec![open]).indicator(), Indicator::Minor);
    }
}
