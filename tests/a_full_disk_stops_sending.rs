//! The disk is full: the program says so, sends no mail that it cannot record, and goes on when there is room.

use std::collections::HashMap;

use candor::catcher::Catcher;

use crate::support::{Backend, Binary, DEADLINE, Env, SmallDisk, crowd, run, wait_until};

const PEOPLE: usize = 2_000;
const CONNECTIONS: usize = 8;
/// How many have been told when the disk is filled.
const TOLD: usize = 100;

/// What SQLite says when there is no room: the second where a file may not grow.
const REASONS: [&str; 2] = ["database or disk is full", "disk I/O error"];

#[test]
fn until_there_is_room_again() {
    run(Backend::Sqlite, async |env: Env| {
        let Some(disk) = SmallDisk::mount(64) else { return };
        let env = on(&disk, env);
        let catcher = Catcher::start().unwrap();
        let (candor, notice) = sending(&env, &catcher).await;
        fill(&disk, &env);
        stopped(&candor, &catcher).await;
        disk.free();
        wait_until("everybody to be told", 4 * DEADLINE, async || {
            candor.notice(&notice).await["state"] == "sent"
        })
        .await;
        let ready = candor.anonymous().get("/readyz").await;
        ready.expect(200);
        assert_eq!(repeats(&catcher), 0, "what went out was on record");
        let done = candor.notice(&notice).await;
        assert_eq!(done["counts"]["sent"], PEOPLE, "{done}");
        candor.finish().await;
    });
}

/// What went out is on record although the disk is full: whoever kills the process then has nobody told twice.
#[test]
fn and_a_kill_then_forgets_nothing() {
    run(Backend::Sqlite, async |env: Env| {
        let Some(disk) = SmallDisk::mount(64) else { return };
        let env = on(&disk, env);
        let catcher = Catcher::start().unwrap();
        let (mut candor, notice) = sending(&env, &catcher).await;
        fill(&disk, &env);
        stopped(&candor, &catcher).await;
        candor.kill();
        disk.free();
        candor.serve().await;
        wait_until("everybody to be told", 4 * DEADLINE, async || {
            candor.notice(&notice).await["state"] == "sent"
        })
        .await;
        assert_eq!(candor.notice(&notice).await["counts"]["sent"], PEOPLE);
        assert_eq!(repeats(&catcher), 0, "what went out was on record");
        candor.finish().await;
    });
}

/// A limit on the size of files has the same effect, and is there where nobody may mount a disk. It ends with the
/// process.
#[test]
fn until_it_is_started_with_room() {
    run(Backend::Sqlite, async |env: Env| {
        let catcher = Catcher::start().unwrap();
        let mut candor = new(&env, &catcher);
        candor.serve().await;
        candor.import(crowd(PEOPLE)).await.expect(200);
        let incident = candor.incident([("project", "stage")]).await;
        let notice = candor.draft(&incident, "detection").await;
        candor.terminate().await.expect(0);
        let path = env.database_url.trim_start_matches("sqlite://");
        let kilobytes = std::fs::metadata(path).unwrap().len() / 1024;
        // In blocks of 512 bytes. Room for the frozen notice, and for the record of some of its mails.
        let blocks = 2 * (kilobytes + 1_500);
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        candor.launched_by(&["sh", "-c", &limited, "sh"]);
        candor.serve().await;
        candor.send_as_previewed(&notice).await;
        stopped(&candor, &catcher).await;
        candor.terminate().await;
        candor.launched_by(&[]);
        candor.serve().await;
        wait_until("everybody to be told", 4 * DEADLINE, async || {
            candor.notice(&notice).await["state"] == "sent"
        })
        .await;
        assert_eq!(repeats(&catcher), 0, "what went out was on record");
        assert_eq!(candor.notice(&notice).await["counts"]["sent"], PEOPLE);
        candor.finish().await;
    });
}

fn on(disk: &SmallDisk, env: Env) -> Env {
    Env {
        database_url: format!("sqlite://{}/candor.db", disk.path().display()),
        ..env
    }
}

fn fill(disk: &SmallDisk, env: &Env) {
    // What SQLite has written and keeps for writing again would be room, too.
    env.sql("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    disk.fill();
}

fn new(env: &Env, catcher: &Catcher) -> Binary {
    Binary::new(env)
        .setting("smtp_url", catcher.url())
        .setting("send_concurrency", CONNECTIONS)
        .setting("max_audience", PEOPLE)
}

/// The program, in the middle of sending.
async fn sending(env: &Env, catcher: &Catcher) -> (Binary, String) {
    let mut candor = new(env, catcher);
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(PEOPLE)).await;
    let first = catcher.wait_for(TOLD, DEADLINE).await;
    assert!(first.is_ok(), "no mails go out");
    (candor, notice)
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

/// How many mails were one too many, once it is certain that nobody is missing.
fn repeats(catcher: &Catcher) -> usize {
    let mut mails: HashMap<String, usize> = HashMap::new();
    for mail in catcher.mails() {
        for address in mail.to {
            *mails.entry(address).or_default() += 1;
        }
    }
    assert_eq!(mails.len(), PEOPLE, "somebody is missing");
    mails.values().sum::<usize>() - PEOPLE
}
