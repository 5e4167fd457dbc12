//! The emails as they were sent. Their headers contain a checkpoint of the audit trail, which the file proves to be an earlier state of
//! the same trail.
//!
//! A file about a person or an account has all of their emails. A file about everybody has the first emails of each notice, because the
//! others differ only in the data of the recipient, which is in the frozen list.

use std::collections::{BTreeSet, HashMap};

use super::bundle::Bundle;
use crate::audit::checkpoint::Checkpoint;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::delivery::as_sent;
use crate::notice::{DeliveryState, Notice};

/// The number of emails of each notice in a file about everybody.
const EACH: usize = 20;
/// The header with the checkpoint.
const HEADER: &str = "candor-audit";

/// The emails of a file.
#[derive(Default)]
pub(super) struct Emails {
    of_notice: HashMap<NoticeId, usize>,
    /// The sizes of the trail that the emails have in their headers.
    pub sizes: BTreeSet<i64>,
}

impl Emails {
    /// Adds the email of a delivery if it was accepted. Returns its name in the file.
    ///
    /// # Errors
    /// An error of the database, or `Internal` if it cannot be written.
    pub fn add(
        &mut self,
        conn: &mut Conn,
        bundle: &mut Bundle,
        (notice, delivery, state): (&Notice, i64, DeliveryState),
        whole: bool,
    ) -> Result<Option<String>> {
        if !matches!(state, DeliveryState::Sent | DeliveryState::Bounced) {
            return Ok(None);
        }
        let so_far = self.of_notice.entry(notice.id.clone()).or_default();
        if whole && *so_far >= EACH {
            return Ok(None);
        }
        let Some(sent) = as_sent::mail(conn, delivery)? else {
            return Ok(None);
        };
        let bytes = sent.bytes;
        *so_far += 1;
        let name = format!("mails/{}-{delivery}.eml", notice.phase);
        if let Some(Ok(checkpoint)) = header(&bytes).map(|value| Checkpoint::parse_header(&value)) {
            self.sizes.insert(checkpoint.size);
        }
        bundle.add(&name, &bytes)?;
        Ok(Some(name))
    }
}

/// Returns the value of the header with the checkpoint. Lines that a server folded are joined.
pub(super) fn header(email: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(email);
    let mut found: Option<String> = None;
    for line in text.lines() {
        if line.is_empty() {
            break;
        }
        match &mut found {
            Some(value) if line.starts_with([' ', '\t']) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            Some(_) => break,
            None => {
                let named = line.split_once(':');
                found = named
                    .filter(|(name, _)| name.trim().eq_ignore_ascii_case(HEADER))
                    .map(|(_, value)| value.trim().to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_also_if_it_is_folded() {
        let read = |text: &str| header(text.as_bytes());
        assert_eq!(
            read("From: a\r\nCandor-Audit: a 1 b\r\n\r\nx"),
            Some("a 1 b".to_owned())
        );
        assert_eq!(
            read("candor-audit: a 1\r\n b\r\nTo: c\r\n\r\n"),
            Some("a 1 b".to_owned())
        );
        assert_eq!(read("From: a\r\n\r\nCandor-Audit: a 1 b\r\n"), None);
    }
}
