//! The database becomes unavailable while emails are being sent. No email is sent whose outcome could not be
//! recorded. When the database is back, sending continues, and nothing is lost, repeated or recorded wrongly.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use candor::delivery::queue::LEASE;
use candor::demo::catcher::{Catcher, Decision, Policy};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::postgres_proxy::{Break, PostgresProxy};
use crate::support::{Backend, Binary, DEADLINE, Env, OwnServer, crowd, outcomes, run, wait_until};

const PEOPLE: usize = 800;
const CONNECTIONS: usize = 8;
/// How many people have been notified when the database becomes unavailable.
const TOLD: usize = 200;
/// How long the database is unavailable. `CANDOR_TEST_OUTAGE_SECONDS` sets a longer time.
const OUTAGE: Duration = Duration::from_secs(3);

fn outage() -> Duration {
    match std::env::var("CANDOR_TEST_OUTAGE_SECONDS") {
        Ok(text) => Duration::from_secs(text.parse().expect("CANDOR_TEST_OUTAGE_SECONDS is a number")),
        Err(_) => OUTAGE,
    }
}

#[test]
fn sqlite_is_locked() {
    run(Backend::Sqlite, async |env: Env| {
        let catcher = Catcher::start().unwrap();
        let (candor, notice) = sending(&env, &catcher).await;
        let held = env.hold_writes();
        // Outcome records are written to a separate file, so claimed deliveries may be sent.
        away(&candor, &catcher, PEOPLE).await;
        // Readers do not notice it.
        let recorded = candor.notice(&notice).await["counts"]["sent"].clone();
        assert_eq!(recorded, env.count("deliveries WHERE state = 'sent'"));
        drop(held);
        all_is_well(candor, &catcher, &notice).await;
    });
}

/// Emails that were sent while the database could not be written are not forgotten if the process is killed
/// then.
#[test]
fn sqlite_is_locked_and_the_process_killed() {
    run(Backend::Sqlite, async |env: Env| {
        let catcher = Catcher::start().unwrap();
        let (mut candor, notice) = sending(&env, &catcher).await;
        let held = env.hold_writes();
        away(&candor, &catcher, PEOPLE).await;
        candor.kill();
        drop(held);
        candor.serve().await;
        wait_until("everybody to be told", 4 * DEADLINE, async || {
            candor.notice(&notice).await["state"] == "sent"
        })
        .await;
        assert_eq!(candor.notice(&notice).await["counts"]["sent"], PEOPLE);
        let mails = mails_of_each(&catcher);
        assert_eq!(mails.len(), PEOPLE);
        let repeats = catcher.accepted() - PEOPLE;
        assert!(repeats <= CONNECTIONS, "{repeats} people were told twice");
        candor.finish().await;
    });
}

#[test]
fn postgres_restarts() {
    run(Backend::Postgres, async |env: Env| {
        let Some(mut server) = OwnServer::start() else {
            return;
        };
        let env = Env {
            database_url: server.url(),
            ..env
        };
        let catcher = Catcher::start().unwrap();
        let (candor, notice) = sending(&env, &catcher).await;
        server.stop();
        away(&candor, &catcher, CONNECTIONS).await;
        server.start_again();
        all_is_well(candor, &catcher, &notice).await;
    });
}

/// Starts the program and waits until it is sending.
async fn sending(env: &Env, catcher: &Catcher) -> (Binary, String) {
    let mut candor = Binary::new(env)
        .setting("smtp_url", catcher.url())
        .setting("send_concurrency", CONNECTIONS)
        .setting("max_audience", PEOPLE);
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(PEOPLE)).await;
    let first = catcher.wait_for(TOLD, DEADLINE).await;
    assert!(first.is_ok(), "no mails go out");
    (candor, notice)
}

/// Waits for the end of the outage. Until then the program runs, and no more emails are sent than can be
/// recorded.
async fn away(candor: &Binary, catcher: &Catcher, most: usize) {
    let (before, since) = (catcher.accepted(), Instant::now());
    assert!(
        before < PEOPLE - CONNECTIONS,
        "it was too fast for an outage in the middle"
    );
    wait_until("the end of the outage", outage() + DEADLINE, async || {
        candor.anonymous().get("/healthz").await.expect(200);
        since.elapsed() >= outage()
    })
    .await;
    let more = catcher.accepted() - before;
    assert!(more <= most, "{more} mails went out that could not be recorded");
}

async fn all_is_well(candor: Binary, catcher: &Catcher, notice: &str) {
    wait_until("everybody to be told", 4 * DEADLINE, async || {
        candor.notice(notice).await["state"] == "sent"
    })
    .await;
    let done = candor.notice(notice).await;
    assert_eq!(done["counts"]["sent"], PEOPLE, "{done}");
    for delivery in candor.deliveries(notice).await {
        assert_eq!(outcomes(&delivery), ["sent"], "{delivery}");
    }
    let mails = mails_of_each(catcher);
    assert_eq!(mails.len(), PEOPLE);
    assert!(mails.values().all(|mails| *mails == 1), "somebody was told twice");
    candor.anonymous().get("/readyz").await.expect(200);
    outages_in(&candor.log());
    candor.finish().await;
}

/// Checks that each failure has a line at its begin and one at its end, and not one for each attempt. Returns how many
/// failures there were.
fn outages_in(log: &str) -> usize {
    let mut all = 0;
    for (begin, end) in [
        (
            "the delivery queue cannot be reached",
            "the delivery queue can be reached again",
        ),
        (
            "outcomes of deliveries cannot be stored",
            "outcomes of deliveries are stored again",
        ),
        (
            "outcome records cannot be written",
            "outcome records are written again",
        ),
        (
            "not ready: the database cannot be read",
            "the database can be read again",
        ),
        (
            "not ready: the database cannot be written",
            "the database can be written again",
        ),
    ] {
        let (begins, ends) = (log.matches(begin).count(), log.matches(end).count());
        // Each connection of a pool may find out separately that it is broken, after others have worked again.
        assert!(
            begins <= 3 && begins == ends,
            "{begin}: {begins}, {end}: {ends}\n{log}"
        );
        all += begins;
    }
    all
}

fn mails_of_each(catcher: &Catcher) -> HashMap<String, usize> {
    let mut mails = HashMap::new();
    for mail in catcher.mails() {
        for address in mail.to {
            *mails.entry(address).or_default() += 1;
        }
    }
    mails
}

/// A process without its database reports this to every caller, and in time.
#[test]
fn without_postgres_it_is_not_ready() {
    run(Backend::Postgres, async |env: Env| {
        let Some(mut server) = OwnServer::start() else {
            return;
        };
        let env = Env {
            database_url: server.url(),
            ..env
        };
        let mut candor = Binary::new(&env);
        candor.serve().await;
        candor.anonymous().get("/readyz").await.expect(200);
        server.stop();
        // Asked again and again, the log says it once.
        for path in ["/readyz", "/readyz", "/api/v1/incidents"] {
            let answer = timeout(DEADLINE, candor.get(path))
                .await
                .expect("an answer in time");
            let problem = answer.expect_problem(503);
            assert_ne!(problem.header("retry-after"), "", "{problem}");
        }
        candor.anonymous().get("/healthz").await.expect(200);
        server.start_again();
        wait_until("it to be ready again", DEADLINE, async || {
            candor.anonymous().get("/readyz").await.status == 200
        })
        .await;
        candor.get("/api/v1/incidents").await.expect(200);
        // The connection that receives notifications opens beside the others, before or after them, and keeps nobody out.
        wait_until("it to listen again", DEADLINE, async || {
            !env.texts("SELECT query AS value FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")
                .is_empty()
        })
        .await;
        let alone =
            "SELECT mode AS value FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'";
        assert_eq!(env.texts(alone), [""; 0]);
        // The delivery workers poll, so they find out a moment later.
        wait_until("the delivery workers to go on", DEADLINE, async || {
            let log = candor.log();
            !log.contains("the delivery queue cannot be reached")
                || log.contains("the delivery queue can be reached again")
        })
        .await;
        let log = candor.log();
        assert!(outages_in(&log) > 0, "{log}");
        assert_eq!(
            log.matches("not ready: the database cannot be read").count(),
            1,
            "{log}"
        );
        candor.finish().await;
    });
}

/// The connection breaks between the commit and its answer, so the process does not know the result.
#[test]
fn postgres_commits_and_nobody_hears_of_it() {
    const EVERY: usize = 7;
    broken_by(|sent| {
        let commits = AtomicUsize::new(0);
        move |message: &[u8]| {
            let is_one = contains(message, b"COMMIT") && sent.load(Ordering::SeqCst);
            if is_one && commits.fetch_add(1, Ordering::SeqCst).is_multiple_of(EVERY) {
                Break::After
            } else {
                Break::No
            }
        }
    });
}

/// The connection breaks before the commit, so nothing was done.
#[test]
fn postgres_never_hears_of_a_commit() {
    const EVERY: usize = 7;
    broken_by(|sent| {
        let commits = AtomicUsize::new(0);
        move |message: &[u8]| {
            let is_one = contains(message, b"COMMIT") && sent.load(Ordering::SeqCst);
            if is_one && commits.fetch_add(1, Ordering::SeqCst).is_multiple_of(EVERY) {
                Break::Before
            } else {
                Break::No
            }
        }
    });
}

/// The connection breaks between the claim of an email and reading its text. This is not a failure of the
/// email.
///
/// The text of a statement is sent only once over each connection, because statements stay prepared. So the
/// first reading of a new connection is broken, and the rule cannot depend on what was sent before.
#[test]
fn postgres_breaks_off_while_mails_are_prepared() {
    const TIMES: usize = 5;
    broken_by(|_| {
        let broken = AtomicUsize::new(0);
        move |message: &[u8]| {
            let is_one = contains(message, b"LATERAL (SELECT * FROM notice_recipients");
            if is_one && broken.fetch_add(1, Ordering::SeqCst) < TIMES {
                Break::Before
            } else {
                Break::No
            }
        }
    });
}

/// The same for the frozen data of the whole notice, which is read before its first email.
#[test]
fn postgres_breaks_off_while_a_notice_is_read() {
    const TIMES: usize = 3;
    broken_by(|_| {
        let broken = AtomicUsize::new(0);
        move |message: &[u8]| {
            let is_one = contains(message, b"SELECT \"notices\".\"frozen\"");
            if is_one && broken.fetch_add(1, Ordering::SeqCst) < TIMES {
                Break::After
            } else {
                Break::No
            }
        }
    });
}

/// Sends to the crowd through a proxy that breaks connections by this rule. The rule knows whether emails are
/// being sent.
fn broken_by<Rule>(rule: impl FnOnce(Arc<AtomicBool>) -> Rule)
where
    Rule: Fn(&[u8]) -> Break + Send + Sync + 'static,
{
    run(Backend::Postgres, async |env: Env| {
        const FEW: usize = 200;
        if !PostgresProxy::reaches(&env.database_url) {
            eprintln!("not tested: broken connections, as PostgreSQL is reached by a socket file");
            return;
        }
        let on = Arc::new(AtomicBool::new(false));
        let broken = Arc::new(AtomicUsize::new(0));
        let (rule, counting) = (rule(Arc::clone(&on)), Arc::clone(&broken));
        let proxy = PostgresProxy::start(&env.database_url, move |message| {
            let what = rule(message);
            counting.fetch_add(usize::from(what != Break::No), Ordering::SeqCst);
            what
        });
        let through = Env {
            database_url: proxy.url(),
            ..env.clone()
        };
        let permits = Arc::new(Semaphore::new(0));
        let hold = Arc::clone(&permits);
        let catcher = Catcher::start_with(Policy::new(move |_| Decision::Hold(Arc::clone(&hold)))).unwrap();
        let mut candor = Binary::new(&through)
            .setting("smtp_url", catcher.url())
            .setting("send_concurrency", CONNECTIONS)
            .setting("max_audience", PEOPLE);
        candor.serve().await;
        let (_, notice) = candor.tell_crowd(crowd(FEW)).await;
        let first = catcher.wait_for(1, DEADLINE).await;
        assert!(first.is_ok(), "no mail goes out");
        // From now on only the sending uses the database.
        on.store(true, Ordering::SeqCst);
        permits.add_permits(10 * FEW);
        // Deliveries of a claim whose answer was lost wait until their lease ends.
        wait_until("everybody to be told", LEASE + 3 * DEADLINE, async || {
            env.count("deliveries WHERE state = 'pending'") == 0
        })
        .await;
        on.store(false, Ordering::SeqCst);
        assert!(broken.load(Ordering::SeqCst) > 0, "no connection was broken");
        let done = candor.done(&notice).await;
        assert_eq!(done["counts"]["sent"], FEW, "{done}");
        for delivery in candor.deliveries(&notice).await {
            assert_eq!(outcomes(&delivery), ["sent"], "{delivery}");
        }
        let mails = mails_of_each(&catcher);
        assert_eq!(mails.len(), FEW);
        assert!(mails.values().all(|mails| *mails == 1), "somebody was told twice");
        candor.finish().await;
    });
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
