//! A planned maintenance is told to those whom it affects, and to nobody before an operator sends the draft. Who was told hears that it is
//! moved or cancelled. It is never an incident.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{
    ADMIN_TOKEN, Answer, DEADLINE, Env, Mail, TestApp, crowd, eventually, on_both_databases, on_one_database,
};

on_both_databases!(
    announced_moved_and_cancelled,
    what_it_affects_can_be_changed,
    it_begins_and_ends_by_the_clock,
    it_is_no_incident,
);
on_one_database!(
    what_is_not_true_any_more_is_not_sent,
    wrong_input_is_refused,
    the_pages_do_the_same,
);

fn plan() -> Value {
    json!({
        "title": "Move of the database, part 1", "starts_at": "2024-03-20T22:00:00+01:00", "ends_at": "2024-03-20T23:30:00Z",
        "affected": [{"type": "project", "id": "stage"}], "message": "We move the database; uploads wait, then go on.",
        "components": ["uploads"],
    })
}

async fn start(env: &Env) -> TestApp {
    let app = TestApp::builder(env)
        .at("2024-03-14T10:00:00Z")
        .config(|config| config.mail_from = "Quickbyte <help@quickbyte.example>".to_owned())
        .start()
        .await;
    app.import(crowd(5)).await.expect(200);
    app.put("/api/v1/components/uploads", json!({"name": "Uploads"}))
        .await
        .expect(201);
    app
}

fn draft(planned: &Answer) -> String {
    planned["draft"].as_str().expect("a draft").to_owned()
}

/// Returns the lines of the file for calendars, unfolded.
fn calendar(mail: &Mail) -> Vec<String> {
    use mail_parser::MimeHeaders as _;
    let message = mail_parser::MessageParser::default()
        .parse(&mail.caught.data)
        .expect("a mail");
    let file = message.attachment(0).expect("a file");
    assert_eq!(file.attachment_name(), Some("maintenance.ics"));
    let kind = file.content_type().expect("a type");
    assert_eq!(kind.c_type, "text");
    assert_eq!(kind.c_subtype.as_deref(), Some("calendar"));
    let text = String::from_utf8(file.contents().to_vec()).expect("UTF-8");
    let lines: Vec<&str> = text.strip_suffix("\r\n").expect("CRLF").split("\r\n").collect();
    assert!(
        lines.iter().all(|line| line.len() <= 75 && !line.contains('\n')),
        "{text}"
    );
    let method = format!("METHOD:{}", kind.attribute("method").expect("a method"));
    assert!(lines.contains(&method.as_str()), "{text}");
    text.replace("\r\n ", "")
        .split("\r\n")
        .map(str::to_owned)
        .collect()
}

fn of(lines: &[String], name: &str) -> String {
    let start = format!("{name}:");
    let line = lines
        .iter()
        .find(|line| line.starts_with(&start))
        .expect("a property");
    line[start.len()..].to_owned()
}

async fn announced_moved_and_cancelled(env: Env) {
    let app = start(&env).await;
    let planned = app.post("/api/v1/maintenances", plan()).await.expect(201);
    let id = planned.id();
    assert_eq!(
        (&planned["state"], &planned["number"], &planned["resources"]),
        (&json!("scheduled"), &json!(1), &json!(1))
    );
    assert_eq!(app.mails(0).await.len(), 0);
    let notice = draft(&planned);
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let mails = app.mails(5).await;
    assert_eq!(
        mails[0].subject,
        "[Quickbyte] Planned maintenance: Move of the database, part 1"
    );
    assert!(
        mails[0].flat().contains("We plan a maintenance that affects"),
        "{}",
        mails[0].text
    );
    assert!(mails[0].text.contains("Maintenance 1."), "{}", mails[0].text);
    assert!(
        !mails[0].html.contains("Does everything work"),
        "{}",
        mails[0].html
    );
    let first = calendar(&mails[0]);
    assert_eq!(of(&first, "DTSTART"), "20240320T210000Z");
    assert_eq!(of(&first, "SEQUENCE"), "0");
    assert_eq!(of(&first, "SUMMARY"), "Move of the database\\, part 1");
    assert_eq!(
        of(&first, "DESCRIPTION"),
        "We move the database\\; uploads wait\\, then go on."
    );
    assert_eq!(of(&first, "STATUS"), "CONFIRMED");
    // The mail is shown byte for byte, with its file.
    for delivery in app.deliveries(&notice).await {
        let shown = app
            .get(&format!("/api/v1/deliveries/{}/mail", delivery["id"]))
            .await
            .expect(200);
        let sent = mails.iter().any(|mail| mail.caught.data == shown.text.as_bytes());
        assert!(sent, "{}", shown.text);
    }

    // Somebody is not affected any more, and still hears of the move.
    let times = json!({"starts_at": "2024-03-21T21:00:00Z", "ends_at": "2024-03-21T23:30:00Z"});
    let moved = app
        .post(&format!("/api/v1/maintenances/{id}/move"), times.clone())
        .await
        .expect(200);
    assert_eq!(moved["sequence"], 1);
    app.post(&format!("/api/v1/maintenances/{id}/move"), times)
        .await
        .expect_problem(409);
    app.delete("/api/v1/resources/project/stage/collaborators/person-1")
        .await
        .expect(204);
    let notice = draft(&moved);
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let mails = app.mails(10).await;
    assert_eq!(
        mails[5].subject,
        "[Quickbyte] Planned maintenance moved: Move of the database, part 1"
    );
    assert!(
        mails[5].flat().contains("Before, it was to start on"),
        "{}",
        mails[5].text
    );
    let second = calendar(&mails[5]);
    assert_eq!(of(&second, "UID"), of(&first, "UID"));
    assert_eq!(
        (of(&second, "SEQUENCE"), of(&second, "DTSTART")),
        ("1".to_owned(), "20240321T210000Z".to_owned())
    );

    let cancelled = app
        .post(
            &format!("/api/v1/maintenances/{id}/cancel"),
            json!({"message": "It is not needed."}),
        )
        .await
        .expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    let notice = draft(&cancelled);
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let mails = app.mails(15).await;
    let third = calendar(&mails[10]);
    assert_eq!(
        (of(&third, "SEQUENCE"), of(&third, "STATUS"), of(&third, "METHOD")),
        ("2".to_owned(), "CANCELLED".to_owned(), "CANCEL".to_owned())
    );
    let said: Vec<Value> = app.get(&format!("/api/v1/maintenances/{id}")).await.expect(200)["notices"]
        .as_array()
        .expect("notices")
        .iter()
        .map(|notice| notice["change"].clone())
        .collect();
    assert_eq!(said, ["cancelled", "moved", "announced"]);
    for action in ["planned", "moved", "cancelled"] {
        assert_eq!(
            app.all(&format!("/api/v1/audit?action=maintenance.{action}"))
                .await
                .len(),
            1,
            "{action}"
        );
    }
    app.finish().await;
}

async fn what_it_affects_can_be_changed(env: Env) {
    let app = start(&env).await;
    let other = [
        json!({"kind": "resource", "type": "project", "id": "side", "account": "crowd", "name": "Side"}),
        json!({"kind": "person", "id": "late", "name": "Late", "email": "late@crowd.example"}),
        json!({"kind": "collaborator", "resource": {"type": "project", "id": "side"}, "person": "late", "role": "editor"}),
    ];
    app.import(other.map(|line| format!("{line}\n")).concat())
        .await
        .expect(200);
    let planned = app.post("/api/v1/maintenances", plan()).await.expect(201);
    let path = format!("/api/v1/maintenances/{}", planned.id());
    app.send_as_previewed(&draft(&planned)).await;
    app.mails(5).await;

    let (stage, side) = (
        json!([{"type": "project", "id": "stage"}]),
        json!([{"type": "project", "id": "side"}]),
    );
    for (wrong, at) in [
        (json!({}), ""),
        (json!({"add": [{"type": "project", "id": "nowhere"}]}), "/add/0"),
        (
            json!({"add": side, "remove": [{"type": "project", "id": "nowhere"}]}),
            "/remove/0",
        ),
        (
            json!({"add": side, "components": ["uploads", "downloads"]}),
            "/components/1",
        ),
        (json!({"selector": "type:nothing"}), "/selector"),
    ] {
        let answer = app.patch(&path, wrong.clone()).await.expect_problem(422);
        assert!(
            answer.places().iter().any(|place| place.starts_with(at)),
            "{wrong}: {answer}"
        );
    }
    let unchanged = app.get(&path).await.expect(200);
    assert_eq!(
        (&unchanged["resources"], &unchanged["components"]),
        (&json!(1), &json!(["uploads"]))
    );

    let change = json!({"add": side, "remove": stage, "components": []});
    let changed = app.patch(&path, change).await.expect(200);
    assert_eq!(
        (
            &changed["resources"],
            &changed["components"],
            &changed["sequence"]
        ),
        (&json!(1), &json!([]), &json!(0))
    );
    let affected = app.all(&format!("{path}/affected")).await;
    assert_eq!(affected[0]["resource"]["id"], "side");
    assert_eq!(app.all("/api/v1/audit?action=maintenance.changed").await.len(), 1);
    // Nobody was notified of the change. The next notice is for those who were notified before, and for those who are affected now.
    assert_eq!(app.mails(5).await.len(), 5);
    let moved = json!({"starts_at": "2024-03-21T21:00:00Z", "ends_at": "2024-03-21T23:30:00Z"});
    let moved = app.post(&format!("{path}/move"), moved).await.expect(200);
    app.send_as_previewed(&draft(&moved)).await;
    let mails = app.mails(11).await;
    assert_eq!(
        mails[5..]
            .iter()
            .filter(|mail| mail.to == "late@crowd.example")
            .count(),
        1
    );

    app.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    app.patch(&path, json!({"add": stage})).await.expect_problem(409);
    app.finish().await;
}

async fn it_begins_and_ends_by_the_clock(env: Env) {
    let app = start(&env).await;
    let planned = app.post("/api/v1/maintenances", plan()).await.expect(201);
    let path = format!("/api/v1/maintenances/{}", planned.id());
    let reaches = async |state: &str| {
        eventually("the state", DEADLINE, async || {
            let now = app.get(&path).await.expect(200);
            (now["state"] == state).then_some(now)
        })
        .await
    };
    app.set_clock("2024-03-20T21:00:00Z");
    let begun = reaches("in_progress").await;
    assert_eq!(begun["began_at"], "2024-03-20T21:00:00Z");
    app.post(
        &format!("{path}/move"),
        json!({"starts_at": "2024-03-22T21:00:00Z", "ends_at": "2024-03-22T22:00:00Z"}),
    )
    .await
    .expect_problem(409);
    // That it has begun is told only if somebody says so.
    let said = app
        .post(&format!("{path}/notices"), json!({"message": "We have begun."}))
        .await
        .expect(201);
    app.send_as_previewed(&draft(&said)).await;
    let mails = app.mails(5).await;
    assert_eq!(
        mails[0].subject,
        "[Quickbyte] Planned maintenance has begun: Move of the database, part 1"
    );
    assert!(!mails[0].caught.text_lossy().contains("maintenance.ics"));
    app.set_clock("2024-03-20T23:30:00Z");
    reaches("over").await;
    app.post(&format!("{path}/cancel"), json!({}))
        .await
        .expect_problem(409);
    assert_eq!(app.all("/api/v1/audit?action=maintenance.over").await.len(), 1);
    assert_eq!(app.mails(5).await.len(), 5);
    app.finish().await;
}

async fn it_is_no_incident(env: Env) {
    let app = start(&env).await;
    let planned = app.post("/api/v1/maintenances", plan()).await.expect(201);
    let id = planned.id();
    app.send_as_previewed(&draft(&planned)).await;
    app.mails(5).await;
    for path in ["/api/v1/incidents", "/api/v1/incidents?status=resolved"] {
        assert_eq!(app.all(path).await.len(), 0, "{path}");
    }
    assert_eq!(app.all("/api/v1/audit?action=incident.opened").await.len(), 0);
    let found = app.get("/api/v1/search?q=database").await.expect(200);
    assert_eq!(found["incidents"], json!([]), "{}", found.text);
    for path in [
        "",
        "/affected",
        "/audience",
        "/notices",
        "/timeline",
        "/metrics",
        "/report",
    ] {
        app.get(&format!("/api/v1/incidents/{id}{path}"))
            .await
            .expect_problem(404);
    }
    app.post(
        &format!("/api/v1/incidents/{id}/status"),
        json!({"status": "investigating"}),
    )
    .await
    .expect_problem(404);
    for path in [format!("/admin/incidents/{id}"), "/admin/incidents/-1".to_owned()] {
        let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
        assert_eq!(browser.open(&path).await.status, 404, "{path}");
    }
    // The first incident has the number 1, and cannot be merged into a maintenance or have its phase.
    let incident = app.incident([("project", "stage")]).await;
    assert_eq!(
        app.get(&format!("/api/v1/incidents/{incident}"))
            .await
            .expect(200)["number"],
        1
    );
    app.post(
        &format!("/api/v1/incidents/{incident}/merge"),
        json!({"into": id}),
    )
    .await
    .expect_problem(409);
    app.post(
        &format!("/api/v1/incidents/{incident}/notices"),
        json!({"phase": "maintenance", "message": "x"}),
    )
    .await
    .expect_invalid("/phase");
    app.get(&format!("/api/v1/maintenances/{incident}"))
        .await
        .expect_problem(404);
    let now = app.get("/api/v1/now").await.expect(200);
    assert!(!now.text.contains(&id), "{}", now.text);
    app.finish().await;
}

async fn what_is_not_true_any_more_is_not_sent(env: Env) {
    let app = start(&env).await;
    let planned = app.post("/api/v1/maintenances", plan()).await.expect(201);
    let path = format!("/api/v1/maintenances/{}", planned.id());
    let first = draft(&planned);
    let digest = app.digest(&first).await;
    // Nobody was told, so the move is announced and the first draft is gone.
    let times = json!({"starts_at": "2024-03-21T21:00:00Z", "ends_at": "2024-03-21T23:30:00Z"});
    let moved = app.post(&format!("{path}/move"), times).await.expect(200);
    app.send(&first, &digest).await.expect_problem(404);
    assert_eq!(moved["notices"][0]["change"], "announced");
    let second = draft(&moved);
    let digest = app.digest(&second).await;
    app.post(&format!("{path}/begin"), json!({})).await.expect(200);
    app.send(&second, &digest).await.expect_problem(409);
    // Nobody was told, so a cancellation tells nobody.
    let cancelled = app.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["draft"], Value::Null);
    app.post(&format!("{path}/notices"), json!({"message": "x"}))
        .await
        .expect_problem(409);
    assert_eq!(app.mails(0).await.len(), 0);
    app.finish().await;
}

async fn wrong_input_is_refused(env: Env) {
    let app = start(&env).await;
    for (field, value) in [
        ("title", json!(" ")),
        ("title", json!("a\nb")),
        ("title", json!("x".repeat(121))),
        ("starts_at", json!("2024-03-14T10:00:00Z")),
        ("starts_at", json!("2024-03-20 22:00")),
        ("ends_at", json!("2024-03-20T21:00:00Z")),
        ("ends_at", json!("2024-06-20T21:00:00Z")),
        ("message", json!("")),
        ("components", json!([""])),
        ("components", json!(["downloads"])),
        ("affected", json!([])),
        ("affected", json!([{"type": "project", "id": "unknown"}])),
        ("colour", json!("red")),
    ] {
        let mut body = plan();
        body[field] = value.clone();
        let answer = app.post("/api/v1/maintenances", body).await.expect_problem(422);
        assert!(
            answer
                .places()
                .iter()
                .any(|at| at.starts_with(&format!("/{field}"))),
            "{field} {value}: {}",
            answer.text
        );
    }
    let mut both = plan();
    both["selector"] = json!({"type": "project"});
    app.post("/api/v1/maintenances", both).await.expect_problem(422);
    assert_eq!(env.count("maintenances"), 0);
    let viewer = app.as_new("viewer").await;
    viewer
        .post("/api/v1/maintenances", plan())
        .await
        .expect_problem(403);
    let unknown = "/api/v1/maintenances/018e3f6e-0000-8000-8000-000000000000";
    app.get(unknown).await.expect_problem(404);
    app.post(&format!("{unknown}/cancel"), json!({}))
        .await
        .expect_problem(404);
    app.finish().await;
}

async fn the_pages_do_the_same(env: Env) {
    let app = start(&env).await;
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let typed = [
        ("title", "Move of <b>"),
        ("starts_at", "2024-03-20T22:00"),
        ("ends_at", "2024-03-20T21:00"),
        ("time_zone", "Africa/Nairobi"),
        ("resources", "project stage"),
        ("selector", ""),
        ("message", "We move it."),
        ("components", ""),
    ];
    let (list, new) = ("/admin/maintenances", "/admin/maintenances/new");
    let refused = browser.send_from(new, list, &typed).await.expect(422);
    assert!(
        refused.text.contains("must be after starts_at"),
        "{}",
        refused.text
    );
    let mut right = typed;
    right[2].1 = "2024-03-20T23:00";
    let planned = browser.send_from(new, list, &right).await.expect(303);
    let notice = planned.header("location").to_owned();
    assert!(notice.starts_with("/admin/notices/"), "{notice}");
    let page = browser.page(&notice).await;
    assert!(page.contains("Notice of maintenance 1"), "{page}");
    let page = browser.page(list).await;
    assert!(page.contains("Move of &lt;b&gt;"), "{page}");
    let id = app.all("/api/v1/maintenances").await[0]["id"]
        .as_str()
        .expect("an ID")
        .to_owned();
    let one = format!("{list}/{id}");
    let page = browser.page(&one).await;
    assert!(
        page.contains("A draft waits.") && page.contains("Create a maintenance window"),
        "{page}"
    );
    browser.page(&format!("{notice}/write")).await;
    // The form of a maintenance window has the title, the times and the resources.
    let window = browser.page(&format!("{one}/window")).await;
    for filled in [
        "Move of &lt;b&gt;",
        "2024-03-20T19:00",
        "2024-03-20T20:00",
        "project stage",
    ] {
        assert!(window.contains(filled), "{filled} in {window}");
    }
    let filled = [
        ("name", "Move"),
        ("resources", "project stage"),
        ("from", "2024-03-20T19:00"),
        ("until", "2024-03-20T20:00"),
        ("time_zone", "UTC"),
    ];
    browser
        .send_from(&format!("{one}/window"), "/admin/quiet/windows", &filled)
        .await
        .expect(303);
    let windows = app.all("/api/v1/maintenance-windows").await;
    assert_eq!(windows[0]["from"], "2024-03-20T19:00:00Z");
    let times = [
        ("starts_at", "2024-03-21T22:00"),
        ("ends_at", "2024-03-21T23:00"),
        ("time_zone", "Africa/Nairobi"),
        ("message", ""),
    ];
    let (path, send) = (format!("{one}/move"), format!("{one}/move"));
    browser.send_from(&path, &send, &times).await.expect(303);
    assert_eq!(
        app.all("/api/v1/maintenances").await[0]["starts_at"],
        "2024-03-21T19:00:00Z"
    );
    browser
        .send_from(&one, &format!("{one}/begin"), &[])
        .await
        .expect(303);
    let path = format!("{one}/write");
    browser
        .send_from(&path, &path, &[("message", "It has begun.")])
        .await
        .expect(303);
    let path = format!("{one}/cancel");
    browser
        .send_from(&path, &path, &[("message", "")])
        .await
        .expect(303);
    assert!(browser.page(&one).await.contains("cancelled"));
    app.finish().await;
}
