//! The mails that were caught, and what all connections of the mail catcher share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::policy::{Attempt, Decision, Policy};

/// A received email: the envelope, and the data without the additional dots of SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaughtMail {
    /// The sender of the envelope. It is empty for a bounce.
    pub from: String,
    /// The recipients that were not refused.
    pub to: Vec<String>,
    /// The headers and the body.
    pub data: Vec<u8>,
}

impl CaughtMail {
    /// Returns the first header with this name. It is unfolded, and encoded words stay encoded.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = self.text_lossy();
        let mut found: Option<String> = None;
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                break;
            }
            let folded = line.starts_with([' ', '\t']);
            match &mut found {
                Some(value) if folded => value.push_str(line),
                Some(_) => break,
                None => {
                    found = line
                        .split_once(':')
                        .filter(|(key, _)| !folded && key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.to_owned());
                }
            }
        }
        found.map(|value| value.trim().to_owned())
    }

    /// Returns the whole email, including headers. Invalid UTF-8 is replaced.
    pub fn text_lossy(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) mails: Mutex<Vec<CaughtMail>>,
    pub(super) attempts: Mutex<HashMap<String, usize>>,
    pub(super) arrived: Notify,
    pub(super) open: AtomicUsize,
    pub(super) peak: AtomicUsize,
}

impl Shared {
    pub(super) fn decide(&self, recipient: &str) -> Decision {
        let number = {
            let mut attempts = lock(&self.attempts);
            let number = attempts.entry(recipient.to_owned()).or_default();
            *number += 1;
            *number
        };
        (self.policy.0)(&Attempt { recipient, number })
    }

    pub(super) fn keep(&self, mail: CaughtMail) {
        lock(&self.mails).push(mail);
        self.arrived.notify_waiters();
    }
}

/// The data under these locks is never left in an invalid state, so a panic in another thread does no harm.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a connection as open until this value is dropped.
pub(super) struct Open(pub(super) Arc<Shared>);

impl Open {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
        shared.peak.fetch_max(open, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
