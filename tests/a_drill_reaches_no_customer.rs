//! A drill is worked on like an incident, and every email of it goes only to the addresses for drills.

use candor::config::Config;
use candor::egress;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::receiver::Receiver;
use crate::support::story::{ACCOUNT, ADDRESSES, FILES, PROJECT, story_directory};
use crate::support::{ADMIN_TOKEN, Env, TestApp, on_both_databases, on_one_database, recipients};

on_both_databases!(
    every_email_goes_to_the_addresses_for_drills,
    a_drill_never_becomes_real,
    the_database_queues_no_notice_of_a_drill_for_a_customer,
    answers_in_a_drill_are_about_no_customer,
    an_alert_never_joins_a_drill,
    operators_read_that_it_is_a_drill,
    without_addresses_there_is_no_drill,
);

on_one_database!(a_drill_is_opened_and_shown_on_the_pages);

const DRILL: [&str; 2] = ["drill@quickbyte.example", "second@quickbyte.example"];
const LINE: &str = "THIS IS A DRILL.";

fn addresses(config: &mut Config) {
    config.drill_to = DRILL.map(str::to_owned).to_vec();
    config.webhook_allow = egress::Policy::Private;
}

async fn start(env: &Env) -> TestApp {
    TestApp::builder(env).config(addresses).start().await
}

fn new_drill() -> Value {
    let affected = FILES.map(|file| json!({"type": "file", "id": file}));
    json!({"title": "Files cannot be opened", "severity": "major", "affected": affected, "drill": true})
}

/// Imports the directory of the story and opens a drill that affects its three people.
async fn drill(app: &TestApp) -> String {
    app.import(story_directory()).await.expect(200);
    let opened = app.post("/api/v1/incidents", new_drill()).await.expect(201);
    assert_eq!(opened["drill"], true);
    opened.id()
}

async fn every_email_goes_to_the_addresses_for_drills(env: Env) {
    let receiver = Receiver::start();
    let app = start(&env).await;
    let incident = drill(&app).await;
    app.post(
        &format!("/api/v1/accounts/{ACCOUNT}/endpoints"),
        json!({"url": receiver.url("/"), "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}),
    )
    .await
    .expect(201);
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(
        json!([
            preview["drill"],
            preview["would_reach"],
            preview["recipients"],
            preview["channels"]
        ]),
        json!([true, 3, 2, {}])
    );
    let samples: Vec<&Value> = preview["samples"]
        .as_array()
        .expect("samples")
        .iter()
        .map(|sample| &sample["to"])
        .collect();
    assert_eq!(json!(samples), json!(DRILL));
    let mut got = 0;
    for phase in ["detection", "update", "resolution", "report"] {
        if phase == "resolution" {
            app.resolve(&incident).await;
        }
        let sent = app.tell(&incident, phase).await;
        assert_eq!(app.notice(&sent).await["drill"], true);
        let mails = app.mails(got + 2).await;
        assert_eq!(recipients(&mails[got..]), DRILL, "{phase}");
        for mail in &mails[got..] {
            assert!(mail.subject.starts_with("[DRILL] "), "{}", mail.subject);
            assert!(mail.text.starts_with(LINE), "{}", mail.text);
            let (_, body) = mail.html.split_once("<body").expect("a body");
            let (band, _) = body.split_once("Quickbyte").unwrap_or((body, ""));
            assert!(band.contains(LINE), "{}", mail.html);
        }
        got += 2;
    }
    // The email looks real: it has the name and the resources of a customer.
    let mails = app.mails(got).await;
    let first = mails.iter().find(|mail| mail.to == DRILL[0]).expect("an email");
    assert!(first.text.contains("Hello Amina"), "{}", first.text);
    assert_eq!(receiver.received().len(), 0);
    app.finish().await;
}

async fn a_drill_never_becomes_real(env: Env) {
    let app = start(&env).await;
    let incident = drill(&app).await;
    let path = format!("/api/v1/incidents/{incident}");
    for drill in [json!(false), json!(true)] {
        app.patch(&path, json!({"drill": drill}))
            .await
            .expect_invalid("/drill");
    }
    assert_eq!(app.get(&path).await.expect(200)["drill"], true);
    for value in ["FALSE", "NOT drill"] {
        env.sql(&format!("UPDATE incidents SET drill = {value}"))
            .expect_err("the database keeps a drill");
    }
    // The report of a drill is not published.
    let sections = json!([{"heading": "What happened", "text": "Nothing.", "audience": "public"}]);
    app.put(
        &format!("{path}/report"),
        json!({"title": "A drill", "sections": sections}),
    )
    .await
    .expect(200);
    app.post(&format!("{path}/report/publish"), json!({}))
        .await
        .expect_problem(409);
    app.finish().await;
}

async fn the_database_queues_no_notice_of_a_drill_for_a_customer(env: Env) {
    // An older version does not know drills, and would queue the planned recipients.
    let mut app = start(&env).await;
    let incident = drill(&app).await;
    let notice = app.draft(&incident, "detection").await;
    env.sql(&format!(
        "INSERT INTO notice_recipients (notice_id, ordinal, person_id, name, address, optional, context, domain, channel) \
         VALUES ('{notice}', 1, 'amina', 'Amina', '{}', FALSE, '{{}}', 'nyota-films.example', 'email')",
        ADDRESSES[0]
    ))
    .expect("a recipient");
    let queue =
        format!("UPDATE notices SET state = 'queued', recipients = 1, digest = 'x' WHERE id = '{notice}'");
    env.sql(&queue).expect_err("a customer in a drill");
    env.sql(&format!(
        "INSERT INTO drill_addresses (notice_id, address) VALUES ('{notice}', '{}')",
        DRILL[0]
    ))
    .expect("an address");
    env.sql(&queue)
        .expect_err("a customer beside an address for drills");
    assert_eq!(env.count("notices WHERE state = 'queued'"), 0);
    // The audit trail does not hold any more, because of the recipient.
    app.stop().await;
}

async fn answers_in_a_drill_are_about_no_customer(env: Env) {
    let app = start(&env).await;
    let incident = drill(&app).await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(2).await;
    let link = mails[0]
        .text
        .split_whitespace()
        .find(|word| word.contains("/answers/") && word.ends_with("?answer=broken"))
        .expect("a link");
    let (_, path) = link.split_once("/answers/").expect("a path");
    app.anonymous()
        .post_raw(
            &format!("/answers/{path}"),
            "application/x-www-form-urlencoded",
            "answer=broken&text=",
        )
        .await
        .expect(200);
    let answers = app
        .get(&format!("/api/v1/incidents/{incident}/answers"))
        .await
        .expect(200);
    assert_eq!(
        json!([answers["counts"]["asked"], answers["counts"]["broken"]]),
        json!([2, 1])
    );
    assert_eq!(
        env.count("answers WHERE person_id IN (SELECT id FROM people)"),
        0,
        "{answers}"
    );
    // Nobody of the audience was notified.
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    assert_eq!(audience["counts"]["not_told"], 3);
    app.finish().await;
}

async fn an_alert_never_joins_a_drill(env: Env) {
    let app = start(&env).await;
    let drill = drill(&app).await;
    let monitoring = app.monitoring().await;
    let real = app
        .fires(&monitoring, "Files cannot be opened", PROJECT, "critical")
        .await;
    assert_ne!(real, drill);
    let incident = app.get(&format!("/api/v1/incidents/{real}")).await.expect(200);
    assert_eq!(json!([incident["drill"], incident["alerts"]]), json!([false, 1]));
    // A restored database could contain an alert in a drill. Its next message opens a real incident.
    env.sql(&format!(
        "UPDATE alerts SET incident_id = '{drill}'; UPDATE alert_source_groups SET incident_id = '{drill}'"
    ))
    .expect("an alert in a drill");
    let again = app
        .fires(&monitoring, "Files cannot be opened", PROJECT, "critical")
        .await;
    assert!(again != drill && again != real, "{again}");
    let incidents = app.all("/api/v1/incidents").await;
    let drills: Vec<&Value> = incidents.iter().filter(|one| one["drill"] == true).collect();
    assert_eq!(json!([drills.len(), drills[0]["alerts_received"]]), json!([1, 0]));
    app.finish().await;
}

async fn operators_read_that_it_is_a_drill(env: Env) {
    let app = start(&env).await;
    app.post(
        "/api/v1/operators",
        json!({"name": "On call", "email": "on-call@ours.example"}),
    )
    .await
    .expect(201);
    drill(&app).await;
    let mails = app.mails(1).await;
    assert_eq!(mails[0].to, "on-call@ours.example");
    assert!(
        mails[0]
            .subject
            .starts_with("[DRILL] Incident opened: #1 major: Files"),
        "{}",
        mails[0].subject
    );
    app.finish().await;
}

async fn without_addresses_there_is_no_drill(env: Env) {
    let app = start(&env).await;
    let incident = drill(&app).await;
    let notice = app.draft(&incident, "detection").await;
    app.finish().await;
    let app = TestApp::start(&env).await;
    app.post("/api/v1/incidents", new_drill())
        .await
        .expect_invalid("/drill");
    let refused = app.preview(&notice).await.expect_problem(422);
    assert!(refused.text.contains("CANDOR_DRILL_TO"), "{}", refused.text);
    app.finish().await;
}

async fn a_drill_is_opened_and_shown_on_the_pages(env: Env) {
    let app = start(&env).await;
    app.import(story_directory()).await.expect(200);
    let operator = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let form = "/admin/incidents/new";
    let list = operator.page("/admin").await;
    assert!(list.contains("href=\"/admin/incidents/new\""), "{list}");
    let fields = |drill| {
        [
            ("title", "Files cannot be opened"),
            ("severity", "major"),
            ("summary", ""),
            ("drill", drill),
        ]
    };
    for (drill, path) in [("true", "/admin/incidents/1"), ("false", "/admin/incidents/2")] {
        let made = operator.send_from(form, form, &fields(drill)).await.expect(303);
        assert_eq!(made.header("location"), path);
        let page = operator.page(path).await;
        assert_eq!(page.contains("<h2>DRILL</h2>"), drill == "true", "{page}");
    }
    let list = operator.page("/admin/incidents").await;
    assert_eq!(list.matches(">DRILL<").count(), 1, "{list}");
    let id = app.all("/api/v1/incidents").await[1]["id"]
        .as_str()
        .expect("an ID")
        .to_owned();
    app.affect(&id, "file", FILES[0]).await;
    let notice = app.draft(&id, "detection").await;
    let page = operator.page(&format!("/admin/notices/{notice}")).await;
    for text in ["<h2>DRILL</h2>", "2 people", "3 emails to customers", "[DRILL]"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let wrong = operator
        .send_from(
            form,
            form,
            &[
                ("title", ""),
                ("severity", "major"),
                ("summary", ""),
                ("drill", "true"),
            ],
        )
        .await
        .expect(422);
    assert!(wrong.text.contains("This is a drill"), "{}", wrong.text);
    // Whoever may not open an incident does not see the form.
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    assert!(!viewer.page("/admin").await.contains("/admin/incidents/new"));
    viewer.open(form).await.expect(403);
    app.finish().await;
}
