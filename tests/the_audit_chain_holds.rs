//! Every change of the audit trail is found, and the trail says who did what to which subject and when.

use std::collections::BTreeSet;

use candor::base::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    Answer, Backend, Binary, DEADLINE, Env, TestApp, eventually, on_both_databases, story_directory,
};

on_both_databases!(
    the_database_itself_refuses_changes,
    whatever_is_tampered_with_is_found,
    changed_delivery_attempts_are_found,
    the_command_names_the_first_broken_event,
    an_export_can_be_recomputed,
    the_trail_is_filtered,
    no_change_is_without_its_event,
);

async fn some_events(app: &TestApp) -> String {
    app.import(story_directory()).await.expect(200);
    let affected = json!([{"type": "media", "id": "interview"}]);
    let new = json!({"title": "It broke", "severity": "major", "affected": affected});
    let id = app.post("/api/v1/incidents", new).await.expect(201).id();
    let entry = json!({"kind": "note", "text": "Looking"});
    app.post(&format!("/api/v1/incidents/{id}/timeline"), entry)
        .await
        .expect(201);
    id
}

/// Sends a detection notice to the three people of the story and waits until it is sent.
async fn some_mails(app: &TestApp, incident: &str) {
    let draft = json!({"phase": "detection", "message": "Some files cannot be opened."});
    let notice = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), draft)
        .await
        .expect(201)
        .id();
    let preview = app
        .get(&format!("/api/v1/notices/{notice}/preview"))
        .await
        .expect(200);
    let digest = json!({"digest": preview["digest"]});
    app.post(&format!("/api/v1/notices/{notice}/send"), digest)
        .await
        .expect(202);
    app.mails(3).await;
    eventually("the notice to be sent", DEADLINE, async || {
        let shown = app.get(&format!("/api/v1/notices/{notice}")).await.expect(200);
        (shown["state"] == "sent").then_some(())
    })
    .await;
}

async fn verify(app: &TestApp) -> Answer {
    app.get("/api/v1/audit/verify").await.expect(200)
}

async fn the_database_itself_refuses_changes(env: Env) {
    let app = TestApp::start(&env).await;
    let id = some_events(&app).await;
    some_mails(&app, &id).await;
    let events = env.count("audit_events");
    let mut statements = vec![
        "UPDATE audit_events SET actor_name = 'somebody else'",
        "UPDATE audit_events SET at = at + 1 WHERE seq = 1",
        "DELETE FROM audit_events",
        "DELETE FROM audit_events WHERE seq = (SELECT MAX(seq) FROM audit_events)",
        "UPDATE audit_head SET seq = 0",
        "UPDATE audit_head SET seq = seq, hash = 'x'",
        "DELETE FROM audit_head",
        "UPDATE delivery_attempts SET outcome = 'sent'",
        "DELETE FROM delivery_attempts",
        "UPDATE notice_recipients SET address = 'other@example.com'",
        "DELETE FROM notice_recipients",
        "UPDATE templates SET subject = 'x'",
    ];
    if env.backend == Backend::Postgres {
        statements.extend([
            "TRUNCATE audit_events",
            "TRUNCATE audit_events CASCADE",
            "TRUNCATE delivery_attempts",
            "TRUNCATE notice_recipients",
        ]);
    }
    for statement in statements {
        let refused = env.sql(statement).expect_err(statement).to_string();
        assert!(
            ["append-only", "kept", "only moves forward", "immutable"]
                .iter()
                .any(|why| refused.contains(why)),
            "{statement}: {refused}"
        );
    }
    assert_eq!(env.count("audit_events"), events);
    assert_eq!(env.count("delivery_attempts"), 3);
    assert_eq!(verify(&app).await["events"], events);
    app.finish().await;
}

/// Removes the protection of the tables, as an attacker with full access would do first.
fn disarm(env: &Env) {
    let tables = ["audit_events", "audit_head", "delivery_attempts"];
    match env.backend {
        Backend::Sqlite => {
            let triggers = env.texts("SELECT name AS value FROM sqlite_master WHERE type = 'trigger'");
            for trigger in triggers
                .iter()
                .filter(|name| tables.iter().any(|table| name.starts_with(table)))
            {
                env.sql(&format!("DROP TRIGGER {trigger}"))
                    .expect("a trigger less");
            }
        }
        Backend::Postgres => {
            for table in tables {
                env.sql(&format!("ALTER TABLE {table} DISABLE TRIGGER USER"))
                    .expect("no triggers");
            }
        }
    }
}

/// Changes the data, expects this event to be the first wrong one, and reverts the change.
async fn found(app: &TestApp, what: &str, tamper: &str, first_broken: i64, repair: &str) {
    app.env
        .sql(tamper)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let verified = verify(app).await;
    assert_eq!(verified["ok"], false, "{what}: {verified}");
    assert_eq!(verified["broken_at"], first_broken, "{what}: {verified}");
    assert!(
        verified["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{what}: {verified}"
    );
    app.env
        .sql(repair)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let verified = verify(app).await;
    assert_eq!(verified["ok"], true, "after {what}: {verified}");
}

async fn whatever_is_tampered_with_is_found(env: Env) {
    let app = TestApp::start(&env).await;
    some_events(&app).await;
    disarm(&env);
    let events = verify(&app).await["events"].as_i64().expect("a number");
    assert!(events >= 5, "{events}");
    // Every field of an event, including the first and the last event.
    for seq in [1, 3, events] {
        for (field, value) in [
            ("at", "at + 1"),
            ("actor_kind", "'anonymous'"),
            ("actor_id", "'somebody'"),
            ("actor_name", "'somebody'"),
            ("action", "'incident.changed'"),
            ("subject_type", "'notice'"),
            ("subject_id", "'x'"),
            ("incident_id", "'x'"),
            ("before_json", "'{}'"),
            ("after_json", "'{}'"),
            ("prev_hash", "'x'"),
            ("hash", "'x'"),
        ] {
            let keep = format!(
                "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM audit_events WHERE seq = {seq};"
            );
            let tamper = format!("{keep} UPDATE audit_events SET {field} = {value} WHERE seq = {seq}");
            let repair =
                format!("UPDATE audit_events SET {field} = (SELECT {field} FROM kept) WHERE seq = {seq}");
            found(&app, &format!("{field} of {seq}"), &tamper, seq, &repair).await;
        }
    }
    let keep = |condition: &str| {
        format!(
            "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM audit_events WHERE {condition};"
        )
    };
    let back = "INSERT INTO audit_events SELECT * FROM kept";
    for (what, condition, first_broken) in [
        ("an event in the middle taken out", "seq = 3".to_owned(), 3),
        ("the first event taken out", "seq = 1".to_owned(), 1),
        ("the tail cut off", format!("seq >= {}", events - 1), events - 1),
        ("everything taken out", "seq > 0".to_owned(), 1),
    ] {
        let tamper = format!("{} DELETE FROM audit_events WHERE {condition}", keep(&condition));
        found(&app, what, &tamper, first_broken, back).await;
    }
    // An event with a recomputed hash does not match the next event any more.
    let seq = 3;
    let line = export(&app)
        .await
        .into_iter()
        .find(|event| event["seq"] == seq)
        .expect("an event");
    let mut forged = line.clone();
    forged["actor"]["name"] = json!("somebody else");
    let (name, hash) = ("somebody else", hash_of(&forged));
    let tamper = format!(
        "{} UPDATE audit_events SET actor_name = '{name}', hash = '{hash}' WHERE seq = {seq}",
        keep("seq = 3")
    );
    let repair = "UPDATE audit_events SET actor_name = (SELECT actor_name FROM kept), hash = (SELECT hash FROM kept) WHERE seq = 3";
    found(&app, "an event with a new hash", &tamper, seq + 1, repair).await;
    // One more event after the recorded end, with a valid hash.
    let mut added = export(&app).await.pop().expect("an event");
    added["seq"] = json!(events + 1);
    added["prev_hash"] = added["hash"].clone();
    let hash = hash_of(&added);
    let tamper = format!(
        "{} UPDATE kept SET seq = seq + 1, prev_hash = hash; UPDATE kept SET hash = '{hash}'; {back}",
        keep(&format!("seq = {events}"))
    );
    let repair = format!("DELETE FROM audit_events WHERE seq > {events}");
    found(&app, "an event behind the end", &tamper, events + 2, &repair).await;
    env.sql("DROP TABLE kept").expect("a table less");
    app.finish().await;
}

async fn changed_delivery_attempts_are_found(env: Env) {
    let app = TestApp::start(&env).await;
    let id = some_events(&app).await;
    some_mails(&app, &id).await;
    disarm(&env);
    let verified = verify(&app).await;
    assert_eq!(verified["ok"], true, "{verified}");
    let attempts = app.all("/api/v1/audit?action=delivery.attempts").await;
    let batch = env
        .texts("SELECT batch AS value FROM delivery_attempts ORDER BY delivery_id LIMIT 1")
        .remove(0);
    let of_batch = attempts
        .iter()
        .find(|event| event["subject"]["id"] == json!(batch))
        .expect("its event");
    let seq = of_batch["seq"].as_i64().expect("a number");
    let first = "delivery_id = (SELECT MIN(delivery_id) FROM delivery_attempts)";
    let keep = format!(
        "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM delivery_attempts WHERE {first};"
    );
    for (field, value) in [
        ("reply", "'250 never said'"),
        ("outcome", "'failed'"),
        ("at", "at - 1"),
        ("batch", "'another'"),
        ("mail_hash", "NULL"),
    ] {
        let tamper = format!("{keep} UPDATE delivery_attempts SET {field} = {value} WHERE {first}");
        let repair =
            format!("UPDATE delivery_attempts SET {field} = (SELECT {field} FROM kept) WHERE {first}");
        found(&app, field, &tamper, seq, &repair).await;
    }
    let tamper = format!("{keep} DELETE FROM delivery_attempts WHERE {first}");
    found(
        &app,
        "an attempt taken out",
        &tamper,
        seq,
        "INSERT INTO delivery_attempts SELECT * FROM kept",
    )
    .await;
    let tamper =
        format!("{keep} UPDATE kept SET attempt = 99; INSERT INTO delivery_attempts SELECT * FROM kept");
    found(
        &app,
        "an attempt added",
        &tamper,
        seq,
        "DELETE FROM delivery_attempts WHERE attempt = 99",
    )
    .await;
    // An attempt of a batch without an event.
    let tamper = format!(
        "{keep} UPDATE kept SET attempt = 99, batch = 'mine'; INSERT INTO delivery_attempts SELECT * FROM kept"
    );
    let behind = verify(&app).await["events"].as_i64().expect("a number") + 1;
    found(
        &app,
        "an attempt of nobody",
        &tamper,
        behind,
        "DELETE FROM delivery_attempts WHERE attempt = 99",
    )
    .await;
    env.sql("DROP TABLE kept").expect("a table less");
    app.finish().await;
}

async fn the_command_names_the_first_broken_event(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    candor.import(story_directory()).await.expect(200);
    for name in ["a", "b", "c"] {
        candor
            .put(&format!("/api/v1/accounts/{name}"), json!({"name": name}))
            .await
            .expect(201);
    }
    let whole = candor.run(["audit", "verify"]).await.expect(0);
    let head = candor.get("/api/v1/audit/verify").await.expect(200)["head"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(whole.stdout.contains(&head), "{}", whole.stdout);
    disarm(&env);
    env.sql("UPDATE audit_events SET subject_id = 'x' WHERE seq = 3")
        .expect("tampering");
    let broken = candor.run(["audit", "verify"]).await.expect(1);
    assert!(broken.stdout.contains("event 3"), "{}", broken.stdout);
    let subject = "UPDATE audit_events SET subject_id = 'a' WHERE seq = 3";
    env.sql(subject).expect("repair");
    candor.finish().await;
}

async fn export(app: &TestApp) -> Vec<Value> {
    let exported = app
        .request(Method::GET, "/api/v1/audit/export")
        .send()
        .await
        .expect(200);
    assert_eq!(exported.header("content-type"), "application/x-ndjson");
    exported
        .text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Returns the hash of an exported event as the documentation defines it: SHA-256 of a JSON array of its
/// fields.
fn hash_of(event: &Value) -> String {
    let at = Timestamp::parse(event["at"].as_str().expect("a time"))
        .expect("a time")
        .as_micros();
    let json = |value: &Value| {
        if value.is_null() {
            Value::Null
        } else {
            Value::String(value.to_string())
        }
    };
    let fields = json!([
        event["seq"],
        at,
        event["actor"]["kind"],
        event["actor"]["id"],
        event["actor"]["name"],
        event["action"],
        event["subject"]["type"],
        event["subject"]["id"],
        event["incident"],
        json(&event["before"]),
        json(&event["after"]),
        event["prev_hash"],
    ]);
    let digest = Sha256::digest(fields.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn an_export_can_be_recomputed(env: Env) {
    let app = TestApp::start(&env).await;
    let id = some_events(&app).await;
    some_mails(&app, &id).await;
    // The export needs several steps: 1,200 alerts in one body.
    let integration = json!({"name": "Recorder \"quoted\" \u{1F993}", "source": "generic", "mapping": {"alerts": "/all"}, "open_incident": false});
    let hook = app.post("/api/v1/integrations", integration).await.expect(201);
    let alerts: Vec<Value> = (0..1_200).map(|n| json!({"title": format!("Alert {n} <&\"\\ \u{7f} ü"), "started_at": "2024-03-14T06:56:00.123456Z"})).collect();
    app.post(hook["hook_url"].as_str().unwrap(), json!({"all": alerts}))
        .await
        .expect(202);

    let events = export(&app).await;
    let mut prev = "0".repeat(64);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], index + 1);
        assert_eq!(event["prev_hash"], prev, "{event}");
        assert_eq!(event["hash"], hash_of(event), "{event}");
        prev = event["hash"].as_str().expect("a hash").to_owned();
    }
    let verified = verify(&app).await;
    assert_eq!(
        (&verified["events"], &verified["head"]),
        (&json!(events.len()), &json!(prev))
    );
    assert!(events.len() > 1_200);
    // The list contains the same events, newest first.
    let mut listed = app.all("/api/v1/audit?limit=500").await;
    listed.reverse();
    assert_eq!(listed, events);
    app.finish().await;
}

async fn the_trail_is_filtered(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:50:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let operator = app.as_new("operator").await;
    app.set_clock("2024-03-14T07:00:00Z");
    let new = json!({"title": "It broke", "severity": "major"});
    let one = operator.post("/api/v1/incidents", &new).await.expect(201).id();
    app.set_clock("2024-03-14T07:10:00Z");
    let two = app.post("/api/v1/incidents", &new).await.expect(201).id();
    operator
        .post(
            &format!("/api/v1/incidents/{two}/status"),
            json!({"status": "identified"}),
        )
        .await
        .expect(200);
    app.set_clock("2024-03-14T07:20:00Z");
    app.post(
        &format!("/api/v1/incidents/{one}/status"),
        json!({"status": "resolved"}),
    )
    .await
    .expect(200);
    app.put("/api/v1/resources/t/1", json!({})).await.expect(201);

    let seen = async |query: &str| -> Vec<String> {
        let mut events = app.all(&format!("/api/v1/audit?{query}")).await;
        events.reverse();
        events
            .iter()
            .map(|event| {
                let at = event["at"].as_str().unwrap();
                format!(
                    "{} {} {}",
                    &at[11..16],
                    event["actor"]["name"].as_str().unwrap(),
                    event["action"].as_str().unwrap()
                )
            })
            .collect()
    };
    let admin = "admin (from the settings)";
    let of_one = [
        "07:00 a test's operator incident.opened".to_owned(),
        format!("07:20 {admin} incident.status"),
    ];
    assert_eq!(seen(&format!("incident={one}")).await, of_one);
    assert_eq!(seen(&format!("subject={one}")).await, of_one);
    assert_eq!(seen(&format!("subject=incident/{one}")).await, of_one);
    assert_eq!(
        seen("actor=a%20test%27s%20operator").await,
        [
            "07:00 a test's operator incident.opened",
            "07:10 a test's operator incident.status"
        ]
    );
    let token = app
        .all("/api/v1/tokens")
        .await
        .iter()
        .find(|token| token["name"] == "a test's operator")
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(seen(&format!("actor={token}")).await.len(), 2);
    assert_eq!(seen("action=incident.status").await.len(), 2);
    assert_eq!(
        seen("subject=resource/t/1").await,
        [format!("07:20 {admin} resource.put")]
    );
    // `from` is included and `to` is not, in any time zone.
    assert_eq!(
        seen("from=2024-03-14T07:10:00Z&to=2024-03-14T07:20:00Z")
            .await
            .len(),
        2
    );
    assert_eq!(
        seen("from=2024-03-14T10:10:00%2B03:00&to=2024-03-14T10:20:00%2B03:00")
            .await
            .len(),
        2
    );
    assert_eq!(seen("from=2024-03-14T07:20:00.000001Z").await.len(), 0);
    // All filters apply together: who did what to this incident between two times.
    assert_eq!(
        seen(&format!(
            "incident={two}&actor=a%20test%27s%20operator&action=incident.status&from=2024-03-14T07:00:00Z"
        ))
        .await,
        ["07:10 a test's operator incident.status"]
    );
    assert_eq!(
        seen(&format!(
            "incident={one}&actor=a%20test%27s%20operator&from=2024-03-14T07:05:00Z"
        ))
        .await,
        [""; 0]
    );
    app.finish().await;
}

async fn no_change_is_without_its_event(env: Env) {
    let app = TestApp::start(&env).await;
    let id = some_events(&app).await;
    let change = async |method: Method, path: String, body: Value, action: &str| {
        let before = env.count("audit_events");
        let answer = app.request(method, &path).json(body).send().await;
        assert!((200..300).contains(&answer.status), "{answer}");
        let newest = app.get("/api/v1/audit?limit=1").await.expect(200);
        assert_eq!(newest.items()[0]["action"], action, "{path}");
        assert!(env.count("audit_events") > before, "{path}");
    };
    let incident = format!("/api/v1/incidents/{id}");
    change(
        Method::PATCH,
        incident.clone(),
        json!({"severity": "minor"}),
        "incident.changed",
    )
    .await;
    change(
        Method::POST,
        format!("{incident}/status"),
        json!({"status": "monitoring"}),
        "incident.status",
    )
    .await;
    change(
        Method::POST,
        format!("{incident}/affected"),
        json!({"selector": {"type": "file"}}),
        "affected.added",
    )
    .await;
    change(
        Method::DELETE,
        format!("{incident}/affected/media/interview"),
        json!({}),
        "affected.removed",
    )
    .await;
    change(
        Method::POST,
        format!("{incident}/next-steps"),
        json!({"text": "x", "owner": "y"}),
        "next_step.added",
    )
    .await;
    change(
        Method::PUT,
        format!("{incident}/report"),
        json!({"title": "R", "sections": [{"heading": "H", "text": "T", "audience": "public"}]}),
        "report.written",
    )
    .await;
    change(
        Method::POST,
        format!("{incident}/notices"),
        json!({"phase": "update", "message": "x"}),
        "notice.drafted",
    )
    .await;
    change(
        Method::POST,
        "/api/v1/integrations".into(),
        json!({"name": "x", "source": "generic"}),
        "integration.created",
    )
    .await;
    // The states before and after are different.
    let changed = app.get("/api/v1/audit?action=incident.changed").await.expect(200);
    assert_eq!(
        (
            &changed.items()[0]["before"]["severity"],
            &changed.items()[0]["after"]["severity"]
        ),
        (&json!("major"), &json!("minor"))
    );
    // No event contains an address.
    let actions: BTreeSet<String> = env
        .texts(
            "SELECT action AS value FROM audit_events WHERE after_json LIKE '%@%' OR before_json LIKE '%@%'",
        )
        .into_iter()
        .collect();
    assert_eq!(actions, BTreeSet::new());
    app.finish().await;
}
