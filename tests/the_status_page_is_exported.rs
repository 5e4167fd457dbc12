//! `candor status export` writes the status page as files that are equal to the live page, and replaces them in one step.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::{Binary, Env, TestApp, on_both_databases, on_one_database, wait_until};

on_both_databases!(an_export_equals_the_live_page);
on_one_database!(the_service_exports_after_each_change, only_an_export_is_replaced);

/// Returns the files below a folder, by their paths in it.
fn files(folder: &Path) -> BTreeMap<String, String> {
    fn look(folder: &Path, below: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(below).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                look(folder, &path, found);
            } else {
                let name = path.strip_prefix(folder).expect("below it").display().to_string();
                found.insert(name, std::fs::read_to_string(&path).expect("a text"));
            }
        }
    }
    let mut found = BTreeMap::new();
    look(folder, folder, &mut found);
    found
}

async fn filled(http: &crate::support::Http) {
    let body = json!({"name": "Uploads", "group": "Media"});
    http.put("/api/v1/components/uploads", body).await.expect(201);
    let mut ids = Vec::new();
    for n in 0..3 {
        let new = json!({"title": "internal", "severity": "major"});
        let id = http.post("/api/v1/incidents", new).await.expect(201).id();
        let body = json!({"status": "investigating", "message": format!("Post {n}"), "components": {"uploads": "major_outage"},
            "translations": {"ja": format!("投稿 {n}")}});
        http.post(&format!("/api/v1/incidents/{id}/posts"), body)
            .await
            .expect(201);
        ids.push(id);
    }
    let merge = format!("/api/v1/incidents/{}/merge", ids[2]);
    http.post(&merge, json!({"into": ids[0]})).await.expect(200);
    let report = json!({"title": "What happened", "sections": [{"heading": "Impact", "text": "Uploads failed.", "audience": "public"}]});
    let at = format!("/api/v1/incidents/{}/report", ids[1]);
    http.put(&at, report).await.expect(200);
    http.post(&format!("{at}/publish"), json!({})).await.expect(200);
}

async fn an_export_equals_the_live_page(env: Env) {
    let mut binary = Binary::new(&env).setting("public_url", "https://status.example.com");
    binary.serve().await;
    filled(&binary).await;
    let folder = env.directory.join("public");
    let dir = folder.display().to_string();
    let said = binary.run(["status", "export", &dir]).await.expect(0);
    assert!(said.stdout.contains("files are written to"), "{}", said.stdout);
    let written = files(&folder);
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let (mut pages, mut others) = (0, 0);
    for (name, content) in &written {
        let path = match name.strip_suffix("index.html") {
            Some("") => "/status".to_owned(),
            Some(folder) => format!("/{}", folder.trim_end_matches('/')),
            None if name.starts_with('.') => continue,
            None => format!("/{name}"),
        };
        let live = client
            .get(format!("{}{path}", binary.base()))
            .send()
            .await
            .expect("an answer");
        assert!(
            matches!(live.status().as_u16(), 200 | 302),
            "{path}: {}",
            live.status()
        );
        assert_eq!(&live.text().await.expect("a text"), content, "{path}");
        match name.ends_with("index.html") {
            true => pages += 1,
            false => others += 1,
        }
    }
    // Eight languages, each with the page, three incidents and a component. English has these at a second address, and the root.
    assert_eq!(pages, 8 * 5 + 5 + 1, "{:?}", written.keys());
    assert_eq!(others, 6 + 3 + 2, "{:?}", written.keys());
    let moved = &written["status/de/incidents/3/index.html"];
    assert!(moved.contains("0; url=/status/de/incidents/1"), "{moved}");
    assert!(written["status/ja/incidents/1/index.html"].contains("投稿 2"));
    // A second export replaces the first one, with all that is not there any more.
    std::fs::write(folder.join("old.html"), "old").expect("a file");
    binary.run(["status", "export", &dir]).await.expect(0);
    assert_eq!(files(&folder), written);
    let beside: Vec<_> = std::fs::read_dir(&env.directory)
        .expect("a folder")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.starts_with(".public"))
        .collect();
    assert!(beside.is_empty(), "{beside:?}");
    binary.finish().await;
}

async fn the_service_exports_after_each_change(env: Env) {
    let folder = env.directory.join("public");
    let dir = folder.clone();
    let app = TestApp::builder(&env)
        .config(move |config| config.status_export_dir = Some(dir))
        .start()
        .await;
    let page = folder.join("status/index.html");
    let read = || std::fs::read_to_string(&page).unwrap_or_default();
    wait_until("the first export", Duration::from_secs(10), async || {
        read().contains("All systems work")
    })
    .await;
    filled(&app).await;
    wait_until("the export of the posts", Duration::from_secs(10), async || {
        read().contains("Post 0")
    })
    .await;
    let live = app.anonymous().get("/status").await.expect(200).text;
    wait_until("the last export", Duration::from_secs(10), async || {
        read() == live
    })
    .await;
    app.finish().await;
}

async fn only_an_export_is_replaced(env: Env) {
    let folder = env.directory.join("site");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("index.html"), "mine").expect("a file");
    let binary = Binary::new(&env);
    let dir = folder.display().to_string();
    let refused = binary.run(["status", "export", &dir]).await.expect(1);
    assert!(
        refused.stderr.contains("is not an export of the status page"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("index.html")).expect("a file"),
        "mine"
    );
    let below = env.directory.join("nothing/site").display().to_string();
    binary.run(["status", "export", &below]).await.expect(0);
    for wrong in ["every day", "61 * * * *"] {
        let refused = Binary::new(&env)
            .setting("status_export_schedule", wrong)
            .run(["status", "export", &below])
            .await;
        assert_ne!(refused.code, Some(0), "{wrong}");
        assert!(
            refused.stderr.contains("status_export_schedule")
                || refused.stderr.contains("STATUS_EXPORT_SCHEDULE"),
            "{}",
            refused.stderr
        );
    }
}
