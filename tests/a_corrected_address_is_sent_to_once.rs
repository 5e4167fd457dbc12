//! A wrong address is corrected on the page of the person, and what did not arrive is sent to the new address: once, and to nobody else. The page says before what
//! will be sent.

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{DEADLINE, Env, TestApp, on_both_databases, on_one_database, wait_until};

on_both_databases!(
    what_failed_is_sent_to_the_new_address,
    nothing_goes_to_an_address_that_was_corrected_before,
    an_address_that_is_right_again_is_tried_again,
    the_same_address_is_tried_again,
);

on_one_database!(
    what_bounced_is_sent_too,
    others_who_are_missing_keep_it_a_draft,
    a_person_without_an_address_is_reached,
    only_operators_correct_addresses,
);

const PERSON: &str = "/admin/directory/people/baraka";
const ADDRESS: &str = "/admin/directory/people/baraka/address";

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .unwrap_or_else(|| panic!("no {name} on {page}"));
    rest.split('"').next().expect("a value").to_owned()
}

/// Starts with a mail server that refuses the old address of one person.
async fn refusing(env: &Env) -> (TestApp, Browser, String, String) {
    let policy = Policy::new(|attempt| match attempt.recipient {
        "baraka@sound-works.example" => Decision::Permanent("550 5.1.1 no such user".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(env).smtp_policy(policy).start().await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    app.done(&notice).await;
    (app, operator, incident, notice)
}

async fn what_failed_is_sent_to_the_new_address(env: Env) {
    let (app, operator, incident, notice) = refusing(&env).await;
    app.mails(2).await;
    shows(
        &operator.page(PERSON).await,
        &[
            "Emails that did not arrive",
            "no such user",
            "Correct the address and send again",
        ],
    );
    let page = operator.page(ADDRESS).await;
    shows(
        &page,
        &[
            "These emails did not arrive. They are sent when you save:",
            "Save address and send 1 email",
            "value=\"baraka@sound-works.example\"",
        ],
    );
    assert_eq!(hidden(&page, "notices"), notice);
    let with = |email: &'static str| [("email", email), ("notices", notice.as_str()), ("incident", "")];
    let wrong = operator
        .send_from(ADDRESS, ADDRESS, &with("baraka at home"))
        .await
        .expect(422);
    shows(
        &wrong.text,
        &["Nothing was saved.", "value=\"baraka at home\"", "aria-invalid"],
    );
    operator
        .send_from(ADDRESS, ADDRESS, &with("baraka@new.example"))
        .await
        .expect(303);
    let mails = app.mails(3).await;
    assert_eq!(
        mails
            .iter()
            .filter(|mail| mail.to == "baraka@new.example")
            .count(),
        1
    );
    assert_eq!(
        app.get("/api/v1/people/baraka").await.expect(200)["email"],
        "baraka@new.example"
    );
    // The partition of the incident says so too.
    wait_until("three people to be notified", DEADLINE, async || {
        let audience = app.get(&format!("/api/v1/incidents/{incident}/audience")).await;
        audience.expect(200)["counts"]["partition"]["accepted"] == 3
    })
    .await;
    // The same form again sends nothing more.
    let again = operator
        .send_from(ADDRESS, ADDRESS, &with("baraka@new.example"))
        .await;
    shows(&again.expect(422).text, &["has reached Baraka Mushi by now"]);
    let again = operator.page(ADDRESS).await;
    shows(&again, &["No email to this person is missing"]);
    assert_eq!(hidden(&again, "notices"), "");
    app.mails(3).await;
    let actions = app.all("/api/v1/audit?subject=baraka").await;
    assert_eq!(actions[0]["action"], "person.put");
    assert!(!serde_json::to_string(&actions).unwrap().contains("new.example"));
    app.finish().await;
}

/// Corrects the address in the directory, so that the correction finds it there already.
async fn moves(app: &TestApp, email: &str) {
    app.put(
        "/api/v1/people/baraka",
        json!({"name": "Baraka Mushi", "email": email}),
    )
    .await
    .expect(200);
}

async fn nothing_goes_to_an_address_that_was_corrected_before(env: Env) {
    let (app, operator, _, notice) = refusing(&env).await;
    app.mails(2).await;
    moves(&app, "baraka@new.example").await;
    let lost = app.deliveries(&notice).await;
    let lost = lost
        .iter()
        .find(|delivery| delivery["state"] == "failed")
        .expect("a failed delivery");
    let attempts = async || {
        let all = app.deliveries(&notice).await;
        let all = all
            .iter()
            .map(|delivery| delivery["attempts"].as_array().map_or(0, Vec::len));
        all.sum::<usize>()
    };
    let before = attempts().await;
    // Its own address is the old one.
    let path = format!("/admin/notices/{notice}");
    let page = operator.page(&path).await;
    shows(&page, &["Not sent again: the person has another address now"]);
    assert!(!page.contains("Send 1 failed email again"), "{page}");
    assert!(!page.contains("Send again<span"), "{page}");
    let resend = format!("/api/v1/deliveries/{}/resend", lost["id"]);
    let failed = format!("/api/v1/notices/{notice}/resend-failed");
    for path in [&resend, &failed] {
        let refused = app.post(path, json!({})).await.expect_problem(409);
        assert_eq!(refused["code"], "nothing_to_resend", "{refused}");
    }
    let fields = [
        ("email", "baraka@new.example"),
        ("notices", notice.as_str()),
        ("incident", ""),
    ];
    operator.send_from(ADDRESS, ADDRESS, &fields).await.expect(303);
    let mails = app.mails(3).await;
    assert!(mails.iter().any(|mail| mail.to == "baraka@new.example"));
    // The person has it, so the lost email is not sent again, even if the old address is right again.
    moves(&app, "baraka@sound-works.example").await;
    for path in [&resend, &failed] {
        app.post(path, json!({})).await.expect_problem(409);
    }
    shows(
        &operator.page(&path).await,
        &["Not sent again: the person got this notice by another email"],
    );
    assert_eq!(attempts().await, before);
    app.mails(3).await;
    app.finish().await;
}

async fn an_address_that_is_right_again_is_tried_again(env: Env) {
    let policy = Policy::new(|attempt| match (attempt.recipient, attempt.number) {
        ("baraka@sound-works.example", 1) => Decision::Permanent("550 5.7.1 mailbox is locked".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env).smtp_policy(policy).start().await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    app.mails(2).await;
    moves(&app, "baraka@new.example").await;
    let fields = [
        ("email", "baraka@sound-works.example"),
        ("notices", notice.as_str()),
        ("incident", ""),
    ];
    operator.send_from(ADDRESS, ADDRESS, &fields).await.expect(303);
    let mails = app.mails(3).await;
    assert!(mails.iter().any(|mail| mail.to == "baraka@sound-works.example"));
    app.done(&notice).await;
    app.finish().await;
}

async fn the_same_address_is_tried_again(env: Env) {
    let policy = Policy::new(|attempt| match (attempt.recipient, attempt.number) {
        ("baraka@sound-works.example", 1) => Decision::Permanent("550 5.7.1 mailbox is locked".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env).smtp_policy(policy).start().await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    app.done(&notice).await;
    app.mails(2).await;
    let fields = [
        ("email", "baraka@sound-works.example"),
        ("notices", notice.as_str()),
        ("incident", ""),
    ];
    operator.send_from(ADDRESS, ADDRESS, &fields).await.expect(303);
    app.mails(3).await;
    app.done(&notice).await;
    assert_eq!(
        app.all(&format!("/api/v1/incidents/{incident}/notices"))
            .await
            .len(),
        1
    );
    app.finish().await;
}

async fn what_bounced_is_sent_too(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    app.done(&notice).await;
    let mails = app.mails(3).await;
    let theirs = mails
        .iter()
        .find(|mail| mail.to == "baraka@sound-works.example")
        .expect("an email");
    let bounce = format!(
        "From: MAILER-DAEMON@sound-works.example\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nno such user\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.sound-works.example\r\n\r\n\
         Final-Recipient: rfc822; baraka@sound-works.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {}\r\n\r\n--b--\r\n",
        theirs.header("Message-ID")
    );
    // The bounce arrived in a mailbox that Candor does not read.
    let path = "/admin/directory/inbound-mail";
    let wrong = operator.send_from(path, path, &[("mail", "")]).await.expect(422);
    shows(&wrong.text, &["must not be empty"]);
    let taken = operator
        .send_from(path, path, &[("mail", &bounce)])
        .await
        .expect(200);
    shows(&taken.text, &["It is stored.", "baraka@sound-works.example"]);
    shows(
        &operator.page(PERSON).await,
        &["Emails that did not arrive", "the email bounced"],
    );
    let suppressed = "/admin/directory/suppressions";
    shows(
        &operator.page(suppressed).await,
        &[
            "baraka@sound-works.example",
            "bounced permanently",
            "Lift suppression",
        ],
    );
    let fields = [
        ("email", "baraka@new.example"),
        ("notices", notice.as_str()),
        ("incident", "1"),
    ];
    operator.send_from(ADDRESS, ADDRESS, &fields).await.expect(303);
    app.mails(4).await;
    // The old address stays suppressed until somebody lifts it.
    let lift = [("address", "nobody at all")];
    operator
        .send_from(suppressed, "/admin/directory/suppressions/lift", &lift)
        .await
        .expect(422);
    let lift = [("address", "baraka@sound-works.example")];
    operator
        .send_from(suppressed, "/admin/directory/suppressions/lift", &lift)
        .await
        .expect(303);
    assert!(app.all("/api/v1/suppressions").await.is_empty());
    app.finish().await;
}

async fn others_who_are_missing_keep_it_a_draft(env: Env) {
    let (app, operator, incident, notice) = refusing(&env).await;
    // Somebody else is affected since.
    app.affect(&incident, "project", "market-day").await;
    let fields = [
        ("email", "baraka@new.example"),
        ("notices", notice.as_str()),
        ("incident", ""),
    ];
    let result = operator.send_from(ADDRESS, ADDRESS, &fields).await.expect(200);
    shows(
        &result.text,
        &["Not everything was sent", "read the draft and send it"],
    );
    app.mails(2).await;
    let drafts: Vec<Value> = app
        .all(&format!("/api/v1/incidents/{incident}/notices"))
        .await
        .into_iter()
        .filter(|notice| notice["state"] == "draft")
        .collect();
    assert_eq!(drafts.len(), 1);
    assert_eq!(
        app.get("/api/v1/people/baraka").await.expect(200)["email"],
        "baraka@new.example"
    );
    app.finish().await;
}

async fn a_person_without_an_address_is_reached(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    app.put(
        "/api/v1/people/baraka",
        json!({"name": "Baraka Mushi", "email": ""}),
    )
    .await
    .expect(200);
    let notice = app.tell(&incident, "detection").await;
    app.done(&notice).await;
    app.mails(2).await;
    let page = operator.page(&format!("{ADDRESS}?incident=1")).await;
    shows(
        &page,
        &["there was no address to send to", "Save address and send 1 email"],
    );
    let listed = app
        .get(&format!("/api/v1/people/baraka/not-arrived?incident={incident}"))
        .await
        .expect(200);
    assert_eq!(listed["items"][0]["notice"], notice.as_str());
    let answer = app
        .post(
            &format!("/api/v1/people/baraka/correct-address?incident={incident}"),
            json!({"email": "baraka@new.example", "notices": [notice]}),
        )
        .await
        .expect(200);
    assert_eq!(answer["sent"].as_array().unwrap().len(), 1, "{answer}");
    app.mails(3).await;
    app.finish().await;
}

async fn only_operators_correct_addresses(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(crate::support::story_directory()).await.expect(200);
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let page = viewer.page(PERSON).await;
    assert!(
        !page.contains("/address\"") && !page.contains("Edit person"),
        "{page}"
    );
    viewer.open(ADDRESS).await.expect(403);
    let fields = [("email", "x@new.example"), ("notices", ""), ("incident", "")];
    viewer.send(ADDRESS, &fields).await.expect(403);
    // Without the key of the session.
    operator.send(ADDRESS, &fields).await.expect(403);
    viewer
        .send(
            "/admin/directory/suppressions/lift",
            &[("address", "x@y.example")],
        )
        .await
        .expect(403);
    assert_eq!(
        app.get("/api/v1/people/baraka").await.expect(200)["email"],
        "baraka@sound-works.example"
    );
    app.finish().await;
}
