//! What a customer was told, and whether it arrived: each notice to a person, to an account or to an address, with what became of it.

use candor::config::Config;
use candor::delivery::verp::Verp;
use candor::demo::catcher::{Decision, Policy};
use candor::egress;
use serde_json::{Value, json};

use crate::bounces_reach_the_incident::bounce;
use crate::support::browser::Browser;
use crate::support::receiver::Receiver;
use crate::support::story::{ADDRESSES, FILES, story_directory};
use crate::support::{ADMIN_TOKEN, Answer, Env, Mail, TestApp, on_both_databases, on_one_database};

on_both_databases!(
    each_notice_is_shown_with_what_became_of_it,
    the_address_is_the_one_of_then,
    an_account_sees_its_members_of_then_and_its_systems,
    whoever_shares_a_mailbox_sees_its_emails,
    a_notice_in_progress_is_pending_and_a_stopped_one_is_stopped,
    a_correction_and_a_drill_are_marked,
    thousands_of_rows_come_in_pages_and_as_a_file,
);

on_one_database!(what_is_no_search_is_refused, the_pages_show_what_the_api_knows,);

const KEY: &str = "a secret key of the tests, of 32 characters";
const BOUNCES: &str = "bounces@candor.example";

fn with_bounces(config: &mut Config) {
    config.secret_key = Some(KEY.to_owned());
    config.bounce_address = Some(BOUNCES.to_owned());
}

async fn history(app: &TestApp, whose: &str) -> Vec<Value> {
    app.all(&format!("/api/v1/{whose}/history?limit=2")).await
}

async fn found(app: &TestApp, query: &[(&str, &str)]) -> Vec<Value> {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    app.all(&format!("/api/v1/deliveries?{query}")).await
}

/// Returns the values of these fields of each row.
fn fields(rows: &[Value], names: &[&str]) -> Vec<Value> {
    let one = |row: &Value| names.iter().map(|name| row[*name].clone()).collect::<Vec<_>>();
    rows.iter().map(|row| json!(one(row))).collect()
}

/// Opens an incident with this title that affects the files of the story.
async fn incident(app: &TestApp, title: &str) -> String {
    let affected = FILES.map(|file| json!({"type": "file", "id": file}));
    let body = json!({"title": title, "severity": "major", "affected": affected});
    app.post("/api/v1/incidents", body).await.expect(201).id()
}

async fn answer_by_link(app: &TestApp, mail: &Mail, answer: &str, text: &str) -> Answer {
    let ending = format!("?answer={answer}");
    let url = mail
        .text
        .split_whitespace()
        .find(|word| word.contains("/answers/") && word.ends_with(&ending))
        .expect("a link");
    let (_, path) = url.split_once("/answers/").expect("a path");
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("answer", answer), ("text", text)])
        .finish();
    app.anonymous()
        .post_raw(
            &format!("/answers/{path}"),
            "application/x-www-form-urlencoded",
            form,
        )
        .await
        .expect(200)
}

async fn each_notice_is_shown_with_what_became_of_it(env: Env) {
    let policy = Policy::new(|attempt| match attempt.recipient {
        "baraka@sound-works.example" => Decision::Permanent("550 5.7.1 not today".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env)
        .smtp_policy(policy)
        .config(with_bounces)
        .at("2024-03-14T06:56:00Z")
        .start()
        .await;
    app.import(story_directory()).await.expect(200);
    let incident = incident(&app, "=HYPERLINK(1) cannot be opened").await;
    let detection = app.tell(&incident, "detection").await;
    let mails = app.mails(2).await;
    let wanjiru = mails
        .iter()
        .find(|mail| mail.to == ADDRESSES[2])
        .expect("an email");
    app.set_clock("2024-03-14T07:30:00Z");
    answer_by_link(&app, wanjiru, "broken", "Still nothing, +1").await;
    let sent = app.deliveries(&detection).await;
    let to_amina = sent
        .iter()
        .find(|one| one["address"] == ADDRESSES[0])
        .expect("a delivery");
    let verp = Verp::new(KEY.as_bytes(), BOUNCES).expect("an address");
    let bounces = verp
        .address(to_amina["id"].as_i64().expect("an id"))
        .expect("an address");
    app.post_raw(
        "/api/v1/inbound-mail",
        "message/rfc822",
        bounce(bounces.as_ref(), ADDRESSES[0], "failed", "5.1.1", "Subject: x"),
    )
    .await
    .expect(202);
    app.set_clock("2024-03-14T08:00:00Z");
    let update = app.tell(&incident, "update").await;
    app.set_clock("2024-03-14T08:30:00Z");
    // An operator records what was said on the phone. It is about the last email before.
    app.post(
        &format!("/api/v1/incidents/{incident}/answers"),
        json!({"person": "wanjiru", "answer": "works", "text": "By phone"}),
    )
    .await
    .expect(201);

    let rows = history(&app, "people/wanjiru").await;
    let names = [
        "notice",
        "phase",
        "address",
        "state",
        "at",
        "bounced_at",
        "corrected",
    ];
    assert_eq!(
        fields(&rows, &names),
        [
            json!([
                update,
                "update",
                ADDRESSES[2],
                "sent",
                "2024-03-14T08:00:00Z",
                null,
                null
            ]),
            json!([
                detection,
                "detection",
                ADDRESSES[2],
                "sent",
                "2024-03-14T06:56:00Z",
                null,
                null
            ]),
        ]
    );
    for row in &rows {
        assert_eq!(
            row["incident"],
            json!({"id": incident, "number": 1, "title": "=HYPERLINK(1) cannot be opened"})
        );
        assert_eq!(
            json!([row["people"], row["drill"], row["channel"]]),
            json!([["wanjiru"], false, "email"])
        );
        assert!(
            row["reply"].as_str().is_some_and(|reply| !reply.is_empty()),
            "{row}"
        );
        assert!(
            row["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
            "{row}"
        );
        let mail = format!("/api/v1/deliveries/{}/mail", row["delivery"]);
        assert_eq!(row["mail"], mail);
    }
    assert_eq!(
        json!([rows[0]["answer"], rows[1]["answer"]]),
        json!([
            {"person": "wanjiru", "answer": "works", "text": "By phone", "at": "2024-03-14T08:30:00Z", "source": "token"},
            {"person": "wanjiru", "answer": "broken", "text": "Still nothing, +1", "at": "2024-03-14T07:30:00Z", "source": "link"},
        ])
    );

    let baraka = history(&app, "people/baraka").await;
    let last = baraka.last().expect("a row");
    assert_eq!(json!([last["state"], last["attempts"]]), json!(["failed", 1]));
    assert!(
        last["reply"]
            .as_str()
            .is_some_and(|reply| reply.contains("not today")),
        "{last}"
    );

    let amina = history(&app, "people/amina").await;
    let last = amina.last().expect("a row");
    assert_eq!(
        json!([last["notice"], last["state"]]),
        json!([detection, "bounced"])
    );
    assert!(last["bounced_at"].is_string(), "{last}");
    assert!(
        last["bounce"]
            .as_str()
            .is_some_and(|text| text.contains("what the server said")),
        "{last}"
    );

    assert_eq!(history(&app, "people/otieno").await, Vec::<Value>::new());

    let file = app
        .get("/api/v1/people/wanjiru/history?format=csv")
        .await
        .expect(200);
    assert_eq!(file.header("content-type"), "text/csv; charset=utf-8");
    assert!(
        file.header("content-disposition").starts_with("attachment"),
        "{file}"
    );
    let mut reader = csv::Reader::from_reader(file.text.as_bytes());
    let names = reader.headers().expect("names").clone();
    let lines: Vec<csv::StringRecord> = reader.records().map(|line| line.expect("a line")).collect();
    assert_eq!(lines.len(), 2);
    let cell = |line: usize, name: &str| {
        let place = names.iter().position(|one| one == name).expect("a column");
        lines[line][place].to_owned()
    };
    assert_eq!(cell(0, "phase"), "update");
    assert_eq!(cell(1, "answer_text"), "Still nothing, +1");
    // A spreadsheet does not take the title for a formula.
    assert_eq!(cell(0, "incident_title"), "'=HYPERLINK(1) cannot be opened");
    app.finish().await;
}

async fn the_address_is_the_one_of_then(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.put(
        "/api/v1/people/baraka",
        json!({"name": "Baraka Mushi", "email": "baraka@BÜCHER.example"}),
    )
    .await
    .expect(200);
    app.tell(&incident, "update").await;
    let addresses = |rows: &[Value]| fields(rows, &["phase", "address"]);
    let rows = [
        json!(["update", "baraka@xn--bcher-kva.example"]),
        json!(["detection", "baraka@sound-works.example"]),
    ];
    assert_eq!(addresses(&history(&app, "people/baraka").await), rows);
    // Whoever is archived keeps the history.
    app.delete("/api/v1/people/baraka").await.expect(204);
    assert_eq!(addresses(&history(&app, "people/baraka").await), rows);
    for address in [
        "baraka@bücher.example",
        "Baraka@XN--BCHER-KVA.example",
        "BARAKA@BÜCHER.EXAMPLE",
    ] {
        assert_eq!(
            addresses(&found(&app, &[("address", address)]).await),
            rows[..1],
            "{address}"
        );
    }
    let old = [("address", "Baraka@Sound-Works.example")];
    assert_eq!(addresses(&found(&app, &old).await), rows[1..]);
    for (person, number) in [("baraka", 1), ("amina", 0)] {
        let both = [old[0], ("person", person)];
        assert_eq!(found(&app, &both).await.len(), number, "{person}");
    }
    assert_eq!(
        found(&app, &[("address", "nobody@sound-works.example")])
            .await
            .len(),
        0
    );
    app.finish().await;
}

/// Returns a directory with two accounts, each with one owner and one project, and with one collaborator on the first project.
fn two_accounts() -> String {
    let mut lines = Vec::new();
    for id in ["acme", "zeta"] {
        lines.push(json!({"kind": "account", "id": id, "name": id}));
        lines.push(json!({"kind": "person", "id": format!("{id}-owner"), "name": "Owner", "email": format!("owner@{id}.example")}));
        lines
            .push(json!({"kind": "member", "account": id, "person": format!("{id}-owner"), "role": "owner"}));
        lines.push(json!({"kind": "resource", "type": "project", "id": id, "account": id}));
    }
    for id in ["late", "agency"] {
        lines.push(json!({"kind": "person", "id": id, "name": id, "email": format!("{id}@other.example")}));
    }
    lines.push(json!({"kind": "collaborator", "resource": {"type": "project", "id": "acme"}, "person": "agency", "role": "editor"}));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn an_account_sees_its_members_of_then_and_its_systems(env: Env) {
    let receiver = Receiver::start();
    let app = TestApp::builder(&env)
        .config(|config| config.webhook_allow = egress::Policy::Private)
        .at("2024-03-14T06:56:00Z")
        .start()
        .await;
    app.import(two_accounts()).await.expect(200);
    let endpoint = app
        .post(
            "/api/v1/accounts/acme/endpoints",
            json!({"url": receiver.url("/hook"), "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}),
        )
        .await
        .expect(201)
        .id();
    let incident = app.incident([("project", "acme"), ("project", "zeta")]).await;
    app.set_clock("2024-03-14T07:00:00Z");
    let detection = app.tell(&incident, "detection").await;
    app.set_clock("2024-03-14T07:10:00Z");
    app.delete("/api/v1/accounts/acme/members/acme-owner")
        .await
        .expect(204);
    app.put("/api/v1/accounts/acme/members/late", json!({"role": "owner"}))
        .await
        .expect(201);
    app.set_clock("2024-03-14T07:20:00Z");
    let update = app.tell(&incident, "update").await;
    let rows = app.all("/api/v1/accounts/acme/history?limit=1").await;
    let of = |notice: &str| {
        let mut rows: Vec<Value> = rows
            .iter()
            .filter(|row| row["notice"] == notice)
            .map(|row| json!([row["channel"], row["people"], row["endpoint"]]))
            .collect();
        rows.sort_by_key(Value::to_string);
        rows
    };
    assert_eq!(
        of(&detection),
        [
            json!(["email", ["acme-owner"], null]),
            json!(["webhook", [], endpoint]),
        ]
    );
    let updated = of(&update);
    assert!(updated.contains(&json!(["email", ["late"], null])), "{updated:?}");
    assert!(
        !updated.iter().any(|row| row[1] == json!(["acme-owner"])),
        "{updated:?}"
    );
    // Notices that were drafted later come first.
    let order: Vec<&Value> = rows.iter().map(|row| &row["notice"]).collect();
    let first = order.iter().position(|notice| **notice == detection.as_str());
    assert!(
        order[first.expect("a row")..]
            .iter()
            .all(|notice| **notice == detection.as_str())
    );
    let call = rows
        .iter()
        .find(|row| row["notice"] == detection.as_str() && row["channel"] == "webhook")
        .expect("a call");
    assert_eq!(json!([call["state"], call["mail"]]), json!(["sent", null]));
    // The collaborator is no member of the account, and has a history of their own.
    assert!(!rows.iter().any(|row| row["people"] == json!(["agency"])));
    assert!(
        history(&app, "people/agency")
            .await
            .iter()
            .any(|row| row["notice"] == detection.as_str())
    );
    let zeta = found(&app, &[("account", "zeta")]).await;
    assert!(
        zeta.iter().all(|row| row["people"] == json!(["zeta-owner"])) && !zeta.is_empty(),
        "{zeta:?}"
    );
    for (person, number) in [("acme-owner", 1), ("late", 0)] {
        let both = [("account", "acme"), ("person", person)];
        let of_detection = found(&app, &both).await;
        let number_found = of_detection
            .iter()
            .filter(|row| row["notice"] == detection.as_str())
            .count();
        assert_eq!(number_found, number, "{person}");
    }
    // An archived account keeps its history.
    app.delete("/api/v1/accounts/acme").await.expect(204);
    assert_eq!(app.all("/api/v1/accounts/acme/history").await.len(), rows.len());
    app.finish().await;
}

async fn whoever_shares_a_mailbox_sees_its_emails(env: Env) {
    let app = TestApp::start(&env).await;
    let mut lines = vec![
        json!({"kind": "account", "id": "acme", "name": "Acme"}),
        json!({"kind": "resource", "type": "project", "id": "site", "account": "acme"}),
    ];
    for (id, address) in [
        ("ann", "team@acme.example"),
        ("bob", "TEAM@acme.example"),
        ("cleo", "cleo@acme.example"),
    ] {
        lines.push(json!({"kind": "person", "id": id, "name": id, "email": address}));
        lines.push(json!({"kind": "member", "account": "acme", "person": id, "role": "owner"}));
    }
    let directory: String = lines.iter().map(|line| format!("{line}\n")).collect();
    app.import(directory).await.expect(200);
    let incident = app.incident([("project", "site")]).await;
    let notice = app.tell(&incident, "detection").await;
    for person in ["ann", "bob"] {
        let rows = history(&app, &format!("people/{person}")).await;
        assert_eq!(
            fields(&rows, &["notice", "people", "state"]),
            [json!([notice, ["ann", "bob"], "sent"])],
            "{person}"
        );
    }
    assert_eq!(env.count("shared_recipients"), 1);
    let rows = history(&app, "accounts/acme").await;
    assert_eq!(rows.len(), 2, "one email is one row: {rows:?}");
    // What an operator records of one of them belongs to their email.
    app.post(
        &format!("/api/v1/incidents/{incident}/answers"),
        json!({"person": "bob", "answer": "help"}),
    )
    .await
    .expect(201);
    let answer = async |person: &str| history(&app, &format!("people/{person}")).await[0]["answer"].clone();
    assert_eq!(answer("bob").await["answer"], "help");
    assert_eq!(answer("ann").await, Value::Null);
    app.finish().await;
}

async fn a_notice_in_progress_is_pending_and_a_stopped_one_is_stopped(env: Env) {
    let app = TestApp::builder(&env)
        .workers(false)
        .at("2024-03-14T06:56:00Z")
        .start()
        .await;
    let incident = app.story_incident().await;
    let draft = app.draft(&incident, "detection").await;
    assert_eq!(
        history(&app, "people/amina").await,
        Vec::<Value>::new(),
        "a draft tells nobody"
    );
    app.set_clock("2024-03-14T07:00:00Z");
    app.send_as_previewed(&draft).await;
    let names = ["state", "at", "attempts", "reply"];
    assert_eq!(
        fields(&history(&app, "people/amina").await, &names),
        [json!(["pending", "2024-03-14T07:00:00Z", 0, null])]
    );
    app.post(&format!("/api/v1/notices/{draft}/stop"), json!({}))
        .await
        .expect(200);
    assert_eq!(
        fields(&history(&app, "people/amina").await, &["state"]),
        [json!(["stopped"])]
    );
    app.finish().await;
}

async fn a_correction_and_a_drill_are_marked(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.drill_to = vec!["drill@quickbyte.example".to_owned()])
        .start()
        .await;
    let incident = app.story_incident().await;
    let wrong = app.tell(&incident, "detection").await;
    for file in FILES {
        app.delete(&format!("/api/v1/incidents/{incident}/affected/file/{file}"))
            .await
            .expect(204);
    }
    let correction = app
        .post(&format!("/api/v1/notices/{wrong}/correction"), json!({}))
        .await
        .expect(201)
        .id();
    assert_eq!(history(&app, "people/amina").await[0]["corrected"], Value::Null);
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    for whose in ["people/amina", "people/baraka"] {
        let rows = history(&app, whose).await;
        assert_eq!(
            fields(&rows, &["notice", "phase", "corrects"]),
            [
                json!([correction, "correction", wrong]),
                json!([wrong, "detection", null])
            ]
        );
        let corrected = &rows[1]["corrected"];
        assert_eq!(
            json!([corrected["notice"], corrected["state"]]),
            json!([correction, "sent"])
        );
        assert_eq!(rows[0]["corrected"], Value::Null);
    }
    let affected = FILES.map(|file| json!({"type": "file", "id": file}));
    let drill = app
        .post(
            "/api/v1/incidents",
            json!({"title": "A drill", "severity": "major", "affected": affected, "drill": true}),
        )
        .await
        .expect(201)
        .id();
    let practised = app.tell(&drill, "detection").await;
    let rows = found(&app, &[("address", "drill@quickbyte.example")]).await;
    assert_eq!(fields(&rows, &["notice", "drill"]), [json!([practised, true])]);
    // No customer was told in a drill.
    assert_eq!(history(&app, "people/amina").await.len(), 2);
    app.finish().await;
}

/// The number of notices that are stored for one person.
const MANY: usize = 3_000;

async fn thousands_of_rows_come_in_pages_and_as_a_file(env: Env) {
    let mut app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let rows = format!("WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {MANY})");
    let id = "'01890000-0000-7000-8000-' || substr(CAST(1000000000000 + n AS TEXT), 2)";
    let context = r#"'{"people":["amina"],"name":"Amina","time_zone":null,"resources":[],"more_resources":0,"what":"x","reason":"because"}'"#;
    env.sql(&format!(
        "INSERT INTO notices (id, incident_id, phase, state, message, drafted_by, recipients, expand_cursor, created_at, updated_at, \
                              queued_at, endpoints, episode, unreachable, acknowledge_impaired) \
         {rows} SELECT {id}, '{incident}', 'update', 'sent', 'x', 'x', 1, 1, n, n, n, 0, 0, 0, FALSE FROM s;
         INSERT INTO notice_recipients (notice_id, ordinal, person_id, name, address, optional, context, domain, channel) \
         {rows} SELECT {id}, 1, 'amina', 'Amina', 'amina@nyota-films.example', FALSE, {context}, 'nyota-films.example', 'email' FROM s;
         INSERT INTO deliveries (notice_id, ordinal, channel, address, state, attempt, next_attempt_at, expires_at, sent_at, message_id, \
                                 domain, ambiguous) \
         {rows} SELECT {id}, 1, 'email', 'amina@nyota-films.example', 'sent', 1, n, n, n, 'm' || n, 'nyota-films.example', 0 FROM s;"
    ))
    .expect("the rows");
    let expected: Vec<String> = (1..=MANY)
        .rev()
        .map(|n| format!("01890000-0000-7000-8000-{n:012}"))
        .collect();
    for path in [
        "/api/v1/people/amina/history?limit=499",
        "/api/v1/deliveries?address=amina@nyota-films.example&limit=499",
        "/api/v1/deliveries?address=amina@nyota-films.example&person=amina&limit=499",
    ] {
        let notices: Vec<String> = app
            .all(path)
            .await
            .iter()
            .map(|row| row["notice"].as_str().expect("an ID").to_owned())
            .collect();
        assert!(notices == expected, "{path}: {} rows", notices.len());
    }
    // Nobody was a member of the account when these notices were queued, in 1970.
    let account = app.all("/api/v1/accounts/nyota-films/history?limit=499").await;
    assert_eq!(account, Vec::<Value>::new());
    // Nobody else got them.
    let page = app
        .get("/api/v1/deliveries?address=amina@nyota-films.example&person=baraka")
        .await
        .expect(200);
    assert_eq!(page.items().len(), 0);
    let file = app
        .get("/api/v1/people/amina/history?format=csv")
        .await
        .expect(200);
    let lines = csv::Reader::from_reader(file.text.as_bytes())
        .into_records()
        .count();
    assert_eq!(lines, MANY);
    app.get("/api/v1/people/amina/not-arrived").await.expect(200);
    // These rows are in no event of the audit trail, so only the service is stopped.
    app.stop().await;
}

async fn what_is_no_search_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    app.get("/api/v1/deliveries").await.expect_problem(422);
    app.get("/api/v1/deliveries?address=")
        .await
        .expect_invalid("?address");
    app.get("/api/v1/deliveries?name=ann").await.expect_problem(422);
    app.get("/api/v1/deliveries?person=nobody")
        .await
        .expect_problem(404);
    app.get("/api/v1/deliveries?account=nobody")
        .await
        .expect_problem(404);
    app.get("/api/v1/deliveries?person=amina&cursor=x")
        .await
        .expect_invalid("?cursor");
    for whose in ["people/nobody", "accounts/nobody"] {
        for format in ["json", "csv"] {
            app.get(&format!("/api/v1/{whose}/history?format={format}"))
                .await
                .expect_problem(404);
        }
    }
    app.get("/api/v1/people/amina/history?format=xml")
        .await
        .expect_problem(422);
    app.get("/api/v1/people/amina/history?format=csv&limit=5")
        .await
        .expect_invalid("?limit");
    app.anonymous()
        .get("/api/v1/people/amina/history")
        .await
        .expect_problem(401);
    app.finish().await;
}

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

async fn the_pages_show_what_the_api_knows(env: Env) {
    let app = TestApp::start(&env).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    app.import(story_directory()).await.expect(200);
    shows(
        &viewer.page("/admin/directory/people/amina").await,
        &["No notice was sent so far."],
    );
    let incident = incident(&app, "Files <b>cannot</b> be opened").await;
    let mut notices = vec![app.tell(&incident, "detection").await];
    for _ in 0..21 {
        notices.push(app.tell(&incident, "update").await);
    }
    let rows = history(&app, "people/amina").await;
    let newest = &rows[0];
    let mail = format!("/admin/deliveries/{}/mail", newest["delivery"]);
    let person = "/admin/directory/people/amina";
    let account = "/admin/directory/accounts/nyota-films";
    let admin = Browser::signed_in(&app, ADMIN_TOKEN).await;
    for path in [person, account] {
        let page = viewer.page(path).await;
        shows(
            &page,
            &[
                "id=\"history\"",
                "Files &lt;b&gt;cannot&lt;/b&gt; be opened",
                "amina@nyota-films.example",
                &format!("href=\"{path}/history\""),
                &format!("href=\"{path}/history.csv\""),
            ],
        );
        assert!(
            !page.contains(&format!("href=\"/admin/notices/{}\"", notices[0])),
            "{path}: twenty rows"
        );
        // Only an operator may open a mail, so only an operator gets the link.
        assert!(!page.contains("View the mail"), "{path}");
        shows(&admin.page(path).await, &["View the mail", &mail]);
        // The rest is on further pages.
        let (mut next, mut pages) = (Some(format!("{path}/history")), String::new());
        while let Some(path) = next {
            let page = viewer.page(&path).await;
            next = page
                .split("<a href=\"")
                .filter(|rest| {
                    rest.split('>')
                        .next()
                        .is_some_and(|tag| tag.contains("rel=\"next\""))
                })
                .filter_map(|rest| rest.split('"').next())
                .map(|path| path.replace("&amp;", "&").replace("&#x3D;", "="))
                .next();
            pages.push_str(&page);
        }
        for notice in &notices {
            assert!(
                pages.contains(&format!("href=\"/admin/notices/{notice}\"")),
                "{path}: {notice}"
            );
        }
        let file = viewer.open(&format!("{path}/history.csv")).await.expect(200);
        assert!(file.text.lines().count() > notices.len(), "{}", file.text);
    }
    shows(
        &viewer.page("/admin/directory").await,
        &["action=\"/admin/deliveries\""],
    );
    shows(
        &viewer.page("/admin/search?q=amina%40nyota-films.example").await,
        &["href=\"/admin/deliveries?address"],
    );
    shows(&viewer.page("/admin/deliveries").await, &["Emails to an address"]);
    shows(
        &viewer
            .page("/admin/deliveries?address=AMINA%40nyota-films.example&person=&account=")
            .await,
        &["Amina Njeri"],
    );
    shows(
        &viewer
            .page("/admin/deliveries?address=nobody%40nyota-films.example")
            .await,
        &["No email matches."],
    );
    app.finish().await;
}
