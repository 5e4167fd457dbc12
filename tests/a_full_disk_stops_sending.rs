//! If the disk is full, the program reports it, sends no email whose outcome it cannot record, and continues
//! when there is space.

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
/// How many people have been notified when the disk is filled.
const TOLD: usize = 100;

/// The errors of SQLite for a full disk. The second one appears if a file may not grow.
const REASONS: [&str; 2] = ["database or disk is full", "disk I/O error"];

/// Nothing is being sent or written. The readiness check reports that nothing can be stored, and later that
/// it can.
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

/// The outcomes of sent emails are recorded although the disk is full. If the process is killed then, nobody
/// is notified twice.
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

/// A limit for the size of files has the same effect, and works where users may not mount a disk. It ends
/// with the process.
#[test]
fn until_it_is_started_with_room() {
    /// The limit, in blocks of 512 bytes.
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

/// A mail server that answers the first emails at once, and the others when there are permits.
fn held_after_the_first() -> (Catcher, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(TOLD));
    let hold = Arc::clone(&permits);
    let policy = Policy::new(move |_| Decision::Hold(Arc::clone(&hold)));
    (Catcher::start_with(policy).unwrap(), permits)
}

/// Uses the space that SQLite has allocated before. A write without space is answered with this error.
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

/// Starts the program and waits until it is sending. Returns the IDs of the incident and the notice.
async fn sending(candor: &mut Binary, catcher: &Catcher) -> (String, String) {
    candor.serve().await;
    let ids = candor.tell_crowd(crowd(PEOPLE)).await;
    let first = catcher.wait_for(TOLD, DEADLINE).await;
    assert!(first.is_ok(), "no mails go out");
    ids
}

/// Waits until the program has noticed the full disk and nothing is sent any more.
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
    // The program stays not ready, and nothing is sent in the meantime. The log has one line when it begins, so the test counts
    // answers.
    let (mut before, mut answers) = (catcher.accepted(), 0);
    wait_until("it to stay not ready without sending", DEADLINE, async || {
        let answer = candor.anonymous().get("/readyz").await;
        let now = catcher.accepted();
        if now > before || answer.status != 503 {
            (before, answers) = (now, 0);
        } else {
            answers += 1;
        }
        answers >= 100
    })
    .await;
    assert!(catcher.accepted() < PEOPLE, "there was room for all");
    candor.anonymous().get("/healthz").await.expect(200);
}

/// Returns how many times the log reports that there is no space.
fn failures(candor: &Binary) -> usize {
    let log = candor.log();
    REASONS.iter().map(|reason| log.matches(reason).count()).sum()
}

/// Waits until everybody was notified, and checks that nobody was notified twice.
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
