//! A selector as of a time finds what the directory knew then: a label that is gone can be asked for, and nothing else is found. Without a
//! time, a label that is gone is an error.

use std::collections::{BTreeMap, BTreeSet};

use candor::app::open_database;
use candor::audit::{Actor, Tx};
use candor::base::error::Error;
use candor::base::time::{Clock, Timestamp};
use candor::config::Config;
use candor::directory::selector::{Json, PeopleSelector, Selector};
use candor::directory::{account, import, resource};
use candor::incident::{self, NewIncident, Severity, affected};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, on_both_databases, on_one_database};

on_both_databases!(
    a_label_that_is_gone_can_be_asked_for,
    members_of_then_are_found_by_the_labels_of_then,
    a_time_without_a_history_is_refused,
    an_import_that_changes_nothing_writes_no_history,
    whatever_is_selected_as_of_a_time,
);

on_one_database!(the_pages_ask_as_of_a_time);

const AFFECTED: &str = "/api/v1/incidents";

/// Returns a directory with two files whose labels are given, in a project of an account with a tier.
fn directory(first: &Value, second: &Value, tier: &str) -> String {
    [
        json!({"kind": "account", "id": "acme", "name": "Acme", "labels": {"tier": tier}}),
        json!({"kind": "account", "id": "zeta", "name": "Zeta"}),
        json!({"kind": "person", "id": "ann", "name": "Ann", "email": "ann@acme.example"}),
        json!({"kind": "member", "account": "acme", "person": "ann", "role": "owner"}),
        json!({"kind": "resource", "type": "project", "id": "site", "account": "acme"}),
        json!({"kind": "resource", "type": "project", "id": "other", "account": "zeta"}),
        json!({"kind": "resource", "type": "file", "id": "1", "labels": first, "parent": {"type": "project", "id": "site"}}),
        json!({"kind": "resource", "type": "file", "id": "2", "labels": second, "parent": {"type": "project", "id": "site"}}),
    ]
    .iter()
    .map(|line| format!("{line}\n"))
    .collect()
}

/// Starts at 08:00 with two files at s3. At 09:00 the first moves to gcs and into another project, and the second is archived. Its
/// account has another tier from then on.
async fn moved(env: &Env) -> TestApp {
    let app = TestApp::builder(env).at("2024-03-14T08:00:00Z").start().await;
    let s3 = json!({"provider": "s3", "region": "eu"});
    app.import(directory(&s3, &s3, "free")).await.expect(200);
    app.set_clock("2024-03-14T09:00:00Z");
    app.put(
        "/api/v1/resources/file/1",
        json!({"labels": {"provider": "gcs"}, "parent": {"type": "project", "id": "other"}}),
    )
    .await
    .expect(200);
    app.delete("/api/v1/resources/file/2").await.expect(204);
    app.put(
        "/api/v1/accounts/acme",
        json!({"name": "Acme", "labels": {"tier": "pro"}}),
    )
    .await
    .expect(200);
    app.set_clock("2024-03-14T10:00:00Z");
    app
}

/// Returns the number of resources that a selector finds.
async fn count(app: &TestApp, selector: &str, as_of: Option<&str>) -> crate::support::Answer {
    let body = match as_of {
        Some(at) => json!({"selector": selector, "as_of": at}),
        None => json!({"selector": selector}),
    };
    app.post("/api/v1/selectors/count", body).await
}

async fn a_label_that_is_gone_can_be_asked_for(env: Env) {
    let app = moved(&env).await;
    let then = Some("2024-03-14T11:30:00+03:00");
    for (selector, now, at_half_past_eight) in [
        ("provider:s3", None, Some(2)),
        ("provider:gcs", Some(1), None),
        ("region:eu", None, Some(2)),
        ("type:file under:project/site", None, Some(2)),
        ("type:file under:project/other", Some(1), None),
        ("type:file account:acme", None, Some(2)),
        ("type:file account.tier:free", None, Some(2)),
        ("type:file account.tier:pro", None, None),
        ("account.tier:pro", Some(1), None),
        ("type:file not(provider:s3)", None, None),
        ("type:file", Some(1), Some(2)),
        ("type:project", Some(2), Some(2)),
    ] {
        for (as_of, expected) in [(None, now), (then, at_half_past_eight)] {
            let counted = count(&app, selector, as_of).await;
            match expected {
                Some(number) => {
                    let counted = counted.expect(200);
                    assert_eq!(counted["resources"], number, "{selector} {as_of:?}: {counted}");
                }
                None => {
                    counted.expect_problem(422);
                }
            }
        }
    }
    let refused = count(&app, "provider:gcs", then).await.expect_problem(422);
    assert!(refused.text.contains("as of 2024-03-14T08:30:00Z"), "{refused}");

    let incident = app.incident(Vec::<(&str, &str)>::new()).await;
    let path = format!("{AFFECTED}/{incident}/affected");
    app.post(&path, json!({"selector": "provider:s3"}))
        .await
        .expect_problem(422);
    assert_eq!(app.all(&path).await, Vec::<Value>::new());
    let added = app
        .post(&path, json!({"selector": "provider:s3", "as_of": then}))
        .await
        .expect(200);
    assert_eq!(added["added"], 2);
    let rows = app.all(&path).await;
    for row in &rows {
        assert_eq!(
            json!([row["source"], row["as_of"]]),
            json!(["selector", "2024-03-14T08:30:00Z"])
        );
    }
    // The file that is archived now is in the list, and nobody is notified because of it.
    assert_eq!(rows.iter().filter(|row| row["gone_at"].is_string()).count(), 1);
    let timeline = app.all(&format!("{AFFECTED}/{incident}/timeline")).await;
    let said = "Selector provider:s3 as of 2024-03-14T08:30:00Z: 2 of 2 matching resources added";
    assert!(
        timeline
            .iter()
            .any(|entry| entry["text"].as_str().is_some_and(|text| text.contains(said))),
        "{timeline:?}"
    );
    let events = app
        .all(&format!(
            "/api/v1/audit?incident={incident}&action=affected.added"
        ))
        .await;
    assert_eq!(
        events[0]["after"]["what"],
        json!({"selector": "provider:s3", "relevance": null, "as_of": "2024-03-14T08:30:00Z"})
    );
    // The recovery of the same resources is asked for in the same way.
    let recovery = format!("{AFFECTED}/{incident}/recovery");
    let batch = json!({"state": "recovering", "selector": "provider:s3"});
    app.post(&recovery, &batch).await.expect_problem(422);
    let batch = json!({"state": "recovering", "selector": "provider:s3", "as_of": then});
    assert_eq!(app.post(&recovery, &batch).await.expect(200)["changed"], 2);
    let listed = json!({"state": "recovering", "resources": [{"type": "file", "id": "1"}], "as_of": then});
    app.post(&recovery, &listed).await.expect_invalid("/as_of");
    let attested = json!({"selector": "provider:s3", "as_of": then, "reason": "Opened by hand."});
    let attestation = app
        .post(&format!("{recovery}/attest"), &attested)
        .await
        .expect(201);
    assert_eq!(attestation["resources"], 2);
    let removed = app
        .post(
            &format!("{path}/remove"),
            json!({"selector": "provider:s3", "as_of": then}),
        )
        .await
        .expect(200);
    assert_eq!(removed["removed"], 2);
    // What is added now has no such time, also if it had one before.
    app.post(&path, json!({"selector": "provider:gcs"}))
        .await
        .expect(200);
    assert_eq!(app.all(&path).await[0]["as_of"], Value::Null);
    app.finish().await;
}

async fn members_of_then_are_found_by_the_labels_of_then(env: Env) {
    let app = moved(&env).await;
    app.delete("/api/v1/accounts/acme/members/ann").await.expect(204);
    app.set_clock("2024-03-14T11:00:00Z");
    let (path, free) = (
        "/api/v1/selectors/people/count",
        json!({"account_labels": {"tier": "free"}, "roles": ["owner"]}),
    );
    app.post(path, json!({"selector": free}))
        .await
        .expect_problem(422);
    let then = "2024-03-14T08:30:00Z";
    let found = app
        .post(path, json!({"selector": free, "as_of": then}))
        .await
        .expect(200);
    assert_eq!(json!([found["people"], found["as_of"]]), json!([1, then]));
    app.post(
        path,
        json!({"selector": {"account_labels": {"tier": "pro"}}, "as_of": then}),
    )
    .await
    .expect_problem(422);
    // Between the change of the label and the end of the membership.
    let between = json!({"selector": {"account_labels": {"tier": "pro"}}, "as_of": "2024-03-14T09:30:00Z"});
    assert_eq!(app.post(path, between).await.expect(200)["people"], 1);
    let incident = app.incident(Vec::<(&str, &str)>::new()).await;
    let people = format!("{AFFECTED}/{incident}/affected/people");
    app.post(&people, json!({"selector": free, "as_of": then}))
        .await
        .expect(200);
    let rows = app.all(&people).await;
    assert_eq!(
        json!([rows[0]["person"]["id"], rows[0]["as_of"]]),
        json!(["ann", then])
    );
    let audience = app
        .get(&format!("{AFFECTED}/{incident}/audience"))
        .await
        .expect(200);
    assert_eq!(audience.items()[0]["reasons"][0]["named"]["as_of"], then);
    let why = app
        .get(&format!("{AFFECTED}/{incident}/audience/explain?person=ann"))
        .await
        .expect(200);
    assert!(
        why.text
            .contains("was added by filter as of 2024-03-14T08:30:00Z"),
        "{why}"
    );
    app.finish().await;
}

async fn a_time_without_a_history_is_refused(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T08:00:00Z").start().await;
    let refused = count(&app, "type:file", Some("2024-03-14T08:00:00Z")).await;
    refused.expect_invalid("/as_of");
    let label = json!({"provider": "s3"});
    app.import(directory(&label, &label, "free")).await.expect(200);
    app.set_clock("2024-03-14T09:00:00Z");
    for (at, reason) in [
        ("2024-03-14T07:59:59Z", "when the history of labels begins"),
        ("2024-03-14T09:00:01Z", "is in the future"),
    ] {
        let refused = count(&app, "provider:s3", Some(at))
            .await
            .expect_invalid("/as_of");
        assert!(refused.text.contains(reason), "{refused}");
    }
    for at in ["2024-03-14T08:00:00Z", "2024-03-14T09:00:00Z"] {
        count(&app, "provider:s3", Some(at)).await.expect(200);
    }
    // A time without an offset is no time.
    count(&app, "provider:s3", Some("2024-03-14T08:30:00"))
        .await
        .expect_problem(422);
    let incident = app.incident(Vec::<(&str, &str)>::new()).await;
    let path = format!("{AFFECTED}/{incident}/affected");
    let list = json!({"resources": [{"type": "file", "id": "1"}], "as_of": "2024-03-14T08:30:00Z"});
    app.post(&path, &list).await.expect_invalid("/as_of");
    app.post(&format!("{path}/remove"), &list)
        .await
        .expect_invalid("/as_of");
    app.post(
        &format!("{path}/people"),
        json!({"people": ["ann"], "as_of": "2024-03-14T08:30:00Z"}),
    )
    .await
    .expect_invalid("/as_of");
    // The labels of a directory that was there before the history are not known.
    env.sql("UPDATE counters SET value = 1710405000000000 WHERE name = 'labels_known_from'")
        .expect("the beginning");
    count(&app, "provider:s3", Some("2024-03-14T08:29:59Z"))
        .await
        .expect_invalid("/as_of");
    count(&app, "provider:s3", Some("2024-03-14T08:30:00Z"))
        .await
        .expect(200);
    app.finish().await;
}

async fn an_import_that_changes_nothing_writes_no_history(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T08:00:00Z").start().await;
    let (s3, gcs) = (
        json!({"provider": "s3", "region": "eu"}),
        json!({"provider": "gcs"}),
    );
    let history = || {
        (
            env.count("resource_label_history"),
            env.count("account_label_history"),
            env.count("resource_labels WHERE since <> 1710403200000000"),
        )
    };
    app.import(directory(&s3, &s3, "free")).await.expect(200);
    app.set_clock("2024-03-14T08:10:00Z");
    app.import(directory(&s3, &s3, "free")).await.expect(200);
    assert_eq!(history(), (0, 0, 0), "nothing has changed");
    app.set_clock("2024-03-14T08:20:00Z");
    app.import(directory(&s3, &gcs, "pro")).await.expect(200);
    // The value of one label has ended, one label is gone, and the tier of the account has changed.
    assert_eq!(history(), (2, 1, 1));
    app.finish().await;
}

async fn the_pages_ask_as_of_a_time(env: Env) {
    let app = moved(&env).await;
    app.incident(Vec::<(&str, &str)>::new()).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let page = "/admin/incidents/1/resources";
    let ask = |at: &str| {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("selector", "provider:s3"), ("as_of", at)])
            .finish();
        format!("{page}?{query}")
    };
    let now = operator.page(&ask("")).await;
    assert!(now.contains("no resource has the label"), "{now}");
    let then = operator.page(&ask("2024-03-14T08:30:00Z")).await;
    assert!(then.contains("Add 2 resources"), "{then}");
    let wrong = operator.page(&ask("yesterday")).await;
    assert!(wrong.contains("As of: "), "{wrong}");
    let send = |at: &'static str| [("selector", "provider:s3"), ("as_of", at)];
    let to = "/admin/incidents/1/resources/selector";
    operator
        .send_from(page, to, &send("2030-01-01T00:00Z"))
        .await
        .expect(422);
    operator
        .send_from(page, to, &send("2024-03-14T08:30:00Z"))
        .await
        .expect(303);
    let added = operator.page(page).await;
    assert!(added.contains("added by filter as of"), "{added}");
    let recovery = "/admin/incidents/1/recovery";
    let counted = operator
        .page(&ask("2024-03-14T08:30:00Z").replace(page, recovery))
        .await;
    assert!(counted.contains("Begin the recovery of 2 resources"), "{counted}");
    let begin = [
        ("selector", "provider:s3"),
        ("as_of", "2024-03-14T08:30:00Z"),
        ("what", "recovering"),
        ("name", ""),
        ("reason", ""),
    ];
    operator
        .send_from(recovery, "/admin/incidents/1/recovery/selector", &begin)
        .await
        .expect(303);
    let named = "/admin/incidents/1/named";
    let people = [
        ("accounts", ""),
        ("roles", ""),
        ("labels", "tier:free"),
        ("as_of", "2024-03-14T08:30:00Z"),
    ];
    operator
        .send_from(named, "/admin/incidents/1/people/selector", &people)
        .await
        .expect(303);
    let added = operator.page(named).await;
    assert!(added.contains("added by filter as of"), "{added}");
    app.finish().await;
}

const ACCOUNTS: usize = 2;
const RESOURCES: usize = 6;

#[derive(Clone, Debug, PartialEq)]
struct Resource {
    gone: bool,
    account: Option<usize>,
    parent: Option<usize>,
    labels: BTreeMap<&'static str, &'static str>,
}

/// What the directory contains at one time.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    /// Whether the account is archived, and its tier.
    accounts: Vec<(bool, Option<&'static str>)>,
    resources: Vec<Resource>,
}

fn model() -> impl Strategy<Value = Model> {
    let seldom = || prop::bool::weighted(0.2);
    let tier = prop::option::of(prop::sample::select(vec!["free", "pro"]));
    let accounts = prop::collection::vec((seldom(), tier), ACCOUNTS);
    let labels = (
        prop::option::of(prop::sample::select(vec!["s3", "azure"])),
        prop::option::of(prop::sample::select(vec!["1", "2"])),
    );
    let resources = prop::collection::vec(
        (
            seldom(),
            prop::option::weighted(0.3, 0..ACCOUNTS),
            prop::option::weighted(0.6, any::<prop::sample::Index>()),
            labels,
        ),
        RESOURCES,
    );
    (accounts, resources).prop_map(|(accounts, resources)| {
        let mut placed: Vec<Resource> = Vec::new();
        for (index, (gone, account, parent, (provider, version))) in resources.into_iter().enumerate() {
            let parent = parent.filter(|_| index > 0).map(|at| at.index(index));
            let labels = [("provider", provider), ("version", version)];
            placed.push(Resource {
                gone,
                // Only a resource without a parent has an account, so that no two accounts meet in one branch.
                account: account.filter(|_| parent.is_none()),
                parent,
                labels: labels
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect(),
            });
        }
        Model {
            accounts,
            resources: placed,
        }
    })
}

fn selector() -> impl Strategy<Value = Value> {
    let word = |words: &[&'static str]| prop::sample::select(words.to_vec());
    let leaf = prop_oneof![
        Just(json!({"type": "file"})),
        word(&["s3", "azure"]).prop_map(|value| json!({"labels": {"provider": value}})),
        word(&["provider", "version"]).prop_map(|name| json!({"labels": {name: {"exists": true}}})),
        word(&["free", "pro"]).prop_map(|value| json!({"account_labels": {"tier": value}})),
        (0..ACCOUNTS).prop_map(|id| json!({"accounts": [id.to_string()]})),
        (0..RESOURCES).prop_map(|id| json!({"under": {"type": "file", "id": id.to_string()}})),
    ];
    leaf.prop_recursive(2, 8, 2, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2).prop_map(|parts| json!({"and": parts})),
            prop::collection::vec(inner.clone(), 2).prop_map(|parts| json!({"or": parts})),
            (inner.clone(), inner).prop_map(|(some, other)| json!({"and": [some], "not": other})),
        ]
    })
}

impl Model {
    fn there(&self) -> impl Iterator<Item = usize> {
        (0..RESOURCES).filter(|at| !self.resources[*at].gone)
    }

    /// Returns the resource and its ancestors, up to the first archived one.
    fn chain(&self, at: usize) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next.filter(|at| !self.resources[*at].gone) {
            chain.push(at);
            next = self.resources[at].parent;
        }
        chain
    }

    fn account(&self, at: usize) -> Option<usize> {
        let account = self.chain(at).iter().find_map(|at| self.resources[*at].account)?;
        (!self.accounts[account].0).then_some(account)
    }

    /// Returns whether a selector finds a resource, from a naive reading of its JSON.
    fn means(&self, selector: &Value, at: usize) -> bool {
        let one = &self.resources[at];
        let each = |list: &Value| list.as_array().expect("a list").clone();
        selector
            .as_object()
            .expect("an object")
            .iter()
            .all(|(field, value)| match field.as_str() {
                "type" => true,
                "labels" => value.as_object().expect("labels").iter().all(|(name, test)| {
                    let label = one.labels.get(name.as_str());
                    label.is_some_and(|label| test["exists"] == true || test == label)
                }),
                "account_labels" => self
                    .account(at)
                    .and_then(|account| self.accounts[account].1)
                    .is_some_and(|tier| value["tier"] == tier),
                "accounts" => self
                    .account(at)
                    .is_some_and(|account| each(value).contains(&json!(account.to_string()))),
                "under" => self
                    .chain(at)
                    .iter()
                    .skip(1)
                    .any(|above| value["id"].as_str() == Some(above.to_string().as_str())),
                "and" => each(value).iter().all(|part| self.means(part, at)),
                "or" => each(value).iter().any(|part| self.means(part, at)),
                "not" => !self.means(value, at),
                other => panic!("{other}"),
            })
    }

    /// Returns whether everything that a selector names exists.
    fn knows(&self, selector: &Value) -> bool {
        let each = |list: &Value| list.as_array().expect("a list").clone();
        selector
            .as_object()
            .expect("an object")
            .iter()
            .all(|(field, value)| match field.as_str() {
                "type" => self.there().next().is_some(),
                "labels" => value.as_object().expect("labels").iter().all(|(name, test)| {
                    self.there().any(|at| {
                        let label = self.resources[at].labels.get(name.as_str());
                        label.is_some_and(|label| test["exists"] == true || test == label)
                    })
                }),
                "account_labels" => self
                    .accounts
                    .iter()
                    .any(|(gone, tier)| !gone && tier.is_some_and(|tier| value["tier"] == tier)),
                "accounts" => each(value).iter().all(|id| {
                    let account: usize = id.as_str().expect("an id").parse().expect("an index");
                    !self.accounts[account].0
                        && self.there().any(|at| self.resources[at].account == Some(account))
                }),
                "under" => {
                    let at: usize = value["id"].as_str().expect("an id").parse().expect("an index");
                    !self.resources[at].gone
                        && self.there().any(|below| self.resources[below].parent == Some(at))
                }
                "and" | "or" => each(value).iter().all(|part| self.knows(part)),
                "not" => self.knows(value),
                other => panic!("{other}"),
            })
    }

    /// Returns what a selector finds. `None` if it is refused.
    fn found(&self, selector: &Value) -> Option<BTreeSet<usize>> {
        let meant: BTreeSet<usize> = self.there().filter(|at| self.means(selector, *at)).collect();
        (self.knows(selector) && !meant.is_empty()).then_some(meant)
    }

    fn lines(&self, round: usize) -> String {
        let id = |at: usize| format!("{round}-{at}");
        let mut lines: Vec<Value> = Vec::new();
        for (index, (_, tier)) in self.accounts.iter().enumerate() {
            let labels = tier.map_or(json!({}), |tier| json!({"tier": tier}));
            lines.push(json!({"kind": "account", "id": id(index), "name": "A", "labels": labels}));
        }
        for (index, one) in self.resources.iter().enumerate() {
            lines.push(json!({
                "kind": "resource", "type": kind(round), "id": id(index), "labels": one.labels,
                "account": one.account.map(id),
                "parent": one.parent.map(|at| json!({"type": kind(round), "id": id(at)})),
            }));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// The type of the resources of one case. Each case has its own, so that cases do not see each other.
fn kind(round: usize) -> String {
    format!("file{round}")
}

/// Returns the selector with the IDs, types and names of one case.
fn of_round(selector: &Value, round: usize) -> Value {
    match selector {
        Value::Object(fields) => fields
            .iter()
            .map(|(field, value)| {
                let value = match field.as_str() {
                    "type" => json!(kind(round)),
                    "accounts" => value
                        .as_array()
                        .expect("a list")
                        .iter()
                        .map(|id| json!(format!("{round}-{}", id.as_str().expect("an id"))))
                        .collect(),
                    "under" => json!({"type": kind(round), "id": format!("{round}-{}", value["id"].as_str().expect("an id"))}),
                    _ => of_round(value, round),
                };
                (field.clone(), value)
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(|item| of_round(item, round)).collect(),
        other => other.clone(),
    }
}

/// The two states of the directory, the selector, and where the answer is sent.
type Case = (Model, Model, Value, std::sync::mpsc::Sender<Answer>);
/// What the selector finds as of the first state, as of the second state, and now.
type Answer = candor::base::error::Result<[Option<BTreeSet<usize>>; 3]>;

/// Stores the model. In the first step, everything of the case before is archived, so that it makes no name known. All of it has the time
/// of the transaction.
fn store(tx: &mut Tx<'_>, model: &Model, round: usize, step: usize) -> candor::base::error::Result<()> {
    if let Some(before) = round.checked_sub(1).filter(|_| step == 0) {
        for index in 0..RESOURCES {
            let at = resource::at(&kind(before), &format!("{before}-{index}")).expect("an id");
            if resource::get(tx.conn, &at).is_ok_and(|one| one.gone_at.is_none()) {
                resource::delete(tx, &at)?;
            }
        }
        for index in 0..ACCOUNTS {
            let id = format!("{before}-{index}");
            if account::get(tx.conn, &id).is_ok_and(|one| one.gone_at.is_none()) {
                account::delete(tx, &id)?;
            }
        }
    }
    // What is imported becomes active again, so what is to be archived is archived afterwards, at the same time.
    import::import(tx, model.lines(round).as_bytes())?;
    for (index, _) in model.resources.iter().enumerate().filter(|(_, one)| one.gone) {
        resource::delete(
            tx,
            &resource::at(&kind(round), &format!("{round}-{index}")).expect("an id"),
        )?;
    }
    for (index, _) in model.accounts.iter().enumerate().filter(|(_, (gone, _))| *gone) {
        account::delete(tx, &format!("{round}-{index}"))?;
    }
    Ok(())
}

/// Returns what a selector finds. `None` if it is refused.
fn found(
    tx: &mut Tx<'_>,
    given: &Value,
    as_of: Option<Timestamp>,
) -> candor::base::error::Result<Option<BTreeSet<usize>>> {
    let new = NewIncident {
        title: "A case".to_owned(),
        severity: Severity::Minor,
        summary: None,
        started_at: None,
        detected_at: None,
        time_zone: None,
        affected: Vec::new(),
        drill: false,
        headline: None,
    };
    let incident = incident::open(tx, &new)?.id;
    let json: Json = serde_json::from_value(given.clone())?;
    let now = tx.now;
    let selector = Selector::parse("/selector", &json)?.at(tx.conn, as_of, now)?;
    match affected::add_selected(tx, &incident, &selector, None) {
        Ok(_) => {}
        Err(Error::Invalid { .. }) => return Ok(None),
        Err(other) => return Err(other),
    }
    let items = affected::list(tx.conn, &incident, None, None, 500)?;
    let index = |item: &affected::Affected| {
        let (_, index) = item.resource.id.as_str().split_once('-').expect("an id");
        index.parse().expect("an index")
    };
    Ok(Some(items.iter().map(index).collect()))
}

/// The first case begins then. Each case takes a minute.
const START: i64 = 1_710_403_200_000_000;
const MINUTE: i64 = 60_000_000;

async fn whatever_is_selected_as_of_a_time(env: Env) {
    let config = Config::for_test(&env.database_url);
    let clock = Clock::manual(Timestamp::from_micros(START));
    let db = open_database(&config, clock.clone()).await.expect("a database");
    // proptest runs its cases in its own thread, which asks this one to carry out each case.
    let (cases, mut asked) = tokio::sync::mpsc::unbounded_channel::<Case>();
    let runner = std::thread::spawn(move || {
        let runs = Runs {
            cases: 48,
            failure_persistence: None,
            max_shrink_iters: 100,
            ..Runs::default()
        };
        let models = (model(), model(), selector());
        let result = TestRunner::new(runs).run(&models, |(first, second, selector)| {
            let (answer, answered) = std::sync::mpsc::channel::<Answer>();
            cases
                .send((first.clone(), second.clone(), selector.clone(), answer))
                .expect("the test is waiting");
            let found = answered
                .recv()
                .expect("an answer")
                .map_err(|error| TestCaseError::fail(error.chain()))?;
            let now = second.found(&selector);
            prop_assert_eq!(found, [first.found(&selector), now.clone(), now]);
            Ok(())
        });
        result.map_err(|error| error.to_string())
    });
    let by = Actor::system("a test");
    let mut round = 0;
    while let Some((first, second, selector, answer)) = asked.recv().await {
        let at = |minutes: i64| Timestamp::from_micros(START + (3 * round as i64 + minutes) * MINUTE);
        let mut failed = None;
        for (step, model) in [first, second].into_iter().enumerate() {
            clock.set(at(step as i64));
            if let Err(error) = db.write(&by, move |tx| store(tx, &model, round, step)).await {
                failed = Some(error);
            }
        }
        clock.set(at(2));
        let given = of_round(&selector, round);
        let times = [Some(at(0)), Some(at(1)), None];
        let found = match failed {
            Some(error) => Err(error),
            None => {
                db.write(&by, move |tx| {
                    let [first, second, now] = times;
                    Ok([
                        found(tx, &given, first)?,
                        found(tx, &given, second)?,
                        found(tx, &given, now)?,
                    ])
                })
                .await
            }
        };
        round += 1;
        // An error here means that the runner has stopped, and it reports this itself.
        let _ = answer.send(found);
    }
    if let Err(failed) = runner.join().expect("the runner's thread") {
        panic!("{failed}");
    }
}

#[test]
fn a_selector_over_people_says_its_time() {
    let given: Json = serde_json::from_value(json!({"roles": ["owner"]})).expect("a selector");
    let selector = PeopleSelector::parse("/selector", &given).expect("a selector");
    assert_eq!(
        (selector.described(), selector.as_of()),
        ("role:owner".to_owned(), None)
    );
}
