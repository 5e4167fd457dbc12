//! No statement can replace recorded or frozen rows, not even an insert. If somebody removes the protection
//! first, the change is found: a changed recipient, text, template, attempt or delivery.

use crate::support::{Backend, Env, TestApp, on_both_databases, run};

on_both_databases!(
    no_statement_replaces_a_row,
    no_field_of_a_queued_notice_changes,
    no_delivery_and_no_author_disappears,
    a_change_of_what_was_frozen_is_found,
    a_change_of_the_text_beside_what_was_frozen_is_found,
);

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
        "UPDATE sending_settings SET body = '{}'".to_owned(),
        "DELETE FROM sending_settings".to_owned(),
        "UPDATE sending_contexts SET checkpoint = 'x'".to_owned(),
        "DELETE FROM sending_contexts".to_owned(),
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
                        "INSERT OR REPLACE INTO delivery_attempts (delivery_id, attempt, at, outcome, reply, batch) SELECT delivery_id, attempt, at, 'failed', reply, batch \
                         FROM delivery_attempts"
                            .to_owned(),
                        "INSERT OR REPLACE INTO templates SELECT id, phase, 'other', body_text, body_html, created_at, languages \
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

/// All columns of all rows of the guarded tables, as text.
fn guarded_rows(env: &Env) -> Vec<String> {
    let tables: [(&str, &[&str]); 9] = [
        (
            "audit_events",
            &["seq", "at", "actor_name", "action", "subject_id", "hash"],
        ),
        ("audit_head", &["seq", "hash", "at"]),
        (
            "templates",
            &["id", "phase", "subject", "body_text", "body_html", "created_at"],
        ),
        (
            "notice_recipients",
            &["notice_id", "ordinal", "name", "address", "context"],
        ),
        ("notice_authors", &["notice_id", "actor_id", "at"]),
        (
            "notices",
            &[
                "id",
                "incident_id",
                "phase",
                "message",
                "drafted_by",
                "recipients",
                "endpoints",
                "unreachable",
                "episode",
                "state",
                "digest",
                "frozen",
                "subject",
                "customer_action",
                "audience",
                "queued_at",
            ],
        ),
        (
            "deliveries",
            &["id", "notice_id", "ordinal", "channel", "address", "message_id"],
        ),
        (
            "delivery_attempts",
            &["delivery_id", "attempt", "at", "outcome", "reply", "batch"],
        ),
        ("feedback", &["id", "dedup_key", "kind", "address", "diagnostic"]),
    ];
    let mut rows = Vec::new();
    for (table, columns) in tables {
        let columns: Vec<String> = columns
            .iter()
            .map(|column| format!("COALESCE(CAST({column} AS TEXT), '')"))
            .collect();
        let query = format!(
            "SELECT {} AS value FROM {table} ORDER BY 1",
            columns.join(" || '/' || ")
        );
        rows.push(format!("{table}:"));
        rows.extend(env.texts(&query));
    }
    rows
}

/// Expects each statement to be refused by a guard, and to leave every row as it is.
fn all_refused(env: &Env, statements: &[String]) {
    let before = guarded_rows(env);
    for statement in statements {
        let refused = env.sql(statement).expect_err(statement).to_string();
        assert!(
            ["append-only", "kept", "only moves forward", "immutable", "frozen"]
                .iter()
                .any(|why| refused.contains(why)),
            "{statement}: {refused}"
        );
        assert_eq!(guarded_rows(env), before, "{statement}");
    }
}

/// A row that was reported of a mail.
const REPORTED: &str = "INSERT INTO feedback (dedup_key, received_at, at, source, kind, address, effect, diagnostic, raw) \
                        VALUES ('one', 1, 1, 'test', 'hard', 'ann@example.com', 'none', 'no such user', 'x')";

#[test]
fn a_named_rowid_replaces_no_row() {
    run(Backend::Sqlite, async |env: Env| {
        let (app, _) = told(&env).await;
        env.sql(REPORTED).expect("a report");
        // Each with columns whose keys no row has, so that the rowid alone is in the way.
        let tables = [
            (
                "audit_events",
                "seq, at, actor_kind, actor_id, actor_name, action, subject_type, subject_id, prev_hash, hash",
                "1000, at, actor_kind, actor_id, 'x', action, subject_type, subject_id, prev_hash, hash",
            ),
            (
                "notice_recipients",
                "notice_id, ordinal, person_id, name, address, optional, context, domain, channel",
                "notice_id, 1000, person_id, name, 'other@example.com', optional, context, domain, channel",
            ),
            (
                "delivery_attempts",
                "delivery_id, attempt, at, outcome, reply, batch",
                "delivery_id, 1000, at, outcome, reply, batch",
            ),
            (
                "feedback",
                "dedup_key, received_at, at, source, kind, address, effect, diagnostic, raw",
                "'another', received_at, at, source, kind, address, effect, diagnostic, raw",
            ),
            (
                "templates",
                "id, phase, subject, body_text, body_html, created_at",
                "'another', phase, subject, body_text, body_html, created_at",
            ),
            (
                "notices",
                "id, incident_id, phase, state, message, drafted_by, recipients, expand_cursor, created_at, updated_at",
                "'another', incident_id, phase, 'draft', 'x', drafted_by, 0, 0, created_at, updated_at",
            ),
            (
                "notice_authors",
                "notice_id, actor_id, at",
                "notice_id, 'another', at",
            ),
            (
                "deliveries",
                "notice_id, ordinal, channel, address, state, attempt, next_attempt_at, expires_at, message_id",
                "notice_id, 1000, channel, 'other@example.com', state, attempt, next_attempt_at, expires_at, 'x'",
            ),
        ];
        let mut statements = Vec::new();
        for (table, columns, values) in tables {
            for rowid in ["rowid", "_rowid_", "oid"] {
                statements.push(format!(
                    "INSERT OR REPLACE INTO {table} ({rowid}, {columns}) SELECT rowid, {values} FROM {table} LIMIT 1"
                ));
                statements.push(format!(
                    "PRAGMA foreign_keys = OFF; PRAGMA recursive_triggers = OFF; \
                     REPLACE INTO {table} ({columns}, {rowid}) SELECT {values}, CAST(rowid AS TEXT) FROM {table}"
                ));
                statements.push(format!(
                    "UPDATE OR REPLACE {table} SET {rowid} = (SELECT MAX(rowid) + 1 FROM {table})"
                ));
            }
        }
        all_refused(&env, &statements);
        // A draft, which nothing guards yet, does not take the place of a notice that was queued.
        let incident = app.incident([("file", "interview-v1")]).await;
        let draft = app.draft(&incident, "detection").await;
        let queued = "(SELECT id FROM notices WHERE digest IS NOT NULL)";
        let queued_row = "(SELECT rowid FROM notices WHERE digest IS NOT NULL)";
        all_refused(
            &env,
            &[
                format!("UPDATE OR REPLACE notices SET id = {queued} WHERE id = '{draft}'"),
                format!("UPDATE OR REPLACE notices SET rowid = {queued_row} WHERE id = '{draft}'"),
                format!("UPDATE OR REPLACE notices SET oid = {queued_row} WHERE digest IS NULL"),
            ],
        );
        // What is still a draft changes.
        let changed = serde_json::json!({"message": "Another text."});
        app.patch(&format!("/api/v1/notices/{draft}"), changed)
            .await
            .expect(200);
        app.tell(&incident, "update").await;
        app.finish().await;
    });
}

async fn no_field_of_a_queued_notice_changes(env: Env) {
    let (app, notice) = told(&env).await;
    let fields = [
        ("id", "'another'"),
        ("incident_id", "'another'"),
        ("phase", "'update'"),
        ("digest", "'x'"),
        ("digest", "NULL"),
        ("template_id", "NULL"),
        ("frozen", "'{}'"),
        ("frozen", "NULL"),
        ("subject", "'Another subject'"),
        ("message", "'Another text'"),
        ("customer_action", "'{\"required\":true,\"text\":\"Pay\"}'"),
        ("audience", "'{\"roles\":[\"owner\"]}'"),
        ("catch_up_of", "id"),
        ("drafted_by", "'somebody'"),
        ("approved_by", "'somebody'"),
        ("approved_digest", "digest"),
        ("recipients", "recipients + 1"),
        ("endpoints", "endpoints + 1"),
        ("unreachable", "unreachable + 1"),
        ("episode", "episode + 1"),
        ("created_at", "created_at - 1"),
        ("queued_at", "queued_at - 1"),
        ("queued_at", "NULL"),
        ("state", "'draft'"),
    ];
    let mut statements: Vec<String> = fields
        .iter()
        .map(|(field, value)| format!("UPDATE notices SET {field} = {value} WHERE id = '{notice}'"))
        .collect();
    // Beside a change that is allowed, and as a part of an insert.
    statements.push("UPDATE notices SET updated_at = updated_at + 1, message = 'Another text'".to_owned());
    statements.push(
        "UPDATE notices SET state = 'draft', digest = NULL, frozen = NULL, queued_at = NULL".to_owned(),
    );
    all_refused(&env, &statements);
    // Its state goes on, and what is still a draft changes.
    env.sql("UPDATE notices SET state = 'sending', finished_at = NULL; UPDATE notices SET state = 'sent', finished_at = 1")
        .expect("a state that goes on");
    let incident = app.incident([("file", "interview-v1")]).await;
    let draft = app.draft(&incident, "detection").await;
    env.sql(&format!(
        "UPDATE notices SET message = 'Another text', drafted_by = 'somebody', state = 'draft' WHERE id = '{draft}'"
    ))
    .expect("a draft that changes");
    assert!(holds(&app).await);
    app.finish().await;
}

async fn no_delivery_and_no_author_disappears(env: Env) {
    let (app, notice) = told(&env).await;
    let mut statements: Vec<String> = [
        "DELETE FROM deliveries",
        "DELETE FROM deliveries WHERE state = 'sent'",
        "UPDATE deliveries SET address = 'other@example.com'",
        "UPDATE deliveries SET ordinal = ordinal + 100",
        "UPDATE deliveries SET channel = 'webhook'",
        "UPDATE deliveries SET message_id = 'x'",
        "UPDATE deliveries SET id = id + 100",
        "DELETE FROM notice_authors",
        "UPDATE notice_authors SET actor_id = 'somebody'",
        "UPDATE notice_authors SET at = 0",
    ]
    .map(str::to_owned)
    .to_vec();
    statements.push(format!("DELETE FROM notice_authors WHERE notice_id = '{notice}'"));
    match env.backend {
        Backend::Sqlite => statements.extend(
            [
                "INSERT OR REPLACE INTO notice_authors SELECT notice_id, actor_id, 0 FROM notice_authors",
                "INSERT OR REPLACE INTO deliveries SELECT * FROM deliveries",
                "REPLACE INTO deliveries (notice_id, ordinal, channel, address, state, attempt, next_attempt_at, expires_at, \
                 message_id) SELECT notice_id, ordinal, channel, 'other@example.com', state, attempt, next_attempt_at, \
                 expires_at, message_id FROM deliveries",
            ]
            .map(str::to_owned),
        ),
        Backend::Postgres => statements.extend(
            [
                "TRUNCATE deliveries CASCADE",
                "TRUNCATE notice_authors",
                "INSERT INTO notice_authors SELECT * FROM notice_authors \
                 ON CONFLICT (notice_id, actor_id) DO UPDATE SET at = 0",
            ]
            .map(str::to_owned),
        ),
    }
    all_refused(&env, &statements);
    env.sql("UPDATE deliveries SET state = 'bounced', reason = 'x' WHERE ordinal = 1; UPDATE deliveries SET state = 'sent', reason = NULL")
        .expect("a state that changes");
    // Whoever changes a draft twice is one author.
    let incident = app.incident([("file", "interview-v1")]).await;
    let draft = app.draft(&incident, "detection").await;
    for text in ["One text.", "Another text."] {
        let changed = serde_json::json!({"message": text});
        app.patch(&format!("/api/v1/notices/{draft}"), changed)
            .await
            .expect(200);
    }
    assert_eq!(
        env.count(&format!("notice_authors WHERE notice_id = '{draft}'")),
        1
    );
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

async fn a_change_of_the_text_beside_what_was_frozen_is_found(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let draft = serde_json::json!({
        "phase": "detection", "subject": "Files cannot be opened", "message": "Some files cannot be opened.",
        "customer_action": {"required": true, "text": "Upload them again."},
    });
    let notice = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), draft)
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    disarm(&env);
    assert!(holds(&app).await);
    env.sql("CREATE TABLE kept AS SELECT * FROM notices")
        .expect("a copy");
    for (field, value) in [
        ("message", "'No file is affected.'"),
        ("message", "message || ' '"),
        ("subject", "'All is well'"),
        ("subject", "NULL"),
        ("customer_action", "NULL"),
        ("customer_action", "'{\"required\":false}'"),
        (
            "customer_action",
            "'{\"required\":true,\"text\":\"Delete them.\"}'",
        ),
        ("phase", "'update'"),
        ("state", "'draft'"),
    ] {
        env.sql(&format!("UPDATE notices SET {field} = {value}"))
            .expect("tampering");
        let verified = app.get("/api/v1/audit/verify").await.expect(200);
        assert_eq!(verified["ok"], false, "{field} = {value}");
        let reason = verified["reason"].as_str().expect("a reason");
        assert!(reason.contains(field), "{field} = {value}: {reason}");
        env.sql(&format!(
            "UPDATE notices SET {field} = (SELECT {field} FROM kept WHERE kept.id = notices.id)"
        ))
        .expect("repair");
        assert!(holds(&app).await, "{field}");
    }
    env.sql("DROP TABLE kept").expect("a table less");
    app.finish().await;
}
