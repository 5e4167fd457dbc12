//! What the API and the pages do alike to send, stop and resume a notice: the change, and then the workers are told.

use std::time::Duration;

use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::http::App;
use crate::notice::{self, Notice, Resumed, SendNotice, Stopped};

/// How long a stop waits for emails that are being sent before it answers without their outcomes, and how long resuming waits for
/// them.
const SETTLE: Duration = Duration::from_secs(5);
/// The interval at which the outcomes are looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Sends a draft.
///
/// # Errors
/// The errors of [`notice::send`].
pub async fn send(app: &App, by: &Actor, id: NoticeId, what: SendNotice) -> Result<Notice> {
    let sending = app.sending.clone();
    let (notice, stopped) = app
        .db
        .write(by, move |tx| {
            let notice = notice::send(tx, &id, &what, &sending)?;
            let stopped = notice::stopped_before(tx.conn, &notice.id)?;
            Ok((notice, stopped))
        })
        .await?;
    for resolution in stopped {
        app.wake.stopped(resolution);
    }
    app.wake.due();
    Ok(notice)
}

/// Stops a notice, and waits a short time for the outcomes of what is being sent.
///
/// # Errors
/// The errors of [`notice::stop`].
pub async fn stop(app: &App, by: &Actor, id: NoticeId) -> Result<Stopped> {
    let (target, sending) = (id.clone(), app.sending.clone());
    app.db
        .write(by, move |tx| notice::stop(tx, &target, &sending))
        .await?;
    app.wake.stopped(id.clone());
    // At most one email for each connection is being sent, so wait for these outcomes to give the correct
    // numbers.
    let started = std::time::Instant::now();
    loop {
        let target = id.clone();
        let stopped = app.db.read(move |conn| notice::stopped(conn, &target)).await?;
        if stopped.in_flight == 0 || started.elapsed() > SETTLE {
            return Ok(stopped);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Resumes a stopped notice. It waits a short time for the outcomes of what was being sent when the notice was stopped.
///
/// # Errors
/// The errors of [`notice::resume`].
pub async fn resume(app: &App, by: &Actor, id: NoticeId) -> Result<Resumed> {
    let started = std::time::Instant::now();
    while started.elapsed() <= SETTLE {
        let target = id.clone();
        let settled = app
            .db
            .read(move |conn| {
                let is_stopped = notice::state_of(conn, &target)? == notice::NoticeState::Stopped;
                Ok(!is_stopped || notice::is_settled(conn, &target)?)
            })
            .await?;
        if settled {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let sending = app.sending.clone();
    let resumed = app
        .db
        .write(by, move |tx| notice::resume(tx, &id, &sending))
        .await?;
    app.wake.due();
    Ok(resumed)
}
