//! A further channel to systems of accounts needs only the one type in this file, and no other code knows it.
//! See `docs/channels.md`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use candor::delivery::Outcome;
use candor::delivery::calling::{Call, EndpointChannel};
use candor::delivery::channel::Pending;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::story::ACCOUNT;
use crate::support::{DEADLINE, Env, TestApp, eventually, on_both_databases};

on_both_databases!(
    a_third_channel_is_planned_queued_tried_again_and_recorded,
    a_channel_that_is_not_there_any_more_loses_nothing,
);

/// A channel that writes a line to a file for each notice.
struct LogFile {
    directory: PathBuf,
}

impl LogFile {
    async fn append(&self, call: &Call) -> std::io::Result<()> {
        let name = call.url.trim_start_matches("log:");
        let mut file = tokio::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join(name))
            .await?;
        let line = serde_json::to_string(&call.payload)?;
        file.write_all(format!("{} {line}\n", call.id).as_bytes()).await?;
        file.flush().await
    }
}

impl EndpointChannel for LogFile {
    fn name(&self) -> &'static str {
        "logfile"
    }

    fn check(&self, url: &str) -> Result<String, String> {
        match url.strip_prefix("log:") {
            Some(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Ok(url.to_owned())
            }
            _ => Err("must be log: and a name of letters and digits".to_owned()),
        }
    }

    fn schedule(&self) -> &[Duration] {
        const SCHEDULE: [Duration; 1] = [Duration::from_secs(60)];
        &SCHEDULE
    }

    fn deliver<'a>(&'a self, call: &'a Call) -> Pending<'a, Outcome> {
        Box::pin(async move {
            match self.append(call).await {
                Ok(()) => Outcome::Sent("written".to_owned()),
                Err(error) => Outcome::Retry(None, format!("cannot be written: {}", error.kind())),
            }
        })
    }
}

async fn start(env: &Env) -> (TestApp, PathBuf) {
    let directory = env.directory.join("logs");
    let channel = LogFile {
        directory: directory.clone(),
    };
    let app = TestApp::builder(env)
        .at("2024-03-14T10:00:00Z")
        .channel(Arc::new(channel))
        .start()
        .await;
    (app, directory)
}

async fn a_third_channel_is_planned_queued_tried_again_and_recorded(env: Env) {
    let (app, directory) = start(&env).await;
    let incident = app.story_incident().await;
    let path = format!("/api/v1/accounts/{ACCOUNT}/endpoints");
    app.post(&path, json!({"channel": "logfile", "url": "log:../etc/passwd"}))
        .await
        .expect_invalid("/url");
    app.post(&path, json!({"channel": "logfile", "url": "log:nyota"}))
        .await
        .expect(201);
    let notice = app.draft(&incident, "detection").await;
    assert_eq!(
        app.preview(&notice).await.expect(200)["channels"],
        json!({"logfile": 1})
    );
    app.send_as_previewed(&notice).await;
    let calls = format!("/api/v1/notices/{notice}/deliveries?channel=logfile");
    let call = async |condition: fn(&Value) -> bool| {
        eventually("the call", DEADLINE, async || {
            app.all(&calls).await.into_iter().find(condition)
        })
        .await
    };
    // The folder does not exist yet.
    let waiting = call(|call| call["attempts"][0].is_object()).await;
    assert_eq!(
        json!([waiting["state"], waiting["attempts"][0]["outcome"]]),
        json!(["pending", "retry"])
    );
    std::fs::create_dir(&directory).expect("a folder");
    app.set_clock("2024-03-14T11:00:00Z");
    let sent = call(|call| call["state"] == "sent").await;
    assert_eq!(sent["attempts"][1]["reply"], "written");
    let done = app.done(&notice).await;
    assert_eq!(
        json!([done["counts"]["sent"], done["channels"]["logfile"]["sent"]]),
        json!([3, 1])
    );
    let text = std::fs::read_to_string(directory.join("nyota")).expect("a file");
    let (id, payload) = text.trim_end().split_once(' ').expect("a line");
    assert_eq!(sent["message_id"], id);
    let payload: Value = serde_json::from_str(payload).expect("JSON");
    assert_eq!(payload["data"]["account"]["id"], ACCOUNT);
    app.finish().await;
}

async fn a_channel_that_is_not_there_any_more_loses_nothing(env: Env) {
    let (app, directory) = start(&env).await;
    std::fs::create_dir(&directory).expect("a folder");
    let incident = app.story_incident().await;
    let path = format!("/api/v1/accounts/{ACCOUNT}/endpoints");
    app.post(&path, json!({"channel": "logfile", "url": "log:nyota"}))
        .await
        .expect(201);
    app.finish().await;
    // A process without the channel, such as an older release or another build.
    let without = TestApp::builder(&env).at("2024-03-14T10:00:00Z").start().await;
    let notice = without.draft(&incident, "detection").await;
    without.send_as_previewed(&notice).await;
    without.mails(3).await;
    let waiting = eventually("the call to be queued", DEADLINE, async || {
        let pending = format!("/api/v1/notices/{notice}/deliveries?state=pending");
        without.all(&pending).await.pop()
    })
    .await;
    assert_eq!(
        json!([waiting["channel"], waiting["attempts"]]),
        json!(["logfile", []])
    );
    assert_eq!(without.notice(&notice).await["state"], "sending");
    without.finish().await;
    let (app, _) = start(&env).await;
    app.set_clock("2024-03-14T11:00:00Z");
    app.done(&notice).await;
    assert!(directory.join("nyota").exists());
    app.finish().await;
}
