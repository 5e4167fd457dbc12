//! A report about an email finds its delivery, has its effects, and is shown on the incident with other
//! people who could be notified. Forged reports, delays and automatic replies change nothing.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use candor::alert::provider::fetch::Fetch;
use candor::delivery::verp::Verp;
use candor::demo::catcher::{Decision, Policy};
use hmac::{Hmac, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

use crate::support::sns::{CERTIFICATE, signed};
use crate::support::story::ADDRESSES;
use crate::support::{Answer, DEADLINE, Env, Mail, TestApp, on_both_databases, wait_until};

on_both_databases!(
    a_hard_bounce_by_mail_shows_on_the_incident_and_spares_the_address,
    a_refusal_at_the_hand_over_counts_like_the_same_bounce,
    a_bounce_is_taken_once_and_the_mail_may_be_sent_again,
    what_is_late_or_answered_by_a_machine_is_no_bounce,
    a_bounce_is_not_believed_without_proof,
    a_message_id_will_do_where_bounces_have_no_address_of_their_own,
    a_complaint_is_shown_and_spares_the_address,
    a_bounce_that_is_faster_than_the_record_is_not_lost,
    what_matches_nothing_is_kept_and_counted,
    what_is_no_mail_is_refused,
    suppressions_are_listed_and_lifted,
    amazons_reports_are_signed_by_amazon,
    a_subscription_is_confirmed_only_where_it_is_proven,
    mailguns_reports_are_signed_and_each_token_counts_once,
    sendgrids_reports_are_signed,
    postmarks_reports_show_the_secret,
    a_provider_without_a_secret_is_believed_for_its_own_mails,
    a_body_that_is_not_of_the_provider_is_refused_and_kept,
    a_report_that_names_nobody_is_found_by_its_ids,
    a_report_with_a_field_less_or_a_new_type_is_kept,
    one_bad_character_does_not_cost_the_report,
    mailguns_older_webhooks_come_as_either_kind_of_form,
);

const KEY: &str = "a secret key of the tests, of 32 characters";
const BOUNCES: &str = "bounces@candor.example";

/// A service that has sent the detection: three emails were accepted.
struct Told {
    app: TestApp,
    incident: String,
    notice: String,
    mails: Vec<Mail>,
}

impl Told {
    async fn new(env: &Env) -> Told {
        Told::with(
            env,
            true,
            Policy::accept_all(),
            Fetch::by(|_| Err("no network in tests".to_owned())),
        )
        .await
    }

    async fn with(env: &Env, bounce_address: bool, policy: Policy, sns: Fetch) -> Told {
        let app = TestApp::builder(env)
            .smtp_policy(policy)
            .config(|config| {
                config.secret_key = Some(KEY.to_owned());
                config.bounce_address = bounce_address.then(|| BOUNCES.to_owned());
                config.sns = sns;
            })
            .start()
            .await;
        let incident = app.story_incident().await;
        let notice = app.tell(&incident, "detection").await;
        let mails = app.mails(3).await;
        Told {
            app,
            incident,
            notice,
            mails,
        }
    }

    fn mail(&self, address: &str) -> &Mail {
        self.mails
            .iter()
            .find(|mail| mail.to == address)
            .expect("a mail to this address")
    }

    async fn delivery(&self, address: &str) -> Value {
        self.app
            .deliveries(&self.notice)
            .await
            .into_iter()
            .find(|delivery| delivery["address"] == address)
            .expect("a delivery to this address")
    }

    /// Returns the bounce address of this delivery.
    async fn bounce_address(&self, address: &str) -> String {
        let id = self.delivery(address).await["id"].as_i64().expect("an id");
        let verp = Verp::new(KEY.as_bytes(), BOUNCES).expect("an address");
        verp.address(id).expect("an address").to_string()
    }

    async fn receive(&self, mail: &str) -> Answer {
        self.app
            .post_raw("/api/v1/inbound-mail", "message/rfc822", mail)
            .await
    }

    async fn unreached(&self) -> Answer {
        self.app
            .get(&format!("/api/v1/incidents/{}/unreached", self.incident))
            .await
            .expect(200)
    }

    async fn counts(&self) -> Value {
        let counts = self.app.notice(&self.notice).await["counts"].clone();
        json!([
            counts["sent"],
            counts["bounced"],
            counts["failed"],
            counts["pending"]
        ])
    }

    /// Checks that the notice is unchanged: everybody was notified and nobody is suppressed.
    async fn unchanged(&self) {
        assert_eq!(self.counts().await, json!([3, 0, 0, 0]));
        assert_eq!(self.app.env.count("opt_outs"), 0);
        assert_eq!(self.unreached().await["counts"]["people"], 0);
    }

    async fn page(&self, path: &str) -> String {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", crate::support::ADMIN_TOKEN)
            .finish();
        let signed_in = self
            .app
            .anonymous()
            .post_raw("/admin/sign-in", "application/x-www-form-urlencoded", form)
            .await
            .expect(303);
        let cookie = signed_in
            .header("set-cookie")
            .split(';')
            .next()
            .expect("a cookie")
            .to_owned();
        self.app
            .anonymous()
            .request(Method::GET, path)
            .header("cookie", cookie)
            .send()
            .await
            .expect(200)
            .text
    }
}

/// Returns a bounce in the format of RFC 3464. `returned` are the headers of the returned email.
pub(crate) fn bounce(to: &str, recipient: &str, action: &str, status: &str, returned: &str) -> String {
    format!(
        "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net (Mail Delivery System)\r\nTo: {to}\r\n\
         Subject: Undelivered Mail Returned to Sender\r\nMessage-ID: <{}@mx.example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\n\
         Diagnostic-Code: smtp; 550 {status} what the server said\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\n{returned}\r\n\r\n--b--\r\n",
        candor::base::id::new_uuid(candor::base::time::Clock::system().now()),
    )
}

/// Returns the headers of an email as a server would return them.
fn headers(mail: &Mail) -> String {
    let text = mail.caught.text_lossy();
    text.split("\r\n\r\n").next().expect("headers").to_owned()
}

fn people(unreached: &Answer) -> Vec<(String, String)> {
    unreached
        .items()
        .iter()
        .map(|item| {
            (
                item["person"]["id"].as_str().expect("an id").to_owned(),
                item["why"].as_str().expect("why").to_owned(),
            )
        })
        .collect()
}

async fn a_hard_bounce_by_mail_shows_on_the_incident_and_spares_the_address(env: Env) {
    let told = Told::new(&env).await;
    let app = &told.app;
    let to = told.bounce_address(ADDRESSES[0]).await;
    // This is the envelope sender of the email.
    assert_eq!(told.mail(ADDRESSES[0]).caught.from, to);
    let mail = bounce(&to, ADDRESSES[0], "failed", "5.1.1", "Subject: x");
    let taken = told.receive(&mail).await.expect(202);
    let delivery = told.delivery(ADDRESSES[0]).await;
    assert_eq!(
        json!([
            taken["kind"],
            taken["delivery"],
            taken["matched"],
            taken["unmatched"]
        ]),
        json!(["hard", delivery["id"], 1, 0])
    );
    assert_eq!(
        json!([
            taken["items"][0]["matched_by"],
            taken["items"][0]["effect"],
            taken["items"][0]["status"]
        ]),
        json!(["bounce_address", "bounced", "5.1.1"])
    );
    assert_eq!(delivery["state"], "bounced");
    assert_eq!(delivery["feedback"][0]["kind"], "hard");
    // The notice stays done, and its counts are exact.
    assert_eq!(told.counts().await, json!([2, 1, 0, 0]));
    assert_eq!(app.notice(&told.notice).await["state"], "sent");
    // The incident shows the person, the reason, and who else could be notified.
    let unreached = told.unreached().await;
    assert_eq!(
        people(&unreached),
        [("amina".to_owned(), "bounced_hard".to_owned())]
    );
    assert_eq!(
        unreached["counts"],
        json!({"people": 1, "failed": 0, "bounced_hard": 1, "bounced_soft": 0, "no_address": 0, "complained": 0})
    );
    let item = &unreached.items()[0];
    assert_eq!(item["phases"], json!(["detection"]));
    assert!(
        item["diagnostic"]
            .as_str()
            .is_some_and(|text| text.contains("what the server said"))
    );
    let others: Vec<(&str, bool)> = item["others"]
        .as_array()
        .expect("others")
        .iter()
        .map(|other| {
            (
                other["person"]["id"].as_str().expect("an id"),
                other["told"] == true,
            )
        })
        .collect();
    assert_eq!(others, [("otieno", false), ("wanjiru", true), ("zuri", false)]);
    let page = told.page("/admin/incidents/1/unreached").await;
    for words in [
        "1 person missed at least one email, or has no address",
        "Amina Njeri",
        "bounced permanently",
        "Could be notified instead",
        "Otieno Odhiambo",
        "notified already",
    ] {
        assert!(page.contains(words), "{words}");
    }
    // She counts as not notified. Sending to the same address again would not help.
    let audience = app
        .get(&format!("/api/v1/incidents/{}/audience", told.incident))
        .await
        .expect(200);
    let amina = audience
        .items()
        .iter()
        .find(|item| item["person"]["id"] == "amina");
    assert_eq!(amina.expect("Amina")["told"], false);
    assert_eq!(audience["counts"]["not_told"], 0);
    let page = told.page(&format!("/admin/notices/{}", told.notice)).await;
    assert!(page.contains("reported by mail"));
    // Optional notices leave the address out. Mandatory notices are still sent to it.
    let update = app.draft(&told.incident, "update").await;
    let preview = app.preview(&update).await.expect(200);
    assert_eq!(preview["recipients"], 2);
    assert!(
        preview["warnings"].to_string().contains("1 person is left out"),
        "{preview}"
    );
    app.resolve(&told.incident).await;
    let resolution = app.draft(&told.incident, "resolution").await;
    assert_eq!(app.preview(&resolution).await.expect(200)["recipients"], 3);
    // No address is in the audit trail.
    let events = app.get("/api/v1/audit?action=delivery.bounced").await.expect(200);
    assert_eq!(events.items().len(), 1);
    assert_eq!(events.items()[0]["subject"]["id"], delivery["id"].to_string());
    for action in ["delivery.bounced", "address.suppressed", "feedback.received"] {
        let events = app
            .get(&format!("/api/v1/audit?action={action}"))
            .await
            .expect(200);
        assert_eq!(events.items().len(), 1, "{action}");
        assert!(!events.text.contains('@'), "{events}");
    }
    told.app.finish().await;
}

async fn a_refusal_at_the_hand_over_counts_like_the_same_bounce(env: Env) {
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(|attempt| match attempt.recipient {
            to if to == ADDRESSES[0] => Decision::Permanent("550 5.1.1 <amina>: user unknown".to_owned()),
            to if to == ADDRESSES[1] => {
                Decision::Permanent("550 5.7.1 Message rejected due to local policy".to_owned())
            }
            to if to == ADDRESSES[2] => {
                Decision::Permanent("550 5.1.0 <candor@localhost> sender rejected".to_owned())
            }
            _ => Decision::Accept,
        }))
        .start()
        .await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    assert_eq!(app.addresses(&notice, "failed").await, ADDRESSES);
    // Only the unknown user is left out of optional notices.
    let suppressed = app.all("/api/v1/suppressions").await;
    assert_eq!(suppressed.len(), 1, "{suppressed:?}");
    assert_eq!(
        json!([suppressed[0]["address"], suppressed[0]["reason"]]),
        json!([ADDRESSES[0], "bounced"])
    );
    let unreached = app
        .get(&format!("/api/v1/incidents/{incident}/unreached"))
        .await
        .expect(200);
    assert_eq!(
        people(&unreached),
        [
            ("amina".to_owned(), "bounced_hard".to_owned()),
            ("baraka".to_owned(), "failed".to_owned()),
            ("wanjiru".to_owned(), "failed".to_owned())
        ]
    );
    assert_eq!(unreached.items()[0]["status"], "5.1.1");
    let update = app.draft(&incident, "update").await;
    assert_eq!(app.preview(&update).await.expect(200)["recipients"], 2);
    // The trail has one event for it, without the address.
    let events = app
        .get("/api/v1/audit?action=address.suppressed")
        .await
        .expect(200);
    assert_eq!(events.items().len(), 1);
    assert!(!events.text.contains('@'), "{events}");
    app.finish().await;
}

async fn a_bounce_is_taken_once_and_the_mail_may_be_sent_again(env: Env) {
    let told = Told::new(&env).await;
    let app = &told.app;
    let to = told.bounce_address(ADDRESSES[1]).await;
    let mail = bounce(&to, ADDRESSES[1], "failed", "4.2.2", "Subject: x");
    let first = told.receive(&mail).await.expect(202);
    assert_eq!(json!([first["kind"], first["duplicates"]]), json!(["soft", 0]));
    // A soft bounce means that the person did not get the email, and that the address may be used again.
    assert_eq!(
        people(&told.unreached().await),
        [("baraka".to_owned(), "bounced_soft".to_owned())]
    );
    assert_eq!(env.count("opt_outs"), 0);
    let id = told.delivery(ADDRESSES[1]).await["id"].clone();
    app.post(&format!("/api/v1/deliveries/{id}/resend"), json!({}))
        .await
        .expect(202);
    app.mails(4).await;
    app.done(&told.notice).await;
    told.unchanged().await;
    // The same report again is about the email before it was sent again.
    let second = told.receive(&mail).await.expect(202);
    assert_eq!(
        json!([second["kind"], second["duplicates"], second["items"][0]["id"]]),
        json!(["soft", 1, first["items"][0]["id"]])
    );
    told.unchanged().await;
    assert_eq!(env.count("feedback"), 1);
    // Another report counts.
    let again = bounce(&to, ADDRESSES[1], "failed", "4.2.2", "Subject: x");
    told.receive(&again).await.expect(202);
    assert_eq!(told.counts().await, json!([2, 1, 0, 0]));
    // An idempotency key returns the first answer again.
    let with_key = async || {
        app.request(Method::POST, "/api/v1/inbound-mail")
            .header("idempotency-key", "one")
            .body("message/rfc822", again.clone())
            .send()
            .await
            .expect(202)
    };
    assert_eq!(with_key().await.json, with_key().await.json);
    told.app.finish().await;
}

async fn what_is_late_or_answered_by_a_machine_is_no_bounce(env: Env) {
    let told = Told::new(&env).await;
    let address = ADDRESSES[2];
    let to = told.bounce_address(address).await;
    let delayed = bounce(&to, address, "delayed", "4.4.1", "Subject: x");
    let taken = told.receive(&delayed).await.expect(202);
    assert_eq!(json!([taken["kind"], taken["matched"]]), json!(["delayed", 1]));
    let id = told.mail(address).header("message-id");
    let away = format!(
        "From: Wanjiru <{address}>\r\nTo: {to}\r\nAuto-Submitted: auto-replied\r\nIn-Reply-To: {id}\r\n\
         Subject: Out of office\r\n\r\nI am away. 550 5.1.1 user unknown.\r\n"
    );
    let taken = told.receive(&away).await.expect(202);
    assert_eq!(json!([taken["kind"], taken["matched"]]), json!(["auto_reply", 1]));
    let person = format!(
        "From: Wanjiru <{address}>\r\nTo: {to}\r\nIn-Reply-To: {id}\r\nSubject: Re: x\r\n\r\nThank you.\r\n"
    );
    assert_eq!(told.receive(&person).await.expect(202)["kind"], "other");
    let relayed = bounce(&to, address, "relayed", "2.0.0", "Subject: x");
    assert_eq!(told.receive(&relayed).await.expect(202)["kind"], "delivered");
    told.unchanged().await;
    // The reports are shown on the delivery.
    let shown: Vec<Value> = told.delivery(address).await["feedback"]
        .as_array()
        .expect("feedback")
        .iter()
        .map(|entry| json!([entry["kind"], entry["effect"]]))
        .collect();
    assert_eq!(
        json!(shown),
        json!([
            ["delayed", "none"],
            ["auto_reply", "none"],
            ["other", "none"],
            ["delivered", "none"]
        ])
    );
    told.app.finish().await;
}

async fn a_bounce_is_not_believed_without_proof(env: Env) {
    let told = Told::new(&env).await;
    let right = told.bounce_address(ADDRESSES[0]).await;
    let id = told.mail(ADDRESSES[0]).header("message-id");
    // A recipient of one email can guess the Message-IDs of the others, but not their unsubscribe links.
    let guessed = bounce(
        "candor@localhost",
        ADDRESSES[0],
        "failed",
        "5.1.1",
        &format!("Message-ID: {id}"),
    );
    let taken = told.receive(&guessed).await.expect(202);
    assert_eq!(
        json!([
            taken["kind"],
            taken["matched"],
            taken["items"][0]["matched_by"],
            taken["items"][0]["effect"]
        ]),
        json!(["hard", 1, "message_id", "none"])
    );
    let mut forged = right.clone().into_bytes();
    let digit = forged.iter().position(|byte| *byte == b'.').expect("a code") + 3;
    forged[digit] = if forged[digit] == b'0' { b'1' } else { b'0' };
    let forged = String::from_utf8(forged).expect("an address");
    let taken = told
        .receive(&bounce(&forged, ADDRESSES[0], "failed", "5.1.1", "Subject: x"))
        .await
        .expect(202);
    assert_eq!(json!([taken["kind"], taken["matched"]]), json!(["hard", 0]));
    // An address alone is never enough.
    let taken = told
        .receive(&bounce(
            "candor@localhost",
            ADDRESSES[0],
            "failed",
            "5.1.1",
            "Subject: x",
        ))
        .await
        .expect(202);
    assert_eq!(taken["matched"], 0);
    told.unchanged().await;
    // A report about another recipient of a mailing list says nothing about this one.
    let both = bounce(&right, "somebody@else.example", "failed", "5.1.1", "Subject: x").replace(
        "\r\n--b\r\nContent-Type: text/rfc822-headers",
        "\r\nFinal-Recipient: rfc822; another@else.example\r\nAction: delivered\r\nStatus: 2.0.0\r\n\r\n--b\r\nContent-Type: text/rfc822-headers",
    );
    let taken = told.receive(&both).await.expect(202);
    assert_eq!(json!([taken["reports"], taken["matched"]]), json!([2, 2]));
    told.unchanged().await;
    // The link in the returned headers is as good a proof as the bounce address.
    let headers = headers(told.mail(ADDRESSES[0]));
    let taken = told
        .receive(&bounce(
            "candor@localhost",
            ADDRESSES[0],
            "failed",
            "5.1.1",
            &headers,
        ))
        .await
        .expect(202);
    assert_eq!(
        json!([taken["items"][0]["matched_by"], taken["items"][0]["effect"]]),
        json!(["link", "bounced"])
    );
    // So is the envelope recipient, if no header contains it.
    let elsewhere = told.bounce_address(ADDRESSES[1]).await.replace('+', "%2B");
    let taken = told
        .app
        .post_raw(
            &format!("/api/v1/inbound-mail?recipient={elsewhere}"),
            "message/rfc822",
            bounce(
                "undisclosed",
                "somewhere@else.example",
                "failed",
                "5.1.1",
                "Subject: x",
            ),
        )
        .await
        .expect(202);
    assert_eq!(taken["items"][0]["effect"], "bounced");
    assert_eq!(told.counts().await, json!([1, 2, 0, 0]));
    told.app.finish().await;
}

async fn a_message_id_will_do_where_bounces_have_no_address_of_their_own(env: Env) {
    let told = Told::with(&env, false, Policy::accept_all(), Fetch::https()).await;
    assert_eq!(told.mail(ADDRESSES[0]).caught.from, "candor@localhost");
    let id = told.mail(ADDRESSES[0]).header("message-id");
    let original = format!("Message-ID: {id}");
    let taken = told
        .receive(&bounce(
            "candor@localhost",
            "else@where.example",
            "failed",
            "5.1.1",
            &original,
        ))
        .await
        .expect(202);
    assert_eq!(
        json!([taken["matched"], taken["items"][0]["effect"]]),
        json!([1, "none"]),
        "another address"
    );
    told.unchanged().await;
    let taken = told
        .receive(&bounce(
            "candor@localhost",
            &ADDRESSES[0].to_uppercase(),
            "failed",
            "5.1.1",
            &original,
        ))
        .await
        .expect(202);
    assert_eq!(
        json!([taken["items"][0]["matched_by"], taken["items"][0]["effect"]]),
        json!(["message_id", "bounced"])
    );
    told.app.finish().await;
}

pub(crate) fn complaint(mail: &Mail) -> String {
    format!(
        "From: feedback@isp.example\r\nTo: abuse@candor.example\r\nSubject: a complaint\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nA complaint.\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: isp/1\r\nVersion: 1\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n{}\r\n--b--\r\n",
        // This provider redacts the recipient, as most of them do.
        headers(mail).replace(&mail.to, "redacted@isp.example")
    )
}

async fn a_complaint_is_shown_and_spares_the_address(env: Env) {
    let told = Told::new(&env).await;
    let address = ADDRESSES[0];
    let taken = told.receive(&complaint(told.mail(address))).await.expect(202);
    assert_eq!(
        json!([
            taken["kind"],
            taken["items"][0]["matched_by"],
            taken["items"][0]["effect"],
            taken["items"][0]["address"]
        ]),
        json!(["complaint", "link", "suppressed", address])
    );
    // She got the email.
    assert_eq!(told.counts().await, json!([3, 0, 0, 0]));
    let unreached = told.unreached().await;
    assert_eq!(
        json!([unreached["counts"]["people"], unreached["counts"]["complained"]]),
        json!([0, 1])
    );
    assert_eq!(
        people(&unreached),
        [("amina".to_owned(), "complained".to_owned())]
    );
    assert!(
        told.page("/admin/incidents/1")
            .await
            .contains("1 person reported an email as spam")
    );
    let update = told.app.draft(&told.incident, "update").await;
    assert_eq!(told.app.preview(&update).await.expect(200)["recipients"], 2);
    told.app.finish().await;
}

async fn a_bounce_that_is_faster_than_the_record_is_not_lost(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let held = permits.clone();
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(move |_| Decision::Hold(held.clone())))
        .config(|config| {
            config.secret_key = Some(KEY.to_owned());
            config.bounce_address = Some(BOUNCES.to_owned());
        })
        .start()
        .await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    // The relay has the emails and has not answered yet.
    let mails = app.mails(3).await;
    let told = Told {
        app,
        incident,
        notice,
        mails,
    };
    let to = told.bounce_address(ADDRESSES[0]).await;
    let taken = told
        .receive(&bounce(&to, ADDRESSES[0], "failed", "5.1.1", "Subject: x"))
        .await
        .expect(202);
    assert_eq!(taken["items"][0]["effect"], "early");
    permits.add_permits(3);
    told.app.done(&told.notice).await;
    wait_until("the early bounce to be applied", DEADLINE, async || {
        told.counts().await == json!([2, 1, 0, 0])
    })
    .await;
    assert_eq!(
        people(&told.unreached().await),
        [("amina".to_owned(), "bounced_hard".to_owned())]
    );
    told.app.finish().await;
}

async fn what_matches_nothing_is_kept_and_counted(env: Env) {
    let told = Told::new(&env).await;
    let app = &told.app;
    let strange = bounce(
        "candor@localhost",
        "stranger@else.example",
        "failed",
        "5.1.1",
        "Message-ID: <a@b>",
    );
    told.receive(&strange).await.expect(202);
    told.receive("Subject: hello\r\n\r\nA person writes.\r\n")
        .await
        .expect(202);
    let to = told.bounce_address(ADDRESSES[0]).await;
    told.receive(&bounce(&to, ADDRESSES[0], "failed", "5.1.1", "Subject: x"))
        .await
        .expect(202);
    let kinds = async |query: &str| -> Vec<String> {
        let mut kinds: Vec<String> = app
            .all(&format!("/api/v1/feedback?limit=1{query}"))
            .await
            .iter()
            .map(|entry| entry["kind"].as_str().expect("a kind").to_owned())
            .collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds("").await, ["hard", "hard", "other"]);
    assert_eq!(kinds("&matched=false").await, ["hard", "other"]);
    assert_eq!(kinds("&matched=true").await, ["hard"]);
    assert_eq!(kinds("&kind=other").await, ["other"]);
    assert_eq!(kinds(&format!("&notice={}", told.notice)).await, ["hard"]);
    assert_eq!(kinds(&format!("&incident={}", told.incident)).await, ["hard"]);
    let delivery = told.delivery(ADDRESSES[0]).await["id"].clone();
    assert_eq!(kinds(&format!("&delivery={delivery}")).await, ["hard"]);
    app.get("/api/v1/feedback?delivery=99999")
        .await
        .expect_problem(404);
    app.get("/api/v1/feedback?matched=perhaps")
        .await
        .expect_invalid("?matched");
    app.get("/api/v1/feedback?kinds=hard")
        .await
        .expect_invalid("?kinds");
    // All reports can be read.
    let unmatched = app
        .get("/api/v1/feedback?matched=false&kind=hard")
        .await
        .expect(200)
        .items()[0]
        .clone();
    assert_eq!(unmatched["address"], "stranger@else.example");
    let whole = app
        .get(&format!("/api/v1/feedback/{}", unmatched["id"]))
        .await
        .expect(200);
    assert_eq!(whole["raw"], strange);
    let metrics = app.get("/metrics").await.expect(200).text;
    for line in [
        "candor_feedback_unmatched 2",
        "candor_feedback_reports_total{kind=\"hard\",matched=\"false\"} 1",
        "candor_feedback_reports_total{kind=\"hard\",matched=\"true\"} 1",
        "candor_feedback_reports_total{kind=\"other\",matched=\"false\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // A stored report cannot be changed.
    assert!(env.sql("UPDATE feedback SET kind = 'other'").is_err());
    assert!(env.sql("DELETE FROM feedback").is_err());
    told.app.finish().await;
}

async fn what_is_no_mail_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    app.post("/api/v1/inbound-mail", json!({}))
        .await
        .expect_problem(415);
    app.post_raw("/api/v1/inbound-mail", "message/rfc822", " \r\n")
        .await
        .expect_problem(422);
    let huge = vec![b'x'; 10 * 1024 * 1024 + 1];
    app.post_raw("/api/v1/inbound-mail", "message/rfc822", huge)
        .await
        .expect_problem(413);
    app.post_raw(
        "/api/v1/inbound-mail?recipient=nobody",
        "message/rfc822",
        "Subject: x\r\n\r\n",
    )
    .await
    .expect_invalid("?recipient");
    app.post_raw(
        "/api/v1/inbound-mail?to=a@b.example",
        "message/rfc822",
        "Subject: x\r\n\r\n",
    )
    .await
    .expect_invalid("?to");
    assert_eq!(env.count("feedback"), 0);
    app.anonymous()
        .post_raw("/api/v1/inbound-mail", "message/rfc822", "Subject: x\r\n\r\n")
        .await
        .expect_problem(401);
    // NUL bytes and invalid UTF-8 are stored as far as possible.
    app.post_raw(
        "/api/v1/inbound-mail",
        "message/rfc822",
        b"Subject: \0\xff\r\n\r\n\0\xff".to_vec(),
    )
    .await
    .expect(202);
    app.finish().await;
}

async fn suppressions_are_listed_and_lifted(env: Env) {
    let told = Told::new(&env).await;
    let app = &told.app;
    let to = told.bounce_address(ADDRESSES[0]).await;
    told.receive(&bounce(&to, ADDRESSES[0], "failed", "5.1.1", "Subject: x"))
        .await
        .expect(202);
    told.receive(&complaint(told.mail(ADDRESSES[1])))
        .await
        .expect(202);
    let link = told.mail(ADDRESSES[2]).header("list-unsubscribe");
    let path = link.trim_matches(['<', '>']);
    let path = &path[path.find("/unsubscribe").expect("a path")..];
    app.anonymous()
        .post_raw(
            path,
            "application/x-www-form-urlencoded",
            "List-Unsubscribe=One-Click",
        )
        .await
        .expect(200);
    // The reason that she gave stays, whatever a server reports later.
    let to = told.bounce_address(ADDRESSES[2]).await;
    told.receive(&bounce(&to, ADDRESSES[2], "failed", "5.1.1", "Subject: x"))
        .await
        .expect(202);
    let listed: Vec<Value> = app
        .all("/api/v1/suppressions?limit=1")
        .await
        .iter()
        .map(|one| json!([one["address"], one["reason"]]))
        .collect();
    assert_eq!(
        json!(listed),
        json!([
            [ADDRESSES[0], "bounced"],
            [ADDRESSES[1], "complained"],
            [ADDRESSES[2], "opted_out"]
        ])
    );
    let only = app.get("/api/v1/suppressions?reason=bounced").await.expect(200);
    assert_eq!(only.items().len(), 1);
    app.get("/api/v1/suppressions?reason=bored")
        .await
        .expect_invalid("?reason");
    let path = format!("/api/v1/suppressions/{}", ADDRESSES[0].replace('@', "%40"));
    app.delete(&path).await.expect(204);
    app.delete(&path).await.expect_problem(404);
    app.delete("/api/v1/suppressions/nobody")
        .await
        .expect_problem(404);
    let events = app
        .get("/api/v1/audit?action=address.suppression_lifted")
        .await
        .expect(200);
    assert_eq!(events.items()[0]["before"]["reason"], "bounced");
    assert!(!events.text.contains(ADDRESSES[0]));
    let update = app.draft(&told.incident, "update").await;
    let preview = app.preview(&update).await.expect(200);
    assert_eq!(preview["recipients"], 1);
    assert_eq!(preview["samples"][0]["to"], ADDRESSES[0]);
    told.app.finish().await;
}

// Reports by hook.

struct Hook<'a> {
    told: &'a Told,
    url: String,
    id: String,
}

impl<'a> Hook<'a> {
    async fn new(told: &'a Told, source: &str, secret: Option<&str>) -> Self {
        let mut new = json!({"name": source, "source": source});
        if let Some(secret) = secret {
            new["secret"] = json!(secret);
        }
        let made = told.app.post("/api/v1/integrations", new).await.expect(201);
        Hook {
            told,
            url: made["hook_url"].as_str().expect("a URL").to_owned(),
            id: made.id(),
        }
    }

    async fn send(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self
            .told
            .app
            .anonymous()
            .request(Method::POST, &self.url)
            .body("text/plain; charset=UTF-8", body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await
    }

    /// Checks that a request is answered with 401, that only the event is stored, and that nothing changes.
    async fn refuses(&self, headers: &[(&str, &str)], body: &str) {
        let tables = ["feedback", "hook_requests", "opt_outs", "feedback_tokens"];
        let before = tables.map(|table| self.told.app.env.count(table));
        self.send(headers, body).await.expect_problem(401);
        assert_eq!(tables.map(|table| self.told.app.env.count(table)), before);
        let event = self
            .told
            .app
            .get("/api/v1/audit?limit=1")
            .await
            .expect(200)
            .items()[0]
            .clone();
        assert_eq!(event["action"], "hook.refused");
    }
}

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:bounces";
/// Answers as Amazon would, with a certificate of the tests, and records the requests.
fn amazon() -> (Fetch, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    let fetch = Fetch::by(move |url| {
        noted.lock().expect("no panic").push(url.to_string());
        if url.as_str() == CERTIFICATE {
            Ok(include_bytes!("fixtures/sns/certificate.pem").to_vec())
        } else if url
            .query()
            .is_some_and(|query| query.contains("ConfirmSubscription"))
        {
            Ok(b"<ConfirmSubscriptionResponse/>".to_vec())
        } else {
            Err("not found".to_owned())
        }
    });
    (fetch, asked)
}

fn notification(message: &Value) -> Value {
    json!({
        "Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TOPIC,
        "Message": format!("{message}\n"), "Timestamp": "2024-03-14T06:56:00.000Z",
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    })
}

fn ses_bounce(mail: &Mail, feedback_id: &str) -> Value {
    json!({
        "notificationType": "Bounce",
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General", "feedbackId": feedback_id,
            "timestamp": "2024-03-14T06:56:30.000Z",
            "bouncedRecipients": [{"emailAddress": mail.to, "status": "5.1.1", "action": "failed", "diagnosticCode": "smtp; 550 5.1.1 no"}],
        },
        "mail": {
            "messageId": "0100018e3b2c-aaaa-000000", "timestamp": "2024-03-14T06:56:00.000Z", "destination": [mail.to],
            "headers": [{"name": "Message-ID", "value": mail.header("message-id")}],
        },
    })
}

async fn amazons_reports_are_signed_by_amazon(env: Env) {
    let (fetch, asked) = amazon();
    let told = Told::with(&env, true, Policy::accept_all(), fetch).await;
    for wrong in ["a secret of ours", "arn:aws:sqs:eu-west-1:123456789012:bounces"] {
        told.app
            .post(
                "/api/v1/integrations",
                json!({"name": "x", "source": "aws_ses", "secret": wrong}),
            )
            .await
            .expect_invalid("/secret");
    }
    let hook = Hook::new(&told, "aws_ses", Some(TOPIC)).await;
    let bounce = ses_bounce(told.mail(ADDRESSES[0]), "feedback-1");
    let right = signed(notification(&bounce));
    for (field, value) in [
        (
            "Message",
            json!(ses_bounce(told.mail(ADDRESSES[1]), "feedback-1").to_string()),
        ),
        ("Timestamp", json!("2024-03-14T06:56:01.000Z")),
        ("Subject", json!("another")),
        ("TopicArn", json!("arn:aws:sns:eu-west-1:123456789012:another")),
        ("Signature", json!("")),
        ("Signature", json!(STANDARD.encode([1; 256]))),
        ("SignatureVersion", json!("1")),
        ("SignatureVersion", json!("3")),
        (
            "SigningCertURL",
            json!("https://sns.eu-west-1.amazonaws.com.evil.example/x.pem"),
        ),
        (
            "SigningCertURL",
            json!("http://sns.eu-west-1.amazonaws.com/x.pem"),
        ),
        ("SigningCertURL", json!("https://169.254.169.254/x.pem")),
        ("SigningCertURL", json!("https://sns.eu-west-1.amazonaws.com/x")),
        ("Type", json!("Something")),
    ] {
        let mut wrong = right.clone();
        wrong[field] = value;
        hook.refuses(&[], &wrong.to_string()).await;
    }
    // Raw delivery has no signature.
    hook.refuses(&[], &bounce.to_string()).await;
    told.unchanged().await;
    assert!(
        asked
            .lock()
            .expect("no panic")
            .iter()
            .all(|url| url == CERTIFICATE),
        "only Amazon is asked, and only for certificates"
    );
    // If the certificate cannot be fetched now, this is not a forgery. Amazon sends the message again.
    let mut later = right.clone();
    later["SigningCertURL"] = json!("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-2.pem");
    hook.send(&[], &later.to_string()).await.expect_problem(503);
    let taken = hook.send(&[], &right.to_string()).await.expect(202);
    assert_eq!(
        json!([
            taken["reports"],
            taken["matched"],
            taken["unmatched"],
            taken["duplicates"]
        ]),
        json!([1, 1, 0, 0])
    );
    assert_eq!(told.delivery(ADDRESSES[0]).await["state"], "bounced");
    assert_eq!(
        told.delivery(ADDRESSES[0]).await["feedback"][0]["source"],
        "aws_ses"
    );
    let again = hook.send(&[], &right.to_string()).await.expect(202);
    assert_eq!(again["duplicates"], 1);
    let certificates = asked
        .lock()
        .expect("no panic")
        .iter()
        .filter(|url| *url == CERTIFICATE)
        .count();
    assert_eq!(certificates, 1, "the certificate is kept");
    // SES sends this text once, when the topic is set.
    let mut hello = notification(&json!(null));
    hello["Message"] = json!("Successfully validated SNS topic for Amazon SES event publishing.");
    let taken = hook.send(&[], &signed(hello).to_string()).await.expect(202);
    assert_eq!(json!([taken["reports"], taken["ignored"]]), json!([0, 1]));
    told.app.finish().await;
}

async fn a_subscription_is_confirmed_only_where_it_is_proven(env: Env) {
    let (fetch, asked) = amazon();
    let told = Told::with(&env, true, Policy::accept_all(), fetch).await;
    let message = json!({
        "Type": "SubscriptionConfirmation", "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b", "Token": "2336412f37",
        "TopicArn": TOPIC, "Message": "You have chosen to subscribe.", "Timestamp": "2024-03-14T06:56:00.000Z",
        "SubscribeURL": format!("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"),
    });
    let visited = || {
        asked
            .lock()
            .expect("no panic")
            .iter()
            .filter(|url| *url != CERTIFICATE)
            .cloned()
            .collect::<Vec<_>>()
    };
    // Nothing proves the sender, so a person must decide.
    let open = Hook::new(&told, "aws_ses", None).await;
    let taken = open.send(&[], &message.to_string()).await.expect(202);
    assert_eq!(taken["subscription"], "by_hand");
    assert!(visited().is_empty());
    let kept = told
        .app
        .get(&format!("/api/v1/integrations/{}/requests", open.id))
        .await
        .expect(200);
    assert!(
        kept.items()[0]["body"]
            .as_str()
            .is_some_and(|body| body.contains("ConfirmSubscription"))
    );
    let hook = Hook::new(&told, "aws_ses", Some(TOPIC)).await;
    hook.refuses(&[], &message.to_string()).await;
    let mut elsewhere = message.clone();
    elsewhere["SubscribeURL"] = json!("https://evil.example/?Action=ConfirmSubscription");
    hook.refuses(&[], &signed(elsewhere).to_string()).await;
    assert!(visited().is_empty());
    let taken = hook
        .send(&[], &signed(message.clone()).to_string())
        .await
        .expect(202);
    assert_eq!(taken["subscription"], "confirmed");
    assert_eq!(visited().len(), 1);
    // The same message signed with SHA-1, which is the default of SNS. OpenSSL made the signature.
    let mut old = message;
    old["SignatureVersion"] = json!("1");
    old["SigningCertURL"] = json!(CERTIFICATE);
    old["Signature"] = json!(
        "fMZBUmd9wWHCDYnjRylwoAR83fecyx+k1yqmEmqmHJNXgK+pNdi4fvZvf8kt+38NL0/HiN2eeM/FHC3X4w4NkGvIgViwgUMQnaPWQAZAN4uwJB2DoUMah0fbpUDzrG0MOwW9dUzHCf+ttLKAOBZRzr22hmT5FEGZW83bNDah2VC8FxB4tbHZaAkeftn+jrA03DTPw41FKIwbSvcxxjGvjzLLowJ608+KNrDqrYyEU0bMEl6bOrvMYLgZzbzC8KWhHVI0/jhDM6vv4gPyzrt/Fhl3CNCUIbXTaWqm1IglNx5OxeWOTqcQIY+9gX0hbD+KkuMEte72w57pOPbjdKPYmg=="
    );
    let taken = hook.send(&[], &old.to_string()).await.expect(202);
    assert_eq!(taken["subscription"], "confirmed");
    let events = told
        .app
        .get("/api/v1/audit?action=hook.subscription")
        .await
        .expect(200);
    assert_eq!(events.items().len(), 3);
    told.app.finish().await;
}

fn mailgun(key: &str, at: i64, token: &str, event: &Value) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key");
    mac.update(format!("{at}{token}").as_bytes());
    let signature: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({"signature": {"timestamp": at.to_string(), "token": token, "signature": signature}, "event-data": event})
        .to_string()
}

fn mailgun_failure(mail: &Mail, id: &str, severity: &str) -> Value {
    json!({
        "event": "failed", "severity": severity, "reason": "bounce", "id": id, "timestamp": 1710399390.5, "recipient": mail.to,
        "message": {"headers": {"to": mail.to, "message-id": mail.header("message-id").trim_matches(['<', '>'])}},
        "delivery-status": {"code": 550, "message": "5.1.1 no such user"},
    })
}

async fn mailguns_reports_are_signed_and_each_token_counts_once(env: Env) {
    const SIGNING: &str = "key-of-the-tests";
    let told = Told::new(&env).await;
    let hook = Hook::new(&told, "mailgun", Some(SIGNING)).await;
    let now = told.app.clock.now().as_micros() / 1_000_000;
    let event = mailgun_failure(told.mail(ADDRESSES[0]), "event-1", "permanent");
    for wrong in [
        mailgun("another key", now, "token-1", &event),
        mailgun(SIGNING, now - 13 * 3600, "token-1", &event),
        mailgun(SIGNING, now + 3600, "token-1", &event),
        json!({"event-data": event}).to_string(),
        json!({"signature": {"timestamp": now.to_string(), "token": "t", "signature": ""}, "event-data": event}).to_string(),
        "not JSON".to_owned(),
    ] {
        hook.refuses(&[], &wrong).await;
    }
    // An email that is tried again does not count as lost.
    let later = mailgun_failure(told.mail(ADDRESSES[0]), "event-0", "temporary");
    let taken = hook
        .send(&[], &mailgun(SIGNING, now, "token-0", &later))
        .await
        .expect(200);
    assert_eq!(taken["matched"], 1);
    told.unchanged().await;
    let right = mailgun(SIGNING, now, "token-1", &event);
    let taken = hook.send(&[], &right).await.expect(200);
    assert_eq!(json!([taken["reports"], taken["matched"]]), json!([1, 1]));
    assert_eq!(told.counts().await, json!([2, 1, 0, 0]));
    // The same request may be repeated. Its token is refused for another body.
    assert_eq!(hook.send(&[], &right).await.expect(200)["duplicates"], 1);
    let other = mailgun_failure(told.mail(ADDRESSES[1]), "event-2", "permanent");
    hook.refuses(&[], &mailgun(SIGNING, now, "token-1", &other)).await;
    assert_eq!(told.counts().await, json!([2, 1, 0, 0]));
    told.app.finish().await;
}

async fn sendgrids_reports_are_signed(env: Env) {
    let told = Told::new(&env).await;
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, made.as_ref()).expect("a key");
    let mut public = STANDARD
        .decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE")
        .expect("base64");
    // The removed bytes were the algorithm and the first byte of the point.
    public.truncate(26);
    public.extend_from_slice(key.public_key().as_ref());
    let public = STANDARD.encode(public);
    told.app
        .post(
            "/api/v1/integrations",
            json!({"name": "x", "source": "sendgrid", "secret": "no key at all"}),
        )
        .await
        .expect_invalid("/secret");
    let hook = Hook::new(&told, "sendgrid", Some(&public)).await;
    // SendGrid also signs the line break at the end.
    let body = format!(
        "{}\r\n",
        json!([
            {"event": "processed", "email": ADDRESSES[0], "timestamp": 1710399380, "sg_event_id": "e0"},
            {"event": "bounce", "type": "bounce", "email": ADDRESSES[0], "timestamp": 1710399390, "sg_event_id": "e1",
             "smtp-id": told.mail(ADDRESSES[0]).header("message-id"), "status": "5.1.1", "reason": "550 5.1.1 no"},
            {"event": "deferred", "email": ADDRESSES[1], "timestamp": 1710399390, "sg_event_id": "e2",
             "smtp-id": told.mail(ADDRESSES[1]).header("message-id"), "response": "451 later"},
            {"event": "bounce", "type": "bounce", "email": "stranger@else.example", "timestamp": 1710399390, "sg_event_id": "e3", "smtp-id": "<x@y>"},
        ])
    );
    let sign = |at: &str, body: &str| {
        let signature = key
            .sign(&random, format!("{at}{body}").as_bytes())
            .expect("a signature");
        STANDARD.encode(signature.as_ref())
    };
    let at = "1710399391";
    let right = sign(at, &body);
    let headers = |signature: &str, at: &str| {
        [
            ("X-Twilio-Email-Event-Webhook-Signature", signature.to_owned()),
            ("X-Twilio-Email-Event-Webhook-Timestamp", at.to_owned()),
        ]
    };
    let send = async |headers: &[(&str, String)], body: &str, refused: bool| {
        let pairs: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        if refused {
            hook.refuses(&pairs, body).await;
            None
        } else {
            Some(hook.send(&pairs, body).await.expect(202))
        }
    };
    send(&headers(&right, at), body.trim_end(), true).await;
    send(&headers(&right, at), &body.replace("bounce", "dropped"), true).await;
    send(&headers(&right, "1710399392"), &body, true).await;
    send(&headers(&STANDARD.encode([0; 70]), at), &body, true).await;
    send(&headers("not base64!", at), &body, true).await;
    send(&headers(&right, at)[..1], &body, true).await;
    send(&headers(&right, at)[1..], &body, true).await;
    told.unchanged().await;
    let taken = send(&headers(&right, at), &body, false).await.expect("an answer");
    assert_eq!(
        json!([
            taken["reports"],
            taken["matched"],
            taken["unmatched"],
            taken["ignored"]
        ]),
        json!([3, 2, 1, 1])
    );
    assert_eq!(told.counts().await, json!([2, 1, 0, 0]));
    assert_eq!(
        told.delivery(ADDRESSES[1]).await["feedback"][0]["kind"],
        "delayed"
    );
    // SendGrid sometimes sends an event twice, together with others.
    let more = json!([{"event": "bounce", "email": ADDRESSES[0], "sg_event_id": "e1"}, {"event": "spamreport", "email": ADDRESSES[2],
        "sg_event_id": "e4", "smtp-id": told.mail(ADDRESSES[2]).header("message-id")}]).to_string();
    let taken = send(&headers(&sign(at, &more), at), &more, false)
        .await
        .expect("an answer");
    assert_eq!(
        json!([taken["reports"], taken["duplicates"], taken["matched"]]),
        json!([2, 1, 2])
    );
    assert_eq!(told.unreached().await["counts"]["complained"], 1);
    told.app.finish().await;
}

async fn postmarks_reports_show_the_secret(env: Env) {
    const SECRET: &str = "a secret of the tests";
    let told = Told::new(&env).await;
    let hook = Hook::new(&told, "postmark", Some(SECRET)).await;
    let bounce = |id: i64, type_: &str, mail: &Mail| {
        json!({
            "RecordType": "Bounce", "ID": id, "Type": type_, "TypeCode": 1, "MessageID": "2706ee8a-737c-4285-b032-ccd317af53ed",
            "Details": "smtp;550 5.1.1 no", "Email": mail.to, "BouncedAt": "2024-03-14T02:56:30.3963933-04:00",
            "Inactive": true, "Content": format!("Received: x\r\nMessage-ID: {}\r\n\r\n", mail.header("message-id")),
        })
        .to_string()
    };
    let first = bounce(4_000_000_001, "HardBounce", told.mail(ADDRESSES[0]));
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    for wrong in [
        vec![],
        vec![("authorization", basic("candor:another"))],
        vec![("authorization", basic(SECRET))],
        vec![("authorization", "Bearer another".to_owned())],
        vec![("authorization", SECRET.to_owned())],
        vec![("x-candor-token", "another".to_owned())],
        vec![
            ("authorization", "Bearer another".to_owned()),
            ("x-candor-token", SECRET.to_owned()),
        ],
    ] {
        let pairs: Vec<(&str, &str)> = wrong
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        hook.refuses(&pairs, &first).await;
    }
    let taken = hook
        .send(&[("authorization", &basic(&format!("candor:{SECRET}")))], &first)
        .await
        .expect(200);
    assert_eq!(json!([taken["reports"], taken["matched"]]), json!([1, 1]));
    assert_eq!(told.counts().await, json!([2, 1, 0, 0]));
    let at = told.delivery(ADDRESSES[0]).await["feedback"][0]["at"].clone();
    assert_eq!(at, "2024-03-14T06:56:30.396393Z");
    for (index, header) in [
        ("authorization", format!("Bearer {SECRET}")),
        ("x-candor-token", SECRET.to_owned()),
    ]
    .iter()
    .enumerate()
    {
        let body = bounce(10 + index as i64, "AutoResponder", told.mail(ADDRESSES[1]));
        hook.send(&[(header.0, &header.1)], &body).await.expect(200);
    }
    assert_eq!(told.counts().await, json!([2, 1, 0, 0]));
    told.app.finish().await;
}

async fn a_provider_without_a_secret_is_believed_for_its_own_mails(env: Env) {
    // SES puts its own ID into its reply and into its reports, instead of Candor's headers.
    let told = Told::new(&env).await;
    let hook = Hook::new(&told, "aws_ses", None).await;
    let delivery = told.delivery(ADDRESSES[0]).await;
    let reply = delivery["attempts"][0]["reply"].as_str().expect("a reply");
    let given = reply.split_whitespace().last().expect("an id");
    let mut report = ses_bounce(told.mail(ADDRESSES[0]), "feedback-1");
    report["mail"]["headers"] = json!([]);
    report["mail"]["timestamp"] = json!(told.app.clock.now());
    // IDs that are too short or belong to another email.
    for wrong in ["Ok", "250", "0100018e3b2c-bbbb-000000"] {
        report["mail"]["messageId"] = json!(wrong);
        report["bounce"]["feedbackId"] = json!(format!("feedback of {wrong}"));
        let taken = hook.send(&[], &report.to_string()).await.expect(202);
        assert_eq!(
            json!([taken["matched"], taken["unmatched"]]),
            json!([0, 1]),
            "{wrong}"
        );
    }
    // Raw delivery without an envelope.
    if given.len() >= 12 {
        report["mail"]["messageId"] = json!(given);
        report["bounce"]["feedbackId"] = json!("feedback-2");
        let taken = hook.send(&[], &report.to_string()).await.expect(202);
        assert_eq!(taken["matched"], 1, "{reply}");
        assert_eq!(
            told.delivery(ADDRESSES[0]).await["feedback"][0]["matched_by"],
            "provider_id"
        );
    } else {
        panic!("the catcher's reply holds no id: {reply}");
    }
    // A report about another email is not trusted, whatever Message-ID it contains.
    let mut other = ses_bounce(told.mail(ADDRESSES[1]), "feedback-3");
    other["bounce"]["bouncedRecipients"][0]["emailAddress"] = json!("else@where.example");
    let taken = hook.send(&[], &other.to_string()).await.expect(202);
    assert_eq!(taken["matched"], 1);
    assert_eq!(told.counts().await, json!([2, 1, 0, 0]));
    told.app.finish().await;
}

async fn a_body_that_is_not_of_the_provider_is_refused_and_kept(env: Env) {
    let told = Told::new(&env).await;
    for (source, body) in [
        (
            "aws_ses",
            json!({"Type": "Notification", "MessageId": "x", "Message": "Hello world!"}).to_string(),
        ),
        (
            "aws_ses",
            json!({"emailAddress": "recipient@example.com", "action": "failed"}).to_string(),
        ),
        ("mailgun", json!({"event": "failed"}).to_string()),
        ("sendgrid", json!([{"email": "a@example.com"}]).to_string()),
        ("postmark", json!({"Email": "a@example.com"}).to_string()),
        ("postmark", "[]".to_owned()),
        ("sendgrid", "not JSON".to_owned()),
    ] {
        let hook = Hook::new(&told, source, None).await;
        hook.send(&[], &body).await.expect_problem(422);
        let kept = told
            .app
            .get(&format!("/api/v1/integrations/{}/requests", hook.id))
            .await
            .expect(200);
        assert_eq!(
            json!([kept.items()[0]["accepted"], kept.items()[0]["body"]]),
            json!([false, body]),
            "{source}"
        );
    }
    assert_eq!(env.count("feedback"), 0);
    // Such an integration has no alerts and so no resource rules.
    told.app
        .post(
            "/api/v1/integrations",
            json!({"name": "x", "source": "mailgun", "resource_rules": [{"field": "labels.a", "type": "project"}]}),
        )
        .await
        .expect_invalid("/resource_rules");
    told.app.finish().await;
}

async fn one_bad_character_does_not_cost_the_report(env: Env) {
    let told = Told::new(&env).await;
    // What stands for the reason of the server is replaced by what breaks the JSON: half an emoji at its end and at its beginning,
    // an escape that was cut, a line break, a zero, a byte of another encoding.
    let broken: [(&str, &[u8], &str); 6] = [
        ("half", br"toda\ud83c...", "toda\u{fffd}..."),
        ("other half", br"\udf0d no", "\u{fffd} no"),
        ("cut", br"no \ud8", "no \u{fffd}"),
        ("line break", b"no\nuser", "no user"),
        ("zero", br"no\u0000user", "no user"),
        ("Latin-1", b"no caf\xe9", "no caf\u{fffd}"),
    ];
    let with = |body: String, what: &[u8]| -> Vec<u8> {
        let (head, tail) = body.split_once("REASON").expect("a place for the reason");
        [head.as_bytes(), what, tail.as_bytes()].concat()
    };
    for source in ["aws_ses", "aws_ses within SNS", "mailgun", "sendgrid", "postmark"] {
        let hook = Hook::new(&told, source.split(' ').next().expect("a name"), None).await;
        for (name, what, shown) in broken {
            let mail = told.mail(ADDRESSES[2]);
            let id = format!("{source} {name}");
            let own = mail.header("message-id");
            let body = match source {
                "mailgun" => json!({"event-data": {
                    "event": "failed", "severity": "temporary", "id": id, "recipient": mail.to,
                    "message": {"headers": {"message-id": own.trim_matches(['<', '>'])}},
                    "delivery-status": {"message": "REASON"},
                }}),
                "sendgrid" => {
                    json!([{"event": "deferred", "email": mail.to, "sg_event_id": id, "smtp-id": own, "response": "REASON"}])
                }
                "postmark" => {
                    json!({"RecordType": "Bounce", "ID": id, "Type": "Transient", "Details": "REASON", "Email": mail.to,
                    "Content": format!("Message-ID: {own}\r\n")})
                }
                _ => {
                    let mut delay = ses_bounce(mail, &id);
                    delay["notificationType"] = json!("DeliveryDelay");
                    delay["deliveryDelay"] = json!({"timestamp": "2024-03-14T06:56:30.000Z",
                        "delayedRecipients": [{"emailAddress": mail.to, "diagnosticCode": format!("{id}: REASON")}]});
                    delay
                }
            };
            let body = match source {
                // The message is JSON within a text of the envelope, so what is broken in it is whole outside.
                "aws_ses within SNS" if name != "Latin-1" => {
                    let inner = with(body.to_string(), what);
                    notification(&json!(null)).as_object().map(|envelope| {
                        let mut envelope = envelope.clone();
                        envelope.insert("Message".to_owned(), json!(String::from_utf8_lossy(&inner)));
                        Value::Object(envelope).to_string().into_bytes()
                    })
                }
                // The envelope itself is broken.
                "aws_ses within SNS" => Some(with(notification(&body).to_string(), what)),
                _ => Some(with(body.to_string(), what)),
            };
            let answer = told
                .app
                .anonymous()
                .post_raw(&hook.url, "application/json", body.expect("a body"))
                .await;
            assert!([200, 202].contains(&answer.status), "{id}: {answer}");
            assert_eq!(
                json!([answer["reports"], answer["matched"], answer["duplicates"]]),
                json!([1, 1, 0]),
                "{id}"
            );
            let last = told.app.get("/api/v1/feedback?limit=1").await.expect(200).items()[0].clone();
            let diagnostic = last["diagnostic"].as_str().expect("a text");
            assert!(
                diagnostic
                    .replace('\u{fffd}', " ")
                    .contains(&shown.replace('\u{fffd}', " ")),
                "{id}: {diagnostic:?}"
            );
            assert_eq!(last["address"], mail.to, "{id}");
        }
        // What is broken in another way than its texts is still refused, with a reason.
        let answer = hook
            .send(
                &[],
                r#"{"RecordType": "Bounce", "Details": "toda\ud83c", "Email""#,
            )
            .await;
        assert_eq!(answer.expect_problem(422)["errors"][0]["pointer"], "");
    }
    told.unchanged().await;
    told.app.finish().await;
}

/// A form of these fields as `multipart/form-data`, with an attachment as Mailgun has it before its signature.
fn multipart(boundary: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, (name, value)) in fields.iter().enumerate() {
        if index == 1 {
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"attachment-1\"; filename=\"a;b.eml\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(b"\xff\xfe\0 a line with -- and =\r\n--not a boundary\r\n\r\n");
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .as_bytes(),
        );
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

async fn mailguns_older_webhooks_come_as_either_kind_of_form(env: Env) {
    const SIGNING: &str = "key-of-the-tests";
    let told = Told::new(&env).await;
    let hook = Hook::new(&told, "mailgun", Some(SIGNING)).await;
    let now = told.app.clock.now().as_micros() / 1_000_000;
    let at = now.to_string();
    let send = async |media: &str, body: Vec<u8>| told.app.anonymous().post_raw(&hook.url, media, body).await;
    let fields = |mail: &Mail, token: &str, key: &str| -> Vec<(&'static str, String)> {
        let signed: Value = serde_json::from_str(&mailgun(key, now, token, &json!({}))).expect("JSON");
        let signature = signed["signature"]["signature"]
            .as_str()
            .expect("a signature")
            .to_owned();
        vec![
            ("event", "bounced".to_owned()),
            ("recipient", mail.to.clone()),
            ("Message-Id", mail.header("message-id").to_owned()),
            ("code", "550".to_owned()),
            ("error", "5.1.1 no such user".to_owned()),
            ("timestamp", at.clone()),
            ("token", token.to_owned()),
            ("signature", signature),
        ]
    };
    let form = |fields: &[(&'static str, String)], boundary: &str| {
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        multipart(boundary, &fields)
    };
    const MEDIA: &str = "multipart/form-data; boundary=\"----=_x;1\"";
    let first = fields(told.mail(ADDRESSES[0]), "token-1", SIGNING);
    // The signature is read from the form, and checked.
    let forged = form(
        &fields(told.mail(ADDRESSES[0]), "token-1", "another key"),
        "----=_x;1",
    );
    send(MEDIA, forged).await.expect_problem(401);
    let without: Vec<_> = first
        .iter()
        .filter(|(name, _)| *name != "token")
        .cloned()
        .collect();
    send(MEDIA, form(&without, "----=_x;1")).await.expect_problem(401);
    told.unchanged().await;
    let taken = send(MEDIA, form(&first, "----=_x;1")).await.expect(200);
    assert_eq!(json!([taken["reports"], taken["matched"]]), json!([1, 1]));
    let delivery = told.delivery(ADDRESSES[0]).await;
    assert_eq!(
        json!([
            delivery["state"],
            delivery["feedback"][0]["kind"],
            delivery["feedback"][0]["diagnostic"]
        ]),
        json!(["bounced", "hard", "5.1.1 no such user"])
    );
    // Repeated, it has another boundary and is the same request. Its token counts for no other.
    let again = send("multipart/form-data; boundary=second", form(&first, "second")).await;
    assert_eq!(again.expect(200)["duplicates"], 1);
    let other = fields(told.mail(ADDRESSES[1]), "token-1", SIGNING);
    send(MEDIA, form(&other, "----=_x;1")).await.expect_problem(401);
    // The same as a urlencoded form, and a body whose content type does not say that it is multipart.
    let other = fields(told.mail(ADDRESSES[1]), "token-2", SIGNING);
    let pairs = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&other)
        .finish();
    let taken = send("application/x-www-form-urlencoded", pairs.into_bytes())
        .await
        .expect(200);
    assert_eq!(taken["matched"], 1);
    let third = fields(told.mail(ADDRESSES[2]), "token-3", SIGNING);
    let taken = send("application/octet-stream", form(&third, "third"))
        .await
        .expect(200);
    assert_eq!(taken["matched"], 1);
    assert_eq!(told.counts().await, json!([0, 3, 0, 0]));
    // A field more or less: neither a time, a code nor a Message-ID is necessary, and others do not matter.
    let open = Hook::new(&told, "mailgun", None).await;
    let few = multipart(
        "b",
        &[
            ("event", "complained"),
            ("domain", "example.com"),
            ("recipient", ADDRESSES[0]),
        ],
    );
    let taken = told
        .app
        .anonymous()
        .post_raw(&open.url, "multipart/form-data; boundary=b", few)
        .await
        .expect(200);
    assert_eq!(json!([taken["reports"], taken["unmatched"]]), json!([1, 1]));
    // What is beyond the bounds is left out, and costs nothing else: parts without end, and a part of a megabyte.
    let long = "x".repeat(1024 * 1024);
    let mut many = vec![
        ("event", "delivered"),
        ("long", long.as_str()),
        ("recipient", ADDRESSES[0]),
    ];
    many.extend(std::iter::repeat_n(("more", "1"), 5_000));
    let taken = told
        .app
        .anonymous()
        .post_raw(
            &open.url,
            "multipart/form-data; boundary=b",
            multipart("b", &many),
        )
        .await
        .expect(200);
    assert_eq!(json!([taken["reports"], taken["unmatched"]]), json!([1, 1]));
    let last = told.app.get("/api/v1/feedback?limit=1").await.expect(200).items()[0].clone();
    assert_eq!(
        json!([last["kind"], last["address"]]),
        json!(["delivered", ADDRESSES[0]])
    );
    // A form in which no event can be found is refused and kept as it came.
    for body in [
        multipart("b", &[("recipient", ADDRESSES[0])]),
        b"--b\r\nContent-Disposition: form-data; name=\"event\"\r\n\r\nbounc".to_vec(),
        b"--b--\r\n".to_vec(),
    ] {
        told.app
            .anonymous()
            .post_raw(&open.url, "multipart/form-data; boundary=b", body)
            .await
            .expect_problem(422);
    }
    told.app.finish().await;
}

/// A failure as a provider's hook reports it, which says nothing of the recipient. `own` is our Message-ID and `given` the
/// provider's own id; either may be empty.
fn of_nobody(source: &str, id: &str, own: &str, given: &str) -> Value {
    match source {
        "mailgun" => json!({"event-data": {
            "event": "failed", "severity": "permanent", "id": id, "delivery-status": {"message": "550 5.1.1 no such user"},
            "message": {"headers": {"message-id": if own.is_empty() { given } else { own.trim_matches(['<', '>']) }}},
        }}),
        "sendgrid" => {
            json!([{"event": "bounce", "type": "bounce", "sg_event_id": id, "smtp-id": own, "sg_message_id": format!("{given}.filter1"),
            "status": "5.1.1", "reason": "550 5.1.1 no such user"}])
        }
        "postmark" => json!({"RecordType": "Bounce", "ID": id, "Type": "HardBounce", "MessageID": given,
            "Details": "smtp;550 5.1.1 no such user", "Content": format!("Message-ID: {own}\r\n")}),
        _ => json!({
            "notificationType": "Bounce",
            "bounce": {"bounceType": "Permanent", "bounceSubType": "General", "feedbackId": id, "bouncedRecipients": []},
            "mail": {"messageId": given, "destination": [], "headers": [{"name": "Message-ID", "value": own}]},
        }),
    }
}

const PROVIDERS: [&str; 4] = ["aws_ses", "mailgun", "postmark", "sendgrid"];

async fn a_report_that_names_nobody_is_found_by_its_ids(env: Env) {
    let told = Told::new(&env).await;
    let app = &told.app;
    let last = async || app.get("/api/v1/feedback?limit=1").await.expect(200).items()[0].clone();
    let (first, second) = (
        told.delivery(ADDRESSES[0]).await,
        told.delivery(ADDRESSES[1]).await,
    );
    let reply = second["attempts"][0]["reply"].as_str().expect("a reply");
    let given = reply.split_whitespace().last().expect("an id");
    for source in PROVIDERS {
        let hook = Hook::new(&told, source, None).await;
        let own = told.mail(ADDRESSES[0]).header("message-id");
        for (own, given, delivery, by) in [
            // Of no mail of ours: it is kept as one that matches none.
            (
                "<1.x@else.example>",
                "0100018e3b2c-bbbb-000000",
                Value::Null,
                Value::Null,
            ),
            ("", "", Value::Null, Value::Null),
            // A word that stands in every reply is no id.
            ("", "Ok", Value::Null, Value::Null),
            (own.as_str(), "", first["id"].clone(), json!("message_id")),
            ("", given, second["id"].clone(), json!("provider_id")),
        ] {
            let id = format!("{own} {given}");
            let body = of_nobody(source, &id, own, given).to_string();
            let answer = hook.send(&[], &body).await;
            assert!([200, 202].contains(&answer.status), "{source}, {id}: {answer}");
            let matched = usize::from(!delivery.is_null());
            assert_eq!(
                json!([answer["reports"], answer["matched"], answer["unmatched"]]),
                json!([1, matched, 1 - matched]),
                "{source}, {id}"
            );
            let entry = last().await;
            assert_eq!(
                json!([entry["kind"], entry["delivery"], entry["matched_by"]]),
                json!(["hard", delivery, by]),
                "{source}, {id}"
            );
            // The delivery knows to whom it went.
            let address = [(&first, ADDRESSES[0]), (&second, ADDRESSES[1])]
                .iter()
                .find(|(of, _)| of["id"] == delivery)
                .map_or("", |(_, address)| *address);
            assert_eq!(entry["address"], address, "{source}, {id}");
        }
    }
    // The first reports of each lost both deliveries; the third one is as it was.
    assert_eq!(told.counts().await, json!([1, 2, 0, 0]));
    assert_eq!(told.delivery(ADDRESSES[2]).await["state"], "sent");
    let unmatched = app.get("/metrics").await.expect(200).text;
    assert!(unmatched.contains("candor_feedback_unmatched 12"), "{unmatched}");
    told.app.finish().await;
}

async fn a_report_with_a_field_less_or_a_new_type_is_kept(env: Env) {
    let told = Told::new(&env).await;
    let app = &told.app;
    let own = |address: &str| told.mail(address).header("message-id").to_owned();
    let id = own(ADDRESSES[0]);
    let bare = id.trim_matches(['<', '>']);
    let headers = json!([{"name": "Message-ID", "value": id}]);
    for (source, body, kind) in [
        // An address that is none.
        (
            "postmark",
            json!({"RecordType": "Delivery", "MessageID": "x", "Recipient": "undisclosed-recipients:;"}),
            "delivered",
        ),
        (
            "postmark",
            json!({"RecordType": "SubscriptionChange", "SuppressSending": false}),
            "other",
        ),
        (
            "postmark",
            json!({"RecordType": "SpamComplaint", "Type": 7, "Email": null}),
            "soft",
        ),
        // A bounce whose type is missing is not a complaint.
        (
            "postmark",
            json!({"RecordType": "Bounce", "Email": "a@else.example"}),
            "soft",
        ),
        (
            "postmark",
            json!({"RecordType": "SMTPApiError", "Recipient": ADDRESSES[0], "Content": format!("Message-ID: {id}")}),
            "other",
        ),
        (
            "aws_ses",
            json!({"notificationType": "Bounce", "mail": {"headers": headers, "destination": ["a@b.example", "c@d.example"]}}),
            "soft",
        ),
        (
            "aws_ses",
            json!({"eventType": "Delivery", "delivery": {"recipients": 7}}),
            "delivered",
        ),
        (
            "aws_ses",
            json!({"eventType": "Complaint", "complaint": {"complainedRecipients": ["a@else.example"]}}),
            "complaint",
        ),
        (
            "aws_ses",
            json!({"eventType": "Throttled", "mail": {"headers": headers, "destination": [ADDRESSES[0]]}}),
            "other",
        ),
        (
            "mailgun",
            json!({"event-data": {"event": "complained", "recipient": 5}}),
            "complaint",
        ),
        (
            "mailgun",
            json!({"event-data": {"event": "delivered", "recipient": [], "message": {"headers": {"message-id": bare}}}}),
            "delivered",
        ),
        (
            "sendgrid",
            json!([{"event": "delivered", "email": {"a": 1}, "smtp-id": id}]),
            "delivered",
        ),
        (
            "sendgrid",
            json!([{"no": "event"}, 7, null, {"event": "spamreport", "email": "a@else.example"}]),
            "complaint",
        ),
    ] {
        let hook = Hook::new(&told, source, None).await;
        let answer = hook.send(&[], &body.to_string()).await;
        assert!([200, 202].contains(&answer.status), "{body}: {answer}");
        assert_eq!(answer["reports"], 1, "{body}");
        let entry = app.get("/api/v1/feedback?limit=1").await.expect(200).items()[0].clone();
        assert_eq!(entry["kind"], kind, "{body}");
        let ours = body.to_string().contains(bare);
        assert_eq!(entry["delivery"].is_null(), !ours, "{body}");
    }
    // Only the bounce that was about a mail of ours changed something.
    assert_eq!(told.counts().await, json!([2, 1, 0, 0]));
    assert_eq!(app.env.count("opt_outs"), 0);
    told.app.finish().await;
}
