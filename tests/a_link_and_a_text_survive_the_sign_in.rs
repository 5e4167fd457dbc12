//! A link from a chat opens its page after the sign-in, and a form that is sent after its session ended keeps its text. Nothing is
//! sent by itself, no secret is kept, and no other site can use this.

use reqwest::Method;

use crate::support::browser::Browser;
use crate::support::{Answer, Env, Http, TestApp, on_one_database};

on_one_database!(
    a_link_opens_its_page,
    a_text_is_kept_and_sent_by_a_click,
    a_button_leads_back_to_its_page,
    a_form_of_an_earlier_session_is_shown_again,
    another_site_gets_nothing_into_a_form,
    the_key_of_the_forms_looks_different_each_time,
);

fn encoded(fields: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).finish()
}

/// Sends a form as a browser does, from a page of this or of another site.
async fn post(http: &Http, path: &str, cookie: &str, site: &str, fields: &[(&str, &str)]) -> Answer {
    let request = http.anonymous().request(Method::POST, path);
    request
        .header("cookie", cookie)
        .header("sec-fetch-site", site)
        .body("application/x-www-form-urlencoded", encoded(fields))
        .send()
        .await
}

/// Returns the value of a hidden field.
#[track_caller]
fn hidden(page: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = page
        .split_once(&start)
        .unwrap_or_else(|| panic!("no {name}: {page}"));
    let value = rest.split('"').next().expect("a value");
    value
        .replace("&amp;", "&")
        .replace("&#x3D;", "=")
        .replace("&quot;", "\"")
}

const TITLE: &str = "Typed at 3 a.m. <b>";
const NEW: [(&str, &str); 4] = [
    ("title", TITLE),
    ("severity", "major"),
    ("summary", ""),
    ("drill", "false"),
];

async fn a_link_opens_its_page(env: Env) {
    let app = TestApp::start(&env).await;
    let token = app.token("viewer").await;
    let asked = app.anonymous().get("/admin/search?q=a%20b").await.expect(303);
    assert_eq!(
        asked.header("location"),
        "/admin/sign-in?next=%2Fadmin%2Fsearch%3Fq%3Da%2520b"
    );
    let form = app.anonymous().get(asked.header("location")).await.expect(200);
    assert_eq!(hidden(&form.text, "next"), "/admin/search?q=a%20b");
    let fields = |next| [("next", next), ("token", token.as_str())];
    let signed = post(
        &app,
        "/admin/sign-in",
        "",
        "same-origin",
        &fields("/admin/search?q=a%20b"),
    )
    .await;
    assert_eq!(signed.expect(303).header("location"), "/admin/search?q=a%20b");
    // The cookie goes along with a link of another site, and not with a form.
    let signed = post(&app, "/admin/sign-in", "", "same-origin", &fields("/admin"))
        .await
        .expect(303);
    assert!(
        signed.header("set-cookie").contains("SameSite=Lax"),
        "{}",
        signed.header("set-cookie")
    );
    // No text leads to another place.
    for next in [
        "https://evil.example/",
        "//evil.example",
        "/api/v1/incidents",
        "/admin\\@evil.example",
        "/admin/sign-out",
    ] {
        let signed = post(&app, "/admin/sign-in", "", "same-origin", &fields(next))
            .await
            .expect(303);
        assert_eq!(signed.header("location"), "/admin", "{next}");
        let shown = app
            .anonymous()
            .get(&format!("/admin/sign-in?{}", encoded(&[("next", next)])))
            .await
            .expect(200);
        assert!(!shown.text.contains("name=\"next\""), "{next}");
    }
    // A wrong token keeps the link.
    let wrong = post(
        &app,
        "/admin/sign-in",
        "",
        "same-origin",
        &[("next", "/admin/audit"), ("token", "x")],
    )
    .await;
    assert_eq!(hidden(&wrong.expect(401).text, "next"), "/admin/audit");
    app.finish().await;
}

async fn a_text_is_kept_and_sent_by_a_click(env: Env) {
    let app = TestApp::start(&env).await;
    let token = app.token("operator").await;
    let mut sent = NEW.to_vec();
    sent.extend([
        ("form_key", "of a session that ended"),
        ("webhook_secret", "s3cret"),
    ]);
    let asked = post(&app, "/admin/incidents/new", "", "same-origin", &sent)
        .await
        .expect(401);
    assert!(
        asked.text.contains("nothing was sent") && !asked.text.contains("s3cret"),
        "{}",
        asked.text
    );
    let (to, kept) = (hidden(&asked.text, "to"), hidden(&asked.text, "kept"));
    let fields = [
        ("to", to.as_str()),
        ("kept", kept.as_str()),
        ("token", token.as_str()),
    ];
    // A wrong token loses nothing.
    let wrong = [fields[0], fields[1], ("token", "x")];
    let wrong = post(&app, "/admin/sign-in", "", "same-origin", &wrong)
        .await
        .expect(401);
    assert_eq!(hidden(&wrong.text, "kept"), kept);
    let shown = post(&app, "/admin/sign-in", "", "same-origin", &fields)
        .await
        .expect(200);
    assert!(
        shown.text.contains("Typed at 3 a.m. &lt;b&gt;</textarea>"),
        "{}",
        shown.text
    );
    assert!(
        shown.text.contains("action=\"/admin/incidents/new\""),
        "{}",
        shown.text
    );
    assert!(
        shown.text.contains("Open the incident</button>"),
        "{}",
        shown.text
    );
    assert_eq!(env.count("incidents"), 0, "nothing is sent by itself");
    let cookie = shown
        .header("set-cookie")
        .split(';')
        .next()
        .expect("a cookie")
        .to_owned();
    let key = hidden(&shown.text, "form_key");
    let mut again = NEW.to_vec();
    again.push(("form_key", &key));
    post(&app, "/admin/incidents/new", &cookie, "same-origin", &again)
        .await
        .expect(303);
    assert_eq!(env.count("incidents"), 1);
    app.finish().await;
}

async fn a_button_leads_back_to_its_page(env: Env) {
    let app = TestApp::start(&env).await;
    let token = app.token("operator").await;
    let send = async |path: &str, page: &str, fields: &[(&str, &str)]| {
        let request = app.anonymous().request(Method::POST, path);
        let request = request
            .header("sec-fetch-site", "same-origin")
            .header("referer", format!("http://candor.example{page}"));
        let body = encoded(fields);
        request
            .body("application/x-www-form-urlencoded", body)
            .send()
            .await
    };
    let pressed = send(
        "/admin/notices/n1/send",
        "/admin/notices/n1?q=a%20b",
        &[("digest", "abcdigest"), ("note", "typed")],
    )
    .await
    .expect(303);
    let asked = pressed.header("location").to_owned();
    assert_eq!(
        asked,
        "/admin/sign-in?next=%2Fadmin%2Fnotices%2Fn1%3Fq%3Da%2520b&unsent=button"
    );
    let form = app.anonymous().get(&asked).await.expect(200).text;
    let said = "You were signed out. Nothing was sent. Check and press the button again.";
    assert!(form.contains(said) && !form.contains("abcdigest"), "{form}");
    let next = hidden(&form, "next");
    let fields = [
        ("next", next.as_str()),
        ("unsent", "button"),
        ("token", token.as_str()),
    ];
    let signed = post(&app, "/admin/sign-in", "", "same-origin", &fields)
        .await
        .expect(303);
    assert_eq!(signed.header("location"), "/admin/notices/n1?q=a%20b");
    // The text of a button is not kept by the sign-in form either.
    let kept = [
        ("to", "/admin/notices/n1/send"),
        ("kept", "note=x"),
        ("token", token.as_str()),
    ];
    post(&app, "/admin/sign-in", "", "same-origin", &kept)
        .await
        .expect(303);
    // A form that was shown again with its errors has the path of its target.
    let pressed = send(
        "/admin/incidents/1/status",
        "/admin/incidents/1/status",
        &[("message", "m")],
    )
    .await;
    assert_eq!(
        pressed.expect(303).header("location"),
        "/admin/sign-in?next=%2Fadmin%2Fincidents%2F1&unsent=button"
    );
    // A text that is too long is not kept, and the sign-in says so.
    let long = "x".repeat(70_000);
    let lost = send(
        "/admin/incidents/new",
        "/admin/incidents/new",
        &[("title", &long)],
    )
    .await;
    let asked = lost.expect(303).header("location").to_owned();
    assert_eq!(
        asked,
        "/admin/sign-in?next=%2Fadmin%2Fincidents%2Fnew&unsent=long"
    );
    let form = app.anonymous().get(&asked).await.expect(200).text;
    assert!(form.contains("too long to keep"), "{form}");
    app.finish().await;
}

async fn a_form_of_an_earlier_session_is_shown_again(env: Env) {
    let app = TestApp::start(&env).await;
    let token = app.token("operator").await;
    let earlier = Browser::signed_in(&app, &token).await;
    let old = earlier.key("/admin/incidents/new").await;
    let signed = post(&app, "/admin/sign-in", "", "same-origin", &[("token", &token)])
        .await
        .expect(303);
    let cookie = signed
        .header("set-cookie")
        .split(';')
        .next()
        .expect("a cookie")
        .to_owned();
    let mut sent = NEW.to_vec();
    sent.push(("form_key", &old));
    let refused = post(&app, "/admin/incidents/new", &cookie, "same-origin", &sent)
        .await
        .expect(403);
    assert!(
        refused.text.contains("Typed at 3 a.m. &lt;b&gt;</textarea>"),
        "{}",
        refused.text
    );
    let key = hidden(&refused.text, "form_key");
    sent.pop();
    sent.push(("form_key", &key));
    post(&app, "/admin/incidents/new", &cookie, "same-origin", &sent)
        .await
        .expect(303);
    app.finish().await;
}

async fn another_site_gets_nothing_into_a_form(env: Env) {
    let app = TestApp::start(&env).await;
    let token = app.token("operator").await;
    for site in ["cross-site", "same-site", "none"] {
        let asked = post(&app, "/admin/incidents/new", "", site, &NEW)
            .await
            .expect(303);
        assert_eq!(asked.header("location"), "/admin/sign-in");
        let kept = encoded(&NEW);
        let wrong = [
            ("to", "/admin/incidents/new"),
            ("kept", kept.as_str()),
            ("token", "x"),
        ];
        let wrong = post(&app, "/admin/sign-in", "", site, &wrong).await.expect(401);
        assert!(!wrong.text.contains("name=\"kept\""), "{}", wrong.text);
        let signed = [
            ("to", "/admin/incidents/new"),
            ("kept", kept.as_str()),
            ("token", token.as_str()),
        ];
        post(&app, "/admin/sign-in", "", site, &signed).await.expect(303);
    }
    // Without a word of the browser, nothing is kept either.
    let asked = app
        .anonymous()
        .post_raw(
            "/admin/incidents/new",
            "application/x-www-form-urlencoded",
            encoded(&NEW),
        )
        .await;
    asked.expect(303);
    // A form whose target is not a page.
    let kept = encoded(&NEW);
    let signed = [
        ("to", "//evil.example"),
        ("kept", kept.as_str()),
        ("token", token.as_str()),
    ];
    post(&app, "/admin/sign-in", "", "same-origin", &signed)
        .await
        .expect(303);
    app.finish().await;
}

async fn the_key_of_the_forms_looks_different_each_time(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let first = operator.key("/admin/incidents/new").await;
    let second = operator.key("/admin/incidents/new").await;
    assert_ne!(first, second);
    let mut sent = NEW.to_vec();
    sent.push(("form_key", &first));
    operator.send("/admin/incidents/new", &sent).await.expect(303);
    // The first half is the mask. Another mask makes another key.
    let mut other = first.clone().into_bytes();
    other[3] = if other[3] == b'A' { b'B' } else { b'A' };
    let other = String::from_utf8(other).expect("a text");
    sent.pop();
    sent.push(("form_key", &other));
    operator.send("/admin/incidents/new", &sent).await.expect(403);
    app.finish().await;
}
