//! By default, the alerts that Alertmanager and Grafana group are one incident, unless a rule says otherwise.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Answer, DEADLINE, Env, TestApp, eventually, on_both_databases};

on_both_databases!(
    a_group_is_one_incident_and_its_title_says_how_many,
    a_closed_incident_of_a_group_takes_nothing_in,
    a_rule_says_otherwise,
    no_word_for_long_is_shown,
    a_written_title_stays_when_the_group_comes_back,
    a_title_that_somebody_confirms_stays,
    a_written_title_stays_when_the_rule_is_gone,
    an_alert_that_fires_again_counts_once,
    forty_alerts_through_a_real_alertmanager_are_one_incident,
);

async fn hook(app: &TestApp, source: &str) -> (String, String) {
    let made = app
        .post("/api/v1/integrations", json!({"name": source, "source": source}))
        .await
        .expect(201);
    (made.id(), made["hook_url"].as_str().expect("a URL").to_owned())
}

fn alert(name: &str, n: usize, status: &str) -> Value {
    json!({"status": status, "fingerprint": format!("{name}-{n}"), "labels": {"alertname": name, "instance": format!("h{n}")},
        "annotations": {"summary": format!("{name} on h{n}")}, "startsAt": "2024-03-14T06:50:00Z",
        "endsAt": if status == "firing" { "0001-01-01T00:00:00Z" } else { "2024-03-14T06:55:00Z" }})
}

fn body(group: &str, alerts: &[Value]) -> Value {
    json!({"version": "4", "groupKey": group, "status": "firing", "receiver": "candor", "alerts": alerts})
}

async fn post(app: &TestApp, hook: &str, group: &str, alerts: &[Value]) -> Answer {
    app.anonymous().post(hook, body(group, alerts)).await.expect(202)
}

fn length(answer: &Answer, field: &str) -> usize {
    answer[field].as_array().expect("a list").len()
}

async fn a_group_is_one_incident_and_its_title_says_how_many(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    for source in ["alertmanager", "grafana"] {
        let (_, hook) = hook(&app, source).await;
        let first: Vec<Value> = (0..8).map(|n| alert("HighLatency", n, "firing")).collect();
        let opened = post(&app, &hook, "{}:{}", &first).await;
        assert_eq!(length(&opened, "opened"), 1, "{source}: {opened}");
        assert_eq!(opened["opened"][0]["title"], "HighLatency (8 alerts)");
        let incident = opened["opened"][0]["id"].as_str().expect("an id").to_owned();
        // Further alerts of the group with other names arrive in later bodies, and then all of them again.
        for name in ["DiskFull", "QueueLong", "ErrorRate", "CertExpiry"] {
            let more: Vec<Value> = (0..8).map(|n| alert(name, n, "firing")).collect();
            for _ in 0..2 {
                let attached = post(&app, &hook, "{}:{}", &more).await;
                assert_eq!(
                    (length(&attached, "opened"), length(&attached, "attached")),
                    (0, 1)
                );
            }
        }
        let shown = app
            .get(&format!("/api/v1/incidents/{incident}"))
            .await
            .expect(200);
        assert_eq!(shown["title"], "HighLatency and 4 others (40 alerts)");
        assert_eq!(
            (&shown["alerts"], &shown["alerts_received"]),
            (&json!(40), &json!(72))
        );
        let alerts = app
            .all(&format!("/api/v1/alerts?incident={incident}&limit=100"))
            .await;
        assert_eq!(alerts.len(), 40);
        assert_eq!(alerts[0]["group"], json!({"group_key": "{}:{}"}));
        // A title that a person wrote stays.
        app.patch(
            &format!("/api/v1/incidents/{incident}"),
            json!({"title": "The network is slow"}),
        )
        .await
        .expect(200);
        post(&app, &hook, "{}:{}", &[alert("Another", 1, "firing")]).await;
        let shown = app
            .get(&format!("/api/v1/incidents/{incident}"))
            .await
            .expect(200);
        assert_eq!(shown["title"], "The network is slow");
        // Another group is another incident, and so is the same group of another integration.
        assert_eq!(
            length(
                &post(&app, &hook, "{}:{a=\"b\"}", &[alert("B", 1, "firing")]).await,
                "opened"
            ),
            1
        );
        let other = self::hook(&app, source).await.1;
        assert_eq!(
            length(
                &post(&app, &other, "{}:{}", &[alert("B", 2, "firing")]).await,
                "opened"
            ),
            1
        );
        // A sender without groups and a single alert behave as before.
        let alone = post(
            &app,
            &other,
            "",
            &[alert("C", 1, "firing"), alert("C", 2, "firing")],
        )
        .await;
        assert_eq!(length(&alone, "opened"), 2);
        assert_eq!(alone["opened"][0]["title"], "C on h1");
    }
    app.finish().await;
}

async fn a_closed_incident_of_a_group_takes_nothing_in(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (_, hook) = hook(&app, "alertmanager").await;
    let opened = post(
        &app,
        &hook,
        "g",
        &[alert("A", 1, "firing"), alert("A", 2, "firing")],
    )
    .await;
    let first = opened["opened"][0]["id"].as_str().expect("an id").to_owned();
    post(
        &app,
        &hook,
        "g",
        &[alert("A", 1, "resolved"), alert("A", 2, "resolved")],
    )
    .await;
    let shown = app.get(&format!("/api/v1/incidents/{first}")).await.expect(200);
    assert_eq!(shown["status"], "monitoring");
    app.post(
        &format!("/api/v1/incidents/{first}/status"),
        json!({"status": "resolved"}),
    )
    .await
    .expect(200);
    let again = post(
        &app,
        &hook,
        "g",
        &[alert("A", 3, "firing"), alert("A", 4, "firing")],
    )
    .await;
    assert_eq!(length(&again, "opened"), 1, "{again}");
    assert_eq!(again["opened"][0]["earlier"], first.as_str());
    app.finish().await;
}

async fn a_rule_says_otherwise(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (id, hook) = hook(&app, "alertmanager").await;
    app.post(
        "/api/v1/alert-rules",
        json!({"name": "By name", "integration": id, "policy": "open", "group_by": ["labels.alertname"]}),
    )
    .await
    .expect(201);
    let alerts: Vec<Value> = ["A", "A", "B", "B"]
        .iter()
        .enumerate()
        .map(|(n, name)| alert(name, n, "firing"))
        .collect();
    assert_eq!(length(&post(&app, &hook, "g", &alerts).await, "opened"), 2);
    // An integration that opens no incidents opens no group.
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "x", "source": "alertmanager", "open_incident": false}),
        )
        .await
        .expect(201);
    let recorded = post(&app, made["hook_url"].as_str().expect("a URL"), "g", &alerts).await;
    assert_eq!(length(&recorded, "opened"), 0);
    app.finish().await;
}

async fn no_word_for_long_is_shown(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (_, hook) = hook(&app, "alertmanager").await;
    let opened = post(&app, &hook, "g", &[alert("A", 1, "firing")]).await;
    let incident = opened["opened"][0]["id"].as_str().expect("an id").to_owned();
    let newest = async |app: &TestApp| app.get("/api/v1/alerts?limit=1").await.expect(200).items()[0].clone();
    assert_eq!(newest(&app).await["no_word_since"], Value::Null);
    app.set_clock("2024-03-14T08:30:00Z");
    let alert_now = newest(&app).await;
    assert_eq!(alert_now["no_word_since"], "2024-03-14T07:00:00Z");
    assert_eq!(alert_now["last_received_at"], "2024-03-14T07:00:00Z");
    let page = app
        .admin_page(&format!("/admin/incidents/{incident}/alerts"))
        .await;
    assert!(page.contains("No message about this alert since"), "{page}");
    // A status change by a person ends it, and so does the end of the alert.
    post(&app, &hook, "g", &[alert("A", 1, "firing")]).await;
    assert_eq!(newest(&app).await["no_word_since"], Value::Null);
    app.finish().await;
}

/// A process that is killed at the end of the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn alertmanager() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|folder| {
            [
                folder.join("prometheus-alertmanager"),
                folder.join("alertmanager"),
            ]
        })
        .find(|file| file.is_file())
}

async fn forty_alerts_through_a_real_alertmanager_are_one_incident(env: Env) {
    let Some(program) = alertmanager() else {
        eprintln!("Alertmanager is not installed: forty alerts through a real one are not tested");
        return;
    };
    let app = TestApp::start(&env).await;
    let (id, hook) = hook(&app, "alertmanager").await;
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("alertmanager.yml");
    // These are its default settings, without waiting times.
    let text = format!(
        "route: {{receiver: candor, group_wait: 200ms, group_interval: 1s}}\nreceivers: [{{name: candor, webhook_configs: [{{url: '{hook}'}}]}}]\n"
    );
    std::fs::write(&settings, text).expect("its settings");
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let _running = Ends(
        Command::new(program)
            .arg(format!("--config.file={}", settings.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Alertmanager"),
    );
    eventually("Alertmanager to listen", DEADLINE, async || {
        TcpStream::connect(("127.0.0.1", port)).ok().map(|_| ())
    })
    .await;
    // Five names on eight hosts, in five messages.
    for name in ["HighLatency", "DiskFull", "QueueLong", "ErrorRate", "CertExpiry"] {
        let alerts: Vec<Value> = (0..8)
            .map(|n| json!({"labels": {"alertname": name, "instance": format!("h{n}")}, "annotations": {"summary": format!("{name} on h{n}")}}))
            .collect();
        let body = Value::from(alerts).to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let head = format!(
            "POST /api/v2/alerts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let incident = eventually("forty alerts to arrive", DEADLINE, async || {
        let incidents = app.all("/api/v1/incidents").await;
        let full = incidents.iter().any(|incident| incident["alerts"] == 40);
        (full || incidents.len() > 1).then(|| incidents.clone())
    })
    .await;
    assert_eq!(incident.len(), 1, "{incident:?}");
    assert!(
        incident[0]["title"]
            .as_str()
            .is_some_and(|title| title.ends_with("and 4 others (40 alerts)")),
        "{incident:?}"
    );
    let kept = app
        .get(&format!("/api/v1/integrations/{id}/bodies"))
        .await
        .expect(200);
    assert!(kept.items().iter().all(|body| body["accepted"] == true));
    app.finish().await;
}

async fn title(app: &TestApp, incident: &str) -> String {
    let shown = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    shown["title"].as_str().expect("a title").to_owned()
}

async fn write_title(app: &TestApp, incident: &str, title: &str) {
    app.patch(&format!("/api/v1/incidents/{incident}"), json!({"title": title}))
        .await
        .expect(200);
}

async fn status(app: &TestApp, incident: &str, status: &str) {
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": status}),
    )
    .await
    .expect(200);
}

/// The same alert, as it fires again at a later time.
fn again(name: &str, n: usize, began: &str) -> Value {
    let mut alert = alert(name, n, "firing");
    alert["startsAt"] = json!(began);
    alert
}

fn opened(answer: &Answer) -> String {
    answer["opened"][0]["id"]
        .as_str()
        .expect("an incident")
        .to_owned()
}

async fn a_written_title_stays_when_the_group_comes_back(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (_, hook) = hook(&app, "alertmanager").await;
    let first = opened(
        &post(
            &app,
            &hook,
            "g",
            &[alert("A", 1, "firing"), alert("A", 2, "firing")],
        )
        .await,
    );
    assert_eq!(title(&app, &first).await, "A (2 alerts)");
    post(
        &app,
        &hook,
        "g",
        &[alert("A", 1, "resolved"), alert("A", 2, "resolved")],
    )
    .await;
    status(&app, &first, "resolved").await;
    let second = opened(&post(&app, &hook, "g", &[alert("A", 3, "firing")]).await);
    post(&app, &hook, "g", &[alert("A", 3, "resolved")]).await;
    status(&app, &second, "resolved").await;
    // Somebody opens the first one again, with words of their own.
    status(&app, &first, "investigating").await;
    write_title(&app, &first, "The network is slow").await;
    let back = post(&app, &hook, "g", &[again("A", 1, "2024-03-14T06:58:00Z")]).await;
    assert_eq!(back["attached"][0]["id"], json!(first), "{back}");
    let more: Vec<Value> = (4..9).map(|n| alert("A", n, "firing")).collect();
    assert_eq!(
        post(&app, &hook, "g", &more).await["attached"][0]["id"],
        json!(first)
    );
    assert_eq!(title(&app, &first).await, "The network is slow");
    app.finish().await;
}

/// Sends two alerts of one name, and returns the incident that they open.
async fn of_two(app: &TestApp, hook: &str) -> String {
    let both = [alert("A", 1, "firing"), alert("A", 2, "firing")];
    opened(&post(app, hook, "g", &both).await)
}

async fn a_title_that_somebody_confirms_stays(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (_, hook) = hook(&app, "grafana").await;
    let incident = of_two(&app, &hook).await;
    // A change of something else leaves the title to the group.
    app.patch(
        &format!("/api/v1/incidents/{incident}"),
        json!({"severity": "minor", "summary": "Slow"}),
    )
    .await
    .expect(200);
    post(&app, &hook, "g", &[alert("A", 3, "firing")]).await;
    assert_eq!(title(&app, &incident).await, "A (3 alerts)");
    write_title(&app, &incident, "A (3 alerts)").await;
    post(&app, &hook, "g", &[alert("A", 4, "firing")]).await;
    let shown = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    assert_eq!(
        (&shown["title"], &shown["severity"], &shown["summary"]),
        (&json!("A (3 alerts)"), &json!("minor"), &json!("Slow"))
    );
    app.finish().await;
}

async fn a_written_title_stays_when_the_rule_is_gone(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (_, hook) = hook(&app, "alertmanager").await;
    let rule = json!({"name": "By name", "policy": "open", "group_by": ["labels.alertname"],
        "matchers": [{"field": "source", "is": "alertmanager"}]});
    let rule = app.post("/api/v1/alert-rules", rule).await.expect(201).id();
    let incident = of_two(&app, &hook).await;
    post(&app, &hook, "g", &[alert("A", 1, "resolved")]).await;
    write_title(&app, &incident, "Uploads fail").await;
    app.delete(&format!("/api/v1/alert-rules/{rule}"))
        .await
        .expect(204);
    post(&app, &hook, "g", &[again("A", 1, "2024-03-14T06:58:00Z")]).await;
    let joined = post(
        &app,
        &hook,
        "g",
        &[alert("A", 3, "firing"), alert("A", 4, "firing")],
    )
    .await;
    assert_eq!(joined["attached"][0]["id"], json!(incident), "{joined}");
    assert_eq!(title(&app, &incident).await, "Uploads fail");
    app.finish().await;
}

async fn an_alert_that_fires_again_counts_once(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (_, hook) = hook(&app, "alertmanager").await;
    let incident = of_two(&app, &hook).await;
    for began in ["2024-03-14T06:56:00Z", "2024-03-14T06:57:00Z"] {
        post(&app, &hook, "g", &[alert("A", 1, "resolved")]).await;
        post(&app, &hook, "g", &[again("A", 1, began)]).await;
    }
    assert_eq!(title(&app, &incident).await, "A (2 alerts)");
    post(
        &app,
        &hook,
        "g",
        &[alert("A", 3, "firing"), alert("A", 1, "firing")],
    )
    .await;
    assert_eq!(title(&app, &incident).await, "A (3 alerts)");
    app.finish().await;
}
