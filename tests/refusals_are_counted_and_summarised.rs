//! Refusals without a valid token: one event for each address and minute, 429 above a limit, and nobody with
//! a valid token is refused.

use std::time::Duration;

use candor::base::network::Networks;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, Answer, DEADLINE, Env, Http, TestApp, on_both_databases, wait_until};

on_both_databases!(
    a_thousand_wrong_tokens_are_one_event,
    each_door_is_counted_and_limited,
    who_has_a_valid_token_is_never_locked_out,
    a_clients_address_is_what_a_trusted_proxy_says,
    a_stop_writes_what_was_counted,
    a_process_that_does_not_deliver_writes_them_too,
    a_flood_from_everywhere_stays_small,
    wrong_signatures_are_limited_too,
);

const START: &str = "2024-03-14T06:56:00Z";

async fn behind_a_proxy(env: &Env) -> TestApp {
    TestApp::builder(env)
        .at(START)
        .config(|config| config.trusted_proxies = Networks::parse("127.0.0.0/8").unwrap())
        .start()
        .await
}

async fn from(app: &Http, address: &str, method: Method, path: &str) -> Answer {
    let request = app.request(method, path).header("x-forwarded-for", address);
    request.send().await
}

async fn sign_in(app: &Http, address: &str, token: &str) -> Answer {
    app.anonymous()
        .request(Method::POST, "/admin/sign-in")
        .header("x-forwarded-for", address)
        .body("application/x-www-form-urlencoded", format!("token={token}"))
        .send()
        .await
}

/// Waits until the minute has passed and there are `n` summaries, and returns them.
async fn summaries(app: &TestApp, n: usize) -> Vec<Value> {
    app.clock.advance(Duration::from_secs(60));
    let mut events = Vec::new();
    wait_until("the summaries", DEADLINE, async || {
        events = app.all("/api/v1/audit?action=access.denied").await;
        events.len() >= n
    })
    .await;
    assert_eq!(events.len(), n, "{events:#?}");
    events.reverse();
    events.into_iter().map(|event| event["after"].clone()).collect()
}

fn limited(answer: &Answer) -> bool {
    if answer.status == 429 {
        let wait: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!((1..=60).contains(&wait), "{answer}");
    }
    answer.status == 429
}

async fn a_thousand_wrong_tokens_are_one_event(env: Env) {
    let app = behind_a_proxy(&env).await;
    let before = env.count("audit_events");
    let wrong = app.as_role("candor-wrong-token-of-somebody");
    let mut refused = [0, 0];
    for n in 0..1_000 {
        let path = ["/api/v1/incidents", "/api/v1/people/ann%40example.com"][n % 2];
        let answer = from(&wrong, "198.51.100.1", Method::GET, path).await;
        if limited(&answer) {
            assert_eq!(answer.expect_problem(429)["code"], "too_many_refusals");
            refused[1] += 1;
        } else {
            assert_eq!(answer.expect_problem(401)["code"], "unauthorized");
            refused[0] += 1;
        }
    }
    assert_eq!(refused, [100, 900]);
    assert_eq!(env.count("audit_events"), before, "a refusal is no write");
    let events = summaries(&app, 1).await;
    assert_eq!(env.count("audit_events"), before + 1);
    assert_eq!(
        events[0],
        json!({
            "address": "198.51.100.1", "count": 1_000, "first_at": "2024-03-14T06:56:00Z", "last_at": "2024-03-14T06:56:00Z",
            "tried": {"GET /api/v1/incidents": 500, "GET /api/v1/people/{person}": 500},
        })
    );
    // In the next minute the answer is 401 again.
    from(&wrong, "198.51.100.1", Method::GET, "/api/v1/incidents")
        .await
        .expect_problem(401);
    app.finish().await;
}

async fn each_door_is_counted_and_limited(env: Env) {
    let app = behind_a_proxy(&env).await;
    let nobody = app.anonymous();
    let doors: [(&str, &str, &str, u16); 8] = [
        ("198.51.100.1", "GET", "/api/v1/incidents", 401),
        ("198.51.100.2", "POST", "/hooks/not-a-token", 404),
        ("198.51.100.3", "GET", "/hooks/not-a-token", 404),
        ("198.51.100.4", "OPTIONS", "/hooks/not-a-token", 404),
        ("198.51.100.5", "POST", "/heartbeats/not-a-token", 404),
        ("198.51.100.6", "GET", "/unsubscribe/1.not-signed", 404),
        ("198.51.100.7", "POST", "/unsubscribe/1.not-signed", 404),
        ("198.51.100.8", "HEAD", "/heartbeats/not-a-token/fail", 404),
    ];
    for (address, method, path, status) in doors {
        let method: Method = method.parse().unwrap();
        for n in 0..103 {
            let answer = from(&nobody, address, method.clone(), path).await;
            assert_eq!(limited(&answer), n >= 100, "{n} {method} {path}: {answer}");
            assert!(n >= 100 || answer.status == status, "{method} {path}: {answer}");
        }
    }
    for n in 0..103 {
        let body = json!({"routing_key": "not-a-token", "event_action": "trigger"});
        let request = nobody.request(Method::POST, "/v2/enqueue").json(body);
        let answer = request.header("x-forwarded-for", "198.51.100.9").send().await;
        assert_eq!(limited(&answer), n >= 100, "{n}: {answer}");
    }
    // A person types the token, so fewer tries are allowed.
    for n in 0..25 {
        let answer = sign_in(&app, "198.51.100.10", "wrong").await;
        assert_eq!(limited(&answer), n >= 20, "{n}: {answer}");
        assert!(n >= 20 || answer.status == 401, "{n}: {answer}");
    }
    let events = summaries(&app, 10).await;
    let mut counts: Vec<i64> = events
        .iter()
        .map(|event| event["count"].as_i64().unwrap())
        .collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        [25, 103, 103, 103, 103, 103, 103, 103, 103, 103],
        "{events:?}"
    );
    let text = env
        .texts("SELECT after_json AS value FROM audit_events WHERE action = 'access.denied'")
        .join(" ");
    assert!(text.contains("POST /hooks/{token}"), "{text}");
    assert!(
        !text.contains("not-a-token") && !text.contains("not-signed"),
        "{text}"
    );
    app.finish().await;
}

async fn who_has_a_valid_token_is_never_locked_out(env: Env) {
    let app = behind_a_proxy(&env).await;
    let new = json!({"name": "Any", "source": "generic"});
    let hook = app.post("/api/v1/integrations", new).await.expect(201)["hook_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let new = json!({"name": "Backup", "every_seconds": 3_600, "grace_seconds": 60});
    let beat = app.post("/api/v1/heartbeats", new).await.expect(201)["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let address = "2a00:1:2:3::1";
    for path in ["/api/v1/incidents", "/hooks/wrong", "/heartbeats/wrong"] {
        for _ in 0..120 {
            from(&app.anonymous(), address, Method::GET, path).await;
        }
    }
    for _ in 0..30 {
        sign_in(&app, address, "wrong").await;
    }
    // A neighbour in the same /64 network is refused too. Callers with a valid secret are not.
    for neighbour in [address, "2a00:1:2:3:ffff::9"] {
        let refused = from(&app.anonymous(), neighbour, Method::GET, "/api/v1/incidents").await;
        assert!(limited(&refused), "{refused}");
        from(&app, neighbour, Method::GET, "/api/v1/incidents")
            .await
            .expect(200);
        from(&app.anonymous(), neighbour, Method::GET, &beat)
            .await
            .expect(200);
        sign_in(&app, neighbour, ADMIN_TOKEN).await.expect(303);
        let alert = json!({"title": "It broke", "status": "firing", "id": "1"});
        let request = app.anonymous().request(Method::POST, &hook).json(alert);
        request
            .header("x-forwarded-for", neighbour)
            .send()
            .await
            .expect(202);
    }
    let other = from(
        &app.anonymous(),
        "2a00:1:2:4::1",
        Method::GET,
        "/api/v1/incidents",
    )
    .await;
    other.expect_problem(401);
    let events = summaries(&app, 2).await;
    assert_eq!(events[0]["address"], "2a00:1:2:3::/64", "{events:?}");
    assert_eq!(events[0]["count"], 3 * 120 + 30 + 2, "{events:?}");
    app.finish().await;
}

async fn a_clients_address_is_what_a_trusted_proxy_says(env: Env) {
    let plain = TestApp::builder(&env).at(START).start().await;
    // No proxy is trusted, so the header is ignored.
    for n in 0..3 {
        let address = format!("198.51.100.{n}");
        from(&plain.anonymous(), &address, Method::GET, "/api/v1/incidents")
            .await
            .expect(401);
    }
    let events = summaries(&plain, 1).await;
    assert_eq!(
        (&events[0]["address"], &events[0]["count"]),
        (&json!("127.0.0.1"), &json!(3))
    );
    plain.finish().await;

    let app = behind_a_proxy(&env).await;
    app.set_clock("2024-03-14T08:00:00Z");
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.66, 198.51.100.1"),
        ("x-forwarded-for", "192.0.2.67, [2a00::7]:4711, 127.0.0.9"),
        ("forwarded", "for=192.0.2.68, for=\"[2a00::8]:80\";proto=https"),
        ("x-forwarded-for", "nonsense"),
    ] {
        let request = app.anonymous().request(Method::GET, "/api/v1/incidents");
        request.header(name, value).send().await.expect(401);
    }
    let events = summaries(&app, 4).await;
    let mut addresses: Vec<&str> = events[1..]
        .iter()
        .map(|event| event["address"].as_str().unwrap())
        .collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["127.0.0.1", "198.51.100.1", "2a00::/64"]);
    app.finish().await;
}

async fn a_stop_writes_what_was_counted(env: Env) {
    let mut app = behind_a_proxy(&env).await;
    for _ in 0..7 {
        from(&app.anonymous(), "198.51.100.1", Method::GET, "/api/v1/people")
            .await
            .expect(401);
    }
    assert_eq!(env.count("audit_events WHERE action = 'access.denied'"), 0);
    app.restart().await;
    let events = app.all("/api/v1/audit?action=access.denied").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["after"]["count"], 7);
    assert_eq!(
        events[0]["subject"],
        json!({"type": "address", "id": "198.51.100.1"})
    );
    assert_eq!(events[0]["actor"]["kind"], "anonymous");
    app.finish().await;
}

async fn a_process_that_does_not_deliver_writes_them_too(env: Env) {
    let mut app = TestApp::builder(&env).at(START).workers(false).start().await;
    app.anonymous().get("/api/v1/people").await.expect(401);
    let events = summaries(&app, 1).await;
    assert_eq!(events[0]["count"], 1);
    // It is a service like the others, with the same metrics.
    let metrics = app.get("/metrics").await.expect(200).text;
    assert!(
        metrics.contains("candor_work_failing{service=\"refusals\"} 0"),
        "{metrics}"
    );
    app.anonymous().get("/api/v1/people").await.expect(401);
    app.restart().await;
    assert_eq!(app.all("/api/v1/audit?action=access.denied").await.len(), 2);
    app.finish().await;
}

async fn a_flood_from_everywhere_stays_small(env: Env) {
    let app = behind_a_proxy(&env).await;
    let before = env.count("audit_events");
    for n in 0..400 {
        let address = format!("198.51.{}.{}", n / 200, n % 200);
        from(&app.anonymous(), &address, Method::GET, "/api/v1/people")
            .await
            .expect(401);
    }
    let events = summaries(&app, 201).await;
    assert_eq!(env.count("audit_events"), before + 201);
    let total: i64 = events.iter().map(|event| event["count"].as_i64().unwrap()).sum();
    assert_eq!(total, 400, "no refusal is lost");
    let rest = events
        .iter()
        .find(|event| event["address"] == "other addresses")
        .expect("the rest");
    assert_eq!((&rest["count"], &rest["addresses"]), (&json!(200), &json!(200)));
    app.finish().await;
}

async fn wrong_signatures_are_limited_too(env: Env) {
    let app = behind_a_proxy(&env).await;
    let new =
        json!({"name": "Signed", "source": "generic", "secret": "the secret of this hook, long enough"});
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    let hook = made["hook_url"].as_str().unwrap();
    for n in 0..130 {
        let request = app
            .anonymous()
            .request(Method::POST, hook)
            .json(json!({"title": "Forged"}));
        let answer = request.header("x-forwarded-for", "198.51.100.1").send().await;
        assert_eq!(limited(&answer), n >= 100, "{n}: {answer}");
        assert!(n >= 100 || answer.status == 401, "{n}: {answer}");
    }
    assert_eq!(env.count("audit_events WHERE action = 'hook.refused'"), 20);
    app.clock.advance(Duration::from_secs(60));
    wait_until("the summary", DEADLINE, async || {
        env.count("audit_events WHERE action = 'hook.refused'") == 21
    })
    .await;
    let last = app
        .get("/api/v1/audit?action=hook.refused&limit=1")
        .await
        .expect(200)
        .items()[0]
        .clone();
    assert_eq!(last["subject"]["id"], made["id"]);
    assert_eq!(
        (&last["after"]["count"], &last["after"]["address"]),
        (&json!(110), &json!("198.51.100.1"))
    );
    assert_eq!(env.count("alerts") + env.count("hook_requests"), 0);
    app.finish().await;
}
