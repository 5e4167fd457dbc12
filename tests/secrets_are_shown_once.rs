//! A secret that is shown only once is in no table afterwards. The answer that is stored for repeated
//! requests does not contain it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Backend, Env, TestApp, on_both_databases, story_directory};

on_both_databases!(
    a_repeat_says_that_it_was_done_without_the_secret,
    answers_that_were_kept_before_are_cleared,
);

async fn keyed(app: &TestApp, key: &str, path: &str, body: &Value) -> Answer {
    app.request(Method::POST, path)
        .header("idempotency-key", key)
        .json(body)
        .send()
        .await
}

/// Opens an incident under the key `kept`.
async fn kept(app: &TestApp) -> Answer {
    let body = json!({"title": "T", "severity": "minor"});
    keyed(app, "kept", "/api/v1/incidents", &body).await
}

/// Makes a token under the key `made`.
async fn made(app: &TestApp) -> Answer {
    let body = json!({"name": "x", "role": "viewer"});
    keyed(app, "made", "/api/v1/tokens", &body).await
}

/// Returns every text in the database, one for each row.
fn everything(env: &Env) -> Vec<String> {
    let tables = env.texts(match env.backend {
        Backend::Sqlite => {
            "SELECT name AS value FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        }
        Backend::Postgres => {
            "SELECT CAST(table_name AS TEXT) AS value FROM information_schema.tables WHERE table_schema = 'public'"
        }
    });
    assert!(tables.len() > 40, "{tables:?}");
    let mut rows = Vec::new();
    for table in tables {
        match env.backend {
            Backend::Sqlite => {
                let columns = env.texts(&format!("SELECT name AS value FROM pragma_table_info('{table}')"));
                for column in columns {
                    rows.extend(env.texts(&format!(
                        "SELECT COALESCE(CAST(\"{column}\" AS TEXT), '') AS value FROM {table}"
                    )));
                }
            }
            Backend::Postgres => {
                rows.extend(env.texts(&format!("SELECT CAST(t AS TEXT) AS value FROM {table} t")));
                if table == "idempotency_keys" {
                    rows.extend(env.texts(
                        "SELECT COALESCE(convert_from(body, 'UTF8'), '') AS value FROM idempotency_keys",
                    ));
                }
            }
        }
    }
    rows
}

async fn a_repeat_says_that_it_was_done_without_the_secret(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let account = app.get("/api/v1/accounts").await.expect(200).items()[0]["id"].clone();
    let account = account.as_str().expect("an id");
    let cases = [
        (
            "/api/v1/tokens".to_owned(),
            json!({"name": "x", "role": "viewer"}),
            "token",
            true,
        ),
        (
            "/api/v1/integrations".to_owned(),
            json!({"name": "x", "source": "generic"}),
            "hook_url",
            true,
        ),
        (
            "/api/v1/heartbeats".to_owned(),
            json!({"name": "x", "every_seconds": 60, "severity": "minor"}),
            "url",
            true,
        ),
        // Secrets that sign requests must be stored. They are only in their own table.
        (
            format!("/api/v1/accounts/{account}/endpoints"),
            json!({"url": "https://example.com/hook"}),
            "secret",
            false,
        ),
        (
            "/api/v1/feed-keys".to_owned(),
            json!({"name": "x", "origins": ["https://app.example.com"]}),
            "secret",
            false,
        ),
        (
            "/api/v1/directory/sources".to_owned(),
            json!({"name": "x", "kind": "http", "url": "https://example.com/ask"}),
            "secret",
            false,
        ),
    ];
    for (path, body, field, hashed) in &cases {
        let first = keyed(&app, path, path, body).await.expect(201);
        assert_eq!(first.json.get("withheld"), None, "{first}");
        let shown = first[*field]
            .as_str()
            .unwrap_or_else(|| panic!("no {field}: {first}"));
        // The secret part of a URL.
        let secret = match shown.starts_with("http") {
            true => shown.rsplit('/').next().expect("a secret"),
            false => shown,
        };
        assert!(secret.len() >= 30, "{first}");
        let holding: Vec<String> = everything(&env)
            .into_iter()
            .filter(|text| text.contains(secret))
            .collect();
        assert_eq!(holding.len(), usize::from(!hashed), "{path}: {holding:?}");
        assert!(
            env.texts("SELECT COALESCE(CAST(status AS TEXT), '') AS value FROM idempotency_keys")
                .iter()
                .all(|status| status == "201"),
            "{path}"
        );
        for _ in 0..2 {
            let again = keyed(&app, path, path, body).await.expect(201);
            assert_eq!(again.header("idempotency-replayed"), "true");
            assert!(!again.text.contains(secret), "{again}");
            assert_eq!(again.json["withheld"], json!([format!("/{field}")]), "{again}");
            // The rest of the answer is unchanged.
            let mut rest = first.json.clone();
            let fields = rest.as_object_mut().expect("an object");
            fields.remove(*field);
            let mut kept = again.json.clone();
            kept.as_object_mut().expect("an object").remove("withheld");
            assert_eq!(kept, rest);
        }
    }
    // The secrets are as valid as those of requests without a key.
    assert_eq!(env.count("api_tokens"), 2);
    app.finish().await;
}

/// The migration removes secrets that an earlier version stored.
async fn answers_that_were_kept_before_are_cleared(env: Env) {
    let mut app = TestApp::start(&env).await;
    kept(&app).await.expect(201);
    made(&app).await.expect(201);
    app.stop().await;
    let body = r#"{"id":"x","token":"cnd_0123456789abcdefghij0123456789abcdefghij"}"#;
    let body = match env.backend {
        Backend::Sqlite => format!("CAST('{body}' AS BLOB)"),
        Backend::Postgres => format!("convert_to('{body}', 'UTF8')"),
    };
    env.sql(&format!(
        "UPDATE idempotency_keys SET body = {body} WHERE key = 'made'"
    ))
    .expect("an answer as it was kept");
    env.sql("DELETE FROM __diesel_schema_migrations WHERE version = '20261128000022'")
        .expect("a database of the version before");
    app.start_again().await;
    assert!(
        everything(&env)
            .iter()
            .all(|text| !text.contains("cnd_0123456789"))
    );
    // The request is not carried out again, because its answer is not known any more.
    made(&app).await.expect_problem(409);
    kept(&app).await.expect(201);
    assert_eq!((env.count("incidents"), env.count("api_tokens")), (1, 2));
    app.finish().await;
}
