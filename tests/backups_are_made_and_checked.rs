//! Backups are made by a schedule and on request, old ones are removed, each can be restored into a temporary place, and a failure is
//! seen.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candor::backup::Keep;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{
    ADMIN_TOKEN, Answer, Binary, DEADLINE, Env, TestApp, eventually, on_both_databases, on_one_database,
    story_directory,
};

on_both_databases!(
    a_backup_is_made_on_request_and_checked,
    the_schedule_makes_backups_and_removes_old_ones,
    a_failure_is_seen_until_a_backup_succeeds,
    a_backup_of_a_dead_process_fails_and_is_made_again,
);
on_one_database!(
    a_damaged_backup_is_found,
    without_a_folder_nothing_is_made,
    the_command_checks_a_backup_and_writes_to_a_file_with_its_name,
);

fn folder(env: &Env) -> PathBuf {
    env.directory.join("backups")
}

/// The names of the files in a folder, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map(|entries| {
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

async fn started(env: &Env) -> TestApp {
    let app = TestApp::builder(env)
        .at("2026-11-30T01:00:00Z")
        .config(|config| {
            config.backup_dir = Some(folder(env));
            config.backup_keep = Keep::Files(2);
        })
        .start()
        .await;
    app.import(story_directory()).await.expect(200);
    app
}

/// Waits until a backup has ended, and its drill too.
async fn ended(app: &TestApp, id: &str) -> Answer {
    eventually("the backup to end", DEADLINE, async || {
        let backup = app.get(&format!("/api/v1/backups/{id}")).await.expect(200);
        let busy = |field: &str| ["queued", "running"].iter().any(|state| backup[field] == *state);
        (!busy("state") && !busy("check")).then_some(backup)
    })
    .await
}

async fn make(app: &TestApp) -> Answer {
    let id = app.post("/api/v1/backups", json!({})).await.expect(202).id();
    ended(app, &id).await
}

async fn faults(app: &TestApp) -> Vec<Value> {
    let now = app.get("/api/v1/now").await.expect(200);
    let faults = now["faults"].as_array().unwrap().clone();
    faults
        .into_iter()
        .filter(|fault| fault["kind"] == "backup")
        .collect()
}

async fn a_backup_is_made_on_request_and_checked(env: Env) {
    let app = started(&env).await;
    let made = make(&app).await;
    assert_eq!(
        (&made["state"], &made["cause"], &made["check"]),
        (&json!("done"), &json!("request"), &json!("none")),
        "{made}"
    );
    let name = made["file"].as_str().unwrap();
    assert_eq!(name, "candor-20261130T010000.000000Z.db");
    assert_eq!(files(&folder(&env)), [name]);
    let metadata = std::fs::metadata(folder(&env).join(name)).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(json!(metadata.len()), made["bytes"]);
    let folder_mode = std::fs::metadata(folder(&env)).unwrap().permissions().mode();
    assert_eq!(folder_mode & 0o077, 0);
    let checked = app
        .post(&format!("/api/v1/backups/{}/check", made.id()), json!({}))
        .await
        .expect(202);
    let checked = ended(&app, &checked.id()).await;
    assert_eq!(checked["check"], "good", "{checked}");
    // Nothing of the drill is left.
    assert_eq!(files(&folder(&env)), [name]);
    let system = app.get("/api/v1/system").await.expect(200);
    assert_eq!(system["backups"]["last_good"]["id"], made["id"]);
    assert_eq!(system["backups"]["last_drill"]["id"], made["id"]);
    assert_eq!(system["backups"]["schedule"], "every day at 02:00 UTC");
    let events = app
        .all(&format!("/api/v1/audit?subject=backup/{}", made.id()))
        .await;
    let mut actions: Vec<&str> = events
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    actions.sort_unstable();
    assert_eq!(
        actions,
        [
            "backup.checked",
            "backup.made",
            "backup.requested",
            "backup.requested"
        ]
    );
    // The drill says what it restored.
    let drill = events
        .iter()
        .find(|event| event["action"] == "backup.checked")
        .unwrap();
    assert_eq!(drill["after"]["people"], env.count("people"));
    // The pages do the same.
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser.page("/admin/backups").await;
    for text in [
        name,
        "can be restored",
        "the newest 2 files are kept",
        "Back up now",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    app.clock.advance(Duration::from_secs(60));
    browser
        .send_from("/admin/backups", "/admin/backups", &[])
        .await
        .expect(303);
    let newest = app.get("/api/v1/backups").await.expect(200).items()[0]["id"].clone();
    let newest = ended(&app, newest.as_str().unwrap()).await;
    assert_eq!(newest["state"], "done", "{newest}");
    let check = format!("/admin/backups/{}/check", newest.id());
    browser.send_from("/admin/backups", &check, &[]).await.expect(303);
    assert_eq!(ended(&app, &newest.id()).await["check"], "good");
    let page = browser.page("/admin/system").await;
    assert!(page.contains("Last good restore drill"), "{page}");
    // Only an admin makes backups or sees them.
    let operator = app.as_new("operator").await;
    operator.post("/api/v1/backups", json!({})).await.expect(403);
    operator.get("/api/v1/backups").await.expect(403);
    app.finish().await;
}

async fn the_schedule_makes_backups_and_removes_old_ones(env: Env) {
    let app = started(&env).await;
    std::fs::write(folder(&env).join("notes.txt"), "mine").unwrap();
    std::fs::write(folder(&env).join("candor-20261129T020000.000000Z.part"), "half").unwrap();
    let by_schedule = async |n: usize| {
        eventually("the backup of the schedule", DEADLINE, async || {
            let list = app.get("/api/v1/backups").await.expect(200);
            let all = list.items();
            let done = all.len() == n
                && all
                    .iter()
                    .all(|one| one["state"] == "done" && one["check"] == "good");
            done.then(|| all.to_vec())
        })
        .await
    };
    app.set_clock("2026-11-30T02:00:01Z");
    let first = by_schedule(1).await;
    assert_eq!(first[0]["cause"], "schedule");
    app.set_clock("2026-12-01T02:00:01Z");
    by_schedule(2).await;
    // Several times that were missed are made up for by one backup.
    app.set_clock("2026-12-09T12:00:00Z");
    let all = by_schedule(3).await;
    assert_eq!(
        files(&folder(&env)),
        [
            "candor-20261201T020001.000000Z.db",
            "candor-20261209T120000.000000Z.db",
            "notes.txt"
        ]
    );
    assert!(all[2]["removed_at"].is_string(), "{}", all[2]);
    assert!(all[1]["removed_at"].is_null(), "{}", all[1]);
    let removed = app.all("/api/v1/audit?action=backup.removed").await;
    assert_eq!(removed.len(), 1);
    app.post(
        &format!("/api/v1/backups/{}/check", all[2]["id"].as_str().unwrap()),
        json!({}),
    )
    .await
    .expect(409);
    assert!(faults(&app).await.is_empty());
    app.finish().await;
}

async fn a_failure_is_seen_until_a_backup_succeeds(env: Env) {
    let app = started(&env).await;
    std::fs::remove_dir_all(folder(&env)).unwrap();
    std::fs::write(folder(&env), "not a folder").unwrap();
    let failed = make(&app).await;
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(failed["file"].is_null());
    assert!(!failed["error"].as_str().unwrap().is_empty());
    let seen = faults(&app).await;
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0]["text"]
            .as_str()
            .unwrap()
            .starts_with("The last backup failed"),
        "{seen:?}"
    );
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    for path in ["/admin", "/admin/system", "/admin/backups"] {
        let page = browser.page(path).await;
        assert!(page.contains("failed"), "{path}: {page}");
    }
    assert_eq!(app.all("/api/v1/audit?action=backup.failed").await.len(), 1);
    // A failed backup of the schedule is tried again before the next time of the schedule.
    app.set_clock("2026-11-30T02:00:01Z");
    let two = eventually("the second failure", DEADLINE, async || {
        let list = app.get("/api/v1/backups").await.expect(200);
        (list.items().len() == 2 && list.items()[0]["state"] == "failed").then_some(list)
    })
    .await;
    assert_eq!(two.items()[0]["cause"], "schedule");
    std::fs::remove_file(folder(&env)).unwrap();
    app.set_clock("2026-11-30T02:16:00Z");
    let list = eventually("the backup after the failure", DEADLINE, async || {
        let list = app.get("/api/v1/backups").await.expect(200);
        (list.items().len() == 3 && list.items()[0]["check"] == "good").then_some(list)
    })
    .await;
    assert_eq!(list.items()[0]["state"], "done");
    assert!(faults(&app).await.is_empty());
    // Twice the time of the schedule passes, and no process makes backups.
    app.finish().await;
    let app = TestApp::builder(&env)
        .at("2026-12-02T04:00:00Z")
        .workers(false)
        .config(|config| config.backup_dir = Some(folder(&env)))
        .start()
        .await;
    let seen = faults(&app).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(
        seen[0]["text"].as_str().unwrap().contains("No backup was made"),
        "{seen:?}"
    );
    app.finish().await;
}

async fn a_backup_of_a_dead_process_fails_and_is_made_again(env: Env) {
    let mut app = started(&env).await;
    app.stop().await;
    env.sql(
        "INSERT INTO backups (id, state, cause, active, requested_by, requested_at, started_at, check_state, lease, lease_until) \
         VALUES ('01936d00-0000-7000-8000-000000000000', 'running', 'request', 1, 'admin', 1, 1, 'none', 'dead', 1)",
    )
    .unwrap();
    app.start_again().await;
    let dead = ended(&app, "01936d00-0000-7000-8000-000000000000").await;
    assert_eq!(dead["state"], "failed", "{dead}");
    assert_eq!(make(&app).await["state"], "done");
    app.finish().await;
}

async fn a_damaged_backup_is_found(env: Env) {
    let app = started(&env).await;
    let made = make(&app).await;
    let path = folder(&env).join(made["file"].as_str().unwrap());
    let whole = std::fs::read(&path).unwrap();
    let checked = async || {
        app.post(&format!("/api/v1/backups/{}/check", made.id()), json!({}))
            .await
            .expect(202);
        ended(&app, &made.id()).await
    };
    // The content of an audit event, the structure of the file, half of it, and something else.
    let word = b"directory.imported";
    let mut tampered = whole.clone();
    let at = whole.windows(word.len()).position(|part| part == word).unwrap();
    tampered[at + 3] ^= 1;
    for (what, content) in [
        ("a changed event", tampered),
        ("half a file", whole[..whole.len() / 2].to_vec()),
        ("another file", b"not a database at all".to_vec()),
    ] {
        std::fs::write(&path, content).unwrap();
        let bad = checked().await;
        assert_eq!(bad["check"], "bad", "{what}: {bad}");
        let seen = faults(&app).await;
        assert_eq!(seen.len(), 1, "{what}");
        assert!(
            seen[0]["text"].as_str().unwrap().contains("cannot be restored"),
            "{seen:?}"
        );
        let candor = Binary::new(&env);
        let output = candor
            .run(["backup", "check", path.to_str().unwrap()])
            .await
            .expect(1);
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{what}: {output:?}"
        );
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(checked().await["check"], "good");
    assert!(faults(&app).await.is_empty());
    app.finish().await;
}

async fn without_a_folder_nothing_is_made(env: Env) {
    let app = TestApp::start(&env).await;
    let refused = app.post("/api/v1/backups", json!({})).await.expect_problem(409);
    assert!(
        refused["detail"].as_str().unwrap().contains("CANDOR_BACKUP_DIR"),
        "{refused}"
    );
    assert!(app.get("/api/v1/backups").await.expect(200).items().is_empty());
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser.page("/admin/backups").await;
    assert!(
        page.contains("CANDOR_BACKUP_DIR") && !page.contains("Back up now"),
        "{page}"
    );
    app.finish().await;
    for (name, value) in [
        ("backup_keep", "0"),
        ("backup_schedule", "at night"),
        ("backup_check", "maybe"),
        ("contacts_file", "contacts.enc"),
        ("contacts_key", "short"),
    ] {
        let output = Binary::new(&env)
            .setting(name, value)
            .run(["migrate"])
            .await
            .expect(1);
        let variable = format!("CANDOR_{}", name.to_uppercase());
        assert!(output.stderr.contains(&variable), "{name}: {}", output.stderr);
    }
}

async fn the_command_checks_a_backup_and_writes_to_a_file_with_its_name(env: Env) {
    let candor = Binary::new(&env).setting("backup_dir", folder(&env).display());
    candor.run(["migrate"]).await.expect(0);
    candor.run(["backup"]).await.expect(2);
    candor.run(["backup", "./check"]).await.expect(0);
    assert!(env.directory.join("check").is_file());
    let good = candor.run(["backup", "check", "./check"]).await.expect(0);
    assert!(good.stdout.contains("can be restored"), "{}", good.stdout);
    // Without a file it is the newest one of the folder.
    let none = candor.run(["backup", "check"]).await.expect(1);
    assert!(!none.stderr.is_empty());
    std::fs::create_dir(folder(&env)).unwrap();
    for name in [
        "candor-20261130T020000.000000Z.db",
        "candor-20261201T020000.000000Z.db",
    ] {
        std::fs::copy(env.directory.join("check"), folder(&env).join(name)).unwrap();
    }
    std::fs::write(folder(&env).join("candor-20261130T020000.000000Z.db"), "damaged").unwrap();
    let good = candor.run(["backup", "check"]).await.expect(0);
    assert!(
        good.stdout.contains("candor-20261201T020000.000000Z.db"),
        "{}",
        good.stdout
    );
    candor
        .run(["backup", "check", "/nowhere/backup.db"])
        .await
        .expect(1);
    // The check needs no database.
    let alone = Binary::new(&env).setting("database_url", "postgres://127.0.0.1:1/gone");
    alone.run(["backup", "check", "./check"]).await.expect(0);
}
