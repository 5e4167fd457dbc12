//! A person is erased from every table, from the files of the database, from later backups and from the outbox. The proof stays, and the
//! audit trail holds before and after. Nothing else can change what was frozen, and nothing brings the person back unasked.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::shop::{Shop, made, synced};
use crate::support::{ADMIN_TOKEN, Backend, Binary, Env, TestApp, on_both_databases, recipients, run};
use crate::the_schema_is_the_same_in_both_databases::declared;

on_both_databases!(
    nothing_of_the_person_is_left,
    whoever_knows_the_address_can_check_it,
    a_frozen_row_changes_only_by_an_erasure,
    a_change_beside_an_erasure_is_found,
    a_delivery_that_waits_is_not_made,
    whoever_shares_the_mailbox_keeps_the_email,
    an_import_brings_nobody_back_unasked,
    a_sync_brings_nobody_back_unasked,
    a_suppressed_address_stays_suppressed,
    a_report_that_comes_later_stores_nothing,
    the_page_asks_in_words,
    an_export_has_all_of_it,
    an_erasure_is_checked_before_it_begins,
);

const ID: &str = "user-wilhelmina-7";
const NAME: &str = "Wilhelmina Zorn";
const ADDRESS: &str = "wilhelmina.zorn@zorn.example";
const OTHER: &str = "bob@others.example";

/// An account with one project, owned by the person and by somebody else.
fn directory() -> String {
    [
        json!({"kind": "account", "id": "acme", "name": "Acme"}),
        json!({"kind": "person", "id": ID, "name": NAME, "email": ADDRESS}),
        json!({"kind": "person", "id": "bob", "name": "Bob", "email": OTHER}),
        json!({"kind": "resource", "type": "project", "id": "42", "account": "acme", "name": "Launch film"}),
        json!({"kind": "member", "account": "acme", "person": ID, "role": "owner"}),
        json!({"kind": "member", "account": "acme", "person": "bob", "role": "owner"}),
    ]
    .map(|line| line.to_string())
    .join("\n")
}

/// A service that has notified both owners.
async fn told(env: &Env) -> (TestApp, String, String) {
    let app = TestApp::start(env).await;
    let (incident, notice) = tell(&app).await;
    (app, incident, notice)
}

async fn tell(app: &TestApp) -> (String, String) {
    app.import(directory()).await.expect(200);
    let incident = app.incident([("project", "42")]).await;
    let notice = app.tell(&incident, "detection").await;
    (incident, notice)
}

async fn erase(app: &TestApp) -> Value {
    let erased = app
        .post(
            &format!("/api/v1/people/{ID}/erase"),
            json!({"reason": format!("request 7 of {NAME}")}),
        )
        .await
        .expect(200);
    assert!(erased["cleaned_at"].is_string(), "{erased}");
    erased.json
}

async fn holds(app: &TestApp) -> bool {
    app.get("/api/v1/audit/verify").await.expect(200)["ok"] == true
}

/// Returns which files contain one of the words, in upper or lower case.
fn files_with(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, words));
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes)
            .replace("=\r\n", "")
            .to_lowercase();
        for word in words {
            if text.contains(&word.to_lowercase()) {
                found.push(format!("{}: {word}", path.display()));
            }
        }
    }
    found
}

async fn nothing_of_the_person_is_left(env: Env) {
    let app = TestApp::builder(&env).without_smtp().start().await;
    app.import(directory()).await.expect(200);
    for name in [NAME, "Wilhelmina  Zorn"] {
        app.put(
            &format!("/api/v1/people/{ID}"),
            json!({"name": name, "email": ADDRESS}),
        )
        .await
        .expect(200);
    }
    app.put(
        &format!("/api/v1/people/{ID}"),
        json!({"name": NAME, "email": ADDRESS}),
    )
    .await
    .expect(200);
    let incident = app
        .post(
            "/api/v1/incidents",
            json!({"title": format!("{NAME} cannot open a film"), "severity": "major",
                "affected": [{"type": "project", "id": "42"}]}),
        )
        .await
        .expect(201)
        .id();
    app.post(
        &format!("/api/v1/incidents/{incident}/affected/people"),
        json!({"people": [ID]}),
    )
    .await
    .expect(200);
    app.post(
        &format!("/api/v1/incidents/{incident}/timeline"),
        json!({"kind": "note", "text": format!("Called {ADDRESS}, who is {NAME}."), "internal": true}),
    )
    .await
    .expect(201);
    let hook = app
        .post(
            "/api/v1/integrations",
            json!({"name": "probe", "source": "generic"}),
        )
        .await
        .expect(201);
    let alert = json!({"title": format!("Upload of {ADDRESS} fails"), "id": "1", "text": NAME});
    app.anonymous()
        .post(hook["hook_url"].as_str().expect("a URL"), alert)
        .await
        .expect(202);
    let notice = app.tell(&incident, "detection").await;
    app.done(&notice).await;
    app.post(
        &format!("/api/v1/incidents/{incident}/answers"),
        json!({"person": ID, "answer": "broken", "text": format!("I am {NAME} and it is broken")}),
    )
    .await
    .expect(201);
    let draft = app.draft(&incident, "update").await;
    let values = json!({"person": ID, "values": {"code": format!("for {NAME}")}}).to_string();
    app.request(reqwest::Method::PUT, &format!("/api/v1/notices/{draft}/values"))
        .body("application/x-ndjson", values)
        .send()
        .await
        .expect(200);
    assert!(holds(&app).await);
    let before = env.directory.join("before.db");
    let binary = Binary::new(&env);
    binary
        .run(["backup", before.to_str().expect("a path")])
        .await
        .expect(0);

    let preview = app.get(&format!("/api/v1/people/{ID}/erasure")).await.expect(200);
    assert_eq!(preview["left"], json!([]), "{preview}");
    let erased = erase(&app).await;
    assert_eq!(erased["rows"], preview["rows"]);
    for kind in [
        "directory",
        "recipients",
        "replies",
        "answers",
        "audit_events",
        "others",
        "texts",
    ] {
        assert!(erased["rows"][kind].as_i64() > Some(0), "{kind}: {erased}");
    }
    assert_eq!(erased["reason"], "request 7 of [erased]");

    assert!(holds(&app).await);
    let after = env.directory.join("after.db");
    binary
        .run(["backup", after.to_str().expect("a path")])
        .await
        .expect(0);
    // The backup that was made before still verifies, and it is the only file that contains the person.
    let folder = env.directory.join("old");
    std::fs::create_dir(&folder).expect("a folder");
    let moved = folder.join("before.db");
    std::fs::rename(&before, &moved).expect("a file");
    let words = [NAME, ADDRESS, ID];
    let others = files_with(&env.directory, &words);
    let old = format!("{}", folder.display());
    let unexpected: Vec<&String> = others.iter().filter(|found| !found.starts_with(&old)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert_eq!(
        others.len(),
        words.len(),
        "the search finds what is there: {others:?}"
    );
    let copy = Env {
        backend: Backend::Sqlite,
        database_url: format!("sqlite://{}", moved.display()),
        directory: folder,
    };
    Binary::new(&copy).run(["audit", "verify"]).await.expect(0);

    // Everything can still be read, and nobody else has lost anything.
    for path in [
        format!("/api/v1/incidents/{incident}"),
        format!("/api/v1/incidents/{incident}/audience"),
        format!("/api/v1/incidents/{incident}/timeline"),
        format!("/api/v1/incidents/{incident}/answers"),
        format!("/api/v1/notices/{notice}/recipients"),
        "/api/v1/audit".to_owned(),
        "/api/v1/audit/export".to_owned(),
    ] {
        let text = app.get(&path).await.expect(200).text;
        assert!(!text.contains(NAME) && !text.contains(ADDRESS), "{path}: {text}");
    }
    let sent = app.addresses(&notice, "sent").await;
    assert_eq!(sent.len(), 2);
    assert!(sent.contains(&OTHER.to_owned()), "{sent:?}");
    app.get(&format!("/api/v1/people/{ID}")).await.expect_problem(404);
    let events = app.all("/api/v1/audit?action=person.erased").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["after"]["notices"][0]["recipients"], 1);
    app.finish().await;
}

async fn whoever_knows_the_address_can_check_it(env: Env) {
    let (app, incident, notice) = told(&env).await;
    app.done(&notice).await;
    erase(&app).await;
    let check = async |claim: Value| app.post("/api/v1/erasures/check", claim).await.expect(200);
    for claim in [
        json!({"address": ADDRESS}),
        json!({"address": "Wilhelmina.Zorn@ZORN.example"}),
        json!({"person": ID}),
        json!({"person": ID, "address": ADDRESS}),
    ] {
        let checked = check(claim.clone()).await;
        let found = checked["recipients"].as_array().expect("recipients");
        assert_eq!(found.len(), 1, "{claim}: {checked}");
        assert_eq!(found[0]["notice"], notice.as_str());
        assert_eq!(found[0]["incident"], incident.as_str());
        assert_eq!(found[0]["state"], "sent");
        assert!(found[0]["sent_at"].is_string());
        assert_eq!(checked["erasures"].as_array().expect("erasures").len(), 1);
    }
    for claim in [
        json!({"address": OTHER}),
        json!({"person": "bob"}),
        json!({"person": ID, "address": OTHER}),
    ] {
        assert_eq!(check(claim).await["recipients"], json!([]));
    }
    app.post("/api/v1/erasures/check", json!({}))
        .await
        .expect_invalid("/address");
    let events = app.all("/api/v1/audit?action=person.erased").await;
    let listed = &events[0]["after"]["notices"][0]["erased"][0];
    assert_eq!(listed["address"].as_str().map(str::len), Some(64), "{listed}");
    app.finish().await;
}

async fn a_frozen_row_changes_only_by_an_erasure(env: Env) {
    let (app, _, notice) = told(&env).await;
    app.done(&notice).await;
    let everything = |env: &Env| {
        let mut rows = env.texts(
            "SELECT person_id || name || address || context AS value FROM notice_recipients ORDER BY 1",
        );
        rows.extend(env.texts("SELECT address || message_id AS value FROM deliveries ORDER BY 1"));
        rows.extend(env.texts("SELECT outcome || reply || batch AS value FROM delivery_attempts ORDER BY 1"));
        rows.extend(env.texts("SELECT subject_id || hash AS value FROM audit_events ORDER BY seq"));
        rows
    };
    let refused = |what: &str, env: &Env| {
        let before = everything(env);
        let error = env.sql(what).expect_err(what).to_string();
        assert!(
            error.contains("append-only") || error.contains("frozen"),
            "{what}: {error}"
        );
        assert_eq!(everything(env), before, "{what}");
    };
    // Without an erasure.
    for what in [
        "UPDATE notice_recipients SET address = 'erased-1', domain = ''",
        "UPDATE notice_recipients SET address = 'eve@example.com'",
        "UPDATE notice_recipients SET person_id = 'erased-1'",
        "UPDATE deliveries SET address = 'erased-1'",
        "UPDATE delivery_attempts SET reply = ''",
        "UPDATE audit_events SET after_json = NULL",
    ] {
        refused(what, &env);
    }
    erase(&app).await;
    // Un-erasing, erasing again, and changing the erasure itself.
    for what in [
        format!("UPDATE notice_recipients SET address = '{ADDRESS}' WHERE address LIKE 'erased-%'").as_str(),
        "UPDATE notice_recipients SET address = 'erased-2' WHERE address LIKE 'erased-%'",
        "UPDATE notice_recipients SET address = 'erased-2' WHERE address NOT LIKE 'erased-%'",
        "UPDATE deliveries SET address = 'erased-2'",
        format!("UPDATE deliveries SET address = '{ADDRESS}' WHERE address LIKE 'erased-%'").as_str(),
        "UPDATE erased_rows SET applied = FALSE",
        "UPDATE erased_recipients SET address_commitment = 'x'",
        "DELETE FROM erased_rows",
        "DELETE FROM erased_recipients",
        "DELETE FROM erasures",
        "UPDATE erasures SET reason = 'x'",
        "UPDATE audit_events SET subject_id = 'x'",
    ] {
        refused(what, &env);
    }
    // Even with a permission, an address never becomes another address, and a placeholder no other placeholder.
    let permit = format!(
        "INSERT INTO erased_rows (kind, key, erasure_id, applied) SELECT 'recipient', r.notice_id || '/' || r.ordinal, e.id, FALSE \
         FROM notice_recipients r, erasures e WHERE r.notice_id = '{notice}' AND e.id LIKE '%x'"
    );
    let copy = "INSERT INTO erasures (id, kind, at, erased_by, reason, counts) SELECT id || 'x', kind, at, erased_by, reason, counts FROM erasures";
    for what in [
        "UPDATE notice_recipients SET address = 'eve@example.com'",
        "UPDATE notice_recipients SET address = 'erased-eve@example.com'",
        "UPDATE notice_recipients SET address = 'erased-2' WHERE address LIKE 'erased-%'",
        "UPDATE notice_recipients SET optional = NOT optional",
        "UPDATE notice_recipients SET person_id = 'eve' WHERE person_id = 'bob'",
    ] {
        refused(&in_transaction(&env, &[copy, &permit, what]), &env);
    }
    assert!(holds(&app).await);
    let again = app
        .post(&format!("/api/v1/people/{ID}/erase"), json!({"reason": "again"}))
        .await;
    again.expect_problem(404);
    let placeholder = env.texts("SELECT placeholder AS value FROM erasures").remove(0);
    let again = app
        .post(
            &format!("/api/v1/people/{placeholder}/erase"),
            json!({"reason": "again"}),
        )
        .await
        .expect_problem(409);
    assert_eq!(again["code"], "erased");
    app.finish().await;
}

/// Makes one text of statements that are carried out together or not at all.
fn in_transaction(env: &Env, statements: &[&str]) -> String {
    match env.backend {
        // The connection ends with an error, and the transaction is rolled back with it.
        Backend::Sqlite => format!("BEGIN IMMEDIATE; {};", statements.join("; ")),
        Backend::Postgres => format!("BEGIN; {};", statements.join("; ")),
    }
}

async fn a_change_beside_an_erasure_is_found(env: Env) {
    let (app, _, notice) = told(&env).await;
    app.done(&notice).await;
    erase(&app).await;
    assert!(holds(&app).await);
    // Somebody with full rights on the database erases by hand, and allows it first.
    env.sql(&format!(
        "INSERT INTO erased_rows (kind, key, erasure_id, applied) SELECT 'recipient', '{notice}/' || r.ordinal, e.id, FALSE \
         FROM notice_recipients r, erasures e WHERE r.address = '{OTHER}'; \
         UPDATE notice_recipients SET address = 'erased-2', domain = '' WHERE address = '{OTHER}'"
    ))
    .expect("a change");
    let verified = app.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(verified["ok"], false, "{verified}");
    let mut app = app;
    app.stop().await;
}

async fn a_delivery_that_waits_is_not_made(env: Env) {
    let mut app = TestApp::builder(&env).workers(false).start().await;
    app.import(directory()).await.expect(200);
    let incident = app.incident([("project", "42")]).await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    erase(&app).await;
    app.stop().await;
    let app = TestApp::start(&env).await;
    app.done(&notice).await;
    let mails = app.mails(1).await;
    assert_eq!(recipients(&mails), [OTHER]);
    let deliveries = app.deliveries(&notice).await;
    let stopped: Vec<&Value> = deliveries
        .iter()
        .filter(|one| one["state"] == "stopped")
        .collect();
    assert_eq!(stopped.len(), 1, "{deliveries:#?}");
    assert_eq!(stopped[0]["reason"], "erased");
    app.finish().await;
}

async fn whoever_shares_the_mailbox_keeps_the_email(env: Env) {
    let app = TestApp::start(&env).await;
    let shared = directory().replace(OTHER, ADDRESS);
    app.import(shared).await.expect(200);
    let incident = app.incident([("project", "42")]).await;
    let notice = app.tell(&incident, "detection").await;
    app.done(&notice).await;
    assert_eq!(app.mails(1).await.len(), 1);
    erase(&app).await;
    let rows = env.texts("SELECT address || ' ' || name AS value FROM notice_recipients");
    assert_eq!(rows, [format!("{ADDRESS} Bob")]);
    let context = env
        .texts("SELECT context AS value FROM notice_recipients")
        .remove(0);
    assert!(!context.contains(ID) && !context.contains(NAME), "{context}");
    assert!(
        context.contains("\"bob\"") && context.contains("Launch film"),
        "{context}"
    );
    // The address is Bob's too, so it is not blocked.
    app.put("/api/v1/people/bob", json!({"name": "Bob", "email": ADDRESS}))
        .await
        .expect(200);
    let checked = app
        .post("/api/v1/erasures/check", json!({"person": ID}))
        .await
        .expect(200);
    assert_eq!(checked["recipients"].as_array().map(Vec::len), Some(1));
    app.finish().await;
}

async fn an_import_brings_nobody_back_unasked(env: Env) {
    let (app, _, notice) = told(&env).await;
    app.done(&notice).await;
    let erased = erase(&app).await;
    let counts = app.import(directory()).await.expect(200);
    assert_eq!(counts["left_out"], 2, "{counts}");
    assert_eq!(counts["people"], 1, "{counts}");
    assert_eq!(counts["members"], 1, "{counts}");
    // With another ID, the address is recognised.
    let other =
        json!({"kind": "person", "id": "w2", "name": "W", "email": ADDRESS.to_uppercase()}).to_string();
    let member = json!({"kind": "member", "account": "acme", "person": "w2", "role": "owner"}).to_string();
    let counts = app.import(format!("{other}\n{member}")).await.expect(200);
    assert_eq!(counts["left_out"], 2, "{counts}");
    for (id, email) in [(ID, "new@zorn.example"), ("w2", ADDRESS)] {
        let refused = app
            .put(
                &format!("/api/v1/people/{id}"),
                json!({"name": "W", "email": email}),
            )
            .await
            .expect_problem(409);
        assert_eq!(refused["code"], "erased");
    }
    let allow = format!("/api/v1/erasures/{}/allow", erased["id"].as_str().expect("an ID"));
    app.as_new("operator")
        .await
        .post(&allow, json!({}))
        .await
        .expect_problem(403);
    let allowed = app.post(&allow, json!({})).await.expect(200);
    assert!(allowed["allowed_at"].is_string());
    app.post(&allow, json!({})).await.expect_problem(409);
    let counts = app.import(directory()).await.expect(200);
    assert!(counts["left_out"].is_null(), "{counts}");
    app.get(&format!("/api/v1/people/{ID}")).await.expect(200);
    assert_eq!(
        app.all("/api/v1/audit?action=person.allowed_again").await.len(),
        1
    );
    app.finish().await;
}

async fn a_sync_brings_nobody_back_unasked(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::start(&env).await;
    let source = made(&app, &shop.source()).await;
    let first = synced(&app, &source).await;
    assert_eq!(first["state"], "done", "{first:#}");
    let people = env.texts("SELECT id AS value FROM people ORDER BY key");
    app.post(
        &format!("/api/v1/people/{}/erase", people[0]),
        json!({"reason": "asked"}),
    )
    .await
    .expect(200);
    let second = synced(&app, &source).await;
    assert_eq!(second["state"], "done", "{second:#}");
    let left_out = second["changes"]["people"]["left_out"].as_i64();
    assert_eq!(left_out, Some(1), "{second:#}");
    app.get(&format!("/api/v1/people/{}", people[0]))
        .await
        .expect_problem(404);
    assert_eq!(env.count("directory_staged"), 0);
    app.finish().await;
}

async fn a_suppressed_address_stays_suppressed(env: Env) {
    let (app, _, notice) = told(&env).await;
    app.done(&notice).await;
    env.sql(&format!(
        "INSERT INTO opt_outs (address, at, reason) VALUES ('{ADDRESS}', 0, 'opted_out')"
    ))
    .expect("a row");
    let erased = erase(&app).await;
    assert_eq!(env.count("opt_outs"), 0);
    let allow = format!("/api/v1/erasures/{}/allow", erased["id"].as_str().expect("an ID"));
    app.post(&allow, json!({})).await.expect(200);
    app.import(directory()).await.expect(200);
    let rows = env.texts("SELECT address || ' ' || reason AS value FROM opt_outs");
    assert_eq!(rows, [format!("{ADDRESS} opted_out")]);
    // Once it is lifted, it stays lifted.
    app.delete(&format!("/api/v1/suppressions/{ADDRESS}"))
        .await
        .expect(204);
    app.import(directory()).await.expect(200);
    assert_eq!(env.count("opt_outs"), 0);
    app.finish().await;
}

async fn a_report_that_comes_later_stores_nothing(env: Env) {
    let (app, _, notice) = told(&env).await;
    app.done(&notice).await;
    let mails = app.mails(2).await;
    let mail = mails.iter().find(|mail| mail.to == ADDRESS).expect("a mail");
    let message_id = mail.header("message-id");
    erase(&app).await;
    let bounce = format!(
        "From: MAILER-DAEMON@zorn.example\r\nTo: candor@localhost\r\nSubject: Undelivered\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\nMIME-Version: 1.0\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nNo {ADDRESS} here.\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; zorn.example\r\n\r\n\
         Final-Recipient: rfc822; {ADDRESS}\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 no {ADDRESS}\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message_id}\r\n\r\n--b--\r\n"
    );
    app.post_raw("/api/v1/inbound-mail", "message/rfc822", bounce)
        .await
        .expect(202);
    assert_eq!(env.count("feedback WHERE delivery_id IS NOT NULL"), 1);
    let stored = env
        .texts("SELECT address || diagnostic AS value FROM feedback")
        .remove(0);
    assert!(!stored.contains(ADDRESS), "{stored}");
    assert_eq!(env.count("feedback WHERE length(raw) > 0"), 0);
    app.finish().await;
}

async fn the_page_asks_in_words(env: Env) {
    let (app, _, notice) = told(&env).await;
    app.done(&notice).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let path = format!("/admin/directory/people/{ID}/erase");
    let page = browser.page(&path).await;
    let total = app.get(&format!("/api/v1/people/{ID}/erasure")).await.expect(200)["total"]
        .as_i64()
        .expect("a number");
    let words = format!("erase {total} rows");
    assert!(page.contains(&words), "{page}");
    let more = format!("erase {} rows", total + 1);
    for wrong in ["", "erase", "yes", more.as_str()] {
        let fields = [("reason", "asked"), ("confirmation", wrong)];
        browser.send_from(&path, &path, &fields).await.expect(422);
    }
    assert_eq!(env.count("erasures"), 0);
    let fields = [("reason", "asked"), ("confirmation", words.as_str())];
    browser.send_from(&path, &path, &fields).await.expect(303);
    assert_eq!(env.count("erasures"), 1);
    let list = browser.page("/admin/directory/erasures").await;
    assert!(list.contains("asked") && !list.contains(NAME), "{list}");
    let checked = browser
        .send_from(
            "/admin/directory/erasures",
            "/admin/directory/erasures/check",
            &[("address", ADDRESS), ("person", "")],
        )
        .await
        .expect(200);
    assert!(
        checked.text.contains(&format!("/admin/notices/{notice}")),
        "{}",
        checked.text
    );
    let viewer = app.token("operator").await;
    let operator = Browser::signed_in(&app, &viewer).await;
    operator.open(&path).await.expect(403);
    app.finish().await;
}

async fn an_export_has_all_of_it(env: Env) {
    let (app, incident, notice) = told(&env).await;
    app.done(&notice).await;
    app.post(
        &format!("/api/v1/incidents/{incident}/answers"),
        json!({"person": ID, "answer": "works", "text": "Thank you"}),
    )
    .await
    .expect(201);
    let path = format!("/api/v1/people/{ID}/export");
    app.as_new("operator").await.get(&path).await.expect_problem(403);
    let export = app.get(&path).await.expect(200);
    assert_eq!(export["person"]["email"], ADDRESS);
    assert_eq!(export["accounts"][0]["role"], "owner");
    assert_eq!(export["notices"][0]["address"], ADDRESS);
    assert_eq!(export["notices"][0]["state"], "sent");
    assert_eq!(export["notices"][0]["attempts"][0]["outcome"], "sent");
    assert_eq!(export["answers"][0]["text"], "Thank you");
    assert!(!export.text.contains(OTHER), "{}", export.text);
    let events = app.all("/api/v1/audit?action=person.exported").await;
    assert_eq!(events.len(), 1);
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let file = browser
        .open(&format!("/admin/directory/people/{ID}/export"))
        .await
        .expect(200);
    assert!(file.header("content-disposition").contains("attachment"));
    app.finish().await;
}

async fn an_erasure_is_checked_before_it_begins(env: Env) {
    let (app, _, notice) = told(&env).await;
    app.done(&notice).await;
    let path = format!("/api/v1/people/{ID}/erase");
    app.post(&path, json!({"reason": " "}))
        .await
        .expect_invalid("/reason");
    app.post(&path, json!({"reason": "x".repeat(501)}))
        .await
        .expect_invalid("/reason");
    app.post(&path, json!({"reason": "x", "why": "y"}))
        .await
        .expect_problem(422);
    app.as_new("approver")
        .await
        .post(&path, json!({"reason": "x"}))
        .await
        .expect_problem(403);
    app.post("/api/v1/people/nobody/erase", json!({"reason": "x"}))
        .await
        .expect_problem(404);
    assert_eq!(env.count("erasures"), 0);
    app.finish().await;
}

/// A new column must be classified before anybody can forget it.
#[test]
fn every_column_is_classified() {
    let listed: BTreeSet<(String, String)> = candor::forgetting::columns::columns()
        .into_iter()
        .map(|one| (one.table.to_owned(), one.column.to_owned()))
        .collect();
    let mut stored = BTreeSet::new();
    for (table, columns) in declared() {
        for (column, (kind, _)) in columns {
            if kind == "Text" || kind == "Binary" {
                stored.insert((table.clone(), column));
            }
        }
    }
    let missing: Vec<_> = stored.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "classify these in src/forgetting/columns.txt: {missing:?}"
    );
    let gone: Vec<_> = listed.difference(&stored).collect();
    assert!(gone.is_empty(), "these columns do not exist: {gone:?}");
}

#[test]
fn events_of_people_contain_no_name() {
    run(Backend::Sqlite, |env| async move {
        let app = TestApp::start(&env).await;
        app.put(
            &format!("/api/v1/people/{ID}"),
            json!({"name": NAME, "email": ADDRESS}),
        )
        .await
        .expect(201);
        let event = &app.all("/api/v1/audit?action=person.put").await[0];
        let text = event.to_string();
        assert!(!text.contains(NAME) && !text.contains("sha256:"), "{text}");
        app.finish().await;
    });
}
