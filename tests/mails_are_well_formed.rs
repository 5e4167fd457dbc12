//! Email programs can thread and filter the emails, people can unsubscribe, and no data can change their
//! structure. Snapshots contain the text of each phase.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{
    Env, Mail, TestApp, on_both_databases, on_one_database, story_directory, without_token,
};

on_both_databases!(
    long_lines_of_the_text_are_wrapped,
    hostile_data_stays_data,
    names_and_subjects_of_all_scripts_arrive,
);
on_one_database!(
    the_headers_are_what_mail_clients_want,
    the_parts_are_text_and_html,
    a_line_break_cannot_add_a_header,
    what_is_previewed_is_what_is_read,
    the_link_opts_out_of_updates_alone,
    each_phase_reads_as_in_its_snapshot,
);

async fn the_headers_are_what_mail_clients_want(env: Env) {
    let app = TestApp::builder(&env)
        .at("2024-03-14T10:00:00+03:00")
        .config(|config| {
            config.mail_from = "Quickbyte <help@quickbyte.example>".to_owned();
            config.public_url = Some("https://candor.quickbyte.example".to_owned());
        })
        .start()
        .await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    let update = app.tell(&incident, "update").await;
    let other_incident = app.incident([("file", "stalls-v1")]).await;
    app.tell(&other_incident, "detection").await;
    let mails = app.mails(3 + 3 + 2).await;

    let mut deliveries = app.deliveries(&detection).await;
    deliveries.extend(app.deliveries(&update).await);
    for mail in &mails[..6] {
        // Each email can be found in the record by its Message-ID.
        let message_id = mail.header("message-id");
        let delivery = deliveries
            .iter()
            .find(|delivery| delivery["message_id"] == message_id)
            .unwrap_or_else(|| panic!("no delivery has {message_id}"));
        assert_eq!(delivery["address"], mail.to);
        assert!(message_id.ends_with("@quickbyte.example>"), "{message_id}");
    }
    let mut ids = BTreeSet::new();
    let mut links = BTreeSet::new();
    for mail in &mails {
        assert_eq!(mail.caught.from, "help@quickbyte.example");
        assert_eq!(mail.header("from"), "Quickbyte <help@quickbyte.example>");
        let to = mail.header("to");
        assert!(to.ends_with(&format!("<{}>", mail.to)), "{to}");
        assert_eq!(mail.header("auto-submitted"), "auto-generated");
        assert_eq!(mail.header("list-unsubscribe-post"), "List-Unsubscribe=One-Click");
        assert_eq!(mail.header("mime-version"), "1.0");
        assert_eq!(mail.header("date"), "Thu, 14 Mar 2024 07:00:00 +0000");
        let link = mail.header("list-unsubscribe");
        assert!(
            link.starts_with("<https://candor.quickbyte.example/unsubscribe/") && link.ends_with('>'),
            "{link}"
        );
        assert!(ids.insert(mail.header("message-id")), "a Message-ID twice");
        assert!(links.insert(link), "a link for two mails");
    }
    // Each incident has one thread. All its emails refer to the same ID, and those of another incident refer
    // to another one.
    let threads =
        |mails: &[Mail]| -> BTreeSet<String> { mails.iter().map(|mail| mail.header("references")).collect() };
    let (one, other) = (threads(&mails[..6]), threads(&mails[6..]));
    assert_eq!((one.len(), other.len()), (1, 1), "{one:?} {other:?}");
    assert!(one.is_disjoint(&other));
    assert!(
        one.iter()
            .all(|thread| thread.contains(&incident) && thread.starts_with('<')),
        "{one:?}"
    );
    app.finish().await;
}

async fn the_parts_are_text_and_html(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    for mail in app.mails(3).await {
        let kind = mail.header("content-type");
        assert!(kind.starts_with("multipart/alternative; boundary="), "{kind}");
        let data = mail.caught.text_lossy();
        let text = data.find("Content-Type: text/plain; charset=utf-8");
        let html = data.find("Content-Type: text/html; charset=utf-8");
        // Email programs show the last alternative, which is the HTML.
        assert!(text.is_some() && text < html, "{data}");
        for line in data.split("\r\n") {
            assert!(line.len() <= 998, "a line of {} bytes", line.len());
            assert!(!line.contains('\n'), "a bare line feed");
        }
        assert!(!mail.text.contains('<'), "{}", mail.text);
        assert!(mail.html.trim_start().starts_with("<!doctype html>"));
        for remote in ["<img", "<script", "<link", "url(", "@import", "src="] {
            assert!(!mail.html.contains(remote), "{remote} in {}", mail.html);
        }
    }
    app.finish().await;
}

/// Lines that are written by operators and those that name resources and reasons are wrapped too. No link is broken.
async fn long_lines_of_the_text_are_wrapped(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let paragraph = "Our systems have detected failures when files of your project are opened. We are sorry for the trouble, and we are \
                     working on it. The page https://status.quickbyte.example/incidents/2024-03-14-files-cannot-be-opened says more.";
    let body =
        json!({"phase": "detection", "message": format!("{paragraph}\n\nShort."), "headline": "Files fail"});
    let notice = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), body)
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&notice).await;
    for mail in app.mails(3).await {
        let text = mail.text.replace("\r\n", "\n");
        for line in text.lines() {
            let has_link = line.split(' ').any(|word| word.contains("://"));
            assert!(line.chars().count() <= 78 || has_link, "{line:?} in {text}");
        }
        let wrapped = "Our systems have detected failures when files of your project are opened. We\n\
                       are sorry for the trouble, and we are working on it. The page\n\
                       https://status.quickbyte.example/incidents/2024-03-14-files-cannot-be-opened\n\
                       says more.\n\nShort.\n";
        assert!(text.contains(wrapped), "{text}");
        for label in ["Works for me: ", "Still broken: ", "I need help: "] {
            assert!(text.contains(&format!("\n{label}http")), "{label}: {text}");
        }
        assert!(
            mail.flat()
                .contains(&paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        );
    }
    app.finish().await;
}

/// Hostile markup in text and in an attribute.
const HOSTILE: &str = r#"<script>alert("1")</script>'"><img src=x onerror=alert(2)>{{sender}} &amp;"#;

async fn hostile_data_stays_data(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    app.put(
        "/api/v1/people/amina",
        json!({"name": HOSTILE, "email": "amina@nyota-films.example"}),
    )
    .await
    .expect(200);
    app.put("/api/v1/accounts/nyota-films", json!({"name": HOSTILE}))
        .await
        .expect(200);
    app.put(
        "/api/v1/resources/file/interview-v1",
        json!({"name": HOSTILE, "parent": {"type": "media", "id": "interview"}}),
    )
    .await
    .expect(200);
    let incident = app.incident([("file", "interview-v1")]).await;
    app.resolve(&incident).await;
    let sections = json!([{"heading": HOSTILE, "text": HOSTILE, "audience": "customer"}]);
    app.put(
        &format!("/api/v1/incidents/{incident}/report"),
        json!({"title": HOSTILE, "sections": sections}),
    )
    .await
    .expect(200);
    for phase in ["detection", "update", "resolution", "report"] {
        let notice = app
            .post(
                &format!("/api/v1/incidents/{incident}/notices"),
                json!({
                    "phase": phase,
                    "subject": HOSTILE,
                    "message": HOSTILE,
                    "customer_action": {"required": true, "text": HOSTILE},
                }),
            )
            .await
            .expect(201)
            .id();
        app.send_as_previewed(&notice).await;
        app.done(&notice).await;
    }
    let mails = app.mails(12).await;
    for mail in &mails {
        for tag in ["<script", "<img"] {
            assert!(!mail.html.contains(tag), "{tag} in {}", mail.html);
        }
        assert!(
            mail.html.contains("&lt;script&gt;alert(&quot;1&quot;)"),
            "{}",
            mail.html
        );
        // A value is not interpreted as a template.
        assert!(mail.html.contains("{{sender}}"), "{}", mail.html);
        // The text part is not changed.
        assert!(mail.flat().contains(HOSTILE), "{}", mail.text);
        assert_eq!(mail.subject, HOSTILE);
    }
    app.finish().await;
}

async fn a_line_break_cannot_add_a_header(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let attack = "Files\r\nBcc: everybody@evil.example\r\n\r\nBuy this";
    let events = env.count("audit_events");
    let notices = format!("/api/v1/incidents/{incident}/notices");
    app.post(
        &notices,
        json!({"phase": "detection", "message": "We know of it.", "subject": attack}),
    )
    .await
    .expect_invalid("/subject");
    app.put(
        "/api/v1/people/amina",
        json!({"name": attack, "email": "amina@nyota-films.example"}),
    )
    .await
    .expect_invalid("/name");
    app.put(
        "/api/v1/people/amina",
        json!({"name": "Amina", "email": "amina@nyota-films.example\r\nBcc: everybody@evil.example"}),
    )
    .await
    .expect_invalid("/email");
    assert_eq!(env.count("audit_events"), events, "something was changed");

    // The template puts the name of a resource into the subject, and the name can come from anywhere. Here it
    // is written directly to the database.
    env.sql(
        "UPDATE resources SET name = 'Files' || chr(13) || chr(10) || 'Bcc: everybody@evil.example' WHERE id = 'interview-v1'"
            .replace("chr(", if env.database_url.starts_with("sqlite") { "char(" } else { "chr(" })
            .as_str(),
    )
    .unwrap();
    env.sql(
        "UPDATE people SET name = 'Amina' || chr(13) || chr(10) || 'Bcc: everybody@evil.example' WHERE id = 'amina'"
            .replace("chr(", if env.database_url.starts_with("sqlite") { "char(" } else { "chr(" })
            .as_str(),
    )
    .unwrap();
    app.delete(&format!(
        "/api/v1/incidents/{incident}/affected/file/interview-v2"
    ))
    .await
    .expect(204);
    app.tell(&incident, "detection").await;
    for mail in app.mails(3).await {
        assert_eq!(mail.header("bcc"), "", "{}", mail.caught.text_lossy());
        assert_eq!(
            mail.subject,
            "We are working on a problem with Files Bcc: everybody@evil.example"
        );
    }
    app.finish().await;
}

async fn names_and_subjects_of_all_scripts_arrive(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.put(
        "/api/v1/people/amina",
        json!({"name": "أمينة \"Mina\", Ñjeri, 阿米娜 🎬", "email": "amina@nyota-films.example"}),
    )
    .await
    .expect(200);
    let subject = "Dateien in „Savanne im Morgengrauen“: 阿米娜、ናይሮቢ 🎬, und noch einiges mehr, damit die Zeile lang wird";
    let notice = app
        .post(
            &format!("/api/v1/incidents/{incident}/notices"),
            json!({"phase": "detection", "message": "Wir wissen davon: 阿米娜 🎬.", "subject": subject}),
        )
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&notice).await;
    let mails = app.mails(3).await;
    for mail in &mails {
        assert_eq!(mail.subject, subject);
        let head = mail.caught.text_lossy();
        let head = head.split("\r\n\r\n").next().unwrap_or_default();
        assert!(head.is_ascii(), "{head}");
        for part in [&mail.text, &mail.html] {
            assert!(part.contains("Wir wissen davon: 阿米娜 🎬."), "{part}");
        }
    }
    let hers = mails
        .iter()
        .find(|mail| mail.to.starts_with("amina@"))
        .expect("a mail");
    let message = mail_parser::MessageParser::default()
        .parse(&hers.caught.data)
        .expect("a mail");
    let to = message.to().and_then(|to| to.first()).expect("one recipient");
    assert_eq!(to.name(), Some("أمينة \"Mina\", Ñjeri, 阿米娜 🎬"));
    assert_eq!(to.address(), Some("amina@nyota-films.example"));
    app.finish().await;
}

/// Texts that an email program could misinterpret: an encoded word, an address, the end of a name.
const MISLEADING: [&str; 6] = [
    "=?utf-8?q?Account_suspended?=",
    "Problem =?utf-8?B?SGVsbG8=?= =?utf-8?q?=41?= here",
    "ceo@bank.example, \"Kim\" <kim@bank.example>; (x) \\",
    "A word of many letters: \
     Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaftxxxxxxxxxxxxxxxxxxxxxxxxxx ende",
    "👩\u{200d}👩\u{200d}👧 👍🏽 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} family 👩\u{200d}👩\u{200d}👧 👍🏽 again and again",
    "invoice \u{202e}fdp.exe\u{202c} of \u{2067}שלום\u{2069}  ",
];

async fn what_is_previewed_is_what_is_read(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.mail_from = "=?utf-8?q?Bank?= <candor@candor.example>".to_owned())
        .start()
        .await;
    let incident = app.story_incident().await;
    let mut sent = 0;
    for text in MISLEADING {
        app.put(
            "/api/v1/people/amina",
            json!({"name": text, "email": "amina@nyota-films.example"}),
        )
        .await
        .expect(200);
        app.put(
            "/api/v1/resources/file/interview-v1",
            json!({"name": text, "parent": {"type": "media", "id": "interview"}}),
        )
        .await
        .expect(200);
        let notice = app
            .post(
                &format!("/api/v1/incidents/{incident}/notices"),
                json!({"phase": "update", "message": format!("{text}\n\nMore."), "subject": text}),
            )
            .await
            .expect(201)
            .id();
        let preview = app.preview(&notice).await.expect(200);
        let samples = preview["samples"].as_array().expect("samples").clone();
        app.send_as_previewed(&notice).await;
        app.done(&notice).await;
        sent += 3;
        let mails = app.mails(sent).await;
        for mail in &mails[sent - 3..] {
            let sample = samples
                .iter()
                .find(|sample| sample["to"] == mail.to)
                .expect("a sample for each");
            assert_eq!(sample["subject"], mail.subject, "{text}");
            // The links in the preview belong to no delivery.
            let same = |previewed: &serde_json::Value, read: &str| {
                let shown = |text: &str| -> Vec<String> {
                    text.replace("\r\n", "\n")
                        .lines()
                        .filter(|line| {
                            !["/unsubscribe/", "/answers/", "/mine/"]
                                .iter()
                                .any(|link| line.contains(link))
                        })
                        .map(str::to_owned)
                        .collect()
                };
                assert_eq!(shown(previewed.as_str().expect("a text")), shown(read), "{text}");
            };
            same(&sample["text"], &mail.text);
            same(&sample["html"], &mail.html);
            let message = mail_parser::MessageParser::default()
                .parse(&mail.caught.data)
                .expect("a mail");
            let from = message.from().and_then(|from| from.first()).expect("a sender");
            assert_eq!(from.name(), Some("=?utf-8?q?Bank?="));
            if mail.to.starts_with("amina@") {
                let to: Vec<_> = message.to().expect("a recipient").iter().collect();
                assert_eq!(to.len(), 1, "{text}: a name became an address");
                assert_eq!(to[0].address(), Some("amina@nyota-films.example"));
                let name = to[0].name().expect("a name");
                // No character changes the direction of the text after it.
                assert!(
                    !name.contains(['\u{202e}', '\u{202c}', '\u{2067}', '\u{2069}']),
                    "{name}"
                );
                assert!(
                    mail.flat().contains(name.trim_end_matches('…'))
                        || mail.text.contains(name.trim_end_matches('…')),
                    "the header's name is the one of the text: {name}"
                );
            }
        }
    }
    app.finish().await;
}

async fn the_link_opts_out_of_updates_alone(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(3).await;
    let hers = mails
        .iter()
        .find(|mail| mail.to.starts_with("amina@"))
        .expect("a mail");
    let link = hers.header("list-unsubscribe");
    let link = link.trim_matches(['<', '>']);
    assert!(hers.text.contains(link), "{}", hers.text);
    // Scanners follow links, so a GET changes nothing.
    app.anonymous().get(link).await.expect(200);
    assert_eq!(env.count("opt_outs"), 0);
    // One click, and then another one.
    for _ in 0..2 {
        app.anonymous()
            .post_raw(
                link,
                "application/x-www-form-urlencoded",
                "List-Unsubscribe=One-Click",
            )
            .await
            .expect(200);
        assert_eq!(env.count("opt_outs"), 1);
    }
    app.anonymous()
        .post_raw(
            &format!("{link}x"),
            "application/x-www-form-urlencoded",
            "List-Unsubscribe=One-Click",
        )
        .await
        .expect(404);
    let update = app.tell(&incident, "update").await;
    let mails = app.mails(5).await;
    assert!(
        mails[3..].iter().all(|mail| mail.to != hers.to),
        "an update after the opt-out"
    );
    assert_eq!(app.notice(&update).await["not_told_yet"], 0);
    // A resolution is not an update, so it is still sent.
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    let mails = app.mails(8).await;
    assert!(mails[5..].iter().any(|mail| mail.to == hers.to));
    app.finish().await;
}

async fn each_phase_reads_as_in_its_snapshot(env: Env) {
    let app = TestApp::builder(&env)
        .at("2024-03-14T09:56:00+03:00")
        .config(|config| {
            config.mail_from = "Quickbyte <help@quickbyte.example>".to_owned();
            config.public_url = Some("https://candor.quickbyte.example".to_owned());
        })
        .start()
        .await;
    let incident = app.story_incident().await;
    app.patch(
        &format!("/api/v1/incidents/{incident}"),
        json!({"started_at": "2024-03-14T09:51:00+03:00"}),
    )
    .await
    .expect(200);
    let nothing = json!({"required": false});
    let todo =
        json!({"required": true, "text": "Please open each file once.\nTell us if one does not open."});
    let notices = [
        (
            "detection",
            "09:56",
            "Some of your files cannot be opened.\n\nNothing is lost.",
            &nothing,
        ),
        (
            "update",
            "10:10",
            "We know the cause and are testing the patch.",
            &nothing,
        ),
        ("resolution", "10:24", "Your files can be opened again.", &todo),
        ("report", "11:00", "Thank you for your patience.", &nothing),
    ];
    for (number, (phase, time, message, action)) in notices.into_iter().enumerate() {
        app.set_clock(&format!("2024-03-14T{time}:00+03:00"));
        if phase == "resolution" {
            app.resolve(&incident).await;
        }
        if phase == "report" {
            let sections = json!([
                {"heading": "What happened", "text": "A storage handler was missing.\n\nIt is back.", "audience": "public"},
                {"heading": "What we do about it", "text": "We move your files.", "audience": "customer"},
                {"heading": "Root cause", "text": "A flag.", "audience": "internal"},
            ]);
            app.put(
                &format!("/api/v1/incidents/{incident}/report"),
                json!({"title": "Files that could not be opened", "sections": sections}),
            )
            .await
            .expect(200);
        }
        let body = json!({"phase": phase, "message": message, "customer_action": action});
        let notice = app
            .post(&format!("/api/v1/incidents/{incident}/notices"), body)
            .await
            .expect(201)
            .id();
        app.send_as_previewed(&notice).await;
        app.done(&notice).await;
        let mails = app.mails(3 * (number + 1)).await;
        let mail = mails[3 * number..]
            .iter()
            .find(|mail| mail.to.starts_with("amina@"))
            .expect("the owner's mail");
        let link = mail.header("list-unsubscribe");
        let redacted = |part: &str| {
            let text = without_token(part).replace("\r\n", "\n").replace(
                link.trim_matches(['<', '>']),
                "https://candor.quickbyte.example/unsubscribe/TOKEN",
            );
            let mut parts = text.split("/answers/");
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |whole, part| {
                let (_, after) = part.split_once('?').expect("a chosen answer");
                whole + "/answers/TOKEN?" + after
            })
        };
        let text = format!("Subject: {}\n\n{}", mail.subject, redacted(&mail.text));
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(format!("mail_{phase}_text"), text);
            insta::assert_snapshot!(format!("mail_{phase}_html"), redacted(&mail.html));
        });
    }
    app.finish().await;
}
