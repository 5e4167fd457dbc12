//! An SQLite database has one process, whatever path other processes use, and only its user may read the
//! files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Backend, Binary, Env, on_both_databases, run};

on_both_databases!(empty: what_is_written_is_the_users_own);

#[test]
fn by_whatever_path() {
    run(Backend::Sqlite, async |env: Env| {
        let file = env.directory.join("candor.db");
        let mut candor = Binary::new(&env);
        candor.serve().await;
        candor.import(crate::support::story_directory()).await.expect(200);
        let folder = env.directory.join("folder");
        fs::create_dir(&folder).expect("a folder");
        symlink(&file, folder.join("link.db")).expect("a symlink");
        symlink(folder.join("link.db"), folder.join("link-of-a-link.db")).expect("a symlink");
        symlink(&env.directory, folder.join("other-folder")).expect("a symlink");
        let paths = [
            "candor.db".to_owned(),
            "./folder/../candor.db".to_owned(),
            folder.join("link.db").display().to_string(),
            "folder/link-of-a-link.db".to_owned(),
            "folder/other-folder/candor.db".to_owned(),
        ];
        let events = env.count("audit_events");
        for path in &paths {
            let other = Binary::new(&env).setting("database_url", format!("sqlite://{path}"));
            for arguments in [&["serve"][..], &["serve", "--no-workers"], &["worker"]] {
                let refused = other.run(arguments).await.expect(1);
                assert!(
                    refused.stderr.contains("another process already uses"),
                    "{path}: {}",
                    refused.stderr
                );
                assert_eq!(
                    refused.stderr.trim().lines().count(),
                    1,
                    "{path}: {}",
                    refused.stderr
                );
                assert_eq!(refused.stdout, "", "{path}");
            }
        }
        candor.run(["backup", "copy.db"]).await.expect(0);
        for path in &paths {
            let other = Binary::new(&env).setting("database_url", format!("sqlite://{path}"));
            let refused = other.run(["restore", "copy.db", "--force"]).await.expect(1);
            assert!(
                refused.stderr.contains("another process"),
                "{path}: {}",
                refused.stderr
            );
        }
        assert_eq!(env.count("audit_events"), events);
        candor.get("/api/v1/accounts").await.expect(200);
        candor.terminate().await.expect(0);
        // A link is as valid as any other path, for one process at a time. Sent emails stay sent.
        let mut linked = Binary::new(&env).setting(
            "database_url",
            format!("sqlite://{}", folder.join("link.db").display()),
        );
        linked.serve().await;
        Binary::new(&env).run(["serve"]).await.expect(1);
        linked.finish().await;
    });
}

/// SQLite finds its log by the name of a file, so a second name would lead to a second log.
#[test]
fn a_file_with_two_names_is_refused() {
    run(Backend::Sqlite, async |env: Env| {
        let file = env.directory.join("candor.db");
        let other_name = env.directory.join("folder").join("other.db");
        fs::create_dir(env.directory.join("folder")).expect("a folder");
        let mut candor = Binary::new(&env);
        candor.serve().await;
        candor.import(crate::support::story_directory()).await.expect(200);
        candor.run(["backup", "copy.db"]).await.expect(0);
        fs::hard_link(&file, &other_name).expect("a hard link");
        let events = env.count("audit_events");
        let refuses_both = async |serving: bool| {
            for path in [&file, &other_name] {
                let command =
                    Binary::new(&env).setting("database_url", format!("sqlite://{}", path.display()));
                for arguments in [
                    &["serve"][..],
                    &["serve", "--no-workers"],
                    &["worker"],
                    &["migrate"],
                    &["token", "list"],
                    &["token", "create", "--name", "x", "--role", "viewer"],
                    &["audit", "verify"],
                    &["backup", "second-copy.db"],
                    &["restore", "copy.db", "--force"],
                    &["sync", "shop"],
                ] {
                    let refused = command.run(arguments).await.expect(1);
                    let said = refused.stderr.trim();
                    assert!(
                        said.contains("hard link") && said.contains("symlink"),
                        "{arguments:?}: {said}"
                    );
                    assert!(
                        said.contains(&path.display().to_string()),
                        "{arguments:?}: {said}"
                    );
                    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
                    assert_eq!(refused.stdout, "", "serving: {serving}, {arguments:?}");
                }
            }
            assert!(!env.directory.join("second-copy.db").exists());
            // Nothing was opened by the second name.
            for suffix in ["-wal", "-shm", "-journal", ".receipts"] {
                assert!(
                    !Path::new(&format!("{}{suffix}", other_name.display())).exists(),
                    "{suffix}"
                );
            }
            assert_eq!(env.count("audit_events"), events);
        };
        refuses_both(true).await;
        // The process that serves is not disturbed by a link that somebody makes.
        candor.get("/api/v1/accounts").await.expect(200);
        candor.terminate().await.expect(0);
        refuses_both(false).await;
        // A backup may have as many names as it likes: it is only read.
        fs::hard_link(env.directory.join("copy.db"), env.directory.join("copy-2.db")).expect("a hard link");
        fs::remove_file(&other_name).expect("the second name is gone");
        candor.run(["restore", "copy-2.db", "--force"]).await.expect(0);
        candor.serve().await;
        candor.get("/api/v1/accounts").await.expect(200);
        candor.finish().await;
    });
}

/// A restore through a link replaces the target of the link, and the link stays a link.
#[test]
fn a_link_stays_a_link() {
    run(Backend::Sqlite, async |env: Env| {
        let mut candor = Binary::new(&env);
        candor.serve().await;
        candor.run(["backup", "copy.db"]).await.expect(0);
        candor
            .put("/api/v1/accounts/later", json!({"name": "Later"}))
            .await
            .expect(201);
        candor.terminate().await.expect(0);
        let link = env.directory.join("link.db");
        symlink(env.directory.join("candor.db"), &link).expect("a symlink");
        let linked = Binary::new(&env).setting("database_url", format!("sqlite://{}", link.display()));
        linked.run(["restore", "copy.db", "--force"]).await.expect(0);
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        candor.serve().await;
        candor.get("/api/v1/accounts/later").await.expect(404);
        // A database cannot be restored from itself.
        candor.terminate().await.expect(0);
        let refused = candor.run(["restore", "link.db", "--force"]).await.expect(1);
        assert!(refused.stderr.contains("itself"), "{}", refused.stderr);
        candor.finish().await;
    });
}

/// Returns the files and folders of a directory that other users may read or enter.
fn open_to_others(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let metadata = fs::symlink_metadata(&path).expect("a file");
        if metadata.permissions().mode() & 0o077 != 0 {
            found.push(path.clone());
        }
        if metadata.is_dir() {
            found.extend(open_to_others(&path));
        }
    }
    found
}

async fn what_is_written_is_the_users_own(env: Env) {
    let mut candor = Binary::new(&env);
    // A usual shell has this umask.
    candor.launched_by(["sh", "-c", "umask 022; exec \"$@\"", "sh"]);
    candor.serve().await;
    let incident = candor.story_incident().await;
    candor.tell(&incident, "detection").await;
    candor.run(["backup", "copy.db"]).await.expect(0);
    assert!(env.directory.join("outbox").is_dir());
    assert_eq!(open_to_others(&env.directory), [] as [PathBuf; 0]);
    candor.terminate().await.expect(0);
    // Files that an earlier version left readable are made private at the start.
    let mails: Vec<PathBuf> = fs::read_dir(env.directory.join("outbox"))
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    assert!(!mails.is_empty());
    let mut files = mails;
    if env.backend == Backend::Sqlite {
        files.push(env.directory.join("candor.db"));
    }
    for file in &files {
        fs::set_permissions(file, Permissions::from_mode(0o644)).expect("permissions");
    }
    candor.serve().await;
    assert_eq!(open_to_others(&env.directory), [] as [PathBuf; 0]);
    candor.terminate().await.expect(0);
    candor.run(["restore", "copy.db", "--force"]).await.expect(0);
    assert_eq!(open_to_others(&env.directory), [] as [PathBuf; 0]);
    candor.finish().await;
}
