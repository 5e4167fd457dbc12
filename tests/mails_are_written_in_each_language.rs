//! The email of each phase in each language is the one that was reviewed, and none has an English sentence in another language.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::recovery::{ACME, OPENED, Stored};
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(the_mails_of_each_phase_read_as_in_their_snapshots);

const LANGUAGES: [&str; 8] = ["en", "de", "fr", "es", "pt", "ja", "sw", "ar"];

/// A headline, a message and what is to be done, in each language but English.
const WRITTEN: [(&str, &str, &str, &str); 7] = [
    (
        "de",
        "Einige große Dateien sind leer",
        "Wir kennen die Ursache.",
        "Bitte öffnen Sie jede Datei einmal.",
    ),
    (
        "fr",
        "Certains gros fichiers sont vides",
        "Nous connaissons la cause.",
        "Veuillez ouvrir chaque fichier une fois.",
    ),
    (
        "es",
        "Algunos archivos grandes están vacíos",
        "Conocemos la causa.",
        "Abra cada archivo una vez.",
    ),
    (
        "pt",
        "Alguns arquivos grandes estão vazios",
        "Conhecemos a causa.",
        "Abra cada arquivo uma vez.",
    ),
    (
        "ja",
        "一部の大きなファイルが空になっています",
        "原因は判明しています。",
        "各ファイルを一度開いてください。",
    ),
    (
        "sw",
        "Baadhi ya faili kubwa ni tupu",
        "Tunajua chanzo chake.",
        "Tafadhali fungua kila faili mara moja.",
    ),
    (
        "ar",
        "بعض الملفات الكبيرة فارغة",
        "نعرف السبب.",
        "يرجى فتح كل ملف مرة واحدة.",
    ),
];

fn directory() -> String {
    let mut lines =
        vec![json!({"kind": "account", "id": "acme", "name": "Acme", "time_zone": "Africa/Nairobi"})];
    for language in LANGUAGES {
        lines.push(json!({
            "kind": "person", "id": language, "name": format!("A & {language}"), "email": format!("{language}@example.com"),
            "locale": format!("{language}-ZZ"),
        }));
        lines.push(json!({"kind": "member", "account": "acme", "person": language, "role": "owner"}));
    }
    lines.extend(ACME.map(|id| json!({"kind": "resource", "type": "file", "id": id, "account": "acme", "name": format!("{id}.mp4")})));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The body of a notice with everything that it can say, in all languages.
fn body(phase: &str, action: bool, more: Value) -> Value {
    let translations: BTreeMap<&str, Value> = WRITTEN
        .iter()
        .map(|(language, headline, message, to_do)| {
            let mut of = json!({"headline": headline, "message": message});
            if action {
                of["customer_action"] = json!({"required": true, "text": to_do});
            }
            (*language, of)
        })
        .collect();
    let mut body = json!({
        "phase": phase, "headline": "Some large files are empty", "message": "We know the cause.", "translations": translations,
    });
    if action {
        body["customer_action"] = json!({"required": true, "text": "Please open each file once."});
    }
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// Returns the English sentences of a file of words: the parts between their placeholders that no other language can have by chance.
fn english(file: &str) -> Vec<String> {
    let words: toml::Table = toml::from_str(file).expect("words");
    let mut sentences = Vec::new();
    for entry in words.values() {
        let texts: Vec<&str> = match &entry["en"] {
            toml::Value::String(text) => vec![text],
            toml::Value::Table(forms) => forms.values().filter_map(toml::Value::as_str).collect(),
            _ => Vec::new(),
        };
        for text in texts {
            let parts = text.split(['{', '}']).step_by(2).map(str::trim);
            let words = |part: &str| {
                part.split(' ')
                    .filter(|word| word.chars().any(char::is_alphabetic))
                    .count()
            };
            let long = parts.filter(|part| part.len() > 7 && words(part) > 1 && !part.contains(','));
            sentences.extend(long.map(str::to_owned));
        }
    }
    sentences
}

fn without_style(html: &str) -> String {
    let style = regex::Regex::new(r#"(?s)<style>.*?</style>| (style|bgcolor|cellpadding|cellspacing|border|width|role)="[^"]*"|&#847;&zwnj;&nbsp;|<!--.*?-->"#)
        .expect("a pattern");
    style.replace_all(html, "").into_owned()
}

/// Compares the previewed emails of a draft with their snapshots, and checks the rules.
async fn compare(app: &TestApp, phase: &str, notice: &str) {
    let preview = app.preview(notice).await.expect(200);
    assert!(
        !preview["warnings"]
            .to_string()
            .contains("the message is not written in"),
        "{}",
        preview["warnings"]
    );
    let mut sentences = english(include_str!("../templates/words/mail.toml"));
    sentences.extend(english(include_str!("../templates/words/phrases.toml")));
    assert!(sentences.len() > 60, "{sentences:?}");
    let samples = preview["samples"].as_array().expect("samples");
    for language in LANGUAGES {
        let sample = samples.iter().find(|sample| sample["locale"] == language);
        let sample = sample.unwrap_or_else(|| panic!("{phase}: no email in {language}"));
        let part = |name: &str| sample[name].as_str().expect("a text").to_owned();
        let (subject, text, html) = (part("subject"), part("text"), without_style(&part("html")));
        let direction = if language == "ar" { "rtl" } else { "ltr" };
        assert!(
            html.contains(&format!("<html lang=\"{language}\" dir=\"{direction}\"")),
            "{phase} {language}: {html}"
        );
        for shown in [&subject, &text, &html] {
            assert!(!shown.contains(['{', '}']), "{phase} {language}: {shown}");
            if language != "en" {
                let flat = shown.split_whitespace().collect::<Vec<_>>().join(" ");
                let left = sentences.iter().find(|sentence| flat.contains(sentence.as_str()));
                assert_eq!(left, None, "{phase} {language}: {flat}");
                assert!(
                    !shown.contains("We know") && !shown.contains("large files"),
                    "{phase} {language}: {shown}"
                );
            }
        }
        let text = format!("Subject: {subject}\n\n{text}");
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "snapshots/languages"}, {
            insta::assert_snapshot!(format!("{phase}_{language}_text"), text);
            insta::assert_snapshot!(format!("{phase}_{language}_html"), html);
        });
    }
}

async fn drafted(app: &TestApp, incident: &str, body: Value) -> String {
    let path = format!("/api/v1/incidents/{incident}/notices");
    app.post(&path, body).await.expect(201).id()
}

async fn the_mails_of_each_phase_read_as_in_their_snapshots(env: Env) {
    let app = TestApp::builder(&env)
        .at(OPENED)
        .config(|config| {
            config.mail_from = "Quickbyte <help@quickbyte.example>".to_owned();
            config.public_url = Some("https://candor.example".to_owned());
            config.support_url = Some("https://help.example/".to_owned());
        })
        .start()
        .await;
    app.import(directory()).await.expect(200);
    let incident = app.incident(ACME.map(|id| ("file", id))).await;
    let detection = body(
        "detection",
        false,
        json!({"next_update_due_at": "2024-04-20T23:30:00Z", "customer_action": {"required": false}}),
    );
    let detection = drafted(&app, &incident, detection).await;
    compare(&app, "detection", &detection).await;
    app.send_as_previewed(&detection).await;
    app.done(&detection).await;
    let stored = Stored { app, incident };
    stored.begin(&ACME).await;
    stored.recover("2024-04-20T11:00:00Z", &["a1"]).await;
    let (app, incident) = (&stored.app, &stored.incident);
    let update = drafted(app, incident, body("update", true, json!({}))).await;
    compare(app, "update", &update).await;
    // Without a headline, the subject names what is affected.
    let mut bare = body("update", false, json!({"headline": null}));
    for of in bare["translations"]
        .as_object_mut()
        .expect("translations")
        .values_mut()
    {
        of.as_object_mut().expect("a translation").remove("headline");
    }
    let bare = drafted(app, incident, bare).await;
    compare(app, "update_without_headline", &bare).await;
    stored.recover("2024-04-20T12:00:00Z", &ACME[1..]).await;
    let recovery = drafted(app, incident, body("recovery", true, json!({}))).await;
    compare(app, "recovery", &recovery).await;
    app.set_clock("2024-04-20T13:00:00Z");
    app.resolve(incident).await;
    let resolution = drafted(app, incident, body("resolution", true, json!({}))).await;
    compare(app, "resolution", &resolution).await;
    let sections = json!([{"heading": "…", "text": "…", "audience": "public"}]);
    app.put(
        &format!("/api/v1/incidents/{incident}/report"),
        json!({"title": "…", "sections": sections}),
    )
    .await
    .expect(200);
    let report = drafted(app, incident, body("report", false, json!({}))).await;
    compare(app, "report", &report).await;
    for file in ACME {
        app.delete(&format!("/api/v1/incidents/{incident}/affected/file/{file}"))
            .await
            .expect(204);
    }
    let correction = drafted(
        app,
        incident,
        body("correction", false, json!({"corrects": detection})),
    )
    .await;
    compare(app, "correction", &correction).await;
    stored.app.finish().await;
}
