//! A relay that is slow for the emails of one domain does not delay the emails of other domains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::smtp_script::{Act, SmtpScript, Step};
use crate::support::{DEADLINE, Env, TestApp, crowd_at, on_both_databases, wait_until};

on_both_databases!(the_others_take_as_long_as_without_it);

const OTHERS: usize = 320;
/// The largest number of measurements.
const ROUNDS: usize = 3;
const SLOW: usize = 32;
const CONNECTIONS: usize = 16;
/// The time that the server needs for an email. 320 emails on 16 connections take a second.
const USUAL: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(2);

async fn the_others_take_as_long_as_without_it(env: Env) {
    let in_a_hurry = Arc::new(AtomicBool::new(false));
    let hurry = Arc::clone(&in_a_hurry);
    let server = SmtpScript::start(move |moment| match moment.step {
        Step::Dot if is_slow(moment.recipient) && !hurry.load(Ordering::SeqCst) => Act::Slow(LONG),
        Step::Dot => Act::Slow(USUAL),
        _ => Act::Usual,
    });
    let app = TestApp::builder(&env)
        .relay(server.url())
        .send_concurrency(CONNECTIONS)
        .max_audience(OTHERS + SLOW)
        .start()
        .await;
    app.import(crowd_at(
        (1..=OTHERS).map(|n| format!("person-{n}@crowd.example")),
    ))
    .await
    .expect(200);
    // The slow domain is among the others in every order: by number, by address, and by the time of creation.
    let mut annex = vec![json!({"kind": "resource", "type": "project", "id": "annex", "account": "crowd"})];
    for n in 1..=SLOW {
        let id = format!("person-{}-slow", n * OTHERS / SLOW);
        let email = format!("{id}@slow.example");
        annex.push(json!({"kind": "person", "id": id, "name": "Slow", "email": email}));
        annex.push(json!({"kind": "collaborator", "resource": {"type": "project", "id": "annex"}, "person": id, "role": "editor"}));
    }
    let annex: String = annex.iter().map(|line| format!("{line}\n")).collect();
    app.import(annex).await.expect(200);

    let alone = app.incident([("project", "stage")]).await;
    let together = app.incident([("project", "stage"), ("project", "annex")]).await;
    // A busy machine can make a measurement worse but not better, so one good round of three is enough.
    for round in 1..=ROUNDS {
        let before = server.count();
        let phase = if round == 1 { "detection" } else { "update" };
        in_a_hurry.store(false, Ordering::SeqCst);
        let first = time_for_the_others(&app, &server, &alone, phase).await;
        let beside = time_for_the_others(&app, &server, &together, phase).await;
        in_a_hurry.store(true, Ordering::SeqCst);
        wait_until("the slow ones", DEADLINE, async || {
            server.count() == before + 2 * OTHERS + SLOW
        })
        .await;
        let second = time_for_the_others(&app, &server, &alone, "update").await;
        // The difference between two equal runs comes from the machine.
        let noise = first.abs_diff(second);
        let most = first.max(second).mul_f64(1.1) + noise;
        println!("alone {first:?} and {second:?}, beside a slow domain {beside:?}");
        if beside <= most {
            break;
        }
        assert!(
            round < ROUNDS,
            "{beside:?}, where {first:?} and {second:?} are usual"
        );
    }
    app.finish().await;
}

fn is_slow(address: &str) -> bool {
    address.ends_with("@slow.example")
}

/// Returns the time from the first to the last email to the other domains for one notice.
async fn time_for_the_others(app: &TestApp, server: &SmtpScript, incident: &str, phase: &str) -> Duration {
    let before = server.count();
    let notice = app.draft(incident, phase).await;
    app.send_as_previewed(&notice).await;
    let mut times = Vec::new();
    wait_until("the others", 4 * DEADLINE, async || {
        let taken = server.taken();
        let others = taken[before..].iter().filter(|mail| !is_slow(mail.to()));
        times = others.map(|mail| mail.at).collect();
        times.len() == OTHERS
    })
    .await;
    let (first, last) = (
        times.iter().min().expect("mails"),
        times.iter().max().expect("mails"),
    );
    last.duration_since(*first)
}
