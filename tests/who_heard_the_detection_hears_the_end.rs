//! A person who was notified of anything about an incident is notified of its end, whatever has changed
//! since.

use std::sync::Arc;

use candor::demo::catcher::{Decision, Policy};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::story::{ADDRESSES, FILES};
use crate::support::{DEADLINE, Env, TestApp, on_both_databases, recipients, wait_until};

on_both_databases!(
    somebody_no_longer_affected_hears_it,
    a_changed_address_is_used,
    somebody_gone_is_left_out_with_a_warning,
    who_was_told_in_a_catch_up_hears_it,
    who_was_refused_is_not_counted_as_told,
    a_stopped_resolution_is_caught_up_for_all_who_were_told,
);

async fn somebody_no_longer_affected_hears_it(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    // An update is only for people who are affected now.
    app.tell(&incident, "update").await;
    assert_eq!(recipients(&app.mails(5).await[3..]), [ADDRESSES[0], ADDRESSES[2]]);
    app.resolve(&incident).await;
    let resolution = app.draft(&incident, "resolution").await;
    let preview = app.preview(&resolution).await.expect(200);
    assert_eq!(
        json!([preview["recipients"], preview["added"], preview["removed"]]),
        json!([3, 0, 0])
    );
    app.send_as_previewed(&resolution).await;
    app.done(&resolution).await;
    let mails = app.mails(8).await;
    assert_eq!(recipients(&mails[5..]), ADDRESSES);
    let his = mails[5..]
        .iter()
        .find(|mail| mail.to == ADDRESSES[1])
        .expect("a mail");
    assert!(
        his.text.contains("we notified you of this incident before"),
        "{}",
        his.text
    );
    assert!(his.text.contains("rangers-interview-v1.mov"), "{}", his.text);
    // This holds even if nothing is affected any more.
    for file in FILES {
        app.delete(&format!("/api/v1/incidents/{incident}/affected/file/{file}"))
            .await
            .expect(204);
    }
    app.tell(&incident, "report").await;
    assert_eq!(recipients(&app.mails(11).await[8..]), ADDRESSES);
    app.finish().await;
}

async fn a_changed_address_is_used(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    for (id, name) in [("baraka", "Baraka Mushi"), ("wanjiru", "Wanjiru Kamau")] {
        let person = json!({"name": name, "email": format!("{id}@elsewhere.example")});
        app.put(&format!("/api/v1/people/{id}"), person).await.expect(200);
    }
    // One of the two is not affected any more.
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    assert_eq!(
        recipients(&app.mails(6).await[3..]),
        [
            ADDRESSES[0],
            "baraka@elsewhere.example",
            "wanjiru@elsewhere.example"
        ]
    );
    app.finish().await;
}

async fn somebody_gone_is_left_out_with_a_warning(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.delete("/api/v1/people/baraka").await.expect(204);
    app.resolve(&incident).await;
    let resolution = app.draft(&incident, "resolution").await;
    let preview = app.preview(&resolution).await.expect(200);
    assert_eq!(json!([preview["recipients"], preview["removed"]]), json!([2, 1]));
    let warnings = preview["warnings"].to_string();
    assert!(
        warnings.contains("1 person was notified before and cannot be reached any more"),
        "{warnings}"
    );
    app.send_as_previewed(&resolution).await;
    app.done(&resolution).await;
    assert_eq!(recipients(&app.mails(5).await[3..]), [ADDRESSES[0], ADDRESSES[2]]);
    app.finish().await;
}

async fn who_was_told_in_a_catch_up_hears_it(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    let grace = "/api/v1/resources/project/savanna/collaborators/grace";
    app.put(grace, json!({"role": "viewer"})).await.expect(201);
    let late = app
        .post(&format!("/api/v1/notices/{detection}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    app.delete(grace).await.expect(204);
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    let mails = app.mails(8).await;
    assert_eq!(
        recipients(&mails[4..]),
        [
            ADDRESSES[0],
            ADDRESSES[1],
            "grace@kilele-studio.example",
            ADDRESSES[2]
        ]
    );
    app.finish().await;
}

async fn who_was_refused_is_not_counted_as_told(env: Env) {
    let policy = Policy::new(|attempt| match (attempt.recipient, attempt.number) {
        ("baraka@sound-works.example", 1) => Decision::Permanent("no such user".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env).smtp_policy(policy).start().await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    app.mails(2).await;
    assert_eq!(app.notice(&detection).await["not_told_yet"], 1);
    // He was not notified and is not affected any more, so he does not get the resolution.
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    assert_eq!(recipients(&app.mails(4).await[2..]), [ADDRESSES[0], ADDRESSES[2]]);
    app.finish().await;
}

async fn a_stopped_resolution_is_caught_up_for_all_who_were_told(env: Env) {
    // The emails of the detection are accepted, and the replies to those of the resolution are held back.
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let policy = Policy::new(move |attempt| match attempt.number {
        2 => Decision::Hold(Arc::clone(&hold)),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env)
        .smtp_policy(policy)
        .send_concurrency(1)
        .start()
        .await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.resolve(&incident).await;
    let resolution = app.draft(&incident, "resolution").await;
    app.send_as_previewed(&resolution).await;
    app.mails(4).await;
    let path = format!("/api/v1/notices/{resolution}/stop");
    let (stopped, ()) = tokio::join!(app.post(&path, json!({})), async {
        wait_until("the notice to be stopped", DEADLINE, async || {
            app.notice(&resolution).await["state"] == "stopped"
        })
        .await;
        permits.add_permits(10);
    });
    assert_eq!(stopped.expect(200)["not_sent"], 2);
    // Nobody is affected any more, and two people still must be notified of the end.
    for file in FILES {
        app.delete(&format!("/api/v1/incidents/{incident}/affected/file/{file}"))
            .await
            .expect(204);
    }
    assert_eq!(app.notice(&resolution).await["not_told_yet"], 2);
    let rest = app
        .post(&format!("/api/v1/notices/{resolution}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&rest).await;
    app.done(&rest).await;
    assert_eq!(recipients(&app.mails(6).await[3..]), ADDRESSES);
    app.finish().await;
}
