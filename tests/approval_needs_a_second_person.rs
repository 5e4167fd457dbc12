//! Above the limit nothing is sent until a person who is not an author has approved exactly this list and
//! text.

use serde_json::json;

use crate::support::story::PROJECT;
use crate::support::{Env, Http, TestApp, complete, on_both_databases, story_directory};

on_both_databases!(
    at_the_limit_no_approval_is_needed,
    above_the_limit_sending_waits_for_a_second_person,
    an_edit_makes_the_approval_void,
    a_change_of_the_audience_makes_the_approval_void,
    the_last_editor_counts_as_an_author,
    who_ever_wrote_a_part_of_it_may_not_approve,
    a_patch_that_changes_nothing_does_nothing,
    an_approval_of_a_revoked_token_counts_no_more,
    who_wrote_the_policy_may_not_approve_its_draft,
    who_changed_the_template_or_the_report_may_not_approve,
    endpoints_count_like_people,
);

/// The audience of the story has three people, one more than the limit.
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

    // An operator may not approve, and nobody may approve their own text.
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

    // A digest that nobody previewed cannot be approved.
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
    // The approval stays void even if the text is changed back.
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
    // The list is the approved one again, and the approval was for exactly this list.
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

async fn who_ever_wrote_a_part_of_it_may_not_approve(env: Env) {
    let app = TestApp::builder(&env).max_audience(2).start().await;
    let incident = app.story_incident().await;
    let (first, second, third) = (
        app.as_new("approver").await,
        app.as_new("approver").await,
        app.as_new("approver").await,
    );
    let notice = first.draft(&incident, "detection").await;
    let path = format!("/api/v1/notices/{notice}");
    // A patch of a colleague, whether empty or not, does not make the first author somebody else.
    for patch in [
        json!({}),
        json!({"message": "In other words."}),
        json!({"subject": "Files"}),
        json!({"customer_action": {"required": true, "text": "Wait."}}),
    ] {
        second.patch(&path, patch).await.expect(200);
        let digest = first.digest(&notice).await;
        first.approve(&notice, &digest).await.expect_problem(403);
    }
    let digest = second.digest(&notice).await;
    second.approve(&notice, &digest).await.expect_problem(403);
    // A catch-up repeats the text of the authors.
    third.approve(&notice, &digest).await.expect(200);
    first.send(&notice, &digest).await.expect(202);
    app.done(&notice).await;
    let collaborators = "/api/v1/resources/project/savanna/collaborators";
    for person in ["grace", "zuri", "otieno"] {
        app.put(&format!("{collaborators}/{person}"), json!({"role": "viewer"}))
            .await
            .expect(201);
    }
    let late = third
        .post(&format!("{path}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    let digest = third.digest(&late).await;
    for author in [&first, &second, &third] {
        author.approve(&late, &digest).await.expect_problem(403);
    }
    app.as_new("approver")
        .await
        .approve(&late, &digest)
        .await
        .expect(200);
    third.send(&late, &digest).await.expect(202);
    app.finish().await;
}

async fn a_patch_that_changes_nothing_does_nothing(env: Env) {
    let (app, author, notice) = one_above_the_limit(&env).await;
    let path = format!("/api/v1/notices/{notice}");
    let colleague = app.as_new("approver").await;
    let digest = author.digest(&notice).await;
    let before = app.notice(&notice).await;
    for nothing in [
        json!({}),
        json!({"message": before["message"]}),
        json!({"customer_action": before["customer_action"], "audience": before["audience"]}),
    ] {
        colleague.patch(&path, nothing).await.expect(200);
    }
    assert_eq!(app.notice(&notice).await["updated_at"], before["updated_at"]);
    assert_eq!(author.digest(&notice).await, digest);
    let changed = app
        .all(&format!("/api/v1/audit?action=notice.changed&subject={notice}"))
        .await;
    assert!(changed.is_empty(), "{changed:#?}");
    // The colleague wrote nothing and so may approve.
    colleague.approve(&notice, &digest).await.expect(200);
    colleague.patch(&path, json!({})).await.expect(200);
    author.send(&notice, &digest).await.expect(202);
    app.finish().await;
}

async fn an_approval_of_a_revoked_token_counts_no_more(env: Env) {
    let (app, author, notice) = one_above_the_limit(&env).await;
    let made = app
        .post("/api/v1/tokens", json!({"name": "leaves", "role": "approver"}))
        .await
        .expect(201);
    let leaves = app.as_role(made["token"].as_str().expect("a token"));
    let digest = author.digest(&notice).await;
    leaves.approve(&notice, &digest).await.expect(200);
    app.delete(&format!("/api/v1/tokens/{}", made.id()))
        .await
        .expect(204);
    assert_eq!(author.preview(&notice).await.expect(200)["approved"], false);
    assert_eq!(app.notice(&notice).await["approved"], false);
    let refused = author.send(&notice, &digest).await.expect_problem(403);
    assert!(refused["detail"].to_string().contains("revoked"), "{refused}");
    app.as_new("approver")
        .await
        .approve(&notice, &digest)
        .await
        .expect(200);
    author.send(&notice, &digest).await.expect(202);
    app.finish().await;
}

async fn who_wrote_the_policy_may_not_approve_its_draft(env: Env) {
    let app = TestApp::builder(&env).max_audience(2).start().await;
    app.import(story_directory()).await.expect(200);
    let writer = app.as_new("admin").await;
    writer.policy(json!({"action": "draft", "limits": null})).await;
    let by = app.monitoring().await;
    let incident = app.fires(&by, "storage", PROJECT, "critical").await;
    let run = app.decided(&incident).await;
    let notice = run["notice"].as_str().expect("a notice").to_owned();
    let digest = app.digest(&notice).await;
    writer.approve(&notice, &digest).await.expect_problem(403);
    app.as_new("approver")
        .await
        .approve(&notice, &digest)
        .await
        .expect(200);
    app.as_new("operator")
        .await
        .send(&notice, &digest)
        .await
        .expect(202);
    app.finish().await;
}

async fn who_changed_the_template_or_the_report_may_not_approve(env: Env) {
    let (app, author, notice) = one_above_the_limit(&env).await;
    let admin = app.as_new("admin").await;
    let text = "{{> paragraphs.txt}}";
    let source =
        json!({"subject": "Ours", "text": text, "html": "<p>{{#each paragraphs}}{{this}}{{/each}}</p>"});
    admin
        .put("/api/v1/templates/detection", complete(source))
        .await
        .expect(200);
    let digest = author.digest(&notice).await;
    admin.approve(&notice, &digest).await.expect_problem(403);
    let incident = incident_of(&app, &notice).await;
    // A template that existed before is not part of what was written for this notice.
    let later = author.draft(&incident, "detection").await;
    let digest = author.digest(&later).await;
    admin.approve(&later, &digest).await.expect(200);
    let report = author.draft(&incident, "report").await;
    admin
        .put(
            &format!("/api/v1/incidents/{incident}/report"),
            json!({"title": "What happened", "sections": [{"heading": "Cause", "text": "A handler.", "audience": "customer"}]}),
        )
        .await;
    let digest = author.digest(&report).await;
    admin.approve(&report, &digest).await.expect_problem(403);
    app.finish().await;
}

async fn endpoints_count_like_people(env: Env) {
    let app = TestApp::builder(&env)
        .max_audience(3)
        .config(|config| config.webhook_allow = candor::egress::Policy::Private)
        .start()
        .await;
    let incident = app.story_incident().await;
    let hook = crate::support::receiver::Receiver::start();
    let author = app.as_new("operator").await;
    let notice = author.draft(&incident, "detection").await;
    assert_eq!(
        author.preview(&notice).await.expect(200)["approval_required"],
        false
    );
    app.post(
        "/api/v1/accounts/nyota-films/endpoints",
        json!({"url": hook.url("/hook"), "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}),
    )
    .await
    .expect(201);
    let preview = author.preview(&notice).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["approval_required"]),
        (&json!(3), &json!(true))
    );
    let digest = preview["digest"].as_str().expect("a digest");
    let refused = author.send(&notice, digest).await.expect_problem(403);
    assert!(
        refused["detail"].to_string().contains("1 system of accounts"),
        "{refused}"
    );
    app.as_new("approver")
        .await
        .approve(&notice, digest)
        .await
        .expect(200);
    author.send(&notice, digest).await.expect(202);
    app.finish().await;
}
