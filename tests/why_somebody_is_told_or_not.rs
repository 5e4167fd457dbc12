//! Explains why a person is in the audience of an incident, or why not: every role, and where the path from
//! it ends.

use serde_json::{Value, json};

use crate::support::{Answer, Env, Http, TestApp, on_both_databases};

on_both_databases!(
    whoever_is_in_is_explained,
    whoever_is_out_is_explained,
    a_rule_explains_too,
    who_cannot_be_written_to_is_explained,
    the_question_is_checked,
);

async fn explain(app: &Http, incident: &str, query: &str) -> Answer {
    app.get(&format!("/api/v1/incidents/{incident}/audience/explain?{query}"))
        .await
}

/// Returns whether a person is in the audience, and the steps as `about yes|no: detail`.
async fn explained(app: &Http, incident: &str, query: &str) -> (bool, Vec<String>) {
    let answer = explain(app, incident, query).await.expect(200);
    assert_eq!(answer.items().len(), 1, "{answer}");
    let one = &answer.items()[0];
    // The explanation agrees with the audience itself.
    let audience = app.all(&format!("/api/v1/incidents/{incident}/audience")).await;
    let item = audience
        .iter()
        .find(|item| item["person"]["id"] == one["person"]["id"]);
    if !query.contains("notice=") {
        assert_eq!(one["in_audience"], item.is_some(), "{answer}");
        assert_eq!(
            one["reasons"],
            item.map_or(json!([]), |item| item["reasons"].clone()),
            "{answer}"
        );
    }
    let steps = one["steps"].as_array().expect("steps");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let lines = steps.iter().map(|step| {
        let ok = if step["ok"] == true { "yes" } else { "no" };
        format!("{} {ok}: {}", text(&step["about"]), text(&step["detail"]))
    });
    (one["in_audience"] == true, lines.collect())
}

#[track_caller]
fn says(found: &(bool, Vec<String>), is_in: bool, parts: &[&str]) {
    assert_eq!(found.0, is_in, "{found:#?}");
    for part in parts {
        assert!(
            found.1.iter().any(|line| line.contains(part)),
            "no '{part}' in {found:#?}"
        );
    }
}

async fn whoever_is_in_is_explained(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let owner = explained(&app, &incident, "person=amina").await;
    says(
        &owner,
        true,
        &[
            "directory yes",
            "address yes",
            "membership yes: is owner of the account nyota-films, which owns file interview-v1 (part of media interview, part of project savanna), file interview-v2",
        ],
    );
    let collaborator = explained(&app, &incident, "address=BARAKA%40sound-works.example").await;
    says(
        &collaborator,
        true,
        &[
            "collaboration yes: works as sound on project savanna; this includes the affected file interview-v1 (part of media",
        ],
    );
    // The reasons contain the whole path from the affected resource to the one that the role is on.
    let answer = explain(&app, &incident, "person=amina").await.expect(200);
    let step = |type_: &str, id: &str| json!({"type": type_, "id": id});
    assert_eq!(
        answer.items()[0]["reasons"][0]["path"],
        json!([
            step("file", "interview-v1"),
            step("media", "interview"),
            step("project", "savanna"),
            step("account", "nyota-films")
        ])
    );
    let answer = explain(&app, &incident, "person=baraka").await.expect(200);
    assert_eq!(
        answer.items()[0]["reasons"][1]["path"],
        json!([
            step("file", "interview-v2"),
            step("media", "interview"),
            step("project", "savanna")
        ])
    );
    app.finish().await;
}

async fn whoever_is_out_is_explained(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    // Another account, another project, a role that is not notified, and no role.
    says(
        &explained(&app, &incident, "person=grace").await,
        false,
        &["membership no: is owner of the account kilele-studio, which owns no affected resource"],
    );
    says(
        &explained(&app, &incident, "person=zuri").await,
        false,
        &["on project harbour, which is not affected and has no affected parts"],
    );
    app.put(
        "/api/v1/accounts/nyota-films/members/grace",
        json!({"role": "billing"}),
    )
    .await
    .expect(201);
    says(
        &explained(&app, &incident, "person=grace").await,
        false,
        &[
            "is billing of the account nyota-films, which owns file interview-v1",
            "but not this role",
        ],
    );
    app.put(
        "/api/v1/people/new",
        json!({"name": "New", "email": "new@example.com"}),
    )
    .await
    .expect(201);
    says(
        &explained(&app, &incident, "person=new").await,
        false,
        &["is not, and never was, a member of an account"],
    );
    // A role that has ended.
    app.delete("/api/v1/accounts/nyota-films/members/grace")
        .await
        .expect(204);
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    says(
        &explained(&app, &incident, "person=grace").await,
        false,
        &["was billing of the account nyota-films until 20"],
    );
    says(
        &explained(&app, &incident, "person=baraka").await,
        false,
        &["worked as sound on project savanna until 20"],
    );
    // A resource that was removed, one that was archived, an interrupted chain, and an archived account.
    app.delete(&format!(
        "/api/v1/incidents/{incident}/affected/file/interview-v1"
    ))
    .await
    .expect(204);
    app.delete("/api/v1/resources/file/interview-v2")
        .await
        .expect(204);
    for person in ["amina", "wanjiru"] {
        says(
            &explained(&app, &incident, &format!("person={person}")).await,
            false,
            &[
                "but this does not count",
                "file interview-v1 was removed from the incident at 20",
                "file interview-v2 is affected, but is archived in the directory",
            ],
        );
    }
    app.affect(&incident, "file", "interview-v1").await;
    says(&explained(&app, &incident, "person=amina").await, true, &[]);
    app.delete("/api/v1/resources/media/interview").await.expect(204);
    says(
        &explained(&app, &incident, "person=wanjiru").await,
        false,
        &["file interview-v1 is part of media interview, which is archived"],
    );
    let media = json!({"parent": {"type": "project", "id": "savanna"}});
    app.put("/api/v1/resources/media/interview", media)
        .await
        .expect(200);
    app.delete("/api/v1/accounts/nyota-films").await.expect(204);
    says(
        &explained(&app, &incident, "person=wanjiru").await,
        false,
        &["file interview-v1 belongs to the account nyota-films, which is archived"],
    );
    says(
        &explained(&app, &incident, "person=amina").await,
        false,
        &["is owner of the account nyota-films, which was archived in the directory at 20"],
    );
    app.delete("/api/v1/people/amina").await.expect(204);
    says(
        &explained(&app, &incident, "person=amina").await,
        false,
        &["directory no: was archived in the directory at 20"],
    );
    app.finish().await;
}

async fn a_rule_explains_too(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let rule = json!({"phase": "detection", "message": "M", "audience": {"collaborators": ["sound"]}});
    let notice = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), rule)
        .await
        .expect(201)
        .id();
    let by = |person: &str| format!("person={person}&notice={notice}");
    says(
        &explained(&app, &incident, &by("baraka")).await,
        true,
        &["works as sound"],
    );
    says(
        &explained(&app, &incident, &by("wanjiru")).await,
        false,
        &[
            "works as editor on project savanna; this includes the affected file interview-v1",
            "collaborators with the role sound, but not this role",
        ],
    );
    let other = app.incident([("file", "stalls-v1")]).await;
    explain(&app, &other, &by("baraka")).await.expect_problem(404);
    app.finish().await;
}

async fn who_cannot_be_written_to_is_explained(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.put("/api/v1/people/baraka", json!({"name": "Baraka", "email": ""}))
        .await
        .expect(200);
    says(
        &explained(&app, &incident, "person=baraka").await,
        true,
        &["address no: cannot be reached: no address"],
    );
    let answer = explain(&app, &incident, "person=baraka").await.expect(200);
    assert_eq!(answer.items()[0]["reachable"], false);
    // A person who wants no updates gets mandatory notices and is shown with this reason.
    env.sql(
        "INSERT INTO opt_outs (address, reason, at) VALUES ('wanjiru@nyota-films.example', 'opted_out', 1)",
    )
    .expect("a row");
    says(
        &explained(&app, &incident, "person=wanjiru").await,
        true,
        &["suppression no: gets no updates since", "the person opted out"],
    );
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    assert_eq!(
        (
            &audience["counts"]["suppressed"],
            &audience.items()[2]["suppressed"]
        ),
        (&json!(1), &json!("opted_out"))
    );
    assert_eq!(audience.items()[2]["unreachable"], Value::Null);
    // Two people have one address, and both are explained.
    app.put(
        "/api/v1/people/grace",
        json!({"name": "Grace", "email": "Amina@nyota-films.example"}),
    )
    .await
    .expect(200);
    let both = explain(&app, &incident, "address=amina%40nyota-films.example")
        .await
        .expect(200);
    let ins: Vec<(&Value, &Value)> = both
        .items()
        .iter()
        .map(|one| (&one["person"]["id"], &one["in_audience"]))
        .collect();
    assert_eq!(
        ins,
        [(&json!("amina"), &json!(true)), (&json!("grace"), &json!(false))]
    );
    app.finish().await;
}

async fn the_question_is_checked(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    for (query, place) in [
        ("", "?person"),
        ("person=amina&address=a%40b.example", "?person"),
        ("person=", "?person"),
        ("persn=amina", "?persn"),
    ] {
        explain(&app, &incident, query).await.expect_invalid(place);
    }
    explain(&app, &incident, "person=nobody")
        .await
        .expect_problem(404);
    explain(&app, &incident, "address=nobody%40example.com")
        .await
        .expect_problem(404);
    explain(&app, &incident, "person=amina&notice=x")
        .await
        .expect_problem(404);
    explain(&app, "01890000-0000-7000-8000-000000000000", "person=amina")
        .await
        .expect_problem(404);
    app.finish().await;
}
