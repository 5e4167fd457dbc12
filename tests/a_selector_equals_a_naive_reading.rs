//! Random directories and random selectors. A selector finds what a naive reading of its JSON finds. It is
//! refused exactly if it names something unknown or finds nothing.

use std::collections::{BTreeMap, BTreeSet};

use candor::app::open_database;
use candor::audit::{Actor, Tx};
use candor::base::error::Error;
use candor::base::time::Clock;
use candor::config::Config;
use candor::directory::selector::{Json, Selector};
use candor::directory::{account, import, resource};
use candor::incident::{self, NewIncident, Severity, affected};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::{Value, json};

use crate::support::{Env, on_both_databases};

on_both_databases!(whatever_is_selected);

const ACCOUNTS: usize = 3;
const RESOURCES: usize = 10;

#[derive(Clone, Debug)]
struct Resource {
    gone: bool,
    type_: &'static str,
    account: Option<usize>,
    parent: Option<usize>,
    labels: BTreeMap<&'static str, &'static str>,
}

#[derive(Clone, Debug)]
struct Model {
    /// Whether the account is archived, and its tier.
    accounts: Vec<(bool, Option<&'static str>)>,
    resources: Vec<Resource>,
}

fn model() -> impl Strategy<Value = Model> {
    let seldom = || prop::bool::weighted(0.15);
    let tier = prop::option::of(prop::sample::select(vec!["free", "pro"]));
    let accounts = prop::collection::vec((seldom(), tier), ACCOUNTS);
    let labels = (
        prop::option::of(prop::sample::select(vec!["s3", "azure"])),
        prop::option::of(prop::sample::select(vec!["1", "2"])),
    );
    let resources = prop::collection::vec(
        (
            seldom(),
            prop::sample::select(vec!["file", "media"]),
            prop::option::weighted(0.3, 0..ACCOUNTS),
            prop::option::weighted(0.7, any::<prop::sample::Index>()),
            labels,
        ),
        RESOURCES,
    );
    (accounts, resources).prop_map(|(accounts, resources)| {
        let mut placed: Vec<Resource> = Vec::new();
        for (index, (gone, type_, account, parent, (provider, version))) in resources.into_iter().enumerate()
        {
            let parent = parent.filter(|_| index > 0).map(|at| at.index(index));
            let above = parent.and_then(|at| named_above(&placed, at));
            let labels = [("provider", provider), ("version", version)];
            placed.push(Resource {
                gone,
                type_,
                account: account.filter(|account| above.is_none_or(|above| above == *account)),
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

fn named_above(resources: &[Resource], at: usize) -> Option<usize> {
    let one = &resources[at];
    one.account
        .or_else(|| one.parent.and_then(|parent| named_above(resources, parent)))
}

fn selector() -> impl Strategy<Value = Value> {
    let word = |words: &[&'static str]| prop::sample::select(words.to_vec());
    let leaf = prop_oneof![
        word(&["file", "media", "folder"]).prop_map(|type_| json!({"type": type_})),
        word(&["s3", "azure", "gcs"]).prop_map(|value| json!({"labels": {"provider": value}})),
        word(&["1", "2"]).prop_map(|value| json!({"labels": {"version": {"in": [value, "2"]}}})),
        word(&["provider", "version", "tier"]).prop_map(|name| json!({"labels": {name: {"exists": true}}})),
        word(&["free", "pro"]).prop_map(|value| json!({"account_labels": {"tier": value}})),
        prop::collection::vec(0..=ACCOUNTS, 1..3)
            .prop_map(|ids| json!({"accounts": ids.iter().map(usize::to_string).collect::<Vec<_>>()})),
        // The IDs are of one type here, and the other type is unknown.
        (0..RESOURCES, word(&["file", "media"]))
            .prop_map(|(id, type_)| json!({"under": {"type": type_, "id": id.to_string()}})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"and": parts})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"or": parts})),
            (inner.clone(), inner).prop_map(|(some, other)| json!({"and": [some], "not": other})),
        ]
    })
}

impl Model {
    fn there(&self, at: usize) -> bool {
        !self.resources[at].gone
    }

    /// Returns the resource and its ancestors, up to the first archived one.
    fn chain(&self, at: usize) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next.filter(|at| self.there(*at)) {
            chain.push(at);
            next = self.resources[at].parent;
        }
        chain
    }

    /// Returns the account that the resource belongs to, if it is active.
    fn account(&self, at: usize) -> Option<usize> {
        let account = self.chain(at).iter().find_map(|at| self.resources[*at].account)?;
        (!self.accounts[account].0).then_some(account)
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        (0..self.resources.len()).filter(|at| self.there(*at))
    }

    /// Returns whether the selector finds a resource, from a naive reading of its JSON.
    fn means(&self, selector: &Value, at: usize) -> bool {
        let one = &self.resources[at];
        let each = |list: &Value| list.as_array().expect("a list").clone();
        let holds = |value: Option<&str>, test: &Value| match (value, test) {
            (Some(value), Value::String(wanted)) => value == wanted,
            (Some(value), test) => test["exists"] == true || each(&test["in"]).iter().any(|one| one == value),
            (None, _) => false,
        };
        selector
            .as_object()
            .expect("an object")
            .iter()
            .all(|(field, value)| match field.as_str() {
                "type" => value == one.type_,
                "labels" => value
                    .as_object()
                    .expect("labels")
                    .iter()
                    .all(|(name, test)| holds(one.labels.get(name.as_str()).copied(), test)),
                "account_labels" => self
                    .account(at)
                    .is_some_and(|account| holds(self.accounts[account].1, &value["tier"])),
                "accounts" => self
                    .account(at)
                    .is_some_and(|account| each(value).contains(&json!(account.to_string()))),
                "under" => self.chain(at).iter().skip(1).any(|above| {
                    value["id"].as_str() == Some(above.to_string().as_str())
                        && value["type"] == self.resources[*above].type_
                }),
                "and" => each(value).iter().all(|part| self.means(part, at)),
                "or" => each(value).iter().any(|part| self.means(part, at)),
                "not" => !self.means(value, at),
                other => panic!("{other}"),
            })
    }

    /// Returns whether everything that the selector names exists.
    fn knows(&self, selector: &Value) -> bool {
        let each = |list: &Value| list.as_array().expect("a list").clone();
        let values = |test: &Value| match test {
            Value::String(_) => vec![test.clone()],
            test if test["exists"] == true => Vec::new(),
            test => each(&test["in"]),
        };
        selector
            .as_object()
            .expect("an object")
            .iter()
            .all(|(field, value)| match field.as_str() {
                "type" => self.all().any(|at| value == self.resources[at].type_),
                "labels" => value.as_object().expect("labels").iter().all(|(name, test)| {
                    let has = |wanted: Option<&Value>| {
                        self.all().any(|at| {
                            let label = self.resources[at].labels.get(name.as_str());
                            label.is_some_and(|label| wanted.is_none_or(|wanted| wanted == label))
                        })
                    };
                    has(None) && values(test).iter().all(|value| has(Some(value)))
                }),
                "account_labels" => {
                    let mut tiers = self
                        .accounts
                        .iter()
                        .filter(|(gone, _)| !gone)
                        .map(|(_, tier)| *tier);
                    tiers.any(|tier| tier.is_some_and(|tier| value["tier"] == tier))
                }
                "accounts" => each(value).iter().all(|id| {
                    let account: usize = id.as_str().expect("an id").parse().expect("an index");
                    self.accounts.get(account).is_some_and(|(gone, _)| !gone)
                        && self.all().any(|at| self.resources[at].account == Some(account))
                }),
                "under" => {
                    let at: usize = value["id"].as_str().expect("an id").parse().expect("an index");
                    self.there(at)
                        && value["type"] == self.resources[at].type_
                        && self.all().any(|below| self.resources[below].parent == Some(at))
                }
                "and" | "or" => each(value).iter().all(|part| self.knows(part)),
                "not" => self.knows(value),
                other => panic!("{other}"),
            })
    }

    fn lines(&self) -> String {
        let mut lines: Vec<Value> = Vec::new();
        for (index, (_, tier)) in self.accounts.iter().enumerate() {
            let labels = tier.map_or(json!({}), |tier| json!({"tier": tier}));
            lines.push(json!({"kind": "account", "id": index.to_string(), "name": "A", "labels": labels}));
        }
        for (index, one) in self.resources.iter().enumerate() {
            lines.push(json!({
                "kind": "resource", "type": one.type_, "id": index.to_string(), "labels": one.labels,
                "account": one.account.map(|account| account.to_string()),
                "parent": one.parent.map(|at| json!({"type": self.resources[at].type_, "id": at.to_string()})),
            }));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Stores the model in the database and returns the affected resources after the selector is used. Returns
/// `None` if it is refused.
fn found(
    tx: &mut Tx<'_>,
    model: &Model,
    given: &Value,
) -> candor::base::error::Result<Option<BTreeSet<usize>>> {
    for index in 0..RESOURCES {
        for type_ in ["file", "media"] {
            let at = resource::at(type_, &index.to_string()).expect("an id");
            if resource::get(tx.conn, &at).is_ok() {
                resource::put(tx, &at, &serde_json::from_value(json!({})).expect("a resource"))?;
                resource::delete(tx, &at)?;
            }
        }
    }
    import::import(tx, model.lines().as_bytes())?;
    for (index, one) in model.resources.iter().enumerate().filter(|(_, one)| one.gone) {
        resource::delete(tx, &resource::at(one.type_, &index.to_string()).expect("an id"))?;
    }
    for (index, _) in model.accounts.iter().enumerate().filter(|(_, (gone, _))| *gone) {
        account::delete(tx, &index.to_string())?;
    }
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
    let selector = Selector::parse("/selector", &json)?;
    match affected::add_selected(tx, &incident, &selector, None) {
        Ok(_) => {}
        Err(Error::Invalid { .. }) => return Ok(None),
        Err(other) => return Err(other),
    }
    let items = affected::list(tx.conn, &incident, None, None, 500)?;
    let index = |item: &affected::Affected| item.resource.id.as_str().parse().expect("an index");
    Ok(Some(items.iter().map(index).collect()))
}

type Answer = candor::base::error::Result<Option<BTreeSet<usize>>>;

async fn whatever_is_selected(env: Env) {
    let config = Config::for_test(&env.database_url);
    let db = open_database(&config, Clock::system()).await.expect("a database");
    // proptest runs its cases in its own thread, which asks this one to carry out each case.
    let (cases, mut asked) =
        tokio::sync::mpsc::unbounded_channel::<(Model, Value, std::sync::mpsc::Sender<Answer>)>();
    let runner = std::thread::spawn(move || {
        let runs = Runs {
            cases: 40,
            failure_persistence: None,
            max_shrink_iters: 200,
            ..Runs::default()
        };
        let result = TestRunner::new(runs).run(&(model(), selector()), |(model, selector)| {
            let (answer, answered) = std::sync::mpsc::channel::<Answer>();
            cases
                .send((model.clone(), selector.clone(), answer))
                .expect("the test is waiting");
            let found = answered
                .recv()
                .expect("an answer")
                .map_err(|error| TestCaseError::fail(error.chain()))?;
            let meant: BTreeSet<usize> = model.all().filter(|at| model.means(&selector, *at)).collect();
            let expected = (model.knows(&selector) && !meant.is_empty()).then_some(meant);
            prop_assert_eq!(found, expected);
            Ok(())
        });
        result.map_err(|error| error.to_string())
    });
    while let Some((model, selector, answer)) = asked.recv().await {
        let by = Actor::system("a test");
        let found = db.write(&by, move |tx| found(tx, &model, &selector)).await;
        // An error here means that the runner has stopped, and it reports this itself.
        let _ = answer.send(found);
    }
    if let Err(failed) = runner.join().expect("the runner's thread") {
        panic!("{failed}");
    }
}
