//! Hard or soft: what an enhanced status code (RFC 3463) and a server's words say of an address.
//!
//! The code decides where it is a specific one. Many servers send a general one (`5.0.0`) with the truth in the text, so
//! there the text decides. Where nothing decides, it is soft: an address is not given up on a guess.

use std::sync::LazyLock;

use regex::Regex;

use super::ReportKind;

static ENHANCED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // Not a part of an IP address, of a version or of a larger number.
    Regex::new(r"(?:^|[^0-9.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:$|[^0-9.]|\.(?:$|[^0-9]))").ok()
});
static REPLY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|[^0-9.#@])([45][0-5][0-9])(?:[ -]|$)").ok());

/// The first enhanced status code in a text.
pub fn enhanced(text: &str) -> Option<&str> {
    Some(ENHANCED.as_ref()?.captures(text)?.get(1)?.as_str())
}

/// The first reply code of SMTP in a text that says that something failed.
pub fn reply(text: &str) -> Option<u16> {
    REPLY.as_ref()?.captures(text)?.get(1)?.as_str().parse().ok()
}

/// Words that say that the address will not do, whatever the code.
const GONE: &[&str] = &[
    "user unknown",
    "unknown user",
    "unknown recipient",
    "recipient unknown",
    "unknown address",
    "unknown local part",
    "unknown mailbox",
    "no such user",
    "no such recipient",
    "no such mailbox",
    "no such address",
    "no such local user",
    "no such domain",
    "no such host",
    "no mailbox",
    "no user",
    "not a known user",
    "not a valid recipient",
    "not a valid mailbox",
    "not a registered",
    "invalid recipient",
    "invalid mailbox",
    "invalid address",
    "recipient not found",
    "recipientnotfound",
    "recipnotfound",
    "address not found",
    "mailbox not found",
    "user not found",
    "account not found",
    "domain name not found",
    "host or domain name not found",
    "name or service not known",
    "does not exist",
    "doesn't exist",
    "do not exist",
    "couldn't be found",
    "could not be found",
    "wasn't found",
    "was not found",
    "does not have an account",
    "user doesn't have a",
    "unrouteable address",
    "host unknown",
    "unknown host",
    "account has been disabled",
    "account is disabled",
];

/// More of the same, for mailboxes that were there once.
const CLOSED: &[&str] = &[
    "account disabled",
    "account that you tried to reach is disabled",
    "account is inactive",
    "account inactive",
    "mailbox disabled",
    "mailbox is disabled",
    "mailbox is inactive",
    "mailbox inactive",
    "user is inactive",
    "no longer",
    "account has been suspended",
    "deactivated",
];

/// Words for a mailbox that is there and has no room, or not for this mail.
const FULL: &[&str] = &[
    "quota",
    "mailbox full",
    "mailbox is full",
    "mailbox for user is full",
    "mail box is full",
    "full mailbox",
    "insufficient storage",
    "not enough disk space",
    "not enough storage",
    "no space left",
    "out of storage",
    "disk full",
    "too large",
    "too big",
    "size limit",
    "message size exceeds",
];

/// Words that say that it is not the address, or that it will pass.
const PASSING: &[&str] = &[
    "spam",
    "spf",
    "dkim",
    "dmarc",
    "blocked",
    "blacklist",
    "blocklist",
    "block list",
    "listed",
    "reputation",
    "policy",
    "virus",
    "malware",
    "content rejected",
    "message rejected",
    "relay",
    "rate limit",
    "too many",
    "throttl",
    "greylist",
    "temporar",
    "try again",
    "try later",
    "timed out",
    "timeout",
    "connection refused",
    "loop",
];

fn says(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase().replace('’', "'");
    words.iter().any(|word| text.contains(word))
}

/// What a text says of an address; none where it says nothing that is known here.
pub fn of_words(text: &str) -> Option<ReportKind> {
    // A full mailbox is one that exists; "user unknown" stands in many a policy's refusal.
    if says(text, FULL) {
        Some(ReportKind::Soft)
    } else if says(text, GONE) || says(text, CLOSED) {
        Some(ReportKind::Hard)
    } else if says(text, PASSING) {
        Some(ReportKind::Soft)
    } else {
        None
    }
}

/// What a failure means for its address: `status` as the report has it, `diagnostic` what the server said.
pub fn of_failure(status: Option<&str>, diagnostic: &str) -> ReportKind {
    let own = status.and_then(enhanced);
    let general = |code: &str| code.ends_with(".0.0");
    let code = match own {
        Some(code) if !general(code) => Some(code),
        // The general one says nothing that a specific one in the text does not say better.
        _ => enhanced(diagnostic).filter(|code| !code.starts_with('2')).or(own),
    };
    let Some(code) = code else {
        return match (of_words(diagnostic), reply(diagnostic)) {
            (_, Some(400..500)) => ReportKind::Soft,
            (Some(kind), _) => kind,
            (None, _) => ReportKind::Soft,
        };
    };
    let mut numbers = code.split('.').map(|part| part.parse::<u16>().unwrap_or(0));
    let (class, subject, detail) = (
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
    );
    if class != 5 {
        return ReportKind::Soft;
    }
    match (subject, detail) {
        // About the sender: nothing is said of the recipient.
        (1, 7 | 8) => ReportKind::Soft,
        (1, 0) | (2, 0) => of_words(diagnostic).unwrap_or(ReportKind::Hard),
        (1, _) => ReportKind::Hard,
        // Disabled, not accepting.
        (2, 1) => ReportKind::Hard,
        // Full, too large, a mailing list's own trouble.
        (2, _) => ReportKind::Soft,
        // No such domain: unable to route, the name does not exist.
        (4, 4 | 310) => ReportKind::Hard,
        // Microsoft's way to say that it has no such recipient.
        (4, 1) if says(diagnostic, &["recipient address rejected"]) => ReportKind::Hard,
        (0, 0) => of_words(diagnostic).unwrap_or(ReportKind::Hard),
        (0 | 3 | 4 | 5, _) => of_words(diagnostic).unwrap_or(ReportKind::Soft),
        // Policies: some servers refuse unknown users by one.
        (7, _) if says(diagnostic, GONE) => ReportKind::Hard,
        _ => ReportKind::Soft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_from_addresses_and_versions() {
        for (text, code) in [
            ("550 5.1.1 no", Some("5.1.1")),
            ("smtp;550-5.7.26 x", Some("5.7.26")),
            ("5.0.0 (permanent failure)", Some("5.0.0")),
            ("#5.1.0 Address rejected.", Some("5.1.0")),
            ("said: 5.1.1.", Some("5.1.1")),
            ("host mx[192.0.2.4] said no", None),
            ("from 4.2.2.2", None),
            ("4.2.2.2 said", None),
            ("Server id 15.1.112.19", None),
            ("version 14.3.5", None),
            ("", None),
        ] {
            assert_eq!(enhanced(text), code, "{text}");
        }
    }

    #[test]
    fn reply_codes_are_told_from_other_numbers() {
        for (text, code) in [
            ("550 no", Some(550)),
            ("said: 450 4.1.1 x", Some(450)),
            ("421-wait", Some(421)),
            ("SIZE=1543: x", None),
            ("192.0.2.550 ", None),
            ("in 500 days", Some(500)),
            ("5500 x", None),
        ] {
            assert_eq!(reply(text), code, "{text}");
        }
    }

    #[test]
    fn failures_are_hard_only_where_the_address_is_to_blame() {
        for (status, text, kind) in [
            (Some("5.1.1"), "", ReportKind::Hard),
            (Some("5.1.10"), "RESOLVER.ADR.RecipientNotFound", ReportKind::Hard),
            (
                Some("5.1.8"),
                "501 5.1.8 Sender address rejected",
                ReportKind::Soft,
            ),
            (Some("5.2.1"), "550 5.2.1 disabled", ReportKind::Hard),
            (Some("5.2.2"), "mailbox full", ReportKind::Soft),
            (Some("5.7.26"), "unauthenticated mail", ReportKind::Soft),
            (Some("5.7.1"), "550 5.7.1 relaying denied", ReportKind::Soft),
            (Some("5.7.1"), "550 5.7.1 no such user here", ReportKind::Hard),
            (Some("5.4.4"), "unable to route", ReportKind::Hard),
            (
                Some("5.4.1"),
                "Recipient address rejected: Access denied",
                ReportKind::Hard,
            ),
            (Some("5.4.7"), "delivery time expired", ReportKind::Soft),
            (
                Some("5.0.0 (permanent failure)"),
                "5.1.0 - Unknown address error 550-'5.7.1 x'",
                ReportKind::Hard,
            ),
            (Some("5.0.0"), "550 #5.1.0 Address rejected.", ReportKind::Hard),
            (Some("5.0.0"), "552 mailbox full", ReportKind::Soft),
            (Some("5.0.0"), "", ReportKind::Hard),
            (Some("5.0.0"), "450 4.2.0 greylisted", ReportKind::Soft),
            (Some("4.1.1"), "450 User unknown", ReportKind::Soft),
            (Some("4.4.7"), "550 5.1.1 user unknown", ReportKind::Soft),
            (Some(""), "Connection timed out", ReportKind::Soft),
            (None, "550 user unknown", ReportKind::Hard),
            (None, "450 user unknown", ReportKind::Soft),
            (None, "550 rejected", ReportKind::Soft),
            (None, "something", ReportKind::Soft),
        ] {
            assert_eq!(of_failure(status, text), kind, "{status:?} {text}");
        }
    }
}
