//! A listing of what should be there is compared with a listing of what is there. Each difference is a finding, findings become
//! affected, and a newer listing proves what is recovered.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::comparisons::{compared, created, directory, found, of_files, ran, uploaded};
use crate::support::{DEADLINE, Env, TestApp, on_both_databases, wait_until};

on_both_databases!(
    each_difference_is_a_finding_of_its_kind,
    the_window_contains_its_beginning_and_not_its_end,
    times_may_differ_by_the_tolerance,
    what_cannot_be_compared_is_said_and_not_counted_as_different,
    findings_become_affected_with_their_reason,
    a_dry_run_counts_and_changes_nothing,
    what_the_directory_does_not_know_is_counted_and_listed,
    a_resource_is_found_by_its_label,
    people_are_compared_too,
    thousands_are_impaired_since_they_were_written,
    a_newer_listing_is_the_evidence_of_recovery,
    a_resource_of_several_rows_recovers_when_all_of_them_fit,
    stale_findings_are_not_applied,
    a_comparison_is_discarded_until_it_was_applied,
    a_wrong_definition_names_each_wrong_field,
    lines_that_cannot_be_read_are_counted_and_shown,
    a_packed_listing_is_unpacked,
    an_operator_compares_and_a_viewer_looks,
    findings_have_pages_and_runs_are_kept,
    it_is_done_on_pages,
);

const START: &str = "2017-04-17T12:00:00Z";

/// The listing of what should be there, in the format of the story.
const EXPECTED: &str = "a\tu-a\t642111856\tfalse\t2017-03-01T10:00:00Z\t2017-03-01T10:00:00Z\n\
                        b\tu-b\t100\tfalse\t2017-03-02T10:00:00Z\t2017-03-02T10:00:00Z\n\
                        c\tu-c\t300\tfalse\t2017-03-03T10:00:00Z\t2017-03-03T10:00:00Z\n\
                        d\tu-d\t400\ttrue\t2017-03-04T10:00:00Z\t2017-03-04T10:00:00Z\n\
                        e\tu-e\t500\tfalse\t2017-03-05T10:00:00Z\t2017-03-05T10:00:00Z\n\
                        e\tu-e\t500\tfalse\t2017-03-05T10:00:00Z\t2017-03-05T10:00:00Z\n\
                        f\tu-f\t600\tfalse\t2016-01-01T10:00:00Z\t2016-01-01T10:00:00Z\n\
                        g\tu-g\t700\tfalse\t2017-03-07T10:00:00Z\t2017-03-07T10:00:00Z\n";
/// The listing of what is there.
const OBSERVED: &str = "c\t300\na\t0\ng\t842354926880\nx\t1\ne\t500\n";

async fn started(env: &Env, files: &[(&str, &str)]) -> (TestApp, String) {
    let app = TestApp::builder(env).at(START).start().await;
    app.import(directory(files)).await.expect(200);
    let incident = app
        .post(
            "/api/v1/incidents",
            json!({"title": "Empty files", "severity": "major", "started_at": "2017-02-22T00:00:00Z"}),
        )
        .await
        .expect(201)
        .id();
    (app, incident)
}

const FILES: [(&str, &str); 6] = [
    ("a", "acme"),
    ("b", "acme"),
    ("c", "beta"),
    ("g", "beta"),
    ("e", "beta"),
    ("other", "gamma"),
];

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn window() -> Value {
    with(
        of_files(),
        "window",
        json!({"from": "2017-02-22T00:00:00Z", "to": "2017-04-18T00:00:00Z"}),
    )
}

fn row(
    key: &str,
    expected: Option<&str>,
    observed: Option<&str>,
) -> (String, Option<String>, Option<String>) {
    (
        key.to_owned(),
        expected.map(str::to_owned),
        observed.map(str::to_owned),
    )
}

/// Returns the affected resources as `type id source`.
async fn affected(app: &TestApp, incident: &str) -> Vec<String> {
    let items = app.all(&format!("/api/v1/incidents/{incident}/affected")).await;
    let text = |one: &Value| {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!(
            "{} {} {}",
            word(&one["resource"]["type"]),
            word(&one["resource"]["id"]),
            word(&one["source"])
        )
    };
    items.iter().map(text).collect()
}

async fn each_difference_is_a_finding_of_its_kind(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = created(&app, &incident, window()).await;
    let uploads = uploaded(&app, &path, "expected", EXPECTED).await.expect(200);
    assert_eq!(
        (&uploads["rows"], &uploads["rejected"]),
        (&json!(8), &json!(0)),
        "{uploads}"
    );
    let counts = compared(&app, &path, EXPECTED, OBSERVED).await;
    assert_eq!(
        counts,
        json!({
            "expected": 8, "observed": 5, "equal": 1, "missing": 1, "differs": 2, "unexpected": 1, "duplicate": 1,
            "incomparable": 0, "gone": 1, "outside_window": 1, "unknown_resources": 1,
        })
    );
    assert_eq!(found(&app, &path, "missing").await, [row("b", Some("100"), None)]);
    assert_eq!(
        found(&app, &path, "differs").await,
        [
            row("a", Some("642111856"), Some("0")),
            row("g", Some("700"), Some("842354926880"))
        ]
    );
    assert_eq!(
        found(&app, &path, "unexpected").await,
        [row("x", None, Some("1"))]
    );
    assert_eq!(
        found(&app, &path, "duplicate").await,
        [row("e", Some("lines 5, 6"), Some("line 5"))]
    );
    assert_eq!(found(&app, &path, "gone").await, [row("d", Some("400"), None)]);
    assert_eq!(
        found(&app, &path, "outside_window").await,
        [row("f", Some("600"), None)]
    );
    let shown = app.get(&path).await.expect(200);
    let again = compared(&app, &path, EXPECTED, OBSERVED).await;
    assert_eq!(again, counts, "the same listings give the same result");
    let second = app.get(&path).await.expect(200);
    assert_eq!(shown["inputs"], second["inputs"]);
    assert_eq!(shown["inputs"]["observed"], sha256(OBSERVED));
    assert_eq!(second["run"]["number"], 2);
    app.finish().await;
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn the_window_contains_its_beginning_and_not_its_end(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let body = with(
        of_files(),
        "window",
        json!({"from": "2017-02-22T02:00:00+02:00", "to": "2017-04-17T00:00:00Z"}),
    );
    let path = created(&app, &incident, body).await;
    let written = |key: &str, at: &str| format!("{key}\tu\t1\tfalse\t{at}\t{at}\n");
    let expected: String = [
        ("before", "2017-02-21T23:59:59.999999Z"),
        ("at-from", "2017-02-22T00:00:00Z"),
        ("inside", "2017-03-01T00:00:00Z"),
        ("just-inside", "2017-04-17T01:59:59.999999+02:00"),
        ("at-to", "2017-04-17T00:00:00Z"),
        ("later", "2017-05-01T00:00:00Z"),
        ("never", ""),
    ]
    .iter()
    .map(|(key, at)| written(key, at))
    .collect();
    let counts = compared(&app, &path, &expected, "\n").await;
    assert_eq!(
        (&counts["missing"], &counts["outside_window"]),
        (&json!(3), &json!(4))
    );
    let keys = |rows: Vec<(String, Option<String>, Option<String>)>| -> Vec<String> {
        rows.into_iter().map(|(key, ..)| key).collect()
    };
    assert_eq!(
        keys(found(&app, &path, "missing").await),
        ["at-from", "inside", "just-inside"]
    );
    assert_eq!(
        keys(found(&app, &path, "outside_window").await),
        ["at-to", "before", "later", "never"]
    );
    app.finish().await;
}

async fn times_may_differ_by_the_tolerance(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let body = json!({
        "name": "Times", "resource": {"type": "file"}, "key": "id", "compare": ["changed_at"], "tolerance": "PT2S",
        "expected": {"format": "csv"}, "observed": {"format": "csv"},
    });
    let path = created(&app, &incident, body).await;
    let expected = "id,changed_at\na,2017-03-01T10:00:00Z\nb,2017-03-01T10:00:00Z\nc,2017-03-01T10:00:00Z\n";
    let observed =
        "changed_at,id\n2017-03-01T12:00:02+02:00,a\n2017-03-01T10:00:02.000001Z,b\n2017-03-01T09:59:58Z,c\n";
    let counts = compared(&app, &path, expected, observed).await;
    assert_eq!(
        (&counts["equal"], &counts["differs"]),
        (&json!(2), &json!(1)),
        "{counts}"
    );
    assert_eq!(found(&app, &path, "differs").await[0].0, "b");
    app.finish().await;
}

async fn what_cannot_be_compared_is_said_and_not_counted_as_different(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let body = json!({
        "name": "Checksums", "resource": {"type": "file"}, "key": "id", "compare": ["etag"],
        "expected": {"format": "csv"}, "observed": {"format": "csv"},
    });
    let path = created(&app, &incident, body).await;
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    let expected = format!("id,etag\na,{md5}\nb,{md5}\nc,{md5}\ng,{md5}\n");
    let observed = format!(
        "id,etag\na,\"1B2M2Y8AsgTpgAmY7PhCfg==\"\nb,{md5}-12\nc,\ng,00000000000000000000000000000000\n"
    );
    let counts = compared(&app, &path, &expected, &observed).await;
    let of = |kind: &str| counts[kind].as_u64().expect("a number");
    assert_eq!(
        (of("equal"), of("incomparable"), of("differs")),
        (1, 2, 1),
        "{counts}"
    );
    let keys: Vec<String> = found(&app, &path, "incomparable")
        .await
        .into_iter()
        .map(|one| one.0)
        .collect();
    assert_eq!(keys, ["b", "c"]);
    app.post(&format!("{path}/apply"), json!({"kinds": ["incomparable"]}))
        .await
        .expect_invalid("/kinds/0");
    app.finish().await;
}

async fn findings_become_affected_with_their_reason(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = created(&app, &incident, window()).await;
    compared(&app, &path, EXPECTED, OBSERVED).await;
    let apply = json!({"kinds": ["missing", "differs"]});
    let done = app.post(&format!("{path}/apply"), &apply).await.expect(200);
    assert_eq!(done.json, json!({"added": 3, "already": 0, "unknown": 0}));
    let mut there = affected(&app, &incident).await;
    there.sort();
    assert_eq!(
        there,
        ["file a comparison", "file b comparison", "file g comparison"]
    );
    let again = app.post(&format!("{path}/apply"), &apply).await.expect(200);
    assert_eq!(again.json, json!({"added": 0, "already": 3, "unknown": 0}));
    let reasons = env.texts(
        "SELECT r.id || ' ' || ir.finding AS value FROM incident_resources ir JOIN resources r ON r.key = ir.resource_key ORDER BY value",
    );
    let read = |text: &String| {
        let (id, json) = text.split_once(' ').expect("an id");
        (id.to_owned(), serde_json::from_str::<Value>(json).expect("json"))
    };
    let reasons: Vec<(String, Value)> = reasons.iter().map(read).collect();
    assert_eq!(reasons.len(), 3);
    let (id, reason) = &reasons[0];
    assert_eq!(
        (
            id.as_str(),
            &reason["kind"],
            &reason["column"],
            &reason["expected"],
            &reason["observed"]
        ),
        (
            "a",
            &json!("differs"),
            &json!("size"),
            &json!("642111856"),
            &json!("0")
        )
    );
    let states = app
        .get(&format!("/api/v1/incidents/{incident}/affected"))
        .await
        .expect(200);
    assert_eq!(states.items().len(), 3);
    assert_eq!(recovery(&env), ["a impaired", "b impaired", "g impaired"]);
    // Whoever asks why somebody is told, or for the list of what is affected, reads what was found.
    let found = "expected 642,111,856 bytes, stored 0";
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    assert!(audience.text.contains(found), "{}", audience.text);
    let person = audience["items"][0]["person"]["id"].as_str().expect("an id");
    let why = app
        .get(&format!(
            "/api/v1/incidents/{incident}/audience/explain?person={person}"
        ))
        .await
        .expect(200);
    assert!(
        why["items"].to_string().contains("a comparison found: expected"),
        "{}",
        why.text
    );
    let csv = app
        .get(&format!(
            "/api/v1/incidents/{incident}/recovery/impact?format=csv"
        ))
        .await
        .expect(200);
    assert!(csv.text.contains(&format!("\"{found}\"")), "{}", csv.text);
    for action in [
        "comparison.created",
        "comparison.applied",
        "affected.added",
        "comparison.done",
    ] {
        let events = app.all(&format!("/api/v1/audit?action={action}")).await;
        assert!(!events.is_empty(), "{action}");
    }
    app.finish().await;
}

/// Returns the states of recovery as `id state`.
fn recovery(env: &Env) -> Vec<String> {
    env.texts(
        "SELECT r.id || ' ' || s.state AS value FROM recovery_states s JOIN resources r ON r.key = s.resource_key ORDER BY value",
    )
}

async fn a_dry_run_counts_and_changes_nothing(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = created(&app, &incident, window()).await;
    compared(&app, &path, EXPECTED, OBSERVED).await;
    let shown = app
        .post(
            &format!("{path}/apply"),
            json!({"kinds": ["missing", "differs", "unexpected"], "dry_run": true}),
        )
        .await
        .expect(200);
    assert_eq!(
        shown.json,
        json!({"added": 3, "already": 0, "unknown": 1, "accounts": 2, "people": 2})
    );
    assert!(affected(&app, &incident).await.is_empty());
    assert!(
        app.all("/api/v1/audit?action=comparison.applied")
            .await
            .is_empty()
    );
    app.finish().await;
}

async fn what_the_directory_does_not_know_is_counted_and_listed(env: Env) {
    let (app, incident) = started(&env, &[("a", "acme")]).await;
    let path = created(&app, &incident, of_files()).await;
    let counts = compared(&app, &path, "a\tu\t1\tfalse\t\t\nlost\tu\t2\tfalse\t\t\n", "\n").await;
    assert_eq!(counts["unknown_resources"], 1);
    let items = app.all(&format!("{path}/findings")).await;
    let known: Vec<(&Value, &Value)> = items
        .iter()
        .map(|one| (&one["resource"]["id"], &one["known"]))
        .collect();
    assert_eq!(
        known,
        [(&json!("a"), &json!(true)), (&json!("lost"), &json!(false))]
    );
    let done = app
        .post(&format!("{path}/apply"), json!({"kinds": ["missing"]}))
        .await
        .expect(200);
    assert_eq!(done.json, json!({"added": 1, "already": 0, "unknown": 1}));
    // The directory learns of it later.
    app.import(directory(&[("lost", "acme")])).await.expect(200);
    let done = app
        .post(&format!("{path}/apply"), json!({"kinds": ["missing"]}))
        .await
        .expect(200);
    assert_eq!(done.json, json!({"added": 1, "already": 1, "unknown": 0}));
    app.finish().await;
}

async fn a_resource_is_found_by_its_label(env: Env) {
    let (app, incident) = started(&env, &[]).await;
    let lines: String = [("1", "k1"), ("2", "k2"), ("3", "k2")]
        .iter()
        .map(
            |(id, key)| json!({"kind": "resource", "type": "file", "id": id, "labels": {"storage_key": key}}),
        )
        .map(|line| format!("{line}\n"))
        .collect();
    app.import(lines).await.expect(200);
    let body = json!({
        "name": "By label", "resource": {"type": "file", "label": "storage_key", "id": "key"}, "key": "key", "compare": [],
        "expected": {"format": "csv"}, "observed": {"format": "csv"},
    });
    let path = created(&app, &incident, body.clone()).await;
    let counts = compared(&app, &path, "key\nk1\nk2\nk3\n", "key\nk1\n").await;
    assert_eq!(
        (&counts["equal"], &counts["missing"], &counts["unknown_resources"]),
        (&json!(1), &json!(2), &json!(1))
    );
    let done = app
        .post(&format!("{path}/apply"), json!({"kinds": ["missing"]}))
        .await
        .expect(200);
    assert_eq!(done.json, json!({"added": 2, "already": 0, "unknown": 1}));
    let unknown = with(body, "resource", json!({"type": "file", "label": "storagekey"}));
    app.post(&format!("/api/v1/incidents/{incident}/comparisons"), unknown)
        .await
        .expect_invalid("/resource/label");
    app.finish().await;
}

async fn people_are_compared_too(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let body = json!({
        "name": "Access", "resource": {"person": "username"}, "key": "username", "compare": ["role"],
        "expected": {"format": "csv"}, "observed": {"format": "csv"},
    });
    let path = created(&app, &incident, body).await;
    let expected = "username,role\nowner-of-acme,editor\nowner-of-beta,viewer\n";
    let observed = "username,role\nowner-of-acme,admin\nowner-of-gamma,viewer\nnobody,viewer\n";
    let counts = compared(&app, &path, expected, observed).await;
    assert_eq!(
        (
            &counts["differs"],
            &counts["missing"],
            &counts["unexpected"],
            &counts["unknown_resources"]
        ),
        (&json!(1), &json!(1), &json!(2), &json!(1))
    );
    let items = app.all(&format!("{path}/findings?kind=differs")).await;
    assert_eq!(
        (&items[0]["person"], &items[0]["resource"]),
        (&json!("owner-of-acme"), &Value::Null)
    );
    let kinds = json!({"kinds": ["differs", "unexpected"]});
    let shown = app
        .post(
            &format!("{path}/apply"),
            json!({"kinds": ["differs", "unexpected"], "dry_run": true}),
        )
        .await
        .expect(200);
    assert_eq!((&shown["added"], &shown["people"]), (&json!(2), &json!(2)));
    let done = app.post(&format!("{path}/apply"), kinds).await.expect(200);
    assert_eq!(done.json, json!({"added": 2, "already": 0, "unknown": 1}));
    let named = app
        .all(&format!("/api/v1/incidents/{incident}/affected/people"))
        .await;
    let sources: Vec<&Value> = named.iter().map(|one| &one["source"]).collect();
    assert_eq!(sources, [&json!("comparison"), &json!("comparison")]);
    app.finish().await;
}

/// Findings are applied in parts of 10,000 resources. All of them are impaired since their time of writing, and what no comparison found
/// is impaired since the start of the incident.
async fn thousands_are_impaired_since_they_were_written(env: Env) {
    const FILES: usize = 10_020;
    let names: Vec<String> = (0..FILES).map(|n| format!("f{n:05}")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "acme")).collect();
    files.push(("other", "acme"));
    let (app, incident) = started(&env, &files).await;
    let other = json!({"resources": [{"type": "file", "id": "other"}]});
    app.post(&format!("/api/v1/incidents/{incident}/affected"), other)
        .await
        .expect(200);
    let path = created(&app, &incident, of_files()).await;
    let expected: String = names
        .iter()
        .map(|name| format!("{name}\tu\t1\tfalse\t2017-03-01T10:00:00Z\t2017-03-01T10:00:00Z\n"))
        .collect();
    compared(&app, &path, &expected, "other\t1\n").await;
    let applied = app
        .post(&format!("{path}/apply"), json!({"kinds": ["missing"]}))
        .await
        .expect(200);
    assert_eq!(applied["added"], FILES);
    // 2017-03-01T10:00:00Z and 2017-02-22T00:00:00Z, in microseconds.
    for (since, n) in [(1488362400000000_i64, FILES as i64), (1487721600000000, 1)] {
        let of = format!("recovery_states WHERE state = 'impaired' AND impaired_from = {since}");
        assert_eq!(env.count(&of), n);
    }
    let events = app.all("/api/v1/audit?action=recovery.impaired").await;
    assert_eq!(events.len(), 1, "{events:#?}");
    app.finish().await;
}

async fn a_newer_listing_is_the_evidence_of_recovery(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = created(&app, &incident, window()).await;
    compared(&app, &path, EXPECTED, OBSERVED).await;
    let kinds = json!({"kinds": ["missing", "differs"]});
    app.post(&format!("{path}/apply"), kinds).await.expect(200);
    // Somebody else's resource has nothing to do with the comparison.
    let path_of = format!("/api/v1/incidents/{incident}/affected");
    app.post(&path_of, json!({"resources": [{"type": "file", "id": "other"}]}))
        .await
        .expect(200);
    app.set_clock("2017-04-17T13:00:00Z");
    let repaired = "a\t642111856\nb\t100\nc\t300\ng\t842354926880\n";
    uploaded(&app, &path, "observed", repaired).await.expect(200);
    let counts = ran(&app, &path).await;
    assert_eq!(
        (&counts["equal"], &counts["differs"]),
        (&json!(3), &json!(1)),
        "{counts}"
    );
    assert_eq!(recovery(&env), ["a recovered", "b recovered", "g impaired"]);
    app.set_clock("2017-04-17T14:00:00Z");
    // One that was recovered is lost again, and the last one is repaired.
    uploaded(&app, &path, "observed", "b\t100\nc\t300\ng\t700\n")
        .await
        .expect(200);
    ran(&app, &path).await;
    assert_eq!(recovery(&env), ["a impaired", "b recovered", "g recovered"]);
    // A listing that is older than the impairment proves nothing.
    app.set_clock("2017-04-17T15:00:00Z");
    let old = app
        .request(
            Method::PUT,
            &format!("{path}/observed?observed_at=2017-04-17T13:30:00Z"),
        )
        .body("text/tab-separated-values", repaired)
        .send()
        .await;
    old.expect(200);
    ran(&app, &path).await;
    assert_eq!(recovery(&env)[0], "a impaired");
    let future = app
        .request(
            Method::PUT,
            &format!("{path}/observed?observed_at=2017-04-17T15:00:01Z"),
        )
        .body("text/tab-separated-values", repaired)
        .send()
        .await;
    future.expect_invalid("?observed_at");
    app.finish().await;
}

async fn a_resource_of_several_rows_recovers_when_all_of_them_fit(env: Env) {
    let (app, incident) = started(&env, &[("p", "acme"), ("q", "acme")]).await;
    let body = json!({
        "name": "By project", "resource": {"type": "file", "id": "project"}, "key": "key", "compare": ["size"],
        "expected": {"format": "csv"}, "observed": {"format": "csv"},
    });
    let path = created(&app, &incident, body).await;
    let expected = "key,project,size\n1,p,10\n2,p,20\n3,q,30\n";
    compared(&app, &path, expected, "key,size\n1,0\n").await;
    let done = app
        .post(&format!("{path}/apply"), json!({"kinds": ["missing", "differs"]}))
        .await
        .expect(200);
    assert_eq!(done.json, json!({"added": 2, "already": 0, "unknown": 0}));
    app.set_clock("2017-04-17T13:00:00Z");
    uploaded(&app, &path, "observed", "key,size\n1,10\n3,30\n")
        .await
        .expect(200);
    ran(&app, &path).await;
    assert_eq!(recovery(&env), ["p impaired", "q recovered"]);
    app.set_clock("2017-04-17T14:00:00Z");
    uploaded(&app, &path, "observed", "key,size\n1,10\n2,20\n3,30\n")
        .await
        .expect(200);
    ran(&app, &path).await;
    assert_eq!(recovery(&env), ["p recovered", "q recovered"]);
    app.finish().await;
}

async fn stale_findings_are_not_applied(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = created(&app, &incident, of_files()).await;
    let apply = json!({"kinds": ["missing"]});
    let refused = async |code: &str| {
        let answer = app
            .post(&format!("{path}/apply"), &apply)
            .await
            .expect_problem(409);
        assert_eq!(answer["code"], code, "{answer}");
    };
    refused("comparison_not_done").await;
    let answer = app
        .post(&format!("{path}/run"), json!({}))
        .await
        .expect_problem(409);
    assert_eq!(answer["code"], "listing_missing");
    compared(&app, &path, EXPECTED, OBSERVED).await;
    uploaded(&app, &path, "observed", "b\t100\n").await.expect(200);
    assert_eq!(app.get(&path).await.expect(200)["state"], "waiting");
    refused("comparison_not_done").await;
    assert!(affected(&app, &incident).await.is_empty());
    app.finish().await;
}

async fn a_comparison_is_discarded_until_it_was_applied(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = created(&app, &incident, of_files()).await;
    compared(&app, &path, EXPECTED, OBSERVED).await;
    assert!(env.count("comparison_findings") > 0);
    app.delete(&path).await.expect(204);
    app.get(&path).await.expect_problem(404);
    wait_until("the findings to be deleted", DEADLINE, async || {
        env.count("comparison_findings") == 0 && env.count("comparison_blocks") == 0
    })
    .await;
    uploaded(&app, &path, "observed", OBSERVED)
        .await
        .expect_problem(404);
    let list = format!("/api/v1/incidents/{incident}/comparisons");
    assert!(app.all(&list).await.is_empty());
    let kept = created(&app, &incident, of_files()).await;
    compared(&app, &kept, EXPECTED, OBSERVED).await;
    app.post(&format!("{kept}/apply"), json!({"kinds": ["missing"]}))
        .await
        .expect(200);
    let answer = app.delete(&kept).await.expect_problem(409);
    assert_eq!(answer["code"], "comparison_applied");
    assert_eq!(app.all(&list).await.len(), 1);
    assert!(
        !found(&app, &kept, "missing").await.is_empty(),
        "evidence is kept"
    );
    app.finish().await;
}

async fn a_wrong_definition_names_each_wrong_field(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = format!("/api/v1/incidents/{incident}/comparisons");
    let refused = async |body: Value, place: &str| {
        let answer = app.post(&path, &body).await.expect_problem(422);
        assert!(
            answer.places().iter().any(|at| at == place),
            "{place} is not in {answer}"
        );
    };
    refused(with(of_files(), "name", json!(" ")), "/name").await;
    refused(
        with(of_files(), "resource", json!({"type": "fiel"})),
        "/resource/type",
    )
    .await;
    refused(
        with(of_files(), "resource", json!({"id": "identifier"})),
        "/resource/type",
    )
    .await;
    refused(
        with(
            of_files(),
            "resource",
            json!({"person": "identifier", "type": "file"}),
        ),
        "/resource",
    )
    .await;
    refused(with(of_files(), "compare", json!(["size", "size"])), "/compare/1").await;
    refused(with(of_files(), "compare", json!(["identifier"])), "/compare/0").await;
    refused(with(of_files(), "tolerance", json!("2 seconds")), "/tolerance").await;
    refused(with(of_files(), "window", json!({})), "/window").await;
    refused(
        with(
            of_files(),
            "window",
            json!({"from": "2017-02-22T00:00:00Z", "to": "2017-02-22T00:00:00Z"}),
        ),
        "/window/to",
    )
    .await;
    refused(
        with(of_files(), "window", json!({"from": "2017-02-22T00:00:00"})),
        "/window/from",
    )
    .await;
    let mut body = window();
    body["expected"]["written_at"] = Value::Null;
    refused(body, "/window").await;
    refused(
        with(
            of_files(),
            "observed",
            json!({"format": "tsv", "columns": ["identifier"]}),
        ),
        "/observed/columns",
    )
    .await;
    refused(
        with(of_files(), "observed", json!({"format": "xml"})),
        "/observed/format",
    )
    .await;
    refused(with(of_files(), "extra", json!(1)), "/extra").await;
    app.post(
        "/api/v1/incidents/01939b2e-0000-7000-8000-000000000000/comparisons",
        of_files(),
    )
    .await
    .expect_problem(404);
    assert!(app.all(&path).await.is_empty());
    app.finish().await;
}

async fn lines_that_cannot_be_read_are_counted_and_shown(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = created(&app, &incident, of_files()).await;
    let answer = uploaded(&app, &path, "observed", "a\t1\nb\tmany\n\t3\nc\t300\n")
        .await
        .expect(200);
    assert_eq!(answer["rejected"], 2, "{answer}");
    let lines: Vec<&Value> = answer["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|one| &one["line"])
        .collect();
    assert_eq!(lines, [&json!(2), &json!(3)]);
    let shown = app.get(&path).await.expect(200);
    assert_eq!(shown["listings"]["observed"]["rejected"], 2);
    // A value that cannot be read says nothing, and its row is not missing.
    let counts = compared(&app, &path, EXPECTED, "a\t642111856\nb\tmany\nc\t300\n").await;
    assert_eq!(
        (&counts["incomparable"], &counts["equal"]),
        (&json!(1), &json!(2)),
        "{counts}"
    );
    // Nothing can be read: the listing that was there stays.
    uploaded(&app, &path, "observed", "no columns\nat all\n")
        .await
        .expect_problem(422);
    let after = app.get(&path).await.expect(200);
    assert_eq!(after["listings"]["observed"]["rows"], 3);
    app.finish().await;
}

async fn a_packed_listing_is_unpacked(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = created(&app, &incident, of_files()).await;
    uploaded(&app, &path, "expected", EXPECTED).await.expect(200);
    let packed = gzip(OBSERVED.as_bytes());
    let sent = async |encoding: &str, body: Vec<u8>| {
        app.request(Method::PUT, &format!("{path}/observed"))
            .header("content-encoding", encoding)
            .body("text/tab-separated-values", body)
            .send()
            .await
    };
    let answer = sent("gzip", packed.clone()).await.expect(200);
    assert_eq!(answer["rows"], 5);
    assert_eq!(ran(&app, &path).await["differs"], 2);
    sent("gzip", packed[..packed.len() - 6].to_vec())
        .await
        .expect_problem(422);
    sent("br", packed).await.expect_problem(415);
    assert_eq!(
        app.get(&path).await.expect(200)["listings"]["observed"]["rows"],
        5
    );
    app.finish().await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).expect("memory");
    packed.finish().expect("memory")
}

async fn an_operator_compares_and_a_viewer_looks(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let (operator, viewer) = (app.as_new("operator").await, app.as_new("viewer").await);
    let path = created(&operator, &incident, of_files()).await;
    compared(&operator, &path, EXPECTED, OBSERVED).await;
    viewer.get(&path).await.expect(200);
    viewer
        .get(&format!("{path}/findings?kind=missing"))
        .await
        .expect(200);
    viewer.get(&format!("{path}/runs")).await.expect(200);
    viewer
        .post(&format!("{path}/run"), json!({}))
        .await
        .expect_problem(403);
    viewer
        .post(&format!("{path}/apply"), json!({"kinds": ["missing"]}))
        .await
        .expect_problem(403);
    uploaded(&viewer, &path, "observed", OBSERVED)
        .await
        .expect_problem(403);
    viewer.delete(&path).await.expect_problem(403);
    app.get(&format!("{path}/findings?kind=lost"))
        .await
        .expect_invalid("?kind");
    app.get(&format!("{path}/findings?knd=missing"))
        .await
        .expect_invalid("?knd");
    app.finish().await;
}

async fn findings_have_pages_and_runs_are_kept(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let path = created(&app, &incident, of_files()).await;
    let expected: String = (0..1_234)
        .map(|n| format!("k{n:05}\tu\t{n}\tfalse\t\t\n"))
        .collect();
    let counts = compared(&app, &path, &expected, "k00000\t0\nk00001\t5\n").await;
    assert_eq!(
        (&counts["missing"], &counts["differs"], &counts["equal"]),
        (&json!(1_232), &json!(1), &json!(1))
    );
    let items = app.all(&format!("{path}/findings?limit=500")).await;
    let keys: Vec<&str> = items
        .iter()
        .map(|one| one["key"].as_str().expect("a key"))
        .collect();
    assert_eq!(keys.len(), 1_233);
    assert!(keys.is_sorted(), "the findings are in the order of their keys");
    uploaded(&app, &path, "observed", "k00000\t0\n").await.expect(200);
    ran(&app, &path).await;
    let runs = app.all(&format!("{path}/runs")).await;
    let numbers: Vec<(&Value, &Value)> = runs
        .iter()
        .map(|run| (&run["number"], &run["counts"]["missing"]))
        .collect();
    assert_eq!(numbers, [(&json!(2), &json!(1_233)), (&json!(1), &json!(1_232))]);
    assert_ne!(runs[0]["inputs"]["observed"], runs[1]["inputs"]["observed"]);
    let first = app.all(&format!("{path}/findings?run=1&kind=differs")).await;
    assert_eq!(first[0]["key"], "k00001");
    app.get(&format!("{path}/findings?run=3"))
        .await
        .expect_problem(404);
    app.finish().await;
}

async fn it_is_done_on_pages(env: Env) {
    let (app, incident) = started(&env, &FILES).await;
    let browser = Browser::signed_in(&app, &app.token("operator").await).await;
    let list = "/admin/incidents/1/comparisons";
    assert!(browser.page("/admin/incidents/1/resources").await.contains(list));
    let fields = |compare: &'static str| {
        vec![
            ("name", "Stored files"),
            ("expected.format", "tsv"),
            (
                "expected.columns",
                "identifier, uuid, size, gone, created_at, updated_at",
            ),
            ("expected.gone", "gone=true"),
            ("expected.written_at", "created_at"),
            ("observed.format", "tsv"),
            ("observed.columns", "identifier, size"),
            ("key", "identifier"),
            ("compare", compare),
            ("resource.type", "file"),
            ("window.from", "2017-02-22T00:00"),
            ("window.to", "2017-04-18T00:00"),
            ("time_zone", "UTC"),
        ]
    };
    let wrong = browser.send_from(list, list, &fields("weight")).await.expect(422);
    assert!(
        wrong.text.contains("weight") && wrong.text.contains("identifier, size"),
        "{wrong}"
    );
    // Everything that is wrong is said at once, whoever finds it.
    let mut all = fields("weight");
    all[0].1 = "";
    all[3].1 = "gone";
    let refused = browser.send_from(list, list, &all).await.expect(422);
    for field in ["name", "expected.gone"] {
        assert!(
            refused.text.contains(&format!("id=\"e-new-{field}\"")),
            "{field}: {refused}"
        );
    }
    let made = browser.send_from(list, list, &fields("size")).await.expect(303);
    let page = made.header("location").to_owned();
    let key = browser.key(&page).await;
    for (side, listing) in [("expected", EXPECTED), ("observed", OBSERVED)] {
        let to = format!("{page}/listing");
        let done = browser
            .upload(&to, &key, &[("side", side), ("observed_at", "")], Some(listing))
            .await;
        assert_eq!(done.expect(303).header("location"), page);
    }
    let empty = browser
        .upload(&format!("{page}/listing"), &key, &[("side", "observed")], None)
        .await;
    empty.expect(422);
    browser
        .send_from(&page, &format!("{page}/run"), &[])
        .await
        .expect(303);
    let shown = browser.page(&page).await;
    for text in [
        "642111856",
        "842354926880",
        "not in the directory",
        "lines 5, 6",
        "Runs",
    ] {
        assert!(shown.contains(text), "{text} is not on the page: {shown}");
    }
    let preview = browser.page(&format!("{page}?missing=1&differs=1")).await;
    assert!(
        preview.contains("Add 3 resources") && preview.contains("2 accounts"),
        "{preview}"
    );
    let applied = browser
        .send_from(&page, &format!("{page}/apply"), &[("kinds", "missing differs")])
        .await;
    applied.expect(303);
    assert_eq!(affected(&app, &incident).await.len(), 3);
    assert!(
        browser
            .page(&page)
            .await
            .contains("evidence for what became affected")
    );
    browser
        .send_from(&page, &format!("{page}/discard"), &[])
        .await
        .expect(422);
    app.finish().await;
}
