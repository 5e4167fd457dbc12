//! A template cannot leave out what a customer must be told, cannot read what is not for customers, and cannot end or block the
//! process.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Env, TestApp, complete, on_both_databases};

on_both_databases!(
    what_must_be_told_cannot_be_left_out,
    what_is_internal_cannot_be_reached,
    recursion_and_endless_output_are_refused,
);

const PATH: &str = "/api/v1/templates/resolution";

async fn what_must_be_told_cannot_be_left_out(env: Env) {
    let app = TestApp::start(&env).await;
    let builtin = app.get(PATH).await.expect(200);
    let with = |part: &str, text: &str| {
        let mut source =
            json!({"subject": builtin["subject"], "text": builtin["text"], "html": builtin["html"]});
        source[part] = json!(text);
        source
    };
    let cases = [
        // Nothing at all, and each text alone.
        ("text", "Hello", 3),
        ("html", "<p>Hello</p>", 3),
        ("text", "{{> paragraphs.txt}}{{reason}}", 1),
        ("text", "{{> action.txt}}{{reason}}", 1),
        ("text", "{{> action.txt}}{{> paragraphs.txt}}", 1),
        // The hidden beginning of the layout shows the first paragraph and the action, but nobody sees them.
        ("html", "{{#> layout.html}}<p>Hello</p>{{/layout.html}}", 2),
        // A title is not in the email.
        (
            "html",
            "<title>{{reason}}</title>{{> paragraphs.html}}{{> action.html}}",
            1,
        ),
        // In some emails only.
        (
            "text",
            "{{#if optional}}{{> paragraphs.txt}}{{/if}}{{> action.txt}}{{reason}}",
            1,
        ),
        (
            "text",
            "{{> paragraphs.txt}}{{> action.txt}}{{#if resources}}{{reason}}{{/if}}",
            1,
        ),
        (
            "html",
            "{{> paragraphs.html}}{{reason}}{{#if headline}}{{> action.html}}{{/if}}",
            1,
        ),
        // Only the first paragraph.
        (
            "text",
            "{{#each paragraphs}}{{#if @first}}{{this}}{{/if}}{{/each}}{{> action.txt}}{{reason}}",
            1,
        ),
    ];
    for (part, text, missing) in cases {
        let refused = app
            .put(PATH, with(part, text))
            .await
            .expect_invalid(&format!("/{part}"));
        let errors = refused["errors"].as_array().expect("errors");
        assert_eq!(errors.len(), missing, "{text}: {refused}");
        for error in errors {
            assert_eq!(error["pointer"], format!("/{part}"), "{text}: {refused}");
            let detail = error["detail"].as_str().expect("a detail");
            assert!(
                detail.contains("does not show") && detail.contains("{{"),
                "{text}: {detail}"
            );
        }
    }
    for (part, text) in [
        (
            "text",
            "{{#if action}}{{action.text}}{{/if}}{{#each paragraphs}}{{this}}{{/each}}{{reason}}",
        ),
        (
            "html",
            "<p title=\"a > b\">{{#each paragraphs}}{{this}}{{/each}}</p>{{#if action}}{{action.text}}{{/if}} a < b {{reason}}",
        ),
    ] {
        app.put(PATH, with(part, text)).await.expect(200);
    }
    app.finish().await;
}

async fn what_is_internal_cannot_be_reached(env: Env) {
    let app = TestApp::start(&env).await;
    for reach in [
        "{{incident.title}}",
        "{{title}}",
        "{{incident.summary}}",
        "{{incident.id}}",
        "{{@root.incident.title}}",
        "{{#with incident}}{{title}}{{/with}}",
        "{{#each timeline}}{{text}}{{/each}}",
        "{{#each incident.timeline}}{{text}}{{/each}}",
        "{{alerts}}",
        "{{#each alerts}}{{title}}{{/each}}",
        "{{incident.alerts.[0].title}}",
        "{{report.internal}}",
        "{{#each report.sections}}{{audience}}{{/each}}",
        "{{recipient.email}}",
        "{{recipient.people}}",
        "{{recipients}}",
        "{{#each recipients}}{{name}}{{/each}}",
        "{{people}}",
        "{{approved_by}}",
        "{{../../secret}}",
        "{{constructor}}",
        "{{__proto__}}",
        "{{lookup this \"title\"}}{{lookup incident \"title\"}}{{title.length}}",
    ] {
        let source = complete(json!({
            "subject": "S", "text": format!("{reach} {{{{what}}}}"), "html": "<p>{{what}}</p>",
        }));
        app.put(PATH, source).await.expect_invalid("/text");
    }
    // A lookup reaches only what the email of this recipient contains.
    let looking = "{{lookup recipient \"email\"}}{{lookup incident \"title\"}}{{lookup this \"recipients\"}}{{lookup @root \"people\"}}";
    let source = complete(json!({"subject": "S", "text": format!("<{looking}>"), "html": "<p>H</p>"}));
    let saved = app.put("/api/v1/templates/detection", source).await;
    if saved.status == 200 {
        let incident = app.story_incident().await;
        app.tell(&incident, "detection").await;
        for mail in app.mails(3).await {
            assert!(mail.text.contains("<>"), "{}", mail.text);
        }
    } else {
        saved.expect_problem(422);
    }
    app.finish().await;
}

/// Templates that would never end, or would fill the memory.
fn hostile() -> Vec<String> {
    let mut all = vec![
        "{{> text}}".to_owned(),
        "{{> html}}".to_owned(),
        "{{> detection}}".to_owned(),
        "{{> (lookup this \"phase\")}}".to_owned(),
        "{{> @partial-block}}".to_owned(),
        "{{#*inline \"a\"}}{{> a}}{{/inline}}{{> a}}".to_owned(),
        "{{#*inline \"paragraphs.txt\"}}{{> paragraphs.txt}}{{/inline}}{{> paragraphs.txt}}".to_owned(),
        "{{#> layout.html}}{{> @partial-block}}{{/layout.html}}".to_owned(),
        "{{candor_step 1}}".to_owned(),
        "{{breaks what}}".to_owned(),
        "{{log what}}".to_owned(),
        "{{raw what}}".to_owned(),
        "{{{{raw}}}}{{what}}{{{{/raw}}}}".to_owned(),
        "{{#each @root.resources}}".repeat(8) + "{{label}}" + &"{{/each}}".repeat(8),
        "{{#each @root.paragraphs}}".repeat(5) + "{{this}}" + &"{{/each}}".repeat(5),
        "{{#if what}}".repeat(5_000) + &"{{/if}}".repeat(5_000),
        "{{#with this}}".repeat(5_000) + &"{{/with}}".repeat(5_000),
        "x".repeat(70_000),
    ];
    all.push(format!(
        "{{{{lookup {}what \"a\"{}}}}}",
        "(lookup ".repeat(2_000),
        " \"a\")".repeat(2_000)
    ));
    all
}

async fn recursion_and_endless_output_are_refused(env: Env) {
    let app = TestApp::start(&env).await;
    let before = app.get(PATH).await.expect(200);
    for text in hostile() {
        let shown: String = text.chars().take(60).collect();
        let source = complete(json!({"subject": "S", "text": text, "html": "<p>H</p>"}));
        let start = Instant::now();
        let answer = app.put(PATH, source).await;
        assert_eq!(answer.status, 422, "{shown}: {answer}");
        assert!(start.elapsed() < Duration::from_secs(30), "{shown}");
        // The process lives, and the template is as before.
        app.get("/healthz").await.expect(200);
    }
    let after = app.get(PATH).await.expect(200);
    let id = |template: &Value| template["id"].clone();
    assert_eq!(id(&after.json), id(&before.json));
    app.finish().await;
}
