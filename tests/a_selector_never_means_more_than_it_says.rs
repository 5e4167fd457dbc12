//! Selectors find exactly what they say, as JSON and as text. Anything wrong, unknown or archived is an error
//! that names its place. No change of the directory ever adds to an existing selection.

use candor::directory::selector::{Json, Selector};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Answer, Env, Http, TestApp, on_both_databases, story_directory};

on_both_databases!(
    each_part_finds_what_it_says,
    an_error_in_json_points_at_the_part,
    an_error_in_text_points_at_the_character,
    what_is_gone_is_unknown,
    what_was_found_stays_what_it_was,
    counting_stores_nothing_and_finds_the_same,
    a_relevance_goes_with_what_is_added,
    many_are_added_at_once,
);

async fn count(app: &Http, selector: impl Into<Value>) -> Answer {
    let body = json!({"selector": selector.into()});
    app.post("/api/v1/selectors/count", body).await
}

/// Opens an incident and adds what a selector finds. Returns the IDs of the affected resources, sorted.
async fn found(app: &Http, selector: impl Into<Value>) -> Vec<String> {
    let id = open(app).await;
    let body = json!({"selector": selector.into()});
    app.post(&format!("/api/v1/incidents/{id}/affected"), body)
        .await
        .expect(200);
    affected(app, &id).await
}

async fn open(app: &Http) -> String {
    let new = json!({"title": "It broke", "severity": "major"});
    app.post("/api/v1/incidents", new).await.expect(201).id()
}

async fn affected(app: &Http, incident: &str) -> Vec<String> {
    let items = app.all(&format!("/api/v1/incidents/{incident}/affected")).await;
    let mut ids: Vec<String> = items
        .iter()
        .map(|item| item["resource"]["id"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids
}

/// Imports the directory of the story, and an account with labels whose resources are created later.
async fn start(env: &Env) -> TestApp {
    let app = TestApp::builder(env).at("2026-01-01T00:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    for (account, labels) in [
        ("kilele-studio", json!({"tier": "free", "region": "east"})),
        ("nyota-films", json!({"tier": "pro", "region": "east"})),
    ] {
        app.put(
            &format!("/api/v1/accounts/{account}"),
            json!({"name": account, "labels": labels}),
        )
        .await
        .expect(200);
    }
    app.set_clock("2026-01-02T00:00:00Z");
    for version in 1..=2 {
        app.put(
            &format!("/api/v1/resources/file/late-v{version}"),
            json!({"parent": {"type": "media", "id": "stalls"}, "labels": {"odd name": "a, (b)", "type": "clip"}}),
        )
        .await
        .expect(201);
    }
    app
}

async fn each_part_finds_what_it_says(env: Env) {
    let app = start(&env).await;
    let nyota = [
        "ferry",
        "ferry-v1",
        "harbour",
        "interview",
        "interview-v1",
        "interview-v2",
        "opening",
        "opening-v1",
        "savanna",
    ];
    let cases: [(Value, &str, &[&str]); 17] = [
        (
            json!({"type": "project"}),
            "type:project",
            &["harbour", "market-day", "savanna"],
        ),
        (
            json!({"type": "file", "labels": {"provider": "s3"}}),
            "type:file provider:s3",
            &["interview-v1", "interview-v2"],
        ),
        (
            json!({"labels": {"version": {"in": ["2", "1"]}}, "under": {"type": "project", "id": "savanna"}}),
            "version:2,1 and under:project/savanna",
            &["interview-v1", "interview-v2", "opening-v1"],
        ),
        (
            json!({"labels": {"moved_from": {"exists": true}}}),
            "moved_from:*",
            &["ferry-v1"],
        ),
        (
            json!({"under": {"type": "project", "id": "harbour"}}),
            "under:project/harbour",
            &["ferry", "ferry-v1"],
        ),
        (
            json!({"under": {"type": "media", "id": "stalls"}}),
            "under:media/stalls",
            &["late-v1", "late-v2", "stalls-v1"],
        ),
        (
            json!({"accounts": ["nyota-films"]}),
            "account:nyota-films",
            &nyota,
        ),
        (
            json!({"type": "project", "accounts": ["nyota-films", "kilele-studio"]}),
            "type:project account:nyota-films,kilele-studio",
            &["harbour", "market-day", "savanna"],
        ),
        (
            json!({"type": "media", "account_labels": {"tier": "free"}}),
            "type:media account.tier:free",
            &["stalls"],
        ),
        (
            json!({"type": "media", "account_labels": {"region": {"exists": true}, "tier": {"in": ["free", "pro"]}}}),
            "type:media account.region:* account.tier:free,pro",
            &["ferry", "interview", "opening", "stalls"],
        ),
        (
            json!({"changed": {"from": "2026-01-01T12:00:00Z"}}),
            "changed:2026-01-01T12:00Z..",
            &["late-v1", "late-v2"],
        ),
        (
            json!({"type": "project", "created": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}}),
            "type:project created:2026-01-01T00:00Z..2026-01-02T00:00Z",
            &["harbour", "market-day", "savanna"],
        ),
        (
            json!({"type": "file", "not": {"labels": {"provider": {"exists": true}}}}),
            "type:file not(provider:*)",
            &["late-v1", "late-v2"],
        ),
        (
            json!({"or": [{"labels": {"provider": "s3"}}, {"type": "project", "not": {"accounts": ["nyota-films"]}}]}),
            "provider:s3 or type:project not account:nyota-films",
            &["interview-v1", "interview-v2", "market-day"],
        ),
        (
            json!({"and": [{"type": "file"}, {"or": [{"labels": {"version": "2"}}, {"labels": {"provider": "azure"}}]}],
                   "not": {"or": [{"under": {"type": "project", "id": "harbour"}}, {"labels": {"version": "2"}}]}}),
            "type:file (version:2 or provider:azure) not(under:project/harbour or version:2)",
            &["opening-v1", "stalls-v1"],
        ),
        (
            json!({"labels": {"odd name": "a, (b)", "type": "clip"}}),
            "\"odd name\":\"a, (b)\" \"type\":clip",
            &["late-v1", "late-v2"],
        ),
        (
            json!({"type": "file", "and": [{"labels": {"provider": "s3"}}], "not": {"labels": {"version": "1"}}}),
            "(type:file (provider:s3)) not (version:1)",
            &["interview-v2"],
        ),
    ];
    for (object, text, expected) in cases {
        for selector in [object, json!(text)] {
            assert_eq!(found(&app, selector.clone()).await, expected, "{selector}");
            let counted = count(&app, selector.clone()).await.expect(200);
            assert_eq!(counted["resources"], expected.len(), "{selector}: {counted}");
            // Both normal forms of the selector find the same.
            for form in ["selector", "json"] {
                assert_eq!(
                    found(&app, counted[form].clone()).await,
                    expected,
                    "{selector}: {counted}"
                );
            }
        }
    }
    app.finish().await;
}

async fn an_error_in_json_points_at_the_part(env: Env) {
    let app = start(&env).await;
    let id = open(&app).await;
    let path = format!("/api/v1/incidents/{id}/affected");
    let file = json!({"type": "file"});
    for (selector, place, reason) in [
        (json!(null), "/selector", "null"),
        (json!([]), "/selector", "array"),
        (json!({}), "/selector", "empty"),
        (json!({"type": "flie"}), "/selector/type", "flie"),
        (json!({"type": ["file"]}), "/selector/type", "array"),
        (
            json!({"labels": {"provider": {"in": []}}}),
            "/selector/labels/provider/in",
            "empty",
        ),
        (
            json!({"labels": {"provider": {"in": ["s3", "s4"]}}}),
            "/selector/labels/provider/in/1",
            "s4",
        ),
        (
            json!({"labels": {"provider": {"in": ["s3", null]}}}),
            "/selector/labels/provider/in/1",
            "null",
        ),
        (
            json!({"labels": {"provider": {"exists": false}}}),
            "/selector/labels/provider/exists",
            "not",
        ),
        (
            json!({"labels": {"provider": {"is": "s3"}}}),
            "/selector/labels/provider",
            "in",
        ),
        (
            json!({"labels": {"providr": {"exists": true}}}),
            "/selector/labels/providr",
            "providr",
        ),
        (
            json!({"under": {"type": "project", "id": "nowhere"}}),
            "/selector/under",
            "nowhere",
        ),
        (
            json!({"under": {"type": "file", "id": "stalls-v1"}}),
            "/selector/under",
            "no resource is part of",
        ),
        (
            json!({"under": {"type": "project"}}),
            "/selector/under/id",
            "missing",
        ),
        (
            json!({"under": {"type": "project", "id": "savanna", "x": 1}}),
            "/selector/under/x",
            "field",
        ),
        (json!({"accounts": []}), "/selector/accounts", "empty"),
        (json!({"accounts": null}), "/selector/accounts", "null"),
        (
            json!({"accounts": ["nyota-films", "nyota"]}),
            "/selector/accounts/1",
            "nyota",
        ),
        (
            json!({"account_labels": {"tier": "fre"}}),
            "/selector/account_labels/tier",
            "fre",
        ),
        (
            json!({"account_labels": {"teir": "free"}}),
            "/selector/account_labels/teir",
            "teir",
        ),
        (json!({"changed": {}}), "/selector/changed", "no time"),
        (
            json!({"changed": {"from": "2026-01-01"}}),
            "/selector/changed/from",
            "time",
        ),
        (
            json!({"changed": {"since": "2026-01-01T00:00:00Z"}}),
            "/selector/changed/since",
            "from and to",
        ),
        (
            json!({"changed": {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}}),
            "/selector/changed",
            "begins",
        ),
        (
            json!({"changed": {"from": "2027-01-01T00:00:00Z"}}),
            "/selector",
            "matches no resources",
        ),
        (json!({"and": []}), "/selector/and", "empty"),
        (json!({"or": [file, {}]}), "/selector/or/1", "empty"),
        (json!({"or": [file, null]}), "/selector/or/1", "null"),
        (
            json!({"or": [file, {"type": "flie"}]}),
            "/selector/or/1/type",
            "flie",
        ),
        (json!({"not": file}), "/selector/not", "another condition"),
        (
            json!({"and": [{"not": file}, {"not": {"type": "media"}}]}),
            "/selector/and/0/not",
            "another condition",
        ),
        (
            json!({"or": [file, {"not": {"type": "media"}}]}),
            "/selector/or/1/not",
            "another condition",
        ),
        (
            json!({"type": "file", "not": {"not": {"type": "media"}}}),
            "/selector/not/not",
            "another condition",
        ),
        // A misspelled part of an exception would exclude nothing.
        (
            json!({"type": "file", "not": {"labels": {"provider": "s4"}}}),
            "/selector/not/labels/provider",
            "s4",
        ),
        (
            json!({"type": "file", "not": {"accounts": ["nyota"]}}),
            "/selector/not/accounts/0",
            "nyota",
        ),
        (
            json!({"type": "media", "labels": {"provider": "s3"}}),
            "/selector",
            "matches no resources",
        ),
        (
            json!({"type": "file", "not": {"type": "file"}}),
            "/selector",
            "matches no resources",
        ),
    ] {
        let refused = count(&app, selector.clone()).await.expect_invalid(place);
        assert!(
            refused.text.contains(reason),
            "{selector}: no '{reason}' in {refused}"
        );
        if selector != json!(null) {
            let body = json!({"selector": selector});
            app.post(&path, body).await.expect_invalid(place);
        }
    }
    let twice = r#"{"selector": {"type": "file", "labels": {"provider": "s3"}, "type": "media"}}"#;
    app.post_raw(&path, "application/json", twice)
        .await
        .expect_invalid("/selector/type");
    let twice = r#"{"selector": {"labels": {"provider": "s3", "provider": "azure"}}}"#;
    app.post_raw(&path, "application/json", twice)
        .await
        .expect_invalid("/selector/labels/provider");
    let mut deep = json!({"type": "file"});
    for _ in 0..60 {
        deep = json!({"and": [deep, {"type": "file"}]});
    }
    count(&app, deep).await.expect_problem(422);
    let wide: Vec<Value> = (0..2_000).map(|n| json!(n.to_string())).collect();
    count(&app, json!({"labels": {"version": {"in": wide}}}))
        .await
        .expect_invalid("/selector");
    assert_eq!(affected(&app, &id).await, [""; 0]);
    app.finish().await;
}

async fn an_error_in_text_points_at_the_character(env: Env) {
    let app = start(&env).await;
    for (text, at, reason) in [
        ("everything", 1, "colon"),
        ("type:file or", 13, "must follow"),
        ("type:file and", 14, "must follow"),
        ("or type:file", 1, "before"),
        ("type:file (provider:s3", 11, "no matching )"),
        ("type:file provider:s3)", 22, "no matching ("),
        ("type:file ()", 11, "parentheses are empty"),
        ("type:", 6, "value"),
        ("type:file,media", 10, "one type"),
        ("type:file, provider:s3", 10, "one type"),
        ("provider:s3,", 13, "value"),
        ("provider:s3,*", 13, "only value"),
        ("provider:\"s3", 10, "closing quote"),
        ("provider:\"s3\"x", 14, "put a space"),
        ("provider:\"s\\3\"", 12, "\\"),
        (":s3", 1, "empty"),
        ("under:project", 7, "type/id"),
        ("type:file changed:2026-01-01T00:00Z", 19, "FROM..TO"),
        ("changed:2026-01-01T00:00Z..yesterday", 28, "yesterday"),
        ("changed:..", 9, "no time"),
        ("not(type:file)", 1, "another condition"),
        ("type:file or not(type:media)", 14, "another condition"),
        ("type:flie provider:s3", 6, "flie"),
        ("type:file providr:s3", 11, "providr"),
        ("type:file provider:s3,s4", 23, "s4"),
        ("type:file under:project/nowhere", 17, "nowhere"),
        ("type:file account:nyota-films,nyota", 31, "nyota"),
        ("type:file account.teir:free", 11, "teir"),
        ("type:file not(provider:s4)", 24, "s4"),
        ("é:ü provider:s4", 1, "'é'"),
    ] {
        let refused = count(&app, text).await.expect_invalid("/selector");
        let place = format!("character {at}:");
        assert!(
            refused.text.contains(&place)
                && refused.json["detail"]
                    .as_str()
                    .is_some_and(|all| all.contains(reason)),
            "{text}: no '{place}' with '{reason}' in {refused}"
        );
    }
    for text in ["", "   ", "type:media provider:s3"] {
        count(&app, text).await.expect_invalid("/selector");
    }
    let deep = format!("{}type:file{}", "(".repeat(5_000), ")".repeat(5_000));
    count(&app, deep).await.expect_invalid("/selector");
    count(&app, "type:file ".repeat(5_000))
        .await
        .expect_invalid("/selector");
    app.finish().await;
}

async fn what_is_gone_is_unknown(env: Env) {
    let app = start(&env).await;
    app.delete("/api/v1/resources/file/ferry-v1").await.expect(204);
    // The last resource with this label is archived, so a selector that names the label is an error now.
    count(&app, "moved_from:s3").await.expect_invalid("/selector");
    count(&app, json!({"labels": {"moved_from": "s3"}}))
        .await
        .expect_invalid("/selector/labels/moved_from");
    count(&app, json!({"under": {"type": "media", "id": "ferry"}}))
        .await
        .expect_invalid("/selector/under");
    app.delete("/api/v1/resources/project/savanna").await.expect(204);
    count(&app, json!({"under": {"type": "project", "id": "savanna"}}))
        .await
        .expect_invalid("/selector/under");
    // The resources below it do not belong to its account any more.
    assert_eq!(found(&app, "account:nyota-films").await, ["ferry", "harbour"]);
    app.delete("/api/v1/accounts/nyota-films").await.expect(204);
    count(&app, json!({"accounts": ["nyota-films"]}))
        .await
        .expect_invalid("/selector/accounts/0");
    count(&app, json!({"account_labels": {"tier": "pro"}}))
        .await
        .expect_invalid("/selector/account_labels/tier");
    for id in ["harbour", "market-day"] {
        app.delete(&format!("/api/v1/resources/project/{id}"))
            .await
            .expect(204);
    }
    count(&app, json!({"type": "project"}))
        .await
        .expect_invalid("/selector/type");
    count(&app, json!({"accounts": ["kilele-studio"]}))
        .await
        .expect_invalid("/selector/accounts/0");
    app.finish().await;
}

/// Deleting, moving or relabelling a resource, an account or a label never adds to what a selector has found.
async fn what_was_found_stays_what_it_was(env: Env) {
    let app = start(&env).await;
    let id = open(&app).await;
    let path = format!("/api/v1/incidents/{id}");
    let text = "type:file provider:s3 not(version:2)";
    let added = app
        .post(&format!("{path}/affected"), json!({"selector": text}))
        .await
        .expect(200);
    assert_eq!(added.json, json!({"added": 1, "already": 0}));
    let people = |answer: &Answer| -> Vec<String> {
        let items = answer.items().iter();
        items
            .map(|item| item["person"]["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let before = people(&app.get(&format!("{path}/audience")).await.expect(200));
    assert_eq!(before, ["amina", "baraka", "wanjiru"]);
    let put = async |id: &str, parent: &str, labels: Value| {
        let body = json!({"parent": {"type": "media", "id": parent}, "labels": labels});
        app.put(&format!("/api/v1/resources/file/{id}"), body).await;
    };
    // Another resource matches the selector later: by a label, by no longer being excluded, or as a new
    // resource.
    put("opening-v1", "opening", json!({"provider": "s3", "version": "1"})).await;
    put("interview-v2", "interview", json!({"provider": "s3"})).await;
    put("stalls-v9", "stalls", json!({"provider": "s3", "version": "1"})).await;
    // The property that the selector used is removed.
    app.delete("/api/v1/resources/file/interview-v2")
        .await
        .expect(204);
    app.delete("/api/v1/resources/media/opening").await.expect(204);
    assert_eq!(affected(&app, &id).await, ["interview-v1"]);
    assert_eq!(
        people(&app.get(&format!("{path}/audience")).await.expect(200)),
        before
    );
    // The resource does not match any more. It stays affected until somebody removes it.
    put("interview-v1", "interview", json!({})).await;
    assert_eq!(affected(&app, &id).await, ["interview-v1"]);
    app.delete("/api/v1/accounts/nyota-films/members/amina")
        .await
        .expect(204);
    assert_eq!(
        people(&app.get(&format!("{path}/audience")).await.expect(200)),
        ["baraka", "wanjiru"]
    );
    app.delete("/api/v1/accounts/nyota-films").await.expect(204);
    assert_eq!(
        people(&app.get(&format!("{path}/audience")).await.expect(200)),
        [""; 0]
    );

    // The timeline shows the selector.
    let timeline = app.all(&format!("{path}/timeline")).await;
    assert!(
        timeline
            .iter()
            .any(|entry| entry["text"].as_str().is_some_and(|all| all.contains(text))),
        "{timeline:#?}"
    );
    let events = app
        .all(&format!("/api/v1/audit?incident={id}&action=affected.added"))
        .await;
    assert_eq!(events[0]["after"]["what"]["selector"], text, "{events:#?}");
    app.finish().await;
}

async fn counting_stores_nothing_and_finds_the_same(env: Env) {
    let app = start(&env).await;
    let tables = [
        "audit_events",
        "incident_resources",
        "incidents",
        "timeline_entries",
    ];
    let before = tables.map(|table| env.count(table));
    let viewer = app.as_new("viewer").await;
    let events = env.count("audit_events");
    let counted = count(&viewer, "(provider:s3 or under:project/market-day) type:file")
        .await
        .expect(200);
    assert_eq!(env.count("audit_events"), events);
    assert_eq!(
        tables[1..]
            .iter()
            .map(|table| env.count(table))
            .collect::<Vec<_>>(),
        before[1..]
    );
    assert_eq!(
        counted.json,
        json!({
            "selector": "(provider:s3 or under:project/market-day) type:file",
            "json": {"and": [{"or": [{"labels": {"provider": "s3"}}, {"under": {"type": "project", "id": "market-day"}}]}, {"type": "file"}]},
            "resources": 5, "by_type": {"file": 5}, "accounts": 2, "people": 5,
        })
    );
    count(&viewer, "type:file").await.expect(200);
    let id = open(&app).await;
    let body = json!({"selector": counted["json"]});
    let added = app
        .post(&format!("/api/v1/incidents/{id}/affected"), body)
        .await
        .expect(200);
    assert_eq!(added["added"], 5);
    let audience = app
        .get(&format!("/api/v1/incidents/{id}/audience"))
        .await
        .expect(200);
    assert_eq!(
        (&audience["counts"]["people"], &audience["counts"]["accounts"]),
        (&counted["people"], &counted["accounts"])
    );
    for body in [json!({}), json!({"selector": "type:file", "limit": 3})] {
        app.post("/api/v1/selectors/count", body)
            .await
            .expect_problem(422);
    }
    app.finish().await;
}

async fn a_relevance_goes_with_what_is_added(env: Env) {
    let app = start(&env).await;
    let id = open(&app).await;
    let path = format!("/api/v1/incidents/{id}");
    let add = async |body: Value| app.post(&format!("{path}/affected"), body).await;
    add(json!({"selector": "type:file", "relevance": "perhaps"}))
        .await
        .expect_invalid("/relevance");
    let one = json!([{"type": "file", "id": "interview-v1"}]);
    add(json!({"selector": "provider:s3", "relevance": "possibly"}))
        .await
        .expect(200);
    add(json!({"resources": [{"type": "file", "id": "stalls-v1"}], "relevance": "unknown"}))
        .await
        .expect(200);
    // If it is added again without a relevance, the relevance stays. With one, it changes.
    let again = add(json!({"resources": one})).await.expect(200);
    assert_eq!(again.json, json!({"added": 0, "already": 1}));
    let relevances = async || -> Vec<(String, String)> {
        let items = app.all(&format!("{path}/affected")).await;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        items
            .iter()
            .map(|item| (text(&item["resource"]["id"]), text(&item["relevance"])))
            .collect()
    };
    let is = |id: &str, relevance: &str| (id.to_owned(), relevance.to_owned());
    assert_eq!(
        relevances().await,
        [
            is("interview-v1", "possibly"),
            is("interview-v2", "possibly"),
            is("stalls-v1", "unknown")
        ]
    );
    let again = add(json!({"resources": one, "relevance": "impaired"}))
        .await
        .expect(200);
    assert_eq!(again.json, json!({"added": 0, "already": 1, "changed": 1}));
    let again = add(json!({"selector": "under:media/stalls version:1", "relevance": "possibly"}))
        .await
        .expect(200);
    assert_eq!(again.json, json!({"added": 0, "already": 1, "changed": 1}));
    assert_eq!(
        relevances().await,
        [
            is("interview-v1", "impaired"),
            is("interview-v2", "possibly"),
            is("stalls-v1", "possibly")
        ]
    );
    // The relevance of a person is the highest one of the person's resources.
    let audience = app.get(&format!("{path}/audience")).await.expect(200);
    let of = |id: &str| {
        let item = audience
            .items()
            .iter()
            .find(|item| item["person"]["id"] == id)
            .expect("a person");
        let reasons: Vec<&str> = item["reasons"]
            .as_array()
            .expect("reasons")
            .iter()
            .map(|reason| reason["relevance"].as_str().expect("a relevance"))
            .collect();
        (item["relevance"].as_str().expect("a relevance"), reasons)
    };
    assert_eq!(of("amina"), ("impaired", vec!["impaired", "possibly"]));
    assert_eq!(of("grace"), ("possibly", vec!["possibly"]));
    app.finish().await;
}

async fn many_are_added_at_once(env: Env) {
    const MANY: usize = 20_000;
    let app = TestApp::start(&env).await;
    let mut lines = String::from(
        "{\"kind\":\"account\",\"id\":\"a\",\"name\":\"A\"}\n{\"kind\":\"person\",\"id\":\"o\",\"name\":\"O\",\"email\":\"o@example.com\"}\n\
         {\"kind\":\"member\",\"account\":\"a\",\"person\":\"o\",\"role\":\"owner\"}\n\
         {\"kind\":\"resource\",\"type\":\"project\",\"id\":\"p\",\"account\":\"a\"}\n",
    );
    for n in 0..MANY {
        let provider = if n % 2 == 0 { "s3" } else { "azure" };
        lines += &format!(
            "{{\"kind\":\"resource\",\"type\":\"file\",\"id\":\"f{n}\",\"parent\":{{\"type\":\"project\",\"id\":\"p\"}},\"labels\":{{\"provider\":\"{provider}\"}}}}\n"
        );
    }
    app.import(lines).await.expect(200);
    let id = open(&app).await;
    let path = format!("/api/v1/incidents/{id}");
    let text = "type:file (provider:s3 or provider:azure) not(account:a provider:azure)";
    let added = app
        .post(&format!("{path}/affected"), json!({"selector": text}))
        .await
        .expect(200);
    assert_eq!(added.json, json!({"added": MANY / 2, "already": 0}));
    let audience = app.get(&format!("{path}/audience")).await.expect(200);
    assert_eq!(audience["counts"]["resources"], MANY / 2);
    assert_eq!(
        audience.items()[0]["reasons"].as_array().map(Vec::len),
        Some(MANY / 2)
    );
    app.finish().await;
}

/// Any selector as JSON, with words that need quotes and every kind of nesting.
fn selector() -> impl Strategy<Value = Value> {
    let word = || {
        prop_oneof![
            "[a-z]{1,6}",
            "[ -~é\"\\\\*/:,()]{1,8}",
            Just("or".to_owned()),
            Just("account.x".to_owned())
        ]
    };
    let test = move || {
        prop_oneof![
            word().prop_map(|value| json!(value)),
            prop::collection::vec(word(), 2..4).prop_map(|values| json!({"in": values})),
            Just(json!({"exists": true})),
        ]
    };
    let time = || {
        (0i64..4_000_000_000_000_000)
            .prop_map(|at| candor::base::time::Timestamp::from_micros(at).to_string())
    };
    let leaf = prop_oneof![
        word().prop_map(|type_| json!({"type": type_})),
        (word(), test()).prop_map(|(name, test)| json!({"labels": {name: test}})),
        (word(), test()).prop_map(|(name, test)| json!({"account_labels": {name: test}})),
        (word(), word()).prop_map(|(type_, id)| json!({"under": {"type": type_, "id": id}})),
        prop::collection::vec(word(), 1..4).prop_map(|ids| json!({"accounts": ids})),
        time().prop_map(|from| json!({"changed": {"from": from}})),
        time().prop_map(|to| json!({"created": {"to": to}})),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| json!({"and": parts})),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| json!({"or": parts})),
            (inner.clone(), inner).prop_map(|(some, other)| json!({"and": [some], "not": other})),
        ]
    })
}

fn parsed(value: &Value) -> Result<Selector, String> {
    let json: Json = serde_json::from_value(value.clone()).expect("JSON");
    Selector::parse("/selector", &json).map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Text and JSON are equivalent, and each can be converted to the other and back.
    #[test]
    fn text_and_json_are_the_same_tree(given in selector()) {
        let tree = parsed(&given).map_err(TestCaseError::fail)?;
        let text = tree.to_string();
        let from_text = Selector::parse_text("/selector", &text)
            .map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(&from_text, &tree, "{}", text);
        prop_assert_eq!(from_text.to_string(), text);
        let from_json = parsed(&tree.to_json()).map_err(TestCaseError::fail)?;
        prop_assert_eq!(from_json, tree);
    }

    /// Any text is parsed, or refused at a position within the text.
    #[test]
    fn any_text_is_understood_or_refused(text in "[a-z:\"(),. *\\\\/é-]{0,40}|(type:a|not|or|and|\\(|\\)| ){0,12}") {
        if let Err(candor::base::error::Error::Invalid { errors, .. }) = Selector::parse_text("/selector", &text) {
            let detail = &errors[0].detail;
            if let Some(rest) = detail.strip_prefix("character ") {
                let at: usize = rest.split(':').next().expect("a number").parse().expect("a number");
                prop_assert!(at >= 1 && at <= text.chars().count() + 1, "{text}: {detail}");
            }
        }
    }
}
