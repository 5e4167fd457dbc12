//! From frozen facts to the context of one mail. Pure: what is frozen with a notice and with a recipient decides
//! every word, so the preview shows what will be sent, and the digest over both covers every rendered text.

use serde::{Deserialize, Serialize};

use crate::audience::{OWNER, Reason};
use crate::base::text::undirected;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;
use crate::notice::template::{
    MailAction, MailContext, MailIncident, MailRecipient, MailReport, MailResource, MailSection, MailTime,
    Phase,
};

/// Resources that a mail lists by name.
const LISTED: usize = 25;

/// What is the same in every mail of a notice; frozen when it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// What it is about.
    pub phase: Phase,
    /// The incident's number.
    pub number: i64,
    /// The incident's severity.
    pub severity: String,
    /// The operator's own subject.
    pub subject: Option<String>,
    /// The operator's message.
    pub message: String,
    /// What the customer has to do.
    pub action: Option<MailAction>,
    /// Times worth knowing, by label.
    pub times: Vec<(String, Timestamp)>,
    /// The customers' version of the report.
    pub report: Option<MailReport>,
    /// Who writes.
    pub sender: String,
}

/// What is one recipient's own; frozen when the notice is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipientContext {
    /// Ids of the people behind the address.
    pub people: Vec<String>,
    /// Their name or names.
    pub name: String,
    /// IANA time zone, for times.
    pub time_zone: Option<String>,
    /// Their affected resources, the first ones.
    pub resources: Vec<MailResource>,
    /// How many more there are.
    pub more_resources: usize,
    /// For sentences such as "a problem with …".
    pub what: String,
    /// Why they get it.
    pub reason: String,
}

impl RecipientContext {
    /// From the reasons for which somebody is in the audience.
    pub fn new(people: Vec<String>, name: String, time_zone: Option<String>, reasons: &[Reason]) -> Self {
        let mut resources: Vec<MailResource> = reasons.iter().filter_map(mail_resource).collect();
        resources.sort();
        resources.dedup();
        let what = what(reasons, &resources);
        let more_resources = resources.len().saturating_sub(LISTED);
        resources.truncate(LISTED);
        RecipientContext {
            people,
            name: undirected(&name).into_owned(),
            time_zone,
            resources,
            more_resources,
            what: undirected(&what).into_owned(),
            reason: undirected(&why(reasons)).into_owned(),
        }
    }

    /// Adds somebody behind the same address.
    pub fn add_person(&mut self, id: &str, name: &str) {
        let name = &*undirected(name);
        self.people.push(id.to_owned());
        if !self.name.split(", ").any(|other| other == name) {
            self.name = format!("{}, {name}", self.name);
        }
    }
}

fn mail_resource(reason: &Reason) -> Option<MailResource> {
    let ResourceRef { type_, id } = reason.resource.as_ref()?;
    Some(MailResource {
        type_: type_.to_string(),
        id: id.to_string(),
        label: match &reason.name {
            Some(name) => format!("{} ({type_} {id})", undirected(name)),
            None => format!("{type_} {id}"),
        },
        account: undirected(reason.account_name.as_deref().unwrap_or_default()).into_owned(),
    })
}

fn what(reasons: &[Reason], resources: &[MailResource]) -> String {
    match resources {
        // Nothing of theirs is affected: they used what did not work.
        [] if reasons.iter().any(|reason| reason.seen.is_some()) => "our service".to_owned(),
        [] => "your resources".to_owned(),
        [one] => reasons
            .iter()
            .find_map(|reason| reason.name.as_deref().map(str::to_owned))
            .unwrap_or_else(|| one.label.clone()),
        [first, rest @ ..] if rest.iter().all(|other| other.type_ == first.type_) => {
            format!("{} of your {}", resources.len(), plural(&first.type_))
        }
        _ => format!("{} of your resources", resources.len()),
    }
}

fn plural(word: &str) -> String {
    match word {
        _ if word.ends_with('s') || word == "media" || word == "data" => word.to_owned(),
        _ if word.ends_with('y') && !word.ends_with("ey") && !word.ends_with("ay") => {
            format!("{}ies", &word[..word.len() - 1])
        }
        _ => format!("{word}s"),
    }
}

fn why(reasons: &[Reason]) -> String {
    let by_account = |owner: bool| {
        let mut names: Vec<&str> = reasons
            .iter()
            .filter(|reason| reason.by_account && (*reason.role == *OWNER) == owner)
            .filter_map(|reason| reason.account_name.as_deref())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let (owned, joined) = (by_account(true), by_account(false));
    let mut shared: Vec<String> = reasons
        .iter()
        .filter(|reason| !reason.by_account)
        .filter_map(|reason| reason.through.as_ref().or(reason.resource.as_ref()))
        .map(ResourceRef::to_string)
        .collect();
    shared.sort_unstable();
    shared.dedup();
    let mut parts = Vec::new();
    if !owned.is_empty() {
        parts.push(format!("own {}, to which what is affected belongs", and(&owned)));
    }
    if !joined.is_empty() {
        parts.push(format!("belong to {}, which owns what is affected", and(&joined)));
    }
    if !shared.is_empty() {
        parts.push(format!("work on {}", and(&first(&shared))));
    }
    if reasons.iter().any(|reason| reason.seen.is_some()) {
        parts.push("met an error while using our service".to_owned());
    }
    match parts.as_slice() {
        [] => "You receive this because you were told about this incident before.".to_owned(),
        [one] => format!("You receive this because you {one}."),
        parts => format!("You receive this because you {}.", parts.join(", and ")),
    }
}

/// A sentence bears a few names; the mail lists the rest.
fn first(names: &[String]) -> Vec<&str> {
    let mut first: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    if names.len() > 3 {
        first.push("more");
    }
    first
}

fn and(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [start @ .., last] => format!("{} and {last}", start.join(", ")),
    }
}

/// Paragraphs of plain text: separated by empty lines, trimmed.
pub fn paragraphs(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut paragraphs: Vec<String> = Vec::new();
    let mut current: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if !line.trim().is_empty() {
            current.push(line.trim_end());
        } else if !current.is_empty() {
            paragraphs.push(current.join("\n"));
            current.clear();
        }
    }
    paragraphs
}

/// The sections of a report, for a mail.
pub fn mail_report(report: crate::incident::report::Report) -> MailReport {
    MailReport {
        title: report.title,
        sections: report
            .sections
            .into_iter()
            .map(|section| MailSection {
                heading: section.heading,
                paragraphs: paragraphs(&section.text),
            })
            .collect(),
    }
}

/// Everything that one mail says.
pub fn context(
    content: &Content,
    recipient: &RecipientContext,
    optional: bool,
    unsubscribe_url: String,
) -> MailContext {
    // A zone that was valid when it was stored and is no more: then UTC alone.
    let zone = recipient
        .time_zone
        .as_deref()
        .and_then(|name| crate::base::time::time_zone(name).ok());
    MailContext {
        phase: content.phase,
        incident: MailIncident {
            number: content.number,
            severity: content.severity.clone(),
        },
        subject: content.subject.clone(),
        what: recipient.what.clone(),
        recipient: MailRecipient {
            name: recipient.name.clone(),
        },
        paragraphs: paragraphs(&content.message),
        action: content.action.clone(),
        resources: recipient.resources.clone(),
        more_resources: recipient.more_resources,
        times: content
            .times
            .iter()
            .map(|(label, at)| MailTime {
                label: label.clone(),
                text: at.for_people(zone.as_ref()),
            })
            .collect(),
        report: content.report.clone(),
        sender: content.sender.clone(),
        reason: recipient.reason.clone(),
        optional,
        unsubscribe_url,
    }
}
