//! Before sending, the preview says how the list differs from that of the last notice, which accounts are the largest, and what is
//! unusual about the size. Every recipient is listed with the reason, before and after the sending.

use serde_json::{Value, json};

use crate::support::story::{ADDRESSES, AFFECTED, PROJECT};
use crate::support::{Env, TestApp, crowd, on_both_databases, story_directory};

on_both_databases!(
    added_and_dropped_people_are_named,
    the_largest_accounts_are_named,
    an_unusual_size_is_a_warning,
    every_recipient_is_listed_with_the_reason,
);

fn ids(people: &Value) -> Vec<&str> {
    let people = people.as_array().expect("people").iter();
    people
        .map(|person| person["id"].as_str().expect("an id"))
        .collect()
}

async fn added_and_dropped_people_are_named(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let detection = app.draft(&incident, "detection").await;
    assert_eq!(
        app.preview(&detection).await.expect(200)["compared_with"],
        Value::Null
    );
    app.send_as_previewed(&detection).await;
    app.done(&detection).await;
    let collaborators = format!("/api/v1/resources/project/{PROJECT}/collaborators");
    app.put(&format!("{collaborators}/grace"), json!({"role": "viewer"}))
        .await
        .expect(201);
    app.delete(&format!("{collaborators}/baraka")).await.expect(204);
    let update = app.draft(&incident, "update").await;
    let preview = app.preview(&update).await.expect(200);
    let compared = &preview["compared_with"];
    assert_eq!(compared["notice"], detection.as_str(), "{preview}");
    assert_eq!(
        compared["added"],
        json!([{"id": "grace", "name": "Grace Uwase", "address": "grace@kilele-studio.example"}])
    );
    assert_eq!(
        compared["dropped"],
        json!([{"id": "baraka", "name": "Baraka Mushi", "address": ADDRESSES[1]}])
    );
    assert_eq!(
        json!([compared["added_people"], compared["dropped_people"]]),
        json!([1, 1])
    );
    // A catch-up is for a part of the people: it is not compared, and nothing is compared with it.
    let late = app
        .post(&format!("/api/v1/notices/{detection}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    assert_eq!(app.preview(&late).await.expect(200)["compared_with"], Value::Null);
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    let preview = app.preview(&update).await.expect(200);
    assert_eq!(preview["compared_with"]["notice"], detection.as_str());
    let page = app.admin_page(&format!("/admin/notices/{update}")).await;
    assert!(
        page.contains("1 added, 1 dropped") && page.contains("Baraka Mushi"),
        "{page}"
    );
    app.finish().await;
}

async fn the_largest_accounts_are_named(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(crowd(60)).await.expect(200);
    app.import(story_directory()).await.expect(200);
    let incident = app.incident([("project", "stage"), ("project", PROJECT)]).await;
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(
        preview["largest_accounts"],
        json!([
            {"account": "crowd", "name": "Crowd", "people": 60},
            {"account": "nyota-films", "name": "Nyota Films", "people": 3},
        ])
    );
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    // The first fifty of those who are dropped are named, and all are counted.
    let affected = format!("/api/v1/incidents/{incident}/affected/project/stage");
    app.delete(&affected).await.expect(204);
    let update = app.draft(&incident, "update").await;
    let compared = app.preview(&update).await.expect(200)["compared_with"].clone();
    assert_eq!(
        (ids(&compared["dropped"]).len(), &compared["dropped_people"]),
        (50, &json!(60))
    );
    app.finish().await;
}

async fn an_unusual_size_is_a_warning(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(crowd(151)).await.expect(200);
    app.import(story_directory()).await.expect(200);
    let warns = |preview: &Value| {
        let warnings = preview["warnings"].as_array().expect("warnings").iter();
        warnings
            .filter_map(Value::as_str)
            .any(|text| text.contains("far more than usual"))
    };
    let incident = app.incident([("project", "stage")]).await;
    let first = app.draft(&incident, "detection").await;
    assert!(
        !warns(&app.preview(&first).await.expect(200).json),
        "nothing was sent before"
    );
    let story = app.incident([("project", PROJECT)]).await;
    app.tell(&story, "detection").await;
    let preview = app.preview(&first).await.expect(200);
    let text = preview["warnings"].to_string();
    assert!(
        text.contains("151 emails are far more than usual: the largest of the last notices had 3"),
        "{text}"
    );
    app.import(crowd(152)).await.expect(200);
    app.send_as_previewed(&first).await;
    app.done(&first).await;
    let update = app.draft(&incident, "update").await;
    assert!(
        !warns(&app.preview(&update).await.expect(200).json),
        "as many as the last one"
    );
    // The list grows after an approval.
    let digest = app.digest(&update).await;
    app.as_new("approver")
        .await
        .approve(&update, &digest)
        .await
        .expect(200);
    app.import(crowd(153)).await.expect(200);
    let text = app.preview(&update).await.expect(200)["warnings"].to_string();
    assert!(
        text.contains("grew from 152 to 153 after the notice was approved"),
        "{text}"
    );
    app.finish().await;
}

async fn every_recipient_is_listed_with_the_reason(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/api/v1/notices/{notice}/recipients");
    let viewer = app.as_new("viewer").await;
    let planned = viewer.all(&format!("{path}?limit=2")).await;
    let people: Vec<&str> = planned
        .iter()
        .map(|one| one["person"]["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(people, AFFECTED, "{planned:#?}");
    assert_eq!(planned[0]["address"], ADDRESSES[0]);
    assert_eq!(
        planned[0]["reasons"][0]["resource"],
        json!({"type": "file", "id": "interview-v1"}),
        "{planned:#?}"
    );
    for (q, found) in [
        ("BARAKA", 1),
        ("sound-works.example", 1),
        ("nyota", 2),
        ("nobody", 0),
    ] {
        let rows = viewer.all(&format!("{path}?q={q}&limit=1")).await;
        assert_eq!(rows.len(), found, "{q}: {rows:#?}");
    }
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    // The directory changes, and the frozen list does not.
    app.delete("/api/v1/people/baraka").await.expect(204);
    assert_eq!(viewer.all(&format!("{path}?limit=2")).await, planned);
    assert_eq!(viewer.all(&format!("{path}?q=mushi")).await, planned[1..2]);
    viewer.get(&format!("{path}?query=x")).await.expect_problem(422);
    app.finish().await;
}
