//! Nagios, Icinga and Checkmk: what a notification command makes of its macros, as JSON or as a form; or the
//! text of a notification, with or without the email around it.
//!
//! The state counts and not the type of the notification, because a message of the type PROBLEM can have the
//! state OK. A time is ignored if several zones have the abbreviation of its zone.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Fields, Labels};
use super::text::{join, link, lower};
use super::{Request, notification, times};
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

/// The source `nagios`. Its senders can send the secret only in `Authorization` or `X-Candor-Token`.
pub(super) const SOURCE: Source = Source::new("nagios", |request, _| parse(request));

/// Parses a request.
///
/// # Errors
/// The field that is missing or has no valid value.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let by_get = request.method == "GET";
    let written = if by_get {
        None
    } else {
        notification::read(&request.body)
    };
    let written = written.transpose().map_err(|reason| (String::new(), reason))?;
    let is_text = written.is_some();
    let (body, message_id, sent) = match written {
        Some(written) => (written.fields, written.message_id, written.sent),
        None => (unpacked(request.fields()?), None, None),
    };
    let fields = Fields::of(&body, &["nagios", "icinga", "notify", "naemon", "contact"])?;
    let host = fields.text(&HOST).ok_or_else(|| match is_text {
        true => (
            String::new(),
            "has no line that names the host; add a line such as \u{201c}Host: db1\u{201d}".to_owned(),
        ),
        false => fields.wrong(&HOST, "is missing; it must name the host"),
    })?;
    let about_host = fields
        .text(&["what"])
        .is_some_and(|what| what.eq_ignore_ascii_case("host"));
    let service = fields.text(&SERVICE).filter(|_| !about_host);
    let kind = lower(fields.text(&TYPE));
    let names: Vec<&str> = match service {
        Some(_) => SERVICE_STATE.iter().chain(&STATE).copied().collect(),
        None => HOST_STATE.iter().chain(&STATE).copied().collect(),
    };
    // Checkmk also writes about events that change no state, such as an acknowledgement.
    if is_text
        && fields.text(&names).is_none()
        && let Some(event) = fields.text(&["event"])
    {
        return Ok(Batch::ignored(format!(
            "an event of {host} that changes no state: {}",
            crate::base::text::one_line(&event, 200)
        )));
    }
    let state = fields.text(&names).ok_or_else(|| match is_text {
        true => (
            String::new(),
            "has no state; add a line such as \u{201c}State: CRITICAL\u{201d} or a headline such as \u{201c}disk \
            on db1 is CRITICAL!\u{201d}"
                .to_owned(),
        ),
        false => fields.wrong(
            &names,
            "is missing; put $SERVICESTATE$ or $HOSTSTATE$ into the command",
        ),
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
    // An acknowledgement is about a known problem. Without a time, it could be about a problem that is over,
    // so it is ignored.
    let acknowledged = kind.starts_with("ack");
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
            "when",
            "date",
            "timestamp",
        ],
        times::of_date,
    );
    if acknowledged && at.is_none() && sent.is_none() {
        return Ok(Batch::ignored(format!(
            "an acknowledgement of {}",
            crate::base::text::one_line(&fingerprint, 200)
        )));
    }
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
        event_at: at.or(sent).map(EventTime::change),
        message_id,
        link: link(fields.text(&["url", "link", "serviceactionurl", "hostactionurl"])),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}

/// Returns the fields of a form or of JSON. If a field contains the whole text of a notification, the fields
/// of that text are added.
fn unpacked(body: Value) -> Value {
    let Value::Object(mut fields) = body else {
        return body;
    };
    let texts: Vec<String> = ["message", "text", "body", "msg", "notification"]
        .iter()
        .filter_map(|name| fields.get(*name)?.as_str())
        .filter(|text| text.contains('\n'))
        .map(str::to_owned)
        .collect();
    for text in texts {
        for (name, value) in notification::lines(&text) {
            let there = fields.keys().any(|key| key.eq_ignore_ascii_case(&name));
            if !there {
                fields.insert(name, value);
            }
        }
    }
    Value::Object(fields)
}
