//! Backup and restore among many writes, each killed in the middle: nothing is lost that was acknowledged before the backup began, and there
//! is never a half file with the name of a whole one.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use serde_json::json;

use crate::support::{Binary, DEADLINE, Env, Http, crowd, eventually, on_both_databases, wait_until};

on_both_databases!(what_was_acknowledged_is_in_the_backup);

/// The people of each request.
const BATCH: usize = 25;
/// The requests that run at the same time.
const WRITERS: usize = 8;
/// The people who are there before, so that a copy takes a while.
const CROWD: usize = 5_000;

/// The IDs that the service has acknowledged.
type Acknowledged = Arc<Mutex<BTreeSet<String>>>;

/// Writes until it is told to stop, or until the service is killed.
async fn write(http: Http, writer: usize, acknowledged: Acknowledged, stop: Arc<AtomicBool>) {
    for round in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let ids: Vec<String> = (0..BATCH).map(|n| format!("w{writer}-{round}-{n}")).collect();
        let body: String = ids
            .iter()
            .map(|id| {
                format!(
                    "{}\n",
                    json!({"kind": "person", "id": id, "name": id, "email": format!("{id}@example.com")})
                )
            })
            .collect();
        let request = http
            .request(reqwest::Method::POST, "/api/v1/directory/import")
            .body("application/x-ndjson", body);
        match request.try_send().await {
            Ok(answer) if answer.status == 200 => acknowledged.lock().unwrap().extend(ids),
            // It was killed, or it is too busy: then nothing was promised.
            Ok(answer) => assert_eq!(answer.status, 503, "{answer}"),
            Err(_) => return,
        }
    }
}

/// The IDs of the people in an SQLite file.
fn people(file: &Path) -> BTreeSet<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        id: String,
    }
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA query_only = ON").unwrap();
    let rows: Vec<Row> = diesel::sql_query("SELECT id FROM people")
        .load(&mut connection)
        .unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

#[track_caller]
fn contains(file: &Path, acknowledged: &BTreeSet<String>, what: &str) {
    let there = people(file);
    let lost = acknowledged.difference(&there).count();
    assert_eq!(
        lost,
        0,
        "{what}: {lost} of {} people are lost",
        acknowledged.len()
    );
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
    entries
        .unwrap_or_default()
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "part"))
        .collect()
}

async fn what_was_acknowledged_is_in_the_backup(env: Env) {
    let folder = env.directory.join("backups");
    let mut candor = Binary::new(&env).setting("backup_dir", folder.display());
    candor.serve().await;
    candor.import(crowd(CROWD)).await.expect(200);
    let (acknowledged, stop) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
    let begun = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(
            Http::clone(&candor),
            writer,
            acknowledged.clone(),
            stop.clone(),
        ));
    }
    let count = || acknowledged.lock().unwrap().len();
    wait_until("the first thousand writes", DEADLINE, async || count() >= 1_000).await;

    // The command, killed in the middle: there is no file with the name of a backup, or it is a whole one.
    let file = env.directory.join("killed.db");
    let part = file.with_extension("part");
    let mut command = Binary::new(&env);
    command.begin(["backup", "killed.db"]);
    wait_until("the backup to begin", DEADLINE, async || {
        part.exists() || file.exists()
    })
    .await;
    command.kill();
    if file.exists() {
        command.run(["backup", "check", "killed.db"]).await.expect(0);
    }
    // The next one is whole, and contains what was acknowledged before it began, while writes go on.
    let (before, at) = (acknowledged.lock().unwrap().clone(), Instant::now());
    command.run(["backup", "whole.db"]).await.expect(0);
    let written = count() - before.len();
    assert!(
        written > 0,
        "no write was acknowledged during the backup of {:?}",
        at.elapsed()
    );
    let whole = env.directory.join("whole.db");
    contains(&whole, &before, "the command");

    // The service, killed in the middle of its own backup.
    let before = acknowledged.lock().unwrap().clone();
    let made = candor.post("/api/v1/backups", json!({})).await.expect(202).id();
    wait_until("the backup of the service to begin", DEADLINE, async || {
        !parts(&folder).is_empty() || std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some())
    })
    .await;
    candor.kill();
    stop.store(true, Ordering::SeqCst);
    while writers.join_next().await.is_some() {}
    println!("{} writes were acknowledged in {:?}", count(), begun.elapsed());
    let finished = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "db"));
    if let Some(finished) = &finished {
        contains(finished, &before, "the backup of the killed service");
    }
    // Everything that was acknowledged is still there, and the next backup contains it.
    if env.backend == crate::support::Backend::Postgres {
        // The lease of the dead process ends.
        env.sql("UPDATE backups SET lease_until = 1").unwrap();
    }
    candor.serve().await;
    let ended = eventually("the killed backup to end", DEADLINE, async || {
        let backup = candor.get(&format!("/api/v1/backups/{made}")).await.expect(200);
        ["done", "failed"]
            .iter()
            .any(|state| backup["state"] == *state)
            .then_some(backup)
    })
    .await;
    assert!(ended["state"] == "failed" || finished.is_some(), "{ended}");
    let everything = acknowledged.lock().unwrap().clone();
    let made = candor.post("/api/v1/backups", json!({})).await.expect(202).id();
    let made = eventually("the next backup", DEADLINE, async || {
        let backup = candor.get(&format!("/api/v1/backups/{made}")).await.expect(200);
        (backup["state"] == "done").then_some(backup)
    })
    .await;
    assert!(
        parts(&folder).is_empty(),
        "what the killed backup left is removed"
    );
    let last = folder.join(made["file"].as_str().unwrap());
    contains(&last, &everything, "the next backup");
    candor.finish().await;

    // A restore on another path, killed in the middle, and repeated.
    restored(&env, &last, &everything).await;
}

async fn restored(env: &Env, backup: &Path, everything: &BTreeSet<String>) {
    let place = env.directory.join("elsewhere");
    std::fs::create_dir(&place).unwrap();
    let target = place.join("candor.db");
    let url = format!("sqlite://{}", target.display());
    let mut elsewhere = Binary::new(env).setting("database_url", &url);
    // A database that is in use there is either the old one or the restored one.
    elsewhere.run(["migrate"]).await.expect(0);
    let part = place.join("candor.db.restoring");
    let size = std::fs::metadata(backup).unwrap().len();
    // When the copy begins, when it is complete and being verified, and when it has replaced the database.
    for moment in 0..3 {
        let before = inode(&target);
        elsewhere.begin(["restore", backup.to_str().unwrap(), "--force"]);
        wait_until("the restore", DEADLINE, async || {
            let copied = std::fs::metadata(&part).map(|data| data.len());
            match moment {
                _ if inode(&target) != before => true,
                0 => copied.is_ok(),
                1 => copied.is_ok_and(|bytes| bytes >= size),
                _ => false,
            }
        })
        .await;
        elsewhere.kill();
        elsewhere.run(["audit", "verify"]).await.expect(0);
        let there = people(&target);
        assert!(
            there.is_empty() || everything.is_subset(&there),
            "{} people after a kill: neither the old database nor the new one",
            there.len()
        );
    }
    elsewhere
        .run(["restore", backup.to_str().unwrap(), "--force"])
        .await
        .expect(0);
    contains(&target, everything, "the restored database");
    assert!(!part.exists());
    elsewhere.run(["audit", "verify"]).await.expect(0);
    elsewhere.serve().await;
    assert_eq!(
        elsewhere.get("/api/v1/people/person-1").await.expect(200)["name"],
        "Person 1"
    );
    elsewhere.finish().await;
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).map(|data| data.ino()).unwrap_or_default()
}
