//! A correction goes to the people whom a notice may have reached and whom the incident does not affect, each once, and to nobody
//! else.

use std::sync::Arc;
use std::time::Duration;

use candor::demo::catcher::{Decision, Policy};
use candor::egress;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::browser::Browser;
use crate::support::receiver::Receiver;
use crate::support::story::{ACCOUNT, ADDRESSES, FILES};
use crate::support::{ADMIN_TOKEN, DEADLINE, Env, Mail, TestApp, on_both_databases, recipients, wait_until};

on_both_databases!(
    a_wrong_selector_is_corrected_for_those_who_got_the_email,
    whoever_may_have_got_it_gets_the_correction,
    two_corrections_at_once_reach_nobody_twice,
    systems_of_the_wrong_accounts_are_corrected_too,
    what_is_no_correction_is_refused,
    the_correction_is_drafted_on_the_page,
);

const CONNECTIONS: usize = 4;
const WRONG: usize = 12;

/// Returns a directory with two projects. The incident is about `right`, and the wrong selector matches both.
fn directory() -> String {
    let project = |id: &str| {
        json!({"kind": "resource", "type": "project", "id": id, "account": "crowd", "name": format!("Project {id}"),
               "labels": {"provider": "s3", "stage": id}})
    };
    let mut lines = vec![
        json!({"kind": "account", "id": "crowd", "name": "Crowd"}),
        project("right"),
        project("wrong"),
    ];
    let wrong = (1..=WRONG).map(|n| ("wrong", format!("wrong-{n}")));
    for (project, id) in [("right", "right-1".to_owned()), ("right", "right-2".to_owned())]
        .into_iter()
        .chain(wrong)
    {
        lines.push(json!({"kind": "person", "id": id, "name": format!("Person {id}"), "email": format!("{id}@crowd.example")}));
        lines.push(json!({"kind": "collaborator", "resource": {"type": "project", "id": project}, "person": id, "role": "editor"}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Removes everything that the incident of the story affects.
async fn affect_nobody(app: &TestApp, incident: &str) {
    for file in FILES {
        app.delete(&format!("/api/v1/incidents/{incident}/affected/file/{file}"))
            .await
            .expect(204);
    }
}

/// Drafts the correction of a notice in one step.
async fn correction(app: &TestApp, wrong: &str) -> String {
    let path = format!("/api/v1/notices/{wrong}/correction");
    let drafted = app.post(&path, json!({})).await.expect(201);
    assert_eq!(
        json!([drafted["phase"], drafted["state"], drafted["corrects"]]),
        json!(["correction", "draft", wrong])
    );
    drafted.id()
}

async fn correctable(app: &TestApp, notice: &str) -> Value {
    app.notice(notice).await["correctable"].clone()
}

fn sorted(mails: &[Mail]) -> Vec<String> {
    recipients(mails).into_iter().map(str::to_owned).collect()
}

async fn a_wrong_selector_is_corrected_for_those_who_got_the_email(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(move |_| Decision::Hold(Arc::clone(&hold))))
        .send_concurrency(CONNECTIONS)
        .start()
        .await;
    app.import(directory()).await.expect(200);
    let incident = app.incident(Vec::<(&str, &str)>::new()).await;
    let affected = format!("/api/v1/incidents/{incident}/affected");
    let selector =
        |label: &str, value: &str| json!({"selector": {"type": "project", "labels": {label: value}}});
    app.post(&affected, selector("provider", "s3")).await.expect(200);
    let notice = app.draft(&incident, "detection").await;
    assert_eq!(correctable(&app, &notice).await, 0, "a draft reached nobody");
    app.send_as_previewed(&notice).await;
    app.mails(CONNECTIONS).await;
    let stop = format!("/api/v1/notices/{notice}/stop");
    let (stopped, ()) = tokio::join!(app.post(&stop, json!({})), async {
        wait_until("the notice to be stopped", DEADLINE, async || {
            app.notice(&notice).await["state"] == "stopped"
        })
        .await;
        permits.add_permits(1_000);
    });
    stopped.expect(200);
    assert_eq!(correctable(&app, &notice).await, 0, "everybody is still affected");
    app.post(&format!("{affected}/remove"), selector("stage", "wrong"))
        .await
        .expect(200);

    let told = app.mails(CONNECTIONS).await;
    let mut wrongly = sorted(&told);
    wrongly.retain(|address| address.starts_with("wrong-"));
    assert!(!wrongly.is_empty() && wrongly.len() < WRONG, "{wrongly:?}");
    assert_eq!(correctable(&app, &notice).await, wrongly.len());
    let correction = correction(&app, &notice).await;
    let preview = app.preview(&correction).await.expect(200);
    assert_eq!(
        json!([preview["recipients"], preview["added"]]),
        json!([wrongly.len(), 0])
    );
    assert_eq!(preview["samples"][0]["to"], wrongly[0]);
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    let mails = app.mails(CONNECTIONS + wrongly.len()).await;
    assert_eq!(sorted(&mails[CONNECTIONS..]), wrongly);
    for mail in &mails[CONNECTIONS..] {
        let wrong = told
            .iter()
            .find(|wrong| wrong.to == mail.to)
            .expect("the wrong email");
        assert!(mail.subject.starts_with("Correction: "), "{}", mail.subject);
        for part in [&mail.flat(), &mail.html] {
            assert!(part.contains(&wrong.subject), "{part}");
            assert!(part.contains("does not affect you"), "{part}");
            assert!(part.contains("We are sorry."), "{part}");
            assert!(!part.contains("/answers/"), "{part}");
        }
    }
    // Nobody is corrected twice.
    assert_eq!(correctable(&app, &notice).await, 0);
    let again = self::correction(&app, &notice).await;
    let digest = app.digest(&again).await;
    app.send(&again, &digest).await.expect_problem(422);
    app.finish().await;
}

async fn whoever_may_have_got_it_gets_the_correction(env: Env) {
    let policy = Policy::new(|attempt| match (attempt.recipient, attempt.number) {
        // The email arrived, but Candor never learns it.
        ("baraka@sound-works.example", 1) => Decision::DropAfterData,
        ("baraka@sound-works.example", 2) => Decision::Permanent("550 refused".to_owned()),
        // The email surely did not arrive.
        ("wanjiru@nyota-films.example", 1) => Decision::Permanent("550 refused".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env)
        .smtp_policy(policy)
        .retry_schedule([Duration::from_millis(10)])
        .start()
        .await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    assert_eq!(
        app.addresses(&notice, "failed").await,
        ["baraka@sound-works.example", "wanjiru@nyota-films.example"]
    );
    let mails = app.mails(2).await;
    // A correction is not optional.
    let hers = mails
        .iter()
        .find(|mail| mail.to == ADDRESSES[0])
        .expect("an email");
    let link = hers.header("list-unsubscribe");
    let (_, token) = link.split_once("/unsubscribe/").expect("a link");
    app.anonymous()
        .post_raw(
            &format!("/unsubscribe/{}", token.trim_end_matches('>')),
            "application/x-www-form-urlencoded",
            "List-Unsubscribe=One-Click",
        )
        .await
        .expect(200);
    affect_nobody(&app, &incident).await;
    assert_eq!(correctable(&app, &notice).await, 2);
    let correction = correction(&app, &notice).await;
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    assert_eq!(
        recipients(&app.mails(4).await[2..]),
        ["amina@nyota-films.example", "baraka@sound-works.example"]
    );
    app.finish().await;
}

async fn two_corrections_at_once_reach_nobody_twice(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    affect_nobody(&app, &incident).await;
    let (first, second) = (correction(&app, &notice).await, correction(&app, &notice).await);
    let (one, other) = (app.digest(&first).await, app.digest(&second).await);
    let (one, other) = tokio::join!(app.send(&first, &one), app.send(&second, &other));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    // The other one has no recipients any more.
    assert_eq!(statuses, [202, 422]);
    assert_eq!(recipients(&app.mails(6).await[3..]), ADDRESSES);
    // Somebody who becomes affected before the correction is sent does not get it.
    app.affect(&incident, "file", FILES[0]).await;
    assert_eq!(correctable(&app, &notice).await, 0);
    app.finish().await;
}

async fn systems_of_the_wrong_accounts_are_corrected_too(env: Env) {
    let receiver = Receiver::start();
    let app = TestApp::builder(&env)
        .config(|config| config.webhook_allow = egress::Policy::Private)
        .start()
        .await;
    let incident = app.story_incident().await;
    app.post(
        &format!("/api/v1/accounts/{ACCOUNT}/endpoints"),
        json!({"url": receiver.url("/"), "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}),
    )
    .await
    .expect(201);
    let notice = app.tell(&incident, "detection").await;
    affect_nobody(&app, &incident).await;
    let correction = correction(&app, &notice).await;
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    let calls = receiver.requests(2).await;
    let said = calls[1].json();
    assert_eq!(
        json!([
            said["data"]["notice"]["phase"],
            said["data"]["notice"]["corrects"]
        ]),
        json!(["correction", notice])
    );
    // The account was corrected, so its system is not told of the end.
    app.resolve(&incident).await;
    let resolution = app.draft(&incident, "resolution").await;
    let preview = app.preview(&resolution).await.expect(200);
    assert_eq!(
        json!([preview["recipients"], preview["channels"]]),
        json!([0, {}])
    );
    app.finish().await;
}

async fn what_is_no_correction_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let draft = app.draft(&incident, "detection").await;
    let notice = app.tell(&incident, "detection").await;
    let other = app.incident([("file", FILES[0])]).await;
    let post = async |incident: &str, more: Value| {
        let mut body = json!({"phase": "correction", "message": "It was a mistake."});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        app.post(&format!("/api/v1/incidents/{incident}/notices"), body)
            .await
    };
    post(&incident, json!({})).await.expect_invalid("/corrects");
    post(&incident, json!({"phase": "update", "corrects": notice}))
        .await
        .expect_invalid("/corrects");
    post(&incident, json!({"corrects": draft}))
        .await
        .expect_invalid("/corrects");
    post(&other, json!({"corrects": notice}))
        .await
        .expect_invalid("/corrects");
    post(
        &incident,
        json!({"corrects": "0190c3a0-0000-7000-8000-000000000000"}),
    )
    .await
    .expect_invalid("/corrects");
    post(
        &incident,
        json!({"corrects": notice, "audience": {"roles": ["owner"]}}),
    )
    .await
    .expect_invalid("/audience");
    post(
        &incident,
        json!({"corrects": notice, "customer_action": {"required": true, "text": "Log in."}}),
    )
    .await
    .expect_invalid("/customer_action/required");
    let made = post(&incident, json!({"corrects": notice}))
        .await
        .expect(201)
        .id();
    app.patch(
        &format!("/api/v1/notices/{made}"),
        json!({"audience": {"roles": ["owner"]}}),
    )
    .await
    .expect_invalid("/audience");
    let correct = async |notice: &str, body: Value| {
        app.post(&format!("/api/v1/notices/{notice}/correction"), body)
            .await
    };
    correct(&draft, json!({})).await.expect_problem(409);
    correct(&notice, json!({"message": " "}))
        .await
        .expect_invalid("/message");
    let drafted = correct(&notice, json!({"message": "It was a mistake."}))
        .await
        .expect(201);
    assert_eq!(drafted["message"], "It was a mistake.");
    // A correction is neither corrected nor caught up nor sent again.
    affect_nobody(&app, &incident).await;
    app.send_as_previewed(&made).await;
    app.done(&made).await;
    for path in ["correction", "catch-up", "resend-failed"] {
        app.post(&format!("/api/v1/notices/{made}/{path}"), json!({}))
            .await
            .expect_problem(409);
    }
    app.finish().await;
}

async fn the_correction_is_drafted_on_the_page(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    let page = format!("/admin/notices/{notice}");
    let operator = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let text = "3 people got this notice and are not affected now";
    assert!(!operator.page(&page).await.contains("not affected now"));
    affect_nobody(&app, &incident).await;
    let shown = operator.page(&page).await;
    assert!(shown.contains(text) && shown.contains("We are sorry."), "{shown}");
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let shown = viewer.page(&page).await;
    assert!(shown.contains(text) && !shown.contains("/correction"), "{shown}");
    let path = format!("{page}/correction");
    let made = operator
        .send_from(&page, &path, &[("message", "It was a mistake.")])
        .await
        .expect(303);
    let shown = operator.page(made.header("location")).await;
    for text in ["Correction notice of #1", "It was a mistake.", "3 people"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let wrong = operator
        .send_from(&page, &path, &[("message", "")])
        .await
        .expect(422);
    assert!(wrong.text.contains("must not be empty"), "{}", wrong.text);
    app.finish().await;
}
