//! A notice goes to the roles of its audience rule, which are owners and all collaborators by default. The
//! preview shows the rule, the digest covers it, and no change of the directory ever adds roles to it.

use serde_json::{Value, json};

use crate::support::story::FILES;
use crate::support::{Answer, Env, Http, TestApp, on_both_databases};

on_both_databases!(
    the_usual_rule_is_owners_and_all_collaborators,
    other_roles_are_told_where_the_rule_says_so,
    a_wrong_rule_is_refused,
    a_rule_never_widens,
    a_catch_up_keeps_the_rule,
);

async fn start(env: &Env) -> (TestApp, String) {
    let app = TestApp::start(env).await;
    let incident = app.story_incident().await;
    for (person, role) in [("otieno", "billing"), ("zuri", "viewer")] {
        app.put(
            &format!("/api/v1/accounts/nyota-films/members/{person}"),
            json!({"role": role}),
        )
        .await;
    }
    (app, incident)
}

async fn draft(app: &Http, incident: &str, audience: Option<Value>) -> Answer {
    let mut body = json!({"phase": "detection", "message": "Files cannot be opened."});
    if let Some(audience) = audience {
        body["audience"] = audience;
    }
    app.post(&format!("/api/v1/incidents/{incident}/notices"), body)
        .await
}

/// Checks who would get a notice, by the parts of their addresses before the @, sorted. A preview shows the
/// first three.
async fn goes_to(app: &Http, notice: &str, expected: &[&str]) {
    let preview = app.preview(notice).await.expect(200);
    assert_eq!(preview["recipients"], expected.len(), "{expected:?}: {preview}");
    let shown: Vec<&str> = preview["samples"]
        .as_array()
        .expect("samples")
        .iter()
        .map(|sample| {
            let to = sample["to"].as_str().expect("an address");
            to.split('@').next().unwrap_or_default()
        })
        .collect();
    assert_eq!(shown, expected[..expected.len().min(3)], "{preview}");
}

async fn the_usual_rule_is_owners_and_all_collaborators(env: Env) {
    let (app, incident) = start(&env).await;
    let usual = json!({"roles": ["owner"], "collaborators": true});
    let notice = draft(&app, &incident, None).await.expect(201);
    assert_eq!(notice["audience"], usual);
    assert_eq!(app.preview(&notice.id()).await.expect(200)["audience"], usual);
    goes_to(&app, &notice.id(), &["amina", "baraka", "wanjiru"]).await;
    // If the default rule is written explicitly, the rule and the digest are the same.
    let digest = app.digest(&notice.id()).await;
    let path = format!("/api/v1/notices/{}", notice.id());
    app.patch(&path, json!({"audience": usual})).await.expect(200);
    assert_eq!(app.digest(&notice.id()).await, digest);
    app.finish().await;
}

async fn other_roles_are_told_where_the_rule_says_so(env: Env) {
    let (app, incident) = start(&env).await;
    let cases: [(Value, &[&str]); 5] = [
        (
            json!({"roles": ["owner", "billing"]}),
            &["amina", "baraka", "otieno", "wanjiru"],
        ),
        (json!({"roles": ["billing"], "collaborators": false}), &["otieno"]),
        (json!({"collaborators": false}), &["amina"]),
        (json!({"collaborators": ["sound"]}), &["amina", "baraka"]),
        (
            json!({"roles": ["viewer", "billing"], "collaborators": ["editor"]}),
            &["otieno", "wanjiru", "zuri"],
        ),
    ];
    let mut digests = std::collections::BTreeSet::new();
    for (rule, expected) in cases {
        let notice = draft(&app, &incident, Some(rule.clone())).await.expect(201).id();
        goes_to(&app, &notice, expected).await;
        assert!(digests.insert(app.digest(&notice).await), "{rule}");
    }
    // A rule that finds the same people is still another rule, so an approval of one does not apply to the
    // other.
    let notice = draft(
        &app,
        &incident,
        Some(json!({"collaborators": ["sound", "editor"]})),
    )
    .await
    .expect(201)
    .id();
    let digest = app.digest(&notice).await;
    goes_to(&app, &notice, &["amina", "baraka", "wanjiru"]).await;
    let path = format!("/api/v1/notices/{notice}");
    app.patch(&path, json!({"audience": {"collaborators": true}}))
        .await
        .expect(200);
    goes_to(&app, &notice, &["amina", "baraka", "wanjiru"]).await;
    app.send(&notice, &digest).await.expect_problem(409);
    // A person who is notified because of another role gets the correct reason.
    app.patch(
        &path,
        json!({"audience": {"roles": ["billing"], "collaborators": false}}),
    )
    .await
    .expect(200);
    app.send_as_previewed(&notice).await;
    let mail = app.mails(1).await.remove(0);
    assert!(mail.to.starts_with("otieno@"), "{}", mail.to);
    assert!(
        mail.flat().contains("you are a member of Nyota Films"),
        "{}",
        mail.text
    );
    app.finish().await;
}

async fn a_wrong_rule_is_refused(env: Env) {
    let (app, incident) = start(&env).await;
    let notice = draft(&app, &incident, None).await.expect(201).id();
    for (rule, place) in [
        (json!({"roles": []}), "/audience/roles"),
        (json!({"roles": null}), "/audience/roles"),
        (json!({"roles": ["owner", "biling"]}), "/audience/roles/1"),
        (json!({"roles": [""]}), "/audience/roles/0"),
        (json!({"roles": "owner"}), "/audience/roles"),
        (json!({"collaborators": []}), "/audience/collaborators"),
        (json!({"collaborators": null}), "/audience/collaborators"),
        (json!({"collaborators": ["sond"]}), "/audience/collaborators/0"),
        (json!({"collaborators": "all"}), "/audience/collaborators"),
        (json!({"role": ["owner"]}), "/audience/role"),
    ] {
        draft(&app, &incident, Some(rule.clone()))
            .await
            .expect_invalid(place);
        app.patch(&format!("/api/v1/notices/{notice}"), json!({"audience": rule}))
            .await
            .expect_invalid(place);
    }
    assert_eq!(env.count("notices"), 1);
    app.finish().await;
}

/// Deleting, moving or relabelling never adds anybody to an existing rule or notice.
async fn a_rule_never_widens(env: Env) {
    let (app, incident) = start(&env).await;
    let rule = json!({"roles": ["billing"], "collaborators": ["sound"]});
    let notice = draft(&app, &incident, Some(rule.clone())).await.expect(201).id();
    goes_to(&app, &notice, &["baraka", "otieno"]).await;
    // The last person with a role is archived, and nobody replaces this person.
    app.delete("/api/v1/accounts/nyota-films/members/otieno")
        .await
        .expect(204);
    goes_to(&app, &notice, &["baraka"]).await;
    app.put(
        "/api/v1/resources/project/savanna/collaborators/baraka",
        json!({"role": "lead"}),
    )
    .await
    .expect(200);
    goes_to(&app, &notice, &[]).await;
    let digest = app.digest(&notice).await;
    app.send(&notice, &digest).await.expect_problem(422);
    assert_eq!(app.notice(&notice).await["audience"], rule);
    // The billing contact of another account never gets it, wherever the resource or the label is moved.
    app.put(
        "/api/v1/accounts/kilele-studio/members/grace",
        json!({"role": "billing"}),
    )
    .await
    .expect(200);
    let labels = json!({"parent": {"type": "media", "id": "stalls"}, "labels": {"provider": "s3"}});
    app.put("/api/v1/resources/file/stalls-v1", labels)
        .await
        .expect(200);
    goes_to(&app, &notice, &[]).await;
    app.delete("/api/v1/resources/media/interview").await.expect(204);
    app.delete("/api/v1/accounts/nyota-films").await.expect(204);
    goes_to(&app, &notice, &[]).await;
    app.finish().await;
}

async fn a_catch_up_keeps_the_rule(env: Env) {
    let (app, incident) = start(&env).await;
    let rule = json!({"roles": ["billing"], "collaborators": false});
    let notice = draft(&app, &incident, Some(rule.clone())).await.expect(201).id();
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    assert_eq!(app.addresses(&notice, "sent").await.len(), 1);
    // The notice is not for owners, so nobody is missing although they were not notified.
    app.post(&format!("/api/v1/notices/{notice}/catch-up"), json!({}))
        .await
        .expect_problem(422);
    app.put(
        "/api/v1/accounts/nyota-films/members/zuri",
        json!({"role": "billing"}),
    )
    .await
    .expect(200);
    let again = app
        .post(&format!("/api/v1/notices/{notice}/catch-up"), json!({}))
        .await
        .expect(201);
    assert_eq!(again["audience"], rule);
    goes_to(&app, &again.id(), &["zuri"]).await;
    // Moving an affected resource to another account later adds nobody to a sent notice.
    let deliveries = app.deliveries(&notice).await.len();
    let moved = json!({"parent": {"type": "media", "id": "stalls"}});
    app.put(&format!("/api/v1/resources/file/{}", FILES[0]), moved)
        .await
        .expect(200);
    assert_eq!(app.deliveries(&notice).await.len(), deliveries);
    app.finish().await;
}
