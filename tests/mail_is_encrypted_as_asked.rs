//! The settings for the connection to the mail server are obeyed. If TLS is required, nothing is sent without
//! it. A certificate is accepted only from a trusted authority. A wrong password is an error of Candor and
//! not of a recipient.

use serde_json::Value;

use crate::support::Certificate;
use crate::support::smtp_script::{Act, SmtpScript, Step};
use crate::support::{Binary, DEADLINE, Env, crowd, eventually, last_reply, on_one_database, outcomes};

on_one_database!(
    required_tls_is_begun_before_anything_else,
    tls_from_the_first_byte,
    tls_is_used_where_it_is_offered,
    required_tls_that_is_not_offered_stops_the_mail,
    a_certificate_that_nobody_vouches_for_stops_the_mail,
    a_wrong_password_is_no_recipients_fault,
    what_was_said_in_the_open_does_not_count_inside,
);

const PEOPLE: usize = 4;
const PASSWORD: &str = "correct-horse";

/// Sends to the crowd and waits until everybody was notified.
async fn all_are_told(candor: Binary) {
    let mut candor = candor
        .setting("send_concurrency", 2)
        .setting("retry_schedule", "0s,1s");
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(PEOPLE)).await;
    assert_eq!(candor.done(&notice).await["counts"]["sent"], PEOPLE);
    candor.finish().await;
}

/// Sends to the crowd and waits until each email failed once. Returns the deliveries and the output of the
/// program.
async fn all_must_wait(candor: Binary) -> (Vec<Value>, String) {
    let mut candor = candor
        .setting("send_concurrency", 2)
        .setting("retry_schedule", "1h");
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(PEOPLE)).await;
    let deliveries = eventually("an attempt at each", DEADLINE, async || {
        let deliveries = candor.deliveries(&notice).await;
        let tried = |delivery: &Value| outcomes(delivery).len() == 1;
        (deliveries.len() == PEOPLE && deliveries.iter().all(tried)).then_some(deliveries)
    })
    .await;
    for delivery in &deliveries {
        assert_eq!(delivery["state"], "pending", "{delivery}");
        assert_eq!(outcomes(delivery), ["retry"], "{delivery}");
    }
    let output = candor.terminate().await.expect(0);
    candor.finish().await;
    (deliveries, format!("{}{}", output.stdout, output.stderr))
}

fn trusting(env: &Env, certificate: &Certificate) -> Binary {
    Binary::new(env).environment("SSL_CERT_FILE", certificate.trusted_by(&env.directory).display())
}

/// Returns the commands on connections without TLS, or before TLS.
fn in_the_open(server: &SmtpScript) -> Vec<String> {
    let commands = server.commands();
    let verbs = commands
        .iter()
        .filter(|command| !command.encrypted)
        .map(|command| command.line.split(' ').next().unwrap_or_default().to_uppercase());
    let mut verbs: Vec<String> = verbs.collect();
    verbs.sort();
    verbs.dedup();
    verbs
}

async fn required_tls_is_begun_before_anything_else(env: Env) {
    let certificate = Certificate::new();
    let server = SmtpScript::builder()
        .starttls(&certificate)
        .user("candor", PASSWORD)
        .start(|_| Act::Usual);
    let url = format!(
        "smtp://candor:{PASSWORD}@localhost:{}?tls=required",
        server.port()
    );
    all_are_told(trusting(&env, &certificate).setting("smtp_url", url)).await;
    assert_eq!(in_the_open(&server), ["EHLO", "STARTTLS"]);
    assert_eq!(
        server.taken().iter().filter(|mail| mail.encrypted).count(),
        PEOPLE
    );
}

async fn tls_from_the_first_byte(env: Env) {
    let certificate = Certificate::new();
    let server = SmtpScript::builder()
        .implicit_tls(&certificate)
        .user("candor", PASSWORD)
        .start(|_| Act::Usual);
    let url = format!("smtps://candor:{PASSWORD}@localhost:{}", server.port());
    all_are_told(trusting(&env, &certificate).setting("smtp_url", url)).await;
    assert_eq!(in_the_open(&server), [""; 0]);
    assert_eq!(server.count(), PEOPLE);
}

async fn tls_is_used_where_it_is_offered(env: Env) {
    let certificate = Certificate::new();
    let server = SmtpScript::builder().starttls(&certificate).start(|_| Act::Usual);
    let url = format!("smtp://localhost:{}", server.port());
    all_are_told(trusting(&env, &certificate).setting("smtp_url", url)).await;
    assert_eq!(in_the_open(&server), ["EHLO", "STARTTLS"]);
    assert_eq!(server.count(), PEOPLE);
}

async fn required_tls_that_is_not_offered_stops_the_mail(env: Env) {
    let server = SmtpScript::builder()
        .user("candor", PASSWORD)
        .start(|_| Act::Usual);
    let url = format!(
        "smtp://candor:{PASSWORD}@localhost:{}?tls=required",
        server.port()
    );
    let (deliveries, _) = all_must_wait(Binary::new(&env).setting("smtp_url", url)).await;
    for delivery in &deliveries {
        assert!(last_reply(delivery).contains("STARTTLS"), "{delivery}");
    }
    for command in server.commands() {
        let verb = command.line.split(' ').next().unwrap_or_default();
        assert!(!["MAIL", "AUTH"].contains(&verb), "{command:?}");
    }
    assert_eq!(server.whole().len(), 0);
}

async fn a_certificate_that_nobody_vouches_for_stops_the_mail(env: Env) {
    let (certificate, another) = (Certificate::new(), Certificate::new());
    let server = SmtpScript::builder()
        .starttls(&certificate)
        .user("candor", PASSWORD)
        .start(|_| Act::Usual);
    let url = format!(
        "smtp://candor:{PASSWORD}@localhost:{}?tls=required",
        server.port()
    );
    let (deliveries, _) = all_must_wait(trusting(&env, &another).setting("smtp_url", url)).await;
    for delivery in &deliveries {
        assert!(last_reply(delivery).contains("certificate"), "{delivery}");
    }
    assert_eq!(in_the_open(&server), ["EHLO", "STARTTLS"]);
    assert_eq!(server.came_to(Step::Auth), 0);
    assert_eq!(server.whole().len(), 0);
}

async fn a_wrong_password_is_no_recipients_fault(env: Env) {
    let certificate = Certificate::new();
    let server = SmtpScript::builder()
        .starttls(&certificate)
        .user("candor", "another one")
        .start(|_| Act::Usual);
    let url = format!(
        "smtp://candor:{PASSWORD}@localhost:{}?tls=required",
        server.port()
    );
    let (deliveries, log) = all_must_wait(trusting(&env, &certificate).setting("smtp_url", url)).await;
    for delivery in &deliveries {
        assert!(last_reply(delivery).contains("535"), "{delivery}");
        assert!(!last_reply(delivery).contains(PASSWORD), "{delivery}");
    }
    assert!(!log.contains(PASSWORD), "{log}");
    assert_eq!(server.came_to(Step::Mail), 0);
}

/// An attacker on the network can add text to the reply to STARTTLS before the encryption. It must not count
/// as text of the server within TLS.
async fn what_was_said_in_the_open_does_not_count_inside(env: Env) {
    let certificate = Certificate::new();
    let server = SmtpScript::builder()
        .starttls(&certificate)
        .start(|moment| match moment.step {
            Step::StartTls if moment.nth <= 4 => {
                Act::Say("220 Go on\n250-injected.example\n250 LIMITS MAILMAX=1".to_owned())
            }
            _ => Act::Usual,
        });
    let url = format!("smtp://localhost:{}?tls=required", server.port());
    all_are_told(trusting(&env, &certificate).setting("smtp_url", url)).await;
    assert_eq!(in_the_open(&server), ["EHLO", "STARTTLS"]);
    assert_eq!(server.count(), PEOPLE);
}
