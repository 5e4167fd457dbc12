//! If an error names its user, this person is affected. Errors without a user are counted and shown. All
//! events of one issue are one alert, and the start time of the incident is that of the first event.

use serde_json::{Value, json};

use crate::support::{DEADLINE, Env, TestApp, eventually, on_both_databases, story_directory};

on_both_databases!(
    the_user_of_an_error_is_affected,
    who_is_unknown_is_counted_and_not_stored,
    an_id_goes_before_an_address,
    events_of_one_issue_are_one_alert,
    the_window_widens_until_somebody_sets_it,
    who_is_learnt_later_is_identified,
    who_is_gone_or_has_no_address_is_unreachable,
    who_came_later_was_not_there_then,
    a_mail_to_somebody_without_resources_reads_well,
    why_somebody_was_or_was_not_seen,
    a_body_that_knows_no_people_counts_nobody,
    who_comes_with_the_end_is_affected_and_reopens_nothing,
    words_that_no_directory_has_are_counted,
    the_page_shows_who_is_unidentified,
);

const START: &str = "2021-10-06T12:00:00Z";

async fn started(env: &Env) -> TestApp {
    let app = TestApp::builder(env).at(START).start().await;
    app.import(story_directory()).await.expect(200);
    app
}

async fn hook(app: &TestApp, source: &str) -> String {
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "Errors", "source": source}),
        )
        .await
        .expect(201);
    made["hook_url"].as_str().expect("a URL").to_owned()
}

/// Returns an event as Sentry's integration platform sends it.
fn event(issue: &str, at: &str, user: Option<Value>) -> Value {
    let mut event = json!({
        "issue_id": issue, "level": "error", "title": "UploadError: socket hang up", "datetime": at,
        "web_url": format!("https://sentry.example/organizations/o/issues/{issue}/events/1/"), "tags": [["server", "web-1"]],
    });
    if let Some(user) = user {
        event["user"] = user;
    }
    json!({"action": "created", "data": {"error": event}})
}

/// Sends the event and returns the incident.
async fn happen(app: &TestApp, hook: &str, event: Value) -> String {
    let taken = app.anonymous().post(hook, event).await.expect(202);
    let incident = ["opened", "attached"]
        .iter()
        .find_map(|place| taken[*place][0]["id"].as_str())
        .unwrap_or_else(|| panic!("no incident: {taken}"));
    incident.to_owned()
}

async fn audience(app: &TestApp, incident: &str) -> Value {
    let path = format!("/api/v1/incidents/{incident}/audience");
    app.get(&path).await.expect(200).json.clone()
}

/// Returns the numbers of people, known users, unknown users, and events without a user.
fn numbers(audience: &Value) -> [i64; 4] {
    ["people", "identified", "unidentified", "events_without_user"].map(|name| {
        audience["counts"][name]
            .as_i64()
            .unwrap_or_else(|| panic!("{name}: {audience:#}"))
    })
}

async fn the_user_of_an_error_is_affected(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let at = "2021-10-06T11:59:00Z";
    let incident = happen(&app, &hook, event("7", at, Some(json!({"id": "zuri"})))).await;
    // The address has another spelling, and the ID belongs to the product and is not in the directory.
    let user = json!({"id": 4711, "email": " Amina@NYOTA-films.example "});
    assert_eq!(happen(&app, &hook, event("7", at, Some(user))).await, incident);
    let found = audience(&app, &incident).await;
    assert_eq!(numbers(&found), [2, 2, 0, 0]);
    let items = found["items"].as_array().expect("a list");
    let ids: Vec<&str> = items
        .iter()
        .map(|item| item["person"]["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids, ["amina", "zuri"]);
    let alert = app.all("/api/v1/alerts").await[0]["id"].clone();
    for (item, by) in items.iter().zip(["address", "id"]) {
        assert_eq!(item["told"], false);
        assert_eq!(item["relevance"], "impaired");
        let reasons = item["reasons"].as_array().expect("reasons");
        assert_eq!(reasons.len(), 1, "{item:#}");
        assert_eq!(reasons[0]["resource"], Value::Null);
        assert_eq!(
            (&reasons[0]["role"], &reasons[0]["path"]),
            (&json!("user"), &json!([]))
        );
        assert_eq!(
            reasons[0]["seen"],
            json!({
                "alert": alert, "title": "UploadError: socket hang up", "recognised_by": by, "events": 1,
                "first_seen_at": at, "last_seen_at": at,
            })
        );
    }
    // They are affected even if the rule has other roles, because the rule is only about roles.
    let notice = json!({"phase": "detection", "message": "We see it.", "audience": {"collaborators": false}});
    let path = format!("/api/v1/incidents/{incident}/notices");
    let notice = app.post(&path, notice).await.expect(201).id();
    assert_eq!(app.preview(&notice).await.expect(200)["recipients"], 2);
    let seen = app
        .all(&format!("/api/v1/audit?incident={incident}&action=people.seen"))
        .await;
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0]["after"]["people"], json!(["amina"]));
    assert_eq!(seen[1]["after"]["people"], json!(["zuri"]));
    app.finish().await;
}

async fn who_is_unknown_is_counted_and_not_stored(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let unknown =
        json!({"id": "u-90210-secret", "email": "somebody@elsewhere.example", "username": "some-body-x"});
    let incident = happen(&app, &hook, event("7", START, Some(unknown.clone()))).await;
    happen(&app, &hook, event("7", START, Some(unknown))).await;
    happen(
        &app,
        &hook,
        event("7", START, Some(json!({"username": "another-body-y"}))),
    )
    .await;
    // Another issue is another alert, but the user is the same.
    let other = happen(
        &app,
        &hook,
        event("8", START, Some(json!({"id": "u-90210-secret"}))),
    )
    .await;
    assert_ne!(other, incident);
    // An event without a user, and one whose user has no ID.
    happen(&app, &hook, event("7", START, None)).await;
    happen(
        &app,
        &hook,
        event("7", START, Some(json!({"ip_address": "192.0.2.7"}))),
    )
    .await;
    happen(
        &app,
        &hook,
        event("7", START, Some(json!({"id": "", "email": null}))),
    )
    .await;
    let found = audience(&app, &incident).await;
    assert_eq!(numbers(&found), [0, 0, 2, 3]);
    let one = &found["unidentified"][0];
    assert_eq!(
        json!([one["title"], one["users"], one["events"], one["without_user"]]),
        json!(["UploadError: socket hang up", 2, 3, 3])
    );
    // The draft shows this before it is sent, in the same way as unmatched IDs.
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    let warnings = preview["warnings"].to_string();
    assert!(
        warnings.contains("2 users who hit the error are not in the directory: Candor cannot notify them"),
        "{warnings}"
    );
    assert!(
        warnings.contains("3 errors have no user: affected people may be missing"),
        "{warnings}"
    );
    // Apart from saved requests, which are deleted after a while, the stored data does not reveal the users.
    let stored = env.texts(
        "SELECT COALESCE(id_mark, '') || ' ' || COALESCE(email_mark, '') || ' ' || mark AS value FROM alert_people",
    );
    let trail = env.texts("SELECT COALESCE(after_json, '') AS value FROM audit_events");
    let alerts = env.texts("SELECT title || text || labels AS value FROM alerts");
    for text in stored.iter().chain(&trail).chain(&alerts) {
        for secret in ["u-90210", "elsewhere", "some-body", "another-body"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    app.finish().await;
}

async fn an_id_goes_before_an_address(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let user = json!({"id": "zuri", "email": "amina@nyota-films.example"});
    let incident = happen(&app, &hook, event("7", START, Some(user))).await;
    let found = audience(&app, &incident).await;
    assert_eq!(numbers(&found), [1, 1, 0, 0]);
    assert_eq!(found["items"][0]["person"]["id"], "zuri");
    assert_eq!(found["items"][0]["reasons"][0]["seen"]["recognised_by"], "id");
    // A body in Candor's own format may name several people. Each counts once.
    let own = self::hook(&app, "generic").await;
    let body = json!({"title": "Uploads fail", "people": [
        {"email": "amina@nyota-films.example"}, {"email": "AMINA@nyota-films.example"}, {"id": "grace"}, {"id": "nobody-we-know"},
    ]});
    let other = happen(&app, &own, body).await;
    let found = audience(&app, &other).await;
    assert_eq!(numbers(&found), [2, 2, 1, 0]);
    let events: Vec<i64> = found["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| item["reasons"][0]["seen"]["events"].as_i64().expect("a number"))
        .collect();
    assert_eq!(events, [1, 1]);
    app.finish().await;
}

async fn events_of_one_issue_are_one_alert(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let zuri = || Some(json!({"id": "zuri"}));
    let incident = happen(&app, &hook, event("7", "2021-10-06T11:30:00Z", zuri())).await;
    for at in [
        "2021-10-06T11:10:00Z",
        "2021-10-06T11:50:00Z",
        "2021-10-06T11:40:00Z",
    ] {
        assert_eq!(happen(&app, &hook, event("7", at, zuri())).await, incident);
    }
    happen(
        &app,
        &hook,
        event("7", "2021-10-06T11:45:00Z", Some(json!({"id": "amina"}))),
    )
    .await;
    let alerts = app.all(&format!("/api/v1/alerts?incident={incident}")).await;
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["repeats"], 4);
    assert_eq!(alerts[0]["started_at"], "2021-10-06T11:10:00Z");
    let found = audience(&app, &incident).await;
    assert_eq!(numbers(&found), [2, 2, 0, 0]);
    let seen = &found["items"][1]["reasons"][0]["seen"];
    assert_eq!(
        json!([seen["events"], seen["first_seen_at"], seen["last_seen_at"]]),
        json!([4, "2021-10-06T11:10:00Z", "2021-10-06T11:50:00Z"])
    );
    app.finish().await;
}

async fn the_window_widens_until_somebody_sets_it(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let started_at = async |incident: &str| {
        let shown = app
            .get(&format!("/api/v1/incidents/{incident}"))
            .await
            .expect(200);
        shown["started_at"].as_str().expect("a time").to_owned()
    };
    let incident = happen(&app, &hook, event("7", "2021-10-06T11:30:00Z", None)).await;
    assert_eq!(started_at(&incident).await, "2021-10-06T11:30:00Z");
    happen(&app, &hook, event("7", "2021-10-06T11:20:00Z", None)).await;
    assert_eq!(started_at(&incident).await, "2021-10-06T11:20:00Z");
    // A later time, a time in the future, or one of a wrong clock does not change the start.
    for at in [
        "2021-10-06T11:40:00Z",
        "2021-10-06T23:00:00Z",
        "1970-01-01T00:00:01Z",
    ] {
        happen(&app, &hook, event("7", at, None)).await;
        assert_eq!(started_at(&incident).await, "2021-10-06T11:20:00Z", "{at}");
    }
    let changes = app
        .all(&format!(
            "/api/v1/audit?incident={incident}&action=incident.changed"
        ))
        .await;
    assert_eq!(changes.len(), 1);
    assert_eq!(
        changes[0]["before"],
        json!({"started_at": "2021-10-06T11:30:00Z"})
    );
    assert_eq!(changes[0]["after"], json!({"started_at": "2021-10-06T11:20:00Z"}));
    // A person sets the start time.
    let patch = json!({"started_at": "2021-10-06T11:25:00Z"});
    app.patch(&format!("/api/v1/incidents/{incident}"), patch)
        .await
        .expect(200);
    happen(&app, &hook, event("7", "2021-10-06T11:05:00Z", None)).await;
    assert_eq!(started_at(&incident).await, "2021-10-06T11:25:00Z");
    // The same applies to a start time that was given when the incident was opened by hand.
    let body = json!({"title": "By hand", "severity": "minor", "started_at": "2021-10-06T11:00:00Z"});
    app.post("/api/v1/incidents", body).await.expect(201);
    assert_eq!(env.count("incident_starts"), 2);
    app.finish().await;
}

async fn who_is_learnt_later_is_identified(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let incident = happen(&app, &hook, event("7", START, Some(json!({"id": "newcomer"})))).await;
    let by_mail = json!({"id": "their-own-number", "email": "Late@Example.com"});
    happen(&app, &hook, event("7", START, Some(by_mail))).await;
    happen(&app, &hook, event("7", START, Some(json!({"id": "never"})))).await;
    assert_eq!(numbers(&audience(&app, &incident).await), [0, 0, 3, 0]);
    // Through single calls, and through an import.
    app.put(
        "/api/v1/people/newcomer",
        json!({"name": "New", "email": "new@example.com"}),
    )
    .await
    .expect(201);
    let found = eventually("the first", DEADLINE, async || {
        let found = audience(&app, &incident).await;
        (numbers(&found) == [1, 1, 2, 0]).then_some(found)
    })
    .await;
    assert_eq!(found["items"][0]["reasons"][0]["seen"]["recognised_by"], "id");
    app.import(r#"{"kind":"person","id":"late","name":"Late","email":"late@example.com"}"#)
        .await
        .expect(200);
    let found = eventually("the second", DEADLINE, async || {
        let found = audience(&app, &incident).await;
        (numbers(&found) == [2, 2, 1, 0]).then_some(found)
    })
    .await;
    assert_eq!(found["items"][0]["person"]["id"], "late");
    assert_eq!(
        found["items"][0]["reasons"][0]["seen"]["recognised_by"],
        "address"
    );
    let audited = app
        .all(&format!(
            "/api/v1/audit?incident={incident}&action=people.identified"
        ))
        .await;
    let named: Vec<&Value> = audited.iter().map(|event| &event["after"]["people"]).collect();
    assert_eq!(named, [&json!(["late"]), &json!(["newcomer"])]);
    assert_eq!(audited[0]["actor"]["kind"], "system");
    // If they appear again, they are known at once.
    happen(&app, &hook, event("7", START, Some(json!({"id": "newcomer"})))).await;
    let found = audience(&app, &incident).await;
    assert_eq!(numbers(&found), [2, 2, 1, 0]);
    assert_eq!(found["items"][1]["reasons"][0]["seen"]["events"], 2);
    app.finish().await;
}

async fn who_is_gone_or_has_no_address_is_unreachable(env: Env) {
    let app = started(&env).await;
    app.put("/api/v1/people/mute", json!({"name": "Mute", "email": ""}))
        .await
        .expect(201);
    app.delete("/api/v1/people/zuri").await.expect(204);
    let hook = hook(&app, "sentry").await;
    let incident = happen(&app, &hook, event("7", START, Some(json!({"id": "mute"})))).await;
    happen(&app, &hook, event("7", START, Some(json!({"id": "zuri"})))).await;
    happen(&app, &hook, event("7", START, Some(json!({"id": "amina"})))).await;
    let found = audience(&app, &incident).await;
    assert_eq!(numbers(&found), [2, 2, 0, 0]);
    assert_eq!(found["counts"]["unreachable"], 2);
    let unreachable: Vec<(&str, &str)> = found["unreachable"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["person"]["id"].as_str().expect("an id"),
                one["reason"].as_str().expect("a reason"),
            )
        })
        .collect();
    assert_eq!(
        unreachable,
        [("mute", "no address"), ("zuri", "archived in the directory")]
    );
    // A person who is archived later is not notified either.
    app.delete("/api/v1/people/amina").await.expect(204);
    let notice = app.draft(&incident, "detection").await;
    assert_eq!(app.preview(&notice).await.expect(200)["recipients"], 0);
    app.finish().await;
}

async fn who_came_later_was_not_there_then(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    app.set_clock("2021-10-06T13:00:00Z");
    app.put(
        "/api/v1/people/newcomer",
        json!({"name": "New", "email": "new@example.com"}),
    )
    .await
    .expect(201);
    app.set_clock("2021-10-06T14:00:00Z");
    let at = "2021-10-06T12:30:00Z";
    let incident = happen(&app, &hook, event("7", at, Some(json!({"id": "newcomer"})))).await;
    happen(&app, &hook, event("7", at, Some(json!({"id": "zuri"})))).await;
    let path = format!("/api/v1/incidents/{incident}/audience");
    let then = app.get(&format!("{path}?as_of=impact")).await.expect(200);
    assert_eq!(then["counts"]["people"], 1);
    assert_eq!(then["counts"]["unreachable"], 0, "{then}");
    assert_eq!(then["items"][0]["person"]["id"], "zuri");
    let difference = app.get(&format!("{path}/difference")).await.expect(200);
    assert_eq!(
        difference["counts"],
        json!({"added": 1, "removed": 0, "changed": 0, "not_known_then": 0})
    );
    assert_eq!(difference["items"][0]["person"]["id"], "newcomer");
    app.finish().await;
}

async fn a_mail_to_somebody_without_resources_reads_well(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let incident = happen(&app, &hook, event("7", START, Some(json!({"id": "zuri"})))).await;
    // Amina hit the error and also owns an affected resource.
    happen(&app, &hook, event("7", START, Some(json!({"id": "amina"})))).await;
    app.affect(&incident, "file", "interview-v1").await;
    app.tell(&incident, "detection").await;
    // The recipients are she, the two collaborators, and Zuri.
    let mails = app.mails(4).await;
    let of = |name: &str| {
        mails
            .iter()
            .find(|mail| mail.to.starts_with(name))
            .expect("a mail")
    };
    let zuri = of("zuri");
    assert_eq!(zuri.subject, "We are working on a problem with our service");
    for part in [&zuri.text, &zuri.html] {
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            part.contains("We have detected a problem with our service"),
            "{part}"
        );
        assert!(
            part.contains("You receive this because you had an error while you used our service."),
            "{part}"
        );
        for hidden in ["UploadError", "Affected", "interview"] {
            assert!(!part.contains(hidden), "{hidden} in {part}");
        }
    }
    let amina = of("amina");
    let text = amina.text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("which the affected resources belong to, and had an error while you used our service."),
        "{text}"
    );
    assert!(text.contains("interview-v1"), "{text}");
    app.finish().await;
}

async fn why_somebody_was_or_was_not_seen(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let incident = happen(&app, &hook, event("7", START, Some(json!({"id": "zuri"})))).await;
    let explain = async |who: &str| {
        let path = format!("/api/v1/incidents/{incident}/audience/explain?person={who}");
        let explained = app.get(&path).await.expect(200)["items"][0].clone();
        let steps = explained["steps"].as_array().expect("steps").clone();
        let step = steps
            .into_iter()
            .find(|step| step["about"] == "events")
            .expect("a step about events");
        (
            explained["in_audience"].clone(),
            step["ok"].clone(),
            step["detail"].as_str().expect("words").to_owned(),
        )
    };
    let (inside, ok, words) = explain("zuri").await;
    assert_eq!((inside, ok), (json!(true), json!(true)));
    assert_eq!(
        words,
        "was the user of 1 event of the alert “UploadError: socket hang up” at 2021-10-06T12:00:00Z, identified by ID"
    );
    let (inside, ok, words) = explain("grace").await;
    assert_eq!((inside, ok), (json!(false), json!(false)));
    assert_eq!(words, "is not a known user of any event");
    happen(&app, &hook, event("7", START, None)).await;
    happen(&app, &hook, event("7", START, Some(json!({"id": "x1"})))).await;
    let (_, _, words) = explain("grace").await;
    assert_eq!(
        words,
        "is not a known user of any event; there are also 1 user who is not in the directory and 1 event without a user"
    );
    app.finish().await;
}

async fn a_body_that_knows_no_people_counts_nobody(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "generic").await;
    let incident = happen(&app, &hook, json!({"title": "The disk is full"})).await;
    let found = audience(&app, &incident).await;
    assert_eq!(numbers(&found), [0, 0, 0, 0]);
    assert_eq!(found["unidentified"], json!([]));
    assert_eq!(env.count("alert_people"), 0);
    // An empty list means that users could have been named.
    let other = happen(&app, &hook, json!({"title": "Uploads fail", "people": []})).await;
    assert_eq!(numbers(&audience(&app, &other).await), [0, 0, 0, 1]);
    app.finish().await;
}

async fn who_comes_with_the_end_is_affected_and_reopens_nothing(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "generic").await;
    let body =
        |status: &str, people: Value| json!({"title": "Uploads fail", "status": status, "people": people});
    let incident = happen(&app, &hook, body("firing", json!([{"id": "zuri"}]))).await;
    let path = format!("/api/v1/incidents/{incident}");
    let end = async |people: Value| {
        let taken = app
            .anonymous()
            .post(&hook, body("resolved", people))
            .await
            .expect(202);
        assert_eq!(taken["resolved"], 1, "{taken}");
        for place in ["opened", "attached", "reopened"] {
            assert_eq!(taken[place], json!([]), "{place}");
        }
    };
    // A known person, a person who was seen before, and an unknown one.
    end(json!([{"id": "amina"}, {"id": "zuri"}, {"id": "x1"}])).await;
    let found = audience(&app, &incident).await;
    assert_eq!(numbers(&found), [2, 2, 1, 0]);
    let events: Vec<&Value> = found["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| &item["reasons"][0]["seen"]["events"])
        .collect();
    // The resolved event does not count again for the users that it repeats.
    assert_eq!(events, [&json!(1), &json!(1)]);
    assert_eq!(app.get(&path).await.expect(200)["status"], "monitoring");
    // The resolved event is repeated after a person closed the incident. The incident stays closed, and new
    // users are affected.
    app.resolve(&incident).await;
    end(json!([{"email": "amina@nyota-films.example"}, {"id": "x2"}])).await;
    end(json!([])).await;
    let found = audience(&app, &incident).await;
    assert_eq!(numbers(&found), [2, 2, 2, 0]);
    assert_eq!(app.get(&path).await.expect(200)["status"], "resolved");
    assert_eq!((env.count("incidents"), env.count("alerts")), (1, 1));
    let alerts = app.all("/api/v1/alerts").await;
    assert_eq!(
        (&alerts[0]["status"], &alerts[0]["repeats"]),
        (&json!("resolved"), &json!(0))
    );
    // If the firing event was missed, the users are recorded and nothing is opened.
    let missed = json!({"title": "Other", "status": "resolved", "people": [{"id": "zuri"}]});
    app.anonymous().post(&hook, missed).await.expect(202);
    assert_eq!((env.count("incidents"), env.count("alerts")), (1, 2));
    app.finish().await;
}

async fn words_that_no_directory_has_are_counted(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let long = "x".repeat(5_000);
    let mut incident = String::new();
    for id in ["a\u{0}b", "line\nbreak", long.as_str(), "' OR 1=1 --", "ünïcode"] {
        incident = happen(
            &app,
            &hook,
            event("7", START, Some(json!({"id": id, "email": id}))),
        )
        .await;
    }
    assert_eq!(numbers(&audience(&app, &incident).await), [0, 0, 5, 0]);
    app.finish().await;
}

async fn the_page_shows_who_is_unidentified(env: Env) {
    let app = started(&env).await;
    let hook = hook(&app, "sentry").await;
    let incident = happen(&app, &hook, event("7", START, Some(json!({"id": "zuri"})))).await;
    happen(
        &app,
        &hook,
        event("7", START, Some(json!({"id": "unknown-user-7"}))),
    )
    .await;
    let page = async || {
        let page = app.admin_page(&format!("/admin/incidents/{incident}")).await;
        page.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let shown = page().await;
    assert!(
        shown.contains("1 user who hit the error is not in the directory: affected people may be missing"),
        "{shown}"
    );
    let people = app
        .admin_page(&format!("/admin/incidents/{incident}/people"))
        .await;
    assert!(people.contains("<strong>hit the error</strong>"), "{people}");
    // The cached part of the page is not older than the last event.
    happen(&app, &hook, event("7", START, None)).await;
    let shown = page().await;
    assert!(
        shown.contains(
            "1 user who hit the error is not in the directory, 1 error has no user: affected people may be missing"
        ),
        "{shown}"
    );
    assert!(
        !shown.contains("unknown-user-7"),
        "an unknown user's id is on the page"
    );
    app.finish().await;
}
