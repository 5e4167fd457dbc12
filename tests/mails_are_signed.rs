//! DKIM: if keys are set, every email has a signature for each of them. It covers what a reader sees and both
//! unsubscribe headers. It is valid for the received email, and invalid after any change.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Binary, Env, TestApp, on_one_database, story_directory};

on_one_database!(
    a_mail_is_signed_with_every_key,
    a_key_that_is_none_stops_the_start,
);

/// These keys sign only the emails of these tests.
const ED25519_KEY: &str = include_str!("support/keys/dkim_ed25519.pem");
const RSA_KEY: &str = include_str!("support/keys/dkim_rsa.pem");

/// The fields of a signature and the headers that it covers.
struct Signature {
    tags: Vec<(String, String)>,
    /// The header without the signature itself.
    unsigned: String,
}

impl Signature {
    fn tag(&self, name: &str) -> &str {
        &self.tags.iter().find(|(tag, _)| tag == name).expect(name).1
    }
}

async fn a_mail_is_signed_with_every_key(env: Env) {
    let (ed, rsa) = (env.directory.join("ed.pem"), env.directory.join("rsa.pem"));
    std::fs::write(&ed, ED25519_KEY).unwrap();
    std::fs::write(&rsa, RSA_KEY).unwrap();
    let app = TestApp::builder(&env)
        .config(|config| {
            config.mail_from = "Quickbyte <help@quickbyte.example>".to_owned();
            config.dkim_keys = Some(format!("ed:{},rsa:{}", ed.display(), rsa.display()));
        })
        .start()
        .await;
    app.import(story_directory()).await.expect(200);
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    for mail in app.mails(3).await {
        let message = String::from_utf8(mail.caught.data.clone()).unwrap();
        let signatures = signatures(&message);
        let selectors: Vec<&str> = signatures.iter().map(|signature| signature.tag("s")).collect();
        assert_eq!(selectors, ["ed", "rsa"]);
        for signature in &signatures {
            assert_eq!(signature.tag("d"), "quickbyte.example");
            let signed: Vec<&str> = signature.tag("h").split(':').collect();
            for header in [
                "from",
                "to",
                "subject",
                "date",
                "message-id",
                "list-unsubscribe",
                "list-unsubscribe-post",
                "candor-audit",
            ] {
                assert!(signed.contains(&header), "{header} is not signed");
            }
            assert!(holds(&message, signature), "{}", signature.tag("s"));
            for (is, instead) in [
                ("Subject: ", "Subject: Re: "),
                ("List-Unsubscribe: <http", "List-Unsubscribe: <https"),
                ("To: ", "To: x"),
                ("Candor-Audit: ", "Candor-Audit: x"),
                ("</html>", "!</html>"),
            ] {
                let changed = message.replacen(is, instead, 1);
                assert_ne!(changed, message, "{is}");
                assert!(!holds(&changed, signature), "{is} may be changed");
            }
            let second = message.replacen("From: ", "From: Somebody Else <x@evil.example>\r\nFrom: ", 1);
            assert!(!holds(&second, signature), "a second From may be added");
        }
    }
    app.finish().await;
}

/// An invalid key makes the start fail, and no part of it is shown.
async fn a_key_that_is_none_stops_the_start(env: Env) {
    let file = env.directory.join("key.pem");
    std::fs::write(
        &file,
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    for (keys, said) in [
        (format!("one:{}", file.display()), "one: "),
        ("one:/does/not/exist".to_owned(), "/does/not/exist"),
        ("no selector".to_owned(), "SELECTOR:FILE"),
    ] {
        let output = Binary::new(&env).setting("dkim_keys", &keys).run(["serve"]).await;
        assert!(output.code.is_some_and(|code| code != 0));
        let shown = output.stderr;
        assert!(shown.contains("dkim_keys") && shown.contains(said), "{shown}");
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }
}

fn headers(message: &str) -> Vec<String> {
    let head = message.split("\r\n\r\n").next().unwrap();
    let mut headers: Vec<String> = Vec::new();
    for line in head.split("\r\n") {
        if line.starts_with([' ', '\t']) {
            let last = headers.last_mut().unwrap();
            last.push_str("\r\n");
            last.push_str(line);
        } else {
            headers.push(line.to_owned());
        }
    }
    headers
}

fn signatures(message: &str) -> Vec<Signature> {
    headers(message)
        .into_iter()
        .filter(|header| header.starts_with("DKIM-Signature:"))
        .map(|header| {
            let (name, value) = header.split_once(':').unwrap();
            let tags = value
                .split(';')
                .map(|tag| {
                    let (tag, value) = tag.split_once('=').unwrap();
                    let value: String = value.split_whitespace().collect();
                    (tag.trim().to_owned(), value)
                })
                .collect();
            let (before, _) = value.rsplit_once("b=").unwrap();
            Signature {
                tags,
                unsigned: relaxed(&format!("{name}:{before}b=")),
            }
        })
        .collect()
}

/// The relaxed canonicalisation of RFC 6376, section 3.4.2.
fn relaxed(header: &str) -> String {
    let (name, value) = header.split_once(':').unwrap();
    let words: Vec<&str> = value.split_whitespace().collect();
    format!("{}:{}", name.trim().to_lowercase(), words.join(" "))
}

/// Verifies a signature as the recipient's server does.
fn holds(message: &str, signature: &Signature) -> bool {
    let body = message.split_once("\r\n\r\n").unwrap().1;
    let mut lines: Vec<String> = body
        .split("\r\n")
        .map(|line| {
            let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            let indent = if line.starts_with([' ', '\t']) && !words.is_empty() {
                " "
            } else {
                ""
            };
            format!("{indent}{}", words.join(" "))
        })
        .collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    if STANDARD.encode(digest(&SHA256, body.as_bytes())) != signature.tag("bh") {
        return false;
    }
    let mut rest = headers(message);
    let mut data = String::new();
    for name in signature.tag("h").split(':') {
        let found = rest
            .iter()
            .rposition(|header| header.split(':').next().unwrap().eq_ignore_ascii_case(name));
        if let Some(at) = found {
            data.push_str(&relaxed(&rest.remove(at)));
            data.push_str("\r\n");
        }
    }
    data.push_str(&signature.unsigned);
    let proof = STANDARD.decode(signature.tag("b")).unwrap();
    match signature.tag("a") {
        "ed25519-sha256" => {
            let public = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(ED25519_KEY)).unwrap();
            let hash = digest(&SHA256, data.as_bytes());
            UnparsedPublicKey::new(&ED25519, public.public_key().as_ref())
                .verify(hash.as_ref(), &proof)
                .is_ok()
        }
        "rsa-sha256" => {
            let public = RsaKeyPair::from_pkcs8(&der(RSA_KEY)).unwrap();
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public.public_key().as_ref())
                .verify(data.as_bytes(), &proof)
                .is_ok()
        }
        other => panic!("{other}"),
    }
}

fn der(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(text).unwrap()
}
