//! UptimeRobot: by GET with a query (its default), as a form, or as JSON, in which the user may have chosen
//! other names.
//!
//! A value that does not apply is sent as the name of the variable between stars. Names contain HTML
//! entities. The contacts contain the URL of the hook, so they do not become a label.

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Fields, Labels};
use super::proof;
use super::text::{from_html, link};
use super::{Request, times};
use crate::alert::order::EventTime;

const TYPE: [&str; 2] = ["alerttype", "type"];
const WORD: [&str; 3] = ["alerttypefriendlyname", "status", "state"];
const NAME: [&str; 3] = ["monitorfriendlyname", "friendlyname", "monitorname"];

/// The source `uptimerobot`. Its senders can use GET, and can also put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::in_query),
    by_get: true,
    ..Source::new("uptimerobot", |request, _| parse(request))
};

/// Parses a request.
///
/// # Errors
/// The field that is missing or has no valid value.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let body = request.fields()?;
    let fields = Fields::of(&body, &[])?;
    let word = fields.text(&WORD).unwrap_or_default().to_lowercase();
    let (firing, certificate) = match (fields.text(&TYPE).as_deref(), word.as_str()) {
        (Some("1"), _) | (None, "down") => (true, false),
        (Some("2"), _) | (None, "up") => (false, false),
        (Some("3"), _) => (true, true),
        (None, word) if word.contains("ssl") => (true, true),
        (None, "paused" | "started" | "maintenance" | "test")
        | (Some(_), "paused" | "started" | "maintenance" | "test") => {
            return Ok(Batch::ignored(format!(
                "the monitor is {word}, which is not an outage"
            )));
        }
        (Some(_), _) => return Err(fields.wrong(&TYPE, "must be 1 (down), 2 (up) or 3 (SSL expiry)")),
        (None, _) => return Err(fields.wrong(&TYPE, "is missing: 1 is down, 2 is up")),
    };
    let name = fields.text(&NAME).map(|name| from_html(&name));
    let url = fields.text(&["monitorurl", "url"]);
    let mut fingerprint = match (fields.text(&["monitorid"]), &url, &name) {
        (Some(id), ..) => id,
        (None, Some(url), name) => format!("{url} {}", name.as_deref().unwrap_or_default())
            .trim()
            .to_owned(),
        (None, None, Some(name)) => name.clone(),
        _ => {
            return Err(fields.wrong(
                &["monitorid"],
                "is missing, and so are the monitor's name and URL",
            ));
        }
    };
    if certificate {
        fingerprint.push_str("/ssl");
    }
    let at = fields.time(&["alertdatetime", "alerttime", "datetime"], times::any);
    // The duration of the outage gives its beginning.
    let lasted = fields
        .text(&["alertduration"])
        .and_then(|text| text.parse::<u32>().ok())
        .map(|seconds| std::time::Duration::from_secs(u64::from(seconds)));
    let started = if firing {
        at
    } else {
        at.zip(lasted).map(|(at, lasted)| at.minus(lasted))
    };
    let mut labels = Labels::default();
    labels.put("monitor_id", fields.text(&["monitorid"]));
    labels.put("monitor_name", name.clone());
    labels.put("monitor_url", url.clone());
    Ok(Batch::of(vec![Alert {
        fingerprint,
        firing,
        // The certificate expires only in some days.
        severity: if certificate {
            "notice".to_owned()
        } else {
            String::new()
        },
        title: name
            .or_else(|| url.clone())
            .unwrap_or_else(|| "Monitor".to_owned()),
        text: fields
            .text(&["alertdetails", "details", "reason"])
            .map(|text| from_html(&text))
            .unwrap_or_default(),
        started_at: started,
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        link: link(url),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}
