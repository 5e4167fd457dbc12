//! Bounces, complaints and replies, by hook and by email, are distinguished: real ones in
//! `../shared/payloads`, if that folder exists, with the facts next to them, and some that are always in this
//! file.

use std::fs;
use std::path::Path;

use candor::feedback::{self, Report, ReportKind, mail};
use proptest::prelude::*;

use ReportKind::{AutoReply, Complaint, Delayed, Delivered, Hard, Other, Soft, Unsubscribed};

/// The expected report of a sample: its kind, its recipient (empty if unknown), and the status code (empty if
/// there is none).
type Expected = (ReportKind, &'static str, &'static str);

/// The samples of each provider, as `feedback::parse` names it. `None` means that the body must be refused.
const HOOKS: [(&str, &str, Option<&[Expected]>); 21] = [
    (
        "aws_ses",
        "anymail_sns_wrapped_bounce_two_recipients.json",
        Some(&[(Hard, "jane@example.com", ""), (Hard, "richard@example.com", "")]),
    ),
    (
        "aws_ses",
        "anymail_sns_wrapped_delivery.json",
        Some(&[(Delivered, "jane@example.com", "")]),
    ),
    (
        "aws_ses",
        "anymail_sns_wrapped_event_publishing_reject.json",
        Some(&[(Soft, "recipient@example.com", "")]),
    ),
    (
        "aws_ses",
        "docs_bounce_with_dsn.json",
        Some(&[(Hard, "jane@example.com", "5.1.1")]),
    ),
    (
        "aws_ses",
        "docs_complaint_with_feedback.json",
        Some(&[(Complaint, "richard@example.com", "")]),
    ),
    (
        "aws_ses",
        "docs_complaint_without_feedback.json",
        Some(&[(Complaint, "richard@example.com", "")]),
    ),
    (
        "aws_ses",
        "docs_delivery.json",
        Some(&[(Delivered, "jane@example.com", "")]),
    ),
    (
        "aws_ses",
        "docs_event_publishing_Bounce.json",
        Some(&[(Hard, "recipient@example.com", "5.1.1")]),
    ),
    (
        "aws_ses",
        "docs_fragment_bounced_recipient_xpostfix_diagnostic.json",
        None,
    ),
    (
        "aws_ses",
        "docs_fragment_mail_object_nonstandard_timestamp.json",
        None,
    ),
    (
        "mailgun",
        "anymail_delivered_event.json",
        Some(&[(Delivered, "recipient@example.com", "")]),
    ),
    ("mailgun", "anymail_delivery_status_is_none_event.json", Some(&[])),
    (
        "mailgun",
        "anymail_failed_permanent_event.json",
        Some(&[(Hard, "invalid@example.com", "5.1.1")]),
    ),
    (
        "mailgun",
        "anymail_failed_temporary_event.json",
        Some(&[(Soft, "undeliverable@nomx.example.com", "")]),
    ),
    (
        "mailgun",
        "anymail_rejected_event.json",
        Some(&[(Soft, "recipient@example.org", "")]),
    ),
    (
        "mailgun",
        "anymail_unsubscribed_event.json",
        Some(&[(Unsubscribed, "recipient@example.com", "")]),
    ),
    (
        "sendgrid",
        "anymail_deferred_event.json",
        Some(&[(Delayed, "recipient@example.com", "")]),
    ),
    (
        "sendgrid",
        "anymail_dropped_invalid_event.json",
        Some(&[(Hard, "invalid@invalid", "")]),
    ),
    (
        "sendgrid",
        "anymail_dropped_unsubscribed_event.json",
        Some(&[(Unsubscribed, "unsubscribe@example.com", "")]),
    ),
    (
        "postmark",
        "anymail_bounce_event.json",
        Some(&[(Hard, "bounce@example.com", "5.1.1")]),
    ),
    (
        "postmark",
        "anymail_delivered_event.json",
        Some(&[(Delivered, "recipient@example.com", "")]),
    ),
];

/// The other samples of Postmark. They are separate, because a resubscription means the opposite of what it
/// looks like.
const SUBSCRIPTIONS: [(&str, ReportKind); 2] = [
    ("anymail_unsubscribe.json", Unsubscribed),
    ("anymail_resubscribe.json", Other),
];

const MAILS: [(&str, &str, &[Expected]); 34] = [
    (
        "dsn",
        "flanker_broken-mime.eml",
        &[(Soft, "info@example.net", "")],
    ),
    // It is called delayed, and the server stopped after five days.
    (
        "dsn",
        "flanker_delayed.eml",
        &[(Soft, "foo@example.com", "4.0.0")],
    ),
    (
        "dsn",
        "flanker_gmail-invalid-address.eml",
        &[(Hard, "awfawfawfawfawfaw@someserverhere.com", "5.1.0")],
    ),
    (
        "dsn",
        "flanker_gmail-no-dns.eml",
        &[(Hard, "user@example.comm", "")],
    ),
    (
        "dsn",
        "flanker_zed.eml",
        &[(
            Hard,
            "asdfasdfasdfasdfasdfasdfewrqertrtyrthsfgdfgadfqeadvxzvz@gmail.com",
            "5.1.1",
        )],
    ),
    (
        "dsn",
        "sisimai_dos_rfc3464-01.eml",
        &[(Hard, "userunknown@bouncehammer.jp", "5.1.1")],
    ),
    (
        "dsn",
        "sisimai_lhost-amazonses-01.eml",
        &[(Hard, "shironeko@example.co.jp", "5.0.0")],
    ),
    (
        "dsn",
        "sisimai_lhost-exchange2007-01.eml",
        &[(Hard, "mikeneko@example.co.jp", "5.1.1")],
    ),
    // A policy about the sender.
    (
        "dsn",
        "sisimai_lhost-exim-01.eml",
        &[(Soft, "kijitora@example.ed.jp", "5.7.0")],
    ),
    (
        "dsn",
        "sisimai_lhost-gmail-01.eml",
        &[(Hard, "userunknown@example.jp", "5.1.1")],
    ),
    (
        "dsn",
        "sisimai_lhost-gsuite-01.eml",
        &[(Hard, "kijitora@example.de", "5.0.0")],
    ),
    (
        "dsn",
        "sisimai_lhost-office365-01.eml",
        &[(Hard, "kijitora@example.com", "5.1.10")],
    ),
    // "Sender address rejected" says nothing about the recipient.
    (
        "dsn",
        "sisimai_lhost-office365-05.eml",
        &[(Soft, "kijitora@example.jp", "5.1.8")],
    ),
    (
        "dsn",
        "sisimai_lhost-opensmtpd-06.eml",
        &[(Delayed, "nekochan@libsisimai.org", "4.4.7")],
    ),
    (
        "dsn",
        "sisimai_lhost-outlook-04.eml",
        &[
            (Hard, "sabineko@example.co.jp", "5.1.1"),
            (Soft, "mikeneko@example.co.jp", "5.2.2"),
        ],
    ),
    (
        "dsn",
        "sisimai_lhost-postfix-01.eml",
        &[(Hard, "r@p351355.pool.example.ne.jp", "5.1.1")],
    ),
    (
        "dsn",
        "sisimai_lhost-postfix-02.eml",
        &[
            (Hard, "filtered@example.co.jp", "5.2.1"),
            (Hard, "userunknown@example.co.jp", "5.1.1"),
        ],
    ),
    (
        "dsn",
        "sisimai_lhost-postfix-05.eml",
        &[(Soft, "kijitora@example.org", "4.1.1")],
    ),
    (
        "dsn",
        "sisimai_lhost-postfix-49.eml",
        &[(Soft, "kijitora-neko-nyaan@ntt.example.ne.jp", "4.0.0")],
    ),
    // A report that names no recipient. The recipient is read from the returned email.
    (
        "dsn",
        "sisimai_lhost-postfix-64.eml",
        &[(Soft, "xxxx@wanadoo.fr", "")],
    ),
    (
        "dsn",
        "sisimai_lhost-sendgrid-03.eml",
        &[(Soft, "kijitora@example.org", "")],
    ),
    (
        "dsn",
        "sisimai_mac_rfc3464-01.eml",
        &[(Hard, "userunknown@bouncehammer.jp", "5.1.1")],
    ),
    ("dsn", "sisimai_not_is-not-bounce-01.eml", &[(Other, "", "")]),
    (
        "dsn",
        "sisimai_rfc3464-01.eml",
        &[(Hard, "userunknown@bouncehammer.jp", "5.1.1")],
    ),
    (
        "dsn",
        "sisimai_rfc3464-09.eml",
        &[(Delayed, "kijitora-cat@mx4.gr3.example.jp", "4.3.0")],
    ),
    (
        "dsn",
        "sisimai_rfc3464-28.eml",
        &[(Delivered, "kijitora@neko.example.jp", "2.1.5")],
    ),
    (
        "dsn",
        "sisimai_rfc3464-34.eml",
        &[(Delayed, "kijitora@example.com", "4.4.1")],
    ),
    (
        "dsn",
        "sisimai_rfc3464-35.eml",
        &[
            (Hard, "kijitora@nyaan.example.com", "5.0.0"),
            (Delayed, "sabatora@cat.example.net", "4.0.0"),
            (Hard, "mikeneko@neko.example.or.jp", "5.0.0"),
        ],
    ),
    ("dsn", "sisimai_rfc3834-01.eml", &[(AutoReply, "", "")]),
    ("arf", "sisimai_arf-01.eml", &[(Complaint, "", "")]),
    (
        "arf",
        "sisimai_arf-14.eml",
        &[(Complaint, "kijitora@y.example.com", "")],
    ),
    (
        "arf",
        "sisimai_arf-17.eml",
        &[
            (Complaint, "kijitora@example.com", ""),
            (Complaint, "sabatora@example.net", ""),
        ],
    ),
    (
        "arf",
        "sisimai_arf-18.eml",
        &[(Other, "kijitora@example.com", "")],
    ),
    (
        "arf",
        "sisimai_arf-19.eml",
        &[(Other, "kijitora@example.org", "")],
    ),
];

/// Returns the files of a folder of samples by name. Empty if the samples do not exist.
fn samples(folder: &str, extension: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/payloads")
        .join(folder);
    let Ok(entries) = fs::read_dir(&path) else {
        eprintln!("{} is not there: its samples are not tested", path.display());
        return Vec::new();
    };
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            (name.to_owned(), fs::read(&path).expect("a sample"))
        })
        .collect();
    files.sort();
    files
}

fn shown(reports: &[Report]) -> Vec<(ReportKind, String, String)> {
    reports
        .iter()
        .map(|report| {
            (
                report.kind,
                report.addresses.first().cloned().unwrap_or_default(),
                report.status.clone().unwrap_or_default(),
            )
        })
        .collect()
}

fn wanted(expected: &[Expected]) -> Vec<(ReportKind, String, String)> {
    expected
        .iter()
        .map(|(kind, address, status)| (*kind, (*address).to_owned(), (*status).to_owned()))
        .collect()
}

/// Returns the content of an SNS envelope, if there is one.
fn unwrapped(body: &[u8]) -> Vec<u8> {
    let json: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    match json["Message"].as_str() {
        Some(message) => message.as_bytes().to_vec(),
        None => body.to_vec(),
    }
}

#[test]
fn every_sample_of_a_provider_is_read_as_its_facts_say() {
    for folder in ["aws_ses", "mailgun", "sendgrid", "postmark"] {
        for (name, body) in samples(folder, "json") {
            let read = feedback::parse(folder, &unwrapped(&body));
            let expected = HOOKS
                .iter()
                .find(|(of, file, _)| *of == folder && *file == name)
                .map(|(_, _, expected)| expected.map(wanted));
            let subscription = SUBSCRIPTIONS.iter().find(|(file, _)| *file == name);
            match (expected, subscription) {
                (Some(Some(expected)), _) => {
                    let batch = read.unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
                    assert_eq!(shown(&batch.reports), expected, "{folder}/{name}");
                    assert_eq!(batch.ignored, usize::from(expected.is_empty()), "{folder}/{name}");
                }
                (Some(None), _) => assert!(read.is_err(), "{folder}/{name} is not a whole body"),
                (None, Some((_, kind))) => {
                    let batch = read.unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
                    assert_eq!(
                        shown(&batch.reports),
                        wanted(&[(*kind, "john@example.com", "")]),
                        "{name}"
                    );
                }
                // A body that was added later must be parsed or refused.
                (None, None) => eprintln!(
                    "{folder}/{name} has no expectation here: {:?}",
                    read.map(|batch| shown(&batch.reports))
                ),
            }
        }
    }
}

#[test]
fn every_mail_among_the_samples_is_read_as_its_facts_say() {
    for folder in ["dsn", "arf"] {
        for (name, body) in samples(folder, "eml") {
            let found = shown(&mail::parse(&body));
            match MAILS.iter().find(|(of, file, _)| *of == folder && *file == name) {
                Some((_, _, expected)) => assert_eq!(found, wanted(expected), "{folder}/{name}"),
                // An email that was added later must have a result.
                None => {
                    eprintln!("{folder}/{name} has no expectation here: {found:?}");
                    assert!(!found.is_empty(), "{folder}/{name}");
                }
            }
        }
    }
}

/// Returns an email with these headers and this text, sent to the bounce address.
fn answer(headers: &str, text: &str) -> Vec<u8> {
    format!(
        "From: Pat <pat@example.org>\r\nTo: bounces@example.com\r\n{headers}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
    )
    .into_bytes()
}

#[test]
fn a_machine_is_known_by_its_headers_in_any_language() {
    for headers in [
        "Subject: Automatisch antwoord: Problem\r\nAuto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All",
        "Subject: =?utf-8?q?Odpowied=C5=BA_automatyczna=3A?= Problem\r\nAuto-Submitted: auto-generated\r\n\
         X-Auto-Response-Suppress: DR, OOF, AutoReply",
        "Subject: =?utf-8?b?6Ieq5YuV5b+c562U?=: Problem\r\nAuto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All",
        "Subject: Re: Problem\r\nAuto-Submitted: auto-replied (vacation)",
        "Subject: Anything\r\nPrecedence: auto_reply",
        // Another header shows it, although this one says "no".
        "Subject: Automaattinen vastaus: x\r\nAuto-Submitted: no\r\nX-Autoreply: yes",
        "Subject: x\r\nAuto-Submitted: no\r\nPrecedence: auto_reply",
        "Subject: x\r\nAuto-Submitted: notification",
        "Subject: Anything\r\nX-Autoreply: yes",
        "Subject: Anything\r\nX-Autorespond: Problem",
        "Subject: Anything\r\nX-Auto-Reply-From: pat@example.org",
        "Subject: Re: x\r\nX-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent",
        // No header shows it, so the first words of the subject decide.
        "Subject: =?utf-8?q?Automatische_Antwort=3A_x?=",
        "Subject: =?utf-8?b?6Ieq5Yqo5Zue5aSNOiB4?=",
        "Subject: Otomatik yanıt: x",
        "Subject: Автоответ: x",
    ] {
        let found = shown(&mail::parse(&answer(headers, "Until Monday.")));
        assert_eq!(found, wanted(&[(AutoReply, "", "")]), "{headers}");
    }
    for (headers, text) in [
        (
            "Return-Path: <>\r\nSubject: Re: Problem",
            "Thanks! user unknown? no longer needed",
        ),
        (
            "Subject: Re: Out of office: Problem",
            "I got your note, thank you.",
        ),
        ("Subject: Away game tickets", "Do you still have some?"),
        (
            "Subject: Re: Problem\r\nAuto-Submitted: no",
            "550 5.1.1 user unknown, I read.",
        ),
        // "no" says that a person wrote it, whatever the subject begins with.
        (
            "Subject: Automaattinen vastaus: Problem\r\nAuto-Submitted: no",
            "Kiitos!",
        ),
        (
            "Subject: Out of office: Problem\r\nAuto-Submitted: NO (a person)",
            "Thanks!",
        ),
        (
            "Subject: =?utf-8?b?6Ieq5Yqo5Zue5aSNOiB4?=\r\nAuto-Submitted: no; x=y",
            "谢谢",
        ),
        (
            "Subject: Re: Problem\r\nX-Auto-Response-Suppress: OOF",
            "It works again.",
        ),
        ("Subject: Re: Problem\r\nPrecedence: bulk", "Which of my files?"),
    ] {
        let found = shown(&mail::parse(&answer(headers, text)));
        assert_eq!(found, wanted(&[(Other, "", "")]), "{headers}: {text}");
    }
}

#[test]
fn the_reason_is_found_wherever_a_report_has_it() {
    for (fields, kind) in [
        (
            "Status: 5.1.0\r\nDiagnostic-Code: smtp; 550 5.1.0 <m1@example.com> sender rejected. AUP#In-1310",
            Soft,
        ),
        (
            "Status: 5.2.0\r\nDiagnostic-Code: smtp; 550 5.2.0 Mail rejete. Mail rejected. ofr_506 [506]",
            Soft,
        ),
        (
            "Status: 5.0.0\r\nX-Supplementary-Info: <192.0.2.9 #5.0.0 smtp; 552 5.2.2 mailbox full, quota exceeded>",
            Soft,
        ),
        (
            "Status: 5.0.0\r\nX-Supplementary-Info: <192.0.2.9 #5.0.0 smtp; 550 5.1.1 user unknown>",
            Hard,
        ),
        (
            "Status: 5.0.0\r\nDiagnostic-Code:\r\nX-Supplementary-Info: <192.0.2.9 #5.0.0 smtp; 550 no such user>",
            Hard,
        ),
        (
            "Status: 5.3.0\r\nDiagnostic-Code: smtp; 550 Unknown E-Mail Address",
            Hard,
        ),
        (
            "Status: 5.3.0\r\nDiagnostic-Code: smtp; 553 5.3.0 Addressee unknown",
            Hard,
        ),
        (
            "Status: 5.1.10\r\nDiagnostic-Code: smtp; 556 5.1.10 Recipient address has null MX",
            Hard,
        ),
        (
            "Status: 5.0.0\r\nDiagnostic-Code: smtp; 554 delivery error: dd This mailbox is disabled (554.30). - mta1",
            Hard,
        ),
    ] {
        let body = notification(&format!(
            "Final-Recipient: rfc822; ann@example.net\r\nAction: failed\r\n{fields}\r\n"
        ));
        let reports = mail::parse(body.as_bytes());
        assert_eq!(reports.len(), 1, "{fields}");
        assert_eq!(reports[0].kind, kind, "{fields}");
        assert!(!reports[0].diagnostic.is_empty(), "{fields}");
    }
}

#[test]
fn mailguns_own_codes_say_why_it_did_not_send() {
    let event = |severity: &str, code: u32, message: &str| {
        let body = serde_json::json!({"event-data": {
            "event": "failed", "severity": severity, "reason": "generic", "recipient": "ann@example.com",
            "delivery-status": {"code": code, "message": message},
            "message": {"headers": {"message-id": "x@y"}}, "timestamp": 1_700_000_000, "id": "e",
        }});
        let batch = feedback::parse("mailgun", body.to_string().as_bytes()).expect("an event");
        (batch.reports[0].kind, batch.reports[0].lost)
    };
    for severity in ["permanent", "temporary"] {
        assert_eq!(
            event(severity, 606, "Not delivering to unsubscribed address"),
            (Unsubscribed, true)
        );
        assert_eq!(
            event(
                severity,
                607,
                "Not delivering to a user who marked your messages as spam"
            ),
            (Complaint, true)
        );
    }
    assert_eq!(
        event("permanent", 605, "Not delivering to previously bounced address"),
        (Hard, true)
    );
    assert_eq!(
        event("permanent", 550, "5.1.1 The email account does not exist"),
        (Hard, true)
    );
    assert_eq!(
        event("permanent", 550, "5.7.1 Message rejected due to policy"),
        (Soft, true)
    );
    assert_eq!(event("permanent", 552, "5.2.2 mailbox full"), (Soft, true));
    assert_eq!(event("temporary", 450, "4.2.1 try later"), (Soft, false));
}

#[test]
fn whom_a_complaint_is_about_is_read_from_each_field_that_says_it() {
    let complaint = |fields: &str, to: &str| {
        format!(
            "From: feedback@isp.example\r\nTo: fbl@example.com\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nA complaint.\r\n\r\n\
             --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nVersion: 1\r\n{fields}\r\n\r\n\
             --b\r\nContent-Type: message/rfc822\r\n\r\nFrom: candor@example.com\r\nTo: {to}\r\nSubject: x\r\n\r\ntext\r\n--b--\r\n"
        )
    };
    for (fields, to, address) in [
        (
            "Removal-Recipient: ann@example.net",
            "undisclosed recipients:;",
            "ann@example.net",
        ),
        (
            "Removal-Recipient: <ann@example.net>",
            "redacted@isp.example",
            "ann@example.net",
        ),
        (
            "Original-Rcpt-To: <bob@example.net>\r\nRemoval-Recipient: ann@example.net",
            "x@example.net",
            "bob@example.net",
        ),
        ("User-Agent: x", "undisclosed recipients:;", ""),
        (
            "User-Agent: x",
            "\"undisclosed recipients\" <undisclosed-recipients@isp.example>",
            "",
        ),
        (
            "Original-Rcpt-To: undisclosed recipients",
            "undisclosed-recipients:;",
            "",
        ),
    ] {
        let found = shown(&mail::parse(complaint(fields, to).as_bytes()));
        assert_eq!(found, wanted(&[(Complaint, address, "")]), "{fields}, {to}");
    }
}

/// Returns a bounce for one recipient in the format of RFC 3464.
fn notification(fields: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example.net (Mail Delivery System)\r\nTo: candor@example.com\r\nSubject: Undelivered\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nIt did not arrive.\r\n\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n{fields}\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nTo: ann@example.net\r\nSubject: x\r\n\r\n--b--\r\n"
    )
}

#[track_caller]
fn says(mail: &str, kind: ReportKind, address: &str) {
    let reports = mail::parse(mail.as_bytes());
    let found: Vec<(ReportKind, &str)> = reports
        .iter()
        .map(|report| (report.kind, report.addresses.first().map_or("", String::as_str)))
        .collect();
    assert_eq!(found, [(kind, address)], "{mail}");
}

#[test]
fn the_machines_part_of_a_notification_decides() {
    for (action, status, diagnostic, kind) in [
        ("failed", "5.1.1", "smtp; 550 5.1.1 User unknown", Hard),
        ("Failed", "5.1.1 (bad destination mailbox address)", "", Hard),
        ("failed", "5.2.2", "smtp; 552 5.2.2 mailbox full", Soft),
        (
            "failed",
            "5.7.26",
            "smtp; 550-5.7.26 unauthenticated mail is blocked",
            Soft,
        ),
        ("failed", "4.4.7", "smtp; delivery time expired", Soft),
        ("delayed", "4.4.1", "smtp; 550 5.1.1 User unknown", Delayed),
        ("Delayed", "5.0.0", "", Delayed),
        ("delivered", "2.0.0", "", Delivered),
        ("relayed", "2.0.0", "", Delivered),
        ("expanded", "2.0.0", "", Delivered),
        ("expired", "", "Connection timed out", Soft),
    ] {
        let fields = format!(
            "Final-Recipient: rfc822; ann@example.net\r\nAction: {action}\r\nStatus: {status}\r\nDiagnostic-Code: {diagnostic}\r\n"
        );
        says(&notification(&fields), kind, "ann@example.net");
    }
    // With only line feeds, with only carriage returns, and after the separator of a mailbox file.
    let fields = "Final-Recipient: rfc822; ann@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n";
    let mail = notification(fields);
    says(&mail.replace("\r\n", "\n"), Hard, "ann@example.net");
    says(&mail.replace("\r\n", "\r"), Hard, "ann@example.net");
    says(
        &format!("From MAILER-DAEMON Thu Mar 14 06:56:00 2024\r\n{mail}"),
        Hard,
        "ann@example.net",
    );
}

#[test]
fn the_names_of_a_forwarded_recipient_are_all_kept() {
    let fields = "Original-Recipient: rfc822;ann+2Bnews@example.net\r\nFinal-Recipient: rfc822;ann@elsewhere.example\r\n\
                  Action: failed\r\nStatus: 5.1.1\r\n";
    let reports = mail::parse(notification(fields).as_bytes());
    assert_eq!(
        reports[0].addresses,
        [
            "ann@elsewhere.example",
            "ann+2Bnews@example.net",
            "ann+news@example.net"
        ]
    );
}

#[test]
fn bounces_that_follow_no_standard_are_read_by_their_words() {
    let from = "From: MAILER-DAEMON@mx.example.net\r\nTo: candor@example.com\r\n";
    for (subject, body, kind, address) in [
        (
            "failure notice",
            "Hi. This is the qmail-send program at mx.example.net.\r\nI'm afraid I wasn't able to deliver your message to the following addresses.\r\n\
             This is a permanent error; I've given up. Sorry it didn't work out.\r\n\r\n<ann@example.net>:\r\n\
             Sorry, no mailbox here by that name. (#5.1.1)\r\n\r\n--- Below this line is a copy of the message.\r\n\r\nReturn-Path: <candor@example.com>\r\nTo: ann@example.net\r\n",
            Hard,
            "ann@example.net",
        ),
        (
            "Mail delivery failed: returning message to sender",
            "A message that you sent could not be delivered to one or more of its recipients. This is a permanent error.\r\n\
             The following address(es) failed:\r\n\r\n  ann@example.net\r\n    Unrouteable address\r\n\r\n------ This is a copy of the message, including all the headers. ------\r\n\r\nTo: other@example.net\r\n",
            Hard,
            "ann@example.net",
        ),
        (
            "Warning: message 1abc delayed 24 hours",
            "A message that you sent has not yet been delivered to one or more of its recipients after more than 24 hours.\r\n\
             The address to which it has not been delivered is:\r\n\r\n  ann@example.net\r\n\r\nNo action is required on your part. Delivery attempts will continue for some time.\r\n",
            Delayed,
            "ann@example.net",
        ),
        (
            "Delivery failure",
            "Your message could not be delivered:\r\n\r\n  ann@example.net\r\n    552 The mailbox is over its quota\r\n",
            Soft,
            "ann@example.net",
        ),
    ] {
        let mail = format!("{from}Subject: {subject}\r\nContent-Type: text/plain\r\n\r\n{body}");
        says(&mail, kind, address);
    }
}

#[test]
fn what_people_and_machines_answer_is_no_bounce() {
    let mail = |headers: &str, body: &str| {
        format!(
            "From: Ann <ann@example.net>\r\nTo: candor@example.com\r\n{headers}Content-Type: text/plain\r\n\r\n{body}"
        )
    };
    let away = "I am away until May. Your message was not delivered to anybody else: 550 5.1.1 user unknown.";
    for headers in [
        "Auto-Submitted: auto-replied\r\nSubject: Re: x\r\n",
        "Auto-Submitted: auto-replied (vacation)\r\nSubject: x\r\n",
        "X-Autoreply: yes\r\nSubject: x\r\n",
        "Precedence: auto_reply\r\nSubject: x\r\n",
        "Subject: Out of Office: x\r\n",
        "Subject: Automatic reply: x\r\n",
        "Return-Path: <>\r\nSubject: Automatische Antwort: x\r\n",
    ] {
        says(&mail(headers, away), AutoReply, "");
    }
    says(
        &mail(
            "Subject: Re: x\r\n",
            "You wrote to me that 550 5.1.1 user unknown. Why?",
        ),
        Other,
        "",
    );
    // A person forwards a bounce of their own email.
    let bounce =
        notification("Final-Recipient: rfc822; bob@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n");
    let forwarded = format!(
        "From: Ann <ann@example.net>\r\nTo: candor@example.com\r\nSubject: look at this\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"o\"\r\n\r\n--o\r\nContent-Type: text/plain\r\n\r\nDo you know why?\r\n\
         --o\r\nContent-Type: message/rfc822\r\n\r\n{bounce}\r\n--o--\r\n"
    );
    says(&forwarded, Other, "");
    // A gateway that wraps a bounce adds no text.
    let wrapped = forwarded.replace("Do you know why?", "");
    says(&wrapped, Hard, "bob@example.net");
}

#[test]
fn a_complaint_is_told_from_what_looks_like_one() {
    for (type_, kind) in [
        ("abuse", Complaint),
        ("fraud", Complaint),
        ("virus", Complaint),
        ("other", Complaint),
        ("opt-out", Unsubscribed),
        ("not-spam", Other),
        ("auth-failure", Other),
    ] {
        let mail = format!(
            "From: fbl@example.net\r\nTo: abuse@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nA report.\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
             Feedback-Type: {type_}\r\nUser-Agent: x/1\r\nVersion: 1\r\nOriginal-Rcpt-To: <ann@example.net>\r\n\r\n\
             --b\r\nContent-Type: text/rfc822-header\r\n\r\nSubject: x\r\n\r\n--b--\r\n"
        );
        says(&mail, kind, "ann@example.net");
    }
}

#[test]
fn what_is_still_tried_is_not_lost() {
    let lost = |source: &str, body: &str| {
        let batch = feedback::parse(source, body.as_bytes()).expect("a body");
        (batch.reports[0].kind, batch.reports[0].lost)
    };
    let failed = |severity: &str, reason: &str| {
        lost(
            "mailgun",
            &format!(
                r#"{{"event-data": {{"event": "failed", "severity": "{severity}", "reason": "{reason}", "recipient": "a@example.com"}}}}"#
            ),
        )
    };
    assert_eq!(failed("temporary", "generic"), (Soft, false));
    assert_eq!(failed("permanent", "bounce"), (Hard, true));
    assert_eq!(failed("permanent", "old"), (Soft, true));
    assert_eq!(failed("permanent", "suppress-unsubscribe"), (Unsubscribed, true));
    assert_eq!(failed("permanent", "suppress-complaint"), (Complaint, true));
    let grid = |fields: &str| {
        lost(
            "sendgrid",
            &format!(r#"[{{"email": "a@example.com", {fields}}}]"#),
        )
    };
    assert_eq!(
        grid(r#""event": "bounce", "type": "bounce", "status": "5.1.1""#),
        (Hard, true)
    );
    assert_eq!(
        grid(r#""event": "bounce", "type": "blocked", "status": "5.7.1""#),
        (Soft, true)
    );
    assert_eq!(grid(r#""event": "deferred""#), (Delayed, false));
    assert_eq!(
        grid(r#""event": "dropped", "reason": "Bounced Address""#),
        (Hard, true)
    );
    assert_eq!(
        grid(r#""event": "dropped", "reason": "Unsubscribed Address""#),
        (Unsubscribed, true)
    );
    assert_eq!(grid(r#""event": "spamreport""#), (Complaint, false));
    let mark = |type_: &str| {
        lost(
            "postmark",
            &format!(r#"{{"RecordType": "Bounce", "ID": 1, "Type": "{type_}", "Email": "a@example.com"}}"#),
        )
    };
    assert_eq!(mark("HardBounce"), (Hard, true));
    assert_eq!(mark("SoftBounce"), (Soft, true));
    assert_eq!(mark("Transient"), (Delayed, false));
    assert_eq!(mark("AutoResponder"), (AutoReply, false));
    assert_eq!(mark("SpamComplaint"), (Complaint, false));
    let ses = |bounce: &str, recipient: &str| {
        lost(
            "aws_ses",
            &format!(
                r#"{{"notificationType": "Bounce", "mail": {{"messageId": "x"}}, "bounce": {{{bounce},
               "bouncedRecipients": [{{"emailAddress": "a@example.com"{recipient}}}]}}}}"#
            ),
        )
    };
    assert_eq!(
        ses(r#""bounceType": "Permanent", "bounceSubType": "General""#, ""),
        (Hard, true)
    );
    assert_eq!(
        ses(r#""bounceType": "Transient", "bounceSubType": "MailboxFull""#, ""),
        (Soft, true)
    );
    // An out-of-office note: no server has reported a failure.
    assert_eq!(
        ses(r#""bounceType": "Transient", "bounceSubType": "General""#, ""),
        (AutoReply, false)
    );
    let transient = r#""bounceType": "Transient", "bounceSubType": "General""#;
    assert_eq!(ses(transient, r#", "status": "4.4.1""#), (Soft, true));
    // The domain does not exist.
    assert_eq!(ses(transient, r#", "status": "5.4.4""#), (Hard, true));
    assert_eq!(
        ses(
            r#""bounceType": "Undetermined", "bounceSubType": "Undetermined""#,
            ""
        ),
        (Soft, true)
    );
}

#[test]
fn mailguns_older_webhooks_are_read_too() {
    let body = "event=dropped&recipient=ann%40example.net&code=605&error=Not+delivering+to+previously+bounced+address\
                &Message-Id=%3C1.x%40example.com%3E&timestamp=1534108637&token=t&signature=s";
    let batch = feedback::parse("mailgun", body.as_bytes()).expect("a body");
    assert_eq!(shown(&batch.reports), wanted(&[(Hard, "ann@example.net", "")]));
    assert_eq!(
        feedback::mailgun::signature(body.as_bytes()).map(|signature| signature.token),
        Some("t".to_owned())
    );
}

/// Parts of bounces in any order and number.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "From: MAILER-DAEMON@x\r\n",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n",
        "Content-Type: multipart/mixed; boundary=\"b\"\r\n",
        "Content-Type: message/delivery-status\r\n\r\n",
        "Content-Type: message/feedback-report\r\n\r\n",
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: text/rfc822-headers\r\n\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "\r\n--b\r\n",
        "--b--\r\n",
        "Final-Recipient: rfc822; a@b.example\r\n",
        "Original-Recipient: rfc822;a+2\r\n",
        "Action: failed\r\n",
        "Status: 5.1.1\r\n",
        "Diagnostic-Code: smtp; 550 5.1.1 user unknown\r\n",
        "Feedback-Type: abuse\r\n",
        "Date: Thu, 99 Apr 99999 99:99:99 +9999\r\n",
        "X-Failed-Recipients: <>,a@b,@\r\n",
        "Subject: =?utf-8?B?4p?= Undelivered\r\n",
        "\r\n",
        "From ",
        "<a@b.example>: 550 5.1.1 no\r\n",
        "bounces+1.00000000000000000000@example.com\r\n",
        "1.01890000-0000-7000-8000-000000000000@example.com\r\n",
    ]);
    prop_oneof![
        4 => known.prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_are_too_much_for_a_parser(body in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(!mail::parse(&body).is_empty());
        for source in ["aws_ses", "mailgun", "sendgrid", "postmark"] {
            let _ = feedback::parse(source, &body);
            let _ = feedback::mailgun::signature(&body);
        }
    }

    #[test]
    fn no_mail_made_of_pieces_of_bounces_is_too_much(pieces in prop::collection::vec(piece(), 0..40)) {
        let mail = pieces.concat();
        let reports = mail::parse(mail.as_bytes());
        prop_assert!(!reports.is_empty() && reports.len() <= 100);
        for report in reports {
            prop_assert!(report.lost == matches!(report.kind, Hard | Soft));
            prop_assert!(report.addresses.iter().all(|address| address.contains('@')));
        }
    }

    #[test]
    fn no_json_is_too_much(text in r#"\{"(event|notificationType|RecordType|event-data|mail|bounce|Type)": ?("(bounce|Bounce|failed)"|\{\}|\[\]|null|1e999|\{"event": ?"failed"\})(, "(mail|bounce|Email|recipient)": ?(\{"bouncedRecipients": ?\[(1|\{\}|"x")\]\}|"@"|[0-9]{1,30}))?\}"#) {
        for source in ["aws_ses", "mailgun", "sendgrid", "postmark"] {
            let _ = feedback::parse(source, text.as_bytes());
        }
    }
}

#[test]
fn a_nested_message_that_ends_a_part_of_its_parent_is_read() {
    let mail = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\
        Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\n\r\n--b--\r\n";
    assert_eq!(mail::parse(mail.as_bytes()).len(), 1);
}

#[test]
fn the_words_of_more_servers_say_whether_a_bounce_is_permanent() {
    let bounce = |status: &str, said: &str| {
        let fields = format!(
            "Final-Recipient: rfc822; ann@example.net\r\nAction: failed\r\nStatus: {status}\r\nDiagnostic-Code: smtp; {said}\r\n"
        );
        mail::parse(notification(&fields).as_bytes())[0].kind
    };
    for (status, said) in [
        (
            "5.1.1",
            "550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the address",
        ),
        (
            "5.4.1",
            "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)",
        ),
        (
            "5.0.0",
            "554 delivery error: dd This user doesn't have a yahoo.com account (ann@example.net) [-5]",
        ),
        (
            "5.0.0",
            "550 Requested action not taken: mailbox unavailable. No such user here",
        ),
        ("5.2.1", "550 5.2.1 The account has been discontinued"),
        (
            "5.7.1",
            "550 5.7.1 <ann@example.net>: Recipient address rejected: user unknown in virtual mailbox table",
        ),
        (
            "5.1.2",
            "550 5.1.2 Host unknown (Name server: example.net: host not found)",
        ),
    ] {
        assert_eq!(bounce(status, said), Hard, "{status} {said}");
    }
    for (status, said) in [
        (
            "5.2.2",
            "552 5.2.2 The recipient's inbox is out of storage space and inactive",
        ),
        (
            "5.0.0",
            "552 Mailbox limit exceeded for this address; quota is 1 GB",
        ),
        (
            "5.7.509",
            "550 5.7.509 Access denied, sending domain example.com does not pass DMARC verification and has a DMARC policy of reject",
        ),
        (
            "5.7.1",
            "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3140)",
        ),
        (
            "5.1.8",
            "550 5.1.8 <candor@example.com>: Sender address rejected: Domain not found",
        ),
        ("5.3.4", "552 5.3.4 Message size exceeds fixed limit"),
        ("5.0.0", "554 5.4.6 Hop count exceeded - possible mail loop"),
        (
            "5.7.28",
            "550 5.7.28 Our system has detected an unusual rate of unsolicited mail originating from your IP address",
        ),
    ] {
        assert_eq!(bounce(status, said), Soft, "{status} {said}");
    }
}
