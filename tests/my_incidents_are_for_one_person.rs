//! "My incidents" is the page of one person. A link in an email, a ticket or a token of the product opens it, but only by a button: whoever
//! only follows links sees nothing and changes nothing. What the person chooses there applies to later notices.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::{ORIGIN, Product, feed};
use crate::support::{Answer, Env, Mail, TestApp, on_both_databases, on_one_database};

on_both_databases!(
    a_link_in_an_email_opens_the_page_by_a_button,
    what_a_person_chooses_applies_and_stays,
    a_person_ends_short_messages,
    the_owner_of_an_account_sees_what_its_people_were_told,
    all_resources_are_listed_behind_the_first,
    an_erased_person_has_no_page_and_no_choices,
);

on_one_database!(
    the_product_opens_the_page,
    nothing_else_opens_a_page,
    people_who_share_a_mailbox_choose_who_they_are,
    the_page_is_in_the_language_of_the_person,
);

const NOON: &str = "2024-03-14T12:00:00Z";
const FORM: &str = "application/x-www-form-urlencoded";

async fn told(env: &Env) -> (TestApp, String, Vec<Mail>) {
    let app = TestApp::builder(env).at(NOON).start().await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(3).await;
    (app, incident, mails)
}

fn to<'a>(mails: &'a [Mail], person: &str) -> &'a Mail {
    mails
        .iter()
        .rfind(|mail| mail.to.starts_with(person))
        .expect("an email")
}

/// Returns the path of the page in an email.
fn link(mail: &Mail) -> String {
    let url = mail
        .text
        .split_whitespace()
        .find(|word| word.contains("/mine/link/"))
        .unwrap_or_else(|| panic!("no link in {}", mail.text));
    let path = format!("/mine/link/{}", url.split_once("/mine/link/").expect("a path").1);
    assert!(mail.html.contains(&path), "{path} in {}", mail.html);
    path
}

/// A browser with the cookie of an open page.
struct Visit<'a> {
    app: &'a TestApp,
    cookie: String,
}

impl<'a> Visit<'a> {
    /// Begins with the answer to the button.
    fn of(app: &'a TestApp, answer: &Answer) -> Visit<'a> {
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, "/mine"),
            "{answer}"
        );
        let set = answer.header("set-cookie");
        for part in ["HttpOnly", "SameSite=Lax", "Path=/mine", "Max-Age=3600"] {
            assert!(set.contains(part), "{part} in {set}");
        }
        Visit {
            app,
            cookie: set.split(';').next().expect("a cookie").to_owned(),
        }
    }

    async fn by_mail(app: &'a TestApp, mail: &Mail) -> Visit<'a> {
        let answer = app.anonymous().post_raw(&link(mail), FORM, "").await;
        Visit::of(app, &answer)
    }

    async fn call(&self, method: Method, path: &str, form: &str) -> Answer {
        self.app
            .anonymous()
            .request(method, path)
            .header("cookie", &self.cookie)
            .body(FORM, form)
            .send()
            .await
    }

    async fn page(&self) -> String {
        self.call(Method::GET, "/mine", "").await.expect(200).text
    }

    async fn file(&self) -> Value {
        let answer = self.call(Method::GET, "/mine/download", "").await.expect(200);
        assert!(answer.header("content-disposition").starts_with("attachment"));
        answer.json
    }

    async fn choose(&self, fields: &[(&str, &str)]) -> Answer {
        let page = self.page().await;
        let (_, rest) = page.split_once("name=\"key\" value=\"").expect("a form");
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("key", rest.split('"').next().expect("a key"))
            .extend_pairs(fields)
            .finish();
        self.call(Method::POST, "/mine/preferences", &form).await
    }
}

async fn a_link_in_an_email_opens_the_page_by_a_button(env: Env) {
    let (app, incident, mails) = told(&env).await;
    let before = app.all("/api/v1/audit").await.len();
    // A scanner follows every link of the email: it sees nothing about the person, and changes nothing.
    let mail = to(&mails, "amina");
    for path in mail
        .text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(app.base().as_str()))
    {
        for method in [Method::GET, Method::HEAD] {
            let answer = app.anonymous().request(method, path).send().await.expect(200);
            assert_eq!(answer.header("set-cookie"), "", "{path}");
            if path.starts_with("/mine") {
                for secret in ["Amina", "rangers", "What we have to say", "detection"] {
                    assert!(!answer.text.contains(secret), "{secret} in {}", answer.text);
                }
                assert_eq!(answer.header("referrer-policy"), "no-referrer");
                let policy = answer.header("content-security-policy");
                assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"));
            }
        }
    }
    for table in ["answers", "opt_outs", "person_choices", "feed_reads"] {
        assert_eq!(env.count(table), 0, "{table}");
    }
    assert_eq!(app.all("/api/v1/audit").await.len(), before);
    // The button opens it.
    let visit = Visit::by_mail(&app, mail).await;
    let page = visit.page().await;
    for shown in [
        "Amina Njeri",
        "rangers-interview-v1.mov",
        "What we have to say in the detection.",
        "No action needed",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    for hidden in ["Files cannot be opened", "Baraka", "Wanjiru", "baraka@"] {
        assert!(!page.contains(hidden), "{hidden}");
    }
    let file = visit.file().await;
    assert_eq!(file["person"], "amina");
    assert_eq!(file["incidents"][0]["number"], 1);
    assert_eq!(file["incidents"][0]["affected"][0]["state"], "affected");
    assert_eq!(file["notices"][0]["phase"], "detection");
    assert_eq!(file["notices"][0]["answer"], Value::Null);
    // The answer and the recovery are on it.
    let answer = file["notices"][0]["answer_url"].as_str().expect("a link");
    let path = answer
        .strip_prefix(app.base().as_str())
        .expect("a link of Candor");
    app.anonymous()
        .post_raw(path, FORM, "answer=broken&text=Still+nothing")
        .await
        .expect(200);
    app.post(
        &format!("/api/v1/incidents/{incident}/recovery"),
        json!({"state": "recovering", "resources": [{"type": "file", "id": "interview-v1"}]}),
    )
    .await
    .expect(200);
    let file = visit.file().await;
    assert_eq!(file["notices"][0]["answer"]["answer"], "broken");
    assert_eq!(file["notices"][0]["answer"]["text"], "Still nothing");
    let states: Vec<&Value> = file["incidents"][0]["affected"]
        .as_array()
        .expect("resources")
        .iter()
        .map(|one| &one["state"])
        .collect();
    assert!(
        states.contains(&&json!("recovering")) && states.contains(&&json!("impaired")),
        "{states:?}"
    );
    assert!(visit.page().await.contains("Your answer: Still broken"));
    app.resolve(&incident).await;
    assert_eq!(visit.file().await["incidents"], json!([]));
    // A session lasts an hour, and ends when the person closes the page.
    let ended = visit.call(Method::POST, "/mine/end", "").await.expect(200);
    assert!(ended.header("set-cookie").contains("Max-Age=0"));
    app.set_clock("2024-03-14T13:00:01Z");
    visit.call(Method::GET, "/mine", "").await.expect(401);
    // A link in an email opens it for ninety days.
    app.set_clock("2024-06-13T12:00:00Z");
    app.anonymous().get(&link(mail)).await.expect_problem(404);
    app.anonymous()
        .post_raw(&link(mail), FORM, "")
        .await
        .expect_problem(404);
    app.finish().await;
}

async fn a_person_ends_short_messages(env: Env) {
    let (app, _, mails) = told(&env).await;
    let visit = Visit::by_mail(&app, to(&mails, "amina")).await;
    let has = async || visit.file().await["preferences"]["short_messages"] == true;
    assert!(!has().await && !visit.page().await.contains("has_phone"));
    let phone = "/api/v1/people/amina/endpoints";
    app.post(
        phone,
        json!({"url": "+254 700 123456", "consent": "asked on the phone"}),
    )
    .await
    .expect(201);
    assert!(visit.page().await.contains("has_phone"));
    // A page that was opened before the number was stored does not delete it.
    visit.choose(&[("optional_emails", "on")]).await.expect(303);
    assert!(has().await);
    let mut fields = vec![("optional_emails", "on"), ("has_phone", "on"), ("phone", "on")];
    visit.choose(&fields).await.expect(303);
    assert!(has().await);
    fields.pop();
    visit.choose(&fields).await.expect(303);
    assert!(!has().await);
    assert_eq!(app.get(phone).await.expect(200)["items"], json!([]));
    let deleted = app.all("/api/v1/audit?action=endpoint.deleted").await;
    assert_eq!(
        (&deleted[0]["actor"]["kind"], &deleted[0]["before"]["person"]),
        (&json!("person"), &json!("amina"))
    );
    app.finish().await;
}

async fn what_a_person_chooses_applies_and_stays(env: Env) {
    let (app, incident, mails) = told(&env).await;
    let visit = Visit::by_mail(&app, to(&mails, "amina")).await;
    let fields = [
        ("locale", "de"),
        ("time_zone", "America/Los_Angeles"),
        ("optional_emails", "on"),
    ];
    let saved = visit.choose(&fields).await.expect(303);
    assert_eq!(saved.header("location"), "/mine?saved");
    let chosen = visit.file().await["preferences"].clone();
    assert_eq!(
        (&chosen["locale"], &chosen["time_zone"]),
        (&json!("de"), &json!("America/Los_Angeles"))
    );
    assert!(visit.page().await.contains("lang=\"de\""));
    // An import and a change by an operator do not touch it.
    app.import(crate::support::story_directory()).await.expect(200);
    app.put(
        "/api/v1/people/amina",
        json!({"name": "Amina Njeri", "email": "amina@nyota-films.example", "locale": "sw", "time_zone": "Africa/Nairobi"}),
    )
    .await
    .expect(200);
    assert_eq!(visit.file().await["preferences"], chosen);
    // Later notices obey it.
    app.tell(&incident, "update").await;
    let mails = app.mails(6).await;
    let amina = to(&mails[3..], "amina");
    assert!(amina.text.contains(" PDT"), "{}", amina.text);
    assert!(!amina.text.contains(" EAT"));
    assert!(to(&mails[3..], "baraka").text.contains(" EAT"));
    // Without optional emails, there is no update.
    visit.choose(&[("time_zone", "Asia/Tokyo")]).await.expect(303);
    assert_eq!(visit.file().await["preferences"]["optional_emails"], false);
    app.tell(&incident, "update").await;
    let mails = app.mails(8).await;
    assert!(mails[6..].iter().all(|mail| !mail.to.starts_with("amina")));
    // Somebody who is told although the incident affects them no more gets their zone too.
    let resources = json!({"resources": [{"type": "file", "id": "interview-v1"}, {"type": "file", "id": "interview-v2"}]});
    app.post(
        &format!("/api/v1/incidents/{incident}/affected/remove"),
        resources,
    )
    .await
    .expect(200);
    app.affect(&incident, "file", "stalls-v1").await;
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    let mails = app.mails(13).await;
    let amina = to(&mails[8..], "amina");
    assert!(amina.text.contains(" JST"), "{}", amina.text);
    visit
        .choose(&[("time_zone", "Asia/Tokyo"), ("optional_emails", "on")])
        .await
        .expect(303);
    assert_eq!(env.count("opt_outs"), 0);
    // The trail says that the person did it.
    for (action, times) in [
        ("person.preferences_changed", 2),
        ("address.opted_out", 1),
        ("address.opted_in", 1),
    ] {
        let events = app.all(&format!("/api/v1/audit?action={action}")).await;
        assert_eq!(events.len(), times, "{action}");
        for event in events {
            assert_eq!(event["actor"]["kind"], "person");
            assert_eq!(event["subject"], json!({"type": "person", "id": "amina"}));
        }
    }
    // A wrong zone is an error on the page, and changes nothing.
    let wrong = visit.choose(&[("time_zone", "Mars/Olympus")]).await.expect(422);
    assert!(
        wrong.text.contains("Mars/Olympus") && wrong.text.contains("aria-invalid"),
        "{}",
        wrong.text
    );
    assert_eq!(visit.file().await["preferences"]["time_zone"], "Asia/Tokyo");
    // Without the key of the form nothing changes. A GET does not, either.
    let forged = visit
        .call(Method::POST, "/mine/preferences", "time_zone=UTC")
        .await;
    assert_eq!(forged.status, 403);
    let read = visit
        .call(Method::GET, "/mine/preferences?time_zone=UTC", "")
        .await;
    assert_eq!(read.status, 405);
    // An empty form goes back to what the directory says.
    visit
        .choose(&[("locale", ""), ("time_zone", ""), ("optional_emails", "on")])
        .await
        .expect(303);
    let back = visit.file().await["preferences"].clone();
    assert_eq!(
        (&back["locale"], &back["applied_time_zone"]),
        (&Value::Null, &json!("Africa/Nairobi"))
    );
    assert_eq!(back["applied_language"], "sw");
    app.finish().await;
}

async fn the_owner_of_an_account_sees_what_its_people_were_told(env: Env) {
    let (app, incident, mails) = told(&env).await;
    app.post(
        &format!("/api/v1/incidents/{incident}/recovery"),
        json!({"state": "recovering", "resources": [{"type": "file", "id": "interview-v1"}]}),
    )
    .await
    .expect(200);
    let owner = Visit::by_mail(&app, to(&mails, "amina")).await;
    let file = owner.file().await;
    let [account] = file["accounts"].as_array().expect("accounts").as_slice() else {
        panic!("{file}")
    };
    assert_eq!(account["id"], "nyota-films");
    // Two members were told. The third recipient is no member of the account.
    let notice = &account["notices"][0];
    assert_eq!(
        (&notice["incident"], &notice["people"], &notice["open"]),
        (&json!(1), &json!(2), &json!(true))
    );
    assert_eq!(notice["recovery"], json!({"affected": 2, "recovered": 0}));
    let page = owner.page().await;
    assert!(
        page.contains("Nyota Films") && !page.contains("Wanjiru"),
        "{page}"
    );
    for person in ["baraka", "wanjiru"] {
        let visit = Visit::by_mail(&app, to(&mails, person)).await;
        assert_eq!(visit.file().await["accounts"], json!([]), "{person}");
    }
    // Who owns it no more sees it no more.
    app.put(
        "/api/v1/accounts/nyota-films/members/amina",
        json!({"role": "editor"}),
    )
    .await
    .expect(200);
    assert_eq!(owner.file().await["accounts"], json!([]));
    app.finish().await;
}

async fn all_resources_are_listed_behind_the_first(env: Env) {
    let app = TestApp::builder(&env).at(NOON).start().await;
    let film = |n: usize| json!({"kind": "resource", "type": "file", "id": format!("f{n}"), "account": "films", "name": format!("Film {n:03}"), "labels": {"on": "disk"}});
    let mut lines = vec![
        json!({"kind": "account", "id": "films", "name": "Films"}),
        json!({"kind": "person", "id": "ann", "name": "Ann", "email": "ann@films.example"}),
        json!({"kind": "member", "account": "films", "person": "ann", "role": "owner"}),
        json!({"kind": "account", "id": "others", "name": "Others"}),
        json!({"kind": "resource", "type": "file", "id": "o", "account": "others", "name": "Of others", "labels": {"on": "disk"}}),
    ];
    lines.extend((1..=230).map(film));
    let import = async |lines: &[Value]| {
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        app.import(lines).await.expect(200);
    };
    import(&lines).await;
    let opened = app
        .post(
            "/api/v1/incidents",
            json!({"title": "A disk", "severity": "major"}),
        )
        .await
        .expect(201);
    let path = format!("/api/v1/incidents/{}", opened.id());
    let select = json!({"selector": "type:file on:disk"});
    app.post(&format!("{path}/affected"), select).await.expect(200);
    app.tell(&opened.id(), "detection").await;
    let mails = app.mails(1).await;
    let visit = Visit::by_mail(&app, &mails[0]).await;
    // What became affected later is not shown before somebody tells the person of it. What is not affected any more is not listed.
    import(&[film(231)]).await;
    app.set_clock("2024-03-14T12:30:00Z");
    let later = json!({"resources": [{"type": "file", "id": "f231"}]});
    app.post(&format!("{path}/affected"), later).await.expect(200);
    app.delete(&format!("{path}/affected/file/f200"))
        .await
        .expect(204);

    let page = visit.page().await;
    assert_eq!(page.matches("<bdi>Film ").count(), 25);
    assert!(
        page.contains("<a href=\"/mine/incidents/1\">and 204 more</a>"),
        "{page}"
    );
    let list = async |query: &str| {
        let path = format!("/mine/incidents/1{query}");
        visit.call(Method::GET, &path, "").await.expect(200).text
    };
    let (first, second) = (list("").await, list("?from=200").await);
    assert_eq!(
        [&first, &second].map(|page| page.matches("<bdi>Film ").count()),
        [200, 29]
    );
    assert!(
        first.contains("href=\"/mine/incidents/1?from&#x3D;200\""),
        "{first}"
    );
    assert!(
        second.contains("href=\"/mine/incidents/1?from&#x3D;0\""),
        "{second}"
    );
    for hidden in ["Film 200", "Film 231", "Of others"] {
        assert!(!first.contains(hidden) && !second.contains(hidden), "{hidden}");
    }
    let file = visit.file().await;
    assert_eq!(
        file["incidents"][0]["affected"].as_array().map(Vec::len),
        Some(229)
    );

    for (path, status) in [
        ("/mine/incidents/2", 404),
        ("/mine/incidents/x", 404),
        ("/mine/incidents/1?from=-1", 422),
        ("/mine/incidents/1?form=1", 422),
    ] {
        assert_eq!(visit.call(Method::GET, path, "").await.status, status, "{path}");
    }
    app.anonymous().get("/mine/incidents/1").await.expect(401);
    app.finish().await;
}

async fn an_erased_person_has_no_page_and_no_choices(env: Env) {
    let (app, _, mails) = told(&env).await;
    let visit = Visit::by_mail(&app, to(&mails, "amina")).await;
    visit
        .choose(&[("locale", "fr"), ("time_zone", "Europe/Paris")])
        .await
        .expect(303);
    let product = Product::new(&app).await;
    feed(&app, Method::POST, "read", &product.token(&app, "amina"))
        .json(json!({"up_to": NOON}))
        .send()
        .await
        .expect(200);
    let export = app.get("/api/v1/people/amina/export").await.expect(200);
    assert_eq!(
        export["choices"],
        json!({"locale": "fr", "time_zone": "Europe/Paris"})
    );
    app.post("/api/v1/people/amina/erase", json!({"reason": "Request 17"}))
        .await
        .expect(200);
    for table in ["person_choices", "feed_reads"] {
        assert_eq!(env.count(table), 0, "{table}");
    }
    visit.call(Method::GET, "/mine", "").await.expect(401);
    app.anonymous()
        .get(&link(to(&mails, "amina")))
        .await
        .expect_problem(404);
    let trail = json!(app.all("/api/v1/audit").await).to_string();
    assert!(!trail.contains("amina"), "{trail}");
    app.finish().await;
}

async fn the_product_opens_the_page(env: Env) {
    let (app, _, _) = told(&env).await;
    let product = Product::new(&app).await;
    let token = product.token(&app, "amina");
    // The script of the product asks for a ticket.
    let ticket = feed(&app, Method::POST, "mine", &token)
        .header("origin", ORIGIN)
        .send()
        .await
        .expect(200);
    let url = ticket["url"].as_str().expect("a URL");
    assert!(!url.contains(&token));
    let path = url
        .strip_prefix(app.base().as_str())
        .expect("a URL of Candor")
        .to_owned();
    let before = app.anonymous().get(&path).await.expect(200);
    assert!(!before.text.contains("Amina") && before.header("set-cookie").is_empty());
    let visit = Visit::of(&app, &app.anonymous().post_raw(&path, FORM, "").await);
    assert!(visit.page().await.contains("Amina Njeri"));
    // A form of the product sends its token.
    let form = format!("token={token}");
    let post = async |origin: Option<&str>, form: &str| {
        let mut request = app.anonymous().request(Method::POST, "/mine").body(FORM, form);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().await
    };
    let other = Visit::of(&app, &post(Some(ORIGIN), &form).await);
    assert_eq!(other.file().await["person"], "amina");
    assert_eq!(post(Some("https://evil.example"), &form).await.status, 403);
    assert_eq!(post(None, "token=x.y.z").await.status, 401);
    // A token in the address opens nothing.
    app.anonymous()
        .get(&format!("/mine?token={token}"))
        .await
        .expect(401);
    // A ticket is valid for five minutes, and no longer than its key.
    app.delete(&format!("/api/v1/feed-keys/{}", product.key))
        .await
        .expect(204);
    app.anonymous()
        .post_raw(&path, FORM, "")
        .await
        .expect_problem(404);
    visit.call(Method::GET, "/mine", "").await.expect(401);
    let again = Product::new(&app).await;
    let ticket = feed(&app, Method::POST, "mine", &again.token(&app, "amina"))
        .send()
        .await
        .expect(200);
    let path = ticket["url"].as_str().expect("a URL").to_owned();
    app.set_clock("2024-03-14T12:05:01Z");
    app.anonymous().get(&path).await.expect_problem(404);
    app.finish().await;
}

async fn nothing_else_opens_a_page(env: Env) {
    let (app, _, mails) = told(&env).await;
    let good = link(to(&mails, "amina"));
    let other = link(to(&mails, "baraka"));
    let (delivery, _) = good
        .rsplit('/')
        .next()
        .expect("a token")
        .split_once('.')
        .expect("a dot");
    let (_, signature) = other.rsplit_once('.').expect("a dot");
    let unsubscribe = to(&mails, "amina")
        .text
        .split_whitespace()
        .find_map(|word| Some(word.split_once("/unsubscribe/")?.1.to_owned()))
        .expect("a link");
    for path in [
        format!("/mine/link/{delivery}.{signature}"),
        format!("/mine/link/{delivery}."),
        format!("/mine/link/{delivery}"),
        format!("/mine/link/{unsubscribe}"),
        "/mine/link/1.AAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        format!("/mine/open/{}", good.rsplit('/').next().expect("a token")),
        "/mine/open/eyJwZXJzb24iOiJhbWluYSIsImtleSI6bnVsbCwidW50aWwiOiIyMDk5LTAxLTAxVDAwOjAwOjAwWiJ9.AAAAAAAAAAAAAAAAAAAAAAAA"
            .to_owned(),
    ] {
        app.anonymous().get(&path).await.expect_problem(404);
        app.anonymous().post_raw(&path, FORM, "").await.expect_problem(404);
    }
    // A ticket is no session, and a session is no ticket.
    let product = Product::new(&app).await;
    let ticket = feed(&app, Method::POST, "mine", &product.token(&app, "amina"))
        .send()
        .await
        .expect(200);
    let ticket = ticket["url"]
        .as_str()
        .expect("a URL")
        .rsplit('/')
        .next()
        .expect("a ticket")
        .to_owned();
    let visit = Visit::by_mail(&app, to(&mails, "amina")).await;
    let session = visit.cookie.split_once('=').expect("a cookie").1.to_owned();
    for cookie in [ticket, format!("{session}x"), "x".to_owned(), String::new()] {
        let forged = Visit {
            app: &app,
            cookie: format!("candor_mine={cookie}"),
        };
        for path in ["/mine", "/mine/download"] {
            let answer = forged.call(Method::GET, path, "").await.expect(401);
            assert!(!answer.text.contains("Amina"));
        }
        assert_eq!(
            forged.call(Method::POST, "/mine/preferences", "").await.status,
            401
        );
    }
    app.anonymous()
        .post_raw(&format!("/mine/open/{session}"), FORM, "")
        .await
        .expect_problem(404);
    assert_eq!(env.count("person_choices"), 0);
    app.finish().await;
}

async fn people_who_share_a_mailbox_choose_who_they_are(env: Env) {
    let app = TestApp::builder(&env).at(NOON).start().await;
    app.import(crate::support::story_directory()).await.expect(200);
    app.put(
        "/api/v1/people/wanjiru",
        json!({"name": "Wanjiru Kamau", "email": "amina@nyota-films.example"}),
    )
    .await
    .expect(200);
    let incident = app.incident([("file", "interview-v1")]).await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(2).await;
    let path = link(to(&mails, "amina"));
    let before = app.anonymous().get(&path).await.expect(200);
    assert!(!before.text.contains("Wanjiru"));
    for form in ["", "person=baraka"] {
        let asked = app.anonymous().post_raw(&path, FORM, form).await.expect(200);
        assert!(asked.text.contains("Amina Njeri") && asked.text.contains("Wanjiru Kamau"));
        assert_eq!(asked.header("set-cookie"), "");
    }
    let answer = app.anonymous().post_raw(&path, FORM, "person=wanjiru").await;
    let file = Visit::of(&app, &answer).file().await;
    assert_eq!(file["person"], "wanjiru");
    assert_eq!(file["notices"][0]["phase"], "detection");
    // An answer by the link would be that of both, so neither the page nor the feed has it.
    assert_eq!(file["notices"][0]["answer_url"], Value::Null);
    app.finish().await;
}

async fn the_page_is_in_the_language_of_the_person(env: Env) {
    let (app, _, mails) = told(&env).await;
    let visit = Visit::by_mail(&app, to(&mails, "amina")).await;
    for (language, direction) in [
        ("en", "ltr"),
        ("de", "ltr"),
        ("fr", "ltr"),
        ("es", "ltr"),
        ("pt", "ltr"),
        ("ja", "ltr"),
        ("sw", "ltr"),
        ("ar", "rtl"),
    ] {
        visit
            .choose(&[("locale", language), ("optional_emails", "on")])
            .await
            .expect(303);
        let page = visit.page().await;
        assert!(
            page.contains(&format!("<html lang=\"{language}\" dir=\"{direction}\">")),
            "{page}"
        );
        assert!(!page.contains('{'), "a placeholder in {page}");
        if language != "en" {
            for english in [
                "My incidents",
                "What affects you",
                "Save preferences",
                "Problem detected",
                "Close this page",
            ] {
                assert!(!page.contains(english), "{english} in {language}");
            }
        }
        let open = app.anonymous().get(&link(to(&mails, "amina"))).await.expect(200);
        assert!(open.text.contains(&format!("lang=\"{language}\"")));
    }
    let closed = app
        .anonymous()
        .request(Method::GET, "/mine")
        .header("accept-language", "xx, ja;q=0.8, en;q=0.5")
        .send()
        .await
        .expect(401);
    assert!(closed.text.contains("lang=\"ja\""), "{}", closed.text);
    app.finish().await;
}
