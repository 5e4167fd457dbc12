//! Above a limit, other people must approve exactly this list and text. No way of sending gets round it: not a second token, not a
//! change after the approval, not several small notices, not two sends at the same time, and no policy. Only an admin can
//! break glass, and everybody hears of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::story::{FILES, PROJECT};
use crate::support::{
    ADMIN_TOKEN, Answer, DEADLINE, Env, Http, TestApp, complete, crowd, eventually, on_both_databases,
    story_directory,
};

on_both_databases!(
    the_limits_are_stored_and_checked,
    each_limit_is_named_with_its_value,
    the_severity_and_the_phase_have_their_own_limits,
    another_token_of_the_same_person_approves_nothing,
    whoever_sends_is_none_of_those_who_approve,
    whatever_changes_makes_the_approval_void,
    two_people_must_approve_where_two_are_needed,
    several_notices_of_one_incident_count_together,
    several_notices_of_one_hour_count_together,
    two_sends_at_once_do_not_both_pass,
    a_catch_up_counts_like_any_notice,
    a_policy_keeps_the_limits,
    an_approval_expires,
    an_approval_is_for_one_notice,
    an_approval_of_an_older_version_does_not_count,
    a_revoked_token_approves_nothing,
    break_glass_needs_an_admin_and_a_reason,
    break_glass_is_loud,
    a_rehearsal_is_only_recorded,
    the_page_of_a_notice_has_the_forms_for_those_who_may,
    the_limits_have_a_page,
);

const START: &str = "2024-03-14T06:56:00Z";
const REASON: &str = "Nobody else answers the telephone.";

async fn start(env: &Env) -> TestApp {
    TestApp::builder(env).at(START).start().await
}

/// Sets the limits. What is not named has its default.
async fn limit(app: &TestApp, limits: Value) {
    let mut all = json!({"recipients": 500});
    for (name, value) in limits.as_object().expect("an object") {
        all[name] = value.clone();
    }
    app.put("/api/v1/limits", all).await.expect(200);
}

/// Returns a client with a new token of this role for a person.
async fn person(app: &TestApp, role: &str, person: &str) -> Http {
    let body = json!({"name": format!("{role} of {person}"), "role": role, "person": person});
    let made = app.post("/api/v1/tokens", body).await.expect(201);
    app.as_role(made["token"].as_str().expect("a token"))
}

/// A notice to three people, above a limit of two, with its author.
async fn above(app: &TestApp) -> (Http, String) {
    limit(app, json!({"recipients": 2})).await;
    let incident = app.story_incident().await;
    let author = app.as_new("operator").await;
    let notice = author.draft(&incident, "detection").await;
    (author, notice)
}

/// Expects that a notice is not sent, because an approval is missing. Returns the answer.
async fn refused(by: &Http, notice: &str) -> Answer {
    let digest = by.digest(notice).await;
    let refused = by.send(notice, &digest).await.expect_problem(403);
    assert_eq!(refused["code"], "approval_required", "{refused}");
    refused
}

async fn approvals(app: &Http, notice: &str) -> Vec<Value> {
    app.all(&format!("/api/v1/notices/{notice}/approvals")).await
}

/// Returns the names of the limits that a draft is above, each with the limit and the value.
async fn exceeded(app: &Http, notice: &str) -> Value {
    let preview = app.preview(notice).await.expect(200);
    let limits = preview["limits"].clone();
    assert_eq!(
        preview["approval_required"],
        !limits.as_array().expect("limits").is_empty(),
        "{preview}"
    );
    limits
}

async fn the_limits_are_stored_and_checked(env: Env) {
    let app = TestApp::builder(&env).max_audience(7).start().await;
    let usual = json!({
        "recipients": 7, "recipients_per_incident": null, "recipients_per_hour": null, "share_of_directory": null,
        "approvals": 1, "approval_expires_after": "PT1H",
        "hold_if": {"bounced": 0.05, "complained": 0.002, "still_broken": 0.2}, "by": [],
    });
    assert_eq!(app.get("/api/v1/limits").await.expect(200).json, usual);
    let new = json!({
        "recipients": 20, "recipients_per_incident": 30, "recipients_per_hour": 40, "share_of_directory": 0.25,
        "approvals": 2, "approval_expires_after": "PT30M",
        "hold_if": {"bounced": 0.1, "complained": 0.01, "still_broken": 0.5},
        "by": [{"severity": "minor", "recipients": 5}, {"severity": "major", "phase": "update", "recipients": 6}],
    });
    for role in ["viewer", "operator", "approver"] {
        let other = app.as_new(role).await;
        other.put("/api/v1/limits", &new).await.expect_problem(403);
    }
    assert_eq!(app.put("/api/v1/limits", &new).await.expect(200).json, new);
    assert_eq!(app.get("/api/v1/limits").await.expect(200).json, new);
    app.put("/api/v1/limits", &new).await.expect(200);
    let events = app.all("/api/v1/audit?action=limits.changed").await;
    assert_eq!(events.len(), 1, "the second change changes nothing: {events:#?}");
    assert_eq!((&events[0]["before"], &events[0]["after"]), (&usual, &new));
    for (field, wrong) in [
        ("recipients", json!(-1)),
        ("recipients_per_incident", json!(-5)),
        ("recipients_per_hour", json!(100_000_001)),
        ("share_of_directory", json!(1.01)),
        ("approvals", json!(0)),
        ("approvals", json!(6)),
        ("approval_expires_after", json!("PT59S")),
        ("approval_expires_after", json!("P8D")),
        ("approval_expires_after", json!("an hour")),
        ("hold_if/bounced", json!(-0.1)),
        ("by", json!([{"recipients": 3}])),
        ("by/0/recipients", json!("many")),
        ("audience", json!(3)),
    ] {
        let mut body = new.clone();
        match field.split_once('/') {
            Some(("hold_if", name)) => body["hold_if"][name] = wrong.clone(),
            Some(_) => body["by"][0]["recipients"] = wrong.clone(),
            None => body[field] = wrong.clone(),
        }
        let answer = app.put("/api/v1/limits", body).await.expect_problem(422);
        let pointer = answer["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert!(
            pointer.starts_with(&format!("/{field}")),
            "{field} {wrong}: {answer}"
        );
    }
    assert_eq!(app.get("/api/v1/limits").await.expect(200).json, new);
    app.finish().await;
}

async fn each_limit_is_named_with_its_value(env: Env) {
    let app = start(&env).await;
    let incident = app.story_incident().await;
    let author = app.as_new("operator").await;
    let notice = author.draft(&incident, "detection").await;
    // Three of the seven people in the directory. One of them has no address any more, and one is deleted.
    app.put("/api/v1/people/zuri", json!({"name": "Zuri", "email": ""}))
        .await
        .expect(200);
    app.delete("/api/v1/people/otieno").await.expect(204);
    for (limits, expected) in [
        (json!({"recipients": 3}), json!([])),
        (
            json!({"recipients": 2}),
            json!([{"name": "recipients", "limit": 2, "value": 3}]),
        ),
        (
            json!({"recipients_per_incident": 3, "recipients_per_hour": 3}),
            json!([]),
        ),
        (
            json!({"recipients_per_incident": 2}),
            json!([{"name": "recipients_per_incident", "limit": 2, "value": 3}]),
        ),
        (
            json!({"recipients_per_hour": 0}),
            json!([{"name": "recipients_per_hour", "limit": 0, "value": 3}]),
        ),
        (json!({"share_of_directory": 0.6}), json!([])),
        (
            json!({"share_of_directory": 0.5}),
            json!([{"name": "share_of_directory", "limit": 0.5, "value": 0.6}]),
        ),
    ] {
        limit(&app, limits.clone()).await;
        assert_eq!(exceeded(&author, &notice).await, expected, "{limits}");
    }
    let text = refused(&author, &notice).await["detail"].to_string();
    assert!(
        text.contains("60% of the people in the directory are above the limit of 50%"),
        "{text}"
    );
    app.mails(0).await;
    app.finish().await;
}

async fn the_severity_and_the_phase_have_their_own_limits(env: Env) {
    let app = start(&env).await;
    let incident = app.story_incident().await;
    let author = app.as_new("operator").await;
    let detection = author.draft(&incident, "detection").await;
    let update = author.draft(&incident, "update").await;
    limit(
        &app,
        json!({"recipients": 1, "by": [
            {"severity": "major", "recipients": 10}, {"phase": "update", "recipients": 2}, {"severity": "minor", "recipients": 0},
        ]}),
    )
    .await;
    assert_eq!(exceeded(&author, &detection).await, json!([]));
    let smallest = json!([{"name": "recipients", "limit": 2, "value": 3}]);
    assert_eq!(exceeded(&author, &update).await, smallest);
    app.patch(
        &format!("/api/v1/incidents/{incident}"),
        json!({"severity": "critical"}),
    )
    .await
    .expect(200);
    let general = json!([{"name": "recipients", "limit": 1, "value": 3}]);
    assert_eq!(exceeded(&author, &detection).await, general);
    app.finish().await;
}

async fn another_token_of_the_same_person_approves_nothing(env: Env) {
    let app = start(&env).await;
    limit(&app, json!({"recipients": 2})).await;
    let incident = app.story_incident().await;
    let author = person(&app, "operator", "amina@ours.example").await;
    let second = person(&app, "approver", "  Amina@Ours.example ").await;
    let other = person(&app, "approver", "baraka@ours.example").await;
    let notice = author.draft(&incident, "detection").await;
    let digest = author.digest(&notice).await;
    let own = second.approve(&notice, &digest).await.expect_problem(403);
    assert_eq!(own["code"], "own_approval");
    refused(&author, &notice).await;
    // What the other token of a person writes later ends the approval of the person.
    other.approve(&notice, &digest).await.expect(200);
    assert_eq!(author.preview(&notice).await.expect(200)["approved"], true);
    let admin = person(&app, "admin", "BARAKA@ours.example").await;
    let source = json!({"subject": "Ours", "text": "{{> paragraphs.txt}}", "html": "<p>{{#each paragraphs}}{{this}}{{/each}}</p>"});
    let path = "/api/v1/templates/detection";
    admin.put(path, complete(source)).await.expect(200);
    admin.delete(path).await.expect(204);
    assert_eq!(author.digest(&notice).await, digest);
    let void = refused(&author, &notice).await["detail"].to_string();
    assert!(void.contains("changed a part of it later"), "{void}");
    // The list of tokens names the person.
    let tokens = app.all("/api/v1/tokens").await;
    let people: Vec<&Value> = tokens.iter().map(|token| &token["person"]).collect();
    assert!(people.contains(&&json!("Amina@Ours.example")), "{tokens:#?}");
    let nobody = json!({"name": "x", "role": "viewer", "person": "  "});
    app.post("/api/v1/tokens", nobody).await.expect_problem(422);
    app.mails(0).await;
    app.finish().await;
}

async fn whoever_sends_is_none_of_those_who_approve(env: Env) {
    let app = start(&env).await;
    let (author, notice) = above(&app).await;
    let approver = person(&app, "approver", "amina").await;
    let digest = author.digest(&notice).await;
    approver.approve(&notice, &digest).await.expect(200);
    let own = refused(&approver, &notice).await["detail"].to_string();
    assert!(own.contains("whoever sends a notice"), "{own}");
    refused(&person(&app, "operator", "Amina").await, &notice).await;
    author.send(&notice, &digest).await.expect(202);
    app.done(&notice).await;
    let valid = approvals(&app, &notice).await;
    assert_eq!(valid[0]["valid"], true, "{valid:#?}");
    app.finish().await;
}

async fn whatever_changes_makes_the_approval_void(env: Env) {
    let app = start(&env).await;
    let (author, notice) = above(&app).await;
    let approver = app.as_new("approver").await;
    let path = format!("/api/v1/notices/{notice}");
    let incident = app.notice(&notice).await["incident"]
        .as_str()
        .expect("an id")
        .to_owned();
    let template = complete(
        json!({"subject": "Ours", "text": "{{> paragraphs.txt}}", "html": "<p>{{#each paragraphs}}{{this}}{{/each}}</p>"}),
    );
    for (what, method, target, body) in [
        (
            "message",
            "PATCH",
            path.clone(),
            json!({"message": "In other words."}),
        ),
        ("subject", "PATCH", path.clone(), json!({"subject": "Your files"})),
        (
            "action",
            "PATCH",
            path.clone(),
            json!({"customer_action": {"required": true, "text": "Wait."}}),
        ),
        (
            "rule",
            "PATCH",
            path.clone(),
            json!({"audience": {"roles": ["owner", "editor"], "collaborators": true}}),
        ),
        (
            "template",
            "PUT",
            "/api/v1/templates/detection".to_owned(),
            template,
        ),
        (
            "list",
            "PUT",
            format!("/api/v1/resources/project/{PROJECT}/collaborators/grace"),
            json!({"role": "viewer"}),
        ),
        (
            "person",
            "PUT",
            "/api/v1/people/amina".to_owned(),
            json!({"name": "Amina N.", "email": "amina@elsewhere.example"}),
        ),
        (
            "resource",
            "PUT",
            format!("/api/v1/resources/file/{}", FILES[0]),
            json!({"name": "Another name", "parent": {"type": "media", "id": "interview"}}),
        ),
        (
            "severity",
            "PATCH",
            format!("/api/v1/incidents/{incident}"),
            json!({"severity": "critical"}),
        ),
    ] {
        let digest = author.digest(&notice).await;
        approver.approve(&notice, &digest).await.expect(200);
        assert_eq!(
            author.preview(&notice).await.expect(200)["approved"],
            true,
            "{what}"
        );
        let by = if target == path { &author } else { &*app };
        let changed = match method {
            "PATCH" => by.patch(&target, body).await,
            _ => by.put(&target, body).await,
        };
        assert!(changed.status < 300, "{what}: {changed}");
        let preview = author.preview(&notice).await.expect(200);
        assert_ne!(preview["digest"], digest.as_str(), "{what}");
        assert_eq!(preview["approved"], false, "{what}");
        let gone = author.send(&notice, &digest).await.expect_problem(409);
        assert_eq!(gone["code"], "changed_since_preview", "{what}");
        refused(&author, &notice).await;
        let all = approvals(&app, &notice).await;
        assert!(all.iter().all(|one| one["valid"] == false), "{what}: {all:#?}");
    }
    app.mails(0).await;
    app.finish().await;
}

async fn two_people_must_approve_where_two_are_needed(env: Env) {
    let app = start(&env).await;
    limit(&app, json!({"recipients": 2, "approvals": 2})).await;
    let incident = app.story_incident().await;
    let author = app.as_new("operator").await;
    let notice = author.draft(&incident, "detection").await;
    let digest = author.digest(&notice).await;
    let first = person(&app, "approver", "amina").await;
    let again = person(&app, "approver", "AMINA").await;
    let second = person(&app, "approver", "baraka").await;
    first.approve(&notice, &digest).await.expect(200);
    let once = again.approve(&notice, &digest).await.expect(200);
    assert_eq!(
        once["approved"], false,
        "two tokens of one person are one: {once}"
    );
    let preview = author.preview(&notice).await.expect(200);
    assert_eq!(
        json!([
            preview["approvals_needed"],
            preview["approvals_given"],
            preview["approved"]
        ]),
        json!([2, 1, false])
    );
    let text = refused(&author, &notice).await["detail"].to_string();
    assert!(text.contains("2 other people must approve"), "{text}");
    assert_eq!(
        second.approve(&notice, &digest).await.expect(200)["approved"],
        true
    );
    // The second approver cannot send it: then only one of two others has approved.
    refused(&second, &notice).await;
    author.send(&notice, &digest).await.expect(202);
    app.mails(3).await;
    app.finish().await;
}

async fn several_notices_of_one_incident_count_together(env: Env) {
    let app = start(&env).await;
    limit(&app, json!({"recipients_per_incident": 8})).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.tell(&incident, "update").await;
    let author = app.as_new("operator").await;
    let third = author.draft(&incident, "update").await;
    assert_eq!(
        exceeded(&author, &third).await,
        json!([{"name": "recipients_per_incident", "limit": 8, "value": 9}])
    );
    let text = refused(&author, &third).await["detail"].to_string();
    assert!(text.contains("9 recipients of this incident"), "{text}");
    // A notice with an approval is sent, and does not count against later ones.
    let digest = author.digest(&third).await;
    app.as_new("approver")
        .await
        .approve(&third, &digest)
        .await
        .expect(200);
    author.send(&third, &digest).await.expect(202);
    app.done(&third).await;
    let fourth = author.draft(&incident, "update").await;
    assert_eq!(
        exceeded(&author, &fourth).await,
        json!([{"name": "recipients_per_incident", "limit": 8, "value": 9}])
    );
    // Another incident counts for itself.
    let other = app.incident([("project", PROJECT)]).await;
    let elsewhere = author.draft(&other, "detection").await;
    assert_eq!(exceeded(&author, &elsewhere).await, json!([]));
    app.mails(9).await;
    app.finish().await;
}

async fn several_notices_of_one_hour_count_together(env: Env) {
    let app = start(&env).await;
    limit(&app, json!({"recipients_per_hour": 5})).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    let other = app.incident([("project", PROJECT)]).await;
    let author = app.as_new("operator").await;
    let second = author.draft(&other, "detection").await;
    app.clock.advance(Duration::from_micros(3_599_999_999));
    assert_eq!(
        exceeded(&author, &second).await,
        json!([{"name": "recipients_per_hour", "limit": 5, "value": 6}])
    );
    refused(&author, &second).await;
    app.clock.advance(Duration::from_micros(1));
    assert_eq!(exceeded(&author, &second).await, json!([]));
    author.send_as_previewed(&second).await;
    app.mails(6).await;
    app.finish().await;
}

async fn two_sends_at_once_do_not_both_pass(env: Env) {
    let app = start(&env).await;
    limit(&app, json!({"recipients_per_hour": 5})).await;
    let first = app.story_incident().await;
    let second = app.incident([("project", PROJECT)]).await;
    let (one, other) = (
        app.draft(&first, "detection").await,
        app.draft(&second, "detection").await,
    );
    let (digest, of_other) = (app.digest(&one).await, app.digest(&other).await);
    let (a, b) = tokio::join!(app.send(&one, &digest), app.send(&other, &of_other));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 403], "{a} {b}");
    app.mails(3).await;
    app.finish().await;
}

async fn a_catch_up_counts_like_any_notice(env: Env) {
    const LATE: usize = 1_200;
    let app = start(&env).await;
    let (_, notice) = app.tell_crowd(crowd(1)).await;
    app.done(&notice).await;
    app.import(crowd(1 + LATE)).await.expect(200);
    let author = app.as_new("operator").await;
    let path = format!("/api/v1/notices/{notice}/catch-up");
    let late = author.post(&path, json!({})).await.expect(201).id();
    assert_eq!(
        exceeded(&author, &late).await,
        json!([{"name": "recipients", "limit": 500, "value": LATE}])
    );
    refused(&author, &late).await;
    // Whoever wrote the notice wrote its catch-up too.
    let digest = author.digest(&late).await;
    app.approve(&late, &digest).await.expect_problem(403);
    app.mails(1).await;
    app.finish().await;
}

async fn a_policy_keeps_the_limits(env: Env) {
    let app = start(&env).await;
    app.import(story_directory()).await.expect(200);
    limit(&app, json!({"recipients_per_hour": 5})).await;
    let monitoring = app.monitoring().await;
    app.policy(json!({"limits": {"audience_at_most": 100, "per_account_per_hour": null}}))
        .await;
    let sent = app.fires(&monitoring, "first", PROJECT, "critical").await;
    assert_eq!(app.decided(&sent).await["outcome"], "sent");
    let held = app.fires(&monitoring, "second", PROJECT, "critical").await;
    let run = app.decided(&held).await;
    assert_eq!(run["outcome"], "drafted", "{run}");
    let reason = run["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("6 recipients within one hour"), "{reason}");
    app.mails(3).await;
    app.finish().await;
}

async fn an_approval_expires(env: Env) {
    let app = start(&env).await;
    let (author, notice) = above(&app).await;
    let approver = app.as_new("approver").await;
    let digest = author.digest(&notice).await;
    let approved = approver.approve(&notice, &digest).await.expect(200);
    assert_eq!(approved["approved_until"], "2024-03-14T07:56:00Z", "{approved}");
    app.clock.advance(Duration::from_micros(3_599_999_999));
    assert_eq!(app.notice(&notice).await["approved"], true);
    // A shorter time does not shorten an approval that was given before.
    limit(&app, json!({"recipients": 2, "approval_expires_after": "PT1M"})).await;
    assert_eq!(author.preview(&notice).await.expect(200)["approved"], true);
    app.clock.advance(Duration::from_micros(1));
    assert_eq!(app.notice(&notice).await["approved"], false);
    assert_eq!(author.preview(&notice).await.expect(200)["approved"], false);
    let text = refused(&author, &notice).await["detail"].to_string();
    assert!(text.contains("it expired at 2024-03-14T07:56:00Z"), "{text}");
    let all = approvals(&app, &notice).await;
    assert_eq!(all.len(), 1);
    assert_eq!(
        (&all[0]["valid"], &all[0]["kind"]),
        (&json!(false), &json!("approval"))
    );
    approver.approve(&notice, &digest).await.expect(200);
    app.clock.advance(Duration::from_secs(59));
    author.send(&notice, &digest).await.expect(202);
    app.done(&notice).await;
    // After the notice was sent, the approval stays the one with which it was sent.
    app.clock.advance(Duration::from_secs(86_400));
    let all = approvals(&app, &notice).await;
    assert_eq!(
        (&all[0]["valid"], &all[1]["valid"]),
        (&json!(false), &json!(true)),
        "{all:#?}"
    );
    assert_eq!(app.notice(&notice).await["approved"], true);
    app.finish().await;
}

async fn an_approval_is_for_one_notice(env: Env) {
    let app = start(&env).await;
    limit(&app, json!({"recipients": 2})).await;
    let incident = app.story_incident().await;
    let author = app.as_new("operator").await;
    let (one, same) = (
        author.draft(&incident, "update").await,
        author.draft(&incident, "update").await,
    );
    let digest = author.digest(&one).await;
    assert_eq!(
        author.digest(&same).await,
        digest,
        "the same text for the same people"
    );
    app.as_new("approver")
        .await
        .approve(&one, &digest)
        .await
        .expect(200);
    refused(&author, &same).await;
    assert_eq!(approvals(&app, &same).await, Vec::<Value>::new());
    author.send(&one, &digest).await.expect(202);
    app.mails(3).await;
    refused(&author, &same).await;
    app.finish().await;
}

/// An older version of Candor stored only the token and the digest on the notice, and no time.
async fn an_approval_of_an_older_version_does_not_count(env: Env) {
    let app = start(&env).await;
    let (author, notice) = above(&app).await;
    let new = json!({"name": "approves", "role": "approver"});
    let made = app.post("/api/v1/tokens", new).await.expect(201);
    let approver = app.as_role(made["token"].as_str().expect("a token"));
    let digest = author.digest(&notice).await;
    let (token, set) = (made.id(), "UPDATE notices SET approved_by");
    env.sql(&format!(
        "{set} = '{token}', approved_digest = '{digest}' WHERE id = '{notice}'"
    ))
    .expect("an old approval");
    assert_eq!(app.notice(&notice).await["approved"], false);
    let text = refused(&author, &notice).await["detail"].to_string();
    assert!(
        text.contains("earlier version of Candor does not count: approve it again"),
        "{text}"
    );
    approver.approve(&notice, &digest).await.expect(200);
    author.send(&notice, &digest).await.expect(202);
    app.mails(3).await;
    app.finish().await;
}

async fn a_revoked_token_approves_nothing(env: Env) {
    let app = start(&env).await;
    let (author, notice) = above(&app).await;
    let new = json!({"name": "leaves", "role": "approver"});
    let made = app.post("/api/v1/tokens", new).await.expect(201);
    let leaves = app.as_role(made["token"].as_str().expect("a token"));
    let digest = author.digest(&notice).await;
    leaves.approve(&notice, &digest).await.expect(200);
    let all = approvals(&app, &notice).await;
    assert_eq!(
        json!([
            all[0]["valid"],
            all[0]["name"],
            all[0]["person"],
            all[0]["role"],
            all[0]["digest"]
        ]),
        json!([true, "leaves", "leaves", "approver", digest])
    );
    app.delete(&format!("/api/v1/tokens/{}", made.id()))
        .await
        .expect(204);
    let text = refused(&author, &notice).await["detail"].to_string();
    assert!(text.contains("revoked"), "{text}");
    let all = approvals(&app, &notice).await;
    assert_eq!(all[0]["valid"], false);
    assert!(all[0]["why_not"].to_string().contains("revoked"), "{all:#?}");
    for statement in [
        "UPDATE notice_approvals SET expires_at = 0",
        "DELETE FROM notice_approvals",
    ] {
        let kept = env.sql(statement).expect_err(statement).to_string();
        assert!(kept.contains("append-only"), "{statement}: {kept}");
    }
    app.finish().await;
}

async fn break_glass_needs_an_admin_and_a_reason(env: Env) {
    let app = start(&env).await;
    let (author, notice) = above(&app).await;
    let path = format!("/api/v1/notices/{notice}/break-glass");
    let digest = author.digest(&notice).await;
    let said = json!({"digest": digest, "reason": REASON});
    for role in ["operator", "approver"] {
        let other = app.as_new(role).await;
        other.post(&path, &said).await.expect_problem(403);
    }
    for short in ["", "         x", "in a rush"] {
        let answer = app.post(&path, json!({"digest": digest, "reason": short})).await;
        let answer = answer.expect_problem(422);
        assert_eq!(answer["errors"][0]["pointer"], "/reason", "{answer}");
    }
    app.post(&path, json!({"digest": "0000", "reason": REASON}))
        .await
        .expect_problem(409);
    refused(&author, &notice).await;
    // The author may use it, and it ends with a change, like an approval.
    let admin = app.as_new("admin").await;
    let own = admin
        .draft(
            app.notice(&notice).await["incident"].as_str().expect("an id"),
            "update",
        )
        .await;
    let of_own = admin.digest(&own).await;
    let path = format!("/api/v1/notices/{own}/break-glass");
    let said = json!({"digest": of_own, "reason": REASON});
    let broken = admin.post(&path, &said).await.expect(200);
    assert_eq!(
        (&broken["approved"], &broken["break_glass"]),
        (&json!(true), &json!(true)),
        "{broken}"
    );
    let changed = format!("/api/v1/notices/{own}");
    admin
        .patch(&changed, json!({"message": "Other words."}))
        .await
        .expect(200);
    let preview = admin.preview(&own).await.expect(200);
    assert_eq!(
        (&preview["approved"], &preview["break_glass"]),
        (&json!(false), &json!(false))
    );
    refused(&admin, &own).await;
    let again = admin.digest(&own).await;
    admin
        .post(&path, json!({"digest": again, "reason": REASON}))
        .await
        .expect(200);
    app.clock.advance(Duration::from_secs(3_600));
    refused(&admin, &own).await;
    app.mails(0).await;
    app.finish().await;
}

async fn break_glass_is_loud(env: Env) {
    let app = start(&env).await;
    let (author, notice) = above(&app).await;
    let everything = json!({"name": "On call", "email": "on-call@ours.example"});
    app.post("/api/v1/operators", everything).await.expect(201);
    let digest = author.digest(&notice).await;
    let admin = person(&app, "admin", "amina").await;
    let path = format!("/api/v1/notices/{notice}/break-glass");
    admin
        .post(&path, json!({"digest": digest, "reason": REASON}))
        .await
        .expect(200);
    author.send(&notice, &digest).await.expect(202);
    app.done(&notice).await;
    let sent = app.notice(&notice).await;
    assert_eq!(
        (&sent["approved"], &sent["break_glass"]),
        (&json!(true), &json!(true)),
        "{sent}"
    );
    let events = app
        .all(&format!("/api/v1/audit?action=break_glass.used&subject={notice}"))
        .await;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(
        (&events[0]["after"]["reason"], &events[0]["after"]["digest"]),
        (&json!(REASON), &json!(digest))
    );
    let incident = sent["incident"].as_str().expect("an id");
    let timeline = app.told_on_timeline(incident).await;
    assert!(
        timeline
            .iter()
            .any(|text| text.starts_with("Break glass: admin of amina") && text.contains(REASON)),
        "{timeline:#?}"
    );
    let message = eventually("the operators to be notified", DEADLINE, async || {
        let messages = app.all("/api/v1/operators/messages").await;
        messages
            .into_iter()
            .find(|message| message["event"] == "break_glass")
    })
    .await;
    assert_eq!(
        message["title"],
        "#1: break glass by admin of amina for the detection notice"
    );
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser.page("/admin/incidents/1").await;
    assert!(
        page.contains("badge bad\">break glass") && page.contains(REASON),
        "{page}"
    );
    let page = browser.page(&format!("/admin/notices/{notice}")).await;
    assert!(
        page.contains("this notice was sent without approval") && page.contains(REASON),
        "{page}"
    );
    let state = app.get("/api/v1/break-glass").await.expect(200);
    assert_eq!(
        (
            &state["last_used"]["notice"],
            &state["last_used"]["reason"],
            &state["last_rehearsed"]
        ),
        (&json!(notice), &json!(REASON), &Value::Null)
    );
    let kept = env
        .sql("DELETE FROM approved_notices")
        .expect_err("it is kept")
        .to_string();
    assert!(kept.contains("append-only"), "{kept}");
    // It stood for an approval, so the notice does not count against later ones.
    limit(&app, json!({"recipients_per_incident": 3})).await;
    let update = author.draft(incident, "update").await;
    assert_eq!(exceeded(&author, &update).await, json!([]));
    app.finish().await;
}

async fn a_rehearsal_is_only_recorded(env: Env) {
    let app = start(&env).await;
    let (author, notice) = above(&app).await;
    let path = "/api/v1/break-glass/rehearse";
    let said = json!({"reason": "Rehearsed with the night shift."});
    app.as_new("approver")
        .await
        .post(path, &said)
        .await
        .expect_problem(403);
    app.post(path, json!({"reason": "short"}))
        .await
        .expect_problem(422);
    app.post(path, &said).await.expect(200);
    let viewer = app.as_new("viewer").await;
    let state = viewer.get("/api/v1/break-glass").await.expect(200);
    assert_eq!(
        (
            &state["last_used"],
            &state["last_rehearsed"]["reason"],
            &state["last_rehearsed"]["at"]
        ),
        (&Value::Null, &said["reason"], &json!(START))
    );
    assert_eq!(
        app.all("/api/v1/audit?action=break_glass.rehearsed").await.len(),
        1
    );
    refused(&author, &notice).await;
    app.mails(0).await;
    app.finish().await;
}

async fn the_page_of_a_notice_has_the_forms_for_those_who_may(env: Env) {
    let app = start(&env).await;
    limit(&app, json!({"recipients": 2})).await;
    let incident = app.story_incident().await;
    let author = app.token("approver").await;
    let notice = app.as_role(&author).draft(&incident, "detection").await;
    let digest = app.digest(&notice).await;
    let page = format!("/admin/notices/{notice}");
    let (approve, glass) = (format!("{page}/approve"), format!("{page}/break-glass"));
    let forms = [format!("action=\"{approve}\""), format!("action=\"{glass}\"")];
    let (viewer, approver, admin) = (
        Browser::signed_in(&app, &app.token("viewer").await).await,
        Browser::signed_in(&app, &app.token("approver").await).await,
        Browser::signed_in(&app, ADMIN_TOKEN).await,
    );
    let author = Browser::signed_in(&app, &author).await;
    for (who, browser, shown) in [
        ("viewer", &viewer, [false, false]),
        ("author", &author, [false, false]),
        ("approver", &approver, [true, false]),
        ("admin", &admin, [true, true]),
    ] {
        let text = browser.page(&page).await;
        assert!(
            text.contains("Recipients of this notice") && text.contains("0 of 1"),
            "{who}: {text}"
        );
        assert_eq!(
            forms.each_ref().map(|form| text.contains(form)),
            shown,
            "{who}: {text}"
        );
    }
    let text = author.page(&page).await;
    assert!(
        text.contains("You cannot approve this notice, because you drafted or changed the notice."),
        "{text}"
    );
    author
        .send_from("/admin/incidents/1", &approve, &[("digest", digest.as_str())])
        .await
        .expect(403);
    viewer
        .send(&approve, &[("digest", digest.as_str())])
        .await
        .expect(403);
    approver
        .send(&glass, &[("digest", digest.as_str()), ("reason", REASON)])
        .await
        .expect(403);
    approver
        .send_from(&page, &approve, &[("digest", "0000")])
        .await
        .expect(409);
    let short = admin
        .send_from(&page, &glass, &[("digest", digest.as_str()), ("reason", "now")])
        .await
        .expect(422);
    assert!(
        short.text.contains("must have at least 10 characters") && short.text.contains(&digest),
        "{short}"
    );
    assert_eq!(approvals(&app, &notice).await, Vec::<Value>::new());
    let done = approver
        .send_from(&page, &approve, &[("digest", digest.as_str())])
        .await
        .expect(303);
    assert_eq!(done.header("location"), page);
    let text = approver.page(&page).await;
    assert!(
        text.contains("Enough people approved exactly this list and text."),
        "{text}"
    );
    assert!(!text.contains(&forms[0]), "{text}");
    admin
        .send_from(
            "/admin/limits",
            &glass,
            &[("digest", digest.as_str()), ("reason", REASON)],
        )
        .await
        .expect(303);
    assert_eq!(approvals(&app, &notice).await[1]["kind"], "break_glass");
    app.as_new("operator")
        .await
        .send(&notice, &digest)
        .await
        .expect(202);
    app.mails(3).await;
    app.finish().await;
}

async fn the_limits_have_a_page(env: Env) {
    let app = start(&env).await;
    let approver = Browser::signed_in(&app, &app.token("approver").await).await;
    approver.open("/admin/limits").await.expect(403);
    assert!(!approver.page("/admin/templates").await.contains("/admin/limits"));
    let admin = Browser::signed_in(&app, ADMIN_TOKEN).await;
    assert!(admin.page("/admin/templates").await.contains("/admin/limits"));
    let page = admin.page("/admin/limits").await;
    assert!(page.contains("value=\"500\"") && page.contains("never"), "{page}");
    let fields = [
        ("recipients", "20"),
        ("recipients_per_incident", ""),
        ("recipients_per_hour", "40"),
        ("share_of_directory", "0.25"),
        ("by", "minor update = 5\nreport = 0"),
        ("approvals", "2"),
        ("approval_expires_after", "PT30M"),
        ("hold_if", "bounced = 0.1\ncomplained = 0.01\nstill_broken = 0.5"),
    ];
    let mut wrong = fields;
    wrong[3].1 = "2";
    wrong[6].1 = "soon";
    let again = admin
        .send_from("/admin/limits", "/admin/limits", &wrong)
        .await
        .expect(422);
    for text in [
        "must be a share from 0 to 1",
        "soon",
        "Nothing was saved",
        "value=\"20\"",
    ] {
        assert!(again.text.contains(text), "{text}: {again}");
    }
    admin
        .send_from("/admin/limits", "/admin/limits", &fields)
        .await
        .expect(303);
    let stored = json!({
        "recipients": 20, "recipients_per_incident": null, "recipients_per_hour": 40, "share_of_directory": 0.25,
        "approvals": 2, "approval_expires_after": "PT30M",
        "hold_if": {"bounced": 0.1, "complained": 0.01, "still_broken": 0.5},
        "by": [{"severity": "minor", "phase": "update", "recipients": 5}, {"phase": "report", "recipients": 0}],
    });
    assert_eq!(app.get("/api/v1/limits").await.expect(200).json, stored);
    let page = admin.page("/admin/limits").await;
    assert!(
        page.contains("minor update &#x3D; 5") && page.contains("still_broken &#x3D; 50 %"),
        "{page}"
    );
    // What the form shows is what it takes.
    assert!(
        page.contains("value=\"25 %\"") && page.contains("value=\"30 minutes\""),
        "{page}"
    );
    let mut words = fields;
    words[3].1 = "20 %";
    words[6].1 = "2 hours";
    words[7].1 = "bounced = 0.2 %\ncomplained = 1%\nstill_broken = 50 %";
    admin
        .send_from("/admin/limits", "/admin/limits", &words)
        .await
        .expect(303);
    let stored = app.get("/api/v1/limits").await.expect(200);
    assert_eq!(
        (
            &stored["share_of_directory"],
            &stored["approval_expires_after"],
            &stored["hold_if"]
        ),
        (
            &json!(0.2),
            &json!("PT2H"),
            &json!({"bounced": 0.002, "complained": 0.01, "still_broken": 0.5})
        )
    );
    let said = [("reason", "Rehearsed with the night shift.")];
    admin
        .send_from("/admin/limits", "/admin/limits/rehearse", &said)
        .await
        .expect(303);
    let page = admin.page("/admin/limits").await;
    assert!(page.contains(said[0].1), "{page}");
    app.finish().await;
}
