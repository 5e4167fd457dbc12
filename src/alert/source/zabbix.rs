//! Zabbix: the user's script or template makes the body, so fields are searched for by the names of their
//! macros in any spelling. Macros that Zabbix did not resolve arrive unchanged.
//!
//! Its times are local to the server and have no zone, so they are not read. Only `{EVENT.TIMESTAMP}` is a
//! time.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Fields, Labels};
use super::request::is_form;
use super::text::{join, link};
use super::{Request, notification, times};
use crate::alert::order::EventTime;

const STATUS: [&str; 6] = [
    "status",
    "eventstatus",
    "triggerstatus",
    "eventvalue",
    "triggervalue",
    "state",
];
const EVENT: [&str; 7] = [
    "eventid",
    "problemid",
    "problemeventid",
    "originalproblemid",
    "originaleventid",
    "alertuid",
    "id",
];
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

/// The source `zabbix`. Its senders can send the secret only in `Authorization` or `X-Candor-Token`.
pub(super) const SOURCE: Source = Source::new("zabbix", |request, _| parse(request));

/// Parses a request.
///
/// # Errors
/// The field that is missing or has no valid value.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let body = body(request)?;
    let fields = Fields::of(&body, &[])?;
    if fields.unfilled(&STATUS) && fields.text(&STATUS).is_none() && fields.text(&EVENT).is_none() {
        return Ok(Batch::ignored(
            "a test of the media type: its macros are not filled",
        ));
    }
    let status = fields.text(&STATUS).ok_or_else(|| {
        fields.wrong(
            &STATUS,
            "is missing, and neither the subject nor the text says whether there is a problem; put {EVENT.STATUS} \
            into the template",
        )
    })?;
    let firing = match status.trim().to_uppercase().as_str() {
        "PROBLEM" | "1" | "ALERTING" | "ALERT" | "FIRING" | "TRUE" => true,
        "OK" | "RESOLVED" | "RECOVERY" | "0" | "FALSE" => false,
        _ => {
            return Err(fields.wrong(
                &STATUS,
                "must be PROBLEM, OK or RESOLVED, alerting or ok, or 1 or 0",
            ));
        }
    };
    let host = fields.text(&HOST);
    let title = fields.text(&TITLE);
    let url = link(fields.text(&LINK));
    // The event ID of a problem stays the same until the problem is over. In a link, only the trigger ID
    // does.
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
        // The timestamp of the event is its beginning, also after the problem is over.
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

/// Returns the fields of a request. If no field contains the status, it is read from the subject or the text,
/// as the default templates of Zabbix write them.
fn body(request: &Request) -> Result<Value, Refusal> {
    let written = std::str::from_utf8(&request.body).ok().filter(|text| {
        let start = text.trim_start();
        request.method != "GET"
            && !start.is_empty()
            && !start.starts_with(['{', '[', '-'])
            && !is_form(start.as_bytes())
    });
    let mut fields = match written {
        Some(text) => text_fields(text),
        None => request.fields()?,
    };
    let known = Fields::of(&fields, &[])?;
    if known.text(&STATUS).is_some() || known.unfilled(&STATUS) {
        return Ok(fields);
    }
    let texts: Vec<String> = [
        "subject",
        "alertsubject",
        "title",
        "message",
        "alertmessage",
        "text",
    ]
    .iter()
    .filter_map(|name| known.text(&[name]))
    .collect();
    let Value::Object(object) = &mut fields else {
        return Ok(fields);
    };
    for text in texts {
        if let Value::Object(found) = text_fields(&text) {
            for (name, value) in found {
                object.entry(name).or_insert(value);
            }
        }
    }
    Ok(fields)
}

/// Parses a text of Zabbix's default templates line by line.
fn text_fields(text: &str) -> Value {
    let mut fields = notification::lines(text);
    let first = text.trim().to_lowercase();
    let status = if first.starts_with("problem has been resolved") || first.starts_with("resolved") {
        Some("RESOLVED")
    } else if first.starts_with("problem started") || first.starts_with("problem:") {
        Some("PROBLEM")
    } else {
        None
    };
    if let Some(status) = status {
        fields
            .entry("status")
            .or_insert_with(|| Value::String(status.to_owned()));
    }
    Value::Object(fields)
}

/// Returns the trigger ID in a link such as `…/tr_events.php?triggerid=14032&eventid=10528`.
fn trigger_of(link: &str) -> Option<String> {
    let url = url::Url::parse(link).ok()?;
    url.query_pairs()
        .find(|(name, value)| name == "triggerid" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

/// Returns the name of a severity that is given as a number.
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
