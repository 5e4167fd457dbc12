//! With a key, secrets are stored encrypted, and everything works as before. The key can be changed, and a process without the key does
//! not start.

use serde_json::json;

use crate::support::monitoring::hook_path;
use crate::support::{Binary, Env, TestApp, on_both_databases};

on_both_databases!(a_key_encrypts_and_can_be_changed);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const FIRST: &str = "the first key of this installation";
const SECOND: &str = "the second key of this installation";

/// All stored secrets.
fn stored(env: &Env) -> Vec<String> {
    let mut all = env.texts("SELECT secret AS value FROM endpoints WHERE secret IS NOT NULL");
    all.extend(env.texts("SELECT secret AS value FROM integrations WHERE secret IS NOT NULL"));
    all.extend(env.texts("SELECT secrets AS value FROM integrations WHERE secrets <> '[]'"));
    all.extend(env.texts("SELECT url AS value FROM directory_sources WHERE url IS NOT NULL"));
    all
}

async fn a_key_encrypts_and_can_be_changed(env: Env) {
    let app = TestApp::start(&env).await;
    app.put("/api/v1/accounts/acme", json!({"name": "Acme"}))
        .await
        .expect(201);
    app.post(
        "/api/v1/accounts/acme/endpoints",
        json!({"channel": "webhook", "url": "https://hooks.example.com/in", "secret": SECRET}),
    )
    .await
    .expect(201);
    let hook = app
        .post(
            "/api/v1/integrations",
            json!({"name": "probe", "source": "generic", "secret": "a secret of the hook",
                "secrets": ["another secret"]}),
        )
        .await
        .expect(201);
    app.finish().await;
    let plain = stored(&env);
    assert_eq!(plain.len(), 3);
    assert!(plain.iter().any(|text| text == SECRET));

    // The key is set, and what was stored before can still be read.
    let with = |key: Option<&str>, old: Option<&str>| {
        let mut binary = Binary::new(&env);
        if let Some(key) = key {
            binary = binary.setting("encryption_key", key);
        }
        if let Some(old) = old {
            binary = binary.setting("encryption_key_old", old);
        }
        binary
    };
    with(Some(FIRST), None).run(["rotate-key"]).await.expect(0);
    let first = stored(&env);
    assert!(
        first.iter().all(|text| text.starts_with("sealed:v1:")),
        "{first:?}"
    );

    // A process without the key, or with another one, does not start.
    for wrong in [with(None, None), with(Some(SECOND), None)] {
        let output = wrong.run(["migrate"]).await.expect(1);
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains("CANDOR_ENCRYPTION_KEY"), "{said}");
    }
    assert_eq!(stored(&env), first);

    // The key is changed.
    with(Some(SECOND), Some(FIRST))
        .run(["rotate-key"])
        .await
        .expect(0);
    let second = stored(&env);
    assert!(second.iter().zip(&first).all(|(new, old)| new != old));
    let key = SECOND.to_owned();
    let app = TestApp::builder(&env)
        .config(move |config| config.encryption_key = Some(key))
        .start()
        .await;
    let rotated = app.all("/api/v1/audit?action=secrets.rotated").await;
    assert_eq!(rotated.len(), 2);
    assert!(rotated.iter().all(|event| event["after"]["changed"] == 3));
    // The integration still asks for the secret, so the hook refuses whoever does not know it.
    app.anonymous()
        .post(
            // Only the path is used, because the port changes after a restart.
            &hook_path(hook["hook_url"].as_str().expect("a URL")),
            json!({"title": "Down"}),
        )
        .await
        .expect(401);
    let integration = app.get("/api/v1/integrations").await.expect(200);
    assert_eq!(integration["items"][0]["secret_count"], 2, "{integration}");
    // What is stored now is encrypted at once.
    app.post(
        "/api/v1/integrations",
        json!({"name": "other", "source": "generic", "secret": "one more secret"}),
    )
    .await
    .expect(201);
    assert!(stored(&env).iter().all(|text| text.starts_with("sealed:v1:")));
    app.finish().await;
}
