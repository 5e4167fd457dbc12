//! Every request has an ID, which the answer, its problem document and the log name. The log says once that something begins
//! to fail and once that it works again, and it never holds an address or a secret.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::smtp_script::{Act, SmtpScript, Step};
use crate::support::{ADMIN_TOKEN, Answer, Binary, DEADLINE, Env, TestApp, on_both_databases, wait_until};

on_both_databases!(
    every_answer_has_the_id_of_its_request,
    a_repeated_answer_has_the_id_of_its_own_request,
    the_log_names_each_request_and_no_token,
    a_mail_server_that_fails_is_one_line_and_another_when_it_works,
);

/// The ID in the header of an answer. A problem document must have the same.
fn id_of(answer: &Answer) -> String {
    let id = answer.header("x-request-id").to_owned();
    if answer.header("content-type") == "application/problem+json" && !answer.text.is_empty() {
        assert_eq!(answer["request_id"], id, "{answer}");
    }
    id
}

async fn every_answer_has_the_id_of_its_request(env: Env) {
    let app = TestApp::start(&env).await;
    let viewer = app.as_new("viewer").await;
    let nobody = app.anonymous();
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "Any", "source": "generic"}),
        )
        .await
        .expect(201);
    let hook = made["hook_url"].as_str().expect("a URL").to_owned();
    let mut seen = BTreeSet::new();
    for (caller, method, path, status) in [
        (&nobody, "GET", "/healthz", 200),
        (&nobody, "HEAD", "/status", 200),
        (&nobody, "GET", "/", 302),
        (&nobody, "GET", "/nothing", 404),
        (&nobody, "DELETE", "/status", 405),
        (&nobody, "GET", "/docs/swagger-ui.css", 200),
        (&nobody, "GET", "/docs/nothing", 404),
        (&nobody, "GET", "/unsubscribe/x", 404),
        (&nobody, "GET", "/admin", 303),
        (&nobody, "GET", "/api/v1/people", 401),
        (&nobody, "GET", "/hooks/x", 404),
        (&nobody, "POST", hook.as_str(), 422),
        (&*app, "GET", "/api/v1/people", 200),
        (&*app, "OPTIONS", "/api/v1/people", 204),
        (&*app, "GET", "/api/v1/people?x=1", 422),
        (&*app, "POST", "/api/v1/incidents", 415),
        (&*app, "GET", "/api/v1/nothing", 404),
        (&viewer, "POST", "/api/v1/tokens", 403),
    ] {
        let request = || caller.request(method.parse::<Method>().expect("a method"), path);
        for given in ["a", "Root=1-67891233-abcdef012345678912345678", "a/b+c:d.e_f-g"] {
            let answer = request()
                .header("x-request-id", given)
                .send()
                .await
                .expect(status);
            assert_eq!(id_of(&answer), given, "{method} {path}");
        }
        let answer = request().send().await.expect(status);
        let id = id_of(&answer);
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{method} {path}: {id}");
        assert!(seen.insert(id), "{method} {path}: an ID comes twice");
    }
    // An ID that is not safe to write down is replaced.
    let long = "a".repeat(129);
    for given in [
        "",
        " ",
        "a b",
        "a,b",
        "a\tb",
        "\"a\"",
        "{a}",
        "<a>",
        "%0a",
        "a;b",
        "ann@example.com",
        long.as_str(),
    ] {
        let request = nobody
            .request(Method::GET, "/nothing")
            .header("x-request-id", given);
        let id = id_of(&request.send().await.expect(404));
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{given:?}: {id}");
    }
    let longest = "a".repeat(128);
    let request = nobody
        .request(Method::GET, "/nothing")
        .header("x-request-id", &longest);
    assert_eq!(id_of(&request.send().await.expect(404)), longest);
    let twice = nobody
        .request(Method::GET, "/nothing")
        .header("x-request-id", "one")
        .header("x-request-id", "two");
    let id = id_of(&twice.send().await.expect(404));
    assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
    // Errors that are pages name it too.
    let page = nobody
        .request(Method::GET, "/unsubscribe/x")
        .header("accept", "text/html")
        .header("x-request-id", "page-1");
    let page = page.send().await.expect(404);
    assert!(
        page.text.contains("page-1") && page.text.contains("</html>"),
        "{page}"
    );
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser.open("/admin/nothing").await.expect(404);
    assert!(page.text.contains(&id_of(&page)), "{page}");
    app.finish().await;
}

async fn a_repeated_answer_has_the_id_of_its_own_request(env: Env) {
    let app = TestApp::start(&env).await;
    let keyed = async |key: &str, id: &str, body: Value| {
        app.request(Method::POST, "/api/v1/incidents")
            .header("idempotency-key", key)
            .header("x-request-id", id)
            .json(&body)
            .send()
            .await
    };
    let right = json!({"title": "It broke", "severity": "major"});
    let first = keyed("right", "first", right.clone()).await.expect(201);
    let second = keyed("right", "second", right).await.expect(201);
    assert_eq!(
        (id_of(&first), id_of(&second)),
        ("first".to_owned(), "second".to_owned())
    );
    assert_eq!(first.text, second.text);
    // The document of an error is the first answer, and so names the request whose lines are in the log.
    let wrong = json!({"title": "It broke", "severity": "none"});
    let first = keyed("wrong", "third", wrong.clone()).await.expect_problem(422);
    let second = keyed("wrong", "fourth", wrong).await.expect_problem(422);
    assert_eq!(
        (id_of(&first), second.header("x-request-id")),
        ("third".to_owned(), "fourth")
    );
    assert_eq!(second["request_id"], "third");
    app.finish().await;
}

/// The lines of a log in JSON.
fn lines(log: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The lines whose message begins so.
fn beginning<'l>(lines: &'l [Value], start: &str) -> Vec<&'l Value> {
    lines
        .iter()
        .filter(|line| {
            let message = line["fields"]["message"].as_str();
            message.is_some_and(|message| message.starts_with(start))
        })
        .collect()
}

async fn the_log_names_each_request_and_no_token(env: Env) {
    let mut candor = Binary::new(&env)
        .setting("log_format", "json")
        .environment("RUST_LOG", "candor=debug");
    candor.serve().await;
    let made = candor
        .post(
            "/api/v1/integrations",
            json!({"name": "Any", "source": "generic"}),
        )
        .await
        .expect(201);
    let hook = made["hook_url"].as_str().expect("a URL").to_owned();
    let token = hook.rsplit('/').next().expect("a token");
    let strange = "X".repeat(300);
    for (method, path, id) in [
        ("GET", "/api/v1/people/ann%40example.com", "look-1"),
        ("POST", hook.as_str(), "alert-1"),
        ("GET", "/unsubscribe/secret-of-a-link", "link-1"),
        ("GET", "/a-path-with/ann@example.com", "path-1"),
        (strange.as_str(), "/status", "method-1"),
    ] {
        candor
            .request(method.parse::<Method>().expect("a method"), path)
            .header("x-request-id", id)
            .send()
            .await;
    }
    // Any method that is none is one metric.
    let metrics = candor.get("/metrics").await.expect(200).text;
    assert!(
        metrics.contains("method=\"OTHER\"") && !metrics.contains("XXXX"),
        "{metrics}"
    );
    let output = candor.terminate().await.expect(0);
    let log = lines(&output.stderr);
    let requests = beginning(&log, "request");
    for (id, method, route, status) in [
        ("look-1", "GET", "/api/v1/people/{person}", 404),
        ("alert-1", "POST", "/hooks/{token}", 422),
        ("link-1", "GET", "/unsubscribe/{token}", 404),
        ("path-1", "GET", "unmatched", 404),
        ("method-1", "OTHER", "/status", 405),
    ] {
        let found: Vec<_> = requests.iter().filter(|line| line["span"]["id"] == id).collect();
        assert_eq!(found.len(), 1, "{id}: {requests:#?}");
        assert_eq!(
            json!([
                found[0]["span"]["name"],
                found[0]["span"]["method"],
                found[0]["span"]["route"],
                found[0]["fields"]["status"]
            ]),
            json!(["request", method, route, status])
        );
    }
    for secret in [token, "example.com", "secret-of-a-link", "XXXX", ADMIN_TOKEN] {
        assert!(!output.stderr.contains(secret), "{secret}:\n{}", output.stderr);
    }
}

async fn a_mail_server_that_fails_is_one_line_and_another_when_it_works(env: Env) {
    // It repeats what it should not.
    let server = SmtpScript::builder()
        .user("mailer@example.com", "a-secret-word")
        .start(|moment| match moment.step {
            Step::Auth => {
                Act::Say("535 5.7.8 mailer@example.com may not sign in with a-secret-word".to_owned())
            }
            _ => Act::Usual,
        });
    let mut candor = Binary::new(&env)
        .setting(
            "smtp_url",
            format!(
                "smtp://mailer%40example.com:a-secret-word@127.0.0.1:{}?tls=none",
                server.port()
            ),
        )
        .setting("retry_schedule", "1s")
        .setting("log_format", "json");
    candor.serve().await;
    let incident = candor.story_incident().await;
    let notice = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&notice).await;
    wait_until("some attempts", DEADLINE, async || {
        server.came_to(Step::Auth) >= 4
    })
    .await;
    server.behave();
    candor.done(&notice).await;
    let output = candor.terminate().await.expect(0);
    let log = lines(&output.stderr);
    let begins = beginning(&log, "the mail server cannot be reached");
    assert_eq!(begins.len(), 1, "{begins:#?}");
    assert_eq!(begins[0]["level"], "WARN");
    assert_eq!(begins[0]["fields"]["step"], "sign-in");
    assert_eq!(begins[0]["fields"]["port"], server.port());
    // The line lies within the delivery whose attempt found it out.
    let span = &begins[0]["span"];
    assert_eq!(
        json!([span["name"], span["channel"], span["notice"]]),
        json!(["send", "email", notice])
    );
    assert!(span["delivery"].as_i64().is_some_and(|id| id > 0), "{span}");
    let ends = beginning(&log, "the mail server can be reached again");
    assert_eq!(ends.len(), 1, "{ends:#?}");
    assert_eq!(ends[0]["level"], "INFO");
    let secret = STANDARD.encode("\0mailer@example.com\0a-secret-word");
    for secret in [
        "a-secret-word",
        "mailer@",
        "mailer%40",
        secret.as_str(),
        "nyota-films.example",
        "sound-works.example",
    ] {
        assert!(!output.stderr.contains(secret), "{secret}:\n{}", output.stderr);
    }
}
