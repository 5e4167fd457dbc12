//! A mail server closes the connection at any step of the dialogue. Everybody gets exactly one email. The
//! only exception is an email that the server accepted without a reply: it is sent again as the same email,
//! and the record says that it may have been sent twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::Certificate;
use crate::support::smtp_script::{Act, Moment, SmtpScript, Step, Whole};
use crate::support::{Binary, DEADLINE, Env, TestApp, crowd, on_both_databases, outcomes, wait_until};

on_both_databases!(
    at_any_step_in_the_open,
    at_any_step_of_encrypting_and_signing_in,
    at_any_step_with_tls_from_the_first_byte,
    with_a_word_of_farewell,
    between_two_notices,
    while_saying_goodbye,
);

const PEOPLE: usize = 6;
const CONNECTIONS: usize = 2;
/// How many times the server closes the connection at each step.
const TIMES: usize = 2;

async fn at_any_step_in_the_open(env: Env) {
    let server = SmtpScript::start(|_| Act::Usual);
    let candor = Binary::new(&env).setting("smtp_url", server.url());
    let steps = [
        Step::Connect,
        Step::Banner,
        Step::Ehlo,
        Step::Mail,
        Step::Rcpt,
        Step::Data,
        Step::Body,
        Step::Dot,
        Step::Taken,
        Step::Rset,
    ];
    hang_up_at_each(candor, &server, &steps, Act::Close).await;
}

async fn at_any_step_of_encrypting_and_signing_in(env: Env) {
    let certificate = Certificate::new();
    let server = SmtpScript::builder()
        .starttls(&certificate)
        .user("candor", "correct horse")
        .start(|_| Act::Usual);
    let url = format!(
        "smtp://candor:correct%20horse@localhost:{}?tls=required",
        server.port()
    );
    let candor = Binary::new(&env)
        .setting("smtp_url", url)
        .environment("SSL_CERT_FILE", certificate.trusted_by(&env.directory).display());
    let steps = [
        Step::Banner,
        Step::Ehlo,
        Step::StartTls,
        Step::Tls,
        Step::EhloTls,
        Step::Auth,
        Step::Mail,
        Step::Rcpt,
        Step::Data,
        Step::Body,
        Step::Dot,
        Step::Taken,
        Step::Rset,
    ];
    hang_up_at_each(candor, &server, &steps, Act::Close).await;
    assert!(server.whole().iter().all(|mail| mail.encrypted), "in the open");
}

async fn at_any_step_with_tls_from_the_first_byte(env: Env) {
    let certificate = Certificate::new();
    let server = SmtpScript::builder()
        .implicit_tls(&certificate)
        .start(|_| Act::Usual);
    let candor = Binary::new(&env)
        .setting("smtp_url", format!("smtps://localhost:{}", server.port()))
        .environment("SSL_CERT_FILE", certificate.trusted_by(&env.directory).display());
    let steps = [
        Step::Connect,
        Step::Tls,
        Step::Banner,
        Step::EhloTls,
        Step::Data,
        Step::Dot,
    ];
    hang_up_at_each(candor, &server, &steps, Act::Close).await;
}

/// 421 means that the server is about to close the connection. It is sent instead of the reply, so the server
/// has not accepted the email.
async fn with_a_word_of_farewell(env: Env) {
    let server = SmtpScript::start(|_| Act::Usual);
    let candor = Binary::new(&env).setting("smtp_url", server.url());
    let steps = [
        Step::Banner,
        Step::Ehlo,
        Step::Mail,
        Step::Rcpt,
        Step::Data,
        Step::Dot,
        Step::Rset,
    ];
    let farewell = Act::say_and_close("421 4.3.2 script.localhost shuts down");
    hang_up_at_each(candor, &server, &steps, farewell).await;
}

/// Sends a notice for each step. The server closes the connection twice at this step and otherwise has no
/// faults.
async fn hang_up_at_each(candor: Binary, server: &SmtpScript, steps: &[Step], how: Act) {
    let mut candor = candor
        .setting("send_concurrency", CONNECTIONS)
        .setting("retry_schedule", "0s,1s");
    candor.serve().await;
    candor.import(crowd(PEOPLE)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let mut ambiguous = 0;
    for (n, step) in steps.iter().copied().enumerate() {
        let silently_taken = step == Step::Dot && matches!(how, Act::Close);
        // This starts a new dialogue, which comes to each of the steps.
        server.hang_up();
        wait_until("the connections to be closed", DEADLINE, async || {
            server.open_connections() == 0
        })
        .await;
        let before = server.count();
        let done = Arc::new(AtomicUsize::new(0));
        let (counting, how) = (Arc::clone(&done), how.clone());
        server.turn(move |moment: &Moment<'_>| {
            let counted = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::SeqCst) < TIMES;
            // RSET is sent only after a refused email, before the next email on its connection.
            let not_yet = counting.load(Ordering::SeqCst) < TIMES;
            if step == Step::Rset && moment.step == Step::Rcpt && not_yet {
                return Act::Say("451 4.7.1 Not now".to_owned());
            }
            if moment.step == step && counted(&counting) {
                return how.clone();
            }
            Act::Usual
        });
        let notice = candor
            .draft(&incident, if n == 0 { "detection" } else { "update" })
            .await;
        candor.send_as_previewed(&notice).await;
        let answer = candor.done(&notice).await;
        assert!(
            done.load(Ordering::SeqCst) >= TIMES,
            "it did not hang up at {step:?}"
        );
        assert_eq!(answer["counts"]["sent"], PEOPLE, "{step:?}: {answer}");

        let mails = by_recipient(&server.taken()[before..]);
        assert_eq!(
            mails.len(),
            PEOPLE,
            "{step:?}: somebody is missing, or somebody else was told"
        );
        let repeats: usize = mails.values().map(|mails| mails.len() - 1).sum();
        let expected = if silently_taken { TIMES } else { 0 };
        assert_eq!(repeats, expected, "{step:?}: repeated mails");
        for (address, mails) in &mails {
            assert!(
                mails.iter().all(|mail| *mail == mails[0]),
                "{step:?}: {address} got different mails: {mails:?}"
            );
        }
        let mut in_doubt = 0;
        for delivery in candor.deliveries(&notice).await {
            let outcomes = outcomes(&delivery);
            let (last, others) = outcomes.split_last().expect("an attempt");
            assert_eq!(*last, "sent", "{step:?}: {delivery}");
            let doubts = others.iter().filter(|outcome| **outcome == "ambiguous").count();
            in_doubt += doubts;
            assert!(
                others
                    .iter()
                    .all(|outcome| ["retry", "ambiguous"].contains(outcome)),
                "{step:?}: {delivery}"
            );
            if silently_taken {
                let address = delivery["address"].as_str().expect("an address");
                assert_eq!(doubts, mails[address].len() - 1, "{delivery}");
            } else if step != Step::Body {
                // In the middle of the email, the client cannot know how much has arrived.
                assert_eq!(doubts, 0, "{step:?}: {delivery}");
            }
        }
        assert_eq!(answer["ambiguous"], in_doubt, "{step:?}: {answer}");
        ambiguous += in_doubt;
    }
    let metrics = candor.anonymous().get("/metrics").await.expect(200).text;
    assert!(
        metrics.contains(&format!("candor_attempts_ambiguous_total {ambiguous}\n")),
        "{ambiguous} in doubt: {metrics}"
    );
    candor.finish().await;
}

/// Returns the Message-IDs of the emails to each address.
fn by_recipient(mails: &[Whole]) -> HashMap<String, Vec<String>> {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for whole in mails {
        let id = whole.mail.header("message-id").expect("a Message-ID");
        found.entry(whole.to().to_owned()).or_default().push(id);
    }
    found
}

/// Servers close idle connections. The next email uses a new connection, and this counts as no attempt.
async fn between_two_notices(env: Env) {
    let server = SmtpScript::start(|_| Act::Usual);
    let app = TestApp::builder(&env)
        .relay(server.url())
        .send_concurrency(CONNECTIONS)
        .start()
        .await;
    let (incident, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    app.done(&notice).await;
    assert!(
        server.open_connections() > 0,
        "a connection is kept for the next notice"
    );
    server.hang_up();
    wait_until("the connections to be closed", DEADLINE, async || {
        server.open_connections() == 0
    })
    .await;
    let update = app.tell(&incident, "update").await;
    assert_eq!(server.count(), 2 * PEOPLE);
    for delivery in app.deliveries(&update).await {
        assert_eq!(outcomes(&delivery), ["sent"], "{delivery}");
    }
    app.finish().await;
}

async fn while_saying_goodbye(env: Env) {
    let server = SmtpScript::start(|moment| match moment.step {
        Step::Quit => Act::Close,
        _ => Act::Usual,
    });
    let mut candor = Binary::new(&env).setting("smtp_url", server.url());
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(PEOPLE)).await;
    candor.done(&notice).await;
    candor.terminate().await.expect(0);
    assert!(server.came_to(Step::Quit) > 0, "it left without a word");
    candor.finish().await;
    assert_eq!(server.count(), PEOPLE);
}
