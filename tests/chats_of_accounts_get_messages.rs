//! Chats and push services of an account get what its people get by email, in the format of each service and in the language of
//! the account. Their URLs are secrets: nobody ever sees one again, not even in the reply of the service.

use candor::egress::Policy;
use serde_json::{Value, json};

use crate::support::receiver::{Receiver, Reply};
use crate::support::{DEADLINE, Env, TestApp, eventually, on_both_databases};

on_both_databases!(
    each_service_gets_its_format_in_the_language_of_the_account,
    the_texts_of_the_operator_are_translated,
    a_maintenance_is_told_with_its_times,
    the_url_is_shown_nowhere,
    a_removed_webhook_is_disabled_and_a_busy_one_is_tried_again,
    what_is_no_url_of_a_service_is_refused,
);

/// A part of the path of each URL that nobody may see.
const SECRET: &str = "T0S3cr3tT0k3n";
const KINDS: [&str; 4] = ["slack", "teams", "ntfy", "apprise"];

fn path(kind: &str) -> String {
    match kind {
        "slack" => format!("/services/{SECRET}"),
        "teams" => format!("/workflows/{SECRET}/paths/invoke?sig={SECRET}"),
        "ntfy" => format!("/{SECRET}"),
        _ => format!("/notify/{SECRET}?tag=ops"),
    }
}

async fn start(env: &Env, locale: &str) -> TestApp {
    let app = TestApp::builder(env)
        .config(|config| config.webhook_allow = Policy::Private)
        .at("2024-03-14T10:00:00Z")
        .start()
        .await;
    let lines = [
        json!({"kind": "account", "id": "acme", "name": "Acme <Films> & Co", "locale": locale}),
        json!({"kind": "person", "id": "ann", "name": "Ann", "email": "ann@example.com"}),
        json!({"kind": "member", "account": "acme", "person": "ann", "role": "owner"}),
        json!({"kind": "resource", "type": "project", "id": "p1", "account": "acme", "name": "Launch *film*"}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    app.import(lines).await.expect(200);
    app
}

async fn endpoint(app: &TestApp, receiver: &Receiver, kind: &str) -> Value {
    let new = json!({"channel": kind, "url": receiver.url(&path(kind))});
    let made = app.post("/api/v1/accounts/acme/endpoints", new).await.expect(201);
    assert!(made["secret"].is_null(), "nothing is signed: {made}");
    json!({"id": made["id"], "url": made["url"]})
}

async fn each_service_gets_its_format_in_the_language_of_the_account(env: Env) {
    let receiver = Receiver::start();
    let app = start(&env, "de-AT").await;
    for kind in KINDS {
        endpoint(&app, &receiver, kind).await;
    }
    let incident = app.incident([("project", "p1")]).await;
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(
        preview["channels"],
        json!({"apprise": 1, "ntfy": 1, "slack": 1, "teams": 1})
    );
    app.send_as_previewed(&notice).await;
    let done = app.done(&notice).await;
    for kind in KINDS {
        assert_eq!(done["channels"][kind]["sent"], 1, "{done}");
    }
    let received = receiver.requests(4).await;
    let body = |path: &str| {
        let found = received.iter().find(|request| request.path.starts_with(path));
        found
            .unwrap_or_else(|| panic!("nothing at {path}: {received:#?}"))
            .json()
    };
    let (title, text) = ("Vorfall #1", "What we have to say in the detection.");
    let fact = "Betroffen bei Acme <Films> & Co: Launch *film*";

    let slack = body("/services/");
    assert_eq!(
        slack["blocks"][0]["text"],
        json!({"type": "plain_text", "text": title, "emoji": false})
    );
    assert_eq!(slack["blocks"][1]["text"]["text"], text);
    let context = slack["blocks"][2]["elements"][0]["text"].as_str().expect("facts");
    assert!(
        context.contains(fact) && context.contains("Sie müssen nichts tun."),
        "{context}"
    );
    assert!(context.contains("Beginn: 2024-03-14 10:00 UTC"), "{context}");
    let fallback = slack["text"].as_str().expect("a fallback");
    assert!(
        fallback.starts_with(title) && fallback.contains("Acme &lt;Films&gt; &amp; Co"),
        "{fallback}"
    );

    let teams = body("/workflows/");
    assert_eq!(teams["type"], "message");
    let attachment = &teams["attachments"][0];
    assert_eq!(
        attachment["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    assert_eq!(attachment["content"]["type"], "AdaptiveCard");
    let blocks = attachment["content"]["body"].as_array().expect("a body");
    let runs: Vec<&str> = blocks
        .iter()
        .filter_map(|block| block["inlines"][0]["text"].as_str())
        .collect();
    assert_eq!(runs[..2], [title, text]);
    assert!(runs.contains(&fact), "{runs:?}");

    // The topic is in the body, and the request goes to the server of the topic.
    let ntfy = received
        .iter()
        .find(|request| request.path == "/")
        .expect("a request to ntfy")
        .json();
    assert_eq!(
        (ntfy["topic"].as_str(), ntfy["title"].as_str()),
        (Some(SECRET), Some(title))
    );
    assert_eq!(ntfy["priority"], 4);
    assert!(
        ntfy["message"].as_str().expect("a message").starts_with(text),
        "{ntfy}"
    );

    let apprise = body("/notify/");
    assert_eq!(
        json!([
            apprise["title"],
            apprise["type"],
            apprise["tag"],
            apprise["format"]
        ]),
        json!([title, "warning", "ops", "text"])
    );
    let request = received
        .iter()
        .find(|request| request.path.starts_with("/notify/"))
        .expect("a request");
    assert_eq!(
        request.path,
        format!("/notify/{SECRET}"),
        "the tag is not part of the URL"
    );

    // The end of the incident reads as one.
    app.resolve(&incident).await;
    let end = app.tell(&incident, "resolution").await;
    app.done(&end).await;
    let received = receiver.requests(8).await;
    let last = received[4..]
        .iter()
        .find(|request| request.path.starts_with("/services/"))
        .expect("Slack")
        .json();
    assert_eq!(last["blocks"][0]["text"]["text"], "Behoben: Vorfall #1");
    app.finish().await;
}

/// Returns what Slack shows: the title, the text and the facts.
fn shown(slack: &Value) -> [String; 3] {
    [
        &slack["blocks"][0]["text"],
        &slack["blocks"][1]["text"]["text"],
        &slack["blocks"][2]["elements"][0]["text"],
    ]
    .map(|part| {
        let text = part["text"].as_str().or(part.as_str());
        text.expect("a text").to_owned()
    })
}

async fn the_texts_of_the_operator_are_translated(env: Env) {
    let receiver = Receiver::start();
    let app = start(&env, "de-AT").await;
    endpoint(&app, &receiver, "slack").await;
    let incident = app.incident([("project", "p1")]).await;
    let new = json!({
        "phase": "detection", "message": "Files cannot be opened.", "subject": "Files",
        "customer_action": {"required": true, "text": "Please wait."},
        "translations": {"de": {
            "message": "Dateien lassen sich nicht öffnen.", "subject": "Dateien",
            "customer_action": {"required": true, "text": "Bitte warten Sie."},
        }},
    });
    let made = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), new)
        .await
        .expect(201);
    app.send_as_previewed(&made.id()).await;
    app.done(&made.id()).await;
    let [title, text, facts] = shown(&receiver.requests(1).await[0].json());
    assert_eq!(
        (title.as_str(), text.as_str()),
        ("Vorfall #1: Dateien", "Dateien lassen sich nicht öffnen.")
    );
    assert!(facts.contains("Bitte warten Sie."), "{facts}");
    app.finish().await;
}

async fn a_maintenance_is_told_with_its_times(env: Env) {
    let receiver = Receiver::start();
    let app = start(&env, "fr").await;
    endpoint(&app, &receiver, "slack").await;
    let planned = json!({
        "title": "Base de données", "starts_at": "2024-03-20T22:00:00+01:00", "ends_at": "2024-03-20T23:30:00Z",
        "affected": [{"type": "project", "id": "p1"}], "message": "Nous déplaçons la base.",
    });
    let planned = app.post("/api/v1/maintenances", planned).await.expect(201);
    let notice = planned["draft"].as_str().expect("a draft").to_owned();
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let [title, text, facts] = shown(&receiver.requests(1).await[0].json());
    assert_eq!(
        (title.as_str(), text.as_str()),
        (
            "Maintenance planifiée : Base de données",
            "Nous déplaçons la base."
        )
    );
    assert!(
        facts.contains("Quand : du 2024-03-20 21:00 UTC au 2024-03-20 23:30 UTC"),
        "{facts}"
    );
    app.finish().await;
}

async fn the_url_is_shown_nowhere(env: Env) {
    // Each service repeats the URL in its answer.
    let receiver =
        Receiver::answering(|_, request| Reply::of(200).body(format!("POST {} {SECRET} ok", request.path)));
    let app = start(&env, "ja").await;
    let mut ids = Vec::new();
    for kind in KINDS {
        let made = endpoint(&app, &receiver, kind).await;
        let origin = format!("http://127.0.0.1:{}/***#", receiver.port());
        assert!(
            made["url"].as_str().expect("a URL").starts_with(&origin),
            "{made}"
        );
        ids.push(made["id"].as_str().expect("an ID").to_owned());
    }
    let tested = app
        .post(&format!("/api/v1/endpoints/{}/test", ids[0]), json!({}))
        .await
        .expect(200);
    assert_eq!(tested["outcome"], "sent");
    assert!(!tested["reply"].to_string().contains(SECRET), "{tested}");
    assert_eq!(
        receiver.received()[0].json()["blocks"][0]["text"]["text"],
        "テストメッセージ"
    );
    let incident = app.incident([("project", "p1")]).await;
    let notice = app.tell(&incident, "detection").await;
    app.done(&notice).await;
    let number = app.get(&format!("/api/v1/incidents/{incident}")).await["number"].to_string();
    let mut shown = Vec::new();
    for path in [
        "/api/v1/accounts/acme/endpoints".to_owned(),
        format!("/api/v1/endpoints/{}", ids[1]),
        format!("/api/v1/notices/{notice}"),
        format!("/api/v1/notices/{notice}/deliveries"),
        "/api/v1/accounts/acme/history".to_owned(),
        "/api/v1/audit?limit=500".to_owned(),
    ] {
        shown.push((path.clone(), app.get(&path).await.expect(200).text));
    }
    for path in [
        "/admin/directory/accounts/acme".to_owned(),
        format!("/admin/directory/endpoints/{}", ids[2]),
        format!("/admin/notices/{notice}"),
        format!("/admin/incidents/{number}"),
    ] {
        shown.push((path.clone(), app.admin_page(&path).await));
    }
    for (path, text) in shown {
        assert!(!text.contains(SECRET), "{path} shows the URL: {text}");
    }
    // Only the secret of an endpoint contains it, which `CANDOR_ENCRYPTION_KEY` encrypts.
    for statement in [
        "SELECT url AS value FROM endpoints",
        "SELECT address AS value FROM notice_recipients",
        "SELECT context AS value FROM notice_recipients",
        "SELECT address AS value FROM deliveries",
        "SELECT reply AS value FROM delivery_attempts",
        "SELECT after_json AS value FROM audit_events WHERE after_json IS NOT NULL",
    ] {
        let texts = env.texts(statement);
        assert!(!texts.iter().any(|text| text.contains(SECRET)), "{statement}");
    }
    assert_eq!(
        env.texts("SELECT secret AS value FROM endpoints WHERE secret IS NOT NULL")
            .len(),
        4
    );
    // A repeat of the URL is found although it is not shown.
    let again = json!({"channel": "slack", "url": receiver.url(&path("slack"))});
    app.post("/api/v1/accounts/acme/endpoints", again)
        .await
        .expect_problem(409);
    app.delete(&format!("/api/v1/endpoints/{}", ids[0]))
        .await
        .expect(204);
    assert_eq!(
        env.texts("SELECT secret AS value FROM endpoints WHERE secret IS NOT NULL")
            .len(),
        3
    );
    app.finish().await;
}

async fn a_removed_webhook_is_disabled_and_a_busy_one_is_tried_again(env: Env) {
    let receiver = Receiver::answering(|_, request| match request.path.starts_with("/services/") {
        true => Reply::of(404).body(format!("no_service {}", request.path)),
        false => Reply::of(429).header("retry-after", "120"),
    });
    let app = start(&env, "en").await;
    let slack = endpoint(&app, &receiver, "slack").await;
    endpoint(&app, &receiver, "teams").await;
    let incident = app.incident([("project", "p1")]).await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    let calls = async |kind: &str| {
        app.all(&format!("/api/v1/notices/{notice}/deliveries?channel={kind}"))
            .await
            .pop()
    };
    let waiting = eventually("an attempt", DEADLINE, async || {
        let call = calls("teams").await?;
        (!call["attempts"].as_array()?.is_empty()).then_some(call)
    })
    .await;
    assert_eq!(waiting["attempts"][0]["outcome"], "retry");
    let next = waiting["next_attempt_at"].as_str().expect("a time");
    assert!(next.starts_with("2024-03-14T10:02:00"), "{waiting}");
    let failed = eventually("the end of the call", DEADLINE, async || {
        let call = calls("slack").await?;
        (call["state"] == "failed").then_some(call)
    })
    .await;
    assert_eq!(failed["reason"], "gone", "{failed}");
    let id = slack["id"].as_str().expect("an ID");
    let now = app.get(&format!("/api/v1/endpoints/{id}")).await.expect(200);
    assert_eq!(now["enabled"], false);
    assert!(
        now["disabled_reason"]
            .as_str()
            .expect("a reason")
            .starts_with("404"),
        "{now}"
    );
    assert!(!now.text.contains(SECRET), "{now}");
    app.finish().await;
}

async fn what_is_no_url_of_a_service_is_refused(env: Env) {
    let app = start(&env, "en").await;
    let url = "/api/v1/accounts/acme/endpoints";
    for (kind, wrong) in [
        ("slack", "https://hooks.slack.com/"),
        ("teams", "https://prod-1.westeurope.logic.azure.com"),
        ("ntfy", "https://ntfy.sh/a.topic"),
        ("apprise", "https://apprise.example.com/notify"),
        ("slack", "ftp://hooks.slack.com/services/T0/B0/x"),
    ] {
        app.post(url, json!({"channel": kind, "url": wrong}))
            .await
            .expect_invalid("/url");
    }
    let signed = json!({"channel": "slack", "url": "https://hooks.slack.com/services/T0/B0/x", "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="});
    app.post(url, signed).await.expect_invalid("/secret");
    app.post(url, json!({"channel": "discord", "url": "https://example.com/x"}))
        .await
        .expect_invalid("/channel");
    app.finish().await;
    // Without the exception, the internal network is refused for each service.
    let app = TestApp::builder(&env).start().await;
    for kind in KINDS {
        let new = json!({"channel": kind, "url": format!("https://127.0.0.1{}", path(kind))});
        app.post(url, new).await.expect_invalid("/url");
    }
    app.finish().await;
}
