//! A mail server sends any false replies. Only a 2xx reply to the final dot counts as sent, the program
//! continues to run, and everything is sent when the server has no faults any more.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::smtp_script::{Act, SmtpScript, Step, Whole};
use crate::support::{
    Binary, DEADLINE, Env, TestApp, crowd, eventually, last_reply, on_both_databases, outcomes, wait_until,
};

on_both_databases!(
    whatever_it_answers,
    a_reply_that_is_older_than_its_question_does_not_count,
    a_reply_without_end_is_cut_short,
);

/// The number of connections with false replies. `CANDOR_TEST_LIES` sets another number.
const LIES: usize = 300;
/// The seed of the random replies. `CANDOR_TEST_SEED` sets another one.
const SEED: u64 = 20_240_314;
const PEOPLE: usize = 40;

fn from_environment<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

/// The SplitMix64 generator, which is small and gives the same numbers everywhere.
struct Lots(u64);

impl Lots {
    /// The false replies depend on the step and not on the time, because connections run in parallel.
    fn drawn(seed: u64, connection: usize, step: Step, nth: usize) -> Self {
        let mut lots = Lots(seed);
        for part in [connection as u64, step as u64, nth as u64] {
            lots.0 ^= part.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            lots.next();
        }
        lots
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// Returns a false reply. After a reply that the client may see as incomplete, the connection is closed.
/// Otherwise both sides would wait for each other, which another test covers.
fn lie(lots: &mut Lots, step: Step) -> Act {
    let usual = match step {
        // By default nothing is sent at these steps, so any text is a false reply.
        Step::Connect | Step::Body | Step::Taken => {
            return match lots.below(20) {
                0 => Act::Close,
                1 => Act::Say("250 Out of turn".to_owned()),
                _ => Act::Usual,
            };
        }
        Step::Banner => "220",
        Step::Data => "354",
        Step::Quit => "221",
        _ => "250",
    };
    if lots.below(10) < 7 {
        return Act::Usual;
    }
    match lots.below(16) {
        0 => Act::Close,
        1 => Act::Say(format!(
            "{} I think",
            lots.one_of(&["200", "221", "252", "299", "353", "355"])
        )),
        2 => Act::Say(format!(
            "{} Well",
            lots.one_of(&["150", "354", "334", "650", "999", "000"])
        )),
        3 => Act::Say(format!(
            "{} Not now",
            lots.one_of(&["421", "450", "451", "452", "499"])
        )),
        4 => Act::Say(format!(
            "{} Never",
            lots.one_of(&["500", "503", "550", "552", "554", "599"])
        )),
        5 => Act::Say(format!("{}{usual} at last", format!("{usual}-more\n").repeat(50))),
        6 => Act::Endless(format!("{usual}-and so on\r\n").into_bytes(), 4 << 20),
        7 => Act::BytesAndClose(format!("{usual} with a bare LF\n").into_bytes()),
        8 => Act::Bytes([usual.as_bytes(), b" \xff\xfe\xc3\x28 \x00\x07\r\n"].concat()),
        9 => Act::Say(format!("{usual} {}", "long ".repeat(40_000))),
        10 => Act::BytesAndClose(usual.as_bytes()[..2].to_vec()),
        11 => Act::BytesAndClose(format!("{usual}-there is more, but not for you\r\n").into_bytes()),
        12 => {
            // The replies to the next email and more.
            let ahead = "250 OK\n250 OK\n354 Go on\n250 Taken\n";
            Act::Say(format!("{usual} OK\n{}", ahead.repeat(1 + lots.below(3))))
        }
        13 => {
            let bytes = (0..1 + lots.below(200)).map(|_| lots.next() as u8).collect();
            Act::BytesAndClose(bytes)
        }
        14 => Act::BytesAndClose(format!("{usual}-yes\r\n550 no\r\n").into_bytes()),
        _ => {
            let nonsense = ["", "no code", "25 short", "2500 long", "-250 -", "２５０ wide"];
            Act::Bytes(format!("{}\r\n", lots.one_of(&nonsense)).into_bytes())
        }
    }
}

/// Returns whether a client may see this as success, because the first complete reply has only 2xx lines.
fn is_a_yes(reply: &[u8]) -> bool {
    for line in reply.split_inclusive(|byte| *byte == b'\n') {
        let is_whole = line.ends_with(b"\n");
        let is_2xx = line.len() > 3 && line[0] == b'2' && line[1..3].iter().all(u8::is_ascii_digit);
        if !is_whole || !is_2xx {
            return false;
        }
        match line[3] {
            b'-' => {}
            b' ' | b'\r' | b'\n' => return true,
            _ => return false,
        }
    }
    false
}

fn message_id(whole: &Whole) -> String {
    whole.mail.header("message-id").unwrap_or_default()
}

/// Returns the dialogues about this address.
fn transcripts(server: &SmtpScript, address: &str) -> String {
    (1..=server.connections())
        .map(|connection| (connection, server.transcript(connection)))
        .filter(|(_, text)| text.contains(&format!("<{address}>")))
        .map(|(connection, text)| format!("connection {connection}:\n{text}"))
        .collect()
}

async fn whatever_it_answers(env: Env) {
    let seed = from_environment("CANDOR_TEST_SEED", SEED);
    let lies = from_environment("CANDOR_TEST_LIES", LIES);
    println!("CANDOR_TEST_SEED={seed}");
    let server = SmtpScript::start(move |moment| {
        let mut lots = Lots::drawn(seed, moment.connection, moment.step, moment.nth_here);
        lie(&mut lots, moment.step)
    });
    let mut candor = Binary::new(&env)
        .setting("smtp_url", server.url())
        .setting("send_concurrency", 8)
        .setting("retry_schedule", "0s");
    candor.serve().await;
    candor.import(crowd(PEOPLE)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let mut notices = Vec::new();
    while server.connections() < lies {
        let phase = if notices.is_empty() { "detection" } else { "update" };
        let notice = candor.draft(&incident, phase).await;
        candor.send_as_previewed(&notice).await;
        // The time for all false replies depends on the machine. None of them may stop everything.
        let mut over = false;
        while !over {
            let before = server.connections();
            over = eventually("another connection, or the end", 2 * DEADLINE, async || {
                let over = server.connections() >= lies || candor.notice(&notice).await["state"] == "sent";
                (over || server.connections() > before).then_some(over)
            })
            .await;
        }
        notices.push(notice);
    }
    for notice in &notices {
        believed_only_what_is_true(&candor, &server, notice).await;
    }

    server.behave();
    for notice in &notices {
        candor.done(notice).await;
        for failed in believed_only_what_is_true(&candor, &server, notice).await {
            let path = format!("/api/v1/deliveries/{}/resend", failed["id"]);
            candor.post(&path, json!({})).await.expect(202);
        }
        let done = candor.done(notice).await;
        assert_eq!(done["counts"]["sent"], PEOPLE, "{done}");
        believed_only_what_is_true(&candor, &server, notice).await;
    }
    candor.anonymous().get("/healthz").await.expect(200);
    let log = candor.log();
    assert!(!log.contains("panicked"), "{log}");
    candor.finish().await;
}

/// Checks that each delivery that is recorded as sent was accepted by the server, and each one that is
/// recorded as failed was refused. Returns the failed deliveries.
async fn believed_only_what_is_true(candor: &Binary, server: &SmtpScript, notice: &str) -> Vec<Value> {
    // The record is read first, because everything in it must have happened by now.
    let deliveries = candor.deliveries(notice).await;
    let yes: HashSet<String> = server
        .whole()
        .iter()
        .filter(|whole| is_a_yes(&whole.reply))
        .map(message_id)
        .collect();
    let mut failed = Vec::new();
    for delivery in deliveries {
        match delivery["state"].as_str().expect("a state") {
            "sent" => {
                let id = delivery["message_id"].as_str().expect("a Message-ID");
                assert!(
                    yes.contains(id),
                    "recorded as sent, and never taken: {delivery}\n{}",
                    transcripts(server, delivery["address"].as_str().unwrap_or_default())
                );
                assert_eq!(outcomes(&delivery).last(), Some(&"sent"), "{delivery}");
            }
            "failed" => {
                assert_eq!(outcomes(&delivery).last(), Some(&"failed"), "{delivery}");
                let reply = last_reply(&delivery);
                let refusal = reply
                    .split(|character: char| !character.is_ascii_digit())
                    .any(|word| word.len() == 3 && word.starts_with('5'));
                assert!(refusal, "given up without a refusal: {delivery}");
                failed.push(delivery);
            }
            state => assert_eq!(state, "pending", "{delivery}"),
        }
    }
    failed
}

/// The 250 arrives together with the 354, before the email. The reply to the email itself is a refusal.
async fn a_reply_that_is_older_than_its_question_does_not_count(env: Env) {
    // One case for each connection: instead of the reply to RCPT, to DATA, and to the email before.
    let server = SmtpScript::start(|moment| match (moment.step, moment.connection % 3) {
        (Step::Rcpt, 0) => Act::Say("250 OK\n354 Go on\n250 2.0.0 Taken".to_owned()),
        (Step::Data, 1) => Act::Say("354 Go on\n250 2.0.0 Taken".to_owned()),
        (Step::Dot, 2) if moment.nth_here == 1 => {
            Act::Say("250 2.0.0 Taken\n250 OK\n250 OK\n354 Go on\n250 2.0.0 Taken".to_owned())
        }
        (Step::Dot, _) => Act::Say("451 4.3.0 In truth it is not".to_owned()),
        _ => Act::Usual,
    });
    let app = TestApp::builder(&env)
        .relay(server.url())
        .send_concurrency(3)
        .retry_schedule([Duration::from_millis(10)])
        .start()
        .await;
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    let truth = async || -> (HashSet<String>, Vec<String>) {
        let deliveries = app
            .all(&format!("/api/v1/notices/{notice}/deliveries?state=sent"))
            .await;
        let sent = deliveries
            .iter()
            .map(|delivery| delivery["message_id"].as_str().expect("an id").to_owned());
        let sent = sent.collect();
        let whole = server.whole();
        let yes = whole.iter().filter(|whole| is_a_yes(&whole.reply));
        (sent, yes.map(message_id).collect())
    };
    wait_until("many connections to be lied to", DEADLINE, async || {
        server.connections() >= 30 || truth().await.0.len() == PEOPLE
    })
    .await;
    let (sent, taken) = truth().await;
    for id in &sent {
        assert!(taken.contains(id), "recorded as sent, and never taken: {id}");
    }
    server.behave();
    assert_eq!(app.done(&notice).await["counts"]["sent"], PEOPLE);
    let (sent, taken) = truth().await;
    assert!(sent.iter().all(|id| taken.contains(id)));
    app.finish().await;
}

/// A normal reply has a few lines. A client must not keep an endless reply in memory.
async fn a_reply_without_end_is_cut_short(env: Env) {
    /// The number of bytes after which the server stops writing.
    const MOST: usize = 64 << 20;
    for endless in ["250-and so on\r\n", "250 and so on "] {
        let another = crate::support::Another::of(env.backend);
        let server = SmtpScript::start(move |moment| match moment.step {
            Step::Mail if moment.nth <= 2 => Act::Endless(endless.repeat(1_000).into_bytes(), MOST),
            _ => Act::Usual,
        });
        let mut candor = Binary::new(&another.env)
            .setting("smtp_url", server.url())
            .setting("send_concurrency", 1)
            .setting("retry_schedule", "0s");
        candor.serve().await;
        let (_, notice) = candor.tell_crowd(crowd(2)).await;
        assert_eq!(candor.done(&notice).await["counts"]["sent"], 2);
        assert_eq!(server.count(), 2);
        let written = server.most_written();
        assert!(written < 8 << 20, "it read {written} bytes of one reply");
        candor.finish().await;
    }
}
