//! A file of evidence can be verified without Candor, by two implementations. A file about a customer contains nothing about anybody
//! else, and every manipulation of a file is found.

use candor::audit::checkpoint::Checkpoint;
use candor::audit::note::{SigningKey, signed};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::evidence::{Evidence, hash, said, stored};
use crate::support::{ADMIN_TOKEN, Backend, Binary, Env, Mail, TestApp, on_both_databases, on_one_database};

on_both_databases!(
    a_file_about_everybody_is_complete_and_proven,
    a_file_about_a_customer_has_nothing_of_others,
    what_was_changed_in_the_database_is_found,
);

on_one_database!(
    every_manipulation_is_found,
    what_is_wrong_is_refused,
    the_pages_offer_the_files,
    the_program_verifies_without_a_database,
);

const ORIGIN: &str = "candor.example";
const OPENED: &str = "2024-04-20T10:00:00Z";
const FORM: &str = "application/x-www-form-urlencoded";

/// Acme with Ann (owner) and Al (member), Beta with Bob (owner), and Cleo, who owns both. Each account has files.
fn directory() -> String {
    let person = |id: &str, name: &str| json!({"kind": "person", "id": id, "name": name, "email": format!("{id}@mail.example")});
    let member = |account: &str, person: &str, role: &str| json!({"kind": "member", "account": account, "person": person, "role": role});
    let file = |id: &str, account: &str| json!({"kind": "resource", "type": "file", "id": id, "account": account, "name": format!("{id}.mov")});
    let lines = [
        json!({"kind": "account", "id": "acme-id", "name": "Acme Pictures"}),
        json!({"kind": "account", "id": "beta-id", "name": "Beta Sound"}),
        person("ann-id", "Ann Alder"),
        person("al-id", "Al Aspen"),
        person("bob-id", "Bob Birch"),
        person("cleo-id", "Cleo Cedar"),
        member("acme-id", "ann-id", "owner"),
        member("acme-id", "al-id", "editor"),
        member("acme-id", "cleo-id", "owner"),
        member("beta-id", "bob-id", "owner"),
        member("beta-id", "cleo-id", "owner"),
        file("acme-file", "acme-id"),
        file("beta-file", "beta-id"),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// An incident that was told, answered and noted.
struct Told {
    app: TestApp,
    incident: String,
    key: SigningKey,
    mails: Vec<Mail>,
}

impl Told {
    async fn start(env: &Env) -> Told {
        let key = SigningKey::generate(ORIGIN).expect("a key");
        let own = key.clone();
        let app = TestApp::builder(env)
            .at(OPENED)
            .config(|config| config.audit_key = Some(own))
            .start()
            .await;
        app.import(directory()).await.expect(200);
        let new = json!({
            "title": "Uploads of Acme Pictures and Beta Sound are lost", "severity": "major", "time_zone": "Africa/Nairobi",
            "headline": "Uploads fail",
            "affected": [{"type": "file", "id": "acme-file"}, {"type": "file", "id": "beta-file"}],
        });
        let incident = app.post("/api/v1/incidents", new).await.expect(201).id();
        let told = Told {
            app,
            incident,
            key,
            mails: Vec::new(),
        };
        told.note("Beta Sound called, and Acme Pictures too.", true).await;
        told.note("We restore the uploads.", false).await;
        told.app.tell(&told.incident, "detection").await;
        let mails = told.app.mails(3).await;
        let told = Told { mails, ..told };
        told.answer(
            "ann-id@mail.example",
            "broken",
            "Still broken for me & my <team>.",
        )
        .await;
        told.answer("bob-id@mail.example", "works", "").await;
        told
    }

    async fn note(&self, text: &str, internal: bool) {
        let entry = json!({"kind": "note", "text": text, "internal": internal});
        self.app
            .post(&format!("/api/v1/incidents/{}/timeline", self.incident), entry)
            .await
            .expect(201);
    }

    /// Answers by the link in the email to this address.
    async fn answer(&self, address: &str, answer: &str, text: &str) {
        let mail = self
            .mails
            .iter()
            .rfind(|mail| mail.to == address)
            .expect("an email");
        let ending = format!("?answer={answer}");
        let link = mail
            .text
            .split_whitespace()
            .find(|word| word.contains("/answers/") && word.ends_with(&ending))
            .expect("a link");
        let (_, path) = link.split_once("/answers/").expect("a path");
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("answer", answer), ("text", text)])
            .finish();
        self.app
            .anonymous()
            .post_raw(&format!("/answers/{path}"), FORM, form)
            .await
            .expect(200);
    }

    async fn evidence(&self, query: &str) -> Evidence {
        self.app.evidence(&self.incident, query).await
    }
}

fn rows(evidence: &Evidence, name: &str) -> Vec<Value> {
    evidence.json(name).as_array().expect("rows").clone()
}

async fn a_file_about_everybody_is_complete_and_proven(env: Env) {
    let told = Told::start(&env).await;
    let evidence = told.evidence("").await;
    for name in [
        "index.html",
        "VERIFY.md",
        "verify_evidence.py",
        "manifest.json",
        "data/incident.json",
        "data/notices.json",
        "data/attempts.ndjson",
        "audit/events.ndjson",
        "audit/proofs.json",
        "audit/checkpoint",
        "audit/key",
    ] {
        assert!(
            evidence.0.contains_key(name),
            "no {name} in {:?}",
            evidence.names()
        );
    }
    for table in [
        "timeline",
        "affected",
        "recipients",
        "deliveries",
        "answers",
        "corrections",
        "recovery",
    ] {
        for kind in ["json", "csv"] {
            assert!(
                evidence.0.contains_key(&format!("data/{table}.{kind}")),
                "no {table}.{kind}"
            );
        }
    }
    assert_eq!(evidence.text("audit/key").trim(), told.key.verifier().to_string());
    let deliveries = rows(&evidence, "data/deliveries.json");
    assert_eq!(deliveries.len(), 3, "{deliveries:#?}");
    // The emails are those that arrived.
    for mail in &told.mails {
        let row = deliveries
            .iter()
            .find(|row| row["address"] == mail.to.as_str())
            .expect("a row");
        let name = row["email"].as_str().expect("an email");
        assert_eq!(evidence.0[name], mail.caught.data, "{name}");
        assert_eq!(row["state"], "sent");
    }
    let csv = evidence.text("data/answers.csv");
    assert!(
        csv.contains("ann-id") && csv.contains("Still broken for me & my <team>."),
        "{csv}"
    );
    let page = evidence.text("index.html");
    for shown in [
        "Uploads of Acme Pictures and Beta Sound are lost",
        "Ann Alder",
        "bob-id@mail.example",
        "Still broken for me &amp; my &lt;team&gt;.",
        "Beta Sound called",
        "2024-04-20 10:00:00 UTC (2024-04-20T13:00:00+03:00)",
        "You receive this because you own Acme Pictures",
    ] {
        assert!(page.contains(shown), "no {shown} in {page}");
    }
    assert!(
        !page.contains("<script") && page.contains("default-src 'none'"),
        "{page}"
    );
    let proven = evidence
        .verified(&env, Some(told.key.verifier()))
        .expect_proven()
        .join("\n");
    for sentence in [
        "1 notices and 3 of their recipients are what was frozen before sending (1 whole lists)",
        "3 attempts",
        "3 emails are byte for byte",
        "are earlier states of this trail",
        "2 answers",
    ] {
        assert!(proven.contains(sentence), "no {sentence} in {proven}");
    }
    // The event about the file is in the trail, and says who made it of what.
    let events = told
        .app
        .get("/api/v1/audit?action=evidence.exported")
        .await
        .expect(200);
    let event = &events.items()[0];
    assert_eq!(event["after"]["manifest"], hash(&evidence.0["manifest.json"]));
    assert_eq!(event["after"]["person"], Value::Null);
    assert_eq!(event["subject"]["id"], told.incident.as_str());
    // The same data gives the same bytes: nothing but the events in between and the time differs.
    let again = told.evidence("").await;
    for (name, content) in &evidence.0 {
        let may_differ = name.starts_with("audit/") || name == "manifest.json";
        assert!(may_differ || again.0[name] == *content, "{name} differs");
    }
    again.verified(&env, Some(told.key.verifier())).expect_proven();
    told.app.finish().await;
}

async fn a_file_about_a_customer_has_nothing_of_others(env: Env) {
    let told = Told::start(&env).await;
    const ACME: [&str; 6] = [
        "acme-id",
        "Acme Pictures",
        "acme-file",
        "ann-id",
        "Ann Alder",
        "al-id@",
    ];
    const BETA: [&str; 5] = ["beta-id", "Beta Sound", "beta-file", "bob-id", "Bob Birch"];
    const CLEO: [&str; 1] = ["Cleo Cedar"];
    let cases: [(&str, &[&str], Vec<&str>, usize); 4] = [
        (
            "?person=ann-id",
            &["ann-id", "Ann Alder", "acme-file", "Still broken"],
            [&BETA[..], &CLEO, &["cleo-id"]].concat(),
            1,
        ),
        (
            "?person=bob-id",
            &["bob-id", "Bob Birch", "beta-file"],
            [&ACME[..], &CLEO, &["cleo-id"]].concat(),
            1,
        ),
        // The email to Cleo names both accounts, so neither of them gets it.
        (
            "?account=acme-id",
            &["ann-id", "Ann Alder", "cleo-id", "acme-file"],
            BETA.to_vec(),
            1,
        ),
        (
            "?account=beta-id",
            &["bob-id", "Bob Birch", "cleo-id", "beta-file"],
            ACME.to_vec(),
            1,
        ),
    ];
    for (query, own, others, emails) in cases {
        let evidence = told.evidence(query).await;
        let all: Vec<(String, String)> = evidence
            .0
            .iter()
            .map(|(name, content)| (name.clone(), String::from_utf8_lossy(content).into_owned()))
            .collect();
        for text in own {
            assert!(
                all.iter().any(|(_, content)| content.contains(text)),
                "{query}: no {text}"
            );
        }
        for (name, content) in &all {
            for text in &others {
                assert!(
                    !content.contains(text) && !name.contains(text),
                    "{query}: {text} in {name}: {content}"
                );
            }
            assert!(
                !content.contains("called, and"),
                "{query}: an internal note in {name}"
            );
        }
        assert!(
            evidence
                .text("data/timeline.csv")
                .contains("We restore the uploads.")
        );
        let mails = evidence
            .names()
            .into_iter()
            .filter(|name| name.starts_with("mails/"));
        assert_eq!(mails.count(), emails, "{query}");
        let proven = evidence
            .verified(&env, Some(told.key.verifier()))
            .expect_proven()
            .join("\n");
        assert!(
            proven.contains(&format!("{emails} of their recipients")),
            "{query}: {proven}"
        );
        assert!(!proven.contains("Nothing but the manifest"), "{query}: {proven}");
    }
    // Of the withheld email, the file says that it was sent.
    let evidence = told.evidence("?account=acme-id").await;
    let recipients = rows(&evidence, "data/recipients.json");
    let cleo = recipients
        .iter()
        .find(|row| row["address"] == "cleo-id@mail.example")
        .expect("a row");
    assert!(cleo["withheld"].is_string() && cleo["reason"] == "", "{cleo}");
    let deliveries = rows(&evidence, "data/deliveries.json");
    assert!(
        deliveries
            .iter()
            .any(|row| row["people"] == json!(["cleo-id"]) && row["state"] == "sent")
    );
    // Cleo gets the whole email, which names both accounts.
    let evidence = told.evidence("?person=cleo-id").await;
    assert!(evidence.text("data/recipients.csv").contains("Beta Sound"));
    evidence.verified(&env, Some(told.key.verifier())).expect_proven();
    // Al is a member, and got nothing.
    let evidence = told.evidence("?person=al-id").await;
    assert_eq!(rows(&evidence, "data/deliveries.json"), Vec::<Value>::new());
    assert!(
        evidence
            .text("index.html")
            .contains("This file contains no notice")
    );
    evidence.verified(&env, Some(told.key.verifier())).expect_proven();
    told.app.finish().await;
}

/// Changes one file.
type Change = Box<dyn Fn(&mut Evidence)>;

async fn every_manipulation_is_found(env: Env) {
    let told = Told::start(&env).await;
    let early = told.evidence("").await;
    told.answer("cleo-id@mail.example", "help", "Please call.").await;
    let good = told.evidence("").await;
    let own = told.evidence("?person=ann-id").await;
    let key = told.key.verifier();
    good.verified(&env, Some(key)).expect_proven();
    own.verified(&env, None).expect_proven();
    let signing = told.key.clone();
    let earlier_note = early.text("audit/checkpoint").to_owned();
    let earlier_size: i64 = earlier_note
        .lines()
        .nth(1)
        .expect("a size")
        .parse()
        .expect("a number");
    let mail = good
        .names()
        .into_iter()
        .find(|name| name.starts_with("mails/"))
        .expect("an email")
        .to_owned();
    let changed_mail = {
        let mail = mail.clone();
        move |file: &mut Evidence| file.replace(&mail, "What we have to say", "What we like to say")
    };
    let list = good
        .names()
        .into_iter()
        .find(|name| name.starts_with("data/recipients/"))
        .expect("a list")
        .to_owned();
    let changed_list = {
        let list = list.clone();
        move |file: &mut Evidence| file.replace(&list, "ann-id@mail.example", "eve-id@mail.example")
    };
    let seq_of = |file: &Evidence, index: usize| file.events()[index][0].to_string();
    let cases: Vec<(&str, Change, &str)> = vec![
        (
            "the text of an event",
            Box::new(|file: &mut Evidence| {
                file.replace(
                    "audit/events.ndjson",
                    "admin (from the settings)",
                    "somebody else",
                )
            }),
            "is not in the tree",
        ),
        (
            "the time of an event",
            Box::new(|file: &mut Evidence| {
                let mut lines = file.event_lines();
                let fields: Value = serde_json::from_str(&lines[0]).expect("an event");
                let at = fields[1].as_i64().expect("a time");
                lines[0] = lines[0].replacen(&at.to_string(), &(at + 1).to_string(), 1);
                file.put_events(&lines);
            }),
            "is not in the tree",
        ),
        (
            "the order of the events",
            Box::new(|file: &mut Evidence| {
                let mut lines = file.event_lines();
                lines.swap(0, 1);
                file.put_events(&lines);
            }),
            "the order was changed",
        ),
        (
            "an event that is removed",
            Box::new(|file: &mut Evidence| {
                let mut lines = file.event_lines();
                lines.remove(1);
                file.put_events(&lines);
            }),
            "a proof of an event that is missing",
        ),
        (
            "an event that is removed with its proof",
            Box::new(|file: &mut Evidence| remove_event(file, 1)),
            "is in the manifest and missing",
        ),
        (
            "an event that is removed with its proof and its line of the manifest",
            Box::new(|file: &mut Evidence| {
                remove_event(file, 1);
                file.adapt_manifest();
            }),
            "the hash of another manifest",
        ),
        (
            "an email",
            Box::new(changed_mail.clone()),
            "is not what the manifest lists",
        ),
        (
            "an email and the manifest",
            Box::new(move |file: &mut Evidence| {
                changed_mail(file);
                file.adapt_manifest();
            }),
            "the hash of another manifest",
        ),
        (
            "a frozen recipient",
            Box::new(changed_list),
            "is not what the manifest lists",
        ),
        (
            "a recipient in the data and the manifest",
            Box::new(|file: &mut Evidence| {
                file.replace(
                    "data/recipients.json",
                    "ann-id@mail.example",
                    "eve-id@mail.example",
                );
                file.adapt_manifest();
            }),
            "the hash of another manifest",
        ),
        (
            "a time in the timeline and the manifest",
            Box::new(|file: &mut Evidence| {
                file.replace(
                    "data/timeline.json",
                    "2024-04-20T10:00:00Z",
                    "2024-04-20T09:00:00Z",
                );
                file.adapt_manifest();
            }),
            "the hash of another manifest",
        ),
        (
            "the text of the checkpoint",
            Box::new(|file: &mut Evidence| {
                let note = file.text("audit/checkpoint").to_owned();
                let size = note.lines().nth(1).expect("a size").to_owned();
                let more = format!("\n{}\n", size.parse::<i64>().expect("a number") + 1);
                file.put(
                    "audit/checkpoint",
                    note.replacen(&format!("\n{size}\n"), &more, 1),
                );
            }),
            "the signature does not match the text",
        ),
        (
            "a checkpoint that another key signed",
            Box::new(|file: &mut Evidence| {
                let other = SigningKey::generate(ORIGIN).expect("a key");
                let note = file.text("audit/checkpoint").to_owned();
                let (text, _) = note.split_once("\n\n").expect("a note");
                let checkpoint = Checkpoint::parse(&format!("{text}\n")).expect("a checkpoint");
                file.put("audit/checkpoint", signed(&checkpoint, &other));
                file.put("audit/key", format!("{}\n", other.verifier()));
            }),
            "not the key that was given",
        ),
        (
            "an earlier checkpoint",
            Box::new({
                let note = earlier_note.clone();
                move |file: &mut Evidence| file.put("audit/checkpoint", note.clone())
            }),
            "audit/proofs.json is",
        ),
        (
            "an earlier checkpoint and its size in the proofs",
            Box::new(move |file: &mut Evidence| {
                file.put("audit/checkpoint", earlier_note.clone());
                let mut proofs = file.json("audit/proofs.json");
                proofs["size"] = json!(earlier_size);
                file.put("audit/proofs.json", proofs.to_string());
            }),
            "is not in the tree",
        ),
        (
            "a checkpoint of another trail that the right key signed",
            Box::new(move |file: &mut Evidence| {
                let size = file.json("audit/proofs.json")["size"].as_i64().expect("a size");
                let checkpoint = Checkpoint {
                    origin: ORIGIN.to_owned(),
                    size,
                    root: [7; 32],
                };
                file.put("audit/checkpoint", signed(&checkpoint, &signing));
            }),
            "is not in the tree",
        ),
        (
            "swapped proofs",
            Box::new(move |file: &mut Evidence| {
                let (one, other) = (seq_of(file, 0), seq_of(file, 1));
                let mut proofs = file.json("audit/proofs.json");
                let events = &mut proofs["events"];
                let kept = events[&one].clone();
                events[&one] = events[&other].clone();
                events[&other] = kept;
                file.put("audit/proofs.json", proofs.to_string());
            }),
            "is not in the tree",
        ),
        (
            "a proof of an earlier checkpoint",
            Box::new(|file: &mut Evidence| {
                let mut proofs = file.json("audit/proofs.json");
                proofs["consistency"] = json!({});
                file.put("audit/proofs.json", proofs.to_string());
            }),
            "the proof for the checkpoint of",
        ),
        (
            "a file that is added",
            Box::new(|file: &mut Evidence| file.put("data/more.json", "[]")),
            "is not in the manifest",
        ),
        (
            "a file that is removed",
            Box::new(|file: &mut Evidence| {
                file.0.remove("data/answers.csv");
            }),
            "is missing",
        ),
        (
            "whom the file is about",
            Box::new(|file: &mut Evidence| {
                let mut manifest = file.json("manifest.json");
                manifest["about"]["person"] = json!("bob-id");
                file.put(
                    "manifest.json",
                    serde_json::to_vec_pretty(&manifest).expect("JSON"),
                );
            }),
            "the hash of another manifest",
        ),
    ];
    for (what, change, fault) in cases {
        for (whole, file) in [(true, &good), (false, &own)] {
            let mut changed = file.clone();
            let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change(&mut changed)));
            // The file about one person has no drafts, and fewer events.
            if applied.is_err() {
                assert!(!whole, "{what} could not be changed");
                continue;
            }
            assert_ne!(changed, *file, "{what} changed nothing");
            changed.verified(&env, Some(key)).expect_fault(what, fault);
        }
    }
    // Two parts with the same name: one program may read the first, and another one the second.
    let mut twice = good.clone();
    twice.put("index.htmX", "<p>Nothing happened.</p>");
    let mut bytes = twice.zipped();
    for at in 0..bytes.len() - 10 {
        if &bytes[at..at + 10] == b"index.htmX" {
            bytes[at + 9] = b'l';
        }
    }
    said(&stored(&env, "twice.zip", &bytes), Some(key)).expect_fault("a part twice", "the same name");
    told.app.finish().await;
}

/// Removes an event of a file, and its proof.
fn remove_event(file: &mut Evidence, index: usize) {
    let mut lines = file.event_lines();
    let seq = file.events()[index][0].to_string();
    lines.remove(index);
    file.put_events(&lines);
    let mut proofs = file.json("audit/proofs.json");
    proofs["events"].as_object_mut().expect("proofs").remove(&seq);
    file.put("audit/proofs.json", proofs.to_string());
}

/// Removes the triggers that protect rows, as somebody with full rights on the database would do first.
fn disarm(env: &Env, table: &str) {
    match env.backend {
        Backend::Sqlite => {
            let triggers = env.texts(&format!(
                "SELECT name AS value FROM sqlite_master WHERE type = 'trigger' AND tbl_name = '{table}'"
            ));
            for trigger in triggers {
                env.sql(&format!("DROP TRIGGER {trigger}"))
                    .expect("a trigger less");
            }
        }
        Backend::Postgres => env
            .sql(&format!("ALTER TABLE {table} DISABLE TRIGGER USER"))
            .expect("no triggers"),
    }
}

/// The manifest of such a file is right, because it was made after the change. The digests in the events are not.
async fn what_was_changed_in_the_database_is_found(env: Env) {
    let told = Told::start(&env).await;
    let key = told.key.verifier().clone();
    let cases = [
        (
            "delivery_attempts",
            "UPDATE delivery_attempts SET reply = 'changed ' || reply",
            ["the attempts of the batch", "is not in the batch"],
        ),
        (
            "answers",
            "UPDATE answers SET text = 'It works.' WHERE person_id = 'ann-id'",
            ["an answer of ann-id is not what was recorded"; 2],
        ),
        (
            "notice_recipients",
            "UPDATE notice_recipients SET address = 'eve@mail.example' WHERE person_id = 'ann-id'",
            [
                "is not the list whose digest",
                "is not in the list that was frozen",
            ],
        ),
    ];
    for (table, statement, faults) in cases {
        let undo = env.texts(&undo_of(table));
        disarm(&env, table);
        env.sql(statement).expect(statement);
        for (query, fault) in [("", faults[0]), ("?person=ann-id", faults[1])] {
            let evidence = told.evidence(query).await;
            let said = evidence.verified(&env, Some(&key));
            let ours = said.ours.clone();
            assert!(ours.is_err(), "{table} {query}: {ours:?}");
            assert!(!said.script.0, "{table} {query}: {}", said.script.1);
            let found = ours.expect_err("a fault");
            // One attempt can be a batch of its own, which the file has as a whole.
            assert!(
                found.contains(fault) || found.contains(faults[0]),
                "{table} {query}: {found}"
            );
        }
        for statement in undo {
            env.sql(&statement).expect("undone");
        }
    }
    told.evidence("").await.verified(&env, Some(&key)).expect_proven();
    told.app.finish().await;
}

/// Returns a query for the statements that put back what stands in a table now.
fn undo_of(table: &str) -> String {
    match table {
        "delivery_attempts" => "SELECT 'UPDATE delivery_attempts SET reply = ''' || reply || ''' WHERE delivery_id = ' || \
             CAST(delivery_id AS TEXT) || ' AND attempt = ' || CAST(attempt AS TEXT) AS value FROM delivery_attempts"
            .to_owned(),
        "answers" => {
            "SELECT 'UPDATE answers SET text = ''' || text || ''' WHERE id = ' || CAST(id AS TEXT) AS value FROM answers".to_owned()
        }
        _ => "SELECT 'UPDATE notice_recipients SET address = ''' || address || ''' WHERE person_id = ''' || person_id || '''' AS value \
              FROM notice_recipients"
            .to_owned(),
    }
}

async fn what_is_wrong_is_refused(env: Env) {
    let told = Told::start(&env).await;
    let path = format!("/api/v1/incidents/{}/evidence", told.incident);
    let app = &told.app;
    app.get(&format!("{path}?person=nobody"))
        .await
        .expect_invalid("?person");
    app.get(&format!("{path}?account=nobody"))
        .await
        .expect_invalid("?account");
    app.get(&format!("{path}?person="))
        .await
        .expect_invalid("?person");
    app.get(&format!("{path}?persn=ann-id"))
        .await
        .expect_invalid("?persn");
    app.get(&format!("{path}?person=ann-id&account=acme-id"))
        .await
        .expect_invalid("?account");
    app.get("/api/v1/incidents/018f0000-0000-7000-8000-000000000000/evidence")
        .await
        .expect_problem(404);
    app.anonymous().get(&path).await.expect_problem(401);
    app.as_new("viewer").await.get(&path).await.expect_problem(403);
    assert_eq!(env.count("audit_events WHERE action = 'evidence.exported'"), 0);
    let operator = app.as_new("operator").await;
    operator.request(Method::GET, &path).download().await;
    assert_eq!(env.count("audit_events WHERE action = 'evidence.exported'"), 1);
    told.app.finish().await;
}

async fn the_pages_offer_the_files(env: Env) {
    let told = Told::start(&env).await;
    let app = &told.app;
    let browser = Browser::signed_in(app, ADMIN_TOKEN).await;
    let incident = browser.page("/admin/incidents/1").await;
    assert!(incident.contains("/admin/incidents/1/evidence"), "{incident}");
    let person = browser.page("/admin/directory/people/ann-id").await;
    assert!(
        person.contains("/admin/incidents/1/evidence?person&#x3D;ann-id"),
        "{person}"
    );
    let account = browser.page("/admin/directory/accounts/acme-id").await;
    assert!(
        account.contains("/admin/incidents/1/evidence?account&#x3D;acme-id"),
        "{account}"
    );
    let path = "/admin/incidents/1/evidence";
    let form = browser.page(&format!("{path}?account=acme-id")).await;
    assert!(
        form.contains("Download the evidence") && form.contains("value=\"acme-id\""),
        "{form}"
    );
    let key = browser.key(path).await;
    let wrong = browser
        .send(path, &[("form_key", &key), ("person", "nobody"), ("account", "")])
        .await
        .expect(422);
    assert!(
        wrong.text.contains("there is no person with this ID"),
        "{}",
        wrong.text
    );
    let file = browser
        .send(path, &[("form_key", &key), ("person", "ann-id"), ("account", "")])
        .await
        .expect(200);
    assert_eq!(file.header("content-type"), "application/zip");
    // Without the key of the form nothing is made.
    browser
        .send(path, &[("person", "ann-id"), ("account", "")])
        .await
        .expect(403);
    assert_eq!(env.count("audit_events WHERE action = 'evidence.exported'"), 1);
    // A viewer is not offered a link.
    let viewer = Browser::signed_in(app, &app.token("viewer").await).await;
    assert!(
        !viewer
            .page("/admin/directory/people/ann-id")
            .await
            .contains("evidence?person")
    );
    told.app.finish().await;
}

async fn the_program_verifies_without_a_database(env: Env) {
    let told = Told::start(&env).await;
    let evidence = told.evidence("").await;
    let file = evidence.stored(&env, "good.zip").display().to_string();
    let key = told.key.verifier().to_string();
    told.app.finish().await;
    // No setting is needed, and a wrong one does not matter.
    let program = Binary::new(&env).setting("database_url", "nonsense://nowhere");
    let good = program
        .run(["audit", "verify", "--evidence", &file, "--key", &key])
        .await
        .expect(0);
    assert!(
        good.stdout.contains("emails are byte for byte what was sent"),
        "{}",
        good.stdout
    );
    let mut changed = evidence.clone();
    changed.replace(
        "audit/events.ndjson",
        "admin (from the settings)",
        "somebody else",
    );
    let file = changed.stored(&env, "changed.zip").display().to_string();
    let bad = program
        .run(["audit", "verify", "--evidence", &file])
        .await
        .expect(1);
    assert!(
        bad.stdout.contains("is not in the tree of the checkpoint"),
        "{}",
        bad.stdout
    );
    let nothing = program
        .run(["audit", "verify", "--evidence", "/nowhere.zip"])
        .await
        .expect(1);
    assert!(nothing.stdout.contains("cannot be opened"), "{}", nothing.stdout);
    program
        .run(["audit", "verify", "--evidence", &file, "--key", "nonsense"])
        .await
        .expect(2);
}
