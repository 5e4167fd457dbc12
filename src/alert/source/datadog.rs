//! Datadog: its webhooks integration. The user of Datadog writes the body, so fields are searched for by the
//! names of the variables in any spelling. A value that is still `$NAME` was unknown to Datadog and is
//! ignored.
//!
//! The default template of Datadog contains no transition. In that case the beginning of the title gives the
//! state, and the monitor is the one that the text links to.

use std::sync::LazyLock;

use regex::Regex;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Fields, Labels};
use super::text::{link, lower};
use super::{Request, times};
use crate::alert::order::EventTime;

const TRANSITION: [&str; 2] = ["alerttransition", "transition"];
/// These fields contain one word in some templates, and a whole sentence in others.
const STATUS: [&str; 3] = ["alertstatus", "status", "state"];
const TITLE: [&str; 4] = ["eventtitle", "title", "alerttitle", "alertname"];
const TEXT: [&str; 7] = [
    "textonlymsg",
    "eventmsg",
    "eventmessage",
    "body",
    "text",
    "message",
    "description",
];
const LINK: [&str; 4] = ["link", "url", "alerturl", "eventurl"];

/// The source `datadog`. Its senders can send the secret only in `Authorization` or `X-Candor-Token`.
pub(super) const SOURCE: Source = Source::new("datadog", |request, _| parse(request));

/// Parses a request.
///
/// # Errors
/// A JSON pointer into the body, and the reason why it is not a template with Datadog's variables.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let body = request.fields()?;
    let fields = Fields::of(&body, &[])?;
    let full_title = fields
        .text(&TITLE)
        .ok_or_else(|| fields.wrong(&TITLE, "is missing: put $EVENT_TITLE into the template"))?;
    let (prefix, title, test) = split(&full_title);
    let firing = state(&fields, prefix)?;
    let text = fields.text(&TEXT).map(|text| plain(&text)).unwrap_or_default();
    let url = link(fields.text(&LINK)).or_else(|| fields.text(&TEXT).as_deref().and_then(link_in));
    let monitor = fields
        .text(&["alertid", "monitorid", "alertmonitorid"])
        .or_else(|| url.as_deref().and_then(monitor_of))
        .or_else(|| fields.text(&TEXT).as_deref().and_then(monitor_of));
    let scope = fields
        .text(&["alertscope", "scope", "scopes"])
        .or_else(|| prefix.and_then(scope_of).map(str::to_owned));
    let fingerprint = match (
        fields.text(&["alertcyclekey", "cyclekey"]),
        fields.text(&["aggregkey", "aggregationkey"]),
    ) {
        // The cycle key is the same from the trigger to the recovery.
        (Some(cycle), _) => cycle,
        (None, Some(aggregate)) => with_scope(aggregate, scope.as_deref()),
        (None, None) => match monitor {
            Some(monitor) => with_scope(monitor, scope.as_deref()),
            None => with_scope(title.to_owned(), scope.as_deref()),
        },
    };
    let at = fields.time(&["lastupdated", "date", "timestamp"], times::any);
    let mut labels = Labels::default();
    labels.tags(fields.get(&["tags"]));
    labels.put("host", fields.text(&["hostname", "host"]));
    labels.put("scope", scope);
    labels.put("event_type", fields.text(&["eventtype"]));
    labels.put("org", fields.text(&["orgname"]));
    labels.put("query", fields.text(&["alertquery", "query"]));
    labels.put("metric", fields.text(&["alertmetric", "metric"]));
    let severity = fields.text(&["alertpriority", "priority", "severity", "alerttype"]);
    Ok(Batch::of(vec![Alert {
        fingerprint,
        firing,
        severity: lower(severity),
        title: title.to_owned(),
        text,
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        link: url,
        informs: test.then(|| "a test notification of the monitor".to_owned()),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}

/// Splits a title such as `[Triggered on {host:a}] CPU is high` into the prefix and the rest. The last value
/// says whether it is a test.
fn split(title: &str) -> (Option<&str>, &str, bool) {
    let title = title.trim();
    let parts = title.strip_prefix('[').and_then(|rest| {
        let end = match rest.find('{') {
            // A scope can contain brackets itself.
            Some(open) if rest.find(']').is_some_and(|close| open < close) => {
                open + rest.get(open..)?.find("}]")? + 1
            }
            _ => rest.find(']')?,
        };
        let behind = rest.get(end + 1..)?.trim();
        Some((rest.get(..end)?, behind))
    });
    match parts {
        Some((prefix, rest)) if !rest.is_empty() => {
            let test = rest.strip_prefix("[TEST]").map(str::trim);
            let test = test.or_else(|| prefix.eq_ignore_ascii_case("TEST").then_some(rest));
            (Some(prefix), test.unwrap_or(rest), test.is_some())
        }
        _ => (None, title, false),
    }
}

fn scope_of(prefix: &str) -> Option<&str> {
    let (_, rest) = prefix.split_once('{')?;
    rest.strip_suffix('}').filter(|scope| !scope.is_empty())
}

fn with_scope(key: String, scope: Option<&str>) -> String {
    match scope.filter(|scope| !scope.is_empty() && *scope != "*") {
        Some(scope) => format!("{key}/{scope}"),
        None => key,
    }
}

fn state(fields: &Fields<'_>, prefix: Option<&str>) -> Result<bool, Refusal> {
    if let Some(transition) = fields.text(&TRANSITION) {
        return of_word(&transition).ok_or_else(|| {
            fields.wrong(
                &TRANSITION,
                "must be a transition of a monitor, such as Triggered or Recovered",
            )
        });
    }
    let status = fields.text(&STATUS);
    if let Some(firing) = status
        .as_deref()
        .and_then(of_word)
        .or_else(|| prefix.and_then(of_word))
    {
        return Ok(firing);
    }
    match lower(fields.text(&["alerttype"])).as_str() {
        "error" | "warning" => Ok(true),
        "success" => Ok(false),
        _ => Err(fields.wrong(
            &TRANSITION,
            "is missing, and neither the title nor the type says whether the alert fires; put $ALERT_TRANSITION \
            into the template",
        )),
    }
}

fn of_word(word: &str) -> Option<bool> {
    let plain: String = word
        .split(" on ")
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_alphabetic)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match plain.as_str() {
        "triggered" | "retriggered" | "warn" | "rewarn" | "warning" | "nodata" | "renodata" | "renotify"
        | "renotified" | "alert" | "firing" | "triggeredtest" => Some(true),
        "recovered" | "recovery" | "ok" | "resolved" => Some(false),
        _ => None,
    }
}

/// Returns the ID of the monitor in a link such as `…/monitors/221164084?…`.
fn monitor_of(text: &str) -> Option<String> {
    static MONITOR: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"/monitors[/#](\d{1,20})").ok());
    let found = MONITOR.as_ref()?.captures(text)?;
    Some(found.get(1)?.as_str().to_owned())
}

/// Returns the link to the monitor in a text, or else the first link in it.
fn link_in(text: &str) -> Option<String> {
    static LINK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"https?://[^\s()<>\[\]"'`]+"#).ok());
    let links: Vec<&str> = LINK
        .as_ref()?
        .find_iter(text)
        .take(100)
        .map(|found| found.as_str().trim_end_matches(['.', ',', ';', ':', '!']))
        .collect();
    let monitor = links.iter().find(|url| monitor_of(url).is_some());
    link(monitor.or(links.first()).map(|url| (*url).to_owned()))
}

/// Returns a message without the `%%%` around its markdown.
fn plain(text: &str) -> String {
    text.trim()
        .trim_start_matches("%%%")
        .trim_end_matches("%%%")
        .trim()
        .to_owned()
}
