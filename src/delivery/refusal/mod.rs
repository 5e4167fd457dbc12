//! Decides whether a rejection is about the recipient's mailbox. This module does no I/O.
//!
//! A specific enhanced status code (RFC 3463) decides. Many servers send a general code (`5.0.0`) and give
//! the reason only in the text, so then the text decides. If nothing decides, the mailbox is not to blame,
//! because an address must not be suppressed on a guess.
//!
//! All rejections are judged here: a reply to Candor's own connection, a bounce by email, and a report of a
//! provider.

mod phrases;

use std::sync::LazyLock;

use regex::Regex;

use phrases::Facts;

static ENHANCED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // The code must not be part of an IP address, of a version or of a larger number.
    Regex::new(r"(?:^|[^0-9.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:$|[^0-9.]|\.(?:$|[^0-9]))").ok()
});
static REPLY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|[^0-9.#@])([45][0-5][0-9])(?:[ -]|$)").ok());

/// What is to blame for a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The mailbox: it does not exist, it is closed, or its domain accepts no email. Another email would be
    /// rejected too.
    Mailbox,
    /// Anything else: a full mailbox, a policy, a rate limit, the sender, an outage, or an unknown reason.
    Other,
}

/// Returns the first enhanced status code in a text.
pub fn enhanced(text: &str) -> Option<&str> {
    Some(ENHANCED.as_ref()?.captures(text)?.get(1)?.as_str())
}

/// Returns the first code in a text that is not just `X.0.0`. If there is none, it returns the first code.
fn specific(text: &str) -> Option<&str> {
    let first = enhanced(text)?;
    let (mut found, mut rest) = (first, text);
    while found.ends_with(".0.0") {
        let end = rest.find(found)? + found.len();
        rest = &rest[end..];
        match enhanced(rest) {
            Some(next) => found = next,
            None => return Some(first),
        }
    }
    Some(found)
}

/// Returns the first SMTP reply code in a text that reports a failure (4xx or 5xx).
pub fn reply(text: &str) -> Option<u16> {
    REPLY.as_ref()?.captures(text)?.get(1)?.as_str().parse().ok()
}

/// Judges a text by its words. Returns `None` if no known words report a failure.
pub fn judge_words(text: &str) -> Option<FailureCause> {
    let facts = Facts::of(text);
    facts.speak_of_a_failure().then(|| by_words(facts, text))
}

/// Judges by the words alone.
fn by_words(facts: Facts, text: &str) -> FailureCause {
    if facts.clears_the_recipient() {
        return FailureCause::Other;
    }
    // A rejection because of a policy can also contain "unavailable" or "rejected".
    let unexplained = facts.rejected && matches!(reply(text), None | Some(550..=553)) && !facts.policy;
    // "Host not found" can be about the name of the sending server.
    let gone = facts.gone && !facts.listed;
    if gone || (facts.closed && !facts.policy) || unexplained {
        FailureCause::Mailbox
    } else {
        FailureCause::Other
    }
}

/// Judges a failure. `status` is the status code of the report, and `diagnostic` is the text of the server.
/// This function judges both a reply to Candor's own connection (without a `status`) and a failure in a
/// report.
///
/// ```text
/// the words blame the sender, a full mailbox, a rate, a reputation   not the mailbox, for every code
/// a code about the recipient (5.1.1, 5.2.1, 5.4.4 …)                 the mailbox
/// a general code (5.0.0, 5.1.0, 5.2.0, 5.3.0, 5.5.x)                 the words decide
/// a policy (5.7.x)                                                   not the mailbox, unless the words say that there is none
/// anything else, and if nothing decides                              not the mailbox
/// ```
pub fn judge(status: Option<&str>, diagnostic: &str) -> FailureCause {
    let facts = Facts::of(diagnostic);
    let Some(code) = deciding(status.and_then(enhanced), diagnostic) else {
        return match reply(diagnostic) {
            Some(400..500) => FailureCause::Other,
            _ => by_words(facts, diagnostic),
        };
    };
    let mut numbers = code.split('.').map(|part| part.parse::<u16>().unwrap_or(0));
    let (class, subject, detail) = (
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
    );
    if class != 5 || facts.clears_the_recipient() {
        return FailureCause::Other;
    }
    let hard = match (subject, detail) {
        // The mailbox or the domain does not exist, the address has a syntax error, is ambiguous or has
        // moved, or the domain accepts no email.
        (1, 1..=4 | 6 | 10) => true,
        // The mailbox is disabled or accepts no messages.
        (2, 1) => facts.gone || !facts.policy,
        // The mailbox is full, the message is too large, or a mailing list has a problem.
        (2, 2..=4) => false,
        // The domain does not exist or has no route.
        (4, 4 | 310) => true,
        // Microsoft uses this code if the recipient does not exist.
        (4, 1) => facts.gone || facts.rejected,
        // This code is for policies, but some servers also use it for unknown users.
        (7, _) => facts.gone && !facts.listed,
        // This code is about the content.
        (6, _) => false,
        // These codes are about the sender. A general code is handled by the next arm.
        (1, 7 | 8) => false,
        _ => by_words(facts, diagnostic) == FailureCause::Mailbox,
    };
    if hard {
        FailureCause::Mailbox
    } else {
        FailureCause::Other
    }
}

/// Judges a failure that a provider calls permanent and caused by the address. The provider is right unless
/// the words of the server blame something else.
pub fn judge_permanent(diagnostic: &str) -> FailureCause {
    if Facts::of(diagnostic).clears_the_recipient() {
        FailureCause::Other
    } else {
        FailureCause::Mailbox
    }
}

/// Returns the code that decides. This is the code of the report, unless a code in the text is more specific.
fn deciding<'a>(own: Option<&'a str>, diagnostic: &'a str) -> Option<&'a str> {
    let said = specific(diagnostic).filter(|code| !code.starts_with('2'));
    match (own, said) {
        (Some(own), Some(said)) if own.ends_with(".0.0") => {
            Some(if said.ends_with(".0.0") { own } else { said })
        }
        (Some(own), Some(said))
            if own.ends_with(".0")
                && !said.ends_with(".0")
                && own.starts_with('5')
                && said.starts_with('5') =>
        {
            Some(said)
        }
        (own, said) => own.or(said),
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
            (Some("5.1.1"), "", FailureCause::Mailbox),
            (
                Some("5.1.10"),
                "RESOLVER.ADR.RecipientNotFound",
                FailureCause::Mailbox,
            ),
            (
                Some("5.1.8"),
                "501 5.1.8 Sender address rejected",
                FailureCause::Other,
            ),
            (Some("5.2.1"), "550 5.2.1 disabled", FailureCause::Mailbox),
            (Some("5.2.2"), "mailbox full", FailureCause::Other),
            (Some("5.7.26"), "unauthenticated mail", FailureCause::Other),
            (Some("5.7.1"), "550 5.7.1 relaying denied", FailureCause::Other),
            (
                Some("5.7.1"),
                "550 5.7.1 no such user here",
                FailureCause::Mailbox,
            ),
            (Some("5.4.4"), "unable to route", FailureCause::Mailbox),
            (
                Some("5.4.1"),
                "Recipient address rejected: Access denied",
                FailureCause::Mailbox,
            ),
            (Some("5.4.7"), "delivery time expired", FailureCause::Other),
            (
                Some("5.0.0 (permanent failure)"),
                "5.1.0 - Unknown address error 550-'5.7.1 x'",
                FailureCause::Mailbox,
            ),
            (
                Some("5.0.0"),
                "550 #5.1.0 Address rejected.",
                FailureCause::Mailbox,
            ),
            (Some("5.0.0"), "552 mailbox full", FailureCause::Other),
            (Some("5.0.0"), "", FailureCause::Other),
            (Some("5.0.0"), "450 4.2.0 greylisted", FailureCause::Other),
            (Some("4.1.1"), "450 User unknown", FailureCause::Other),
            (Some("4.4.7"), "550 5.1.1 user unknown", FailureCause::Other),
            (Some(""), "Connection timed out", FailureCause::Other),
            (None, "550 user unknown", FailureCause::Mailbox),
            (None, "450 user unknown", FailureCause::Other),
            (None, "550 rejected", FailureCause::Other),
            (None, "something", FailureCause::Other),
        ] {
            assert_eq!(judge(status, text), kind, "{status:?} {text}");
        }
    }
}
