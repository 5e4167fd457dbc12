//! Incidents are merged, merges are undone, and incidents are split. No link is lost, nobody is told twice of one thing, and whoever
//! heard the beginning hears the end.

use std::sync::Arc;

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::browser::Browser;
use crate::support::recovery::{BETA, OPENED, Stored};
use crate::support::story::{ADDRESSES, FILES, PROJECT};
use crate::support::{
    ADMIN_TOKEN, DEADLINE, Env, TestApp, on_both_databases, recipients, story_directory, wait_until,
};

on_both_databases!(
    a_merged_incident_takes_nothing_new,
    what_cannot_be_merged_is_refused_with_a_reason,
    a_send_in_progress_is_waited_for_on_one_side_only,
    merged_ones_are_merged_and_taken_out_in_any_order,
    whoever_heard_that_it_is_over_hears_that_it_is_not,
    two_that_are_over_tell_each_person_once,
    later_alerts_go_where_the_incident_went,
    who_was_told_counts_and_hears_the_end,
    a_wrong_email_from_before_the_merge_is_corrected,
    what_came_since_stays,
    a_state_of_recovery_is_never_better_than_what_was_seen,
    a_storm_is_merged_at_once_or_not_at_all,
    an_incident_is_split,
    a_merged_incident_is_neither_open_nor_resolved,
    likely_merges_are_proposed,
    the_pages_merge_undo_and_split,
);

fn path(incident: &str) -> String {
    format!("/api/v1/incidents/{incident}")
}

async fn merge(app: &TestApp, from: &str, into: &str) {
    app.post(&format!("{}/merge", path(from)), json!({"into": into}))
        .await
        .expect(200);
}

async fn unmerge(app: &TestApp, incident: &str) {
    app.post(&format!("{}/unmerge", path(incident)), json!({}))
        .await
        .expect(200);
}

async fn refused(app: &TestApp, from: &str, into: &str, code: &str) -> String {
    for dry_run in [true, false] {
        let body = json!({"into": into, "dry_run": dry_run});
        let answer = app
            .post(&format!("{}/merge", path(from)), body)
            .await
            .expect_problem(409);
        assert_eq!(answer["code"], code, "{answer}");
        if !dry_run {
            return answer["detail"].as_str().expect("a reason").to_owned();
        }
    }
    unreachable!("the second request is no dry run")
}

async fn status(app: &TestApp, incident: &str) -> Value {
    app.get(&path(incident)).await.expect(200)["status"].clone()
}

async fn affected(app: &TestApp, incident: &str) -> Vec<String> {
    let rows = app.all(&format!("{}/affected", path(incident))).await;
    let mut ids: Vec<String> = rows
        .iter()
        .map(|row| row["resource"]["id"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids
}

async fn set_status(app: &TestApp, incident: &str, status: &str) {
    app.post(&format!("{}/status", path(incident)), json!({"status": status}))
        .await
        .expect(200);
}

/// Two incidents of the directory of the story: about its files, whose project three people work on, and about a project of another
/// account, which two people work on.
async fn files_and_market(app: &TestApp) -> (String, String) {
    let files = app.story_incident().await;
    let market = app.incident([("project", "market-day")]).await;
    (files, market)
}

async fn a_merged_incident_takes_nothing_new(env: Env) {
    let app = TestApp::start(&env).await;
    let (files, market) = files_and_market(&app).await;
    let sent = app.tell(&files, "detection").await;
    let draft = app.draft(&files, "update").await;
    let step = json!({"text": "Move the files", "owner": "Sarah"});
    app.post(&format!("{}/next-steps", path(&files)), &step)
        .await
        .expect(201);
    merge(&app, &files, &market).await;
    let (at, notice) = (path(&files), format!("/api/v1/notices/{draft}"));
    let events = env.count("audit_events");
    let digest = app.digest(&draft).await;
    let changes = [
        (at.clone(), json!({"title": "Another title"}), "PATCH"),
        (format!("{at}/status"), json!({"status": "resolved"}), "POST"),
        (
            format!("{at}/timeline"),
            json!({"kind": "note", "text": "A note"}),
            "POST",
        ),
        (
            format!("{at}/affected"),
            json!({"resources": [{"type": "project", "id": PROJECT}]}),
            "POST",
        ),
        // Already affected: even what would change nothing is refused.
        (
            format!("{at}/affected"),
            json!({"resources": [{"type": "file", "id": FILES[0]}]}),
            "POST",
        ),
        (
            format!("{at}/affected/remove"),
            json!({"resources": [{"type": "file", "id": FILES[0]}]}),
            "POST",
        ),
        (format!("{at}/affected/file/{}", FILES[0]), Value::Null, "DELETE"),
        (
            format!("{at}/affected/people"),
            json!({"people": ["grace"]}),
            "POST",
        ),
        (
            format!("{at}/affected/people/remove"),
            json!({"people": ["grace"]}),
            "POST",
        ),
        (format!("{at}/next-steps"), step, "POST"),
        (
            format!("{at}/notices"),
            json!({"phase": "detection", "message": "Again"}),
            "POST",
        ),
        (
            format!("{at}/recovery"),
            json!({"state": "recovering", "resources": [{"type": "file", "id": FILES[0]}]}),
            "POST",
        ),
        (
            format!("{at}/recovery/attest"),
            json!({"resources": [{"type": "file", "id": FILES[0]}], "reason": "Seen"}),
            "POST",
        ),
        (format!("{at}/comparisons"), json!({"name": "Files"}), "POST"),
        (
            format!("{at}/answers"),
            json!({"person": "amina", "answer": "works"}),
            "POST",
        ),
        (format!("{at}/answers/remind"), json!({}), "POST"),
        (format!("{at}/resolve-references"), json!({}), "POST"),
        (
            format!("{at}/report"),
            json!({"title": "What happened", "sections": []}),
            "PUT",
        ),
        (format!("{at}/automation/hold"), json!({}), "POST"),
        (
            format!("{at}/split"),
            json!({"resources": [{"type": "file", "id": FILES[0]}], "title": "Apart"}),
            "POST",
        ),
        (notice.clone(), json!({"message": "Another message"}), "PATCH"),
        (notice.clone(), Value::Null, "DELETE"),
        (format!("{notice}/send"), json!({"digest": digest}), "POST"),
        (format!("{notice}/approve"), json!({"digest": digest}), "POST"),
        (
            format!("{notice}/test"),
            json!({"to": "somebody@example.com"}),
            "POST",
        ),
        (format!("/api/v1/notices/{sent}/catch-up"), json!({}), "POST"),
        (format!("/api/v1/notices/{sent}/resume"), json!({}), "POST"),
        (format!("{at}/merge"), json!({"into": market}), "POST"),
    ];
    for (path, body, method) in changes {
        let method = method.parse().expect("a method");
        let mut request = app.request(method, &path);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect_problem(409);
        assert_eq!(answer["code"], "merged", "{}: {answer}", answer.request);
        let detail = answer["detail"].as_str().expect("a reason");
        assert!(detail.contains("#1") && detail.contains("#2"), "{detail}");
    }
    assert_eq!(
        env.count("audit_events"),
        events,
        "a refused change left an event"
    );
    // The domain refuses it too, wherever a change comes from.
    let url = candor::db::DatabaseUrl::parse(&env.database_url).expect("a database");
    let db = candor::db::Db::open(url, app.clock.clone())
        .await
        .expect("the database");
    let id = candor::base::id::IncidentId::parse(&files).expect("an ID");
    let entry = serde_json::from_value(json!({"kind": "note", "text": "From inside"})).expect("an entry");
    let written = db
        .write(&candor::audit::Actor::system("tests"), move |tx| {
            candor::incident::timeline::add(tx, &id, &entry)
        })
        .await;
    let error = written.expect_err("a merged incident took a timeline entry");
    assert_eq!(
        error.coded().1,
        Some(candor::base::code::Code::Merged),
        "{error:?}"
    );
    assert_eq!(env.count("timeline_entries WHERE text = 'From inside'"), 0);
    // It can be read, with what it was.
    for rest in [
        "",
        "/timeline",
        "/affected",
        "/notices",
        "/audience",
        "/metrics",
        "/answers",
        "/unreached",
        "/recovery",
    ] {
        app.get(&format!("{at}{rest}")).await.expect(200);
    }
    assert_eq!(affected(&app, &files).await, FILES);
    let texts = app.all(&format!("{at}/timeline")).await;
    assert!(
        texts.iter().any(|entry| entry["text"] == "Merged into #2"),
        "{texts:?}"
    );
    assert!(
        texts.iter().any(|entry| entry["text"] == "Incident opened"),
        "{texts:?}"
    );
    app.finish().await;
}

async fn what_cannot_be_merged_is_refused_with_a_reason(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.drill_to = vec!["drills@example.com".to_owned()])
        .start()
        .await;
    let (files, market) = files_and_market(&app).await;
    let reason = refused(&app, &files, &files, "merge_refused").await;
    assert!(reason.contains("into itself"), "{reason}");
    let new = json!({"title": "An exercise", "severity": "minor", "drill": true});
    let drill = app.post("/api/v1/incidents", new).await.expect(201).id();
    for (from, into) in [(&drill, &files), (&files, &drill)] {
        let reason = refused(&app, from, into, "merge_refused").await;
        assert!(reason.contains("is a drill"), "{reason}");
    }
    app.resolve(&market).await;
    let reason = refused(&app, &files, &market, "merge_refused").await;
    assert!(reason.contains("reopen #2 first"), "{reason}");
    set_status(&app, &market, "investigating").await;
    merge(&app, &files, &market).await;
    // A circle.
    let reason = refused(&app, &market, &files, "merge_refused").await;
    assert!(reason.contains("undo that merge first"), "{reason}");
    // Into one that is merged: the answer names where it is.
    let third = app.incident([("project", "harbour")]).await;
    let reason = refused(&app, &third, &files, "merged").await;
    assert!(reason.contains("into #2"), "{reason}");
    let reason = refused(&app, &files, &third, "merged").await;
    assert!(reason.contains("undo the merge"), "{reason}");
    let answer = app
        .post(&format!("{}/unmerge", path(&third)), json!({}))
        .await
        .expect_problem(409);
    assert_eq!(answer["code"], "not_merged");
    let nothing = json!({"into": "00000000-0000-7000-8000-000000000000"});
    app.post(&format!("{}/merge", path(&third)), nothing)
        .await
        .expect_invalid("/into");
    app.post(
        &format!("{}/merge", path(&third)),
        json!({"into": market, "reason": "x".repeat(100_000)}),
    )
    .await
    .expect_invalid("/reason");
    app.post(
        &format!("{}/merge", path(&third)),
        json!({"into": market, "force": true}),
    )
    .await
    .expect_problem(422);
    // The status is not set like another one.
    app.post(&format!("{}/status", path(&third)), json!({"status": "merged"}))
        .await
        .expect_invalid("/status");
    let viewer = app.as_new("viewer").await;
    viewer
        .post(&format!("{}/merge", path(&third)), json!({"into": market}))
        .await
        .expect_problem(403);
    assert_eq!(status(&app, &third).await, "investigating");
    app.finish().await;
}

async fn a_send_in_progress_is_waited_for_on_one_side_only(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let policy = Policy::new(move |_| Decision::Hold(Arc::clone(&hold)));
    // With one connection, at most one email is on its way when the notice is stopped.
    let app = TestApp::builder(&env)
        .smtp_policy(policy)
        .send_concurrency(1)
        .start()
        .await;
    let (files, market) = files_and_market(&app).await;
    let (first, second) = (
        app.draft(&files, "detection").await,
        app.draft(&market, "detection").await,
    );
    app.send_as_previewed(&first).await;
    app.send_as_previewed(&second).await;
    // Both are being sent, and each of them may not be merged away now.
    for (from, into) in [(&files, &market), (&market, &files)] {
        let reason = refused(&app, from, into, "merge_refused").await;
        assert!(reason.contains("still being sent"), "{reason}");
    }
    app.post(&format!("/api/v1/notices/{first}/stop"), json!({}))
        .await
        .expect(200);
    wait_until("the notice to be stopped", DEADLINE, async || {
        app.notice(&first).await["state"] == "stopped"
    })
    .await;
    // The other one may still be sending: its list is frozen.
    merge(&app, &files, &market).await;
    permits.add_permits(Semaphore::MAX_PERMITS / 2);
    app.done(&second).await;
    wait_until(
        "the outcome of the email that was on its way",
        DEADLINE,
        async || app.addresses(&first, "pending").await.is_empty(),
    )
    .await;
    // Whoever was stopped heard nothing, and is caught up by the incident that goes on.
    let catch_up = app
        .post(&format!("/api/v1/notices/{second}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    let preview = app.preview(&catch_up).await.expect(200);
    let told_first = app.addresses(&first, "sent").await.len() as u64;
    assert_eq!(preview["recipients"], 3 - told_first);
    app.finish().await;
}

async fn merged_ones_are_merged_and_taken_out_in_any_order(env: Env) {
    let app = TestApp::start(&env).await;
    let (first, second) = files_and_market(&app).await;
    let third = app
        .incident([("project", "harbour"), ("project", "market-day")])
        .await;
    let own = async |incident: &str| affected(&app, incident).await;
    let before = (own(&first).await, own(&second).await, own(&third).await);
    let entries = async |incident: &str| {
        let all = app.all(&format!("{}/timeline", path(incident))).await;
        all.iter()
            .filter(|entry| entry["text"] == "Incident opened")
            .count()
    };
    for outer_first in [true, false] {
        merge(&app, &first, &second).await;
        merge(&app, &second, &third).await;
        assert_eq!(own(&third).await, ["harbour", FILES[0], FILES[1], "market-day"]);
        assert_eq!(entries(&third).await, 3);
        let merged = app.get(&format!("{}/merged", path(&third))).await.expect(200);
        assert_eq!(merged.items().len(), 1, "only those that are merged directly");
        if outer_first {
            // The second one comes out with the first one in it.
            unmerge(&app, &second).await;
            assert_eq!(
                (status(&app, &first).await, own(&third).await),
                (json!("merged"), before.2.clone())
            );
            assert_eq!(own(&second).await, [FILES[0], FILES[1], "market-day"]);
            assert_eq!((entries(&second).await, entries(&third).await), (2, 1));
            unmerge(&app, &first).await;
        } else {
            // The first one comes out alone, and the second one stays where it is.
            unmerge(&app, &first).await;
            assert_eq!(own(&third).await, ["harbour", "market-day"]);
            assert_eq!((entries(&first).await, entries(&third).await), (1, 2));
            unmerge(&app, &second).await;
        }
        assert_eq!((own(&first).await, own(&second).await, own(&third).await), before);
        assert_eq!(
            (
                entries(&first).await,
                entries(&second).await,
                entries(&third).await
            ),
            (1, 1, 1)
        );
    }
    assert_eq!(env.count("incident_merges"), 0);
    assert_eq!(env.count("merged_links"), 0);
    assert_eq!(env.count("merged_rows"), 0);
    app.finish().await;
}

async fn whoever_heard_that_it_is_over_hears_that_it_is_not(env: Env) {
    let app = TestApp::start(&env).await;
    let (files, market) = files_and_market(&app).await;
    app.tell(&files, "detection").await;
    app.resolve(&files).await;
    app.tell(&files, "resolution").await;
    app.mails(6).await;
    merge(&app, &files, &market).await;
    let detection = app.draft(&market, "detection").await;
    let preview = app.preview(&detection).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["already_told"]),
        (&json!(5), &json!(0))
    );
    app.send_as_previewed(&detection).await;
    app.done(&detection).await;
    app.mails(11).await;
    // The undo gives back that it is resolved.
    unmerge(&app, &files).await;
    let shown = app.get(&path(&files)).await.expect(200);
    assert_eq!(shown["status"], "resolved");
    assert!(shown["resolved_at"].is_string(), "{shown}");
    app.finish().await;
}

async fn two_that_are_over_tell_each_person_once(env: Env) {
    let app = TestApp::start(&env).await;
    let (files, market) = files_and_market(&app).await;
    for incident in [&files, &market] {
        app.tell(incident, "detection").await;
        app.resolve(incident).await;
    }
    app.tell(&files, "resolution").await;
    app.mails(8).await;
    merge(&app, &files, &market).await;
    // The three of the first one have heard that it is over.
    let resolution = app.draft(&market, "resolution").await;
    assert_eq!(app.preview(&resolution).await.expect(200)["recipients"], 2);
    app.send_as_previewed(&resolution).await;
    app.done(&resolution).await;
    app.mails(10).await;
    app.finish().await;
}

async fn later_alerts_go_where_the_incident_went(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    let first = app.fires(&monitoring, "storage", PROJECT, "major").await;
    let second = app.fires(&monitoring, "market", "market-day", "major").await;
    let alerts = async |incident: &str| {
        let shown = app.get(&path(incident)).await.expect(200);
        let listed = app
            .all(&format!("/api/v1/alerts?incident={incident}"))
            .await
            .len();
        assert_eq!(shown["alerts"], listed, "{shown}");
        (listed, shown["alerts_received"].as_i64().expect("a number"))
    };
    merge(&app, &first, &second).await;
    assert_eq!((alerts(&first).await, alerts(&second).await), ((0, 0), (2, 2)));
    // The same problem again, and its end, belong to the other one.
    app.fires_again(&monitoring, "storage").await;
    assert_eq!((alerts(&first).await, alerts(&second).await), ((0, 0), (2, 3)));
    app.ends(&monitoring, "storage").await;
    assert_eq!(
        status(&app, &second).await,
        "investigating",
        "the other alert still fires"
    );
    app.ends(&monitoring, "market").await;
    assert_eq!(status(&app, &second).await, "monitoring");
    // It begins anew: the alert is new, and comes to the other one too.
    app.fires_anew(&monitoring, "storage", "2024-03-14T07:30:00Z")
        .await;
    assert_eq!(alerts(&second).await.0, 3);
    assert_eq!(status(&app, &second).await, "investigating");
    assert_eq!(env.count("incidents"), 2);
    unmerge(&app, &first).await;
    // The alert from before is back with its repeats. The one that came since stays.
    assert_eq!((alerts(&first).await, alerts(&second).await), ((1, 2), (2, 2)));
    assert_eq!(affected(&app, &first).await, [PROJECT]);
    app.finish().await;
}

async fn who_was_told_counts_and_hears_the_end(env: Env) {
    let app = TestApp::start(&env).await;
    let (files, market) = files_and_market(&app).await;
    app.tell(&files, "detection").await;
    app.mails(3).await;
    // One of them is not affected any more.
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    merge(&app, &files, &market).await;
    let audience = app.get(&format!("{}/audience", path(&market))).await.expect(200);
    assert_eq!(
        audience["counts"]["partition"],
        json!({"people": 4, "accepted": 2, "sending": 0, "failed": 0, "unreachable": 0, "not_notified": 2})
    );
    app.tell(&market, "detection").await;
    let mails = app.mails(5).await;
    assert_eq!(
        recipients(&mails[3..]),
        ["grace@kilele-studio.example", "tumaini@kilele-studio.example"]
    );
    let notices = app.all(&format!("{}/notices", path(&market))).await;
    assert_eq!(notices.len(), 2, "the notice of the merged one is listed");
    app.resolve(&market).await;
    app.tell(&market, "resolution").await;
    let mails = app.mails(10).await;
    let mut heard = recipients(&mails[5..]);
    heard.sort();
    let mut all: Vec<String> = ADDRESSES.map(str::to_owned).to_vec();
    all.extend([
        "grace@kilele-studio.example".to_owned(),
        "tumaini@kilele-studio.example".to_owned(),
    ]);
    all.sort();
    assert_eq!(heard, all, "whoever heard the beginning hears the end");
    app.finish().await;
}

async fn a_wrong_email_from_before_the_merge_is_corrected(env: Env) {
    let app = TestApp::start(&env).await;
    let (files, market) = files_and_market(&app).await;
    let wrong = app.tell(&files, "detection").await;
    let remove = json!({"resources": FILES.map(|id| json!({"type": "file", "id": id}))});
    merge(&app, &files, &market).await;
    app.post(&format!("{}/affected/remove", path(&market)), remove)
        .await
        .expect(200);
    let draft = json!({"phase": "correction", "corrects": wrong, "message": "You are not affected."});
    let correction = app
        .post(&format!("{}/notices", path(&market)), draft)
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    assert_eq!(recipients(&app.mails(6).await[3..]), ADDRESSES);
    // They hear no end of it.
    app.resolve(&market).await;
    let resolution = app.draft(&market, "resolution").await;
    assert_eq!(app.preview(&resolution).await.expect(200)["recipients"], 2);
    app.finish().await;
}

async fn what_came_since_stays(env: Env) {
    let app = TestApp::start(&env).await;
    let (files, market) = files_and_market(&app).await;
    let named = json!({"people": ["otieno"]});
    app.post(&format!("{}/affected/people", path(&files)), &named)
        .await
        .expect(200);
    let both = json!({"resources": [{"type": "file", "id": FILES[0]}], "relevance": "possibly"});
    app.post(&format!("{}/affected", path(&market)), both)
        .await
        .expect(200);
    merge(&app, &files, &market).await;
    let relevance = async || {
        let rows = app.all(&format!("{}/affected", path(&market))).await;
        let row = rows.iter().find(|row| row["resource"]["id"] == FILES[0]).cloned();
        row.expect("the file")["relevance"].clone()
    };
    // What both have counts as the more certain one.
    assert_eq!(relevance().await, "impaired");
    // Somebody says since that it affects this one too, and adds something new.
    app.affect(&market, "file", FILES[1]).await;
    app.affect(&market, "project", "harbour").await;
    let step = json!({"text": "Since the merge", "owner": "Sarah"});
    app.post(&format!("{}/next-steps", path(&market)), step)
        .await
        .expect(201);
    // Somebody takes a person out since. The merged one keeps its own.
    app.post(&format!("{}/affected/people/remove", path(&market)), &named)
        .await
        .expect(200);
    unmerge(&app, &files).await;
    assert_eq!(affected(&app, &files).await, FILES);
    assert_eq!(
        affected(&app, &market).await,
        ["harbour", FILES[0], FILES[1], "market-day"]
    );
    assert_eq!(relevance().await, "possibly");
    let people = async |incident: &str| {
        app.all(&format!("{}/affected/people", path(incident)))
            .await
            .len()
    };
    assert_eq!((people(&files).await, people(&market).await), (1, 0));
    let steps = async |incident: &str| app.all(&format!("{}/next-steps", path(incident))).await.len();
    assert_eq!((steps(&files).await, steps(&market).await), (0, 1));
    app.finish().await;
}

async fn a_state_of_recovery_is_never_better_than_what_was_seen(env: Env) {
    let app = TestApp::builder(&env).at(OPENED).start().await;
    let stored = Stored::told(app).await;
    stored.recover("2024-04-20T12:00:00Z", &["a1", "a2"]).await;
    // Another incident saw two of them, one before and one after the evidence.
    stored.app.set_clock("2024-04-20T11:00:00Z");
    let other = Stored {
        incident: stored
            .app
            .incident([("file", "a1"), ("file", "a2"), ("file", BETA)])
            .await,
        app: stored.app,
    };
    other.begin(&["a1"]).await;
    other.app.set_clock("2024-04-20T13:00:00Z");
    other.begin(&["a2"]).await;
    let state = async |app: &TestApp, incident: &str, file: &str| {
        let rows = app
            .all(&format!("{}/recovery/resources?limit=500", path(incident)))
            .await;
        let row = rows.iter().find(|row| row["resource"]["id"] == file).cloned();
        row.unwrap_or_else(|| panic!("{file} in {rows:?}"))["state"].clone()
    };
    let (into, from) = (&stored.incident, &other.incident);
    other.app.set_clock("2024-04-20T14:00:00Z");
    merge(&other.app, from, into).await;
    assert_eq!(
        state(&other.app, into, "a1").await,
        "recovered",
        "the evidence is newer"
    );
    assert_eq!(
        state(&other.app, into, "a2").await,
        "impaired",
        "it was seen to be wrong since"
    );
    other.app.set_clock("2024-04-20T15:00:00Z");
    unmerge(&other.app, from).await;
    assert_eq!(state(&other.app, into, "a2").await, "recovered");
    assert_eq!(state(&other.app, from, "a2").await, "impaired");
    other.app.finish().await;
}

async fn a_storm_is_merged_at_once_or_not_at_all(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let mut storm = Vec::new();
    for _ in 0..40 {
        storm.push(app.incident([("project", PROJECT)]).await);
    }
    let into = app.incident([("project", "market-day")]).await;
    // One of them cannot be merged, so none is.
    app.resolve(&into).await;
    let all = json!({"from": storm, "into": into});
    app.post("/api/v1/incidents/merge", &all)
        .await
        .expect_problem(409);
    assert_eq!(env.count("incidents WHERE status = 'merged'"), 0);
    set_status(&app, &into, "investigating").await;
    let dry = app
        .post(
            "/api/v1/incidents/merge",
            json!({"from": storm, "into": into, "dry_run": true}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&dry["moved"]["affected"], &dry["dry_run"]),
        (&json!(40), &json!(true))
    );
    assert_eq!(env.count("incidents WHERE status = 'merged'"), 0);
    let merged = app.post("/api/v1/incidents/merge", &all).await.expect(200);
    assert_eq!(merged["merged"].as_array().map(Vec::len), Some(40));
    assert_eq!(env.count("incidents WHERE status = 'merged'"), 40);
    assert_eq!(affected(&app, &into).await, ["market-day", PROJECT]);
    // The last one that is taken out takes the resource with it.
    for (n, incident) in storm.iter().enumerate() {
        assert_eq!(affected(&app, &into).await.len(), 2, "{n}");
        unmerge(&app, incident).await;
    }
    assert_eq!(affected(&app, &into).await, ["market-day"]);
    for wrong in [
        json!({"from": [], "into": into}),
        json!({"from": [storm[0], storm[0]], "into": into}),
        json!({"from": ["00000000-0000-7000-8000-000000000000"], "into": into}),
        json!({"into": into}),
    ] {
        app.post("/api/v1/incidents/merge", wrong)
            .await
            .expect_problem(422);
    }
    app.finish().await;
}

async fn an_incident_is_split(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    let first = app.fires(&monitoring, "storage", PROJECT, "critical").await;
    let second = app.fires(&monitoring, "market", "market-day", "major").await;
    app.affect(&first, "project", "harbour").await;
    merge(&app, &second, &first).await;
    let alerts = app.all(&format!("/api/v1/alerts?incident={first}")).await;
    let market = alerts
        .iter()
        .find(|alert| alert["fingerprint"] == "market")
        .expect("the alert")["id"]
        .clone();
    let at = format!("{}/split", path(&first));
    for (wrong, place) in [
        (json!({"title": "Apart"}), ""),
        (
            json!({"title": "Apart", "alerts": ["00000000-0000-7000-8000-000000000000"]}),
            "/alerts/0",
        ),
        (
            json!({"title": "Apart", "resources": [{"type": "project", "id": "nothing"}]}),
            "/resources/0",
        ),
        (json!({"title": "", "alerts": [market]}), "/title"),
    ] {
        app.post(&at, wrong).await.expect_invalid(place);
    }
    assert_eq!(env.count("incidents"), 2);
    let new = json!({"title": "Only the market", "alerts": [market], "resources": [{"type": "project", "id": "harbour"}]});
    let new = app.post(&at, new).await.expect(201);
    assert_eq!(
        (&new["severity"], &new["alerts"]),
        (&json!("critical"), &json!(1))
    );
    // The resource that only this alert names goes with it.
    assert_eq!(affected(&app, &new.id()).await, ["harbour", "market-day"]);
    assert_eq!(affected(&app, &first).await, [PROJECT]);
    // Later messages of the alert follow it.
    app.fires_again(&monitoring, "market").await;
    assert_eq!(app.get(&path(&new.id())).await.expect(200)["alerts_received"], 2);
    // The undo of the merge takes nothing away from the new one.
    unmerge(&app, &second).await;
    assert_eq!(app.get(&path(&second)).await.expect(200)["alerts"], 0);
    assert_eq!(app.get(&path(&new.id())).await.expect(200)["alerts"], 1);
    assert_eq!(affected(&app, &second).await, ["market-day"]);
    let events = app
        .all(&format!("/api/v1/audit?action=incident.split&incident={first}"))
        .await;
    assert_eq!((events.len(), &events[0]["after"]["into"]), (1, &json!(new.id())));
    app.finish().await;
}

async fn a_merged_incident_is_neither_open_nor_resolved(env: Env) {
    let app = TestApp::start(&env).await;
    let (files, market) = files_and_market(&app).await;
    app.resolve(&files).await;
    app.resolve(&market).await;
    merge(&app, &files, &market).await;
    let count = async |filter: &str| app.all(&format!("/api/v1/incidents?{filter}")).await.len();
    assert_eq!(
        (
            count("open=true").await,
            count("open=false").await,
            count("status=resolved").await,
            count("status=merged").await,
            count("limit=500").await,
        ),
        (0, 1, 1, 1, 2)
    );
    let now = app.get("/api/v1/now").await.expect(200);
    assert_eq!(now["resolved"].as_array().map(Vec::len), Some(1), "{now}");
    assert_eq!(now["open"], json!([]));
    let needs = now["needs"].to_string();
    assert!(!needs.contains(&files), "{needs}");
    let due = app.get("/api/v1/reports/due").await.expect(200);
    assert!(due.text.contains(&market) && !due.text.contains(&files), "{due}");
    let found = app.get("/api/v1/search?q=Files").await.expect(200);
    assert!(
        found.text.contains("\"merged\""),
        "the search says how it stands: {found}"
    );
    app.finish().await;
}

async fn likely_merges_are_proposed(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T08:00:00Z").start().await;
    let files = app.story_incident().await;
    app.set_clock("2024-03-14T08:10:00Z");
    // Another resource of the same account, and a resource of nobody of them.
    let harbour = app.incident([("media", "ferry")]).await;
    let market = app.incident([("project", "market-day")]).await;
    app.set_clock("2024-03-14T09:00:00Z");
    let late = app.incident([("file", FILES[0])]).await;
    let alike = app.get("/api/v1/incidents/alike").await.expect(200);
    assert_eq!(alike.items().len(), 1, "{alike}");
    let group = &alike.items()[0];
    assert_eq!(group["into"], json!(files));
    assert_eq!(group["incidents"].as_array().map(Vec::len), Some(1), "{group}");
    assert_eq!(group["incidents"][0]["id"], json!(harbour));
    assert_eq!(group["incidents"][0]["shares"], json!(["account Nyota Films"]));
    assert!(
        !alike.text.contains(&market) && !alike.text.contains(&late),
        "{alike}"
    );
    let now = app.get("/api/v1/now").await.expect(200);
    assert_eq!(now["alike"], alike["items"]);
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser.page("/admin").await;
    assert!(page.contains("Probably one problem"), "{page}");
    let page = browser.page("/admin/incidents/1").await;
    assert!(page.contains("Merge #2 into this one"), "{page}");
    merge(&app, &harbour, &files).await;
    assert_eq!(
        app.get("/api/v1/incidents/alike").await.expect(200).items().len(),
        0
    );
    app.finish().await;
}

async fn the_pages_merge_undo_and_split(env: Env) {
    let app = TestApp::start(&env).await;
    let (files, market) = files_and_market(&app).await;
    app.tell(&files, "detection").await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    // The page says what would move, and the button names both.
    let page = browser
        .page("/admin/incidents/1/merge?into=%232&reason=one+problem")
        .await;
    for text in [
        "2 affected resources",
        "1 notice that was sent",
        "Merge #1 into #2",
        "one problem",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert_eq!(status(&app, &files).await, "investigating");
    let page = browser
        .open("/admin/incidents/1/merge?into=7")
        .await
        .expect(422)
        .text;
    assert!(page.contains("must be the number of an incident"), "{page}");
    let fields = [("into", "2"), ("reason", "one problem")];
    let answer = browser
        .send_from(
            "/admin/incidents/1/merge?into=2",
            "/admin/incidents/1/merge",
            &fields,
        )
        .await
        .expect(303);
    assert_eq!(answer.header("location"), "/admin/incidents/2");
    // The merged one can be read, says where it went, and has no forms.
    for tab in [
        "",
        "/people",
        "/resources",
        "/alerts",
        "/times",
        "/report",
        "/follow-ups",
        "/recovery",
        "/notices",
    ] {
        let page = browser.page(&format!("/admin/incidents/1{tab}")).await;
        assert!(
            page.contains("merged into <a href=\"/admin/incidents/2\""),
            "{tab}: {page}"
        );
        // The only form that changes anything signs out.
        assert_eq!(page.matches("method=\"post\"").count(), 1, "{tab}: {page}");
    }
    for form in ["/edit", "/write?phase=update", "/split"] {
        browser
            .open(&format!("/admin/incidents/1{form}"))
            .await
            .expect(409);
    }
    let key = browser.key("/admin/incidents/2").await;
    let note = [
        ("form_key", key.as_str()),
        ("kind", "note"),
        ("text", "A note"),
        ("at", ""),
        ("time_zone", "UTC"),
        ("internal", "true"),
    ];
    browser
        .send("/admin/incidents/1/timeline", &note)
        .await
        .expect(409);
    // The other one lists it with the undo.
    let page = browser.page("/admin/incidents/2").await;
    for text in [
        "Merged incidents",
        "one problem",
        "Take #1 out again",
        "Notices of the merged incidents",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = browser.page("/admin/incidents?status=merged").await;
    assert!(page.contains("#1 Files cannot be opened"), "{page}");
    let answer = browser
        .send_from("/admin/incidents/2", "/admin/incidents/1/unmerge", &[])
        .await
        .expect(303);
    assert_eq!(answer.header("location"), "/admin/incidents/1");
    assert_eq!(status(&app, &files).await, "investigating");
    // Many at once: first the plan, then the merge.
    let third = app.incident([("project", "harbour")]).await;
    let mut chosen = vec![
        ("into", "2"),
        ("reason", ""),
        ("step", "check"),
        ("from.1", "true"),
        ("from.3", "true"),
    ];
    let plan = browser
        .send_from("/admin/incidents/merge", "/admin/incidents/merge", &chosen)
        .await
        .expect(200)
        .text;
    assert!(plan.contains("Merge 2 incidents into #2"), "{plan}");
    assert_eq!(status(&app, &third).await, "investigating");
    chosen[2] = ("step", "merge");
    browser
        .send_from("/admin/incidents/merge", "/admin/incidents/merge", &chosen)
        .await
        .expect(303);
    assert_eq!(
        (status(&app, &files).await, status(&app, &third).await),
        (json!("merged"), json!("merged"))
    );
    // A split.
    let page = browser.page("/admin/incidents/2/split").await;
    assert!(page.contains("resource.project harbour"), "{page}");
    let split = [
        ("title", "The harbour alone"),
        ("resource.project harbour", "true"),
    ];
    let answer = browser
        .send_from("/admin/incidents/2/split", "/admin/incidents/2/split", &split)
        .await
        .expect(303);
    assert_eq!(answer.header("location"), "/admin/incidents/4");
    assert_eq!(affected(&app, &market).await, [FILES[0], FILES[1], "market-day"]);
    let nothing = [("title", "Nothing")];
    let page = browser
        .send_from("/admin/incidents/2/split", "/admin/incidents/2/split", &nothing)
        .await
        .expect(422)
        .text;
    assert!(page.contains("list at least one alert or one resource"), "{page}");
    app.finish().await;
}
