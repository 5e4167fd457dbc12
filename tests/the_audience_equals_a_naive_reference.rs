//! Random directories and random changes. The audience is what a naive reading of the rules finds, now and at
//! every time in between. It never contains anybody of an account that owns nothing affected.

use std::collections::{BTreeMap, BTreeSet};

use candor::alert::intake;
use candor::alert::integration::{self, Integration, NewIntegration};
use candor::alert::source::{Alert, Batch, PersonRef, Request};
use candor::app::open_database;
use candor::audience::{self, At, Audience, Collaborators, Rule};
use candor::audit::{Actor, Tx};
use candor::base::error::Error;
use candor::base::id::{ExternalId, IncidentId};
use candor::base::time::{Clock, Timestamp};
use candor::config::Config;
use candor::db::Db;
use candor::directory::{ResourceRef, account, import, member, person, resource};
use candor::incident::affected;
use candor::incident::affected_people::{self, AddPeople};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::{Value, json};

use crate::support::{Env, on_both_databases};

on_both_databases!(whatever_the_directory_is);

/// The numbers are small, so that entries often refer to each other. IDs are indices.
#[derive(Clone, Debug)]
struct Model {
    accounts: Vec<Gone>,
    people: Vec<Person>,
    resources: Vec<Resource>,
    members: BTreeMap<(usize, usize), (bool, Gone)>,
    collaborators: BTreeMap<(usize, usize), (String, Gone)>,
    affected: BTreeSet<usize>,
    /// The people who hit the error.
    seen: BTreeSet<usize>,
    /// The people who were added to the incident directly.
    named: BTreeSet<usize>,
    rule: Rule,
}

/// A change of the directory. Some changes are impossible and are refused.
#[derive(Clone, Debug)]
enum Op {
    /// Sets the role of a person in an account, or ends the membership.
    Member(usize, usize, Option<bool>),
    /// Sets the role of a person on a resource, or ends the collaboration.
    Collaborator(usize, usize, Option<String>),
    /// Moves a resource or archives it.
    Resource(usize, Option<(Option<usize>, Option<usize>)>),
    /// Archives a person or makes the person active again.
    Person(usize, Gone),
    /// Archives an account or makes it active again.
    Account(usize, Gone),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let role = || prop::sample::select(vec!["editor", "owner", "viewer"]).prop_map(str::to_owned);
    let place = (
        prop::option::of(0..ACCOUNTS),
        prop::option::weighted(0.7, 0..RESOURCES),
    );
    let op = prop_oneof![
        (0..ACCOUNTS, 0..PEOPLE, prop::option::of(any::<bool>()))
            .prop_map(|(a, p, role)| Op::Member(a, p, role)),
        (0..RESOURCES, 0..PEOPLE, prop::option::of(role()))
            .prop_map(|(r, p, role)| Op::Collaborator(r, p, role)),
        (0..RESOURCES, prop::option::weighted(0.7, place)).prop_map(|(r, place)| Op::Resource(r, place)),
        (0..PEOPLE, any::<bool>()).prop_map(|(p, gone)| Op::Person(p, gone)),
        (0..ACCOUNTS, any::<bool>()).prop_map(|(a, gone)| Op::Account(a, gone)),
    ];
    prop::collection::vec(op, 0..10)
}

fn rule() -> impl Strategy<Value = Rule> {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| ExternalId::parse(word).expect("a word"))
            .collect::<Vec<_>>()
    };
    let roles = prop::sample::select(vec![
        words(&["owner"]),
        words(&["member"]),
        words(&["owner", "member"]),
    ]);
    let collaborators = prop::sample::select(vec![
        Collaborators::All(true),
        Collaborators::All(false),
        Collaborators::Roles(words(&["editor", "owner"])),
    ]);
    prop_oneof![
        Just(Rule::default()),
        (roles, collaborators).prop_map(|(roles, collaborators)| Rule {
            roles,
            collaborators,
            contacts: Vec::new()
        }),
    ]
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
    let seen = prop::collection::btree_set(0..PEOPLE, 0..3);
    let named = prop::collection::btree_set(0..PEOPLE, 0..3);
    (
        accounts,
        people,
        resources,
        members,
        collaborators,
        (affected, seen, named),
        rule(),
    )
        .prop_map(
            |(accounts, people, resources, members, collaborators, (affected, seen, named), rule)| {
                let mut placed: Vec<Resource> = Vec::new();
                for (index, (gone, account, parent)) in resources.into_iter().enumerate() {
                    // Parents come before their children, and a child stays in its account.
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
                    seen,
                    named,
                    rule,
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
    /// Returns a resource and its ancestors, up to the first archived one.
    fn chain(&self, resource: usize) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = Some(resource);
        while let Some(at) = next.filter(|at| !self.resources[*at].gone) {
            chain.push(at);
            next = self.resources[at].parent;
        }
        chain
    }

    /// Computes the audience exactly as the rules say.
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
                let role = if *owner { "owner" } else { "member" };
                let covered = self.rule.roles.iter().any(|covered| covered.as_str() == role);
                if Some(*of) == account && covered && !gone && !self.people[*person].gone {
                    let reason = (*affected, through(named.unwrap()), account, role.to_owned());
                    people.entry(*person).or_default().insert(reason);
                }
            }
            for ((on, person), (role, gone)) in &self.collaborators {
                let covered = match &self.rule.collaborators {
                    Collaborators::All(all) => *all,
                    Collaborators::Roles(roles) => roles.iter().any(|covered| covered.as_str() == role),
                };
                if chain.contains(on) && covered && !gone && !self.people[*person].gone {
                    people.entry(*person).or_default().insert((
                        *affected,
                        through(*on),
                        account,
                        role.clone(),
                    ));
                }
            }
        }
        // These people are included for every rule and role.
        for person in self.seen().chain(self.named()) {
            people.entry(person).or_default();
        }
        people
    }

    /// Returns the active people who were added directly.
    fn named(&self) -> impl Iterator<Item = usize> {
        self.named
            .iter()
            .copied()
            .filter(|person| !self.people[*person].gone)
    }

    /// Returns the active people who hit the error.
    fn seen(&self) -> impl Iterator<Item = usize> {
        self.seen
            .iter()
            .copied()
            .filter(|person| !self.people[*person].gone)
    }

    /// Returns those people as an event names them: some by their IDs and some by their addresses.
    fn users(&self) -> Vec<PersonRef> {
        self.seen
            .iter()
            .map(|person| match person % 2 == 1 && self.people[*person].reachable {
                true => PersonRef {
                    email: Some(format!(" P{person}@Example.com")),
                    ..PersonRef::default()
                },
                false => PersonRef {
                    id: Some(person.to_string()),
                    ..PersonRef::default()
                },
            })
            .collect()
    }

    /// Returns the model as an import in which everything is active.
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

/// The state of the model at a time, and the audience that was computed for this time.
type State = (Model, Audience);
type Resolved = candor::base::error::Result<(Vec<State>, Model)>;

fn at(index: usize) -> ResourceRef {
    resource::at("r", &index.to_string()).expect("an id")
}

/// Creates an integration that reports errors.
fn errors(tx: &mut Tx<'_>) -> candor::base::error::Result<Integration> {
    let integration = NewIntegration {
        name: "Errors".to_owned(),
        source: "sentry".to_owned(),
        secret: None,
        secrets: Vec::new(),
        resource_rules: Vec::new(),
        mapping: None,
        open_incident: true,
    };
    let integration = integration::create(tx, &integration, "http://localhost")?.id;
    integration::get(tx.conn, &integration)
}

/// Replaces the directory in the database with the model and opens an incident.
fn begin(
    tx: &mut Tx<'_>,
    prepared: &intake::Prepared,
    integration: &Integration,
    model: &Model,
) -> candor::base::error::Result<IncidentId> {
    // The entries of an earlier case are archived, and the resources have no parents. This case restores its
    // own entries.
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
    let batch = Batch {
        alerts: vec![Alert {
            fingerprint: "1".to_owned(),
            firing: true,
            title: "A case".to_owned(),
            event: true,
            people: model.users(),
            ..Alert::default()
        }],
        ..Batch::default()
    };
    let taken = intake::take(tx, prepared, integration, &batch, &Request::json(Vec::new()))?;
    let incident = taken.opened[0].id.clone();
    let affected: Vec<ResourceRef> = model.affected.iter().map(|index| at(*index)).collect();
    affected::add(tx, &incident, &affected, affected::Source::Operator)?;
    if !model.named.is_empty() {
        let people = model
            .named
            .iter()
            .map(|person| ExternalId::parse(&person.to_string()).expect("an id"));
        let request = AddPeople {
            people: Some(people.collect()),
            selector: None,
            as_of: None,
            relevance: None,
        };
        affected_people::add(tx, &incident, &request)?;
    }
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
    Ok(incident)
}

/// Makes a change in the database and in the model.
fn carry_out(tx: &mut Tx<'_>, model: &mut Model, op: &Op) -> candor::base::error::Result<()> {
    let word = |word: &str| ExternalId::parse(word).expect("a word");
    match op {
        Op::Member(account, person, role) => {
            let (a, p) = (account.to_string(), person.to_string());
            match role {
                Some(owner) => {
                    member::put_member(tx, &a, &p, &word(if *owner { "owner" } else { "member" }))?;
                    model.members.insert((*account, *person), (*owner, false));
                }
                None => {
                    member::delete_member(tx, &a, &p)?;
                    model
                        .members
                        .entry((*account, *person))
                        .and_modify(|member| member.1 = true);
                }
            }
        }
        Op::Collaborator(on, person, role) => match role {
            Some(role) => {
                member::put_collaborator(tx, &at(*on), &person.to_string(), &word(role))?;
                model.collaborators.insert((*on, *person), (role.clone(), false));
            }
            None => {
                member::delete_collaborator(tx, &at(*on), &person.to_string())?;
                model
                    .collaborators
                    .entry((*on, *person))
                    .and_modify(|collaborator| collaborator.1 = true);
            }
        },
        Op::Resource(index, place) => match place {
            Some((account, parent)) => {
                let input = json!({
                    "account": account.map(|account| account.to_string()),
                    "parent": parent.map(|parent| json!({"type": "r", "id": parent.to_string()})),
                });
                let input = serde_json::from_value(input).expect("a resource");
                resource::put(tx, &at(*index), &input)?;
                model.resources[*index] = Resource {
                    gone: false,
                    account: *account,
                    parent: *parent,
                };
            }
            None => {
                resource::delete(tx, &at(*index))?;
                model.resources[*index].gone = true;
            }
        },
        Op::Person(index, gone) => {
            match gone {
                true => person::delete(tx, &index.to_string())?,
                false => {
                    let email = match model.people[*index].reachable {
                        true => format!("p{index}@example.com"),
                        false => String::new(),
                    };
                    let input =
                        serde_json::from_value(json!({"name": "P", "email": email})).expect("a person");
                    person::put(tx, &word(&index.to_string()), &input)?;
                }
            }
            model.people[*index].gone = *gone;
        }
        Op::Account(index, gone) => {
            match gone {
                true => account::delete(tx, &index.to_string())?,
                false => {
                    let input = serde_json::from_value(json!({"name": "A"})).expect("an account");
                    account::put(tx, &word(&index.to_string()), &input)?;
                }
            }
            model.accounts[*index] = *gone;
        }
    }
    Ok(())
}

/// Runs a case with one change per second, and computes the audience at each second and now.
async fn resolved(db: &Db, mut model: Model, ops: Vec<Op>) -> Resolved {
    let second = std::time::Duration::from_secs(1);
    let by = Actor::system("a test");
    db.clock().advance(second);
    let start = model.clone();
    let integration = db.write(&by, errors).await?;
    let conditions = intake::ConditionCache::new(db.clone());
    let incident = intake::write(&conditions, &by, move |tx, prepared| {
        begin(tx, prepared, &integration, &start)
    })
    .await?;
    let mut states: Vec<(Timestamp, Model)> = vec![(db.clock().now(), model.clone())];
    for op in ops {
        db.clock().advance(second);
        let mut next = model.clone();
        let done = db.write(&by, move |tx| {
            carry_out(tx, &mut next, &op)?;
            Ok(next)
        });
        match done.await {
            Ok(next) => model = next,
            // The change is impossible: a circle, a parent of another account, or an unknown person.
            Err(Error::Invalid { .. } | Error::NotFound(_)) => {}
            Err(other) => return Err(other),
        }
        states.push((db.clock().now(), model.clone()));
    }
    let last = model.clone();
    let states = db
        .read(move |conn| {
            let now = audience::resolve_by(conn, &incident, &model.rule, At::Now)?;
            let mut all = Vec::new();
            for (at, state) in states {
                let then = audience::resolve_by(conn, &incident, &state.rule, At::Then(at))?;
                // Nothing changes until the next change.
                let after = At::Then(at.plus(second / 2));
                let later = audience::resolve_by(conn, &incident, &state.rule, after)?;
                assert_eq!(then.people, later.people);
                all.push((state, then));
            }
            all.push((model, now));
            Ok(all)
        })
        .await?;
    Ok((states, last))
}

async fn whatever_the_directory_is(env: Env) {
    let config = Config::for_test(&env.database_url);
    let clock = Clock::manual(Timestamp::parse("2026-01-01T00:00:00Z").expect("a time"));
    let db = open_database(&config, clock).await.expect("a database");
    // proptest runs its cases in its own thread, which asks this one to carry out each case.
    let (cases, mut asked) =
        tokio::sync::mpsc::unbounded_channel::<(Model, Vec<Op>, std::sync::mpsc::Sender<Resolved>)>();
    let runner = std::thread::spawn(move || {
        let runs = Runs {
            cases: 32,
            failure_persistence: None,
            max_shrink_iters: 200,
            ..Runs::default()
        };
        let result = TestRunner::new(runs).run(&(model(), ops()), |(model, ops)| {
            let (answer, answered) = std::sync::mpsc::channel::<Resolved>();
            cases.send((model, ops, answer)).expect("the test is waiting");
            let (states, last) = answered
                .recv()
                .expect("an answer")
                .map_err(|error| TestCaseError::fail(error.chain()))?;
            for (model, audience) in &states {
                check(model, &last, audience)?;
            }
            Ok(())
        });
        // Only the text is useful, because the error itself contains the whole directory.
        result.map_err(|error| error.to_string())
    });
    while let Some((model, ops, answer)) = asked.recv().await {
        let audience = resolved(&db, model, ops).await;
        // An error here means that the runner has stopped, and it reports this itself.
        let _ = answer.send(audience);
    }
    if let Err(failed) = runner.join().expect("the runner's thread") {
        panic!("{failed}");
    }
    let verified = db.read(candor::audit::verify).await.expect("an audit trail");
    assert!(verified.ok, "{verified:?}");
}

/// Compares the computed audience with the model at that time. `last` is the current model.
fn check(model: &Model, last: &Model, audience: &Audience) -> Result<(), TestCaseError> {
    let index = |id: &str| id.parse::<usize>().expect("an index");
    let id = |id: &ExternalId| index(id.as_str());
    let mut found: BTreeMap<usize, BTreeSet<Reason>> = BTreeMap::new();
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    let mut named: BTreeSet<usize> = BTreeSet::new();
    for addressee in &audience.people {
        for reason in addressee.reasons.iter() {
            let kinds = [
                reason.resource.is_some(),
                reason.seen.is_some(),
                reason.named.is_some(),
            ];
            prop_assert_eq!(kinds.iter().filter(|kind| **kind).count(), 1);
            let Some(resource) = &reason.resource else {
                let of = if reason.seen.is_some() {
                    &mut seen
                } else {
                    &mut named
                };
                let again = !of.insert(index(&addressee.person.id));
                prop_assert!(!again, "{} has a reason twice", addressee.person.id);
                continue;
            };
            // The path goes from the resource up to the one that the role is on.
            let affected = id(&resource.id);
            let end = reason.through.as_ref().map_or(affected, |at| id(&at.id));
            let mut way: Vec<usize> = Vec::new();
            for step in model.chain(affected) {
                way.push(step);
                if step == end {
                    break;
                }
            }
            let (steps, account): (Vec<ResourceRef>, Vec<ResourceRef>) =
                reason.path.steps().partition(|step| step.type_.as_str() == "r");
            prop_assert_eq!(steps.iter().map(|step| id(&step.id)).collect::<Vec<_>>(), way);
            let named: Vec<&str> = account.iter().map(|step| step.id.as_str()).collect();
            let expected = reason.account.as_deref().filter(|_| reason.by_account);
            prop_assert_eq!(named, expected.into_iter().collect::<Vec<_>>());
        }
        let reasons: Vec<Reason> = addressee
            .reasons
            .iter()
            .filter_map(|reason| {
                let through = reason.through.as_ref().map(|at| id(&at.id));
                Some((
                    id(&reason.resource.as_ref()?.id),
                    through,
                    reason.account.as_deref().map(index),
                    reason.role.to_string(),
                ))
            })
            .collect();
        let distinct: BTreeSet<Reason> = reasons.into_iter().collect();
        let again = found.insert(index(&addressee.person.id), distinct);
        prop_assert!(again.is_none(), "{} is there twice", addressee.person.id);
    }
    let expected = model.audience();
    prop_assert_eq!(&found, &expected);
    prop_assert_eq!(audience.counts.people, expected.len());
    prop_assert_eq!(&seen, &model.seen().collect::<BTreeSet<usize>>());
    prop_assert_eq!(audience.counts.identified, seen.len());
    prop_assert_eq!(&named, &model.named().collect::<BTreeSet<usize>>());
    prop_assert_eq!(audience.counts.named, named.len());
    prop_assert_eq!(audience.counts.unidentified, 0);
    // A person without an address is affected and counted separately. An archived person is only counted.
    for addressee in &audience.people {
        let person = &last.people[index(&addressee.person.id)];
        prop_assert_eq!(addressee.unreachable.is_none(), person.reachable && !person.gone);
    }
    // Nobody of an account that owns nothing affected is included, except collaborators on an ancestor.
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

/// Returns the account that owns the resource, if it is active.
fn self_or_above(model: &Model, resource: usize) -> Option<usize> {
    let chain = model.chain(resource);
    let account = chain.iter().find_map(|at| model.resources[*at].account)?;
    (!model.accounts[account]).then_some(account)
}
