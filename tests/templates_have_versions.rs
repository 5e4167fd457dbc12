//! Each saved template is a version that can be compared and restored. The editor shows a preview, and the rules of templates stand at
//! their fields.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(versions_are_listed_and_restored, a_template_is_edited_on_its_page);

const VERSIONS: &str = "/api/v1/templates/update/versions";

async fn source(app: &TestApp) -> Value {
    let stored = app.get("/api/v1/templates/update").await.expect(200);
    json!({"subject": stored["subject"], "text": stored["text"], "html": stored["html"]})
}

async fn versions_are_listed_and_restored(env: Env) {
    let app = TestApp::start(&env).await;
    assert!(app.all(VERSIONS).await.is_empty());
    let builtin = source(&app).await;
    for subject in [
        "First {{incident.number}}",
        "Second {{incident.number}}",
        "Second {{incident.number}}",
    ] {
        let mut new = builtin.clone();
        new["subject"] = json!(subject);
        app.put("/api/v1/templates/update", new).await.expect(200);
    }
    let short = |versions: &[Value]| -> Value {
        versions
            .iter()
            .map(|one| json!([one["number"], one["subject"], one["current"], one["builtin"]]))
            .collect()
    };
    let versions = app.all(VERSIONS).await;
    assert_eq!(
        short(&versions),
        json!([
            [2, "Second {{incident.number}}", true, false],
            [1, "First {{incident.number}}", false, false]
        ]),
        "an unchanged template is no version"
    );
    assert_eq!(versions[0]["saved_by"], "admin (from the settings)");
    app.post(&format!("{VERSIONS}/2/restore"), json!({}))
        .await
        .expect_problem(409);
    app.post(&format!("{VERSIONS}/9/restore"), json!({}))
        .await
        .expect_problem(404);
    let restored = app
        .post(&format!("{VERSIONS}/1/restore"), json!({}))
        .await
        .expect(200);
    assert_eq!(restored["subject"], "First {{incident.number}}");
    app.delete("/api/v1/templates/update").await.expect(204);
    assert_eq!(source(&app).await, builtin);
    let versions = app.all(VERSIONS).await;
    assert_eq!(
        json!([
            versions.len(),
            versions[0]["number"],
            versions[0]["builtin"],
            versions[0]["current"]
        ]),
        json!([4, 4, true, true])
    );
    app.post(&format!("{VERSIONS}/3/restore"), json!({}))
        .await
        .expect(200);
    // The version that was the built-in template sets it back.
    app.post(&format!("{VERSIONS}/4/restore"), json!({}))
        .await
        .expect(200);
    assert_eq!(
        app.get("/api/v1/templates/update").await.expect(200)["builtin"],
        true
    );
    assert_eq!(app.all("/api/v1/audit?action=template.restored").await.len(), 3);
    app.as_new("operator")
        .await
        .post(&format!("{VERSIONS}/1/restore"), json!({}))
        .await
        .expect_problem(403);
    app.finish().await;
}

async fn a_template_is_edited_on_its_page(env: Env) {
    let app = TestApp::start(&env).await;
    let admin = Browser::signed_in(&app, &app.token("admin").await).await;
    let page = "/admin/templates/update";
    let edit = format!("{page}/edit");
    let stored = source(&app).await;
    let part = |name: &str| stored[name].as_str().expect("a text").to_owned();
    let (subject, text, html) = (part("subject"), part("text"), part("html"));
    let editor = admin.page(&edit).await;
    for shown in [
        "name=\"preview\"",
        "incident.number",
        "paragraphs.html",
        "Sample data",
    ] {
        assert!(editor.contains(shown), "{shown}: {editor}");
    }
    let without = text.replace("{{> paragraphs.txt}}", "");
    let wrong = admin
        .send_from(
            &edit,
            &edit,
            &[("subject", &subject), ("text", &without), ("html", &html)],
        )
        .await
        .expect(422);
    let at = wrong
        .text
        .split_once("id=\"e-text\"")
        .expect("an error at the text part")
        .1;
    assert!(at.contains("does not show the operator&#x27;s message"), "{at}");
    assert_eq!(source(&app).await, stored);

    // The preview is of what was typed, with sample data or with the people of an incident.
    let preview = format!("{page}/preview");
    let incident = app.story_incident().await;
    for (of, part, shown) in [
        ("0", "html", "Typed <b>"),
        ("0", "text", "Subject: Typed 1"),
        (&incident, "text", "Subject: Typed 1"),
    ] {
        let typed = text.clone() + "Typed <b>";
        let typed_html = html.replace(
            "{{> paragraphs.html}}",
            "{{> paragraphs.html}}<p>Typed <b></b></p>",
        );
        let fields = [
            ("subject", "Typed {{incident.number}}"),
            ("text", &typed),
            ("html", &typed_html),
            ("of", of),
            ("part", part),
        ];
        let shown_mail = admin.send_from(&edit, &preview, &fields).await.expect(200);
        assert!(
            shown_mail.text.contains(shown),
            "{of} {part}: {}",
            shown_mail.text
        );
        assert!(shown_mail.header("content-security-policy").contains("sandbox"));
    }
    let broken = [
        ("subject", "{{incident.nmber}}"),
        ("text", &text),
        ("html", &html),
        ("of", "0"),
        ("part", "html"),
    ];
    let said = admin.send_from(&edit, &preview, &broken).await.expect(200);
    assert!(
        said.text.contains("did you mean &#x27;number&#x27;?"),
        "{}",
        said.text
    );

    let right = [
        ("subject", "Saved {{incident.number}}"),
        ("text", text.as_str()),
        ("html", html.as_str()),
    ];
    assert_eq!(
        admin
            .send_from(&edit, &edit, &right)
            .await
            .expect(303)
            .header("location"),
        page
    );
    // A browser sends the text without the line break at its end.
    assert_eq!(source(&app).await["subject"], "Saved {{incident.number}}");
    let version = admin.page(&format!("{page}/versions/1")).await;
    for shown in [
        "Against the built-in template",
        "class=\"added\"",
        "Saved {{incident.number}}",
    ] {
        assert!(version.contains(shown), "{shown}: {version}");
    }
    admin.open(&format!("{page}/mail/0")).await.expect(200);
    admin.open(&format!("{page}/mail/9")).await.expect(404);
    admin
        .send_from(page, &format!("{page}/reset"), &[])
        .await
        .expect(303);
    assert_eq!(
        app.get("/api/v1/templates/update").await.expect(200)["builtin"],
        true
    );
    let list = admin.page(&format!("{page}/versions")).await;
    assert!(list.contains("Version 2") && list.contains("built in"), "{list}");
    admin
        .send_from(
            &format!("{page}/versions/1"),
            &format!("{page}/versions/1/restore"),
            &[],
        )
        .await
        .expect(303);
    assert_eq!(source(&app).await["subject"], "Saved {{incident.number}}");
    app.finish().await;
}
