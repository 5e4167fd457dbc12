//! A resource of an incident is recovered only by evidence that fits what was expected, or by the attestation of two people where nothing can
//! be measured. Each line of evidence that proves nothing is refused with its reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use candor::egress::Policy;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::receiver::{Receiver, Reply};
use crate::support::{ADMIN_TOKEN, Answer, DEADLINE, Env, TestApp, eventually, on_both_databases};

on_both_databases!(
    a_claim_recovers_nothing,
    a_batch_begins_and_fails,
    a_wrong_batch_changes_nothing,
    evidence_that_fits_recovers,
    each_line_that_proves_nothing_is_refused_with_its_reason,
    what_was_observed_as_wrong_stays_impaired,
    lines_about_one_resource_count_one_after_another,
    two_people_attest_where_nothing_can_be_measured,
    an_attestation_proves_nothing_against_what_is_seen,
    a_check_is_evidence_where_nothing_can_be_measured,
    who_is_not_affected_any_more_does_not_count,
    an_archived_resource_still_counts,
    the_series_has_the_states_over_time,
    thousands_recover_in_batches,
    the_page_shows_it_and_its_forms_do_the_same,
);

pub(crate) const START: &str = "2017-04-17T08:00:00Z";
const SIZE: &str = "642111856";
const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Two institutions: the first has the files a, b and c in a bag, the second d. The file e belongs to nobody.
fn directory() -> String {
    let file = |id: &str, parent: &str| {
        json!({"kind": "resource", "type": "file", "id": id, "name": format!("{id}.mov"),
        "parent": {"type": "bag", "id": parent}, "labels": {"store": "s3"}})
    };
    let lines = vec![
        json!({"kind": "account", "id": "north", "name": "North"}),
        json!({"kind": "account", "id": "south", "name": "South"}),
        json!({"kind": "person", "id": "nora", "name": "Nora", "email": "nora@north.example"}),
        json!({"kind": "person", "id": "sam", "name": "Sam", "email": "sam@south.example"}),
        json!({"kind": "member", "account": "north", "person": "nora", "role": "owner"}),
        json!({"kind": "member", "account": "south", "person": "sam", "role": "owner"}),
        json!({"kind": "resource", "type": "bag", "id": "n", "account": "north"}),
        json!({"kind": "resource", "type": "bag", "id": "s", "account": "south"}),
        file("a", "n"),
        file("b", "n"),
        file("c", "n"),
        file("d", "s"),
        json!({"kind": "resource", "type": "file", "id": "e"}),
        json!({"kind": "resource", "type": "file", "id": "unaffected", "account": "north"}),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Starts with an incident that affects the five files. Returns the path of its recovery.
pub(crate) async fn started(env: &Env) -> (TestApp, String) {
    let app = TestApp::builder(env).at(START).start().await;
    app.import(directory()).await.expect(200);
    let incident = app
        .incident(["a", "b", "c", "d", "e"].map(|id| ("file", id)))
        .await;
    (app, format!("/api/v1/incidents/{incident}/recovery"))
}

/// Says what is expected of files, as a comparison does.
pub(crate) fn expect(env: &Env, files: &[&str], expected: &Value) {
    let list: Vec<String> = files.iter().map(|id| format!("'{id}'")).collect();
    let statement = format!(
        "UPDATE recovery_states SET expected = '{expected}' WHERE resource_key IN \
         (SELECT key FROM resources WHERE type = 'file' AND id IN ({}))",
        list.join(", ")
    );
    env.sql(&statement).expect("expected values");
}

fn files(ids: &[&str]) -> Vec<Value> {
    ids.iter().map(|id| json!({"type": "file", "id": id})).collect()
}

pub(crate) async fn batch(app: &TestApp, recovery: &str, state: &str, ids: &[&str]) -> Answer {
    app.post(recovery, json!({"state": state, "resources": files(ids)}))
        .await
}

/// A line of evidence with these further fields.
pub(crate) fn line(id: &str, at: &str, fields: Value) -> String {
    let mut line = json!({"type": "file", "id": id, "observed_at": at, "source": "s3 head"});
    for (name, value) in fields.as_object().expect("an object") {
        line[name] = value.clone();
    }
    format!("{line}\n")
}

pub(crate) async fn evidence(app: &TestApp, recovery: &str, lines: &str) -> Answer {
    app.post_raw(&format!("{recovery}/evidence"), "application/x-ndjson", lines)
        .await
}

/// Returns the numbers of impaired, recovering and recovered resources.
pub(crate) async fn counts(app: &TestApp, recovery: &str) -> [i64; 3] {
    let found = app.get(recovery).await.expect(200);
    ["impaired", "recovering", "recovered"].map(|name| found["counts"][name].as_i64().expect("a number"))
}

fn codes(answer: &Answer) -> Vec<(u64, &str)> {
    answer["refused"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["line"].as_u64().expect("a line"),
                one["code"].as_str().expect("a code"),
            )
        })
        .collect()
}

async fn a_claim_recovers_nothing(env: Env) {
    let (app, recovery) = started(&env).await;
    let refused = batch(&app, &recovery, "recovered", &["a"])
        .await
        .expect_problem(422);
    assert_eq!(refused["code"], "claim_is_not_evidence");
    assert_eq!(refused.places(), ["/state"]);
    let found = app.get(&recovery).await.expect(200);
    assert_eq!(found["in_use"], false);
    assert_eq!(counts(&app, &recovery).await, [5, 0, 0]);
    assert_eq!(env.count("recovery_states"), 0);
    app.finish().await;
}

async fn a_batch_begins_and_fails(env: Env) {
    let (app, recovery) = started(&env).await;
    let begun = app
        .post(
            &recovery,
            json!({"state": "recovering", "resources": files(&["a", "b"]), "name": "first batch"}),
        )
        .await
        .expect(200);
    assert_eq!(begun.json, json!({"changed": 2, "relapsed": 0, "unchanged": 0}));
    // The others have a state from now on.
    assert_eq!(counts(&app, &recovery).await, [3, 2, 0]);
    assert_eq!(env.count("recovery_states"), 5);
    let selector = json!({"state": "recovering", "selector": {"type": "file", "labels": {"store": "s3"}}});
    let more = app.post(&recovery, selector).await.expect(200);
    assert_eq!(more.json, json!({"changed": 2, "relapsed": 0, "unchanged": 2}));
    app.set_clock("2017-04-17T09:00:00Z");
    let failed = batch(&app, &recovery, "impaired", &["a", "e"]).await.expect(200);
    assert_eq!(failed.json, json!({"changed": 1, "relapsed": 0, "unchanged": 1}));
    assert_eq!(counts(&app, &recovery).await, [2, 3, 0]);
    let incident = recovery.trim_end_matches("/recovery");
    let timeline = app.all(&format!("{incident}/timeline")).await;
    assert!(
        timeline
            .iter()
            .any(|entry| entry["text"] == "Recovery of 2 resources began: first batch")
    );
    let history = app.get(&format!("{recovery}/resources/file/a")).await.expect(200);
    let states: Vec<&Value> = history
        .json
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["state"])
        .collect();
    assert_eq!(states, ["impaired", "recovering", "impaired"]);
    app.finish().await;
}

async fn a_wrong_batch_changes_nothing(env: Env) {
    let (app, recovery) = started(&env).await;
    for (body, place, code) in [
        (
            json!({"resources": files(&["a", "unaffected"])}),
            "/resources/1",
            "not_affected",
        ),
        (
            json!({"resources": files(&["nope", "a"])}),
            "/resources/0",
            "unknown_resource",
        ),
        (json!({"resources": []}), "/resources", "invalid_input"),
        (json!({}), "", "invalid_input"),
        (
            json!({"resources": files(&["a"]), "selector": {"type": "file"}}),
            "",
            "invalid_input",
        ),
        (json!({"selector": {}}), "/selector", "invalid_input"),
        (
            json!({"selector": {"type": "file", "labels": {"stor": "s3"}}}),
            "/selector/labels/stor",
            "unknown_label",
        ),
        (json!({"selector": {"type": "bag"}}), "/selector", "not_affected"),
        (
            json!({"resources": files(&["a"]), "name": " "}),
            "/name",
            "invalid_input",
        ),
        (
            json!({"resources": files(&["a"]), "who": "me"}),
            "/who",
            "invalid_input",
        ),
    ] {
        let mut body = body;
        body["state"] = json!("recovering");
        let refused = app.post(&recovery, &body).await.expect_problem(422);
        assert_eq!(
            (refused.places(), &refused["code"]),
            (vec![place.to_owned()], &json!(code)),
            "{body}"
        );
    }
    assert_eq!(env.count("recovery_states"), 0);
    let viewer = app.as_new("viewer").await;
    let body = json!({"state": "recovering", "resources": files(&["a"])});
    viewer.post(&recovery, body).await.expect_problem(403);
    app.finish().await;
}

async fn evidence_that_fits_recovers(env: Env) {
    let (app, recovery) = started(&env).await;
    batch(&app, &recovery, "recovering", &["a", "b"])
        .await
        .expect(200);
    expect(&env, &["a", "b"], &json!({"size": SIZE}));
    expect(&env, &["c", "d"], &json!({"size": "0", "checksum": SUM}));
    app.set_clock("2017-04-20T12:00:00Z");
    let at = "2017-04-20T11:00:00Z";
    let lines = [
        line("a", at, json!({"size": 642_111_856})),
        // A checksum that nobody expects is not compared.
        line("b", at, json!({"size": 642_111_856, "checksum": SUM})),
        // The same checksum in base64, and the size.
        line(
            "c",
            at,
            json!({"size": 0, "checksum": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}),
        ),
    ];
    let taken = evidence(&app, &recovery, &lines.concat()).await.expect(200);
    assert_eq!(
        taken.json,
        json!({"recovered": 3, "relapsed": 0, "unchanged": 0, "refused_lines": 0, "refused": []})
    );
    let found = app.get(&recovery).await.expect(200);
    assert_eq!(
        found["counts"],
        json!({"impaired": 2, "recovering": 0, "recovered": 3, "attested": 0})
    );
    assert_eq!(
        found["accounts"],
        json!([
            {"account": "north", "name": "North", "impaired": 0, "recovering": 0, "recovered": 3, "attested": 0, "notified": 0},
            {"account": "south", "name": "South", "impaired": 1, "recovering": 0, "recovered": 0, "attested": 0, "notified": 0},
        ])
    );
    assert_eq!(found["without_account"]["impaired"], 1);
    let first = app.get(&format!("{recovery}?limit=1")).await.expect(200);
    let next = first["next_cursor"].as_str().expect("a second page");
    let second = app
        .get(&format!("{recovery}?limit=1&cursor={next}"))
        .await
        .expect(200);
    assert_eq!(second["accounts"][0]["account"], "south");
    let rows = app
        .get(&format!(
            "{recovery}/resources?state=recovered&account=north&q=a.mov"
        ))
        .await
        .expect(200);
    let [row] = rows.items() else {
        panic!("{:?}", rows.json)
    };
    assert_eq!(row["evidence"]["source"], "s3 head");
    assert_eq!(row["evidence"]["observed"], json!({"size": SIZE}));
    assert_eq!(
        (&row["recovered_at"], &row["attested"]),
        (&json!(at), &json!(false))
    );
    app.get(&format!("{recovery}/resources?account=nobody"))
        .await
        .expect_invalid("?account");
    // The same lines again change nothing.
    let again = evidence(&app, &recovery, &lines.concat()).await.expect(200);
    assert_eq!((&again["recovered"], &again["unchanged"]), (&json!(0), &json!(3)));
    let csv = format!("type,id,size,checksum,observed_at,source\nfile,d,0,{SUM},{at},a script\n");
    let taken = app
        .post_raw(&format!("{recovery}/evidence"), "text/csv", csv)
        .await
        .expect(200);
    assert_eq!(taken["recovered"], 1);
    app.finish().await;
}

async fn each_line_that_proves_nothing_is_refused_with_its_reason(env: Env) {
    let (app, recovery) = started(&env).await;
    batch(&app, &recovery, "recovering", &["a"]).await.expect(200);
    expect(&env, &["a"], &json!({"size": SIZE}));
    expect(&env, &["b"], &json!({"checksum": SUM}));
    expect(&env, &["c"], &json!({"size": SIZE, "checksum": SUM}));
    app.set_clock("2017-04-20T12:00:00Z");
    let at = "2017-04-20T11:00:00Z";
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    let lines = [
        "this is no line of evidence\n".to_owned(),
        line("a", at, json!({"size": -1})),
        line("a", at, json!({"size": 642_111_856, "who": "me"})),
        line("a", at, json!({"size": 642_111_856, "source": " "})),
        line(
            "a",
            at,
            json!({"size": 642_111_856, "observed_at": "2017-04-20T11:00:00"}),
        ),
        line("forged", at, json!({"size": 642_111_856})),
        line("unaffected", at, json!({"size": 642_111_856})),
        line("a", "2017-04-17T07:59:59Z", json!({"size": 642_111_856})),
        line("a", "2017-04-20T12:05:00Z", json!({"size": 642_111_856})),
        line("b", at, json!({"checksum": md5})),
        line("b", at, json!({"checksum": format!("{md5}-12")})),
        line("c", at, json!({"size": 642_111_856, "checksum": md5})),
        line("a", at, json!({"checksum": SUM})),
        line("b", at, json!({"size": 642_111_856})),
        line("a", at, json!({})),
        line("e", at, json!({"size": 642_111_856})),
        line(
            "c",
            at,
            json!({"size": 642_111_856, "checksum": SUM.replace("e3b0", "e3b1")}),
        ),
        line("b", at, json!({"checksum": "xyz"})),
    ];
    let taken = evidence(&app, &recovery, &lines.concat()).await.expect(200);
    let expected = [
        "invalid_input",
        "invalid_input",
        "invalid_input",
        "invalid_input",
        "invalid_input",
        "unknown_resource",
        "not_affected",
        "evidence_too_old",
        "evidence_in_future",
        "checksum_type",
        "checksum_type",
        "checksum_type",
        "nothing_comparable",
        "nothing_comparable",
        "nothing_comparable",
        "nothing_expected",
        "value_differs",
        "invalid_input",
    ];
    let expected: Vec<(u64, &str)> = (1..).zip(expected).collect();
    assert_eq!(codes(&taken), expected);
    assert_eq!(
        (&taken["recovered"], &taken["refused_lines"]),
        (&json!(0), &json!(18))
    );
    assert_eq!(counts(&app, &recovery).await, [4, 1, 0]);
    evidence(&app, &recovery, "\n").await.expect_problem(422);
    app.post_raw(&format!("{recovery}/evidence"), "text/plain", "x")
        .await
        .expect_problem(415);
    app.post_raw(&format!("{recovery}/evidence"), "text/csv", "type,id\nfile,a\n")
        .await
        .expect_problem(422);
    app.finish().await;
}

async fn what_was_observed_as_wrong_stays_impaired(env: Env) {
    let (app, recovery) = started(&env).await;
    batch(&app, &recovery, "recovering", &["a"]).await.expect(200);
    expect(&env, &["a"], &json!({"size": SIZE}));
    app.set_clock("2017-04-17T12:00:00Z");
    let wrong = line("a", "2017-04-17T11:00:00Z", json!({"size": 842_354_926_880_u64}));
    let taken = evidence(&app, &recovery, &wrong).await.expect(200);
    assert_eq!(codes(&taken), [(1, "value_differs")]);
    assert_eq!(counts(&app, &recovery).await, [5, 0, 0]);
    // Evidence from before it was seen to be wrong proves nothing.
    let older = line("a", "2017-04-17T10:59:59Z", json!({"size": SIZE}));
    let taken = evidence(&app, &recovery, &older).await.expect(200);
    assert_eq!(codes(&taken), [(1, "evidence_too_old")]);
    let newer = line("a", "2017-04-17T11:30:00Z", json!({"size": SIZE}));
    assert_eq!(
        evidence(&app, &recovery, &newer).await.expect(200)["recovered"],
        1
    );
    app.finish().await;
}

async fn lines_about_one_resource_count_one_after_another(env: Env) {
    let (app, recovery) = started(&env).await;
    batch(&app, &recovery, "recovering", &["a"]).await.expect(200);
    expect(&env, &["a"], &json!({"size": SIZE}));
    app.set_clock("2017-04-20T12:00:00Z");
    let lines = [
        line("a", "2017-04-20T09:00:00Z", json!({"size": SIZE})),
        line("a", "2017-04-20T10:00:00Z", json!({"size": 0})),
        line("a", "2017-04-20T09:30:00Z", json!({"size": SIZE})),
        line("a", "2017-04-20T11:00:00Z", json!({"size": SIZE})),
    ];
    let taken = evidence(&app, &recovery, &lines.concat()).await.expect(200);
    assert_eq!((&taken["recovered"], &taken["relapsed"]), (&json!(2), &json!(1)));
    assert_eq!(codes(&taken), [(2, "value_differs"), (3, "evidence_too_old")]);
    let history = app.get(&format!("{recovery}/resources/file/a")).await.expect(200);
    let states: Vec<&Value> = history
        .json
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["state"])
        .collect();
    assert_eq!(
        states,
        ["impaired", "recovering", "recovered", "impaired", "recovered"]
    );
    app.finish().await;
}

async fn token_of(app: &TestApp, name: &str, person: Option<&str>) -> crate::support::Http {
    let mut body = json!({"name": name, "role": "operator"});
    if let Some(person) = person {
        body["person"] = json!(person);
    }
    let made = app.post("/api/v1/tokens", body).await.expect(201);
    app.as_role(made["token"].as_str().expect("a token"))
}

async fn two_people_attest_where_nothing_can_be_measured(env: Env) {
    let (app, recovery) = started(&env).await;
    let ann = token_of(&app, "ann's laptop", Some("Ann")).await;
    let also_ann = token_of(&app, "ann's script", Some("ann ")).await;
    let ben = token_of(&app, "ben", None).await;
    batch(&app, &recovery, "recovering", &["a"]).await.expect(200);
    expect(&env, &["a"], &json!({"size": SIZE}));
    let attest = format!("{recovery}/attest");
    let body = json!({"resources": files(&["a", "e"]), "reason": "Opened them."});
    let refused = ann.post(&attest, body).await.expect_problem(422);
    assert_eq!(
        (refused.places(), &refused["code"]),
        (vec!["/resources/0".to_owned()], &json!("measurable"))
    );
    let all = json!({"selector": {"type": "file"}, "reason": "Opened them."});
    assert_eq!(
        ann.post(&attest, all).await.expect_problem(422)["code"],
        "measurable"
    );
    ann.post(&attest, json!({"resources": files(&["e"]), "reason": ""}))
        .await
        .expect_invalid("/reason");
    let asked = ann
        .post(
            &attest,
            json!({"resources": files(&["d", "e"]), "reason": "Opened each of them."}),
        )
        .await
        .expect(201);
    assert_eq!(
        (&asked["state"], &asked["asked_by"], &asked["resources"]),
        (&json!("open"), &json!("Ann"), &json!(2))
    );
    assert_eq!(counts(&app, &recovery).await[2], 0);
    let found = app.get(&recovery).await.expect(200);
    assert_eq!(found["open_attestations"][0]["id"], asked["id"]);
    let confirm = format!("{recovery}/attestations/{}/confirm", asked.id());
    for same in [&ann, &also_ann] {
        let refused = same.post(&confirm, json!({})).await.expect_problem(403);
        assert_eq!(refused["code"], "own_attestation");
    }
    assert_eq!(counts(&app, &recovery).await[2], 0);
    let confirmed = ben.post(&confirm, json!({})).await.expect(200);
    assert_eq!(
        (&confirmed["recovered"], &confirmed["unchanged"]),
        (&json!(2), &json!(0))
    );
    let found = app.get(&recovery).await.expect(200);
    assert_eq!(
        found["counts"],
        json!({"impaired": 2, "recovering": 1, "recovered": 2, "attested": 2})
    );
    let rows = app.all(&format!("{recovery}/resources?state=recovered")).await;
    for row in &rows {
        assert_eq!(row["attested"], true);
        assert_eq!(row["evidence"]["observed"]["by"], json!(["Ann", "ben"]));
        assert_eq!(row["evidence"]["observed"]["reason"], "Opened each of them.");
    }
    ben.post(&confirm, json!({})).await.expect_problem(409);
    let list = app.get(&format!("{recovery}/attestations")).await.expect(200);
    assert_eq!(
        (&list.json[0]["state"], &list.json[0]["ended_by"]),
        (&json!("confirmed"), &json!("ben"))
    );
    let incident = recovery
        .trim_end_matches("/recovery")
        .rsplit('/')
        .next()
        .expect("an id");
    for action in ["recovery.attestation_asked", "recovery.attestation_confirmed"] {
        let events = app
            .all(&format!("/api/v1/audit?incident={incident}&action={action}"))
            .await;
        assert_eq!(events.len(), 1, "{action}");
    }
    app.finish().await;
}

async fn an_attestation_proves_nothing_against_what_is_seen(env: Env) {
    let (app, recovery) = started(&env).await;
    let ann = token_of(&app, "ann", None).await;
    let ben = token_of(&app, "ben", None).await;
    let attest = format!("{recovery}/attest");
    let asked = ann
        .post(
            &attest,
            json!({"resources": files(&["b", "c", "d", "e"]), "reason": "Opened each of them."}),
        )
        .await
        .expect(201);
    app.set_clock("2017-04-17T10:00:00Z");
    // Meanwhile somebody says that b is impaired, a comparison expects something of c, and d is not affected any more.
    batch(&app, &recovery, "impaired", &["b"]).await.expect(200);
    expect(&env, &["c"], &json!({"size": SIZE}));
    let incident = recovery.trim_end_matches("/recovery");
    app.delete(&format!("{incident}/affected/file/d"))
        .await
        .expect(204);
    let confirm = format!("{recovery}/attestations/{}/confirm", asked.id());
    let confirmed = ben.post(&confirm, json!({})).await.expect(200);
    assert_eq!(
        (&confirmed["recovered"], &confirmed["unchanged"]),
        (&json!(1), &json!(3))
    );
    let recovered = app.all(&format!("{recovery}/resources?state=recovered")).await;
    assert_eq!(recovered.len(), 1);
    assert_eq!(recovered[0]["resource"]["id"], "e");
    let again = ann
        .post(
            &attest,
            json!({"resources": files(&["b"]), "reason": "Opened it."}),
        )
        .await
        .expect(201);
    let at = format!("{recovery}/attestations/{}", again.id());
    assert_eq!(ann.delete(&at).await.expect(200)["state"], "withdrawn");
    ben.post(&format!("{at}/confirm"), json!({}))
        .await
        .expect_problem(409);
    app.finish().await;
}

async fn a_check_is_evidence_where_nothing_can_be_measured(env: Env) {
    let status = Arc::new(AtomicU16::new(503));
    let answer = status.clone();
    let service = Receiver::answering(move |_, _| Reply::of(answer.load(Ordering::SeqCst)));
    let app = TestApp::builder(&env)
        .at(START)
        .config(|config| config.check_allow = Policy::Private)
        .start()
        .await;
    app.import(directory()).await.expect(200);
    let incident = app.incident(["a", "b", "c", "d"].map(|id| ("file", id))).await;
    let recovery = format!("/api/v1/incidents/{incident}/recovery");
    let check = json!({"name": "North's bag", "url": service.url("/n"), "every_seconds": 60, "failures": 10,
        "resources": [{"type": "bag", "id": "n"}]});
    let check = app.post("/api/v1/checks", check).await.expect(201).id();
    let asked = async |at: &str| {
        app.set_clock(at);
        eventually("the answer of the check", DEADLINE, async || {
            let shown = app.get(&format!("/api/v1/checks/{check}")).await.expect(200);
            (shown["last"]["at"] == json!(at)).then_some(())
        })
        .await;
    };
    let give = async |ids: &[&str]| {
        let body = json!({"check": check, "resources": files(ids)});
        app.post(&format!("{recovery}/evidence/check"), body).await
    };
    asked("2017-04-17T08:00:00Z").await;
    assert_eq!(give(&["a"]).await.expect_problem(422)["code"], "check_not_passed");
    status.store(200, Ordering::SeqCst);
    asked("2017-04-17T08:01:00Z").await;
    // The check is about the bag of the first institution, so it says nothing about a file of the second one.
    let refused = give(&["a", "d"]).await.expect_problem(422);
    assert_eq!(
        (refused.places(), &refused["code"]),
        (vec!["/resources/1".to_owned()], &json!("nothing_comparable"))
    );
    assert_eq!(counts(&app, &recovery).await[2], 0);
    assert_eq!(give(&["a"]).await.expect(200)["recovered"], 1);
    expect(&env, &["b"], &json!({"size": SIZE}));
    assert_eq!(give(&["b"]).await.expect_problem(422)["code"], "measurable");
    app.set_clock("2017-04-17T08:01:30Z");
    batch(&app, &recovery, "impaired", &["c"]).await.expect(200);
    assert_eq!(give(&["c"]).await.expect_problem(422)["code"], "evidence_too_old");
    let unknown = json!({"check": incident, "resources": files(&["c"])});
    app.post(&format!("{recovery}/evidence/check"), unknown)
        .await
        .expect_invalid("/check");
    app.finish().await;
}

async fn who_is_not_affected_any_more_does_not_count(env: Env) {
    let (app, recovery) = started(&env).await;
    batch(&app, &recovery, "recovering", &["a", "b"])
        .await
        .expect(200);
    let incident = recovery.trim_end_matches("/recovery");
    app.delete(&format!("{incident}/affected/file/a"))
        .await
        .expect(204);
    assert_eq!(counts(&app, &recovery).await, [3, 1, 0]);
    let series = app.get(&format!("{recovery}/series")).await.expect(200);
    let last = series
        .json
        .as_array()
        .expect("a list")
        .last()
        .expect("a point")
        .clone();
    assert_eq!((&last["impaired"], &last["recovering"]), (&json!(3), &json!(1)));
    let refused = batch(&app, &recovery, "impaired", &["a"])
        .await
        .expect_problem(422);
    assert_eq!(refused["code"], "not_affected");
    let id = incident.rsplit('/').next().expect("an id");
    app.affect(id, "file", "a").await;
    assert_eq!(counts(&app, &recovery).await, [3, 2, 0]);
    // Whoever becomes affected later counts as impaired.
    app.affect(id, "file", "unaffected").await;
    assert_eq!(counts(&app, &recovery).await, [4, 2, 0]);
    app.finish().await;
}

async fn an_archived_resource_still_counts(env: Env) {
    let (app, recovery) = started(&env).await;
    batch(&app, &recovery, "recovering", &["a"]).await.expect(200);
    expect(&env, &["a"], &json!({"size": SIZE}));
    app.delete("/api/v1/resources/file/a").await.expect(204);
    assert_eq!(counts(&app, &recovery).await, [4, 1, 0]);
    let rows = app.all(&format!("{recovery}/resources?state=recovering")).await;
    assert!(rows[0]["gone_at"].is_string(), "{rows:?}");
    let taken = evidence(&app, &recovery, &line("a", START, json!({"size": SIZE}))).await;
    assert_eq!(taken.expect(200)["recovered"], 1);
    app.finish().await;
}

async fn the_series_has_the_states_over_time(env: Env) {
    let (app, recovery) = started(&env).await;
    assert_eq!(
        app.get(&format!("{recovery}/series")).await.expect(200).json,
        json!([])
    );
    app.set_clock("2017-04-18T08:00:00Z");
    batch(&app, &recovery, "recovering", &["a", "b", "c", "d"])
        .await
        .expect(200);
    expect(&env, &["a", "b", "c", "d", "e"], &json!({"size": SIZE}));
    app.set_clock("2017-04-25T08:00:00Z");
    let size = json!({"size": SIZE});
    let lines = [
        line("a", "2017-04-19T08:00:00Z", size.clone()),
        line("b", "2017-04-20T08:00:00Z", size.clone()),
        // It was as expected before anybody began to recover it. The curve shows that when its recovery began.
        line("c", "2017-04-17T20:00:00Z", size.clone()),
    ];
    assert_eq!(
        evidence(&app, &recovery, &lines.concat()).await.expect(200)["recovered"],
        3
    );
    let point = |at: &str, [impaired, recovering, recovered]: [i64; 3]| json!({"at": at, "impaired": impaired, "recovering": recovering, "recovered": recovered});
    let series = app.get(&format!("{recovery}/series")).await.expect(200);
    assert_eq!(
        series.json,
        json!([
            point("2017-04-17T08:00:00Z", [5, 0, 0]),
            point("2017-04-18T08:00:00Z", [1, 3, 1]),
            point("2017-04-19T08:00:00Z", [1, 2, 2]),
            point("2017-04-20T08:00:00Z", [1, 1, 3]),
        ])
    );
    let image = app.get(&format!("{recovery}.svg")).await.expect(200);
    assert_eq!(image.header("content-type"), "image/svg+xml");
    assert!(
        image
            .text
            .contains("<title>Recovery: 1 impaired, 1 recovering, 3 recovered</title>")
    );
    app.finish().await;
}

async fn thousands_recover_in_batches(env: Env) {
    const ALL: usize = 6_000;
    let app = TestApp::builder(&env).at(START).start().await;
    let mut lines = String::new();
    for account in 0..3 {
        lines.push_str(&format!(
            "{}\n",
            json!({"kind": "account", "id": format!("i{account}"), "name": "Institution"})
        ));
    }
    for n in 0..ALL {
        let account = format!("i{}", n % 3);
        let batch = format!("{}", n % 5);
        let file = json!({"kind": "resource", "type": "file", "id": format!("f{n:05}"), "account": account, "labels": {"batch": batch}});
        lines.push_str(&format!("{file}\n"));
    }
    app.import(lines).await.expect(200);
    let incident = app.incident([]).await;
    app.post(
        &format!("/api/v1/incidents/{incident}/affected"),
        json!({"selector": {"type": "file"}}),
    )
    .await
    .expect(200);
    let recovery = format!("/api/v1/incidents/{incident}/recovery");
    app.set_clock("2017-04-18T00:00:00Z");
    let first = json!({"state": "recovering", "selector": {"type": "file", "labels": {"batch": "0"}}});
    assert_eq!(
        app.post(&recovery, first).await.expect(200)["changed"],
        (ALL / 5) as i64
    );
    env.sql(&format!(
        "UPDATE recovery_states SET expected = '{{\"size\":\"{SIZE}\"}}'"
    ))
    .expect("expected values");
    // Each file is observed at a time of its own, so the series has to draw them together.
    app.set_clock("2017-04-19T00:00:00Z");
    let observed = |n: usize| format!("2017-04-18T{:02}:{:02}:{:02}Z", n / 3_600, n / 60 % 60, n % 60);
    let all: String = (0..ALL)
        .map(|n| line(&format!("f{n:05}"), &observed(n), json!({"size": SIZE})))
        .collect();
    let taken = evidence(&app, &recovery, &all).await.expect(200);
    assert_eq!(taken["recovered"], ALL as i64);
    let found = app.get(&recovery).await.expect(200);
    let of: Vec<i64> = found["accounts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["recovered"].as_i64().expect("a number"))
        .collect();
    assert_eq!(of, [2_000, 2_000, 2_000]);
    let series = app.get(&format!("{recovery}/series")).await.expect(200);
    let points = series.json.as_array().expect("a list");
    assert!((10..=201).contains(&points.len()), "{}", points.len());
    assert_eq!(points.first().expect("a point")["impaired"], ALL as i64);
    assert_eq!(points.last().expect("a point")["recovered"], ALL as i64);
    for point in points {
        let sum: i64 = ["impaired", "recovering", "recovered"]
            .iter()
            .filter_map(|name| point[*name].as_i64())
            .sum();
        assert_eq!(sum, ALL as i64, "{point}");
    }
    let csv = app
        .get(&format!("{recovery}/impact?format=csv"))
        .await
        .expect(200);
    assert_eq!(csv.text.lines().count(), ALL + 1);
    app.finish().await;
}

async fn the_page_shows_it_and_its_forms_do_the_same(env: Env) {
    let (app, recovery) = started(&env).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = "/admin/incidents/1/recovery";
    assert!(
        browser
            .page(page)
            .await
            .contains("every affected resource counts as impaired")
    );
    let listed = [
        ("resources", "file a\nfile b"),
        ("state", "recovering"),
        ("name", "first"),
    ];
    browser.send_from(page, page, &listed).await.expect(303);
    assert_eq!(counts(&app, &recovery).await, [3, 2, 0]);
    // A wrong line changes nothing, and what was typed stays.
    let wrong = [
        ("resources", "file c\nfile nope"),
        ("state", "recovering"),
        ("name", "second"),
    ];
    let refused = browser.send_from(page, page, &wrong).await.expect(422);
    assert!(
        refused.text.contains("file nope") && refused.text.contains("value=\"second\""),
        "{}",
        refused.text
    );
    assert_eq!(counts(&app, &recovery).await, [3, 2, 0]);
    let counted = browser
        .page(&format!("{page}?selector=type%3Afile+store%3As3"))
        .await;
    assert!(counted.contains("Begin the recovery of 4 resources"), "{counted}");
    let found = [
        ("selector", "type:file store:s3"),
        ("what", "recovering"),
        ("name", ""),
        ("reason", ""),
    ];
    browser
        .send_from(page, &format!("{page}/selector"), &found)
        .await
        .expect(303);
    assert_eq!(counts(&app, &recovery).await, [1, 4, 0]);
    expect(&env, &["a", "b"], &json!({"size": SIZE}));
    app.set_clock("2017-04-17T10:00:00Z");
    let at = "2017-04-17T09:00:00Z";
    let key = browser.key(page).await;
    let good = line("a", at, json!({"size": SIZE}));
    browser
        .upload(&format!("{page}/evidence"), &key, &[], Some(&good))
        .await
        .expect(303);
    let pasted =
        format!("type,id,size,observed_at,source\nfile,b,{SIZE},{at},a script\nfile,nope,1,{at},a script\n");
    let partly = browser
        .upload(&format!("{page}/evidence"), &key, &[("text", &pasted)], None)
        .await
        .expect(200);
    assert!(
        partly.text.contains("1 resource is recovered.") && partly.text.contains("<strong>Line 3</strong>"),
        "{}",
        partly.text
    );
    browser
        .upload(&format!("{page}/evidence"), &key, &[], None)
        .await
        .expect(422);
    assert_eq!(counts(&app, &recovery).await, [1, 2, 2]);
    let attest = [("resources", "file e"), ("reason", "Opened it.")];
    browser
        .send_from(page, &format!("{page}/attest"), &attest)
        .await
        .expect(303);
    let open = app.get(&recovery).await.expect(200);
    let id = open["open_attestations"][0]["id"]
        .as_str()
        .expect("an attestation")
        .to_owned();
    let confirm = format!("{page}/attestations/{id}/confirm");
    let refused = browser.send_from(page, &confirm, &[]).await.expect(422);
    assert!(
        refused
            .text
            .contains("another person must confirm this attestation"),
        "{}",
        refused.text
    );
    let other = Browser::signed_in(&app, &app.token("operator").await).await;
    other.send_from(page, &confirm, &[]).await.expect(303);
    let shown = browser.page(&format!("{page}?state=recovered")).await;
    assert!(
        shown.contains("file e") && shown.contains("attested") && !shown.contains("file c"),
        "{shown}"
    );
    assert!(
        browser
            .page("/admin/incidents/1")
            .await
            .contains("Recovered 3 of 5")
    );
    let history = browser.page(&format!("{page}/resources/file/a")).await;
    assert!(history.contains("s3 head"), "{history}");
    browser
        .open(&format!("{page}/impact.csv?by=account"))
        .await
        .expect(200);
    app.finish().await;
}
