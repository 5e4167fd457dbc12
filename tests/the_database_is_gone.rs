//! When the database is gone, a message can still be sent from the encrypted copy of the contacts, to exactly the people of the chosen
//! accounts and to nobody twice. Its record is imported afterwards.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candor::demo::catcher::{Catcher, Decision, Policy};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::browser::Browser;
use crate::support::{ADMIN_TOKEN, Binary, DEADLINE, Env, TestApp, on_both_databases, wait_until};

on_both_databases!(
    a_message_reaches_the_people_of_the_chosen_accounts_once,
    killed_in_the_middle_nobody_is_emailed_twice,
    the_copy_is_refreshed_and_a_failure_is_seen,
);

const KEY: &str = "a long random key for the copy of the contacts";
const GONE: &str = "postgres://127.0.0.1:1/gone";

/// Two accounts with people in all kinds of roles, and one account without anybody.
const DIRECTORY: &str = r#"{"kind":"account","id":"acme","name":"Acme"}
{"kind":"account","id":"zeta","name":"Zeta"}
{"kind":"account","id":"empty","name":"Empty"}
{"kind":"person","id":"ann","name":"Ann","email":"ann@example.com"}
{"kind":"person","id":"twin","name":"Twin","email":"ANN@example.com"}
{"kind":"person","id":"bill","name":"Bill","email":"bill@example.com"}
{"kind":"person","id":"cleo","name":"Cleo","email":"cleo@example.com"}
{"kind":"person","id":"dora","name":"Dora","email":"dora@example.com"}
{"kind":"person","id":"eve","name":"Eve","email":""}
{"kind":"person","id":"fred","name":"Fred","email":"fred@example.com"}
{"kind":"member","account":"acme","person":"ann","role":"owner"}
{"kind":"member","account":"acme","person":"twin","role":"owner"}
{"kind":"member","account":"acme","person":"bill","role":"billing"}
{"kind":"member","account":"acme","person":"eve","role":"owner"}
{"kind":"member","account":"zeta","person":"dora","role":"owner"}
{"kind":"member","account":"zeta","person":"fred","role":"owner"}
{"kind":"resource","type":"project","id":"p1","account":"acme"}
{"kind":"resource","type":"file","id":"f1","parent":{"type":"project","id":"p1"}}
{"kind":"collaborator","resource":{"type":"file","id":"f1"},"person":"cleo","role":"editor"}
"#;

fn copy(env: &Env) -> PathBuf {
    env.directory.join("contacts.enc")
}

/// Imports a directory, and returns when the copy of the contacts contains it. The service has ended then.
async fn copied(env: &Env, directory: &str) {
    let mut candor = Binary::new(env)
        .setting("contacts_file", copy(env).display())
        .setting("contacts_key", KEY);
    candor.serve().await;
    candor.import(directory.to_owned()).await.expect(200);
    // An address that bounced.
    env.sql("INSERT INTO opt_outs (address, at, reason) VALUES ('fred@example.com', 1, 'bounced')")
        .unwrap();
    candor.terminate().await.expect(0);
    // The first copy is made at once, so a new one is made after a start.
    let before = std::fs::read(copy(env)).ok();
    candor.serve().await;
    wait_until("the copy of the contacts", DEADLINE, async || {
        std::fs::read(copy(env)).is_ok_and(|now| Some(now) != before)
    })
    .await;
    candor.terminate().await.expect(0);
}

/// The program without its database.
fn alone(env: &Env, catcher: &Catcher) -> Binary {
    std::fs::write(
        env.directory.join("message.txt"),
        "We are down.\n\nWe write again at noon.\n",
    )
    .unwrap();
    Binary::new(env)
        .setting("database_url", GONE)
        .setting("contacts_key", KEY)
        .setting("smtp_url", catcher.url())
        .setting("send_concurrency", 2)
}

fn notify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "emergency-notify",
        "--contacts",
        "contacts.enc",
        "--subject",
        "We are down",
        "--message",
        "message.txt",
        "--record",
        "record.ndjson",
    ];
    arguments.extend(more);
    arguments
}

/// How many emails each address got.
fn arrived(catcher: &Catcher) -> BTreeMap<String, usize> {
    let mut arrived = BTreeMap::new();
    for mail in catcher.mails() {
        for to in mail.to {
            *arrived.entry(to.to_lowercase()).or_default() += 1;
        }
    }
    arrived
}

async fn a_message_reaches_the_people_of_the_chosen_accounts_once(env: Env) {
    copied(&env, DIRECTORY).await;
    let catcher = Catcher::start().unwrap();
    let candor = alone(&env, &catcher);
    // The file shows nothing without the key, and everything with it.
    let raw = std::fs::read(copy(&env)).unwrap();
    assert!(!raw.windows(11).any(|part| part == b"example.com"));
    let wrong = Binary::new(&env).setting("contacts_key", "another key, which is long enough as well");
    let wrong = wrong
        .run(["emergency-contacts", "--contacts", "contacts.enc"])
        .await
        .expect(1);
    assert!(wrong.stderr.contains("another key"), "{}", wrong.stderr);
    let shown = candor
        .run(["emergency-contacts", "--contacts", "contacts.enc"])
        .await
        .expect(0);
    let lines: Vec<Value> = shown
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!(
        (of("account"), of("person"), of("member"), of("suppressed")),
        (3, 7, 6, 1)
    );
    assert!(lines.contains(&json!({"kind": "resource", "type": "file", "id": "f1", "account": "acme"})));
    assert!(lines.contains(&json!({"kind": "collaborator", "account": "acme", "person": "cleo", "role": "editor", "resources": 1})));

    // What is unknown or not confirmed sends nothing.
    for (arguments, why) in [
        (notify(&[]), "--accounts"),
        (
            notify(&["--accounts", "acme,nobody"]),
            "'nobody' is not an account",
        ),
        (notify(&["--accounts", ""]), "is not an account"),
        (notify(&["--accounts", "acme", "--all"]), "cannot be used with"),
        (notify(&["--accounts", "empty"]), "nobody to send to"),
        (
            notify(&["--accounts", "acme", "--roles", "pilot"]),
            "'pilot' is the role of nobody",
        ),
        (notify(&["--all"]), "--confirm 3"),
        (notify(&["--all", "--confirm", "4"]), "the list has 3"),
    ] {
        let output = candor.run(&arguments).await;
        assert_ne!(output.code, Some(0), "{arguments:?}");
        assert!(output.stderr.contains(why), "{arguments:?}: {}", output.stderr);
    }
    let limited = alone(&env, &catcher).setting("max_audience", 1);
    let output = limited.run(notify(&["--accounts", "acme"])).await.expect(1);
    assert!(output.stderr.contains("--confirm 2"), "{}", output.stderr);
    let without = alone(&env, &catcher).without("smtp_url");
    let output = without.run(notify(&["--accounts", "acme"])).await.expect(1);
    assert!(output.stderr.contains("CANDOR_SMTP_URL"), "{}", output.stderr);
    assert!(!env.directory.join("record.ndjson").exists());

    // A dry run shows the exact list: the owners and the collaborators, each mailbox once.
    let dry = candor
        .run(notify(&["--accounts", "acme", "--dry-run"]))
        .await
        .expect(0);
    let list: Vec<&str> = dry
        .stdout
        .lines()
        .map(|line| line.split('\t').next().unwrap())
        .collect();
    assert_eq!(list, ["ann@example.com", "cleo@example.com"]);
    assert!(dry.stderr.contains("left out: eve: no address"), "{}", dry.stderr);
    assert_eq!(catcher.accepted(), 0);

    candor.run(notify(&["--accounts", "acme"])).await.expect(0);
    let once = BTreeMap::from([
        ("ann@example.com".to_owned(), 1),
        ("cleo@example.com".to_owned(), 1),
    ]);
    assert_eq!(arrived(&catcher), once);
    let mail = catcher.mails()[0].text_lossy();
    for text in [
        "Subject: We are down",
        "We write again at noon.",
        "You get this email because you are",
    ] {
        assert!(mail.contains(text), "{text}: {mail}");
    }
    // Repeated, it is sent to nobody twice, and to those who were not chosen before.
    candor.run(notify(&["--accounts", "acme"])).await.expect(0);
    assert_eq!(arrived(&catcher), once);
    let all = candor.run(notify(&["--all", "--confirm", "3"])).await.expect(0);
    assert!(
        all.stderr.contains("2 of 3 were dealt with before"),
        "{}",
        all.stderr
    );
    let mut everybody = once.clone();
    everybody.insert("dora@example.com".to_owned(), 1);
    assert_eq!(arrived(&catcher), everybody);
    // The record is of this message alone, and its owner's alone.
    let mut other = notify(&["--accounts", "acme"]);
    other[4] = "Another subject";
    let refused = candor.run(other).await.expect(1);
    assert!(
        refused.stderr.contains("record of another message"),
        "{}",
        refused.stderr
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(env.directory.join("record.ndjson"))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o077, 0);
    assert_eq!(arrived(&catcher), everybody);

    imported(&env).await;
}

/// The database is back: the record becomes part of an incident.
async fn imported(env: &Env) {
    let app = TestApp::start(env).await;
    let incident = app.incident([("project", "p1")]).await;
    let path = format!("/api/v1/incidents/{incident}/emergency-notices");
    let record = std::fs::read_to_string(env.directory.join("record.ndjson")).unwrap();
    let changed = record.replacen("accepted", "refused", 1);
    for wrong in [changed.as_str(), "", "{}\n", "not json\n"] {
        app.post_raw(&path, "application/x-ndjson", wrong)
            .await
            .expect(422);
    }
    app.post_raw(&path, "application/json", record.as_str())
        .await
        .expect(415);
    // At first only the begin of the record is known.
    let lines: Vec<&str> = record.split_inclusive('\n').collect();
    let begin = lines[..4].concat();
    let first = app
        .post_raw(&path, "application/x-ndjson", begin)
        .await
        .expect(201);
    assert_eq!(
        (&first["subject"], &first["lines"]),
        (&json!("We are down"), &json!(4))
    );
    let whole = app
        .post_raw(&path, "application/x-ndjson", record.as_str())
        .await
        .expect(201);
    assert_eq!(whole["id"], first["id"]);
    // The two people of one mailbox both count as told.
    assert_eq!(
        whole["counts"],
        json!({"people": 4, "accepted": 4, "refused": 0, "not_yet": 0, "unknown": 0})
    );
    let again = app
        .post_raw(&path, "application/x-ndjson", record.as_str())
        .await
        .expect(409);
    assert_eq!(again["code"], "already_exists");
    let other = app.incident([("project", "p1")]).await;
    let other = format!("/api/v1/incidents/{other}/emergency-notices");
    app.post_raw(&other, "application/x-ndjson", record.as_str())
        .await
        .expect(409);
    let people = app
        .all(&format!(
            "/api/v1/emergency-notices/{}/recipients?limit=1",
            first.id()
        ))
        .await;
    let ids: Vec<&str> = people.iter().map(|one| one["person"].as_str().unwrap()).collect();
    assert_eq!(ids, ["ann", "cleo", "dora", "twin"]);
    assert_eq!(
        (&people[1]["name"], &people[1]["accounts"]),
        (&json!("Cleo"), &json!(["acme"]))
    );
    let timeline = app
        .get(&format!("/api/v1/incidents/{incident}/timeline"))
        .await
        .expect(200);
    let said = |entry: &&Value| {
        entry["kind"] == "notified" && entry["text"].as_str().unwrap().contains("We are down")
    };
    assert_eq!(timeline.items().iter().filter(said).count(), 2);
    // No address is in the trail or in the tables.
    let events = app.all("/api/v1/audit?action=emergency.imported").await;
    assert_eq!(events.len(), 2);
    assert!(!json!(events).to_string().contains("example.com"));
    let stored = env.texts("SELECT person_id || accounts || state AS value FROM emergency_recipients");
    assert!(
        stored.len() == 4 && stored.iter().all(|row| !row.contains('@')),
        "{stored:?}"
    );
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser.page("/admin/incidents/1/emergency-notices").await;
    assert!(
        page.contains("We are down") && page.contains("Import record"),
        "{page}"
    );
    let page = browser
        .page(&format!(
            "/admin/incidents/1/emergency-notices?notice={}",
            first.id()
        ))
        .await;
    assert!(
        page.contains("Cleo") && page.contains("We write again at noon."),
        "{page}"
    );
    let key = browser.key("/admin/incidents/1/emergency-notices").await;
    let refused = browser
        .upload("/admin/incidents/1/emergency-notices", &key, &[], Some(&record))
        .await
        .expect(422);
    assert!(refused.text.contains("already imported"), "{}", refused.text);
    app.finish().await;
    // The command does the same.
    let candor = Binary::new(env);
    let again = candor
        .run(["emergency-import", "record.ndjson", "--incident", "1"])
        .await
        .expect(1);
    assert!(again.stderr.contains("already imported"), "{}", again.stderr);
    let missing = candor
        .run(["emergency-import", "record.ndjson", "--incident", "77"])
        .await
        .expect(1);
    assert!(missing.stderr.contains("not found"), "{}", missing.stderr);
}

async fn killed_in_the_middle_nobody_is_emailed_twice(env: Env) {
    const PEOPLE: usize = 12;
    const BEFORE: usize = 5;
    let mut directory = String::from("{\"kind\":\"account\",\"id\":\"crowd\",\"name\":\"Crowd\"}\n");
    for n in 0..PEOPLE {
        directory.push_str(&format!(
            "{{\"kind\":\"person\",\"id\":\"p{n}\",\"name\":\"P {n}\",\"email\":\"p{n}@crowd.example\"}}\n\
             {{\"kind\":\"member\",\"account\":\"crowd\",\"person\":\"p{n}\",\"role\":\"owner\"}}\n"
        ));
    }
    copied(&env, &directory).await;
    // The mail server refuses one address for now and one for good, and after some emails it holds its replies back.
    let (permits, taken) = (Arc::new(Semaphore::new(0)), AtomicUsize::new(0));
    let hold = Arc::clone(&permits);
    let catcher = Catcher::start_with(Policy::new(move |attempt| match attempt.recipient {
        "p0@crowd.example" if attempt.number == 1 => Decision::Temporary("451 4.3.0 later".to_owned()),
        "p1@crowd.example" => Decision::Permanent("550 5.1.1 no such user".to_owned()),
        _ => match taken.fetch_add(1, Ordering::SeqCst) {
            taken if !(BEFORE..BEFORE + 2).contains(&taken) => Decision::Accept,
            _ => Decision::Hold(Arc::clone(&hold)),
        },
    }))
    .unwrap();
    let mut candor = alone(&env, &catcher);
    candor.begin(notify(&["--accounts", "crowd"]));
    catcher
        .wait_for(BEFORE + 2, DEADLINE)
        .await
        .expect("emails in the middle");
    candor.kill();
    permits.add_permits(2);
    let middle = arrived(&catcher);
    assert_eq!(middle.len(), BEFORE + 2);
    // The line that was being written was cut off.
    let record = env.directory.join("record.ndjson");
    let mut text = std::fs::read_to_string(&record).unwrap();
    text.push_str("{\"seq\":99,\"at\":");
    std::fs::write(&record, text).unwrap();

    let output = candor.run(notify(&["--accounts", "crowd"])).await.expect(1);
    assert!(
        output
            .stdout
            .contains("12 addresses: 9 accepted, 1 refused, 0 not accepted yet, 2 not known"),
        "{}",
        output.stdout
    );
    let arrived = arrived(&catcher);
    assert_eq!(arrived.len(), PEOPLE - 1);
    assert!(arrived.values().all(|n| *n == 1), "{arrived:?}");
    assert_eq!(catcher.attempts("p1@crowd.example"), 1);
    // Once more: nobody is left.
    let before = catcher.accepted();
    candor.run(notify(&["--accounts", "crowd"])).await.expect(1);
    assert_eq!(catcher.accepted(), before);

    let app = TestApp::start(&env).await;
    app.incident([]).await;
    app.finish().await;
    let back = Binary::new(&env);
    let output = back
        .run(["emergency-import", "record.ndjson", "--incident", "#1"])
        .await
        .expect(0);
    assert!(
        output
            .stdout
            .contains("12 people, 9 accepted, 1 refused, 0 not accepted yet, 2 not known"),
        "{}",
        output.stdout
    );
}

async fn the_copy_is_refreshed_and_a_failure_is_seen(env: Env) {
    let app = TestApp::builder(&env)
        .at("2026-11-30T01:00:00Z")
        .config(|config| {
            config.contacts_file = Some(copy(&env));
            config.contacts_key = Some(KEY.to_owned());
            config.contacts_schedule = "*/5 * * * *".to_owned();
        })
        .start()
        .await;
    let contents = async || {
        let system = app.get("/api/v1/system").await.expect(200);
        system["backups"]["contacts"][0].clone()
    };
    wait_until("the first copy", DEADLINE, async || {
        contents().await["people"] == 0
    })
    .await;
    app.import(DIRECTORY).await.expect(200);
    app.set_clock("2026-11-30T01:05:01Z");
    wait_until("the copy with the people", DEADLINE, async || {
        contents().await["people"] == 7
    })
    .await;
    assert_eq!(contents().await["accounts"], 3);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(copy(&env)).unwrap().permissions());
    assert_eq!(mode & 0o077, 0);
    // A folder of this name is in the way.
    std::fs::remove_file(copy(&env)).unwrap();
    std::fs::create_dir(copy(&env)).unwrap();
    app.set_clock("2026-11-30T01:10:01Z");
    wait_until("the failure", DEADLINE, async || {
        contents().await["failed_at"].is_string()
    })
    .await;
    let now = app.get("/api/v1/now").await.expect(200);
    assert!(
        now["faults"]
            .as_array()
            .unwrap()
            .iter()
            .any(|fault| fault["kind"] == "contacts"),
        "{now}"
    );
    std::fs::remove_dir(copy(&env)).unwrap();
    app.set_clock("2026-11-30T01:15:01Z");
    wait_until("the next copy", DEADLINE, async || {
        contents().await["failed_at"].is_null()
    })
    .await;
    // Only changes are in the trail.
    let copied = app.all("/api/v1/audit?action=contacts.copied").await;
    assert_eq!(copied.len(), 3);
    assert_eq!(app.all("/api/v1/audit?action=contacts.failed").await.len(), 1);
    app.finish().await;
}
