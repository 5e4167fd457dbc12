//! Zabbix: a script or a template of its user makes the body, so fields are looked for by the names of its macros, in any
//! spelling. Macros that were not resolved come as they are written.
//!
//! Its times are local to the server and have no zone: they are not read. Only `{EVENT.TIMESTAMP}` is a time.

use super::doc::{Fields, Labels};
use super::text::{join, link};
use super::{Alert, Batch, Refusal, Request, times};
use crate::alert::order::EventTime;

const STATUS: [&str; 6] = [
    "status",
    "eventstatus",
    "triggerstatus",
    "eventvalue",
    "triggervalue",
    "state",
];
const EVENT: [&str; 4] = ["eventid", "problemid", "problemeventid", "id"];
const TRIGGER: [&str; 1] = ["triggerid"];
const TITLE: [&str; 8] = [
    "eventname",
    "problemname",
    "triggername",
    "problem",
    "trigger",
    "subject",
    "title",
    "name",
];
const HOST: [&str; 5] = ["hostname", "host", "hostvisiblename", "hosthost", "host1"];
const LINK: [&str; 4] = ["link", "url", "eventurl", "triggerurl"];

/// Reads a request.
///
/// # Errors
/// Which field is missing or says nothing.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let body = request.fields()?;
    let fields = Fields::of(&body, &[])?;
    let status = fields
        .text(&STATUS)
        .ok_or_else(|| fields.wrong(&STATUS, "is missing: put {EVENT.STATUS} into the template"))?;
    let firing = match status.trim().to_uppercase().as_str() {
        "PROBLEM" | "1" => true,
        "OK" | "RESOLVED" | "RECOVERY" | "0" => false,
        _ => return Err(fields.wrong(&STATUS, "must be PROBLEM, OK or RESOLVED")),
    };
    let host = fields.text(&HOST);
    let title = fields.text(&TITLE);
    let url = link(fields.text(&LINK));
    // The event of a problem keeps its number until it is over. In a link, only the trigger's does.
    let fingerprint = fields
        .text(&EVENT)
        .or_else(|| fields.text(&TRIGGER))
        .or_else(|| url.as_deref().and_then(trigger_of))
        .or_else(|| {
            let problem = fields.text(&[
                "trigger",
                "triggername",
                "eventname",
                "problem",
                "problemname",
                "item",
                "subject",
            ])?;
            Some(format!("{}/{problem}", host.as_deref().unwrap_or_default()))
        })
        .ok_or_else(|| fields.wrong(&EVENT, "is missing: put {EVENT.ID} into the template"))?;
    let at = fields.time(
        &["eventtimestamp", "timestamp", "clock", "eventclock"],
        times::seconds,
    );
    let recovered = fields.time(&["eventrecoverytimestamp", "recoverytimestamp"], times::seconds);
    let mut labels = Labels::default();
    labels.tags(fields.get(&["eventtags", "tags", "eventtagsjson"]));
    labels.put("host", host);
    labels.put("host_id", fields.text(&["hostid"]));
    labels.put(
        "host_ip",
        fields.text(&["hostip", "hostconnectioninfo", "hostconn"]),
    );
    labels.put(
        "host_group",
        fields.text(&["hostgroup", "triggerhostgroupname", "hostgroups"]),
    );
    labels.put(
        "trigger_id",
        fields
            .text(&TRIGGER)
            .or_else(|| url.as_deref().and_then(trigger_of)),
    );
    labels.put("item", fields.text(&["itemname", "itemkey", "item"]));
    let severity = fields.text(&[
        "eventseverity",
        "triggerseverity",
        "severity",
        "eventnseverity",
        "triggernseverity",
        "nseverity",
        "priority",
    ]);
    Ok(Batch::of(vec![Alert {
        title: title.unwrap_or_else(|| format!("Problem {fingerprint}")),
        fingerprint,
        firing,
        severity: severity.map(|word| named(&word)).unwrap_or_default(),
        text: join([
            fields.text(&[
                "message",
                "alertmessage",
                "text",
                "description",
                "eventopdata",
                "opdata",
            ]),
            fields.text(&["item"]),
        ]),
        started_at: at,
        ended_at: recovered.filter(|_| !firing),
        // The time of the event is that of its beginning, also where it is over.
        event_at: match firing {
            true => at.map(EventTime::beginning),
            false => recovered.or(at).map(EventTime::change),
        },
        link: url,
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}

/// `…/tr_events.php?triggerid=14032&eventid=10528`
fn trigger_of(link: &str) -> Option<String> {
    let url = url::Url::parse(link).ok()?;
    url.query_pairs()
        .find(|(name, value)| name == "triggerid" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

/// The word of a severity that came as a number.
fn named(word: &str) -> String {
    match word.trim() {
        "0" => "not classified",
        "1" => "information",
        "2" => "warning",
        "3" => "average",
        "4" => "high",
        "5" => "disaster",
        other => return other.to_lowercase(),
    }
    .to_owned()
}
