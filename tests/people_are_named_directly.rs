//! People are named directly if they themselves are affected: they are added to an incident from a list, or with a selector over
//! people. They are in the audience with this as the reason, and everything that holds for resources holds for
//! them.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, on_both_databases, recipients};

on_both_databases!(
    a_list_adds_people_and_the_audience_says_why,
    a_selector_adds_the_members_that_it_finds,
    a_wrong_request_adds_nobody,
    who_is_removed_is_not_affected,
    the_notice_reaches_exactly_the_people_who_were_added,
    a_resource_and_a_name_are_two_reasons_and_one_mail,
    who_is_archived_stays_in_the_list_and_is_not_notified,
    who_came_later_was_not_there_then,
    relevance_is_that_of_the_person,
    every_change_is_recorded,
    the_list_has_pages_and_can_be_searched,
    resources_are_removed_by_the_same_requests,
    a_button_of_an_older_page_says_that_nothing_was_changed,
    thousands_are_added_by_one_selector,
    the_explanation_says_who_was_added,
    people_are_added_and_removed_on_the_page,
    people_are_added_by_a_filter_on_the_page,
    a_wrong_form_changes_nothing_and_keeps_what_was_typed,
);

const START: &str = "2021-10-06T12:00:00Z";

/// Two accounts with labels. Ann owns Acme, Ben is a member, and Cat is a member of both. Dan owns Beta. Eve has no
/// account and works on the project of Acme.
fn directory() -> String {
    let person = |id: &str| json!({"kind": "person", "id": id, "name": id.to_uppercase(), "email": format!("{id}@example.com")});
    let member = |account: &str, person: &str, role: &str| json!({"kind": "member", "account": account, "person": person, "role": role});
    let mut lines = vec![
        json!({"kind": "account", "id": "acme", "name": "Acme", "labels": {"tier": "pro", "region": "eu"}}),
        json!({"kind": "account", "id": "beta", "name": "Beta", "labels": {"tier": "free"}}),
        json!({"kind": "account", "id": "empty", "name": "Empty"}),
    ];
    lines.extend(["ann", "ben", "cat", "dan", "eve"].map(person));
    lines.extend([
        member("acme", "ann", "owner"),
        member("acme", "ben", "member"),
        member("acme", "cat", "member"),
        member("beta", "cat", "billing"),
        member("beta", "dan", "owner"),
        json!({"kind": "resource", "type": "project", "id": "p", "account": "acme", "name": "Project"}),
        json!({"kind": "collaborator", "resource": {"type": "project", "id": "p"}, "person": "eve", "role": "editor"}),
    ]);
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Starts with the directory and an incident that affects nothing. Returns the path of the incident.
async fn started(env: &Env) -> (TestApp, String) {
    let app = TestApp::builder(env).at(START).start().await;
    app.import(directory()).await.expect(200);
    let incident = app.incident([]).await;
    (app, format!("/api/v1/incidents/{incident}"))
}

fn id_of(incident: &str) -> &str {
    incident.rsplit('/').next().expect("an id")
}

async fn name(app: &TestApp, incident: &str, people: &[&str]) -> Value {
    let path = format!("{incident}/affected/people");
    app.post(&path, json!({"people": people}))
        .await
        .expect(200)
        .json
        .clone()
}

async fn audience(app: &TestApp, incident: &str) -> Value {
    app.get(&format!("{incident}/audience"))
        .await
        .expect(200)
        .json
        .clone()
}

/// Returns the IDs of the people of an audience, or of the list of people who were added.
fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("a list");
    items
        .iter()
        .map(|item| item["person"]["id"].as_str().expect("an id"))
        .collect()
}

async fn listed(app: &TestApp, incident: &str) -> Value {
    let path = format!("{incident}/affected/people");
    app.get(&path).await.expect(200).json.clone()
}

async fn a_list_adds_people_and_the_audience_says_why(env: Env) {
    let (app, incident) = started(&env).await;
    assert_eq!(
        name(&app, &incident, &["eve", "ben", "eve"]).await,
        json!({"added": 2, "already": 0})
    );
    app.set_clock("2021-10-06T12:05:00Z");
    assert_eq!(
        name(&app, &incident, &["ben", "dan"]).await,
        json!({"added": 1, "already": 1})
    );
    let found = audience(&app, &incident).await;
    assert_eq!(ids(&found), ["ben", "dan", "eve"]);
    let counts = &found["counts"];
    assert_eq!(
        ["people", "named", "resources", "accounts", "unreachable"].map(|name| counts[name].as_i64()),
        [3, 3, 0, 0, 0].map(Some)
    );
    for (index, at) in [(0, START), (1, "2021-10-06T12:05:00Z"), (2, START)] {
        let item = &found["items"][index];
        assert_eq!(
            (&item["told"], &item["relevance"]),
            (&json!(false), &json!("impaired"))
        );
        assert_eq!(
            item["reasons"],
            json!([{
                "resource": null, "name": null, "through": null, "account": null, "account_name": null,
                "role": "named", "relevance": "impaired", "path": [],
                "named": {"source": "operator", "added_at": at},
            }])
        );
    }
    // No role of a rule leaves these people out, because they are not affected by a role.
    let notice = json!({"phase": "detection", "message": "We see it.", "audience": {"collaborators": false}});
    let notice = app
        .post(&format!("{incident}/notices"), notice)
        .await
        .expect(201)
        .id();
    assert_eq!(app.preview(&notice).await.expect(200)["recipients"], 3);
    app.finish().await;
}

async fn a_selector_adds_the_members_that_it_finds(env: Env) {
    let (app, incident) = started(&env).await;
    let count = "/api/v1/selectors/people/count";
    for (selector, text, people, accounts) in [
        (
            json!({"accounts": ["acme"]}),
            "account:acme",
            vec!["ann", "ben", "cat"],
            1,
        ),
        (json!({"roles": ["owner"]}), "role:owner", vec!["ann", "dan"], 2),
        (
            json!({"account_labels": {"tier": "free"}}),
            "account.tier:free",
            vec!["cat", "dan"],
            1,
        ),
        (
            json!({"account_labels": {"tier": {"in": ["free", "pro"]}}, "roles": ["member", "billing"]}),
            "role:member,billing account.tier:free,pro",
            vec!["ben", "cat"],
            2,
        ),
        (
            json!({"accounts": ["acme", "beta"], "roles": ["member"], "account_labels": {"region": {"exists": true}}}),
            "account:acme,beta role:member account.region:*",
            vec!["ben", "cat"],
            1,
        ),
    ] {
        let incident = format!("/api/v1/incidents/{}", app.incident([]).await);
        let body = json!({"selector": selector});
        let counted = app.post(count, body.clone()).await.expect(200);
        assert_eq!(
            counted.json,
            json!({"selector": text, "json": selector, "people": people.len(), "accounts": accounts})
        );
        assert_eq!(ids(&listed(&app, &incident).await), Vec::<&str>::new());
        let path = format!("{incident}/affected/people");
        let added = app.post(&path, body.clone()).await.expect(200);
        assert_eq!(added.json, json!({"added": people.len(), "already": 0}), "{text}");
        let again = app.post(&path, body).await.expect(200);
        assert_eq!(again.json, json!({"added": 0, "already": people.len()}), "{text}");
        let found = audience(&app, &incident).await;
        assert_eq!(ids(&found), people, "{text}");
        assert_eq!(found["items"][0]["reasons"][0]["named"]["source"], "selector");
    }
    // Whoever becomes a member later is not added.
    let path = format!("{incident}/affected/people");
    let body = json!({"selector": {"accounts": ["beta"]}});
    app.post(&path, body).await.expect(200);
    app.put("/api/v1/accounts/beta/members/eve", json!({"role": "member"}))
        .await
        .expect(201);
    assert_eq!(ids(&audience(&app, &incident).await), ["cat", "dan"]);
    // Archived people, archived accounts and memberships that ended are not found.
    app.delete("/api/v1/people/dan").await.expect(204);
    app.delete("/api/v1/accounts/beta/members/cat").await.expect(204);
    let body = json!({"selector": {"accounts": ["beta"]}});
    assert_eq!(app.post(count, body).await.expect(200)["people"], 1);
    app.delete("/api/v1/accounts/acme").await.expect(204);
    let body = json!({"selector": {"roles": ["member"]}});
    assert_eq!(app.post(count, body).await.expect(200)["people"], 1);
    app.finish().await;
}

async fn a_wrong_request_adds_nobody(env: Env) {
    let (app, incident) = started(&env).await;
    app.put(
        "/api/v1/people/old",
        json!({"name": "Old", "email": "old@example.com"}),
    )
    .await
    .expect(201);
    app.delete("/api/v1/people/old").await.expect(204);
    let add = format!("{incident}/affected/people");
    let long = "x".repeat(201);
    let many: Vec<String> = (0..501).map(|n| format!("account-{n}")).collect();
    let wrong = [
        (json!({}), ""),
        (json!({"people": ["ann"], "selector": {"accounts": ["acme"]}}), ""),
        (json!({"people": []}), "/people"),
        (json!({"people": ["ann", "nobody"]}), "/people/1"),
        (json!({"people": ["ann", "old"]}), "/people/1"),
        (json!({"people": ["ann", long]}), "/people/1"),
        (json!({"people": ["ann"], "persons": []}), "/persons"),
        (json!({"people": ["ann"], "relevance": "surely"}), "/relevance"),
        (json!({"selector": {}}), "/selector"),
        (json!({"selector": []}), "/selector"),
        (json!({"selector": "account:acme"}), "/selector"),
        (json!({"selector": {"account": ["acme"]}}), "/selector/account"),
        (json!({"selector": {"accounts": []}}), "/selector/accounts"),
        (json!({"selector": {"accounts": null}}), "/selector/accounts"),
        (json!({"selector": {"accounts": "acme"}}), "/selector/accounts"),
        (
            json!({"selector": {"accounts": ["acme", "acne"]}}),
            "/selector/accounts/1",
        ),
        (
            json!({"selector": {"accounts": ["empty", "acme"]}}),
            "/selector/accounts/0",
        ),
        (json!({"selector": {"accounts": many}}), "/selector"),
        (json!({"selector": {"roles": []}}), "/selector/roles"),
        (
            json!({"selector": {"roles": ["owner", "owners"]}}),
            "/selector/roles/1",
        ),
        // A role of collaborators is no role of members.
        (json!({"selector": {"roles": ["editor"]}}), "/selector/roles/0"),
        (
            json!({"selector": {"account_labels": {}}}),
            "/selector/account_labels",
        ),
        (
            json!({"selector": {"account_labels": {"tear": "pro"}}}),
            "/selector/account_labels/tear",
        ),
        (
            json!({"selector": {"account_labels": {"tier": "prod"}}}),
            "/selector/account_labels/tier",
        ),
        (
            json!({"selector": {"account_labels": {"tier": {"in": ["pro", "prod"]}}}}),
            "/selector/account_labels/tier/in/1",
        ),
        // Each name is known, and nobody matches all of them.
        (
            json!({"selector": {"accounts": ["acme"], "roles": ["billing"]}}),
            "/selector",
        ),
    ];
    for (body, place) in &wrong {
        let answer = app.post(&add, body).await;
        answer.expect_invalid(place);
        if body.get("selector").is_some() && body.get("people").is_none() {
            app.post("/api/v1/selectors/people/count", body)
                .await
                .expect_invalid(place);
        }
    }
    assert_eq!(env.count("incident_people"), 0);
    name(&app, &incident, &["ann", "ben"]).await;
    for (body, place) in &wrong {
        // An archived person can be removed.
        if body["people"][1] != "old" && body.get("relevance").is_none() {
            app.post(&format!("{add}/remove"), body)
                .await
                .expect_invalid(place);
        }
    }
    assert_eq!(ids(&audience(&app, &incident).await), ["ann", "ben"]);
    let nowhere = "/api/v1/incidents/00000000-0000-7000-8000-000000000000/affected/people";
    let body = json!({"people": ["ann"]});
    app.post(nowhere, &body).await.expect_problem(404);
    app.post(&format!("{nowhere}/remove"), &body)
        .await
        .expect_problem(404);
    app.get(nowhere).await.expect_problem(404);
    let viewer = app.as_new("viewer").await;
    viewer.get(&add).await.expect(200);
    viewer.post(&add, &body).await.expect_problem(403);
    viewer
        .post(&format!("{add}/remove"), &body)
        .await
        .expect_problem(403);
    app.finish().await;
}

async fn who_is_removed_is_not_affected(env: Env) {
    let (app, incident) = started(&env).await;
    name(&app, &incident, &["ann", "ben", "cat", "dan", "eve"]).await;
    let remove = format!("{incident}/affected/people/remove");
    let removed = app
        .post(&remove, json!({"people": ["eve", "ann"]}))
        .await
        .expect(200);
    assert_eq!(removed.json, json!({"removed": 2}));
    assert_eq!(ids(&audience(&app, &incident).await), ["ben", "cat", "dan"]);
    // People who are not in the list any more do not count.
    let removed = app
        .post(&remove, json!({"people": ["eve", "ben"]}))
        .await
        .expect(200);
    assert_eq!(removed.json, json!({"removed": 1}));
    let removed = app
        .post(&remove, json!({"selector": {"accounts": ["acme"]}}))
        .await
        .expect(200);
    assert_eq!(removed.json, json!({"removed": 1}));
    assert_eq!(ids(&audience(&app, &incident).await), ["dan"]);
    assert_eq!(ids(&listed(&app, &incident).await), ["dan"]);
    // Whoever is added again is affected again, since then.
    app.set_clock("2021-10-06T12:30:00Z");
    assert_eq!(
        name(&app, &incident, &["dan", "eve"]).await,
        json!({"added": 1, "already": 1})
    );
    let found = audience(&app, &incident).await;
    assert_eq!(ids(&found), ["dan", "eve"]);
    let since = |index: usize| found["items"][index]["reasons"][0]["named"]["added_at"].clone();
    assert_eq!(
        (since(0), since(1)),
        (json!(START), json!("2021-10-06T12:30:00Z"))
    );
    // Whoever heard the detection hears the end, also after a removal.
    app.tell(id_of(&incident), "detection").await;
    app.post(&remove, json!({"people": ["eve"]})).await.expect(200);
    app.resolve(id_of(&incident)).await;
    app.tell(id_of(&incident), "resolution").await;
    let mails = app.mails(4).await;
    let mut to = recipients(&mails);
    to.dedup();
    assert_eq!(to, ["dan@example.com", "eve@example.com"]);
    app.finish().await;
}

async fn the_notice_reaches_exactly_the_people_who_were_added(env: Env) {
    let (app, incident) = started(&env).await;
    name(&app, &incident, &["ben", "eve"]).await;
    app.tell(id_of(&incident), "detection").await;
    let mails = app.mails(2).await;
    assert_eq!(recipients(&mails), ["ben@example.com", "eve@example.com"]);
    for mail in &mails {
        let text = mail.text.replace("\r\n", " ").replace('\n', " ");
        assert!(
            text.contains("You receive this because you are one of the people affected."),
            "{text}"
        );
        assert!(
            mail.html.contains("you are one of the people affected"),
            "{}",
            mail.html
        );
        assert!(mail.subject.contains("our service"), "{}", mail.subject);
    }
    // People who are added later are caught up, and nobody gets the same notice again.
    let selector = json!({"selector": {"accounts": ["acme"], "roles": ["member"]}});
    let path = format!("{incident}/affected/people");
    let added = app.post(&path, selector).await.expect(200);
    assert_eq!(added.json, json!({"added": 1, "already": 1}));
    let notices = app.all(&format!("{incident}/notices")).await;
    let first = notices[0]["id"].as_str().expect("an id");
    let late = app
        .post(&format!("/api/v1/notices/{first}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&late).await;
    let mails = app.mails(3).await;
    assert_eq!(mails[2].to, "cat@example.com");
    app.finish().await;
}

async fn a_resource_and_a_name_are_two_reasons_and_one_mail(env: Env) {
    let (app, incident) = started(&env).await;
    app.affect(id_of(&incident), "project", "p").await;
    name(&app, &incident, &["ann", "ben"]).await;
    let found = audience(&app, &incident).await;
    assert_eq!(ids(&found), ["ann", "ben", "eve"]);
    let reasons = |index: usize| -> Vec<String> {
        let reasons = found["items"][index]["reasons"].as_array().expect("reasons");
        reasons
            .iter()
            .map(|reason| reason["role"].as_str().expect("a role").to_owned())
            .collect()
    };
    assert_eq!(reasons(0), ["named", "owner"]);
    assert_eq!(reasons(1), ["named"]);
    assert_eq!(reasons(2), ["editor"]);
    assert_eq!(found["counts"]["named"], 2);
    app.tell(id_of(&incident), "detection").await;
    let mails = app.mails(3).await;
    assert_eq!(
        recipients(&mails),
        ["ann@example.com", "ben@example.com", "eve@example.com"]
    );
    let of = |to: &str| {
        let mail = mails.iter().find(|mail| mail.to == to).expect("a mail");
        mail.text.replace("\r\n", " ").replace('\n', " ")
    };
    let both = of("ann@example.com");
    assert!(
        both.contains(
            "because you own Acme, which the affected resources belong to, and are one of the people affected."
        ),
        "{both}"
    );
    assert!(both.contains("- Project, Acme"), "{both}");
    assert!(
        !of("ben@example.com").contains("Project"),
        "{}",
        of("ben@example.com")
    );
    // Without the resource, the other reason stays.
    app.delete(&format!("{incident}/affected/project/p"))
        .await
        .expect(204);
    assert_eq!(ids(&audience(&app, &incident).await), ["ann", "ben"]);
    app.finish().await;
}

async fn who_is_archived_stays_in_the_list_and_is_not_notified(env: Env) {
    let (app, incident) = started(&env).await;
    app.put("/api/v1/people/mute", json!({"name": "Mute", "email": ""}))
        .await
        .expect(201);
    name(&app, &incident, &["ann", "dan", "mute"]).await;
    app.set_clock("2021-10-06T13:00:00Z");
    app.delete("/api/v1/people/dan").await.expect(204);
    let found = audience(&app, &incident).await;
    assert_eq!(ids(&found), ["ann", "mute"]);
    assert_eq!(
        (&found["counts"]["named"], &found["counts"]["unreachable"]),
        (&json!(2), &json!(2))
    );
    let unreachable: Vec<(&str, &str)> = found["unreachable"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["person"]["id"].as_str().expect("an id"),
                one["reason"].as_str().expect("a reason"),
            )
        })
        .collect();
    assert_eq!(
        unreachable,
        [("mute", "no address"), ("dan", "archived in the directory")]
    );
    let list = listed(&app, &incident).await;
    assert_eq!(
        (ids(&list), &list["people"]),
        (vec!["ann", "dan", "mute"], &json!(3))
    );
    assert_eq!(list["items"][0]["gone_at"], Value::Null);
    assert_eq!(list["items"][1]["gone_at"], "2021-10-06T13:00:00Z");
    let notice = app.draft(id_of(&incident), "detection").await;
    assert_eq!(app.preview(&notice).await.expect(200)["recipients"], 1);
    // An import that contains the person again makes the person active, and so affected, again.
    app.import(directory()).await.expect(200);
    assert_eq!(ids(&audience(&app, &incident).await), ["ann", "dan", "mute"]);
    app.delete("/api/v1/people/dan").await.expect(204);
    let remove = format!("{incident}/affected/people/remove");
    let removed = app.post(&remove, json!({"people": ["dan"]})).await.expect(200);
    assert_eq!(removed.json, json!({"removed": 1}));
    let found = audience(&app, &incident).await;
    assert_eq!(found["counts"]["unreachable"], 1);
    app.finish().await;
}

async fn who_came_later_was_not_there_then(env: Env) {
    let (app, incident) = started(&env).await;
    app.set_clock("2021-10-06T13:00:00Z");
    app.put(
        "/api/v1/people/new",
        json!({"name": "New", "email": "new@example.com"}),
    )
    .await
    .expect(201);
    app.set_clock("2021-10-06T14:00:00Z");
    name(&app, &incident, &["ann", "new"]).await;
    let path = format!("{incident}/audience");
    let then = app.get(&format!("{path}?as_of=impact")).await.expect(200);
    assert_eq!(ids(&then.json), ["ann"]);
    assert_eq!(
        then["items"][0]["reasons"][0]["named"]["added_at"],
        "2021-10-06T14:00:00Z"
    );
    let difference = app.get(&format!("{path}/difference")).await.expect(200);
    assert_eq!(
        difference["counts"],
        json!({"added": 1, "removed": 0, "changed": 0, "not_known_then": 0})
    );
    assert_eq!(ids(&difference.json), ["new"]);
    assert_eq!(difference["items"][0]["after"][0]["role"], "named");
    app.finish().await;
}

async fn relevance_is_that_of_the_person(env: Env) {
    let (app, incident) = started(&env).await;
    let path = format!("{incident}/affected/people");
    let body = json!({"selector": {"accounts": ["acme"]}, "relevance": "possibly"});
    let added = app.post(&path, body).await.expect(200);
    assert_eq!(added.json, json!({"added": 3, "already": 0}));
    let body = json!({"people": ["ann", "dan"], "relevance": "unknown"});
    let added = app.post(&path, body).await.expect(200);
    assert_eq!(added.json, json!({"added": 1, "already": 1, "changed": 1}));
    // Without a relevance, it does not change.
    name(&app, &incident, &["ben"]).await;
    let relevance = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("a list");
        items
            .iter()
            .map(|item| item["relevance"].as_str().expect("a relevance").to_owned())
            .collect()
    };
    assert_eq!(
        relevance(&audience(&app, &incident).await),
        ["unknown", "possibly", "possibly", "unknown"]
    );
    assert_eq!(
        relevance(&listed(&app, &incident).await),
        ["unknown", "possibly", "possibly", "unknown"]
    );
    // The strongest relevance of all reasons counts.
    app.affect(id_of(&incident), "project", "p").await;
    assert_eq!(
        relevance(&audience(&app, &incident).await),
        ["impaired", "possibly", "possibly", "unknown", "impaired"]
    );
    app.finish().await;
}

async fn every_change_is_recorded(env: Env) {
    let (app, incident) = started(&env).await;
    let path = format!("{incident}/affected/people");
    name(&app, &incident, &["ann", "eve"]).await;
    name(&app, &incident, &["ann"]).await;
    let selector = json!({"selector": {"accounts": ["acme"], "account_labels": {"tier": "pro"}}});
    app.post(&path, &selector).await.expect(200);
    app.post(&format!("{path}/remove"), json!({"people": ["eve"]}))
        .await
        .expect(200);
    app.post(&format!("{path}/remove"), &selector).await.expect(200);
    app.post(&format!("{path}/remove"), &selector).await.expect(200);
    let events = async |action: &str, side: &str| -> Vec<Value> {
        let path = format!("/api/v1/audit?incident={}&action={action}", id_of(&incident));
        let events = app.all(&path).await;
        let changes = events.iter().map(|event| event[side].clone());
        changes.collect()
    };
    let text = "account:acme account.tier:pro";
    // A change that changes nothing has no event.
    assert_eq!(
        events("people.added", "after").await,
        [
            json!({"added": 2, "source": "selector", "what": {"selector": text, "relevance": null}}),
            json!({"added": 2, "source": "operator", "what": {"people": ["ann", "eve"]}}),
        ]
    );
    assert_eq!(
        events("people.removed", "before").await,
        [
            json!({"removed": 3, "what": {"selector": text}}),
            json!({"removed": 1, "what": {"people": ["eve"]}}),
        ]
    );
    let timeline = app.all(&format!("{incident}/timeline")).await;
    let notes: Vec<&str> = timeline
        .iter()
        .filter(|entry| entry["kind"] == "note")
        .map(|entry| entry["text"].as_str().expect("a text"))
        .collect();
    assert_eq!(
        notes,
        [
            &format!("Selector {text}: 2 of 3 matching people added to the affected people") as &str,
            &format!("Selector {text}: 3 people removed from the affected people"),
        ]
    );
    let verified = app.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(verified["ok"], true);
    app.finish().await;
}

async fn the_list_has_pages_and_can_be_searched(env: Env) {
    let (app, incident) = started(&env).await;
    app.put(
        "/api/v1/people/100%25_x",
        json!({"name": "Percent", "email": "pc@example.com"}),
    )
    .await
    .expect(201);
    let path = format!("{incident}/affected/people");
    name(&app, &incident, &["ann", "ben", "cat", "dan", "eve", "100%_x"]).await;
    let first = app.get(&format!("{path}?limit=4")).await.expect(200);
    assert_eq!(ids(&first.json), ["ann", "ben", "cat", "dan"]);
    assert_eq!(first["people"], 6);
    assert_eq!(
        first["items"][0],
        json!({
            "person": {"id": "ann", "name": "ANN", "email": "ann@example.com"},
            "source": "operator", "relevance": "impaired", "added_at": START, "gone_at": null,
        })
    );
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let rest = app
        .get(&format!("{path}?limit=4&cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(ids(&rest.json), ["eve", "100%_x"]);
    assert_eq!(rest["next_cursor"], Value::Null);
    for (text, expected) in [
        ("AN%40", vec!["dan"]),
        ("dan%40EXAMPLE", vec!["dan"]),
        ("Percent", vec!["100%_x"]),
        ("0%25_", vec!["100%_x"]),
        // These characters have no other meaning.
        ("_", vec!["100%_x"]),
        ("!", vec![]),
        ("an", vec!["ann", "dan"]),
    ] {
        let found = app.get(&format!("{path}?q={text}")).await.expect(200);
        assert_eq!(ids(&found.json), expected, "{text}");
        assert_eq!(found["people"], expected.len(), "{text}");
    }
    app.get(&format!("{path}?text=ann")).await.expect_invalid("?text");
    app.finish().await;
}

async fn resources_are_removed_by_the_same_requests(env: Env) {
    let (app, incident) = started(&env).await;
    for (id, tier) in [("a", "pro"), ("b", "pro"), ("c", "free"), ("d", "free")] {
        let body = json!({"account": "acme", "labels": {"tier": tier}});
        app.put(&format!("/api/v1/resources/file/{id}"), body)
            .await
            .expect(201);
        app.affect(id_of(&incident), "file", id).await;
    }
    let affected = async || -> Vec<String> {
        let items = app.all(&format!("{incident}/affected")).await;
        let ids = items
            .iter()
            .map(|item| item["resource"]["id"].as_str().expect("an id").to_owned());
        ids.collect()
    };
    let remove = format!("{incident}/affected/remove");
    let file = |id: &str| json!({"type": "file", "id": id});
    for (body, place) in [
        (json!({}), ""),
        (json!({"resources": []}), "/resources"),
        (json!({"resources": [file("a"), file("x")]}), "/resources/1"),
        (json!({"selector": {}}), "/selector"),
        (json!({"selector": {"type": "fyle"}}), "/selector/type"),
        (
            json!({"selector": {"type": "file", "labels": {"tier": "prod"}}}),
            "/selector/labels/tier",
        ),
    ] {
        app.post(&remove, body).await.expect_invalid(place);
    }
    assert_eq!(affected().await, ["a", "b", "c", "d"]);
    // A resource that is archived can be removed, and one that is not affected does not count.
    app.delete("/api/v1/resources/file/a").await.expect(204);
    let body = json!({"resources": [file("a"), {"type": "project", "id": "p"}]});
    let removed = app.post(&remove, body).await.expect(200);
    assert_eq!(removed.json, json!({"removed": 1}));
    let selector = json!({"selector": "type:file tier:free"});
    let removed = app.post(&remove, &selector).await.expect(200);
    assert_eq!(removed.json, json!({"removed": 2}));
    let removed = app.post(&remove, &selector).await.expect(200);
    assert_eq!(removed.json, json!({"removed": 0}));
    assert_eq!(affected().await, ["b"]);
    let events = app
        .all(&format!(
            "/api/v1/audit?incident={}&action=affected.removed",
            id_of(&incident)
        ))
        .await;
    let before: Vec<&Value> = events.iter().map(|event| &event["before"]).collect();
    assert_eq!(
        before,
        [
            &json!({"removed": 2, "what": {"selector": "type:file tier:free"}}),
            &json!({"removed": 1, "what": {"resources": ["file/a", "project/p"]}}),
        ]
    );
    let viewer = app.as_new("viewer").await;
    viewer.post(&remove, &selector).await.expect_problem(403);
    app.finish().await;
}

/// Somebody else was faster: the thing of the button is gone, and no page says that something was done.
async fn a_button_of_an_older_page_says_that_nothing_was_changed(env: Env) {
    let (app, incident) = started(&env).await;
    name(&app, &incident, &["ann"]).await;
    let project = json!({"resources": [{"type": "project", "id": "p"}]});
    app.post(&format!("{incident}/affected"), project.clone())
        .await
        .expect(200);
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let (people, resources) = ("/admin/incidents/1/people", "/admin/incidents/1/resources");
    for (form, field, says) in [
        (
            format!("{people}/remove"),
            ("people", "ann"),
            "were not added to this incident, or were removed since",
        ),
        (
            format!("{resources}/remove"),
            ("resources", "project p"),
            "is not affected by this incident any more",
        ),
    ] {
        operator.send_from(resources, &form, &[field]).await.expect(303);
        let late = operator.send_from(resources, &form, &[field]).await.expect(422);
        assert!(late.text.contains(says), "{}", late.text);
    }
    let late = operator
        .send_from(
            resources,
            &format!("{resources}/remove"),
            &[("selector", "type:project")],
        )
        .await
        .expect(422);
    assert!(late.text.contains("Nothing was removed."), "{}", late.text);
    // What was deleted has no page any more. The answer to its button says so.
    for form in [
        format!("/admin/notices/{NOTHING}/discard"),
        "/admin/directory/accounts/nobody/delete".to_owned(),
    ] {
        let late = operator.send_from(resources, &form, &[]).await.expect(404);
        for text in ["Nothing was changed", "does not exist any more", "Sign out"] {
            assert!(late.text.contains(text), "{text}: {}", late.text);
        }
    }
    app.finish().await;
}

/// An ID of Candor that nothing has.
const NOTHING: &str = "01900000-0000-7000-8000-000000000000";

async fn thousands_are_added_by_one_selector(env: Env) {
    const MANY: usize = 6_000;
    let app = TestApp::builder(&env).at(START).start().await;
    let mut lines = vec![
        json!({"kind": "account", "id": "big", "name": "Big"}),
        json!({"kind": "account", "id": "also", "name": "Also"}),
    ];
    for n in 0..MANY {
        let person = format!("p{n:05}");
        lines.push(
            json!({"kind": "person", "id": person, "name": "P", "email": format!("{person}@example.com")}),
        );
        lines.push(json!({"kind": "member", "account": "big", "person": person, "role": "user"}));
        if n % 2 == 0 {
            lines.push(json!({"kind": "member", "account": "also", "person": person, "role": "user"}));
        }
    }
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    app.import(lines).await.expect(200);
    let incident = format!("/api/v1/incidents/{}", app.incident([]).await);
    let path = format!("{incident}/affected/people");
    let listed: Vec<String> = (0..MANY).step_by(3).map(|n| format!("p{n:05}")).collect();
    let added = app.post(&path, json!({"people": listed})).await.expect(200);
    assert_eq!(added.json, json!({"added": MANY / 3, "already": 0}));
    // A person of two accounts is added once.
    let body = json!({"selector": {"roles": ["user"]}});
    let added = app.post(&path, &body).await.expect(200);
    assert_eq!(added.json, json!({"added": MANY - MANY / 3, "already": MANY / 3}));
    let found = audience(&app, &incident).await;
    assert_eq!(
        (&found["counts"]["people"], &found["counts"]["named"]),
        (&json!(MANY), &json!(MANY))
    );
    let removed = app.post(&format!("{path}/remove"), &body).await.expect(200);
    assert_eq!(removed.json, json!({"removed": MANY}));
    assert_eq!(audience(&app, &incident).await["counts"]["people"], 0);
    app.finish().await;
}

async fn the_explanation_says_who_was_added(env: Env) {
    let (app, incident) = started(&env).await;
    let explained = async |person: &str| -> Value {
        let path = format!("{incident}/audience/explain?person={person}");
        app.get(&path).await.expect(200)["items"][0].clone()
    };
    let named = |explained: &Value| -> Vec<(bool, String)> {
        let steps = explained["steps"].as_array().expect("steps");
        steps
            .iter()
            .filter(|step| step["about"] == "named")
            .map(|step| {
                let detail = step["detail"].as_str().expect("a detail").to_owned();
                (step["ok"].as_bool().expect("a flag"), detail)
            })
            .collect()
    };
    // As long as nobody is added, there is nothing to say.
    assert_eq!(named(&explained("dan").await), []);
    name(&app, &incident, &["dan"]).await;
    let path = format!("{incident}/affected/people");
    app.post(
        &path,
        json!({"selector": {"accounts": ["acme"], "roles": ["owner"]}}),
    )
    .await
    .expect(200);
    app.post(&format!("{path}/remove"), json!({"people": ["ann"]}))
        .await
        .expect(200);
    let dan = explained("dan").await;
    assert_eq!(
        (&dan["in_audience"], &dan["reachable"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(dan["reasons"][0]["role"], "named");
    assert_eq!(named(&dan), [(true, format!("was added manually at {START}"))]);
    let ann = explained("ann").await;
    assert_eq!(ann["in_audience"], false);
    assert_eq!(
        named(&ann),
        [(
            false,
            format!("was added by filter at {START}, and removed at {START}")
        )]
    );
    assert_eq!(
        named(&explained("ben").await),
        [(
            false,
            "is not one of the people who were added to the incident".to_owned()
        )]
    );
    app.finish().await;
}

/// Returns the page of the incident.
async fn page_of(app: &TestApp, incident: &str) -> String {
    let number = app.get(incident).await.expect(200)["number"].clone();
    format!("/admin/incidents/{number}")
}

async fn people_are_added_and_removed_on_the_page(env: Env) {
    let (app, incident) = started(&env).await;
    let page = page_of(&app, &incident).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let (form, page) = (format!("{page}/people"), format!("{page}/named"));
    assert!(operator.page(&page).await.contains("Nobody is added manually"));
    // A line is an ID or an address, in any spelling.
    let text = "ann\r\n\r\n  Ben@Example.COM \r\neve";
    let answer = operator
        .send_from(&page, &form, &[("people", text)])
        .await
        .expect(303);
    assert_eq!(answer.header("location"), page);
    let shown = operator.page(&page).await;
    for text in ["3 people", "added manually", "eve@example.com"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let affected = operator.page(&form).await;
    for text in ["<strong>added manually</strong>", "3 people are added manually"] {
        assert!(affected.contains(text), "{text}: {affected}");
    }
    assert_eq!(ids(&audience(&app, &incident).await), ["ann", "ben", "eve"]);
    let found = operator.page(&format!("{page}?named=EVE")).await;
    assert!(found.contains("1 person found."), "{found}");
    operator
        .send_from(&page, &format!("{form}/remove"), &[("people", "eve")])
        .await
        .expect(303);
    assert_eq!(ids(&audience(&app, &incident).await), ["ann", "ben"]);
    let events = app
        .all(&format!(
            "/api/v1/audit?incident={}&action=people.removed",
            id_of(&incident)
        ))
        .await;
    assert_eq!(events[0]["actor"]["kind"], "token");
    // A longer list has pages.
    let many: Vec<String> = (0..45).map(|n| format!("many-{n:02}")).collect();
    for person in &many {
        let body = json!({"name": person, "email": format!("{person}@example.com")});
        app.put(&format!("/api/v1/people/{person}"), body)
            .await
            .expect(201);
    }
    operator
        .send_from(&page, &form, &[("people", &many.join("\n"))])
        .await
        .expect(303);
    let mut next = page.clone();
    let mut seen = 0;
    loop {
        let text = operator.page(&next).await;
        let (_, section) = text.split_once("id=\"people-named\"").expect("the section");
        seen += section.matches(">added manually<").count();
        let Some((before, _)) = section.split_once("rel=\"next\"") else {
            break;
        };
        let (_, link) = before.rsplit_once("href=\"").expect("a link");
        next = link
            .trim_end_matches("\" ")
            .replace("&amp;", "&")
            .replace("&#x3D;", "=");
    }
    assert_eq!(seen, 47);
    // A viewer sees the list and has no forms.
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let shown = viewer.page(&page).await;
    assert!(
        shown.contains("47 people") && !shown.contains("Add people</button>"),
        "{shown}"
    );
    viewer.send(&form, &[("people", "dan")]).await.expect(403);
    app.finish().await;
}

async fn people_are_added_by_a_filter_on_the_page(env: Env) {
    let (app, incident) = started(&env).await;
    let path = page_of(&app, &incident).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let (form, page) = (format!("{path}/people/selector"), format!("{path}/named"));
    let counted = operator
        .page(&format!("{page}?accounts=acme%2C+beta&roles=owner&labels="))
        .await;
    for text in ["2 people", "2 accounts", "Add 2 people</button>"] {
        assert!(counted.contains(text), "{text}: {counted}");
    }
    let wrong = operator.page(&format!("{page}?accounts=nowhere")).await;
    assert!(
        wrong.contains("\u{201c}nowhere\u{201d}") && !wrong.contains("people/selector"),
        "{wrong}"
    );
    let refused = operator
        .send_from(
            &page,
            &form,
            &[("accounts", "nowhere"), ("roles", ""), ("labels", "")],
        )
        .await
        .expect(422);
    assert!(refused.text.contains("value=\"nowhere\""), "{refused}");
    assert_eq!(env.count("incident_people"), 0);
    operator
        .send_from(
            &page,
            &form,
            &[("accounts", ""), ("roles", "member"), ("labels", "tier:pro")],
        )
        .await
        .expect(303);
    assert_eq!(ids(&audience(&app, &incident).await), ["ben", "cat"]);
    operator
        .send_from(
            &page,
            &form,
            &[
                ("accounts", ""),
                ("roles", ""),
                ("labels", "region, tier:free, tier:pro"),
            ],
        )
        .await
        .expect(303);
    assert_eq!(ids(&audience(&app, &incident).await), ["ann", "ben", "cat"]);
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    viewer.send(&form, &[("roles", "member")]).await.expect(403);
    let shown = viewer.page(&format!("{page}?roles=member")).await;
    assert!(!shown.contains("people/selector"), "{shown}");
    app.finish().await;
}

async fn a_wrong_form_changes_nothing_and_keeps_what_was_typed(env: Env) {
    let (app, incident) = started(&env).await;
    let page = page_of(&app, &incident).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let (form, page) = (format!("{page}/people"), format!("{page}/named"));
    for (id, email) in [
        ("twin-1", "twin@example.com"),
        ("twin-2", "TWIN@example.com"),
        ("old", "old@example.com"),
    ] {
        let path = format!("/api/v1/people/{id}");
        app.put(&path, json!({"name": id, "email": email}))
            .await
            .expect(201);
    }
    app.delete("/api/v1/people/old").await.expect(204);
    for (text, wrong) in [
        ("", "must list at least one person"),
        (
            "ann\nnobody",
            "\u{201c}nobody\u{201d} is no ID and no address of a person in the directory",
        ),
        (
            "ann\n\ntwin@example.com",
            "\u{201c}twin@example.com\u{201d} is the address of several people",
        ),
        ("old\nann", "\u{201c}old\u{201d} is archived in the directory"),
        ("old@example.com", "is no ID and no address"),
        ("<b>", "\u{201c}&lt;b&gt;\u{201d} is no ID"),
    ] {
        let answer = operator
            .send_from(&page, &form, &[("people", text)])
            .await
            .expect(422);
        assert!(answer.text.contains(wrong), "{wrong}: {}", answer.text);
        assert!(answer.text.contains("Nothing was saved"), "{}", answer.text);
        let typed = format!("\n{}</textarea>", text.replace('<', "&lt;").replace('>', "&gt;"));
        assert!(answer.text.contains(&typed), "{typed}: {}", answer.text);
        // The form on the answer's page works.
        assert!(answer.text.contains("name=\"form_key\""), "{}", answer.text);
    }
    operator.send(&form, &[("people", "ann")]).await.expect(403);
    operator
        .send_from(&page, &form, &[("people", "ann"), ("other", "x")])
        .await
        .expect(422);
    assert_eq!(env.count("incident_people"), 0);
    operator.open("/admin/incidents/4711/named").await.expect(404);
    operator
        .send_from(&page, "/admin/incidents/4711/people", &[("people", "ann")])
        .await
        .expect(404);
    app.finish().await;
}
