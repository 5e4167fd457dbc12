//! A process that is told to stop does not wait for a mail server that hangs before it has the email. The
//! delivery is made later, and its outcome is never ambiguous.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::support::smtp_script::{Act, SmtpScript, Step};
use crate::support::{Binary, DEADLINE, Env, crowd, on_both_databases, outcomes, wait_until};

on_both_databases!(
    at_the_greeting,
    at_ehlo,
    at_signing_in,
    in_the_envelope,
    after_the_mail_it_is_waited_for,
);

const PEOPLE: usize = 3;
/// The rest of the time is for HTTP and the database.
const SOON: Duration = Duration::from_secs(10);

/// The server hangs at this step while the process is told to stop. After the next start everybody gets one
/// email.
async fn hangs_at(env: Env, step: Step) {
    let never = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&never);
    let server = SmtpScript::builder()
        .user("candor", "correct-horse")
        .start(move |moment| {
            if moment.step == step {
                Act::wait(&wait)
            } else {
                Act::Usual
            }
        });
    let url = server.url().replace("smtp://", "smtp://candor:correct-horse@");
    let mut candor = Binary::new(&env)
        .setting("smtp_url", format!("{url}?tls=none"))
        .setting("send_concurrency", 1)
        .setting("retry_schedule", "1s");
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(PEOPLE)).await;
    wait_until("the server to hang", DEADLINE, async || server.came_to(step) > 0).await;
    let began = Instant::now();
    candor.terminate().await.expect(0);
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    assert_eq!(server.whole().len(), 0);
    server.behave();
    candor.serve().await;
    let done = candor.done(&notice).await;
    assert_eq!(done["counts"]["sent"], PEOPLE, "{done}");
    assert_eq!(server.taken().len(), PEOPLE);
    for delivery in candor.deliveries(&notice).await {
        let outcomes = outcomes(&delivery);
        assert!(!outcomes.contains(&"ambiguous"), "{delivery}");
        assert!(outcomes.len() <= 2, "{delivery}");
    }
    candor.finish().await;
}

async fn at_the_greeting(env: Env) {
    hangs_at(env, Step::Banner).await;
}

async fn at_ehlo(env: Env) {
    hangs_at(env, Step::Ehlo).await;
}

async fn at_signing_in(env: Env) {
    hangs_at(env, Step::Auth).await;
}

async fn in_the_envelope(env: Env) {
    hangs_at(env, Step::Rcpt).await;
}

/// The server may have the email. Stopping before its reply would send the email twice.
async fn after_the_mail_it_is_waited_for(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&permits);
    let server = SmtpScript::start(move |moment| {
        if moment.step == Step::Dot {
            Act::wait(&wait)
        } else {
            Act::Usual
        }
    });
    let mut candor = Binary::new(&env)
        .setting("smtp_url", server.url())
        .setting("send_concurrency", 1);
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(PEOPLE)).await;
    wait_until("the server to have a mail", DEADLINE, async || {
        server.came_to(Step::Dot) > 0
    })
    .await;
    let answering = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        permits.add_permits(1);
    };
    let (ended, ()) = tokio::join!(candor.terminate(), answering);
    ended.expect(0);
    assert_eq!(server.taken().len(), 1);
    server.behave();
    candor.serve().await;
    assert_eq!(candor.done(&notice).await["counts"]["sent"], PEOPLE);
    assert_eq!(server.taken().len(), PEOPLE);
    candor.finish().await;
}
