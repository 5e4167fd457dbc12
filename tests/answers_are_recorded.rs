//! Customers answer by the links in their emails, by a reply, or through an operator. Only the button of the page records an
//! answer, all answers are kept, and the latest of each person counts.

use std::time::Duration;

use candor::egress;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::receiver::Receiver;
use crate::support::story::{ADDRESSES, AFFECTED};
use crate::support::{
    ADMIN_TOKEN, Answer, DEADLINE, Env, Mail, TestApp, complete, crowd, eventually, on_both_databases,
    on_one_database, wait_until,
};

on_both_databases!(
    only_the_button_records_an_answer,
    every_answer_is_kept_and_the_latest_counts,
    a_mailbox_of_several_people_answers_for_each,
    an_operator_records_an_answer_on_behalf_of_a_person,
    a_reminder_goes_to_exactly_those_who_have_not_answered,
    after_a_reopening_everybody_is_asked_again,
    the_series_says_when_people_answered,
    a_reply_by_email_is_attached_to_its_person,
    operators_hear_of_it_once_in_a_while,
    many_answers_at_once_are_all_recorded_while_a_notice_is_sent,
    answers_cannot_be_changed_or_removed,
    the_same_answer_counts_again_later,
    two_reminders_ask_nobody_twice,
    an_email_without_the_links_asks_nobody,
);

on_one_database!(
    a_report_does_not_ask,
    what_is_no_answer_is_refused,
    the_chart_is_an_image,
    the_pages_record_and_remind_like_the_api,
);

const FORM: &str = "application/x-www-form-urlencoded";

/// Returns the link for this answer in an email, as a path of the service.
fn link(mail: &Mail, answer: &str) -> String {
    let ending = format!("?answer={answer}");
    let url = mail
        .text
        .split_whitespace()
        .find(|word| word.contains("/answers/") && word.ends_with(&ending))
        .unwrap_or_else(|| panic!("no link for {answer} in {}", mail.text));
    let (_, path) = url.split_once("/answers/").expect("a path");
    format!("/answers/{path}")
}

fn to<'a>(mails: &'a [Mail], address: &str) -> &'a Mail {
    mails.iter().rfind(|mail| mail.to == address).expect("an email")
}

async fn press(app: &TestApp, mail: &Mail, answer: &str, text: &str) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("answer", answer), ("text", text)])
        .finish();
    app.anonymous().post_raw(&link(mail, answer), FORM, form).await
}

async fn answers(app: &TestApp, incident: &str, query: &str) -> Answer {
    app.get(&format!("/api/v1/incidents/{incident}/answers{query}"))
        .await
        .expect(200)
}

/// Returns asked, works, broken, help, replied and none.
async fn counts(app: &TestApp, incident: &str) -> [i64; 6] {
    let answers = answers(app, incident, "").await;
    ["asked", "works", "broken", "help", "replied", "none"]
        .map(|name| answers["counts"][name].as_i64().expect("a number"))
}

async fn asked(env: &Env) -> (TestApp, String, Vec<Mail>) {
    let app = TestApp::builder(env).at("2024-03-14T06:56:00Z").start().await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(3).await;
    (app, incident, mails)
}

async fn only_the_button_records_an_answer(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    let mail = to(&mails, ADDRESSES[0]);
    for answer in ["works", "broken", "help"] {
        let path = link(mail, answer);
        assert!(
            mail.html.contains(&path.replace('=', "&#x3D;")),
            "{path} in {}",
            mail.html
        );
        let page = app.anonymous().get(&path).await.expect(200);
        let chosen = format!("value=\"{answer}\" required checked");
        assert!(page.text.contains(&chosen), "{}", page.text);
        assert_eq!(page.text.matches(" checked").count(), 1);
        assert!(page.text.contains("name=\"robots\" content=\"noindex\""));
        assert!(
            !page.text.contains("Files cannot be opened"),
            "the internal title"
        );
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("script"),
            "{policy}"
        );
        let head = app.anonymous().request(Method::HEAD, &path).send().await;
        assert_eq!((head.status, head.text.as_str()), (200, ""));
        // Programs that forward links add parameters of their own.
        app.anonymous()
            .get(&format!("{path}&utm_source=x"))
            .await
            .expect(200);
    }
    assert_eq!(env.count("answers"), 0);
    assert_eq!(counts(&app, &incident).await, [3, 0, 0, 0, 0, 3]);

    let done = press(&app, mail, "broken", "The <b>files</b> are empty.")
        .await
        .expect(200);
    assert!(done.text.contains("Still broken"), "{}", done.text);
    assert!(done.text.contains("The &lt;b&gt;files"), "{}", done.text);
    assert_eq!(counts(&app, &incident).await, [3, 0, 1, 0, 0, 2]);
    let broken = answers(&app, &incident, "?answer=broken").await;
    let [item] = broken.items() else {
        panic!("{broken}")
    };
    assert_eq!(
        json!([
            item["person"],
            item["address"],
            item["answer"],
            item["text"],
            item["at"],
            item["by"]
        ]),
        json!([
            AFFECTED[0],
            ADDRESSES[0],
            "broken",
            "The <b>files</b> are empty.",
            "2024-03-14T06:56:00Z",
            "link"
        ])
    );
    let none = answers(&app, &incident, "?answer=none").await;
    let people: Vec<&Value> = none.items().iter().map(|item| &item["person"]).collect();
    assert_eq!(people, [AFFECTED[1], AFFECTED[2]]);
    // The trail says that there was an answer, and does not contain its text.
    let trail = app.get("/api/v1/audit?action=answer.recorded").await.expect(200);
    assert_eq!(trail.items().len(), 1, "{trail}");
    assert!(!trail.text.contains("empty"), "{trail}");
    app.finish().await;
}

async fn every_answer_is_kept_and_the_latest_counts(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    let mail = to(&mails, ADDRESSES[0]);
    press(&app, mail, "broken", "").await.expect(200);
    // A browser that sends the form twice gives one answer.
    press(&app, mail, "broken", "").await.expect(200);
    app.clock.advance(Duration::from_secs(600));
    press(&app, mail, "help", "How?").await.expect(200);
    app.clock.advance(Duration::from_secs(600));
    press(&app, mail, "works", "").await.expect(200);
    assert_eq!(counts(&app, &incident).await, [3, 1, 0, 0, 0, 2]);
    assert_eq!(env.count("answers"), 3);
    let now = answers(&app, &incident, "").await;
    assert_eq!(
        json!([
            now.items().len(),
            now.items()[0]["answer"],
            now.items()[0]["entries"]
        ]),
        json!([1, "works", 3])
    );
    let all = app
        .all(&format!(
            "/api/v1/incidents/{incident}/answers?person={}&limit=1",
            AFFECTED[0]
        ))
        .await;
    let kept: Vec<&Value> = all.iter().map(|item| &item["answer"]).collect();
    assert_eq!(kept, ["works", "help", "broken"]);
    // The page says what was answered, and the link of a later email changes the same answer.
    let page = app.anonymous().get(&link(mail, "help")).await.expect(200);
    assert!(
        page.text.contains("Your last answer: <strong>Works for me"),
        "{}",
        page.text
    );
    app.tell(&incident, "update").await;
    let mails = app.mails(6).await;
    app.clock.advance(Duration::from_secs(600));
    press(&app, to(&mails, ADDRESSES[0]), "broken", "")
        .await
        .expect(200);
    assert_eq!(counts(&app, &incident).await, [3, 0, 1, 0, 0, 2]);
    app.finish().await;
}

async fn a_mailbox_of_several_people_answers_for_each(env: Env) {
    let app = TestApp::start(&env).await;
    let directory = crowd(3).replace("person-2@", "person-1@");
    let (incident, notice) = app.tell_crowd(directory).await;
    app.done(&notice).await;
    let mails = app.mails(2).await;
    assert_eq!(counts(&app, &incident).await, [3, 0, 0, 0, 0, 3]);
    press(&app, to(&mails, "person-1@crowd.example"), "works", "")
        .await
        .expect(200);
    assert_eq!(counts(&app, &incident).await, [3, 2, 0, 0, 0, 1]);
    app.finish().await;
}

async fn an_operator_records_an_answer_on_behalf_of_a_person(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    let path = format!("/api/v1/incidents/{incident}/answers");
    app.clock.advance(Duration::from_secs(3_600));
    press(&app, to(&mails, ADDRESSES[0]), "works", "")
        .await
        .expect(200);
    let operator = app.as_new("operator").await;
    // The telephone call was before the answer by the link, so the answer by the link counts.
    let call = json!({"person": AFFECTED[0], "answer": "help", "text": "By telephone", "at": "2024-03-14T07:00:00Z"});
    let stored = operator.post(&path, call).await.expect(201);
    assert_eq!(
        json!([
            stored["person"],
            stored["answer"],
            stored["text"],
            stored["by"],
            stored["recorded_by"],
            stored["at"]
        ]),
        json!([
            AFFECTED[0],
            "help",
            "By telephone",
            "token",
            "a test's operator",
            "2024-03-14T07:00:00Z"
        ])
    );
    assert_eq!(counts(&app, &incident).await, [3, 1, 0, 0, 0, 2]);
    operator
        .post(&path, json!({"person": AFFECTED[1], "answer": "broken"}))
        .await
        .expect(201);
    assert_eq!(counts(&app, &incident).await, [3, 1, 1, 0, 0, 1]);
    // Somebody who called without having got an email was asked by that.
    operator
        .post(&path, json!({"person": "grace", "answer": "help"}))
        .await
        .expect(201);
    assert_eq!(counts(&app, &incident).await, [4, 1, 1, 1, 0, 1]);
    let wrong = |body: Value| operator.post(&path, body);
    wrong(json!({"person": "nobody", "answer": "works"}))
        .await
        .expect_invalid("/person");
    wrong(json!({"person": AFFECTED[1], "answer": "fine"}))
        .await
        .expect_invalid("/answer");
    wrong(json!({"person": AFFECTED[1], "answer": "works", "at": "2024-03-14T08:00:00Z"}))
        .await
        .expect_invalid("/at");
    wrong(json!({"person": AFFECTED[1], "answer": "works", "text": "x".repeat(4_001)}))
        .await
        .expect_invalid("/text");
    let viewer = app.as_new("viewer").await;
    viewer
        .post(&path, json!({"person": AFFECTED[1], "answer": "works"}))
        .await
        .expect_problem(403);
    assert_eq!(counts(&app, &incident).await, [4, 1, 1, 1, 0, 1]);
    app.finish().await;
}

async fn remind(app: &TestApp, incident: &str) -> Answer {
    app.post(&format!("/api/v1/incidents/{incident}/answers/remind"), json!({}))
        .await
}

async fn a_reminder_goes_to_exactly_those_who_have_not_answered(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    remind(&app, &incident).await.expect_problem(422);
    app.tell(&incident, "detection").await;
    let mails = app.mails(3).await;
    // Somebody who was asked and is not affected any more is reminded too. Somebody who is affected and was not asked is not.
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    app.put(
        "/api/v1/resources/project/savanna/collaborators/grace",
        json!({"role": "viewer"}),
    )
    .await
    .expect(201);
    press(&app, to(&mails, ADDRESSES[0]), "works", "")
        .await
        .expect(200);
    let draft = remind(&app, &incident).await.expect(201);
    assert_eq!(
        json!([draft["phase"], draft["state"], draft["reminder"]]),
        json!(["update", "draft", true])
    );
    let preview = app.preview(&draft.id()).await.expect(200);
    assert_eq!(preview["recipients"], 2, "{preview}");
    // Whoever answers before it is sent gets no reminder, and the list in the preview is not sent any more.
    let digest = app.digest(&draft.id()).await;
    press(&app, to(&mails, ADDRESSES[2]), "help", "")
        .await
        .expect(200);
    app.send(&draft.id(), &digest).await.expect_problem(409);
    app.send_as_previewed(&draft.id()).await;
    app.done(&draft.id()).await;
    let mails = app.mails(4).await;
    assert_eq!(mails[3].to, ADDRESSES[1]);
    press(&app, &mails[3], "works", "").await.expect(200);
    remind(&app, &incident).await.expect_problem(422);
    // The reminder is no catch-up for the update, and has none.
    assert_eq!(app.notice(&draft.id()).await["not_told_yet"], 0);
    app.post(&format!("/api/v1/notices/{}/catch-up", draft.id()), json!({}))
        .await
        .expect_problem(409);
    app.finish().await;
}

async fn after_a_reopening_everybody_is_asked_again(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    press(&app, to(&mails, ADDRESSES[0]), "works", "")
        .await
        .expect(200);
    app.resolve(&incident).await;
    app.clock.advance(Duration::from_secs(60));
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": "investigating"}),
    )
    .await
    .expect(200);
    // Nothing that was said before the problem returned says anything about it.
    assert_eq!(counts(&app, &incident).await, [0, 0, 0, 0, 0, 0]);
    remind(&app, &incident).await.expect_problem(422);
    app.tell(&incident, "detection").await;
    let mails = app.mails(6).await;
    assert_eq!(counts(&app, &incident).await, [3, 0, 0, 0, 0, 3]);
    app.clock.advance(Duration::from_secs(60));
    press(&app, to(&mails, ADDRESSES[0]), "broken", "")
        .await
        .expect(200);
    assert_eq!(counts(&app, &incident).await, [3, 0, 1, 0, 0, 2]);
    let kept = answers(&app, &incident, &format!("?person={}", AFFECTED[0])).await;
    assert_eq!(kept.items().len(), 2, "{kept}");
    app.finish().await;
}

async fn the_series_says_when_people_answered(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:00:00Z").start().await;
    let (incident, notice) = app.tell_crowd(crowd(10)).await;
    app.done(&notice).await;
    let mails = app.mails(10).await;
    let path = format!("/api/v1/incidents/{incident}/answers/series");
    let nobody = app.get(&path).await.expect(200);
    assert_eq!(
        nobody.json,
        json!([{"at": "2024-03-14T06:00:00Z", "works": 0, "broken": 0, "help": 0}])
    );
    app.set_clock("2024-03-14T06:30:00Z");
    press(&app, &mails[0], "works", "").await.expect(200);
    press(&app, &mails[1], "broken", "").await.expect(200);
    app.set_clock("2024-03-14T07:30:00Z");
    press(&app, &mails[1], "works", "").await.expect(200);
    press(&app, &mails[2], "help", "").await.expect(200);
    app.set_clock("2024-03-20T06:00:00Z");
    let series = app.get(&format!("{path}?step=PT1H")).await.expect(200);
    assert_eq!(
        series.json,
        json!([
            {"at": "2024-03-14T06:00:00Z", "works": 0, "broken": 0, "help": 0},
            {"at": "2024-03-14T07:00:00Z", "works": 1, "broken": 1, "help": 0},
            {"at": "2024-03-14T08:00:00Z", "works": 2, "broken": 0, "help": 1},
        ])
    );
    press(&app, &mails[3], "works", "").await.expect(200);
    let days = app.get(&format!("{path}?step=P1D")).await.expect(200);
    assert_eq!(days.json.as_array().map(Vec::len), Some(7));
    assert_eq!(days.json[6]["works"], 3);
    // Six days have more than a thousand minutes.
    app.get(&format!("{path}?step=PT1M"))
        .await
        .expect_invalid("?step");
    // An answer long ago makes the usual step longer, and the last point is not in the future.
    let long_ago = json!({"person": "person-9", "answer": "works", "at": "2001-01-01T00:00:00Z"});
    app.post(&format!("/api/v1/incidents/{incident}/answers"), long_ago)
        .await
        .expect(201);
    let years = app.get(&path).await.expect(200);
    let points = years.json.as_array().expect("points");
    assert!(points.len() <= 1_000, "{}", points.len());
    assert_eq!(points[0]["at"], "2001-01-01T00:00:00Z");
    let last = points.last().expect("a point");
    assert_eq!(
        json!([last["at"], last["works"]]),
        json!(["2024-03-20T06:00:00Z", 4])
    );
    for step in ["PT0S", "PT59S", "-PT1H", "1 hour", "P1M", "x", ""] {
        app.get(&format!("{path}?step={step}"))
            .await
            .expect_invalid("?step");
    }
    app.finish().await;
}

async fn a_reply_by_email_is_attached_to_its_person(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    let id = to(&mails, ADDRESSES[0]).header("message-id");
    let reply = |from: &str, id: &str, text: &str| {
        format!(
            "From: Somebody <{from}>\r\nTo: candor@localhost\r\nIn-Reply-To: {id}\r\nSubject: Re: x\r\n\r\n{text}\r\n\r\n\
             On Thu, 14 Mar 2024, Candor wrote:\r\n> We are working on it.\r\n"
        )
    };
    let receive = async |mail: String| {
        app.post_raw("/api/v1/inbound-mail", "message/rfc822", mail)
            .await
            .expect(202)
    };
    receive(reply(ADDRESSES[0], &id, "The second file is empty.")).await;
    assert_eq!(counts(&app, &incident).await, [3, 0, 0, 0, 1, 2]);
    let replied = answers(&app, &incident, "?answer=replied").await;
    let [item] = replied.items() else {
        panic!("{replied}")
    };
    assert_eq!(
        json!([item["person"], item["answer"], item["text"], item["by"]]),
        json!([AFFECTED[0], null, "The second file is empty.", "reply"])
    );
    // The same email counts once, and one from somebody else who knows the Message-ID is only stored as a report.
    receive(reply(ADDRESSES[0], &id, "The second file is empty.")).await;
    receive(reply("stranger@else.example", &id, "Ignore it.")).await;
    let away = format!(
        "From: <{}>\r\nTo: candor@localhost\r\nAuto-Submitted: auto-replied\r\nIn-Reply-To: {id}\r\n\
         Subject: Out of office\r\n\r\nI am away.\r\n",
        ADDRESSES[0]
    );
    receive(away).await;
    assert_eq!(env.count("answers"), 1);
    // A choice is shown with the reply.
    press(&app, to(&mails, ADDRESSES[0]), "works", "")
        .await
        .expect(200);
    assert_eq!(counts(&app, &incident).await, [3, 1, 0, 0, 0, 2]);
    let works = answers(&app, &incident, "?answer=works").await;
    assert_eq!(works.items()[0]["reply"]["text"], "The second file is empty.");
    // Whoever replied from another address quotes the links of the email.
    let quoted = format!(
        "From: <private@else.example>\r\nTo: candor@localhost\r\nSubject: Re: x\r\n\r\nFine here.\r\n\r\n> {}\r\n",
        to(&mails, ADDRESSES[1]).header("list-unsubscribe")
    );
    receive(quoted).await;
    assert_eq!(counts(&app, &incident).await, [3, 1, 0, 0, 1, 1]);
    // The link of an answer proves as much as the link for opting out.
    let link = link(to(&mails, ADDRESSES[2]), "works");
    let quoted = format!(
        "From: <private@else.example>\r\nTo: candor@localhost\r\nSubject: Re: x\r\n\r\nFine too.\r\n\r\n> https://candor.example{link}\r\n"
    );
    receive(quoted).await;
    assert_eq!(counts(&app, &incident).await, [3, 1, 0, 0, 2, 0]);
    app.finish().await;
}

async fn operators_hear_of_it_once_in_a_while(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.callout_allow = egress::Policy::Private)
        .at("2024-03-14T06:56:00Z")
        .start()
        .await;
    let hook = Receiver::start();
    let operator =
        json!({"name": "Rota", "events": ["answered"], "webhook": {"kind": "generic", "url": hook.url("/")}});
    app.post("/api/v1/operators", operator).await.expect(201);
    let (incident, notice) = app.tell_crowd(crowd(6)).await;
    app.done(&notice).await;
    let mails = app.mails(6).await;
    press(&app, &mails[0], "works", "").await.expect(200);
    press(&app, &mails[1], "broken", "Secret words").await.expect(200);
    let first = hook.requests(1).await.remove(0).json();
    assert_eq!(
        json!([
            first["event"],
            first["title"],
            first["incident"]["id"],
            first["answers"]["broken"]
        ]),
        json!([
            "answered",
            "#1: 1 person answered that it is still broken",
            incident,
            1
        ])
    );
    assert!(!first.to_string().contains("Secret words"));
    // Later answers wait until five minutes have passed, and are one message then.
    press(&app, &mails[2], "help", "").await.expect(200);
    press(&app, &mails[3], "broken", "").await.expect(200);
    press(&app, &mails[4], "help", "").await.expect(200);
    app.clock.advance(Duration::from_secs(301));
    let second = hook.requests(2).await.remove(1).json();
    assert_eq!(
        second["title"],
        "#1: 2 people answered that it is still broken, and 2 people need help"
    );
    // Nothing new: no message.
    app.clock.advance(Duration::from_secs(301));
    press(&app, &mails[5], "works", "").await.expect(200);
    wait_until("the messages to be recorded", DEADLINE, async || {
        env.count("operator_messages WHERE state = 'sent'") == 2
    })
    .await;
    app.finish().await;
    assert_eq!(env.count("operator_messages"), 2);
}

async fn many_answers_at_once_are_all_recorded_while_a_notice_is_sent(env: Env) {
    const PEOPLE: usize = 300;
    let app = TestApp::start(&env).await;
    let (incident, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    app.done(&notice).await;
    let mails = app.mails(PEOPLE).await;
    let update = app.draft(&incident, "update").await;
    app.send_as_previewed(&update).await;
    let client = app.anonymous();
    let mut posting = tokio::task::JoinSet::new();
    for chunk in mails.chunks(PEOPLE.div_ceil(64)) {
        let paths: Vec<String> = chunk.iter().map(|mail| link(mail, "works")).collect();
        let client = client.clone();
        posting.spawn(async move {
            for path in paths {
                client.post_raw(&path, FORM, "answer=works").await.expect(200);
            }
        });
    }
    while let Some(done) = posting.join_next().await {
        done.expect("all answers of a connection");
    }
    app.done(&update).await;
    assert_eq!(
        counts(&app, &incident).await,
        [PEOPLE as i64, PEOPLE as i64, 0, 0, 0, 0]
    );
    let listed = app
        .all(&format!("/api/v1/incidents/{incident}/answers?limit=70"))
        .await;
    assert_eq!(listed.len(), PEOPLE);
    app.finish().await;
}

async fn answers_cannot_be_changed_or_removed(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    press(&app, &mails[0], "works", "").await.expect(200);
    remind(&app, &incident).await.expect(201);
    for statement in [
        "UPDATE answers SET answer = 'help'",
        "DELETE FROM answers",
        "UPDATE answer_reminders SET created_at = 0",
        "DELETE FROM answer_reminders",
    ] {
        let refused = env.sql(statement).expect_err(statement).to_string();
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
    app.finish().await;
}

async fn a_report_does_not_ask(env: Env) {
    let (app, incident, _) = asked(&env).await;
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    for mail in &app.mails(6).await[3..] {
        link(mail, "works");
    }
    app.tell(&incident, "report").await;
    for mail in &app.mails(9).await[6..] {
        assert!(
            !mail.text.contains("/answers/") && !mail.html.contains("/answers/"),
            "{}",
            mail.text
        );
    }
    app.finish().await;
}

async fn what_is_no_answer_is_refused(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    let anybody = app.anonymous();
    let path = link(&mails[0], "works");
    let (page, _) = path.split_once('?').expect("a query");
    for (form, said) in [
        ("", "Choose one of the three answers."),
        ("answer=fine", "Choose one of the three answers."),
        ("answer=works&text=%00", "contains a control character"),
        (
            &*format!("answer=works&text={}", "x".repeat(4_001)),
            "longer than 4000 characters",
        ),
    ] {
        let refused = anybody.post_raw(page, FORM, form).await.expect(422);
        assert!(refused.text.contains(said), "{form}: {}", refused.text);
    }
    let huge = "x".repeat(100_000);
    anybody.post_raw(page, FORM, huge).await.expect_problem(413);
    anybody
        .post(page, json!({"answer": "works"}))
        .await
        .expect_problem(415);
    for token in ["1", "1.", "1.xxxxxxxxxxxxxxxxxxxxxxxx", "x.y"] {
        anybody
            .get(&format!("/answers/{token}"))
            .await
            .expect_problem(404);
        anybody
            .post_raw(&format!("/answers/{token}"), FORM, "answer=works")
            .await
            .expect_problem(404);
    }
    // The link for unsubscribing is no link for answers.
    let unsubscribe = mails[0].header("list-unsubscribe");
    let token = unsubscribe
        .trim_matches(['<', '>'])
        .rsplit('/')
        .next()
        .expect("a token");
    anybody
        .get(&format!("/answers/{token}"))
        .await
        .expect_problem(404);
    assert_eq!(counts(&app, &incident).await, [3, 0, 0, 0, 0, 3]);
    // A person changes an answer a few times, and a program would not stop.
    for n in 0..50 {
        press(&app, &mails[0], "works", &n.to_string()).await.expect(200);
    }
    press(&app, &mails[0], "broken", "").await.expect_problem(409);
    assert_eq!(env.count("answers"), 50);
    app.finish().await;
}

async fn the_chart_is_an_image(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    let path = format!("/api/v1/incidents/{incident}/answers.svg");
    press(&app, &mails[0], "broken", "<script>").await.expect(200);
    app.clock.advance(Duration::from_secs(9_000));
    press(&app, &mails[1], "works", "").await.expect(200);
    let image = app.get(&path).await.expect(200);
    assert_eq!(image.header("content-type"), "image/svg+xml");
    assert!(image.text.starts_with("<svg ") && image.text.trim_end().ends_with("</svg>"));
    for shown in [
        "<title>Answers: 1 works for me, 1 still broken, 0 need help</title>",
        "Works for me",
        "hours after 14 March 2024, 06:56 UTC",
    ] {
        assert!(image.text.contains(shown), "{shown} in {}", image.text);
    }
    assert!(!image.text.contains("<script"));
    let other = app.incident([]).await;
    let empty = app
        .get(&format!("/api/v1/incidents/{other}/answers.svg"))
        .await
        .expect(200);
    assert!(empty.text.contains("Nobody was asked"), "{}", empty.text);
    app.finish().await;
}

async fn the_pages_record_and_remind_like_the_api(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    press(&app, to(&mails, ADDRESSES[0]), "broken", "<b>Nothing</b> opens")
        .await
        .expect(200);
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser.page("/admin/incidents/1/answers").await;
    for shown in [
        "id=\"answers\"",
        "/admin/incidents/1/answers.svg",
        "&lt;b&gt;Nothing&lt;/b&gt; opens",
        "Draft a reminder to 2 people",
        "2 people were asked and have not answered.",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    let image = browser.open("/admin/incidents/1/answers.svg").await.expect(200);
    assert_eq!(image.header("content-type"), "image/svg+xml");
    let none = browser.page("/admin/incidents/1/answers?answers=none").await;
    let (_, section) = none.split_once("id=\"answers\"").expect("the section");
    assert!(
        section.contains(ADDRESSES[1]) && !section.contains("&lt;b&gt;Nothing"),
        "{section}"
    );
    let send = "/admin/incidents/1/answers";
    // Without a time, no time zone is needed.
    let wrong = [
        ("person", "nobody"),
        ("answer", "works"),
        ("text", "said so"),
        ("at", ""),
        ("time_zone", ""),
    ];
    let refused = browser
        .send_from("/admin/incidents/1", send, &wrong)
        .await
        .expect(422);
    assert!(
        refused.text.contains("the directory has no person with this ID"),
        "{refused}"
    );
    assert!(refused.text.contains("said so"), "{refused}");
    let right = [
        ("person", AFFECTED[1]),
        ("answer", "help"),
        ("text", ""),
        ("at", "2024-03-14T09:50"),
        ("time_zone", "Africa/Nairobi"),
    ];
    browser
        .send_from("/admin/incidents/1", send, &right)
        .await
        .expect(303);
    assert_eq!(counts(&app, &incident).await, [3, 0, 1, 1, 0, 1]);
    let drafted = browser
        .send_from("/admin/incidents/1", "/admin/incidents/1/answers/remind", &[])
        .await
        .expect(303);
    let notice = drafted
        .header("location")
        .rsplit('/')
        .next()
        .expect("an ID")
        .to_owned();
    assert_eq!(app.preview(&notice).await.expect(200)["recipients"], 1);
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let seen = viewer.page("/admin/incidents/1/answers").await;
    assert!(seen.contains("id=\"answers\"") && !seen.contains("Draft a reminder"));
    viewer.send(send, &right).await.expect(403);
    let _ = eventually("the page of the answers", DEADLINE, async || {
        Some(browser.page("/admin/incidents/1/answers").await)
    })
    .await;
    app.finish().await;
}

/// The customer, an operator and a reopening may all have changed what counts since.
async fn the_same_answer_counts_again_later(env: Env) {
    let (app, incident, mails) = asked(&env).await;
    let mail = to(&mails, ADDRESSES[0]);
    press(&app, mail, "broken", "").await.expect(200);
    let on_behalf = json!({"person": AFFECTED[0], "answer": "works"});
    app.clock.advance(Duration::from_secs(300));
    app.post(&format!("/api/v1/incidents/{incident}/answers"), on_behalf)
        .await
        .expect(201);
    assert_eq!(counts(&app, &incident).await, [3, 1, 0, 0, 0, 2]);
    app.clock.advance(Duration::from_secs(300));
    press(&app, mail, "broken", "").await.expect(200);
    assert_eq!(counts(&app, &incident).await, [3, 0, 1, 0, 0, 2]);
    app.finish().await;
}

async fn two_reminders_ask_nobody_twice(env: Env) {
    let (app, incident, _) = asked(&env).await;
    let drafts = [
        remind(&app, &incident).await.expect(201).id(),
        remind(&app, &incident).await.expect(201).id(),
    ];
    let owners = json!({"audience": {"roles": ["owner"]}});
    app.patch(&format!("/api/v1/notices/{}", drafts[0]), owners)
        .await
        .expect_invalid("/audience");
    app.clock.advance(Duration::from_secs(60));
    app.send_as_previewed(&drafts[0]).await;
    app.done(&drafts[0]).await;
    app.mails(6).await;
    assert_eq!(app.preview(&drafts[1]).await.expect(200)["recipients"], 0);
    // Whoever still has not answered can be reminded later.
    app.clock.advance(Duration::from_secs(60));
    let later = remind(&app, &incident).await.expect(201).id();
    assert_eq!(app.preview(&later).await.expect(200)["recipients"], 3);
    app.finish().await;
}

async fn an_email_without_the_links_asks_nobody(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let without =
        json!({"subject": "A problem", "text": "{{what}}\n{{unsubscribe_url}}", "html": "<p>{{what}}</p>"});
    app.put("/api/v1/templates/detection", complete(without))
        .await
        .expect(200);
    app.tell(&incident, "detection").await;
    app.mails(3).await;
    assert_eq!(counts(&app, &incident).await, [0, 0, 0, 0, 0, 0]);
    remind(&app, &incident).await.expect_problem(422);
    app.finish().await;
}
