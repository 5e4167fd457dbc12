//! The planned maintenances as a calendar (RFC 5545).

use super::site::Site;
use crate::base::time::Timestamp;
use crate::status::{Maintenance, StatusPage};

/// The largest length of a line, in bytes, without its line break.
const LINE: usize = 75;

/// Escapes a text for a value.
fn value(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Returns a time in UTC, such as `20240314T065600Z`.
fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let digits: String = text
        .chars()
        .take(19)
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    format!("{digits}Z")
}

/// Adds a line, folded as the format asks for.
fn line(out: &mut String, text: &str) {
    let mut length = 0;
    for c in text.chars() {
        if length + c.len_utf8() > LINE {
            out.push_str("\r\n ");
            length = 1;
        }
        out.push(c);
        length += c.len_utf8();
    }
    out.push_str("\r\n");
}

/// Returns the calendar. It always has a time zone, because a calendar must have a component.
pub fn calendar(page: &StatusPage, site: &Site) -> String {
    let mut out = String::new();
    let name = value(&format!("{}: planned maintenance", site.company));
    for text in [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Candor//Status page//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        &format!("NAME:{name}"),
        &format!("X-WR-CALNAME:{name}"),
        "BEGIN:VTIMEZONE",
        "TZID:Etc/UTC",
        "BEGIN:STANDARD",
        "DTSTART:19700101T000000",
        "TZOFFSETFROM:+0000",
        "TZOFFSETTO:+0000",
        "END:STANDARD",
        "END:VTIMEZONE",
    ] {
        line(&mut out, text);
    }
    for one in &page.maintenances {
        event(&mut out, site, one);
    }
    line(&mut out, "END:VCALENDAR");
    out
}

fn event(out: &mut String, site: &Site, one: &Maintenance) {
    for text in [
        "BEGIN:VEVENT".to_owned(),
        format!("UID:{}@{}", one.id, site.authority()),
        format!("DTSTAMP:{}", time(one.updated_at)),
        format!("CREATED:{}", time(one.created_at)),
        format!("LAST-MODIFIED:{}", time(one.updated_at)),
        format!("DTSTART:{}", time(one.starts_at)),
        format!("DTEND:{}", time(one.ends_at)),
        format!("SUMMARY:{}", value(&one.title)),
        format!("DESCRIPTION:{}", value(&one.message)),
        format!("URL:{}", site.home()),
        "TRANSP:TRANSPARENT".to_owned(),
        "END:VEVENT".to_owned(),
    ] {
        line(out, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_folded_between_characters() {
        let mut out = String::new();
        line(&mut out, &format!("SUMMARY:{}", "保守".repeat(60)));
        let lines: Vec<&str> = out.split("\r\n").collect();
        assert!(lines.len() > 4, "{out}");
        assert!(lines.iter().all(|line| line.len() <= LINE), "{out}");
        assert_eq!(
            out.replace("\r\n ", "").trim_end(),
            format!("SUMMARY:{}", "保守".repeat(60))
        );
    }

    #[test]
    fn values_are_escaped_and_times_are_in_utc() {
        assert_eq!(value("a,b;c\\d\ne\u{7}"), "a\\,b\\;c\\\\d\\ne");
        let at = Timestamp::parse("2024-03-14T06:56:07.5Z").expect("a time");
        assert_eq!(time(at), "20240314T065607Z");
    }
}
