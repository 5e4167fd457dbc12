//! What the URL of a MySQL source asks of its connection holds: where TLS is required nothing is said in the open, and a
//! certificate is believed only from an authority that is, and for the name in the URL.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::shop::{ASSETS, CUSTOMERS, Shop};
use crate::support::{Env, TestApp, mysql_server, on_both_databases};

on_both_databases!(
    a_mysql_is_read_over_tls,
    a_mysql_without_tls_hears_no_password,
    what_is_asked_of_tls_is_checked,
);

const SOURCES: &str = "/api/v1/directory/sources";

/// What a look at a source says is wrong, or nothing.
async fn wrong(app: &TestApp, source: &Value) -> (String, Value) {
    let id = app.post(SOURCES, source).await.expect(201).id();
    let look = app
        .post(&format!("{SOURCES}/{id}/test"), json!({}))
        .await
        .expect(200);
    assert!(!look.text.contains(mysql_server::PASSWORD), "{}", look.text);
    app.delete(&format!("{SOURCES}/{id}")).await.expect(204);
    let errors = [&look["error"], &look["queries"][0]["error"]];
    let said = errors.iter().find_map(|error| error.as_str()).unwrap_or_default();
    (said.to_owned(), look.json.clone())
}

async fn a_mysql_is_read_over_tls(env: Env) {
    let (Some(shop), Some(authority)) = (Shop::mysql(), mysql_server::authority()) else {
        return;
    };
    let app = TestApp::start(&env).await;
    let at = |user: &str, host: &str, parameters: &str| {
        let mut url = url::Url::parse(&shop.url()).expect("a URL");
        url.set_username(user).expect("a user");
        url.set_host(Some(host)).expect("a host");
        let mut source = shop.source();
        source["url"] = json!(format!("{url}{parameters}"));
        source
    };
    let required = format!("?tls=required&tls_ca={}", authority.display());

    // The server itself lets `sealed` in over TLS alone.
    let (said, look) = wrong(&app, &at("sealed", "localhost", &required)).await;
    assert_eq!(said, "", "{look}");
    assert_eq!(look["ok"], true, "{look}");
    let resources = look["queries"]
        .as_array()
        .and_then(|all| all.iter().find(|query| query["kind"] == "resource"))
        .expect("the resources");
    assert_eq!(resources["total"], CUSTOMERS * 2 + ASSETS);

    for (user, host, parameters, why) in [
        ("sealed", "localhost", "", "Access denied"),
        ("sealed", "localhost", "?tls=none", "Access denied"),
        ("sealed", "localhost", "?tls=required", "UnknownIssuer"),
        ("tester", "localhost", "?tls=required", "UnknownIssuer"),
        ("sealed", "127.0.0.1", &required, "not valid for name"),
        (
            "sealed",
            "localhost",
            "?tls=required&tls_ca=/nowhere/ca.pem",
            "tls_ca, /nowhere/ca.pem: No such file",
        ),
    ] {
        let (said, look) = wrong(&app, &at(user, host, parameters)).await;
        assert!(said.contains(why), "{user} {host} {parameters}: {look}");
        assert_eq!(look["ok"], false, "{look}");
    }
    app.finish().await;
}

/// The greeting of a server that knows of no encryption: protocol 10, and a password by `mysql_native_password`.
fn greeting() -> Vec<u8> {
    const PROTOCOL_41_AND_SECURE: [u8; 2] = 0x8200_u16.to_le_bytes();
    const PLUGINS: [u8; 2] = 0x0008_u16.to_le_bytes();
    let packet: Vec<u8> = [
        &[10][..],
        b"8.0.36\0",
        &[1, 0, 0, 0],
        b"abcdefgh\0",
        &PROTOCOL_41_AND_SECURE,
        &[33, 2, 0],
        &PLUGINS,
        &[21],
        &[0; 10],
        b"ijklmnopqrst\0",
        b"mysql_native_password\0",
    ]
    .concat();
    let length = u8::try_from(packet.len()).expect("a short packet");
    [&[length, 0, 0, 0], &packet[..]].concat()
}

async fn a_mysql_without_tls_hears_no_password(env: Env) {
    let app = TestApp::start(&env).await;
    for (parameters, hears) in [("?tls=required", false), ("", true)] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(&greeting()).await.expect("a greeting");
            let mut bytes = [0; 512];
            let length = stream.read(&mut bytes).await.unwrap_or(0);
            bytes[..length].to_vec()
        });
        let url = format!("mysql://hushed:geheim@localhost:{port}/shop{parameters}");
        let source =
            json!({"name": "plain", "kind": "mysql", "url": url, "queries": {"people": "SELECT 1 AS id"}});
        let (said, look) = wrong(&app, &source).await;
        assert_eq!(look["ok"], false, "{look}");
        let heard = heard.await.expect("a server");
        let user = heard.windows(6).any(|part| part == b"hushed");
        assert_eq!(user, hears, "{parameters}: {said}: {heard:?}");
        if !hears {
            // A goodbye at the most.
            assert!([&[][..], &[1, 0, 0, 0, 1]].contains(&&heard[..]), "{heard:?}");
        }
    }
    app.finish().await;
}

async fn what_is_asked_of_tls_is_checked(env: Env) {
    let app = TestApp::start(&env).await;
    for (parameters, why) in [
        ("?tls=maybe", "its parameter tls must be `required` or `none`"),
        ("?tls=", "its parameter tls must be `required` or `none`"),
        ("?tls=required&tls=none", "its parameter tls is there twice"),
        ("?tls=required&tls_ca=", "its parameter tls_ca must name a file"),
        ("?tls_ca=/etc/ca.pem", "means nothing without tls=required"),
        (
            "?tls=none&tls_ca=/etc/ca.pem",
            "means nothing without tls=required",
        ),
        (
            "?require_ssl=geheim",
            "its parameter require_ssl is not one that is known",
        ),
    ] {
        let url = format!("mysql://u:geheim@db.example/shop{parameters}");
        let source = json!({"name": "shop", "kind": "mysql", "url": url, "queries": {"people": "SELECT 1"}});
        let answer = app.post(SOURCES, &source).await;
        assert!(!answer.text.contains("geheim"), "{}", answer.text);
        assert!(answer.text.contains(why), "{parameters}: {}", answer.text);
        answer.expect_invalid("/url");
    }
    app.finish().await;
}
