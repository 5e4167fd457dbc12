//! Reads emails that report about an email of Candor: delivery status notifications (RFC 3464), abuse reports
//! (RFC 5965), automatic replies (RFC 3834), and bounces of servers that do not follow these standards.
//!
//! The machine-readable part has priority over the text for people. Without such a part, the text counts only
//! if a mail system wrote the email. If a person writes "user unknown", this is not a bounce.
//!
//! No input causes a panic or an endless loop. An automatic reply never counts as a bounce.

mod content;
mod machine;
mod reply;
mod words;

use machine::Group;

use super::EmailIdentifiers;
use super::report::{Reply, Report, ReportKind};
use crate::base::mime;
use content::{MAX, Mail};

/// Returns what an email reports about emails of Candor: one report for each recipient that it names, and at
/// least one.
pub fn parse(raw: &[u8]) -> Vec<Report> {
    let text = normal(raw);
    let whole = String::from_utf8_lossy(&text);
    let mut mail = Mail::default();
    mime::with_mail(&text, |message| mail.read(message));
    let mut identifiers = EmailIdentifiers::default();
    identifiers.find(&whole);
    // The decoded texts are searched too, because quoted-printable can break a link and base64 can hide it.
    for text in mail.texts.iter().chain(&mail.originals) {
        identifiers.find(text);
    }
    let mut reports = classify(&mail);
    reports.truncate(MAX);
    for report in &mut reports {
        report.identifiers = identifiers.clone();
        report.at = report.at.or(mail.date);
        report.keep(raw);
    }
    reports
}

/// Returns the text with line feeds as line ends and without the line that mailbox files put before an email.
fn normal(raw: &[u8]) -> Vec<u8> {
    let mut text = mime::with_line_feeds(raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw));
    if text.starts_with(b"From ")
        && let Some(end) = text.iter().position(|byte| *byte == b'\n')
    {
        text.drain(..=end);
    }
    text
}

fn classify(mail: &Mail) -> Vec<Report> {
    if let Some(reports) = machine::abuse(mail) {
        return reports;
    }
    let groups: Vec<Group> = mail
        .status
        .iter()
        .flat_map(|text| machine::recipient_groups(text))
        .collect();
    if let Some(reports) = machine::notification(mail, &groups) {
        return reports;
    }
    let system = mail.by_a_system();
    // A gateway may have put the report into another message. If a person forwards a report, the email
    // contains text of the person.
    let wrapper = system || mail.texts.iter().all(|text| text.trim().is_empty());
    if wrapper {
        let groups: Vec<Group> = mail
            .wrapped_status
            .iter()
            .flat_map(|text| machine::recipient_groups(text))
            .collect();
        if let Some(reports) = machine::notification(mail, &groups) {
            return reports;
        }
    }
    if system {
        // If a boundary is broken, the fields are in a text.
        let groups: Vec<Group> = mail
            .texts
            .iter()
            .chain(&mail.wrapped_texts)
            .flat_map(|text| machine::recipient_groups(text))
            .filter(|group| group.get("action").is_some() || group.get("status").is_some())
            .collect();
        if let Some(reports) = machine::notification(mail, &groups) {
            return reports;
        }
        if let Some(reports) = words::bounce(mail) {
            return reports;
        }
        if !mail.status.is_empty() {
            // The report names no recipient. It says that the email failed and does not say why.
            let mut report = Report::new(ReportKind::Soft);
            report.addresses = mail.original_to.iter().take(1).cloned().collect();
            return vec![report];
        }
    }
    if mail.answered_by_itself() {
        return vec![Report::new(ReportKind::AutoReply)];
    }
    let mut report = Report::new(ReportKind::Other);
    if !system {
        report.reply = Some(Reply {
            from: mail.from.clone(),
            text: reply::own_text(mail.texts.first().map_or("", String::as_str)),
        });
    }
    vec![report]
}
