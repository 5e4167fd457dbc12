//! Each tab of an incident is a small page with the same head. The numbers of the head add up, and each leads to a list with so many
//! rows. Resources are added, counted and removed there.

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::story::{ADDRESSES, PROJECT};
use crate::support::{Env, TestApp, on_both_databases, on_one_database, story_directory};

on_both_databases!(
    each_number_of_the_head_leads_to_so_many_rows,
    resources_are_added_and_removed,
    a_wrong_filter_is_marked_at_its_character,
    the_next_thing_to_do_is_one_button,
    long_lists_have_pages,
    people_are_searched_and_checked,
    unmatched_ids_are_searched_again,
    each_tab_is_a_page,
);
on_one_database!(ten_thousand_people_make_small_pages,);

const PAGE: &str = "/admin/incidents/1";

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    let page = page.replace("&#x3D;", "=");
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

async fn operator(app: &TestApp) -> Browser {
    Browser::signed_in(app, &app.token("operator").await).await
}

async fn each_number_of_the_head_leads_to_so_many_rows(env: Env) {
    let refuses = Policy::new(|attempt| match attempt.recipient == ADDRESSES[1] {
        true => Decision::Permanent("550 5.1.1 no such user".to_owned()),
        false => Decision::Accept,
    });
    let app = TestApp::builder(&env).smtp_policy(refuses).start().await;
    let incident = app.story_incident().await;
    app.put("/api/v1/people/nobody", json!({"name": "Nobody", "email": ""}))
        .await
        .expect(201);
    let collaborator = async |person: &str| {
        let path = format!("/api/v1/resources/project/{PROJECT}/collaborators/{person}");
        app.put(&path, json!({"role": "viewer"})).await.expect(201);
    };
    collaborator("nobody").await;
    app.tell(&incident, "detection").await;
    collaborator("grace").await;
    let browser = operator(&app).await;
    let page = browser.page(PAGE).await;
    let (_, head) = page.split_once("<p class=\"adds-up\">").expect("the numbers");
    let (head, _) = head.split_once("</p>").expect("an end");
    let head = head.replace("&#x3D;", "=");
    let mut sum = 0;
    for (label, group, n) in [
        ("accepted", "told", 2),
        ("sending", "sending", 0),
        ("failed or bounced", "failed", 1),
        ("no address", "unreachable", 1),
        ("not yet", "not_told", 1),
    ] {
        let path = format!("{PAGE}/people?people={group}");
        let at = head
            .find(&format!("{label} <a href=\"{path}\""))
            .unwrap_or_else(|| panic!("{label}: {head}"));
        let (_, number) = head[at..].split_once("\">").expect("a number");
        assert!(number.starts_with(&format!("{n}<")), "{label}: {number}");
        let list = browser.page(&path).await;
        assert_eq!(list.matches("<th scope=\"row\">").count(), n, "{label}: {list}");
        sum += n;
    }
    shows(
        &head,
        &[&format!(
            "<a class=\"strong\" href=\"{PAGE}/people\">{sum} people</a>"
        )],
    );
    let all = browser.page(&format!("{PAGE}/people")).await;
    assert_eq!(all.matches("<th scope=\"row\">").count(), sum);
    shows(
        &page,
        &[
            "2 people missed at least one email, or have no address",
            &format!("{PAGE}/unreached"),
        ],
    );
    shows(
        &browser.page(&format!("{PAGE}/unreached")).await,
        &["no such user", "Nobody"],
    );
    app.finish().await;
}

async fn resources_are_added_and_removed(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let incident = app.incident([("project", "savanna")]).await;
    let browser = operator(&app).await;
    let tab = format!("{PAGE}/resources");
    let affected =
        async || -> Vec<Value> { app.all(&format!("/api/v1/incidents/{incident}/affected")).await };
    // A list, with a wrong line and without.
    let wrong = [("resources", "file interview-v1\nfile nothing")];
    let answer = browser.send_from(&tab, &tab, &wrong).await.expect(422);
    shows(
        &answer.text,
        &[
            "file nothing",
            "file interview-v1",
            "<details class=\"section\" open>",
        ],
    );
    assert_eq!(affected().await.len(), 1);
    let right = [("resources", "file interview-v1\nproject savanna")];
    let done = browser.send_from(&tab, &tab, &right).await.expect(303);
    assert_eq!(done.header("location"), tab);
    assert_eq!(affected().await.len(), 2);
    // A filter is counted before it is used.
    let counted = format!("{tab}?selector=type%3Afile+provider%3As3");
    let page = browser.page(&counted).await;
    shows(
        &page,
        &[
            "2 resources",
            "1 affected already",
            "Add 1 resource<",
            "Remove 1 affected resource<",
        ],
    );
    let selector = [("selector", "type:file provider:s3")];
    browser
        .send_from(&counted, &format!("{tab}/selector"), &selector)
        .await
        .expect(303);
    assert_eq!(affected().await.len(), 3);
    let found = browser.page(&format!("{tab}?q=V2")).await;
    assert!(
        found.contains("interview-v2") && !found.contains("interview-v1"),
        "{found}"
    );
    let searched = app
        .all(&format!("/api/v1/incidents/{incident}/affected?q=V2"))
        .await;
    assert_eq!(searched.len(), 1);
    // One is removed, and then those that the filter finds.
    let remove = format!("{tab}/remove");
    browser
        .send_from(&tab, &remove, &[("resources", "project savanna")])
        .await
        .expect(303);
    browser.send_from(&counted, &remove, &selector).await.expect(303);
    assert!(affected().await.is_empty());
    let refused = browser
        .send_from(&tab, &remove, &[("resources", "savanna")])
        .await
        .expect(422);
    shows(
        &refused.text,
        &[
            "Nothing was removed.",
            "must be a type and an ID",
            "Affected resources",
        ],
    );
    app.finish().await;
}

async fn a_wrong_filter_is_marked_at_its_character(env: Env) {
    let app = TestApp::start(&env).await;
    app.story_incident().await;
    let browser = operator(&app).await;
    let tab = format!("{PAGE}/resources");
    // While somebody types, a wrong filter is no error of the page.
    let page = browser
        .page(&format!("{tab}?selector=type%3Afile+provder%3As3"))
        .await;
    shows(
        &page,
        &[
            "character 11:",
            "type:file <mark>p</mark>rovder:s3",
            "value=\"type:file provder:s3\"",
        ],
    );
    let sent = [("selector", "type:file <b>")];
    let answer = browser
        .send_from(&tab, &format!("{tab}/selector"), &sent)
        .await
        .expect(422);
    shows(
        &answer.text,
        &["value=\"type:file &lt;b&gt;\"", "<p class=\"wrong\">"],
    );
    let unfinished = browser.page(&format!("{tab}?selector=%28type%3Afile")).await;
    shows(&unfinished, &["<p class=\"wrong\">"]);
    app.finish().await;
}

async fn the_next_thing_to_do_is_one_button(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let incident = app.incident([]).await;
    let browser = operator(&app).await;
    let next = async |label: &str, path: &str| {
        let page = browser.page(PAGE).await;
        shows(
            &page,
            &[
                &format!("<a class=\"button\" href=\"{path}\">{label}</a>"),
                &format!("<a class=\"skip\" href=\"{path}\">{label}</a>"),
            ],
        );
    };
    next("Add affected resources", "/admin/incidents/1/resources").await;
    app.affect(&incident, "file", "interview-v1").await;
    next("Write detection", "/admin/incidents/1/write?phase=detection").await;
    let draft = app.draft(&incident, "detection").await;
    next("Continue the detection", &format!("/admin/notices/{draft}")).await;
    app.send_as_previewed(&draft).await;
    app.done(&draft).await;
    next("Send update", "/admin/incidents/1/write?phase=update").await;
    let status = format!("/api/v1/incidents/{incident}/status");
    app.post(&status, json!({"status": "monitoring"}))
        .await
        .expect(200);
    next(
        "Resolve and tell 3 people",
        "/admin/incidents/1/write?phase=resolution",
    )
    .await;
    app.resolve(&incident).await;
    next("Tell 3 people", "/admin/incidents/1/write?phase=resolution").await;
    app.tell(&incident, "resolution").await;
    next("Write the report", "/admin/incidents/1/report").await;
    let report = format!("/api/v1/incidents/{incident}/report");
    let section = json!({"heading": "What happened", "text": "A disk was full.", "audience": "public"});
    app.put(&report, json!({"title": "A full disk", "sections": [section]}))
        .await;
    next("Publish the report", "/admin/incidents/1/report").await;
    app.post(&format!("{report}/publish"), json!({}))
        .await
        .expect(200);
    // Nothing is left to write, also if the report was not sent to customers.
    next("See the follow-ups", "/admin/incidents/1/follow-ups").await;
    app.tell(&incident, "report").await;
    next("See the follow-ups", "/admin/incidents/1/follow-ups").await;
    app.finish().await;
}

async fn long_lists_have_pages(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    for n in 0..21 {
        app.draft(&incident, "update").await;
        let step = json!({"text": format!("Step {n}"), "owner": "ops"});
        app.post(&format!("/api/v1/incidents/{incident}/next-steps"), step)
            .await
            .expect(201);
    }
    let browser = operator(&app).await;
    let overview = browser.page(PAGE).await;
    shows(
        &overview,
        &["<h2 id=\"notices-title\">Notices</h2>", "All notices</a>"],
    );
    assert_eq!(overview.matches(">update</a>").count(), 20, "{overview}");
    for (tab, row) in [("notices", ">update</a>"), ("follow-ups", "Step ")] {
        let path = format!("{PAGE}/{tab}");
        let first = browser.page(&path).await.replace("&#x3D;", "=");
        let (_, rest) = first
            .split_once(&format!("<a href=\"{path}?cursor="))
            .unwrap_or_else(|| panic!("{first}"));
        let next = rest.split('"').next().expect("a cursor");
        let last = browser.page(&format!("{path}?cursor={next}")).await;
        assert!(last.contains(row) && last.contains("From the start"), "{last}");
        assert!(!last.contains("rel=\"next\""), "{last}");
    }
    app.finish().await;
}

async fn people_are_searched_and_checked(env: Env) {
    let app = TestApp::start(&env).await;
    app.story_incident().await;
    let browser = operator(&app).await;
    let found = browser.page(&format!("{PAGE}/people?q=SOUND-works")).await;
    shows(&found, &["baraka@sound-works.example", "1 person found"]);
    assert!(!found.contains("amina@"), "{found}");
    let nobody = browser.page(&format!("{PAGE}/people?q=zz&people=told")).await;
    shows(&nobody, &["0 people found"]);
    let checked = browser.page(&format!("{PAGE}/people?who=grace")).await;
    shows(&checked, &["not affected", "Check a person"]);
    app.finish().await;
}

async fn unmatched_ids_are_searched_again(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    app.fires(&monitoring, "storage", "unknown-one", "critical").await;
    let browser = operator(&app).await;
    shows(
        &browser.page(PAGE).await,
        &[
            "1 ID in alerts is not in the directory",
            "/admin/incidents/1/unmatched",
        ],
    );
    let page = format!("{PAGE}/unmatched");
    shows(
        &browser.page(&page).await,
        &["project unknown-one", "Search the directory again"],
    );
    let project = json!({"account": "nyota-films", "name": "Now known"});
    app.put("/api/v1/resources/project/unknown-one", project)
        .await
        .expect(201);
    // It may be found already by the change of the directory itself.
    browser.send_from(PAGE, &page, &[]).await.expect(303);
    shows(
        &browser.page(&page).await,
        &["Every ID in the alerts is in the directory."],
    );
    app.finish().await;
}

async fn each_tab_is_a_page(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    let browser = operator(&app).await;
    let overview = browser.page(PAGE).await;
    // Links to the sections of the former page still lead to a tab.
    for anchor in [
        "people", "affected", "alerts", "answers", "times", "report", "steps", "notices", "timeline",
    ] {
        assert_eq!(
            overview.matches(&format!(" id=\"{anchor}\"")).count(),
            1,
            "{anchor}: {overview}"
        );
    }
    for tab in [
        "people",
        "resources",
        "alerts",
        "answers",
        "times",
        "report",
        "follow-ups",
        "unreached",
        "unmatched",
    ] {
        let page = browser.page(&format!("{PAGE}/{tab}")).await;
        shows(
            &page,
            &["id=\"incident-bar\"", "<h1 dir=\"auto\">", "Affected <a"],
        );
        assert_eq!(page.matches("<h1").count(), 1, "{tab}");
        browser
            .open(&format!("/admin/incidents/{incident}/{tab}"))
            .await
            .expect(200);
        browser
            .open(&format!("/admin/incidents/99/{tab}"))
            .await
            .expect(404);
    }
    app.finish().await;
}

async fn ten_thousand_people_make_small_pages(env: Env) {
    let app = TestApp::start(&env).await;
    let mut directory = String::from(
        "{\"kind\":\"account\",\"id\":\"a\",\"name\":\"A\"}\n{\"kind\":\"resource\",\"type\":\"project\",\"id\":\"stage\",\"account\":\"a\"}\n",
    );
    for n in 0..10_000 {
        directory.push_str(&format!(
            "{{\"kind\":\"person\",\"id\":\"p{n}\",\"name\":\"Person {n}\",\"email\":\"p{n}@example.com\"}}\n{{\"kind\":\"member\",\"account\":\"a\",\"person\":\"p{n}\",\"role\":\"owner\"}}\n"
        ));
    }
    app.import(directory).await.expect(200);
    app.incident([("project", "stage")]).await;
    let browser = operator(&app).await;
    for path in [
        "/admin".to_owned(),
        "/admin/incidents".to_owned(),
        PAGE.to_owned(),
        format!("{PAGE}/people"),
        format!("{PAGE}/resources"),
        format!("{PAGE}/unreached"),
    ] {
        let page = browser.page(&path).await;
        assert!(page.len() < 100_000, "{path}: {} bytes", page.len());
        assert!(page.contains("10,000"), "{path}");
    }
    app.finish().await;
}
