//! A customer gets an email in their language: that of the person, else that of the account, else that of the installation. The message
//! is in it if the operator wrote it in it, and the preview says how many people get it in another one.

use candor::base::language::Language;
use serde_json::{Value, json};

use crate::support::{Env, Mail, TestApp, on_both_databases};

on_both_databases!(
    a_person_gets_the_language_of_the_person_or_the_account,
    the_message_is_in_the_language_that_it_is_written_in,
    a_translation_is_checked_like_the_message,
    a_change_of_a_translation_makes_a_new_digest,
    the_language_is_frozen_with_the_notice,
    the_language_of_the_installation_is_used_without_another,
    values_and_an_action_are_checked_in_each_language,
    the_pages_write_and_show_the_languages,
    the_page_for_answers_and_errors_speak_the_language,
);

/// Amélie reads French and her account German. Bernd has only the language of that account. Carla's language is not known to Candor, and her
/// account has none. Dora has none, and neither has her account.
fn directory() -> String {
    let person = |id: &str, name: &str, locale: Option<&str>| {
        let mut line =
            json!({"kind": "person", "id": id, "name": name, "email": format!("{id}@example.com")});
        if let Some(locale) = locale {
            line["locale"] = json!(locale);
        }
        line
    };
    let owner = |account: &str, person: &str| json!({"kind": "member", "account": account, "person": person, "role": "owner"});
    let lines = [
        json!({"kind": "account", "id": "acme", "name": "Acme", "locale": "de-CH"}),
        json!({"kind": "account", "id": "beta", "name": "Beta"}),
        person("amelie", "Amélie", Some("fr-FR")),
        person("bernd", "Bernd", None),
        person("carla", "Carla", Some("nl")),
        person("dora", "Dora", None),
        owner("acme", "amelie"),
        owner("acme", "bernd"),
        owner("beta", "carla"),
        owner("beta", "dora"),
        json!({"kind": "resource", "type": "file", "id": "a", "account": "acme", "name": "a.mp4"}),
        json!({"kind": "resource", "type": "file", "id": "b", "account": "beta", "name": "b.mp4"}),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn start(env: &Env) -> (TestApp, String) {
    let app = TestApp::start(env).await;
    app.import(directory()).await.expect(200);
    let incident = app.incident([("file", "a"), ("file", "b")]).await;
    (app, incident)
}

async fn drafted(app: &TestApp, incident: &str, body: Value) -> String {
    let path = format!("/api/v1/incidents/{incident}/notices");
    app.post(&path, body).await.expect(201).id()
}

fn to<'a>(mails: &'a [Mail], person: &str) -> &'a Mail {
    let found = mails
        .iter()
        .find(|mail| mail.to.starts_with(&format!("{person}@")));
    found.unwrap_or_else(|| panic!("no email to {person}"))
}

async fn a_person_gets_the_language_of_the_person_or_the_account(env: Env) {
    let (app, incident) = start(&env).await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(4).await;
    for (person, language, subject) in [
        ("amelie", "fr, en", "Nous travaillons sur un problème avec a.mp4"),
        ("bernd", "de, en", "Wir arbeiten an einem Problem mit a.mp4"),
        ("carla", "en", "We are working on a problem with b.mp4"),
        ("dora", "en", "We are working on a problem with b.mp4"),
    ] {
        let mail = to(&mails, person);
        assert_eq!(mail.subject, subject);
        assert_eq!(mail.header("content-language"), language, "{person}");
    }
    let french = to(&mails, "amelie").flat();
    assert!(french.contains("Bonjour Amélie,"), "{french}");
    assert!(
        french.contains("Vous recevez cet e-mail parce que vous êtes propriétaire de Acme"),
        "{french}"
    );
    // The message is not written in French, so the HTML says in which language it is.
    let html = &to(&mails, "amelie").html;
    assert!(
        html.contains("<html lang=\"fr\" dir=\"ltr\"") && html.contains("<p dir=\"auto\" lang=\"en\""),
        "{html}"
    );
    assert!(!to(&mails, "dora").html.contains(" lang=\"en\" style"));
    app.finish().await;
}

async fn the_message_is_in_the_language_that_it_is_written_in(env: Env) {
    let (app, incident) = start(&env).await;
    let german = json!({"headline": "Dateien fehlen", "message": "Wir suchen die Ursache."});
    let body = json!({"phase": "detection", "headline": "Files are missing", "message": "We look for the cause.", "translations": {"de": german}});
    let notice = drafted(&app, &incident, body).await;
    let preview = app.preview(&notice).await.expect(200);
    // Nobody wrote it in French, but in the language of the account.
    let expected = json!([
        {"locale": "en", "people": 2},
        {"locale": "de", "people": 1},
        {"locale": "fr", "people": 1, "fallback": "de"},
    ]);
    assert_eq!(preview["languages"], expected);
    let warnings = preview["warnings"].to_string();
    assert!(
        warnings.contains(
            "1 person reads French, and the message is not written in French: they get it in German"
        ),
        "{warnings}"
    );
    let locales: Vec<&Value> = preview["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| &sample["locale"])
        .collect();
    for language in ["en", "de", "fr"] {
        assert!(locales.contains(&&json!(language)), "{locales:?}");
    }
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let mails = app.mails(4).await;
    let (french, german, english) = (to(&mails, "amelie"), to(&mails, "bernd"), to(&mails, "dora"));
    assert_eq!(german.subject, "[Candor] Dateien fehlen: wir arbeiten daran (#1)");
    assert!(
        german.text.contains("Wir suchen die Ursache.") && !german.text.contains("We look"),
        "{}",
        german.text
    );
    assert_eq!(
        french.subject,
        "[Candor] Dateien fehlen : nous y travaillons (#1)"
    );
    assert!(
        french.text.contains("Bonjour Amélie") && french.text.contains("Wir suchen die Ursache."),
        "{}",
        french.text
    );
    assert_eq!(french.header("content-language"), "fr, de");
    assert!(
        english.text.contains("We look for the cause."),
        "{}",
        english.text
    );
    // A late email has the same texts.
    let shown = app.notice(&notice).await;
    assert_eq!(shown["translations"]["de"]["message"], "Wir suchen die Ursache.");
    app.finish().await;
}

async fn a_translation_is_checked_like_the_message(env: Env) {
    let (app, incident) = start(&env).await;
    let path = format!("/api/v1/incidents/{incident}/notices");
    let with = |de: Value| json!({"phase": "detection", "message": "We know.", "translations": {"de": de}});
    for (de, place) in [
        (json!({"message": " "}), "/translations/de/message"),
        (json!({"message": "x".repeat(20_001)}), "/translations/de/message"),
        (
            json!({"message": "Gut.", "subject": "a\nb"}),
            "/translations/de/subject",
        ),
        (
            json!({"message": "Gut.", "headline": "h".repeat(121)}),
            "/translations/de/headline",
        ),
        (
            json!({"message": "Gut.", "customer_action": {"required": false}}),
            "/translations/de/customer_action/required",
        ),
        (
            json!({"message": "{{recovery.left}} Dateien"}),
            "/translations/de/message",
        ),
    ] {
        app.post(&path, with(de)).await.expect_invalid(place);
    }
    for wrong in [
        json!({"xx": {"message": "?"}}),
        json!({"de": {"message": "Gut.", "text": "?"}}),
        json!({"de": {}}),
    ] {
        let body = json!({"phase": "detection", "message": "We know.", "translations": wrong});
        app.post(&path, body).await.expect(422);
    }
    // A placeholder in a translation keeps the notice from being sent, as in the message.
    let notice = drafted(&app, &incident, with(json!({"message": "Es begann um [time]."}))).await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(preview["has_placeholders"], true);
    assert!(
        preview["warnings"]
            .to_string()
            .contains("the German message contains placeholder text"),
        "{}",
        preview["warnings"]
    );
    let digest = preview["digest"].as_str().unwrap().to_owned();
    let refused = app.send(&notice, &digest).await.expect(422);
    assert_eq!(refused.places(), ["/translations/de/message"]);
    app.finish().await;
}

async fn a_change_of_a_translation_makes_a_new_digest(env: Env) {
    let (app, incident) = start(&env).await;
    let body = json!({"phase": "detection", "message": "We know.", "translations": {"de": {"message": "Wir wissen es."}}});
    let notice = drafted(&app, &incident, body).await;
    let path = format!("/api/v1/notices/{notice}");
    let first = app.digest(&notice).await;
    // The same again is no change.
    app.patch(
        &path,
        json!({"translations": {"de": {"message": "Wir wissen es."}}}),
    )
    .await
    .expect(200);
    assert_eq!(app.digest(&notice).await, first);
    app.patch(
        &path,
        json!({"translations": {"de": {"message": "Wir wissen es jetzt."}}}),
    )
    .await
    .expect(200);
    let second = app.digest(&notice).await;
    assert_ne!(second, first);
    let refused = app.send(&notice, &first).await.expect(409);
    assert_eq!(refused["code"], "changed_since_preview");
    // Other fields leave the translations as they are, and an empty object removes all of them.
    let changed = app
        .patch(&path, json!({"message": "We know it."}))
        .await
        .expect(200);
    assert_eq!(changed["translations"]["de"]["message"], "Wir wissen es jetzt.");
    let changed = app.patch(&path, json!({"translations": {}})).await.expect(200);
    assert_eq!(changed["translations"], json!({}));
    let events = app
        .get(&format!("/api/v1/audit?subject={notice}&action=notice.changed"))
        .await
        .expect(200);
    assert!(
        events
            .items()
            .iter()
            .any(|event| event["before"]["translations"]["de"]["message"] == "Wir wissen es."),
        "{events:?}"
    );
    app.finish().await;
}

async fn the_language_is_frozen_with_the_notice(env: Env) {
    let (app, incident) = start(&env).await;
    let notice = app.tell(&incident, "detection").await;
    let mails = app.mails(4).await;
    let person = json!({"name": "Amélie", "email": "amelie@example.com", "locale": "ar"});
    app.put("/api/v1/people/amelie", person).await.expect(200);
    let deliveries = app.deliveries(&notice).await;
    let delivery = deliveries
        .iter()
        .find(|one| one["address"] == "amelie@example.com")
        .expect("the delivery");
    let sent = app.request(
        reqwest::Method::GET,
        &format!("/api/v1/deliveries/{}/mail", delivery["id"]),
    );
    let (_, bytes) = sent.download().await;
    let as_sent = String::from_utf8(bytes).expect("UTF-8");
    assert!(
        as_sent.contains("Content-Language: fr, en\r\n") && as_sent.contains("Bonjour Am"),
        "{as_sent}"
    );
    // The page behind the links of that email speaks its language, and the next notice that of the person.
    let (_, rest) = to(&mails, "amelie")
        .text
        .split_once("/unsubscribe/")
        .expect("a link");
    let path = format!(
        "/unsubscribe/{}",
        rest.split_whitespace().next().expect("a token")
    );
    let page = app.anonymous().get(&path).await.expect(200);
    assert!(
        page.text.contains("<html lang=\"fr\" dir=\"ltr\">")
            && page.text.contains("Ne plus recevoir les points d’avancement"),
        "{}",
        page.text
    );
    let asked = app.anonymous().get(&format!("{path}?lang=ja")).await.expect(200);
    assert!(
        asked.text.contains("<html lang=\"ja\"")
            && asked.text.contains(&format!("action=\"{path}?lang&#x3D;ja\"")),
        "{}",
        asked.text
    );
    app.tell(&incident, "update").await;
    let mails = app.mails(8).await;
    let arabic = to(&mails[4..], "amelie");
    assert_eq!(arabic.header("content-language"), "ar, en");
    assert!(
        arabic.html.contains("<html lang=\"ar\" dir=\"rtl\"") && arabic.text.contains("مرحبًا Amélie"),
        "{}",
        arabic.text
    );
    app.finish().await;
}

async fn the_language_of_the_installation_is_used_without_another(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.language = Language::Sw)
        .start()
        .await;
    app.import(directory()).await.expect(200);
    let incident = app.incident([("file", "a"), ("file", "b")]).await;
    let translations = json!({"en": {"message": "We know."}, "sw": {"message": "Tunajua tena."}});
    let body = json!({"phase": "detection", "message": "Tunajua.", "translations": translations});
    let notice = drafted(&app, &incident, body).await;
    let preview = app.preview(&notice).await.expect(200);
    let warnings = preview["warnings"].to_string();
    assert!(
        warnings.contains("the translation into Swahili is not used"),
        "{warnings}"
    );
    assert!(
        warnings.contains(
            "1 person reads French, and the message is not written in French: they get it in Swahili"
        ),
        "{warnings}"
    );
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let mails = app.mails(4).await;
    let dora = to(&mails, "dora");
    assert!(
        dora.text.contains("Habari Dora,")
            && dora.text.contains("Tunajua.")
            && !dora.text.contains("Tunajua tena"),
        "{}",
        dora.text
    );
    app.finish().await;
}

async fn values_and_an_action_are_checked_in_each_language(env: Env) {
    let (app, incident) = start(&env).await;
    app.resolve(&incident).await;
    let path = format!("/api/v1/incidents/{incident}/notices");
    let action = |text: &str| json!({"required": true, "text": text});
    let mut body = json!({
        "phase": "resolution", "message": "It works.", "customer_action": action("Use {{values.code}}."),
        "translations": {"de": {"message": "Es geht wieder."}},
    });
    app.post(&path, body.clone())
        .await
        .expect_invalid("/translations/de/customer_action");
    body["translations"]["de"]["customer_action"] = json!({"required": false});
    app.post(&path, body.clone())
        .await
        .expect_invalid("/translations/de/customer_action/required");
    body["translations"]["de"]["customer_action"] = action("Nutzen Sie {{values.gutschein}}.");
    let notice = drafted(&app, &incident, body).await;
    let preview = app.preview(&notice).await.expect(200);
    // The key of the translation counts as used.
    assert_eq!(preview["missing_values"][0]["keys"], json!(["code", "gutschein"]));
    // Removing the action of the notice alone would leave the readers of German with another one.
    app.patch(
        &format!("/api/v1/notices/{notice}"),
        json!({"customer_action": {"required": false}}),
    )
    .await
    .expect_invalid("/translations/de/customer_action/required");
    app.finish().await;
}

async fn the_pages_write_and_show_the_languages(env: Env) {
    let (app, incident) = start(&env).await;
    let body = json!({"phase": "detection", "message": "We know.", "translations": {"de": {"subject": "Betreff", "message": "Wir wissen es."}}});
    let notice = drafted(&app, &incident, body).await;
    let check = app.admin_page(&format!("/admin/notices/{notice}")).await;
    assert!(
        check.contains(">German</a>: 1 person") && check.contains("(the message is in German)"),
        "{check}"
    );
    let write = app.admin_page(&format!("/admin/notices/{notice}/write")).await;
    assert!(
        write.contains("name=\"translations.de.message\"") && write.contains("Wir wissen es."),
        "{write}"
    );
    // The message itself is English, so there is no section for a translation into English.
    assert!(!write.contains("name=\"translations.en.message\""), "{write}");
    app.finish().await;
}

async fn the_page_for_answers_and_errors_speak_the_language(env: Env) {
    let (app, incident) = start(&env).await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(4).await;
    let (_, rest) = to(&mails, "bernd").text.split_once("/answers/").expect("a link");
    let token = rest.split(['?', '\n', '\r']).next().expect("a token");
    let path = format!("/answers/{token}");
    let page = app
        .anonymous()
        .get(&format!("{path}?answer=broken"))
        .await
        .expect(200);
    assert!(
        page.text.contains("<html lang=\"de\"") && page.text.contains("Funktioniert bei Ihnen alles?"),
        "{}",
        page.text
    );
    assert!(
        page.text.contains("checked> Funktioniert noch nicht") && page.text.contains("a.mp4"),
        "{}",
        page.text
    );
    let form = "application/x-www-form-urlencoded";
    let wrong = app
        .anonymous()
        .post_raw(&format!("{path}?lang=ar"), form, "text=x")
        .await
        .expect(422);
    assert!(
        wrong.text.contains("dir=\"rtl\"") && wrong.text.contains("اختاروا أحد الأجوبة الثلاثة."),
        "{}",
        wrong.text
    );
    let long = format!("answer=help&text={}", "x".repeat(4_001));
    let wrong = app.anonymous().post_raw(&path, form, long).await.expect(422);
    assert!(wrong.text.contains("höchstens 4.000 Zeichen"), "{}", wrong.text);
    let done = app
        .anonymous()
        .post_raw(&path, form, "answer=help&text=Hilfe")
        .await
        .expect(200);
    assert!(
        done.text.contains("Ihre Antwort ist gespeichert")
            && done.text.contains("<strong>Ich brauche Hilfe</strong>"),
        "{}",
        done.text
    );
    // Without a person, the browser decides, and English says exactly what is wrong.
    for (accepted, said) in [
        ("fr-CA, en;q=0.5", "Ce lien n’est pas valable ou a expiré"),
        ("nl", "this link is not valid or has expired"),
    ] {
        let request = app.anonymous().request(reqwest::Method::GET, "/answers/forged");
        let request = request
            .header("accept", "text/html")
            .header("accept-language", accepted);
        let page = request.send().await.expect(404);
        assert!(page.text.contains(said), "{}", page.text);
    }
    app.finish().await;
}
