//! The disk is full: the program says so, sends no mail that it cannot record, and goes on when there is room.

use std::collections::HashSet;
use std::sync::Arc;

use candor::demo::catcher::{Catcher, Decision, Policy};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{
    Backend, Binary, DEADLINE, Env, SMALL_DISK, SmallDisk, crowd, eventually, run, wait_until,
};

const PEOPLE: usize = 600;
const CONNECTIONS: usize = 8;
/// How many have been told when the disk is filled.
const TOLD: usize = 100;

/// What SQLite says when there is no room: the second where a file may not grow.
const REASONS: [&str; 2] = ["database or disk is full", "disk I/O error"];

/// Nothing is being sent and nobody writes: whoever asks is told that nothing can be stored, and again that it can.
#[test]
fn it_is_not_ready_meanwhile() {
    run(Backend::Sqlite, async |env: Env| {
        let Some(disk) = SmallDisk::mount(64) else { return };
        let mut candor =
            Binary::new(&env).setting("database_url", format!("sqlite://{SMALL_DISK}/candor.db"));
        candor.launched_by(disk.launcher());
        for arguments in [&["serve"][..], &["serve", "--no-workers"]] {
            candor.serve_with(arguments).await;
            candor.anonymous().get("/readyz").await.expect(200);
            disk.fill();
            let answer = candor.anonymous().get("/readyz").await.expect_problem(503);
            assert!(answer.text.contains(REASONS[0]), "{answer}");
            assert_ne!(answer.header("retry-after"), "");
            candor.anonymous().get("/healthz").await.expect(200);
            disk.free();
            candor.anonymous().get("/readyz").await.expect(200);
            candor.terminate().await.expect(0);
        }
    });
}

#[test]
fn until_there_is_room_again() {
    run(Backend::Sqlite, async |env: Env| {
        let Some(disk) = SmallDisk::mount(64) else { return };
        let (catcher, permits) = held_after_the_first();
        let mut candor =
            new(&env, &catcher).setting("database_url", format!("sqlite://{SMALL_DISK}/candor.db"));
        candor.launched_by(disk.launcher());
        let (incident, notice) = sending(&mut candor, &catcher).await;
        disk.fill();
        fill(&candor, &incident).await;
        permits.add_permits(2 * PEOPLE);
        stopped(&candor, &catcher).await;
        disk.free();
        all_are_told(candor, &catcher, &notice).await;
    });
}

/// What went out is on record although the disk is full: whoever kills the process then has nobody told twice.
#[test]
fn and_a_kill_then_forgets_nothing() {
    run(Backend::Sqlite, async |env: Env| {
        let Some(disk) = SmallDisk::mount(64) else { return };
        let (catcher, permits) = held_after_the_first();
        let mut candor =
            new(&env, &catcher).setting("database_url", format!("sqlite://{SMALL_DISK}/candor.db"));
        candor.launched_by(disk.launcher());
        let (incident, notice) = sending(&mut candor, &catcher).await;
        disk.fill();
        fill(&candor, &incident).await;
        permits.add_permits(2 * PEOPLE);
        stopped(&candor, &catcher).await;
        candor.kill();
        disk.free();
        candor.serve().await;
        all_are_told(candor, &catcher, &notice).await;
    });
}

/// A limit on the size of files has the same effect, and is there where nobody may mount a disk. It ends with the
/// process.
#[test]
fn until_it_is_started_with_room() {
    /// In blocks of 512 bytes.
    const LIMIT: usize = 6 << 11;
    run(Backend::Sqlite, async |env: Env| {
        let (catcher, permits) = held_after_the_first();
        let mut candor = new(&env, &catcher);
        let limited = format!("trap '' XFSZ; ulimit -f {LIMIT}; exec \"$@\"");
        candor.launched_by(["sh", "-c", &limited, "sh"]);
        let (incident, notice) = sending(&mut candor, &catcher).await;
        fill(&candor, &incident).await;
        permits.add_permits(2 * PEOPLE);
        stopped(&candor, &catcher).await;
        candor.terminate().await;
        candor.launched_by([] as [&str; 0]);
        candor.serve().await;
        all_are_told(candor, &catcher, &notice).await;
    });
}

/// A mail server that answers the first mails at once, and the others when there are permits.
fn held_after_the_first() -> (Catcher, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(TOLD));
    let hold = Arc::clone(&permits);
    let policy = Policy::new(move |_| Decision::Hold(Arc::clone(&hold)));
    (Catcher::start_with(policy).unwrap(), permits)
}

/// Uses up what SQLite has written before and keeps for writing again. A write that there is no room for is answered so.
async fn fill(candor: &Binary, incident: &str) {
    let path = format!("/api/v1/incidents/{incident}/timeline");
    let note = json!({"kind": "note", "text": "No end of news. ".repeat(500)});
    let refused = eventually("the last room to be used up", DEADLINE, async || {
        let answer = candor.post(&path, &note).await;
        (answer.status != 201).then_some(answer)
    })
    .await;
    refused.expect_problem(503);
}

fn new(env: &Env, catcher: &Catcher) -> Binary {
    Binary::new(env)
        .setting("smtp_url", catcher.url())
        .setting("send_concurrency", CONNECTIONS)
        .setting("max_audience", PEOPLE)
}

/// Starts it, and waits until it is in the middle of sending. Gives the ids of the incident and the notice.
async fn sending(candor: &mut Binary, catcher: &Catcher) -> (String, String) {
    candor.serve().await;
    let ids = candor.tell_crowd(crowd(PEOPLE)).await;
    let first = catcher.wait_for(TOLD, DEADLINE).await;
    assert!(first.is_ok(), "no mails go out");
    ids
}

/// Waits until it has noticed, and until nothing goes out any more.
async fn stopped(candor: &Binary, catcher: &Catcher) {
    wait_until("it to say why in the log", DEADLINE, async || {
        failures(candor) > 0
    })
    .await;
    wait_until("it to be not ready, and to say why", DEADLINE, async || {
        let answer = candor.anonymous().get("/readyz").await;
        answer.status == 503 && REASONS.iter().any(|reason| answer.text.contains(reason))
    })
    .await;
    // It goes on trying, and sends nothing on that account.
    let mut before = (failures(candor), catcher.accepted());
    wait_until("it to try again without sending", DEADLINE, async || {
        let now = (failures(candor), catcher.accepted());
        if now.1 > before.1 {
            before = now;
        }
        now.0 >= before.0 + 3
    })
    .await;
    assert!(catcher.accepted() < PEOPLE, "there was room for all");
    candor.anonymous().get("/healthz").await.expect(200);
}

/// How often the log says that there is no room.
fn failures(candor: &Binary) -> usize {
    let log = candor.log();
    REASONS.iter().map(|reason| log.matches(reason).count()).sum()
}

/// Waits until everybody is told; nobody was told twice.
async fn all_are_told(candor: Binary, catcher: &Catcher, notice: &str) {
    wait_until("everybody to be told", 4 * DEADLINE, async || {
        candor.notice(notice).await["state"] == "sent"
    })
    .await;
    let done = candor.notice(notice).await;
    assert_eq!(done["counts"]["sent"], PEOPLE, "{done}");
    let mails = catcher.mails();
    let told: HashSet<&String> = mails.iter().flat_map(|mail| &mail.to).collect();
    assert_eq!(told.len(), PEOPLE, "somebody is missing");
    assert_eq!(mails.len(), PEOPLE, "what went out was on record");
    candor.anonymous().get("/readyz").await.expect(200);
    candor.finish().await;
}
