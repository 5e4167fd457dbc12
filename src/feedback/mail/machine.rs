//! Reads the machine-readable parts of an email: delivery status (RFC 3464) and feedback reports (RFC 5965).

use super::content::{Mail, seconds};
use super::words;
use crate::base::time::Timestamp;
use crate::feedback::field::bare_address;
use crate::feedback::report::{Report, ReportKind};
use crate::feedback::status;

pub(super) fn abuse(mail: &Mail) -> Option<Vec<Report>> {
    let fields: Vec<Group> = mail.feedback.iter().flat_map(|text| groups_of(text)).collect();
    let type_ = fields
        .iter()
        .find_map(|group| group.get("feedback-type"))?
        .to_lowercase();
    let kind = match type_.trim() {
        "abuse" | "fraud" | "virus" | "other" | "miscategorized" => ReportKind::Complaint,
        "opt-out" | "opt-out-list" => ReportKind::Unsubscribed,
        // The report is about authentication, or says that an email is not spam.
        _ => ReportKind::Other,
    };
    let all = |name: &'static str| -> Vec<&str> { fields.iter().flat_map(|group| group.all(name)).collect() };
    // Microsoft and others name the recipient in a field that is not in the standard.
    let mut recipients: Vec<String> = ["original-rcpt-to", "removal-recipient"]
        .into_iter()
        .map(|name| {
            all(name)
                .into_iter()
                .flat_map(recipient_spellings)
                .collect::<Vec<_>>()
        })
        .find(|found| !found.is_empty())
        .unwrap_or_default();
    if recipients.is_empty() {
        // The address of the recipient is often redacted, both in the report and in the returned email.
        recipients = mail
            .original_to
            .iter()
            .filter(|address| !address.contains("redacted"))
            .cloned()
            .collect();
    }
    let at = ["arrival-date", "received-date"]
        .iter()
        .find_map(|name| all(name).first().and_then(|text| date(text)));
    let report = |address: Option<String>| Report {
        addresses: address.into_iter().collect(),
        at,
        diagnostic: format!("feedback report: {type_}"),
        ..Report::new(kind)
    };
    Some(match recipients.is_empty() {
        true => vec![report(None)],
        false => recipients
            .into_iter()
            .map(|address| report(Some(address)))
            .collect(),
    })
}

/// A group of fields, about the whole email or about one recipient. The names are in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Group(Vec<(String, String)>);

impl Group {
    pub(super) fn get(&self, name: &'static str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    fn names_a_recipient(&self) -> bool {
        self.get("final-recipient").is_some() || self.get("original-recipient").is_some()
    }
}

/// Returns every group of fields in a text.
fn groups_of(text: &str) -> Vec<Group> {
    let mut groups = vec![Group::default()];
    for line in text.lines() {
        if line.trim().is_empty() {
            groups.push(Group::default());
            continue;
        }
        let Some(group) = groups.last_mut() else { break };
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = group.0.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let name = name.trim().to_lowercase();
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name {
            continue;
        }
        // Some reports have no empty line between two recipients.
        let again = matches!(name.as_str(), "final-recipient" | "original-recipient")
            && group.0.iter().any(|(other, _)| *other == name);
        if again {
            groups.push(Group::default());
        }
        if let Some(group) = groups.last_mut() {
            group.0.push((name, value.trim().to_owned()));
        }
    }
    groups.retain(|group| !group.0.is_empty());
    groups
}

/// Returns the groups that are about a recipient.
pub(super) fn recipient_groups(text: &str) -> Vec<Group> {
    let mut found: Vec<Group> = Vec::new();
    for group in groups_of(text) {
        if group.names_a_recipient() {
            found.push(group);
            continue;
        }
        // Some reports have an additional empty line between a recipient and the result.
        let rest = group.get("action").is_some() || group.get("status").is_some();
        if let Some(last) = found.last_mut()
            && rest
            && last.get("action").is_none()
            && last.get("status").is_none()
        {
            last.0.extend(group.0);
        }
    }
    found
}

pub(super) fn notification(mail: &Mail, groups: &[Group]) -> Option<Vec<Report>> {
    let reports: Vec<Report> = groups.iter().map(|group| of_recipient(mail, group)).collect();
    (!reports.is_empty()).then_some(reports)
}

fn of_recipient(mail: &Mail, group: &Group) -> Report {
    let action = group.get("action").unwrap_or_default().to_lowercase();
    let action = action.split([' ', '(', ';']).next().unwrap_or_default();
    let code = group.get("status").and_then(status::enhanced);
    let diagnostic = group
        .get("diagnostic-code")
        .filter(|text| !text.trim().is_empty())
        // Reports of Cisco appliances contain the reason only in this field: `<192.0.2.9 #5.0.0 smtp; 552
        // 5.2.2 full>`.
        .or_else(|| group.get("x-supplementary-info").map(|text| text.trim_matches(['<', '>'])))
        .map(|text| match text.split_once(';') {
            // The part before the semicolon is the type of the code, as in `smtp; 550 …`.
            Some((type_, said)) if !type_.trim().contains(' ') || type_.trim().ends_with(" smtp") => said.trim(),
            _ => text,
        })
        .unwrap_or_default();
    // Use the words of the machine-readable part. If there are none, the text for people is used below.
    let said = match (diagnostic.is_empty(), group.get("status")) {
        (false, _) => diagnostic.to_owned(),
        (true, Some(status)) if status.contains('(') => status.to_owned(),
        _ => String::new(),
    };
    let of_failure = || {
        let people = || {
            mail.texts
                .first()
                .map(|text| words::own(text))
                .unwrap_or_default()
        };
        if said.is_empty() && code.is_none_or(|code| code.ends_with(".0.0")) {
            status::of_failure(code, &people())
        } else {
            status::of_failure(code, &said)
        }
    };
    let kind = match (action, code.and_then(|code| code.chars().next())) {
        ("delayed" | "delay", _) => ReportKind::Delayed,
        ("delivered" | "relayed" | "expanded" | "deliverable" | "delivery", _) => ReportKind::Delivered,
        ("failed" | "failure" | "failed-permanently" | "expired" | "undeliverable" | "error", _) => {
            of_failure()
        }
        (_, Some('2')) => ReportKind::Delivered,
        (_, Some('5')) => of_failure(),
        // The attempt failed for now. The report does not say whether it is repeated.
        (_, Some('4')) => ReportKind::Delayed,
        _ => ReportKind::Other,
    };
    let mut addresses = Vec::new();
    for name in ["final-recipient", "original-recipient", "x-actual-recipient"] {
        for value in group.all(name) {
            for address in recipient_spellings(value) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
    }
    Report {
        addresses,
        at: group.get("last-attempt-date").and_then(date),
        status: code.map(str::to_owned),
        diagnostic: said,
        ..Report::new(kind)
    }
}

/// Returns the address in a field such as `rfc822; ann@example.com`, unchanged and decoded. RFC 3461 writes
/// `+` as `+2B`, and RFC 6533 writes `é` as `\x{E9}`. The first spelling is the one that people see. An address
/// can contain `+2B` itself, so only `\x{E9}` is decoded in the first spelling.
fn recipient_spellings(value: &str) -> Vec<String> {
    let text = match value.split_once(';') {
        // The part before the semicolon is a type and not a part of an address.
        Some((type_, address)) if !type_.contains('@') => address,
        _ => value,
    };
    let Some(found) = bare_address(text) else {
        return Vec::new();
    };
    let mut spellings = Vec::from_iter(decode_unicode(&found));
    spellings.push(found);
    let decoded: Vec<String> = spellings.iter().filter_map(|text| decode_xtext(text)).collect();
    spellings.extend(decoded);
    spellings
}

/// Decodes `\x{E9}` to its character. Returns `None` if the text contains no such code or an invalid one.
fn decode_unicode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut parts = text.split("\\x{");
    decoded.push_str(parts.next()?);
    let mut changed = false;
    for part in parts {
        let (digits, rest) = part.split_once('}')?;
        let number = u32::from_str_radix(digits, 16)
            .ok()
            .filter(|_| digits.len() <= 6)?;
        decoded.push(char::from_u32(number)?);
        decoded.push_str(rest);
        changed = true;
    }
    changed.then_some(decoded)
}

fn decode_xtext(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let mut changed = false;
    while let Some(byte) = rest.next() {
        if byte != b'+' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        if !digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
        {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        changed = true;
    }
    changed.then(|| String::from_utf8(bytes).ok()).flatten()
}

fn date(text: &str) -> Option<Timestamp> {
    let date = mail_parser::DateTime::parse_rfc822(text)?;
    date.is_valid().then(|| seconds(date.to_timestamp())).flatten()
}
