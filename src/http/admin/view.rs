//! The shared parts of the pages: the formats of times, durations and links.
//!
//! A time always has the name of its time zone. A link always has the scheme http or https.

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::base::count::counted;
pub use crate::base::count::grouped;
use crate::base::time::{Timestamp, time_zone};
use crate::directory::ResourceRef;
use crate::http::App;
use crate::http::page::Limit;
use crate::incident::affected::Relevance;
use crate::notice::Notice;

/// The number of rows of a list on one page.
pub(super) const ROWS: Limit = Limit(100);

/// A time as pages show it: in UTC, and in another time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct When {
    iso: String,
    utc: String,
    local: Option<String>,
}

impl When {
    /// Makes a time that is shown only in UTC.
    pub fn utc(at: Timestamp) -> When {
        When::new(at, None)
    }

    /// Makes a time that is shown in UTC and in `zone`. The date is repeated only if it differs.
    pub fn new(at: Timestamp, zone: Option<&TimeZone>) -> When {
        let utc = at.short(&TimeZone::UTC);
        let local = zone.map(|zone| {
            let local = at.short(zone);
            match (local.split_once(' '), utc.split_once(' ')) {
                (Some((day, rest)), Some((utc_day, _))) if day == utc_day => rest.to_owned(),
                _ => local,
            }
        });
        When {
            iso: at.to_string(),
            utc,
            local,
        }
    }

    /// Makes a time that is shown in UTC and in `zone`, if there is a time.
    pub fn maybe(at: Option<Timestamp>, zone: Option<&TimeZone>) -> Option<When> {
        at.map(|at| When::new(at, zone))
    }
}

/// Returns the word for the relevance of a resource or a person. One that is certainly affected needs no word.
pub fn relevance(relevance: Relevance) -> Option<&'static str> {
    match relevance {
        Relevance::Impaired => None,
        Relevance::Possibly => Some("possibly affected"),
        Relevance::Unknown => Some("unknown whether affected"),
    }
}

/// Returns the time zone with this name. Returns `None` if it is unknown, or if it is UTC, which is shown in
/// every case.
pub fn zone(name: Option<&str>) -> Option<TimeZone> {
    name.and_then(|name| time_zone(name).ok())
        .filter(|zone| *zone != TimeZone::UTC)
}

/// Returns a duration for people, with its two largest units: `4 min`, `1 h 5 min`, `2 d 3 h`.
pub fn duration(seconds: i64) -> String {
    let sign = if seconds < 0 { "−" } else { "" };
    let all = seconds.unsigned_abs();
    let (days, hours, minutes, rest) = (all / 86_400, all / 3_600 % 24, all / 60 % 60, all % 60);
    let (large, small) = match (days, hours, minutes) {
        (0, 0, 0) => ((rest, "s"), (0, "")),
        (0, 0, _) => ((minutes, "min"), (rest, "s")),
        (0, _, _) => ((hours, "h"), (minutes, "min")),
        _ => ((days, "d"), (hours, "h")),
    };
    match small {
        (0, _) => format!("{sign}{} {}", large.0, large.1),
        (count, unit) => format!("{sign}{} {} {count} {unit}", large.0, large.1),
    }
}

/// Returns a number with its noun: `1 person`, `3 people`.
pub fn count(n: usize, one: &str, many: &str) -> String {
    counted(n, one, many)
}

/// Encodes a text as one segment of a path.
pub fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut path, byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.') {
                path.push(char::from(byte));
            } else {
                let _ = write!(path, "%{byte:02X}");
            }
            path
        })
}

/// Returns a path with those query parameters that have a value.
pub fn link(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// Returns a link that somebody else gave, if its scheme is http or https.
pub fn outward(link: Option<&str>) -> Option<&str> {
    link.filter(|link| url::Url::parse(link).is_ok_and(|url| matches!(url.scheme(), "http" | "https")))
}

/// Returns the URL of an endpoint without its query, which may contain a secret.
pub fn shown_url(url: &str) -> String {
    match url.split_once('?') {
        Some((before, _)) => format!("{before}?…"),
        None => url.to_owned(),
    }
}

/// Returns the path of the page of an account.
pub fn account_path(id: &str) -> String {
    format!("/admin/directory/accounts/{}", segment(id))
}

/// Returns the path of the page of a person.
pub fn person_path(id: &str) -> String {
    format!("/admin/directory/people/{}", segment(id))
}

/// Returns the path of the page of a resource.
pub fn resource_path(type_: &str, id: &str) -> String {
    format!("/admin/directory/resources/{}/{}", segment(type_), segment(id))
}

/// Returns a resource with its link: `media interview`, and its name if it has one.
pub fn resource(at: &ResourceRef, name: Option<&str>) -> Value {
    json!({
        "label": at.to_string(),
        "name": name,
        "path": resource_path(at.type_.as_str(), at.id.as_str()),
    })
}

/// Returns an API call as a shell command. The shell variable `TOKEN` must contain the token.
pub fn call(app: &App, method: &str, path: &str, body: Option<&Value>) -> String {
    let mut command = format!(
        "curl -X {method} '{}/api/v1{path}' \\\n  -H \"Authorization: Bearer $TOKEN\"",
        app.sending.public_url
    );
    if let Some(body) = body {
        // Within single quotes, only the single quote is special in a shell.
        let body = body.to_string().replace('\'', r"'\''");
        command.push_str(&format!(" -H 'Content-Type: application/json' \\\n  -d '{body}'"));
    }
    command
}

/// Returns the numbers for the progress bar of a notice. Returns `None` for a draft. `outbox` says that
/// emails are written to files, so no mail server accepts anything.
pub fn progress(notice: &Notice, outbox: bool) -> Option<Value> {
    if notice.state.is_draft() {
        return None;
    }
    let counts = notice.counts;
    // People count, and not emails, so that the numbers add up with those of the audience.
    let (parts, people) = (counts.partition, counts.people);
    let share = |part: i64| (part as f64 * 100.0 / parts.people.max(1) as f64 * 100.0).round() / 100.0;
    // Whoever belongs to a later wave waits for it, and nothing is being sent to them now.
    let later = match &notice.wave {
        Some(wave) if notice.state.is_being_sent() => {
            (notice.recipients - wave.recipients).clamp(0, people.pending)
        }
        _ => 0,
    };
    let details: Vec<Value> = [
        (people.pending - later, "still sending", false),
        (later, "waiting for a later wave", false),
        (people.failed, "failed", true),
        (people.bounced, "bounced", true),
        (parts.unreachable, "without a usable address", true),
        (people.suppressed, "opted out", false),
        (people.stopped, "not sent because the notice was stopped", true),
    ]
    .into_iter()
    .filter(|(n, _, _)| *n > 0)
    .map(|(n, word, bad)| json!({"text": format!("{} {word}", grouped(n)), "bad": bad}))
    .collect();
    let verb = if outbox {
        "Written to the outbox:"
    } else {
        "Emailed"
    };
    Some(json!({
        "sent_share": share(parts.accepted),
        "refused_share": share(parts.failed + parts.unreachable),
        "refused_from": share(parts.accepted),
        "withheld_from": share(parts.accepted + parts.failed + parts.unreachable),
        "withheld_share": share(parts.not_notified),
        "label": format!("{verb} {} of {}", grouped(parts.accepted), grouped(parts.people)),
        "details": details,
    }))
}

/// Returns the first `most` characters, followed by `…` if there are more.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (1_380, "23 min"),
            (3_600, "1 h"),
            (57_600, "16 h"),
            (90_061, "1 d 1 h"),
            (-240, "−4 min"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn every_id_fits_into_one_segment_of_a_path() {
        assert_eq!(
            segment("a b/c?d#e%f\"g<h>'"),
            "a%20b%2Fc%3Fd%23e%25f%22g%3Ch%3E%27"
        );
        assert_eq!(segment("ünï"), "%C3%BCn%C3%AF");
    }

    #[test]
    fn only_web_links_lead_out() {
        for link in [
            "javascript:alert(1)",
            "data:text/html,x",
            "JaVaScRiPt:alert(1)",
            "/admin",
            "ftp://x",
            "",
        ] {
            assert_eq!(outward(Some(link)), None, "{link}");
        }
        assert_eq!(outward(Some("https://x.example/1")), Some("https://x.example/1"));
    }

    #[test]
    fn a_time_names_its_zone_and_its_day_there() {
        let at = Timestamp::parse("2024-03-14T23:30:00Z").unwrap();
        let nairobi = zone(Some("Africa/Nairobi"));
        let shown = When::new(at, nairobi.as_ref());
        assert_eq!(shown.utc, "2024-03-14 23:30:00 UTC");
        assert_eq!(shown.local.as_deref(), Some("2024-03-15 02:30:00 EAT"));
        let at = Timestamp::parse("2024-03-14T06:56:00Z").unwrap();
        assert_eq!(
            When::new(at, nairobi.as_ref()).local.as_deref(),
            Some("09:56:00 EAT")
        );
        assert!(zone(Some("UTC")).is_none() && zone(Some("Nowhere/Else")).is_none());
    }
}
