//! Above the limit nothing is sent until another person than the author has approved exactly that list and text.

use serde_json::json;

use crate::support::{Env, Http, TestApp, on_both_databases};

on_both_databases!(
    at_the_limit_no_approval_is_needed,
    above_the_limit_sending_waits_for_a_second_person,
    an_edit_makes_the_approval_void,
    a_change_of_the_audience_makes_the_approval_void,
    the_last_editor_counts_as_an_author,
);

/// The story's audience is three people, one more than the limit.
async fn one_above_the_limit(env: &Env) -> (TestApp, Http, String) {
    let app = TestApp::builder(env).max_audience(2).start().await;
    let incident = app.story_incident().await;
    let author = app.as_new("operator").await;
    let notice = author.draft(&incident, "detection").await;
    (app, author, notice)
}

async fn at_the_limit_no_approval_is_needed(env: Env) {
    let app = TestApp::builder(&env).max_audience(3).start().await;
    let incident = app.story_incident().await;
    let author = app.as_new("operator").await;
    let notice = author.draft(&incident, "detection").await;
    assert_eq!(
        author.preview(&notice).await.expect(200)["approval_required"],
        false
    );
    author.send_as_previewed(&notice).await;
    app.mails(3).await;
    app.finish().await;
}

async fn above_the_limit_sending_waits_for_a_second_person(env: Env) {
    let (app, author, notice) = one_above_the_limit(&env).await;
    let preview = author.preview(&notice).await.expect(200);
    assert_eq!(
        (&preview["approval_required"], &preview["approved"]),
        (&json!(true), &json!(false))
    );
    let digest = preview["digest"].as_str().expect("a digest");
    author.send(&notice, digest).await.expect_problem(403);
    let send = format!("/api/v1/notices/{notice}/send");
    let refused = app
        .all(&format!("/api/v1/audit?action=access.forbidden&subject={send}"))
        .await;
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert_eq!(refused[0]["actor"]["name"], "a test's operator");

    // An operator may not approve at all, and nobody may approve what they wrote.
    author.approve(&notice, digest).await.expect_problem(403);
    let other_operator = app.as_new("operator").await;
    other_operator.approve(&notice, digest).await.expect_problem(403);
    let writes_and_approves = app.as_new("approver").await;
    let own = writes_and_approves
        .draft(&incident_of(&app, &notice).await, "detection")
        .await;
    let own_digest = app.digest(&own).await;
    writes_and_approves
        .approve(&own, &own_digest)
        .await
        .expect_problem(403);
    let approve = format!("/api/v1/notices/{own}/approve");
    let refused = app
        .all(&format!(
            "/api/v1/audit?action=access.forbidden&subject={approve}"
        ))
        .await;
    assert_eq!(refused.len(), 1, "{refused:#?}");

    // A digest that nobody previewed is not approved.
    writes_and_approves
        .approve(&notice, "0000")
        .await
        .expect_problem(409);
    author.send(&notice, digest).await.expect_problem(403);
    app.mails(0).await;
    assert_eq!(env.count("deliveries"), 0);

    let approved = writes_and_approves.approve(&notice, digest).await.expect(200);
    assert_eq!(
        (&approved["approved"], &approved["state"]),
        (&json!(true), &json!("draft"))
    );
    assert_eq!(author.preview(&notice).await.expect(200)["approved"], true);
    app.mails(0).await;
    author.send(&notice, digest).await.expect(202);
    app.mails(3).await;
    let queued = app
        .all(&format!("/api/v1/audit?action=notice.queued&subject={notice}"))
        .await;
    let approval = app
        .all(&format!("/api/v1/audit?action=notice.approved&subject={notice}"))
        .await;
    assert_eq!(
        queued[0]["after"]["approved_by"], approval[0]["actor"]["id"],
        "{queued:#?}"
    );
    assert_eq!(approval[0]["after"], json!({"digest": digest, "recipients": 3}));
    app.finish().await;
}

async fn incident_of(app: &TestApp, notice: &str) -> String {
    app.notice(notice).await["incident"]
        .as_str()
        .expect("an id")
        .to_owned()
}

async fn an_edit_makes_the_approval_void(env: Env) {
    let (app, author, notice) = one_above_the_limit(&env).await;
    let approver = app.as_new("approver").await;
    let digest = author.digest(&notice).await;
    approver.approve(&notice, &digest).await.expect(200);
    let edited = author
        .patch(
            &format!("/api/v1/notices/{notice}"),
            json!({"message": "All is lost."}),
        )
        .await
        .expect(200);
    assert_eq!(edited["approved"], false);
    author.send(&notice, &digest).await.expect_problem(409);
    let new_digest = author.digest(&notice).await;
    author.send(&notice, &new_digest).await.expect_problem(403);
    // Not even when the text is again what was approved.
    let again = json!({"message": "What we have to say in the detection."});
    author
        .patch(&format!("/api/v1/notices/{notice}"), again)
        .await
        .expect(200);
    assert_eq!(author.digest(&notice).await, digest);
    author.send(&notice, &digest).await.expect_problem(403);
    app.mails(0).await;
    approver.approve(&notice, &digest).await.expect(200);
    author.send(&notice, &digest).await.expect(202);
    app.mails(3).await;
    app.finish().await;
}

async fn a_change_of_the_audience_makes_the_approval_void(env: Env) {
    let (app, author, notice) = one_above_the_limit(&env).await;
    let approver = app.as_new("approver").await;
    let digest = author.digest(&notice).await;
    approver.approve(&notice, &digest).await.expect(200);
    let collaborators = "/api/v1/resources/project/savanna/collaborators";
    app.put(&format!("{collaborators}/grace"), json!({"role": "viewer"}))
        .await
        .expect(201);
    author.send(&notice, &digest).await.expect_problem(409);
    let wider = author.preview(&notice).await.expect(200);
    assert_eq!(
        (&wider["recipients"], &wider["approved"]),
        (&json!(4), &json!(false))
    );
    let wider = wider["digest"].as_str().expect("a digest");
    author.send(&notice, wider).await.expect_problem(403);
    // The list is again the approved one: the approval was for exactly this.
    app.delete(&format!("{collaborators}/grace")).await.expect(204);
    author.send(&notice, &digest).await.expect(202);
    app.mails(3).await;
    app.finish().await;
}

async fn the_last_editor_counts_as_an_author(env: Env) {
    let (app, author, notice) = one_above_the_limit(&env).await;
    let approver = app.as_new("approver").await;
    approver
        .patch(
            &format!("/api/v1/notices/{notice}"),
            json!({"message": "In my words."}),
        )
        .await
        .expect(200);
    let digest = author.digest(&notice).await;
    approver.approve(&notice, &digest).await.expect_problem(403);
    app.as_new("approver")
        .await
        .approve(&notice, &digest)
        .await
        .expect(200);
    author.send(&notice, &digest).await.expect(202);
    app.mails(3).await;
    app.finish().await;
}
