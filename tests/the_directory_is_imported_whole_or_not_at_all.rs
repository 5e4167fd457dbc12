//! The NDJSON import inserts or updates one entry per line, and stores either everything of a file or
//! nothing.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Env, TestApp, on_both_databases, story_directory};

on_both_databases!(
    the_storys_directory_is_counted_and_stored,
    a_file_that_breaks_at_line_70_000_stores_nothing,
    a_line_may_use_what_an_earlier_line_made_and_nothing_later,
    a_wrong_line_is_named_with_its_reason,
    every_wrong_line_is_named,
    lines_about_one_thing_are_taken_in_their_order,
    parents_form_trees_within_one_account,
    an_import_revives_what_was_deleted,
    only_ndjson_is_taken,
    blank_lines_are_passed_over_and_counted,
);

const KINDS: [&str; 5] = ["accounts", "people", "resources", "members", "collaborators"];

/// Checks that the directory has no rows and that there is no event of an import.
#[track_caller]
fn assert_nothing_stored(env: &Env) {
    for table in KINDS.iter().chain(&["resource_labels"]) {
        assert_eq!(env.count(table), 0, "{table}");
    }
    assert_eq!(env.count("audit_events WHERE action = 'directory.imported'"), 0);
}

fn counts(answer: &Answer) -> [i64; 5] {
    KINDS.map(|kind| {
        answer[kind]
            .as_i64()
            .unwrap_or_else(|| panic!("no {kind} in {answer}"))
    })
}

fn lines(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn the_storys_directory_is_counted_and_stored(env: Env) {
    let app = TestApp::start(&env).await;
    let imported = app.import(story_directory()).await.expect(200);
    assert_eq!(counts(&imported), [2, 7, 12, 5, 4]);
    assert_eq!(KINDS.map(|table| env.count(table)), [2, 7, 12, 5, 4]);

    let file = app.get("/api/v1/resources/file/interview-v1").await.expect(200);
    assert_eq!(file["parent"], json!({"type": "media", "id": "interview"}));
    assert_eq!(file["labels"], json!({"provider": "s3", "version": "1"}));
    assert_eq!(file["account"], Value::Null);
    assert_eq!(file["belongs_to"], "nyota-films");
    let account = app.get("/api/v1/accounts/nyota-films").await.expect(200);
    assert_eq!(account["time_zone"], "Africa/Nairobi");

    // The same file again changes nothing.
    let again = app.import(story_directory()).await.expect(200);
    assert_eq!(counts(&again), [2, 7, 12, 5, 4]);
    assert_eq!(KINDS.map(|table| env.count(table)), [2, 7, 12, 5, 4]);
    assert_eq!(env.count("audit_events WHERE action = 'directory.imported'"), 2);
    app.finish().await;
}

/// Returns accounts with a project of media and files each, and their people, with 35 lines for each account.
fn large_directory(accounts: usize) -> String {
    let mut text = String::new();
    for a in 0..accounts {
        writeln!(text, r#"{{"kind":"account","id":"a{a}","name":"Account {a}"}}"#).unwrap();
        writeln!(
            text,
            r#"{{"kind":"person","id":"p{a}","name":"Owner {a}","email":"p{a}@example.com"}}"#
        )
        .unwrap();
        writeln!(
            text,
            r#"{{"kind":"member","account":"a{a}","person":"p{a}","role":"owner"}}"#
        )
        .unwrap();
        writeln!(
            text,
            r#"{{"kind":"resource","type":"project","id":"{a}","account":"a{a}"}}"#
        )
        .unwrap();
        writeln!(
            text,
            r#"{{"kind":"person","id":"c{a}","name":"Editor {a}","email":"c{a}@example.com"}}"#
        )
        .unwrap();
        for m in 0..5 {
            writeln!(text, r#"{{"kind":"resource","type":"media","id":"{a}-{m}","parent":{{"type":"project","id":"{a}"}}}}"#).unwrap();
            for f in 0..4 {
                writeln!(text, r#"{{"kind":"resource","type":"file","id":"{a}-{m}-{f}","parent":{{"type":"media","id":"{a}-{m}"}},"labels":{{"provider":"s3"}}}}"#).unwrap();
            }
            writeln!(text, r#"{{"kind":"collaborator","resource":{{"type":"media","id":"{a}-{m}"}},"person":"c{a}","role":"editor"}}"#).unwrap();
        }
    }
    text
}

async fn a_file_that_breaks_at_line_70_000_stores_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    let whole = large_directory(2_001);
    let mut broken: Vec<&str> = whole.lines().collect();
    assert!(broken.len() > 70_000, "{} lines", broken.len());
    broken[69_999] = r#"{"kind":"person","id":"p","name":"Broken","email":"no address"}"#;
    let started = Instant::now();
    let refused = app.import(broken.join("\n")).await.expect_invalid("line 70000");
    assert_eq!(refused["errors"].as_array().map(Vec::len), Some(1), "{refused}");
    assert!(refused.text.contains("email"), "{refused}");
    assert_nothing_stored(&env);
    // The test checks that nobody waits for minutes. A busy machine needs some seconds.
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
    app.finish().await;
}

async fn a_line_may_use_what_an_earlier_line_made_and_nothing_later(env: Env) {
    let app = TestApp::start(&env).await;
    let account = json!({"kind": "account", "id": "acme", "name": "Acme"});
    let person = json!({"kind": "person", "id": "ann", "name": "Ann", "email": "ann@example.com"});
    let project = json!({"kind": "resource", "type": "project", "id": "42", "account": "acme"});
    let media =
        json!({"kind": "resource", "type": "media", "id": "m", "parent": {"type": "project", "id": "42"}});
    let member = json!({"kind": "member", "account": "acme", "person": "ann", "role": "owner"});
    let collaborator = json!({"kind": "collaborator", "resource": {"type": "project", "id": "42"}, "person": "ann", "role": "editor"});

    // Each reference comes once before the entry that it names.
    for (order, missing) in [
        (
            [&project, &account, &person, &media, &member, &collaborator],
            "account 'acme'",
        ),
        (
            [&account, &media, &project, &person, &member, &collaborator],
            "project 42",
        ),
        (
            [&account, &member, &person, &project, &media, &collaborator],
            "person 'ann'",
        ),
        (
            [&person, &member, &account, &project, &media, &collaborator],
            "account 'acme'",
        ),
        (
            [&account, &person, &collaborator, &project, &media, &member],
            "project 42",
        ),
    ] {
        let order: Vec<Value> = order.into_iter().cloned().collect();
        let refused = app.import(lines(&order)).await.expect_problem(422);
        let wrong = if order[0] == project {
            "line 1"
        } else if order[1] == media || order[1] == member {
            "line 2"
        } else {
            "line 3"
        };
        assert!(refused.places().contains(&wrong.to_owned()), "{wrong}: {refused}");
        assert!(refused.text.contains(missing), "{missing}: {refused}");
        assert_nothing_stored(&env);
    }
    // A resource cannot be its own parent.
    let itself = json!({"kind": "resource", "type": "t", "id": "x", "parent": {"type": "t", "id": "x"}});
    app.import(lines(&[itself])).await.expect_invalid("line 1");

    let right = [account, person, project, media, member, collaborator];
    assert_eq!(
        counts(&app.import(lines(&right)).await.expect(200)),
        [1, 1, 2, 1, 1]
    );
    // Any line may refer to an existing entry.
    let more = [
        json!({"kind": "collaborator", "resource": {"type": "media", "id": "m"}, "person": "ann", "role": "editor"}),
        json!({"kind": "resource", "type": "file", "id": "f", "parent": {"type": "media", "id": "m"}}),
    ];
    assert_eq!(
        counts(&app.import(lines(&more)).await.expect(200)),
        [0, 0, 1, 0, 1]
    );
    app.finish().await;
}

async fn a_wrong_line_is_named_with_its_reason(env: Env) {
    let app = TestApp::start(&env).await;
    let good = r#"{"kind":"account","id":"acme","name":"Acme"}"#;
    let long = format!(
        r#"{{"kind":"account","id":"{}","name":"Long"}}"#,
        "x".repeat(10_000)
    );
    let huge = format!(
        r#"{{"kind":"account","id":"a","name":"{}"}}"#,
        "x".repeat(100_000)
    );
    for (line, reason) in [
        (
            r#"{"kind":"account","id":"b","name":"B","colour":"red"}"#,
            "colour",
        ),
        (r#"{"kind":"account","id":"b"}"#, "name"),
        (r#"{"kind":"house","id":"b","name":"B"}"#, "house"),
        (r#"{"id":"b","name":"B"}"#, "kind"),
        (
            r#"{"kind":"account","id":"b","name":"B""#,
            "before its object is closed",
        ),
        (
            r#"{"kind":"account","id":"b","name":"B"} {}"#,
            "more than one JSON object",
        ),
        (r#"["account"]"#, ""),
        ("not JSON", ""),
        (r#"{"kind":"account","id":"","name":"B"}"#, "empty"),
        (r#"{"kind":"account","id":"b","name":" "}"#, "name"),
        (
            r#"{"kind":"account","id":"b","name":"B\u0000Bcc: x@example.com"}"#,
            "control",
        ),
        (
            r#"{"kind":"account","id":"b","name":"B","time_zone":"Mars/Olympus"}"#,
            "Mars/Olympus",
        ),
        (
            r#"{"kind":"account","id":"b","name":"B","locale":"english please"}"#,
            "locale",
        ),
        (
            r#"{"kind":"person","id":"b","name":"B","email":"b@example.com\r\nBcc: x@example.com"}"#,
            "email",
        ),
        (
            r#"{"kind":"resource","type":"t","id":"1","labels":{"a":1}}"#,
            "labels",
        ),
        (
            r#"{"kind":"resource","type":"t","id":"1","parent":{"type":"t","id":"2","x":1}}"#,
            "parent",
        ),
        (
            r#"{"kind":"member","account":"acme","person":"nobody","role":"owner"}"#,
            "person 'nobody'",
        ),
        (long.as_str(), "200"),
        (huge.as_str(), "longer"),
    ] {
        let shown: String = line.chars().take(80).collect();
        let refused = app
            .import(format!("{good}\n{line}\n{good}\n"))
            .await
            .expect_problem(422);
        assert_eq!(refused.places(), ["line 2"], "{shown}: {refused}");
        let detail = refused["errors"][0]["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(reason), "{shown}: no '{reason}' in {detail}");
        assert_nothing_stored(&env);
    }
    let not_utf8 = [good.as_bytes(), b"\n\xff\xfe\n"].concat();
    app.import(not_utf8).await.expect_invalid("line 2");
    assert_nothing_stored(&env);
    app.finish().await;
}

async fn every_wrong_line_is_named(env: Env) {
    let app = TestApp::start(&env).await;
    let text = lines(&[
        json!({"kind": "account", "id": "a", "name": ""}),
        json!({"kind": "account", "id": "b", "name": "B"}),
        json!({"kind": "account", "id": "c", "name": "C", "time_zone": "Nowhere"}),
    ]);
    let refused = app.import(text).await.expect_problem(422);
    assert_eq!(refused.places(), ["line 1", "line 3"]);
    // After a hundred errors the rest of the file is not read.
    let refused = app.import("x\n".repeat(100_000)).await.expect_problem(422);
    let places = refused.places();
    assert_eq!(places.len(), 100);
    assert_eq!((places[0].as_str(), places[99].as_str()), ("line 1", "line 100"));
    assert_nothing_stored(&env);
    app.finish().await;
}

async fn lines_about_one_thing_are_taken_in_their_order(env: Env) {
    let app = TestApp::start(&env).await;
    let text = lines(&[
        json!({"kind": "account", "id": "acme", "name": "First", "time_zone": "UTC", "labels": {"a": "1"}}),
        json!({"kind": "account", "id": "acme", "name": "Second", "labels": {"b": "2"}}),
        json!({"kind": "person", "id": "ann", "name": "Ann", "email": "old@example.com"}),
        json!({"kind": "person", "id": "ann", "name": "Ann", "email": "new@example.com"}),
        json!({"kind": "resource", "type": "t", "id": "1", "account": "acme", "labels": {"a": "1", "b": "1"}}),
        json!({"kind": "resource", "type": "t", "id": "2"}),
        json!({"kind": "resource", "type": "t", "id": "1", "parent": {"type": "t", "id": "2"}, "labels": {"b": "2"}}),
        json!({"kind": "member", "account": "acme", "person": "ann", "role": "owner"}),
        json!({"kind": "member", "account": "acme", "person": "ann", "role": "guest"}),
        json!({"kind": "collaborator", "resource": {"type": "t", "id": "1"}, "person": "ann", "role": "reader"}),
        json!({"kind": "collaborator", "resource": {"type": "t", "id": "1"}, "person": "ann", "role": "writer"}),
    ]);
    assert_eq!(counts(&app.import(text).await.expect(200)), [2, 2, 3, 2, 2]);
    assert_eq!(KINDS.map(|table| env.count(table)), [1, 1, 2, 1, 1]);
    let account = app.get("/api/v1/accounts/acme").await.expect(200);
    assert_eq!(account["name"], "Second");
    // A line is complete: fields that it leaves out are removed.
    assert_eq!(
        (&account["time_zone"], &account["labels"]),
        (&Value::Null, &json!({"b": "2"}))
    );
    assert_eq!(
        app.get("/api/v1/people/ann").await.expect(200)["email"],
        "new@example.com"
    );
    let resource = app.get("/api/v1/resources/t/1").await.expect(200);
    assert_eq!(
        (&resource["account"], &resource["labels"]),
        (&Value::Null, &json!({"b": "2"}))
    );
    assert_eq!(resource["parent"], json!({"type": "t", "id": "2"}));
    assert_eq!(
        app.get("/api/v1/accounts/acme/members/ann").await.expect(200)["role"],
        "guest"
    );
    assert_eq!(
        app.get("/api/v1/resources/t/1/collaborators/ann")
            .await
            .expect(200)["role"],
        "writer"
    );
    app.finish().await;
}

async fn parents_form_trees_within_one_account(env: Env) {
    let app = TestApp::start(&env).await;
    let base = lines(&[
        json!({"kind": "account", "id": "one", "name": "One"}),
        json!({"kind": "account", "id": "two", "name": "Two"}),
        json!({"kind": "resource", "type": "t", "id": "root", "account": "one"}),
        json!({"kind": "resource", "type": "t", "id": "middle", "parent": {"type": "t", "id": "root"}}),
        json!({"kind": "resource", "type": "t", "id": "leaf", "parent": {"type": "t", "id": "middle"}}),
        json!({"kind": "resource", "type": "t", "id": "named", "account": "one", "parent": {"type": "t", "id": "middle"}}),
        json!({"kind": "resource", "type": "t", "id": "other", "account": "two"}),
    ]);
    app.import(base).await.expect(200);
    let stored = env.texts("SELECT type || id || COALESCE(CAST(parent_key AS TEXT), '') || COALESCE(CAST(account_key AS TEXT), '') AS value FROM resources ORDER BY key");
    let harmless = json!({"kind": "account", "id": "three", "name": "Three"});
    for (line, what) in [
        (
            json!({"kind": "resource", "type": "t", "id": "root", "account": "one", "parent": {"type": "t", "id": "leaf"}}),
            "cycle",
        ),
        (
            json!({"kind": "resource", "type": "t", "id": "root", "account": "one", "parent": {"type": "t", "id": "root"}}),
            "cycle",
        ),
        (
            json!({"kind": "resource", "type": "t", "id": "new", "account": "two", "parent": {"type": "t", "id": "leaf"}}),
            "another account",
        ),
        // A parent whose account differs from that of a resource, and a moved subtree that contains such a
        // resource.
        (
            json!({"kind": "resource", "type": "t", "id": "root", "account": "two"}),
            "another account",
        ),
        (
            json!({"kind": "resource", "type": "t", "id": "middle", "parent": {"type": "t", "id": "other"}}),
            "another account",
        ),
    ] {
        let refused = app
            .import(lines(&[harmless.clone(), line.clone()]))
            .await
            .expect_problem(422);
        assert_eq!(refused.places(), ["line 2"], "{line}: {refused}");
        assert!(refused.text.contains(what), "{line}: {refused}");
        assert_eq!(env.count("accounts"), 2);
    }
    // Two lines that together form a circle.
    let circle = lines(&[
        json!({"kind": "resource", "type": "t", "id": "root", "parent": {"type": "t", "id": "middle"}}),
        json!({"kind": "resource", "type": "t", "id": "middle", "parent": {"type": "t", "id": "root"}}),
    ]);
    let refused = app.import(circle).await.expect_problem(422);
    assert!(refused.text.contains("cycle"), "{refused}");
    let now = env.texts("SELECT type || id || COALESCE(CAST(parent_key AS TEXT), '') || COALESCE(CAST(account_key AS TEXT), '') AS value FROM resources ORDER BY key");
    assert_eq!(now, stored);
    app.finish().await;
}

async fn an_import_revives_what_was_deleted(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    for path in [
        "/api/v1/accounts/nyota-films/members/amina",
        "/api/v1/resources/project/savanna/collaborators/baraka",
        "/api/v1/people/amina",
        "/api/v1/resources/media/interview",
        "/api/v1/accounts/nyota-films",
    ] {
        app.delete(path).await.expect(204);
        assert_ne!(app.get(path).await.expect(200)["gone_at"], Value::Null, "{path}");
    }
    // Before that, nothing can be put below an archived resource.
    let below = r#"{"kind":"resource","type":"file","id":"new","parent":{"type":"media","id":"interview"}}"#;
    app.import(below).await.expect_invalid("line 1");
    app.import(story_directory()).await.expect(200);
    for table in KINDS {
        assert_eq!(
            env.count(&format!("{table} WHERE gone_at IS NOT NULL")),
            0,
            "{table}"
        );
    }
    app.import(below).await.expect(200);
    app.finish().await;
}

async fn only_ndjson_is_taken(env: Env) {
    let app = TestApp::start(&env).await;
    for content_type in [
        "application/json",
        "text/plain",
        "application/octet-stream",
        "application/x-ndjson-x",
    ] {
        app.post_raw("/api/v1/directory/import", content_type, story_directory())
            .await
            .expect_problem(415);
    }
    assert_nothing_stored(&env);
    app.post_raw(
        "/api/v1/directory/import",
        "application/x-ndjson; charset=utf-8",
        story_directory(),
    )
    .await
    .expect(200);
    app.finish().await;
}

async fn blank_lines_are_passed_over_and_counted(env: Env) {
    let app = TestApp::start(&env).await;
    assert_eq!(counts(&app.import("").await.expect(200)), [0; 5]);
    assert_eq!(counts(&app.import("\n\r\n  \n").await.expect(200)), [0; 5]);
    let text = "\n{\"kind\":\"account\",\"id\":\"a\",\"name\":\"A\"}\r\n\r\n   \n{\"kind\":\"account\",\"id\":\"b\"}";
    app.import(text).await.expect_invalid("line 5");
    assert_eq!(env.count("accounts"), 0);
    let text = "\n{\"kind\":\"account\",\"id\":\"a\",\"name\":\"A\"}\r\n\r\n   \n{\"kind\":\"account\",\"id\":\"b\",\"name\":\"B\"}";
    assert_eq!(counts(&app.import(text).await.expect(200)), [2, 0, 0, 0, 0]);
    app.finish().await;
}
