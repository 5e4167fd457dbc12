//! An integration whose hook takes only requests that prove that their sender knows its secret.

use reqwest::Method;
use serde_json::{Value, json};

use super::http::Answer;
use super::{Env, TestApp};

/// What a refused request must not add a row to.
pub const UNTOUCHED: [&str; 4] = ["alerts", "incidents", "hook_requests", "timeline_entries"];

impl Env {
    /// How many rows each of these tables has.
    pub fn counts<const N: usize>(&self, tables: [&str; N]) -> [i64; N] {
        tables.map(|table| self.count(table))
    }
}

/// The hook of an integration.
pub struct SignedHook<'a> {
    pub app: &'a TestApp,
    /// The integration.
    pub id: String,
    pub url: String,
    /// What its senders prove to know.
    secrets: Vec<String>,
}

impl<'a> SignedHook<'a> {
    /// Of a new integration of that source, with these other fields, such as `{"secret": "…"}`.
    pub async fn new(app: &'a TestApp, source: &str, fields: Value) -> Self {
        let secrets = [&fields["secret"], &fields["secrets"]];
        let secrets = secrets
            .into_iter()
            .flat_map(|value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]))
            .filter_map(|secret| secret.as_str().map(str::to_owned))
            .collect();
        let mut new = json!({"name": source, "source": source});
        for (name, value) in fields.as_object().expect("an object") {
            new[name] = value.clone();
        }
        let made = app.post("/api/v1/integrations", new).await.expect(201);
        SignedHook {
            app,
            id: made.id(),
            url: made["hook_url"].as_str().expect("a URL").to_owned(),
            secrets,
        }
    }

    /// Sends a body to it.
    pub async fn send(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self
            .app
            .anonymous()
            .request(Method::POST, &self.url)
            .body("application/json", body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await
    }

    /// Sends a body that it refuses with 401. Nothing is stored but one event with the reason, and neither the answer nor the
    /// event holds a secret.
    pub async fn refuses(&self, headers: &[(&str, &str)], body: &str) {
        let env = &self.app.env;
        let before = (env.counts(UNTOUCHED), env.count("audit_events"));
        let refused = self.send(headers, body).await.expect_problem(401);
        // Google and SNS show a password only after they are asked for one.
        let challenge = refused.header("www-authenticate");
        assert!(challenge.starts_with("Basic"), "{refused}");
        assert_eq!(
            (env.counts(UNTOUCHED), env.count("audit_events")),
            (before.0, before.1 + 1),
            "{headers:?}"
        );
        let event = self.app.get("/api/v1/audit?limit=1").await.expect(200).items()[0].clone();
        assert_eq!(
            (&event["action"], &event["actor"]["kind"]),
            (&json!("hook.refused"), &json!("anonymous"))
        );
        let reason = event["after"]["reason"].as_str();
        assert!(reason.is_some_and(|reason| !reason.is_empty()), "{event}");
        for secret in &self.secrets {
            assert!(!refused.text.contains(secret), "{refused}");
            assert!(!event.to_string().contains(secret), "{event}");
        }
    }
}
