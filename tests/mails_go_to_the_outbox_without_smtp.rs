//! Without a mail server each email is a file that an email program can open, and the program says so at the
//! start.

use std::collections::BTreeSet;
use std::path::Path;

use candor::demo::catcher::CaughtMail;

use crate::support::story::ADDRESSES;
use crate::support::{Binary, Env, Mail, TestApp, on_both_databases};

on_both_databases!(
    each_mail_is_a_file,
    the_start_says_so,
    an_outbox_that_cannot_be_written_is_tried_again,
);

fn files(outbox: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(outbox)
        .expect("an outbox")
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// Returns the emails in the outbox, ordered by the recipient in their header.
fn mails(outbox: &Path) -> Vec<Mail> {
    let mut mails: Vec<Mail> = files(outbox)
        .iter()
        .map(|path| {
            assert_eq!(
                path.extension().and_then(|end| end.to_str()),
                Some("eml"),
                "{path:?}"
            );
            let data = std::fs::read(path).expect("a readable file");
            let mut caught = CaughtMail {
                from: String::new(),
                to: Vec::new(),
                data,
            };
            let to = caught.header("to").expect("a recipient");
            let (_, address) = to.rsplit_once('<').expect("an address");
            caught.to = vec![address.trim_end_matches('>').to_owned()];
            Mail::read(&caught)
        })
        .collect();
    mails.sort_by(|a, b| a.to.cmp(&b.to));
    mails
}

async fn each_mail_is_a_file(env: Env) {
    let app = TestApp::builder(&env).without_smtp().start().await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    let outbox = env.directory.join("outbox");
    let mails = mails(&outbox);
    let to: Vec<&str> = mails.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, ADDRESSES);
    let mut recorded = BTreeSet::new();
    for delivery in app.deliveries(&notice).await {
        assert_eq!(delivery["state"], "sent");
        recorded.insert(delivery["message_id"].as_str().unwrap().to_owned());
    }
    let written: BTreeSet<String> = mails.iter().map(|mail| mail.header("message-id")).collect();
    assert_eq!(written, recorded);
    for mail in &mails {
        for part in [&mail.text, &mail.html] {
            assert!(part.contains("rangers-interview-v1.mov"), "{part}");
        }
    }
    app.mails(0).await;
    app.finish().await;
}

async fn the_start_says_so(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    let incident = candor.story_incident().await;
    candor.tell(&incident, "detection").await;
    assert_eq!(mails(&env.directory.join("outbox")).len(), 3);
    let output = candor.terminate().await.expect(0);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(
        said.contains("CANDOR_SMTP_URL is not set") && said.contains("outbox"),
        "{said}"
    );
    candor.finish().await;
}

async fn an_outbox_that_cannot_be_written_is_tried_again(env: Env) {
    let outbox = env.directory.join("outbox");
    // A file is in the place of the folder.
    std::fs::write(&outbox, "in the way").unwrap();
    let app = TestApp::builder(&env)
        .without_smtp()
        .retry_schedule([std::time::Duration::from_millis(20)])
        .start()
        .await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    crate::support::wait_until("an attempt", crate::support::DEADLINE, async || {
        env.count("delivery_attempts WHERE outcome = 'retry'") >= 3
    })
    .await;
    assert_eq!(env.count("deliveries WHERE state = 'sent'"), 0);
    std::fs::remove_file(&outbox).unwrap();
    app.done(&notice).await;
    assert_eq!(mails(&outbox).len(), 3);
    app.finish().await;
}
