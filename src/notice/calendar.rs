//! Writes files for calendars (iCalendar, RFC 5545): events that somebody else may keep, change and remove by their UID. This module does
//! no I/O.

use crate::base::time::Timestamp;

/// The longest line, in bytes, without its end.
const LINE: usize = 75;

/// What a file does with its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// They take place. Nobody is asked to answer.
    Publish,
    /// They do not take place any more.
    Cancel,
}

impl Method {
    /// Returns the word of RFC 5546.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Publish => "PUBLISH",
            Method::Cancel => "CANCEL",
        }
    }
}

/// An event of a calendar.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The ID, which stays the same when the event changes.
    pub uid: String,
    /// How often the event changed.
    pub sequence: i64,
    /// When the event was last changed.
    pub stamp: Timestamp,
    /// When the event starts. The file contains the time in UTC.
    pub starts: Timestamp,
    /// When the event ends. The file contains the time in UTC.
    pub ends: Timestamp,
    /// The title of the event, which the file contains as `SUMMARY`.
    pub summary: &'a str,
    /// More about it, if there is more.
    pub description: Option<&'a str>,
    /// The name of the sender who announces the event. The file contains it as the name of `ORGANIZER`.
    pub organizer: &'a str,
    /// The page about it.
    pub url: &'a str,
}

/// Writes a file with events.
pub fn write(method: Method, events: &[Event<'_>]) -> String {
    let mut out = String::with_capacity(1_024);
    line(&mut out, "BEGIN:VCALENDAR");
    line(&mut out, "VERSION:2.0");
    line(&mut out, "PRODID:-//Candor//Planned maintenance//EN");
    line(&mut out, "CALSCALE:GREGORIAN");
    line(&mut out, &format!("METHOD:{}", method.as_str()));
    for event in events {
        line(&mut out, "BEGIN:VEVENT");
        line(&mut out, &format!("UID:{}", escaped(&event.uid)));
        line(&mut out, &format!("SEQUENCE:{}", event.sequence));
        line(&mut out, &format!("DTSTAMP:{}", utc(event.stamp)));
        line(&mut out, &format!("LAST-MODIFIED:{}", utc(event.stamp)));
        line(&mut out, &format!("DTSTART:{}", utc(event.starts)));
        line(&mut out, &format!("DTEND:{}", utc(event.ends)));
        line(&mut out, &format!("SUMMARY:{}", escaped(event.summary)));
        if let Some(description) = event.description {
            line(&mut out, &format!("DESCRIPTION:{}", escaped(description)));
        }
        let (name, url) = (parameter(event.organizer), one_line(event.url));
        line(&mut out, &format!("ORGANIZER;CN=\"{name}\":{url}"));
        line(&mut out, &format!("URL:{url}"));
        line(
            &mut out,
            match method {
                Method::Publish => "STATUS:CONFIRMED",
                Method::Cancel => "STATUS:CANCELLED",
            },
        );
        // It takes none of the reader's time.
        line(&mut out, "TRANSP:TRANSPARENT");
        line(&mut out, "END:VEVENT");
    }
    line(&mut out, "END:VCALENDAR");
    out
}

/// Writes a line, and continues it on further lines so that none is too long. No character is cut.
fn line(out: &mut String, text: &str) {
    let mut used = 0;
    for character in text.chars() {
        if used + character.len_utf8() > LINE {
            out.push_str("\r\n ");
            used = 1;
        }
        out.push(character);
        used += character.len_utf8();
    }
    out.push_str("\r\n");
}

/// Returns a time in UTC.
fn utc(at: Timestamp) -> String {
    let text = at.to_string();
    let mut digits: String = text
        .chars()
        .take(19)
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    digits.push('Z');
    digits
}

/// Returns a text as the value of a property.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.replace("\r\n", "\n").chars() {
        match character {
            '\\' | ';' | ',' => {
                out.push('\\');
                out.push(character);
            }
            '\n' | '\r' => out.push_str("\\n"),
            '\t' => out.push(' '),
            other if other.is_control() => {}
            other => out.push(other),
        }
    }
    out
}

/// Returns a text as the quoted value of a parameter, which cannot contain quotes.
fn parameter(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .map(|c| if c == '"' { '\'' } else { c })
        .collect()
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(summary: &'a str, description: &'a str) -> Event<'a> {
        Event {
            uid: "maintenance-1@example.com".to_owned(),
            sequence: 2,
            stamp: Timestamp::parse("2024-03-14T08:11:00.5Z").unwrap(),
            starts: Timestamp::parse("2024-03-20T22:00:00+02:00").unwrap(),
            ends: Timestamp::parse("2024-03-21T01:30:00Z").unwrap(),
            summary,
            description: Some(description),
            organizer: "Quick \"Byte\"",
            url: "https://candor.example.com/status",
        }
    }

    #[test]
    fn lines_are_short_and_texts_escaped() {
        let long = "Wartung der Datenbank für alle Konten in Nairobi, Mombasa; und \\ Kisumu äöü ".repeat(5);
        let text = write(Method::Publish, &[event(&long, "One\r\nEND:VEVENT\nTwo")]);
        assert!(text.ends_with("END:VCALENDAR\r\n"));
        for line in text.split("\r\n") {
            assert!(line.len() <= 75, "{line}");
            assert!(!line.contains(['\r', '\n']), "{line:?}");
        }
        let unfolded = text.replace("\r\n ", "");
        let expected = long.replace('\\', "\\\\").replace(',', "\\,").replace(';', "\\;");
        assert!(
            unfolded.contains(&format!("SUMMARY:{expected}\r\n")),
            "{unfolded}"
        );
        assert!(
            unfolded.contains("DESCRIPTION:One\\nEND:VEVENT\\nTwo\r\n"),
            "{unfolded}"
        );
        assert_eq!(unfolded.matches("\r\nEND:VEVENT\r\n").count(), 1);
        assert!(unfolded.contains("DTSTART:20240320T200000Z\r\n"), "{unfolded}");
        assert!(unfolded.contains("DTSTAMP:20240314T081100Z\r\n"), "{unfolded}");
        assert!(
            unfolded.contains("ORGANIZER;CN=\"Quick 'Byte'\":https://"),
            "{unfolded}"
        );
    }

    #[test]
    fn a_cancelled_event_says_so() {
        let text = write(Method::Cancel, &[event("A", "B")]);
        for expected in ["METHOD:CANCEL\r\n", "STATUS:CANCELLED\r\n", "SEQUENCE:2\r\n"] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
