//! The documents in the format of Statuspage have all fields of that format, and the feeds and the calendar follow the rules of theirs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_one_database};

on_one_database!(
    the_documents_have_the_shape_of_statuspage,
    the_feeds_follow_their_rules,
    an_empty_page_is_valid_too,
);

async fn started(env: &Env) -> TestApp {
    let app = TestApp::builder(env).at("2026-03-10T12:00:00Z").start().await;
    for (id, body) in [
        (
            "uploads",
            json!({"name": "Uploads & downloads", "group": "Media"}),
        ),
        ("api", json!({"name": "API"})),
    ] {
        app.put(&format!("/api/v1/components/{id}"), body)
            .await
            .expect(201);
    }
    for (title, words) in [
        ("Uploads <fail> & \"more\"", &["investigating", "monitoring"][..]),
        ("Slow", &["identified", "resolved"]),
    ] {
        let new = json!({"title": "internal", "severity": "major"});
        let id = app.post("/api/v1/incidents", new).await.expect(201).id();
        for (index, word) in words.iter().enumerate() {
            let mut body = json!({"status": word, "title": title, "message": format!("<b>{word}</b> & so on\n\nNext ]]> paragraph"),
                "at": format!("2026-03-10T11:0{index}:00Z")});
            if index == 0 {
                body["components"] = json!({"uploads": "major_outage"});
            }
            app.post(&format!("/api/v1/incidents/{id}/posts"), body)
                .await
                .expect(201);
        }
    }
    app
}

async fn document(app: &TestApp, name: &str) -> Value {
    let answer = app
        .anonymous()
        .get(&format!("/api/v2/{name}.json"))
        .await
        .expect(200);
    assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    answer.json
}

#[track_caller]
fn has(value: &Value, fields: &[&str]) {
    let there: BTreeSet<&str> = value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let expected: BTreeSet<&str> = fields.iter().copied().collect();
    assert_eq!(there, expected, "{value}");
}

fn times(value: &Value) {
    for (name, time) in value.as_object().expect("an object") {
        if name.ends_with("_at") && !time.is_null() {
            let time = time.as_str().expect("a time");
            assert!(time.len() >= 20 && time.ends_with('Z'), "{name}: {time}");
        }
    }
}

const INCIDENT: &[&str] = &[
    "id",
    "name",
    "status",
    "created_at",
    "updated_at",
    "monitoring_at",
    "resolved_at",
    "impact",
    "shortlink",
    "started_at",
    "page_id",
    "incident_updates",
    "components",
    "reminder_intervals",
];
const COMPONENT: &[&str] = &[
    "id",
    "name",
    "status",
    "created_at",
    "updated_at",
    "position",
    "description",
    "showcase",
    "start_date",
    "group_id",
    "page_id",
    "group",
    "only_show_if_degraded",
];

async fn the_documents_have_the_shape_of_statuspage(env: Env) {
    let app = started(&env).await;
    let summary = document(&app, "summary").await;
    has(
        &summary,
        &[
            "page",
            "components",
            "incidents",
            "scheduled_maintenances",
            "status",
        ],
    );
    has(
        &summary["page"],
        &["id", "name", "url", "time_zone", "updated_at"],
    );
    times(&summary["page"]);
    assert_eq!(
        summary["status"],
        json!({"indicator": "critical", "description": "Major Service Outage"})
    );
    assert_eq!(summary["page"]["url"], format!("{}/status", app.base()));
    let components = summary["components"].as_array().expect("components");
    let names: Vec<&Value> = components.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["API", "Media", "Uploads & downloads"]);
    let (group, uploads) = (&components[1], &components[2]);
    has(&components[0], COMPONENT);
    has(group, &[COMPONENT, &["components"]].concat());
    assert_eq!(group["group"], true);
    assert_eq!(group["status"], "major_outage");
    assert_eq!(group["components"], json!(["uploads"]));
    assert_eq!(uploads["group_id"], group["id"]);
    assert_eq!(components[0]["group_id"], Value::Null);
    times(uploads);
    let incidents = summary["incidents"].as_array().expect("incidents");
    assert_eq!(incidents.len(), 1, "only the unresolved one");
    let one = &incidents[0];
    has(one, INCIDENT);
    times(one);
    assert_eq!(one["name"], "Uploads <fail> & \"more\"");
    assert_eq!(
        (&one["status"], &one["impact"], &one["resolved_at"]),
        (&json!("monitoring"), &json!("critical"), &Value::Null)
    );
    assert_eq!(one["shortlink"], format!("{}/status/incidents/1", app.base()));
    assert_eq!(one["components"][0]["id"], "uploads");
    let updates = one["incident_updates"].as_array().expect("updates");
    let words: Vec<&Value> = updates.iter().map(|one| &one["status"]).collect();
    assert_eq!(words, ["monitoring", "investigating"], "the newest comes first");
    has(
        &updates[1],
        &[
            "id",
            "status",
            "body",
            "incident_id",
            "created_at",
            "updated_at",
            "display_at",
            "affected_components",
            "deliver_notifications",
            "custom_tweet",
            "tweet_id",
        ],
    );
    assert_eq!(
        updates[1]["affected_components"],
        json!([{"code": "uploads", "name": "Uploads & downloads", "old_status": "operational", "new_status": "major_outage"}])
    );
    assert_eq!(updates[0]["affected_components"], Value::Null);
    assert_eq!(updates[0]["incident_id"], one["id"]);
    has(&document(&app, "status").await, &["page", "status"]);
    assert_eq!(
        document(&app, "components").await["components"],
        summary["components"]
    );
    assert_eq!(
        document(&app, "incidents/unresolved").await["incidents"],
        summary["incidents"]
    );
    let all = document(&app, "incidents").await;
    has(&all, &["page", "incidents"]);
    assert_eq!(all["incidents"].as_array().map(Vec::len), Some(2));
    let over = all["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["status"] == "resolved")
        .expect("one");
    assert_eq!(over["resolved_at"], "2026-03-10T11:01:00Z");
    assert_eq!(
        document(&app, "scheduled-maintenances").await["scheduled_maintenances"],
        json!([])
    );
    app.finish().await;
}

/// An element of an XML document: its name, its attributes as they are written, its text, and the elements in it.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: String,
    text: String,
    inner: Vec<Element>,
}

impl Element {
    fn all(&self, name: &str) -> Vec<&Element> {
        self.inner.iter().filter(|one| one.name == name).collect()
    }

    #[track_caller]
    fn one(&self, name: &str) -> &Element {
        let found = self.all(name);
        assert_eq!(found.len(), 1, "{name} in {}", self.name);
        found[0]
    }
}

/// Reads a text with the entities of XML.
fn unescaped(text: &str) -> String {
    assert!(!text.contains("]]>"), "{text}");
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (name, behind) = after.split_once(';').expect("an entity");
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            other => panic!("&{other}; is no entity of XML"),
        });
        rest = behind;
    }
    out + rest
}

/// Reads an XML document. It fails where the document is not well-formed.
fn xml(text: &str) -> Element {
    let text = text
        .strip_prefix("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n")
        .expect("a declaration");
    assert!(text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
    let mut stack = vec![Element::default()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        stack.last_mut().unwrap().text.push_str(&unescaped(before));
        let (tag, behind) = after.split_once('>').expect("the end of a tag");
        rest = behind;
        if let Some(name) = tag.strip_prefix('/') {
            let closed = stack.pop().unwrap();
            assert_eq!(closed.name, name);
            stack.last_mut().expect("an open element").inner.push(closed);
            continue;
        }
        let (inner, empty) = tag.strip_suffix('/').map_or((tag, false), |inner| (inner, true));
        let (name, attributes) = inner.split_once(' ').unwrap_or((inner, ""));
        assert_eq!(attributes.matches('"').count() % 2, 0, "{tag}");
        let element = Element {
            name: name.to_owned(),
            attributes: attributes.to_owned(),
            ..Element::default()
        };
        if empty {
            stack.last_mut().unwrap().inner.push(element);
        } else {
            stack.push(element);
        }
    }
    assert_eq!(rest.trim(), "");
    assert_eq!(stack.len(), 1, "an element is not closed");
    let mut root = stack.pop().unwrap();
    assert_eq!(root.inner.len(), 1, "there is one root");
    root.inner.remove(0)
}

async fn feed(app: &TestApp, path: &str, media: &str) -> Element {
    let answer = app.anonymous().get(path).await.expect(200);
    assert_eq!(answer.header("content-type"), media);
    xml(&answer.text)
}

/// Checks the rules of RFC 4287 for a feed and its entries.
fn check_atom(feed: &Element, base: &str) {
    assert_eq!(feed.name, "feed");
    assert!(feed.attributes.contains("xmlns=\"http://www.w3.org/2005/Atom\""));
    let mut ids = BTreeSet::new();
    for one in std::iter::once(feed).chain(feed.all("entry")) {
        let id = &one.one("id").text;
        assert!(id.starts_with("tag:127.0.0.1,2026:"), "{id}");
        assert!(ids.insert(id.clone()), "{id} is there twice");
        assert!(!one.one("title").text.is_empty());
        let updated = &one.one("updated").text;
        assert!(
            updated.len() >= 20 && updated.as_bytes()[10] == b'T' && updated.ends_with('Z'),
            "{updated}"
        );
    }
    assert!(!feed.one("author").one("name").text.is_empty());
    let own = format!("rel=\"self\" type=\"application/atom+xml\" href=\"{base}/history.atom\"");
    assert!(
        feed.all("link").iter().any(|link| link.attributes == own),
        "{feed:?}"
    );
    for entry in feed.all("entry") {
        assert!(entry.one("link").attributes.contains("rel=\"alternate\""));
        assert_eq!(entry.one("content").attributes, "type=\"html\"");
    }
}

async fn the_feeds_follow_their_rules(env: Env) {
    let app = started(&env).await;
    let base = app.base();
    let atom = feed(&app, "/history.atom", "application/atom+xml; charset=utf-8").await;
    check_atom(&atom, &base);
    let entries = atom.all("entry");
    assert_eq!(entries.len(), 2);
    let first = entries
        .iter()
        .find(|one| one.one("title").text.starts_with("Uploads"))
        .expect("the incident");
    assert_eq!(first.one("title").text, "Uploads <fail> & \"more\"");
    let content = &first.one("content").text;
    assert!(
        content.contains("&lt;b&gt;investigating&lt;/b&gt; &amp; so on<br>"),
        "{content}"
    );
    assert!(!content.contains("<b>"), "{content}");
    // A further post changes the entry, and its ID stays.
    let id = first.one("id").text.clone();
    app.clock.advance(std::time::Duration::from_secs(60));
    let incident = id.rsplit('/').next().expect("an ID");
    app.post(
        &format!("/api/v1/incidents/{incident}/posts"),
        json!({"status": "resolved", "message": "Over."}),
    )
    .await
    .expect(201);
    let later = feed(&app, "/history.atom", "application/atom+xml; charset=utf-8").await;
    check_atom(&later, &base);
    let newest = later.all("entry")[0];
    assert_eq!(newest.one("id").text, id);
    assert_eq!(newest.one("updated").text, "2026-03-10T12:01:00Z");
    assert_eq!(later.one("updated").text, "2026-03-10T12:01:00Z");
    let rss = feed(&app, "/history.rss", "application/rss+xml; charset=utf-8").await;
    assert_eq!(rss.name, "rss");
    assert!(rss.attributes.starts_with("version=\"2.0\""));
    let channel = rss.one("channel");
    for name in ["title", "link", "description"] {
        assert!(!channel.one(name).text.is_empty(), "{name}");
    }
    assert_eq!(channel.one("lastBuildDate").text, "Tue, 10 Mar 2026 12:01:00 GMT");
    for item in channel.all("item") {
        assert!(!item.one("title").text.is_empty() && !item.one("description").text.is_empty());
        assert_eq!(item.one("guid").attributes, "isPermaLink=\"false\"");
        assert!(item.one("pubDate").text.ends_with(" GMT"));
    }
    assert_eq!(channel.all("item")[0].one("guid").text, id);
    app.finish().await;
}

async fn an_empty_page_is_valid_too(env: Env) {
    let app = TestApp::start(&env).await;
    let summary = document(&app, "summary").await;
    assert_eq!(
        summary["status"],
        json!({"indicator": "none", "description": "All Systems Operational"})
    );
    assert_eq!(summary["components"], json!([]));
    check_atom(
        &feed(&app, "/history.atom", "application/atom+xml; charset=utf-8").await,
        &app.base(),
    );
    feed(&app, "/history.rss", "application/rss+xml; charset=utf-8").await;
    let calendar = app.anonymous().get("/maintenance.ics").await.expect(200);
    assert_eq!(calendar.header("content-type"), "text/calendar; charset=utf-8");
    let lines: Vec<&str> = calendar.text.split("\r\n").collect();
    assert_eq!((lines[0], lines[1]), ("BEGIN:VCALENDAR", "VERSION:2.0"));
    assert_eq!(&lines[lines.len() - 2..], ["END:VCALENDAR", ""]);
    assert!(lines.iter().all(|line| line.len() <= 75 && !line.contains('\n')));
    let (mut open, mut components) = (Vec::new(), 0);
    for line in lines {
        if let Some(name) = line.strip_prefix("BEGIN:") {
            components += usize::from(open.len() == 1);
            open.push(name.to_owned());
        } else if let Some(name) = line.strip_prefix("END:") {
            assert_eq!(open.pop().as_deref(), Some(name));
        }
    }
    assert!(
        open.is_empty() && components > 0,
        "a calendar has at least one component"
    );
    app.finish().await;
}
