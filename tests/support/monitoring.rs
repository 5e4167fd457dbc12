//! A monitoring system that opens incidents: an integration whose alerts name a project, or a media item of one.

use serde_json::{Value, json};

use super::http::Http;
use super::wait::{DEADLINE, eventually};

/// An integration, as alerts come in by it.
#[derive(Clone)]
pub struct Monitoring {
    pub id: String,
    hook: String,
}

impl Http {
    /// Makes an integration.
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
            // Its path: after a restart the port is another one.
            hook: hook_path(made["hook_url"].as_str().expect("a URL")),
        }
    }

    /// Sends an alert of a problem that names a project, and gives the incident that it opened.
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

    /// Sends an alert of a problem whose incident is open.
    pub async fn fires_again(&self, by: &Monitoring, problem: &str) {
        self.fires_anew(by, problem, "2024-03-14T06:50:00Z").await;
    }

    /// Sends an alert of a problem that has an incident: it began at this time.
    pub async fn fires_anew(&self, by: &Monitoring, problem: &str, began: &str) {
        let alert = json!({"status": "firing", "fingerprint": problem, "labels": {"alertname": problem},
            "annotations": {}, "startsAt": began, "endsAt": "0001-01-01T00:00:00Z"});
        let body = json!({"version": "4", "status": "firing", "alerts": [alert]});
        let taken = self.anonymous().post(&by.hook, body).await.expect(202);
        assert_eq!(taken["opened"], json!([]), "{taken}");
    }

    /// Sends the end of a problem.
    pub async fn ends(&self, by: &Monitoring, problem: &str) {
        let alert = json!({"status": "resolved", "fingerprint": problem, "labels": {"alertname": problem},
            "annotations": {}, "startsAt": "2024-03-14T06:50:00Z", "endsAt": "2024-03-14T06:55:00Z"});
        let body = json!({"version": "4", "status": "resolved", "alerts": [alert]});
        self.anonymous().post(&by.hook, body).await.expect(202);
    }

    /// Waits until a policy is chosen for an incident, and not carried out.
    pub async fn waits(&self, incident: &str) {
        let run = eventually("a policy to be chosen", DEADLINE, async || {
            let run = self.run_of(incident).await;
            run.is_object().then_some(run)
        })
        .await;
        assert_eq!(run["outcome"], Value::Null, "{run}");
    }

    /// What a policy did about an incident, once it has.
    pub async fn decided(&self, incident: &str) -> Value {
        eventually("a policy to act", DEADLINE, async || {
            let run = self.run_of(incident).await;
            run["outcome"].is_string().then_some(run)
        })
        .await
    }

    /// What a policy did about an incident, or is to do.
    pub async fn run_of(&self, incident: &str) -> Value {
        let answer = self
            .get(&format!("/api/v1/incidents/{incident}/automation"))
            .await
            .expect(200);
        answer["run"].clone()
    }

    /// Makes a policy: `more` over one that sends to at most 100 people.
    pub async fn policy(&self, more: Value) -> String {
        self.post("/api/v1/automation/policies", policy(more))
            .await
            .expect(201)
            .id()
    }

    /// The timeline's texts, in their order.
    pub async fn told_on_timeline(&self, incident: &str) -> Vec<String> {
        self.all(&format!("/api/v1/incidents/{incident}/timeline"))
            .await
            .iter()
            .map(|entry| entry["text"].as_str().expect("a text").to_owned())
            .collect()
    }
}

fn hook_path(url: &str) -> String {
    let (_, path) = url.split_once("/hooks/").expect("a hook's URL");
    format!("/hooks/{path}")
}

/// A policy that sends to at most 100 people, with `more` over it.
pub fn policy(more: Value) -> Value {
    let mut policy = json!({
        "name": "Big ones", "action": "send", "message": "Some of your files cannot be opened. We are on it.",
        "limits": {"audience_at_most": 100},
    });
    for (name, value) in more.as_object().expect("an object") {
        policy[name] = value.clone();
    }
    policy
}
