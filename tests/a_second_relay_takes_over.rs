//! A second mail server takes over when the first one fails. Nobody is left out, an email that may have arrived is not given
//! to the other server at once, a rejected mailbox is not tried at the other server, and each delivery names its server.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::smtp_script::{Act, Moment, SmtpScript, Step};
use crate::support::{Binary, DEADLINE, Env, TestApp, crowd, on_both_databases, outcomes, wait_until};

on_both_databases!(
    one_dies_in_the_middle,
    only_faults_of_the_server_change_it,
    an_uncertain_email_is_not_given_to_the_other,
    it_is_shown_and_the_first_gets_the_next_again,
    both_fail_and_come_back,
);

/// How many people get the notice while a mail server dies.
const MANY: usize = 600;
const CONNECTIONS: usize = 8;
const PEOPLE: usize = 12;

fn usual() -> SmtpScript {
    SmtpScript::start(|_| Act::Usual)
}

/// Closes every connection, and every new one at once.
fn die(server: &SmtpScript) {
    server.turn(|_| Act::Close);
    server.hang_up();
}

fn name(server: &SmtpScript) -> String {
    format!("127.0.0.1:{}", server.port())
}

async fn one_dies_in_the_middle(env: Env) {
    let (first, second) = (usual(), usual());
    let mut candor = Binary::new(&env)
        .setting("smtp_url", first.url())
        .setting("smtp_url_2", second.url())
        .setting("send_concurrency", CONNECTIONS)
        .setting("max_audience", MANY)
        .setting("retry_schedule", "1s");
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(MANY)).await;
    wait_until("the first third", DEADLINE, async || first.count() >= MANY / 3).await;
    die(&first);
    let done = candor.done(&notice).await;
    assert_eq!(done["counts"]["sent"], MANY, "{done}");
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for server in [&first, &second] {
        for mail in server.taken() {
            got.entry(mail.to().to_owned()).or_default().push(name(server));
        }
    }
    assert_eq!(got.len(), MANY, "somebody is missing");
    let total: usize = got.values().map(Vec::len).sum();
    assert!(total - MANY <= CONNECTIONS, "{} repeats", total - MANY);
    assert!(second.count() > MANY / 3, "the second took over");
    let deliveries = candor.deliveries(&notice).await;
    assert_eq!(deliveries.len(), MANY);
    for delivery in &deliveries {
        let address = delivery["address"].as_str().expect("an address");
        let relay = delivery["relay"]
            .as_str()
            .unwrap_or_else(|| panic!("no relay: {delivery}"));
        assert!(
            got[address].iter().any(|name| name == relay),
            "{delivery}: {:?}",
            got[address]
        );
        for attempt in delivery["attempts"].as_array().expect("attempts") {
            assert!(attempt["relay"].is_string(), "{delivery}");
        }
        // Who got it twice was in doubt, and nobody else.
        let doubts = outcomes(delivery)
            .iter()
            .filter(|outcome| **outcome == "ambiguous")
            .count();
        assert!(got[address].len() <= 1 + doubts, "{delivery}: {:?}", got[address]);
    }
    let verified = candor.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(verified["ok"], true, "{verified}");
    candor.finish().await;
}

/// Starts the service with two mail servers.
async fn with_two(env: &Env, first: &SmtpScript, second: &SmtpScript, wait: u64) -> TestApp {
    let url = second.url();
    TestApp::builder(env)
        .relay(first.url())
        .send_concurrency(2)
        .retry_schedule([Duration::from_secs(wait)])
        .config(|config| config.smtp_url_2 = Some(url))
        .start()
        .await
}

async fn only_faults_of_the_server_change_it(env: Env) {
    let (first, second) = (usual(), usual());
    let app = with_two(&env, &first, &second, 3_600).await;
    let (_, notice) = {
        let people = std::sync::atomic::AtomicUsize::new(0);
        let seen = std::sync::Mutex::new(HashMap::<String, usize>::new());
        first.turn(move |moment: &Moment<'_>| {
            if moment.step != Step::Rcpt {
                return Act::Usual;
            }
            let mut seen = seen.lock().expect("a lock");
            let nth = *seen
                .entry(moment.recipient.to_owned())
                .or_insert_with(|| people.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
            match nth {
                0 => Act::Say("550 5.1.1 No such user".to_owned()),
                1 => Act::Say("452 4.2.2 The mailbox is full".to_owned()),
                2 => Act::Say("450 Greylisted".to_owned()),
                3 => Act::Say("451 4.3.2 The system does not accept messages".to_owned()),
                _ => Act::Usual,
            }
        });
        app.tell_crowd(crowd(PEOPLE)).await
    };
    wait_until("every first attempt", DEADLINE, async || {
        let deliveries = app.deliveries(&notice).await;
        deliveries.len() == PEOPLE && deliveries.iter().all(|delivery| !outcomes(delivery).is_empty())
    })
    .await;
    let mut states: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for delivery in app.deliveries(&notice).await {
        let state = delivery["state"].as_str().expect("a state").to_owned();
        states.entry(state).or_default().push(delivery);
    }
    let numbers: BTreeMap<&str, usize> = states
        .iter()
        .map(|(state, of)| (state.as_str(), of.len()))
        .collect();
    let lost = numbers.get("bounced").or(numbers.get("failed")).copied();
    assert_eq!(
        (lost, numbers["pending"], numbers["sent"]),
        (Some(1), 2, PEOPLE - 3),
        "{numbers:?}"
    );
    // Only the email that the first server itself could not accept went to the second one.
    assert_eq!((first.count(), second.count()), (PEOPLE - 4, 1));
    for delivery in &states["pending"] {
        assert_eq!(delivery["attempts"][0]["relay"], name(&first), "{delivery}");
        assert_eq!(delivery["relay"], Value::Null, "{delivery}");
    }
    let taken = second.taken();
    let by_second: Vec<&Value> = states["sent"]
        .iter()
        .filter(|delivery| delivery["relay"] == name(&second))
        .collect();
    assert_eq!(by_second.len(), 1);
    assert_eq!(by_second[0]["address"], taken[0].to());
    assert_eq!(outcomes(by_second[0]), ["sent"], "one attempt");
    app.finish().await;
}

async fn an_uncertain_email_is_not_given_to_the_other(env: Env) {
    let (first, second) = (usual(), usual());
    let app = with_two(&env, &first, &second, 3_600).await;
    first.turn(|moment: &Moment<'_>| match (moment.step, moment.nth) {
        // The email has arrived completely, and the server says nothing.
        (Step::Dot, 1 | 2) => Act::Close,
        _ => Act::Usual,
    });
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    wait_until("every first attempt", DEADLINE, async || {
        let deliveries = app.deliveries(&notice).await;
        deliveries.len() == PEOPLE && deliveries.iter().all(|delivery| !outcomes(delivery).is_empty())
    })
    .await;
    let waiting: Vec<Value> = app
        .deliveries(&notice)
        .await
        .into_iter()
        .filter(|delivery| delivery["state"] == "pending")
        .collect();
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    for delivery in &waiting {
        assert_eq!(outcomes(delivery), ["ambiguous"], "{delivery}");
        assert_eq!(delivery["attempts"][0]["relay"], name(&first));
    }
    assert_eq!((first.count(), second.count()), (PEOPLE, 0));
    app.finish().await;
}

async fn it_is_shown_and_the_first_gets_the_next_again(env: Env) {
    let (first, second) = (usual(), usual());
    die(&first);
    let app = with_two(&env, &first, &second, 1).await;
    let (incident, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    app.done(&notice).await;
    assert_eq!((first.count(), second.count()), (0, PEOPLE));
    let (a, b) = (name(&first), name(&second));
    let faults = async || {
        let now = app.get("/api/v1/now").await.expect(200);
        let faults = now["faults"].as_array().expect("faults").clone();
        faults
            .into_iter()
            .filter(|fault| fault["kind"] == "mail_server")
            .collect::<Vec<_>>()
    };
    wait_until("the fault", DEADLINE, async || !faults().await.is_empty()).await;
    let fault = faults().await.remove(0);
    let text = format!("The mail server {a} fails. The mail server {b} has taken over.");
    assert_eq!(
        (&fault["text"], fault["id"].as_str()),
        (&json!(text), Some(a.as_str()))
    );
    assert!(fault["since"].is_string(), "{fault}");
    assert!(app.admin_page("/admin").await.contains(&text), "the page Now");
    let system = app.get("/api/v1/system").await.expect(200);
    assert!(system["mail_server"]["passed_over_since"].is_string(), "{system}");
    assert_eq!(system["second_mail_server"]["accepted"], PEOPLE, "{system}");
    let page = app.admin_page("/admin/system").await;
    assert!(
        page.contains("gets no emails since") && page.contains(&b),
        "the page System"
    );
    let metrics = app.anonymous().get("/metrics").await.expect(200).text;
    for line in [
        format!("candor_relay_passed_over{{relay=\"{a}\"}} 1"),
        format!("candor_relay_passed_over{{relay=\"{b}\"}} 0"),
        format!("candor_relay_accepted_total{{relay=\"{b}\"}} {PEOPLE}"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    let page = app.admin_page(&format!("/admin/notices/{notice}")).await;
    assert!(page.contains(&format!("by {b}")), "the deliveries");
    // Without an email to send, Candor finds out that the first one works again.
    first.behave();
    wait_until("the first to be used again", DEADLINE, async || {
        faults().await.is_empty()
    })
    .await;
    let update = app.tell(&incident, "update").await;
    assert_eq!((first.count(), second.count()), (PEOPLE, PEOPLE));
    let history = app.all("/api/v1/people/person-1/history").await;
    let relays: Vec<&Value> = history.iter().map(|entry| &entry["relay"]).collect();
    assert!(
        relays.contains(&&json!(a)) && relays.contains(&&json!(b)),
        "{history:?}"
    );
    for delivery in app.deliveries(&update).await {
        assert_eq!(delivery["relay"], a, "{delivery}");
    }
    let events = async |action: &str| app.all(&format!("/api/v1/audit?action={action}")).await;
    let (fails, works) = (
        events("mail_server.fails").await,
        events("mail_server.works").await,
    );
    assert_eq!((fails.len(), works.len()), (1, 1), "{fails:?} {works:?}");
    assert_eq!(fails[0]["subject"]["id"], a, "{fails:?}");
    assert_eq!(fails[0]["after"]["taken_over_by"], b, "{fails:?}");
    app.finish().await;
}

async fn both_fail_and_come_back(env: Env) {
    let (first, second) = (usual(), usual());
    die(&first);
    die(&second);
    let app = with_two(&env, &first, &second, 1).await;
    let (_, notice) = app.tell_crowd(crowd(PEOPLE)).await;
    let text = format!(
        "The mail servers {} and {} do not answer.",
        name(&first),
        name(&second)
    );
    wait_until("the fault", DEADLINE, async || {
        let now = app.get("/api/v1/now").await.expect(200);
        now["faults"].to_string().contains(&text)
    })
    .await;
    // While one of them is tried again, the page can say for a moment that the other one has taken over.
    wait_until(
        "a page that says that nobody has taken over",
        DEADLINE,
        async || !app.admin_page("/admin").await.contains("has taken over"),
    )
    .await;
    second.behave();
    let done = app.done(&notice).await;
    assert_eq!(done["counts"]["sent"], PEOPLE, "{done}");
    assert_eq!((first.count(), second.count()), (0, PEOPLE));
    app.finish().await;
}
