//! The hotfix that disabled 100 users. One wrong filter turned "all users to disable, but one" into "all users but one": 3,498
//! people instead of a handful. The script was stopped by hand after about 100 of them. At first, these people were told that
//! their access was restored, although they still had to accept an invitation.
//!
//! With Candor the wrong list is seen before anything is sent, a send that runs is stopped, those who were told by mistake get a
//! correction, and the answers show when people could work again.

use std::collections::BTreeSet;
use std::sync::Arc;

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{DEADLINE, Env, Http, Mail, TestApp, on_both_databases, wait_until};

on_both_databases!(
    the_wrong_list_is_seen_and_the_right_one_goes_out,
    a_wrong_send_is_stopped_and_corrected,
);

/// The users of the tool. Two of them have no licence.
const USERS: usize = 3_500;
/// Those that the wrong filter finds.
const WRONG: usize = 3_498;
/// Those who lost their access: the oldest users.
const DISABLED: usize = 100;
const CONNECTIONS: usize = 4;

const INVITE: &str = "Please accept the invitation that we sent to you.";
const ALL_LICENSED: &str = r#"{"account_labels": {"licence": {"exists": true}}}"#;
const THE_DISABLED: &str = r#"{"account_labels": {"access": "disabled"}}"#;

/// Each user has an account of their own. Their labels say whether they have a licence, and whether they lost their access.
fn users() -> String {
    let mut lines = Vec::with_capacity(USERS * 3);
    for n in 1..=USERS {
        let (account, person) = (format!("seat-{n}"), format!("user-{n}"));
        let mut labels = serde_json::Map::new();
        if n <= WRONG {
            labels.insert("licence".to_owned(), json!("developer"));
        }
        if n <= DISABLED {
            labels.insert("access".to_owned(), json!("disabled"));
        }
        lines.push(json!({"kind": "account", "id": account, "name": format!("Seat {n}"), "labels": labels}));
        lines.push(json!({"kind": "person", "id": person, "name": format!("User {n}"), "email": address(n)}));
        lines.push(json!({"kind": "member", "account": account, "person": person, "role": "owner"}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn address(n: usize) -> String {
    format!("user-{n}@corporation.example")
}

fn addresses(range: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    range.into_iter().map(address).collect()
}

fn recipients_of(mails: &[Mail]) -> BTreeSet<String> {
    mails.iter().map(|mail| mail.to.clone()).collect()
}

async fn person(app: &TestApp, name: &str, role: &str) -> Http {
    let made = app
        .post(
            "/api/v1/tokens",
            json!({"name": name, "role": role, "person": name}),
        )
        .await
        .expect(201);
    app.as_role(made["token"].as_str().expect("a token"))
}

async fn incident(by: &Http) -> String {
    let new = json!({"title": "Users were removed from the tool", "severity": "major"});
    let made = by.post("/api/v1/incidents", new).await.expect(201);
    format!("/api/v1/incidents/{}", made.id())
}

async fn affects(by: &Http, incident: &str, selector: &str) -> usize {
    let selector: Value = serde_json::from_str(selector).expect("JSON");
    let path = format!("{incident}/affected/people");
    let added = by.post(&path, json!({"selector": selector})).await.expect(200);
    usize::try_from(added["added"].as_u64().expect("a number")).expect("a number")
}

async fn affects_no_more(by: &Http, incident: &str, selector: &str) {
    let selector: Value = serde_json::from_str(selector).expect("JSON");
    let path = format!("{incident}/affected/people/remove");
    by.post(&path, json!({"selector": selector})).await.expect(200);
}

async fn draft(by: &Http, incident: &str, notice: Value) -> String {
    let made = by.post(&format!("{incident}/notices"), notice).await.expect(201);
    format!("/api/v1/notices/{}", made.id())
}

async fn preview(by: &Http, notice: &str) -> Value {
    by.get(&format!("{notice}/preview")).await.expect(200).json
}

async fn sent(app: &TestApp, by: &Http, notice: &str) {
    let digest = preview(by, notice).await["digest"].clone();
    by.post(&format!("{notice}/send"), json!({"digest": digest}))
        .await
        .expect(202);
    app.done(notice.rsplit('/').next().expect("an ID")).await;
}

async fn the_wrong_list_is_seen_and_the_right_one_goes_out(env: Env) {
    let app = TestApp::builder(&env).at("2021-10-06T12:00:00Z").start().await;
    app.import(users()).await.expect(200);
    let ana = person(&app, "Ana", "operator").await;
    let ben = person(&app, "Ben", "approver").await;
    let incident = incident(&ana).await;

    // The wrong filter finds nearly everybody, and says so before anybody is told.
    assert_eq!(affects(&ana, &incident, ALL_LICENSED).await, WRONG);
    let detection = json!({
        "phase": "detection",
        "message": "You were removed from the tool by mistake. We invite you back.",
        "customer_action": {"required": true, "text": INVITE},
    });
    let wrong = draft(&ana, &incident, detection.clone()).await;
    let seen = preview(&ana, &wrong).await;
    assert_eq!(seen["recipients"], WRONG);
    assert_eq!(seen["approval_required"], true);
    assert_eq!(
        seen["limits"][0],
        json!({"name": "recipients", "limit": 500, "value": WRONG})
    );
    let refused = ana
        .post(&format!("{wrong}/send"), json!({"digest": seen["digest"]}))
        .await
        .expect_problem(403);
    assert_eq!(refused["code"], "approval_required");
    // The second person sees the list and the number, and does not approve.
    assert_eq!(preview(&ben, &wrong).await["recipients"], WRONG);
    let listed = ben
        .get(&format!("{wrong}/recipients?q=user-3498"))
        .await
        .expect(200);
    assert_eq!(listed["items"][0]["address"], address(WRONG), "{listed}");
    assert_eq!(env.count("deliveries"), 0);
    app.mails(0).await;

    // The right filter finds those who lost their access, and needs no second person.
    affects_no_more(&ana, &incident, ALL_LICENSED).await;
    assert_eq!(affects(&ana, &incident, THE_DISABLED).await, DISABLED);
    let right = draft(&ana, &incident, detection).await;
    let seen = preview(&ana, &right).await;
    assert_eq!(
        (&seen["recipients"], &seen["approval_required"]),
        (&json!(DISABLED), &json!(false))
    );
    sent(&app, &ana, &right).await;
    let told = app.mails(DISABLED).await;
    assert_eq!(recipients_of(&told), addresses(1..=DISABLED));
    assert!(told[0].text.contains(INVITE), "{}", told[0].text);

    // "Access fully restored" is no message: it must say what is left to do.
    let restored = json!({"phase": "resolution", "message": "Your access is restored."});
    ana.post(&format!("{incident}/status"), json!({"status": "resolved"}))
        .await
        .expect(200);
    let problem = ana
        .post(&format!("{incident}/notices"), restored)
        .await
        .expect_problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/customer_action", "{problem}");
    let resolution = json!({
        "phase": "resolution",
        "message": "Your access is restored as soon as you accept the invitation.",
        "customer_action": {"required": true, "text": INVITE},
    });
    let resolution = draft(&ana, &incident, resolution).await;
    sent(&app, &ana, &resolution).await;
    assert_eq!(app.mails(2 * DISABLED).await.len(), 2 * DISABLED);

    // 5 answer within the first hour, 37 more within three days, 58 later or never.
    let answer = async |from: usize, to: usize| {
        for n in from..=to {
            let given = json!({"person": format!("user-{n}"), "answer": "works"});
            ana.post(&format!("{incident}/answers"), given).await.expect(201);
        }
    };
    app.set_clock("2021-10-06T12:30:00Z");
    answer(1, 5).await;
    app.set_clock("2021-10-08T12:00:00Z");
    answer(6, 42).await;
    app.set_clock("2021-10-12T12:00:00Z");
    answer(43, 50).await;
    let counts = ana.get(&format!("{incident}/answers")).await.expect(200);
    assert_eq!(
        json!([
            counts["counts"]["asked"],
            counts["counts"]["works"],
            counts["counts"]["none"]
        ]),
        json!([100, 50, 50])
    );
    let series = ana
        .get(&format!("{incident}/answers/series?step=PT1H"))
        .await
        .expect(200);
    let works_until = |at: &str| {
        let points = series.json.as_array().expect("a list");
        let until = points.iter().filter(|point| point["at"].as_str() <= Some(at));
        until
            .map(|point| point["works"].as_u64().expect("a number"))
            .max()
    };
    assert_eq!(works_until("2021-10-06T13:00:00Z"), Some(5), "{series}");
    assert_eq!(works_until("2021-10-09T12:00:00Z"), Some(42), "{series}");
    let late_or_never = DISABLED as u64 - works_until("2021-10-09T12:00:00Z").expect("a number");
    assert_eq!(late_or_never, 58);
    app.finish().await;
}

async fn a_wrong_send_is_stopped_and_corrected(env: Env) {
    let permits = Arc::new(Semaphore::new(DISABLED));
    let hold = Arc::clone(&permits);
    let app = TestApp::builder(&env)
        .at("2021-10-06T12:00:00Z")
        .smtp_policy(Policy::new(move |_| Decision::Hold(Arc::clone(&hold))))
        .send_concurrency(CONNECTIONS)
        .start()
        .await;
    app.import(users()).await.expect(200);
    let ana = person(&app, "Ana", "operator").await;
    let ben = person(&app, "Ben", "approver").await;
    let incident = incident(&ana).await;
    affects(&ana, &incident, ALL_LICENSED).await;
    let detection = json!({
        "phase": "detection",
        "message": "You were removed from the tool by mistake. We invite you back.",
        "customer_action": {"required": true, "text": INVITE},
    });
    let wrong = draft(&ana, &incident, detection).await;
    let digest = preview(&ben, &wrong).await["digest"].clone();
    // The second person approves by mistake, too.
    ben.post(&format!("{wrong}/approve"), json!({"digest": digest}))
        .await
        .expect(200);
    ana.post(&format!("{wrong}/send"), json!({"digest": digest}))
        .await
        .expect(202);

    // After about 100 emails somebody notices it. The mail server has answered a hundred, and on each connection one more waits.
    app.mails(DISABLED + CONNECTIONS).await;
    let stop = format!("{wrong}/stop");
    let (stopped, ()) = tokio::join!(ana.post(&stop, json!({})), async {
        wait_until("the notice to be stopped", DEADLINE, async || {
            ana.get(&wrong).await.expect(200)["state"] == "stopped"
        })
        .await;
        permits.add_permits(USERS);
    });
    let stopped = stopped.expect(200);
    let told = usize::try_from(stopped["sent"].as_u64().expect("a number")).expect("a number");
    assert_eq!(told, DISABLED + CONNECTIONS, "{stopped}");
    assert_eq!(stopped["not_sent"], WRONG - told);
    // The record says who they are, and the mail server agrees.
    let got = recipients_of(&app.mails(told).await);
    let id = wrong.rsplit('/').next().expect("an ID");
    let recorded: BTreeSet<String> = app.addresses(id, "sent").await.into_iter().collect();
    assert_eq!(recorded, got);

    // Nobody of them is affected but the first ten. The others get a correction, and nobody else.
    affects_no_more(&ana, &incident, ALL_LICENSED).await;
    let affected: Vec<String> = (1..=10).map(|n| format!("user-{n}")).collect();
    ana.post(
        &format!("{incident}/affected/people"),
        json!({"people": affected}),
    )
    .await
    .expect(200);
    let correction = json!({
        "phase": "correction", "corrects": id,
        "message": "We told you that you were removed. That was wrong: your access never changed.",
    });
    let correction = draft(&ana, &incident, correction).await;
    let expected: BTreeSet<String> = got
        .iter()
        .filter(|address| !addresses(1..=10).contains(*address))
        .cloned()
        .collect();
    let seen = preview(&ana, &correction).await;
    assert_eq!(seen["recipients"], expected.len());
    sent(&app, &ana, &correction).await;
    let mails = app.mails(told + expected.len()).await;
    assert_eq!(recipients_of(&mails[told..]), expected);

    // Whoever was corrected hears no end of it.
    ana.post(&format!("{incident}/status"), json!({"status": "resolved"}))
        .await
        .expect(200);
    let resolution = json!({
        "phase": "resolution",
        "message": "Your access is restored as soon as you accept the invitation.",
        "customer_action": {"required": true, "text": INVITE},
    });
    let resolution = draft(&ana, &incident, resolution).await;
    let seen = preview(&ana, &resolution).await;
    assert_eq!(seen["recipients"], 10, "{seen}");
    app.finish().await;
}
