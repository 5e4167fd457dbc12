//! Accounts, people, resources and their roles are created, found, changed and deleted on pages, and a directory is imported there. The roles and the events are
//! those of the API, and everything that was typed is kept.

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::{Answer, Env, TestApp, on_both_databases, on_one_database, story_directory};

on_both_databases!(
    an_account_is_created_changed_and_deleted,
    people_and_resources_are_created_and_changed,
    a_newer_change_is_not_replaced_by_accident,
    entries_are_found_by_a_part_of_their_names,
    a_file_is_imported_or_its_mistakes_are_listed,
);

on_one_database!(
    endpoints_are_created_tested_and_deleted,
    viewers_change_nothing,
    what_came_back_is_listed_with_its_source_text,
);

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

#[track_caller]
fn hides(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(!page.contains(text), "{text:?} is on the page:\n{page}");
    }
}

async fn started(env: &Env) -> (TestApp, Browser) {
    let app = TestApp::start(env).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    (app, operator)
}

async fn an_account_is_created_changed_and_deleted(env: Env) {
    let (app, operator) = started(&env).await;
    shows(
        &operator.page("/admin/directory").await,
        &["There are no customers yet"],
    );
    let new = "/admin/directory/new-account";
    let account = |id: &'static str, labels: &'static str| {
        [
            ("id", id),
            ("name", "Acme <Ltd>"),
            ("locale", "en"),
            ("time_zone", "Europe/Berlin"),
            ("labels", labels),
        ]
    };
    let wrong = operator
        .send_from(new, new, &account("", "plan"))
        .await
        .expect(422);
    shows(
        &wrong.text,
        &[
            "Nothing was saved.",
            "value=\"Acme &lt;Ltd&gt;\"",
            "must be a name and a value",
        ],
    );
    // Everything that is wrong is said at once.
    let nothing = [
        ("id", ""),
        ("name", ""),
        ("locale", "not a language"),
        ("time_zone", "Berlin"),
        ("labels", "plan"),
    ];
    let wrong = operator.send_from(new, new, &nothing).await.expect(422);
    for (field, _) in nothing {
        shows(&wrong.text, &[&format!("id=\"e-{field}\"")]);
    }
    let wrong = operator
        .send_from(new, new, &account("", "plan=pro"))
        .await
        .expect(422);
    shows(&wrong.text, &["aria-describedby=\"e-id\"", "plan&#x3D;pro"]);
    let made = operator
        .send_from(new, new, &account("acme", "plan=pro"))
        .await
        .expect(303);
    let page = "/admin/directory/accounts/acme";
    assert_eq!(made.header("location"), page);
    shows(
        &operator.page(page).await,
        &["Acme &lt;Ltd&gt;", "plan=pro", "Delete account"],
    );
    let twice = operator
        .send_from(new, new, &account("acme", ""))
        .await
        .expect(422);
    shows(&twice.text, &["is the ID of another account already"]);
    let edit = format!("{page}/edit");
    shows(
        &operator.page(&edit).await,
        &["value=\"Europe/Berlin\"", "plan&#x3D;pro"],
    );
    let fields = |zone: &'static str| {
        [
            ("name", "Acme"),
            ("locale", ""),
            ("time_zone", zone),
            ("labels", ""),
        ]
    };
    let wrong = operator
        .send_from(&edit, &edit, &fields("Mars"))
        .await
        .expect(422);
    shows(
        &wrong.text,
        &["value=\"Mars\"", "aria-describedby=\"e-time_zone\""],
    );
    operator
        .send_from(&edit, &edit, &fields("Europe/Paris"))
        .await
        .expect(303);
    let stored = app.get("/api/v1/accounts/acme").await.expect(200);
    assert_eq!(
        json!([
            stored["name"],
            stored["locale"],
            stored["time_zone"],
            stored["labels"]
        ]),
        json!(["Acme", null, "Europe/Paris", {}])
    );
    // The members.
    app.put(
        "/api/v1/people/ann",
        json!({"name": "Ann", "email": "ann@example.com"}),
    )
    .await
    .expect(201);
    let members = format!("{page}/members");
    let wrong = operator
        .send_from(&members, &members, &[("person", "nobody"), ("role", "owner")])
        .await
        .expect(422);
    shows(&wrong.text, &["is not in the directory", "value=\"nobody\""]);
    operator
        .send_from(&members, &members, &[("person", "ann"), ("role", "member")])
        .await
        .expect(303);
    let role = format!("{members}/ann");
    operator
        .send_from(&role, &role, &[("role", "owner")])
        .await
        .expect(303);
    shows(
        &operator.page(page).await,
        &["Ann", "owner</span>", "Ann is no longer an owner"],
    );
    operator
        .send_from(page, &format!("{role}/remove"), &[])
        .await
        .expect(303);
    shows(&operator.page(page).await, &["No members"]);
    // The deletion says what depends on it, and saving restores it.
    operator
        .send_from(page, &format!("{page}/delete"), &[])
        .await
        .expect(303);
    shows(&operator.page(page).await, &["Archived", "Save it again"]);
    operator
        .send_from(&edit, &edit, &fields("Europe/Paris"))
        .await
        .expect(303);
    assert!(app.get("/api/v1/accounts/acme").await.expect(200)["gone_at"].is_null());
    let by: Vec<String> = app
        .all("/api/v1/audit?subject=acme")
        .await
        .iter()
        .map(|event| {
            format!(
                "{} {}",
                event["action"].as_str().unwrap(),
                event["actor"]["name"].as_str().unwrap()
            )
        })
        .collect();
    assert!(
        by.contains(&"account.deleted a test's operator".to_owned()),
        "{by:?}"
    );
    app.finish().await;
}

/// Returns the version that the form of a page carries.
#[track_caller]
fn version(page: &str) -> String {
    let (_, rest) = page
        .split_once("name=\"version\" value=\"")
        .unwrap_or_else(|| panic!("no version: {page}"));
    rest.split('"').next().expect("a version").to_owned()
}

async fn a_newer_change_is_not_replaced_by_accident(env: Env) {
    let (app, operator) = started(&env).await;
    let ann = "/api/v1/people/ann";
    app.put(ann, json!({"name": "Ann", "email": "ann@example.com"}))
        .await
        .expect(201);
    let edit = "/admin/directory/people/ann/edit";
    let opened = version(&operator.page(edit).await);
    app.put(ann, json!({"name": "Ann", "email": "new@example.com"}))
        .await
        .expect(200);
    let fields = |version: &str| {
        [
            ("name", "Ann B".to_owned()),
            ("email", "ann@example.com".to_owned()),
            ("locale", String::new()),
            ("time_zone", String::new()),
            ("version", version.to_owned()),
        ]
    };
    let send = async |version: &str| {
        let fields = fields(version);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        operator.send_from(edit, edit, &fields).await
    };
    let refused = send(&opened).await.expect(422);
    shows(
        &refused.text,
        &[
            "Somebody changed this since you opened it",
            "value=\"Ann B\"",
            "value=\"new@example.com\"",
        ],
    );
    assert_eq!(app.get(ann).await.expect(200)["email"], "new@example.com");
    // Who has the form of an active person does not restore an archived one.
    let seen = version(&refused.text);
    app.delete(ann).await.expect(204);
    let refused = send(&seen).await.expect(422);
    shows(&refused.text, &["It is archived now"]);
    assert!(!app.get(ann).await.expect(200)["gone_at"].is_null());
    shows(&operator.page(edit).await, &["This person is archived."]);
    send(&version(&refused.text)).await.expect(303);
    assert!(app.get(ann).await.expect(200)["gone_at"].is_null());
    // An account.
    let acme = "/api/v1/accounts/acme";
    app.put(acme, json!({"name": "Acme"})).await.expect(201);
    let edit = "/admin/directory/accounts/acme/edit";
    let opened = version(&operator.page(edit).await);
    app.put(acme, json!({"name": "Acme", "labels": {"plan": "pro"}}))
        .await
        .expect(200);
    let fields = [
        ("name", "Acme Ltd"),
        ("locale", ""),
        ("time_zone", ""),
        ("labels", ""),
        ("version", opened.as_str()),
    ];
    let refused = operator.send_from(edit, edit, &fields).await.expect(422);
    shows(&refused.text, &["value=\"Acme Ltd\"", "plan&#x3D;pro"]);
    app.finish().await;
}

async fn people_and_resources_are_created_and_changed(env: Env) {
    let (app, operator) = started(&env).await;
    let new = "/admin/directory/new-person";
    let person = |email: &'static str| {
        [
            ("id", "ann"),
            ("name", "Ann"),
            ("email", email),
            ("locale", ""),
            ("time_zone", ""),
        ]
    };
    let wrong = operator
        .send_from(new, new, &person("ann at home"))
        .await
        .expect(422);
    shows(
        &wrong.text,
        &["value=\"ann at home\"", "aria-describedby=\"e-email\""],
    );
    operator
        .send_from(new, new, &person("ann@example.com"))
        .await
        .expect(303);
    let page = "/admin/directory/people/ann";
    let edit = format!("{page}/edit");
    let changed = [
        ("name", "Ann B"),
        ("email", ""),
        ("locale", ""),
        ("time_zone", ""),
    ];
    operator.send_from(&edit, &edit, &changed).await.expect(303);
    shows(
        &operator.page(page).await,
        &["Ann B", "Cannot be reached:", "Correct the address"],
    );
    let new = "/admin/directory/new-resource";
    let resource = |account: &'static str, parent: &'static str| {
        [
            ("type", "project"),
            ("id", "42"),
            ("name", "Savanna"),
            ("account", account),
            ("parent", parent),
            ("labels", "tier=gold"),
        ]
    };
    let wrong = operator
        .send_from(new, new, &resource("acme", ""))
        .await
        .expect(422);
    shows(&wrong.text, &["is not in the directory", "value=\"acme\""]);
    let wrong = operator
        .send_from(new, new, &resource("", "savanna"))
        .await
        .expect(422);
    shows(&wrong.text, &["must be a type and an ID"]);
    operator.send_from(new, new, &resource("", "")).await.expect(303);
    let page = "/admin/directory/resources/project/42";
    shows(
        &operator.page(page).await,
        &["Savanna", "tier=gold", "Delete resource"],
    );
    let edit = format!("{page}/edit");
    shows(&operator.page(&edit).await, &["tier&#x3D;gold"]);
    let fields = [("name", ""), ("account", ""), ("parent", ""), ("labels", "")];
    operator.send_from(&edit, &edit, &fields).await.expect(303);
    let many = format!("{page}/collaborators");
    operator
        .send_from(&many, &many, &[("person", "ann"), ("role", "two words")])
        .await
        .expect(303);
    shows(&operator.page(page).await, &["Ann B", "two words"]);
    let role = format!("{many}/ann");
    let wrong = operator
        .send_from(&role, &role, &[("role", "")])
        .await
        .expect(422);
    shows(&wrong.text, &["aria-invalid"]);
    operator
        .send_from(&role, &role, &[("role", "editor")])
        .await
        .expect(303);
    operator
        .send_from(page, &format!("{role}/remove"), &[])
        .await
        .expect(303);
    operator
        .send_from(page, &format!("{page}/delete"), &[])
        .await
        .expect(303);
    let person = "/admin/directory/people/ann";
    operator
        .send_from(person, &format!("{person}/delete"), &[])
        .await
        .expect(303);
    shows(
        &operator.page(person).await,
        &["Candor does not notify this person."],
    );
    app.finish().await;
}

async fn entries_are_found_by_a_part_of_their_names(env: Env) {
    let (app, operator) = started(&env).await;
    app.import(story_directory()).await.expect(200);
    shows(&operator.page("/admin/directory").await, &["No sources"]);
    for (path, found, other) in [
        ("people?q=NJERI", "Amina Njeri", "Wanjiru"),
        ("people?q=sound-works", "Baraka Mushi", "Wanjiru"),
        ("accounts?q=films", "Nyota Films", "Kilele"),
        ("resources?q=ranger", "Interview with the rangers", "Opening shot"),
        ("resources?q=market", "Market Day", "Opening shot"),
    ] {
        let page = operator.page(&format!("/admin/directory/{path}")).await;
        shows(&page, &[found]);
        hides(&page, &[other]);
    }
    shows(
        &operator.page("/admin/directory/people?q=%25").await,
        &["Nobody has this in the name"],
    );
    operator.open("/admin/directory/people?name=x").await.expect(422);
    app.finish().await;
}

/// Sends a form with a file.
async fn upload(operator: &Browser, parts: &[(&str, &str)], file: Option<&str>) -> Answer {
    let path = "/admin/directory/import";
    let key = operator.key(path).await;
    operator.upload(path, &key, parts, file).await
}

async fn a_file_is_imported_or_its_mistakes_are_listed(env: Env) {
    let (app, operator) = started(&env).await;
    let ndjson = [("format", "ndjson"), ("kind", ""), ("columns", "")];
    let nothing = upload(&operator, &ndjson, None).await.expect(422);
    shows(&nothing.text, &["Choose a file, or paste its content."]);
    let wrong = "{\"kind\":\"account\",\"id\":\"a\",\"name\":\"A\"}\r\n{\"kind\":\"person\",\"id\":\"b\"}\r\n{\"kind\":\"account\"\r\n";
    let mistakes = upload(&operator, &ndjson, Some(wrong)).await.expect(422);
    shows(
        &mistakes.text,
        &[
            "Nothing was imported.",
            "<strong>Line 2</strong>: name: is missing",
            "<strong>Line 3</strong>: is not JSON: the line ends before its object is closed",
        ],
    );
    assert!(app.all("/api/v1/accounts").await.is_empty());
    let done = upload(&operator, &ndjson, Some(story_directory()))
        .await
        .expect(200);
    shows(&done.text, &["Imported: 2 accounts", "7 people"]);
    // A pasted table.
    let table = [
        ("format", "csv"),
        ("kind", "person"),
        ("columns", ""),
        ("text", "id,name,email\nann,Ann,ann@example.com"),
    ];
    shows(
        &upload(&operator, &table, None).await.expect(200).text,
        &["Imported: 1 person."],
    );
    let table = [
        ("format", "csv"),
        ("kind", ""),
        ("columns", ""),
        ("text", "id,name,email\nann,Ann,"),
    ];
    let wrong = upload(&operator, &table, None).await.expect(422);
    shows(&wrong.text, &["Rows of the table is missing", "id,name,email"]);
    // Without the key of the session.
    operator
        .upload("/admin/directory/import", "x", &ndjson, Some(story_directory()))
        .await
        .expect(403);
    assert_eq!(env.count("audit_events WHERE action = 'directory.imported'"), 2);
    app.finish().await;
}

async fn endpoints_are_created_tested_and_deleted(env: Env) {
    let (app, operator) = started(&env).await;
    app.import(story_directory()).await.expect(200);
    let account = "/admin/directory/accounts/nyota-films";
    let new = format!("{account}/endpoints");
    let wrong = operator
        .send_from(
            &new,
            &new,
            &[
                ("channel", "webhook"),
                ("url", "http://127.0.0.1/x"),
                ("secret", ""),
            ],
        )
        .await
        .expect(422);
    shows(
        &wrong.text,
        &["value=\"http://127.0.0.1/x\"", "aria-describedby=\"e-url\""],
    );
    let made = operator
        .send_from(
            &new,
            &new,
            &[
                ("channel", "webhook"),
                ("url", "https://hooks.example.com/a?key=hush"),
                ("secret", ""),
            ],
        )
        .await
        .expect(200);
    shows(&made.text, &["Copy its secret now.", "whsec_"]);
    let endpoints = app.all("/api/v1/accounts/nyota-films/endpoints").await;
    let id = endpoints[0]["id"].as_str().unwrap();
    let page = format!("/admin/directory/endpoints/{id}");
    let shown = operator.page(&page).await;
    shows(&shown, &["https://hooks.example.com/a?…", "Send a test"]);
    hides(&shown, &["whsec_", "hush"]);
    operator
        .send_from(&page, &format!("{page}/enable"), &[])
        .await
        .expect(303);
    operator
        .send_from(&page, &format!("{page}/delete"), &[])
        .await
        .expect(303);
    shows(&operator.page(account).await, &["No endpoints"]);
    app.finish().await;
}

async fn viewers_change_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    for path in [
        "accounts/nyota-films",
        "people/amina",
        "resources/project/savanna",
        "suppressions",
        "sources",
        "",
    ] {
        let page = viewer
            .page(format!("/admin/directory/{path}").trim_end_matches('/'))
            .await;
        hides(
            &page,
            &[
                "Delete",
                "Edit ",
                "Create ",
                "Import a file",
                "method=\"post\" action=\"/admin/directory",
            ],
        );
    }
    for path in [
        "new-account",
        "new-person",
        "new-resource",
        "import",
        "inbound-mail",
        "accounts/nyota-films/edit",
        "people/amina/edit",
        "resources/project/savanna/edit",
        "accounts/nyota-films/members",
        "accounts/nyota-films/endpoints",
    ] {
        let path = format!("/admin/directory/{path}");
        viewer.open(&path).await.expect(403);
        viewer.send(&path, &[("name", "x")]).await.expect(403);
    }
    viewer
        .send("/admin/directory/people/amina/delete", &[])
        .await
        .expect(403);
    app.finish().await;
}

async fn what_came_back_is_listed_with_its_source_text(env: Env) {
    let (app, operator) = started(&env).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    shows(
        &viewer.page("/admin/feedback").await,
        &["No reports so far.", "Permanent bounce"],
    );
    let mail = "From: MAILER-DAEMON@example.com\nSubject: Undelivered\nMIME-Version: 1.0\n\
                Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nIt <bounced> again.\n\
                --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.com\n\n\
                Final-Recipient: rfc822; ann@example.com\nAction: failed\nStatus: 5.1.1\n\n\
                --b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <1@example.com>\n\n--b--\n";
    let page = "/admin/directory/inbound-mail";
    operator
        .send_from(page, page, &[("mail", mail)])
        .await
        .expect(200);
    let reports = app.all("/api/v1/feedback").await;
    let report = format!("/admin/feedback/{}", reports[0]["id"]);
    shows(
        &viewer.page("/admin/feedback?kind=&matched=false").await,
        &[&format!("href=\"{report}\""), "not found"],
    );
    hides(
        &viewer.page("/admin/feedback?kind=complaint&matched=").await,
        &[&format!("href=\"{report}\"")],
    );
    shows(
        &viewer.page(&report).await,
        &["Message-ID", "It &lt;bounced&gt; again.", "It changed nothing."],
    );
    viewer.open("/admin/feedback?kind=unknown").await.expect(422);
    viewer.open("/admin/feedback/999").await.expect(404);
    app.finish().await;
}
