//! Addresses that differ only in their spelling are one recipient, one opt-out and one suppression. A report
//! about any spelling finds its delivery. An address that cannot be sent to is refused when it arrives.

use std::collections::BTreeSet;

use candor::base::mailbox::{Mailbox, key_of};
use candor::delivery::email::envelope_address;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::smtp_script::{Act, SmtpScript};
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    three_spellings_get_one_mail_and_share_one_opt_out,
    a_report_about_any_spelling_finds_the_delivery,
    pages_show_a_readable_domain,
    more_spellings_are_one_mailbox_or_are_refused,
    what_cannot_be_sent_to_is_refused_at_the_import,
    an_address_is_looked_up_in_any_spelling,
    addresses_of_an_earlier_version_are_brought_over,
    each_address_that_is_accepted_is_sent_to,
);

/// Returns one account with a project whose owners are these people: `p1`, `p2`, and so on.
fn directory(addresses: &[&str]) -> String {
    let mut lines = vec![
        json!({"kind": "account", "id": "acme", "name": "Acme"}),
        json!({"kind": "resource", "type": "project", "id": "site", "account": "acme", "name": "Site"}),
    ];
    for (index, address) in addresses.iter().enumerate() {
        let id = format!("p{}", index + 1);
        lines.push(json!({"kind": "person", "id": id, "name": format!("Person {id}"), "email": address}));
        lines.push(json!({"kind": "member", "account": "acme", "person": id, "role": "owner"}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn three_spellings_get_one_mail_and_share_one_opt_out(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(directory(&[
        "info@bücher.example",
        "info@BÜCHER.example",
        "Info@xn--bcher-kva.example",
        "info@bu\u{308}cher.example",
        "Kim.Lee@Example.org",
        "kim.lee@example.org",
    ]))
    .await
    .expect(200);
    let incident = app.incident([("project", "site")]).await;
    let notice = app.draft(&incident, "detection").await;
    assert_eq!(app.preview(&notice).await.expect(200)["recipients"], 2);
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let mails = app.mails(2).await;
    let to: BTreeSet<String> = mails.iter().map(|mail| key_of(&mail.to)).collect();
    assert_eq!(
        to,
        BTreeSet::from([
            "info@xn--bcher-kva.example".to_owned(),
            "kim.lee@example.org".to_owned()
        ])
    );
    // The link in this one email opts out all spellings.
    let mail = mails
        .iter()
        .find(|mail| mail.to.ends_with("bcher-kva.example"))
        .expect("the mail");
    let link = mail.header("list-unsubscribe");
    let path = link
        .trim_matches(['<', '>'])
        .split_once("/unsubscribe/")
        .expect("a link")
        .1
        .to_owned();
    app.anonymous()
        .post_raw(
            &format!("/unsubscribe/{path}"),
            "application/x-www-form-urlencoded",
            "List-Unsubscribe=One-Click",
        )
        .await
        .expect(200);
    let update = app.draft(&incident, "update").await;
    let preview = app.preview(&update).await.expect(200);
    assert_eq!(preview["recipients"], 1, "{preview}");
    // The suppression can be removed with any spelling.
    app.delete("/api/v1/suppressions/INFO@B%C3%BCcher.example")
        .await
        .expect(204);
    assert_eq!(app.preview(&update).await.expect(200)["recipients"], 2);
    assert_eq!(env.count("opt_outs"), 0);
    app.finish().await;
}

/// Returns a bounce with the lines of its recipient.
fn bounce(message_id: &str, recipient: &str) -> String {
    format!(
        "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\nTo: candor@localhost\r\n\
         Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"bb\"\r\n\r\n\
         --bb\r\nContent-Type: text/plain\r\n\r\nnot delivered\r\n\
         --bb\r\nContent-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         Reporting-MTA: dns; mx.example.net\r\n\r\n{recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 user unknown\r\n\r\n\
         --bb\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message_id}\r\nSubject: x\r\n\r\n--bb--\r\n"
    )
}

async fn a_report_about_any_spelling_finds_the_delivery(env: Env) {
    let cases = [
        (
            "a@bücher.example",
            "Final-Recipient: rfc822; a@xn--bcher-kva.example",
        ),
        (
            "b@xn--bcher-kva.example",
            "Final-Recipient: rfc822; b@bücher.example",
        ),
        (
            "c@bücher.example",
            "Final-Recipient: utf-8; c@b\\x{FC}cher.example",
        ),
        (
            "jose.d@bücher.example",
            "Final-Recipient: utf-8;Jose.D@BÜCHER.example",
        ),
        (
            "e+f@example.org",
            "Original-Recipient: rfc822;e+2Bf@example.org\r\nFinal-Recipient: rfc822; inner@mail.invalid",
        ),
        ("g@example.org", "Final-Recipient: rfc822; \"g\"@EXAMPLE.org"),
        (
            "josé@example.org",
            "Final-Recipient: utf-8; jos\\x{E9}@example.org",
        ),
        (
            "márta=x@example.org",
            "Final-Recipient: utf-8; M\\x{C1}RTA+3Dx@example.org",
        ),
    ];
    let server = SmtpScript::start(|_| Act::Usual);
    let app = TestApp::builder(&env).relay(server.url()).start().await;
    let addresses: Vec<&str> = cases.iter().map(|(address, _)| *address).collect();
    app.import(directory(&addresses)).await.expect(200);
    let incident = app.incident([("project", "site")]).await;
    let notice = app.tell(&incident, "detection").await;
    let deliveries = app.deliveries(&notice).await;
    assert_eq!(deliveries.len(), cases.len());
    for (address, recipient) in cases {
        let delivery = deliveries
            .iter()
            .find(|delivery| key_of(delivery["address"].as_str().expect("an address")) == key_of(address))
            .unwrap_or_else(|| panic!("no delivery to {address}"));
        let mail = bounce(delivery["message_id"].as_str().expect("an id"), recipient);
        let taken = app
            .post_raw("/api/v1/inbound-mail", "message/rfc822", mail)
            .await
            .expect(202);
        assert_eq!(
            json!([taken["kind"], taken["delivery"], taken["items"][0]["effect"]]),
            json!(["hard", delivery["id"], "bounced"]),
            "{address}, {recipient}: {taken}"
        );
        // People see the decoded address.
        let shown = taken["items"][0]["address"].as_str().expect("an address");
        assert!(!shown.contains("\\x{"), "{recipient}: {shown}");
        let listed = app.get("/api/v1/feedback?limit=1").await.expect(200);
        assert_eq!(listed.items()[0]["address"], shown);
        if recipient.starts_with("Final-Recipient: utf-8; c") {
            assert_eq!(shown, "c@bücher.example");
        }
    }
    assert_eq!(app.addresses(&notice, "bounced").await.len(), cases.len());
    assert_eq!(env.count("opt_outs"), cases.len() as i64);
    // All spellings are left out of optional notices.
    let update = app.draft(&incident, "update").await;
    assert_eq!(app.preview(&update).await.expect(200)["recipients"], 0);
    app.finish().await;
}

async fn pages_show_a_readable_domain(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(directory(&[
        "info@bücher.example",
        "ann@xn--r8jz45g.example",
        "plain@example.org",
    ]))
    .await
    .expect(200);
    let incident = app.incident([("project", "site")]).await;
    let draft = app.draft(&incident, "detection").await;
    let preview = app.admin_page(&format!("/admin/notices/{draft}")).await;
    assert!(preview.contains("bücher.example</span>"), "{preview}");
    let notice = app.tell(&incident, "detection").await;
    let people = app.all("/api/v1/people?limit=100").await;
    let person = people
        .iter()
        .find(|person| {
            person["email"]
                .as_str()
                .is_some_and(|email| email.contains("bcher-kva"))
        })
        .expect("a person")["id"]
        .as_str()
        .expect("an id");
    for path in [
        "/admin/directory/people".to_owned(),
        format!("/admin/directory/people/{person}"),
        format!("/admin/incidents/{incident}/people"),
        format!("/admin/notices/{notice}"),
    ] {
        let page = app.admin_page(&path).await;
        // What Candor sends to is the title of what people read.
        assert!(
            page.contains("<span title=\"info@xn--bcher-kva.example\">info@bücher.example</span>"),
            "{path}: {page}"
        );
        let shown = page
            .replace("title=\"info@xn--", "")
            .replace("title=\"ann@xn--", "");
        assert!(!shown.contains("@xn--"), "{path}: {page}");
        assert!(!page.contains("title=\"plain@"), "{path}: {page}");
        if !path.ends_with(person) {
            assert!(
                page.contains("plain@example.org") && page.contains("ann@例え.example"),
                "{path}: {page}"
            );
        }
    }
    // Programs read the address that Candor sends to.
    let deliveries = app.deliveries(&notice).await;
    assert!(
        deliveries
            .iter()
            .any(|delivery| delivery["address"] == "info@xn--bcher-kva.example"),
        "{deliveries:?}"
    );
    app.finish().await;
}

async fn what_cannot_be_sent_to_is_refused_at_the_import(env: Env) {
    let app = TestApp::start(&env).await;
    for (address, word) in [
        ("\"john doe\"@example.com", "quoted"),
        ("ann@[192.0.2.1]", "IP address"),
        ("ann@192.0.2.1", "IP address"),
        ("zw@example.com\u{200b}", "U+200B"),
        ("\u{feff}ann@example.com", "U+FEFF"),
        ("ann@exam\u{ad}ple.com", "U+00AD"),
        ("ann\u{202e}@example.com", "U+202E"),
        ("ann\u{a0}@example.com", "U+00A0"),
        ("Ann <ann@example.com>", "name"),
        ("mailto:ann@example.com", "mailto"),
        ("ann@example.com, bob@example.com", "comma"),
        ("ann..b@example.com", "dots"),
        ("ann@example.com.", "dot"),
    ] {
        let refused = app
            .put("/api/v1/people/x", json!({"name": "X", "email": address}))
            .await
            .expect_invalid("/email");
        assert!(refused.text.contains(word), "{address}: {refused}");
        let refused = app.import(directory(&[address])).await.expect(422);
        assert!(
            refused.text.contains("email") && refused.text.contains(word),
            "{address}: {refused}"
        );
    }
    assert_eq!(env.count("people"), 0);
    // Unnecessary quotes and white space around an address do not matter.
    for address in ["\"ann\"@example.com", " ann@example.com ", "ann@example.com\t"] {
        let stored = app
            .put("/api/v1/people/x", json!({"name": "X", "email": address}))
            .await;
        assert_eq!(stored["email"], "ann@example.com", "{address:?}");
    }
    app.finish().await;
}

async fn an_address_is_looked_up_in_any_spelling(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(directory(&["Info@bücher.example"])).await.expect(200);
    for spelled in ["info@b%C3%BCcher.example", "INFO@xn--bcher-kva.example"] {
        let found = app.all(&format!("/api/v1/people?email={spelled}")).await;
        assert_eq!(found.len(), 1, "{spelled}");
        assert_eq!(found[0]["email"], "Info@xn--bcher-kva.example");
    }
    app.finish().await;
}

/// The addresses that an earlier version stored are written directly to the database.
async fn addresses_of_an_earlier_version_are_brought_over(env: Env) {
    let mut app = TestApp::start(&env).await;
    app.import(directory(&[
        "a@example.com",
        "b@example.com",
        "c@example.com",
        "d@example.com",
    ]))
    .await
    .expect(200);
    app.stop().await;
    let old = |id: &str, address: &str| format!("UPDATE people SET email = '{address}' WHERE id = '{id}';");
    env.sql(&format!(
        "{}{}{}{} INSERT INTO opt_outs (address, at, reason) VALUES \
         ('info@bücher.example', 1, 'opted_out'), ('info@xn--bcher-kva.example', 2, 'bounced'), \
         ('josé@example.org', 3, 'complained'), ('zw@example.com\u{200b}', 4, 'bounced'); \
         DELETE FROM counters WHERE name = 'mailbox_form';",
        old("p1", "Info@Bücher.example"),
        old("p2", "JOSE\u{301}@example.org"),
        old("p3", "zw@example.com\u{200b}"),
        old("p4", "\"john doe\"@example.com"),
    ))
    .expect("rows of an earlier version");
    // The second start finds nothing to do.
    for _ in 0..2 {
        app.start_again().await;
        assert_eq!(
            env.texts("SELECT email AS value FROM people ORDER BY id"),
            [
                "Info@xn--bcher-kva.example",
                "josé@example.org",
                "zw@example.com",
                "\"john doe\"@example.com"
            ]
        );
        let suppressed: Vec<Value> = app.all("/api/v1/suppressions").await;
        let suppressed: Vec<(&str, &str)> = suppressed
            .iter()
            .map(|one| {
                (
                    one["address"].as_str().expect("an address"),
                    one["reason"].as_str().expect("a reason"),
                )
            })
            .collect();
        assert_eq!(
            suppressed,
            [
                ("info@xn--bcher-kva.example", "opted_out"),
                ("josé@example.org", "complained"),
                ("zw@example.com", "bounced")
            ]
        );
        app.stop().await;
    }
    app.start_again().await;
    // An address that still cannot be sent to is shown with its reason.
    let incident = app.incident([("project", "site")]).await;
    let unreached = app
        .get(&format!("/api/v1/incidents/{incident}/unreached"))
        .await
        .expect(200);
    assert_eq!(unreached.items().len(), 1, "{unreached}");
    assert_eq!(unreached.items()[0]["why"], "no_address");
    assert!(unreached.text.contains("quoted"), "{unreached}");
    app.finish().await;
}

/// Every accepted address, with letters of many scripts, appears in the lines that the server gets.
async fn each_address_that_is_accepted_is_sent_to(env: Env) {
    let addresses = [
        "o'brien+news@example.com",
        "a/b{c}|d~!#$%&*?^`=x@example.com",
        "root@localhost",
        "用户@例え.example",
        "почта@пример.example",
        "x@r3---sn.example.com",
        "\"unneeded\"@example.com",
    ];
    let server = SmtpScript::start(|_| Act::Usual);
    let app = TestApp::builder(&env).relay(server.url()).start().await;
    app.import(directory(&addresses)).await.expect(200);
    let incident = app.incident([("project", "site")]).await;
    let notice = app.tell(&incident, "detection").await;
    assert_eq!(app.notice(&notice).await["counts"]["sent"], addresses.len());
    let named: BTreeSet<String> = server
        .commands()
        .iter()
        .filter_map(|command| command.line.strip_prefix("RCPT TO:<").map(str::to_owned))
        .map(|rest| rest.trim_end().trim_end_matches('>').to_owned())
        .collect();
    let wanted: BTreeSet<String> = addresses
        .iter()
        .map(|address| Mailbox::parse(address).expect("an address").address())
        .collect();
    assert_eq!(named, wanted);
    app.finish().await;
}

/// Returns whether RFC 5321 and RFC 6531 allow the address in `RCPT TO:<…>`, without quotes and literals.
fn is_path(address: &str) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let atom = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| {
                !c.is_ascii() && !c.is_whitespace() && !c.is_control()
                    || c.is_ascii_alphanumeric()
                    || "!#$%&'*+-/=?^_`{|}~".contains(c)
            })
    };
    let label = |text: &str| {
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    local.len() <= 64 && address.len() <= 254 && local.split('.').all(atom) && domain.split('.').all(label)
}

/// Parts of addresses, and things that people put into the field by mistake.
fn address_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-zA-Z0-9]{1,8}",
        2 => "[.+_='!#$%&*/?^`{|}~-]",
        2 => Just("@".to_owned()),
        1 => "[äéßñÇ用户почтаİıﬀ]{1,3}",
        1 => "[\u{200b}\u{feff}\u{ad}\u{202e}\u{a0}\u{e0061}\u{301}\u{308}]",
        1 => "[\"\\\\()<>\\[\\],;: \t\r\n]",
        1 => Just("xn--".to_owned()),
        1 => "[a-z]{50,70}",
    ];
    prop_oneof![
        1 => any::<String>(),
        3 => proptest::collection::vec(piece.clone(), 1..12).prop_map(|pieces| pieces.concat()),
        6 => (
            proptest::collection::vec(piece.clone(), 1..5),
            proptest::collection::vec(piece, 1..5)
        )
            .prop_map(|(local, domain)| format!("{}@{}.example", local.concat(), domain.concat())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_can_be_put_on_an_envelope(text in address_like()) {
        let key = key_of(&text);
        prop_assert_eq!(&key_of(&key), &key, "a key is its own key");
        if let Ok(mailbox) = Mailbox::parse(&text) {
            let address = mailbox.address();
            prop_assert!(is_path(&address), "{:?} became {:?}", text, address);
            let envelope = envelope_address(&text);
            prop_assert!(envelope.is_ok(), "{:?}: {:?}", text, envelope);
            prop_assert_eq!(envelope.expect("checked").to_string(), address.clone());
            // A database compares it by changing the case of ASCII letters.
            prop_assert_eq!(address.to_ascii_lowercase(), mailbox.key());
            prop_assert_eq!(key_of(&address), mailbox.key());
            prop_assert_eq!(key_of(&text), mailbox.key());
        }
    }
}

async fn more_spellings_are_one_mailbox_or_are_refused(env: Env) {
    let app = TestApp::start(&env).await;
    let line =
        |id: &str, email: &str| json!({"kind": "person", "id": id, "name": id, "email": email}).to_string();
    // Several alphabets, letters that are put together, a dot of another width, and capital letters.
    for (group, spellings) in [
        (
            "a",
            &[
                "ann@münchen.example",
                "Ann@mu\u{308}nchen.example",
                "ANN@XN--MNCHEN-3YA.example",
                "ann@MÜNCHEN\u{ff0e}example",
            ][..],
        ),
        ("b", &["søren@ø.example", "SØREN@xn--pda.example"]),
        ("c", &["δοκιμή@παράδειγμα.example", "ΔΟΚΙΜΉ@ΠΑΡΆΔΕΙΓΜΑ.example"]),
    ] {
        let mut keys = Vec::new();
        for (index, email) in spellings.iter().enumerate() {
            let id = format!("{group}{index}");
            app.import(line(&id, email)).await.expect(200);
            let stored = app.get(&format!("/api/v1/people/{id}")).await.expect(200);
            keys.push(key_of(stored["email"].as_str().expect("an address")));
        }
        keys.dedup();
        assert_eq!(keys.len(), 1, "{keys:?}");
        // Each spelling finds all of them.
        for email in spellings {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            let found = app
                .all(&format!(
                    "/api/v1/people?{}",
                    query.append_pair("email", email).finish()
                ))
                .await;
            assert_eq!(found.len(), spellings.len(), "{email}: {found:?}");
        }
    }
    // These look the same and are others.
    assert_ne!(key_of("ann@faß.example"), key_of("ann@fass.example"));
    assert_ne!(
        key_of("ann@exаmple.org"),
        key_of("ann@example.org"),
        "a letter of Cyrillic"
    );
    // Characters that cannot be seen are named by their number.
    for (email, number) in [
        ("ann\u{2063}@example.com", "U+2063"),
        ("ann@exam\u{115f}ple.com", "U+115F"),
        ("a\u{180e}nn@example.com", "U+180E"),
        ("ann@example\u{fe0f}.com", "U+FE0F"),
        ("\u{2067}ann@example.com", "U+2067"),
        ("ann@example.com\u{3164}", "U+3164"),
    ] {
        let refused = app.import(line("odd", email)).await.expect_problem(422);
        assert!(refused.text.contains(number), "{number}: {refused}");
    }
    app.finish().await;
}
