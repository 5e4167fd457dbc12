//! Whoever subscribed to the status page and confirmed it gets an email for each post, once, until they stop it or it bounces. Nobody learns
//! from the page whose address is subscribed.

use candor::delivery::verp::Verp;
use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};

use crate::bounces_reach_the_incident::bounce;
use crate::support::browser::Browser;
use crate::support::{
    ADMIN_TOKEN, Answer, DEADLINE, Env, Mail, TestApp, eventually, on_both_databases, on_one_database,
};

on_both_databases!(
    a_subscriber_confirms_and_gets_each_post_once,
    the_page_answers_the_same_for_every_address,
    an_address_is_asked_again_only_after_a_while,
    a_suppressed_address_gets_no_posts,
    the_later_choice_counts,
    an_operator_decides_whether_a_post_is_emailed,
    a_refused_mailbox_ends_the_subscription,
    a_bounce_and_a_complaint_end_the_subscription,
    an_email_is_tried_again_and_never_sent_twice,
    an_email_that_may_have_arrived_is_not_repeated,
    an_erasure_ends_the_subscription,
    operators_see_subscribers_and_end_a_subscription,
);

on_one_database!(
    the_emails_are_in_the_language_of_the_page,
    too_many_addresses_from_one_network_are_refused,
    a_forged_link_changes_nothing,
);

const NOW: &str = "2026-03-10T12:00:00Z";
const FORM: &str = "application/x-www-form-urlencoded";
const KEY: &str = "a secret key of the tests, of 32 characters";
const BOUNCES: &str = "bounces@candor.example";
const ANN: &str = "ann@reader.example";

async fn started(env: &Env) -> TestApp {
    with(env, Policy::accept_all()).await
}

async fn with(env: &Env, policy: Policy) -> TestApp {
    let app = TestApp::builder(env)
        .at(NOW)
        .smtp_policy(policy)
        .config(|config| {
            config.secret_key = Some(KEY.to_owned());
            config.bounce_address = Some(BOUNCES.to_owned());
        })
        .start()
        .await;
    let uploads = json!({"name": "Uploads"});
    app.put("/api/v1/components/uploads", uploads).await.expect(201);
    app
}

/// Enters an address on the page.
async fn enter(app: &TestApp, address: &str) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("address", address)
        .finish();
    app.anonymous()
        .post_raw("/status/subscribe?lang=en", FORM, form)
        .await
}

/// The path of the link in an email to a subscriber.
fn link(mail: &Mail) -> String {
    let (_, rest) = mail.text.split_once("/status/subscription/").expect("a link");
    let token = rest.split_whitespace().next().expect("a token");
    format!("/status/subscription/{token}")
}

async fn press(app: &TestApp, path: &str) -> Answer {
    app.anonymous().post_raw(path, FORM, "").await
}

/// Subscribes an address and confirms it. `mails` is the number of emails so far. Returns the path of its link.
async fn subscribed(app: &TestApp, address: &str, mails: usize) -> String {
    enter(app, address).await.expect(200);
    let all = app.mails(mails + 1).await;
    let link = link(&all[mails]);
    press(app, &format!("{link}/confirm")).await.expect(200);
    link
}

async fn incident(app: &TestApp) -> String {
    let new = json!({"title": "Inside only", "severity": "major"});
    app.post("/api/v1/incidents", new).await.expect(201).id()
}

async fn post(app: &TestApp, incident: &str, message: &str, more: Value) -> String {
    let mut body =
        json!({"status": "investigating", "message": message, "components": {"uploads": "major_outage"}});
    for (name, value) in more.as_object().expect("fields") {
        body[name] = value.clone();
    }
    app.post(&format!("/api/v1/incidents/{incident}/posts"), body)
        .await
        .expect(201)
        .id()
}

/// Waits until no email to a subscriber is waiting.
async fn settled(env: &Env) {
    eventually("the emails to be sent", DEADLINE, async || {
        (env.count("status_mails WHERE state = 'pending'") == 0).then_some(())
    })
    .await;
}

async fn actions(app: &TestApp) -> Vec<String> {
    let events = app.all("/api/v1/audit").await;
    let actions = events
        .iter()
        .map(|event| event["action"].as_str().expect("an action").to_owned());
    let mut found: Vec<String> = actions.filter(|action| action.starts_with("status_")).collect();
    found.sort();
    found
}

async fn a_subscriber_confirms_and_gets_each_post_once(env: Env) {
    let app = started(&env).await;
    let page = app.anonymous().get("/status/en").await.expect(200).text;
    assert!(page.contains("/status/subscribe?lang&#x3D;en"), "{page}");
    let form = app
        .anonymous()
        .get("/status/subscribe?lang=en")
        .await
        .expect(200)
        .text;
    assert!(form.contains("name=\"address\""), "{form}");
    let asked = enter(&app, " Ann@Reader.example ").await.expect(200).text;
    assert!(
        asked.contains("Check your inbox") && !asked.contains("reader.example"),
        "{asked}"
    );
    let mails = app.mails(1).await;
    assert_eq!(mails[0].to, ANN);
    assert!(
        mails[0].subject.starts_with("Confirm: emails from the "),
        "{}",
        mails[0].subject
    );
    let link = link(&mails[0]);
    // Opening the link changes nothing, and without a confirmation nobody gets a post.
    for _ in 0..2 {
        let page = app.anonymous().get(&link).await.expect(200).text;
        assert!(page.contains(&format!("{link}/confirm")), "{page}");
    }
    let incident = incident(&app).await;
    post(&app, &incident, "Too early.", json!({})).await;
    assert_eq!(env.count("status_mails WHERE post_id IS NOT NULL"), 0);
    for _ in 0..2 {
        let page = press(&app, &format!("{link}/confirm")).await.expect(200).text;
        assert!(page.contains("You are subscribed"), "{page}");
    }
    let first = post(
        &app,
        &incident,
        "Uploads fail.\n\nWe look for the cause.",
        json!({"title": "No uploads"}),
    )
    .await;
    let mails = app.mails(2).await;
    let mail = &mails[1];
    assert!(
        mail.subject.ends_with(": No uploads (Investigating)"),
        "{}",
        mail.subject
    );
    for part in [
        "Uploads fail.",
        "We look for the cause.",
        "10 March 2026, 12:00 UTC",
    ] {
        assert!(
            mail.text.contains(part) && mail.html.contains(part),
            "{part}: {}",
            mail.text
        );
    }
    assert!(mail.text.contains("Uploads: Major outage"), "{}", mail.text);
    assert!(
        mail.html.contains("<bdi>Uploads</bdi>: Major outage"),
        "{}",
        mail.html
    );
    assert!(!mail.text.contains("Inside only"), "{}", mail.text);
    let number = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200)["number"]
        .clone();
    assert!(
        mail.text.contains(&format!("/status/en/incidents/{number}")),
        "{}",
        mail.text
    );
    let raw = mail.caught.text_lossy();
    assert!(
        raw.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"),
        "{raw}"
    );
    assert!(mail.caught.from.starts_with("bounces+"), "{}", mail.caught.from);
    settled(&env).await;
    let emails = app
        .get(&format!("/api/v1/incidents/{incident}/posts/{first}/emails"))
        .await
        .expect(200)
        .json;
    assert_eq!(
        emails,
        json!({"pending": 0, "sent": 1, "failed": 0, "uncertain": 0, "stopped": 0})
    );
    // A change of a post emails nobody.
    let change = json!({"message": "Uploads fail for some."});
    app.patch(&format!("/api/v1/incidents/{incident}/posts/{first}"), change)
        .await
        .expect(200);
    // The link of the post stops them, as the email program sends it.
    let stopped = app
        .anonymous()
        .post_raw(&self::link(mail), FORM, "List-Unsubscribe=One-Click")
        .await
        .expect(200)
        .text;
    assert!(stopped.contains("You are not subscribed"), "{stopped}");
    assert_eq!(env.count("status_subscribers"), 0);
    press(&app, &self::link(mail)).await.expect(200);
    press(&app, &format!("{link}/confirm")).await.expect(200);
    post(&app, &incident, "Nobody hears this.", json!({})).await;
    settled(&env).await;
    assert_eq!(app.mails(2).await.len(), 2);
    assert_eq!(
        actions(&app).await,
        [
            "status_mail.queued",
            "status_mail.sent",
            "status_mail.sent",
            "status_subscription.asked",
            "status_subscription.confirmed",
            "status_subscription.ended",
        ]
    );
    let trail = app.get("/api/v1/audit/export").await.expect(200).text;
    assert!(!trail.contains("reader.example"), "an address is in the trail");
    app.finish().await;
}

async fn the_page_answers_the_same_for_every_address(env: Env) {
    let app = started(&env).await;
    env.sql("INSERT INTO opt_outs (address, reason, at) VALUES ('spam@reader.example', 'complained', 1)")
        .expect("a row");
    subscribed(&app, ANN, 0).await;
    let mut answers = Vec::new();
    for address in [
        ANN,
        "new@reader.example",
        "new@reader.example",
        "spam@reader.example",
    ] {
        answers.push(enter(&app, address).await.expect(200).text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    settled(&env).await;
    let mails = app.mails(2).await;
    assert_eq!(mails[1].to, "new@reader.example");
    for wrong in [
        "",
        "ann",
        "ann@",
        "ann@reader.example, bob@reader.example",
        "a\r\nb@reader.example",
    ] {
        let page = enter(&app, wrong).await.expect(422).text;
        assert!(page.contains("This is not an email address"), "{wrong}: {page}");
    }
    app.anonymous()
        .post("/status/subscribe", json!({"address": ANN}))
        .await
        .expect(415);
    app.finish().await;
}

async fn an_address_is_asked_again_only_after_a_while(env: Env) {
    let app = started(&env).await;
    enter(&app, ANN).await.expect(200);
    app.mails(1).await;
    app.set_clock("2026-03-10T12:09:59Z");
    enter(&app, ANN).await.expect(200);
    assert_eq!(env.count("status_mails"), 1);
    app.set_clock("2026-03-10T12:10:00Z");
    enter(&app, ANN).await.expect(200);
    let mails = app.mails(2).await;
    assert_eq!(link(&mails[0]), link(&mails[1]));
    // Three questions are enough.
    for time in ["2026-03-10T13:00:00Z", "2026-03-10T14:00:00Z"] {
        app.set_clock(time);
        enter(&app, ANN).await.expect(200);
        app.mails(3).await;
        settled(&env).await;
    }
    assert_eq!(env.count("status_mails"), 3);
    // Whoever never confirms is deleted after a week.
    app.set_clock("2026-03-17T11:58:00Z");
    settled(&env).await;
    assert_eq!(env.count("status_subscribers"), 1);
    app.set_clock("2026-03-17T12:00:01Z");
    eventually("the address to be deleted", DEADLINE, async || {
        (env.count("status_subscribers") == 0).then_some(())
    })
    .await;
    let page = app.anonymous().get(&link(&mails[0])).await.expect(200).text;
    assert!(page.contains("not subscribed"), "{page}");
    app.finish().await;
}

async fn a_suppressed_address_gets_no_posts(env: Env) {
    let app = started(&env).await;
    subscribed(&app, ANN, 0).await;
    subscribed(&app, "bob@reader.example", 1).await;
    env.sql("INSERT INTO opt_outs (address, reason, at) VALUES ('ann@reader.example', 'bounced', 1)")
        .expect("a row");
    let incident = incident(&app).await;
    post(&app, &incident, "Uploads fail.", json!({})).await;
    let mails = app.mails(3).await;
    assert_eq!(mails[2].to, "bob@reader.example");
    let counts = app
        .get("/api/v1/status-subscribers/counts")
        .await
        .expect(200)
        .json;
    assert_eq!(counts, json!({"get_posts": 1, "suppressed": 1, "unconfirmed": 0}));
    app.finish().await;
}

async fn the_later_choice_counts(env: Env) {
    let app = started(&env).await;
    let before = "INSERT INTO opt_outs (address, reason, at) VALUES ('ann@reader.example', 'opted_out', 1)";
    env.sql(before).expect("a row");
    // Whoever opted out of notices can subscribe to posts.
    subscribed(&app, ANN, 0).await;
    let incident = incident(&app).await;
    post(&app, &incident, "Uploads fail.", json!({})).await;
    assert_eq!(app.mails(2).await[1].to, ANN);
    // Whoever opts out afterwards wants no optional emails at all.
    app.set_clock("2026-03-10T12:06:00Z");
    env.sql("UPDATE opt_outs SET at = 1773144300000000")
        .expect("a change");
    post(&app, &incident, "Uploads still fail.", json!({})).await;
    assert_eq!(env.count("status_mails WHERE post_id IS NOT NULL"), 1);
    // The same link shows the button again, and whoever enters the address again is asked again.
    app.set_clock("2026-03-10T12:11:00Z");
    enter(&app, ANN).await.expect(200);
    let question = app.mails(3).await.remove(2);
    press(&app, &format!("{}/confirm", link(&question)))
        .await
        .expect(200);
    post(&app, &incident, "Uploads work.", json!({})).await;
    assert!(app.mails(4).await[3].text.contains("Uploads work."));
    app.finish().await;
}

async fn an_operator_decides_whether_a_post_is_emailed(env: Env) {
    let app = started(&env).await;
    subscribed(&app, ANN, 0).await;
    let incident = incident(&app).await;
    post(&app, &incident, "Quiet.", json!({"email_subscribers": false})).await;
    // A post that is written into the history is no news.
    post(
        &app,
        &incident,
        "Long ago.",
        json!({"at": "2026-03-10T06:00:00Z"}),
    )
    .await;
    assert_eq!(env.count("status_mails WHERE post_id IS NOT NULL"), 0);
    let loud = post(&app, &incident, "Loud.", json!({"at": "2026-03-10T06:01:00Z"})).await;
    let path = format!("/api/v1/incidents/{incident}/posts/{loud}");
    let refused = app
        .patch(&path, json!({"email_subscribers": false}))
        .await
        .expect_problem(422);
    assert_eq!(refused["errors"][0]["pointer"], "/email_subscribers");
    assert!(app.mails(2).await[1].text.contains("Loud."));
    // The form says who gets an email, and has the same choice.
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let base = format!("/admin/incidents/{incident}/posts");
    let form = browser.page(&format!("{base}/new")).await;
    assert!(form.contains("1 subscriber gets the post by email"), "{form}");
    let fields = [
        ("status", "monitoring"),
        ("message", "By form."),
        ("email_subscribers", "false"),
    ];
    let sent = browser.send_from(&format!("{base}/new"), &base, &fields).await;
    assert_eq!(sent.status, 303, "{sent}");
    assert_eq!(env.count("status_mails WHERE post_id IS NOT NULL"), 1);
    settled(&env).await;
    let page = browser.page(&base).await;
    assert!(page.contains("Emails to subscribers: 1 sent"), "{page}");
    app.finish().await;
}

async fn a_refused_mailbox_ends_the_subscription(env: Env) {
    let policy = Policy::new(|_| Decision::Permanent("550 5.1.1 no such mailbox".to_owned()));
    let app = with(&env, policy).await;
    enter(&app, ANN).await.expect(200);
    settled(&env).await;
    eventually("the end", DEADLINE, async || {
        (env.count("status_subscribers") == 0).then_some(())
    })
    .await;
    assert_eq!(env.count("opt_outs WHERE reason = 'bounced'"), 1);
    // The reply can repeat the address.
    assert_eq!(env.count("status_mails WHERE reply IS NOT NULL"), 0);
    enter(&app, ANN).await.expect(200);
    assert_eq!(env.count("status_mails"), 1);
    app.finish().await;
}

async fn a_bounce_and_a_complaint_end_the_subscription(env: Env) {
    let app = started(&env).await;
    for (index, address) in [ANN, "bob@reader.example"].into_iter().enumerate() {
        subscribed(&app, address, index).await;
    }
    let ids = env.texts("SELECT CAST(id AS TEXT) AS value FROM status_subscribers ORDER BY address");
    let verp = Verp::new(KEY.as_bytes(), BOUNCES).expect("an address");
    let returned = |index: usize| {
        let id = ids[index].parse().expect("a number");
        verp.subscriber_address(id).expect("an address").to_string()
    };
    // A report about somebody else's address says nothing about this one, unless the address for bounces proves it.
    let forged = bounce(
        &returned(0).replace('+', "+9"),
        ANN,
        "failed",
        "5.1.1",
        "Subject: x",
    );
    app.post_raw("/api/v1/inbound-mail", "message/rfc822", forged)
        .await
        .expect(202);
    assert_eq!(env.count("status_subscribers"), 2);
    let real = bounce(&returned(0), ANN, "failed", "5.1.1", "Subject: x");
    let taken = app
        .post_raw("/api/v1/inbound-mail", "message/rfc822", real)
        .await
        .expect(202);
    assert_eq!(taken["items"][0]["effect"], "subscription_ended");
    assert_eq!(
        env.texts("SELECT address AS value FROM status_subscribers"),
        ["bob@reader.example"]
    );
    assert_eq!(env.texts("SELECT reason AS value FROM opt_outs"), ["bounced"]);
    // A delay is no bounce.
    let late = bounce(
        &returned(1),
        "bob@reader.example",
        "delayed",
        "4.4.1",
        "Subject: x",
    );
    app.post_raw("/api/v1/inbound-mail", "message/rfc822", late)
        .await
        .expect(202);
    assert_eq!(env.count("status_subscribers"), 1);
    app.finish().await;
}

async fn an_email_is_tried_again_and_never_sent_twice(env: Env) {
    let busy = std::sync::atomic::AtomicUsize::new(0);
    let policy = Policy::new(
        move |_| match busy.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Decision::Temporary("451 4.3.2 busy".to_owned()),
            _ => Decision::Accept,
        },
    );
    let app = with(&env, policy).await;
    enter(&app, ANN).await.expect(200);
    let tried = "status_mails WHERE state = 'pending' AND attempts = 1 AND lease IS NULL";
    eventually("the first attempt", DEADLINE, async || {
        (env.count(tried) == 1).then_some(())
    })
    .await;
    app.set_clock("2026-03-10T12:00:10Z");
    let mails = app.mails(1).await;
    press(&app, &format!("{}/confirm", link(&mails[0])))
        .await
        .expect(200);
    // A process that was killed while it sent an email leaves a claim. Nobody knows whether the server has the email.
    let mut app = app;
    app.stop().await;
    env.sql(
        "INSERT INTO status_mails (subscriber_id, post_id, state, attempts, lease, next_attempt_at, expires_at, created_at) \
         SELECT id, 'lost', 'pending', 1, 'of a dead process', 1, 9000000000000000, 1 FROM status_subscribers",
    )
    .expect("a row");
    app.start_again().await;
    settled(&env).await;
    assert_eq!(
        env.count("status_mails WHERE state = 'uncertain' AND post_id = 'lost'"),
        1
    );
    assert_eq!(app.mails(1).await.len(), 1);
    // An email that nobody sent in time is not sent any more.
    env.sql(
        "INSERT INTO status_mails (subscriber_id, post_id, state, attempts, next_attempt_at, expires_at, created_at) \
         SELECT id, 'late', 'pending', 0, 1, 2, 1 FROM status_subscribers",
    )
    .expect("a row");
    settled(&env).await;
    assert_eq!(
        env.count("status_mails WHERE state = 'failed' AND post_id = 'late'"),
        1
    );
    // A post that is taken back before its email is sent is not sent.
    let incident = incident(&app).await;
    app.restart_with(|config| config.workers = false).await;
    let wrong = post(&app, &incident, "Wrong.", json!({})).await;
    app.delete(&format!("/api/v1/incidents/{incident}/posts/{wrong}"))
        .await
        .expect(204);
    app.restart_with(|config| config.workers = true).await;
    settled(&env).await;
    assert_eq!(env.count("status_mails WHERE state = 'stopped'"), 1);
    assert_eq!(app.mails(1).await.len(), 1);
    app.finish().await;
}

async fn an_email_that_may_have_arrived_is_not_repeated(env: Env) {
    let app = with(&env, Policy::new(|_| Decision::DropAfterData)).await;
    enter(&app, ANN).await.expect(200);
    eventually("an unknown outcome", DEADLINE, async || {
        (env.count("status_mails WHERE state = 'uncertain'") == 1).then_some(())
    })
    .await;
    app.set_clock("2026-03-10T12:09:00Z");
    settled(&env).await;
    assert_eq!(app.catcher.attempts(ANN), 1);
    app.finish().await;
}

async fn an_erasure_ends_the_subscription(env: Env) {
    let app = started(&env).await;
    app.import(crate::support::crowd(1)).await.expect(200);
    subscribed(&app, "person-1@crowd.example", 0).await;
    subscribed(&app, ANN, 1).await;
    let held = app.get("/api/v1/people/person-1/export").await.expect(200);
    assert_eq!(held["subscriptions"][0]["address"], "person-1@crowd.example");
    settled(&env).await;
    let reason = json!({"reason": "The person asked for it."});
    app.post("/api/v1/people/person-1/erase", reason)
        .await
        .expect(200);
    assert_eq!(
        env.texts("SELECT address AS value FROM status_subscribers"),
        [ANN]
    );
    assert_eq!(env.count("status_mails WHERE reply IS NOT NULL"), 1);
    app.finish().await;
}

async fn operators_see_subscribers_and_end_a_subscription(env: Env) {
    let app = started(&env).await;
    subscribed(&app, ANN, 0).await;
    app.set_clock("2026-03-10T12:00:01Z");
    enter(&app, "bob@reader.example").await.expect(200);
    app.mails(2).await;
    let all = app.all("/api/v1/status-subscribers").await;
    let shown: Vec<Value> = all
        .iter()
        .map(|one| json!([one["address"], one["language"], one["confirmed_at"]]))
        .collect();
    assert_eq!(
        shown,
        [json!([ANN, "en", NOW]), json!(["bob@reader.example", "en", null])]
    );
    let found = app
        .get("/api/v1/status-subscribers?address=ANN@reader.example")
        .await
        .expect(200);
    assert_eq!(found.items().len(), 1);
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser.page("/admin/status-page/subscribers").await;
    for part in [
        "ann@reader.example",
        "gets posts",
        "not confirmed",
        "End 1 subscription",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let overview = browser.page("/admin/status-page").await;
    assert!(overview.contains("1 subscriber"), "{overview}");
    let id = all[0]["id"].as_i64().expect("a number");
    let path = format!("/admin/status-page/subscribers/{id}/end");
    let ended = browser
        .send_from("/admin/status-page/subscribers", &path, &[])
        .await;
    assert_eq!(ended.status, 303, "{ended}");
    app.delete(&format!("/api/v1/status-subscribers/{id}"))
        .await
        .expect_problem(404);
    let other = all[1]["id"].as_i64().expect("a number");
    app.delete(&format!("/api/v1/status-subscribers/{other}"))
        .await
        .expect(204);
    assert_eq!(env.count("status_subscribers"), 0);
    let ended = app.all("/api/v1/audit?action=status_subscription.ended").await;
    assert!(
        ended
            .iter()
            .all(|event| event["before"] == json!({"reason": "operator"})),
        "{ended:?}"
    );
    app.finish().await;
}

async fn the_emails_are_in_the_language_of_the_page(env: Env) {
    let app = started(&env).await;
    for (index, (language, subject, state)) in [
        ("de", "Bitte bestätigen: ", "Wird untersucht"),
        ("ja", "ご確認ください：", "調査中"),
        ("ar", "يُرجى التأكيد: ", "قيد التحقيق"),
    ]
    .into_iter()
    .enumerate()
    {
        let form = format!("address=reader-{language}%40reader.example");
        let path = format!("/status/subscribe?lang={language}");
        app.anonymous().post_raw(&path, FORM, form).await.expect(200);
        let mails = app.mails(2 * index + 1).await;
        let question = &mails[2 * index];
        assert!(question.subject.starts_with(subject), "{}", question.subject);
        press(&app, &format!("{}/confirm", link(question)))
            .await
            .expect(200);
        let incident = incident(&app).await;
        let said = json!({"translations": {language: {"title": "Titel", "message": "Übersetzt."}}});
        post(&app, &incident, "Not translated.", said).await;
        let all = app.mails(2 * index + 2).await;
        let mail = all
            .iter()
            .rev()
            .find(|mail| mail.to.starts_with(&format!("reader-{language}")))
            .expect("an email");
        assert!(
            mail.subject.contains(&format!("Titel ({state})")),
            "{}",
            mail.subject
        );
        assert!(
            mail.text.contains("Übersetzt.") && !mail.text.contains("Not translated"),
            "{}",
            mail.text
        );
        assert!(
            mail.html.contains(&format!("lang=\"{language}\"")),
            "{}",
            mail.html
        );
        // The next reader must not get this one's emails.
        press(&app, &link(mail)).await.expect(200);
    }
    app.finish().await;
}

async fn too_many_addresses_from_one_network_are_refused(env: Env) {
    let app = started(&env).await;
    for n in 0..30 {
        enter(&app, &format!("reader-{n}@reader.example"))
            .await
            .expect(200);
    }
    let refused = enter(&app, "one-more@reader.example").await.expect(429);
    assert_eq!(refused.header("retry-after"), "3600");
    assert!(refused.text.contains("Too many addresses"), "{}", refused.text);
    assert_eq!(env.count("status_subscribers"), 30);
    app.set_clock("2026-03-10T13:00:00Z");
    enter(&app, "one-more@reader.example").await.expect(200);
    app.finish().await;
}

async fn a_forged_link_changes_nothing(env: Env) {
    let app = started(&env).await;
    let link = subscribed(&app, ANN, 0).await;
    let token = link.rsplit('/').next().expect("a token");
    let (id, signature) = token.split_once('.').expect("a signature");
    let other = id.parse::<i64>().expect("a number") + 1;
    let flipped: String = signature.chars().rev().collect();
    for wrong in [
        format!("{other}.{signature}"),
        format!("{id}.{flipped}"),
        format!("{id}."),
        "x".to_owned(),
    ] {
        let path = format!("/status/subscription/{wrong}");
        app.anonymous().get(&path).await.expect(404);
        press(&app, &path).await.expect(404);
        press(&app, &format!("{path}/confirm")).await.expect(404);
    }
    assert_eq!(env.count("status_subscribers"), 1);
    // The link of a subscription is none of a delivery.
    app.anonymous()
        .get(&format!("/unsubscribe/{token}"))
        .await
        .expect(404);
    app.finish().await;
}
