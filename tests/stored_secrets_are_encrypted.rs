//! With a key, secrets are stored encrypted, and everything works as before. The key can be changed, and a process without the key does
//! not start.

use serde_json::json;

use crate::support::monitoring::hook_path;
use crate::support::{Binary, Env, on_both_databases};

on_both_databases!(a_key_encrypts_and_can_be_changed);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const FIRST: &str = "the first key of this installation";
const SECOND: &str = "the second key of this installation";

const CHANNEL: &str = "https://hooks.slack.com/services/T0/B0/a-secret-path";

fn is_sealed(text: &str) -> bool {
    text.starts_with("sealed:v1:")
}

/// All stored secrets.
fn stored(env: &Env) -> Vec<String> {
    let mut all = env.texts("SELECT secret AS value FROM endpoints WHERE secret IS NOT NULL");
    all.extend(env.texts("SELECT secret AS value FROM integrations WHERE secret IS NOT NULL"));
    all.extend(env.texts("SELECT secrets AS value FROM integrations WHERE secrets <> '[]'"));
    all.extend(env.texts("SELECT url AS value FROM directory_sources WHERE url IS NOT NULL"));
    all.extend(env.texts("SELECT webhook_url AS value FROM operators WHERE webhook_url IS NOT NULL"));
    all.extend(env.texts("SELECT secret AS value FROM feed_keys"));
    all.extend(env.texts("SELECT value FROM settings WHERE name LIKE '%\\_key' ESCAPE '\\' ORDER BY name"));
    all
}

async fn a_key_encrypts_and_can_be_changed(env: Env) {
    // The key belongs to the process, so each step is a process of its own.
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
    let mut candor = with(None, None);
    candor.serve().await;
    candor
        .put("/api/v1/accounts/acme", json!({"name": "Acme"}))
        .await
        .expect(201);
    candor
        .post(
            "/api/v1/accounts/acme/endpoints",
            json!({"channel": "webhook", "url": "https://hooks.example.com/in", "secret": SECRET}),
        )
        .await
        .expect(201);
    let hook = candor
        .post(
            "/api/v1/integrations",
            json!({"name": "probe", "source": "generic", "secret": "a secret of the hook",
                "secrets": ["another secret"]}),
        )
        .await
        .expect(201);
    candor
        .post(
            "/api/v1/operators",
            json!({"name": "On call", "webhook": {"kind": "slack", "url": CHANNEL}, "events": ["opened"]}),
        )
        .await
        .expect(201);
    candor
        .post("/api/v1/feed-keys", json!({"name": "Studio", "origins": []}))
        .await
        .expect(201);
    candor.terminate().await.expect(0);
    let plain = stored(&env);
    for secret in [SECRET, CHANNEL] {
        assert!(plain.iter().any(|text| text == secret));
    }
    // The two secrets of the hook, those of the endpoint, of the operator and of the feed key, and the keys that Candor made at its start: that of the
    // links and that of the checkpoints.
    assert_eq!(plain.len(), 7, "{plain:?}");

    // The key is set, and what was stored before can still be read.
    with(Some(FIRST), None).run(["rotate-key"]).await.expect(0);
    let first = stored(&env);
    assert!(first.iter().all(|text| is_sealed(text)), "{first:?}");

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
    let mut candor = with(Some(SECOND), None);
    candor.serve().await;
    let rotated = candor.all("/api/v1/audit?action=secrets.rotated").await;
    assert_eq!(rotated.len(), 2);
    assert!(
        rotated
            .iter()
            .all(|event| event["after"]["changed"] == plain.len())
    );
    // The integration still asks for the secret, so the hook refuses whoever does not know it.
    candor
        .anonymous()
        .post(
            // Only the path is used, because the port changes after a restart.
            &hook_path(hook["hook_url"].as_str().expect("a URL")),
            json!({"title": "Down"}),
        )
        .await
        .expect(401);
    let integration = candor.get("/api/v1/integrations").await.expect(200);
    assert_eq!(integration["items"][0]["secret_count"], 2, "{integration}");
    let operator = candor.get("/api/v1/operators").await.expect(200);
    assert_eq!(
        operator["items"][0]["webhook"]["url"],
        "https://hooks.slack.com/…"
    );
    // What is stored now is encrypted at once.
    candor
        .post(
            "/api/v1/integrations",
            json!({"name": "other", "source": "generic", "secret": "one more secret"}),
        )
        .await
        .expect(201);
    let now = stored(&env);
    assert_eq!(now.len(), plain.len() + 1);
    assert!(now.iter().all(|text| is_sealed(text)), "{now:?}");
    candor.finish().await;
}
