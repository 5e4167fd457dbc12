//! A recovered resource that is impaired again is a relapse. The timeline, the audit trail, the page Now and a message to operators say so.

use serde_json::json;

use crate::recovery_needs_evidence::{batch, counts, evidence, expect, line, started};
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    evidence_of_a_relapse_is_told_everywhere,
    an_older_observation_is_no_relapse,
    a_person_can_say_that_it_is_impaired_again,
);

const SIZE: &str = "642111856";
const ON_CALL: &str = "on-call@ours.example";

/// Starts with the files a and b recovered at 10:00.
async fn recovered(env: &Env) -> (TestApp, String) {
    let (app, recovery) = started(env).await;
    batch(&app, &recovery, "recovering", &["a", "b"])
        .await
        .expect(200);
    expect(env, &["a", "b"], &json!({"size": SIZE}));
    app.set_clock("2017-04-18T12:00:00Z");
    let at = "2017-04-18T10:00:00Z";
    let lines = ["a", "b"].map(|id| line(id, at, json!({"size": SIZE})));
    assert_eq!(
        evidence(&app, &recovery, &lines.concat()).await.expect(200)["recovered"],
        2
    );
    (app, recovery)
}

fn incident_of(recovery: &str) -> &str {
    recovery
        .trim_end_matches("/recovery")
        .rsplit('/')
        .next()
        .expect("an id")
}

async fn relapses_in_now(app: &TestApp) -> Vec<serde_json::Value> {
    let now = app.get("/api/v1/now").await.expect(200);
    let needs = now["needs"].as_array().expect("a list").iter();
    needs.filter(|need| need["kind"] == "relapsed").cloned().collect()
}

async fn evidence_of_a_relapse_is_told_everywhere(env: Env) {
    let (app, recovery) = recovered(&env).await;
    let incident = incident_of(&recovery).to_owned();
    assert!(relapses_in_now(&app).await.is_empty());
    let operator = json!({"name": "On call", "email": ON_CALL, "events": ["relapsed"]});
    app.post("/api/v1/operators", operator).await.expect(201);
    let wrong = line(
        "a",
        "2017-04-18T11:30:00Z",
        json!({"size": 0, "source": "nightly listing"}),
    );
    let taken = evidence(&app, &recovery, &wrong).await.expect(200);
    assert_eq!(
        (&taken["relapsed"], &taken["refused"][0]["code"]),
        (&json!(1), &json!("value_differs"))
    );
    assert_eq!(counts(&app, &recovery).await, [4, 0, 1]);
    let timeline = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
    let text = "1 recovered resource is impaired again (evidence from nightly listing)";
    assert_eq!(
        timeline.iter().filter(|entry| entry["text"] == text).count(),
        1,
        "{timeline:?}"
    );
    let events = app
        .all(&format!(
            "/api/v1/audit?incident={incident}&action=recovery.relapsed"
        ))
        .await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["after"]["relapsed"], 1);
    let needs = relapses_in_now(&app).await;
    assert_eq!(needs.len(), 1);
    assert_eq!(
        (&needs[0]["count"], &needs[0]["since"]),
        (&json!(1), &json!("2017-04-18T11:30:00Z"))
    );
    let page = app.admin_page("/admin").await;
    assert!(page.contains("1 recovered resource is impaired again"), "{page}");
    let page = app.admin_page("/admin/incidents/1").await;
    assert!(page.contains("1 recovered resource is impaired again"), "{page}");
    let mails = app.mails(1).await;
    assert_eq!(mails[0].to, ON_CALL);
    let messages = app.all("/api/v1/operators/messages").await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["event"], "relapsed");
    // Whoever recovers it again, needs no further reminder.
    batch(&app, &recovery, "recovering", &["a"]).await.expect(200);
    assert!(relapses_in_now(&app).await.is_empty());
    app.finish().await;
}

async fn an_older_observation_is_no_relapse(env: Env) {
    let (app, recovery) = recovered(&env).await;
    let older = line("a", "2017-04-18T09:59:59Z", json!({"size": 0}));
    let taken = evidence(&app, &recovery, &older).await.expect(200);
    assert_eq!(
        (&taken["relapsed"], &taken["refused"][0]["code"]),
        (&json!(0), &json!("evidence_too_old"))
    );
    assert_eq!(counts(&app, &recovery).await, [3, 0, 2]);
    app.finish().await;
}

async fn a_person_can_say_that_it_is_impaired_again(env: Env) {
    let (app, recovery) = recovered(&env).await;
    let said = batch(&app, &recovery, "impaired", &["a", "b", "c"])
        .await
        .expect(200);
    assert_eq!(said.json, json!({"changed": 0, "relapsed": 2, "unchanged": 1}));
    assert_eq!(counts(&app, &recovery).await, [5, 0, 0]);
    let needs = relapses_in_now(&app).await;
    assert_eq!(needs[0]["count"], 2);
    // Evidence from before that proves nothing any more.
    let before = line("a", "2017-04-18T11:00:00Z", json!({"size": SIZE}));
    let taken = evidence(&app, &recovery, &before).await.expect(200);
    assert_eq!(taken["refused"][0]["code"], "evidence_too_old");
    app.finish().await;
}
