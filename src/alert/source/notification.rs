//! Reads the notifications that Nagios, Icinga and similar programs write for people: a text, or an email
//! that contains it.
//!
//! The lines of such a text have the form `Name: value` or `Name? value`. Icinga 2 gives the state only in a
//! headline, for example `disk on db1 is CRITICAL!`, and Checkmk in a change, for example `Event: OK -> CRIT`. The
//! subject of an email is used only for missing values, because some subjects still say PROBLEM after the problem
//! is over.

use std::sync::LazyLock;

use mail_parser::{HeaderValue, Message, MimeHeaders, PartType};
use regex::Regex;
use serde_json::{Map, Value};

use super::request::is_form;
use super::text::from_html;
use crate::base::mime;
use crate::base::time::Timestamp;

/// The number of characters that are read.
const LONGEST: usize = 200_000;

/// A notification that was written for people.
pub(super) struct Written {
    /// The lines as fields, by their names.
    pub fields: Value,
    /// The message ID of the email.
    pub message_id: Option<String>,
    /// When the email was sent.
    pub sent: Option<Timestamp>,
}

/// Reads a body as a notification. Returns None if it is JSON or a form, and `Err` with the reason if it
/// cannot be read.
pub(super) fn read(body: &[u8]) -> Option<Result<Written, String>> {
    let start = body.trim_ascii();
    if start.is_empty()
        || matches!(start.first(), Some(b'{' | b'['))
        || start.starts_with(b"--")
        || is_form(start)
    {
        return None;
    }
    if !is_mail(start) {
        let text = String::from_utf8_lossy(body);
        return Some(Ok(Written {
            fields: Value::Object(lines(&text)),
            message_id: None,
            sent: None,
        }));
    }
    Some(mail(start))
}

/// Returns whether the body begins with the headers of an email, including a subject.
fn is_mail(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    text.lines()
        .take_while(|line| !line.trim().is_empty())
        .any(|line| {
            line.get(..8)
                .is_some_and(|start| start.eq_ignore_ascii_case("subject:"))
        })
}

fn mail(body: &[u8]) -> Result<Written, String> {
    // The bytes stay as they are, because each part has its own charset.
    mime::with_mail(body, written_in).ok_or_else(|| "is an email that cannot be read".to_owned())
}

fn written_in(message: &Message<'_>) -> Written {
    let mut best = Map::new();
    for text in texts(message, 0) {
        let found = lines(&text);
        if score(&found) > score(&best) {
            best = found;
        }
    }
    // The subject supplies the values that the text does not contain.
    if let Some(subject) = message.subject() {
        for (name, value) in headline(subject) {
            best.entry(name).or_insert(Value::String(value));
        }
    }
    let sent = match message.header("Date") {
        Some(HeaderValue::DateTime(date)) if date.is_valid() => Some(Timestamp::from_micros(
            date.to_timestamp().saturating_mul(1_000_000),
        )),
        _ => None,
    };
    Written {
        fields: Value::Object(best),
        message_id: message.message_id().map(str::to_owned),
        sent,
    }
}

/// Returns how many of the expected fields a text contains. State and host count double.
fn score(fields: &Map<String, Value>) -> usize {
    let has = |names: &[&str]| {
        fields
            .keys()
            .any(|key| names.iter().any(|name| key.eq_ignore_ascii_case(name)))
    };
    2 * usize::from(has(&["state", "status"]))
        + 2 * usize::from(has(&["host", "hostname"]))
        + usize::from(has(&["service"]))
}

/// Returns the texts of an email, including those of emails that it forwards.
fn texts(message: &Message<'_>, depth: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for part in &message.parts {
        match &part.body {
            PartType::Text(decoded) => texts.push(text_of(message, part, decoded)),
            PartType::Html(decoded) => texts.push(without_tags(&text_of(message, part, decoded))),
            PartType::Message(inner) if depth < 3 => texts.extend(self::texts(inner, depth + 1)),
            PartType::Binary(bytes) | PartType::InlineBinary(bytes)
                if part.content_type().is_none_or(|kind| kind.ctype() == "text") =>
            {
                texts.push(text_of(message, part, &String::from_utf8_lossy(bytes)));
            }
            _ => {}
        }
    }
    texts
}

/// Returns a part as text. In broken quoted-printable text, a `=` that escapes nothing is kept as a `=`.
/// Strict parsers reject such a text.
fn text_of(message: &Message<'_>, part: &mail_parser::MessagePart<'_>, decoded: &str) -> String {
    let raw = usize::try_from(part.offset_body)
        .ok()
        .zip(usize::try_from(part.offset_end).ok())
        .and_then(|(from, to)| message.raw_message.get(from..to));
    let quoted = part
        .content_transfer_encoding()
        .is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("quoted-printable"));
    let Some(raw) = raw.filter(|_| quoted) else {
        return decoded.to_owned();
    };
    let bytes = quoted_printable(raw);
    match String::from_utf8(bytes) {
        Ok(text) => text,
        // Of the charsets other than UTF-8, Latin-1 is the usual one.
        Err(error) => error.into_bytes().into_iter().map(char::from).collect(),
    }
}

fn quoted_printable(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'=' {
            out.push(*byte);
            continue;
        }
        let code = behind
            .get(..2)
            .filter(|two| two.iter().all(u8::is_ascii_hexdigit))
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        let blank = behind
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        if let Some(code) = code {
            out.push(code);
            rest = &behind[2..];
        } else if let Some(next) = behind[blank..]
            .strip_prefix(b"\r\n")
            .or_else(|| behind[blank..].strip_prefix(b"\n"))
        {
            rest = next;
        } else {
            out.push(b'=');
        }
    }
    out
}

/// Returns the text of HTML. Elements that end a line in HTML end a line in the text.
fn without_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('>') else {
            rest = "";
            break;
        };
        let tag = rest[at + 1..at + end]
            .trim_start_matches('/')
            .to_ascii_lowercase();
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        rest = &rest[at + end + 1..];
        match name.as_str() {
            "br" | "p" | "div" | "tr" | "table" | "li" | "h1" | "h2" | "h3" | "pre" => out.push('\n'),
            "td" | "th" => out.push(' '),
            "style" | "script" => {
                let close = rest.to_ascii_lowercase().find(&format!("</{name}"));
                rest = close.map_or(rest, |close| &rest[close..]);
            }
            _ => {}
        }
    }
    out.push_str(rest);
    from_html(&out)
}

/// Splits a line into the name and the value.
fn pair(line: &str) -> Option<(&str, &str)> {
    let at = line.find([':', '?'])?;
    let (name, value) = (line[..at].trim(), &line[at + 1..]);
    let asks = line[at..].starts_with('?');
    let known = ["when", "service", "host", "info", "ipv4", "ipv6"];
    let fits = if asks {
        known.iter().any(|word| name.eq_ignore_ascii_case(word))
    } else {
        !name.is_empty() && name.len() <= 30 && !name.starts_with(['*', '='])
    };
    fits.then(|| (name, value.trim()))
}

/// Returns the state after a change such as `OK -> CRIT` or `UP → DOWN`, as Checkmk writes it.
fn after_change(event: &str) -> Option<String> {
    static CHANGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?i)\b(?:OK|WARN(?:ING)?|CRIT(?:ICAL)?|UNKN(?:OWN)?|PEND(?:ING)?|UP|DOWN|UNREACH(?:ABLE)?)\s*(?:->|=>|→|➤|➔)\s*(?<state>OK|WARN(?:ING)?|CRIT(?:ICAL)?|UNKN(?:OWN)?|UP|DOWN|UNREACH(?:ABLE)?)\s*$",
        )
        .ok()
    });
    let found = CHANGE.as_ref()?.captures(event.trim())?;
    let state = found["state"].to_uppercase();
    // Checkmk writes short forms.
    let whole = ["WARNING", "CRITICAL", "UNKNOWN", "UNREACHABLE"]
        .into_iter()
        .find(|whole| whole.starts_with(&state));
    Some(whole.map_or(state, str::to_owned))
}

/// Parses a subject of Checkmk such as `Check_MK: db1/CPU load OK -> CRIT` into host, service and state.
fn checkmk_subject(line: &str) -> Option<Vec<(String, String)>> {
    static SUBJECT: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)^(?:(?:Re|Fwd?|AW|WG):\s*)*Check_?mk:\s*(?<host>[^/\s]+)(?:/(?<service>.{1,250}?))?\s+(?<event>\S+\s*(?:->|=>|→|➤|➔)\s*\S+)\s*$").ok()
    });
    let found = SUBJECT.as_ref()?.captures(line.trim())?;
    let mut fields = vec![
        ("State".to_owned(), after_change(&found["event"])?),
        ("Host".to_owned(), found["host"].to_owned()),
    ];
    if let Some(service) = found.name("service") {
        fields.push(("Service".to_owned(), service.as_str().trim().to_owned()));
    }
    Some(fields)
}

/// Parses a headline such as `disk on db1 is CRITICAL!` or `db1 is DOWN` into host, service and state.
fn headline(line: &str) -> Vec<(String, String)> {
    static HEADLINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"^(?:(?:Re|Fwd?|AW|WG):\s*)*(?:\[[^\]]*\]\s*)?(?:==>\s*)?(?<what>\S.{0,250}?) is (?<state>OK|WARNING|CRITICAL|UNKNOWN|UP|DOWN|UNREACHABLE)\b!?\s*(?:<=*|\*+)?\s*$",
        )
        .ok()
    });
    if let Some(fields) = checkmk_subject(line) {
        return fields;
    }
    let Some(found) = HEADLINE
        .as_ref()
        .and_then(|pattern| pattern.captures(line.trim()))
    else {
        return Vec::new();
    };
    let (what, state) = (&found["what"], &found["state"]);
    let mut fields = vec![("State".to_owned(), state.to_owned())];
    let of_host = matches!(state, "UP" | "DOWN" | "UNREACHABLE");
    match what.rsplit_once(" on ") {
        Some((service, host)) if !of_host => {
            fields.push(("Service".to_owned(), service.trim().to_owned()));
            fields.push(("Host".to_owned(), host.trim().to_owned()));
        }
        _ if of_host && !what.contains(' ') => fields.push(("Host".to_owned(), what.trim().to_owned())),
        _ => {}
    }
    fields
}

/// Removes an addition from a name, as in `db1 (aka "Database 1")`, `db1 (Display Name: "Database 1")` or
/// `db1 (192.0.2.1)`.
fn plain(name: &str) -> String {
    static BESIDE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r#"\s+(?:\((?:aka\b|Display Name:)[^)]*\)|\([0-9a-fA-F:.]{3,45}\)|/ [0-9a-fA-F:.]{3,45})\s*$"#,
        )
        .ok()
    });
    match BESIDE.as_ref() {
        Some(pattern) => pattern.replace(name, "").trim().to_owned(),
        None => name.trim().to_owned(),
    }
}

/// Returns the lines of a notification as fields. If a name occurs twice, the first value counts.
pub(super) fn lines(text: &str) -> Map<String, Value> {
    let text = text.get(..LONGEST).unwrap_or(text);
    let mut fields = Map::new();
    let mut said = Vec::new();
    // The name whose value is on the next line.
    let mut open: Option<String> = None;
    for line in text.lines() {
        // Remove the mark of a quotation or of a list item.
        let line = line.trim_start_matches(['>', ' ', '\t']);
        let line = line.strip_prefix("- ").unwrap_or(line).trim();
        if line.is_empty() || line.starts_with("*****") || line.chars().all(|c| c == '-' || c == ' ') {
            continue;
        }
        if let Some(name) = open.take() {
            fields.insert(name, Value::String(line.to_owned()));
            continue;
        }
        let found = headline(line);
        if !found.is_empty() {
            if said.is_empty() {
                said = found;
            }
            continue;
        }
        let Some((name, value)) = pair(line) else { continue };
        if value.is_empty() && ["additional info", "info"].contains(&name.to_lowercase().as_str()) {
            open = Some(name.to_owned());
        }
        let value = match name.to_lowercase().as_str() {
            "host" | "hostname" | "service" => plain(value),
            _ => value.to_owned(),
        };
        fields.entry(name).or_insert(Value::String(value));
    }
    let event = fields
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("event"))
        .and_then(|(_, value)| after_change(value.as_str()?));
    if let Some(state) = event {
        said.push(("State".to_owned(), state));
    }
    for (name, value) in said {
        let there = fields
            .iter()
            .any(|(key, held)| key.eq_ignore_ascii_case(&name) && held.as_str() != Some(""));
        if !there {
            fields.insert(name, Value::String(value));
        }
    }
    fields
}
