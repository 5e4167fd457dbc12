//! Reads bounces without a machine-readable part from their words. Many servers have written such bounces.
//!
//! Only the text of a mail system is read, and only the part before the returned message.

use std::sync::LazyLock;

use regex::Regex;

use super::content::{Mail, speaks_of_failure};
use crate::feedback::field::bare_address;
use crate::feedback::report::{Report, ReportKind};
use crate::feedback::status;

static ADDRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.)*[A-Za-z0-9-]{1,63}",
    )
    .ok()
});

/// Returns the text of the mail system without the returned message.
pub(super) fn own(text: &str) -> String {
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

/// Returns the reports of a bounce that has only words. Returns `None` if the words are not those of a
/// bounce.
pub(super) fn bounce(mail: &Mail) -> Option<Vec<Report>> {
    let own: String = mail
        .texts
        .iter()
        .map(|text| own(text))
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
        ReportKind::Delayed
    } else {
        match status::of_failure(None, &said) {
            // The reason can be in another place than the code.
            ReportKind::Soft if status::enhanced(&said).is_none() && status::reply(&said).is_none() => {
                status::of_words(&own).unwrap_or(ReportKind::Soft)
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

/// Returns whether the server still tries to deliver the email.
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
    if says(&WAITS, subject) {
        return true;
    }
    let (tried, ended) = (says(&WAITS, own), says(&ENDED, own));
    tried && (!ended || own.to_lowercase().contains("warning"))
}

/// Returns the paragraph that contains the reason, as one line.
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

/// Returns the recipients that a bounce in words is about. These are addresses at the beginning of a line. If
/// there are none, it is the first address that is not the sender or a recipient of the bounce itself.
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
