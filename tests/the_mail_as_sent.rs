//! What Candor shows as the email of a delivery is what the mail server got, byte for byte: with signatures and bounce addresses, after
//! another attempt, after settings, keys and templates were changed, and after a `kill -9`. What cannot be shown byte for byte is not
//! shown, and the answer says why. Each email has a checkpoint of the audit trail.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use candor::audit::checkpoint::Checkpoint;
use candor::demo::catcher::{Catcher, CaughtMail, Decision, Policy};
use candor::egress;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::receiver::Receiver;
use crate::support::story::{ACCOUNT, AFFECTED};
use crate::support::{
    Answer, Backend, Binary, DEADLINE, Env, Http, TestApp, complete, crowd, eventually, on_both_databases,
    on_one_database, outcomes, wait_until,
};

on_both_databases!(
    settings_that_change_do_not_matter,
    each_attempt_has_its_own_bytes,
    mails_of_pieces_are_written_again_as_a_whole,
    a_kill_loses_no_mail,
    what_cannot_be_shown_says_why,
    another_text_is_never_shown,
    partials_of_an_earlier_version_do_not_matter,
    the_header_is_the_root_of_the_trail,
);
on_one_database!(a_corrected_address_is_shown, the_page_shows_it_to_operators);

const ED25519_KEY: &str = include_str!("support/keys/dkim_ed25519.pem");
const RSA_KEY: &str = include_str!("support/keys/dkim_rsa.pem");
const BARAKA: &str = "baraka@sound-works.example";

/// Returns the answer to the question for the email of a delivery.
async fn mail(http: &Http, delivery: &Value) -> Answer {
    http.get(&format!("/api/v1/deliveries/{}/mail", delivery["id"]))
        .await
}

/// Returns the emails of a delivery that the mail server got, in the order of their arrival.
fn arrived(caught: &[CaughtMail], delivery: &Value) -> Vec<Vec<u8>> {
    let id = delivery["message_id"].as_str().expect("a Message-ID");
    caught
        .iter()
        .filter(|mail| mail.header("message-id").as_deref() == Some(id))
        .map(|mail| mail.data.clone())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Expects that each email of a notice arrived once, and that Candor shows exactly its bytes.
async fn shows_what_arrived(app: &TestApp, notice: &str) {
    let caught = app.catcher.mails();
    let deliveries = app.deliveries(notice).await;
    assert!(!deliveries.is_empty());
    for delivery in deliveries {
        let shown = mail(app, &delivery).await.expect(200);
        assert_eq!(shown.header("content-type"), "message/rfc822");
        assert_eq!(shown.header("cache-control"), "no-store");
        let arrived = arrived(&caught, &delivery);
        assert_eq!(arrived.len(), 1, "{delivery}");
        assert_eq!(shown.text, String::from_utf8_lossy(&arrived[0]), "{delivery}");
        assert_eq!(shown.text.as_bytes(), arrived[0]);
        let recorded = &delivery["attempts"][0]["sha256"];
        assert_eq!(*recorded, hex(digest(&SHA256, &arrived[0]).as_ref()));
    }
}

async fn settings_that_change_do_not_matter(env: Env) {
    let (ed, rsa) = (env.directory.join("ed.pem"), env.directory.join("rsa.pem"));
    std::fs::write(&ed, ED25519_KEY).expect("a key");
    std::fs::write(&rsa, RSA_KEY).expect("a key");
    let keys = format!("ed:{},rsa:{}", ed.display(), rsa.display());
    let mut app = TestApp::builder(&env)
        .config(|config| {
            config.mail_from = "Quickbyte <help@quickbyte.example>".to_owned();
            config.reply_to = Some("Support <support@quickbyte.example>".to_owned());
            config.public_url = Some("https://candor.quickbyte.example".to_owned());
            config.secret_key = Some("the first secret key of this test".to_owned());
            config.bounce_address = Some("bounces@quickbyte.example".to_owned());
            config.dkim_keys = Some(keys);
        })
        .start()
        .await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    let own = complete(json!({
        "subject": "Own {{incident.number}}", "text": "Own text to {{recipient.name}}", "html": "<p>Own text to {{recipient.name}}</p>",
    }));
    app.put("/api/v1/templates/update", own).await.expect(200);
    let update = app.tell(&incident, "update").await;
    let mails = app.mails(6).await;
    for mail in &mails {
        assert_eq!(mail.header("from"), "Quickbyte <help@quickbyte.example>");
        assert!(mail.caught.from.starts_with("bounces+"), "{}", mail.caught.from);
        assert_eq!(mail.caught.text_lossy().matches("DKIM-Signature: ").count(), 2);
    }
    shows_what_arrived(&app, &detection).await;
    shows_what_arrived(&app, &update).await;

    // Nothing of what follows is in the emails that were sent.
    app.delete("/api/v1/templates/update").await.expect(204);
    let other = complete(json!({"subject": "Other", "text": "Other text", "html": "<p>Other text</p>"}));
    app.put("/api/v1/templates/detection", other).await.expect(200);
    app.restart_with(|config| {
        config.mail_from = "Somebody else <other@elsewhere.example>".to_owned();
        config.reply_to = None;
        config.public_url = Some("https://elsewhere.example".to_owned());
        config.secret_key = Some("the second secret key of this test".to_owned());
        config.bounce_address = None;
        config.dkim_keys = None;
    })
    .await;
    shows_what_arrived(&app, &detection).await;
    shows_what_arrived(&app, &update).await;
    let later = app.tell(&incident, "update").await;
    let mails = app.mails(9).await;
    assert_eq!(mails[8].header("from"), "Somebody else <other@elsewhere.example>");
    shows_what_arrived(&app, &later).await;
    app.restart_with(|config| config.mail_from = "Third <third@elsewhere.example>".to_owned())
        .await;
    for notice in [&detection, &update, &later] {
        shows_what_arrived(&app, notice).await;
    }
    app.finish().await;
}

async fn each_attempt_has_its_own_bytes(env: Env) {
    let policy = Policy::new(|attempt| match (attempt.recipient, attempt.number) {
        (BARAKA, 1) => Decision::DropAfterData,
        (BARAKA, 2) => Decision::Temporary("451 4.7.1 later".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env)
        .at("2024-03-14T10:00:00Z")
        .smtp_policy(policy)
        .retry_schedule([Duration::from_secs(60)])
        .start()
        .await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    let his = async |attempts: usize| {
        eventually("the attempts", DEADLINE, async || {
            let deliveries = app.deliveries(&notice).await;
            let his = deliveries
                .into_iter()
                .find(|delivery| delivery["address"] == BARAKA);
            his.filter(|delivery| outcomes(delivery).len() == attempts)
        })
        .await
    };
    let delivery = his(1).await;
    assert_eq!(outcomes(&delivery), ["ambiguous"]);
    // It may have arrived, so it is shown.
    let first = arrived(&app.catcher.mails(), &delivery).remove(0);
    assert_eq!(mail(&app, &delivery).await.expect(200).text.as_bytes(), first);
    app.set_clock("2024-03-14T10:02:00Z");
    let delivery = his(2).await;
    assert_eq!(outcomes(&delivery), ["ambiguous", "retry"]);
    assert_eq!(delivery["attempts"][1]["sha256"], Value::Null);
    assert_eq!(mail(&app, &delivery).await.expect(200).text.as_bytes(), first);
    app.set_clock("2024-03-14T10:10:00Z");
    let delivery = his(3).await;
    assert_eq!(outcomes(&delivery), ["ambiguous", "retry", "sent"]);
    let both = arrived(&app.catcher.mails(), &delivery);
    assert_eq!(both.len(), 2);
    assert_ne!(both[0], both[1], "the date of the attempt is in the email");
    let path = format!("/api/v1/deliveries/{}/mail", delivery["id"]);
    assert_eq!(app.get(&path).await.expect(200).text.as_bytes(), both[1]);
    for (at, bytes) in [(0, &both[0]), (2, &both[1])] {
        let number = &delivery["attempts"][at]["number"];
        let shown = app.get(&format!("{path}?attempt={number}")).await.expect(200);
        assert_eq!(shown.text.as_bytes(), bytes);
        let recorded = &delivery["attempts"][at]["sha256"];
        assert_eq!(*recorded, hex(digest(&SHA256, bytes).as_ref()));
    }
    let refused = &delivery["attempts"][1]["number"];
    let none = app.get(&format!("{path}?attempt={refused}")).await;
    assert_eq!(none.expect_problem(409)["code"], "email_not_sent");
    app.get(&format!("{path}?attempt=99")).await.expect_problem(404);
    app.get(&format!("{path}?attempt=last"))
        .await
        .expect_invalid("?attempt");
    app.get(&format!("{path}?number=1"))
        .await
        .expect_invalid("?number");
    app.finish().await;
}

/// Many emails are built from prepared pieces, and they are written again as a whole. They share a few contexts.
async fn mails_of_pieces_are_written_again_as_a_whole(env: Env) {
    const PEOPLE: usize = 60;
    let app = TestApp::start(&env).await;
    app.import(crowd(PEOPLE)).await.expect(200);
    let own = complete(json!({
        "subject": "Own {{incident.number}} for {{recipient.name}}",
        "text": "Hello {{recipient.name}}, ünïcödé {{values.code}}", "html": "<p>{{values.code}}</p>",
    }));
    app.put("/api/v1/templates/detection", own).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let body = json!({"phase": "detection", "message": "Your code is {{values.code}}.", "customer_action": {"required": false}});
    let made = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), body)
        .await;
    let notice = made.expect(201).id();
    let codes: String = (1..=PEOPLE)
        .map(|n| {
            let line = json!({"person": format!("person-{n}"), "values": {"code": format!("<{n}> {}", "x".repeat(n))}});
            format!("{line}\n")
        })
        .collect();
    app.request(reqwest::Method::PUT, &format!("/api/v1/notices/{notice}/values"))
        .body("application/x-ndjson", codes)
        .send()
        .await
        .expect(200);
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    app.mails(PEOPLE).await;
    shows_what_arrived(&app, &notice).await;
    assert_eq!(env.count("sending_settings"), 1);
    let contexts = env.count("sending_contexts");
    assert!(contexts < PEOPLE as i64 / 4, "{contexts} contexts");
    app.finish().await;
}

async fn a_kill_loses_no_mail(env: Env) {
    const PEOPLE: usize = 400;
    let catcher = Catcher::start().expect("a mail server");
    let mut candor = Binary::new(&env)
        .setting("smtp_url", catcher.url())
        .setting("send_concurrency", 8)
        .setting("max_audience", PEOPLE);
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(PEOPLE)).await;
    catcher.wait_for(100, DEADLINE).await.expect("some mails");
    candor.kill();
    if env.backend == Backend::Postgres {
        // The claims of a dead worker end with their lease. This brings the end forward.
        env.sql("UPDATE deliveries SET next_attempt_at = 0 WHERE lease IS NOT NULL AND state = 'pending'")
            .expect("claims that have ended");
    }
    candor.serve().await;
    wait_until("everybody to be told", 4 * DEADLINE, async || {
        candor.notice(&notice).await["state"] == "sent"
    })
    .await;
    let caught = catcher.mails();
    let mut by_id: HashMap<String, Vec<&[u8]>> = HashMap::new();
    for mail in &caught {
        by_id
            .entry(mail.header("message-id").expect("a Message-ID"))
            .or_default()
            .push(&mail.data);
    }
    let deliveries = candor.deliveries(&notice).await;
    assert_eq!(deliveries.len(), PEOPLE);
    for delivery in &deliveries {
        let shown = mail(&candor, delivery).await.expect(200);
        let arrived = &by_id[delivery["message_id"].as_str().expect("a Message-ID")];
        assert!(
            arrived.contains(&shown.text.as_bytes()),
            "{delivery}: {}",
            shown.text
        );
    }
    candor.finish().await;
}

async fn what_cannot_be_shown_says_why(env: Env) {
    let receiver = Receiver::start();
    let policy = Policy::new(|attempt| match attempt.recipient {
        BARAKA => Decision::Permanent("550 5.1.1 no such user".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env)
        .smtp_policy(policy)
        .config(|config| config.webhook_allow = egress::Policy::Private)
        .start()
        .await;
    let incident = app.story_incident().await;
    let endpoint = json!({"url": receiver.url("/"), "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
    app.post(&format!("/api/v1/accounts/{ACCOUNT}/endpoints"), endpoint)
        .await
        .expect(201);
    let notice = app.tell(&incident, "detection").await;
    receiver.requests(1).await;
    let deliveries = app.deliveries(&notice).await;
    for delivery in &deliveries {
        let answer = mail(&app, delivery).await;
        match (delivery["channel"].as_str(), delivery["address"].as_str()) {
            (Some("webhook"), _) => assert_eq!(answer.expect_problem(409)["code"], "not_an_email"),
            (_, Some(BARAKA)) => {
                assert_eq!(answer.expect_problem(409)["code"], "email_not_sent");
                assert_eq!(delivery["attempts"][0]["sha256"], Value::Null);
            }
            _ => drop(answer.expect(200)),
        }
    }
    assert_eq!(deliveries.len(), 4);
    app.get("/api/v1/deliveries/999999/mail")
        .await
        .expect_problem(404);
    app.get("/api/v1/deliveries/x/mail").await.expect_problem(404);
    let id = deliveries[0]["id"].clone();
    let viewer = app.as_new("viewer").await;
    let refused = viewer.get(&format!("/api/v1/deliveries/{id}/mail")).await;
    assert_eq!(refused.expect_problem(403)["code"], "role_missing");
    app.finish().await;
}

/// Removes the protection of a table, as somebody with all rights on the database can.
fn disarm(env: &Env, table: &str) {
    match env.backend {
        Backend::Sqlite => {
            for trigger in env.texts(&format!(
                "SELECT name AS value FROM sqlite_master WHERE type = 'trigger' AND tbl_name = '{table}'"
            )) {
                env.sql(&format!("DROP TRIGGER {trigger}"))
                    .expect("a trigger less");
            }
        }
        Backend::Postgres => env
            .sql(&format!("ALTER TABLE {table} DISABLE TRIGGER USER"))
            .expect("no triggers"),
    }
}

/// After a change of what was stored, the answer is a reason and never another text.
async fn another_text_is_never_shown(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    let delivery = app.deliveries(&notice).await.remove(0);
    let before = mail(&app, &delivery).await.expect(200).text;
    for (table, change) in [
        (
            "notice_recipients",
            "context = REPLACE(context, 'Amina', 'Emina')",
        ),
        ("notice_recipients", "context = '{}'"),
        ("notices", "frozen = REPLACE(frozen, 'What we', 'All we')"),
        ("deliveries", "message_id = 'other@example.com'"),
        ("deliveries", "address = 'other@example.com'"),
        ("deliveries", "address = 'erased-1'"),
        ("sending_contexts", "checkpoint = 'other 1 AAAA'"),
        ("sending_settings", "body = REPLACE(body, 'Candor', 'Another')"),
        ("delivery_attempts", "mail_date = mail_date + 1000000"),
        ("delivery_attempts", "mail_context = 4711"),
        ("delivery_attempts", "mail_signatures = NULL"),
        ("delivery_attempts", "mail_hash = NULL"),
    ] {
        disarm(&env, table);
        let column = change.split(' ').next().expect("a column");
        let key = match table {
            "notice_recipients" => "ordinal",
            "delivery_attempts" => "delivery_id",
            "sending_settings" => "digest",
            _ => "id",
        };
        env.sql(&format!(
            "CREATE TABLE kept AS SELECT {key}, {column} FROM {table}; UPDATE {table} SET {change};"
        ))
        .expect(change);
        let refused = mail(&app, &delivery).await.expect_problem(409);
        assert_eq!(refused["code"], "email_not_reproducible", "{change}: {refused}");
        env.sql(&format!(
            "UPDATE {table} SET {column} = (SELECT k.{column} FROM kept k WHERE k.{key} = {table}.{key}); DROP TABLE kept;"
        ))
        .expect(change);
        assert_eq!(mail(&app, &delivery).await.expect(200).text, before, "{change}");
    }
    app.finish().await;
}

/// An email that a version of Candor sent whose templates had another partial is written with that partial.
async fn partials_of_an_earlier_version_do_not_matter(env: Env) {
    const NOW: &str = "Does everything work for you now?";
    const THEN: &str = "Does anything still fail for you?";
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    let delivery = app.deliveries(&notice).await.remove(0);
    let sent = mail(&app, &delivery).await.expect(200).text;
    assert!(sent.contains(NOW), "{sent}");
    // What an attempt of that version would have stored.
    let then = sent.replacen(NOW, THEN, 1);
    let hash = hex(digest(&SHA256, then.as_bytes()).as_ref());
    let mut settings: Value =
        serde_json::from_str(&env.texts("SELECT body AS value FROM sending_settings")[0]).expect("settings");
    for partial in settings["partials"].as_array_mut().expect("partials") {
        if partial[0] == "answers.txt" {
            partial[1] = json!(
                partial[1]
                    .as_str()
                    .expect("a text")
                    .replace("{{t.question}}", THEN)
            );
        }
    }
    let body = settings.to_string();
    let key = hex(digest(&SHA256, body.as_bytes()).as_ref());
    let bytes = match env.backend {
        Backend::Sqlite => format!("X'{hash}'"),
        Backend::Postgres => format!("decode('{hash}', 'hex')"),
    };
    disarm(&env, "delivery_attempts");
    let id = &delivery["id"];
    env.sql(&format!(
        "INSERT INTO sending_settings (digest, body, created_at) VALUES ('{key}', '{}', 1); \
         INSERT INTO sending_contexts (id, settings, checkpoint, created_at) \
             SELECT 4711, '{key}', checkpoint, 1 FROM sending_contexts ORDER BY id LIMIT 1; \
         CREATE TABLE kept AS SELECT mail_hash, mail_context FROM delivery_attempts WHERE delivery_id = {id}; \
         UPDATE delivery_attempts SET mail_hash = {bytes}, mail_context = 4711 WHERE delivery_id = {id};",
        body.replace('\'', "''")
    ))
    .expect("an email of an earlier version");
    assert_eq!(mail(&app, &delivery).await.expect(200).text, then);
    env.sql(&format!(
        "UPDATE delivery_attempts SET mail_hash = (SELECT mail_hash FROM kept), \
             mail_context = (SELECT mail_context FROM kept) WHERE delivery_id = {id}; DROP TABLE kept;"
    ))
    .expect("the email of this version");
    assert_eq!(mail(&app, &delivery).await.expect(200).text, sent);
    app.finish().await;
}

/// Computes the root of RFC 6962 over the hashes of events.
fn root(leaves: &[Vec<u8>]) -> Vec<u8> {
    let hash = |parts: &[&[u8]]| {
        let mut hash = Context::new(&SHA256);
        parts.iter().for_each(|part| hash.update(part));
        hash.finish().as_ref().to_vec()
    };
    match leaves {
        [] => hash(&[]),
        [leaf] => hash(&[&[0][..], leaf]),
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            hash(&[&[1][..], &root(left), &root(right)])
        }
    }
}

async fn the_header_is_the_root_of_the_trail(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.public_url = Some("https://candor.quickbyte.example".to_owned()))
        .start()
        .await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(3).await;
    let hashes: Vec<Vec<u8>> = env
        .texts("SELECT hash AS value FROM audit_events ORDER BY seq")
        .iter()
        .map(|hash| {
            (0..hash.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hash[at..at + 2], 16).expect("a byte"))
                .collect()
        })
        .collect();
    for mail in mails {
        assert_eq!(mail.caught.text_lossy().matches("\r\nCandor-Audit: ").count(), 1);
        let value = mail.header("candor-audit");
        let checkpoint = Checkpoint::parse_header(&value).unwrap_or_else(|error| panic!("{value}: {error}"));
        assert_eq!(checkpoint.origin, "candor.quickbyte.example");
        let size = usize::try_from(checkpoint.size).expect("a size");
        // The incident was opened before the email was claimed.
        assert!(size > 2 && size <= hashes.len(), "{value}");
        assert_eq!(checkpoint.root.to_vec(), root(&hashes[..size]), "{value}");
        assert!(value.ends_with(&STANDARD.encode(checkpoint.root)), "{value}");
    }
    app.finish().await;
}

async fn a_corrected_address_is_shown(env: Env) {
    let policy = Policy::new(|attempt| match attempt.recipient {
        BARAKA => Decision::Permanent("550 5.1.1 no such user".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env).smtp_policy(policy).start().await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    app.mails(2).await;
    let new = json!({"email": "baraka@new.example", "notices": [notice]});
    let corrected = app
        .post("/api/v1/people/baraka/correct-address", new)
        .await
        .expect(200);
    let by = corrected["sent"][0]["by"].as_str().expect("a notice").to_owned();
    app.done(&by).await;
    app.mails(3).await;
    let deliveries = app.deliveries(&by).await;
    let caught = app.catcher.mails();
    let new = deliveries
        .iter()
        .find(|delivery| delivery["address"] == "baraka@new.example")
        .expect("a delivery to the new address");
    let shown = mail(&app, new).await.expect(200);
    assert_eq!(vec![shown.text.into_bytes()], arrived(&caught, new));
    app.finish().await;
}

async fn the_page_shows_it_to_operators(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    let delivery = app.deliveries(&notice).await.remove(0);
    assert_eq!(delivery["person"]["id"], AFFECTED[0]);
    let sent = mail(&app, &delivery).await.expect(200);
    let path = format!("/admin/deliveries/{}/mail", delivery["id"]);
    let list = format!("/admin/notices/{notice}");

    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    assert!(!viewer.page(&list).await.contains(&path));
    for refused in [path.clone(), format!("{path}/html"), format!("{path}/eml")] {
        viewer.open(&refused).await.expect(403);
    }

    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    assert!(operator.page(&list).await.contains(&format!("href=\"{path}\"")));
    let page = operator.page(&path).await;
    let recorded = delivery["attempts"][0]["sha256"].as_str().expect("a hash");
    for shown in [
        recorded,
        "You receive this because",
        "Caught",
        "amina@nyota-films.example",
        "<iframe sandbox=\"\"",
        "Candor-Audit: ",
        "List-Unsubscribe: ",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let file = operator.open(&format!("{path}/eml?attempt=1")).await.expect(200);
    assert_eq!(file.text, sent.text);
    assert_eq!(file.header("content-type"), "message/rfc822");
    assert!(
        file.header("content-disposition").starts_with("attachment; "),
        "{}",
        file.header("content-disposition")
    );
    let frame = operator.open(&format!("{path}/html")).await.expect(200);
    assert!(
        frame.text.trim_start().starts_with("<!doctype html>"),
        "{}",
        frame.text
    );
    assert!(
        frame.header("content-security-policy").ends_with("sandbox"),
        "{}",
        frame.header("content-security-policy")
    );
    operator.open(&format!("{path}?attempt=7")).await.expect(404);
    app.finish().await;
}
