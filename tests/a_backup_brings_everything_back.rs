//! A backup is one file that is made while the service runs. It restores every row, in both kinds of
//! database.

use serde_json::json;

use crate::support::{
    Another, Backend, Binary, DEADLINE, Env, on_both_databases, story, story_directory, wait_until,
};

on_both_databases!(
    a_backup_restores_into_an_empty_database,
    a_restore_does_not_overwrite_unless_it_is_told_to,
    a_backup_moves_to_the_other_kind_of_database,
    what_is_no_backup_changes_nothing
);

/// Starts a service with a directory, an incident and a notice that was sent.
async fn filled(env: &Env) -> (Binary, String) {
    let mut candor = Binary::new(env);
    candor.serve().await;
    candor.import(story_directory()).await.expect(200);
    // This change must be in the history.
    candor
        .put(
            "/api/v1/resources/project/savanna/collaborators/baraka",
            json!({"role": "composer"}),
        )
        .await
        .expect(200);
    candor.delete("/api/v1/resources/file/ferry-v1").await.expect(204);
    let incident = candor
        .post(
            "/api/v1/incidents",
            json!({"title": "Files cannot be opened", "severity": "major",
                "affected": [{"type": "media", "id": story::MEDIA}]}),
        )
        .await
        .expect(201)
        .id();
    let hook = json!({"name": "probe", "source": "generic"});
    let hook = candor.post("/api/v1/integrations", hook).await.expect(201);
    let url = hook["hook_url"].as_str().expect("a URL").to_owned();
    candor
        .anonymous()
        .post(&url, json!({"title": "Down", "id": "1"}))
        .await
        .expect(202);
    let notice = json!({"phase": "detection", "message": "We know of it."});
    let notice = candor
        .post(&format!("/api/v1/incidents/{incident}/notices"), notice)
        .await
        .expect(201)
        .id();
    let preview = candor
        .get(&format!("/api/v1/notices/{notice}/preview"))
        .await
        .expect(200);
    let digest = json!({"digest": preview["digest"]});
    candor
        .post(&format!("/api/v1/notices/{notice}/send"), digest)
        .await
        .expect(202);
    wait_until("the notice is sent", DEADLINE, async || {
        candor.get(&format!("/api/v1/notices/{notice}")).await.expect(200)["state"] == "sent"
    })
    .await;
    (candor, incident)
}

/// Counts the rows of the history tables of the directory.
fn history(env: &Env) -> [i64; 5] {
    [
        "account_history",
        "person_history",
        "resource_history",
        "member_history",
        "collaborator_history",
    ]
    .map(|table| env.count(table))
}

async fn a_backup_restores_into_an_empty_database(env: Env) {
    let (candor, incident) = filled(&env).await;
    let file = env.directory.join("backup.db");
    let before = candor
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200)
        .json;
    candor
        .run(["backup", file.to_str().expect("a path")])
        .await
        .expect(0);
    candor
        .run(["backup", file.to_str().expect("a path")])
        .await
        .expect(1);

    let other = Another::of(env.backend);
    let mut restored = Binary::new(&other.env);
    restored
        .run(["restore", file.to_str().expect("a path")])
        .await
        .expect(0);
    restored.serve().await;
    let after = restored
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200)
        .json;
    assert_eq!(before, after);
    assert_eq!(history(&env), [0, 0, 1, 0, 1]);
    assert_eq!(history(&other.env), history(&env));
    // New rows get keys that the old rows do not have.
    restored
        .put("/api/v1/accounts/new-account", json!({"name": "New"}))
        .await
        .expect(201);
    restored
        .post(
            "/api/v1/incidents",
            json!({"title": "Another", "severity": "minor"}),
        )
        .await
        .expect(201);
    let verified = restored.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(verified["ok"], true, "{}", verified.text);
    restored.finish().await;
    candor.finish().await;
}

async fn a_restore_does_not_overwrite_unless_it_is_told_to(env: Env) {
    let (mut candor, incident) = filled(&env).await;
    let file = env.directory.join("backup.db");
    let path = file.to_str().expect("a path").to_owned();
    candor.run(["backup", &path]).await.expect(0);
    candor
        .put("/api/v1/accounts/after-the-backup", json!({"name": "Later"}))
        .await
        .expect(201);
    candor.terminate().await;
    let refused = candor.run(["restore", &path]).await.expect(1);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    candor.serve().await;
    candor.get("/api/v1/accounts/after-the-backup").await.expect(200);
    candor.terminate().await;
    candor.run(["restore", &path, "--force"]).await.expect(0);
    candor.serve().await;
    candor.get("/api/v1/accounts/after-the-backup").await.expect(404);
    candor
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    candor.finish().await;
}

async fn a_backup_moves_to_the_other_kind_of_database(env: Env) {
    let (candor, incident) = filled(&env).await;
    let file = env.directory.join("backup.db");
    let path = file.to_str().expect("a path").to_owned();
    let before = candor
        .get("/api/v1/audit?limit=500")
        .await
        .expect(200)
        .items()
        .to_vec();
    candor.run(["backup", &path]).await.expect(0);
    let moved = Another::of(match env.backend {
        Backend::Sqlite => Backend::Postgres,
        Backend::Postgres => Backend::Sqlite,
    });
    let mut elsewhere = Binary::new(&moved.env);
    elsewhere.run(["restore", &path]).await.expect(0);
    elsewhere.run(["audit", "verify"]).await.expect(0);
    assert_eq!(history(&moved.env), [0, 0, 1, 0, 1]);
    elsewhere.serve().await;
    elsewhere
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    let after = elsewhere
        .get("/api/v1/audit?limit=500")
        .await
        .expect(200)
        .items()
        .to_vec();
    assert_eq!(before.as_slice(), &after[after.len() - before.len()..]);
    elsewhere.finish().await;
    candor.finish().await;
}

async fn what_is_no_backup_changes_nothing(env: Env) {
    let candor = Binary::new(&env);
    candor.run(["migrate"]).await.expect(0);
    let file = env.directory.join("letter.txt");
    std::fs::write(&file, "Dear Sir or Madam").expect("a file");
    let refused = candor
        .run(["restore", file.to_str().expect("a path"), "--force"])
        .await
        .expect(1);
    assert!(refused.stderr.contains("not a backup"), "{}", refused.stderr);
    candor.run(["restore", "/nowhere/backup.db"]).await.expect(1);
    candor.run(["audit", "verify"]).await.expect(0);
}
