//! A recovery goes to people as soon as everything of theirs is restored on evidence, to each once. After a relapse they are affected
//! again, and hear it again after the next evidence.

use serde_json::{Value, json};

use crate::support::recovery::{ACME, BETA, OPENED, Stored};
use crate::support::{Env, Mail, TestApp, on_both_databases, without_token};

on_both_databases!(
    each_person_hears_it_when_all_of_theirs_is_restored,
    without_recovery_states_it_is_refused,
    it_must_say_what_the_customer_must_do,
    who_is_named_directly_gets_no_recovery,
    a_relapse_is_told_and_ends_what_was_told,
    who_was_told_still_hears_the_end,
    an_update_has_the_figures_of_each_reader,
    a_message_shows_figures_only_if_there_are_any,
    a_relapse_between_two_waves_holds_the_next_one,
    the_audience_says_what_was_found_and_what_is_restored,
    a_system_hears_it_when_all_of_its_account_is_restored,
    a_drill_tells_nobody_in_earnest,
    the_numbers_are_on_the_pages,
    the_mails_read_as_in_their_snapshots,
);

async fn start(env: &Env) -> Stored {
    Stored::told(TestApp::builder(env).at(OPENED).start().await).await
}

async fn each_person_hears_it_when_all_of_theirs_is_restored(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    // Nothing is restored, so the draft is for nobody.
    let draft = app.draft(&stored.incident, "recovery").await;
    assert_eq!(stored.got(&draft).await, Vec::<String>::new());
    let digest = app.digest(&draft).await;
    app.send(&draft, &digest).await.expect_invalid("");
    // Three of the four files of Ann: only Cleo's and Bob's are complete.
    stored
        .recover("2024-04-20T11:00:00Z", &["a1", "a2", "a3", BETA])
        .await;
    assert_eq!(stored.got(&draft).await, ["bob", "cleo"]);
    app.send_as_previewed(&draft).await;
    app.done(&draft).await;
    let mails = app.mails(5).await;
    let recoveries: Vec<&Mail> = mails[3..].iter().collect();
    for mail in &recoveries {
        assert!(mail.text.contains("is restored."), "{}", mail.text);
        // It asks for an answer, and nobody can opt out of it.
        assert!(mail.text.contains("answer=works"), "{}", mail.text);
        assert!(
            !mail.text.contains("This is an optional progress update"),
            "{}",
            mail.text
        );
    }
    // Nobody hears it twice, and nobody before everything is restored.
    assert_eq!(stored.would_get("recovery").await, Vec::<String>::new());
    stored.recover("2024-04-20T12:00:00Z", &["a4"]).await;
    for account in ["acme", "beta"] {
        let progress = app
            .get(&format!("/api/v1/accounts/{account}/recovery"))
            .await
            .expect(200);
        assert_eq!(progress["items"][0]["notified"], 1, "{account}");
    }
    assert_eq!(stored.tell("recovery").await, ["ann"]);
    assert_eq!(app.mails(6).await[5].to, "ann@example.com");
    assert_eq!(stored.would_get("recovery").await, Vec::<String>::new());
    stored.app.finish().await;
}

async fn without_recovery_states_it_is_refused(env: Env) {
    let stored = Stored::opened(TestApp::builder(&env).at(OPENED).start().await).await;
    let body = json!({"phase": "recovery", "message": "It is back.", "customer_action": {"required": false}});
    let refused = stored.app.post(&stored.path("/notices"), body).await;
    let refused = refused.expect_invalid("/phase");
    assert_eq!(refused["errors"][0]["code"], "no_recovery_states");
    stored.app.finish().await;
}

async fn it_must_say_what_the_customer_must_do(env: Env) {
    let stored = start(&env).await;
    let body = json!({"phase": "recovery", "message": "It is back."});
    let refused = stored.app.post(&stored.path("/notices"), body).await;
    refused.expect_invalid("/customer_action");
    stored.app.finish().await;
}

/// No evidence can show that the incident is over for a person who is named directly, so the pages and the previews say so.
async fn who_is_named_directly_gets_no_recovery(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    let (add, people) = (stored.path("/affected/people"), json!({"people": ["bob"]}));
    app.post(&add, people.clone()).await.expect(200);
    stored.recover("2024-04-20T11:00:00Z", &[BETA]).await;
    assert_eq!(stored.would_get("recovery").await, Vec::<String>::new());
    let progress = app.get(&stored.path("/recovery")).await.expect(200);
    assert_eq!(progress["people_named_directly"], 1);
    let page = app.admin_page("/admin/incidents/1/recovery").await;
    assert!(page.contains("1 person is named directly"), "{page}");
    for (phase, says) in [
        (
            "recovery",
            "1 person is named directly and cannot count as restored",
        ),
        (
            "resolution",
            "does not know whether the incident is over for them",
        ),
    ] {
        if phase == "resolution" {
            app.resolve(&stored.incident).await;
        }
        let draft = app.draft(&stored.incident, phase).await;
        let preview = app.preview(&draft).await.expect(200);
        let warnings = preview["warnings"].to_string();
        assert!(warnings.contains(says), "{phase}: {warnings}");
        app.delete(&format!("/api/v1/notices/{draft}")).await.expect(204);
    }
    app.post(&format!("{add}/remove"), people).await.expect(200);
    assert_eq!(stored.tell("recovery").await, ["bob"]);
    stored.app.finish().await;
}

async fn a_relapse_is_told_and_ends_what_was_told(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    stored.recover("2024-04-20T11:00:00Z", &[BETA]).await;
    assert_eq!(stored.tell("recovery").await, ["bob"]);
    // Everybody heard the detection, so another one reaches nobody.
    assert_eq!(stored.would_get("detection").await, Vec::<String>::new());
    stored.relapse("2024-04-20T12:00:00Z", &[BETA]).await;
    let now = app.get("/api/v1/now").await.expect(200);
    let needs = now["needs"].as_array().expect("needs");
    let relapsed = needs.iter().find(|need| need["kind"] == "relapsed_people");
    assert_eq!(relapsed.expect("the need")["count"], 1);
    // He is affected again: the detection reaches exactly him, and a recovery does not.
    assert_eq!(stored.would_get("recovery").await, Vec::<String>::new());
    app.set_clock("2024-04-20T12:30:00Z");
    assert_eq!(stored.tell("detection").await, ["bob"]);
    assert_eq!(stored.would_get("detection").await, Vec::<String>::new());
    let now = app.get("/api/v1/now").await.expect(200);
    let needs = now["needs"].as_array().expect("needs");
    assert!(
        needs.iter().all(|need| need["kind"] != "relapsed_people"),
        "{needs:#?}"
    );
    // After the next evidence he hears it again, once.
    stored.recover("2024-04-20T13:00:00Z", &[BETA]).await;
    assert_eq!(stored.tell("recovery").await, ["bob"]);
    assert_eq!(stored.would_get("recovery").await, Vec::<String>::new());
    stored.app.finish().await;
}

async fn who_was_told_still_hears_the_end(env: Env) {
    let stored = start(&env).await;
    stored.recover("2024-04-20T11:00:00Z", &[BETA, "a1"]).await;
    assert_eq!(stored.tell("recovery").await, ["bob", "cleo"]);
    stored.recover("2024-04-20T12:00:00Z", &["a2", "a3", "a4"]).await;
    stored.app.resolve(&stored.incident).await;
    assert_eq!(stored.tell("resolution").await, ["ann", "bob", "cleo"]);
    assert_eq!(stored.tell("report").await, ["ann", "bob", "cleo"]);
    stored.app.finish().await;
}

async fn an_update_has_the_figures_of_each_reader(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    stored.recover("2024-04-20T11:00:00Z", &["a1", "a2"]).await;
    let body = json!({"phase": "update", "message": "Now {{recovery.restored}} of {{recovery.affected}}, {{recovery.left}} left."});
    let notice = app.post(&stored.path("/notices"), body).await.expect(201).id();
    let before = app.digest(&notice).await;
    // The figures are part of what is approved and sent.
    stored.recover("2024-04-20T11:10:00Z", &["a3"]).await;
    assert_ne!(app.digest(&notice).await, before);
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let mails = app.mails(6).await;
    for (to, sentence, message) in [
        (
            "ann",
            "3 of your 4 affected files are restored so far.",
            "Now 3 of 4, 1 left.",
        ),
        (
            "bob",
            "Your affected file is not restored yet.",
            "Now 0 of 1, 1 left.",
        ),
        ("cleo", "Your affected file is restored.", "Now 1 of 1, 0 left."),
    ] {
        let mail = mails[3..]
            .iter()
            .find(|mail| mail.to.starts_with(&format!("{to}@")))
            .expect("the email");
        for part in [&mail.flat(), &mail.html] {
            assert!(part.contains(sentence) && part.contains(message), "{part}");
        }
    }
    stored.app.finish().await;
}

async fn a_message_shows_figures_only_if_there_are_any(env: Env) {
    let stored = Stored::opened(TestApp::builder(&env).at(OPENED).start().await).await;
    let app = &stored.app;
    let body = json!({"phase": "update", "message": "{{recovery.summary}}"});
    let refused = app.post(&stored.path("/notices"), body.clone()).await;
    let refused = refused.expect_invalid("/message");
    assert_eq!(refused["errors"][0]["code"], "no_recovery_states");
    // Whoever has no affected resource has no figures, and nobody gets an email with a hole.
    stored.begin(&ACME).await;
    let person = json!({"name": "Dee", "email": "dee@example.com"});
    app.put("/api/v1/people/dee", person).await.expect(201);
    let named = json!({"people": ["dee"]});
    app.post(&stored.path("/affected/people"), named)
        .await
        .expect(200);
    let notice = app.post(&stored.path("/notices"), body).await.expect(201).id();
    let digest = app.digest(&notice).await;
    let refused = app.send(&notice, &digest).await.expect_invalid("/values");
    assert_eq!(refused["code"], "values_missing");
    stored.app.finish().await;
}

async fn a_relapse_between_two_waves_holds_the_next_one(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    stored.recover("2024-04-20T11:00:00Z", &[BETA, "a1"]).await;
    let notice = app.draft(&stored.incident, "recovery").await;
    let digest = app.digest(&notice).await;
    let waves = json!({"digest": digest, "waves": [{"people": 1}, {"rest": true}], "pause": "manual"});
    app.post(&format!("/api/v1/notices/{notice}/send"), waves)
        .await
        .expect(202);
    let first = app.mails(4).await[3].to.clone();
    // The file of whoever is in the second wave is empty again.
    let (file, person) = match first.as_str() {
        "bob@example.com" => ("a1", "cleo"),
        _ => (BETA, "bob"),
    };
    stored.relapse("2024-04-20T12:00:00Z", &[file]).await;
    let path = format!("/api/v1/notices/{notice}/continue");
    let refused = app.post(&path, json!({"wave": 2})).await.expect_problem(409);
    assert_eq!(refused["code"], "still_impaired");
    app.post(&format!("/api/v1/notices/{notice}/stop"), json!({}))
        .await
        .expect(200);
    let refused = app
        .post(&format!("/api/v1/notices/{notice}/resume"), json!({}))
        .await
        .expect_problem(409);
    assert_eq!(refused["code"], "still_impaired");
    // When it is restored, a new draft reaches exactly that person.
    stored.recover("2024-04-20T13:00:00Z", &[file]).await;
    assert_eq!(stored.tell("recovery").await, [person]);
    stored.app.finish().await;
}

async fn the_audience_says_what_was_found_and_what_is_restored(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    // What a comparison stores with the resource that it found.
    let finding = json!({"kind": "differs", "column": "size", "expected": "642111856", "observed": "0",
        "comparison": "0190a0a0-0000-7000-8000-000000000000"});
    env.sql(&format!(
        "UPDATE incident_resources SET finding = '{finding}' WHERE resource_key IN (SELECT key FROM resources WHERE id IN ('b1', 'a1'))"
    ))
    .expect("a finding");
    stored.recover("2024-04-20T11:00:00Z", &["a1"]).await;
    let audience = app.get(&stored.path("/audience")).await.expect(200);
    let reason = |person: &str, resource: &str| {
        let items = audience["items"].as_array().expect("items");
        let item = items
            .iter()
            .find(|one| one["person"]["id"] == person)
            .expect("a person");
        let reasons = item["reasons"].as_array().expect("reasons");
        reasons
            .iter()
            .find(|one| one["resource"]["id"] == resource)
            .expect("a reason")
            .clone()
    };
    let found = reason("bob", BETA);
    assert_eq!(found["finding"], "expected 642,111,856 bytes, stored 0");
    assert_eq!(found["recovery"], "impaired");
    assert_eq!(reason("ann", "a1")["recovery"], "recovered");
    assert_eq!(reason("ann", "a2")["finding"], Value::Null);
    // A customer reads it in the customer's words, and not about a file that is restored.
    let notice = app.draft(&stored.incident, "update").await;
    app.send_as_previewed(&notice).await;
    let mails = app.mails(6).await;
    for mail in &mails[3..] {
        let expected = usize::from(mail.to.starts_with("bob@"));
        let shown = mail.text.matches("The stored file is empty.").count();
        assert_eq!(shown, expected, "{}", mail.text);
        assert!(
            !mail.text.contains("642,111") && !mail.text.contains("642111"),
            "{}",
            mail.text
        );
        assert_eq!(mail.text.contains("(restored)"), expected == 0, "{}", mail.text);
    }
    stored.app.finish().await;
}

async fn a_system_hears_it_when_all_of_its_account_is_restored(env: Env) {
    use candor::egress::Policy;
    let app = TestApp::builder(&env)
        .at(OPENED)
        .config(|config| config.webhook_allow = Policy::Private)
        .start()
        .await;
    let stored = Stored::told(app).await;
    let app = &stored.app;
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    for account in ["acme", "beta"] {
        let endpoint =
            json!({"url": format!("http://127.0.0.1:9/candor?account={account}"), "secret": secret});
        app.post(&format!("/api/v1/accounts/{account}/endpoints"), endpoint)
            .await
            .expect(201);
    }
    stored.recover("2024-04-20T11:00:00Z", &[BETA, "a1"]).await;
    let notice = app.draft(&stored.incident, "recovery").await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(preview["channels"], json!({"webhook": 1}));
    let data = &preview["endpoint_samples"][0]["payload"]["data"];
    assert_eq!(data["account"]["id"], "beta");
    assert_eq!(data["recovery"], json!({"restored": 1, "affected": 1}));
    stored.app.finish().await;
}

async fn a_drill_tells_nobody_in_earnest(env: Env) {
    let app = TestApp::builder(&env)
        .at(OPENED)
        .config(|config| config.drill_to = vec!["drill@example.com".to_owned()])
        .start()
        .await;
    let stored = Stored::opened(app).await;
    let affected = json!([{"type": "file", "id": BETA}]);
    let body = json!({"title": "A drill", "severity": "major", "affected": affected, "drill": true});
    let incident = stored.app.post("/api/v1/incidents", body).await.expect(201).id();
    let drill = Stored {
        app: stored.app,
        incident,
    };
    drill.begin(&[BETA]).await;
    drill.recover("2024-04-20T11:00:00Z", &[BETA]).await;
    let notice = drill.app.draft(&drill.incident, "recovery").await;
    let preview = drill.app.preview(&notice).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["would_reach"]),
        (&json!(1), &json!(1))
    );
    drill.app.send_as_previewed(&notice).await;
    let mails = drill.app.mails(1).await;
    assert_eq!(mails[0].to, "drill@example.com");
    assert!(mails[0].subject.starts_with("[DRILL]"), "{}", mails[0].subject);
    drill.app.finish().await;
}

async fn the_numbers_are_on_the_pages(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    let page = format!("/admin/incidents/{}", stored.incident);
    // Nothing is restored: nobody is to be notified of it.
    assert!(!app.admin_page(&page).await.contains("that theirs is restored"));
    stored.recover("2024-04-20T11:00:00Z", &[BETA, "a1"]).await;
    let shown = app.admin_page(&page).await;
    assert!(shown.contains("Tell 2 people that theirs is restored"), "{shown}");
    let now = app.get("/api/v1/now").await.expect(200);
    let needs = now["needs"].as_array().expect("needs");
    let need = needs.iter().find(|need| need["kind"] == "recovery");
    assert_eq!(need.expect("the need")["count"], 2);
    let write = app.admin_page(&format!("{page}/write?phase=recovery")).await;
    assert!(
        write.contains("Recovery: everything of theirs is restored"),
        "{write}"
    );
    let restored = app.admin_page(&format!("{page}/people?people=restored")).await;
    assert!(
        restored.contains("Bob") && restored.contains("Cleo") && !restored.contains(">Ann<"),
        "{restored}"
    );
    let impaired = app.admin_page(&format!("{page}/people?people=impaired")).await;
    assert!(
        impaired.contains("1 of 4 restored") && !impaired.contains(">Bob<"),
        "{impaired}"
    );
    let account = app.admin_page("/admin/directory/accounts/acme").await;
    assert!(account.contains("1 of 4"), "{account}");
    let progress = app.get("/api/v1/accounts/acme/recovery").await.expect(200);
    let first = &progress["items"][0];
    assert_eq!(
        (&first["restored"], &first["affected"], &first["notified"]),
        (&json!(1), &json!(4), &json!(0))
    );
    stored.app.finish().await;
}

/// Compares an email with its snapshots. The links differ in each run.
fn compare(name: &str, mail: &Mail) {
    let link = mail.header("list-unsubscribe");
    let redacted = |part: &str| {
        let text = without_token(part).replace("\r\n", "\n").replace(
            link.trim_matches(['<', '>']),
            "https://candor.example/unsubscribe/TOKEN",
        );
        let mut parts = text.split("/answers/");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |whole, part| {
            let (_, after) = part.split_once('?').expect("a chosen answer");
            whole + "/answers/TOKEN?" + after
        })
    };
    let text = format!("Subject: {}\n\n{}", mail.subject, redacted(&mail.text));
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(format!("mail_{name}_text"), text);
        insta::assert_snapshot!(format!("mail_{name}_html"), redacted(&mail.html));
    });
}

async fn the_mails_read_as_in_their_snapshots(env: Env) {
    let app = TestApp::builder(&env)
        .at(OPENED)
        .config(|config| {
            config.mail_from = "Quickbyte <help@quickbyte.example>".to_owned();
            config.public_url = Some("https://candor.example".to_owned());
        })
        .start()
        .await;
    let stored = Stored::told(app).await;
    stored.recover("2024-04-20T11:00:00Z", &ACME).await;
    let body = json!({
        "phase": "recovery", "message": "We have restored your files from the backup of the night before.",
        "customer_action": {"required": true, "text": "Please open one of the files and tell us if it is not as you left it."},
        "headline": "Some large files were stored as empty",
    });
    let notice = stored
        .app
        .post(&stored.path("/notices"), body)
        .await
        .expect(201)
        .id();
    stored.app.send_as_previewed(&notice).await;
    let mails = stored.app.mails(5).await;
    let mail = mails[3..].iter().find(|mail| mail.to.starts_with("ann@"));
    compare("recovery", mail.expect("the email"));
    stored.app.finish().await;
}
