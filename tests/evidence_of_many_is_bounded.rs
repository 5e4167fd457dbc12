//! The evidence about an incident with very many recipients is made without holding it in memory.

use std::path::Path;

use serde_json::json;

use crate::support::{Backend, Binary, Env, run};

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

/// Returns a figure of the memory of a process, in MiB.
fn memory(process: u32, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("the system does not tell {figure}")) / 1024
}

async fn bounded(env: Env) {
    if !Path::new("/proc/self/status").exists() {
        println!("this system does not tell the memory of a process, so nothing was measured");
        return;
    }
    // A process of its own, because other tests run in this one. Nothing is sent: a notice has its frozen list from the moment at which
    // it is queued.
    let mut app = Binary::new(&env).setting("max_audience", PEOPLE);
    app.serve_with(["serve", "--no-workers"]).await;
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
    // The most memory is counted from here on.
    let process = app.process_id();
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the peak is set back");
    let before = memory(process, "VmRSS");
    let path = format!("/api/v1/incidents/{incident}/evidence");
    let (_, zip) = app.request(reqwest::Method::GET, &path).download().await;
    let grown = memory(process, "VmHWM").saturating_sub(before);
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
