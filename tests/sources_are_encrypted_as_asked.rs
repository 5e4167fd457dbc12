//! The URL of a MySQL source decides about the encryption. If TLS is required, nothing is sent without it. A
//! certificate is accepted only from a trusted authority and for the name in the URL.

use std::net::{Ipv4Addr, ToSocketAddrs};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::shop::{ASSETS, CUSTOMERS, Shop};
use crate::support::{Certificate, DEADLINE, Env, TestApp, mysql_server, on_both_databases};

on_both_databases!(
    a_mysql_is_read_over_tls,
    a_mysql_without_tls_hears_no_password,
    what_was_said_in_the_open_does_not_count_inside,
    what_is_asked_of_tls_is_checked,
);

const SOURCES: &str = "/api/v1/directory/sources";

/// Tests a source and deletes it afterwards. Returns its error, if there is one, and the whole answer.
async fn looked_at(app: &TestApp, source: &Value) -> (String, Value) {
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

    // The server itself accepts the user `sealed` only with TLS.
    let name = mysql_server::NAME;
    let (said, look) = looked_at(&app, &at("sealed", name, &required)).await;
    assert_eq!(said, "", "{look}");
    assert_eq!(look["ok"], true, "{look}");
    let resources = look["queries"]
        .as_array()
        .and_then(|all| all.iter().find(|query| query["kind"] == "resource"))
        .expect("the resources");
    assert_eq!(resources["total"], CUSTOMERS * 2 + ASSETS);

    // The server listens on one address only, so the other name cannot be reached.
    let mut addresses = ("localhost", 0).to_socket_addrs().expect("an address");
    let of_another_name = match addresses.next().is_some_and(|first| first.is_ipv4()) {
        true => "not valid for name",
        false => "",
    };
    for (user, host, parameters, why) in [
        ("sealed", name, "", "Access denied"),
        ("sealed", name, "?tls=none", "Access denied"),
        ("sealed", name, "?tls=required", "UnknownIssuer"),
        ("tester", name, "?tls=required", "UnknownIssuer"),
        ("sealed", "localhost", &required, of_another_name),
        (
            "sealed",
            name,
            "?tls=required&tls_ca=/nowhere/ca.pem",
            "tls_ca, /nowhere/ca.pem: No such file",
        ),
        (
            "sealed",
            name,
            "?tls=required&tls_ca=/dev/zero",
            "tls_ca, /dev/zero: is not a file of certificates",
        ),
    ] {
        let (said, look) = looked_at(&app, &at(user, host, parameters)).await;
        assert!(said.contains(why), "{user} {host} {parameters}: {look}");
        assert_eq!(look["ok"], false, "{look}");
    }
    app.finish().await;
}

/// Returns a packet of the protocol, with its number in the exchange.
fn packet(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    let length = u8::try_from(payload.len()).expect("a short packet");
    [&[length, 0, 0, number], &payload[..]].concat()
}

/// Returns the greeting of a server: protocol 10, and a password with `mysql_native_password`.
fn greeting(offers_tls: bool) -> Vec<u8> {
    const PROTOCOL_41_AND_SECURE: u16 = 0x8200;
    const TLS: u16 = 0x0800;
    const PLUGINS: [u8; 2] = 0x0008_u16.to_le_bytes();
    let capabilities = PROTOCOL_41_AND_SECURE | if offers_tls { TLS } else { 0 };
    let parts: [&[u8]; 11] = [
        &[10],
        b"8.0.36\0",
        &[1, 0, 0, 0],
        b"abcdefgh\0",
        &capabilities.to_le_bytes(),
        &[33, 2, 0],
        &PLUGINS,
        &[21],
        &[0; 10],
        b"ijklmnopqrst\0",
        b"mysql_native_password\0",
    ];
    packet(0, &parts)
}

/// Runs a server for one connection with the given dialogue.
async fn server<T: Send + 'static, F: Future<Output = T> + Send>(
    then: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let done = tokio::spawn(async move {
        let accepted = tokio::time::timeout(DEADLINE, listener.accept()).await;
        let (stream, _) = accepted.expect("somebody comes").expect("a connection");
        then(stream).await
    });
    (port, done)
}

fn source(url: String) -> Value {
    json!({"name": "plain", "kind": "mysql", "url": url, "queries": {"people": "SELECT 1 AS id"}})
}

async fn a_mysql_without_tls_hears_no_password(env: Env) {
    let app = TestApp::start(&env).await;
    for (parameters, hears) in [("?tls=required", false), ("", true)] {
        let (port, heard) = server(|mut stream| async move {
            stream.write_all(&greeting(false)).await.expect("a greeting");
            let mut bytes = [0; 512];
            let length = stream.read(&mut bytes).await.unwrap_or(0);
            bytes[..length].to_vec()
        })
        .await;
        let url = format!("mysql://hushed:geheim@127.0.0.1:{port}/shop{parameters}");
        let (said, look) = looked_at(&app, &source(url)).await;
        assert_eq!(look["ok"], false, "{look}");
        let heard = heard.await.expect("a server");
        let user = heard.windows(6).any(|part| part == b"hushed");
        assert_eq!(user, hears, "{parameters}: {said}: {heard:?}");
        if !hears {
            // The server gets at most a goodbye.
            assert!([&[][..], &[1, 0, 0, 0, 1]].contains(&&heard[..]), "{heard:?}");
        }
    }
    app.finish().await;
}

/// An attacker on the network cannot read encrypted data, but can insert answers before the encryption.
async fn what_was_said_in_the_open_does_not_count_inside(env: Env) {
    let app = TestApp::start(&env).await;
    let certificate = Certificate::new();
    let authority = certificate.trusted_by(&env.directory);
    let (port, served) = server(move |mut stream| async move {
        let welcome = packet(3, &[&[0, 0, 0, 2, 0, 0, 0]]);
        let end: &[u8] = &[0xfe, 0, 0, 2, 0];
        let column: [&[u8]; 8] = [
            b"\x03def",
            &[0, 0, 0],
            b"\x01v",
            &[0, 12],
            &[33, 0],
            &[20, 0, 0, 0],
            &[0xfd, 0, 0, 0],
            &[0, 0],
        ];
        let answer = [
            packet(1, &[&[1]]),
            packet(2, &column),
            packet(3, &[end]),
            packet(4, &[b"\x0816777216"]),
            packet(5, &[end]),
        ]
        .concat();
        let said = [greeting(true), welcome, answer.repeat(20)].concat();
        stream.write_all(&said).await.expect("a greeting and more");
        // The request for TLS.
        let mut asked = [0; 36];
        stream.read_exact(&mut asked).await.expect("a question");
        let acceptor = TlsAcceptor::from(certificate.server());
        let mut stream = acceptor.accept(stream).await.expect("TLS");
        let mut heard = Vec::new();
        // A refused client waits for an answer, but not without an end.
        let all = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut heard));
        let _ = all.await;
        heard
    })
    .await;
    let url = format!(
        "mysql://hushed:geheim@127.0.0.1:{port}/shop?tls=required&tls_ca={}",
        authority.display()
    );
    let (said, look) = looked_at(&app, &source(url)).await;
    assert_eq!(look["ok"], false, "{look}");
    assert!(said.contains("sent unencrypted data"), "{look}");
    served.await.expect("a server");
    app.finish().await;
}

async fn what_is_asked_of_tls_is_checked(env: Env) {
    let app = TestApp::start(&env).await;
    for (parameters, why) in [
        (
            "?tls=maybe",
            "has the parameter tls, which must be `required` or `none`",
        ),
        (
            "?tls=",
            "has the parameter tls, which must be `required` or `none`",
        ),
        ("?tls=required&tls=none", "has the parameter tls twice"),
        (
            "?tls=required&tls_ca=",
            "has the parameter tls_ca, which must be the path of a file",
        ),
        (
            "?tls_ca=/etc/ca.pem",
            "parameter tls_ca, which is only allowed together with tls=required",
        ),
        (
            "?tls=none&tls_ca=/etc/ca.pem",
            "parameter tls_ca, which is only allowed together with tls=required",
        ),
        (
            "?enable_cleartext_plugin=true",
            "parameter enable_cleartext_plugin, which is only allowed together with tls=required",
        ),
        (
            "?compress=geheim",
            "has the parameter compress with an unknown value",
        ),
        ("?root_cert_path=/geheim.pem", "has an unknown parameter"),
        (
            "?tls=required&danger_accept_invalid_certs=true",
            "has an unknown parameter",
        ),
        ("?host=geheim.example", "has an unknown parameter"),
        ("?geheim@db.example/shop", "has an unknown parameter"),
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
