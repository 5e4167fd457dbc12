//! A monitoring system that opens incidents: an integration whose alerts name a project or a media item.

use serde_json::{Value, json};

use super::http::Http;
use super::wait::{DEADLINE, eventually};

/// An integration and the path of its hook.
#[derive(Clone)]
pub struct Monitoring {
    pub id: String,
    hook: String,
}

impl Http {
    /// Creates an integration.
    pub async fn monitoring(&self) -> Monitoring {
        let made = self
            .post(
                "/api/v1/integrations",
                json!({
                    "name": "Monitoring", "source": "alertmanager",
                    "resource_rules": [{"field": "labels.project", "type": "project"}],
                }),
            )
            .await
            .expect(201);
        Monitoring {
            id: made.id(),
            // Only the path is kept, because the port changes after a restart.
            hook: hook_path(made["hook_url"].as_str().expect("a URL")),
        }
    }

    /// Sends an alert that names a project, and returns the incident that it opened.
    pub async fn fires(&self, by: &Monitoring, problem: &str, project: &str, severity: &str) -> String {
        let alert = json!({
            "status": "firing", "fingerprint": problem,
            "labels": {"alertname": problem, "severity": severity, "project": project},
            "annotations": {"summary": format!("{problem} is broken")},
            "startsAt": "2024-03-14T06:50:00Z", "endsAt": "0001-01-01T00:00:00Z",
        });
        let body = json!({"version": "4", "status": "firing", "alerts": [alert]});
        let taken = self.anonymous().post(&by.hook, body).await.expect(202);
        taken["opened"][0]["id"].as_str().expect("an incident").to_owned()
    }

    /// Repeats an alert whose incident is open.
    pub async fn fires_again(&self, by: &Monitoring, problem: &str) {
        self.fires_anew(by, problem, "2024-03-14T06:50:00Z").await;
    }

    /// Sends an alert of a known problem, with this start time.
    pub async fn fires_anew(&self, by: &Monitoring, problem: &str, began: &str) {
        let alert = json!({"status": "firing", "fingerprint": problem, "labels": {"alertname": problem},
            "annotations": {}, "startsAt": began, "endsAt": "0001-01-01T00:00:00Z"});
        let body = json!({"version": "4", "status": "firing", "alerts": [alert]});
        let taken = self.anonymous().post(&by.hook, body).await.expect(202);
        assert_eq!(taken["opened"], json!([]), "{taken}");
    }

    /// Sends the resolved alert of a problem.
    pub async fn ends(&self, by: &Monitoring, problem: &str) {
        let alert = json!({"status": "resolved", "fingerprint": problem, "labels": {"alertname": problem},
            "annotations": {}, "startsAt": "2024-03-14T06:50:00Z", "endsAt": "2024-03-14T06:55:00Z"});
        let body = json!({"version": "4", "status": "resolved", "alerts": [alert]});
        self.anonymous().post(&by.hook, body).await.expect(202);
    }

    /// Waits until a policy was chosen for an incident and is not carried out yet.
    pub async fn waits(&self, incident: &str) {
        let run = eventually("a policy to be chosen", DEADLINE, async || {
            let run = self.run_of(incident).await;
            run.is_object().then_some(run)
        })
        .await;
        assert_eq!(run["outcome"], Value::Null, "{run}");
    }

    /// Waits until a policy has acted on an incident and returns its run.
    pub async fn decided(&self, incident: &str) -> Value {
        eventually("a policy to act", DEADLINE, async || {
            let run = self.run_of(incident).await;
            run["outcome"].is_string().then_some(run)
        })
        .await
    }

    /// Returns the run of a policy for an incident.
    pub async fn run_of(&self, incident: &str) -> Value {
        let answer = self
            .get(&format!("/api/v1/incidents/{incident}/automation"))
            .await
            .expect(200);
        answer["run"].clone()
    }

    /// Creates a policy that sends to at most 100 people. `more` changes its fields.
    pub async fn policy(&self, more: Value) -> String {
        self.post("/api/v1/automation/policies", policy(more))
            .await
            .expect(201)
            .id()
    }

    /// Returns the texts of the timeline in their order.
    pub async fn told_on_timeline(&self, incident: &str) -> Vec<String> {
        self.all(&format!("/api/v1/incidents/{incident}/timeline"))
            .await
            .iter()
            .map(|entry| entry["text"].as_str().expect("a text").to_owned())
            .collect()
    }
}

pub fn hook_path(url: &str) -> String {
    let (_, path) = url.split_once("/hooks/").expect("a hook's URL");
    format!("/hooks/{path}")
}

/// Returns a policy that sends to at most 100 people. `more` changes its fields.
pub fn policy(more: Value) -> Value {
    let mut policy = json!({
        "name": "Big ones", "action": "send", "message": "Some of your files cannot be opened. We are working on it.",
        "limits": {"audience_at_most": 100},
    });
    for (name, value) in more.as_object().expect("an object") {
        policy[name] = value.clone();
    }
    policy
}
