//! `candor demo`: a real incident, repeated from the alert to the report with the real service.
//!
//! In March 2024 a file service lost its `s3` storage handler. The operator queried the database by hand and
//! wrote to the owner manually. The operator forgot two collaborators, and told them 13 minutes after the
//! owner that the problem was solved. The demo repeats this morning with Candor: with its HTTP API, an SQLite
//! database, and a mail server that keeps all emails.
//!
//! No email ever leaves the machine, and every step that the demo describes is really done.

pub mod catcher;
mod client;
mod story;
mod teller;

use std::process::ExitCode;
use std::time::Duration;

use crate::app;
use crate::base::random::random_secret;
use crate::base::time::{Clock, Timestamp};
use crate::config::Config;
use crate::demo::catcher::{Catcher, Policy};

/// The time at which the demo begins: 9:51 in Nairobi, five minutes before the first alert.
const START: &str = "2024-03-14T09:51:00+03:00";

/// How long the emails of one notice may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How a demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Exactly the expected emails arrived.
    Arrived,
    /// A step failed, or other emails arrived.
    Failed,
    /// It was told to stop before its last step.
    Stopped,
}

/// Runs the demo. Afterwards it serves the pages until `stop` completes, or ends at once if `exit` is true. In both
/// cases it stops in the correct order. Of the settings, it uses only the listen address.
///
/// The exit code is 0 if every email arrived. It is also 0 if the demo was told to stop, unless `exit` asks
/// whether every email arrives.
///
/// # Errors
/// A sentence, if the service does not start.
pub async fn run(config: Config, exit: bool, stop: impl Future<Output = ()>) -> Result<ExitCode, String> {
    let ending = perform(config, exit, Policy::accept_all(), TIMEOUT, stop).await?;
    Ok(match ending {
        Ending::Arrived => ExitCode::SUCCESS,
        Ending::Stopped if !exit => ExitCode::SUCCESS,
        Ending::Failed | Ending::Stopped => ExitCode::FAILURE,
    })
}

/// Runs the demo with a mail server that follows `policy`. Each step waits at most `patience` for its emails.
/// It ends when `stop` completes.
///
/// # Errors
/// A sentence, if the service does not start.
pub async fn perform(
    settings: Config,
    exit: bool,
    policy: Policy,
    patience: Duration,
    stop: impl Future<Output = ()>,
) -> Result<Ending, String> {
    let mut stop = std::pin::pin!(stop);
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let catcher =
        Catcher::start_with(policy).map_err(|error| format!("the mail catcher does not start: {error}"))?;
    let clock = Clock::manual(Timestamp::parse(START)?);
    let token = random_secret().map_err(|error| error.chain())?;
    let config = Config {
        database_url: format!("sqlite://{}/candor.db", directory.path().display()),
        listen: if settings.listen_is_set {
            settings.listen
        } else {
            free_address()
        },
        smtp_url: Some(catcher.url()),
        mail_from: "Quickbyte <incidents@quickbyte.example>".to_owned(),
        admin_token: Some(token.clone()),
        ..Config::default()
    };
    let running = app::start(config, clock.clone())
        .await
        .map_err(|error| error.chain())?;
    let outcome = tokio::select! {
        outcome = story::play(&running, &catcher, &clock, &token, patience) => Some(outcome),
        () = &mut stop => None,
    };
    let ending = match &outcome {
        None => Ending::Stopped,
        Some(Ok(true)) => Ending::Arrived,
        Some(Ok(false)) => Ending::Failed,
        Some(Err(reason)) => {
            eprintln!("\ncandor demo: {reason}");
            Ending::Failed
        }
    };
    if !exit && matches!(outcome, Some(Ok(_))) {
        story::invite(&running, &token);
        stop.await;
    }
    running.stop().await;
    Ok(ending)
}

/// Returns the default address if its port is free, because it is easy to type. Otherwise it returns an
/// address with any free port.
fn free_address() -> String {
    let usual = "127.0.0.1:8080";
    match std::net::TcpListener::bind(usual) {
        Ok(_) => usual.to_owned(),
        Err(_) => "127.0.0.1:0".to_owned(),
    }
}
