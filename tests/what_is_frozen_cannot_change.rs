//! No statement can replace recorded or frozen rows, not even an insert. If somebody removes the protection
//! first, the change is found: a changed recipient, text, template, attempt or delivery.

use crate::support::{Backend, Env, TestApp, on_both_databases};

on_both_databases!(no_statement_replaces_a_row, a_change_of_what_was_frozen_is_found,);

/// Starts a service that has notified the people of the story.
async fn told(env: &Env) -> (TestApp, String) {
    let app = TestApp::start(env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    (app, notice)
}

async fn holds(app: &TestApp) -> bool {
    let verified = app.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(
        verified["ok"] == false,
        verified["reason"].is_string(),
        "{verified}"
    );
    verified["ok"] == true
}

async fn no_statement_replaces_a_row(env: Env) {
    let (app, _) = told(&env).await;
    let everything = |env: &Env| {
        let tables = [
            "audit_events",
            "audit_head",
            "notice_recipients",
            "delivery_attempts",
            "templates",
        ];
        let row = match env.backend {
            Backend::Sqlite => "quote(hash)",
            Backend::Postgres => "hash",
        };
        let mut rows = env.texts(&format!("SELECT {row} AS value FROM audit_events ORDER BY seq"));
        rows.extend(env.texts("SELECT address AS value FROM notice_recipients ORDER BY 1"));
        rows.extend(env.texts("SELECT outcome || reply || batch AS value FROM delivery_attempts ORDER BY 1"));
        rows.extend(env.texts("SELECT subject || body_text || body_html AS value FROM templates ORDER BY 1"));
        rows.extend(env.texts("SELECT frozen || digest || template_id AS value FROM notices ORDER BY 1"));
        rows.extend(tables.map(|table| env.count(table).to_string()));
        rows
    };
    let before = everything(&env);
    let event = "seq, at, actor_kind, actor_id, 'somebody else', action, subject_type, subject_id, incident_id, \
                 before_json, after_json, prev_hash, hash";
    let recipient =
        "notice_id, ordinal, person_id, name, 'other@example.com', optional, context, domain, channel";
    let columns = "(notice_id, ordinal, person_id, name, address, optional, context, domain, channel)";
    let mut statements = vec![
        "UPDATE notices SET frozen = '{}'".to_owned(),
        "UPDATE notices SET digest = 'x'".to_owned(),
        "UPDATE notices SET template_id = NULL".to_owned(),
        "DELETE FROM templates".to_owned(),
        "DELETE FROM notices".to_owned(),
    ];
    match env.backend {
        Backend::Sqlite => {
            for pragma in ["", "PRAGMA recursive_triggers = OFF; PRAGMA foreign_keys = OFF; "] {
                statements.extend(
                    [
                        format!("INSERT OR REPLACE INTO audit_events SELECT {event} FROM audit_events WHERE seq = 2"),
                        format!("REPLACE INTO audit_events SELECT {event} FROM audit_events"),
                        "INSERT OR REPLACE INTO audit_head (id, seq, hash) VALUES (1, 1, 'x')".to_owned(),
                        "REPLACE INTO audit_head (id, seq, hash) SELECT id, seq - 1, hash FROM audit_head".to_owned(),
                        format!(
                            "INSERT OR REPLACE INTO notice_recipients {columns} SELECT {recipient} FROM notice_recipients"
                        ),
                        // With its other unique key.
                        format!(
                            "INSERT OR REPLACE INTO notice_recipients {columns} SELECT notice_id, ordinal + 100, person_id, \
                             'x', address, optional, context, domain, channel FROM notice_recipients"
                        ),
                        "INSERT OR REPLACE INTO delivery_attempts SELECT delivery_id, attempt, at, 'failed', reply, batch \
                         FROM delivery_attempts"
                            .to_owned(),
                        "INSERT OR REPLACE INTO templates SELECT id, phase, 'other', body_text, body_html, created_at \
                         FROM templates"
                            .to_owned(),
                        "INSERT OR REPLACE INTO notices SELECT * FROM notices".to_owned(),
                        "UPDATE OR REPLACE audit_events SET seq = 1 WHERE seq = 2".to_owned(),
                        "UPDATE OR IGNORE notice_recipients SET address = 'x'".to_owned(),
                        "INSERT INTO audit_events SELECT * FROM audit_events WHERE seq = 1 \
                         ON CONFLICT DO UPDATE SET actor_name = 'x'"
                            .to_owned(),
                    ]
                    .map(|statement| format!("{pragma}{statement}")),
                );
            }
        }
        Backend::Postgres => statements.extend([
            format!(
                "INSERT INTO audit_events SELECT {event} FROM audit_events ON CONFLICT (seq) DO UPDATE SET actor_name = 'x'"
            ),
            "INSERT INTO audit_head SELECT * FROM audit_head ON CONFLICT (id) DO UPDATE SET seq = 0".to_owned(),
            format!(
                "INSERT INTO notice_recipients {columns} SELECT {recipient} FROM notice_recipients \
                 ON CONFLICT (notice_id, ordinal) DO UPDATE SET address = 'x'"
            ),
            "INSERT INTO delivery_attempts SELECT * FROM delivery_attempts \
             ON CONFLICT (delivery_id, attempt) DO UPDATE SET outcome = 'failed'"
                .to_owned(),
            "INSERT INTO templates SELECT * FROM templates ON CONFLICT (id) DO UPDATE SET subject = 'other'".to_owned(),
            "TRUNCATE audit_head".to_owned(),
            "TRUNCATE templates CASCADE".to_owned(),
            "TRUNCATE notices CASCADE".to_owned(),
            "TRUNCATE feedback CASCADE".to_owned(),
            "MERGE INTO audit_events a USING (SELECT 1 AS seq) s ON a.seq = s.seq WHEN MATCHED THEN \
             UPDATE SET actor_name = 'x'"
                .to_owned(),
        ]),
    }
    for statement in &statements {
        let refused = env.sql(statement).expect_err(statement).to_string();
        assert!(
            ["append-only", "kept", "only moves forward", "immutable", "frozen"]
                .iter()
                .any(|why| refused.contains(why)),
            "{statement}: {refused}"
        );
        assert_eq!(everything(&env), before, "{statement}");
    }
    assert!(holds(&app).await);
    app.finish().await;
}

/// Removes everything that protects the rows.
fn disarm(env: &Env) {
    match env.backend {
        Backend::Sqlite => {
            for trigger in env.texts("SELECT name AS value FROM sqlite_master WHERE type = 'trigger'") {
                env.sql(&format!("DROP TRIGGER {trigger}"))
                    .expect("a trigger less");
            }
        }
        Backend::Postgres => {
            let tables = env.texts(
                "SELECT DISTINCT CAST(event_object_table AS TEXT) AS value FROM information_schema.triggers",
            );
            for table in tables {
                env.sql(&format!("ALTER TABLE {table} DISABLE TRIGGER USER"))
                    .expect("a table without triggers");
            }
        }
    }
}

async fn a_change_of_what_was_frozen_is_found(env: Env) {
    let (app, notice) = told(&env).await;
    disarm(&env);
    assert!(holds(&app).await);
    let changes = [
        // Each change with the statement that reverts it.
        (
            "UPDATE notice_recipients SET address = address || 'x' WHERE ordinal = 2",
            "UPDATE notice_recipients SET address = substr(address, 1, length(address) - 1) WHERE ordinal = 2",
        ),
        (
            "UPDATE notice_recipients SET name = name || 'x' WHERE ordinal = 1",
            "UPDATE notice_recipients SET name = substr(name, 1, length(name) - 1) WHERE ordinal = 1",
        ),
        (
            "UPDATE notice_recipients SET person_id = person_id || 'x'",
            "UPDATE notice_recipients SET person_id = substr(person_id, 1, length(person_id) - 1)",
        ),
        (
            "UPDATE notice_recipients SET context = context || ' ' WHERE ordinal = 3",
            "UPDATE notice_recipients SET context = substr(context, 1, length(context) - 1) WHERE ordinal = 3",
        ),
        (
            "UPDATE notice_recipients SET optional = NOT optional",
            "UPDATE notice_recipients SET optional = NOT optional",
        ),
        (
            "UPDATE notice_recipients SET ordinal = ordinal + 10",
            "UPDATE notice_recipients SET ordinal = ordinal - 10",
        ),
        (
            "UPDATE notices SET frozen = frozen || ' '",
            "UPDATE notices SET frozen = substr(frozen, 1, length(frozen) - 1)",
        ),
        (
            "UPDATE notices SET digest = digest || 'x'",
            "UPDATE notices SET digest = substr(digest, 1, length(digest) - 1)",
        ),
        (
            "UPDATE templates SET subject = subject || 'x'",
            "UPDATE templates SET subject = substr(subject, 1, length(subject) - 1)",
        ),
        (
            "UPDATE templates SET body_html = body_html || 'x'",
            "UPDATE templates SET body_html = substr(body_html, 1, length(body_html) - 1)",
        ),
        (
            "UPDATE delivery_attempts SET reply = reply || 'x'",
            "UPDATE delivery_attempts SET reply = substr(reply, 1, length(reply) - 1)",
        ),
        (
            "UPDATE delivery_attempts SET attempt = attempt + 1",
            "UPDATE delivery_attempts SET attempt = attempt - 1",
        ),
        (
            "UPDATE deliveries SET address = address || 'x'",
            "UPDATE deliveries SET address = substr(address, 1, length(address) - 1)",
        ),
        (
            "UPDATE deliveries SET ordinal = ordinal + 10",
            "UPDATE deliveries SET ordinal = ordinal - 10",
        ),
        (
            "INSERT INTO notice_recipients (notice_id, ordinal, person_id, name, address, optional, context, domain, channel) \
             SELECT notice_id, 99, person_id, name, 'one@more.example', optional, context, domain, channel \
             FROM notice_recipients WHERE ordinal = 1",
            "DELETE FROM notice_recipients WHERE ordinal = 99",
        ),
    ];
    for (change, repair) in changes {
        env.sql(change).expect(change);
        assert!(!holds(&app).await, "{change}");
        env.sql(repair).expect(repair);
        assert!(holds(&app).await, "{repair}");
    }
    let one_less = "SELECT notice_id || '' AS value FROM notice_recipients WHERE ordinal = 2";
    assert_eq!(env.texts(one_less), [notice]);
    env.sql("CREATE TABLE kept AS SELECT * FROM notice_recipients WHERE ordinal = 2")
        .expect("a copy");
    env.sql("DELETE FROM notice_recipients WHERE ordinal = 2")
        .expect("a recipient less");
    assert!(!holds(&app).await);
    env.sql("INSERT INTO notice_recipients SELECT * FROM kept")
        .expect("it is back");
    assert!(holds(&app).await);
    app.finish().await;
}
