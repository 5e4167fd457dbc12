//! Two accounts with files that were stored as empty, and the steps with which they are recovered on evidence.

use candor::audit::{Actor, Tx};
use candor::base::id::IncidentId;
use candor::db::Db;
use candor::incident::recovery::{Impairment, Observation, Observed, impair, observe};
use serde_json::json;

use super::TestApp;

/// When the incident of [`Stored`] is opened.
pub const OPENED: &str = "2024-04-20T10:00:00Z";
/// The files of Acme, and the file of Beta.
pub const ACME: [&str; 4] = ["a1", "a2", "a3", "a4"];
pub const BETA: &str = "b1";

/// An incident that affects four files of Acme, which Ann owns, and one of Beta, which Bob owns. Cleo works on the file `a1` only.
pub struct Stored {
    pub app: TestApp,
    pub incident: String,
}

fn directory() -> String {
    let person = |id: &str, name: &str| json!({"kind": "person", "id": id, "name": name, "email": format!("{id}@example.com")});
    let file = |id: &str, account: &str| json!({"kind": "resource", "type": "file", "id": id, "account": account, "name": format!("{id}.mp4")});
    let mut lines = vec![
        json!({"kind": "account", "id": "acme", "name": "Acme"}),
        json!({"kind": "account", "id": "beta", "name": "Beta"}),
        person("ann", "Ann"),
        person("bob", "Bob"),
        person("cleo", "Cleo"),
        json!({"kind": "member", "account": "acme", "person": "ann", "role": "owner"}),
        json!({"kind": "member", "account": "beta", "person": "bob", "role": "owner"}),
    ];
    lines.extend(ACME.map(|id| file(id, "acme")));
    lines.push(file(BETA, "beta"));
    lines.push(json!({"kind": "collaborator", "resource": {"type": "file", "id": "a1"}, "person": "cleo", "role": "editor"}));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

impl Stored {
    /// Opens the incident. Nobody is notified, and there are no recovery states.
    pub async fn opened(app: TestApp) -> Stored {
        app.import(directory()).await.expect(200);
        let affected = ACME.iter().copied().chain([BETA]).map(|id| ("file", id));
        let incident = app.incident(affected).await;
        Stored { app, incident }
    }

    /// Opens the incident and sends the detection to its three people. Each file is impaired, and 100 bytes are expected of it.
    pub async fn told(app: TestApp) -> Stored {
        let stored = Stored::opened(app).await;
        stored.app.tell(&stored.incident, "detection").await;
        stored.begin(&ACME).await;
        stored.begin(&[BETA]).await;
        stored
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/incidents/{}{rest}", self.incident)
    }

    /// Makes files impaired, as a comparison does. 100 bytes are expected of each.
    pub async fn begin(&self, files: &[&str]) {
        let (keys, now) = (self.keys(files), self.app.clock.now());
        let impaired = self.write(move |tx, incident| {
            let one = |key: &i64| Impairment {
                resource_key: *key,
                expected: Some("{\"size\":\"100\"}"),
                since: now,
                seen_at: now,
            };
            let items: Vec<Impairment<'_>> = keys.iter().map(one).collect();
            impair(tx, incident, "a comparison", &items)
        });
        impaired.await;
    }

    /// Gives evidence at a time, as a later listing does: these files are as expected, or they are not.
    async fn seen(&self, at: &str, files: &[&str], fits: bool) -> Observed {
        self.app.set_clock(at);
        let (keys, now) = (self.keys(files), self.app.clock.now());
        let observed = self.write(move |tx, incident| {
            let one = |key: &i64| Observation {
                resource_key: *key,
                fits,
                observed: format!("{{\"size\":\"{}\"}}", if fits { 100 } else { 0 }),
                observed_at: now,
            };
            let items: Vec<Observation> = keys.iter().map(one).collect();
            observe(tx, incident, "a later listing", &items)
        });
        observed.await
    }

    /// Gives evidence that these files are as they should be.
    pub async fn recover(&self, at: &str, files: &[&str]) {
        let observed = self.seen(at, files, true).await;
        assert_eq!(observed.recovered, files.len() as i64, "{observed:?}");
    }

    /// Gives evidence that these recovered files are empty again.
    pub async fn relapse(&self, at: &str, files: &[&str]) {
        let observed = self.seen(at, files, false).await;
        assert_eq!(observed.relapsed, files.len() as i64, "{observed:?}");
    }

    fn keys(&self, files: &[&str]) -> Vec<i64> {
        let key = |id: &&str| {
            let query = format!(
                "SELECT CAST(key AS TEXT) AS value FROM resources WHERE type = 'file' AND id = '{id}'"
            );
            self.app.env.texts(&query)[0].parse().expect("a key")
        };
        files.iter().map(key).collect()
    }

    /// Changes the database in one transaction, as the service does.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Tx<'_>, &IncidentId) -> candor::base::error::Result<T> + Send + 'static,
    ) -> T {
        let url = candor::db::DatabaseUrl::parse(&self.app.env.database_url).expect("a database");
        let db = Db::open(url, self.app.clock.clone()).await.expect("the database");
        let incident = IncidentId::parse(&self.incident).expect("an ID");
        let changed = db
            .write(&Actor::system("tests"), move |tx| change(tx, &incident))
            .await;
        changed.expect("the change")
    }

    /// Sends a notice of a phase, and returns the people who got it, sorted.
    pub async fn tell(&self, phase: &str) -> Vec<String> {
        let notice = self.app.tell(&self.incident, phase).await;
        self.got(&notice).await
    }

    /// Returns the people on the frozen list of a notice, sorted.
    pub async fn got(&self, notice: &str) -> Vec<String> {
        let listed = self
            .app
            .all(&format!("/api/v1/notices/{notice}/recipients"))
            .await;
        let mut people: Vec<String> = listed
            .iter()
            .map(|one| one["person"]["id"].as_str().expect("an id").to_owned())
            .collect();
        people.sort();
        people
    }

    /// Returns the people whom a notice of a phase would reach now, sorted.
    pub async fn would_get(&self, phase: &str) -> Vec<String> {
        let notice = self.app.draft(&self.incident, phase).await;
        let people = self.got(&notice).await;
        self.app
            .delete(&format!("/api/v1/notices/{notice}"))
            .await
            .expect(204);
        people
    }
}
