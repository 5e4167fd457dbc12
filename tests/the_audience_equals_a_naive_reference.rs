//! Random directories: who is affected is what a naive reading of the rules says, and never anybody of an
//! account that owns nothing affected.

use std::collections::{BTreeMap, BTreeSet};

use candor::app::open_database;
use candor::audience;
use candor::audit::Actor;
use candor::config::Config;
use candor::db::Db;
use candor::directory::{account, import, member, person, resource};
use candor::id::ExternalId;
use candor::incident::{self, NewIncident, Severity};
use candor::time::Clock;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::{Value, json};

use crate::support::{Env, on_both_databases};

on_both_databases!(whatever_the_directory_is);

/// Small numbers, so that things meet: ids are indices.
#[derive(Clone, Debug)]
struct Model {
    accounts: Vec<Gone>,
    people: Vec<Person>,
    resources: Vec<Resource>,
    members: BTreeMap<(usize, usize), (bool, Gone)>,
    collaborators: BTreeMap<(usize, usize), (String, Gone)>,
    affected: BTreeSet<usize>,
}

type Gone = bool;

#[derive(Clone, Debug)]
struct Person {
    gone: Gone,
    reachable: bool,
}

#[derive(Clone, Debug)]
struct Resource {
    gone: Gone,
    account: Option<usize>,
    parent: Option<usize>,
}

const ACCOUNTS: usize = 3;
const PEOPLE: usize = 7;
const RESOURCES: usize = 12;

fn model() -> impl Strategy<Value = Model> {
    let seldom = || prop::bool::weighted(0.2);
    let accounts = prop::collection::vec(seldom(), ACCOUNTS);
    let people = prop::collection::vec((seldom(), prop::bool::weighted(0.8)), PEOPLE);
    let resources = prop::collection::vec(
        (
            seldom(),
            prop::option::of(0..ACCOUNTS),
            prop::option::weighted(0.7, any::<prop::sample::Index>()),
        ),
        RESOURCES,
    );
    let members = prop::collection::btree_map(
        (0..ACCOUNTS, 0..PEOPLE),
        (prop::bool::weighted(0.6), seldom()),
        0..8,
    );
    let role = prop::sample::select(vec!["editor", "owner", "viewer"]).prop_map(str::to_owned);
    let collaborators = prop::collection::btree_map((0..RESOURCES, 0..PEOPLE), (role, seldom()), 0..12);
    let affected = prop::collection::btree_set(0..RESOURCES, 1..5);
    (accounts, people, resources, members, collaborators, affected).prop_map(
        |(accounts, people, resources, members, collaborators, affected)| {
            let mut placed: Vec<Resource> = Vec::new();
            for (index, (gone, account, parent)) in resources.into_iter().enumerate() {
                // Parents come before their children; a child of an account keeps to it.
                let parent = parent.filter(|_| index > 0).map(|at| at.index(index));
                let above = parent.and_then(|at| named_above(&placed, at));
                let account = account.filter(|account| above.is_none_or(|above| above == *account));
                placed.push(Resource {
                    gone,
                    account,
                    parent,
                });
            }
            let people = people
                .into_iter()
                .map(|(gone, reachable)| Person { gone, reachable })
                .collect();
            Model {
                accounts,
                people,
                resources: placed,
                members,
                collaborators,
                affected,
            }
        },
    )
}

fn named_above(resources: &[Resource], at: usize) -> Option<usize> {
    resources[at].account.or_else(|| {
        resources[at]
            .parent
            .and_then(|parent| named_above(resources, parent))
    })
}

/// `(affected, through, account, role)`
type Reason = (usize, Option<usize>, Option<usize>, String);

impl Model {
    /// A resource and what it is part of, up to the first one that is gone.
    fn chain(&self, resource: usize) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = Some(resource);
        while let Some(at) = next.filter(|at| !self.resources[*at].gone) {
            chain.push(at);
            next = self.resources[at].parent;
        }
        chain
    }

    /// The rules, word for word.
    fn audience(&self) -> BTreeMap<usize, BTreeSet<Reason>> {
        let mut people: BTreeMap<usize, BTreeSet<Reason>> = BTreeMap::new();
        for affected in &self.affected {
            let chain = self.chain(*affected);
            let named = chain
                .iter()
                .find(|at| self.resources[**at].account.is_some())
                .copied();
            let account = named.and_then(|at| self.resources[at].account);
            if account.is_some_and(|account| self.accounts[account]) {
                continue;
            }
            let through = |at: usize| Some(at).filter(|at| at != affected);
            for ((of, person), (owner, gone)) in &self.members {
                if Some(*of) == account && *owner && !gone && !self.people[*person].gone {
                    let reason = (*affected, through(named.unwrap()), account, "owner".to_owned());
                    people.entry(*person).or_default().insert(reason);
                }
            }
            for ((on, person), (role, gone)) in &self.collaborators {
                if chain.contains(on) && !gone && !self.people[*person].gone {
                    people.entry(*person).or_default().insert((
                        *affected,
                        through(*on),
                        account,
                        role.clone(),
                    ));
                }
            }
        }
        people
    }

    /// As an import, everything there at first.
    fn lines(&self) -> String {
        let mut lines: Vec<Value> = Vec::new();
        for index in 0..self.accounts.len() {
            lines.push(json!({"kind": "account", "id": index.to_string(), "name": "A"}));
        }
        for (index, person) in self.people.iter().enumerate() {
            let email = if person.reachable {
                format!("p{index}@example.com")
            } else {
                String::new()
            };
            lines.push(json!({"kind": "person", "id": index.to_string(), "name": "P", "email": email}));
        }
        for (index, resource) in self.resources.iter().enumerate() {
            lines.push(json!({
                "kind": "resource", "type": "r", "id": index.to_string(),
                "account": resource.account.map(|account| account.to_string()),
                "parent": resource.parent.map(|parent| json!({"type": "r", "id": parent.to_string()})),
            }));
        }
        for ((account, person), (owner, _)) in &self.members {
            let role = if *owner { "owner" } else { "member" };
            lines.push(json!({"kind": "member", "account": account.to_string(), "person": person.to_string(), "role": role}));
        }
        for ((resource, person), (role, _)) in &self.collaborators {
            let at = json!({"type": "r", "id": resource.to_string()});
            lines.push(
                json!({"kind": "collaborator", "resource": at, "person": person.to_string(), "role": role}),
            );
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

type Resolved = candor::error::Result<audience::Audience>;

/// Puts the model into the database, whatever was there, and resolves the audience of what is affected.
async fn resolved(db: &Db, model: Model) -> Resolved {
    let at = |index: usize| resource::at("r", &index.to_string()).expect("an id");
    db.write(&Actor::system("a test"), move |tx| {
        // What an earlier case left is gone, and the resources stand alone: this case brings back its own.
        for index in (0..RESOURCES).rev() {
            if resource::get(tx.conn, &at(index)).is_ok() {
                let alone = serde_json::from_value(json!({})).expect("a resource");
                resource::put(tx, &at(index), &alone)?;
            }
        }
        for account in 0..ACCOUNTS {
            for person in 0..PEOPLE {
                let _ = member::delete_member(tx, &account.to_string(), &person.to_string());
            }
        }
        for index in 0..RESOURCES {
            for person in 0..PEOPLE {
                let _ = member::delete_collaborator(tx, &at(index), &person.to_string());
            }
        }
        import::import(tx, model.lines().as_bytes())?;
        let affected = model.affected.iter().map(|index| at(*index)).collect();
        let new = NewIncident {
            title: "A case".to_owned(),
            severity: Severity::Minor,
            summary: None,
            started_at: None,
            detected_at: None,
            time_zone: None,
            affected,
        };
        let incident = incident::open(tx, &new)?.id;
        for ((account, person), (_, gone)) in &model.members {
            if *gone {
                member::delete_member(tx, &account.to_string(), &person.to_string())?;
            }
        }
        for ((on, person), (_, gone)) in &model.collaborators {
            if *gone {
                member::delete_collaborator(tx, &at(*on), &person.to_string())?;
            }
        }
        for (index, _) in model
            .resources
            .iter()
            .enumerate()
            .filter(|(_, resource)| resource.gone)
        {
            resource::delete(tx, &at(index))?;
        }
        for (index, _) in model.people.iter().enumerate().filter(|(_, person)| person.gone) {
            person::delete(tx, &index.to_string())?;
        }
        for (index, _) in model.accounts.iter().enumerate().filter(|(_, gone)| **gone) {
            account::delete(tx, &index.to_string())?;
        }
        audience::resolve(tx.conn, &incident)
    })
    .await
}

async fn whatever_the_directory_is(env: Env) {
    let config = Config::for_test(&env.database_url);
    let db = open_database(&config, Clock::system()).await.expect("a database");
    // proptest runs its cases in a thread of its own, and asks this one to carry each of them out.
    let (cases, mut asked) =
        tokio::sync::mpsc::unbounded_channel::<(Model, std::sync::mpsc::Sender<Resolved>)>();
    let runner = std::thread::spawn(move || {
        let runs = Runs {
            cases: 32,
            failure_persistence: None,
            max_shrink_iters: 200,
            ..Runs::default()
        };
        let result = TestRunner::new(runs).run(&model(), |model| {
            let (answer, answered) = std::sync::mpsc::channel::<Resolved>();
            cases.send((model.clone(), answer)).expect("the test is waiting");
            let audience = answered
                .recv()
                .expect("an answer")
                .map_err(|error| TestCaseError::fail(error.chain()))?;
            check(&model, &audience)
        });
        // Only the text is of use, and the error itself holds the whole directory.
        result.map_err(|error| error.to_string())
    });
    while let Some((model, answer)) = asked.recv().await {
        let audience = resolved(&db, model).await;
        // An error here means that the runner has given up, and says so itself.
        let _ = answer.send(audience);
    }
    if let Err(failed) = runner.join().expect("the runner's thread") {
        panic!("{failed}");
    }
    let verified = db.read(candor::audit::verify).await.expect("an audit trail");
    assert!(verified.ok, "{verified:?}");
}

fn check(model: &Model, audience: &audience::Audience) -> Result<(), TestCaseError> {
    let index = |id: &str| id.parse::<usize>().expect("an index");
    let id = |id: &ExternalId| index(id.as_str());
    let mut found: BTreeMap<usize, BTreeSet<Reason>> = BTreeMap::new();
    for addressee in &audience.people {
        let reasons: Vec<Reason> = addressee
            .reasons
            .iter()
            .map(|reason| {
                let through = reason.through.as_ref().map(|at| id(&at.id));
                (
                    id(&reason.resource.id),
                    through,
                    reason.account.as_deref().map(index),
                    reason.role.clone(),
                )
            })
            .collect();
        let distinct: BTreeSet<Reason> = reasons.into_iter().collect();
        let again = found.insert(index(&addressee.person.id), distinct);
        prop_assert!(again.is_none(), "{} is there twice", addressee.person.id);
    }
    let expected = model.audience();
    prop_assert_eq!(&found, &expected);
    prop_assert_eq!(audience.counts.people, expected.len());
    // Whoever has no address is affected and counted apart; whoever is gone is only counted.
    for addressee in &audience.people {
        let reachable = model.people[index(&addressee.person.id)].reachable;
        prop_assert_eq!(addressee.unreachable.is_none(), reachable);
    }
    // Nobody of an account that owns nothing affected, unless by a collaboration on the way up.
    let owning: BTreeSet<usize> = model
        .affected
        .iter()
        .filter_map(|at| self_or_above(model, *at))
        .collect();
    prop_assert_eq!(audience.counts.accounts, owning.len());
    for (person, reasons) in &found {
        for (affected, _, account, _) in reasons {
            prop_assert!(model.affected.contains(affected), "{person} by {affected}");
            prop_assert!(
                account.is_none_or(|account| owning.contains(&account)),
                "{person} of {account:?}"
            );
        }
    }
    let gone = model
        .affected
        .iter()
        .filter(|at| model.resources[**at].gone)
        .count();
    prop_assert_eq!(audience.counts.gone_resources, gone);
    prop_assert_eq!(audience.counts.resources, model.affected.len() - gone);
    Ok(())
}

/// The account that owns it, if it is there.
fn self_or_above(model: &Model, resource: usize) -> Option<usize> {
    let chain = model.chain(resource);
    let account = chain.iter().find_map(|at| model.resources[*at].account)?;
    (!model.accounts[account]).then_some(account)
}
