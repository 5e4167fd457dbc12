//! The upload outage. It lasted 16 hours on 5 and 6 October 2021, was noticed in the morning, and affected
//! two people. They were found only afterwards, because the error log contained no user. The times of that
//! day are in US Pacific (UTC-7).
//!
//! With Candor the upload service is monitored. A missing heartbeat and a check open incidents by themselves,
//! minutes after the deployment. Errors contain their users as far as they are known, and the times of the
//! story are entered afterwards.
//! The status page and its feeds say it at once, the product shows the notice to the two people, and the report
//! brings each of them a gift code.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use candor::egress::Policy;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::{Product, read};
use crate::support::receiver::{Receiver, Reply};
use crate::support::{DEADLINE, Env, Http, Mail, TestApp, eventually, on_both_databases};

on_both_databases!(silence_and_errors_say_what_nobody_noticed);

const ZONE: &str = "America/Los_Angeles";

/// The two people who hit the error, of whom one had just donated. The error names the first by her ID and
/// the second by his address.
const AFFECTED: [(&str, &str); 2] = [
    ("dana", "dana@family.example"),
    ("miguel", "miguel@archive.example"),
];

const DIRECTORY: [&str; 8] = [
    r#"{"kind":"account","id":"family","name":"The family's archive","time_zone":"America/Los_Angeles"}"#,
    r#"{"kind":"account","id":"museum","name":"The museum's archive"}"#,
    r#"{"kind":"person","id":"dana","name":"Dana","email":"dana@family.example","time_zone":"America/Los_Angeles"}"#,
    r#"{"kind":"person","id":"miguel","name":"Miguel","email":"miguel@archive.example"}"#,
    r#"{"kind":"person","id":"olive","name":"Olive","email":"olive@museum.example"}"#,
    r#"{"kind":"member","account":"family","person":"dana","role":"owner"}"#,
    r#"{"kind":"member","account":"museum","person":"olive","role":"owner"}"#,
    r#"{"kind":"resource","type":"service","id":"upload","name":"Uploads"}"#,
];

const INTERNAL: &str =
    "We were changing the deployment's documentation, and did not run the functional tests.";
const FOR_CUSTOMERS: &str =
    "Files that you tried to upload in those hours were not stored: please upload them again.";
const FOR_EVERYBODY: &str = "On 5 and 6 October uploads failed for 16 hours.";

async fn silence_and_errors_say_what_nobody_noticed(env: Env) {
    let app = TestApp::builder(&env)
        .at(&pacific(5, "16:00"))
        .config(|config| config.check_allow = Policy::Private)
        .start()
        .await;
    app.import(DIRECTORY.join("\n")).await.expect(200);
    let made = app
        .post("/api/v1/tokens", json!({"name": "Cristina", "role": "operator"}))
        .await
        .expect(201);
    let cristina = app.as_role(made["token"].as_str().expect("a token"));

    // This did not exist at that time: the upload service sends a heartbeat and is checked.
    let status = Arc::new(AtomicU16::new(200));
    let answer = status.clone();
    let upload = Receiver::answering(move |_, _| Reply::of(answer.load(Ordering::SeqCst)));
    let resources = json!([{"type": "service", "id": "upload"}]);
    let heartbeat = json!({
        "name": "upload-service", "every_seconds": 300, "grace_seconds": 60, "severity": "critical", "resources": resources,
    });
    let heartbeat = app.post("/api/v1/heartbeats", heartbeat).await.expect(201);
    let beat = heartbeat["url"].as_str().expect("a URL").to_owned();
    let check = json!({
        "name": "upload health", "url": upload.url("/health"), "every_seconds": 60, "failures": 3, "resources": resources,
    });
    let check = app.post("/api/v1/checks", check).await.expect(201).id();
    let hook = json!({"name": "Sentry", "source": "sentry"});
    let hook = app.post("/api/v1/integrations", hook).await.expect(201);
    let hook = hook["hook_url"].as_str().expect("a URL").to_owned();
    for time in ["16:04", "16:09", "16:14"] {
        app.set_clock(&pacific(5, time));
        app.anonymous().get(&beat).await.expect(200);
        asked(&app, &check, 5, time).await;
    }
    assert_eq!(env.count("incidents"), 0);

    // 16:19: the deployment. From now on the check fails and no heartbeat arrives.
    asked(&app, &check, 5, "16:18").await;
    status.store(503, Ordering::SeqCst);
    // The last heartbeat came at 16:14, so the next one was due at 16:19. At 16:20 it counts as missing,
    // which makes an alert.
    for time in ["16:19", "16:20", "16:21"] {
        asked(&app, &check, 5, time).await;
    }
    let by = |title: &'static str| {
        let app = &app;
        async move {
            eventually(title, DEADLINE, async || {
                let incidents = app.all("/api/v1/incidents").await;
                incidents.into_iter().find(|incident| incident["title"] == title)
            })
            .await
        }
    };
    let silent = by("No heartbeat: upload-service").await;
    assert_eq!(
        json!([silent["severity"], silent["status"], silent["started_at"]]),
        json!(["critical", "investigating", utc("2021-10-05T23:19:00Z")])
    );
    assert!(silent["detected_at"].as_str().expect("a time") >= "2021-10-05T23:20:00Z");
    let failed = by("Check failed: upload health").await;
    assert_eq!(
        json!([failed["started_at"], failed["detected_at"]]),
        json!([utc("2021-10-05T23:19:00Z"), utc("2021-10-05T23:21:00Z")])
    );
    for incident in [&silent, &failed] {
        let path = format!(
            "/api/v1/incidents/{}/affected",
            incident["id"].as_str().expect("an id")
        );
        assert_eq!(
            app.all(&path).await[0]["resource"],
            json!({"type": "service", "id": "upload"})
        );
    }

    // In the evening uploads fail. Two of the users are known. The other errors name unknown users or nobody.
    let incident = error(&app, &hook, "20:03", Some(json!({"id": "dana"}))).await;
    for (time, user) in [
        ("20:05", Some(json!({"id": "dana"}))),
        ("20:41", Some(json!({"email": "Miguel@archive.example"}))),
        ("21:10", Some(json!({"username": "visitor-3"}))),
        ("21:12", Some(json!({"username": "visitor-3"}))),
        ("22:30", None),
        ("22:31", None),
        ("22:32", None),
        ("20:01", None),
    ] {
        assert_eq!(error(&app, &hook, time, user).await, incident);
    }
    let at = format!("/api/v1/incidents/{incident}");
    let audience = app.get(&format!("{at}/audience")).await.expect(200);
    let counts = &audience["counts"];
    assert_eq!(
        json!([
            counts["people"],
            counts["identified"],
            counts["unidentified"],
            counts["events_without_user"],
            counts["unreachable"]
        ]),
        json!([2, 2, 1, 4, 0])
    );
    for (item, (id, address)) in audience.items().iter().zip(AFFECTED) {
        assert_eq!(
            json!([item["person"]["id"], item["person"]["email"]]),
            json!([id, address])
        );
    }
    assert_eq!(audience["items"][0]["reasons"][0]["seen"]["events"], 2);
    assert_eq!(
        app.all(&format!("/api/v1/alerts?incident={incident}")).await[0]["repeats"],
        8
    );
    // The first of the errors arrived last, so the incident begins with its time.
    assert_eq!(
        app.get(&at).await.expect(200)["started_at"],
        utc("2021-10-06T03:01:00Z")
    );
    let page = app.admin_page(&format!("/admin/incidents/{incident}")).await;
    assert!(
        page.contains(
            "1 user who hit the error is not in the directory, 4 errors have no user: affected people may be missing"
        ),
        "{page}"
    );
    assert_eq!(env.count("deliveries"), 0, "nobody was told by an alert");
    the_public_reads_it_at_once(&app, &cristina, &at).await;

    // 8:10: the service is started again.
    status.store(200, Ordering::SeqCst);
    app.set_clock(&pacific(6, "08:10"));
    app.anonymous().get(&beat).await.expect(200);
    asked(&app, &check, 6, "08:10").await;
    for own in [&silent, &failed] {
        let path = format!("/api/v1/incidents/{}", own["id"].as_str().expect("an id"));
        assert_eq!(app.get(&path).await.expect(200)["status"], "monitoring");
    }

    // At 14:00 the team meets and adds what it knows, in local time.
    app.set_clock(&pacific(6, "14:00"));
    app.patch(&at, json!({"time_zone": ZONE, "started_at": pacific(5, "16:19")}))
        .await
        .expect(200);
    for (day, time, kind, text) in [
        (5, "16:19", "deployed", "Deployed to production"),
        (5, "16:19", "started", "Uploads fail: nodejs is not found"),
        (
            6,
            "07:45",
            "detected",
            "Discovered that the upload service was down",
        ),
        (
            6,
            "07:59",
            "notified",
            "Tweeted and posted to Facebook about the outage",
        ),
        (
            6,
            "08:10",
            "mitigated",
            "Repaired in production, staging and development",
        ),
        (6, "08:14", "notified", "Posted about being back up"),
    ] {
        let entry = json!({"at": pacific(day, time), "kind": kind, "text": text});
        let entry = cristina.post(&format!("{at}/timeline"), entry).await.expect(201);
        assert_eq!(entry["local_at"], pacific(day, time));
    }
    let resolved = json!({"status": "resolved", "at": pacific(6, "08:14")});
    cristina.post(&format!("{at}/status"), resolved).await.expect(200);
    the_metrics_are_those_of_the_story(&app, &at).await;

    the_report_is_blameless(&app, &cristina, &at).await;
    let report = json!({
        "phase": "report",
        "message": "This is what happened, and what you can do. Your gift code is {{values.code}}.",
    });
    let report = cristina
        .post(&format!("{at}/notices"), report)
        .await
        .expect(201)
        .id();
    let codes =
        AFFECTED.map(|(id, _)| json!({"person": id, "values": {"code": format!("GIFT-{id}")}}).to_string());
    let path = format!("/api/v1/notices/{report}/values");
    let lines = cristina.request(Method::PUT, &path);
    let lines = lines.body("application/x-ndjson", codes.join("\n"));
    lines.send().await.expect(200);
    let preview = cristina.preview(&report).await.expect(200);
    assert_eq!(preview["recipients"], 2);
    let warnings = preview["warnings"].to_string();
    for warning in [
        "1 user who hit the error is not in the directory",
        "4 errors have no user",
    ] {
        assert!(warnings.contains(warning), "{warnings}");
    }
    cristina.send_as_previewed(&report).await;
    // The first two emails went to the reader of the status page.
    let mails = app.mails(2 + 2).await.split_off(2);
    let to: BTreeSet<&str> = mails.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, AFFECTED.map(|(_, address)| address).into());
    for mail in &mails {
        is_for_somebody_who_met_it(mail);
        let (person, _) = mail.to.split_once('@').expect("an address");
        assert!(mail.text.contains(&format!("GIFT-{person}")), "{}", mail.text);
    }
    // Dana gets the times in her own time zone too.
    let dana = mails
        .iter()
        .find(|mail| mail.to.starts_with("dana"))
        .expect("a mail");
    assert!(
        dana.text.contains("5 October 2021, 16:19 PDT (23:19 UTC)"),
        "{}",
        dana.text
    );
    app.done(&report).await;
    the_product_shows_it(&app, &report).await;
    app.finish().await;
}

/// A reader of the status page subscribes to it and confirms.
async fn a_reader_subscribes(app: &TestApp) {
    let form = "application/x-www-form-urlencoded";
    let public = app.anonymous();
    public
        .post_raw(
            "/status/subscribe?lang=en",
            form,
            "address=paper%40reader.example",
        )
        .await
        .expect(200);
    let mails = app.mails(1).await;
    let (_, link) = mails[0].text.split_once("/status/subscription/").expect("a link");
    let token = link.split_whitespace().next().expect("a token");
    let path = format!("/status/subscription/{token}/confirm");
    public.post_raw(&path, form, "").await.expect(200);
}

/// Posts on the status page what the team posted to social media. The page, the feeds, the documents for programs and an email to a
/// subscriber say it at once.
async fn the_public_reads_it_at_once(app: &TestApp, by: &Http, at: &str) {
    a_reader_subscribes(app).await;
    let component = json!({"name": "Uploads", "selector": "type:service"});
    app.put("/api/v1/components/uploads", component).await.expect(201);
    let public = app.anonymous();
    assert!(
        !public
            .get("/status")
            .await
            .expect(200)
            .text
            .contains("cannot be uploaded")
    );
    let post = json!({
        "status": "identified", "title": "Uploads fail", "message": "Files cannot be uploaded. We are working on it.",
        "components": {"uploads": "major_outage"},
    });
    by.post(&format!("{at}/posts"), post).await.expect(201);
    let mails = app.mails(2).await;
    assert_eq!(mails[1].to, "paper@reader.example");
    for said in ["Files cannot be uploaded.", "Uploads: Major outage"] {
        assert!(mails[1].text.contains(said), "{}", mails[1].text);
    }
    let number = app.get(at).await.expect(200)["number"].clone();
    for path in [
        "/status".to_owned(),
        format!("/status/incidents/{number}"),
        "/history.atom".to_owned(),
        "/history.rss".to_owned(),
        "/api/v2/summary.json".to_owned(),
    ] {
        let answer = public.get(&path).await.expect(200);
        assert!(
            answer.text.contains("Files cannot be uploaded."),
            "{path}: {answer}"
        );
        for hidden in ["upload-service", "ECONNREFUSED", "dana", "miguel"] {
            assert!(!answer.text.contains(hidden), "{path} shows {hidden}");
        }
    }
    let summary = public.get("/api/v2/summary.json").await.expect(200);
    assert_eq!(summary["status"]["indicator"], "critical");
    assert_eq!(summary["components"][0]["status"], "major_outage");
}

/// Each of the two people sees the report in the product, with their own code. Somebody else sees nothing.
async fn the_product_shows_it(app: &TestApp, report: &str) {
    let product = Product::new(app).await;
    for (id, _) in AFFECTED {
        let feed = read(app, "notices", &product.token(app, id)).await.expect(200);
        let [notice] = feed.items() else { panic!("{feed}") };
        assert_eq!(json!([notice["id"], notice["phase"]]), json!([report, "report"]));
        assert!(feed.text.contains(&format!("GIFT-{id}")), "{feed}");
    }
    let other = read(app, "notices", &product.token(app, "olive"))
        .await
        .expect(200);
    assert!(other.items().is_empty(), "{other}");
}

/// Returns this time on this day of October, in US Pacific.
fn pacific(day: u8, time: &str) -> String {
    format!("2021-10-{day:02}T{time}:00-07:00")
}

fn utc(time: &str) -> Value {
    json!(time)
}

/// Sets the clock and waits until the check ran at this time.
async fn asked(app: &TestApp, check: &str, day: u8, time: &str) {
    let at = candor::base::time::Timestamp::parse(&pacific(day, time)).expect("a time");
    app.set_clock(&pacific(day, time));
    eventually(&format!("the answer of {time}"), DEADLINE, async || {
        let shown = app.get(&format!("/api/v1/checks/{check}")).await.expect(200);
        (shown["last"]["at"] == json!(at)).then_some(())
    })
    .await;
}

/// Sends the error of a failed upload on the evening of the 5th. It arrives at 22:40 at the latest. Returns
/// the incident.
async fn error(app: &TestApp, hook: &str, time: &str, user: Option<Value>) -> String {
    app.set_clock(&pacific(5, if time == "20:01" { "22:40" } else { time }));
    let mut event = json!({
        "issue_id": "1262", "level": "error", "title": "UploadError: connect ECONNREFUSED", "datetime": pacific(5, time),
        "web_url": "https://sentry.example/organizations/o/issues/1262/events/1/",
    });
    if let Some(user) = user {
        event["user"] = user;
    }
    let body = json!({"action": "created", "data": {"error": event}});
    let taken = app.anonymous().post(hook, body).await.expect(202);
    let incident = ["opened", "attached"]
        .iter()
        .find_map(|place| taken[*place][0]["id"].as_str());
    incident
        .unwrap_or_else(|| panic!("no incident: {taken}"))
        .to_owned()
}

async fn the_metrics_are_those_of_the_story(app: &TestApp, at: &str) {
    let metrics = app
        .get(&format!("{at}/metrics?time_zone={ZONE}"))
        .await
        .expect(200);
    let minutes = |n: i64| json!(n * 60);
    // "Total 16 hours partial downtime". Customers were notified after 14 minutes. The outage was noticed
    // after more than 15 hours.
    assert_eq!(metrics["impact"], minutes(15 * 60 + 51));
    let hours = metrics["impact"].as_f64().expect("seconds") / 3_600.0;
    assert_eq!(format!("{hours:.0}"), "16");
    assert_eq!(metrics["time_to_notify"], minutes(14));
    assert_eq!(metrics["time_to_detect"], minutes(15 * 60 + 26));
    assert_eq!(metrics["time_to_mitigate"], minutes(25));
    assert_eq!(
        metrics["times"],
        json!({
            "started_at": "2021-10-05T23:19:00Z",
            "detected_at": "2021-10-06T14:45:00Z",
            "notified_at": "2021-10-06T14:59:00Z",
            "mitigated_at": "2021-10-06T15:10:00Z",
            "resolved_at": "2021-10-06T15:14:00Z",
        })
    );
    assert_eq!(
        metrics["local_times"],
        json!({
            "started_at": pacific(5, "16:19"),
            "detected_at": pacific(6, "07:45"),
            "notified_at": pacific(6, "07:59"),
            "mitigated_at": pacific(6, "08:10"),
            "resolved_at": pacific(6, "08:14"),
        })
    );
}

async fn the_report_is_blameless(app: &TestApp, by: &Http, at: &str) {
    let report = json!({
        "title": "Partial outage of uploads",
        "sections": [
            {"heading": "Five whys", "text": INTERNAL, "audience": "internal"},
            {"heading": "What went right", "text": "Resolved quickly once we noticed.", "audience": "internal"},
            {"heading": "What went wrong", "text": "We did not notice that the service was down.", "audience": "internal"},
            {"heading": "Possible solutions", "text": "Watch the upload service.", "audience": "internal"},
            {"heading": "What you can do", "text": FOR_CUSTOMERS, "audience": "customer"},
            {"heading": "Summary", "text": FOR_EVERYBODY, "audience": "public"},
        ],
    });
    by.put(&format!("{at}/report"), report).await.expect(200);
    let internal = app
        .get(&format!("{at}/report?audience=internal"))
        .await
        .expect(200);
    let headings: Vec<&str> = internal["sections"]
        .as_array()
        .expect("sections")
        .iter()
        .map(|section| section["heading"].as_str().expect("a heading"))
        .collect();
    assert_eq!(
        headings,
        [
            "Five whys",
            "What went right",
            "What went wrong",
            "Possible solutions",
            "What you can do",
            "Summary"
        ]
    );
    // The public page shows it, because users do not follow social media.
    by.post(&format!("{at}/report/publish"), json!({}))
        .await
        .expect(200);
    let page = app.anonymous().get("/status").await.expect(200).text;
    assert!(page.contains(FOR_EVERYBODY), "{page}");
    for hidden in [INTERNAL, FOR_CUSTOMERS, "Five whys", "ECONNREFUSED"] {
        assert!(!page.contains(hidden), "'{hidden}' is public: {page}");
    }
}

/// Checks that the text and the HTML say why the recipient gets the email and what they can do, and nothing
/// internal.
fn is_for_somebody_who_met_it(mail: &Mail) {
    for part in [&mail.text, &mail.html] {
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in [
            FOR_CUSTOMERS,
            FOR_EVERYBODY,
            "on the problem with our service",
            "You receive this because you had an error while you used our service.",
        ] {
            assert!(part.contains(said), "'{said}' is not in {part}");
        }
        for hidden in [
            INTERNAL,
            "Five whys",
            "ECONNREFUSED",
            "upload-service",
            "Check failed",
        ] {
            assert!(!part.contains(hidden), "'{hidden}' is in {part}");
        }
    }
}
