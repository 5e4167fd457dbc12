//! Mail servers differ: some are slow, some send long replies, some have limits, some have few extensions.
//! All of them get their emails in the way that they need, and the result of one email does not affect
//! others.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use crate::support::smtp_script::{Act, SmtpScript, Step};
use crate::support::{
    Another, DEADLINE, Env, TestApp, crowd, crowd_at, last_reply, on_one_database, outcomes, wait_until,
};

on_one_database!(
    a_connection_that_hangs_holds_up_nobody_else,
    replies_may_have_many_lines,
    replies_may_come_in_single_bytes,
    a_reply_has_an_end,
    a_refusal_does_not_cost_the_connection,
    a_limit_of_mails_is_kept_where_it_is_announced,
    a_limit_of_mails_costs_nobody_an_attempt,
    commands_are_sent_together_only_where_that_is_understood,
    a_refused_recipient_is_refused_even_if_the_mail_is_asked_for,
    an_address_beyond_ascii_needs_a_server_that_knows_it,
);

const PEOPLE: usize = 20;

async fn app_with(env: &Env, server: &SmtpScript, connections: usize) -> TestApp {
    TestApp::builder(env)
        .relay(server.url())
        .send_concurrency(connections)
        .retry_schedule([std::time::Duration::from_millis(10)])
        .start()
        .await
}

/// Returns how many emails each address got, without refused ones.
fn told(server: &SmtpScript) -> HashMap<String, usize> {
    let mut told = HashMap::new();
    for mail in server.taken() {
        *told.entry(mail.to().to_owned()).or_default() += 1;
    }
    told
}

/// Checks that everybody was notified with the first attempt.
async fn all_at_once(app: &TestApp, server: &SmtpScript, notice: &str) {
    app.done(notice).await;
    let deliveries = app.deliveries(notice).await;
    assert_eq!(deliveries.len(), PEOPLE);
    for delivery in deliveries {
        assert_eq!(outcomes(&delivery), ["sent"], "{delivery}");
    }
    let told = told(server);
    assert_eq!(told.len(), PEOPLE);
    assert!(told.values().all(|mails| *mails == 1), "{told:?}");
}

async fn a_connection_that_hangs_holds_up_nobody_else(env: Env) {
    let server = SmtpScript::start(|_| Act::Usual);
    let app = app_with(&env, &server, 4).await;
    app.import(crowd(PEOPLE)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let steps = [
        Step::Banner,
        Step::Ehlo,
        Step::Mail,
        Step::Rcpt,
        Step::Data,
        Step::Body,
        Step::Dot,
    ];
    for (n, hanging) in steps.into_iter().enumerate() {
        server.hang_up();
        wait_until("the connections to be closed", DEADLINE, async || {
            server.open_connections() == 0
        })
        .await;
        let before = server.count();
        let answer = Arc::new(Semaphore::new(0));
        let (permits, first) = (Arc::clone(&answer), AtomicBool::new(true));
        server.turn(move |moment| {
            if moment.step == hanging && first.swap(false, Ordering::SeqCst) {
                Act::wait(&permits)
            } else {
                Act::Usual
            }
        });
        let notice = app
            .draft(&incident, if n == 0 { "detection" } else { "update" })
            .await;
        app.send_as_previewed(&notice).await;
        wait_until("all but one to be told", DEADLINE, async || {
            let counts = &app.notice(&notice).await["counts"];
            counts["sent"] == PEOPLE - 1 && counts["pending"] == 1
        })
        .await;
        answer.add_permits(1);
        let done = app.done(&notice).await;
        assert_eq!(done["counts"]["sent"], PEOPLE, "{hanging:?}: {done}");
        assert_eq!(server.count() - before, PEOPLE, "{hanging:?}");
    }
    app.finish().await;
}

async fn replies_may_have_many_lines(env: Env) {
    let server = SmtpScript::start(|moment| match moment.step {
        Step::Banner => Act::Say("220-Hello there\n220-No spam, please\n220 ESMTP".to_owned()),
        Step::Mail | Step::Rcpt => Act::Say("250-2.1.0 That\n250-2.1.0 is\n250 2.1.0 fine".to_owned()),
        Step::Data => Act::Say("354-Go on\n354 and end with a dot".to_owned()),
        Step::Dot => Act::Say("250-2.0.0 Thank you\n250 2.0.0 for 4711".to_owned()),
        Step::Rset => Act::Say("250-Done\n250".to_owned()),
        _ => Act::Usual,
    });
    let app = app_with(&env, &server, 2).await;
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    all_at_once(&app, &server, &notice).await;
    for delivery in app.deliveries(&notice).await {
        let reply = last_reply(&delivery);
        assert!(
            reply.contains("250") && reply.contains("Thank you") && reply.contains("for 4711"),
            "{reply}"
        );
    }
    app.finish().await;
}

async fn replies_may_come_in_single_bytes(env: Env) {
    let long = "250-of many bytes, each of them in a packet of its own\n".repeat(10) + "250 fine";
    let server = SmtpScript::start(move |moment| match moment.step {
        Step::Mail => Act::SayBytewise(long.clone()),
        _ => Act::Bytewise,
    });
    let app = app_with(&env, &server, 2).await;
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    all_at_once(&app, &server, &notice).await;
    app.finish().await;
}

/// Each further line takes a client as long as all lines before it.
async fn a_reply_has_an_end(env: Env) {
    for (lines, is_believed) in [(150, true), (250, false)] {
        let another = Another::of(env.backend);
        let reply = "250-and\n".repeat(lines) + "250 so on";
        let server = SmtpScript::start(move |moment| match moment.step {
            Step::Mail if moment.nth == 1 => Act::Say(reply.clone()),
            _ => Act::Usual,
        });
        let app = app_with(&another.env, &server, 1).await;
        let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
        assert_eq!(app.done(&notice).await["counts"]["sent"], PEOPLE);
        assert_eq!(server.connections() == 1, is_believed, "{lines} lines");
        app.finish().await;
    }
}

async fn a_refusal_does_not_cost_the_connection(env: Env) {
    // Greylisting accepts the second attempt.
    let greeted = Mutex::new(HashSet::new());
    let server = SmtpScript::start(move |moment| {
        let word = moment.recipient.split('-').next().unwrap_or_default();
        let first_time = || {
            greeted
                .lock()
                .expect("no panic under it")
                .insert(moment.recipient.to_owned())
        };
        match (moment.step, word) {
            (Step::Rcpt, "never") => Act::Say("550 5.1.1 No such user".to_owned()),
            (Step::Rcpt, "later") if first_time() => Act::Say("451 4.7.1 Greylisted".to_owned()),
            (Step::Dot, "full") if first_time() => Act::Say("452 4.3.1 No room".to_owned()),
            _ => Act::Usual,
        }
    });
    let app = app_with(&env, &server, 1).await;
    let refusals = ["never", "later", "full"]
        .into_iter()
        .flat_map(|word| (1..=3).map(move |n| format!("{word}-{n}@crowd.example")));
    let others = (10..=PEOPLE).map(|n| format!("person-{n}@crowd.example"));
    let (_, notice) = app.tell_crowd(crowd_at(refusals.chain(others))).await;
    let done = app.done(&notice).await;
    assert_eq!(done["counts"]["sent"], PEOPLE - 3, "{done}");
    assert_eq!(done["counts"]["failed"], 3, "{done}");
    for delivery in app.deliveries(&notice).await {
        let address = delivery["address"].as_str().expect("an address");
        let (outcome, reply) = match address.split_once('-').expect("a name").0 {
            "never" => (vec!["failed"], "550 5.1.1 No such user"),
            "later" | "full" => (vec!["retry", "sent"], "250"),
            _ => (vec!["sent"], "250"),
        };
        assert_eq!(outcomes(&delivery), outcome, "{delivery}");
        assert!(last_reply(&delivery).contains(reply), "{delivery}");
    }
    let told = told(&server);
    assert_eq!(told.len(), PEOPLE - 3);
    assert!(told.values().all(|mails| *mails == 1), "{told:?}");
    assert_eq!(server.connections(), 1, "a refusal is no reason to hang up");
    assert!(
        server.came_to(Step::Rset) >= 6,
        "a refused mail is taken back before the next"
    );
    app.finish().await;
}

/// The extension LIMITS (RFC 9422).
async fn a_limit_of_mails_is_kept_where_it_is_announced(env: Env) {
    let server = SmtpScript::builder()
        .extension("LIMITS MAILMAX=3 RCPTMAX=50")
        .most_mails(3)
        .start(|_| Act::Usual);
    let app = app_with(&env, &server, 1).await;
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    all_at_once(&app, &server, &notice).await;
    let mut mails: HashMap<usize, usize> = HashMap::new();
    for command in server.commands() {
        if command.line.starts_with("MAIL") {
            *mails.entry(command.connection).or_default() += 1;
        }
    }
    assert!(mails.values().all(|mails| *mails <= 3), "{mails:?}");
    assert_eq!(server.connections(), PEOPLE.div_ceil(3));
    assert!(
        server.came_to(Step::Quit) >= server.connections() - 1,
        "one leaves with a word"
    );
    app.finish().await;
}

async fn a_limit_of_mails_costs_nobody_an_attempt(env: Env) {
    let server = SmtpScript::builder().most_mails(3).start(|_| Act::Usual);
    let app = app_with(&env, &server, 1).await;
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    all_at_once(&app, &server, &notice).await;
    app.finish().await;
}

/// The extension PIPELINING (RFC 2920).
async fn commands_are_sent_together_only_where_that_is_understood(env: Env) {
    let knows = SmtpScript::start(|_| Act::Usual);
    let app = app_with(&env, &knows, 2).await;
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    all_at_once(&app, &knows, &notice).await;
    let together = |command: &str| {
        let commands = knows.commands();
        let ahead = |line: &str| line.starts_with(command);
        commands
            .iter()
            .filter(|command| ahead(&command.line))
            .all(|command| command.ahead)
    };
    assert!(
        together("MAIL"),
        "it waits for each reply: {:?}",
        knows.commands()
    );
    // After these commands the client must wait for the reply, which says what the server offers or whether
    // it accepts the email.
    let waiting = ["EHLO", "DATA", "QUIT"];
    for command in knows.commands() {
        let waits = waiting.iter().any(|verb| command.line.starts_with(verb));
        assert!(!(waits && command.ahead), "{command:?}");
    }
    app.finish().await;

    let other = crate::support::Another::of(env.backend);
    let does_not = SmtpScript::builder().without("PIPELINING").start(|_| Act::Usual);
    let app = app_with(&other.env, &does_not, 2).await;
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    all_at_once(&app, &does_not, &notice).await;
    for command in does_not.commands() {
        assert!(!command.ahead, "it did not wait for the reply: {command:?}");
    }
    app.finish().await;
}

/// With PIPELINING a server may send 354 before the client knows that no recipient is left (RFC 2920, section
/// 3.1).
async fn a_refused_recipient_is_refused_even_if_the_mail_is_asked_for(env: Env) {
    const REFUSED: &str = "person-1@crowd.example";
    let server = SmtpScript::start(|moment| match (moment.step, moment.recipient) {
        (Step::Rcpt, REFUSED) => Act::Say("550 5.1.1 No such user".to_owned()),
        (Step::Data, REFUSED) => Act::Say("354 Go on".to_owned()),
        _ => Act::Usual,
    });
    let app = app_with(&env, &server, 1).await;
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    let done = app.done(&notice).await;
    assert_eq!(done["counts"]["sent"], PEOPLE - 1, "{done}");
    assert_eq!(app.addresses(&notice, "failed").await, [REFUSED]);
    for delivery in app.deliveries(&notice).await {
        let refused = delivery["address"] == REFUSED;
        assert_eq!(
            outcomes(&delivery),
            [if refused { "failed" } else { "sent" }],
            "{delivery}"
        );
        assert!(
            !refused || last_reply(&delivery).contains("550 5.1.1 No such user"),
            "{delivery}"
        );
    }
    let told = told(&server);
    assert_eq!(told.len(), PEOPLE - 1, "{told:?}");
    assert!(!told.contains_key(REFUSED), "{told:?}");
    app.finish().await;
}

/// The extension SMTPUTF8 (RFC 6531).
async fn an_address_beyond_ascii_needs_a_server_that_knows_it(env: Env) {
    const BEYOND: &str = "märta@crowd.example";
    let directory = || crowd_at([BEYOND, "person-2@crowd.example"]);
    let knows = SmtpScript::start(|_| Act::Usual);
    let app = app_with(&env, &knows, 1).await;
    let (_, notice) = app.tell_crowd(directory()).await;
    assert_eq!(app.done(&notice).await["counts"]["sent"], 2);
    let announced: Vec<bool> = knows
        .commands()
        .iter()
        .filter(|command| command.line.starts_with("MAIL"))
        .map(|command| command.line.contains("SMTPUTF8"))
        .collect();
    let needed = announced.iter().filter(|announced| **announced).count();
    assert_eq!((announced.len(), needed), (2, 1), "only where it is needed");
    app.finish().await;

    let other = crate::support::Another::of(env.backend);
    let does_not = SmtpScript::builder().without("SMTPUTF8").start(|_| Act::Usual);
    let app = app_with(&other.env, &does_not, 1).await;
    let (_, notice) = app.tell_crowd(directory()).await;
    let done = app.done(&notice).await;
    assert_eq!(
        (&done["counts"]["sent"], &done["counts"]["failed"]),
        (&1.into(), &1.into())
    );
    for delivery in app.deliveries(&notice).await {
        if delivery["address"] == BEYOND {
            assert_eq!(
                outcomes(&delivery),
                ["failed"],
                "tried again, in vain: {delivery}"
            );
            assert!(last_reply(&delivery).contains("SMTPUTF8"), "{delivery}");
        } else {
            assert_eq!(outcomes(&delivery), ["sent"], "{delivery}");
        }
    }
    assert_eq!(told(&does_not).len(), 1);
    app.finish().await;
}
