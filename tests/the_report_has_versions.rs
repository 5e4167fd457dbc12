//! The report of an incident: prefilled from the record, with versions and their differences, published, corrected with a note and taken back,
//! as Markdown and as HTML, and by email to our own people only.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{ADMIN_TOKEN, Env, TestApp, on_both_databases, story, story_directory};

on_both_databases!(
    a_report_is_prefilled_from_the_record,
    each_change_is_a_version,
    a_correction_is_visible,
    a_report_is_markdown_and_html,
    the_internal_report_goes_to_our_own_people_only,
);

async fn started(env: &Env) -> (TestApp, String) {
    let app = TestApp::builder(env)
        .at("2024-03-14T10:00:00Z")
        .config(|config| config.mail_from = "Candor <candor@ours.example>".to_owned())
        .start()
        .await;
    app.import(story_directory()).await.expect(200);
    let incident = app.incident([("media", story::MEDIA)]).await;
    (app, format!("/api/v1/incidents/{incident}"))
}

fn report(title: &str, text: &str) -> Value {
    json!({"title": title, "sections": [
        {"kind": "summary", "heading": "Summary", "text": text, "audience": "public"},
        {"heading": "For customers", "text": "- Open the file again\n- Tell us", "audience": "customer"},
        {"kind": "root_causes", "heading": "Root causes", "text": "| Why | Because |\n|---|---|\n| <b> | a \\| b |", "audience": "internal"},
        {"kind": "lucky", "heading": "Where we got lucky", "text": "", "audience": "public"},
    ]})
}

async fn a_report_is_prefilled_from_the_record(env: Env) {
    let (app, path) = started(&env).await;
    app.post(
        &format!("{path}/timeline"),
        json!({"kind": "mitigated", "text": "The disk was | replaced", "internal": false}),
    )
    .await
    .expect(201);
    app.post(
        &format!("{path}/timeline"),
        json!({"kind": "note", "text": "Only for us"}),
    )
    .await
    .expect(201);
    app.post(
        &format!("{path}/next-steps"),
        json!({"text": "Watch the disks", "owner": "storage team", "due_on": "2024-04-30"}),
    )
    .await
    .expect(201);
    let draft = app.get(&format!("{path}/report/draft")).await.expect(200);
    let section = |kind: &str, audience: &str| {
        let sections = draft["sections"].as_array().unwrap();
        let found = sections
            .iter()
            .find(|one| one["kind"] == kind && one["audience"] == audience)
            .unwrap_or_else(|| panic!("{kind} for {audience}: {draft}"));
        found["text"].as_str().unwrap().to_owned()
    };
    assert!(section("summary", "public").contains("14 March 2024, 10:00 UTC"));
    let impact = section("impact", "customer");
    for row in [
        "| People | 3 |",
        "| Accounts | 1 |",
        "| People who were emailed | 0 |",
    ] {
        assert!(impact.contains(row), "{impact}");
    }
    let timeline = section("timeline", "public");
    assert!(
        timeline.contains("The disk was \\| replaced") && !timeline.contains("Only for us"),
        "{timeline}"
    );
    let ours = section("timeline", "internal");
    assert!(ours.contains("Only for us") && ours.contains("admin"), "{ours}");
    assert!(section("root_causes", "internal").contains("5. Why?"));
    assert!(
        section("action_items", "internal")
            .contains("| Watch the disks | storage team | 2024-04-30 | open |")
    );
    for kind in ["detection", "went_well", "went_wrong", "lucky"] {
        section(kind, "internal");
    }
    // Names of people are only in internal sections.
    for one in draft["sections"].as_array().unwrap() {
        let names = ["admin", "storage team"]
            .iter()
            .any(|name| one["text"].as_str().unwrap().contains(name));
        assert!(!names || one["audience"] == "internal", "{one}");
    }
    // It is what a report is made of, and nothing was stored.
    app.get(&format!("{path}/report")).await.expect(404);
    app.put(&format!("{path}/report"), draft.json.clone())
        .await
        .expect(200);
    // An empty section is for our own team only.
    let count = async |audience: &str| {
        let read = app
            .get(&format!("{path}/report?audience={audience}"))
            .await
            .expect(200);
        read["sections"].as_array().unwrap().len()
    };
    assert_eq!((count("internal").await, count("public").await), (10, 2));
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let other = app.incident([]).await;
    let page = browser.page("/admin/incidents/2/report/edit").await;
    assert!(
        page.contains("Where we got lucky") && page.contains("value=\"went_well\""),
        "{page}"
    );
    app.get(&format!("/api/v1/incidents/{other}/report"))
        .await
        .expect(404);
    app.finish().await;
}

async fn each_change_is_a_version(env: Env) {
    let (app, path) = started(&env).await;
    let put = async |title: &str, text: &str| {
        app.put(&format!("{path}/report"), report(title, text))
            .await
            .expect(200)
    };
    assert_eq!(put("Files", "One\nTwo").await["version"], 1);
    // The same again is no version.
    assert_eq!(put("Files", "One\nTwo").await["version"], 1);
    assert_eq!(put("Files", "One\nThree").await["version"], 2);
    assert_eq!(put("Disks", "One\nThree").await["version"], 3);
    let versions = app.all(&format!("{path}/report/versions?limit=1")).await;
    let numbers: Vec<&Value> = versions.iter().map(|one| &one["number"]).collect();
    assert_eq!(json!(numbers), json!([3, 2, 1]));
    assert_eq!(versions[2]["sections"][0]["text"], "One\nTwo");
    assert_eq!(versions[2]["author"], "admin (from the settings)");
    let second = app.get(&format!("{path}/report/versions/2")).await.expect(200);
    assert_eq!(second["title"], "Files");
    let diff = app
        .get(&format!("{path}/report/diff?from=1&to=3"))
        .await
        .expect(200);
    let changed: Vec<(&str, &str)> = diff["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["change"] != "same")
        .map(|line| (line["change"].as_str().unwrap(), line["text"].as_str().unwrap()))
        .collect();
    assert_eq!(
        changed,
        [
            ("removed", "# Files"),
            ("added", "# Disks"),
            ("removed", "Two"),
            ("added", "Three")
        ]
    );
    for (query, status) in [
        ("from=1&to=9", 404),
        ("from=2&to=2", 422),
        ("from=1", 422),
        ("from=1&to=2&x=1", 422),
    ] {
        app.get(&format!("{path}/report/diff?{query}"))
            .await
            .expect(status);
    }
    app.get(&format!("{path}/report/versions/7")).await.expect(404);
    let wrong = json!({"title": "T", "sections": [{"kind": "gossip", "heading": "H", "text": "", "audience": "public"}]});
    app.put(&format!("{path}/report"), wrong)
        .await
        .expect_invalid("/sections/0/kind");
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser
        .page("/admin/incidents/1/report/versions?from=1&to=2")
        .await;
    for text in [
        "From version 1 to version 2",
        "<code dir=\"auto\">Three</code>",
        "What changed",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    app.finish().await;
}

async fn a_correction_is_visible(env: Env) {
    let (app, path) = started(&env).await;
    let operator = json!({"name": "Mona Lisa", "email": "mona@ours.example", "events": ["opened"]});
    app.post("/api/v1/operators", operator).await.expect(201);
    app.put(
        &format!("{path}/report"),
        report("Files", "Mona Lisa replaced the disk."),
    )
    .await
    .expect(200);
    let publish = format!("{path}/report/publish");
    // Without names by default.
    let refused = app.post(&publish, json!({})).await.expect(422);
    assert!(refused.text.contains("Mona Lisa"), "{refused}");
    app.post(&publish, json!({"note": "A typo", "allow_names": true}))
        .await
        .expect_invalid("/note");
    app.put(
        &format!("{path}/report"),
        report("Files", "We replaced the disk on Monday."),
    )
    .await
    .expect(200);
    let first = app.post(&publish, json!({})).await.expect(200);
    assert_eq!(
        (
            &first["published_version"],
            &first["corrections"],
            &first["audience"]
        ),
        (&json!(2), &json!([]), &json!("public"))
    );
    app.put(
        &format!("{path}/report"),
        report("Files", "We replaced the disk on Tuesday."),
    )
    .await
    .expect(200);
    let public = async || app.anonymous().get("/status").await.expect(200).text;
    assert!(public().await.contains("on Monday"));
    app.post(&publish, json!({"note": "It was <Tuesday>."}))
        .await
        .expect(200);
    let page = public().await;
    assert!(
        page.contains("on Tuesday") && page.contains("It was &lt;Tuesday&gt;."),
        "{page}"
    );
    assert!(
        !page.contains("Root causes") && !page.contains("got lucky"),
        "{page}"
    );
    app.post(&format!("{path}/report/unpublish"), json!({}))
        .await
        .expect(200);
    assert!(!public().await.contains("on Tuesday"));
    // The correction stays when it is published again.
    app.post(&publish, json!({})).await.expect(200);
    assert!(public().await.contains("It was &lt;Tuesday&gt;."));
    assert_eq!(app.all("/api/v1/audit?action=report.corrected").await.len(), 1);
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let at = "/admin/incidents/1/report";
    let page = browser.page(at).await;
    for text in [
        "Corrected",
        "It was &lt;Tuesday&gt;.",
        "Publish a correction",
        "All versions",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    browser
        .send_from(at, &format!("{at}/publish"), &[("note", "Once more")])
        .await
        .expect(303);
    assert!(public().await.contains("Once more"));
    app.finish().await;
}

async fn a_report_is_markdown_and_html(env: Env) {
    let (app, path) = started(&env).await;
    app.put(
        &format!("{path}/report"),
        report("Files <1>", "First *line*\nsecond"),
    )
    .await
    .expect(200);
    let read = async |query: &str| app.get(&format!("{path}/report?{query}")).await.expect(200);
    // Without a format it is as it was.
    assert_eq!(read("").await["sections"][0]["heading"], "Summary");
    assert_eq!(
        read("format=json&audience=public").await["sections"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let md = read("format=md").await;
    assert!(md.header("content-type").starts_with("text/markdown"));
    for text in [
        "# Files \\<1\\>\n",
        "## Summary (public)\n",
        "First \\*line\\*  \nsecond\n",
        "- Open the file again\n",
        "| Why | Because |\n| --- | --- |\n| \\<b\\> | a \\| b |",
    ] {
        assert!(md.text.contains(text), "{text}: {}", md.text);
    }
    let html = read("format=html").await;
    assert!(html.header("content-type").starts_with("text/html"));
    assert!(
        html.header("content-security-policy")
            .contains("default-src 'none'")
    );
    for text in [
        "<!doctype html>",
        "@media print",
        "<h1 dir=\"auto\">Files &lt;1&gt;</h1>",
        "<li dir=\"auto\">Tell us</li>",
        "<td dir=\"auto\">&lt;b&gt;</td><td dir=\"auto\">a | b</td>",
    ] {
        assert!(html.text.contains(text), "{text}: {}", html.text);
    }
    // It needs nothing else.
    for other in ["src=", "href=", "<script"] {
        assert!(!html.text.contains(other), "{other}");
    }
    let customer = read("format=html&audience=customer").await.text;
    assert!(
        customer.contains("For customers") && !customer.contains("Root causes"),
        "{customer}"
    );
    app.get(&format!("{path}/report?format=pdf")).await.expect(422);
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let file = browser
        .open("/admin/incidents/1/report/file?audience=public&format=md")
        .await
        .expect(200);
    assert!(
        file.text.contains("# Files") && !file.text.contains("For customers"),
        "{}",
        file.text
    );
    app.finish().await;
}

async fn the_internal_report_goes_to_our_own_people_only(env: Env) {
    let (app, path) = started(&env).await;
    let mail = format!("{path}/report/mail");
    app.post(&mail, json!({"to": ["boss@ours.example"]}))
        .await
        .expect(404);
    app.put(
        &format!("{path}/report"),
        report("Files", "We replaced the disk."),
    )
    .await
    .expect(200);
    for (to, place) in [
        (json!([]), "/to"),
        (json!(["boss@ours.example", "not an address"]), "/to/1"),
        (json!(["stranger@elsewhere.example"]), "/to/0"),
        (json!([story::ADDRESSES[0]]), "/to/0"),
        (json!([story::ADDRESSES[0].to_uppercase()]), "/to/0"),
    ] {
        app.post(&mail, json!({"to": to})).await.expect_invalid(place);
    }
    assert!(app.all("/api/v1/audit?action=report.mailed").await.is_empty());
    // Two spellings of one mailbox get one email.
    let to = json!({"to": ["boss@ours.example", "BOSS@ours.example", "board@ours.example"]});
    let sent = app.post(&mail, to).await.expect(200);
    assert_eq!(sent.items().len(), 2);
    assert!(sent.items().iter().all(|one| one["accepted"] == true), "{sent}");
    let mails = app.mails(2).await;
    let mut got: Vec<&str> = mails.iter().map(|mail| mail.to.as_str()).collect();
    got.sort_unstable();
    assert_eq!(got, ["board@ours.example", "boss@ours.example"]);
    assert!(
        mails[0].subject.contains("Internal report of #1"),
        "{}",
        mails[0].subject
    );
    assert!(
        mails[0].text.contains("Root causes") && mails[0].html.contains("<h2"),
        "{}",
        mails[0].text
    );
    let events = app.all("/api/v1/audit?action=report.mailed").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["after"], json!({"version": 1, "addresses": 2}));
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let at = "/admin/incidents/1/report";
    browser
        .send_from(
            at,
            &format!("{at}/mail"),
            &[("to", "boss@ours.example, cto@ours.example")],
        )
        .await
        .expect(303);
    app.mails(4).await;
    let viewer = app.as_new("viewer").await;
    viewer
        .post(&mail, json!({"to": ["boss@ours.example"]}))
        .await
        .expect(403);
    app.finish().await;
}
