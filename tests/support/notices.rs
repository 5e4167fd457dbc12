//! The steps with which most tests of notices begin. All of them use the API.

use serde_json::{Value, json};

use super::http::{Answer, Http};
use super::story::{FILES, story_directory};
use super::wait::{DEADLINE, eventually};

impl Http {
    /// Imports the directory of the story and opens an incident that affects its two files and so three
    /// people.
    pub async fn story_incident(&self) -> String {
        self.import(story_directory()).await.expect(200);
        self.incident(FILES.map(|file| ("file", file))).await
    }

    /// Opens an incident that affects these resources.
    pub async fn incident<'a>(&self, affected: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        let affected: Vec<Value> = affected
            .into_iter()
            .map(|(type_, id)| json!({"type": type_, "id": id}))
            .collect();
        let body = json!({"title": "Files cannot be opened", "severity": "major", "affected": affected});
        self.post("/api/v1/incidents", body).await.expect(201).id()
    }

    /// Adds an affected resource.
    pub async fn affect(&self, incident: &str, type_: &str, id: &str) {
        let body = json!({"resources": [{"type": type_, "id": id}]});
        self.post(&format!("/api/v1/incidents/{incident}/affected"), body)
            .await
            .expect(200);
    }

    /// Changes the status of an incident to `resolved`.
    pub async fn resolve(&self, incident: &str) {
        self.post(
            &format!("/api/v1/incidents/{incident}/status"),
            json!({"status": "resolved"}),
        )
        .await
        .expect(200);
    }

    /// Drafts a notice of this phase and returns its ID. The customer has nothing to do.
    pub async fn draft(&self, incident: &str, phase: &str) -> String {
        let body = json!({
            "phase": phase,
            "message": format!("What we have to say in the {phase}."),
            "customer_action": {"required": false},
        });
        self.post(&format!("/api/v1/incidents/{incident}/notices"), body)
            .await
            .expect(201)
            .id()
    }

    pub async fn preview(&self, notice: &str) -> Answer {
        self.get(&format!("/api/v1/notices/{notice}/preview")).await
    }

    /// Returns the current digest of a draft.
    pub async fn digest(&self, notice: &str) -> String {
        let preview = self.preview(notice).await.expect(200);
        preview["digest"].as_str().expect("a digest").to_owned()
    }

    /// Sends a notice with this digest.
    pub async fn send(&self, notice: &str, digest: &str) -> Answer {
        self.post(
            &format!("/api/v1/notices/{notice}/send"),
            json!({"digest": digest}),
        )
        .await
    }

    /// Approves a notice with this digest.
    pub async fn approve(&self, notice: &str, digest: &str) -> Answer {
        self.post(
            &format!("/api/v1/notices/{notice}/approve"),
            json!({"digest": digest}),
        )
        .await
    }

    /// Previews a draft and sends it unchanged.
    pub async fn send_as_previewed(&self, notice: &str) -> Answer {
        let digest = self.digest(notice).await;
        self.send(notice, &digest).await.expect(202)
    }

    /// Drafts, previews and sends a notice. Returns its ID when it has no pending delivery.
    pub async fn tell(&self, incident: &str, phase: &str) -> String {
        let notice = self.draft(incident, phase).await;
        self.send_as_previewed(&notice).await;
        self.done(&notice).await;
        notice
    }

    /// Imports a directory from `crowd`, opens an incident that affects all of it, and sends a detection.
    /// Returns the IDs of the incident and the notice.
    pub async fn tell_crowd(&self, directory: String) -> (String, String) {
        self.import(directory).await.expect(200);
        let incident = self.incident([("project", "stage")]).await;
        let notice = self.draft(&incident, "detection").await;
        self.send_as_previewed(&notice).await;
        (incident, notice)
    }

    /// Waits until the notice is sent and returns it.
    pub async fn done(&self, notice: &str) -> Answer {
        eventually("the notice to be sent", DEADLINE, async || {
            let answer = self.notice(notice).await;
            (answer["state"] == "sent").then_some(answer)
        })
        .await
    }

    pub async fn notice(&self, notice: &str) -> Answer {
        self.get(&format!("/api/v1/notices/{notice}")).await.expect(200)
    }

    /// Returns all deliveries of a notice.
    pub async fn deliveries(&self, notice: &str) -> Vec<Value> {
        self.all(&format!("/api/v1/notices/{notice}/deliveries?limit=500"))
            .await
    }

    /// Returns the addresses of a notice's deliveries in this state, sorted.
    pub async fn addresses(&self, notice: &str, state: &str) -> Vec<String> {
        let path = format!("/api/v1/notices/{notice}/deliveries?limit=500&state={state}");
        let mut addresses: Vec<String> = self
            .all(&path)
            .await
            .iter()
            .map(|delivery| delivery["address"].as_str().expect("an address").to_owned())
            .collect();
        addresses.sort();
        addresses
    }
}

/// Adds what every email must show to the parts of a template: the message, what the customer must do, and the reason.
pub fn complete(mut source: Value) -> Value {
    for (part, ending) in [("text", "txt"), ("html", "html")] {
        let written = source[part].as_str().expect("a part");
        source[part] = json!(format!(
            "{written}\n{{{{> paragraphs.{ending}}}}}\n{{{{> action.{ending}}}}}\n{{{{reason}}}}"
        ));
    }
    source
}

/// Returns the outcomes of a delivery's attempts in their order.
pub fn outcomes(delivery: &Value) -> Vec<&str> {
    let attempts = delivery["attempts"].as_array().expect("attempts");
    attempts
        .iter()
        .map(|attempt| attempt["outcome"].as_str().expect("an outcome"))
        .collect()
}

/// Returns the recorded reply to the last attempt of a delivery.
pub fn last_reply(delivery: &Value) -> &str {
    let attempts = delivery["attempts"].as_array().expect("attempts");
    attempts
        .last()
        .and_then(|attempt| attempt["reply"].as_str())
        .unwrap_or_default()
}

/// Returns a directory of one account. Its project `stage` has this number of collaborators and no owner:
/// `person-1@crowd.example` and so on.
pub fn crowd(people: usize) -> String {
    crowd_at((1..=people).map(|n| format!("person-{n}@crowd.example")))
}

/// Returns the same directory with collaborators at these addresses: `person-1` and so on.
pub fn crowd_at(addresses: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut lines = vec![
        json!({"kind": "account", "id": "crowd", "name": "Crowd"}),
        json!({"kind": "resource", "type": "project", "id": "stage", "account": "crowd", "name": "Stage"}),
    ];
    for (n, address) in (1..).zip(addresses) {
        let id = format!("person-{n}");
        let address = address.as_ref();
        lines.push(json!({"kind": "person", "id": id, "name": format!("Person {n}"), "email": address}));
        lines.push(json!({"kind": "collaborator", "resource": {"type": "project", "id": "stage"}, "person": id, "role": "editor"}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
