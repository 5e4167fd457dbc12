//! A draft is checked on its page before it is sent: the whole list of recipients, any of the emails, a test to our own side, text that
//! must be replaced, and what changed since somebody looked. Afterwards the page says who got it and who did not.

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, crowd, crowd_at, on_both_databases, on_one_database, recipients};

on_both_databases!(
    placeholder_text_is_never_sent,
    a_test_goes_only_to_our_own_side,
    the_list_is_searched_page_by_page,
    a_conflict_says_what_changed,
    a_draft_is_discarded,
    files_say_who_got_it_and_who_did_not,
    an_approver_sees_what_changed,
);

on_one_database!(
    the_email_is_shown_while_it_is_written,
    the_next_update_is_chosen_by_its_distance,
    failed_emails_are_sent_again_on_the_page,
    a_late_person_gets_a_catch_up_from_the_page,
    break_glass_is_not_wasted,
    continuing_without_a_number_waits_for_the_wave,
    an_account_without_an_affected_resource_is_named,
    who_did_not_get_it_is_counted_in_people,
    an_approver_is_asked_by_email,
);

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

#[track_caller]
fn hides(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(!page.contains(text), "{text:?} is on the page:\n{page}");
    }
}

/// The fields of the form that sends a draft to everybody.
fn at_once(digest: &str) -> [(&str, &str); 3] {
    [("digest", digest), ("waves", "at_once"), ("pause", "manual")]
}

async fn drafted(app: &TestApp, incident: &str, body: serde_json::Value) -> String {
    let path = format!("/api/v1/incidents/{incident}/notices");
    app.post(&path, body).await.expect(201).id()
}

async fn placeholder_text_is_never_sent(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    let notice = drafted(
        &app,
        &incident,
        json!({"phase": "detection", "message": "We found [what happened]. Use {{ values.code }}.", "headline": "TODO: a headline"}),
    )
    .await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(preview["has_placeholders"], true);
    assert!(
        preview["warnings"].to_string().contains("[what happened]"),
        "{preview}"
    );
    let digest = app.digest(&notice).await;
    let refused = app.send(&notice, &digest).await.expect(422);
    assert_eq!(refused["code"], "placeholder_text");
    assert_eq!(refused.places(), ["/headline", "/message"]);
    shows(&refused.text, &["[what happened]", "{{ values.code }}", "TODO"]);
    // The page has no button, and the form that a stale page sends does nothing.
    let path = format!("/admin/notices/{notice}");
    let page = operator.page(&path).await;
    shows(&page, &["placeholder text", "[what happened]"]);
    hides(&page, &["Send to 3 people"]);
    let again = operator
        .send_from(&path, &format!("{path}/send"), &at_once(&digest))
        .await
        .expect(422);
    shows(&again.text, &["Nothing was done", "[what happened]"]);
    app.mails(0).await;
    // Square brackets of a link and a value that the recipients have are no placeholders.
    app.patch(
        &format!("/api/v1/notices/{notice}"),
        json!({"message": "See [our page](https://x.example).", "headline": "Files cannot be opened"}),
    )
    .await
    .expect(200);
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    app.mails(3).await;
    app.finish().await;
}

async fn a_test_goes_only_to_our_own_side(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.drill_to = vec!["drills@own.example".to_owned()])
        .start()
        .await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    app.post(
        "/api/v1/operators",
        json!({"name": "On call", "email": "oncall@own.example", "events": ["overdue"]}),
    )
    .await
    .expect(201);
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let api = format!("/api/v1/notices/{notice}/test");
    let customer = app.preview(&notice).await.expect(200)["samples"][0]["to"]
        .as_str()
        .expect("an address")
        .to_owned();
    let refused = app.post(&api, json!({"to": customer})).await.expect(422);
    assert_eq!(refused["code"], "not_our_own_address");
    app.post(&api, json!({"to": "stranger@elsewhere.example"}))
        .await
        .expect_invalid("/to");
    app.post(&api, json!({"to": "oncall@own.example", "recipient": 99}))
        .await
        .expect(404);
    // The contact of an operator is no way to send the data of one customer to another.
    app.post(
        "/api/v1/operators",
        json!({"name": "No operator", "email": customer, "events": ["overdue"]}),
    )
    .await
    .expect(201);
    let refused = app.post(&api, json!({"to": customer})).await.expect(422);
    assert_eq!(refused["code"], "not_our_own_address");
    hides(
        &operator.page(&format!("/admin/notices/{notice}")).await,
        &["No operator"],
    );
    app.mails(0).await;
    let sent = app
        .post(&api, json!({"to": "OnCall@own.example", "recipient": 2}))
        .await
        .expect(200);
    assert_eq!(sent["accepted"], true, "{sent}");
    let path = format!("/admin/notices/{notice}");
    let page = operator.page(&path).await;
    shows(
        &page,
        &["Send me a test", "oncall@own.example", "drills@own.example"],
    );
    hides(&viewer.page(&path).await, &["Send me a test"]);
    let to = format!("{path}/test");
    let fields = [("to", "drills@own.example"), ("recipient", "1")];
    operator.send_from(&path, &to, &fields).await.expect(303);
    let wrong = [("to", customer.as_str()), ("recipient", "1")];
    let refused = operator.send_from(&path, &to, &wrong).await.expect(422);
    shows(&refused.text, &["belongs to a person in the directory"]);
    let wrong = [("to", "stranger@elsewhere.example"), ("recipient", "1")];
    let refused = operator.send_from(&path, &to, &wrong).await.expect(422);
    shows(&refused.text, &["is not an address of your own side"]);
    viewer.send(&to, &fields).await.expect(403);
    let mails = app.mails(2).await;
    assert_eq!(recipients(&mails), ["drills@own.example", "oncall@own.example"]);
    for mail in &mails {
        assert!(mail.subject.starts_with("[TEST] "), "{}", mail.subject);
        assert!(mail.text.starts_with("THIS IS A TEST.") && mail.html.contains("THIS IS A TEST."));
        assert_eq!(mail.header("list-unsubscribe"), "");
    }
    // Nobody counts as notified, and the audit trail does not contain the address.
    assert_eq!(app.notice(&notice).await["counts"]["sent"], 0);
    assert_eq!(env.count("deliveries"), 0);
    let events = app.all("/api/v1/audit?action=notice.tested").await;
    assert_eq!(events.len(), 2);
    let text = json!(events).to_string();
    assert!(
        text.contains("On call") && !text.contains("own.example"),
        "{text}"
    );
    app.finish().await;
}

async fn the_list_is_searched_page_by_page(env: Env) {
    let app = TestApp::start(&env).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    app.import(crowd(45)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/admin/notices/{notice}");
    let page = viewer.page(&path).await;
    shows(
        &page,
        &[
            "This email goes to",
            "45 people",
            "Person 1<",
            "Stage",
            "→ Crowd",
            "work on Stage",
        ],
    );
    assert_eq!(
        page.matches("Show<span class=\"hidden\"> the email to").count(),
        20
    );
    // All pages together have everybody once.
    let mut seen = page.matches("@crowd.example</div>").count();
    let mut next = page;
    while let Some((before, _)) = next.split_once("\" rel=\"next\">Next") {
        let at = before
            .rsplit("href=\"")
            .next()
            .expect("a link")
            .replace("&amp;", "&")
            .replace("&#x3D;", "=");
        next = viewer.page(at.split('#').next().expect("a path")).await;
        seen += next.matches("@crowd.example</div>").count();
    }
    assert_eq!(seen, 45);
    let found = viewer.page(&format!("{path}?q=PERSON-7%40")).await;
    shows(&found, &["Person 7<"]);
    assert_eq!(
        found.matches("Show<span class=\"hidden\"> the email to").count(),
        1
    );
    shows(
        &viewer.page(&format!("{path}?q=nobody-at-all")).await,
        &["No recipient matches"],
    );
    // The email of any of them, with a policy of its own.
    let third = viewer.page(&format!("{path}?recipient=3")).await;
    shows(&third, &[&format!("src=\"{path}/mail/3\"")]);
    let mail = viewer.open(&format!("{path}/mail/3")).await.expect(200);
    shows(&mail.text, &["What we have to say in the detection."]);
    let policy = mail.header("content-security-policy");
    assert!(
        policy.contains("sandbox") && policy.contains("default-src 'none'"),
        "{policy}"
    );
    viewer.open(&format!("{path}/mail/46")).await.expect(404);
    app.finish().await;
}

async fn a_conflict_says_what_changed(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    app.import(crowd(5)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/admin/notices/{notice}");
    operator.page(&path).await;
    let before = app.digest(&notice).await;
    app.import(crowd(7)).await.expect(200);
    app.delete("/api/v1/people/person-1").await.expect(204);
    let to = format!("{path}/send");
    let refused = operator
        .send_from("/admin/incidents/1", &to, &at_once(&before))
        .await
        .expect(409);
    shows(
        &refused.text,
        &[
            "The list changed since you looked: 2 people added, 1 dropped.",
            "Send to 6 people",
        ],
    );
    assert_eq!(app.notice(&notice).await["state"], "draft");
    let list = app.digest(&notice).await;
    app.patch(
        &format!("/api/v1/notices/{notice}"),
        json!({"message": "Another text."}),
    )
    .await
    .expect(200);
    let refused = operator
        .send_from("/admin/incidents/1", &to, &at_once(&list))
        .await
        .expect(409);
    shows(&refused.text, &["The list is the same.", "Another text."]);
    let now = app.digest(&notice).await;
    operator.send_from(&path, &to, &at_once(&now)).await.expect(303);
    app.done(&notice).await;
    app.mails(6).await;
    app.finish().await;
}

async fn a_draft_is_discarded(env: Env) {
    let app = TestApp::builder(&env).max_audience(2).start().await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let digest = app.digest(&notice).await;
    app.as_role(&app.token("approver").await)
        .approve(&notice, &digest)
        .await
        .expect(200);
    let path = format!("/admin/notices/{notice}");
    shows(&operator.page(&path).await, &["Discard this draft"]);
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    viewer.send(&format!("{path}/discard"), &[]).await.expect(403);
    let gone = operator
        .send_from(&path, &format!("{path}/discard"), &[])
        .await
        .expect(303);
    assert_eq!(gone.header("location"), "/admin/incidents/1");
    operator.open(&path).await.expect(404);
    for table in ["notices", "notice_authors", "notice_approvals"] {
        assert_eq!(env.count(table), 0, "{table}");
    }
    let events = app.all("/api/v1/audit?action=notice.discarded").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["before"]["phase"], "detection");
    // A notice that was sent stays.
    let sent = app.draft(&incident, "detection").await;
    let digest = app.digest(&sent).await;
    app.as_role(&app.token("approver").await)
        .approve(&sent, &digest)
        .await
        .expect(200);
    app.send(&sent, &digest).await.expect(202);
    app.done(&sent).await;
    let refused = app.delete(&format!("/api/v1/notices/{sent}")).await.expect(409);
    assert_eq!(refused["code"], "not_a_draft");
    operator
        .send_from(
            "/admin/incidents/1",
            &format!("/admin/notices/{sent}/discard"),
            &[],
        )
        .await
        .expect(409);
    // Not even by hand.
    assert!(env.sql("DELETE FROM notice_authors").is_err());
    assert!(
        env.sql(&format!(
            "INSERT INTO discarded_notices (notice_id, incident_id, at) VALUES ('{sent}', '{incident}', 0)"
        ))
        .is_err()
    );
    app.as_role(&app.token("viewer").await)
        .delete(&format!("/api/v1/notices/{sent}"))
        .await
        .expect(403);
    app.finish().await;
}

async fn files_say_who_got_it_and_who_did_not(env: Env) {
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(|mail| {
            match mail.recipient.starts_with("person-2@") {
                true => Decision::Permanent("550 5.7.1 refused".to_owned()),
                false => Decision::Accept,
            }
        }))
        .start()
        .await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let (_, notice) = app.tell_crowd(crowd(3)).await;
    app.done(&notice).await;
    let path = format!("/admin/notices/{notice}");
    let page = viewer.page(&path).await;
    shows(
        &page,
        &[
            "Got it",
            "Did not get it",
            "1 failed",
            "?state&#x3D;failed#deliveries",
        ],
    );
    hides(&page, &["Send again", "/api/v1/"]);
    let got = viewer.open(&format!("{path}/got")).await.expect(200);
    assert!(got.header("content-type").starts_with("text/csv"));
    assert!(got.header("content-disposition").contains("got-it.csv"));
    let lines: Vec<&str> = got.text.lines().collect();
    assert_eq!(lines[0], "person,name,address,state,sent_at,reason");
    assert_eq!(lines.len(), 3);
    assert!(
        lines[1].starts_with("person-1,Person 1,person-1@crowd.example,sent,2"),
        "{lines:?}"
    );
    let not = viewer.open(&format!("{path}/not")).await.expect(200);
    let lines: Vec<&str> = not.text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[1].starts_with("person-2,Person 2,person-2@crowd.example,failed,"),
        "{lines:?}"
    );
    app.finish().await;
}

async fn an_approver_sees_what_changed(env: Env) {
    let app = TestApp::builder(&env).max_audience(2).start().await;
    let (operator, approver) = (
        Browser::signed_in(&app, &app.token("operator").await).await,
        Browser::signed_in(&app, &app.token("approver").await).await,
    );
    app.import(crowd(4)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app
        .as_role(&app.token("operator").await)
        .post(
            &format!("/api/v1/incidents/{incident}/notices"),
            json!({"phase": "detection", "message": "First line.\nSecond line."}),
        )
        .await
        .expect(201)
        .id();
    let path = format!("/admin/notices/{notice}");
    let page = operator.page(&path).await;
    shows(&page, &["Ask for approval"]);
    hides(&page, &["Send to 4 people"]);
    let digest = app.digest(&notice).await;
    let ask = format!("{path}/ask-for-approval");
    operator
        .send_from(&path, &ask, &[("digest", &digest)])
        .await
        .expect(303);
    hides(&operator.page(&path).await, &["Ask for approval<"]);
    let page = approver.page(&path).await;
    shows(
        &page,
        &[
            "asked for an approval",
            ">Approve</button>",
            "The text is the same.",
        ],
    );
    // The text and the list change.
    app.import(crowd(5)).await.expect(200);
    app.patch(
        &format!("/api/v1/notices/{notice}"),
        json!({"message": "First line.\nAnother line."}),
    )
    .await
    .expect(200);
    let stale = approver
        .send_from(
            "/admin/incidents/1",
            &format!("{path}/approve"),
            &[("digest", &digest)],
        )
        .await
        .expect(409);
    shows(
        &stale.text,
        &["The list changed since you looked: 1 person added, 0 dropped."],
    );
    let page = approver.page(&path).await;
    shows(
        &page,
        &[
            "The list or the text changed since.",
            "removed: </span>Second line.",
            "added: </span>Another line.",
            "The list changed: 1 person added, 0 dropped.",
        ],
    );
    let changes = app
        .get(&format!("/api/v1/notices/{notice}/changes"))
        .await
        .expect(200);
    let changes: Value = serde_json::from_str(&changes.text).expect("a list");
    assert_eq!(changes[0]["since"], "asked");
    assert_eq!(changes[0]["recipients"], 4);
    assert_eq!(changes[0]["texts"][0]["field"], "message");
    let digest = app.digest(&notice).await;
    approver
        .send_from(&path, &format!("{path}/approve"), &[("digest", &digest)])
        .await
        .expect(303);
    // It needs no further approval.
    operator
        .send_from(&path, &ask, &[("digest", &digest)])
        .await
        .expect(409);
    operator
        .send_from(&path, &format!("{path}/send"), &at_once(&digest))
        .await
        .expect(303);
    app.done(&notice).await;
    app.finish().await;
}

/// The fields of the form with which a notice is written.
const TEXT: [(&str, &str); 11] = [
    ("phase", "detection"),
    ("headline", "Some files <cannot> be opened"),
    ("message", "We look into it."),
    ("customer_action", "unsaid"),
    ("to_do", ""),
    ("next_update", "at"),
    ("next_update_due_at", ""),
    ("time_zone", "UTC"),
    ("roles", "owner"),
    ("collaborators", "all"),
    ("contacts", "shared\r\noperations"),
];

fn with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = TEXT.to_vec();
    for (name, value) in changes {
        for field in fields.iter_mut().filter(|field| field.0 == *name) {
            field.1 = value;
        }
    }
    fields
}

async fn the_email_is_shown_while_it_is_written(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    app.story_incident().await;
    let write = "/admin/incidents/1/write";
    let page = operator.page(write).await;
    shows(
        &page,
        &[
            "value=\"detection\" selected",
            "Save and check",
            "Start from a suggested text",
        ],
    );
    let begun = operator
        .page(&format!("{write}?phase=update&start=suggested"))
        .await;
    shows(
        &begun,
        &["value=\"update\" selected", "[What is new since the last email.]"],
    );
    operator
        .open(&format!("{write}?phase=nonsense"))
        .await
        .expect(422);
    let shown = operator
        .send_from(write, &format!("{write}/preview"), &TEXT)
        .await
        .expect(200);
    shows(
        &shown.text,
        &["We look into it.", "Some files &lt;cannot&gt; be opened"],
    );
    assert!(shown.header("content-security-policy").contains("sandbox"));
    let empty = operator
        .send_from(write, &format!("{write}/preview"), &with(&[("message", "")]))
        .await
        .expect(200);
    shows(&empty.text, &["The email appears here"]);
    assert_eq!(env.count("notices"), 0);
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    viewer.open(write).await.expect(403);
    viewer.send(&format!("{write}/preview"), &TEXT).await.expect(403);
    app.finish().await;
}

async fn the_next_update_is_chosen_by_its_distance(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    app.story_incident().await;
    let write = "/admin/incidents/1/write";
    let both = with(&[
        ("next_update", "PT1H"),
        ("next_update_due_at", "2024-03-14T09:00"),
    ]);
    let wrong = operator.send_from(write, write, &both).await.expect(422);
    shows(&wrong.text, &["e-notice-next_update_due_at", "must be empty"]);
    let made = operator
        .send_from(write, write, &with(&[("next_update", "PT1H")]))
        .await
        .expect(303);
    let at = made.header("location").to_owned();
    let notice = app.notice(at.trim_start_matches("/admin/notices/")).await;
    assert_eq!(notice["next_update_due_at"], "2024-03-14T08:00:00Z");
    shows(
        &operator.page(&format!("{at}/write")).await,
        &["2024-03-14T08:00", "We look into it."],
    );
    app.finish().await;
}

async fn failed_emails_are_sent_again_on_the_page(env: Env) {
    let refuses = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let asked = refuses.clone();
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(move |_| {
            match asked.load(std::sync::atomic::Ordering::SeqCst) {
                true => Decision::Permanent("550 5.7.1 refused".to_owned()),
                false => Decision::Accept,
            }
        }))
        .start()
        .await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let (_, notice) = app.tell_crowd(crowd(3)).await;
    app.done(&notice).await;
    let path = format!("/admin/notices/{notice}");
    let page = operator.page(&path).await;
    shows(&page, &["Send 3 failed emails again", "Send again<span"]);
    refuses.store(false, std::sync::atomic::Ordering::SeqCst);
    let one = app.deliveries(&notice).await[0]["id"].to_string();
    let resend = format!("/admin/deliveries/{one}/resend");
    operator.send_from(&path, &resend, &[]).await.expect(303);
    app.mails(1).await;
    app.done(&notice).await;
    operator.send_from(&path, &resend, &[]).await.expect(409);
    operator
        .send_from(&path, &format!("{path}/resend-failed"), &[])
        .await
        .expect(303);
    app.mails(3).await;
    app.done(&notice).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    viewer.send(&resend, &[]).await.expect(403);
    app.finish().await;
}

async fn a_late_person_gets_a_catch_up_from_the_page(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let (_, notice) = app.tell_crowd(crowd(3)).await;
    app.done(&notice).await;
    let path = format!("/admin/notices/{notice}");
    operator
        .send_from("/admin/incidents/1", &format!("{path}/catch-up"), &[])
        .await
        .expect(422);
    app.import(crowd(4)).await.expect(200);
    let page = operator.page(&path).await;
    shows(&page, &["Write the same notice to 1 person"]);
    hides(&page, &["curl"]);
    let made = operator
        .send_from(&path, &format!("{path}/catch-up"), &[])
        .await
        .expect(303);
    let draft = made.header("location").to_owned();
    shows(&operator.page(&draft).await, &["Send to 1 person"]);
    app.finish().await;
}

async fn break_glass_is_not_wasted(env: Env) {
    let app = TestApp::builder(&env).max_audience(2).start().await;
    let incident = app.story_incident().await;
    let notice = drafted(
        &app,
        &incident,
        json!({"phase": "detection", "message": "We found [what happened]."}),
    )
    .await;
    let digest = app.digest(&notice).await;
    let glass = format!("/api/v1/notices/{notice}/break-glass");
    let said = json!({"digest": digest, "reason": "Nobody can be reached."});
    let refused = app.post(&glass, said).await.expect(422);
    assert_eq!(refused["code"], "placeholder_text");
    assert_eq!(env.count("notice_approvals"), 0);
    app.finish().await;
}

async fn continuing_without_a_number_waits_for_the_wave(env: Env) {
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let hold = permits.clone();
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(move |_| Decision::Hold(hold.clone())))
        .start()
        .await;
    app.import(crowd(20)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let digest = app.digest(&notice).await;
    let waves = json!({"digest": digest, "waves": [{"people": 2}, {"people": 2}, {"rest": true}]});
    app.post(&format!("/api/v1/notices/{notice}/send"), waves)
        .await
        .expect(202);
    let next = format!("/api/v1/notices/{notice}/continue");
    let refused = app.post(&next, json!({})).await.expect(409);
    assert_eq!(refused["code"], "name_the_wave");
    // The page says that the others wait, and not that they are being sent.
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let page = viewer.page(&format!("/admin/notices/{notice}")).await;
    shows(&page, &["2 still sending", "18 waiting for a later wave"]);
    app.post(&next, json!({"wave": 2})).await.expect(202);
    app.post(&next, json!({"wave": 2})).await.expect(409);
    permits.add_permits(1_000);
    app.post(&next, json!({"wave": 3})).await.expect(202);
    app.done(&notice).await;
    app.finish().await;
}

async fn an_account_without_an_affected_resource_is_named(env: Env) {
    let app = TestApp::start(&env).await;
    let lines = [
        json!({"kind": "account", "id": "aside", "name": "Aside Ltd"}),
        json!({"kind": "person", "id": "zed", "name": "Zed", "email": "zed@aside.example"}),
        json!({"kind": "member", "account": "aside", "person": "zed", "role": "owner"}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let incident = app.story_incident().await;
    app.import(lines).await.expect(200);
    let notice = app.draft(&incident, "detection").await;
    let warnings = async || app.preview(&notice).await.expect(200)["warnings"].to_string();
    assert!(!warnings().await.contains("without an affected resource"));
    app.post(
        &format!("/api/v1/incidents/{incident}/affected/people"),
        json!({"people": ["zed"]}),
    )
    .await
    .expect(200);
    let said = warnings().await;
    assert!(
        said.contains("1 account is on the list without an affected resource") && said.contains("Aside Ltd"),
        "{said}"
    );
    app.finish().await;
}

async fn who_did_not_get_it_is_counted_in_people(env: Env) {
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(|mail| match mail.recipient.starts_with("shared@") {
            true => Decision::Permanent("550 5.7.1 refused".to_owned()),
            false => Decision::Accept,
        }))
        .start()
        .await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let addresses = [
        "own@crowd.example",
        "shared@crowd.example",
        "shared@crowd.example",
    ];
    let (_, notice) = app.tell_crowd(crowd_at(addresses)).await;
    app.done(&notice).await;
    let page = viewer.page(&format!("/admin/notices/{notice}")).await;
    shows(
        &page,
        &[
            "Did not get it</div><div class=\"figure\">2</div>",
            ">2 failed</a>",
            "counted in emails",
            ">all emails <span class=\"number\">2</span>",
            ">failed <span class=\"number\">1</span>",
        ],
    );
    app.finish().await;
}

async fn an_approver_is_asked_by_email(env: Env) {
    let app = TestApp::builder(&env).max_audience(2).start().await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let on_call = json!({"name": "On call", "email": "on-call@ours.example", "events": ["drafted"]});
    app.post("/api/v1/operators", on_call).await.expect(201);
    app.import(crowd(4)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/admin/notices/{notice}");
    let digest = app.digest(&notice).await;
    operator
        .send_from(&path, &format!("{path}/ask-for-approval"), &[("digest", &digest)])
        .await
        .expect(303);
    let mail = app.mails(1).await.remove(0);
    assert_eq!(mail.to, "on-call@ours.example");
    shows(&mail.text, &["Approve it, or say what must change.", &path]);
    let messages = operator.page("/admin/operators").await;
    shows(&messages, &[&format!("<a href=\"{path}\"")]);
    app.finish().await;
}
