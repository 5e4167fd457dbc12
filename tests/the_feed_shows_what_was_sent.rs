//! The feed of a person shows exactly what was sent to that person, to whoever has a token that the product signed, and to pages of the
//! origins that its key names. Everybody else gets the same answer and learns nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::{ORIGIN, Product, feed, read, sign};
use crate::support::{Answer, DEADLINE, Env, TestApp, eventually, on_both_databases, on_one_database};

on_both_databases!(
    a_key_is_made_once_and_revoked,
    a_person_reads_what_was_sent_to_them,
    nothing_is_shown_that_was_not_sent,
    all_read_is_a_time_that_never_goes_back,
    no_other_token_shows_anything,
    an_open_incident_is_in_the_status,
    a_stream_says_that_something_changed,
);

on_one_database!(
    only_pages_of_the_origins_of_the_key_read_it,
    a_stream_ends_with_its_token_and_with_the_process,
    the_script_is_cacheable,
    the_page_makes_and_revokes_a_key,
);

const NOON: &str = "2024-03-14T12:00:00Z";

/// A service that sent a detection to the three people of the story.
async fn told(env: &Env) -> (TestApp, Product, String, String) {
    let app = TestApp::builder(env).at(NOON).start().await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    let product = Product::new(&app).await;
    (app, product, incident, notice)
}

async fn notices(app: &TestApp, product: &Product, person: &str) -> Answer {
    read(app, "notices", &product.token(app, person))
        .await
        .expect(200)
}

async fn a_key_is_made_once_and_revoked(env: Env) {
    let app = TestApp::start(&env).await;
    let made = app
        .post(
            "/api/v1/feed-keys",
            json!({"name": "Studio", "origins": ["https://App.example.com:443", "http://localhost:3000"]}),
        )
        .await
        .expect(201);
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    assert!(secret.len() > 40, "{secret}");
    assert_eq!(
        made["origins"],
        json!(["https://app.example.com", "http://localhost:3000"])
    );
    let listed = app.get("/api/v1/feed-keys").await.expect(200);
    assert_eq!(listed.items().len(), 1);
    assert!(!listed.text.contains(&secret), "{listed}");
    let path = format!("/api/v1/feed-keys/{}", made.id());
    assert!(!app.get(&path).await.expect(200).text.contains(&secret));
    for (body, place) in [
        (json!({"name": "", "origins": []}), "/name"),
        (json!({"name": "x", "origins": ["*"]}), "/origins/0"),
        (
            json!({"name": "x", "origins": ["https://a.example", "https://b.example/"]}),
            "/origins/1",
        ),
        (json!({"name": "x", "origins": ["null"]}), "/origins/0"),
        (json!({"name": "x", "origins": [], "secret": "x"}), "/secret"),
    ] {
        app.post("/api/v1/feed-keys", body).await.expect_invalid(place);
    }
    for role in ["viewer", "operator", "approver"] {
        let other = app.as_new(role).await;
        other.get("/api/v1/feed-keys").await.expect_problem(403);
        other.delete(&path).await.expect_problem(403);
    }
    app.delete(&path).await.expect(204);
    app.delete(&path).await.expect_problem(404);
    assert!(app.get("/api/v1/feed-keys").await.expect(200).items().is_empty());
    for action in ["feed_key.created", "feed_key.revoked"] {
        let events = app.all(&format!("/api/v1/audit?action={action}")).await;
        assert_eq!(events.len(), 1, "{action}");
        assert_eq!(events[0]["subject"]["id"], made["id"]);
        assert!(!json!(events).to_string().contains(&secret));
    }
    app.finish().await;
}

async fn a_person_reads_what_was_sent_to_them(env: Env) {
    let (app, product, incident, notice) = told(&env).await;
    let token = product.token(&app, "amina");
    let page = read(&app, "notices", &token).await.expect(200);
    let [item] = page.items() else { panic!("{page}") };
    assert_eq!(item["id"], notice);
    assert_eq!(
        (&item["incident"], &item["phase"]),
        (&json!(1), &json!("detection"))
    );
    assert_eq!(item["message"], "What we have to say in the detection.");
    assert_eq!(item["customer_action"], json!({"required": false}));
    assert_eq!((&item["read"], &item["mandatory"]), (&json!(false), &json!(true)));
    assert_eq!(item["resources"]["count"], 2);
    assert_eq!(page["unread"], 1);
    assert!(
        !page.text.contains("Files cannot be opened"),
        "the internal title"
    );
    for other in ["baraka", "wanjiru", "@"] {
        assert!(!page.text.contains(other), "{other} in {page}");
    }
    // The link for answers is that of the email.
    let url = item["answer_url"].as_str().expect("a link");
    let path = url.strip_prefix(app.base().as_str()).expect("a link of Candor");
    app.anonymous().get(path).await.expect(200);
    // The answer has a tag, with which asking again is cheap.
    let again = |tag: String| feed(&app, Method::GET, "notices", &token).header("if-none-match", tag);
    let tag = page.header("etag").to_owned();
    assert!(tag.len() > 10, "{tag}");
    let same = again(tag.clone()).send().await.expect(304);
    assert_eq!((same.text.as_str(), same.header("etag")), ("", tag.as_str()));
    app.tell(&incident, "update").await;
    let page = again(tag).send().await.expect(200);
    assert_eq!(page.items().len(), 2);
    assert_eq!(
        (&page.items()[0]["phase"], &page.items()[0]["mandatory"]),
        (&json!("update"), &json!(false))
    );
    // Pages.
    let first = read(&app, "notices?limit=1", &token).await.expect(200);
    assert_eq!(first.items().len(), 1);
    let cursor = first["next_cursor"].as_str().expect("a next page");
    let second = read(&app, &format!("notices?limit=1&cursor={cursor}"), &token)
        .await
        .expect(200);
    assert_eq!(second.items()[0]["id"], notice);
    assert_eq!(second["next_cursor"], Value::Null);
    read(&app, "notices?limit=0", &token)
        .await
        .expect_invalid("?limit");
    read(&app, "notices?person=baraka", &token)
        .await
        .expect_invalid("?person");
    read(&app, "status?x=1", &token).await.expect_invalid("?x");
    read(&app, "nothing", &token).await.expect_problem(404);
    // Reading needs no more than the token, and writes nothing.
    let head = feed(&app, Method::HEAD, "notices", &token).send().await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(env.count("feed_reads"), 0);
    app.finish().await;
}

async fn nothing_is_shown_that_was_not_sent(env: Env) {
    let app = TestApp::builder(&env)
        .at(NOON)
        .config(|config| config.drill_to = vec!["drill@candor.example".to_owned()])
        .start()
        .await;
    let incident = app.story_incident().await;
    let product = Product::new(&app).await;
    // A draft is nothing.
    app.draft(&incident, "detection").await;
    assert!(notices(&app, &product, "amina").await.items().is_empty());
    // A drill reaches no customer.
    let drill = app
        .post(
            "/api/v1/incidents",
            json!({"title": "Drill", "severity": "minor", "drill": true,
                "affected": [{"type": "file", "id": "interview-v1"}]}),
        )
        .await
        .expect(201)
        .id();
    app.tell(&drill, "detection").await;
    assert!(notices(&app, &product, "amina").await.items().is_empty());
    assert_eq!(
        read(&app, "status", &product.token(&app, "amina"))
            .await
            .expect(200)["incidents"],
        json!([])
    );
    // Somebody who opted out gets no update, and so does not see it.
    let detection = app.tell(&incident, "detection").await;
    env.sql(
        "INSERT INTO opt_outs (address, at, reason) VALUES ('amina@nyota-films.example', 0, 'opted_out')",
    )
    .expect("a suppression");
    app.tell(&incident, "update").await;
    let ids = |page: &Answer| -> Vec<Value> { page.items().iter().map(|one| one["phase"].clone()).collect() };
    assert_eq!(ids(&notices(&app, &product, "amina").await), ["detection"]);
    assert_eq!(
        ids(&notices(&app, &product, "baraka").await),
        ["update", "detection"]
    );
    assert!(notices(&app, &product, "grace").await.items().is_empty());
    // A corrected notice says so, and its incident does not concern the person any more.
    let wrong = json!({"resources": [{"type": "file", "id": "interview-v1"}, {"type": "file", "id": "interview-v2"}]});
    app.post(&format!("/api/v1/incidents/{incident}/affected/remove"), wrong)
        .await
        .expect(200);
    app.affect(&incident, "file", "stalls-v1").await;
    let correction = app
        .post(
            &format!("/api/v1/incidents/{incident}/notices"),
            json!({"phase": "correction", "corrects": detection, "message": "You are not affected."}),
        )
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    let page = notices(&app, &product, "baraka").await;
    assert_eq!(ids(&page), ["correction", "update", "detection"]);
    assert_eq!(page.items()[0]["corrects"], detection);
    assert_eq!(page.items()[2]["corrected"]["notice"], correction);
    let status = read(&app, "status", &product.token(&app, "baraka"))
        .await
        .expect(200);
    assert_eq!(status["incidents"], json!([]));
    app.finish().await;
}

async fn all_read_is_a_time_that_never_goes_back(env: Env) {
    let (app, product, incident, first) = told(&env).await;
    app.set_clock("2024-03-14T12:30:00Z");
    let second = app.tell(&incident, "update").await;
    let token = product.token(&app, "amina");
    let mark = async |up_to: Value| {
        feed(&app, Method::POST, "read", &token)
            .json(json!({"up_to": up_to}))
            .send()
            .await
    };
    assert_eq!(notices(&app, &product, "amina").await["unread"], 2);
    assert_eq!(mark(json!(first)).await.expect(200)["unread"], 1);
    let page = notices(&app, &product, "amina").await;
    let read_of =
        |page: &Answer| -> Vec<Value> { page.items().iter().map(|one| one["read"].clone()).collect() };
    assert_eq!(read_of(&page), [false, true]);
    // The time of a notice marks it, too.
    let at = page.items()[0]["at"].clone();
    let marked = mark(at.clone()).await.expect(200);
    assert_eq!((&marked["read_up_to"], &marked["unread"]), (&at, &json!(0)));
    // An old page of the product changes nothing.
    for earlier in [json!(first), json!("2024-03-14T00:00:00Z")] {
        let marked = mark(earlier).await.expect(200);
        assert_eq!((&marked["read_up_to"], &marked["unread"]), (&at, &json!(0)));
    }
    assert_eq!(read_of(&notices(&app, &product, "amina").await), [true, true]);
    // The others have read nothing.
    assert_eq!(notices(&app, &product, "baraka").await["unread"], 2);
    for wrong in [
        json!("2024-03-15T00:00:00Z"),
        json!("2024-03-14T12:00:00"),
        json!("everything"),
        json!(""),
        json!("00000000-0000-7000-8000-000000000000"),
    ] {
        mark(wrong).await.expect_invalid("/up_to");
    }
    mark(json!(7)).await.expect_invalid("/up_to");
    // A notice to others is none of the person's.
    let other = app.incident([("file", "stalls-v1")]).await;
    let other = app.tell(&other, "detection").await;
    mark(json!(other)).await.expect_invalid("/up_to");
    feed(&app, Method::POST, "read", &token)
        .json(json!({"up_to": second, "person": "baraka"}))
        .send()
        .await
        .expect_invalid("/person");
    app.finish().await;
}

async fn no_other_token_shows_anything(env: Env) {
    let (app, product, _, _) = told(&env).await;
    let other = Product::new(&app).await;
    let revoked = Product::new(&app).await;
    app.delete(&format!("/api/v1/feed-keys/{}", revoked.key))
        .await
        .expect(204);
    app.delete("/api/v1/people/zuri").await.expect(204);
    app.post("/api/v1/people/otieno/erase", json!({"reason": "Request 17"}))
        .await
        .expect(200);
    let placeholder = env
        .texts("SELECT placeholder AS value FROM erasures WHERE placeholder IS NOT NULL")
        .remove(0);
    let good = product.claims(&app, "amina", 600);
    let hs256 = json!({"alg": "HS256", "typ": "JWT"});
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        product.signed(&claims)
    };
    let unsigned = |alg: &str| {
        let token = sign(&json!({"alg": alg, "typ": "JWT"}), &good, "");
        format!("{}.", token.rsplit_once('.').expect("a signature").0)
    };
    let mut claims_of_other = good.clone();
    claims_of_other["iss"] = json!(other.key);
    let now = app.clock.now().as_micros() / 1_000_000;
    let refused = [
        ("forged", sign(&hs256, &good, "another secret")),
        ("another key's secret", sign(&hs256, &good, &other.secret)),
        ("another key's ID", product.signed(&claims_of_other)),
        ("no signature", unsigned("none")),
        ("no signature, with HS256", unsigned("HS256")),
        ("alg none", sign(&json!({"alg": "none"}), &good, &product.secret)),
        ("HS512", sign(&json!({"alg": "HS512"}), &good, &product.secret)),
        (
            "crit",
            sign(&json!({"alg": "HS256", "crit": ["b64"]}), &good, &product.secret),
        ),
        ("expired", with("exp", json!(now - 61))),
        ("too long", with("exp", json!(now + 3_700))),
        ("not yet", with("nbf", json!(now + 120))),
        ("for somebody else", with("aud", json!("https://other.example"))),
        ("unknown person", with("sub", json!("nobody"))),
        ("archived person", with("sub", json!("zuri"))),
        ("erased person", with("sub", json!("otieno"))),
        ("placeholder", with("sub", json!(placeholder))),
        ("revoked key", revoked.signed(&revoked.claims(&app, "amina", 600))),
        (
            "unknown key",
            with("iss", json!("00000000-0000-7000-8000-000000000000")),
        ),
        ("no key", with("iss", json!("x' OR 1=1"))),
        ("no token", String::new()),
        ("an API token", crate::support::ADMIN_TOKEN.to_owned()),
    ];
    let mut answers = Vec::new();
    for (what, token) in &refused {
        for (method, path) in [
            (Method::GET, "notices"),
            (Method::GET, "status"),
            (Method::GET, "stream"),
            (Method::POST, "read"),
            (Method::POST, "mine"),
        ] {
            let mut request = feed(&app, method.clone(), path, token);
            if path == "read" {
                request = request.json(json!({"up_to": NOON}));
            }
            let answer = request.send().await;
            assert!(matches!(answer.status, 401 | 429), "{what} {path}: {answer}");
            if answer.status == 401 {
                assert_eq!(answer["code"], "unauthorized");
                answers.push(answer["detail"].clone());
            }
        }
    }
    // One and the same answer. After a hundred of them in a minute, it is 429.
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(env.count("feed_reads"), 0);
    // A valid token is never refused because of others, and the clocks of two machines may differ a little.
    for claims in [
        good.clone(),
        product.claims(&app, "amina", -30),
        product.claims(&app, "amina", 3_630),
    ] {
        read(&app, "notices", &product.signed(&claims)).await.expect(200);
    }
    let audience = with("aud", json!(app.base()));
    read(&app, "notices", &audience).await.expect(200);
    // They are counted like any other request without a valid token, and no token reaches the trail.
    app.set_clock("2024-03-14T12:02:00Z");
    let events = eventually("the summary", DEADLINE, async || {
        let events = app.all("/api/v1/audit?action=access.denied").await;
        (!events.is_empty()).then_some(events)
    })
    .await;
    let text = json!(events).to_string();
    assert!(text.contains("GET /feed/v1/notices"), "{text}");
    let parts = refused.iter().flat_map(|(_, token)| token.split('.'));
    for part in parts.filter(|part| part.len() > 30) {
        assert!(!text.contains(part), "{part}");
    }
    app.finish().await;
}

async fn an_open_incident_is_in_the_status(env: Env) {
    let (app, product, incident, notice) = told(&env).await;
    let status = async |person: &str| {
        let token = product.token(&app, person);
        read(&app, "status", &token).await.expect(200)
    };
    let shown = status("amina").await;
    assert_eq!(shown["unread"], 1);
    assert_eq!(
        (&shown["language"], &shown["direction"]),
        (&json!("en"), &json!("ltr"))
    );
    assert_eq!(shown["time_zone"], "Africa/Nairobi");
    let [open] = shown["incidents"].as_array().expect("incidents").as_slice() else {
        panic!("{shown}")
    };
    assert_eq!((&open["number"], &open["notice"]), (&json!(1), &json!(notice)));
    assert_eq!(open["resources"], 2);
    assert!(
        !shown.text.contains("Files cannot be opened"),
        "the internal title"
    );
    assert_eq!(status("grace").await["incidents"], json!([]));
    // The words are those of the person's language.
    app.put(
        "/api/v1/people/wanjiru",
        json!({"name": "Wanjiru Kamau", "email": "wanjiru@nyota-films.example", "locale": "ar-EG"}),
    )
    .await
    .expect(200);
    let arabic = status("wanjiru").await;
    assert_eq!(
        (&arabic["language"], &arabic["direction"]),
        (&json!("ar"), &json!("rtl"))
    );
    assert_ne!(arabic["words"]["inbox"], shown["words"]["inbox"]);
    app.resolve(&incident).await;
    assert_eq!(status("amina").await["incidents"], json!([]));
    app.finish().await;
}

/// A stream of events that is read as it arrives.
struct Stream(reqwest::Response);

impl Stream {
    async fn open(app: &TestApp, path: &str) -> Stream {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let response = client
            .get(format!("{}/feed/v1/{path}", app.base()))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream(response)
    }

    /// Reads until the text arrives.
    async fn until(&mut self, text: &str) {
        let mut read = String::new();
        let found = async {
            while !read.contains(text) {
                let chunk = self
                    .0
                    .chunk()
                    .await
                    .expect("a chunk")
                    .expect("more of the stream");
                read.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        tokio::time::timeout(DEADLINE, found)
            .await
            .unwrap_or_else(|_| panic!("no {text:?} in the stream"));
    }

    /// Reads until the stream ends, and returns what was read.
    async fn end(mut self) -> String {
        let mut read = String::new();
        let all = async {
            while let Some(chunk) = self.0.chunk().await.expect("a chunk") {
                read.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        tokio::time::timeout(DEADLINE, all).await.expect("an end");
        read
    }
}

async fn a_stream_says_that_something_changed(env: Env) {
    let app = TestApp::start(&env).await;
    let product = Product::new(&app).await;
    let incident = app.story_incident().await;
    let mut amina = Stream::open(&app, &format!("stream?token={}", product.token(&app, "amina"))).await;
    let mut grace = Stream::open(&app, &format!("stream?token={}", product.token(&app, "grace"))).await;
    amina.until(": open").await;
    grace.until(": open").await;
    app.tell(&incident, "detection").await;
    amina.until("event: changed").await;
    // The event says nothing about what changed. Somebody else hears nothing of it: their stream ends without an event.
    app.delete(&format!("/api/v1/feed-keys/{}", product.key))
        .await
        .expect(204);
    let rest = grace.end().await;
    assert!(
        !rest.contains("changed") && rest.contains("event: expired"),
        "{rest}"
    );
    app.finish().await;
}

async fn a_stream_ends_with_its_token_and_with_the_process(env: Env) {
    let mut app = TestApp::start(&env).await;
    app.story_incident().await;
    let product = Product::new(&app).await;
    // The clocks may differ by a minute, so this token is valid for two more seconds.
    let short = product.signed(&product.claims(&app, "amina", -58));
    let ended = Stream::open(&app, &format!("stream?token={short}"))
        .await
        .end()
        .await;
    assert!(ended.ends_with("event: expired\ndata: {}\n\n"), "{ended}");
    // The parameter is only for the stream.
    let token = product.token(&app, "amina");
    app.anonymous()
        .get(&format!("/feed/v1/notices?token={token}"))
        .await
        .expect_problem(401);
    app.anonymous()
        .request(Method::HEAD, &format!("/feed/v1/stream?token={token}"))
        .send()
        .await
        .expect(200);
    // A person has a few streams.
    let path = format!("stream?token={token}");
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(Stream::open(&app, &path).await);
    }
    read(&app, "stream", &token).await.expect_problem(503);
    // The end of the process ends them all.
    let waiting = tokio::spawn(open.remove(0).end());
    app.stop().await;
    waiting.await.expect("the end of the stream");
    app.start_again().await;
    app.finish().await;
}

async fn only_pages_of_the_origins_of_the_key_read_it(env: Env) {
    let (app, product, _, _) = told(&env).await;
    let other = Product::with(&app, &["https://other.example"]).await;
    let nobody = Product::with(&app, &[]).await;
    let from = async |method: Method, path: &str, token: &str, origin: &str| {
        feed(&app, method, path, token)
            .header("origin", origin)
            .send()
            .await
    };
    let allowed = |answer: &Answer| answer.header("access-control-allow-origin").to_owned();
    let token = product.token(&app, "amina");
    let answer = from(Method::GET, "notices", &token, ORIGIN).await.expect(200);
    assert_eq!(allowed(&answer), ORIGIN);
    assert!(answer.header("vary").to_lowercase().contains("origin"));
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    // The answer to a program that is no browser differs by the origin, too.
    let plain = read(&app, "notices", &token).await.expect(200);
    assert!(plain.header("vary").to_lowercase().contains("origin"));
    assert_eq!(allowed(&plain), "");
    // Origins that no key names, and origins of another key.
    for origin in [
        "https://evil.example",
        "null",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://APP.example.com",
        "https://other.example",
    ] {
        let answer = from(Method::GET, "notices", &token, origin)
            .await
            .expect_problem(403);
        assert_eq!(answer["code"], "origin_not_allowed");
        assert_eq!(allowed(&answer), "", "{origin}");
        assert!(!answer.text.contains("What we have to say"));
    }
    for product in [&other, &nobody] {
        let answer = from(Method::GET, "notices", &product.token(&app, "amina"), ORIGIN).await;
        assert_eq!(allowed(&answer.expect_problem(403)), "");
    }
    // A page of an origin on the list may read that its token is not valid, so that it asks for another one.
    let answer = from(Method::GET, "notices", "x.y.z", ORIGIN)
        .await
        .expect_problem(401);
    assert_eq!(allowed(&answer), ORIGIN);
    // The browser asks before it sends a token.
    let preflight = async |origin: &str, path: &str| {
        app.anonymous()
            .request(Method::OPTIONS, &format!("/feed/v1/{path}"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization, content-type")
            .send()
            .await
    };
    let answer = preflight(ORIGIN, "read").await.expect(204);
    assert_eq!(allowed(&answer), ORIGIN);
    assert_eq!(answer.header("access-control-allow-methods"), "GET, POST");
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    let answer = preflight("https://evil.example", "read")
        .await
        .expect_problem(403);
    assert_eq!(allowed(&answer), "");
    assert_eq!(answer.header("access-control-allow-methods"), "");
    // Nothing but the feed is open to other origins.
    let answer = app
        .request(Method::GET, "/api/v1/incidents")
        .header("origin", ORIGIN)
        .send()
        .await
        .expect(200);
    assert_eq!(allowed(&answer), "");
    app.finish().await;
}

async fn the_script_is_cacheable(env: Env) {
    let app = TestApp::start(&env).await;
    let script = app.anonymous().get("/embed.js").await.expect(200);
    assert!(script.header("content-type").starts_with("text/javascript"));
    assert!(script.header("cache-control").contains("max-age=3600"));
    assert_eq!(script.header("cross-origin-resource-policy"), "cross-origin");
    assert!(script.text.len() < 20_000, "{} bytes", script.text.len());
    for unsafe_way in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        ".style.",
        "style=",
    ] {
        assert!(!script.text.contains(unsafe_way), "{unsafe_way}");
    }
    let tag = script.header("etag").to_owned();
    app.anonymous()
        .request(Method::GET, "/embed.js?v=1")
        .header("if-none-match", tag)
        .send()
        .await
        .expect(304);
    app.finish().await;
}

async fn the_page_makes_and_revokes_a_key(env: Env) {
    let app = TestApp::start(&env).await;
    let browser = crate::support::browser::Browser::signed_in(&app, crate::support::ADMIN_TOKEN).await;
    let fields = [
        ("name", "Studio"),
        ("origins", "https://app.example.com\r\nnot an origin"),
    ];
    let wrong = browser
        .send_from("/admin/feed-keys/new", "/admin/feed-keys", &fields)
        .await
        .expect(422);
    assert!(wrong.text.contains("must be an origin"), "{}", wrong.text);
    let fields = [("name", "Studio"), ("origins", "https://app.example.com")];
    let made = browser
        .send_from("/admin/feed-keys/new", "/admin/feed-keys", &fields)
        .await
        .expect(200);
    assert!(made.text.contains("feed_"), "{}", made.text);
    let listed = app.get("/api/v1/feed-keys").await.expect(200);
    assert_eq!(listed.items()[0]["origins"], json!(["https://app.example.com"]));
    let page = browser.page("/admin/feed-keys").await;
    assert!(page.contains("https://app.example.com") && page.contains("/embed.js"));
    let id = listed.items()[0]["id"].as_str().expect("an ID");
    browser
        .send_from("/admin/feed-keys", &format!("/admin/feed-keys/{id}/revoke"), &[])
        .await
        .expect(303);
    assert!(app.get("/api/v1/feed-keys").await.expect(200).items().is_empty());
    app.finish().await;
}
