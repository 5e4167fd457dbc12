//! A notice is sent, stopped, held, continued and resumed on its page, without a script. What is sent is what the page showed: after
//! a change nothing is sent, and the page shows the new preview and says so. The roles are those of the API.

use std::sync::Arc;

use candor::demo::catcher::{Decision, Policy};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::browser::Browser;
use crate::support::{DEADLINE, Env, TestApp, crowd, on_both_databases, on_one_database, wait_until};

on_both_databases!(
    a_draft_is_sent_from_its_page,
    a_changed_list_is_not_sent,
    waves_are_held_and_continued_on_the_page,
);

on_one_database!(
    a_notice_is_stopped_and_resumed_on_its_page,
    a_missing_approval_leaves_out_the_form,
    only_operators_with_a_form_of_their_session_send,
);

/// The digest in the form of a page that shows a draft.
fn digest(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"digest\" value=\"").expect("a digest");
    rest.split('"').next().expect("a digest").to_owned()
}

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

/// Waits until the page contains this text, and returns it.
async fn shown(browser: &Browser, path: &str, text: &str) -> String {
    wait_until(text, DEADLINE, async || browser.page(path).await.contains(text)).await;
    browser.page(path).await
}

async fn a_draft_is_sent_from_its_page(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/admin/notices/{notice}");
    let page = operator.page(&path).await;
    shows(
        &page,
        &[
            "Send to 3 people",
            &format!("action=\"{path}/send\""),
            "<option value=\"at_once\" selected>",
        ],
    );
    hides(&page, &["/stop\"", "/resume\""]);
    let previewed = digest(&page);
    assert_eq!(previewed, app.digest(&notice).await);
    let sent = operator
        .send_from(
            &path,
            &format!("{path}/send"),
            &[("digest", &previewed), ("waves", "at_once"), ("pause", "manual")],
        )
        .await
        .expect(303);
    assert_eq!(sent.header("location"), path);
    let done = app.done(&notice).await;
    assert_eq!(json!([done["digest"], done["wave"]]), json!([previewed, null]));
    app.mails(3).await;
    hides(
        &operator.page(&path).await,
        &["Send to 3", "Stop sending", "Resume"],
    );
    // A second click sends nothing more.
    let again = operator
        .send_from(
            "/admin/incidents/1",
            &format!("{path}/send"),
            &[("digest", &previewed), ("waves", "at_once"), ("pause", "manual")],
        )
        .await;
    shows(&again.expect(409).text, &["Nothing was done: the notice is sent"]);
    let queued = app
        .all(&format!("/api/v1/audit?action=notice.queued&subject={notice}"))
        .await;
    assert_eq!(queued.len(), 1);
    assert_eq!(queued[0]["actor"]["name"], "a test's operator");
    app.finish().await;
}

async fn a_changed_list_is_not_sent(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    app.import(crowd(5)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/admin/notices/{notice}");
    let before = digest(&operator.page(&path).await);
    app.import(crowd(6)).await.expect(200);
    let fields = |digest: &str| {
        let [waves, pause] = [("waves", "at_once"), ("pause", "manual")];
        [("digest".to_owned(), digest.to_owned())]
            .into_iter()
            .chain([waves, pause].map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect::<Vec<_>>()
    };
    let with = fields(&before);
    let with: Vec<(&str, &str)> = with
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let refused = operator
        .send_from(&path, &format!("{path}/send"), &with)
        .await
        .expect(409);
    shows(
        &refused.text,
        &[
            "The list changed since you looked: 1 person added, 0 dropped.",
            "Send to 6 people",
        ],
    );
    let now = digest(&refused.text);
    assert_ne!(now, before);
    assert_eq!(app.notice(&notice).await["state"], "draft");
    // The form on this page sends the new list.
    let with = fields(&now);
    let with: Vec<(&str, &str)> = with
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    operator
        .send_from(&path, &format!("{path}/send"), &with)
        .await
        .expect(303);
    app.done(&notice).await;
    app.mails(6).await;
    app.finish().await;
}

async fn waves_are_held_and_continued_on_the_page(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    app.import(crowd(30)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/admin/notices/{notice}");
    let previewed = digest(&operator.page(&path).await);
    operator
        .send_from(
            &path,
            &format!("{path}/send"),
            &[("digest", &previewed), ("waves", "in_waves"), ("pause", "PT10M")],
        )
        .await
        .expect(303);
    let page = shown(&operator, &path, "The next wave begins at").await;
    shows(
        &page,
        &[
            "Wave 1 of 3",
            "2024-03-14T07:10:00Z",
            "Begin wave 2 of 3 now",
            "Hold after this wave",
            "Stop sending now",
        ],
    );
    app.mails(10).await;
    shows(
        &operator.page("/admin").await,
        &["20 emails are not sent yet. The next wave begins"],
    );
    shows(&page, &["It sends a part of 20 emails"]);
    operator
        .send_from(&path, &format!("{path}/hold"), &[("reason", "Look first")])
        .await
        .expect(303);
    // The notice waits for a person, and the first page says so.
    for first in ["/admin", "/admin/incidents/1"] {
        shows(
            &operator.page(first).await,
            &[
                "The detection is held: a test&#x27;s operator held it: Look first. 20 emails are not sent yet",
                &format!("href=\"{path}\">Review"),
            ],
        );
    }
    let needs = app.get("/api/v1/now").await.expect(200)["needs"].clone();
    assert_eq!(
        (&needs[0]["kind"], &needs[0]["count"]),
        (&serde_json::json!("wave"), &serde_json::json!(20)),
        "{needs}"
    );
    let page = operator.page(&path).await;
    shows(
        &page,
        &[
            "Held: the next wave does not begin automatically.",
            "a test&#x27;s operator held it",
        ],
    );
    hides(&page, &["Hold after this wave", "The next wave begins at"]);
    let next = format!("{path}/continue");
    operator
        .send_from(&path, &next, &[("wave", "2")])
        .await
        .expect(303);
    shown(&operator, &path, "Begin wave 3 of 3 now").await;
    let twice = operator
        .send_from(&path, &next, &[("wave", "2")])
        .await
        .expect(409);
    shows(
        &twice.text,
        &["Nothing was done: the next wave is wave 3, and not wave 2."],
    );
    operator
        .send_from(&path, &next, &[("wave", "x")])
        .await
        .expect(422);
    operator
        .send_from(&path, &next, &[("wave", "3")])
        .await
        .expect(303);
    app.done(&notice).await;
    app.mails(30).await;
    app.finish().await;
}

async fn a_notice_is_stopped_and_resumed_on_its_page(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(move |_| Decision::Hold(Arc::clone(&hold))))
        .send_concurrency(4)
        .start()
        .await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let (_, notice) = app.tell_crowd(crowd(30)).await;
    let path = format!("/admin/notices/{notice}");
    app.mails(4).await;
    let page = operator.page(&path).await;
    shows(&page, &["Stop sending now"]);
    hides(&page, &["Hold after this wave", "Begin wave"]);
    let stop = format!("{path}/stop");
    let (stopped, ()) = tokio::join!(operator.send_from(&path, &stop, &[]), async {
        wait_until("the notice to be stopped", DEADLINE, async || {
            app.notice(&notice).await["state"] == "stopped"
        })
        .await;
        permits.add_permits(100);
    });
    stopped.expect(303);
    let page = operator.page(&path).await;
    shows(&page, &["Resume and send to 26 people"]);
    hides(&page, &["Stop sending now"]);
    operator
        .send_from(&path, &format!("{path}/resume"), &[])
        .await
        .expect(303);
    app.done(&notice).await;
    app.mails(30).await;
    app.finish().await;
}

async fn a_missing_approval_leaves_out_the_form(env: Env) {
    let app = TestApp::builder(&env).max_audience(2).start().await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/admin/notices/{notice}");
    hides(&operator.page(&path).await, &["Send to 3 people"]);
    let digest = app.digest(&notice).await;
    let fields = [
        ("digest", digest.as_str()),
        ("waves", "at_once"),
        ("pause", "manual"),
    ];
    operator
        .send_from("/admin/incidents/1", &format!("{path}/send"), &fields)
        .await
        .expect(403);
    let approver = app.as_role(&app.token("approver").await);
    approver.approve(&notice, &digest).await.expect(200);
    shows(&operator.page(&path).await, &["Send to 3 people"]);
    operator
        .send_from(&path, &format!("{path}/send"), &fields)
        .await
        .expect(303);
    app.done(&notice).await;
    app.finish().await;
}

async fn only_operators_with_a_form_of_their_session_send(env: Env) {
    let app = TestApp::start(&env).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/admin/notices/{notice}");
    hides(
        &viewer.page(&path).await,
        &["Send to 3 people", "method=\"post\" action=\"/admin/notices"],
    );
    let digest = app.digest(&notice).await;
    let fields = [
        ("digest", digest.as_str()),
        ("waves", "at_once"),
        ("pause", "manual"),
    ];
    for what in ["send", "stop", "hold", "continue", "resume"] {
        let to = format!("{path}/{what}");
        viewer.send(&to, &fields).await.expect(403);
        // Without the key of the session.
        operator.send(&to, &fields).await.expect(403);
    }
    // A field that the form does not have, and words that it does not offer.
    for (wrong, status) in [
        (
            vec![
                ("digest", digest.as_str()),
                ("waves", "soon"),
                ("pause", "manual"),
            ],
            422,
        ),
        (
            vec![
                ("digest", digest.as_str()),
                ("waves", "in_waves"),
                ("pause", "PT1S"),
            ],
            422,
        ),
        (
            vec![
                ("digest", digest.as_str()),
                ("waves", "at_once"),
                ("pause", "manual"),
                ("x", "1"),
            ],
            422,
        ),
        (
            vec![("digest", ""), ("waves", "at_once"), ("pause", "manual")],
            409,
        ),
    ] {
        operator
            .send_from(&path, &format!("{path}/send"), &wrong)
            .await
            .expect(status);
    }
    assert_eq!(app.notice(&notice).await["state"], "draft");
    app.finish().await;
}
