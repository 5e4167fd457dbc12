//! Mails that come back: delivery status notifications (RFC 3464), abuse reports (RFC 5965), automatic replies
//! (RFC 3834), and the bounces of servers that follow none of them.
//!
//! The machine's part decides over the part for people. Without one, words are believed only of a mail that a mail
//! system wrote: a person who writes "user unknown" has not bounced.
//!
//! Must never happen here: a panic or an endless loop on any bytes, or an answer taken for a bounce.

use std::sync::LazyLock;

use mail_parser::{HeaderValue, Message, MessageParser, MessagePart, MimeHeaders, PartType};
use regex::Regex;

use super::{Kind, Marks, Report, bare_address, status};
use crate::time::Timestamp;

/// How deep messages within messages are looked into.
const DEPTH: usize = 6;
/// Recipients of one report that are taken.
const MOST: usize = 100;

/// What a mail says of mails of ours: one report for each recipient that it names, and at least one.
pub fn parse(raw: &[u8]) -> Vec<Report> {
    let text = normal(raw);
    let whole = String::from_utf8_lossy(&text);
    let parsed = MessageParser::default().parse(text.as_slice());
    let mut mail = Mail::default();
    if let Some(message) = &parsed {
        mail.read(message);
    }
    let mut marks = Marks::default();
    marks.find(&whole);
    // Once more as decoded: a link may be broken by quoted-printable, or hidden by base64.
    for text in mail.texts.iter().chain(&mail.originals) {
        marks.find(text);
    }
    let mut reports = classify(&mail);
    reports.truncate(MOST);
    for report in &mut reports {
        report.marks = marks.clone();
        report.at = report.at.or(mail.date);
        report.keep(raw);
    }
    reports
}

/// With line feeds alone, and without the line that mailboxes put before a mail.
fn normal(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    let mut bytes = raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw).iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                if bytes.peek() == Some(&&b'\n') {
                    bytes.next();
                }
                text.push(b'\n');
            }
            byte => text.push(*byte),
        }
    }
    if text.starts_with(b"From ")
        && let Some(end) = text.iter().position(|byte| *byte == b'\n')
    {
        text.drain(..=end);
    }
    text
}

/// What matters of a mail.
#[derive(Default)]
struct Mail {
    /// Sender, as address and name, in lower case.
    from: String,
    from_name: String,
    /// Addresses that it went to, in lower case.
    to: Vec<String>,
    subject: String,
    /// Every header that has no structure of its own here, by name in lower case.
    headers: Vec<(String, String)>,
    /// `report-type` of multipart/report.
    report_type: String,
    date: Option<Timestamp>,
    /// message/delivery-status of the mail itself.
    status: Vec<String>,
    /// The same of a message within it.
    wrapped_status: Vec<String>,
    /// message/feedback-report.
    feedback: Vec<String>,
    /// Texts for people, decoded; of HTML without its tags.
    texts: Vec<String>,
    /// Texts of messages within it.
    wrapped_texts: Vec<String>,
    /// What came back: headers and text of the messages that it holds.
    originals: Vec<String>,
    /// To whom these were.
    original_to: Vec<String>,
}

impl Mail {
    fn read(&mut self, message: &Message<'_>) {
        if let Some(from) = message.from().and_then(|from| from.first()) {
            self.from = from.address().unwrap_or_default().to_lowercase();
            self.from_name = from.name().unwrap_or_default().to_lowercase();
        }
        self.to = addresses(message);
        self.subject = message.subject().unwrap_or_default().to_owned();
        self.date = message
            .date()
            .filter(|date| date.is_valid())
            .and_then(|date| seconds(date.to_timestamp()));
        for header in message.headers() {
            let name = header.name().to_lowercase();
            let value = message
                .raw_message
                .get(header.offset_start() as usize..header.offset_end() as usize)
                .map(|raw| String::from_utf8_lossy(raw).trim().to_owned())
                .unwrap_or_default();
            if name == "content-type"
                && let HeaderValue::ContentType(type_) = &header.value
            {
                self.report_type = type_.attribute("report-type").unwrap_or_default().to_lowercase();
            }
            self.headers.push((name, value));
        }
        self.parts(message, 0);
    }

    fn parts(&mut self, message: &Message<'_>, depth: usize) {
        for part in &message.parts {
            let media = media_type(part);
            match (&part.body, media.as_str()) {
                (PartType::Multipart(_), _) => {}
                (PartType::Message(inner), _) => {
                    if depth == 0 {
                        self.original_to.extend(addresses(inner));
                        self.originals
                            .push(String::from_utf8_lossy(&inner.raw_message).into_owned());
                    }
                    if depth < DEPTH {
                        self.parts(inner, depth + 1);
                    }
                }
                (body, "message/delivery-status" | "message/global-delivery-status") => {
                    let text = lossy(body);
                    if depth == 0 {
                        self.status.push(text);
                    } else {
                        self.wrapped_status.push(text);
                    }
                }
                (body, "message/feedback-report") => {
                    if depth <= 1 {
                        self.feedback.push(lossy(body));
                    }
                }
                (
                    body,
                    "text/rfc822-headers" | "text/rfc822-header" | "text/rfc822" | "message/global-headers",
                ) => {
                    let text = lossy(body);
                    if let Some(headers) = MessageParser::default().parse_headers(text.as_bytes()) {
                        self.original_to.extend(addresses(&headers));
                    }
                    self.originals.push(text);
                }
                (PartType::Text(text), _) if depth == 0 => self.texts.push(text.to_string()),
                (PartType::Html(html), _) if depth == 0 => self.texts.push(without_tags(html)),
                (PartType::Text(text), _) => self.wrapped_texts.push(text.to_string()),
                (PartType::Html(html), _) => self.wrapped_texts.push(without_tags(html)),
                _ => {}
            }
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a mail system wrote it.
    fn by_a_system(&self) -> bool {
        const USERS: [&str; 8] = [
            "mailer-daemon",
            "postmaster",
            "mailerdaemon",
            "mail-daemon",
            "mail.daemon",
            "bounce",
            "bounces",
            "double-bounce",
        ];
        const NAMES: [&str; 7] = [
            "mail delivery",
            "mailer-daemon",
            "mailer daemon",
            "postmaster",
            "mail administrator",
            "delivery subsystem",
            "system administrator",
        ];
        let user = self.from.split('@').next().unwrap_or_default();
        USERS.contains(&user)
            || NAMES.iter().any(|name| self.from_name.contains(name))
            || self.report_type == "delivery-status"
            || self.header("x-failed-recipients").is_some()
            || (self.without_sender() && speaks_of_failure(&self.subject))
    }

    /// Whether its envelope had no sender, as that of a bounce has none.
    fn without_sender(&self) -> bool {
        self.header("return-path")
            .or(self.header("x-envelope-from"))
            .is_some_and(|path| path.trim() == "<>")
    }

    /// Whether a machine answered for somebody (RFC 3834, and what was customary before it).
    fn answered_by_itself(&self) -> bool {
        static SUBJECT: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(
                r"(?i)^\s*(auto(matic|mated)?[ -]?(reply|response|answer|antwort)\b|autoreply|autoresponse|auto:|out of (the )?office|away\b|on vacation|vacation\b|abwesen|automatische (antwort|r.ponse)|r.ponse automatique|respuesta autom|risposta automatica|i am (currently )?(away|out of))",
            )
            .ok()
        });
        let says = |name: &str, words: &[&str]| {
            self.header(name).is_some_and(|value| {
                let value = value.to_lowercase();
                words.iter().any(|word| value.starts_with(word))
            })
        };
        says("auto-submitted", &["auto-replied", "auto-notified"])
            || ["x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply"]
                .iter()
                .any(|name| {
                    self.header(name)
                        .is_some_and(|value| !value.eq_ignore_ascii_case("no"))
                })
            || says("precedence", &["auto_reply", "auto-reply"])
            || says("x-precedence", &["auto_reply", "auto-reply"])
            || says("x-auto-response-suppress", &["all"]) && self.subject_says(&SUBJECT)
            || self.subject_says(&SUBJECT)
    }

    fn subject_says(&self, pattern: &LazyLock<Option<Regex>>) -> bool {
        pattern
            .as_ref()
            .is_some_and(|pattern| pattern.is_match(&self.subject))
    }
}

fn media_type(part: &MessagePart<'_>) -> String {
    part.content_type()
        .map(|type_| format!("{}/{}", type_.ctype(), type_.subtype().unwrap_or_default()).to_lowercase())
        .unwrap_or_default()
}

fn lossy(body: &PartType<'_>) -> String {
    match body {
        PartType::Text(text) | PartType::Html(text) => text.to_string(),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        PartType::Message(message) => String::from_utf8_lossy(&message.raw_message).into_owned(),
        PartType::Multipart(_) => String::new(),
    }
}

fn addresses(message: &Message<'_>) -> Vec<String> {
    message
        .to()
        .into_iter()
        .flat_map(|to| to.iter())
        .filter_map(|to| to.address())
        .take(MOST)
        .map(str::to_lowercase)
        .collect()
}

fn seconds(seconds: i64) -> Option<Timestamp> {
    (0..253_402_300_800)
        .contains(&seconds)
        .then(|| Timestamp::from_micros(seconds * 1_000_000))
}

fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut tag = false;
    for letter in html.chars() {
        match (letter, tag) {
            ('<', _) => tag = true,
            ('>', true) => {
                tag = false;
                text.push('\n');
            }
            (letter, false) => text.push(letter),
            _ => {}
        }
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

fn speaks_of_failure(text: &str) -> bool {
    static FAILURE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?i)undeliver|not deliver|could ?n[o']t be delivered|unable to deliver|delivery (status|fail|has failed|error|problem|notification|report|unsuccess)|delivery to .{0,80} failed|fail(ed|ure) (to deliver|notice|delivery)|returned mail|returning (message|mail|to sender)|returned to sender|mail (delivery|system) (fail|error)|mail delivery|non[- ]?(delivery|remis)|delayed|still being retried|has not been delivered|was not delivered|was rejected|unzustellbar|nicht zugestellt|failed permanently|permanent (error|failure)|fatal error",
        )
        .ok()
    });
    FAILURE.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

fn classify(mail: &Mail) -> Vec<Report> {
    if let Some(reports) = abuse(mail) {
        return reports;
    }
    let groups: Vec<Group> = mail
        .status
        .iter()
        .flat_map(|text| recipient_groups(text))
        .collect();
    if let Some(reports) = notification(mail, &groups) {
        return reports;
    }
    let system = mail.by_a_system();
    // Somebody's gateway may have put the report into a message of its own. A person who forwards one has words of
    // their own around it.
    let wrapper = system || mail.texts.iter().all(|text| text.trim().is_empty());
    if wrapper {
        let groups: Vec<Group> = mail
            .wrapped_status
            .iter()
            .flat_map(|text| recipient_groups(text))
            .collect();
        if let Some(reports) = notification(mail, &groups) {
            return reports;
        }
    }
    if system {
        // A broken boundary leaves the fields in a text.
        let groups: Vec<Group> = mail
            .texts
            .iter()
            .chain(&mail.wrapped_texts)
            .flat_map(|text| recipient_groups(text))
            .filter(|group| group.get("action").is_some() || group.get("status").is_some())
            .collect();
        if let Some(reports) = notification(mail, &groups) {
            return reports;
        }
        if let Some(reports) = words(mail) {
            return reports;
        }
        if !mail.status.is_empty() {
            // A report that names nobody: it failed, and why is not told.
            let mut report = Report::new(Kind::Soft);
            report.addresses = mail.original_to.iter().take(1).cloned().collect();
            return vec![report];
        }
    }
    vec![if mail.answered_by_itself() {
        Report::new(Kind::AutoReply)
    } else {
        Report::new(Kind::Other)
    }]
}

// ---- RFC 5965

fn abuse(mail: &Mail) -> Option<Vec<Report>> {
    let fields: Vec<Group> = mail.feedback.iter().flat_map(|text| groups_of(text)).collect();
    let type_ = fields
        .iter()
        .find_map(|group| group.get("feedback-type"))?
        .to_lowercase();
    let kind = match type_.trim() {
        "abuse" | "fraud" | "virus" | "other" | "miscategorized" => Kind::Complaint,
        "opt-out" | "opt-out-list" => Kind::Unsubscribed,
        // Of authentication, or the opposite of a complaint.
        _ => Kind::Other,
    };
    let all = |name: &'static str| -> Vec<&str> { fields.iter().flat_map(|group| group.all(name)).collect() };
    let mut recipients: Vec<String> = all("original-rcpt-to")
        .into_iter()
        .filter_map(bare_address)
        .collect();
    if recipients.is_empty() {
        // Often blackened, in the report and in the mail.
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

// ---- RFC 3464

/// Fields that belong together: of the whole mail, or of one recipient. Names are in lower case.
#[derive(Clone, Debug, Default)]
struct Group(Vec<(String, String)>);

impl Group {
    fn get(&self, name: &'static str) -> Option<&str> {
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

/// Every group of fields in a text.
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
        // The blank line between two recipients is missing at times.
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

/// The groups that are about a recipient.
fn recipient_groups(text: &str) -> Vec<Group> {
    let mut found: Vec<Group> = Vec::new();
    for group in groups_of(text) {
        if group.names_a_recipient() {
            found.push(group);
            continue;
        }
        // At others there is one too many, between a recipient and what became of it.
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

fn notification(mail: &Mail, groups: &[Group]) -> Option<Vec<Report>> {
    let reports: Vec<Report> = groups.iter().map(|group| of_recipient(mail, group)).collect();
    (!reports.is_empty()).then_some(reports)
}

fn of_recipient(mail: &Mail, group: &Group) -> Report {
    let action = group.get("action").unwrap_or_default().to_lowercase();
    let action = action.split([' ', '(', ';']).next().unwrap_or_default();
    let code = group.get("status").and_then(status::enhanced);
    let diagnostic = group
        .get("diagnostic-code")
        .map(|text| match text.split_once(';') {
            // The type of the code, as in `smtp; 550 …`.
            Some((type_, said)) if !type_.trim().contains(' ') => said.trim(),
            _ => text,
        })
        .unwrap_or_default();
    // The words of the machine's part, or else what it says for people.
    let said = match (diagnostic.is_empty(), group.get("status")) {
        (false, _) => diagnostic.to_owned(),
        (true, Some(status)) if status.contains('(') => status.to_owned(),
        _ => String::new(),
    };
    let of_failure = || {
        let people = || mail.texts.first().map(|text| own_words(text)).unwrap_or_default();
        if said.is_empty() && code.is_none_or(|code| code.ends_with(".0.0")) {
            status::of_failure(code, &people())
        } else {
            status::of_failure(code, &said)
        }
    };
    let kind = match (action, code.and_then(|code| code.chars().next())) {
        ("delayed" | "delay", _) => Kind::Delayed,
        ("delivered" | "relayed" | "expanded" | "deliverable" | "delivery", _) => Kind::Delivered,
        ("failed" | "failure" | "failed-permanently" | "expired" | "undeliverable" | "error", _) => {
            of_failure()
        }
        (_, Some('2')) => Kind::Delivered,
        (_, Some('5')) => of_failure(),
        // It failed for now, and whether it is tried again is not told.
        (_, Some('4')) => Kind::Delayed,
        _ => Kind::Other,
    };
    let mut addresses = Vec::new();
    for name in ["final-recipient", "original-recipient", "x-actual-recipient"] {
        for value in group.all(name) {
            let text = value.split_once(';').map_or(value, |(_, address)| address);
            let found = bare_address(text);
            // RFC 3461 writes + as +2B there.
            let plain = found.as_deref().and_then(decode_xtext);
            for address in found.into_iter().chain(plain) {
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

// ---- Everybody else

static ADDRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.)*[A-Za-z0-9-]{1,63}",
    )
    .ok()
});

/// What a mail system says of the failure, without the message that it returns.
fn own_words(text: &str) -> String {
    static RETURNED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?im)^[\s>*#=_-]*(original (message|mail)( headers?)?\s*(follows|:|-|\.|$)|(the )?original message (follows|was|headers)|returned message( follows)?|message headers? follow|(this|below|following|what follows) is (a|the) (copy|original|message)|below (this line )?is (a|the) |copy of (the|your) (original )?message|your (original )?message (follows|is (attached|below|included))|unsent message( (follows|below))?|message from .{0,40} returned|forwarded message|start of returned message|header of the original)",
        )
        .ok()
    });
    let end = RETURNED
        .as_ref()
        .and_then(|pattern| {
            pattern
                .find_iter(text)
                .map(|found| found.start())
                .find(|start| *start > 0)
        })
        .unwrap_or(text.len());
    let mut end = end.min(8_000);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// A bounce in words alone; none where the words are not those of one.
fn words(mail: &Mail) -> Option<Vec<Report>> {
    let own: String = mail
        .texts
        .iter()
        .map(|text| own_words(text))
        .collect::<Vec<_>>()
        .join("\n");
    let failed = mail.header("x-failed-recipients");
    if failed.is_none()
        && !speaks_of_failure(&mail.subject)
        && !speaks_of_failure(&own)
        && status::of_words(&own).is_none()
    {
        return None;
    }
    let named: Vec<String> = match failed {
        Some(list) => list.split(',').filter_map(bare_address).collect(),
        None => recipients(mail, &own),
    };
    let said = reason(&own);
    let kind = if waits(&mail.subject, &own) {
        Kind::Delayed
    } else {
        match status::of_failure(None, &said) {
            // The reason may stand elsewhere than the code.
            Kind::Soft if status::enhanced(&said).is_none() && status::reply(&said).is_none() => {
                status::of_words(&own).unwrap_or(Kind::Soft)
            }
            kind => kind,
        }
    };
    let report = |address: Option<String>| Report {
        addresses: address.into_iter().collect(),
        status: status::enhanced(&said).map(str::to_owned),
        diagnostic: said.clone(),
        ..Report::new(kind)
    };
    Some(match named.is_empty() {
        true => vec![report(None)],
        false => named.into_iter().map(|address| report(Some(address))).collect(),
    })
}

/// Whether it is still being tried.
fn waits(subject: &str, own: &str) -> bool {
    static WAITS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?i)warning (message )?only|do(es)? not need to re-?send|will (continue to )?be retried|still being retried|will (keep|continue) (on )?(trying|to try|attempting)|has not (yet )?been delivered|delivery (status notification|of your message)?.{0,20}\b(delay|delayed)\b|has been delayed|is delayed|will (retry|try again)|delivery attempts will continue",
        )
        .ok()
    });
    static ENDED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)failed permanently|permanent (error|failure)|giving up|given up|will not (be retried|retry|try)|gave up|undeliverable|could not be delivered").ok()
    });
    let says = |pattern: &LazyLock<Option<Regex>>, text: &str| {
        pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
    };
    says(&WAITS, subject)
        || (says(&WAITS, own) && !(says(&ENDED, own) && !own.to_lowercase().contains("warning")))
}

/// The line that tells why, with what follows it in the same paragraph.
fn reason(own: &str) -> String {
    let paragraphs: Vec<String> = own
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty())
        .collect();
    paragraphs
        .iter()
        .find(|paragraph| status::enhanced(paragraph).is_some_and(|code| !code.starts_with('2')))
        .or_else(|| {
            paragraphs
                .iter()
                .find(|paragraph| status::reply(paragraph).is_some())
        })
        .or_else(|| {
            paragraphs
                .iter()
                .find(|paragraph| status::of_words(paragraph).is_some())
        })
        .or_else(|| paragraphs.iter().find(|paragraph| speaks_of_failure(paragraph)))
        .cloned()
        .unwrap_or_default()
}

/// Whom a bounce in words is about: addresses that stand alone or lead a line, or else the first that is not the one
/// it came from or went to.
fn recipients(mail: &Mail, own: &str) -> Vec<String> {
    let Some(pattern) = ADDRESS.as_ref() else {
        return Vec::new();
    };
    let foreign = |address: &str| {
        let address = address.to_lowercase();
        address != mail.from && !mail.to.contains(&address) && !address.starts_with("postmaster@")
    };
    let mut led = Vec::new();
    for line in own.lines() {
        let line = line.trim_start_matches([' ', '\t', '<', '*', '-', '>', '"', '\'']);
        let Some(found) = pattern.find(line).filter(|found| found.start() == 0) else {
            continue;
        };
        let rest = line[found.end()..].trim_start_matches(['>', '"', '\'']).trim();
        let alone = rest.is_empty() || rest.starts_with([':', '(', '.', '<', ',', '-']);
        if alone
            && foreign(found.as_str())
            && !led
                .iter()
                .any(|other: &String| other.eq_ignore_ascii_case(found.as_str()))
        {
            led.push(found.as_str().to_owned());
        }
    }
    if !led.is_empty() {
        return led;
    }
    pattern
        .find_iter(own)
        .map(|found| found.as_str().to_owned())
        .find(|address| foreign(address))
        .or_else(|| mail.original_to.first().cloned())
        .into_iter()
        .collect()
}
