//! A person who agreed gets a short message on the phone beside the email of a notice, through the HTTP gateway of the settings. Nobody gets
//! one without the email, nobody gets one twice, and nobody ever sees the number again.

use std::io::{Read, Write};
use std::net::TcpListener;

use candor::notice::SmsPrice;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::receiver::{Receiver, Reply};
use crate::support::{ADMIN_TOKEN, DEADLINE, Env, TestApp, eventually, on_both_databases};

on_both_databases!(
    a_person_who_agreed_gets_a_message_beside_the_email,
    nobody_gets_a_message_without_the_email,
    nobody_gets_a_message_twice,
    a_high_price_needs_an_approval,
    a_lost_answer_is_not_repeated_and_a_busy_gateway_is,
    a_gateway_gets_a_form_with_its_key,
    without_a_gateway_the_preview_says_so,
    a_number_is_checked_and_a_person_has_one,
    an_erasure_deletes_the_number,
    a_number_is_stored_and_tested_on_the_pages,
);

const NUMBER: &str = "+254700123456";
const DIGITS: &str = "254700123456";

fn directory(people: &[(&str, &str)]) -> String {
    let mut lines = vec![
        json!({"kind": "account", "id": "acme", "name": "Acme"}),
        json!({"kind": "resource", "type": "file", "id": "a", "account": "acme", "name": "a.mp4"}),
    ];
    for (id, locale) in people {
        let email = format!("{id}@example.com");
        lines.push(
            json!({"kind": "person", "id": id, "name": id.to_uppercase(), "email": email, "locale": locale}),
        );
        lines.push(json!({"kind": "member", "account": "acme", "person": id, "role": "owner"}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn start(env: &Env, gateway: &Receiver) -> TestApp {
    let url = gateway.url("/v1/messages");
    let app = TestApp::builder(env)
        .config(|config| {
            config.sms_url = Some(url);
            config.drill_to = vec!["drill@quickbyte.example".to_owned()];
            config.sms_price = Some(SmsPrice {
                each: 0.05,
                currency: "EUR".to_owned(),
            });
        })
        .at("2024-03-14T10:00:00Z")
        .start()
        .await;
    app.import(directory(&[("ann", "en"), ("bernd", "de")]))
        .await
        .expect(200);
    app
}

fn endpoints_of(person: &str) -> String {
    format!("/api/v1/people/{person}/endpoints")
}

async fn store(app: &TestApp, person: &str, number: &str) -> Value {
    let new = json!({"url": number, "consent": "asked on the phone"});
    app.post(&endpoints_of(person), new).await.expect(201).json
}

/// Returns the short messages of a notice with their attempts.
async fn messages(app: &TestApp, notice: &str) -> Vec<Value> {
    app.all(&format!("/api/v1/notices/{notice}/deliveries?channel=sms"))
        .await
}

async fn a_person_who_agreed_gets_a_message_beside_the_email(env: Env) {
    // The gateway repeats the number in its answer.
    let gateway =
        Receiver::answering(|_, request| Reply::of(202).body(format!("to {}", request.json()["to"])));
    let app = start(&env, &gateway).await;
    let stored = store(&app, "bernd", "+254 (700) 123-456").await;
    assert_eq!(
        (&stored["person"], &stored["account"]),
        (&json!("bernd"), &Value::Null)
    );
    assert!(
        stored["url"].as_str().expect("a URL").starts_with("sms:***#"),
        "{stored}"
    );
    let incident = app.incident([("file", "a")]).await;
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["channels"]),
        (&json!(2), &json!({"sms": 1}))
    );
    let sms = &preview["sms"];
    assert_eq!((&sms["messages"], &sms["currency"]), (&json!(1), &json!("EUR")));
    let segments = sms["segments"].as_u64().expect("a number");
    assert_eq!(sms["price"].as_f64(), Some(segments as f64 * 0.05));
    let planned = preview["sms_samples"][0]["text"]
        .as_str()
        .expect("a text")
        .to_owned();
    app.send_as_previewed(&notice).await;
    let done = app.done(&notice).await;
    assert_eq!(
        (&done["counts"]["sent"], &done["channels"]["sms"]["sent"]),
        (&json!(2), &json!(1))
    );
    let received = gateway.requests(1).await;
    assert_eq!(received.len(), 1, "{received:?}");
    let body = received[0].json();
    assert_eq!(body["to"], NUMBER);
    assert!(body["id"].as_str().expect("an ID").starts_with("msg_"), "{body}");
    let text = body["text"].as_str().expect("a text");
    for part in [
        ": Vorfall #1\n",
        "Sie müssen nichts tun.",
        "What we have to say in the detection.",
    ] {
        assert!(text.contains(part) && planned.contains(part), "{text}");
    }

    // The link is the one of the email to the same person.
    let mails = app.mails(2).await;
    let mail = mails
        .iter()
        .find(|mail| mail.to.starts_with("bernd@"))
        .expect("the email");
    let link = text.lines().last().expect("a link");
    assert!(
        link.contains("/answers/") && mail.text.contains(link),
        "{link}: {}",
        mail.text
    );
    let path = link.strip_prefix(&app.base()).expect("a link below our URL");
    app.anonymous()
        .post_raw(path, "application/x-www-form-urlencoded", "answer=works")
        .await
        .expect(200);
    let answers = app.all(&format!("/api/v1/incidents/{incident}/answers")).await;
    assert_eq!(
        (&answers[0]["person"], &answers[0]["answer"]),
        (&json!("bernd"), &json!("works"))
    );

    // The number is shown nowhere, and the history has the message.
    let delivery = &messages(&app, &notice).await[0];
    assert_eq!(delivery["endpoint"]["person"], "bernd");
    assert_eq!(delivery["attempts"][0]["reply"], "202 Accepted to \"***\"");
    let history = app.get("/api/v1/people/bernd/history").await.expect(200);
    let channels: Vec<&Value> = history["items"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| &row["channel"])
        .collect();
    assert_eq!(channels, ["sms", "email"], "{history}");
    let number = app.get(&format!("/api/v1/incidents/{incident}")).await["number"].to_string();
    for path in [
        endpoints_of("bernd"),
        format!("/api/v1/notices/{notice}/deliveries"),
        format!("/api/v1/notices/{notice}"),
        "/api/v1/people/bernd/history".to_owned(),
        "/api/v1/audit?limit=500".to_owned(),
    ] {
        let shown = app.get(&path).await.expect(200).text;
        assert!(!shown.contains(DIGITS), "{path}: {shown}");
    }
    for path in [
        "/admin/directory/people/bernd".to_owned(),
        format!("/admin/notices/{notice}"),
        format!("/admin/incidents/{number}"),
    ] {
        let shown = app.admin_page(&path).await;
        assert!(!shown.contains(DIGITS), "{path}");
        assert!(
            path.contains("incidents") || shown.contains("sms"),
            "{path}: {shown}"
        );
    }
    assert_eq!(app.get("/api/v1/audit/verify").await.expect(200)["ok"], true);
    app.finish().await;
}

async fn nobody_gets_a_message_without_the_email(env: Env) {
    let gateway = Receiver::start();
    let app = start(&env, &gateway).await;
    store(&app, "ann", "+254700000001").await;
    store(&app, "bernd", NUMBER).await;
    let incident = app.incident([("file", "a")]).await;
    let first = app.tell(&incident, "detection").await;
    app.done(&first).await;
    gateway.requests(2).await;
    // Ann opts out of updates.
    let mails = app.mails(2).await;
    let mail = mails
        .iter()
        .find(|mail| mail.to.starts_with("ann@"))
        .expect("the email");
    let link = mail
        .header("List-Unsubscribe")
        .trim_matches(['<', '>'])
        .to_owned();
    let link = link
        .strip_prefix(&app.base())
        .expect("a link below our URL")
        .to_owned();
    let form = "application/x-www-form-urlencoded";
    app.anonymous()
        .post_raw(&link, form, "List-Unsubscribe=One-Click")
        .await
        .expect(200);
    let update = app.draft(&incident, "update").await;
    let preview = app.preview(&update).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["sms"]["messages"]),
        (&json!(1), &json!(1)),
        "{preview}"
    );
    // A drill reaches no phone.
    let drill = app
        .post(
            "/api/v1/incidents",
            json!({"title": "Drill", "severity": "major", "drill": true, "affected": [{"type": "file", "id": "a"}]}),
        )
        .await
        .expect(201)
        .id();
    let practised = app.draft(&drill, "detection").await;
    let preview = app.preview(&practised).await.expect(200);
    assert!(
        preview["sms"].is_null() && preview["recipients"] == 1,
        "{preview}"
    );
    // An archived person gets nothing, and a number that was deleted after the send was frozen is not used.
    let last = app.draft(&incident, "update").await;
    app.delete("/api/v1/people/ann").await.expect(204);
    let id = app.get(&endpoints_of("bernd")).await.expect(200)["items"][0]["id"].clone();
    let id = id.as_str().expect("an ID");
    assert_eq!(app.preview(&last).await.expect(200)["sms"]["messages"], 1);
    app.delete(&format!("/api/v1/endpoints/{id}")).await.expect(204);
    let preview = app.preview(&last).await.expect(200);
    assert!(
        preview["sms"].is_null() && preview["recipients"] == 1,
        "{preview}"
    );
    app.send_as_previewed(&last).await;
    app.done(&last).await;
    assert_eq!(gateway.received().len(), 2);
    app.finish().await;
}

async fn nobody_gets_a_message_twice(env: Env) {
    let gateway = Receiver::start();
    let app = start(&env, &gateway).await;
    store(&app, "ann", NUMBER).await;
    let incident = app.incident([("file", "a")]).await;
    app.tell(&incident, "detection").await;
    gateway.requests(1).await;
    // A second detection is for those who came later.
    app.import(directory(&[("ann", "en"), ("bernd", "de"), ("carla", "en")]))
        .await
        .expect(200);
    store(&app, "carla", "+254700000003").await;
    let second = app.draft(&incident, "detection").await;
    let preview = app.preview(&second).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["sms"]["messages"]),
        (&json!(1), &json!(1)),
        "{preview}"
    );
    app.send_as_previewed(&second).await;
    app.done(&second).await;
    // Each update reaches both.
    let update = app.tell(&incident, "update").await;
    app.done(&update).await;
    let received = gateway.requests(4).await;
    let to: Vec<String> = received
        .iter()
        .map(|request| request.json()["to"].to_string())
        .collect();
    assert_eq!(to.iter().filter(|to| to.contains(DIGITS)).count(), 2, "{to:?}");
    assert_eq!(to.len(), 4);
    let mut ids: Vec<String> = received
        .iter()
        .map(|request| request.json()["id"].to_string())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    app.finish().await;
}

async fn a_high_price_needs_an_approval(env: Env) {
    let gateway = Receiver::start();
    let app = start(&env, &gateway).await;
    store(&app, "ann", NUMBER).await;
    store(&app, "bernd", "+254700000002").await;
    for (wrong, field) in [
        (json!({"sms_price": -1}), "/sms_price"),
        (json!({"sms_price": "x"}), "/sms_price"),
    ] {
        app.patch("/api/v1/limits", wrong).await.expect_invalid(field);
    }
    app.patch("/api/v1/limits", json!({"sms_price": 0.05}))
        .await
        .expect(200);
    let incident = app.incident([("file", "a")]).await;
    let author = app.as_new("operator").await;
    let notice = author.draft(&incident, "detection").await;
    let preview = author.preview(&notice).await.expect(200);
    let price = preview["sms"]["price"].as_f64().expect("a price");
    assert!(price > 0.05, "{preview}");
    assert_eq!(preview["approval_required"], true);
    assert_eq!(
        preview["limits"],
        json!([{"name": "sms_price", "limit": 0.05, "value": price}])
    );
    let send = format!("/api/v1/notices/{notice}/send");
    let refused = author
        .post(&send, json!({"digest": preview["digest"]}))
        .await
        .expect_problem(403);
    assert_eq!(refused["code"], "approval_required");
    let detail = refused["detail"].as_str().expect("a text");
    assert!(
        detail.contains("EUR for short messages are above the limit of 0.05"),
        "{detail}"
    );
    assert!(gateway.received().is_empty());
    app.patch("/api/v1/limits", json!({"sms_price": 1.5}))
        .await
        .expect(200);
    author.send_as_previewed(&notice).await;
    app.done(&notice).await;
    gateway.requests(2).await;
    app.finish().await;
}

/// A server that takes a request and closes the connection without an answer.
fn silent() -> (u16, std::thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serve = std::thread::spawn(move || {
        let mut requests = 0;
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut read = [0; 4_096];
            let n = stream.read(&mut read).expect("a request");
            if read[..n].starts_with(b"GET /end") {
                stream
                    .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .expect("an answer");
                break;
            }
            requests += 1;
        }
        requests
    });
    (port, serve)
}

async fn a_lost_answer_is_not_repeated_and_a_busy_gateway_is(env: Env) {
    let (port, serve) = silent();
    let url = format!("http://127.0.0.1:{port}/v1/messages");
    let mut app = TestApp::builder(&env)
        .config(|config| config.sms_url = Some(url))
        .at("2024-03-14T10:00:00Z")
        .start()
        .await;
    app.import(directory(&[("ann", "en")])).await.expect(200);
    store(&app, "ann", NUMBER).await;
    let incident = app.incident([("file", "a")]).await;
    let notice = app.tell(&incident, "detection").await;
    let lost = app.done(&notice).await;
    assert_eq!(lost["channels"]["sms"]["failed"], 1, "{lost}");
    let message = &messages(&app, &notice).await[0];
    let reply = message["attempts"][0]["reply"].as_str().expect("a reply");
    assert!(
        reply.starts_with("the gateway may have sent the message"),
        "{reply}"
    );
    reqwest::get(format!("http://127.0.0.1:{port}/end"))
        .await
        .expect("an answer");
    assert_eq!(serve.join().expect("the server"), 1);

    // A gateway that is busy is asked again, with the same ID.
    let gateway = Receiver::answering(|n, _| match n {
        1 => Reply::of(429).header("retry-after", "120"),
        _ => Reply::of(200),
    });
    let url = gateway.url("/v1/messages");
    app.restart_with(|config| config.sms_url = Some(url)).await;
    let update = app.draft(&incident, "update").await;
    app.send_as_previewed(&update).await;
    let waiting = eventually("an attempt", DEADLINE, async || {
        let message = messages(&app, &update).await.pop()?;
        (!message["attempts"].as_array()?.is_empty()).then_some(message)
    })
    .await;
    assert_eq!(waiting["attempts"][0]["outcome"], "retry");
    assert!(
        waiting["next_attempt_at"]
            .as_str()
            .expect("a time")
            .starts_with("2024-03-14T10:02:00"),
        "{waiting}"
    );
    app.set_clock("2024-03-14T10:03:00Z");
    app.done(&update).await;
    let received = gateway.requests(2).await;
    assert_eq!(received[0].json(), received[1].json());
    app.finish().await;
}

async fn a_gateway_gets_a_form_with_its_key(env: Env) {
    let gateway = Receiver::answering(|_, request| {
        Reply::of(400).body(format!("{:?}", request.header("authorization")))
    });
    let url = gateway.url("/2010-04-01/Messages.json");
    let app = TestApp::builder(&env)
        .config(|config| {
            config.sms_url = Some(url);
            config.sms_headers =
                Some("Authorization: Basic c2VjcmV0OnNlY3JldA==\nX-Team: incidents".to_owned());
            config.sms_body = Some("To={{to}}&From={{from}}&Body={{text}}".to_owned());
        })
        .start()
        .await;
    app.import(directory(&[("ann", "en")])).await.expect(200);
    store(&app, "ann", NUMBER).await;
    let incident = app.incident([("file", "a")]).await;
    let notice = app.tell(&incident, "detection").await;
    let done = app.done(&notice).await;
    // A request that is wrong is not repeated.
    assert_eq!(done["channels"]["sms"]["failed"], 1, "{done}");
    let request = &gateway.requests(1).await[0];
    assert_eq!(
        request.header("content-type"),
        "application/x-www-form-urlencoded"
    );
    assert_eq!(request.header("x-team"), "incidents");
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    assert_eq!(fields[0], ("To".to_owned(), NUMBER.to_owned()));
    assert_eq!(fields[1].0, "From");
    assert!(fields[2].1.contains("Incident #1"), "{fields:?}");
    let message = &messages(&app, &notice).await[0];
    assert!(!message["attempts"].to_string().contains("c2VjcmV0"), "{message}");
    app.finish().await;
}

async fn without_a_gateway_the_preview_says_so(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(directory(&[("ann", "en")])).await.expect(200);
    store(&app, "ann", NUMBER).await;
    let incident = app.incident([("file", "a")]).await;
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert!(preview["sms"].is_null(), "{preview}");
    let warnings = preview["warnings"].to_string();
    assert!(
        warnings.contains("1 person has a phone number, but gets only the email"),
        "{warnings}"
    );
    app.send_as_previewed(&notice).await;
    let done = app.done(&notice).await;
    assert_eq!(
        (&done["counts"]["sent"], &done["channels"]),
        (&json!(1), &json!({}))
    );
    app.finish().await;
}

async fn a_number_is_checked_and_a_person_has_one(env: Env) {
    let gateway = Receiver::start();
    let app = start(&env, &gateway).await;
    let url = endpoints_of("ann");
    for wrong in ["0700 123456", "+12", "+49 170 CALLME", ""] {
        let refused = app
            .post(&url, json!({"url": wrong, "consent": "asked"}))
            .await
            .expect_invalid("/url");
        assert!(wrong.is_empty() || !refused.text.contains(wrong), "{refused}");
    }
    app.post(&url, json!({"url": NUMBER, "consent": " \n"}))
        .await
        .expect_invalid("/consent");
    app.post(&url, json!({"url": NUMBER, "consent": "x".repeat(501)}))
        .await
        .expect_invalid("/consent");
    app.post(&url, json!({"url": NUMBER}))
        .await
        .expect_invalid("/consent");
    app.post(
        &url,
        json!({"url": NUMBER, "consent": "asked", "channel": "slack"}),
    )
    .await
    .expect_invalid("/channel");
    app.post(
        "/api/v1/accounts/acme/endpoints",
        json!({"url": NUMBER, "channel": "sms"}),
    )
    .await
    .expect_invalid("/channel");
    app.post(
        &endpoints_of("nobody"),
        json!({"url": NUMBER, "consent": "asked"}),
    )
    .await
    .expect_problem(404);
    assert_eq!(app.get(&url).await.expect(200)["items"], json!([]));
    let first = store(&app, "ann", NUMBER).await;
    let again = app
        .post(&url, json!({"url": "+254700000009", "consent": "asked"}))
        .await
        .expect_problem(409);
    assert_eq!(again["code"], "already_exists");
    let id = first["id"].as_str().expect("an ID");
    app.delete(&format!("/api/v1/endpoints/{id}")).await.expect(204);
    assert_eq!(
        env.texts("SELECT secret AS value FROM endpoints WHERE secret IS NOT NULL")
            .len(),
        0
    );
    store(&app, "ann", "+254700000009").await;
    app.finish().await;
}

async fn an_erasure_deletes_the_number(env: Env) {
    let gateway = Receiver::start();
    let app = start(&env, &gateway).await;
    store(&app, "bernd", NUMBER).await;
    let incident = app.incident([("file", "a")]).await;
    let notice = app.tell(&incident, "detection").await;
    app.done(&notice).await;
    let export = app.get("/api/v1/people/bernd/export").await.expect(200);
    assert_eq!(export["phones"][0]["number"], NUMBER);
    assert_eq!(export["phones"][0]["consent"], "asked on the phone");
    app.post("/api/v1/people/bernd/erase", json!({"reason": "request 7"}))
        .await
        .expect(200);
    for statement in [
        "SELECT secret AS value FROM endpoints WHERE secret IS NOT NULL",
        "SELECT consent AS value FROM endpoints WHERE consent IS NOT NULL",
        "SELECT after_json AS value FROM audit_events WHERE after_json LIKE '%asked on the phone%'",
        "SELECT context AS value FROM notice_recipients WHERE context LIKE '%bernd%'",
    ] {
        assert_eq!(env.texts(statement), Vec::<String>::new(), "{statement}");
    }
    assert_eq!(app.get("/api/v1/audit/verify").await.expect(200)["ok"], true);
    assert_eq!(messages(&app, &notice).await[0]["state"], "sent");
    app.finish().await;
}

async fn a_number_is_stored_and_tested_on_the_pages(env: Env) {
    let gateway = Receiver::start();
    let app = start(&env, &gateway).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let form = "/admin/directory/people/bernd/endpoints";
    let key = browser.key(form).await;
    let refused = browser
        .send(
            form,
            &[
                ("form_key", &key),
                ("url", "0700 123456"),
                ("consent", "asked on the phone"),
            ],
        )
        .await
        .expect(422);
    assert!(
        refused.text.contains("country code") && refused.text.contains("asked on the phone"),
        "{refused}"
    );
    let stored = browser
        .send(
            form,
            &[
                ("form_key", &key),
                ("url", NUMBER),
                ("consent", "asked on the phone"),
            ],
        )
        .await
        .expect(303);
    let page = stored
        .header("location")
        .split(['?', '#'])
        .next()
        .expect("a path")
        .to_owned();
    let shown = browser.page(&page).await;
    assert!(
        shown.contains("asked on the phone") && !shown.contains(DIGITS),
        "{shown}"
    );
    let key = browser.key(&page).await;
    let tested = browser
        .send(&format!("{page}/test"), &[("form_key", &key)])
        .await
        .expect(200);
    assert!(tested.text.contains("accepted the test"), "{tested}");
    let request = gateway.requests(1).await[0].json();
    assert_eq!(request["to"], NUMBER);
    assert!(
        request["text"].as_str().expect("a text").contains("BERND"),
        "{request}"
    );
    let incident = app.incident([("file", "a")]).await;
    let notice = app.draft(&incident, "detection").await;
    let check = browser.page(&format!("/admin/notices/{notice}")).await;
    for part in ["1 person gets a short message", "EUR", "Vorfall #1"] {
        assert!(check.contains(part), "{part}: {check}");
    }
    assert!(!check.contains("Calls to systems"), "{check}");
    let key = browser.key(&page).await;
    let gone = browser
        .send(&format!("{page}/delete"), &[("form_key", &key)])
        .await
        .expect(303);
    assert!(
        gone.header("location")
            .starts_with("/admin/directory/people/bernd"),
        "{}",
        gone.header("location")
    );
    app.finish().await;
}
