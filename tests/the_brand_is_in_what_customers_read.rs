//! The brand is in emails and on public pages. A notice that was sent keeps the brand of its time, byte for byte. A colour that cannot be
//! read and a logo that could do more than be shown are refused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{ADMIN_TOKEN, Answer, Env, TestApp, crowd, on_both_databases, on_one_database};

on_both_databases!(
    emails_show_it_and_keep_it,
    the_logo_is_served_for_good,
    each_wrong_field_is_named,
);
on_one_database!(
    emails_without_a_brand_are_as_before,
    only_admins_change_it,
    a_logo_that_could_do_more_is_refused,
    public_pages_show_it,
    the_page_changes_it,
    the_digest_covers_it,
);

/// A PNG of 40 by 20 pixels.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x14, 0x08, 0x02, 0x00, 0x00, 0x00, 0x70, 0x24, 0xe8, 0xec, 0x00,
    0x00, 0x00, 0x24, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0xe0, 0x8e, 0x59, 0x3b, 0x20, 0x88, 0x61,
    0xd4, 0xe2, 0x51, 0x8b, 0x47, 0x2d, 0x1e, 0xb5, 0x78, 0xd4, 0xe2, 0x51, 0x8b, 0x47, 0x2d, 0x1e, 0xb5,
    0x78, 0xe4, 0x58, 0x0c, 0x00, 0xa6, 0xf9, 0x5e, 0xae, 0xa1, 0x5c, 0x6c, 0xaf, 0x00, 0x00, 0x00, 0x00,
    0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];
const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 80 20\"><path d=\"M0 0h80v20z\" fill=\"#0b5cad\"/></svg>";

fn brand() -> Value {
    json!({
        "name": "Quickbyte Care", "color": "#0B5CAD", "reply_to": "care@quickbyte.example",
        "support_url": "https://support.quickbyte.example/", "postal_address": "1 High Street\nNairobi",
        "footer": "Quickbyte Ltd <registered> in Kenya",
    })
}

async fn put_logo(app: &TestApp, media: &str, bytes: impl Into<Vec<u8>>) -> Answer {
    app.request(Method::PUT, "/api/v1/brand/logo")
        .body(media, bytes)
        .send()
        .await
}

async fn with_https(env: &Env) -> TestApp {
    TestApp::builder(env)
        .config(|config| {
            config.mail_from = "Sender <help@quickbyte.example>".to_owned();
            config.reply_to = Some("Support <support@quickbyte.example>".to_owned());
            config.public_url = Some("https://candor.quickbyte.example".to_owned());
        })
        .start()
        .await
}

/// Expects that each email of a notice is shown as it arrived.
async fn reproduces(app: &TestApp, notice: &str) {
    let caught = app.catcher.mails();
    for delivery in app.deliveries(notice).await {
        let shown = app
            .get(&format!("/api/v1/deliveries/{}/mail", delivery["id"]))
            .await
            .expect(200);
        let id = delivery["message_id"].as_str().expect("a Message-ID");
        let arrived = caught
            .iter()
            .find(|mail| mail.header("message-id").as_deref() == Some(id))
            .expect("the email");
        assert_eq!(shown.text.as_bytes(), arrived.data);
    }
}

async fn emails_show_it_and_keep_it(env: Env) {
    let app = with_https(&env).await;
    // Six emails are built from prepared pieces.
    let (incident, before) = app.tell_crowd(crowd(6)).await;
    let plain = app.mails(6).await;
    assert_eq!(plain[0].header("from"), "Sender <help@quickbyte.example>");
    assert_eq!(plain[0].header("reply-to"), "Support <support@quickbyte.example>");

    app.put("/api/v1/brand", brand()).await.expect(200);
    put_logo(&app, "image/png", PNG).await.expect(200);
    let with = app.tell(&incident, "update").await;
    let mails = app.mails(12).await;
    let stored = app.get("/api/v1/brand").await.expect(200);
    assert_eq!(stored["color"], "#0b5cad");
    let logo = format!(
        "https://candor.quickbyte.example{}",
        stored["logo"]["path"].as_str().expect("a path")
    );
    for mail in &mails[6..] {
        assert_eq!(mail.header("from"), "Quickbyte Care <help@quickbyte.example>");
        assert_eq!(mail.header("reply-to"), "care@quickbyte.example");
        assert!(
            mail.html
                .contains(&format!("<img src=\"{logo}\" alt=\"Quickbyte Care\"")),
            "{}",
            mail.html
        );
        assert!(mail.html.contains("bgcolor=\"#0b5cad\""), "{}", mail.html);
        assert!(
            mail.html.contains("Quickbyte Ltd &lt;registered&gt; in Kenya"),
            "{}",
            mail.html
        );
        assert!(
            mail.html.contains("https://support.quickbyte.example/"),
            "{}",
            mail.html
        );
        assert!(mail.flat().contains("1 High Street Nairobi"), "{}", mail.text);
        assert!(
            mail.text.contains("Quickbyte Ltd <registered> in Kenya"),
            "{}",
            mail.text
        );
    }
    reproduces(&app, &before).await;
    reproduces(&app, &with).await;

    // Another brand changes nothing of what was sent.
    app.put("/api/v1/brand", json!({"name": "Other"}))
        .await
        .expect(200);
    app.delete("/api/v1/brand/logo").await.expect(204);
    let other = app.tell(&incident, "update").await;
    let mails = app.mails(18).await;
    assert_eq!(mails[17].header("from"), "Other <help@quickbyte.example>");
    assert_eq!(
        mails[17].header("reply-to"),
        "Support <support@quickbyte.example>"
    );
    assert!(!mails[17].html.contains("<img"), "{}", mails[17].html);
    for notice in [&before, &with, &other] {
        reproduces(&app, notice).await;
    }
    assert_eq!(app.all("/api/v1/audit?action=brand.changed").await.len(), 2);
    assert_eq!(app.all("/api/v1/audit?action=brand.logo_changed").await.len(), 1);
    assert_eq!(app.all("/api/v1/audit?action=brand.logo_removed").await.len(), 1);
    app.finish().await;
}

async fn emails_without_a_brand_are_as_before(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, notice) = app.tell_crowd(crowd(1)).await;
    let mails = app.mails(1).await;
    assert!(!mails[0].html.contains("<img"), "{}", mails[0].html);
    assert!(
        mails[0]
            .text
            .trim_end()
            .lines()
            .last()
            .expect("a line")
            .contains("/unsubscribe/")
    );
    let frozen = env.texts(&format!(
        "SELECT frozen AS value FROM notices WHERE id = '{notice}'"
    ));
    assert!(!frozen[0].contains("brand"), "{}", frozen[0]);
    app.finish().await;
}

async fn the_digest_covers_it(env: Env) {
    let app = TestApp::start(&env).await;
    let (incident, _) = app.tell_crowd(crowd(2)).await;
    app.mails(2).await;
    let notice = app.draft(&incident, "update").await;
    let preview = app
        .get(&format!("/api/v1/notices/{notice}/preview"))
        .await
        .expect(200);
    app.put("/api/v1/brand", json!({"footer": "Quickbyte Ltd"}))
        .await
        .expect(200);
    let send = json!({"digest": preview["digest"]});
    let refused = app
        .post(&format!("/api/v1/notices/{notice}/send"), send)
        .await
        .expect_problem(409);
    assert_eq!(refused["code"], "changed_since_preview");
    app.finish().await;
}

async fn the_logo_is_served_for_good(env: Env) {
    let app = TestApp::start(&env).await;
    let mut paths = Vec::new();
    for (media, bytes) in [
        ("image/png", PNG.to_vec()),
        ("image/svg+xml", SVG.as_bytes().to_vec()),
    ] {
        let stored = put_logo(&app, media, bytes.clone()).await.expect(200);
        let path = stored["logo"]["path"].as_str().expect("a path").to_owned();
        let (headers, content) = app.anonymous().request(Method::GET, &path).download().await;
        assert_eq!(content, bytes);
        assert_eq!(headers["content-type"], media);
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let policy = headers["content-security-policy"].to_str().expect("a policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let etag = headers["etag"].to_str().expect("a tag").to_owned();
        let again = app
            .anonymous()
            .request(Method::GET, &path)
            .header("if-none-match", &etag)
            .send()
            .await;
        assert_eq!((again.status, again.text.len()), (304, 0));
        app.anonymous()
            .request(Method::GET, &path)
            .header("if-none-match", "\"x\"")
            .send()
            .await
            .expect(200);
        paths.push(path);
    }
    // Emails that were sent show the first one.
    app.delete("/api/v1/brand/logo").await.expect(204);
    app.delete("/api/v1/brand/logo").await.expect_problem(404);
    for path in &paths {
        app.anonymous().get(path).await.expect(200);
    }
    for wrong in ["x", &"0".repeat(64), "..%2f..%2fsecret"] {
        app.anonymous()
            .get(&format!("/brand/logo/{wrong}"))
            .await
            .expect(404);
    }
    app.finish().await;
}

async fn each_wrong_field_is_named(env: Env) {
    let app = TestApp::start(&env).await;
    let light = app
        .put("/api/v1/brand", json!({"color": "#ff8800"}))
        .await
        .expect_invalid("/color");
    let said = light["errors"][0]["detail"]
        .as_str()
        .expect("a detail")
        .to_owned();
    assert!(
        said.contains("contrast of 2.") && said.contains("nearest color"),
        "{said}"
    );
    let nearest = said.rsplit(' ').next().expect("a color").to_owned();
    app.put("/api/v1/brand", json!({"color": nearest}))
        .await
        .expect(200);
    for (field, value) in [
        ("color", json!("orange")),
        ("name", json!("a\r\nBcc: b@example.com")),
        ("name", json!("x".repeat(101))),
        ("name", json!("")),
        ("reply_to", json!("Ann <ann@example.com>")),
        ("support_url", json!("javascript:alert(1)")),
        ("support_url", json!("https://user:secret@example.com")),
        ("postal_address", json!("a\n".repeat(9))),
        ("footer", json!("x".repeat(1_001))),
        ("footer", json!("a\u{0}b")),
        ("colour", json!("#0b5cad")),
    ] {
        app.put("/api/v1/brand", json!({field: value}))
            .await
            .expect_invalid(&format!("/{field}"));
    }
    assert_eq!(app.get("/api/v1/brand").await.expect(200)["name"], Value::Null);
    // The same again is no change.
    app.put("/api/v1/brand", json!({"color": nearest}))
        .await
        .expect(200);
    assert_eq!(app.all("/api/v1/audit?action=brand.changed").await.len(), 1);
    app.finish().await;
}

async fn only_admins_change_it(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = app.as_new("operator").await;
    operator.get("/api/v1/brand").await.expect(200);
    operator.put("/api/v1/brand", json!({})).await.expect_problem(403);
    operator.delete("/api/v1/brand/logo").await.expect_problem(403);
    let sent = operator
        .request(Method::PUT, "/api/v1/brand/logo")
        .body("image/png", PNG)
        .send()
        .await;
    sent.expect_problem(403);
    app.anonymous().get("/api/v1/brand").await.expect_problem(401);
    app.finish().await;
}

async fn a_logo_that_could_do_more_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    let head = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 80 20\"";
    for bad in [
        format!("{head}><script>alert(1)</script></svg>"),
        format!("{head} onload=\"alert(1)\"></svg>"),
        format!("{head}><image href=\"https://evil.example/x.png\"/></svg>"),
        format!("{head}><foreignObject></foreignObject></svg>"),
        format!("{head}><a href=\"javascript:alert(1)\"></a></svg>"),
        format!("<!DOCTYPE svg [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>{head}>&x;</svg>"),
        format!("{head}><style>@import url(https://evil.example)</style></svg>"),
        "<html><body>no</body></html>".to_owned(),
    ] {
        put_logo(&app, "image/svg+xml", bad.as_bytes())
            .await
            .expect_invalid("");
    }
    put_logo(&app, "image/png", [PNG, b"<script>"].concat())
        .await
        .expect_invalid("");
    put_logo(&app, "image/png", &PNG[..PNG.len() - 1])
        .await
        .expect_invalid("");
    put_logo(&app, "image/png", Vec::new()).await.expect_invalid("");
    put_logo(&app, "image/gif", b"GIF89a".as_slice())
        .await
        .expect_problem(415);
    put_logo(&app, "image/png", vec![0; 300 * 1024])
        .await
        .expect_problem(413);
    assert_eq!(env.count("brand_logos"), 0);
    app.finish().await;
}

async fn public_pages_show_it(env: Env) {
    let app = TestApp::start(&env).await;
    let plain = app.anonymous().get("/status").await.expect(200);
    assert!(!plain.text.contains("/brand/"), "{}", plain.text);
    app.put("/api/v1/brand", brand()).await.expect(200);
    let logo = put_logo(&app, "image/svg+xml", SVG).await.expect(200)["logo"]["path"]
        .as_str()
        .expect("a path")
        .to_owned();
    let page = app.anonymous().get("/status").await.expect(200);
    for shown in [
        "Quickbyte Care status".to_owned(),
        format!("src=\"{logo}\" alt=\"Quickbyte Care\""),
        "/brand/color/0b5cad.css".to_owned(),
        "Quickbyte Ltd &lt;registered&gt; in Kenya".to_owned(),
        "1 High Street".to_owned(),
        "https://support.quickbyte.example/".to_owned(),
    ] {
        assert!(page.text.contains(&shown), "{shown}: {}", page.text);
    }
    let style = app.anonymous().get("/brand/color/0b5cad.css").await.expect(200);
    assert!(style.text.contains("#0b5cad"), "{}", style.text);
    for wrong in ["red.css", "0b5cad", "0b5cad;}.css", "%3C0b5c.css"] {
        app.anonymous()
            .get(&format!("/brand/color/{wrong}"))
            .await
            .expect(404);
    }
    // A page of an error has it too.
    let wrong = app
        .anonymous()
        .request(Method::GET, "/unsubscribe/x")
        .header("accept", "text/html")
        .send()
        .await
        .expect(404);
    assert!(wrong.text.contains("Quickbyte Care"), "{}", wrong.text);
    app.finish().await;
}

async fn the_page_changes_it(env: Env) {
    let app = with_https(&env).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let fields = [
        ("name", "Quickbyte"),
        ("color", "#ffee00"),
        ("reply_to", ""),
        ("support_url", ""),
        ("postal_address", ""),
        ("footer", "A < B"),
    ];
    let refused = browser
        .send_from("/admin/brand", "/admin/brand", &fields)
        .await
        .expect(422);
    assert!(refused.text.contains("has a contrast of 1."), "{}", refused.text);
    assert!(refused.text.contains("A &lt; B"), "{}", refused.text);
    let mut right = fields;
    right[1].1 = "#0b5cad";
    browser
        .send_from("/admin/brand", "/admin/brand", &right)
        .await
        .expect(303);
    assert_eq!(app.get("/api/v1/brand").await.expect(200)["name"], "Quickbyte");
    put_logo(&app, "image/png", PNG).await.expect(200);
    let page = browser.page("/admin/brand").await;
    assert!(page.contains("PNG, 40 by 20 pixels"), "{page}");
    let mail = browser.page("/admin/brand/mail").await;
    assert!(mail.contains("src=\"data:image/png;base64,"), "{mail}");
    assert!(mail.contains("A &lt; B"), "{mail}");
    assert!(browser.page("/admin/brand/page").await.contains("A public page"));
    let key = browser.key("/admin/brand").await;
    let wrong = browser
        .upload("/admin/brand/logo", &key, &[], Some("GIF89a"))
        .await;
    wrong.expect(422);
    browser
        .send_from("/admin/brand", "/admin/brand/logo/delete", &[])
        .await
        .expect(303);
    assert_eq!(app.get("/api/v1/brand").await.expect(200)["logo"], Value::Null);
    app.finish().await;
}
