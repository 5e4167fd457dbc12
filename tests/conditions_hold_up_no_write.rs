//! Conditions of alert rules, silences and maintenance windows are matched before the transaction: nobody waits for
//! them but the sender, and what counts are the rules that are in force when the alert is stored.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Env, Http, TestApp, on_both_databases};

on_both_databases!(
    a_heavy_rule_holds_up_no_other_write,
    a_heavy_silence_holds_up_no_other_write,
    rules_that_change_while_an_alert_is_matched_count,
    a_silence_that_begins_while_an_alert_is_matched_counts,
    many_changes_of_rules_cost_no_alert,
    a_replay_is_matched_before_its_transaction,
    a_condition_on_a_replaced_fingerprint_is_matched_with_it,
    alerts_of_heartbeats_are_matched_too,
);

const NOW: &str = "2024-03-14T07:00:00Z";
const LATER: &str = "2024-03-14T09:00:00Z";
/// The length of the text that the heavy conditions examine.
const LENGTH: usize = 60_000;

async fn hook(app: &TestApp, source: &str) -> (String, String) {
    let new = json!({"name": source, "source": source});
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    (made.id(), made["hook_url"].as_str().expect("a URL").to_owned())
}

/// An expression that takes long with a text of [`LENGTH`] and matches nothing: each character makes a new state.
fn heavy(n: usize) -> Value {
    json!({"field": "text", "matches": format!("[ab]*a[ab]{{{}}}[^ab]", 200 + n)})
}

/// An alert of the source generic with a long text.
fn long(fingerprint: &str) -> Value {
    let mut seed = 7_u32;
    let text: String = (0..LENGTH)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if seed >> 31 == 0 { 'a' } else { 'b' }
        })
        .collect();
    json!({"fingerprint": fingerprint, "status": "firing", "title": fingerprint, "text": text})
}

fn short(fingerprint: &str) -> Value {
    json!({"fingerprint": fingerprint, "status": "firing", "title": fingerprint, "text": "short"})
}

async fn rule(app: &TestApp, name: &str, matchers: Vec<Value>, policy: &str) -> String {
    let new = json!({"name": name, "matchers": matchers, "policy": policy});
    app.post("/api/v1/alert-rules", new).await.expect(201).id()
}

/// Sends an alert that takes long to match, and other writes until it is answered. Gives its answer, how long it took,
/// how many other writes were done meanwhile, and how long the slowest of them took.
async fn beside(app: &TestApp, slow: &str, other: &str) -> (Answer, Duration, usize, Duration) {
    let began = Instant::now();
    let client: Http = app.anonymous();
    let sent = client.post(slow, long("heavy"));
    tokio::pin!(sent);
    let (mut writes, mut slowest) = (0_usize, Duration::ZERO);
    loop {
        let alert = short(&format!("light {writes}"));
        let at = Instant::now();
        let another = async {
            // Another alert, and a change that is none.
            app.anonymous().post(other, alert).await.expect(202);
            let new = json!({"title": "By hand", "severity": "minor"});
            app.post("/api/v1/incidents", new).await.expect(201);
        };
        tokio::pin!(another);
        tokio::select! {
            answer = &mut sent => {
                let took = began.elapsed();
                another.await;
                return (answer.expect(202), took, writes, slowest);
            }
            () = &mut another => {
                slowest = slowest.max(at.elapsed());
                writes += 1;
            }
        }
    }
}

fn assert_beside(took: Duration, writes: usize, slowest: Duration) {
    // The machine may be slow: what counts is the relation.
    assert!(took > Duration::from_millis(1_500), "{took:?} is not heavy");
    assert!(writes >= 3, "{writes} writes in {took:?}");
    assert!(slowest < took / 2, "a write took {slowest:?} of {took:?}");
}

async fn a_heavy_rule_holds_up_no_other_write(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, slow) = hook(&app, "generic").await;
    let (_, other) = hook(&app, "generic").await;
    for n in 0..200 {
        rule(&app, &format!("Heavy {n}"), vec![heavy(n)], "record").await;
    }
    let last = json!({"field": "text", "matches": "(?s).*"});
    let last = rule(&app, "All others", vec![last], "record").await;
    let (answer, took, writes, slowest) = beside(&app, &slow, &other).await;
    assert_beside(took, writes, slowest);
    let alerts = app.all("/api/v1/alerts").await;
    let light = alerts
        .iter()
        .find(|alert| alert["title"] == "light 0")
        .expect("the alert");
    assert_eq!((&light["rule"], &light["incident"]), (&json!(last), &Value::Null));
    // The time for one body was over before all rules were tried. A later rule takes the place of none of them: the
    // alert opens its incident, and says why.
    assert_eq!(answer["opened"].as_array().map(Vec::len), Some(1), "{answer}");
    let stored = alerts
        .iter()
        .find(|alert| alert["title"] == "heavy")
        .expect("the alert");
    assert_eq!(stored["rule"], Value::Null);
    assert!(
        stored["notes"].to_string().contains("took longer than 4 s"),
        "{}",
        stored["notes"]
    );
    app.finish().await;
}

async fn a_heavy_silence_holds_up_no_other_write(env: Env) {
    let app = TestApp::builder(&env).at(NOW).start().await;
    let (_, slow) = hook(&app, "generic").await;
    let (_, other) = hook(&app, "generic").await;
    for n in 0..120 {
        let (path, new) = if n % 2 == 0 {
            (
                "silences",
                json!({"matchers": [heavy(n)], "reason": "heavy", "until": LATER}),
            )
        } else {
            (
                "maintenance-windows",
                json!({"matchers": [heavy(n)], "name": "heavy", "until": LATER}),
            )
        };
        app.post(&format!("/api/v1/{path}"), new).await.expect(201);
    }
    let (answer, took, writes, slowest) = beside(&app, &slow, &other).await;
    assert_beside(took, writes, slowest);
    assert_eq!(answer["opened"].as_array().map(Vec::len), Some(1), "{answer}");
    app.finish().await;
}

/// Sends an alert that takes long to match, makes the changes meanwhile, and gives its answer.
async fn meanwhile(app: &TestApp, hook: &str, changes: impl Future<Output = ()>) -> Answer {
    let client = app.anonymous();
    let (answer, ()) = tokio::join!(client.post(hook, long("heavy")), changes);
    answer.expect(202)
}

async fn rules_that_change_while_an_alert_is_matched_count(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, hook) = hook(&app, "generic").await;
    // One heavy rule leaves time for a change, and is far from the limit for one body on a slow machine too.
    rule(&app, "Heavy", vec![heavy(0)], "record").await;
    let this = json!({"field": "title", "matches": "hea.y"});
    let last = rule(&app, "This one", vec![this.clone()], "open").await;
    let answer = meanwhile(&app, &hook, async {
        let new = json!({"name": "Only recorded", "matchers": [this], "policy": "record"});
        app.put(&format!("/api/v1/alert-rules/{last}"), new)
            .await
            .expect(200);
    })
    .await;
    assert_eq!(answer["opened"], json!([]), "{answer}");
    let alerts = app.all("/api/v1/alerts").await;
    assert_eq!(
        (alerts.len(), &alerts[0]["rule"], &alerts[0]["incident"]),
        (1, &json!(last), &Value::Null)
    );
    // A rule that was deleted a moment ago decides nothing, also where no alert has to wait.
    app.delete(&format!("/api/v1/alert-rules/{last}"))
        .await
        .expect(204);
    let answer = app.anonymous().post(&hook, short("heavy")).await.expect(202);
    assert_eq!(answer["opened"].as_array().map(Vec::len), Some(1), "{answer}");
    // The order counts, too.
    let one = json!({"field": "title", "is": "ordered"});
    let open = rule(&app, "Opens", vec![one.clone()], "open").await;
    let record = rule(&app, "Records", vec![one], "record").await;
    let rules = app.all("/api/v1/alert-rules").await;
    let mut ids: Vec<&Value> = rules.iter().map(|rule| &rule["id"]).collect();
    ids.retain(|id| **id != json!(record));
    ids.insert(
        0,
        rules
            .iter()
            .map(|rule| &rule["id"])
            .find(|id| **id == json!(record))
            .expect("it"),
    );
    app.post("/api/v1/alert-rules/order", json!({"rules": ids}))
        .await
        .expect(200);
    let answer = app.anonymous().post(&hook, short("ordered")).await.expect(202);
    assert_eq!(answer["opened"], json!([]), "{open}: {answer}");
    app.finish().await;
}

async fn a_silence_that_begins_while_an_alert_is_matched_counts(env: Env) {
    let app = TestApp::builder(&env).at(NOW).start().await;
    let (_, hook) = hook(&app, "generic").await;
    rule(&app, "Heavy", vec![heavy(0)], "record").await;
    let new = json!({"matchers": [{"field": "title", "is": "heavy"}], "reason": "We know", "until": LATER});
    let answer = meanwhile(&app, &hook, async {
        app.post("/api/v1/silences", new.clone()).await.expect(201);
    })
    .await;
    assert_eq!((&answer["opened"], &answer["silenced"]), (&json!([]), &json!(1)));
    // And one that was ended covers nothing from then on.
    let silence = app.all("/api/v1/silences").await[0]["id"]
        .as_str()
        .expect("an ID")
        .to_owned();
    app.post(&format!("/api/v1/silences/{silence}/end"), json!({}))
        .await
        .expect(200);
    let answer = app.anonymous().post(&hook, short("heavy")).await.expect(202);
    assert_eq!(answer["opened"].as_array().map(Vec::len), Some(1), "{answer}");
    app.finish().await;
}

async fn many_changes_of_rules_cost_no_alert(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, hook) = hook(&app, "generic").await;
    rule(&app, "Heavy", vec![heavy(0)], "record").await;
    let other = json!({"field": "title", "is": "other"});
    let changing = rule(&app, "Changing", vec![other.clone()], "record").await;
    let client = app.anonymous();
    let sent = client.post(&hook, long("heavy"));
    tokio::pin!(sent);
    let answer = loop {
        let new = json!({"name": "Changing", "matchers": [other], "policy": "record"});
        let path = format!("/api/v1/alert-rules/{changing}");
        let change = app.put(&path, new);
        tokio::pin!(change);
        tokio::select! {
            answer = &mut sent => {
                change.await.expect(200);
                break answer;
            }
            changed = &mut change => drop(changed.expect(200)),
        }
    };
    let answer = answer.expect(202);
    assert_eq!(answer["opened"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(env.count("alerts"), 1);
    app.finish().await;
}

async fn a_replay_is_matched_before_its_transaction(env: Env) {
    let app = TestApp::start(&env).await;
    let (id, slow) = hook(&app, "generic").await;
    let (_, other) = hook(&app, "generic").await;
    let answer = app.anonymous().post(&slow, long("heavy")).await.expect(202);
    assert_eq!(answer["opened"].as_array().map(Vec::len), Some(1), "{answer}");
    let body = app.all(&format!("/api/v1/integrations/{id}/bodies")).await[0]["id"].clone();
    for n in 0..200 {
        rule(&app, &format!("Heavy {n}"), vec![heavy(n)], "record").await;
    }
    let began = Instant::now();
    let path = format!("/api/v1/integrations/{id}/bodies/{body}/replay");
    let client = app.as_new("admin").await;
    let sent = client.post(&path, json!({}));
    tokio::pin!(sent);
    let (mut writes, mut slowest) = (0_usize, Duration::ZERO);
    let again = loop {
        let alert = short(&format!("light {writes}"));
        let at = Instant::now();
        let client = app.anonymous();
        let another = client.post(&other, alert);
        tokio::pin!(another);
        tokio::select! {
            answer = &mut sent => {
                another.await.expect(202);
                break answer;
            }
            done = &mut another => {
                done.expect(202);
                slowest = slowest.max(at.elapsed());
                writes += 1;
            }
        }
    };
    assert_beside(began.elapsed(), writes, slowest);
    let again = again.expect(202);
    assert_eq!(again["attached"].as_array().map(Vec::len), Some(1), "{again}");
    app.finish().await;
}

async fn a_condition_on_a_replaced_fingerprint_is_matched_with_it(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, hook) = hook(&app, "opsgenie").await;
    let by = json!({"field": "fingerprint", "matches": "dis."});
    let known = rule(&app, "Known", vec![by], "record").await;
    let send = async |alert: Value| {
        let body = json!({"action": "Create", "alert": alert});
        app.anonymous().post(&hook, body).await.expect(202)
    };
    let both = send(json!({"alertId": "a-1", "alias": "disk", "message": "Disk full"})).await;
    assert_eq!(both["opened"], json!([]), "{both}");
    // The ID alone leads to the same alert, whose fingerprint is known inside the transaction only.
    let only_id = send(json!({"alertId": "a-1", "message": "Disk full"})).await;
    assert_eq!(only_id["opened"], json!([]), "{only_id}");
    let alerts = app.all("/api/v1/alerts").await;
    assert_eq!(
        (alerts.len(), &alerts[0]["fingerprint"], &alerts[0]["rule"]),
        (1, &json!("disk"), &json!(known))
    );
    // What leads nowhere is matched as it is.
    let fresh = send(json!({"alertId": "a-2", "message": "Memory full"})).await;
    assert_eq!(fresh["opened"].as_array().map(Vec::len), Some(1), "{fresh}");
    app.finish().await;
}

async fn alerts_of_heartbeats_are_matched_too(env: Env) {
    let app = TestApp::builder(&env).at(NOW).start().await;
    let beat = async |name: &str| {
        let new = json!({"name": name, "every_seconds": 60, "grace_seconds": 10});
        let made = app.post("/api/v1/heartbeats", new).await.expect(201);
        let url = url::Url::parse(made["url"].as_str().expect("a URL")).expect("a URL");
        url.path().to_owned()
    };
    let (nightly, weekly, hourly) = (beat("nightly").await, beat("weekly").await, beat("hourly").await);
    let matcher = json!({"field": "title", "matches": ".*night.*"});
    let rule = rule(&app, "At night", vec![matcher], "record").await;
    let new = json!({"matchers": [{"field": "source", "is": "heartbeat"}, {"field": "title", "matches": ".*weekly"}],
        "reason": "We know", "until": LATER});
    let silence = app.post("/api/v1/silences", new).await.expect(201).id();
    for path in [&nightly, &weekly, &hourly] {
        app.anonymous().get(&format!("{path}/fail")).await.expect(200);
    }
    let alerts = app.all("/api/v1/alerts").await;
    let of = |name: &str| {
        let alert = alerts
            .iter()
            .find(|alert| alert["title"].to_string().contains(name));
        alert.expect("an alert").clone()
    };
    assert_eq!(
        (&of("nightly")["rule"], &of("nightly")["incident"]),
        (&json!(rule), &Value::Null)
    );
    assert_eq!(
        (&of("weekly")["silence"], &of("weekly")["incident"]),
        (&json!(silence), &Value::Null)
    );
    assert!(of("hourly")["incident"].is_string());
    app.finish().await;
}
