//! The service of the product is asked about unknown references in alerts. Whatever it answers, nobody is
//! affected by a guess, nothing hangs, and the incident shows what is unknown and why.

use std::sync::Arc;

use candor::egress::Policy;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::receiver::{Received, Receiver, Reply};
use crate::support::{DEADLINE, Env, TestApp, eventually, on_both_databases, on_one_database};

on_both_databases!(
    a_service_says_whose_it_is,
    what_a_service_does_not_know_is_said,
    a_service_that_is_wrong_affects_nobody,
    a_service_that_is_huge_affects_nobody,
    a_service_that_is_down_is_asked_again,
    a_service_inside_must_be_allowed,
);
on_one_database!(a_service_that_is_slow_holds_nothing_up,);

const SOURCES: &str = "/api/v1/directory/sources";
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

const ANSWER: [&str; 5] = [
    r#"{"kind":"resource","type":"media","id":"interview","parent":{"type":"project","id":"savanna"}}"#,
    r#"{"kind":"resource","type":"project","id":"savanna","account":"nyota"}"#,
    r#"{"kind":"account","id":"nyota","name":"Nyota Films"}"#,
    r#"{"kind":"person","id":"amina","name":"Amina","email":"amina@example.com"}"#,
    r#"{"kind":"member","account":"nyota","person":"amina","role":"owner"}"#,
];

async fn started(env: &Env) -> TestApp {
    TestApp::builder(env)
        .config(|config| config.callout_allow = Policy::Private)
        .start()
        .await
}

async fn service(app: &TestApp, url: &str) -> String {
    let source = json!({"name": "the product", "kind": "http", "url": url, "secret": SECRET});
    let made = app.post(SOURCES, source).await.expect(201);
    assert_eq!(made["secret"], SECRET);
    made.id()
}

/// Sends an alert that names the media of a project, and returns its incident.
async fn alerted(app: &TestApp) -> String {
    let integration = json!({"name": "Monitoring", "source": "alertmanager", "resource_rules": [{
        "field": "annotations.description",
        "pattern": "/api/projects/(?<project>[^/]+)/media/(?<media>[\\w-]+)",
    }]});
    let made = app.post("/api/v1/integrations", integration).await.expect(201);
    let hook = made["hook_url"].as_str().expect("a URL").to_owned();
    let alert = json!({
        "status": "firing", "labels": {"alertname": "FileAccessError", "severity": "critical"},
        "annotations": {"summary": "Files cannot be read", "description": "GET /api/projects/savanna/media/interview"},
        "startsAt": "2024-03-14T09:50:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "https://p.example", "fingerprint": "f1",
    });
    let body = json!({
        "version": "4", "groupKey": "g", "truncatedAlerts": 0, "status": "firing", "receiver": "candor", "groupLabels": {},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "https://a.example", "alerts": [alert],
    });
    let taken = app.anonymous().post(&hook, body).await.expect(202);
    assert_eq!(taken["unresolved_references"], 2);
    taken["opened"][0]["id"].as_str().expect("an incident").to_owned()
}

async fn audience(app: &TestApp, incident: &str) -> Value {
    app.get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200)
        .json
        .clone()
}

/// Waits until each unknown reference has a reason.
async fn reasons(app: &TestApp, incident: &str, word: &str) -> Vec<String> {
    eventually("a reason", DEADLINE, async || {
        let audience = audience(app, incident).await;
        assert_eq!(audience["counts"]["people"], 0, "{audience:#}");
        assert_eq!(audience["counts"]["resources"], 0, "{audience:#}");
        assert_eq!(audience["counts"]["unresolved_references"], 2, "{audience:#}");
        let reasons: Vec<String> = audience["unresolved"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|one| one["reason"].as_str().map(str::to_owned))
            .collect();
        (reasons.len() == 2 && reasons.iter().all(|reason| reason.contains(word))).then_some(reasons)
    })
    .await
}

fn verified(request: &Received) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, Mac};
    let key = STANDARD.decode(&SECRET[6..]).expect("base64");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("a key");
    let head = format!(
        "{}.{}.",
        request.header("webhook-id"),
        request.header("webhook-timestamp")
    );
    mac.update(head.as_bytes());
    mac.update(&request.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(request.header("webhook-signature"), expected);
}

async fn a_service_says_whose_it_is(env: Env) {
    let product = Receiver::answering(|_, _| Reply::of(200).body(ANSWER.join("\n")));
    let app = started(&env).await;
    let id = service(&app, &product.url("/who")).await;
    let incident = alerted(&app).await;
    let audience = eventually("somebody affected", DEADLINE, async || {
        let audience = audience(&app, &incident).await;
        (audience["counts"]["people"] == 1).then_some(audience)
    })
    .await;
    assert_eq!(audience["counts"]["unresolved_references"], 0);
    assert_eq!(audience["items"][0]["person"]["id"], "amina");
    // Only the deepest resource of the chain is affected.
    let affected = app.all(&format!("/api/v1/incidents/{incident}/affected")).await;
    assert_eq!(affected.len(), 1, "{affected:#?}");
    assert_eq!(
        affected[0]["resource"],
        json!({"type": "media", "id": "interview"})
    );
    let asked = product.requests(1).await;
    verified(&asked[0]);
    assert_eq!(
        asked[0].json(),
        json!({"references": [{"type": "media", "id": "interview"}, {"type": "project", "id": "savanna"}]})
    );
    let shown = app.get(&format!("{SOURCES}/{id}")).await.expect(200);
    assert_ne!(shown["last_success_at"], Value::Null);
    assert!(!shown.text.contains(SECRET));
    assert_eq!(env.count("directory_lookups"), 0);
    assert_eq!(env.count("alert_chains"), 0);
    // The first source that knows the reference is enough.
    let other = json!({"name": "another", "kind": "http", "url": product.url("/")});
    app.post(SOURCES, other).await.expect_problem(409);
    app.post(&format!("{SOURCES}/{id}/sync"), json!({}))
        .await
        .expect_problem(409);
    app.finish().await;
}

async fn what_a_service_does_not_know_is_said(env: Env) {
    let product = Receiver::start();
    let app = started(&env).await;
    service(&app, &product.url("/")).await;
    let incident = alerted(&app).await;
    reasons(&app, &incident, "the product does not know it").await;
    // Its answer is used again for a while.
    let again = app
        .post(
            &format!("/api/v1/incidents/{incident}/resolve-references"),
            json!({}),
        )
        .await
        .expect(202);
    assert_eq!(
        [&again["resolved"], &again["asked"], &again["left"]],
        [0, 0, 2],
        "{again}"
    );
    product.requests(1).await;
    // A person corrects the directory, and the references that are known by then become affected.
    app.import(ANSWER[2..].join("\n")).await.expect(200);
    app.import([ANSWER[1], ANSWER[0]].join("\n")).await.expect(200);
    let mended = app
        .post(
            &format!("/api/v1/incidents/{incident}/resolve-references"),
            json!({}),
        )
        .await
        .expect(202);
    assert_eq!(mended["resolved"], 2);
    assert_eq!(audience(&app, &incident).await["counts"]["people"], 1);
    app.finish().await;
}

async fn a_service_that_is_wrong_affects_nobody(env: Env) {
    let other = r#"{"kind":"resource","type":"project","id":"another","account":"nyota"}"#;
    let stranger = r#"{"kind":"person","id":"eve","name":"Eve","email":"eve@example.com"}"#;
    let answers = [
        ("<html>surprise</html>".to_owned(), "line 1"),
        ([&ANSWER[..], &[other]].concat().join("\n"), "was not requested"),
        (
            [&ANSWER[..], &[stranger]].concat().join("\n"),
            "was not requested",
        ),
        // The answer does not contain the account.
        (ANSWER[1].to_owned(), "does not fit"),
        (ANSWER.join("\n").replace("amina@example.com", "amina"), "email"),
    ];
    let scripted = answers.clone();
    let product = Receiver::answering(move |n, _| {
        let index = (n - 1).min(scripted.len() - 1);
        Reply::of(200).body(scripted[index].0.clone())
    });
    let app = started(&env).await;
    service(&app, &product.url("/")).await;
    let incident = alerted(&app).await;
    for (index, (_, word)) in answers.iter().enumerate() {
        let said = reasons(&app, &incident, word).await;
        assert!(said[0].starts_with("the call-out to the product at "), "{said:?}");
        assert!(!said.concat().contains("eve"), "{said:?}");
        product.requests(index + 1).await;
        for table in ["accounts", "people", "resources", "members"] {
            assert_eq!(env.count(table), 0, "{table}");
        }
        app.post(
            &format!("/api/v1/incidents/{incident}/resolve-references"),
            json!({}),
        )
        .await
        .expect(202);
    }
    app.finish().await;
}

async fn a_service_that_is_huge_affects_nobody(env: Env) {
    let product = Receiver::answering(|_, _| Reply::of(200).body("\n".repeat(3 * 1024 * 1024)));
    let app = started(&env).await;
    service(&app, &product.url("/")).await;
    let incident = alerted(&app).await;
    reasons(&app, &incident, "longer than").await;
    app.finish().await;
}

async fn a_service_that_is_slow_holds_nothing_up(env: Env) {
    let never = Arc::new(Semaphore::new(0));
    let hold = never.clone();
    let product = Receiver::answering(move |_, _| Reply {
        hold: Some(hold.clone()),
        ..Reply::of(200)
    });
    let app = started(&env).await;
    service(&app, &product.url("/")).await;
    // The hook has answered long before this.
    let incident = alerted(&app).await;
    product.requests(1).await;
    let counts = &audience(&app, &incident).await["counts"];
    assert_eq!(counts["unresolved_references"], 2);
    reasons(&app, &incident, "no answer within 10 s").await;
    never.add_permits(1);
    app.finish().await;
}

async fn a_service_that_is_down_is_asked_again(env: Env) {
    let product = Receiver::answering(|n, _| match n {
        1 => Reply::of(503),
        _ => Reply::of(200).body(ANSWER.join("\n")),
    });
    let app = TestApp::builder(&env)
        .config(|config| config.callout_allow = Policy::Private)
        .at("2024-03-14T12:00:00Z")
        .start()
        .await;
    service(&app, &product.url("/")).await;
    let incident = alerted(&app).await;
    let said = reasons(&app, &incident, "it answered 503").await;
    assert!(said[0].contains("12:00"), "{said:?}");
    app.set_clock("2024-03-14T12:01:00Z");
    eventually("somebody affected", DEADLINE, async || {
        (audience(&app, &incident).await["counts"]["people"] == 1).then_some(())
    })
    .await;
    product.requests(2).await;
    app.finish().await;
}

async fn a_service_inside_must_be_allowed(env: Env) {
    let product = Receiver::start();
    let app = TestApp::start(&env).await;
    let source = json!({"name": "the product", "kind": "http", "url": product.url("/")});
    app.post(SOURCES, &source).await.expect_invalid("/url");
    let mut source = source;
    source["url"] = json!("https://product.example/who");
    source["queries"] = json!({"people": "SELECT 1"});
    app.post(SOURCES, &source).await.expect_invalid("/queries");
    assert!(product.received().is_empty());
    app.finish().await;
}
