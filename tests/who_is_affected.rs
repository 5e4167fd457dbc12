//! From affected resources to people: the owners of the account and the collaborators on all ancestors, each
//! once and with every reason.

use serde_json::{Value, json};

use crate::support::story::{AFFECTED, FILES, MEDIA};
use crate::support::{Answer, Env, Http, TestApp, on_both_databases, story_directory};

on_both_databases!(
    owners_and_collaborators_each_once_with_every_reason,
    the_nearest_account_counts,
    collaborators_on_every_ancestor_are_told,
    what_is_gone_tells_nobody,
    deleting_never_widens,
    who_cannot_be_reached_is_shown,
    a_resource_without_an_account_is_shown,
    the_audience_comes_in_pages,
    a_resource_taken_off_affects_nobody,
);

/// Opens an incident that affects these resources, and returns its ID.
async fn incident(app: &Http, affected: &[(&str, &str)]) -> String {
    let affected: Vec<Value> = affected
        .iter()
        .map(|(type_, id)| json!({"type": type_, "id": id}))
        .collect();
    let body = json!({"title": "It broke", "severity": "major", "affected": affected});
    app.post("/api/v1/incidents", body).await.expect(201).id()
}

async fn audience(app: &Http, incident: &str) -> Answer {
    app.get(&format!("/api/v1/incidents/{incident}/audience?limit=500"))
        .await
        .expect(200)
}

fn people(audience: &Answer) -> Vec<&str> {
    audience
        .items()
        .iter()
        .map(|item| item["person"]["id"].as_str().unwrap())
        .collect()
}

/// Returns `resource through account role` for each reason of a person.
fn reasons(audience: &Answer, person: &str) -> Vec<String> {
    let item = audience
        .items()
        .iter()
        .find(|item| item["person"]["id"] == person);
    let item = item.unwrap_or_else(|| panic!("{person} is not in {audience}"));
    let name = |at: &Value| match at {
        Value::Null => "-".to_owned(),
        at => format!("{}/{}", at["type"].as_str().unwrap(), at["id"].as_str().unwrap()),
    };
    let mut reasons: Vec<String> = item["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| {
            let account = reason["account"].as_str().unwrap_or("-");
            format!(
                "{} {} {account} {}",
                name(&reason["resource"]),
                name(&reason["through"]),
                reason["role"].as_str().unwrap()
            )
        })
        .collect();
    reasons.sort();
    reasons
}

async fn owners_and_collaborators_each_once_with_every_reason(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    app.put(
        "/api/v1/resources/media/interview/collaborators/amina",
        json!({"role": "director"}),
    )
    .await
    .expect(201);
    let id = incident(&app, &[("file", FILES[0]), ("file", FILES[1]), ("media", MEDIA)]).await;
    let audience = audience(&app, &id).await;
    assert_eq!(people(&audience), AFFECTED);
    assert_eq!(audience["counts"]["people"], 3);
    assert_eq!(audience["counts"]["accounts"], 1);
    assert_eq!(audience["counts"]["resources"], 3);
    assert_eq!(audience["counts"]["unreachable"], 0);
    assert_eq!(audience["counts"]["unresolved_references"], 0);
    assert_eq!(audience["counts"]["not_told"], 3);
    // The owner has two reasons: through the project, for which the account is set, and as a collaborator on
    // the media item.
    assert_eq!(
        reasons(&audience, "amina"),
        [
            "file/interview-v1 media/interview nyota-films director",
            "file/interview-v1 project/savanna nyota-films owner",
            "file/interview-v2 media/interview nyota-films director",
            "file/interview-v2 project/savanna nyota-films owner",
            "media/interview - nyota-films director",
            "media/interview project/savanna nyota-films owner",
        ]
    );
    assert_eq!(
        reasons(&audience, "baraka"),
        [
            "file/interview-v1 project/savanna nyota-films sound",
            "file/interview-v2 project/savanna nyota-films sound",
            "media/interview project/savanna nyota-films sound",
        ]
    );
    // A member of the account is included because of the role as a collaborator and not because of the
    // membership.
    assert_eq!(
        reasons(&audience, "wanjiru")[0],
        "file/interview-v1 project/savanna nyota-films editor"
    );
    let amina = &audience.items()[0];
    assert_eq!(
        amina["person"],
        json!({"id": "amina", "name": "Amina Njeri", "email": "amina@nyota-films.example"})
    );
    assert_eq!(amina["told"], false);
    assert_eq!(amina["unreachable"], Value::Null);
    app.finish().await;
}

async fn the_nearest_account_counts(env: Env) {
    let app = TestApp::start(&env).await;
    for (account, person) in [("acme", "ann"), ("zeta", "zoe")] {
        app.put(&format!("/api/v1/accounts/{account}"), json!({"name": account}))
            .await
            .expect(201);
        let email = format!("{person}@example.com");
        app.put(
            &format!("/api/v1/people/{person}"),
            json!({"name": person, "email": email}),
        )
        .await
        .expect(201);
        app.put(
            &format!("/api/v1/accounts/{account}/members/{person}"),
            json!({"role": "owner"}),
        )
        .await
        .expect(201);
    }
    app.put("/api/v1/resources/t/top", json!({"account": "acme"}))
        .await
        .expect(201);
    app.put(
        "/api/v1/resources/t/middle",
        json!({"account": "acme", "parent": {"type": "t", "id": "top"}}),
    )
    .await
    .expect(201);
    app.put(
        "/api/v1/resources/t/low",
        json!({"parent": {"type": "t", "id": "middle"}}),
    )
    .await
    .expect(201);
    app.put("/api/v1/resources/t/own", json!({"account": "zeta"}))
        .await
        .expect(201);
    let id = incident(&app, &[("t", "low"), ("t", "own")]).await;
    let audience = audience(&app, &id).await;
    assert_eq!(people(&audience), ["ann", "zoe"]);
    assert_eq!(audience["counts"]["accounts"], 2);
    // There is one reason, through the nearest of the two resources with an account.
    assert_eq!(reasons(&audience, "ann"), ["t/low t/middle acme owner"]);
    assert_eq!(reasons(&audience, "zoe"), ["t/own - zeta owner"]);
    app.finish().await;
}

async fn collaborators_on_every_ancestor_are_told(env: Env) {
    let app = TestApp::start(&env).await;
    app.put("/api/v1/accounts/acme", json!({"name": "Acme"}))
        .await
        .expect(201);
    app.put("/api/v1/resources/t/0", json!({"account": "acme"}))
        .await
        .expect(201);
    for depth in 1..=5 {
        let parent = json!({"type": "t", "id": (depth - 1).to_string()});
        app.put(&format!("/api/v1/resources/t/{depth}"), json!({"parent": parent}))
            .await
            .expect(201);
    }
    for depth in 0..=5 {
        app.put(
            &format!("/api/v1/people/p{depth}"),
            json!({"name": "P", "email": "p@example.com"}),
        )
        .await
        .expect(201);
        app.put(
            &format!("/api/v1/resources/t/{depth}/collaborators/p{depth}"),
            json!({"role": "owner"}),
        )
        .await
        .expect(201);
    }
    let id = incident(&app, &[("t", "3")]).await;
    let audience = audience(&app, &id).await;
    // The search goes upwards and never downwards.
    assert_eq!(people(&audience), ["p0", "p1", "p2", "p3"]);
    assert_eq!(reasons(&audience, "p0"), ["t/3 t/0 acme owner"]);
    assert_eq!(reasons(&audience, "p3"), ["t/3 - acme owner"]);
    app.finish().await;
}

async fn what_is_gone_tells_nobody(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let id = incident(&app, &[("file", FILES[0]), ("file", "stalls-v1")]).await;
    assert_eq!(
        people(&audience(&app, &id).await),
        ["amina", "baraka", "grace", "tumaini", "wanjiru"]
    );

    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    assert_eq!(
        people(&audience(&app, &id).await),
        ["amina", "grace", "tumaini", "wanjiru"]
    );

    app.delete("/api/v1/accounts/nyota-films/members/amina")
        .await
        .expect(204);
    assert_eq!(
        people(&audience(&app, &id).await),
        ["grace", "tumaini", "wanjiru"]
    );

    // An archived person is not notified, and is still shown.
    app.delete("/api/v1/people/wanjiru").await.expect(204);
    let without = audience(&app, &id).await;
    assert_eq!(people(&without), ["grace", "tumaini"]);
    assert_eq!(without["counts"]["people"], 2);
    assert_eq!(without["counts"]["unreachable"], 1);
    assert_eq!(without["unreachable"][0]["person"]["id"], "wanjiru");
    let reason = without["unreachable"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("archived"), "{reason}");

    // Nobody of an archived account is included, not even collaborators.
    app.delete("/api/v1/accounts/kilele-studio").await.expect(204);
    let without = audience(&app, &id).await;
    assert_eq!(people(&without), [""; 0]);
    assert_eq!(without["counts"]["accounts"], 1);

    // A resource that was archived while it was affected is shown, and nobody is notified because of it.
    app.import(story_directory()).await.expect(200);
    app.delete("/api/v1/resources/file/stalls-v1").await.expect(204);
    let without = audience(&app, &id).await;
    assert_eq!(people(&without), AFFECTED);
    assert_eq!(
        (
            &without["counts"]["resources"],
            &without["counts"]["gone_resources"]
        ),
        (&json!(1), &json!(1))
    );
    app.finish().await;
}

async fn deleting_never_widens(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    // The account is also set on the media item, so that the chain above it may be interrupted.
    let media = json!({"account": "nyota-films", "parent": {"type": "project", "id": "savanna"}});
    app.put("/api/v1/resources/media/interview", media)
        .await
        .expect(200);
    let id = incident(&app, &[("file", FILES[0])]).await;
    assert_eq!(people(&audience(&app, &id).await), AFFECTED);
    // An archived ancestor cuts off everything above it.
    app.delete("/api/v1/resources/project/savanna").await.expect(204);
    let cut = audience(&app, &id).await;
    assert_eq!(people(&cut), ["amina"]);
    assert_eq!(
        reasons(&cut, "amina"),
        ["file/interview-v1 media/interview nyota-films owner"]
    );
    app.delete("/api/v1/resources/media/interview").await.expect(204);
    let cut = audience(&app, &id).await;
    assert_eq!(people(&cut), [""; 0]);
    assert_eq!(cut["counts"]["without_account"], 1);
    app.finish().await;
}

async fn who_cannot_be_reached_is_shown(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    app.put(
        "/api/v1/people/baraka",
        json!({"name": "Baraka Mushi", "email": ""}),
    )
    .await
    .expect(200);
    let id = incident(&app, &[("file", FILES[0])]).await;
    let audience = audience(&app, &id).await;
    // They are still affected.
    assert_eq!(people(&audience), AFFECTED);
    assert_eq!(audience["counts"]["people"], 3);
    assert_eq!(
        (
            &audience["counts"]["unreachable"],
            &audience["counts"]["not_told"]
        ),
        (&json!(1), &json!(2))
    );
    assert_eq!(audience["unreachable"].as_array().map(Vec::len), Some(1));
    assert_eq!(audience["unreachable"][0]["person"]["id"], "baraka");
    assert_eq!(audience["unreachable"][0]["reason"], "no address");
    assert_eq!(audience.items()[1]["unreachable"], "no address");
    app.finish().await;
}

async fn a_resource_without_an_account_is_shown(env: Env) {
    let app = TestApp::start(&env).await;
    app.put(
        "/api/v1/people/ann",
        json!({"name": "Ann", "email": "ann@example.com"}),
    )
    .await
    .expect(201);
    app.put("/api/v1/resources/t/alone", json!({})).await.expect(201);
    app.put("/api/v1/resources/t/shared", json!({})).await.expect(201);
    app.put(
        "/api/v1/resources/t/shared/collaborators/ann",
        json!({"role": "editor"}),
    )
    .await
    .expect(201);
    let id = incident(&app, &[("t", "alone"), ("t", "shared")]).await;
    let audience = audience(&app, &id).await;
    assert_eq!(people(&audience), ["ann"]);
    assert_eq!(reasons(&audience, "ann"), ["t/shared - - editor"]);
    assert_eq!(
        (
            &audience["counts"]["accounts"],
            &audience["counts"]["without_account"]
        ),
        (&json!(0), &json!(2))
    );
    app.finish().await;
}

async fn the_audience_comes_in_pages(env: Env) {
    let app = TestApp::start(&env).await;
    let mut lines = String::from(
        "{\"kind\":\"account\",\"id\":\"a\",\"name\":\"A\"}\n{\"kind\":\"resource\",\"type\":\"t\",\"id\":\"1\",\"account\":\"a\"}\n",
    );
    for n in 0..25 {
        lines += &format!(
            "{{\"kind\":\"person\",\"id\":\"p{n}\",\"name\":\"P\",\"email\":\"p{n}@example.com\"}}\n{{\"kind\":\"member\",\"account\":\"a\",\"person\":\"p{n}\",\"role\":\"owner\"}}\n"
        );
    }
    app.import(lines).await.expect(200);
    let id = incident(&app, &[("t", "1")]).await;
    let whole = audience(&app, &id).await;
    assert_eq!((whole.items().len(), &whole["next_cursor"]), (25, &Value::Null));
    let page = app
        .get(&format!("/api/v1/incidents/{id}/audience?limit=10"))
        .await
        .expect(200);
    assert_eq!((page.items().len(), &page["counts"]), (10, &whole["counts"]));
    let paged = app
        .all(&format!("/api/v1/incidents/{id}/audience?limit=10"))
        .await;
    assert_eq!(paged, whole.items());
    app.finish().await;
}

async fn a_resource_taken_off_affects_nobody(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let id = incident(&app, &[("file", FILES[0]), ("file", "stalls-v1")]).await;
    let path = format!("/api/v1/incidents/{id}/affected/file/stalls-v1");
    app.delete(&path).await.expect(204);
    app.delete(&path).await.expect_problem(404);
    app.delete(&format!("/api/v1/incidents/{id}/affected/file/unknown"))
        .await
        .expect_problem(404);
    assert_eq!(people(&audience(&app, &id).await), AFFECTED);
    // The resource is added again.
    let resources =
        json!({"resources": [{"type": "file", "id": "stalls-v1"}, {"type": "file", "id": FILES[0]}]});
    let added = app
        .post(&format!("/api/v1/incidents/{id}/affected"), resources)
        .await
        .expect(200);
    assert_eq!((&added["added"], &added["already"]), (&json!(1), &json!(1)));
    assert_eq!(audience(&app, &id).await["counts"]["people"], 5);
    app.finish().await;
}
