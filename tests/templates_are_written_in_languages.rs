//! A template can have parts for the readers of single languages. A part that is missing is that of the other languages, and of the
//! built-in template where nothing is given. The rules for templates hold in each language.

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::{Env, Mail, TestApp, on_both_databases};

on_both_databases!(
    each_reader_gets_the_parts_of_their_language,
    a_subject_alone_is_enough,
    each_language_is_checked,
    a_language_is_written_and_shown_on_the_pages,
    an_editor_that_is_out_of_date_replaces_nothing,
);

const TEMPLATE: &str = "/api/v1/templates/detection";
const BUILT_IN: &str = "We are working on a problem with a.mp4";

/// Amélie reads French, Bernd German, Carla English.
async fn start(env: &Env) -> (TestApp, String) {
    let app = TestApp::start(env).await;
    let mut lines = vec![
        json!({"kind": "account", "id": "acme", "name": "Acme"}),
        json!({"kind": "resource", "type": "file", "id": "a", "account": "acme", "name": "a.mp4"}),
    ];
    for (id, name, locale) in [
        ("amelie", "Amélie", "fr"),
        ("bernd", "Bernd", "de"),
        ("carla", "Carla", "en"),
    ] {
        let email = format!("{id}@example.com");
        lines.push(json!({"kind": "person", "id": id, "name": name, "email": email, "locale": locale}));
        lines.push(json!({"kind": "member", "account": "acme", "person": id, "role": "owner"}));
    }
    let directory: String = lines.iter().map(|line| format!("{line}\n")).collect();
    app.import(directory).await.expect(200);
    let incident = app.incident([("file", "a")]).await;
    (app, incident)
}

fn to<'a>(mails: &'a [Mail], person: &str) -> &'a Mail {
    let found = mails
        .iter()
        .find(|mail| mail.to.starts_with(&format!("{person}@")));
    found.unwrap_or_else(|| panic!("no email to {person}"))
}

async fn as_sent(app: &TestApp, notice: &str, person: &str) -> String {
    let address = format!("{person}@example.com");
    let deliveries = app.deliveries(notice).await;
    let delivery = deliveries
        .iter()
        .find(|one| one["address"] == address.as_str())
        .expect("the delivery");
    let path = format!("/api/v1/deliveries/{}/mail", delivery["id"]);
    let (_, bytes) = app.request(reqwest::Method::GET, &path).download().await;
    String::from_utf8(bytes).expect("UTF-8")
}

async fn each_reader_gets_the_parts_of_their_language(env: Env) {
    let (app, incident) = start(&env).await;
    let preview = |id: String| format!("/api/v1/notices/{id}/preview");
    let body = json!({"phase": "detection", "message": "We know the cause."});
    let draft = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), body)
        .await
        .expect(201)
        .id();
    let before = app.get(&preview(draft.clone())).await.expect(200)["digest"].clone();
    let french = "{{t.greeting}} Salutations.\n\n{{> paragraphs.txt}}\n{{> action.txt}}\n{{> answers.txt}}\n{{> footer.txt}}";
    let languages = json!({"de": {"subject": "Störung bei {{what}}"}, "fr": {"text": french}});
    let saved = app
        .put(TEMPLATE, json!({"languages": languages}))
        .await
        .expect(200);
    assert_eq!(saved["languages"], languages);
    assert_eq!(saved["warnings"], json!([]));
    let after = app.get(&preview(draft)).await.expect(200);
    assert_ne!(after["digest"], before, "the digest covers each language");
    let subjects: Vec<&str> = after["samples"]
        .as_array()
        .expect("samples")
        .iter()
        .filter_map(|sample| sample["subject"].as_str())
        .collect();
    assert!(subjects.contains(&"Störung bei a.mp4"), "{subjects:?}");

    let notice = app.tell(&incident, "detection").await;
    let mails = app.mails(3).await;
    assert_eq!(to(&mails, "bernd").subject, "Störung bei a.mp4");
    assert!(to(&mails, "bernd").text.contains("Guten Tag Bernd"));
    assert_eq!(to(&mails, "carla").subject, BUILT_IN);
    let french = to(&mails, "amelie");
    assert_eq!(french.subject, "Nous travaillons sur un problème avec a.mp4");
    assert!(french.text.contains("Salutations."), "{}", french.text);
    assert!(
        !french.html.contains("Salutations."),
        "the HTML part is as before"
    );
    assert!(!to(&mails, "carla").text.contains("Salutations."));

    // What was sent stays what it was when the template changes, and the trail proves it.
    app.delete(TEMPLATE).await.expect(204);
    for (person, shown) in [
        ("bernd", "Subject: =?utf-8?B?U3TDtnJ1bmcgYmVpIGEubXA0?="),
        ("amelie", "Salutations."),
        ("carla", BUILT_IN),
    ] {
        let mail = as_sent(&app, &notice, person).await;
        assert!(mail.contains(shown), "{person}: {mail}");
    }
    assert_eq!(app.get("/api/v1/audit/verify").await.expect(200)["ok"], true);
    app.finish().await;
}

async fn a_subject_alone_is_enough(env: Env) {
    let (app, incident) = start(&env).await;
    let built_in = app.get(TEMPLATE).await.expect(200);
    let saved = app
        .put(TEMPLATE, json!({"subject": "News about {{what}}"}))
        .await
        .expect(200);
    assert_eq!(
        json!([saved["text"], saved["html"], saved["languages"]]),
        json!([built_in["text"], built_in["html"], {}])
    );
    app.tell(&incident, "detection").await;
    let mails = app.mails(3).await;
    for person in ["amelie", "bernd", "carla"] {
        assert_eq!(to(&mails, person).subject, "News about a.mp4");
    }
    assert!(to(&mails, "bernd").text.contains("Guten Tag Bernd"));
    let tried = app
        .post(
            &format!("{TEMPLATE}/preview"),
            json!({"languages": {"ja": {"subject": "{{t.greeting}}"}}, "language": "ja"}),
        )
        .await
        .expect(200);
    let shown = tried["samples"][0]["subject"].as_str().expect("a subject");
    assert!(shown.starts_with("Ann"), "{shown}");
    app.finish().await;
}

async fn each_language_is_checked(env: Env) {
    let app = TestApp::start(&env).await;
    let stored = app.get(TEMPLATE).await.expect(200);
    let text = stored["text"].as_str().expect("a text");
    // Only Germans would not get the message. The rule holds for each reader.
    let not_for_germans = text.replace(
        "{{> paragraphs.txt}}",
        "{{#if (eq language \"de\")}}Hallo{{else}}{{> paragraphs.txt}}{{/if}}",
    );
    assert_ne!(not_for_germans, text);
    for (body, expected) in [
        (json!({}), vec![""]),
        (json!({"languages": {"de": {}}}), vec!["/languages/de"]),
        (json!({"languages": {"nl": {"subject": "x"}}}), vec!["/languages"]),
        (
            json!({"languages": {"de": {"subject": " "}, "fr": {"html": "{{#if"}}}),
            vec!["/languages/de/subject"],
        ),
        (
            json!({"languages": {"fr": {"html": "{{#if what}}"}}}),
            vec!["/languages/fr/html"],
        ),
        (
            json!({"languages": {"ar": {"text": "{{t.greeting}}"}}}),
            vec!["/languages/ar/text"; 3],
        ),
        (
            json!({"languages": {"es": {"subject": "{{incident.title}}"}}}),
            vec!["/languages/es/subject"],
        ),
        (
            json!({"languages": {"pt": {"html": "<script>var a = {{what}}</script>{{> paragraphs.html}}{{> action.html}}{{reason}}"}}}),
            vec!["/languages/pt/html"],
        ),
        (json!({"text": not_for_germans}), vec!["/text"]),
    ] {
        let problem = app.put(TEMPLATE, body.clone()).await.expect_problem(422);
        let found = problem.places();
        assert!(
            !found.is_empty() && expected.iter().all(|at| found.contains(&(*at).to_owned())),
            "{body}: {problem}"
        );
    }
    assert_eq!(
        app.get(TEMPLATE).await.expect(200).json,
        stored.json,
        "nothing of it is stored"
    );
    // What is only a warning names the language.
    let without_answers = "{{> paragraphs.txt}}{{> action.txt}}{{reason}}";
    let saved = app
        .put(TEMPLATE, json!({"languages": {"sw": {"text": without_answers}}}))
        .await
        .expect(200);
    let warnings = saved["warnings"].to_string();
    assert!(
        warnings
            .contains("the text part of the Swahili detection template does not show the links for answers"),
        "{warnings}"
    );
    app.finish().await;
}

async fn a_language_is_written_and_shown_on_the_pages(env: Env) {
    let app = TestApp::start(&env).await;
    let admin = Browser::signed_in(&app, &app.token("admin").await).await;
    let page = "/admin/templates/detection";
    let edit = format!("{page}/edit");
    let stored = app.get(TEMPLATE).await.expect(200);
    let part = |name: &str| stored[name].as_str().expect("a text").to_owned();
    let (subject, text, html) = (part("subject"), part("text"), part("html"));
    let fields = |own: &'static str, value: &'static str| {
        vec![
            ("subject", subject.clone()),
            ("text", text.clone()),
            ("html", html.clone()),
            (own, value.to_owned()),
        ]
    };
    async fn send(
        admin: &Browser,
        edit: &str,
        path: &str,
        fields: &[(&str, String)],
    ) -> crate::support::Answer {
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        admin.send_from(edit, path, &fields).await
    }
    let wrong = send(&admin, &edit, &edit, &fields("languages.de.text", "Hallo"))
        .await
        .expect(422);
    let at = wrong
        .text
        .split_once("id=\"e-languages.de.text\"")
        .expect("an error at the German text")
        .1;
    assert!(at.contains("does not show the operator&#x27;s message"), "{at}");
    let mut preview = fields("languages.ar.subject", "{{t.greeting}}");
    preview.extend([
        ("of", "0".to_owned()),
        ("part", "text".to_owned()),
        ("language", "ar".to_owned()),
    ]);
    let shown = send(&admin, &edit, &format!("{page}/preview"), &preview)
        .await
        .expect(200);
    assert!(shown.text.contains("Subject: مرحبًا Ann"), "{}", shown.text);
    send(
        &admin,
        &edit,
        &edit,
        &fields("languages.de.subject", "Störung bei {{what}}"),
    )
    .await
    .expect(303);
    let saved = app.get(TEMPLATE).await.expect(200);
    assert_eq!(
        saved["languages"],
        json!({"de": {"subject": "Störung bei {{what}}"}})
    );
    let shown = admin.page(page).await;
    for part in ["The usual email in German", "Störung bei Launch film"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    admin.page(&format!("{page}/mail/3")).await;
    let version = admin.page(&format!("{page}/versions/1")).await;
    assert!(
        version.contains("Subject in German") && version.contains("Störung bei {{what}}"),
        "{version}"
    );
    // An emptied field removes the part.
    send(&admin, &edit, &edit, &fields("languages.de.subject", ""))
        .await
        .expect(303);
    assert_eq!(app.get(TEMPLATE).await.expect(200)["languages"], json!({}));
    app.post(&format!("{TEMPLATE}/versions/1/restore"), json!({}))
        .await
        .expect(200);
    assert_eq!(
        app.get(TEMPLATE).await.expect(200)["languages"],
        saved["languages"]
    );
    app.finish().await;
}

async fn an_editor_that_is_out_of_date_replaces_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    let admin = Browser::signed_in(&app, &app.token("admin").await).await;
    let edit = "/admin/templates/detection/edit";
    let opened = admin.page(edit).await;
    let (_, rest) = opened
        .split_once("name=\"version\" value=\"")
        .expect("the version");
    let version = rest.split('"').next().expect("a value").to_owned();
    app.put(TEMPLATE, json!({"languages": {"fr": {"subject": "Incident"}}}))
        .await
        .expect(200);
    let stored = app.get(TEMPLATE).await.expect(200);
    let part = |name: &str| stored[name].as_str().expect("a text").to_owned();
    let (text, html) = (part("text"), part("html"));
    let fields = [
        ("subject", "A new subject"),
        ("text", text.as_str()),
        ("html", html.as_str()),
        ("version", version.as_str()),
    ];
    let refused = admin.send_from(edit, edit, &fields).await;
    assert!(
        refused.status == 409 || refused.status == 422,
        "{}",
        refused.status
    );
    assert!(refused.text.contains("A new subject"), "what was typed stays");
    assert_eq!(app.get(TEMPLATE).await.expect(200).json, stored.json);
    app.finish().await;
}
