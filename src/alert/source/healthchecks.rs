//! Healthchecks.io: its user writes the request, by GET, POST or PUT, with fields that are named after its
//! placeholders.
//!
//! There is no standard body, so a request without a check and a status cannot be understood. An answer of
//! the Healthchecks.io API is not a notification.

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Fields, Labels};
use super::proof;
use super::text::link;
use super::{Request, times};
use crate::alert::order::EventTime;

const CODE: [&str; 9] = [
    "code",
    "checkcode",
    "uuid",
    "checkuuid",
    "checkid",
    "id",
    "slug",
    "checkslug",
    "fingerprint",
];
const STATUS: [&str; 4] = ["status", "checkstatus", "state", "checkstate"];
const NAME: [&str; 5] = ["name", "checkname", "namejson", "check", "title"];

/// The source `healthchecks`. Its senders can use GET, and can also put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::in_query),
    by_get: true,
    ..Source::new("healthchecks", |request, _| parse(request))
};

/// Parses a request.
///
/// # Errors
/// The field that is missing or has no valid value.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let body = request.fields()?;
    if body.is_array() || body.get("checks").is_some() || body.get("flips").is_some() {
        return Err((
            String::new(),
            "is an answer of the API, not a notification".to_owned(),
        ));
    }
    let fields = Fields::of(&body, &[])?;
    let name = fields.text(&NAME);
    let fingerprint = fields
        .text(&CODE)
        .or_else(|| name.clone())
        .ok_or_else(|| fields.wrong(&CODE, "is missing: put $CODE into the request"))?;
    let status = fields
        .text(&STATUS)
        .ok_or_else(|| fields.wrong(&STATUS, "is missing: put $STATUS into the request"))?;
    let firing = match status.trim().to_lowercase().as_str() {
        "down" => true,
        "up" => false,
        "new" | "paused" | "grace" | "started" => {
            return Ok(Batch::ignored(format!(
                "check {fingerprint} is neither up nor down"
            )));
        }
        _ => return Err(fields.wrong(&STATUS, "must be up or down")),
    };
    let at = fields.time(&["now", "time", "timestamp", "date", "at"], times::any);
    let mut labels = Labels::default();
    let tags = fields.text(&["tags", "checktags"]);
    // The tags are separated by spaces.
    let tags =
        tags.map(|tags| serde_json::Value::String(tags.split_whitespace().collect::<Vec<_>>().join(",")));
    if let Some(tags) = &tags {
        labels.tags(Some(super::doc::Doc::new(tags)));
    }
    labels.put("check", name.clone());
    labels.put("slug", fields.text(&["slug", "checkslug"]));
    labels.put(
        "exit_status",
        fields.text(&["exitstatus"]).filter(|status| status != "-1"),
    );
    // The button "Test!" sends a check with this name and with a code that no other check has.
    let test = name.as_deref() == Some("TEST");
    Ok(Batch::of(vec![Alert {
        informs: test.then(|| "a test of the integration".to_owned()),
        title: name.unwrap_or_else(|| format!("Check {fingerprint}")),
        fingerprint,
        firing,
        text: fields
            .text(&["message", "text", "msg", "body"])
            .unwrap_or_default(),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        link: link(fields.text(&["url", "link", "checkurl", "detailsurl"])),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}
