//! Every operation of the API is done by an admin page, or a sentence says why none does it. `docs/pages.md` is the table of all of
//! them.
//!
//! After a change: `INSTA_UPDATE=always cargo test every_operation_has_a_page`, then review the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::support::{Backend, Env, TestApp, run};

/// The operations that no page does, each with the reason.
const WITHOUT: &[(&str, &str)] = &[
    (
        "GET /answers/{token}",
        "It is a page for customers, behind the links in emails.",
    ),
    ("GET /embed.js", "The pages of a product load it."),
    (
        "GET /feed/v1/notices",
        "The pages of a product read it. The history of a person shows the same to operators.",
    ),
    ("GET /feed/v1/status", "The pages of a product read it."),
    ("GET /feed/v1/stream", "The pages of a product listen to it."),
    ("GET /brand/color/{file}", "It is a file of the public pages."),
    (
        "GET /brand/logo/{sha256}",
        "It is a file of the public pages and of emails.",
    ),
    ("GET /healthz", "Monitoring calls it."),
    (
        "GET /heartbeats/{token}",
        "The monitored job calls it. The page of checks and heartbeats shows its address.",
    ),
    (
        "GET /heartbeats/{token}/fail",
        "The monitored job calls it. The page of checks and heartbeats shows its address.",
    ),
    (
        "GET /hooks/{token}",
        "Monitoring systems call it. The page of an integration shows its address.",
    ),
    ("GET /metrics", "Monitoring reads it."),
    (
        "GET /mine",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "GET /mine/download",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "GET /mine/incidents/{number}",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "GET /mine/link/{token}",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "GET /mine/open/{ticket}",
        "It is a page for customers, which a product opens.",
    ),
    ("GET /readyz", "Monitoring calls it."),
    (
        "GET /api/v1/audit/tile/{level}/{tile}",
        "Monitors and mirrors of transparency logs read it. The audit page proves single events.",
    ),
    ("GET /status", "It is a page itself, for everybody."),
    ("GET /api/v2/components.json", "Programs read it."),
    ("GET /api/v2/incidents.json", "Programs read it."),
    ("GET /api/v2/incidents/unresolved.json", "Programs read it."),
    ("GET /api/v2/scheduled-maintenances.json", "Programs read it."),
    ("GET /api/v2/status.json", "Programs read it."),
    ("GET /api/v2/summary.json", "Programs read it."),
    ("GET /history.atom", "Programs read it."),
    ("GET /history.rss", "Programs read it."),
    ("GET /maintenance.ics", "Programs read it."),
    (
        "GET /status/components/{id}",
        "It is a page itself, for everybody.",
    ),
    (
        "GET /status/incidents/{number}",
        "It is a page itself, for everybody.",
    ),
    ("GET /status/subscribe", "It is a page itself, for everybody."),
    (
        "POST /status/subscribe",
        "It is the form of a page, for everybody.",
    ),
    (
        "GET /status/subscription/{token}",
        "The link in an email to a subscriber leads to it.",
    ),
    (
        "POST /status/subscription/{token}",
        "It is the form of the page behind the link in an email.",
    ),
    (
        "POST /status/subscription/{token}/confirm",
        "It is the form of the page behind the link in an email.",
    ),
    ("GET /status/{language}", "It is a page itself, for everybody."),
    (
        "GET /status/{language}/components/{id}",
        "It is a page itself, for everybody.",
    ),
    (
        "GET /status/{language}/incidents/{number}",
        "It is a page itself, for everybody.",
    ),
    (
        "GET /unsubscribe/{token}",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "POST /answers/{token}",
        "It is a page for customers, behind the links in emails.",
    ),
    ("POST /feed/v1/mine", "The pages of a product call it."),
    ("POST /feed/v1/read", "The pages of a product call it."),
    (
        "POST /heartbeats/{token}",
        "The monitored job calls it. The page of checks and heartbeats shows its address.",
    ),
    (
        "POST /heartbeats/{token}/fail",
        "The monitored job calls it. The page of checks and heartbeats shows its address.",
    ),
    (
        "POST /hooks/{token}",
        "Monitoring systems call it. The page of an integration shows its address.",
    ),
    ("POST /mine", "It is a page for customers, which a product opens."),
    (
        "POST /mine/end",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "POST /mine/link/{token}",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "POST /mine/open/{ticket}",
        "It is a page for customers, which a product opens.",
    ),
    (
        "POST /mine/preferences",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "POST /unsubscribe/{token}",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "POST /unsubscribe/{token}/undo",
        "It is a page for customers, behind the links in emails.",
    ),
    (
        "POST /v2/enqueue",
        "Monitoring systems call it. The page of an integration shows its address.",
    ),
    (
        "PUT /hooks/{token}",
        "Monitoring systems call it. The page of an integration shows its address.",
    ),
];

const FILE: &str = "docs/pages.md";
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// Returns all operations of the document, such as `GET /api/v1/tokens`, each with what it does.
async fn operations(app: &TestApp) -> BTreeMap<String, String> {
    let document = app.anonymous().get("/api/openapi.json").await.expect(200).json;
    let mut found = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let does = operation["summary"]
                    .as_str()
                    .or(operation["description"].as_str());
                let does = does.unwrap_or_default().lines().next().unwrap_or_default();
                found.insert(format!("{} {path}", method.to_uppercase()), does.to_owned());
            }
        }
    }
    found
}

/// Returns the pages and forms that do each operation.
fn pages() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for page in candor::http::admin::pages() {
        for operation in &page.does {
            let what = match page.method.as_str() {
                "GET" => format!("`{}`", page.path),
                _ => format!("form `{}`", page.path),
            };
            found.entry(operation).or_default().insert(what);
        }
    }
    found
}

fn table(operations: &BTreeMap<String, String>, pages: &BTreeMap<&str, BTreeSet<String>>) -> String {
    let without: BTreeMap<&str, &str> = WITHOUT.iter().copied().collect();
    let mut text = String::from(
        "# Which page does what\n\nEvery operation of the API, and the admin page or the form that does it. A test writes this file from the OpenAPI document and\n\
         the routes of the pages, and fails if an operation has neither a page nor a reason.\n\n| operation | what it does | page |\n|---|---|---|\n",
    );
    for (operation, does) in operations {
        let page = match (pages.get(operation.as_str()), without.get(operation.as_str())) {
            (Some(pages), _) => pages.iter().cloned().collect::<Vec<_>>().join(", "),
            (None, Some(reason)) => (*reason).to_owned(),
            (None, None) => "none".to_owned(),
        };
        let does = does.replace('|', "\\|");
        writeln!(text, "| `{operation}` | {does} | {page} |").expect("a text");
    }
    text
}

#[test]
fn each_operation_has_a_page_or_a_reason() {
    run(Backend::Sqlite, checked);
}

async fn checked(env: Env) {
    let app = TestApp::start(&env).await;
    let (operations, pages) = (operations(&app).await, pages());
    let without: BTreeSet<&str> = WITHOUT.iter().map(|(operation, _)| *operation).collect();
    let mut wrong = Vec::new();
    for operation in operations.keys().map(String::as_str) {
        match (pages.contains_key(operation), without.contains(operation)) {
            (false, false) => wrong.push(format!("{operation} has neither a page nor a reason")),
            (true, true) => wrong.push(format!("{operation} has a page; remove it from the list")),
            _ => {}
        }
    }
    let listed = without.iter().chain(pages.keys());
    for operation in listed.filter(|operation| !operations.contains_key(**operation)) {
        wrong.push(format!("{operation} is no operation of the API"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let expected = table(&operations, &pages);
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, &expected).expect("the file is written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == expected,
        "{FILE} is not up to date; run this test with INSTA_UPDATE=always"
    );
    app.finish().await;
}
