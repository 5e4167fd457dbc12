//! Variants of the formats: the same senders with another version, another template or another way of
//! sending.

use candor::alert::source::{self, Alert, Batch, Refusal, Request};
use serde_json::{Value, json};

fn sent(media: &str, body: impl Into<Vec<u8>>) -> Request {
    let mut request = Request::json(body);
    request
        .headers
        .insert("content-type".to_owned(), media.to_owned());
    request
}

fn read(source: &str, request: &Request) -> Result<Batch, Refusal> {
    source::parse(source, None, request)
}

#[track_caller]
fn only(source: &str, request: &Request) -> Alert {
    let batch = read(source, request).unwrap_or_else(|refusal| panic!("{source}: {refusal:?}"));
    assert_eq!(batch.alerts.len(), 1, "{source}: {batch:?}");
    batch.alerts.into_iter().next().expect("an alert")
}

#[track_caller]
fn of_json(source: &str, body: &Value) -> Alert {
    only(source, &Request::json(body.to_string()))
}

#[track_caller]
fn is(alert: &Alert, key: &str, firing: bool) {
    assert_eq!(
        (alert.fingerprint.as_str(), alert.firing),
        (key, firing),
        "{alert:?}"
    );
}

fn began(alert: &Alert) -> Option<String> {
    alert.started_at.map(|at| at.to_string())
}

const ICINGA: &str = "***** Icinga 2 Service Monitoring on mon.example *****\n\n==> disk on db1 is CRITICAL! <==\n\n\
                      Info:    DISK CRITICAL - 97% = full\n\nWhen:    2024-03-14 09:50:00 +0300\n\
                      Service: disk (Display Name: \"The disk\")\nHost:    db1 (Display Name: \"Database 1\")\nIPv4:    192.0.2.1\n";

#[test]
fn icinga_says_the_state_in_the_headline() {
    let alert = only("nagios", &sent("text/plain", ICINGA));
    is(&alert, "db1/disk", true);
    assert_eq!(alert.severity, "critical");
    assert_eq!(alert.text, "DISK CRITICAL - 97% = full");
    assert_eq!(began(&alert).as_deref(), Some("2024-03-14T06:50:00Z"));
    // The end of the same problem, in the newer text, from a command that sends it as a form.
    let newer = "***** Service Monitoring on mon.example *****\n\ndisk on db1 is OK!\n\nInfo:    DISK OK\n\n\
                 When:    2024-03-14 10:00:00 +0300\nService: disk\nHost:    db1\n";
    is(
        &only("nagios", &sent("application/x-www-form-urlencoded", newer)),
        "db1/disk",
        false,
    );
    // A host, and the older form with a question mark.
    let host = "***** Icinga 2 Host Monitoring on mon *****\n\n==> db1 is DOWN! <==\n\nInfo?    PING CRITICAL\nWhen?    2024-03-14 09:50:00 +0300\nHost?    db1 (192.0.2.1)\n";
    is(&only("nagios", &sent("text/plain", host)), "db1", true);
    // In a field of a form or of JSON.
    is(
        &of_json("nagios", &json!({"token": "t", "message": ICINGA})),
        "db1/disk",
        true,
    );
}

#[test]
fn a_mail_is_read_however_it_is_written() {
    let headers = "From: icinga@mon.example\nTo: hook@candor.example\nSubject: [PROBLEM] disk on db1 is CRITICAL!\nMessage-ID: <1@mon.example>\nDate: Thu, 14 Mar 2024 06:50:05 +0000\nMIME-Version: 1.0\n";
    let mut mails: Vec<(&str, String)> = Vec::new();
    // Correct quoted-printable, and with a bare `=`.
    let proper = ICINGA.replace('=', "=3D");
    for text in [ICINGA, &proper] {
        mails.push((
            "quoted-printable",
            format!("{headers}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n{text}"),
        ));
    }
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(ICINGA);
    let folded: Vec<&str> = encoded
        .as_bytes()
        .chunks(60)
        .map(|line| std::str::from_utf8(line).expect("ASCII"))
        .collect();
    mails.push((
        "base64",
        format!(
            "{headers}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n{}\n",
            folded.join("\n")
        ),
    ));
    let html = "<html><body><p>==&gt; disk on db1 is CRITICAL! &lt;==</p><table><tr><th>When:</th><td>2024-03-14 09:50:00 +0300</td></tr>\
                <tr><th>Service:</th><td>disk</td></tr><tr><th>Host:</th><td>db1</td></tr></table></body></html>";
    mails.push((
        "HTML alone",
        format!("{headers}Content-Type: text/html\n\n{html}\n"),
    ));
    mails.push((
        "several parts",
        format!("{headers}Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\n{ICINGA}\n--b\nContent-Type: text/html\n\n{html}\n--b--\n"),
    ));
    mails.push((
        "forwarded",
        format!("From: a@b.example\nSubject: Fwd: disk\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: text/plain\n\nSee below\n--c\nContent-Type: message/rfc822\n\n{headers}Content-Type: text/plain\n\n{ICINGA}\n--c--\n"),
    ));
    let quoted: String = ICINGA.lines().map(|line| format!("> {line}\n")).collect();
    mails.push((
        "quoted",
        format!("{headers}Content-Type: text/plain\n\nFYI\n\n{quoted}"),
    ));
    for (how, mail) in &mails {
        let batch = read("nagios", &sent("message/rfc822", mail.clone()))
            .unwrap_or_else(|refusal| panic!("{how}: {refusal:?}"));
        assert_eq!(batch.alerts.len(), 1, "{how}: {batch:?}");
        is(&batch.alerts[0], "db1/disk", true);
    }
    // The ID of the email is that of the message.
    let first = only("nagios", &sent("message/rfc822", mails[0].1.clone()));
    assert_eq!(first.message_id.as_deref(), Some("1@mon.example"));
    // A subject that still says PROBLEM does not count if the text says that all is well.
    let over = format!(
        "{headers}Content-Type: text/plain\n\nNotification Type: PROBLEM\n\nService: disk\nHost: db1\nState: OK\n"
    );
    is(&only("nagios", &sent("text/plain", over)), "db1/disk", false);
    // An email with a very deep nesting of parts does not end the process.
    let deep = format!(
        "Subject: x\n{}",
        "Content-Type: message/rfc822\n\n".repeat(40_000)
    );
    assert!(read("nagios", &sent("message/rfc822", deep)).is_err());
}

#[test]
fn zabbix_says_it_in_many_ways() {
    let formatted = |state: &str| json!({"alert_uid": "981", "title": "Disk is full on db1", "state": state, "message": "m"});
    is(&of_json("zabbix", &formatted("alerting")), "981", true);
    is(&of_json("zabbix", &formatted("ok")), "981", false);
    let began = "Problem started at 12:51:50 on 2024.03.14\nProblem name: Disk is full\nHost: db1\nSeverity: High\nOriginal problem ID: 981\n";
    let ended = "Problem has been resolved at 12:53:50 on 2024.03.14\nProblem name: Disk is full\nProblem duration: 2m\nHost: db1\nSeverity: High\nOriginal problem ID: 981\n";
    for (text, firing) in [(began, true), (ended, false)] {
        is(&only("zabbix", &sent("text/plain", text)), "981", firing);
        is(
            &of_json("zabbix", &json!({"to": "ops", "subject": "s", "message": text})),
            "981",
            firing,
        );
        let form: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("message", text)
            .finish();
        is(
            &only("zabbix", &sent("application/x-www-form-urlencoded", form)),
            "981",
            firing,
        );
    }
    let macros = json!({"EVENT.ID": "5", "EVENT.VALUE": "1", "EVENT.NAME": "n", "EVENT.NSEVERITY": "5", "HOST.NAME": "h"});
    let alert = of_json("zabbix", &macros);
    is(&alert, "5", true);
    assert_eq!(alert.severity, "disaster");
    let refused = read(
        "zabbix",
        &Request::json(json!({"event_id": "5", "host": "h"}).to_string()),
    )
    .expect_err("no status");
    assert!(refused.1.contains("{EVENT.STATUS}"), "{refused:?}");
}

#[test]
fn datadogs_link_may_stand_in_the_text() {
    let body = json!({"title": "[Triggered] CPU is high", "alert_transition": "Triggered",
        "body": "%%%\nSee https://docs.example/x, or the [Monitor Status](https://app.datadoghq.com/monitors/221164084?group=a) · [Edit](https://app.datadoghq.com/monitors/221164084/edit)\n%%%"});
    let alert = of_json("datadog", &body);
    is(&alert, "221164084", true);
    assert_eq!(
        alert.link.as_deref(),
        Some("https://app.datadoghq.com/monitors/221164084?group=a")
    );
}

#[test]
fn opsgenies_actions_bring_what_they_have() {
    let alert = of_json(
        "opsgenie",
        &json!({"action": "Close", "alert": {"alertId": "a-1"}}),
    );
    is(&alert, "a-1", false);
    assert_eq!(alert.keys, ["a-1"]);
    let both = of_json(
        "opsgenie",
        &json!({"action": "Create", "alert": {"alertId": "a-1", "alias": "disk", "message": "m"}}),
    );
    assert_eq!(both.keys, ["a-1", "disk"]);
}

#[test]
fn older_and_newer_bodies_of_the_same_senders_are_read() {
    // Pingdom before 2016, and a change event that is sent as an alert.
    let legacy = |description: &str, action: &str| json!({"check": "77", "checkname": "shop", "host": "a.example", "action": action, "incidentid": 1, "description": description});
    is(&of_json("pingdom", &legacy("down", "assign")), "77", true);
    is(&of_json("pingdom", &legacy("up", "notify_of_close")), "77", false);
    let change =
        json!({"routing_key": "r", "payload": {"summary": "Deployed", "timestamp": "2024-03-14T06:50:00Z"}});
    assert!(
        read("pagerduty", &Request::json(change.to_string()))
            .expect("understood")
            .alerts
            .is_empty()
    );
    // An event without the fields that PagerDuty requires is still an event.
    is(
        &of_json(
            "pagerduty",
            &json!({"event_action": "trigger", "dedup_key": "k", "payload": {"summary": "s"}}),
        ),
        "k",
        true,
    );
    // CloudWatch through SNS, raw, and through EventBridge: one alarm has one key.
    let alarm = json!({"AlarmName": "a", "AlarmArn": "arn:aws:cloudwatch:eu-west-1:1:alarm:a", "NewStateValue": "ALARM", "StateChangeTime": "2024-03-14T06:50:00.000+0000"});
    let envelope =
        json!({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": alarm.to_string()});
    let bridge = json!({"id": "e", "detail-type": "CloudWatch Alarm State Change", "resources": ["arn:aws:cloudwatch:eu-west-1:1:alarm:a"],
        "time": "2024-03-14T06:50:00Z", "detail": {"alarmName": "a", "state": {"value": "ALARM", "timestamp": "2024-03-14T06:50:00.000+0000"}}});
    let key = "arn:aws:cloudwatch:eu-west-1:1:alarm:a";
    for (body, id) in [(&alarm, None), (&envelope, Some("m")), (&bridge, Some("e"))] {
        let alert = of_json("aws_sns", body);
        is(&alert, key, true);
        assert_eq!(alert.message_id.as_deref(), id, "{body}");
    }
    let mut raw = Request::json(alarm.to_string());
    raw.headers
        .insert("x-amz-sns-message-id".to_owned(), "h".to_owned());
    assert_eq!(only("aws_sns", &raw).message_id.as_deref(), Some("h"));
    // Azure: each message about the health of a resource has its own ID and is about one problem.
    let health = |id: &str, status: &str| {
        json!({"data": {"essentials": {"alertId": id, "alertRule": "r", "monitorCondition": "Fired", "monitoringService": "Resource Health",
            "alertTargetIDs": ["/subscriptions/1/vm/A"], "firedDateTime": "2024-03-14T06:50:00Z"},
            "alertContext": {"properties": {"currentHealthStatus": status}}}})
    };
    let (down, up) = (
        of_json("azure_monitor", &health("/1", "Unavailable")),
        of_json("azure_monitor", &health("/2", "Available")),
    );
    assert_eq!(
        (down.firing, up.firing, &down.fingerprint),
        (true, false, &up.fingerprint)
    );
    // StatusCake by GET, as a form and as JSON.
    let mut get = Request {
        method: "GET".to_owned(),
        query: "TestID=5&Status=Down&Name=shop".to_owned(),
        ..Request::default()
    };
    is(&only("statuscake", &get), "5", true);
    get.query = "TestID=5&Status=Up".to_owned();
    is(&only("statuscake", &get), "5", false);
    is(
        &of_json("statuscake", &json!({"TestID": 5, "Status": "Down"})),
        "5",
        true,
    );
    // Uptime Kuma: a form with JSON in its field, also as multipart.
    let kuma = r#"{"heartbeat":{"status":0},"monitor":{"id":7,"name":"n"},"msg":"m"}"#;
    let parts = format!("--x\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n{kuma}\r\n--x--\r\n");
    is(
        &only("uptime_kuma", &sent("multipart/form-data; boundary=x", parts)),
        "7",
        true,
    );
}

#[test]
fn a_change_of_state_in_the_words_of_checkmk_is_read() {
    let text = |event: &str| {
        format!(
            "Host:     db4\nAlias:    db4\nAddress:  192.0.2.4\nService:  CPU load\nEvent:    {event}\nOutput:   load 99\n"
        )
    };
    for (event, firing, severity) in [
        ("OK -> CRIT", true, "critical"),
        ("OK → WARN", true, "warning"),
        ("PEND -> UNKNOWN", true, "unknown"),
        ("CRIT -> OK", false, "ok"),
    ] {
        let alert = only("nagios", &sent("text/plain", text(event)));
        is(&alert, "db4/CPU load", firing);
        assert_eq!(alert.severity, severity, "{event}");
        assert_eq!(alert.text, "load 99");
    }
    let host = only(
        "nagios",
        &sent("text/plain", "Host: db4\nEvent: UP -> DOWN\nOutput: no answer\n"),
    );
    is(&host, "db4", true);
    // The subject of an email whose text is a table without names.
    for (subject, key, firing) in [
        ("Check_MK: db4/CPU load OK -> CRIT", "db4/CPU load", true),
        ("Checkmk: db4 DOWN → UP", "db4", false),
    ] {
        let mail =
            format!("From: checkmk@mon.example\r\nSubject: {subject}\r\n\r\nSee the details in Checkmk.\r\n");
        is(&only("nagios", &sent("message/rfc822", mail)), key, firing);
    }
    // An event that changes no state opens nothing and is no error.
    let quiet = read("nagios", &sent("text/plain", text("Acknowledged by Ann"))).unwrap();
    assert!(quiet.alerts.is_empty(), "{quiet:?}");
}

#[test]
fn mails_of_nagios_and_icinga_are_read_in_any_shape() {
    // The classic text of Nagios, with tabs, line ends of two characters and an address in the text.
    let classic = "***** Nagios *****\r\n\r\nNotification Type:\tPROBLEM\r\nHost:\tweb-7.example.org\r\nState:\tDOWN\r\n\
                   Address:\t192.0.2.7\r\nInfo:\tCRITICAL - Host Unreachable (192.0.2.7)\r\n\r\n\
                   Date/Time:\tThu Mar 14 06:56:00 UTC 2024\r\n";
    let mail = |headers: &str, body: &[u8]| -> Vec<u8> {
        let head = format!(
            "Return-Path: <nagios@mon.example>\r\nReceived: from mon.example by mx.example; Thu, 14 Mar 2024 06:56:02 +0000\r\n\
             From: =?utf-8?q?Nagios_=C3=9Cberwachung?= <nagios@mon.example>\r\n{headers}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let host = only(
        "nagios",
        &sent(
            "message/rfc822",
            mail(
                "Subject: ** PROBLEM Host Alert: web-7.example.org is DOWN **",
                classic.as_bytes(),
            ),
        ),
    );
    is(&host, "web-7.example.org", true);
    assert_eq!(began(&host).as_deref(), Some("2024-03-14T06:56:00Z"));
    // Its end, in Latin-1 and with a signature below it.
    let over = classic
        .replace("PROBLEM", "RECOVERY")
        .replace("DOWN", "UP")
        .replace(
            "CRITICAL - Host Unreachable (192.0.2.7)",
            "PING OK - R\u{fc}ckkehr",
        )
        + "\r\n-- \r\nState: of the art monitoring\r\n";
    let latin: Vec<u8> = over.chars().map(|c| c as u8).collect();
    let end = only(
        "nagios",
        &sent(
            "message/rfc822",
            mail(
                "Subject: ** RECOVERY Host Alert: web-7.example.org is UP **\r\n\
                 Content-Type: text/plain; charset=iso-8859-1; format=flowed\r\nContent-Transfer-Encoding: 8bit",
                &latin,
            ),
        ),
    );
    is(&end, "web-7.example.org", false);
    assert_eq!(end.text, "PING OK - Rückkehr");
    // Icinga 2, in which a line of the output says something of another state.
    let icinga = "***** Icinga 2 Service Monitoring on mon *****\n\n==> load on db 2 is WARNING! <==\n\n\
                  Info:    WARNING - load average: 9.1, 8.2, 7.3\nState of the disks: OK\n\n\
                  When:    2024-03-14 06:56:00 +0000\nService: load\nHost:    db 2\n";
    let warning = only(
        "nagios",
        &sent(
            "message/rfc822",
            mail("Subject: [PROBLEM] load on db 2 is WARNING!", icinga.as_bytes()),
        ),
    );
    is(&warning, "db 2/load", true);
    assert_eq!(warning.severity, "warning");
    // The same as HTML with the text in a table, in an encoding of its own, beside a picture.
    let html = "<html><head><style>td { color: red }</style></head><body><table>\
                <tr><td><b>Service:</b></td><td>load</td></tr><tr><td><b>Host:</b></td><td>db&nbsp;2</td></tr>\
                <tr><td><b>State:</b></td><td>WARNING</td></tr></table></body></html>";
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(html);
    let parts = format!(
        "--r\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n\
         --r\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <logo>\r\n\r\niVBORw0KGgo=\r\n--r--\r\n"
    );
    let related = only(
        "nagios",
        &sent(
            "message/rfc822",
            mail(
                "Subject: [PROBLEM] load\r\nContent-Type: multipart/related; boundary=r",
                parts.as_bytes(),
            ),
        ),
    );
    is(&related, "db 2/load", true);
    // A mail that is about no check is refused, and the reason says what is missing.
    for text in [
        "Hello,\r\n\r\nthe monitoring will be down tonight.\r\n",
        "Host: db1\r\n",
    ] {
        let refusal = read(
            "nagios",
            &sent("message/rfc822", mail("Subject: x", text.as_bytes())),
        );
        let (_, reason) = refusal.expect_err("no alert");
        assert!(reason.contains("line"), "{reason}");
    }
}
