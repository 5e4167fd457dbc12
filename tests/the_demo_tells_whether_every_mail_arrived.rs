//! `candor demo` runs the story, and its exit code says whether exactly the expected emails arrived.

use std::time::Duration;

use candor::config::Config;
use candor::demo;
use candor::demo::catcher::{Decision, Policy};

use crate::support::{Backend, Binary, run};

#[test]
fn it_plays_to_the_end() {
    run(Backend::Sqlite, async |env| {
        let played = Binary::new(&env).run(["demo", "--exit"]).await.expect(0);
        for said in [
            "Incident #1 is open",
            "3 people of 1 account",
            "6 alerts in total",
            "2 files are recovered, 0 are impaired",
            "12 emails",
            "the chain is intact",
        ] {
            assert!(
                played.stdout.contains(said),
                "{said:?} is missing in:\n{}",
                played.stdout
            );
        }
    });
}

/// In its middle, and at its end, when it only serves the pages.
#[test]
fn it_ends_in_order_when_it_is_told_to() {
    run(Backend::Sqlite, async |env| {
        for ready in ["09:51", "the incident"] {
            let mut candor = Binary::new(&env);
            candor.demo(ready).await;
            let ended = candor.terminate().await.expect(0);
            assert!(!ended.stderr.contains("candor demo:"), "{}", ended.stderr);
        }
    });
}

#[test]
fn it_fails_where_a_mail_is_missing() {
    actix_web::rt::System::new().block_on(async {
        let policy = Policy::new(|attempt| match attempt.recipient {
            "baraka@sound-works.example" => Decision::Permanent("5.1.1 no such user".to_owned()),
            _ => Decision::Accept,
        });
        let never = std::future::pending();
        let ending = demo::perform(Config::default(), true, policy, Duration::from_secs(1), never)
            .await
            .expect("the service starts");
        assert_eq!(ending, demo::Ending::Failed);
    });
}
