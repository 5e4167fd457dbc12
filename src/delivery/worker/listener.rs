//! The listener. With PostgreSQL, it receives at once what other processes queue or stop.
//!
//! Nothing depends on the listener alone. Everything is also in the tables, which are polled.

use std::time::Duration;

use tokio::sync::watch;

use super::shared::{POLL, Setup};
use crate::base::id::NoticeId;

/// Starts the thread that receives notifications of other processes. Waiting for them with libpq would need
/// unsafe code, so the thread polls. One poll is a read that does not block.
pub(super) fn listen(setup: &Setup, stop: watch::Receiver<bool>) -> Option<std::thread::JoinHandle<()>> {
    const LOOK: Duration = Duration::from_millis(20);
    setup.receipts.is_none().then_some(())?;
    let (db, wake) = (setup.db.clone(), setup.wake.clone());
    let work = move || {
        let mut connection = None;
        while !*stop.borrow() {
            let heard = match connection.as_mut() {
                Some(connection) => crate::db::dialect::heard(connection),
                // After an outage it may be the first to connect again. It must not keep the pools out.
                None => crate::db::connect_beside(db.url()).and_then(|mut fresh| {
                    crate::db::dialect::listen(&mut fresh)?;
                    connection = Some(fresh);
                    // Notifications that were missed before the connection was open are also in the tables,
                    // so poll them once.
                    Ok(vec![String::new()])
                }),
            };
            match heard {
                Ok(payloads) => {
                    for payload in payloads {
                        match NoticeId::parse(&payload) {
                            Ok(notice) => wake.stopped(notice),
                            Err(_) if payload == crate::db::dialect::FOLLOWED => db.wake_followers(),
                            Err(_) => wake.due(),
                        }
                    }
                    std::thread::sleep(LOOK);
                }
                Err(error) => {
                    tracing::debug!(error = error.chain(), "not listening; trying again");
                    connection = None;
                    std::thread::sleep(POLL);
                }
            }
        }
    };
    match std::thread::Builder::new()
        .name("listener".to_owned())
        .spawn(work)
    {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::warn!(%error, "no thread to listen with; the tables are looked at instead");
            None
        }
    }
}
