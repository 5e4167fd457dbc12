//! The audience at the start of the incident and the current audience can both be read, and the difference is
//! shown before anything is sent.

use serde_json::{Value, json};

use crate::support::story::AFFECTED;
use crate::support::{Answer, Env, Http, TestApp, on_both_databases, story_directory};

on_both_databases!(
    it_is_asked_as_of_a_time,
    the_difference_is_shown,
    what_was_not_known_then_is_said,
    importing_the_same_again_changes_nothing,
);

const BEGAN: &str = "2026-01-01T10:00:00Z";

async fn start(env: &Env) -> (TestApp, String) {
    let app = TestApp::builder(env).at("2026-01-01T08:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    app.set_clock(BEGAN);
    let new = json!({"title": "It broke", "severity": "major", "affected": [{"type": "file", "id": "interview-v1"}]});
    let incident = app.post("/api/v1/incidents", new).await.expect(201).id();
    (app, incident)
}

async fn audience(app: &Http, incident: &str, as_of: &str) -> Answer {
    app.get(&format!("/api/v1/incidents/{incident}/audience?as_of={as_of}"))
        .await
}

fn people(items: &[Value]) -> Vec<&str> {
    items
        .iter()
        .map(|item| item["person"]["id"].as_str().expect("an id"))
        .collect()
}

async fn it_is_asked_as_of_a_time(env: Env) {
    let (app, incident) = start(&env).await;
    let before = audience(&app, &incident, "now").await.expect(200);
    assert_eq!(people(before.items()), AFFECTED);
    app.set_clock("2026-01-01T11:00:00Z");
    // The owner leaves, the role of a collaborator changes, the project moves to another account, and a
    // person is archived.
    app.delete("/api/v1/accounts/nyota-films/members/amina")
        .await
        .expect(204);
    app.put(
        "/api/v1/resources/project/savanna/collaborators/baraka",
        json!({"role": "composer"}),
    )
    .await
    .expect(200);
    app.set_clock("2026-01-01T12:00:00Z");
    app.put(
        "/api/v1/resources/project/savanna",
        json!({"account": "kilele-studio"}),
    )
    .await
    .expect(200);
    app.set_clock("2026-01-01T13:00:00Z");
    app.delete("/api/v1/people/wanjiru").await.expect(204);

    let now = audience(&app, &incident, "now").await.expect(200);
    assert_eq!(
        (people(now.items()), &now["as_of"]),
        (vec!["baraka", "grace"], &Value::Null)
    );
    let impact = audience(&app, &incident, "impact").await.expect(200);
    assert_eq!(
        (people(impact.items()), &impact["as_of"]),
        (AFFECTED.to_vec(), &json!(BEGAN))
    );
    assert_eq!(impact.items()[1]["reasons"], before.items()[1]["reasons"]);
    // A person who was archived since was affected at that time and cannot be reached.
    assert_eq!(
        impact.items()[2]["unreachable"],
        "archived in the directory since"
    );
    assert_eq!(impact["counts"]["unreachable"], 1);
    let of = async |time: &str| {
        let then = audience(&app, &incident, time).await.expect(200);
        people(then.items())
            .iter()
            .map(|id| (*id).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("2026-01-01T10:59:59Z").await, AFFECTED);
    assert_eq!(of("2026-01-01T11:00:00Z").await, ["baraka", "wanjiru"]);
    assert_eq!(
        of("2026-01-01T12:30:00%2B00:00").await,
        ["baraka", "grace", "wanjiru"]
    );
    assert_eq!(of("2026-01-01T13:00:00Z").await, ["baraka", "grace"]);
    // After they are restored they are active again, and they were not active in between.
    app.set_clock("2026-01-01T14:00:00Z");
    app.import(story_directory()).await.expect(200);
    assert_eq!(of("now").await, AFFECTED);
    assert_eq!(of("2026-01-01T13:30:00Z").await, ["baraka", "grace"]);
    assert_eq!(of("impact").await, AFFECTED);

    for wrong in [
        "yesterday",
        "2026-01-01",
        "2027-01-01T00:00:00Z",
        "2026-01-01T10:00:00",
    ] {
        audience(&app, &incident, wrong).await.expect_invalid("?as_of");
    }
    app.finish().await;
}

async fn the_difference_is_shown(env: Env) {
    let (app, incident) = start(&env).await;
    let path = format!("/api/v1/incidents/{incident}/audience/difference");
    let same = app.get(&path).await.expect(200);
    assert_eq!(
        same["counts"],
        json!({"added": 0, "removed": 0, "changed": 0, "not_known_then": 0})
    );
    let notice = app.draft(&incident, "detection").await;
    assert_eq!(app.preview(&notice).await.expect(200)["warnings"], json!([]));

    app.set_clock("2026-01-01T11:00:00Z");
    app.put(
        "/api/v1/resources/project/savanna",
        json!({"account": "kilele-studio"}),
    )
    .await
    .expect(200);
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    let difference = app.get(&path).await.expect(200);
    let seen: Vec<(&str, &str)> = difference
        .items()
        .iter()
        .map(|item| {
            (
                item["person"]["id"].as_str().expect("an id"),
                item["change"].as_str().expect("a change"),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("amina", "removed"),
            ("baraka", "removed"),
            ("grace", "added"),
            ("wanjiru", "changed")
        ]
    );
    assert_eq!(
        (&difference["from"], &difference["to"]),
        (&json!(BEGAN), &Value::Null)
    );
    assert_eq!(
        difference["counts"],
        json!({"added": 1, "removed": 2, "changed": 1, "not_known_then": 0})
    );
    let changed = &difference.items()[3];
    assert_eq!(
        (&changed["before"][0]["account"], &changed["after"][0]["account"]),
        (&json!("nyota-films"), &json!("kilele-studio"))
    );
    assert_eq!(app.all(&format!("{path}?limit=1")).await, difference.items());
    let back = app.get(&format!("{path}?from=now&to=impact")).await.expect(200);
    assert_eq!(
        back["counts"],
        json!({"added": 2, "removed": 1, "changed": 1, "not_known_then": 0})
    );
    for (query, place) in [
        ("from=then", "?from"),
        ("to=2027-01-01T00:00:00Z", "?to"),
        ("since=now", "?since"),
    ] {
        app.get(&format!("{path}?{query}")).await.expect_invalid(place);
    }

    // The difference is shown before sending.
    let preview = app.preview(&notice).await.expect(200);
    let warning = "2 people were affected when the incident started, but no longer are";
    assert_eq!(preview["warnings"], json!([warning]));
    assert_eq!(preview["since_impact"]["removed"], 2);
    app.finish().await;
}

async fn what_was_not_known_then_is_said(env: Env) {
    let (app, incident) = start(&env).await;
    app.set_clock("2026-01-01T11:00:00Z");
    let late = json!({"parent": {"type": "media", "id": "stalls"}});
    app.put("/api/v1/resources/file/late", late).await.expect(201);
    app.affect(&incident, "file", "late").await;
    let impact = audience(&app, &incident, "impact").await.expect(200);
    assert_eq!(people(impact.items()), AFFECTED);
    assert_eq!(
        (
            &impact["counts"]["not_known_then"],
            &impact["counts"]["resources"]
        ),
        (&json!(1), &json!(1))
    );
    let difference = app
        .get(&format!("/api/v1/incidents/{incident}/audience/difference"))
        .await
        .expect(200);
    assert_eq!(
        difference["counts"],
        json!({"added": 2, "removed": 0, "changed": 0, "not_known_then": 1})
    );
    app.finish().await;
}

const HISTORY: [&str; 5] = [
    "account_history",
    "person_history",
    "resource_history",
    "member_history",
    "collaborator_history",
];

async fn importing_the_same_again_changes_nothing(env: Env) {
    let (app, _) = start(&env).await;
    for hour in 11..13 {
        app.set_clock(&format!("2026-01-01T{hour}:00:00Z"));
        app.import(story_directory()).await.expect(200);
    }
    for table in HISTORY {
        assert_eq!(env.count(table), 0, "{table}");
    }
    // A moved entry leaves one row in the history, whether its parent comes before it in the same batch or
    // not.
    app.set_clock("2026-01-01T13:00:00Z");
    let line = |id: &str| json!({"kind": "resource", "type": "media", "id": id, "parent": {"type": "project", "id": "harbour"}});
    let project = json!({"kind": "resource", "type": "project", "id": "harbour", "account": "nyota-films"});
    app.import(format!("{project}\n{}\n{}\n", line("opening"), line("ferry")))
        .await
        .expect(200);
    assert_eq!(HISTORY.map(|table| env.count(table)), [0, 0, 1, 0, 0]);
    app.finish().await;
}
