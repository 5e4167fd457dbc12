//! A template shows a customer's value only where escaping for HTML protects the reader. Any other is refused when it is
//! saved. One that was saved before this was refused is still sent, and every place that shows it warns.

use candor::notice::template::{Phase, Source, Template};
use proptest::prelude::*;
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::{ADMIN_TOKEN, Env, TestApp, complete, on_both_databases};

on_both_databases!(
    only_safe_places_are_saved,
    a_template_from_before_is_sent_with_warnings
);

/// HTML parts that are saved.
const SAFE: &[&str] = &[
    // Text.
    "<p>{{what}}</p>",
    "{{what}}",
    "a < b {{what}}",
    "a & {{what}}",
    "<br/>{{what}}<br>{{sender}}",
    "</p>{{what}}</p x>{{what}}",
    "<p>{{len resources}} {{lookup recipient \"name\"}}</p>",
    "<title>{{what}}</title><textarea>{{what}} </titl {{what}}</textarea>",
    "<textarea><b>{{what}}</b></textarea>",
    "<TITLE>{{what}}</Title >{{what}}",
    // Behind what is over.
    "<!-- a -->{{what}}",
    "<!-->{{what}}",
    "<!--->{{what}}",
    "<!-- a --!>{{what}}",
    "<!-- > -- > -->{{what}}",
    "<!--[if mso]><td><![endif]-->{{what}}",
    "<![if !mso]>{{what}}<![endif]>",
    "<!doctype html>{{what}}",
    "<?xml version=\"1.0\"?>{{what}}",
    "<style>a > b {}</style>{{what}}",
    "<style></stylex></style\n>{{what}}",
    "<STYLE>a</STYLE>{{what}}",
    "<script>if (a < b) {}</script>{{what}}",
    "</>{{what}}",
    "</ a>{{what}}",
    "<p title='a > b'>{{what}}</p>",
    "<p class=a>{{what}}</p>",
    // Quoted values.
    "<p title=\"{{what}}\" lang='{{phase}}'>a</p>",
    "<img alt = \"a {{what}} b\">",
    "<td width=\"{{more_resources}}\" bgcolor=\"{{phase}}\" align='{{phase}}' valign='{{phase}}' height='{{phase}}'>",
    "<td abbr='{{what}}' class='{{phase}}' color='{{phase}}' datetime='{{what}}' dir='{{phase}}' id='{{phase}}' summary='{{what}}'>",
    "<p DATA-Name=\"{{what}}\" Aria-Label='{{what}}'>",
    "<p title=\"{{what}}{{sender}}\"class='{{phase}}'>",
    // Links that Candor makes.
    "<a href=\"{{unsubscribe_url}}\">a</a>",
    "<A HREF='{{@root.unsubscribe_url}}#top' class=\"{{phase}}\">a</A>",
    "<area href=\"{{this.unsubscribe_url}}\">",
    "{{#if answers}}<a href=\"{{answers.works}}\">a</a><a href='{{@root.answers.help}}'>b</a>{{/if}}",
    "{{#each paragraphs}}<a href=\"{{../unsubscribe_url}}\">{{this}}</a>{{/each}}",
    "<a href=\"{{#if optional}}{{unsubscribe_url}}{{else}}https://example.com/{{/if}}\">a</a>",
    // Branches.
    "<p{{#if optional}} class=\"a\"{{/if}}>{{what}}</p>",
    "<p {{#if optional}}class=\"{{phase}}\"{{else}}title='{{what}}'{{/if}}>{{what}}</p>",
    "<p {{#if optional}}hidden {{/if}}class=\"{{phase}}\">{{what}}</p>",
    "<p class=\"a{{#if optional}} b{{else}}{{phase}}{{/if}}\">{{what}}</p>",
    "<style>{{#if optional}}a{}{{/if}}</style>{{what}}",
    "<!-- {{#if optional}}a{{else}}b{{/if}} -->{{what}}",
    "{{#if optional}}<b>{{else if what}}<i>{{else}}<u>{{/if}}{{what}}",
    "{{#if optional}}<td class=\"a\"{{else}}<th class=\"b\"{{/if}}>{{what}}",
    "<ul>{{#each resources}}<li title=\"{{label}}\">{{label}}</li>{{else}}<li>{{what}}</li>{{/each}}</ul>",
    "<p class=\"{{#each paragraphs}}a{{@index}} {{/each}}\">{{what}}</p>",
    "<p{{#each times}} data-{{#if @first}}a{{else}}b{{/if}}{{/each}}>{{what}}",
    "{{#with recipient}}<p title=\"{{name}}\">{{name}}</p>{{/with}}",
    "{{#> layout.html}}{{> paragraphs.html}}<p>{{what}}</p>{{/layout.html}}",
    "<p>{{!-- <script> --}}{{what}}</p>",
];

/// HTML parts that are refused, and a part of the reason.
const UNSAFE: &[(&str, &str)] = &[
    (
        "<script>var a = '{{what}}'</script>",
        "in the content of <script>",
    ),
    ("<SCRIPT src=a>{{what}}</SCRIPT>", "in the content of <script>"),
    ("<script/>{{what}}", "in the content of <script>"),
    ("<script><!-- <script></script>{{what}}", "behind <script>"),
    (
        "<style>.a { color: {{what}} }</style>",
        "in the content of <style>",
    ),
    ("<style></styl {{what}}</style>", "in the content of <style>"),
    ("<style media='a'>\n</style{{what}}", "in the content of <style>"),
    ("<iframe>{{what}}</iframe>", "in the content of <iframe>"),
    ("<xmp>{{what}}</xmp>", "in the content of <xmp>"),
    ("<!-- {{what}} -->", "in an HTML comment"),
    ("<!--[if mso]>{{what}}<![endif]-->", "in an HTML comment"),
    ("<!----!{{what}}", "in an HTML comment"),
    ("<!--!>{{what}}", "in an HTML comment"),
    ("<!-- -- {{what}}>", "in an HTML comment"),
    ("<!doctype {{what}}>", "in a declaration"),
    ("<!{{what}}", "in a declaration"),
    ("<?a {{what}}?>", "in a declaration"),
    ("</ {{what}}>", "in a declaration"),
    ("<{{what}}>", "in the name of a tag"),
    ("</{{what}}>", "in the name of a tag"),
    ("<p{{what}}>", "in the name of a tag"),
    ("<p {{what}}>", "between attributes"),
    ("<p title=\"a\"{{what}}>", "between attributes"),
    ("<p/{{what}}>", "between attributes"),
    ("<p tit{{what}}=\"a\">", "in the name of an attribute"),
    ("<p title {{what}}>", "in the name of an attribute"),
    ("<p title={{what}}>", "put the value in quotes"),
    ("<p title= {{what}}>", "put the value in quotes"),
    ("<p title=a{{what}}>", "put the value in quotes"),
    (
        "<p onclick=\"a('{{what}}')\">",
        "in the value of the attribute onclick",
    ),
    ("<p ONLOAD='{{what}}'>", "in the value of the attribute onload"),
    (
        "<p style=\"color:{{what}}\">",
        "in the value of the attribute style",
    ),
    ("<img src=\"{{what}}\">", "in the value of the attribute src"),
    (
        "<img src=\"{{unsubscribe_url}}\">",
        "in the value of the attribute src",
    ),
    ("<img srcset='{{what}}'>", "in the value of the attribute srcset"),
    (
        "<iframe srcdoc=\"{{what}}\"></iframe>",
        "in the value of the attribute srcdoc",
    ),
    (
        "<form action=\"{{what}}\">",
        "in the value of the attribute action",
    ),
    (
        "<meta http-equiv=refresh content=\"{{what}}\">",
        "in the value of the attribute content",
    ),
    ("<p data-=\"{{what}}\">", "in the value of the attribute data-"),
    ("<a href=\"{{what}}\">", "{{unsubscribe_url}}"),
    ("<a href=\"{{answers}}\">", "{{answers.works}}"),
    (
        "{{#with answers}}<a href=\"{{works}}\">a</a>{{/with}}",
        "{{answers.works}}",
    ),
    (
        "{{#each resources as |answers|}}{{answers.label}}{{/each}}",
        "the name 'answers' is that of a link",
    ),
    (
        "<a href=\"https://example.com/?a={{what}}\">",
        "first in the value",
    ),
    (
        "<a href=\"javascript:{{unsubscribe_url}}\">",
        "first in the value",
    ),
    ("<a href=\" {{unsubscribe_url}}\">", "first in the value"),
    ("<a href=\"{{unsubscribe_url}}{{what}}\">", "first in the value"),
    (
        "<a href=\"{{lookup this \"unsubscribe_url\"}}\">",
        "first in the value",
    ),
    ("<a href=\"{{recipient.name}}\">", "first in the value"),
    ("<a href={{unsubscribe_url}}>", "not in quotes"),
    ("<base href=\"{{unsubscribe_url}}\">", "in <a> or <area>"),
    ("<link href=\"{{unsubscribe_url}}\">", "in <a> or <area>"),
    (
        "{{#each paragraphs as |unsubscribe_url|}}<a href=\"{{unsubscribe_url}}\">a</a>{{/each}}",
        "choose another name",
    ),
    (
        "{{#with what as |unsubscribe_url|}}{{unsubscribe_url}}{{/with}}",
        "choose another name",
    ),
    (
        "{{#> layout.html unsubscribe_url=what}}a{{/layout.html}}",
        "choose another name",
    ),
    ("<svg><title>{{what}}</title></svg>", "behind <svg>"),
    ("<math></math>{{what}}", "behind <math>"),
    ("<noscript><!-- </noscript>{{what}}", "behind <noscript>"),
    ("<plaintext>{{what}}", "behind <plaintext>"),
    ("<textarea></textare{{what}}", "in the content of <textarea>"),
    (
        "<p {{#if optional}}title=\"{{/if}}{{what}}\">",
        "{{#if}} end at different places",
    ),
    (
        "{{#if optional}}<style>{{/if}}{{what}}",
        "{{#if}} end at different places",
    ),
    (
        "{{#if optional}}<!--{{else}}<p>{{/if}}{{what}}",
        "{{#if}} end at different places",
    ),
    (
        "{{#unless optional}}<a {{/unless}}{{what}}",
        "{{#unless}} end at different places",
    ),
    (
        "{{#if optional}}a{{else if what}}<p title='{{else}}b{{/if}}{{what}}",
        "end at different places",
    ),
    (
        "<p title={{#if optional}}\"{{else}}'{{/if}}{{what}}\">",
        "end at different places",
    ),
    (
        "<{{#if optional}}script{{else}}b{{/if}}>{{what}}",
        "end at different places",
    ),
    (
        "<p {{#if optional}}title{{else}}onclick{{/if}}=\"{{what}}\">",
        "must follow",
    ),
    (
        "<p{{#if optional}} class=\"a\"{{/if}}onclick=\"{{what}}\">",
        "must follow",
    ),
    ("<p {{#if optional}}title {{/if}}=\"{{what}}\">", "must follow"),
    (
        "{{#each paragraphs}}<p title=\"{{/each}}{{what}}",
        "{{#each}} begins and ends at different places",
    ),
    (
        "{{#each paragraphs}}{{this}}<style>{{/each}}",
        "{{#each}} begins and ends at different places",
    ),
    (
        "<a href=\"{{#each paragraphs}}{{@root.unsubscribe_url}}{{/each}}\">",
        "first in the value",
    ),
    (
        "<p title=\"{{> paragraphs.html}}\">",
        "partials are allowed only in the text",
    ),
    (
        "<style>{{> paragraphs.html}}</style>",
        "partials are allowed only in the text",
    ),
    (
        "{{#> layout.html}}<p title=\"{{/layout.html}}",
        "must end in the text",
    ),
    (
        "{{#> layout.html}}<style>{{what}}</style>{{/layout.html}}",
        "in the content of <style>",
    ),
];

async fn only_safe_places_are_saved(env: Env) {
    let app = TestApp::start(&env).await;
    let body =
        |html: &str| complete(json!({"subject": "Ours", "text": "{{what}} <style>{{what}}", "html": html}));
    for html in SAFE {
        let answer = app.put("/api/v1/templates/detection", body(html)).await;
        assert_eq!(answer.status, 200, "{html}: {answer}");
    }
    let last = app.get("/api/v1/templates/detection").await.expect(200);
    for (html, reason) in UNSAFE {
        let answer = app.put("/api/v1/templates/detection", body(html)).await;
        assert_eq!(answer.status, 422, "{html}: {answer}");
        assert_eq!(answer.places(), ["/html"], "{html}: {answer}");
        let detail = answer["errors"][0]["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            detail.starts_with("line ") && detail.contains(", column ") && detail.contains(reason),
            "{html}: {detail}"
        );
    }
    // The line is that of the value, and an idea of what to do comes with it.
    let answer = app
        .put(
            "/api/v1/templates/detection",
            body("<p>\n  <p\n style=\"color: {{phase}}\">"),
        )
        .await
        .expect_invalid("/html");
    let detail = answer["errors"][0]["detail"].to_string();
    for word in [
        "line 3, column 16",
        "{{phase}}",
        "style",
        "move it into the text",
        "aria-*",
    ] {
        assert!(detail.contains(word), "{word}: {detail}");
    }
    assert_eq!(
        app.get("/api/v1/templates/detection").await.expect(200)["id"],
        last["id"]
    );
    app.finish().await;
}

async fn a_template_from_before_is_sent_with_warnings(env: Env) {
    let mut app = TestApp::start(&env).await;
    // As an earlier version of Candor took it.
    let source = Source::new(
        "About {{what}}".to_owned(),
        "{{#each paragraphs}}{{this}}{{/each}}".to_owned(),
        "<p style=\"color:{{phase}}\">{{#each paragraphs}}{{this}}{{/each}}</p>".to_owned(),
    );
    let id = source.id(Phase::Detection);
    env.sql(&format!(
        "INSERT INTO templates (id, phase, subject, body_text, body_html, created_at) \
         VALUES ('{id}', 'detection', '{}', '{}', '{}', 1); \
         INSERT INTO current_templates (phase, template_id) VALUES ('detection', '{id}');",
        source.subject, source.text, source.html
    ))
    .expect("a template");
    app.restart().await;
    let unsafe_place = "line 1, column 17: {{phase}} is in the value of the attribute style";
    let template = app.get("/api/v1/templates/detection").await.expect(200);
    assert!(
        template["warnings"].to_string().contains(unsafe_place),
        "{template}"
    );
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let page = browser.page("/admin/templates/detection").await;
    assert!(page.contains("in the value of the attribute style"), "{page}");
    // A notice is sent with it, and its preview says so.
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert!(
        preview["warnings"].to_string().contains(unsafe_place),
        "{preview}"
    );
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let mails = app.mails(3).await;
    assert!(mails[0].html.contains("color:detection"), "{}", mails[0].html);
    // Saving it again is refused.
    app.put(
        "/api/v1/templates/detection",
        json!({"subject": source.subject, "text": source.text, "html": source.html}),
    )
    .await
    .expect_invalid("/html");
    app.finish().await;
}

/// A piece of HTML that begins and ends in text, and whether its value is at a safe place.
fn pieces() -> impl Strategy<Value = (String, bool)> {
    let safe = prop::sample::select(vec![
        "{{what}}",
        "<p title='{{what}}'>a</p>",
        "<a href=\"{{@root.unsubscribe_url}}\">a</a>",
        "<title>{{what}}</title>",
        "<!-- a --><b>{{what}}</b>",
        "<td{{#if @root.optional}} class=\"{{what}}\"{{/if}} nowrap>",
    ]);
    let unsafe_ = prop::sample::select(vec![
        "<style>{{what}}</style>",
        "<!-- {{what}} -->",
        "<p title={{what}}>",
        "<p style='{{what}}'>",
        "<a href='{{what}}'>a</a>",
        "<script>{{what}}</script>",
    ]);
    prop_oneof![
        6 => safe.prop_map(|html| (html.to_owned(), true)),
        1 => unsafe_.prop_map(|html| (html.to_owned(), false)),
    ]
}

/// Pieces one after another, and within elements, branches and lists.
fn parts() -> impl Strategy<Value = (String, bool)> {
    let leaf = pieces();
    leaf.prop_recursive(4, 24, 3, |inner| {
        let several = prop::collection::vec(inner, 1..4);
        (several, 0..6_usize).prop_map(|(several, how)| {
            let safe = several.iter().all(|(_, safe)| *safe);
            let all: String = several.iter().map(|(html, _)| html.as_str()).collect();
            let half = several.len() / 2;
            let first: String = several[..half].iter().map(|(html, _)| html.as_str()).collect();
            let second: String = several[half..].iter().map(|(html, _)| html.as_str()).collect();
            let html = match how {
                0 => format!("<div class=\"a>b\">{all}</div>"),
                1 => format!("{{{{#if optional}}}}{first}{{{{else}}}}{second}{{{{/if}}}}"),
                2 => format!("{{{{#if optional}}}}{first}{{{{else if what}}}}{second}{{{{/if}}}}"),
                3 => format!("{{{{#unless optional}}}}{all}{{{{/unless}}}}"),
                4 => format!("{{{{#> layout.html}}}}{all}{{{{/layout.html}}}}"),
                _ => all,
            };
            (html, safe)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_template_is_safe_exactly_if_all_its_values_are((html, safe) in parts()) {
        let source = Source::new("S".to_owned(), "T".to_owned(), html.clone());
        // The layout cannot lie within itself, which the samples show.
        let template = Template::compile(Phase::Detection, &source);
        prop_assume!(template.is_ok());
        let template = template.unwrap();
        prop_assert_eq!(template.unsafe_place().is_none(), safe, "{}: {:?}", html, template.unsafe_place());
    }
}

#[test]
fn lists_within_tags_are_judged_in_bounded_time() {
    // Each list is walked through more than once, and so is each list within it.
    let html = "<p ".to_owned()
        + &"{{#each paragraphs}}a{{#if optional}}b{{/if}} c".repeat(30)
        + &"{{/each}}".repeat(30)
        + ">";
    let source = Source::new("S".to_owned(), "T".to_owned(), html);
    let start = std::time::Instant::now();
    let _ = Template::compile(Phase::Detection, &source);
    assert!(
        start.elapsed() < std::time::Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}
