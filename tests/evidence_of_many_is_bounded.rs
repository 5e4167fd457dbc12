//! The evidence about an incident with very many recipients is made without holding it in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{Backend, Env, TestApp, run};

/// The number of recipients.
const PEOPLE: usize = 10_000;
/// The number of resources that each email names. Their names are long, so that the frozen list has about 27 MB.
const FILES: usize = 8;
/// The most memory that making the file may need, in MiB. It is less than the frozen list alone.
const MOST: u64 = 20;

#[test]
fn ten_thousand_recipients_need_little_memory() {
    run(Backend::Sqlite, bounded);
}

/// An account with all of the people as owners, and resources with long names.
fn directory() -> String {
    let mut lines = vec![json!({"kind": "account", "id": "many", "name": "Many"})];
    for file in 0..FILES {
        let name = format!("{file} {}", "a long name ".repeat(20));
        lines.push(json!({"kind": "resource", "type": "file", "id": format!("f{file}"), "account": "many", "name": name.trim()}));
    }
    for n in 0..PEOPLE {
        let id = format!("person-{n}");
        lines.push(json!({"kind": "person", "id": id, "name": format!("Person {n}"), "email": format!("{id}@many.example")}));
        lines.push(json!({"kind": "member", "account": "many", "person": id, "role": "owner"}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Returns the memory of this process, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    let kib = line
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// Measures the most memory until it is told to stop.
fn watch(peak: &Arc<AtomicU64>, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (peak, stop) = (peak.clone(), stop.clone());
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            peak.fetch_max(memory(), Ordering::Relaxed);
            std::thread::park_timeout(Duration::from_millis(2));
        }
    })
}

async fn bounded(env: Env) {
    if !Path::new("/proc/self/status").exists() {
        return;
    }
    // Nothing is sent: a notice has its frozen list from the moment at which it is queued.
    let app = TestApp::builder(&env)
        .workers(false)
        .max_audience(PEOPLE)
        .start()
        .await;
    app.import(directory()).await.expect(200);
    let files: Vec<String> = (0..FILES).map(|file| format!("f{file}")).collect();
    let incident = app
        .incident(files.iter().map(|file| ("file", file.as_str())))
        .await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    // The first file about one person warms the caches of the process, and reads the same list.
    let one = app.evidence(&incident, "?person=person-7").await;
    one.verified(&env, None).expect_proven();
    let (peak, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let before = memory();
    let watching = watch(&peak, &stop);
    let path = format!("/api/v1/incidents/{incident}/evidence");
    let (_, zip) = app.request(reqwest::Method::GET, &path).download().await;
    stop.store(true, Ordering::Relaxed);
    watching.join().expect("the memory");
    let grown = peak.load(Ordering::Relaxed).saturating_sub(before);
    let file = crate::support::evidence::Evidence::read(&zip);
    let list = file.0[&format!("data/recipients/{notice}.ndjson")].len() as u64 / 1024 / 1024;
    assert!(
        list > MOST,
        "the list has only {list} MiB, so the test shows nothing"
    );
    assert!(grown < MOST, "it needed {grown} MiB for a list of {list} MiB");
    let proven = file.verified(&env, None).expect_proven().join("\n");
    assert!(proven.contains("10000 of their recipients"), "{proven}");
    app.finish().await;
}
