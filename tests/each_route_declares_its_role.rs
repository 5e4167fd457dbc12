//! Each operation of the API and each page needs the role that was reviewed: found by calling all of them with every role.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use candor::base::network::Networks;
use candor::http::routes::Routes;
use reqwest::Method;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use crate::support::browser::Browser;
use crate::support::{Answer, Backend, Env, Request, TestApp, run};

/// From the one that may the least to the one that may everything.
const ROLES: [&str; 4] = ["viewer", "operator", "approver", "admin"];

#[test]
fn the_roles_are_those_that_were_reviewed() {
    run(Backend::Sqlite, reviewed);
}

async fn reviewed(env: Env) {
    // Each request without a token comes from an address of its own: what one address is refused is limited.
    let app = TestApp::builder(&env)
        .config(|config| config.trusted_proxies = Networks::parse("127.0.0.1").unwrap())
        .start()
        .await;
    let mut tokens = Vec::new();
    for role in ROLES {
        tokens.push(app.token(role).await);
    }
    let mut found = BTreeMap::new();
    let document = app.get("/api/openapi.json").await.expect(200);
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let role = of_operation(&app, &tokens, &method, path).await;
            found.insert((path.clone(), method.to_string()), role);
        }
    }
    let mut sessions = Vec::new();
    for token in &tokens {
        sessions.push(Session::begun(&app, token).await);
    }
    for (method, path) in pages() {
        let role = of_page(&app, &sessions, &method, &path).await;
        if path == SIGN_OUT {
            for (session, token) in sessions.iter_mut().zip(&tokens) {
                *session = Session::begun(&app, token).await;
            }
        }
        found.insert((path, method.to_string()), role);
    }
    let mut text = String::new();
    for ((path, method), role) in &found {
        let _ = writeln!(text, "{method} {path}: {role}");
    }
    insta::with_settings!({
        prepend_module_to_snapshot => false,
        omit_expression => true,
        snapshot_path => "snapshots",
    }, {
        insta::assert_snapshot!("roles", text);
    });
    app.finish().await;
}

/// A path with something in the place of each parameter.
fn filled(path: &str) -> String {
    path.replace(['{', '}'], "x")
}

/// The first role that is not refused, where all that come after it are not refused either.
fn least(refused: &[bool], what: &str) -> &'static str {
    let least = refused.iter().position(|refused| !refused);
    let least = least.unwrap_or_else(|| panic!("{what}: nobody may do it"));
    assert!(
        refused[least..].iter().all(|refused| !refused),
        "{what}: a role may less than one before it: {refused:?}"
    );
    ROLES[least]
}

/// With a body that no operation takes: whoever may gets as far as to be told so.
async fn of_operation(app: &TestApp, tokens: &[String], method: &Method, path: &str) -> &'static str {
    static ADDRESSES: AtomicU32 = AtomicU32::new(0);
    let n = ADDRESSES.fetch_add(1, Ordering::Relaxed);
    let address = format!("198.51.{}.{}", n / 250, n % 250);
    let what = format!("{method} {path}");
    let body = |request: Request| match *method {
        Method::GET | Method::DELETE => request,
        _ => request.json(json!({"unknown": true})),
    };
    let nobody = app.anonymous().request(method.clone(), &filled(path));
    let answer = body(nobody.header("x-forwarded-for", &address)).send().await;
    let asks_for_a_token = answer.status == 401 && answer["code"] == "unauthorized";
    let of_product = path.starts_with("/feed/v1/");
    assert_eq!(
        asks_for_a_token,
        path.starts_with("/api/v1/") || of_product,
        "{what}: {answer}"
    );
    if of_product {
        // No token of the API is one of these.
        for token in tokens {
            let answer = body(app.as_role(token).request(method.clone(), path))
                .send()
                .await;
            assert_eq!(answer.status, 401, "{what}: {answer}");
        }
        return "the person of a product's token";
    }
    if !asks_for_a_token {
        return "public";
    }
    let mut refused = Vec::new();
    for token in tokens {
        let caller = app.as_role(token);
        let answer = body(caller.request(method.clone(), &filled(path))).send().await;
        assert!(answer.status != 401 && answer.status < 500, "{what}: {answer}");
        refused.push(answer["code"] == "role_missing");
    }
    least(&refused, &what)
}

/// The page that ends a session.
const SIGN_OUT: &str = "/admin/sign-out";

/// A session in a browser, with the key that its forms contain.
struct Session {
    browser: Browser,
    key: String,
}

impl Session {
    async fn begun(app: &TestApp, token: &str) -> Session {
        let browser = Browser::signed_in(app, token).await;
        // Everybody has a form on this page.
        let key = browser.key("/admin/preferences").await;
        Session { browser, key }
    }
}

async fn of_page(app: &TestApp, sessions: &[Session], method: &Method, path: &str) -> &'static str {
    let what = format!("{method} {path}");
    let nobody = app
        .anonymous()
        .request(method.clone(), &filled(path))
        .send()
        .await;
    if nobody.status != 303 {
        assert_eq!(path, "/admin/sign-in", "{what}: {nobody}");
        return "public";
    }
    let location = nobody.header("location");
    let leads = location == "/admin/sign-in" || location.starts_with("/admin/sign-in?next=");
    assert!(leads, "{what}: {location}");
    let mut refused = Vec::new();
    for (role, session) in ROLES.iter().zip(sessions) {
        let answer = if *method == Method::GET {
            session.browser.open(&filled(path)).await
        } else {
            session
                .browser
                .send(&filled(path), &[("form_key", &session.key)])
                .await
        };
        assert!(answer.status != 401 && answer.status < 500, "{what}: {answer}");
        // Whoever has no session is led to the sign-in, which is no answer about a role.
        let ended = answer.status == 303 && answer.header("location").starts_with("/admin/sign-in");
        assert!(!ended || path == SIGN_OUT, "{what}: {answer}");
        refused.push(is_refused(&answer, role));
    }
    least(&refused, &what)
}

fn is_refused(answer: &Answer, role: &str) -> bool {
    let refused = answer.status == 403;
    let says = answer.text.contains("this needs the role")
        && answer.text.contains(&format!("you have the role {role}"));
    assert_eq!(refused, says, "{answer}");
    refused
}

/// The pages, by their methods and paths.
fn pages() -> Vec<(Method, String)> {
    let pages = candor::http::admin::pages();
    assert!(pages.len() > 25, "{} pages", pages.len());
    pages
        .into_iter()
        .map(|page| (page.method.as_str().parse().expect("a method"), page.path))
        .collect()
}

#[test]
fn a_route_without_a_role_is_an_error_at_the_start() {
    run(Backend::Sqlite, declared);
}

/// What is wrong with a document in which one place has another value. The pages are those that are served.
fn wrong(document: &Value, pointer: &str, value: Option<Value>) -> String {
    let mut changed = document.clone();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = changed
        .pointer_mut(parent)
        .expect(pointer)
        .as_object_mut()
        .expect(pointer);
    match value {
        Some(value) => parent.insert(field.replace("~1", "/"), value),
        None => parent.remove(field),
    };
    let changed: OpenApi = serde_json::from_value(changed).expect("a document");
    Routes::new(&changed, &candor::http::admin::pages())
        .err()
        .unwrap_or_default()
}

/// The document with nothing of its operations but `security`.
fn security_alone(document: &Value) -> Value {
    let mut paths = document["paths"].clone();
    for item in paths.as_object_mut().expect("paths").values_mut() {
        for operation in item.as_object_mut().expect("operations").values_mut() {
            *operation = json!({"responses": {}, "security": operation["security"]});
        }
    }
    json!({"openapi": document["openapi"], "info": document["info"], "paths": paths})
}

async fn declared(env: Env) {
    let app = TestApp::start(&env).await;
    let document = security_alone(&app.get("/api/openapi.json").await.expect(200).json);
    assert_eq!(wrong(&document, "/info/title", Some(json!("Candor"))), "");
    let of = |path: &str, method: &str| format!("/paths/{}/{method}", path.replace('/', "~1"));
    let list = of("/api/v1/incidents", "get");
    let approve = of("/api/v1/notices/{id}/approve", "post");
    for (pointer, value, expected) in [
        (
            format!("{list}/security"),
            None,
            ["GET /api/v1/incidents", "declares no role"],
        ),
        (
            format!("{approve}/security"),
            None,
            ["POST /api/v1/notices/{id}/approve", "declares no role"],
        ),
        (
            format!("{list}/security"),
            Some(json!([])),
            ["GET /api/v1/incidents", "must declare its role"],
        ),
        (
            format!("{list}/security"),
            Some(json!([{}])),
            ["GET /api/v1/incidents", "must declare its role"],
        ),
        (
            format!("{list}/security"),
            Some(json!([{"token": ["reader"]}])),
            ["GET /api/v1/incidents", "'reader' is not a role"],
        ),
        (
            format!("{list}/security"),
            Some(json!([{"token": []}])),
            ["GET /api/v1/incidents", "exactly one role"],
        ),
        (
            format!("{list}/security"),
            Some(json!([{"token": ["viewer"]}, {"token": ["admin"]}])),
            ["GET /api/v1/incidents", "exactly one requirement"],
        ),
        (
            format!("{}/security", of("/healthz", "get")),
            Some(json!([{"token": ["admin"]}])),
            ["GET /healthz", "no token is checked"],
        ),
        // One path by two names: which of the two handlers answers would depend on their order.
        (
            "/paths/~1api~1v1~1notices~1{other}".to_owned(),
            Some(document["paths"]["/api/v1/notices/{id}"].clone()),
            ["/api/v1/notices/{other}", "another route has the same path"],
        ),
    ] {
        let said = wrong(&document, &pointer, value);
        for part in expected {
            assert!(said.contains(part), "{pointer}: {part:?} is not in {said:?}");
        }
    }
    // All of them are named at once.
    let mut without = document.clone();
    for path in ["/api/v1/incidents", "/api/v1/people"] {
        without["paths"][path]["get"]
            .as_object_mut()
            .expect("an operation")
            .remove("security");
    }
    let said = wrong(&without, "/info/title", Some(json!("Candor")));
    assert!(
        said.contains("GET /api/v1/incidents") && said.contains("GET /api/v1/people"),
        "{said}"
    );
    app.finish().await;
}
