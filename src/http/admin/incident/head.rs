//! The head that all pages of an incident have: severity, status, age and owner, the next thing to do, what will happen by itself,
//! the people as parts that add up, the problems, and the tabs.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::whole::{Known, Whole};
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::Conn;
use crate::http::App;
use crate::http::admin::frame::Frame;
use crate::http::admin::incident_forms::{self, find};
use crate::http::admin::now::{Deed, automatic, deed, next_thing, rounded, sentence};
use crate::http::admin::partition;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, count, cut, duration, link, zone};
use crate::http::audience_cache::AudienceCache;
use crate::http::ids::IncidentName;
use crate::http::now::{CachedNumbers, settings};
use crate::http::problem::Answer;
use crate::incident::{self, Incident, Status};
use crate::notice::AskedPeople;
use crate::now::{self, OfIncident, Settings};

/// The tabs, each with its path below the incident, and the anchor that older links name.
const TABS: [(&str, &str, Option<&str>); 10] = [
    ("Overview", "", None),
    ("People", "/people", Some("people")),
    ("Resources", "/resources", Some("affected")),
    ("Recovery", "/recovery", Some("recovery")),
    ("Alerts", "/alerts", Some("alerts")),
    ("Answers", "/answers", Some("answers")),
    ("Times", "/times", Some("times")),
    ("Report", "/report", Some("report")),
    ("Follow-ups", "/follow-ups", Some("steps")),
    ("Status page", "/posts", None),
];
/// The seconds between two refreshes, and while something is sent.
const LIVE: u32 = 5;
const LIVE_SENDING: u32 = 2;

/// What is needed to read the head.
pub(in crate::http::admin) struct Reader {
    cache: std::sync::Arc<AudienceCache>,
    settings: Settings,
    numbers: CachedNumbers,
}

/// What the head shows.
pub(in crate::http::admin) struct Head {
    pub incident: Incident,
    pub(super) whole: std::sync::Arc<Whole>,
    /// The time that the numbers are from, if emails were tried since.
    as_of: Option<crate::base::time::Timestamp>,
    pub now: OfIncident,
    /// The number of the previous incident about the same problem. The field below is the number of the next one.
    earlier: Option<i64>,
    later: Option<i64>,
    /// The number of the incident that it is merged into.
    merged_into: Option<i64>,
    /// The number of incidents that are merged into it.
    merged: usize,
}

impl Reader {
    pub(in crate::http::admin) fn new(app: &App) -> Reader {
        Reader {
            cache: app.audience_cache.clone(),
            settings: settings(app),
            numbers: CachedNumbers::new(app),
        }
    }

    /// Reads the head of an incident.
    ///
    /// # Errors
    /// `NotFound` if the incident does not exist.
    pub(in crate::http::admin) fn read(&mut self, conn: &mut Conn, name: &IncidentName) -> Result<Head> {
        let incident = find(conn, name)?;
        let id = &incident.id;
        let cached = self
            .cache
            .get_or_compute(conn, id, "whole", self.settings.now, |conn| {
                Whole::of(conn, &incident)
            })?;
        let mut known = Known {
            people: cached.value.people.clone(),
            others: &mut self.numbers,
        };
        Ok(Head {
            now: now::of_incident(conn, &incident, &self.settings, &mut known)?,
            earlier: match &incident.earlier {
                Some(earlier) => Some(incident::standing(conn, earlier)?.number),
                None => None,
            },
            later: incident::came_back_as(conn, id)?,
            merged_into: match &incident.merged_into {
                Some(into) => Some(incident::standing(conn, into)?.number),
                None => None,
            },
            merged: incident::lineage::ids_with_merged(conn, id)?.len() - 1,
            as_of: cached.as_of,
            whole: cached.value,
            incident,
        })
    }
}

impl Head {
    /// Returns the path of the incident.
    pub(in crate::http::admin) fn base(&self) -> String {
        format!("/admin/incidents/{}", self.incident.number)
    }

    /// Returns the time zone in which the times are shown beside UTC: the one of the reader, or otherwise the one of the incident.
    pub(in crate::http::admin) fn local(&self, by: &SignedIn) -> Option<TimeZone> {
        match by.zone() {
            Some(name) => zone(Some(name)),
            None => self.whole.local().cloned(),
        }
    }

    /// Returns the people who were asked for an answer.
    pub(in crate::http::admin) fn asked(&self) -> &AskedPeople {
        &self.whole.asked
    }

    /// Returns whether something is being sent.
    fn is_sending(&self) -> bool {
        self.now.notices.iter().any(|notice| notice.state.is_being_sent())
    }

    /// Answers with the page of a tab. `tab` is the label of the tab, and `data` its content.
    ///
    /// # Errors
    /// `Internal` if the page does not fit its data.
    pub(in crate::http::admin) fn page(
        &self,
        app: &App,
        by: &SignedIn,
        (template, tab): (&str, &str),
        status: StatusCode,
        mut data: Value,
    ) -> Answer<HttpResponse> {
        let incident = &self.incident;
        let title = format!("#{} {}", incident.number, cut(&incident.title, 80));
        let title = match tab {
            "Overview" => title,
            tab => format!("{tab} · {title}"),
        };
        let next = next_thing(&self.now, incident, by.0.role.covers(Role::Operator));
        let live = if self.is_sending() { LIVE_SENDING } else { LIVE };
        let mut frame = Frame::new(app, by, &title, "Incidents");
        // The answer to a form cannot be loaded again.
        if status == StatusCode::OK {
            frame = frame.live(Some(live));
        }
        if let Some(next) = &next {
            frame = frame.primary(&next.label, &next.path);
        }
        data["page"] = serde_json::to_value(frame).map_err(crate::base::error::Error::internal)?;
        data["head"] = self.shown(app, by, tab, next.as_ref());
        app.pages.answer_with(status, template, &data)
    }

    fn shown(&self, app: &App, by: &SignedIn, tab: &str, next: Option<&Deed>) -> Value {
        let incident = &self.incident;
        let base = self.base();
        let may = by.0.role.covers(Role::Operator);
        let until = incident.resolved_at.unwrap_or(app.clock().now());
        let tabs: Vec<Value> = TABS
            .iter()
            .map(|(label, path, anchor)| {
                json!({
                    "label": label, "path": format!("{base}{path}"), "current": *label == tab,
                    "anchor": anchor.filter(|_| tab == "Overview"),
                })
            })
            .collect();
        json!({
            "number": incident.number,
            "title": incident.title,
            "severity": incident.severity,
            "status": incident.status,
            "drill": incident.drill,
            "age": duration(rounded(until.seconds_since(incident.started_at).max(0))),
            "started": When::utc(incident.started_at),
            "over": incident.resolved_at.is_some(),
            "owner": incident.owner,
            "headline": incident.headline,
            "reopened": (incident.episode > 1).then(|| count((incident.episode - 1) as usize, "time", "times")),
            "earlier": self.earlier,
            "later": self.later,
            "merged_into": self.merged_into,
            "merged": (self.merged > 0).then(|| count(self.merged, "incident is", "incidents are")),
            "base": base,
            "forms": may.then(|| incident_forms::head(incident, by)),
            "primary": next.map(|next| json!({"label": next.label, "path": next.path})),
            "more": self.more(by, &base),
            "automatic": self.now.automatic.iter().map(|one| automatic(one, may)).collect::<Vec<_>>(),
            "people": partition::shown(&self.whole.people, &base, app.outbox),
            "as_of": When::maybe(self.as_of, None),
            "problems": self.problems(may, &base),
            "tabs": tabs,
            "audit": link("/admin/audit", &[("incident", Some(&incident.number.to_string()))]),
        })
    }

    /// Returns the further things that can be done.
    fn more(&self, by: &SignedIn, base: &str) -> Vec<Value> {
        let mut more = Vec::new();
        if by.0.role.covers(Role::Operator) {
            let resolution = match self.incident.status {
                Status::Resolved => "Write a resolution",
                _ => "Resolve and write a resolution",
            };
            let recovery = self
                .whole
                .people
                .has_recovery
                .then_some(("recovery", "Write a recovery"));
            let others = [
                ("detection", "Write a detection"),
                ("update", "Write an update"),
                ("resolution", resolution),
                ("report", "Write a report notice"),
            ];
            for (phase, label) in others.into_iter().chain(recovery) {
                more.push(json!({"label": label, "path": format!("{base}/write?phase={phase}")}));
            }
            if !self.incident.drill {
                more.push(json!({"label": "Post on the status page", "path": format!("{base}/posts/new")}));
            }
            more.push(json!({"label": "Edit the incident", "path": format!("{base}/edit")}));
            more.push(json!({"label": "Download the evidence", "path": format!("{base}/evidence")}));
            more.push(json!({"label": "Merge into another incident", "path": format!("{base}/merge")}));
            more.push(json!({"label": "Split", "path": format!("{base}/split")}));
        }
        more.push(json!({"label": "Emergency notices", "path": format!("{base}/emergency-notices")}));
        more
    }

    /// Returns one line for each problem, with the page that has the details.
    fn problems(&self, may: bool, base: &str) -> Vec<Value> {
        let whole = &self.whole;
        let mut problems: Vec<Value> = Vec::new();
        let mut add = |text: String, path: String, button: &str, bad: bool| {
            problems.push(json!({"text": text, "path": path, "button": button, "bad": bad}));
        };
        for need in &self.now.needs {
            use crate::now::NeedKind;
            // The two kinds below have lines of their own, which say more.
            if !matches!(need.kind, NeedKind::NotReached | NeedKind::Unmatched) {
                let (button, path) = deed(need, may);
                let bad = matches!(
                    need.kind,
                    NeedKind::StaleResolution
                        | NeedKind::Reopened
                        | NeedKind::Detection
                        | NeedKind::Update
                        | NeedKind::Relapsed
                        | NeedKind::RelapsedPeople
                );
                add(sentence(need), path, button, bad);
            }
        }
        let unreached = whole.unreached.people;
        if unreached > 0 {
            let text = match unreached == whole.unreached.no_address {
                true => count(unreached, "person cannot be reached", "people cannot be reached"),
                false => count(
                    unreached,
                    "person missed at least one email, or has no address",
                    "people missed at least one email, or have no address",
                ),
            };
            add(text, format!("{base}/unreached"), "Review", true);
        }
        if whole.unreached.complained > 0 {
            let text = count(
                whole.unreached.complained,
                "person reported an email as spam",
                "people reported an email as spam",
            );
            add(text, format!("{base}/unreached"), "Review", false);
        }
        let unmatched = whole.unresolved.len();
        if unmatched > 0 {
            let text = count(
                unmatched,
                "ID in alerts is not in the directory: affected people may be missing",
                "IDs in alerts are not in the directory: affected people may be missing",
            );
            add(text, format!("{base}/unmatched"), "Review", true);
        }
        if let Some(title) = whole.unidentified["title"]
            .as_str()
            .filter(|title| !title.is_empty())
        {
            let text = format!("{title}: affected people may be missing");
            add(text, format!("{base}/unmatched#unknown-users"), "Review", true);
        }
        if whole.lost_since > 0 {
            let text = count(
                whole.lost_since,
                "person was affected when the incident started, but no longer is",
                "people were affected when the incident started, but no longer are",
            );
            add(text, format!("{base}/people#since-impact"), "Review", false);
        }
        if whole.counts.without_account > 0 {
            let text = count(
                whole.counts.without_account,
                "affected resource belongs to no account: no owner is notified",
                "affected resources belong to no account: no owner is notified",
            );
            add(text, format!("{base}/resources"), "Review", true);
        }
        problems
    }
}
