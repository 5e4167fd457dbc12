//! An account names a shared mailbox and contacts for operations, security and billing. They are told as the rule of the notice
//! says, with the reason, once for each mailbox, and they opt out and bounce as people do.

use serde_json::{Value, json};

use crate::support::{Env, Mail, TestApp, on_both_databases, recipients};

on_both_databases!(
    operations_and_the_shared_mailbox_are_told_if_they_are_named,
    the_rule_chooses_the_kinds,
    one_mailbox_of_several_accounts_gets_one_mail_that_names_each,
    opting_out_and_removing_count_for_the_mailbox,
    members_may_be_contacts_by_an_import,
    what_is_no_contact_is_refused,
);

async fn start(env: &Env) -> TestApp {
    let app = TestApp::start(env).await;
    let mut lines = Vec::new();
    for (id, name) in [("acme", "Acme"), ("beta", "Beta")] {
        lines.push(json!({"kind": "account", "id": id, "name": name, "time_zone": "Europe/Berlin"}));
        lines.push(json!({"kind": "person", "id": format!("{id}-owner"), "name": "Olu", "email": format!("owner@{id}.example")}));
        lines.push(json!({"kind": "resource", "type": "project", "id": id, "account": id, "name": format!("Project of {name}")}));
        lines
            .push(json!({"kind": "member", "account": id, "person": format!("{id}-owner"), "role": "owner"}));
    }
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    app.import(lines).await.expect(200);
    app
}

async fn name(app: &TestApp, account: &str, kind: &str, email: &str) -> Value {
    let path = format!("/api/v1/accounts/{account}/contacts/{kind}");
    let named = app.put(&path, json!({"email": email})).await.expect(201);
    json!({"person": named["person"], "name": named["name"]})
}

/// Sends a detection with this audience and returns its emails.
async fn told(
    app: &TestApp,
    affected: &[(&str, &str)],
    audience: Value,
    mails: usize,
) -> (String, Vec<Mail>) {
    let incident = app.incident(affected.iter().copied()).await;
    let mut draft = json!({
        "phase": "detection", "message": "Files cannot be opened.", "customer_action": {"required": false},
    });
    if !audience.is_null() {
        draft["audience"] = audience;
    }
    let path = format!("/api/v1/incidents/{incident}/notices");
    let notice = app.post(&path, draft).await.expect(201).id();
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    (incident, app.mails(mails).await)
}

async fn operations_and_the_shared_mailbox_are_told_if_they_are_named(env: Env) {
    let app = start(&env).await;
    let (_, mails) = told(&app, &[("project", "acme")], Value::Null, 1).await;
    assert_eq!(recipients(&mails), ["owner@acme.example"], "nobody else is named");
    for (kind, mailbox) in [
        ("operations", "ops@acme.example"),
        ("shared", "team@acme.example"),
        ("security", "security@acme.example"),
        ("billing", "invoices@acme.example"),
    ] {
        name(&app, "acme", kind, mailbox).await;
    }
    let (incident, mails) = told(&app, &[("project", "acme")], Value::Null, 4).await;
    let new: Vec<&Mail> = mails[1..].iter().collect();
    let mut to: Vec<&str> = new.iter().map(|mail| mail.to.as_str()).collect();
    to.sort_unstable();
    assert_eq!(
        to,
        ["ops@acme.example", "owner@acme.example", "team@acme.example"]
    );
    let operations = new
        .iter()
        .find(|mail| mail.to == "ops@acme.example")
        .expect("the mail");
    assert!(
        operations
            .flat()
            .contains("you are the contact for operations of Acme"),
        "{}",
        operations.flat()
    );
    assert!(
        !operations.flat().contains("are a member"),
        "{}",
        operations.flat()
    );
    let shared = new
        .iter()
        .find(|mail| mail.to == "team@acme.example")
        .expect("the mail");
    assert!(
        shared.flat().contains("you are the shared mailbox of Acme"),
        "{}",
        shared.flat()
    );
    // The audience says why.
    let audience = app.all(&format!("/api/v1/incidents/{incident}/audience")).await;
    let contact = audience
        .iter()
        .find(|one| one["person"]["id"] == "contact:operations:acme");
    let contact = contact.unwrap_or_else(|| panic!("not in the audience: {audience:?}"));
    assert_eq!(
        contact["reasons"][0]["role"], "contact for operations",
        "{contact}"
    );
    assert_eq!(contact["reasons"][0]["account"], "acme", "{contact}");
    let listed = app.get("/api/v1/accounts/acme/contacts").await.expect(200);
    let kinds: Vec<&str> = listed["items"]
        .as_array()
        .expect("contacts")
        .iter()
        .filter_map(|one| one["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["shared", "operations", "security", "billing"]);
    let page = app.admin_page("/admin/directory/accounts/acme").await;
    assert!(
        page.contains("contact for security") && page.contains("Name a contact"),
        "the page"
    );
    let events = app
        .all("/api/v1/audit?subject=acme/contact:operations:acme")
        .await;
    assert!(
        events.iter().any(|event| event["action"] == "member.put"),
        "{events:?}"
    );
    app.finish().await;
}

async fn the_rule_chooses_the_kinds(env: Env) {
    let app = start(&env).await;
    for kind in ["operations", "shared", "security", "billing"] {
        name(&app, "acme", kind, &format!("{kind}@acme.example")).await;
    }
    let rule = json!({"contacts": ["security", "billing"]});
    let (_, mails) = told(&app, &[("project", "acme")], rule, 3).await;
    let mut to = recipients(&mails);
    to.sort_unstable();
    assert_eq!(
        to,
        [
            "billing@acme.example",
            "owner@acme.example",
            "security@acme.example"
        ]
    );
    let (_, mails) = told(&app, &[("project", "acme")], json!({"contacts": []}), 4).await;
    assert_eq!(mails[3].to, "owner@acme.example");
    app.finish().await;
}

async fn one_mailbox_of_several_accounts_gets_one_mail_that_names_each(env: Env) {
    let app = start(&env).await;
    name(&app, "acme", "operations", "noc@agency.example").await;
    name(&app, "beta", "operations", "NOC@agency.example").await;
    name(&app, "beta", "shared", "noc@agency.example").await;
    let both = [("project", "acme"), ("project", "beta")];
    let (_, mails) = told(&app, &both, Value::Null, 3).await;
    let mail = mails
        .iter()
        .find(|mail| mail.to.eq_ignore_ascii_case("noc@agency.example"))
        .expect("the mail");
    let text = mail.flat();
    assert!(
        text.contains("the contact for operations of Acme and Beta"),
        "{text}"
    );
    assert!(text.contains("the shared mailbox of Beta"), "{text}");
    assert!(
        text.contains("Project of Acme") && text.contains("Project of Beta"),
        "{text}"
    );
    app.finish().await;
}

async fn opting_out_and_removing_count_for_the_mailbox(env: Env) {
    let app = start(&env).await;
    let named = name(&app, "acme", "operations", "ops@acme.example").await;
    assert_eq!(named["name"], "Acme (operations)");
    let (incident, mails) = told(&app, &[("project", "acme")], Value::Null, 2).await;
    let mail = mails
        .iter()
        .find(|mail| mail.to == "ops@acme.example")
        .expect("the mail");
    let link = mail.header("list-unsubscribe");
    app.anonymous()
        .post_raw(
            link.trim_matches(['<', '>']),
            "application/x-www-form-urlencoded",
            "List-Unsubscribe=One-Click",
        )
        .await
        .expect(200);
    let update = app.tell(&incident, "update").await;
    assert_eq!(app.addresses(&update, "sent").await, ["owner@acme.example"]);
    // A contact that is removed is told no more, and one that is named again is.
    app.delete("/api/v1/accounts/acme/contacts/operations")
        .await
        .expect(204);
    app.delete("/api/v1/accounts/acme/contacts/operations")
        .await
        .expect_problem(404);
    let listed = app.get("/api/v1/accounts/acme/contacts").await.expect(200);
    assert_eq!(listed["items"], json!([]));
    let path = "/api/v1/accounts/acme/contacts/operations";
    app.put(path, json!({"email": "noc@acme.example"}))
        .await
        .expect(201);
    let again = app
        .put(path, json!({"email": "noc2@acme.example", "name": "The NOC"}))
        .await
        .expect(200);
    assert_eq!(
        json!([again["person"], again["name"], again["email"]]),
        json!([named["person"], "The NOC", "noc2@acme.example"])
    );
    app.finish().await;
}

async fn members_may_be_contacts_by_an_import(env: Env) {
    let app = start(&env).await;
    let lines = [
        json!({"kind": "person", "id": "soc", "name": "SOC", "email": "soc@acme.example"}),
        json!({"kind": "member", "account": "acme", "person": "soc", "role": "contact for security"}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    app.import(lines).await.expect(200);
    let listed = app.get("/api/v1/accounts/acme/contacts").await.expect(200);
    assert_eq!(
        json!([
            listed["items"][0]["kind"],
            listed["items"][0]["person"],
            listed["items"][0]["named"]
        ]),
        json!(["security", "soc", false])
    );
    let (_, mails) = told(&app, &[("project", "acme")], json!({"contacts": ["security"]}), 2).await;
    assert!(recipients(&mails).contains(&"soc@acme.example"));
    app.finish().await;
}

async fn what_is_no_contact_is_refused(env: Env) {
    let app = start(&env).await;
    let put = async |path: &str, body: Value| app.put(path, body).await;
    let operations = "/api/v1/accounts/acme/contacts/operations";
    put(operations, json!({"email": "nobody"}))
        .await
        .expect_invalid("/email");
    put(operations, json!({"email": "a@acme.example", "phone": "1"}))
        .await
        .expect_problem(422);
    put(
        "/api/v1/accounts/acme/contacts/legal",
        json!({"email": "a@acme.example"}),
    )
    .await
    .expect_problem(404);
    put(
        "/api/v1/accounts/nobody/contacts/operations",
        json!({"email": "a@acme.example"}),
    )
    .await
    .expect_problem(404);
    let viewer = app.as_new("viewer").await;
    viewer
        .put(operations, json!({"email": "a@acme.example"}))
        .await
        .expect_problem(403);
    let incident = app.incident([("project", "acme")]).await;
    let draft = json!({"phase": "detection", "message": "x", "audience": {"contacts": ["legal"]}});
    app.post(&format!("/api/v1/incidents/{incident}/notices"), draft)
        .await
        .expect_invalid("/audience/contacts/0");
    app.finish().await;
}
