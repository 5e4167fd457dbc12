//! kill -9 in the middle of sending: after a restart everybody is told, hardly anybody twice, and the record holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candor::catcher::{Catcher, Decision, Policy};
use tokio::sync::Semaphore;

use crate::support::{Backend, Binary, DEADLINE, Env, crowd, on_both_databases, wait_until};

on_both_databases!(
    killed_at_any_moment,
    killed_while_every_connection_waits_for_an_answer,
);

const PEOPLE: usize = 2_000;
const CONNECTIONS: usize = 16;
/// How many have been told when it is killed.
const TOLD: usize = 400;

async fn killed_at_any_moment(env: Env) {
    let catcher = Catcher::start().unwrap();
    let (mut candor, notice) = sending(&env, &catcher).await;
    catcher
        .wait_for(TOLD, DEADLINE)
        .await
        .expect("some hundred mails");
    candor.kill();
    let before = catcher.accepted();
    assert!(before < PEOPLE, "it was too fast to be killed in the middle");
    come_back(&env, &mut candor, &notice).await;
    let repeated = repeated(&catcher);
    assert!(repeated <= CONNECTIONS, "{repeated} people were told twice");
    candor.finish().await;
}

/// The worst moment: each connection has handed over a mail, and none knows what became of it.
async fn killed_while_every_connection_waits_for_an_answer(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let (hold, taken) = (Arc::clone(&permits), AtomicUsize::new(0));
    let catcher = Catcher::start_with(Policy::new(move |_| match taken.fetch_add(1, Ordering::SeqCst) {
        taken if taken < TOLD => Decision::Accept,
        _ => Decision::Hold(Arc::clone(&hold)),
    }))
    .unwrap();
    let (mut candor, notice) = sending(&env, &catcher).await;
    catcher
        .wait_for(TOLD + CONNECTIONS, DEADLINE)
        .await
        .expect("all connections to wait");
    candor.kill();
    assert_eq!(catcher.accepted(), TOLD + CONNECTIONS);
    // What was answered is written down before the connection goes on: in the tables, or in a receipt at least.
    permits.add_permits(2 * PEOPLE);
    come_back(&env, &mut candor, &notice).await;
    // Nobody can know about those on the wire: each of them is sent again, and nothing else.
    assert_eq!(repeated(&catcher), CONNECTIONS);
    candor.finish().await;
}

/// The program, in the middle of sending a detection to 2,000 people.
async fn sending(env: &Env, catcher: &Catcher) -> (Binary, String) {
    let mut candor = Binary::new(env)
        .setting("smtp_url", catcher.url())
        .setting("send_concurrency", CONNECTIONS)
        .setting("max_audience", PEOPLE);
    candor.serve().await;
    candor.import(crowd(PEOPLE)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let notice = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&notice).await;
    (candor, notice)
}

/// Starts it again and waits until the notice is sent.
async fn come_back(env: &Env, candor: &mut Binary, notice: &str) {
    if env.backend == Backend::Postgres {
        // Another process may live, so a dead one's claims are left until their lease ends, a minute later: now.
        env.sql("UPDATE deliveries SET next_attempt_at = 0 WHERE lease IS NOT NULL AND state = 'pending'")
            .unwrap();
    }
    candor.serve().await;
    wait_until("everybody to be told", 4 * DEADLINE, async || {
        candor.notice(notice).await["state"] == "sent"
    })
    .await;
    let sent = candor.notice(notice).await;
    assert_eq!(sent["counts"]["sent"], PEOPLE, "{sent}");
}

/// How many mails were one too many, once it is certain that nobody is missing.
fn repeated(catcher: &Catcher) -> usize {
    let mut mails: HashMap<String, usize> = HashMap::new();
    for mail in catcher.mails() {
        for address in mail.to {
            *mails.entry(address).or_default() += 1;
        }
    }
    for n in 1..=PEOPLE {
        let address = format!("person-{n}@crowd.example");
        assert!(mails.contains_key(&address), "{address} was not told");
    }
    assert_eq!(mails.len(), PEOPLE, "somebody else was told");
    mails.values().sum::<usize>() - PEOPLE
}
