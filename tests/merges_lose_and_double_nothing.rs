//! Random merges, undos, splits, alerts and sends in any order, beside a model that is a few sets. No link is lost or doubled, nobody is
//! told twice of one thing, and everybody who heard a beginning hears an end.
//!
//! The choices follow from a seed, so that a failure can be repeated. The number of steps is fixed, so that the time is bounded.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(whatever_happens_in_any_order);

/// The seeds, each for a directory of its own.
const SEEDS: [u64; 3] = [1, 20_160_406, 261_521];
/// The number of steps for each seed.
const STEPS: usize = 45;
/// The projects, each with one owner of an account of its own.
const PROJECTS: usize = 6;

/// A generator of random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % n as u64).expect("a small number")
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        match all.len() {
            0 => None,
            n => Some(&all[self.below(n)]),
        }
    }
}

/// What the model knows of an incident.
#[derive(Clone, Debug, Default)]
struct Incident {
    id: String,
    /// The projects that somebody added.
    explicit: BTreeSet<String>,
    merged_into: Option<usize>,
    /// Whether the notices from before the merge count for an earlier episode of the other incident.
    earlier: bool,
    resolved: bool,
    /// Whether a resolution was sent.
    told_over: bool,
    /// The number of its own next steps.
    steps: usize,
}

/// A notice that was sent.
#[derive(Clone, Debug)]
struct Told {
    incident: usize,
    phase: &'static str,
    /// The people who got it.
    people: BTreeSet<String>,
    /// Those of them who have heard the end since.
    ended: BTreeSet<String>,
    id: String,
}

struct World {
    app: TestApp,
    random: Random,
    hook: String,
    incidents: Vec<Incident>,
    /// For each alert, by its ID: the incident that it belongs to, and the project that it names.
    alerts: BTreeMap<String, (usize, String)>,
    told: Vec<Told>,
    /// What was done, for the message of a failure.
    log: Vec<String>,
}

fn directory(seed: u64) -> String {
    let mut lines = Vec::new();
    for n in 0..PROJECTS {
        let (account, person, project) = (
            format!("account-{seed}-{n}"),
            format!("owner-{seed}-{n}"),
            project(seed, n),
        );
        lines.push(json!({"kind": "account", "id": account, "name": account}));
        lines.push(json!({"kind": "person", "id": person, "name": person, "email": format!("{person}@merges.example")}));
        lines.push(json!({"kind": "member", "account": account, "person": person, "role": "owner"}));
        lines.push(json!({"kind": "resource", "type": "project", "id": project, "account": account}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn project(seed: u64, n: usize) -> String {
    format!("project-{seed}-{n}")
}

fn owner_of(project: &str) -> String {
    format!("{}@merges.example", project.replacen("project", "owner", 1))
}

impl World {
    fn path(&self, incident: usize) -> String {
        format!("/api/v1/incidents/{}", self.incidents[incident].id)
    }

    fn position(&self, id: &str) -> usize {
        let found = self.incidents.iter().position(|one| one.id == id);
        found.unwrap_or_else(|| panic!("{id} is unknown: {:#?}", self.log))
    }

    /// The incident that this one is part of.
    fn root(&self, incident: usize) -> usize {
        let mut at = incident;
        while let Some(into) = self.incidents[at].merged_into {
            at = into;
        }
        at
    }

    fn merged_into(&self, incident: usize) -> Vec<usize> {
        (0..self.incidents.len())
            .filter(|one| self.incidents[*one].merged_into == Some(incident))
            .collect()
    }

    /// The incident and all that are merged into it, each with whether its notices count for the current episode.
    fn lineage(&self, incident: usize) -> Vec<(usize, bool)> {
        let mut all = vec![(incident, true)];
        let mut next = 0;
        while next < all.len() {
            let (of, current) = all[next];
            for one in self.merged_into(of) {
                all.push((one, current && !self.incidents[one].earlier));
            }
            next += 1;
        }
        all
    }

    /// What the incident affects by itself: what somebody added, and what its own alerts name.
    fn own(&self, incident: usize) -> BTreeSet<String> {
        let named = self
            .alerts
            .values()
            .filter(|(home, _)| *home == incident)
            .map(|(_, project)| project.clone());
        self.incidents[incident]
            .explicit
            .iter()
            .cloned()
            .chain(named)
            .collect()
    }

    fn affected(&self, incident: usize) -> BTreeSet<String> {
        self.lineage(incident)
            .iter()
            .flat_map(|(one, _)| self.own(*one))
            .collect()
    }

    /// The people who were told in a phase, by the notices that count for the current episode.
    fn told(&self, incident: usize, phase: &str) -> BTreeSet<String> {
        let current: BTreeSet<usize> = self
            .lineage(incident)
            .into_iter()
            .filter(|(_, current)| *current)
            .map(|(one, _)| one)
            .collect();
        self.told
            .iter()
            .filter(|told| told.phase == phase && current.contains(&told.incident))
            .flat_map(|told| told.people.iter().cloned())
            .collect()
    }

    fn apart(&self) -> Vec<usize> {
        (0..self.incidents.len())
            .filter(|one| self.incidents[*one].merged_into.is_none())
            .collect()
    }

    fn open(&self) -> Vec<usize> {
        let mut open = self.apart();
        open.retain(|one| !self.incidents[*one].resolved);
        open
    }

    async fn opens(&mut self, seed: u64) {
        let projects: BTreeSet<String> = (0..=self.random.below(2))
            .map(|_| project(seed, self.random.below(PROJECTS)))
            .collect();
        let affected: Vec<(&str, &str)> = projects.iter().map(|id| ("project", id.as_str())).collect();
        let id = self.app.incident(affected).await;
        self.log
            .push(format!("opened {} with {projects:?}", self.incidents.len()));
        self.incidents.push(Incident {
            id,
            explicit: projects,
            ..Incident::default()
        });
    }

    async fn alert(&mut self, seed: u64) {
        let n = self.random.below(PROJECTS);
        let (project, firing) = (project(seed, n), self.random.below(4) > 0);
        let status = if firing { "firing" } else { "resolved" };
        let body = json!({"version": "4", "status": status, "alerts": [{
            "status": status, "fingerprint": format!("problem-{seed}-{n}"),
            "labels": {"alertname": format!("problem-{seed}-{n}"), "severity": "major", "project": project},
            "annotations": {}, "startsAt": "2024-03-14T06:50:00Z",
            "endsAt": if firing { "0001-01-01T00:00:00Z" } else { "2024-03-14T06:55:00Z" },
        }]});
        let taken = self.app.anonymous().post(&self.hook, body).await.expect(202);
        self.log.push(format!("alert {n} {status}: {}", taken.json));
        for opened in taken["opened"].as_array().into_iter().flatten() {
            self.incidents.push(Incident {
                id: opened["id"].as_str().expect("an id").to_owned(),
                ..Incident::default()
            });
        }
        for alert in self.app.all("/api/v1/alerts?limit=500").await {
            let (id, Some(incident)) = (alert["id"].as_str().expect("an id"), alert["incident"].as_str())
            else {
                continue;
            };
            if !self.alerts.contains_key(id) && alert["labels"]["project"] == json!(project) {
                let home = self.position(incident);
                self.alerts.insert(id.to_owned(), (home, project.clone()));
            }
        }
    }

    async fn step(&mut self) {
        let apart = self.apart();
        let Some(&at) = self.random.of(&apart) else { return };
        let step = json!({"text": "A step", "owner": "Sarah"});
        self.app
            .post(&format!("{}/next-steps", self.path(at)), step)
            .await
            .expect(201);
        self.incidents[at].steps += 1;
    }

    async fn merge(&mut self) {
        let apart = self.apart();
        let (Some(&from), Some(&into)) = (self.random.of(&apart), self.random.of(&apart)) else {
            return;
        };
        let allowed = from != into && (self.incidents[from].resolved || !self.incidents[into].resolved);
        let body = json!({"into": self.incidents[into].id});
        let answer = self.app.post(&format!("{}/merge", self.path(from)), body).await;
        self.log
            .push(format!("merge {from} into {into}: {}", answer.status));
        assert_eq!(
            answer.status,
            if allowed { 200 } else { 409 },
            "{answer} {:#?}",
            self.log
        );
        if allowed {
            let one = &mut self.incidents[from];
            (one.merged_into, one.earlier) = (Some(into), false);
            let over = self.incidents[from].told_over && self.incidents[from].resolved;
            self.incidents[from].earlier = over && !self.incidents[into].resolved;
        }
    }

    async fn unmerge(&mut self) {
        let merged: Vec<usize> = (0..self.incidents.len())
            .filter(|one| self.incidents[*one].merged_into.is_some())
            .collect();
        let Some(&one) = self.random.of(&merged) else {
            return;
        };
        self.app
            .post(&format!("{}/unmerge", self.path(one)), json!({}))
            .await
            .expect(200);
        self.log.push(format!("undo of {one}"));
        let one = &mut self.incidents[one];
        (one.merged_into, one.earlier) = (None, false);
    }

    /// Splits an alert out of an incident into which nothing is merged.
    async fn split(&mut self) {
        let all: Vec<(String, usize)> = self
            .alerts
            .iter()
            .filter(|(_, (home, _))| {
                self.incidents[*home].merged_into.is_none() && self.merged_into(*home).is_empty()
            })
            .map(|(id, (home, _))| (id.clone(), *home))
            .collect();
        let Some((alert, home)) = self.random.of(&all).cloned() else {
            return;
        };
        let body = json!({"title": "Split out", "alerts": [alert]});
        let new = self
            .app
            .post(&format!("{}/split", self.path(home)), body)
            .await
            .expect(201);
        self.log.push(format!(
            "split {alert} out of {home} into {}",
            self.incidents.len()
        ));
        self.incidents.push(Incident {
            id: new.id(),
            ..Incident::default()
        });
        let new = self.incidents.len() - 1;
        self.alerts.get_mut(&alert).expect("the alert").0 = new;
    }

    /// Sends a notice, and checks whom it reaches.
    async fn tells(&mut self, at: usize, phase: &'static str) {
        let id = self.incidents[at].id.clone();
        let before = self.told(at, phase);
        let owners: BTreeSet<String> = self
            .affected(at)
            .iter()
            .map(|project| owner_of(project))
            .collect();
        let again = self
            .told
            .iter()
            .rev()
            .find(|told| told.incident == at && told.phase == phase)
            .map(|told| told.id.clone());
        // The same phase is sent again only to those who have not heard it.
        let notice = match again {
            Some(first) => {
                let drafted = self
                    .app
                    .post(&format!("/api/v1/notices/{first}/catch-up"), json!({}))
                    .await;
                if drafted.status != 201 {
                    assert!(
                        owners.is_subset(&before),
                        "{drafted}: {owners:?} {before:?} {:#?}",
                        self.log
                    );
                    return;
                }
                drafted.id()
            }
            None => self.app.draft(&id, phase).await,
        };
        let preview = self.app.preview(&notice).await.expect(200);
        if preview["recipients"] == 0 {
            assert!(
                owners.is_subset(&before),
                "{preview}: {owners:?} {before:?} {:#?}",
                self.log
            );
            self.app
                .delete(&format!("/api/v1/notices/{notice}"))
                .await
                .expect(204);
            return;
        }
        self.app.send_as_previewed(&notice).await;
        self.app.done(&notice).await;
        let people: BTreeSet<String> = self.app.addresses(&notice, "sent").await.into_iter().collect();
        self.log.push(format!("{phase} of {at} to {people:?}"));
        let twice: Vec<&String> = people.intersection(&before).collect();
        assert!(twice.is_empty(), "told twice: {twice:?} {:#?}", self.log);
        let left_out: Vec<&String> = owners
            .difference(&before)
            .filter(|one| !people.contains(*one))
            .collect();
        assert!(left_out.is_empty(), "left out: {left_out:?} {:#?}", self.log);
        if phase == "resolution" {
            let heard = self.told(at, "detection");
            let missing: Vec<&String> = heard
                .difference(&before)
                .filter(|one| !people.contains(*one))
                .collect();
            assert!(
                missing.is_empty(),
                "heard the beginning and not the end: {missing:?} {:#?}",
                self.log
            );
            self.incidents[at].told_over = true;
            let lineage: BTreeSet<usize> = self.lineage(at).into_iter().map(|(one, _)| one).collect();
            for told in &mut self.told {
                if lineage.contains(&told.incident) {
                    let ended: Vec<String> = told.people.intersection(&people).cloned().collect();
                    told.ended.extend(ended);
                }
            }
        }
        self.told.push(Told {
            incident: at,
            phase,
            people,
            ended: BTreeSet::new(),
            id: notice,
        });
    }

    async fn detects(&mut self) {
        let open = self.open();
        if let Some(&at) = self.random.of(&open) {
            self.tells(at, "detection").await;
        }
    }

    async fn resolves(&mut self) {
        let open = self.open();
        let Some(&at) = self.random.of(&open) else { return };
        self.app.resolve(&self.incidents[at].id.clone()).await;
        self.incidents[at].resolved = true;
        self.log.push(format!("resolved {at}"));
        if self.random.below(3) > 0 {
            self.tells(at, "resolution").await;
        }
    }

    /// Compares every incident with the model.
    async fn check(&self) {
        for at in 0..self.incidents.len() {
            let one = &self.incidents[at];
            let shown = self.app.get(&self.path(at)).await.expect(200);
            match one.merged_into {
                Some(into) => {
                    assert_eq!(shown["status"], "merged", "{at} {:#?}", self.log);
                    assert_eq!(
                        shown["merged_into"],
                        json!(self.incidents[into].id),
                        "{at} {:#?}",
                        self.log
                    );
                    assert_eq!(shown["alerts"], 0, "{at} {:#?}", self.log);
                    continue;
                }
                None => assert_eq!(
                    shown["status"] == "resolved",
                    one.resolved,
                    "{at} {shown} {:#?}",
                    self.log
                ),
            }
            let lineage: BTreeSet<usize> = self.lineage(at).into_iter().map(|(one, _)| one).collect();
            let rows = self
                .app
                .all(&format!("{}/affected?limit=500", self.path(at)))
                .await;
            let affected: Vec<String> = ids(&rows, "resource");
            let expected: Vec<String> = self.affected(at).into_iter().collect();
            assert_eq!(affected, expected, "{at} {:#?}", self.log);
            let alerts = self
                .app
                .all(&format!("/api/v1/alerts?limit=500&incident={}", one.id))
                .await;
            let found: BTreeSet<String> = alerts
                .iter()
                .map(|alert| alert["id"].as_str().expect("an id").to_owned())
                .collect();
            let expected: BTreeSet<String> = self
                .alerts
                .iter()
                .filter(|(_, (home, _))| lineage.contains(home))
                .map(|(id, _)| id.clone())
                .collect();
            assert_eq!(found, expected, "{at} {:#?}", self.log);
            assert_eq!(shown["alerts"], expected.len(), "{at} {:#?}", self.log);
            let steps = self
                .app
                .all(&format!("{}/next-steps?limit=500", self.path(at)))
                .await
                .len();
            let expected: usize = lineage.iter().map(|one| self.incidents[*one].steps).sum();
            assert_eq!(steps, expected, "{at} {:#?}", self.log);
            let notices = self
                .app
                .all(&format!("{}/notices?limit=500", self.path(at)))
                .await
                .len();
            let expected = self
                .told
                .iter()
                .filter(|told| lineage.contains(&told.incident))
                .count();
            assert_eq!(notices, expected, "{at} {:#?}", self.log);
        }
    }

    /// Ends every incident that is on its own, and checks that everybody has heard an end.
    async fn ends(&mut self) {
        for at in self.apart() {
            if !self.incidents[at].resolved {
                self.app.resolve(&self.incidents[at].id.clone()).await;
                self.incidents[at].resolved = true;
            }
            self.tells(at, "resolution").await;
        }
        for told in &self.told {
            if told.phase == "detection" {
                // An email to them since then says that it is over: of this incident, or of the one that it is part of.
                let root = self.root(told.incident);
                let over: BTreeSet<String> = self
                    .told
                    .iter()
                    .filter(|end| end.phase == "resolution")
                    .filter(|end| self.root(end.incident) == root)
                    .flat_map(|end| end.people.iter().cloned())
                    .chain(told.ended.iter().cloned())
                    .collect();
                let missing: Vec<&String> = told.people.difference(&over).collect();
                assert!(
                    missing.is_empty(),
                    "{missing:?} heard {told:?} and no end: {:#?}",
                    self.log
                );
            }
        }
    }
}

fn ids(rows: &[Value], field: &str) -> Vec<String> {
    let mut ids: Vec<String> = rows
        .iter()
        .map(|row| row[field]["id"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids
}

async fn whatever_happens_in_any_order(env: Env) {
    let app = TestApp::start(&env).await;
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "Monitoring", "source": "alertmanager",
                "resource_rules": [{"field": "labels.project", "type": "project"}]}),
        )
        .await
        .expect(201);
    let mut world = World {
        app,
        random: Random(0),
        hook: made["hook_url"].as_str().expect("a URL").to_owned(),
        incidents: Vec::new(),
        alerts: BTreeMap::new(),
        told: Vec::new(),
        log: Vec::new(),
    };
    for seed in SEEDS {
        world.app.import(directory(seed)).await.expect(200);
        world.random = Random(seed);
        world.log = vec![format!("seed {seed}")];
        // The incidents of an earlier seed stay as they are.
        let earlier = std::mem::take(&mut world.incidents);
        let (alerts, told) = (std::mem::take(&mut world.alerts), std::mem::take(&mut world.told));
        drop((earlier, alerts, told));
        for step in 0..STEPS {
            match world.random.below(20) {
                0..3 => world.opens(seed).await,
                3..8 => world.alert(seed).await,
                8 => world.step().await,
                9..13 => world.merge().await,
                13..15 => world.unmerge().await,
                15 => world.split().await,
                16..19 => world.detects().await,
                _ => world.resolves().await,
            }
            if step % 3 == 0 {
                world.check().await;
            }
        }
        world.check().await;
        world.ends().await;
        world.check().await;
        // Everything is taken apart again: each incident has exactly its own.
        for at in 0..world.incidents.len() {
            if world.incidents[at].merged_into.is_some() {
                world
                    .app
                    .post(&format!("{}/unmerge", world.path(at)), json!({}))
                    .await
                    .expect(200);
                world.incidents[at].merged_into = None;
            }
        }
        world.check().await;
    }
    world.app.finish().await;
}
