//! The upper parts of the page: what is wrong with Candor itself, what will be sent by itself, and what needs a person.

use serde_json::{Value, json};

use super::rows::named;
use crate::auth::Role;
use crate::http::admin::view::{When, count, cut};
use crate::incident::{Incident, Status};
use crate::notice::template::Phase;
use crate::now::{Automatic, AutomaticKind, Fault, FaultKind, Need, NeedKind, NowIncident, OfIncident};

/// The number of characters of a sentence about a fault.
const TEXT: usize = 300;

/// Returns the row of a fault, with the page where more is said.
pub(super) fn fault(fault: &Fault, role: Role) -> Value {
    let system = role.covers(Role::Admin).then_some("/admin/system");
    let (path, label) = match fault.kind {
        FaultKind::Outbox | FaultKind::MailServer | FaultKind::Queue | FaultKind::Outcomes => {
            (system, "Details")
        }
        FaultKind::SourceStale => (Some("/admin/directory/sources"), "Details"),
        FaultKind::SourceWaits => (Some("/admin/directory/sources"), "Review"),
        FaultKind::Backup | FaultKind::Contacts => {
            (role.covers(Role::Admin).then_some("/admin/backups"), "Details")
        }
        FaultKind::Check | FaultKind::Heartbeat => (Some("/admin/watching"), "Details"),
    };
    json!({
        "text": cut(&fault.text, TEXT),
        "since": When::maybe(fault.since, None),
        "path": path,
        "label": label,
        // Without a mail server nothing is broken: it was set up so.
        "bad": fault.kind != FaultKind::Outbox,
    })
}

fn people(n: i64) -> String {
    count(usize::try_from(n).unwrap_or_default(), "person", "people")
}

fn emails_are(n: i64) -> String {
    count(usize::try_from(n).unwrap_or_default(), "email is", "emails are")
}

/// Returns the row of something that will happen by itself.
pub(in crate::http::admin) fn automatic(one: &Automatic, may_change: bool) -> Value {
    let held = one.held_by.is_some();
    let who = people(one.people);
    let policy = one.policy.as_deref().unwrap_or_default();
    let text = match (one.kind, held) {
        (AutomaticKind::Send, false) => format!("{who} will be emailed automatically"),
        (AutomaticKind::Send, true) => format!("{who} would be emailed automatically"),
        (AutomaticKind::Draft, false) => format!("A detection for {who} will be drafted automatically"),
        (AutomaticKind::Draft, true) => format!("A detection for {who} would be drafted automatically"),
        (AutomaticKind::Wave, _) => format!("{} not sent yet. The next wave begins", emails_are(one.people)),
        (AutomaticKind::Recovery, false) => {
            format!("{who} will be told automatically that theirs is restored")
        }
        (AutomaticKind::Recovery, true) => {
            format!("{who} would be told automatically that theirs is restored")
        }
        (AutomaticKind::RecoveryDraft, false) => {
            format!("A recovery for {who} will be drafted automatically")
        }
        (AutomaticKind::RecoveryDraft, true) => {
            format!("A recovery for {who} would be drafted automatically")
        }
    };
    let incident = format!("/admin/incidents/{}", one.incident.number);
    let notice = one.notice.as_ref().map(|id| format!("/admin/notices/{id}"));
    let form = |last: &str, button: &str| {
        json!({
            "action": match &notice {
                Some(notice) => format!("{notice}/{last}"),
                None => format!("{incident}/automation/{last}"),
            },
            "button": button,
            // The form of a notice has no such field.
            "from": notice.is_none(),
        })
    };
    json!({
        "incident": named(&one.incident),
        "text": text,
        "policy": one.policy.as_ref().map(|_| policy),
        "held_by": one.held_by,
        "due": When::utc(one.due_at),
        "form": may_change.then(|| if held { form("release", "Release") } else { form("hold", "Hold") }),
        "review": match one.kind {
            AutomaticKind::Recovery | AutomaticKind::RecoveryDraft => format!("{incident}/people?people=restored"),
            _ => notice.clone().unwrap_or(incident),
        },
    })
}

/// Returns the page on which a notice of a phase is written.
pub(in crate::http::admin) fn write_path(number: i64, phase: &str) -> String {
    format!("/admin/incidents/{number}/write?phase={phase}")
}

/// Returns what is to be done: its button and where it leads. A person who may not write reviews.
pub(in crate::http::admin) fn deed(need: &Need, may_change: bool) -> (&'static str, String) {
    let number = need.incident.number;
    let base = format!("/admin/incidents/{number}");
    let notice = need.notice.as_ref().map(|id| format!("/admin/notices/{id}"));
    match need.kind {
        NeedKind::Detection | NeedKind::Reopened | NeedKind::RelapsedPeople if may_change => {
            ("Write detection", write_path(number, "detection"))
        }
        NeedKind::Update if may_change => ("Send update", write_path(number, "update")),
        NeedKind::Recovery if may_change => ("Write recovery", write_path(number, "recovery")),
        NeedKind::Resolution if may_change => ("Write resolution", write_path(number, "resolution")),
        NeedKind::Draft if may_change => ("Continue", notice.unwrap_or(base)),
        NeedKind::Approval
        | NeedKind::Draft
        | NeedKind::CatchUp
        | NeedKind::StaleResolution
        | NeedKind::Wave => ("Review", notice.unwrap_or(base)),
        NeedKind::RelapsedPeople => ("Review", format!("{base}/people?people=relapsed")),
        NeedKind::Recovery => ("Review", format!("{base}/people?people=restored")),
        NeedKind::Detection | NeedKind::Reopened | NeedKind::Update | NeedKind::Resolution => {
            ("Review", base)
        }
        NeedKind::NotReached => ("Review", format!("{base}/unreached")),
        NeedKind::Unmatched => ("Review", format!("{base}/unmatched")),
        NeedKind::Steps => ("Review", format!("{base}/follow-ups")),
        NeedKind::Relapsed => ("Review", format!("{base}/recovery?state=impaired")),
    }
}

/// Returns the sentence about a need.
pub(in crate::http::admin) fn sentence(need: &Need) -> String {
    let n = need.count;
    let number = |one: &str, many: &str| count(usize::try_from(n).unwrap_or_default(), one, many);
    let phase = need.phase.map(|phase| phase.as_str()).unwrap_or("notice");
    match (need.kind, &need.limit) {
        (NeedKind::StaleResolution, _) => "The incident was reopened, but its earlier resolution notice is still being sent. Stop it, or send \
             a new detection notice, which also stops it"
            .to_owned(),
        (NeedKind::Reopened, _) => format!(
            "The incident was reopened, but the last notice to customers says that it is resolved: {} to notify",
            people(n)
        ),
        (NeedKind::Detection, _) => format!("{} affected, nobody emailed yet", people(n)),
        (NeedKind::RelapsedPeople, _) => number(
            "person was notified that everything is restored, and something is impaired again",
            "people were notified that everything is restored, and something of theirs is impaired again",
        ),
        (NeedKind::Recovery, _) => number(
            "person is not notified yet that everything is restored",
            "people are not notified yet that everything of theirs is restored",
        ),
        (NeedKind::Wave, _) => match need.reason.as_deref() {
            Some(reason) => format!(
                "The {phase} is held: {}. {} not sent yet",
                cut(reason, TEXT),
                emails_are(n)
            ),
            None => format!(
                "A wave of the {phase} was sent, and a person must begin the next one: {} not sent yet",
                emails_are(n)
            ),
        },
        (NeedKind::Approval, Some(limit)) => {
            format!("The {phase} waits for approval: {} (limit {limit})", people(n))
        }
        (NeedKind::Approval, None) => format!("The {phase} waits for approval: {}", people(n)),
        (NeedKind::Draft, _) if n > 0 => format!("The {phase} to {} is not sent yet", people(n)),
        (NeedKind::Draft, _) => format!("The {phase} is not sent yet"),
        (NeedKind::Update, _) => "The next update is overdue".to_owned(),
        (NeedKind::Resolution, _) => format!(
            "The incident is resolved, and {}",
            number("person is not notified of that yet", "people are not notified of that yet")
        ),
        (NeedKind::CatchUp, _) => number(
            "person became affected after the detection and is not emailed",
            "people became affected after the detection and are not emailed",
        ),
        (NeedKind::NotReached, _) => number("person was not reached", "people were not reached"),
        (NeedKind::Unmatched, _) => number(
            "ID or user in alerts does not match the directory",
            "IDs or users in alerts do not match the directory",
        ),
        (NeedKind::Relapsed, _) => number(
            "recovered resource is impaired again",
            "recovered resources are impaired again",
        ),
        (NeedKind::Steps, _) => number("next step is overdue", "next steps are overdue"),
    }
}

/// Returns the row of a need.
pub(super) fn need(need: &Need, may_change: bool) -> Value {
    let (button, path) = deed(need, may_change);
    json!({
        "incident": named(&need.incident),
        "text": sentence(need),
        "since": When::maybe(need.since, None),
        "button": button,
        "path": path,
        "first": first(button, &need.incident),
        "loud": matches!(
            need.kind,
            NeedKind::StaleResolution
                | NeedKind::Reopened
                | NeedKind::Detection
                | NeedKind::Relapsed
                | NeedKind::RelapsedPeople
        ),
    })
}

/// Returns the label of the first link of a page, which the tab key reaches.
fn first(button: &str, incident: &NowIncident) -> String {
    format!("{button}: #{} {}", incident.number, cut(&incident.title, 60))
}

/// The next thing to do about an incident: the label of its button and where it leads.
pub(in crate::http::admin) struct Deed {
    pub label: String,
    pub path: String,
}

/// Returns the next thing to do about an incident, for a person who may do it.
pub(in crate::http::admin) fn next_thing(
    now: &OfIncident,
    incident: &Incident,
    may_change: bool,
) -> Option<Deed> {
    if !may_change {
        return None;
    }
    let phase = |need: &Need| need.phase.map(|phase| phase.as_str()).unwrap_or("notice");
    let needed = now.needs.iter().find_map(|need| {
        let label = match need.kind {
            NeedKind::Detection | NeedKind::Reopened => "Write detection".to_owned(),
            NeedKind::RelapsedPeople => format!("Notify {} again", people(need.count)),
            NeedKind::Recovery => format!("Tell {} that theirs is restored", people(need.count)),
            NeedKind::StaleResolution => "Stop the resolution".to_owned(),
            NeedKind::Approval => format!("Review the {}", phase(need)),
            NeedKind::Draft => format!("Continue the {}", phase(need)),
            NeedKind::Update => "Send update".to_owned(),
            NeedKind::Resolution => format!("Tell {}", people(need.count)),
            NeedKind::CatchUp => format!(
                "Notify {}",
                count(
                    usize::try_from(need.count).unwrap_or_default(),
                    "more person",
                    "more people"
                )
            ),
            NeedKind::Wave => format!("Review the {}", phase(need)),
            NeedKind::NotReached | NeedKind::Unmatched | NeedKind::Steps | NeedKind::Relapsed => return None,
        };
        let path = deed(need, true).1;
        Some(Deed { label, path })
    });
    if incident.status == Status::Merged {
        return None;
    }
    let (number, row) = (incident.number, &now.row);
    let base = format!("/admin/incidents/{number}");
    let reported = now.notices.iter().any(|notice| {
        notice.phase == Phase::Report && !notice.state.is_draft() && notice.episode == incident.episode
    });
    let otherwise = || {
        let notified = row.people.notified as i64;
        let (label, path) = match incident.status {
            Status::Resolved if reported || now.report == Some(true) => {
                ("See the follow-ups".to_owned(), format!("{base}/follow-ups"))
            }
            Status::Resolved if now.report == Some(false) => {
                ("Publish the report".to_owned(), format!("{base}/report"))
            }
            Status::Resolved => ("Write the report".to_owned(), format!("{base}/report")),
            _ if row.people.partition.people == 0 => {
                ("Add affected resources".to_owned(), format!("{base}/resources"))
            }
            _ if row.last_notice.is_none() => ("Write detection".to_owned(), write_path(number, "detection")),
            Status::Monitoring if notified > 0 => (
                format!("Resolve and tell {}", people(notified)),
                write_path(number, "resolution"),
            ),
            _ => ("Send update".to_owned(), write_path(number, "update")),
        };
        Deed { label, path }
    };
    Some(needed.unwrap_or_else(otherwise))
}
