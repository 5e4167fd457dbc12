//! The lost tag. Two workshops were merged, and the strategy for their tags was the wrong one. The merge deleted the tag DC instead of
//! assigning it. The API, asked for the events of a tag that did not exist any more, returned all events: 261,521 bytes instead of
//! 17,806. Finding out was slowed by time zones: a backup of 17:00 UTC-4, and a log with times between 15:01 and 15:30 of another zone.
//!
//! With Candor a merge assigns links and can be undone, a filter on a label that is gone is refused, and the trail answers with times
//! that name their offset.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases, recipients};

on_both_databases!(
    a_wrong_merge_is_undone_and_nothing_is_lost,
    a_filter_on_a_lost_label_is_refused,
    the_trail_answers_with_times_that_name_their_zone,
);

/// The events of the three tags: a workshop each, with one person who hosts it.
const TAGS: [(&str, usize); 3] = [("SWC", 13), ("DC", 2), ("TTT", 1)];

fn workshops() -> String {
    let mut lines = vec![json!({"kind": "account", "id": "carpentry", "name": "Carpentry"})];
    for (tag, workshops) in TAGS {
        for n in 1..=workshops {
            let id = format!("{tag}-{n}").to_lowercase();
            let host = format!("host-{id}");
            lines.push(json!({"kind": "person", "id": host, "name": host, "email": format!("{host}@workshops.example")}));
            lines.push(json!({"kind": "resource", "type": "workshop", "id": id, "account": "carpentry", "labels": {"tag": tag}}));
            lines.push(json!({"kind": "collaborator", "resource": {"type": "workshop", "id": id}, "person": host, "role": "host"}));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn selector(tag: &str) -> Value {
    json!({"selector": {"type": "workshop", "labels": {"tag": tag}}})
}

async fn incident(app: &TestApp, title: &str) -> String {
    let new = json!({"title": title, "severity": "minor"});
    let made = app.post("/api/v1/incidents", new).await.expect(201);
    format!("/api/v1/incidents/{}", made.id())
}

/// Counts every link of an incident, as its lists show them.
async fn links(app: &TestApp, incident: &str) -> BTreeMap<&'static str, Vec<Value>> {
    let id = incident.rsplit('/').next().expect("an id");
    let mut links = BTreeMap::new();
    let ids = |rows: Vec<Value>, field: &str| -> Vec<Value> {
        let mut found: Vec<Value> = rows.into_iter().map(|row| row[field].clone()).collect();
        found.sort_by_key(Value::to_string);
        found
    };
    links.insert(
        "affected",
        ids(app.all(&format!("{incident}/affected")).await, "resource"),
    );
    links.insert(
        "people",
        ids(app.all(&format!("{incident}/affected/people")).await, "person"),
    );
    links.insert(
        "next_steps",
        ids(app.all(&format!("{incident}/next-steps")).await, "id"),
    );
    links.insert(
        "alerts",
        ids(app.all(&format!("/api/v1/alerts?incident={id}")).await, "id"),
    );
    links.insert(
        "notices",
        ids(app.all(&format!("{incident}/notices")).await, "id"),
    );
    // The merge and its undo are on the timeline themselves.
    let entries = app.all(&format!("{incident}/timeline")).await;
    let of_merges = |text: &str| {
        ["Merged into", "was merged into", "merge into", "merge of"]
            .iter()
            .any(|part| text.contains(part))
    };
    let entries = entries
        .into_iter()
        .filter(|entry| !of_merges(entry["text"].as_str().unwrap_or_default()))
        .collect();
    links.insert("timeline", ids(entries, "id"));
    links
}

/// Two incidents as in the story: about the workshops in Atlanta, and about those of the association. Both are about tags.
async fn two_incidents(app: &TestApp) -> (String, String) {
    app.import(workshops()).await.expect(200);
    let atlanta = incident(app, "2016-05-06-RDAP16-Atlanta").await;
    let asist = incident(app, "2016-05-06-asist").await;
    app.post(&format!("{atlanta}/affected"), selector("SWC"))
        .await
        .expect(200);
    app.post(&format!("{asist}/affected"), selector("DC"))
        .await
        .expect(200);
    // One workshop is affected by both.
    let both = json!({"resources": [{"type": "workshop", "id": "swc-1"}]});
    app.post(&format!("{asist}/affected"), both).await.expect(200);
    let named = json!({"people": ["host-ttt-1"]});
    app.post(&format!("{atlanta}/affected/people"), named)
        .await
        .expect(200);
    for (incident, text) in [
        (&atlanta, "Restore the tag from the backup"),
        (&asist, "Fix the merge"),
    ] {
        let step = json!({"text": text, "owner": "Piotr"});
        app.post(&format!("{incident}/next-steps"), step)
            .await
            .expect(201);
        let entry =
            json!({"kind": "note", "text": format!("Seen: {text}"), "at": "2016-04-06T14:45:11-04:00"});
        app.post(&format!("{incident}/timeline"), entry).await.expect(201);
    }
    (atlanta, asist)
}

async fn a_wrong_merge_is_undone_and_nothing_is_lost(env: Env) {
    let app = TestApp::start(&env).await;
    let (atlanta, asist) = two_incidents(&app).await;
    let id = |incident: &str| incident.rsplit('/').next().expect("an id").to_owned();
    app.tell(&id(&asist), "detection").await;
    let mails = app.mails(3).await;
    assert_eq!(
        recipients(&mails),
        [
            "host-dc-1@workshops.example",
            "host-dc-2@workshops.example",
            "host-swc-1@workshops.example"
        ]
    );
    let before = (links(&app, &atlanta).await, links(&app, &asist).await);
    assert_eq!(before.0["affected"].len(), 13);
    assert_eq!(before.1["affected"].len(), 3);

    // The dry run says what moves, and moves nothing.
    let wrong = json!({"into": id(&atlanta), "dry_run": true});
    let dry = app.post(&format!("{asist}/merge"), wrong).await.expect(200);
    let moved = json!({"alerts": 0, "affected": 3, "people": 0, "timeline": before.1["timeline"].len(), "next_steps": 1,
        "notices": 1, "comparisons": 0, "drafts_left": 0});
    assert_eq!(dry["moved"], moved);
    assert_eq!(before, (links(&app, &atlanta).await, links(&app, &asist).await));

    let wrong = json!({"into": id(&atlanta), "reason": "the same workshop"});
    let merged = app.post(&format!("{asist}/merge"), wrong).await.expect(200);
    assert_eq!(
        (&merged["into"], &merged["moved"]),
        (&json!(id(&atlanta)), &moved)
    );
    let together = links(&app, &atlanta).await;
    // One workshop was affected by both, and is there once.
    assert_eq!(together["affected"].len(), 15);
    for kind in ["next_steps", "timeline", "notices"] {
        assert_eq!(
            together[kind].len(),
            before.0[kind].len() + before.1[kind].len(),
            "{kind}"
        );
    }
    // Whoever heard of the one counts as notified of the other one.
    let detection = app.draft(&id(&atlanta), "detection").await;
    let preview = app.preview(&detection).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["already_told"]),
        (&json!(13), &json!(3))
    );
    app.delete(&format!("/api/v1/notices/{detection}"))
        .await
        .expect(204);
    // The merged one takes nothing new, and says where it went.
    let shown = app.get(&asist).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["merged_into"]),
        (&json!("merged"), &json!(id(&atlanta)))
    );
    let refused = app
        .post(&format!("{asist}/affected"), selector("TTT"))
        .await
        .expect_problem(409);
    assert_eq!(refused["code"], "merged");

    // It was the wrong choice. Every link is back.
    app.post(&format!("{asist}/unmerge"), json!({})).await.expect(200);
    let after = (links(&app, &atlanta).await, links(&app, &asist).await);
    assert_eq!(before.0, after.0);
    assert_eq!(before.1, after.1);
    let shown = app.get(&asist).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["merged_into"]),
        (&json!("investigating"), &Value::Null)
    );
    // The tag itself was never in danger.
    let counted = app
        .post(
            "/api/v1/selectors/count",
            json!({"selector": "type:workshop tag:DC"}),
        )
        .await
        .expect(200);
    assert_eq!(counted["resources"], 2);
    app.finish().await;
}

async fn a_filter_on_a_lost_label_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(workshops()).await.expect(200);
    let incident = incident(&app, "The website shows the wrong workshops").await;
    let count = async |selector: &str| {
        app.post("/api/v1/selectors/count", json!({"selector": selector}))
            .await
    };
    assert_eq!(count("type:workshop tag:DC").await.expect(200)["resources"], 2);
    // Somebody deletes the tag: no workshop has it any more.
    for n in 1..=2 {
        let without = json!({"account": "carpentry", "labels": {"tag": "SWC"}});
        app.put(&format!("/api/v1/resources/workshop/dc-{n}"), without)
            .await
            .expect(200);
    }
    // The website asked again every thirty minutes. It gets an error, and neither nothing nor everything.
    count("type:workshop tag:DC").await.expect_problem(422);
    app.post(&format!("{incident}/affected"), selector("DC"))
        .await
        .expect_problem(422);
    let mistyped = json!({"selector": {"type": "workshop", "labels": {"tags": "SWC"}}});
    app.post(&format!("{incident}/affected"), mistyped)
        .await
        .expect_problem(422);
    for list in [
        "incidents?tag=DC",
        "resources?tag=DC",
        "incidents?status=",
        "incidents?severity=DC",
    ] {
        app.get(&format!("/api/v1/{list}")).await.expect_problem(422);
    }
    assert!(app.all(&format!("{incident}/affected")).await.is_empty());
    app.finish().await;
}

async fn the_trail_answers_with_times_that_name_their_zone(env: Env) {
    // The merge is at 15:20 in the zone of the log, which is 19:20 in UTC.
    let app = TestApp::builder(&env).at("2016-04-06T18:50:00Z").start().await;
    let (atlanta, asist) = two_incidents(&app).await;
    let id = |incident: &str| incident.rsplit('/').next().expect("an id").to_owned();
    app.set_clock("2016-04-06T19:20:00Z");
    app.post(&format!("{asist}/merge"), json!({"into": id(&atlanta)}))
        .await
        .expect(200);
    app.set_clock("2016-04-06T21:00:00Z");
    app.post(&format!("{asist}/unmerge"), json!({})).await.expect(200);
    // Who did what to it between 15:01 and 15:30 in the zone of the log? One request answers.
    let between = "from=2016-04-06T15:01:11-04:00&to=2016-04-06T15:30:10-04:00";
    let events = app
        .all(&format!("/api/v1/audit?incident={}&{between}", id(&asist)))
        .await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    assert_eq!(event["action"], "incident.merged");
    assert_eq!(event["after"]["into"], json!(id(&atlanta)));
    assert_eq!(event["at"], "2016-04-06T19:20:00Z");
    assert!(!event["actor"]["name"].as_str().expect("a name").is_empty());
    // The same question about the other incident, by its subject.
    let events = app
        .all(&format!(
            "/api/v1/audit?subject=incident/{}&{between}",
            id(&atlanta)
        ))
        .await;
    let actions: Vec<&Value> = events.iter().map(|event| &event["action"]).collect();
    assert_eq!(actions, ["incident.took_merged"]);
    // An input without a zone is refused, so nobody has to guess.
    for path in [
        format!("/api/v1/audit?incident={}&from=2016-04-06T15:01:11", id(&asist)),
        format!("/api/v1/audit?incident={}&to=2016-04-06%2017:00", id(&asist)),
    ] {
        app.get(&path).await.expect_problem(422);
    }
    let entry = json!({"kind": "note", "text": "The backup has the tag", "at": "2016-04-06T17:00:00"});
    app.post(&format!("{asist}/timeline"), entry)
        .await
        .expect_invalid("/at");
    // What was given in another zone is stored in UTC, and shown with the offset in which it was given.
    let entries = app.all(&format!("{asist}/timeline")).await;
    let noted = entries
        .iter()
        .find(|entry| entry["text"] == "Seen: Fix the merge")
        .expect("the entry");
    assert_eq!(
        (&noted["at"], &noted["local_at"]),
        (
            &json!("2016-04-06T18:45:11Z"),
            &json!("2016-04-06T14:45:11-04:00")
        )
    );
    app.finish().await;
}
