//! Random operations on notices, waves, answers, corrections and people who come and go. Whatever happens in which order:
//!
//! - Nobody gets an email who was not in the list that was previewed and sent.
//! - Nobody gets one notice twice.
//! - Nobody gets an email of a notice after its stop was answered, unless the notice is resumed.
//! - Nobody who was corrected, and is not affected again, gets a resolution.
//! - Opening a link records no answer.
//! - No request ends with a fault of the server.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Answer, DEADLINE, Env, Mail, TestApp, crowd, eventually, on_both_databases};

on_both_databases!(
    the_first_story_of_chance,
    the_second_story_of_chance,
    the_third_story_of_chance,
    the_fourth_story_of_chance,
);

const PEOPLE: u64 = 8;
const STEPS: usize = 45;
const FORM: &str = "application/x-www-form-urlencoded";

/// Numbers that look random and are the same for the same seed (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(list.len()).expect("a number");
        (count > 0).then(|| &list[usize::try_from(self.below(count)).expect("a number")])
    }
}

/// A notice that was sent.
struct Sent {
    id: String,
    phase: &'static str,
    /// The addresses of the preview that was sent.
    list: BTreeSet<String>,
    /// Who had got it when its stop was answered. `None` if it was not stopped, or was resumed.
    stopped: Option<BTreeSet<String>>,
    /// How many of its emails were accepted, since it is at rest. `None` if a request may have set it in motion.
    accepted: Option<usize>,
}

struct World<'a> {
    env: &'a Env,
    app: TestApp,
    chance: Chance,
    incident: String,
    /// The notices by the mark in their message.
    sent: BTreeMap<String, Sent>,
    drafted: usize,
    affected: BTreeSet<String>,
    corrected: BTreeSet<String>,
    /// The number of emails that were examined.
    seen: usize,
    minutes: u32,
}

fn address(person: u64) -> String {
    format!("person-{person}@crowd.example")
}

fn mark_of(mail: &Mail) -> String {
    let (_, rest) = mail.text.split_once("mark-").expect("a mark");
    format!("mark-{}", rest.split_whitespace().next().expect("a number"))
}

impl World<'_> {
    fn fine(answer: &Answer) -> bool {
        assert!(answer.status < 500, "{answer}");
        answer.status < 300
    }

    fn tick(&mut self) {
        self.minutes += 1;
        let at = format!(
            "2024-03-14T{:02}:{:02}:00Z",
            7 + self.minutes / 60,
            self.minutes % 60
        );
        self.app.set_clock(&at);
    }

    /// Waits until nothing is sent any more, and examines what arrived.
    async fn settle(&mut self) {
        let moving: Vec<(String, String)> = self
            .sent
            .iter()
            .filter(|(_, sent)| sent.accepted.is_none())
            .map(|(mark, sent)| (mark.clone(), sent.id.clone()))
            .collect();
        for (mark, id) in moving {
            eventually("the notice to be at rest", DEADLINE, async || {
                let notice = self.app.notice(&id).await;
                let rests = match notice["state"].as_str() {
                    Some("sent" | "stopped") => true,
                    // The waves of a notice begin only by hand here.
                    Some("sending") if notice["wave"].is_object() => {
                        // Between two waves the API says that the notice is being sent. Its next wave is first queued, then its
                        // deliveries are pending.
                        let queued = format!("notices WHERE id = '{id}' AND state = 'queued'");
                        let pending = format!("deliveries WHERE notice_id = '{id}' AND state = 'pending'");
                        self.env.count(&queued) == 0 && self.env.count(&pending) == 0
                    }
                    _ => false,
                };
                rests.then_some(())
            })
            .await;
            // Now the numbers are those at rest.
            let notice = self.app.notice(&id).await;
            let accepted = notice["counts"]["sent"].as_u64().expect("a number");
            self.changed(&mark).accepted = Some(usize::try_from(accepted).expect("a number"));
        }
        let accepted = self.sent.values().filter_map(|sent| sent.accepted).sum();
        let mails = self.app.mails(accepted).await;
        self.examine(&mails);
    }

    /// Returns what is remembered of a notice that was sent, to change it.
    fn changed(&mut self, mark: &str) -> &mut Sent {
        self.sent.get_mut(mark).expect("a notice that was sent")
    }

    fn examine(&mut self, mails: &[Mail]) {
        let mut got: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for mail in mails {
            let mark = mark_of(mail);
            let sent = &self.sent[&mark];
            assert!(
                sent.list.contains(&mail.to),
                "{} was not in the list of {mark}",
                mail.to
            );
            let first = got.entry(mark.clone()).or_default().insert(mail.to.clone());
            assert!(first, "{} got {mark} twice", mail.to);
        }
        for (mark, sent) in &self.sent {
            if let Some(stopped) = &sent.stopped {
                let now = got.get(mark).cloned().unwrap_or_default();
                assert_eq!(*stopped, now, "{mark} was sent after its stop");
            }
        }
        for mail in &mails[self.seen..] {
            let phase = self.sent[&mark_of(mail)].phase;
            if phase == "resolution" {
                assert!(!self.corrected.contains(&mail.to), "{} was corrected", mail.to);
            }
            if phase == "correction" && !self.affected.contains(&mail.to) {
                self.corrected.insert(mail.to.clone());
            }
        }
        self.seen = mails.len();
    }

    /// Drafts a notice by this request, and sends it if it has recipients.
    async fn send(&mut self, phase: &'static str, path: String, body: Value, waves: bool) {
        let mark = format!("mark-{}", self.drafted);
        self.drafted += 1;
        let drafted = self.app.post(&path, body).await;
        if !Self::fine(&drafted) {
            return;
        }
        let id = drafted.id();
        let change = json!({"message": format!("What we have to say: {mark} .")});
        self.app
            .patch(&format!("/api/v1/notices/{id}"), change)
            .await
            .expect(200);
        let preview = self.app.preview(&id).await.expect(200);
        let list = self
            .app
            .all(&format!("/api/v1/notices/{id}/recipients"))
            .await
            .iter()
            .map(|one| one["address"].as_str().expect("an address").to_owned())
            .collect();
        // Somebody may come or go between the preview and the send.
        if self.chance.below(5) == 0 {
            self.people_move().await;
        }
        let mut send = json!({"digest": preview["digest"]});
        if waves {
            send["waves"] = json!([{"people": 1 + self.chance.below(3)}, {"percent": 30}, {"rest": true}]);
        }
        let path = format!("/api/v1/notices/{id}/send");
        if Self::fine(&self.app.post(&path, send).await) {
            let sent = Sent {
                id,
                phase,
                list,
                stopped: None,
                accepted: None,
            };
            self.sent.insert(mark, sent);
        }
    }

    async fn people_move(&mut self) {
        let person = 1 + self.chance.below(PEOPLE);
        let path = format!("/api/v1/resources/project/stage/collaborators/person-{person}");
        if self.affected.remove(&address(person)) {
            self.app.delete(&path).await.expect(204);
        } else {
            let answer = self.app.put(&path, json!({"role": "editor"})).await;
            assert!(Self::fine(&answer), "{answer}");
            self.affected.insert(address(person));
            self.corrected.remove(&address(person));
        }
    }

    fn any(&mut self) -> Option<(String, String)> {
        let marks: Vec<&String> = self.sent.keys().collect();
        let mark = (*self.chance.one_of(&marks)?).clone();
        let id = self.sent[&mark].id.clone();
        Some((mark, id))
    }

    async fn answer(&mut self) {
        let mails = self.app.mails(self.seen).await;
        let Some(mail) = self.chance.one_of(&mails) else {
            return;
        };
        let Some((_, rest)) = mail.text.split_once("/answers/") else {
            return;
        };
        let path = format!("/answers/{}", rest.split_whitespace().next().expect("a link"));
        let before = self.env.count("answers");
        Self::fine(&self.app.anonymous().get(&path).await);
        assert_eq!(self.env.count("answers"), before, "a link was opened");
        let answer = ["works", "broken", "help"][usize::try_from(self.chance.below(3)).expect("a number")];
        let form = format!("answer={answer}&text=");
        let answer = self.app.anonymous().post_raw(&path, FORM, form).await;
        assert!(Self::fine(&answer), "{answer}");
    }

    async fn step(&mut self) {
        self.tick();
        let notices = format!("/api/v1/incidents/{}/notices", self.incident);
        let waves = self.chance.below(2) == 0;
        let new = |phase: &str| json!({"phase": phase, "message": "A message.", "customer_action": {"required": false}});
        match self.chance.below(16) {
            0 | 1 => self.people_move().await,
            2 => self.send("detection", notices, new("detection"), waves).await,
            3 | 4 => self.send("update", notices, new("update"), waves).await,
            5 => self.send("resolution", notices, new("resolution"), waves).await,
            6 | 7 => {
                if let Some((_, id)) = self.any() {
                    let path = format!("/api/v1/notices/{id}/correction");
                    self.send("correction", path, json!({}), false).await;
                }
            }
            8 => {
                if let Some((mark, id)) = self.any() {
                    let phase = self.sent[&mark].phase;
                    self.send(phase, format!("/api/v1/notices/{id}/catch-up"), json!({}), waves)
                        .await;
                }
            }
            9 => {
                let path = format!("/api/v1/incidents/{}/answers/remind", self.incident);
                self.send("update", path, json!({}), false).await;
            }
            10 => self.answer().await,
            11 => {
                let status = if waves { "resolved" } else { "investigating" };
                let path = format!("/api/v1/incidents/{}/status", self.incident);
                Self::fine(&self.app.post(&path, json!({"status": status})).await);
            }
            12 => {
                if let Some((mark, id)) = self.any() {
                    let stopped = self
                        .app
                        .post(&format!("/api/v1/notices/{id}/stop"), json!({}))
                        .await;
                    if Self::fine(&stopped) {
                        let notified = self.app.addresses(&id, "sent").await;
                        let sent = self.changed(&mark);
                        sent.stopped = Some(notified.into_iter().collect());
                        sent.accepted = None;
                    }
                }
            }
            13 => {
                if let Some((mark, id)) = self.any() {
                    let resumed = self
                        .app
                        .post(&format!("/api/v1/notices/{id}/resume"), json!({}))
                        .await;
                    if Self::fine(&resumed) {
                        let sent = self.changed(&mark);
                        sent.stopped = None;
                        sent.accepted = None;
                    }
                }
            }
            _ => {
                if let Some((mark, id)) = self.any() {
                    let path = format!("/api/v1/notices/{id}/continue");
                    if Self::fine(&self.app.post(&path, json!({})).await) {
                        self.changed(&mark).accepted = None;
                    }
                }
            }
        }
        self.settle().await;
    }
}

async fn story(env: &Env, seed: u64) {
    let app = TestApp::builder(env).at("2024-03-14T07:00:00Z").start().await;
    let people = usize::try_from(PEOPLE).expect("a number");
    app.import(crowd(people)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let mut world = World {
        env,
        app,
        chance: Chance(seed),
        incident,
        sent: BTreeMap::new(),
        drafted: 0,
        affected: (1..=PEOPLE).map(address).collect(),
        corrected: BTreeSet::new(),
        seen: 0,
        minutes: 0,
    };
    for _ in 0..STEPS {
        world.step().await;
    }
    assert!(world.seen > 0, "nothing was sent");
    world.app.finish().await;
}

async fn the_first_story_of_chance(env: Env) {
    story(&env, 0x9e37_79b9_7f4a_7c15).await;
}

async fn the_second_story_of_chance(env: Env) {
    story(&env, 0x2545_f491_4f6c_dd1d).await;
}

async fn the_third_story_of_chance(env: Env) {
    story(&env, 0xd1b5_4a32_d192_ed03).await;
}

async fn the_fourth_story_of_chance(env: Env) {
    story(&env, 0x8cb9_2ba7_2f3d_8dd7).await;
}
