//! Emails, templates, expressions and JSON with the deepest nesting that their size allows are parsed or
//! refused, and the service continues. The content of a template decides and not its notation, and its
//! rendering has limits.

use std::time::{Duration, Instant};

use candor::notice::template::{Phase, Source, Template, samples};
use serde_json::json;

use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    deep_input_is_read_or_refused_and_the_service_goes_on,
    every_source_reads_or_refuses_deep_bodies,
    what_a_rule_did_not_look_at_is_said,
    other_changes_go_on_while_a_slow_rule_looks
);

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

async fn every_source_reads_or_refuses_deep_bodies(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T02:00:00Z").start().await;
    let n = 50_000;
    let arrays = "[".repeat(n);
    let objects = "{\"a\":".repeat(n);
    // A text within JSON that is JSON itself, as Amazon sends it.
    let within = json!({"Type": "Notification", "Message": arrays, "payload": objects}).to_string();
    let closed = format!("{}{}", "{\"alerts\":[".repeat(n), "]}".repeat(n));
    let form = format!("a{}=1&payload={}", "[a]".repeat(n), "%7B%22a%22%3A".repeat(n));
    let multipart = "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n".repeat(10_000);
    let xml = "<a>".repeat(n);
    let bodies = [
        ("application/json", &arrays),
        ("application/json", &objects),
        ("application/json", &within),
        ("application/json", &closed),
        ("application/x-www-form-urlencoded", &form),
        ("multipart/form-data; boundary=b", &multipart),
        ("text/plain", &xml),
    ];
    for source in candor::alert::source::KNOWN {
        let made = app
            .post("/api/v1/integrations", json!({"name": source, "source": source}))
            .await
            .expect(201);
        let hook = made["hook_url"].as_str().expect("a URL");
        for (type_, body) in bodies {
            let answer = app.anonymous().post_raw(hook, type_, body.clone()).await;
            assert!(answer.status < 500, "{source}, {type_}: {}", answer.status);
        }
    }
    // Lines and tables of the directory, selectors as objects and as text, and time expressions.
    let line = format!("{{\"kind\":\"account\",\"id\":\"a\",\"labels\":{objects}");
    for (type_, body) in [
        ("application/x-ndjson", &line),
        ("application/x-ndjson", &arrays),
        ("text/csv", &"\"".repeat(n)),
        ("text/csv", &",".repeat(n)),
    ] {
        let answer = app
            .post_raw("/api/v1/directory/import", type_, body.clone())
            .await;
        assert!((400..500).contains(&answer.status), "{type_}: {}", answer.status);
    }
    let mut selectors = vec![
        format!("{{\"selector\":{objects}"),
        format!("{{\"selector\":{}{}}}", "{\"all\":[".repeat(n), "]}".repeat(n)),
    ];
    for text in [
        format!("{}type=file{}", "(".repeat(n), ")".repeat(n)),
        format!("{}type=file", "not ".repeat(n)),
        format!("{}type=file", "!".repeat(n)),
        "type=file and ".repeat(n),
    ] {
        selectors.push(json!({"selector": text}).to_string());
    }
    for body in selectors {
        let answer = app
            .post_raw("/api/v1/selectors/count", "application/json", body)
            .await;
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    for schedule in ["*/1,".repeat(n), "(".repeat(n), "1-".repeat(n)] {
        let window = json!({"name": "Nights", "until": "2024-04-14T00:00:00Z", "schedule": schedule, "duration": 3600,
            "matchers": [{"field": "labels.job", "is": "backup"}]});
        app.post("/api/v1/maintenance-windows", window)
            .await
            .expect_invalid("/schedule");
    }
    app.get("/api/v1/incidents").await.expect(200);
    app.finish().await;
}

/// Creates an integration with a resource rule and returns its ID and the URL of its hook.
async fn with_rule(app: &TestApp, field: &str, pattern: &str) -> (String, String) {
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "Own", "source": "generic", "resource_rules": [{"field": field, "pattern": pattern}]}),
        )
        .await
        .expect(201);
    let hook = made["hook_url"].as_str().expect("a URL").to_owned();
    (made.id(), hook)
}

async fn what_a_rule_did_not_look_at_is_said(env: Env) {
    let app = TestApp::start(&env).await;
    let (integration, hook) = with_rule(&app, "text", "media (?<media>m[0-9]+)").await;
    let text = format!("media m1 {} media m2", "x".repeat(70_000));
    let alert = json!({"fingerprint": "a", "status": "firing", "title": "Files are missing", "text": text});
    let taken = app.anonymous().post(&hook, &alert).await.expect(202);
    let notes = taken["notes"].to_string();
    assert!(notes.contains("resource rule 1 (text)"), "{notes}");
    assert_eq!(taken["unresolved_references"], 1);
    let kept = app
        .all(&format!("/api/v1/integrations/{integration}/requests"))
        .await;
    assert!(
        kept[0]["detail"].to_string().contains("resource rule 1 (text)"),
        "{kept:?}"
    );
    let alerts = app.all("/api/v1/alerts").await;
    assert!(
        alerts[0]["notes"].to_string().contains("resource rule 1 (text)"),
        "{alerts:?}"
    );
    // A matcher of an alert rule that did not search the text.
    app.post(
        "/api/v1/alert-rules",
        json!({"name": "Ends", "matchers": [{"field": "text", "matches": ".*m2"}], "policy": "record"}),
    )
    .await
    .expect(201);
    let second = json!({"fingerprint": "b", "status": "firing", "title": "Files are missing", "text": text});
    app.anonymous().post(&hook, &second).await.expect(202);
    let alerts = app.all("/api/v1/alerts").await;
    let notes = alerts
        .iter()
        .find(|alert| alert["fingerprint"] == "b")
        .map(|alert| alert["notes"].to_string())
        .unwrap_or_default();
    assert!(notes.contains("Ends"), "{notes}");
    app.finish().await;
}

async fn other_changes_go_on_while_a_slow_rule_looks(env: Env) {
    let app = TestApp::start(&env).await;
    // Each match first searches the text to its end, and every automaton for it is large.
    let (_, hook) = with_rule(&app, "texts", "(?<media>[AB]*A[AB]{200}C|A)").await;
    let mut seed = 7_u32;
    let text: String = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if seed >> 31 == 0 { 'A' } else { 'B' }
    })
    .take(60_000)
    .collect();
    let texts = vec![text; 15];
    let alert = json!({"fingerprint": "a", "status": "firing", "title": "Slow", "texts": texts});
    let start = Instant::now();
    let anonymous = app.anonymous();
    let sent = tokio::spawn(async move { anonymous.post(&hook, &alert).await });
    let mut longest = Duration::ZERO;
    let mut changes = 0;
    while !sent.is_finished() {
        let begun = Instant::now();
        app.post(
            "/api/v1/incidents",
            json!({"title": "Another", "severity": "minor"}),
        )
        .await
        .expect(201);
        longest = longest.max(begun.elapsed());
        changes += 1;
    }
    let taken = sent.await.expect("the hook's answer").expect(202);
    let whole = start.elapsed();
    assert!(
        taken["notes"].to_string().contains("resource rule 1"),
        "{:?}",
        taken["notes"]
    );
    // The rule needs more time than any of the changes.
    assert!(
        changes >= 3 && longest < whole / 2,
        "{changes} changes, {longest:?} of {whole:?}"
    );
    app.finish().await;
}

#[test]
fn a_mail_that_is_too_much_says_so() {
    let source = Source::new(
        "S".to_owned(),
        "{{#each paragraphs}}{{this}}{{/each}}".to_owned(),
        "<p>{{what}}</p>".to_owned(),
    );
    let template = Template::compile(Phase::Detection, &source).expect("a template");
    let [mut sample, ..] = samples(Phase::Detection);
    sample.paragraphs = vec!["x".to_owned(); 400_000];
    match template.render(&sample) {
        Err(candor::base::error::Error::Invalid { errors, .. }) => {
            assert_eq!(errors[0].pointer.as_deref(), Some("/template/text"));
            assert_eq!(
                errors[0].code.map(candor::base::code::Code::as_str),
                Some("limit_reached")
            );
        }
        other => panic!("{other:?}"),
    }
}

/// HTML parts that must be refused.
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
        Err(error) => error.to_string(),
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
    // The fields of the object in which the name was looked for, and no others.
    for (text, expected) in [
        (
            "Hello\n {{recipient.nmae}}",
            "/text: line 2, column 2: there is no variable 'nmae'; did you mean 'name'? The fields of the recipient are: name",
        ),
        (
            "{{incident.title_text}}",
            "/text: line 1, column 1: there is no variable 'title_text'. The fields of the incident are: number, severity",
        ),
        (
            "{{#each resources}}{{lable}}{{/each}}",
            "/text: line 1, column 20: there is no variable 'lable'; did you mean 'label'? The fields of a resource are: type, \
             id, label, account, finding, restored",
        ),
        (
            "{{#each resources}}{{#if ../recipient.nam}}{{/if}}{{/each}}",
            "/text: line 1, column 20: there is no variable 'nam'; did you mean 'name'? The fields of the recipient are: name",
        ),
        (
            "{{#each report.sections as |one|}}{{one.headings}}{{/each}}",
            "/text: line 1, column 35: there is no variable 'headings'; did you mean 'heading'? The fields of a section of the \
             report are: heading, paragraphs",
        ),
        (
            "{{#with action}}{{@root.times.[0].labels}}{{/with}}",
            "/text: line 1, column 17: there is no variable 'labels'; did you mean 'label'? The fields of a time are: label, text",
        ),
        (
            "{{#each paragraphs}}{{this.length}}{{/each}}",
            "/text: line 1, column 21: there is no variable 'length' here: a text has no fields",
        ),
        (
            "{{customer}}",
            "/text: line 1, column 1: there is no variable 'customer'. The fields of the email are: phase, incident, subject, \
             what, recipient, paragraphs, action, resources, more_resources, times, report, sender, reason, optional, \
             unsubscribe_url, mine_url, answers, late, corrects, recovery, drill, headline, update, next_update, support_url, values, language, direction, rtl, message_language, t, brand, maintenance",
        ),
        // Names that exist elsewhere are found to be missing when the samples are rendered.
        (
            "{{recipient.label}}",
            "/text: line 1, column 1: there is no variable 'label'. The fields of the recipient are: name",
        ),
        (
            "{{incident.sender}}",
            "/text: line 1, column 1: there is no variable 'sender'. The field 'sender' of the email is @root.sender. The \
             fields of the incident are: number, severity",
        ),
        (
            "{{#each resources}}{{sender}}{{/each}}",
            "/text: line 1, column 20: the variable 'sender' does not exist at this place; the names of the whole email are \
             reached with @root.",
        ),
    ] {
        assert_eq!(refused("text", text), expected, "{text}");
    }
    let error = refused("html", "{{> nowhere.html}}");
    assert!(error.contains("paragraphs.html"), "{error}");
    // A helper that lacks a value says so in words of the template.
    for (text, expected) in [
        ("{{lookup recipient}}", "value 2 of 'lookup' is missing"),
        (
            "{{#each resources}}{{eq name \"a\"}}{{/each}}",
            "value 1 of 'eq' is missing",
        ),
        (
            "{{resources.99999999999999999999}}",
            "is not a position in a list",
        ),
    ] {
        let error = refused("text", text);
        assert!(error.contains(expected), "{text}: {error}");
        assert!(
            !error.contains("Helper/Decorator") && !error.contains("vector"),
            "{error}"
        );
    }
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
        let source = Source::new(
            "S".to_owned(),
            format!("{text}{{{{sender}}}}"),
            "<p>{{what}}</p>".to_owned(),
        );
        let template =
            Template::compile(Phase::Detection, &source).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let [sample, ..] = samples(Phase::Detection);
        assert_eq!(
            template.render(&sample).unwrap().text,
            format!("{expected}Quickbyte")
        );
    }
}
