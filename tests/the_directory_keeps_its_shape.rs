//! The directory, call by call: valid entries are stored, and entries that would break its structure are
//! refused.

use serde_json::{Value, json};

use crate::support::{Env, Http, TestApp, on_both_databases, story_directory};

on_both_databases!(
    each_kind_is_put_read_deleted_and_revived,
    ids_are_the_callers_own,
    an_id_of_10_kb_is_refused,
    parents_are_checked_from_both_sides,
    what_is_not_known_cannot_be_referred_to,
    wrong_fields_are_named,
    lists_are_filtered_and_paged,
);

async fn each_kind_is_put_read_deleted_and_revived(env: Env) {
    let app = TestApp::start(&env).await;
    app.put("/api/v1/accounts/base", json!({"name": "Base"}))
        .await
        .expect(201);
    app.put("/api/v1/people/base", json!({"name": "Base", "email": ""}))
        .await
        .expect(201);
    app.put("/api/v1/resources/base/base", json!({}))
        .await
        .expect(201);
    let kinds = [
        (
            "/api/v1/accounts/acme",
            json!({"name": "Acme", "locale": "en", "time_zone": "Africa/Nairobi", "labels": {"plan": "pro"}}),
            json!({"name": "Acme Ltd", "locale": null, "time_zone": null, "labels": {}}),
        ),
        (
            "/api/v1/people/ann",
            json!({"name": "Ann", "email": "ann@example.com", "locale": "pt-BR", "time_zone": "UTC"}),
            json!({"name": "Ann B.", "email": "", "locale": null, "time_zone": null}),
        ),
        (
            "/api/v1/resources/project/42",
            json!({"name": "Launch", "account": "base", "parent": {"type": "base", "id": "base"}, "labels": {"tier": "pro"}}),
            json!({"name": null, "account": null, "parent": null, "labels": {}}),
        ),
        (
            "/api/v1/accounts/base/members/base",
            json!({"role": "owner"}),
            json!({"role": "accountant"}),
        ),
        (
            "/api/v1/resources/base/base/collaborators/base",
            json!({"role": "editor"}),
            json!({"role": "owner"}),
        ),
    ];
    for (path, first, second) in kinds {
        app.get(path).await.expect_problem(404);
        app.delete(path).await.expect_problem(404);
        let made = app.put(path, &first).await.expect(201);
        assert_shows(&made.json, &first, path);
        assert_eq!(app.get(path).await.expect(200).json, made.json, "{path}");
        let changed = app.put(path, &second).await.expect(200);
        assert_shows(&changed.json, &second, path);
        assert_eq!(changed["created_at"], made["created_at"], "{path}");

        app.delete(path).await.expect(204);
        app.delete(path).await.expect_problem(404);
        let gone = app.get(path).await.expect(200);
        assert_shows(&gone.json, &second, path);
        assert_ne!(gone["gone_at"], Value::Null, "history keeps {path}");
        let revived = app.put(path, &first).await.expect(200);
        assert_shows(&revived.json, &first, path);
        assert_eq!(revived["gone_at"], Value::Null, "{path}");
    }
    // All of these changes are recorded. Refused ones and those that found nothing are not.
    for kind in ["account", "person", "resource", "member", "collaborator"] {
        let base = i64::from(matches!(kind, "account" | "person" | "resource"));
        assert_eq!(
            env.count(&format!("audit_events WHERE action = '{kind}.put'")),
            3 + base,
            "{kind}"
        );
        assert_eq!(
            env.count(&format!("audit_events WHERE action = '{kind}.deleted'")),
            1,
            "{kind}"
        );
    }
    // The trail contains no addresses.
    assert_eq!(
        env.count(
            "audit_events WHERE after_json LIKE '%ann@example.com%' OR before_json LIKE '%ann@example.com%'"
        ),
        0
    );
    app.finish().await;
}

#[track_caller]
fn assert_shows(shown: &Value, expected: &Value, path: &str) {
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field} of {path}: {shown}");
    }
}

/// Encodes every byte that is not unreserved as `%XX`.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

async fn ids_are_the_callers_own(env: Env) {
    let app = TestApp::start(&env).await;
    let ids = [
        "a/b",
        "with space",
        "Zürich",
        "東京",
        "50%",
        "a%2Fb",
        "a+b",
        "?x=1&y",
        "#",
        "..x",
        "'; DROP TABLE people; --",
        "\"quoted\"",
        "back\\slash",
        "🦓",
        "a:b@c",
        "\u{200f}right",
        &"ü".repeat(200),
    ];
    for id in ids {
        let at = encoded(id);
        let account = app
            .put(&format!("/api/v1/accounts/{at}"), json!({"name": "A"}))
            .await
            .expect(201);
        assert_eq!(account["id"], id);
        app.put(&format!("/api/v1/people/{at}"), json!({"name": "P", "email": ""}))
            .await
            .expect(201);
        app.put(&format!("/api/v1/resources/{at}/{at}"), json!({"account": id}))
            .await
            .expect(201);
        app.put(
            &format!("/api/v1/accounts/{at}/members/{at}"),
            json!({"role": id}),
        )
        .await
        .expect(201);
        app.put(
            &format!("/api/v1/resources/{at}/{at}/collaborators/{at}"),
            json!({"role": "r"}),
        )
        .await
        .expect(201);
        let resource = app.get(&format!("/api/v1/resources/{at}/{at}")).await.expect(200);
        assert_eq!((&resource["type"], &resource["id"]), (&json!(id), &json!(id)));
        let members = app
            .get(&format!("/api/v1/accounts/{at}/members"))
            .await
            .expect(200);
        assert_eq!(
            (&members.items()[0]["person"], &members.items()[0]["role"]),
            (&json!(id), &json!(id))
        );
        app.get(&format!("/api/v1/resources/{at}/{at}/collaborators/{at}"))
            .await
            .expect(200);
    }
    assert_eq!(env.count("accounts"), ids.len() as i64);
    assert_eq!(app.all("/api/v1/resources?limit=3").await.len(), ids.len());
    app.finish().await;
}

async fn an_id_of_10_kb_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    app.put("/api/v1/accounts/a", json!({"name": "A"}))
        .await
        .expect(201);
    app.put("/api/v1/people/p", json!({"name": "P", "email": ""}))
        .await
        .expect(201);
    app.put("/api/v1/resources/t/1", json!({})).await.expect(201);
    for bad in [
        "x".repeat(10 * 1024),
        "ü".repeat(201),
        "a\nb".to_owned(),
        "nul\0".to_owned(),
    ] {
        let at = encoded(&bad);
        let person = json!({"name": "P", "email": ""});
        app.put(&format!("/api/v1/accounts/{at}"), json!({"name": "A"}))
            .await
            .expect_invalid("{account}");
        app.put(&format!("/api/v1/people/{at}"), &person)
            .await
            .expect_invalid("{person}");
        app.put(&format!("/api/v1/resources/{at}/1"), json!({}))
            .await
            .expect_invalid("{type}");
        app.put(&format!("/api/v1/resources/t/{at}"), json!({}))
            .await
            .expect_invalid("{id}");
        app.put("/api/v1/resources/t/1", json!({"account": bad}))
            .await
            .expect_invalid("/account");
        app.put(
            "/api/v1/resources/t/1",
            json!({"parent": {"type": "t", "id": bad}}),
        )
        .await
        .expect_invalid("/parent/id");
        app.put("/api/v1/accounts/a/members/p", json!({"role": bad}))
            .await
            .expect_invalid("/role");
        // The same limit applies to reading, deleting and listing.
        for path in [
            format!("/api/v1/accounts/{at}/members/p"),
            format!("/api/v1/accounts/a/members/{at}"),
            format!("/api/v1/resources/t/1/collaborators/{at}"),
            format!("/api/v1/people/{at}"),
        ] {
            app.get(&path).await.expect_problem(422);
            app.delete(&path).await.expect_problem(422);
        }
        app.get(&format!("/api/v1/accounts/{at}/members"))
            .await
            .expect_problem(422);
    }
    assert_eq!(
        (env.count("accounts"), env.count("people"), env.count("resources")),
        (1, 1, 1)
    );
    assert_eq!(env.count("members"), 0);
    app.finish().await;
}

async fn tree(app: &Http) {
    for account in ["one", "two"] {
        app.put(&format!("/api/v1/accounts/{account}"), json!({"name": account}))
            .await
            .expect(201);
    }
    for (id, body) in [
        ("root", json!({"account": "one"})),
        ("middle", json!({"parent": {"type": "t", "id": "root"}})),
        ("leaf", json!({"parent": {"type": "t", "id": "middle"}})),
        (
            "named",
            json!({"parent": {"type": "t", "id": "leaf"}, "account": "one"}),
        ),
        ("other", json!({"account": "two"})),
        ("free", json!({})),
    ] {
        app.put(&format!("/api/v1/resources/t/{id}"), body)
            .await
            .expect(201);
    }
}

async fn parents_are_checked_from_both_sides(env: Env) {
    let app = TestApp::start(&env).await;
    tree(&app).await;
    let before = app.all("/api/v1/resources").await;
    for (id, body, why) in [
        (
            "root",
            json!({"account": "one", "parent": {"type": "t", "id": "root"}}),
            "cycle",
        ),
        (
            "root",
            json!({"account": "one", "parent": {"type": "t", "id": "leaf"}}),
            "cycle",
        ),
        ("middle", json!({"parent": {"type": "t", "id": "named"}}), "cycle"),
        // A parent of another account, set on the child.
        (
            "new",
            json!({"account": "two", "parent": {"type": "t", "id": "leaf"}}),
            "another account",
        ),
        (
            "named",
            json!({"account": "two", "parent": {"type": "t", "id": "leaf"}}),
            "another account",
        ),
        // A subtree that is moved below another account and contains a resource with its own account.
        (
            "middle",
            json!({"parent": {"type": "t", "id": "other"}}),
            "another account",
        ),
        // The account of an ancestor of such a resource is changed.
        ("root", json!({"account": "two"}), "another account"),
        (
            "leaf",
            json!({"account": "two", "parent": {"type": "t", "id": "middle"}}),
            "another account",
        ),
    ] {
        let refused = app
            .put(&format!("/api/v1/resources/t/{id}"), &body)
            .await
            .expect_invalid("/parent");
        assert!(refused.text.contains(why), "{id} {body}: {refused}");
    }
    assert_eq!(app.all("/api/v1/resources").await, before);
    // Within one account, and to a place without an account, a subtree can be moved freely.
    app.put(
        "/api/v1/resources/t/middle",
        json!({"parent": {"type": "t", "id": "free"}}),
    )
    .await
    .expect(200);
    assert_eq!(
        app.get("/api/v1/resources/t/leaf").await.expect(200)["belongs_to"],
        Value::Null
    );
    assert_eq!(
        app.get("/api/v1/resources/t/named").await.expect(200)["belongs_to"],
        "one"
    );
    app.put("/api/v1/resources/t/free", json!({"account": "two"}))
        .await
        .expect_invalid("/parent");
    app.put("/api/v1/resources/t/free", json!({"account": "one"}))
        .await
        .expect(200);
    assert_eq!(
        app.get("/api/v1/resources/t/leaf").await.expect(200)["belongs_to"],
        "one"
    );
    app.finish().await;
}

async fn what_is_not_known_cannot_be_referred_to(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let known = json!({"type": "project", "id": "savanna"});
    app.put("/api/v1/resources/t/1", json!({"account": "nobody"}))
        .await
        .expect_invalid("/account");
    app.put(
        "/api/v1/resources/t/1",
        json!({"parent": {"type": "project", "id": "x"}}),
    )
    .await
    .expect_invalid("/parent");
    app.put("/api/v1/accounts/nobody/members/amina", json!({"role": "owner"}))
        .await
        .expect_problem(404);
    app.put(
        "/api/v1/accounts/nyota-films/members/nobody",
        json!({"role": "owner"}),
    )
    .await
    .expect_problem(404);
    app.put(
        "/api/v1/resources/project/x/collaborators/amina",
        json!({"role": "r"}),
    )
    .await
    .expect_problem(404);
    app.put(
        "/api/v1/resources/project/savanna/collaborators/nobody",
        json!({"role": "r"}),
    )
    .await
    .expect_problem(404);
    app.get("/api/v1/accounts/nobody/members")
        .await
        .expect_problem(404);
    app.get("/api/v1/resources/project/x/collaborators")
        .await
        .expect_problem(404);
    // An archived entry counts as unknown.
    app.delete("/api/v1/resources/project/savanna").await.expect(204);
    app.delete("/api/v1/accounts/kilele-studio").await.expect(204);
    app.delete("/api/v1/people/zuri").await.expect(204);
    app.put("/api/v1/resources/t/1", json!({"parent": known}))
        .await
        .expect_invalid("/parent");
    app.put("/api/v1/resources/t/1", json!({"account": "kilele-studio"}))
        .await
        .expect_invalid("/account");
    app.put(
        "/api/v1/accounts/kilele-studio/members/amina",
        json!({"role": "owner"}),
    )
    .await
    .expect_problem(404);
    app.put(
        "/api/v1/accounts/nyota-films/members/zuri",
        json!({"role": "owner"}),
    )
    .await
    .expect_problem(404);
    app.put(
        "/api/v1/resources/project/savanna/collaborators/amina",
        json!({"role": "r"}),
    )
    .await
    .expect_problem(404);
    assert_eq!(env.count("resources WHERE type = 't'"), 0);
    app.finish().await;
}

async fn wrong_fields_are_named(env: Env) {
    let app = TestApp::start(&env).await;
    let long = "x".repeat(501);
    let person = |name: &str, email: &str| json!({"name": name, "email": email});
    for (path, body, pointer) in [
        ("people/p", person("", "a@example.com"), "/name"),
        ("people/p", person("  ", "a@example.com"), "/name"),
        ("people/p", person(&long, "a@example.com"), "/name"),
        (
            "people/p",
            person("Ann\r\nBcc: victim@example.com", "a@example.com"),
            "/name",
        ),
        ("people/p", person("Ann\u{0}", "a@example.com"), "/name"),
        ("people/p", person("Ann", "not an address"), "/email"),
        (
            "people/p",
            person("Ann", "a@example.com, b@example.com"),
            "/email",
        ),
        ("people/p", person("Ann", "Ann <a@example.com>"), "/email"),
        (
            "people/p",
            person("Ann", "a@example.com\r\nBcc: b@example.com"),
            "/email",
        ),
        (
            "people/p",
            person("Ann", &format!("{}@example.com", "a".repeat(300))),
            "/email",
        ),
        ("people/p", json!({"name": "Ann"}), "/email"),
        ("people/p", json!({"name": "Ann", "email": null}), "/email"),
        (
            "people/p",
            json!({"name": "Ann", "email": "", "time_zone": "Nairobi"}),
            "/time_zone",
        ),
        (
            "people/p",
            json!({"name": "Ann", "email": "", "locale": "e"}),
            "/locale",
        ),
        (
            "people/p",
            json!({"name": "Ann", "email": "", "labels": {}}),
            "/labels",
        ),
        ("accounts/a", json!({"name": 7}), "/name"),
        ("accounts/a", json!({}), "/name"),
        ("accounts/a", json!({"name": "A", "owner": "ann"}), "/owner"),
        (
            "accounts/a",
            json!({"name": "A", "time_zone": "+03:00"}),
            "/time_zone",
        ),
        ("accounts/a", json!({"name": "A", "locale": "en_"}), "/locale"),
        (
            "accounts/a",
            json!({"name": "A", "labels": {"a": 1}}),
            "/labels/a",
        ),
        (
            "accounts/a",
            json!({"name": "A", "labels": {"a/b": "line\nbreak"}}),
            "/labels/a~1b",
        ),
        (
            "accounts/a",
            json!({"name": "A", "labels": {"": "empty"}}),
            "/labels/",
        ),
        ("resources/t/1", json!({"name": "a\nb"}), "/name"),
        ("resources/t/1", json!({"name": ""}), "/name"),
        ("resources/t/1", json!({"parent": {"type": "t"}}), "/parent/id"),
        (
            "resources/t/1",
            json!({"parent": {"type": "t", "id": "2", "account": "a"}}),
            "/parent/account",
        ),
        ("resources/t/1", json!({"type": "t"}), "/type"),
        ("accounts/a/members/p", json!({"role": ""}), "/role"),
        ("accounts/a/members/p", json!({}), "/role"),
        ("resources/t/1/collaborators/p", json!({"role": "a\nb"}), "/role"),
    ] {
        let refused = app
            .put(&format!("/api/v1/{path}"), &body)
            .await
            .expect_problem(422);
        assert!(
            refused.places().contains(&pointer.to_owned()),
            "{path} {body}: no {pointer} in {refused}"
        );
    }
    for table in ["people", "accounts", "resources", "members", "collaborators"] {
        assert_eq!(env.count(table), 0, "{table}");
    }
    app.finish().await;
}

async fn lists_are_filtered_and_paged(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    app.delete("/api/v1/people/tumaini").await.expect(204);
    app.delete("/api/v1/resources/file/ferry-v1").await.expect(204);
    app.delete("/api/v1/accounts/kilele-studio").await.expect(204);
    let ids = async |path: &str| -> Vec<String> {
        let mut ids: Vec<String> = app
            .all(path)
            .await
            .iter()
            .map(|item| {
                item["id"]
                    .as_str()
                    .unwrap_or_else(|| item["person"].as_str().unwrap())
                    .to_owned()
            })
            .collect();
        ids.sort();
        ids
    };
    for size in ["", "limit=1", "limit=2"] {
        let at = |path: &str, filter: &str| match (filter, size) {
            ("", "") => path.to_owned(),
            (filter, size) => format!(
                "{path}?{}",
                [filter, size]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("&")
            ),
        };
        assert_eq!(ids(&at("/api/v1/accounts", "")).await, ["nyota-films"]);
        assert_eq!(
            ids(&at("/api/v1/accounts", "gone=true")).await,
            ["kilele-studio", "nyota-films"]
        );
        assert_eq!(
            ids(&at("/api/v1/people", "")).await,
            ["amina", "baraka", "grace", "otieno", "wanjiru", "zuri"]
        );
        assert_eq!(
            ids(&at("/api/v1/people", "email=tumaini@kilele-studio.example")).await,
            [""; 0]
        );
        assert_eq!(
            ids(&at(
                "/api/v1/people",
                "gone=true&email=tumaini@kilele-studio.example"
            ))
            .await,
            ["tumaini"]
        );
        assert_eq!(ids(&at("/api/v1/resources", "")).await.len(), 11);
        assert_eq!(ids(&at("/api/v1/resources", "gone=true")).await.len(), 12);
        assert_eq!(
            ids(&at("/api/v1/resources", "type=media")).await,
            ["ferry", "interview", "opening", "stalls"]
        );
        assert_eq!(
            ids(&at("/api/v1/resources", "account=nyota-films")).await,
            ["harbour", "savanna"]
        );
        assert_eq!(
            ids(&at("/api/v1/resources", "parent=project/savanna")).await,
            ["interview", "opening"]
        );
        assert_eq!(
            ids(&at("/api/v1/resources", "label=provider%3Ds3")).await,
            ["interview-v1", "interview-v2"]
        );
        assert_eq!(
            ids(&at(
                "/api/v1/resources",
                "label=provider%3Dazure&parent=media/opening"
            ))
            .await,
            ["opening-v1"]
        );
        assert_eq!(
            ids(&at("/api/v1/accounts/nyota-films/members", "")).await,
            ["amina", "otieno", "wanjiru", "zuri"]
        );
        assert_eq!(
            ids(&at("/api/v1/resources/project/savanna/collaborators", "")).await,
            ["baraka", "wanjiru"]
        );
    }
    for wrong in [
        "type=movie",
        "account=nobody",
        "parent=project/x",
        "parent=savanna",
        "label=provider",
        "label=colour%3Dred",
    ] {
        let name = wrong.split('=').next().unwrap();
        app.get(&format!("/api/v1/resources?{wrong}"))
            .await
            .expect_invalid(&format!("?{name}"));
    }
    app.finish().await;
}
