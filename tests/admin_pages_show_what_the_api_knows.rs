//! The admin pages show the data of the API to signed-in callers. Everybody else sees only what was
//! published.

use candor::egress::Policy;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::receiver::{Receiver, Reply};
use crate::support::story::{ADDRESSES, FILES, MEDIA, PROJECT};
use crate::support::{
    ADMIN_TOKEN, Answer, DEADLINE, Env, Http, TestApp, eventually, on_both_databases, on_one_database,
    story_directory,
};

on_both_databases!(a_large_audience_comes_in_pages,);
on_one_database!(
    the_right_token_opens_a_session,
    a_wrong_token_is_refused_and_recorded,
    without_a_valid_session_every_page_leads_to_the_sign_in,
    signing_out_takes_the_cookie_away,
    every_page_shows_the_story,
    a_draft_shows_who_would_get_what,
    who_was_not_told_is_said_loudly,
    text_of_strangers_stays_text,
    what_is_wrong_is_said_on_a_page,
    the_public_page_shows_what_was_published_and_nothing_else,
    only_a_post_opts_out,
    the_pages_show_endpoints_and_no_secret_of_theirs,
    a_page_explains_who_is_told_and_says_who_owned_it,
);

/// A browser with a session.
struct Browser {
    http: Http,
    cookie: String,
}

impl Browser {
    /// Signs in with the form.
    async fn signed_in(app: &TestApp, token: &str) -> Browser {
        let answer = sign_in(app, token).await.expect(303);
        assert_eq!(answer.header("location"), "/admin");
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        Browser {
            http: app.anonymous(),
            cookie,
        }
    }

    fn with(app: &TestApp, cookie: &str) -> Browser {
        Browser {
            http: app.anonymous(),
            cookie: cookie.to_owned(),
        }
    }

    async fn open(&self, path: &str) -> Answer {
        self.http
            .request(Method::GET, path)
            .header("cookie", &self.cookie)
            .send()
            .await
    }

    /// Returns a page as HTML, and checks that it contains no JSON.
    async fn page(&self, path: &str, status: u16) -> String {
        let answer = self.open(path).await.expect(status);
        assert_eq!(
            answer.header("content-type"),
            "text/html; charset=utf-8",
            "{path}"
        );
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'"),
            "{path}"
        );
        assert!(answer.text.contains("</html>"), "{path}: {}", answer.text);
        answer.text
    }

    async fn is_sent_to_the_sign_in(&self, path: &str) {
        let answer = self.open(path).await.expect(303);
        let next = match path {
            "/admin" => String::new(),
            path => format!(
                "?{}",
                url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("next", path)
                    .finish()
            ),
        };
        assert_eq!(
            answer.header("location"),
            format!("/admin/sign-in{next}"),
            "{path}"
        );
        assert!(answer.text.is_empty(), "{path}: {}", answer.text);
    }
}

async fn sign_in(app: &TestApp, token: &str) -> Answer {
    let form: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("token", token)
        .finish();
    app.anonymous()
        .post_raw("/admin/sign-in", "application/x-www-form-urlencoded", form)
        .await
}

/// Returns the body of a page without its head and style, for messages of failed tests.
fn body(page: &str) -> &str {
    page.split_once("<body").map_or(page, |(_, body)| body)
}

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(
            page.contains(text),
            "the page does not show {text:?}:\n{}",
            body(page)
        );
    }
}

/// Removes the one script that every page names.
fn without_own_script(page: &str) -> String {
    match page.split_once("<script src=\"/static/script.js?v=") {
        Some((before, behind)) => {
            let (_, behind) = behind
                .split_once("\" defer></script>")
                .expect("the end of the script");
            format!("{before}{behind}")
        }
        None => page.to_owned(),
    }
}

#[track_caller]
fn hides(page: &str, texts: &[&str]) {
    let page = &without_own_script(page);
    for text in texts {
        assert!(!page.contains(text), "the page shows {text:?}:\n{}", body(page));
    }
}

/// The first story, as far as the pages need it.
struct Story {
    incident: String,
    detection: String,
    resolution: String,
    integration: String,
    hook: String,
}

const START: &str = "2024-03-14T09:56:00+03:00";

fn alert(title: &str, text: &str) -> Value {
    json!({
        "version": "4", "status": "firing", "receiver": "candor", "groupKey": "g", "externalURL": "http://am.example",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "alerts": [{
            "status": "firing", "labels": {"alertname": "StorageHandlerMissing", "severity": "critical"},
            "annotations": {"summary": title, "description": text}, "fingerprint": "f00d",
            "startsAt": "2024-03-14T06:51:00Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://am.example/graph",
        }],
    })
}

async fn send(app: &TestApp, notice: &str) {
    let preview = app
        .get(&format!("/api/v1/notices/{notice}/preview"))
        .await
        .expect(200);
    let digest = json!({"digest": preview["digest"]});
    app.post(&format!("/api/v1/notices/{notice}/send"), digest)
        .await
        .expect(202);
    eventually("the notice to be sent", DEADLINE, async || {
        let notice = app.get(&format!("/api/v1/notices/{notice}")).await.expect(200);
        (notice["state"] == "sent").then_some(())
    })
    .await;
}

async fn draft(app: &TestApp, incident: &str, notice: Value) -> String {
    app.post(&format!("/api/v1/incidents/{incident}/notices"), notice)
        .await
        .expect(201)
        .id()
}

async fn integration(app: &TestApp) -> Answer {
    let rule = json!({
        "field": "annotations.description",
        "pattern": "/api/projects/(?<project>[^/]+)/media/(?<media>[\\w-]+)",
    });
    let new = json!({"name": "File service", "source": "alertmanager", "resource_rules": [rule]});
    app.post("/api/v1/integrations", new).await.expect(201)
}

async fn play(app: &TestApp) -> Story {
    app.import(story_directory()).await.expect(200);
    let made = integration(app).await;
    let hook = made["hook_url"].as_str().unwrap().to_owned();
    let mut incident = String::new();
    for _ in 0..6 {
        let text = "GET /api/projects/savanna/media/interview: no handler for s3";
        let taken = app
            .post(&hook, alert("No storage handler for s3", text))
            .await
            .expect(202);
        if let Some(id) = taken["opened"][0]["id"].as_str() {
            incident = id.to_owned();
        }
    }
    let path = format!("/api/v1/incidents/{incident}");
    app.patch(&path, json!({"time_zone": "Africa/Nairobi"}))
        .await
        .expect(200);
    app.set_clock("2024-03-14T10:00:00+03:00");
    let message = json!({"phase": "detection", "message": "Some files do not open."});
    let detection = draft(app, &incident, message).await;
    send(app, &detection).await;
    app.set_clock("2024-03-14T10:24:00+03:00");
    for (at, kind, text) in [
        ("2024-03-14T09:51:00+03:00", "started", "The release goes out"),
        ("2024-03-14T10:19:00+03:00", "mitigated", "The handler is back"),
    ] {
        let entry = json!({"at": at, "kind": kind, "text": text});
        app.post(&format!("{path}/timeline"), entry).await.expect(201);
    }
    app.post(&format!("{path}/status"), json!({"status": "resolved"}))
        .await
        .expect(200);
    let over =
        json!({"phase": "resolution", "message": "They open again.", "customer_action": {"required": false}});
    let resolution = draft(app, &incident, over).await;
    send(app, &resolution).await;
    let step = json!({
        "text": "Move the files to a production bucket", "owner": "Storage team",
        "link": "https://tracker.example/411", "due_on": "2024-04-30",
    });
    app.post(&format!("{path}/next-steps"), step).await.expect(201);
    let report = json!({"title": "Files did not open", "sections": [
        {"heading": "Cause", "text": "internal-words: nobody had a test.", "audience": "internal"},
        {"heading": "For you", "text": "customer-words: two of your files.", "audience": "customer"},
        {"heading": "What happened", "text": "public-words: 28 minutes.", "audience": "public"},
    ]});
    app.put(&format!("{path}/report"), report).await.expect(200);
    Story {
        incident,
        detection,
        resolution,
        integration: made.id(),
        hook,
    }
}

async fn at_the_start(env: &Env) -> TestApp {
    TestApp::builder(env).at(START).start().await
}

fn pages(story: &Story) -> Vec<String> {
    let mut pages: Vec<String> = [
        "/admin",
        "/admin/incidents?status=resolved",
        "/admin/incidents/1",
        "/admin/incidents/1/people",
        "/admin/incidents/1/resources",
        "/admin/incidents/1/alerts",
        "/admin/incidents/1/answers",
        "/admin/incidents/1/times",
        "/admin/incidents/1/report",
        "/admin/incidents/1/follow-ups",
        "/admin/incidents/1/unreached",
        "/admin/incidents/1/unmatched",
        "/admin/incidents/1/named",
        "/admin/directory",
        "/admin/directory/accounts",
        "/admin/directory/accounts/nyota-films",
        "/admin/directory/people",
        "/admin/directory/people/amina",
        "/admin/directory/resources",
        "/admin/directory/resources?type=file&label=provider%3Ds3",
        "/admin/directory/resources/media/interview",
        "/admin/integrations",
        "/admin/templates",
        "/admin/templates/detection",
        "/admin/templates/update",
        "/admin/templates/resolution",
        "/admin/templates/report",
        "/admin/audit",
        "/admin/audit?incident=1&actor=&action=notice.queued&subject=&from=2024-03-14T09%3A00%3A00%2B03%3A00&to=",
        "/admin/audit/verify",
    ]
    .map(str::to_owned)
    .to_vec();
    pages.push(format!("/admin/incidents/{}", story.incident));
    pages.push(format!("/admin/notices/{}", story.detection));
    pages.push(format!("/admin/notices/{}?state=sent", story.resolution));
    pages.push(format!("/admin/integrations/{}", story.integration));
    pages
}

async fn the_right_token_opens_a_session(env: Env) {
    let app = at_the_start(&env).await;
    let form = app.anonymous().get("/admin/sign-in").await.expect(200);
    shows(
        &form.text,
        &["type=\"password\"", "name=\"token\"", "method=\"post\""],
    );
    let answer = sign_in(&app, ADMIN_TOKEN).await.expect(303);
    let cookie = answer.header("set-cookie").to_owned();
    for part in [
        "candor_session=",
        "HttpOnly",
        "SameSite=Lax",
        "Path=/admin",
        "Max-Age=43200",
    ] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Secure"), "no https, so no Secure: {cookie}");
    assert!(!cookie.contains(ADMIN_TOKEN), "the token itself is in the cookie");
    let events = app.get("/api/v1/audit?action=admin.signed_in").await.expect(200);
    assert_eq!(events.items().len(), 1, "{events}");
    assert_eq!(events.items()[0]["actor"]["kind"], "token");
    let viewer = app.token("viewer").await;
    let browser = Browser::signed_in(&app, &viewer).await;
    shows(
        &browser.page("/admin", 200).await,
        &["There was no incident so far", "a test&#x27;s viewer", "Sign out"],
    );
    app.finish().await;

    let secure = TestApp::builder(&env)
        .config(|config| config.public_url = Some("https://candor.example.com".to_owned()))
        .start()
        .await;
    let cookie = sign_in(&secure, ADMIN_TOKEN).await.expect(303);
    assert!(cookie.header("set-cookie").contains("Secure"));
    secure.finish().await;
}

async fn a_wrong_token_is_refused_and_recorded(env: Env) {
    let app = at_the_start(&env).await;
    for wrong in ["wrong", "", "candor-admin-token-of-the-test"] {
        let answer = sign_in(&app, wrong).await.expect(401);
        assert!(answer.header("set-cookie").is_empty());
        shows(&answer.text, &["This token is not valid", "name=\"token\""]);
    }
    let mut app = app;
    app.restart().await;
    let events = app.get("/api/v1/audit?action=access.denied").await.expect(200);
    assert_eq!(events.items().len(), 1, "{events}");
    assert_eq!(
        events.items()[0]["after"]["tried"],
        json!({"POST /admin/sign-in": 3})
    );
    assert_eq!(events.items()[0]["actor"]["kind"], "anonymous");
    let anonymous = app.anonymous();
    let large = "token=".to_owned() + &"x".repeat(300_000);
    let form = "application/x-www-form-urlencoded";
    anonymous
        .post_raw("/admin/sign-in", form, large)
        .await
        .expect(413);
    anonymous
        .post_raw("/admin/sign-in", form, "token=a&more=b")
        .await
        .expect(422);
    anonymous
        .post("/admin/sign-in", json!({"token": ADMIN_TOKEN}))
        .await
        .expect(415);
    app.finish().await;
}

async fn without_a_valid_session_every_page_leads_to_the_sign_in(env: Env) {
    let app = at_the_start(&env).await;
    let story = play(&app).await;
    let good = Browser::signed_in(&app, ADMIN_TOKEN).await.cookie;
    let secret = good.strip_prefix("candor_session=").unwrap();
    let forged = [
        String::new(),
        "candor_session=".to_owned(),
        "candor_session=nonsense".to_owned(),
        format!("candor_session={}", secret.chars().rev().collect::<String>()),
        format!("candor_session={}", &secret[1..]),
        format!("candor_session={secret}{secret}"),
        format!("candor_session={ADMIN_TOKEN}"),
    ];
    for path in pages(&story)
        .iter()
        .map(String::as_str)
        .chain(["/admin/no-such-page", "/admin/directory/find"])
    {
        Browser::with(&app, &forged[0]).is_sent_to_the_sign_in(path).await;
    }
    for cookie in &forged {
        Browser::with(&app, cookie).is_sent_to_the_sign_in("/admin").await;
    }
    // An API token is not valid for the pages.
    let bearer = app.get("/admin").await.expect(303);
    assert_eq!(bearer.header("location"), "/admin/sign-in");

    let made = app
        .post("/api/v1/tokens", json!({"name": "short", "role": "admin"}))
        .await
        .expect(201);
    let revoked = Browser::signed_in(&app, made["token"].as_str().unwrap()).await;
    revoked.page("/admin", 200).await;
    app.delete(&format!("/api/v1/tokens/{}", made.id()))
        .await
        .expect(204);
    revoked.is_sent_to_the_sign_in("/admin").await;

    let browser = Browser::with(&app, &good);
    app.set_clock("2024-03-14T22:23:59+03:00");
    browser.page("/admin", 200).await;
    app.set_clock("2024-03-14T22:24:00+03:00");
    browser.is_sent_to_the_sign_in("/admin").await;
    app.finish().await;
}

async fn signing_out_takes_the_cookie_away(env: Env) {
    let app = at_the_start(&env).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let out = |cookie: &str| {
        app.anonymous()
            .request(Method::POST, "/admin/sign-out")
            .header("cookie", cookie)
            .send()
    };
    let answer = out(&browser.cookie).await.expect(303);
    assert_eq!(answer.header("location"), "/admin/sign-in");
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.starts_with("candor_session=;") && cookie.contains("Max-Age=0"),
        "{cookie}"
    );
    assert!(
        cookie.contains("Path=/admin"),
        "another path would leave the cookie: {cookie}"
    );
    out("").await.expect(303);
    // The session has ended, also for a copy of its cookie.
    browser.is_sent_to_the_sign_in("/admin").await;
    // A link does not sign anybody out.
    let other = Browser::signed_in(&app, ADMIN_TOKEN).await;
    other.page("/admin/sign-out", 405).await;
    other.page("/admin", 200).await;
    app.finish().await;
}

async fn every_page_shows_the_story(env: Env) {
    let app = at_the_start(&env).await;
    let story = play(&app).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    for path in pages(&story) {
        let page = browser.page(&path, 200).await;
        hides(&page, &[ADMIN_TOKEN, &story.hook, "<script"]);
    }
    let list = browser.page("/admin/incidents", 200).await;
    shows(
        &list,
        &[
            "No storage handler for s3",
            "critical",
            "resolved",
            "accepted 3",
            "since 2024-03-14 06:51:00 UTC",
        ],
    );

    let overview = browser.page("/admin/incidents/1", 200).await;
    shows(&overview, &["3 people", "1 account", "accepted"]);
    let alerts = browser.page("/admin/incidents/1/alerts", 200).await;
    shows(&alerts, &["1 alert, received 6 times", "6×"]);
    let incident = browser.page("/admin/incidents/1/people", 200).await;
    for address in ADDRESSES {
        shows(&incident, &[address]);
    }
    hides(
        &incident,
        &["otieno", "zuri", "grace", "tumaini", "NOT NOTIFIED YET"],
    );
    // The page shows the role, where it is held, and the affected resources.
    shows(
        &incident,
        &[
            "<strong>owner</strong>",
            "<strong>sound</strong>",
            "<strong>editor</strong>",
            "Nyota Films",
        ],
    );
    shows(
        &incident,
        &[
            &format!("project {PROJECT}"),
            &format!("media {MEDIA}"),
            "Interview with the rangers",
        ],
    );
    // The page shows the numbers of the story, and its times in UTC and in the time zone of the team.
    shows(
        &browser.page("/admin/incidents/1/times", 200).await,
        &[
            "5 min",
            "4 min",
            "23 min",
            "28 min",
            "2024-03-14 07:19:00 UTC",
            "2024-03-14 10:19:00 EAT",
        ],
    );
    let earlier = overview
        .split("rel=\"next\"")
        .next()
        .and_then(|before| before.rsplit_once("href=\""));
    let earlier = match (overview.contains("rel=\"next\""), earlier) {
        (true, Some((_, link))) => {
            let link = link
                .trim_end_matches("\" ")
                .replace("&#x3D;", "=")
                .replace("&amp;", "&");
            let path = link.split('#').next().unwrap_or_default().to_owned();
            browser.page(&path, 200).await
        }
        _ => String::new(),
    };
    shows(
        &format!("{overview}{earlier}"),
        &["The release goes out", "The handler is back"],
    );
    shows(
        &browser.page("/admin/incidents/1/follow-ups", 200).await,
        &[
            "Move the files to a production bucket",
            "Storage team",
            "2024-04-30",
            "https://tracker.example/411",
        ],
    );
    shows(
        &browser.page("/admin/incidents/1/report", 200).await,
        &[
            "internal-words",
            "customer-words",
            "public-words",
            "not published",
        ],
    );
    let by_id = browser
        .page(&format!("/admin/incidents/{}", story.incident), 200)
        .await;
    shows(&by_id, &["#1 No storage handler for s3"]);

    let notice = browser
        .page(&format!("/admin/notices/{}", story.detection), 200)
        .await;
    shows(
        &notice,
        &[
            "Emailed 3 of 3",
            "Some files do not open.",
            "badge sent",
            "Message-ID",
            "Amina Njeri",
        ],
    );
    hides(&notice, &["http-equiv=\"refresh\""]);
    let resource = browser
        .page("/admin/directory/resources/file/interview-v1", 200)
        .await;
    shows(
        &resource,
        &["project savanna", "media interview", "provider=s3", "nyota-films"],
    );
    let project = browser
        .page("/admin/directory/resources/project/savanna", 200)
        .await;
    shows(&project, &["Baraka Mushi", "sound", "media interview"]);
    let account = browser.page("/admin/directory/accounts/nyota-films", 200).await;
    shows(
        &account,
        &[
            "Africa/Nairobi",
            "plan=studio",
            "Otieno Odhiambo",
            "accountant",
            "project savanna",
        ],
    );
    let person = browser.page("/admin/directory/people/baraka", 200).await;
    shows(
        &person,
        &[
            "baraka@sound-works.example",
            "<strong>sound</strong>",
            "project savanna",
        ],
    );
    let files = browser
        .page("/admin/directory/resources?type=file&label=provider%3Ds3", 200)
        .await;
    shows(&files, &["file interview-v1", "file interview-v2"]);
    hides(&files, &["opening-v1", "ferry-v1"]);
    let integration = browser
        .page(&format!("/admin/integrations/{}", story.integration), 200)
        .await;
    shows(
        &integration,
        &[
            "alertmanager",
            "annotations.description",
            "accepted",
            "StorageHandlerMissing",
        ],
    );
    let template = browser.page("/admin/templates/resolution", 200).await;
    shows(
        &template,
        &["The usual email", "The shortest email", "<iframe sandbox=\"\""],
    );
    let audit = browser
        .page("/admin/audit?incident=1&action=notice.queued", 200)
        .await;
    shows(
        &audit,
        &[
            "notice.queued",
            &story.detection,
            &story.resolution,
            ">incident #1</a>",
        ],
    );
    hides(&audit, &["<code>incident.opened</code>"]);
    shows(
        &browser.page("/admin/audit/verify", 200).await,
        &["The chain is intact."],
    );

    for (query, place) in [
        (
            "kind=account&id=nyota-films",
            "/admin/directory/accounts/nyota-films",
        ),
        ("kind=person&id=amina", "/admin/directory/people/amina"),
        (
            "kind=resource&type=media&id=a%20b%2Fc",
            "/admin/directory/resources/media/a%20b%2Fc",
        ),
    ] {
        let found = browser
            .open(&format!("/admin/directory/find?{query}"))
            .await
            .expect(303);
        assert_eq!(found.header("location"), place);
    }
    app.finish().await;
}

async fn a_draft_shows_who_would_get_what(env: Env) {
    let app = TestApp::builder(&env).at(START).max_audience(2).start().await;
    app.import(story_directory()).await.expect(200);
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let new = json!({"title": "t", "severity": "minor", "affected": [{"type": "media", "id": MEDIA}]});
    let incident = app.post("/api/v1/incidents", new).await.expect(201).id();
    let text = json!({"phase": "detection", "message": "We look into it."});
    let notice = draft(&app, &incident, text).await;
    let preview = app
        .get(&format!("/api/v1/notices/{notice}/preview"))
        .await
        .expect(200);
    let events = env.count("audit_events");
    let page = browser.page(&format!("/admin/notices/{notice}"), 200).await;
    shows(
        &page,
        &[
            "3 people",
            preview["digest"].as_str().unwrap(),
            "a second person must approve",
            "Ask for approval",
        ],
    );
    shows(
        &page,
        &["sandbox=\"\"", "/mail/1\"", ADDRESSES[0], "We look into it."],
    );
    hides(&page, &["http-equiv=\"refresh\""]);
    assert_eq!(env.count("audit_events"), events, "looking changes nothing");
    app.mails(0).await;
    app.finish().await;
}

async fn who_was_not_told_is_said_loudly(env: Env) {
    let app = at_the_start(&env).await;
    let story = play(&app).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    app.put(
        "/api/v1/people/late",
        json!({"name": "Late Found", "email": "late@x.example"}),
    )
    .await
    .expect(201);
    app.put("/api/v1/people/mute", json!({"name": "Mute Person", "email": ""}))
        .await
        .expect(201);
    for person in ["late", "mute"] {
        let path = format!("/api/v1/resources/project/{PROJECT}/collaborators/{person}");
        app.put(&path, json!({"role": "viewer"})).await.expect(201);
    }
    let page = browser.page("/admin/incidents/1/people", 200).await;
    shows(
        &page,
        &[
            "5 people",
            "NOT NOTIFIED YET",
            "Late Found",
            "1 person cannot be reached",
            "Mute Person",
            "no address",
        ],
    );
    let only = browser
        .page("/admin/incidents/1/people?people=not_told", 200)
        .await;
    shows(&only, &["late@x.example"]);
    hides(&only, &[ADDRESSES[0]]);
    let unreachable = browser
        .page("/admin/incidents/1/people?people=unreachable", 200)
        .await;
    hides(&unreachable, &[ADDRESSES[0], "late@x.example"]);
    let notice = browser
        .page(&format!("/admin/notices/{}", story.detection), 200)
        .await;
    shows(&notice, &["1 person is affected and NOT NOTIFIED YET"]);

    let unknown = alert("Another one", "GET /api/projects/atlantis/media/lost");
    let mut unknown = unknown;
    unknown["alerts"][0]["fingerprint"] = json!("beef");
    app.post(&story.hook, unknown).await.expect(202);
    let page = browser.page("/admin/incidents/2", 200).await;
    shows(
        &page,
        &[
            "2 IDs in alerts are not in the directory",
            "Nobody is affected yet",
        ],
    );
    shows(
        &browser.page("/admin/incidents/2/unmatched", 200).await,
        &["media lost"],
    );
    app.finish().await;
}

const NASTY: &str = "<script>alert(1)</script> \"double\" 'single' {{x}} {{{y}}} <b>";

async fn text_of_strangers_stays_text(env: Env) {
    let app = at_the_start(&env).await;
    let story = play(&app).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let nasty_id: String = url::form_urlencoded::byte_serialize(NASTY.as_bytes()).collect();
    let nasty_id = nasty_id.replace('+', "%20");
    app.put(
        &format!("/api/v1/accounts/{nasty_id}"),
        json!({"name": NASTY, "labels": {"l": NASTY}}),
    )
    .await
    .expect(201);
    app.put(
        &format!("/api/v1/people/{nasty_id}"),
        json!({"name": NASTY, "email": "nasty@x.example"}),
    )
    .await
    .expect(201);
    let resource = json!({"name": NASTY, "account": NASTY, "labels": {"l": NASTY}});
    app.put(&format!("/api/v1/resources/media/{nasty_id}"), resource)
        .await
        .expect(201);
    let role = json!({"role": NASTY});
    app.put(&format!("/api/v1/accounts/{nasty_id}/members/{nasty_id}"), &role)
        .await
        .expect(201);
    app.put(
        &format!("/api/v1/resources/media/{nasty_id}/collaborators/{nasty_id}"),
        &role,
    )
    .await
    .expect(201);
    let new = json!({
        "title": NASTY, "severity": "major", "summary": NASTY, "affected": [{"type": "media", "id": NASTY}],
    });
    let incident = app.post("/api/v1/incidents", new).await.expect(201).id();
    let path = format!("/api/v1/incidents/{incident}");
    app.post(
        &format!("{path}/timeline"),
        json!({"kind": "note", "text": NASTY}),
    )
    .await
    .expect(201);
    app.post(
        &format!("{path}/next-steps"),
        json!({"text": NASTY, "owner": NASTY}),
    )
    .await
    .expect(201);
    let sections = json!([{"heading": NASTY, "text": NASTY, "audience": "public"}]);
    app.put(
        &format!("{path}/report"),
        json!({"title": NASTY, "sections": sections}),
    )
    .await
    .expect(200);
    app.post(&format!("{path}/report/publish"), json!({}))
        .await
        .expect(200);
    let said = |phase: &str, text: &str| json!({"phase": phase, "subject": text, "message": text, "customer_action": {"required": true, "text": text}});
    let sent = draft(&app, &incident, said("detection", NASTY)).await;
    send(&app, &sent).await;
    let update = said("update", NASTY);
    let drafted = draft(&app, &incident, update).await;
    let mut loud = alert(NASTY, NASTY);
    loud["alerts"][0]["fingerprint"] = json!("beef");
    loud["alerts"][0]["generatorURL"] = json!("javascript:alert(1)");
    loud["alerts"][0]["labels"]["severity"] = json!(NASTY);
    app.post(&story.hook, loud).await.expect(202);
    app.post(&story.hook, json!({"not an alert": NASTY}))
        .await
        .expect(422);
    let name =
        json!({"name": NASTY, "source": "alertmanager", "resource_rules": [{"field": NASTY, "type": NASTY}]});
    let integration = app.post("/api/v1/integrations", name).await.expect(201).id();
    let token = app
        .post("/api/v1/tokens", json!({"name": NASTY, "role": "viewer"}))
        .await
        .expect(201);
    let named = Browser::signed_in(&app, token["token"].as_str().unwrap()).await;

    let mut all = pages(&story);
    all.extend([
        "/admin/incidents/2".to_owned(),
        "/admin/incidents/2/people".to_owned(),
        "/admin/incidents/2/resources".to_owned(),
        "/admin/incidents/2/alerts".to_owned(),
        "/admin/incidents/3".to_owned(),
        "/admin/incidents/3/alerts".to_owned(),
        format!("/admin/notices/{sent}"),
        format!("/admin/notices/{drafted}"),
        format!("/admin/directory/accounts/{nasty_id}"),
        format!("/admin/directory/people/{nasty_id}"),
        format!("/admin/directory/resources/media/{nasty_id}"),
        format!("/admin/integrations/{integration}"),
        format!("/admin/audit?actor={nasty_id}"),
    ]);
    for path in &all {
        for browser in [&browser, &named] {
            let page = browser.page(path, 200).await;
            hides(
                &page,
                &[
                    "<script",
                    "</script>",
                    "\"double\"",
                    "'single'",
                    "<b>",
                    "href=\"javascript:",
                ],
            );
        }
    }
    for path in [
        format!("/admin/directory/people/{nasty_id}-unknown"),
        format!("/admin/incidents/{nasty_id}"),
        format!("/admin/audit?actor={nasty_id}-unknown"),
        format!("/admin?{nasty_id}=1"),
    ] {
        let answer = browser.open(&path).await;
        assert!(answer.status == 404 || answer.status == 422, "{answer}");
        hides(&answer.text, &["<script", "</script>", "\"double\"", "<b>"]);
    }
    // The text is shown escaped and is not lost.
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;";
    shows(
        &browser.page("/admin/incidents/2", 200).await,
        &[escaped, "{{x}}", "{{{y}}}"],
    );
    let public = app.anonymous().get("/status").await.expect(200);
    shows(&public.text, &[escaped]);
    hides(&public.text, &["<script", "\"double\"", "<b>"]);
    app.finish().await;
}

async fn a_large_audience_comes_in_pages(env: Env) {
    let app = at_the_start(&env).await;
    let mut lines = String::from(
        "{\"kind\":\"account\",\"id\":\"big\",\"name\":\"Big\"}\n\
         {\"kind\":\"resource\",\"type\":\"project\",\"id\":\"big\",\"account\":\"big\"}\n",
    );
    for n in 0..230 {
        lines.push_str(&format!(
            "{{\"kind\":\"person\",\"id\":\"p{n:03}\",\"name\":\"Person {n:03}\",\"email\":\"p{n:03}@big.example\"}}\n\
             {{\"kind\":\"collaborator\",\"resource\":{{\"type\":\"project\",\"id\":\"big\"}},\"person\":\"p{n:03}\",\"role\":\"editor\"}}\n\
             {{\"kind\":\"resource\",\"type\":\"file\",\"id\":\"f{n:03}\",\"parent\":{{\"type\":\"project\",\"id\":\"big\"}}}}\n"
        ));
    }
    app.import(lines).await.expect(200);
    let new = json!({"title": "All files of one project", "severity": "critical"});
    let incident = app.post("/api/v1/incidents", new).await.expect(201).id();
    let files = json!({"selector": {"type": "file"}});
    app.post(&format!("/api/v1/incidents/{incident}/affected"), files)
        .await
        .expect(200);
    let notice = draft(
        &app,
        &incident,
        json!({"phase": "detection", "message": "We look into it."}),
    )
    .await;
    send(&app, &notice).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    for (start, section, row, rows) in [
        (
            "/admin/incidents/1/people".to_owned(),
            "id=\"people\"",
            "p([0-9]{3})@big",
            20,
        ),
        (
            format!("/admin/notices/{notice}"),
            "id=\"deliveries\"",
            "p([0-9]{3})@big",
            100,
        ),
        (
            "/admin/directory/people".to_owned(),
            "aria-label=\"People\"",
            "p([0-9]{3})@big",
            100,
        ),
        (
            "/admin/incidents/1/resources".to_owned(),
            "id=\"affected\"",
            "<th scope=\"row\"><a href=\"/admin/directory/resources/file/f([0-9]{3})",
            20,
        ),
    ] {
        let row = regex::Regex::new(row).unwrap();
        let mut found: Vec<String> = Vec::new();
        let mut sizes = Vec::new();
        let mut next = Some(start.clone());
        while let Some(path) = next {
            let page = browser.page(&path, 200).await;
            let part = page
                .split(section)
                .nth(1)
                .and_then(|rest| rest.split("</section>").next())
                .unwrap();
            let before = found.len();
            found.extend(row.captures_iter(part).map(|captures| captures[1].to_owned()));
            sizes.push(found.len() - before);
            assert!(sizes.len() < 20, "{start}: the pages do not end");
            next = part
                .split("\" rel=\"next\"")
                .next()
                .filter(|before| before.len() < part.len())
                .map(|before| {
                    let (_, link) = before.rsplit_once("href=\"").unwrap();
                    link.replace("&#x3D;", "=")
                        .replace("&amp;", "&")
                        .split('#')
                        .next()
                        .unwrap()
                        .to_owned()
                });
        }
        found.sort();
        found.dedup();
        let mut expected = vec![rows; 230 / rows];
        expected.push(230 % rows);
        assert_eq!(sizes, expected, "{start} {section}");
        assert_eq!(found.len(), 230, "{start} {section}: each once over all pages");
    }
    let page = browser.page("/admin/incidents/1/people", 200).await;
    shows(&page, &["230 people", "and 225 more"]);
    let page = browser.page("/admin/incidents/1/resources", 200).await;
    shows(&page, &["Affected resources</h2><span class=\"quiet\">230"]);
    app.finish().await;
}

async fn what_is_wrong_is_said_on_a_page(env: Env) {
    let app = at_the_start(&env).await;
    let story = play(&app).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    for path in pages(&story) {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = browser.page(&format!("{path}{separator}sttaus=open"), 422).await;
        shows(&page, &["sttaus", "Sign out"]);
    }
    for path in [
        "/admin/incidents?status=over",
        "/admin/incidents?cursor=nonsense",
        "/admin/incidents/1/people?people=everyone",
        "/admin/audit?action=no.such",
        "/admin/audit?actor=nobody",
        "/admin/audit?from=yesterday",
        "/admin/audit?incident=77",
        "/admin/directory/resources?type=flie",
        "/admin/directory/resources?label=provider",
        "/admin/directory/find?kind=resource&id=x",
        "/admin/directory/find?kind=thing&id=x",
    ] {
        shows(&browser.page(path, 422).await, &["Invalid input"]);
    }
    browser
        .page(&format!("/admin/notices/{}?state=snet", story.detection), 422)
        .await;
    let nobody = "018e3b1e-0000-7000-8000-000000000000";
    for path in [
        "/admin/incidents/2",
        "/admin/incidents/-1",
        "/admin/incidents/nonsense",
        &format!("/admin/incidents/{nobody}"),
        &format!("/admin/notices/{nobody}"),
        "/admin/notices/nonsense",
        &format!("/admin/integrations/{nobody}"),
        "/admin/templates/no-such-phase",
        "/admin/directory/accounts/nobody",
        "/admin/directory/people/nobody",
        "/admin/directory/resources/media/nobody",
        "/admin/no-such-page",
    ] {
        let page = browser.page(path, 404).await;
        shows(&page, &["Page not found", "Sign out"]);
    }
    // On public paths a browser gets a page. Unknown parameters are ignored there.
    app.anonymous().get("/status?sttaus=open").await.expect(200);
    let browser = app
        .anonymous()
        .request(Method::GET, "/unsubscribe/1.forged")
        .header("accept", "text/html,*/*")
        .send()
        .await;
    shows(&browser.expect(404).text, &["Page not found", "</html>"]);
    app.finish().await;
}

async fn the_public_page_shows_what_was_published_and_nothing_else(env: Env) {
    let app = at_the_start(&env).await;
    let anybody = app.anonymous();
    shows(
        &anybody.get("/status").await.expect(200).text,
        &["No incident reports."],
    );
    let story = play(&app).await;
    let nothing = anybody.get("/status").await.expect(200).text;
    shows(&nothing, &["No incident reports."]);
    let secrets = [
        "internal-words",
        "customer-words",
        "No storage handler for s3",
        "interview",
        "nyota",
        "Amina",
        ADDRESSES[0],
        "The handler is back",
        &story.incident,
    ];
    hides(&nothing, &secrets);
    hides(&nothing, &["public-words", "Files did not open"]);
    let path = format!("/api/v1/incidents/{}/report", story.incident);
    app.post(&format!("{path}/publish"), json!({})).await.expect(200);
    let page = anybody.get("/status").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    shows(
        &page.text,
        &[
            "Files did not open",
            "public-words: 28 minutes.",
            "14 March 2024, 07:24 UTC",
        ],
    );
    hides(&page.text, &secrets);
    // A later change of the report is not public until the report is published again.
    let sections = json!([{"heading": "More", "text": "later-words", "audience": "public"}]);
    app.put(&path, json!({"title": "Another title", "sections": sections}))
        .await
        .expect(200);
    let page = anybody.get("/status").await.expect(200).text;
    shows(&page, &["Files did not open", "public-words"]);
    hides(&page, &["Another title", "later-words"]);
    app.finish().await;
}

async fn only_a_post_opts_out(env: Env) {
    let app = at_the_start(&env).await;
    app.import(story_directory()).await.expect(200);
    let new = json!({"title": "t", "severity": "minor", "affected": [{"type": "media", "id": MEDIA}]});
    let incident = app.post("/api/v1/incidents", new).await.expect(201).id();
    let update = json!({"phase": "update", "message": "News."});
    let first = draft(&app, &incident, update.clone()).await;
    send(&app, &first).await;
    let mails = app.mails(3).await;
    let mail = mails.iter().find(|mail| mail.to == ADDRESSES[0]).unwrap();
    let header = mail.header("List-Unsubscribe");
    let url = header
        .trim()
        .trim_start_matches('<')
        .trim_end_matches('>')
        .to_owned();
    let path = url.split_at(url.find("/unsubscribe/").unwrap()).1.to_owned();
    let anybody = app.anonymous();
    for _ in 0..2 {
        let page = anybody.get(&path).await.expect(200).text;
        shows(&page, &["method=\"post\"", "You will still get an email"]);
        hides(&page, &[ADDRESSES[0], "Amina"]);
    }
    assert_eq!(env.count("opt_outs"), 0, "a GET opted somebody out");
    let (start, signature) = path.rsplit_once('.').unwrap();
    let other = start.replace("/unsubscribe/", "/unsubscribe/1");
    for forged in [
        format!("{start}.{}", signature.to_uppercase()),
        format!("{other}.{signature}"),
        start.to_owned(),
        "/unsubscribe/nonsense".to_owned(),
    ] {
        let refused = anybody.get(&forged).await.expect_problem(404);
        assert_eq!(refused["detail"], "this link is not valid or has expired");
        let form = "application/x-www-form-urlencoded";
        anybody
            .post_raw(&forged, form, "List-Unsubscribe=One-Click")
            .await
            .expect_problem(404);
    }
    assert_eq!(env.count("opt_outs"), 0, "a forged link opted somebody out");
    for _ in 0..2 {
        let form = "application/x-www-form-urlencoded";
        let done = anybody
            .post_raw(&path, form, "List-Unsubscribe=One-Click")
            .await
            .expect(200);
        shows(
            &done.text,
            &["You will get no more updates", "You will still get an email"],
        );
    }
    assert_eq!(env.count("opt_outs"), 1);
    let second = draft(&app, &incident, update).await;
    let preview = app
        .get(&format!("/api/v1/notices/{second}/preview"))
        .await
        .expect(200);
    assert_eq!(preview["recipients"], 2, "{preview}");
    let mandatory = draft(
        &app,
        &incident,
        json!({"phase": "detection", "message": "You are affected."}),
    )
    .await;
    let preview = app
        .get(&format!("/api/v1/notices/{mandatory}/preview"))
        .await
        .expect(200);
    assert_eq!(preview["recipients"], 3, "{preview}");
    app.finish().await;
}

async fn the_pages_show_endpoints_and_no_secret_of_theirs(env: Env) {
    let receiver =
        Receiver::answering(|_, received| Reply::of(if received.path == "/gone" { 410 } else { 200 }));
    let app = TestApp::builder(&env)
        .config(|config| config.webhook_allow = Policy::Private)
        .start()
        .await;
    let incident = app.story_incident().await;
    let endpoints = "/api/v1/accounts/nyota-films/endpoints";
    let open = receiver.url("/hooks?key=hush");
    let made = app.post(endpoints, json!({"url": open})).await.expect(201);
    let gone = app
        .post(endpoints, json!({"url": receiver.url("/gone")}))
        .await
        .expect(201);
    let notice = app.draft(&incident, "detection").await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let shown = format!("{}?…", receiver.url("/hooks"));
    let path = format!("/admin/notices/{notice}");
    let draft = browser.page(&path, 200).await;
    assert!(
        draft.contains("3 people and 2 systems") && draft.contains("webhook: 2"),
        "{}",
        body(&draft)
    );
    assert!(
        draft.contains(&shown) && draft.contains("incident.notice"),
        "{}",
        body(&draft)
    );
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let sent = browser.page(&path, 200).await;
    for text in [
        "Emailed 3 of 3",
        "1 of 2 accepted",
        "1 failed",
        &shown,
        "410 Gone",
    ] {
        assert!(sent.contains(text), "{text}: {}", body(&sent));
    }
    let account = browser.page("/admin/directory/accounts/nyota-films", 200).await;
    for text in [&shown, "enabled", "disabled", "410 Gone"] {
        assert!(account.contains(text), "{text}: {}", body(&account));
    }
    for id in [made.id(), gone.id()] {
        assert!(account.contains(&id), "{}", body(&account));
    }
    for page in [draft, sent, account] {
        for secret in ["whsec_", "hush"] {
            assert!(!page.contains(secret), "{secret}: {}", body(&page));
        }
    }
    app.finish().await;
}

async fn a_page_explains_who_is_told_and_says_who_owned_it(env: Env) {
    let app = TestApp::builder(&env).at("2026-01-01T08:00:00Z").start().await;
    let incident = app.story_incident().await;
    let viewer = app.token("viewer").await;
    let browser = Browser::signed_in(&app, &viewer).await;
    let path = format!("/admin/incidents/{incident}");
    let path = format!("{path}/people");
    let page = browser.page(&path, 200).await;
    assert!(page.contains("Check a person"), "{page}");
    assert!(
        !page.contains("when the incident started, but no longer"),
        "{page}"
    );
    // By ID and by address; in the audience, not in it, and unknown.
    let asked = async |who: &str| browser.page(&format!("{path}?who={who}"), 200).await;
    let amina = asked("amina").await;
    assert!(
        amina.contains("owner of the account nyota-films, which owns file interview-v1"),
        "{amina}"
    );
    let tumaini = asked("TUMAINI%40kilele-studio.example").await;
    assert!(tumaini.contains("not affected"), "{tumaini}");
    assert!(
        tumaini.contains("on project market-day, which is not affected"),
        "{tumaini}"
    );
    let nobody = asked("%3Cb%3Enobody").await;
    assert!(
        nobody.contains("no person with the ID or address <strong dir=\"auto\">&lt;b&gt;nobody</strong>"),
        "{nobody}"
    );

    app.set_clock("2026-01-01T09:00:00Z");
    app.put(
        "/api/v1/resources/project/savanna",
        json!({"account": "kilele-studio"}),
    )
    .await
    .expect(200);
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    let relevance = json!({"resources": [{"type": "file", "id": FILES[0]}], "relevance": "possibly"});
    app.post(&format!("/api/v1/incidents/{incident}/affected"), relevance)
        .await
        .expect(200);
    let page = browser.page(&path, 200).await;
    assert!(
        page.contains("2 people were affected when the incident started, but no longer are"),
        "{page}"
    );
    assert!(
        page.contains("Amina Njeri") && page.contains("Baraka Mushi"),
        "{page}"
    );
    let resources = browser
        .page(&format!("/admin/incidents/{incident}/resources"), 200)
        .await;
    assert!(resources.contains("possibly affected"), "{resources}");
    let notice = app.draft(&incident, "detection").await;
    let page = browser.page(&format!("/admin/notices/{notice}"), 200).await;
    assert!(
        page.contains("owner of the account and all collaborators"),
        "{page}"
    );
    assert!(
        page.contains("2 people were affected when the incident started"),
        "{page}"
    );
    app.finish().await;
}
