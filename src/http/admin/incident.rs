//! `/admin/incidents/{id or number}`: one page that shows who is affected, which notices these people got, and
//! what is missing.
//!
//! People who cannot be reached and unmatched IDs are always shown clearly.

use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::affected_people::{self, Listed};
use super::answers;
use super::audience::{self, Chosen};
use super::draft_forms;
use super::filled::Wrong;
use super::incident_forms::{self, find};
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{
    Frame, ROWS, When, call, count, cut, duration, grouped, link, outward, progress, relevance, resource,
    zone,
};
use super::why;
use crate::alert::{self, AlertView};
use crate::answers::Filter;
use crate::audience::{Audience, Counts, Explained};
use crate::auth::Role;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::source::status::{self, SourceAge};
use crate::feedback::unreached;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::audience_cache::Cached;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::affected::{self, Affected};
use crate::incident::metrics::{self, Metrics};
use crate::incident::next_step::{self, NextStep};
use crate::incident::report::{self, Report};
use crate::incident::timeline::{self, Entry};
use crate::incident::{self, Incident, Status};
use crate::notice::compose::paragraphs;
use crate::notice::template::Phase;
use crate::notice::{self, AskedPeople, Notice, Overview};
use crate::operators::overdue;
use crate::operators::promises::{self, Missed};

pub(super) fn routes(pages: &mut Pages) {
    pages.search("/incidents/{id}", Role::Viewer, show);
}

/// The number of entries and IDs that a section lists. The rest is only counted.
const MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    people: Option<Chosen>,
    people_after: Option<String>,
    affected_after: Option<String>,
    /// The text that the people who are named directly are searched by.
    named: Option<String>,
    named_after: Option<String>,
    alerts_after: Option<String>,
    answers: Option<Filter>,
    answers_after: Option<String>,
    /// The ID or the address of the person to explain.
    who: Option<String>,
}

/// All data of the page, from one consistent view.
struct Facts {
    incident: Incident,
    metrics: Metrics,
    affected: Page<Affected>,
    people_named: Listed,
    standing: Cached<Standing>,
    explained: Vec<Explained>,
    notices: Vec<Notice>,
    timeline: Vec<Entry>,
    alerts: Page<AlertView>,
    steps: Vec<NextStep>,
    reports: Vec<Report>,
    ages: Vec<SourceAge>,
    update_due: Option<Timestamp>,
    missed: Vec<Missed>,
    answers: Value,
    /// The number of the previous incident about the same problem. The field below is the number of the next
    /// one.
    earlier: Option<i64>,
    later: Option<i64>,
}

/// The results that are computed from the whole audience, as the page shows them.
struct Standing {
    counts: Counts,
    zones: Vec<(String, TimeZone)>,
    people: Value,
    not_told: usize,
    since: Value,
    unreached: Value,
    unresolved: Value,
    unidentified: Value,
    asked: AskedPeople,
}

impl Standing {
    fn of(
        conn: &mut Conn,
        incident: &Incident,
        chosen: Option<Chosen>,
        after: Option<&str>,
        outbox: bool,
    ) -> crate::base::error::Result<Self> {
        let id = &incident.id;
        let (overview, emails) = Overview::read_with_emails(conn, id)?;
        let audience = &overview.audience;
        let zones = zones(incident, audience);
        let local = zones.first().map(|(_, zone)| zone);
        let base = format!("/admin/incidents/{}", incident.number);
        let people = audience::section(&overview, chosen, after, &base, outbox);
        let since = why::since(conn, id, incident.started_at, audience)?;
        let (counts, unreached) = unreached::of_overview(conn, id, &overview, emails.missed, None, ROWS.0)?;
        Ok(Standing {
            people: people.shown,
            not_told: people.not_told,
            since: why::since_section(&since, incident.started_at, local),
            unreached: audience::unreached(&counts, &unreached, local),
            unresolved: unresolved(audience),
            unidentified: audience::unidentified(audience, local),
            counts: audience.counts.clone(),
            asked: emails.asked,
            zones,
        })
    }
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let p = params.0;
    let affected_after: Option<i64> = cursor(p.affected_after.as_deref())?;
    let named_after: Option<i64> = cursor(p.named_after.as_deref())?;
    let alerts_before: Option<String> = cursor(p.alerts_after.as_deref())?;
    let people_after: Option<String> = cursor(p.people_after.as_deref())?;
    let listed = answers::Listed::read(p.answers, p.answers_after.as_deref())?;
    let (who, text) = (p.who.clone(), p.named.clone());
    let (audience_cache, now, every) = (app.audience_cache.clone(), app.clock().now(), app.update_every);
    let outbox = app.outbox;
    let facts = app
        .db
        .read(move |conn| {
            let incident = find(conn, &name)?;
            let id = &incident.id;
            let base = format!("/admin/incidents/{}", incident.number);
            let after = people_after.as_deref();
            let result = format!("page {:?} {after:?}", p.people);
            let standing = audience_cache.get_or_compute(conn, id, &result, now, |conn| {
                Standing::of(conn, &incident, p.people, after, outbox)
            })?;
            Ok(Facts {
                answers: answers::section(conn, &standing.value.asked, &incident, &listed, &base, now)?,
                metrics: metrics::metrics(conn, id, None)?,
                affected: page(
                    affected::list(conn, id, affected_after, ROWS.probe())?,
                    ROWS,
                    |a| a.key,
                ),
                people_named: Listed::read(conn, id, text.as_deref(), named_after)?,
                standing,
                explained: match &who {
                    Some(who) => why::explained(conn, id, who)?,
                    None => Vec::new(),
                },
                notices: notice::of_incidents(conn, &[id])?
                    .into_iter()
                    .map(|notice| notice.at(now))
                    .collect(),
                timeline: timeline::list(conn, id)?,
                alerts: page(
                    alert::list(
                        conn,
                        None,
                        Some(id),
                        None,
                        alerts_before.as_deref(),
                        ROWS.probe(),
                        now,
                    )?,
                    ROWS,
                    |alert| alert.id.to_string(),
                ),
                steps: next_step::list(conn, Some(id), None, None, ROWS.0)?,
                reports: [
                    report::Audience::Internal,
                    report::Audience::Customer,
                    report::Audience::Public,
                ]
                .into_iter()
                .filter_map(|reader| report::find(conn, id, reader).transpose())
                .collect::<Result<_, _>>()?,
                ages: status::ages(conn, now)?,
                update_due: overdue::due_at(conn, id, every)?,
                missed: promises::missed(conn, id)?,
                earlier: match &incident.earlier {
                    Some(earlier) => Some(incident::standing(conn, earlier)?.number),
                    None => None,
                },
                later: incident::came_back_as(conn, id)?,
                incident,
            })
        })
        .await?;
    let incident = &facts.incident;
    let base = format!("/admin/incidents/{}", incident.number);
    let standing = &facts.standing.value;
    let zones = &standing.zones;
    let local = zones.first().map(|(_, zone)| zone);
    let title = format!("#{} {}", incident.number, cut(&incident.title, 80));
    let forms = if by.0.role.covers(Role::Operator) {
        let mut forms = incident_forms::shown(incident);
        forms["notice"] = draft_forms::write_form(incident, &facts.notices);
        forms
    } else {
        Value::Null
    };
    app.pages.answer(
        "admin/incident",
        &with_headline(incident, json!({
            "page": Frame::with_forms(&app, &by, &title, "Incidents"),
            "forms": forms,
            "answers": facts.answers,
            "form": answers::form(&by, incident.number),
            "open": false,
            "commands": answers::commands(&app, &incident.id),
            "number": incident.number,
            "id": incident.id,
            "title": incident.title,
            "severity": incident.severity,
            "status": incident.status,
            "drill": incident.drill,
            "reopened": (incident.episode > 1).then(|| count((incident.episode - 1) as usize, "time", "times")),
            "earlier": facts.earlier,
            "later": facts.later,
            "summary": incident.summary.as_deref().map(paragraphs).unwrap_or_default(),
            "metrics": tiles(&facts.metrics),
            "zones": zones.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "times": times(&facts, zones),
            "todo": todo(&app, &facts, standing.not_told),
            "people": standing.people,
            "people_as_of": When::maybe(facts.standing.as_of, local),
            "since": standing.since,
            "why": why::section(p.who.as_deref(), &facts.explained, &base),
            "unreached": standing.unreached,
            "ages": facts.ages.iter().map(age_row).collect::<Vec<_>>(),
            "unresolved": standing.unresolved,
            "unidentified": standing.unidentified,
            "affected": affected_section(&facts, &base, local),
            "named": facts.people_named.section(
                incident.number,
                &base,
                by.0.role.covers(Role::Operator),
                affected_people::typed("", &mut Wrong::default()),
                local,
            ),
            "notices": facts.notices.iter().map(|notice| notice_row(notice, local, outbox)).collect::<Vec<_>>(),
            "timeline": facts.timeline.iter().take(MAX).map(|entry| entry_row(entry, local)).collect::<Vec<_>>(),
            "timeline_more": facts.timeline.len().saturating_sub(MAX),
            "alerts": facts.alerts.items.iter().map(|alert| alert_row(alert, local)).collect::<Vec<_>>(),
            "alerts_count": count(usize::try_from(incident.alerts).unwrap_or_default(), "alert", "alerts"),
            "alerts_received": count(usize::try_from(incident.alerts_received).unwrap_or_default(), "time", "times"),
            "alerts_first": p.alerts_after.is_some().then_some(format!("{base}#alerts")),
            "alerts_next": facts.alerts.next_cursor.as_deref().map(|next| after(&base, "alerts_after", next, "alerts")),
            "steps": facts.steps.iter().map(|step| step_row(step, local)).collect::<Vec<_>>(),
            "report": report_section(&app, &facts, local),
            "audit": link("/admin/audit", &[("incident", Some(&incident.number.to_string()))]),
            "api": format!("/api/v1/incidents/{}", incident.id),
        })),
    )
}

/// Adds the headline for customers to the data of the page.
fn with_headline(incident: &Incident, mut data: Value) -> Value {
    data["headline"] = json!(incident.headline);
    data
}

fn after(base: &str, name: &str, cursor: &str, section: &str) -> String {
    format!("{}#{section}", link(base, &[(name, Some(cursor))]))
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

fn tiles(metrics: &Metrics) -> Vec<Value> {
    [
        ("Time to detect", metrics.time_to_detect, "from the start of impact"),
        ("Time to notify", metrics.time_to_notify, "from detection to the first notice"),
        ("Time to mitigate", metrics.time_to_mitigate, "from detection"),
        ("Time to resolve", metrics.time_to_resolve, "from detection"),
        ("Impact", metrics.impact, "from the start to mitigation"),
    ]
    .into_iter()
    .map(|(label, seconds, meaning)| json!({"label": label, "value": seconds.map(duration), "meaning": meaning}))
    .collect()
}

/// Returns when the next update is due, unless it is a promise that was missed.
fn open_update(facts: &Facts) -> Option<Timestamp> {
    facts
        .update_due
        .filter(|due| facts.missed.iter().all(|one| one.due_at != *due))
}

fn times(facts: &Facts, zones: &[(String, TimeZone)]) -> Vec<Value> {
    let times = &facts.metrics.times;
    let missed = facts
        .missed
        .iter()
        .map(|one| ("Promised update missed", Some(one.due_at)));
    [
        ("Started", Some(times.started_at)),
        ("Detected", Some(times.detected_at)),
        ("First notified", times.notified_at),
        ("Mitigated", times.mitigated_at),
        ("Resolved", times.resolved_at),
    ]
    .into_iter()
    // A resolved incident, and one that nobody was notified of, need no update.
    .chain(missed)
    .chain(open_update(facts).map(|at| ("Next update due", Some(at))))
    .map(|(label, at)| {
        json!({
            "label": label,
            "at": at.map(When::utc),
            "local": at.map(|at| zones.iter().map(|(name, zone)| json!({
                "text": at.short(zone), "zone": name,
            })).collect::<Vec<_>>()).unwrap_or_default(),
        })
    })
    .collect()
}

/// Returns the obvious next steps, the most urgent first, each with the API call that does it.
fn todo(app: &App, facts: &Facts, not_told: usize) -> Vec<Value> {
    let mut todo = Vec::new();
    let incident = &facts.incident;
    let new_notice = format!("/incidents/{}/notices", incident.id);
    // Notices from before the incident was reopened say nothing about the current state.
    let episode = incident.episode;
    let of = |phase: Phase| {
        facts
            .notices
            .iter()
            .filter(move |notice| notice.phase == phase && notice.episode == episode)
    };
    let sending = |notice: &&Notice| notice.state.is_being_sent();
    let stale = facts
        .notices
        .iter()
        .filter(|notice| notice.phase == Phase::Resolution && notice.episode < episode)
        .filter(sending);
    for resolution in stale {
        todo.push(json!({
            "text": "The incident was reopened, but its earlier resolution notice is still being sent. Stop this notice, or send a new detection notice, which also stops it:",
            "path": null, "link": null,
            "command": call(app, "POST", &format!("/notices/{}/stop", resolution.id), None),
        }));
    }
    if episode > 1
        && incident.status != Status::Resolved
        && of(Phase::Detection).all(|notice| notice.state.is_draft())
    {
        let over = |notice: &&Notice| notice.phase == Phase::Resolution && !notice.state.is_draft();
        if facts.notices.iter().any(|notice| over(&notice)) {
            let new = json!({"phase": "detection", "message": "The problem is back."});
            todo.push(json!({
                "text": "The incident was reopened, but the last notice told customers that it is resolved. Draft a new detection notice. It goes to everybody who is affected or who got the resolution:",
                "path": null, "link": null, "command": call(app, "POST", &new_notice, Some(&new)),
            }));
        }
    }
    if facts.update_due.is_some() && open_update(facts).is_none() {
        todo.push(json!({
            "text": "A promised update was missed: customers wait for a notice, even if there is no news.",
            "path": null, "link": null, "command": null,
        }));
    }
    let drafts: Vec<&Notice> = facts
        .notices
        .iter()
        .filter(|notice| notice.state.is_draft())
        .collect();
    for draft in &drafts {
        todo.push(json!({
            "text": format!("The {} notice is a draft and is not sent yet.", draft.phase),
            "path": format!("/admin/notices/{}", draft.id), "link": "Preview and send", "command": null,
        }));
    }
    if not_told > 0 && drafts.is_empty() {
        let done = |notice: &&Notice| notice.state.is_over();
        let who = count(
            not_told,
            "person is not notified yet",
            "people are not notified yet",
        );
        let new = json!({"phase": "detection", "message": "What we know so far."});
        todo.push(if let Some(live) = of(Phase::Detection).find(sending) {
            json!({
                "text": format!("{who}, and the detection notice is still being sent."),
                "path": format!("/admin/notices/{}", live.id), "link": "Show the notice", "command": null,
            })
        } else if let Some(sent) = of(Phase::Detection).rfind(done) {
            json!({
                "text": format!("{who}. Draft the same notice for these people:"),
                "path": null, "link": null,
                "command": call(app, "POST", &format!("/notices/{}/catch-up", sent.id), None),
            })
        } else {
            json!({
                "text": format!("{who}. Draft a notice:"),
                "path": null, "link": null, "command": call(app, "POST", &new_notice, Some(&new)),
            })
        });
    }
    let heard = of(Phase::Detection)
        .chain(of(Phase::Update))
        .any(|notice| !notice.state.is_draft());
    if incident.status == Status::Resolved && heard && of(Phase::Resolution).next().is_none() {
        let body = json!({"phase": "resolution", "message": "What was repaired.", "customer_action": {"required": false}});
        todo.push(json!({
            "text": "The incident is resolved, but no resolution notice was sent. Draft one:",
            "path": null, "link": null, "command": call(app, "POST", &new_notice, Some(&body)),
        }));
    }
    todo
}

/// Returns how old the data of a source is.
fn age_row(age: &SourceAge) -> Value {
    json!({
        "name": age.name,
        "read": age.kind.engine().is_some(),
        "age": age.age_seconds.map(status::how_long),
        "stale": age.stale,
    })
}

fn unresolved(audience: &Audience) -> Value {
    let all = &audience.unresolved;
    json!({
        "title": count(all.len(), "ID in alerts is not in the directory", "IDs in alerts are not in the directory"),
        "any": !all.is_empty(),
        "ids": all.iter().take(MAX).map(|one| match &one.reason {
            Some(reason) => format!("{} {}: {reason}", one.type_, one.id),
            None => format!("{} {}", one.type_, one.id),
        }).collect::<Vec<_>>(),
        "more": all.len().saturating_sub(MAX),
    })
}

fn affected_section(facts: &Facts, base: &str, local: Option<&TimeZone>) -> Value {
    let counts = &facts.standing.value.counts;
    let rows: Vec<Value> = facts
        .affected
        .items
        .iter()
        .map(|affected| {
            let at = &affected.resource;
            json!({
                "resource": resource(at, affected.name.as_deref()),
                "source": match affected.source {
                    affected::Source::Alert => "added by an alert",
                    affected::Source::Operator => "added manually",
                    affected::Source::Selector => "added by a selector",
                },
                "relevance": relevance(affected.relevance),
                "added": When::new(affected.added_at, local),
                "gone": affected.gone_at.is_some(),
            })
        })
        .collect();
    json!({
        "rows": rows,
        "count": grouped((counts.resources + counts.gone_resources) as i64),
        "gone": (counts.gone_resources > 0).then(|| count(counts.gone_resources, "affected resource was", "affected resources were")),
        "without_account": (counts.without_account > 0)
            .then(|| count(counts.without_account, "affected resource belongs", "affected resources belong")),
        "next": facts.affected.next_cursor.as_deref().map(|next| after(base, "affected_after", next, "affected")),
    })
}

fn notice_row(notice: &Notice, local: Option<&TimeZone>, outbox: bool) -> Value {
    json!({
        "path": format!("/admin/notices/{}", notice.id),
        "phase": notice.phase,
        "state": notice.state,
        "subject": notice.subject,
        "excerpt": cut(&notice.message, 160),
        "progress": progress(notice, outbox),
        "approved": notice.approved,
        "break_glass": notice.break_glass,
        "catch_up": notice.catch_up_of.is_some(),
        "reminder": notice.reminder,
        "episode": (notice.episode > 1).then_some(notice.episode),
        "at": When::new(notice.queued_at.unwrap_or(notice.created_at), local),
        "verb": if notice.state.is_draft() { "drafted" } else { "sending started" },
    })
}

fn entry_row(entry: &Entry, local: Option<&TimeZone>) -> Value {
    // The author gave the time in another time zone. It is shown if the page itself has no local time zone.
    let written = (local.is_none() && !entry.local_at.ends_with("+00:00")).then_some(&entry.local_at);
    json!({
        "at": When::new(entry.at, local),
        "written": written,
        "kind": entry.kind.as_str().replace('_', " "),
        "text": entry.text,
        "author": if entry.automatic { "Candor" } else { &entry.author },
        "by": entry.automatic.then_some(&entry.author),
        "internal": entry.internal,
    })
}

fn alert_row(alert: &AlertView, local: Option<&TimeZone>) -> Value {
    json!({
        "title": alert.title,
        "text": cut(&alert.text, 2_000),
        "severity": alert.severity,
        "status": alert.status,
        "times": alert.repeats + 1,
        "repeated": alert.repeats > 0,
        "first": When::new(alert.received_at, local),
        "last": When::new(alert.last_received_at, local),
        "link": outward(alert.link.as_deref()),
        "integration": format!("/admin/integrations/{}", alert.integration),
        "maintenance": alert.maintenance_window.is_some(),
        "silenced": alert.silence.is_some(),
        "no_word_since": When::maybe(alert.no_word_since, local),
        "late": (alert.late_events > 0).then_some(alert.late_events),
        "recorded_why": alert.recorded_why,
        "notes": alert.notes,
    })
}

fn step_row(step: &NextStep, local: Option<&TimeZone>) -> Value {
    json!({
        "text": step.text,
        "owner": step.owner,
        "link": outward(step.link.as_deref()),
        "due": step.due_on,
        "done": When::maybe(step.done_at, local),
    })
}

fn report_section(app: &App, facts: &Facts, local: Option<&TimeZone>) -> Value {
    let versions: Vec<Value> = facts
        .reports
        .iter()
        .map(|report| {
            let (label, readers) = match report.audience {
                report::Audience::Internal => ("Internal", "our own team"),
                report::Audience::Customer => (
                    "Customers",
                    "the customers who are affected, by the report notice",
                ),
                report::Audience::Public => ("Public", "everybody, on the status page once it is published"),
            };
            json!({
                "label": label,
                "readers": readers,
                "size": count(report.sections.len(), "section", "sections"),
                "sections": report.sections.iter().map(|section| json!({
                    "heading": section.heading,
                    "paragraphs": paragraphs(&section.text),
                    "audience": match section.audience {
                        report::Audience::Internal => "internal",
                        report::Audience::Customer => "for customers",
                        report::Audience::Public => "public",
                    },
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let path = format!("/incidents/{}/report", facts.incident.id);
    let published = facts.reports.first().and_then(|report| report.published_at);
    let command = if facts.reports.is_empty() {
        let section = json!({"heading": "What happened", "text": "…", "audience": "public"});
        Some(call(
            app,
            "PUT",
            &path,
            Some(&json!({"title": "…", "sections": [section]})),
        ))
    } else if published.is_none() {
        Some(call(app, "POST", &format!("{path}/publish"), None))
    } else {
        None
    };
    json!({
        "title": facts.reports.first().map(|report| &report.title),
        "versions": versions,
        "published": When::maybe(published, local),
        "command": command,
    })
}
