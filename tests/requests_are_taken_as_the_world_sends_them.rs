//! HEAD, OPTIONS, other methods, additional parameters, trailing slashes, compressed and slow bodies, as
//! monitors, browsers, proxies and email programs send them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use candor::base::code::Code;
use candor::config::Config;
use candor::http::admin;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::browser::Browser;
use crate::support::{ADMIN_TOKEN, Backend, Env, Http, TestApp, on_both_databases, run, story_directory};

on_both_databases!(
    every_get_has_its_head,
    a_link_with_added_parameters_works,
    a_body_that_trickles_is_not_waited_for,
);

#[test]
fn a_path_says_which_methods_it_takes() {
    run(Backend::Sqlite, methods);
}

#[test]
fn every_path_answers_other_methods_in_one_way() {
    run(Backend::Sqlite, every_path);
}

#[test]
fn a_request_with_too_long_a_head_is_refused_and_the_service_goes_on() {
    run(Backend::Sqlite, long_heads);
}

#[test]
fn every_answer_has_its_guarding_headers() {
    run(Backend::Sqlite, headers);
}

#[test]
fn a_trailing_slash_and_the_root_lead_somewhere() {
    run(Backend::Sqlite, slashes);
}

#[test]
fn a_body_is_read_by_its_type_and_never_compressed() {
    run(Backend::Sqlite, bodies);
}

const ID: &str = "01890000-0000-7000-8000-000000000000";
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "PATCH", "DELETE"];

/// Returns every documented path with example values, and the methods of all patterns that match it.
async fn documented(app: &Http) -> Vec<(String, BTreeSet<String>)> {
    let document = app.get("/api/openapi.json").await.expect(200);
    let paths = document["paths"].as_object().expect("paths");
    let fits = |pattern: &str, path: &str| {
        pattern.split('/').count() == path.split('/').count()
            && pattern
                .split('/')
                .zip(path.split('/'))
                .all(|(part, of)| part.starts_with('{') || part == of)
    };
    let methods = |item: &Value| -> Vec<String> {
        let names = item
            .as_object()
            .expect("operations")
            .keys()
            .map(|method| method.to_uppercase());
        names
            .filter(|method| METHODS.contains(&method.as_str()))
            .collect()
    };
    paths
        .keys()
        .map(|path| {
            let parts = path
                .split('/')
                .map(|part| if part.starts_with('{') { ID } else { part });
            let filled = parts.collect::<Vec<_>>().join("/");
            let fitting = paths.iter().filter(|(pattern, _)| fits(pattern, &filled));
            let all = fitting.flat_map(|(_, item)| methods(item)).collect();
            (filled, all)
        })
        .collect()
}

async fn every_get_has_its_head(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let incident = json!({"title": "It broke", "severity": "major"});
    let incident = app.post("/api/v1/incidents", incident).await.expect(201).id();
    let mut paths: Vec<String> = documented(&app)
        .await
        .into_iter()
        .filter(|(_, methods)| methods.contains("GET"))
        .map(|(path, _)| path)
        .collect();
    let more = [
        "/",
        "/status",
        "/docs",
        "/docs/",
        "/docs/swagger-ui.css",
        "/api/openapi.json",
        "/admin",
        "/admin/sign-in",
    ];
    paths.extend(more.map(str::to_owned));
    paths.push(format!("/api/v1/incidents/{incident}/audience"));
    paths.push("/api/v1/people".to_owned());
    paths.push("/nothing".to_owned());
    for path in &paths {
        let get = app.get(path).await;
        let head = app.request(Method::HEAD, path).send().await;
        assert_eq!(head.status, get.status, "HEAD {path}: {head}; GET: {get}");
        assert_eq!(head.text, "", "HEAD {path}");
        for name in ["content-type", "location", "allow", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        assert!(get.status < 500, "{path}: {get}");
    }
    assert!(paths.len() > 60, "{}", paths.len());
    for path in ["/healthz", "/readyz", "/metrics", "/status"] {
        app.anonymous()
            .request(Method::HEAD, path)
            .send()
            .await
            .expect(200);
    }
    // A HEAD on a hook that accepts alerts by GET is only a check and no alert.
    let new = json!({"name": "Monitor", "source": "uptimerobot"});
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    let hook = made["hook_url"].as_str().expect("a URL");
    app.anonymous()
        .request(Method::HEAD, hook)
        .send()
        .await
        .expect(200);
    assert_eq!(env.count("alerts") + env.count("hook_requests"), 0);
    app.finish().await;
}

async fn a_link_with_added_parameters_works(env: Env) {
    let app = TestApp::start(&env).await;
    let nobody = app.anonymous();
    for query in [
        "utm_source=mail&utm_medium=x",
        "fbclid=",
        "a=1&a=2",
        "%00",
        "&&=",
        "x=%FF",
        "cursor=nonsense",
    ] {
        for path in ["/status", "/healthz", "/readyz", "/metrics", "/api/openapi.json"] {
            nobody.get(&format!("{path}?{query}")).await.expect(200);
        }
    }
    // An invalid link stays invalid. A valid one is tested in the tests of emails.
    nobody
        .get("/unsubscribe/1.x?utm_source=mail")
        .await
        .expect_problem(404);
    for source in ["alertmanager", "generic", "postmark"] {
        let made = app
            .post("/api/v1/integrations", json!({"name": source, "source": source}))
            .await
            .expect(201);
        let hook = made["hook_url"].as_str().expect("a URL");
        let with = nobody
            .post(&format!("{hook}?team=a&utm_source=x"), json!({}))
            .await;
        let without = nobody.post(hook, json!({})).await;
        assert_eq!(
            (with.status, with.places()),
            (without.status, without.places()),
            "{source}"
        );
    }
    // For the API, an unknown parameter is an error.
    app.get("/api/v1/incidents?utm_source=mail")
        .await
        .expect_invalid("?utm_source");
    app.finish().await;
}

async fn methods(env: Env) {
    let app = TestApp::start(&env).await;
    let all = documented(&app).await;
    let mut seen = 0;
    for (path, methods) in &all {
        let mut allowed: BTreeSet<&str> = methods.iter().map(String::as_str).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        for method in ["PATCH", "DELETE", "PUT"] {
            if allowed.contains(method) || path.starts_with("/hooks/") {
                continue;
            }
            let answer = app.request(method.parse().unwrap(), path).send().await;
            let answer = answer.expect_problem(405);
            let said: BTreeSet<&str> = answer.header("allow").split(", ").collect();
            assert!(
                said.is_superset(&allowed) && !said.contains(method),
                "{method} {path}: {said:?}"
            );
            assert_eq!(answer["code"], "method_not_allowed");
            seen += 1;
        }
        if !path.starts_with("/hooks/") {
            let answer = app.request(Method::OPTIONS, path).send().await.expect(204);
            let said: BTreeSet<&str> = answer.header("allow").split(", ").collect();
            assert!(said.is_superset(&allowed), "OPTIONS {path}: {said:?}");
        }
    }
    assert!(seen > 100, "{seen}");
    for (method, path, allow) in [
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", "/status", "GET, HEAD"),
        ("DELETE", "/v2/enqueue", "POST"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/api/openapi.json", "GET, HEAD"),
        ("DELETE", "/unsubscribe/x", "GET, HEAD, POST"),
        ("DELETE", "/docs", "GET, HEAD"),
        ("POST", "/docs/", "GET, HEAD"),
        ("PUT", "/docs/swagger-ui.css", "GET, HEAD"),
        ("PATCH", "/docs/nothing", "GET, HEAD"),
    ] {
        let answer = app
            .anonymous()
            .request(method.parse().unwrap(), path)
            .send()
            .await;
        assert_eq!(
            answer.expect_problem(405).header("allow"),
            allow,
            "{method} {path}"
        );
    }
    app.get("/api/v1/nothing").await.expect_problem(404);
    app.request(Method::OPTIONS, "/nothing")
        .send()
        .await
        .expect_problem(404);
    app.finish().await;
}

/// Every path that is served, filled, with the methods that it takes; `page`: whether its errors are pages.
async fn served(app: &Http) -> Vec<(String, BTreeSet<String>, bool)> {
    let set = |methods: &[&str]| -> BTreeSet<String> {
        methods.iter().map(|method| (*method).to_owned()).collect()
    };
    let mut all: Vec<(String, BTreeSet<String>, bool)> = documented(app)
        .await
        .into_iter()
        .map(|(path, methods)| (path, methods, false))
        .collect();
    for path in [
        "/",
        "/docs",
        "/docs/",
        "/docs/swagger-ui.css",
        "/docs/swagger-initializer.js",
        "/docs/nothing.js",
        "/api/openapi.json",
    ] {
        all.push((path.to_owned(), set(&["GET"]), false));
    }
    let fits = |pattern: &str, path: &str| {
        pattern.split('/').count() == path.split('/').count()
            && pattern
                .split('/')
                .zip(path.split('/'))
                .all(|(part, of)| part.starts_with('{') || part == of)
    };
    let pages = admin::pages();
    let patterns: Vec<(&str, &str)> = pages
        .iter()
        .map(|page| {
            (
                page.method.as_str(),
                page.path.strip_prefix("/admin").expect("a page"),
            )
        })
        .collect();
    for (_, pattern) in &patterns {
        let parts = pattern
            .split('/')
            .map(|part| if part.starts_with('{') { ID } else { part });
        let filled = parts.collect::<Vec<_>>().join("/");
        let methods = patterns
            .iter()
            .filter(|(_, other)| fits(other, &filled))
            .map(|(method, _)| (*method).to_owned())
            .collect();
        all.push((format!("/admin{filled}"), methods, true));
    }
    for (_, methods, _) in &mut all {
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
    }
    all.sort();
    all.dedup();
    all
}

async fn every_path(env: Env) {
    let app = TestApp::start(&env).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let all = served(&app).await;
    assert!(all.len() > 130, "{}", all.len());
    for (path, methods, page) in &all {
        // The methods of a hook are those of the source of its integration, and of nobody without one.
        if path.starts_with("/hooks/") {
            continue;
        }
        let allow = methods.iter().cloned().collect::<Vec<_>>().join(", ");
        let call = async |method: &str, path: &str| {
            let method: Method = method.parse().expect("a method");
            if *page {
                browser.call(method, path).await
            } else {
                app.request(method, path).send().await
            }
        };
        let options = call("OPTIONS", path).await.expect(204);
        assert_eq!(options.header("allow"), allow, "OPTIONS {path}");
        for method in [
            "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "TRACE", "PROPFIND",
        ] {
            if methods.contains(method) {
                continue;
            }
            let answer = call(method, path).await.expect(405);
            assert_eq!(answer.header("allow"), allow, "{method} {path}");
            if method == "HEAD" {
                assert_eq!(answer.text, "", "{method} {path}");
            } else if *page {
                assert!(answer.text.contains("</html>"), "{method} {path}: {answer}");
            } else {
                assert_eq!(answer.expect_problem(405)["code"], "method_not_allowed");
            }
        }
        if methods.contains("GET") {
            let (get, head) = (call("GET", path).await, call("HEAD", path).await);
            assert_eq!((head.status, head.text.as_str()), (get.status, ""), "HEAD {path}");
            assert_ne!(get.status, 405, "GET {path}");
        }
        // Nothing is served below it.
        let below = format!("{path}/nothing/is/here/at/all");
        for method in ["GET", "DELETE", "OPTIONS"] {
            let answer = call(method, &below).await;
            if below.starts_with("/docs/") && method != "GET" {
                continue;
            }
            let answer = answer.expect(404);
            if *page {
                assert!(answer.text.contains("</html>"), "{method} {below}: {answer}");
            } else {
                assert_eq!(answer.expect_problem(404)["code"], "not_found");
            }
        }
    }
    // A file of the page of the document that cannot be one.
    for path in ["/docs/%FF", "/docs/..%2F..%2Fetc%2Fpasswd", "/docs/a/b"] {
        app.anonymous().get(path).await.expect_problem(404);
    }
    app.finish().await;
}

/// Sends a request as it is, and gives the first line of the answer; none where the connection was closed without one.
async fn first_line(app: &TestApp, head: &[u8]) -> String {
    let address = app.base();
    let mut stream = TcpStream::connect(address.strip_prefix("http://").expect("an address"))
        .await
        .expect("a connection");
    // The server may answer and close before it has read all.
    let _ = stream.write_all(head).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    let _ = read.await.expect("an answer within 20 seconds");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

async fn long_heads(env: Env) {
    let app = TestApp::start(&env).await;
    let host = "host: x\r\nconnection: close\r\n";
    let auth = format!("authorization: Bearer {ADMIN_TOKEN}\r\n");
    for size in [8 * 1024, 60_000] {
        let long = "a".repeat(size);
        for (path, status) in [
            (format!("/{long}"), "404"),
            (format!("/status?utm={long}"), "200"),
            (format!("/api/v1/incidents/{long}"), "404"),
            (format!("/api/v1/incidents?cursor={long}"), "422"),
            (format!("/api/v1/people?{long}=1"), "422"),
            (format!("/hooks/{long}"), "404"),
            (format!("/unsubscribe/{long}"), "404"),
            (format!("/docs/{long}"), "404"),
            (format!("/admin/{long}"), "303"),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\n{host}{auth}\r\n");
            let line = first_line(&app, request.as_bytes()).await;
            assert!(
                line.starts_with(&format!("HTTP/1.1 {status}")),
                "{size}, {}: {line}",
                &path[..20.min(path.len())]
            );
        }
    }
    // Longer than a URI may be, and headers that are too large or too many.
    let long = "a".repeat(70_000);
    let huge = "a".repeat(1024 * 1024);
    let many = "a: b\r\n".repeat(500);
    for request in [
        format!("GET /{long} HTTP/1.1\r\n{host}\r\n"),
        format!("GET /status?{long} HTTP/1.1\r\n{host}\r\n"),
        format!("GET /{huge} HTTP/1.1\r\n{host}\r\n"),
        format!("{huge} / HTTP/1.1\r\n{host}\r\n"),
        format!("GET /status HTTP/1.1\r\n{host}x: {huge}\r\n\r\n"),
        format!("GET /status HTTP/1.1\r\n{host}cookie: candor_session={huge}\r\n\r\n"),
        format!("GET /status HTTP/1.1\r\n{host}{huge}: a\r\n\r\n"),
        format!("GET /status HTTP/1.1\r\n{host}{many}\r\n"),
    ] {
        let line = first_line(&app, request.as_bytes()).await;
        let shown = &request[..40];
        assert!(
            line.is_empty() || line.starts_with("HTTP/1.1 400") || line.starts_with("HTTP/1.1 431"),
            "{shown}: {line}"
        );
        app.anonymous().get("/healthz").await.expect(200);
    }
    app.finish().await;
}

async fn headers(env: Env) {
    let app = TestApp::start(&env).await;
    for path in [
        "/",
        "/status",
        "/docs",
        "/docs/",
        "/docs/swagger-initializer.js",
        "/docs/swagger-ui.css",
        "/api/openapi.json",
        "/healthz",
        "/metrics",
        "/admin",
        "/admin/sign-in",
        "/admin/nothing",
        "/nothing",
        "/unsubscribe/x",
        "/hooks/x",
        "/api/v1/people",
        "/api/v1/nothing",
        "/api/v1/people?x=1",
    ] {
        for caller in [&*app, &app.anonymous()] {
            let answer = caller.get(path).await;
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
            let referrer = match path.starts_with("/admin") {
                true => "same-origin",
                false => "no-referrer",
            };
            assert_eq!(answer.header("referrer-policy"), referrer, "{path}");
            let policy = answer.header("content-security-policy");
            assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
            let open = path.starts_with("/docs") || path == "/api/openapi.json";
            let cache = match path {
                // Caches may keep the status page.
                "/status" => "public, max-age=1, stale-while-revalidate=5, stale-if-error=86400",
                _ if open => "no-cache",
                _ => "no-store",
            };
            assert_eq!(answer.header("cache-control"), cache, "{path}");
            if answer.status >= 400 && !path.starts_with("/admin") {
                assert_eq!(
                    answer.header("content-type"),
                    "application/problem+json",
                    "{path}"
                );
            }
        }
    }
    app.finish().await;
}

async fn slashes(env: Env) {
    let app = TestApp::start(&env).await;
    for (path, location) in [
        ("/", "/status"),
        ("/status/", "/status"),
        ("/status/?utm_source=x", "/status?utm_source=x"),
        ("/healthz/", "/healthz"),
        ("/docs", "/docs/"),
    ] {
        let answer = app.get(path).await;
        assert!([302, 307, 308].contains(&answer.status), "{path}: {answer}");
        assert_eq!(answer.header("location"), location, "{path}");
    }
    for path in [
        "//status/",
        "//example.com/",
        "/nothing/",
        "/%2F/example.com/",
        "/\\example.com/",
    ] {
        let answer = app.get(path).await;
        let location = answer.header("location");
        assert!(location.is_empty() || location == "/status", "{path}: {answer}");
    }
    // A program that calls the API gets an error and no redirect.
    app.get("/api/v1/incidents/").await.expect_problem(404);
    app.post("/api/v1/incidents/", json!({}))
        .await
        .expect_problem(404);
    app.finish().await;
}

async fn bodies(env: Env) {
    let app = TestApp::start(&env).await;
    let body = json!({"title": "It broke", "severity": "major"}).to_string();
    for kind in [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/vnd.candor+json",
    ] {
        app.post_raw("/api/v1/incidents", kind, body.clone())
            .await
            .expect(201);
    }
    let json = "application/json";
    let imports = "application/x-ndjson";
    for (path, kind) in [("/api/v1/incidents", json), ("/api/v1/directory/import", imports)] {
        let request = app.request(Method::POST, path).body(kind, body.clone());
        let answer = request.header("content-encoding", "gzip").send().await;
        assert_eq!(answer.expect_problem(415)["code"], "compressed_body");
    }
    let request = app
        .request(Method::POST, "/api/v1/incidents")
        .body("application/json", body.clone());
    request
        .header("content-encoding", "identity")
        .send()
        .await
        .expect(201);
    let request = app
        .request(Method::POST, "/api/v1/incidents")
        .body("application/json", body);
    request.header("expect", "100-continue").send().await.expect(201);
    app.finish().await;
}

async fn a_body_that_trickles_is_not_waited_for(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.body_grace = Duration::from_millis(300))
        .start()
        .await;
    let new = json!({"name": "Any", "source": "generic"});
    let hook = app.post("/api/v1/integrations", new).await.expect(201)["hook_url"]
        .as_str()
        .expect("a URL")
        .to_owned();
    let hook = hook
        .strip_prefix(&app.base())
        .expect("a URL of this server")
        .to_owned();
    for (path, kind) in [
        ("/api/v1/incidents", "application/json"),
        ("/api/v1/directory/import", "application/x-ndjson"),
        ("/api/v1/inbound-mail", "message/rfc822"),
        (hook.as_str(), "application/json"),
        ("/admin/sign-in", "application/x-www-form-urlencoded"),
    ] {
        for key in ["", "idempotency-key: slow\r\n"] {
            let mut stream = TcpStream::connect(app.base().strip_prefix("http://").unwrap())
                .await
                .unwrap();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_TOKEN}\r\ncontent-type: {kind}\r\n{key}\
                 content-length: 1000\r\n\r\n{{"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
            read.await
                .unwrap_or_else(|_| panic!("{path} still waits"))
                .unwrap();
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        }
    }
    app.finish().await;
}

#[test]
fn a_public_url_is_the_root_of_a_host() {
    let read = |value: &str| {
        let variable = ("CANDOR_PUBLIC_URL".to_owned(), value.to_owned());
        Config::from_sources(vec![variable], Path::new("/nonexistent/candor.toml"))
            .map(|config| config.public_url)
    };
    for (given, kept) in [
        ("https://candor.example.com", "https://candor.example.com"),
        ("https://candor.example.com/", "https://candor.example.com"),
        ("HTTPS://Candor.Example.COM:443/", "https://candor.example.com"),
        ("http://candor.example.com:8080", "http://candor.example.com:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
    ] {
        assert_eq!(read(given).unwrap().as_deref(), Some(kept), "{given}");
    }
    for wrong in [
        "https://example.com/candor",
        "https://example.com/candor/",
        "https://example.com//",
        "https://example.com/.",
        "https://example.com/?",
        "https://example.com/#",
        "https://example.com?a=b",
        "https://user@example.com",
        "https://user:secret@example.com",
        "https://:secret@example.com",
        "ftp://example.com",
        "example.com",
        "https://",
        "file:///etc",
    ] {
        match read(wrong) {
            // Dots are not a path.
            Ok(kept) if wrong.ends_with("/.") => assert_eq!(kept.as_deref(), Some("https://example.com")),
            Ok(kept) => panic!("{wrong} is taken as {kept:?}"),
            Err(error) => assert!(
                error.starts_with("CANDOR_PUBLIC_URL: ") && !error.contains("secret"),
                "{error}"
            ),
        }
    }
}

#[test]
fn every_code_is_explained() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md")).unwrap();
    let explained: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(code, _)| code))
        .collect();
    let explained_once: BTreeSet<&str> = explained.iter().copied().collect();
    assert_eq!(explained_once.len(), explained.len(), "{explained:?}");
    assert_eq!(explained_once, Code::ALL.iter().copied().collect());
}
