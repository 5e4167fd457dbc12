//! Comparisons of listings through the API.

use reqwest::Method;
use serde_json::{Value, json};

use super::http::{Answer, Http};

/// A comparison of files by their size, as in the story of the zero-byte uploads.
pub fn of_files() -> Value {
    json!({
        "name": "Stored files",
        "resource": {"type": "file", "id": "identifier"},
        "key": "identifier",
        "compare": ["size"],
        "expected": {
            "format": "tsv",
            "columns": ["identifier", "uuid", "size", "gone", "created_at", "updated_at"],
            "gone": {"column": "gone", "values": ["true"]},
            "written_at": "created_at",
        },
        "observed": {"format": "tsv", "columns": ["identifier", "size"]},
    })
}

/// Creates a comparison, and returns its path.
pub async fn created(app: &Http, incident: &str, body: Value) -> String {
    let path = format!("/api/v1/incidents/{incident}/comparisons");
    let made = app.post(&path, body).await.expect(201);
    assert_eq!(made["state"], "waiting", "{made}");
    format!("/api/v1/comparisons/{}", made.id())
}

/// Uploads a listing, and returns the answer.
pub async fn uploaded(app: &Http, comparison: &str, side: &str, listing: impl Into<Vec<u8>>) -> Answer {
    app.request(Method::PUT, &format!("{comparison}/{side}"))
        .body("text/tab-separated-values", listing)
        .send()
        .await
}

/// Uploads both listings and compares them. Returns the counts.
pub async fn compared(app: &Http, comparison: &str, expected: &str, observed: &str) -> Value {
    for (side, listing) in [("expected", expected), ("observed", observed)] {
        uploaded(app, comparison, side, listing).await.expect(200);
    }
    ran(app, comparison).await
}

/// Compares the listings that are there, and returns the counts.
pub async fn ran(app: &Http, comparison: &str) -> Value {
    let done = app
        .post(&format!("{comparison}/run"), json!({}))
        .await
        .expect(200);
    assert_eq!(done["state"], "done", "{done}");
    done["counts"].clone()
}

/// Returns the findings of a kind, each as its key, what was expected and what was observed.
pub async fn found(
    app: &Http,
    comparison: &str,
    kind: &str,
) -> Vec<(String, Option<String>, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    app.all(&format!("{comparison}/findings?kind={kind}"))
        .await
        .iter()
        .map(|one| {
            (
                text(&one["key"]).expect("a key"),
                text(&one["expected"]),
                text(&one["observed"]),
            )
        })
        .collect()
}

/// Directory lines: accounts with an owner each, and files that belong to them.
pub fn directory(files: &[(&str, &str)]) -> String {
    let mut accounts: Vec<&str> = files.iter().map(|(_, account)| *account).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let mut lines = Vec::new();
    for account in accounts {
        let person = format!("owner-of-{account}");
        lines.push(json!({"kind": "account", "id": account, "name": account}));
        lines.push(
            json!({"kind": "person", "id": person, "name": person, "email": format!("{person}@example.com")}),
        );
        lines.push(json!({"kind": "member", "account": account, "person": person, "role": "owner"}));
    }
    for (file, account) in files {
        lines.push(json!({"kind": "resource", "type": "file", "id": file, "account": account}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
