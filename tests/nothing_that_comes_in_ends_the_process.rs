//! Mails, templates, expressions and JSON that nest as deep as their size allows are read or refused, and the service
//! goes on. A template is judged by what it holds and not by how it is written, and its rendering has a budget.

use std::time::{Duration, Instant};

use candor::notice::template::{Phase, Source, Template, samples};
use serde_json::json;

use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(deep_input_is_read_or_refused_and_the_service_goes_on);

const LEVEL: &str = "Content-Type: message/rfc822\n\n";

async fn deep_input_is_read_or_refused_and_the_service_goes_on(env: Env) {
    let app = TestApp::start(&env).await;
    let integration = app
        .post(
            "/api/v1/integrations",
            json!({"name": "Nagios", "source": "nagios"}),
        )
        .await
        .expect(201);
    let hook = integration["hook_url"].as_str().expect("a URL").to_owned();
    let mails = [
        format!("From: a@example.com\nSubject: deep\n{}", LEVEL.repeat(30_000)),
        format!(
            "From: a@example.com\nSubject: deep\n{}",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n".repeat(18_000)
        ),
        format!(
            "From: a@example.com\nSubject: deep\n{}",
            "Content-Type: multipart/digest; boundary=b\n\n--b\n\n".repeat(17_000)
        ),
    ];
    for mail in mails {
        let answer = app
            .post_raw("/api/v1/inbound-mail", "message/rfc822", mail.clone())
            .await;
        assert!(answer.status < 500, "{}", answer.status);
        let answer = app.anonymous().post_raw(&hook, "message/rfc822", mail).await;
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    for nested in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
        let answer = app
            .anonymous()
            .post_raw(&hook, "application/json", nested.clone())
            .await;
        assert!((400..500).contains(&answer.status), "{}", answer.status);
        let answer = app
            .post_raw("/api/v1/integrations", "application/json", nested)
            .await;
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    let pattern = format!("{}(?<a>b){}", "(".repeat(3_000), ")".repeat(3_000));
    let rules = json!([{"field": "title", "pattern": pattern}]);
    app.post(
        "/api/v1/integrations",
        json!({"name": "Deep", "source": "generic", "resource_rules": rules}),
    )
    .await
    .expect_problem(422);
    let template = app.get("/api/v1/templates/detection").await.expect(200);
    for html in hostile() {
        let body = json!({"subject": template["subject"], "text": template["text"], "html": html});
        app.put("/api/v1/templates/detection", body)
            .await
            .expect_invalid("/html");
    }
    assert_eq!(
        app.get("/api/v1/templates/detection").await.expect(200)["html"],
        template["html"]
    );
    app.finish().await;
}

/// HTML parts that are to be refused.
fn hostile() -> Vec<String> {
    let each = "{{#each resources}}".repeat(6) + "{{label}}" + &"{{/each}}".repeat(6);
    let silent = "{{#each ../resources}}".repeat(6) + &"{{/each}}".repeat(6);
    let chain = format!("{{{{#if what}}}}{}{{{{/if}}}}", "{{else if what}}".repeat(3_000));
    let mut all: Vec<String> = [
        "{{# *inline \"action.html\"}}{{> action.html}}{{/inline}}{{> action.html}}",
        "{{#*inline \"a\"}}{{> b}}{{/inline}}{{#*inline \"b\"}}{{> a}}{{/inline}}{{> a}}",
        "{{* inline \"a\"}}",
        "{{#> layout.html}}{{> @partial-block}}{{/layout.html}}",
        "{{> @partial-block}}",
        "{{> (lookup this \"sender\")}}",
        "{{{recipient.name}}}",
        "{{&recipient.name}}",
        "{{ &recipient.name}}",
        "{{ {recipient.name} }}",
        "{{~ &recipient.name}}",
        "{{~{recipient.name}~}}",
        "{{~ {recipient.name} ~}}",
        "{{#> layout.html}}{{ & recipient.name}}{{/layout.html}}",
        "{{#each paragraphs}}{{&this}}{{/each}}",
        "{{#if what}}{{else}}{{ &this.what }}{{/if}}",
        "{{{{raw}}}}{{what}}{{{{/raw}}}}",
        "{{{{if what}}}}a{{{{/if}}}}",
        "{{#raw}}{{what}}{{/raw}}",
        "{{log \"x\"}}",
        "{{log}}",
        "{{candor_step 1}}",
        "{{#what}}a{{/what}}",
        "{{if what \"a\"}}",
        "{{recipient.nam}}",
        "{{#if recipent}}a{{/if}}",
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend([
        "{{#if what}}".repeat(1_185) + &"{{/if}}".repeat(1_185),
        chain,
        format!("{{{{len {}what{}}}}}", "(len ".repeat(9), ")".repeat(9)),
        format!(
            "{{{{len {}what{}}}}}",
            "(or ".repeat(10_000),
            " what)".repeat(10_000)
        ),
        format!("{{{{eq what {}{}}}}}", "[".repeat(20_000), "]".repeat(20_000)),
        "{{#> layout.html}}".repeat(1_000) + &"{{/layout.html}}".repeat(1_000),
        each,
        silent,
    ]);
    all
}

fn refused(part: &str, text: &str) -> String {
    let mut source = Source::builtin(Phase::Detection);
    match part {
        "html" => source.html = text.to_owned(),
        _ => source.text = text.to_owned(),
    }
    match Template::compile(Phase::Detection, &source) {
        Ok(_) => panic!("{text} was taken"),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn rendering_has_a_budget() {
    let start = Instant::now();
    for part in ["text", "html"] {
        let loud = "{{#each @root.resources}}".repeat(6) + "{{label}}" + &"{{/each}}".repeat(6);
        let silent =
            "{{#each @root.resources}}".repeat(6) + "{{#if account}}{{/if}}" + &"{{/each}}".repeat(6);
        for text in [loud, silent] {
            let error = refused(part, &text);
            assert!(error.contains("each"), "{error}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn an_unknown_name_is_named_with_the_known_ones() {
    let error = refused("text", "Hello\n {{recipient.nmae}}");
    for word in [
        "line 2, column 2",
        "'nmae'",
        "did you mean 'name'?",
        "unsubscribe_url",
    ] {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert!(!error.contains("Some("), "{error}");
    let error = refused("html", "{{> nowhere.html}}");
    assert!(error.contains("paragraphs.html"), "{error}");
}

#[test]
fn what_is_allowed_renders_as_before() {
    for (text, expected) in [
        (
            "{{#each resources as |one|}}{{one.label}};{{/each}}",
            "Launch film 1 (media m1);",
        ),
        ("{{#with recipient}}{{name}}{{/with}}", "Ann"),
        ("{{{recipient.name}}}{{&recipient.name}}", "AnnAnn"),
        ("{{lookup recipient \"name\"}} {{len resources}}", "Ann 1"),
        (
            "{{#each paragraphs}}{{#if @first}}{{this}}{{/if}}{{/each}}",
            "We are looking into it.",
        ),
        (
            "{{#if (and what (not optional))}}a{{else if what}}b{{else}}c{{/if}}",
            "a",
        ),
        ("{{!-- {{x}} --}}{{@root.what}}", "Launch film"),
    ] {
        let source = Source {
            subject: "S".to_owned(),
            text: format!("{text}{{{{sender}}}}"),
            html: "<p>{{what}}</p>".to_owned(),
        };
        let template =
            Template::compile(Phase::Detection, &source).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let [sample, ..] = samples(Phase::Detection);
        assert_eq!(
            template.render(&sample).unwrap().text,
            format!("{expected}Quickbyte")
        );
    }
}
