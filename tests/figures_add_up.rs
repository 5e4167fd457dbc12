//! All shown numbers are correct. The API and the pages use the same parts, and the parts add up.

use std::sync::Arc;

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::story::{ADDRESSES, PROJECT};
use crate::support::{DEADLINE, Env, TestApp, complete, on_both_databases, story_directory, wait_until};

on_both_databases!(
    each_person_stands_in_one_part,
    people_who_share_an_address_count_each,
    what_is_still_being_sent_is_not_emailed,
    a_file_in_the_outbox_is_no_accepted_mail,
    a_stopped_notice_adds_up,
    a_policy_that_does_not_fit_sends_nothing,
    a_template_that_drops_what_operators_write_says_so,
);

async fn parts(app: &TestApp, path: &str) -> Value {
    let parts = app.get(path).await.expect(200)["counts"]["partition"].clone();
    let n = |field: &str| {
        parts[field]
            .as_i64()
            .unwrap_or_else(|| panic!("{field}: {parts}"))
    };
    assert_eq!(
        n("people"),
        n("accepted") + n("sending") + n("failed") + n("unreachable") + n("not_notified"),
        "{parts}"
    );
    parts
}

fn part(people: i64, accepted: i64, sending: i64, failed: i64, unreachable: i64, not_notified: i64) -> Value {
    json!({"people": people, "accepted": accepted, "sending": sending, "failed": failed,
        "unreachable": unreachable, "not_notified": not_notified})
}

async fn collaborator(app: &TestApp, person: &str) {
    app.put(
        &format!("/api/v1/resources/project/savanna/collaborators/{person}"),
        json!({"role": "viewer"}),
    )
    .await
    .expect(201);
}

async fn each_person_stands_in_one_part(env: Env) {
    let refuses = Policy::new(|attempt| match attempt.recipient == ADDRESSES[1] {
        true => Decision::Permanent("550 5.1.1 no such user".to_owned()),
        false => Decision::Accept,
    });
    let app = TestApp::builder(&env).smtp_policy(refuses).start().await;
    let incident = app.story_incident().await;
    let audience = format!("/api/v1/incidents/{incident}/audience");
    app.put("/api/v1/people/nobody", json!({"name": "Nobody", "email": ""}))
        .await
        .expect(201);
    collaborator(&app, "nobody").await;
    assert_eq!(parts(&app, &audience).await, part(4, 0, 0, 0, 1, 3));
    let detection = app.tell(&incident, "detection").await;
    assert_eq!(parts(&app, &audience).await, part(4, 2, 0, 1, 1, 0));
    assert_eq!(
        parts(&app, &format!("/api/v1/notices/{detection}")).await,
        part(4, 2, 0, 1, 1, 0)
    );
    collaborator(&app, "grace").await;
    assert_eq!(parts(&app, &audience).await, part(5, 2, 0, 1, 1, 1));
    // A person with a new address can be notified there.
    app.put(
        "/api/v1/people/baraka",
        json!({"name": "Baraka Mushi", "email": "baraka@elsewhere.example"}),
    )
    .await
    .expect(200);
    assert_eq!(parts(&app, &audience).await, part(5, 2, 0, 0, 1, 2));
    let page = app.admin_page(&format!("/admin/incidents/{incident}")).await;
    for text in [
        "5 people",
        "2 of 5 people emailed, 1 not reached, 2 not yet",
        "no address",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    app.finish().await;
}

async fn people_who_share_an_address_count_each(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let held = Policy::new(move |attempt| match attempt.recipient == ADDRESSES[1] {
        true => Decision::Permanent("550 5.1.1 no such user".to_owned()),
        false => Decision::Hold(Arc::clone(&hold)),
    });
    let app = TestApp::builder(&env)
        .smtp_policy(held)
        .send_concurrency(4)
        .start()
        .await;
    let incident = app.story_incident().await;
    let audience = format!("/api/v1/incidents/{incident}/audience");
    // Three people at one mailbox, in several spellings, and two at one that refuses.
    for (id, email) in [
        ("second", ADDRESSES[0].to_uppercase()),
        ("third", format!(" {} ", ADDRESSES[0])),
        ("fourth", ADDRESSES[1].to_owned()),
        ("nobody", String::new()),
    ] {
        app.put(
            &format!("/api/v1/people/{id}"),
            json!({"name": id, "email": email}),
        )
        .await
        .expect(201);
        collaborator(&app, id).await;
    }
    let before = part(7, 0, 0, 0, 1, 6);
    assert_eq!(parts(&app, &audience).await, before);
    let notice = app.draft(&incident, "detection").await;
    let of_notice = format!("/api/v1/notices/{notice}");
    app.send_as_previewed(&notice).await;
    // While it is being sent both say the same, whatever is refused meanwhile.
    wait_until("the refusal", DEADLINE, async || {
        parts(&app, &of_notice).await["failed"] == 2
    })
    .await;
    assert_eq!(parts(&app, &of_notice).await, part(7, 0, 4, 2, 1, 0));
    assert_eq!(parts(&app, &audience).await, part(7, 0, 4, 2, 1, 0));
    permits.add_permits(10);
    app.done(&notice).await;
    let after = part(7, 4, 0, 2, 1, 0);
    assert_eq!(parts(&app, &of_notice).await, after);
    assert_eq!(parts(&app, &audience).await, after);
    // Emails are counted beside the people: one for each address.
    let shown = app.notice(&notice).await;
    assert_eq!(
        (
            &shown["recipients"],
            &shown["counts"]["sent"],
            &shown["counts"]["failed"]
        ),
        (&json!(3), &json!(2), &json!(1))
    );
    for (path, texts) in [
        (
            format!("/admin/notices/{notice}"),
            &["Emailed 4 of 7", "2 failed"][..],
        ),
        (
            format!("/admin/incidents/{incident}"),
            &["4 of 7", "Emailed 4 of 7"],
        ),
        ("/admin".to_owned(), &["4 of 7"]),
        ("/admin/incidents".to_owned(), &["4 of 7"]),
    ] {
        let page = app.admin_page(&path).await;
        for text in texts {
            assert!(page.contains(text), "{path}: {text}: {page}");
        }
    }
    // The trail is whole, and the notice is as it was frozen.
    app.finish().await;
}

async fn what_is_still_being_sent_is_not_emailed(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let policy = Policy::new(move |_| Decision::Hold(Arc::clone(&hold)));
    let app = TestApp::builder(&env)
        .smtp_policy(policy)
        .send_concurrency(1)
        .start()
        .await;
    let incident = app.story_incident().await;
    let audience = format!("/api/v1/incidents/{incident}/audience");
    let notice = app.draft(&incident, "detection").await;
    assert_eq!(
        parts(&app, &format!("/api/v1/notices/{notice}")).await,
        part(0, 0, 0, 0, 0, 0)
    );
    app.send_as_previewed(&notice).await;
    assert_eq!(parts(&app, &audience).await, part(3, 0, 3, 0, 0, 0));
    let page = app.admin_page(&format!("/admin/incidents/{incident}")).await;
    assert!(
        page.contains("0 of 3 people emailed") && page.contains("3 still sending"),
        "{page}"
    );
    let page = app.admin_page(&format!("/admin/notices/{notice}")).await;
    assert!(
        page.contains("Emailed 0 of 3") && page.contains("3 still sending"),
        "{page}"
    );
    permits.add_permits(10);
    app.done(&notice).await;
    assert_eq!(parts(&app, &audience).await, part(3, 3, 0, 0, 0, 0));
    let page = app.admin_page(&format!("/admin/incidents/{incident}")).await;
    assert!(
        page.contains("3 of 3 people emailed, 0 not reached, 0 not yet"),
        "{page}"
    );
    app.finish().await;
}

async fn a_file_in_the_outbox_is_no_accepted_mail(env: Env) {
    let app = TestApp::builder(&env).without_smtp().start().await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    for path in [
        format!("/admin/incidents/{incident}"),
        format!("/admin/notices/{notice}"),
    ] {
        let page = app.admin_page(&path).await;
        assert!(
            !page.contains("mail server accepted") && !page.contains("Emailed 3"),
            "{page}"
        );
    }
    let page = app.admin_page(&format!("/admin/incidents/{incident}")).await;
    assert!(page.contains("written to files <a"), "{page}");
    app.finish().await;
}

async fn a_stopped_notice_adds_up(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let policy = Policy::new(move |_| Decision::Hold(Arc::clone(&hold)));
    let app = TestApp::builder(&env)
        .smtp_policy(policy)
        .send_concurrency(1)
        .start()
        .await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    let path = format!("/api/v1/notices/{notice}/stop");
    let (stopped, ()) = tokio::join!(app.post(&path, json!({})), async {
        wait_until("the notice to be stopped", DEADLINE, async || {
            app.notice(&notice).await["state"] == "stopped"
        })
        .await;
        permits.add_permits(10);
    });
    stopped.expect(200);
    let of_notice = parts(&app, &format!("/api/v1/notices/{notice}")).await;
    let of_audience = parts(&app, &format!("/api/v1/incidents/{incident}/audience")).await;
    assert_eq!(of_notice["people"], 3);
    assert_eq!(of_notice["accepted"], of_audience["accepted"]);
    assert_eq!(of_notice["not_notified"], of_audience["not_notified"]);
    app.finish().await;
}

async fn a_policy_that_does_not_fit_sends_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let by = app.monitoring().await;
    let incident = app.fires(&by, "storage", PROJECT, "critical").await;
    let by_hand = app.incident([("project", PROJECT)]).await;
    let policy = app.policy(json!({"severities": ["minor"]})).await;
    let path = format!("/api/v1/automation/policies/{policy}/try");
    for subject in [incident, by_hand] {
        let trial = app.post(&path, json!({"incident": subject})).await.expect(200);
        assert_eq!(
            (
                &trial["fits"],
                &trial["outcome"],
                &trial["recipients"],
                &trial["reason"]
            ),
            (&json!(false), &json!("nothing"), &json!(0), &trial["mismatch"]),
            "{trial}"
        );
        assert!(trial["mismatch"].is_string(), "{trial}");
    }
    app.finish().await;
}

async fn a_template_that_drops_what_operators_write_says_so(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    for phase in ["detection", "update", "resolution", "report"] {
        let builtin = app.get(&format!("/api/v1/templates/{phase}")).await.expect(200);
        assert_eq!(builtin["warnings"], json!([]), "{phase}");
    }
    let html = "<p>{{#each paragraphs}}{{this}}{{/each}}</p>{{> action.html}}";
    let source = json!({"subject": "Incident", "text": "Hello {{recipient.name}}", "html": html});
    let refused = app
        .put("/api/v1/templates/detection", source.clone())
        .await
        .expect_problem(422);
    let missing = [
        ("/text", "the operator's message"),
        ("/text", "what the customer has to do"),
        ("/text", "why the recipient gets it"),
        ("/html", "why the recipient gets it"),
    ];
    for (pointer, what) in missing {
        let errors = refused["errors"].as_array().expect("errors");
        assert!(
            errors
                .iter()
                .any(|error| error["pointer"] == pointer && error["detail"].to_string().contains(what)),
            "{pointer} {what}: {refused}"
        );
    }
    assert_eq!(
        refused["errors"].as_array().map(Vec::len),
        Some(missing.len()),
        "{refused}"
    );
    let saved = app
        .put("/api/v1/templates/detection", complete(source))
        .await
        .expect(200);
    let warnings: Vec<&str> = saved["warnings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for part in ["text part", "HTML part"] {
        let answers = warnings.iter().find(|warning| warning.contains(part));
        assert!(
            answers.is_some_and(|warning| warning.contains("the links for answers")),
            "{warnings:?}"
        );
    }
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert!(
        preview["warnings"].to_string().contains("the links for answers"),
        "{preview}"
    );
    app.finish().await;
}
