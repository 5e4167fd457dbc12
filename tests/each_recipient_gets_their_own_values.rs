//! A notice can show each recipient a value of their own, such as a code. Nobody gets the value of somebody else, nobody gets an
//! email with a hole, and no value reaches the audit trail.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::story::{ADDRESSES, AFFECTED};
use crate::support::{Answer, Env, TestApp, complete, crowd, on_both_databases};

on_both_databases!(
    each_gets_their_own,
    whoever_lacks_one_keeps_it_from_being_sent,
    a_wrong_list_changes_nothing,
    a_template_shows_them_safely,
    people_at_one_mailbox_get_the_values_of_all,
    a_catch_up_has_no_values,
    many_emails_are_built_from_pieces,
    they_are_uploaded_on_the_page,
);

fn path(notice: &str) -> String {
    format!("/api/v1/notices/{notice}/values")
}

async fn upload(app: &TestApp, notice: &str, lines: &[Value]) -> Answer {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    app.request(Method::PUT, &path(notice))
        .body("application/x-ndjson", body)
        .send()
        .await
}

fn codes(people: &[&str]) -> Vec<Value> {
    people
        .iter()
        .map(|person| json!({"person": person, "values": {"code": format!("<{person}>-1")}}))
        .collect()
}

async fn drafted(app: &TestApp, incident: &str, message: &str) -> String {
    let body = json!({"phase": "detection", "message": message, "customer_action": {"required": true, "text": "Enter {{values.code}}."}});
    let made = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), body)
        .await;
    made.expect(201).id()
}

async fn each_gets_their_own(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let message = "Your code is {{values.code}}.\n\n{name} { values.code } {#each values} {%x%}";
    let notice = drafted(&app, &incident, message).await;
    let given = upload(&app, &notice, &codes(&AFFECTED)).await.expect(200);
    assert_eq!((&given["people"], &given["keys"]), (&json!(3), &json!(["code"])));
    assert_eq!(
        given["items"][0],
        json!({"person": "amina", "values": {"code": "<amina>-1"}})
    );
    assert_eq!(app.get(&path(&notice)).await.expect(200).json, given.json);
    let digest = app.digest(&notice).await;
    // The list is replaced as a whole, and the digest covers it.
    let mut other = codes(&AFFECTED);
    other[2]["values"]["code"] = json!("other-1");
    upload(&app, &notice, &other).await.expect(200);
    app.send(&notice, &digest).await.expect_problem(409);
    upload(&app, &notice, &codes(&AFFECTED)).await.expect(200);
    assert_eq!(app.digest(&notice).await, digest);
    app.send(&notice, &digest).await.expect(202);
    for mail in app.mails(3).await {
        let person = AFFECTED[ADDRESSES
            .iter()
            .position(|address| *address == mail.to)
            .expect("one")];
        assert!(
            mail.text.contains(&format!("Your code is <{person}>-1.")),
            "{}",
            mail.text
        );
        assert!(
            mail.text.contains(&format!("Enter <{person}>-1.")),
            "{}",
            mail.text
        );
        assert!(
            mail.html.contains(&format!("&lt;{person}&gt;-1")),
            "{}",
            mail.html
        );
        // All other text stays as it was written.
        assert!(
            mail.text.contains("{name} { values.code } {#each values} {%x%}"),
            "{}",
            mail.text
        );
        for other in AFFECTED.iter().filter(|other| **other != person) {
            assert!(!mail.text.contains(&format!("<{other}>")), "{}", mail.text);
        }
    }
    upload(&app, &notice, &codes(&AFFECTED)).await.expect_problem(409);
    // The audit trail names the keys and the number, and no value.
    let trail = app.get("/api/v1/audit/export").await.expect(200).text;
    assert!(
        trail.contains("notice.values_replaced") && trail.contains("\"code\""),
        "{trail}"
    );
    assert!(!trail.contains(">-1") && !trail.contains("other-1"), "{trail}");
    app.finish().await;
}

async fn whoever_lacks_one_keeps_it_from_being_sent(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = drafted(&app, &incident, "Your code is {{values.code}}.").await;
    upload(&app, &notice, &codes(&AFFECTED[..1])).await.expect(200);
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(
        preview["missing_values"],
        json!([{"person": "baraka", "keys": ["code"]}, {"person": "wanjiru", "keys": ["code"]}])
    );
    assert!(
        preview["warnings"]
            .to_string()
            .contains("2 recipients have no value for code"),
        "{preview}"
    );
    let digest = app.digest(&notice).await;
    let refused = app.send(&notice, &digest).await.expect_invalid("/values");
    assert_eq!(refused["code"], "values_missing", "{refused}");
    app.mails(0).await;
    upload(&app, &notice, &codes(&AFFECTED)).await.expect(200);
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(preview["missing_values"], json!([]));
    app.send_as_previewed(&notice).await;
    app.mails(3).await;
    app.finish().await;
}

async fn a_wrong_list_changes_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    upload(&app, &notice, &codes(&AFFECTED)).await.expect(200);
    let one = |values: Value| json!({"person": "amina", "values": values});
    let many: serde_json::Map<String, Value> = (0..21).map(|n| (format!("k{n}"), json!("v"))).collect();
    for (wrong, detail) in [
        (
            json!({"person": "nobody", "values": {"code": "1"}}),
            "no person nobody",
        ),
        (
            json!({"person": "baraka", "values": {"code": "1"}}),
            "already on line 1",
        ),
        (one(json!({"Code": "1"})), "the key 'Code'"),
        (one(json!({"": "1"})), "the key"),
        (one(json!({"1a": "1"})), "the key"),
        (one(json!({"a".repeat(41): "1"})), "the key"),
        (one(json!({"code": ""})), "is empty"),
        (one(json!({"code": "x".repeat(1_001)})), "longer than 1000"),
        (one(json!({"code": "a\nBcc: b@example.com"})), "control character"),
        (one(json!({"code": "a\u{202e}b"})), "direction"),
        (one(json!({"code": 1})), "string"),
        (one(json!({})), "must not be empty"),
        (one(Value::Object(many)), "more than 20"),
        (
            json!({"person": "amina", "values": {"code": "1"}, "more": 1}),
            "unknown field",
        ),
    ] {
        let lines = [
            json!({"person": "baraka", "values": {"code": "2"}}),
            wrong.clone(),
        ];
        let refused = upload(&app, &notice, &lines).await.expect_invalid("line 2");
        assert!(refused.text.contains(detail), "{wrong}: {refused}");
    }
    let broken = app
        .request(Method::PUT, &path(&notice))
        .body("application/x-ndjson", "\n{\"person\"")
        .send()
        .await;
    broken.expect_invalid("line 2");
    app.put(&path(&notice), json!({})).await.expect_problem(415);
    let given = app.get(&path(&notice)).await.expect(200);
    assert_eq!((&given["people"], &given["keys"]), (&json!(3), &json!(["code"])));
    // An empty list removes all values.
    upload(&app, &notice, &[]).await.expect(200);
    assert_eq!(env.count("notice_values"), 0);
    app.finish().await;
}

async fn a_template_shows_them_safely(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let source = complete(json!({
        "subject": "Your code {{values.code}}",
        "text": "Code: {{values.code}}",
        "html": "<p title=\"{{values.code}}\">Code: {{values.code}}</p>",
    }));
    app.put("/api/v1/templates/detection", source).await.expect(200);
    for refused in ["{{values.Code}}", "{{values}}{{values.a b}}", "{{lookup values}}"] {
        let source = complete(json!({"subject": "S", "text": refused, "html": "<p>H</p>"}));
        app.put("/api/v1/templates/detection", source)
            .await
            .expect_invalid("/text");
    }
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(
        preview["missing_values"].as_array().map(Vec::len),
        Some(3),
        "{preview}"
    );
    let digest = app.digest(&notice).await;
    app.send(&notice, &digest).await.expect_invalid("/values");
    let lines: Vec<Value> = AFFECTED
        .iter()
        .map(|person| json!({"person": person, "values": {"code": format!("\"><script>{person}\u{2028}Bcc: x@evil.example")}}))
        .collect();
    upload(&app, &notice, &lines).await.expect(200);
    app.send_as_previewed(&notice).await;
    for mail in app.mails(3).await {
        assert!(!mail.html.contains("<script>"), "{}", mail.html);
        assert!(mail.header("bcc").is_empty());
        assert!(
            mail.subject.starts_with("Your code \"><script>"),
            "{}",
            mail.subject
        );
    }
    app.finish().await;
}

async fn people_at_one_mailbox_get_the_values_of_all(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let shared = json!({"name": "Baraka Mushi", "email": ADDRESSES[0].to_uppercase()});
    app.put("/api/v1/people/baraka", shared).await.expect(200);
    let notice = drafted(&app, &incident, "Your code is {{values.code}}.").await;
    upload(&app, &notice, &codes(&AFFECTED)).await.expect(200);
    app.send_as_previewed(&notice).await;
    let mails = app.mails(2).await;
    let both = mails
        .iter()
        .find(|mail| mail.to.eq_ignore_ascii_case(ADDRESSES[0]))
        .expect("one");
    assert!(
        both.text.contains("Your code is <amina>-1, <baraka>-1."),
        "{}",
        both.text
    );
    app.finish().await;
}

async fn a_catch_up_has_no_values(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = drafted(&app, &incident, "Your code is {{values.code}}.").await;
    upload(&app, &notice, &codes(&AFFECTED)).await.expect(200);
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    app.affect(&incident, "project", "market-day").await;
    let more = app
        .post(&format!("/api/v1/notices/{notice}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    assert_eq!(app.get(&path(&more)).await.expect(200)["people"], 0);
    assert_eq!(
        app.preview(&more).await.expect(200)["missing_values"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    // A resolution with values does not take them from the earlier notice either.
    app.resolve(&incident).await;
    let body =
        json!({"phase": "resolution", "message": "{{values.code}}", "customer_action": {"required": false}});
    let resolution = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), body)
        .await;
    let resolution = resolution.expect(201).id();
    app.delete(&format!(
        "/api/v1/incidents/{incident}/affected/file/interview-v1"
    ))
    .await;
    app.delete(&format!(
        "/api/v1/incidents/{incident}/affected/file/interview-v2"
    ))
    .await;
    let missing = app.preview(&resolution).await.expect(200)["missing_values"].clone();
    assert_eq!(missing.as_array().map(Vec::len), Some(5), "{missing}");
    app.finish().await;
}

async fn many_emails_are_built_from_pieces(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(crowd(60)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = drafted(&app, &incident, "Your code is {{values.code}}.").await;
    let people: Vec<String> = (1..=60).map(|n| format!("person-{n}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    upload(&app, &notice, &codes(&people)).await.expect(200);
    app.send_as_previewed(&notice).await;
    for mail in app.mails(60).await {
        let (person, _) = mail.to.split_once('@').expect("an address");
        let code = format!("Your code is <{person}>-1.");
        assert!(mail.text.contains(&code), "{}: {}", mail.to, mail.text);
        assert!(
            mail.html.contains(&format!("Your code is &lt;{person}&gt;-1.")),
            "{}",
            mail.html
        );
    }
    app.finish().await;
}

async fn they_are_uploaded_on_the_page(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = drafted(&app, &incident, "Your code is {{values.code}}.").await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let page = format!("/admin/notices/{notice}");
    let to = format!("{page}/values");
    let csv = "person,code,link\r\namina,A-1,https://a.example\r\nbaraka,\"B, 2\",\r\nwanjiru,W-3,\r\n";
    let key = operator.key(&page).await;
    let sent = operator
        .upload(&to, &key, &[("values", csv)], None)
        .await
        .expect(303);
    assert_eq!(sent.header("location"), page);
    let given = app.get(&path(&notice)).await.expect(200);
    assert_eq!(given["keys"], json!(["code", "link"]));
    assert_eq!(given["items"][1]["values"], json!({"code": "B, 2"}));
    let wrong = operator
        .upload(
            &to,
            &key,
            &[("values", "person,code\r\namina,1\r\nnobody,2\r\n")],
            None,
        )
        .await
        .expect(422);
    assert!(
        wrong.text.contains("line 3: there is no person nobody"),
        "{}",
        wrong.text
    );
    assert!(
        wrong.text.contains("nobody,2"),
        "what was typed is kept: {}",
        wrong.text
    );
    // A file replaces the values, and a file with a mistake replaces nothing.
    let file = "\u{feff}person,code\r\namina,F-1\r\nbaraka,F-2\r\nwanjiru,F-3\r\n";
    operator.upload(&to, &key, &[], Some(file)).await.expect(303);
    let given = app.get(&path(&notice)).await.expect(200);
    assert_eq!(given["keys"], json!(["code"]));
    let file = "person,code\r\namina,G-1\r\nnobody,G-2\r\n";
    let wrong = operator.upload(&to, &key, &[], Some(file)).await.expect(422);
    assert!(
        wrong.text.contains("line 3: there is no person nobody"),
        "{}",
        wrong.text
    );
    assert_eq!(app.get(&path(&notice)).await.expect(200).json, given.json);
    operator.upload(&to, "wrong", &[], Some(file)).await.expect(403);
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    assert!(!viewer.page(&page).await.contains("name=\"values\""));
    app.finish().await;
}
