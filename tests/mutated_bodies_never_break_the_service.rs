//! Every hook and the way in for emails get bodies that were changed at random. Each one is answered without a fault of the
//! service, the service stays ready, and every rejection is a problem document.
//!
//! The seed is fixed, so that each run sends the same bodies. Elsewhere proptest looks for new ones.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use candor::alert::provider::fetch::Fetch;
use candor::alert::{provider, source};
use serde_json::{Value, json};

use crate::no_sender_can_break_a_source::right;
use crate::support::sns::{CERTIFICATE, signed};
use crate::support::{Answer, Backend, Env, Http, TestApp, on_both_databases};

on_both_databases!(
    no_mutated_body_breaks_the_service,
    no_certificate_of_sns_breaks_the_service,
);

const SEED: u64 = 0x00ca_2d02;
/// serde reads 128 levels.
const DEEP: usize = 1_280;

/// SplitMix64: the same numbers in each run and on each machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("a small number")
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A body that its provider could send.
fn report(source: &str) -> Value {
    match source {
        "aws_ses" => json!({
            "notificationType": "Bounce",
            "bounce": {"bounceType": "Permanent", "bounceSubType": "General", "feedbackId": "f", "timestamp": "2024-03-14T06:56:30.000Z",
                "bouncedRecipients": [{"emailAddress": "a@example.com", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 no"}]},
            "mail": {"messageId": "0100018e3b2c-aaaa-000000", "timestamp": "2024-03-14T06:56:00.000Z", "destination": ["a@example.com"],
                "headers": [{"name": "Message-ID", "value": "<1.x@example.com>"}]},
        }),
        "mailgun" => json!({
            "signature": {"timestamp": "1710399390", "token": "t", "signature": "s"},
            "event-data": {"event": "failed", "severity": "permanent", "reason": "bounce", "id": "i", "timestamp": 1_710_399_390.5,
                "recipient": "a@example.com", "message": {"headers": {"to": "a@example.com", "message-id": "0100018e3b2c-aaaa-000000"}},
                "delivery-status": {"code": 550, "message": "5.1.1 no"}},
        }),
        "postmark" => {
            json!({"RecordType": "Bounce", "ID": 4_000_000_001_u64, "Type": "HardBounce", "MessageID": "2706ee8a-737c-4285-b032-ccd317af53ed",
            "Details": "smtp;550 5.1.1 no", "Email": "a@example.com", "BouncedAt": "2024-03-14T02:56:30.3963933-04:00", "Content": "Received: x\r\n"})
        }
        _ => {
            json!([{"event": "bounce", "type": "bounce", "email": "a@example.com", "timestamp": 1_710_399_390, "sg_event_id": "e",
            "sg_message_id": "0100018e3b2c-aaaa-000000.x", "smtp-id": "<1.x@example.com>", "status": "5.1.1", "reason": "550 5.1.1 no"}])
        }
    }
}

const REPORT: &str = "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\nTo: candor@localhost\r\n\
    Subject: Undelivered Mail Returned to Sender\r\nDate: Thu, 14 Mar 2024 06:56:00 +0000\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n\
    --b\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n\r\n\
    --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n\
    Final-Recipient: utf-8; a\\x{FC}@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no\r\n\r\n\
    --b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <1.x@example.com>\r\nTo: a@example.com\r\n\r\n--b--\r\n";
const COMPLAINT: &str = "From: fbl@example.net\r\nTo: candor@localhost\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
    --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nOriginal-Rcpt-To: a@example.com\r\n\
    Arrival-Date: Thu, 14 Mar 2024 06:56:00 +0000\r\n\r\n\
    --b\r\nContent-Type: message/rfc822\r\n\r\nTo: a@example.com\r\nSubject: =?utf-8?B?aGVsbG8=?=\r\n\r\nx\r\n--b--\r\n";

/// The pointers of all values in a document.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            places(value, &format!("{at}/{name}"), all);
        }),
        Value::Array(items) => (0..)
            .zip(items)
            .for_each(|(n, value)| places(value, &format!("{at}/{n}"), all)),
        _ => {}
    }
}

/// The document with this text of JSON in place of one of its values.
fn with(random: &mut Random, body: &Value, text: &str) -> Vec<u8> {
    let mut all = Vec::new();
    places(body, "", &mut all);
    let mut body = body.clone();
    // The whole document is replaced elsewhere.
    let at = random.one(&all[1..]).clone();
    *body.pointer_mut(&at).expect("one of its values") = json!("@@@@");
    body.to_string().replace("\"@@@@\"", text).into_bytes()
}

/// A type of content and a body.
type Sent = (&'static str, Vec<u8>);

const TYPES: [&str; 10] = [
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=\"b;\"",
    "multipart/mixed; boundary=b",
    "message/rfc822",
    "text/plain",
    "image/png",
    ";;;=",
    "",
];

/// Bytes that were damaged on their way: cut, sent twice, with a byte changed, with what is no UTF-8, with zeros.
fn damaged(random: &mut Random, media: &'static str, body: &[u8]) -> Vec<Sent> {
    let mut all: Vec<Sent> = Vec::new();
    for _ in 0..3 {
        all.push((media, body[..random.below(body.len())].to_vec()));
    }
    all.push((media, body.repeat(2)));
    all.push((media, body.repeat(40)));
    for odd in [
        &b"\xff"[..],
        b"\xc3\x28",
        b"\xed\xa0\xbc",
        b"\xf0\x9f\x98",
        b"\0",
        b"\0\0\0\0",
        b"\r\n\r\n",
        b"\\ud83c",
        b"\"",
    ] {
        let (head, tail) = body.split_at(random.below(body.len()));
        all.push((media, [head, odd, tail].concat()));
    }
    for _ in 0..3 {
        let mut changed = body.to_vec();
        let at = random.below(changed.len());
        changed[at] ^= 1 << random.below(8);
        all.push((media, changed));
    }
    for media in TYPES {
        all.push((media, body.to_vec()));
    }
    all
}

/// A document of JSON, changed in each way.
fn documents(random: &mut Random, body: &Value) -> Vec<Sent> {
    const MEDIA: &str = "application/json";
    let whole = body.to_string();
    let mut all = damaged(random, MEDIA, whole.as_bytes());
    let arrays = format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP));
    let objects = format!("{}1{}", "{\"a\":".repeat(DEEP), "}".repeat(DEEP));
    let digits = "9".repeat(4_000);
    let long = format!("\"{}\"", "ü".repeat(100_000));
    let texts = [
        arrays.as_str(),
        &objects,
        &json!(arrays).to_string(),
        &json!(objects).to_string(),
        &digits,
        &long,
        "1e999",
        "-1e999",
        "1e-999",
        "18446744073709551616",
        "-9223372036854775809",
        "0.1",
        "\"\\ud83c\"",
        "\"x\\udf0d\\ud83cx\"",
        "\"\\u0000\"",
        "\"a\\u0000@example.com\"",
        "\"\\u001b[31m\\u202e\"",
        "\"2024-99-99T99:99:99Z\"",
        "\"https://[::1\"",
        "null",
        "true",
        "0",
        "\"\"",
        "[]",
        "{}",
        "[[null]]",
        "{\"\": {\"\": \"\"}}",
    ];
    for text in texts {
        all.push((MEDIA, with(random, body, text)));
        all.push((MEDIA, text.as_bytes().to_vec()));
    }
    // Every field twice, the second time with another value.
    if let Value::Object(fields) = body {
        let twice = |odd: &str| {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}:{value},{}:{odd}", json!(name), json!(name)))
                .collect();
            format!("{{{}}}", fields.join(",")).into_bytes()
        };
        all.push((MEDIA, twice("null")));
        all.push((MEDIA, twice("[{}]")));
        // The fields as a form of either kind.
        let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields.iter().map(|(name, value)| (name, text(value))));
        let form = form.finish().into_bytes();
        let parts: String = fields
            .iter()
            .map(|(name, value)| {
                format!(
                    "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{}\r\n",
                    text(value)
                )
            })
            .collect();
        let parts = format!("{parts}--b--\r\n").into_bytes();
        for (media, body) in [
            ("application/x-www-form-urlencoded", form),
            ("multipart/form-data; boundary=b", parts),
        ] {
            all.push((media, body[..random.below(body.len())].to_vec()));
            let mut odd = body.clone();
            odd[random.below(body.len())] = 0xff;
            all.push((media, odd));
            all.push((media, body));
        }
    }
    all
}

/// Emails, changed in each way.
fn mails(random: &mut Random, mail: &str) -> Vec<Sent> {
    const MEDIA: &str = "message/rfc822";
    let mut all = damaged(random, MEDIA, mail.as_bytes());
    for level in [
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
        "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n",
    ] {
        all.push((
            MEDIA,
            format!("From: a@example.com\r\n{}{mail}", level.repeat(DEEP)).into_bytes(),
        ));
    }
    // Each header with something else behind its name.
    for odd in [
        "\u{0}",
        "=?utf-8?B?/////w==?=",
        "<>",
        "; =\"",
        "99999999999999999999",
        "a@b\\x{D83C}\\x{110000}",
        "",
    ] {
        let lines: Vec<String> = mail
            .lines()
            .map(|line| match line.split_once(": ") {
                Some((name, _)) if random.below(3) == 0 => format!("{name}: {odd}"),
                _ => line.to_owned(),
            })
            .collect();
        all.push((MEDIA, lines.join("\r\n").into_bytes()));
    }
    all
}

/// An answer that is no fault of the service. A rejection says why.
fn is_sound(sent: &Sent, answer: Answer) -> bool {
    let status = answer.status;
    assert!(
        (200..500).contains(&status),
        "{status} to {}: {}",
        sent.0,
        String::from_utf8_lossy(&sent.1[..sent.1.len().min(2_000)])
    );
    if status >= 400 {
        answer.expect_problem(status);
    }
    status < 300
}

/// Sends all of it, and answers how many were taken. After each batch the service is ready.
async fn batch(app: &TestApp, by: &Http, to: &str, all: Vec<Sent>) -> usize {
    let mut taken = 0;
    // PostgreSQL waits for the disk more often: it gets every third of these bodies, and SQLite every second.
    let step = if app.env.backend == Backend::Sqlite { 2 } else { 3 };
    for sent in all.into_iter().step_by(step) {
        let answer = by.post_raw(to, sent.0, sent.1.clone()).await;
        taken += usize::from(is_sound(&sent, answer));
    }
    app.anonymous().get("/readyz").await.expect(200);
    taken
}

async fn no_mutated_body_breaks_the_service(env: Env) {
    let app = TestApp::start(&env).await;
    let mut random = Random(SEED);
    let anonymous = app.anonymous();
    let mut taken = 0;
    for source in source::KNOWN.into_iter().chain(provider::SOURCES) {
        let is_provider = provider::is_one(source);
        let made = app
            .post("/api/v1/integrations", json!({"name": source, "source": source}))
            .await
            .expect(201);
        let hook = made["hook_url"].as_str().expect("a URL").to_owned();
        let body = if is_provider {
            report(source)
        } else {
            right(source)
        };
        // What is not changed is taken.
        let whole = anonymous.post(&hook, &body).await;
        assert!((200..300).contains(&whole.status), "{source}: {whole}");
        let mut all = documents(&mut random, &body);
        if matches!(source, "aws_ses" | "aws_sns" | "aws_cloudwatch") {
            let envelope = json!({"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:t",
                "Message": body.to_string(), "Timestamp": "2024-03-14T06:56:00.000Z"});
            all.extend(documents(&mut random, &envelope));
            // A message that is changed within a whole envelope.
            for (media, inner) in documents(&mut random, &body).into_iter().step_by(4) {
                let mut envelope = envelope.clone();
                envelope["Message"] = json!(String::from_utf8_lossy(&inner));
                all.push((media, envelope.to_string().into_bytes()));
            }
        }
        if source == "nagios" {
            let mail = "From: nagios@example.com\r\nSubject: ** PROBLEM Service Alert: db1/Disk is CRITICAL **\r\n\r\n\
                Notification Type: PROBLEM\r\nService: Disk\r\nHost: db1\r\nState: CRITICAL\r\nDate/Time: Thu Mar 14 06:56:00 UTC 2024\r\n";
            all.extend(mails(&mut random, mail));
        }
        if source == "pagerduty" {
            let mut event = body.clone();
            event["routing_key"] = json!(hook.rsplit('/').next().expect("a token"));
            let mutated = documents(&mut random, &event);
            taken += batch(&app, &anonymous, "/v2/enqueue", mutated).await;
        }
        let of_source = batch(&app, &anonymous, &hook, all).await;
        assert!(of_source > 2, "{source}: only {of_source} were understood");
        taken += of_source;
    }
    for mail in [REPORT, COMPLAINT] {
        let all = mails(&mut random, mail);
        let of_mails = batch(&app, &app, "/api/v1/inbound-mail", all).await;
        assert!(of_mails > 2, "only {of_mails} mails were understood");
        let all = mails(&mut random, mail).into_iter().take(3).collect();
        assert_eq!(batch(&app, &anonymous, "/api/v1/inbound-mail", all).await, 0);
    }
    assert!(taken > 300, "only {taken} were understood");
    // What was taken can be read again.
    for path in [
        "/api/v1/incidents",
        "/api/v1/alerts",
        "/api/v1/feedback",
        "/api/v1/suppressions",
        "/api/v1/audit",
    ] {
        app.get(&format!("{path}?limit=500")).await.expect(200);
    }
    app.finish().await;
}

fn pem(der: &[u8]) -> Vec<u8> {
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(der)
    )
    .into_bytes()
}

/// Sequences within sequences, each with its true length.
fn nested(depth: usize) -> Vec<u8> {
    let mut der = Vec::new();
    for _ in 0..depth {
        // Written from the end, and turned round below.
        let length = u32::try_from(der.len()).expect("a short text");
        der.extend(length.to_le_bytes());
        der.extend([0x84, 0x30]);
    }
    der.reverse();
    der
}

async fn no_certificate_of_sns_breaks_the_service(env: Env) {
    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:t";
    let right_one = include_bytes!("fixtures/sns/certificate.pem").to_vec();
    let served = Arc::new(Mutex::new(Ok(Vec::new())));
    let serves = served.clone();
    let fetch = Fetch::by(move |_| serves.lock().expect("no panic").clone());
    let app = TestApp::builder(&env)
        .at("2024-03-14T06:57:00Z")
        .config(|config| config.sns = fetch)
        .start()
        .await;
    let right_text = String::from_utf8(right_one.clone()).expect("a text");
    let der: Vec<u8> = {
        let inner: String = right_text
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        STANDARD.decode(inner).expect("base64")
    };
    let mut random = Random(SEED);
    let mut wrong: Vec<(&str, Result<Vec<u8>, String>)> = vec![
        ("no answer", Err("connection refused".to_owned())),
        ("nothing", Ok(Vec::new())),
        (
            "a page",
            Ok(b"<html><body>503 Service Unavailable</body></html>".to_vec()),
        ),
        ("zeros", Ok(vec![0; 100_000])),
        ("no UTF-8", Ok(vec![0xff; 100_000])),
        ("DER without PEM", Ok(der.clone())),
        ("an empty certificate", Ok(pem(b""))),
        ("a text in PEM", Ok(pem(b"not a certificate"))),
        (
            "no base64",
            Ok(b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n".to_vec()),
        ),
        ("no end", Ok(right_one[..right_one.len() / 2].to_vec())),
        ("huge", Ok(pem(&vec![0x30; 4 * 1024 * 1024]))),
        (
            "a huge length",
            Ok(pem(&[0x30, 0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ),
        ("nested deeply", Ok(pem(&nested(100_000)))),
        ("nested without an end", Ok(pem(&[0x30, 0x80].repeat(100_000)))),
        (
            "sections without an end",
            Ok(b"-----BEGIN CERTIFICATE-----\n".repeat(100_000)),
        ),
        (
            "a key",
            Ok(right_text.replace("CERTIFICATE", "PRIVATE KEY").into_bytes()),
        ),
        ("cut", Ok(pem(&der[..der.len() - 1]))),
        ("something behind it", Ok(pem(&[&der[..], b"x"].concat()))),
    ];
    for _ in 0..20 {
        let mut changed = der.clone();
        // Among its first bytes is what says how it is put together.
        let at = random.below(60);
        changed[at] ^= 1 << random.below(8);
        wrong.push(("a bit changed", Ok(pem(&changed))));
    }
    let mut hooks = Vec::new();
    for source in ["aws_ses", "aws_sns"] {
        let new = json!({"name": source, "source": source, "secret": TOPIC});
        let made = app.post("/api/v1/integrations", new).await.expect(201);
        hooks.push((source, made["hook_url"].as_str().expect("a URL").to_owned()));
    }
    for (index, (name, answer)) in wrong.into_iter().enumerate() {
        for (source, hook) in &hooks {
            let mut body = if *source == "aws_ses" {
                report(source)
            } else {
                json!({"AlarmName": "CPU", "NewStateValue": "ALARM", "StateChangeTime": "2024-03-14T06:50:00.000+0000"})
            };
            if *source == "aws_ses" {
                body["bounce"]["feedbackId"] = json!(format!("{index}"));
            }
            let mut message = signed(
                json!({"Type": "Notification", "MessageId": format!("{source}-{index}"), "TopicArn": TOPIC,
                "Message": body.to_string(), "Timestamp": "2024-03-14T06:56:00.000Z"}),
            );
            // Each at a URL of its own: what was fetched for another one is not used.
            message["SigningCertURL"] =
                json!(CERTIFICATE.replace("-1.pem", &format!("-{source}-{index}.pem")));
            *served.lock().expect("no panic") = answer.clone();
            let refused = app.anonymous().post(hook, &message).await;
            // Amazon is asked to send it again, or the signature does not hold. It is never taken.
            let status = refused.status;
            if name == "a bit changed" && status == 202 {
                // The bit is not a part of the key.
                continue;
            }
            assert!([401, 429, 503].contains(&status), "{name}, {source}: {refused}");
            refused.expect_problem(status);
            app.anonymous().get("/readyz").await.expect(200);
            if status == 503 {
                // It was not kept: the same message is taken once the certificate is there.
                *served.lock().expect("no panic") = Ok(right_one.clone());
                app.anonymous().post(hook, &message).await.expect(202);
            }
        }
    }
    app.finish().await;
}
