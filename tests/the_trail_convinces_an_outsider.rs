//! Somebody who does not trust the owner of the database can verify the audit trail: one event is proven without the others, a
//! checkpoint is signed, authorities confirm its time, and one old email shows that history was rewritten.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use candor::audit::checkpoint::Checkpoint;
use candor::audit::merkle::{
    self, Hash, consistency_parts, inclusion_parts, joined, leaf_hash, node_hash, root_from,
    verify_consistency, verify_inclusion,
};
use candor::audit::note::{SigningKey, VerifierKey};
use candor::audit::{Action, Actor, Event, tiles};
use candor::base::time::{Clock, Timestamp};
use candor::db::{DatabaseUrl, Db};
use candor::egress::Policy;
use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::browser::Browser;
use crate::support::receiver::{Receiver, Reply};
use crate::support::stamps::StampAuthority;
use crate::support::{
    Answer, Backend, Binary, Env, TestApp, on_both_databases, on_one_database, story_directory,
};

on_both_databases!(
    an_event_is_proven_without_the_others,
    the_tree_does_not_depend_on_what_is_stored,
    a_mirror_makes_the_tree_from_tiles,
    what_is_stored_about_the_tree_cannot_be_changed,
    an_old_database_gets_its_tree,
    whoever_rewrites_everything_is_found_by_one_email,
    an_authority_confirms_the_time,
    the_key_may_come_from_a_file,
);
on_one_database!(
    an_email_without_a_checkpoint_says_so,
    what_an_authority_answers_is_verified,
    the_page_proves_it,
);

async fn verify(app: &TestApp) -> Answer {
    app.get("/api/v1/audit/verify").await.expect(200)
}

/// Returns the checkpoint of an answer, after its signature was verified with the key of the service.
async fn opened(app: &TestApp, path: &str) -> Checkpoint {
    let note = app.get(path).await.expect(200);
    assert_eq!(note.header("content-type"), "text/plain; charset=utf-8");
    let key = app.get("/api/v1/audit/key").await.expect(200).text;
    let key = VerifierKey::parse(&key).expect("a key");
    Checkpoint::parse(key.open(&note.text).expect("a signed note")).expect("a checkpoint")
}

fn hash_in(value: &Value) -> Hash {
    STANDARD
        .decode(value.as_str().expect("base64"))
        .expect("base64")
        .try_into()
        .expect("32 bytes")
}

fn hashes_in(proof: &Value) -> Vec<Hash> {
    proof["hashes"]
        .as_array()
        .expect("hashes")
        .iter()
        .map(hash_in)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns all events, oldest first.
async fn events(app: &TestApp) -> Vec<Value> {
    let mut events = app.all("/api/v1/audit?limit=500").await;
    events.reverse();
    events
}

/// Returns the leaves of events, as the documentation defines them.
fn leaves(events: &[Value]) -> Vec<Hash> {
    let bytes = |event: &Value| -> Vec<u8> {
        let hash = event["hash"].as_str().expect("a hash");
        (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&hash[at..at + 2], 16).expect("a digit"))
            .collect()
    };
    events.iter().map(|event| leaf_hash(&bytes(event))).collect()
}

/// The tree as RFC 6962 defines it.
fn naive(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&naive(left), &naive(right))
        }
    }
}

async fn an_event_is_proven_without_the_others(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let old = opened(&app, "/api/v1/audit/checkpoint").await;
    app.story_incident().await;
    let new = opened(&app, "/api/v1/audit/checkpoint").await;
    assert!(new.size > old.size, "{} {}", new.size, old.size);
    let all = events(&app).await;
    assert_eq!(all.len() as i64, new.size);
    assert_eq!(new.root, naive(&leaves(&all)));
    // The public URL of a test is an address and a port, and the origin is its host.
    assert_eq!(new.origin, "127.0.0.1");
    for seq in 1..=new.size {
        let proof = app
            .get(&format!("/api/v1/audit/proof?seq={seq}&size={}", new.size))
            .await
            .expect(200);
        // The event is hashed as it is shown, and so is its leaf. Nothing else of the trail is in the proof.
        let canonical = proof["event"].as_str().expect("an event");
        let hash = Sha256::digest(canonical.as_bytes());
        assert_eq!(
            hex(&hash),
            all[seq as usize - 1]["hash"].as_str().expect("a hash")
        );
        let leaf = leaf_hash(&hash);
        assert_eq!(hash_in(&proof["leaf"]), leaf);
        let (position, size) = (seq as u64 - 1, new.size as u64);
        assert!(verify_inclusion(
            position,
            size,
            &leaf,
            &hashes_in(&proof.json),
            &new.root
        ));
        assert!(!verify_inclusion(
            position,
            size,
            &leaf_hash(b"other"),
            &hashes_in(&proof.json),
            &new.root
        ));
    }
    let path = format!("/api/v1/audit/proof?from={}&size={}", old.size, new.size);
    let proof = app.get(&path).await.expect(200);
    assert_eq!(hash_in(&proof["from_root"]), old.root);
    assert!(verify_consistency(
        old.size as u64,
        new.size as u64,
        &old.root,
        &new.root,
        &hashes_in(&proof.json)
    ));
    // An old checkpoint can be asked for again.
    let again = opened(&app, &format!("/api/v1/audit/checkpoint?size={}", old.size)).await;
    assert_eq!(again, old);

    for (query, place) in [
        ("seq=0", "?seq"),
        ("seq=-1", "?seq"),
        ("seq=1000000", "?seq"),
        ("seq=1&size=1000000", "?size"),
        ("seq=1&size=-1", "?size"),
        ("seq=1&from=1", "?seq"),
        ("", "?seq"),
        ("from=3&size=2", "?from"),
        ("from=-1", "?from"),
        ("seq=1&sise=2", "?sise"),
    ] {
        app.get(&format!("/api/v1/audit/proof?{query}"))
            .await
            .expect_invalid(place);
    }
    app.get("/api/v1/audit/checkpoint?size=1000000")
        .await
        .expect_invalid("?size");
    let viewer = app.as_new("viewer").await;
    for path in ["checkpoint", "key", "proof?seq=1", "verify", "timestamps"] {
        viewer.get(&format!("/api/v1/audit/{path}")).await.expect(200);
        app.anonymous()
            .get(&format!("/api/v1/audit/{path}"))
            .await
            .expect_problem(401);
    }
    viewer
        .post("/api/v1/audit/timestamps", json!({}))
        .await
        .expect_problem(403);
    app.finish().await;
}

async fn database(env: &Env) -> Db {
    let url = DatabaseUrl::parse(&env.database_url).expect("a URL");
    Db::open(url, Clock::system()).await.expect("a database")
}

/// Writes this many events in one transaction.
async fn write(db: &Db, count: usize) {
    db.write(&Actor::system("test"), move |tx| {
        for number in 0..count {
            tx.record(Event::new(Action::TimelineAdded, "incident", number.to_string()));
        }
        Ok(())
    })
    .await
    .expect("events");
}

/// Downloads a tile of the tree.
async fn tile(app: &TestApp, path: &str) -> Vec<u8> {
    let path = format!("/api/v1/audit/tile/{path}");
    let (headers, bytes) = app.request(Method::GET, &path).download().await;
    assert_eq!(headers["content-type"], "application/octet-stream");
    bytes
}

async fn a_mirror_makes_the_tree_from_tiles(env: Env) {
    // Without workers, nobody stores tiles but this test.
    let app = TestApp::builder(&env).workers(false).start().await;
    let db = database(&env).await;
    write(&db, 700).await;
    tiles::catch_up(&db).await.expect("tiles");
    let checkpoint = opened(&app, "/api/v1/audit/checkpoint").await;
    let complete = checkpoint.size / 256;
    assert!(complete >= 2, "{}", checkpoint.size);
    let mut leaves: Vec<Hash> = Vec::new();
    let mut entries: Vec<Hash> = Vec::new();
    let names = (0..complete)
        .map(|number| format!("{number:03}"))
        .chain([format!("{complete:03}.p/{}", checkpoint.size % 256)]);
    for name in names {
        let hashes = tile(&app, &format!("0/{name}")).await;
        leaves.extend(
            hashes
                .chunks_exact(32)
                .map(|hash| Hash::try_from(hash).expect("32 bytes")),
        );
        let bundle = tile(&app, &format!("entries/{name}")).await;
        for entry in bundle.chunks_exact(34) {
            assert_eq!(entry[..2], [0, 32]);
            entries.push(leaf_hash(&entry[2..]));
        }
    }
    assert_eq!(leaves.len() as i64, checkpoint.size);
    assert_eq!(entries, leaves);
    assert_eq!(root_from(&leaves), checkpoint.root);
    // A tile that the trail does not have yet, and names of nothing.
    for path in [
        format!("0/{complete:03}"),
        "0/x001/000".to_owned(),
        "0/000.p/256".to_owned(),
        "1/000".to_owned(),
        "8/000".to_owned(),
        "0/0".to_owned(),
        "64/000".to_owned(),
        "data/000".to_owned(),
    ] {
        app.get(&format!("/api/v1/audit/tile/{path}")).await.expect(404);
    }
    app.finish().await;
}

async fn the_tree_does_not_depend_on_what_is_stored(env: Env) {
    // Without workers, nobody stores tiles but this test.
    let app = TestApp::builder(&env).workers(false).start().await;
    let db = database(&env).await;
    // One tile of level 1 has 65,536 events.
    write(&db, 66_000).await;
    let before = opened(&app, "/api/v1/audit/checkpoint").await;
    assert_eq!(env.count("audit_tiles"), 0);
    let hashes = env.texts("SELECT hash AS value FROM audit_events ORDER BY seq");
    let hashes: Vec<Value> = hashes.into_iter().map(|hash| json!({"hash": hash})).collect();
    let all = leaves(&hashes);
    assert_eq!((before.size as usize, before.root), (all.len(), root_from(&all)));
    tiles::catch_up(&db).await.expect("tiles");
    assert_eq!(env.count("audit_tiles WHERE level = 0"), before.size / 256);
    assert_eq!(env.count("audit_tiles WHERE level = 1"), before.size / 65_536);
    assert_eq!(opened(&app, "/api/v1/audit/checkpoint").await, before);
    // Storing again stores nothing twice, and later events are added.
    tiles::catch_up(&db).await.expect("tiles");
    write(&db, 700).await;
    tiles::catch_up(&db).await.expect("tiles");
    let after = opened(&app, "/api/v1/audit/checkpoint").await;
    assert_eq!(env.count("audit_tiles WHERE level = 0"), after.size / 256);
    assert_eq!(
        opened(&app, &format!("/api/v1/audit/checkpoint?size={}", before.size)).await,
        before
    );
    for (seq, size) in [
        (1, after.size),
        (65_536, after.size),
        (65_537, 65_537),
        (66_001, 66_100),
        (300, 512),
    ] {
        let proof = app
            .get(&format!("/api/v1/audit/proof?seq={seq}&size={size}"))
            .await
            .expect(200);
        let (leaf, root) = (hash_in(&proof["leaf"]), hash_in(&proof["root"]));
        let position = seq as u64 - 1;
        assert!(
            verify_inclusion(position, size as u64, &leaf, &hashes_in(&proof.json), &root),
            "{seq} {size}"
        );
        assert_eq!(
            root,
            opened(&app, &format!("/api/v1/audit/checkpoint?size={size}"))
                .await
                .root
        );
    }
    let verified = verify(&app).await;
    assert_eq!(verified["ok"], true, "{verified}");
    assert_eq!(hash_in(&verified["root"]), after.root);

    // A tile that does not fit the events is found.
    disarm(&env, &["audit_tiles"]);
    for (level, number, last) in [(0, 3, 1_024), (1, 0, 65_536)] {
        let keep = "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM audit_tiles";
        env.sql(&format!(
            "{keep}; UPDATE audit_tiles SET root = (SELECT root FROM kept WHERE level = 0 AND number = 7) \
             WHERE level = {level} AND number = {number}"
        ))
        .expect("tampering");
        let verified = verify(&app).await;
        assert_eq!(
            (&verified["ok"], &verified["broken_at"]),
            (&json!(false), &json!(last)),
            "{verified}"
        );
        env.sql("DELETE FROM audit_tiles; INSERT INTO audit_tiles SELECT * FROM kept; DROP TABLE kept")
            .expect("repair");
    }
    app.finish().await;
}

async fn what_is_stored_about_the_tree_cannot_be_changed(env: Env) {
    let authority = env.directory.join("authority");
    let trusted = StampAuthority::new(&authority, &["rsa:2048"]).trusted();
    let server = StampAuthority::serve(&authority);
    let app = stamped_by(&env, &[server.url("/tsr")], Some(trusted)).await;
    write(&database(&env).await, 300).await;
    app.post("/api/v1/audit/timestamps", json!({})).await.expect(201);
    tiles::catch_up(&database(&env).await).await.expect("tiles");
    let mut statements = Vec::new();
    for (table, column, other) in [
        ("audit_tiles", "number", "7"),
        ("audit_checkpoints", "at", "at + 1"),
        ("audit_time_stamps", "stamped_at", "stamped_at + 1"),
    ] {
        assert!(env.count(table) > 0, "{table}");
        statements.push(format!("UPDATE {table} SET {column} = {other}"));
        statements.push(format!("DELETE FROM {table}"));
        match env.backend {
            Backend::Sqlite => {
                statements.push(format!("INSERT OR REPLACE INTO {table} SELECT * FROM {table}"))
            }
            Backend::Postgres => statements.push(format!("TRUNCATE {table} CASCADE")),
        }
    }
    for statement in &statements {
        let refused = env.sql(statement).expect_err(statement).to_string();
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
    // With the triggers gone, the verification finds it.
    disarm(&env, &["audit_checkpoints", "audit_time_stamps"]);
    let size: i64 = env.texts("SELECT CAST(size AS TEXT) AS value FROM audit_checkpoints")[0]
        .parse()
        .expect("a number");
    for (change, back) in [
        (
            "audit_checkpoints SET origin = 'other'",
            "audit_checkpoints SET origin = '127.0.0.1'",
        ),
        (
            "audit_checkpoints SET note = note || 'x'",
            "audit_checkpoints SET note = SUBSTR(note, 1, LENGTH(note) - 1)",
        ),
        (
            "audit_checkpoints SET key = 'x' || key",
            "audit_checkpoints SET key = SUBSTR(key, 2)",
        ),
        (
            "audit_time_stamps SET stamped_at = stamped_at - 1000000",
            "audit_time_stamps SET stamped_at = stamped_at + 1000000",
        ),
    ] {
        env.sql(&format!("UPDATE {change}")).expect("tampering");
        let verified = verify(&app).await;
        assert_eq!(
            (&verified["ok"], &verified["broken_at"]),
            (&json!(false), &json!(size)),
            "{change}: {verified}"
        );
        env.sql(&format!("UPDATE {back}")).expect("repair");
    }
    app.finish().await;
}

/// Removes the protection of tables, as an attacker with full access would do first.
fn disarm(env: &Env, tables: &[&str]) {
    match env.backend {
        Backend::Sqlite => {
            for trigger in env.texts("SELECT name AS value FROM sqlite_master WHERE type = 'trigger'") {
                if tables.iter().any(|table| trigger.starts_with(table)) {
                    env.sql(&format!("DROP TRIGGER {trigger}"))
                        .expect("a trigger less");
                }
            }
        }
        Backend::Postgres => {
            for table in tables {
                env.sql(&format!("ALTER TABLE {table} DISABLE TRIGGER USER"))
                    .expect("no triggers");
            }
        }
    }
}

async fn an_old_database_gets_its_tree(env: Env) {
    let mut app = TestApp::builder(&env).workers(false).start().await;
    app.import(story_directory()).await.expect(200);
    write(&database(&env).await, 600).await;
    let before = verify(&app).await;
    app.stop().await;
    // A database of the version before has none of this, and the chain of events is the same.
    env.sql(
        "DROP TABLE audit_time_stamps; DROP TABLE audit_checkpoints; DROP TABLE audit_tiles; \
         DELETE FROM settings WHERE name = 'audit_key'; \
         DELETE FROM __diesel_schema_migrations WHERE version = '20261204000030'",
    )
    .expect("an old database");
    app.start_again().await;
    let after = verify(&app).await;
    assert_eq!(after["ok"], true, "{after}");
    let path = format!("/api/v1/audit/checkpoint?size={}", before["events"]);
    assert_eq!(opened(&app, &path).await.root, hash_in(&before["root"]));
    tiles::catch_up(&database(&env).await).await.expect("tiles");
    let all = leaves(&events(&app).await);
    let checkpoint = opened(&app, "/api/v1/audit/checkpoint").await;
    assert_eq!(
        (checkpoint.size as usize, checkpoint.root),
        (all.len(), naive(&all))
    );
    app.finish().await;
}

/// Returns the hash of an event as the documentation defines it.
fn hash_of(event: &Value) -> String {
    let at = Timestamp::parse(event["at"].as_str().expect("a time"))
        .expect("a time")
        .as_micros();
    let json = |value: &Value| match value {
        Value::Null => Value::Null,
        value => Value::String(value.to_string()),
    };
    let fields = json!([
        event["seq"],
        at,
        event["actor"]["kind"],
        event["actor"]["id"],
        event["actor"]["name"],
        event["action"],
        event["subject"]["type"],
        event["subject"]["id"],
        event["incident"],
        json(&event["before"]),
        json(&event["after"]),
        event["prev_hash"],
    ]);
    hex(&Sha256::digest(fields.to_string().as_bytes()))
}

/// Changes who did the third thing, and makes everything else in the database fit, as somebody with full rights can.
async fn rewrite(app: &TestApp, env: &Env) {
    disarm(
        env,
        &[
            "audit_events",
            "audit_head",
            "audit_tiles",
            "audit_checkpoints",
            "audit_time_stamps",
            "sending_contexts",
        ],
    );
    let mut rewritten = events(app).await;
    let mut statements = String::new();
    let mut prev = "0".repeat(64);
    rewritten[2]["actor"]["name"] = json!("somebody else");
    for event in &mut rewritten {
        event["prev_hash"] = json!(prev);
        prev = hash_of(event);
        event["hash"] = json!(prev);
        statements += &format!(
            "UPDATE audit_events SET prev_hash = '{}', hash = '{prev}' WHERE seq = {};",
            event["prev_hash"].as_str().expect("a hash"),
            event["seq"]
        );
    }
    statements += &format!(
        "UPDATE audit_events SET actor_name = 'somebody else' WHERE seq = 3; UPDATE audit_head SET hash = '{prev}'; \
         DELETE FROM audit_time_stamps; DELETE FROM audit_checkpoints; DELETE FROM audit_tiles;"
    );
    let all = leaves(&rewritten);
    for row in env.texts("SELECT CAST(id AS TEXT) || ' ' || checkpoint AS value FROM sending_contexts") {
        let parts: Vec<&str> = row.split(' ').collect();
        let root = naive(&all[..parts[2].parse::<usize>().expect("a size")]);
        statements += &format!(
            "UPDATE sending_contexts SET checkpoint = '{} {} {}' WHERE id = {};",
            parts[1],
            parts[2],
            STANDARD.encode(root),
            parts[0]
        );
    }
    env.sql(&statements).expect("a rewritten history");
}

async fn with_mail(app: &TestApp, mail: &[u8]) -> Answer {
    app.post_raw("/api/v1/audit/verify/mail", "message/rfc822", mail)
        .await
}

async fn whoever_rewrites_everything_is_found_by_one_email(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    // Nothing is written any more after this.
    app.done(&notice).await;
    let mail = app.mails(3).await.remove(0).caught.data.clone();
    let file = env.directory.join("old.eml");
    std::fs::write(&file, &mail).expect("a file");
    // More happens afterwards.
    app.put("/api/v1/accounts/later", json!({"name": "Later"}))
        .await
        .expect(201);

    let good = with_mail(&app, &mail).await.expect(200);
    assert_eq!(
        (&good["ok"], &good["contained"]),
        (&json!(true), &json!(true)),
        "{good}"
    );
    assert_eq!(good["mail"]["origin"], "127.0.0.1");
    let size = good["mail"]["size"].as_i64().expect("a size");
    assert!(
        size >= 3 && size < good["trail"]["events"].as_i64().expect("a number"),
        "{good}"
    );
    let anchored = |verified: &Answer| -> Vec<Value> {
        let anchors = verified["anchors"].as_array().expect("anchors").clone();
        anchors
            .into_iter()
            .filter(|anchor| anchor["by"] == "email")
            .collect()
    };
    let anchors = anchored(&verify(&app).await);
    assert_eq!(
        (&anchors[0]["from"], &anchors[0]["to"]),
        (&json!(1), &json!(size)),
        "{anchors:?}"
    );
    let command = |mail: &str| {
        let candor = Binary::new(&env);
        let mail = mail.to_owned();
        async move { candor.run(["audit", "verify", "--mail", mail.as_str()]).await }
    };
    let shown = command(&file.display().to_string()).await.expect(0);
    assert!(shown.stdout.contains("begins with exactly"), "{}", shown.stdout);

    rewrite(&app, &env).await;
    // Everything in the database fits. Only the email does not.
    let verified = verify(&app).await;
    assert_eq!(verified["ok"], true, "{verified}");
    assert_eq!(events(&app).await[2]["actor"]["name"], "somebody else");
    let found = with_mail(&app, &mail).await.expect(200);
    assert_eq!(found["ok"], false, "{found}");
    assert_eq!(
        (&found["contained"], &found["trail"]["ok"]),
        (&json!(false), &json!(true)),
        "{found}"
    );
    assert!(
        found["reason"].as_str().expect("a reason").contains("rewritten"),
        "{found}"
    );
    let shown = command(&file.display().to_string()).await.expect(1);
    assert!(shown.stdout.contains("rewritten"), "{}", shown.stdout);

    // A trail that became shorter is found too.
    let short = String::from_utf8(mail).expect("text").replacen(
        &format!("127.0.0.1 {size} "),
        "127.0.0.1 999999 ",
        1,
    );
    let found = with_mail(&app, short.as_bytes()).await.expect(200);
    assert!(
        found["reason"].as_str().expect("a reason").contains("removed"),
        "{found}"
    );
    app.finish().await;
}

async fn an_email_without_a_checkpoint_says_so(env: Env) {
    let app = TestApp::start(&env).await;
    for (text, part) in [
        (
            "Subject: hello\r\n\r\nCandor-Audit: in the body\r\n",
            "no header Candor-Audit",
        ),
        ("Candor-Audit: nonsense\r\n\r\n", "ORIGIN SIZE ROOT"),
        ("this is no email", "not an email"),
        ("", "empty"),
    ] {
        let refused = with_mail(&app, text.as_bytes()).await.expect_problem(422);
        assert!(refused.text.contains(part), "{text}: {}", refused.text);
    }
    app.post("/api/v1/audit/verify/mail", json!({}))
        .await
        .expect_problem(415);
    app.finish().await;
    let nothing = Binary::new(&env)
        .run(["audit", "verify", "--mail", "nothing.eml"])
        .await
        .expect(1);
    assert!(nothing.stderr.contains("nothing.eml"), "{}", nothing.stderr);
}

/// Starts the service with these authorities.
async fn stamped_by(env: &Env, urls: &[String], trusted: Option<std::path::PathBuf>) -> TestApp {
    let urls = urls.to_vec();
    TestApp::builder(env)
        .config(move |config| {
            config.audit_timestamp_urls = urls;
            config.audit_timestamp_allow = Policy::Private;
            config.audit_timestamp_ca_file = trusted;
        })
        .start()
        .await
}

async fn bytes(app: &TestApp, path: &str) -> Vec<u8> {
    let url = format!("{}{path}", app.base());
    let response = reqwest::Client::new()
        .get(url)
        .bearer_auth(crate::support::ADMIN_TOKEN)
        .send()
        .await
        .expect("an answer");
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response.bytes().await.expect("a body").to_vec()
}

async fn an_authority_confirms_the_time(env: Env) {
    let (first, second) = (env.directory.join("first"), env.directory.join("second"));
    let rsa = StampAuthority::new(&first, &["rsa:2048"]);
    StampAuthority::new(&second, &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let servers = [StampAuthority::serve(&first), StampAuthority::serve(&second)];
    let urls = [servers[0].url("/tsr"), servers[1].url("/tsr")];
    let mut app = stamped_by(&env, &urls, None).await;
    let made = app.post("/api/v1/audit/timestamps", json!({})).await.expect(201);
    assert_eq!(made["stamps"].as_array().map(Vec::len), Some(2), "{made}");
    assert_eq!(made["failed"], json!([]));
    let listed = app.get("/api/v1/audit/timestamps").await.expect(200);
    assert_eq!(listed.items().len(), 2);
    let of_first = listed.items().iter().find(|stamp| stamp["authority"] == urls[0]);
    let id = of_first.expect("a stamp")["id"]
        .as_str()
        .expect("an id")
        .to_owned();

    // Somebody else verifies the files with openssl.
    let path = format!("/api/v1/audit/timestamps/{id}");
    let response = bytes(&app, &path).await;
    let note = bytes(&app, &format!("{path}/checkpoint")).await;
    assert!(rsa.verify(&response, &note).contains("Verification: OK"));
    let checkpoint = opened(&app, &format!("{path}/checkpoint")).await;
    assert_eq!(json!(checkpoint.size), made["size"]);

    // The ranges say by what they are anchored. Without certificate authorities, it is not known whether a stamp is trusted.
    let anchors = |verified: Answer| -> Vec<Value> {
        assert_eq!(verified["ok"], true, "{verified}");
        verified["anchors"].as_array().expect("anchors").clone()
    };
    let found = anchors(verify(&app).await);
    let stamp = found
        .iter()
        .find(|anchor| anchor["by"] == "time_stamp")
        .expect("an anchor");
    assert_eq!((&stamp["from"], &stamp["to"]), (&json!(1), &made["size"]));
    assert_eq!(stamp["trusted"], Value::Null);
    assert!(
        found
            .iter()
            .any(|anchor| anchor["by"] == "checkpoint" && anchor["to"] == made["size"])
    );

    // With the authority of the first, only its stamps are trusted, and the second one's are not taken any more.
    let trusted = rsa.trusted();
    app.restart_with(|config| config.audit_timestamp_ca_file = Some(trusted))
        .await;
    let again = app.post("/api/v1/audit/timestamps", json!({})).await.expect(201);
    assert_eq!(again["stamps"].as_array().map(Vec::len), Some(1), "{again}");
    assert_eq!(again["failed"][0]["authority"], urls[1]);
    assert!(again["size"].as_i64() > made["size"].as_i64());
    let found = anchors(verify(&app).await);
    let last = found
        .iter()
        .rfind(|anchor| anchor["by"] == "time_stamp")
        .expect("an anchor");
    assert_eq!(
        (&last["to"], &last["trusted"]),
        (&again["size"], &json!(true)),
        "{last}"
    );
    let recorded = app.all("/api/v1/audit?action=audit.time_stamped").await;
    assert_eq!(recorded.len(), 3);
    app.get("/api/v1/audit/timestamps/00000000-0000-7000-8000-000000000000")
        .await
        .expect_problem(404);
    app.finish().await;
    // The settings are checked at the start.
    let broken = env.directory.join("broken.pem");
    std::fs::write(&broken, "no certificate").expect("a file");
    for (name, value, part) in [
        (
            "audit_timestamp_urls",
            "http://stamps.example.com".to_owned(),
            "https",
        ),
        (
            "audit_timestamp_urls",
            "https://a.example.com/x,https://a.example.com/x".to_owned(),
            "twice",
        ),
        ("audit_timestamp_urls", "no url".to_owned(), "URLs"),
        (
            "audit_timestamp_ca_file",
            broken.display().to_string(),
            "certificate",
        ),
        ("audit_origin", "a b".to_owned(), "spaces"),
        ("audit_key", "x".to_owned(), "candor audit key"),
    ] {
        let refused = Binary::new(&env)
            .setting(name, value)
            .run(["serve"])
            .await
            .expect(1);
        assert!(refused.stderr.contains(part), "{name}: {}", refused.stderr);
    }
}

async fn what_an_authority_answers_is_verified(env: Env) {
    let folder = env.directory.join("authority");
    let authority = StampAuthority::new(&folder, &["rsa:2048"]);
    let old = std::sync::Mutex::new(None::<Vec<u8>>);
    // The first answer is right. The others are the first one again, a changed one, a refusal, no time stamp, and an error.
    let server = Receiver::answering(move |number, request| {
        let mut old = old.lock().expect("a lock");
        let body = match number {
            1 => {
                let answer = authority.stamp(&request.body);
                *old = Some(answer.clone());
                answer
            }
            2 => old.clone().expect("an answer"),
            3 => {
                let mut answer = authority.stamp(&request.body);
                let last = answer.len() - 1;
                answer[last] ^= 1;
                answer
            }
            // PKIStatusInfo with the status 2 (rejection) and a text.
            4 => b"\x30\x0d\x30\x0b\x02\x01\x02\x30\x06\x0c\x04busy".to_vec(),
            5 => b"nonsense".to_vec(),
            6 => vec![0x30; 40_000],
            _ => return Reply::of(500),
        };
        Reply::of(200).body(body)
    });
    let app = stamped_by(&env, &[server.url("/tsr")], None).await;
    app.post("/api/v1/audit/timestamps", json!({})).await.expect(201);
    for part in [
        "random number",
        "signature",
        "busy",
        "RFC 3161",
        "RFC 3161",
        "500",
    ] {
        let refused = app
            .post("/api/v1/audit/timestamps", json!({}))
            .await
            .expect_problem(503);
        assert!(refused.text.contains(part), "{part}: {}", refused.text);
    }
    assert_eq!(env.count("audit_time_stamps"), 1);
    app.finish().await;
    let app = TestApp::start(&env).await;
    let none = app
        .post("/api/v1/audit/timestamps", json!({}))
        .await
        .expect_problem(409);
    assert!(none.text.contains("CANDOR_AUDIT_TIMESTAMP_URLS"), "{}", none.text);
    app.finish().await;
}

async fn the_key_may_come_from_a_file(env: Env) {
    let file = env.directory.join("audit.key");
    let shown = file.display().to_string();
    let made = Binary::new(&env)
        .setting("audit_origin", "trail.example.com")
        .run(["audit", "key", shown.as_str()])
        .await
        .expect(0);
    let key = VerifierKey::parse(made.stdout.trim()).expect("a verifier key");
    assert_eq!(key.name(), "trail.example.com");
    let private = std::fs::read_to_string(&file).expect("a key");
    assert_eq!(SigningKey::parse(&private).expect("a key").verifier(), &key);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    // A file that exists is not replaced.
    Binary::new(&env)
        .run(["audit", "key", shown.as_str()])
        .await
        .expect(1);

    let mut candor = Binary::new(&env).setting("audit_key_file", &shown);
    candor.serve().await;
    let note = candor.get("/api/v1/audit/checkpoint").await.expect(200).text;
    let checkpoint = Checkpoint::parse(key.open(&note).expect("a note of this key")).expect("a checkpoint");
    assert_eq!(checkpoint.origin, "trail.example.com");
    assert!(!candor.log().contains(private.trim()));
    candor.finish().await;
    // Another origin than that of the key is a mistake.
    let refused = Binary::new(&env)
        .setting("audit_key_file", &shown)
        .setting("audit_origin", "other.example.com")
        .run(["serve"])
        .await
        .expect(1);
    assert!(refused.stderr.contains("audit_origin"), "{}", refused.stderr);
    // The key in the database was not used, and is used without the file. It stays the same.
    let key_of = async |candor: &Binary| candor.get("/api/v1/audit/key").await.expect(200).text;
    let mut candor = Binary::new(&env);
    candor.serve().await;
    let own = key_of(&candor).await;
    assert_ne!(own.trim(), key.to_string());
    candor.finish().await;
    let mut candor = Binary::new(&env);
    candor.serve().await;
    assert_eq!(key_of(&candor).await, own);
    candor.finish().await;
}

async fn the_page_proves_it(env: Env) {
    let folder = env.directory.join("authority");
    StampAuthority::new(&folder, &["rsa:2048"]);
    let server = StampAuthority::serve(&folder);
    let app = stamped_by(&env, &[server.url("/tsr")], None).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    let mail = app.mails(3).await.remove(0);
    let browser = Browser::signed_in(&app, crate::support::ADMIN_TOKEN).await;
    let path = "/admin/audit/proof";
    let page = browser.page(path).await;
    assert!(page.contains("127.0.0.1+"), "{page}");
    browser
        .send_from(path, "/admin/audit/timestamps", &[])
        .await
        .expect(303);
    let page = browser.page(path).await;
    assert!(
        page.contains(&server.url("/tsr")) && page.contains("openssl ts -verify"),
        "{page}"
    );
    let verified = browser.page("/admin/audit/verify").await;
    for word in [
        "Emails",
        "Time stamp of an authority",
        "Checkpoint in the database",
    ] {
        assert!(verified.contains(word), "{word}: {verified}");
    }
    let proof = browser.open("/admin/audit/event-proof?seq=1").await.expect(200);
    assert!(proof.header("content-disposition").contains("event-1-proof.json"));
    assert_eq!(proof["seq"], 1);
    for file in ["/admin/audit/checkpoint", "/admin/audit/export"] {
        browser.open(file).await.expect(200);
    }
    let key = browser.key(path).await;
    let text = String::from_utf8(mail.caught.data.clone()).expect("text");
    let good = browser
        .upload("/admin/audit/mail", &key, &[], Some(&text))
        .await
        .expect(200);
    assert!(good.text.contains("begins with exactly"), "{}", good.text);
    let wrong = browser
        .upload("/admin/audit/mail", &key, &[], Some("Subject: x\r\n\r\n"))
        .await
        .expect(422);
    assert!(wrong.text.contains("no header Candor-Audit"), "{}", wrong.text);
    app.finish().await;
}

fn some_leaves() -> impl Strategy<Value = Vec<Hash>> {
    proptest::collection::vec(any::<[u8; 4]>(), 1..700)
        .prop_map(|contents| contents.iter().map(|content| leaf_hash(content)).collect())
}

/// Returns the roots of parts, from the leaves alone.
fn roots(parts: &[merkle::Range], leaves: &[Hash]) -> Vec<Hash> {
    parts
        .iter()
        .map(|part| {
            let whole: Vec<Hash> = merkle::subtrees(*part)
                .into_iter()
                .map(|(height, index)| {
                    let first = (index << height) as usize;
                    naive(&leaves[first..first + (1 << height)])
                })
                .collect();
            joined(&whole)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Proofs hold for the naive tree of the definition, and for nothing else.
    #[test]
    fn proofs_hold_for_the_naive_tree(leaves in some_leaves(), at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>(), wrong in any::<[u8; 32]>()) {
        let size = leaves.len() as u64;
        let root = naive(&leaves);
        prop_assert_eq!(root_from(&leaves), root);
        let position = at.index(leaves.len());
        let proof = roots(&inclusion_parts(position as u64, size).unwrap(), &leaves);
        prop_assert!(verify_inclusion(position as u64, size, &leaves[position], &proof, &root));
        prop_assert!(!verify_inclusion(position as u64, size, &wrong, &proof, &root));
        prop_assert!(!verify_inclusion(position as u64, size, &leaves[position], &proof, &wrong));
        prop_assert!(!verify_inclusion(position as u64, size + 1, &leaves[position], &proof, &wrong));
        let old = old.index(leaves.len() + 1);
        let old_root = naive(&leaves[..old]);
        let proof = roots(&consistency_parts(old as u64, size).unwrap(), &leaves);
        prop_assert!(verify_consistency(old as u64, size, &old_root, &root, &proof));
        prop_assert!(!verify_consistency(old as u64, size, &wrong, &root, &proof));
        if old > 0 {
            prop_assert!(!verify_consistency(old as u64, size, &old_root, &wrong, &proof));
        }
    }

    /// Whatever stands in a proof, a header or a note, it is refused or read, and nothing panics.
    #[test]
    fn nothing_in_a_proof_breaks_it(position in any::<u64>(), size in any::<u64>(), other in any::<u64>(), text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let hash = leaf_hash(&bytes);
        let proof = vec![hash; bytes.len() % 70];
        verify_inclusion(position, size, &hash, &proof, &hash);
        verify_consistency(size, other, &hash, &hash, &proof);
        let _ = Checkpoint::parse(&text);
        let _ = Checkpoint::parse_header(&text);
        let _ = VerifierKey::parse(&text);
        let _ = candor::audit::mailed::read(&bytes);
        prop_assert!(candor::audit::time_stamp::Token::read(&bytes).is_err());
    }
}
