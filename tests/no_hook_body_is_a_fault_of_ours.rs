//! Every request to a hook is answered with 202 or 422, and the service continues.

use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases, story_directory};

on_both_databases!(any_json_and_any_bytes_are_answered);

/// Words that the sources search for, and some difficult ones.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "alerts", "status", "firing", "resolved", "labels", "annotations", "startsAt", "endsAt", "fingerprint", "title",
            "text", "severity", "critical", "generatorURL", "https://example.com/\u{0}", "truncatedAlerts", "description", "summary",
            "/api/projects/savanna/media/interview", "/api/projects/\u{0}/media/x", "0001-01-01T00:00:00Z", "2024-03-14T06:56:00Z",
            "9999-12-31T23:59:59.999999999Z", "-009999-01-01T00:00:00Z", "2024-03-14T06:56:00", "\u{0}", "\u{1}\n", "", " ", "started_at",
            "project", "message", "state", "ok", "\u{202e}\u{200b}", "{{alert}}", "'; DROP TABLE alerts; --", "<script>",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z\\x00-\\x1f]{0,12}",
        1 => (1_usize..3_000).prop_map(|n| "ü".repeat(n)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => word().prop_map(Value::String),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Bodies that look like those of Alertmanager and of Candor's own mapping, with any values.
fn likely() -> impl Strategy<Value = Value> {
    let labels = prop_oneof![9 => prop::collection::btree_map(word(), word(), 1..4).prop_map(|map| json!(map)), 1 => value()];
    let status = prop_oneof![9 => prop::sample::select(vec!["firing", "resolved"]).prop_map(|word| json!(word)), 1 => value()];
    let time = || {
        let times = vec![
            "2024-03-14T06:56:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
            "-009999-01-01T00:00:00Z",
            "",
        ];
        prop_oneof![15 => prop::sample::select(times).prop_map(|time| json!(time)), 1 => value()]
    };
    let alert = (status, labels.clone(), labels, time(), time(), value(), value(), word()).prop_map(
        |(status, labels, annotations, starts, ends, fingerprint, url, title)| {
            json!({
                "status": status, "labels": labels, "annotations": annotations, "startsAt": starts, "endsAt": ends,
                "fingerprint": fingerprint, "generatorURL": url, "title": title, "severity": fingerprint, "link": url,
            })
        },
    );
    (prop::collection::vec(alert, 1..4), value(), value()).prop_map(|(alerts, truncated, other)| {
        let first = alerts[0].clone();
        let mut body =
            json!({"alerts": alerts, "truncatedAlerts": truncated, "externalURL": other, "status": "firing"});
        if let (Value::Object(body), Value::Object(first)) = (&mut body, first) {
            for (name, value) in first {
                body.entry(name).or_insert(value);
            }
        }
        body
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => likely().prop_map(|value| value.to_string().into_bytes()),
        2 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        // A body that was cut off, or with one changed byte.
        1 => (likely(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(value, at, byte)| {
            let mut bytes = value.to_string().into_bytes();
            let at = at.index(bytes.len());
            if byte < 128 { bytes.truncate(at) } else { bytes[at] = byte }
            bytes
        }),
    ]
}

async fn any_json_and_any_bytes_are_answered(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let rules = json!([
        {"field": "annotations.description", "pattern": "/api/projects/(?<project>[^/]+)/media/(?<media>[\\w-]+)"},
        {"field": "labels.project", "type": "project"},
        {"field": "title", "type": "media"},
    ]);
    let mapping = json!({"alerts": "/alerts", "title": "/title", "fingerprint": "/fingerprint", "labels": {"a": "/labels"}});
    let mut hooks = Vec::new();
    for new in [
        json!({"name": "a", "source": "alertmanager", "resource_rules": rules}),
        json!({"name": "b", "source": "generic", "resource_rules": rules}),
        json!({"name": "c", "source": "generic", "mapping": mapping}),
        json!({"name": "d", "source": "alertmanager", "open_incident": false}),
    ] {
        let made = app.post("/api/v1/integrations", new).await.expect(201);
        hooks.push(made["hook_url"].as_str().expect("a URL").to_owned());
    }
    // proptest runs its cases in its own thread, which asks this one to carry out each case.
    let (cases, mut asked) =
        tokio::sync::mpsc::unbounded_channel::<(Vec<u8>, std::sync::mpsc::Sender<Vec<u16>>)>();
    let runner = std::thread::spawn(move || {
        let runs = Runs {
            cases: 96,
            failure_persistence: None,
            max_shrink_iters: 300,
            ..Runs::default()
        };
        TestRunner::new(runs).run(&body(), |body| {
            let (answer, answered) = std::sync::mpsc::channel();
            cases.send((body.clone(), answer)).expect("the test is waiting");
            let statuses = answered.recv().expect("an answer");
            prop_assert!(
                statuses.iter().all(|status| [202, 422].contains(status)),
                "{statuses:?} to {:?}",
                String::from_utf8_lossy(&body)
            );
            Ok(())
        })
    });
    let mut taken = 0;
    while let Some((body, answer)) = asked.recv().await {
        let mut statuses = Vec::new();
        for hook in &hooks {
            statuses.push(
                app.anonymous()
                    .post_raw(hook, "application/json", body.clone())
                    .await
                    .status,
            );
        }
        taken += statuses.iter().filter(|status| **status == 202).count();
        // An error here means that the runner has stopped, and it reports this itself.
        let _ = answer.send(statuses);
    }
    if let Err(failed) = runner.join().expect("the runner's thread") {
        panic!("{failed}");
    }
    assert!(taken > 10, "only {taken} of these were alerts at all");
    // Everything that was accepted can be read again.
    let incidents = app.all("/api/v1/incidents?limit=500").await;
    app.all("/api/v1/alerts?limit=500").await;
    for incident in incidents.iter().take(50) {
        let id = incident["id"].as_str().expect("an id");
        for part in ["", "/timeline", "/affected", "/audience", "/metrics"] {
            app.get(&format!("/api/v1/incidents/{id}{part}"))
                .await
                .expect(200);
        }
    }
    app.finish().await;
}
