//! An endpoint must be on the public internet and must prove its name. Otherwise nothing is sent to it,
//! whatever its URL and its DNS entries are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;

use candor::egress::{self, Policy};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::story::ACCOUNT;
use crate::support::{Binary, DEADLINE, Env, Http, TestApp, eventually, on_one_database};

on_one_database!(
    an_inner_address_is_refused_in_every_notation,
    a_name_that_leads_inside_is_refused_when_it_is_resolved,
    an_intranet_can_be_allowed_and_metadata_never,
    a_setting_that_became_narrower_counts_at_once,
    a_certificate_must_be_valid_for_the_name,
);

fn endpoints() -> String {
    format!("/api/v1/accounts/{ACCOUNT}/endpoints")
}

/// Waits until the only call of a notice had an attempt, and returns it.
async fn attempted(app: &Http, notice: &str) -> Value {
    eventually("an attempt", DEADLINE, async || {
        let calls = app
            .all(&format!("/api/v1/notices/{notice}/deliveries?channel=webhook"))
            .await;
        assert_eq!(calls.len(), 1, "{calls:#?}");
        let tried = calls[0]["attempts"]
            .as_array()
            .is_some_and(|tried| !tried.is_empty());
        tried.then(|| calls[0].clone())
    })
    .await
}

async fn an_inner_address_is_refused_in_every_notation(env: Env) {
    let app = TestApp::start(&env).await;
    app.story_incident().await;
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "10.1",
        "172.16.0.1",
        "192.168.1.1",
        "0xc0a80101",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "168.63.129.16",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:8.8.8.8]",
        "[::127.0.0.1]",
        "[64:ff9b::169.254.169.254]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[2001:db8::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
    ] {
        for port in ["", ":8443"] {
            let url = format!("https://{host}{port}/hook");
            let refused = app
                .post(&endpoints(), json!({"url": url}))
                .await
                .expect_invalid("/url");
            let detail = refused["errors"][0]["detail"].as_str().expect("a reason");
            assert!(detail.starts_with("is not allowed: it is "), "{host}: {detail}");
        }
    }
    for url in [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "unix:///run/docker.sock",
        "javascript:alert(1)",
        "https:///",
        "https://",
        "hooks.example.com",
        "//hooks.example.com/",
        "https://user@hooks.example.com/",
        "https://:password@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:70000/",
        "https://[fe80::1%25eth0]/",
        "https://hooks example.com/",
        "https://hooks.example.com/\r\nX: y",
        " https://hooks.example.com/",
        "https://256.256.256.256/",
        "https://0x100000000/",
        "https://exa\u{0}mple.com/",
        "",
    ] {
        app.post(&endpoints(), json!({"url": url}))
            .await
            .expect_invalid("/url");
    }
    let long = format!("https://hooks.example.com/{}", "x".repeat(egress::MAX_URL));
    app.post(&endpoints(), json!({"url": long}))
        .await
        .expect_invalid("/url");
    assert_eq!(env.count("endpoints"), 0);
    app.finish().await;
}

async fn a_name_that_leads_inside_is_refused_when_it_is_resolved(env: Env) {
    let inside = TcpListener::bind("127.0.0.1:0").expect("a port");
    inside.set_nonblocking(true).expect("non-blocking");
    let port = inside.local_addr().expect("an address").port();
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    // Any name is accepted. The address that it resolves to is checked when it is called.
    let url = format!("https://localhost:{port}/");
    let id = app.post(&endpoints(), json!({"url": url})).await.expect(201).id();
    let notice = app.tell(&incident, "detection").await;
    let refused = attempted(&app, &notice).await;
    assert_eq!(
        json!([refused["state"], refused["attempts"][0]["reply"]]),
        json!([
            "failed",
            "the host name resolves to an address that is not allowed: it is a loopback address"
        ])
    );
    let tested = app
        .post(&format!("/api/v1/endpoints/{id}/test"), json!({}))
        .await
        .expect(200);
    assert_eq!(tested["outcome"], "failed");
    // No connection was attempted.
    let knocked = inside.accept().map(|(_, from)| from);
    assert_eq!(
        knocked.map_err(|error| error.kind()),
        Err(std::io::ErrorKind::WouldBlock)
    );
    app.finish().await;
}

async fn an_intranet_can_be_allowed_and_metadata_never(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.webhook_allow = Policy::Private)
        .start()
        .await;
    app.story_incident().await;
    for host in [
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[::ffff:10.0.0.1]",
        "0.0.0.0",
        "224.0.0.1",
    ] {
        let url = format!("http://{host}/latest/meta-data");
        app.post(&endpoints(), json!({"url": url}))
            .await
            .expect_invalid("/url");
    }
    for host in ["127.0.0.1", "10.1.2.3", "[::1]", "intranet.example"] {
        let url = format!("http://{host}/hook");
        app.post(&endpoints(), json!({"url": url})).await.expect(201);
    }
    app.finish().await;
}

async fn a_setting_that_became_narrower_counts_at_once(env: Env) {
    let inside = TcpListener::bind("127.0.0.1:0").expect("a port");
    inside.set_nonblocking(true).expect("non-blocking");
    let url = format!("http://{}/", inside.local_addr().expect("an address"));
    let wide = TestApp::builder(&env)
        .config(|config| config.webhook_allow = Policy::Private)
        .start()
        .await;
    let incident = wide.story_incident().await;
    wide.post(&endpoints(), json!({"url": url})).await.expect(201);
    wide.finish().await;
    let app = TestApp::start(&env).await;
    let notice = app.tell(&incident, "detection").await;
    let refused = attempted(&app, &notice).await;
    assert_eq!(
        json!([refused["state"], refused["attempts"][0]["reply"]]),
        json!(["failed", "the URL must begin with https://"])
    );
    assert!(inside.accept().is_err());
    app.finish().await;
}

/// Starts a TLS server with this name that answers every request with 200. Returns its port and the
/// certificate of its authority.
async fn tls_server(name: &str) -> (u16, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new([name.to_owned()])
        .expect("a name")
        .signed_by(&key, &authority)
        .expect("a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    actix_web::rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust the certificate closes the connection here.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok() {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (port, authority.pem())
}

async fn a_certificate_must_be_valid_for_the_name(env: Env) {
    let (right, authority) = tls_server("localhost").await;
    let (wrong, other) = tls_server("elsewhere.example").await;
    let trusted = env.directory.join("authorities.pem");
    std::fs::write(&trusted, format!("{authority}{other}")).expect("a file");
    let mut candor = Binary::new(&env).setting("webhook_allow", "private");
    candor.serve().await;
    candor.story_incident().await;
    let made = |port: u16| json!({"url": format!("https://localhost:{port}/")});
    let right = candor.post(&endpoints(), made(right)).await.expect(201).id();
    let wrong = candor.post(&endpoints(), made(wrong)).await.expect(201).id();
    let test = async |candor: &Binary, id: &str| {
        candor
            .post(&format!("/api/v1/endpoints/{id}/test"), json!({}))
            .await
            .expect(200)
            .json
    };
    // The authority is not trusted by this machine.
    let unknown = test(&candor, &right).await;
    assert_eq!(unknown["outcome"], "retry");
    let reply = unknown["reply"].as_str().expect("a reply");
    assert!(
        reply.starts_with("TLS failed: ") && reply.contains("UnknownIssuer"),
        "{reply}"
    );
    candor.terminate().await.expect(0);

    let mut candor = candor.environment("SSL_CERT_FILE", trusted.display());
    candor.serve().await;
    assert_eq!(
        test(&candor, &right).await,
        json!({"outcome": "sent", "reply": "200 OK ok"})
    );
    let reply = test(&candor, &wrong).await["reply"].to_string();
    assert!(reply.contains("not valid for name"), "{reply}");
    candor.finish().await;
}

/// The blocks of IANA's registries of special-purpose addresses as text, which is independent of the tested
/// code.
const NOT_PUBLIC: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 \
     192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 \
     168.63.129.16/32 ::/3 2001::/23 2001:db8::/32 2002::/16 3fff::/20 4000::/2 8000::/1";

fn reference(address: IpAddr) -> bool {
    // A translated address is treated as the address that it stands for.
    if let IpAddr::V6(v6) = address
        && let [0x64, 0xff9b, 0, 0, 0, 0, ..] = v6.segments()
    {
        let [.., a, b, c, d] = v6.octets();
        return reference(IpAddr::V4(Ipv4Addr::new(a, b, c, d)));
    }
    let bits = |address: IpAddr| -> String {
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        octets.iter().map(|octet| format!("{octet:08b}")).collect()
    };
    !NOT_PUBLIC.split_whitespace().any(|block| {
        let (first, length) = block.split_once('/').expect("a block");
        let first: IpAddr = first.parse().expect("an address");
        let length: usize = length.parse().expect("a number");
        first.is_ipv4() == address.is_ipv4() && bits(first)[..length] == bits(address)[..length]
    })
}

/// Any address, and often one at the edge of a block.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let blocks: Vec<(IpAddr, u32)> = NOT_PUBLIC
        .split_whitespace()
        .chain([
            "64:ff9b::/96",
            "::ffff:0:0/96",
            "fc00::/7",
            "fe80::/10",
            "64:ff9b::a9fe:0/112",
        ])
        .map(|block| {
            let (first, length) = block.split_once('/').expect("a block");
            (
                first.parse().expect("an address"),
                length.parse().expect("a number"),
            )
        })
        .collect();
    let near = (
        prop::sample::select(blocks),
        any::<u128>(),
        -2_i64..3,
        any::<bool>(),
    )
        .prop_map(|((first, length), inside, step, at_edge)| match first {
            IpAddr::V4(v4) => {
                let size = 1_u64 << (32 - length);
                let offset = if at_edge { 0 } else { inside as u64 % size };
                let bits = (i64::from(v4.to_bits()) + offset as i64 + step) as u32;
                IpAddr::V4(Ipv4Addr::from_bits(bits))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shr(length).unwrap_or(0);
                let offset = if at_edge { 0 } else { inside & mask };
                let bits = v6
                    .to_bits()
                    .wrapping_add(offset)
                    .wrapping_add(step as i128 as u128);
                IpAddr::V6(Ipv6Addr::from_bits(bits))
            }
        });
    let any_v4 = any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let any_v6 = any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
    prop_oneof![4 => near, 1 => any_v4, 1 => any_v6]
}

/// The notations in which a browser would accept an IPv4 address.
fn notations(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let whole = address.to_bits();
    let last_three = whole & 0x00ff_ffff;
    let last_two = whole & 0xffff;
    vec![
        address.to_string(),
        format!("{whole}"),
        format!("{whole:#x}"),
        format!("0{whole:o}"),
        format!("{a:#x}.{b:#X}.{c}.0{d:o}"),
        format!("{a}.{last_three}"),
        format!("{a}.{b}.{last_two:#x}"),
        format!("{address}."),
        format!(
            "%{:02x}{}",
            address.to_string().as_bytes()[0],
            &address.to_string()[1..]
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_address_is_public_where_the_registry_says_so(address in addresses()) {
        let allowed = egress::check(address, Policy::Public).is_ok();
        prop_assert_eq!(allowed, reference(address), "{}", address);
        // The wider policy allows at least the same addresses.
        prop_assert!(!allowed || egress::check(address, Policy::Private).is_ok());
    }

    #[test]
    fn no_notation_makes_a_difference(address in addresses()) {
        let hosts = match address {
            IpAddr::V4(v4) => notations(v4),
            IpAddr::V6(v6) => vec![format!("[{v6}]")],
        };
        for host in hosts {
            let url = format!("https://{host}/");
            prop_assert_eq!(
                egress::check_url(&url, Policy::Public).is_ok(),
                reference(address),
                "{}", url
            );
        }
    }
}
