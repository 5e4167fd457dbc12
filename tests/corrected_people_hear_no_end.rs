//! Whoever got a correction gets nothing more about the incident, unless it affects them again. Then they are notified like
//! anybody. Nothing that was sent before a correction goes on to others after it.

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};

use crate::support::story::{ADDRESSES, AFFECTED};
use crate::support::{Env, TestApp, on_both_databases, recipients};

on_both_databases!(
    nothing_follows_a_correction,
    whoever_is_affected_again_is_notified_again,
    a_correction_says_nothing_about_the_state_of_the_incident,
    nothing_is_sent_again_after_a_correction,
    a_correction_waits_for_no_further_wave,
);

const HIS: &str = "/api/v1/resources/project/savanna/collaborators/baraka";

/// Notifies the people of the story, and corrects the notice for one of them. Three emails and one were sent.
async fn corrected(env: &Env) -> (TestApp, String, String) {
    let app = TestApp::builder(env).at("2024-03-14T06:56:00Z").start().await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    app.delete(HIS).await.expect(204);
    app.set_clock("2024-03-14T07:10:00Z");
    let correction = app
        .post(&format!("/api/v1/notices/{detection}/correction"), json!({}))
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    assert_eq!(recipients(&app.mails(4).await[3..]), [ADDRESSES[1]]);
    app.set_clock("2024-03-14T07:20:00Z");
    (app, incident, detection)
}

async fn counts(app: &TestApp, incident: &str, what: &str) -> Value {
    let answer = app
        .get(&format!("/api/v1/incidents/{incident}/{what}"))
        .await
        .expect(200);
    answer["counts"].clone()
}

async fn nothing_follows_a_correction(env: Env) {
    let (app, incident, detection) = corrected(&env).await;
    let left = [ADDRESSES[0], ADDRESSES[2]];
    let audience = counts(&app, &incident, "audience").await;
    assert_eq!(
        json!([audience["people"], audience["corrected"], audience["not_told"]]),
        json!([2, 1, 0])
    );
    // He is not asked for an answer any more.
    assert_eq!(counts(&app, &incident, "answers").await["asked"], 2);
    app.tell(&incident, "update").await;
    assert_eq!(recipients(&app.mails(6).await[4..]), left);
    app.resolve(&incident).await;
    let resolution = app.draft(&incident, "resolution").await;
    let preview = app.preview(&resolution).await.expect(200);
    assert_eq!(
        json!([preview["recipients"], preview["added"], preview["removed"]]),
        json!([2, 0, 0])
    );
    app.send_as_previewed(&resolution).await;
    app.done(&resolution).await;
    assert_eq!(recipients(&app.mails(8).await[6..]), left);
    app.tell(&incident, "report").await;
    assert_eq!(recipients(&app.mails(10).await[8..]), left);
    assert_eq!(app.notice(&detection).await["not_told_yet"], 0);
    let page = app.admin_page("/admin/incidents/1/people").await;
    assert!(
        page.contains("1 person was notified by mistake and got a correction"),
        "{page}"
    );
    app.finish().await;
}

async fn whoever_is_affected_again_is_notified_again(env: Env) {
    let (app, incident, detection) = corrected(&env).await;
    let added = app.put(HIS, json!({"role": "editor"})).await;
    assert!(added.status < 300, "{added:?}");
    let audience = counts(&app, &incident, "audience").await;
    assert_eq!(
        json!([audience["people"], audience["corrected"], audience["not_told"]]),
        json!([3, 0, 1])
    );
    assert_eq!(app.notice(&detection).await["not_told_yet"], 1);
    let late = app
        .post(&format!("/api/v1/notices/{detection}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    let mails = app.mails(5).await;
    assert_eq!(mails[4].to, ADDRESSES[1]);
    // He did hear of it before.
    assert!(
        !mails[4].text.contains("you did not hear of it"),
        "{}",
        mails[4].text
    );
    // He was notified again, so he hears the end even if he is not affected any more.
    app.delete(HIS).await.expect(204);
    app.set_clock("2024-03-14T07:30:00Z");
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    assert_eq!(recipients(&app.mails(8).await[5..]), ADDRESSES);
    assert_eq!(AFFECTED[1], "baraka");
    app.finish().await;
}

async fn a_correction_says_nothing_about_the_state_of_the_incident(env: Env) {
    let (app, incident, detection) = corrected(&env).await;
    // The times of the incident come from the detection alone.
    let timeline = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
    let notified = timeline
        .iter()
        .filter(|entry| entry["kind"] == "notified")
        .count();
    assert_eq!(notified, 1);
    // The notice itself is not changed: three people got it.
    let notice = app.notice(&detection).await;
    assert_eq!(notice["counts"]["sent"], 3);
    assert_eq!(notice["correctable"], 0);
    app.finish().await;
}

async fn nothing_is_sent_again_after_a_correction(env: Env) {
    let app = TestApp::builder(&env)
        .at("2024-03-14T06:56:00Z")
        .smtp_policy(Policy::new(|attempt| {
            if attempt.recipient.contains("wanjiru@") {
                Decision::Permanent("550 5.1.1 user unknown".to_owned())
            } else {
                Decision::Accept
            }
        }))
        .start()
        .await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    assert_eq!(app.addresses(&detection, "failed").await, [ADDRESSES[2]]);
    app.delete(HIS).await.expect(204);
    app.set_clock("2024-03-14T07:10:00Z");
    let correction = app
        .post(&format!("/api/v1/notices/{detection}/correction"), json!({}))
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    let failed = app
        .all(&format!("/api/v1/notices/{detection}/deliveries?state=failed"))
        .await;
    for path in [
        format!("/api/v1/notices/{detection}/resend-failed"),
        format!("/api/v1/deliveries/{}/resend", failed[0]["id"]),
    ] {
        let refused = app.post(&path, json!({})).await.expect_problem(409);
        assert!(
            refused["detail"]
                .as_str()
                .is_some_and(|why| why.contains("a correction was sent since")),
            "{refused}"
        );
    }
    // What was sent after the correction can be sent again.
    app.set_clock("2024-03-14T07:20:00Z");
    app.resolve(&incident).await;
    let resolution = app.tell(&incident, "resolution").await;
    app.post(&format!("/api/v1/notices/{resolution}/resend-failed"), json!({}))
        .await
        .expect(202);
    app.done(&resolution).await;
    app.finish().await;
}

async fn a_correction_waits_for_no_further_wave(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    app.set_clock("2024-03-14T07:00:00Z");
    let update = app.draft(&incident, "update").await;
    let digest = app.digest(&update).await;
    let waves = json!([{"people": 1}, {"rest": true}]);
    app.post(
        &format!("/api/v1/notices/{update}/send"),
        json!({"digest": digest, "waves": waves}),
    )
    .await
    .expect(202);
    app.mails(4).await;
    app.delete(HIS).await.expect(204);
    app.set_clock("2024-03-14T07:10:00Z");
    let correction = app
        .post(&format!("/api/v1/notices/{detection}/correction"), json!({}))
        .await
        .expect(201)
        .id();
    let digest = app.digest(&correction).await;
    let refused = app.send(&correction, &digest).await.expect_problem(409);
    assert!(
        refused["detail"]
            .as_str()
            .is_some_and(|why| why.contains("stop it first")),
        "{refused}"
    );
    app.post(&format!("/api/v1/notices/{update}/stop"), json!({}))
        .await
        .expect(200);
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    let stays = app
        .post(&format!("/api/v1/notices/{update}/resume"), json!({}))
        .await
        .expect_problem(409);
    assert!(
        stays["detail"]
            .as_str()
            .is_some_and(|why| why.contains("a correction was sent since")),
        "{stays}"
    );
    app.mails(5).await;
    app.finish().await;
}
