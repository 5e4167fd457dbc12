//! The process is killed with SIGKILL while it is sending. After a restart everybody is notified, almost
//! nobody twice, and the record is correct.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use candor::delivery::queue::LEASE;
use candor::demo::catcher::{Catcher, Decision, Policy};
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Backend, Binary, DEADLINE, Env, TestApp, crowd, on_both_databases, outcomes, run, wait_until,
};

on_both_databases!(
    killed_at_any_moment,
    killed_while_every_connection_waits_for_an_answer,
    killed_three_times_among_refusals_and_dropped_connections,
);

const PEOPLE: usize = 2_000;
const CONNECTIONS: usize = 16;
/// How many people have been notified when the process is killed.
const TOLD: usize = 400;

/// With SQLite the outcome records are in a file.
mod outcome_records_of_dead_workers_are_removed {
    #[test]
    fn postgres() {
        crate::support::run(
            crate::support::Backend::Postgres,
            super::outcome_records_of_dead_workers_are_removed,
        );
    }
}

/// A dead worker's rows are removed at the next start of a process, except the rows of a worker that still has a claim.
async fn outcome_records_of_dead_workers_are_removed(env: Env) {
    let later = Policy::new(|_| Decision::Temporary("451 4.3.0 later".to_owned()));
    let mut app = TestApp::builder(&env)
        .smtp_policy(later)
        .retry_schedule([Duration::from_secs(3600)])
        .start()
        .await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    wait_until("a first attempt", DEADLINE, async || {
        let deliveries = app.deliveries(&notice).await;
        deliveries.iter().all(|delivery| !outcomes(delivery).is_empty())
    })
    .await;
    app.stop().await;
    // One worker died while it had claims, and another one after others had stored all its outcomes.
    env.sql(
        "UPDATE deliveries SET lease = 'with-claims' WHERE state = 'pending'; \
         INSERT INTO delivery_receipts (lease, seq, body) VALUES \
             ('with-claims', 1, '[]'), ('without-claims', 1, '[]'), ('without-claims', 2, '[]');",
    )
    .unwrap();
    app.start_again().await;
    let leases = env.texts("SELECT lease AS value FROM delivery_receipts ORDER BY lease");
    assert_eq!(leases, ["with-claims"]);
    app.finish().await;
}

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
    let repeated = repeated(&catcher, PEOPLE, |_| true);
    assert!(repeated <= CONNECTIONS, "{repeated} people were told twice");
    candor.finish().await;
}

/// The worst moment: each connection has handed over an email, and no outcome is known.
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
    // An answer is recorded before the connection continues: in the tables, or at least in an outcome record.
    permits.add_permits(2 * PEOPLE);
    come_back(&env, &mut candor, &notice).await;
    // The outcomes of the emails that were being sent cannot be known. Each of them is sent again, and
    // nothing else.
    assert_eq!(repeated(&catcher, PEOPLE, |_| true), CONNECTIONS);
    candor.finish().await;
}

/// Starts the program and waits until it is sending a detection to 2,000 people.
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

/// Starts the program again and waits until the notice is sent.
async fn come_back(env: &Env, candor: &mut Binary, notice: &str) {
    leases_end(env);
    candor.serve().await;
    wait_until("everybody to be told", 4 * DEADLINE, async || {
        candor.notice(notice).await["state"] == "sent"
    })
    .await;
    let sent = candor.notice(notice).await;
    assert_eq!(sent["counts"]["sent"], PEOPLE, "{sent}");
}

/// Makes the leases end, because the only process with workers is dead.
fn leases_end(env: &Env) {
    if env.backend == Backend::Postgres {
        // Another process may be alive, so the claims of a dead one stay until their lease ends. This
        // statement brings the end forward.
        env.sql("UPDATE deliveries SET next_attempt_at = 0 WHERE lease IS NOT NULL AND state = 'pending'")
            .unwrap();
    }
}

/// Returns the number of additional emails, after checking that exactly the right people were notified.
fn repeated(catcher: &Catcher, people: usize, can_be_told: impl Fn(usize) -> bool) -> usize {
    let mut mails: HashMap<String, usize> = HashMap::new();
    for mail in catcher.mails() {
        for address in mail.to {
            *mails.entry(address).or_default() += 1;
        }
    }
    let mut expected = 0;
    for n in (1..=people).filter(|n| can_be_told(*n)) {
        let address = format!("person-{n}@crowd.example");
        assert!(mails.contains_key(&address), "{address} was not told");
        expected += 1;
    }
    assert_eq!(mails.len(), expected, "somebody else was told");
    mails.values().sum::<usize>() - expected
}

/// The number of people in the long tests. `CANDOR_TEST_RECIPIENTS` sets another number.
const MANY: usize = 3_000;

fn many() -> usize {
    match std::env::var("CANDOR_TEST_RECIPIENTS") {
        Ok(text) => text.parse().expect("CANDOR_TEST_RECIPIENTS is a number"),
        Err(_) => MANY,
    }
}

/// The faults of the server: one email in a hundred is refused for now, one in a thousand has an unknown
/// recipient, and one connection in five hundred emails breaks after the last byte.
struct Trouble {
    dropped: Arc<AtomicUsize>,
    come_back: Arc<AtomicUsize>,
}

impl Trouble {
    fn number(address: &str) -> usize {
        let digits = address.trim_start_matches("person-").split('@').next();
        digits
            .and_then(|digits| digits.parse().ok())
            .expect("one of the crowd")
    }

    fn is_unknown(n: usize) -> bool {
        n % 1_000 == 3
    }

    fn can_be_told(n: usize) -> bool {
        !Self::is_unknown(n)
    }

    fn policy() -> (Policy, Self) {
        let trouble = Trouble {
            dropped: Arc::default(),
            come_back: Arc::default(),
        };
        let (dropped, come_back) = (Arc::clone(&trouble.dropped), Arc::clone(&trouble.come_back));
        let policy = Policy::new(move |attempt| {
            let n = Self::number(attempt.recipient);
            if Self::is_unknown(n) {
                Decision::Permanent("550 5.1.1 No such user".to_owned())
            } else if n % 100 == 7 && attempt.number == 1 {
                come_back.fetch_add(1, Ordering::SeqCst);
                Decision::Temporary("451 4.7.1 Come back later".to_owned())
            } else if n % 500 == 11 && attempt.number == 1 {
                dropped.fetch_add(1, Ordering::SeqCst);
                Decision::DropAfterData
            } else {
                Decision::Accept
            }
        });
        (policy, trouble)
    }

    /// Checks that the counts are exact, nobody is missing, no unknown recipient was notified, and there are
    /// no more repeats than reasons for them.
    fn check(&self, people: usize, catcher: &Catcher, sent: &Answer, in_doubt: usize) {
        let unknown = (1..=people).filter(|n| Self::is_unknown(*n)).count();
        assert_eq!(sent["counts"]["sent"], people - unknown, "{sent}");
        assert_eq!(sent["counts"]["failed"], unknown, "{sent}");
        assert_eq!(sent["counts"]["pending"], 0, "{sent}");
        let dropped = self.dropped.load(Ordering::SeqCst);
        let repeated = repeated(catcher, people, Self::can_be_told);
        println!(
            "{people} people, {unknown} unknown, {} told to come back, {dropped} connections dropped: \
             {repeated} repeats, of at most {}",
            self.come_back.load(Ordering::SeqCst),
            in_doubt + dropped,
        );
        assert!(
            dropped > 0 && self.come_back.load(Ordering::SeqCst) > 0,
            "no trouble"
        );
        assert!(
            repeated <= in_doubt + dropped,
            "{repeated} repeats, with {in_doubt} mails in doubt and {dropped} connections dropped"
        );
    }
}

async fn killed_three_times_among_refusals_and_dropped_connections(env: Env) {
    const KILLS: usize = 3;
    let people = many();
    let (policy, trouble) = Trouble::policy();
    let catcher = Catcher::start_with(policy).unwrap();
    let mut candor = Binary::new(&env)
        .setting("smtp_url", catcher.url())
        .setting("send_concurrency", CONNECTIONS)
        .setting("retry_schedule", "1s")
        .setting("max_audience", people);
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(people)).await;
    for kill in 1..=KILLS {
        until_taken(&catcher, people * kill / (KILLS + 1)).await;
        candor.kill();
        assert!(
            catcher.accepted() < people - people / 100,
            "it was too fast to be killed"
        );
        leases_end(&env);
        candor.serve().await;
    }
    wait_until("everybody to be told", 8 * DEADLINE, async || {
        candor.notice(&notice).await["state"] == "sent"
    })
    .await;
    trouble.check(
        people,
        &catcher,
        &candor.notice(&notice).await,
        KILLS * CONNECTIONS,
    );
    candor.finish().await;
}

/// Three workers run in parallel and two of them are killed. The third one sends what they had claimed.
#[test]
fn two_of_three_workers_are_killed() {
    run(Backend::Postgres, async |env: Env| {
        let people = many();
        let (policy, trouble) = Trouble::policy();
        let catcher = Catcher::start_with(policy).unwrap();
        let new = || {
            Binary::new(&env)
                .setting("smtp_url", catcher.url())
                .setting("send_concurrency", CONNECTIONS)
                .setting("retry_schedule", "1s")
                .setting("max_audience", people)
        };
        let mut candor = new();
        candor.serve_with(["serve", "--no-workers"]).await;
        let (_, notice) = candor.tell_crowd(crowd(people)).await;
        let mut workers = [new(), new(), new()];
        for worker in &mut workers {
            worker.work().await;
        }
        let [first, second, _third] = &mut workers;
        until_taken(&catcher, people / 4).await;
        first.kill();
        until_taken(&catcher, people / 2).await;
        second.kill();
        assert!(
            catcher.accepted() < people - people / 100,
            "they were too fast to be killed"
        );
        // The third worker is not told. The claims of the dead ones become due when their leases end.
        wait_until("everybody to be told", LEASE + 6 * DEADLINE, async || {
            candor.notice(&notice).await["state"] == "sent"
        })
        .await;
        trouble.check(people, &catcher, &candor.notice(&notice).await, 2 * CONNECTIONS);
        let [_, _, mut third] = workers;
        third.terminate().await.expect(0);
        candor.finish().await;
    });
}

/// Reads only the number, because copying thousands of emails each time would slow down the test.
async fn until_taken(catcher: &Catcher, mails: usize) {
    wait_until("mails to be taken", 4 * DEADLINE, async || {
        catcher.accepted() >= mails
    })
    .await;
}
