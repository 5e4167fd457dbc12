//! A database of an earlier version of Candor still shows the emails that it sent, byte for byte. If this test fails, the way in which emails
//! are written has changed: the new way needs its own number (`FORM` in `delivery/email.rs`), and the earlier one must stay.
//!
//! The file was made by a version of December 2026 with the form 2: a detection in two languages and an update, to people who read
//! English, German and Arabic, signed with a key that is not kept.

use std::io::Read;

use candor::db::DatabaseUrl;
use reqwest::Method;
use sha2::{Digest, Sha256};

use crate::support::{Env, TestApp, on_one_database};

on_one_database!(emails_are_shown_byte_for_byte);

const FORM_2: &[u8] = include_bytes!("fixtures/as-sent/form-2.db.gz");
/// The SHA-256 of each email as it was sent, by the ID of its delivery.
const SENT: [&str; 6] = [
    "a242ab61cc3e88607b37fe43c3a2667d7729571d0300909879f868fbb535e321",
    "5f5562f7a73c8ae3a9c0c4d9ace5da69b2ef52973299cbfae89ed4389f1de71d",
    "9baa93d4b433b08da692c8981a683d19866d812f32ca3d1c6aee1aa8a8fd6326",
    "66accece6495f07aa4ae1ddeee224b1613a4f221a1eb29a5b67e9eebf51cfac2",
    "dc48cd85572a87e49876779e1f69ed6ab75063284e2a024afcf01a5afdea266f",
    "bedab2654ba8fe7511cd59717d6591c35e60df55fd640a118d37a6e97902b6ab",
];

async fn emails_are_shown_byte_for_byte(env: Env) {
    let url = DatabaseUrl::parse(&env.database_url).expect("a URL");
    let path = url.sqlite_path().expect("SQLite");
    let mut database = Vec::new();
    flate2::read::GzDecoder::new(FORM_2)
        .read_to_end(&mut database)
        .expect("the file");
    for rest in ["-wal", "-shm"] {
        // There is no such file if the new database was closed.
        let _ = std::fs::remove_file(format!("{path}{rest}"));
    }
    std::fs::write(path, database).expect("a database");
    let app = TestApp::builder(&env).at("2027-01-15T12:00:00Z").start().await;
    for (delivery, sha256) in (1..).zip(SENT) {
        let request = app.request(Method::GET, &format!("/api/v1/deliveries/{delivery}/mail"));
        let (_, mail) = request.download().await;
        let text = String::from_utf8_lossy(&mail);
        assert_eq!(format!("{:x}", Sha256::digest(&mail)), sha256, "{text}");
    }
    assert_eq!(app.get("/api/v1/audit/verify").await.expect(200)["ok"], true);
    app.finish().await;
}
