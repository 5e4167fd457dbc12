//! The file-access incident. A file service lost its s3 storage handler, and six alerts arrived for one
//! error. By hand, the owner was notified at 10:00, and the two collaborators were told 13 minutes after the
//! owner that the problem was solved.
//!
//! With Candor everybody is notified at once, at the times of that day: 14 March 2024, East Africa Time
//! (UTC+3).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::story::{ACCOUNT, ADDRESSES, AFFECTED, FILES, MEDIA, PROJECT, UNAFFECTED};
use crate::support::{Env, Http, Mail, TestApp, on_both_databases, story_directory};

on_both_databases!(everybody_affected_hears_the_beginning_and_the_end_at_once);

/// The person who gets access to the project between the detection and the end.
const ADDED: (&str, &str) = ("otieno", "otieno@nyota-films.example");

const INTERNAL: &str = "The s3 handler was merged for an experiment and hidden behind a flag of the client.";
const FOR_CUSTOMERS: &str = "Two of your files were stored with a provider that our server no longer knew.";
const FOR_EVERYBODY: &str = "On 14 March some files could not be opened for 28 minutes.";

async fn everybody_affected_hears_the_beginning_and_the_end_at_once(env: Env) {
    let app = TestApp::builder(&env).at(&eat("09:30")).start().await;
    let clement = person_of_duty(&app, "Clément", "operator").await;
    the_directory_is_imported(&app).await;
    let hook = integration(&app).await;

    // 9:56: the first alert opens an incident and names the media item. Nobody is notified by it.
    app.set_clock(&eat("09:56"));
    let taken = alert(&app, &hook).await;
    assert_eq!(
        json!([
            taken["alerts"],
            taken["attached"],
            taken["resolved"],
            taken["unresolved_references"]
        ]),
        json!([1, [], 0, 0])
    );
    let opened = taken["opened"].as_array().expect("a list");
    assert_eq!(opened.len(), 1, "{taken:#}");
    let incident = opened[0]["id"].as_str().expect("an id").to_owned();
    let at = format!("/api/v1/incidents/{incident}");
    assert_eq!(opened[0]["status"], "investigating");
    assert_eq!(opened[0]["started_at"], "2024-03-14T06:51:00Z");
    assert_eq!(opened[0]["detected_at"], "2024-03-14T06:56:00Z");
    assert_eq!(affected(&app, &at).await, [("media", MEDIA, "alert")].map(owned));

    // 9:58: everything that is stored with s3 is affected, which is exactly the two versions of that item.
    app.set_clock(&eat("09:58"));
    let selector = json!({"selector": {"type": "file", "labels": {"provider": "s3"}}});
    let added = clement
        .post(&format!("{at}/affected"), selector)
        .await
        .expect(200);
    assert_eq!(added.json, json!({"added": 2, "already": 0}));
    assert_eq!(
        affected(&app, &at).await,
        [
            ("file", FILES[0], "selector"),
            ("file", FILES[1], "selector"),
            ("media", MEDIA, "alert")
        ]
        .map(owned)
    );
    the_audience_is_the_owner_and_the_two_collaborators(&app, &at).await;
    assert_eq!(env.count("deliveries"), 0, "nobody was told anything yet");
    app.mails(0).await;

    // 10:00: the detection is sent to all three people at once.
    app.set_clock(&eat("10:00"));
    let too_early =
        json!({"phase": "resolution", "message": "It is over.", "customer_action": {"required": false}});
    clement
        .post(&format!("{at}/notices"), too_early)
        .await
        .expect_problem(409);
    let detection = draft(
        &clement,
        &at,
        json!({
            "phase": "detection",
            "message": "Our systems have detected failures in accessing files of your project.\n\nWe are working on it.",
        }),
    )
    .await;
    let preview = clement.preview(&detection).await.expect(200);
    assert_eq!(
        json!([
            preview["recipients"],
            preview["added"],
            preview["removed"],
            preview["approval_required"],
            preview["warnings"]
        ]),
        json!([3, 3, 0, false, []])
    );
    clement.send_as_previewed(&detection).await;
    let mails = app.mails(3).await;
    assert_eq!(addresses(&mails), ADDRESSES.map(str::to_owned).into());
    for mail in &mails {
        is_about_their_own_files(mail, "Our systems have detected failures in accessing files");
    }
    let sent = app.done(&detection).await;
    assert_eq!(
        (&sent["counts"]["sent"], &sent["recipients"]),
        (&json!(3), &json!(3))
    );
    for delivery in app.deliveries(&detection).await {
        assert_eq!(delivery["sent_at"], "2024-03-14T07:00:00Z", "{delivery}");
    }

    // Until 10:21 five more alerts arrive for the same error. They join the same incident, and no email is
    // sent.
    for time in ["10:01", "10:06", "10:11", "10:16"] {
        again(&app, &hook, time, &incident).await;
    }
    // In the meantime the accountant gets access to the project.
    app.put(
        &format!("/api/v1/resources/project/{PROJECT}/collaborators/{}", ADDED.0),
        json!({"role": "viewer"}),
    )
    .await
    .expect(201);
    let late = app.notice(&detection).await;
    assert_eq!(late["not_told_yet"], 1);

    // The patch was merged at 10:15 and deployed at 10:19. Both are added afterwards, in local time.
    app.set_clock(&eat("10:20"));
    note(&clement, &at, "10:15", "note", "The patch is merged").await;
    note(&clement, &at, "10:19", "deployed", "The patch is in production").await;
    note(
        &clement,
        &at,
        "10:19",
        "mitigated",
        "The handler is registered again",
    )
    .await;
    again(&app, &hook, "10:21", &incident).await;
    let alerts = app.all(&format!("/api/v1/alerts?incident={incident}")).await;
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(alerts[0]["repeats"], 5);

    // A next step that stays open after the incident.
    let step = clement
        .post(
            &format!("{at}/next-steps"),
            json!({
                "text": "Move the files to a production bucket",
                "owner": "Clément",
                "link": "https://github.com/habbes/quickbyte/issues/320",
                "due_on": "2024-04-30",
            }),
        )
        .await
        .expect(201);

    // 10:24: the incident is resolved. Everybody who was notified of the beginning is notified at once, and
    // so is the person who was added since.
    app.set_clock(&eat("10:24"));
    clement
        .post(
            &format!("{at}/status"),
            json!({"status": "resolved", "at": eat("10:24")}),
        )
        .await
        .expect(200);
    let resolution = draft(
        &clement,
        &at,
        json!({
            "phase": "resolution",
            "message": "You should now be able to access those files.",
            "customer_action": {"required": false},
        }),
    )
    .await;
    let preview = clement.preview(&resolution).await.expect(200);
    assert_eq!(
        json!([preview["recipients"], preview["added"], preview["removed"]]),
        json!([4, 1, 0])
    );
    clement.send_as_previewed(&resolution).await;
    let mails = app.mails(3 + 4).await;
    let everybody: BTreeSet<String> = ADDRESSES
        .into_iter()
        .chain([ADDED.1])
        .map(str::to_owned)
        .collect();
    assert_eq!(addresses(&mails[3..]), everybody);
    for mail in &mails[3..] {
        is_about_their_own_files(mail, "You should now be able to access those files.");
        for part in [&mail.flat(), &mail.html] {
            assert!(part.contains("You do not need to do anything."), "{part}");
        }
    }
    app.done(&resolution).await;
    for delivery in app.deliveries(&resolution).await {
        assert_eq!(delivery["sent_at"], "2024-03-14T07:24:00Z", "{delivery}");
    }

    the_metrics_are_those_of_the_story(&app, &at).await;
    the_timeline_tells_it_in_order(&app, &at).await;

    // A week later: one report for three audiences.
    app.set_clock("2024-03-21T12:00:00+03:00");
    the_report_has_three_audiences(&app, &clement, &at).await;
    let report = draft(
        &clement,
        &at,
        json!({"phase": "report", "message": "This is what happened, and what we do about it."}),
    )
    .await;
    clement.send_as_previewed(&report).await;
    let mails = app.mails(3 + 4 + 4).await;
    assert_eq!(addresses(&mails[7..]), everybody);
    for mail in &mails[7..] {
        let data = mail.caught.text_lossy();
        for part in [&mail.flat(), &mail.html] {
            assert!(
                part.contains(FOR_CUSTOMERS) && part.contains(FOR_EVERYBODY),
                "{part}"
            );
            assert!(!part.contains(INTERNAL), "{part}");
        }
        assert!(!data.contains("experiment"), "internal text in {data}");
    }
    app.done(&report).await;

    // The incident is closed, and the next step is still open.
    assert_eq!(app.get(&at).await.expect(200)["status"], "resolved");
    let open = app.all("/api/v1/next-steps?status=open").await;
    assert_eq!(open.len(), 1);
    assert_eq!(open[0]["id"], step["id"]);
    assert_eq!(
        json!([
            open[0]["incident"],
            open[0]["owner"],
            open[0]["link"],
            open[0]["due_on"],
            open[0]["done_at"]
        ]),
        json!([
            incident,
            "Clément",
            "https://github.com/habbes/quickbyte/issues/320",
            "2024-04-30",
            null
        ])
    );

    the_audit_says_who_did_what(&app, &incident, &[&detection, &resolution, &report]).await;
    for unaffected in UNAFFECTED.iter().filter(|id| **id != ADDED.0) {
        let theirs = app.mails(11).await;
        assert!(
            theirs.iter().all(|mail| !mail.to.starts_with(unaffected)),
            "{unaffected} got a mail"
        );
    }
    app.finish().await;
}

/// Returns this time on the day of the story.
fn eat(time: &str) -> String {
    format!("2024-03-14T{time}:00+03:00")
}

async fn person_of_duty(app: &TestApp, name: &str, role: &str) -> Http {
    let made = app
        .post("/api/v1/tokens", json!({"name": name, "role": role}))
        .await
        .expect(201);
    app.as_role(made["token"].as_str().expect("a token"))
}

async fn the_directory_is_imported(app: &TestApp) {
    let counts = app.import(story_directory()).await.expect(200);
    assert_eq!(
        counts.json,
        json!({"accounts": 2, "people": 7, "resources": 12, "members": 5, "collaborators": 4})
    );
}

/// Creates the integration. Its rule extracts the project and the media item from the description of an
/// alert.
async fn integration(app: &TestApp) -> String {
    let made = app
        .post(
            "/api/v1/integrations",
            json!({
                "name": "Alertmanager",
                "source": "alertmanager",
                "resource_rules": [{
                    "field": "annotations.description",
                    "pattern": r"/api/projects/(?<project>[^/]+)/media/(?<media>[\w-]+)",
                }],
            }),
        )
        .await
        .expect(201);
    made["hook_url"].as_str().expect("a URL").to_owned()
}

/// Sends the alert of the story in the format of Alertmanager.
async fn alert(app: &TestApp, hook: &str) -> Value {
    let body = json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"ServerErrors\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "candor",
        "groupLabels": {"alertname": "ServerErrors"},
        "commonLabels": {"alertname": "ServerErrors", "severity": "critical"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": [{
            "status": "firing",
            "labels": {"alertname": "ServerErrors", "severity": "critical", "code": "appError"},
            "annotations": {
                "summary": "Unknown storage provider 's3'",
                "description": format!(
                    "GET /api/projects/{PROJECT}/media/{MEDIA} answered 500: Error: Unknown storage provider 's3'"
                ),
            },
            "startsAt": "2024-03-14T06:51:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example/graph",
            "fingerprint": "f2a9c1d04be77a10",
        }],
    });
    app.anonymous().post(hook, body).await.expect(202).json
}

/// Repeats the alert at this time. It joins the incident and opens nothing.
async fn again(app: &TestApp, hook: &str, time: &str, incident: &str) {
    app.set_clock(&eat(time));
    let taken = alert(app, hook).await;
    assert_eq!(taken["opened"], json!([]), "{taken:#}");
    let attached = taken["attached"].as_array().expect("a list");
    assert_eq!(attached.len(), 1, "{taken:#}");
    assert_eq!(attached[0]["id"], incident);
    let minutes: i64 = time[3..].parse().expect("minutes");
    // There was one alert before 10:01, and one every five minutes from then on.
    assert_eq!(attached[0]["alerts_received"], 2 + (minutes - 1) / 5);
    assert_eq!(attached[0]["alerts"], 1);
}

fn owned(affected: (&str, &str, &str)) -> (String, String, String) {
    (
        affected.0.to_owned(),
        affected.1.to_owned(),
        affected.2.to_owned(),
    )
}

/// Returns the type, ID and source of each affected resource, sorted.
async fn affected(app: &TestApp, at: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut found: Vec<_> = app
        .all(&format!("{at}/affected"))
        .await
        .iter()
        .map(|item| {
            (
                text(&item["resource"]["type"]),
                text(&item["resource"]["id"]),
                text(&item["source"]),
            )
        })
        .collect();
    found.sort();
    found
}

async fn the_audience_is_the_owner_and_the_two_collaborators(app: &TestApp, at: &str) {
    let audience = app.get(&format!("{at}/audience")).await.expect(200);
    let counts = &audience["counts"];
    assert_eq!(
        json!([
            counts["people"],
            counts["accounts"],
            counts["resources"],
            counts["unreachable"],
            counts["unresolved_references"],
            counts["not_told"]
        ]),
        json!([3, 1, 3, 0, 0, 3])
    );
    let people: Vec<&str> = audience
        .items()
        .iter()
        .map(|item| item["person"]["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(people, AFFECTED);
    let roles = BTreeMap::from([("amina", "owner"), ("baraka", "sound"), ("wanjiru", "editor")]);
    for (item, address) in audience.items().iter().zip(ADDRESSES) {
        assert_eq!(item["person"]["email"], address);
        assert_eq!(item["told"], false);
        // Each of the three affected resources is a reason, through the project that the role is on.
        let reasons: BTreeSet<String> = item["reasons"]
            .as_array()
            .expect("reasons")
            .iter()
            .map(|reason| {
                assert_eq!(reason["account"], ACCOUNT, "{reason}");
                assert_eq!(
                    reason["role"],
                    roles[item["person"]["id"].as_str().expect("an id")],
                    "{reason}"
                );
                assert_eq!(
                    reason["through"],
                    json!({"type": "project", "id": PROJECT}),
                    "{reason}"
                );
                reason["resource"]["id"].as_str().expect("an id").to_owned()
            })
            .collect();
        assert_eq!(reasons, [FILES[0], FILES[1], MEDIA].map(str::to_owned).into());
    }
}

async fn draft(by: &Http, at: &str, notice: Value) -> String {
    by.post(&format!("{at}/notices"), notice).await.expect(201).id()
}

async fn note(by: &Http, at: &str, time: &str, kind: &str, text: &str) {
    let entry = by
        .post(
            &format!("{at}/timeline"),
            json!({"at": eat(time), "kind": kind, "text": text}),
        )
        .await
        .expect(201);
    assert_eq!(entry["local_at"], eat(time));
}

fn addresses(mails: &[Mail]) -> BTreeSet<String> {
    mails.iter().map(|mail| mail.to.clone()).collect()
}

/// Checks that the text and the HTML name the recipient's affected resources and the message, and nothing of
/// other customers.
fn is_about_their_own_files(mail: &Mail, message: &str) {
    assert!(
        mail.header("content-type").starts_with("multipart/alternative"),
        "{}",
        mail.header("content-type")
    );
    for part in [&mail.flat(), &mail.html] {
        for own in [
            message,
            "rangers-interview-v1.mov",
            "rangers-interview-v2.mov",
            "Interview with the rangers",
        ] {
            assert!(part.contains(own), "{} is not told of {own}:\n{part}", mail.to);
        }
        for other in [
            "opening-shot.mov",
            "ferry.mov",
            "stalls.mov",
            "Kilele",
            "Unknown storage provider",
        ] {
            assert!(!part.contains(other), "{} is told of {other}:\n{part}", mail.to);
        }
    }
}

async fn the_metrics_are_those_of_the_story(app: &TestApp, at: &str) {
    let metrics = app
        .get(&format!("{at}/metrics?time_zone=Africa/Nairobi"))
        .await
        .expect(200);
    let minutes = |n: i64| json!(n * 60);
    assert_eq!(metrics["time_to_detect"], minutes(5));
    assert_eq!(metrics["time_to_notify"], minutes(4));
    assert_eq!(metrics["time_to_mitigate"], minutes(23));
    assert_eq!(metrics["time_to_resolve"], minutes(28));
    assert_eq!(metrics["impact"], minutes(28));
    assert_eq!(
        metrics["times"],
        json!({
            "started_at": "2024-03-14T06:51:00Z",
            "detected_at": "2024-03-14T06:56:00Z",
            "notified_at": "2024-03-14T07:00:00Z",
            "mitigated_at": "2024-03-14T07:19:00Z",
            "resolved_at": "2024-03-14T07:24:00Z",
        })
    );
    assert_eq!(metrics["time_zone"], "Africa/Nairobi");
    assert_eq!(
        metrics["local_times"],
        json!({
            "started_at": eat("09:51"),
            "detected_at": eat("09:56"),
            "notified_at": eat("10:00"),
            "mitigated_at": eat("10:19"),
            "resolved_at": eat("10:24"),
        })
    );
}

async fn the_timeline_tells_it_in_order(app: &TestApp, at: &str) {
    let entries = app.all(&format!("{at}/timeline")).await;
    let told: Vec<(&str, &str)> = entries
        .iter()
        .map(|entry| {
            (
                entry["at"].as_str().expect("a time"),
                entry["kind"].as_str().expect("a kind"),
            )
        })
        .filter(|(_, kind)| *kind != "note")
        .collect();
    assert_eq!(
        told,
        [
            ("2024-03-14T06:56:00Z", "detected"),
            ("2024-03-14T07:00:00Z", "notified"),
            ("2024-03-14T07:19:00Z", "deployed"),
            ("2024-03-14T07:19:00Z", "mitigated"),
            ("2024-03-14T07:24:00Z", "resolved"),
            ("2024-03-14T07:24:00Z", "notified"),
        ]
    );
    let by_hand = entries
        .iter()
        .find(|entry| entry["text"] == "The patch is merged")
        .expect("the entry");
    assert_eq!(
        json!([
            by_hand["at"],
            by_hand["local_at"],
            by_hand["internal"],
            by_hand["automatic"],
            by_hand["author"]
        ]),
        json!([
            "2024-03-14T07:15:00Z",
            "2024-03-14T10:15:00+03:00",
            true,
            false,
            "Clément"
        ])
    );
}

async fn the_report_has_three_audiences(app: &TestApp, by: &Http, at: &str) {
    let report = json!({
        "title": "Failure to access files on 14 March 2024",
        "sections": [
            {"heading": "Root cause", "text": INTERNAL, "audience": "internal"},
            {"heading": "What happened to your files", "text": FOR_CUSTOMERS, "audience": "customer"},
            {"heading": "Summary", "text": FOR_EVERYBODY, "audience": "public"},
        ],
    });
    by.put(&format!("{at}/report"), report).await.expect(200);
    for (audience, texts) in [
        ("internal", &[INTERNAL, FOR_CUSTOMERS, FOR_EVERYBODY][..]),
        ("customer", &[FOR_CUSTOMERS, FOR_EVERYBODY]),
        ("public", &[FOR_EVERYBODY]),
    ] {
        let read = app
            .get(&format!("{at}/report?audience={audience}"))
            .await
            .expect(200);
        let sections: Vec<&str> = read["sections"]
            .as_array()
            .expect("sections")
            .iter()
            .map(|section| section["text"].as_str().expect("text"))
            .collect();
        assert_eq!(sections, texts, "for {audience}");
    }
    let before = app.anonymous().get("/status").await.expect(200).text;
    assert!(
        !before.contains(FOR_EVERYBODY),
        "public before it was published: {before}"
    );
    by.post(&format!("{at}/report/publish"), json!({}))
        .await
        .expect(200);
    let page = app.anonymous().get("/status").await.expect(200).text;
    assert!(page.contains(FOR_EVERYBODY), "{page}");
    for hidden in [INTERNAL, FOR_CUSTOMERS, "Root cause", "s3"] {
        assert!(!page.contains(hidden), "'{hidden}' is public: {page}");
    }
    let published = app.all("/api/v1/audit?action=report.published").await;
    assert_eq!(published.len(), 1);
    let record = published[0]["after"].to_string();
    assert!(
        record.contains(FOR_EVERYBODY) && !record.contains(FOR_CUSTOMERS) && !record.contains(INTERNAL),
        "{record}"
    );
}

async fn the_audit_says_who_did_what(app: &TestApp, incident: &str, notices: &[&String]) {
    // Who notified customers of what, and when.
    let queued = app
        .all(&format!("/api/v1/audit?incident={incident}&action=notice.queued"))
        .await;
    let told: Vec<Value> = queued
        .iter()
        .rev()
        .map(|event| {
            json!([
                event["subject"]["id"],
                event["actor"]["name"],
                event["at"],
                event["after"]["recipients"]
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!([notices[0], "Clément", "2024-03-14T07:00:00Z", 3]),
            json!([notices[1], "Clément", "2024-03-14T07:24:00Z", 4]),
            json!([notices[2], "Clément", "2024-03-21T09:00:00Z", 4]),
        ]
    );
    // Who did what to the incident between 9:50 and 10:10.
    let window = format!(
        "/api/v1/audit?incident={incident}&from={}&to={}",
        "2024-03-14T06:50:00Z", "2024-03-14T07:10:00Z"
    );
    let done: BTreeMap<String, BTreeSet<String>> =
        app.all(&window)
            .await
            .iter()
            .fold(BTreeMap::new(), |mut done, event| {
                let action = event["action"].as_str().expect("an action").to_owned();
                let actor = event["actor"]["name"].as_str().expect("a name").to_owned();
                done.entry(action).or_insert_with(BTreeSet::new).insert(actor);
                done
            });
    for (action, actors) in [
        ("incident.opened", &["Alertmanager"][..]),
        ("alert.received", &["Alertmanager"]),
        ("alert.repeated", &["Alertmanager"]),
        ("affected.added", &["Alertmanager", "Clément"]),
        ("notice.drafted", &["Clément"]),
        ("notice.queued", &["Clément"]),
    ] {
        let expected: BTreeSet<String> = actors.iter().map(|actor| (*actor).to_owned()).collect();
        assert_eq!(done.get(action), Some(&expected), "{action} in {done:#?}");
    }
    assert!(
        !done.contains_key("incident.status"),
        "resolved only after 10:10: {done:#?}"
    );
    // Every accepted email is recorded, with one attempt each.
    for notice in notices {
        for delivery in app.deliveries(notice).await {
            assert_eq!(
                delivery["attempts"].as_array().map(Vec::len),
                Some(1),
                "{delivery}"
            );
        }
    }
    let verified = app.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(verified["ok"], true);
    assert!(
        verified["events"].as_i64().is_some_and(|events| events > 20),
        "{verified}"
    );
}
