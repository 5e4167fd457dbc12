//! Nagios, Icinga and Checkmk: what a notification command makes of its macros, as JSON or a form; or the text of its
//! mail, with or without the mail around it.
//!
//! The state counts, not the type of the notification: a type that still says PROBLEM comes with the state OK. A time
//! whose zone is an abbreviation that several zones have is no time.

use serde_json::{Map, Value};

use super::doc::{Fields, Labels};
use super::text::{join, link, lower};
use super::{Alert, Batch, Refusal, Request, times};
use crate::alert::order::EventTime;

const TYPE: [&str; 4] = ["notificationtype", "type", "eventtype", "notificationname"];
const HOST: [&str; 5] = [
    "hostname",
    "host",
    "hostnotificationname",
    "hostdisplayname",
    "hostalias",
];
const SERVICE: [&str; 6] = [
    "servicedesc",
    "servicedescription",
    "servicename",
    "service",
    "servicedisplayname",
    "svc",
];
const SERVICE_STATE: [&str; 2] = ["servicestate", "servicestatus"];
const HOST_STATE: [&str; 2] = ["hoststate", "hoststatus"];
const STATE: [&str; 4] = ["state", "status", "currentstate", "lasthardstate"];
const OUTPUT: [&str; 9] = [
    "serviceoutput",
    "hostoutput",
    "output",
    "checkoutput",
    "servicecheckoutput",
    "additionalinfo",
    "info",
    "message",
    "summary",
];

/// Reads a request.
///
/// # Errors
/// Which field is missing or says nothing.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let body = match written(&request.body) {
        Some(body) => body,
        None => request.fields()?,
    };
    let fields = Fields::of(&body, &["nagios", "icinga", "notify", "naemon", "contact"])?;
    let host = fields
        .text(&HOST)
        .ok_or_else(|| fields.wrong(&HOST, "is missing: which host is it?"))?;
    let about_host = fields
        .text(&["what"])
        .is_some_and(|what| what.eq_ignore_ascii_case("host"));
    let service = fields.text(&SERVICE).filter(|_| !about_host);
    let kind = lower(fields.text(&TYPE));
    let names: Vec<&str> = match service {
        Some(_) => SERVICE_STATE.iter().chain(&STATE).copied().collect(),
        None => HOST_STATE.iter().chain(&STATE).copied().collect(),
    };
    let state = fields.text(&names).ok_or_else(|| {
        fields.wrong(
            &names,
            "is missing: put $SERVICESTATE$ or $HOSTSTATE$ into the command",
        )
    })?;
    let firing = match state.trim().to_uppercase().as_str() {
        "WARNING" | "WARN" | "CRITICAL" | "CRIT" | "UNKNOWN" | "UNKN" | "DOWN" | "UNREACHABLE"
        | "UNREACH" => true,
        "OK" | "UP" | "RECOVERY" => false,
        _ => {
            return Err(fields.wrong(
                &names,
                "must be OK, WARNING, CRITICAL or UNKNOWN of a service, UP, DOWN or UNREACHABLE of a host",
            ));
        }
    };
    let fingerprint = match &service {
        Some(service) => format!("{host}/{service}"),
        None => host.clone(),
    };
    if ["flapping", "downtime"].iter().any(|word| kind.starts_with(word)) {
        return Ok(Batch::ignored(format!(
            "{} of {fingerprint}",
            crate::base::text::one_line(&kind, 60)
        )));
    }
    let at = fields.time(
        &[
            "timet",
            "microtime",
            "longdatetime",
            "longdttime",
            "icingalongdatetime",
            "datetime",
            "timestamp",
        ],
        times::of_date,
    );
    let mut labels = Labels::default();
    labels.put("host", Some(host.clone()));
    labels.put("service", service.clone());
    labels.put("address", fields.text(&["hostaddress", "address"]));
    labels.put("host_alias", fields.text(&["hostalias", "alias"]));
    labels.put(
        "host_group",
        fields.text(&["hostgroupnames", "hostgroupname", "hostgroups"]),
    );
    labels.put("site", fields.text(&["site", "omdsite"]));
    labels.put("notification_type", fields.text(&TYPE));
    let long = fields.text(&["longserviceoutput", "longhostoutput", "longoutput"]);
    Ok(Batch::of(vec![Alert {
        fingerprint,
        firing,
        severity: state.trim().to_lowercase(),
        title: match &service {
            Some(service) => format!("{service} on {host} is {state}"),
            None => format!("{host} is {state}"),
        },
        text: join([fields.text(&OUTPUT), long]),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        link: link(fields.text(&["url", "link", "serviceactionurl", "hostactionurl"])),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}

/// The lines `Name: value` of a notification that is written for people. The subject is not among them: it keeps saying
/// PROBLEM. What follows `Additional Info` on lines of its own is its value.
fn written(body: &[u8]) -> Option<Value> {
    if matches!(body.trim_ascii().first(), None | Some(b'{' | b'[')) || !body.contains(&b'\n') {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let mut head = text.lines().take_while(|line| !line.trim().is_empty());
    if head.any(|line| {
        line.get(..8)
            .is_some_and(|start| start.eq_ignore_ascii_case("subject:"))
    }) {
        // The body of a mail may be encoded.
        return lines(&mail_parser::MessageParser::default().parse(body)?.body_text(0)?);
    }
    lines(&text)
}

fn lines(text: &str) -> Option<Value> {
    let mut fields = Map::new();
    let mut last: Option<String> = None;
    for line in text.lines() {
        let pair = line.split_once(':').filter(|(name, _)| {
            !name.is_empty() && name.len() <= 30 && !name.starts_with([' ', '\t', '*', '='])
        });
        match (pair, &last) {
            (_, Some(open)) if !line.trim().is_empty() => {
                fields.insert(open.clone(), Value::String(line.trim().to_owned()));
                last = None;
            }
            (Some((name, value)), _) => {
                let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
                let waits = value.is_empty() && matches!(name.as_str(), "Additional Info" | "Info");
                last = waits.then(|| name.clone());
                fields.entry(name).or_insert(Value::String(value));
            }
            _ => {}
        }
    }
    let has = |names: &[&str]| {
        fields
            .keys()
            .any(|key| names.iter().any(|name| key.eq_ignore_ascii_case(name)))
    };
    (has(&["host", "hostname"]) && has(&["state", "status"])).then_some(Value::Object(fields))
}
